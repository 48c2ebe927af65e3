"""``overround health`` against an answering, a sick and an absent collector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_httpserver import HTTPServer

from overround.cli.app import run
from overround.collector import VenueStatus
from overround.config import MonitoringSettings
from overround.services import judge


def answer(**changes: Any) -> bytes:
    whole: dict[str, Any] = dict.fromkeys(VenueStatus.__struct_fields__, 0)
    whole |= {"venue": "kalshi", "mode": "socket", "connections": 1, "connected": 1, "live": 3, "subscriptions": 3}
    whole |= {"warning": "", "row_verdicts": {}, "book_verdicts": {"verified": 3}, "breakers": {}}
    status = VenueStatus(**(whole | changes))
    return msgspec.json.encode(
        judge([status], MonitoringSettings(), disk_free_bytes=9, disk_total_bytes=10, up_s=5.0, version="1.2")
    )


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, 0, "collector 1.2: ok"),
        ({"warning": "universe is 30 h old"}, 3, "kalshi: universe is 30 h old"),
        ({"connected": 0}, 1, "kalshi: no connection"),
    ],
)
def test_the_exit_code_tells_the_state(
    httpserver: HTTPServer, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], code: int, words: str
) -> None:
    httpserver.expect_request("/health").respond_with_data(answer(**changes), status=503 if code == 1 else 200)
    assert run(["health", "--url", httpserver.url_for("")]) == code
    assert words in capsys.readouterr().out
    assert run(["health", "--url", httpserver.url_for(""), "--json"]) == code
    assert json.loads(capsys.readouterr().out)["venues"][0]["live"] == 3


def test_nobody_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text("[monitoring]\nport = 1\n")
    assert run(["health", "--config", str(settings)]) == 1
    err = capsys.readouterr().err
    assert "no collector answers at http://127.0.0.1:1" in err
    assert "overround collect" in err


def test_somebody_else_there(httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    httpserver.expect_request("/health").respond_with_data("<html>hello</html>")
    assert run(["health", "--url", httpserver.url_for("")]) == 1
    assert "is no collector" in capsys.readouterr().err


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["health", "--url", "localhost"]) == 2
    assert "http://host:port" in capsys.readouterr().err

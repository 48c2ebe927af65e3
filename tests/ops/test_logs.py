"""What reaches the log, in which form, and what never does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from overround.ops import MASK, configure_logging, register_secret
from overround.ops import logs as logs_module

PEM = """-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAyb0c5tP1kq0yWmG7
uQm9q3xkzSO2Gf7PpYtNn8vLsE1aUu4H
-----END RSA PRIVATE KEY-----
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    secrets, pattern = set(logs_module._secrets), logs_module._pattern
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level
    logs_module._secrets.clear()
    logs_module._secrets.update(secrets)
    logs_module._pattern = pattern


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_off_a_terminal_each_event_is_one_json_object() -> None:
    out = io.StringIO()
    configure_logging(level="info", stream=out)
    structlog.get_logger().info("book.resynced", market_id="m\n1", took_ms=412, levels=(1, 2), nested={"a": {1: None}})
    (line,) = lines(out)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "book.resynced", "level": "info", "market_id": "m\n1", "took_ms": 412, "levels": [1, 2], "nested": {"a": {"1": None}},
    }  # fmt: skip


def test_on_a_terminal_it_is_readable_unless_json_is_asked_for() -> None:
    out = Terminal()
    configure_logging(stream=out)
    structlog.get_logger().info("file.closed", rows=7)
    assert not out.getvalue().startswith("{")
    assert "file.closed" in out.getvalue()
    out = Terminal()
    configure_logging(stream=out, json=True)
    structlog.get_logger().info("file.closed", rows=7)
    assert lines(out)[0]["rows"] == 7


@pytest.mark.parametrize(("level", "written"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_below_the_level_is_not_written(level: str, written: int) -> None:
    out = io.StringIO()
    configure_logging(level=level, stream=out)
    log = structlog.get_logger()
    for method in (log.debug, log.info, log.warning, log.error):
        method("x.y")
    assert len(lines(out)) == written


def test_a_logger_made_before_follows_the_last_configuration() -> None:
    log = structlog.get_logger()
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    log.info("a.b")
    configure_logging(stream=second, level="error")
    log.info("a.b")
    log.error("c.d")
    assert [line["event"] for line in lines(first)] == ["a.b"]
    assert [line["event"] for line in lines(second)] == ["c.d"]


def test_libraries_are_written_in_the_same_form_from_warnings_on() -> None:
    out = io.StringIO()
    configure_logging(stream=out, level="info")
    configure_logging(stream=out, level="info")
    logging.getLogger("websockets.client").info("chatter")
    logging.getLogger("asyncio").warning("Executing %s took %.1f s", "x", 0.5)
    (line,) = lines(out)
    assert (line["event"], line["level"], line["logger"]) == ("Executing x took 0.5 s", "warning", "asyncio")


def test_an_exception_becomes_a_traceback_without_local_variables() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    innocent = "local-variable-value"
    try:
        raise ValueError("0.5301")  # noqa: TRY301 - the test's subject
    except ValueError:
        structlog.get_logger().exception("frame.refused")
    (line,) = lines(out)
    assert "ValueError: 0.5301" in line["exception"]
    assert innocent not in out.getvalue()


class Opaque:
    def __repr__(self) -> str:
        return "Opaque(key=hunter2hunter2)"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_secret_is_masked_wherever_it_hides(stream: type[io.StringIO]) -> None:
    out = stream()
    configure_logging(stream=out)
    register_secret("hunter2hunter2")
    register_secret("p@ss/word+1")
    register_secret(PEM)
    log = structlog.get_logger()
    log.info("a.b", value="x hunter2hunter2 y", hunter2hunter2=1)
    log.info(
        "a.hunter2hunter2", deep=[{"k": ("hunter2hunter2",)}, {"hunter2hunter2"}], raw=b"hunter2hunter2", obj=Opaque()
    )
    log.info("a.b", url="postgresql://u:p%40ss%2Fword%2B1@db/x", plain="p@ss/word+1")
    log.info("a.b", pem=PEM, in_json=json.dumps({"k": PEM}), in_repr=repr({"k": PEM}), line=PEM.splitlines()[2])
    try:
        raise RuntimeError("token hunter2hunter2 refused")  # noqa: TRY301 - the test's subject
    except RuntimeError:
        log.exception("a.b")
        logging.getLogger("some.library").exception("sent hunter2hunter2")
    written = out.getvalue()
    assert written.count(MASK) >= 12
    for secret in ("hunter2", "p@ss", "p%40ss", *PEM.splitlines()[1:3]):
        assert secret not in written


def test_masking_leaves_every_line_json() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    for secret in ("nabcdef", "null", "\\\\", "1234", 'quo"te'):
        register_secret(secret)
    structlog.get_logger().info("a.b", text="x\nabcdef", path="\\\\", number=1234, none=None, quoted='a quo"te')
    (line,) = lines(out)
    assert (line["number"], line["none"], line["quoted"]) == (1234, None, f"a {MASK}")


def test_an_empty_or_tiny_secret_does_not_hide_the_log() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    for secret in ("", " ", "a", "abc"):
        register_secret(secret)
    structlog.get_logger().info("abc.a", text="a b c")
    assert lines(out)[0]["event"] == "abc.a"


def test_a_stream_that_is_gone_loses_lines_and_nothing_else() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    log = structlog.get_logger()
    out.close()
    log.info("a.b")
    logging.getLogger("x").warning("y")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_the_stream_or_json_cannot_hold_is_still_written(as_json: bool) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    configure_logging(stream=out, json=as_json)
    structlog.get_logger().info("a.b", title="Wahl \ud83d – ü", spread=float("nan"), token=2**250)
    written = out.buffer.getvalue()  # type: ignore[attr-defined]
    assert b"Wahl" in written
    assert str(2**250).encode() in written
    if as_json:
        assert json.loads(written)["spread"] == "nan"

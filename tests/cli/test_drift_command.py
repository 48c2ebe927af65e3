"""``overround drift`` on what a sentinel has seen and set aside."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from overround.cli.app import run
from overround.config import DriftSettings
from overround.market import DriftSort
from overround.storage import LakePaths
from overround.testing.clock import ManualClock
from overround.venue.kalshi.profile import SHAPES
from overround.venue.sentinel import DriftSentinel

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
DAY_MS = 24 * 3_600_000
HALT = b'{"type":"halt","msg":"[b]snow"}'


def delta(**fields: object) -> bytes:
    msg = {"market_ticker": "KXT-1", "market_id": "", "price_dollars": "0.0100", "delta_fp": "-10.00", "side": "yes",
           "ts": "2026-08-27T13:56:23.99Z", "ts_ms": 1787838983996}  # fmt: skip
    return json.dumps({"type": "orderbook_delta", "sid": 1, "seq": 1, "msg": msg | fields}).encode()


def watch(root: Path, *frames: bytes, now_ms: int = NOON) -> None:
    watcher = DriftSentinel(
        LakePaths(root),
        "kalshi",
        SHAPES,
        settings=DriftSettings(cpu_share=0.5, sample_every=1),
        clock=ManualClock(now_ms),
    )
    for number, frame in enumerate(frames):
        watcher.frame(("kalshi-0.1", now_ms * 1_000_000 + number, frame))
    asyncio.run(watcher.close())


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A quiet day, and one on which a field, an event and a word came that nobody had documented."""
    watch(tmp_path, *[delta()] * 20)
    watch(tmp_path, *[delta()] * 10, *[delta(fresh=[1])] * 3, HALT, delta(side="maybe"), now_ms=NOON + DAY_MS)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], lake: Path, *arguments: str, code: int = 0) -> str:
    assert run(["drift", *arguments, "--data-dir", str(lake)]) == code
    captured = capsys.readouterr()
    return captured.err if code == 2 else captured.out


def found(capsys: pytest.CaptureFixture[str], lake: Path, *arguments: str, code: int = 1) -> dict[str, dict[str, Any]]:
    report = json.loads(printed(capsys, lake, *arguments, "--json", code=code))
    return {entry["name"]: entry for entry in report["found"]}


def test_each_departure_has_its_times_count_sample_and_file(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = found(capsys, lake)
    assert set(entries) == {"halt", "orderbook_delta.msg.fresh", "orderbook_delta.msg.side"}
    fresh = entries["orderbook_delta.msg.fresh"]
    (path,) = LakePaths(lake).quarantine_files("kalshi", "2026-01-15")
    assert fresh == {
        "venue": "kalshi", "sort": DriftSort.UNKNOWN_FIELD, "name": "orderbook_delta.msg.fresh", "expected": "",
        "sample": "[1]", "first_ms": NOON + DAY_MS, "last_ms": NOON + DAY_MS, "count": 3, "accepted_ms": None,
        "quarantined": 3, "files": [str(path)],
    }  # fmt: skip
    word = entries["orderbook_delta.msg.side"]
    assert (word["sort"], word["expected"], word["sample"]) == ("domain", "one of yes, no", '"maybe"')
    assert entries["halt"]["sort"] == "unknown_event"


def test_the_table_tells_since_when_and_where_the_messages_are(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, lake, code=1)
    (line,) = (line for line in text.splitlines() if "halt" in line)
    assert line.split()[:8] == [
        "kalshi", "unknown", "event", "halt", "2026-01-15", "12:00:00", "2026-01-15", "12:00:00",
    ]  # fmt: skip
    assert "[b]snow" in text, "a sample is no markup"
    (path,) = LakePaths(lake).quarantine_files("kalshi", "2026-01-15")
    assert f"set aside: {path}" in text
    assert "kalshi: 34 messages of 1 kinds examined from 2026-01-14 12:00:00 to 2026-01-15 12:00:00" in text


def test_days_before_can_be_left_out(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(lake, HALT, now_ms=NOON + 2 * DAY_MS)
    entries = found(capsys, lake, "--since", "2026-01-16")
    assert set(entries) == {"halt"}
    assert (entries["halt"]["first_ms"], entries["halt"]["count"]) == (NOON + DAY_MS, 2)
    assert len(entries["halt"]["files"]) == 2
    text = printed(capsys, lake, "--since", "2026-01-17")
    assert text.startswith("nothing departs from what is documented and usual since 2026-01-17")


def test_what_was_accepted_is_left_out_and_no_failure(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(found(capsys, lake, "--accept", "halt", "--accept", "unknown_field orderbook_delta.msg.fresh")) == {
        "orderbook_delta.msg.side"
    }
    assert "nothing departs" in printed(capsys, lake, "--accept-all")
    assert "3 accepted" in printed(capsys, lake)
    every = found(capsys, lake, "--all", code=0)
    assert all(entry["accepted_ms"] is not None for entry in every.values())
    watch(lake, HALT, now_ms=NOON + 3 * DAY_MS)
    assert found(capsys, lake, code=0) == {}, "accepted for good"


def test_a_lake_without_departures_is_told_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(tmp_path, *[delta()] * 5)
    assert printed(capsys, tmp_path).splitlines()[0] == "nothing departs from what is documented and usual"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--accept", "halt", "--accept", "hold"), "'hold' was not found"),
        (("--since", "noon"), "'noon' is no time"),
    ],
)
def test_a_wrong_word_is_said_in_one_line(
    lake: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in printed(capsys, lake, *arguments, code=2)


def test_a_lake_that_nobody_watched_is_an_error_with_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drift", "--data-dir", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "nothing is known of drift" in message
    assert "overround collect" in message


def test_a_damaged_profile_is_named(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LakePaths(lake).drift("kalshi").write_bytes(b"{")
    assert run(["drift", "--data-dir", str(lake)]) != 0
    assert "drift.json does not read" in capsys.readouterr().err

"""``overround coverage`` on a ledger written as the collector writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from overround.cli.app import root
from overround.storage import CoverageWriter, GapRow, LakePaths, MinuteRow

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
ARGS = ("coverage", "--venue", "kalshi", "--date", "2026-01-14")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Ten minutes of two markets: one verified throughout, one with a gap of two minutes found afterwards."""
    writer = CoverageWriter(LakePaths(tmp_path), "kalshi", level=1, origin="synthetic")
    minutes = [
        MinuteRow(
            minute_ms=NOON + n * 60_000,
            market_id=market,
            outcome_ids=("yes", "no") if market else ("",),
            verified_ms=60_000,
            unverified_ms=0,
            quiet_ms=0,
            gap_ms=0,
            not_subscribed_ms=0,
            venue_down_ms=0,
            updates=7,
            snapshots=3,
            repairs=0,
            live_mask=(1 << 60) - 1,
            until_ms=NOON + (n + 1) * 60_000,
        )
        for n in range(10)
        for market in ("", "WHOLE", "HOLED")
    ]
    gaps = [GapRow(NOON + 120_000, NOON + 240_000, NOON + 200_000, "HOLED", "mute")]
    writer.add(minutes=minutes, gaps=gaps, stays=[], now_ms=NOON + 600_000)
    writer.save(now_ms=NOON + 600_000)
    return tmp_path


def run(lake: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(root, [*ARGS, "--data-dir", str(lake), *more])
    return result.exit_code, result.output + str(result.exception or "")


def test_shares_leave_the_gap_out(lake: Path) -> None:
    code, text = run(lake, "--json")
    assert code == 0
    report = json.loads(text)
    assert report["verified"] == pytest.approx(18 / 20)
    assert report["gap"] == pytest.approx(2 / 20)
    assert [one["cause"] for one in report["causes"]] == ["mute"]


def test_the_table_puts_the_market_with_the_gap_first(lake: Path) -> None:
    code, text = run(lake)
    assert code == 0
    assert "verified 90.0%" in text
    assert text.index("HOLED") < text.index("WHOLE")


@pytest.mark.parametrize("name", ["day.png", "day.html"])
def test_a_picture_is_written(lake: Path, tmp_path: Path, name: str) -> None:
    code, text = run(lake, "--out", str(tmp_path / name))
    assert code == 0, text
    head = (tmp_path / name).read_bytes()
    assert head.startswith(b"\x89PNG" if name.endswith("png") else b"<!") or b"<html" in head[:200]


@pytest.mark.parametrize(
    ("more", "word"),
    [(("--market", "NONE"), "NONE"), (("--out", "day.gif"), "day.gif"), (("--date", "2026-01-13"), "2026-01-13")],
)
def test_what_is_not_there_is_named(lake: Path, more: tuple[str, ...], word: str) -> None:
    code, text = run(lake, *more)
    assert code in (1, 2)
    assert word in text

"""``overround summarize``: a day that was recorded by the collector, and days that lack something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overround.cli.app import run
from overround.storage import SNAPSHOTS, CoverageWriter, GapRow, LakePaths, MinuteRow

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
DAY = ("--venue", "kalshi", "--date", "2026-01-14")


@pytest.fixture
def ledger_only(tmp_path: Path) -> Path:
    """Ten verified minutes of one market, two of them in a gap found afterwards."""
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
        for market in ("", "HOLED")
    ]
    gaps = [GapRow(NOON + 120_000, NOON + 240_000, NOON + 200_000, "HOLED", "mute")]
    writer.add(minutes=minutes, gaps=gaps, stays=[], now_ms=NOON + 600_000)
    writer.save(now_ms=NOON + 600_000)
    return tmp_path


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_a_recorded_and_mined_day_is_one_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERROUND_MOCK__ENABLED", "true")
    monkeypatch.setenv("OVERROUND_MOCK__MARKETS", "80")
    monkeypatch.setenv("OVERROUND_MONITORING__ENABLED", "false")
    monkeypatch.setenv("OVERROUND_VENUES__KALSHI__SNAPSHOT_INTERVAL_MS_WARM", "500")
    lake = ("--data-dir", str(tmp_path))
    assert run(["collect", "--venue", "kalshi", "--duration", "4", *lake]) == 0
    day = ("--venue", "kalshi", "--date", LakePaths(tmp_path).days(SNAPSHOTS, "kalshi")[0], *lake)
    capsys.readouterr()
    assert run(["summarize", *day]) == 0
    assert "not mined yet: overround mine --venue kalshi" in capsys.readouterr().out
    assert run(["mine", *day]) == 0
    capsys.readouterr()
    assert run(["summarize", *day, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tables = {entry["table"]: entry for entry in found["stored"]}
    assert tables["orderbook_snapshots"]["rows"] > 0
    assert tables["raw"]["bytes"] > 0
    assert found["coverage"]["verified"] > 0.5
    updates = [market["quote_updates"] for market in found["active"]]
    assert updates
    assert updates == sorted(updates, reverse=True)
    assert found["active"][0]["title"]
    assert found["listing_changes"]["listed"] == 40
    assert run(["summarize", *day]) == 0
    page = capsys.readouterr().out
    assert found["active"][0]["title"][:20] in page
    assert "listing: 40 listed" in page


def test_a_day_with_a_ledger_only_says_what_it_has(ledger_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["summarize", *DAY, "--data-dir", str(ledger_only)]) == 0
    page = capsys.readouterr().out
    assert "verified 80.0%" in page
    assert "mute" in page
    assert "not mined yet" in page
    assert "listing: nothing changed" in page


def test_a_day_of_which_nothing_is_stored_is_named(ledger_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["summarize", "--venue", "kalshi", "--date", "2026-01-13", "--data-dir", str(ledger_only)]
    assert run(arguments) == 1
    assert "2026-01-13" in capsys.readouterr().err

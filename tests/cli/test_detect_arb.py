"""From a listing's words and a recorded day to violations.parquet, and to the checker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import polars as pl
import pytest

from overround.cli.app import run
from overround.config import StorageSettings
from overround.market import Integrity, Market, MarketId, Origin, OutcomeId, Venue
from overround.storage import LakePaths, SnapshotWriter, write_universe
from overround.storage.universe import read_universe
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market

DAY, NOON = "2027-05-02", 1_809_259_200_000
RULES = (
    'This market will resolve to "Yes" if the Binance 1 minute candle for DOG/USDT 12:00 in the ET timezone (noon) on the date '
    'specified in the title has a final "Close" price higher than the price specified in the title. Otherwise, "No".'
)


def rung(strike: int) -> Market:
    return a_market(
        strike, market_id=MarketId(f"0x{strike:064x}"), outcome_ids=(OutcomeId(f"{strike}1"), OutcomeId(f"{strike}2")),
        title=f"Will the price of Dog be above ${strike} on May 3?", label=str(strike), rules_text=RULES, event_id="above",
        venue=Venue.POLYMARKET, open_ts=NOON - 12 * 86_400_000, close_ts=NOON + 86_400_000, origin=Origin.SYNTHETIC,
    )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Above 80 is bid over what above 70 is offered at, for four seconds."""
    paths = LakePaths(tmp_path / "lake")
    strict, loose = rung(80), rung(70)
    write_universe(paths, "polymarket", DAY, [strict, loose])

    async def record() -> None:
        writer = SnapshotWriter(
            paths, "polymarket", settings=StorageSettings(), top_k=50, origin=Origin.SYNTHETIC, clock=ManualClock(NOON)
        )
        writer.start()
        books = [(0, strict, 40, 42), (0, loose, 50, 52), (4, strict, 60, 62), (8, strict, 44, 46), (9, loose, 50, 52)]
        for number, (second, market, bid, ask) in enumerate(books):
            key = writer.buffer.register(market.market_id, market.outcome_ids)
            writer.buffer.append(
                key, NOON + second * 1_000, {bid * 100: 10**8}, {ask * 100: 10**8}, seq=number if market is strict else 1, source_ts=None,
                stale=False, err=None, integrity=Integrity.VERIFIED,
            )  # fmt: skip
        await writer.stop()

    asyncio.run(record())
    return paths.root


def test_the_words_of_a_listing_become_a_finding_that_verifies(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--venue", "polymarket", "--date", DAY, "--data-dir", str(lake)]
    assert run(["rules", "detect-arb", *arguments]) == 0
    told = capsys.readouterr().out
    assert "monotonic_ladder" in told
    assert "4.0 s" in told
    assert "1 episode in 5 books of 2 markets in 1 component" in told
    file = LakePaths(lake).logic("polymarket", DAY, "violations")
    row = pl.read_parquet(file).row(0, named=True)
    assert (row["start_ts"], row["end_ts"], row["grade"]) == (NOON + 4_000, NOON + 8_000, "proved")
    # 100 pairs at 0.40 and 0.52, no fee on this market.
    assert row["profit_usd"] == pytest.approx(8.0)
    assert run(["rules", "verify", str(file)]) == 0
    assert "1 certificate: 1 proved, 0 refused" in capsys.readouterr().out

    # A day's lock at 8.7 percent is worth it where money earns 1,000 percent a year, and not at 5,000.
    for rate, episodes in (("1000", 1), ("5000", 0)):
        assert run(["rules", "detect-arb", *arguments, "--json", "--idle-rate", rate]) == 0
        assert len(json.loads(capsys.readouterr().out)["episodes"]) == episodes

    assert run(["rules", "detect-arb", *arguments, "--json", "--least-profit", "9"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == []
    assert pl.read_parquet(file).is_empty()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--venue", "kalshi", "--date", DAY], 1, "no listing of kalshi"), (["--all-venues", "--date", DAY], 1, "no listing of kalshi"),
        (["--date", "2027-05-09"], 1, "no listing of polymarket"), (["--date", "2027-13-01"], 2, "is no date"),
        (["--venue", "polymarket", "--all-venues"], 2, "exclude each other"), (["--duration", "5"], 2, "say --follow"), (["--journal", "--follow"], 2, "exclude each other"), (["--venue", "polymarket", "--date", DAY, "--journal"], 1, "no journal on"), (["--hours", "25"], 2, "25"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_said_in_one_line(
    lake: Path, arguments: list[str], code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rules", "detect-arb", *arguments, "--data-dir", str(lake)]) == code
    assert why in capsys.readouterr().err
    assert not LakePaths(lake).logic("polymarket", DAY, "violations").exists()


def test_following_ends_after_its_time_and_writes_what_it_found(
    lake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overround.clock.SystemClock.now_ms", lambda _: NOON + 60_000)
    arguments = ["--venue", "polymarket", "--date", DAY, "--data-dir", str(lake), "--follow", "--duration", "0.1"]
    assert run(["rules", "detect-arb", *arguments]) == 0
    told = capsys.readouterr()
    assert "12:00:08 ends: monotonic_ladder (proved), 8.00 USD" in told.err
    assert "1 episode in 5 books of 2 markets in 1 component" in told.out
    assert len(pl.read_parquet(LakePaths(lake).logic("polymarket", DAY, "violations"))) == 1


def test_a_follower_takes_over_new_words_while_it_runs(
    lake: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its rules gone, the ladder is no ladder: what stands is left without an end, and nothing else is claimed."""
    now = [NOON + 5_000]
    monkeypatch.setattr("overround.clock.SystemClock.now_ms", lambda _: now[0] + 10_000)

    def asleep(_: float) -> None:
        if now[0] == NOON + 60_000:
            raise KeyboardInterrupt
        now[0] = NOON + 60_000
        path = LakePaths(lake)
        listing = read_universe(path.universe("polymarket", DAY))
        changed = [
            msgspec.structs.replace(one, title="Will it rain?", rules_text="If it rains.", label="") for one in listing
        ]
        write_universe(path, "polymarket", DAY, changed)

    monkeypatch.setattr("time.sleep", asleep)
    assert (
        run(["rules", "detect-arb", "--venue", "polymarket", "--date", DAY, "--data-dir", str(lake), "--follow"]) == 0
    )
    told = capsys.readouterr()
    assert "begins: monotonic_ladder" in told.err
    assert told.err.count("read what had changed") == 2
    assert "ends:" not in told.err
    assert "or more" in told.out


@pytest.mark.long
def test_mock_records_planted_arbitrage_and_proves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many plants are seen rests on the machine's pace; that what is found verifies does not."""
    monkeypatch.setenv("OVERROUND_MOCK__MARKETS", "300")
    monkeypatch.setattr("overround.cli.rules_stages._MOCK_S", 14.0)
    assert run(["rules", "run-all", "--mock", "--data-dir", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "recording the local exchange for 14 s" in told.err
    assert "polymarket constraints" in told.out
    assert " episodes in " in told.out
    for file in sorted(tmp_path.glob("logic/venue=*/date=*/violations.parquet")):
        if len(pl.read_parquet(file)):
            assert run(["rules", "verify", str(file)]) == 0
    # What was recorded is used again.
    assert run(["rules", "detect-arb", "--mock", "--data-dir", str(tmp_path)]) == 0
    assert "recording" not in capsys.readouterr().err

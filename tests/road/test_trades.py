"""Every print of a held market is in the trades table once, whatever the wire did to it; the exchange knows them all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest

from overround.clock import SystemClock
from overround.config import Settings
from overround.exchange import ExchangeThread, Fault, FaultScript
from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import span_of
from overround.pipelines.rebuild_lake import rebuild_lake
from overround.storage import JOURNAL, TRADES, LakePaths, inclusion_of, scan_trades

from .road import travel

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(120)]

PRINTS = {Venue.KALSHI: "trade", Venue.POLYMARKET: "last_trade_price"}
# Subscriptions take effect, and the last prints arrive, a little later than the ledger's account begins and ends.
MARGIN_MS = 2_500
KEY = ["market_id", "ts_recv", "outcome_id", "px", "sz", "source_ts", "trade_id"]

Print = tuple[str, int, int, bool]


def truth_of(thread: ExchangeThread, venue: Venue) -> list[tuple[int, Print]]:
    told = httpx2.get(f"{thread.urls.truth_url}/{venue}/trades", timeout=10).json()
    return [(each["ts_ms"], (each["key"], each["px_e4"], each["sz_e6"], each["taker_buys"])) for each in told]


def stored(paths: LakePaths, venue: Venue) -> pl.DataFrame:
    return scan_trades(paths, venue).sort(KEY, nulls_last=True).collect()


def prints(rows: pl.DataFrame) -> list[tuple[int, Print]]:
    """Stored trades as the truth tells them: of the first outcome."""
    return [
        (
            row["source_ts"],
            (
                row["market_id"],
                round((row["px"] if row["first"] else 1 - row["px"]) * 10_000),
                round(row["sz"] * 1_000_000),
                row["first"] == (row["taker_side"] == "buy"),
            ),
        )
        for row in rows.iter_rows(named=True)
    ]


def held(paths: LakePaths, venue: Venue) -> dict[str, tuple[int, int]]:
    """From when to when each market was held without a break, less the margin."""
    days = paths.days(TRADES, venue)
    stays = (
        inclusion_of(paths, venue, days)
        .group_by("market_id")
        .agg(pl.col("start_ms").min(), pl.col("end_ms").max())
        .collect()
    )
    return {key: (start + MARGIN_MS, end - MARGIN_MS) for key, start, end in stays.iter_rows()}


def check_against_truth(paths: LakePaths, venue: Venue, told: list[tuple[int, Print]]) -> int:
    """Compare; returns how many trades had to be there."""
    rows = prints(stored(paths, venue))
    truth = Counter(each for _, each in told)
    surplus = Counter(each for _, each in rows) - truth
    assert not surplus, f"stored and not true, or stored twice: {surplus}"
    spans = held(paths, venue)
    due = [(ts, each) for ts, each in told if each[0] in spans and spans[each[0]][0] <= ts <= spans[each[0]][1]]
    missing = Counter(each for _, each in due) - Counter(each for _, each in rows)
    assert not missing, f"true and not stored: {missing}"
    if venue is Venue.KALSHI:
        assert set(rows) <= set(told), "with the venue's own time"
    return len(due)


SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "calm": [],
    "duplicated": [{"kind": "duplicate", "params": {"count": 40}}],
    "reordered": [
        {"kind": "reorder", "params": {"count": 40}},
        {"kind": "late", "params": {"count": 20, "every": 3, "delay_ms": 700}},
    ],
    "held back": [{"kind": "stall", "duration_ms": 2_000, "params": {}}],
}


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_the_table_equals_what_was_traded(tmp_path: Path, name: str) -> None:
    script = FaultScript(
        tuple(
            Fault(
                venue=venue,
                at_ms=2_500,
                **{**fault, "params": {**fault["params"], "frames": [PRINTS[venue]]}},
            )
            for venue in Venue
            for fault in SCRIPTS[name]
        )
    )
    told: dict[Venue, list[tuple[int, Print]]] = {}

    def ask(thread: ExchangeThread, _: Settings) -> None:
        told.update({venue: truth_of(thread, venue) for venue in Venue})

    trip = travel(tmp_path, duration_s=9, faults=script, afterwards=ask)
    paths = LakePaths(tmp_path)
    for venue in Venue:
        if SCRIPTS[name]:
            assert trip.faults[venue][0]["frames"] >= 2, "the faults met prints"
        assert check_against_truth(paths, venue, told[venue]) > 10
        rows = stored(paths, venue)
        assert rows.height == trip.recorders[venue].writer.stats.trades
        desk = trip.recorders[venue].trades
        assert desk.other_legs == 0
        if name == "duplicated":
            assert desk.repeated >= 2
        if venue is Venue.KALSHI:
            # Every one of these prints took its whole size from the book, however late it was told.
            assert rows["book_sz"].to_list() == rows["sz"].to_list()
            assert rows["book_seq"].null_count() == 0
        assert verify_lake(paths, venue=venue, top_k=50).ok


@pytest.mark.parametrize("venue", list(Venue))
def test_the_journal_gives_the_same_trades_again(tmp_path: Path, venue: Venue) -> None:
    travel(tmp_path / "lake", duration_s=6, venues=[venue])
    paths, again = LakePaths(tmp_path / "lake"), LakePaths(tmp_path / "again")
    for day in paths.days(JOURNAL, venue):
        result = rebuild_lake(paths, venue, span_of(day, None), out=again.root, level=3, clock=SystemClock())
        assert result.trades > 10
    rows = stored(paths, venue)
    assert stored(again, venue).equals(rows)
    assert verify_lake(again, venue=venue, top_k=50).ok
    for day in paths.days(JOURNAL, venue):
        rebuild_lake(paths, venue, span_of(day, None), out=None, level=3, clock=SystemClock())
    assert stored(paths, venue).equals(rows)
    assert verify_lake(paths, venue=venue, top_k=50).ok

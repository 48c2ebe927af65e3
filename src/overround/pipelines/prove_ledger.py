"""The ledger's counts against the replay: rows taken and changes applied, of each outcome in each minute.

The seconds of a minute, gaps and stays are not in the journal: they come from when the collector looked, which no frame tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from overround.collector.rerun import Tally
from overround.collector.runs import Replayed, Stretch, Tallies, add_tallies
from overround.errors import NothingStored
from overround.market import MarketId, OutcomeId, Share
from overround.storage.coverage import coverage_of
from overround.storage.paths import LakePaths, Shard
from overround.timebucket import day_start_ms

__all__ = ["Count", "LedgerCounts", "compare_counts"]

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
# A ledger is made durable at least so often; what was counted since is lost with the process.
UNSAVED_MS = 2 * MINUTE_MS

COLUMNS = ("snapshots", "updates")

Key = tuple[MarketId, OutcomeId]


class Count(NamedTuple):
    """One count that differs."""

    minute: int
    market_id: MarketId
    outcome_id: OutcomeId
    column: str
    stored: int
    expected: int


class LedgerCounts(NamedTuple):
    """What became of the comparison.

    Attributes
    ----------
    equal : int
        Outcomes' minutes whose counts are those of the replay.
    wrong : list of Count
    unknown : int
        Outcomes' minutes of which the journal does not tell all.
    """

    equal: int
    wrong: list[Count]
    unknown: int


def compare_counts(
    paths: LakePaths,
    venue: str,
    date: str,
    runs: Sequence[Replayed],
    *,
    hours: Collection[int],
    market: str | None,
    open_from_ms: int | None,
) -> LedgerCounts:
    """Compare a day's ``snapshots`` and ``updates`` with what the replays counted.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    runs : sequence of Replayed
        All of the venue that reach into the hours, wholly replayed.
    hours : collection of int
        Of the day.
    market : str or None
        Only this one.
    open_from_ms : int or None
        A collector is at work: what it counted from here on need not be durable yet.
    """
    expected: Tallies = {}
    outcomes: dict[MarketId, tuple[OutcomeId, ...]] = {}
    by_shard: dict[Shard, list[Replayed]] = {}
    for run in runs:
        add_tallies(expected, run.tallies)
        outcomes |= run.outcomes
        by_shard.setdefault(run.shard, []).append(run)
    unknown = {shard: [stretch for run in own for stretch in _unknown_of(run)] for shard, own in by_shard.items()}
    if open_from_ms is not None:
        for stretches in unknown.values():
            stretches.append(Stretch(from_ms=open_from_ms - UNSAVED_MS, to_ms=1 << 62))
    owners: dict[MarketId, set[Shard]] = {}
    stored = _stored(paths, venue, date, market)
    equal = unsure = 0
    wrong: list[Count] = []
    for minute in _minutes_of(date, hours):
        end = minute + MINUTE_MS
        told = {run.shard for run in runs if any(each.from_ms < end and each.to_ms > minute for each in run.known)}
        doubtful = {
            shard
            for shard, stretches in unknown.items()
            if any(each.from_ms <= end and each.to_ms >= minute for each in stretches)
        }
        due = {
            (market_id, outcome_id): tally
            for market_id, tally in expected.get(minute, {}).items()
            if market in (None, market_id)
            for outcome_id in outcomes[market_id]
        }
        held = stored.get(minute, {})
        for key in sorted(due.keys() | held.keys()):
            tally = due.get(key) or Tally()
            # Of several where the number of collectors has changed.
            shards = owners.get(key[0])
            if shards is None:
                shards = owners[key[0]] = {shard for shard in by_shard if Share(*shard).owns(key[0])}
            if not tally.whole or told.isdisjoint(shards) or not doubtful.isdisjoint(shards):
                unsure += 1
                continue
            pairs = zip(COLUMNS, held.get(key, (0, 0)), (tally.snapshots, tally.updates), strict=True)
            found = [Count(minute, *key, name, is_, should) for name, is_, should in pairs if is_ != should]
            wrong += found
            equal += not found
    return LedgerCounts(equal, wrong, unsure)


def _minutes_of(date: str, hours: Collection[int]) -> Iterator[int]:
    day_ms = day_start_ms(date)
    for hour in sorted(hours):
        yield from range(day_ms + hour * HOUR_MS, day_ms + (hour + 1) * HOUR_MS, MINUTE_MS)


def _stored(paths: LakePaths, venue: str, date: str, market: str | None) -> dict[int, dict[Key, tuple[int, ...]]]:
    """Counts that are not all zero, by minute."""
    try:
        minutes = coverage_of(paths, venue, date, markets=None if market is None else [market])
    except NothingStored:
        return {}
    found: dict[int, dict[Key, tuple[int, ...]]] = {}
    rows = minutes.select("minute", "market_id", "outcome_id", *COLUMNS).collect()
    for minute, market_id, outcome_id, *counts in rows.iter_rows():
        if any(counts):
            found.setdefault(minute, {})[MarketId(market_id), OutcomeId(outcome_id)] = tuple(counts)
    return found


def _unknown_of(run: Replayed) -> list[Stretch]:
    """Holes, and what the ledger had not saved when a run died at the beginning of one; and pauses.

    After a pause the ledger may count the first rows to the minute before it.
    """
    return [*(Stretch(from_ms=hole.from_ms - UNSAVED_MS, to_ms=hole.to_ms) for hole in run.holes), *run.pauses]

"""The recording runs that a stretch of journal holds, each made again from its beginning or from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from overround.collector.checkpoint import RunSettings, code_digest
from overround.collector.rerun import Rerun, Tally, decode_entry, decode_mark
from overround.errors import UNREADABLE, FileDamaged
from overround.market import MarketId, OutcomeId, Trade
from overround.storage.buffer import Cut
from overround.storage.journal import JournalLines
from overround.storage.paths import JOURNAL, LakePaths, Shard

__all__ = [
    "JOURNAL_ENDS",
    "JournalRun",
    "Replayed",
    "RunPart",
    "Stretch",
    "Tallies",
    "add_tallies",
    "find_runs",
    "has_beginning",
    "replay_run",
]


JOURNAL_ENDS = "the journal ends before the run does"
# Connections are heard or spoken to more often than this.
PAUSE_MS = 20_000
# What a state of feeds written by other code may raise when these feeds go on with it.
_OTHER_SHAPE = (AttributeError, KeyError, TypeError)
Tallies = dict[int, dict[MarketId, Tally]]
_BEGINNINGS = frozenset({"run", "state"})
_TRADES_EVERY = 4_096
"""Lines after which the trades among them are taken."""


@dataclass(frozen=True, kw_only=True)
class RunPart:
    """One journal file.

    Attributes
    ----------
    path : Path
    number : int
        Its place in the run, from 0.
    start_ms : int
        Start of its bucket.
    """

    path: Path
    number: int
    start_ms: int


@dataclass(frozen=True, kw_only=True)
class JournalRun:
    """The files of one run, in their order; an empty id for files of which nothing says whose they are."""

    run_id: str
    parts: tuple[RunPart, ...]
    shard: Shard = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of time and what is said about it.

    Attributes
    ----------
    from_ms, to_ms : int
        To the millisecond of the lines that bound it.
    why : str
    """

    from_ms: int
    to_ms: int
    why: str = ""


@dataclass(kw_only=True)
class Replayed:
    """What became of one run; filled while it is replayed.

    Attributes
    ----------
    shard : Shard
        Whose run it is.
    settings : RunSettings or None
        None where neither a beginning nor a checkpoint was found.
    known : list of Stretch
        Between these bounds every row is known.
    holes : list of Stretch
        What cannot be made again, and why.
    durable_ms : int
        Rows up to here were on disk.
    dropped : int
        Rows that never reached the disk, as the journal says.
    stopped : bool
        The run ended cleanly.
    frames, rows : int
    diverged : str
        See ``Rerun``.
    last_ms : int
        Time of the last line read.
    tallies : dict of int to dict of MarketId to Tally
        What the ledger counts, by minute (its start, ms) and market.
    outcomes : dict of MarketId to tuple of OutcomeId
        Of each market those of which rows were stored.
    pauses : list of Stretch
        Between two lines that lie far apart: the machine slept, or the clock was set. Rows are known all the same.
    """

    run_id: str
    shard: Shard = (0, 1)
    settings: RunSettings | None = None
    known: list[Stretch] = field(default_factory=list)
    holes: list[Stretch] = field(default_factory=list)
    durable_ms: int = 0
    dropped: int = 0
    stopped: bool = False
    frames: int = 0
    rows: int = 0
    diverged: str = ""
    last_ms: int = 0
    tallies: Tallies = field(default_factory=dict)
    outcomes: dict[MarketId, tuple[OutcomeId, ...]] = field(default_factory=dict)
    pauses: list[Stretch] = field(default_factory=list)


def find_runs(paths: LakePaths, venue: str, days: Sequence[str], *, from_ms: int, to_ms: int) -> list[JournalRun]:
    """Runs that have a journal file between two times.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    days : sequence of str
        UTC days to look into.
    from_ms, to_ms : int
        Starts of buckets.
    """
    found: dict[tuple[str, Shard], list[RunPart]] = {}
    for day in days:
        for hour in paths.hours(JOURNAL, venue, day):
            for path in paths.journal_files(venue, day, hour):
                start_ms, _, shard = paths.journal_bucket(path)
                if not from_ms <= start_ms < to_ms:
                    continue
                run_id, number = _head_of(path)
                found.setdefault((run_id, shard), []).append(RunPart(path=path, number=number, start_ms=start_ms))
    runs = [
        JournalRun(
            run_id=run_id,
            parts=tuple(sorted(parts, key=lambda part: (part.number, part.start_ms, part.path))),
            shard=shard,
        )
        for (run_id, shard), parts in found.items()
    ]
    return sorted(runs, key=lambda run: run.parts[0].start_ms)


def _head_of(path: Path) -> tuple[str, int]:
    """Run and number of a journal file; an empty name where it says none."""
    for line in JournalLines(path):
        try:
            mark = decode_mark(line)
        except UNREADABLE:
            return "", 0
        return (mark.run, mark.number) if mark.event == "file" else ("", 0)
    return "", 0


def has_beginning(path: Path) -> bool:
    """Whether a replay can begin in a journal file: at the run's own beginning, or at a checkpoint."""
    for line in JournalLines(path):
        # What the recorder puts into a line first comes first; a frame begins with another word.
        if line.startswith(b'{"ns":') and any(b'"event":"%b"' % event.encode() in line[:200] for event in _BEGINNINGS):
            return True
    return False


def replay_run(
    run: JournalRun,
    result: Replayed,
    *,
    until_ms: int,
    on_part: Callable[[RunPart], None] | None = None,
    on_trades: Callable[[list[Trade]], None] | None = None,
) -> Iterator[Cut]:
    """Make a run's rows again; yields them in blocks, never of two buckets, in the order of time.

    Parameters
    ----------
    run : JournalRun
    result : Replayed
        Filled on the way; whole at the end.
    until_ms : int
        Stop after the first line of later than this.
    on_part : callable
        Told of every file when it is begun.
    on_trades : callable, optional
        Is given the run's trades, some at a time.
    """
    rerun: Rerun | None = None
    unread = 0
    known_from = hole_from = 0
    why = "the journal does not go back to where the run or a checkpoint of it begins"
    due = run.parts[0].number
    for part in run.parts:
        if on_part is not None:
            on_part(part)
        if not run.run_id:
            result.holes.append(
                Stretch(from_ms=part.start_ms, to_ms=part.start_ms, why="recorded by a version that kept no calls")
            )
            continue
        reader = JournalLines(part.path)
        broken = "" if part.number == due else f"journal files {due} to {part.number - 1} of the run are missing"
        due = part.number + 1
        for line in reader:
            try:
                entry = decode_entry(line)
            except UNREADABLE as exc:
                broken = f"{part.path.name}: a line is damaged: {exc}"
                continue
            event = entry.event
            if event == "dropped":
                broken = "the disk refused the journal for too long: lines were given up"
            if broken and rerun is not None:
                yield from _end(rerun, result, known_from, on_trades)
                hole_from, why, rerun = rerun.now_ms or result.last_ms, broken, None
            broken = ""
            now_ms = entry.at_ns // 1_000_000
            if now_ms > until_ms:
                if rerun is not None:
                    yield from _end(rerun, result, known_from, on_trades)
                elif hole_from or why:
                    result.holes.append(Stretch(from_ms=hole_from or part.start_ms, to_ms=now_ms, why=why))
                return
            if result.last_ms and abs(now_ms - result.last_ms) > PAUSE_MS:
                between = sorted((now_ms, result.last_ms))
                result.pauses.append(Stretch(from_ms=between[0], to_ms=between[1]))
            if event == "file":
                # Written when the first block is: later than what the lines after it tell of.
                continue
            result.last_ms = max(result.last_ms, now_ms)
            try:
                if rerun is None and event in _BEGINNINGS:
                    settings = decode_mark(line).settings
                    if settings is not None:
                        rerun = Rerun(settings, trades=on_trades is not None)
                        result.settings = settings
                        known_from = now_ms
                        if event == "state":
                            result.holes.append(Stretch(from_ms=hole_from or part.start_ms, to_ms=now_ms, why=why))
                            known_from = 0
                if rerun is not None:
                    yield from rerun.take(entry, line)
                    unread += 1
                    if on_trades is not None and unread >= _TRADES_EVERY:
                        unread = 0
                        on_trades(rerun.trades(now_ms=now_ms))
            except (FileDamaged, *_OTHER_SHAPE) as exc:
                if not isinstance(exc, FileDamaged) and (rerun is None or rerun.settings.code == code_digest()):
                    raise
                if rerun is not None:
                    yield from _end(rerun, result, known_from, on_trades)
                hole_from, why, rerun = (rerun.now_ms if rerun is not None else 0) or result.last_ms, str(exc), None
        if reader.damage or not reader.ended:
            torn = f"{part.path.name} is torn: {reader.damage}"
            why_torn = torn if reader.damage else f"{JOURNAL_ENDS}: {part.path.name} was not ended"
            if rerun is not None:
                yield from _end(rerun, result, known_from, on_trades)
                hole_from, why = rerun.now_ms or result.last_ms, why_torn
                rerun = None
    if rerun is not None:
        yield from _end(rerun, result, known_from, on_trades)
        if not result.stopped:
            result.holes.append(Stretch(from_ms=result.last_ms, to_ms=result.last_ms, why=JOURNAL_ENDS))
    elif run.run_id:
        result.holes.append(Stretch(from_ms=hole_from or run.parts[0].start_ms, to_ms=result.last_ms, why=why))


def _end(
    rerun: Rerun, result: Replayed, known_from: int, on_trades: Callable[[list[Trade]], None] | None
) -> Iterator[Cut]:
    """Hand on what is left and note what was reached."""
    if on_trades is not None:
        on_trades(rerun.trades(now_ms=None))
    cut = rerun.cut()
    if cut is not None:
        yield cut
    # A row may be taken at an instant and its line lost: known is what lies between rows that the journal tells of.
    begin = known_from or rerun.began_ms or result.last_ms
    end = result.last_ms if rerun.stopped else rerun.now_ms
    if begin < end:
        result.known.append(Stretch(from_ms=begin, to_ms=end))
    result.durable_ms = max(result.durable_ms, rerun.durable_ms)
    result.dropped += rerun.dropped
    result.stopped = result.stopped or rerun.stopped
    result.frames += rerun.frames
    result.rows += rerun.rows
    result.diverged = result.diverged or rerun.diverged
    result.outcomes |= rerun.outcomes
    add_tallies(result.tallies, rerun.tallies)


def add_tallies(tallies: Tallies, more: Tallies) -> None:
    """Add to what was counted of minutes: a part of one may be counted before a hole, and another after it."""
    for minute, by_market in more.items():
        held = tallies.setdefault(minute, by_market)
        if held is by_market:
            continue
        for market_id, tally in by_market.items():
            mine = held.setdefault(market_id, tally)
            if mine is not tally:
                mine.snapshots += tally.snapshots
                mine.updates += tally.updates
                mine.whole = mine.whole and tally.whole

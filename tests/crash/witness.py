"""What was taken in and called durable, compared with what the lake holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import polars as pl

from overround.market import Venue
from overround.storage import COVERAGE, JOURNAL, LakePaths, gaps_of, read_journal, runs_of, scan_snapshots
from overround.storage.journal import JournalEntry

RowKey = tuple[str, str, int, int, float, float]
FrameKey = tuple[str, int, int]


@dataclass
class Taken:
    """One buffer's or journal's entries in their order, and how many of them were called durable."""

    entries: list[tuple[object, ...]] = field(default_factory=list)
    durable: int = 0


class Witness(NamedTuple):
    """One life."""

    began_ms: int
    rows: dict[str, Taken]
    frames: dict[str, Taken]
    died: tuple[int, str] | None
    accounted_ms: dict[str, int]


def read_witness(path: Path) -> Witness:
    """Parse what the probe noted."""
    rows: dict[str, Taken] = {}
    frames: dict[str, Taken] = {}
    accounted: dict[str, int] = {}
    began, died = 0, None
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, *words = line.split("|")
        if kind == "row":
            who, market, outcomes, ts, seq, bid, ask = words
            rows.setdefault(who, Taken()).entries.append((market, outcomes, int(ts), int(seq), int(bid), int(ask)))
        elif kind == "frame":
            who, conn, recv_ns, crc = words
            frames.setdefault(who, Taken()).entries.append((conn, int(recv_ns), int(crc)))
        elif kind == "rows_durable":
            rows.setdefault(words[0], Taken()).durable = int(words[1])
        elif kind == "frames_durable":
            frames.setdefault(words[0], Taken()).durable = int(words[1])
        elif kind == "ledger_durable":
            accounted[words[0]] = max(accounted.get(words[0], 0), int(words[1]))
        elif kind == "begin":
            began = int(words[0])
        elif kind == "die":
            died = int(words[0]), " ".join(words[1:])
    return Witness(began, rows, frames, died, accounted)


@dataclass
class Verdict:
    """What a comparison found."""

    rows_taken: int = 0
    rows_durable: int = 0
    rows_held: int = 0
    frames_taken: int = 0
    frames_durable: int = 0
    frames_held: int = 0
    oldest_lost_ms: int = 0
    lost: list[tuple[Venue, str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)


def compare(paths: LakePaths, lives: Sequence[tuple[Witness, int | None]]) -> Verdict:
    """Every row and frame of every life against the lake.

    Parameters
    ----------
    paths : LakePaths
    lives : sequence of (Witness, int or None)
        With the time of death, ms; None for a life that ended cleanly: it may have lost nothing.
    """
    verdict = Verdict()
    held_rows, held_frames = lake_rows(paths), lake_frames(paths)
    verdict.rows_held, verdict.frames_held = held_rows.total(), held_frames.total()
    all_rows: Counter[RowKey] = Counter()
    all_frames: Counter[FrameKey] = Counter()
    must_rows: Counter[RowKey] = Counter()
    must_frames: Counter[FrameKey] = Counter()
    for witness, died_ms in lives:
        for taken in witness.rows.values():
            due = len(taken.entries) if died_ms is None else taken.durable
            verdict.rows_taken += len(taken.entries)
            verdict.rows_durable += due
            for number, entry in enumerate(taken.entries):
                keys = row_keys(entry)
                all_rows.update(keys)
                if number < due:
                    must_rows.update(keys)
                elif died_ms is not None and keys[0] not in held_rows:
                    # Of a life that died before its first account nothing claims that it ran: the hole is that.
                    if (venue := venue_of(entry)) in witness.accounted_ms:
                        verdict.lost.append((venue, keys[0][0], keys[0][2]))
                    verdict.oldest_lost_ms = max(verdict.oldest_lost_ms, died_ms - keys[0][2])
        for taken in witness.frames.values():
            due = len(taken.entries) if died_ms is None else taken.durable
            verdict.frames_taken += len(taken.entries)
            verdict.frames_durable += due
            all_frames.update(taken.entries)  # type: ignore[arg-type]
            must_frames.update(taken.entries[:due])  # type: ignore[arg-type]
    for what, must, may, held in (
        ("row", must_rows, all_rows, held_rows),
        ("frame", must_frames, all_frames, held_frames),
    ):
        for key, n in must.items():  # type: ignore[attr-defined]
            if held[key] < n:
                verdict.say(f"{what} {key} was called durable {n} times, the lake holds it {held[key]} times")
        for key, n in held.items():  # type: ignore[attr-defined]
            if n > may[key]:
                verdict.say(f"the lake holds {what} {key} {n} times, it was taken in {may[key]} times")
    return verdict


def venue_of(entry: tuple[object, ...]) -> Venue:
    """The venue of a row, which its outcomes tell: Kalshi's are called yes and no."""
    return Venue.KALSHI if str(entry[1]).startswith("yes") else Venue.POLYMARKET


def of_venue(witness: Witness, venue: str) -> list[Taken]:
    """A venue's buffers of which rows were called durable."""
    return [taken for taken in witness.rows.values() if taken.durable and venue_of(taken.entries[0]) == venue]


def entry_ms(entry: tuple[object, ...]) -> int:
    """When a row was taken in."""
    assert isinstance(entry[2], int)
    return entry[2]


def row_keys(entry: tuple[object, ...]) -> list[RowKey]:
    """The rows that one appended book becomes; levels are told by the best prices of the first outcome."""
    market, outcomes, ts, seq, bid, ask = entry
    assert isinstance(market, str)
    assert isinstance(outcomes, str)
    assert isinstance(ts, int)
    assert isinstance(seq, int)
    assert isinstance(bid, int)
    assert isinstance(ask, int)
    first, *others = outcomes.split(",")
    keys = [(market, first, ts, seq, bid, ask)]
    # The second outcome's book is the first one's, seen from the other side; 0 stands for a side without levels.
    keys += [(market, other, ts, seq, 10_000 - ask if ask else 0, 10_000 - bid if bid else 0) for other in others]
    return keys


def lake_rows(paths: LakePaths) -> Counter[RowKey]:
    """Every row of the lake, those in write-ahead files included."""
    held: Counter[RowKey] = Counter()
    columns = ("market_id", "outcome_id", "ts_recv", "seq", "best_bid_px", "best_ask_px")
    for venue in Venue:
        try:
            rows = scan_snapshots(paths, venue).select(columns).collect()
        except FileNotFoundError:
            continue
        for market, outcome, ts, seq, bid, ask in rows.iter_rows():
            held[market, outcome, ts, seq, _e4(bid), _e4(ask)] += 1
    return held


def _e4(px: float | None) -> int:
    return 0 if px is None or px != px else round(px * 10_000)


def lake_frames(paths: LakePaths) -> Counter[FrameKey]:
    """Every received frame of the journals."""
    held: Counter[FrameKey] = Counter()
    for venue in Venue:
        for date in paths.days(JOURNAL, venue):
            for hour in paths.hours(JOURNAL, venue, date):
                for path in paths.journal_files(venue, date, hour):
                    held.update(frame_key(entry) for entry in read_journal(path) if entry.recv_ns is not None)
    return held


def frame_key(entry: JournalEntry) -> FrameKey:
    """As the probe noted it."""
    assert entry.recv_ns is not None
    return entry.conn, entry.recv_ns, crc32(entry.wire)


def unrecorded_losses(paths: LakePaths, lost: Sequence[tuple[Venue, str, int]]) -> list[str]:
    """Rows that were taken in and are lost, though the ledger shows no gap of their market at their time."""
    found = []
    for venue in Venue:
        spans: dict[str, list[tuple[int, int | None]]] = {}
        gaps = gaps_of(paths, venue, paths.days(COVERAGE, venue)).select("market_id", "start_ms", "end_ms").collect()
        for market_id, start, end in gaps.iter_rows():
            spans.setdefault(market_id, []).append((start, end))
        for of_venue, market_id, ts in lost:
            over = (*spans.get("", ()), *spans.get(market_id, ())) if of_venue is venue else None
            if over is not None and not any(start <= ts and (end is None or ts <= end) for start, end in over):
                before = max((start for start, _ in over if start <= ts), default=0)
                after = min((start for start, _ in over if start > ts), default=0)
                found.append(f"row of {venue} {market_id} at {ts} is lost; gaps begin at {before} and {after}")
    return found


def ledger_faults(
    paths: LakePaths, lives: Sequence[tuple[Witness, int | None]], lost: Sequence[tuple[Venue, str, int]]
) -> list[str]:
    """What the ledger says wrongly of lives that followed each other, the last one ended cleanly.

    Losses and holes that it does not show; where nobody was killed, holes that were none; and seconds of the last life
    for which it does not account.
    """
    found = unrecorded_losses(paths, lost)
    for venue in Venue:
        found += ledger_problems(paths, lives, venue)
        if all(died_ms is None for _, died_ms in lives):
            causes = gaps_of(paths, venue, paths.days(COVERAGE, venue)).select("cause").collect()["cause"]
            found += [f"{venue}: a gap of {cause}" for cause in causes if cause in {"collector_down", "rows_lost"}]
        for taken in of_venue(lives[-1][0], venue):
            found += time_unaccounted(paths, venue, entry_ms(taken.entries[0]), entry_ms(taken.entries[-1]))
    return found


def time_unaccounted(paths: LakePaths, venue: str, began_ms: int, ended_ms: int) -> list[str]:
    """Minutes of a life that ended cleanly of which the ledger does not account for every second."""
    held = runs_of(paths, venue, paths.days(COVERAGE, venue)).select("minute", "ran_s").collect().iter_rows()
    ran = dict(held)
    found = []
    for minute in range(began_ms - began_ms % 60_000, ended_ms, 60_000):
        due_s = (min(ended_ms, minute + 60_000) - max(began_ms, minute)) / 1000
        if ran.get(minute, 0.0) < due_s - 0.1:
            found.append(f"{venue}: minute {minute} accounts for {ran.get(minute, 0.0):.3f} s of {due_s:.3f}")
    return found


def ledger_problems(paths: LakePaths, lives: Sequence[tuple[Witness, int | None]], venue: str) -> list[str]:
    """Holes that the ledger does not show, or shows with wrong bounds.

    From each death to the next start a gap of the whole venue must stand, which begins before the death, but not before
    the last instant of which both the rows and the account are durable; and no row may lie between a death and the end of its market's gap.
    """
    dates = paths.days(COVERAGE, venue)
    gaps = gaps_of(paths, venue, dates).filter(cause="collector_down").collect()
    holes = gaps.filter(market_id="").select("start_ms", "end_ms").rows()
    found = []
    accounted = stored = 0
    for number, (witness, died_ms) in enumerate(lives[:-1]):
        accounted = max(accounted, witness.accounted_ms.get(venue, 0))
        stored = max([stored, *(entry_ms(taken.entries[taken.durable - 1]) for taken in of_venue(witness, venue))])
        if died_ms is None or not accounted:
            continue
        next_ms = lives[number + 1][0].began_ms
        over = [(start, end) for start, end in holes if start <= died_ms and end is not None and end >= next_ms]
        if not over:
            found.append(f"no hole from the death at {died_ms} to the start at {next_ms}")
        elif (start := max(start for start, _ in over)) < min(accounted, stored):
            found.append(f"the hole of the death at {died_ms} begins at {start}, known until {accounted}, {stored}")
    rows = scan_snapshots(paths, venue).select("market_id", "ts_recv").unique().collect()
    deaths = [died_ms for _, died_ms in lives if died_ms is not None]
    for gap in gaps.filter(pl.col("market_id") != "").iter_rows(named=True):
        if gap["end_ms"] is None or gap["repair"] == "collector_down":
            # A further death ended it, perhaps between its first book and the account of that.
            continue
        # Rows of the last moments before the death lie inside the gap: nobody accounted for them.
        after = max((ms for ms in deaths if gap["start_ms"] <= ms <= gap["end_ms"]), default=gap["start_ms"])
        inside = rows.filter(
            pl.col("market_id") == gap["market_id"], pl.col("ts_recv").is_between(after + 1, gap["end_ms"] - 1)
        )
        if inside.height and not any(after < died_ms < gap["end_ms"] for died_ms in deaths):
            found.append(f"{inside.height} rows of {gap['market_id']} between a death and the end of its gap")
    return found

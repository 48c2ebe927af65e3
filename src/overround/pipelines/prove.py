"""Is what is stored what was recorded? Every row is made again from the journal and compared value by value.

The check of files (``pipelines.lake``) finds what was damaged. This one finds what was altered, also by somebody who
wrote the file anew with its checksum and its manifest: the journal's frames and calls, put through the same feeds, give
each row again, and no other row.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from overround.collector.checkpoint import code_digest
from overround.collector.runs import (
    JOURNAL_ENDS,
    JournalRun,
    Replayed,
    RunPart,
    Stretch,
    find_runs,
    has_beginning,
    replay_run,
)
from overround.errors import FileDamaged, NothingStored
from overround.market import Venue
from overround.pipelines.prove_ledger import compare_counts
from overround.storage.bucket import conformed
from overround.storage.buffer import rows_of
from overround.storage.compare import Difference, differences, pair_rows
from overround.storage.lock import CollectorLock
from overround.storage.paths import COVERAGE, JOURNAL, SNAPSHOTS, LakePaths, Shard
from overround.storage.readers import Piece, partitions
from overround.storage.schema import ROW_SCHEMA, SNAPSHOT_TABLE
from overround.timebucket import Bucket, date_of, day_start_ms, parse_bucket_name

__all__ = ["Finding", "Proof", "Span", "UnprovedStretch", "counted", "prove_day", "runs_of", "span_of"]

KEY = ("market_id", "outcome_id", "ts_recv")
HOUR_MS = 3_600_000
# How far before a stretch a checkpoint is looked for, and how long after it lines about it may stand.
LEAD_MS = 2 * HOUR_MS
TAIL_MS = 5_000
# Rows kept for the report; all are counted.
KEPT = 500


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One stored value that the journal does not give, or one row.

    Attributes
    ----------
    kind : str
        ``value``, ``missing`` (a row that was taken and is not stored), ``added`` (one that was never taken), or
        ``count`` (of a minute of the ledger).
    file : str
        Under the data folder.
    row : int or None
        Its number in the file, from 0.
    market_id, outcome_id : str
    ts_recv : int
        As stored, or as expected where nothing is stored; of a count its minute.
    column : str
        With the place in the list, such as ``bid_sz[3]``; empty for whole rows.
    stored, expected : object
    """

    kind: str
    file: str
    row: int | None
    market_id: str
    outcome_id: str
    ts_recv: int
    column: str = ""
    stored: Any = None
    expected: Any = None


class UnprovedStretch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch about which the journal says nothing.

    Attributes
    ----------
    from_ms, to_ms : int
    rows : int
        Stored rows in it.
    why : str
    """

    from_ms: int
    to_ms: int
    rows: int
    why: str


class Proof(msgspec.Struct, kw_only=True):
    """What the comparison of one venue and day came to.

    Attributes
    ----------
    rows : int
        Stored rows looked at.
    proved : int
        Rows equal to the replay in every column.
    findings : list of Finding
        The first ``KEPT`` or so.
    n_findings : int
        All of them.
    unproved : list of UnprovedStretch
    unproved_rows : int
    waiting_rows : int
        Rows that a collector at work has taken and not journalled or not written yet.
    lost_rows : int
        Rows that were taken and are known not to have reached the disk (a crash, a disk that refused).
    minutes, unproved_minutes : int
        Outcomes' minutes of the ledger whose counts are those of the replay, and those of which the journal does not
        tell all.
    runs, files, frames : int
        Recording runs, Parquet files (and open buckets), frames replayed.
    seconds : float
    notes : list of str
    """

    venue: str
    date: str
    rows: int = 0
    proved: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)
    n_findings: int = 0
    unproved: list[UnprovedStretch] = msgspec.field(default_factory=list)
    unproved_rows: int = 0
    waiting_rows: int = 0
    lost_rows: int = 0
    minutes: int = 0
    unproved_minutes: int = 0
    runs: int = 0
    files: int = 0
    frames: int = 0
    seconds: float = 0.0
    notes: list[str] = msgspec.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1: something was altered; 3: something cannot be proved; 0: every row is what was recorded."""
        return 1 if self.n_findings else 3 if self.unproved else 0


@dataclass(frozen=True, kw_only=True)
class Span:
    """The hours of a day that are looked at."""

    date: str
    hours: frozenset[int]
    from_ms: int
    to_ms: int

    def holds(self, ts_ms: int) -> bool:
        """Whether a time lies in it."""
        return self.from_ms <= ts_ms < self.to_ms and (ts_ms - self.day_ms) // HOUR_MS in self.hours

    @property
    def text(self) -> str:
        """As in a sentence: ``on 2026-01-14, hours 7 9``."""
        hours = "" if len(self.hours) == 24 else f", hours {' '.join(map(str, sorted(self.hours)))}"
        return f"on {self.date}{hours}"

    @property
    def day_ms(self) -> int:
        """Start of the day."""
        return day_start_ms(self.date)


def span_of(date: str, hours: Sequence[int] | None) -> Span:
    """A day, or some of its hours."""
    kept = frozenset(range(24) if hours is None else hours)
    day_ms = day_start_ms(date)
    return Span(date=date, hours=kept, from_ms=day_ms + min(kept) * HOUR_MS, to_ms=day_ms + (max(kept) + 1) * HOUR_MS)


@dataclass
class _Stored:
    """The stored rows of one bucket, of all its files."""

    rows: pa.Table
    names: list[str]
    starts: list[int]
    proved: npt.NDArray[np.bool_]

    def place(self, row: int) -> tuple[str, int]:
        """File and number of a row in it."""
        at = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.names[at], row - self.starts[at]

    def of_shard(self, shard: Shard) -> npt.NDArray[np.bool_]:
        """Which rows lie in a shard's files."""
        inside = np.zeros(self.rows.num_rows, np.bool_)
        for name, start, end in zip(self.names, self.starts, [*self.starts[1:], self.rows.num_rows], strict=True):
            named = parse_bucket_name(PurePosixPath(name).name)
            inside[start:end] = named is not None and (named[1] or (0, 1)) == shard
        return inside


@dataclass
class _Missing:
    """Rows that a run took and that are not stored, of one bucket."""

    bucket: Bucket
    rows: pa.Table
    times: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.times = self.rows.column("ts_recv").to_numpy()


def prove_day(
    paths: LakePaths,
    venue: Venue,
    span: Span,
    *,
    market: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Proof:
    """Compare every stored row of a day, or some of its hours, with what the journal gives.

    Parameters
    ----------
    paths : LakePaths
    venue : Venue
    span : Span
    market : str, optional
        Compare only this market's rows.
    on_progress : callable, optional
        ``on_progress(done, total)`` journal files.

    Raises
    ------
    NothingStored
        If there are neither rows nor a journal, or none of the market.
    """
    started = time.perf_counter()
    proof = Proof(venue=str(venue), date=span.date)
    checker = _Checker(paths, str(venue), span, market, proof)
    runs = runs_of(paths, str(venue), span)
    if not checker.buckets and not runs:
        raise NothingStored(
            f"nothing is stored of {venue} {span.text} under {paths.root}", hint="`overround lake ls` lists the days"
        )
    count = counted(runs, on_progress)
    for run in runs:
        checker.take(run, count)
    count(None)
    checker.finish()
    if market is not None and not (proof.rows or proof.n_findings or proof.lost_rows or proof.waiting_rows):
        raise NothingStored(
            f"neither a row nor a line of the journal is of market {market!r} {span.text} under {paths.root}",
            hint="`overround coverage` lists a day's markets",
        )
    proof.seconds = time.perf_counter() - started
    return proof


def counted(
    runs: Sequence[JournalRun], on_progress: Callable[[int, int], None] | None
) -> Callable[[RunPart | None], None]:
    """What to call as each part of the runs begins, and with None at the end: it tells how many are done, of how many."""
    total = sum(len(run.parts) for run in runs)
    done = itertools.count()

    def count(part: RunPart | None) -> None:
        if on_progress is not None:
            on_progress(total if part is None else next(done), total)

    return count


def runs_of(paths: LakePaths, venue: str, span: Span) -> list[JournalRun]:
    """Runs with journal files in a span, each with as many files before it as its replay needs."""
    days = _days_around(paths, venue, span)
    found = find_runs(paths, venue, days, from_ms=span.from_ms - LEAD_MS, to_ms=span.to_ms + HOUR_MS)
    runs = []
    for run in found:
        inside = [at for at, part in enumerate(run.parts) if span.from_ms <= part.start_ms < span.to_ms]
        # A run that only begins afterwards has nothing here; one that ended before may have its last rows here.
        if not inside and (run.parts[0].start_ms >= span.to_ms or run.parts[-1].start_ms + HOUR_MS < span.from_ms):
            continue
        first = inside[0] if inside else len(run.parts) - 1
        if run.run_id and run.parts[first].number > 0:
            while first > 0:
                first -= 1
                if has_beginning(run.parts[first].path):
                    break
        runs.append(JournalRun(run_id=run.run_id, parts=run.parts[first:], shard=run.shard))
    return runs


def _days_around(paths: LakePaths, venue: str, span: Span) -> list[str]:
    near = {date_of(ms) for ms in (span.from_ms - LEAD_MS, span.from_ms, span.to_ms)}
    return [day for day in paths.days(JOURNAL, venue) if day in near or day == span.date]


class _Checker:
    """Takes the runs one after the other and keeps, per bucket, which stored rows are accounted for."""

    def __init__(self, paths: LakePaths, venue: str, span: Span, market: str | None, proof: Proof) -> None:
        self._paths, self._venue, self._span, self._market = paths, venue, span, market
        self._proof = proof
        self.buckets: dict[int, list[Piece]] = {}
        for part in partitions(paths, venue, date=span.date, hours=sorted(span.hours)):
            for piece in part.pieces():
                named = parse_bucket_name(piece.path.name)
                if named is not None:
                    self.buckets.setdefault(named[0], []).append(piece)
        proof.files = sum(map(len, self.buckets.values()))
        # Which rows of a bucket are accounted for; a bit a row is all that is kept of it.
        self._marks: dict[int, npt.NDArray[np.bool_]] = {}
        self._known: dict[Shard, list[Stretch]] = {}
        self._holes: list[Stretch] = []
        self._missing: list[_Missing] = []
        self._recording = any(CollectorLock.is_held(path) for path in paths.locks(venue))
        self._newest_ms = 0
        self._bucket_ms = 0
        self._replays: list[Replayed] = []
        # What a collector at work flushes from here on is not in the files as they were listed; and what was open then
        # may be finished meanwhile.
        self._open: dict[int, _Stored] = {}
        self._flushed_ms = sys.maxsize
        if self._recording and self.buckets:
            self._open = {
                start_ms: self._load(start_ms)
                for start_ms, pieces in self.buckets.items()
                if any(piece.waiting for piece in pieces) or start_ms == max(self.buckets)
            }
            newest = [stored.rows.column("ts_recv") for stored in self._open.values() if stored.rows.num_rows]
            self._flushed_ms = max((pc.max(times).as_py() for times in newest), default=0)

    # -- a run ----------------------------------------------------------------------------------------

    def take(self, run: JournalRun, on_part: Callable[[RunPart], None]) -> None:
        """Replay a run and compare its rows, one bucket at a time."""
        result = Replayed(run_id=run.run_id, shard=run.shard)
        missing: list[_Missing] = []
        for bucket, rows in self._buckets_of(run, result, on_part):
            missing += self._compare(bucket, rows)
        proof = self._proof
        proof.runs += 1
        proof.frames += result.frames
        self._known.setdefault(run.shard, []).extend(result.known)
        self._replays.append(result)
        self._holes += [hole for hole in result.holes if not (self._recording and hole.why.startswith(JOURNAL_ENDS))]
        self._newest_ms = max(self._newest_ms, result.last_ms)
        settings = result.settings
        if settings is not None:
            self._bucket_ms = max(self._bucket_ms, settings.bucket_s * 1000)
        if settings is not None and settings.code != code_digest():
            proof.notes.append(
                f"run {run.run_id} was recorded by other code (version {settings.version}): where its rows differ, the"
                " change of code may be why"
            )
        if result.diverged:
            proof.notes.append(f"run {run.run_id}: {result.diverged}")
        self._settle_missing(missing, result)

    def _buckets_of(
        self, run: JournalRun, result: Replayed, on_part: Callable[[RunPart], None]
    ) -> Iterator[tuple[Bucket, pa.Table]]:
        """A run's rows by bucket, as its journal comes to them."""
        at: Bucket | None = None
        batches: list[pa.RecordBatch] = []
        for cut in replay_run(run, result, until_ms=self._span.to_ms + TAIL_MS, on_part=on_part):
            settings = result.settings
            assert settings is not None
            batch = rows_of(cut, venue=self._venue, top_k=settings.top_k)
            length_ms = settings.bucket_s * 1000
            start_ms = batch.column("ts_recv")[0].as_py() // length_ms * length_ms
            if at is not None and at.start_ms != start_ms:
                yield at, pa.Table.from_batches(batches)
                batches = []
            at = Bucket(start_ms, settings.bucket_s)
            batches.append(batch)
        if at is not None:
            yield at, pa.Table.from_batches(batches)

    def _compare(self, bucket: Bucket, rows: pa.Table) -> list[_Missing]:
        if not self._span.holds(bucket.start_ms):
            return []
        if self._market is not None:
            rows = rows.filter(pc.equal(rows.column("market_id"), pa.scalar(self._market)))
        stored = self._load(bucket.start_ms)
        pairing = pair_rows(stored.rows, rows, KEY)
        ours, theirs = stored.rows.take(pairing.left), rows.take(pairing.right)
        stored.proved[pairing.left] = True
        wrong: set[int] = set()
        for each in differences(ours, theirs):
            row = int(pairing.left[each.row])
            wrong.add(row)
            self._find("value", stored, row, each)
        self._proof.proved += len(pairing.left) - len(wrong)
        if not len(pairing.right_only):
            return []
        return [_Missing(bucket, rows.take(pairing.right_only))]

    def _settle_missing(self, missing: Sequence[_Missing], result: Replayed) -> None:
        """Tell the rows that a crash or the disk took from those that somebody removed."""
        allowed = result.dropped
        for each in missing:
            kept = each
            if not result.stopped:
                late = each.times > min(result.durable_ms, self._flushed_ms)
                if self._recording:
                    self._proof.waiting_rows += int(late.sum())
                else:
                    self._proof.lost_rows += int(late.sum())
                kept = _Missing(each.bucket, each.rows.filter(pa.array(~late)))
            n_rows = kept.rows.num_rows
            if n_rows and n_rows <= allowed:
                allowed -= n_rows
                self._proof.lost_rows += n_rows
            elif n_rows:
                self._missing.append(kept)

    # -- stored rows ------------------------------------------------------------------------------------

    def _load(self, start_ms: int) -> _Stored:
        if start_ms in self._open:
            return self._open[start_ms]
        tables, names = [], []
        for piece in self.buckets.get(start_ms, []):
            rows = _rows_of_piece(piece)
            if rows is None:
                self._note_unreadable(piece.path)
                continue
            tables.append(rows)
            names.append(piece.path.relative_to(self._paths.root).as_posix())
        starts = np.cumsum([0, *(rows.num_rows for rows in tables)])[:-1].tolist() if tables else []
        rows = pa.concat_tables(tables) if tables else ROW_SCHEMA.empty_table()
        proved = self._marks.get(start_ms)
        if proved is None:
            proved = self._marks[start_ms] = np.zeros(rows.num_rows, np.bool_)
            if self._market is not None and rows.num_rows:
                proved |= np.asarray(pc.not_equal(rows.column("market_id"), pa.scalar(self._market)))
            self._proof.rows += int(rows.num_rows - proved.sum())
        if len(proved) != rows.num_rows:
            raise FileDamaged(f"{', '.join(names)} changed while being compared", hint="run the command again")
        return _Stored(rows, names, starts, proved)

    def _note_unreadable(self, path: Path) -> None:
        note = f"{path} cannot be read: its rows are compared with nothing"
        if note not in self._proof.notes:
            self._proof.notes.append(note)

    def finish(self) -> None:
        """Judge the stored rows that no run accounted for, and the rows that none stored."""
        added: list[tuple[_Stored, int]] = []
        stray: list[tuple[_Stored, int]] = []
        for start_ms in sorted(self.buckets):
            stored = self._load(start_ms)
            left = np.flatnonzero(~stored.proved)
            if not len(left):
                continue
            times = stored.rows.column("ts_recv").to_numpy()[left]
            known = np.zeros(len(left), np.bool_)
            end_ms = start_ms + (self._bucket_ms or HOUR_MS)
            outside = (times < start_ms) | (times >= end_ms)
            for shard, stretches in self._known.items():
                told = np.zeros(len(left), np.bool_)
                for stretch in stretches:
                    told |= (times > stretch.from_ms) & (times < stretch.to_ms)
                # Of a row whose time was altered the bucket's own time tells whether it could be known.
                told |= outside & any(s.from_ms < end_ms and s.to_ms > start_ms for s in stretches)
                known |= told & stored.of_shard(shard)[left]
            unknown = ~known
            if self._recording:
                waiting = unknown & (times >= self._newest_ms)
                self._proof.waiting_rows += int(waiting.sum())
                unknown &= ~waiting
            added += [(stored, int(row)) for row in left[known]]
            stray += [(stored, int(row)) for row in left[unknown]]
        left_over = self._report(added, stray)
        self._stretches(np.array([stored.rows.column("ts_recv")[row].as_py() for stored, row in left_over], np.int64))
        self._compare_ledger()

    def _compare_ledger(self) -> None:
        """The ledger's counts; where other code recorded, they may rightly differ."""
        proof, span = self._proof, self._span
        counts = compare_counts(
            self._paths,
            self._venue,
            span.date,
            self._replays,
            hours=span.hours,
            market=self._market,
            open_from_ms=self._newest_ms if self._recording else None,
        )
        proof.minutes, proof.unproved_minutes = counts.equal, counts.unknown
        if any(run.settings is not None and run.settings.code != code_digest() for run in self._replays):
            proof.unproved_minutes += len({count[:3] for count in counts.wrong})
            return
        file = self._paths.day(COVERAGE, self._venue, span.date).relative_to(self._paths.root).as_posix()
        for count in counts.wrong:
            proof.n_findings += 1
            if len(proof.findings) >= KEPT:
                continue
            proof.findings.append(
                Finding(
                    kind="count",
                    file=file,
                    row=None,
                    market_id=count.market_id,
                    outcome_id=count.outcome_id,
                    ts_recv=count.minute,
                    column=count.column,
                    stored=count.stored,
                    expected=count.expected,
                )
            )

    # -- reports ----------------------------------------------------------------------------------------

    def _report(
        self, added: Sequence[tuple[_Stored, int]], stray: Sequence[tuple[_Stored, int]]
    ) -> list[tuple[_Stored, int]]:
        """Rows that were added and rows that are missing: one of each may be the same row with another key.

        So may one of which nothing is known; those that are no such row are returned.
        """
        missing = [(each, row) for each in self._missing for row in range(min(each.rows.num_rows, KEPT))]
        beyond = sum(max(0, each.rows.num_rows - KEPT) for each in self._missing)
        # Rows that share all of a key but one column.
        likes: dict[tuple[object, ...], list[int]] = {}
        for number, (each, row) in enumerate(missing):
            for like in _likes(each.rows, row):
                likes.setdefault(like, []).append(number)
        taken: set[int] = set()

        def altered(stored: _Stored, row: int) -> bool:
            ours = stored.rows.slice(row, 1)
            best, found = -1, list[Difference]()
            for number in {number for like in _likes(stored.rows, row) for number in likes.get(like, ())} - taken:
                each, place = missing[number]
                wrong = list(differences(ours, each.rows.slice(place, 1)))
                if best < 0 or len(wrong) < len(found):
                    best, found = number, wrong
                if len(wrong) <= 1:
                    break
            if best < 0 or len({each.column for each in found}) > 3:
                return False
            taken.add(best)
            for difference in found:
                self._find("value", stored, row, difference)
            return True

        for number, (stored, row) in enumerate(added):
            if number >= KEPT or not altered(stored, row):
                self._find("added", stored, row)
        left = [
            (stored, row) for number, (stored, row) in enumerate(stray) if number >= KEPT or not altered(stored, row)
        ]
        for number, (lost, row) in enumerate(missing):
            if number not in taken:
                self._find_missing(lost, row)
        self._proof.n_findings += beyond
        return left

    def _find(self, kind: str, where: _Stored, row: int, difference: Difference | None = None) -> None:
        self._proof.n_findings += 1
        if len(self._proof.findings) >= KEPT:
            return
        file, number = where.place(row)
        column = stored = expected = None
        if difference is not None:
            at = "" if difference.at is None else f"[{difference.at}]"
            column, stored, expected = f"{difference.column}{at}", difference.left, difference.right
        self._add(kind, file, number, where.rows, row, column=column or "", stored=stored, expected=expected)

    def _add(
        self,
        kind: str,
        file: str,
        number: int | None,
        rows: pa.Table,
        row: int,
        *,
        column: str = "",
        stored: object = None,
        expected: object = None,
    ) -> None:
        market_id, outcome_id, ts_recv = (rows.column(name)[row].as_py() for name in KEY)
        self._proof.findings.append(
            Finding(
                kind=kind,
                file=file,
                row=number,
                market_id=market_id,
                outcome_id=outcome_id,
                ts_recv=ts_recv,
                column=column,
                stored=stored,
                expected=expected,
            )
        )

    def _find_missing(self, missing: _Missing, row: int) -> None:
        self._proof.n_findings += 1
        if len(self._proof.findings) < KEPT:
            held = self.buckets.get(missing.bucket.start_ms)
            path = held[0].path if held else self._paths.bucket_file(SNAPSHOTS, self._venue, missing.bucket)
            self._add("missing", path.relative_to(self._paths.root).as_posix(), None, missing.rows, row)

    def _stretches(self, stray: npt.NDArray[np.int64]) -> None:
        """What cannot be proved: holes of the journal in the span, and stored rows that no run covers."""
        proof, span = self._proof, self._span
        proof.unproved_rows = len(stray)
        left = np.sort(stray)
        for hole in sorted(self._holes, key=lambda hole: hole.from_ms):
            if hole.to_ms < span.from_ms or hole.from_ms >= span.to_ms:
                continue
            inside = (left >= hole.from_ms) & (left <= hole.to_ms)
            proof.unproved.append(
                UnprovedStretch(from_ms=hole.from_ms, to_ms=hole.to_ms, rows=int(inside.sum()), why=hole.why)
            )
            left = left[~inside]
        if not len(left):
            return
        # Rows at most a minute apart belong to one stretch.
        for block in np.split(left, np.flatnonzero(np.diff(left) > 60_000) + 1):
            proof.unproved.append(
                UnprovedStretch(
                    from_ms=int(block[0]),
                    to_ms=int(block[-1]),
                    rows=len(block),
                    why="no journal of this time: it was switched off, removed, or cut short",
                )
            )


def _likes(rows: pa.Table, row: int) -> list[tuple[object, ...]]:
    """A row's key without one of its columns, for each of them."""
    key = tuple(rows.column(name)[row].as_py() for name in KEY)
    return [(at, *key[:at], *key[at + 1 :]) for at in range(len(key))]


def _rows_of_piece(piece: Piece) -> pa.Table | None:
    """A piece's rows in the order of its file; None where they cannot be read."""
    try:
        if piece.waiting:
            return piece.scan().collect().to_arrow().cast(ROW_SCHEMA)
        with piece.path.open("rb") as file:
            return conformed(pq.read_table(file), SNAPSHOT_TABLE)
    except (FileNotFoundError, FileDamaged, pa.ArrowException, OSError):
        return None

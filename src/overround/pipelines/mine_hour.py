"""One hour's sums: the unit of mining's work, the same on this machine and on a cluster.

Whatever an hour's sums come of is in its task or in the data folder, and what they are is a value, so an hour can be summed
up anywhere, and again where it was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from overround.analytics import PAUSE_MS, TRADE_COLUMNS, blocks_of, join_blocks, merge, partial_of, partial_of_sums
from overround.errors import UNREADABLE, FileDamaged, StorageError
from overround.market.sums import SUM_NAMES, add_up
from overround.pipelines.mined import KeptHour, Mined, digest_of, file_sha256
from overround.storage import SNAPSHOTS, TRADE_TABLE, TRADES, LakePaths, TablePlace, partitions
from overround.storage.manifest import ManifestLine, read_manifests
from overround.storage.readers import Piece
from overround.storage.sums import FileSums, left_sums

__all__ = ["DayRanked", "HourMined", "HourTask", "SkippedFile", "check_sum", "manifest_of", "mine_hour", "rank_day"]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A stored file that could not be mined.

    Attributes
    ----------
    path : str
    reason : str
        One line.
    """

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class HourTask:
    """What to sum up.

    Attributes
    ----------
    paths : LakePaths
        The lake, as every machine at work sees it.
    venue, date, hour : str
    gaps : polars.DataFrame
        The day's: ``market_id`` (empty: all markets), ``start_ms``, ``end_ms``.
    """

    paths: LakePaths
    venue: str
    date: str
    hour: str
    gaps: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class HourMined:
    """What an hour's files say.

    Attributes
    ----------
    date, hour : str
    partial, blocks : polars.DataFrame
        ``PARTIAL_SCHEMA`` and ``BLOCK_COLUMNS``.
    n_files, n_kept : int
        Files that were summed up, and those among them whose sums were kept from before.
    skipped : tuple of SkippedFile
    digest : str
        Of what the sums came of; empty where some rows still wait for their file.
    """

    date: str
    hour: str
    partial: pl.DataFrame
    blocks: pl.DataFrame
    n_files: int
    n_kept: int
    skipped: tuple[SkippedFile, ...]
    digest: str


def mine_hour(task: HourTask) -> HourMined:
    """Sum up an hour's files, one at a time, as far as that was not done before."""
    hour = _Hour(task.paths, task.venue, task.date, task.hour)
    folder = hour.paths.hour(SNAPSHOTS, task.venue, task.date, task.hour)
    if not folder.is_dir():
        raise StorageError(f"{folder} is not here", hint="every node of a cluster sees the data folder under one path")
    trades = _Trades(hour)
    kept = KeptHour(hour.paths, task.venue, task.date, task.hour)
    made: dict[str, Mined] = {}
    known: list[str] = []
    loose: list[Mined] = []
    for piece in hour.pieces():
        try:
            line = hour.checked(piece, kept)
            digest = ""
            if line is not None and not piece.waiting:
                digest = digest_of(line.sha256, trades.digest, _near(task.gaps, line.first_ts, line.last_ts))
            if digest in kept.digests:
                known.append(digest)
                continue
            mined = Mined(partial=hour.partial(piece), blocks=blocks_of(piece.scan(), trades.rows(), task.gaps))
            if digest:
                made[digest] = mined
            else:
                loose.append(mined)
        except (pl.exceptions.PolarsError, StorageError, OSError) as exc:
            hour.skip(piece, exc)
    parts = [*kept.take(known), *made.values(), *loose]
    kept.save(known, made)
    return HourMined(
        date=task.date,
        hour=task.hour,
        partial=merge(each.partial for each in parts),
        blocks=join_blocks([each.blocks for each in parts]),
        n_files=len(known) + len(made) + len(loose),
        n_kept=len(known),
        skipped=tuple(hour.skipped),
        digest="" if loose else digest_of(task.hour, *sorted([*known, *made])),
    )


@dataclass(frozen=True, kw_only=True)
class DayRanked:
    """What a day's rankings rest on.

    Attributes
    ----------
    partial : polars.DataFrame
    hours : tuple of int
        Those that hold rows.
    n_files, n_kept : int
        Files, and those among them of which the writer had left sums.
    skipped : tuple of SkippedFile
    """

    partial: pl.DataFrame
    hours: tuple[int, ...]
    n_files: int
    n_kept: int
    skipped: tuple[SkippedFile, ...]


def rank_day(paths: LakePaths, venue: str, date: str, hours: Sequence[int]) -> DayRanked:
    """What a day's rankings rest on, and nothing more: of the sums that the writer left, or else of the rows."""
    day, listed = paths.day(SNAPSHOTS, venue, date), manifest_of(paths, venue, date)
    left = left_sums(paths.all_sums(SNAPSHOTS, venue, date), day, listed)
    found: list[FileSums] = []
    partials: list[pl.DataFrame] = []
    skipped: list[SkippedFile] = []
    with_rows: list[int] = []
    for partition in partitions(paths, venue, date=date, hours=hours):
        before = len(found) + len(partials)
        hour = _Hour(paths, venue, date, partition.hour, left=left)
        for piece in partition.pieces():
            sums = None if piece.waiting else left.get(hour.name(piece))
            if sums is not None:
                found.append(sums)
                continue
            try:
                hour.checked(piece, None)
                partials.append(hour.partial(piece))
            except (pl.exceptions.PolarsError, StorageError, OSError) as exc:
                hour.skip(piece, exc)
        skipped += hour.skipped
        if len(found) + len(partials) > before:
            with_rows.append(int(partition.hour))
    return DayRanked(
        partial=merge([partial_of_files(found), *partials]),
        hours=tuple(with_rows),
        n_files=len(found) + len(partials),
        n_kept=len(found),
        skipped=tuple(skipped),
    )


def partial_of_files(left: Sequence[FileSums]) -> pl.DataFrame:
    """The partial of several files' sums together."""
    numbered: dict[tuple[str, str], int] = {}
    numbers: dict[int, npt.NDArray[np.int64]] = {}
    for sums in left:
        if id(sums.outcomes) not in numbers:
            known = [numbered.setdefault(outcome, len(numbered)) for outcome in sums.outcomes]
            numbers[id(sums.outcomes)] = np.array(known, np.int64)
    at = SUM_NAMES.index("first_ts")
    files = [(numbers[id(sums.outcomes)][sums.numbers], sums.values) for sums in left]
    files.sort(key=lambda file: int(file[1][at].min(initial=0)))
    together = add_up(files, len(numbered))
    if together is None:
        return merge(partial_of_files([sums]) for sums in left)
    outcomes = list(numbered)
    names = [outcomes[number] for number in together[0]]
    columns = dict(zip(SUM_NAMES, together[1], strict=True))
    return partial_of_sums(
        pl.DataFrame(names, {"market_id": pl.String, "outcome_id": pl.String}, orient="row").with_columns(
            pl.Series(name, values) for name, values in columns.items()
        )
    )


class _Hour:
    """An hour's files of snapshots, and what the manifest says of them."""

    def __init__(
        self, paths: LakePaths, venue: str, date: str, hour: str, *, left: dict[str, FileSums] | None = None
    ) -> None:
        self.paths, self.venue, self.date, self.hour = paths, venue, date, hour
        self.day = self.paths.day(SNAPSHOTS, venue, date)
        self.skipped: list[SkippedFile] = []
        self._lines = manifest_of(self.paths, venue, date)
        self._left = left

    def pieces(self) -> list[Piece]:
        """The files, open buckets included."""
        parts = partitions(self.paths, self.venue, date=self.date, hours=[int(self.hour)])
        return [piece for part in parts for piece in part.pieces()]

    def name(self, piece: Piece) -> str:
        return piece.path.relative_to(self.day).as_posix()

    def checked(self, piece: Piece, kept: KeptHour | None) -> ManifestLine | None:
        """A finished file's line in the manifest, which it agrees with: damage need not show when a file is decoded.

        A file beside a write-ahead file may be newer than its line, and a foreign file has none.
        """
        line = self._lines.get(self.name(piece))
        if line is None or piece.waiting:
            return None
        if _sha256(piece.path, kept) != line.sha256:
            # The file may have been replaced since the manifest was read, and then its line was too.
            self._lines = manifest_of(self.paths, self.venue, self.date)
            line = self._lines[self.name(piece)]
            if _sha256(piece.path, kept) != line.sha256:
                raise FileDamaged(f"{piece.path} is not the file that the manifest describes")
        return line

    @property
    def left(self) -> dict[str, FileSums]:
        """Sums that the writer left of these files."""
        if self._left is None:
            listed = {name: line for name, line in self._lines.items() if name.startswith(f"hour={self.hour}/")}
            self._left = left_sums(self.paths.all_sums(SNAPSHOTS, self.venue, self.date), self.day, listed)
        return self._left

    def partial(self, piece: Piece) -> pl.DataFrame:
        """A file's sums: those that the writer left, or else of its rows."""
        sums = None if piece.waiting else self.left.get(self.name(piece))
        if sums is not None:
            return partial_of_files([sums])
        try:
            return partial_of(piece.scan())
        except ValueError as exc:
            # A foreign file: its missing columns were read as nulls.
            raise FileDamaged(f"{piece.path} holds {exc}") from exc

    def skip(self, piece: Piece, exc: Exception) -> None:
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        log.warning("mine.file_skipped", path=str(piece.path), reason=reason)
        self.skipped.append(SkippedFile(path=str(piece.path), reason=reason))


class _Trades:
    """Trades of one hour, read when the first file that needs them is not kept."""

    def __init__(self, hour: _Hour) -> None:
        self._hour = hour
        self._lines = manifest_of(hour.paths, hour.venue, hour.date, TRADES)
        self._day = hour.paths.day(TRADES, hour.venue, hour.date)
        parts = partitions(hour.paths, hour.venue, date=hour.date, hours=[int(hour.hour)], table=TRADE_TABLE)
        self._pieces = [piece for part in parts for piece in part.pieces()]
        self._rows: pl.DataFrame | None = None
        self.digest = digest_of(
            *sorted(
                (piece.path.name, getattr(self._lines.get(self._name(piece)), "sha256", "")) for piece in self._pieces
            ),
            [sum(content.n_rows for content in piece.waiting) for piece in self._pieces],
        )

    def _name(self, piece: Piece) -> str:
        return piece.path.relative_to(self._day).as_posix()

    def rows(self) -> pl.DataFrame:
        """``TRADE_COLUMNS``; a file that cannot be read is named and left out."""
        if self._rows is None:
            found = [pl.DataFrame(schema=_TRADES)]
            for piece in self._pieces:
                try:
                    check_sum(piece, self._day, self._lines)
                    found.append(piece.scan().select(TRADE_COLUMNS).collect())
                except (*UNREADABLE, OSError, pl.exceptions.PolarsError, FileDamaged) as exc:
                    self._hour.skip(piece, exc)
            self._rows = pl.concat(found)
        return self._rows


_TRADES: dict[str, pl.DataType] = {
    "market_id": pl.String(),
    "outcome_id": pl.String(),
    "ts_recv": pl.Int64(),
    "px": pl.Float64(),
    "sz": pl.Float64(),
    "taker_side": pl.String(),
    "block": pl.Boolean(),
}


def _sha256(path: Path, kept: KeptHour | None) -> str:
    """Checksum of a file's content, as it was read before where the file was not touched since."""
    return kept.sha256(path) if kept is not None else file_sha256(path)


def _near(gaps: pl.DataFrame, first_ms: int, last_ms: int) -> list[tuple[object, ...]]:
    """Gaps that touch a file's time."""
    touching = gaps.filter(
        pl.col("start_ms") <= last_ms + PAUSE_MS, pl.col("end_ms").is_null() | (pl.col("end_ms") >= first_ms)
    )
    return touching.sort("market_id", "start_ms").rows()


def check_sum(piece: Piece, day: Path, lines: Mapping[str, ManifestLine]) -> None:
    """Hold a finished file against its line in the manifest: damage need not show when a file is decoded.

    A file beside a write-ahead file may be newer than its line, and a foreign file has none.
    """
    line = lines.get(piece.path.relative_to(day).as_posix())
    if line is not None and not piece.waiting and file_sha256(piece.path) != line.sha256:
        raise FileDamaged(f"{piece.path} is not the file that the manifest describes")


def manifest_of(paths: LakePaths, venue: str, date: str, place: TablePlace = SNAPSHOTS) -> Mapping[str, ManifestLine]:
    """What the manifests of a day list."""
    return read_manifests(paths.manifests(place, venue, date))

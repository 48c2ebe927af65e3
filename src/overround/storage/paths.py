"""Where everything lies under the data folder; no other module spells a path of the lake."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from overround.errors import ConfigError
from overround.timebucket import Bucket, parse_bucket_name

__all__ = [
    "COVERAGE",
    "FILES",
    "GAPS",
    "INCLUSION",
    "JOURNAL",
    "SNAPSHOTS",
    "TRADES",
    "DayFolder",
    "FilePlace",
    "LakePaths",
    "Shard",
    "TablePlace",
    "remote_url",
    "shard_suffix",
]

Shard = tuple[int, int]
"""Number of a collector, counted from 0, and how many there are."""

_DAY = re.compile(r"^date=(\d{4}-\d{2}-\d{2})$")
_HOUR = re.compile(r"^hour=([01]\d|2[0-3])$")
_WAL = re.compile(r"^\.(?P<name>[a-z_]+_\d{4}-\d{2}-\d{2}T\d{2}-\d{2}(?:\.s\d+of\d+)?)\.(?P<id>[0-9a-f]{16})\.wal$")
_LOCK = re.compile(r"^collect_[a-z]+(?:\.s(\d+)of(\d+))?\.lock$")
_REMOTE = re.compile(r"^(s3|gs|az):/+(?=[^/])")
_RUN = re.compile(r"\.r(\d+)\.jsonl\.zst$")


class TablePlace(NamedTuple):
    """Where a bucketed table's files lie.

    Attributes
    ----------
    folder : str
        Folder under the data folder.
    prefix : str
        First part of file names, before ``_`` and the bucket's stamp.
    by_hour : bool
        Whether ``date=…`` folders are divided into ``hour=…`` folders.
    guest : bool
        Whether the folder belongs to another table; name and manifest then carry the prefix.
    """

    folder: str
    prefix: str
    by_hour: bool = True
    guest: bool = False

    @property
    def name(self) -> str:
        """The table's name: its folder, and for a guest its prefix too."""
        return f"{self.folder}/{self.prefix}" if self.guest else self.folder


SNAPSHOTS = TablePlace("orderbook_snapshots", "snapshots")
TRADES = TablePlace("trades", "trades")
COVERAGE = TablePlace("coverage", "coverage", by_hour=False)
GAPS = TablePlace("coverage", "gaps", by_hour=False, guest=True)
INCLUSION = TablePlace("coverage", "inclusion", by_hour=False, guest=True)
JOURNAL = TablePlace("raw", "frames")


class FilePlace(NamedTuple):
    """Where the files of a table lie that is not written in buckets.

    Attributes
    ----------
    folder : str
        Folder under the data folder.
    name : str
        Name of its files; ``*`` stands for a writer's own part.
    by_day : bool
        Whether ``venue=…`` folders are divided into ``date=…`` folders.
    """

    folder: str
    name: str
    by_day: bool = True

    @property
    def pattern(self) -> str:
        """Matches its files, from the data folder."""
        return f"{self.folder}/venue=*/{'date=*/' if self.by_day else ''}{self.name}"


FILES = {
    "universe": FilePlace("metadata", "universe.jsonl"),
    "stats": FilePlace("stats", "stats.parquet"),
    "mm_viability": FilePlace("reports/mm_viability", "mm_viability.parquet"),
    "rules": FilePlace("rules", "rules.jsonl"),
    "propositions": FilePlace("logic", "propositions.parquet"),
    "constraints": FilePlace("logic", "constraints.parquet"),
    "violations": FilePlace("logic", "violations.parquet"),
    "review_queue": FilePlace("review_queue", "queue.jsonl"),
    "review_decisions": FilePlace("review_queue", "decisions.jsonl", by_day=False),
    "quarantine": FilePlace("quarantine", "quarantine_*.jsonl"),
}
"""Tables that are not written in buckets, by name."""


class DayFolder(NamedTuple):
    """Folder of one table, venue and UTC day, of whatever kind.

    Attributes
    ----------
    table : str
        Folder under the data folder: ``orderbook_snapshots``, ``raw``, ``reports/mm_viability``, ...
    venue, date : str
    path : Path
    """

    table: str
    venue: str
    date: str
    path: Path

    @property
    def key(self) -> str:
        """Its path under the data folder, with forward slashes."""
        return f"{self.table}/venue={self.venue}/date={self.date}"

    def files(self) -> list[Path]:
        """Every file in it, by name."""
        return sorted(path for path in self.path.rglob("*") if path.is_file())


class WalFile(NamedTuple):
    """A write-ahead file found on disk.

    Attributes
    ----------
    path : Path
    wal_id : str
        Its identity, 16 hex digits; the Parquet file that took its rows in names it.
    start_ms : int
        Start of its bucket.
    shard : Shard
    """

    path: Path
    wal_id: str
    start_ms: int
    shard: Shard


def shard_suffix(shard: Shard) -> str:
    """What a shard adds to file names; nothing where there is one collector.

    Examples
    --------
    >>> shard_suffix((1, 4)), shard_suffix((0, 1))
    ('.s1of4', '')
    """
    return f".s{shard[0]}of{shard[1]}" if shard[1] > 1 else ""


def remote_url(text: str) -> str | None:
    """An address in an object store as it should be written; None if the text names a folder.

    Examples
    --------
    >>> remote_url("s3:/bucket/lake"), remote_url("data")
    ('s3://bucket/lake', None)
    """
    return _REMOTE.sub(r"\1://", text) if _REMOTE.match(text) else None


class LakePaths:
    """Every path of one data folder.

    Parameters
    ----------
    root : Path
        The data folder (``data_dir``).

    Raises
    ------
    ConfigError
        If it is an address in an object store; see ``storage.objects``.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if (url := remote_url(self.root.as_posix())) is not None:
            raise ConfigError(
                f"{url} is an object store, and this command works in a folder",
                hint="mine, mm-viability, coverage, report, summarize and sql read there; `overround lake archive` copies there",
            )

    def __repr__(self) -> str:
        return f"LakePaths({str(self.root)!r})"

    # -- bucketed tables ----------------------------------------------------------------------------

    def table(self, place: TablePlace, venue: str | None = None) -> Path:
        """A table's folder, or that of one venue in it."""
        folder = self.root / place.folder
        return folder if venue is None else folder / f"venue={venue}"

    def day(self, place: TablePlace, venue: str, date: str) -> Path:
        """Folder of one UTC day (``YYYY-MM-DD``); its manifest lies here."""
        return self.table(place, venue) / f"date={date}"

    def hour(self, place: TablePlace, venue: str, date: str, hour: str) -> Path:
        """Folder of a table's files of one UTC hour (``HH``); the day's where the table is not divided."""
        day = self.day(place, venue, date)
        return day / f"hour={hour}" if place.by_hour else day

    def bucket_folder(self, place: TablePlace, venue: str, bucket: Bucket) -> Path:
        """Folder that holds a bucket's files."""
        return self.hour(place, venue, bucket.date, bucket.hour)

    def bucket_file(self, place: TablePlace, venue: str, bucket: Bucket, shard: Shard = (0, 1)) -> Path:
        """The one Parquet file of a bucket and shard.

        Examples
        --------
        >>> from overround.timebucket import bucket_of
        >>> LakePaths(Path("data")).bucket_file(SNAPSHOTS, "kalshi", bucket_of(1_768_392_301_500, 300)).as_posix()
        'data/orderbook_snapshots/venue=kalshi/date=2026-01-14/hour=12/snapshots_2026-01-14T12-05.parquet'
        """
        name = f"{place.prefix}_{bucket.stamp}{shard_suffix(shard)}.parquet"
        return self.bucket_folder(place, venue, bucket) / name

    def wal_file(self, place: TablePlace, venue: str, bucket: Bucket, shard: Shard, wal_id: str) -> Path:
        """A hidden write-ahead file beside the bucket's Parquet file."""
        name = f".{place.prefix}_{bucket.stamp}{shard_suffix(shard)}.{wal_id}.wal"
        return self.bucket_folder(place, venue, bucket) / name

    def manifest(self, place: TablePlace, venue: str, date: str, shard: Shard = (0, 1)) -> Path:
        """A shard's manifest of one day; each table and shard has its own, so no two writers share a file."""
        return self.day(place, venue, date) / f"{_manifest_stem(place)}{shard_suffix(shard)}.jsonl"

    def sums(self, place: TablePlace, venue: str, date: str, shard: Shard = (0, 1)) -> Path:
        """Sums that a shard's writer leaves of its files, beside the manifest; may be removed at any time."""
        return self.day(place, venue, date) / f"_sums{shard_suffix(shard)}.jsonl"

    def all_sums(self, place: TablePlace, venue: str, date: str) -> list[Path]:
        """All shards' sums of one day."""
        return sorted(self.day(place, venue, date).glob("_sums*.jsonl"))

    def journal_file(self, venue: str, bucket: Bucket, shard: Shard = (0, 1), run: int = 0) -> Path:
        """A journal file; a restart inside the bucket opens the next ``run`` and never touches an earlier file."""
        again = f".r{run}" if run else ""
        name = f"{JOURNAL.prefix}_{bucket.stamp}{shard_suffix(shard)}{again}.jsonl.zst"
        return self.bucket_folder(JOURNAL, venue, bucket) / name

    # -- what is there ------------------------------------------------------------------------------

    def venues(self, place: TablePlace) -> list[str]:
        """Venues that have a folder in a table, sorted."""
        return sorted(_named(self.table(place), "venue="))

    def days(self, place: TablePlace, venue: str) -> list[str]:
        """UTC days that have a folder, oldest first."""
        return sorted(day for day in _named(self.table(place, venue), "date=") if _DAY.match(f"date={day}"))

    def hours(self, place: TablePlace, venue: str, date: str) -> list[str]:
        """UTC hours (``HH``) that have a folder, in order; one empty text where the table is not divided."""
        if not place.by_hour:
            return [""]
        return sorted(hour for hour in _named(self.day(place, venue, date), "hour=") if _HOUR.match(f"hour={hour}"))

    def bucket_files(self, place: TablePlace, venue: str, date: str, hour: str = "") -> list[Path]:
        """Parquet files of one hour (or day), in the order of their names."""
        folder = self.hour(place, venue, date, hour)
        return sorted(p for p in folder.glob(f"{place.prefix}_*.parquet") if parse_bucket_name(p.name))

    def wal_files(self, place: TablePlace, venue: str, date: str, hour: str = "") -> list[WalFile]:
        """Write-ahead files of one hour (or day), in the order of their names."""
        found = sorted(self.hour(place, venue, date, hour).glob(f".{place.prefix}_*.wal"))
        return [wal for path in found if (wal := self.wal_named(path)) is not None]

    @staticmethod
    def wal_named(path: Path) -> WalFile | None:
        """What a write-ahead file's name says; None if it is none."""
        match = _WAL.match(path.name)
        named = parse_bucket_name(f"{match['name']}.wal") if match else None
        return WalFile(path, match["id"], named[0], named[1] or (0, 1)) if match and named else None

    def manifests(self, place: TablePlace, venue: str, date: str) -> list[Path]:
        """All shards' manifests of one day."""
        return sorted(self.day(place, venue, date).glob(f"{_manifest_stem(place)}.*jsonl"))

    def journal_files(self, venue: str, date: str, hour: str) -> list[Path]:
        """Journal files of one hour, by bucket, then run."""
        folder = self.hour(JOURNAL, venue, date, hour)
        return sorted(folder.glob(f"{JOURNAL.prefix}_*.jsonl.zst"), key=lambda p: (*self.journal_bucket(p), p.name))

    @staticmethod
    def journal_bucket(path: Path) -> tuple[int, int, Shard]:
        """Start of a journal file's bucket, ms, which of that bucket's files it is (0, 1, ...), and its shard."""
        run = _RUN.search(path.name)
        named = parse_bucket_name(_RUN.sub(".jsonl.zst", path.name))
        start_ms, shard = named or (0, None)
        return (start_ms, int(run[1]) if run else 0, shard or (0, 1))

    def day_folders(self, venue: str | None = None) -> list[DayFolder]:
        """Folders of all tables and days, also of those that no module of this version knows; by table, venue and day."""
        found = []
        for path in (path for depth in ("*", "*/*") for path in self.root.glob(f"{depth}/venue=*/date=*")):
            named = path.parent.name.removeprefix("venue=")
            if _DAY.match(path.name) and path.is_dir() and venue in (None, named):
                table = path.parent.parent.relative_to(self.root).as_posix()
                found.append(DayFolder(table, named, path.name.removeprefix("date="), path))
        return sorted(found)

    # -- single files -------------------------------------------------------------------------------

    def files_of(self, place: TablePlace | FilePlace) -> list[Path]:
        """A table's finished files of all venues and days, by name."""
        if isinstance(place, FilePlace):
            return sorted(self.root.glob(place.pattern))
        hours = "hour=*/" if place.by_hour else ""
        found = self.root.glob(f"{place.folder}/venue=*/date=*/{hours}{place.prefix}_*.parquet")
        return sorted(path for path in found if parse_bucket_name(path.name))

    @property
    def made(self) -> Path:
        """Where what is made of the lake is written: its own folder."""
        return self.root

    def name_of(self, path: Path) -> str:
        """A file's path from the data folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def open_buckets(self, place: TablePlace) -> list[tuple[str, str, str]]:
        """Venue, date and hour (empty where days are not divided) of the buckets that are not finished."""
        hours = "hour=*/" if place.by_hour else ""
        found = self.root.glob(f"{place.folder}/venue=*/date=*/{hours}.{place.prefix}_*.wal")
        parts = {path.parent.relative_to(self.root / place.folder).parts for path in found}
        named = [[part.partition("=")[2] for part in each] for each in sorted(parts)]
        return [(each[0], each[1], each[2] if place.by_hour else "") for each in named]

    def _daily(self, table: str, venue: str, date: str) -> Path:
        place = FILES[table]
        return self.root / place.folder / f"venue={venue}" / f"date={date}" / place.name

    def universe(self, venue: str, date: str) -> Path:
        """Listing of one venue and UTC day."""
        return self._daily("universe", venue, date)

    def universes(self, venue: str) -> list[Path]:
        """All listings of a venue, oldest day first."""
        return self._dated("metadata", venue, "universe.jsonl")

    def history_file(self, venue: str, month: str) -> Path:
        """The catalogue's history of one UTC month (``YYYY-MM``)."""
        return self._history(venue) / f"changes_{month}.jsonl.zst"

    def history_files(self, venue: str) -> list[Path]:
        """The catalogue's history, oldest month first."""
        return sorted(self._history(venue).glob("changes_????-??.jsonl.zst"))

    def history_head(self, venue: str) -> Path:
        """Says where the history ends; made again from the history where it is lost."""
        return self._history(venue) / "_head.json"

    def history_lock(self, venue: str) -> Path:
        """Held by the scan that is writing."""
        return self.root / ".locks" / f"scan_{venue}.lock"

    def _history(self, venue: str) -> Path:
        return self.root / "metadata" / f"venue={venue}" / "history"

    def mined(self, venue: str, date: str) -> Path:
        """Folder of what mining keeps of a day's files; may be removed at any time."""
        return self.root / ".mined" / f"venue={venue}" / f"date={date}"

    def stats(self, venue: str, date: str) -> Path:
        """Mined statistics of one venue and UTC day."""
        return self._daily("stats", venue, date)

    def all_stats(self, venue: str) -> list[Path]:
        """All statistics of a venue, oldest day first."""
        return self._dated("stats", venue, "stats.parquet")

    def quarantine(self, venue: str) -> Path:
        """Folder of the messages of a venue that were set aside."""
        return self.root / "quarantine" / f"venue={venue}"

    def quarantine_day(self, venue: str, date: str) -> Path:
        """Folder of the messages set aside on one UTC day."""
        return self.quarantine(venue) / f"date={date}"

    def quarantine_file(self, venue: str, date: str, writer: str) -> Path:
        """Messages that one writer (a process's sentinel) set aside on one UTC day."""
        return self.quarantine_day(venue, date) / f"quarantine_{writer}.jsonl"

    def quarantine_files(self, venue: str, date: str) -> list[Path]:
        """All writers' files of one day, by name."""
        return sorted(self.quarantine_day(venue, date).glob("quarantine_*.jsonl"))

    def quarantine_days(self, venue: str) -> list[str]:
        """UTC days on which messages were set aside, oldest first."""
        found = _named(self.quarantine(venue), "date=")
        return sorted(day for day in found if _DAY.match(f"date={day}"))

    def drift(self, venue: str) -> Path:
        """What is known of a venue's drift, and the profile that it is measured against."""
        return self.root / "drift" / f"venue={venue}" / "drift.json"

    def drift_lock(self, venue: str) -> Path:
        """Held while ``drift`` is read, added to and written."""
        return self.root / ".locks" / f"drift_{venue}.lock"

    def mm_viability(self, venue: str, date: str) -> Path:
        """Market-making report of one venue and UTC day."""
        return self._daily("mm_viability", venue, date)

    def rules(self, venue: str, date: str) -> Path:
        """Rules texts of one venue and UTC day."""
        return self._daily("rules", venue, date)

    def logic(self, venue: str, date: str, name: str) -> Path:
        """``propositions``, ``constraints`` or ``violations`` of one venue and UTC day."""
        return self._daily(name, venue, date)

    def review_queue(self, venue: str, date: str) -> Path:
        """What waits for a human's answer."""
        return self._daily("review_queue", venue, date)

    def review_decisions(self, venue: str) -> Path:
        """What people answered, of all days: it is kept when queues are tidied away."""
        return self.root / "review_queue" / f"venue={venue}" / "decisions.jsonl"

    def origin(self) -> Path:
        """Says whether the folder holds live or synthetic rows."""
        return self.root / "_origin.json"

    def pipeline_runs(self) -> Path:
        """Counts how the jobs over this lake ended."""
        return self.root / "_pipelines.json"

    def pipeline_runs_lock(self) -> Path:
        """Held while ``pipeline_runs`` is read, added to and written."""
        return self.root / ".locks" / "pipelines.lock"

    def lock(self, venue: str, shard: Shard = (0, 1)) -> Path:
        """Held by the one process that records this venue and shard; its owner is named beside it."""
        return self.root / ".locks" / f"collect_{venue}{shard_suffix(shard)}.lock"

    def publish_lock(self, venue: str, shard: Shard) -> Path:
        """Held while a bucket of a leased shard is finished."""
        return self.root / ".locks" / f"publish_{venue}{shard_suffix(shard)}.lock"

    def fence(self, venue: str, shard: Shard) -> Path:
        """Says whose lease of a shard is the newest."""
        return self.root / ".locks" / f"fence_{venue}{shard_suffix(shard)}.json"

    def locks(self, venue: str) -> list[Path]:
        """Lock files of all shards of a venue that were ever recorded."""
        return sorted((self.root / ".locks").glob(f"collect_{venue}*.lock"))

    @staticmethod
    def lock_shard(path: Path) -> Shard | None:
        """Whose lock a file is."""
        found = _LOCK.match(path.name)
        return (int(found[1] or 0), int(found[2] or 1)) if found else None

    def _dated(self, folder: str, venue: str, name: str) -> list[Path]:
        base = self.root / folder / f"venue={venue}"
        days = sorted(day for day in _named(base, "date=") if _DAY.match(f"date={day}"))
        return [path for day in days if (path := base / f"date={day}" / name).is_file()]


def _manifest_stem(place: TablePlace) -> str:
    return f"_manifest_{place.prefix}" if place.guest else "_manifest"


def _named(folder: Path, key: str) -> Iterator[str]:
    """Values of ``key=…`` folders inside a folder; nothing where the folder is absent."""
    if folder.is_dir():
        for child in folder.iterdir():
            if child.name.startswith(key) and child.is_dir():
                yield child.name.removeprefix(key)

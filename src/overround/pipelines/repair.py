"""Mending what ``lake verify`` finds, where the lake or its archive holds what is needed (``overround lake repair``).

Rows are never made up: a damaged file is replaced from the archive if what is there has the checksum that the manifest
says. What only the journal can give is left to ``lake rebuild``, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from overround.errors import FileDamaged, LakeLocked, StorageError
from overround.pipelines.lake import TABLES, verify_lake
from overround.storage import JOURNAL, CollectorLock, DayFolder, LakePaths, TableSpec, read_origin
from overround.storage.archive import Archive, ArchivedFile, digest_of
from overround.storage.bucket import FileMeta, describe_file, finalise_bucket, read_file_meta
from overround.storage.fileops import FileOps
from overround.storage.manifest import append_line, read_manifests
from overround.storage.verify import ProblemKind
from overround.storage.wal import read_wal
from overround.timebucket import bucket_of, parse_bucket_name

__all__ = ["Repair", "repair_lake"]

log = structlog.get_logger()

DEFAULT_BUCKET_S = 300


@dataclass(kw_only=True)
class Repair:
    """What :func:`repair_lake` found and did.

    Attributes
    ----------
    applied : bool
        False: nothing was touched.
    mended : list of str
        Files that are in order now (or would be), and what was done.
    left : list of str
        Files that are as they were, and what would help.
    """

    applied: bool
    mended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 where something is left."""
        return 3 if self.left else 0


def repair_lake(
    paths: LakePaths,
    *,
    level: int,
    now_ms: int,
    apply: bool,
    archive: Archive | None = None,
    venue: str | None = None,
    date: str | None = None,
    journal: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
    ops: FileOps | None = None,
) -> Repair:
    """Mend what can be mended, or say what that is.

    Parameters
    ----------
    paths : LakePaths
    level : int
        zstd level of files that are finished here.
    now_ms : int
    apply : bool
        False: only say.
    archive : Archive, optional
    venue, date : str, optional
        Only these.
    journal : bool
        Look at the raw frames too.
    on_progress : callable, optional
        ``on_progress(done, total)`` files looked at.
    ops : FileOps, optional

    Raises
    ------
    NothingStored
        If there is nothing to look at.
    StorageError
        If the disk refuses, or the archive cannot be reached.
    """
    report = verify_lake(paths, venue=venue, date=date, journal=journal, on_progress=on_progress)
    kinds: dict[Path, set[ProblemKind]] = {}
    for problem in report.problems:
        kinds.setdefault(problem.path, set()).add(problem.kind)
    done = Repair(applied=apply)
    bench = _Bench(paths, level=level, now_ms=now_ms, apply=apply, archive=archive, ops=ops or FileOps())
    for path, found in kinds.items():
        name = path.relative_to(paths.root).as_posix()
        try:
            mended, said = bench.mend(path, found)
        except (LakeLocked, FileDamaged) as exc:
            mended, said = False, str(exc)
        except OSError as exc:
            raise StorageError(f"{path}: {exc.strerror or exc}", hint="free space or mend the folder's rights") from exc
        (done.mended if mended else done.left).append(f"{name}: {', '.join(sorted(found))}: {said}")
        if mended and apply:
            log.info("repair.mended", file=name, problem=sorted(found), how=said)
    return done


class _Bench:
    """Where one file after another is mended."""

    def __init__(
        self, paths: LakePaths, *, level: int, now_ms: int, apply: bool, archive: Archive | None, ops: FileOps
    ) -> None:
        self._paths, self._level, self._now_ms, self._apply = paths, level, now_ms, apply
        self._archive, self._ops = archive, ops
        self._receipts: dict[Path, Mapping[str, ArchivedFile]] = {}

    def mend(self, path: Path, kinds: set[ProblemKind]) -> tuple[bool, str]:
        """Whether a file is (or would be) in order then, and what was done or would help."""
        folder = self._folder(path)
        table = _table_of(path, folder)
        if kinds == {ProblemKind.HALF_FILE}:
            if self._apply:
                self._ops.remove(path)
            return True, "removed: what a crash left half written"
        if kinds == {ProblemKind.LEFT_WAL} and table is not None:
            return self._finish(path, table, folder)
        if kinds <= {ProblemKind.UNLISTED, ProblemKind.MANIFEST} and table is not None:
            return self._list(path, table, folder)
        if kinds & {ProblemKind.MISSING, ProblemKind.CHECKSUM, ProblemKind.UNREADABLE}:
            return self._bring_back(path, table, folder)
        if ProblemKind.DAMAGED_ASIDE in kinds:
            return False, "kept to be looked at: remove it by hand once its rows are back"
        return False, _rebuild(folder)

    def _folder(self, path: Path) -> DayFolder:
        day = next(parent for parent in path.parents if parent.name.startswith("date="))
        table = day.parent.parent.relative_to(self._paths.root).as_posix()
        return DayFolder(table, day.parent.name.removeprefix("venue="), day.name.removeprefix("date="), day)

    def _finish(self, wal: Path, table: TableSpec, folder: DayFolder) -> tuple[bool, str]:
        content = read_wal(wal)
        found = next(
            each
            for hour in self._paths.hours(table.place, folder.venue, folder.date)
            for each in self._paths.wal_files(table.place, folder.venue, folder.date, hour)
            if each.path == wal
        )
        if self._apply:
            with CollectorLock(self._paths, folder.venue, found.shard, borrowed=True):
                finalise_bucket(
                    self._paths, table, folder.venue, bucket_of(found.start_ms, content.bucket_s or DEFAULT_BUCKET_S),
                    found.shard, [wal], level=self._level, origin=str(read_origin(self._paths) or ""),
                    now_ms=self._now_ms, ops=self._ops,
                )  # fmt: skip
        return True, f"its {content.n_rows} rows taken into their bucket's file"

    def _list(self, path: Path, table: TableSpec, folder: DayFolder) -> tuple[bool, str]:
        named = parse_bucket_name(path.name)
        if self._apply:
            meta = read_file_meta(path) or FileMeta(
                table=table.name, schema_version=0, writer="", origin=str(read_origin(self._paths) or "")
            )
            line = describe_file(path, path.read_bytes(), table, day=folder.path, meta=meta, now_ms=self._now_ms)
            shard = (named[1] if named else None) or (0, 1)
            append_line(self._ops, self._paths.manifest(table.place, folder.venue, folder.date, shard), line)
        return True, "listed in the manifest as it is"

    def _bring_back(self, path: Path, table: TableSpec | None, folder: DayFolder) -> tuple[bool, str]:
        name = path.relative_to(folder.path).as_posix()
        held = self._archived(folder).get(name)
        if held is None:
            return False, _rebuild(folder)
        if table is not None:
            line = read_manifests(self._paths.manifests(table.place, folder.venue, folder.date)).get(name)
            if line is not None and line.sha256 != held.sha256:
                return False, f"the archive holds another version of it; {_rebuild(folder)}"
        elif path.exists() and digest_of(path) == held.sha256:
            return False, "the archive holds the same: it was torn when it was recorded, and reads up to there"
        if self._apply:
            assert self._archive is not None
            # Nothing is replaced before all of it is there and has the checksum that the manifest says.
            if not self._archive.fetch(f"{folder.key}/{name}", path, sha256=held.sha256, ops=self._ops):
                return False, f"the archive has lost it; {_rebuild(folder)}"
        return True, "brought back from the archive"

    def _archived(self, folder: DayFolder) -> Mapping[str, ArchivedFile]:
        if self._archive is None:
            return {}
        if folder.path not in self._receipts:
            receipt = self._archive.receipt(folder)
            self._receipts[folder.path] = receipt.files if receipt is not None else {}
        return self._receipts[folder.path]


def _table_of(path: Path, folder: DayFolder) -> TableSpec | None:
    """The table of a file by its name's first part; None for the journal."""
    name = path.name.removeprefix(".")
    named = [
        table for table in TABLES if table.place.folder == folder.table and name.startswith(f"{table.place.prefix}_")
    ]
    return named[0] if named and folder.table != JOURNAL.folder else None


def _rebuild(folder: DayFolder) -> str:
    if folder.table == JOURNAL.folder:
        return "only a copy of the file helps"
    return f"try `overround lake rebuild --from journal --venue {folder.venue} --date {folder.date} --in-place`"

"""Copying finished days to the archive, and back (``overround lake archive`` and ``overround lake restore``)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import structlog

from overround.errors import FileDamaged, StorageError
from overround.market import Origin
from overround.pipelines.retain import is_open, waiting_rows
from overround.storage import DayFolder, LakePaths, claim_origin, read_origin
from overround.storage.archive import Archive, ArchivedFile, Receipt, digest_of
from overround.storage.fileops import FileOps
from overround.storage.manifest import read_manifest

__all__ = ["Carried", "archive_lake", "restore_lake", "unarchived"]

log = structlog.get_logger()

AT_ONCE = 4
"""Files carried at the same time."""


@dataclass(kw_only=True)
class Carried:
    """What :func:`archive_lake` or :func:`restore_lake` did.

    Attributes
    ----------
    days, files, bytes : int
        Days looked at; files carried, and their bytes.
    present : int
        Files that were there already.
    problems : list of str
        What was not carried, and why, by name.
    """

    days: int = 0
    files: int = 0
    bytes: int = 0
    present: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 where something was not carried."""
        return 3 if self.problems else 0

    def count(self, name: str, outcome: _Outcome) -> None:
        """Add what became of one file."""
        if outcome.problem:
            self.problems.append(f"{name}: {outcome.problem}")
        elif outcome.carried and outcome.file is not None:
            self.files += 1
            self.bytes += outcome.file.bytes
        else:
            self.present += 1


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of one file."""

    file: ArchivedFile | None = None
    carried: bool = False
    problem: str = ""


def archive_lake(
    paths: LakePaths,
    archive: Archive,
    *,
    now_ms: int,
    since: str,
    until: str,
    venue: str | None = None,
    table: str | None = None,
    check: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Carried:
    """Copy what is not archived yet of every day that is over; a day's receipt is written when its objects were read back.

    Killed at any instant and run again it goes on: an object that is there already is read back instead of sent again.

    Parameters
    ----------
    paths : LakePaths
    archive : Archive
    now_ms : int
    since, until : str
        First and last UTC day.
    venue, table : str, optional
        Copy only these.
    check : bool
        Read everything again, also what a receipt lists: files, and objects.
    on_progress : callable, optional
        ``on_progress(done, total)`` days.

    Raises
    ------
    StorageError
        If the store cannot be reached or refuses.
    """
    done = Carried()
    origin = str(read_origin(paths) or "")
    folders = [
        folder
        for folder in paths.day_folders(venue)
        if since <= folder.date <= until and table in (None, folder.table) and not is_open(folder, now_ms=now_ms)
    ]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="archive") as pool:
        for n, folder in enumerate(folders):
            if on_progress is not None:
                on_progress(n, len(folders))
            waiting = waiting_rows(folder)
            if waiting:
                done.problems.append(f"{folder.key}: {waiting}")
                continue
            _archive_day(archive, folder, origin, done, pool, now_ms=now_ms, check=check)
    if on_progress is not None:
        on_progress(len(folders), len(folders))
    return done


def _archive_day(
    archive: Archive,
    folder: DayFolder,
    origin: str,
    done: Carried,
    pool: ThreadPoolExecutor,
    *,
    now_ms: int,
    check: bool,
) -> None:
    held = archive.receipt(folder)
    known = held.files if held is not None else {}

    def carry(path: Path) -> _Outcome:
        name = path.relative_to(folder.path).as_posix()
        key, listed = f"{folder.key}/{name}", known.get(name)
        try:
            stat = path.stat()
            if (
                listed is not None
                and not check
                and listed.bytes == stat.st_size
                and stat.st_mtime_ns < listed.seen_ms * 1_000_000
            ):
                return _Outcome(file=listed)
            file = ArchivedFile(bytes=stat.st_size, sha256=digest_of(path), seen_ms=now_ms)
        except OSError as exc:
            return _Outcome(problem=f"it cannot be read: {exc.strerror or exc}")
        if archive.size(key) == file.bytes and archive.digest(key) == file.sha256:
            return _Outcome(file=file)
        archive.put(key, path)
        if archive.digest(key) != file.sha256:
            return _Outcome(
                file=file, problem="what was read back differs: it was changed meanwhile, or the store is damaged"
            )
        return _Outcome(file=file, carried=True)

    paths = _data_files(folder)
    outcomes = dict(zip(paths, pool.map(carry, paths), strict=True))
    done.days += 1
    files = dict(known)
    for path, outcome in outcomes.items():
        name = path.relative_to(folder.path).as_posix()
        done.count(f"{folder.key}/{name}", outcome)
        if outcome.problem and outcome.file is not None:
            files.pop(name, None)  # its object was replaced, by what is not known
        elif outcome.file is not None:
            files[name] = outcome.file
    # What `lake compact` took into other files must not come back beside them.
    manifests = [path for path in paths if path.name.startswith("_manifest")]
    taken = {source for path in manifests for line in read_manifest(path).values() for source in line.wals}
    here = {path.relative_to(folder.path).as_posix() for path in paths}
    files = {name: file for name, file in files.items() if name in here or file.sha256[:16] not in taken}
    if files != known:
        archive.write_receipt(
            Receipt(table=folder.table, venue=folder.venue, date=folder.date, origin=origin, files=files)
        )
        log.info("archive.day_written", table=folder.table, venue=folder.venue, date=folder.date, files=len(files))


def _data_files(folder: DayFolder) -> list[Path]:
    """A day's files but hidden ones: those are temporary, or write-ahead files, which keep their day from going anywhere."""
    return [path for path in folder.files() if not path.name.startswith(".")]


def unarchived(archive: Archive) -> Callable[[DayFolder], str]:
    """Says of a day why it is not safe in the archive: every file is compared with its receipt, every object looked for."""

    def why(folder: DayFolder) -> str:
        held = archive.receipt(folder)
        if held is None:
            return "it is not archived: `overround lake archive` copies it"
        for path in _data_files(folder):
            name = path.relative_to(folder.path).as_posix()
            listed = held.files.get(name)
            if listed is None or listed.bytes != path.stat().st_size or listed.sha256 != digest_of(path):
                return f"{name} is not archived as it is: `overround lake archive --check` copies it"
            if archive.size(f"{folder.key}/{name}") != listed.bytes:
                return f"the archive has lost {name}: `overround lake archive --check` copies it again"
        return ""

    return why


def restore_lake(
    paths: LakePaths,
    archive: Archive,
    *,
    since: str,
    until: str,
    venue: str | None = None,
    table: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    ops: FileOps | None = None,
) -> Carried:
    """Bring archived days back; each file appears whole, with the checksum of its receipt, or not at all.

    Parameters
    ----------
    paths : LakePaths
    archive : Archive
    since, until : str
        First and last UTC day.
    venue, table : str, optional
        Bring only these.
    overwrite : bool
        Replace files that differ from the archive's.
    on_progress : callable, optional
        ``on_progress(done, total)`` days.
    ops : FileOps, optional

    Raises
    ------
    StorageError
        If the store cannot be reached or refuses, or the disk refuses.
    OriginMismatch
        If the lake holds rows of the other origin.
    """
    ops, done = ops or FileOps(), Carried()
    receipts = archive.receipts(since=since, until=until, venue=venue, table=table)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="restore") as pool:
        for n, receipt in enumerate(receipts):
            if on_progress is not None:
                on_progress(n, len(receipts))
            if receipt.origin:
                claim_origin(paths, Origin(receipt.origin))
            done.days += 1

            def bring(name: str, receipt: Receipt = receipt) -> _Outcome:
                return _restore_file(paths, archive, receipt, name, overwrite=overwrite, ops=ops)

            # The manifest last: a file that it lists is there.
            names = sorted(receipt.files, key=lambda name: (name.startswith("_"), name))
            for name, outcome in zip(names, pool.map(bring, names), strict=True):
                done.count(f"{receipt.key}/{name}", outcome)
    if on_progress is not None:
        on_progress(len(receipts), len(receipts))
    return done


def _restore_file(
    paths: LakePaths, archive: Archive, receipt: Receipt, name: str, *, overwrite: bool, ops: FileOps
) -> _Outcome:
    file, key = receipt.files[name], f"{receipt.key}/{name}"
    # Who can write into the archive must not write elsewhere on this machine.
    if not all(part.strip(". ") and not set(part) & set("\\:") for part in PurePosixPath(key).parts):
        return _Outcome(file=file, problem="this name leads out of the lake")
    target = paths.root / key
    try:
        if target.exists():
            if target.stat().st_size == file.bytes and digest_of(target) == file.sha256:
                return _Outcome(file=file)
            if not overwrite:
                return _Outcome(file=file, problem="another file is there: --overwrite replaces it")
        if not archive.fetch(key, target, sha256=file.sha256, ops=ops):
            return _Outcome(file=file, problem="the archive has lost it")
    except FileDamaged as exc:
        return _Outcome(file=file, problem=str(exc))
    except OSError as exc:
        raise StorageError(
            f"{target} cannot be written: {exc.strerror or exc}", hint="free space, or mend the folder's rights"
        ) from exc
    return _Outcome(file=file, carried=True)

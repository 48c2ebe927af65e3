"""How the jobs over a lake (scan, mine, ...) ended, counted in one small file; each run is a process of its own."""

from __future__ import annotations

import filelock
import msgspec

from overround.errors import UNREADABLE, StorageError
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

__all__ = ["EVERY_VENUE", "STAGES", "RunCount", "RunCounts", "note_run", "read_run_counts"]

LOCK_S = 5.0

STAGES = ("scan", "mine", "verify", "rebuild", "retain", "archive")
"""The jobs that are counted."""

EVERY_VENUE = "all"
"""Stands for the venue of a run that was over all of them."""


class RunCount(msgspec.Struct, kw_only=True):
    """The runs of one job over one venue.

    Attributes
    ----------
    done, failed : int
    done_ms, failed_ms : int
        When the last one of each ended, epoch ms; 0 where there was none.
    reason : str
        Why the last one failed.
    """

    done: int = 0
    failed: int = 0
    done_ms: int = 0
    failed_ms: int = 0
    reason: str = ""


RunCounts = dict[str, dict[str, RunCount]]
"""By job, then venue."""

_DECODER = msgspec.json.Decoder(RunCounts)
_ENCODER = msgspec.json.Encoder(order="deterministic")


def read_run_counts(paths: LakePaths) -> RunCounts:
    """What is counted; empty before the first run, and where the file does not read (the next run begins it anew)."""
    try:
        return _DECODER.decode(paths.pipeline_runs().read_bytes())
    except (*UNREADABLE, OSError):
        return {}


def note_run(
    paths: LakePaths, stage: str, venue: str, *, failed: str | None, now_ms: int, ops: FileOps | None = None
) -> None:
    """Count one more run.

    Parameters
    ----------
    paths : LakePaths
    stage, venue : str
    failed : str or None
        Why it failed; None where it did not.
    now_ms : int
    ops : FileOps, optional

    Raises
    ------
    StorageError
        If the file cannot be written, or another process holds it too long.
    """
    path, lock = paths.pipeline_runs(), paths.pipeline_runs_lock()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock).acquire(timeout=LOCK_S):
            counts = read_run_counts(paths)
            count = counts.setdefault(stage, {}).setdefault(str(venue), RunCount())
            if failed is None:
                count.done, count.done_ms = count.done + 1, now_ms
            else:
                count.failed, count.failed_ms, count.reason = count.failed + 1, now_ms, failed
            (ops or FileOps()).write_whole(path, _ENCODER.encode(counts))
    except filelock.Timeout as exc:
        raise StorageError(f"{path} is held by another process for more than {LOCK_S:g} s") from exc
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc

"""Runs of jobs that are counted in the lake, so that a collector that records there can tell of those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from overround.clock import Clock
from overround.errors import StorageError
from overround.storage import LakePaths, note_run

__all__ = ["CountedRun", "count_run", "counted"]

log = structlog.get_logger()


class CountedRun:
    """A run under way.

    Attributes
    ----------
    failed : str or None
        Set by a run that ends without an error and has failed all the same.
    """

    failed: str | None = None


@contextmanager
def counted(paths: LakePaths, stage: str, venue: str, *, clock: Clock) -> Iterator[CountedRun]:
    """Count how a run ends: failed where it raises, not at all where somebody stopped it.

    Parameters
    ----------
    paths : LakePaths
    stage : str
        One of ``storage.STAGES``.
    venue : str
    clock : Clock
    """
    run = CountedRun()
    try:
        yield run
    except Exception as exc:
        count_run(paths, stage, venue, failed=str(exc) or type(exc).__name__, clock=clock)
        raise
    count_run(paths, stage, venue, failed=run.failed, clock=clock)


def count_run(paths: LakePaths, stage: str, venue: str, *, failed: str | None, clock: Clock) -> None:
    """Count a run that ended; where there is no lake, or it cannot be written, the run ends as it would have."""
    if not paths.root.is_dir():
        return
    try:
        note_run(paths, stage, venue, failed=failed, now_ms=clock.now_ms())
    except StorageError as exc:
        log.warning("pipeline.not_counted", stage=stage, venue=venue, reason=str(exc))

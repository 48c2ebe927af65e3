"""The file that remembers a venue's drift from run to run; several processes add to it."""

from __future__ import annotations

import filelock
import msgspec

from overround.errors import UNREADABLE, FileDamaged, StorageError
from overround.market import Drift, DriftState
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

__all__ = ["accept_drift", "add_drift", "read_drift"]

LOCK_S = 5.0

_DECODER = msgspec.json.Decoder(DriftState)
_ENCODER = msgspec.json.Encoder(order="deterministic")


def read_drift(paths: LakePaths, venue: str) -> DriftState:
    """What is known; empty before the first run.

    Raises
    ------
    FileDamaged
        If the file does not read.
    """
    path = paths.drift(venue)
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return DriftState()
    except (*UNREADABLE, OSError) as exc:
        raise FileDamaged(f"{path} does not read: {exc}", hint="remove it; the profile is learnt again") from exc


def add_drift(paths: LakePaths, venue: str, fresh: DriftState, *, ops: FileOps | None = None) -> DriftState:
    """Add what this process counted to the file; returns what it holds now.

    A file that does not read is set aside (``drift.damaged``) and begun anew: what is counted now must not be lost
    for it.

    Raises
    ------
    StorageError
        If the file cannot be written, or another process holds it too long.
    """
    path = paths.drift(venue)
    lock = filelock.FileLock(paths.drift_lock(venue))
    try:
        paths.drift_lock(venue).parent.mkdir(parents=True, exist_ok=True)
        with lock.acquire(timeout=LOCK_S):
            try:
                state = read_drift(paths, venue)
            except FileDamaged:
                path.replace(path.with_name("drift.damaged"))
                state = DriftState()
            state.add(fresh)
            (ops or FileOps()).write_whole(path, _ENCODER.encode(state))
    except filelock.Timeout as exc:
        raise StorageError(f"{path} is held by another process for more than {LOCK_S:g} s") from exc
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
    return state


def accept_drift(paths: LakePaths, venue: str, names: frozenset[str] | None, *, now_ms: int) -> list[Drift]:
    """Mark departures as known, by name or key, or all that are not yet; returns those that were marked.

    Raises
    ------
    StorageError, FileDamaged
    """
    state = read_drift(paths, venue)
    marked = [
        msgspec.structs.replace(drift, count=0, accepted_ms=now_ms)
        for drift in state.found.values()
        if (drift.accepted_ms is None if names is None else drift.name in names or drift.key in names)
    ]
    if marked:
        add_drift(paths, venue, DriftState(found={drift.key: drift for drift in marked}))
    return marked

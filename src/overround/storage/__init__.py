"""The lake: snapshot rows, raw frames, listings and statistics as files.

Names are loaded when first used, so that a command that only needs paths loads no pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overround.storage.buffer import SnapshotBuffer
    from overround.storage.journal import FrameJournal, JournalEntry, read_journal
    from overround.storage.lock import CollectorLock
    from overround.storage.origin import claim_origin, read_origin
    from overround.storage.paths import COVERAGE, JOURNAL, SNAPSHOTS, TRADES, LakePaths, Shard, TablePlace
    from overround.storage.readers import Partition, partitions, scan_snapshots
    from overround.storage.schema import ROW_SCHEMA, SNAPSHOT_TABLE, TableSpec
    from overround.storage.stats import STATS_SCHEMA, newest_stats, read_stats, write_stats
    from overround.storage.universe import FoundUniverse, UniverseChange, newest_universe, write_universe
    from overround.storage.writer import SnapshotWriter, WriterStats

_HOMES = {
    "buffer": ("SnapshotBuffer",),
    "journal": ("FrameJournal", "JournalEntry", "read_journal"),
    "lock": ("CollectorLock",),
    "origin": ("claim_origin", "read_origin"),
    "paths": ("COVERAGE", "JOURNAL", "SNAPSHOTS", "TRADES", "LakePaths", "Shard", "TablePlace"),
    "readers": ("Partition", "partitions", "scan_snapshots"),
    "schema": ("ROW_SCHEMA", "SNAPSHOT_TABLE", "TableSpec"),
    "stats": ("STATS_SCHEMA", "newest_stats", "read_stats", "write_stats"),
    "universe": ("FoundUniverse", "UniverseChange", "newest_universe", "write_universe"),
    "writer": ("SnapshotWriter", "WriterStats"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "COVERAGE",
    "JOURNAL",
    "ROW_SCHEMA",
    "SNAPSHOTS",
    "SNAPSHOT_TABLE",
    "STATS_SCHEMA",
    "TRADES",
    "CollectorLock",
    "FoundUniverse",
    "FrameJournal",
    "JournalEntry",
    "LakePaths",
    "Partition",
    "Shard",
    "SnapshotBuffer",
    "SnapshotWriter",
    "TablePlace",
    "TableSpec",
    "UniverseChange",
    "WriterStats",
    "claim_origin",
    "newest_stats",
    "newest_universe",
    "partitions",
    "read_journal",
    "read_origin",
    "read_stats",
    "scan_snapshots",
    "write_stats",
    "write_universe",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

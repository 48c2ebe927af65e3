"""The lake: snapshot rows, raw frames, listings and statistics as files.

Names are loaded when first used, so that a command that only needs paths loads no pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from overround.storage.buffer import SnapshotBuffer
    from overround.storage.coverage import (
        Shares,
        coverage_of,
        gaps_of,
        inclusion_of,
        runs_of,
        shares_of,
        trusted,
        verified_share,
    )
    from overround.storage.coverage_tables import (
        COVERAGE_TABLE,
        GAPS_TABLE,
        INCLUSION_TABLE,
        GapRow,
        InclusionRow,
        MinuteRow,
    )
    from overround.storage.coverage_writer import CoverageWriter, LeftOpen
    from overround.storage.drift import accept_drift, add_drift, read_drift
    from overround.storage.fence import raise_fence
    from overround.storage.history import (
        Catalogue,
        CatalogueHistory,
        Commit,
        catalogue_as_of,
        catalogue_changes,
        catalogue_commits,
        catalogue_spans,
    )
    from overround.storage.journal import FrameJournal, JournalEntry, read_journal
    from overround.storage.lock import CollectorLock, refuse_other_counts
    from overround.storage.origin import claim_origin, read_origin
    from overround.storage.paths import (
        COVERAGE,
        GAPS,
        INCLUSION,
        JOURNAL,
        SNAPSHOTS,
        TRADES,
        DayFolder,
        LakePaths,
        Shard,
        TablePlace,
    )
    from overround.storage.pipeline_runs import EVERY_VENUE, STAGES, RunCount, note_run, read_run_counts
    from overround.storage.quarantine import Quarantine, QuarantineEntry, count_quarantined, read_quarantine
    from overround.storage.readers import Partition, partitions, scan_snapshots, scan_trades
    from overround.storage.schema import ROW_SCHEMA, SNAPSHOT_TABLE, TableSpec
    from overround.storage.stats import STATS_SCHEMA, newest_stats, read_stats, write_stats
    from overround.storage.trades import TRADE_SCHEMA, TRADE_TABLE
    from overround.storage.universe import FoundUniverse, UniverseChange, newest_universe, write_universe
    from overround.storage.writer import SnapshotWriter, WriterStats

_HOMES = {
    "buffer": ("SnapshotBuffer",),
    "coverage": (
        "Shares",
        "coverage_of",
        "gaps_of",
        "inclusion_of",
        "runs_of",
        "shares_of",
        "trusted",
        "verified_share",
    ),
    "coverage_tables": (
        "COVERAGE_TABLE",
        "GAPS_TABLE",
        "INCLUSION_TABLE",
        "GapRow",
        "InclusionRow",
        "MinuteRow",
    ),
    "coverage_writer": ("CoverageWriter", "LeftOpen"),
    "drift": ("accept_drift", "add_drift", "read_drift"),
    "fence": ("raise_fence",),
    "history": (
        "Catalogue",
        "CatalogueHistory",
        "Commit",
        "catalogue_as_of",
        "catalogue_changes",
        "catalogue_commits",
        "catalogue_spans",
    ),
    "journal": ("FrameJournal", "JournalEntry", "read_journal"),
    "lock": ("CollectorLock", "refuse_other_counts"),
    "origin": ("claim_origin", "read_origin"),
    "paths": (
        "COVERAGE",
        "GAPS",
        "INCLUSION",
        "JOURNAL",
        "SNAPSHOTS",
        "TRADES",
        "DayFolder",
        "LakePaths",
        "Shard",
        "TablePlace",
    ),
    "pipeline_runs": ("EVERY_VENUE", "STAGES", "RunCount", "note_run", "read_run_counts"),
    "quarantine": ("Quarantine", "QuarantineEntry", "count_quarantined", "read_quarantine"),
    "readers": ("Partition", "partitions", "scan_snapshots", "scan_trades"),
    "schema": ("ROW_SCHEMA", "SNAPSHOT_TABLE", "TableSpec"),
    "stats": ("STATS_SCHEMA", "newest_stats", "read_stats", "write_stats"),
    "trades": ("TRADE_SCHEMA", "TRADE_TABLE"),
    "universe": ("FoundUniverse", "UniverseChange", "newest_universe", "write_universe"),
    "writer": ("SnapshotWriter", "WriterStats"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "COVERAGE",
    "COVERAGE_TABLE",
    "EVERY_VENUE",
    "GAPS",
    "GAPS_TABLE",
    "INCLUSION",
    "INCLUSION_TABLE",
    "JOURNAL",
    "ROW_SCHEMA",
    "SNAPSHOTS",
    "SNAPSHOT_TABLE",
    "STAGES",
    "STATS_SCHEMA",
    "TRADES",
    "TRADE_SCHEMA",
    "TRADE_TABLE",
    "Catalogue",
    "CatalogueHistory",
    "CollectorLock",
    "Commit",
    "CoverageWriter",
    "DayFolder",
    "FoundUniverse",
    "FrameJournal",
    "GapRow",
    "InclusionRow",
    "JournalEntry",
    "LakePaths",
    "LeftOpen",
    "MinuteRow",
    "Partition",
    "Quarantine",
    "QuarantineEntry",
    "RunCount",
    "Shard",
    "Shares",
    "SnapshotBuffer",
    "SnapshotWriter",
    "TablePlace",
    "TableSpec",
    "UniverseChange",
    "WriterStats",
    "accept_drift",
    "add_drift",
    "catalogue_as_of",
    "catalogue_changes",
    "catalogue_commits",
    "catalogue_spans",
    "claim_origin",
    "count_quarantined",
    "coverage_of",
    "gaps_of",
    "inclusion_of",
    "newest_stats",
    "newest_universe",
    "note_run",
    "partitions",
    "raise_fence",
    "read_drift",
    "read_journal",
    "read_origin",
    "read_quarantine",
    "read_run_counts",
    "read_stats",
    "refuse_other_counts",
    "runs_of",
    "scan_snapshots",
    "scan_trades",
    "shares_of",
    "trusted",
    "verified_share",
    "write_stats",
    "write_universe",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

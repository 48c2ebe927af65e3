"""``stats.parquet``: whole, versioned, without NaN."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overround.errors import FileDamaged, NothingStored
from overround.storage import STATS_SCHEMA, LakePaths, newest_stats, read_stats, write_stats
from overround.storage.stats import STATS_VERSION

DAY1, DAY2 = "2026-01-14", "2026-01-15"


def stats(*ids: str, spread: float = 0.02) -> pa.Table:
    return pa.table(
        {
            "extra": [1] * len(ids),
            "market_id": list(ids),
            "outcome_id": ["yes"] * len(ids),
            "venue": ["kalshi"] * len(ids),
            "n_snapshots": [5] * len(ids),
            "n_ok": [4] * len(ids),
            "avg_depth_top3": [100.0] * len(ids),
            "avg_spread": [spread] * len(ids),
            "quote_updates": pa.array([2] * len(ids), pa.uint32()),
            "first_ts": [1] * len(ids),
            "last_ts": [9] * len(ids),
        }
    )


def test_columns_come_in_the_fixed_order_then_further_ones_sorted_by_market(paths: LakePaths) -> None:
    path = write_stats(paths, "kalshi", DAY1, stats("b", "a"))
    assert path == paths.root / "stats/venue=kalshi/date=2026-01-14/stats.parquet"
    held = pq.ParquetFile(path).read()
    assert held.schema.names == [*STATS_SCHEMA.names, "extra"]
    assert held["market_id"].to_pylist() == ["a", "b"]
    assert held.schema.metadata[b"overround.stats_version"] == str(STATS_VERSION).encode()
    assert [held.schema.field(field.name).type for field in STATS_SCHEMA] == STATS_SCHEMA.types


def test_an_average_over_nothing_is_null_never_nan(paths: LakePaths) -> None:
    write_stats(paths, "kalshi", DAY1, stats("a", spread=math.nan))
    assert read_stats(paths, "kalshi", DAY1)["avg_spread"].to_pylist() == [None]


def test_the_newest_days_rows_are_what_the_scheduler_gets(paths: LakePaths) -> None:
    assert newest_stats(paths, "kalshi") == []
    write_stats(paths, "kalshi", DAY2, stats("new"))
    write_stats(paths, "kalshi", DAY1, stats("old"))
    (row,) = newest_stats(paths, "kalshi")
    assert (row["market_id"], row["n_snapshots"], row["avg_spread"]) == ("new", 5, 0.02)


def test_a_missing_column_is_refused_by_name(paths: LakePaths) -> None:
    with pytest.raises(ValueError, match="lack n_ok, first_ts"):
        write_stats(paths, "kalshi", DAY1, stats("a").drop_columns(["n_ok", "first_ts"]))


def test_a_day_never_mined_a_damaged_file_and_a_later_version_are_told_apart(paths: LakePaths) -> None:
    with pytest.raises(NothingStored, match="no statistics of kalshi on 2026-01-14"):
        read_stats(paths, "kalshi", DAY1)
    path = write_stats(paths, "kalshi", DAY1, stats("a"))
    later = pq.ParquetFile(path).read().replace_schema_metadata({"overround.stats_version": "99"})
    pq.write_table(later, path)
    with pytest.raises(FileDamaged, match="version 99"):
        read_stats(paths, "kalshi", DAY1)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(FileDamaged, match="lacks venue"):
        read_stats(paths, "kalshi", DAY1)
    path.write_bytes(b"PAR1")
    with pytest.raises(FileDamaged, match="no readable Parquet"):
        newest_stats(paths, "kalshi")

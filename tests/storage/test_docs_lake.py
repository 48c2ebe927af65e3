"""The page on the lake says what is true, and its snippets run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from overround.market import BookStatus, ErrCode, Integrity, MarketId, OutcomeId, Trade
from overround.storage import ROW_SCHEMA, TRADE_SCHEMA, LakePaths, SnapshotWriter
from overround.storage.verify import ProblemKind
from overround.testing.clock import ManualClock

PAGE = (Path(__file__).parents[2] / "docs/reference/lake.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PRINT = Trade(
    market_id=MarketId("kalshi-0"),
    outcome_id=OutcomeId("yes"),
    first=True,
    px=0.4,
    sz_e6=2_500_000,
    taker_side="buy",
    ts_recv_ns=1_768_392_301_000_000_000,
)


@pytest.fixture
async def lake(
    tmp_path: Path,
    clock: ManualClock,
    open_writer: Callable[..., SnapshotWriter],
    append: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A lake of two buckets (one of them open) under ``data`` in the working folder."""
    monkeypatch.chdir(tmp_path)
    for venue in ("kalshi", "polymarket"):
        writer = open_writer(venue=venue, paths=LakePaths(tmp_path / "data"))
        for seq in range(10):
            append(writer.buffer, clock.now_ms(), seq, market=f"{venue}-{seq % 2}")
        writer.add_trades([PRINT])
        await writer.stop()
    clock.skip_ms(300_000)
    writer = open_writer(paths=LakePaths(tmp_path / "data"))
    append(writer.buffer, clock.now_ms(), 99, market="kalshi-0")
    await writer.flush(clock.now_ms())
    return tmp_path


def run(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(SNIPPETS[number], f"lake.md snippet {number}", "exec"), names)
    return names


async def test_polars_reads_true_lists_and_typed_folders(lake: Path) -> None:
    import polars as pl

    names = run(0)
    assert names["snapshots"].collect_schema()["bid_px"] == pl.List(pl.Float64)
    assert names["snapshots"].collect_schema()["hour"] == pl.Int8
    assert names["depth"].select("market_id", "outcome_id").rows() == [
        (f"kalshi-{n}", outcome) for n in range(2) for outcome in ("no", "yes")
    ]
    # The first outcome's seq 0, 2, 4, 6, 8: the best three bids hold seq + 1, seq + 2 and seq + 3 contracts.
    assert names["depth"].filter(market_id="kalshi-0", outcome_id="yes")["bid_depth_top3"].item() == 3 * 4 + 6


async def test_duckdb_reads_true_lists(lake: Path) -> None:
    import duckdb

    rows = run(1)["spreads"]
    assert [(market, outcome, round(spread, 9), levels) for market, outcome, spread, levels in rows[:2]] == [
        ("kalshi-0", "no", 0.01, 4),
        ("kalshi-0", "yes", 0.01, 5),
    ]
    types = duckdb.sql("DESCRIBE SELECT bid_px FROM 'data/orderbook_snapshots/**/snapshots_*.parquet'").fetchall()
    assert types[0][1] == "DOUBLE[]"


async def test_pandas_gets_an_array_per_row(lake: Path) -> None:
    names = run(2)
    frame = names["frame"]
    assert len(frame) == 20
    assert set(frame["venue"]) == {"kalshi"}
    row = frame[(frame["outcome_id"] == "yes") & (frame["seq"] == 0)].iloc[0]
    assert list(row["bid_px"]) == [0.5, 0.49, 0.48, 0.47, 0.46]
    assert list(names["best_three"].loc[row.name]) == [1.0, 2.0, 3.0]


async def test_our_reader_includes_the_open_bucket(lake: Path) -> None:
    latest = run(3)["latest"]
    assert len(latest) == 22
    assert 99 in latest["seq"].to_list()


async def test_our_reader_reads_trades(lake: Path) -> None:
    row = run(4)["prints"].row(0, named=True)
    assert (row["market_id"], row["px"], row["sz"], row["book_sz"]) == ("kalshi-0", 0.4, 2.5, None)


@pytest.mark.parametrize(
    ("heading", "schema"), [("Snapshot rows", ROW_SCHEMA), ("Trades", TRADE_SCHEMA)], ids=lambda each: str(each)[:10]
)
def test_the_table_of_columns_is_the_schema(heading: str, schema: pa.Schema) -> None:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \| (yes|no) \|", section, re.MULTILINE)
    types = {
        "int64": "int64",
        "bool": "bool",
        "string": "string",
        "double": "double",
        "list of double": "list<item: double>",
    }
    assert [
        (name, types[kind], null == "yes") for names, kind, null in rows for name in re.findall(r"`(\w+)`", names)
    ] == [(field.name, str(field.type).replace("element", "item"), field.nullable) for field in schema]


def test_every_kind_of_problem_is_on_the_page() -> None:
    assert [kind for kind in ProblemKind if f"`{kind}`" not in PAGE] == []


def test_every_word_a_row_may_carry_is_on_the_page() -> None:
    for word in (*BookStatus, *ErrCode, *Integrity):
        assert f"`{word}`" in PAGE

"""Bytes per row and speed of our Parquet files against pyarrow's plain way, on the same rows in one run.

    uv run python benchmarks/parquet.py                  # the two ratios of the Record issue, and what stands behind them
    uv run python benchmarks/parquet.py --encodings      # also sizes of other encodings, levels and row groups

Rows are synthetic and seeded (`overround.testing.evolving_books`): 100 markets of two outcomes, a tenth of
them every 2 s and the others every 10 s, about 22 levels a side. Sizes are of a five-minute file and repeat
to the byte. Speeds are of 50,000 rows on one core and one thread, cases alternating.

What the cases start from:

- *books to Parquet*: the live integer books. The plain way sorts and divides them into a dict per row, collects
  the dicts, then `Table.from_pylist` and `write_table`; ours appends to typed buffers, makes columns from
  them, sorts the rows and writes.
- *buffers to Parquet*: what each way has collected by then. The plain way has every row's lists of floats, best
  first, and makes the dicts from them; ours has its typed buffers of unsorted integers.
- *flush*: the same buffers until they are durable in the write-ahead file (fsync included); this is what
  happens every five seconds, the Parquet file is made in a thread when the bucket ends.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rounds import CLIENT_CORE, Stopwatch, Took, alternate, machine, markdown, median, pin

from overround.storage.bucket import FileMeta, sort_order, write_table
from overround.storage.buffer import Cut, SnapshotBuffer, rows_of
from overround.storage.fileops import FileOps
from overround.storage.schema import ROW_SCHEMA, SNAPSHOT_TABLE
from overround.storage.wal import Wal, new_wal_id
from overround.testing.evolving_books import BookSnapshot, evolving_books, market_ids

N_MARKETS = 100
TOP_K = 50
FLUSH_ROWS = 180  # five seconds at the default rates
BUCKET_ROWS = 10_800  # five minutes
META = FileMeta(table="orderbook_snapshots", schema_version=1, writer="benchmark", origin="synthetic")
IDS = market_ids(N_MARKETS)


def books(n_rows: int) -> list[BookSnapshot]:
    """Frozen copies, two rows each."""
    found = []
    for book in evolving_books(N_MARKETS):
        found.append(book._replace(bids=book.bids.copy(), asks=book.asks.copy()))
        if 2 * len(found) >= n_rows:
            return found
    raise AssertionError


def filled(snapshots: list[BookSnapshot]) -> SnapshotBuffer:
    buffer = SnapshotBuffer()
    keys = [buffer.register(*ids) for ids in IDS]
    append = buffer.append
    for book in snapshots:
        append(
            keys[book.market],
            book.ts_recv_ms,
            book.bids,
            book.asks,
            seq=book.seq,
            source_ts=book.source_ts,
            stale=False,
            err=None,
            integrity="verified",
        )
    return buffer


def columns(cut: Cut) -> pa.Table:
    return pa.Table.from_batches([rows_of(cut, venue="polymarket", top_k=TOP_K)])


def plain_lists(book: BookSnapshot) -> list[tuple[Any, ...]]:
    """Both outcomes' ladders as lists of floats, best first."""
    bids, asks = sorted(book.bids, reverse=True)[:TOP_K], sorted(book.asks)[:TOP_K]
    bid_sz, ask_sz = [book.bids[px] / 1e6 for px in bids], [book.asks[px] / 1e6 for px in asks]
    return [
        (book, 0, [px / 1e4 for px in bids], bid_sz, [px / 1e4 for px in asks], ask_sz),
        (book, 1, [(10_000 - px) / 1e4 for px in asks], ask_sz, [(10_000 - px) / 1e4 for px in bids], bid_sz),
    ]


def plain_rows(lists: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [
        {
            "ts_recv": book.ts_recv_ms,
            "venue": "polymarket",
            "market_id": IDS[book.market][0],
            "outcome_id": IDS[book.market][1][outcome],
            "seq": book.seq,
            "best_bid_px": bid_px[0] if bid_px else float("nan"),
            "best_bid_sz": bid_sz[0] if bid_px else 0.0,
            "best_ask_px": ask_px[0] if ask_px else float("nan"),
            "best_ask_sz": ask_sz[0] if ask_px else 0.0,
            "mid": (bid_px[0] + ask_px[0]) / 2 if bid_px and ask_px else float("nan"),
            "spread": ask_px[0] - bid_px[0] if bid_px and ask_px else float("nan"),
            "bid_px": bid_px,
            "bid_sz": bid_sz,
            "ask_px": ask_px,
            "ask_sz": ask_sz,
            "status": "ok" if bid_px and ask_px else "partial",
            "err": None,
            "source_ts": book.source_ts,
            "integrity": "verified",
        }
        for book, outcome, bid_px, bid_sz, ask_px, ask_sz in lists
    ]


def plain_file(path: Path, rows: list[dict[str, Any]], **options: Any) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), path, **options)


def our_file(path: Path, rows: pa.Table, level: int) -> None:
    with path.open("wb") as file:
        write_table(file, rows, SNAPSHOT_TABLE, level=level, meta=META)


def timed(work: Callable[[], object], n_rows: int) -> Callable[[], Took]:
    def case() -> Took:
        watch = Stopwatch()
        work()
        return watch.per(n_rows)

    return case


def race(
    title: str, peer: tuple[str, Callable[[], object]], ours: Callable[[], object], n_rows: int, rounds: int
) -> list[str]:
    """One peer against ours; a line of the table. Processor time: waiting for other processes is nobody's merit."""
    took = alternate({peer[0]: timed(peer[1], n_rows), "ours": timed(ours, n_rows)}, rounds)
    theirs, own = [one.cpu for one in took[peer[0]]], [one.cpu for one in took["ours"]]
    return [
        title,
        peer[0],
        f"{median(theirs) * 1e6:.2f}",
        f"{median(own) * 1e6:.2f}",
        f"{median(theirs) / median(own):.2f}",
        f"{min(theirs) / min(own):.2f}",
    ]


def sizes() -> None:
    snapshots = books(BUCKET_ROWS)
    arrival = columns(filled(snapshots).cut())
    arrival = arrival.take(pa.array(np.argsort(arrival["ts_recv"].to_numpy(), kind="stable")))
    defaults = io.BytesIO()
    pq.write_table(arrival, defaults)
    base = defaults.tell() / arrival.num_rows
    n_levels = sum(len(arrival[name].combine_chunks().values) for name in ("bid_px", "ask_px")) / arrival.num_rows
    print(f"five-minute file: {arrival.num_rows:,} rows, {n_levels:.1f} levels a row (both sides)")
    print(f"  pyarrow defaults, rows as they come      {base:7.2f} bytes/row")
    for level in (9, 3):
        sink = io.BytesIO()
        written = write_table(sink, arrival, SNAPSHOT_TABLE, level=level, meta=META)
        ratio = written.n_bytes / arrival.num_rows / base
        print(f"  ours, zstd {level:<2}                            {ratio * base:7.2f} bytes/row   {ratio:.3f} of it")


def encodings() -> None:
    rows = columns(filled(books(BUCKET_ROWS)).cut())
    rows = rows.take(pa.array(sort_order(rows, SNAPSHOT_TABLE.sort_key)))
    words = list(SNAPSHOT_TABLE.dictionary)
    delta = dict.fromkeys(["ts_recv", "seq", "source_ts"], "DELTA_BINARY_PACKED")
    best = ["best_bid_px", "best_ask_px", "mid", "spread"]
    px = ["bid_px.list.element", "ask_px.list.element"]
    split = dict.fromkeys([*px, "bid_sz.list.element", "ask_sz.list.element"], "BYTE_STREAM_SPLIT")
    base: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 9,
        "use_dictionary": words,
        "row_group_size": 5_400,
        "store_schema": False,
    }
    variants: dict[str, dict[str, Any]] = {
        "as chosen": {},
        "dictionary on best prices, mid, spread": {"use_dictionary": words + best},
        "dictionary on level prices": {"use_dictionary": words + px},
        "dictionary everywhere (pyarrow's way)": {"use_dictionary": True},
        "byte stream split on levels": {"column_encoding": split},
        "packed differences of integers": {"column_encoding": delta},
        "data pages of 64 kB": {"data_page_size": 1 << 16},
        "row groups of 1,000": {"row_group_size": 1_000},
        "one row group": {"row_group_size": 1 << 30},
        **{f"zstd {level}": {"compression_level": level} for level in (1, 3, 6, 12, 19)},
    }
    print(f"\nencodings, {rows.num_rows:,} sorted rows")
    for name, options in variants.items():
        sink = io.BytesIO()
        started = time.perf_counter()
        pq.write_table(rows, sink, **(base | options))
        took = time.perf_counter() - started
        print(f"  {name:<42} {sink.tell() / rows.num_rows:7.2f} bytes/row {took / rows.num_rows * 1e6:7.2f} us/row")


def speeds(rounds: int, n_rows: int, folder: Path) -> None:
    snapshots = books(n_rows)
    lists = [row for book in snapshots for row in plain_lists(book)]
    cut = filled(snapshots).cut()
    path = folder / "file.parquet"

    def flush() -> None:
        wal = Wal(folder / f"{new_wal_id()}.wal", new_wal_id(), ROW_SCHEMA, bucket_s=300)
        for number, block in enumerate(cut.blocks(2_000)):
            wal.add(rows_of(block, venue="polymarket", top_k=TOP_K), number=number)
        wal.save(FileOps())
        wal.path.unlink()

    table = []
    for level in (3, 9):
        same = {"compression": "zstd", "compression_level": level}
        table.append(
            race(
                f"books to Parquet, zstd {level} on both sides",
                (
                    "lists, dict rows, from_pylist, write_table",
                    lambda same=same: plain_file(
                        path, plain_rows([row for book in snapshots for row in plain_lists(book)]), **same
                    ),
                ),
                lambda level=level: our_file(path, columns(filled(snapshots).cut()), level),
                n_rows,
                rounds,
            )
        )
        table.append(
            race(
                f"buffers to Parquet, zstd {level} on both sides",
                ("dict rows, from_pylist, write_table", lambda same=same: plain_file(path, plain_rows(lists), **same)),
                lambda level=level: our_file(path, columns(cut), level),
                n_rows,
                rounds,
            )
        )
    table.append(
        race(
            "flush: buffers to a durable write-ahead file",
            ("dict rows, from_pylist, write_table", lambda: plain_file(path, plain_rows(lists))),
            flush,
            n_rows,
            rounds,
        )
    )
    head = ["case", "peer", "peer us/row", "ours us/row", "ratio of medians", "of bests"]
    print(f"\nspeed, {n_rows:,} rows, one core, processor time, {rounds} rounds\n")
    print(markdown(head, table))
    appending = median(
        one.cpu for one in alternate({"append": timed(lambda: filled(snapshots), n_rows)}, rounds)["append"]
    )
    print(f"\nappending a book (two rows) to the buffers: {2 * appending * 1e6:.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description="Parquet size and speed against pyarrow's plain way.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the speed cases")
    parser.add_argument("--encodings", action="store_true", help="also compare encodings")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    pa.set_cpu_count(1)
    print(machine("pyarrow", "numpy"))
    sizes()
    if options.encodings:
        encodings()
    with tempfile.TemporaryDirectory() as folder:
        speeds(options.rounds, options.rows, Path(folder))


if __name__ == "__main__":
    main()

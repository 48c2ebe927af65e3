"""What mining costs: time, memory and reading, against decoding alone, polars' streaming engine and eager reading.

    uv run python benchmarks/mining.py                     # all of it; makes some 0.4 GB of files first, 5 minutes
    uv run python benchmarks/mining.py --lake DIR          # keeps the files there, and uses them again

Rows are synthetic and seeded (`overround.testing.evolving_books`), written by the collector's own writer: 600 markets of two
outcomes, a tenth of them every 2 s and the others every 10 s; of each file's five minutes another tenth of the markets is
left out, as a rotation does. Ten files' rows are generated, and repeated later in the day. The day has 5 million rows; the
month has two such files a day. Each case runs in a process of its own, in turn with the others; times are without imports,
memory is the peak of the process less what it took after importing.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from rounds import machine, markdown, progress

from overround.analytics import merge, partial_of, rankings
from overround.analytics.miner import INPUT_COLUMNS
from overround.pipelines.mine import mine_days, rank_days
from overround.storage import SNAPSHOT_TABLE, SNAPSHOTS, LakePaths, SnapshotBuffer, scan_snapshots
from overround.storage.buffer import rows_of
from overround.storage.table_writer import TableWriter
from overround.testing.evolving_books import evolving_books, market_ids

VENUE = "polymarket"
N_MARKETS = 600
START_MS = 1_790_035_200_000 // 86_400_000 * 86_400_000
BUCKET_MS, DAY_MS = 300_000, 86_400_000
N_TEMPLATES, N_FILES, N_DAYS = 10, 112, 31


# -- files -------------------------------------------------------------------------------------------------


def templates() -> list[pa.RecordBatch]:
    """Rows of ten buckets in a row."""
    buffer = SnapshotBuffer()
    keys = [buffer.register(*ids) for ids in market_ids(N_MARKETS)]
    found: list[pa.RecordBatch] = []
    for book in evolving_books(N_MARKETS, start_ms=START_MS):
        if (book.ts_recv_ms - START_MS) // BUCKET_MS > len(found):
            found.append(rows_of(buffer.cut(), venue=VENUE, top_k=50))
            progress(f"{len(found)} of {N_TEMPLATES} files' rows generated")
            if len(found) == N_TEMPLATES:
                return found
        buffer.append(
            keys[book.market], book.ts_recv_ms, book.bids, book.asks, seq=book.seq, source_ts=book.source_ts,
            stale=False, err=None, integrity="verified",
        )  # fmt: skip
    raise AssertionError


def write(root: Path, rows: list[pa.RecordBatch], starts_ms: Iterable[int]) -> None:
    """Files of these buckets, by the collector's writer."""
    writer = TableWriter(
        LakePaths(root), SNAPSHOT_TABLE, VENUE, bucket_s=300, level=9, origin="synthetic", shard=(0, 1), ops=None
    )
    markets = [ids[0] for ids in market_ids(N_MARKETS)]
    for number, start_ms in enumerate(starts_ms):
        batch = rows[number % N_TEMPLATES]
        away = pa.array([market for place, market in enumerate(markets) if (place * 37 + number) % 100 < 10])
        batch = batch.filter(pc.invert(pc.is_in(batch.column("market_id"), away)))
        later = start_ms - START_MS - number % N_TEMPLATES * BUCKET_MS
        for name in ("ts_recv", "source_ts"):
            at = batch.schema.get_field_index(name)
            batch = batch.set_column(at, batch.schema.field(at), pc.add(batch.column(name), later))
        writer.add(batch, now_ms=start_ms + BUCKET_MS - 1)
        writer.save(now_ms=start_ms + BUCKET_MS - 1)
        for bucket in writer.end(start_ms + BUCKET_MS):
            writer.finalise(bucket, now_ms=start_ms + BUCKET_MS)
        progress(f"{root.name}: {number + 1} files")


def made(folder: Path) -> None:
    """The two lakes, unless they are there."""
    if (folder / "made").exists():
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = templates()
    write(folder / "day", rows, (START_MS + number * BUCKET_MS for number in range(N_FILES)))
    days = range(START_MS, START_MS + N_DAYS * DAY_MS, DAY_MS)
    write(folder / "month", rows, (day + half * BUCKET_MS for day in days for half in (144, 145)))
    (folder / "made").touch()


# -- cases -------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    paths = LakePaths(folder / "day")
    date = paths.days(SNAPSHOTS, VENUE)[0]
    return [
        path
        for hour in paths.hours(SNAPSHOTS, VENUE, date)
        for path in paths.bucket_files(SNAPSHOTS, VENUE, date, hour)
    ]


def decode(folder: Path, some: int | None = None) -> Any:
    """Nothing but the columns that the rankings need."""
    for path in files(folder)[:some]:
        pl.scan_parquet(path, hive_partitioning=False).select(INPUT_COLUMNS).collect(engine="streaming")


def lists(folder: Path, some: int | None = None) -> Any:
    """The rankings of the rows, a file at a time."""
    partial, hour = merge([]), []
    for path in files(folder)[:some]:
        hour.append(partial_of(pl.scan_parquet(path, hive_partitioning=False)))
        if len(hour) == 12:
            partial, hour = merge([partial, *hour]), []
    partial = merge([partial, *hour])
    return _shown(partial)


def tenth(folder: Path) -> Any:
    """The same of a tenth of the files."""
    return lists(folder, N_FILES // 10)


def _means() -> list[pl.Expr]:
    depth = pl.col("bid_sz").list.head(3).list.sum() + pl.col("ask_sz").list.head(3).list.sum()
    return [depth.mean().alias("depth"), pl.col("spread").mean(), pl.len()]


def streaming(folder: Path) -> Any:
    """Depth, spread and rows by polars' streaming engine, all files at once."""
    rows = pl.scan_parquet(files(folder), hive_partitioning=False).filter(status="ok")
    return _checked(rows.group_by("market_id", "outcome_id").agg(_means()).collect(engine="streaming"))


def eager(folder: Path) -> Any:
    """The same of everything in memory."""
    rows = pl.read_parquet(files(folder), hive_partitioning=False).filter(status="ok")
    return _checked(rows.group_by("market_id", "outcome_id").agg(_means()))


def sums(folder: Path) -> Any:
    """The rankings of the sums that the writer left."""
    paths = LakePaths(folder / "day")
    found = rank_days(paths, VENUE, paths.days(SNAPSHOTS, VENUE))
    assert found.n_kept == found.n_files == N_FILES
    return _shown_lines(found.by_depth, found.by_spread, found.by_updates)


def _shown(partial: pl.DataFrame) -> Any:
    best = rankings(partial, top=10)
    return _shown_lines(best.by_depth, best.by_spread, best.by_updates)


def _shown_lines(*ranked: Any) -> Any:
    return [
        [[line.market_id, line.avg_depth_top3, line.avg_spread, line.quote_updates] for line in each] for each in ranked
    ]


def _checked(found: pl.DataFrame) -> Any:
    """The two rankings that means can tell, of markets."""
    markets = found.group_by("market_id").agg(
        ((pl.col("depth") * pl.col("len")).sum() / pl.col("len").sum()).alias("depth"),
        ((pl.col("spread") * pl.col("len")).sum() / pl.col("len").sum()).alias("spread"),
    )
    deepest = markets.sort("depth", "market_id", descending=[True, False]).head(10)
    tightest = markets.with_columns(pl.col("spread").round(9)).sort("spread", "market_id").head(10)
    return [each.select("market_id", "depth", "spread").rows() for each in (deepest, tightest)]


CASES: dict[str, Callable[[Path], Any]] = {
    each.__name__: each for each in (decode, lists, streaming, eager, sums, tenth)
}


def peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    raise OSError("the system does not tell the peak of memory")


def one(name: str, folder: Path) -> None:
    """Run a case here; used in a process of its own."""
    small = next(iter(files(folder)))
    partial_of(pl.scan_parquet(small, hive_partitioning=False).head(10))  # what is loaded at first use
    before, began = peak_mb(), time.perf_counter()
    answer = CASES[name](folder)
    took = time.perf_counter() - began
    print(json.dumps({"s": took, "mb": peak_mb() - before, "answer": answer}))


def ran(name: str, folder: Path, threads: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--case", name, "--lake", str(folder)],
        env={**os.environ, "POLARS_MAX_THREADS": str(threads)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    progress(f"{threads} threads, {name}: {found['s']:.3f} s, {found['mb']:.0f} MB")
    return found


def check(found: dict[str, list[dict[str, Any]]]) -> None:
    """All ways give the same rankings; the sums the same to the last bit."""
    answers = {name: each[0]["answer"] for name, each in found.items()}
    assert answers["sums"] == answers["lists"]
    for name in ("streaming", "eager"):
        for theirs, ours in zip(answers[name], answers["lists"], strict=False):
            assert [line[0] for line in theirs] == [line[0] for line in ours], name
            assert all(
                math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
                for x, y in zip(theirs, ours, strict=True)
                for a, b in zip(x[1:], y[1:3], strict=True)
            )


def races(folder: Path, rounds: int, threads: int) -> None:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    for turn in range(rounds):
        for name in list(CASES)[:: 1 if turn % 2 else -1]:
            if name != "eager" or turn == 0:
                found[name].append(ran(name, folder, threads))
    check(found)
    took = {name: statistics.median(each["s"] for each in runs) for name, runs in found.items()}
    least = {name: min(each["s"] for each in runs) for name, runs in found.items()}
    peak = {name: max(each["mb"] for each in runs) for name, runs in found.items()}
    print(
        f"\n5 million rows in {N_FILES} files, {threads} thread{'s'[: threads > 1]} of polars, {rounds} rounds in turn\n"
    )
    rows = [
        (
            name,
            f"{took[name]:.3f}",
            f"{took[name] / took['decode']:.2f}",
            f"{least[name] / least['decode']:.2f}",
            f"{took['streaming'] / took[name]:.1f}",
            f"{peak[name]:.0f}",
        )
        for name in CASES
    ]
    print(markdown(("case", "s", "of decoding", "(bests)", "times streaming", "peak MB"), rows))
    print(
        f"\nmemory of the list route, of eager reading: {peak['lists'] / peak['eager']:.3f}; of a tenth of the files: {peak['lists'] / peak['tenth']:.2f}"
    )


def market_hour(folder: Path) -> None:
    """One market's hour out of the day."""
    paths = LakePaths(folder / "day")
    date = paths.days(SNAPSHOTS, VENUE)[0]
    took = []
    for market, _ in market_ids(N_MARKETS)[5:45]:
        began = time.perf_counter()
        rows = scan_snapshots(paths, VENUE, date=date, hours=[3]).filter(pl.col("market_id") == market).collect()
        took.append(time.perf_counter() - began)
        assert rows.height > 100
    print(
        f"\none market's hour ({rows.height} rows and more): median {statistics.median(took) * 1e3:.1f} ms, worst {max(took) * 1e3:.1f} ms"
    )


def month(folder: Path, rounds: int) -> None:
    """Mining a month for the first time, and again."""
    paths = LakePaths(folder / "month")
    days = paths.days(SNAPSHOTS, VENUE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    cold, warm = [], []
    for _ in range(rounds):
        for path in paths.root.glob(".mined/**/*.*"):
            path.unlink()
        for took, kept in ((cold, 0), (warm, 2 * N_DAYS)):
            began = time.perf_counter()
            assert mine_days(paths, VENUE, days).result.n_kept == kept
            took.append(time.perf_counter() - began)
    ratio = statistics.median(cold) / statistics.median(warm)
    print(
        f"\na month, 2.8 million rows: {statistics.median(cold):.2f} s, again {statistics.median(warm):.2f} s: {ratio:.1f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        one(options.case, options.lake)
        return
    print(machine("polars", "pyarrow", "numpy"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.lake or Path(temporary)
        made(folder)
        for threads in options.threads:
            races(folder, options.rounds, threads)
        market_hour(folder)
        month(folder, options.rounds)


if __name__ == "__main__":
    main()

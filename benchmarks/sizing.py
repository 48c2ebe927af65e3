"""What a collector needs for each 1,000 outcomes: processor, memory, disk and network.

    uv run python benchmarks/sizing.py                      # both venues, 250 and 1,000 outcomes, two minutes each
    uv run python benchmarks/sizing.py --venue kalshi --rate 4

A real `overround collect` of one venue with default settings (one-minute buckets, so that files end within the run) against the
local exchange, whose flow is calibrated to recordings. After the books have come and one bucket has passed, everything is
read at two moments: processor time, bytes of messages, rows and frames of the time between; resident memory and bytes of
finished files at its end. Two sizes give what an outcome needs beside what the process needs anyway.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import structlog
from rounds import SENDER_CORE, machine, markdown, pin, progress

from live import Live
from overround.market import Venue

WARM_S = 45


def measured(venue: Venue, n_markets: int, *, rate: float, seconds: float) -> dict[str, float]:
    """Rates and sizes of one collector."""
    with (
        tempfile.TemporaryDirectory(prefix="overround-bench-") as folder,
        Live(Path(folder), markets={venue: n_markets}, rate=rate, more={"STORAGE__BUCKET_SECS": "60"}) as live,
    ):
        live.begun(live=int(0.9 * n_markets))
        time.sleep(WARM_S)
        first = live.used()
        time.sleep(seconds)
        last = live.used()
        wall = last.wall_s - first.wall_s

        def per_s(name: str) -> float:
            return (last.figures[name] - first.figures[name]) / wall

        files = sum(path.stat().st_size for path in live.lake.rglob("snapshots_*.parquet"))
        finished = last.figures["overround_file_bytes_total"]
        stored = last.figures["overround_rows_total"] - last.figures["overround_rows_waiting"]
        progress(f"{venue} {n_markets}: {files:,} bytes of files, {stored:,.0f} rows")
        return {
            "outcomes": 2 * last.figures["overround_live_books"],
            "cpu": (last.cpu_s - first.cpu_s) / wall,
            "memory": last.resident_bytes,
            "frames": per_s("overround_frames_total"),
            "rows": per_s("overround_rows_total"),
            "network": per_s("overround_received_bytes_total"),
            "journal": per_s("overround_journal_bytes_total"),
            "parquet": finished / max(1.0, rows_in_files(live.lake)) * per_s("overround_rows_total"),
        }


def rows_in_files(lake: Path) -> float:
    """Rows of the finished files."""
    import pyarrow.parquet as pq

    return float(sum(pq.read_metadata(path).num_rows for path in lake.rglob("snapshots_*.parquet")))


FIGURES = (
    ("outcomes", "outcomes with a book", "{:,.0f}", 1),
    ("frames", "frames/s", "{:,.1f}", 1),
    ("rows", "rows/s", "{:,.1f}", 1),
    ("cpu", "processor, % of a core", "{:.2f}", 100),
    ("memory", "resident memory, MB", "{:,.0f}", 1e-6),
    ("network", "messages, kB/s", "{:,.1f}", 1e-3),
    ("parquet", "Parquet, MB/day", "{:,.0f}", 86_400e-6),
    ("journal", "journal, MB/day", "{:,.0f}", 86_400e-6),
)


def table(venue: Venue, small: dict[str, float], large: dict[str, float]) -> str:
    more = large["outcomes"] - small["outcomes"]
    rows = []
    for name, words, form, scale in FIGURES:
        slope = (large[name] - small[name]) / more
        cells = [form.format(each[name] * scale) for each in (small, large)]
        cells.append("" if name == "outcomes" else form.format(1_000 * slope * scale))
        cells.append("" if name == "outcomes" else form.format((small[name] - slope * small["outcomes"]) * scale))
        rows.append((words, *cells))
    head = (str(venue), "small", "large", "for each 1,000 outcomes", "besides")
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=[venue.value for venue in Venue], default=None)
    parser.add_argument("--markets", type=int, nargs=2, default=(125, 500), help="two sizes; a market has two outcomes")
    parser.add_argument("--rate", type=float, default=1.0, help="multiplies the flow")
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    pin(SENDER_CORE)
    print(machine("picows", "uvloop", "pyarrow") + "\n")
    for venue in [Venue(args.venue)] if args.venue else list(Venue):
        small, large = (measured(venue, n, rate=args.rate, seconds=args.seconds) for n in args.markets)
        print(table(venue, small, large) + "\n", flush=True)


if __name__ == "__main__":
    main()

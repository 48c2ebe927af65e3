"""What it costs a busy collector to be watched: counters, `/metrics`, `/health` and the log.

    uv run python benchmarks/watching.py                    # both parts
    uv run python benchmarks/watching.py run --rounds 8     # needs a quiet machine
    uv run python benchmarks/watching.py parts

A real `overround collect` of both venues on core 1 against the local exchange on core 0, the flow turned up until some
10,000 frames a second arrive (`--rate`).

*run*: windows in turn, without a question and with `/metrics` and `/health` asked once a second each, fifteen times as
often as Prometheus would. The difference of their processor time per frame is what answering costs; a second's answers
become those of a usual scrape (every 15 s) by division.

*parts*: what one answer takes of the collector's processor time (many in a row, against a pause as long), and, in this process,
what is counted for each frame and row, and what a log line takes that is written every ten seconds for each venue.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import structlog
from rounds import SENDER_CORE, Stopwatch, machine, markdown, median, pin, progress

from live import Live, Used
from overround.collector.figures import RecorderFigures
from overround.market import Venue
from overround.ops import Histogram, configure_logging

AIM_PER_S = 10_000
SCRAPE_S, HEALTH_S, STATUS_S = 15, 15, 10
ROWS_PER_S = 60
ANSWERS = 150


def frames_between(before: Used, after: Used) -> float:
    return after.figures["overround_frames_total"] - before.figures["overround_frames_total"]


def watched(live: Live, rounds: int, seconds: float) -> str:
    """Windows in turn without and with questions."""
    took: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    for turn in range(2 * rounds):
        asked = turn % 2 == 1
        before = live.used()
        began_cpu = live.cpu_s()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.monotonic()
            if asked:
                live.client.get("/metrics").raise_for_status()
                live.client.get("/health")
            time.sleep(max(0.0, min(1.0 - (time.monotonic() - began), ends - time.monotonic())))
        cpu = live.cpu_s() - began_cpu
        after = live.used()
        wall = after.wall_s - before.wall_s
        per_s = frames_between(before, after) / wall
        took[asked].append((cpu / seconds, per_s, cpu / seconds / per_s))
        progress(
            f"window {turn + 1:>2}  {'asked' if asked else 'alone'}: {cpu / seconds:.1%} of a core, {per_s:,.0f} frames/s"
        )
    rows = []
    base = median(each for _, _, each in took[False])
    for asked, windows in took.items():
        share, per_s = median(w[0] for w in windows), median(w[1] for w in windows)
        each = median(w[2] for w in windows)
        rows.append(
            (
                "asked every second" if asked else "alone (reference)",
                f"{per_s:,.0f}",
                f"{share:.1%}",
                f"{each * 1e6:.2f}",
                f"{each / base:.3f}",
            )
        )
    more = (median(w[2] for w in took[True]) - base) * AIM_PER_S
    head = ("windows", "frames/s", "of a core", "CPU us/frame", "of reference")
    return (
        f"**Run.** {rounds} windows of {seconds:g} s each way.\n\n"
        + markdown(head, rows)
        + f"\n\nMore at {AIM_PER_S:,} frames/s: {more:.2%} of a core asked every second, "
        f"{more / SCRAPE_S:.3%} asked every {SCRAPE_S} s."
    )


def answer_s(live: Live, path: str) -> float:
    """Processor time of one answer: many in a row, less what the collector takes anyway in as long a time."""
    found = []
    for _ in range(5):
        cpu, began = live.cpu_s(), time.monotonic()
        for _ in range(ANSWERS):
            live.client.get(path)
        took, wall = live.cpu_s() - cpu, time.monotonic() - began
        cpu = live.cpu_s()
        time.sleep(wall)
        found.append((took - (live.cpu_s() - cpu)) / ANSWERS)
    return median(found)


def priced(live: Live) -> str:
    """Each part by itself."""
    turns = 200_000
    histogram, figures = Histogram((0.001, 0.01, 0.1, 1.0)), RecorderFigures()
    log_out = io.StringIO()
    configure_logging(level="info", stream=log_out, json=True)
    log = structlog.get_logger()
    (*_, line) = (line for line in live.log.read_text().splitlines() if '"event":"collect.status"' in line)
    fields = {name: value for name, value in json.loads(line).items() if name not in {"event", "level", "ts"}}

    def count(_: int) -> None:
        figures.gaps["gap"] += 1

    parts: list[tuple[str, float, float]] = []
    for name, call, per_s, n in (
        ("a counter, two for each frame", count, 2 * AIM_PER_S, turns),
        ("a histogram, for each row and flush", lambda n: histogram.observe(n % 7 / 10), ROWS_PER_S, turns),
        (f"a status line of {len(fields)} fields", lambda _: log.info("collect.status", **fields), 2 / STATUS_S, 2_000),
    ):
        each = []
        for _ in range(5):
            watch = Stopwatch()
            for turn in range(n):
                call(turn)
            each.append(watch.per(n).cpu)
        parts.append((name, per_s, min(each)))
    parts.append(("/metrics", 1 / SCRAPE_S, answer_s(live, "/metrics")))
    parts.append(("/health", 1 / HEALTH_S, answer_s(live, "/health")))
    rows: list[tuple[object, ...]] = [
        (name, f"{per_s:,.2g}" if per_s < 1 else f"{per_s:,.0f}", f"{each * 1e6:,.2f}", f"{per_s * each:.4%}")
        for name, per_s, each in parts
    ]
    rows.append(("together", "", "", f"{sum(per_s * each for _, per_s, each in parts):.3%}"))
    return "**Parts.**\n\n" + markdown(("part", "a second", "us each", "of a core"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["parts", "run"], help="parts, run")
    parser.add_argument("--markets", type=int, default=200, help="of each venue")
    parser.add_argument("--rate", type=float, default=14.0, help="multiplies the flow")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    pin(SENDER_CORE)
    print(machine("picows", "uvloop", "prometheus-client", "uvicorn") + "\n")
    markets = dict.fromkeys(Venue, args.markets)
    with (
        tempfile.TemporaryDirectory(prefix="overround-bench-") as folder,
        Live(Path(folder), markets=markets, rate=args.rate) as live,
    ):
        live.begun(live=int(1.8 * args.markets))
        time.sleep(11)  # a status line has been written by then
        if "run" in args.what:
            print(watched(live, args.rounds, args.seconds) + "\n", flush=True)
        if "parts" in args.what:
            print(priced(live) + "\n", flush=True)


if __name__ == "__main__":
    main()

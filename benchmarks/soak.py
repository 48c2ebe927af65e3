"""A day of rotation in accelerated time: does anything of the collector grow?

    uv run python benchmarks/soak.py                                 # 24 simulated hours, 2,000 markets: about 20 minutes
    uv run python benchmarks/soak.py --hours 3 --trace-every 6       # with tracemalloc, four times slower
    uv run python benchmarks/soak.py --plot docs/images/soak.svg     # the published picture

The whole collector of both venues (recorders, feeds, rotation, silence watch, rows, journal, ledger) with default
settings and the local exchange live on one event loop whose time jumps to the next timer whenever everybody sleeps
(`overround.testing.warp`); the sockets between them are real ones on loopback. Files go to a temporary folder.
What is slowed down is the flow of changes (`--rate`), so that a day fits; rotation, rows and files keep their pace.

Growth is the slope of a straight line through the samples after the warm-up, in which the rotation has visited every
market once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
from rounds import machine, markdown, progress

from overround.config import Settings
from overround.testing.soak import Sample, SoakResult, run_soak, trend_of

FIGURES = (
    ("rss_mb", "resident memory, MB"),
    ("traced_mb", "traced memory without the exchange, MB"),
    ("blocks", "blocks of Python objects"),
    ("handles", "file handles"),
    ("tasks", "tasks"),
    ("threads", "threads"),
)


def table(result: SoakResult, from_hours: float) -> str:
    rows = []
    for name, words in FIGURES:
        if sum(getattr(sample, name) == getattr(sample, name) for sample in result.samples) < 5:
            continue
        trend = trend_of(result.samples, name, from_hours=from_hours)
        share = 100 * trend.per_hour / trend.level if trend.level else 0.0
        rows.append(
            (words, f"{trend.level:,.1f}", f"{trend.per_hour:+,.3f}", f"{share:+.3f} %", f"{trend.spread:,.1f}")
        )
    return markdown(("figure", "mean", "slope per hour", "of the mean", "farthest from the mean"), rows)


def plot(samples: list[Sample], path: Path, from_hours: float) -> None:
    """Small multiples, one curve each, as an SVG of our own making (no plotting library is a dependency)."""
    names = [("rss_mb", "RSS, MB"), ("blocks", "Python blocks"), ("handles", "file handles"), ("tasks", "tasks")]
    width, height, left, gap = 720, 84, 110, 16
    parts = []
    last = max(sample.hours for sample in samples)
    for row, (name, words) in enumerate(names):
        top = 10 + row * (height + gap)
        values = [float(getattr(sample, name)) for sample in samples]
        most = max(values) * 1.08
        points = " ".join(
            f"{left + (width - left - 10) * sample.hours / last:.1f},{top + height - height * value / most:.1f}"
            for sample, value in zip(samples, values, strict=True)
        )
        parts.append(f'<rect x="{left}" y="{top}" width="{width - left - 10}" height="{height}" class="f"/>')
        warm = left + (width - left - 10) * from_hours / last
        parts.append(f'<line x1="{warm:.1f}" y1="{top}" x2="{warm:.1f}" y2="{top + height}" class="w"/>')
        parts.append(f'<polyline points="{points}"/>')
        parts.append(f'<text x="{left - 8}" y="{top + 14}" class="n">{words}</text>')
        parts.append(f'<text x="{left - 8}" y="{top + height}" class="n">last {values[-1]:,.0f}</text>')
    bottom = 10 + len(names) * (height + gap) + 8
    parts += [
        f'<text x="{left + (width - left - 10) * hour / last:.1f}" y="{bottom}" class="h">{hour} h</text>'
        for hour in range(0, int(last) + 1, max(1, int(last) // 6))
    ]
    style = (
        ".f{fill:none;stroke:#8884}.w{stroke:#8888;stroke-dasharray:3 3}polyline{fill:none;stroke:#3b82c4;stroke-width:1.5}"
        "text{font:11px sans-serif;fill:#777}.n{text-anchor:end}.h{text-anchor:middle}"
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 8}" role="img" '
        f'aria-label="Memory, handles and tasks over {last:.0f} simulated hours"><style>{style}</style>'
        f"{''.join(parts)}</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated")
    parser.add_argument("--markets", type=int, default=2_000, help="both venues together")
    parser.add_argument("--rate", type=float, default=0.05, help="speed of the flow of changes; 1 is a busy venue's")
    parser.add_argument("--sample-s", type=float, default=300.0, help="simulated seconds between two samples")
    parser.add_argument("--warm-up", type=float, default=2.0, help="hours that the slopes leave out")
    parser.add_argument(
        "--trace-every", type=int, default=0, help="samples between two readings of tracemalloc; 0: off"
    )
    parser.add_argument(
        "--folder", type=Path, help="where the lake goes (default: a temporary folder, removed afterwards)"
    )
    parser.add_argument("--samples", type=Path, help="keep the samples here, as JSON lines")
    parser.add_argument("--plot", type=Path, help="SVG of the samples")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    began = time.monotonic()

    def told(sample: Sample) -> None:
        progress(
            f"{sample.hours:6.2f} h  {time.monotonic() - began:6.0f} s  RSS {sample.rss_mb:6.1f} MB  {sample.blocks:,} blocks  "
            f"{sample.handles} handles  {sample.tasks} tasks  {sample.rows:,} rows  {sample.reconnects} reconnects"
        )
        if args.samples:
            with args.samples.open("ab") as file:
                file.write(msgspec.json.encode(sample) + b"\n")

    with tempfile.TemporaryDirectory(prefix="overround-soak-", dir=args.folder) as folder:
        result = run_soak(
            Path(folder) / "lake", Settings(), hours=args.hours, markets=args.markets, rate_scale=args.rate,
            sample_every_s=args.sample_s, trace_every=args.trace_every, progress=told,
        )  # fmt: skip
    took_min = (time.monotonic() - began) / 60
    print(machine("picows", "msgspec", "pyarrow", "numpy") + "\n")
    print(
        f"**Soak.** {args.hours:g} simulated hours in {took_min:.0f} minutes; {result.markets:,} of {args.markets:,} markets "
        f"recorded; {result.frames:,} frames, {result.rows:,} rows, {result.files:,} files, {result.gaps:,} gaps\n"
    )
    print(table(result, args.warm_up))
    if args.plot:
        plot(result.samples, args.plot, args.warm_up)


if __name__ == "__main__":
    main()

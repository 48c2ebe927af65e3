"""What it costs to watch a venue's messages for drift.

    uv run python benchmarks/sentinel.py

The whole road at 4,000 frames a second over TLS (`benchmarks/road.py paced`, journal included), without and with the
sentinel, in turn. The difference of two such runs is small against what a busy machine adds to either, so the two parts
of the price are also taken by themselves: the time of the looks, which the sentinel counts, as a share of the time that
passed; and one frame handed to it, in a loop.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop
from rounds import CLIENT_CORE, Stopwatch, Took, alternate, machine, markdown, median, pin
from sender import Sender
from tape import Tape, make_tape

from overround.clock import SystemClock
from overround.config import DriftSettings
from overround.market import Venue
from overround.storage import LakePaths
from overround.venue.kalshi.profile import SHAPES as KALSHI
from overround.venue.polymarket.profile import SHAPES as POLYMARKET
from overround.venue.sentinel import DriftSentinel
from overround.venue.shapes import VenueShapes
from road import ours

PER_S = 4_000
FRAME_S = 1 / PER_S
HANDED = 1_000_000


def handed(tape: Tape, shapes: VenueShapes) -> float:
    """Seconds of one frame's append, the loop and its tuple included."""
    with tempfile.TemporaryDirectory(prefix="overround-bench-") as folder:
        sentinel = DriftSentinel(
            LakePaths(Path(folder)), tape.venue, shapes, settings=DriftSettings(), clock=SystemClock()
        )
        show, frames = sentinel.frame, tape.frames
        watch = Stopwatch()
        for _ in range(HANDED // len(frames)):
            for frame in frames:
                show(("kalshi-0.1", 1_790_000_000_000_000_000, frame))
        return watch.per(HANDED // len(frames) * len(frames)).cpu


def cost(tape: Tape, shapes: VenueShapes, rounds: int) -> list[object]:
    order = ("pace", len(tape.frames), PER_S)
    looked: list[float] = []
    notes: dict[str, Any] = {}

    def run(sender: Sender, *, watched: bool) -> Took:
        drift = (shapes, DriftSettings()) if watched else None
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            took: Took = runner.run(ours(sender, tape, order, journal=True, tls=True, notes=notes, drift=drift))
        if watched:
            looked.append(notes["sentinel"].spent_ns / 1e9 / (took.wall * len(tape.frames)))
        return took

    with Sender(tape.prologue, tape.frames) as sender:
        took = alternate(
            {"without": partial(run, sender, watched=False), "with": partial(run, sender, watched=True)}, rounds
        )
    cpu = {name: [one.cpu for one in each] for name, each in took.items()}
    off, on = (median(cpu[name]) for name in ("without", "with"))
    append = handed(tape, shapes)
    counters = notes["sentinel"]
    assert counters.names == 0, "the tape is as documented"
    return [
        tape.venue,
        f"{off * 1e6:.1f}",
        f"{on * 1e6:.1f}",
        f"{on / off:.2f}",
        f"{min(cpu['with']) / min(cpu['without']):.2f}",
        f"{(on - off) / FRAME_S:.2%}",
        f"{median(looked):.2%}",
        f"{append / FRAME_S:.2%}",
        f"{counters.examined:,} of {counters.frames:,}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=40_000)
    args = parser.parse_args()
    pin(CLIENT_CORE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(machine("picows", "uvloop", "msgspec") + "\n")
    rows = [
        cost(make_tape(venue, n_markets=100, n_frames=args.frames), shapes, args.rounds)
        for venue, shapes in ((Venue.KALSHI, KALSHI), (Venue.POLYMARKET, POLYMARKET))
    ]
    head = (
        "venue", "without, CPU us/frame", "with", "with / without", "(bests)", "difference, of a core",
        "looks, of a core", "frames handed over, of a core", "examined",
    )  # fmt: skip
    print(f"**{PER_S:,} frames/s over TLS, {args.frames:,} frames, {args.rounds} rounds**\n\n" + markdown(head, rows))


if __name__ == "__main__":
    main()

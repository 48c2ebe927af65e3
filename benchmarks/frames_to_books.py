"""Frames to books: decode, parse, apply, best price; against bare decoding and against nautilus_trader's adapter.

    uv run python benchmarks/frames_to_books.py
    OVERROUND_CAPTURES=DIR uv run python benchmarks/frames_to_books.py     # real Kalshi frames

Kalshi: book changes and trades of a real connection of 18 markets (merged from the capture, in the wire format
before April 2026) and of one gold market in the present format, where the captures are there, else a seeded tape. Polymarket: seeded `price_change` frames of 20 markets
(597 bytes, an entry for each token; no long capture in the present format exists), first dumps before them.

*bare decoding* is msgspec with a dedicated struct that has just the fields needed to apply a change; it builds
no book. *ours* is the production feed's `receive`, which leaves both best prices in the book. nautilus_trader
runs in an environment of its own (see `peers/nautilus_polymarket.py`), on the same frames, in the same rounds;
it has no Kalshi adapter. Every round uses fresh books; cases alternate. Times are processor times, so that a
busy machine disturbs less; still, a ratio of medians far from the ratio of bests tells of a disturbed run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec

from overround.book import BookShelf
from overround.market import Venue
from overround.replay import open_recording
from overround.testing.tapes import KalshiTape, PolymarketTape, write_lines
from overround.venue.kalshi import KalshiFeed
from overround.venue.polymarket import PolymarketFeed

PEER = Path(__file__).parent / "peers" / "nautilus_polymarket.py"
PEER_NAME = "nautilus_trader[polymarket]"
NBA = "recordings/kalshi/ws_nba_20260318"
GOLD = "recordings/kalshi/ws_gold15m/KXGOLD15M-26AUG102115-15.2026-08-11.ndjson.gz"
Case = Callable[[], float]


class KalshiMessage(msgspec.Struct, gc=False):
    market_ticker: str = ""
    price_dollars: str = ""
    delta_fp: str = ""
    side: str = ""
    ts: str | int = ""


class KalshiBare(msgspec.Struct, gc=False):
    type: str
    msg: KalshiMessage
    sid: int = 0
    seq: int = 0


class KalshiMessageToday(msgspec.Struct, gc=False):
    """The time as a number, which every frame has had since April 2026."""

    market_ticker: str = ""
    price_dollars: str = ""
    delta_fp: str = ""
    side: str = ""
    ts_ms: int = 0


class KalshiBareToday(msgspec.Struct, gc=False):
    type: str
    msg: KalshiMessageToday
    sid: int = 0
    seq: int = 0


class PolymarketEntry(msgspec.Struct, gc=False):
    asset_id: str
    price: str
    size: str
    side: str


class PolymarketBare(msgspec.Struct, gc=False):
    price_changes: list[PolymarketEntry]
    timestamp: str


def kalshi_frames(n: int) -> dict[str, tuple[list[bytes], bool]]:
    """By where they are from: frames in order, and whether their numbers have holes (filtered by market)."""
    captures = os.environ.get("OVERROUND_CAPTURES")
    if captures and (Path(captures) / NBA).is_dir():
        return {
            "real, 18 NBA markets, March 2026": (recorded(Path(captures) / NBA, n), False),
            "real, one gold market, August 2026": (recorded(Path(captures) / GOLD, n), True),
        }
    tape = KalshiTape(random.Random(1), [f"KXGAME-26MAR18AAABBB-T{at:02d}" for at in range(18)]).subscribe()
    tape.run(n)
    return {"seeded tape, 18 markets": ([frame for _, _, frame in tape.frames][:n], False)}


def recorded(path: Path, n: int) -> list[bytes]:
    return [entry.frame for entry in islice(open_recording([path], Venue.KALSHI), n) if entry.frame]


def polymarket_frames(n: int) -> tuple[list[bytes], list[bytes]]:
    """First dumps and changes of 20 markets."""
    n_markets = 20
    tapes = [
        PolymarketTape(
            random.Random(at), market=f"0x{at:064x}", tokens=(str(10**76 + at), str(2 * 10**76 + at)), with_hashes=False
        )
        .subscribe()
        .run(n // n_markets)
        for at in range(n_markets)
    ]
    changes = [tape.frames[1 + at][1] for at in range(n // n_markets) for tape in tapes]
    return [tape.frames[0][1] for tape in tapes], changes


def timed(run: Callable[[], None]) -> float:
    """Processor seconds of one run, without a collection in it."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    run()
    took = time.process_time() - began
    gc.enable()
    return took


def decoding(frames: Sequence[bytes], struct: type) -> Case:
    decode = msgspec.json.Decoder(struct).decode

    def run() -> None:
        for frame in frames:
            decode(frame)

    return lambda: timed(run)


def ours_on_kalshi(frames: Sequence[bytes], *, ignore_gaps: bool) -> Case:
    return lambda: driven(KalshiFeed(BookShelf(), passive=True, ignore_gaps=ignore_gaps), frames)


def ours_on_polymarket(dumps: Sequence[bytes], changes: Sequence[bytes]) -> Case:
    def case() -> float:
        feed = PolymarketFeed(BookShelf(), passive=True)
        for dump in dumps:
            feed.receive(dump, 0)
        return driven(feed, changes)

    return case


def driven(feed: KalshiFeed | PolymarketFeed, frames: Sequence[bytes]) -> float:
    """Seconds to take all frames; the best prices are kept up to date in each book's attributes."""
    receive = feed.receive

    def run() -> None:
        for frame in frames:
            receive(frame, 1)

    return timed(run)


@contextmanager
def peer(frames: Path) -> Iterator[tuple[str, Case] | str]:
    """nautilus_trader's version and a round of it, or why it is absent."""
    command = ["uv", "run", "--isolated", "--no-project", "--with", PEER_NAME, "python", str(PEER), str(frames)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError as exc:
        yield f"uv does not start: {exc}"
        return
    source: IO[str] = process.stdout  # type: ignore[assignment]
    version = source.readline().strip()
    if not version:
        yield f"{PEER_NAME} does not install or import on this Python"
        return

    def case() -> float:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return float(source.readline().split()[0])

    try:
        yield version, case
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


def alternate(cases: dict[str, Case], rounds: int) -> dict[str, list[float]]:
    """Seconds of every case, round by round, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for at in range(rounds + 1):
        for name, case in cases.items():
            seconds = case()
            if at:
                taken[name].append(seconds)
    return taken


def show(
    title: str, taken: dict[str, list[float]], n_frames: int, targets: dict[str, float]
) -> list[dict[str, object]]:
    """Print one table; ratios are our speed over the others' (more is better for us)."""
    print(f"\n{title}, {n_frames:,} frames")
    print(f"{'':34}{'us/frame':>10}{'best':>8}{'frames/s':>12}{'our speed /':>13}{'of bests':>10}{'target':>9}")
    ours = taken["ours"]
    rows: list[dict[str, object]] = []
    for name, seconds in taken.items():
        median, best = statistics.median(seconds), min(seconds)
        of_medians, of_bests = median / statistics.median(ours), best / min(ours)
        target = f">= {targets[name]:g}" if name in targets else ""
        shown = f"{of_medians:13.2f}{of_bests:10.2f}" if name != "ours" else f"{'':23}"
        print(
            f"{name:34}{median / n_frames * 1e6:10.2f}{best / n_frames * 1e6:8.2f}{n_frames / median:12,.0f}{shown}{target:>9}"
        )
        rows.append(
            {"case": name, "us_per_frame": median / n_frames * 1e6, "of_medians": of_medians, "of_bests": of_bests}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kalshi-frames", type=int, default=200_000)
    parser.add_argument("--polymarket-frames", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object after the tables")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, msgspec {msgspec.__version__}, {options.rounds} alternating rounds")
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1:
        # The interpreter suffers more from a shared cache than msgspec's C does.
        print(f"load {load:.1f}: other work on this machine lowers our ratios")

    results = {}
    for origin, (frames, has_holes) in kalshi_frames(options.kalshi_frames).items():
        bare = KalshiBareToday if b'"ts_ms"' in frames[len(frames) // 2] else KalshiBare
        cases = {
            "msgspec, bare decoding": decoding(frames, bare),
            "ours": ours_on_kalshi(frames, ignore_gaps=has_holes),
        }
        taken = alternate(cases, options.rounds)
        results[origin] = show(f"Kalshi ({origin})", taken, len(frames), {"msgspec, bare decoding": 0.4})

    dumps, changes = polymarket_frames(options.polymarket_frames)
    cases = {
        "msgspec, bare decoding": decoding(changes, PolymarketBare),
        "ours": ours_on_polymarket(dumps, changes),
    }
    targets = {"msgspec, bare decoding": 0.4}
    with tempfile.TemporaryDirectory() as folder:
        path = write_lines(Path(folder) / "frames.jsonl", [*dumps, *changes])
        if options.no_peer:
            taken = alternate(cases, options.rounds)
        else:
            with peer(path) as found:
                if isinstance(found, str):
                    print(f"\nskipped: {found}")
                else:
                    cases[f"nautilus_trader {found[0]} adapter"] = found[1]
                    targets[f"nautilus_trader {found[0]} adapter"] = 3
                taken = alternate(cases, options.rounds)
    results["polymarket"] = show("Polymarket price_change (seeded, 20 markets)", taken, len(changes), targets)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()

"""What it costs to prove Polymarket's books by their hashes.

    uv run python benchmarks/proof.py             # all three
    uv run python benchmarks/proof.py price       # one proof, by levels, against SHA-1 of the same bytes
    uv run python benchmarks/proof.py density     # frames to books with 1 of n changes proved
    uv run python benchmarks/proof.py paced       # the whole road at 4,000 frames a second over TLS, with and without

*price*: the text of a book made anew for each proof, and the text kept and written level by level; one level changes
between two proofs. *density*: frames of the local exchange into the feed, 4,000 a second by their receive times, which
is what the budget goes by; the hashes all match, or the run stops. *paced*: `benchmarks/road.py paced`, the reference
being our own road without proofs between rows.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
from collections.abc import Callable
from functools import partial

import structlog
import uvloop
from rounds import CLIENT_CORE, Stopwatch, Took, alternate, machine, markdown, median, of_reference, pin
from sender import Sender
from tape import Tape, make_tape

from overround.book import BookShelf
from overround.clock import SystemClock
from overround.config import PolymarketSettings
from overround.market import Venue
from overround.venue.polymarket import PolymarketFeed
from overround.venue.polymarket.hash import HashEra, HashInputs, head_text, ladder_hash, tail_text
from overround.venue.polymarket.kept_text import KeptText
from road import ours

PROOFS = 2_000
FRAME_NS = 250_000
LIST = (10, 20, 50, 100)
DEFAULT_EVERY = PolymarketSettings().hash_sample_every
EVERY = (0, DEFAULT_EVERY, 16, 4, 1)
INPUTS = HashInputs(
    market="0x" + "a" * 64,
    asset_id="1" * 77,
    timestamp_ms=1_790_000_000_000,
    min_order_size="5",
    tick_size="0.001",
    neg_risk=False,
    last_trade_price="0.5",
)


def price(rounds: int) -> str:
    rng = random.Random(1)
    rows = []
    for levels in LIST:
        bids, asks = (
            {px: rng.randrange(1, 10**8) * 10_000 for px in rng.sample(range(low, low + 4_800, 10), levels)}
            for low in (100, 5_100)
        )
        pxs = list(bids)
        sizes = [rng.randrange(1, 10**8) * 10_000 for _ in range(PROOFS)]
        text = KeptText(bids, asks)
        plain = head_text(HashEra.TEN, INPUTS, INPUTS.timestamp_ms).encode() + text.ladders()
        plain += tail_text(HashEra.TEN, "5", "0.001", False, "0.5").encode()

        def anew(n: int) -> None:
            ladder_hash(HashEra.TEN, INPUTS, bids, asks)  # noqa: B023 - called before the next turn

        def kept(n: int) -> None:
            text.refresh([pxs[n % levels]])  # noqa: B023
            text.prove("", INPUTS, INPUTS.timestamp_ms, ())  # noqa: B023

        def alone(n: int) -> None:
            hashlib.sha1(plain, usedforsecurity=False).hexdigest()  # noqa: B023

        def timed(case: Callable[[int], None]) -> Took:
            watch = Stopwatch()
            for n in range(PROOFS):
                bids[pxs[n % levels]] = sizes[n]  # noqa: B023
                case(n)
            return watch.per(PROOFS)

        took = alternate({case.__name__: partial(timed, case) for case in (anew, kept, alone)}, rounds)
        cost = {name: median(one.cpu for one in each) * 1e6 for name, each in took.items()}
        rows.append(
            (
                f"{2 * levels} levels, {len(plain):,} bytes",
                *(f"{cost[name]:.1f}" for name in cost),
                f"{cost['anew'] / cost['kept']:.1f}",
                f"{cost['kept'] / cost['alone']:.1f}",
            )
        )
    head = ("book", "text anew, us", "text kept, us", "SHA-1 alone, us", "anew / kept", "kept / SHA-1")
    return "**One proof.** One level changes before each.\n\n" + markdown(head, rows)


def fed(tape: Tape, every: int, share: float) -> tuple[PolymarketFeed, Took]:
    """A feed after the tape's frames, and what a frame took."""
    now_ms = SystemClock().now_ms()
    feed = PolymarketFeed(BookShelf(), hash_every=every, hash_share=share)
    feed.add(tape.markets, now_ms=now_ms)
    feed.opened(now_ms=now_ms)
    for stage in tape.prologue:
        feed.tick(now_ms=now_ms)
        for frame in stage.frames:
            feed.receive(frame, now_ms * 1_000_000)
    recv_ns = now_ms * 1_000_000
    receive = feed.receive
    watch = Stopwatch()
    for frame in tape.frames:
        recv_ns += FRAME_NS
        receive(frame, recv_ns)
    took = watch.per(len(tape.frames))
    counters = feed.counters
    assert counters.hash_checked == counters.hash_matched, counters
    return feed, took


def density(tape: Tape, rounds: int) -> str:
    feeds: dict[str, PolymarketFeed] = {}

    def case(name: str, every: int, share: float) -> Took:
        feeds[name], took = fed(tape, every, share)
        return took

    cases = {f"1 of {every}" if every else "none": (every, 100.0) for every in EVERY}
    cases["1 of 1, at most 10 % of a core"] = (1, 0.1)
    took = alternate({name: partial(case, name, *each) for name, each in cases.items()}, rounds)
    base = median(one.cpu for one in took["none"])
    rows = []
    for name, each in took.items():
        cpu, counters = median(one.cpu for one in each), feeds[name].counters
        proofs = counters.sampled
        rows.append(
            (
                name,
                f"{cpu * 1e6:.2f}",
                f"{(cpu - base) * len(tape.frames) / proofs * 1e6:.1f}" if proofs else "",
                f"{proofs:,}",
                f"{counters.samples_skipped:,}",
                f"{(cpu - base) / (FRAME_NS / 1e9):.1%}",
            )
        )
    head = ("proved between rows", "us/frame", "us/proof", "proofs", "skipped", "of a core at 4,000 frames/s")
    return f"**Frames to proved books.** {tape.described()}; {rounds} rounds\n\n" + markdown(head, rows)


def paced(tape: Tape, rounds: int) -> str:
    order = ("pace", len(tape.frames), 1_000_000_000 // FRAME_NS)

    def run(sender: Sender, every: int) -> Took:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(ours(sender, tape, order, journal=True, tls=True, notes={}, hash_every=every))

    with Sender(tape.prologue, tape.frames) as sender:
        took = alternate(
            {
                "no proofs between rows (reference)": partial(run, sender, 0),
                f"1 of {DEFAULT_EVERY} changes, the default": partial(run, sender, DEFAULT_EVERY),
                "every change": partial(run, sender, 1),
            },
            rounds,
        )
    return f"**The road at {order[2]:,} frames/s over TLS.** {tape.described()}; {rounds} rounds\n\n" + of_reference(
        took
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["price", "density", "paced"], help="price, density, paced")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    pin(CLIENT_CORE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(machine("picows", "uvloop", "msgspec") + "\n")
    if "price" in args.what:
        print(price(args.rounds) + "\n", flush=True)
    if "density" in args.what:
        print(density(make_tape(Venue.POLYMARKET, n_markets=100, n_frames=100_000), args.rounds) + "\n", flush=True)
    if "paced" in args.what:
        print(paced(make_tape(Venue.POLYMARKET, n_markets=100, n_frames=12_000), args.rounds) + "\n", flush=True)


if __name__ == "__main__":
    main()

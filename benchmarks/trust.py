"""What it costs to account for every second, to listen for silence and to count, where nothing goes wrong.

    uv run python benchmarks/trust.py                   # both parts, both venues
    uv run python benchmarks/trust.py paced --rounds 9
    uv run python benchmarks/trust.py alone

*paced*: the whole road at 4,000 frames a second over TLS (`benchmarks/road.py paced`, journal included), in turn without
and with the coverage ledger (its rows written and synced), the silence watch and the counters that the status line and
`/metrics` read, here once a second. Off means that none of them exists: no observer of rows, no task. The ledger is told
of a hundred books a second, three times as many as a collector with the default settings takes rows of.

*alone*: each part by itself, in a loop over as many books, as processor time a second of recording and as a share of what
the road takes for the frames of that second. The difference of two paced runs is small against what a busy machine adds
to either; this is not. The canaries' second connection is not in it: it costs what the frames of its few markets cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import structlog
import uvloop
from rounds import CLIENT_CORE, Stopwatch, Took, alternate, machine, markdown, median, of_reference, pin
from sender import Sender
from tape import Tape, make_tape

from overround.book import Book
from overround.clock import SystemClock
from overround.collector.keeper import LedgerKeeper
from overround.collector.watch import SilenceWatch
from overround.config import SilenceSettings, StorageSettings
from overround.market import Integrity, MarketId, Origin, Venue
from overround.net import ConnectionPacer
from overround.storage import LakePaths
from road import FRAMES_PER_BOOK, OneConnection, ours

PER_S = 4_000
TICK_S, COUNT_S = 0.2, 1.0
LOOKS_PER_S = 2
SETTLES_PER_S = 0.2
TURNS = 20_000


class Hastened(SystemClock):
    """A clock that is set forward by hand: in a loop without pauses a second's rows take a millisecond."""

    ahead_ns = 0

    def now_ms(self) -> int:
        return (super().now_ns() + self.ahead_ns) // 1_000_000

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns

    def haste(self, per_s: float) -> None:
        """What is done so often a second has been done once more."""
        self.ahead_ns += int(1e9 / per_s)


class Trusted(OneConnection):
    """The road with all that watches it, wired as the recorder does."""

    def __init__(self, folder: Path, tape: Tape, **options: Any) -> None:
        super().__init__(folder, tape, **options)
        clock = self.watching = Hastened()
        self.keeper = LedgerKeeper(
            LakePaths(folder), tape.venue, settings=StorageSettings(), origin=Origin.SYNTHETIC, clock=clock
        )
        self.ledger = self.keeper.ledger
        self.silence = SilenceWatch(
            # Nobody is asked where nothing is wrong.
            SimpleNamespace(venue=tape.venue, books_per_request=100, calendar=None, book_source=None),  # type: ignore[arg-type]
            settings=SilenceSettings(canaries_per_connection=0),
            clock=clock,
            rng=random.Random(1),
            pacer=ConnectionPacer(clock, opens_per_s=1_000),
            connections=lambda: [self.connection],
            market_of={market.market_id: market for market in tape.markets}.get,
            report=self._note,
        )
        self._beside: list[asyncio.Task[None]] = []
        self.counted = b""

    async def open(self, url: str, context: Any, wrap: Callable[..., Any] | None = None) -> None:
        self.keeper.start()
        await super().open(url, context, wrap)
        self.hold()
        self._beside = [
            asyncio.create_task(loop())
            for loop in (self.keeper.run, self.silence.run, self._tick_loop, self._count_loop)
        ]

    def hold(self) -> None:
        markets = {market.market_id: market for market in self.tape.markets}
        now_ms = self.watching.now_ms()
        self.ledger.hold(
            {"hot": list(markets)},
            now_ms=now_ms,
            outcomes_of=lambda market_id: markets[market_id].outcome_ids,
            score_of=lambda _: 1.0,
            seq_of=lambda market_id: self.feed.books[market_id].seq,
        )
        self.ledger.connected(1, now_ms=now_ms)
        for market_id in markets:
            self.ledger.right(market_id, "live", now_ms=now_ms, verified=True)

    def on_row(self, carrier: Any, market_id: MarketId, book: Book, verdict: Integrity, now_ms: int) -> None:  # type: ignore[override]
        feed = carrier.feed
        self.ledger.observe(
            market_id,
            live=book.live,
            integrity=verdict,
            proven_ms=feed.proven_ms(market_id),
            seq=book.seq,
            err=book.err,
            # The rows' own clock runs slower here.
            now_ms=self.watching.now_ms(),
        )

    async def _tick_loop(self) -> None:
        while True:
            self.ledger.connected(int(self.connection.connected), now_ms=self.watching.now_ms())
            await asyncio.sleep(TICK_S)

    async def _count_loop(self) -> None:
        while True:
            self.count()
            await asyncio.sleep(COUNT_S)

    def count(self) -> None:
        """What a status line or a scrape reads."""
        self.counted = msgspec.json.encode(
            {
                "counters": self.feed.counters,
                "rows": self.writer.stats.verdicts,
                "books": self.snapshotter.verdicts(self.clock.now_ms()),
                "minutes": self.ledger.seconds.verified_share,
                "silence": self.silence.counters,
            }
        )

    async def close(self) -> None:
        for task in self._beside:
            task.cancel()
        for task in self._beside:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.keeper.stop()
        seconds, silence = self.ledger.seconds, self.silence.counters
        assert seconds.verified_share > 0.5, seconds
        assert not silence.freezes + silence.mutes + silence.missing_books, silence
        await super().close()


def on_fast_loop(sender: Sender, tape: Tape, kind: type[OneConnection]) -> Took:
    order = ("pace", len(tape.frames), PER_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ours(sender, tape, order, journal=True, tls=True, notes={}, kind=kind))


def paced(tape: Tape, rounds: int) -> str:
    with Sender(tape.prologue, tape.frames) as sender:
        took = alternate(
            {
                "off (reference)": partial(on_fast_loop, sender, tape, OneConnection),
                "ledger, silence and counters": partial(on_fast_loop, sender, tape, Trusted),
            },
            rounds,
        )
    return f"**{tape.venue} at {PER_S:,} frames/s over TLS.** {tape.described()}; {rounds} rounds\n\n" + of_reference(
        took
    )


async def _priced(sender: Sender, tape: Tape) -> tuple[float, list[tuple[str, float, float]]]:
    """What the road takes a second of frames, and each part: its name, calls a second, seconds a call."""
    took = 0.0
    with tempfile.TemporaryDirectory(prefix="overround-bench-") as folder:
        road = Trusted(Path(folder), tape, journal=True)
        host = f"wss://127.0.0.1:{sender.tls_port}/"
        road.keeper.start()
        await OneConnection.open(road, host, sender.tls)
        road.hold()
        sender.tell("pace", len(tape.frames), PER_S)
        watch = Stopwatch()
        await road.receive(len(tape.frames))
        took = watch.per(len(tape.frames)).cpu * PER_S
        sender.answer()
        sender.tell("end")
        clock, books = road.watching, list(road.feed.books.items())

        def each_row(n: int) -> None:
            market_id, book = books[n % len(books)]
            road.on_row(road.connection, market_id, book, Integrity.VERIFIED, 0)

        def look(_: int) -> None:
            for _, book in books[::2]:
                book.seq += 1
            road.silence._look()

        def settle(_: int) -> None:
            road.ledger.settle(now_ms=clock.now_ms())

        def tick(_: int) -> None:
            road.ledger.connected(1, now_ms=clock.now_ms())

        def count(_: int) -> None:
            road.count()

        parts: list[tuple[str, float, float]] = []
        for name, call, per_s, turns in (
            ("a row told to the ledger", each_row, PER_S / FRAMES_PER_BOOK, TURNS),
            ("accounts settled", settle, SETTLES_PER_S, TURNS // 100),
            ("connections told", tick, 1 / TICK_S, TURNS),
            ("a look for silence", look, LOOKS_PER_S, TURNS // 100),
            ("counters read and written as JSON", count, 1 / COUNT_S, TURNS // 100),
        ):
            call(0)
            each = []
            for _ in range(5):
                watch = Stopwatch()
                for n in range(turns):
                    clock.haste(per_s)
                    call(n)
                each.append(watch.per(turns).cpu)
            parts.append((name, per_s, min(each)))
        written = []
        for _ in range(20):
            clock.haste(SETTLES_PER_S)
            road.ledger.settle(now_ms=clock.now_ms())
            entries = road.ledger.take()
            watch = Stopwatch()
            await road.keeper._submit(entries, clock.now_ms())
            written.append(watch.per(1).cpu)
        parts.append(("rows of the ledger written and synced", SETTLES_PER_S, median(written)))
        road._beside = []
        await road.keeper.stop()
        await OneConnection.close(road)
    return took, parts


def alone(tape: Tape) -> str:
    with Sender(tape.prologue, tape.frames) as sender, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took, parts = runner.run(_priced(sender, tape))
    rows: list[tuple[object, ...]] = [
        (name, f"{per_s:g}", f"{each * 1e6:.1f}", f"{per_s * each * 1e6:,.0f}", f"{per_s * each / took:.2%}")
        for name, per_s, each in parts
    ]
    total = sum(per_s * each for _, per_s, each in parts)
    rows.append(("together", "", "", f"{total * 1e6:,.0f}", f"{total / took:.2%}"))
    head = ("part", "a second", "us each", "us a second", "of the road")
    return (
        f"**{tape.venue}: each part by itself.** {len(tape.markets)} books; the road takes {took * 1e3:.0f} ms a second "
        f"for {PER_S:,} frames\n\n" + markdown(head, rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["alone", "paced"], help="alone, paced")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=24_000)
    args = parser.parse_args()
    pin(CLIENT_CORE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(machine("picows", "uvloop", "msgspec", "pyarrow") + "\n")
    for venue in Venue:
        tape = make_tape(venue, n_markets=100, n_frames=args.frames)
        if "alone" in args.what:
            print(alone(tape) + "\n", flush=True)
        if "paced" in args.what:
            print(paced(tape, args.rounds) + "\n", flush=True)


if __name__ == "__main__":
    main()

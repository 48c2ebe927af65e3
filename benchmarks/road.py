"""From the socket to rows in the write-ahead file, on one core, against a plain client and against the limit.

    uv run python benchmarks/road.py saturated              # frames as fast as they can be taken, both venues
    uv run python benchmarks/road.py paced                  # 4,000 frames a second over TLS: processor time per frame
    uv run python benchmarks/road.py burst                  # 730 frames in 10 ms on one connection
    uv run python benchmarks/road.py                        # all three

A sender on core 0 answers the handshake and the subscription and then sends a tape of the local exchange
(`benchmarks/tape.py`); the client runs on core 1, writer and journal threads included. Cases alternate in one run.

- *reference*: websockets on asyncio, `json.loads`, dict books of both tokens; it writes nothing;
- *limit*: `recv_into` of the same bytes, and msgspec scanning each frame without keeping a field; both times added;
- *ours*: `open_socket` (picows, uvloop), `Connection`, the venue's feed, `Snapshotter` with a row for every 20 frames,
  both outcomes' rows at a time, on a rotating market (hash proofs within the collector's budget), `SnapshotWriter`. The time ends when the
  last row and the last trade are durable in the write-ahead files and, with the journal, when the last frame is compressed and synced.

Ours gets its time as the collector does, except that rows are due by the number of frames, not by the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop
from rounds import CLIENT_CORE, Stopwatch, Took, alternate, machine, markdown, median, of_reference, pin
from sender import Sender
from tape import Tape, make_feed, make_tape
from websockets.asyncio.client import connect

from overround.book import BookShelf
from overround.clock import SystemClock
from overround.collector.connection import Connection
from overround.collector.recorder import PROOF_SHARE
from overround.collector.snapshots import ProofBudget, Snapshotter
from overround.config import DriftSettings, PolymarketSettings, StorageSettings
from overround.market import Origin, Venue
from overround.net import ConnectionPacer, open_socket
from overround.storage import FrameJournal, LakePaths, SnapshotWriter
from overround.venue.polymarket.feed import PolymarketFeed
from overround.venue.polymarket.sampling import HashBudget
from overround.venue.prints import TradeDesk
from overround.venue.recent import RecentFrames
from overround.venue.sentinel import DriftSentinel
from overround.venue.shapes import VenueShapes

# A row for every 20 frames, as performance figures of such roads are quoted; a book makes a row of each outcome at once.
FRAMES_PER_BOOK = 40
BOOKS_PER_MS = 5  # so the rows' clock runs about as fast as the wall's while 200,000 frames a second come in
# How often rows are looked for: the collector sleeps until the next one is due, 1 to 50 ms.
ROWS_LOOK_S = 0.005
JOURNAL_BYTES = 4 << 20  # the collector compresses when so much waits
# The collector's proofs may save up time, those of rows a second, samples a tenth; a run of less than a second must not
# live on it.
BURST_NS = 20_000_000
PACKAGES = ("websockets", "picows", "uvloop", "msgspec", "pyarrow", "cryptography")


def run(main: Coroutine[Any, Any, Any], *, fast: bool) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast else None) as runner:
        return runner.run(main)


# ---------------------------------------------------------------------------------------------- reference


class PlainBooks:
    """What a first version of a bot does: a dict per side, floats, every token."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[float, float]]] = {}

    def polymarket(self, text: str) -> None:
        message = json.loads(text)
        for event in message if isinstance(message, list) else [message]:
            kind = event["event_type"]
            if kind == "price_change":
                for change in event["price_changes"]:
                    side = self.books[change["asset_id"]][change["side"]]
                    price, size = float(change["price"]), float(change["size"])
                    if size:
                        side[price] = size
                    else:
                        side.pop(price, None)
            elif kind == "book":
                self.books[event["asset_id"]] = {
                    "BUY": {float(level["price"]): float(level["size"]) for level in event["bids"]},
                    "SELL": {float(level["price"]): float(level["size"]) for level in event["asks"]},
                }

    def kalshi(self, text: str) -> None:
        message = json.loads(text)
        body = message["msg"]
        kind = message["type"]
        if kind == "orderbook_delta":
            side = self.books[body["market_ticker"]][body["side"]]
            price = float(body["price_dollars"])
            size = side.get(price, 0.0) + float(body["delta_fp"])
            if size > 0.001:
                side[price] = size
            else:
                side.pop(price, None)
        elif kind == "orderbook_snapshot":
            self.books[body["market_ticker"]] = {
                side: {float(price): float(size) for price, size in body.get(f"{side}_dollars_fp", ())}
                for side in ("yes", "no")
            }


async def plain(
    sender: Sender, tape: Tape, order: tuple[object, ...], *, books: bool, tls: bool
) -> tuple[float, float]:
    """websockets on asyncio, with JSON and books or merely receiving."""
    keep = PlainBooks()
    take: Callable[[str], None] = keep.polymarket if tape.venue is Venue.POLYMARKET else keep.kalshi
    url, context = address(sender, tls=tls)
    async with connect(url, ssl=context, compression=None, max_size=None, ping_interval=None) as link:
        for command in tape.commands:
            await link.send(command)
        for stage in tape.prologue:
            for _ in stage.frames:
                text = await link.recv()
                if books:
                    take(text)
        sender.tell(*order)
        watch = Stopwatch()
        recv = link.recv
        if books:
            for _ in range(len(tape.frames)):
                take(await recv())
        else:
            for _ in range(len(tape.frames)):
                await recv()
        took = watch.per(len(tape.frames))
        sender.answer()
        sender.tell("end")
    return took


def address(sender: Sender, *, tls: bool) -> tuple[str, Any]:
    return (f"wss://127.0.0.1:{sender.tls_port}/", sender.tls) if tls else (f"ws://127.0.0.1:{sender.port}/", None)


# ---------------------------------------------------------------------------------------------- limit


class _Nothing(msgspec.Struct):
    """Every field is skipped."""


def limit(sender: Sender, tape: Tape) -> Took:
    """Receiving the bytes, then scanning the frames."""
    scan = msgspec.json.Decoder(_Nothing).decode
    with socket.create_connection(("127.0.0.1", sender.port)) as link:
        link.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        for command in tape.commands:
            raw = command.encode()
            head = bytes([0x81, 254]) + len(raw).to_bytes(2, "big")
            if len(raw) < 126:
                head = bytes([0x81, 128 | len(raw)])
            link.sendall(head + bytes(4) + raw)  # masked with zeros
        buffer = bytearray(256 * 1024)
        view = memoryview(buffer)
        link.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while link.recv_into(view):
                pass
        link.settimeout(None)
        left = sum(len(frame) + (4 if len(frame) > 125 else 2) for frame in tape.frames)
        sender.tell("flood", len(tape.frames))
        watch = Stopwatch()
        while left:
            left -= link.recv_into(view)
        received = watch.per(len(tape.frames))
    sender.answer()
    sender.tell("end")
    watch = Stopwatch()
    for frame in tape.frames:
        scan(frame)
    scanned = watch.per(len(tape.frames))
    return Took(received.wall + scanned.wall, received.cpu + scanned.cpu)


# ---------------------------------------------------------------------------------------------- ours


class OneConnection:
    """The collector's road for one connection.

    Attributes
    ----------
    on_row : callable or None
        What is told of each row, as the recorder's ledger is.
    """

    on_row: Callable[..., None] | None = None

    def __init__(
        self,
        folder: Path,
        tape: Tape,
        *,
        journal: bool,
        hash_every: int | None = None,
        drift: tuple[VenueShapes, DriftSettings] | None = None,
    ) -> None:
        self.clock = clock = SystemClock()
        self.tape = tape
        paths = LakePaths(folder)
        settings = StorageSettings()
        self.feed = make_feed(tape.venue, BookShelf(), hash_every=hash_every)
        if isinstance(self.feed, PolymarketFeed):
            self.feed._hash_budget = HashBudget(PolymarketSettings().hash_cpu_share, burst_ns=BURST_NS)
        self.journal = (
            FrameJournal(paths, tape.venue, level=settings.journal_level, bucket_s=settings.bucket_secs, clock=clock)
            if journal
            else None
        )
        self.writer = SnapshotWriter(
            paths, tape.venue, settings=settings, top_k=50, origin=Origin.SYNTHETIC, clock=clock
        )
        proved = tape.venue is Venue.POLYMARKET
        self.snapshotter = Snapshotter(
            self.writer.buffer,
            stale_after_ms=30_000,
            keep_stored=proved,
            budget=ProofBudget(share=PROOF_SHARE, burst_ns=BURST_NS) if proved else None,
            monotonic_ns=clock.monotonic_ns,
            on_row=self.on_row,
        )
        self.desk = TradeDesk(tape.venue)
        self.recent = RecentFrames(self.desk.see) if drift is not None else None
        self.sentinel = (
            DriftSentinel(paths, tape.venue, drift[0], settings=drift[1], clock=clock, recent=self.recent)
            if drift is not None
            else None
        )
        self._looking: asyncio.Task[None] | None = None
        self.events: list[str] = []
        self._flushing: asyncio.Task[None] | None = None

    async def open(self, url: str, context: Any, wrap: Callable[..., Any] | None = None) -> None:
        """Connect, subscribe, and wait for the prologue's end."""
        self.writer.start()
        self.connection = Connection(
            name=str(self.tape.venue),
            feed=self.feed,
            open_socket=wrap or partial(open_socket, url, clock=self.clock, ssl_context=context),
            journal=self.journal,
            clock=self.clock,
            rng=random.Random(3),
            pacer=ConnectionPacer(self.clock, opens_per_s=1_000),
            on_events=self._note,
            sentinel=self.sentinel,
            recent=self.recent,
        )
        if self.sentinel is not None:
            self._looking = asyncio.create_task(self.sentinel.run())
        self.connection.add(self.tape.markets)
        self._task = asyncio.create_task(self.connection.run())
        n_frames = sum(len(stage.frames) for stage in self.tape.prologue)
        deadline = time.perf_counter() + 30
        while self.feed.counters.frames < n_frames:
            await asyncio.sleep(0.005)
            self.connection.tick(self.clock.now_ms())
            if time.perf_counter() > deadline:
                raise AssertionError(f"{self.feed.counters.frames} of {n_frames} frames of the prologue")
        assert all(book.live for book in self.feed.books.values())
        self.begin_ms = self.clock.now_ms()
        self._rows_ms = self.begin_ms
        self.begin_frames = n_frames
        every = max(1, len(self.tape.markets) // BOOKS_PER_MS)
        for market in self.tape.markets:
            self.snapshotter.put(
                market.market_id, market.outcome_ids, self.connection, interval_ms=every, now_ms=self.begin_ms
            )
        self._flushing = asyncio.create_task(self._flush_loop())

    def _note(self, _: Connection, events: Any) -> None:
        self.events += [f"{event.kind} {event.market_id} {event.detail}" for event in events if event.kind != "live"]

    @property
    def done(self) -> int:
        return self.feed.counters.frames - self.begin_frames

    @property
    def row_ms(self) -> int:
        """The time that the rows go by: a millisecond for every 200 frames."""
        return self.begin_ms + self.done // (FRAMES_PER_BOOK * BOOKS_PER_MS)

    async def _flush_loop(self) -> None:
        """As the recorder's."""
        while True:
            await asyncio.sleep(0.25)
            self.take_trades()
            if self.writer.due(self.row_ms):
                await self.writer.flush(self.row_ms)
            if self.journal is not None and self.journal.pending_bytes > JOURNAL_BYTES:
                await asyncio.to_thread(self.journal.flush)

    def take_trades(self) -> None:
        """As the recorder's; without the sentinel, which hands on the frames, prints are not joined."""
        self.desk.add(self.connection.name, self.feed.take_trades())
        self.writer.add_trades(self.desk.take(now_ms=None if self.recent is None else self.clock.now_ms()))

    def take_rows(self) -> None:
        """Rows of every millisecond since the last call: a loop that was busy for long skips none."""
        for now_ms in range(self._rows_ms + 1, self.row_ms + 1):
            self.snapshotter.run_due(now_ms)
        self._rows_ms = self.row_ms

    async def receive(self, n_frames: int) -> None:
        """Until so many frames are in the books, their rows durable and their bytes in the journal."""
        while self.done < n_frames:
            await asyncio.sleep(ROWS_LOOK_S)
            self.take_rows()
        self.take_rows()
        assert self._flushing is not None
        self._flushing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._flushing
        if self.journal is not None:
            await asyncio.to_thread(self.journal.flush)
        self.take_trades()
        await self.writer.flush(self.row_ms)

    async def close(self) -> None:
        for task in (self._task, self._looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self.journal is not None:
            self.journal.close()
        await self.writer.stop()

    def check(self, n_frames: int) -> None:
        """Nothing was lost and nothing repaired."""
        counters = self.feed.counters
        wrong = {
            name: value
            for name in ("gaps", "resyncs", "rejected", "crossed", "negative_levels")
            if (value := getattr(counters, name))
        }
        assert not wrong, (wrong, self.events)
        assert self.done == n_frames, self.done
        rows = self.snapshotter.rows
        assert rows >= 0.95 * n_frames / FRAMES_PER_BOOK, rows
        assert self.writer.stats.rows_waiting == 0


class RowsOnly(OneConnection):
    """Snapshot rows, and no table of trades."""

    def take_trades(self) -> None:
        """Prints stay unread."""


async def ours(
    sender: Sender,
    tape: Tape,
    order: tuple[object, ...],
    *,
    journal: bool,
    tls: bool,
    notes: dict[str, Any],
    hash_every: int | None = None,
    drift: tuple[VenueShapes, DriftSettings] | None = None,
    kind: type[OneConnection] = OneConnection,
) -> Took:
    """The collector's road."""
    with tempfile.TemporaryDirectory(prefix="overround-bench-") as folder:
        road = kind(Path(folder), tape, journal=journal, hash_every=hash_every, drift=drift)
        url, context = address(sender, tls=tls)
        await road.open(url, context)
        sender.tell(*order)
        watch = Stopwatch()
        await road.receive(len(tape.frames))
        took = watch.per(len(tape.frames))
        road.check(len(tape.frames))
        sender.answer()
        sender.tell("end")
        await road.close()
        notes["rows"] = road.writer.stats.rows
        notes["wal"] = road.writer.stats.wal_bytes
        notes["integrity"] = {word: n for word, n in road.snapshotter.by_integrity.items() if n}
        if road.sentinel is not None:
            notes["sentinel"] = road.sentinel.counters()
        if road.journal is not None:
            notes["journal"] = road.journal.bytes_written
    return took


# ---------------------------------------------------------------------------------------------- the three questions


def saturated(tape: Tape, rounds: int) -> str:
    order = ("flood", len(tape.frames))
    notes: dict[str, Any] = {}
    with Sender(tape.prologue, tape.frames) as sender:
        took = alternate(
            {
                "websockets + json + dict books (reference)": lambda: run(
                    plain(sender, tape, order, books=True, tls=False), fast=False
                ),
                "recv_into + msgspec scan (limit)": lambda: limit(sender, tape),
                "ours, snapshot rows only": lambda: run(
                    ours(sender, tape, order, journal=False, tls=False, notes=notes, kind=RowsOnly), fast=True
                ),
                "ours, with the table of trades": lambda: run(
                    ours(sender, tape, order, journal=False, tls=False, notes=notes), fast=True
                ),
                "ours, with trades and, on the same core, the journal": lambda: run(
                    ours(sender, tape, order, journal=True, tls=False, notes=notes), fast=True
                ),
            },
            rounds,
        )
    reference, floor = list(took.values())[:2]
    rows = [
        (
            name,
            f"{median(one.wall for one in each) * 1e6:.2f}",
            f"{median(one.cpu for one in each) * 1e6:.2f}",
            *(f"{ratio:.2f}" for ratio in _ratios(reference, each)),
            *(f"{ratio:.3f}" for ratio in _ratios(floor, each)),
        )
        for name, each in took.items()
    ]
    head = (
        "case",
        "us/frame, wall",
        "us/frame, CPU",
        "x reference, wall",
        "bests",
        "CPU",
        "of the limit, wall",
        "bests",
        "CPU",
    )
    return (
        f"**Saturated.** {tape.described()}; {rounds} rounds; {notes['rows']:,} rows, {notes['wal']:,} WAL bytes, "
        f"{notes['journal']:,} journal bytes, integrity {notes['integrity']}\n\n" + markdown(head, rows)
    )


def _ratios(peer: list[Took], case: list[Took]) -> tuple[float, float, float]:
    """How many times the peer's time a case's is: medians of the wall, bests of the wall, medians of the processor."""
    return (
        median(one.wall for one in peer) / median(one.wall for one in case),
        min(one.wall for one in peer) / min(one.wall for one in case),
        median(one.cpu for one in peer) / median(one.cpu for one in case),
    )


def paced(tape: Tape, rounds: int, per_s: int) -> str:
    order = ("pace", len(tape.frames), per_s)
    notes: dict[str, Any] = {}
    with Sender(tape.prologue, tape.frames) as sender:
        took = alternate(
            {
                "websockets asyncio, merely receiving (reference)": lambda: run(
                    plain(sender, tape, order, books=False, tls=True), fast=False
                ),
                "ours, everything on, journal included": lambda: run(
                    ours(sender, tape, order, journal=True, tls=True, notes=notes), fast=True
                ),
            },
            rounds,
            warm=0,
        )
    return (
        f"**Paced at {per_s:,} frames/s over TLS, a send per frame.** {tape.described()}; {rounds} rounds\n\n"
        + of_reference(took)
    )


async def _burst(sender: Sender, tape: Tape, n: int, within_s: float, times: int) -> tuple[list[float], array[int]]:
    """Milliseconds from the last frame sent to the last applied, and receive-to-applied times in nanoseconds."""
    drained: list[float] = []
    applied: array[int] = array("q")
    with tempfile.TemporaryDirectory(prefix="overround-bench-") as folder:
        road = OneConnection(Path(folder), tape, journal=True)
        url, _ = address(sender, tls=False)
        last_ns = 0

        async def wrapped(*, on_frame: Callable[[bytes, int], None], **others: Any) -> Any:
            now = time.time_ns

            def timed(frame: bytes, recv_ns: int) -> None:
                nonlocal last_ns
                on_frame(frame, recv_ns)
                last_ns = now()
                applied.append(last_ns - recv_ns)

            return await open_socket(url, clock=road.clock, on_frame=timed, **others)

        await road.open(url, None, wrapped)
        rows = asyncio.create_task(_rows(road))
        for turn in range(times):
            sender.tell("burst", n, within_s)
            while not sender.poll() or road.done < (turn + 1) * n:
                await asyncio.sleep(0.005)
            _, sent_ns = sender.answer()
            drained.append((last_ns - sent_ns) / 1e6)
            await asyncio.sleep(0.1)
        rows.cancel()
        await road.close()
    sender.tell("end")
    return drained, applied


async def _rows(road: OneConnection) -> None:
    while True:
        await asyncio.sleep(0.001)
        road.take_rows()


def burst(tape: Tape, n: int, within_ms: float, times: int) -> str:
    rows = []
    with Sender(tape.prologue, tape.frames) as sender:
        for name, within_s in ((f"spread over {within_ms:.0f} ms", within_ms / 1000), ("at once", 1e-6 * n)):
            drained, applied = run(_burst(sender, tape, n, within_s, times), fast=True)
            micros = [value / 1000 for value in applied]
            rows.append(
                (
                    f"{n} frames {name}",
                    f"{statistics.median(drained):.2f}",
                    f"{max(drained):.2f}",
                    f"{_quantile(micros, 0.5):.1f}",
                    f"{_quantile(micros, 0.99):.1f}",
                )
            )
    head = (
        "burst on one connection",
        "last sent to last applied, ms, median",
        "worst",
        "receive to applied, us, p50",
        "p99",
    )
    return f"**Burst.** {tape.described()}; {times} bursts each, journal on\n\n" + markdown(head, rows)


def _quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["saturated", "paced", "burst"], help="saturated, paced, burst")
    parser.add_argument("--venue", choices=[venue.value for venue in Venue], help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--markets", type=int, default=100, help="on the connection")
    args = parser.parse_args()
    if (os.cpu_count() or 1) < 2 or not pin(CLIENT_CORE):
        print("note: processes are not pinned here; the sender may disturb the client")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(machine(*PACKAGES) + "\n")
    venues = [Venue(args.venue)] if args.venue else list(Venue)
    for venue in venues:
        if "saturated" in args.what:
            tape = make_tape(venue, n_markets=args.markets, n_frames=args.frames)
            print(saturated(tape, args.rounds) + "\n", flush=True)
        if "paced" in args.what:
            tape = make_tape(venue, n_markets=args.markets, n_frames=12_000)
            print(paced(tape, args.rounds, 4_000) + "\n", flush=True)
        if "burst" in args.what:
            tape = make_tape(venue, n_markets=args.markets, n_frames=30 * 730)
            print(burst(tape, 730, 10.0, 15) + "\n", flush=True)


if __name__ == "__main__":
    main()

"""All of Polymarket on one core: 28,000 frames a second over 200,000 tokens, and no queue that grows.

    uv run python benchmarks/whole_venue.py                    # 20 s
    uv run python benchmarks/whole_venue.py --seconds 600      # the published figure

A sender on core 0 holds 1,000 WebSockets of 100 markets (200 tokens) each. It answers subscriptions with both tokens'
books and then sends `price_change` frames, an entry for each token, at random instants (a Poisson process) to markets
drawn by the measured concentration of activity: the top 40 make half of it, everything else a long tail. Each market
goes back and forth between two states with the venue's right hashes for both, encoded beforehand; books are the
generated world's (about 50 levels). A send per frame, nothing batched.

The client on core 1 is one process: 1,000 `Connection`s with their feeds, 100,000 books, one `Snapshotter` with hash
proofs within the collector's budget, `SnapshotWriter`, `FrameJournal`, and the recorder's loops as they are.

*Lag* is measured on every 20th connection: from just before the sender's `send` to the frame applied, both on one
clock; and from the transport's receive stamp to the frame applied. *Backlog* is what has been sent and is not applied.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import random
import select
import shutil
import socket
import struct
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import structlog
from rounds import CLIENT_CORE, SENDER_CORE, machine, markdown, pin, progress, resident_bytes
from sender import Texts, handshake_answer
from tape import TwoStateMarket, two_state_markets

from overround.book import BookShelf
from overround.clock import SystemClock
from overround.collector.connection import Connection
from overround.collector.recorder import PROOF_SHARE, TICK_MS
from overround.collector.run import _keep_collections_short
from overround.collector.snapshots import ProofBudget, Snapshotter
from overround.config import StorageSettings
from overround.exchange.link import text_frame
from overround.exchange.universe import activity_share
from overround.market import Market, Origin, Venue
from overround.net import ConnectionPacer, open_socket
from overround.storage import FrameJournal, LakePaths, SnapshotWriter
from overround.venue.polymarket.feed import PolymarketFeed

SLOT_S = 0.001
SCHEDULE = 1 << 21  # frames before the order of markets repeats
SAMPLE_EVERY = 20  # connections
PACKAGES = ("picows", "uvloop", "msgspec", "pyarrow", "numpy")
_SENT = struct.Struct("q")


class Scale(NamedTuple):
    """How much of a venue."""

    sockets: int
    markets: int  # on each
    per_s: int
    seconds: float


# ---------------------------------------------------------------------------------------------- the venue


def _order(n: int, seed: int) -> np.ndarray[Any, Any]:
    """Which market each frame is of: ranks are dealt over the connections at random."""
    rng = np.random.default_rng(seed)
    shares = np.array([activity_share(rank) for rank in range(1, n + 1)])
    ranks = rng.permutation(n)
    return ranks[rng.choice(n, size=SCHEDULE, p=shares / shares.sum())]


def _venue(pipe: Pipe, memory_name: str, scale: Scale, seed: int) -> None:
    """The sender process."""
    pin(SENDER_CORE)
    memory = SharedMemory(memory_name)
    made = two_state_markets(scale.sockets * scale.markets, seed=seed)
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    pipe.send((server.getsockname()[1], [one.market for one in made]))
    links = _admit(server, made, scale)
    pipe.send("subscribed")
    while pipe.recv() == "go":
        pipe.send(_blast(links, made, scale, memory, seed))
    for link in links:
        link.close()
    memory.close()


def _admit(server: socket.socket, made: list[TwoStateMarket], scale: Scale) -> list[socket.socket]:
    """Shake hands and answer subscriptions until every market is subscribed; connections by their slot."""
    slot_of = {one.market.outcome_ids[0]: number // scale.markets for number, one in enumerate(made)}
    at_of = {
        token: (number, side) for number, one in enumerate(made) for side, token in enumerate(one.market.outcome_ids)
    }
    texts: dict[int, Texts] = {}
    links: dict[int, socket.socket] = {}
    slots: dict[int, socket.socket] = {}
    poller = select.poll()
    poller.register(server, select.POLLIN)
    left = 2 * len(made)
    while left:
        for fd, _ in poller.poll():
            if fd == server.fileno():
                link, _ = server.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                links[link.fileno()], texts[link.fileno()] = link, Texts()
                poller.register(link, select.POLLIN)
                continue
            link, reader = links[fd], texts[fd]
            for text in reader.feed(link.recv(1 << 16)):
                if text is None:
                    link.sendall(handshake_answer(reader.head))
                elif text == b"PING":
                    link.sendall(text_frame(b"PONG"))
                else:
                    wanted = [at_of[token] for token in msgspec.json.decode(text)["assets_ids"]]
                    slots[slot_of[made[wanted[0][0]].market.outcome_ids[0]]] = link
                    books = [made[number].books[side] for number, side in wanted]
                    link.sendall(text_frame(b"[" + b",".join(books) + b"]"))
                    left -= len(wanted)
    return [slots[slot] for slot in range(scale.sockets)]


class _Blasted(NamedTuple):
    """What the sender did."""

    frames: int
    took_s: float
    late_s: float  # the longest that a slot was behind its time
    blocked: int  # sends that found the connection's buffers full
    sampled_slot: bytes
    sampled_ns: bytes


def _blast(
    links: list[socket.socket], made: list[TwoStateMarket], scale: Scale, memory: SharedMemory, seed: int
) -> _Blasted:
    order = _order(len(made), seed).tolist()
    rng = np.random.default_rng(seed + 1)
    counts = rng.poisson(scale.per_s * SLOT_S, size=int(scale.seconds / SLOT_S)).tolist()
    changes = [(text_frame(one.changes[0]), text_frame(one.changes[1])) for one in made]
    turn = bytearray(len(made))
    per_link = scale.markets
    sends = [link.send for link in links]
    for link in links:
        link.setblocking(False)
    sampled_slot, sampled_ns = array("i"), array("q")
    now_ns = time.time_ns
    sent = at = blocked = 0
    late = 0.0
    mask = SCHEDULE - 1
    texts = [Texts(opened=True) for _ in links]
    began = time.perf_counter()
    for slot, count in enumerate(counts):
        left = began + slot * SLOT_S - time.perf_counter()
        if left > 0:
            time.sleep(left)
        elif -left > late:
            late = -left
        for _ in range(count):
            market = order[at & mask]
            at += 1
            state = turn[market]
            turn[market] = state ^ 1
            frame = changes[market][state]
            number = market // per_link
            if not number % SAMPLE_EVERY:
                sampled_slot.append(number)
                sampled_ns.append(now_ns())
            try:
                done = sends[number](frame)
            except BlockingIOError:
                done = 0
            if done < len(frame):
                # Only a client that does not keep up comes here; the wait then shows in `late` and in the backlog.
                blocked += 1
                links[number].setblocking(True)
                links[number].sendall(frame[done:])
                links[number].setblocking(False)
        sent += count
        _SENT.pack_into(memory.buf, 0, sent)
        _answer_pings(links[slot % len(links)], texts[slot % len(links)])
    took = time.perf_counter() - began
    # The next blast starts from the books' first state.
    for market, state in enumerate(turn):
        if state:
            number = market // per_link
            links[number].setblocking(True)
            links[number].sendall(changes[market][1])
            sent += 1
            if not number % SAMPLE_EVERY:
                sampled_slot.append(number)
                sampled_ns.append(now_ns())
    _SENT.pack_into(memory.buf, 0, sent)
    return _Blasted(sent, took, late, blocked, sampled_slot.tobytes(), sampled_ns.tobytes())


def _answer_pings(link: socket.socket, reader: Texts) -> None:
    try:
        data = link.recv(4096)
    except BlockingIOError:
        return
    for text in reader.feed(data):
        if text == b"PING":
            link.send(text_frame(b"PONG"))


# ---------------------------------------------------------------------------------------------- the client


class _Sampled:
    """Times of one connection's frames: receive stamp and applied, nanoseconds."""

    def __init__(self) -> None:
        self.recv, self.applied = array("q"), array("q")
        self.on = False

    def wrap(self, on_frame: Callable[[bytes, int], None]) -> Callable[[bytes, int], None]:
        now, recv, applied = time.time_ns, self.recv, self.applied

        def timed(frame: bytes, recv_ns: int) -> None:
            on_frame(frame, recv_ns)
            if self.on and len(frame) > 100:  # PONG is not the sender's
                applied.append(now())
                recv.append(recv_ns)

        return timed


class Client:
    """The collector's parts for a whole venue."""

    def __init__(self, folder: Path, port: int, markets: list[Market], scale: Scale, args: argparse.Namespace) -> None:
        self.clock = clock = SystemClock()
        self.scale = scale
        self.settings = settings = StorageSettings()
        paths, venue = LakePaths(folder), Venue.POLYMARKET
        self.writer = SnapshotWriter(paths, venue, settings=settings, top_k=50, origin=Origin.SYNTHETIC, clock=clock)
        self.journal = (
            FrameJournal(paths, venue, level=settings.journal_level, bucket_s=settings.bucket_secs, clock=clock)
            if args.journal
            else None
        )
        self.snapshotter = Snapshotter(
            self.writer.buffer,
            stale_after_ms=30_000,
            keep_stored=True,
            budget=ProofBudget(share=PROOF_SHARE),
            monotonic_ns=clock.monotonic_ns,
        )
        self.events: Counter[str] = Counter()
        self.sampled: dict[int, _Sampled] = {}
        self.connections: list[Connection] = []
        self.tasks: list[asyncio.Task[Any]] = []
        shelf, rng = BookShelf(), random.Random(3)
        pacer = ConnectionPacer(clock, opens_per_s=1_000)
        url = f"ws://127.0.0.1:{port}/"
        for slot in range(scale.sockets):
            opener: Callable[..., Any] = partial(open_socket, url, clock=clock)
            if not slot % SAMPLE_EVERY:
                self.sampled[slot] = _Sampled()
                opener = partial(_open_sampled, url, clock, self.sampled[slot])
            connection = Connection(
                name=f"polymarket-{slot}",
                feed=PolymarketFeed(shelf, rng=rng),
                open_socket=opener,
                journal=self.journal,
                clock=clock,
                rng=rng,
                pacer=pacer,
                on_events=self._note,
            )
            connection.add(markets[slot * scale.markets : (slot + 1) * scale.markets])
            self.connections.append(connection)
        self.markets = markets
        self.interval_ms = int(args.interval_s * 1000)

    def _note(self, _: Connection, events: Sequence[Any]) -> None:
        self.events.update(str(event.kind) for event in events)

    @property
    def applied(self) -> int:
        return sum(connection.feed.counters.changes for connection in self.connections)

    @property
    def live(self) -> int:
        return sum(book.live for connection in self.connections for book in connection.feed.books.values())

    async def start(self) -> None:
        self.writer.start()
        spawn = asyncio.create_task
        self.tasks = [spawn(connection.run()) for connection in self.connections]
        self.tasks += [spawn(self._tick_loop()), spawn(_keep_collections_short(self.clock))]
        while self.live < len(self.markets):
            await asyncio.sleep(0.25)
        progress(f"{self.live:,} books on {len(self.connections):,} connections")
        now_ms = self.clock.now_ms()
        for connection, slot in zip(self.connections, range(self.scale.sockets), strict=True):
            for market in self.markets[slot * self.scale.markets : (slot + 1) * self.scale.markets]:
                self.snapshotter.put(
                    market.market_id, market.outcome_ids, connection, interval_ms=self.interval_ms, now_ms=now_ms
                )
        self.tasks += [spawn(self._row_loop()), spawn(self._flush_loop())]
        for sampled in self.sampled.values():
            sampled.on = True

    async def _tick_loop(self) -> None:
        while True:
            now_ms = self.clock.now_ms()
            for connection in self.connections:
                connection.tick(now_ms)
            await self.clock.sleep_ms(TICK_MS)

    async def _row_loop(self) -> None:
        while True:
            visited = self.snapshotter.run_due(self.clock.now_ms(), at_most=self.rows_at_once)
            due = self.snapshotter.next_due_ms()
            wait = 50 if due is None else due - self.clock.now_ms()
            await self.clock.sleep_ms(0 if visited >= self.rows_at_once else max(1, min(wait, 50)))

    rows_at_once = 500

    async def _flush_loop(self) -> None:
        due_ms = self.clock.now_ms()
        while True:
            await self.clock.sleep_ms(250)
            now_ms = self.clock.now_ms()
            if self.writer.due(now_ms):
                await self.writer.flush(now_ms)
            if self.journal is not None and (now_ms >= due_ms or self.journal.pending_bytes > 4 << 20):
                due_ms = now_ms + self.settings.journal_flush_secs * 1000
                await asyncio.to_thread(self.journal.flush)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.journal is not None:
            self.journal.close()
        await self.writer.stop()


async def _open_sampled(
    url: str, clock: SystemClock, sampled: _Sampled, *, on_frame: Callable[[bytes, int], None], **others: Any
) -> Any:
    return await open_socket(url, clock=clock, on_frame=sampled.wrap(on_frame), **others)


async def hold(args: argparse.Namespace, scale: Scale) -> str:
    memory = SharedMemory(create=True, size=_SENT.size)
    _SENT.pack_into(memory.buf, 0, 0)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    venue = context.Process(target=_venue, args=(theirs, memory.name, scale, args.seed), daemon=True)
    venue.start()
    progress("the sender makes its frames ...")
    folder = Path(tempfile.mkdtemp(prefix="overround-bench-"))
    try:
        port, markets = pipe.recv()
        client = Client(folder, port, markets, scale, args)
        await client.start()
        assert pipe.recv() == "subscribed"
        return await _measure(client, pipe, memory, args, scale)
    finally:
        with contextlib.suppress(BrokenPipeError, OSError):
            pipe.send("end")
        venue.terminate()
        venue.join()
        memory.close()
        memory.unlink()
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(client: Client, pipe: Pipe, memory: SharedMemory, args: argparse.Namespace, scale: Scale) -> str:
    await asyncio.sleep(2)
    pauses = _Pauses()
    before, rows_before = client.applied, client.snapshotter.rows
    rss = [resident_bytes()]
    backlog: list[tuple[float, int]] = []
    pipe.send("go")
    began, cpu = time.perf_counter(), time.process_time()
    told = began
    while not pipe.poll():
        await asyncio.sleep(0.1)
        applied = client.applied
        sent = _SENT.unpack_from(memory.buf, 0)[0]
        # `sent` is read last: what is applied meanwhile cannot make the backlog negative.
        backlog.append((time.perf_counter() - began, sent - (applied - before)))
        if time.perf_counter() - told > 30:
            told = time.perf_counter()
            rss.append(resident_bytes())
            progress(f"{told - began:6.0f} s  {applied - before:>12,} frames, backlog {backlog[-1][1]:,}")
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    done: _Blasted = pipe.recv()
    deadline = time.perf_counter() + 30
    while client.applied - before < done.frames and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    drained = time.perf_counter() - began - took
    rss.append(resident_bytes())
    assert client.applied - before == done.frames, (client.applied - before, done.frames)
    rows, flush_ms = client.snapshotter.rows - rows_before, client.writer.stats.last_flush_ms
    now_ms = client.clock.now_ms()
    proved = Counter(
        str(connection.feed.verdict(market_id, now_ms=now_ms))
        for connection in client.connections[::10]
        for market_id in connection.feed.books
    )
    await client.stop()
    stats = client.writer.stats
    wrong = {kind: n for kind, n in client.events.items() if kind in {"gap", "resync", "rejected", "repaired"}}
    lines = [
        (
            f"**Whole venue.** {scale.sockets:,} sockets x {scale.markets} markets = {2 * len(client.markets):,} tokens; "
            f"{done.frames:,} frames in {done.took_s:.1f} s = {done.frames / done.took_s:,.0f}/s (asked for "
            f"{scale.per_s:,}/s); a row for each outcome of each market every {args.interval_s:g} s "
            f"({rows / took:,.0f} books/s), journal {'on' if client.journal is not None else 'off'}"
        ),
        "",
        markdown(("quantity", "value"), _figures(client, done, took, cpu, drained, rss, pauses.ms, stats, flush_ms)),
        "",
        _lags(client, done, backlog),
        "",
        f"Proofs of every tenth connection's books at the end: {dict(proved)}; gaps, repairs, refusals: {wrong or 'none'}",
    ]
    return "\n".join(lines)


class _Pauses:
    """How long full collections of garbage held the process up."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self._began = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            if phase == "start":
                self._began = time.perf_counter()
            else:
                self.ms.append((time.perf_counter() - self._began) * 1000)


def _figures(
    client: Client,
    done: _Blasted,
    took: float,
    cpu: float,
    drained: float,
    rss: list[int],
    pauses: list[float],
    stats: Any,
    flush_ms: float,
) -> list[tuple[str, str]]:
    proofs = client.snapshotter.by_integrity
    journal = client.journal
    return [
        ("client's processor time, of one core", f"{cpu / took:.0%}"),
        ("sender's longest delay behind its schedule", f"{done.late_s * 1000:.0f} ms"),
        ("sends that found a full buffer", f"{done.blocked:,}"),
        ("applied after the last send", f"{drained * 1000:.0f} ms at most"),
        ("resident memory, start and end", " and ".join(f"{value / 1e6:,.0f} MB" for value in (rss[0], rss[-1]))),
        ("rows stored", f"{stats.rows:,} in {stats.files} files ({stats.bytes_written / 1e6:,.0f} MB)"),
        ("verified among stored books", f"{proofs['verified'] / max(1, client.snapshotter.rows):.0%}"),
        (
            "full collections of garbage",
            f"{len(pauses)}, the longest {max(pauses):.0f} ms" if pauses else "none",
        ),
        ("last flush", f"{flush_ms:.0f} ms, {stats.wal_bytes / 1e6:,.0f} MB of write-ahead file in all"),
        ("journal", f"{journal.bytes_written / 1e6:,.0f} MB" if journal is not None else "off"),
    ]


def _lags(client: Client, done: _Blasted, backlog: list[tuple[float, int]]) -> str:
    slots = np.frombuffer(done.sampled_slot, np.int32)
    sent_ns = np.frombuffer(done.sampled_ns, np.int64)
    sent, applied, received = [], [], []
    for slot, sampled in client.sampled.items():
        mine = sent_ns[slots == slot]
        assert len(mine) == len(sampled.applied), (slot, len(mine), len(sampled.applied))
        sent.append(mine)
        applied.append(np.frombuffer(sampled.applied, np.int64))
        received.append(np.frombuffer(sampled.recv, np.int64))
    at, done_at, recv_at = (np.concatenate(parts) for parts in (sent, applied, received))
    lag, work = (done_at - at) / 1e6, (done_at - recv_at) / 1e3
    second = (at - at.min()) / 1e9
    span = min(60.0, done.took_s / 3)
    rows = []
    for name, first, last in (
        (f"first {span:.0f} s", 0.0, span),
        (f"last {span:.0f} s", done.took_s - span, done.took_s),
        ("all", 0.0, done.took_s),
    ):
        mask = (second >= first) & (second <= last)
        waiting = [count for when, count in backlog if first <= when <= last] or [0]
        rows.append(
            (
                name,
                f"{mask.sum():,}",
                *(f"{np.percentile(lag[mask], q):.2f}" for q in (50, 99, 99.9, 100)),
                *(f"{np.percentile(work[mask], q):.1f}" for q in (50, 99)),
                *(f"{value:,.0f}" for value in (np.percentile(waiting, 50), max(waiting))),
            )
        )
    head = (
        "part", "frames sampled", "sent to applied, ms, p50", "p99", "p99.9", "worst", "received to applied, us, p50",
        "p99", "backlog, frames, p50", "worst",
    )  # fmt: skip
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--markets", type=int, default=100, help="on each socket")
    parser.add_argument("--rate", type=int, default=28_000, help="frames a second over all sockets")
    parser.add_argument("--interval-s", type=float, default=60.0, help="seconds between two snapshots of a market")
    parser.add_argument("--no-journal", dest="journal", action="store_false")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    _allow_files(2 * args.sockets + 200)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if not pin(CLIENT_CORE):
        print("note: processes are not pinned here; the sender may disturb the client")
    print(machine(*PACKAGES) + "\n")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(hold(args, Scale(args.sockets, args.markets, args.rate, args.seconds))))


def _allow_files(n: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < n:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard), hard))


if __name__ == "__main__":
    main()

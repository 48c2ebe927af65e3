"""One connection slot: a feed, its socket, and when to try again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import structlog

from overround.clock import Clock
from overround.collector.tape import TapedFeed
from overround.errors import VenueError
from overround.market import ErrCode, Market, MarketId
from overround.net import ConnectionPacer, Socket, reconnect_delays_ms
from overround.storage import FrameJournal
from overround.venue import Feed, FeedEvent, FeedEventKind
from overround.venue.recent import RecentFrames
from overround.venue.sentinel import DriftSentinel

__all__ = ["Connection"]

log = structlog.get_logger()

# The back-off starts anew only after data has flowed for this long: a venue that accepts and closes at
# once must not be asked again at once.
HEALTHY_AFTER_MS = 60_000
# Of the growing delays: however long a venue was away, it is taken up again within this of its return.
LONGEST_DELAY_MS = 20_000


class Connection:
    """Keeps one socket open for one feed, for as long as it has markets to carry.

    Frames go from the transport's callback straight into the feed and then, as they came, into the
    journal. Everything else (commands, reports, deadlines) is drained after the frame.

    The other calls of the feed are journalled too, in their order between the frames (see ``TapedFeed``).

    Parameters
    ----------
    name : str
        Slot name, such as ``polymarket-0``; connections are named ``<slot>.<n>``.
    feed : Feed
    open_socket : callable
        ``await open_socket(on_opened=…, on_frame=…, on_closed=…)`` gives a ``Socket``; signs anew each time.
    journal : FrameJournal or None
    clock : Clock
    rng : Random
    pacer : ConnectionPacer
        Shared by all slots of the host.
    on_events : callable
        Takes the feed's reports.
    sentinel : DriftSentinel, optional
        Is told of frames that the feed refused.
    recent : RecentFrames, optional
        Where every frame is left for those who look at them beside the road.
    run : str
        Tells the connections of this run from those of others in the log.
    """

    def __init__(
        self,
        *,
        name: str,
        feed: Feed,
        open_socket: Callable[..., Any],
        journal: FrameJournal | None,
        clock: Clock,
        rng: Random,
        pacer: ConnectionPacer,
        on_events: Callable[[Connection, Sequence[FeedEvent]], None],
        sentinel: DriftSentinel | None = None,
        recent: RecentFrames | None = None,
        run: str = "",
    ) -> None:
        self.name = name
        self._run = run
        self.feed: Feed = feed if journal is None else TapedFeed(feed, self._mark)
        self.down_since_ms: int | None = clock.now_ms()
        self.reconnects = 0
        self.attempts = 0
        self.connection_id = f"{name}.0"
        self._open_socket = open_socket
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._pacer = pacer
        self._on_events = on_events
        self._socket: Socket | None = None
        self._ended = asyncio.Event()
        self._end_reason = ""
        self._wanted = asyncio.Event()
        self._opened_ms = 0
        self._data_before = 0
        self._sentinel = sentinel
        # Bound once: these are used for every frame.
        self._feed = feed
        self._receive = feed.receive
        self._keep = journal.frame if journal is not None else None
        self._show = recent.append if recent is not None else None

    @property
    def untaped(self) -> Feed:
        """The feed itself."""
        return self._feed

    @property
    def log_id(self) -> str:
        """The connection's name in the log, which no other connection of any run bears: ``polymarket-0.3@1a2b3c4d``."""
        return f"{self.connection_id}@{self._run}" if self._run else self.connection_id

    @property
    def connected(self) -> bool:
        """Whether the socket stands."""
        return self._socket is not None

    @property
    def since_ms(self) -> int:
        """Since when it stands, or is down."""
        return self._opened_ms if self.down_since_ms is None else self.down_since_ms

    def add(self, markets: Sequence[Market]) -> None:
        """Carry more markets."""
        self.feed.add(markets, now_ms=self._clock.now_ms())
        self._wanted.set()
        self._drain()

    def remove(self, market_ids: Sequence[MarketId]) -> None:
        """Carry fewer markets."""
        self.feed.remove(market_ids, now_ms=self._clock.now_ms())
        if not self.feed.books:
            self._wanted.clear()
        self._drain()

    def tick(self, now_ms: int) -> None:
        """Let the feed do what is due."""
        if self._socket is None:
            return
        deadline = self.feed.deadline_ms()
        if deadline is not None and deadline <= now_ms:
            self.feed.tick(now_ms=now_ms)
            self._drain()

    def drain(self) -> None:
        """Send and report what the feed has ready (after a call from outside)."""
        self._drain()

    def abandon(self, reason: str) -> None:
        """End the socket that stands and open a new one."""
        if self._socket is not None and not self._ended.is_set():
            self._end_reason = reason
            self._ended.set()

    async def run(self) -> None:
        """Open the socket, keep it, open it again; ends only by cancellation."""
        delays = reconnect_delays_ms(self._rng, cap_ms=LONGEST_DELAY_MS)
        try:
            while True:
                await self._wanted.wait()
                await self._pacer.acquire(self.name)
                self.attempts += 1
                self._ended.clear()
                self.connection_id = f"{self.name}.{self.attempts}"
                # This task's context is that of the transport's callbacks, too.
                structlog.contextvars.bind_contextvars(connection=self.log_id)
                try:
                    socket = await self._open_socket(
                        on_opened=self._on_opened, on_frame=self._on_frame, on_closed=self._on_closed
                    )
                except VenueError as exc:
                    wait_ms = next(delays)
                    if exc.retry_after_s is not None:
                        # The host named a wait: no slot asks it again before.
                        self._pacer.hold(exc.retry_after_s)
                        wait_ms = max(wait_ms, exc.retry_after_s * 1000)
                    log.warning(
                        "connection.refused", connection=self.log_id, reason=str(exc), retry_in_ms=round(wait_ms)
                    )
                    self._mark("refused", reason=str(exc))
                    await self._clock.sleep_ms(wait_ms)
                    continue
                lived_ms, got_data = await self._live(socket)
                if got_data and lived_ms >= HEALTHY_AFTER_MS:
                    delays = reconnect_delays_ms(self._rng, cap_ms=LONGEST_DELAY_MS)
                wait_ms = next(delays)
                self.reconnects += 1
                log.warning(
                    "connection.lost",
                    connection=self.log_id,
                    reason=self._end_reason,
                    lived_ms=lived_ms,
                    retry_in_ms=round(wait_ms),
                )
                await self._clock.sleep_ms(wait_ms)
        finally:
            if self._socket is not None:
                socket, self._socket = self._socket, None
                await socket.close()

    async def _live(self, socket: Socket) -> tuple[int, bool]:
        """One connection from open to close; returns how long it lived and whether data came."""
        await self._ended.wait()
        now_ms = self._clock.now_ms()
        if self._socket is not None:
            self._socket = None
            await socket.close()
        self.down_since_ms = now_ms
        self.feed.lost(now_ms=now_ms, reason=self._end_reason)
        # Whatever the feed says of single books: from here on nothing of this connection is known.
        lost = FeedEvent(
            kind=FeedEventKind.GAP,
            ts_recv_ns=now_ms * 1_000_000,
            detail=ErrCode.RECONNECTING,
            since_ns=self.feed.last_recv_ns or None,
        )
        self._on_events(self, [lost])
        self._drain()
        return now_ms - self._opened_ms, self._data_seen() > self._data_before

    def _data_seen(self) -> int:
        return self.feed.counters.changes + self.feed.counters.snapshots

    def _on_opened(self, socket: Socket) -> None:
        # Called before any frame is delivered: a venue that speaks first finds the feed ready.
        now_ms = self._clock.now_ms()
        self._opened_ms, self._data_before = now_ms, self._data_seen()
        self._socket = socket
        self.down_since_ms = None
        log.info("connection.opened", connection=self.log_id, markets=len(self.feed.books))
        self.feed.opened(now_ms=now_ms)
        self._drain()

    def _on_frame(self, frame: bytes, recv_ns: int) -> None:
        is_json = self._receive(frame, recv_ns)
        if self._keep is not None:
            self._keep(self.connection_id, recv_ns, frame, is_json)
        if self._show is not None:
            self._show((self.connection_id, recv_ns, frame))
        feed = self._feed
        if feed.outbox or feed.events or feed.reconnect_reason:
            if self._sentinel is not None:
                kinds = {event.kind for event in feed.events}
                if FeedEventKind.REJECTED in kinds:
                    self._sentinel.refused(self.connection_id, recv_ns, frame)
                elif FeedEventKind.UNKNOWN in kinds:
                    self._sentinel.strange(self.connection_id, recv_ns, frame)
            self._drain()

    def _on_closed(self, reason: str) -> None:
        self._socket = None
        self._end_reason = reason
        self._ended.set()

    def _drain(self) -> None:
        feed = self._feed
        if feed.outbox:
            outbox, feed.outbox = feed.outbox, []
            if self._socket is not None:
                now_ns = self._clock.now_ns()
                for text in outbox:
                    self._socket.send(text)
                    if self._journal is not None:
                        self._journal.sent(self.connection_id, now_ns, text)
        if feed.events:
            events, feed.events = feed.events, []
            self._on_events(self, events)
        if feed.reconnect_reason and self._socket is not None and not self._ended.is_set():
            self._end_reason = feed.reconnect_reason
            self._ended.set()

    def _mark(self, event: str, **fields: object) -> None:
        if self._journal is not None:
            self._journal.mark(self.connection_id, self._clock.now_ns(), event, **fields)

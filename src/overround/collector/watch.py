"""The shell around ``silence`` and ``canary``: looks at the connections, asks REST, and acts on what was found.

It runs beside the recorder and touches nothing on the way of a frame: twice a second it reads the numbers that the
books carry anyhow. The witness is a connection like any other, over a shelf of its own and without a journal, so that
what it hears is compared and never stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import msgspec
import structlog

from overround.book import Book, BookShelf
from overround.clock import Clock
from overround.collector.canary import WITNESS, CanaryJudge, Pair, choose_canaries
from overround.collector.connection import Connection
from overround.collector.silence import Answer, Check, ConnectionSeen, Fault, Finding, SilenceDecider, compare
from overround.config import SilenceSettings
from overround.errors import VenueError
from overround.market import Market, MarketId
from overround.net import ConnectionPacer
from overround.venue import FeedEvent, FeedEventKind, Pause, RestBook
from overround.venue.adapters import VenueAdapter

__all__ = ["SilenceCounters", "SilenceWatch"]

log = structlog.get_logger()

LOOK_MS = 500
FIRST_CANARIES_MS = 30_000
CANARIES_MS = 120_000
SCHEDULE_MS = 6 * 3_600_000
# Connections that went down with a pause need a while to come back.
BEFORE_PAUSE_MS, AFTER_PAUSE_MS = 30_000, 120_000
CLOSED_FOR_MS = 60_000
MOST_QUESTIONS = 4


class SilenceCounters(msgspec.Struct, kw_only=True):
    """What the watch did; read at scrape time.

    Attributes
    ----------
    suspicions : int
        Silences longer than the connection's own habit.
    audits : int
        Books compared with REST, and of these
    proofs, differences : int
        equal ones, and different ones whether overtaken later or not.
    freezes, mutes, missing_books, gone : int
        Connections found frozen, markets found mute, first books found missing, markets that ended unheard.
    witness_faults : int
        Faults of the second connection; they cost the record nothing.
    failures : int
        Questions to REST without an answer.
    """

    suspicions: int = 0
    audits: int = 0
    proofs: int = 0
    differences: int = 0
    freezes: int = 0
    mutes: int = 0
    missing_books: int = 0
    gone: int = 0
    witness_faults: int = 0
    failures: int = 0


class SilenceWatch:
    """Watches one venue's connections beside the recorder.

    Parameters
    ----------
    adapter : VenueAdapter
    settings : SilenceSettings
    clock : Clock
    rng : Random
    pacer : ConnectionPacer
        Shared by all slots of the host.
    connections : callable
        The connections that record, as they are now.
    market_of : callable
        A market's listing, or None.
    report : callable
        Takes what was found, as a feed's reports are taken.
    run : str
        See ``Connection``.

    Attributes
    ----------
    counters : SilenceCounters
    witness : Connection or None
        The second connection of the canaries, once there are any.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        *,
        settings: SilenceSettings,
        clock: Clock,
        rng: Random,
        pacer: ConnectionPacer,
        connections: Callable[[], Sequence[Connection]],
        market_of: Callable[[MarketId], Market | None],
        report: Callable[[Connection, Sequence[FeedEvent]], None],
        run: str = "",
    ) -> None:
        self.counters = SilenceCounters()
        self.witness: Connection | None = None
        self._adapter = adapter
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._pacer = pacer
        self._connections = connections
        self._market_of = market_of
        self._report = report
        self._run = run
        self._decider = SilenceDecider(settings, batch=adapter.books_per_request)
        self._judge = CanaryJudge(
            tolerance_ms=settings.canary_tolerance_ms,
            stall_ms=settings.stall_ms,
            silence_ms=lambda slot: self._decider.silence_ms(slot, now_ms=self._now_ms()),
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._questions = 0
        self._opened: dict[str, tuple[str, int]] = {}
        self._proved_ns: dict[MarketId, int] = {}
        self._pauses: list[Pause] = []
        self._closed_until_ms = 0
        self._canaries_due_ms = self._now_ms() + FIRST_CANARIES_MS

    def _now_ms(self) -> int:
        """Time that never steps, for the deciders."""
        return self._clock.monotonic_ns() // 1_000_000

    # -- loops -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch until cancelled."""
        if not self._settings.enabled:
            return
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            if self._adapter.calendar is not None:
                tasks.create_task(self._calendar_loop())
            while True:
                self._look()
                await self._clock.sleep_ms(LOOK_MS)

    async def _calendar_loop(self) -> None:
        calendar = self._adapter.calendar
        while calendar is not None:
            now_ms = self._clock.now_ms()
            self._pauses = await calendar.pauses(from_ms=now_ms - SCHEDULE_MS, to_ms=now_ms + 2 * SCHEDULE_MS)
            await self._clock.sleep_ms(SCHEDULE_MS)

    def _look(self) -> None:
        """One look at everything."""
        now_ms, paused = self._now_ms(), self._paused()
        seen = [self._seen(connection, now_ms) for connection in self._connections()]
        for check in self._decider.observe(seen, now_ms=now_ms, paused=paused):
            self._ask(check)
        self.counters.suspicions = self._decider.suspicions
        self.counters.differences = self._decider.differences
        if paused:
            return
        if self._settings.canaries_per_connection and now_ms >= self._canaries_due_ms:
            self._canaries_due_ms = now_ms + CANARIES_MS
            self._choose_canaries(now_ms)
        if self.witness is not None:
            self.witness.tick(self._clock.now_ms())
            for told in self._judge.judge(self._pairs(), now_ms=now_ms):
                if isinstance(told, Check):
                    self._ask(told)
                else:
                    self._act(told)

    def _paused(self) -> bool:
        now_ms = self._clock.now_ms()
        planned = any(p.start_ms - BEFORE_PAUSE_MS <= now_ms < p.end_ms + AFTER_PAUSE_MS for p in self._pauses)
        return planned or self._now_ms() < self._closed_until_ms

    def _seen(self, connection: Connection, now_ms: int) -> ConnectionSeen:
        """A connection as it is now; each of its openings has a time of its own."""
        if not connection.connected:
            return ConnectionSeen(connection.name, None, connection.feed.books)
        known = self._opened.get(connection.name)
        if known is None or known[0] != connection.connection_id:
            known = self._opened[connection.name] = connection.connection_id, now_ms
        return ConnectionSeen(connection.name, known[1], connection.feed.books)

    # -- REST --------------------------------------------------------------------------------------------------

    def _ask(self, check: Check) -> None:
        """Ask in a task of its own; the looks go on meanwhile."""
        if self._tasks is None or self._questions >= MOST_QUESTIONS:
            # REST is slow: the same books will be due again at the next look.
            self._decider.answered(check, {}, now_ms=self._now_ms())
            return
        self._questions += 1
        self._tasks.create_task(self._question(check))

    async def _question(self, check: Check) -> None:
        try:
            asked_ns = self._clock.now_ns()
            held = {m: book for m in check.market_ids if (book := self._book(m)) is not None}
            seqs = {market_id: book.seq for market_id, book in held.items()}
            markets = [market for m in held if (market := self._market_of(m)) is not None]
            try:
                found = await self._adapter.book_source.books(markets) if markets else []
            except VenueError as exc:
                self.counters.failures += 1
                self._decider.failed(check, now_ms=self._now_ms())
                log.warning("silence.unanswered", venue=self._adapter.venue, why=check.why, reason=str(exc))
                return
            told = {book.market_id: book for book in found}
            unread = self._adapter.book_source.unread
            answers = {
                m: Answer.UNKNOWN if m in unread and m not in told else compare(book, told.get(m), asked_seq=seqs[m])
                for m, book in held.items()
            }
            self.counters.audits += len(answers)
            self._take_proofs(answers, told, asked_ns)
            findings = self._decider.answered(check, answers, now_ms=self._now_ms())
            if any(finding.fault is Fault.FROZEN for finding in findings) and not await self._trading():
                self._closed_until_ms = self._now_ms() + CLOSED_FOR_MS
                return
            for finding in findings:
                self._act(finding)
        finally:
            self._questions -= 1

    async def _trading(self) -> bool:
        return self._adapter.calendar is None or await self._adapter.calendar.trading()

    def _book(self, market_id: MarketId) -> Book | None:
        carrier = self._carrier(market_id)
        return None if carrier is None else carrier.feed.books.get(market_id)

    def _carrier(self, market_id: MarketId) -> Connection | None:
        return next((one for one in self._connections() if market_id in one.feed.books), None)

    def _take_proofs(self, answers: dict[MarketId, Answer], told: dict[MarketId, RestBook], asked_ns: int) -> None:
        """Tell the feeds of every equal book: for them, too, it is a proof."""
        for market_id, answer in answers.items():
            if answer is Answer.SAME:
                self.counters.proofs += 1
                carrier = self._carrier(market_id)
                if carrier is not None:
                    self._proved_ns[market_id] = asked_ns
                    carrier.feed.rest_book(told[market_id], now_ms=self._clock.now_ms())
                    carrier.drain()
        if len(self._proved_ns) > 20_000:
            self._proved_ns = {m: at for m, at in self._proved_ns.items() if self._carrier(m) is not None}

    # -- what was found ------------------------------------------------------------------------------------------

    def _act(self, finding: Finding) -> None:
        if finding.slot == WITNESS:
            self._mend_witness(finding)
            return
        connection = next((one for one in self._connections() if one.name == finding.slot), None)
        if connection is None or not connection.connected:
            return
        if finding.fault is Fault.FROZEN:
            self._replace(connection, finding)
            return
        for market_id in finding.market_ids:
            book = connection.feed.books.get(market_id)
            if book is None:
                continue
            since_ns = max(book.ts_recv_ns, self._proved_ns.get(market_id, 0)) or None
            now_ns = self._clock.now_ns()
            if finding.fault is Fault.GONE:
                self.counters.gone += 1
                self._let_go(connection, market_id, now_ns, since_ns)
                continue
            if not connection.feed.distrust(market_id, now_ms=now_ns // 1_000_000, since_ns=since_ns):
                continue
            if finding.fault is Fault.MUTE:
                self.counters.mutes += 1
                # Before the feed's own report, which does not know the cause.
                gap = FeedEvent(
                    kind=FeedEventKind.GAP,
                    ts_recv_ns=now_ns,
                    market_id=market_id,
                    detail=finding.fault,
                    since_ns=since_ns,
                )
                self._report(connection, [gap])
            else:
                self.counters.missing_books += 1
            log.warning(
                "silence.found",
                venue=self._adapter.venue,
                fault=finding.fault,
                connection=connection.log_id,
                market_id=market_id,
                by=finding.by,
                silent_ms=0 if since_ns is None else (now_ns - since_ns) // 1_000_000,
            )
            connection.drain()

    def _let_go(self, connection: Connection, market_id: MarketId, now_ns: int, since_ns: int | None) -> None:
        """A market ended unheard: nothing is known since its last proof, and there is nothing to subscribe anew."""
        proven_ms = connection.feed.proven_ms(market_id)
        if proven_ms is not None and since_ns is not None:
            since_ns = min(since_ns, proven_ms * 1_000_000)
        log.warning(
            "silence.found",
            venue=self._adapter.venue,
            fault=Fault.GONE,
            connection=connection.log_id,
            market_id=market_id,
            silent_ms=0 if since_ns is None else (now_ns - since_ns) // 1_000_000,
        )
        gap = FeedEvent(
            kind=FeedEventKind.GAP, ts_recv_ns=now_ns, market_id=market_id, detail=Fault.GONE, since_ns=since_ns
        )
        gone = FeedEvent(kind=FeedEventKind.GONE, ts_recv_ns=now_ns, market_id=market_id, detail="REST has no book")
        self._report(connection, [gap, gone])

    def _replace(self, connection: Connection, finding: Finding) -> None:
        """Only a new connection cures a frozen one; nothing is known since its last change.

        A book that REST showed otherwise may have been wrong before that: it was right at its own last proof.
        """
        now_ns = self._clock.now_ns()
        since_ns = connection.feed.spoken_ns() or None
        self.counters.freezes += 1
        silent_ms = 0 if since_ns is None else (now_ns - since_ns) // 1_000_000
        log.warning(
            "silence.found",
            venue=self._adapter.venue,
            fault=finding.fault,
            connection=connection.log_id,
            market_ids=finding.market_ids,
            by=finding.by,
            silent_ms=silent_ms,
        )
        self._decider.acquit(finding.slot, now_ms=self._now_ms())
        gaps = []
        for market_id in finding.market_ids:
            book, proven_ms = connection.feed.books.get(market_id), connection.feed.proven_ms(market_id)
            if book is None or not book.live:
                continue
            own_ns = book.ts_recv_ns if proven_ms is None else proven_ms * 1_000_000
            if since_ns is not None and 0 < own_ns < since_ns:
                gaps.append(
                    FeedEvent(
                        kind=FeedEventKind.GAP,
                        ts_recv_ns=now_ns,
                        market_id=market_id,
                        detail=finding.fault,
                        since_ns=own_ns,
                    )
                )
        gaps.append(FeedEvent(kind=FeedEventKind.GAP, ts_recv_ns=now_ns, detail=finding.fault, since_ns=since_ns))
        self._report(connection, gaps)
        connection.abandon(f"frozen: silent for {silent_ms} ms, found by {finding.by}")

    # -- canaries ------------------------------------------------------------------------------------------------

    def _choose_canaries(self, now_ms: int) -> None:
        held = set(self.witness.feed.books) if self.witness is not None else set()
        rates = {one.name: self._decider.rates(one.name, now_ms=now_ms) for one in self._connections()}
        chosen = choose_canaries(held, rates, per_connection=self._settings.canaries_per_connection)
        markets = [market for m in sorted(chosen - held) if (market := self._market_of(m)) is not None]
        if markets:
            self._open_witness().add(markets)
        if self.witness is not None and held - chosen:
            self.witness.remove(sorted(held - chosen))

    def _open_witness(self) -> Connection:
        if self.witness is None:
            self.witness = Connection(
                name=f"{self._adapter.venue}-{WITNESS}",
                feed=self._adapter.make_feed(BookShelf(), Random(self._rng.getrandbits(64))),
                open_socket=self._adapter.open_socket,
                journal=None,
                clock=self._clock,
                rng=self._rng,
                pacer=self._pacer,
                on_events=lambda _connection, _events: None,
                run=self._run,
            )
            assert self._tasks is not None
            self._tasks.create_task(self.witness.run())
        return self.witness

    def _pairs(self) -> list[Pair]:
        """Every canary's two books, where both connections stand."""
        witness, pairs = self.witness, []
        if witness is None or not witness.connected:
            return []
        for market_id, witnessed in witness.feed.books.items():
            carrier = self._carrier(market_id)
            if carrier is not None and carrier.connected:
                pairs.append(Pair(market_id, carrier.name, carrier.feed.books[market_id], witnessed))
        return pairs

    def _mend_witness(self, finding: Finding) -> None:
        witness = self.witness
        if witness is None or not witness.connected:
            return
        self.counters.witness_faults += 1
        log.info(
            "silence.witness",
            venue=self._adapter.venue,
            fault=finding.fault,
            connection=witness.log_id,
            market_ids=finding.market_ids,
        )
        if finding.fault is Fault.FROZEN:
            witness.abandon("frozen")
            return
        for market_id in finding.market_ids:
            witness.feed.distrust(market_id, now_ms=self._clock.now_ms())
        witness.drain()

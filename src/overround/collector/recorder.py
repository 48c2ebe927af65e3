"""One venue's recording: connections, rotation, rows and files, under one roof."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import structlog

from overround import __version__
from overround.book import Book, BookShelf
from overround.clock import Clock
from overround.collector.checkpoint import Checkpoint, RunSettings, code_digest, freeze
from overround.collector.connection import Connection
from overround.collector.figures import RecorderFigures, RecorderTotals
from overround.collector.handover import Handed
from overround.collector.keeper import LedgerKeeper
from overround.collector.ownership import Hold
from overround.collector.placement import Placement
from overround.collector.polling import BookPoller, PolledFeed
from overround.collector.snapshots import Carrier, ProofBudget, Snapshotter
from overround.collector.status import VenueStatus
from overround.collector.watch import SilenceWatch
from overround.config import Settings, VenueSettings
from overround.errors import FileDamaged, LakeLocked, NothingStored, StorageError, VenueError
from overround.market import Integrity, Market, MarketId, Origin, Share
from overround.net import ConnectionPacer
from overround.scheduler import Limits, Plan, RotationState, market_stats, plan_rotation, rank
from overround.storage import (
    FrameJournal,
    LakePaths,
    LeftOpen,
    SnapshotWriter,
    newest_stats,
    newest_universe,
    refuse_other_counts,
)
from overround.timebucket import bucket_of
from overround.venue import FeedCounters, FeedEvent, FeedEventKind
from overround.venue.adapters import VenueAdapter
from overround.venue.prints import TradeDesk
from overround.venue.recent import RecentFrames
from overround.venue.sentinel import DriftSentinel

__all__ = ["VenueRecorder"]

log = structlog.get_logger()

TICK_MS = 200
PLAN_MS = 5_000
RATES_OVER_S = 0.9
ROWS_AT_ONCE = 500
# Rows may be taken so long after the end of a recording that changes hands.
LATE_MS = 150
# Milliseconds between two checkpoints in the journal; 0: at the beginning of every bucket.
STATE_MS = 0
# A checkpoint holds the loop up, and takes at most one part in so many of the time.
STATE_COST = 10_000
# Seconds of hash proofs per second; beyond it rows are stored as unverified.
PROOF_SHARE = 0.1


class VenueRecorder:
    """Records one venue until cancelled.

    Parameters
    ----------
    adapter : VenueAdapter
    settings : Settings
    venue_settings : VenueSettings
    paths : LakePaths
    clock : Clock
    rng : Random
    origin : Origin
    hold : Hold, optional
        Our right to record the share; rows are taken only as long as it is certain.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        *,
        settings: Settings,
        venue_settings: VenueSettings,
        paths: LakePaths,
        clock: Clock,
        rng: Random,
        origin: Origin,
        hold: Hold | None = None,
    ) -> None:
        self.venue = adapter.venue
        self._adapter = adapter
        self._settings = settings
        self._venue = venue_settings
        self._paths = paths
        self._clock = clock
        self._rng = rng
        self._shelf = BookShelf()
        self.share = share = Share.parse(settings.cluster.shard)
        self._hold = hold = hold or Hold(share=share)
        token = hold.tokens.get(adapter.venue, 0)
        storage = settings.storage
        self.writer = SnapshotWriter(
            paths, adapter.venue, settings=storage, top_k=settings.top_k, origin=origin, clock=clock, shard=share,
            token=token, lock=hold.locks.get(adapter.venue),
        )  # fmt: skip
        self.keeper = LedgerKeeper(
            paths, adapter.venue, settings=storage, origin=origin, clock=clock, share=share, token=token
        )
        self.ledger = self.keeper.ledger
        self.gaps = self.ledger.gaps
        self.run_id = f"{clock.now_ns():x}-{rng.getrandbits(32):08x}"
        self.log_run = self.run_id.rpartition("-")[2]
        self.journal = (
            FrameJournal(
                paths,
                adapter.venue,
                level=storage.journal_level,
                bucket_s=storage.bucket_secs,
                clock=clock,
                shard=share,
                run_id=self.run_id,
            )
            if storage.journal
            else None
        )
        self._budget = ProofBudget(share=PROOF_SHARE) if adapter.proves_after_the_fact else None
        self.snapshotter = Snapshotter(
            self.writer.buffer,
            stale_after_ms=settings.ingestion.stale_after_ms,
            keep_stored=adapter.proves_after_the_fact,
            budget=self._budget,
            monotonic_ns=clock.monotonic_ns,
            on_row=self._on_row,
        )
        self.trades = TradeDesk(adapter.venue)
        self._recent = RecentFrames(self.trades.see) if settings.drift.enabled or self.trades.joins else None
        self.drift: DriftSentinel | None = None
        if settings.drift.enabled:
            self.drift = DriftSentinel(
                paths, adapter.venue, adapter.shapes, settings=settings.drift, clock=clock, recent=self._recent
            )
            adapter.http.tap = self.drift.answer
        self._run = RunSettings(
            venue=adapter.venue,
            version=__version__,
            code=code_digest(),
            top_k=settings.top_k,
            outcomes=storage.outcomes,
            bucket_s=storage.bucket_secs,
            stale_after_ms=settings.ingestion.stale_after_ms,
            keep_stored=adapter.proves_after_the_fact,
            budgeted=self._budget is not None,
            feed=adapter.feed_options,
            poller="" if adapter.can_stream else f"{adapter.venue}-rest",
        )
        self._state_due_ms = sys.maxsize
        self._placement = Placement(adapter.markets_per_connection)
        self._connections: list[Connection] = []
        self._pacer = ConnectionPacer(clock, opens_per_s=venue_settings.open_per_second, rng=rng)
        self.silence = SilenceWatch(
            adapter,
            settings=settings.silence,
            clock=clock,
            rng=rng,
            pacer=self._pacer,
            connections=lambda: self._connections,
            # The listing is replaced as a whole.
            market_of=lambda market_id: self._markets.get(market_id),  # noqa: PLW0108
            report=self._on_events,
            run=self.log_run,
        )
        self._poller: BookPoller | None = None
        if not adapter.can_stream:
            self._poller = BookPoller(
                PolledFeed(self._shelf),
                adapter.book_source,
                clock=clock,
                name=self._run.poller,
                journal=self.journal,
            )
        self._markets: dict[MarketId, Market] = {}
        self._universe_version = ""
        self._stats_version = ""
        self._scores: Mapping[MarketId, float] = {}
        self._state = RotationState()
        self._plan: Plan | None = None
        self._ended: set[MarketId] = set()
        self._gone: set[MarketId] = set()
        self._live: set[MarketId] = set()
        self._repairs: dict[str, int] = {}
        self.listed = 0
        self.clock_steps = 0
        self._rest_wanted: asyncio.Queue[MarketId] = asyncio.Queue(maxsize=1_000)
        self._tasks: asyncio.TaskGroup | None = None
        self._limits = _limits_of(venue_settings)
        self.figures = RecorderFigures()
        self._flushed_ms = clock.now_ms()
        # Of the newest row of this run, and of the newest on disk.
        self._row_ms, self._durable_row_ms = 0, self._flushed_ms
        # While a recording changes hands: see ``handover``.
        self.frozen = False
        self._ends_ms = sys.maxsize
        self._awaited: frozenset[MarketId] | None = None
        self._begun = asyncio.Event()
        self._begun_ms = 0
        self._opened = False
        self._warning = ""
        self._frames_per_s = self._rows_per_s = 0.0
        self._last_frames = 0
        self._last_rows = 0
        self._last_status_ns = clock.monotonic_ns()

    # -- life ---------------------------------------------------------------------------------------

    def prepare(self) -> int:
        """Read the newest universe; returns how many markets it lists.

        Raises
        ------
        NothingStored
            If there is no universe file for this venue.
        """
        self._read_universe()
        return len(self._markets)

    def adjust(self, settings: Settings, venue_settings: VenueSettings) -> None:
        """Go on with other limits, intervals and periods; what else differs has no effect."""
        self._settings, self._venue = settings, venue_settings
        self._limits = _limits_of(venue_settings)
        self._pacer.opens_per_s = venue_settings.open_per_second
        if self._tasks is not None:
            if self._poller is None:
                self._placement.reserve(venue_settings.max_subs_per_venue)
            if not self.frozen:
                self._replan()

    async def run(self) -> None:
        """Record until cancelled; everything taken so far is on disk when this returns."""
        if self._awaited is None:
            self._open()
        self._mark_run()
        try:
            if self._awaited is None:
                self.keeper.start(newest_row_ms=self.writer.newest_row_ms)
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if self._poller is not None:
                    tasks.create_task(self._poller.run())
                else:
                    limits = self._venue
                    self._placement.reserve(limits.max_subs_per_venue)
                if self.drift is not None:
                    tasks.create_task(self.drift.run())
                if self._awaited is None:
                    self._write(tasks)
                else:
                    tasks.create_task(self._take_over(tasks))
                tasks.create_task(self._flush_loop())
                tasks.create_task(self._plan_loop())
                tasks.create_task(self._tick_loop())
                tasks.create_task(self._universe_loop())
                tasks.create_task(self._rest_loop())
                if self._poller is None:
                    tasks.create_task(self.silence.run())
        finally:
            # Shielded by being awaited after the task group has ended: a stop loses nothing.
            await self._finish()

    def _open(self) -> None:
        self.writer.start()
        self._opened = True
        try:
            refuse_other_counts(self._paths, self.venue, self.share)
        except LakeLocked:
            self.writer.abandon()
            raise
        self._durable_row_ms = self._newest_row_ms()

    def _write(self, tasks: asyncio.TaskGroup) -> None:
        if not self._begun.is_set():
            tasks.create_task(self._row_loop())
        tasks.create_task(self.keeper.run())

    async def _finish(self) -> None:
        if self.journal is not None:
            self.journal.flush()
        if self.drift is not None:
            self.drift.look()
        self._take_trades(None)
        if self._opened:
            await self._store()
        if self.journal is not None:
            written = self.writer.stats
            self._mark("stopped", rows=written.rows, lost=written.rows_waiting + written.rows_dropped)
            self.journal.close()
        if self.drift is not None:
            await self.drift.close()

    async def _store(self) -> None:
        try:
            # Rows first: what of them is lost stands in the ledger, if that can be written.
            saved = await self.writer.drain()
            self._note_lost()
            since_ms = self.writer.unsaved_since_ms
            if not saved and since_ms is not None:
                now_ms = self._clock.now_ms()
                self.ledger.lost(since_ms, now_ms, now_ms=now_ms)
            await self.keeper.stop()
        finally:
            await self.writer.stop()

    # -- changing hands -----------------------------------------------------------------------------

    def handed(self) -> Handed:
        """What a successor needs to know."""
        return Handed(rotation=self._state, live=tuple(sorted(self._live)))

    def end_at(self, cut_ms: int) -> None:
        """Take rows of before this only, and account for no later time."""
        self._ends_ms = self.ledger.ends_ms = cut_ms

    def follow(self, handed: Handed) -> None:
        """Hold what a running collector holds, and write nothing before ``begin_at``; to be called before ``run``."""
        self.frozen = True
        self._state = handed.rotation
        self._awaited = frozenset(handed.live)

    @property
    def n_awaited(self) -> int:
        """Books that the running collector has and we have not yet."""
        return sum(m in self._markets and m not in self._ended and m not in self._live for m in self._awaited or ())

    def begin_at(self, cut_ms: int) -> None:
        """Take rows from this instant on, which has just passed, and account for our time."""
        self._begun_ms = cut_ms
        self.ledger.start(LeftOpen(), now_ms=cut_ms)
        if self._plan is not None:
            self._take(self._plan, cut_ms)
        for market_id in self._live:
            carrier = self._carrier(market_id)
            book = None if carrier is None else carrier.feed.books.get(market_id)
            if carrier is not None and book is not None:
                self.ledger.right(
                    market_id,
                    "handed over",
                    now_ms=cut_ms,
                    verified=book.integrity is Integrity.VERIFIED,
                    proven_ms=carrier.feed.proven_ms(market_id),
                )
        self._begun.set()

    async def _take_over(self, tasks: asyncio.TaskGroup) -> None:
        await self._begun.wait()
        tasks.create_task(self._row_loop())
        await self._hold.certain.wait()
        token = self._hold.tokens[self.venue]
        self.writer.lease(token, self._hold.locks[self.venue])
        self._open()
        await self.keeper.follow(token, begun_ms=self._begun_ms, newest_row_ms=self.writer.newest_row_ms)
        self.frozen = False
        self._write(tasks)

    # -- loops --------------------------------------------------------------------------------------

    async def _plan_loop(self) -> None:
        if self._awaited is not None and self._plan is None:
            self._follow_plan()
        while True:
            if not self.frozen:
                self._replan()
            await self._clock.sleep_ms(PLAN_MS)

    async def _tick_loop(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            for connection in self._connections:
                connection.tick(now_ms)
            if self._poller is not None and self._poller.feed.events:
                events, self._poller.feed.events = self._poller.feed.events, []
                self._on_events(self._poller, events)
            self.ledger.connected(self._n_connected(), now_ms=now_ms)
            self._take_trades(now_ms)
            self._mark_state(now_ms)
            await self._clock.sleep_ms(TICK_MS)

    def _take_trades(self, now_ms: int | None) -> None:
        """Hand prints that are ready to the writer; with None all of them."""
        if self.drift is None and self._recent is not None:
            self._recent.take()
        for connection in self._connections:
            self.trades.add(connection.name, connection.feed.take_trades())
        trades = self.trades.take(now_ms=now_ms)
        if self._ends_ms < sys.maxsize or self._awaited is not None:
            # What came before our beginning and after our end is somebody else's.
            begin_ns = self._begun_ms * 1_000_000 if self._begun.is_set() else sys.maxsize
            begin_ns = 0 if self._awaited is None else begin_ns
            trades = [trade for trade in trades if begin_ns <= trade.ts_recv_ns < self._ends_ms * 1_000_000]
        self.writer.add_trades(trades)

    async def _row_loop(self) -> None:
        while True:
            # Those due just before the end are taken just after it; their time is that of the last instant before.
            late_ms = (now_ms := self._clock.now_ms()) - self._ends_ms
            now_ms = min(now_ms, self._ends_ms - 1)
            # In this order: a process that stands still in between takes rows of before, or none.
            if self._clock.monotonic_ns() >= self._hold.until_ns or late_ms > LATE_MS:
                await self._clock.sleep_ms(50)
                continue
            visited = self.snapshotter.run_due(now_ms, at_most=ROWS_AT_ONCE)
            if visited:
                self._mark_rows(now_ms, visited)
                self.writer.note_gaps(self.gaps.count)
            due = self.snapshotter.next_due_ms()
            wait = 50 if due is None else due - self._clock.now_ms()
            await self._clock.sleep_ms(0 if visited >= ROWS_AT_ONCE else max(1, min(wait, 50)))

    async def _flush_loop(self) -> None:
        journal_due = self._clock.now_ms()
        while True:
            await self._clock.sleep_ms(250)
            now_ms = self._clock.now_ms()
            if self._opened and self.writer.due(now_ms):
                taken, row_ms = self.writer.stats.rows, self._row_ms
                saved = await self.writer.flush(now_ms)
                self._note_lost()
                if saved:
                    written = self.writer.stats
                    self._flushed_ms, self._durable_row_ms = self._clock.now_ms(), row_ms or self._durable_row_ms
                    self.figures.flush.observe(written.last_flush_ms / 1000)
                    self._mark("durable", rows=taken, dropped=written.rows_dropped + written.rows_removed)
            if self.journal is not None and (now_ms >= journal_due or self.journal.pending_bytes > 4 << 20):
                journal_due = now_ms + self._settings.storage.journal_flush_secs * 1000
                await asyncio.to_thread(self.journal.flush)

    def _note_lost(self) -> None:
        lost = self.writer.take_lost_ms()
        if lost is not None:
            self.ledger.lost(*lost, now_ms=self._clock.now_ms())

    async def _universe_loop(self) -> None:
        while True:
            await self._clock.sleep_ms(self._settings.polling.universe_reload_secs * 1000)
            try:
                self._read_universe()
            except (NothingStored, FileDamaged) as exc:
                # The listing already held serves on; the file is somebody else's to mend.
                self._warning = str(exc)
                log.warning("universe.unreadable", venue=self.venue, reason=str(exc))

    async def _rest_loop(self) -> None:
        """Answer the feeds' wishes for REST books, a few markets at a time."""
        while True:
            wanted = {await self._rest_wanted.get()}
            while not self._rest_wanted.empty() and len(wanted) < 50:
                wanted.add(self._rest_wanted.get_nowait())
            await self._ask_rest([self._markets[m] for m in wanted if m in self._markets])

    async def _ask_rest(self, markets: Sequence[Market]) -> None:
        if not markets:
            return
        try:
            books = await self._adapter.book_source.books(markets)
        except VenueError as exc:
            log.warning(
                "rest_books.failed",
                venue=self.venue,
                markets=len(markets),
                repair=sorted({name for each in markets if (name := self._repair_id(each.market_id))}),
                reason=str(exc),
            )
            return
        now_ms = self._clock.now_ms()
        for book in books:
            connection = self._carrier(book.market_id)
            if isinstance(connection, Connection):
                connection.feed.rest_book(book, now_ms=now_ms)
                connection.drain()

    # -- universe and rotation ----------------------------------------------------------------------

    def _read_universe(self) -> None:
        """Take over a newer listing, and newer statistics, if there are any."""
        now_ms = self._clock.now_ms()
        found = newest_universe(self._paths, self.venue, now_ms=now_ms, known=self._universe_version)
        mined = _version(self._paths.all_stats(self.venue))
        if found is None and mined == self._stats_version:
            return
        if found is not None:
            self._universe_version = found.version
            self._markets = {m.market_id: m for m in found.markets if self.share.owns(m.market_id)}
            # What only REST denied is wanted again where a newer listing still has it.
            self._ended -= self._gone
            self._gone.clear()
            limit_ms = self._settings.polling.universe_max_age_hours * 3_600_000
            self._warning = ""
            age_h = found.age_ms / 3_600_000
            if found.age_ms > limit_ms:
                self._warning = f"universe is {age_h:.0f} h old: run `overround scan`"
                log.warning("universe.old", venue=self.venue, path=str(found.path), age_h=round(age_h, 1))
        self._stats_version = mined
        stats = market_stats(newest_stats(self._paths, self.venue))
        self._scores = rank(self._markets.values(), stats, now_ms=now_ms)
        scored_by = "stats" if stats else "activity"
        log.info("universe.read", venue=self.venue, markets=len(self._markets), scored_by=scored_by)

    def _replan(self) -> None:
        now_ms = self._clock.now_ms()
        markets = self._markets
        if self._ended:
            markets = {market_id: market for market_id, market in markets.items() if market_id not in self._ended}
        plan, self._state = plan_rotation(
            self._state, markets=markets, scores=self._scores, now_ms=now_ms, limits=self._limits, live=self._live
        )
        if plan.add or plan.remove:
            log.info(
                "rotation.planned",
                venue=self.venue,
                hot=len(plan.hot),
                warm=len(plan.warm),
                add=len(plan.add),
                remove=len(plan.remove),
            )
        self._apply(plan, now_ms)

    def _follow_plan(self) -> None:
        """Subscribe what the running collector holds."""
        hot, warm, leaving = (
            frozenset(m for m in held if m in self._markets)
            for held in (self._state.hot, self._state.warm, self._state.leaving)
        )
        self._plan = Plan(hot=hot, warm=warm, leaving=leaving, add=tuple(sorted(hot | warm | leaving)))
        self._subscribe(self._plan, self._clock.now_ms())
        if self._poller is not None:
            self._poller.set_intervals(self._intervals_of(self._plan))

    def _apply(self, plan: Plan, now_ms: int) -> None:
        self._subscribe(plan, now_ms)
        self._take(plan, now_ms)
        self._unsubscribe(plan.remove, now_ms)

    def _subscribe(self, plan: Plan, now_ms: int) -> None:
        added = [self._markets[market_id] for market_id in plan.add]
        if self._poller is not None:
            self._poller.feed.add(added, now_ms=now_ms)
        else:
            for slot, market_ids in self._placement.put(plan.add).items():
                self._slot(slot).add([self._markets[market_id] for market_id in market_ids])

    def _take(self, plan: Plan, now_ms: int) -> None:
        """Rows of these markets from now on, at these intervals."""
        intervals = self._intervals_of(plan)
        takes: list[tuple[MarketId, str, int]] = []
        for market_id, (market, interval_ms) in intervals.items():
            carrier = self._carrier(market_id)
            if carrier is not None and self.snapshotter.put(
                market_id, market.outcome_ids, carrier, interval_ms=interval_ms, now_ms=now_ms
            ):
                takes.append((market_id, carrier.name, interval_ms))
        if takes:
            self._mark("take", ms=now_ms, takes=takes)
        if self._poller is not None:
            self._poller.set_intervals(intervals)
        self._plan = plan
        self.ledger.hold(
            {"leaving": plan.leaving, "warm": plan.warm, "hot": plan.hot},
            now_ms=now_ms,
            outcomes_of=self._stored_outcomes,
            score_of=lambda market_id: self._scores.get(market_id, 0.0),
            seq_of=self._seq_of,
        )

    def _intervals_of(self, plan: Plan) -> dict[MarketId, tuple[Market, int]]:
        """Each listed market of a plan, and how often a row of it is due."""
        hot_ms, warm_ms = self._venue.snapshot_interval_ms_hot, self._venue.snapshot_interval_ms_warm
        sets = ((plan.warm, warm_ms), (plan.leaving, warm_ms), (plan.hot, hot_ms))
        return {m: (self._markets[m], ms) for held, ms in sets for m in held if m in self._markets}

    def _stored_outcomes(self, market_id: MarketId) -> Sequence[str]:
        market = self._markets.get(market_id)
        if market is None:
            return ()
        return market.outcome_ids if self._settings.storage.outcomes == "both" else market.outcome_ids[:1]

    def _seq_of(self, market_id: MarketId) -> int:
        book = self._shelf.get(market_id)
        return 0 if book is None else book.seq

    def _unsubscribe(self, market_ids: Sequence[MarketId], now_ms: int) -> None:
        if not market_ids:
            return
        self._mark("drop", market_ids=list(market_ids))
        self.snapshotter.drop(market_ids)
        for market_id in market_ids:
            self._live.discard(market_id)
            self.figures.forget(market_id)
        if self._poller is not None:
            self._poller.feed.remove(market_ids, now_ms=now_ms)
            return
        for slot, ids in self._placement.take(market_ids).items():
            self._connections[slot].remove(ids)

    def _carrier(self, market_id: MarketId) -> Connection | BookPoller | None:
        if self._poller is not None:
            return self._poller
        slot = self._placement.slot_of(market_id)
        return None if slot is None else self._slot(slot)

    def _slot(self, number: int) -> Connection:
        while len(self._connections) <= number:
            name, seed = f"{self.venue}-{len(self._connections)}", self._rng.getrandbits(64)
            now_ms = self._clock.now_ms()
            # One connection tells of markets that nobody holds; on every one it would be told as many times.
            follow_all = not self._connections
            self._mark("slot", f"{name}.0", ms=now_ms, seed=seed, follow_all=follow_all)
            connection = Connection(
                name=name,
                feed=self._adapter.make_feed(self._shelf, Random(seed), follow_all=follow_all),
                open_socket=self._adapter.open_socket,
                journal=self.journal,
                clock=self._clock,
                rng=self._rng,
                pacer=self._pacer,
                on_events=self._on_events,
                sentinel=self.drift,
                recent=self._recent,
                run=self.log_run,
            )
            connection.down_since_ms = now_ms
            self._connections.append(connection)
            if self._tasks is not None:
                self._tasks.create_task(connection.run())
        return self._connections[number]

    # -- what a replay needs besides the frames ------------------------------------------------------

    def _mark(self, event: str, conn: str = "", **fields: object) -> None:
        if self.journal is not None:
            self.journal.mark(conn, self._clock.now_ns(), event, **fields)

    def _mark_run(self) -> None:
        self._mark("run", settings=self._run)
        if self.journal is not None:
            self._state_due_ms = self._next_state_ms(self._clock.now_ms())

    def _mark_state(self, now_ms: int) -> None:
        """Once per bucket, all that later rows depend on: a replay can begin here."""
        if now_ms < self._state_due_ms:
            return
        started_ns = self._clock.monotonic_ns()
        carriers = self.carriers
        state = Checkpoint(
            shelf=self._shelf,
            budgets=self._adapter.repair_budgets,
            feeds={carrier.name: carrier.untaped for carrier in carriers},
            down_since_ms={carrier.name: carrier.down_since_ms for carrier in carriers},
            plans=self.snapshotter.plans(),
            rows=self.writer.stats.rows,
        )
        try:
            self._mark("state", settings=self._run, state=freeze(state))
        except TypeError as exc:
            log.warning("journal.no_state", venue=self.venue, reason=str(exc))
        took_ms = (self._clock.monotonic_ns() - started_ns) // 1_000_000
        self._state_due_ms = max(self._next_state_ms(now_ms), now_ms + took_ms * STATE_COST)

    def _next_state_ms(self, now_ms: int) -> int:
        return now_ms + STATE_MS if STATE_MS else bucket_of(now_ms, self._run.bucket_s).end_ms

    def _mark_rows(self, now_ms: int, visited: int) -> None:
        """Rows were taken here, between these frames; and which of them no proof was made for."""
        answers: list[bool] = []
        if self._budget is not None:
            answers, self._budget.answers = self._budget.answers, answers
        unproved = [number for number, allowed in enumerate(answers) if not allowed]
        self._mark("rows", ms=now_ms, n=visited, unproved=unproved)

    # -- reports ------------------------------------------------------------------------------------

    def _on_events(self, carrier: Connection | BookPoller, events: Sequence[FeedEvent]) -> None:
        # So that all lines of one connection, or of one repair, can be found among the others.
        told = log.bind(venue=self.venue, connection=carrier.log_id)
        for event in events:
            now_ms = event.ts_recv_ns // 1_000_000
            kind, market_id = event.kind, event.market_id
            if kind is FeedEventKind.LIVE or kind is FeedEventKind.REPAIRED:
                self._live.add(market_id)
                book = carrier.feed.books.get(market_id)
                gap = self.ledger.right(
                    market_id,
                    event.detail or kind,
                    now_ms=now_ms,
                    verified=book is not None and book.integrity is Integrity.VERIFIED,
                    proven_ms=carrier.feed.proven_ms(market_id),
                )
                if gap is not None:
                    self.figures.repair.observe((now_ms - gap.start_ms) / 1000)
                    told.info(
                        "book.repaired",
                        repair=self.repair_name(gap.repair_no),
                        market_id=market_id,
                        cause=gap.cause,
                        by=gap.repair,
                        took_ms=now_ms - gap.start_ms,
                    )
            elif kind is FeedEventKind.GAP:
                hit = [market_id] if market_id else [m for m, book in carrier.feed.books.items() if book.had_book]
                self._live.difference_update(hit)
                cause, _, detail = event.detail.partition(": ")
                self.figures.gaps[cause] += len(hit)
                repair_no = self.ledger.wrong(
                    hit,
                    cause,
                    now_ms=now_ms,
                    since_ms=None if event.since_ns is None else event.since_ns // 1_000_000,
                    connection=carrier.connection_id if isinstance(carrier, Connection) else "",
                    detail=detail,
                )
                if not market_id:
                    self._repairs[carrier.name] = repair_no
                told.warning(
                    "book.gap",
                    repair=self.repair_name(repair_no),
                    market_id=market_id,
                    cause=event.detail,
                    markets=len(hit),
                )
            elif kind is FeedEventKind.MARKED:
                told.error(
                    "book.marked",
                    repair=self._repair_id(market_id),
                    market_id=market_id,
                    cause=event.detail,
                    wrong_ms=event.took_ms,
                )
            elif kind is FeedEventKind.RESYNC:
                self.ledger.step(market_id)
                self.figures.steps[event.detail] += 1
                told.debug(
                    "feed.event",
                    # A step for all of a connection's markets names none.
                    repair=self._repair_id(market_id) or self.repair_name(self._repairs.get(carrier.name, 0)),
                    market_id=market_id,
                    what=kind,
                    detail=event.detail,
                )
            elif kind is FeedEventKind.REST_WANTED:
                if not self._rest_wanted.full():
                    self._rest_wanted.put_nowait(market_id)
            elif kind is FeedEventKind.CLOSED or kind is FeedEventKind.RESOLVED:
                if market_id in self._markets:
                    self._ended.add(market_id)
                self.ledger.closed(market_id, now_ms=now_ms)
                told.info("market.ended", market_id=market_id, how=kind, detail=event.detail)
            elif kind is FeedEventKind.GONE:
                # Its gap ends when the rotation lets go of it.
                self._ended.add(market_id)
                self._gone.add(market_id)
                told.info("market.ended", market_id=market_id, how=kind, detail=event.detail)
            elif kind is FeedEventKind.LISTED:
                # A hint only: the next scan brings the listing with all its fields.
                self.listed += 1
                told.info("market.listed", market_id=market_id, title=event.detail)
            elif kind is FeedEventKind.REJECTED or kind is FeedEventKind.REFUSED:
                told.warning("feed.refused", market_id=market_id, what=kind, detail=event.detail)
            else:
                told.debug("feed.event", market_id=market_id, what=kind, detail=event.detail)

    def _repair_id(self, market_id: MarketId) -> str | None:
        return self.repair_name(self.gaps.repair_of(market_id))

    def repair_name(self, repair_no: int) -> str | None:
        """The repair's name in the log, as no other repair of any run bears it: ``kalshi-r17@1a2b3c4d``."""
        return f"{self.venue}-r{repair_no}@{self.log_run}" if repair_no else None

    def _on_row(self, carrier: Carrier, market_id: MarketId, book: Book, verdict: Integrity, now_ms: int) -> None:
        feed = carrier.feed
        self._row_ms = now_ms
        self.figures.book(market_id, book)
        if feed.events and isinstance(carrier, Connection):
            carrier.drain()  # a proof that failed says more of the gap than the row does
        self.ledger.observe(
            market_id,
            live=book.live,
            integrity=verdict,
            proven_ms=feed.proven_ms(market_id),
            seq=book.seq,
            err=book.err,
            now_ms=now_ms,
        )

    def _n_connected(self) -> int:
        if self._poller is not None:
            return int(self._poller.down_since_ms is None)
        return sum(connection.connected for connection in self._connections)

    @property
    def connections(self) -> Sequence[Connection]:
        """All connection slots opened so far."""
        return tuple(self._connections)

    @property
    def carriers(self) -> Sequence[Connection | BookPoller]:
        """Whatever brings books: the connections, or the poller."""
        return tuple(self._connections) if self._poller is None else (self._poller,)

    @property
    def polls(self) -> bool:
        """Whether books are polled."""
        return self._poller is not None

    def held(self) -> Iterator[tuple[Market, Book]]:
        """The markets subscribed at present, and their books."""
        return ((self._markets[m], book) for m, book in self._shelf.items() if m in self._markets)

    def listing(self, market_id: MarketId) -> Market | None:
        """What is known of a market."""
        return self._markets.get(market_id)

    def counters(self) -> FeedCounters:
        """The sum of all connections' counters."""
        total = FeedCounters()
        for feed in (carrier.feed for carrier in self.carriers):
            for name in FeedCounters.__struct_fields__:
                if name == "unknown":
                    for kind, n in feed.counters.unknown.items():
                        total.unknown[kind] = total.unknown.get(kind, 0) + n
                else:
                    setattr(total, name, getattr(total, name) + getattr(feed.counters, name))
        return total

    def status(self) -> VenueStatus:
        """Where this venue stands; rates are of the last second at least, since an earlier call."""
        now_ns, now_ms = self._clock.monotonic_ns(), self._clock.now_ms()
        seconds = max(1e-9, (now_ns - self._last_status_ns) / 1e9)
        counters, rows = self.counters(), self.snapshotter.rows
        if seconds >= RATES_OVER_S:
            self._frames_per_s = (counters.frames - self._last_frames) / seconds
            self._rows_per_s = (rows - self._last_rows) / seconds
            self._last_frames, self._last_rows, self._last_status_ns = counters.frames, rows, now_ns
        verified = self.snapshotter.by_integrity[Integrity.VERIFIED]
        written = self.writer.stats
        drift = self.drift.counters() if self.drift is not None else None
        http = self._adapter.http
        asked = http.counters()
        return VenueStatus(
            venue=self.venue,
            mode="polling" if self._poller is not None else "socket",
            connections=len(self._connections) or int(self._poller is not None),
            connected=self._n_connected(),
            subscriptions=len(self._shelf),
            live=len(self._live),
            hot=len(self._plan.hot) if self._plan else 0,
            warm=len(self._plan.warm) if self._plan else 0,
            frames=counters.frames,
            changes=counters.changes,
            trades=counters.trades,
            frames_per_s=self._frames_per_s,
            snapshots_per_s=self._rows_per_s,
            snapshots=rows,
            rows=written.rows,
            rows_waiting=written.rows_waiting,
            flushes=written.flushes,
            last_flush_ms=written.last_flush_ms,
            last_flush_age_ms=now_ms - self._flushed_ms,
            oldest_book_ms=self._oldest_book_ms(now_ms),
            flush_failures=written.failures,
            files=written.files,
            bytes_written=written.bytes_written,
            journal_bytes=self.journal.bytes_written if self.journal is not None else 0,
            gaps=counters.gaps,
            open_gaps=self.gaps.n_open,
            repairs=counters.repairs,
            resyncs=counters.resyncs,
            marked=counters.marked,
            reconnects=sum(connection.reconnects for connection in self._connections),
            rejected=counters.rejected,
            unknown=sum(counters.unknown.values()),
            verified_share=verified / rows if rows else math.nan,
            verified_minutes=self.ledger.seconds.verified_share,
            row_verdicts=written.verdicts,
            book_verdicts=self.snapshotter.verdicts(now_ms),
            listed=self.listed,
            suspicions=self.silence.counters.suspicions,
            audits=self.silence.counters.audits,
            freezes=self.silence.counters.freezes,
            mutes=self.silence.counters.mutes,
            missing_books=self.silence.counters.missing_books,
            drift=drift.names if drift else 0,
            quarantined=drift.kept if drift else 0,
            requests=asked["requests"],
            request_failures=asked["failures"],
            rate_limited=asked["rate_limited"],
            breakers={host: str(state) for host, state in http.breaker_states().items()},
            journal_failures=self.journal.failures if self.journal is not None else 0,
            journal_waiting=self.journal.unsaved_bytes if self.journal is not None else 0,
            ledger_failures=self.keeper.failures,
            ledger_waiting=self.keeper.rows_waiting,
            clock_steps=self.clock_steps,
            warning=f"the disk refuses rows: {written.last_error}" if written.last_error else self._warning,
        )

    def totals(self) -> RecorderTotals:
        """What the parts have counted, beside the status."""
        written = self.writer.stats
        return RecorderTotals(
            feed=self.counters(),
            silence=self.silence.counters,
            seconds=self.ledger.seconds,
            http=self._adapter.http.counters(),
            rows_given_up=written.rows_dropped,
            rows_removed=written.rows_removed,
            newest_row_age_ms=max(0, self._clock.now_ms() - self._durable_row_ms),
        )

    def _newest_row_ms(self) -> int:
        try:
            found = self.writer.newest_row_ms([self.share])
        except (OSError, StorageError):
            found = None  # the files are somebody else's to mend, and a figure keeps no recording from beginning
        return self._clock.now_ms() if found is None else found

    def _oldest_book_ms(self, now_ms: int) -> int:
        proven = (
            carrier.feed.proven_ms(market_id)
            for market_id in self._live
            if (carrier := self._carrier(market_id)) is not None
        )
        return max((now_ms - ms for ms in proven if ms is not None), default=0)


def _limits_of(venue: VenueSettings) -> Limits:
    return Limits(
        max_subs=venue.max_subs_per_venue,
        hot_count=venue.hot_count,
        rotation_period_ms=venue.rotation_period_secs * 1000,
        churn_per_minute=venue.subscription_churn_limit_per_minute,
    )


def _version(files: Sequence[Path]) -> str:
    """Changes when the newest of the files does."""
    if not files:
        return ""
    stat = files[-1].stat()
    return f"{files[-1]}/{stat.st_mtime_ns}/{stat.st_size}"

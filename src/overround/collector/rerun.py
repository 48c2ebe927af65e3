"""A recording run made again from its journal: the same feeds, the same calls, the same rows.

Nothing here waits, sends or reads a clock: frames, calls and times come from the journal, in the order in which they
were made. What a replay of the frames alone would have to guess (when a connection was found dead, what REST said, how
much was proved before a row was taken) is a line of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import msgspec

from overround.book import Book, BookShelf
from overround.collector.checkpoint import RunSettings, thaw
from overround.collector.polling import PolledFeed
from overround.collector.snapshots import Carrier, ProofBudget, Snapshotter
from overround.errors import UNREADABLE, FileDamaged
from overround.market import Integrity, Market, MarketId, OutcomeId, Trade
from overround.storage.buffer import Cut, SnapshotBuffer
from overround.storage.journal import JournalEntry
from overround.venue import Feed, RestBook
from overround.venue.adapters import make_feed
from overround.venue.prints import TradeDesk
from overround.venue.recent import Frame
from overround.venue.repair import RepairBudgets

__all__ = ["Mark", "Rerun", "Tally", "decode_entry", "decode_mark"]

CUT_ROWS = 20_000
MINUTE_MS = 60_000


class Mark(msgspec.Struct, gc=False):
    """Any line that is not a frame; the fields that its event has not are at their defaults."""

    event: str
    conn: str = ""
    ns: int = 0
    ms: int = 0
    seed: int = 0
    follow_all: bool = False
    reason: str = ""
    since_ns: int | None = None
    markets: list[Market] = []
    market_ids: list[MarketId] = []
    book: RestBook | None = None
    books: list[RestBook] = []
    same: dict[MarketId, int | None] = {}
    takes: list[tuple[MarketId, str, int]] = []
    n: int = 0
    unproved: list[int] = []
    rows: int = 0
    dropped: int = 0
    lost: int = 0
    entries: int = 0
    run: str = ""
    number: int = 0
    settings: RunSettings | None = None
    state: bytes = b""


decode_entry = msgspec.json.Decoder(JournalEntry).decode
decode_mark = msgspec.json.Decoder(Mark).decode


@dataclass(slots=True)
class Tally:
    """What the ledger counts of one market in one minute.

    Attributes
    ----------
    snapshots, updates : int
    whole : bool
        Whether ``updates`` is known: after a checkpoint the first row of a market has none before it.
    """

    snapshots: int = 0
    updates: int = 0
    whole: bool = True


class _Slot:
    """A connection without its socket: the carrier of some markets."""

    __slots__ = ("down_since_ms", "due", "feed", "name")

    def __init__(self, name: str, feed: Feed, down_since_ms: int | None) -> None:
        self.name = name
        self.feed = feed
        self.down_since_ms = down_since_ms
        # What the feed wants to send; the journal says what was sent.
        self.due: deque[str] = deque()


class _JournalledBudget(ProofBudget):
    """Refuses the proofs that were refused then."""

    def __init__(self) -> None:
        super().__init__(share=1.0)
        self.refused: frozenset[int] = frozenset()
        self._number = 0

    def begin(self, refused: list[int]) -> None:
        """The next proofs are those of one visit."""
        self.refused, self._number = frozenset(refused), 0

    def allows(self, now_ns: int) -> bool:  # noqa: ARG002 - the budget's signature
        number, self._number = self._number, self._number + 1
        return number not in self.refused

    def spend(self, took_ns: int) -> None:
        """Time is no matter here."""


class Rerun:
    """Makes the rows of one run again.

    Parameters
    ----------
    settings : RunSettings
    trades : bool
        Whether ``trades`` will be asked for.

    Attributes
    ----------
    rows : int
        Rows made (and before a checkpoint: taken) so far.
    ready : bool
        The run's beginning or a checkpoint has been seen: rows can be made.
    began_ms, now_ms : int
        Time of the first and of the last rows taken; 0 before.
    durable_ms : int
        Rows up to here were on disk, as the journal says.
    dropped : int
        Rows that the disk refused for good.
    stopped : bool
        The run ended cleanly.
    frames : int
        Frames applied.
    diverged : str
        The first command that the feeds did not want to send as it was sent; empty while all are equal.
    tallies : dict of int to dict of MarketId to Tally
        By minute (its start, ms) and market.
    """

    def __init__(self, settings: RunSettings, *, trades: bool = False) -> None:
        self.settings = settings
        self._shelf = BookShelf()
        self._budgets = RepairBudgets()
        self._buffer = SnapshotBuffer(outcomes="both" if settings.outcomes == "both" else "first")
        self._budget = _JournalledBudget() if settings.budgeted else None
        self._snapshotter = self._new_snapshotter()
        self._slots: dict[str, _Slot] = {}
        self._by_conn: dict[str, _Slot] = {}
        self._outcomes: dict[MarketId, tuple[OutcomeId, ...]] = {}
        self.tallies: dict[int, dict[MarketId, Tally]] = {}
        # The seq that each market's last row had, or its book when rows began; None after a checkpoint.
        self._row_seq: dict[MarketId, int | None] = {}
        self._passes: deque[tuple[int, int]] = deque()
        self._taken_before = 0
        self.ready = False
        self.began_ms = self.now_ms = 0
        self.durable_ms = 0
        self.dropped = 0
        self.stopped = False
        self.frames = 0
        self.diverged = ""
        self._desk = TradeDesk(settings.venue)
        self._joins = trades and self._desk.joins
        self._frames: list[Frame] = []
        self._early: list[JournalEntry] = []
        if settings.poller:
            self._slots[settings.poller] = _Slot(settings.poller, PolledFeed(self._shelf), None)

    @property
    def rows(self) -> int:
        """Rows taken by the run so far."""
        return self._taken_before + self._buffer.rows

    def take(self, entry: JournalEntry, line: bytes) -> Iterator[Cut]:
        """Take one line; yields what was made of it when it is time to hand rows on.

        Raises
        ------
        FileDamaged
            If a line cannot be understood: nothing after it can be trusted.
        """
        recv_ns = entry.recv_ns
        if self._early and entry.sent_ns is None and entry.event != "rows":
            self._settle_early()
        if recv_ns is not None:
            if self.ready:
                slot = self._slot(entry.conn)
                wire = entry.wire
                slot.feed.receive(wire, recv_ns)
                self.frames += 1
                if self._joins:
                    self._frames.append((entry.conn, recv_ns, wire))
                if slot.feed.outbox or slot.feed.events:
                    self._drain(slot)
        elif entry.sent_ns is not None:
            if self.ready:
                self._sent(entry)
        elif entry.event:
            try:
                mark = decode_mark(line)
            except UNREADABLE as exc:
                raise FileDamaged(f"journal line {entry.event!r}: {exc}") from exc
            yield from self._mark(mark)
            if self._early:
                self._settle_early()

    def cut(self) -> Cut | None:
        """Rows that have not been handed on."""
        if not self._buffer.rows:
            return None
        self._taken_before += self._buffer.rows
        return self._buffer.cut()

    def trades(self, *, now_ms: int | None) -> list[Trade]:
        """Trades that are ready; with None all of them. Asked for again and again while the run is made."""
        self._desk.see(self._frames)
        self._frames.clear()
        for slot in self._slots.values():
            self._desk.add(slot.name, slot.feed.take_trades())
        return self._desk.take(now_ms=now_ms)

    # -- inside ---------------------------------------------------------------------------------------

    def _new_snapshotter(self) -> Snapshotter:
        return Snapshotter(
            self._buffer,
            stale_after_ms=self.settings.stale_after_ms,
            keep_stored=self.settings.keep_stored,
            budget=self._budget,
            on_row=self._on_row,
        )

    def _on_row(self, carrier: Carrier, market_id: MarketId, book: Book, verdict: Integrity, now_ms: int) -> None:  # noqa: ARG002 - the snapshotter's signature
        # A minute's end belongs to it, as in the ledger: what is counted is what has passed.
        minute = (now_ms - 1) // MINUTE_MS * MINUTE_MS
        tallies = self.tallies.setdefault(minute, {})
        tally = tallies.get(market_id)
        if tally is None:
            tally = tallies[market_id] = Tally()
        tally.snapshots += 1
        before = self._row_seq.get(market_id)
        if before is None:
            tally.whole = False
        else:
            tally.updates += max(0, book.seq - before)
        self._row_seq[market_id] = book.seq

    @property
    def outcomes(self) -> dict[MarketId, tuple[OutcomeId, ...]]:
        """Outcomes of which rows were stored, of every market seen."""
        both = self.settings.outcomes == "both"
        return {market_id: ids if both else ids[:1] for market_id, ids in self._outcomes.items()}

    def _slot(self, conn: str) -> _Slot:
        slot = self._by_conn.get(conn)
        if slot is None:
            name = conn.rpartition(".")[0] or conn
            try:
                slot = self._by_conn[conn] = self._slots[name]
            except KeyError:
                raise FileDamaged(f"the journal has lines of {conn} and none that began it") from None
        return slot

    def _drain(self, slot: _Slot) -> None:
        feed = slot.feed
        if feed.outbox:
            slot.due.extend(feed.outbox)
            feed.outbox = []
        if feed.events:
            feed.events = []

    def _sent(self, entry: JournalEntry) -> None:
        if self._early or not self._slot(entry.conn).due:
            # A row's proof that fails sends at once; the line that tells of the rows comes after it.
            self._early.append(entry)
        else:
            self._compare(entry)

    def _settle_early(self) -> None:
        early, self._early = self._early, []
        for entry in early:
            self._compare(entry)

    def _compare(self, entry: JournalEntry) -> None:
        due = self._slot(entry.conn).due
        text = entry.wire.decode()
        if not self.diverged and (not due or (due[0] != text and _orderless(due[0]) != _orderless(text))):
            self.diverged = f"{entry.conn} sent {text[:200]} and would now send {due[0][:200] if due else 'nothing'}"
        if due:
            due.popleft()

    def _mark(self, mark: Mark) -> Iterator[Cut]:
        event = mark.event
        if event == "rows":
            if self.ready:
                yield from self._take_rows(mark)
        elif event == "durable":
            self._is_durable(mark)
        elif event == "state":
            if not self.ready:
                self._resume(mark)
        elif event == "run":
            self.ready = True
        elif event == "stopped":
            self.stopped = True
            self.dropped += mark.lost
        elif self.ready:
            self._call(mark)

    def _take_rows(self, mark: Mark) -> Iterator[Cut]:
        bucket_ms = self.settings.bucket_s * 1000
        if mark.ms // bucket_ms != self.now_ms // bucket_ms or self._buffer.rows >= CUT_ROWS:
            cut = self.cut()
            if cut is not None:
                yield cut
        self.now_ms = mark.ms
        self.began_ms = self.began_ms or mark.ms
        if self._budget is not None:
            self._budget.begin(mark.unproved)
        visited = self._snapshotter.run_due(mark.ms, at_most=mark.n)
        self._passes.append((self.rows, mark.ms))
        for slot in self._slots.values():
            # A verdict may begin a repair.
            self._drain(slot)
        if visited != mark.n:
            raise FileDamaged(f"{mark.n} markets' rows were taken at {mark.ms}, the replay has {visited} due")

    def _is_durable(self, mark: Mark) -> None:
        self.dropped = max(self.dropped, mark.dropped)
        while self._passes and self._passes[0][0] <= mark.rows:
            self.durable_ms = self._passes.popleft()[1]

    def _resume(self, mark: Mark) -> None:
        state = thaw(mark.state)
        self._shelf, self._budgets = state.shelf, state.budgets
        self._slots = {name: _Slot(name, feed, state.down_since_ms.get(name)) for name, feed in state.feeds.items()}
        self._by_conn.clear()
        self._taken_before = state.rows
        self._snapshotter = self._new_snapshotter()
        self._snapshotter.resume(state.plans, self._slots)
        self._outcomes = {market_id: outcome_ids for market_id, outcome_ids, *_ in state.plans.markets}
        self._row_seq = dict.fromkeys(self._outcomes)
        self.ready = True

    def _call(self, mark: Mark) -> None:
        event, now_ms = mark.event, mark.ms
        if event == "slot":
            name = mark.conn.rpartition(".")[0]
            feed = make_feed(
                self.settings.venue,
                self.settings.feed,
                self._shelf,
                Random(mark.seed),
                follow_all=mark.follow_all,
                budgets=self._budgets,
            )
            self._slots[name] = _Slot(name, feed, now_ms)
            return
        if event == "take":
            for market_id, name, interval_ms in mark.takes:
                if market_id not in self._row_seq:
                    book = self._shelf.get(market_id)
                    self._row_seq[market_id] = 0 if book is None else book.seq
                self._snapshotter.put(
                    market_id, self._outcomes[market_id], self._slots[name], interval_ms=interval_ms, now_ms=now_ms
                )
            return
        if event == "drop":
            self._snapshotter.drop(mark.market_ids)
            for market_id in mark.market_ids:
                self._row_seq.pop(market_id, None)
            return
        if not mark.conn:
            return
        slot = self._slot(mark.conn)
        feed = slot.feed
        if event == "add":
            self._outcomes.update((market.market_id, market.outcome_ids) for market in mark.markets)
            feed.add(mark.markets, now_ms=now_ms)
        elif event == "remove":
            feed.remove(mark.market_ids, now_ms=now_ms)
        elif event == "tick":
            feed.tick(now_ms=now_ms)
        elif event == "opened":
            slot.due.clear()
            slot.down_since_ms = None
            feed.opened(now_ms=now_ms)
        elif event == "closed":
            slot.due.clear()
            if not self.settings.poller or slot.down_since_ms is None:
                slot.down_since_ms = now_ms
            feed.lost(now_ms=now_ms, reason=mark.reason)
        elif event == "rest_book" and mark.book is not None:
            feed.rest_book(mark.book, now_ms=now_ms)
        elif event == "distrust":
            for market_id in mark.market_ids:
                feed.distrust(market_id, now_ms=now_ms, since_ns=mark.since_ns)
        elif event == "polled":
            slot.down_since_ms = None
            self._polled(feed, mark)
        self._drain(slot)

    @staticmethod
    def _polled(feed: Feed, mark: Mark) -> None:
        for market_id, ts_venue_ms in mark.same.items():
            held = feed.books[market_id]
            book = RestBook(market_id=market_id, bids=dict(held.bids), asks=dict(held.asks), ts_venue_ms=ts_venue_ms)
            feed.rest_book(book, now_ms=mark.ms)
        for book in mark.books:
            feed.rest_book(book, now_ms=mark.ms)


def _orderless(text: str) -> object:
    """A command without the order of its lists: some name markets in the order of a set, which no two processes share."""
    try:
        return _sorted(msgspec.json.decode(text))
    except UNREADABLE:
        return text


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else value

"""When each market's row is due, and what the row says."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from overround.book import Book
from overround.errors import ValueOutOfScale
from overround.market import BookStatus, ErrCode, Integrity, MarketId, OutcomeId
from overround.venue import Feed

__all__ = ["Carrier", "Plans", "ProofBudget", "Snapshotter", "Target"]


class Carrier(Protocol):
    """The connection (or poller) that keeps a market's book.

    Attributes
    ----------
    name : str
        The slot's name.
    down_since_ms : int or None
        Since when there has been no connection; None while it stands.
    """

    name: str
    down_since_ms: int | None

    @property
    def feed(self) -> Feed:
        """Whose books they are."""
        ...


class RowSink(Protocol):
    """Where rows go: ``storage.SnapshotBuffer``."""

    def register(self, market_id: MarketId, outcome_ids: tuple[OutcomeId, ...]) -> int:
        """Key of a market for ``append``."""
        ...

    def append(
        self,
        key: int,
        ts_recv_ms: int,
        bids: dict[int, int],
        asks: dict[int, int],
        *,
        seq: int,
        source_ts: int | None,
        stale: bool,
        err: str | None,
        integrity: str | None,
    ) -> None:
        """Take one row per outcome."""
        ...


@dataclass(slots=True)
class _Stored:
    """The content of the last row stored as live; what rows show while a repair runs."""

    bids: dict[int, int]
    asks: dict[int, int]
    seq: int
    ts_venue_ms: int | None


@dataclass(slots=True)
class Target:
    """One market whose rows are taken.

    Attributes
    ----------
    key : int
        The sink's key.
    interval_ms : int
    generation : int
        Tells a live heap entry from one of an earlier interval.
    ended : bool
        The closing row has been written.
    stored : _Stored or None
        Kept for books that may turn out wrong after the fact (those proved by hash).
    """

    market_id: MarketId
    outcome_ids: tuple[OutcomeId, ...]
    carrier: Carrier
    key: int
    interval_ms: int
    generation: int
    ended: bool = False
    stored: _Stored | None = None


@dataclass(slots=True)
class Plans:
    """Which rows are due when: what a replay needs to go on from here.

    Attributes
    ----------
    markets : list of tuple
        Market, its outcomes, slot, interval, generation, ended, content stored last.
    heap : list of (int, MarketId, int)
        Due time, market, generation.
    generation : int
    """

    markets: list[tuple[MarketId, tuple[OutcomeId, ...], str, int, int, bool, _Stored | None]]
    heap: list[tuple[int, MarketId, int]]
    generation: int


class ProofBudget:
    """How much time proofs may take: a share of the time that passes.

    Proving a book by its hash costs far more than storing its row. At ordinary rates every row is proved;
    under saturation the budget runs out and rows are stored ``unverified`` instead of late.

    Parameters
    ----------
    share : float
        Seconds of proving per second, (0, 1].
    burst_ns : int
        Unused time is kept up to this.

    Attributes
    ----------
    answers : list of bool
        What ``allows`` answered, in order; the journal takes the refusals from here and empties it.
    """

    def __init__(self, *, share: float, burst_ns: int = 1_000_000_000) -> None:
        self._share = share
        self._burst_ns = burst_ns
        self._left_ns = float(burst_ns)
        self._last_ns: int | None = None
        self.proofs = 0
        self.skipped = 0
        self.answers: list[bool] = []

    def allows(self, now_ns: int) -> bool:
        """Whether another proof may be made now (on the monotonic clock)."""
        if self._last_ns is not None:
            self._left_ns = min(self._burst_ns, self._left_ns + (now_ns - self._last_ns) * self._share)
        self._last_ns = now_ns
        allowed = self._left_ns > 0
        self.skipped += not allowed
        self.answers.append(allowed)
        return allowed

    def spend(self, took_ns: int) -> None:
        """A proof took so long."""
        self._left_ns -= took_ns
        self.proofs += 1


class Snapshotter:
    """One heap of next-due times for all markets of a venue.

    Rows fall on a fixed phase of each market inside its interval, so that the work spreads evenly and a
    restart keeps the rhythm; instants that were missed are skipped, never made up in a bunch.

    Parameters
    ----------
    sink : RowSink
    stale_after_ms : int
        Without any frame on the connection for so long a row is ``stale``.
    keep_stored : bool
        Keep a copy of the last stored content (for venues whose books are proved by hash only after
        the fact), to be shown by rows written while a repair runs.
    budget : ProofBudget or None
        None proves every row.
    monotonic_ns : callable
        The clock that the budget is measured on.
    on_row : callable, optional
        Is told of each market's row: its carrier, its id, its book as it stands and the verdict on it.
    """

    def __init__(
        self,
        sink: RowSink,
        *,
        stale_after_ms: int,
        keep_stored: bool,
        budget: ProofBudget | None = None,
        monotonic_ns: Callable[[], int] = lambda: 0,
        on_row: Callable[[Carrier, MarketId, Book, Integrity, int], None] | None = None,
    ) -> None:
        self._on_row = on_row
        self._budget = budget
        self._monotonic_ns = monotonic_ns
        self._sink = sink
        self._stale_after_ms = stale_after_ms
        self._keep_stored = keep_stored
        self._targets: dict[MarketId, Target] = {}
        self._heap: list[tuple[int, MarketId, int]] = []
        self._generation = 0
        self.rows = 0
        self.waiting = 0
        self.by_status: dict[str, int] = {status.value: 0 for status in BookStatus}
        self.by_integrity: dict[str, int] = {verdict.value: 0 for verdict in Integrity}

    def put(
        self,
        market_id: MarketId,
        outcome_ids: tuple[OutcomeId, ...],
        carrier: Carrier,
        *,
        interval_ms: int,
        now_ms: int,
    ) -> bool:
        """Take rows of a market from now on, every ``interval_ms``; replaces an earlier interval.

        Returns
        -------
        bool
            False when they are taken so already.
        """
        old = self._targets.get(market_id)
        if old is not None and old.interval_ms == interval_ms and old.carrier is carrier:
            return False
        self._generation += 1
        key = old.key if old else self._sink.register(market_id, outcome_ids)
        self._targets[market_id] = Target(
            market_id=market_id,
            outcome_ids=outcome_ids,
            carrier=carrier,
            key=key,
            interval_ms=interval_ms,
            generation=self._generation,
            stored=old.stored if old else None,
        )
        phase = crc32(market_id.encode()) % interval_ms
        due = now_ms - now_ms % interval_ms + phase
        if due < now_ms:
            due += interval_ms
        heapq.heappush(self._heap, (due, market_id, self._generation))
        return True

    def drop(self, market_ids: Iterable[MarketId]) -> None:
        """Take no more rows of these markets."""
        for market_id in market_ids:
            self._targets.pop(market_id, None)

    def plans(self) -> Plans:
        """The plans as they stand; to be written down at once, not kept."""
        markets = [
            (t.market_id, t.outcome_ids, t.carrier.name, t.interval_ms, t.generation, t.ended, t.stored)
            for t in self._targets.values()
        ]
        return Plans(markets, self._heap, self._generation)

    def resume(self, plans: Plans, carriers: Mapping[str, Carrier]) -> None:
        """Go on where plans were written down."""
        self._heap, self._generation = plans.heap, plans.generation
        self._targets = {
            market_id: Target(
                market_id=market_id,
                outcome_ids=outcome_ids,
                carrier=carriers[name],
                key=self._sink.register(market_id, outcome_ids),
                interval_ms=interval_ms,
                generation=generation,
                ended=ended,
                stored=stored,
            )
            for market_id, outcome_ids, name, interval_ms, generation, ended, stored in plans.markets
        }

    def verdicts(self, now_ms: int) -> dict[str, int]:
        """How many books stand under each word at present, zeros included.

        Nothing is proved for it: a live book has the verdict of its last proof, ``stale`` when its connection is
        silent. Markets without a book so far, and ended ones, are not counted.
        """
        counts = {verdict.value: 0 for verdict in Integrity}
        for target in self._targets.values():
            feed = target.carrier.feed
            book = feed.books.get(target.market_id)
            if book is None or not book.had_book or book.err == ErrCode.CLOSED:
                continue
            silent = book.live and now_ms - feed.last_recv_ns // 1_000_000 > self._stale_after_ms
            counts[Integrity.STALE if silent else book.integrity] += 1
        return counts

    def next_due_ms(self) -> int | None:
        """When ``run_due`` has something to do next."""
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._targets)

    def run_due(self, now_ms: int, *, at_most: int = 2_000) -> int:
        """Write the rows that are due; returns how many markets were visited."""
        heap, targets = self._heap, self._targets
        visited = 0
        while heap and heap[0][0] <= now_ms and visited < at_most:
            due, market_id, generation = heap[0]
            target = targets.get(market_id)
            if target is None or target.generation != generation:
                heapq.heappop(heap)
                continue
            interval = target.interval_ms
            missed = (now_ms - due) // interval
            heapq.heapreplace(heap, (due + (missed + 1) * interval, market_id, generation))
            self._row(target, now_ms)
            visited += 1
        return visited

    def _row(self, target: Target, now_ms: int) -> None:
        feed = target.carrier.feed
        book = feed.books.get(target.market_id)
        if book is None or not book.had_book:
            self.waiting += 1
            return
        verdict = self._prove(feed, target.market_id, now_ms) if book.live else book.integrity
        if book.live:
            silent = now_ms - feed.last_recv_ns // 1_000_000 > self._stale_after_ms
            target.ended = False
            if self._keep_stored:
                self._keep(target, book)
            shown = Integrity.STALE if silent else verdict
            self._append(target, now_ms, book, stale=silent, err=None, integrity=shown)
            if self._on_row is not None:
                self._on_row(target.carrier, target.market_id, book, verdict, now_ms)
            return
        if target.ended:
            return
        if self._keep_stored and target.stored is None:
            # Its first book failed its proof: there is nothing that a row could rightly show.
            self.waiting += 1
            return
        target.ended = book.err == ErrCode.CLOSED
        down_since = target.carrier.down_since_ms
        gone = down_since is not None and now_ms - down_since > self._stale_after_ms
        # What is in a book that failed its proof may be wrong: the row repeats what was last stored, with its time.
        self._append(
            target,
            now_ms,
            target.stored or book,
            stale=True,
            err=ErrCode.VENUE_DOWN if gone else book.err,
            integrity=book.integrity,
        )
        if self._on_row is not None:
            self._on_row(target.carrier, target.market_id, book, book.integrity, now_ms)

    def _prove(self, feed: Feed, market_id: MarketId, now_ms: int) -> Integrity:
        budget = self._budget
        if budget is None:
            return feed.verdict(market_id, now_ms=now_ms)
        started_ns = self._monotonic_ns()
        if not budget.allows(started_ns):
            return Integrity.UNVERIFIED
        verdict = feed.verdict(market_id, now_ms=now_ms)
        budget.spend(self._monotonic_ns() - started_ns)
        return verdict

    def _keep(self, target: Target, book: Book) -> None:
        kept = target.stored
        if kept is None or kept.seq != book.seq:
            target.stored = _Stored(book.bids.copy(), book.asks.copy(), book.seq, book.ts_venue_ms)

    def _append(
        self,
        target: Target,
        now_ms: int,
        content: Book | _Stored,
        *,
        stale: bool,
        err: str | None,
        integrity: Integrity,
    ) -> None:
        bids, asks = content.bids, content.asks
        try:
            self._sink.append(
                target.key,
                now_ms,
                bids,
                asks,
                seq=content.seq,
                source_ts=content.ts_venue_ms,
                stale=stale,
                err=err,
                integrity=integrity,
            )
        except ValueOutOfScale:
            # What no row can hold is no book: it is asked for anew, and until it has come there is nothing to show.
            self.waiting += 1
            target.carrier.feed.distrust(target.market_id, now_ms=now_ms)
            return
        self.rows += 1
        if stale:
            status = BookStatus.STALE
        elif bids and asks:
            status = BookStatus.OK
        else:
            status = BookStatus.PARTIAL if bids or asks else BookStatus.EMPTY
        self.by_status[status] += 1
        self.by_integrity[integrity] += 1

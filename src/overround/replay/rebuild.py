"""Frames to books: the production feeds, driven by a recording instead of a socket.

Each connection of a recording gets a feed of its own in replay mode: it takes every market it sees and
sends nothing. A journal may hold several connections; a market then belongs to the one that delivered its
last whole book, and its change count goes on where the earlier connection's ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from overround.book import Book, BookShelf, Level
from overround.errors import UNREADABLE
from overround.market import ErrCode, Integrity, MarketId, OutcomeId, Venue
from overround.replay.forms import REST_SNAPSHOT
from overround.replay.frames import RecordedFrame, market_ids, venue_ms
from overround.venue.kalshi import KalshiFeed
from overround.venue.polymarket import PolymarketFeed
from overround.venue.ports import Feed, FeedEvent, FeedEventKind

__all__ = ["BookSample", "MarketTally", "OutcomeBook", "Rebuilder", "Rebuilt", "rebuild", "sample_books"]

# Whole books out of REST are numbered here, apart from every real subscription.
_REST_SID = 1 << 40
_CHANGES_BOOKS = re.compile(rb'"orderbook_|"price_change|"changes"|"bids"|"buys"')
_SNAPSHOT = b'{"type":"orderbook_snapshot"'
# Other marks are for the replay of a whole recording run: what the collector told its feeds, and when.
_CONNECTION_EVENTS = frozenset({"opened", "closed"})
_SIDES = (OutcomeId("yes"), OutcomeId("no"))


class OutcomeBook(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome's book as rebuilt; the names of ``overround book --json``.

    Attributes
    ----------
    venue : Venue
    market_id : MarketId
    outcome_id : OutcomeId
    bids, asks : list of (float, float)
        Price and contracts, best first.
    ts_ms : int or None
        Venue time of the book's last change; where the venue tells none, its receive time; without that, the
        venue time of the market's last frame that tells one, or None.
    seq : int
        Changes applied to the market's book.
    frames : int
        Frames that name the market.
    gaps : int
        Times the book was known to miss updates.
    negative_levels : int
        Changes that would have made a level negative.
    hash_checked, hash_matched : int
        Announced hashes of this outcome that could be recomputed, and those that came out equal.
    verdict : Integrity
    """

    venue: Venue
    market_id: MarketId
    outcome_id: OutcomeId
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    ts_ms: int | None
    seq: int
    frames: int
    gaps: int
    negative_levels: int
    hash_checked: int
    hash_matched: int
    verdict: Integrity


class BookSample(msgspec.Struct, frozen=True, kw_only=True):
    """One market's book at an instant, seen from its first outcome.

    Attributes
    ----------
    ts_ms : int
        The instant, receive time.
    market_id : MarketId
    bids, asks : dict of int to int
        ``px_e4`` to ``sz_e6``.
    seq : int
        Changes applied until then.
    live : bool
    err : str or None
        An ``ErrCode`` while not live.
    """

    ts_ms: int
    market_id: MarketId
    bids: dict[int, int]
    asks: dict[int, int]
    seq: int
    live: bool
    err: str | None


class MarketTally(msgspec.Struct):
    """What happened to one market while it was rebuilt.

    Attributes
    ----------
    frames, gaps, negative_levels : int
        As in ``OutcomeBook``.
    left_out : int
        Changes that came while there was no whole book to apply them to.
    timed_frame : bytes
        In a recording without receive times: the last frame that may tell a venue time (snapshots do not).
    """

    frames: int = 0
    gaps: int = 0
    negative_levels: int = 0
    left_out: int = 0
    timed_frame: bytes = b""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording gave.

    Attributes
    ----------
    outcomes : list of OutcomeBook
        First outcome before the second, markets by id.
    seen : list of str
        Every market that a frame names.
    bookless : dict of MarketId to int
        Markets whose book never began, and how many of their changes were left out.
    left_out : dict of MarketId to int
        Markets with a book some of whose changes came while it was not whole.
    frames : int
        Frames read, commands and marks not counted.
    gaps : int
        Holes found, whatever the number of markets each concerns.
    negative_levels, hash_checked, hash_matched, rejected, changes : int
        Sums over everything that was read.
    """

    outcomes: list[OutcomeBook]
    seen: list[str]
    bookless: dict[MarketId, int]
    left_out: dict[MarketId, int]
    frames: int
    gaps: int
    negative_levels: int
    hash_checked: int
    hash_matched: int
    rejected: int
    changes: int


class _Line:
    """One connection of the recording and its feed."""

    __slots__ = ("books", "feed", "ignored", "receive", "rest_books")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.books = feed.books
        self.receive = feed.receive
        self.ignored = 0
        self.rest_books = 0


class _Command(msgspec.Struct, gc=False):
    """What a recorder may have sent that ends a market's stream."""

    operation: str = ""
    assets_ids: list[str] = []
    params: _CommandParams | None = None


class _CommandParams(msgspec.Struct, gc=False):
    action: str = ""
    market_ticker: str = ""
    market_tickers: list[str] = []


_COMMAND = msgspec.json.Decoder(_Command)


class Rebuilder:
    """Applies recorded frames to books.

    Parameters
    ----------
    venue : Venue
    ignore_gaps : bool
        Sequence numbers have holes that mean nothing (a recording filtered to some markets).
    """

    def __init__(self, venue: Venue, *, ignore_gaps: bool = False) -> None:
        self.venue = venue
        self.frames = 0
        self.last_ms = 0
        self._gaps = 0
        self._ignore_gaps = ignore_gaps
        self._lines: dict[str, _Line] = {}
        self._owners: dict[MarketId, _Line] = {}
        self._tallies: dict[str, MarketTally] = {}
        # Markets that the recorder gave up: their last books, and the hash counts of their tokens until then.
        self._parted: dict[MarketId, list[OutcomeBook]] = {}
        self._parted_hashes: dict[OutcomeId, tuple[int, int]] = {}
        self._key = b'"market_ticker":"' if venue is Venue.KALSHI else None

    def receive(self, entry: RecordedFrame) -> None:
        """Take one entry of a recording."""
        if entry.event and entry.event not in _CONNECTION_EVENTS:
            return
        line = self._lines.get(entry.conn)
        if line is None:
            line = self._lines[entry.conn] = _Line(self._new_feed())
            line.feed.opened(now_ms=(entry.recv_ns or 0) // 1_000_000)
        if entry.event or entry.sent:
            self._mark(line, entry)
            return
        frame, recv_ns = entry.frame, entry.recv_ns or 0
        self.frames += 1
        if entry.rest and frame.startswith(REST_SNAPSHOT):
            line.rest_books += 1
            frame = REST_SNAPSHOT + b'"sid":%d,"seq":%d,' % (_REST_SID, line.rest_books) + frame[len(REST_SNAPSHOT) :]
        line.receive(frame, recv_ns)
        for name in self._names(frame):
            tally = self._tallies.get(name)
            if tally is None:
                tally = self._tallies[name] = MarketTally()
            tally.frames += 1
            if not recv_ns and not frame.startswith(_SNAPSHOT):
                tally.timed_frame = frame
            book = line.books.get(MarketId(name))
            if book is None or not book.live:
                # Only then can a change have been left out; the counters are not looked at for every frame.
                ignored = line.feed.counters.ignored
                tally.left_out += ignored - line.ignored
                line.ignored = ignored
        if line.feed.events:
            events, line.feed.events = line.feed.events, []
            self._note(line, events)
        if recv_ns:
            self.last_ms = recv_ns // 1_000_000

    def book(self, market_id: MarketId) -> Book | None:
        """A market's book, None before it was seen."""
        owner = self._owner(market_id)
        return None if owner is None else owner.feed.books.get(market_id)

    def market_ids(self) -> list[MarketId]:
        """Every market whose book was begun or asked about, by id."""
        return sorted({m for line in self._lines.values() for m in line.feed.books} | self._parted.keys())

    def outcomes(self, market_id: MarketId) -> list[OutcomeBook]:
        """A market's books as they stand; empty if no whole book ever arrived."""
        owner = self._owner(market_id)
        book = None if owner is None else owner.feed.books.get(market_id)
        if owner is None or book is None or not book.had_book:
            return self._parted.get(market_id, [])
        verdict = owner.feed.verdict(market_id, now_ms=self.last_ms or (book.ts_venue_ms or 0))
        tally = self._tallies.get(market_id) or MarketTally()
        ts_ms = book.ts_venue_ms
        if ts_ms is None:
            ts_ms = book.ts_recv_ns // 1_000_000 or venue_ms(tally.timed_frame)
        own, mirrored = (book.bid_levels(), book.ask_levels()), book.mirrored()
        result = []
        for outcome_id, (bids, asks) in zip(self._outcome_ids(owner.feed, market_id), (own, mirrored), strict=False):
            checked, matched = self._hash_counts(outcome_id)
            result.append(
                OutcomeBook(
                    venue=self.venue,
                    market_id=market_id,
                    outcome_id=outcome_id,
                    bids=_as_numbers(bids),
                    asks=_as_numbers(asks),
                    ts_ms=ts_ms,
                    seq=book.seq,
                    frames=tally.frames,
                    gaps=tally.gaps,
                    negative_levels=tally.negative_levels,
                    hash_checked=checked,
                    hash_matched=matched,
                    verdict=verdict,
                )
            )
        return result

    def tally(self, market_id: MarketId) -> MarketTally:
        """What happened to a market so far."""
        return self._tallies.get(market_id) or MarketTally()

    def rebuilt(self, outcomes: Iterable[OutcomeBook]) -> Rebuilt:
        """The result, with the given books."""
        kept = sorted(outcomes, key=lambda outcome: outcome.market_id)
        with_book = {outcome.market_id for outcome in kept}
        left_out = {MarketId(name): tally.left_out for name, tally in self._tallies.items() if tally.left_out}
        counters = [line.feed.counters for line in self._lines.values()]
        return Rebuilt(
            outcomes=kept,
            seen=sorted({*self._tallies, *self.market_ids()}),
            bookless={m: left_out.get(m, 0) for m in self._bookless() if m not in with_book},
            left_out={m: n for m, n in left_out.items() if m in with_book},
            frames=self.frames,
            gaps=self._gaps,
            negative_levels=sum(each.negative_levels for each in counters),
            hash_checked=sum(each.hash_checked for each in counters),
            hash_matched=sum(each.hash_matched for each in counters),
            rejected=sum(each.rejected for each in counters),
            changes=sum(each.changes for each in counters),
        )

    def _bookless(self) -> list[MarketId]:
        """Markets that frames named and that never had a whole book."""
        markets = {m for m, tally in self._tallies.items() if tally.left_out} | set(self.market_ids())
        return sorted(MarketId(m) for m in markets if (book := self.book(MarketId(m))) is None or not book.had_book)

    def _new_feed(self) -> Feed:
        if self.venue is Venue.KALSHI:
            return KalshiFeed(BookShelf(), passive=True, ignore_gaps=self._ignore_gaps)
        return PolymarketFeed(BookShelf(), passive=True, check_each=True)

    def _names(self, frame: bytes) -> Iterable[str]:
        """Markets that a frame names, each once."""
        if self._key is None:
            return dict.fromkeys(market_ids(frame))
        start = frame.find(self._key)
        if start < 0:
            return dict.fromkeys(market_ids(frame))
        start += len(self._key)
        return (frame[start : frame.find(b'"', start)].decode(errors="replace"),)

    def _mark(self, line: _Line, entry: RecordedFrame) -> None:
        """Take a mark about the connection, or a command that the recorder sent."""
        now_ms = (entry.recv_ns or 0) // 1_000_000
        feed = line.feed
        if entry.event:
            _mark_connection(feed, entry)
        else:
            for market_id in self._given_up(feed, entry.frame):
                if market_id in feed.books:
                    self._part(feed, market_id, now_ms)
        feed.events.clear()
        feed.outbox.clear()
        feed.reconnect_reason = None

    def _part(self, feed: Feed, market_id: MarketId, now_ms: int) -> None:
        """Keep what is known of a market that is followed no more."""
        kept = [msgspec.structs.replace(book, verdict=Integrity.STALE) for book in self.outcomes(market_id)]
        if kept:
            self._parted[market_id] = kept
        for outcome_id in self._outcome_ids(feed, market_id):
            self._parted_hashes[outcome_id] = self._hash_counts(outcome_id)
        feed.remove([market_id], now_ms=now_ms)

    def _given_up(self, feed: Feed, command: bytes) -> list[MarketId]:
        """Markets that a command ends."""
        try:
            sent = _COMMAND.decode(command)
        except UNREADABLE:
            return []
        if sent.params is not None and sent.params.action == "delete_markets":
            named = [*sent.params.market_tickers, sent.params.market_ticker]
            return [MarketId(ticker) for ticker in named if ticker]
        if sent.operation == "unsubscribe" and isinstance(feed, PolymarketFeed):
            tokens = set(sent.assets_ids)
            return [m for m in feed.books if not tokens.isdisjoint(feed.tokens(m))]
        return []

    def _note(self, line: _Line, events: list[FeedEvent]) -> None:
        """Take what a feed reports."""
        for event in events:
            if event.kind is FeedEventKind.GAP and event.detail == ErrCode.GAP:
                # A hole in the numbers of a subscription concerns all its markets.
                self._gaps += 1
                concerned = [event.market_id] if event.market_id else _open_markets(line.feed)
                for market_id in concerned:
                    self._tallies.setdefault(market_id, MarketTally()).gaps += 1
            elif event.kind is FeedEventKind.GAP and event.detail == ErrCode.NEGATIVE_LEVEL:
                self._tallies.setdefault(event.market_id, MarketTally()).negative_levels += 1
            elif event.kind is FeedEventKind.LIVE:
                self._take_over(line, event.market_id)
        line.feed.outbox.clear()

    def _take_over(self, line: _Line, market_id: MarketId) -> None:
        """Let a connection own a market whose whole book it delivered."""
        before = self._owners.get(market_id)
        if before is line:
            return
        self._owners[market_id] = line
        if before is None:
            return
        old, new = before.feed.books.get(market_id), line.feed.books.get(market_id)
        if old is not None and new is not None:
            new.seq += old.seq
            for outcome_id in self._outcome_ids(before.feed, market_id):
                # Counted over all connections until now; the new one's counts come on top.
                new_counts = _hash_counts(line.feed, outcome_id)
                checked, matched = self._hash_counts(outcome_id)
                self._parted_hashes[outcome_id] = (checked - new_counts[0], matched - new_counts[1])
            before.feed.remove([market_id], now_ms=self.last_ms)
            before.feed.events.clear()

    def _owner(self, market_id: MarketId) -> _Line | None:
        owner = self._owners.get(market_id)
        if owner is not None:
            return owner
        return next((line for line in self._lines.values() if market_id in line.feed.books), None)

    def _outcome_ids(self, feed: Feed, market_id: MarketId) -> tuple[OutcomeId, ...]:
        return feed.tokens(market_id) if isinstance(feed, PolymarketFeed) else _SIDES

    def _hash_counts(self, outcome_id: OutcomeId) -> tuple[int, int]:
        """Checked and matched hashes of an outcome, over all connections."""
        checked, matched = self._parted_hashes.get(outcome_id, (0, 0))
        for line in self._lines.values():
            more, equal = _hash_counts(line.feed, outcome_id)
            checked, matched = checked + more, matched + equal
        return checked, matched


def rebuild(
    frames: Iterable[RecordedFrame],
    venue: Venue,
    *,
    market: MarketId | None = None,
    at_ms: int | None = None,
    until_seq: int | None = None,
    ignore_gaps: bool = False,
) -> Rebuilt:
    """Rebuild the books of a recording.

    Parameters
    ----------
    frames : iterable of RecordedFrame
        In order, as ``open_recording`` gives them.
    venue : Venue
    market : MarketId, optional
        Only this market's books (all frames are still read: the sequence spans markets).
    at_ms : int, optional
        Stop before the first frame received after this time; by venue time where there is no receive time.
    until_seq : int, optional
        Take each book as it stood after its change of this number.
    ignore_gaps : bool
        See ``Rebuilder``.
    """
    rebuilder = Rebuilder(venue, ignore_gaps=ignore_gaps)
    receive = rebuilder.receive
    kept: dict[MarketId, list[OutcomeBook]] = {}
    if at_ms is not None:
        frames = _until(frames, at_ms)
    if until_seq is None:
        for entry in frames:
            receive(entry)
    else:
        for entry in frames:
            receive(entry)
            for name in dict.fromkeys(market_ids(entry.frame)):
                market_id = MarketId(name)
                if market_id in kept or market not in (None, market_id):
                    continue
                book = rebuilder.book(market_id)
                if book is not None and book.seq >= until_seq:
                    kept[market_id] = rebuilder.outcomes(market_id)
            if market is not None and market in kept:
                break
    wanted = rebuilder.market_ids() if market is None else [market]
    return rebuilder.rebuilt(
        outcome for market_id in wanted for outcome in kept.get(market_id) or rebuilder.outcomes(market_id)
    )


def sample_books(frames: Iterable[RecordedFrame], feed: Feed, every_ms: int) -> Iterator[BookSample]:
    """A feed's books at every multiple of ``every_ms`` of receive time, from the first frame to the last.

    Parameters
    ----------
    frames : iterable of RecordedFrame
        With receive times; others are applied at the time of the frame before them.
    feed : Feed
        In replay mode.
    every_ms : int
        Distance of the instants; each is a multiple of it.

    Yields
    ------
    BookSample
        At each instant, every market that has had a book; frames received at the instant's own millisecond
        are in.
    """
    due_ms: int | None = None
    for entry in frames:
        if entry.recv_ns is not None:
            now_ms = entry.recv_ns // 1_000_000
            if due_ms is None:
                due_ms = now_ms - now_ms % every_ms + every_ms
            while due_ms < now_ms:
                yield from _samples(feed, due_ms)
                due_ms += every_ms
        if entry.event:
            _mark_connection(feed, entry)
        elif not entry.sent:
            feed.receive(entry.frame, entry.recv_ns or feed.last_recv_ns)
        feed.events.clear()


def _mark_connection(feed: Feed, mark: RecordedFrame) -> None:
    """Tell a feed what became of its connection."""
    now_ms = (mark.recv_ns or 0) // 1_000_000
    if mark.event in ("opened", "closed"):
        feed.lost(now_ms=now_ms, reason=f"recorded: {mark.event}")
    if mark.event == "opened":
        feed.opened(now_ms=now_ms)


def _samples(feed: Feed, ts_ms: int) -> Iterator[BookSample]:
    for market_id, book in feed.books.items():
        if book.had_book:
            yield BookSample(
                ts_ms=ts_ms,
                market_id=market_id,
                bids=dict(book.bids),
                asks=dict(book.asks),
                seq=book.seq,
                live=book.live,
                err=book.err,
            )


def _until(frames: Iterable[RecordedFrame], at_ms: int) -> Iterator[RecordedFrame]:
    """Entries up to and including the millisecond ``at_ms``.

    By venue time only frames that change books are judged: prints are told late, or in whole seconds.
    """
    for entry in frames:
        if entry.recv_ns is not None:
            if entry.recv_ns // 1_000_000 > at_ms:
                return
        elif _CHANGES_BOOKS.search(entry.frame):
            seen_ms = venue_ms(entry.frame)
            if seen_ms is not None and seen_ms > at_ms:
                return
        yield entry


def _hash_counts(feed: Feed, outcome_id: OutcomeId) -> tuple[int, int]:
    return feed.hash_counts(outcome_id) if isinstance(feed, PolymarketFeed) else (0, 0)


def _open_markets(feed: Feed) -> list[MarketId]:
    """Markets of a connection that have a book and still trade."""
    return [m for m, book in feed.books.items() if book.had_book and book.err != ErrCode.CLOSED]


def _as_numbers(levels: list[Level]) -> list[tuple[float, float]]:
    return [(px / 10_000, sz / 1_000_000) for px, sz in levels]

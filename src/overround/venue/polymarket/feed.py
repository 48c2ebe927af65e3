"""One market-channel connection without the connection: ``venue.ports.Feed`` for Polymarket.

The venue numbers nothing and acknowledges nothing. What replaces both:

- the first ``book`` of a token is the only sign that it is subscribed; one that is overdue is asked for again
  (unsubscribe first: re-subscribing a subscribed token yields nothing);
- every message announces the hash of the book after it. ``verdict`` recomputes it from our book before a row is
  stored; a mismatch on a market whose hash has matched before means that our book is wrong;
- each change names the best prices after it, and ``best_bid_ask`` names them alone. They are looked at with verdicts
  and now and then in between, and count only after two seconds: messages of one change arrive apart.

Both tokens of a market are subscribed on the same connection. They are two views of one matching book, so the first
token's ladders are kept and the second's frames are turned over. Times order what has none: a change older than the
last whole book is late and dropped; one older than another change is applied unless the newer one set that level.

Repair climbs ``NEXT_STEP`` and never storms: a market that breaks again within a minute goes on where it left off, a
new connection is asked for at most every ten minutes, and after the last step the market rests for ten.

``receive`` applies the common frame itself: a ``price_change`` with one entry for each token of a market we hold.
Everything it cannot take at a glance goes to `_other`, which is complete, strict and slower. Neither ever raises.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from overround.book import NO_ASK_E4, NO_BID_E4, Book, BookShelf, Side
from overround.errors import WireError
from overround.market import PX_ONE_E4, ErrCode, Integrity, Market, MarketId, OutcomeId
from overround.venue.polymarket.hash import HashEra
from overround.venue.polymarket.held import NEVER, NEXT_STEP, Announced, Change, Claim, Held, Step
from overround.venue.polymarket.parse import (
    Delta,
    book_sides,
    decimal_text,
    deltas,
    ladder,
    mirror_text,
    mirror_text_by_px,
    mirrored,
    new_size_e6,
    price_e4,
    px_by_text,
    sz_by_text,
    timestamp_ms,
)
from overround.venue.polymarket.wire import (
    BookFrame,
    Event,
    Number,
    decode_book,
    decode_change,
    decode_event,
    split_array,
)
from overround.venue.ports import FeedCounters, FeedEvent, FeedEventKind, RestBook

__all__ = ["PolymarketFeed"]

_TEXT_FRAMES = frozenset({b"PONG", b"NO NEW ASSETS"})
_UNKNOWN_NAMES_MAX = 100
# The reasons for which the hot path hands a frame on; none of them is exceptional there.
_NOT_COMMON = (msgspec.MsgspecError, WireError, LookupError, ValueError, TypeError, RecursionError)

_BOOK_DUE_MS = 30_000
_REPAIR_DUE_MS = 10_000
_RECHECK_MS = 500
_REST_AGAIN_MS = 30_000
_REST_AFTER_MS = 600_000
_RECONNECT_EVERY_MS = 600_000
_CALM_MS = 60_000
_BEST_TOLERANCE_MS = 2_000
_AUDIT_GRACE_MS = 2_000
_OLD_BOOK_MS = 1_000
_MUTE_AFTER_MS = 60_000
_MUTE_EXPECTED = 20
# A change with an entry for each token has about 600 bytes, blanks after separators included; a longer frame is most
# likely a book. Only a hint: both roads end in `_other` if they are the wrong one.
_LONGEST_CHANGE = 900
_TIMES_END_MS = 10**15


class PolymarketFeed:
    """One connection to the market channel, sans-IO.

    Parameters
    ----------
    shelf : BookShelf
        Where the books live.
    rng : random.Random or None
        Jitter of heartbeats and choice of canaries; None for neither.
    heartbeat_ms : int
        Milliseconds between two ``PING``; the connection is given up when nothing at all has come since the last but
        one.
    passive : bool
        Replay: takes every market it sees, sends nothing, repairs nothing.
    hash_era : HashEra or None
        None: ten members when live; tried out and remembered when passive.
    check_each : bool
        Recompute every announced hash (replay), not only what ``verdict`` asks for.
    follow_all : bool
        Report LISTED and RESOLVED of markets not held here: one connection of a venue should.
    chunk_tokens, chunk_gap_ms : int
        A large subscription goes out in commands of so many tokens, so far apart.

    Attributes
    ----------
    outbox, events, reconnect_reason, counters, last_recv_ns
        See ``venue.ports.Feed``.
    """

    # More than thirty attributes: a dict of so many is no longer shared, and each access on the hot path would search it.
    __slots__ = (
        "_books",
        "_by_token",
        "_bytes",
        "_canary_ms",
        "_changes",
        "_check_each",
        "_chunk_gap_ms",
        "_chunk_markets",
        "_chunk_ms",
        "_connected",
        "_counters",
        "_era_given",
        "_eras",
        "_follow_all",
        "_forced_ms",
        "_frames",
        "_greeted",
        "_heartbeat_ms",
        "_held",
        "_hot",
        "_hot_frames",
        "_passive",
        "_ping_ms",
        "_pings",
        "_rate_changes",
        "_rate_ms",
        "_rate_per_s",
        "_rate_samples",
        "_recv_at_ping",
        "_rng",
        "_shelf",
        "_to_ask",
        "_wake_ms",
        "events",
        "last_recv_ns",
        "outbox",
        "reconnect_reason",
    )

    def __init__(
        self,
        shelf: BookShelf,
        *,
        rng: random.Random | None = None,
        heartbeat_ms: int = 10_000,
        passive: bool = False,
        hash_era: HashEra | None = None,
        check_each: bool = False,
        follow_all: bool = False,
        chunk_tokens: int = 100,
        chunk_gap_ms: int = 250,
    ) -> None:
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.last_recv_ns = 0
        # What every frame counts up are ints of the feed's own: in the struct they would cost three times more. A frame
        # of the hot path is one change.
        self._hot_frames = self._frames = self._bytes = self._changes = 0
        self._counters = FeedCounters()
        self._shelf = shelf
        self._rng = rng
        self._heartbeat_ms = heartbeat_ms
        self._passive = passive
        self._check_each = check_each
        self._follow_all = follow_all
        self._chunk_markets = max(1, chunk_tokens // 2)
        self._chunk_gap_ms = chunk_gap_ms
        self._eras = _eras(hash_era, passive=passive)
        self._era_given = hash_era is not None
        self._held: dict[MarketId, Held] = {}
        self._books: dict[MarketId, Book] = {}
        self._by_token: dict[str, Held] = {}
        # First tokens only, and empty while every hash is to be checked: the hot path then finds nothing.
        self._hot: dict[str, Held] = {}
        self._connected = False
        self._greeted = False
        self._to_ask: deque[MarketId] = deque()
        self._chunk_ms = 0
        self._ping_ms = 0
        self._pings = 0
        self._recv_at_ping = 0
        self._wake_ms = NEVER
        self._forced_ms: int | None = None
        self._rate_per_s = 0.0
        self._rate_samples = 0
        self._rate_changes = 0
        self._rate_ms = 0
        self._canary_ms = 0

    # --- what the shell reads ---------------------------------------------------------------------------------------

    @property
    def counters(self) -> FeedCounters:
        """What was counted so far; read anew each time."""
        counted = self._counters
        counted.frames = self._hot_frames + self._frames
        counted.changes = self._hot_frames + self._changes
        counted.bytes = self._bytes
        return counted

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection, live or not."""
        return self._books

    @property
    def hash_era(self) -> HashEra | None:
        """The era in which hashes are recomputed; None while a replay has not found out."""
        return self._eras[0] if len(self._eras) == 1 else None

    def tokens(self, market_id: MarketId) -> tuple[OutcomeId, ...]:
        """Outcome ids of a market, first outcome first (in replay, as far as they have been seen)."""
        held = self._held.get(market_id)
        return tuple(OutcomeId(token) for token in held.tokens if token) if held else ()

    def hash_counts(self, outcome_id: OutcomeId) -> tuple[int, int]:
        """How many announced hashes of that token were recomputed, and how many matched."""
        held = self._by_token.get(outcome_id)
        if held is None:
            return 0, 0
        index = 0 if outcome_id == held.tokens[0] else 1
        return held.checked[index], held.matched[index]

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        if not self._connected or self._passive:
            return None
        return min(self._wake_ms, self._ping_ms)

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets; commands are sent if the connection stands, else at ``opened``."""
        for market in markets:
            if market.market_id in self._held:
                continue
            if len(market.outcome_ids) != 2:
                self._report(FeedEventKind.REJECTED, market.market_id, "market has not two tokens", now_ms=now_ms)
                continue
            self._hold(Held.of(market, self._shelf.open(market.market_id)))
            if self._connected:
                self._to_ask.append(market.market_id)
        self._ask(now_ms)

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Want fewer markets; their levels are dropped."""
        waiting = set(self._to_ask)
        asked: list[str] = []
        for market_id in market_ids:
            held = self._held.pop(market_id, None)
            if held is None:
                continue
            for token in held.tokens:
                self._by_token.pop(token, None)
            self._hot.pop(held.tokens[0], None)
            del self._books[market_id]
            self._shelf.close(market_id)
            if market_id not in waiting:
                asked += held.tokens
        self._to_ask = deque(market_id for market_id in self._to_ask if market_id in self._held)
        if asked and self._connected and not self._passive:
            self._send({"operation": "unsubscribe", "assets_ids": asked})

    # --- the connection ---------------------------------------------------------------------------------------------

    def opened(self, *, now_ms: int) -> None:
        """The connection stands: ask for everything wanted."""
        self._connected = True
        self._greeted = False
        self._pings = 0
        self._rate_per_s, self._rate_samples = 0.0, 0
        self._rate_changes, self._rate_ms = self.counters.changes, now_ms
        self._canary_ms = now_ms + _MUTE_AFTER_MS
        self._wake_ms = NEVER
        self._plan_ping(now_ms)
        self._to_ask = deque(market_id for market_id, held in self._held.items() if not held.closed)
        self._chunk_ms = now_ms
        self._ask(now_ms)

    def lost(self, *, now_ms: int, reason: str) -> None:
        """The connection has ended: every book is ``reconnecting`` until its next snapshot."""
        self._connected = False
        self.reconnect_reason = None
        self.outbox.clear()
        self._to_ask.clear()
        self._wake_ms = NEVER
        broken = False
        for held in self._held.values():
            held.forget()
            held.due_ms = None
            if held.closed:
                continue
            book = held.book
            if book.live:
                broken = True
                held.gap_ms = now_ms
                held.step = Step.NONE
            elif held.step is not Step.NONE:
                held.step = Step.RECONNECT  # a new connection is what it gets; the next step is the one after that
            book.live = False
            book.err = ErrCode.RECONNECTING
            book.integrity = Integrity.GAP if book.had_book else Integrity.UNVERIFIED
        if broken:
            self._counters.gaps += 1
            self._report(FeedEventKind.GAP, MarketId(""), f"{ErrCode.RECONNECTING}: {reason}", now_ms=now_ms)

    def tick(self, *, now_ms: int) -> None:
        """Do what is due: heartbeats, waiting commands, overdue books, the next repair step."""
        if not self._connected or self._passive:
            return
        if now_ms >= self._ping_ms:
            self._heartbeat(now_ms)
        if now_ms < self._wake_ms:
            return
        self._wake_ms = NEVER
        self._ask(now_ms)
        for held in self._held.values():
            if held.audit_ms is not None:
                if now_ms >= held.audit_ms:
                    self._settle_audit(held, now_ms)
                else:
                    self._wake_at(held.audit_ms)
            if held.due_ms is not None:
                if now_ms >= held.due_ms:
                    held.due_ms = None
                    self._overdue(held, now_ms)
                if held.due_ms is not None:
                    self._wake_at(held.due_ms)

    # --- frames -----------------------------------------------------------------------------------------------------

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """Apply one frame; returns whether it was JSON."""
        size = len(frame)
        if size > _LONGEST_CHANGE:
            return self._long(frame, recv_ns)
        try:
            message = decode_change(frame)
            first, second = message.price_changes  # type: ignore[misc]  # None and other lengths are caught below
            held = self._hot.get(first.asset_id)
            if held is None:
                first, second = second, first
                held = self._hot[first.asset_id]
            ts_ms = message.timestamp
            side = first.side
            text = first.size
            px = px_by_text[first.price]
            if (
                ts_ms < held.newest_ms
                or second.asset_id != held.second
                or second.size != text
                or second.side == side
                or second.price != mirror_text_by_px[px]
            ):
                return self._other(frame, recv_ns)
            sz = sz_by_text.get(text)
            if sz is None:
                sz = new_size_e6(text)
        except _NOT_COMMON:
            return self._other(frame, recv_ns)
        book = held.book
        # Book.set_level, in place: a call here would cost a fifth of the whole path, max and min another tenth.
        if side == "BUY":
            if sz:
                book.bids[px] = sz
                if px > book.best_bid_e4:  # noqa: PLR1730
                    book.best_bid_e4 = px
            elif book.bids.pop(px, 0) and px == book.best_bid_e4:
                book.best_bid_e4 = max(book.bids, default=NO_BID_E4)
        elif sz:
            book.asks[px] = sz
            if px < book.best_ask_e4:  # noqa: PLR1730
                book.best_ask_e4 = px
        elif book.asks.pop(px, 0) and px == book.best_ask_e4:
            book.best_ask_e4 = min(book.asks, default=NO_ASK_E4)
        book.seq = seq = book.seq + 1
        book.ts_recv_ns = self.last_recv_ns = recv_ns
        book.ts_venue_ms = held.newest_ms = ts_ms
        held.frame = frame
        self._hot_frames += 1
        self._bytes += size
        if not seq & 255:
            self._spot_check(held, recv_ns // 1_000_000)
        return True

    def _long(self, frame: bytes, recv_ns: int) -> bool:
        """A frame too long for a common change: a whole book in the common form, or any other."""
        try:
            message = decode_book(frame)
            held = self._by_token[message.asset_id]
            ts_ms = message.timestamp
            if message.event_type != "book" or not 0 <= ts_ms < _TIMES_END_MS:
                return self._other(frame, recv_ns)
            bids, asks = ladder(message.bids), ladder(message.asks)
        except _NOT_COMMON:
            return self._other(frame, recv_ns)
        self.last_recv_ns = recv_ns
        self._frames += 1
        self._bytes += len(frame)
        first = message.asset_id == held.tokens[0]
        try:
            self._whole_book(held, message, bids, asks, first=first, ts_ms=ts_ms, recv_ns=recv_ns)
        except WireError as exc:
            self._refuse(decode_event(frame), exc, recv_ns)
        return True

    def _other(self, frame: bytes, recv_ns: int) -> bool:
        """Any frame, with every check; the complete twin of ``receive``."""
        self.last_recv_ns = recv_ns
        self._frames += 1
        self._bytes += len(frame)
        body = frame.strip()
        if body[:1] == b"{":
            if self._take(body, recv_ns):
                return True
            return _is_json(body)
        if body[:1] == b"[":
            try:
                elements = split_array(body)
            except WireError as exc:
                self._reject(MarketId(""), exc, recv_ns)
                return False
            if not elements:
                self._counters.heartbeats += 1  # the answer to a token that is unknown or closed
            whole = True
            for element in elements:
                whole = self._take(element, recv_ns) and whole
            return whole or _is_json(body)
        self._take_text(body, recv_ns)
        return False

    def _take_text(self, body: bytes, recv_ns: int) -> None:
        if body in _TEXT_FRAMES:
            self._counters.heartbeats += 1
            if body == b"PONG":
                self._pings = 0
            else:
                self._report(FeedEventKind.REFUSED, MarketId(""), body.decode(), now_ms=recv_ns // 1_000_000)
        elif body:
            self._count_unknown("text")

    def _take(self, raw: bytes | msgspec.Raw, recv_ns: int) -> bool:
        """One object; False if it was refused."""
        event: Event | None = None
        try:
            event = decode_event(raw)
            self._dispatch(event, recv_ns)
        except WireError as exc:
            self._refuse(event, exc, recv_ns)
            return False
        return True

    def _dispatch(self, event: Event, recv_ns: int) -> None:
        match event.event_type:
            case "price_change":
                self._on_change(event, recv_ns)
            case "book":
                self._on_book(event, recv_ns)
            case "last_trade_price":
                self._on_trade(event)
            case "best_bid_ask":
                self._on_best(event, recv_ns // 1_000_000)
            case "tick_size_change":
                self._on_tick_size(event, recv_ns // 1_000_000)
            case "new_market":
                self._on_listed(event, recv_ns // 1_000_000)
            case "market_resolved":
                self._on_resolved(event, recv_ns // 1_000_000)
            case "":
                # First books without a kind have been reported, and REST books in captured streams have none.
                if event.price_changes is not None or event.changes is not None:
                    self._on_change(event, recv_ns)
                elif event.bids is not msgspec.UNSET or event.buys is not msgspec.UNSET:
                    self._on_book(event, recv_ns)
                else:
                    self._count_unknown("(none)")
            case name:
                self._count_unknown(name)

    # --- books and changes ------------------------------------------------------------------------------------------

    def _on_book(self, event: Event, recv_ns: int) -> None:
        held = self._find(event.market, event.asset_id or event.token_id)
        if held is None:
            self._counters.ignored += 1
            return
        first = (event.asset_id or event.token_id) == held.tokens[0]
        ts_ms = timestamp_ms(event.timestamp)
        bids, asks = book_sides(event)
        self._whole_book(held, event, bids, asks, first=first, ts_ms=ts_ms, recv_ns=recv_ns)

    def _whole_book(
        self,
        held: Held,
        said: Event | BookFrame,
        bids: dict[int, int],
        asks: dict[int, int],
        *,
        first: bool,
        ts_ms: int,
        recv_ns: int,
    ) -> None:
        """A token's whole book, its levels read."""
        if not first:
            bids, asks = mirrored(asks), mirrored(bids)
        text = said.hash or ""
        if held.newest_ms == NEVER or not self._is_past(held, bids, asks, first=first, text=text, ts_ms=ts_ms):
            self._replace(held, bids, asks, ts_ms, recv_ns)
            if ts_ms >= held.newest_ms or held.newest_ms == NEVER:
                held.newest_ms = held.book.ts_venue_ms = ts_ms
                held.announce_book(first=first, text=text, ts_ms=ts_ms)
            else:
                self._apply(held, held.recent(), recv_ns)
            held.snapshot_ms, held.snapshot_seq = ts_ms, held.book.seq
            held.snapshot_hash = [text, ""] if first else ["", text]
            if said.tick_size not in (None, ""):
                held.tick = decimal_text(said.tick_size)
            if said.last_trade_price is not None:
                held.last_trade = decimal_text(said.last_trade_price)
            if not held.book.live:
                self._revive(held, recv_ns // 1_000_000, prove=True)
        if self._check_each and text:
            self._check_each_of(held, [Announced(first, text, ts_ms)])

    def _is_past(
        self, held: Held, bids: dict[int, int], asks: dict[int, int], *, first: bool, text: str, ts_ms: int
    ) -> bool:
        """Whether a whole book tells nothing newer than what we have."""
        if ts_ms < held.snapshot_ms or ts_ms < held.newest_ms - _OLD_BOOK_MS:
            self._counters.late += 1
            return True
        if ts_ms > held.snapshot_ms:
            return False
        index = 0 if first else 1
        if text and text == held.snapshot_hash[index]:
            self._counters.duplicates += 1
            return True
        # The other token's view of the same instant: the same book, or one that changes have overtaken.
        ours = held.book
        known = held.snapshot_hash[1 - index] and not held.snapshot_hash[index]
        if known and (ours.seq != held.snapshot_seq or (ours.bids == bids and ours.asks == asks)):
            held.snapshot_hash[index] = text
            return True
        return False

    def _replace(self, held: Held, bids: dict[int, int], asks: dict[int, int], ts_ms: int, recv_ns: int) -> None:
        held.book.replace(bids, asks)
        held.book.ts_recv_ns = recv_ns
        held.best_off_ms = None
        held.rest_seq = None
        self._counters.snapshots += 1
        if held.audit is not None and held.audit.ts_venue_ms is not None and ts_ms >= held.audit.ts_venue_ms:
            held.audit = held.audit_ms = None

    def _on_change(self, event: Event, recv_ns: int) -> None:
        found = deltas(event)
        ts_ms = timestamp_ms(event.timestamp)
        for delta in found:
            mirror_text(delta.px_e4)  # so that the hot path knows this price from now on
        helds: dict[MarketId, Held] = {}
        for delta in found:
            held = self._find(event.market, delta.token)
            if held is None:
                self._counters.ignored += 1
            else:
                helds[held.market_id] = held
        for held in helds.values():
            self._change(held, found, ts_ms, recv_ns)

    def _change(self, held: Held, found: Sequence[Delta], ts_ms: int, recv_ns: int) -> None:
        changes = held.changes(found)
        if held.newest_ms == NEVER:
            self._counters.ignored += len(changes)
            return
        if ts_ms < held.snapshot_ms:
            self._counters.late += len(changes)
            return
        older = ts_ms < held.newest_ms
        if older:
            # Sizes are absolute: a level that the newer message set keeps what that message said.
            newer = {(change.bid, change.px_e4) for change in held.recent()}
            kept = [change for change in changes if (change.bid, change.px_e4) not in newer]
            self._counters.late += len(changes) - len(kept)
            self._apply(held, kept, recv_ns)
            return
        changed = self._apply(held, changes, recv_ns)
        held.newest_ms = held.book.ts_venue_ms = ts_ms
        fresh = held.announce(found, changes, ts_ms, changed=changed)
        held.checked_seq = -1  # also if our book did not change: perhaps it should have
        self._compare_any_best(held, found, recv_ns // 1_000_000)
        if self._check_each:
            self._check_each_of(held, fresh)

    def _apply(self, held: Held, changes: Iterable[Change], recv_ns: int) -> bool:
        """Set levels; returns whether that changed the book."""
        book = held.book
        before = book.seq
        for change in changes:
            ladder = book.bids if change.bid else book.asks
            if ladder.get(change.px_e4, 0) != change.sz_e6:
                book.set_level(Side.BID if change.bid else Side.ASK, change.px_e4, change.sz_e6)
        self._changes += book.seq - before
        book.ts_recv_ns = recv_ns
        return book.seq != before

    def _find(self, market: str, token: str) -> Held | None:
        """The market that holds this token; in replay an unknown one is taken up."""
        held = self._by_token.get(token)
        if held is not None or not self._passive or not token:
            return held
        market_id = MarketId(market or token)
        held = self._held.get(market_id)
        if held is None:
            held = Held(market_id, (token, ""), self._shelf.open(market_id))
        elif held.second:
            return None
        else:
            held.learn_second(token)
        self._hold(held)
        return held

    def _hold(self, held: Held) -> None:
        self._held[held.market_id] = held
        self._books[held.market_id] = held.book
        for token in held.tokens:
            if token:
                self._by_token[token] = held
        if not self._check_each:
            self._hot[held.tokens[0]] = held

    # --- other events -----------------------------------------------------------------------------------------------

    def _on_trade(self, event: Event) -> None:
        self._counters.trades += 1
        held = self._held.get(MarketId(event.market)) or self._by_token.get(event.asset_id or event.token_id)
        if held is None:
            return
        text = decimal_text(event.price)
        if 0 < len(text) <= 16:
            # A candidate for the hash also if it is finer than our prices: averages over levels are.
            held.trades = (text, *held.trades[:7])
            if held.book.integrity is not Integrity.VERIFIED:
                held.checked_seq = -1
        price_e4(text)

    def _on_best(self, event: Event, now_ms: int) -> None:
        token = event.asset_id or event.token_id
        held = self._by_token.get(token)
        if held is None:
            self._counters.ignored += 1
        elif held.newest_ms != NEVER:
            self._settle_claim(held, now_ms)
            # It overtakes the change that it is about by a millisecond or two, so it is looked at later.
            bid, ask = self._first_best(held, event.best_bid, event.best_ask, token)
            held.claim = Claim(bid, ask, timestamp_ms(event.timestamp), now_ms)

    def _on_tick_size(self, event: Event, now_ms: int) -> None:
        held = self._by_token.get(event.asset_id or event.token_id)
        if held is None:
            self._counters.ignored += 1
            return
        text = decimal_text(event.new_tick_size)
        px = price_e4(text, field="new_tick_size")
        # Each token announces it; and a listing may spell the same step otherwise.
        if not held.tick or price_e4(held.tick, field="tick_size") != px:
            held.tick = text
            self._report(FeedEventKind.TICK, held.market_id, text, now_ms=now_ms)
            # Orders off the new grid vanish, perhaps unannounced.
            self._want_rest(held, "tick", now_ms)

    def _on_listed(self, event: Event, now_ms: int) -> None:
        if self._follow_all:
            market_id = MarketId(event.condition_id or event.market)
            self._report(FeedEventKind.LISTED, market_id, event.question or "", now_ms=now_ms)
        else:
            self._counters.ignored += 1

    def _on_resolved(self, event: Event, now_ms: int) -> None:
        market_id = MarketId(event.condition_id or event.market)
        held = self._held.get(market_id)
        if held is None and not self._follow_all:
            self._counters.ignored += 1
            return
        detail = event.winning_outcome or event.winning_asset_id or ""
        self._report(FeedEventKind.RESOLVED, market_id, detail, now_ms=now_ms)
        if held is not None:
            # From here on the socket is silent and REST has no book. A book that comes nevertheless revives it.
            held.closed = True
            held.forget()
            held.due_ms = None
            held.book.live = False
            held.book.err = ErrCode.CLOSED

    def _count_unknown(self, name: str) -> None:
        unknown = self._counters.unknown
        name = name[:64]
        if name in unknown or len(unknown) < _UNKNOWN_NAMES_MAX:
            unknown[name] = unknown.get(name, 0) + 1

    # --- refusals ---------------------------------------------------------------------------------------------------

    def _refuse(self, event: Event | None, exc: WireError, recv_ns: int) -> None:
        """A message was not applied: if it belonged to a book of ours, that book is wrong from now on."""
        market_id = MarketId(event.market) if event is not None else MarketId("")
        self._reject(market_id, exc, recv_ns)
        held = self._held.get(market_id)
        if held is not None and event is not None and event.event_type in ("price_change", "book", ""):
            self._doubt(held, ErrCode.GAP, recv_ns // 1_000_000)

    def _reject(self, market_id: MarketId, exc: WireError, recv_ns: int) -> None:
        self._counters.rejected += 1
        self._report(FeedEventKind.REJECTED, market_id, str(exc), now_ms=recv_ns // 1_000_000)

    # --- proof ------------------------------------------------------------------------------------------------------

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """Prove the book as it stands now by the last announced hash.

        Returns
        -------
        Integrity
            ``verified``: the hash recomputes. ``unverified``: no hash is known, or none of this market ever
            recomputed. ``suspect``: it did before and does not now; the book is no longer live and repair has begun.
            While the book is not live: why.
        """
        held = self._held.get(market_id)
        if held is None:
            return Integrity.UNVERIFIED
        book = held.book
        if held.claim is not None and book.live:
            self._settle_claim(held, now_ms)
        if held.checked_seq == book.seq:
            return book.integrity
        if not book.live:
            if book.err == ErrCode.HASH_MISMATCH and held.newest_ms != NEVER and self._proof(held):
                self._heal(held, now_ms)
            return book.integrity
        held.checked_seq = book.seq
        found = self._proof(held)
        if found:
            book.integrity = Integrity.VERIFIED
            held.best_off_ms = None
        elif found is False and held.proved:
            self._doubt(held, ErrCode.HASH_MISMATCH, now_ms)
        else:
            book.integrity = Integrity.UNVERIFIED
            self._spot_check(held, now_ms)
            if book.live and book.crossed:
                self._counters.crossed += 1
                book.integrity = Integrity.SUSPECT
                held.checked_seq = -1
        return book.integrity

    def _proof(self, held: Held) -> bool | None:
        """Whether the newest announced hash recomputes; None if none is known."""
        said = held.announced()
        if not said:
            return None
        best = next((one for one in said if one.first), said[0])
        return self._recompute(held, best)

    def _recompute(self, held: Held, said: Announced) -> bool:
        self._counters.hash_checked += 1
        proof = held.prove(said, self._eras)
        if proof is None:
            return False
        self._counters.hash_matched += 1
        if len(self._eras) > 1 and not self._era_given:
            self._eras = (proof.era,)
        return True

    def _check_each_of(self, held: Held, said: Iterable[Announced]) -> None:
        good = [self._recompute(held, one) for one in said]
        if not good:
            return
        held.checked_seq = held.book.seq
        if all(good):
            held.book.integrity = Integrity.VERIFIED
        else:
            held.book.integrity = Integrity.SUSPECT if held.proved else Integrity.UNVERIFIED

    def _spot_check(self, held: Held, now_ms: int) -> None:
        """Compare the best prices that the newest change announced with ours."""
        if held.frame is not None:
            self._compare_any_best(held, held.newest_deltas(), now_ms)

    def _compare_any_best(self, held: Held, found: Sequence[Delta], now_ms: int) -> None:
        delta = next(
            (each for each in reversed(found) if each.best_bid is not None and each.token in held.tokens), None
        )
        if delta is not None:
            with suppress(WireError):  # a price that does not read says nothing about ours
                self._compare_best(held, delta.best_bid, delta.best_ask, delta.token, now_ms)

    @staticmethod
    def _first_best(held: Held, bid: Number, ask: Number, token: str) -> tuple[int, int]:
        """Announced best prices as the first token's."""
        theirs = (_best(bid, empty=NO_BID_E4), _best(ask, empty=NO_ASK_E4))
        # The sentinels mirror each other as prices do: -1 is one minus 10,001.
        return theirs if token == held.tokens[0] else (PX_ONE_E4 - theirs[1], PX_ONE_E4 - theirs[0])

    def _settle_claim(self, held: Held, now_ms: int) -> None:
        """Best prices announced two seconds ago, with no change since: if ours differ, a change was lost."""
        claim, book = held.claim, held.book
        if claim is None or now_ms - claim.recv_ms < _BEST_TOLERANCE_MS:
            return
        held.claim = None
        if claim.ts_ms > held.newest_ms and (claim.bid_e4, claim.ask_e4) != (book.best_bid_e4, book.best_ask_e4):
            self._counters.best_mismatches += 1
            self._doubt(held, ErrCode.GAP, now_ms)

    def _compare_best(self, held: Held, bid: Number, ask: Number, token: str, now_ms: int) -> None:
        book = held.book
        if self._first_best(held, bid, ask, token) == (book.best_bid_e4, book.best_ask_e4):
            held.best_off_ms = None
            return
        self._counters.best_mismatches += 1
        if held.best_off_ms is None:
            held.best_off_ms = now_ms
        elif now_ms - held.best_off_ms >= _BEST_TOLERANCE_MS and book.live:
            held.best_off_ms = None
            if not self._proof(held):
                self._doubt(held, ErrCode.CROSSED if book.crossed else ErrCode.GAP, now_ms)

    # --- repair -----------------------------------------------------------------------------------------------------

    def _doubt(self, held: Held, err: ErrCode, now_ms: int) -> None:
        """The book is known to be wrong: it is not live any more, and repair begins."""
        book = held.book
        if not book.live:
            return
        book.live = False
        book.err = err
        book.integrity = Integrity.SUSPECT if err is ErrCode.HASH_MISMATCH else Integrity.GAP
        held.gap_ms = now_ms
        held.checked_seq = -1
        self._counters.gaps += 1
        self._report(FeedEventKind.GAP, held.market_id, err, now_ms=now_ms)
        if held.healed_ms is None or now_ms - held.healed_ms > _CALM_MS:
            held.step = Step.NONE
        if self._passive or not self._connected:
            return
        if err is ErrCode.HASH_MISMATCH and held.step is Step.NONE:
            held.step = Step.RECHECK
            self._plan(held, now_ms + _RECHECK_MS)
        else:
            self._climb(held, now_ms)

    def _overdue(self, held: Held, now_ms: int) -> None:
        if held.book.live:
            if held.rest_seq is not None and held.rest_seq == held.book.seq:
                # The book came from REST and the socket is still silent about it: go on polling.
                self._want_rest(held, Step.REST, now_ms)
                self._plan(held, now_ms + _REST_AGAIN_MS)
        elif held.step is Step.RECHECK and held.newest_ms != NEVER and self._proof(held):
            self._heal(held, now_ms)
        else:
            self._climb(held, now_ms)

    def _climb(self, held: Held, now_ms: int) -> None:
        """Take the next repair step."""
        held.step = NEXT_STEP[held.step]
        if held.step is Step.RECONNECT and not self._may_reconnect(now_ms):
            held.step = Step.REST
        self._counters.resyncs += 1
        self._report(FeedEventKind.RESYNC, held.market_id, held.step, now_ms=now_ms)
        due_ms = now_ms + _REPAIR_DUE_MS
        match held.step:
            case Step.RESUBSCRIBE:
                held.forget()
                held.asked_ms = now_ms
                self._send({"operation": "unsubscribe", "assets_ids": held.tokens})
                self._send_subscribe(list(held.tokens))
            case Step.RECONNECT:
                self._forced_ms = now_ms
                self.reconnect_reason = f"repair of {held.market_id}"
            case Step.REST:
                self._want_rest(held, Step.REST, now_ms)
            case _:
                due_ms = now_ms + _REST_AFTER_MS
        self._plan(held, due_ms)

    def _may_reconnect(self, now_ms: int) -> bool:
        return self._forced_ms is None or now_ms - self._forced_ms >= _RECONNECT_EVERY_MS

    def _revive(self, held: Held, now_ms: int, *, prove: bool, how: str = "") -> None:
        """A whole book has arrived where none was live."""
        book = held.book
        book.live = True
        book.err = None
        book.integrity = Integrity.UNVERIFIED
        held.closed = False
        held.due_ms = None
        held.checked_seq = -1
        if held.gap_ms is None:
            took = None if held.asked_ms is None else max(0, now_ms - held.asked_ms)
            self._report(FeedEventKind.LIVE, held.market_id, how, now_ms=now_ms, took_ms=took)
        else:
            self._repaired(held, how or (held.step if held.step is not Step.NONE else Step.RECONNECT), now_ms)
        if prove and not self._passive:
            # The first book of a subscription brings every input of its hash: whether it recomputes tells whether
            # later mismatches mean anything.
            held.checked_seq = book.seq
            if self._proof(held):
                book.integrity = Integrity.VERIFIED
            else:
                held.proved = False

    def _heal(self, held: Held, now_ms: int) -> None:
        """What was missing has arrived after all."""
        book = held.book
        book.live = True
        book.err = None
        book.integrity = Integrity.VERIFIED
        held.checked_seq = book.seq
        held.due_ms = None
        self._repaired(held, Step.RECHECK, now_ms)

    def _repaired(self, held: Held, how: str, now_ms: int) -> None:
        took = None if held.gap_ms is None else max(0, now_ms - held.gap_ms)
        held.gap_ms = None
        held.healed_ms = now_ms
        self._counters.repairs += 1
        self._report(FeedEventKind.REPAIRED, held.market_id, how, now_ms=now_ms, took_ms=took)

    # --- REST -------------------------------------------------------------------------------------------------------

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """Answer to ``REST_WANTED`` or an audit.

        A book that its own hash contradicts is not used. Where the socket gives none, it becomes ours; where ours is
        live and it is newer, it has two seconds to be overtaken before it counts as proof that we miss something.
        """
        held = self._held.get(book.market_id)
        if held is None or book.hash_ok is False or book.ts_venue_ms is None or self._passive:
            return
        ours = held.book
        polled = held.rest_seq is not None and held.rest_seq == ours.seq
        if (not ours.live and held.step is Step.REST) or (polled and book.ts_venue_ms > held.newest_ms):
            self._adopt(held, book, now_ms)
        elif ours.live and book.ts_venue_ms >= held.newest_ms:
            if ours.bids == book.bids and ours.asks == book.asks:
                held.audit = held.audit_ms = None
                if book.hash_ok:
                    held.last_trade = book.last_trade_text or held.last_trade
                    ours.integrity = Integrity.VERIFIED
                    held.checked_seq = ours.seq
            else:
                held.audit, held.audit_ms = book, now_ms + _AUDIT_GRACE_MS
                self._wake_at(held.audit_ms)

    def _adopt(self, held: Held, book: RestBook, now_ms: int) -> None:
        ts_ms = book.ts_venue_ms or 0
        self._replace(held, dict(book.bids), dict(book.asks), ts_ms, now_ms * 1_000_000)
        held.newest_ms = held.snapshot_ms = held.book.ts_venue_ms = ts_ms
        held.snapshot_seq = held.rest_seq = held.book.seq
        held.snapshot_hash = [book.hash, ""]
        held.announce_book(first=True, text=book.hash, ts_ms=ts_ms)
        held.last_trade = book.last_trade_text or held.last_trade
        if not held.book.live:
            self._revive(held, now_ms, prove=False, how=Step.REST)
        held.book.integrity = Integrity.VERIFIED if book.hash_ok else Integrity.UNVERIFIED
        held.checked_seq = held.book.seq
        self._plan(held, now_ms + _REST_AGAIN_MS)

    def _settle_audit(self, held: Held, now_ms: int) -> None:
        """The grace of a newer REST book is over: if we still do not know what it says, we missed it."""
        book, held.audit, held.audit_ms = held.audit, None, None
        ours = held.book
        if book is None or book.ts_venue_ms is None or held.newest_ms > book.ts_venue_ms:
            return
        if ours.bids != book.bids or ours.asks != book.asks:
            self._doubt(held, ErrCode.GAP, now_ms)

    def _want_rest(self, held: Held, why: str, now_ms: int) -> None:
        if not self._passive:
            self._report(FeedEventKind.REST_WANTED, held.market_id, why, now_ms=now_ms)

    # --- heartbeat and silence --------------------------------------------------------------------------------------

    def _heartbeat(self, now_ms: int) -> None:
        """Send ``PING``; after two without any frame since, the connection is dead."""
        if self._pings >= 2 and self.last_recv_ns == self._recv_at_ping:
            self.reconnect_reason = "heartbeat"
        if self._pings == 0 or self.last_recv_ns != self._recv_at_ping:
            self._pings = 0
            self._recv_at_ping = self.last_recv_ns
        self._pings += 1
        self.outbox.append("PING")
        self._plan_ping(now_ms)
        self._watch_silence(now_ms)

    def _plan_ping(self, now_ms: int) -> None:
        jitter = self._rng.uniform(0.9, 1.0) if self._rng is not None else 1.0
        self._ping_ms = now_ms + int(self._heartbeat_ms * jitter)

    def _watch_silence(self, now_ms: int) -> None:
        """A connection can answer every ``PING`` and deliver nothing for hours.

        If it has been speaking at a rate at which this silence is no chance, it is frozen. Otherwise one of its
        markets serves as a canary: a REST book newer than ours gives the freeze away.
        """
        changes = self.counters.changes
        if changes != self._rate_changes:
            rate = (changes - self._rate_changes) * 1000 / max(1, now_ms - self._rate_ms)
            self._rate_per_s += (rate - self._rate_per_s) / min(6, self._rate_samples + 1)
            self._rate_samples += 1
            self._rate_changes, self._rate_ms = changes, now_ms
            self._canary_ms = now_ms + _MUTE_AFTER_MS
            return
        silent_ms = now_ms - self._rate_ms
        if silent_ms < _MUTE_AFTER_MS:
            return
        expected = self._rate_per_s * silent_ms / 1000
        if self._rate_samples >= 3 and expected >= _MUTE_EXPECTED and self._may_reconnect(now_ms):
            self._forced_ms = now_ms
            self.reconnect_reason = f"mute for {silent_ms // 1000} s"
        elif now_ms >= self._canary_ms:
            self._canary_ms = now_ms + _MUTE_AFTER_MS
            live = [held for held in self._held.values() if held.book.live]
            if live:
                canary = self._rng.choice(live) if self._rng is not None else live[0]
                self._want_rest(canary, "silence", now_ms)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _ask(self, now_ms: int) -> None:
        """Send the next waiting subscription if its time has come."""
        if not self._to_ask or not self._connected or self._passive:
            self._to_ask.clear()
            return
        if now_ms < self._chunk_ms:
            self._wake_at(self._chunk_ms)
            return
        tokens: list[str] = []
        for _ in range(min(self._chunk_markets, len(self._to_ask))):
            held = self._held[self._to_ask.popleft()]
            held.asked_ms = now_ms
            tokens += held.tokens
            self._plan(held, now_ms + _BOOK_DUE_MS)
        self._send_subscribe(tokens)
        self._chunk_ms = now_ms + self._chunk_gap_ms
        if self._to_ask:
            self._wake_at(self._chunk_ms)

    def _send_subscribe(self, tokens: list[str]) -> None:
        if self._greeted:
            self._send({"operation": "subscribe", "assets_ids": tokens, "custom_feature_enabled": True})
        else:
            # Only the first message of a connection has this form; only it asks for the dump in so many words.
            self._greeted = True
            self._send({"assets_ids": tokens, "type": "market", "custom_feature_enabled": True, "initial_dump": True})

    def _send(self, command: Mapping[str, object]) -> None:
        self.outbox.append(msgspec.json.encode(command).decode())

    # --- small things -----------------------------------------------------------------------------------------------

    def _plan(self, held: Held, at_ms: int) -> None:
        held.due_ms = at_ms
        self._wake_at(at_ms)

    def _wake_at(self, at_ms: int) -> None:
        self._wake_ms = min(self._wake_ms, at_ms)

    def _report(
        self, kind: FeedEventKind, market_id: MarketId, detail: str, *, now_ms: int, took_ms: int | None = None
    ) -> None:
        self.events.append(
            FeedEvent(kind=kind, ts_recv_ns=now_ms * 1_000_000, market_id=market_id, detail=detail, took_ms=took_ms)
        )


def _eras(era: HashEra | None, *, passive: bool) -> tuple[HashEra, ...]:
    if era is not None:
        return (era,)
    return tuple(sorted(HashEra, reverse=True)) if passive else (HashEra.TEN,)


def _best(value: Number, *, empty: int) -> int:
    """An announced best price; an empty side is printed as ``""``, as 0 for bids and as 1 for asks."""
    if value in (None, ""):
        return empty
    px = price_e4(value)
    return empty if px == (0 if empty == NO_BID_E4 else PX_ONE_E4) else px


def _is_json(body: bytes) -> bool:
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True

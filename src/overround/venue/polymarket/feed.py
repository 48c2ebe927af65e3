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

Commands and heartbeats are in ``connection``, proof and repair in ``repair``; here are the frames.

``receive`` applies the common frame itself: a ``price_change`` with one entry for each token of a market we hold.
Everything it cannot take at a glance goes to `_other`, which is complete, strict and slower. Neither ever raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from overround.book import NO_ASK_E4, NO_BID_E4, Side
from overround.errors import UNREADABLE, WireError
from overround.market import SZ_ONE_E6, ErrCode, Integrity, MarketId, Trade
from overround.venue.polymarket.held import NEVER, Announced, Change, Claim, Held
from overround.venue.polymarket.parse import (
    Delta,
    book_sides,
    decimal_text,
    deltas,
    ladder,
    mirror_text_by_px,
    mirrored,
    price_e4,
    px_by_text,
    timestamp_ms,
)
from overround.venue.polymarket.prints import trade_of
from overround.venue.polymarket.repair import Repair
from overround.venue.polymarket.wire import (
    BookFrame,
    Event,
    decode_book,
    decode_change,
    decode_event,
    decode_levels,
    decode_short,
    split_array,
)
from overround.venue.ports import FeedEventKind
from overround.venue.repair import Saw, State

__all__ = ["PolymarketFeed"]

_NAMES = re.compile(rb'"(?:market|asset_id)"\s*:\s*"([^"]{1,100})"').findall
_TEXT_FRAMES = frozenset({b"PONG", b"NO NEW ASSETS"})
_UNKNOWN_NAMES_MAX = 100
# The reasons for which the hot path hands a frame on; none of them is exceptional there.
_NOT_COMMON = (msgspec.MsgspecError, WireError, LookupError, ValueError, TypeError, RecursionError)

_OLD_BOOK_MS = 1_000
# A change with an entry for each token has about 600 bytes, blanks after separators included; a longer frame is most
# likely a book. Only a hint: both roads end in `_other` if they are the wrong one.
_LONGEST_CHANGE = 900
# With two tokens, two hashes and a market id it hardly has less than this; best prices and prints have.
_SHORTEST_CHANGE = 480
_HASH_DIGITS = 40
_TIMES_END_MS = 10**15
# A million contracts; larger sizes are read as text.
_EXACT_SZ_E6 = 10**12


class PolymarketFeed(Repair):
    """One connection to the market channel, sans-IO; see `Connection` for its parameters."""

    __slots__ = ()

    # --- frames -----------------------------------------------------------------------------------------------------

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """Apply one frame; returns whether it was JSON."""
        size = len(frame)
        if not _SHORTEST_CHANGE < size <= _LONGEST_CHANGE:
            return self._long(frame, recv_ns) if size > _LONGEST_CHANGE else self._short(frame, recv_ns)
        try:
            message = decode_change(frame)
            first, second = message.price_changes  # type: ignore[misc]  # None and other lengths are caught below
            held = self._hot.get(first.asset_id)
            if held is None:
                first, second = second, first
                held = self._hot[first.asset_id]
            ts_ms = message.timestamp
            side = first.side
            size_e6 = first.size * SZ_ONE_E6
            px = px_by_text[first.price]
            if (
                ts_ms < held.newest_ms
                or second.asset_id != held.second
                or second.size != first.size
                or second.side == side
                or second.price != mirror_text_by_px[px]
                or not 0 <= size_e6 < _EXACT_SZ_E6  # NaN and infinity are not
            ):
                return self._other(frame, recv_ns)
            sz = int(size_e6 + 0.5)
            # The division is correctly rounded, as the reading was: a size with more than six decimals is another double.
            if sz / SZ_ONE_E6 != first.size:
                return self._other(frame, recv_ns)
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
        if held.text is not None:
            held.touched.append(px if side == "BUY" else -px)
        self._hot_frames += 1
        self._bytes += size
        if not seq % self._sample_every:
            self._sample(held, recv_ns)
        return True

    def _short(self, frame: bytes, recv_ns: int) -> bool:
        """A frame too short for a common change: best prices or a print in the common form, or any other."""
        bid = ask = 0
        try:
            said = decode_short(frame)
            held = self._by_token[said.asset_id]
            if said.market != held.market_id or not 0 <= said.timestamp < _TIMES_END_MS or held.newest_ms == NEVER:
                return self._other(frame, recv_ns)
            if said.event_type == "best_bid_ask":
                bid, ask = self._first_best(held, said.best_bid, said.best_ask, said.asset_id)
            elif said.event_type == "last_trade_price":
                bid = px_by_text[said.price]
            else:
                return self._other(frame, recv_ns)
        except _NOT_COMMON:
            return self._other(frame, recv_ns)
        self.last_recv_ns = recv_ns
        self._frames += 1
        self._bytes += len(frame)
        if said.event_type == "best_bid_ask":
            self._claim(held, bid, ask, said.timestamp, recv_ns // 1_000_000)
        else:
            self._counters.trades += 1
            self._note_trade(held, said.price)
            if not self._passive:
                self._prints.append((held, frame, recv_ns))
        return True

    def _long(self, frame: bytes, recv_ns: int) -> bool:
        """A frame too long for a common change: a whole book in the common form, or any other."""
        try:
            message = decode_book(frame)
            held = self._by_token[message.asset_id]
            ts_ms = message.timestamp
            if message.event_type != "book" or not 0 <= ts_ms < _TIMES_END_MS:
                return self._other(frame, recv_ns)
            first = message.asset_id == held.tokens[0]
            if self._is_repeated(held, message, n_levels=frame.count(b"{") - 1):
                return self._repeated(held, message, frame, recv_ns, first=first)
            bids, asks = ladder(decode_levels(message.bids)), ladder(decode_levels(message.asks))
        except _NOT_COMMON:
            return self._other(frame, recv_ns)
        self.last_recv_ns = recv_ns
        self._frames += 1
        self._bytes += len(frame)
        self._whole_book(held, message, bids, asks, first=first, ts_ms=ts_ms, recv_ns=recv_ns)
        return True

    def _is_repeated(self, held: Held, said: BookFrame, *, n_levels: int) -> bool:
        """Whether a whole book is the one that the newest change led to: after each trade the venue sends it again.

        Its hash names the state that the change announced, and the verdict proves ours against that same hash; so its
        levels, two thirds of the price of such a frame, tell nothing new. Of a book in doubt they do: they end the doubt.
        """
        book = held.book
        return (
            book.live
            and held.mend.state is State.WHOLE
            and said.timestamp == held.newest_ms
            and held.frame is not None
            and said.hash is not None
            and len(said.hash) == _HASH_DIGITS
            and said.hash.encode() in held.frame
            and n_levels == len(book.bids) + len(book.asks)
            and said.tick_size is said.last_trade_price is None
            and not self._check_each
        )

    def _repeated(self, held: Held, said: BookFrame, frame: bytes, recv_ns: int, *, first: bool) -> bool:
        self.last_recv_ns = recv_ns
        self._frames += 1
        self._bytes += len(frame)
        self._counters.duplicates += 1
        # From here on an older change is late, as after any whole book.
        text = said.hash or ""
        held.snapshot_ms, held.snapshot_seq = said.timestamp, held.book.seq
        held.snapshot_hash = [text, ""] if first else ["", text]
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
                self._doubt_named(body, recv_ns)
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
            self._count_unknown("text", recv_ns)

    def _take(self, raw: bytes | msgspec.Raw, recv_ns: int) -> bool:
        """One object; False if it was refused."""
        event: Event | None = None
        try:
            event = decode_event(raw)
            self._dispatch(event, recv_ns)
        except WireError as exc:
            self._refuse(event, exc, recv_ns)
            if event is None:
                self._doubt_named(bytes(raw), recv_ns)
            return False
        return True

    def _dispatch(self, event: Event, recv_ns: int) -> None:
        match event.event_type:
            case "price_change":
                self._on_change(event, recv_ns)
            case "book":
                self._on_book(event, recv_ns)
            case "last_trade_price":
                self._on_trade(event, recv_ns)
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
                    self._count_unknown("(none)", recv_ns)
            case name:
                self._count_unknown(name, recv_ns)

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
                held.mend.see(Saw.BOOK, recv_ns // 1_000_000)
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
        # Two views of one instant that differ: the later one is taken, and its hash has to prove it.
        self._counters.mirror_mismatches += bool(known)
        return False

    def _on_change(self, event: Event, recv_ns: int) -> None:
        found = deltas(event)
        ts_ms = timestamp_ms(event.timestamp)
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
            if kept and held.doubted_ns and self._proof(held):
                held.doubted_ns = 0  # what was missing came late: nothing was lost
            return
        changed = self._apply(held, changes, recv_ns)
        held.newest_ms = held.book.ts_venue_ms = ts_ms
        fresh = held.announce(found, changes, ts_ms, changed=changed)
        held.checked_seq = -1  # also if our book did not change: perhaps it should have
        if held.contradicts(found):
            self._counters.mirror_mismatches += 1
            self._suspect(held, recv_ns // 1_000_000)
        self._compare_any_best(held, found, recv_ns // 1_000_000)
        if self._check_each:
            self._check_each_of(held, fresh)
        elif changed and not self._passive and not held.book.seq % self._sample_every:
            self._sample(held, recv_ns)

    def _apply(self, held: Held, changes: Iterable[Change], recv_ns: int) -> bool:
        """Set levels; returns whether that changed the book."""
        book = held.book
        before = book.seq
        for change in changes:
            ladder = book.bids if change.bid else book.asks
            if ladder.get(change.px_e4, 0) != change.sz_e6:
                book.set_level(Side.BID if change.bid else Side.ASK, change.px_e4, change.sz_e6)
                if held.text is not None:
                    held.touched.append(change.px_e4 if change.bid else -change.px_e4)
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

    # --- other events -----------------------------------------------------------------------------------------------

    def take_trades(self) -> list[Trade]:
        """Prints since the last call; those of the common form are read only here."""
        trades: list[Trade] = []
        while self._prints:
            held, frame, recv_ns = self._prints.popleft()
            try:
                trades.append(trade_of(decode_event(frame), held, recv_ns))
            except WireError as exc:
                self._reject(held.market_id, exc, recv_ns)
        trades += self._odd_trades
        self._odd_trades.clear()
        return trades

    def _on_trade(self, event: Event, recv_ns: int) -> None:
        self._counters.trades += 1
        held = self._held.get(MarketId(event.market)) or self._by_token.get(event.asset_id or event.token_id)
        if held is None:
            return
        self._note_trade(held, decimal_text(event.price))
        trade = trade_of(event, held, recv_ns)
        if not self._passive:
            self._odd_trades.append(trade)

    @staticmethod
    def _note_trade(held: Held, text: str) -> None:
        if 0 < len(text) <= 16:
            # A candidate for the hash also if it is finer than our prices: averages over levels are.
            held.trades = (text, *held.trades[:7])
            if held.book.integrity is not Integrity.VERIFIED:
                held.checked_seq = -1

    def _on_best(self, event: Event, now_ms: int) -> None:
        token = event.asset_id or event.token_id
        held = self._by_token.get(token)
        if held is None:
            self._counters.ignored += 1
        elif held.newest_ms != NEVER:
            bid, ask = self._first_best(held, event.best_bid, event.best_ask, token)
            self._claim(held, bid, ask, timestamp_ms(event.timestamp), now_ms)

    def _claim(self, held: Held, bid: int, ask: int, ts_ms: int, now_ms: int) -> None:
        """Announced best prices overtake the change that they are about by a millisecond or two: looked at later."""
        self._settle_claim(held, now_ms)
        held.claim = Claim(bid, ask, ts_ms, now_ms)

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
            held.mend.see(Saw.ENDED, now_ms)
            held.book.live = False
            held.book.err = ErrCode.CLOSED

    def _count_unknown(self, name: str, recv_ns: int) -> None:
        unknown = self._counters.unknown
        name = name[:64]
        if name not in unknown and len(unknown) < _UNKNOWN_NAMES_MAX:
            self._report(FeedEventKind.UNKNOWN, MarketId(""), name, now_ms=recv_ns // 1_000_000)
        if name in unknown or len(unknown) < _UNKNOWN_NAMES_MAX:
            unknown[name] = unknown.get(name, 0) + 1

    # --- refusals ---------------------------------------------------------------------------------------------------

    def _refuse(self, event: Event | None, exc: WireError, recv_ns: int) -> None:
        """A message was not applied: if it belonged to a book of ours, that book is wrong from now on."""
        market_id = MarketId(event.market) if event is not None else MarketId("")
        self._reject(market_id, exc, recv_ns)
        held = self._held.get(market_id)
        if held is not None and event is not None and event.event_type in ("price_change", "book", ""):
            self._doubt_unread(held, recv_ns)

    def _doubt_named(self, raw: bytes, recv_ns: int) -> None:
        """What cannot be read at all (it is cut, mostly) still names the books of ours that it may have been about."""
        for name in dict.fromkeys(_NAMES(raw)):
            text = name.decode(errors="replace")
            held = self._held.get(MarketId(text)) or self._by_token.get(text)
            if held is not None:
                self._doubt_unread(held, recv_ns)

    def _doubt_unread(self, held: Held, recv_ns: int) -> None:
        """A frame that cannot be read takes its hash along, which would have told of anything missing before it.

        So the book is known right up to its last proof only; one that no hash ever proved is no worse before than it was.
        """
        since_ns = None if held.proved else recv_ns
        self._doubt(held, ErrCode.GAP, Saw.MUTE, recv_ns // 1_000_000, since_ns=since_ns)

    def _reject(self, market_id: MarketId, exc: WireError, recv_ns: int) -> None:
        self._counters.rejected += 1
        self._report(FeedEventKind.REJECTED, market_id, str(exc), now_ms=recv_ns // 1_000_000)


def _is_json(body: bytes) -> bool:
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
    except UNREADABLE:
        return False
    return True

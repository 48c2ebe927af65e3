"""One Kalshi connection without the connection: ``venue.ports.Feed`` for ``orderbook_delta``.

``seq`` counts the frames of one subscription (``sid``) over all its markets, acknowledgements included, so
every frame that carries both is checked before its type is looked at:

- the number that is due: the frame is taken;
- a number seen before: the frame is ignored and counted;
- a later number: frames are missing, and they may have concerned any market of the sid. That is one gap. All
  its markets stop being live, keep their last content, and discard changes until their own snapshot.

A market's snapshot makes it live again by itself. How markets and repairs move is drawn in ``state``, what is
sent is decided in ``commands``; here are frames and books. Changes of a live market go from the decoder
straight into the ladders (``receive``): no queue, no object per change, texts become integers by table.

A book that cannot be proved is never left live: a value that does not fit, a frame of the book channel that
cannot be read or lacks its number, an unknown message that names a market on the book's own sid, a level
below zero and a pair that stays crossed all break the market (or, where none can be named, all of them) until a
snapshot comes. A market that breaks again and again is asked for more and more slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from overround.book import NO_ASK_E4, NO_BID_E4, Book, BookShelf, Side
from overround.errors import WireError
from overround.market import PX_ONE_E4, ErrCode, Integrity, Market, MarketId, px_e4
from overround.venue.kalshi.commands import BOOKS, Commander
from overround.venue.kalshi.markets import Markets
from overround.venue.kalshi.parse import NO_AS_ASK, PX_BY_TEXT, ladders, time_ms
from overround.venue.kalshi.state import Channel, Sizes, Stage, Step, Verb
from overround.venue.kalshi.wire import (
    DeltaFrame,
    DeltaMsg,
    Envelope,
    ErrorMsg,
    LifecycleMsg,
    MarketOnly,
    OkMsg,
    SnapshotMsg,
    StampedFrame,
    SubscribedMsg,
    TextTimedFrame,
    TickerMsg,
    TradeHead,
)
from overround.venue.ports import FeedCounters, FeedEvent, FeedEventKind, RestBook

__all__ = ["KalshiFeed"]

_decode_stamped = msgspec.json.Decoder(StampedFrame).decode
_decode_text_timed = msgspec.json.Decoder(TextTimedFrame).decode
_decode_delta_msg = msgspec.json.Decoder(DeltaMsg).decode
_decode_trade = msgspec.json.Decoder(TradeHead).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_snapshot = msgspec.json.Decoder(SnapshotMsg).decode
_decode_subscribed = msgspec.json.Decoder(SubscribedMsg).decode
_decode_ok = msgspec.json.Decoder(OkMsg).decode
_decode_error = msgspec.json.Decoder(ErrorMsg).decode
_decode_lifecycle = msgspec.json.Decoder(LifecycleMsg).decode
_decode_ticker = msgspec.json.Decoder(TickerMsg).decode
_decode_market_only = msgspec.json.Decoder(MarketOnly).decode
_decode_anything = msgspec.json.decode

# What a decoder may raise on hostile bytes: its own errors, bad UTF-8, nesting without end.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

# A frame that is none of the common case; a value out of scale is refused on the careful road.
_NOT_THIS = (*_UNREADABLE, IndexError, WireError)

_E = ord("e")
"""Where the venue writes its type first, the 21st byte of a change is the e of ``orderbook_delta``.

No other type has it there; the 20th would not do, since in a trade it is the d of ``sid``.
"""
_TRADE = b'"trade"'

_ANSWERS = frozenset({"subscribed", "unsubscribed", "ok", "error"})
_CHANNEL_OF = {
    "orderbook_delta": BOOKS,
    "orderbook_snapshot": BOOKS,
    "trade": "trade",
    "ticker": "ticker",
    "market_lifecycle_v2": "market_lifecycle_v2",
    "event_lifecycle": "market_lifecycle_v2",
    "event_fee_update": "market_lifecycle_v2",
    "multivariate_market_lifecycle": "multivariate_market_lifecycle",
}

_SID_OF = {name: -1 - place for place, name in enumerate(dict.fromkeys(_CHANNEL_OF.values()))}

_RUN_OF_OLD = 4
_RESTART_SPAN = 100
_UNKNOWN_NAMES = 100
_AFTER_CLOSE_MS = 2_000


class KalshiFeed:
    """One connection to the venue's socket, sans-IO.

    Parameters
    ----------
    shelf : BookShelf
        Where the books stand.
    channels : tuple of str
        Asked for in this order; ``orderbook_delta`` is the first.
    passive : bool
        Replay: takes every market and every ``sid`` it sees, sends nothing, repairs nothing.
    ignore_gaps : bool
        For a recording filtered by market: its numbers have holes that mean nothing (``verdict`` never says
        ``verified`` then).
    use_yes_price : bool
        Sent with each subscription; whether ``no`` levels come in YES prices.
    chunk : int
        Markets in one command at most.
    step_ms : int
        How long an answer, and so a repair step, may take.
    probe_ms : int or None
        Silence after which one market's snapshot is asked for as a sign of life; None for never.
    """

    def __init__(
        self,
        shelf: BookShelf,
        *,
        channels: tuple[str, ...] = (BOOKS, "trade"),
        passive: bool = False,
        ignore_gaps: bool = False,
        use_yes_price: bool = False,
        chunk: int = 100,
        step_ms: int = 2_000,
        probe_ms: int | None = 60_000,
    ) -> None:
        if channels[:1] != (BOOKS,):
            raise ValueError(f"the first channel is {BOOKS}, not {channels[:1]}")
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.last_recv_ns = 0
        self._counters = FeedCounters()
        self._slow = self._slow_changes = self._slow_trades = 0
        # Bytes and frames: all that took another road than the fast one, and a sample of that.
        self._other_bytes = self._other_frames = self._sample_bytes = self._sample_frames = 0
        self._passive = passive
        self._ignore_gaps = ignore_gaps
        self._use_yes_price = use_yes_price
        self._no_px = PX_BY_TEXT if use_yes_price else NO_AS_ASK
        self._by_sid: dict[int, Channel] = {}
        self._channels = tuple(Channel(name) for name in channels)
        self._ever = list(self._channels)
        self._sizes = Sizes()
        self._decode_delta: Callable[[bytes], StampedFrame | TextTimedFrame] = _decode_stamped
        self._markets = Markets(
            shelf,
            self._counters,
            report=self._report,
            plan=self._plan,
            book_came=self._book_came,
            passive=passive,
            ignore_gaps=ignore_gaps,
        )
        self._held, self._live = self._markets.held, self._markets.live
        self._commander = Commander(
            self._held,
            self._channels,
            self._counters,
            send=self._send,
            report=self._report,
            give_up=self._give_up,
            reconnect=self._reconnect,
            use_yes_price=use_yes_price,
            chunk=chunk,
            step_ms=step_ms,
            probe_ms=probe_ms,
        )

    # -- what is wanted --------------------------------------------------------------------------------------

    @property
    def counters(self) -> FeedCounters:
        """What was counted so far; the same object every time, brought up to date.

        Everything is exact but ``bytes``: of changes and prints on the fast road only a sample is weighed, because
        adding up lengths would cost as much as the best price does.
        """
        counters = self._counters
        changes = sum(channel.n_fast for channel in self._ever if channel.name == BOOKS)
        trades = sum(channel.n_fast for channel in self._ever if channel.name != BOOKS)
        counters.frames = changes + trades + self._slow
        if self._sample_frames:
            mean = self._sample_bytes / self._sample_frames
        else:
            mean = self._other_bytes / max(1, self._other_frames)
        counters.bytes = self._other_bytes + round(mean * (counters.frames - self._other_frames))
        counters.changes, counters.trades = changes + self._slow_changes, trades + self._slow_trades
        return counters

    @counters.setter
    def counters(self, _: FeedCounters) -> None:
        raise AttributeError("a feed's counters are its own")

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection (in replay: seen), live or not."""
        return self._markets.books

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets; commands are sent if the connection stands, else at ``opened``."""
        for market in markets:
            held = self._held.get(market.market_id)
            if held is None:
                held = self._markets.hold(market.market_id, now_ms)
            self._markets.close_at(held, market.close_ts, now_ms)
        self._commander.plan(now_ms)

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:
        """Want fewer markets; their books are closed on the shelf at once."""
        for market_id in market_ids:
            if self._markets.drop(market_id):
                self._commander.forget(market_id)
        self._commander.plan(now_ms)

    # -- the connection --------------------------------------------------------------------------------------

    def opened(self, *, now_ms: int) -> None:
        """The connection stands: ask for everything wanted."""
        self.reconnect_reason = None
        if self._by_sid:
            self.lost(now_ms=now_ms, reason="opened anew")
        if not self._passive:
            self._commander.opened(now_ms)

    def lost(self, *, now_ms: int, reason: str) -> None:  # noqa: ARG002 (the port's signature; the shell logs it)
        """The connection has ended: every book is ``reconnecting`` until its next snapshot."""
        self._markets.lost(now_ms, self.last_recv_ns // 1_000_000)
        for channel in self._by_sid.values():
            channel.live.clear()
        self._by_sid.clear()
        self._commander.closed()
        self.outbox.clear()
        self.reconnect_reason = None

    def tick(self, *, now_ms: int) -> None:
        """End books whose close time has come; time out what is overdue; send what is next."""
        self._markets.tick(now_ms)
        self._commander.tick(now_ms, self.last_recv_ns // 1_000_000)

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        of_markets, of_commands = (
            self._markets.deadline_ms(),
            self._commander.deadline_ms(self.last_recv_ns // 1_000_000),
        )
        if of_markets is None or of_commands is None:
            return of_commands if of_markets is None else of_markets
        return min(of_markets, of_commands)

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:  # noqa: ARG002 (the port's signature)
        """Compare only: a REST book carries neither number nor clock and never repairs a socket's book."""
        held = self._held.get(book.market_id)
        if held is None or held.stage is not Stage.LIVE:
            return
        best = (max(book.bids, default=NO_BID_E4), min(book.asks, default=NO_ASK_E4))
        if best != (held.book.best_bid_e4, held.book.best_ask_e4):
            self._counters.best_mismatches += 1

    def distrust(self, market_id: MarketId, *, now_ms: int, since_ns: int | None = None) -> bool:
        """A market was found mute or wrong from outside: it is taken off and added anew.

        A snapshot alone would mend its book and leave it mute. A first book that is late is asked for every two
        seconds anyhow.
        """
        if self._passive:
            return False
        return self._markets.wrong(
            market_id, ErrCode.GAP, Integrity.SUSPECT, now_ms, since_ns=since_ns, step=Step.READD
        )

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """``verified`` while the sequence is whole since the market's snapshot.

        ``suspect`` while both sides meet. A book past its close time ends here at the latest.
        """
        return self._markets.verdict(market_id, now_ms)

    def proven_ms(self, market_id: MarketId) -> int | None:
        """The last instant at which a market's book was whole, or None."""
        return self._markets.proven_ms(market_id, self.last_recv_ns // 1_000_000)

    # -- frames ----------------------------------------------------------------------------------------------

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """Apply one frame; returns whether it was JSON. Never raises.

        The common case, a change in order, of a live market, at a price of the usual spelling, is written out
        here down to the ladder. Whatever is missing for it raises a ``KeyError`` before anything has changed,
        and the careful road (``_change``) takes the frame instead. No counter is touched that another number
        tells already.
        """
        self.last_recv_ns = recv_ns
        try:
            # One byte guesses the type (``orderbook_de``); the decoder makes sure of it.
            if frame[20] != _E:
                return self._trade(frame, recv_ns) if frame[8:15] == _TRADE else self._other(frame, recv_ns)
            delta = self._decode_delta(frame)
            msg = delta.msg
            book = self._live[msg.market_ticker]
            channel = book.channel
            seq = delta.seq
            if seq - channel.last != 1 or delta.sid != channel.sid:
                if seq <= channel.last or delta.sid != channel.sid or not self._ignore_gaps:
                    return self._change(_in_full(delta), recv_ns)
                # A hole that means nothing, closed as ``advance`` would.
                channel.base += seq - 1 - channel.last
                channel.last = seq - 1
            change = self._sizes[msg.delta_fp]
            if msg.side == "yes":
                px = PX_BY_TEXT[msg.price_dollars]
                ladder = book.bids
                size = ladder.get(px, 0) + change
                if size > 0:
                    ladder[px] = size
                    if px > book.best_bid_e4:
                        book.best_bid_e4 = px
                        self._weigh(frame)
                        if px >= book.best_ask_e4:
                            self._markets.crossed(msg.market_ticker, recv_ns // 1_000_000)
                elif size == 0:
                    ladder.pop(px, 0)
                    if px == book.best_bid_e4:
                        book.best_bid_e4 = max(ladder, default=NO_BID_E4)
                else:
                    return self._change(_in_full(delta), recv_ns)
            else:
                px = self._no_px[msg.price_dollars]
                ladder = book.asks
                size = ladder.get(px, 0) + change
                if size > 0:
                    ladder[px] = size
                    if px < book.best_ask_e4:
                        book.best_ask_e4 = px
                        self._weigh(frame)
                        if px <= book.best_bid_e4:
                            self._markets.crossed(msg.market_ticker, recv_ns // 1_000_000)
                elif size == 0:
                    ladder.pop(px, 0)
                    if px == book.best_ask_e4:
                        book.best_ask_e4 = min(ladder, default=NO_ASK_E4)
                else:
                    return self._change(_in_full(delta), recv_ns)
        except KeyError:
            return self._change(_in_full(delta), recv_ns)
        except _NOT_THIS:
            return self._other(frame, recv_ns)
        channel.last = seq
        book.seq += 1
        book.ts_recv_ns = recv_ns
        book.stamp = msg.stamp
        return True

    def _weigh(self, frame: bytes) -> None:
        """Note the length of one frame of the fast road: about one change in a hundred improves a best price."""
        self._sample_bytes += len(frame)
        self._sample_frames += 1

    def _trade(self, frame: bytes, recv_ns: int) -> bool:
        """A print, every tenth frame: only its number matters to the books."""
        try:
            head = _decode_trade(frame)
            channel = self._by_sid[head.sid]
        except (KeyError, *_UNREADABLE):
            return self._other(frame, recv_ns)
        if head.seq - channel.last != 1 or channel.name != "trade":
            return self._other(frame, recv_ns)
        channel.last = head.seq
        return True

    def _change(self, delta: DeltaFrame, recv_ns: int) -> bool:
        """A change that is not of the common case; the same, step by step."""
        self._slow += 1
        msg, seq = delta.msg, delta.seq
        channel = self._by_sid.get(delta.sid)
        if channel is None:
            channel = self._stranger(delta.sid, seq, "orderbook_delta")
            if channel is None:
                return True
        if seq == channel.due:
            channel.advance(seq + 1)
        elif not self._out_of_order(channel, seq, recv_ns, is_snapshot=False):
            return True
        self._apply(channel, msg, recv_ns)
        channel.heard_ns = recv_ns
        return True

    def _apply(self, channel: Channel, msg: DeltaMsg, recv_ns: int) -> None:
        """A change whose number is in order."""
        ticker = msg.market_ticker
        book = channel.live.get(ticker)
        if book is None:
            self._change_without_book(channel, msg, recv_ns)
            return
        try:
            px, change = self._read_change(msg)
        except WireError as exc:
            self._rejected(str(exc), recv_ns, (ticker,))
            return
        side = Side.BID if msg.side == "yes" else Side.ASK
        if not book.change_level(side, px, change):
            self._counters.negative_levels += 1
            self._markets.wrong(ticker, ErrCode.NEGATIVE_LEVEL, Integrity.SUSPECT, recv_ns // 1_000_000)
            return
        book.ts_recv_ns = recv_ns
        book.stamp = _stamp_of(msg)
        self._slow_changes += 1
        if book.best_bid_e4 >= book.best_ask_e4:
            self._markets.crossed(ticker, recv_ns // 1_000_000)

    def _other(self, frame: bytes, recv_ns: int) -> bool:
        """Any frame that is no change, or is one in another spelling than the usual."""
        self._other_bytes += len(frame)
        self._other_frames += 1
        try:
            env = _decode_envelope(frame)
        except _UNREADABLE as exc:
            self._slow += 1
            return self._unreadable(frame, exc, recv_ns)
        kind = env.type
        if self._passive and env.sid is None:
            # A recorder that kept no sid: one per channel, since each counts for itself.
            env.sid = _SID_OF.get(_CHANNEL_OF.get(kind, ""))
        if kind == "orderbook_delta" and env.sid is not None and env.seq is not None:
            try:
                msg = _decode_delta_msg(env.msg)
            except _UNREADABLE:
                pass
            else:
                # What came before tells what comes next: the lean decoder that fits this stream.
                if msg.ts_ms is not None:
                    self._decode_delta = _decode_stamped
                elif isinstance(msg.ts, str):
                    self._decode_delta = _decode_text_timed
                return self._change(DeltaFrame(sid=env.sid, seq=env.seq, msg=msg), recv_ns)
        self._slow += 1
        channel = self._by_sid.get(env.sid) if env.sid is not None else None
        if channel is None and env.sid is not None and kind not in _ANSWERS:
            channel = self._stranger(env.sid, env.seq, kind)
            if channel is None:
                return True
        if (
            channel is not None
            and env.seq is not None
            and env.seq != channel.due
            and not self._out_of_order(channel, env.seq, recv_ns, is_snapshot=kind == "orderbook_snapshot")
        ):
            return True
        if channel is not None and env.seq is not None:
            channel.advance(env.seq + 1)
        try:
            self._take(kind, env, channel, recv_ns)
        except (*_UNREADABLE, WireError) as exc:
            self._rejected_message(kind, env, exc, recv_ns)
        if channel is not None and env.seq is not None:
            # Only now: what it broke was right up to the frame before it.
            channel.heard_ns = recv_ns
        return True

    def _take(self, kind: str, env: Envelope, channel: Channel | None, recv_ns: int) -> None:
        """Act on a frame whose number is in order; raises what the message's decoder or parser raises."""
        now_ms = recv_ns // 1_000_000
        if kind == "trade":
            self._slow_trades += 1
        elif kind == "orderbook_snapshot":
            self._snapshot(env, channel, recv_ns)
        elif kind == "orderbook_delta":
            # It came here because it could not be read, or has no number.
            if env.sid is None or env.seq is None:
                raise msgspec.ValidationError("a change without its number")
            _decode_delta_msg(env.msg)
        elif kind == "ticker":
            _decode_ticker(env.msg)
        elif kind == "market_lifecycle_v2":
            self._markets.lifecycle(_decode_lifecycle(env.msg), now_ms)
        elif kind == "subscribed":
            self._subscribed(_decode_subscribed(env.msg), env.id, now_ms)
        elif kind == "ok":
            self._ok(env, channel, now_ms)
        elif kind == "unsubscribed":
            self._commander.acknowledged(env.id, now_ms)
            if self._passive and channel is not None:
                self._give_up(channel, now_ms)
        elif kind == "error":
            self._error(_decode_error(env.msg), env, channel, now_ms)
        elif kind not in _CHANNEL_OF:
            self._unknown(kind, env, channel, recv_ns)

    # -- numbers ---------------------------------------------------------------------------------------------

    def _stranger(self, sid: int, seq: int | None, kind: str) -> Channel | None:
        """A frame of a sid we do not hold: dropped, unless we only listen."""
        name = _CHANNEL_OF.get(kind)
        if not self._passive or name is None:
            self._counters.ignored += 1
            return None
        return self._listen(Channel(name, sid=sid, due=1 if seq is None else seq), sid)

    def _listen(self, channel: Channel, sid: int) -> Channel:
        """Take up a subscription that a recording shows."""
        self._by_sid[sid] = channel
        self._ever.append(channel)
        return channel

    def _out_of_order(self, channel: Channel, seq: int, recv_ns: int, *, is_snapshot: bool) -> bool:
        """A frame whose number was not due; returns whether it is to be taken all the same."""
        now_ms = recv_ns // 1_000_000
        if seq > channel.due:
            known = channel.excused_at == channel.due and channel.excused >= seq - channel.due
            channel.advance(seq + 1)
            channel.run = 0
            if not self._ignore_gaps and not known:
                self._gap(channel, now_ms)
            return True
        if self._passive and is_snapshot and channel.due - seq > 1 and (seq == 1 or channel.due - seq > _RESTART_SPAN):
            # A recording that does not say where a connection ended: its numbers begin again.
            self._restart(channel, seq, now_ms)
            return True
        continues = seq == channel.run_next and channel.due == channel.run_due
        channel.run = channel.run + 1 if continues else 1
        channel.run_next, channel.run_due = seq + 1, channel.due
        if channel.run >= _RUN_OF_OLD:
            # Not frames sent twice: whoever counts began anew, and what was skipped meanwhile is missing.
            self._restart(channel, seq, now_ms)
            return True
        self._counters.duplicates += 1
        return False

    def _restart(self, channel: Channel, seq: int, now_ms: int) -> None:
        channel.advance(seq + 1)
        channel.run = 0
        self._gap(channel, now_ms)

    def _gap(self, channel: Channel, now_ms: int) -> None:
        """Frames of a sid are missing: none of its markets can be trusted until its own snapshot."""
        if channel.name != BOOKS:
            self._counters.gaps_elsewhere += 1
            return
        self._counters.gaps += 1
        self._markets.gap(channel, now_ms)
        self._commander.plan(now_ms)

    def _give_up(self, channel: Channel, now_ms: int) -> None:
        """A subscription is over: frames of its sid are dropped, its markets need their books anew."""
        if channel.sid is not None and self._by_sid.get(channel.sid) is channel:
            del self._by_sid[channel.sid]
        if channel.live:
            self._markets.gap(channel, now_ms)
        channel.sid = None
        channel.on_wire.clear()

    # -- changes that do not go straight into a ladder --------------------------------------------------------

    def _read_change(self, msg: DeltaMsg) -> tuple[int, int]:
        """Price and change of any spelling.

        Raises
        ------
        ValueOutOfScale
            If one of them does not fit our integers.
        """
        is_yes, price = msg.side == "yes", msg.price_dollars
        px: int | None = (PX_BY_TEXT if is_yes else self._no_px).get(price)
        if px is None:
            px = px_e4(price, field="price_dollars")
            if not is_yes and not self._use_yes_price:
                px = PX_ONE_E4 - px
        return px, self._sizes[msg.delta_fp]

    def _change_without_book(self, channel: Channel, msg: DeltaMsg, recv_ns: int) -> None:
        """A change of a market that is not live: discarded, since its snapshot will contain it."""
        self._counters.ignored += 1
        held = self._held.get(msg.market_ticker)
        now_ms = recv_ns // 1_000_000
        if held is None:
            if self._passive:
                # The recording begins without this market's snapshot: what stands in the book is unknown.
                self._markets.overhear(MarketId(msg.market_ticker), now_ms)
        elif held.stage is Stage.ENDED and not self._passive and held.close_ts is not None:
            ts_ms = _ms_of(_stamp_of(msg))
            if ts_ms is not None and ts_ms > held.close_ts + _AFTER_CLOSE_MS and msg.market_ticker in channel.on_wire:
                # Closed by our own timer, and trading on: the close time was moved.
                held.close_ts = held.ends_ms = None
                self._markets.resume(held, now_ms)

    # -- books -----------------------------------------------------------------------------------------------

    def _snapshot(self, env: Envelope, channel: Channel | None, recv_ns: int) -> None:
        """Replace one market's book."""
        now_ms = recv_ns // 1_000_000
        msg = _decode_snapshot(env.msg)
        if channel is None or env.seq is None:
            raise msgspec.ValidationError("a book without its number")
        if channel.name != BOOKS:
            raise msgspec.ValidationError(f"a book on the sid of {channel.name}")
        ticker = msg.market_ticker
        held = self._held.get(ticker)
        if held is None:
            if not self._passive or not ticker:
                self._counters.ignored += 1
                return
            held = self._markets.hold(MarketId(ticker), now_ms)
        bids, asks = ladders(msg.yes_dollars_fp, msg.no_dollars_fp, use_yes_price=self._use_yes_price)
        if not bids and not asks and not msg.market_id:
            self._markets.unknown(held, now_ms)
            return
        book = held.book
        was_live = held.stage is Stage.LIVE
        under_way = self._commander.under_way
        if was_live and under_way is not None and under_way.id == env.id and under_way.verb is Verb.SNAPSHOT:
            # An audit of a book believed right; an equal one is no change.
            equal = bids == book.bids and asks == book.asks
            self._counters.best_mismatches += not equal
        else:
            equal = False
        if not equal:
            book.replace(bids, asks)
            book.ts_recv_ns = recv_ns
            stamp = _stamp_of(msg)
            book.stamp = env.sending_ts_ms if stamp is None else stamp
        self._counters.snapshots += 1
        if not bids and not asks and self._markets.at_close(held, now_ms):
            self._markets.end(held, "closed", now_ms)
        else:
            self._markets.came(held, channel, now_ms)
        self._commander.book_came(ticker, now_ms)

    # -- answers and reports of the venue ---------------------------------------------------------------------

    def _subscribed(self, msg: SubscribedMsg, number: int | None, now_ms: int) -> None:
        """A new subscription: its numbers begin at 1."""
        if self._passive:
            old = self._by_sid.get(msg.sid)
            if old is not None:
                self._give_up(old, now_ms)
            self._listen(Channel(msg.channel, sid=msg.sid), msg.sid)
            return
        for channel in self._channels:
            if channel.name == msg.channel and channel.sid is None:
                self._adopt(channel, msg.sid, due=1)
                break
        self._commander.acknowledged(number, now_ms)

    def _adopt(self, channel: Channel, sid: int, *, due: int) -> None:
        channel.sid = sid
        channel.advance(due)
        channel.run = channel.excused = channel.excused_at = 0
        self._by_sid[sid] = channel

    def _ok(self, env: Envelope, channel: Channel | None, now_ms: int) -> None:
        """A change of a subscription took effect; a second subscribe is answered so, too."""
        command = self._commander.under_way
        if (
            channel is None
            and command is not None
            and command.id == env.id
            and command.verb is Verb.SUBSCRIBE
            and env.sid is not None
        ):
            channel = command.channel
            self._adopt(channel, env.sid, due=1 if env.seq is None else env.seq + 1)
        try:
            listed = _decode_ok(env.msg).market_tickers if env.msg else None
        except _UNREADABLE:
            # The list of subscriptions is an array, and without the ticker list there is nothing to learn.
            listed = None
        if listed is not None and channel is not None and not self._passive:
            channel.on_wire.update(listed)
        self._commander.acknowledged(env.id, now_ms)

    def _error(self, msg: ErrorMsg, env: Envelope, channel: Channel | None, now_ms: int) -> None:
        named = (msg.market_ticker,) if msg.market_ticker else tuple(msg.market_tickers or ())
        if self._passive:
            self._report(FeedEventKind.REFUSED, now_ms, "", f"{msg.code} {msg.msg}".strip())
        else:
            self._commander.failed(env.id, msg.code, msg.msg, named, channel, now_ms)

    # -- what cannot be read -----------------------------------------------------------------------------------

    def _unreadable(self, frame: bytes, exc: Exception, recv_ns: int) -> bool:
        """Not JSON, or JSON whose envelope is of another shape; returns whether it was JSON."""
        text = bytes(frame).strip()
        if text[:1] not in (b"{", b"["):
            # Blank lines and textual heartbeats occur in recordings.
            if text in (b"", b"heartbeat", b"PING", b"PONG"):
                self._counters.heartbeats += 1
            else:
                self._rejected(f"no JSON: {text[:60]!r}", recv_ns, ())
            return False
        try:
            _decode_anything(text)
        except _UNREADABLE:
            is_json = False
        else:
            is_json = True
        self._rejected(str(exc), recv_ns, None if not is_json or b"orderbook" in text else ())
        return is_json

    def _rejected_message(self, kind: str, env: Envelope, exc: Exception, recv_ns: int) -> None:
        """A frame in order whose message cannot be used; a lost change breaks its market, or all of them."""
        now_ms, ticker = recv_ns // 1_000_000, _ticker_of(env)
        held = self._held.get(ticker)
        if kind == "orderbook_snapshot" and held is not None:
            self._rejected(f"{kind} of {ticker}: {exc}", recv_ns, ())
            self._markets.unreadable(held, now_ms)
            self._commander.book_came(ticker, now_ms)
        elif kind in ("orderbook_delta", "orderbook_snapshot"):
            self._rejected(f"{kind}: {exc}", recv_ns, (ticker,) if ticker else None)
        else:
            self._rejected(f"{kind}: {exc}", recv_ns, ())
            self._commander.acknowledged(env.id, now_ms)

    def _rejected(self, why: str, recv_ns: int, lost: tuple[str, ...] | None) -> None:
        """Count and report a refusal; break the markets whose change is lost by it (None: any may be)."""
        now_ms = recv_ns // 1_000_000
        self._counters.rejected += 1
        n = self._counters.rejected
        if n <= 20 or n & (n - 1) == 0:
            # A stream of them must not flood the log: each is counted, the journal has them all.
            self._report(FeedEventKind.REJECTED, now_ms, lost[0] if lost else "", why)
        if lost is None:
            for channel in set(self._by_sid.values()):
                if channel.name == BOOKS:
                    channel.excused = channel.excused + 1 if channel.excused_at == channel.due else 1
                    channel.excused_at = channel.due
                    if channel.live:
                        self._counters.gaps += 1
                        self._markets.gap(channel, now_ms)
            self._commander.plan(now_ms)
        for ticker in lost or ():
            self._counters.gaps += self._markets.wrong(ticker, ErrCode.GAP, Integrity.GAP, now_ms)

    def _unknown(self, kind: str, env: Envelope, channel: Channel | None, recv_ns: int) -> None:
        """An event of a kind we do not know; on the books' own sid it may have been a change."""
        unknown, name = self._counters.unknown, kind[:60]
        if name in unknown or len(unknown) < _UNKNOWN_NAMES:
            unknown[name] = unknown.get(name, 0) + 1
        ticker = _ticker_of(env)
        if channel is not None and channel.name == BOOKS and ticker in channel.live:
            self._rejected(f"unknown message {name!r} on the books' sid", recv_ns, (ticker,))

    # -- small things ------------------------------------------------------------------------------------------

    def _plan(self, now_ms: int) -> None:
        self._commander.plan(now_ms)

    def _book_came(self, ticker: str, now_ms: int) -> None:
        self._commander.book_came(ticker, now_ms)

    def _send(self, text: str) -> None:
        self.outbox.append(text)

    def _reconnect(self, reason: str) -> None:
        self.reconnect_reason = reason

    def _report(
        self,
        kind: FeedEventKind,
        now_ms: int,
        market_id: str,
        detail: str,
        took_ms: int | None = None,
        since_ns: int | None = None,
    ) -> None:
        self.events.append(
            FeedEvent(
                kind=kind,
                ts_recv_ns=now_ms * 1_000_000,
                market_id=MarketId(market_id),
                detail=str(detail),
                took_ms=took_ms,
                since_ns=since_ns,
            )
        )


def _in_full(delta: StampedFrame | TextTimedFrame) -> DeltaFrame:
    """A frame of a lean decoder as the careful road takes it."""
    lean = delta.msg
    msg = DeltaMsg(
        market_ticker=lean.market_ticker, price_dollars=lean.price_dollars, delta_fp=lean.delta_fp, side=lean.side
    )
    if isinstance(lean.stamp, str):
        msg.ts = lean.stamp
    else:
        msg.ts_ms = lean.stamp
    return DeltaFrame(sid=delta.sid, seq=delta.seq, msg=msg)


def _stamp_of(msg: DeltaMsg | SnapshotMsg) -> int | str | None:
    """Venue time of a message: milliseconds, or a text still to be read; whole seconds become milliseconds."""
    if msg.ts_ms is not None:
        return msg.ts_ms
    return msg.ts * 1000 if isinstance(msg.ts, int) else msg.ts or None


def _ms_of(stamp: int | str | None) -> int | None:
    if not isinstance(stamp, str):
        return stamp
    try:
        return time_ms(stamp, field="ts")
    except WireError:
        return None


def _ticker_of(env: Envelope) -> str:
    """The market that a message names, as far as it can be read at all."""
    try:
        return _decode_market_only(env.msg).market_ticker
    except _UNREADABLE:
        return ""

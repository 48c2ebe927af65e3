"""Every frame that the fast road does not take: any kind, any spelling, any fault, step by step.

The number of a frame is checked before its type is looked at, then the message is read and acted upon. What
cannot be read is counted and reported, and breaks the market whose change it may have been (or, where none can
be named, all of them).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from overround.book import Side
from overround.errors import UNREADABLE, WireError
from overround.market import PX_ONE_E4, ErrCode, Integrity, MarketId, Trade, px_e4
from overround.venue.kalshi.commands import BOOKS, Commander
from overround.venue.kalshi.markets import Markets, Report
from overround.venue.kalshi.parse import NO_AS_ASK, PX_BY_TEXT, ladders, ms_of, stamp_of
from overround.venue.kalshi.prints import print_of, trade_of
from overround.venue.kalshi.state import Channel, Sizes, Stage, Verb
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
    TradeFrame,
    TradeMsg,
)
from overround.venue.ports import PRINTS_MAX, FeedCounters, FeedEventKind

__all__ = ["CarefulRoad", "DecodeDelta", "decode_stamped", "in_full"]

DecodeDelta = Callable[[bytes], StampedFrame | TextTimedFrame]

decode_stamped: DecodeDelta = msgspec.json.Decoder(StampedFrame).decode
_decode_text_timed: DecodeDelta = msgspec.json.Decoder(TextTimedFrame).decode
_decode_delta = msgspec.json.Decoder(DeltaFrame).decode
_decode_delta_msg = msgspec.json.Decoder(DeltaMsg).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_snapshot = msgspec.json.Decoder(SnapshotMsg).decode
_decode_subscribed = msgspec.json.Decoder(SubscribedMsg).decode
_decode_ok = msgspec.json.Decoder(OkMsg).decode
_decode_error = msgspec.json.Decoder(ErrorMsg).decode
_decode_lifecycle = msgspec.json.Decoder(LifecycleMsg).decode
_decode_trade = msgspec.json.Decoder(TradeMsg).decode
_decode_trade_frame = msgspec.json.Decoder(TradeFrame).decode
_decode_ticker = msgspec.json.Decoder(TickerMsg).decode
_decode_market_only = msgspec.json.Decoder(MarketOnly).decode
_decode_anything = msgspec.json.decode

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


class CarefulRoad:
    """Takes any frame; the books and commands of one connection are its own to change.

    Parameters
    ----------
    channels : tuple of Channel
        Subscriptions to be had, the book channel first.
    markets : Markets
    commander : Commander
    counters : FeedCounters
    report : Report
    spelling : callable
        ``spelling(decode)``: the decoder that fits the changes of this stream.
    passive, ignore_gaps, use_yes_price : bool
        As for the feed.

    Attributes
    ----------
    by_sid : dict of int to Channel
        Subscriptions that stand.
    ever : list of Channel
        All there were, for what they counted.
    sizes : Sizes
    n_frames, n_changes, n_trades : int
        What was taken here.
    n_bytes, n_weighed : int
        Bytes of the frames weighed here, and their number.
    prints : deque of (bytes, int)
        Frames of held markets' prints and when they came, whatever their number; nobody takes them in replay.
    """

    def __init__(
        self,
        channels: tuple[Channel, ...],
        markets: Markets,
        commander: Commander,
        counters: FeedCounters,
        *,
        report: Report,
        spelling: Callable[[DecodeDelta], None],
        passive: bool,
        ignore_gaps: bool,
        use_yes_price: bool,
    ) -> None:
        self.by_sid: dict[int, Channel] = {}
        self.ever = list(channels)
        self.sizes = Sizes()
        self.n_frames = self.n_changes = self.n_trades = 0
        self.n_bytes = self.n_weighed = 0
        self.prints: deque[tuple[bytes, int]] = deque(maxlen=0 if passive else PRINTS_MAX)
        self._channels = channels
        self._markets, self._held = markets, markets.held
        self._commander = commander
        self._counters = counters
        self._report = report
        self._spelling = spelling
        self._passive = passive
        self._ignore_gaps = ignore_gaps
        self._use_yes_price = use_yes_price
        self._no_px = PX_BY_TEXT if use_yes_price else NO_AS_ASK

    def change(self, delta: DeltaFrame, recv_ns: int) -> bool:
        """A change that is not of the common case; the same, step by step."""
        self.n_frames += 1
        msg, seq = delta.msg, delta.seq
        channel = self.by_sid.get(delta.sid)
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
            # The numbers hide what is missing: right at this market's own last change, not at any sibling's.
            since_ns = book.ts_recv_ns or None
            now_ms = recv_ns // 1_000_000
            self._markets.wrong(ticker, ErrCode.NEGATIVE_LEVEL, Integrity.SUSPECT, now_ms, since_ns=since_ns)
            return
        book.ts_recv_ns = recv_ns
        book.stamp = stamp_of(msg)
        self.n_changes += 1
        if book.best_bid_e4 >= book.best_ask_e4:
            self._markets.crossed(ticker, recv_ns // 1_000_000)
        watch = self._markets.watched.get(ticker)
        if watch is not None:
            self._markets.changed(ticker, watch, side, px, change, msg, recv_ns // 1_000_000)

    def missed(self, delta: StampedFrame | TextTimedFrame, frame: bytes, recv_ns: int) -> bool:
        """A change that the fast road could not take; that of a watched market is read in full."""
        if delta.msg.market_ticker in self._markets.watched:
            try:
                full = _decode_delta(frame)
            except UNREADABLE:
                return self.other(frame, recv_ns)
            return self.change(full, recv_ns)
        return self.change(in_full(delta), recv_ns)

    def other(self, frame: bytes, recv_ns: int) -> bool:
        """Any frame that is no change, or is one in another spelling than the usual."""
        self.n_bytes += len(frame)
        self.n_weighed += 1
        try:
            env = _decode_envelope(frame)
        except UNREADABLE as exc:
            self.n_frames += 1
            return self._unreadable(frame, exc, recv_ns)
        kind = env.type
        if self._passive and env.sid is None:
            # A recorder that kept no sid: one per channel, since each counts for itself.
            env.sid = _SID_OF.get(_CHANNEL_OF.get(kind, ""))
        if kind == "orderbook_delta" and env.sid is not None and env.seq is not None:
            try:
                msg = _decode_delta_msg(env.msg)
            except UNREADABLE:
                pass
            else:
                # What came before tells what comes next: the lean decoder that fits this stream.
                if msg.ts_ms is not None:
                    self._spelling(decode_stamped)
                elif isinstance(msg.ts, str):
                    self._spelling(_decode_text_timed)
                return self.change(DeltaFrame(sid=env.sid, seq=env.seq, msg=msg), recv_ns)
        self.n_frames += 1
        channel = self.by_sid.get(env.sid) if env.sid is not None else None
        if channel is None and env.sid is not None and kind not in _ANSWERS:
            channel = self._stranger(env.sid, env.seq, kind)
            if channel is None:
                return True
        if kind == "trade" and _ticker_of(env) in self._held:
            # Before its number is looked at: a late one is no duplicate, and a print changes no book.
            self.prints.append((frame, recv_ns))
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
        except (*UNREADABLE, WireError) as exc:
            self._rejected_message(kind, env, exc, recv_ns)
        if channel is not None and env.seq is not None:
            # Only now: what it broke was right up to the frame before it.
            channel.heard_ns = recv_ns
        return True

    def take_trades(self) -> list[Trade]:
        """Prints since the last call, read."""
        trades: list[Trade] = []
        while self.prints:
            frame, recv_ns = self.prints.popleft()
            try:
                trades.append(trade_of(_decode_trade_frame(frame).msg, recv_ns, self.sizes))
            except (*UNREADABLE, WireError) as exc:
                self._rejected(f"trade: {exc}", recv_ns, ())
        return trades

    def _take(self, kind: str, env: Envelope, channel: Channel | None, recv_ns: int) -> None:
        """Act on a frame whose number is in order; raises what the message's decoder or parser raises."""
        now_ms = recv_ns // 1_000_000
        if kind == "trade":
            self.n_trades += 1
            if self._markets.watched and _ticker_of(env) in self._markets.watched:
                msg = _decode_trade(env.msg)
                one = print_of(msg)
                if one is not None:
                    self._markets.printed(msg.market_ticker, one, now_ms)
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
                self.give_up(channel, now_ms)
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
        self.by_sid[sid] = channel
        self.ever.append(channel)
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

    def give_up(self, channel: Channel, now_ms: int) -> None:
        """A subscription is over: frames of its sid are dropped, its markets need their books anew."""
        if channel.sid is not None and self.by_sid.get(channel.sid) is channel:
            del self.by_sid[channel.sid]
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
        return px, self.sizes[msg.delta_fp]

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
            ts_ms = ms_of(stamp_of(msg))
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
        self._counters.snapshots += 1
        closing = not bids and not asks and self._markets.at_close(held, now_ms)
        if held.stage is Stage.LIVE and env.id is not None and not closing:
            # Asked for while the book is believed right: with whole numbers it says what stands here, also in replay.
            equal = bids == book.bids and asks == book.asks
            if equal or not self._passive:
                self._markets.audited(held, now_ms, equal=equal)
                self._commander.book_came(ticker, now_ms)
                return
        elif held.stage is Stage.LIVE and not self._passive and (bids or asks):
            self._markets.unasked(held, now_ms, equal=bids == book.bids and asks == book.asks)
        book.replace(bids, asks)
        book.ts_recv_ns = recv_ns
        stamp = stamp_of(msg)
        book.stamp = env.sending_ts_ms if stamp is None else stamp
        if closing:
            self._markets.end(held, "closed", now_ms)
        else:
            self._markets.came(held, channel, now_ms)
        self._commander.book_came(ticker, now_ms)

    # -- answers and reports of the venue ---------------------------------------------------------------------

    def _subscribed(self, msg: SubscribedMsg, number: int | None, now_ms: int) -> None:
        """A new subscription: its numbers begin at 1."""
        if self._passive:
            old = self.by_sid.get(msg.sid)
            if old is not None:
                self.give_up(old, now_ms)
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
        self.by_sid[sid] = channel

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
        except UNREADABLE:
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
        except UNREADABLE:
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
            for channel in set(self.by_sid.values()):
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
        if name not in unknown and len(unknown) < _UNKNOWN_NAMES:
            self._report(FeedEventKind.UNKNOWN, recv_ns // 1_000_000, "", name)
        if name in unknown or len(unknown) < _UNKNOWN_NAMES:
            unknown[name] = unknown.get(name, 0) + 1
        ticker = _ticker_of(env)
        if channel is not None and channel.name == BOOKS and ticker in channel.live:
            self._rejected(f"unknown message {name!r} on the books' sid", recv_ns, (ticker,))


def in_full(delta: StampedFrame | TextTimedFrame) -> DeltaFrame:
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


def _ticker_of(env: Envelope) -> str:
    """The market that a message names, as far as it can be read at all."""
    try:
        return _decode_market_only(env.msg).market_ticker
    except UNREADABLE:
        return ""

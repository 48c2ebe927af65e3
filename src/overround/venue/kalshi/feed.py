"""One Kalshi connection without the connection: ``venue.ports.Feed`` for ``orderbook_delta``.

``seq`` counts the frames of one subscription (``sid``) over all its markets, acknowledgements included, so
every frame that carries both is checked before its type is looked at:

- the number that is due: the frame is taken;
- a number seen before: the frame is ignored and counted;
- a later number: frames are missing, and they may have concerned any market of the sid. That is one gap. All
  its markets stop being live, keep their last content, and discard changes until their own snapshot.

A market's snapshot makes it live again by itself. How markets and repairs move is drawn in ``state``, what is
sent is decided in ``commands``, every frame but the most common ones is taken in ``careful``. Here changes of a
live market go from the decoder straight into the ladders (``receive``): no queue, no object per change, texts
become integers by table.

A book that cannot be proved is never left live: a value that does not fit, a frame of the book channel that
cannot be read or lacks its number, an unknown message that names a market on the book's own sid, a level
below zero and a pair that stays crossed all break the market (or, where none can be named, all of them) until a
snapshot comes. A market that breaks again and again is asked for more and more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from overround.book import NO_ASK_E4, NO_BID_E4, Book, BookShelf
from overround.errors import UNREADABLE, WireError
from overround.market import ErrCode, Integrity, Market, MarketId, Trade
from overround.venue.kalshi.careful import CarefulRoad, DecodeDelta, decode_stamped, in_full
from overround.venue.kalshi.commands import BOOKS, Commander
from overround.venue.kalshi.markets import Markets
from overround.venue.kalshi.parse import NO_AS_ASK, PX_BY_TEXT
from overround.venue.kalshi.state import Channel, Stage
from overround.venue.kalshi.watch import Watchman
from overround.venue.kalshi.wire import TradeHead
from overround.venue.ports import FeedCounters, FeedEvent, FeedEventKind, RestBook
from overround.venue.repair import RepairBudgets, Saw

__all__ = ["KalshiFeed"]

_decode_trade = msgspec.json.Decoder(TradeHead).decode

# A frame that is none of the common case; a value out of scale is refused on the careful road.
_NOT_THIS = (*UNREADABLE, IndexError, WireError)

_E = ord("e")
"""Where the venue writes its type first, the 21st byte of a change is the e of ``orderbook_delta``.

No other type has it there; the 20th would not do, since in a trade it is the d of ``sid``.
"""
_TRADE = b'"trade"'


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
    budgets : RepairBudgets or None
        What the venue's connections may spend on repairs together; None for budgets of its own.
    audit_ms : int or None
        A live market's book is asked for so often, one after the other, and compared; None only on suspicion.
    watch : int
        Markets whose prints, clocks and times are held against their changes at a time (see ``watch``).
    watch_share : float
        Changes looked at so, as a part of all, at most.
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
        budgets: RepairBudgets | None = None,
        audit_ms: int | None = None,
        watch: int = 0,
        watch_share: float = 0.005,
    ) -> None:
        if channels[:1] != (BOOKS,):
            raise ValueError(f"the first channel is {BOOKS}, not {channels[:1]}")
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.last_recv_ns = 0
        self._counters = FeedCounters()
        # Bytes and frames of a sample of the fast road; of the other one all are known.
        self._sample_bytes = self._sample_frames = 0
        self._passive = passive
        self._ignore_gaps = ignore_gaps
        self._no_px = PX_BY_TEXT if use_yes_price else NO_AS_ASK
        self._channels = tuple(Channel(name) for name in channels)
        self._decode_delta = decode_stamped
        self._markets = Markets(
            shelf,
            self._counters,
            report=self._report,
            plan=self._plan,
            book_came=self._book_came,
            recheck=self._recheck,
            passive=passive,
            ignore_gaps=ignore_gaps,
        )
        self._held, self._live, self._watched = self._markets.held, self._markets.live, self._markets.watched
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
            budgets=budgets,
            audit_ms=audit_ms,
        )
        self._careful = CarefulRoad(
            self._channels,
            self._markets,
            self._commander,
            self._counters,
            report=self._report,
            spelling=self._spelling,
            passive=passive,
            ignore_gaps=ignore_gaps,
            use_yes_price=use_yes_price,
        )
        self._watchman = Watchman(
            self._markets, self._counters, changes=self._n_changes, n_markets=watch, share=watch_share
        )
        self._by_sid, self._sizes = self._careful.by_sid, self._careful.sizes
        self._change, self._other = self._careful.change, self._careful.other
        self._prints = self._careful.prints

    # -- what is wanted --------------------------------------------------------------------------------------

    @property
    def counters(self) -> FeedCounters:
        """What was counted so far; the same object every time, brought up to date.

        Everything is exact but ``bytes``: of changes and prints on the fast road only a sample is weighed, because
        adding up lengths would cost as much as the best price does.
        """
        counters, careful = self._counters, self._careful
        changes = sum(channel.n_fast for channel in careful.ever if channel.name == BOOKS)
        trades = sum(channel.n_fast for channel in careful.ever if channel.name != BOOKS)
        counters.frames = changes + trades + careful.n_frames
        if self._sample_frames:
            mean = self._sample_bytes / self._sample_frames
        else:
            mean = careful.n_bytes / max(1, careful.n_weighed)
        counters.bytes = careful.n_bytes + round(mean * (counters.frames - careful.n_weighed))
        counters.changes, counters.trades = changes + careful.n_changes, trades + careful.n_trades
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

    def lost(self, *, now_ms: int, reason: str) -> None:
        """The connection has ended: every book is ``reconnecting`` until its next snapshot.

        Until the last frame of their own subscription the books were whole; of what came after it on another one,
        nothing tells whether a change was missing already.
        """
        whole_ns = self.last_recv_ns
        for channel in self._by_sid.values():
            since_ns = channel.whole_ns if channel.live else None
            if since_ns is not None:
                whole_ns = since_ns
                self._report(FeedEventKind.GAP, now_ms, "", f"{ErrCode.RECONNECTING}: {reason}", since_ns=since_ns)
        self._markets.lost(now_ms, whole_ns)
        for channel in self._by_sid.values():
            channel.live.clear()
        self._by_sid.clear()
        self._commander.closed()
        self.outbox.clear()
        self.reconnect_reason = None

    def tick(self, *, now_ms: int) -> None:
        """End books whose close time has come; time out what is overdue; send what is next."""
        self._markets.tick(now_ms)
        self._watchman.tick(now_ms)
        self._commander.tick(now_ms, self.last_recv_ns // 1_000_000)

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        due = (
            self._markets.deadline_ms(),
            self._watchman.deadline_ms(),
            self._commander.deadline_ms(self.last_recv_ns // 1_000_000),
        )
        return min((each for each in due if each is not None), default=None)

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """Compare only: a REST book carries neither number nor clock and never repairs a socket's book."""
        held = self._held.get(book.market_id)
        if held is None or held.stage is not Stage.LIVE:
            if held is not None:
                self._commander.rest_came(held, now_ms)
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
        return self._markets.wrong(market_id, ErrCode.GAP, Integrity.SUSPECT, now_ms, since_ns=since_ns, saw=Saw.MUTE)

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """``verified`` while the sequence is whole since the market's snapshot.

        ``suspect`` while both sides meet. A book past its close time ends here at the latest.
        """
        return self._markets.verdict(market_id, now_ms)

    def spoken_ns(self) -> int:
        """Receive time of the newest change of a live book."""
        return max((book.ts_recv_ns for book in self.books.values() if book.live), default=0)

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
                    return self._change(in_full(delta), recv_ns)
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
                    return self._change(in_full(delta), recv_ns)
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
                    return self._change(in_full(delta), recv_ns)
        except KeyError:
            return self._careful.missed(delta, frame, recv_ns)
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
        """A print, every tenth frame: only its number matters, except to a watched book."""
        try:
            head = _decode_trade(frame)
            channel = self._by_sid[head.sid]
        except (KeyError, *UNREADABLE):
            return self._other(frame, recv_ns)
        if head.seq - channel.last != 1 or channel.name != "trade" or head.msg.market_ticker in self._watched:
            return self._other(frame, recv_ns)
        channel.last = head.seq
        if head.msg.market_ticker in self._held:
            self._prints.append((frame, recv_ns))
        return True

    def take_trades(self) -> list[Trade]:
        """Prints of held markets since the last call."""
        return self._careful.take_trades()

    # -- small things ------------------------------------------------------------------------------------------

    def _spelling(self, decode: DecodeDelta) -> None:
        self._decode_delta = decode

    def _give_up(self, channel: Channel, now_ms: int) -> None:
        self._careful.give_up(channel, now_ms)

    def _plan(self, now_ms: int) -> None:
        self._commander.plan(now_ms)

    def _n_changes(self) -> int:
        return self.counters.changes

    def _recheck(self, ticker: str, now_ms: int) -> None:
        self._commander.recheck(ticker, now_ms)

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

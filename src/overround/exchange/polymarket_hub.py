"""Polymarket's market channel without sockets: who is subscribed to what, and what each change looks like.

Facts that the code below keeps (venues' documentation and captures):

- the first message must subscribe; nothing is acknowledged, the initial dump is one array with all books;
- a token that is already subscribed gives no new dump, ``NO NEW ASSETS`` if none of the message is new, ``[]`` if
  what is new has no book;
- both tokens show one book; a change goes out once, as a pair of mirrored entries, whichever token is subscribed;
- the hash in an entry is of that token's book after the change, with the message's timestamp;
- after a match both subscribed tokens get a ``book`` with the match's timestamp, and ``last_trade_price`` follows.
"""

from __future__ import annotations

import heapq
import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from overround.exchange import polymarket_frames as frames
from overround.exchange.book_text import BookText, HashInputs, book_hash
from overround.exchange.deliveries import DeliveryLog
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Listed, Source
from overround.exchange.settings import OldFormat, PolymarketOptions
from overround.market import PX_ONE_E4, Venue, px_text, sz_text

__all__ = ["PolymarketHub"]

_FIRST, _SECOND = 1, 2
_SWEEP_MS = 60_000
_MARKS_TRIMMED_AT = 64


class _Market:
    """A market's book text while somebody listens, and what its hash needs besides."""

    __slots__ = ("before_last", "inputs", "last", "last_trade", "links", "listing", "marks", "text", "tick")

    def __init__(self, listing: Listed, last_trade: str) -> None:
        self.listing = listing
        self.tick = px_text(listing.tick_e4)
        self.last_trade = last_trade
        self.text: BookText | None = None
        self.links: dict[Link, int] = {}
        self.inputs: tuple[HashInputs, HashInputs] | None = None
        self.marks: list[tuple[int, str, str]] = [(0, last_trade, self.tick)]
        self.last: Change | None = None
        self.before_last: Change | None = None


class _Session:
    """What one connection has asked for."""

    __slots__ = ("custom", "last_ping_ms", "subscribed", "tokens")

    def __init__(self, now_ms: int) -> None:
        self.tokens: set[str] = set()
        self.custom = False
        self.subscribed = False
        self.last_ping_ms = now_ms


class PolymarketHub:
    """The market channel: subscriptions in, frames out.

    Parameters
    ----------
    source : Source
        Its Polymarket listings are served.
    options : PolymarketOptions
    rng : random.Random
        Decides serialisation, delays, text widths and sides of trades.
    log : DeliveryLog, optional
        Where every change is written down before it is sent.
    """

    venue = Venue.POLYMARKET

    def __init__(
        self, source: Source, options: PolymarketOptions, rng: random.Random, log: DeliveryLog | None = None
    ) -> None:
        self._source = source
        self._log = log
        self._options = options
        self._old = options.old_format is not OldFormat.NO
        self._rng = rng
        self._markets: dict[str, _Market] = {}
        self._tokens: dict[str, tuple[str, int]] = {}
        self._sessions: dict[Link, _Session] = {}
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._later_number = 0
        self._customs = 0
        self._swept_ms = 0
        self.subscriptions = 0
        self.ignored_messages = 0
        for listing in source.listings.values():
            if listing.venue is Venue.POLYMARKET:
                self._list(listing)

    # ---------------------------------------------------------------- connections

    def attach(self, link: Link, now_ms: int) -> None:
        """A connection was opened."""
        self._sessions[link] = _Session(now_ms)

    def detach(self, link: Link) -> None:
        """A connection is gone."""
        session = self._sessions.pop(link, None)
        if session is not None:
            self._customs -= session.custom
            self._drop(link, session, sorted(session.tokens))

    def receive(self, link: Link, text: str, now_ms: int) -> None:
        """A client's text frame."""
        session = self._sessions[link]
        if text == "PING":
            session.last_ping_ms = now_ms
            link.put(b"PONG")
            return
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.ignored_messages += 1
            return
        operation = message.get("operation", "subscribe" if str(message.get("type", "")).lower() == "market" else "")
        tokens = message.get("assets_ids", message.get("asset_ids"))
        if not session.subscribed and "operation" in message:
            link.close(1008, "the first message must subscribe")
            return
        if operation not in {"subscribe", "unsubscribe"} or not isinstance(tokens, list):
            self.ignored_messages += 1
            return
        if message.get("custom_feature_enabled") is True and not session.custom:
            session.custom = True
            self._customs += 1
        wanted = [token for token in dict.fromkeys(tokens) if isinstance(token, str)]
        if operation == "unsubscribe":
            self._drop(link, session, wanted)
            return
        session.subscribed = True
        self._subscribe(link, session, wanted, dump=message.get("initial_dump") is not False)

    def links(self) -> list[Link]:
        """Open connections, oldest first."""
        return list(self._sessions)

    def markets_of(self, link: Link) -> list[str]:
        """Markets that a connection is subscribed to, in order of subscription."""
        session = self._sessions.get(link)
        if session is None:
            return []
        return list(dict.fromkeys(self._tokens[t][0] for t in sorted(session.tokens) if t in self._tokens))

    def listing(self, key: str) -> Listed | None:
        """A market's listing."""
        market = self._markets.get(key)
        return None if market is None else market.listing

    def overflow(self, link: Link) -> None:
        """The client reads too slowly: the venue drops it."""
        link.abort()

    def _subscribe(self, link: Link, session: _Session, wanted: list[str], *, dump: bool) -> None:
        new = [token for token in wanted if token not in session.tokens]
        if not new:
            link.push(b"NO NEW ASSETS", kind="ack")
            return
        books, listed = [], []
        for token in new:
            key, index = self._tokens.get(token, ("", 0))
            market = self._markets.get(key)
            session.tokens.add(token)
            if len(session.tokens) > self._options.most_tokens:
                continue
            if market is None or market.listing.status not in {"active", "paused"}:
                continue
            market.links[link] = market.links.get(link, 0) | (_SECOND if index else _FIRST)
            self.subscriptions += 1
            listed.append(market)
            if not (link.faults and link.hides_first_book(key)):
                books.append(self._book(market, index, first=True))
        self._source.watch([self._tokens[token][0] for token in new if token in self._tokens])
        if dump:
            link.push(b"".join((b"[", b",".join(books), b"]")), kind="dump")
            if not self._old:
                for market in dict.fromkeys(listed):
                    if self._rng.random() < self._options.stale_after_dump_share:
                        self._repeat_older(link, market)

    def _repeat_older(self, link: Link, market: _Market) -> None:
        """Send the last change but one again: it is older than the dump and contained in it."""
        last, older = market.last, market.before_last
        if last is None or older is None or older.ts_ms >= last.ts_ms:
            return
        ladders = [dict(side) for side in self._source.levels(market.listing.key)]
        ladder, held = ladders[0 if last.bid else 1], last.sz_e6 - last.delta_e6
        if held:
            ladder[last.px_e4] = held
        else:
            ladder.pop(last.px_e4, None)
        frame = self._price_change(market, BookText(*ladders), older, sz_text(older.sz_e6))
        link.push(frame, market.listing.key, "stale_price_change")

    def _drop(self, link: Link, session: _Session, tokens: list[str]) -> None:
        for token in tokens:
            if token not in session.tokens:
                continue
            session.tokens.discard(token)
            key, index = self._tokens.get(token, ("", 0))
            market = self._markets.get(key)
            if market is None or link not in market.links:
                continue
            self.subscriptions -= 1
            left = market.links[link] & ~(_SECOND if index else _FIRST)
            if left:
                market.links[link] = left
            else:
                del market.links[link]
                link.let_go(key)
                if not market.links:
                    market.text = None

    # ---------------------------------------------------------------- time

    def next_ms(self) -> int | None:
        """When ``poll`` has something to do next."""
        return self._later[0][0] if self._later else None

    def poll(self, now_ms: int) -> None:
        """Send what was put off until now."""
        while self._later and self._later[0][0] <= now_ms:
            heapq.heappop(self._later)[2]()

    def housekeeping(self, now_ms: int) -> None:
        """Close connections that never subscribed or whose heartbeat stopped; forget markets that are listed no more."""
        if now_ms - self._swept_ms > _SWEEP_MS:
            self._swept_ms = now_ms
            for key in [key for key in self._markets if key not in self._source.listings]:
                for token in self._markets.pop(key).listing.tokens:
                    self._tokens.pop(token, None)
        options = self._options
        for link, session in list(self._sessions.items()):
            quiet = now_ms - session.last_ping_ms
            if not session.subscribed and quiet > options.first_message_ms:
                link.close(1008, "no subscription")
            elif options.heartbeat_ms and quiet > options.heartbeat_ms:
                link.close(1001, "no heartbeat")

    def _put_off(self, due_ms: int, act: Callable[[], None]) -> None:
        self._later_number += 1
        heapq.heappush(self._later, (due_ms, self._later_number, act))

    # ---------------------------------------------------------------- changes

    def apply(self, changes: Sequence[Change], now_ms: int) -> None:
        """Turn changes, in order, into frames."""
        # A match moves the last price before its own book changes are announced, so trades are looked up ahead.
        matches = {(c.key, c.ts_ms): c for c in changes if c.kind is ChangeKind.TRADE}
        for change in changes:
            market = self._markets.get(change.key)
            if change.kind is ChangeKind.LEVEL:
                if market is not None:
                    if self._log is not None:
                        self._log.happened(change.key, change.number, change.px_e4 if change.bid else -change.px_e4)
                    match = matches.get((change.key, change.ts_ms)) if matches else None
                    self._level(market, change, match)
            elif change.kind is ChangeKind.TRADE:
                if market is not None:
                    self._trade(market, change, now_ms)
            elif change.kind is ChangeKind.TICK:
                if market is not None:
                    self._tick(market, change)
            elif change.kind is ChangeKind.STATUS:
                if market is not None:
                    self._status(market, change)
            elif change.kind is ChangeKind.LISTED:
                self._listed(change)

    def _level(self, market: _Market, change: Change, match: Change | None) -> None:
        if match is not None and self._options.last_trade_early:
            self._match_moves_last_price(market, match, change.number)
        market.before_last, market.last = market.last, change
        if market.text is None:
            return
        size = sz_text(change.sz_e6)
        text = market.text
        watched_best = self._custom_links(market) if self._customs else None
        before = text.best(0) if watched_best else None
        text.set_level(bid=change.bid, px=change.px_e4, size=size)
        if watched_best and text.best(0) != before:
            self._best_bid_ask(market, watched_best, change.ts_ms)
        if self._old:
            if match is None:  # before September 2025 a match showed as whole books only
                self._old_change(market, change, size)
            return
        frame = self._price_change(market, text, change, size)
        key = market.listing.key
        for link in market.links:
            if not (link.faults and link.mutes(key)):
                link.push(frame, key, "price_change")

    def _price_change(self, market: _Market, text: BookText, change: Change, size: str) -> bytes:
        listing, px, stamp = market.listing, change.px_e4, str(change.ts_ms)
        first, second = ("BUY", "SELL") if change.bid else ("SELL", "BUY")
        bid, ask = text.best(0)
        inputs, at = market.inputs or self._both_inputs(market), stamp.encode()
        return frames.price_change(
            listing.key,
            (
                (listing.tokens[0], frames.PX_TEXT[px], size, first, inputs[0].digest(at, *text.sides(0)),
                 frames.bid_text(bid), frames.ask_text(ask)),
                (listing.tokens[1], frames.PX_TEXT[PX_ONE_E4 - px], size, second, inputs[1].digest(at, *text.sides(1)),
                 frames.bid_text(None if ask is None else PX_ONE_E4 - ask),
                 frames.ask_text(None if bid is None else PX_ONE_E4 - bid)),
            ),
            stamp,
            loose=self._rng.random() < self._options.spaced_share,
        )  # fmt: skip

    def _old_change(self, market: _Market, change: Change, size: str) -> None:
        stamp = str(change.ts_ms)
        shown = str(change.ts_ms + self._rng.randint(*self._options.old_stamp_lag_ms))
        px = change.px_e4
        entries = []
        for token, side in ((0, "BUY" if change.bid else "SELL"), (1, "SELL" if change.bid else "BUY")):
            write = frames.flat_price_change if self._options.old_format is OldFormat.FLAT else frames.old_price_change
            entries.append(
                write(
                    market.listing.key,
                    market.listing.tokens[token],
                    (frames.PX_TEXT[PX_ONE_E4 - px if token else px], side, size),
                    digest=self._digest(market, token, stamp),
                    timestamp=shown,
                )
            )
        self._old_send(market, entries, "price_change")

    def _old_send(self, market: _Market, entries: list[bytes], kind: str) -> None:
        key = market.listing.key
        for link, mask in market.links.items():
            if not (link.faults and link.mutes(key)):
                body = b",".join(entry for token, entry in enumerate(entries) if mask & (1 << token))
                link.push(b"".join((b"[", body, b"]")), key, kind)

    def _trade(self, market: _Market, change: Change, now_ms: int) -> None:
        key = market.listing.key
        if self._options.last_trade_early or market.text is None:
            self._match_moves_last_price(market, change, change.number)
        if market.text is None:  # nobody listens, or the market is over
            return
        token, side, price = self._taker(change)
        announce = self._announcement(market, change, token, side, price)
        if self._old:
            stamp = str(change.ts_ms + self._rng.randint(*self._options.old_stamp_lag_ms))
            self._old_send(market, [self._old_book(market, t, change.ts_ms, stamp) for t in (0, 1)], "book")
        else:
            for index in (0, 1):
                frame: bytes | None = None
                for link, mask in market.links.items():
                    if mask & (1 << index) and not (link.faults and link.mutes(key)):
                        if frame is None:
                            frame = self._dress(self._book(market, index, ts_ms=change.ts_ms))
                        link.push(frame, key, "book")
        self._put_off(now_ms + self._rng.randint(*self._options.last_trade_delay_ms), announce)

    def _announcement(self, market: _Market, change: Change, token: int, side: str, price: str) -> Callable[[], None]:
        rng, options = self._rng, self._options
        fee = "1000" if market.listing.fee_rate and rng.random() < 0.5 else "0"
        transaction = f"0x{rng.getrandbits(256):064x}"
        lag = rng.randint(*options.last_trade_delay_ms)
        if rng.random() < options.back_stamp_share:
            lag = -rng.randint(1, 8)

        def announce() -> None:
            if not options.last_trade_early:
                self._set_last_price(market, price, self._source.state_number(change.key))
            frame = frames.last_trade_price(
                market.listing.key,
                market.listing.tokens[token],
                price=price,
                size=sz_text(change.sz_e6),
                side=side,
                fee_rate_bps=fee,
                timestamp=str(change.ts_ms + lag),
                transaction_hash=transaction,
                old=self._old,
            )
            frame = b"[" + frame + b"]" if self._old else self._dress(frame)
            for link, mask in market.links.items():
                if mask & (1 << token) and not (link.faults and link.mutes(market.listing.key)):
                    link.push(frame, market.listing.key, "last_trade_price")

        return announce

    def _tick(self, market: _Market, change: Change) -> None:
        old, new = market.tick, px_text(change.tick_e4)
        if old == new:
            return
        market.tick = new
        market.inputs = None
        market.marks.append((self._source.state_number(change.key), market.last_trade, new))
        for token in (0, 1):
            frame = self._dress(
                frames.tick_size_change(
                    market.listing.key, market.listing.tokens[token], old=old, new=new, timestamp=str(change.ts_ms)
                )
            )
            for link, mask in market.links.items():
                if mask & (1 << token):
                    link.push(frame, market.listing.key, "tick_size_change")

    def _status(self, market: _Market, change: Change) -> None:
        if change.status in {"closed", "resolved"}:
            market.text = None  # the socket falls silent
        if change.status != "resolved" or market.listing.result is None:
            return
        listing = market.listing
        frame = self._dress(
            frames.market_resolved(
                ref=str(listing.number),
                market=listing.key,
                tokens=listing.tokens,
                winner=listing.result if listing.result is not None else 0,
                outcomes=listing.outcomes,
                timestamp=str(change.ts_ms),
            )
        )
        self._to_custom(frame, listing.key, "market_resolved")

    def _listed(self, change: Change) -> None:
        listing = self._source.listings.get(change.key)
        if listing is None or listing.venue is not Venue.POLYMARKET:
            return
        if change.key not in self._markets:
            self._list(listing)
        event = listing.event
        slug = f"{event.series or 'event'}-{event.key}"
        frame = frames.new_market(
            ref=str(listing.number),
            market=listing.key,
            question=listing.title,
            slug=f"market-{listing.number}",
            description=listing.rules,
            tokens=listing.tokens,
            outcomes=listing.outcomes,
            event={"id": event.key, "ticker": slug, "slug": slug, "title": event.title},
            timestamp=str(change.ts_ms),
            active=listing.status == "active",
            tick_size=px_text(listing.tick_e4),
            group_title=listing.label,
            fee_rate=listing.fee_rate,
        )
        self._to_custom(frame, listing.key, "new_market")

    def _to_custom(self, frame: bytes, key: str, kind: str) -> None:
        for link, session in self._sessions.items():
            if session.custom and session.subscribed:
                link.push(frame, key, kind)

    def _custom_links(self, market: _Market) -> list[Link]:
        return [link for link in market.links if self._sessions[link].custom]

    def _best_bid_ask(self, market: _Market, links: list[Link], ts_ms: int) -> None:
        # Sent before the change it results from and stamped 1 or 2 ms after it: neighbours go back in time.
        assert market.text is not None
        key = market.listing.key
        for token in (0, 1):
            bid, ask = market.text.best(token)
            stamp = str(ts_ms + self._rng.randint(1, 2))
            frame = self._dress(
                frames.best_bid_ask(key, market.listing.tokens[token], bid=bid, ask=ask, timestamp=stamp)
            )
            for link in links:
                if market.links[link] & (1 << token) and not (link.faults and link.mutes(key)):
                    link.push(frame, key, "best_bid_ask")

    # ---------------------------------------------------------------- last price and hash

    def hash_of(self, key: str, number: int, ts_ms: int, bids: dict[int, int], asks: dict[int, int]) -> list[str]:
        """Hashes of the first token that the venue may have shown for a past state, the likeliest first.

        More than one where the last price or the tick moved while the state stood.
        """
        market = self._markets[key]
        numbers = [mark[0] for mark in market.marks]
        last = bisect_right(numbers, number)
        first = last - 1
        while first > 0 and numbers[first] == number:
            first -= 1
        found = []
        for _, last_trade, tick in market.marks[first:last]:
            inputs = self._inputs(market, 0, last_trade, tick)
            found.append(book_hash(inputs, timestamp=str(ts_ms), bids=bids, asks=asks))
        return found[::-1]

    def rest_book(self, token: str) -> tuple[Listed, int, str, str, str] | None:
        """What CLOB prints beside the levels: listing, token index, timestamp, tick, last price."""
        found = self._tokens.get(token)
        if found is None or found[0] not in self._source.listings:
            return None
        market = self._markets[found[0]]
        stamp = str(self._source.last_change_ms(found[0]))
        return market.listing, found[1], stamp, market.tick, market.last_trade

    def asked_by_rest(self, key: str) -> None:
        """REST gives a market's present book."""
        if self._log is not None:
            self._log.asked(key)

    def rest_hash(self, token: str, bids: bytes, asks: bytes, stamp: str) -> str:
        """Hash of a token's present book."""
        key, index = self._tokens[token]
        return self._both_inputs(self._markets[key])[index].digest(stamp.encode(), bids, asks)

    def _taker(self, change: Change) -> tuple[int, str, str]:
        """Token, side and price text of a print; four of five prints are buys of their own token."""
        buys = self._stable(change, 5) != 0
        token = int(buys != change.bid)
        px = PX_ONE_E4 - change.px_e4 if token else change.px_e4
        return token, "BUY" if buys else "SELL", px_text(px)

    def _stable(self, change: Change, of: int) -> int:
        # The price text is needed when the book changes and again when the print is announced: it must not be redrawn.
        return (change.ts_ms * 2_654_435_761 + change.px_e4 * 40_503 + change.sz_e6) % (of * 7) % of

    def _match_moves_last_price(self, market: _Market, match: Change, number: int) -> None:
        self._set_last_price(market, self._taker(match)[2], number)

    def _set_last_price(self, market: _Market, price: str, number: int) -> None:
        text = self._widened(price, number)
        if text != market.last_trade:
            market.last_trade = text
            market.inputs = None
            market.marks.append((number, text, market.tick))
            if len(market.marks) >= _MARKS_TRIMMED_AT:
                # What held at the oldest state that is kept is still asked for.
                oldest = self._source.oldest_state_number(market.listing.key)
                del market.marks[: max(0, bisect_left(market.marks, oldest, key=lambda mark: mark[0]) - 1)]

    def _widened(self, price: str, salt: int) -> str:
        """The width in which the venue prints a last price inside the hash: as is, or padded to three places."""
        decimals = len(price.partition(".")[2])
        return price if decimals > 2 or decimals == 0 or salt % 3 == 0 else price.ljust(5, "0")

    def _digest(self, market: _Market, token: int, stamp: str) -> str:
        assert market.text is not None
        bids, asks = market.text.sides(token)
        return self._both_inputs(market)[token].digest(stamp.encode(), bids, asks)

    def _both_inputs(self, market: _Market) -> tuple[HashInputs, HashInputs]:
        if market.inputs is None:
            market.inputs = (
                self._inputs(market, 0, market.last_trade, market.tick),
                self._inputs(market, 1, market.last_trade, market.tick),
            )
        return market.inputs

    def _inputs(self, market: _Market, token: int, last_trade: str, tick: str) -> HashInputs:
        listing = market.listing
        return HashInputs(
            era=self._options.hash_era,
            market=listing.key,
            asset_id=listing.tokens[token],
            min_order_size=sz_text(listing.min_size_e6),
            tick_size=tick,
            neg_risk=bool(listing.event.neg_risk_id),
            last_trade_price=last_trade,
        )

    # ---------------------------------------------------------------- books

    def _book(self, market: _Market, token: int, *, ts_ms: int | None = None, first: bool = False) -> bytes:
        if market.text is None:
            market.text = BookText(*self._source.levels(market.listing.key))
        stamp = str(self._source.last_change_ms(market.listing.key) if ts_ms is None else ts_ms)
        bids, asks = market.text.sides(token)
        announced = first and not self._old
        return frames.book(
            market.listing.key,
            market.listing.tokens[token],
            timestamp=stamp,
            digest=self._digest(market, token, stamp),
            bids=bids,
            asks=asks,
            tick_size=market.tick if announced and self._options.tick_in_dump else None,
            last_trade_price=market.last_trade if announced else None,
        )

    def _old_book(self, market: _Market, token: int, ts_ms: int, shown: str) -> bytes:
        assert market.text is not None
        bids, asks = market.text.sides(token)
        digest = self._digest(market, token, str(ts_ms))
        return frames.old_book(
            market.listing.key, market.listing.tokens[token], timestamp=shown, digest=digest, bids=bids, asks=asks
        )

    def _dress(self, frame: bytes) -> bytes:
        return frames.spaced(frame) if self._rng.random() < self._options.spaced_share else frame

    def _list(self, listing: Listed) -> None:
        last = self._source.last_trade_px_e4(listing.key)
        text = "" if last is None else self._widened(px_text(last), listing.number)
        self._markets[listing.key] = _Market(listing, text)
        for index, token in enumerate(listing.tokens):
            self._tokens[token] = (listing.key, index)

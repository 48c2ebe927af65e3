"""Kalshi's socket without sockets: commands in, numbered frames out.

Facts that the code below keeps (venues' documentation and captures):

- one subscription (``sid``) per channel and connection; a second subscribe is merged into the first and answered
  with ``ok``, and only what it added gets a snapshot;
- ``seq`` counts the frames of one sid over all its markets, acknowledgements included; ``subscribed`` has none;
- an empty side has no key; an unknown ticker gets an empty snapshot with an empty ``market_id`` and no error;
- nothing announces the scheduled open or close: deltas stop, and an empty snapshot follows.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from overround.exchange import kalshi_frames as frames
from overround.exchange.deliveries import DeliveryLog
from overround.exchange.kalshi_listing import price_ranges
from overround.exchange.kalshi_session import (
    CHANNELS,
    ERRORS,
    UNFILTERED,
    KalshiMarket,
    Session,
    Subscription,
    trade_uuid,
)
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Listed, Source
from overround.exchange.settings import KalshiOptions
from overround.market import PX_ONE_E4, Venue

__all__ = ["KalshiHub"]

_SWEEP_MS = 60_000


class KalshiHub:
    """The socket's channels: commands in, frames out.

    Parameters
    ----------
    source : Source
        Its Kalshi listings are served.
    options : KalshiOptions
    rng : random.Random
        Decides the order of trade and delta, clocks and delays.
    log : DeliveryLog, optional
        Where every change is written down before it is sent.
    """

    venue = Venue.KALSHI

    def __init__(
        self, source: Source, options: KalshiOptions, rng: random.Random, log: DeliveryLog | None = None
    ) -> None:
        self._source = source
        self._log = log
        self._options = options
        self._rng = rng
        self._markets: dict[str, KalshiMarket] = {}
        self._sessions: dict[Link, Session] = {}
        self._trades: dict[Subscription, None] = {}
        self._tickers: dict[Subscription, None] = {}
        self._lifecycle: dict[Subscription, None] = {}
        self._quote_due: dict[str, int] = {}
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._later_number = 0
        self._now_ms = 0
        self._known_ms = 0
        self._next_ping_ms = 0
        self._swept_ms = 0
        for listing in source.listings.values():
            if listing.venue is Venue.KALSHI:
                self._markets[listing.key] = KalshiMarket(listing)

    # ---------------------------------------------------------------- connections

    def attach(self, link: Link, now_ms: int) -> None:
        """A connection was opened (its signature is checked before)."""
        self._now_ms = now_ms
        self._sessions[link] = Session()

    def detach(self, link: Link) -> None:
        """A connection is gone."""
        session = self._sessions.pop(link, None)
        if session is not None:
            for sub in list(session.by_sid.values()):
                self._end(session, sub)

    def links(self) -> list[Link]:
        """Open connections, oldest first."""
        return list(self._sessions)

    def markets_of(self, link: Link) -> list[str]:
        """Markets whose books a connection is subscribed to."""
        session = self._sessions.get(link)
        sub = session.by_channel.get("orderbook_delta") if session else None
        return list(sub.markets) if sub else []

    def overflow(self, link: Link) -> None:
        """The client reads too slowly: its subscriptions end with error 25."""
        session = self._sessions.get(link)
        if session is None:
            return
        for sub in list(session.by_sid.values()):
            self._end(session, sub)
            self.terminal(sub, 25)

    def break_channel(self, link: Link, code: int = 10, channel: str = "orderbook_delta") -> bool:
        """End one subscription of a connection with a terminal error; False if it has none."""
        session = self._sessions.get(link)
        sub = session.by_channel.get(channel) if session else None
        if session is None or sub is None:
            return False
        self._end(session, sub)
        self.terminal(sub, code)
        return True

    def terminal(self, sub: Subscription, code: int) -> None:
        """Send the error that ends a subscription."""
        sub.link.put(frames.error(0, code, ERRORS[code], sid=sub.sid, seq=sub.next_seq(), sending_ms=self._sending()))

    def skip_seq(self, link: Link, count: int, channel: str = "orderbook_delta") -> int | None:
        """Leave out numbers of a subscription, as if frames were lost; the first number that is missing."""
        session = self._sessions.get(link)
        sub = session.by_channel.get(channel) if session else None
        if sub is None:
            return None
        sub.seq += count
        return sub.seq - count + 1

    def underflow(self, link: Link, key: str, beyond_e6: int) -> dict[str, Any] | None:
        """Take more from a level than it holds, on one connection and correctly numbered; what was forged."""
        session = self._sessions.get(link)
        sub = session.by_channel.get("orderbook_delta") if session else None
        market = self._markets.get(key)
        if sub is None or market is None or key not in sub.markets:
            return None
        bids, asks = self._source.levels(key)
        on_bids = bool(bids)
        px = max(bids, default=5_000) if on_bids else min(asks, default=5_000)
        held = (bids if on_bids else asks).get(px, 0)
        body = frames.delta_body(
            key,
            market.market_id,
            px_e4=px if on_bids or sub.yes_price else PX_ONE_E4 - px,
            delta_e6=-(held + beyond_e6),
            side="yes" if on_bids else "no",
            ts=frames.iso_micros(self._now_ms),
            ts_ms=self._now_ms,
            clock=market.clock if self._options.clock_fields else None,
        )
        if self._log is not None:
            self._log.forging(key)
        self._send(sub, "orderbook_delta", body, key)
        return {"px_e4": px, "bid": on_bids, "delta_e6": -(held + beyond_e6), "seq": sub.seq}

    def listing(self, key: str) -> Listed | None:
        """A market's listing."""
        market = self._markets.get(key)
        return None if market is None else market.listing

    def receive(self, link: Link, text: str, now_ms: int) -> None:
        """A client's command."""
        self._now_ms = now_ms
        if self._options.command_delay_ms[1]:
            delay = self._rng.randint(*self._options.command_delay_ms)
            self._put_off(now_ms + delay, lambda: self._obey(link, text))
        else:
            self._obey(link, text)

    def _obey(self, link: Link, text: str) -> None:
        session = self._sessions.get(link)
        if session is None:
            return
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._refuse(link, 0, 1)
            return
        command = message.get("id")
        command = command if isinstance(command, int) else 0
        params = message.get("params")
        verb = message.get("cmd")
        if verb == "list_subscriptions":
            listed = [{"channel": sub.channel, "sid": sub.sid} for sub in session.by_sid.values()]
            link.push(frames.ok(command, listed, sending_ms=self._sending()), kind="ack")
        elif verb not in {"subscribe", "unsubscribe", "update_subscription"}:
            self._refuse(link, command, 5)
        elif not isinstance(params, dict):
            self._refuse(link, command, 2)
        elif verb == "subscribe":
            self._subscribe(link, session, command, params)
        elif verb == "unsubscribe":
            self._unsubscribe(link, session, command, params)
        else:
            self._update(link, session, command, params)

    def _subscribe(self, link: Link, session: Session, command: int, params: dict[str, Any]) -> None:
        channels = params.get("channels")
        if not isinstance(channels, list) or not channels:
            self._refuse(link, command, 3)
            return
        tickers = self._tickers_of(link, command, params)
        if tickers is None:
            return
        for channel in channels:
            if channel not in CHANNELS:
                self._refuse(link, command, 8)
            elif channel == "orderbook_delta" and not tickers:
                self._refuse(link, command, 14)
            else:
                self._open(link, session, command, channel, tickers, params)

    def _open(
        self,
        link: Link,
        session: Session,
        command: int,
        channel: str,
        tickers: list[str],
        params: dict[str, Any],
    ) -> None:
        sub = session.by_channel.get(channel)
        if sub is not None:
            self._add(sub, command, tickers, quiet=params.get("skip_ticker_ack") is True)
            return
        session.last_sid += 1
        sub = Subscription(link, session.last_sid, channel, yes_price=params.get("use_yes_price") is True)
        session.by_channel[channel] = session.by_sid[sub.sid] = sub
        link.push(frames.subscribed(command, channel, sub.sid, sending_ms=self._sending()), kind="ack")
        registry = {
            "trade": self._trades, "ticker": self._tickers, "market_lifecycle_v2": self._lifecycle
        }.get(channel)  # fmt: skip
        if registry is not None:
            registry[sub] = None
        if channel in UNFILTERED:
            return
        self._hold(sub, tickers)
        if channel == "orderbook_delta":
            self._first_books(sub, tickers)
        elif channel == "ticker" and params.get("send_initial_snapshot") is True:
            for key in tickers or list(self._markets):
                self._quote(key, only=sub)

    def _add(self, sub: Subscription, command: int, tickers: list[str], *, quiet: bool) -> None:
        new = [key for key in tickers if key not in sub.markets]
        self._hold(sub, new)
        self._acknowledge(sub, command, quiet=quiet)
        if sub.channel == "orderbook_delta":
            self._first_books(sub, new)

    def _hold(self, sub: Subscription, tickers: list[str]) -> None:
        for key in tickers:
            sub.markets[key] = None
            market = self._markets.get(key)
            if market is not None and sub.channel == "orderbook_delta":
                market.books[sub] = None
        self._source.watch([key for key in tickers if key in self._markets])

    def _first_books(self, sub: Subscription, tickers: list[str]) -> None:
        for key in tickers:
            body = self._snapshot(key, sub)
            if sub.link.faults and sub.link.hides_first_book(key):
                sub.next_seq()  # the snapshot is lost on the way: its number is missing too
                continue
            self._send(sub, "orderbook_snapshot", body, key)

    def _acknowledge(self, sub: Subscription, command: int, *, quiet: bool = False) -> None:
        msg = {} if quiet else {"market_tickers": sorted(sub.markets)}
        frame = frames.ok(command, msg, sid=sub.sid, seq=sub.next_seq(), sending_ms=self._sending())
        sub.link.push(frame, kind="ack")

    def _unsubscribe(self, link: Link, session: Session, command: int, params: dict[str, Any]) -> None:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            self._refuse(link, command, 4)
            return
        for sid in sids:
            sub = session.by_sid.get(sid)
            if sub is None:
                self._refuse(link, command, 7)
                continue
            seq = sub.next_seq()
            if sub.channel == "orderbook_delta":
                for key in sub.markets:
                    link.let_go(key)
            self._end(session, sub)
            link.push(frames.unsubscribed(command, sid=sub.sid, seq=seq, sending_ms=self._sending()), kind="ack")

    def _update(self, link: Link, session: Session, command: int, params: dict[str, Any]) -> None:
        sids = params.get("sids", [params["sid"]] if "sid" in params else None)
        if sids is None:
            self._refuse(link, command, 4)
            return
        if not isinstance(sids, list) or len(sids) != 1:
            self._refuse(link, command, 12)
            return
        sub = session.by_sid.get(sids[0])
        if sub is None:
            self._refuse(link, command, 7)
            return
        action = params.get("action")
        if action is None:
            self._refuse(link, command, 15)
            return
        tickers = self._tickers_of(link, command, params)
        if tickers is None:
            return
        if not tickers:
            self._refuse(link, command, 14)
        elif action == "add_markets":
            self._add(sub, command, tickers, quiet=False)
        elif action == "delete_markets":
            for key in tickers:
                if key in sub.markets and sub.channel == "orderbook_delta":
                    link.let_go(key)
                sub.markets.pop(key, None)
                market = self._markets.get(key)
                if market is not None:
                    market.books.pop(sub, None)
            self._acknowledge(sub, command)
        elif action == "get_snapshot" and sub.channel == "orderbook_delta":
            for key in tickers:
                self._send(sub, "orderbook_snapshot", self._snapshot(key, sub), key, command=command)
        else:
            self._refuse(link, command, 13)

    def _tickers_of(self, link: Link, command: int, params: dict[str, Any]) -> list[str] | None:
        one, many = params.get("market_ticker"), params.get("market_tickers")
        if one is not None and many is not None:
            self._refuse(link, command, 11)
            return None
        named = [one] if one is not None else (many or [])
        if not isinstance(named, list) or not all(isinstance(key, str) for key in named):
            self._refuse(link, command, 11)
            return None
        if len(named) > self._options.max_tickers_per_command:
            self._refuse(link, command, 26)
            return None
        return list(dict.fromkeys(named))

    def _refuse(self, link: Link, command: int, code: int) -> None:
        link.push(frames.error(command, code, ERRORS[code], sending_ms=self._sending()), kind="ack")

    def _end(self, session: Session, sub: Subscription) -> None:
        session.by_sid.pop(sub.sid, None)
        if session.by_channel.get(sub.channel) is sub:
            del session.by_channel[sub.channel]
        for registry in (self._trades, self._tickers, self._lifecycle):
            registry.pop(sub, None)
        for key in sub.markets:
            market = self._markets.get(key)
            if market is not None:
                market.books.pop(sub, None)

    # ---------------------------------------------------------------- time

    def next_ms(self) -> int | None:
        """When ``poll`` has something to do next."""
        due = [self._later[0][0]] if self._later else []
        if self._quote_due:
            due.append(min(self._quote_due.values()))
        return min(due, default=None)

    def poll(self, now_ms: int) -> None:
        """Send what was put off until now."""
        self._now_ms = self._known_ms = now_ms
        while self._later and self._later[0][0] <= now_ms:
            heapq.heappop(self._later)[2]()
        for key in [key for key, due in self._quote_due.items() if due <= now_ms]:
            del self._quote_due[key]
            self._quote(key)

    def housekeeping(self, now_ms: int) -> None:
        """Send the protocol pings; forget markets that are listed no more."""
        if now_ms - self._swept_ms > _SWEEP_MS:
            self._swept_ms = now_ms
            for key in [key for key in self._markets if key not in self._source.listings]:
                del self._markets[key]
        if now_ms >= self._next_ping_ms:
            self._next_ping_ms = now_ms + self._options.ping_ms
            for link in self._sessions:
                link.ping(b"heartbeat")

    def _put_off(self, due_ms: int, act: Callable[[], None]) -> None:
        self._later_number += 1
        heapq.heappush(self._later, (due_ms, self._later_number, act))

    # ---------------------------------------------------------------- changes

    def apply(self, changes: Sequence[Change], now_ms: int) -> None:
        """Turn changes, in order, into frames."""
        self._now_ms = now_ms
        if changes:
            self._known_ms = max(self._known_ms, changes[-1].ts_ms)
        early = {
            (c.key, c.ts_ms): c
            for c in changes
            if c.kind is ChangeKind.TRADE and self._trades and self._rng.random() >= self._options.delta_first_share
        }
        printed: set[int] = set()
        for change in changes:
            if change.kind is ChangeKind.LISTED:
                self._listed(change)
                continue
            market = self._markets.get(change.key)
            if market is None:
                continue
            if change.kind is ChangeKind.LEVEL:
                if self._log is not None:
                    self._log.happened(change.key, change.number, change.px_e4 if change.bid else -change.px_e4)
                if early:
                    trade = early.pop((change.key, change.ts_ms), None)
                    if trade is not None:
                        self._print(trade)
                        printed.add(id(trade))
                self._level(market, change)
            elif change.kind is ChangeKind.TRADE:
                if id(change) not in printed:
                    self._print(change)
                    early.pop((change.key, change.ts_ms), None)  # a recording may tell the print first
                self._count(market, change)
            elif change.kind is ChangeKind.STATUS:
                self._status(market, change)
            elif change.kind is ChangeKind.TICK:
                self._grid(market)

    def _level(self, market: KalshiMarket, change: Change) -> None:
        if change.ts_ms != market.clock_ts:  # one action of the exchange shares one clock value
            market.clock += 1 + self._rng.getrandbits(1)
            market.clock_ts = change.ts_ms
        if self._tickers:
            self._quote_due.setdefault(change.key, max(self._now_ms, market.quoted_ms + self._options.ticker_ms))
        if not market.books or market.over:
            return
        straight: bytes | None = None
        yes_priced: bytes | None = None
        sending = self._sending()
        for sub in market.books:
            link = sub.link
            if link.faults and link.mutes(change.key):
                continue
            if sub.yes_price:
                body = yes_priced = yes_priced or self._delta(market, change, yes_price=True)
            else:
                body = straight = straight or self._delta(market, change, yes_price=False)
            sub.seq += 1
            link.push(
                frames.frame("orderbook_delta", sub.sid, sub.seq, body, sending_ms=sending),
                change.key,
                "orderbook_delta",
            )

    def _delta(self, market: KalshiMarket, change: Change, *, yes_price: bool) -> bytes:
        px = change.px_e4 if change.bid or yes_price else PX_ONE_E4 - change.px_e4
        options = self._options
        return frames.delta_body(
            change.key,
            market.market_id,
            px_e4=px,
            delta_e6=change.delta_e6,
            side="yes" if change.bid else "no",
            ts=frames.iso_micros(change.ts_ms, change.number * 7919 % 1000),
            ts_ms=change.ts_ms if options.ts_ms else None,
            clock=market.clock if options.clock_fields else None,
        )

    def _print(self, change: Change) -> None:
        if not self._trades:
            return
        body = frames.trade_body(
            change.key,
            trade_id=trade_uuid(change.trade_id, change.key, change.ts_ms, change.number),
            yes_px_e4=change.px_e4,
            sz_e6=change.sz_e6,
            taker="yes" if change.bid else "no",
            ts_ms=change.ts_ms,
        )
        for sub in self._trades:
            if not sub.markets or change.key in sub.markets:
                self._send(sub, "trade", body, change.key)

    def _count(self, market: KalshiMarket, change: Change) -> None:
        market.volume_e6 += change.sz_e6
        market.last_size_e6 = change.sz_e6
        if self._tickers:
            self._quote_due.setdefault(change.key, max(self._now_ms, market.quoted_ms + self._options.ticker_ms))

    def _status(self, market: KalshiMarket, change: Change) -> None:
        key = change.key
        if change.status in {"closed", "resolved"} and not market.over:
            market.over = True
            if market.listing.close_ms > change.ts_ms + 1000:
                self._tell(key, "close_date_updated", {"close_ts": change.ts_ms // 1000})
            self._put_off(
                self._now_ms + self._rng.randint(*self._options.close_snapshot_ms),
                lambda: self._empty_books(market),
            )
        if change.status == "paused":
            self._tell(key, "deactivated", {"is_deactivated": True})
        elif change.status == "active":
            market.over = False
            self._tell(key, "activated", {"is_deactivated": False})
        elif change.status == "resolved":
            result = market.listing.result
            word = "" if result is None else ("yes", "no")[result]
            self._tell(
                key,
                "determined",
                {
                    "determination_ts": change.ts_ms // 1000,
                    "result": word,
                    "settlement_value": frames.dollars(PX_ONE_E4 if result == 0 else 0),
                },
            )
            self._put_off(
                self._now_ms + self._rng.randint(1_000, 5_000),
                lambda: self._tell(key, "settled", {"settled_ts": self._now_ms // 1000}),
            )

    def _empty_books(self, market: KalshiMarket) -> None:
        for sub in list(market.books):
            self._send(sub, "orderbook_snapshot", self._snapshot(market.listing.key, sub), market.listing.key)

    def _grid(self, market: KalshiMarket) -> None:

        self._tell(
            market.listing.key,
            "price_level_structure_updated",
            {
                "price_level_structure": market.listing.grid,
                "price_ranges": price_ranges(market.listing.grid, market.listing.tick_e4),
            },
        )

    def _listed(self, change: Change) -> None:
        listing = self._source.listings.get(change.key)
        if listing is None or listing.venue is not Venue.KALSHI:
            return
        self._markets.setdefault(change.key, KalshiMarket(listing))
        metadata: dict[str, Any] = {
            "name": listing.label or listing.title,
            "title": listing.title,
            "yes_sub_title": listing.label or listing.outcomes[0],
            "no_sub_title": listing.label or listing.outcomes[1],
            "rules_primary": listing.rules,
            "rules_secondary": "",
            "can_close_early": True,
            "event_ticker": listing.event.key,
            "expected_expiration_ts": listing.close_ms // 1000,
        }
        if listing.strike_type:
            metadata["strike_type"] = listing.strike_type
        for name, text in (("floor_strike", listing.floor_strike), ("cap_strike", listing.cap_strike)):
            if text:
                metadata[name] = float(text) if "." in text else int(text)
        self._tell(
            change.key,
            "created",
            {
                "exchange_index": 0,
                "open_ts": listing.open_ms // 1000,
                "close_ts": listing.close_ms // 1000,
                "additional_metadata": metadata,
                "price_level_structure": listing.grid,
            },
        )

    def _tell(self, key: str, event_type: str, fields: dict[str, Any]) -> None:
        if self._lifecycle:
            body = frames.lifecycle_body(key, event_type, fields)
            for sub in self._lifecycle:
                self._send(sub, "market_lifecycle_v2", body, key)

    def _quote(self, key: str, only: Subscription | None = None) -> None:
        market = self._markets.get(key)
        if market is None:
            return
        bids, asks = ({}, {}) if market.over else self._source.levels(key)
        bid, ask = max(bids, default=0), min(asks, default=PX_ONE_E4)
        market.quoted_ms = self._now_ms
        body = frames.ticker_body(
            key,
            market.market_id,
            price_e4=self._source.last_trade_px_e4(key) or 0,
            bid=(bid, bids.get(bid, 0)),
            ask=(ask, asks.get(ask, 0)),
            volume_e6=market.volume_e6,
            open_interest_e6=market.open_interest_e6,
            last_size_e6=market.last_size_e6,
            ts_ms=self._now_ms,
        )
        for sub in self._tickers if only is None else (only,):
            if not sub.markets or key in sub.markets:
                self._send(sub, "ticker", body, key)

    # ---------------------------------------------------------------- frames

    def _send(self, sub: Subscription, kind: str, body: bytes, key: str, *, command: int = 0) -> None:
        link = sub.link
        if link.faults and link.mutes(key):
            return
        link.push(
            frames.frame(kind, sub.sid, sub.next_seq(), body, sending_ms=self._sending(), command=command), key, kind
        )

    def _snapshot(self, key: str, sub: Subscription) -> bytes:
        market = self._markets.get(key)
        clocked = self._options.clock_fields
        if market is None:
            return frames.snapshot_body(key, "", yes=[], no=[], clock=0 if clocked else None)
        bids, asks = ({}, {}) if market.over else self._source.levels(key)
        yes = sorted(bids.items())
        no = sorted(asks.items()) if sub.yes_price else sorted((PX_ONE_E4 - px, sz) for px, sz in asks.items())
        return frames.snapshot_body(key, market.market_id, yes=yes, no=no, clock=market.clock if clocked else None)

    def _sending(self) -> int | None:
        # A book that is sent between two steps of the pump holds what happened up to the last of them, and says so.
        return (self._known_ms or self._now_ms) if self._options.clock_fields else None

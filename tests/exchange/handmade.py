"""A source made by hand: a few markets, and changes exactly where a test wants them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from overround.exchange.fault_script import FaultScript
from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Listed, ListedEvent
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.server import Exchange
from overround.market import Venue
from overround.testing.clock import ManualClock

T0 = 1_790_000_000_000
DAY = 86_400_000


def polymarket_listing(n: int = 1, *, neg_risk: bool = False, fee: str = "", **over: object) -> Listed:
    event = ListedEvent(
        key=str(20_000 + n // 3),
        title=f"Event number {n // 3}",
        category="Politics",
        series="weekly-series",
        exclusive=neg_risk,
        neg_risk_id="0x" + "ab" * 31 + "00" if neg_risk else "",
    )
    listing = Listed(
        venue=Venue.POLYMARKET,
        key=f"0x{n:064x}",
        tokens=(str(10**76 + 2 * n), str(10**76 + 2 * n + 1)),
        number=500_000 + n,
        event=event,
        leg=n % 3,
        title=f"Will “it” happen in case {n}?",
        label=f"Case {n}",
        rules='This resolves to "Yes" if it happens – otherwise to "No".',
        source="https://example.org/source",
        open_ms=T0 - DAY,
        close_ms=T0 + DAY,
        fee_rate=fee,
        fee_type="crypto_fees_v2" if fee else "",
        volume_usdc=1234.5 * n,
        volume_24h_usdc=100.25 * n,
        liquidity_usdc=5000.0,
    )
    for name, value in over.items():
        setattr(listing, name, value)
    return listing


def kalshi_listing(n: int = 1, **over: object) -> Listed:
    series = "KXTEST"
    event = ListedEvent(
        key=f"{series}-26DEC{n // 3:02d}",
        title=f"Test event {n // 3}",
        category="Economics",
        series=series,
        exclusive=True,
    )
    listing = Listed(
        venue=Venue.KALSHI,
        key=f"{event.key}-T{n}",
        tokens=("yes", "no"),
        number=n,
        event=event,
        leg=n % 3,
        title=f"Will the number be above {n}?",
        label=f"Above {n}",
        rules=f"If the number is above {n}, then the market resolves to Yes.",
        source="Bureau",
        open_ms=T0 - DAY,
        close_ms=T0 + DAY,
        grid="linear_cent",
        fee_rate="0.07",
        fee_type="quadratic",
        strike_type="greater",
        floor_strike=f"{n}.5",
        volume_usdc=100.0 * n,
        volume_24h_usdc=10.0,
        liquidity_usdc=500.0,
    )
    for name, value in over.items():
        setattr(listing, name, value)
    return listing


class HandSource:
    """Books with three levels a side, and changes queued by a test."""

    def __init__(self, listings: Sequence[Listed], *, now_ms: int = T0) -> None:
        self.listings = {listing.key: listing for listing in listings}
        self._books = {
            key: ({4000: 10_000_000, 3900: 20_500_000, 100: 7_000_000}, {4300: 5_000_000, 4400: 8_250_000})
            for key in self.listings
        }
        self._numbers = dict.fromkeys(self.listings, 0)
        self._last: dict[str, int] = {}
        self._changed = dict.fromkeys(self.listings, now_ms - 60_000)
        self._queue: list[Change] = []
        self.watched: list[str] = []

    def add(self, listing: Listed) -> Change:
        """List one more market, with an empty book; the change that tells of it."""
        self.listings[listing.key] = listing
        self._books[listing.key] = ({}, {})
        self._numbers[listing.key] = 0
        self._changed[listing.key] = listing.open_ms
        return Change(kind=ChangeKind.LISTED, key=listing.key, ts_ms=T0)

    def queue(self, *changes: Change) -> None:
        self._queue.extend(changes)

    def level(self, key: str, ts_ms: int, *, bid: bool, px: int, sz: int) -> Change:
        """Queue a new total at one price; number and delta are those of the queue's end."""
        book = [dict(side) for side in self._books[key]]
        number = self._numbers[key]
        for change in self._queue:
            if change.key == key and change.kind is ChangeKind.LEVEL:
                book[0 if change.bid else 1][change.px_e4] = change.sz_e6
                number = change.number
        held = book[0 if bid else 1].get(px, 0)
        change = Change(
            kind=ChangeKind.LEVEL,
            key=key,
            ts_ms=ts_ms,
            number=number + 1,
            bid=bid,
            px_e4=px,
            sz_e6=sz,
            delta_e6=sz - held,
        )
        self._queue.append(change)
        return change

    def trade(self, key: str, ts_ms: int, *, buys: bool, px: int, sz: int, trade_id: str = "") -> Change:
        number = max(
            [self._numbers[key], *(c.number for c in self._queue if c.key == key and c.kind is ChangeKind.LEVEL)]
        )
        change = Change(
            kind=ChangeKind.TRADE, key=key, ts_ms=ts_ms, number=number, bid=buys, px_e4=px, sz_e6=sz, trade_id=trade_id
        )
        self._queue.append(change)
        return change

    def levels(self, key: str) -> tuple[dict[int, int], dict[int, int]]:
        return self._books[key]

    def oldest_state_number(self, key: str) -> int:
        return 0

    def state_number(self, key: str) -> int:
        return self._numbers[key]

    def last_trade_px_e4(self, key: str) -> int | None:
        return self._last.get(key)

    def last_change_ms(self, key: str) -> int:
        return self._changed[key]

    def next_ms(self) -> int | None:
        return min((change.ts_ms for change in self._queue), default=None)

    def advance(self, now_ms: int) -> list[Change]:
        due = [change for change in self._queue if change.ts_ms <= now_ms]
        self._queue = [change for change in self._queue if change.ts_ms > now_ms]
        for change in due:
            if change.kind is ChangeKind.LEVEL:
                side = self._books[change.key][0 if change.bid else 1]
                if change.sz_e6:
                    side[change.px_e4] = change.sz_e6
                else:
                    side.pop(change.px_e4, None)
                self._numbers[change.key] = change.number
                self._changed[change.key] = change.ts_ms
            elif change.kind is ChangeKind.TRADE:
                self._last[change.key] = change.px_e4
            elif change.kind is ChangeKind.TICK:
                self.listings[change.key].tick_e4 = change.tick_e4
            elif change.kind is ChangeKind.STATUS:
                self.listings[change.key].status = change.status
        return due

    def watch(self, keys: Sequence[str]) -> None:
        self.watched.extend(keys)


class ListWire:
    """Collects what a link would send, and reads the frames back."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended: str | None = None
        self.stuck = 0

    def write(self, data: bytes) -> None:
        self.data += data

    def backlog(self) -> int:
        return self.stuck

    def close(self, code: int, reason: str) -> None:
        self.ended = f"{code} {reason}"

    def abort(self) -> None:
        self.ended = "abort"

    def hang_up(self) -> None:
        self.ended = "hang_up"

    def take(self) -> list[str]:
        """Text frames sent since the last call."""
        found, data, at = [], bytes(self.data), 0
        while at < len(data):
            first, size = data[at], data[at + 1]
            at += 2
            if size == 126:
                size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            elif size == 127:
                size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
            if first == 0x81:
                found.append(data[at : at + size].decode())
            at += size
        self.data.clear()
        return found


class Client:
    """A connection to a hub without a socket."""

    def __init__(self, hub: PolymarketHub | KalshiHub, *, number: int = 1, now_ms: int = T0) -> None:
        self.hub = hub
        self.wire = ListWire()
        self.link = Link(f"{hub.venue}-{number}", number, self.wire, lambda link: None)
        self.now_ms = now_ms
        self.first: list[Any] = []
        hub.attach(self.link, now_ms)

    def send(self, message: object) -> list[Any]:
        """Send a message (JSON unless it is text) and return what comes back at once."""
        self.hub.receive(self.link, message if isinstance(message, str) else json.dumps(message), self.now_ms)
        return self.take()

    def subscribe(self, *keys: str, **more: Any) -> list[Any]:
        """Subscribe to markets by key, both tokens where there are two."""
        if isinstance(self.hub, KalshiHub):
            params = {"channels": ["orderbook_delta"], "market_tickers": list(keys), **more}
            return self.send({"id": 1, "cmd": "subscribe", "params": params})
        listings = [self.hub.listing(key) for key in keys]
        tokens = [token for listing in listings if listing is not None for token in listing.tokens]
        return self.send({"assets_ids": tokens, "type": "market", **more})

    def take(self) -> list[Any]:
        """What was sent since the last call, parsed where it is JSON."""
        self.link.flush()
        return [parsed(text) for text in self.wire.take()]


class Rig:
    """An exchange that is stepped by hand: no socket, no task, no real time."""

    def __init__(
        self,
        *faults: dict[str, Any],
        polymarket: Sequence[Listed] | None = None,
        kalshi: Sequence[Listed] | None = None,
        seed: int = 3,
        **options: Any,
    ) -> None:
        self.clock = ManualClock(T0)
        self.polymarket = HandSource([polymarket_listing(n) for n in (1, 2)] if polymarket is None else polymarket)
        self.kalshi = HandSource([kalshi_listing(n) for n in (1, 2)] if kalshi is None else kalshi)
        self.exchange = Exchange(
            self.polymarket,
            self.kalshi,
            clock=self.clock,
            seed=seed,
            faults=FaultScript.from_json(json.dumps(faults)),
            **options,
        )
        self.exchange.desk.start(T0)
        self._opened = dict.fromkeys(Venue, 0)

    def client(self, venue: Venue) -> Client:
        self._opened[venue] += 1
        client = Client(self.exchange.hubs[venue], number=self._opened[venue], now_ms=self.clock.now_ms())
        self.exchange.desk.opened(venue, client.link)
        return client

    def subscribed(self, venue: Venue) -> Client:
        """A client with every market of its venue, its first frames taken."""
        client = self.client(venue)
        source = self.polymarket if venue is Venue.POLYMARKET else self.kalshi
        client.first = client.subscribe(*source.listings)
        return client

    def step(self, by_ms: int = 0) -> None:
        self.clock.skip_ms(by_ms)
        for _ in self.exchange.step(self.clock.now_ms()):
            pass

    def records(self, venue: Venue) -> list[dict[str, Any]]:
        return self.exchange.desk.report(venue)

    def change(self, venue: Venue, *, key: str | None = None, px: int = 4100, sz: int = 3_000_000) -> Change:
        """One level changes now and is sent."""
        source = self.polymarket if venue is Venue.POLYMARKET else self.kalshi
        change = source.level(key or next(iter(source.listings)), self.clock.now_ms(), bid=True, px=px, sz=sz)
        self.step()
        return change


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

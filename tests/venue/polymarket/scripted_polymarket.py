"""A scripted market of the venue: naive books, frames as the venue prints them, and hashes computed independently."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

from overround.book import BookShelf
from overround.market import Market, MarketId, MarketStatus, OutcomeId, TickBand, Venue
from overround.venue.polymarket import PolymarketFeed
from overround.venue.ports import FeedEvent, FeedEventKind

T0 = 1_766_481_546_000
NS = 1_000_000


def text(scaled: int, places: int) -> str:
    """Canonical decimal text, made with Decimal on purpose: another way than the package's."""
    return format((Decimal(scaled) / (10**places)).normalize(), "f")


class Scripted:
    """One market; ``bids`` and ``asks`` are the first token's book in integers."""

    def __init__(
        self, n: int = 1, *, tick_e4: int = 100, neg_risk: bool = False, last_trade: str = "0.500", min_size: str = "5"
    ) -> None:
        self.market_id = f"0x{n:064x}"
        self.tokens = (f"{n}{'1' * 75}", f"{n}{'2' * 75}")
        self.tick_e4, self.neg_risk, self.last_trade, self.min_size = tick_e4, neg_risk, last_trade, min_size
        self.bids: dict[int, int] = {4800: 100_000_000, 4900: 50_000_000}
        self.asks: dict[int, int] = {5100: 70_000_000, 5200: 12_340_000}
        self.ts_ms = T0

    @property
    def market(self) -> Market:
        step = self.tick_e4
        return Market(
            market_id=MarketId(self.market_id),
            outcome_ids=(OutcomeId(self.tokens[0]), OutcomeId(self.tokens[1])),
            title="scripted",
            close_ts=None,
            open_ts=None,
            status=MarketStatus.ACTIVE,
            tags=(),
            venue=Venue.POLYMARKET,
            tick_grid=(TickBand(step, 10_000 - step, step),),
            min_size_e6=5_000_000,
            neg_risk=self.neg_risk,
        )

    def sides(self, token: int) -> tuple[dict[int, int], dict[int, int]]:
        if token == 0:
            return self.bids, self.asks
        return {10_000 - px: sz for px, sz in self.asks.items()}, {10_000 - px: sz for px, sz in self.bids.items()}

    def levels(self, token: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        bids, asks = self.sides(token)
        return (
            [{"price": text(px, 4), "size": text(bids[px], 6)} for px in sorted(bids)],
            [{"price": text(px, 4), "size": text(asks[px], 6)} for px in sorted(asks, reverse=True)],
        )

    def hash(self, token: int) -> str:
        bids, asks = self.levels(token)
        members = {
            "market": self.market_id,
            "asset_id": self.tokens[token],
            "timestamp": str(self.ts_ms),
            "hash": "",
            "bids": bids,
            "asks": asks,
            "min_order_size": self.min_size,
            "tick_size": text(self.tick_e4, 4),
            "neg_risk": self.neg_risk,
            "last_trade_price": self.last_trade,
        }
        return hashlib.sha1(json.dumps(members, separators=(",", ":")).encode()).hexdigest()

    def book(self, token: int = 0, *, dump: bool = False, **changed: Any) -> dict[str, Any]:
        """A ``book`` event of the present state."""
        bids, asks = self.levels(token)
        event = {
            "market": self.market_id,
            "asset_id": self.tokens[token],
            "timestamp": str(self.ts_ms),
            "hash": self.hash(token),
            "bids": bids,
            "asks": asks,
            "event_type": "book",
        }
        if dump:
            event |= {"tick_size": text(self.tick_e4, 4), "last_trade_price": self.last_trade}
        return event | changed

    def dump(self) -> list[dict[str, Any]]:
        """What answers a subscription of both tokens."""
        return [self.book(0, dump=True), self.book(1, dump=True)]

    def set(self, side: str, px_e4: int, sz_e6: int, *, after_ms: int = 1) -> None:
        """Change the book and the time."""
        ladder = self.bids if side == "BUY" else self.asks
        if sz_e6:
            ladder[px_e4] = sz_e6
        else:
            ladder.pop(px_e4, None)
        self.ts_ms += after_ms

    def entry(self, token: int, side: str, px_e4: int, sz_e6: int) -> dict[str, str]:
        """An element of ``price_changes`` for either token, ``side`` and price being the first token's."""
        if token == 1:
            side, px_e4 = ("SELL" if side == "BUY" else "BUY"), 10_000 - px_e4
        bids, asks = self.sides(token)
        return {
            "asset_id": self.tokens[token],
            "price": text(px_e4, 4),
            "size": text(sz_e6, 6),
            "side": side,
            "hash": self.hash(token),
            "best_bid": text(max(bids), 4) if bids else "0",
            "best_ask": text(min(asks), 4) if asks else "1",
        }

    def change(
        self, side: str, px_e4: int, sz_e6: int, *, tokens: tuple[int, ...] = (0, 1), after_ms: int = 1
    ) -> dict[str, Any]:
        """Change the book; the ``price_change`` that announces it."""
        self.set(side, px_e4, sz_e6, after_ms=after_ms)
        return {
            "market": self.market_id,
            "price_changes": [self.entry(token, side, px_e4, sz_e6) for token in tokens],
            "timestamp": str(self.ts_ms),
            "event_type": "price_change",
        }

    def old_change(self, side: str, px_e4: int, sz_e6: int, *, flat: bool = False, token: int = 0) -> dict[str, Any]:
        """The same in one of the forms before September 2025."""
        self.set(side, px_e4, sz_e6)
        entry = self.entry(token, side, px_e4, sz_e6)
        said = {name: entry[name] for name in ("price", "size", "side")}
        event = {
            "market": self.market_id,
            "asset_id": self.tokens[token],
            "hash": entry["hash"],
            "timestamp": str(self.ts_ms),
            "event_type": "price_change",
        }
        return event | said if flat else event | {"changes": [said]}


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def feed_with(*scripts: Scripted, **options: Any) -> PolymarketFeed:
    """A feed whose connection stands and whose markets have had their dumps."""
    feed = PolymarketFeed(BookShelf(), **options)
    feed.add([script.market for script in scripts], now_ms=T0)
    feed.opened(now_ms=T0)
    feed.receive(encode([event for script in scripts for event in script.dump()]), T0 * NS)
    feed.outbox.clear()
    feed.events.clear()
    return feed


def send(feed: PolymarketFeed, script: Scripted, event: object, *, at_ms: int | None = None) -> bool:
    return feed.receive(encode(event), (script.ts_ms if at_ms is None else at_ms) * NS)


def kinds(feed: PolymarketFeed) -> list[FeedEventKind]:
    return [event.kind for event in feed.events]


def details(feed: PolymarketFeed, kind: FeedEventKind) -> list[str]:
    return [event.detail for event in feed.events if event.kind is kind]


def only(feed: PolymarketFeed, kind: FeedEventKind) -> FeedEvent:
    (found,) = [event for event in feed.events if event.kind is kind]
    return found


def assert_equal(feed: PolymarketFeed, script: Scripted) -> None:
    """The feed's book is the scripted one, best prices and all."""
    book = feed.books[MarketId(script.market_id)]
    assert book.bids == script.bids
    assert book.asks == script.asks
    assert book.best_bid_e4 == max(script.bids, default=-1)
    assert book.best_ask_e4 == min(script.asks, default=10_001)

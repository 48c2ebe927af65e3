"""What the Kalshi socket remembers: markets, subscriptions and their numbers, sessions."""

from __future__ import annotations

from uuid import NAMESPACE_URL, UUID, uuid5

from overround.exchange.link import Link
from overround.exchange.model import Listed

__all__ = [
    "CHANNELS",
    "ERRORS",
    "SEQUENCED",
    "UNFILTERED",
    "KalshiMarket",
    "Session",
    "Subscription",
    "market_uuid",
    "trade_uuid",
]

CHANNELS = frozenset({"orderbook_delta", "ticker", "trade", "market_lifecycle_v2", "multivariate_market_lifecycle"})
SEQUENCED = CHANNELS - {"ticker"}
UNFILTERED = frozenset({"market_lifecycle_v2", "multivariate_market_lifecycle"})
ERRORS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    25: "Subscription buffer overflow",
    26: "Market limit exceeded",
}


def market_uuid(ticker: str) -> str:
    """The ``market_id`` of a ticker."""
    return str(uuid5(NAMESPACE_URL, f"kalshi:{ticker}"))


def trade_uuid(trade_id: str, ticker: str, ts_ms: int, number: int) -> str:
    """The trade id, made a UUID where the source gave none."""
    try:
        return str(UUID(trade_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"trade:{ticker}:{ts_ms}:{number}:{trade_id}"))


class KalshiMarket:
    """What the frames of one market need."""

    __slots__ = (
        "books", "clock", "clock_ts", "last_size_e6", "listing", "market_id", "open_interest_e6", "over",
        "quoted_ms", "volume_e6",
    )  # fmt: skip

    def __init__(self, listing: Listed) -> None:
        self.listing = listing
        self.market_id = market_uuid(listing.key)
        self.books: dict[Subscription, None] = {}
        self.clock = 0
        self.clock_ts = -1
        self.over = listing.status not in {"active", "paused"}
        self.volume_e6 = int(listing.volume_usdc * 2) * 1_000_000
        self.open_interest_e6 = int(listing.liquidity_usdc) * 1_000_000
        self.last_size_e6 = 0
        self.quoted_ms = 0


class Subscription:
    """One sid: a channel on a connection."""

    __slots__ = ("channel", "link", "markets", "seq", "sid", "yes_price")

    def __init__(self, link: Link, sid: int, channel: str, *, yes_price: bool) -> None:
        self.link = link
        self.sid = sid
        self.channel = channel
        self.markets: dict[str, None] = {}
        self.yes_price = yes_price
        self.seq = 0

    def next_seq(self) -> int | None:
        """The number of the next frame, or None on a channel that has none."""
        if self.channel not in SEQUENCED:
            return None
        self.seq += 1
        return self.seq


class Session:
    """The subscriptions of one connection."""

    __slots__ = ("by_channel", "by_sid", "last_sid")

    def __init__(self) -> None:
        self.by_channel: dict[str, Subscription] = {}
        self.by_sid: dict[int, Subscription] = {}
        self.last_sid = 0

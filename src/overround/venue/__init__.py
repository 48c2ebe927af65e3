"""Ports to the venues; adapters in ``polymarket`` and ``kalshi``."""

from overround.venue.ports import (
    BookSource,
    Feed,
    FeedCounters,
    FeedEvent,
    FeedEventKind,
    MarketCatalog,
    Pause,
    RestBook,
    TradingCalendar,
)

__all__ = [
    "BookSource",
    "Feed",
    "FeedCounters",
    "FeedEvent",
    "FeedEventKind",
    "MarketCatalog",
    "Pause",
    "RestBook",
    "TradingCalendar",
]

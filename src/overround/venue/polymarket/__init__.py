"""Polymarket: Gamma and CLOB REST, and the market channel of the CLOB socket."""

from overround.venue.polymarket.client import PolymarketBooks, PolymarketCatalog
from overround.venue.polymarket.feed import PolymarketFeed
from overround.venue.polymarket.hash import HashEra, HashInputs, HashProof, book_hash, prove
from overround.venue.polymarket.parse import market_from_gamma, markets_from_event

__all__ = [
    "HashEra",
    "HashInputs",
    "HashProof",
    "PolymarketBooks",
    "PolymarketCatalog",
    "PolymarketFeed",
    "book_hash",
    "market_from_gamma",
    "markets_from_event",
    "prove",
]

"""Kalshi: wire formats, pure parsing, the sans-IO feed, the thin client, signing."""

from overround.venue.kalshi.client import KalshiBooks, KalshiCatalog, KalshiClient
from overround.venue.kalshi.feed import KalshiFeed
from overround.venue.kalshi.sign import Signer

__all__ = ["KalshiBooks", "KalshiCatalog", "KalshiClient", "KalshiFeed", "Signer"]

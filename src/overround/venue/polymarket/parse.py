"""From the venue's words to ours: Gamma listings to markets, CLOB books to ladders."""

from __future__ import annotations

from overround.market import Market, Origin
from overround.venue.ports import RestBook

__all__ = ["market_from_gamma", "markets_from_event", "rest_book"]


def market_from_gamma(raw: object, *, now_ms: int, origin: Origin = Origin.LIVE) -> Market:
    """One Gamma market (``wire.GammaMarket``) as a universe record; raises ``WireError``."""
    raise NotImplementedError


def markets_from_event(raw: object, *, now_ms: int, origin: Origin = Origin.LIVE) -> list[Market]:
    """All markets of a Gamma event (``wire.GammaEvent``); raises ``WireError``."""
    raise NotImplementedError


def rest_book(raw: object, market: Market) -> RestBook:
    """A CLOB book of either token (``wire.ClobBook``) as the first outcome's book; raises ``WireError``."""
    raise NotImplementedError

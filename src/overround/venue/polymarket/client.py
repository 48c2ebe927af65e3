"""Gamma and CLOB over HTTP: the market catalogue and whole books."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from overround.clock import Clock
from overround.market import Market, Origin
from overround.venue.ports import RestBook

__all__ = ["PolymarketBooks", "PolymarketCatalog"]


class HttpPort(Protocol):
    """What the adapter asks of ``net.HttpClient``."""

    async def get_bytes(self, url: str, params: Mapping[str, Any] | None = None) -> bytes:
        """Body of a GET, errors translated and retried."""
        ...


class PolymarketCatalog:
    """``MarketCatalog`` on Gamma's keyset listing, legacy listing as fallback."""

    def __init__(
        self, http: HttpPort, gamma_url: str, *, clock: Clock, origin: Origin = Origin.LIVE, page_size: int = 100
    ) -> None:
        raise NotImplementedError

    def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        """Every listed market once."""
        raise NotImplementedError


class PolymarketBooks:
    """``BookSource`` on the CLOB's batch books."""

    def __init__(self, http: HttpPort, clob_url: str, *, chunk: int = 200) -> None:
        raise NotImplementedError

    async def books(self, markets: Sequence[Market]) -> list[RestBook]:
        """Books of the markets that have one, in no particular order."""
        raise NotImplementedError

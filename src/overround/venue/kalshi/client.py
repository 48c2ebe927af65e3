"""Kalshi over HTTP: the market catalogue, whole books, the exchange's state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from overround.clock import Clock
from overround.market import Market, Origin
from overround.venue.kalshi.sign import Signer
from overround.venue.kalshi.wire import ExchangeSchedule, ExchangeStatus
from overround.venue.ports import RestBook

__all__ = ["HttpPort", "KalshiBooks", "KalshiCatalog", "KalshiClient"]

Params = Sequence[tuple[str, str]]


class HttpPort(Protocol):
    """What the adapter asks of ``net.HttpClient``."""

    async def get_bytes(
        self, url: str, params: Any = None, *, headers: Callable[[], Mapping[str, str]] | None = None
    ) -> bytes:
        """Body of a GET, errors translated and retried; ``headers`` is called anew for each attempt."""
        ...


class KalshiClient:
    """The requests themselves: paths, signing, decoding."""

    def __init__(self, http: HttpPort, rest_url: str, *, clock: Clock, signer: Signer | None = None) -> None:
        raise NotImplementedError

    async def exchange_status(self) -> ExchangeStatus:
        """Whether the exchange is open."""
        raise NotImplementedError

    async def exchange_schedule(self) -> ExchangeSchedule:
        """Opening hours and planned pauses."""
        raise NotImplementedError


class KalshiCatalog:
    """``MarketCatalog``: ``/markets`` joined with ``/events`` and ``/series``."""

    def __init__(
        self,
        http: HttpPort,
        rest_url: str,
        *,
        clock: Clock,
        origin: Origin = Origin.LIVE,
        signer: Signer | None = None,
        page_size: int = 1000,
    ) -> None:
        raise NotImplementedError

    def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        """Every listed market once."""
        raise NotImplementedError


class KalshiBooks:
    """``BookSource`` on the batch order books."""

    def __init__(
        self, http: HttpPort, rest_url: str, *, clock: Clock, signer: Signer | None = None, chunk: int = 100
    ) -> None:
        raise NotImplementedError

    async def books(self, markets: Sequence[Market]) -> list[RestBook]:
        """Books of the markets that have one."""
        raise NotImplementedError

"""Mock mode: the local exchange in this process, and settings that point at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from overround.config import Settings
from overround.exchange import Exchange, ExchangeThread, WorldSpec, generated_exchange
from overround.exchange.faults import FaultScript

__all__ = ["mock_exchange", "pointed_at"]


@contextmanager
def mock_exchange(
    settings: Settings, *, faults: FaultScript | None = None, spec: WorldSpec | None = None
) -> Iterator[tuple[Settings, ExchangeThread]]:
    """Run the local exchange on free loopback ports; gives settings that use it, and the exchange.

    Synthetic rows never go into the live lake: while ``data_dir`` is the default ``data``, it becomes
    ``data/mock``.
    """
    exchange = generated_exchange(
        spec or WorldSpec.of(markets=settings.mock.markets, seed=settings.mock.seed), faults=faults, port=0
    )
    with ExchangeThread(exchange) as thread:
        yield pointed_at(settings, thread.exchange), thread


def pointed_at(settings: Settings, exchange: Exchange) -> Settings:
    """The same settings with the exchange's addresses and its test key."""
    urls = exchange.urls
    polymarket = settings.venues.polymarket.model_copy(
        update={
            "ws_url": urls.polymarket_ws_url,
            "rest_url": urls.gamma_url,
            "clob_url": urls.clob_url,
            "open_per_second": max(settings.venues.polymarket.open_per_second, 20.0),
            "rate_fraction": 1.0,
        }
    )
    kalshi = settings.venues.kalshi.model_copy(
        update={
            "ws_url": urls.kalshi_ws_url,
            "rest_url": urls.kalshi_rest_url,
            "api_key": exchange.test_key.key_id,
            "api_secret": SecretStr(exchange.test_key.private_pem),
            "private_key_path": None,
            "open_per_second": max(settings.venues.kalshi.open_per_second, 20.0),
            "rate_fraction": 1.0,
        }
    )
    data_dir = settings.data_dir / "mock" if settings.data_dir == Path("data") else settings.data_dir
    return settings.model_copy(
        update={
            "data_dir": data_dir,
            "venues": settings.venues.model_copy(update={"polymarket": polymarket, "kalshi": kalshi}),
        }
    )

"""Mock mode: the local exchange in this process, and settings that point at it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from pydantic import SecretStr

from overround.clock import Clock, SystemClock
from overround.collector import collect
from overround.config import Settings, StorageSettings
from overround.exchange import (
    Exchange,
    ExchangeThread,
    ExchangeUrls,
    FaultScript,
    GeneratedSource,
    SigningKey,
    WorldSpec,
    test_signing_key,
)
from overround.market import Origin, Venue
from overround.pipelines.scan import scan_venues

__all__ = ["lake_of", "mock_exchange", "pointed_at", "record_mock", "world_of"]


def world_of(*, markets: int, seed: int) -> WorldSpec:
    """A world of so many markets, both venues together."""
    return WorldSpec(polymarket_markets=-(-markets // 2), kalshi_markets=markets // 2, seed=seed)


@contextmanager
def mock_exchange(
    settings: Settings,
    *,
    spec: WorldSpec | None = None,
    faults: FaultScript | None = None,
    clock: Clock | None = None,
) -> Iterator[tuple[Settings, ExchangeThread]]:
    """Run the local exchange on free loopback ports; gives settings that use it, and the running exchange.

    Synthetic rows never go into the live lake: while ``data_dir`` is the default ``data``, it becomes
    ``data/mock``.
    """
    clock = clock or SystemClock()
    spec = spec or world_of(markets=settings.mock.markets, seed=settings.mock.seed)
    source = GeneratedSource(spec, now_ms=clock.now_ms())
    key = test_signing_key()
    exchange = Exchange(
        source,
        source,
        port=0,
        clock=clock,
        seed=spec.seed,
        faults=faults,
        kalshi_public_key=key.public_pem,
        kalshi_key_id=key.key_id,
    )
    with ExchangeThread(exchange) as thread:
        yield pointed_at(settings, thread.urls, key), thread


def lake_of(settings: Settings) -> Path:
    """The lake that a collector with these settings records into."""
    return _mock_lake(settings) if settings.mock.enabled else settings.data_dir


def _mock_lake(settings: Settings) -> Path:
    return settings.data_dir / "mock" if settings.data_dir == Path("data") else settings.data_dir


def record_mock(settings: Settings, *, venues: Sequence[Venue], clock: Clock, duration_s: float | None) -> None:
    """List the local exchange, and record all of it for a while: a world in which arbitrage is planted every second.

    Parameters
    ----------
    settings : Settings
    venues : sequence of Venue
    clock : Clock
    duration_s : float or None
        Seconds of collecting; None only lists.
    """
    spec = world_of(markets=settings.mock.markets, seed=settings.mock.seed)
    spec = msgspec.structs.replace(spec, planted=16, plant_from_s=5.0, plant_every_s=1.0, plant_for_s=6.0)
    whole = {
        "max_subs_per_venue": settings.mock.markets,
        "hot_count": settings.mock.markets,
        "snapshot_interval_ms_hot": 500,
        "snapshot_interval_ms_warm": 500,
    }
    settings = settings.model_copy(
        update={
            "storage": StorageSettings(bucket_secs=60, flush_secs=2, journal_flush_secs=2),
            "venues": settings.venues.model_copy(
                update={
                    "polymarket": settings.venues.polymarket.model_copy(update=whole),
                    "kalshi": settings.venues.kalshi.model_copy(update=whole),
                }
            ),
        }
    )

    async def run(live: Settings) -> None:
        rng = random.Random(settings.mock.seed)
        await scan_venues(live, venues=venues, clock=clock, rng=rng, origin=Origin.SYNTHETIC)
        if duration_s is not None:
            await collect(
                live,
                venues=venues,
                clock=clock,
                rng=rng,
                origin=Origin.SYNTHETIC,
                stop=asyncio.Event(),
                duration_s=duration_s,
            )

    with mock_exchange(settings, spec=spec) as (live, _):
        asyncio.run(run(live))


def pointed_at(settings: Settings, urls: ExchangeUrls, key: SigningKey) -> Settings:
    """The same settings with an exchange's addresses and the key it accepts; pace is loopback's, not a venue's."""
    quick = {"open_per_second": 20.0, "rate_fraction": 1.0}
    polymarket = settings.venues.polymarket.model_copy(
        update=quick | {"ws_url": urls.polymarket_ws_url, "rest_url": urls.gamma_url, "clob_url": urls.clob_url}
    )
    kalshi = settings.venues.kalshi.model_copy(
        update=quick
        | {
            "ws_url": urls.kalshi_ws_url,
            "rest_url": urls.kalshi_rest_url,
            "api_key": key.key_id,
            "api_secret": SecretStr(key.private_pem.decode()),
            "private_key_path": None,
        }
    )
    data_dir = _mock_lake(settings)
    return settings.model_copy(
        update={
            "data_dir": data_dir,
            "venues": settings.venues.model_copy(update={"polymarket": polymarket, "kalshi": kalshi}),
        }
    )

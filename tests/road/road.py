"""The whole road inside a test: exchange, scan, collect, and the comparison with the truth."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from overround.clock import SystemClock
from overround.collector import VenueRecorder, collect
from overround.config import MockSettings, Settings
from overround.exchange import ExchangeThread, FaultScript, WorldSpec
from overround.market import Origin, Venue
from overround.pipelines.demo import demo_settings
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues
from overround.pipelines.truth_check import TruthCheck, check_rows, stored_rows
from overround.storage import LakePaths, newest_universe, partitions


@dataclass
class Trip:
    """What a run left behind."""

    settings: Settings
    recorders: dict[Venue, VenueRecorder]
    checks: dict[Venue, TruthCheck]
    faults: dict[Venue, list[dict[str, Any]]] = field(default_factory=dict)


def travel(
    data_dir: Path,
    *,
    duration_s: float,
    venues: Sequence[Venue] = tuple(Venue),
    faults: FaultScript | None = None,
    spec: WorldSpec | None = None,
    markets: int = 400,
    seed: int = 11,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    keyless: bool = False,
    meanwhile: Callable[[ExchangeThread, Settings], Coroutine[Any, Any, None]] | None = None,
    afterwards: Callable[[ExchangeThread, Settings], None] | None = None,
) -> Trip:
    """Record the generated world for some seconds and compare every stored row with the truth.

    ``afterwards`` is called when nothing is recorded any more, while the exchange still tells the truth.
    """
    import httpx2

    settings = demo_settings(data_dir, markets=markets, seed=seed)
    settings = change(settings.model_copy(update={"mock": MockSettings(enabled=True, markets=markets, seed=seed)}))
    clock, rng = SystemClock(), random.Random(seed)
    with mock_exchange(settings, faults=faults, spec=spec) as (live, thread):
        if keyless:
            kalshi = live.venues.kalshi.model_copy(update={"api_key": "", "api_secret": SecretStr("")})
            live = live.model_copy(update={"venues": live.venues.model_copy(update={"kalshi": kalshi})})

        async def main() -> list[VenueRecorder]:
            await scan_venues(live, venues=venues, clock=clock, rng=rng, origin=Origin.SYNTHETIC)
            beside = asyncio.create_task(meanwhile(thread, live)) if meanwhile else None
            recorders = await collect(
                live,
                venues=venues,
                clock=clock,
                rng=rng,
                origin=Origin.SYNTHETIC,
                stop=asyncio.Event(),
                duration_s=duration_s,
            )
            if beside is not None:
                await beside
            return recorders

        recorders = {recorder.venue: recorder for recorder in asyncio.run(main())}
        if afterwards is not None:
            afterwards(thread, live)
        checks = {venue: compare(live, venue, thread.urls.truth_url) for venue in venues}
        told = {venue: httpx2.get(f"{thread.urls.truth_url}/{venue}/faults", timeout=10).json() for venue in venues}
    return Trip(settings=live, recorders=recorders, checks=checks, faults=told)


def compare(settings: Settings, venue: Venue, truth_url: str, lake: LakePaths | None = None) -> TruthCheck:
    """Every stored row of a venue against the truth; ``lake`` holds the rows if they are elsewhere than the universe."""
    paths = LakePaths(settings.data_dir)
    found = newest_universe(paths, venue, now_ms=SystemClock().now_ms())
    assert found is not None
    firsts = {str(market.market_id): str(market.outcome_ids[0]) for market in found.markets}
    rows = stored_rows((partition.scan() for partition in partitions(lake or paths, venue)), first_outcomes=firsts)
    return check_rows(rows, truth_url=truth_url, venue=venue, top_k=settings.top_k)

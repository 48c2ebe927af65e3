"""A venue changes its messages on a live connection: a running collector says so within a minute, and keeps the frame.

Exchange and collector talk over real loopback sockets on a clock that jumps over what nobody does.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from structlog.testing import capture_logs

from overround.collector import collect
from overround.exchange import (
    Exchange,
    ExchangeOptions,
    Fault,
    FaultScript,
    GeneratedSource,
    WorldSpec,
    test_signing_key,
)
from overround.market import DriftSort, Origin, Venue
from overround.pipelines.demo import demo_settings
from overround.pipelines.drift import drift_report
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths, read_drift, read_quarantine
from overround.testing.warp import WarpClock, warped

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

START_MS = 1_790_000_000_000
MINUTE_MS = 60_000
QUIET_S = 15
"""Before the venues change anything."""


class Change(NamedTuple):
    """A change of the messages, as a fault of the local exchange, and what is to be made of it."""

    kind: str
    params: dict[str, Any]
    sort: DriftSort
    name: str
    mark: bytes
    """Stands in the frames that are to be kept."""


EVER = {"count": 1_000_000}
# A text that is renamed may be a value as well as a name.
CHANGES = {
    Venue.KALSHI: (
        Change("unknown_event", {"name": "rumour"}, DriftSort.UNKNOWN_EVENT, "rumour", b'"rumour"'),
        Change(
            "renamed_field", {"count": 12, "from": "yes", "to": "maybe"},
            DriftSort.DOMAIN, "orderbook_delta.msg.side", b'"maybe"',
        ),
        Change("extra_field", EVER, DriftSort.UNKNOWN_FIELD, "orderbook_delta.unheard_of", b'"unheard_of"'),
    ),
    Venue.POLYMARKET: (
        Change("unknown_event", {"name": "rumour"}, DriftSort.UNKNOWN_EVENT, "rumour", b'"rumour"'),
        Change(
            "renamed_field", {"count": 12, "from": "BUY", "to": "HOLD"},
            DriftSort.DOMAIN, "price_change.price_changes[].side", b'"HOLD"',
        ),
        Change("extra_field", EVER, DriftSort.UNKNOWN_FIELD, "price_change.unheard_of", b'"unheard_of"'),
    ),
}  # fmt: skip


class Witness:
    """Looks twice a second at what the running collector has logged and written."""

    def __init__(self, paths: LakePaths, clock: WarpClock, logs: list[Any]) -> None:
        self._paths, self._clock, self._logs = paths, clock, logs
        self.told: dict[tuple[str, str, str], int] = {}
        self.kept: dict[tuple[Venue, bytes], int] = {}
        self.counted: dict[tuple[Venue, str], int] = {}

    async def run(self) -> None:
        while True:
            self.look()
            await self._clock.sleep_ms(500)

    def look(self) -> None:
        now_ms = self._clock.now_ms()
        for entry in self._logs:
            if entry["event"] == "drift.found":
                assert entry["log_level"] == "warning"
                self.told.setdefault((entry["venue"], entry["sort"], entry["name"]), now_ms)
        for venue, changes in CHANGES.items():
            frames = [
                entry.wire
                for day in self._paths.quarantine_days(venue)
                for path in self._paths.quarantine_files(venue, day)
                for entry in read_quarantine(path)
                if not entry.conn.startswith("rest:")
            ]
            for change in changes:
                if any(change.mark in frame for frame in frames):
                    self.kept.setdefault((venue, change.mark), now_ms)
            for drift in read_drift(self._paths, venue).found.values():
                self.counted.setdefault((venue, drift.key), now_ms)


async def watched(folder: Path, clock: WarpClock, logs: list[Any]) -> tuple[Witness, list[dict[str, Any]]]:
    """Scan, collect until a minute after the last change, and look on; what was seen, and what the exchange did."""
    settings = demo_settings(folder, markets=120, seed=3)
    # A change may hit any connection, and what a canary's second connection hears is not recorded.
    settings = settings.model_copy(
        update={"silence": settings.silence.model_copy(update={"canaries_per_connection": 0})}
    )
    spec = WorldSpec(
        polymarket_markets=60, kalshi_markets=60, seed=3, now_ms=clock.now_ms(), rate_scale=0.3, keep_truth_s=60.0
    )
    source, key = GeneratedSource(spec, now_ms=clock.now_ms()), test_signing_key()
    faults = FaultScript(
        tuple(
            Fault(
                kind=change.kind,
                venue=venue,
                at_ms=(QUIET_S + 5 * number) * 1_000,
                connection="any",
                params=change.params,
            )
            for venue, changes in CHANGES.items()
            for number, change in enumerate(changes)
        )
    )
    exchange = Exchange(
        source, source, port=0, clock=clock, seed=3, faults=faults, kalshi_public_key=key.public_pem,
        kalshi_key_id=key.key_id, options=ExchangeOptions(tick_ms=50.0),
    )  # fmt: skip
    async with exchange:
        live = pointed_at(settings, exchange.urls, key)
        rng = random.Random(3)
        await scan_venues(live, venues=tuple(Venue), clock=clock, rng=rng, origin=Origin.SYNTHETIC)
        witness = Witness(LakePaths(folder), clock, logs)
        looking = asyncio.create_task(witness.run())
        await collect(
            live, venues=tuple(Venue), clock=clock, rng=rng, origin=Origin.SYNTHETIC, stop=asyncio.Event(),
            duration_s=QUIET_S + 10 + 60,
        )  # fmt: skip
        looking.cancel()
        records = [record for venue in Venue for record in await ask(f"{exchange.urls.truth_url}/{venue}/faults")]
    return witness, records


async def ask(url: str) -> Any:
    async with httpx2.AsyncClient() as client:
        return (await client.get(url, timeout=10)).json()


def test_a_change_on_a_live_connection_is_told_counted_and_kept_within_a_minute(tmp_path: Path) -> None:
    with warped() as loop, capture_logs() as logs:
        asyncio.set_event_loop(loop)
        try:
            witness, records = loop.run_until_complete(watched(tmp_path, WarpClock(loop, start_ms=START_MS), logs))
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
    report = drift_report(LakePaths(tmp_path), tuple(Venue))
    found = {(entry.venue, entry.sort, entry.name): entry for entry in report.found}
    for venue, changes in CHANGES.items():
        for change in changes:
            (record,) = (record for record in records if record["venue"] == venue and record["kind"] == change.kind)
            first_ms, key = record["first_ms"], (venue.value, change.sort.value, change.name)
            assert first_ms is not None, f"{venue} never sent it"
            assert 0 <= witness.told[key] - first_ms <= MINUTE_MS
            assert 0 <= witness.kept[venue, change.mark] - first_ms <= MINUTE_MS
            assert 0 <= witness.counted[venue, f"{change.sort} {change.name}"] - first_ms <= MINUTE_MS
            entry = found[venue, change.sort, change.name]
            assert 0 <= entry.first_ms - first_ms <= MINUTE_MS
            assert entry.count >= 1
            warnings = [log for log in logs if log["event"] == "drift.found" and log["name"] == change.name]
            assert len([log for log in warnings if log["venue"] == venue]) == 1, "told once"
    known = {(venue.value, change.name) for venue, changes in CHANGES.items() for change in changes}
    others = {(entry.venue, entry.name) for entry in report.found if entry.sort is not DriftSort.REJECTED} - known
    assert not others, "and nothing else is cried about"

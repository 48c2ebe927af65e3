"""A collector's endpoint, served on a real port to a real client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from statuses import a_status
from structlog.testing import capture_logs

from overround.clock import SystemClock
from overround.collector import VenueStatus
from overround.collector.figures import RecorderFigures
from overround.config import MonitoringSettings
from overround.services import Endpoint, endpoint
from overround.services.exposition import COUNTERS, GAUGES
from overround.testing.clock import ManualClock

pytestmark = pytest.mark.timeout(60)


def a_recorder(**changes: Any) -> Any:
    figures = RecorderFigures()
    figures.lag.observe(0.004)
    figures.lag.observe(99.0)
    figures.gaps["gap"] += 2
    figures.steps["resubscribe"] += 1
    return SimpleNamespace(venue="kalshi", status=lambda: a_status(**changes), figures=figures)


@asynccontextmanager
async def served(tmp_path: Path, *recorders: Any) -> AsyncIterator[tuple[Endpoint, httpx2.AsyncClient]]:
    made = Endpoint(MonitoringSettings(port=0), data_dir=tmp_path / "not" / "there", clock=SystemClock())
    made.show(recorders)
    task = asyncio.create_task(made.run())
    while made.port is None:
        await asyncio.sleep(0.01)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{made.port}") as client:
            yield made, client
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_every_figure_reaches_prometheus_under_its_own_name(tmp_path: Path) -> None:
    told = {field: number for number, (field, _, _) in enumerate((*COUNTERS, *GAUGES), start=2)}
    async with served(tmp_path, a_recorder(**told, last_flush_age_ms=1_500, breakers={"h": "open"})) as (_, client):
        text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families.values()
        for sample in family.samples
    }
    at = (("venue", "kalshi"),)
    for field, name, _ in COUNTERS:
        assert samples[f"overround_{name}_total", at] == told[field]
    for field, name, _ in GAUGES:
        assert samples[f"overround_{name}", at] == told[field]
    assert samples["overround_last_flush_age_seconds", at] == 1.5
    assert samples["overround_breaker_state", (("host", "h"), *at)] == 2
    assert samples["overround_gaps_total", (("cause", "gap"), *at)] == 2
    assert samples["overround_repair_steps_total", (("step", "resubscribe"), *at)] == 1
    assert samples["overround_books", (("integrity", "verified"), *at)] == 10
    assert samples["overround_lag_seconds_bucket", (("le", "0.005"), *at)] == 1
    assert samples["overround_lag_seconds_bucket", (("le", "+Inf"), *at)] == 2
    assert samples["overround_lag_seconds_sum", at] == pytest.approx(99.004)
    assert samples["overround_disk_free_bytes", ()] > 0
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    assert "market_id" not in labels


def test_every_number_of_a_status_is_shown_or_left_out_on_purpose() -> None:
    shown = {field for field, _, _ in (*COUNTERS, *GAUGES)} | {"last_flush_age_ms", "oldest_book_ms"}
    shown |= {"row_verdicts", "book_verdicts", "breakers"}
    # Rates are the monitor's to take, and what a flush took is a histogram.
    left_out = {"venue", "mode", "warning", "frames_per_s", "snapshots_per_s", "last_flush_ms", "gaps"}
    assert shown | left_out == set(VenueStatus.__struct_fields__)
    assert not shown & left_out


async def test_ready_and_well_are_told_apart(tmp_path: Path) -> None:
    async with served(tmp_path) as (made, client):
        codes = [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/health")]
        assert codes == [200, 503, 200]
        made.show([a_recorder()])
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/health")).json()["venues"][0]["connected"] == 2
        made.show([a_recorder(connected=0)])
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["state"]) == (503, "failing")
        assert (await client.get("/livez")).status_code == 200


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held


async def test_a_port_in_use_is_reported_once_and_taken_when_it_is_free(tmp_path: Path, taken: socket.socket) -> None:
    port, clock = taken.getsockname()[1], ManualClock(0)
    made = Endpoint(MonitoringSettings(port=port), data_dir=tmp_path, clock=clock)
    with capture_logs() as logs:
        task = asyncio.create_task(made.run())
        for _ in range(3):
            await clock.advance_ms(endpoint.RETRY_S * 1000)
        assert made.port is None
        taken.close()
        await clock.advance_ms(endpoint.RETRY_S * 1000)
        for _ in range(500):
            await asyncio.sleep(0.01)
            if made.port is not None:
                break
        assert made.port == port
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert str(port) in told["reason"]
    assert "[monitoring]" in told["remedy"]

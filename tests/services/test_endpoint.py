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
from overround.collector.figures import RecorderFigures, RecorderTotals
from overround.collector.ledger import Seconds
from overround.collector.watch import SilenceCounters
from overround.config import MonitoringSettings
from overround.services import Endpoint, endpoint
from overround.services.exposition import COUNTED, COUNTERS, GAUGES, LABELS, TOTALS
from overround.storage import LakePaths, note_run
from overround.testing.clock import ManualClock
from overround.venue import FeedCounters

pytestmark = pytest.mark.timeout(60)


def each_its_own(struct: Any, first: int) -> Any:
    """A struct of counters, each with a number of its own."""
    names = [name for name in struct.__struct_fields__ if name != "unknown"]
    return struct(**{name: number for number, name in enumerate(names, start=first)})


def the_totals() -> RecorderTotals:
    return RecorderTotals(
        feed=each_its_own(FeedCounters, 100),
        silence=each_its_own(SilenceCounters, 200),
        seconds=Seconds(verified=301.5, unverified=302.5, quiet=303.5, gap=304.5, venue_down=305.5),
        http={"requests": 401, "retries": 402, "failures": 403, "rate_limited": 404, "received_bytes": 405},
        rows_given_up=501,
        rows_removed=502,
        newest_row_age_ms=7_000,
    )


def a_recorder(**changes: Any) -> Any:
    figures = RecorderFigures()
    figures.lag.observe(0.004)
    figures.lag.observe(99.0)
    figures.gaps["gap"] += 2
    figures.steps["resubscribe"] += 1
    return SimpleNamespace(venue="kalshi", status=lambda: a_status(**changes), figures=figures, totals=the_totals)


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
    assert samples["overround_newest_row_age_seconds", at] == 7
    assert samples["overround_ledger_seconds", (("integrity", "gap"), *at)] == 304.5
    labels = {
        name
        for family in families.values()
        if family.name.startswith("overround")
        for sample in family.samples
        for name in sample.labels
    }
    assert labels == LABELS | {"le", "version"}


def test_every_count_of_every_part_is_shown_or_left_out_on_purpose() -> None:
    totals = the_totals()
    shown = [total(totals) for _, _, total in TOTALS]
    shown += [count for _, _, _, counts in COUNTED for count in counts(totals).values()]
    feed, silence = totals.feed, totals.silence
    # Shown of the status, for all of them; a hash that did not match is counted as one checked that did.
    of_the_status = [feed.frames, feed.changes, feed.trades, feed.repairs, feed.resyncs, feed.rejected, feed.marked]
    of_the_status += [silence.suspicions, silence.audits, silence.freezes, silence.mutes, silence.missing_books]
    of_the_status += [totals.http[name] for name in ("requests", "failures", "rate_limited")]
    counted = [getattr(part, name) for part in (feed, silence) for name in part.__struct_fields__ if name != "unknown"]
    counted += [*totals.http.values(), totals.rows_given_up, totals.rows_removed]
    mismatches = feed.hash_checked - feed.hash_matched
    assert sorted([*shown, *of_the_status, feed.hash_matched]) == sorted([*counted, mismatches])


async def test_jobs_that_ended_are_counted_from_zero(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path / "not" / "there")
    series = 'overround_pipelines_total{outcome="failed",stage="mine",venue="kalshi"}'
    async with served(tmp_path) as (_, client):
        assert f"{series} 0.0" in (await client.get("/metrics")).text
        note_run(paths, "mine", "kalshi", failed="nothing there", now_ms=5)
        assert f"{series} 1.0" in (await client.get("/metrics")).text
        paths.pipeline_runs().write_bytes(b'{"mine": [')
        assert f"{series} 0.0" in (await client.get("/metrics")).text


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

"""The monitor's screen, driven by a pilot, over real endpoints of real collectors on the local exchange."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from textual.widgets import DataTable, Static

from overround.cli.app import run
from overround.cli.asking import ask
from overround.cli.monitor_screen import MonitorScreen
from overround.cli.monitor_tables import BAR, Sight, verdict_bar
from overround.clock import SystemClock
from overround.collector import collect
from overround.config import MockSettings, MonitoringSettings, Settings
from overround.exchange import Fault, FaultScript
from overround.market import Origin, Venue
from overround.pipelines.demo import demo_settings
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues
from overround.services import CollectorDetail, Endpoint

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]
FAULTS = FaultScript(
    (
        Fault(venue=Venue.KALSHI, kind="sequence_gap", at_ms=1_500),
        Fault(venue=Venue.POLYMARKET, kind="close", at_ms=2_000, params={"mode": "abort"}),
    )
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = demo_settings(tmp_path_factory.mktemp("monitored") / "lake", markets=60, seed=3)
    with mock_exchange(
        settings.model_copy(update={"mock": MockSettings(enabled=True, markets=60, seed=3)}), faults=FAULTS
    ) as (pointed, _):
        yield pointed


@asynccontextmanager
async def collecting(settings: Settings, *, port: int = 0) -> AsyncIterator[str]:
    """A collector and its endpoint, until left; gives the endpoint's address."""
    clock, rng, stop = SystemClock(), random.Random(1), asyncio.Event()
    await scan_venues(settings, venues=tuple(Venue), clock=clock, rng=rng, origin=Origin.SYNTHETIC)
    endpoint = Endpoint(MonitoringSettings(port=port), data_dir=settings.data_dir, clock=clock)
    serving = asyncio.create_task(endpoint.run())
    recording = asyncio.create_task(
        collect(
            settings,
            venues=tuple(Venue),
            clock=clock,
            rng=rng,
            origin=Origin.SYNTHETIC,
            stop=stop,
            on_recorders=endpoint.show,
        )
    )
    while endpoint.port is None or not endpoint.recorders:
        await asyncio.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{endpoint.port}"
    finally:
        stop.set()
        await recording
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def cells(screen: MonitorScreen, name: str) -> list[list[str]]:
    table: DataTable[Any] = screen.query_one(f"#{name}", DataTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def shown(screen: MonitorScreen, name: str) -> str:
    return str(screen.query_one(f"#{name}", Static).render())


def number(text: str) -> float:
    return float(text.replace(",", ""))


async def until(holds: Callable[[], bool], *, within_s: float = 30) -> None:
    for _ in range(int(within_s / 0.05)):
        if holds():
            return
        await asyncio.sleep(0.05)
    assert holds()


@pytest.mark.integration
async def test_the_screen_shows_collectors_and_takes_a_restarted_one_up_again(live: Settings) -> None:
    absent = "http://127.0.0.1:1"
    async with AsyncExitStack() as first:
        url = await first.enter_async_context(collecting(live))
        detail = await asyncio.to_thread(ask, url, "/status", CollectorDetail)
        screen = MonitorScreen([Sight(url=url, detail=detail), Sight(url=absent, error="not asked yet")], every_s=0.2)
        async with screen.run_test(size=(170, 50)) as pilot:
            await until(lambda: [row[1] for row in cells(screen, "venues")] == ["ok", "ok"])
            venues = cells(screen, "venues")
            assert [row[0].split()[-1] for row in venues] == ["polymarket", "kalshi"]
            assert all(len(row[4]) == BAR and "█" in row[4] for row in venues)
            await until(lambda: all(number(row[6]) > 0 for row in cells(screen, "venues")))
            assert "open" in {row[1] for row in cells(screen, "connections")}
            # Both faults are told, with the name under which the log has them.
            await until(lambda: {"gap", "reconnecting"} <= {row[2] for row in cells(screen, "gaps")})
            gaps = {row[2]: row for row in cells(screen, "gaps")}
            assert gaps["gap"][5].startswith("kalshi-r")
            assert gaps["reconnecting"][5].startswith("polymarket-r")
            await until(lambda: not any("…" in row[1] for row in cells(screen, "gaps")))
            await until(lambda: number(cells(screen, "markets")[0][0]) > 0)
            rates = [number(row[0]) for row in cells(screen, "markets")]
            assert rates == sorted(rates, reverse=True)
            # One of the two endpoints is nobody's.
            assert f"no collector answers at {absent}" in shown(screen, "problem-lines")
            assert "no answer yet" in shown(screen, "headline")

            await pilot.press("space")
            held = cells(screen, "connections")
            await asyncio.sleep(0.7)
            assert cells(screen, "connections") == held
            assert "held still" in shown(screen, "headline")
            await pilot.press("space", "tab", "tab")
            assert isinstance(screen.focused, DataTable)

            await first.aclose()
            await until(lambda: [row[1] for row in cells(screen, "venues")] == ["no answer", "no answer"])
            assert f"no collector answers at {url}" in shown(screen, "problem-lines")
            async with collecting(live, port=int(url.rpartition(":")[2])):
                await until(lambda: [row[1] for row in cells(screen, "venues")] == ["ok", "ok"])
                assert f"no collector answers at {url}" not in shown(screen, "problem-lines")
                assert cells(screen, "connections") != held
                await pilot.press("q")


@pytest.mark.integration
async def test_off_a_terminal_the_same_is_printed_once(live: Settings) -> None:
    async with collecting(live) as url:
        argv = [sys.executable, "-c", "from overround.cli import main; main()", "monitor", "--url", url]
        both = [*argv, "--url", "http://127.0.0.1:1"]
        plain, as_json = await asyncio.gather(
            asyncio.to_thread(subprocess.run, both, capture_output=True, text=True, timeout=60),
            asyncio.to_thread(subprocess.run, [*argv, "--json"], capture_output=True, text=True, timeout=60),
        )
    assert (plain.returncode, as_json.returncode) == (0, 0), plain.stderr + as_json.stderr
    for word in (
        "polymarket",
        "kalshi-0.1@",
        "verified",
        "Most active markets",
        "no collector answers at http://127.0.0.1:1",
    ):
        assert word in plain.stdout
    found = json.loads(as_json.stdout)[url]
    assert {venue["venue"] for venue in found["venues"]} == {"polymarket", "kalshi"}
    assert all(venue["connections"] and venue["markets"] for venue in found["venues"])


def test_nobody_there_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["monitor", "--url", "http://127.0.0.1:1"]) == 1
    err = capsys.readouterr().err
    assert "no collector answers at http://127.0.0.1:1" in err
    assert "overround collect" in err
    assert run(["monitor", "--url", "localhost:9464"]) == 2
    assert "http://host:port" in capsys.readouterr().err


def test_somebody_else_there(httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    httpserver.expect_request("/status").respond_with_data("<html>hello</html>")
    assert run(["monitor", "--url", httpserver.url_for("")]) == 1
    assert "is no collector" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("books", "drawn"),
    [
        ({"verified": 10, "gap": 0}, "█" * BAR),
        ({"verified": 5, "stale": 5}, "█" * (BAR // 2) + "░" * (BAR // 2)),
        # However few there are, what is wrong is seen.
        ({"verified": 100_000, "gap": 1, "suspect": 1}, "█" * (BAR - 2) + "▒×"),
        ({}, "-" * BAR),
    ],
)
def test_the_bar_shows_every_verdict_there_is(books: dict[str, int], drawn: str) -> None:
    assert verdict_bar(books).plain == drawn

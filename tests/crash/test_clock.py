"""A wall clock that is set forwards and back by an hour under a running collector."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from overround.collector.steady import SteadyClock
from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.storage import COVERAGE, gaps_of, inclusion_of
from overround.testing.clock import ManualClock

from .rig import Rig, Run, rig
from .witness import compare

HOUR_MS = 3_600_000


def test_a_small_correction_is_followed_and_a_step_is_told_but_not_followed() -> None:
    machine = ManualClock()
    steady = SteadyClock(machine)
    machine.skip_ms(500)
    assert (steady.now_ms(), steady.follow()) == (machine.now_ms(), 0)
    machine.step_wall_ms(-400)
    assert steady.now_ms() == machine.now_ms() + 400
    assert steady.follow() == 0
    assert steady.now_ms() == machine.now_ms()
    for step_ms in (HOUR_MS, -HOUR_MS):
        machine.step_wall_ms(step_ms)
        assert steady.follow() == step_ms
        machine.skip_ms(1_000)
        assert steady.now_ms() == machine.now_ms() - step_ms
        machine.step_wall_ms(-step_ms)
        assert steady.follow() == 0


def rows_between(run: Run, venue: Venue, from_ms: int, to_ms: int) -> int:
    """Rows of a venue taken in with times of that span."""
    found = 0
    for taken in run.witness().rows.values():
        of_kalshi = any(str(entry[1]).startswith("yes") for entry in taken.entries)
        if of_kalshi == (venue is Venue.KALSHI):
            found += sum(from_ms <= int(str(entry[2])) < to_ms for entry in taken.entries)
    return found


def open_stays(held: Rig, venue: Venue) -> int:
    """Markets of which the ledger on disk says that they are held."""
    days = held.paths.days(COVERAGE, venue)
    return int(inclusion_of(held.paths, venue, days).collect()["end_ms"].null_count()) if days else 0


def step_and_see_rows(held: Rig, run: Run, by_ms: int, venues: list[Venue]) -> None:
    """Step the collector's clock and wait for rows under the new time."""
    steps = len(run.events("clock.stepped"))
    held.clock.step_ms(by_ms)
    now_ms = held.clock.now_ms()
    run.wait_for(lambda: len(run.events("clock.stepped")) == steps + 1, patience_s=20)
    assert abs(int(run.events("clock.stepped")[-1]["by_ms"]) - by_ms) < 1_000
    for venue in venues:
        run.wait_for(lambda: rows_between(run, venue, now_ms, now_ms + 60_000) > 20, patience_s=30)  # noqa: B023


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGTERM to send")
def test_a_clock_set_back_and_forth_by_an_hour_costs_seconds_and_no_row(tmp_path: Path) -> None:
    # The venues keep the true time: Kalshi refuses signatures of a wrong hour, and takes them again afterwards.
    with rig(tmp_path / "rig", exchange_follows=False) as held:
        run = held.start()
        for venue in Venue:
            run.wait_for(lambda: rows_between(run, venue, 0, 1 << 62) > 20)  # noqa: B023
        step_and_see_rows(held, run, HOUR_MS, [Venue.POLYMARKET])
        step_and_see_rows(held, run, -HOUR_MS, list(Venue))
        step_and_see_rows(held, run, -HOUR_MS, [Venue.POLYMARKET])
        step_and_see_rows(held, run, HOUR_MS, list(Venue))
        assert run.end() == 0, run.said()[-3000:]
        verdict = compare(held.paths, [(run.witness(), None)])
        assert verdict.problems == []
        assert {line["level"] for line in run.events("clock.stepped")} == {"error"}
        assert {line["clock_steps"] for line in run.events("collect.stopped")[-2:]} == {4}
        for venue in Venue:
            gaps = gaps_of(held.paths, venue, held.paths.days(COVERAGE, venue)).collect()
            assert gaps.filter(cause="collector_down").is_empty()
            assert gaps["end_ms"].null_count() == 0
        assert verdict.rows_durable == verdict.rows_taken > 200
        report = verify_lake(held.paths)
        assert report.problems == ()
        assert report.open_rows == 0


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGTERM to send")
def test_a_crash_in_an_hour_that_is_lived_twice_leaves_its_hole_in_the_ledger(tmp_path: Path) -> None:
    with rig(tmp_path / "rig") as held:
        # The hour's first life goes on for longer than the second one has until it dies.
        held.clock.step_ms(60_000)
        run = held.start()
        for venue in Venue:
            run.wait_for(lambda: rows_between(run, venue, 0, 1 << 62) > 20)  # noqa: B023
        step_and_see_rows(held, run, -60_000, list(Venue))
        for venue in Venue:
            # Only what the ledger says of this life tells the next one that there was one.
            run.wait_for(lambda: open_stays(held, venue) > 0)  # noqa: B023
        held.kill(run)
        killed_ms = run.killed_ms or 0
        again = held.start()
        for venue in Venue:
            again.wait_for(lambda: rows_between(again, venue, 0, 1 << 62) > 20)  # noqa: B023
        back_ms = min(int(str(entry[2])) for taken in again.witness().rows.values() for entry in taken.entries)
        assert again.end() == 0, again.said()[-3000:]
        for venue in Venue:
            gaps = gaps_of(held.paths, venue, held.paths.days(COVERAGE, venue)).collect()
            ((start_ms, end_ms),) = (
                gaps.filter(cause="collector_down", market_id="").select("start_ms", "end_ms").rows()
            )
            assert killed_ms - 5_000 <= start_ms <= killed_ms < end_ms <= back_ms

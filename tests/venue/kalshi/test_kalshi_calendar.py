from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from overround.errors import VenueUnavailable
from overround.venue import Pause
from overround.venue.kalshi.calendar import KalshiCalendar, pauses_of
from overround.venue.kalshi.wire import ExchangeSchedule, MaintenanceWindow, Schedule, Session, StandardHours

EASTERN = ZoneInfo("America/New_York")
WHOLE = [Session("00:00", "00:00")]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def eastern(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=EASTERN).timestamp() * 1000)


def week(**changed: list[Session]) -> StandardHours:
    hours = dict.fromkeys(DAYS, WHOLE) | changed
    return StandardHours(start_time="2020-01-01T00:00:00Z", end_time="2100-01-01T00:00:00Z", **hours)


def schedule(*windows: MaintenanceWindow, **changed: list[Session]) -> ExchangeSchedule:
    return ExchangeSchedule(Schedule(standard_hours=[week(**changed)], maintenance_windows=list(windows)))


@pytest.mark.parametrize("thursday", ["2026-01-15", "2026-07-16"], ids=["winter", "summer"])
def test_without_a_schedule_the_documented_pause_of_thursday_morning_stands_in_eastern_time(thursday: str) -> None:
    found = pauses_of(None, from_ms=eastern("2026-01-12T00:00"), to_ms=eastern("2026-07-19T00:00"))
    assert Pause(eastern(f"{thursday}T03:00"), eastern(f"{thursday}T05:00")) in found
    assert len(found) == 27, "one a week"
    assert all(pause.end_ms - pause.start_ms == 2 * 3_600_000 for pause in found)


def test_a_schedule_that_knows_no_pause_has_none() -> None:
    assert pauses_of(schedule(), from_ms=eastern("2026-01-12T00:00"), to_ms=eastern("2026-01-26T00:00")) == []


def test_what_no_session_covers_is_a_pause_and_neighbours_are_one() -> None:
    hours = schedule(
        thursday=[Session("00:00", "03:00"), Session("05:00", "22:00")], friday=[Session("01:00", "00:00")]
    )
    found = pauses_of(hours, from_ms=eastern("2026-01-14T12:00"), to_ms=eastern("2026-01-17T12:00"))
    assert found == [
        Pause(eastern("2026-01-15T03:00"), eastern("2026-01-15T05:00")),
        Pause(eastern("2026-01-15T22:00"), eastern("2026-01-16T01:00")),
    ]


def test_maintenance_is_a_pause_and_one_that_does_not_read_is_left_out() -> None:
    good = MaintenanceWindow(start_datetime="2026-01-13T10:00:00Z", end_datetime="2026-01-13T11:00:00Z")
    bad = MaintenanceWindow(start_datetime="soon", end_datetime="later")
    (found,) = pauses_of(schedule(good, bad), from_ms=eastern("2026-01-12T00:00"), to_ms=eastern("2026-01-14T00:00"))
    assert found == Pause(eastern("2026-01-13T05:00"), eastern("2026-01-13T06:00"))


def test_hours_that_do_not_read_restrict_nothing() -> None:
    hours = schedule(tuesday=[Session("dawn", "dusk")])
    assert pauses_of(hours, from_ms=eastern("2026-01-12T00:00"), to_ms=eastern("2026-01-14T00:00")) == []


class Mute:
    """A client that gets no answer."""

    async def exchange_schedule(self) -> Any:
        raise VenueUnavailable("https://kalshi.test")

    exchange_status = exchange_schedule


def test_a_venue_that_cannot_be_asked_keeps_its_weekly_pause_and_is_taken_to_trade() -> None:
    client: Any = Mute()
    calendar = KalshiCalendar(client)
    span = {"from_ms": eastern("2026-01-15T00:00"), "to_ms": eastern("2026-01-16T00:00")}
    assert asyncio.run(calendar.pauses(**span)) == [Pause(eastern("2026-01-15T03:00"), eastern("2026-01-15T05:00"))]
    assert asyncio.run(calendar.trading())

"""When Kalshi trades: its schedule, its state, and the weekly pause where neither can be had.

Every Thursday from 03:00 to 05:00 Eastern the exchange pauses: connections may end, and nothing is sent on those that
do not. The schedule is in Eastern time, as ``HH:MM`` sessions by weekday; what no session covers is a pause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import structlog

from overround.errors import VenueError, WireError
from overround.venue.kalshi.client import KalshiClient
from overround.venue.kalshi.parse import time_ms
from overround.venue.kalshi.wire import ExchangeSchedule, Session, StandardHours
from overround.venue.ports import Pause

__all__ = ["KalshiCalendar", "pauses_of"]

log = structlog.get_logger()

_EASTERN = ZoneInfo("America/New_York")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MIDNIGHT = "00:00"
_WHOLE = (Session(_MIDNIGHT, _MIDNIGHT),)
_THURSDAY = (Session(_MIDNIGHT, "03:00"), Session("05:00", _MIDNIGHT))


class KalshiCalendar:
    """``TradingCalendar`` on ``/exchange/schedule`` and ``/exchange/status``.

    Parameters
    ----------
    client : KalshiClient
    """

    def __init__(self, client: KalshiClient) -> None:
        self._client = client

    async def pauses(self, *, from_ms: int, to_ms: int) -> list[Pause]:
        """Planned pauses that touch a span; the documented weekly one where the schedule cannot be had."""
        schedule: ExchangeSchedule | None = None
        try:
            schedule = await self._client.exchange_schedule()
        except VenueError as exc:
            log.warning("kalshi.schedule_unknown", reason=str(exc))
        return pauses_of(schedule, from_ms=from_ms, to_ms=to_ms)

    async def trading(self) -> bool:
        """Whether the exchange says that it trades; one that cannot be asked is taken to."""
        try:
            status = await self._client.exchange_status()
        except VenueError as exc:
            log.warning("kalshi.status_unknown", reason=str(exc))
            return True
        return status.exchange_active and status.trading_active


def pauses_of(schedule: ExchangeSchedule | None, *, from_ms: int, to_ms: int) -> list[Pause]:
    """Pauses of a schedule that touch a span, in order; those that meet are one.

    Parameters
    ----------
    schedule : ExchangeSchedule or None
        None: the documented weekly pause.
    from_ms, to_ms : int
        Epoch milliseconds.
    """
    found = [*_outside_sessions(schedule, from_ms, to_ms), *_maintenance(schedule)]
    merged: list[Pause] = []
    for pause in sorted(found, key=lambda one: one.start_ms):
        if pause.end_ms <= from_ms or pause.start_ms >= to_ms:
            continue
        if merged and pause.start_ms <= merged[-1].end_ms:
            merged[-1] = Pause(merged[-1].start_ms, max(merged[-1].end_ms, pause.end_ms))
        else:
            merged.append(pause)
    return merged


def _outside_sessions(schedule: ExchangeSchedule | None, from_ms: int, to_ms: int) -> Iterator[Pause]:
    day = _eastern_date(from_ms)
    last = _eastern_date(to_ms)
    while day <= last:
        open_until = _at(day, _MIDNIGHT)
        for begins, ends in sorted(_sessions(schedule, day)):
            if begins > open_until:
                yield Pause(open_until, begins)
            open_until = max(open_until, ends)
        tomorrow = _at(day + timedelta(days=1), _MIDNIGHT)
        if open_until < tomorrow:
            yield Pause(open_until, tomorrow)
        day += timedelta(days=1)


def _sessions(schedule: ExchangeSchedule | None, day: date) -> list[tuple[int, int]]:
    """A day's trading hours as epoch milliseconds."""
    named = _of_week(schedule, day)
    if named is None:
        named = _THURSDAY if day.weekday() == 3 else _WHOLE
    found = []
    for session in named:
        close_day = day + timedelta(days=1) if session.close_time == _MIDNIGHT else day
        try:
            found.append((_at(day, session.open_time), _at(close_day, session.close_time)))
        except ValueError:
            # What does not read as a time restricts nothing.
            found.append((_at(day, _MIDNIGHT), _at(day + timedelta(days=1), _MIDNIGHT)))
    return found


def _of_week(schedule: ExchangeSchedule | None, day: date) -> Iterable[Session] | None:
    if schedule is None:
        return None
    noon_ms = _at(day, "12:00")
    for hours in schedule.schedule.standard_hours:
        if _covers(hours, noon_ms) and any(getattr(hours, name) for name in _DAYS):
            return tuple(getattr(hours, _DAYS[day.weekday()]))
    return None


def _covers(hours: StandardHours, at_ms: int) -> bool:
    try:
        begins, ends = time_ms(hours.start_time), time_ms(hours.end_time)
    except WireError:
        return False
    return (begins is None or begins <= at_ms) and (ends is None or at_ms < ends)


def _maintenance(schedule: ExchangeSchedule | None) -> Iterator[Pause]:
    for window in schedule.schedule.maintenance_windows if schedule is not None else ():
        try:
            begins, ends = time_ms(window.start_datetime), time_ms(window.end_datetime)
        except WireError:
            begins = ends = None
        if begins is not None and ends is not None and begins < ends:
            yield Pause(begins, ends)
        else:
            log.warning("kalshi.window_unreadable", start=window.start_datetime, end=window.end_datetime)


def _eastern_date(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(_EASTERN).date()


def _at(day: date, hour_and_minute: str) -> int:
    """Epoch milliseconds of an Eastern wall time.

    Raises
    ------
    ValueError
        If it is no ``HH:MM``.
    """
    return int(datetime.combine(day, time.fromisoformat(hour_and_minute), _EASTERN).timestamp() * 1000)

"""Days and hours as rules texts and tickers spell them; the venues speak New York time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

__all__ = [
    "Day", "at_hour_ms", "clock", "day_of", "day_of_et", "election_day", "end_of_day_ms", "et_clock", "et_digits",
    "long_date", "month_end", "plus_days", "short_date", "ticker_date", "year_of",
]  # fmt: skip

Day = date

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


@cache
def _new_york() -> ZoneInfo:
    return ZoneInfo("America/New_York")


def day_of(ms: int) -> Day:
    """UTC day of an instant."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).date()


def day_of_et(ms: int) -> Day:
    """New York day of an instant."""
    return datetime.fromtimestamp(ms / 1000, tz=_new_york()).date()


def year_of(day: Day) -> int:
    """Its year."""
    return day.year


def plus_days(day: Day, days: int) -> Day:
    """A later day."""
    return day + timedelta(days=days)


def month_end(day: Day, ahead: int) -> Day:
    """Last day of the month ``ahead`` months after next month's beginning (1 = this month's end or the next's)."""
    month = day.month + ahead
    year, month = day.year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def election_day(year: int) -> Day:
    """The Tuesday after the first Monday of November."""
    first = date(year, 11, 1)
    return first + timedelta(days=(7 - first.weekday()) % 7 + 1)


@cache
def at_hour_ms(day: Day, hour: int, minute: int = 0) -> int:
    """Epoch milliseconds of a New York hour."""
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=_new_york()).timestamp()) * 1000


def end_of_day_ms(day: Day) -> int:
    """23:59 in New York."""
    return at_hour_ms(day, 23, 59)


def long_date(day: Day) -> str:
    """As rules spell a day.

    Examples
    --------
    >>> long_date(date(2026, 12, 31))
    'December 31, 2026'
    """
    return f"{_MONTHS[day.month - 1]} {day.day}, {day.year}"


def short_date(day: Day) -> str:
    """As captions spell a day: ``December 31``."""
    return f"{_MONTHS[day.month - 1]} {day.day}"


def ticker_date(day: Day) -> str:
    """As tickers spell a day: ``26DEC31``."""
    return f"{day.year % 100:02d}{_MONTHS[day.month - 1][:3].upper()}{day.day:02d}"


def clock(hour: int) -> str:
    """A full hour in words: ``4:00 PM``."""
    return f"{(hour - 1) % 12 + 1}:00 {'AM' if hour < 12 else 'PM'}"


def et_clock(ms: int) -> str:
    """New York time of an instant: ``4:15 PM``."""
    at = datetime.fromtimestamp(ms / 1000, tz=_new_york())
    return f"{(at.hour - 1) % 12 + 1}:{at.minute:02d} {'AM' if at.hour < 12 else 'PM'}"


def et_digits(ms: int) -> str:
    """New York time of an instant as tickers spell it: ``1615``."""
    return datetime.fromtimestamp(ms / 1000, tz=_new_york()).strftime("%H%M")

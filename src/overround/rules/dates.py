"""The grammar of dates and times in titles, captions and rules.

Only forms that the venues use are read; whatever else looks like a date is no date. A day without a year takes the
year from another date of the same market or, failing that, the first such day after the market was made. Clocks are
New York's unless the words name another zone.
"""

from __future__ import annotations

import contextlib
import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

__all__ = ["Clock", "When", "clock_ms", "find_clocks", "find_dates", "no_such_day", "settle_years", "without_dates"]

NEW_YORK = "America/New_York"
_ZONES = {
    "ET": NEW_YORK, "EST": NEW_YORK, "EDT": NEW_YORK, "PT": "America/Los_Angeles", "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles", "CT": "America/Chicago", "CST": "America/Chicago", "CDT": "America/Chicago",
    "UTC": "UTC", "GMT": "UTC", "BST": "Europe/London", "CET": "Europe/Paris", "CEST": "Europe/Paris", "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul", "IST": "Asia/Kolkata", "HKT": "Asia/Hong_Kong", "AEDT": "Australia/Sydney", "AEST": "Australia/Sydney",
}  # fmt: skip
_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_MONTH = (
    r"(?:(?<![^\W\d_])(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)\b)\.?"
)
_DAY, _YEAR = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?(?![\d%:.]\d|\d)", r"(?:19|20)\d\d(?!\d)"
_PREFIX = (
    r"(?P<prefix>\b(?:by|before|on|in|during|until|through|prior to|no later than|for|after|since|from|between)\s(?:the\s)?"
    r"(?:and\sincluding\s)?)?(?P<part>(?:the\s)?(?:end of|start of|beginning of|week of)\s(?:the\s)?)?"
)
_DATE = re.compile(
    _PREFIX
    + r"(?:"
    + rf"(?P<m1>{_MONTH})\s(?P<d1>{_DAY})(?:\s?(?:-|to|and|through)\s?(?:(?P<m2>{_MONTH})\s)?(?P<d2>{_DAY})(?!\s?(?:bps|%)))?(?:,?\s(?P<y1>{_YEAR}))?"
    + rf"|(?<![\d.,$])(?P<d3>{_DAY})\s(?P<m3>{_MONTH})(?:,?\s(?P<y3>{_YEAR}|'\d\d))?"
    + rf"|(?P<y4>{_YEAR})-(?P<m4>\d\d)-(?P<d4>\d\d)"
    + rf"|(?P<m5>{_MONTH})(?:,?\s(?P<y5>{_YEAR}))?"
    + rf"|(?P<q>q[1-4])(?:\s(?:of\s)?(?P<y6>{_YEAR}))?"
    + rf"|(?P<y7>{_YEAR})(?:\s?-\s?(?P<y8>\d\d(?:\d\d)?)(?!\d))?"
    + r")",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"[.,]\d|\s?-\s?\d|\+|\sor\s(?:more|higher|above|less|lower|below|fewer)")
_CLOCK = re.compile(
    r"(?<![\d:.])(?P<h>2[0-4]|[01]?\d)(?!\d)(?::(?P<m>[0-5]\d))?(?::[0-5]\d)?\s?(?P<half>[ap]\.?m\b\.?)?"
    r"(?:\s\(?(?:in\sthe\s)?(?P<zone>ET|EST|EDT|PT|PST|PDT|CT|CST|CDT|UTC|GMT|BST|CET|CEST|JST|KST|IST|HKT|AEDT|AEST)\b)?",
    re.IGNORECASE,
)

_LATE_DAY = re.compile(rf"\b(?P<m>{_MONTH})\.?\s(?P<d>29|3\d)\b(?:,?\s(?P<y>20\d\d))?", re.IGNORECASE)


class When(msgspec.Struct, frozen=True, kw_only=True):
    """A day, a run of days, a month, a quarter or a year, as written.

    Attributes
    ----------
    first, last : date
        Both included.
    prefix : str
        ``by``, ``before``, ``on``, ``in`` …, or empty.
    part : str
        ``end``, ``start``, ``week`` or empty.
    exact : bool
        A day is named, not only a month or a year.
    year_known : bool
        The year is written; otherwise it is a guess (see ``settle_years``).
    start, end : int
        Where it stands, the prefix included.
    """

    first: date
    last: date
    prefix: str = ""
    part: str = ""
    exact: bool = True
    year_known: bool = True
    start: int = 0
    end: int = 0

    @property
    def deadline(self) -> tuple[date, bool]:
        """The day up to which something counts, and whether that day itself does."""
        if self.prefix in {"before", "prior to"} and self.part != "end":
            return self.first, False
        if self.part == "week" and self.first == self.last and self.first.weekday() == 0:
            return self.first + timedelta(days=4), True  # a week of trading is named by its Monday
        return (self.first, False) if self.part == "start" else (self.last, True)


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """A time of day, as written."""

    at: time
    zone: str
    zone_named: bool
    start: int = 0
    end: int = 0


def find_dates(text: str, *, near: date | None = None, limit: int = 2_000) -> list[When]:
    """The dates of a text, in order; days that do not exist are left out.

    Parameters
    ----------
    text : str
        Plain (see ``wording.plain``).
    near : date, optional
        A day without a year is the first such day from a week before this one on.
    limit : int
        Characters that are looked at.

    Examples
    --------
    >>> [(w.prefix, str(w.first), str(w.last)) for w in find_dates("by March 31, 2026, or from May 9-15, 2026")]
    [('by', '2026-03-31', '2026-03-31'), ('from', '2026-05-09', '2026-05-15')]
    >>> find_dates("June 31, 2026")
    []
    """
    found = []
    for match in _DATE.finditer(text[:limit]):
        when = _read(match, near)
        if when is not None:
            found.append(when)
    return found


def no_such_day(text: str) -> str:
    """The first day named that no calendar has, as it is written; empty where there is none.

    Examples
    --------
    >>> no_such_day("by February 28, 2027, or by June 31")
    'June 31'
    """
    for match in _LATE_DAY.finditer(text):
        # Without a year, February may have 29 days.
        if int(match["d"]) > monthrange(int(match["y"] or 2_028), _MONTHS[match["m"][:3].lower()])[1]:
            return f"{match['m']} {match['d']}"
    return ""


def _read(match: re.Match[str], near: date | None) -> When | None:
    group = match.groupdict()
    year = next((int(_full(group[name])) for name in ("y1", "y3", "y4", "y5", "y6", "y7") if group[name]), None)
    if group["m1"] and match.end("d1") == match.end() and group["m1"][0].islower() and not group["y1"]:
        return None  # "may 5" in running text is no date
    if (
        group["m5"]
        and not group["y5"]
        and (group["m5"].lower().startswith(("mar", "may")) and not group["m5"][0].isupper())
    ):
        return None
    if (
        group["m5"]
        and group["m5"] in {"May", "March", "Mar", "may"}
        and not (group["y5"] or group["prefix"] or group["part"])
    ):
        return None  # a name or a verb as likely as a month
    if (
        group["y7"]
        and not (group["prefix"] or group["part"] or group["y8"])
        and match.start()
        and match.string[match.start() - 1] in "$#/"
    ):
        return None
    if group["y7"] and _FRACTION.match(match.string, match.end()):
        return None  # "1950-1969.99" is a price range
    try:
        first, last, exact = _days(group, year, near)
    except ValueError:
        return None
    return When(
        first=first, last=last, exact=exact, year_known=year is not None, start=match.start(), end=match.end(),
        prefix=" ".join((group["prefix"] or "").lower().replace("the", "").replace("and including", "").split()),
        part=next((part for part in ("end", "start", "week") if part in (group["part"] or "").lower().replace("beginning", "start")), ""),
    )  # fmt: skip


def _days(group: dict[str, str | None], year: int | None, near: date | None) -> tuple[date, date, bool]:
    if group["y7"]:
        assert year is not None
        final = int(_full(group["y8"], century=str(year)[:2])) if group["y8"] else year
        if final - year not in (0, 1):
            raise ValueError("no season")
        return date(year, 1, 1), date(final, 12, 31), False
    if group["q"]:
        quarter = int(group["q"][1])
        year = year if year is not None else _year(3 * quarter, 28, near)
        return date(year, 3 * quarter - 2, 1), date(year, 3 * quarter, monthrange(year, 3 * quarter)[1]), False
    if group["m5"]:
        month = _MONTHS[group["m5"][:3].lower()]
        year = year if year is not None else _year(month, 28, near)
        return date(year, month, 1), date(year, month, monthrange(year, month)[1]), False
    if group["m4"]:
        assert year is not None
        day = date(year, int(group["m4"]), int(group["d4"] or 1))
        return day, day, True
    month_text, day_text = (group["m1"], group["d1"]) if group["m1"] else (group["m3"], group["d3"])
    assert month_text is not None
    assert day_text is not None
    month, day_number = _MONTHS[month_text[:3].lower()], _number(day_text)
    year = year if year is not None else _year(month, day_number, near)
    first = date(year, month, day_number)
    if not group["d2"]:
        return first, first, True
    last_month = _MONTHS[group["m2"][:3].lower()] if group["m2"] else month
    last = date(year, last_month, _number(group["d2"]))
    if last < first:
        first = first.replace(year=year - 1)
    return first, last, True


def _full(year: str | None, century: str = "20") -> str:
    text = (year or "").lstrip("'")
    return text if len(text) == 4 else century + text


def _number(day: str) -> int:
    return int(re.sub(r"\D", "", day))


def _year(month: int, day: int, near: date | None) -> int:
    if near is None:
        raise ValueError("no year")
    return (
        near.year
        if (month, day) >= ((near - timedelta(days=7)).month, (near - timedelta(days=7)).day)
        or ((near - timedelta(days=7)).year < near.year)
        else near.year + 1
    )


def settle_years(dates: Iterable[When], known: Iterable[When]) -> list[When]:
    """Give days without a year the year that the same day has in another text."""
    years = {(one.first.month, one.first.day): one.first.year for one in known if one.year_known}
    settled = []
    for when in dates:
        year = years.get((when.first.month, when.first.day))
        if not when.year_known and year is not None:
            shift = year - when.first.year
            with contextlib.suppress(ValueError):
                when = msgspec.structs.replace(
                    when,
                    first=when.first.replace(year=year),
                    last=when.last.replace(year=when.last.year + shift),
                    year_known=True,
                )
        settled.append(when)
    return settled


def without_dates(text: str, dates: Iterable[When]) -> str:
    """The text with dates blanked, as long as it was."""
    for when in dates:
        text = text[: when.start] + " " * (when.end - when.start) + text[when.end :]
    return text


def find_clocks(text: str, *, limit: int = 2_000) -> list[Clock]:
    """The times of day of a text; a bare number is none.

    Examples
    --------
    >>> [(str(c.at), c.zone) for c in find_clocks("from 4:45AM to 11:59 PM ET")]
    [('04:45:00', 'America/New_York'), ('23:59:00', 'America/New_York')]
    """
    found = []
    for match in _CLOCK.finditer(text[:limit]):
        if match["m"] is None and match["half"] is None:
            continue
        hour, half = int(match["h"]), (match["half"] or "").lower()[:1]
        if half and not 1 <= hour <= 12 and not (hour == 0 and half == "a"):
            continue
        hour = hour % 12 + 12 * (half == "p") if half else hour
        named = match["zone"] is not None
        found.append(
            Clock(
                at=time(hour % 24, int(match["m"] or 0)), zone=_ZONES[match["zone"].upper()] if named else NEW_YORK,
                zone_named=named, start=match.start(), end=match.end(),
            )
        )  # fmt: skip
    return found


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def clock_ms(day: date, at: time = time(0), zone: str = NEW_YORK) -> int:
    """Epoch milliseconds of a zone's clock.

    Examples
    --------
    >>> clock_ms(date(2026, 1, 14), time(12))
    1768410000000
    """
    return int(datetime.combine(day, at, tzinfo=_zone(zone)).astimezone(UTC).timestamp() * 1000)

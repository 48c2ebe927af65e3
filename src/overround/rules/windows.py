"""When a market is measured: its own day, its window, and the fixture it belongs to."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import msgspec

from overround.logic import Family, Window, WindowKind
from overround.rules.dates import NEW_YORK, When, clock_ms, find_clocks, find_dates
from overround.rules.values import Values
from overround.rules.wording import Wording

__all__ = ["GAME", "dates_of", "day_of", "due_of", "game_of", "window_of"]

_CREATION = re.compile(
    r"\bmarket(?:'s)? (?:creation|launch|opening|inception|start\b)|(?:creation|start|opening|launch) of th(?:is|e) market|"
    r"(?:since|after|when|before) th(?:is|e) market (?:was |is |has )?(?:been )?(?:created|opened|launched|opens|went live|goes live)",
    re.IGNORECASE,
)
GAME = re.compile(
    r"\b(.{2,60}?)\s(?:vs\.?|at|@|v\.)\s(.{2,60}?)(?=$|:| - | game| match| winner|\?|\(| professional| college| men's| women's| pro )",
    re.IGNORECASE,
)
_FINAL_DAY = re.compile(r"\bfinal (?:trading day|day of trading|session) of\b", re.IGNORECASE)
_FEW_DAYS_MS = 5 * 86_400_000
_BLANKS = re.compile(r"\s+")


def due_of(words: Wording, in_label: list[When], in_title: list[When], label_bare: str, found: Values) -> When | None:
    """The day a deadline names: that of the caption, or else of ``by`` or ``before`` in the title."""
    if in_label and len(re.findall(r"\w+", label_bare)) <= 2 and found.origin != "strike":
        return in_label[-1]
    if found.values is not None or (words.label and in_label == [] and not _short_time(words.label)):
        return None
    timed = [
        when for when in in_title if when.prefix in {"by", "before", "prior to", "no later than"} or when.part == "end"
    ]
    return timed[-1] if timed else None


def _short_time(label: str) -> bool:
    return re.match(r"(?:by|before|in) ", label, re.IGNORECASE) is not None


def game_of(words: Wording, in_title: list[When], in_rules: tuple[When, ...]) -> str:
    """Both sides and the day of a fixture, the same in all its markets of one venue."""
    sporting = bool(words.kind and words.venue == "polymarket") or words.venue == "kalshi"
    found = sporting and (GAME.search(words.event_title) or GAME.search(words.title) or GAME.search(words.rules[:300]))
    if not found:
        return ""
    sides = sorted(
        _BLANKS.sub(" ", re.sub(r"^.*\b(?:in|wins|will|win)\s(?:the\s)?|.*:\s", "", side.lower())).strip(" .?")
        for side in found.groups()
    )
    day = next((when.first for when in (*in_rules, *in_title) if when.exact), None) or day_of(words.game_ms)
    return f"{sides[0]} v {sides[1]} {day or ''}".strip()


def window_of(
    words: Wording,
    in_title: list[When],
    in_rules: tuple[When, ...],
    in_label: list[When],
    family: Family,
    due: When | None,
) -> Window:
    """When it is measured; a start that the words do not give is that of the market."""
    window = _window(words, in_title, in_rules, in_label, family, due)
    if _CREATION.search(words.rules) and not window.from_creation:
        return msgspec.structs.replace(window, start_ms=words.made_ms, from_creation=True)
    return window


def _window(
    words: Wording,
    in_title: list[When],
    in_rules: tuple[When, ...],
    in_label: list[When],
    family: Family,
    due: When | None,
) -> Window:
    rules = words.rules[:2_000]
    clocks = find_clocks(rules)
    zone = next((clock.zone for clock in clocks if clock.zone_named), NEW_YORK)
    created = _CREATION.search(rules) is not None
    made = words.made_ms
    if family is Family.DEADLINE and due is not None:
        day, whole = due.deadline
        return Window(
            kind=WindowKind.BY,
            start_ms=made,
            end_ms=clock_ms(day + timedelta(days=whole), zone=zone),
            from_creation=created,
            zone=zone,
        )
    own = [*in_label, *in_title]
    between = [when for when in in_rules if when.prefix == "between"]
    if family in (Family.TOUCH, Family.RANGE, Family.THRESHOLD) and between:
        start = between[0]
        after = [when for when in in_rules if when.start > start.start]
        last = after[0] if after else (own[-1] if own else None)
        if start.first != start.last:
            last = start
        if last is not None and last.last >= start.first:
            opening = next((clock.at for clock in clocks if start.end <= clock.start < start.end + 14), time(0))
            return Window(
                kind=WindowKind.ANY,
                start_ms=clock_ms(start.first, opening, zone),
                end_ms=clock_ms(last.last + timedelta(days=1), zone=zone),
                zone=zone,
            )
    when = (
        own[-1] if own else next((one for one in in_rules if one.prefix in {"by", "in", "on", "during", "for"}), None)
    )
    if when is None:
        return Window(zone=zone, start_ms=made, from_creation=created)
    day, whole = when.deadline
    end = clock_ms(day + timedelta(days=whole), zone=zone)
    if family is Family.TOUCH:
        ranged = not when.exact or when.first != when.last or when.prefix == "on"
        by = when.prefix in {"by", "before", "prior to"} or when.part == "end" or not ranged
        if created or by:
            return Window(kind=WindowKind.ANY, start_ms=made, end_ms=end, from_creation=created, zone=zone)
        return Window(kind=WindowKind.ANY, start_ms=clock_ms(when.first, zone=zone), end_ms=end, zone=zone)
    if _FINAL_DAY.search(rules) and family in (Family.THRESHOLD, Family.RANGE):
        # The last day of trading may lie some days before the last of the calendar, but not further.
        return Window(kind=WindowKind.AT, start_ms=end - _FEW_DAYS_MS, end_ms=end, zone=zone)
    instant = next((clock for clock in clocks if clock.start < 400), None)
    if when.exact and when.first == when.last and instant is not None and family in (Family.THRESHOLD, Family.RANGE):
        at = clock_ms(day, instant.at, instant.zone if instant.zone_named else zone)
        return Window(kind=WindowKind.AT, start_ms=at, end_ms=at, zone=zone)
    return Window(kind=WindowKind.AT, start_ms=clock_ms(when.first, zone=zone), end_ms=end, zone=zone)


def day_of(ms: int | None) -> date | None:
    """The UTC day of a time; None for times that no market has."""
    if ms is None or not 0 < ms < 4_102_444_800_000:
        return None
    return datetime.fromtimestamp(ms / 1000, tz=UTC).date()


@lru_cache(maxsize=8_192)
def dates_of(text: str, near: date | None) -> tuple[When, ...]:
    """The dates of a rules text, which many markets share."""
    return tuple(find_dates(text, near=near))

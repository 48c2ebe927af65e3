"""When a market is measured: its own day, its window, and the fixture it belongs to."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from overround.logic import Family, Window, WindowKind
from overround.rules.dates import NEW_YORK, Clock, When, clock_ms, find_clocks, find_dates
from overround.rules.values import Values
from overround.rules.wording import Wording

__all__ = ["GAME", "dates_of", "day_of", "due_of", "game_of", "near_of", "window_of"]

_CREATION = re.compile(
    r"(?<!as of this )(?<!as of the )(?<!as of )\bmarket(?:'s)? (?:creation|launch|opening|inception|start\b)|(?:creation|start|opening|launch) of th(?:is|e) market|"
    r"(?:since|after|when|before) th(?:is|e) market (?:was |is |has )?(?:been )?(?:created|opened|launched|opens|went live|goes live)",
    re.IGNORECASE,
)
GAME = re.compile(
    r"\b(.{2,60}?)\s(?:vs\.?|at|@|v\.)\s(.{2,60}?)(?=$|:| - | game| match| winner|\?|\(| professional| college| men's| women's| pro )",
    re.IGNORECASE,
)
_FINAL_DAY = re.compile(r"\bfinal (?:trading day|day of trading|session) of\b", re.IGNORECASE)
_FEW_DAYS_MS = 5 * 86_400_000
_DAY_MS = 86_400_000
_UP_TO = frozenset({"by", "before", "prior to", "no later than"})
_CUT_OFF = _UP_TO | {"after", "until"}
_DURING = frozenset({"in", "during"})
_SCHEDULED = re.compile(
    r"schedul|\bheld\b|takes? place|to give|deliver|contested|released|meeting|does a|winners? will be announced",
    re.IGNORECASE,
)
_CONTESTED = re.compile(r"\bnext\b|\bfirst\s*\?", re.IGNORECASE)
_UNDECIDED = (Family.CANDIDATE, Family.EVENT, Family.JOINT, Family.MENTION)
_PLAYED = (Family.MONEYLINE, Family.SPREAD, Family.TOTAL, Family.PROP)
_PAID_IF = re.compile(
    r"^This market will resolve (?:to \W?Yes\W? if|to the|according to the (?:first|next)) ", re.IGNORECASE
)
_FROM_MADE = re.compile(
    r"between (?:the )?(?:creation of this market|(?:this |the )?market(?:'s)? (?:creation|opening)) and ",
    re.IGNORECASE,
)
_LAST_MINUTE = time(23, 59)
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
        opening = next((when for when in in_rules if when.prefix == "between" and when.first == when.last <= day), None)
        return Window(
            kind=WindowKind.BY,
            start_ms=made if opening is None else clock_ms(opening.first, _clock_after(clocks, opening), zone),
            end_ms=clock_ms(day + timedelta(days=whole), zone=zone),
            from_creation=created,
            zone=zone,
        )
    own = [*(when for when in in_label if words.label[when.start - 1 : when.start] != "("), *in_title]
    between = [when for when in in_rules if when.prefix == "between"]
    if family is Family.TOUCH:
        between = between or [when for when in in_rules if when.prefix == "from" and when.first != when.last]
    if family is Family.UP_DOWN:
        return _short(words, own, zone, made)
    if family in _PLAYED:
        return _played(words, own, in_rules, zone)
    if family in _UNDECIDED:
        return _undecided(words, own, in_rules, between, family, zone)
    if family is Family.RATE_DECISION:
        met = _scheduled(words.rules, in_rules, own[-1] if own else None)
        own = [met] if met is not None else own
    if family in (Family.TOUCH, Family.RANGE, Family.THRESHOLD) and between:
        start = between[0]
        after = [when for when in in_rules if when.start > start.start]
        last = after[0] if after else (own[-1] if own else None)
        if start.first != start.last:
            last = start
        if last is not None and last.last >= start.first:
            return Window(
                kind=WindowKind.ANY,
                start_ms=clock_ms(start.first, _clock_after(clocks, start), zone),
                end_ms=clock_ms(last.last + timedelta(days=1), zone=zone),
                zone=zone,
            )
    when = (
        own[-1]
        if own
        else _scheduled(words.rules, in_rules, None)
        or next((one for one in in_rules if one.exact and one.first < one.last and one.prefix not in _CUT_OFF), None)
        or next((one for one in in_rules if one.prefix in {"by", "in", "on", "during", "for"}), None)
    )
    if when is None or (not when.exact and when.last.year > when.first.year):  # a season is no window
        return Window(kind=WindowKind.AT, zone=zone)
    if family in (Family.RANGE, Family.THRESHOLD) and own and not when.exact and when.last.year == when.first.year:
        when = _scheduled(words.rules, in_rules, when) or when
    day, whole = when.deadline
    end = clock_ms(day + timedelta(days=whole), zone=zone)
    if family is Family.TOUCH:
        ranged = not when.exact or when.first != when.last or when.prefix == "on"
        by = when.prefix in {"by", "before", "prior to"} or when.part == "end" or not ranged
        if created or by:
            return Window(kind=WindowKind.ANY, start_ms=made, end_ms=end, from_creation=created, zone=zone)
        return Window(kind=WindowKind.ANY, start_ms=clock_ms(when.first, zone=zone), end_ms=end, zone=zone)
    if _FINAL_DAY.search(rules) and family in (Family.THRESHOLD, Family.RANGE) and " change " not in words.title:
        # The last day of trading may lie some days before the last of the calendar, but not further.
        return Window(kind=WindowKind.AT, start_ms=end - _FEW_DAYS_MS, end_ms=end, zone=zone)
    if not own and when.prefix in _UP_TO:
        return Window(kind=WindowKind.AT, end_ms=end, zone=zone)
    instant = next((clock for clock in clocks if clock.start < 400 and clock.at != _LAST_MINUTE), None)
    if when.exact and when.first == when.last and instant is not None and family in (Family.THRESHOLD, Family.RANGE):
        at = clock_ms(day, instant.at, instant.zone if instant.zone_named else zone)
        return Window(kind=WindowKind.AT, start_ms=at, end_ms=at, zone=zone)
    return Window(kind=WindowKind.AT, start_ms=clock_ms(when.first, zone=zone), end_ms=end, zone=zone)


def _clock_after(clocks: list[Clock], when: When) -> time:
    """The time of day that stands right behind one day, else its beginning."""
    if when.first != when.last:
        return time(0)
    return next((clock.at for clock in clocks if when.end <= clock.start < when.end + 14), time(0))


def _short(words: Wording, own: list[When], zone: str, made: int | None) -> Window:
    """From one time of day to another, an hour, or a day of trading against the one before."""
    day = next((when.first for when in own if when.exact), None) or day_of(words.close_ms)
    if day is None:
        return Window(kind=WindowKind.AT, start_ms=made, zone=zone)
    clocks = find_clocks(words.title)
    if not clocks:
        start = clock_ms(day, zone=zone)
        return Window(
            kind=WindowKind.AT, start_ms=start, end_ms=clock_ms(day + timedelta(days=1), zone=zone), zone=zone
        )
    zone = next((clock.zone for clock in clocks if clock.zone_named), zone)
    start = clock_ms(day, clocks[0].at, zone)
    end = clock_ms(day, clocks[1].at, zone) if len(clocks) > 1 else start + 3_600_000
    return Window(kind=WindowKind.AT, start_ms=start, end_ms=end if end > start else end + _DAY_MS, zone=zone)


def _played(words: Wording, own: list[When], in_rules: tuple[When, ...], zone: str) -> Window:
    """The day of a fixture, as the words or else the listing schedule it."""
    day = next((when.first for when in (*in_rules, *own) if when.exact and when.prefix not in _CUT_OFF), None)
    if day is None and words.game_ms is not None and day_of(words.game_ms) is not None:
        day = datetime.fromtimestamp(words.game_ms / 1000, tz=ZoneInfo(zone)).date()
    if day is None:
        return Window(kind=WindowKind.AT, zone=zone)
    return Window(
        kind=WindowKind.AT,
        start_ms=clock_ms(day, zone=zone),
        end_ms=clock_ms(day + timedelta(days=1), zone=zone),
        zone=zone,
    )


def _scheduled(rules: str, in_rules: tuple[When, ...], within: When | None) -> When | None:
    """The day for which the rules schedule what is asked, inside the month or year of the title."""
    for when in in_rules:
        met = when.prefix == "after" and "meeting" in rules[when.end : when.end + 20].lower()
        if not when.exact or (when.prefix in _CUT_OFF and not met):
            continue
        if within is not None and not within.first <= when.first <= within.last:
            continue
        if _SCHEDULED.search(rules[max(0, when.start - 110) : when.end + 20]):
            return msgspec.structs.replace(when, prefix="", part="")
    return None


def _undecided(
    words: Wording, own: list[When], in_rules: tuple[When, ...], between: list[When], family: Family, zone: str
) -> Window:
    """When a contest or a single deed is decided: its day, its period, or the day by which it has to be."""
    made = words.made_ms

    def day(when: When) -> int:
        last, whole = when.deadline
        return clock_ms(last + timedelta(days=whole), zone=zone)

    own = [when for when in own if when.exact or when.first.year == when.last.year]  # a season is no window
    named = own[-1] if own else None
    if named is not None and (named.prefix in _UP_TO or (named.part == "end" and not named.exact)):
        opening = next((when for when in between if when.first == when.last <= named.last), None)
        start = (
            made if opening is None else clock_ms(opening.first, _clock_after(find_clocks(words.rules), opening), zone)
        )
        return Window(kind=WindowKind.BY, start_ms=start, end_ms=day(named), zone=zone)
    if counted := _FROM_MADE.search(words.rules):
        until = next((when for when in in_rules if counted.end() - 5 <= when.start <= counted.end() + 1), None)
        if until is not None:
            return Window(kind=WindowKind.ANY, start_ms=made, end_ms=day(until), from_creation=True, zone=zone)
    if between:
        first = between[0]
        after = [when for when in in_rules if when.start > first.start]
        until = first if first.first != first.last or not after else after[0]
        if until is not first or first.first != first.last:
            start = clock_ms(first.first, _clock_after(find_clocks(words.rules), first), zone)
            if until.last >= first.first:
                return Window(kind=WindowKind.ANY, start_ms=start, end_ms=day(until), zone=zone)
    exact = next((when for when in own if when.exact), None)
    if exact is not None:
        return Window(kind=WindowKind.AT, start_ms=clock_ms(exact.first, zone=zone), end_ms=day(exact), zone=zone)
    scheduled = _scheduled(words.rules, in_rules, named)
    if family is Family.MENTION and scheduled is not None:
        return Window(
            kind=WindowKind.AT, start_ms=clock_ms(scheduled.first, zone=zone), end_ms=day(scheduled), zone=zone
        )
    if named is not None and named.prefix in _DURING and family in (Family.EVENT, Family.MENTION):
        return Window(kind=WindowKind.ANY, start_ms=clock_ms(named.first, zone=zone), end_ms=day(named), zone=zone)
    last = next((when for when in reversed(in_rules) if when.exact and when.prefix in _CUT_OFF), None)
    if last is not None:
        clock = next(
            (one for one in find_clocks(words.rules, limit=6_000) if last.end <= one.start < last.end + 8), None
        )
        end = (
            day(last) if clock is None or clock.at in (_LAST_MINUTE, time(0)) else clock_ms(last.first, clock.at, zone)
        )
        asked = _PAID_IF.search(words.rules[: last.start]) is not None and ". " not in words.rules[: last.start]
        soonest = last.prefix in _UP_TO and (
            family is Family.JOINT or asked or _CONTESTED.search(words.title) is not None
        )
        if soonest:
            return Window(kind=WindowKind.BY, start_ms=made, end_ms=end, zone=zone)
        return Window(kind=WindowKind.AT, end_ms=end, zone=zone)
    if scheduled is not None:
        return Window(
            kind=WindowKind.AT, start_ms=clock_ms(scheduled.first, zone=zone), end_ms=day(scheduled), zone=zone
        )
    return Window(kind=WindowKind.AT, zone=zone)


def near_of(words: Wording) -> date | None:
    """From when on a day without a year is looked for: when the market was made, or else most of a year before it ends."""
    made = day_of(words.made_ms)
    if made is not None:
        return made
    closes = day_of(words.close_ms)
    return None if closes is None else closes - timedelta(days=330)


def day_of(ms: int | None) -> date | None:
    """The UTC day of a time; None for times that no market has."""
    if ms is None or not 0 < ms < 4_102_444_800_000:
        return None
    return datetime.fromtimestamp(ms / 1000, tz=UTC).date()


@lru_cache(maxsize=8_192)
def dates_of(text: str, near: date | None) -> tuple[When, ...]:
    """The dates of a rules text, which many markets share."""
    return tuple(find_dates(text, near=near))

"""Relations between events that measure one number or one deed: other windows, other shapes, the same question twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from overround.logic import Constraint, Family, Interval, Relation, WindowKind
from overround.rules.dates import without_dates
from overround.rules.draw import differences, draw
from overround.rules.grammar import Reading
from overround.rules.ranges import Tiling
from overround.rules.sets import MOST, grouped, lasting, lie
from overround.rules.template import Template, clusters, template
from overround.rules.windows import dates_of, day_of

__all__ = ["across_events"]

_NAMED = re.compile(r"^\w+ [a-z0-9]+/[a-z]+ \d+[mh]$|^(?:settlement|close|index average) ")
_TOUCHED = re.compile(r"/|^settlement ")
_ONCE = (WindowKind.AT, WindowKind.NONE)
_WORDS = re.compile(r"[a-z]{4,}")
_WORD = re.compile(r"[^\W_]+")
_FILLERS = frozenset(["will", "the", "a", "an", "be", "is", "by", "before", "of", "in", "on", "end"])


class _Value(msgspec.Struct, frozen=True):
    """A market on the line of its number, the shared ends of its event settled."""

    reading: Reading
    values: Interval
    exact: bool = True


class _Deed(msgspec.Struct, frozen=True):
    """What happens by a day, in words without the day."""

    reading: Reading
    words: str
    start_ms: int
    end_ms: int
    form: Template


def across_events(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What holds between markets of different events of one venue."""
    numeric = [one for one in readings if one.prop.values is not None and not one.prop.game and one.wording.rules]
    for group in grouped(numeric, _number).values():
        if len({one.wording.event_id for one in group}) < 2 or len(group) > MOST:
            continue
        touches = [one for one in group if one.prop.family is Family.TOUCH]
        fixed = [one for one in group if one.prop.family is not Family.TOUCH and one.prop.window.kind in _ONCE]
        yield from _touches(touches)
        if _TOUCHED.search(group[0].measured):
            yield from _moments(fixed, touches)
        for same_time in grouped(fixed, _time).values():
            yield from _one_number(same_time)
    plain = [one for one in readings if one.prop.values is None and not one.prop.game and not one.wording.kind]
    dated = [deed for one in plain if one.wording.rules and (deed := _deed(one)) is not None]
    for deeds in grouped(dated, lambda deed: (deed.reading.wording.venue, deed.words)).values():
        yield from _deadlines(deeds)
    for group in grouped(plain, lambda one: (one.wording.venue, one.wording.title, one.series)).values():
        yield from _twice(group)


def _is_named(one: Reading) -> bool:
    return _NAMED.match(one.measured) is not None


def _number(one: Reading) -> tuple[str, ...]:
    return (one.wording.venue, one.measured, "" if _is_named(one) else one.stem)


def _time(one: Reading) -> tuple[object, ...]:
    """When a number is measured once; days that the rules name tell times apart where the title names none."""
    window = one.prop.window
    days = (
        ()
        if _is_named(one)
        else tuple(mark for mark in one.form.marks if mark.startswith("@") and mark not in one.form.own)
    )
    return (window.kind, *((window.start_ms, window.end_ms) if window.kind is WindowKind.AT else ()), *days)


def _touches(touches: Sequence[Reading]) -> Iterator[Constraint]:
    """A touch inside one window is one inside every wider window, and of every easier level."""
    for strict in touches:
        for loose in touches:
            if (
                strict.wording.event_id == loose.wording.event_id
                or strict.direction != loose.direction
                or strict is loose
            ):
                continue
            inner, outer = strict.prop.values, loose.prop.values
            assert inner is not None
            assert outer is not None
            if not inner.within(outer) or strict.prop.window.inside(loose.prop.window) is not True:
                continue
            like = strict.series == loose.series or _is_named(strict)
            again = loose.prop.window.inside(strict.prop.window) is True and outer.within(inner)
            if again and strict.wording.market_id > loose.wording.market_id:
                continue
            yield draw(
                Relation.EQUIVALENT if again else Relation.IMPLIES, [(strict, 0), (loose, 0)],
                rule="touch_windows", conditions=[] if like else [differences(strict, loose)],
            )  # fmt: skip


def _moments(fixed: Sequence[Reading], touches: Sequence[Reading]) -> Iterator[Constraint]:
    """A price that closes or settles at or past a level has touched it, so that the touch and the other ranges leave nothing out."""
    for values_of, lain in _by_event(fixed):
        for touch in touches:
            outer = touch.prop.values
            assert outer is not None
            within = [one for one in values_of if one.values.within(outer) and _inside(one.reading, touch)]
            for one in within:
                yield draw(Relation.IMPLIES, [(one.reading, 0), (touch, 0)], rule="close_is_touch")
            rest = [one for one in values_of if one not in within]
            if lain is not None and lain.complete and within and rest and all(one.exact for one in values_of):
                yield draw(
                    Relation.EXHAUSTIVE, [(touch, 0), *((one.reading, 0) for one in rest)], rule="touch_and_ranges"
                )


def _inside(moment: Reading, touch: Reading) -> bool:
    window = moment.prop.window
    ends_at = window.start_ms == window.end_ms and window.end_ms == touch.prop.window.end_ms
    return window.inside(touch.prop.window) is True and not ends_at


def _by_event(readings: Sequence[Reading]) -> list[tuple[list[_Value], Tiling | None]]:
    """Each event's markets, their shared ends settled where they are ranges."""
    found: list[tuple[list[_Value], Tiling | None]] = []
    for members in grouped(readings, lambda one: one.wording.event_id).values():
        lain = lie(members) if len(members) > 1 else None
        if lain is not None and lain.apart:
            found.append(
                (
                    [
                        _Value(one, values, not lain.shared_ends)
                        for one, values in zip(members, lain.intervals, strict=True)
                    ],
                    lain,
                )
            )
        else:
            found.append(([_Value(one, one.prop.values) for one in members if one.prop.values is not None], None))
    return found


def _one_number(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """Thresholds and ranges of one number at one time."""
    events = _by_event(readings)
    for place, (first, first_lain) in enumerate(events):
        for second, second_lain in events[place + 1 :]:
            for one in first:
                for other in second:
                    yield from _pair(one, other)
            if second_lain is not None and second_lain.complete:
                yield from _unions(first, second)
            if first_lain is not None and first_lain.complete:
                yield from _unions(second, first)


def _conditions(one: Reading, other: Reading) -> list[str]:
    if one.series == other.series or _is_named(one):
        return []
    return [differences(one, other)]


def _pair(one: _Value, other: _Value) -> Iterator[Constraint]:
    a, b = one.reading, other.reading
    conditions = _conditions(a, b) + ([] if one.exact and other.exact else ["no value exactly where two ranges meet"])
    inside, around = one.values.within(other.values), other.values.within(one.values)
    if inside and around:
        yield draw(Relation.EQUIVALENT, [(a, 0), (b, 0)], rule="same_values", conditions=conditions)
    elif inside or around:
        pair = [(a, 0), (b, 0)] if inside else [(b, 0), (a, 0)]
        yield draw(Relation.IMPLIES, pair, rule="values_inside", conditions=conditions)
    elif one.values.apart(other.values):
        yield draw(Relation.MUTUALLY_EXCLUSIVE, [(a, 0), (b, 0)], rule="values_apart", conditions=conditions)
    else:
        for strict, loose in ((one, other), (other, one)):
            edge = _edge(strict.values, loose.values)
            if edge is not None:
                yield draw(
                    Relation.IMPLIES, [(strict.reading, 0), (loose.reading, 0)], rule="values_inside",
                    conditions=[*conditions, f"the value is not exactly {edge}"],
                )  # fmt: skip


def _edge(strict: Interval, loose: Interval) -> str | None:
    """The one number that keeps a set from lying inside another."""
    closed = Interval(lo=loose.lo, hi=loose.hi, lo_closed=True, hi_closed=True)
    if not strict.within(closed):
        return None
    return str(strict.lo if strict.lo == loose.lo and loose.lo is not None else strict.hi)


def _unions(singles: Sequence[_Value], tiles: Sequence[_Value]) -> Iterator[Constraint]:
    """A market whose values are a union of another event's ranges, or are with them all there is."""
    for single in singles:
        values = single.values
        conditions = (
            [] if single.exact and all(tile.exact for tile in tiles) else ["no value exactly where two ranges meet"]
        )
        for tile in tiles[:1]:
            conditions += _conditions(single.reading, tile.reading)
        inside = [tile for tile in tiles if tile.values.within(values)]
        outside = [tile for tile in tiles if tile.values.apart(values)]
        crossing = [tile for tile in tiles if not tile.values.within(values) and not tile.values.apart(values)]
        if len(inside) >= 2 and not crossing:
            legs = [(single.reading, 1), *((tile.reading, 0) for tile in inside)]
            yield draw(Relation.PARTITION, legs, rule="union_of_ranges", conditions=conditions)
        edges = [_edge(tile.values, values) for tile in crossing]
        if crossing and len(crossing) == 1 and edges[0] is not None and len(inside) + 1 >= 2:
            legs = [(single.reading, 1), *((tile.reading, 0) for tile in (*crossing, *inside))]
            yield draw(
                Relation.PARTITION,
                legs,
                rule="union_of_ranges",
                conditions=[*conditions, f"the value is not exactly {edges[0]}"],
            )
        if outside and len(outside) + len(crossing) < len(tiles):
            legs = [(single.reading, 0), *((tile.reading, 0) for tile in (*outside, *crossing))]
            yield draw(Relation.EXHAUSTIVE, legs, rule="threshold_and_ranges", conditions=conditions)


def _deed(one: Reading) -> _Deed | None:
    """What is asked by a day: that of the caption, or the only one of a title whose caption names something else."""
    words, window = one.wording, one.prop.window
    dates = dates_of(words.title, day_of(words.made_ms or words.close_ms))
    deed = " ".join(
        word for word in _WORD.findall(without_dates(words.title, list(dates)).lower()) if word not in _FILLERS
    )
    if one.due is not None and one.stem and words.title:
        return _Deed(one, deed, window.start_ms or 0, window.end_ms or 0, one.form)
    if not words.label or len(dates) != 1 or dates[0].prefix not in {"by", "before"} or window.end_ms is None:
        return None
    return _Deed(one, deed, words.made_ms or 0, window.end_ms, template(words.rules, dates=dates))


def _deadlines(group: Sequence[_Deed]) -> Iterator[Constraint]:
    """One deed by several days, asked in several events: certain only where the texts are one and no start comes later."""
    if len({deed.reading.wording.event_id for deed in group}) < 2 or len(group) > MOST:
        return
    lasts = lasting(group[0].reading.wording.title)
    ordered = sorted(group, key=lambda deed: deed.end_ms, reverse=lasts)
    for place, strict in enumerate(ordered):
        for loose in ordered[place + 1 :]:
            if strict.reading.wording.event_id == loose.reading.wording.event_id:
                continue
            conditions = []
            if clusters([strict.form, loose.form])[0] != [0, 1]:
                conditions.append(differences(strict.reading, loose.reading))
            if loose.start_ms != strict.start_ms if lasts else loose.start_ms > strict.start_ms:
                conditions.append("nothing decisive happened before the later of the two markets was made")
            yield draw(
                Relation.EQUIVALENT if strict.end_ms == loose.end_ms else Relation.IMPLIES,
                [(strict.reading, 0), (loose.reading, 0)],
                rule="deadlines",
                conditions=conditions,
            )


def _twice(group: Sequence[Reading]) -> Iterator[Constraint]:
    """The same words in two events, where the words themselves say which thing is meant."""
    if len(group) > MOST:
        return
    for place, one in enumerate(group):
        for other in group[place + 1 :]:
            if (
                one.wording.event_id == other.wording.event_id
                or one.form.marks != other.form.marks
                or not one.wording.rules
            ):
                continue
            if (
                len(one.wording.title) < 20
                or one.prop.window.end_ms != other.prop.window.end_ms
                or (one.due is not None and one.stem)
            ) and not (
                one.due is not None
                and one.prop.window.end_ms == other.prop.window.end_ms
                and len(one.wording.title) >= 20
            ):
                continue
            shared = set(_WORDS.findall(one.wording.event_title.lower())) & set(
                _WORDS.findall(other.wording.event_title.lower())
            )
            subject = set(_WORDS.findall(one.wording.title.lower()))
            if not shared & subject:
                continue
            yield draw(Relation.EQUIVALENT, [(one, 0), (other, 0)], rule="same_words")

"""Scoring readings against judgements of the same words: per field, per family, and above the line of trust."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import cast
from zoneinfo import ZoneInfo

import msgspec

from overround.logic import Branch, Family, Interval, Proposition
from overround.rules.dates import NEW_YORK, clock_ms
from overround.rules.grammar import HIGH, Reading

__all__ = ["Judged", "Judgement", "Readable", "Share", "judge", "readable"]

ANY = "*"
"""Stands for a field that was not judged."""

_MINUTE_MS = 60_000
_WORD = re.compile(r"[^\W_]+")
_BRACKETS = re.compile(r"\(([^()]*)\)")
_INTERVAL = re.compile(r"([\[(])(-inf|[-\d.]+),(inf|[-\d.]+)([\])])")
_FILLERS = frozenset({"vs", "v", "the", "of", "and", "at", "a", "in", "to", "on", "for"})
_DEEDS = frozenset({"deadline", "event", "joint"})
_PARTS = {
    "family": "family", "comparator": "values", "threshold": "values", "unit": "unit", "kind": "window", "start": "window",
    "end": "window", "agg": "aggregation", "void": "payoffs", "tie": "payoffs", "absent": "payoffs", "set": "exclusive_set",
}  # fmt: skip


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was judged by reading one market's words.

    None stands for what the words do not say, ``*`` for what was not judged, ``a|b`` for either of two; words in
    brackets may stand or not.

    Attributes
    ----------
    venue, market_id : str
        Polymarket markets by Gamma id.
    stratum : str
        The family under which the market was drawn.
    values : str or None
        ``[1,2)`` and the like.
    start, end : str or None
        A day or a time of New York's clock or, after ``@``, another zone's; the end is not included.
    agg : str or None
        Which of many numbers counts: close, high, average …
    void : str or None
        What the first outcome is paid where nothing is decided: cancelled, or not known in time.
    set : str or None
        ``exclusive``, ``open`` (exclusive, and legs may be added) or ``none``.
    """

    venue: str
    market_id: str
    stratum: str = ""
    family: str | None = None
    subject: str | None = None
    measure: str | None = None
    values: str | None = None
    unit: str | None = None
    kind: str | None = None
    start: str | None = None
    end: str | None = None
    agg: str | None = None
    source: str | None = None
    void: str | None = None
    tie: str | None = None
    absent: str | None = None
    set: str | None = None
    qualifier: str | None = None
    game: str | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How many of some fields are right.

    Attributes
    ----------
    said, said_right : int
        Fields of which the judgement or the reading says something, and those on which they agree.
    all, all_right : int
        The same with the fields on which both are silent.
    high, high_right : int
        Of ``said``, those that the reading gives with high confidence.
    """

    said: int = 0
    said_right: int = 0
    all: int = 0
    all_right: int = 0
    high: int = 0
    high_right: int = 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison.

    Attributes
    ----------
    markets, missing : int
        Judgements, and those whose market is in no file.
    total : Share
    by_family, by_field, by_venue : dict of str to Share
    errors : tuple of str
        Each field that was read otherwise, one line: market, field, judged, read, confidence.
    """

    markets: int
    missing: int
    total: Share
    by_family: dict[str, Share]
    by_field: dict[str, Share]
    by_venue: dict[str, Share]
    errors: tuple[str, ...]


def judge(judgements: Iterable[Judgement], readings: Iterable[Reading]) -> Judged:
    """Compare readings with judgements of the same markets."""
    by_market = {(str(one.wording.venue), one.wording.named): one for one in readings}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    errors: list[str] = []
    markets = missing = 0
    for judgement in judgements:
        markets += 1
        reading = by_market.get((judgement.venue, judgement.market_id))
        if reading is None:
            missing += 1
            continue
        for field, (want, got, right) in _fields(judgement, reading).items():
            sure = _confidence(reading.prop, field)
            said = bool(got) or (want is not None and "" not in want.split("|")) or not right
            tags = ["all", *(["said"] if said else []), *(["high"] if said and bool(got) and sure >= HIGH else [])]
            for group in ("", f"family {judgement.stratum}", f"field {field}", f"venue {judgement.venue}"):
                for tag in tags:
                    counts[group][tag] += 1
                    counts[group][f"{tag}_right"] += right
            if not right:
                errors.append(f"{judgement.venue} {judgement.market_id} {judgement.stratum} {field}: judged {want!r}, read {got!r} ({sure:.2f})")  # fmt: skip

    def shares(kind: str) -> dict[str, Share]:
        return {
            name.removeprefix(kind): Share(**counts[name])
            for name in sorted(counts, key=lambda name: (-counts[name]["said"], name))
            if name.startswith(kind)
        }

    return Judged(
        markets=markets, missing=missing, total=Share(**counts[""]), by_family=shares("family "), by_field=shares("field "),
        by_venue=shares("venue "), errors=tuple(errors),
    )  # fmt: skip


def _confidence(prop: Proposition, field: str) -> float:
    named = prop.fields.get(_PARTS.get(field, field))
    return prop.confidence if named is None else named.confidence


def _fields(judgement: Judgement, reading: Reading) -> dict[str, tuple[str | None, str, bool]]:
    """By field what was judged, what was read, and whether they agree; fields that were not judged are left out."""
    prop = reading.prop
    deed = str(prop.family) in _DEEDS
    found: dict[str, tuple[str | None, str, bool]] = {}

    def put(field: str, want: str | None, got: str, same: Callable[[str], bool]) -> None:
        if want != ANY:
            found[field] = (want, got, same("") if want is None else any(same(one) for one in want.split("|")))

    def words(field: str, want: str | None, got: str, *, loose: bool) -> None:
        put(field, want, got, lambda one: _named(one, got, loose=loose))

    words("family", judgement.family, str(prop.family), loose=False)
    words("subject", judgement.subject, prop.subject, loose=deed)
    words("measure", judgement.measure, prop.measure, loose=True)
    comparator, threshold = _sides(judgement.values, prop.values)
    if judgement.values != ANY:
        found["comparator"], found["threshold"] = comparator, threshold
    put("unit", judgement.unit, prop.unit, lambda one: one == prop.unit)
    put("kind", judgement.kind, str(prop.window.kind), lambda one: (one or "none") == str(prop.window.kind))
    start, end = prop.window.start_ms, prop.window.end_ms
    made = reading.wording.made_ms
    if start is not None and made is not None and abs(start - made) < _MINUTE_MS and (judgement.start or "|")[0] == "|":
        start = None
    put("start", judgement.start, _shown(start), lambda one: _moment(one, start))
    put("end", judgement.end, _shown(end), lambda one: _moment(one, end))
    words("agg", judgement.agg, prop.aggregation, loose=True)
    words("source", judgement.source, prop.source, loose=True)
    void = {str(prop.payoffs[key]) for key in (Branch.CANCELLED.value, Branch.NO_DATA.value) if key in prop.payoffs}
    put("void", judgement.void, ",".join(sorted(void)), lambda one: void == ({one} if one else set()))
    for field in (Branch.TIE, Branch.ABSENT):
        got = str(prop.payoffs.get(field.value, ""))
        put(field.value, cast("str | None", getattr(judgement, field.value)), got, lambda one, got=got: one == got)  # type: ignore[misc]
    belongs = "none" if not prop.exclusive_set else "open" if prop.open_set else "exclusive"
    put("set", judgement.set, "" if belongs == "none" else belongs, lambda one: (one or "none") == belongs)
    words("qualifier", judgement.qualifier, prop.qualifier, loose=True)
    words("game", judgement.game, prop.game, loose=True)
    return found


def _tokens(text: str) -> set[str]:
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(char))
    return {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in _WORD.findall(plain)} - _FILLERS


def _named(want: str, got: str, *, loose: bool) -> bool:
    """Whether every wanted word is there and, unless loosely compared, no other but those in brackets."""
    if not want or not got:
        return want == got
    spare = {word for part in _BRACKETS.findall(want) for word in _tokens(part)}
    needed, there = _tokens(_BRACKETS.sub(" ", want)), _tokens(got)
    if not needed:  # a sign such as a percentage
        return want == got
    return needed <= there and (loose or there <= needed | spare)


def _sides(want: str | None, got: Interval | None) -> tuple[tuple[str | None, str, bool], tuple[str | None, str, bool]]:
    wanted = [_interval(one) for one in (want or "").split("|")]
    equal = got in wanted or any(
        one is not None and got is not None and _halved(one, got) and one.on_grid(Decimal(1)) == got.on_grid(Decimal(1))
        for one in wanted
    )
    shown = (
        "" if got is None else ("[" if got.lo_closed else "(") + f"{got.lo},{got.hi}" + ("]" if got.hi_closed else ")")
    )
    return (
        (want, shown, equal or any(_brackets(one) == _brackets(got) for one in wanted)),
        (want, shown, equal or any(_numbers(one) == _numbers(got) for one in wanted)),
    )


def _brackets(values: Interval | None) -> tuple[bool, ...] | None:
    return None if values is None else (values.lo is None, values.hi is None, values.lo_closed, values.hi_closed)


def _numbers(values: Interval | None) -> tuple[Decimal | None, ...] | None:
    return None if values is None else (values.lo, values.hi)


def _halved(one: Interval, other: Interval) -> bool:
    """Whether a half stands for the whole numbers beside it."""
    return any(end is not None and end % 1 == Decimal("0.5") for end in (one.lo, one.hi, other.lo, other.hi))


def _interval(text: str) -> Interval | None:
    found = _INTERVAL.fullmatch(text.replace(" ", ""))
    if found is None:
        return None
    lo, hi = (None if "inf" in end else Decimal(end) for end in (found[2], found[3]))
    return Interval(
        lo=lo, hi=hi, lo_closed=found[1] == "[" and lo is not None, hi_closed=found[4] == "]" and hi is not None
    )


def _moment(want: str, got: int | None) -> bool:
    if not want or got is None:
        return not want and got is None
    clock, _, zone = want.partition("@")
    day, _, at = clock.partition("T")
    ms = clock_ms(date.fromisoformat(day), time.fromisoformat(at) if at else time(0), zone or NEW_YORK)
    return abs(got - ms) <= _MINUTE_MS


def _shown(ms: int | None) -> str:
    return "" if ms is None else f"{datetime.fromtimestamp(ms / 1000, tz=ZoneInfo(NEW_YORK)):%Y-%m-%dT%H:%M}"


class Readable(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a venue's listing is read.

    Attributes
    ----------
    markets : int
    in_families : int
        Those that are neither unread nor a single question, to which no law of a family applies.
    high, high_in_families : int
        Those whose whole reading has high confidence.
    """

    markets: int = 0
    in_families: int = 0
    high: int = 0
    high_in_families: int = 0


def readable(readings: Iterable[Reading]) -> dict[str, Readable]:
    """The shares of some markets that are read, by venue."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for reading in readings:
        prop = reading.prop
        family, high = prop.family not in (Family.EVENT, Family.UNREAD), prop.confidence >= HIGH
        counts[str(prop.venue)].update(markets=1, in_families=family, high=high, high_in_families=family and high)
    return {venue: Readable(**counts[venue]) for venue in sorted(counts)}

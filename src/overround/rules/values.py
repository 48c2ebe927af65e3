"""Which numbers a market compares with, and how its caption, question, rules and strike fields agree on them."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from overround.logic import Interval
from overround.rules.numbers import Compare, Quantity, decimals_of, quantity, strike_values
from overround.rules.ranges import TO_HIGHER
from overround.rules.wording import Wording

__all__ = ["SPREAD", "TOUCH", "Values", "expression_of", "own_numbers", "says_past", "values_of"]

_EASING = re.compile(r"\b(?:decreases?|cuts?|lower|easing|down)\b", re.IGNORECASE)
_TIGHTENING = re.compile(r"\b(?:increases?|hikes?|raises?|tightening|up)\b", re.IGNORECASE)
_RACE = re.compile(r"\d.{0,20} or \W?\d.{0,30}\bfirst\s*\?", re.IGNORECASE)
_BEAT = re.compile(r"\bbeats?\b.{0,40}\bearnings\b", re.IGNORECASE)
_ESTIMATE = re.compile(
    r"\b(?:EPS|earnings per share) ((?:greater|higher|more) than \(?-?\$?-?\d[\d.,]*\)?)", re.IGNORECASE
)
_CONTINUOUS = re.compile(r"[$€£]\s?\d|\d\s?%|\d\.\d|\d\s?(?:[kmbt]\b|million|billion|trillion)", re.IGNORECASE)
_SIGN = re.compile(r"(negative|positive)", re.IGNORECASE)
TOUCH = re.compile(
    r"\bany\b.{0,80}?\b(?:candle|trading day|point|time|date|month|report|\"?employment situation)|at any (?:point|time)|\bever\b|\breach(?:es)?\b|\bhits?\b(?!\s(?:daily|top|list))|\bdips?\b|all[- ]time high",
    re.IGNORECASE,
)
_RULES_COMPARE = (
    (re.compile(r"equal to or (?:greater|higher|above)|(?:greater|higher) than or equal|equal to or above|at least the|reaches or is higher|equals? or exceeds?|or above the listed", re.IGNORECASE), Compare.AT_LEAST),
    (re.compile(r"equal to or (?:less|lower|below)|(?:less|lower) than or equal|or below the listed|at most the", re.IGNORECASE), Compare.AT_MOST),
    (re.compile(r"(?:greater|higher|more) than (?:the )?(?:value|price|number|amount|figure|listed|specified)|above the (?:price|value|listed|number)|(?:is|be) greater than \$?\d", re.IGNORECASE), Compare.ABOVE),
    (re.compile(r"(?:less|lower|fewer) than (?:the )?(?:value|price|number|amount|figure|listed|specified)|below the (?:price|value|listed|number)", re.IGNORECASE), Compare.BELOW),
)  # fmt: skip
_PAST = re.compile(
    r"\bor (?:higher|above|more|greater|lower|below|less)\b|\b(?:exceeds?|above|below|over|under)\b", re.IGNORECASE
)
SPREAD = re.compile(
    r"(?:spread|handicap)\b.{0,80}?\(([+-]\d{1,3}(?:\.\d)?)\)|\bwins?\b.{0,30}\bby (?:over|more than)\b", re.IGNORECASE
)


class Values(msgspec.Struct, frozen=True):
    """What numbers a market compares with, and how its texts agree on them."""

    values: Interval | None = None
    quantity: Quantity | None = None
    step: str = ""
    direction: int = 0
    origin: str = ""
    unit: str = ""
    agrees: bool = True
    note: str = ""


def values_of(words: Wording, title: str, label: str) -> Values:
    """The numbers for which the first outcome is paid.

    Parameters
    ----------
    words : Wording
    title, label : str
        Without their dates, which are numbers, too.
    """
    if words.legs or _RACE.search(words.title):
        return Values()
    strike = None if words.venue == "polymarket" else strike_values(words.kind, words.floor, words.cap)
    line = SPREAD.search(words.title)
    if words.kind and words.venue == "polymarket" and line is not None and line[1]:
        margin = -Decimal(line[1])
        return Values(Interval(lo=margin), quantity(line[1]), "", 1, "title")
    if words.kind and words.venue == "polymarket" and not words.floor and "o/u" not in words.title.lower():
        return Values()
    sign = _SIGN.fullmatch(label.strip())
    if sign is not None:
        low = sign[1].lower() == "negative"
        return Values(Interval(hi=Decimal(0)) if low else Interval(lo=Decimal(0)), None, "", -1 if low else 1, "label")
    said, asked = quantity(label), quantity(title)
    named = said is not None and (said.compare is not Compare.BARE or _few(said.rest))
    main = said if named else None
    touched = asked is not None and asked.compare in (Compare.UP_TO, Compare.DOWN_TO)
    if (
        main is None
        and asked is not None
        and asked.compare is not Compare.BARE
        and (touched or not words.label or strike is not None or (said is not None and said.lo == asked.lo))
    ):
        main = asked
    if (count := words.custom.get("Count", "")).isdecimal() and strike is None:
        number = quantity(count)
        assert number is not None
        return Values(number.values, number, "1", 0, "strike")
    if strike is not None:
        return _with_strike(words, strike, main, asked)
    if main is None and _BEAT.search(words.title) and (stated := _ESTIMATE.search(words.rules[:1_500])) is not None:
        main = asked = quantity(stated[1])
    if main is None:
        change = _change(words.label or words.title, None)
        return Values() if change is None else change
    if main is said and asked is not None and asked.lo != main.lo:
        asked = expression_of(title, main) or asked
    compare = main.compare
    if compare is Compare.BARE and asked is not None and asked.lo == main.lo:
        compare = asked.compare
    change = _change(words.label or words.title, main)
    if change is not None:
        return change
    touching = TOUCH.search(words.title) is not None or compare in (Compare.UP_TO, Compare.DOWN_TO)
    if compare is Compare.BARE and (touching or not re.search(r"\bbe\b|\bexactly\b|\b(?:in|of) \d", words.title)):
        compare = next((one for pattern, one in _RULES_COMPARE if pattern.search(words.rules)), compare)
    if compare in (Compare.ABOVE, Compare.BELOW) and main.compare is Compare.BARE:
        compare = _inclusive(compare, words.rules)
    settled = msgspec.structs.replace(main, compare=compare)
    values = settled.values
    if compare is Compare.BETWEEN and _CONTINUOUS.search(f"{label} {words.title}") and TO_HIGHER.search(words.rules):
        values = msgspec.structs.replace(values, hi_closed=False)
    direction = 1 if compare.rising else -1 if compare.falling else 0
    exact = (
        asked is not None
        and asked.compare is Compare.EXACTLY
        and main.compare is Compare.BETWEEN
        and asked.lo in (main.lo, main.hi)
    )
    agrees = (
        exact
        or asked is None
        or asked.lo != main.lo
        or asked.compare in (compare, Compare.BARE)
        or main.compare is Compare.BARE
        or _same_side(asked.compare, compare)
    )
    return Values(values, settled, _step(settled), direction, "label" if main is said else "title", main.unit, agrees, "" if agrees else "title and caption compare differently")  # fmt: skip


def _few(rest: str) -> bool:
    """Whether hardly anything but the number is there."""
    return len(re.findall(r"[a-z]{2,}", re.sub(r"\(.*?\)", "", rest))) <= 1


def says_past(rules: str) -> bool:
    """Whether rules say that a value beyond the level counts like the level itself."""
    return any(pattern.search(rules) for pattern, _ in _RULES_COMPARE) or _PAST.search(rules) is not None


def expression_of(text: str, wanted: Quantity) -> Quantity | None:
    """Where a text names the same number, and how it compares there."""
    for start in [match.start() for match in re.finditer(r"\d", text)][:12]:
        found = quantity(text[max(0, start - 24) :])
        if found is not None and found.lo == wanted.lo:
            return found
    return None


def _inclusive(compare: Compare, rules: str) -> Compare:
    worded = next((one for pattern, one in _RULES_COMPARE if pattern.search(rules)), compare)
    return worded if _same_side(worded, compare) else compare


def _same_side(one: Compare, other: Compare) -> bool:
    return (one.rising and other.rising) or (one.falling and other.falling)


def _step(found: Quantity) -> str:
    return str(Decimal(1).scaleb(-found.decimals)) if found.lo < 10**6 else ""


def _change(text: str, found: Quantity | None) -> Values | None:
    """A rate decision in signed basis points, or only its sign."""
    easing, tightening = _EASING.search(text), _TIGHTENING.search(text)
    if found is not None and (found.unit == "bps" or found.rest.startswith("bps")):
        number = abs(found.lo)
        open_end = found.compare in (Compare.AT_LEAST, Compare.ABOVE)
        closed = found.compare is not Compare.ABOVE
        if number == 0 and not open_end:
            return Values(
                Interval(lo=Decimal(0), hi=Decimal(0), lo_closed=True, hi_closed=True), found, "", 0, "label", "bps"
            )
        if bool(easing) == bool(tightening):
            return None
        if easing:
            values = Interval(lo=None if open_end else -number, hi=-number, lo_closed=not open_end, hi_closed=closed)
        else:
            values = Interval(lo=number, hi=None if open_end else number, lo_closed=closed, hi_closed=not open_end)
        return Values(values, found, "", 0, "label", "bps")
    if found is None and len(text) < 40:
        if re.fullmatch(
            r"\W*(?:no change|unchanged|hold|pause|\w+ maintains rates?|maintains? rates?)\W*", text, re.IGNORECASE
        ):
            return Values(
                Interval(lo=Decimal(0), hi=Decimal(0), lo_closed=True, hi_closed=True), None, "", 0, "label", "bps"
            )
        if re.fullmatch(r"\W*(?:decreases?|down|lower|cut)\W*", text, re.IGNORECASE):
            return Values(Interval(hi=Decimal(0)), None, "", 0, "label", "bps")
        if re.fullmatch(r"\W*(?:increases?|up|higher|hike)\W*", text, re.IGNORECASE):
            return Values(Interval(lo=Decimal(0)), None, "", 0, "label", "bps")
    return None


def _with_strike(words: Wording, strike: Interval, main: Quantity | None, asked: Quantity | None) -> Values:
    """A strike field, checked by the words beside it."""
    floor = strike.lo if strike.lo is not None else strike.hi
    assert floor is not None
    main = main or (asked if asked is not None and asked.compare is not Compare.BARE else None)
    digits = max((decimals_of(end) for end in (strike.lo, strike.hi) if end is not None), default=0)
    digits = max(digits, main.decimals if main else 0)
    step = Decimal(1).scaleb(-digits)
    exact = re.search(r"\bexactly\b", words.title) is not None and strike.lo is not None and strike.hi is None
    if exact:
        strike = Interval(lo=strike.lo, hi=strike.lo, lo_closed=True, hi_closed=True)
    direction = 1 if strike.hi is None or exact else -1 if strike.lo is None else 0
    agrees, note = True, ""
    if (
        main is not None
        and main.compare is not Compare.BARE
        and not exact
        and any(abs(end - floor) <= 1 for end in (main.lo, main.hi))
    ):
        agrees = any(main.values.on_grid(one) == strike.on_grid(one) for one in (step, Decimal(1)))
        note = "" if agrees else "caption and strike differ at the edge"
        if not agrees and direction * (1 if main.compare.rising else -1 if main.compare.falling else 0) < 0:
            note = "caption and strike compare the other way round"
    return Values(strike, main, str(step), direction, "strike", main.unit if main else "", agrees, note)


def own_numbers(found: Values, words: Wording) -> list[Decimal]:
    """The numbers that belong to the market itself, not to its template."""
    ends = [found.values.lo, found.values.hi] if found.values is not None else []
    if found.quantity is not None:
        ends += [found.quantity.lo, found.quantity.hi]
    own = [end for end in ends if end is not None]
    if words.kind == "structured" and own:  # "3+" for a floor of 2.5
        own += [number + Decimal("0.5") for number in own if number % 1 == Decimal("0.5")]
    return own

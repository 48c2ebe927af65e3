"""Whether two rules texts are one template: what is said alike, but for each market's own number, date and name.

A text becomes a skeleton, in which every number and date is a mark, and the list of what stood there. Two markets have one
template when their skeletons are equal and at every place they have either the same, or each its own number or date. A
number that only happens to equal a market's own ("a 1 minute candle" beside a threshold of $1.00) does no harm, because
there the others have the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache

import msgspec

from overround.rules.dates import When, find_dates

__all__ = ["Template", "clusters", "digest", "sentences_apart", "template"]

_NUM = r"-?[$€£]?-?\d[\d,]*(?:\.\d+)?(?:\s?(?:million|billion|trillion)\b|[kKmMbBtT]\b)?(?![\d:])\+?"
_BEFORE = r"(?:(?:is|be)\s)?(?:(?:exactly|at least|at most|more than|more|fewer than|less than|greater than|higher than|above|below|between|over|under)\s)?"
_MARK = re.compile(
    rf"(?P<named>\b{_BEFORE}(?:the|each)\s(?:(?:specified|listed|displayed)\s(?:[a-z]+\s){{0,2}}?(?P<kind1>price|value|number|percentage|amount|level|range|round threshold|date)|"
    r"(?P<kind2>price|value|number|percentage|amount|level|range|date)\s(?:specified|listed)(?:\sin\sthe\stitle)?))"
    rf"|(?P<number>(?<![\w.,:]){_BEFORE}"
    rf"{_NUM}(?:\s?(?:-|to|and|through)\s?{_NUM})?(?:\sor\s(?:more|higher|above|greater|less|lower|below|fewer)\b)?)",
    re.IGNORECASE,
)
_ANY_YEAR = date(2000, 1, 8)
_ONE = re.compile(_NUM)
_SCALE = {"k": 3, "m": 6, "b": 9, "t": 12}
_WORD = re.compile(r"[^a-z0-9#@<>]+")
_PREFIX_DAY = re.compile(r"(?:by|before|on|in|during|between|and|from|through|until)? ?@")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A text as its skeleton and what stood at the marks.

    Attributes
    ----------
    skeleton : str
        Lower case, without punctuation; ``#`` for a number, ``@`` for a date, ``<x>`` for the market's name.
    marks : tuple of str
        Numbers and days in canonical form; ``own`` where the words only point to the title.
    own : frozenset of str
        Those that belong to the market itself.
    """

    skeleton: str = ""
    marks: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()

    @property
    def series(self) -> str:
        """Hash of the skeleton and of the marks that are neither dates nor the market's own."""
        kept = ("own" if mark in self.own or mark.startswith("@") else mark for mark in self.marks)
        return digest(_PREFIX_DAY.sub("@", self.skeleton), *kept)


def digest(*texts: str) -> str:
    """A short hash of several texts."""
    return hashlib.blake2b("\x1f".join(texts).encode(), digest_size=12).hexdigest()


@lru_cache(maxsize=4_096)
def _parts(text: str) -> tuple[str, tuple[str, ...]]:
    pieces: list[str] = []
    marks: list[str] = []

    def mark(match: re.Match[str]) -> str:
        if match["named"]:
            marks.append("own")
            return " @ " if "date" in (match["kind1"] or match["kind2"]).lower() else " # "
        values = [_value(one) for one in _ONE.findall(match["number"])]
        marks.append("~".join("?" if value is None else format(value.normalize(), "f") for value in values))
        return " # "

    at = 0
    for when in find_dates(text, near=_ANY_YEAR, limit=20_000):
        pieces.append(_MARK.sub(mark, text[at : when.start]))
        marks.append(_day(when))
        pieces.append(f" {when.prefix} @ ")
        at = when.end
    pieces.append(_MARK.sub(mark, text[at:]))
    return _WORD.sub(" ", "".join(pieces).lower()).strip(), tuple(marks)


def _day(when: When) -> str:
    return f"@{when.first.month}-{when.first.day}-{when.last}" if when.year_known else _yearless(when)


def _yearless(when: When) -> str:
    return f"@{when.first.month}-{when.first.day}-{when.last.month}-{when.last.day}"


def template(
    text: str, *, numbers: Sequence[Decimal] = (), dates: Iterable[When] = (), names: Iterable[str] = ()
) -> Template:
    """The template of one market's rules.

    Parameters
    ----------
    text : str
        Plain.
    numbers : sequence of Decimal
        The market's own thresholds; a half-point line also owns the whole numbers beside it.
    dates : iterable of When
        The market's own days.
    names : iterable of str
        Its caption and the like, longest first.

    Examples
    --------
    >>> one = template("More than 2.5 runs by May 9, 2026, in a 9 inning game.", numbers=[Decimal("2.5")])
    >>> one.skeleton, one.marks
    ('# runs by @ in a # inning game', ('2.5', '@5-9-2026-05-09', '9'))
    """
    for name in names:
        if len(name) > 1:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<x>", text, flags=re.IGNORECASE)
    skeleton, marks = _parts(text)
    hidden = {format(number.normalize(), "f") for one in numbers for number in (one, -one, *_beside(one))}
    own = {
        mark for mark in marks if mark == "own" or (mark[:1] != "@" and all(part in hidden for part in mark.split("~")))
    }
    return Template(
        skeleton=skeleton,
        marks=marks,
        own=frozenset(own | {mark for when in dates for mark in (_day(when), _yearless(when))} & set(marks)),
    )


def _beside(number: Decimal) -> tuple[Decimal, ...]:
    half = Decimal("0.5")
    return (abs(number) + half, abs(number) - half) if abs(number) % 1 == half else ()


def _value(text: str) -> Decimal | None:
    text = text.lower().replace(",", "").strip().rstrip("+")
    for word, letter in (("million", "m"), ("billion", "b"), ("trillion", "t")):
        text = text.replace(word, letter)
    text = re.sub(r"[$€£ ]", "", text)
    power = _SCALE.get(text[-1:], 0)
    try:
        return Decimal(text.rstrip("kmbt")) * Decimal(10) ** power
    except InvalidOperation:
        return None


def clusters(templates: Sequence[Template]) -> list[list[int]]:
    """Places of those that are one template, largest group first; an empty text is of the largest group.

    Examples
    --------
    >>> texts = ["Above 1 for a 1 minute candle.", "Above 2 for a 1 minute candle.", "Above 3 for a 5 minute candle."]
    >>> clusters([template(text, numbers=[Decimal(n)]) for n, text in enumerate(texts, 1)])
    [[0, 1], [2]]
    """
    by_skeleton: dict[str, list[int]] = {}
    for place, one in enumerate(templates):
        by_skeleton.setdefault(one.skeleton, []).append(place)
    found: list[list[int]] = []
    for skeleton, places in by_skeleton.items():
        if not skeleton:
            continue
        telling = _telling([templates[place] for place in places])
        parts: dict[tuple[str, ...], list[int]] = {}
        for place in places:
            parts.setdefault(tuple(templates[place].marks[at] for at in telling), []).append(place)
        found += parts.values()
    found.sort(key=len, reverse=True)
    silent = by_skeleton.get("", [])
    if silent and found:
        return [sorted([*found[0], *silent]), *found[1:]]
    return found or ([silent] if silent else [])


def _telling(alike: Sequence[Template]) -> list[int]:
    """Marks at which texts of one skeleton say different things that are not their own."""
    return [
        at
        for at in range(len(alike[0].marks))
        if len({one.marks[at] for one in alike}) > 1 and not all(one.marks[at] in one.own for one in alike)
    ]


def _sentences(text: str) -> set[str]:
    return {_said(sentence) for sentence in _SENTENCE.split(text)} - {""}


def _said(sentence: str) -> str:
    skeleton, marks = _parts(sentence)
    return " ".join([skeleton, *marks]) if skeleton else ""


def sentences_apart(first: str, second: str, *, limit: int = 2) -> list[str]:
    """Sentences that only one of two texts has, for people."""
    apart = _sentences(first) ^ _sentences(second)
    shown = [s for text in (first, second) for s in _SENTENCE.split(text) if _said(s) in apart]
    return [" ".join(s.split()) for s in shown][:limit]

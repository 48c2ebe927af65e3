"""Things that happen once (a listing on an exchange, the launch of a token): by a day, in a month, and what they are worth then."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import msgspec

from overround.logic import Constraint, Relation
from overround.rules.dates import When, without_dates
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import MOST, grouped, lasting
from overround.rules.windows import dates_of, day_of

__all__ = ["launch_constraints"]

_IPO = re.compile(r"\binitial public offering\b|\bgo(?:es)? public\b", re.IGNORECASE)
_WORTH = re.compile(r"^(?:will )?(.{2,40}?)(?:'s)? (?:(ipo) closing market cap|market cap\b.*\b(ipo)|(fdv|market cap \(fdv\))\b.*\bafter launch)", re.IGNORECASE)  # fmt: skip
_UNTIL = re.compile(r"\b(?:no (?:\S+ )?ipo (?:occurs )?|(?:doesn't|does not|hasn't|has not) (?:launch(?:ed)? (?:a |its )?token|ipo) )by ", re.IGNORECASE)  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_FILLERS = frozenset(["will", "the", "a", "an", "its", "s", "by", "before", "in", "on", "of", "end", "et", "occur", "happen", "perform"])  # fmt: skip
_SAME = (
    "both texts mean the same thing and count it alike (the terms on acquisitions, announcements or the day may differ)"
)


class _Asked(msgspec.Struct, frozen=True):
    """That a thing happens from ``first`` to ``last``; ``sort`` is ``by``, ``month`` or ``worth``."""

    reading: Reading
    thing: frozenset[str]
    sort: str
    first: date
    last: date


def launch_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What a month or a price implies of a deadline; always under the condition that the texts mean one thing."""
    asked = [
        found for one in readings if one.wording.rules and not one.prop.game and (found := _asked(one)) is not None
    ]
    for group in grouped(asked, lambda said: (said.reading.wording.venue, said.thing)).values():
        if len(group) > MOST:
            continue
        for strict in group:
            for loose in group:
                if loose.sort != "by" or strict.sort == "by":
                    continue
                pair = [(strict.reading, 0), (loose.reading, 0)]
                if strict.last <= loose.last:
                    yield draw(Relation.IMPLIES, pair, rule=f"{strict.sort}_is_by", conditions=[_SAME])
                elif strict.sort == "month" and loose.last < strict.first:
                    yield draw(
                        Relation.MUTUALLY_EXCLUSIVE, pair, rule="once_only", conditions=[_SAME, "it happens once"]
                    )


def _asked(one: Reading) -> _Asked | None:
    words = one.wording
    if lasting(words.title):
        return None
    near = day_of(words.made_ms or words.close_ms)
    worth = _WORTH.search(words.title)
    if worth is not None:
        until = _UNTIL.search(words.rules)
        days = [
            when for when in dates_of(words.rules, near) if until and when.start >= until.start() and when.year_known
        ]
        if not days or one.prop.values is None:
            return None
        what = ["launch", "token"] if worth[4] else ["ipo"]
        return _Asked(one, _thing(worth[1], []) | set(what), "worth", date.min, _last(days[0]))
    dates = dates_of(words.title, near)
    if len(dates) == 1 and dates[0].year_known and one.prop.values is None:
        when, thing = dates[0], _thing(words.title, list(dates))
        if (
            not when.exact
            and when.first.day == 1
            and (when.last + timedelta(days=1)).day == 1
            and when.prefix in {"in", "during"}
            and (when.first.month == when.last.month)
        ):
            return _Asked(one, thing, "month", when.first, when.last)
        if when.prefix in {"by", "before"} or when.part == "end":
            return _Asked(one, thing, "by", date.min, _last(when))
    if one.due is not None and one.due.year_known and not dates:
        return _Asked(one, _thing(words.title, []), "by", date.min, _last(one.due))
    return None


def _last(when: When) -> date:
    day, whole = when.deadline
    return day if whole else day - timedelta(days=1)


def _thing(text: str, dates: list[When]) -> frozenset[str]:
    bare = _IPO.sub(" ipo ", without_dates(text, dates).lower())
    return frozenset(word for word in _WORD.findall(bare) if word not in _FILLERS)

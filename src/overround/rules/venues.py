"""The same question on both venues: found by its rarest name, decided by comparing statements, never more than conditional."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from overround.logic import Constraint, Relation
from overround.market import Venue
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.matching import Statement, Verdict, match, statement

__all__ = ["cross_venue_constraints"]

_MOST = 60
"""Markets compared with one market of the other venue."""


def cross_venue_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """Equivalences between Polymarket and Kalshi.

    What the two venues pay when a question is void, ties or is late is written apart, so each holds on that condition.
    """
    sides = {
        venue: [one for one in readings if one.wording.venue is venue and one.wording.title and not one.wording.legs]
        for venue in Venue
    }
    if not all(sides.values()):
        return
    said = {id(one): _statement(one) for members in sides.values() for one in members}
    by_name: dict[str, list[Reading]] = defaultdict(list)
    for one in sides[Venue.POLYMARKET]:
        for name in _names(said[id(one)]):
            by_name[name].append(one)
    common = Counter({name: len(members) for name, members in by_name.items()})
    for one in sides[Venue.KALSHI]:
        names = [name for name in _names(said[id(one)]) if name in by_name]
        if not names:
            continue
        for other in by_name[min(names, key=lambda name: common[name])][:_MOST]:
            found = match(said[id(one)], said[id(other)])
            if found.verdict is Verdict.EQUIVALENT:
                yield draw(
                    Relation.EQUIVALENT, [(one, 0), (other, 0)], rule="same_question",
                    conditions=["the venues agree where their terms are written apart: void, tie, source and the hour of the deadline"],
                )  # fmt: skip


def _statement(one: Reading) -> Statement:
    words = one.wording
    told = set(re.findall(r"\w+", words.title.lower()))
    named = words.venue is Venue.KALSHI and not set(re.findall(r"\w+", words.label.lower())) <= told
    return statement(f"{words.title.rstrip('?')} {words.label}?" if named else words.title, words.rules)


def _names(said: Statement) -> set[str]:
    """What a candidate has to share one of: a word, or the seat."""
    return {word for word in said.words if len(word) >= 3} | {office for office in said.offices if "-" in office}

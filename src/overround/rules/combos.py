"""Relations of combinations to their legs and to each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from overround.logic import Constraint, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading

__all__ = ["combo_constraints"]

_WINNER = re.compile(r"(\w*(?:GAME|MATCH|FIGHT)-\w+)-(?!TIE\b)(\w+):yes")
_LEAST = re.compile(r": (\d+)\+$")
_PLAYED = "the fixture is played and the players take part: its contracts settle otherwise by terms of their own"


def combo_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """A combination is paid when all its legs are; more legs of the same imply fewer, and larger numbers smaller ones."""
    by_id = {(one.wording.venue, str(one.wording.market_id)): one for one in readings}
    combos = [one for one in readings if one.wording.legs]
    sides = {id(one): frozenset(one.wording.legs) for one in combos}
    for combo in combos:
        legs: list[tuple[Reading, int]] = []
        for named in combo.wording.legs:
            market_id, _, side = named.rpartition(":")
            leg = by_id.get((combo.wording.venue, market_id))
            if leg is not None and side in {"yes", "no"}:
                legs.append((leg, int(side == "no")))
        if legs and len(legs) == len(combo.wording.legs):
            yield draw(Relation.JOINT, [(combo, 0), *legs], rule="combo_of_legs")
        else:
            for leg, index in legs:
                yield draw(Relation.IMPLIES, [(combo, 0), (leg, index)], rule="combo_needs_leg")
    if len(combos) > 400:
        return
    numbers = {id(one): _numbers(one) for one in combos}
    for place, one in enumerate(combos):
        for other in combos[place + 1 :]:
            mine, theirs = sides[id(one)], sides[id(other)]
            if mine == theirs:
                yield draw(Relation.EQUIVALENT, [(one, 0), (other, 0)], rule="same_legs")
            elif mine > theirs:
                yield draw(Relation.IMPLIES, [(one, 0), (other, 0)], rule="more_legs")
            elif mine < theirs:
                yield draw(Relation.IMPLIES, [(other, 0), (one, 0)], rule="more_legs")
            elif any(_opposite(named) in theirs for named in mine):
                yield draw(Relation.MUTUALLY_EXCLUSIVE, [(one, 0), (other, 0)], rule="opposite_legs")
            elif any(_rivals(named, against) for named in mine for against in theirs):
                yield draw(Relation.MUTUALLY_EXCLUSIVE, [(one, 0), (other, 0)], rule="rival_legs", conditions=[_PLAYED])
            elif _stricter(numbers[id(one)], numbers[id(other)]):
                yield draw(Relation.IMPLIES, [(one, 0), (other, 0)], rule="stricter_legs", conditions=[_PLAYED])
            elif _stricter(numbers[id(other)], numbers[id(one)]):
                yield draw(Relation.IMPLIES, [(other, 0), (one, 0)], rule="stricter_legs", conditions=[_PLAYED])


def _opposite(named: str) -> str:
    market_id, _, side = named.rpartition(":")
    return f"{market_id}:{'no' if side == 'yes' else 'yes'}"


def _rivals(one: str, other: str) -> bool:
    """Whether two legs are won by different sides of one fixture."""
    mine, theirs = _WINNER.fullmatch(one), _WINNER.fullmatch(other)
    return mine is not None and theirs is not None and mine[1] == theirs[1] and mine[2] != theirs[2]


def _numbers(combo: Reading) -> dict[str, int]:
    """What each leg needs at least, by the leg without its number; captions and legs stand in one order."""
    captions = combo.wording.title.split(",")
    if len(captions) != len(combo.wording.legs):
        return {}
    needed = {}
    for caption, named in zip(captions, combo.wording.legs, strict=True):
        least = _LEAST.search(caption)
        stem, _, number = named.removesuffix(":yes").rpartition("-")
        if least is not None and number == least[1] and named.endswith(":yes"):
            needed[stem] = int(number)
        else:
            needed[named] = 0
    return needed


def _stricter(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether every leg of the other is among the first's, with no larger number."""
    return bool(other) and all(one.get(stem, -1) >= number for stem, number in other.items())

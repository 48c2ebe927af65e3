"""Relations of combinations to their legs and to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from overround.logic import Constraint, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading

__all__ = ["combo_constraints"]


def combo_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """A combination is paid when all its legs are; more legs of the same imply fewer."""
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
    for place, one in enumerate(combos):
        for other in combos[place + 1 :]:
            if sides[id(one)] == sides[id(other)]:
                yield draw(Relation.EQUIVALENT, [(one, 0), (other, 0)], rule="same_legs")
            elif sides[id(one)] > sides[id(other)]:
                yield draw(Relation.IMPLIES, [(one, 0), (other, 0)], rule="more_legs")
            elif sides[id(one)] < sides[id(other)]:
                yield draw(Relation.IMPLIES, [(other, 0), (one, 0)], rule="more_legs")
            elif any(_opposite(named) in sides[id(other)] for named in sides[id(one)]):
                yield draw(Relation.MUTUALLY_EXCLUSIVE, [(one, 0), (other, 0)], rule="opposite_legs")


def _opposite(named: str) -> str:
    market_id, _, side = named.rpartition(":")
    return f"{market_id}:{'no' if side == 'yes' else 'yes'}"

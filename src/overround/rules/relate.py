"""All relations between the markets of a listing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from overround.logic import Component, Confidence, Constraint, Family, branch_endings, counts_of
from overround.market import PX_ONE_E4
from overround.rules.across import across_events
from overround.rules.combos import combo_constraints
from overround.rules.contests import contest_constraints
from overround.rules.fixtures import fixture_constraints
from overround.rules.grammar import Reading
from overround.rules.launches import launch_constraints
from overround.rules.policy import policy_constraints
from overround.rules.seeds import seed_constraints
from overround.rules.sets import event_constraints, grouped
from overround.rules.standings import standing_constraints
from overround.rules.venues import cross_venue_constraints

__all__ = ["relate"]


def relate(readings: Sequence[Reading]) -> list[Constraint]:
    """Every constraint that the laws of ``rules`` give, each once, the more certain first.

    Parameters
    ----------
    readings : sequence of Reading
        Of any venues and events; those of one event together hold the most.
    """
    found: dict[str, Constraint] = {}
    order = {"certain": 0, "conditional": 1, "doubtful": 2}
    for constraint in map(_in_branches, _all(readings)):
        known = found.get(constraint.key)
        if known is None or order[constraint.confidence] < order[known.confidence]:
            found[constraint.key] = constraint
    return list(found.values())


def _all(readings: Sequence[Reading]) -> Iterator[Constraint]:
    ruled = frozenset(one.wording.series_id for one in readings if one.wording.rules and one.wording.series_id)
    for members in grouped(readings, lambda one: (one.wording.venue, one.wording.event_id)).values():
        yield from event_constraints(members, ruled)
    known = [one for one in readings if one.prop.family is not Family.UNREAD]
    yield from across_events(known)
    yield from fixture_constraints(known)
    yield from standing_constraints(known)
    yield from seed_constraints(known)
    yield from contest_constraints(known)
    yield from policy_constraints(known)
    yield from launch_constraints(known)
    yield from combo_constraints(known)
    yield from cross_venue_constraints(known)


def _in_branches(one: Constraint) -> Constraint:
    """A certain constraint that does not hold in a branch which the words of its legs name is a conditional one."""
    if one.confidence is not Confidence.CERTAIN or not any(leg.branches for leg in one.legs):
        return one
    legs, counts = counts_of([one])
    broken = []
    for ending in branch_endings(Component(legs=tuple(legs), counts=tuple(counts))):
        pays = {leg: (least, most) for leg, least, most in ending.pays}
        for count in counts:
            sides = [pays.get(x.leg, (0, PX_ONE_E4)) for x in count.literals]
            both = [
                (low, high) if x.holds else (PX_ONE_E4 - high, PX_ONE_E4 - low)
                for x, (low, high) in zip(count.literals, sides, strict=True)
            ]
            if (
                sum(low for low, _ in both) < count.least * PX_ONE_E4
                or sum(high for _, high in both) > count.most * PX_ONE_E4
            ):
                broken.append(f"not {ending.name}")
                break
    if not broken:
        return one
    return msgspec.structs.replace(one, confidence=Confidence.CONDITIONAL, conditions=(*one.conditions, *broken))

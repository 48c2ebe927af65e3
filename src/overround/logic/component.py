"""Legs that are tied together, and every way in which they can end.

One primitive carries all logic: a ``Count`` says that in every ordinary state between ``least`` and ``most`` of some
literals hold, a literal being a leg's outcome or its contrary. Implications, ladders, exclusive sets, partitions,
unions, joints and settled legs are counts, so one enumeration serves them all, and products need no case of their own.

Nothing is assumed in a trader's favour. A set is exhaustive only by a stated premise and when no leg is missing; else
the state in which none of its legs pays stays in. An extraordinary ending (void, tie, no data) is an ``Ending`` that
pays what its rules say, and anything at all where they say nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from overround.errors import OverroundError
from overround.logic.constraint import Confidence, Constraint, Leg, Relation
from overround.market import PX_ONE_E4, MarketId, Venue

__all__ = [
    "STATE_LIMIT",
    "Component",
    "Contradiction",
    "Count",
    "Ending",
    "Literal",
    "SetEvidence",
    "State",
    "branch_endings",
    "complement",
    "components",
    "counts_of",
    "equivalent",
    "exactly",
    "exclusive",
    "exhaustive",
    "extraordinary",
    "implies",
    "joint",
    "ladder",
    "normal_states",
    "ordinary",
    "outcome_set",
    "partition",
    "project",
    "settled",
    "states",
    "union",
]

STATE_LIMIT = 4_096
"""States that are enumerated at most; beyond, they are generated as they are needed."""


class Contradiction(OverroundError):
    """No state satisfies the constraints of a component: one of its premises is wrong."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        super().__init__(
            f"no way to end satisfies the constraints of {', '.join(leg.market_id for leg in legs[:4])} ({len(legs)} legs)",
            hint="one of the premises is wrong: review the propositions of these markets",
        )
        self.legs = tuple(legs)


class Literal(NamedTuple):
    """The place of a leg in its component, and whether its first outcome is meant or the contrary."""

    leg: int
    holds: bool = True


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """In every ordinary state, at least ``least`` and at most ``most`` of the literals hold.

    Attributes
    ----------
    literals : tuple of Literal
    least, most : int
    kind : str
        The relation it came from: ``implies``, ``exclusive``, ``exhaustive``, ...
    premise : str
        Why it is believed.
    conditions : tuple of str
        What has to hold besides.
    confidence : Confidence
    """

    literals: tuple[Literal, ...]
    least: int
    most: int
    kind: str
    premise: str = ""
    conditions: tuple[str, ...] = ()
    confidence: Confidence = Confidence.CERTAIN


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """An ending outside the ordinary ones.

    Attributes
    ----------
    name : str
    pays : tuple of (int, int, int)
        Place of a leg, and the least and the most that its first outcome pays (``px_e4``). A leg that is not named may
        pay anything.
    """

    name: str
    pays: tuple[tuple[int, int, int], ...] = ()


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """Legs joined by constraints."""

    legs: tuple[Leg, ...]
    counts: tuple[Count, ...]
    endings: tuple[Ending, ...] = ()


class State(msgspec.Struct, frozen=True):
    """One complete way to end: the least that one contract of each outcome pays in it.

    Attributes
    ----------
    name : str
        The ending's name, empty for an ordinary state.
    yes_e4, no_e4 : tuple of int
        By leg; they add up to 10,000 unless the payoff is known only between bounds.
    """

    name: str
    yes_e4: tuple[int, ...]
    no_e4: tuple[int, ...]


# --- constraints -------------------------------------------------------------------------------------------------


def _literals(legs: Iterable[int | Literal]) -> tuple[Literal, ...]:
    return tuple(leg if isinstance(leg, Literal) else Literal(leg) for leg in legs)


def _not(literal: Literal) -> Literal:
    return Literal(literal.leg, not literal.holds)


def implies(a: int | Literal, b: int | Literal, *, premise: str = "") -> Count:
    """Whenever ``a`` holds, ``b`` does."""
    first, second = _literals((a, b))
    return Count(literals=(_not(first), second), least=1, most=2, kind="implies", premise=premise)


def ladder(legs: Sequence[int | Literal], *, premise: str = "") -> list[Count]:
    """Each leg implies the next one: strict to loose."""
    return [implies(a, b, premise=premise) for a, b in itertools.pairwise(legs)]


def equivalent(a: int | Literal, b: int | Literal, *, premise: str = "") -> Count:
    """Both hold, or neither does."""
    first, second = _literals((a, b))
    return Count(literals=(first, _not(second)), least=1, most=1, kind="equivalent", premise=premise)


def complement(a: int | Literal, b: int | Literal, *, premise: str = "") -> Count:
    """Exactly one of the two holds."""
    return Count(literals=_literals((a, b)), least=1, most=1, kind="complement", premise=premise)


def exactly(k: int, legs: Iterable[int | Literal], *, premise: str = "", kind: str = "exactly") -> Count:
    """Exactly ``k`` of the legs hold."""
    return Count(literals=_literals(legs), least=k, most=k, kind=kind, premise=premise)


def exclusive(legs: Iterable[int | Literal], *, premise: str = "") -> Count:
    """At most one of the legs holds."""
    return Count(literals=_literals(legs), least=0, most=1, kind="exclusive", premise=premise)


def exhaustive(legs: Iterable[int | Literal], *, premise: str = "") -> Count:
    """At least one of the legs holds."""
    literals = _literals(legs)
    return Count(literals=literals, least=1, most=len(literals), kind="exhaustive", premise=premise)


def partition(legs: Iterable[int | Literal], *, premise: str = "") -> Count:
    """Exactly one of the legs holds; see ``outcome_set`` for a set whose completeness is in question."""
    return exactly(1, legs, premise=premise, kind="partition")


def union(whole: int | Literal, parts: Iterable[int | Literal], *, premise: str = "") -> Count:
    """The whole holds exactly when one of its parts does, and no two parts hold together."""
    first, *rest = _literals((whole, *parts))
    return Count(literals=(_not(first), *rest), least=1, most=1, kind="union", premise=premise)


def joint(whole: int | Literal, parts: Iterable[int | Literal], *, premise: str = "") -> list[Count]:
    """The whole holds exactly when all its parts do; a combination's "no" leg enters as a negated literal."""
    first, *rest = _literals((whole, *parts))
    together = Count(
        literals=(*(_not(part) for part in rest), first), least=1, most=len(rest) + 1, kind="joint", premise=premise
    )
    return [*(implies(first, part, premise=premise) for part in rest), together]


def settled(leg: int, *, holds: bool, premise: str = "") -> Count:
    """A leg whose end is already known."""
    return Count(literals=(Literal(leg, holds),), least=1, most=1, kind="settled", premise=premise)


def counts_of(constraints: Iterable[Constraint]) -> tuple[list[Leg], list[Count]]:
    """Legs (one a market, its first outcome) and counts that say the same as the constraints."""
    legs: dict[tuple[Venue, MarketId], int] = {}
    named: list[Leg] = []
    counts: list[Count] = []
    for constraint in constraints:
        xs: list[Literal] = []
        for leg in constraint.legs:
            place = legs.setdefault((leg.venue, leg.market_id), len(named))
            if place == len(named):
                named.append(leg if leg.index == 0 else msgspec.structs.replace(leg, index=0, outcome=""))
            xs.append(Literal(place, leg.index == 0))
        first = len(counts)
        why = "; ".join(filter(None, (constraint.rule, *(premise.text for premise in constraint.premises))))
        match constraint.relation:
            case Relation.IMPLIES:
                counts.append(
                    implies(
                        xs[constraint.antecedent or 0],
                        xs[1 if constraint.consequent is None else constraint.consequent],
                        premise=why,
                    )
                )
            case Relation.MONOTONIC_LADDER:
                counts += ladder(xs, premise=why)
            case Relation.EQUIVALENT:
                counts += [equivalent(a, b, premise=why) for a, b in itertools.pairwise(xs)]
            case Relation.COMPLEMENT:
                counts.append(exactly(1, xs, premise=why, kind="complement"))
            case Relation.MUTUALLY_EXCLUSIVE:
                counts.append(exclusive(xs, premise=why))
            case Relation.EXHAUSTIVE:
                counts.append(exhaustive(xs, premise=why))
            case Relation.PARTITION:
                counts.append(partition(xs, premise=why))
            case Relation.JOINT:
                counts += joint(xs[0], xs[1:], premise=why)
        counts[first:] = [
            msgspec.structs.replace(count, conditions=constraint.conditions, confidence=constraint.confidence)
            for count in counts[first:]
        ]
    return named, counts


class SetEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a set of exclusive legs.

    Attributes
    ----------
    exhaustive_by : str
        The words or cells that make the set exhaustive; empty when nothing does. A neg-risk or
        ``mutually_exclusive`` flag is no such premise.
    augmented : bool
        Legs may still be added.
    listed : int or None
        Legs that the event lists, closed ones included; None when unknown.
    indices : tuple of int
        Places of the legs in the set, where the venue numbers them.
    mids_sum_e4 : int or None
        Sum of the legs' mid prices; None when one of them has none.
    least_mids_sum_e4 : int
        A lower sum says that a leg is missing which the market prices.
    """

    exhaustive_by: str = ""
    augmented: bool = False
    listed: int | None = None
    indices: tuple[int, ...] = ()
    mids_sum_e4: int | None = None
    least_mids_sum_e4: int = 9_500


def outcome_set(
    legs: Sequence[int | Literal], evidence: SetEvidence, *, premise: str = ""
) -> tuple[list[Count], list[str]]:
    """The constraints of an exclusive set, and why it is not called exhaustive if it is not.

    Examples
    --------
    >>> counts, refused = outcome_set([0, 1], SetEvidence(exhaustive_by="a tie pays both", listed=3))
    >>> [count.kind for count in counts], refused
    (['exclusive'], ['2 of 3 listed legs are here'])
    """
    refused = []
    if not evidence.exhaustive_by:
        refused.append("nothing says that the legs cover every outcome")
    if evidence.augmented:
        refused.append("legs may still be added")
    if evidence.listed is None:
        refused.append("it is not known how many legs the event lists")
    elif evidence.listed != len(legs):
        refused.append(f"{len(legs)} of {evidence.listed} listed legs are here")
    if evidence.indices and sorted(evidence.indices) != list(range(len(legs))):
        refused.append(f"the places of the legs have holes or repeat: {sorted(evidence.indices)}")
    if evidence.mids_sum_e4 is not None and evidence.mids_sum_e4 < evidence.least_mids_sum_e4:
        refused.append(f"the mid prices add up to {evidence.mids_sum_e4 / PX_ONE_E4:.4f} only")
    if refused:
        return [exclusive(legs, premise=premise)], refused
    return [partition(legs, premise="; ".join(filter(None, (premise, evidence.exhaustive_by))))], []


# --- states ------------------------------------------------------------------------------------------------------


def components(legs: Sequence[Leg], counts: Sequence[Count], endings: Sequence[Ending] = ()) -> list[Component]:
    """Split into parts that share no constraint, in the order of their first legs.

    An ending ties all legs that it names.
    """
    root = list(range(len(legs)))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for tied in (*([x.leg for x in c.literals] for c in counts), *([leg for leg, _, _ in b.pays] for b in endings)):
        for place in tied[1:]:
            low, high = sorted((find(tied[0]), find(place)))
            root[high] = low
    members: dict[int, list[int]] = {}
    for place in range(len(legs)):
        members.setdefault(find(place), []).append(place)
    held: dict[int, list[Count]] = {}
    for count in counts:
        if count.literals:
            held.setdefault(find(count.literals[0].leg), []).append(count)
    ended: dict[int, list[Ending]] = {}
    for ending in endings:
        if ending.pays:
            ended.setdefault(find(ending.pays[0][0]), []).append(ending)
    return [_renumbered(legs, places, held.get(first, ()), ended.get(first, ())) for first, places in members.items()]


def branch_endings(component: Component) -> tuple[Ending, ...]:
    """How the words of the legs say that each of their events or fixtures can end besides.

    Where the legs that name a branch are paid in it as they are in an ordinary state, it is that state: the others end by
    their own answers. Else nothing is known of the legs that do not name it: they may pay anything.

    Examples
    --------
    >>> from overround.logic import Paid
    >>> half = (Paid("cancelled", 5_000, 5_000),)
    >>> legs = tuple(
    ...     Leg(venue=Venue.KALSHI, market_id=MarketId(x), event_id="GAME", branches=half) for x in ("HOME", "AWAY")
    ... )
    >>> branch_endings(Component(legs=legs, counts=(partition(range(2)),)))
    (Ending(name='cancelled (GAME)', pays=((0, 5000, 5000), (1, 5000, 5000))),)
    """
    found: dict[tuple[Venue, str, str], list[tuple[int, int, int]]] = {}
    for place, leg in enumerate(component.legs):
        for branch, least, most, of in leg.branches:
            found.setdefault((leg.venue, of or leg.event_id or leg.market_id, branch), []).append((place, least, most))
    return tuple(
        Ending(name=f"{branch} ({event})", pays=tuple(pays))
        for (_, event, branch), pays in found.items()
        if not _ordinary_end(component, pays)
    )


def _ordinary_end(component: Component, pays: Sequence[tuple[int, int, int]]) -> bool:
    """Whether an ordinary state pays so; no where finding one takes too long."""
    if any(least != most or least not in (0, PX_ONE_E4) for _, least, most in pays):
        return False
    known = tuple(settled(leg, holds=least > 0) for leg, least, _ in pays)
    told = msgspec.structs.replace(component, counts=(*known, *component.counts))
    return next(normal_states(told, steps=64 * (len(component.legs) + 8)), None) is not None


def _renumbered(
    legs: Sequence[Leg], places: Sequence[int], counts: Iterable[Count], endings: Iterable[Ending]
) -> Component:
    new = {place: i for i, place in enumerate(places)}
    return Component(
        legs=tuple(legs[place] for place in places),
        counts=tuple(
            msgspec.structs.replace(c, literals=tuple(Literal(new[x.leg], x.holds) for x in c.literals)) for c in counts
        ),
        endings=tuple(
            msgspec.structs.replace(b, pays=tuple((new[leg], lo, hi) for leg, lo, hi in b.pays if leg in new))
            for b in endings
        ),
    )


def project(component: Component, places: Sequence[int]) -> Component:
    """The component as far as it speaks about some of its legs.

    What it says about the others is forgotten, so every state of the whole is one of the part, and a payoff that is
    certain in the part is certain in the whole.
    """
    kept = set(places)
    counts = []
    for count in component.counts:
        inside = tuple(x for x in count.literals if x.leg in kept)
        least, most = count.least - (len(count.literals) - len(inside)), min(count.most, len(inside))
        if inside and (least > 0 or most < len(inside)):
            counts.append(msgspec.structs.replace(count, literals=inside, least=max(least, 0), most=most))
    return _renumbered(component.legs, places, counts, component.endings)


def states(component: Component, *, limit: int = STATE_LIMIT) -> tuple[State, ...] | None:
    """Every state, each once; None when there are more than ``limit``, or finding them takes too long.

    Raises
    ------
    Contradiction
        If no ordinary state satisfies the constraints.

    Examples
    --------
    >>> legs = tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(name)) for name in ("OVER-5", "OVER-3"))
    >>> [state.yes_e4 for state in states(Component(legs=legs, counts=(implies(0, 1),)))]
    [(0, 0), (0, 10000), (10000, 10000)]
    """
    found: list[State] = []
    for wins in normal_states(component, steps=limit * (len(component.legs) + 8)):
        if wins is None or len(found) == limit:
            return None
        found.append(ordinary(wins))
    if not found:
        raise Contradiction(component.legs)
    return (*found, *(extraordinary(component, ending) for ending in component.endings))


def ordinary(wins: Sequence[bool]) -> State:
    """The state in which these legs hold."""
    return State("", tuple(PX_ONE_E4 * won for won in wins), tuple(PX_ONE_E4 * (not won) for won in wins))


def extraordinary(component: Component, ending: Ending) -> State:
    """The least that each outcome pays in an ending."""
    lo, hi = [0] * len(component.legs), [PX_ONE_E4] * len(component.legs)
    for leg, least, most in ending.pays:
        lo[leg], hi[leg] = least, most
    return State(ending.name, tuple(lo), tuple(PX_ONE_E4 - most for most in hi))


def normal_states(component: Component, *, steps: int) -> Iterator[tuple[bool, ...] | None]:
    """Ordinary states in order (false before true, first leg first); a final None when ``steps`` did not suffice.

    Each decision is followed through the counts it settles, so that a ladder of n legs costs n + 1 paths, not 2**n.
    """
    n = len(component.legs)
    counts = component.counts
    touching: list[list[tuple[int, bool]]] = [[] for _ in range(n)]
    for place, count in enumerate(counts):
        for literal in count.literals:
            touching[literal.leg].append((place, literal.holds))
    value: list[bool | None] = [None] * n
    held = [0] * len(counts)
    unknown = [len(count.literals) for count in counts]
    trail: list[int] = []

    def decide(leg: int, won: bool) -> bool:  # noqa: FBT001 - a literal's two halves
        """Set a leg and all that follows; False on a contradiction (the trail tells what to undo)."""
        queue = [(leg, won)]
        full_or_short: set[int] = set()
        while queue:
            leg, won = queue.pop()
            if value[leg] is not None:
                if value[leg] != won:
                    return False
                continue
            value[leg] = won
            trail.append(leg)
            for place, holds in touching[leg]:
                unknown[place] -= 1
                held[place] += holds == won
            for place, _ in touching[leg]:
                count = counts[place]
                if held[place] > count.most or held[place] + unknown[place] < count.least:
                    return False
                if unknown[place] and place not in full_or_short:
                    full, short = held[place] == count.most, held[place] + unknown[place] == count.least
                    if full or short:
                        full_or_short.add(place)
                        queue += [(x.leg, x.holds == short) for x in count.literals if value[x.leg] is None]
        return True

    def undo(mark: int) -> None:
        while len(trail) > mark:
            leg = trail.pop()
            for place, holds in touching[leg]:
                unknown[place] += 1
                held[place] -= holds == value[leg]
            value[leg] = None

    # A count that leaves no choice is decided first, as are those that cannot hold.
    for count in counts:
        if count.most < count.least or count.least > len(count.literals) or count.most < 0:
            return
        forced = count.literals if count.least == len(count.literals) or count.most == 0 else ()
        if not all(decide(x.leg, x.holds == (count.most > 0)) for x in forced):
            return
    # Each entry: a leg whose second value is still to be tried, and the trail before it.
    open_legs: list[tuple[int, int]] = []
    leg = 0
    while True:
        while leg < n and value[leg] is not None:
            leg += 1
        ok = leg == n
        if ok:
            yield tuple(bool(won) for won in value)
        else:
            steps -= 1
            if steps < 0:
                yield None
                return
            open_legs.append((leg, len(trail)))
            if decide(leg, False):  # noqa: FBT003
                continue
        while open_legs:
            leg, mark = open_legs.pop()
            undo(mark)
            if decide(leg, True):  # noqa: FBT003
                break
            undo(mark)
        else:
            return

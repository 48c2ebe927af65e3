"""Scoring relations against labelled ones: expanded to pairs and sets, per relation, venue and confidence."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from overround.logic import Confidence, Constraint, Relation

__all__ = ["Claims", "GoldRow", "Score", "Scores", "evaluate"]

Node = tuple[str, str, str]
"""Venue, market and outcome, the names as in the labels."""


class GoldMarket(msgspec.Struct, frozen=True):
    """One outcome that a label speaks of."""

    venue: str
    market_id: str
    outcome: str = "Yes"
    event_key: str = ""
    label: str = ""


class GoldRow(msgspec.Struct, frozen=True):
    """One labelled relation; ``none`` says that the ``tempting`` one does not hold."""

    gold_id: str
    relation: str
    confidence: str
    markets: list[GoldMarket]
    events: list[str] = msgspec.field(default_factory=list)
    antecedent: int | None = None
    consequent: int | None = None
    tempting: str = ""
    conditions: list[str] | None = None
    why: str = ""

    @property
    def venue(self) -> str:
        """The venue of its markets, ``cross`` for two."""
        venues = {market.venue for market in self.markets}
        return venues.pop() if len(venues) == 1 else "cross"


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How one group of labels was met.

    Attributes
    ----------
    rows, found : int
        Labels, and those that the claims contain with the label's confidence or a greater caution of ours counted apart.
    claimed_less : int
        Labels that are claimed, but with less confidence.
    wrong : int
        ``none`` labels whose tempting relation is claimed.
    precision, recall, f1 : float or None
        Of certain claims against certain and ``none`` labels; None without any.
    """

    rows: int
    found: int
    claimed_less: int
    wrong: int
    precision: float | None
    recall: float | None
    f1: float | None


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison.

    Attributes
    ----------
    certain, conditional : dict of str to Score
        By ``relation/venue``, ``relation`` and ``all``: labels of that confidence.
    none_rows, none_claimed, none_claimed_certain : int
        Hard negatives, and those whose tempting relation is claimed at all, and as certain.
    conditional_rows, promoted : int
        Conditional labels, and those claimed as certain: the costly mistake.
    errors : tuple of str
        Each miss, wrong claim and promotion, one line.
    """

    certain: dict[str, Score]
    conditional: dict[str, Score]
    none_rows: int
    none_claimed: int
    none_claimed_certain: int
    conditional_rows: int
    promoted: int
    errors: tuple[str, ...]


class Claims:
    """Constraints, closed under the laws that make one relation of several.

    An outcome and its opposite are one node and its negation, so that exclusion is an implication into a negation. Claims
    follow from each other along implications; partitions and ladders are taken apart.
    """

    def __init__(self, constraints: Iterable[Constraint], labels: dict[tuple[str, str], tuple[str, ...]]) -> None:
        self._labels = labels
        self._arrows: dict[tuple[str, str, int], set[tuple[str, str, int]]] = defaultdict(set)
        self._covers: list[frozenset[tuple[str, str, int]]] = []
        self._partitions: set[frozenset[tuple[str, str, int]]] = set()
        for constraint in constraints:
            self._take(constraint)

    def node(self, market: GoldMarket) -> tuple[str, str, int]:
        """The node of an outcome; an unknown label is the first outcome."""
        labels = self._labels.get((market.venue, market.market_id), ("Yes", "No"))
        return (
            market.venue,
            market.market_id,
            labels.index(market.outcome) if market.outcome in labels else int(market.outcome == "No"),
        )

    def _take(self, constraint: Constraint) -> None:
        nodes = [(leg.venue.value, leg.ref or str(leg.market_id), leg.index) for leg in constraint.legs]
        match constraint.relation:
            case Relation.IMPLIES:
                assert constraint.antecedent is not None
                assert constraint.consequent is not None
                self._arrow(nodes[constraint.antecedent], nodes[constraint.consequent])
            case Relation.MONOTONIC_LADDER:
                for strict, loose in itertools.pairwise(nodes):
                    self._arrow(strict, loose)
            case Relation.EQUIVALENT:
                for one in nodes[1:]:
                    self._arrow(nodes[0], one)
                    self._arrow(one, nodes[0])
            case Relation.COMPLEMENT:
                self._apart(nodes)
                self._cover(nodes)
            case Relation.MUTUALLY_EXCLUSIVE:
                self._apart(nodes)
            case Relation.EXHAUSTIVE:
                self._cover(nodes)
            case Relation.PARTITION:
                self._apart(nodes)
                self._cover(nodes)
                self._partitions.add(frozenset(nodes))
            case Relation.JOINT:
                for one in nodes[1:]:
                    self._arrow(nodes[0], one)

    def _arrow(self, one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
        self._arrows[one].add(other)
        self._arrows[_not(other)].add(_not(one))

    def _apart(self, nodes: Sequence[tuple[str, str, int]]) -> None:
        for place, one in enumerate(nodes):
            for other in nodes[place + 1 :]:
                self._arrow(one, _not(other))

    def _cover(self, nodes: Sequence[tuple[str, str, int]]) -> None:
        self._covers.append(frozenset(nodes))
        if len(nodes) == 2:
            self._arrow(_not(nodes[0]), nodes[1])

    def implies(self, one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
        """Whether an implication is claimed or follows along others."""
        seen, waiting = {one}, [one]
        while waiting:
            for following in self._arrows.get(waiting.pop(), ()):
                if following == other:
                    return True
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return one == other

    def covers(self, nodes: Sequence[tuple[str, str, int]]) -> bool:
        """Whether one of the outcomes must come, by a claimed cover each of whose outcomes implies one of these."""
        wanted = set(nodes)
        # A market and its other outcome leave nothing out.
        if any(self.implies(_not(one), other) for one in wanted for other in wanted if other != one):
            return True
        return any(
            all(one in wanted or any(self.implies(one, other) for other in wanted) for one in cover)
            for cover in self._covers
            if cover & wanted or len(cover) <= 200
        )

    def apart(self, nodes: Sequence[tuple[str, str, int]]) -> bool:
        """Whether no two of the outcomes can come together."""
        return all(self.implies(one, _not(other)) for place, one in enumerate(nodes) for other in nodes[place + 1 :])

    def holds(self, relation: str, row: GoldRow) -> bool:
        """Whether a relation over a label's outcomes is claimed."""
        nodes = [self.node(market) for market in row.markets]
        match relation:
            case "implies":
                first = row.antecedent if row.antecedent is not None else 0
                second = row.consequent if row.consequent is not None else 1
                return self.implies(nodes[first], nodes[second])
            case "monotonic_ladder":
                return all(self.implies(strict, loose) for strict, loose in itertools.pairwise(nodes))
            case "equivalent":
                return all(self.implies(nodes[0], one) and self.implies(one, nodes[0]) for one in nodes[1:])
            case "complement":
                return self.apart(nodes) and self.covers(nodes)
            case "mutually_exclusive":
                return self.apart(nodes)
            case "exhaustive":
                return self.covers(nodes)
            case "partition":
                return frozenset(nodes) in self._partitions or (self.apart(nodes) and self.covers(nodes))
            case _:
                return False


def _not(node: tuple[str, str, int]) -> tuple[str, str, int]:
    return node[0], node[1], 1 - node[2]


def evaluate(
    constraints: Sequence[Constraint], gold: Sequence[GoldRow], labels: dict[tuple[str, str], tuple[str, ...]]
) -> Scores:
    """Compare claims with labels.

    Parameters
    ----------
    constraints : sequence of Constraint
    gold : sequence of GoldRow
    labels : dict of (venue, market) to tuple of str
        Outcome labels, so that a side named in a label finds its index.
    """
    certain = Claims((one for one in constraints if one.confidence is Confidence.CERTAIN), labels)
    some = Claims((one for one in constraints if one.confidence is not Confidence.DOUBTFUL), labels)
    tally: dict[str, dict[str, Counter[str]]] = {"certain": defaultdict(Counter), "conditional": defaultdict(Counter)}
    errors: list[str] = []
    none_rows = none_claimed = none_certain = conditional_rows = promoted = 0
    for row in gold:
        if row.confidence not in tally:
            continue
        if row.relation == "none":
            none_rows += 1
            sure, any_ = certain.holds(row.tempting, row), some.holds(row.tempting, row)
            none_claimed += any_
            none_certain += sure
            for key in (f"{row.tempting}/{row.venue}", row.tempting, "all"):
                tally["certain"][key]["wrong"] += sure
                tally["conditional"][key]["wrong"] += any_ and not sure
            if any_:
                errors.append(
                    f"{row.gold_id} claimed {'certain' if sure else 'conditional'} {row.tempting}, but: {row.why}"
                )
            continue
        sure = certain.holds(row.relation, row)
        any_ = sure or some.holds(row.relation, row)
        if row.confidence == "conditional":
            conditional_rows += 1
            promoted += sure
            if sure:
                errors.append(
                    f"{row.gold_id} promoted {row.relation}, but only if: {'; '.join(row.conditions or [row.why])}"
                )
        elif not sure:
            errors.append(f"{row.gold_id} missed {row.relation}{' (claimed conditional)' if any_ else ''}: {row.why}")
        for key in (f"{row.relation}/{row.venue}", row.relation, "all"):
            count = tally[row.confidence][key]
            count["rows"] += 1
            count["found"] += sure if row.confidence == "certain" else any_
            count["less"] += any_ and not sure and row.confidence == "certain"
            count["promoted"] += sure and row.confidence == "conditional"
    for key, count in tally["conditional"].items():
        tally["certain"][key]["wrong"] += count["promoted"]
    return Scores(
        certain={key: _score(count) for key, count in sorted(tally["certain"].items())},
        conditional={key: _score(count) for key, count in sorted(tally["conditional"].items())},
        none_rows=none_rows, none_claimed=none_claimed, none_claimed_certain=none_certain,
        conditional_rows=conditional_rows, promoted=promoted, errors=tuple(errors),
    )  # fmt: skip


def _score(count: Counter[str]) -> Score:
    rows, found, wrong = count["rows"], count["found"], count["wrong"]
    precision = found / (found + wrong) if found + wrong else None
    recall = found / rows if rows else None
    both = precision is not None and recall is not None and precision + recall > 0
    return Score(
        rows=rows, found=found, claimed_less=count["less"], wrong=wrong, precision=precision, recall=recall,
        f1=2 * precision * recall / (precision + recall) if both and precision is not None and recall is not None else None,
    )  # fmt: skip

"""Statements about the payoffs of several markets that hold however things end."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from overround.market import MarketId, Venue

__all__ = ["Confidence", "Constraint", "Leg", "Paid", "Premise", "Relation"]


class Relation(StrEnum):
    """What holds between the payoffs y of the legs, each in [0, 1]."""

    IMPLIES = "implies"
    """y of the antecedent <= y of the consequent."""
    EQUIVALENT = "equivalent"
    """All y are equal."""
    COMPLEMENT = "complement"
    """The two y sum to 1."""
    MUTUALLY_EXCLUSIVE = "mutually_exclusive"
    """The y sum to at most 1."""
    EXHAUSTIVE = "exhaustive"
    """The y sum to at least 1."""
    PARTITION = "partition"
    """The y sum to 1."""
    MONOTONIC_LADDER = "monotonic_ladder"
    """Each y is at most the next one's: strict to loose."""
    JOINT = "joint"
    """The first leg is paid when all others are: max(0, sum of the others - (n - 1)) <= y <= each other's."""


class Confidence(StrEnum):
    """How far a constraint may be relied on."""

    CERTAIN = "certain"
    """It holds in every branch that the words name."""
    CONDITIONAL = "conditional"
    """It holds unless one of its conditions fails."""
    DOUBTFUL = "doubtful"
    """Readers may differ."""


class Paid(NamedTuple):
    """What the words of a market pay its first outcome (``px_e4``, least and most) in a branch outside its own answer.

    ``of`` is what ends so, such as a fixture that several events are about; empty for the market's event.
    """

    branch: str
    least_e4: int
    most_e4: int
    of: str = ""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome of one market.

    Attributes
    ----------
    venue : Venue
    market_id : MarketId
    outcome : str
        Its label, as the venue lists it.
    index : int
        0 for the first outcome, 1 for the second.
    event_id : str
    ref : str
        The venue's other key (Gamma id), else empty.
    label : str
        The market's caption, for people.
    branches : tuple of Paid
        As far as the words name any; see ``Branch``.
    """

    venue: Venue
    market_id: MarketId
    outcome: str = "Yes"
    index: int = 0
    event_id: str = ""
    ref: str = ""
    label: str = ""
    branches: tuple[Paid, ...] = ()


class Premise(msgspec.Struct, frozen=True, kw_only=True):
    """What a constraint rests on: a piece of a market's words, a field, or a fact of the world.

    Attributes
    ----------
    market_id : MarketId
        Empty for a fact.
    field : str
        ``rules``, ``title``, ``label``, ``strike``, ``exclusivity`` or ``fact``.
    start, end : int
        Characters of the field; both 0 when it is meant as a whole.
    text : str
    text_hash : str
        Of the market's words, so that a change shows.
    """

    market_id: MarketId = MarketId("")
    field: str = "fact"
    start: int = 0
    end: int = 0
    text: str = ""
    text_hash: str = ""


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """A relation between outcomes, with what it rests on and when it fails.

    Attributes
    ----------
    relation : Relation
    legs : tuple of Leg
        Ladders strict to loose; of ``joint`` the combined market first.
    antecedent, consequent : int or None
        Indices into ``legs``; of ``implies`` only.
    confidence : Confidence
    score : float
        0 to 1: the least confidence of the readings it rests on.
    conditions : tuple of str
        What has to hold besides; not empty unless it is certain.
    premises : tuple of Premise
    rule : str
        Name of the law that was applied, such as ``threshold_ladder``.
    """

    relation: Relation
    legs: tuple[Leg, ...]
    antecedent: int | None = None
    consequent: int | None = None
    confidence: Confidence = Confidence.DOUBTFUL
    score: float = 0.0
    conditions: tuple[str, ...] = ()
    premises: tuple[Premise, ...] = ()
    rule: str = ""

    @property
    def key(self) -> str:
        """The same for the same relation between the same outcomes."""
        names = [f"{leg.venue}:{leg.market_id}:{leg.index}" for leg in self.legs]
        if self.relation is Relation.IMPLIES and (self.antecedent, self.consequent) == (1, 0):
            names.reverse()
        if self.relation not in (Relation.IMPLIES, Relation.MONOTONIC_LADDER, Relation.JOINT):
            names.sort()
        return "|".join([self.relation, *names])

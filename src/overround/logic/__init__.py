"""What markets say, as values: propositions, and the constraints between their payoffs."""

from overround.logic.constraint import Confidence, Constraint, Leg, Premise, Relation
from overround.logic.interval import Interval
from overround.logic.proposition import (
    Branch,
    Family,
    Field,
    Payoff,
    Proposition,
    Span,
    Window,
    WindowKind,
)

__all__ = [
    "Branch",
    "Confidence",
    "Constraint",
    "Family",
    "Field",
    "Interval",
    "Leg",
    "Payoff",
    "Premise",
    "Proposition",
    "Relation",
    "Span",
    "Window",
    "WindowKind",
]

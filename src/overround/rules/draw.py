"""Putting constraints together: legs, premises, and how certain the whole is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overround.logic import Confidence, Constraint, Leg, Paid, Payoff, Premise, Relation, Span
from overround.market import PX_ONE_E4, MarketId
from overround.rules.grammar import Reading
from overround.rules.template import sentences_apart

__all__ = ["DOUBT", "differences", "draw", "leg", "unsaid"]

DOUBT = 0.5
"""A constraint over a reading below this is doubtful, whatever else speaks for it."""

_KEPT = 8
_PAYS = {
    Payoff.NOTHING: (0, 0),
    Payoff.ALL: (PX_ONE_E4, PX_ONE_E4),
    Payoff.HALF: (PX_ONE_E4 // 2, PX_ONE_E4 // 2),
    Payoff.FAIR: (0, PX_ONE_E4),
}
"""By payoff, the least and the most. Where another market of the set is paid, that is an ordinary end."""


def leg(reading: Reading, index: int = 0) -> Leg:
    """The first outcome of a market, or the second."""
    words = reading.wording
    return Leg(
        venue=words.venue,
        market_id=words.market_id,
        outcome=words.outcomes[index] if index < len(words.outcomes) else ("Yes", "No")[index],
        index=index,
        event_id=words.event_id,
        ref=words.ref,
        label=words.label or words.title[:80],
        branches=tuple(
            Paid(str(b), *_PAYS[paid], reading.prop.game) for b, paid in reading.prop.payoffs.items() if paid in _PAYS
        ),
    )


def draw(
    relation: Relation,
    legs: Sequence[tuple[Reading, int]],
    *,
    rule: str,
    conditions: Iterable[str] = (),
    facts: Iterable[str] = (),
    doubtful: bool = False,
) -> Constraint:
    """A constraint over outcomes; certain where nothing is left to hope for.

    Parameters
    ----------
    relation : Relation
    legs : sequence of (Reading, int)
        Markets and the index of the outcome meant; of ``implies`` the antecedent first, of a ladder strict to loose.
    rule : str
        The law applied.
    conditions, facts : iterable of str
        What must hold besides; what of the world it rests on.
    doubtful : bool
    """
    needed = tuple(dict.fromkeys(conditions))
    score = min((reading.prop.confidence for reading, _ in legs), default=0.0)
    if doubtful or score < DOUBT:
        confidence = Confidence.DOUBTFUL
        needed = (
            needed
            or tuple(dict.fromkeys(why for reading, _ in legs for why in reading.prop.reasons))
            or ("the reading is unsure",)
        )
    else:
        confidence = Confidence.CONDITIONAL if needed else Confidence.CERTAIN
    implies = relation is Relation.IMPLIES
    return Constraint(
        relation=relation,
        legs=tuple(leg(reading, index) for reading, index in legs),
        antecedent=0 if implies else None,
        consequent=1 if implies else None,
        confidence=confidence,
        score=score,
        conditions=needed,
        premises=(*_premises([reading for reading, _ in legs]), *(Premise(text=fact) for fact in facts)),
        rule=rule,
    )


def _premises(readings: Sequence[Reading]) -> list[Premise]:
    """The words that name the values or the time of the first and last few legs; the others repeat them."""
    shown = readings if len(readings) <= _KEPT else [*readings[: _KEPT // 2], *readings[-_KEPT // 2 :]]
    found = []
    for reading in shown:
        words, fields = reading.wording, reading.prop.fields
        spans = [span for name in ("values", "window") for span in (fields[name].spans if name in fields else ())]
        for span in spans[:1] or [Span("title")]:
            name = span.field
            text = {"label": words.label, "title": words.title, "rules": words.rules}.get(
                name, f"{words.kind} {words.floor} {words.cap}".strip()
            )
            start, end = span.start, span.end
            found.append(
                Premise(
                    market_id=MarketId(words.market_id), field=name, start=start, end=end,
                    text=(text[start:end] or text)[:160], text_hash=reading.prop.text_hash,
                )
            )  # fmt: skip
    return found


def unsaid(readings: Sequence[Reading], ruled_series: frozenset[str]) -> list[str]:
    """What is missing when neither rules nor titles speak for any of the markets."""
    if any(reading.wording.rules or reading.wording.title for reading in readings):
        return []
    if readings[0].wording.series_id in ruled_series:
        return []
    return ["the records have no rules text and no title: this rests on strike fields and captions"]


def differences(first: Reading, second: Reading) -> str:
    """What two rules texts say differently, for a condition."""
    apart = sentences_apart(first.wording.rules, second.wording.rules)
    return "the rules differ: " + " | ".join(part[:110] for part in apart) if apart else "the rules differ"

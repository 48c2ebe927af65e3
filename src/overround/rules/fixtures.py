"""Relations between the bets on one fixture: margins, totals, results, both sides scoring, ways to win a fight."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from overround.logic import Branch, Constraint, Family, Payoff, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import grouped

__all__ = ["Bet", "bet_of", "fixture_constraints"]

_SCOPE = re.compile(
    r"\b(?:1st|first|2nd|second|3rd|third|4th|fourth)\s(?:half|quarter|period|set|inning|5 innings|five innings)\b|\b[12]h\b|"
    r"\b(?:map|set|game|round|quarter|period|inning)\s\d+\b|\bq[1-4]\b|\bteam total\b|\bcorners?\b|\bcards?\b|\bovertime\b|\bregulation\b",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\b(runs?|points?|goals?|sets?|maps?|games?|rounds?)\b", re.IGNORECASE)
_WINS = re.compile(r"^(?:will\s)?(?:the\s)?(.{2,60}?)\s(?:wins?|to win)\b", re.IGNORECASE)
_SIDE = re.compile(r"(?:spread|handicap)(?: [\w.-]+)?:\s*(.{2,60}?)\s*\([+-]", re.IGNORECASE)
_BEST_OF = re.compile(r"\bBO(\d)\b|\bbest[ -]of[ -](\d)\b", re.IGNORECASE)
_DISTANCE = re.compile(r"\bgo(?:es)? the distance\b", re.IGNORECASE)
_FINISH = re.compile(r"\b(?:KO|TKO|submission|finish)\b", re.IGNORECASE)
_SCORER = re.compile(r"\b(first|anytime) ((?:\w+ )?(?:goal)?scorer)\b", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")


class Bet(msgspec.Struct, frozen=True):
    """One outcome of a bet, as an assertion on the final score of a scope.

    ``margin`` and ``total`` hold for more than ``line``; ``result`` for a side's win or a draw; ``both`` for both sides scoring.
    """

    reading: Reading
    index: int
    sort: str
    scope: str
    side: str = ""
    line: Decimal = Decimal(0)
    unit: str = ""


def fixture_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What holds between the bets on each fixture, over all events that a venue made of it."""
    playing = [one for one in readings if one.prop.game and not one.wording.legs]
    for members in grouped(playing, lambda one: (one.wording.venue, one.prop.game)).values():
        if len(members) < 2:
            continue
        bets = [bet for one in members if (bet := bet_of(one)) is not None]
        for scoped in grouped(bets, lambda bet: bet.scope).values():
            yield from _scores(scoped)
        yield from _doubles(members)
        yield from _scorers(members)
    fights = grouped(
        [
            one
            for one in readings
            if one.wording.kind.startswith(("ufc", "mma")) or _DISTANCE.search(one.wording.title) or _is_rounds(one)
        ],
        lambda one: (one.wording.venue, one.wording.event_id),
    )
    for members in fights.values():
        yield from _fight(members)


def bet_of(one: Reading) -> Bet | None:
    """What a market asserts of a fixture's score; None for what is no result, margin, total or both scoring."""
    words = one.wording
    # The event's title is that of the fixture; what narrows a bet stands in its own words or in its sort.
    own = f"{words.title} {words.label} {words.kind.replace('_', ' ')} {words.event_title.partition(':')[2] if words.venue == 'kalshi' else ''}"
    found = _SCOPE.search(re.sub(r"\bo/u\b.*|\([^)]*\)", "", own, flags=re.IGNORECASE))
    scope = found[0].lower() if found else ""
    unit = next(
        (
            match[1].lower().rstrip("s")
            for text in (words.title, words.label, words.rules[:400])
            if (match := _UNIT.search(text))
        ),
        "",
    )
    values = one.prop.values
    if "both_teams_to_score" in words.kind or "both teams to score" in words.title.lower():
        return Bet(one, 0, "both", scope, unit=unit)
    if one.prop.family is Family.SPREAD and values is not None and values.lo is not None and values.lo > 0:
        side = _margin_side(one)
        sort = "handicap" if "map" in words.kind or "handicap" in words.title.lower() else "margin"
        return Bet(one, 0, sort, scope, side=side, line=values.lo, unit=unit) if side else None
    if one.prop.family is Family.TOTAL and values is not None and values.lo is not None:
        return Bet(one, 0, "total", scope, line=values.lo, unit=unit)
    if one.prop.family is Family.MONEYLINE and values is None:
        if words.label.lower().startswith(("draw", "tie")):
            return Bet(one, 0, "draw", scope)
        yes_no = words.outcomes[0].lower() == "yes"
        side = (words.label if yes_no else words.outcomes[0]).lower().strip()
        return Bet(one, 0, "result", scope, side=_plain(side)) if side else None
    return None


def _margin_side(one: Reading) -> str:
    words = one.wording
    if words.venue == "polymarket":
        return _plain(words.outcomes[0])
    found = _WINS.search(words.label) or _WINS.search(words.title)
    return _plain(found[1]) if found else ""


def _plain(side: str) -> str:
    return _BLANKS.sub(" ", side.lower()).strip(" .")


def _cancelled(one: Reading, other: Reading) -> list[str]:
    """What a cancelled fixture asks: that both bets then pay alike, in the way the law needs."""
    a, b = (reading.prop.payoffs.get(Branch.CANCELLED) for reading in (one, other))
    if Payoff.FAIR in (a, b):
        return ["the fixture is not cancelled: each market then settles at a price of its own"]
    results = [reading.prop.family is Family.MONEYLINE for reading in (one, other)]
    if a is None and b is None and results[0] != results[1] and one.wording.venue == "kalshi":
        return ["the fixture is played: its contracts settle otherwise by terms of their own"]
    if a != b:
        shown = [payoff.value if payoff else "unsaid" for payoff in (a, b)]
        return [f"the fixture is not cancelled: the payoffs then are {shown[0]} and {shown[1]}"]
    return []


def _scores(bets: Sequence[Bet]) -> Iterator[Constraint]:
    margins = [bet for bet in bets if bet.sort == "margin"]
    totals = sorted((bet for bet in bets if bet.sort == "total"), key=lambda bet: bet.line)
    results = [bet for bet in bets if bet.sort == "result"]
    for place, one in enumerate(margins):
        for other in margins[place + 1 :]:
            if one.side != other.side:
                fair = _fair(one, other)
                yield draw(
                    Relation.MUTUALLY_EXCLUSIVE,
                    [(one.reading, 0), (other.reading, 0)],
                    rule="both_cannot_win",
                    conditions=fair,
                )
        below = [total for total in totals if total.line <= one.line and total.unit == one.unit]
        if below:
            yield draw(
                Relation.IMPLIES, [(one.reading, 0), (below[-1].reading, 0)],
                rule="margin_needs_total", conditions=_cancelled(one.reading, below[-1].reading),
            )  # fmt: skip
    for one in [bet for bet in bets if bet.sort in {"margin", "handicap"}]:
        for result in results:
            conditions = _cancelled(one.reading, result.reading) or (
                ["the match is played to its end"] if one.sort == "handicap" else []
            )
            if result.side == one.side:
                yield draw(
                    Relation.IMPLIES,
                    [(one.reading, 0), (result.reading, 0)],
                    rule="margin_is_win",
                    conditions=conditions,
                )
            elif result.reading.wording.outcomes[0].lower() == "yes":
                yield draw(
                    Relation.MUTUALLY_EXCLUSIVE,
                    [(one.reading, 0), (result.reading, 0)],
                    rule="both_cannot_win",
                    conditions=_either(one, result),
                )
        for drawn in (bet for bet in bets if bet.sort == "draw"):
            yield draw(
                Relation.MUTUALLY_EXCLUSIVE,
                [(one.reading, 0), (drawn.reading, 0)],
                rule="margin_is_no_draw",
                conditions=_either(one, drawn),
            )
        yield from _sweep(one, totals)
    for both in (bet for bet in bets if bet.sort == "both"):
        needed = [total for total in totals if total.line < 2]
        if needed:
            yield draw(
                Relation.IMPLIES, [(both.reading, 0), (needed[-1].reading, 0)],
                rule="both_score_needs_two", conditions=_cancelled(both.reading, needed[-1].reading),
            )  # fmt: skip


def _fair(one: Bet, other: Bet) -> list[str]:
    fair = Payoff.FAIR in (
        one.reading.prop.payoffs.get(Branch.CANCELLED),
        other.reading.prop.payoffs.get(Branch.CANCELLED),
    )
    return ["the fixture is not cancelled: each market then settles at a price of its own"] if fair else []


def _either(one: Bet, other: Bet) -> list[str]:
    """Whether a cancelled fixture can pay the two more than 1 together."""
    worth = {Payoff.NOTHING: 0.0, Payoff.HALF: 0.5, Payoff.ALL: 1.0, None: 0.0}
    paid = [bet.reading.prop.payoffs.get(Branch.CANCELLED) for bet in (one, other)]
    if None in paid and one.reading.wording.venue == "kalshi":
        return ["the fixture is played: its contracts settle otherwise by terms of their own"]
    if all(payoff in worth for payoff in paid) and sum(worth[payoff] for payoff in paid) <= 1:
        return []
    return ["the fixture is not cancelled"]


def _sweep(one: Bet, totals: Sequence[Bet]) -> Iterator[Constraint]:
    """Winning a best of n by all but one of its parts ends it before the last."""
    found = _BEST_OF.search(f"{one.reading.wording.event_title} {one.reading.wording.rules[:600]}")
    if one.sort != "handicap" or found is None:
        return
    most = int(found[1] or found[2])
    wins = (most + 1) // 2
    least_lost = wins - int(one.line + Decimal("0.5"))
    for total in totals:
        if total.line > wins + least_lost and total.line < most:
            yield draw(
                Relation.IMPLIES,
                [(one.reading, 0), (total.reading, 1)],
                rule="sweep_is_short",
                conditions=["the match is played to its end"],
            )


def _doubles(members: Sequence[Reading]) -> Iterator[Constraint]:
    """Toss and match won by one side: that side won each."""
    parts = [
        one
        for one in members
        if len(one.wording.outcomes) == 2 and (one.prop.family is Family.MONEYLINE or "toss_winner" in one.wording.kind)
    ]
    for double in (one for one in members if "toss_match_double" in one.wording.kind):
        # What is half paid when the match is off could exceed what is not.
        if {Payoff.HALF, Payoff.FAIR} & set(double.prop.payoffs.values()):
            continue
        for part in parts:
            for index, side in enumerate(part.wording.outcomes):
                if re.search(rf"\b{re.escape(side)} winner$", double.wording.title, re.IGNORECASE):
                    yield draw(Relation.IMPLIES, [(double, 0), (part, index)], rule="double_is_both")


def _scorers(members: Sequence[Reading]) -> Iterator[Constraint]:
    """Who scores first scores at some time."""
    asked = [
        (one, found)
        for one in members
        if one.wording.label and (found := _SCORER.search(one.wording.title)) is not None
    ]
    for first, named in asked:
        for anytime, other in asked:
            if (
                (named[1].lower(), other[1].lower()) == ("first", "anytime")
                and named[2].lower() == other[2].lower()
                and first.wording.label == anytime.wording.label
            ):
                yield draw(
                    Relation.IMPLIES,
                    [(first, 0), (anytime, 0)],
                    rule="first_is_anytime",
                    conditions=_cancelled(first, anytime),
                )


def _is_rounds(one: Reading) -> bool:
    return (
        one.prop.family is Family.TOTAL
        and "round" in one.wording.title.lower()
        and "fight" in one.wording.rules[:400].lower()
    )


def _fight(members: Sequence[Reading]) -> Iterator[Constraint]:
    whole = [one for one in members if _DISTANCE.search(one.wording.title)]
    finishes = [
        one for one in members if _FINISH.search(one.wording.title) and not _is_rounds(one) and one not in whole
    ]
    for distance in whole:
        for rounds in (one for one in members if _is_rounds(one)):
            yield draw(
                Relation.IMPLIES,
                [(distance, 0), (rounds, 0)],
                rule="distance_is_long",
                conditions=_cancelled(distance, rounds),
            )
        for finish in finishes:
            yield draw(
                Relation.MUTUALLY_EXCLUSIVE,
                [(distance, 0), (finish, 0)],
                rule="finish_is_short",
                conditions=_either(Bet(distance, 0, "", ""), Bet(finish, 0, "", "")),
            )
    sides = {id(one): side for one in finishes if (side := _fighter(one))}
    winners = [one for one in members if one.prop.family is Family.MONEYLINE and len(one.wording.outcomes) == 2]
    for place, named in enumerate(finishes):
        ways = _ways(named)
        for other in finishes[place + 1 :]:
            pair = [(named, 0), (other, 0)]
            if id(named) in sides and id(other) in sides and sides[id(named)] != sides[id(other)]:
                yield draw(
                    Relation.MUTUALLY_EXCLUSIVE,
                    pair,
                    rule="one_winner",
                    conditions=_either(Bet(named, 0, "", ""), Bet(other, 0, "", "")),
                )
            elif not ways & _ways(other):
                yield draw(
                    Relation.MUTUALLY_EXCLUSIVE,
                    pair,
                    rule="one_way_to_win",
                    conditions=_either(Bet(named, 0, "", ""), Bet(other, 0, "", "")),
                )
        if id(named) not in sides:
            continue
        for other in finishes:
            if other is not named and id(other) not in sides and _ways(other) == ways:
                yield draw(
                    Relation.IMPLIES, [(named, 0), (other, 0)], rule="named_finish", conditions=_cancelled(named, other)
                )
        for winner in winners:
            index = next(
                (
                    n
                    for n, who in enumerate(winner.wording.outcomes)
                    if who.lower().split()[-1:] == sides[id(named)].split()[-1:]
                ),
                None,
            )
            if index is not None:
                yield draw(
                    Relation.IMPLIES,
                    [(named, 0), (winner, index)],
                    rule="finish_is_win",
                    conditions=_cancelled(named, winner),
                )


def _fighter(one: Reading) -> str:
    found = _WINS.search(one.wording.title)
    return "" if found is None or "fight" in found[1].lower() else found[1].lower()


def _ways(one: Reading) -> set[str]:
    """How a fight ends early; both knock-outs are one way."""
    return {way.lower().replace("tko", "ko") for way in _FINISH.findall(one.wording.title)}

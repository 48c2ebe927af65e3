"""A central bank's meetings: a path names each decision, a decision is one of the year's cuts or hikes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from overround.logic import Constraint, Family, Interval, Relation
from overround.rules.dates import find_dates
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import MOST, grouped
from overround.rules.windows import day_of

__all__ = ["Decided", "decisions", "policy_constraints"]

_BANK = re.compile(r"\bfed(?:eral reserve)?\b|\bbank of [a-z]+\b|\becb\b", re.IGNORECASE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = r"(jan(?=uary\b|\b)|feb(?=ruary\b|\b)|mar(?=ch\b|\b)|apr(?=il\b|\b)|may(?=\b)|jun(?=e?\b)|jul(?=y?\b)|aug(?=ust\b|\b)|sep(?=t?\b|tember\b)|oct(?=ober\b|\b)|nov(?=ember\b|\b)|dec(?=ember\b|\b))"
_MONTH = re.compile(rf"\b{_NAMED}", re.IGNORECASE)
_MEETING = re.compile(rf"\b{_NAMED}\w*\.?,? (20\d\d) meeting\b", re.IGNORECASE)
_STEPS = re.compile(r"(?:pause|hold|cut|hike)(?:\s?-\s?(?:pause|hold|cut|hike))+", re.IGNORECASE)
_CUTS = re.compile(r"\b(no|\d{1,2}) (?:fed )?(?:interest )?rate cuts? (?:happen )?in (20\d\d)\b", re.IGNORECASE)
_YEAR_MOVE = re.compile(r"\brate (hike|cut) in (20\d\d)\b", re.IGNORECASE)
_STEP_BPS = 25


class Decided(msgspec.Struct, frozen=True):
    """What one market says of one meeting of one bank: the change in basis points lies in ``change``; ``whole`` if that is all it says."""

    reading: Reading
    bank: str
    meeting: tuple[int, int]
    change: Interval
    whole: bool = True

    @property
    def on_grid(self) -> Interval:
        """The change among multiples of 25 basis points."""
        return self.change.on_grid(Decimal(_STEP_BPS))


class _Year(msgspec.Struct, frozen=True):
    """What one market says of a year: a number of cuts of 25 basis points, or that there is a cut or a hike."""

    reading: Reading
    year: int
    sort: str
    cuts: int = 0


_SIGNS = {"cut": Interval(hi=Decimal(0)), "hike": Interval(lo=Decimal(0))}
_STILL = Interval(lo=Decimal(0), hi=Decimal(0), lo_closed=True, hi_closed=True)


def policy_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What holds between the decisions of each bank, over all events of one venue."""
    said = [(one, bank) for one in readings if not one.wording.legs and one.wording.rules and (bank := _bank(one))]
    for group in grouped(said, lambda item: (item[0].wording.venue, item[1])).values():
        decided = [one for reading, _ in group for one in decisions(reading)]
        years = [year for reading, _ in group if (year := _year(reading)) is not None]
        if len(group) > MOST:
            continue
        for path in (one for one in decided if not one.whole):
            for single in decided:
                if single.whole and single.meeting == path.meeting:
                    yield from _meet(path, single)
        for year in years:
            yield from _of_year(decided, year)


def _bank(one: Reading) -> str:
    found = _BANK.search(one.wording.title)
    name = found[0].lower() if found else ""
    return "fed" if name.startswith("fed") else name


def decisions(one: Reading) -> Iterator[Decided]:
    """What a market says of each meeting that it names."""
    words, bank = one.wording, _bank(one)
    meeting = _MEETING.search(words.title)
    if one.prop.family is Family.RATE_DECISION and one.prop.values is not None and meeting is not None:
        yield Decided(one, bank, (int(meeting[2]), _MONTHS.index(meeting[1].lower()) + 1), one.prop.values)
        return
    steps = _STEPS.search(words.label) or _STEPS.search(words.title)
    if steps is None:
        return
    moves = [step.strip().lower() for step in steps[0].split("-")]
    # The rules name each meeting with its year or one year for all; captions give the months in order.
    named = list(
        dict.fromkeys(_MONTHS.index(month.lower()) + 1 for month in _MONTH.findall(words.title.replace(steps[0], " ")))
    )
    years = {when.last.year for when in find_dates(words.rules[:1_200]) if when.year_known and when.last.month in named}
    if len(named) != len(moves) or len(years) != 1:
        return
    for move, month in zip(moves, named, strict=True):
        yield Decided(one, bank, (int(min(years)), month), _SIGNS.get(move, _STILL), whole=False)


def _year(one: Reading) -> _Year | None:
    words = one.wording
    title = words.title
    if (cuts := _CUTS.search(title)) is not None:
        return _Year(one, int(cuts[2]), "cuts", 0 if cuts[1].lower() == "no" else int(cuts[1]))
    if (moved := _YEAR_MOVE.search(title)) is not None and "emergency" not in title.lower():
        return _Year(one, int(moved[2]), moved[1].lower())
    return None


def _meet(path: Decided, single: Decided) -> Iterator[Constraint]:
    pair = [(path.reading, 0), (single.reading, 0)]
    if path.change.within(single.change):
        yield draw(Relation.IMPLIES, pair, rule="path_of_decisions")
    elif path.change.apart(single.change):
        yield draw(Relation.MUTUALLY_EXCLUSIVE, pair, rule="path_of_decisions")


def _of_year(decisions: Sequence[Decided], year: _Year) -> Iterator[Constraint]:
    for market in grouped(
        [said for said in decisions if said.meeting[0] == year.year], lambda said: said.reading.wording.market_id
    ).values():
        one = market[0].reading
        cuts = sum(_least_cuts(said.change) for said in market)
        cutting = sum(_least_cuts(said.change) > 0 for said in market)
        hikes = any(
            said.change.lo is not None and (said.change.lo > 0 or (said.change.lo == 0 and not said.change.lo_closed))
            for said in market
        )
        if year.sort == "cuts" and cuts > year.cuts:
            steps = ["moves are multiples of 25 basis points"] if cutting <= year.cuts else []
            yield draw(
                Relation.MUTUALLY_EXCLUSIVE,
                [(one, 0), (year.reading, 0)],
                rule="cuts_of_the_year",
                conditions=steps,
            )
        elif (year.sort == "cut" and cuts) or (year.sort == "hike" and hikes):
            yield draw(
                Relation.IMPLIES,
                [(one, 0), (year.reading, 0)],
                rule="move_of_the_year",
                conditions=_counted_late(market, year.reading),
            )


def _counted_late(market: Sequence[Decided], year: Reading) -> list[str]:
    """That a year's question which counts from its own creation was there before the meeting."""
    made = day_of(year.wording.made_ms)
    if not year.prop.window.from_creation or (
        made is not None and (made.year, made.month) < max(one.meeting for one in market)
    ):
        return []
    return ["the year's market was made before the meeting, from which it counts"]


def _least_cuts(change: Interval) -> int:
    """Cuts of 25 basis points that a change has at least; a part of one counts as one."""
    if change.hi is None or change.hi > 0 or (change.hi == 0 and change.hi_closed):
        return 0
    return max(1, int(-change.hi) // _STEP_BPS)

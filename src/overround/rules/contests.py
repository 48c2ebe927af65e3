"""Elections asked in several ways: by how much, who comes where, who goes to the runoff, who has how many seats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from overround.logic import Branch, Constraint, Payoff, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import MOST, grouped

__all__ = ["contest_constraints"]

_ASKED = re.compile(
    r"^will (?:the )?(?P<who>.{2,60}?) (?:(?P<place>finish (?:in )?(?:2nd|3rd|second|third|fourth|fifth)(?: place)?)|"
    r"(?P<runoff>(?:qualify for|advance to|make|reach)\b.*\brunoff)|(?P<win>win))\b(?P<rest>.*)$",
    re.IGNORECASE,
)
_VOTE = re.compile(r"\b(?:election|primary|primaries|vote|votes|presidential|presidency|mayoral|senate|governor|runoff)\b", re.IGNORECASE)  # fmt: skip
_MARGIN = re.compile(r"\bby (?:at least |less than |over |more than |between )?<?\d[\d.]*\s?(?:%|-|to\b|and\b|\+|points?\b)", re.IGNORECASE)  # fmt: skip
_FIRST = re.compile(r"\b(?:the )?(?:first|1st) round\b(?: of)?", re.IGNORECASE)
_RANKS = {"2nd": 2, "second": 2, "3rd": 3, "third": 3, "fourth": 4, "fifth": 5}
_PLAIN = frozenset(["the", "of", "in", "by", "most", "election", "for", "to", "and", "least", "than", "or", "be", "a", "next", "win", "number", "more"])  # fmt: skip
_YEAR = re.compile(r"\b20\d\d\b")
_ROOT = 5
_BALANCE = re.compile(r"\b([DR]) (senate|house)\b", re.IGNORECASE)
_CONTROL = re.compile(
    r"^will the (democrat|republican)\w*(?: party)? (?:control|win) the (senate|house)\b", re.IGNORECASE
)
_SEATS = re.compile(
    r"^will the (democrat|republican)\w*(?: party)? (?:hold|win|have)\b.*\b(senate|house) seats\b", re.IGNORECASE
)
_MAJORITY = {"senate": (50, 100), "house": (218, 435)}
_MATCHUP = re.compile(r"^will (.{3,50}?) and (.{3,50}?) be the candidates (?:for|in) (?:the )?(.{3,60}?) election", re.IGNORECASE)  # fmt: skip
_PRIMARY = re.compile(r"^will (.{3,50}?) (?:win|be) the (?:20\d\d )?(.{3,60}?) (?:primary|nominee)", re.IGNORECASE)


class _Asked(msgspec.Struct, frozen=True):
    """What is asked of one contender of one vote: ``margin``, ``place``, ``runoff`` or ``win``, with ``first`` of its first round."""

    reading: Reading
    sort: str
    who: str
    rank: int = 0


def contest_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What holds between the markets on one vote, over all events of one venue."""
    titled = [one for one in readings if one.wording.rules and not one.prop.game and _VOTE.search(f"{one.wording.title} {one.wording.event_title}")]  # fmt: skip
    asked = [(key, said) for one in titled if (found := _asked(one)) is not None for key, said in [found]]
    for group in grouped(asked, lambda item: item[0]).values():
        yield from _one_vote([said for _, said in group])
    yield from _chambers(readings)
    yield from _matchups(titled)


def _asked(one: Reading) -> tuple[tuple[object, ...], _Asked] | None:
    """Which vote, by its words without the contender, and what is asked of whom."""
    words = one.wording
    found = _ASKED.match(words.title.strip())
    if found is None:
        return None
    years = set(_YEAR.findall(words.title) or _YEAR.findall(words.rules[:300]))
    who = " ".join(re.findall(r"\w+", found["who"].lower()))
    rest = found["rest"] + (found["runoff"] or "")
    first = _FIRST.search(rest) is not None or found["runoff"] is not None
    margin = _MARGIN.search(rest)
    rest = _FIRST.sub(" ", rest[: margin.start()] if margin else rest)
    rest = re.sub(r"'s\b|\b(?:qualify|advance|make|reach|runoff)\b", " ", rest.lower())
    roots = sorted({word.rstrip("s")[:_ROOT] for word in re.findall(r"[^\W\d]{2,}", rest) if word not in _PLAIN})
    if len(years) != 1 or not roots:
        return None
    sort, rank = "win", 1
    if found["runoff"]:
        sort, rank = "runoff", 0
    elif found["place"]:
        place = found["place"].lower()
        sort, rank = "place", next((number for name, number in _RANKS.items() if name in place), 9)
    elif margin is not None:
        sort = "margin"
    if first and sort != "runoff":
        sort = f"{sort} first"
    return (words.venue, *years, *roots), _Asked(one, sort, who, rank)


def _one_vote(asked: Sequence[_Asked]) -> Iterator[Constraint]:
    for members in grouped(asked, lambda said: said.who).values():
        if len(members) > MOST:
            continue
        wins = [said for said in members if said.sort == "win"]
        for said in members:
            pair = (said.reading, 0)
            if said.sort == "margin":
                for win in wins:
                    yield draw(Relation.IMPLIES, [pair, (win.reading, 0)], rule="margin_names_winner", conditions=_tie(said.reading) + _late(said.reading, win.reading))  # fmt: skip
            for other in members:
                if other.sort == "place first" and said.sort in {"win first", "margin first"}:
                    yield draw(Relation.MUTUALLY_EXCLUSIVE, [pair, (other.reading, 0)], rule="places_apart", conditions=_tie(said.reading))  # fmt: skip
                elif other.sort == said.sort and "place" in said.sort and said.rank < other.rank:
                    yield draw(Relation.MUTUALLY_EXCLUSIVE, [pair, (other.reading, 0)], rule="places_apart")
                elif other.sort == "runoff" and said.sort in {"margin first", "win first", "place first"}:
                    if said.rank <= 2:
                        yield draw(Relation.IMPLIES, [pair, (other.reading, 0)], rule="first_two_go_on", conditions=["nobody wins in the first round, and none of the first two gives up"])  # fmt: skip
                    else:
                        yield draw(Relation.MUTUALLY_EXCLUSIVE, [pair, (other.reading, 0)], rule="first_two_go_on", conditions=["none of the first two gives up"])  # fmt: skip
                elif other.sort == "win" and said.sort == "place first" and said.rank > 2:
                    yield draw(Relation.MUTUALLY_EXCLUSIVE, [pair, (other.reading, 0)], rule="first_two_go_on", conditions=["the first two go on to a runoff, and none of them gives up"])  # fmt: skip
        margins = [said for said in members if said.sort == "margin"]
        for win in wins:
            if len(margins) > 1 and len({said.reading.wording.event_id for said in margins}) == 1:
                legs = [(win.reading, 1), *((said.reading, 0) for said in margins)]
                yield draw(Relation.PARTITION, legs, rule="margins_of_winner", conditions=["every margin is listed; ties and cut-offs are handled alike"])  # fmt: skip


def _tie(margin: Reading) -> list[str]:
    """A tie is a margin of nothing, which the lowest bracket takes."""
    values = margin.prop.values
    lowest = values is None or values.lo is None or values.lo <= 0
    return ["no exact tie for the first place"] if lowest else []


def _late(strict: Reading, loose: Reading) -> list[str]:
    """Another round than the looser question's, or a cut-off by which only that has to be decided."""
    rounds = [
        re.search(r"\bround\b|\brun-?off\b", one.wording.rules, re.IGNORECASE) is not None for one in (strict, loose)
    ]
    if rounds[0] != rounds[1]:
        return ["both mean the same round"]
    cut = re.compile(r"known by|definitively known|results? .{0,40}\bby [A-Z][a-z]+ \d", re.IGNORECASE)
    ends = [bool(cut.search(one.wording.rules)) or one.prop.payoffs.get(Branch.NO_DATA) is Payoff.OTHER for one in (strict, loose)]  # fmt: skip
    days = [sorted(mark for mark in one.form.marks if mark.startswith("@")) for one in (strict, loose)]
    return [] if not ends[1] or (ends[0] and days[0] == days[1]) else ["the result is known by the cut-off"]


def _chambers(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """Control of both chambers implies that of each; so does a majority of its seats."""
    control: dict[tuple[str, str, str, str], Reading] = {}
    for one in readings:
        found, years = _CONTROL.search(one.wording.title), _YEAR.findall(one.wording.title)
        if found is not None and years and one.wording.rules:
            control[one.wording.venue, years[0], found[2].lower(), found[1][0].lower()] = one
    for one in readings if control else ():
        words = one.wording
        years = _YEAR.findall(words.title)
        if not years:
            continue
        for party, chamber in _BALANCE.findall(words.title):
            held = control.get((words.venue, years[0], chamber.lower(), party.lower()))
            if held is not None:
                yield draw(Relation.IMPLIES, [(one, 0), (held, 0)], rule="both_chambers", conditions=["both events mean the same by control, and by when it is decided"])  # fmt: skip
        seats, values = _SEATS.search(words.title), one.prop.values
        held = control.get((words.venue, years[0], seats[2].lower(), seats[1][0].lower())) if seats else None
        if seats is None or held is None or values is None:
            continue
        half, _ = _MAJORITY[seats[2].lower()]
        least = Decimal(half + 1) if seats[2].lower() == "senate" else Decimal(half)
        grid = values.on_grid(Decimal(1))
        if grid.lo is not None and grid.lo >= least:
            yield draw(Relation.IMPLIES, [(one, 0), (held, 0)], rule="majority_of_seats", conditions=["no vacancy or change of caucus"])  # fmt: skip
        elif grid.hi is not None and grid.hi < half:
            yield draw(Relation.MUTUALLY_EXCLUSIVE, [(one, 0), (held, 0)], rule="minority_of_seats", conditions=["independents do not caucus with the party"])  # fmt: skip
        elif grid.lo == grid.hi == half and seats[2].lower() == "senate":
            yield draw(Relation.IMPLIES, [(one, 0), (held, 0)], rule="majority_of_seats", conditions=["the Vice President is of the party"])  # fmt: skip


def _matchups(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """A pair of candidates names the winner of each party's primary."""
    primaries = [
        (found, one)
        for one in readings
        if one.prop.values is None and (found := _PRIMARY.match(one.wording.title)) is not None
    ]
    for one in readings:
        pairing = _MATCHUP.match(one.wording.title)
        if pairing is None:
            continue
        office = set(pairing[3].lower().split())
        for found, primary in primaries:
            named = set(found[2].lower().split())
            same = primary.wording.venue == one.wording.venue and found[1].lower() in {
                pairing[1].lower(),
                pairing[2].lower(),
            }
            if same and office <= named | set(primary.wording.event_title.lower().split()):
                yield draw(Relation.IMPLIES, [(one, 0), (primary, 0)], rule="matchup_names_nominee", conditions=["the primary's winner is the candidate, and known by the cut-off"])  # fmt: skip

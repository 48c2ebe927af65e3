"""The same question on both venues: candidates by fixture, decision or rarest name, decided by what is said and by the terms.

What is asked has to be the same in every part; a part that differs leaves a pair similar, with the difference named. How it is
paid (whose word, until when, what if it is void) is compared afterwards: what differs there is a condition of the equivalence.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from overround.logic import Branch, Constraint, Payoff, Relation, WindowKind
from overround.market import MarketId, Venue
from overround.rules.draw import draw
from overround.rules.fixtures import Bet, bet_of
from overround.rules.grammar import Reading
from overround.rules.matching import FILLERS, Statement, Verdict, match, statement
from overround.rules.policy import decisions
from overround.rules.sets import MOST, grouped
from overround.rules.teams import sides_of

__all__ = ["VenuePair", "cross_venue_constraints", "venue_pairs"]

_CANDIDATES = 60
"""Markets compared with one market of the other venue."""
_ENDS = frozenset(["result", "draw"])
_SHORT = re.compile(r"\b(?:90 minutes|regulation|regular time)\b", re.IGNORECASE)
_LONG = re.compile(r"\binclud\w+ (?:any |all )?(?:overtime|extra time)|\bovertime (?:is|are|will be) (?:included|counted)", re.IGNORECASE)  # fmt: skip
_NAME = re.compile(r"\b(?:[a-z]{2}-\d{1,2}|[a-z][a-z0-9]{2,})\b")
_DAY_MS = 86_400_000
_BPS = "no move that is not a multiple of 25 basis points"
_LEAGUES = (
    ("wnba", re.compile(r"\bwnba\b|\bwomen's pro(?:fessional)? basketball\b", re.IGNORECASE)),
    ("college", re.compile(r"\bcollege\b|\bncaa\w*\b", re.IGNORECASE)),
    ("women", re.compile(r"\bwomen(?:'s)?\b|\bwsl\b|\bnwsl\b", re.IGNORECASE)),
    ("nba", re.compile(r"\bnba\b|\bpro(?:fessional)? basketball\b", re.IGNORECASE)),
    ("nfl", re.compile(r"\bnfl\b|\bpro(?:fessional)? football\b", re.IGNORECASE)),
    ("mlb", re.compile(r"\bmlb\b|\bpro(?:fessional)? baseball\b", re.IGNORECASE)),
    ("nhl", re.compile(r"\bnhl\b|\bpro(?:fessional)? hockey\b", re.IGNORECASE)),
)
_STATION = re.compile(r"\b(?:at|in|for) (?:the )?((?:[A-Z][\w.'-]* ){1,5}?(?:Station|Airport|Park|Observatory))\b")
_ANNOUNCED = re.compile(r"\bannounce(?:s|d|ment)?\b", re.IGNORECASE)
_RACE = re.compile(r"\b(?:first|before (?!\d|the end|end|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]+)\b", re.IGNORECASE)  # fmt: skip
_NAMED_SOURCES = re.compile(r"\b(?:associated press|fox(?: news)?|nbc|abc news|cnn|bls|bureau of labor statistics|bureau of economic analysis|"
                            r"national weather service|nws|wunderground|weather underground|noaa|binance|coinbase|cf benchmarks|pyth|federal reserve|fomc)\b", re.IGNORECASE)  # fmt: skip
_SAME_SOURCE = {"bls": "bureau of labor statistics", "nws": "national weather service", "fomc": "federal reserve", "weather underground": "wunderground", "fox": "fox news"}  # fmt: skip


class VenuePair(msgspec.Struct, frozen=True, kw_only=True):
    """A market of each venue and how they stand to each other.

    Attributes
    ----------
    one, other : Reading
        Of Kalshi and of Polymarket.
    index : int
        The other's outcome that is paid when the first's Yes is: 0 aligned, 1 inverted.
    verdict : Verdict
    differences : tuple of str
        In what is asked: then the pair is no equivalence.
    terms : tuple of str
        In how it is paid: conditions of the equivalence.
    """

    one: Reading
    other: Reading
    index: int = 0
    verdict: Verdict
    differences: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()


def cross_venue_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """Equivalences between Polymarket and Kalshi, certain only where no term differs and none is unsaid."""
    for pair in venue_pairs(readings, similar=0):
        if pair.verdict is Verdict.EQUIVALENT:
            yield draw(
                Relation.EQUIVALENT, [(pair.one, 0), (pair.other, pair.index)], rule="same_question", conditions=pair.terms
            )  # fmt: skip


def venue_pairs(readings: Sequence[Reading], *, similar: int = 3) -> Iterator[VenuePair]:
    """Pairs that ask the same, and of each market of Kalshi those that sound most alike.

    Parameters
    ----------
    readings : sequence of Reading
        Of both venues.
    similar : int
        Pairs with differences shown of a market, those with the fewest first.
    """
    sides = {
        venue: [one for one in readings if one.wording.venue is venue and one.wording.title and not one.wording.legs]
        for venue in Venue
    }
    if not all(sides.values()):
        return
    decided = set()
    for pair in (*_fixtures(sides), *_decisions(sides)):
        decided.add(pair.one.wording.market_id)
        yield pair
    by_name: dict[str, list[Reading]] = defaultdict(list)
    for one in sides[Venue.POLYMARKET]:
        for name in _names(one):
            by_name[name].append(one)
    said: dict[MarketId, Statement] = {}
    for one in sides[Venue.KALSHI]:
        names = [name for name in _names(one) if name in by_name]
        if not names or one.wording.market_id in decided:
            continue
        alike = []
        mine = _statement(one)
        for other in by_name[min(sorted(names), key=lambda name: len(by_name[name]))][:_CANDIDATES]:
            # Taking a title apart costs more than comparing: only those that are looked at are.
            if other.wording.market_id not in said:
                said[other.wording.market_id] = _statement(other)
            found = match(mine, said[other.wording.market_id])
            if found.verdict is Verdict.EQUIVALENT and not _asked_apart(one, other):
                yield VenuePair(
                    one=one, other=other, index=int(not found.aligned), verdict=Verdict.EQUIVALENT,
                    terms=_terms_apart(one, other, int(not found.aligned)),
                )  # fmt: skip
            elif similar and found.verdict is not Verdict.DIFFERENT:
                alike.append((found, other))
        for found, other in sorted(alike, key=lambda item: len(item[0].differences))[:similar]:
            yield VenuePair(
                one=one, other=other, index=int(not found.aligned), verdict=Verdict.SIMILAR,
                differences=(*found.differences, *_asked_apart(one, other)),
            )  # fmt: skip


def _statement(one: Reading) -> Statement:
    words = one.wording
    told = set(re.findall(r"\w+", words.title.lower()))
    named = words.venue is Venue.KALSHI and not set(re.findall(r"\w+", words.label.lower())) <= told
    return statement(f"{words.title.rstrip('?')} {words.label}?" if named else words.title, words.rules)


def _names(one: Reading) -> set[str]:
    """What a candidate has to share one of: a word that is no filler, or a seat."""
    title = unicodedata.normalize("NFKD", f"{one.wording.title} {one.wording.label}").encode("ascii", "ignore").decode()
    return {
        f"{name[:3]}{int(name[3:]):02d}" if name[2] == "-" and name[3:].isdigit() else name
        for name in _NAME.findall(title.lower())
    } - FILLERS


def _fixtures(sides: dict[Venue, list[Reading]]) -> Iterator[VenuePair]:
    """Bets on one fixture: the same sides by name or alias, in one league, on one day; the same result, margin or total."""
    games = {
        venue: grouped((found for one in sides[venue] if (found := _sides(one)) is not None), lambda item: item[1:])
        for venue in Venue
    }
    days = grouped(games[Venue.POLYMARKET], lambda game: (game[0], game[2]))
    for (day, names, league), mine in games[Venue.KALSHI].items():
        for game in days.get((day, league), ()):
            places = sides_of(names, game[1], league)
            theirs = games[Venue.POLYMARKET][game]
            if places is not None and max(len(mine), len(theirs)) <= MOST:
                for bet in mine:
                    for other, *_ in theirs:
                        yield from _same_bet(bet[0], names, other, game[1], places, league)


def _same_bet(
    mine: Bet, names: tuple[str, str], theirs: Bet, other_names: tuple[str, str], places: tuple[int, int], league: str
) -> Iterator[VenuePair]:
    if mine.sort != theirs.sort and {mine.sort, theirs.sort} != _ENDS:
        return
    index = _paid(mine, names, theirs, other_names, places, league)
    if index is None:
        return
    one, other = mine.reading, theirs.reading
    apart = _counted_apart(one, other)
    yield VenuePair(
        one=one, other=other, index=index, verdict=Verdict.SIMILAR if apart else Verdict.EQUIVALENT,
        differences=apart, terms=() if apart else _terms_apart(one, other, index),
    )  # fmt: skip


def _counted_apart(one: Reading, other: Reading) -> tuple[str, ...]:
    """Whether what is played after the regular time counts for one and not for the other."""
    rules = [reading.wording.rules for reading in (one, other)]
    short = [_SHORT.search(text) is not None for text in rules]
    if any(short[place] and _LONG.search(rules[1 - place]) for place in (0, 1)) and short[0] != short[1]:
        return ("overtime: counts for one only",)
    return ()


def _sides(one: Reading) -> tuple[Bet, str, tuple[str, str], str] | None:
    """The bet, its day, both sides as the fixture names them, and the league its texts name, if any."""
    words, bet = one.wording, bet_of(one) if one.prop.game else None
    named, _, day = one.prop.game.rpartition(" ")
    sides = tuple(named.split(" v "))
    if bet is None or bet.scope or len(sides) != 2 or not re.fullmatch(r"20\d\d-\d\d-\d\d", day):
        return None
    text = f"{words.title} {words.event_title} {words.rules[:600]}"
    league = next((league for league, said in _LEAGUES if said.search(text)), "")
    return bet, day, (sides[0], sides[1]), league


def _paid(
    mine: Bet, names: tuple[str, str], theirs: Bet, other_names: tuple[str, str], places: tuple[int, int], league: str
) -> int | None:
    """The other market's outcome that is paid when the first is; None where neither is."""
    if mine.sort in {"total", "margin"}:
        # "In the upcoming game" is no unit; where the league is named its scores have one.
        units = {mine.unit, theirs.unit} - ({"game", ""} if league else {""})
        if mine.line != theirs.line or len(units) > 1:
            return None
        over = theirs.reading.wording.outcomes[0].lower() in {"over", "yes"}
        return 0 if (over if mine.sort == "total" else _placed(mine, names, theirs, other_names, places)) else None
    if mine.sort not in _ENDS:
        return None
    side = -1 if mine.sort == "draw" else _side(mine.side, names)
    if side is None:
        return None
    outcomes = [name.lower() for name in theirs.reading.wording.outcomes]
    if outcomes[0] == "yes":
        same = (
            theirs.sort == "draw"
            if side < 0
            else theirs.sort == "result" and _side(theirs.side, other_names) == places[side]
        )
        return 0 if same else None
    wanted = other_names[places[side]] if side >= 0 else "draw"
    return outcomes.index(wanted) if wanted in outcomes else None


def _placed(
    mine: Bet, names: tuple[str, str], theirs: Bet, other_names: tuple[str, str], places: tuple[int, int]
) -> bool:
    side = _side(mine.side, names)
    return side is not None and side >= 0 and _side(theirs.side, other_names) == places[side]


def _side(label: str, sides: tuple[str, str]) -> int | None:
    """Which side a caption names; -1 for a draw."""
    name = label.lower().strip(" .")
    if name.startswith(("draw", "tie")):
        return -1
    return sides.index(name) if name in sides else None


def _decisions(sides: dict[Venue, list[Reading]]) -> Iterator[VenuePair]:
    """One move at one meeting of one bank, equal where moves are multiples of 25 basis points."""
    known = {venue: [said for one in sides[venue] for said in decisions(one) if said.whole] for venue in Venue}
    there = grouped(known[Venue.POLYMARKET], lambda said: (said.bank, said.meeting))
    for one in known[Venue.KALSHI]:
        for other in there.get((one.bank, one.meeting), ()):
            if one.on_grid == other.on_grid:
                terms = _terms_apart(one.reading, other.reading)
                terms = terms if one.change == other.change and one.change.lo == 0 == one.change.hi else (_BPS, *terms)
                yield VenuePair(one=one.reading, other=other.reading, verdict=Verdict.EQUIVALENT, terms=terms)


def _asked_apart(one: Reading, other: Reading) -> list[str]:
    """Differences of what is asked that stand in the rules, not in the titles."""
    apart = []
    texts = [reading.wording.rules for reading in (one, other)]
    stations = [found[1] if (found := _STATION.search(text)) else "" for text in texts]
    if any("temperature" in text.lower() for text in texts) and stations[0] != stations[1]:
        apart.append(f"station: {stations[0] or 'unnamed'} against {stations[1] or 'unnamed'}")
    measures = [reading.prop.measure for reading in (one, other)]
    if (
        one.prop.values is not None
        and any("/" in measure or " " in measure for measure in measures)
        and measures[0] != measures[1]
    ):
        named = [measure if "/" in measure or " " in measure else "another number" for measure in measures]
        apart.append(f"source: {named[0]} against {named[1]}")
    kinds = [reading.prop.window.kind for reading in (one, other)]
    if one.prop.values is not None and (kinds[0] is WindowKind.ANY) != (kinds[1] is WindowKind.ANY) and all(texts):
        apart.append("window: at one time against any time")
    races = [_RACE.search(reading.wording.title) is not None for reading in (one, other)]
    if races[0] != races[1]:
        apart.append("race against standalone")
    ends = [reading.prop.window.end_ms for reading in (one, other)]
    if ends[0] is not None and ends[1] is not None and WindowKind.BY in kinds and abs(ends[0] - ends[1]) > _DAY_MS:
        apart.append("window edge: more than a day between the ends")
    return apart


def _terms_apart(one: Reading, other: Reading, index: int = 0) -> tuple[str, ...]:
    """Differences of how the question is decided and paid; what is unsaid counts as one."""
    texts = [reading.wording.rules for reading in (one, other)]
    if not all(texts):
        return ("a venue's rules are not in the record: source, void rules and the hour of the deadline may differ",)
    apart = []
    sources = [_sources(text) for text in texts]
    if not any(sources):
        apart.append("authority: neither names one")
    elif sources[0] != sources[1]:
        shown = [" and ".join(sorted(found)) or "unnamed" for found in sources]
        apart.append(f"authority: {shown[0]} against {shown[1]}")
    announced = [_ANNOUNCED.search(text) is not None for text in texts]
    if announced[0] != announced[1]:
        apart.append("event against announcement: only one counts what is announced")
    windows = [reading.prop.window for reading in (one, other)]
    if windows[0].end_ms != windows[1].end_ms or windows[0].from_creation != windows[1].from_creation:
        apart.append("window edge: the hour at which the windows begin or end")
    for branch in Branch:
        paid = [reading.prop.payoffs.get(branch) for reading in (one, other)]
        paid[1] = _turned(paid[1]) if index else paid[1]
        if paid[0] != paid[1] or (paid[0] is not None and paid[0] is Payoff.FAIR):
            shown = [payoff.value if payoff else "unsaid" for payoff in paid]
            apart.append(f"void rules: {branch.value.replace('_', ' ')} pays {shown[0]} against {shown[1]}")
    if not one.prop.payoffs and not other.prop.payoffs:
        apart.append("void rules: neither says what is paid")
    return tuple(apart)


def _turned(payoff: Payoff | None) -> Payoff | None:
    return {Payoff.NOTHING: Payoff.ALL, Payoff.ALL: Payoff.NOTHING}.get(payoff, payoff) if payoff else None


def _sources(text: str) -> set[str]:
    return {_SAME_SOURCE.get(name.lower(), name.lower()) for name in _NAMED_SOURCES.findall(text)}

"""Relations between places of one contender in one season: titles, seeds, tables, races, rounds of a knockout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from overround.logic import Branch, Constraint, Family, Payoff, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import MOST, grouped

__all__ = ["standing_constraints"]

_LEAGUE = re.compile(
    r"\b(wnba|nba|nhl|nfl|mlb|mls|pro football|pro baseball|pro basketball|english premier league|premier league|epl|la liga|serie a|bundesliga|ligue 1|"
    r"champions league|europa conference league|conference league|europa league|f1|formula 1|ncaa|college basketball|college football)\b",
    re.IGNORECASE,
)
_ALIAS = {
    "pro football": "nfl", "pro baseball": "mlb", "pro basketball": "nba", "english premier league": "epl", "premier league": "epl",
    "formula 1": "f1", "college basketball": "ncaa", "europa conference league": "conference league",
}  # fmt: skip
_PLACES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("relegated", re.compile(r"\brelegat", re.IGNORECASE)),
    ("podium", re.compile(r"\bpodium\b", re.IGNORECASE)),
    ("top", re.compile(r"\btop[- ](\d{1,2})\b(?!\s(?:in|of) the (?:nba|nhl|nfl|mlb))", re.IGNORECASE)),
    ("place", re.compile(r"\bfinish(?:es)? (?:in )?(2nd|second|3rd|third|[4-9]th|10th)\b|\b(2nd|3rd|[4-9]th|10th) place\b", re.IGNORECASE)),
    ("last", re.compile(r"\bfinish(?:es)? (?:in )?last\b|\blast place\b", re.IGNORECASE)),
    ("playoffs", re.compile(r"\bplay-?offs?\b", re.IGNORECASE)),
    ("record", re.compile(r"\bbest (?:regular[- ]season )?record\b|presidents'? trophy|supporters'? shield", re.IGNORECASE)),
    ("seed", re.compile(r"#1 seed|\bnumber (?:1|one) seed\b|\bno\.? 1 seed\b|\btop seed\b", re.IGNORECASE)),
    ("division", re.compile(r"\bdivision\b", re.IGNORECASE)),
    ("conference", re.compile(r"\b(?:eastern|western|afc|nfc|american league|national league|al|nl)\b.{0,20}\b(?:conference|champion\w*|pennant|winner|finals)\b", re.IGNORECASE)),
    ("champion", re.compile(r"\bnba finals\b|\bstanley cup\b|\bsuper bowl\b|\bworld series\b|\bchampions?(?:hip)?\b|\bwinner\b|\bwins? the (?:[\w-]+ ){0,4}(?:league|title|cup|finals|serie a|bundesliga|ligue 1|la liga)\b|\bwins? (?:la liga|serie a|ligue 1)\b|\bfinish(?:es)? (?:in )?(?:1st|first)\b", re.IGNORECASE)),
)  # fmt: skip
_ORDINALS = {"second": 2, "third": 3}
_TABLES = frozenset(["epl", "la liga", "serie a", "bundesliga", "ligue 1", "f1"])
"""Competitions of one table, whose first is the champion; elsewhere a title is played for after the table is made."""
_DIVISION_PLAYS_ON = frozenset(["nfl", "nhl", "mlb"])
"""Leagues whose division winners are in the playoffs; of the NBA's that is only usual."""
_GROUP = re.compile(r"\b(eastern|western|afc|nfc|american league|national league)\b", re.IGNORECASE)
_STAGE = re.compile(
    r"\b(?:qualif\w+|advances?|reach(?:es)?|makes?)\b.{0,24}\b(round of \d{1,2}|sweet (?:16|sixteen)|elite (?:8|eight)|final four|quarter-?finals?|semi-?finals?|(?:grand )?final|championship game)\b",
    re.IGNORECASE,
)
_STAGES = {"round of 64": 64, "round of 32": 32, "round of 16": 16, "sweet 16": 16, "sweet sixteen": 16, "round of 8": 8, "elite 8": 8, "elite eight": 8, "quarterfinal": 8, "round of 4": 4, "final four": 4, "semifinal": 4, "final": 2, "grand final": 2, "championship game": 2, "round of 2": 2}  # fmt: skip
_RACE = re.compile(
    r"\b([\w' -]{3,40}?)\s(grand prix|open|championship|masters|classic|invitational|500|derby)\b", re.IGNORECASE
)
_SEASON = re.compile(r"\b(20\d\d)\s?(?:-\s?(?:20)?(\d\d))?\b")
_AWARD = re.compile(
    r"\b(?:mvp|award|rookie|coach|player of|cy young|scorer|goalscorer|golden|most|points|draft|pick|all-star|leader|manager|pole|fastest|constructor|seed be|lottery)\b",
    re.IGNORECASE,
)
_FAR = 100
_BLANKS = re.compile(r"\s+")


class _Place(msgspec.Struct, frozen=True):
    """What a contender is said to reach: a place of a kind, in a group (conference, division) of a competition."""

    reading: Reading
    sort: str
    group: str = ""
    number: int = 0


def standing_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What one place implies of another, contender by contender and season by season."""
    keyed: list[tuple[tuple[str, str, str, str], _Place]] = []
    for one in readings:
        if (
            one.prop.family not in (Family.CANDIDATE, Family.EVENT)
            or one.prop.game
            or not one.wording.label
            or not one.wording.rules
        ):
            continue
        found = _place(one)
        if found is not None:
            competition, place = found
            keyed.append(((one.wording.venue, competition, _season(one), _contender(one)), place))
    members: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    for (venue, competition, season, contender), place in keyed:
        if place.sort in {"conference", "seed"} and place.group:
            members.setdefault((venue, competition, season), {}).setdefault(place.group, set()).add(contender)
    for key, places in grouped(keyed, lambda item: item[0]).items():
        if len(places) > MOST:
            continue
        yield from _within([place for _, place in places], key[1])
    yield from _rivals(keyed, members)


def _contender(one: Reading) -> str:
    return re.sub(r"^(?:the) ", "", _BLANKS.sub(" ", one.wording.label.lower()).strip(" ."))


def _season(one: Reading) -> str:
    """The year in which the season ends."""
    for text in (one.wording.rules[:700], one.wording.title, one.wording.event_title):
        found = _SEASON.search(text)
        if found:
            return "20" + found[2] if found[2] else found[1]
    return ""


def _place(one: Reading) -> tuple[str, _Place] | None:
    words = one.wording
    text = f"{words.title} {words.event_title}"
    if _AWARD.search(text):
        return None
    stage = _STAGE.search(words.title)
    league = _LEAGUE.search(f"{text} {words.rules[:500]}")
    competition = _ALIAS.get(league[1].lower(), league[1].lower()) if league else ""
    if stage is not None:
        name = stage[1].lower().replace("-", "").rstrip("s")
        number = _STAGES.get(name)
        return (competition, _Place(one, "stage", number=number)) if number and competition else None
    for sort, pattern in _PLACES:
        found = pattern.search(words.title) or pattern.search(words.event_title)
        if found is None:
            continue
        race = _RACE.search(words.title) if sort in {"podium", "top", "champion"} else None
        if race is not None and (not competition or competition == "f1"):
            competition = _race_name(race)
        if not competition:
            return None
        group = ""
        if sort in {"conference", "seed", "division"}:
            grouped_by = _GROUP.search(text)
            group = grouped_by[1].lower() if grouped_by else ""
            if sort == "division":
                named = re.search(r"\b([A-Z]\w+) Division\b", text)
                group = named[1].lower() if named else ""
        number = int(found[1]) if sort == "top" else 3 if sort == "podium" else _rank(found) if sort == "place" else 0
        return competition, _Place(one, "top" if sort == "podium" else sort, group, number)
    return None


def _rank(found: re.Match[str]) -> int:
    name = (found[1] or found[2]).lower()
    return _ORDINALS.get(name) or int(re.sub(r"\D", "", name))


def _race_name(found: re.Match[str]) -> str:
    name = re.sub(r"^.*\b(?:win|at|in|the|finish)\s", "", found[1].lower())
    return f"{name.strip()} {found[2].lower()}"


def _branches(strict: Reading, loose: Reading) -> list[str]:
    """A cut-off by which the looser place has to be known, and the stricter has not."""
    a, b = strict.prop.payoffs, loose.prop.payoffs
    for branch in (Branch.NO_DATA, Branch.CANCELLED):
        if b.get(branch) in (Payoff.OTHER, Payoff.NOTHING) and a.get(branch) not in (Payoff.OTHER, Payoff.NOTHING):
            return ["the looser place is known by its cut-off"]
    return []


def _within(places: Sequence[_Place], competition: str) -> Iterator[Constraint]:
    """One contender: what each place implies."""
    for number, strict in enumerate(places):
        for loose in places:
            if strict is loose or strict.reading.wording.event_id == loose.reading.wording.event_id:
                continue
            conditions = _law(strict, loose, competition)
            if conditions is not None:
                yield draw(
                    Relation.IMPLIES, [(strict.reading, 0), (loose.reading, 0)], rule="standing", conditions=conditions
                )
        for other in places[number + 1 :] if _one_table(competition) else ():
            if strict.reading.wording.event_id != other.reading.wording.event_id and _apart(strict, other):
                yield draw(Relation.MUTUALLY_EXCLUSIVE, [(strict.reading, 0), (other.reading, 0)], rule="places_apart")


def _one_table(competition: str) -> bool:
    return competition in _TABLES or _LEAGUE.fullmatch(competition) is None


def _ranks(place: _Place) -> tuple[int, int] | None:
    """The places of a final table that are meant, best and worst; the end of it counts as far down."""
    match place.sort:
        case "champion":
            return 1, 1
        case "place":
            return place.number, place.number
        case "top" if place.number <= 10:
            return 1, place.number
        case "last":
            return _FAR, _FAR
        case "relegated":
            return _FAR - 1, _FAR
        case _:
            return None


def _apart(one: _Place, other: _Place) -> bool:
    first, second = _ranks(one), _ranks(other)
    return first is not None and second is not None and (first[1] < second[0] or second[1] < first[0])


def _law(strict: _Place, loose: _Place, competition: str) -> list[str] | None:
    """The conditions of an implication, or None where there is none."""
    cut = _branches(strict.reading, loose.reading)
    match strict.sort, loose.sort:
        case ("champion", "conference"):
            return cut
        case ("division", "playoffs"):
            return [] if competition in _DIVISION_PLAYS_ON else ["a division's winner plays on"]
        case ("champion" | "conference" | "seed" | "record", "playoffs"):
            return []
        case ("record", "seed"):
            return []
        case ("seed" | "record", "division"):
            return ["tie-breaks agree"]
        case ("champion", "stage"):
            return cut
        case ("champion" | "place", "top") if strict.number <= loose.number and _one_table(competition):
            return cut
        case ("last", "relegated"):
            return [*cut, "the last of the table goes down"]
        case ("top", "top") if strict.number < loose.number and _one_table(competition):
            return []
        case ("stage", "stage") if strict.number < loose.number:
            return []
        case _:
            return None


def _rivals(
    keyed: Sequence[tuple[tuple[str, str, str, str], _Place]], members: dict[tuple[str, str, str], dict[str, set[str]]]
) -> Iterator[Constraint]:
    """A champion of the league was the champion of its conference, so nobody else of it was."""
    for season, items in grouped(keyed, lambda item: item[0][:3]).items():
        groups = members.get(season, {})
        firsts: dict[str, list[tuple[str, _Place]]] = {"conference": [], "seed": []}
        for key, place in items:
            if place.sort in {"champion", "record"}:
                firsts["conference" if place.sort == "champion" else "seed"].append((key[3], place))
        for key, place in items:
            if place.sort not in firsts or place.group not in groups:
                continue
            for contender, champion in firsts[place.sort]:
                if contender != key[3] and contender in groups[place.group]:
                    yield draw(
                        Relation.MUTUALLY_EXCLUSIVE, [(champion.reading, 0), (place.reading, 0)], rule="one_conference_champion",
                        facts=[f"both play in one conference: {place.reading.wording.event_title} lists both"],
                    )  # fmt: skip

"""Whether two markets of different venues ask the same, decided by what they say and not by how alike they sound.

A statement is taken apart into who, what, which number and when; names are compared loosely, everything else exactly.
What only one of the two says (a round, a number, an office, a margin) is a difference with a name, and with a difference
a pair is similar, never equivalent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec
from rapidfuzz import fuzz

from overround.rules.dates import When, find_dates, without_dates
from overround.rules.numbers import Compare, Quantity, quantity
from overround.rules.wording import plain

__all__ = [
    "FILLERS",
    "Match",
    "PairRow",
    "PairScores",
    "PairVerdict",
    "Statement",
    "Verdict",
    "evaluate_pairs",
    "match",
    "statement",
]


class Verdict(StrEnum):
    """What two statements are to each other."""

    EQUIVALENT = "equivalent"
    SIMILAR = "similar"
    """Alike, with differences that are named."""
    DIFFERENT = "different"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What a title asserts, in comparable parts.

    Attributes
    ----------
    words : tuple of str
        Content words in canonical spelling, sorted; names are among them.
    offices : tuple of str
        Seats and offices (``house tx-17``, ``governor ohio``).
    parties : tuple of str
    marks : tuple of str
        What narrows: a round, a primary, a margin, a place in a table, a half.
    years : tuple of int
    days : tuple of str
        Deadlines and days, the last day that counts.
    months : tuple of int
        Months that are meant as a whole.
    number : Quantity or None
    negated : bool
        It is asked whether something does not happen.
    way : str
        ``up`` or ``down``, where that is all that is asked of a number.
    """

    words: tuple[str, ...] = ()
    offices: tuple[str, ...] = ()
    parties: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    days: tuple[str, ...] = ()
    months: tuple[int, ...] = ()
    number: Quantity | None = None
    negated: bool = False
    way: str = ""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of two statements.

    Attributes
    ----------
    verdict : Verdict
    aligned : bool
        The first outcomes mean the same; False for opposites.
    differences : tuple of str
    likeness : float
        0 to 1: of the words that are names.
    """

    verdict: Verdict
    aligned: bool = True
    differences: tuple[str, ...] = ()
    likeness: float = 0.0


_STATES = dict(
    zip(
        [
            "alabama",
            "alaska",
            "arizona",
            "arkansas",
            "california",
            "colorado",
            "connecticut",
            "delaware",
            "florida",
            "georgia",
            "hawaii",
            "idaho",
            "illinois",
            "indiana",
            "iowa",
            "kansas",
            "kentucky",
            "louisiana",
            "maine",
            "maryland",
            "massachusetts",
            "michigan",
            "minnesota",
            "mississippi",
            "missouri",
            "montana",
            "nebraska",
            "nevada",
            "new-hampshire",
            "new-jersey",
            "new-mexico",
            "new-york",
            "north-carolina",
            "north-dakota",
            "ohio",
            "oklahoma",
            "oregon",
            "pennsylvania",
            "rhode-island",
            "south-carolina",
            "south-dakota",
            "tennessee",
            "texas",
            "utah",
            "vermont",
            "virginia",
            "washington",
            "west-virginia",
            "wisconsin",
            "wyoming",
        ],
        [
            "al",
            "ak",
            "az",
            "ar",
            "ca",
            "co",
            "ct",
            "de",
            "fl",
            "ga",
            "hi",
            "id",
            "il",
            "in",
            "ia",
            "ks",
            "ky",
            "la",
            "me",
            "md",
            "ma",
            "mi",
            "mn",
            "ms",
            "mo",
            "mt",
            "ne",
            "nv",
            "nh",
            "nj",
            "nm",
            "ny",
            "nc",
            "nd",
            "oh",
            "ok",
            "or",
            "pa",
            "ri",
            "sc",
            "sd",
            "tn",
            "tx",
            "ut",
            "vt",
            "va",
            "wa",
            "wv",
            "wi",
            "wy",
        ],
        strict=True,
    )
)
_STATE_NAME = re.compile(
    r"\b(" + "|".join(sorted((name.replace("-", " ") for name in _STATES), key=len, reverse=True)) + r")\b"
)
_DISTRICT = re.compile(r"\b(" + "|".join(_STATES.values()) + r")-(\d{1,2}|al)\b")
_OFFICES = (
    ("governor", re.compile(r"\bgovern(?:or(?:ship|s)?|orship)\b|\bgubernatorial\b")),
    ("senate", re.compile(r"\bsenat(?:e|or|orial)\b")),
    ("house", re.compile(r"\bhouse\b|\bcongressional\b")),
    ("president", re.compile(r"\bpresiden(?:t|cy|tial)\b")),
    ("mayor", re.compile(r"\bmayor(?:al|alty|ship)?\b")),
    ("parliament", re.compile(r"\bparliament(?:ary)?\b|\blegislative\b")),
    ("prime minister", re.compile(r"\bprime minister\b|\bpm\b")),
    ("attorney general", re.compile(r"\battorney general\b")),
    ("secretary of state", re.compile(r"\bsecretary of state\b")),
)
_PARTIES = (
    ("democrat", re.compile(r"\bdemocrat(?:s|ic)?(?: party)?\b|\bdems?\b")),
    ("republican", re.compile(r"\brepublicans?(?: party)?\b|\bgop\b")),
    ("independent", re.compile(r"\bindependents?\b")),
    ("libertarian", re.compile(r"\blibertarians?\b")),
)
_MARKS = (
    ("first round", re.compile(r"\b(?:first|1st) round\b")),
    ("runoff", re.compile(r"\brun-?off\b|\bsecond round\b|\b2nd round\b")),
    ("primary", re.compile(r"\bprimar(?:y|ies)\b|\bnomin(?:ee|ation|ated|ees)\b")),
    ("seats", re.compile(r"\bseats\b")),
    ("margin", re.compile(r"\bmargin\b|\bby (?:more than |over |at least )?\d")),
    ("popular vote", re.compile(r"\bpopular vote\b|\bvote share\b|\blist vote")),
    ("most seats", re.compile(r"\bmost seats\b")),
    ("majority", re.compile(r"\bmajority\b|\boutright\b")),
    ("control", re.compile(r"\bcontrol\b")),
    ("final", re.compile(r"\bgrand final\b|\bfinals?\b")),
    ("semifinal", re.compile(r"\bsemi-?finals?\b")),
    ("quarterfinal", re.compile(r"\bquarter-?finals?\b")),
    ("playoffs", re.compile(r"\bplay-?offs?\b")),
    ("conference", re.compile(r"\bconference\b")),
    ("division", re.compile(r"\bdivision\b")),
    ("top", re.compile(r"\btop \d+\b")),
    ("podium", re.compile(r"\bpodium\b")),
    ("relegated", re.compile(r"\brelegat\w+")),
    ("first half", re.compile(r"\b(?:first|1st) half\b|\b1h\b")),
    ("announce", re.compile(r"\bannounc\w+|\bdeclare\w*\b")),
    ("visit", re.compile(r"\bvisit\w*\b")),
    ("meet", re.compile(r"\bmeet(?:s|ing)?\b")),
    ("nl", re.compile(r"\bnl\b|\bnational league\b")),
    ("al", re.compile(r"\bal\b|\bamerican league\b")),
    ("year on year", re.compile(r"\byoy\b|\byear[- ](?:on|over)[- ]year\b|\byear ending\b|\bannual\b")),
    ("month on month", re.compile(r"\bmom\b|\bmonth[- ](?:on|over)[- ]month\b|\bmonthly\b")),
    ("core", re.compile(r"\bcore\b")),
    ("women", re.compile(r"\bwomen'?s?\b")),
    ("rookie", re.compile(r"\brookie\b")),
    ("defensive", re.compile(r"\bdefensive\b")),
    ("offensive", re.compile(r"\boffensive\b")),
    ("supporting", re.compile(r"\bsupporting\b")),
)  # fmt: skip
_SAME = (
    (re.compile(r"\b(?:qualif(?:y|ies)|advances?|reach(?:es)?|makes?)\b"), "reach"),
    (re.compile(r"\b(?:wins?|winner|won|victory|champions?)\b"), "win"),
    (re.compile(r"\b(?:out as|leaves? office as|resigns? as|no longer)\b"), "out"),
    (re.compile(r"\bfederal reserve\b"), "fed"),
    (re.compile(r"\b(?:hikes?|raises?)\b|\bincreases? (?=(?:interest )?rates)"), "hike"),
    (re.compile(r"\bcuts?\b|\b(?:decreases?|lowers?) (?=(?:interest )?rates)"), "cut"),
    (re.compile(r"\brises? (?:by )?|increases? (?:by )?"), ""),
)
_NOT = re.compile(r"\bnot\b|\bnobody\b|\bno one\b|\b(?:\w+)n't\b")
_WAY = re.compile(r"\b(up|down)\b")
_ANY_DAY = date(2000, 1, 8)
FILLERS = frozenset(
    [
        "will",
        "the",
        "a",
        "an",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "be",
        "is",
        "are",
        "was",
        "by",
        "and",
        "or",
        "as",
        "his",
        "her",
        "their",
        "its",
        "this",
        "that",
        "than",
        "with",
        "from",
        "race",
        "seat",
        "election",
        "elections",
        "party",
        "next",
        "award",
        "awards",
        "2024",
        "2025",
        "2026",
        "2027",
        "2028",
        "before",
        "end",
        "major",
        "tournament",
        "championship",
        "game",
        "match",
        "during",
        "there",
        "any",
        "who",
        "what",
        "which",
        "have",
        "has",
        "get",
        "us",
        "u",
        "s",
        "united",
        "states",
        "rate",
        "price",
        "reported",
        "mom",
        "rates",
        "interest",
        "meeting",
        "after",
        "more",
        "less",
        "person",
        "people",
        "team",
        "club",
        "fc",
        "sc",
        "cf",
        "esports",
        "gaming",
    ]
)


def statement(title: str, rules: str = "") -> Statement:
    """Take a title apart; the rules give only the year where the title has none.

    Examples
    --------
    >>> statement("Will Republican win the House race for TX-7?").offices
    ('house tx-07',)
    """
    text = unicodedata.normalize("NFKD", plain(title)).encode("ascii", "ignore").decode().lower()[:400]
    dates = [when for when in find_dates(plain(title)[:400]) if when.year_known]
    years = {
        when.deadline[0].year if when.deadline[1] else when.deadline[0].year - (when.first.month == 1) for when in dates
    }
    if not years and rules:
        years = {when.last.year for when in find_dates(plain(rules)[:1_200]) if when.year_known}
    days = {
        _last_day(when)
        for when in dates
        if when.prefix in {"by", "before", "prior to"} or when.exact or when.part == "end"
    }
    months = {when.last.month for when in find_dates(plain(title)[:400], near=_ANY_DAY) if _whole_month(when)}
    states = {
        f"{state}-{int(number):02d}" if number.isdigit() else f"{state}-{number}"
        for state, number in _DISTRICT.findall(text)
    }
    named = {_STATES[name.replace(" ", "-")] for name in _STATE_NAME.findall(text)} if not states else set()
    found = [office for office, words in _OFFICES if words.search(text)]
    offices = tuple(sorted(" ".join([office, *sorted(states | named)]) for office in found)) or tuple(sorted(states))
    bare = without_dates(text, find_dates(text))
    for words, canonical in _SAME:
        bare = words.sub(f" {canonical} ", bare)
    marks = tuple(mark for mark, words in _MARKS if words.search(text))
    number = quantity(bare) if not states else None
    if number is not None:
        bare = bare[: number.start] + " " + bare[number.end :]
    for pattern in (
        *(words for _, words in _OFFICES),
        *(words for _, words in _PARTIES),
        *(words for _, words in _MARKS),
        _DISTRICT,
    ):
        bare = pattern.sub(" ", bare)
    if found:
        bare = _STATE_NAME.sub(" ", bare)
    ways = set(_WAY.findall(bare))
    way = ways.pop() if len(ways) == 1 and number is None else ""
    content = sorted(
        {
            word
            for word in re.findall(r"[a-z0-9]+", _NOT.sub(" ", bare))
            if word not in FILLERS and len(word) > 1 and word != way
        }
    )
    return Statement(
        words=tuple(content), offices=offices, parties=tuple(party for party, words in _PARTIES if words.search(text)), marks=marks,
        years=tuple(sorted(years)), days=tuple(sorted(days)), months=tuple(sorted(months)), number=number,
        negated=_NOT.search(bare) is not None, way=way,
    )  # fmt: skip


def _last_day(when: When) -> str:
    day, whole = when.deadline
    return str(day if whole else day - timedelta(days=1))


def _whole_month(when: When) -> bool:
    named = not when.exact and (when.first.year, when.first.month) == (when.last.year, when.last.month)
    return named and when.prefix not in {"by", "before", "prior to"} and when.part != "end"


def match(one: Statement, other: Statement) -> Match:
    """Compare two statements, part by part.

    Examples
    --------
    >>> match(
    ...     statement("Will Democratic win the House race for CA-9?"),
    ...     statement("Will the Democratic Party win the CA-09 House seat?"),
    ... ).verdict
    <Verdict.EQUIVALENT: 'equivalent'>
    >>> match(statement("Will A. Smith win the first round?"), statement("Will A. Smith win the election?")).differences
    ('first round',)
    """
    apart: list[str] = []
    if one.offices != other.offices:
        apart.append(f"office: {' and '.join(one.offices) or 'none'} against {' and '.join(other.offices) or 'none'}")
    if one.parties != other.parties:
        apart.append(f"party: {' and '.join(one.parties) or 'none'} against {' and '.join(other.parties) or 'none'}")
    quiet = {"final", "conference", "month on month"}
    apart += [
        mark
        for mark in sorted(set(one.marks) ^ set(other.marks))
        if mark not in quiet or ((set(one.marks) & set(other.marks)) - quiet == set() and mark != "month on month")
    ]
    turned = _turned(one.number, other.number)
    if not turned:
        apart += _number_apart(one.number, other.number)
    if bool(one.way) != bool(other.way):
        apart.append(f"direction: only one says {one.way or other.way}")
    if one.years and other.years and not set(one.years) & set(other.years):
        apart.append(f"year: {one.years[-1]} against {other.years[-1]}")
    if one.months and other.months and one.months != other.months:
        apart.append(f"month: {one.months[-1]} against {other.months[-1]}")
    if one.days and other.days and set(one.days) != set(other.days):
        apart.append(f"window edge: {one.days[-1]} against {other.days[-1]}")
    left, right = _unmatched(one.words, other.words), _unmatched(other.words, one.words)
    apart += [_only_one(words) for words in (left, right) if words]
    likeness = (
        fuzz.token_set_ratio(" ".join(one.words), " ".join(other.words)) / 100
        if one.words and other.words
        else float(one.words == other.words)
    )
    core = bool(one.words or one.parties or one.offices)
    if not apart and core:
        opposite = (one.negated != other.negated) ^ turned ^ (one.way != other.way)
        return Match(verdict=Verdict.EQUIVALENT, aligned=not opposite, likeness=likeness)
    close = likeness >= 0.6 and one.offices == other.offices
    return Match(verdict=Verdict.SIMILAR if close else Verdict.DIFFERENT, differences=tuple(apart), likeness=likeness)


_RACE = frozenset(["first", "next", "either", "sooner"])
_SAID = frozenset(["announce", "announced", "announces", "announcement", "say", "says", "declare", "declares"])


def _only_one(words: Sequence[str]) -> str:
    """A difference of words, by the name of its kind where it has one."""
    kind = (
        "race against standalone: "
        if _RACE & set(words)
        else "event against announcement: "
        if _SAID & set(words)
        else ""
    )
    return f"{kind}only one says {' '.join(words)}"


def _turned(one: Quantity | None, other: Quantity | None) -> bool:
    """Whether one threshold is met exactly where the other is not."""
    if one is None or other is None or Compare.BARE in (one.compare, other.compare) or one.lo != other.lo:
        return False
    below, above = sorted((one.values, other.values), key=lambda values: values.lo is not None)
    ends = below.lo is None and above.hi is None and below.hi is not None and below.hi == above.lo
    return ends and (below.hi_closed != above.lo_closed or abs(one.lo) % 1 == Decimal("0.5"))


def _number_apart(one: Quantity | None, other: Quantity | None) -> list[str]:
    if one is None and other is None:
        return []
    if one is None or other is None:
        return ["number: only one has a threshold"]
    if (one.lo, one.hi) != (other.lo, other.hi):
        open_ended = {one.values.lo is None or one.values.hi is None for one in (one, other)}
        if len(open_ended) == 2 and {one.lo, one.hi} & {other.lo, other.hi}:
            return [f"cumulative against bucket: {one.compare} {one.lo} against {other.compare} {other.lo}"]
        return [f"threshold: {one.lo} against {other.lo}"]
    if Compare.BARE in (one.compare, other.compare) or one.values == other.values:
        return []
    if one.compare.rising == other.compare.rising and abs(one.lo) % 1 == Decimal("0.5"):
        return []
    return [f"inclusiveness: {one.compare} against {other.compare}"]


def _unmatched(words: Sequence[str], among: Sequence[str]) -> list[str]:
    """Words that have no like in the other statement, spelling aside."""
    joined = "".join(among)
    return [
        word for word in words
        if word not in among and not (len(word) >= 5 and any(fuzz.ratio(word, known) >= 83 for known in among)) and not (len(word) >= 4 and word in joined)
        and word not in {"win", "reach"}
    ]  # fmt: skip


class PairRow(msgspec.Struct, frozen=True):
    """One labelled pair across the venues."""

    kalshi_id: str
    polymarket_id: str
    kalshi_title: str
    polymarket_title: str
    label: str
    polymarket_rules: str = ""
    polarity: str = ""


class PairVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one labelled pair was decided, and why it is no equivalence."""

    kalshi_id: str
    polymarket_id: str
    verdict: Verdict
    aligned: bool
    differences: tuple[str, ...]


class PairScores(msgspec.Struct, frozen=True, kw_only=True):
    """How pairs were decided; a match is a pair called equivalent.

    Attributes
    ----------
    pairs, true_pairs, matched, wrong : int
    turned_wrong : int
        True pairs that were matched with the polarity the wrong way round.
    unnamed : int
        Pairs that are called no equivalence without a difference that is named.
    precision, recall : float or None
    errors : tuple of str
    verdicts : tuple of PairVerdict
    """

    pairs: int
    true_pairs: int
    matched: int
    wrong: int
    turned_wrong: int = 0
    unnamed: int = 0
    precision: float | None
    recall: float | None
    errors: tuple[str, ...]
    verdicts: tuple[PairVerdict, ...] = ()


def evaluate_pairs(rows: Sequence[PairRow]) -> PairScores:
    """Decide labelled pairs and count; a pair matched with the wrong polarity is wrong."""
    matched = wrong = turned_wrong = 0
    errors, verdicts = [], []
    for row in rows:
        found = match(statement(row.kalshi_title), statement(row.polymarket_title, row.polymarket_rules))
        verdicts.append(
            PairVerdict(
                kalshi_id=row.kalshi_id, polymarket_id=row.polymarket_id,
                verdict=found.verdict, aligned=found.aligned, differences=found.differences,
            )
        )  # fmt: skip
        called, true = found.verdict is Verdict.EQUIVALENT, row.label == "true_match"
        turned = (
            called and true and row.polarity in {"aligned", "inverted"} and found.aligned != (row.polarity == "aligned")
        )
        turned_wrong += turned
        matched += called and true and not turned
        wrong += called and (not true or turned)
        if called != true or turned:
            why = (
                "the polarity is the other"
                if turned
                else "called equivalent, but is not"
                if called
                else f"missed ({'; '.join(found.differences)})"
            )
            errors.append(f"{row.kalshi_id} {why}: {row.kalshi_title} | {row.polymarket_title}")
    true_pairs = sum(row.label == "true_match" for row in rows)
    return PairScores(
        pairs=len(rows), true_pairs=true_pairs, matched=matched, wrong=wrong, turned_wrong=turned_wrong,
        unnamed=sum(one.verdict is not Verdict.EQUIVALENT and not one.differences for one in verdicts),
        precision=matched / (matched + wrong) if matched + wrong else None, recall=matched / true_pairs if true_pairs else None,
        errors=tuple(errors), verdicts=tuple(verdicts),
    )  # fmt: skip

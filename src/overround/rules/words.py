"""Whom a market is about, which number or deed is meant, in which unit, by whose word: canonical words, for people and for tables.

No relation is drawn from these words; templates and named numbers serve for that (see ``grammar.Reading``).
"""

from __future__ import annotations

import re

import msgspec

from overround.logic import Family, Field, Span
from overround.rules.numbers import quantity
from overround.rules.values import Values
from overround.rules.wording import Wording

__all__ = ["Said", "said_of"]

_FIXTURE = (Family.MONEYLINE, Family.SPREAD, Family.TOTAL, Family.PROP)
_NUMERIC = (Family.THRESHOLD, Family.RANGE, Family.TOUCH, Family.UP_DOWN)
_SIDES = {"yes", "no", "over", "under", "odd", "even", "up", "down"}
_CANDLE = re.compile(r"\bcandle.{0,20}? for (?:the )?(?:[\w. ]{1,30} \()?([A-Z0-9]{2,10}/[A-Z]{3,5})")
_OPENING = re.compile(
    r"^\W*(?:(?:how (?:many|much|high|low)|which|what|will|does|do|did|is|are|has|have)\b\W*)*(?:there\s(?:be\s)?)?(?:the\s+)?(?:(?:daily |spot )?price of\s+)?(?:the\s+)?",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\s(?:be|been|have|has|had|hits?|reach(?:es)?|dips?|closes?|finish(?:es)?|settles?|posts?|tweets?|wins?|ris\w+|rose|falls?|drops?|"
    r"increases?|decreases?|announces?|makes?|maintains?|holds?|keeps?|raises?|lowers?|gets?|receives?|exceeds?|gross(?:es)?|"
    r"records?|scores?|sells?|goes|go|trades?|ends?|opens?|debuts?|earns?|reports?|says?|launch(?:es)?|acquires?|deports?|adds?|grows?|"
    r"beats?|loses?|issues?|signs?|pass(?:es)?|publish(?:es)?|releases?|spends?|visits?|deploys?|sees?|collapses?|surpass(?:es)?|cross(?:es)?|"
    r"breaks?|remains?|stays?|contains?|comes?|above|below|over|under|between|at|happens?|occurs?|become|becomes|qualif(?:y|ies)|advances?|appears?|meets?)\b|[↑↓<>≥≤]|\s\$|___|(?<!\brate)\s(?:cuts?|hikes?)\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"how (?:many|much) .{2,40}? (?:will|did|does|do|has|have) (.+)", re.IGNORECASE)
_LED = re.compile(
    r"^(?:(?:exactly|at least|at most|more than|less than|fewer than|over|under)\s)?\d[\d,.]*\+?\s(?:or (?:more|fewer|less)\s)?",
    re.IGNORECASE,
)
_HEAT = re.compile(r"\b(highest|lowest|high|low|maximum|minimum) temp(?:erature)? (?:in|at|for) (.+)", re.IGNORECASE)
_NOUN = re.compile(
    r"\s(?:fdv|rate cuts|rate hikes|market cap(?:itali[sz]ation)?|yield|price range|(?:job )?approval rating|(?:debut|first|opening|second)[- ](?:week|day|weekend)\b.*|box office|price|unemployment rate|(?:annual )?inflation(?: rate)?|(?:annual |quarterly |real )*gdp growth(?: rate)?(?:\s\(y/y\))?|views|subscribers|followers|(?:album )?sales)\W*$",
    re.IGNORECASE,
)
_PART = re.compile(
    r"\b((?:game|map|set|inning|quarter|period|round) \d{1,2})\b|\b(1h|2h|1st half|2nd half|first half|second half|half ?time|first set|1st set|first inning|[1-4](?:st|nd|rd|th) quarter)\b|\b([1-4]q)\b",
    re.IGNORECASE,
)
_UNITS = "goals|points|runs|games|sets|maps|rounds|kills|corners|cards|towers|sixes|wickets|strikeouts|assists|rebounds|touchdowns|yards"
_UNIT = re.compile(rf"\b({_UNITS})\b", re.IGNORECASE)
_MARGIN = re.compile(rf"by (?:(?:more than|over|at least) )?\d+(?:\.\d)?(?: or more)? ({_UNITS})\b", re.IGNORECASE)
_COMBINED = re.compile(
    rf"(?:score|scored?) (?:more (?:than )?|over )?\d+(?:\.\d)?(?: or more)? ({_UNITS})\b|total (?:number of )?(?:combined )?({_UNITS})\b",
    re.IGNORECASE,
)
_DEGREES = (
    ("°F", re.compile(r"°\s?F\b|fahrenheit", re.IGNORECASE)),
    ("°C", re.compile(r"°\s?C\b|celsius", re.IGNORECASE)),
)
_KIND_OF_NUMBER = (
    ("average", re.compile(r"simple average|average of the sixty", re.IGNORECASE)),
    ("settlement", re.compile(r"settlement price", re.IGNORECASE)),
    ("high", re.compile(r"\"high\" price|final high price", re.IGNORECASE)),
    ("low", re.compile(r"\"low\" price|final low price", re.IGNORECASE)),
    ("close", re.compile(r"\"close\" price|clos(?:e|ing) price", re.IGNORECASE)),
    ("max", re.compile(r"(?:highest|maximum|high) temp|highest (?:seed|numerical|value|price|rank)", re.IGNORECASE)),
    ("min", re.compile(r"(?:lowest|minimum|low) temp|lowest (?:seed|numerical|value|price|rank)", re.IGNORECASE)),
    ("count", re.compile(r"\bnumber of (?!days)|\bhow many\b|total (?:number|count)", re.IGNORECASE)),
)
_STOP = re.compile(
    r"\b(?:will|the|a|an|be|is|are|of|does|do|there|their|its|his|her)\b|[?*\"'_#,$°%+<>≥≤↑↓=]|\.{2,}|'s\b",
    re.IGNORECASE,
)
_COMPARES = re.compile(
    r"\b(?:exactly|over|above|at least|at most|or more|or higher|or below|or lower|more than|less than|fewer than|greater than|between|or)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"[$€£]?(?<![\w.])-?\d[\d,.]*(?:\s?(?:million|billion|trillion|[kmbt])\b)?(?:\s?(?:-|to|and)\s?[$€£]?\d[\d,.]*[kmbt]?)?\s?(?:%|°\s?[cf]?|bps)?(?!\w)\+?"
)
_BLANKS = re.compile(r"\s+")
_END = r"(?=(?:[,;]|(?<!\.\w)\.)\s|[.;]?\n|[.]?$| available| found at| however| - specifically)"
_NAMED_SOURCE = (
    re.compile(
        rf"resolution sources? (?:for (?:this|these) markets? )?(?:will be|is|are|shall be)[ :]+(?!chosen|used|consulted)(.{{2,300}}?){_END}",
        re.IGNORECASE,
    ),
    re.compile(rf"source of resolution (?:for this market )?(?:will be|is)[ :]+(.{{2,160}}?){_END}", re.IGNORECASE),
)
_SOURCE = (
    re.compile(rf"resolution will be based (?:solely )?on (?!the number)(.{{3,120}}?){_END}", re.IGNORECASE),
    re.compile(r"\b(CF Benchmarks'? [\w -]{3,40}? Real[- ]Time Index)"),
    re.compile(r"^(Video) of .{3,60} will be primarily used", re.IGNORECASE | re.MULTILINE),
    re.compile(
        rf"based (?:solely )?on (?:the )?(official announcements from .{{3,120}}?|official [\w ]{{0,30}}results .{{3,90}}?){_END}",
        re.IGNORECASE,
    ),
    re.compile(r"as indicated by (?:a |an )?((?:overwhelming )?consensus of credible reporting)", re.IGNORECASE),
    re.compile(r"based on (?:the )?([^.\n]{3,60}? published by [\w ]{2,40})", re.IGNORECASE),
    re.compile(rf"as (?:published|reported|listed|recorded) (?:by|on) (.{{3,80}}?){_END}", re.IGNORECASE),
)
_HINTED = (
    re.compile(
        r"according to (?:the )?([A-Z][\w'&. -]{2,60}?)(?:'s (?=report|data|website|release|index|figure|list)|,|\.\s|\.$| report| shows| figures|\n|$)"
    ),
    re.compile(r"\b(official final score published on [\w.]+\w)", re.IGNORECASE),
    re.compile(rf"will be ((?:official )?(?:information|statements?|footage) from .{{3,80}}?){_END}", re.IGNORECASE),
)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Canonical words of one market, and how sure each is."""

    subject: str = ""
    measure: str = ""
    unit: str = ""
    aggregation: str = ""
    source: str = ""
    qualifier: str = ""
    fields: dict[str, Field]


def said_of(words: Wording, title: str, rest: str, named: str, found: Values, family: Family, game: str) -> Said:
    """Read whom and what a market means.

    Parameters
    ----------
    words : Wording
    title : str
        Without its dates.
    rest : str
        The question's skeleton, for deeds.
    named : str
        The number itself where a source and a price are named, else empty.
    found : Values
    family : Family
    game : str
        Both sides of a fixture.
    """
    sides = " v ".join(_sides(words, game)) if family in _FIXTURE else ""
    subject, sure, spans = _subject(words, title, rest, family, sides)
    aggregation = _aggregation(words, family)
    measure = _measure(words, title, rest, named, subject, sure, aggregation, found, family)
    source, trusted = _source(words.rules)
    fields = {
        "subject": Field(sure, spans),
        "measure": Field(0.97 if named else 0.95 if family in _FIXTURE else min(sure, 0.9), spans),
    }
    if source:
        fields["source"] = Field(trusted, (_span(words.rules, source, "rules"),))
    return Said(
        subject=subject, measure=measure, unit=_unit(words, found, family), aggregation=aggregation, source=source,
        qualifier=_part(words) if family in _FIXTURE else "", fields=fields,
    )  # fmt: skip


def _span(text: str, piece: str, field: str) -> Span:
    at = text.lower().find(piece.lower())
    return Span(field, at, at + len(piece)) if at >= 0 and piece else Span(field)


def _tidy(text: str) -> str:
    return _BLANKS.sub(" ", re.sub(r"[?*\"_]|___", " ", text)).strip(" -:,.'").lower()


def _sides(words: Wording, game: str) -> list[str]:
    """Both sides of the fixture, as the event names them."""
    for text in (words.event_title, words.title):
        bare = re.sub(
            r"^.{2,60}?:\s(?=.+\bvs?\b)|\s+-\s+(?:more markets|halftime result).*$|\s\((?:bo\d|w|[^()]*(?:card|prelims?))\).*$",
            "",
            text,
            flags=re.IGNORECASE,
        )
        found = re.search(r"^(.{2,60}?)\s(?:vs?\.?|at|@)\s(.{2,60}?)(?:\s-\s.*|:\s.*|\?|$)", bare, re.IGNORECASE)
        if found:
            return [_tidy(side) for side in found.groups()]
    return re.sub(r" \d{4}-\d\d-\d\d$", "", game).split(" v ") if game else []


def _subject(words: Wording, title: str, rest: str, family: Family, sides: str) -> tuple[str, float, tuple[Span, ...]]:
    label, first = words.label or words.custom.get("Word", ""), words.outcomes[0]
    own = "" if first.lower().split(" ")[0] in _SIDES else first
    text = ""
    match family:
        case Family.COMBO | Family.UNREAD:
            return "", 0.9, ()
        case Family.MONEYLINE:
            text = label if label and not own else own
        case Family.SPREAD:
            named = re.search(
                r"^(?:[\w ]*?(?:spread|handicap): )?(.{2,60}?)\s(?:wins?\b|\([+-])", words.title, re.IGNORECASE
            )
            text = own or (named[1] if named else "")
        case Family.PROP | Family.TOTAL:
            named = re.search(r"^(.{2,50}?): ", words.title)
            person = named[1] if named and family is Family.PROP and label.startswith(f"{named[1]}: ") else ""
            if family is Family.PROP and words.title.startswith("Will ") and not words.title.startswith("Will the "):
                person = _leading(title)[0]
            side = next(
                (one for one in sides.split(" v ") if one and words.title.lower().endswith(f" {one} winner")), ""
            )
            text = person or own or side or sides
        case Family.UP_DOWN:
            text = re.split(r"\s(?:up or down|price up)\b", title, flags=re.IGNORECASE)[0]
        case Family.CANDIDATE | Family.MENTION | Family.EVENT if label and _stands(
            label, f"{words.title}\n{words.rules[:200]}"
        ):
            text = label
            asked = _OPENING.sub("", title).lower()
            if family is Family.EVENT and not asked.startswith(label.lower()) and _stands(label, words.title):
                who = _leading(title)[0]
                text = who if _stands(label, who) else f"{who} {label}"
        case Family.CANDIDATE | Family.MENTION:
            text = label or (own or _leading(title)[0])
        case Family.DEADLINE | Family.EVENT | Family.JOINT:
            text = _clause(title) or (_tidy(label) if family is Family.EVENT else "") or rest
            return text, 0.85, (Span("title"),) if title else ()
        case _:
            candle = _CANDLE.search(words.rules[:800])
            if candle is not None:
                return candle[1].lower(), 0.97, (Span("rules", candle.start(1), candle.end(1)),)
            text, sure = _leading(title or words.event_title)
            return _tidy(text), sure, (_span(words.title, text, "title"),)
    field = "label" if text == label and text else "title"
    return _tidy(text), 0.95 if text else 0.5, (_span(words.label if field == "label" else words.title, text, field),)


def _stands(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _clause(title: str) -> str:
    """A question without its date, as a clause."""
    text = re.sub(r"\s(?:by|before|in|on|at|until|end of)\s*\W*$", "", _OPENING.sub("", title))
    return _tidy(text)


def _leading(title: str) -> tuple[str, float]:
    """The words before the verb, without the noun of the number; how sure that they are the subject."""
    counted = _COUNTED.match(title)
    text = _OPENING.sub("", counted[1] if counted else title.replace("**", ""))
    text = _LED.sub("", text)
    heat = _HEAT.search(text)
    if heat is not None:
        place = heat[2]
        verb = _VERB.search(f"{place} ")
        return re.sub(r"\s(?:on|in)?\s*\W*$", "", place[: verb.start()] if verb else place), 0.95
    verb = _VERB.search(f" {text}")
    if verb is None or verb.start() < 2:
        return _NOUN.sub("", re.sub(r"\s+(?:on|in|at|by|of)\s*\W*$", "", text)), 0.7
    text = re.sub(r"\s(?:to|that|who|which)$", "", text[: verb.start() - 1])
    bare = _NOUN.sub("", f" {text}").strip()
    bare = bare or text
    bare = re.sub(r"\s(?:in|for|during)\s(?:the\s)?week\b.*$", "", bare, flags=re.IGNORECASE)
    return (bare.removesuffix("'s") if bare != text else bare), 0.9


def _measure(
    words: Wording,
    title: str,
    rest: str,
    named: str,
    subject: str,
    sure: float,
    aggregation: str,
    found: Values,
    family: Family,
) -> str:
    match family:
        case Family.COMBO | Family.UNREAD:
            return ""
        case Family.MONEYLINE:
            return (
                "draw"
                if re.match(r"draw\b|tie\b", (words.label or "").lower())
                or re.search(r"\b(?:draw|tie)\?", words.title.lower())
                else "win"
            )
        case Family.SPREAD:
            return "margin"
        case Family.TOTAL:
            return "total"
        case Family.PROP:
            ahead, _, behind = words.title.rpartition(" - " if " - " in words.title else ": ")
            return _residual(ahead if re.search(r"\bvs?\b", behind) and ahead else behind, "", found)
        case Family.RATE_DECISION:
            return "rate change"
        case Family.UP_DOWN:
            return f"{named or aggregation or 'price'} change"
        case Family.DEADLINE | Family.JOINT:
            return _residual(_clause(title) or rest, "", found)
        case _ if not (title or words.event_title):
            return ""
        case _:
            text = _residual(title or words.event_title, subject if sure > 0.7 else "", found) or subject
            parts = [named, aggregation if aggregation != "count" and aggregation not in named.split() else "", text]
            return _BLANKS.sub(" ", " ".join(part for part in parts if part)) or subject


def _residual(text: str, subject: str, found: Values) -> str:
    """What is left of a question without its subject, its number and its small words."""
    text = text.lower()
    if subject:
        text = re.sub(rf"(?<!\w){re.escape(subject)}(?:'s)?(?!\w)", " ", text)
    if found.quantity is not None:
        own = {found.quantity.lo, found.quantity.hi}

        def blank(match: re.Match[str]) -> str:
            number = quantity(match[0])
            return " " if number is not None and {number.lo, number.hi} & own else match[0]

        text = _COMPARES.sub(" ", _NUMBER.sub(blank, text))
    text = _BLANKS.sub(" ", _STOP.sub(" ", text)).strip(" -:.")
    return re.sub(r"^(?:(?:to|and|or)\s)+|(?:(?:^|\s)(?:and|or|to|in|on|by|at|for))+$", "", text)


def _aggregation(words: Wording, family: Family) -> str:
    if family not in _NUMERIC and not (family is Family.DEADLINE and _CANDLE.search(words.rules[:800])):
        return ""
    text = f"{words.title}\n{words.rules[:1_500]}"
    return next((name for name, pattern in _KIND_OF_NUMBER if pattern.search(text)), "")


def _unit(words: Wording, found: Values, family: Family) -> str:
    if found.values is None:
        return ""
    if found.unit == "°":
        texts = (f"{words.label} {words.title}", words.rules[:2_000])
        return next((unit for text in texts for unit, pattern in _DEGREES if pattern.search(text)), "°")
    if family is Family.SPREAD:
        return _first(_MARGIN, words.title, words.rules[:1_500])
    if family is Family.TOTAL:
        return _first(_UNIT, words.label, words.title) or _first(_COMBINED, words.rules[:1_500])
    if family is Family.PROP:
        return _first(_UNIT, words.label, words.title)
    if (not found.unit and re.search(r"[$]\s?\d", words.title)) or "CF Benchmarks" in words.rules[:400]:
        return "$"
    return found.unit


def _first(pattern: re.Pattern[str], *texts: str) -> str:
    for text in texts:
        found = pattern.search(text)
        if found is not None:
            return next(group for group in found.groups() if group).lower()
    return ""


def _part(words: Wording) -> str:
    found = _PART.search(f"{words.title} {words.label}")
    return "" if found is None else next(group for group in found.groups() if group).lower()


def _source(rules: str) -> tuple[str, float]:
    """Whose word decides: the source that is named as such, else whoever is first said to publish."""
    for patterns, sure in ((_NAMED_SOURCE, 0.95), (_SOURCE, 0.85), (_HINTED, 0.75)):
        found = [match for pattern in patterns if (match := pattern.search(rules[:6_000])) is not None]
        if found:
            first = min(found, key=lambda match: match.start())
            return _BLANKS.sub(" ", first[1].lower()).strip(" .,:")[:120], sure
    return "", 0.9

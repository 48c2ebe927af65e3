"""From a market's words to its proposition.

Every market is read by itself first: title, caption, rules and strike fields each say a family, a number, a time; what
they agree on is sure, what only one says is less so, what two contradict is doubtful and goes to review. The relations
between markets are drawn elsewhere, from propositions only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from overround.logic import Family, Field, Proposition, Span, Window
from overround.rules.dates import When, find_dates, no_such_day, settle_years, without_dates
from overround.rules.numbers import Compare, Quantity, quantity
from overround.rules.payoffs import payoffs
from overround.rules.template import Template, digest, template
from overround.rules.values import SPREAD, TOUCH, Values, expression_of, own_numbers, values_of
from overround.rules.windows import GAME, dates_of, due_of, game_of, near_of, window_of
from overround.rules.wording import MAX_CHARS, Wording
from overround.rules.words import said_of

__all__ = ["HIGH", "Reading", "read"]

HIGH = 0.8
"""Readings at or above this confidence are relied on; the others are queued for review."""

_PLACEHOLDER = re.compile(r"\|\|.{0,40}\|\||\{\{?\w{1,40}\}?\}|\bTBD\b|<[A-Z_ ]{3,30}>")
_ONE_WINNER = re.compile(r"^If .{2,80} (?:wins? the|is the .{0,60}champion)|^If the next\b", re.IGNORECASE)
_ONLY_ONE = re.compile(r"^This market is mutually exclusive\b", re.IGNORECASE | re.MULTILINE)
_MATCHUP = re.compile(r"^If .{2,60} wins? (?:the )?.{0,60}\bvs?\.? .{2,60}\b(?:matchup|match|game)\b")
_BEFORE = frozenset({"before", "prior to"})
_BY = frozenset({"by", "no later than"})
_MENTION = re.compile(r"\b(?:say|says|said|mention|mentions)\b")
_JOINT = re.compile(
    r"\b(?:parlay|both .{1,60} and .{1,60}\?|double\b.{0,20}winner)|^[DR] (?:senate|house), [DR] (?:senate|house)",
    re.IGNORECASE,
)
_PARTICIPANT = re.compile(
    r"\b(?:player|pitcher|batter|goalscorer)\b|strikeouts?|rebounds|assists|home runs?|total bases|touchdowns?|yards",
    re.IGNORECASE,
)
_CREATION_NAMED = re.compile(
    r"between (?:this |the )?market(?:'s)? (?:creation|opening)|between the creation of", re.IGNORECASE
)
_CANDLE = re.compile(
    r"\b(Binance|Coinbase|Kraken|Bybit|OKX)\b.{0,20}?\b(1|5|15)[- ](minute|hour) candle.{0,12}? for (?:the )?(?:[\w. ]{1,30} \()?([A-Z0-9]{2,10}/[A-Z]{3,5})"
)
_NUMBERS = (
    (
        "settlement",
        re.compile(
            r"official CME settlement price for the Active Month(?: \(front month\))? of ([A-Z][A-Za-z ]{1,30}?)(?: \([A-Z]{1,3}\))? futures"
        ),
    ),
    (
        "close",
        re.compile(r"official clos(?:ing|e) price (?:for|of) [^()\n]{1,40}\(([A-Z.]{1,6})\) on (?:the final|[A-Z])"),
    ),
    (
        "index average",
        re.compile(r"simple average of the sixty seconds of CF Benchmarks' ([\w -]{3,40}? Real[- ]Time Index)"),
    ),
)
_PLAYED = frozenset(
    {Family.MONEYLINE, Family.SPREAD, Family.TOTAL, Family.PROP, Family.JOINT, Family.CANDIDATE, Family.EVENT}
)
_STOP = re.compile(r"\b(?:will|the|a|an|be|is|are|to|of|price|does|do)\b|[?*\"'_]|\.{2,}", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A proposition beside what relations are drawn by, which is no part of what a market says.

    Attributes
    ----------
    wording : Wording
    prop : Proposition
    rest : str
        The title without the market's own number and date: equal inside a ladder.
    stem : str
        The same without any date: equal for the same question at other times.
    form : Template
        The rules as a template.
    series : str
        Hash of the rules without numbers of its own and without any date: equal for the same question at other times.
    quantity : Quantity or None
    due : When or None
        The market's own day, where a date is what its caption names.
    measured : str
        Which number is meant, for comparing: in canonical words where a source and a price are named, otherwise ``series``.
    flagged : str
        Key of the set of which the venue itself says that at most one is paid.
    direction : int
        1 where the larger number is the stricter, -1 where the smaller is, 0 for neither.
    """

    wording: Wording
    prop: Proposition
    rest: str = ""
    stem: str = ""
    form: Template = Template()
    series: str = ""
    quantity: Quantity | None = None
    due: When | None = None
    measured: str = ""
    flagged: str = ""
    direction: int = 0


def read(wording: Wording) -> Reading:
    """Read one market; never fails, but says how little it understood.

    Examples
    --------
    >>> from overround.market import MarketId, Venue
    >>> words = Wording(
    ...     venue=Venue.KALSHI,
    ...     market_id=MarketId("X"),
    ...     title="Will CPI rise more than 0.3% in May 2026?",
    ...     rules="If CPI rises by more than 0.3% in May 2026, then the market resolves to Yes.",
    ...     kind="greater",
    ...     floor="0.3",
    ... )
    >>> reading = read(words)
    >>> reading.prop.family, reading.prop.values.lo, reading.rest
    (<Family.THRESHOLD: 'threshold'>, Decimal('0.3'), 'cpi rise in may 2026')
    """
    words = wording
    text_hash = digest(
        words.event_title,
        words.title,
        words.label,
        words.rules,
        words.kind,
        words.floor,
        words.cap,
        *sorted(words.custom.values()),
    )
    flagged = words.set_id if words.exclusive else words.event_id if _ONLY_ONE.search(words.rules) else ""
    base = Proposition(
        venue=words.venue, market_id=words.market_id, ref=words.ref, event_id=words.event_id, outcomes=words.outcomes,
        exclusive_set=flagged, open_set=words.augmented, text_hash=text_hash,
    )  # fmt: skip
    trouble = _trouble(words)
    if trouble:
        return Reading(wording=words, prop=msgspec.structs.replace(base, reasons=(trouble,)))

    near = near_of(words)
    in_rules = dates_of(words.rules, near)
    in_title = settle_years(find_dates(words.title, near=near), in_rules)
    in_label = settle_years(find_dates(words.label, near=near), [*in_title, *in_rules])
    in_title = settle_years(in_title, in_label)
    title_bare = without_dates(words.title, in_title)
    label_bare = without_dates(words.label, in_label)

    found = values_of(words, title_bare, label_bare)
    due = due_of(words, in_label, in_title, label_bare, found)
    family = _family(words, found, due, title_bare)
    own_dates = [due] if due is not None else []
    numbers = own_numbers(found, words)
    rest = _rest(title_bare if family is Family.DEADLINE else words.title, label_bare, words, found, family)
    stem = _rest(title_bare, label_bare, words, found, family)
    # A caption that is a name stands in the rules of its own leg only.
    names = sorted(
        {name for name in (words.label, words.custom.get("Word", "")) if name and found.values is None and not due},
        key=len,
        reverse=True,
    )
    form = template(words.rules, numbers=numbers, dates=own_dates, names=names)
    series = form.series if words.rules else ""
    window = window_of(words, in_title, in_rules, in_label, family, due)
    confidence, fields, reasons = _confidence(words, found, due, family, window, [*in_label, *in_title], in_rules)
    by_nature = (
        "" if flagged or words.venue != "kalshi" else words.event_id if _one_at_most(words, found, family) else ""
    )
    if by_nature:
        fields["exclusive_set"] = Field(
            0.85, (Span("rules" if words.rules else "strike"),), "by nature, not by the venue's word"
        )
    game = game_of(words, in_title, in_rules) if family in _PLAYED else ""
    named = _named(words)
    said = said_of(words, title_bare, rest, named, found, family, game)
    missing = no_such_day(f"{words.label}\n{words.title}\n{words.rules}")
    if missing:
        confidence, reasons = min(confidence, 0.7), (*reasons, f"there is no {missing}")
        fields["window"] = Field(0.7, fields["window"].spans if "window" in fields else (), f"there is no {missing}")
    prop = msgspec.structs.replace(
        base,
        family=family,
        exclusive_set=flagged or by_nature,
        open_set=words.augmented or (bool(by_nature) and family is Family.CANDIDATE),
        subject=said.subject,
        measure=said.measure,
        values=found.values,
        step=found.step,
        unit=said.unit,
        aggregation=said.aggregation,
        window=window,
        source=said.source,
        payoffs=payoffs(words.rules, words.label),
        qualifier=said.qualifier,
        game=game,
        template_hash=digest(rest, form.skeleton) if words.rules else "",
        fields={**said.fields, **fields},
        confidence=confidence,
        reasons=reasons,
    )
    return Reading(
        wording=words, prop=prop, rest=rest, stem=stem, form=form, series=series, quantity=found.quantity, due=due,
        measured=named or series, flagged=flagged, direction=found.direction,
    )  # fmt: skip


def _trouble(words: Wording) -> str:
    longest = max(len(words.title), len(words.label), len(words.rules), len(words.event_title))
    if longest > MAX_CHARS:
        return f"a text of {longest:,} characters is not read"
    if not (words.title or words.label or words.rules):
        return "no words"
    if _PLACEHOLDER.search(words.rules) or _PLACEHOLDER.search(words.title):
        return "the rules have an unfilled place"
    letters = [char for char in words.rules[:2_000] if char.isalpha()]
    if letters and sum(char.isascii() for char in letters) < 0.7 * len(letters):
        return "the rules are not English"
    return ""


def _family(words: Wording, found: Values, due: When | None, title: str) -> Family:
    text = f"{words.title} {words.label}"
    if words.legs:
        return Family.COMBO
    if set(words.outcomes) == {"Up", "Down"}:
        return Family.UP_DOWN
    if words.kind and words.venue == "polymarket":
        return _bet(words.kind)
    if (
        words.venue == "kalshi"
        and (words.kind == "structured" or found.origin == "strike")
        and GAME.search(words.rules[:400] or words.title)
    ):
        if found.values is None:
            return (
                Family.MONEYLINE
                if re.search(r"\bwins?\b|\btie\b|winner", words.rules[:300] + words.title, re.IGNORECASE)
                else Family.PROP
            )
        if _PARTICIPANT.search(text) or (":" in words.title and not GAME.search(words.title.split(":")[0])):
            return Family.PROP
        return Family.SPREAD if SPREAD.search(text) else Family.TOTAL
    if words.venue == "kalshi" and found.values is None and _MATCHUP.search(words.rules[:400]) and words.label:
        return Family.MONEYLINE
    if _JOINT.search(words.title):
        return Family.JOINT
    if found.values is not None:
        if found.unit == "bps":
            return Family.RATE_DECISION
        compare = found.quantity.compare if found.quantity else Compare.BARE
        if found.direction and (
            compare in (Compare.UP_TO, Compare.DOWN_TO) or TOUCH.search(words.rules[:800] + " " + title)
        ):
            return Family.TOUCH
        return Family.THRESHOLD if found.direction else Family.RANGE
    if _MENTION.search(words.title) and words.label:
        return Family.MENTION
    if due is not None:
        return Family.DEADLINE
    if words.exclusive or re.search(r"\bwins?\b|winner|nominee|\bnext\b|\bfirst\b", text, re.IGNORECASE):
        return Family.CANDIDATE
    return Family.EVENT


def _bet(kind: str) -> Family:
    if "spread" in kind or "handicap" in kind:
        return Family.SPREAD
    if "total" in kind:
        return Family.TOTAL
    return Family.MONEYLINE if kind == "moneyline" else Family.PROP


def _one_at_most(words: Wording, found: Values, family: Family) -> bool:
    """Whether two siblings cannot both be paid, whatever the venue says: ranges of one number, winners of one contest."""
    if family is Family.RANGE or (family is Family.RATE_DECISION and found.values is not None):
        return True
    return family is Family.CANDIDATE and _ONE_WINNER.search(words.rules[:300]) is not None


def _rest(title: str, label: str, words: Wording, found: Values, family: Family) -> str:
    text = title or words.event_title
    if found.values is not None and found.quantity is not None:
        own = expression_of(text, found.quantity) or quantity(text)
        if own is not None and own.rest and (own.lo == found.quantity.lo or own.compare is not Compare.BARE):
            text = _blank(text, found.quantity)
    if (
        family is Family.CANDIDATE
        or family is Family.MENTION
        or (found.values is None and family is not Family.DEADLINE)
    ):
        for name in (words.label, words.custom.get("Word", "")):
            if name:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text, flags=re.IGNORECASE)
    if not text and label:
        text = found.quantity.rest if found.quantity else label
    text = _STOP.sub(" ", text.lower())
    text = (
        re.sub(
            r"\(\s*(?:high|low)?\s*\)|\b(?:exactly|over|above|at least|or more|or higher|or below|or lower|more than|less than|fewer than|greater than|between|hit|reach|dip|no|or)\b",
            " ",
            text,
        )
        if found.values is not None
        else text
    )
    text = re.sub(r"(?<=\w{3})s\b", "", text)
    return _BLANKS.sub(" ", re.sub(r"[#,$°%+<>≥≤↑↓]", " ", text)).strip(" -:")


def _blank(text: str, own: Quantity) -> str:
    """The text without the expression that names the market's own number."""
    for start in [match.start() for match in re.finditer(r"\d", text)][:12]:
        at = max(0, start - 24)
        found = quantity(text[at:])
        if found is not None and found.lo == own.lo:
            return text[: at + found.start] + " " + text[at + found.end :]
    found = quantity(text)
    return text if found is None else text[: found.start] + " " + text[found.end :]


def _named(words: Wording) -> str:
    """The number itself in canonical words, where a source and a price are named, else nothing."""
    rules = words.rules[:800]
    candle = _CANDLE.search(rules)
    if candle is not None:
        return f"{candle[1].lower()} {candle[4].lower()} {candle[2]}{candle[3][0].lower()}"
    for name, pattern in _NUMBERS:
        found = pattern.search(rules)
        if found is not None:
            return f"{name} {_BLANKS.sub(' ', found[1].lower())}"
    return ""


def _confidence(
    words: Wording,
    found: Values,
    due: When | None,
    family: Family,
    window: Window,
    own: Sequence[When],
    in_rules: Sequence[When],
) -> tuple[float, dict[str, Field], tuple[str, ...]]:
    """How far each field's texts agree; the whole is as sure as its weakest part."""
    fields: dict[str, Field] = {}
    reasons: list[str] = []
    if found.values is not None:
        said = found.quantity
        again = said is not None and words.label and expression_of(words.title, said) is not None
        sure = 0.97 if found.origin == "strike" and said is not None else 0.95 if again else 0.88
        if not found.agrees:
            sure = 0.4 if "other way" in found.note or found.origin != "strike" else 0.6
            reasons.append(found.note)
        span = (
            Span(found.origin, found.quantity.start, found.quantity.end)
            if found.quantity and found.origin != "strike"
            else Span(found.origin)
        )
        fields["values"] = Field(sure, (span,), found.note)
    if due is not None:
        where = (
            "label"
            if words.label and due.end <= len(words.label) and find_dates(words.label, near=due.first)
            else "title"
        )
        sure = 0.97 if due.year_known else 0.85
        note = "" if due.year_known else "the year is inferred"
        last = {
            when.first
            for when in in_rules
            if when.exact and when.year_known and when.prefix in _BY and when.first == when.last
        }
        if due.exact and due.prefix not in _BEFORE and len(last) == 1 and due.last not in last and due.year_known:
            sure, note = 0.6, "title and rules name different days"
            reasons.append(note)
        fields["window"] = Field(sure, (Span(where, due.start, due.end),), note)
    elif window.end_ms is not None:
        days = {(when.first, when.last) for when in in_rules}
        named = [when for when in own if when.exact]
        agreed = any((when.first, when.last) in days for when in named)
        span = Span("title", named[-1].start, named[-1].end) if named else Span("rules" if in_rules else "title")
        fields["window"] = Field(
            0.97 if agreed else 0.9 if named else 0.85, (span,), "" if named else "no day in the title"
        )
    if not words.rules:
        reasons.append("the record has no rules text")
    base = {Family.EVENT: 0.8, Family.JOINT: 0.75, Family.PROP: 0.85, Family.UNREAD: 0.0}.get(family, 0.92)
    if not words.rules:
        base = min(base, 0.85 if words.title else 0.6)
    if words.disputed:
        base = 0.3
        reasons.append("its outcome is disputed")
    fields["family"] = Field(base)
    return round(min([base, *(field.confidence for field in fields.values())]), 3), fields, tuple(reasons)

"""Relations inside one event: ladders, ranges, deadlines, contenders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

from overround.logic import Branch, Constraint, Family, Payoff, Relation
from overround.rules.draw import differences, draw, unsaid
from overround.rules.grammar import Reading
from overround.rules.ranges import Tiling, tiling
from overround.rules.template import clusters
from overround.rules.values import says_past

__all__ = ["MOST", "event_constraints", "grouped", "lasting", "lie"]

_OTHER = re.compile(
    r"^\W*(?:other|another|any other|none|no one|nobody|neither|someone else|something else|field|the field|tie|draw\b.*|no (?!\d).{1,60})\W*$",
    re.IGNORECASE,
)
_ANY_OTHER = re.compile(
    r"^\W*(?:other|another|any other|someone else|something else|field|the field)\W*$", re.IGNORECASE
)
_ONE_WINNER = re.compile(
    r"\bwinner\b|\bwho will (?:win|be)\b|\bwins? (?:the|his|her|\d{4})\b|\bwins\b|\bnext\b.{1,60}\b(?:is|be)\b|\bwill be the (?:next|first)\b|\bfirst\b|\b(?:largest|top|most|highest) (?:in|on|by)?\b",
    re.IGNORECASE,
)
_MANY_WINNERS = re.compile(
    r"\bqualif|\badvance|\bpodium|\btop \d|\bnominat(?:ed|ion)s?\b(?!.{0,40}\bfor president)|\brelegat|\bplayoffs?\b|\bfinals?\b|\bsemi|\bmake the\b|\bfinishers\b|\bwins? (?:a|an|any|at least|more)\b|\bcover|\bvisit|\bmention|\bsays?\b|\bcompete|\bround of\b|\bselected\b|\bannounce",
    re.IGNORECASE,
)
_TIEABLE = re.compile(
    r"\b(?:awards?|oscars?|emmys?|grammys?|mvp|prize|best|most|highest|largest|top|golden|trophy|player of)\b",
    re.IGNORECASE,
)
_SAID_EXCLUSIVE = re.compile(
    r"\b(?:market|markets|strikes|outcomes) (?:is|are) mutually exclusive|only one (?:bucket|market|strike|outcome)",
    re.IGNORECASE,
)
_SIGNED = re.compile(r"\b(?:jobs|payrolls?|change|growth|net|temperature|margin|inflation|cpi|gdp)\b", re.IGNORECASE)
_COUNTING = re.compile(
    r"\b(?:how many|number of|posts?|tweets?|seats?|cuts?|hikes?|wins?|upsets|sell|times|count)\b|#", re.IGNORECASE
)
_LASTING = re.compile(
    r"\b(?:not|no|never|without|remains?|stays?|still|continues?|survives?|avoids?)\b|n't\b",
    re.IGNORECASE,
)
MOST = 400
"""Markets of one subject: more are not compared pair by pair, which bounds the work."""
_SKEW_MS = 2 * 3_600_000
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by key, in the order of their first coming."""
    found: dict[K, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def event_constraints(readings: Sequence[Reading], ruled_series: frozenset[str]) -> Iterator[Constraint]:
    """What holds between the markets of one event of one venue."""
    usable = [reading for reading in readings if reading.prop.family is not Family.UNREAD and not reading.wording.legs]
    if len(usable) < 2:
        return
    flagged = grouped([reading for reading in usable if reading.flagged], lambda one: one.flagged)
    for members in flagged.values():
        yield from _flagged_set(members, ruled_series)
    in_sets = {id(reading) for members in flagged.values() for reading in members}
    unflagged = [reading for reading in usable if not reading.flagged]
    if len(unflagged) > 1 and all(_SAID_EXCLUSIVE.search(reading.wording.rules) for reading in unflagged):
        legs = [(reading, 0) for reading in unflagged]
        yield draw(Relation.MUTUALLY_EXCLUSIVE, legs, rule="said_exclusive", conditions=_fair(unflagged))
    for group in grouped(usable, _number_key).values():
        numeric = [reading for reading in group if reading.prop.values is not None]
        if len(numeric) >= 2:
            yield from _numbers(numeric, ruled_series, exclusive=all(id(one) in in_sets for one in numeric))
    dated = [reading for reading in usable if reading.due is not None and not reading.flagged]
    for group in grouped(dated, lambda one: (one.stem, _values_key(one), one.direction)).values():
        yield from _deadlines(group, ruled_series)
    named = [
        reading for reading in usable if not reading.flagged and reading.prop.values is None and reading.due is None
    ]
    titles = grouped(named, lambda one: one.wording.title)
    for group in grouped(
        named, lambda one: one.wording.title if len(titles[one.wording.title]) > 1 else one.stem
    ).values():
        yield from _one_winner(group, ruled_series)


def _values_key(reading: Reading) -> str:
    values = reading.prop.values
    return "" if values is None else f"{values.lo} {values.hi}"


def _number_key(reading: Reading) -> tuple[str, ...]:
    words = reading.wording
    own = {words.floor, words.cap, words.label.lower()}
    free = [
        f"{name}={value}"
        for name, value in sorted(words.custom.items())
        if (value.lower() not in own and re.search(r"\d+\.?\d*$", words.label) is not None) or "-" in value
    ]
    return (reading.rest, words.kind if words.venue == "polymarket" else "", *free)


def _common(readings: Sequence[Reading], ruled_series: frozenset[str]) -> list[str]:
    """Conditions that every law over these payoffs needs."""
    found = [*unsaid(readings, ruled_series), *_fair(readings)]
    notes = [
        one.prop.fields["values"].note
        for one in readings
        if "values" in one.prop.fields and one.prop.fields["values"].note
    ]
    if any(
        one.prop.family is Family.PROP and Branch.ABSENT not in one.prop.payoffs and one.wording.venue == "kalshi"
        for one in readings
    ):
        found.append("the named player takes part")
    return [*found, *notes[:1]]


def _fair(readings: Sequence[Reading]) -> list[str]:
    """That no market settles at a price which the venue finds for it alone."""
    for branch in Branch:
        if any(one.prop.payoffs.get(branch) is Payoff.FAIR for one in readings):
            return [f"not {branch.value.replace('_', ' ')}: each market then settles at a price of its own"]
    return []


def _tied(readings: Sequence[Reading]) -> list[str]:
    """That a voted prize goes to one, where the venue pays every winner and the words are silent on ties."""
    first = readings[0].wording
    ties = {one.prop.payoffs.get(Branch.TIE) for one in readings}
    numeric = sum(one.prop.values is not None for one in readings)
    if first.venue == "polymarket" or 2 * numeric > len(readings) or not ties & {None, Payoff.ALL, Payoff.FAIR}:
        return []
    return ["no tie"] if Payoff.ALL in ties or _TIEABLE.search(f"{first.title} {first.event_title}") else []


def _apart_texts(readings: Sequence[Reading]) -> list[list[Reading]]:
    """Markets whose rules are one template and count from one time, largest group first."""
    found: list[list[Reading]] = []
    for places in clusters([one.form for one in readings]):
        members = [readings[place] for place in places]
        if any(one.prop.window.from_creation for one in members):
            found += grouped(members, lambda one: (one.prop.window.start_ms or 0) // _SKEW_MS).values()
        else:
            found.append(members)
    return sorted(found, key=len, reverse=True)


def _numbers(readings: Sequence[Reading], ruled_series: frozenset[str], *, exclusive: bool) -> Iterator[Constraint]:
    """Ladders and ranges of one number at one time."""
    lain = lie(readings)
    several = sum(
        one.direction == 0 or (one.prop.values is not None and one.prop.values.lo == one.prop.values.hi)
        for one in readings
    )
    if (
        lain.apart
        and several
        and len(readings) >= 2
        and not (several == 1 and len(readings) > 3 and lain.whole is False)
    ):
        if not exclusive:
            yield from _range_set(readings, lain, ruled_series)
        return
    for direction in (1, -1):
        chain = [one for one in readings if one.direction == direction]
        if len(chain) >= 2:
            yield from _ladder(chain, direction, ruled_series)


def lie(readings: Sequence[Reading]) -> Tiling:
    """How the values of one event's markets lie beside each other."""
    intervals = [one.prop.values for one in readings if one.prop.values is not None]
    steps = [Decimal(one.prop.step) for one in readings if one.prop.step]
    rules = max((one.wording.rules for one in readings), key=len)
    first = readings[0].wording
    asked = f"{first.event_title} {first.title}"
    counting = _SIGNED.search(asked) is None and (_COUNTING.search(asked) is not None or readings[0].prop.unit == "")
    return tiling(
        intervals,
        rules=rules,
        step=min(steps) if len(steps) == len(readings) or (steps and _grid(readings)) else None,
        counting=counting,
    )


def _grid(readings: Sequence[Reading]) -> bool:
    return sum(bool(one.prop.step) for one in readings) * 2 >= len(readings)


def _ladder(chain: Sequence[Reading], direction: int, ruled_series: frozenset[str]) -> Iterator[Constraint]:
    rule = {
        Family.TOUCH: "touch_ladder",
        Family.SPREAD: "margin_ladder",
        Family.TOTAL: "total_ladder",
        Family.PROP: "prop_ladder",
    }.get(chain[0].prop.family, "threshold_ladder")
    common = _common(chain, ruled_series)
    if chain[0].prop.family is Family.TOUCH and not any(says_past(one.wording.rules) for one in chain):
        # What moves in steps may pass a level without ever being on it.
        common.append("reaching a level is being at or past it")
    parts = _apart_texts(chain)
    for part in parts:
        rungs = _rungs(part, direction)
        if len(rungs) >= 2:
            yield draw(Relation.MONOTONIC_LADDER, [(one, 0) for one in rungs], rule=rule, conditions=common)
    if len(parts) > 1:
        yield from _joined(_rungs(chain, direction), parts, rule, common)


def _unlike(parts: Sequence[Sequence[Reading]]) -> str:
    first, second = parts[0][0], parts[1][0]
    if first.form.skeleton == second.form.skeleton and (
        first.prop.window.from_creation or second.prop.window.from_creation
    ):
        return "the markets count from their own creation: nothing decisive happened before the last of them"
    return differences(first, second)


def _rungs(chain: Iterable[Reading], direction: int) -> list[Reading]:
    """Strict to loose; of two markets on one rung the first, and no rung that does not lie inside the next."""

    def height(one: Reading) -> Decimal:
        values = one.prop.values
        assert values is not None
        end = values.lo if direction > 0 else values.hi
        assert end is not None
        return end

    rungs: list[Reading] = []
    for one in sorted(chain, key=height, reverse=direction > 0):
        values = one.prop.values
        assert values is not None
        if rungs:
            last = rungs[-1].prop.values
            assert last is not None
            if height(one) == height(rungs[-1]) or not last.within(values):
                continue
        rungs.append(one)
    return rungs


def _range_set(readings: Sequence[Reading], lain: Tiling, ruled_series: frozenset[str]) -> Iterator[Constraint]:
    """Ranges of one number, where the venue has no flag."""
    conditions = _common(readings, ruled_series)
    if len(_apart_texts(readings)) > 1:
        conditions = [*conditions, _unlike(_apart_texts(readings))]
    legs = [(one, 0) for one in sorted(readings, key=_low_end)]
    shared = ["no value exactly where two ranges meet"] if lain.shared_ends else []
    if lain.complete:
        yield draw(Relation.PARTITION, legs, rule="range_partition", conditions=[*conditions, *shared])
        if conditions or shared:
            yield draw(Relation.MUTUALLY_EXCLUSIVE, legs, rule="ranges_apart", conditions=[*conditions, *shared])
        return
    yield draw(Relation.MUTUALLY_EXCLUSIVE, legs, rule="ranges_apart", conditions=[*conditions, *shared])
    if lain.whole:
        yield draw(Relation.PARTITION, legs, rule="range_partition", conditions=[*conditions, *shared, _beyond(lain)])


def _beyond(lain: Tiling) -> str:
    ends = [
        word
        for word, open_end in (("below the lowest", lain.low_open), ("above the highest", lain.high_open))
        if not open_end
    ]
    return f"no value {' and none '.join(ends)} listed range (markets outside may be settled and not listed)"


def _low_end(one: Reading) -> tuple[bool, Decimal]:
    values = one.prop.values
    low = values.lo if values is not None else None
    return (low is not None, low if low is not None else Decimal(0))


def _flagged_set(members: Sequence[Reading], ruled_series: frozenset[str]) -> Iterator[Constraint]:
    """A set of which the venue says that at most one is paid; what it leaves out decides whether one must be."""
    if len(members) < 2:
        return
    ordered = sorted(members, key=lambda one: (one.wording.index is None, one.wording.index or 0))
    legs = [(one, 0) for one in ordered]
    lacking = _lacking(ordered, ruled_series)
    if lacking is not None and not lacking:
        yield draw(Relation.PARTITION, legs, rule="complete_set")
        return
    # Nobody promises that the fair prices of a cancelled fixture sum to at most 1.
    yield draw(Relation.MUTUALLY_EXCLUSIVE, legs, rule="venue_exclusive", conditions=[*_fair(ordered), *_tied(ordered)])
    if lacking:
        yield draw(Relation.PARTITION, legs, rule="complete_set", conditions=lacking)


def _lacking(members: Sequence[Reading], ruled_series: frozenset[str]) -> list[str] | None:
    """What must hold for one of the set to be paid: nothing, some conditions, or None where no claim is made."""
    first = members[0].wording
    if first.augmented:
        return None
    numeric = [one for one in members if one.prop.values is not None]
    others = [one for one in members if one.prop.values is None]
    lain = lie(numeric) if len(numeric) >= 2 and _one_number(numeric) else None
    catch_all = any(_OTHER.match(one.wording.label) for one in others)
    named_draw = all(one.prop.family is Family.MONEYLINE for one in members)
    sides = sum(not _OTHER.match(one.wording.label) for one in others)
    conditions = [] if first.venue == "polymarket" else _common(members, ruled_series)
    missing: list[str] = []
    if first.venue == "polymarket":
        indices = {one.wording.index for one in members}
        if indices != set(range(len(members))):
            missing = [
                f"{max((i or 0) for i in indices) + 1 - len(members) or 'some'} market(s) of the set are not listed: taken as settled No"
            ]
    if lain is not None and lain.complete and (not others or catch_all):
        return [*conditions, *(missing if others else [])]
    if lain is not None and lain.whole and lain.apart and not others:
        return [*conditions, _beyond(lain)]
    if lain is not None and not lain.whole and not others and first.venue == "polymarket":
        return None
    if first.venue == "kalshi":
        if named_draw and sides == 2:
            return [*conditions, *([] if catch_all else ["one of the two wins"])]
        return None
    if first.kind and catch_all and sides:
        # A fixture has two sides, and what is neither is the draw's.
        return missing if sides == 2 else [*missing, "a side of the fixture is not listed: taken as settled No"]
    if any(_ANY_OTHER.match(one.wording.label) for one in others):
        mids = [one.wording.mid_px for one in members]
        total = sum(mid for mid in mids if mid is not None)
        low = (
            [f"the listed mids sum to {total:.2f} only: a market may be missing"]
            if None not in mids and total < 0.95 and not missing
            else []
        )
        return [*missing, *low]
    return [*missing, "one of the listed is paid: nobody else can be, and there is a result"]


def _one_number(numeric: Sequence[Reading]) -> bool:
    """Whether the captions speak of one number, not of one for each contender."""
    return len({_besides(one) for one in numeric}) == 1


def _besides(one: Reading) -> str:
    """The words of a caption beside its number, its unit aside."""
    if one.quantity is None or one.prop.unit == "bps" or one.prop.fields["values"].spans[0].field != "label":
        return ""
    return re.sub(r"[^a-z]+", " ", one.quantity.rest.split("(")[0]).strip()


def lasting(title: str) -> bool:
    """Whether a title asks that something does not happen or goes on: then later implies earlier.

    Examples
    --------
    >>> lasting("Will Acme not go public by June 30?"), lasting("Will Acme go public by June 30?")
    (True, False)
    """
    return _LASTING.search(title) is not None


def _deadlines(group: Sequence[Reading], ruled_series: frozenset[str]) -> Iterator[Constraint]:
    """The same deed by several days: earlier implies later."""
    if any(lasting(one.wording.title) for one in group):
        return
    common = _common(group, ruled_series)
    parts = _apart_texts(group)
    for part in parts:
        rungs = _by_day(part)
        if len(rungs) >= 2:
            yield draw(
                Relation.MONOTONIC_LADDER, [(one, 0) for one in rungs], rule="deadline_ladder", conditions=common
            )
    if len(parts) > 1:
        yield from _joined(_by_day(group), parts, "deadline_ladder", common)


def _joined(
    rungs: Sequence[Reading], parts: Sequence[Sequence[Reading]], rule: str, common: Sequence[str]
) -> Iterator[Constraint]:
    """A ladder over several templates: certain from rung to rung where the looser one only allows more."""
    if len(rungs) < 2:
        return
    of_part = {id(one): number for number, part in enumerate(parts) for one in part}
    run = [rungs[0]]
    for one in rungs[1:]:
        if of_part[id(run[-1])] == of_part[id(one)] or _follows(run[-1], one):
            run.append(one)
            continue
        if len(run) > 1:
            yield draw(Relation.MONOTONIC_LADDER, [(rung, 0) for rung in run], rule=rule, conditions=common)
        run = [one]
    if len(run) > 1:
        yield draw(Relation.MONOTONIC_LADDER, [(rung, 0) for rung in run], rule=rule, conditions=common)
    if len(run) < len(rungs):
        yield draw(
            Relation.MONOTONIC_LADDER, [(rung, 0) for rung in rungs], rule=rule, conditions=[*common, _unlike(parts)]
        )


def _follows(strict: Reading, loose: Reading) -> bool:
    """Whether the stricter market's payment brings the looser one's although their texts differ."""
    if loose.prop.window.from_creation and (strict.prop.window.start_ms or 0) + _SKEW_MS < (
        loose.prop.window.start_ms or 0
    ):
        return False
    return clusters([strict.form, loose.form])[0] == [0, 1]


def _by_day(group: Iterable[Reading]) -> list[Reading]:
    rungs: list[Reading] = []
    for one in sorted(group, key=lambda one: one.prop.window.end_ms or 0):
        if not rungs or one.prop.window.end_ms != rungs[-1].prop.window.end_ms:
            rungs.append(one)
    return rungs


def _one_winner(group: Sequence[Reading], ruled_series: frozenset[str]) -> Iterator[Constraint]:
    """Contenders for one place, where the words say so and the venue has no flag."""
    if len(group) < 2 or len({one.wording.label for one in group}) < len(group):
        return
    first = group[0].wording
    text = f"{first.title} {first.event_title}"
    said = all(_SAID_EXCLUSIVE.search(one.wording.rules) for one in group)
    if first.venue == "polymarket" or not first.label:
        return
    if not said and (_MANY_WINNERS.search(text) or not _ONE_WINNER.search(text) or not first.rules):
        return
    played = (
        []
        if said or not group[0].prop.game
        else ["the fixture is played: its contracts settle otherwise by terms of their own"]
    )
    tied = [] if said else _tied(group)
    yield draw(
        Relation.MUTUALLY_EXCLUSIVE,
        [(one, 0) for one in group],
        rule="one_winner",
        conditions=[*_common(group, ruled_series), *played, *tied],
    )

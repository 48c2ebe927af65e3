"""The grammar of numbers in captions, questions and rules: thresholds, ranges, single values, with their units.

A quantity is the first expression of a text that compares with a number: ``above $62,000``, ``76-77°F``, ``57+``,
``at least 10.0%``, ``↓ 45,000``, ``50+ bps decrease``. Where the words say only a number, the comparator stays open
and the caller decides by the other texts.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum

import msgspec

from overround.logic import Interval

__all__ = ["Compare", "Quantity", "decimals_of", "quantity", "strike_values"]


class Compare(StrEnum):
    """How a number is compared."""

    ABOVE = "above"
    AT_LEAST = "at_least"
    BELOW = "below"
    AT_MOST = "at_most"
    BETWEEN = "between"
    EXACTLY = "exactly"
    UP_TO = "up_to"
    """Reaches from below (an arrow up, hit, reach)."""
    DOWN_TO = "down_to"
    """Reaches from above (an arrow down, dip)."""
    BARE = "bare"
    """Only a number."""

    @property
    def rising(self) -> bool:
        """The larger the number, the stricter."""
        return self in (Compare.ABOVE, Compare.AT_LEAST, Compare.UP_TO)

    @property
    def falling(self) -> bool:
        """The smaller the number, the stricter."""
        return self in (Compare.BELOW, Compare.AT_MOST, Compare.DOWN_TO)


class Quantity(msgspec.Struct, frozen=True, kw_only=True):
    """A number or two, and how they are compared.

    Attributes
    ----------
    compare : Compare
    lo, hi : Decimal
        Equal unless a range is named.
    unit : str
        ``%``, ``bps``, ``°``, ``$`` or empty.
    decimals : int
        Digits after the point, as written.
    start, end : int
        Where it stands.
    rest : str
        The text without it, lower case, blanks joined.
    """

    compare: Compare
    lo: Decimal
    hi: Decimal
    unit: str = ""
    decimals: int = 0
    start: int = 0
    end: int = 0
    rest: str = ""

    @property
    def values(self) -> Interval:
        """The numbers that fulfil it; a bare number is taken for itself."""
        match self.compare:
            case Compare.ABOVE:
                return Interval(lo=self.lo)
            case Compare.AT_LEAST | Compare.UP_TO:
                return Interval(lo=self.lo, lo_closed=True)
            case Compare.BELOW:
                return Interval(hi=self.hi)
            case Compare.AT_MOST | Compare.DOWN_TO:
                return Interval(hi=self.hi, hi_closed=True)
            case _:
                return Interval(lo=self.lo, hi=self.hi, lo_closed=True, hi_closed=True)


_SCALE = {"k": 3, "thousand": 3, "m": 6, "mm": 6, "million": 6, "b": 9, "bn": 9, "billion": 9, "t": 12, "trillion": 12}
_WORDS = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}

_NUM = (
    r"(?<![\w.,])(?P<{n}sign>(?<!\d)-)?(?P<{n}cur>[$€£])?(?P<{n}sign2>-)?(?P<{n}num>\d{{1,3}}(?:,\d{{3}})+(?:\.\d{{1,12}})?|\d{{1,15}}(?:\.\d{{1,12}})?|\.\d{{1,6}})"
    r"\s?(?P<{n}scale>(?:million|billion|trillion|thousand|bn|mm|[kKmMbBtT])(?![A-Za-z]))?"
    r"\s?(?P<{n}unit>%|°\s?[CF]?(?![A-Za-z])|bps\b|bp\b|basis points\b|degrees\b)?(?!\w)"
)
_ONE, _TWO = _NUM.format(n="a"), _NUM.format(n="b").replace(r"(?<![\w.,])", "")
_BEFORE = (
    r"(?P<before>↑|↓|[<>]=?|[≤≥]|(?:strictly\s)?(?:above|over|exceeds?|more than|greater than|higher than)|at least|"
    r"(?:strictly\s)?(?:below|under|less than|fewer than|lower than)|at most|up to|no more than|no less than|exactly|between|"
    r"o/u|reach(?:es)?|hits?(?:\s\((?:high|low)\))?|dips?\s(?:to|below)|falls?\s(?:to|below)|drops?\s(?:to|below)|"
    r"equal to or (?:greater|higher|above)(?: than)?|equal to or (?:less|lower|below)(?: than)?|from)?"
)
_AFTER = (
    r"(?P<after>\s?\+|\s?\bor\s(?:more|higher|above|greater|over|hotter|warmer)|\s?\band above|"
    r"\s?\bor\s(?:less|lower|below|fewer|under|colder|cooler)|\s?\((?:high|low)\))?"
)
_EXPRESSION = re.compile(
    rf"{_BEFORE}\s{{0,3}}{_ONE}(?:\s{{0,2}}(?:-|to|and|through)\s{{0,2}}{_TWO})?{_AFTER}", re.IGNORECASE
)
_SPELLED = re.compile(
    rf"\b(at least|more than|fewer than|less than|exactly|over|under)\s({'|'.join(_WORDS)})\b", re.IGNORECASE
)
_CLOCK = re.compile(r"\d{1,2}:\d\d")
_OPEN = {
    "↑": Compare.UP_TO, "↓": Compare.DOWN_TO, ">": Compare.ABOVE, "<": Compare.BELOW, ">=": Compare.AT_LEAST,
    "<=": Compare.AT_MOST, "≥": Compare.AT_LEAST, "≤": Compare.AT_MOST, "at least": Compare.AT_LEAST,
    "no less than": Compare.AT_LEAST, "at most": Compare.AT_MOST, "up to": Compare.AT_MOST, "no more than": Compare.AT_MOST,
    "exactly": Compare.EXACTLY, "o/u": Compare.ABOVE,
}  # fmt: skip


def quantity(text: str) -> Quantity | None:
    """The first quantity of a text; one that compares is preferred to a bare number.

    Parameters
    ----------
    text : str
        Plain (see ``wording.plain``).

    Examples
    --------
    >>> found = quantity("Will it be between $62,000 and $64,000 on May 1?")
    >>> found.compare, found.lo, found.hi, found.unit
    (<Compare.BETWEEN: 'between'>, Decimal('62000'), Decimal('64000'), '$')
    >>> [str(quantity(one).values.lo) for one in ("57+", "≥ 4.5%", "19-22m", "101-1k", "> $2B")]
    ['57', '4.5', '19000000', '101', '2000000000']
    """
    found = [one for match in _EXPRESSION.finditer(text[:400]) if (one := _read(match, text)) is not None]
    if not found:
        spelled = _SPELLED.search(text[:400])
        if spelled is None:
            return None
        number = Decimal(_WORDS[spelled[2].lower()])
        return Quantity(
            compare=_compare(spelled[1].lower(), "", ranged=False), lo=number, hi=number,
            start=spelled.start(), end=spelled.end(), rest=_without(text, spelled.start(), spelled.end()),
        )  # fmt: skip
    return next((one for one in found if one.compare is not Compare.BARE), found[0])


def _read(match: re.Match[str], text: str) -> Quantity | None:
    if _CLOCK.match(text, match.start("anum")) or (match.start("anum") and text[match.start("anum") - 1] == ":"):
        return None
    before, after = (match.group("before") or "").lower(), (match.group("after") or "").strip().lower()
    lo, lo_digits = _value(match, "a")
    ranged = match.group("bnum") is not None
    hi, hi_digits = _value(match, "b") if ranged else (lo, lo_digits)
    if ranged and not match.group("ascale") and match.group("bscale"):
        factor = Decimal(10) ** _SCALE[match.group("bscale").lower()]
        if lo < hi / factor:  # "19-22m" means millions at both ends, "101-1k" does not
            lo *= factor
    if ranged and hi < lo:
        return None
    unit = match.group("bunit") or match.group("aunit") or match.group("acur") or ""
    unit = (
        "°"
        if unit.startswith("°") or unit.lower() == "degrees"
        else "bps"
        if unit.lower().startswith(("bp", "basis"))
        else unit
    )
    # A scale hides digits: "1.5B" is no statement about tenths.
    decimals = 0 if match.group("ascale") or match.group("bscale") else max(lo_digits, hi_digits)
    return Quantity(
        compare=_compare(before, after, ranged=ranged), lo=lo, hi=hi, unit=unit, decimals=decimals,
        start=match.start(), end=match.end(), rest=_without(text, match.start(), match.end()),
    )  # fmt: skip


def _value(match: re.Match[str], n: str) -> tuple[Decimal, int]:
    digits = match.group(f"{n}num").replace(",", "")
    value = Decimal(digits)
    if match.group(f"{n}sign") or match.group(f"{n}sign2"):
        value = -value
    scale = match.group(f"{n}scale")
    return value * Decimal(10) ** (_SCALE[scale.lower()] if scale else 0), len(digits.partition(".")[2])


def _compare(before: str, after: str, *, ranged: bool) -> Compare:
    if ranged:
        return Compare.BETWEEN
    if after:
        low = after == "(low)" or after.endswith(("less", "lower", "below", "fewer", "under", "colder", "cooler"))
        if after.startswith("("):
            return Compare.DOWN_TO if low else Compare.UP_TO
        touching = before.startswith(("reach", "hit", "dip", "fall", "drop"))
        if touching:
            return Compare.DOWN_TO if low else Compare.UP_TO
        return Compare.AT_MOST if low else Compare.AT_LEAST
    if before in _OPEN:
        return _OPEN[before]
    before = before.removeprefix("strictly ")
    if before.startswith("equal to or"):
        return (
            Compare.AT_MOST
            if before.endswith(("less", "lower", "below", "less than", "lower than"))
            else Compare.AT_LEAST
        )
    if before.startswith(("reach", "hit")):
        return Compare.DOWN_TO if "(low)" in before else Compare.UP_TO
    if before.startswith(("dip", "fall", "drop")):
        return Compare.DOWN_TO
    if before.startswith(("above", "over", "exceed", "more", "greater", "higher")):
        return Compare.ABOVE
    if before.startswith(("below", "under", "less", "fewer", "lower")):
        return Compare.BELOW
    return Compare.BARE


def _without(text: str, start: int, end: int) -> str:
    return " ".join((text[:start] + " " + text[end:]).lower().split())


def decimals_of(number: Decimal) -> int:
    """Digits after the point that matter."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def strike_values(kind: str, floor: str, cap: str) -> Interval | None:
    """What a venue's strike fields say, or None when they say nothing readable.

    Examples
    --------
    >>> strike_values("between", "89", "90").hi_closed, strike_values("greater", "94", "").lo_closed
    (True, False)
    """
    lo, hi = _decimal(floor), _decimal(cap)
    match kind:
        case "greater" if lo is not None:
            return Interval(lo=lo)
        case "greater_or_equal" if lo is not None:
            return Interval(lo=lo, lo_closed=True)
        case "less" if hi is not None:
            return Interval(hi=hi)
        case "less_or_equal" if hi is not None:
            return Interval(hi=hi, hi_closed=True)
        case "between" if lo is not None and hi is not None and lo <= hi:
            return Interval(lo=lo, hi=hi, lo_closed=True, hi_closed=True)
        case "structured" if lo is not None and hi is None:
            return Interval(lo=lo)
        case _:
            return None


def _decimal(text: str) -> Decimal | None:
    if not re.fullmatch(r"-?\d{1,20}(?:\.\d{1,12})?(?:[eE]\+?\d{1,2})?", text):
        return None
    return Decimal(text)

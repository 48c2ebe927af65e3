"""What the words say is paid when a question does not end by its own answer: cancellation, tie, no data, absence."""

from __future__ import annotations

import re
from functools import lru_cache

from overround.logic import Branch, Payoff

__all__ = ["payoffs"]

_SENTENCE = re.compile(r"(?<=[.!?\"'])\s+(?=[A-Z\"(])|\n+|;")
_BRANCHES = (
    (Branch.ABSENT, re.compile(r"scratched|not (?:in|included in) the starting|does not (?:play|start|participate|take part)|inactive|not a start", re.IGNORECASE)),
    (Branch.CANCELLED, re.compile(r"cancel|not played|postponed|rescheduled|abandon|walkover|not started|does not occur|not completed|not take place|is not held", re.IGNORECASE)),
    (Branch.TIE, re.compile(r"\btie[sd]?\b|\bdraw\b|same number|50[- ]?/?50 split|exactly between|are exactly equal", re.IGNORECASE)),
    (Branch.NO_DATA, re.compile(r"\bno (?:data|statement|official|winner|nominee|decision|result|closing|report)|not (?:been )?(?:published|released|announced|known)|permanently unavailable|does not (?:trade|publish)|isn't known|are not known", re.IGNORECASE)),
)  # fmt: skip
_PAID = (
    (Payoff.FAIR, re.compile(r"fair (?:market )?(?:price|value)|last fair|last traded price", re.IGNORECASE)),
    (Payoff.HALF, re.compile(r"50\s?[-/]\s?50|\$0\.50|0\.5\b", re.IGNORECASE)),
    (Payoff.OTHER, re.compile(r"resolves? (?:to )?[\"']?(?:other|draw|no change)\b|(?:higher|lower|lowest|highest) (?:range )?bracket|the [\"'].{1,40}[\"'] bracket", re.IGNORECASE)),
    (Payoff.NOTHING, re.compile(r"resolves? (?:to )?(?:[\"']no[.,]?[\"']|[\"']?no\b(?!\s(?!if|unless|and|for|when|otherwise)\w))", re.IGNORECASE)),
    (Payoff.ALL, re.compile(r"resolves? (?:to )?[\"']?yes\b", re.IGNORECASE)),
)  # fmt: skip

_ONE_STRIKE = re.compile(
    r"(?:strike|bracket|market) for (\"[^\"]{2,60}\"|the event not occurring) will resolve to \"?Yes\"? and all other|\"([^\"]{3,60})\" will resolve to \"Yes\" and all other",
    re.IGNORECASE,
)
_NOT_YET = re.compile(
    r"^\W*if (?:no .{3,160}?|.{3,160}? (?:not|never|isn't|hasn't) .{3,160}?|.{3,60} doesn't .{3,80}?)\b(?:by|before|within)\b",
    re.IGNORECASE,
)
_NAMED_ONE = re.compile(
    r"resolves? to (?:the )?[\"'](?!(?:yes|no)[.,]?[\"'])(?P<named>[^\"]{3,60})[\"']", re.IGNORECASE
)
_EACH = re.compile(
    r"(?:,|;) or (?:ends?|finishes|results?) in a (?:tie|draw)|(?:ends?|finishes) in a (?:tie|draw),? or", re.IGNORECASE
)
_FAIR_LATER = re.compile(r"(?:resolve|settle)\w*.{0,40}\bfair (?:market )?(?:price|value)", re.IGNORECASE)


@lru_cache(maxsize=8_192)
def _payoffs(rules: str) -> dict[str, Payoff]:
    """The same for every market of one text."""
    found: dict[str, Payoff] = {}
    for sentence in _SENTENCE.split(rules[:12_000]):
        paid = next((payoff for payoff, words in _PAID if words.search(sentence)), None)
        if paid is None and _NOT_YET.search(sentence) and _NAMED_ONE.search(sentence):
            paid = Payoff.OTHER
        if paid is None:
            continue
        named = [branch for branch, words in _BRANCHES if words.search(sentence)]
        if not named and _NOT_YET.search(sentence):
            named = [Branch.CANCELLED]
        # A fair price counts even where its sentence only points back to the case.
        if not named and _FAIR_LATER.search(sentence):
            named = [Branch.CANCELLED]
        fresh = [branch for branch in named if branch.value not in found]
        each = _EACH.search(sentence) or (paid is Payoff.HALF and Branch.TIE in fresh)
        for branch in fresh if each else fresh[:1]:
            found[branch.value] = paid
    return found


def payoffs(rules: str, label: str = "") -> dict[str, Payoff]:
    """The payoff of the first outcome by branch, as far as a sentence says both.

    Parameters
    ----------
    rules : str
    label : str
        The market's caption: where one strike of a set is paid in a branch, whether it is this one.

    Examples
    --------
    >>> payoffs("If the game is canceled entirely, this market will resolve 50-50.")
    {'cancelled': <Payoff.HALF: '0.5'>}
    """
    found = _payoffs(rules)
    strike = _ONE_STRIKE.search(rules)
    if strike is None:
        paid = _NAMED_ONE.search(rules) if Payoff.OTHER in found.values() else None
        if paid is None or paid["named"].strip(" .-").lower() != label.strip(" -").lower():
            return found
        return {branch: Payoff.ALL if payoff is Payoff.OTHER else payoff for branch, payoff in found.items()}
    named = (strike[1] or strike[2]).strip(' "-').lower()
    return found | {Branch.CANCELLED.value: Payoff.ALL if named == label.strip(" -").lower() else Payoff.OTHER}

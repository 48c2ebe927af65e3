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
    (Branch.TIE, re.compile(r"\btie[sd]?\b|\bdraw\b|same number|50[- ]?/?50 split|exactly between", re.IGNORECASE)),
    (Branch.NO_DATA, re.compile(r"\bno (?:data|statement|official|winner|nominee|decision|result|closing|report)|not (?:been )?(?:published|released|announced|known)|permanently unavailable|isn't known|are not known", re.IGNORECASE)),
)  # fmt: skip
_PAID = (
    (Payoff.FAIR, re.compile(r"fair (?:market )?(?:price|value)|last fair|last traded price", re.IGNORECASE)),
    (Payoff.HALF, re.compile(r"50\s?[-/]\s?50|\$0\.50|0\.5\b", re.IGNORECASE)),
    (Payoff.OTHER, re.compile(r"resolves? (?:to )?[\"']?(?:other|draw|no change)\b|(?:higher|lower|lowest|highest) (?:range )?bracket|the [\"'].{1,40}[\"'] bracket", re.IGNORECASE)),
    (Payoff.NOTHING, re.compile(r"resolves? (?:to )?[\"']?no\b", re.IGNORECASE)),
    (Payoff.ALL, re.compile(r"resolves? (?:to )?[\"']?yes\b", re.IGNORECASE)),
)  # fmt: skip

_FAIR_LATER = re.compile(r"(?:resolve|settle)\w*.{0,40}\bfair (?:market )?(?:price|value)", re.IGNORECASE)


@lru_cache(maxsize=8_192)
def payoffs(rules: str) -> dict[str, Payoff]:
    """The payoff of the first outcome by branch, as far as a sentence says both.

    Examples
    --------
    >>> payoffs("If the game is canceled entirely, this market will resolve 50-50.")
    {'cancelled': <Payoff.HALF: '0.5'>}
    """
    found: dict[str, Payoff] = {}
    for sentence in _SENTENCE.split(rules[:12_000]):
        paid = next((payoff for payoff, words in _PAID if words.search(sentence)), None)
        if paid is None:
            continue
        named = next(
            (branch for branch, words in _BRANCHES if branch.value not in found and words.search(sentence)), None
        )
        # A fair price counts even where its sentence only points back to the case.
        if named is not None or _FAIR_LATER.search(sentence):
            found.setdefault((named or Branch.CANCELLED).value, paid)
    return found

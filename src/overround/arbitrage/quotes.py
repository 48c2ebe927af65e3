"""What can be bought of each leg, and what it costs at most.

Only purchases exist here: selling the first outcome at a bid *is* buying the second one at its mirror price, since the
venue mints the pair and sells one half of it (a split with a sale), or nets the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from overround.book import Level, mirror
from overround.fills import USD_ONE_E10, fee_bound
from overround.market import PX_ONE_E4, SZ_ONE_E6, FeeKind, FeeSchedule, Integrity, OutcomeId

__all__ = ["ExclusiveSet", "Limits", "Quote", "cost_e10", "quote_of", "unusable"]


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Both outcomes of one leg, as they are offered.

    Attributes
    ----------
    yes, no : tuple of Level
        What the first and the second outcome are offered at, best price first.
    fee : FeeSchedule
        In force when the book was seen.
    outcome_ids : tuple of OutcomeId
    lot_e6 : int
        Orders are multiples of it.
    min_contracts_e6, min_cost_e10 : int
        Smallest order, in contracts and in money before fees.
    ts_ms : int
        When the book was last known to be as it is here.
    integrity : Integrity
    settles_ts_ms : int or None
        When the leg pays, at the latest that is expected (delays and dispute windows included).
    """

    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    fee: FeeSchedule = FeeSchedule()
    outcome_ids: tuple[OutcomeId, OutcomeId] = (OutcomeId("yes"), OutcomeId("no"))
    lot_e6: int = SZ_ONE_E6
    min_contracts_e6: int = 0
    min_cost_e10: int = 0
    ts_ms: int = 0
    integrity: Integrity = Integrity.VERIFIED
    settles_ts_ms: int | None = None


class ExclusiveSet(msgspec.Struct, frozen=True, kw_only=True):
    """Legs whose contrary outcomes the venue gives money back for before they settle.

    Attributes
    ----------
    legs : tuple of int
        Places of the set's legs in the component.
    converts : bool
        Polymarket's neg-risk conversion: contraries of k legs become the other legs and ``k - 1`` in cash, less a fee.
        False is Kalshi's netting, which pays the ``k - 1`` back as collateral and leaves the position.
    fee_bips : int
        What a conversion keeps, in hundredths of a percent.
    """

    legs: tuple[int, ...]
    converts: bool = False
    fee_bips: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a portfolio may use.

    Attributes
    ----------
    budget_e10 : int or None
        Outlay with fees, before anything is released.
    max_age_ms, max_apart_ms : int
        Age of the oldest book, and time between the oldest and the newest.
    verdicts : tuple of Integrity
        Which books are believed.
    least_profit_e10 : int
        Below it nothing is reported.
    base_rate_e6 : int
        What idle money earns in a year, millionths.
    proved_only : bool
        Whether a finding that holds under conditions is withheld.
    """

    budget_e10: int | None = None
    max_age_ms: int = 5_000
    max_apart_ms: int = 2_000
    verdicts: tuple[Integrity, ...] = (Integrity.VERIFIED,)
    least_profit_e10: int = USD_ONE_E10 // 100
    base_rate_e6: int = 40_000
    proved_only: bool = False


def quote_of(bids: Iterable[Level], asks: Sequence[Level], **known: object) -> Quote:
    """The quote of a book of the first outcome (best levels first)."""
    return msgspec.structs.replace(Quote(yes=tuple(asks), no=tuple(mirror(bids))), **known)


def cost_e10(quote: Quote, px_e4: int) -> int:
    """The most that one contract costs at a price, fee included, without what an order adds once."""
    # Of a thousand, so that the rounding of one does not weigh on each; what that leaves out, the exact check counts.
    fee = fee_bound(quote.fee, px_e4=px_e4, sz_e6=1_000 * SZ_ONE_E6, ts_ms=quote.ts_ms)
    return px_e4 * SZ_ONE_E6 + (USD_ONE_E10 if fee is None else -(-fee // 1_000))


def unusable(quotes: Mapping[int, Quote], limits: Limits, *, now_ms: int) -> dict[int, str]:
    """Legs on whose books nothing may be claimed, and why."""
    newest = max((quote.ts_ms for quote in quotes.values()), default=0)
    why = {}
    for leg, quote in quotes.items():
        if quote.integrity not in limits.verdicts:
            why[leg] = f"the book is {quote.integrity}"
        elif quote.fee.kind is FeeKind.UNKNOWN:
            why[leg] = f"fees of an unknown kind ({quote.fee.name})"
        elif not 0 <= now_ms - quote.ts_ms <= limits.max_age_ms:
            why[leg] = f"the book is too old ({now_ms - quote.ts_ms} ms)"
        elif newest - quote.ts_ms > limits.max_apart_ms:
            why[leg] = f"the book is too far from another ({newest - quote.ts_ms} ms)"
        elif quote.yes and quote.no and quote.yes[0].px_e4 + quote.no[0].px_e4 <= PX_ONE_E4:
            why[leg] = "the book is crossed"
        elif any(not 0 < level.px_e4 < PX_ONE_E4 or level.sz_e6 <= 0 for level in (*quote.yes, *quote.no)):
            why[leg] = "a level lies off the grid"
    return why

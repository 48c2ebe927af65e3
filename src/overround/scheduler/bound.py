"""How long a market can wait for its turn, from the limits alone."""

from __future__ import annotations

from overround.scheduler.plan import CHURN_WINDOW_MS, Limits

__all__ = ["visit_bound_ms"]


def visit_bound_ms(
    limits: Limits, *, waiting: int, plan_every_ms: int, first_book_ms: int = 0, contested: bool = False
) -> int | None:
    """Longest time until each of ``waiting`` eligible markets has been subscribed.

    Parameters
    ----------
    limits : Limits
    waiting : int
        Eligible markets without a slot (eligible minus ``max_subs``); for one market, those ahead of it and itself.
    plan_every_ms : int
        Time between two calls of ``plan_rotation``.
    first_book_ms : int
        Time from a market's addition to its first book; the time-out of the limits caps it.
    contested : bool
        Whether listings or scores change meanwhile. Then newcomers and HOT challengers may take every second slot
        from the express queue.

    Returns
    -------
    int or None
        Milliseconds from the first fill, or from a market's listing; None where the limits allow no turn (no WARM
        slot, or a churn limit of 0).

    Notes
    -----
    With Q markets waiting, a churn limit of C a minute, W WARM slots, a rotation period P, a plan every d, and a
    first book a later (a whole number of d, at least one), and M = 60 s ::

        T = (P + d)  +  max( ceil(2 Q / C) (M + d + (a + d) / 2),
                             ceil(Q / W) (P + d) )                 +  (M + a + d)

    The first term is the stay of the first WARM market. The second is the slower of two gates. Churn: a swap is
    an addition and a removal; each blocks one of C places of the sliding minute until it expires and the next
    plan sees it, the removal's from the moment it is reserved, a earlier: per swap 2 (M + d + (a + d) / 2)
    place-milliseconds, of which C pass in a millisecond. Stay: W slots turn over once per P, seen at the next plan.
    The last term is the window in which the last swap may be caught. ``contested`` doubles Q. Simulations over random
    universes hold the schedule to this bound, and come within 2 % of it.

    Examples
    --------
    >>> limits = Limits(max_subs=200, hot_count=40, rotation_period_ms=180_000, churn_per_minute=20)
    >>> bound = visit_bound_ms(limits, waiting=1800, plan_every_ms=5_000, first_book_ms=1_000)
    >>> f"{bound / 3_600_000:.1f} h"
    '3.6 h'
    """
    if waiting <= 0:
        return 0
    if limits.warm_slots == 0 or limits.churn_per_minute == 0:
        return None
    queue = 2 * waiting if contested else waiting
    first_book_ms = min(first_book_ms, limits.first_book_timeout_ms)
    arrival_ms = max(1, -(-first_book_ms // plan_every_ms)) * plan_every_ms
    stay_ms = limits.rotation_period_ms + plan_every_ms
    churn_gate_ms = -(-2 * queue // limits.churn_per_minute) * (
        CHURN_WINDOW_MS + plan_every_ms + (arrival_ms + plan_every_ms + 1) // 2
    )
    stay_gate_ms = -(-queue // limits.warm_slots) * stay_ms
    return stay_ms + max(churn_gate_ms, stay_gate_ms) + CHURN_WINDOW_MS + arrival_ms + plan_every_ms

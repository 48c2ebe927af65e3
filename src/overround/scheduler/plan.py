"""What the scheduler is told, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from overround.market import MarketId

__all__ = ["CHURN_WINDOW_MS", "Limits", "Plan"]

CHURN_WINDOW_MS = 60_000
"""The minute of ``subscription_churn_limit_per_minute``; it slides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one venue's subscriptions must keep to.

    Attributes
    ----------
    max_subs : int
        Markets subscribed at once (``max_subs_per_venue``). While one market takes another's place the
        venue may hold up to ``churn_per_minute`` more.
    hot_count : int
        Markets that stay; a count above ``max_subs`` means all of them.
    rotation_period_ms : int
        Shortest stay of a WARM market, and the time between two looks at the HOT set.
    churn_per_minute : int
        Markets added plus removed by rotation in any 60 s; 0 turns rotation off.
    closing_margin_ms : int
        A market that closes sooner than this is not taken up any more (one that is held stays to its end).
    first_book_timeout_ms : int
        A newcomer that shows no book for so long no longer holds up the removal of the market it replaces.
    hot_margin : float
        Score by which a challenger must beat the weakest HOT market to replace it at once.
    hot_patience : int
        Turns in a row after which a challenger that merely ranks higher gets in all the same.
    hot_changes_per_turn : int or None
        HOT markets replaced in one turn at most; None takes a quarter of the HOT set, at least one.
    """

    max_subs: int
    hot_count: int
    rotation_period_ms: int
    churn_per_minute: int
    closing_margin_ms: int = 60_000
    first_book_timeout_ms: int = 30_000
    hot_margin: float = 0.05
    hot_patience: int = 3
    hot_changes_per_turn: int | None = None

    def __post_init__(self) -> None:
        if self.max_subs < 1:
            raise ValueError(f"max_subs={self.max_subs} is not positive")
        for name in (
            "hot_count",
            "rotation_period_ms",
            "churn_per_minute",
            "closing_margin_ms",
            "first_book_timeout_ms",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")

    @property
    def hot_slots(self) -> int:
        """Slots of the HOT set."""
        return min(self.hot_count, self.max_subs)

    @property
    def warm_slots(self) -> int:
        """Slots of the WARM set."""
        return self.max_subs - self.hot_slots

    @property
    def hot_turnover(self) -> int:
        """HOT markets that may be replaced in one turn."""
        return max(1, self.hot_slots // 4) if self.hot_changes_per_turn is None else self.hot_changes_per_turn


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a collector does next, and what it then holds.

    ``add`` and ``remove`` are to be carried out now, ``add`` first. A market that makes room for a
    newcomer is not removed in the plan that adds the newcomer: it is ``leaving``, still subscribed, and
    comes up in ``remove`` of a later plan, once the newcomer has its first book or was given up.

    Attributes
    ----------
    hot, warm : frozenset of MarketId
        The target; disjoint.
    leaving : frozenset of MarketId
        Still subscribed, and recorded at the warm interval, until a later plan removes them.
    add : tuple of MarketId
        To subscribe now, the most wanted first.
    remove : tuple of MarketId
        To unsubscribe now: first what the venue closed or no longer lists, then what rotation replaced.
    closed : tuple of MarketId
        The part of ``remove`` that the venue ended.
    counted : int
        Additions and removals of this plan that count against the churn limit.
    turn : bool
        Whether the HOT set was looked at.
    promoted, demoted : tuple of MarketId
        Markets that were subscribed before and went from WARM to HOT, and back.
    """

    hot: frozenset[MarketId]
    warm: frozenset[MarketId]
    leaving: frozenset[MarketId] = frozenset()
    add: tuple[MarketId, ...] = ()
    remove: tuple[MarketId, ...] = ()
    closed: tuple[MarketId, ...] = ()
    counted: int = 0
    turn: bool = False
    promoted: tuple[MarketId, ...] = ()
    demoted: tuple[MarketId, ...] = ()

    @property
    def held(self) -> frozenset[MarketId]:
        """Everything subscribed once the plan is carried out."""
        return self.hot | self.warm | self.leaving

    @property
    def idle(self) -> bool:
        """Whether nothing changes."""
        return not (self.add or self.remove or self.promoted or self.demoted)

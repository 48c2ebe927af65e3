"""Which markets are subscribed, and which take turns.

The HOT set stays; the WARM set rotates over every other eligible market. One call looks at what is held, at
the universe, the scores and the time, and answers with a plan and the next state. Nothing here waits: what
has to wait (a removal for its newcomer's first book, an addition for the churn limit) waits in the state.

**Who is eligible.** A market that is active, accepts orders, and does not close within
``closing_margin_ms``. Only Kalshi's close time is binding: Polymarket's end date is indicative (it has passed
on 5 % of the active markets), so there the listing alone says when a market has ended.

**WARM.** A market stays for at least ``rotation_period_ms``; then it may be replaced, the longest-held
first. Newcomers are taken in turn from two queues. The *fair* queue holds every waiting market by the time
since its last stay (or since it was listed), score deciding between equals; nothing overtakes in it. The
*express* queue holds markets that ought to be HOT but are not subscribed, then markets never visited,
both by score. Express never gets more than every second slot, which is what keeps the fairness bound
(see ``visit_bound_ms``); when it is empty the fair queue has every slot.

**HOT.** Once per rotation period the HOT set is compared with the best scores. A challenger replaces the
weakest HOT market if it beats it by ``hot_margin``, or has ranked among the best for ``hot_patience`` turns
in a row; at most ``hot_turnover`` change per turn. Challenger and loser change places between WARM and HOT, which
costs no subscription; a challenger that is not subscribed first comes in through the express queue. Places
left by closed markets go to the best WARM markets at once.

**Churn.** In any 60 s the additions and removals made by rotation do not exceed ``churn_per_minute``.
Not counted are the first fill (an addition to a slot never used before) and removals that the venue forces
(closed, vanished): neither is a choice of the rotation. The addition that refills a forced vacancy is counted, so
that a mass closing cannot turn into a storm. With a limit of 0 nothing rotates; vacancies are then refilled at one
a minute, since a recorder that bled out would serve nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nlargest, nsmallest
from itertools import chain
from math import isnan

from overround.market import Market, MarketId, MarketStatus, Venue
from overround.scheduler.plan import CHURN_WINDOW_MS, Limits, Plan

QUEUE_HEAD = 64
"""Waiting markets of each queue that are put in order at once."""

__all__ = ["Leaving", "RotationState", "eligible", "ended", "plan_rotation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """A market that makes room: since when, and for whom."""

    since_ms: int
    newcomer: MarketId


@dataclass(frozen=True, kw_only=True, slots=True)
class RotationState:
    """What the scheduler remembers between two calls; start with ``RotationState()``.

    Attributes
    ----------
    hot, warm : mapping of MarketId to int
        Held markets and when they came in (ms).
    leaving : mapping of MarketId to Leaving
        Subscribed until their newcomers show a book.
    visited : mapping of MarketId to int
        End of the last WARM stay (ms) of every listed market that had one.
    counted : tuple of (int, int)
        Time (ms) and number of counted additions and removals within the churn window.
    contenders : mapping of MarketId to int
        Markets that rank for HOT without being in it, and for how many turns in a row.
    wanted : tuple of MarketId
        Approved challengers that are not subscribed yet, best first.
    fair, express : tuple of MarketId
        Heads of the two queues as of their last making: a call looks at the whole universe only when the fair
        one runs out, and at each turn.
    slots_used : int
        Slots that have been filled once; beyond them a fill is the first fill.
    express_next : bool
        Whose turn it is.
    started_ms, turn_ms : int or None
        First call, and last look at the HOT set.
    now_ms : int
        Time of the last call.
    """

    hot: Mapping[MarketId, int] = field(default_factory=dict)
    warm: Mapping[MarketId, int] = field(default_factory=dict)
    leaving: Mapping[MarketId, Leaving] = field(default_factory=dict)
    visited: Mapping[MarketId, int] = field(default_factory=dict)
    counted: tuple[tuple[int, int], ...] = ()
    contenders: Mapping[MarketId, int] = field(default_factory=dict)
    wanted: tuple[MarketId, ...] = ()
    fair: tuple[MarketId, ...] = ()
    express: tuple[MarketId, ...] = ()
    slots_used: int = 0
    express_next: bool = False
    started_ms: int | None = None
    turn_ms: int | None = None
    now_ms: int = 0


def ended(market: Market, *, now_ms: int) -> bool:
    """Whether a held market has stopped trading, as far as the listing and the clock tell."""
    if market.status is not MarketStatus.ACTIVE or not market.accepts_orders:
        return True
    return market.venue is Venue.KALSHI and market.close_ts is not None and market.close_ts <= now_ms


def eligible(market: Market, *, now_ms: int, margin_ms: int) -> bool:
    """Whether a market may be taken up: it trades, and will for longer than ``margin_ms``."""
    return not ended(market, now_ms=now_ms + margin_ms)


def plan_rotation(
    state: RotationState,
    *,
    markets: Mapping[MarketId, Market],
    scores: Mapping[MarketId, float],
    now_ms: int,
    limits: Limits,
    live: Collection[MarketId] | None = None,
) -> tuple[Plan, RotationState]:
    """Decide what to subscribe, and what to let go.

    Call it every few seconds, and at once after a change of the universe. Between two moments of
    interest it costs microseconds.

    Parameters
    ----------
    state : RotationState
        What the last call returned.
    markets : mapping of MarketId to Market
        The newest universe. A held market that is missing here has vanished and is removed at once.
    scores : mapping of MarketId to float
        In [0, 1]; a market without one counts 0.
    now_ms : int
        Epoch milliseconds. A step backwards is survived: what was remembered is moved to the new time.
    limits : Limits
        May change between two calls; what no longer fits is let go at once, and new slots are filled at once.
    live : collection of MarketId or None
        Markets that have had a book since they were added. None takes a newcomer as live in the call after
        its addition.

    Returns
    -------
    Plan, RotationState
        What to do, and what to pass next time.
    """
    turn = _Turn(_rebased(state, now_ms), markets=markets, scores=scores, now_ms=now_ms, limits=limits)
    turn.drop_ended()
    turn.release(live)
    turn.shrink()
    turn.weigh_hot()
    turn.fill()
    turn.swap()
    turn.promote()
    return turn.plan(), turn.state()


class _Turn:
    """One call at work: copies of what the state holds, changed step by step."""

    def __init__(
        self,
        state: RotationState,
        *,
        markets: Mapping[MarketId, Market],
        scores: Mapping[MarketId, float],
        now_ms: int,
        limits: Limits,
    ) -> None:
        self.markets, self.scores, self.now_ms, self.limits = markets, scores, now_ms, limits
        self.hot, self.warm, self.leaving = dict(state.hot), dict(state.warm), dict(state.leaving)
        self.visited = dict(state.visited)
        self.counted = [entry for entry in state.counted if entry[0] > now_ms - CHURN_WINDOW_MS]
        self.counted_before = self.used
        self.contenders, self.wanted = state.contenders, state.wanted
        self.fair, self.express = list(state.fair), list(state.express)
        self.slots_used, self.express_next = state.slots_used, state.express_next
        self.started_ms = now_ms if state.started_ms is None else state.started_ms
        self.turn_ms = state.turn_ms
        self.subscribed = frozenset(self.hot) | frozenset(self.warm)
        self.hot_before = frozenset(self.hot)
        self.added: list[MarketId] = []
        self.removed: list[MarketId] = []
        self.closed: list[MarketId] = []
        self.turned = False

    # --- what is known -------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Counted additions and removals of the last minute."""
        return sum(number for _, number in self.counted)

    def score(self, market_id: MarketId) -> float:
        """Score of a market; 0 for one that has none, or NaN."""
        value = self.scores.get(market_id, 0.0)
        return 0.0 if isnan(value) else value

    def best(self, market_ids: Collection[MarketId], number: int) -> list[MarketId]:
        """The ``number`` markets of the highest score, the ids deciding between equals.

        A cut through the bare scores comes first: keys for 30,000 markets would cost as much as all the rest.
        """
        get = self.scores.get
        values = [0.0 if isnan(value := get(market_id, 0.0)) else value for market_id in market_ids]
        if 0 < number < len(values):
            cut = nlargest(number, values)[-1]
            market_ids = [market_id for market_id, value in zip(market_ids, values, strict=True) if value >= cut]
        return sorted(market_ids, key=lambda m: (-self.score(m), m))[:number]

    def waiting(self) -> list[MarketId]:
        """Eligible markets that are neither subscribed nor just removed: one pass over the universe."""
        hot, warm, leaving = self.hot, self.warm, self.leaving
        horizon_ms = self.now_ms + self.limits.closing_margin_ms
        return [
            market_id
            for market_id, market in self.markets.items()
            if not ended(market, now_ms=horizon_ms)
            and market_id not in warm
            and market_id not in hot
            and market_id not in leaving
            and market_id not in self.removed
        ]

    def can_come(self, market_id: MarketId) -> bool:
        """Whether a market from a queue made earlier is still waiting, eligible, and not just removed."""
        market = self.markets.get(market_id)
        return (
            market is not None
            and market_id not in self.warm
            and market_id not in self.hot
            and market_id not in self.leaving
            and market_id not in self.removed
            and eligible(market, now_ms=self.now_ms, margin_ms=self.limits.closing_margin_ms)
        )

    def count(self, number: int) -> None:
        """Enter additions or removals into the churn window."""
        if number:
            self.counted.append((self.now_ms, number))

    # --- the steps, in order --------------------------------------------------------------------

    def drop_ended(self) -> None:
        """Let go of what the venue closed or no longer lists; forced, so not counted."""
        for held in (self.hot, self.warm, self.leaving):
            gone = [
                market_id
                for market_id in held
                if (market := self.markets.get(market_id)) is None or ended(market, now_ms=self.now_ms)
            ]
            for market_id in gone:
                del held[market_id]
            self.closed.extend(gone)
        self.closed.sort()

    def release(self, live: Collection[MarketId] | None) -> None:
        """Remove markets whose newcomers have arrived, were given up, or are gone; the longest-leaving first."""
        for market_id, leave in sorted(self.leaving.items(), key=lambda item: (item[1].since_ms, item[0])):
            if self.used >= self.limits.churn_per_minute:
                return
            here = leave.newcomer in self.hot or leave.newcomer in self.warm
            arrived = leave.since_ms != self.now_ms if live is None else leave.newcomer in live
            if here and not arrived and self.now_ms - leave.since_ms < self.limits.first_book_timeout_ms:
                continue
            del self.leaving[market_id]
            self.removed.append(market_id)
            self.count(1)

    def shrink(self) -> None:
        """Let go of what limits that were lowered leave no room for; wanted by the operator, so not counted."""
        limits = self.limits
        surplus = len(self.hot) - limits.hot_slots
        if surplus > 0:
            for market_id in nsmallest(surplus, self.hot, key=lambda m: (self.score(m), m)):
                self.warm[market_id] = self.hot.pop(market_id)
        surplus = len(self.hot) + len(self.warm) - limits.max_subs
        if surplus > 0:
            for market_id in nsmallest(surplus, self.warm, key=lambda m: (self.warm[m], self.score(m), m)):
                del self.warm[market_id]
                self.visited[market_id] = self.now_ms
                self.removed.append(market_id)
        self.slots_used = min(self.slots_used, limits.max_subs)

    def weigh_hot(self) -> None:
        """Once per rotation period: compare HOT with the best scores; exchange with WARM, want the rest."""
        limits = self.limits
        if not self.markets or (self.turn_ms is not None and self.now_ms - self.turn_ms < limits.rotation_period_ms):
            return
        self.turned, self.turn_ms = True, self.now_ms
        self.visited = {market_id: ms for market_id, ms in self.visited.items() if market_id in self.markets}
        waiting = self.waiting()
        self.make_queues(waiting, QUEUE_HEAD)
        pool = [*self.hot, *self.warm, *self.best(waiting, limits.hot_slots)]
        # Among equal scores whoever is in stays in.
        pool.sort(key=lambda m: (-self.score(m), m not in self.hot, m))
        ideal = pool[: limits.hot_slots]
        best = set(ideal)
        challengers = [market_id for market_id in ideal if market_id not in self.hot]
        turns = {market_id: self.contenders.get(market_id, 0) + 1 for market_id in challengers}
        losers = sorted((m for m in self.hot if m not in best), key=lambda m: (-self.score(m), m))
        places, changes = limits.hot_slots - len(self.hot), limits.hot_turnover
        wanted: list[MarketId] = []
        for challenger in challengers:
            if places:  # A free place needs no contest.
                places -= 1
                if challenger not in self.warm:
                    wanted.append(challenger)
                continue
            if not losers or not changes:
                break
            ahead = self.score(challenger) - self.score(losers[-1])
            if ahead < limits.hot_margin and turns[challenger] < limits.hot_patience:
                continue
            changes -= 1
            loser = losers.pop()
            if challenger in self.warm:
                # The loser takes over the rest of the stay: a stay that began anew with every exchange would
                # let restless scores hold up the queue for ever.
                self.warm[loser] = self.warm.pop(challenger)
                self.hot[challenger] = self.now_ms
                del self.hot[loser], turns[challenger]
            else:
                wanted.append(challenger)
        self.contenders, self.wanted = turns, tuple(wanted)

    def fill(self) -> None:
        """Put newcomers into free slots: at once into slots never used, else as the churn limit allows."""
        limits = self.limits
        free = limits.max_subs - len(self.hot) - len(self.warm)
        if free <= 0:
            return
        first = min(free, limits.max_subs - self.slots_used)
        # A limit of 0 turns rotation off, not the recorder.
        allowance = max(limits.churn_per_minute, 1) - self.used - len(self.leaving)
        refill = max(0, min(free - first, allowance))
        newcomers = self.newcomers(first + refill)
        self.warm.update(dict.fromkeys(newcomers, self.now_ms))
        self.slots_used += min(first, len(newcomers))
        self.count(max(0, len(newcomers) - first))

    def swap(self) -> None:
        """Replace WARM markets that have had their stay, as far as the churn limit allows."""
        limits = self.limits
        if len(self.hot) + len(self.warm) < limits.max_subs:
            return  # A free slot waits for the allowance; it goes first.
        # Removals still to come are reserved. The odd one out starts a swap only when nothing is pending, so
        # that no market stays above the limit for a minute without need.
        allowance = limits.churn_per_minute - self.used - len(self.leaving)
        number = allowance // 2 + (allowance % 2 if not self.leaving else 0)
        if number <= 0:
            return
        leavers = self.leavers(number)
        if not leavers:
            return
        newcomers = self.newcomers(len(leavers), only_wanted=not limits.warm_slots)
        for leaver, newcomer in zip(leavers, newcomers, strict=False):
            self.warm.pop(leaver, None)
            self.hot.pop(leaver, None)
            self.visited[leaver] = self.now_ms
            self.leaving[leaver] = Leaving(since_ms=self.now_ms, newcomer=newcomer)
            self.warm[newcomer] = self.now_ms
            self.count(1)

    def promote(self) -> None:
        """Give free HOT places to the best WARM markets."""
        places = self.limits.hot_slots - len(self.hot)
        if places > 0 and self.warm:
            for market_id in self.best(self.warm, places):
                del self.warm[market_id]
                self.hot[market_id] = self.now_ms

    # --- who goes, who comes ---------------------------------------------------------------------

    def leavers(self, number: int) -> list[MarketId]:
        """Markets whose turn is over: WARM by length of stay; without WARM slots the weakest of HOT."""
        if not self.limits.warm_slots:
            return nsmallest(min(number, len(self.wanted)), self.hot, key=lambda m: (self.score(m), m))
        latest = self.now_ms - self.limits.rotation_period_ms
        due = [market_id for market_id, since_ms in self.warm.items() if since_ms <= latest]
        return nsmallest(number, due, key=lambda m: (self.warm[m], self.score(m), m))

    def newcomers(self, number: int, *, only_wanted: bool = False) -> list[MarketId]:
        """Take at most ``number`` waiting markets, from the express and the fair queue in turn."""
        if number <= 0:
            return []
        express_first = [m for m in self.wanted if self.can_come(m)]
        if only_wanted:
            taken = dict.fromkeys(express_first[:number])
        else:
            self.fair = [m for m in self.fair if self.can_come(m)]
            if len(self.fair) < number:
                self.make_queues(self.waiting(), max(QUEUE_HEAD, number))
            express_next = (m for m in self.express if m not in self.visited and self.can_come(m))
            taken = self._alternate(iter(self.fair), chain(express_first, express_next), number)
        self.added.extend(taken)
        self.wanted = tuple(m for m in self.wanted if m not in taken)
        return list(taken)

    def _alternate(self, fair: Iterator[MarketId], express: Iterator[MarketId], number: int) -> dict[MarketId, None]:
        taken: dict[MarketId, None] = {}
        while len(taken) < number:
            served_fair = not self.express_next
            market_id = next((m for m in (fair if served_fair else express) if m not in taken), None)
            if market_id is None:
                served_fair = not served_fair
                market_id = next((m for m in (fair if served_fair else express) if m not in taken), None)
            if market_id is None:
                break
            # Whoever was served lets the other go first next time, so express has at most every second slot.
            self.express_next = served_fair
            taken[market_id] = None
        return taken

    def make_queues(self, waiting: Collection[MarketId], number: int) -> None:
        """Put the first ``number`` waiting markets of each queue in order."""
        visited, markets, started_ms = self.visited, self.markets, self.started_ms
        self.express = self.best([m for m in waiting if m not in visited], number)
        # What was listed before we started has waited since we started: among those the score decides.
        since = [visited[m] if m in visited else max(started_ms, markets[m].first_seen_ts) for m in waiting]
        if number < len(since):
            cut = nsmallest(number, since)[-1]
            first = [m for m, ms in zip(waiting, since, strict=True) if ms < cut]
            equal = self.best([m for m, ms in zip(waiting, since, strict=True) if ms == cut], number - len(first))
            waiting = [*first, *equal]
        self.fair = sorted(
            waiting,
            key=lambda m: (
                visited[m] if m in visited else max(started_ms, markets[m].first_seen_ts),
                -self.score(m),
                m,
            ),
        )

    # --- results -----------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """The plan of this call."""
        hot, warm = frozenset(self.hot), frozenset(self.warm)
        return Plan(
            hot=hot,
            warm=warm,
            leaving=frozenset(self.leaving),
            add=tuple(self.added),
            remove=(*self.closed, *self.removed),
            closed=tuple(self.closed),
            counted=self.used - self.counted_before,
            turn=self.turned,
            promoted=tuple(sorted((hot & self.subscribed) - self.hot_before)),
            demoted=tuple(sorted(warm & self.hot_before)),
        )

    def state(self) -> RotationState:
        """What to remember."""
        return RotationState(
            hot=self.hot,
            warm=self.warm,
            leaving=self.leaving,
            visited=self.visited,
            counted=tuple(self.counted),
            contenders=self.contenders,
            wanted=self.wanted,
            fair=tuple(self.fair),
            express=tuple(self.express),
            slots_used=self.slots_used,
            express_next=self.express_next,
            started_ms=self.started_ms,
            turn_ms=self.turn_ms,
            now_ms=self.now_ms,
        )


def _rebased(state: RotationState, now_ms: int) -> RotationState:
    """Carry the state over a clock that stepped back: nothing remembered lies in the future."""
    if now_ms >= state.now_ms:
        return state

    def clipped(times: Mapping[MarketId, int]) -> dict[MarketId, int]:
        return {market_id: min(ms, now_ms) for market_id, ms in times.items()}

    return RotationState(
        hot=clipped(state.hot),
        warm=clipped(state.warm),
        leaving={
            market_id: Leaving(since_ms=min(leave.since_ms, now_ms), newcomer=leave.newcomer)
            for market_id, leave in state.leaving.items()
        },
        visited=clipped(state.visited),
        counted=tuple((min(ms, now_ms), number) for ms, number in state.counted),
        contenders=state.contenders,
        wanted=state.wanted,
        fair=state.fair,
        express=state.express,
        slots_used=state.slots_used,
        express_next=state.express_next,
        started_ms=None if state.started_ms is None else min(state.started_ms, now_ms),
        turn_ms=None if state.turn_ms is None else min(state.turn_ms, now_ms),
        now_ms=now_ms,
    )

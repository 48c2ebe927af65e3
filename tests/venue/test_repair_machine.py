"""Markets of one venue climb the table together, whatever they see: they never stall, never storm, and always end.

Each is driven as a feed drives it: the action is done, what cannot be done is answered with ``USELESS`` or ``BUSY``,
and the passing of its time is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from overround.venue.repair import (
    BUDGETS,
    RECONNECT_REST_MS,
    STEPS,
    TABLE,
    Action,
    Budget,
    Ladder,
    Mend,
    Pace,
    RepairBudgets,
    Saw,
    State,
)

pytestmark = pytest.mark.timeout(1_800)

PACE = Pace(
    joining=30_000, recheck=500, resnapshot=2_000, resubscribe=10_000, renew=10_000, reconnect=30_000, rest=10_000
)
LONGEST_MS = PACE.longest_rest
TROUBLE = (Saw.DOUBT, Saw.FAULT, Saw.MUTE)
NO_TROUBLE = (State.WHOLE, State.ENDED)
MARKETS = 4
SLOTS = 2

which = st.integers(0, MARKETS - 1)


@dataclass
class One:
    """A market and what was done for it."""

    slot: int
    mend: Mend = field(default_factory=Mend)
    marked: int = 0


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.markets = [One(n % SLOTS) for n in range(MARKETS)]
        self.taken: list[tuple[State, int, int]] = []
        self.lacking: set[State] = set()

    @initialize(
        lacking=st.sets(st.sampled_from([State.RENEW, State.RESNAPSHOT])),
        tight=st.booleans(),
    )
    def begin(self, lacking: set[State], *, tight: bool) -> None:
        self.lacking = lacking
        self.budget = {step: Budget(1, 60_000) for step in BUDGETS} if tight else dict(BUDGETS)
        budgets = RepairBudgets(self.budget)
        self.ladders = [Ladder(budgets) for _ in range(SLOTS)]
        for one in self.markets:
            self.do(one, one.mend.see(Saw.ASKED, self.now_ms))

    def do(self, one: One, action: Action) -> None:
        """As a feed does it; a slot that is given up reconnects at once."""
        mend, given_up = one.mend, False
        for _ in range(len(State)):
            step = STEPS.get(action)
            if step is None:
                break
            if step in self.lacking:
                action = mend.see(Saw.USELESS, self.now_ms)
            elif self.ladders[one.slot].take(step, self.now_ms):
                self.taken.append((step, one.slot, self.now_ms))
                mend.acted = True
                mend.await_by(PACE, self.now_ms)
                given_up = step is State.RECONNECT
                break
            else:
                action = mend.see(Saw.BUSY, self.now_ms)
        if action is Action.PAUSE:
            mend.due_ms = self.ladders[one.slot].free_ms(mend.state, self.now_ms)
        elif action in (Action.AWAIT, Action.LOOK_AGAIN, Action.MARK):
            one.marked += action is Action.MARK
            mend.await_by(PACE, self.now_ms)
        if given_up:
            self.lose(one.slot)

    def lose(self, slot: int) -> None:
        mine = [one for one in self.markets if one.slot == slot]
        for one in mine:
            one.mend.see(Saw.LOST, self.now_ms)
        for one in mine:
            self.do(one, one.mend.see(Saw.ASKED, self.now_ms))

    @rule(n=which, saw=st.sampled_from(TROUBLE), climbs=st.booleans())
    def trouble(self, n: int, saw: Saw, *, climbs: bool) -> None:
        one = self.markets[n]
        if one.mend.state is State.WHOLE:
            self.do(one, one.mend.broke(saw, self.now_ms, climbs=climbs))
        else:
            self.do(one, one.mend.see(saw, self.now_ms))

    @rule(n=which, saw=st.sampled_from([Saw.BOOK, Saw.PROOF, Saw.REST_BOOK, Saw.USELESS, Saw.ENDED]))
    def word(self, n: int, saw: Saw) -> None:
        one = self.markets[n]
        before = one.mend.state
        action = one.mend.see(saw, self.now_ms)
        if saw is Saw.BOOK:
            assert one.mend.state is State.WHOLE
        if one.mend.state is State.WHOLE and before is not State.WHOLE:
            assert action in (Action.RESTORE, Action.ADOPT)
        self.do(one, action)

    @rule(slot=st.integers(0, SLOTS - 1))
    def a_connection_is_lost(self, slot: int) -> None:
        self.lose(slot)

    @rule(ms=st.sampled_from([100, 1_000, 10_000, 60_000, 600_000]))
    def time_passes(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        for _ in range(10_000):
            due = [one for one in self.markets if one.mend.due_ms is not None and one.mend.due_ms <= until_ms]
            if not due:
                break
            one = min(due, key=lambda each: each.mend.due_ms or 0)
            assert one.mend.due_ms is not None
            self.now_ms = max(self.now_ms, one.mend.due_ms)
            self.do(one, one.mend.overdue(self.now_ms))
        else:
            raise AssertionError("it is due again and again")
        self.now_ms = until_ms

    @invariant()
    def nobody_stalls(self) -> None:
        """Whoever has no book is due within the longest rest, or within what its budget takes to refill."""
        for one in self.markets:
            if one.mend.state not in NO_TROUBLE:
                assert one.mend.due_ms is not None
                assert one.mend.due_ms <= self.now_ms + LONGEST_MS

    @invariant()
    def no_stretch_of_time_holds_more_than_its_budget(self) -> None:
        for step, budget in self.budget.items():
            times = [at for what, _, at in self.taken if what is step]
            for i in range(len(times)):
                n, passed_ms = len(times) - i, times[-1] - times[i]
                assert n <= budget.times + passed_ms * budget.times / budget.per_ms + 1e-6

    @invariant()
    def a_slot_is_given_up_once_in_ten_minutes(self) -> None:
        for slot in range(SLOTS):
            times = [at for step, where, at in self.taken if step is State.RECONNECT and where == slot]
            assert all(b - a >= RECONNECT_REST_MS for a, b in pairwise(times))

    def teardown(self) -> None:
        """With no help at all everybody without a book is marked, and marked again; a book ends it for each."""
        if not self.markets or not hasattr(self, "ladders"):
            return
        wrong = [one for one in self.markets if one.mend.state not in NO_TROUBLE]
        before = [one.marked for one in wrong]
        for _ in range(120):
            self.time_passes(60_000)
        for one, marked in zip(wrong, before, strict=True):
            assert one.marked > marked
        for one in self.markets:
            one.mend.see(Saw.BOOK, self.now_ms)
            assert one.mend.state is State.WHOLE


def test_every_pair_is_answered() -> None:
    assert len(TABLE) * len(Saw) == sum(len(row) for row in TABLE.values()) == 120


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    # 200 by the quick profile, 2,000 by the full one.
    max_examples=5 * settings().max_examples,
    stateful_step_count=40,
    deadline=None,
)

"""The table of repairs: complete, always climbing, always ended by a book, never a storm."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.venue.repair import BUDGETS, STEPS, TABLE, Action, Budget, Ladder, Mend, Pace, RepairBudgets, Saw, State

PACE = Pace(joining=1, recheck=2, resnapshot=3, resubscribe=4, renew=5, reconnect=6, rest=7, marked=10, longest_rest=35)
BROKEN = [state for state in State if state not in (State.WHOLE, State.JOINING, State.ENDED)]


def test_the_table_is_complete_over_every_pair() -> None:
    assert set(TABLE) == set(State)
    for state, saw in itertools.product(State, Saw):
        moved = TABLE[state][saw]
        assert isinstance(moved[0], State)
        assert isinstance(moved[1], Action)
    assert all(set(row) == set(Saw) for row in TABLE.values())


@pytest.mark.parametrize("state", State)
def test_a_whole_book_ends_every_repair(state: State) -> None:
    moved = (State.WHOLE, Action.NOTHING if state is State.WHOLE else Action.RESTORE)
    assert TABLE[state][Saw.BOOK] == moved


@pytest.mark.parametrize("state", BROKEN)
def test_a_proof_ends_every_repair_of_a_book_we_have(state: State) -> None:
    assert TABLE[state][Saw.PROOF] == (State.WHOLE, Action.RESTORE)


def test_a_step_is_taken_exactly_on_the_way_into_its_state() -> None:
    for (state, saw), step in itertools.product(itertools.product(State, Saw), STEPS):
        to, action = TABLE[state][saw]
        if action is step:
            assert to is STEPS[step]
            assert to is not state


def test_only_a_book_or_a_proof_makes_a_market_whole() -> None:
    for state, saw in itertools.product(State, Saw):
        if TABLE[state][saw][0] is State.WHOLE and state is not State.WHOLE:
            assert saw in (Saw.BOOK, Saw.PROOF, Saw.REST_BOOK)
            assert TABLE[state][saw][1] in (Action.RESTORE, Action.ADOPT)


@pytest.mark.parametrize("first", [Saw.DOUBT, Saw.FAULT, Saw.MUTE])
@pytest.mark.parametrize("answer", [Saw.DUE, Saw.USELESS])
def test_without_help_every_trouble_climbs_to_the_mark_and_takes_each_step_once(first: Saw, answer: Saw) -> None:
    state, action = TABLE[State.WHOLE][first]
    taken = [action]
    while state is not State.MARKED:
        assert len(taken) < 10
        # Looking again costs nothing: it is ended by its time only.
        state, action = TABLE[state][Saw.DUE if state is State.RECHECK else answer]
        taken.append(action)
    steps = [action for action in taken if action in STEPS]
    assert len(set(steps)) == len(steps)
    assert steps[-4:] == [Action.RESUBSCRIBE, Action.RENEW, Action.RECONNECT, Action.ASK_REST]
    assert taken[-1] is Action.MARK


def test_a_budget_used_up_never_ends_in_a_reconnect_of_its_own() -> None:
    """What is refused for lack of budget waits, or goes on to a step that has its own."""
    for state in State:
        to, action = TABLE[state][Saw.BUSY]
        assert (to, action) in {
            (state, Action.NOTHING),
            (state, Action.PAUSE),
            (State.RECONNECT, Action.RECONNECT),
            (State.REST, Action.ASK_REST),
        }


@pytest.mark.parametrize("state", State)
def test_a_lost_connection_leaves_nothing_under_way(state: State) -> None:
    to, action = TABLE[state][Saw.LOST]
    assert to in (State.JOINING, State.RECONNECT, State.ENDED)
    assert action in (Action.STOP, Action.NOTHING)


def mend_in(state: State) -> Mend:
    mend = Mend()
    mend.state = state
    return mend


def test_a_market_that_breaks_a_third_time_within_a_minute_each_goes_on_where_it_left_off() -> None:
    mend = mend_in(State.WHOLE)
    now_ms = 0
    for turn in range(4):
        now_ms += 59_000
        assert mend.broke(Saw.MUTE, now_ms) is (Action.RENEW if turn == 3 else Action.RESUBSCRIBE)
        assert mend.see(Saw.BOOK, now_ms) is Action.RESTORE
    now_ms += 60_001
    assert mend.broke(Saw.MUTE, now_ms) is Action.RESUBSCRIBE


def test_what_breaks_for_all_makes_no_market_climb() -> None:
    mend = mend_in(State.WHOLE)
    for turn in range(9):
        assert mend.broke(Saw.FAULT, turn, climbs=False) is Action.SNAPSHOT
        mend.see(Saw.BOOK, turn)


def test_rests_double_up_to_the_longest_and_begin_anew_after_calm() -> None:
    mend = mend_in(State.MARKED)
    rests = []
    for now_ms in range(5):
        mend.state = State.MARKED
        rests.append(mend.await_by(PACE, now_ms) - now_ms)
    assert rests == [10, 20, 35, 35, 35]
    mend.see(Saw.BOOK, 0)
    mend.broke(Saw.FAULT, 1_000_000)
    mend.state = State.MARKED
    assert mend.await_by(PACE, 0) == 10


@pytest.mark.parametrize(
    ("state", "wait_ms"),
    [
        (State.JOINING, 1),
        (State.RECHECK, 2),
        (State.RESNAPSHOT, 3),
        (State.RESUBSCRIBE, 4),
        (State.RENEW, 5),
        (State.RECONNECT, 6),
        (State.REST, 7),
    ],
)
def test_each_state_has_its_time(state: State, wait_ms: int) -> None:
    assert mend_in(state).await_by(PACE, 100) == 100 + wait_ms


def test_a_step_that_waited_for_its_budget_is_taken_and_not_skipped() -> None:
    mend = mend_in(State.WHOLE)
    assert mend.broke(Saw.FAULT, 0) is Action.SNAPSHOT
    assert mend.see(Saw.BUSY, 0) is Action.PAUSE
    mend.due_ms = 5
    assert mend.overdue(5) is Action.SNAPSHOT
    mend.acted = True
    assert mend.overdue(10) is Action.RESUBSCRIBE


def test_a_reconnect_that_came_by_itself_is_not_asked_for() -> None:
    mend = mend_in(State.RESUBSCRIBE)
    assert mend.see(Saw.LOST, 0) is Action.STOP
    assert (mend.state, mend.acted) == (State.RECONNECT, True)
    assert mend.see(Saw.ASKED, 0) is Action.AWAIT
    assert mend.overdue(9) is Action.ASK_REST


# --- budgets --------------------------------------------------------------------------------------------------------


def test_every_step_has_a_budget() -> None:
    assert set(BUDGETS) == set(STEPS.values())


@given(
    waits=st.lists(st.integers(0, 5_000), min_size=1, max_size=200),
    times=st.integers(1, 20),
    per_ms=st.integers(1_000, 20_000),
)
def test_no_stretch_of_time_holds_more_steps_than_its_budget(waits: list[int], times: int, per_ms: int) -> None:
    budgets = RepairBudgets({State.RENEW: Budget(times, per_ms)})
    taken = [now_ms for now_ms in itertools.accumulate(waits) if budgets.take(State.RENEW, now_ms)]
    for i, j in itertools.combinations_with_replacement(range(len(taken)), 2):
        assert j - i + 1 <= times + (taken[j] - taken[i]) * times / per_ms + 1e-6
    assert budgets.refused[State.RENEW] == len(waits) - len(taken)


@given(times=st.integers(1, 20), per_ms=st.integers(1_000, 600_000), asked=st.integers(1, 40))
def test_what_is_refused_is_granted_at_the_time_named(times: int, per_ms: int, asked: int) -> None:
    budgets = RepairBudgets({State.REST: Budget(times, per_ms)})
    for _ in range(asked):
        budgets.take(State.REST, 0)
    free_ms = budgets.free_ms(State.REST, 0)
    assert budgets.take(State.REST, free_ms)
    assert free_ms <= per_ms / times + 1


def test_a_clock_that_steps_back_earns_nothing_and_stops_nothing() -> None:
    budgets = RepairBudgets({State.REST: Budget(1, 1_000)})
    assert budgets.take(State.REST, 10_000_000)
    assert not budgets.take(State.REST, 0)
    assert budgets.take(State.REST, 1_000)


def test_connections_share_the_venues_budget_and_rest_each_for_itself() -> None:
    shared = RepairBudgets({State.RECONNECT: Budget(2, 10_000_000)})
    ladders = [Ladder(shared) for _ in range(3)]
    assert [ladder.take(State.RECONNECT, 0) for ladder in ladders] == [True, True, False]
    assert not ladders[0].may_reconnect(599_999)
    assert not ladders[0].take(State.RECONNECT, 599_999)
    assert ladders[0].may_reconnect(600_000)
    assert ladders[2].may_reconnect(0)

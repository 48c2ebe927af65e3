"""Drift counted over time: names told once, habits learnt, broken habits found and healthy ones left alone."""

from __future__ import annotations

import random

import pytest

from overround.market import DriftSort, DriftState, KindTraits, Trait
from overround.market.drift import DRIFT_NAMES_MAX
from overround.venue.drift import DriftLedger
from overround.venue.shapes import INT, TEXT, Departure, Seen, Shape

SHAPE = Shape(kind="tick", fields={"market": TEXT, "at!": INT, "size?": INT, "note~": TEXT}, identity="market")
LISTING = Shape(kind="record", fields={"id": TEXT, "fee?": INT}, identity="id", slow=True)
SHAPES = {"tick": SHAPE, "record": LISTING}
MINUTE = 60_000


def departure(name: str = "tick.fresh") -> Departure:
    return Departure(DriftSort.UNKNOWN_FIELD, name, "", "1")


def run(
    ledger: DriftLedger, n: int, *, at_ms: int, step_ms: int = 500, markets: int = 5, seed: int = 1, **fixed: object
) -> list[str]:
    """Feed n samples; a field given as None is left out, one given a value stands still."""
    rng = random.Random(seed)
    told = []
    for number in range(n):
        values: dict[str, object] = {"market": f"M{rng.randrange(markets)}", "at": at_ms + number, "size": rng.random()}
        values |= {key: value for key, value in fixed.items() if value is not None}
        values = {key: value for key, value in values.items() if key not in fixed or fixed[key] is not None}
        seen = Seen("tick", str(values["market"]), values)
        told += [drift.key for drift in ledger.see(seen, at_ms + number * step_ms)]
    return told


def test_a_name_is_told_once_and_counted_each_time() -> None:
    ledger = DriftLedger(SHAPES)
    told = [ledger.depart([departure()], now_ms) for now_ms in (1_000, 2_000, 3_000)]
    assert [len(found) for found in told] == [1, 0, 0]
    (entry,) = ledger.fresh.found.values()
    assert (entry.first_ms, entry.last_ms, entry.count) == (1_000, 3_000, 3)


def test_a_later_run_tells_it_again_with_its_first_time() -> None:
    first = DriftLedger(SHAPES)
    first.depart([departure()], 1_000)
    state = first.take()
    (again,) = DriftLedger(SHAPES, state).depart([departure()], 9_000)
    assert (again.first_ms, again.last_ms, again.count) == (1_000, 9_000, 2)


def test_names_are_bounded() -> None:
    ledger = DriftLedger(SHAPES)
    for number in range(3 * DRIFT_NAMES_MAX):
        ledger.depart([departure(f"tick.f{number}")], number)
    assert len(ledger.fresh.found) <= DRIFT_NAMES_MAX + len(DriftSort)
    assert sum(entry.count for entry in ledger.fresh.found.values()) == 3 * DRIFT_NAMES_MAX


def test_a_field_that_always_came_is_missed_soon() -> None:
    ledger = DriftLedger(SHAPES)
    assert run(ledger, 1_500, at_ms=0) == []
    told = run(ledger, 120, at_ms=20 * MINUTE, size=None)
    assert told == ["vanished tick.size"]
    (entry,) = (drift for drift in ledger.fresh.found.values() if drift.sort is DriftSort.VANISHED)
    assert entry.first_ms == 1_499 * 500, "since it was last seen, not since it was missed"


def test_a_field_that_comes_and_goes_is_given_the_time_of_its_absences() -> None:
    ledger = DriftLedger(SHAPES)
    for block in range(6):
        at_ms = block * 10 * MINUTE
        assert run(ledger, 150, at_ms=at_ms) == []
        assert run(ledger, 90, at_ms=at_ms + 2 * MINUTE, size=None) == []
    assert run(ledger, 5, at_ms=60 * MINUTE) == []
    assert run(ledger, 250, at_ms=61 * MINUTE, size=None) == [], "three times ninety is not over yet"
    assert run(ledger, 60, at_ms=65 * MINUTE, size=None) == ["vanished tick.size"]


def test_a_field_that_stopped_while_nobody_looked_is_missed() -> None:
    ledger = DriftLedger(SHAPES)
    run(ledger, 1_500, at_ms=0)
    later = DriftLedger(SHAPES, ledger.take())
    assert run(later, 120, at_ms=100 * MINUTE, size=None) == ["vanished tick.size"]


def test_nothing_is_missed_before_the_habits_are_known() -> None:
    ledger = DriftLedger(SHAPES)
    run(ledger, 300, at_ms=0)
    assert run(ledger, 190, at_ms=20 * MINUTE, size=None) == []


def test_a_fleeting_field_may_stay_away() -> None:
    ledger = DriftLedger(SHAPES)
    run(ledger, 1_500, at_ms=0, note="x")
    assert run(ledger, 1_500, at_ms=30 * MINUTE) == []


def test_a_value_that_moved_and_stands_still_is_told() -> None:
    ledger = DriftLedger(SHAPES)
    run(ledger, 1_500, at_ms=0)
    assert run(ledger, 520, at_ms=20 * MINUTE, size=3) == ["constant tick.size"]
    (entry,) = (drift for drift in ledger.fresh.found.values() if drift.sort is DriftSort.CONSTANT)
    assert (entry.first_ms, entry.sample) == (20 * MINUTE, "3")


def test_one_quiet_market_explains_a_standstill_except_of_what_always_moves() -> None:
    ledger = DriftLedger(SHAPES)
    run(ledger, 1_500, at_ms=0)
    assert run(ledger, 1_000, at_ms=20 * MINUTE, markets=1, size=3) == []
    assert run(ledger, 600, at_ms=40 * MINUTE, markets=1, size=3, at=7) == ["constant tick.at"]


def test_a_value_that_never_moved_may_go_on_so() -> None:
    ledger = DriftLedger(SHAPES)
    assert run(ledger, 4_000, at_ms=0, size=5) == []


@pytest.mark.parametrize("seed", range(5))
def test_habits_that_hold_are_never_told(seed: int) -> None:
    rng = random.Random(seed)
    ledger = DriftLedger(SHAPES)
    for number in range(6_000):
        values: dict[str, object] = {"market": f"M{rng.randrange(40)}", "at": number}
        if rng.random() < 0.3:
            values["size"] = rng.choice([1, 1, 1, 2])
        assert ledger.see(Seen("tick", str(values["market"]), values), number * 500) == []


def test_a_listing_takes_longer_to_know() -> None:
    ledger = DriftLedger(SHAPES)
    for number in range(1_500):
        values: dict[str, object] = {"id": f"M{number}"} | ({"fee": number} if number < 1_000 else {})
        assert ledger.see(Seen("record", f"M{number}", values), number * 1_000) == []


def test_two_processes_add_up() -> None:
    ours, theirs = DriftLedger(SHAPES), DriftLedger(SHAPES)
    run(ours, 10, at_ms=5_000)
    run(theirs, 20, at_ms=1_000, seed=2)
    ours.depart([departure()], 7_000)
    theirs.depart([departure(), departure("tick.other")], 3_000)
    state = DriftState()
    state.add(ours.take())
    state.add(theirs.take())
    assert state.kinds["tick"].samples == 30
    assert (state.kinds["tick"].first_ms, state.kinds["tick"].fields["size"].present) == (1_000, 30)
    common = state.found["unknown_field tick.fresh"]
    assert (common.first_ms, common.last_ms, common.count) == (3_000, 7_000, 2)
    assert len(state.found) == 2


def test_adding_nothing_changes_nothing() -> None:
    state = DriftState(kinds={"tick": KindTraits(samples=3, first_ms=1, last_ms=2, fields={"at": Trait(present=3)})})
    state.add(DriftState(kinds={"tick": KindTraits()}))
    assert state.kinds["tick"].first_ms == 1

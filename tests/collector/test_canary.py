from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overround.book import Book
from overround.collector.canary import WITNESS, CanaryJudge, Pair, choose_canaries
from overround.collector.silence import Check, Fault, Finding, Why
from overround.market import MarketId

M = MarketId("m")
TOLERANCE, STALL = 5_000, 8_000


def book() -> Book:
    made = Book()
    made.live = True
    made.bids = {4_000: 0}
    return made


class Bench:
    """One canary on connection ``0`` and on the witness."""

    def __init__(self) -> None:
        self.pair = Pair(M, "0", book(), book())
        self.heard_ms = self.now_ms = 0
        self.judge = CanaryJudge(
            tolerance_ms=TOLERANCE, stall_ms=STALL, silence_ms=lambda _: self.now_ms - self.heard_ms
        )

    def change(self, *sides: Book) -> None:
        for side in sides:
            side.bids = {4_000: side.bids[4_000] + 1}
            side.seq += 1
        if self.pair.recorded in sides:
            self.heard_ms = self.now_ms

    def run(self, ms: int, *sides: Book, siblings: bool = False) -> list[tuple[int, Finding | Check]]:
        """Each of the sides hears a change every second."""
        begun, told = self.now_ms, []
        while self.now_ms < begun + ms:
            self.now_ms += 500
            if self.now_ms % 1_000 == 0:
                self.change(*sides)
            if siblings:
                self.heard_ms = self.now_ms
            told += [(self.now_ms - begun, one) for one in self.judge.judge([self.pair], now_ms=self.now_ms)]
        return told


def test_two_connections_that_hear_the_same_tell_nothing() -> None:
    bench = Bench()
    assert bench.run(60_000, *bench.pair[2:]) == []
    assert bench.run(60_000) == []


def test_a_frozen_connection_is_convicted_at_once_by_what_the_witness_hears() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    ((took_ms, told),) = bench.run(12_000, bench.pair.witnessed)
    assert told == Finding(fault=Fault.FROZEN, slot="0", market_ids=(M,), by=Why.CANARY)
    assert STALL - 1_000 <= took_ms <= STALL + 1_000


def test_a_canary_mute_among_siblings_that_speak_is_one_market() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    ((_, told),) = bench.run(12_000, bench.pair.witnessed, siblings=True)
    assert told == Finding(fault=Fault.MUTE, slot="0", market_ids=(M,), by=Why.CANARY)


def test_a_canary_that_is_behind_when_its_connection_freezes_is_not_called_mute() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    bench.change(bench.pair.witnessed)
    assert bench.run(3_000, siblings=True) == []
    ((_, told),) = bench.run(10_000, bench.pair.witnessed)
    assert isinstance(told, Finding)
    assert told.fault is Fault.FROZEN


def test_a_frozen_witness_is_its_own_fault() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    ((_, told),) = bench.run(12_000, bench.pair.recorded)
    assert told == Finding(fault=Fault.FROZEN, slot=WITNESS, market_ids=(M,), by=Why.CANARY)


def test_one_side_ahead_by_less_than_the_tolerance_is_patience() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    for _ in range(20):
        assert bench.run(4_000, bench.pair.witnessed) == []
        bench.pair.recorded.bids, bench.pair.recorded.seq = dict(bench.pair.witnessed.bids), bench.pair.recorded.seq + 4
        assert bench.run(500) == []


def test_a_quiet_market_that_one_side_hears_of_a_little_later_is_no_fault() -> None:
    bench = Bench()
    for late_ms in (500, 1_000, 4_000):
        bench.run(120_000)
        bench.change(bench.pair.witnessed)
        assert bench.run(late_ms) == [], "the two minutes before count for nothing"
        bench.change(bench.pair.recorded)
        assert bench.run(60_000) == []


def test_a_connection_late_by_less_than_a_stall_is_not_frozen() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    assert bench.run(STALL - 500, bench.pair.witnessed) == []
    bench.pair.recorded.bids, bench.pair.recorded.seq = dict(bench.pair.witnessed.bids), bench.pair.recorded.seq + 7
    bench.heard_ms = bench.now_ms
    assert bench.run(10_000, *bench.pair[2:]) == []


def test_a_side_that_has_just_come_back_begins_anew() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    bench.pair.recorded.live = False
    assert bench.run(30_000, bench.pair.witnessed) == []
    bench.pair.recorded.live, bench.pair.recorded.bids = True, dict(bench.pair.witnessed.bids)
    assert bench.run(3_000, *bench.pair[2:]) == []


def test_books_that_differ_at_rest_are_a_question_for_rest() -> None:
    bench = Bench()
    bench.run(10_000, *bench.pair[2:])
    bench.pair.recorded.bids = {4_000: 99}
    told = bench.run(10_000)
    assert [one for _, one in told] == [Check(why=Why.CANARY, market_ids=(M,))]


# A market is recorded by one connection only.
RATES = st.fixed_dictionaries(
    {},
    optional={
        "0": st.dictionaries(st.sampled_from("abc"), st.floats(0, 10)),
        "1": st.dictionaries(st.sampled_from("def"), st.floats(0, 10)),
    },
)


@given(st.sets(st.sampled_from("abcdefgh")), RATES, st.integers(0, 3))
def test_canaries_are_busy_few_and_stay(held: set[str], rates: dict[str, dict[str, float]], few: int) -> None:
    chosen = choose_canaries({MarketId(m) for m in held}, rates, per_connection=few)  # type: ignore[arg-type]
    assert all(any(of.get(m, 0) >= 0.05 for of in rates.values()) for m in chosen)
    assert len(chosen) <= few * len(rates)
    assert choose_canaries(chosen, rates, per_connection=few) == chosen  # type: ignore[arg-type]

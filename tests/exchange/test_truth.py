import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.exchange.truth import BookState, MarketLog, Truth


def _run(seed: int, n: int) -> tuple[MarketLog, list[BookState]]:
    """A log and, beside it, every state copied by hand."""
    rng = random.Random(seed)
    bids, asks = {4_000: 5, 3_900: 7}, {6_000: 9}
    log = MarketLog(100, bids, asks)
    states = [BookState(0, 100, dict(bids), dict(asks))]
    ts = 100
    for number in range(1, n + 1):
        ts += rng.choice((0, 0, 0, 1, 3, 50))
        bid = rng.random() < 0.5
        side = bids if bid else asks
        px = rng.randrange(1, 50) * 100 + (0 if bid else 5_000)
        size = 0 if px in side and rng.random() < 0.4 else rng.randrange(1, 1_000)
        if size:
            side[px] = size
        else:
            side.pop(px)
        log.add(ts, px if bid else -px, size)
        states.append(BookState(number, ts, dict(bids), dict(asks)))
    return log, states


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 700))
def test_every_state_is_given_back_as_it_was(seed: int, n: int) -> None:
    log, states = _run(seed, n)
    for number in {0, 1, n // 3, 255, 256, 257, 512, n}:
        assert log.state(number) == (states[number] if number <= n else None)
    assert log.now() == states[-1]
    assert list(log.between(3, n - 2)) == states[3 : n - 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 700), back=st.integers(-10, 3_000))
def test_all_states_of_a_millisecond_are_found(seed: int, n: int, back: int) -> None:
    log, states = _run(seed, n)
    asked = states[-1].ts_ms - back
    stamps = [state.ts_ms for state in states if state.ts_ms <= asked]
    expected = [state for state in states if stamps and state.ts_ms == stamps[-1]]
    assert log.states_at(asked) == expected


def test_a_long_burst_in_one_millisecond_spans_chunks() -> None:
    bids: dict[int, int] = {}
    log = MarketLog(10, bids, {})
    for size in range(1, 900):
        bids[5_000] = size
        log.add(20, 5_000, size)
    found = log.states_at(25)
    assert [state.number for state in found] == list(range(1, 900))
    assert [state.bids[5_000] for state in found] == list(range(1, 900))
    assert [state.number for state in log.states_at(19)] == [0]


def test_old_chunks_are_forgotten_and_the_present_is_kept() -> None:
    log, states = _run(3, 2_000)
    before = log.nbytes
    cut = states[1_500].ts_ms
    log.forget(cut)
    assert log.nbytes < before / 2
    assert log.states_at(states[10].ts_ms) == []
    assert log.state(10) is None
    assert log.state(1_900) == states[1_900]
    assert log.now() == states[-1]
    assert log.oldest_ms <= cut


def test_prints_keep_price_size_side_and_the_state_they_left() -> None:
    log, states = _run(4, 20)
    log.add_print(states[-1].ts_ms, 4_000, 3_000_000, taker_buys=False)
    log.add_print(states[-1].ts_ms, 6_000, 5, taker_buys=True)
    assert [(p.number, p.px_e4, p.sz_e6, p.taker_buys) for p in log.trades()] == [
        (20, 4_000, 3_000_000, False),
        (20, 6_000, 5, True),
    ]


def test_a_change_costs_less_than_forty_bytes() -> None:
    log, _ = _run(5, 5_000)
    assert log.nbytes / 5_000 < 40


def test_unopened_markets_answer_from_their_first_book() -> None:
    made = MarketLog(7, {100: 1}, {})
    truth = Truth(unopened=lambda key: made if key == "a" else None)
    assert "a" in truth
    assert "b" not in truth
    assert truth.states_at("a", 9) == [BookState(0, 7, {100: 1}, {})]
    assert truth.states_at("b", 9) == []
    with pytest.raises(KeyError):
        truth["b"]

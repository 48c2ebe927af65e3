"""The queue model against a level whose every order is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.fills import Episode, LevelNews, QueuedOrder, fit_cancels_ahead

LOT = 1_000_000


def test_prints_take_what_stands_ahead_first_and_then_the_order() -> None:
    order = QueuedOrder(10 * LOT, 30 * LOT)
    assert order.hear(LevelNews(5 * LOT, executed_e6=25 * LOT)) == 0
    assert order.ahead_e6 == 5 * LOT
    assert order.hear(LevelNews(20 * LOT, executed_e6=8 * LOT)) == 3 * LOT
    assert (order.ahead_e6, order.left_e6, order.filled_e6) == (0, 7 * LOT, 3 * LOT)
    assert order.hear(LevelNews(0, executed_e6=20 * LOT)) == 7 * LOT
    assert order.hear(LevelNews(0, executed_e6=20 * LOT)) == 0


def test_a_print_at_a_worse_price_cannot_pass_it_by() -> None:
    order = QueuedOrder(10 * LOT, 1_000 * LOT)
    assert order.hear(LevelNews(0, executed_e6=2 * LOT, through_e6=4 * LOT)) == 4 * LOT
    assert (order.ahead_e6, order.left_e6) == (0, 6 * LOT)


def test_a_level_that_flickers_fills_nobody() -> None:
    order = QueuedOrder(10 * LOT, 30 * LOT)
    for displayed in (0, 50 * LOT, 0, 500 * LOT, 0):
        assert order.hear(LevelNews(displayed)) == 0
    assert order.left_e6 == 10 * LOT


@pytest.mark.parametrize(("factor", "ahead"), [(0.0, 60), (0.5, 52.5), (1.0, 45), (1.3, 40.5), (9.0, 30)])
def test_cancels_fall_on_what_stands_ahead_by_its_share_and_the_factor(factor: float, ahead: float) -> None:
    order = QueuedOrder(LOT, 60 * LOT, cancels_ahead=factor)
    order.hear(LevelNews(120 * LOT))  # as much again joined behind
    order.hear(LevelNews(90 * LOT))
    assert order.ahead_e6 == ahead * LOT


def test_nothing_is_filled_across_a_gap() -> None:
    order = QueuedOrder(10 * LOT, 0)
    order.hear(LevelNews(0, executed_e6=4 * LOT))
    order.lost()
    assert order.hear(LevelNews(0, executed_e6=50 * LOT)) == 0
    assert order.filled_e6 == 4 * LOT


@pytest.mark.parametrize(
    ("size", "displayed", "factor"), [(0, 1, 1.0), (1, -1, 1.0), (1, 1, -0.1), (1, 1, float("nan"))]
)
def test_what_is_no_order_is_refused(size: int, displayed: int, factor: float) -> None:
    with pytest.raises(ValueError, match="no order"):
        QueuedOrder(size, displayed, cancels_ahead=factor)


NEWS = st.builds(LevelNews, *(st.integers(0, 50).map(lambda lots: lots * LOT) for _ in range(3)))


@given(st.integers(1, 40), st.integers(0, 60), st.lists(NEWS, max_size=12), st.floats(0, 3))
def test_sizes_add_up_and_more_cancels_ahead_never_fill_less(
    size: int, displayed: int, news: list[LevelNews], factor: float
) -> None:
    order = QueuedOrder(size * LOT, displayed * LOT, cancels_ahead=factor)
    pessimist = QueuedOrder(size * LOT, displayed * LOT, cancels_ahead=0.0)
    told = 0
    for each in news:
        told += each.executed_e6 + each.through_e6
        filled = order.hear(each)
        pessimist.hear(each)
        assert 0 <= filled <= each.executed_e6 + each.through_e6
        assert 0 <= order.ahead_e6 <= each.displayed_e6
        assert order.filled_e6 + order.left_e6 == size * LOT
    assert pessimist.filled_e6 <= order.filled_e6 <= told


class Level:
    """One price, every order of it known, first come first served; ``youth`` says how much cancels prefer the young."""

    def __init__(self, rng: random.Random, youth: float) -> None:
        self.rng, self.youth = rng, youth
        self.orders = [rng.randrange(1, 40) * LOT for _ in range(rng.randrange(0, 12))]
        self.n_ahead = len(self.orders)

    def step(self, wanted: int) -> tuple[LevelNews, int]:
        """One event; returns its news and what it fills of an order that stands behind the first ``n_ahead``."""
        kind = self.rng.random()
        executed = filled = 0
        if kind < 0.40:
            self.orders.append(self.rng.randrange(1, 40) * LOT)
        elif kind < 0.75 and self.orders:
            places = range(len(self.orders))
            at = self.rng.choices(places, [(1 + place) ** self.youth for place in places])[0]
            del self.orders[at]
            self.n_ahead -= at < self.n_ahead
        else:
            executed = left = self.rng.randrange(1, 50) * LOT
            while left and self.n_ahead:
                left = self._take(left)
            filled = min(wanted, left)
            # The order is imagined: those behind it get the whole of what passes it.
            while left and self.orders:
                left = self._take(left)
            executed -= left
        return LevelNews(sum(self.orders), executed_e6=executed), min(filled, executed)

    def _take(self, left: int) -> int:
        taken = min(left, self.orders[0])
        self.orders[0] -= taken
        if not self.orders[0]:
            del self.orders[0]
            self.n_ahead = max(0, self.n_ahead - 1)
        return left - taken


def episodes(youth: float, *, count: int = 400, seed: int = 5) -> list[Episode]:
    """Orders of five lots at levels of their own, with what truly became of them."""
    found = []
    for number in range(count):
        level = Level(random.Random(f"{seed}/{number}"), youth)
        displayed, news, filled = sum(level.orders), list[LevelNews](), 0
        for _ in range(25):
            said, got = level.step(5 * LOT - filled)
            news.append(said)
            filled += got
        found.append(Episode(5 * LOT, displayed, news, filled))
    return found


def modelled(known: list[Episode], factor: float) -> float:
    total = 0
    for episode in known:
        order = QueuedOrder(episode.sz_e6, episode.displayed_e6, cancels_ahead=factor)
        total += sum(order.hear(news) for news in episode.news)
    return total / LOT


@pytest.mark.parametrize("youth", [0.0, 1.0, 3.0])
def test_fitted_on_some_orders_the_model_fills_others_as_the_queue_does(youth: float) -> None:
    factor = fit_cancels_ahead(episodes(youth))
    others = episodes(youth, seed=6)
    true = sum(episode.filled_e6 for episode in others) / LOT
    assert modelled(others, factor) == pytest.approx(true, rel=0.06)
    assert modelled(others, 0.0) < true


def test_the_younger_the_cancelled_the_smaller_the_factor() -> None:
    factors = [fit_cancels_ahead(episodes(youth)) for youth in (0.0, 1.0, 3.0)]
    assert factors == sorted(factors, reverse=True)
    assert 0.8 <= factors[0] <= 1.2, "cancels that fall evenly need no factor"
    assert factors[-1] <= 0.6


def test_without_an_order_whose_fate_is_known_only_prints_advance() -> None:
    assert fit_cancels_ahead([]) == 0.0

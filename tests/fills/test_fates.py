"""A level's queue out of its changes, against a queue whose every order is known."""

from __future__ import annotations

import random

import pytest

from overround.fills import Episode, LevelFates, LevelNews

LOT = 1_000_000


def test_an_order_is_followed_from_the_back_of_the_queue_to_its_fill() -> None:
    level = LevelFates(30 * LOT, every_ms=10_000)
    level.change(0, 7 * LOT, executed=False, best=True)
    level.change(4_000, 5 * LOT, executed=False, best=False)  # no news: it is not the best any more
    assert [episode.filled_e6 for episode in level.episodes] == [0]
    level = LevelFates(30 * LOT, every_ms=10_000)
    level.change(0, 7 * LOT, executed=False, best=True)
    level.change(11_000, -20 * LOT, executed=True, best=True)
    level.change(12_000, -10 * LOT, executed=False, best=True)
    level.change(25_000, -7 * LOT, executed=True, best=True)
    (episode,) = level.episodes
    assert episode == Episode(
        7 * LOT,
        30 * LOT,
        (LevelNews(30 * LOT), LevelNews(0, executed_e6=20 * LOT), LevelNews(0, executed_e6=7 * LOT)),
        7 * LOT,
    )


def test_a_cancel_is_that_of_the_order_of_its_size() -> None:
    level = LevelFates(30 * LOT, every_ms=10_000)
    level.change(0, 7 * LOT, executed=False, best=True)
    level.change(1, 5 * LOT, executed=False, best=True)
    level.change(2, -7 * LOT, executed=False, best=True)
    level.change(3, -30 * LOT, executed=True, best=True)
    level.change(4, -2 * LOT, executed=True, best=True)
    level.leave()
    assert [(episode.sz_e6 // LOT, episode.filled_e6 // LOT) for episode in level.episodes] == [(7, 0), (5, 2)]


def test_changes_that_contradict_the_queue_begin_it_anew() -> None:
    level = LevelFates(0, every_ms=10_000)
    level.change(0, 4 * LOT, executed=False, best=True)
    level.change(1, 7 * LOT, executed=False, best=True)
    level.change(2, -3 * LOT, executed=False, best=True)  # nobody has three
    level.leave()
    assert (level.total_e6, level.episodes) == (8 * LOT, [])


@pytest.mark.parametrize("seed", range(4))
def test_fates_are_those_of_the_true_queue(seed: int) -> None:
    """Sizes that never repeat: what the record tells of an order is what became of it."""
    rng, sizes = random.Random(seed), iter(range(1, 10_000))
    level = LevelFates(0, every_ms=2_000)
    queue: list[list[int]] = []  # size at first, left
    true: dict[int, int] = {}
    for now in range(0, 400_000, 500):
        roll = rng.random()
        if roll < 0.5 or not queue:
            size = next(sizes) * LOT
            queue.append([size, size])
            true[size] = 0
            level.change(now, size, executed=False, best=True)
        elif roll < 0.75:
            size, left = queue.pop(rng.randrange(len(queue)))
            level.change(now, -left, executed=False, best=True)
        else:
            taken = rng.randrange(1, queue[0][1] // LOT + 1) * LOT
            queue[0][1] -= taken
            true[queue[0][0]] += taken
            level.change(now, -taken, executed=True, best=True)
            if not queue[0][1]:
                del queue[0]
        assert level.total_e6 == sum(left for _, left in queue)
    level.leave()
    assert len(level.episodes) > 20
    assert any(episode.filled_e6 for episode in level.episodes)
    for episode in level.episodes:
        assert episode.filled_e6 == true[episode.sz_e6]

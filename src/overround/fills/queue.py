"""Whether a resting order would have been filled: its place in the queue of its price.

Both venues match by price, then time, and neither tells where in a level an order stands. An order that joins stands
behind all that is displayed. From there it moves up in two ways:

- a **print** against its side takes from the front: first what stands ahead, then the order itself, at most what is left of
  it. A print at a worse price cannot pass it by, so it fills it;
- what a level loses beyond its prints was **cancelled**, somewhere in the queue. If cancels fell evenly, the part ahead
  would lose its own share, ``ahead / level``. They do not: young orders behind are pulled more often than old ones ahead.
  ``cancels_ahead`` multiplies that share; it is fitted to orders whose fate is known (`fit_cancels_ahead`). 1 is even, 0
  lets only prints advance, which promises too few fills.

Size that joins a level joins behind. Nothing is ever filled because a level flickers: a displayed size that vanishes fills
nobody. Nor across a gap: whoever misses news of the level drops the order (`QueuedOrder.lost`).

The order is imagined: what it takes from a print, those behind it would not have had, and they are not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

__all__ = ["Episode", "LevelNews", "QueuedOrder", "fit_cancels_ahead"]


class LevelNews(NamedTuple):
    """What happened to an order's price since the news before.

    Attributes
    ----------
    displayed_e6 : int
        Contracts displayed at the price now.
    executed_e6 : int
        Of prints at the price.
    through_e6 : int
        Of prints at worse prices, on the same side.
    """

    displayed_e6: int
    executed_e6: int = 0
    through_e6: int = 0


class QueuedOrder:
    """One imagined order at one price.

    Parameters
    ----------
    sz_e6 : int
        Contracts wanted.
    displayed_e6 : int
        Contracts displayed at the price when it joins: all of them stand ahead.
    cancels_ahead : float
        How much more (or less) than evenly cancels fall on what stands ahead.

    Attributes
    ----------
    ahead_e6, left_e6, filled_e6 : int
        Contracts ahead of it, not filled, and filled.
    """

    __slots__ = ("_cancels_ahead", "_level_e6", "ahead_e6", "filled_e6", "left_e6")

    def __init__(self, sz_e6: int, displayed_e6: int, *, cancels_ahead: float = 1.0) -> None:
        if sz_e6 <= 0 or displayed_e6 < 0 or not cancels_ahead >= 0:
            raise ValueError(f"no order: sz_e6={sz_e6}, displayed_e6={displayed_e6}, cancels_ahead={cancels_ahead}")
        self.left_e6 = sz_e6
        self.filled_e6 = 0
        self.ahead_e6 = self._level_e6 = displayed_e6
        self._cancels_ahead = cancels_ahead

    def hear(self, news: LevelNews) -> int:
        """Take news of the level; returns the contracts filled by it.

        Prints are taken first: of what a level lost in between, they explain the part that was executed.
        """
        filled = self._printed(news.executed_e6, news.through_e6)
        left_of_level = max(0, self._level_e6 - news.executed_e6)
        cancelled = left_of_level - news.displayed_e6
        if cancelled > 0 and self.ahead_e6:
            share = min(1.0, self._cancels_ahead * self.ahead_e6 / left_of_level)
            self.ahead_e6 = max(0, self.ahead_e6 - round(cancelled * share))
        # However cancels fell, no more can stand ahead than stands there at all.
        self.ahead_e6 = min(self.ahead_e6, news.displayed_e6)
        self._level_e6 = news.displayed_e6
        return filled

    def lost(self) -> None:
        """News was missed: what is left counts as taken off the book, and nothing fills it any more."""
        self.left_e6 = 0

    def _printed(self, executed_e6: int, through_e6: int) -> int:
        passed = min(self.ahead_e6, executed_e6)
        self.ahead_e6 -= passed
        reached = executed_e6 - passed
        if through_e6:
            # Price goes before time: whatever stood ahead at this better price is gone, too.
            self.ahead_e6 = 0
            reached += through_e6
        filled = min(self.left_e6, reached)
        self.left_e6 -= filled
        self.filled_e6 += filled
        return filled


class Episode(NamedTuple):
    """An order whose fate is known, and what its level told meanwhile.

    Attributes
    ----------
    sz_e6, displayed_e6 : int
        As for `QueuedOrder`.
    news : sequence of LevelNews
        Until the order was filled or taken back.
    filled_e6 : int
        Contracts that were filled.
    """

    sz_e6: int
    displayed_e6: int
    news: Sequence[LevelNews]
    filled_e6: int


_GRID = tuple(step / 20 for step in range(41))


def fit_cancels_ahead(episodes: Iterable[Episode], *, otherwise: float = 0.0, within: float = 0.0) -> float:
    """The factor with which the model comes nearest to what was filled, in [0, 2] by steps of 0.05.

    Least squares of the filled shares; among equals the nearest to ``otherwise``.

    Parameters
    ----------
    episodes : iterable of Episode
    otherwise : float
        Where there is no episode, or none tells. 0 promises the fewest fills: only prints advance an order.
    within : float
        Factors whose squares exceed the least by no more than this part count as equals.
    """
    known = list(episodes)
    if not known:
        return otherwise
    off = {factor: sum(map(_missed, known, repeat(factor))) for factor in _GRID}
    most = min(off.values()) * (1 + within) + 1e-12
    return min((factor for factor in _GRID if off[factor] <= most), key=lambda factor: abs(factor - otherwise))


def _missed(episode: Episode, factor: float) -> float:
    """Square of the share of an order by which the model is off."""
    order = QueuedOrder(episode.sz_e6, episode.displayed_e6, cancels_ahead=factor)
    for news in episode.news:
        order.hear(news)
    return ((order.filled_e6 - episode.filled_e6) / episode.sz_e6) ** 2

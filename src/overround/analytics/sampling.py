"""How a day was sampled, and how far a ratio of sums may be off for it.

A rotating market is watched for a few minutes at a time. The day is cut into *strata* (hours in which something of the
venue was recorded, joined with a neighbour while a market has fewer than two units in one), and what was seen in a stratum
counts for all of it: sums are multiplied by the stratum's length over the time the market was watched in it, the inverse of
its inclusion. The *unit* is what was watched together: a block of five minutes, or the pieces of one short stay that a
block's end cut.

What was not seen lies between what was, and a book drifts: so the variance of a *level* (spread, depth) is an estimation
variance. How far two moments differ grows with the time between them, in a straight line from a nugget; the line is put
through the differences within a stay and those from one stay to the next, and what follows for the day's mean is a matter
of when the market was watched. *Events* (trades, changes, moves) come as they please: theirs is the variance of a
stratified sample from a finite time. Both vanish at full observation.

Few large units make most of some statistics, and a sample that missed them looks calm. How far the units' mean square
exceeds the square of their mean size is therefore learnt from all outcomes together, as far as they agree (an empirical
Bayes estimate), and the freedom of Student's quantile is what units of such a tail leave. ``docs/explanation/mining.md``
names the sources.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from overround.analytics.blocks import BLOCK_MS

__all__ = ["Floats", "Ints", "Ratio", "Sample"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_HOUR_MS = 3_600_000
_FEWEST_UNITS = 2
_FEWEST_SPEAKING = 8
"""Units in which something was there to divide by; with fewer there is no interval. Pairs, to tell a nugget by."""
_WHOLE_MS = 0.9 * BLOCK_MS
_TOGETHER_MS = 30_000
"""Two pieces no farther apart are of one stay; shorter ones tell nothing of the nugget."""


class Ratio(NamedTuple):
    """A weighted ratio of two sums per outcome; NaN where there is none.

    Attributes
    ----------
    value, error : array
        The ratio, and its standard error.
    off : array
        Root of the variance from what watching throughout would have given.
    free : array
        Degrees of freedom of ``off``.
    """

    value: Floats
    error: Floats
    off: Floats
    free: Floats


class Sample:
    """How units, strata and outcomes lie over the blocks.

    Parameters
    ----------
    blocks : polars.DataFrame
        ``market_id, outcome_id, block, w_ms`` and, where they are known, ``from_ms`` and ``to_ms``; sorted, all watched.
    recorded : sequence of int or None
        Starts of the blocks in which anything was recorded; those of ``blocks`` by default.

    Attributes
    ----------
    names : array
        Number of each block's outcome.
    firsts : array
        Each outcome's first block.
    n_units, watched_ms, share : array
        Of each outcome; ``share`` of the time recorded.
    """

    def __init__(self, blocks: pl.DataFrame, recorded: Sequence[int] | None) -> None:
        self.names = (
            blocks.select(pl.struct("market_id", "outcome_id").rle_id()).to_series().to_numpy().astype(np.int64)
        )
        self.firsts = np.flatnonzero(np.diff(self.names, prepend=-1))
        start, watched = blocks["block"].to_numpy(), blocks["w_ms"].to_numpy()
        if "from_ms" in blocks.columns:
            begin, end = blocks["from_ms"].to_numpy(), np.minimum(blocks["to_ms"].to_numpy(), start + BLOCK_MS)
        else:
            begin, end = start, start + BLOCK_MS
        whole = np.unique(np.asarray(start if recorded is None else recorded, np.int64))
        hours, per_hour = np.unique(whole // _HOUR_MS, return_counts=True)
        self._n = len(self.firsts)
        self._unit = unit = _units(self.names, begin, end, watched)
        stratum, length = _strata(self.names, unit, start // _HOUR_MS, hours, per_hour * BLOCK_MS)
        first = np.flatnonzero(np.diff(unit, prepend=-1))
        self._of = self.names[first]
        seen = _sums(stratum, watched, len(length))
        with np.errstate(divide="ignore", invalid="ignore"):
            # Time watched twice over is no less than once.
            longer = np.maximum(np.where(seen > 0, length / seen, 1.0), 1.0)
        self._weight = longer[stratum[first]]
        self.n_units = np.bincount(self._of, minlength=self._n)
        self.watched_ms = _sums(self.names, watched, self._n)
        self.share = np.minimum(self.watched_ms / (len(whole) * BLOCK_MS), 1.0)
        owner = np.zeros(len(length), np.int64)
        owner[stratum] = self.names
        self._unseen = _sums(owner, length * (longer - 1), self._n)
        last = np.append(first, len(unit))[1:] - 1
        place = np.searchsorted(whole, start) * BLOCK_MS - start  # to the clock that runs while something is recorded
        self._astray = _astray(
            self._of,
            begin[first] + place[first],
            end[last] + place[last],
            _sums(unit, watched, len(first)) * self._weight,
            len(whole) * BLOCK_MS,
            self._n,
        )
        self._pieces, self._stays, self._next_stays = self._neighbours(begin, end, watched, first, last, len(whole))

    def _neighbours(
        self, begin: Ints, end: Ints, watched: Floats, first: Ints, last: Ints, n_whole: int
    ) -> tuple[_Pairs, _Pairs, _Pairs]:
        """Pieces of one stay, stays that follow each other, and those after the next."""
        at = np.flatnonzero(
            (self._unit[1:] == self._unit[:-1]) & (np.minimum(watched[1:], watched[:-1]) >= _TOGETHER_MS)
        )
        pieces = _Pairs(self.names, self._n, (begin + end) / 2, watched, at, 1)
        middle, time = (begin[first] + end[last]) / 2, _sums(self._unit, watched, len(first))
        stays = []
        for apart in (1, 2):
            at = np.flatnonzero(self._of[apart:] == self._of[:-apart])
            # A market that was not wanted for hours says nothing of minutes.
            usual = 2 * apart * n_whole * BLOCK_MS / self.n_units[self._of[at]]
            at = at[middle[at + apart] - middle[at] <= usual]
            stays.append(_Pairs(self._of, self._n, middle, time, at, apart))
        return pieces, stays[0], stays[1]

    def ratio(self, above: Floats, below: Floats, *, events: bool) -> Ratio:
        """The weighted ratio of two sums over blocks, less what a ratio of samples is off in the mean.

        Parameters
        ----------
        above, below : array
            A number per block.
        events : bool
            Whether what happens makes the sum above, and not what lasts.
        """
        weight, of, n_groups = self._weight, self._of, self._n

        def total(of_unit: Floats) -> Floats:
            return _sums(of, of_unit, n_groups)

        tops = _sums(self._unit, above, len(weight)) * weight
        bottoms = _sums(self._unit, below, len(weight)) * weight
        bottom = total(bottoms)
        n = np.maximum(self.n_units, 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(bottom > 0, total(tops) / bottom, np.nan)
            plain = np.nan_to_num((tops - np.nan_to_num(value)[of] * bottoms) / bottom[of], posinf=0.0, neginf=0.0)
            part = np.nan_to_num(bottoms / bottom[of], posinf=0.0, neginf=0.0)
            # Left out, a unit would move the ratio by this much: large ones pull it towards themselves.
            residual = plain / np.maximum(1 - part, 0.1)
            square = total(residual**2)
            tail, counting = square * n / total(np.abs(residual)) ** 2, square**2 / total(residual**4)
            speaking = np.bincount(of, bottoms > 0, n_groups)
            known = np.isfinite(value) & (speaking >= _FEWEST_SPEAKING)
            unseen = 1 - 1 / weight
            if events:
                variance = total(residual**2 * unseen) * (n - 1) / n
                value = np.where(known, value + total(residual * part * unseen) * (n - 1) / n, value)
            else:
                line = np.nan_to_num((above - np.nan_to_num(value)[self.names] * below) / bottom[self.names])
                variance = self._estimation_variance(line)
            # A difference of neighbours has two thirds of a value's freedom.
            free, moderated = _moderated(tail, counting, known, freedom=2.0 if events else 4 / 3)
            # Units that are all alike do not tell how unlike those are that were not seen.
            off = np.where(self._unseen > 0, np.sqrt(variance * moderated / tail), 0.0)
        error = np.sqrt(square * (n - 1) / n)
        return Ratio(value, np.where(known, error, np.nan), np.where(known, off, np.nan), free)

    def _estimation_variance(self, line: Floats) -> Floats:
        """Of the day's mean of a level, by a nugget and a drift that grows with time; ``line`` is of blocks."""
        unit = _sums(self._unit, line, len(self._of))
        within, stays = self._pieces.of(line), self._stays.of(unit)
        after = self._next_stays.of(unit)
        told = within.n >= _FEWEST_SPEAKING
        near = _Differences(*(np.where(told, a, b) for a, b in zip(within, stays, strict=True)))
        far = _Differences(*(np.where(told, a, b) for a, b in zip(stays, after, strict=True)))
        drift = (far.square - near.square) / (far.apart - near.apart)
        nugget = near.square - drift * near.apart
        flat = (near.square * near.n + far.square * far.n) / (near.n + far.n)
        steep = far.square / far.apart
        variance = np.where(
            drift < 0,
            flat * self._unseen,
            np.where(nugget < 0, steep * self._astray, nugget * self._unseen + drift * self._astray),
        )
        return np.where(far.n >= _FEWEST_UNITS, variance, np.nan)


def _sums(names: Ints, values: Floats, n_groups: int) -> Floats:
    sums: Floats = np.bincount(names, values, n_groups).astype(np.float64, copy=False)
    return sums


class _Differences(NamedTuple):
    """Per outcome: how many pairs, their mean square by the nugget's measure, and what of a drift is in it."""

    n: Floats
    square: Floats
    apart: Floats


class _Pairs:
    """Neighbours of each outcome.

    Parameters
    ----------
    names : array
        Outcome of each unit (or piece).
    middle, time : array
        When it was, and how long, ms.
    at : array
        The first of each pair.
    apart : int
        How many places later the second comes.
    """

    def __init__(self, names: Ints, n_groups: int, middle: Floats, time: Floats, at: Ints, apart: int) -> None:
        self._i, self._j, self._time, self._n_groups = at, at + apart, time, n_groups
        self._names = names[at]
        a, b = time[self._i], time[self._j]
        self._both = a * b / (a + b)
        self._n = np.bincount(self._names, minlength=n_groups).astype(np.float64)
        # Each is a mean over its own time, within which it drifts too.
        self._apart = self._mean((middle[self._j] - middle[self._i] - (a + b) / 6) * self._both)

    def of(self, values: Floats) -> _Differences:
        """Of sums over the time of each unit."""
        rate = values / self._time
        return _Differences(self._n, self._mean((rate[self._i] - rate[self._j]) ** 2 * self._both), self._apart)

    def _mean(self, of_pairs: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean: Floats = _sums(self._names, of_pairs, self._n_groups) / self._n
            return mean


def _astray(names: Ints, begin: Floats, end: Floats, counted: Floats, whole_ms: int, n_groups: int) -> Floats:
    """What a drift of one a millisecond adds to the variance of a total, per outcome.

    By how much the time counted so far is ahead of the clock is a line of straight pieces, level at neither end; its
    square is added up over the time recorded.
    """
    bounds = np.flatnonzero(np.diff(names, prepend=-1))
    before = np.cumsum(counted) - counted
    before -= before[bounds][names]
    at_begin, at_end = before - begin, before + counted - end
    led_by = np.roll(at_end, 1)
    led_by[bounds] = 0.0
    since = np.roll(end, 1)
    since[bounds] = 0.0
    final = np.append(bounds, len(names))[1:] - 1

    def squared(a: Floats, b: Floats, time: Floats) -> Floats:
        return np.maximum(time, 0.0) * (a * a + a * b + b * b) / 3

    inside = squared(led_by, at_begin, begin - since) + squared(at_begin, at_end, end - begin)
    after = squared(at_end[final], at_end[final] - (whole_ms - end[final]), whole_ms - end[final])
    return _sums(names, inside, n_groups) + after


def _moderated(
    tail: Floats, counting: Floats, known: npt.NDArray[np.bool_], *, freedom: float
) -> tuple[Floats, Floats]:
    """Degrees of freedom of each outcome's variance, and its tail, drawn to that of all as far as they are alike.

    ``tail`` is estimated with an error that its own freedom tells; what outcomes differ beyond it is their own.
    """
    use = known & np.isfinite(tail) & (tail > 0)
    n = int(use.sum())
    if not n:
        return np.full(len(tail), freedom), tail
    half = max(freedom / (2 * float((1 / counting[use]).mean())), 1.0)
    free = np.full(len(tail), 2 * half)
    logs = np.log(tail[use])
    beyond = float(logs.var(ddof=1)) - _trigamma(half) if n > 2 else np.inf
    if not np.isfinite(beyond):
        return free, tail
    # The root of trigamma to its second term; alike, the prior weighs all.
    prior = (1 + np.sqrt(1 + 2 * beyond)) / (2 * beyond) if beyond > 1e-6 else 1e6
    common = np.exp(logs.mean() - _log_bias(half) + _log_bias(prior))
    return free, (prior * common + half * tail) / (prior + half)


def _log_bias(half: float) -> float:
    """Mean of the logarithm of a variance of ``2 half`` degrees of freedom: digamma less logarithm."""
    return -1 / (2 * half) - 1 / (12 * half**2)


def _trigamma(half: float) -> float:
    return 1 / half + 1 / (2 * half**2) + 1 / (6 * half**3)


# -- units and strata --------------------------------------------------------------------------------------


def _units(names: Ints, begin: Ints, end: Ints, watched: Floats) -> Ints:
    """Number of each block's unit; a block continues the one before it if both are parts of one short stay."""
    continues = np.zeros(len(names), np.bool_)
    short = watched < _WHOLE_MS
    continues[1:] = (
        (names[1:] == names[:-1])
        & (begin[1:] - end[:-1] <= _TOGETHER_MS)
        & short[1:]
        & short[:-1]
        & (watched[1:] + watched[:-1] <= 1.2 * BLOCK_MS)
    )
    return np.cumsum(~continues) - 1


def _strata(names: Ints, unit: Ints, hour: Ints, hours: Ints, hour_ms: Ints) -> tuple[Ints, Floats]:
    """Number of each block's stratum, and the length of every stratum, ms.

    A stratum is one hour or several in a row with at least two units of the market; an hour in which it was not watched
    belongs to the stratum before it, or to the first.
    """
    stratum = np.empty(len(names), np.int64)
    lengths: list[float] = []
    bounds = [*np.flatnonzero(np.diff(names, prepend=-1)).tolist(), len(names)]
    for begin, end in itertools.pairwise(bounds):
        group_hours = hour[begin:end]
        units = unit[begin:end]
        # A unit belongs to the hour of its first block.
        firsts = np.flatnonzero(np.diff(units, prepend=-1))
        counts = np.bincount(np.searchsorted(hours, group_hours[firsts]), minlength=len(hours))
        of_hour, in_stratum = np.empty(len(hours), np.int64), 0
        n = len(lengths)
        lengths.append(0.0)
        for at, count in enumerate(counts.tolist()):
            if in_stratum >= _FEWEST_UNITS and count and counts[at:].sum() >= _FEWEST_UNITS:
                lengths.append(0.0)
                in_stratum = 0
            in_stratum += count
            of_hour[at] = len(lengths) - 1
            lengths[-1] += float(hour_ms[at])
        of_unit = of_hour[np.searchsorted(hours, group_hours[firsts])]
        stratum[begin:end] = of_unit[units - units[0]]
        assert n <= stratum[begin]
    return stratum, np.array(lengths, np.float64)

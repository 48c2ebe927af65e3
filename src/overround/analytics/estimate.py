"""A day's statistics and their intervals, out of five-minute sums.

A rotating market is watched for a few minutes at a time, a hot one all day; both are to be compared, and neither may look
better for having been watched at a busy hour. So the day is cut into *strata* (hours in which something of the venue was
recorded, joined with a neighbour while a market has fewer than two units in one), and what was seen in a stratum counts for
all of it: sums are multiplied by the stratum's length over the time the market was watched in it, the inverse of its
inclusion. Every statistic is a ratio of two such sums.

The *unit* is what was watched together: a block of five minutes, or the pieces of one short stay that a block's end cut.

Two errors come of units. The *standard error* says how far another such time would differ: it is that of a bootstrap which
draws units anew. The *interval* (95 %) is about the time that was recorded: between which values the statistic lies that
watching throughout would have given. Books drift and a rotation visits in turn, so units that follow each other say what
lies between them: the interval rests on the differences of neighbours, and shrinks with the share that was watched, to
nothing at full observation. For ratios both variances are known in closed form, up to terms of second order; nothing is
drawn at random. Intervals of what cannot be negative are taken on the log scale, for errors are proportional then.
*Rough* statistics are made by few large moves or trades; what was not seen may hold larger ones than what was, so their
intervals shrink later. Of *heavy* ones, single units decide the variance itself: the quantile is that of as many units as
count, by the second and fourth moments of what each unit adds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from overround.analytics.blocks import BLOCK_MS

__all__ = ["ESTIMATES", "Estimate", "estimate"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HOUR_MS = 3_600_000
_FEWEST_UNITS = 2
_FEWEST_SPEAKING = 8
"""Units in which something was there to divide by; with fewer there is no interval."""
_WHOLE = 0.9


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One statistic: a ratio of sums, and how it is shown.

    Attributes
    ----------
    name : str
    over : str
        The sum below the line.
    top : str
        The sum above it.
    scale : float
    root : bool
        Whether the square root of the ratio is shown.
    signed : bool
        Whether it may be negative.
    rough : bool
        Whether few large moves or trades make it.
    heavy : bool
        Whether single units may decide its variance.
    bounded : bool
        Whether an interval is given.
    """

    name: str
    top: str
    over: str
    scale: float = 1.0
    root: bool = False
    signed: bool = False
    rough: bool = False
    heavy: bool = False
    bounded: bool = True


ESTIMATES: tuple[Estimate, ...] = (
    Estimate(name="spread", top="spread", over="w2_ms"),
    Estimate(name="rel_spread", top="rel_spread", over="w2_ms"),
    Estimate(name="depth_1", top="depth_1", over="w2_ms"),
    Estimate(name="depth_2", top="depth_2", over="w2_ms"),
    Estimate(name="depth_5", top="depth_5", over="w2_ms"),
    Estimate(name="depth_top3", top="depth_top3", over="w2_ms"),
    Estimate(name="two_sided", top="w2_ms", over="w_ms", signed=True),
    Estimate(name="imbalance", top="imbalance", over="w2_ms", signed=True),
    Estimate(name="mid", top="mid", over="w2_ms", signed=True),
    Estimate(name="age_s", top="age", over="wage_ms", scale=1e-3),
    Estimate(name="updates_per_min", top="updates", over="step_ms", scale=60_000),
    Estimate(name="changes_per_min", top="changes", over="step_ms", scale=60_000, rough=True),
    Estimate(name="volatility", top="micro2", over="grid_ms", scale=HOUR_MS, root=True, rough=True, heavy=True),
    Estimate(name="logit_volatility", top="logit2", over="grid_ms", scale=HOUR_MS, root=True, rough=True, heavy=True),
    Estimate(name="trades_per_h", top="trades", over="w_ms", scale=HOUR_MS, rough=True),
    Estimate(name="volume_per_h", top="volume", over="w_ms", scale=HOUR_MS, rough=True),
    Estimate(name="turnover_per_h", top="turnover", over="w_ms", scale=HOUR_MS, rough=True),
    Estimate(name="roll_spread", top="roll", over="n_moves2", scale=4, root=True, signed=True, rough=True, heavy=True),
    Estimate(name="kyle_lambda", top="flow_mid", over="flow2", scale=1_000, signed=True, bounded=False),
    Estimate(name="amihud", top="move", over="move_usd", scale=1_000, rough=True),
    Estimate(name="ofi", top="ofi", over="ofi_abs", signed=True, rough=True),
    Estimate(name="ofi_slope", top="ofi_mid", over="ofi2", scale=1_000, signed=True, rough=True, heavy=True),
    Estimate(name="vpin", top="one_sided", over="signed", rough=True, heavy=True),
)


def estimate(
    blocks: pl.DataFrame, *, recorded: Sequence[int] | None = None, what: Sequence[Estimate] = ESTIMATES
) -> pl.DataFrame:
    """Statistics of every outcome.

    Parameters
    ----------
    blocks : polars.DataFrame
        ``BLOCK_COLUMNS``, each outcome's block once, sorted by market, outcome and block.
    recorded : sequence of int, optional
        Starts of the blocks in which anything was recorded: the time spoken of. Those of ``blocks`` by default.
    what : sequence of Estimate
        Others than ``ESTIMATES`` need only the columns that they name, and come without what is no ratio.

    Returns
    -------
    polars.DataFrame
        ``market_id, outcome_id``, ``watched_s`` and ``watched_share`` (of the time recorded), ``n_units``, ``tick``,
        ``spread_ticks`` with its bounds, ``burstiness``, ``corwin_schultz``, and of each of ``ESTIMATES`` the value,
        ``…_lo``, ``…_hi`` (95 %) and ``…_se``. Null where nothing can be said.
    """
    blocks = blocks.filter(pl.col("w_ms") > 0)
    mined = what is ESTIMATES
    if mined:
        blocks = blocks.with_columns((-pl.col("moves2")).alias("roll"))
    names = blocks.select(pl.struct("market_id", "outcome_id").rle_id()).to_series().to_numpy().astype(np.int64)
    start = blocks["block"].to_numpy()
    watched = blocks["w_ms"].to_numpy()
    whole = np.unique(np.asarray(start if recorded is None else recorded, np.int64))
    hours, per_hour = np.unique(whole // HOUR_MS, return_counts=True)
    unit = _units(names, start, watched)
    stratum, length = _strata(names, unit, start // HOUR_MS, hours, per_hour * BLOCK_MS)
    firsts = np.flatnonzero(np.diff(names, prepend=-1))
    found: dict[str, Any] = {
        "market_id": blocks["market_id"].gather(firsts),
        "outcome_id": blocks["outcome_id"].gather(firsts),
    }
    n_groups = len(firsts)
    design = _Design(names, unit, stratum, length, watched, n_groups, len(whole) * BLOCK_MS)
    found["watched_s"] = design.watched_ms / 1000
    found["watched_share"] = design.share
    found["n_units"] = design.n_units
    for one in what:
        found |= _shown(one, design.ratio(blocks[one.top].to_numpy(), blocks[one.over].to_numpy()), design)
    if mined:
        tick = np.full(n_groups, np.iinfo(np.int64).max)
        np.minimum.at(tick, names, blocks["tick_e4"].to_numpy())
        found["tick"] = tick / 1e4
        for part in ("", "_lo", "_hi"):
            found[f"spread_ticks{part}"] = found[f"spread{part}"] / found["tick"]
        found["burstiness"] = _burstiness(blocks, names, n_groups)
        found["corwin_schultz"] = _corwin_schultz(blocks, names, n_groups)
    frame = pl.DataFrame(found, nan_to_null=True)
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    # Sums of floats differ in their last bits from run to run.
    return frame.with_columns(pl.col(floats).fill_nan(None).round_sig_figs(9))


def _shown(one: Estimate, ratio: _Ratio, design: _Design) -> dict[str, Floats]:
    """Value, bounds and standard error on the scale shown."""
    value, error = ratio.value, ratio.error
    seen = design.share**2 if one.rough else design.share
    free = np.minimum(design.free, ratio.counting) if one.heavy else design.free
    half = _quantile(free) * ratio.drift * np.sqrt(1 - seen) if one.bounded else np.full(len(value), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if one.signed:
            lo, hi = value - half, value + half
        else:
            factor = np.exp(half / value)
            lo, hi = value / factor, value * factor
        if not one.root:
            shown = value * one.scale
            found: tuple[Floats, ...] = (shown, lo * one.scale, hi * one.scale, error * one.scale)
        else:
            shown = np.sqrt(np.maximum(value, 0) * one.scale)
            bounds = (np.sqrt(np.maximum(bound, 0) * one.scale) for bound in (lo, hi))
            found = (shown, *bounds, error * one.scale / (2 * shown))
            found = tuple(np.where(value > 0, each, np.nan) for each in found)
    return {f"{one.name}{end}": each for end, each in zip(("", "_lo", "_hi", "_se"), found, strict=True)}


def _quantile(free: Floats) -> Floats:
    """The 97.5 % point of Student's distribution, to a hundredth from three degrees of freedom on."""
    quantile: Floats = 1.959964 + 2.3725 / free + 2.8225 / free**2 + 2.56 / free**3
    return quantile


# -- units and strata --------------------------------------------------------------------------------------


def _units(names: Ints, start: Ints, watched: Floats) -> Ints:
    """Number of each block's unit; a block continues the one before it if both are parts of one short stay."""
    continues = np.zeros(len(names), np.bool_)
    whole = _WHOLE * BLOCK_MS
    short = watched < whole
    continues[1:] = (
        (names[1:] == names[:-1])
        & (start[1:] - start[:-1] == BLOCK_MS)
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


class _Ratio(NamedTuple):
    """A weighted ratio of two sums per outcome; NaN where there is none.

    Attributes
    ----------
    value, error, drift : array
        The ratio, its standard error, and that by the differences of neighbours.
    counting : array
        How many units make up its variance.
    """

    value: Floats
    error: Floats
    drift: Floats
    counting: Floats


class _Design:
    """How units, strata and outcomes lie over the blocks, and what follows for a ratio."""

    def __init__(
        self,
        names: Ints,
        unit: Ints,
        stratum: Ints,
        length: Floats,
        watched: Floats,
        n_groups: int,
        whole_ms: int,
    ) -> None:
        self._n_groups = n_groups
        self._unit = unit
        first = np.flatnonzero(np.diff(unit, prepend=-1))
        self._unit_stratum = stratum[first]
        self._unit_group = names[first]
        self._n_strata = len(length)
        in_stratum = np.bincount(stratum, watched, self._n_strata)
        with np.errstate(divide="ignore", invalid="ignore"):
            # How much longer the stratum is than what was watched of it; time watched twice over is no less than once.
            self._weight = np.maximum(np.where(in_stratum > 0, length / in_stratum, 1.0), 1.0)
        self.n_units = np.bincount(self._unit_group, minlength=n_groups)
        # A difference of neighbours has half the freedom of a value, and shares it with the next.
        self.free = np.maximum(0.67 * (self.n_units - 1), 1.0)
        self.watched_ms = np.bincount(names, watched, n_groups)
        self.share = np.minimum(self.watched_ms / whole_ms, 1.0)

    def ratio(self, above: Floats, below: Floats) -> _Ratio:
        """The weighted ratio of two sums, and its errors."""
        weight = self._weight[self._unit_stratum]
        tops = np.bincount(self._unit, above, len(weight)) * weight
        bottoms = np.bincount(self._unit, below, len(weight)) * weight
        top = np.bincount(self._unit_group, tops, self._n_groups)
        bottom = np.bincount(self._unit_group, bottoms, self._n_groups)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(bottom > 0, top / bottom, np.nan)
            residual = (tops - np.nan_to_num(value)[self._unit_group] * bottoms) / bottom[self._unit_group]
        residual = np.nan_to_num(residual, posinf=0.0, neginf=0.0)
        neighbours = np.flatnonzero(self._unit_group[1:] == self._unit_group[:-1])
        squares = np.diff(residual)[neighbours] ** 2
        between = np.bincount(self._unit_group[neighbours], squares, self._n_groups)
        whole = np.bincount(self._unit_group, residual**2, self._n_groups)
        n = np.maximum(self.n_units, 2)
        speaking = np.bincount(self._unit_group, bottoms > 0, self._n_groups)
        known = np.isfinite(value) & (speaking >= _FEWEST_SPEAKING)
        error, drift = np.sqrt(whole * n / (n - 1)), np.sqrt(between * n / (2 * (n - 1)))
        fourth = np.bincount(self._unit_group, residual**4, self._n_groups)
        with np.errstate(divide="ignore", invalid="ignore"):
            counting = np.clip(np.nan_to_num(whole**2 / fourth, nan=2.0), 2.0, None)
        return _Ratio(value, np.where(known, error, np.nan), np.where(known, drift, np.nan), counting)


# -- what is no ratio of sums ------------------------------------------------------------------------------


def _burstiness(blocks: pl.DataFrame, names: Ints, n_groups: int) -> Floats:
    """Variance of the changes in ten seconds over their mean; 1 if they come by chance."""
    slots, changes, squares = (
        np.bincount(names, blocks[name].to_numpy(), n_groups) for name in ("slots", "slot_changes", "slot_changes2")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = changes / slots
        return np.where((slots >= 30) & (mean > 0), (squares / slots - mean**2) / mean, np.nan)


def _corwin_schultz(blocks: pl.DataFrame, names: Ints, n_groups: int) -> Floats:
    """Spread from the highs and lows of prints in pairs of whole blocks, where prices stay away from 0 and 1."""
    high, low, start, watched = (blocks[name].to_numpy() for name in ("high", "low", "block", "w_ms"))
    with np.errstate(divide="ignore", invalid="ignore"):
        pair = (names[1:] == names[:-1]) & (start[1:] - start[:-1] == BLOCK_MS)
        pair &= np.minimum(watched[1:], watched[:-1]) >= _WHOLE * BLOCK_MS
        pair &= np.minimum(low[1:], low[:-1]) >= 0.05
        pair &= np.maximum(high[1:], high[:-1]) <= 0.95
        ranges = np.log(high / low) ** 2
        beta = ranges[1:] + ranges[:-1]
        gamma = np.log(np.maximum(high[1:], high[:-1]) / np.minimum(low[1:], low[:-1])) ** 2
        root2 = 3 - 2 * np.sqrt(2)
        alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / root2 - np.sqrt(gamma / root2)
        spread = np.maximum(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0.0)
        # In probability: the formula's is a part of the price.
        spread *= (high[1:] + low[1:] + high[:-1] + low[:-1]) / 4
        pair &= np.isfinite(spread)
        n = np.bincount(names[1:][pair], minlength=n_groups)
        total = np.bincount(names[1:][pair], spread[pair], n_groups)
        return np.where(n >= 6, total / n, np.nan)

"""A day's statistics and their intervals, out of five-minute sums.

A rotating market is watched for a few minutes at a time, a hot one all day; both are to be compared, and neither may look
better for having been watched at a busy hour. So every statistic is a ratio of two sums, weighted by inclusion
(``sampling``), and two errors are told apart. The *standard error* says how far another such time would differ: it is that
of a bootstrap which draws units anew. The *interval* (95 %) is about the time that was recorded: between which values the
statistic lies that watching throughout would have given. It shrinks to nothing at full observation. Both are known in
closed form, to terms of second order; nothing is drawn at random. Intervals of what cannot be negative are taken on the
log scale, for errors are proportional then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from overround.analytics.sampling import Floats, Ratio, Sample

__all__ = ["ESTIMATES", "Estimate", "estimate"]

HOUR_MS = 3_600_000


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
    events : bool
        Whether what happens makes it, and not what lasts.
    bounded : bool
        Whether an interval is given.
    """

    name: str
    top: str
    over: str
    scale: float = 1.0
    root: bool = False
    signed: bool = False
    events: bool = False
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
    Estimate(name="changes_per_min", top="changes", over="step_ms", scale=60_000, events=True),
    Estimate(name="volatility", top="micro2", over="grid_ms", scale=HOUR_MS, root=True, events=True),
    Estimate(name="logit_volatility", top="logit2", over="grid_ms", scale=HOUR_MS, root=True, events=True),
    Estimate(name="trades_per_h", top="trades", over="w_ms", scale=HOUR_MS, events=True),
    Estimate(name="volume_per_h", top="volume", over="w_ms", scale=HOUR_MS, events=True),
    Estimate(name="turnover_per_h", top="turnover", over="w_ms", scale=HOUR_MS, events=True),
    Estimate(name="roll_spread", top="roll", over="n_moves2", scale=4, root=True, events=True),
    Estimate(name="kyle_lambda", top="flow_mid", over="flow2", scale=1_000, signed=True, events=True, bounded=False),
    Estimate(name="amihud", top="move", over="move_usd", scale=1_000, events=True),
    Estimate(name="ofi", top="ofi", over="ofi_abs", signed=True, events=True),
    Estimate(name="ofi_slope", top="ofi_mid", over="ofi2", scale=1_000, signed=True, events=True),
    Estimate(name="vpin", top="one_sided", over="signed", events=True, bounded=False),
    Estimate(name="burstiness", top="uneven", over="slot_changes", events=True, bounded=False),
    Estimate(name="corwin_schultz", top="range_spread", over="n_ranges", events=True, bounded=False),
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
        ``spread_ticks`` with its bounds, and of each of ``ESTIMATES`` the value,
        ``…_lo``, ``…_hi`` (95 %) and ``…_se``. Null where nothing can be said.
    """
    blocks = blocks.filter(pl.col("w_ms") > 0)
    mined = what is ESTIMATES
    sample = Sample(blocks, recorded)
    names, firsts = sample.names, sample.firsts
    found: dict[str, Any] = {
        "market_id": blocks["market_id"].gather(firsts),
        "outcome_id": blocks["outcome_id"].gather(firsts),
        "watched_s": sample.watched_ms / 1000,
        "watched_share": sample.share,
        "n_units": sample.n_units,
    }
    if mined:
        blocks = blocks.with_columns(
            (-pl.col("moves2")).alias("roll"), pl.Series("uneven", _uneven(blocks, sample), pl.Float64)
        )
    for one in what:
        found |= _shown(one, sample.ratio(blocks[one.top].to_numpy(), blocks[one.over].to_numpy(), events=one.events))
    if mined:
        tick = np.full(len(firsts), np.iinfo(np.int64).max)
        np.minimum.at(tick, names, blocks["tick_e4"].to_numpy())
        found["tick"] = tick / 1e4
        for part in ("", "_lo", "_hi"):
            found[f"spread_ticks{part}"] = found[f"spread{part}"] / found["tick"]
    frame = pl.DataFrame(found, nan_to_null=True)
    floats = [name for name, kind in frame.schema.items() if kind == pl.Float64]
    # Sums of floats differ in their last bits from run to run.
    return frame.with_columns(pl.col(floats).fill_nan(None).round_sig_figs(9))


def _shown(one: Estimate, ratio: Ratio) -> dict[str, Floats]:
    """Value, bounds and standard error on the scale shown."""
    value, error, off, free = ratio
    half = _quantile(free) * off if one.bounded else np.full(len(value), np.nan)
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
            # The root of what is right in the mean is too low in the mean.
            more = 1 + np.minimum(np.nan_to_num(off / value) ** 2, 1.0) / 8
            shown, *bounds = (more * np.sqrt(np.maximum(each, 0) * one.scale) for each in (value, lo, hi))
            found = (shown, *bounds, error * one.scale / (2 * shown))
            found = tuple(np.where(value > 0, each, np.nan) for each in found)
    return {f"{one.name}{end}": each for end, each in zip(("", "_lo", "_hi", "_se"), found, strict=True)}


def _uneven(blocks: pl.DataFrame, sample: Sample) -> Floats:
    """Squared distances of the changes in ten seconds from their mean, summed up over each block."""
    slots, changes, squares = (blocks[name].to_numpy() for name in ("slots", "slot_changes", "slot_changes2"))
    mean = np.nan_to_num(sample.ratio(changes, slots, events=True).value)[sample.names]
    uneven: Floats = squares - 2 * mean * changes + mean**2 * slots
    return uneven


def _quantile(free: Floats) -> Floats:
    """The 97.5 % point of Student's distribution, to a hundredth from three degrees of freedom on."""
    quantile: Floats = 1.959964 + 2.3725 / free + 2.8225 / free**2 + 2.56 / free**3
    return quantile

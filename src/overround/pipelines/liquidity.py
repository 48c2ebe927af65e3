"""What rested at which price through a day, for a few markets: the liquidity heat map's sums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from overround.errors import UNREADABLE, FileDamaged, StorageError
from overround.market import PX_ONE_E4
from overround.pipelines.mine import SkippedFile
from overround.storage import LakePaths, gaps_of, partitions, trusted
from overround.storage.schema import LEVEL_COLUMNS

__all__ = ["LiquidityMap", "PriceWindow", "liquidity_maps", "window_of"]

Floats = npt.NDArray[np.float64]
_STEPS_E4 = (10, 20, 50, 100, 200, 500)
_MOST_ROWS = 64
_UNEQUAL = [pl.col(f"{side}_px").list.len().ne_missing(pl.col(f"{side}_sz").list.len()) for side in ("bid", "ask")]


@dataclass(frozen=True, kw_only=True)
class PriceWindow:
    """The prices of a map.

    Attributes
    ----------
    low_e4, step_e4 : int
        Lower end of the lowest row, and height of each.
    n_rows : int
    """

    low_e4: int
    step_e4: int
    n_rows: int

    @property
    def high_e4(self) -> int:
        """Upper end of the highest row."""
        return self.low_e4 + self.step_e4 * self.n_rows


@dataclass(frozen=True, kw_only=True)
class LiquidityMap:
    """One market's prices over time.

    Attributes
    ----------
    window : PriceWindow
    bid_sz, ask_sz : ndarray of float64, shape (n_rows, n_bins)
        Average contracts over the rows of a bin, lowest price first; 0 where nothing rested.
    best_bid, best_ask : ndarray of float64, shape (n_bins,)
        Average best prices, probability; NaN where there was none.
    watched : ndarray of bool, shape (n_bins,)
        Whether a bin has a row outside gaps.
    """

    window: PriceWindow
    bid_sz: Floats
    ask_sz: Floats
    best_bid: Floats
    best_ask: Floats
    watched: npt.NDArray[np.bool_]


def window_of(blocks: pl.DataFrame) -> PriceWindow | None:
    """Prices that one outcome's blocks of sums moved in, with room for what rests beside them; None if it never had two sides."""
    told = blocks.filter(pl.col("w2_ms") > 0)
    if told.is_empty():
        return None
    mids, spreads = told["mid"] / told["w2_ms"], told["spread"] / told["w2_ms"]
    tick_e4 = max(1, int(told["tick_e4"].min() or 100))  # type: ignore[arg-type]
    lowest, highest = float(mids.min() or 0), float(mids.max() or 0)  # type: ignore[arg-type]
    room = max(highest - lowest, 4 * float(spreads.mean() or 0), 8 * tick_e4 / PX_ONE_E4)  # type: ignore[arg-type]
    low_e4, high_e4 = (min(max(0.0, px), 1.0) * PX_ONE_E4 for px in (lowest - room, highest + room))
    step_e4 = next(
        (step for step in _STEPS_E4 if step >= tick_e4 and (high_e4 - low_e4) / step <= _MOST_ROWS), _STEPS_E4[-1]
    )
    first = int(low_e4 // step_e4)
    return PriceWindow(low_e4=first * step_e4, step_e4=step_e4, n_rows=max(1, int(-(-high_e4 // step_e4)) - first))


def liquidity_maps(
    paths: LakePaths,
    venue: str,
    date: str,
    windows: Mapping[tuple[str, str], PriceWindow],
    *,
    begin_ms: int,
    bin_ms: int,
    n_bins: int,
    without: Collection[str] = frozenset(),
    on_hour: Callable[[], None] | None = None,
) -> tuple[dict[tuple[str, str], LiquidityMap], list[SkippedFile]]:
    """Maps of some outcomes, read one file at a time; of each file only the row groups that hold them.

    Parameters
    ----------
    paths, venue, date
    windows : mapping of (market_id, outcome_id) to PriceWindow
    begin_ms, bin_ms, n_bins : int
        The bins of time.
    without : collection of str
        Paths of files that are not to be believed.
    on_hour : callable, optional
        Called when an hour is done.

    Returns
    -------
    maps : dict
        Of the same keys; without rows a map is blank.
    skipped : list of SkippedFile
        Files that could not be read.
    """
    sums = {key: _Sums(window, begin_ms, bin_ms, n_bins) for key, window in windows.items()}
    markets = sorted({market_id for market_id, _ in windows})
    gaps = gaps_of(paths, venue, date).collect()
    skipped: list[SkippedFile] = []
    for partition in partitions(paths, venue, date=date):
        for piece in partition.pieces():
            if str(piece.path) in without:
                continue
            try:
                rows = (
                    piece.scan()
                    .filter(pl.col("market_id").is_in(markets), pl.col("status") != "stale")
                    .select("market_id", "outcome_id", "ts_recv", "best_bid_px", "best_ask_px", *LEVEL_COLUMNS)
                    .collect(engine="streaming")
                )
                if rows.filter(pl.any_horizontal(_UNEQUAL)).height:
                    raise FileDamaged(f"{piece.path} holds levels with prices and without sizes")
            except (*UNREADABLE, OSError, pl.exceptions.PolarsError, StorageError) as exc:
                skipped.append(SkippedFile(path=str(piece.path), reason=str(exc).partition("\n")[0]))
                continue
            believed = trusted(rows.lazy(), gaps).collect()
            for key, part in believed.partition_by("market_id", "outcome_id", as_dict=True).items():
                if key in sums:
                    sums[key].add(part)
        if on_hour is not None:
            on_hour()
    return {key: each.map() for key, each in sums.items()}, skipped


class _Sums:
    """Sums of one outcome."""

    def __init__(self, window: PriceWindow, begin_ms: int, bin_ms: int, n_bins: int) -> None:
        self._window, self._begin_ms, self._bin_ms, self._n_bins = window, begin_ms, bin_ms, n_bins
        self._sz = {side: np.zeros((window.n_rows, n_bins)) for side in ("bid", "ask")}
        self._best = {side: np.zeros((2, n_bins)) for side in ("bid", "ask")}
        self._rows = np.zeros(n_bins)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows of the outcome."""
        bins = (rows["ts_recv"].to_numpy() - self._begin_ms) // self._bin_ms
        inside = (bins >= 0) & (bins < self._n_bins)
        rows, bins = rows.filter(pl.Series(inside)), bins[inside]
        np.add.at(self._rows, bins, 1.0)
        for side in ("bid", "ask"):
            best = rows[f"best_{side}_px"].to_numpy()
            there = np.isfinite(best)
            np.add.at(self._best[side], (0, bins[there]), best[there])
            np.add.at(self._best[side], (1, bins[there]), 1.0)
            px, sz = (rows[f"{side}_{what}"] for what in ("px", "sz"))
            at = np.repeat(bins, px.list.len().to_numpy())
            levels = px.explode(empty_as_null=False).to_numpy() * PX_ONE_E4
            # A bid belongs to the row that begins at its price, an ask to the one that ends there: they share none.
            place = (np.round(levels).astype(np.int64) - self._window.low_e4 - (side == "ask")) // self._window.step_e4
            shown = (place >= 0) & (place < self._window.n_rows)
            np.add.at(self._sz[side], (place[shown], at[shown]), sz.explode(empty_as_null=False).to_numpy()[shown])

    def map(self) -> LiquidityMap:
        """Averages of what was added."""
        watched = self._rows > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            return LiquidityMap(
                window=self._window,
                bid_sz=np.where(watched, self._sz["bid"] / self._rows, 0.0),
                ask_sz=np.where(watched, self._sz["ask"] / self._rows, 0.0),
                best_bid=self._best["bid"][0] / self._best["bid"][1],
                best_ask=self._best["ask"][0] / self._best["ask"][1],
                watched=watched,
            )

"""Sums over the rows of each outcome that rankings are made of: what the writer leaves of a file, and what the miner finds in it.

Both use this one reckoning, on plain columns of numbers; the definitions stand in ``overround.analytics.miner``. All sums are
of integers, so they repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["NO_PRICE", "PAUSE_MS", "QUOTE", "SUM_NAMES", "TOP_LEVELS", "OutcomeRows", "add_up", "sum_rows"]

PAUSE_MS = 60_000
"""A longer time between two rows of an outcome is a pause in its recording, not a quiet market."""
TOP_LEVELS = 3
QUOTE = ("bid_px_e4", "bid_sz_e6", "ask_px_e4", "ask_sz_e6")
NO_PRICE = -1
_SCALES = (1e4, 1e6, 1e4, 1e6)
_LOW = 0xFFFF_FFFF

SUM_NAMES = (
    *("n_snapshots", "n_ok", "depth_high", "depth_low", "spread_sum_e4", "quote_updates", "observed_ms"),
    *("first_ts", "last_ts", *(f"first_{name}" for name in QUOTE), *(f"last_{name}" for name in QUOTE)),
)
"""Names of ``sum_rows``' columns; the sum of depths is ``depth_high * 2**32 + depth_low``, for it may need 128 bits."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class OutcomeRows(NamedTuple):
    """Snapshot rows as columns, those of an outcome together, best in the order of time.

    Attributes
    ----------
    begins : array of bool
        True at the first row of each outcome.
    ts, seq : array of int64
    quote : tuple of array of float64
        Best bid price and size, best ask price and size; NaN where there is none.
    sizes : tuple of array of float64
        Sizes of the first ``TOP_LEVELS`` bids, then of as many asks; NaN where a side has no first level, 0 where
        it has no further one.
    ok : array of bool
        Whether the row's status is ``ok``.
    """

    begins: npt.NDArray[np.bool_]
    ts: Ints
    seq: Ints
    quote: tuple[Floats, ...]
    sizes: tuple[Floats, ...]
    ok: npt.NDArray[np.bool_]


def sum_rows(rows: OutcomeRows) -> dict[str, Ints]:
    """The sums of each outcome, in the order of the rows, by ``SUM_NAMES``."""
    if not len(rows.ts):
        return {name: np.empty(0, np.int64) for name in SUM_NAMES}
    n = len(rows.ts)
    # Fresh memory costs more than what is done with it: one scratch for all columns.
    scratch, whole = np.empty(n, np.float64), np.empty(n, np.int64)
    counted = rows.ok.copy()
    quote = [np.empty(n, np.int64) for _ in QUOTE]
    for out, values, scale in zip(quote, rows.quote, _SCALES, strict=True):
        _whole(values, scale, NO_PRICE, scratch, out)
    counted &= quote[0] >= 0
    counted &= quote[2] >= 0
    depth, high, most = np.zeros(n, np.int64), None, 0.0
    for size in rows.sizes:
        good = _whole(size, 1e6, 0, scratch, whole)
        if good is not None:
            counted &= good
        most += max(scratch.max(), -scratch.min())
        # Six of the largest sizes that a book can hold need 66 bits, any number of rows more.
        if high is None and most * n >= 2.0**62:
            high = depth >> 32
            depth &= _LOW
        if high is not None:
            high += whole >> 32
            whole &= _LOW
        depth += whole
    n_counted = counted.astype(np.int64)
    summed = [each * n_counted for each in (depth, high, quote[2] - quote[0]) if each is not None]
    same, ts = ~rows.begins[1:], rows.ts
    starts = np.flatnonzero(rows.begins)
    ends = np.append(starts[1:], len(ts)) - 1
    step = np.diff(ts)
    if (same & (step <= 0)).any():
        # Rows of one millisecond are ordered by their number, then by the quote itself; the sums above need no order.
        order = np.lexsort((*quote[::-1], rows.seq, ts, np.cumsum(rows.begins)))
        ts, quote = ts[order], [each[order] for each in quote]
        step = np.diff(ts)
    updated, watched = np.zeros((2, len(ts)), np.int64)
    updated[1:] = same & np.logical_or.reduce([each[1:] != each[:-1] for each in quote])
    np.multiply(step, same & (step <= PAUSE_MS), out=watched[1:])
    columns = (*summed, n_counted, updated, watched)
    low, *highs, spreads, n_ok, updates, observed = (np.add.reduceat(each, starts) for each in columns)
    found = [ends - starts + 1, n_ok, sum(highs) + (low >> 32), low & _LOW, spreads, updates, observed]
    found += [ts[starts], ts[ends], *(each[starts] for each in quote), *(each[ends] for each in quote)]
    return dict(zip(SUM_NAMES, found, strict=True))


def add_up(files: Iterable[tuple[Ints, Ints]], n: int) -> tuple[Ints, Ints] | None:
    """Join the sums of files in the order of time, as ``overround.analytics.merge`` joins partials.

    Parameters
    ----------
    files : iterable of (array of int64, array of int64)
        Numbers of the outcomes, below ``n`` and each once, and their sums, a row for each of ``SUM_NAMES``.
    n : int

    Returns
    -------
    tuple of arrays, or None
        Outcomes that occur, and their sums; None where the times of an outcome overlap, for then order is more than this.
    """
    at = {name: number for number, name in enumerate(SUM_NAMES)}
    first, last = at["first_ts"], at["last_ts"]
    ends = slice(last + 1, last + 1 + len(QUOTE)), slice(last + 1 + len(QUOTE), None)
    total = np.zeros((len(SUM_NAMES), n), np.int64)
    for index, values in files:
        held = total[:, index]
        seen = held[0] > 0
        between = values[first] - held[last]
        if (seen & (between < 0)).any():
            return None
        joined = values.copy()
        joined[:first] += held[:first]
        joined[at["quote_updates"]] += seen & (values[ends[0]] != held[ends[1]]).any(axis=0)
        joined[at["observed_ms"]] += np.where(seen & (between <= PAUSE_MS), between, 0)
        for rows in (first, ends[0]):
            joined[rows] = np.where(seen, held[rows], values[rows])
        total[:, index] = joined
    occurring = np.flatnonzero(total[0])
    return occurring, total[:, occurring]


def _whole(values: Floats, scale: float, otherwise: int, scratch: Floats, out: Ints) -> npt.NDArray[np.bool_] | None:
    """Floats as rounded integers, and which are numbers at all (None: all): NaN, infinite and overflowing ones are not."""
    np.multiply(values, scale, out=scratch)
    np.rint(scratch, out=scratch)
    good = None
    if not (scratch.min() > -(2.0**63) and scratch.max() < 2.0**63):
        good = np.abs(scratch) < 2.0**63
        scratch[~good] = otherwise
    np.copyto(out, scratch, casting="unsafe")
    return good

"""Two tables of the same rows, compared value by value and bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Difference", "Pairing", "differences", "pair_rows"]

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Pairing(NamedTuple):
    """Which row of one table is which of the other.

    Attributes
    ----------
    left, right : array of int64
        Positions of the rows that both have.
    left_only, right_only : array of int64
    """

    left: Ints
    right: Ints
    left_only: Ints
    right_only: Ints


class Difference(NamedTuple):
    """One value that differs; ``at`` is the place in a list, or None."""

    row: int
    column: str
    left: object
    right: object
    at: int | None = None


def pair_rows(left: pa.Table, right: pa.Table, key: tuple[str, ...]) -> Pairing:
    """Find the same rows of two tables by their keys; of equal keys the first belongs to the first."""

    def keyed(rows: pa.Table, place: str) -> pl.DataFrame:
        frame = pl.from_arrow(rows.select(list(key)))
        assert isinstance(frame, pl.DataFrame)
        return frame.with_row_index(place).with_columns(
            pl.col(place).cast(pl.Int64), pl.int_range(pl.len()).over(key).alias("nth")
        )

    ours, theirs = keyed(left, "left"), keyed(right, "right")
    on = [*key, "nth"]
    both = ours.join(theirs, on=on, how="inner").sort("left")
    return Pairing(
        both["left"].to_numpy(),
        both["right"].to_numpy(),
        ours.join(theirs, on=on, how="anti")["left"].sort().to_numpy(),
        theirs.join(ours, on=on, how="anti")["right"].sort().to_numpy(),
    )


def differences(left: pa.Table, right: pa.Table) -> Iterator[Difference]:
    """Values in which two tables of equally many rows, in the same order, differ; column by column.

    Floats are compared by their bits: NaN equals NaN, and 0.0 does not equal -0.0.
    """
    for field in left.schema:
        ours, theirs = left.column(field.name).combine_chunks(), right.column(field.name).combine_chunks()
        if pa.types.is_list(field.type):
            yield from _list_differences(field.name, ours, theirs)
            continue
        for row in np.flatnonzero(_unequal(ours, theirs)).tolist():
            yield Difference(row, field.name, ours[row].as_py(), theirs[row].as_py())


def _unequal(ours: Any, theirs: Any) -> Mask:
    """Where two columns differ."""
    here, there = _bits(ours.is_valid()), _bits(theirs.is_valid())
    wrong: Mask = here != there
    if pa.types.is_floating(ours.type):
        unequal: Mask = _float_bits(ours) != _float_bits(theirs)
    else:
        unequal = _bits(pc.fill_null(pc.not_equal(ours, theirs), pa.scalar(value=False)))
    return wrong | (here & there & unequal)


def _list_differences(name: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    lengths = [pc.fill_null(column.value_lengths(), -1).to_numpy(zero_copy_only=False) for column in (ours, theirs)]
    same = lengths[0] == lengths[1]
    for row in np.flatnonzero(~same).tolist():
        yield Difference(row, name, ours[row].as_py(), theirs[row].as_py())
    rows = np.flatnonzero(same)
    kept = pa.array(same)
    values = [column.filter(kept).flatten() for column in (ours, theirs)]
    counts = np.maximum(lengths[0][rows], 0)
    wrong = np.flatnonzero(_unequal(*values))
    if not len(wrong):
        return
    starts = np.cumsum(counts) - counts
    owner = np.searchsorted(starts + counts, wrong, side="right")
    for place, at in zip(wrong.tolist(), owner.tolist(), strict=True):
        row = int(rows[at])
        yield Difference(row, name, values[0][place].as_py(), values[1][place].as_py(), int(place - starts[at]))


def _bits(column: Any) -> Mask:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)


def _float_bits(column: Any) -> Ints:
    # Nulls are told apart by their validity; as a number they may be anything.
    return np.ascontiguousarray(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False), np.float64).view(np.int64)

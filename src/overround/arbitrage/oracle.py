"""The worst state of a portfolio, and of a program's solver: everything that touches HiGHS' models directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overround.logic import Component, count_rows

if TYPE_CHECKING:
    import highspy

__all__ = ["model", "silent", "worst_wins"]


def silent(**options: bool | float | str) -> highspy.Highs:
    """A solver that prints nothing and stays on this thread."""
    import highspy

    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        highs.setOptionValue(name, value)
    return highs


def model(
    highs: highspy.Highs,
    *,
    costs: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    columns: Sequence[Sequence[tuple[int, float]]],
    row_lower: Sequence[float],
    row_upper: Sequence[float],
    whole: Sequence[int] = (),
) -> None:
    """Hand over a program that maximises ``costs``; a column is its entries (row, coefficient)."""
    import highspy
    import numpy as np

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(costs), len(row_lower)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.array(costs, float), np.array(lower, float), np.array(upper, float)
    lp.row_lower_, lp.row_upper_ = np.array(row_lower, float), np.array(row_upper, float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.cumsum([0, *(len(column) for column in columns)]).astype(np.int32)
    lp.a_matrix_.index_ = np.array([row for column in columns for row, _ in column], np.int32)
    lp.a_matrix_.value_ = np.array([value for column in columns for _, value in column], float)
    if whole:
        kinds: list[Any] = [highspy.HighsVarType.kContinuous] * len(costs)
        for place in whole:
            kinds[place] = highspy.HighsVarType.kInteger
        lp.integrality_ = kinds
    highs.passModel(lp)


def worst_wins(component: Component, yes: Sequence[int], no: Sequence[int]) -> tuple[bool, ...] | None:
    """The ordinary state in which these contracts pay least, by integer program; None when the solver gave up.

    What it finds is a state by construction; that it is the worst one is for the exact check to show.
    """
    import highspy

    highs = silent(time_limit=1.0, mip_rel_gap=0.02)
    n = len(component.legs)
    rows = count_rows(component)
    columns: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    for place, (signs, _, _) in enumerate(rows):
        for leg, sign in signs.items():
            columns[leg].append((place, float(sign)))
    scale = max(1, *map(abs, yes), *map(abs, no))
    model(
        highs, costs=[(b - a) / scale for a, b in zip(yes, no, strict=True)], lower=[0.0] * n, upper=[1.0] * n,
        columns=columns, row_lower=[low for _, low, _ in rows], row_upper=[high for _, _, high in rows], whole=range(n),
    )  # fmt: skip
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return tuple(value > 0.5 for value in highs.getSolution().col_value)

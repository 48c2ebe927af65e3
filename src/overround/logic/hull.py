"""Whether constraints alone describe the convex hull of their states.

Where they do, a payoff between 0 and 1 that satisfies the constraints is a mixture of ordinary states, so what is certain
in each of these is certain whatever a leg is settled at. Where they do not, fractions can undercut every state: three
legs of which no two may win can still be settled at a half each.
"""

from __future__ import annotations

from collections.abc import Sequence

from overround.logic.component import Component

__all__ = ["count_rows", "is_network"]


def count_rows(component: Component) -> list[tuple[dict[int, int], int, int]]:
    """Every count as ``lower <= sum of coefficient times leg <= upper``."""
    rows = []
    for count in component.counts:
        signs: dict[int, int] = {}
        against = 0
        for literal in count.literals:
            signs[literal.leg] = signs.get(literal.leg, 0) + (1 if literal.holds else -1)
            against += not literal.holds
        rows.append(({leg: sign for leg, sign in signs.items() if sign}, count.least - against, count.most - against))
    return rows


def is_network(component: Component) -> bool:
    """Whether the counts are a network's matrix, which is totally unimodular (Heller and Tompkins 1956).

    That is, at most two entries a row whose signs can be made opposite, or at most two a column likewise.
    """
    rows = [signs for signs, _, _ in count_rows(component)]
    if any(abs(sign) > 1 for row in rows for sign in row.values()):
        return False
    columns: dict[int, dict[int, int]] = {}
    for place, row in enumerate(rows):
        for leg, sign in row.items():
            columns.setdefault(leg, {})[place] = sign
    return _opposable(rows) or _opposable(list(columns.values()))


def _opposable(lines: Sequence[dict[int, int]]) -> bool:
    """Whether no line has more than two entries, and flipping crosslines can make every pair opposite."""
    flip: dict[int, int] = {}
    beside: dict[int, list[tuple[int, int]]] = {}
    for line in lines:
        if len(line) > 2:
            return False
        if len(line) == 2:
            (a, x), (b, y) = line.items()
            beside.setdefault(a, []).append((b, -x * y))
            beside.setdefault(b, []).append((a, -x * y))
    for first in beside:
        if first in flip:
            continue
        flip[first] = 1
        reached = [first]
        while reached:
            a = reached.pop()
            for b, same in beside[a]:
                wanted = flip[a] * same
                if b not in flip:
                    flip[b] = wanted
                    reached.append(b)
                elif flip[b] != wanted:
                    return False
    return True

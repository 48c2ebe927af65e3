"""Network simplex for circulations: whole numbers in, whole numbers out.

The basis is a spanning tree rooted at node 0. Of the arcs that could leave, the last one on the way round from the
join is taken, which keeps the tree strongly feasible (every arc without flow points to the root), so that the method
ends although most steps move nothing (Cunningham 1976). The same source runs as it is or compiled by numba, where the
``sim`` extra is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["AT_LOWER", "AT_UPPER", "IN_TREE", "compiled", "pivot"]

IN_TREE, AT_LOWER, AT_UPPER = 0, 1, -1


@lru_cache(maxsize=1)
def compiled() -> Callable[..., int] | None:
    """``pivot`` as machine code; None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    fast: Callable[..., int]
    try:
        fast = numba.njit(cache=True)(pivot)
    except RuntimeError:  # no folder to keep the machine code in: it is made anew each time
        fast = numba.njit(pivot)
    return fast


def pivot(
    tail: Any,
    head: Any,
    cap: Any,
    cost: Any,
    flow: Any,
    state: Any,
    parent: Any,
    pred: Any,
    upward: Any,
    depth: Any,
    potential: Any,
    child: Any,
    after: Any,
    before: Any,
    stack: Any,
    block: int,
    limit: int,
) -> int:
    """Improve a circulation until it costs least.

    Parameters
    ----------
    tail, head, cap, cost, flow, state : ndarray of int64, shape (n_arcs,)
        The arcs; ``flow`` and ``state`` are changed in place.
    parent, pred, upward, depth, potential : ndarray of int64, shape (n_nodes,)
        The tree: father, arc to him, 1 if that arc points to him (else -1), steps to the root, and node potentials
        under which every tree arc has no reduced cost.
    child, after, before : ndarray of int64, shape (n_nodes,)
        First child, next and previous sibling; -1 for none.
    stack : ndarray of int64, shape (n_nodes,)
        Room to work in.
    block : int
        Arcs looked at before the best of them enters.
    limit : int
        Steps at most.

    Returns
    -------
    int
        Steps taken; -1 when ``limit`` did not suffice.
    """
    n_arcs = len(tail)
    at = 0
    steps = 0
    while True:
        # The entering arc: the worst offender of a block, going round.
        entering = -1
        worst = 0
        looked = 0
        in_block = 0
        while looked < n_arcs:
            offence = state[at] * (cost[at] + potential[tail[at]] - potential[head[at]])
            if offence < worst:
                worst = offence
                entering = at
            at += 1
            if at == n_arcs:
                at = 0
            looked += 1
            in_block += 1
            if in_block == block:
                if entering >= 0:
                    break
                in_block = 0
        if entering < 0:
            return steps
        if steps == limit:
            return -1
        steps += 1
        a, b = tail[entering], head[entering]
        while a != b:
            if depth[a] >= depth[b]:
                a = parent[a]
            else:
                b = parent[b]
        join = a
        if state[entering] == AT_LOWER:
            first, second = tail[entering], head[entering]
        else:
            first, second = head[entering], tail[entering]
        delta = cap[entering]
        side = 0
        out = -1
        u = first
        while u != join:
            e = pred[u]
            room = flow[e] if upward[u] == 1 else cap[e] - flow[e]
            if room < delta:
                delta = room
                side = 1
                out = u
            u = parent[u]
        u = second
        while u != join:
            e = pred[u]
            room = cap[e] - flow[e] if upward[u] == 1 else flow[e]
            if room <= delta:
                delta = room
                side = 2
                out = u
            u = parent[u]
        if delta > 0:
            moved = state[entering] * delta
            flow[entering] += moved
            u = tail[entering]
            while u != join:
                flow[pred[u]] -= upward[u] * moved
                u = parent[u]
            u = head[entering]
            while u != join:
                flow[pred[u]] += upward[u] * moved
                u = parent[u]
        if side == 0:
            state[entering] = -state[entering]
            continue
        leaving = pred[out]
        state[entering] = IN_TREE
        state[leaving] = AT_LOWER if flow[leaving] == 0 else AT_UPPER
        inner, outer = (first, second) if side == 1 else (second, first)
        # The subtree that the leaving arc cuts off is hung up at ``inner`` instead: fathers on the way turn round.
        u, father, arc = inner, outer, entering
        while True:
            old_father, old_arc = parent[u], pred[u]
            if before[u] >= 0:
                after[before[u]] = after[u]
            else:
                child[old_father] = after[u]
            if after[u] >= 0:
                before[after[u]] = before[u]
            parent[u], pred[u] = father, arc
            upward[u] = 1 if tail[arc] == u else -1
            before[u], after[u] = -1, child[father]
            if child[father] >= 0:
                before[child[father]] = u
            child[father] = u
            if u == out:
                break
            father, u, arc = u, old_father, old_arc
        # Potentials of what moved change by one number; depths are counted anew.
        e = pred[inner]
        if upward[inner] == 1:
            shift = potential[outer] - cost[e] - potential[inner]
        else:
            shift = potential[outer] + cost[e] - potential[inner]
        stack[0] = inner
        n_stack = 1
        while n_stack > 0:
            n_stack -= 1
            u = stack[n_stack]
            potential[u] += shift
            depth[u] = depth[parent[u]] + 1
            v = child[u]
            while v >= 0:
                stack[n_stack] = v
                n_stack += 1
                v = after[v]

"""How many changes are proved between two rows, and what that may cost.

A row is always proved before it is stored as verified. Between rows every so many changes of a book are proved as well,
so that a wrong book is found while it is wrong and not only when somebody looks.

A proof costs as much as ten to thirty changes. The cost is *reckoned*, from the levels hashed and the candidates tried, and
set against the time that the frames say has passed: a feed reads no clock, and a replay of the same frames must prove
the same changes. The figures below were measured on one machine and are rounded up; a slower one spends more.
"""

from __future__ import annotations

__all__ = ["HashBudget", "proof_again_cost_ns", "proof_cost_ns", "wide_search_cost_ns"]

_PROOF_NS = 30_000
_LEVEL_NS = 500
_CANDIDATE_NS = 1_000
_WIDE_TEXT_NS, _WIDE_TAIL_NS = 2_000, 1_600
_AGAIN_NS = 12_000
_KEPT_LEVEL_NS = 40
_TOUCHED_NS = 800


def proof_cost_ns(n_levels: int, n_candidates: int = 1) -> int:
    """What a proof is reckoned to cost: reading the hash, writing the levels, and one SHA-1 tail for each candidate."""
    return _PROOF_NS + _LEVEL_NS * n_levels + _CANDIDATE_NS * (n_candidates - 1)


def proof_again_cost_ns(n_levels: int, n_touched: int = 0, n_candidates: int = 1) -> int:
    """The same for a book whose text is kept and whose inputs are known: ``n_touched`` levels written, one SHA-1."""
    return _AGAIN_NS + _KEPT_LEVEL_NS * n_levels + _TOUCHED_NS * n_touched + _CANDIDATE_NS * (n_candidates - 1)


def wide_search_cost_ns(n_levels: int, n_texts: int, n_tails: int) -> int:
    """The same of a search through a grid: a text for each of its prices, a SHA-1 tail for each combination tried.

    Dearer by the piece than a few candidates at hand, since thousands of texts do not stay in the caches.
    """
    return _PROOF_NS + _LEVEL_NS * n_levels + _WIDE_TEXT_NS * n_texts + _WIDE_TAIL_NS * n_tails


class HashBudget:
    """A share of the time that passes, for the proofs of one connection.

    Parameters
    ----------
    share : float
        Seconds of proving per second, [0, 1].
    burst_ns : int
        Unused time is kept up to this.
    """

    __slots__ = ("_burst_ns", "_last_ns", "_left_ns", "_share")

    def __init__(self, share: float, *, burst_ns: int = 100_000_000) -> None:
        self._share = share
        self._burst_ns = burst_ns
        self._left_ns = float(burst_ns)
        self._last_ns = 0

    def allows(self, now_ns: int) -> bool:
        """Whether a sample may be proved now."""
        if self._last_ns:
            # Time that steps back earns nothing.
            passed_ns = max(0, now_ns - self._last_ns)
            self._left_ns = min(self._burst_ns, self._left_ns + passed_ns * self._share)
        self._last_ns = now_ns
        return self._left_ns > 0

    def spend(self, cost_ns: int) -> None:
        """A proof was made, for a sample or for a row: rows are never refused, samples make room for them."""
        self._left_ns -= cost_ns

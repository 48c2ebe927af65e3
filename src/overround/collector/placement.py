"""Which connection carries which market."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overround.market import MarketId

__all__ = ["Placement"]


class Placement:
    """Spreads markets evenly over numbered connections of equal capacity.

    A market stays where it is until it is taken out; a new one goes to the least loaded connection, and a
    further connection is used only when all are full, so that a gap or a close costs as few markets as
    possible without opening sockets nobody needs.

    Parameters
    ----------
    capacity : int
        Markets per connection.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._loads: list[int] = []
        self._where: dict[MarketId, int] = {}

    def reserve(self, n_markets: int) -> None:
        """Make room for so many markets from the start, spread evenly."""
        needed = -(-n_markets // self._capacity)
        self._loads.extend([0] * (needed - len(self._loads)))

    def put(self, market_ids: Iterable[MarketId]) -> dict[int, list[MarketId]]:
        """Place markets that are not placed yet; returns them by connection."""
        placed: dict[int, list[MarketId]] = {}
        for market_id in market_ids:
            if market_id in self._where:
                continue
            slot = min(range(len(self._loads)), key=self._loads.__getitem__, default=-1)
            if slot < 0 or self._loads[slot] >= self._capacity:
                self._loads.append(0)
                slot = len(self._loads) - 1
            self._loads[slot] += 1
            self._where[market_id] = slot
            placed.setdefault(slot, []).append(market_id)
        return placed

    def take(self, market_ids: Iterable[MarketId]) -> dict[int, list[MarketId]]:
        """Take markets out; returns them by connection."""
        taken: dict[int, list[MarketId]] = {}
        for market_id in market_ids:
            slot = self._where.pop(market_id, None)
            if slot is not None:
                self._loads[slot] -= 1
                taken.setdefault(slot, []).append(market_id)
        return taken

    def slot_of(self, market_id: MarketId) -> int | None:
        """Connection that carries a market, or None."""
        return self._where.get(market_id)

    @property
    def loads(self) -> Sequence[int]:
        """Markets per connection."""
        return tuple(self._loads)

    def __len__(self) -> int:
        return len(self._where)

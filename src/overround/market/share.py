"""Which of several collectors records a market.

Each collector weighs itself for each market by a hash of both names, and the heaviest has it (rendezvous hashing): all
reckon alike without talking to each other, each has the same part of the markets on average, and one more collector
takes from every other what it is heaviest for, and nothing else moves.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import NamedTuple, Self

from overround.config import parse_shard
from overround.market.ids import MarketId

__all__ = ["WHOLE", "Share"]

# A digest holds the weights of so many collectors.
_WEIGHTS = 8
_DIGEST = Struct(">8Q")


class Share(NamedTuple):
    """One collector's part of a venue's markets.

    Attributes
    ----------
    number : int
        Of the collector, from 0.
    total : int
        How many there are.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """A share as it is written: ``1/4`` is the second of four.

        Raises
        ------
        ValueError
            If the text is no share.

        Examples
        --------
        >>> Share.parse("1/4")
        Share(number=1, total=4)
        """
        return cls(*parse_shard(text))

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def owns(self, market_id: MarketId) -> bool:
        """Whether a market is of this share; of all shares of one total exactly one has it.

        The outcome is part of what is stored: it must be the same in every version.
        """
        return self.total == 1 or _heaviest(market_id, self.total) == self.number


WHOLE = Share(0, 1)
"""All markets: one collector."""


def _heaviest(market_id: MarketId, total: int) -> int:
    name = market_id.encode()
    weights: tuple[int, ...] = ()
    for block in range(-(-total // _WEIGHTS)):
        weights += _DIGEST.unpack(blake2b(name, salt=block.to_bytes(4, "big")).digest())[: total - block * _WEIGHTS]
    return weights.index(max(weights))

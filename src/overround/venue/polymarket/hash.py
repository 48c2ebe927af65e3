"""The venue's book hash, recomputed in every era, without knowing beforehand what the venue hashed.

The hash is the SHA-1 of the compact JSON text of the book, whose members grew over the years (`HashEra`).
Levels are printed in wire order (bids rising, asks falling) as canonical decimals, so the text is made from our
integers; every captured book re-hashes that way. What a socket does not always carry (minimum size, tick, neg-risk
flag, and ``last_trade_price``, which the venue moves before it announces it) is printed *after* the levels. So the
expensive part is hashed once and the members in doubt are tried as candidates on copies of the hash state. A match
is a proof, whichever candidate made it: SHA-1 does not match by luck.

Until July 2025 the hashed time lay 3 to 13 ms before the frame's own, so those eras are tried over time shifts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum

import msgspec

from overround.market import PX_ONE_E4, px_text, sz_text

__all__ = ["HashEra", "HashInputs", "HashProof", "book_hash", "last_trade_candidates", "prove"]


class HashEra(IntEnum):
    """Which members the venue hashed, named by their number."""

    FIVE = 5
    """2024: market, asset_id, hash, bids, asks."""
    SIX = 6
    """December 2024 to July 2025: with timestamp (and a time 3 to 13 ms before the frame's)."""
    NINE = 9
    """October 2025: with min_order_size, tick_size, neg_risk."""
    TEN = 10
    """December 2025 and later: with last_trade_price."""


class HashInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a book is hashed with besides its levels.

    Attributes
    ----------
    market, asset_id : str
        Condition id and token id.
    timestamp_ms : int
        Venue time of the book's last change.
    min_order_size, tick_size : str
        Decimal texts as the venue prints them.
    neg_risk : bool
    last_trade_price : str
        As printed by the venue, empty if never traded.
    """

    market: str
    asset_id: str
    timestamp_ms: int
    min_order_size: str = "5"
    tick_size: str = "0.01"
    neg_risk: bool = False
    last_trade_price: str = ""


class HashProof(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs with which a book's hash came out as announced.

    Attributes
    ----------
    era : HashEra
    inputs : HashInputs
    shift_ms : int
        How far before the frame's time the hashed time lay (old eras), else 0.
    """

    era: HashEra
    inputs: HashInputs
    shift_ms: int = 0


def book_hash(era: HashEra, inputs: HashInputs, bids: Mapping[int, int], asks: Mapping[int, int]) -> str:
    """Hash of a token's book, as the venue would announce it.

    Parameters
    ----------
    era : HashEra
    inputs : HashInputs
    bids, asks : mapping of int to int
        ``px_e4`` to ``sz_e6`` of that token, any order.

    Examples
    --------
    >>> inputs = HashInputs(market="0xaabbcc", asset_id="100", timestamp_ms=123456789, min_order_size="100",
    ...                     last_trade_price="0.5")
    >>> lots = 100_000_000
    >>> book_hash(HashEra.TEN, inputs, {3000: lots, 4000: lots}, {6000: lots, 7000: lots})
    '0458ea5755c9f73d64a14636fa5c36ed460ec394'
    """
    raise NotImplementedError


def last_trade_candidates(texts: Iterable[str], *, step_e4: int = 0) -> Iterator[str]:
    """Texts under which ``last_trade_price`` may have been hashed, likeliest first."""
    raise NotImplementedError


def prove(
    announced: str,
    inputs: HashInputs,
    bids: Mapping[int, int],
    asks: Mapping[int, int],
    *,
    eras: Sequence[HashEra] = (HashEra.TEN,),
    last_trades: Iterable[str] = (),
    shifts_ms: Sequence[int] = (0,),
) -> HashProof | None:
    """Find the inputs with which a book hashes as announced; None if it is not that book."""
    raise NotImplementedError

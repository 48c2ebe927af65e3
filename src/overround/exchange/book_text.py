"""A book kept as wire text, and its hash: the exchange's own, shared with no adapter.

The venue prints a level as ``{"price":"0.53","size":"120"}`` and hashes the text of the whole book after every change.
Serialising forty levels twice per change (once for each outcome) would cost more than everything else, so the text
of each level is made once, both outcomes' fragments are kept sorted, and a change joins only the side it touched.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import sha1

from overround.exchange.settings import HashEra
from overround.market import PX_ONE_E4, px_text, sz_text

__all__ = ["BookText", "HashInputs", "book_hash", "levels_text"]

_PREFIX = tuple(f'{{"price":"{px_text(px)}","size":"'.encode() for px in range(PX_ONE_E4 + 1))


def levels_text(levels: list[tuple[int, int]]) -> bytes:
    """Wire text of levels (``px_e4``, ``sz_e6``) in the order given, without brackets."""
    return b",".join(_PREFIX[px] + sz_text(sz).encode() + b'"}' for px, sz in levels)


class HashInputs:
    """What one token's hash covers besides its levels and the time."""

    __slots__ = ("head", "tail")

    def __init__(
        self,
        *,
        era: HashEra,
        market: str,
        asset_id: str,
        min_order_size: str,
        tick_size: str,
        neg_risk: bool,
        last_trade_price: str,
    ) -> None:
        self.head = f'{{"market":"{market}","asset_id":"{asset_id}","timestamp":"'.encode()
        tail = "]"
        if era is not HashEra.SIX:
            truth = "true" if neg_risk else "false"
            tail += f',"min_order_size":"{min_order_size}","tick_size":"{tick_size}","neg_risk":{truth}'
        if era is HashEra.TEN:
            tail += f',"last_trade_price":"{last_trade_price}"'
        self.tail = f"{tail}}}".encode()

    def digest(self, timestamp: bytes, bids: bytes, asks: bytes) -> str:
        """Hash of one token's book whose sides are given as wire text."""
        text = b'%b%b","hash":"","bids":[%b],"asks":[%b%b' % (self.head, timestamp, bids, asks, self.tail)
        return sha1(text, usedforsecurity=False).hexdigest()


def book_hash(
    inputs: HashInputs, *, timestamp: str, bids: dict[int, int], asks: dict[int, int], second: bool = False
) -> str:
    """Hash of a token's book from the first outcome's ladders.

    Parameters
    ----------
    inputs : HashInputs
        Of the token that is hashed.
    timestamp : str
        Milliseconds, as printed.
    bids, asks : dict of int to int
        The *first* outcome's levels.
    second : bool
        Hash the second outcome's book, which is the mirror.
    """
    if second:
        bids, asks = ({PX_ONE_E4 - px: sz for px, sz in side.items()} for side in (asks, bids))
    return inputs.digest(
        timestamp.encode(),
        levels_text(sorted(bids.items())),
        levels_text(sorted(asks.items(), reverse=True)),
    )


class _Side:
    """One ladder as two sorted lists of fragments: for the first outcome and, mirrored, for the second."""

    __slots__ = ("_first", "_keys", "_mirrored", "_sign", "first", "mirrored")

    def __init__(self, levels: dict[int, int], *, descending: bool) -> None:
        # Wire order is worst first: bids ascend, asks descend. The mirror of a side has the same order of levels.
        self._sign = -1 if descending else 1
        ordered = sorted(levels.items(), reverse=descending)
        self._keys = [px * self._sign for px, _ in ordered]
        self._first: list[bytes] = []
        self._mirrored: list[bytes] = []
        for px, sz in ordered:
            size = sz_text(sz).encode() + b'"}'
            self._first.append(_PREFIX[px] + size)
            self._mirrored.append(_PREFIX[PX_ONE_E4 - px] + size)
        self._join()

    def _join(self) -> None:
        self.first = b",".join(self._first)
        self.mirrored = b",".join(self._mirrored)

    def set(self, px: int, size: str) -> None:
        """Set or, with size ``"0"``, remove one level."""
        key = px * self._sign
        at = bisect_left(self._keys, key)
        held = at < len(self._keys) and self._keys[at] == key
        if size == "0":
            if held:
                del self._keys[at], self._first[at], self._mirrored[at]
        else:
            tail = size.encode() + b'"}'
            first, mirrored = _PREFIX[px] + tail, _PREFIX[PX_ONE_E4 - px] + tail
            if held:
                self._first[at], self._mirrored[at] = first, mirrored
            else:
                self._keys.insert(at, key)
                self._first.insert(at, first)
                self._mirrored.insert(at, mirrored)
        self._join()

    @property
    def best(self) -> int | None:
        """Best price of the first outcome's side, or None when it is empty."""
        return self._keys[-1] * self._sign if self._keys else None


class BookText:
    """One market's book as wire text of both tokens, worst level first."""

    __slots__ = ("_asks", "_bids")

    def __init__(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        self._bids = _Side(bids, descending=False)
        self._asks = _Side(asks, descending=True)

    def set_level(self, *, bid: bool, px: int, size: str) -> None:
        """New total at one price of the first outcome's book."""
        (self._bids if bid else self._asks).set(px, size)

    def sides(self, token: int) -> tuple[bytes, bytes]:
        """Bids and asks of the first (0) or second (1) token."""
        if token:
            return self._asks.mirrored, self._bids.mirrored
        return self._bids.first, self._asks.first

    def best(self, token: int) -> tuple[int | None, int | None]:
        """Best bid and ask of the first (0) or second (1) token."""
        bid, ask = self._bids.best, self._asks.best
        if token:
            return (
                None if ask is None else PX_ONE_E4 - ask,
                None if bid is None else PX_ONE_E4 - bid,
            )
        return bid, ask

"""The text of a book as hashed, kept up to date level by level.

Making that text anew is four fifths of the price of a proof: sorting the prices, two texts for each level. Between two
proofs of a book few levels change, so a book that is proved often keeps its text: what changed is noted as a price,
and only those levels are written again before the next proof.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import chain

from overround.venue.polymarket.hash import HashEra, HashInputs, head_text, level_text, tail_text

__all__ = ["KeptText"]


class KeptText:
    """Both ladders of one book as they stand in the hashed text.

    Parameters
    ----------
    bids, asks : mapping of int to int
        ``px_e4`` to ``sz_e6``; the very mappings are kept, and read when levels are written again.

    Examples
    --------
    >>> bids, asks = {3000: 1_000_000}, {6000: 2_000_000}
    >>> text = KeptText(bids, asks)
    >>> bids[4000] = 3_000_000
    >>> text.refresh([4000])
    >>> text.ladders()
    b'"bids":[{"price":"0.3","size":"1"},{"price":"0.4","size":"3"}],"asks":[{"price":"0.6","size":"2"}]'
    """

    __slots__ = ("_ask_keys", "_ask_texts", "_bid_keys", "_bid_texts", "asks", "bids")

    def __init__(self, bids: Mapping[int, int], asks: Mapping[int, int]) -> None:
        self.bids, self.asks = bids, asks
        self._bid_keys = sorted(bids)
        self._bid_texts = [level_text(px, bids[px]) for px in self._bid_keys]
        # Asks fall in the text: they are kept by negative price.
        self._ask_keys = [-px for px in sorted(asks, reverse=True)]
        self._ask_texts = [level_text(-key, asks[-key]) for key in self._ask_keys]

    def refresh(self, levels: Iterable[int]) -> None:
        """Write these levels again: a bid's price, or an ask's with a minus sign."""
        for key in set(levels):
            if key > 0:
                _write(self._bid_keys, self._bid_texts, key, key, self.bids.get(key, 0))
            else:
                _write(self._ask_keys, self._ask_texts, key, -key, self.asks.get(-key, 0))

    def ladders(self) -> bytes:
        """``"bids":[...],"asks":[...]``, bids rising and asks falling, as in `hash.ladders_text`."""
        return b'"bids":[%b],"asks":[%b]' % (b",".join(self._bid_texts), b",".join(self._ask_texts))

    def prove(self, announced: str, inputs: HashInputs, timestamp_ms: int, last_trades: Iterable[str]) -> str | None:
        """Find the last trade with which the book hashes as announced, by the present rules (`HashEra.TEN`).

        Parameters
        ----------
        announced : str
        inputs : HashInputs
            Everything but the time and, where it has moved since, the last trade.
        timestamp_ms : int
        last_trades : iterable of str
            Tried after that of ``inputs``; read only as far as needed.

        Returns
        -------
        str or None
            The last trade's text; None if none matches, or if the text has lost its book.
        """
        if len(self._bid_keys) != len(self.bids) or len(self._ask_keys) != len(self.asks):
            return None
        head = head_text(HashEra.TEN, inputs, timestamp_ms).encode()
        state = hashlib.sha1(head + self.ladders(), usedforsecurity=False)
        for trade in chain((inputs.last_trade_price,), last_trades):
            tail = tail_text(HashEra.TEN, inputs.min_order_size, inputs.tick_size, inputs.neg_risk, trade)
            tried = state.copy()
            tried.update(tail.encode())
            if tried.hexdigest() == announced:
                return trade
        return None


def _write(keys: list[int], texts: list[bytes], key: int, px: int, sz: int) -> None:
    """Set, insert or remove one level."""
    at = bisect_left(keys, key)
    if at < len(keys) and keys[at] == key:
        if sz:
            texts[at] = level_text(px, sz)
        else:
            del keys[at], texts[at]
    elif sz:
        keys.insert(at, key)
        texts.insert(at, level_text(px, sz))

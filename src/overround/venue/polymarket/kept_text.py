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

# How `head_text` and `tail_text` go on behind the two values that change from proof to proof.
_AFTER_TIME = b'","hash":"",'
_AFTER_TRADE = b'"}'


class KeptText:
    """Both ladders of one book as they stand in the hashed text.

    Parameters
    ----------
    bids, asks : mapping of int to int
        ``px_e4`` to ``sz_e6``; the very mappings are kept, and read when levels are written again.

    Attributes
    ----------
    n_tried : int
        Last trades tried by the last `prove`.

    Examples
    --------
    >>> bids, asks = {3000: 1_000_000}, {6000: 2_000_000}
    >>> text = KeptText(bids, asks)
    >>> bids[4000] = 3_000_000
    >>> text.refresh([4000])
    >>> text.ladders()
    b'"bids":[{"price":"0.3","size":"1"},{"price":"0.4","size":"3"}],"asks":[{"price":"0.6","size":"2"}]'
    """

    __slots__ = ("_around", "_ask_keys", "_ask_texts", "_bid_keys", "_bid_texts", "asks", "bids", "n_tried")

    def __init__(self, bids: Mapping[int, int], asks: Mapping[int, int]) -> None:
        self.bids, self.asks = bids, asks
        self._bid_keys = sorted(bids)
        self._bid_texts = [level_text(px, bids[px]) for px in self._bid_keys]
        # Asks fall in the text: they are kept by negative price.
        self._ask_keys = [-px for px in sorted(asks, reverse=True)]
        self._ask_texts = [level_text(-key, asks[-key]) for key in self._ask_keys]
        # The inputs last proved with, and what they make of the text: up to the time, and from the ladders to the trade.
        self.n_tried = 0
        self._around: tuple[HashInputs | None, bytes, bytes] = (None, b"", b"")

    def refresh(self, levels: Iterable[int]) -> None:
        """Write these levels again: a bid's price, or an ask's with a minus sign; inserted and removed as they need."""
        for key in set(levels):
            if key > 0:
                keys, texts, px, sz = self._bid_keys, self._bid_texts, key, self.bids.get(key, 0)
            else:
                keys, texts, px, sz = self._ask_keys, self._ask_texts, -key, self.asks.get(-key, 0)
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                if sz:
                    texts[at] = level_text(px, sz)
                else:
                    del keys[at], texts[at]
            elif sz:
                keys.insert(at, key)
                texts.insert(at, level_text(px, sz))

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
        self.n_tried = 0
        if len(self._bid_keys) != len(self.bids) or len(self._ask_keys) != len(self.asks):
            return None
        known, start, end = self._around
        if known is not inputs:
            start = head_text(HashEra.TEN, inputs, 0).encode().removesuffix(b"0" + _AFTER_TIME)
            end = tail_text(HashEra.TEN, inputs.min_order_size, inputs.tick_size, inputs.neg_risk, "").encode()
            end = end.removesuffix(_AFTER_TRADE)
            self._around = inputs, start, end
        text = b"%b%d%b%b%b" % (start, timestamp_ms, _AFTER_TIME, self.ladders(), end)
        state = hashlib.sha1(text, usedforsecurity=False)
        for self.n_tried, trade in enumerate(chain((inputs.last_trade_price,), last_trades), start=1):
            tried = state.copy()
            tried.update(trade.encode() + _AFTER_TRADE)
            if tried.hexdigest() == announced:
                return trade
        return None

"""One print: what a venue says was traded."""

from __future__ import annotations

import msgspec

from overround.market.ids import MarketId, OutcomeId

__all__ = ["BUY", "SELL", "Trade"]

BUY, SELL = "buy", "sell"
"""Words of ``Trade.taker_side``."""


class Trade(msgspec.Struct, kw_only=True, gc=False):
    """A print as the venue told it, in the outcome that it names.

    Attributes
    ----------
    market_id : MarketId
    outcome_id : OutcomeId
        The outcome that was traded.
    first : bool
        Whether that is the market's first outcome, of which books are seen; else the book's price is ``1 - px``.
    px : float
        Probability; an average over levels may be finer than the market's tick.
    sz_e6 : int
    taker_side : str or None
        ``buy`` or ``sell``: what the taker did with this outcome; None where the venue does not say.
    ts_recv_ns : int
    ts_venue_ms : int or None
        Where ``coarse``, the start of a whole second.
    coarse : bool
    trade_id : str or None
        The venue's id of the trade (Kalshi), or of the transaction that settles it (Polymarket, not unique).
    block : bool
        Matched off the book.
    book_sz_e6 : int or None
        Contracts that the book's joined changes took from the print's level; None where prints are not joined.
    book_seq : int or None
        The venue's number of the last of these changes.
    """

    market_id: MarketId
    outcome_id: OutcomeId
    first: bool
    px: float
    sz_e6: int
    taker_side: str | None
    ts_recv_ns: int
    ts_venue_ms: int | None = None
    coarse: bool = False
    trade_id: str | None = None
    block: bool = False
    book_sz_e6: int | None = None
    book_seq: int | None = None

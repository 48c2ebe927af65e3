"""Prints of the market channel as trades."""

from __future__ import annotations

from overround.errors import ValueOutOfScale
from overround.market import BUY, SELL, OutcomeId, Trade
from overround.venue.polymarket.held import Held
from overround.venue.polymarket.parse import decimal_text, size_e6, timestamp_ms
from overround.venue.polymarket.wire import Event

__all__ = ["trade_of"]

_SIDES = {"BUY": BUY, "SELL": SELL}


def trade_of(event: Event, held: Held, recv_ns: int) -> Trade:
    """A ``last_trade_price`` of one of a market's tokens; nearly half of their prices are averages, off the tick.

    Raises
    ------
    WireError
        If a price, size or time cannot be read.
    """
    token = event.asset_id or event.token_id
    return Trade(
        market_id=held.market_id,
        outcome_id=OutcomeId(token),
        first=token == held.tokens[0],
        px=_probability(decimal_text(event.price)),
        sz_e6=size_e6(event.size),
        taker_side=_SIDES.get((event.side or "").upper()),
        ts_recv_ns=recv_ns,
        ts_venue_ms=timestamp_ms(event.timestamp),
        trade_id=event.transaction_hash or None,
    )


def _probability(text: str) -> float:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or not 0 <= float(text) <= 1:
        raise ValueOutOfScale("price", text, scale="a probability in [0, 1]")
    return float(text)

"""nautilus_trader's Polymarket adapter, driven with our frames; run in an environment of its own.

    uv run --isolated --no-project --with 'nautilus_trader[polymarket]' python nautilus_polymarket.py FRAMES

FRAMES holds one frame per line, the first dumps included. The adapter's own handler decodes, parses and applies
each frame (`PolymarketDataClient._handle_raw_ws_message`), with its real cache and clock and without a
message bus; it is told of no quote subscription, so it makes no quote objects. After each frame the best prices
of both tokens are read. For every line on stdin one round is run over all frames after the dumps, and its
processor seconds are printed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
from nautilus_trader import __version__
from nautilus_trader.adapters.polymarket.common.symbol import get_polymarket_instrument_id
from nautilus_trader.adapters.polymarket.config import PolymarketDataClientConfig
from nautilus_trader.adapters.polymarket.data import PolymarketDataClient
from nautilus_trader.adapters.polymarket.websocket.types import MARKET_WS_MESSAGE
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock
from nautilus_trader.model.currencies import USDC
from nautilus_trader.model.enums import AssetClass
from nautilus_trader.model.instruments import BinaryOption
from nautilus_trader.model.objects import Price, Quantity


class Adapter:
    """What the adapter's handlers need of their client."""

    _handle_raw_ws_message = PolymarketDataClient._handle_raw_ws_message
    _handle_ws_message = PolymarketDataClient._handle_ws_message
    _handle_quotes = PolymarketDataClient._handle_quotes
    _handle_quote = PolymarketDataClient._handle_quote
    _handle_book_snapshot = PolymarketDataClient._handle_book_snapshot
    _handle_deltas = PolymarketDataClient._handle_deltas

    def __init__(self) -> None:
        self._decoder_market_msg = msgspec.json.Decoder(MARKET_WS_MESSAGE)
        self._cache = Cache()
        self._clock = LiveClock()
        self._config = PolymarketDataClientConfig()
        self._local_books = {}
        self._last_quotes = {}
        self._none = set()

    def _handle_data(self, data: object) -> None:
        pass

    def subscribed_quote_ticks(self) -> set:
        return self._none

    def add(self, market: str, token: str) -> None:
        instrument_id = get_polymarket_instrument_id(market, token)
        self._cache.add_instrument(
            BinaryOption(
                instrument_id=instrument_id,
                raw_symbol=instrument_id.symbol,
                outcome="Yes",
                description="benchmark",
                asset_class=AssetClass.ALTERNATIVE,
                currency=USDC,
                price_precision=2,
                price_increment=Price.from_str("0.01"),
                size_precision=6,
                size_increment=Quantity.from_str("0.000001"),
                activation_ns=0,
                expiration_ns=0,
                max_quantity=None,
                min_quantity=Quantity.from_str("5"),
                ts_event=0,
                ts_init=0,
            )
        )


def main() -> None:
    frames = Path(sys.argv[1]).read_bytes().splitlines()
    dumps = [frame for frame in frames if frame.startswith(b"[")]
    changes = [frame for frame in frames if not frame.startswith(b"[")]
    tokens_of = [
        tuple(change["asset_id"] for change in msgspec.json.decode(frame)["price_changes"]) for frame in changes
    ]
    markets = [msgspec.json.decode(frame)["market"] for frame in changes]
    print(__version__, flush=True)
    for _ in sys.stdin:
        adapter = Adapter()
        for dump in dumps:
            for book in msgspec.json.decode(dump):
                adapter.add(book["market"], book["asset_id"])
            adapter._handle_raw_ws_message(dump)
        books = adapter._local_books
        pairs = [
            tuple(books[get_polymarket_instrument_id(market, token)] for token in tokens)
            for market, tokens in zip(markets, tokens_of, strict=True)
        ]
        handle = adapter._handle_raw_ws_message
        began = time.process_time()
        for frame, (first, second) in zip(changes, pairs, strict=True):
            handle(frame)
            first.best_bid_price()
            first.best_ask_price()
            second.best_bid_price()
            second.best_ask_price()
        took = time.process_time() - began
        best = pairs[-1][0]
        print(took, best.best_bid_price(), best.best_ask_price(), flush=True)


if __name__ == "__main__":
    main()

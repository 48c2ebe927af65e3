"""Every captured payload decodes into its struct."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from overround.errors import FrameMalformed
from overround.venue.polymarket import wire

SAMPLES = "venues/samples/polymarket"

# What each captured file holds: one value of the type, or (for .jsonl) one a line.
KINDS: dict[str, object] = {
    "clob_book_rest_": wire.ClobBook,
    "clob_books_batch_": wire.ClobBook,
    "clob_market_by_": wire.ClobMarket,
    "clob_markets_page": wire.ClobMarketsPage,
    "clob_prices_history": wire.PriceHistory,
    "data_trades_v1": list[wire.TradePrint],
    "data_v2_prices_history": list[wire.DataPricePoint],
    "gamma_event_": list[wire.GammaEvent],
    "gamma_market_": wire.GammaMarket,
    "gamma_markets_closed": list[wire.GammaMarket],
    "gamma_markets_page": list[wire.GammaMarket],
    "gamma_markets_": wire.GammaMarket,
    "gamma_set_": wire.GammaMarket,
    "gamma_public_search": wire.GammaSearch,
    "gamma_tags": list[wire.GammaTag],
    "http_batch_cancel_response": wire.CancelAnswer,
    "http_cancel_response_failed": wire.CancelAnswer,
    "http_open_orders_page": wire.UserOrdersPage,
    "http_order_response_": wire.OrderAnswer,
    "http_trades_page": wire.UserTradesPage,
    "user_order_": wire.UserOrder,
    "user_user_trade1": wire.UserTrade,
    "ws_control_frames": dict[str, str],
    "book_hash_vectors": dict[str, object],
}


def test_every_captured_payload_decodes(captures: Path) -> None:
    files = [path for path in sorted((captures / SAMPLES).iterdir()) if path.suffix in (".json", ".jsonl")]
    assert len(files) > 45
    for path in files:
        bodies = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
        for body in bodies:
            if path.name.startswith("ws_") and "control" not in path.name:
                elements = wire.split_array(body) if body.startswith(b"[") else [body]
                for element in elements:
                    wire.decode_event(element)
            else:
                kind = next(kind for start, kind in KINDS.items() if path.name.startswith(start))
                msgspec.json.decode(body, type=kind)


def test_the_narrow_and_the_flat_struct_read_the_same_change(captures: Path) -> None:
    body = (captures / SAMPLES / "ws_price_change_2026-07.json").read_bytes()
    narrow, flat = wire.decode_change(body), wire.decode_event(body)
    assert narrow.price_changes is not None
    assert flat.price_changes is not None
    assert str(narrow.timestamp) == flat.timestamp
    for a, b in zip(narrow.price_changes, flat.price_changes, strict=True):
        assert (a.asset_id, a.price, a.size, a.side) == (b.asset_id, b.price, float(str(b.size)), b.side)


def test_unknown_fields_are_skipped_and_absent_ones_are_empty() -> None:
    event = wire.decode_event(b'{"event_type":"book","bids":null,"new_field":{"deep":[1]}}')
    assert event.bids is None
    assert event.asks is msgspec.UNSET
    assert wire.decode_gamma_market(b'{"id":5,"surprise":true}').id == 5


def test_a_page_is_a_keyset_object_or_a_bare_array() -> None:
    keyset = wire.decode_gamma_markets(json.dumps({"markets": [{}, {}], "next_cursor": "abc"}).encode())
    assert (len(keyset.markets), keyset.next_cursor) == (2, "abc")
    legacy = wire.decode_gamma_markets(b" [{}]")
    assert (len(legacy.markets), legacy.next_cursor) == (1, None)
    assert len(wire.decode_gamma_events(b'{"events":[{}]}').events) == 1
    assert len(wire.decode_gamma_events(b"[{},{}]").events) == 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b'{"markets":{}}', b"\xff\xfe", b"[" * 50_000, b'{"next_cursor":"x"}']
)
def test_what_is_no_page_is_malformed(body: bytes) -> None:
    with pytest.raises(FrameMalformed):
        wire.decode_gamma_markets(body)
    with pytest.raises(FrameMalformed):
        wire.decode_gamma_events(body)
    with pytest.raises(FrameMalformed):
        wire.decode_books(body)

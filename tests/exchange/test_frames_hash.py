"""The exchange's own book hash, in all eras, and the book kept as text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from overround.exchange.book_text import BookText, HashInputs, book_hash, levels_text
from overround.exchange.settings import HashEra
from overround.market import px_e4, sz_e6

_ERA = {6: HashEra.SIX, 9: HashEra.NINE, 10: HashEra.TEN}


def _levels(levels: list[dict[str, str]]) -> bytes:
    """In the order of the payload, which is what the venue hashed."""
    return levels_text([(px_e4(level["price"]), sz_e6(level["size"])) for level in levels])


def _hash(book: dict[str, Any], era: HashEra) -> str:
    inputs = HashInputs(
        era=era,
        market=book["market"],
        asset_id=book["asset_id"],
        min_order_size=book.get("min_order_size", ""),
        tick_size=book.get("tick_size", ""),
        neg_risk=book.get("neg_risk", False),
        last_trade_price=book.get("last_trade_price", ""),
    )
    return inputs.digest(str(book["timestamp"]).encode(), _levels(book["bids"]), _levels(book["asks"]))


def test_hash_of_the_documented_vector() -> None:
    book = {
        "market": "0xaabbcc", "asset_id": "100", "timestamp": "123456789", "min_order_size": "100", "tick_size": "0.01",
        "neg_risk": False, "last_trade_price": "0.5",
        "bids": [{"price": "0.3", "size": "100"}, {"price": "0.4", "size": "100"}],
        "asks": [{"price": "0.6", "size": "100"}, {"price": "0.7", "size": "100"}],
    }  # fmt: skip
    assert _hash(book, HashEra.TEN) == "0458ea5755c9f73d64a14636fa5c36ed460ec394"


def test_every_captured_vector_is_reproduced(captures: Path) -> None:
    rows = [
        json.loads(line)
        for line in (captures / "venues/samples/polymarket/book_hash_vectors.jsonl").read_text().splitlines()
    ]
    assert len(rows) > 5
    for row in rows:
        assert _hash(row, _ERA[row["field_set"]]) == row["expected_hash"], row["name"]


def test_every_captured_rest_book_is_reproduced(captures: Path) -> None:
    lines = (captures / "venues/samples/polymarket/clob_books_batch_polls_2026-03.jsonl").read_text().splitlines()
    books = [json.loads(line) for line in lines]
    assert len(books) == 80
    assert [_hash(book, HashEra.TEN) for book in books] == [book["hash"] for book in books]


def test_books_of_the_old_stream_are_reproduced(captures: Path) -> None:
    path = captures / "recordings/polymarket/ws_stream_old_format/btc_hourly_20250703.jsonl"
    checked = 0
    for line in path.read_text().splitlines():
        raw = json.loads(line)["raw"]
        for event in json.loads(raw) if raw.startswith("[") else []:
            if event["event_type"] == "book":
                stamps = range(int(event["timestamp"]) - 13, int(event["timestamp"]) + 1)
                assert event["hash"] in {_hash({**event, "timestamp": stamp}, HashEra.SIX) for stamp in stamps}
                checked += 1
    assert checked >= 10


@pytest.mark.parametrize("seed", range(5))
def test_text_of_a_changing_book_equals_the_text_made_anew(seed: int) -> None:
    rng = random.Random(seed)
    bids = {px: rng.randint(1, 10**9) for px in rng.sample(range(10, 5000, 10), 20)}
    asks = {px: rng.randint(1, 10**9) for px in rng.sample(range(5000, 9990, 10), 20)}
    text = BookText(dict(bids), dict(asks))
    for _ in range(300):
        bid = rng.random() < 0.5
        side = bids if bid else asks
        px = rng.choice([*side, rng.randrange(10, 5000, 10) if bid else rng.randrange(5000, 9990, 10)])
        size = rng.choice([0, rng.randint(1, 10**9)])
        if size:
            side[px] = size
        else:
            side.pop(px, None)
        whole, part = divmod(size, 1_000_000)
        printed = f"{whole}.{part:06d}".rstrip("0").rstrip(".") if size else "0"
        text.set_level(bid=bid, px=px, size=printed)
        up = levels_text(sorted(bids.items()))
        down = levels_text(sorted(asks.items(), reverse=True))
        assert text.sides(0) == (up, down)
        mirrored = (
            levels_text(sorted((10_000 - px, sz) for px, sz in asks.items())),
            levels_text(sorted(((10_000 - px, sz) for px, sz in bids.items()), reverse=True)),
        )
        assert text.sides(1) == mirrored
        assert text.best(0) == (max(bids, default=None), min(asks, default=None))
        assert text.best(1) == (
            10_000 - min(asks) if asks else None,
            10_000 - max(bids) if bids else None,
        )


def test_a_book_hashes_with_its_best_levels_last(captures: Path) -> None:
    line = (captures / "venues/samples/polymarket/clob_books_batch_polls_2026-03.jsonl").read_text().splitlines()[0]
    book = json.loads(line)
    ladders = [{px_e4(x["price"]): sz_e6(x["size"]) for x in reversed(book[side])} for side in ("bids", "asks")]
    inputs = HashInputs(
        era=HashEra.TEN, market=book["market"], asset_id=book["asset_id"], min_order_size="5", tick_size="0.01",
        neg_risk=book["neg_risk"], last_trade_price=book["last_trade_price"],
    )  # fmt: skip
    assert book_hash(inputs, timestamp=book["timestamp"], bids=ladders[0], asks=ladders[1]) == book["hash"]


def test_the_second_token_hashes_the_mirror() -> None:
    inputs = HashInputs(
        era=HashEra.TEN, market="0x1", asset_id="2", min_order_size="5", tick_size="0.01", neg_risk=True,
        last_trade_price="",
    )  # fmt: skip
    bids, asks = {4000: 10_000_000}, {4300: 5_500_000}
    mirrored = book_hash(inputs, timestamp="1", bids={5700: 5_500_000}, asks={6000: 10_000_000})
    assert book_hash(inputs, timestamp="1", bids=bids, asks=asks, second=True) == mirrored

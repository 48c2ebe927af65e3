"""Books in integers become rows in floats."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.market import ErrCode, Integrity, MarketId, OutcomeId, px_text, sz_text
from overround.storage import ROW_SCHEMA, SnapshotBuffer
from overround.storage.buffer import rows_of

LADDER = st.dictionaries(
    st.integers(0, 10_000), st.one_of(st.integers(1, 10**11), st.integers(2**53, 2**62 - 1)), max_size=12
)
BOOK = st.fixed_dictionaries(
    {
        "market": st.integers(0, 3),
        "ts": st.integers(1, 2**41),
        "bids": LADDER,
        "asks": LADDER,
        "seq": st.integers(0, 2**40),
        "source_ts": st.none() | st.integers(0, 2**41),
        "stale": st.booleans(),
        "err": st.none() | st.sampled_from([code.value for code in ErrCode]),
        "integrity": st.none() | st.sampled_from([verdict.value for verdict in Integrity]),
    }
)
# The last market has a single outcome.
MARKETS = [(f"m{n}", (f"m{n}-a", f"m{n}-b") if n < 3 else ("m3-a",)) for n in range(4)]


def naive_row(book: dict[str, Any], outcome: int, top_k: int) -> dict[str, Any]:
    """One row, from the texts that the venue would print."""
    bids = sorted(book["bids"].items(), reverse=True)
    asks = sorted(book["asks"].items())
    if outcome == 1:
        bids, asks = [(10_000 - px, sz) for px, sz in asks], [(10_000 - px, sz) for px, sz in bids]
    bids, asks = bids[:top_k], asks[:top_k]
    bid_px, ask_px = [float(px_text(px)) for px, _ in bids], [float(px_text(px)) for px, _ in asks]
    bid_sz, ask_sz = [float(sz_text(sz)) for _, sz in bids], [float(sz_text(sz)) for _, sz in asks]
    both = bool(bids and asks)
    return {
        "ts_recv": book["ts"],
        "venue": "kalshi",
        "market_id": MARKETS[book["market"]][0],
        "outcome_id": MARKETS[book["market"]][1][outcome],
        "seq": book["seq"],
        "best_bid_px": bid_px[0] if bids else math.nan,
        "best_bid_sz": bid_sz[0] if bids else 0.0,
        "best_ask_px": ask_px[0] if asks else math.nan,
        "best_ask_sz": ask_sz[0] if asks else 0.0,
        "mid": (bids[0][0] + asks[0][0]) / 20_000 if both else math.nan,
        "spread": (asks[0][0] - bids[0][0]) / 10_000 if both else math.nan,
        "bid_px": bid_px,
        "bid_sz": bid_sz,
        "ask_px": ask_px,
        "ask_sz": ask_sz,
        "status": "stale" if book["stale"] else "ok" if both else "partial" if bids or asks else "empty",
        "err": book["err"],
        "source_ts": book["source_ts"],
        "integrity": book["integrity"],
    }


def put(buffer: SnapshotBuffer, book: dict[str, Any]) -> None:
    name, outcomes = MARKETS[book["market"]]
    buffer.append(
        buffer.register(MarketId(name), [OutcomeId(outcome) for outcome in outcomes]),
        book["ts"],
        book["bids"],
        book["asks"],
        seq=book["seq"],
        source_ts=book["source_ts"],
        stale=book["stale"],
        err=book["err"],
        integrity=book["integrity"],
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(BOOK, max_size=8), st.sampled_from([1, 3, 50]))
def test_rows_equal_those_made_naively_from_the_venues_texts(books: list[dict[str, Any]], top_k: int) -> None:
    buffer = SnapshotBuffer()
    for book in books:
        put(buffer, book)
    expected = [naive_row(book, 0, top_k) for book in books]
    expected += [naive_row(book, 1, top_k) for book in books if book["market"] < 3]
    assert buffer.rows == len(expected)
    words = [row["integrity"] for row in expected]
    assert buffer.verdicts() == {verdict.value: words.count(verdict.value) for verdict in Integrity}
    rows = rows_of(buffer.cut(), venue="kalshi", top_k=top_k)
    rows.validate(full=True)
    assert rows.schema.equals(ROW_SCHEMA)
    assert repr(rows.to_pylist()) == repr(expected)  # by text, so that NaN equals NaN and 0.0 differs from -0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(BOOK, max_size=9), st.integers(1, 4))
def test_rows_made_in_blocks_are_those_made_at_once(books: list[dict[str, Any]], n_books: int) -> None:
    buffer = SnapshotBuffer()
    for book in books:
        put(buffer, book)
    cut = buffer.cut()
    blocks = [rows_of(block, venue="kalshi", top_k=3) for block in cut.blocks(n_books)]
    whole = rows_of(cut, venue="kalshi", top_k=3).to_pylist()
    assert sorted(repr(row) for block in blocks for row in block.to_pylist()) == sorted(map(repr, whole))
    assert len(blocks) == max(1, -(-len(books) // n_books))


def test_schema_has_the_fixed_columns_in_their_order_and_integrity_after_them() -> None:
    names = (
        "ts_recv venue market_id outcome_id seq best_bid_px best_bid_sz best_ask_px best_ask_sz mid spread "
        "bid_px bid_sz ask_px ask_sz status err source_ts integrity"
    )
    assert ROW_SCHEMA.names == names.split()
    assert [ROW_SCHEMA.field(name).type for name in ("ts_recv", "seq", "source_ts")] == [pa.int64()] * 3
    assert {ROW_SCHEMA.field(name).type for name in ("bid_px", "bid_sz", "ask_px", "ask_sz")} == {
        pa.list_(pa.float64())
    }
    assert [field.name for field in ROW_SCHEMA if field.nullable] == ["err", "source_ts", "integrity"]


def test_first_outcome_only_stores_half_the_rows() -> None:
    buffer = SnapshotBuffer(outcomes="first")
    put(buffer, {"market": 0, "ts": 1, "bids": {1: 1}, "asks": {}, "seq": 1, "source_ts": None} | QUIET)
    assert buffer.rows == 1
    assert rows_of(buffer.cut(), venue="kalshi", top_k=50)["outcome_id"].to_pylist() == ["m0-a"]


QUIET = {"stale": False, "err": None, "integrity": None}


def test_a_cut_leaves_an_empty_buffer_that_keeps_its_keys() -> None:
    buffer = SnapshotBuffer()
    book = {"market": 1, "ts": 5, "bids": {10: 1}, "asks": {20: 2}, "seq": 1, "source_ts": 4} | QUIET
    put(buffer, book)
    key = buffer.register(MarketId("m1"), [OutcomeId("m1-a"), OutcomeId("m1-b")])
    first = buffer.cut()
    assert (len(buffer), buffer.rows) == (0, 0)
    put(buffer, book | {"ts": 6})
    assert buffer.register(MarketId("m1"), [OutcomeId("m1-a"), OutcomeId("m1-b")]) == key
    assert rows_of(first, venue="kalshi", top_k=50)["ts_recv"].to_pylist() == [5, 5]
    assert rows_of(buffer.cut(), venue="kalshi", top_k=50)["ts_recv"].to_pylist() == [6, 6]


@pytest.mark.parametrize("wrong", [{"err": "oops"}, {"integrity": "sure"}])
def test_an_undocumented_word_is_refused_and_nothing_is_appended(wrong: dict[str, str]) -> None:
    buffer = SnapshotBuffer()
    with pytest.raises(KeyError):
        put(buffer, {"market": 0, "ts": 1, "bids": {1: 1}, "asks": {}, "seq": 1, "source_ts": None} | QUIET | wrong)
    assert len(buffer) == 0
    assert rows_of(buffer.cut(), venue="kalshi", top_k=50).num_rows == 0


def test_the_books_own_dicts_are_read_at_once_and_not_kept() -> None:
    buffer = SnapshotBuffer()
    bids = {5000: 1_000_000}
    put(buffer, {"market": 0, "ts": 1, "bids": bids, "asks": {}, "seq": 1, "source_ts": None} | QUIET)
    bids[4000] = 2_000_000
    bids[5000] = 9_000_000
    assert rows_of(buffer.cut(), venue="kalshi", top_k=50)["bid_sz"].to_pylist()[0] == [1.0]

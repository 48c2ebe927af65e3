"""The venue's hash, in every era it has had."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.book import BookShelf
from overround.market import Integrity, px_e4, sz_e6
from overround.venue.polymarket import HashEra, HashInputs, PolymarketFeed, book_hash, prove
from overround.venue.polymarket import hash as hash_module
from overround.venue.polymarket.hash import ladder_hash, last_trade_candidates

LADDER = st.dictionaries(st.integers(1, 9_999), st.integers(1, 10**13), max_size=30)
TEXT = st.sampled_from(["", "0.5", "0.50", "0.500", "0.49", "0.004"])


def inputs_of(row: dict[str, Any]) -> HashInputs:
    return HashInputs(
        market=row["market"],
        asset_id=row["asset_id"],
        timestamp_ms=int(row["timestamp"]),
        min_order_size=row.get("min_order_size", ""),
        tick_size=row.get("tick_size", ""),
        neg_risk=row.get("neg_risk", False),
        last_trade_price=row.get("last_trade_price", ""),
    )


def texts(row: dict[str, Any], side: str) -> list[tuple[str, str]]:
    return [(level["price"], level["size"]) for level in row[side]]


def ladder(row: dict[str, Any], side: str) -> dict[int, int]:
    return {px_e4(price): sz_e6(size) for price, size in texts(row, side)}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    body = path.read_bytes()
    for line in (gzip.decompress(body) if path.suffix == ".gz" else body).splitlines():
        yield json.loads(line)


def test_every_stored_vector_recomputes(captures: Path) -> None:
    eras = set()
    for row in rows(captures / "venues/samples/polymarket/book_hash_vectors.jsonl"):
        era = HashEra(row["field_set"])
        eras.add(era)
        inputs = inputs_of(row)
        assert book_hash(era, inputs, texts(row, "bids"), texts(row, "asks")) == row["expected_hash"]
        # The documented vector is the only one whose asks are not in wire order; the others also come out of integers.
        if not row["name"].startswith("documented"):
            assert ladder_hash(era, inputs, ladder(row, "bids"), ladder(row, "asks")) == row["expected_hash"]
    assert eras == {HashEra.NINE, HashEra.TEN}


def test_the_book_of_2024_recomputes_with_five_members(captures: Path) -> None:
    row = json.loads((captures / "venues/samples/polymarket/clob_book_rest_2024-10_old_fields.json").read_text())
    proof = prove(row["hash"], inputs_of(row), ladder(row, "bids"), ladder(row, "asks"), eras=tuple(HashEra))
    assert proof is not None
    assert proof.era is HashEra.FIVE


def test_all_337_captured_rest_books_recompute_from_integers(captures: Path) -> None:
    folder = captures / "recordings/polymarket/rest_books_hash"
    books = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        for row in rows(path):
            books += row["books"] if "books" in row else [row["raw"]]
    books += rows(captures / "venues/samples/polymarket/clob_books_batch_polls_2026-03.jsonl")
    good = [
        ladder_hash(HashEra.TEN, inputs_of(book), ladder(book, "bids"), ladder(book, "asks")) == book["hash"]
        for book in books
    ]
    assert (len(good), sum(good)) == (337, 337)


def replayed(frames: list[bytes], **options: Any) -> PolymarketFeed:
    feed = PolymarketFeed(BookShelf(), passive=True, check_each=True, **options)
    for n, frame in enumerate(frames):
        feed.receive(frame, n)
    return feed


@pytest.mark.parametrize("era", [None, HashEra.SIX])
def test_the_stream_of_july_2025_recomputes_whole(captures: Path, era: HashEra | None) -> None:
    path = captures / "recordings/polymarket/ws_stream_old_format/btc_hourly_20250703.jsonl"
    feed = replayed([row["raw"].encode() for row in rows(path)], hash_era=era)
    # 10 whole books and 300 changes, whose time lies 3 to 13 ms before the frame's.
    assert (feed.counters.hash_checked, feed.counters.hash_matched) == (310, 310)
    assert feed.hash_era is HashEra.SIX
    assert feed.counters.heartbeats == 4
    assert feed.counters.trades == 4
    assert feed.counters.rejected == feed.counters.best_mismatches == 0
    (market_id,) = feed.books
    assert [feed.hash_counts(token) for token in feed.tokens(market_id)] == [(155, 155), (155, 155)]
    assert feed.verdict(market_id, now_ms=0) is Integrity.VERIFIED


@pytest.mark.parametrize(
    "name",
    ["recordings/polymarket/ws_frames/hash_chain_20251023.jsonl",
     "venues/samples/polymarket/ws_and_rest_interleaved_2025-10.jsonl"],
)  # fmt: skip
def test_the_chain_of_october_2025_recomputes_whole(captures: Path, name: str) -> None:
    feed = replayed((captures / name).read_bytes().splitlines())
    # One socket book, two changes for both tokens, two REST books of the same instants.
    assert (feed.counters.hash_checked, feed.counters.hash_matched) == (7, 7)
    assert feed.hash_era is HashEra.NINE


def test_the_frames_of_december_2025_recompute_whole(captures: Path) -> None:
    path = captures / "venues/samples/polymarket/ws_sequence_2025-12_two_tokens.jsonl"
    feed = replayed(path.read_bytes().splitlines())
    assert (feed.counters.hash_checked, feed.counters.hash_matched) == (4, 4)
    assert feed.hash_era is HashEra.TEN


def test_a_stream_that_misses_one_change_does_not_recompute(captures: Path) -> None:
    path = captures / "recordings/polymarket/ws_stream_old_format/btc_hourly_20250703.jsonl"
    frames = [row["raw"].encode() for row in rows(path)]
    lost = next(n for n, frame in enumerate(frames) if b"price_change" in frame and n > 30)
    feed = replayed(frames[:lost] + frames[lost + 1 : lost + 3])
    assert feed.counters.hash_matched < feed.counters.hash_checked
    (market_id,) = feed.books
    assert feed.verdict(market_id, now_ms=0) is Integrity.SUSPECT


@given(LADDER, LADDER, st.sampled_from(HashEra), st.integers(0, 13), TEXT, st.booleans())
def test_a_hash_is_proved_whatever_its_doubtful_inputs_were(
    bids: dict[int, int], asks: dict[int, int], era: HashEra, shift: int, trade: str, neg_risk: bool
) -> None:
    shift = shift if era is HashEra.SIX else 0
    true = HashInputs(
        market="0xm",
        asset_id="7",
        timestamp_ms=1_000 - shift,
        tick_size="0.001",
        neg_risk=neg_risk,
        last_trade_price=trade,
    )
    announced = ladder_hash(era, true, bids, asks)
    believed = HashInputs(market="0xm", asset_id="7", timestamp_ms=1_000)
    proof = prove(
        announced,
        believed,
        bids,
        asks,
        eras=tuple(HashEra),
        last_trades=last_trade_candidates(["0.5", "0.49"], step_e4=10),
        tick_sizes=("0.01", "0.001"),
        neg_risks=(True,),
        shifts_ms=range(21),
    )
    assert proof is not None
    assert (proof.era, proof.shift_ms) == (era, shift)
    assert ladder_hash(era, proof.inputs, bids, asks) == announced
    assert prove(announced, believed, {**bids, 10: bids.get(10, 0) + 1}, asks, eras=(era,), shifts_ms=range(21)) is None


@given(st.lists(TEXT, max_size=4), st.sampled_from([0, 10, 100]))
def test_no_candidate_is_tried_twice(texts: list[str], step: int) -> None:
    tried = list(last_trade_candidates(texts, step_e4=step))
    assert len(tried) == len(set(tried))
    assert set(texts) <= set(tried)


def test_the_texts_kept_between_proofs_are_bounded() -> None:
    for start in range(0, 140_000, 10_000):
        book = {px: (start + px) * 1_000_000 + 7 for px in range(1, 10_000)}
        inputs = HashInputs(market="0xm", asset_id="7", timestamp_ms=1)
        assert ladder_hash(HashEra.TEN, inputs, book, {}) == ladder_hash(HashEra.TEN, inputs, dict(book), {})
    assert len(hash_module._closings) <= 1 << 16

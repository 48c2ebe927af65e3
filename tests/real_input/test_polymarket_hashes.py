"""Every announced hash of the captured Polymarket streams and REST books recomputes (issue 2, I.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

Book = Callable[..., tuple[int, dict, str]]
RECORDINGS = "recordings/polymarket"
SAMPLES = "venues/samples/polymarket"


def counts(outcomes: dict) -> tuple[int, int]:
    return (
        sum(row["hash_checked"] for row in outcomes.values()),
        sum(row["hash_matched"] for row in outcomes.values()),
    )


@pytest.mark.parametrize(
    ("name", "checked"),
    [
        # Until July 2025, members without sizes and ticks: 10 books and 300 changes of two tokens.
        (f"{RECORDINGS}/ws_stream_old_format/btc_hourly_20250703.jsonl", 310),
        (f"{SAMPLES}/clob_book_rest_2024-10_old_fields.json", 1),
        # October 2025, nine members: a book, two REST books, and two changes of each token.
        (f"{RECORDINGS}/ws_frames/hash_chain_20251023.jsonl", 7),
        (f"{SAMPLES}/ws_and_rest_interleaved_2025-10.jsonl", 7),
        # December 2025 and later, ten members: REST.
        (f"{RECORDINGS}/rest_books_hash/books_run_20260311T214149Z.jsonl.gz", 60),
        (f"{RECORDINGS}/rest_books_hash/books_run_20260311T214230Z.jsonl.gz", 60),
        (f"{RECORDINGS}/rest_books_hash/lol_books_20260723.jsonl.gz", 137),
        (f"{RECORDINGS}/rest_books_hash", 257),
        (f"{SAMPLES}/clob_books_batch_polls_2026-03.jsonl", 80),
        (f"{SAMPLES}/clob_book_rest_never_traded_2026-06.json", 1),
        (f"{SAMPLES}/clob_book_rest_negrisk_one_bid_2026-07.json", 1),
        # The same era on the socket: both tokens' books, then both after a change.
        (f"{SAMPLES}/ws_sequence_2025-12_two_tokens.jsonl", 4),
    ],
)
def test_every_hash_recomputes(captures: Path, book: Book, name: str, checked: int) -> None:
    code, outcomes, err = book(captures / name, "--venue", "polymarket")
    assert code == 0, err
    assert counts(outcomes) == (checked, checked)
    assert {row["verdict"] for row in outcomes.values()} == {"verified"}
    assert f"hashes {checked} of {checked}" in err


def test_a_book_whose_levels_were_trimmed_is_not_called_verified(captures: Path, book: Book) -> None:
    code, outcomes, _ = book(captures / SAMPLES / "ws_book_2026-07_trimmed.json", "--venue", "polymarket")
    assert code == 0
    assert counts(outcomes) == (1, 0)
    assert {row["verdict"] for row in outcomes.values()} == {"unverified"}


def test_one_changed_size_breaks_the_chain_of_hashes(captures: Path, tmp_path: Path, book: Book) -> None:
    lines = (captures / RECORDINGS / "ws_frames/hash_chain_20251023.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["bids"][0]["size"] = "110001"
    path = tmp_path / "chain.jsonl"
    path.write_text("\n".join([json.dumps(first), *lines[1:2]]) + "\n")
    code, outcomes, _ = book(path, "--venue", "polymarket")
    assert code == 0
    checked, matched = counts(outcomes)
    assert (checked, matched) == (3, 0)
    assert "verified" not in {row["verdict"] for row in outcomes.values()}


def naive_old_stream(path: Path) -> dict[str, tuple[dict, dict]]:
    """Bids and asks by token of the stream of 2025, in decimals, with nothing of the package."""
    books: dict[str, tuple[dict, dict]] = {}
    for line in path.read_text().splitlines():
        text = json.loads(line)["raw"]
        if not text.startswith("["):
            continue
        for event in json.loads(text):
            if event["event_type"] == "book":
                books[event["asset_id"]] = tuple(
                    {Decimal(level["price"]): Decimal(level["size"]) for level in event[side]}
                    for side in ("bids", "asks")
                )
            elif event["event_type"] == "price_change":
                for change in event["changes"]:
                    ladder = books[event["asset_id"]][change["side"] == "SELL"]
                    price, size = Decimal(change["price"]), Decimal(change["size"])
                    if size:
                        ladder[price] = size
                    else:
                        ladder.pop(price, None)
    return books


def test_the_stream_of_2025_ends_on_the_books_of_a_naive_replay(captures: Path, book: Book) -> None:
    path = captures / RECORDINGS / "ws_stream_old_format/btc_hourly_20250703.jsonl"
    code, outcomes, _ = book(path, "--venue", "polymarket")
    assert code == 0
    naive = naive_old_stream(path)
    assert len(outcomes) == len(naive) == 2
    for (_, token), row in outcomes.items():
        bids, asks = naive[token]
        assert [tuple(level) for level in row["bids"]] == sorted(bids.items(), reverse=True)
        assert [tuple(level) for level in row["asks"]] == sorted(asks.items())


def test_books_stop_at_a_receive_time(captures: Path, book: Book) -> None:
    path = captures / RECORDINGS / "rest_books_hash"
    # Between two passes over the same 20 tokens.
    code, early, _ = book(path, "--venue", "polymarket", "--at", "1773265330000")
    assert code == 0
    assert len(early) == 20
    code, late, _ = book(path, "--venue", "polymarket")
    assert sum(early[key]["bids"] != late[key]["bids"] for key in early) > 0

"""Properties of the Kalshi feed: any change, any fault, any bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from kalshi_script import A, B, C, Wire

from overround.book import BookShelf
from overround.venue.kalshi import KalshiFeed

TICKERS = ("X", "Y", "Z")

Frame = tuple[int, bytes]


def frame(kind: str, seq: int, msg: dict[str, Any]) -> Frame:
    return seq, json.dumps({"type": kind, "sid": 1, "seq": seq, "msg": msg}, separators=(",", ":")).encode()


# -- changes against a plain dictionary ------------------------------------------------------------------------


@st.composite
def spelled(draw: st.DrawFn, value: int, digits: int) -> str:
    """Any plain spelling of ``value / 10**digits``."""
    text = f"{Decimal(value).scaleb(-digits):f}"
    if "." not in text:
        return text + draw(st.sampled_from(["", ".0", ".00", ".0000"]))
    shortest = text.rstrip("0").rstrip(".")
    return draw(st.sampled_from([text, shortest, text + "00"]))


@st.composite
def change(draw: st.DrawFn) -> tuple[str, str, int, str, int, str]:
    px = draw(st.integers(0, 20)) * draw(st.sampled_from([1, 10, 100]))
    size = draw(st.one_of(st.integers(0, 5).map(lambda n: n * 1_000_000), st.integers(0, 10**13)))
    return (
        draw(st.sampled_from(TICKERS)),
        draw(st.sampled_from(["yes", "no"])),
        px,
        draw(spelled(px, 4)),
        size,
        draw(spelled(size, 6)),
    )


@given(changes=st.lists(change(), max_size=80))
def test_any_run_of_changes_leaves_what_a_dictionary_holds(
    changes: list[tuple[str, str, int, str, int, str]],
) -> None:
    """Each drawn size is what the level shall hold after it: the signed change is worked out here."""
    feed = KalshiFeed(BookShelf(), passive=True)
    plain: dict[str, dict[str, dict[int, int]]] = {t: {"yes": {}, "no": {}} for t in TICKERS}
    seq = 0
    for ticker in TICKERS:
        seq += 1
        feed.receive(frame("orderbook_snapshot", seq, {"market_ticker": ticker, "market_id": "u"})[1], seq)
    for ticker, side, px, px_words, size, _ in changes:
        seq += 1
        ladder = plain[ticker][side]
        by = Decimal(size - ladder.get(px, 0)) / 1_000_000
        ladder[px] = size
        if not size:
            del ladder[px]
        msg = {"market_ticker": ticker, "price_dollars": px_words, "delta_fp": f"{by:f}", "side": side, "ts_ms": seq}
        feed.receive(frame("orderbook_delta", seq, msg)[1], seq)
    assert feed.counters.changes == len(changes)
    assert feed.counters.rejected == feed.counters.negative_levels == feed.counters.gaps == 0
    for ticker in TICKERS:
        book = feed.books[ticker]  # type: ignore[index]
        assert book.bids == plain[ticker]["yes"]
        assert book.asks == {10_000 - px: sz for px, sz in plain[ticker]["no"].items()}
        assert book.best_bid_e4 == max(book.bids, default=-1)
        assert book.best_ask_e4 == min(book.asks, default=10_001)
        assert [level.px_e4 for level in book.bid_levels()] == sorted(book.bids, reverse=True)
        assert [level.px_e4 for level in book.ask_levels()] == sorted(book.asks)


@given(px=st.integers(0, 10_000), size=st.integers(1, 10**15), data=st.data())
def test_every_spelling_of_a_number_is_that_number(px: int, size: int, data: st.DataObject) -> None:
    feed = KalshiFeed(BookShelf(), passive=True)
    feed.receive(frame("orderbook_snapshot", 1, {"market_ticker": "X", "market_id": "u"})[1], 1)
    for seq in (2, 3):
        msg = {
            "market_ticker": "X",
            "price_dollars": data.draw(spelled(px, 4)),
            "delta_fp": data.draw(spelled(size, 6)),
            "side": "no",
        }
        feed.receive(frame("orderbook_delta", seq, msg)[1], seq)
    assert feed.books["X"].asks == {10_000 - px: 2 * size}  # type: ignore[index]


# -- faulted tapes ---------------------------------------------------------------------------------------------


def tape(rng: random.Random, n: int) -> tuple[list[Frame], dict[str, dict[str, dict[int, int]]]]:
    """A numbered stream of snapshots and changes, and the books at its end (cents to hundredths)."""
    books: dict[str, dict[str, dict[int, int]]] = {}
    frames: list[Frame] = []

    def snapshot(ticker: str) -> None:
        levels = {
            f"{side}_dollars_fp": [[f"{px / 100:.4f}", f"{sz / 100:.2f}"] for px, sz in sorted(ladder.items())]
            for side, ladder in books[ticker].items()
            if ladder
        }
        frames.append(
            frame("orderbook_snapshot", len(frames) + 1, {"market_ticker": ticker, "market_id": "u", **levels})
        )

    for ticker in TICKERS:
        books[ticker] = {
            side: {rng.randrange(1, 45): rng.randrange(1, 999) for _ in range(4)} for side in ("yes", "no")
        }
        snapshot(ticker)
    for _ in range(n):
        ticker = rng.choice(TICKERS)
        if rng.random() < 0.04:
            snapshot(ticker)
            continue
        side, px = rng.choice(["yes", "no"]), rng.randrange(1, 45)
        ladder = books[ticker][side]
        by = -ladder[px] if px in ladder and rng.random() < 0.4 else rng.randrange(1, 999)
        ladder[px] = ladder.get(px, 0) + by
        if not ladder[px]:
            del ladder[px]
        msg = {"market_ticker": ticker, "price_dollars": f"{px / 100:.4f}", "delta_fp": f"{by / 100:.2f}", "side": side}
        frames.append(frame("orderbook_delta", len(frames) + 1, {**msg, "ts_ms": len(frames)}))
    return frames, books


Fault = tuple[str, int, int]

faults = st.lists(
    st.tuples(st.sampled_from(["drop", "twice", "swap", "late", "block"]), st.integers(0, 400), st.integers(1, 30)),
    max_size=6,
)


def faulted(frames: list[Frame], script: list[Fault]) -> list[Frame]:
    out = list(frames)
    for kind, at, reach in script:
        at %= max(1, len(out) - 1)
        other = min(len(out) - 1, at + reach)
        if kind == "drop":
            del out[at]
        elif kind == "twice":
            out.insert(at, out[at])
        elif kind == "swap":
            out[at], out[at + 1 if at + 1 < len(out) else at] = out[at + 1 if at + 1 < len(out) else at], out[at]
        elif kind == "late":
            out.insert(other, out.pop(at))
        else:
            out[other:other] = out[at:other]
    return out


def in_units(book: dict[str, dict[int, int]]) -> tuple[dict[int, int], dict[int, int]]:
    bids = {px * 100: sz * 10_000 for px, sz in book["yes"].items()}
    asks = {10_000 - px * 100: sz * 10_000 for px, sz in book["no"].items()}
    return bids, asks


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), script=faults)
def test_a_faulted_tape_ends_on_the_right_book_or_on_one_that_is_not_live(seed: int, script: list[Fault]) -> None:
    frames, books = tape(random.Random(seed), 150)
    # The last frame arrives in its place: until then nobody can know that the one before it is missing.
    last = frame("ok", len(frames) + 1, {})
    feed = KalshiFeed(BookShelf(), passive=True)
    for number, (_, text) in enumerate([*faulted(frames, script), last]):
        feed.receive(text, number)
    for ticker in TICKERS:
        book = feed.books.get(ticker)  # type: ignore[call-overload]
        if book is not None and book.live:
            assert (book.bids, book.asks) == in_units(books[ticker])
        if not script:
            assert book is not None
            assert book.live
    assert feed.counters.rejected == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.002, 0.02, 0.2]), rounds=st.integers(1, 60))
def test_with_a_venue_behind_it_every_faulted_book_is_right_again(seed: int, rate: float, rounds: int) -> None:
    rng = random.Random(seed)
    wire = Wire(seed=seed)
    markets = (A, B, C)

    def hurt(text: bytes) -> list[bytes]:
        if rng.random() > rate:
            return [text]
        return rng.choice([[], [text, text], [text[: len(text) // 2]], [text.replace(b".", b"x")], [b"?"]])

    def steady() -> None:
        for _ in range(30):
            if wire.feed.reconnect_reason is not None:
                wire.reopen()
            wire.wait(5_000)

    wire.tamper = hurt
    wire.open()
    for _ in range(rounds):
        for _ in range(rng.randrange(1, 30)):
            wire.venue.change(str(rng.choice(markets).market_id))
        wire.run().wait(rng.choice([0, 100, 3_000]))
        if wire.feed.reconnect_reason is not None:
            wire.reopen()
    wire.tamper = lambda text: [text]
    # One clean change each, so that a loss at the very end shows.
    for market in markets:
        wire.venue.put(str(market.market_id), "yes", 1, 100)
    wire.run()
    for market in markets:
        assert not wire.feed.books[market.market_id].live or wire.equal(market)
    steady()
    for market in markets:
        wire.venue.put(str(market.market_id), "yes", 1, 100)
    wire.run()
    assert wire.live() == [True] * 3
    assert all(wire.equal(market) for market in markets)
    assert wire.feed.counters.repairs <= 3 * (wire.feed.counters.gaps + wire.feed.counters.resyncs + 60)


# -- bytes -----------------------------------------------------------------------------------------------------


def survives(feed: KalshiFeed, text: bytes) -> None:
    told = feed.receive(text, 1)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return
    assert told or not text.strip().startswith((b"{", b"["))


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(text: bytes) -> None:
    for passive in (True, False):
        survives(KalshiFeed(BookShelf(), passive=passive), text)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_frames_with_changed_bytes_are_survived(seed: int, data: st.DataObject) -> None:
    rng = random.Random(seed)
    feed = KalshiFeed(BookShelf(), passive=True)
    for _, text in tape(rng, 30)[0]:
        bent = bytearray(text)
        for _ in range(data.draw(st.integers(0, 3))):
            bent[rng.randrange(len(bent))] = rng.randrange(256)
        survives(feed, bytes(bent))
    assert feed.counters.frames >= 33


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KINDS = [
    *("orderbook_delta", "orderbook_snapshot", "trade", "ticker", "market_lifecycle_v2", "event_lifecycle"),
    *("subscribed", "ok", "unsubscribed", "error", "something"),
]
FIELDS = [
    *(
        "market_ticker",
        "market_id",
        "price_dollars",
        "delta_fp",
        "side",
        "ts",
        "ts_ms",
        "yes_dollars_fp",
        "no_dollars_fp",
    ),
    *("channel", "sid", "code", "msg", "market_tickers", "event_type", "close_ts", "result"),
]


def known_or_any(*known: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(known), json_values)


@st.composite
def shaped(draw: st.DrawFn) -> bytes:
    """A frame of the right shape with anything in its fields."""
    field: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(FIELDS, json_values)
    field |= {
        "market_ticker": known_or_any(str(A.market_id), str(B.market_id), "nobody"),
        "price_dollars": known_or_any("0.5000", "0.50001", "2"),
        "delta_fp": known_or_any("1.00", "-1.00", "1e9", "-99999999999999999.00"),
        "side": known_or_any("yes", "no"),
        "sid": known_or_any(1, 2, 3),
        "channel": known_or_any("orderbook_delta", "trade", "x"),
        "code": known_or_any(1, 7, 8, 9, 10, 18, 25, 26, 27, 99),
        "yes_dollars_fp": known_or_any([["0.5000", "1.00"]], [["0.5", "x"]], [["0.5"]], []),
        "event_type": known_or_any("created", "determined", "deactivated", "activated", "close_date_updated"),
    }
    names = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=8))
    value = {
        "type": draw(known_or_any(*KINDS)),
        "sid": draw(known_or_any(1, 2)),
        "seq": draw(known_or_any(1, 2, 3, 4, 5, 2**63, -1)),
        "id": draw(known_or_any(1, 2, 3, 4)),
        "msg": draw(st.one_of(st.just({name: draw(field[name]) for name in names}), json_values)),
    }
    for name in draw(st.lists(st.sampled_from(sorted(value)), unique=True, max_size=2)):
        del value[name]
    return json.dumps(value, separators=(",", ":")).encode()


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(shaped(), max_size=8), passive=st.booleans())
def test_frames_with_anything_in_their_fields_are_survived(frames: list[bytes], passive: bool) -> None:
    feed: KalshiFeed
    step: Callable[[], Any]
    if passive:
        feed = KalshiFeed(BookShelf(), passive=True)
        step = bool
    else:
        wire = Wire(channels=("orderbook_delta", "trade", "ticker", "market_lifecycle_v2")).open()
        feed, step = wire.feed, lambda: wire.run().wait(3_000)
    for text in frames:
        survives(feed, text)
        step()
        for market_id, book in feed.books.items():
            assert book.live == (book.err is None)
            assert not book.live or book.had_book
            feed.verdict(market_id, now_ms=1)
            assert all(size > 0 for size in (*book.bids.values(), *book.asks.values()))
            assert book.best_bid_e4 == max(book.bids, default=-1)
            assert book.best_ask_e4 == min(book.asks, default=10_001)

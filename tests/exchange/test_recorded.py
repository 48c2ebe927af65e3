import gzip
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from overround.errors import RecordingError
from overround.exchange.model import ChangeKind, Source
from overround.exchange.recorded import RawPlayback, RecordedSource, frame_events
from overround.market import Venue
from overround.replay.frames import RecordedFrame

K, PM = Venue.KALSHI, Venue.POLYMARKET
FIRST, SECOND = "1" * 77, "2" * 77
CID = "0x" + "ab" * 32
T0 = 1_773_862_560_000


def frames(*bodies: object, start_ns: int | None = None, step_ns: int = 0) -> list[RecordedFrame]:
    return [
        RecordedFrame(None if start_ns is None else start_ns + i * step_ns, "c", json.dumps(b).encode())
        for i, b in enumerate(bodies)
    ]


def snapshot(ticker: str, yes: list, no: list, seq: int = 1) -> dict:
    msg = {"market_ticker": ticker}
    if yes:
        msg["yes_dollars_fp"] = yes
    if no:
        msg["no_dollars_fp"] = no
    return {"type": "orderbook_snapshot", "sid": 1, "seq": seq, "msg": msg}


def delta(ticker: str, side: str, price: str, change: str, ts_ms: int, seq: int = 2) -> dict:
    msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": side, "ts_ms": T0 + ts_ms}
    return {"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": msg}


def trade(ticker: str, ts_ms: int) -> dict:
    msg = {
        "trade_id": "t1", "market_ticker": ticker, "yes_price_dollars": "0.4000", "no_price_dollars": "0.6000", "count_fp": "2.00",
        "taker_side": "no", "ts_ms": T0 + ts_ms,
    }  # fmt: skip
    return {"type": "trade", "sid": 2, "seq": 1, "msg": msg}


def drain(source: Source, now_ms: int) -> list:
    found = []
    while (due := source.next_ms()) is not None and due <= now_ms:
        found += source.advance(now_ms)
    return found


KALSHI = frames(
    {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}},
    snapshot("KXA-1-Y", [["0.4000", "10.00"]], [["0.5500", "4.50"]]),
    delta("KXA-1-Y", "yes", "0.4000", "-2.00", 10_000),
    trade("KXA-1-Y", 10_000),
    delta("KXA-1-Y", "no", "0.5600", "3.25", 12_000),
    delta("KXA-1-Y", "yes", "0.4000", "-8.00", 14_000),
    snapshot("KXA-1-Y", [], []),
)


def test_a_kalshi_recording_becomes_books_changes_and_truth() -> None:
    source = RecordedSource(KALSHI, venue=K, speed=math.inf, start_at_ms=500)
    assert list(source.listings) == ["KXA-1-Y"]
    assert source.levels("KXA-1-Y") == ({4_000: 10_000_000}, {4_500: 4_500_000})
    changes = drain(source, 500)
    assert [(c.kind.value, c.bid, c.px_e4, c.sz_e6, c.delta_e6, c.ts_ms - T0, c.number) for c in changes[:4]] == [
        ("level", True, 4_000, 8_000_000, -2_000_000, 10_000, 1),
        ("trade", False, 4_000, 2_000_000, 0, 10_000, 1),
        ("level", False, 4_400, 3_250_000, 3_250_000, 12_000, 2),
        ("level", True, 4_000, 0, -8_000_000, 14_000, 3),
    ]
    assert source.levels("KXA-1-Y") == ({}, {})
    assert changes[-1].kind is ChangeKind.STATUS
    assert source.listings["KXA-1-Y"].status == "closed"
    assert source.truth.states_at("KXA-1-Y", T0 + 12_500)[0].asks == {4_500: 4_500_000, 4_400: 3_250_000}
    assert source.last_trade_px_e4("KXA-1-Y") == 4_000
    assert source.next_ms() is None


def test_playback_keeps_the_recorded_pace_times_the_speed() -> None:
    source = RecordedSource(KALSHI, venue=K, speed=2.0, start_at_ms=1_000_000)
    assert [c.kind.value for c in source.advance(1_000_000)] == ["level", "trade"]
    assert source.next_ms() == 1_001_000
    assert not source.advance(1_000_999)
    assert [c.ts_ms for c in source.advance(1_001_000)] == [T0 + 12_000]
    assert source.next_ms() == 1_002_000


def test_receive_times_pace_the_playback_where_there_are_any() -> None:
    timed = frames(*(json.loads(f.frame) for f in KALSHI), start_ns=7_000_000_000, step_ns=1_000_000_000)
    source = RecordedSource(timed, venue=K, start_at_ms=50)
    assert [c.kind.value for c in source.advance(50 + 2_000)] == ["level"]
    assert [c.kind.value for c in source.advance(50 + 3_000)] == ["trade"]


POLY = frames(
    [
        {"market": CID, "asset_id": FIRST, "timestamp": "900", "hash": "h", "bids": [{"price": "0.4", "size": "10"}],
         "asks": [{"price": "0.6", "size": "1.5"}], "event_type": "book"},
        {"market": CID, "asset_id": SECOND, "timestamp": "900", "hash": "h", "bids": [{"price": "0.4", "size": "1.5"}],
         "asks": [{"price": "0.6", "size": "10"}], "event_type": "book"},
    ],
    {"market": CID, "timestamp": "1000", "event_type": "price_change", "price_changes": [
        {"asset_id": FIRST, "price": "0.41", "size": "7", "side": "BUY", "hash": "x", "best_bid": "0.41", "best_ask": "0.6"},
        {"asset_id": SECOND, "price": "0.59", "size": "7", "side": "SELL", "hash": "x", "best_bid": "0.4", "best_ask": "0.59"}]},
    {"market": CID, "asset_id": SECOND, "timestamp": "1001", "event_type": "price_change",
     "changes": [{"price": "0.4", "size": "0", "side": "BUY"}]},
    {"market": CID, "asset_id": SECOND, "price": "0.59", "size": "2.123456", "side": "BUY", "timestamp": "1005",
     "fee_rate_bps": "0", "event_type": "last_trade_price"},
    {"market": CID, "asset_id": FIRST, "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": "1006",
     "event_type": "tick_size_change"},
    {"market": CID, "asset_id": SECOND, "timestamp": "1010", "hash": "h", "bids": [], "asks": [{"price": "0.59", "size": "3"}],
     "event_type": "book"},
)  # fmt: skip


def test_a_polymarket_recording_is_one_book_seen_from_the_first_token() -> None:
    source = RecordedSource(POLY, venue=PM, speed=math.inf)
    assert source.listings[CID].tokens == (FIRST, SECOND)
    assert source.levels(CID) == ({4_000: 10_000_000}, {6_000: 1_500_000})
    changes = drain(source, 0)
    assert [(c.kind.value, c.bid, c.px_e4, c.sz_e6) for c in changes] == [
        ("level", True, 4_100, 7_000_000),
        ("level", False, 6_000, 0),
        ("trade", False, 4_100, 2_123_456),
        ("tick", True, 0, 0),
        ("level", True, 4_000, 0),
        ("level", True, 4_100, 3_000_000),
    ]
    assert source.listings[CID].tick_e4 == 10
    assert source.truth.now(CID).bids == {4_100: 3_000_000}


def test_a_recording_with_losses_counts_negative_levels_and_goes_on() -> None:
    lossy = [
        KALSHI[1],
        *frames(delta("KXA-1-Y", "yes", "0.4000", "-50.00", 10_000), delta("KXA-1-Y", "yes", "0.3000", "1.00", 10_001)),
    ]
    source = RecordedSource(lossy, venue=K, speed=math.inf)
    drain(source, 0)
    assert source.negative_levels == 1
    assert source.levels("KXA-1-Y")[0] == {3_000: 1_000_000}


def test_deltas_before_the_first_whole_book_change_nothing() -> None:
    late = [*frames(delta("KXA-1-Y", "yes", "0.4000", "5.00", 9_000)), *KALSHI[1:3]]
    source = RecordedSource(late, venue=K, speed=math.inf)
    drain(source, 0)
    assert source.levels("KXA-1-Y")[0] == {4_000: 8_000_000}


@pytest.mark.parametrize(
    ("frame", "venue"),
    [
        (b'{"type":"orderbook_delta","msg":{"market_ticker":"A","side":"yes"}}', K),
        (b'{"type":"orderbook_snapshot","msg":{"market_ticker":"A","yes_dollars_fp":[["1.7","1"]]}}', K),
        (b'{"event_type":"price_change","market":"m","price_changes":[{"side":"BUY"}]}', PM),
        (b'{"broken', K),
    ],
)
def test_a_frame_that_does_not_read_is_named(frame: bytes, venue: Venue) -> None:
    with pytest.raises(RecordingError, match="does not read"):
        frame_events(frame, venue)


@pytest.mark.parametrize(
    "frame", [b"PONG", b"", b'{"type":"ok","id":1,"msg":[]}', b'{"type":"ticker","msg":{"market_ticker":"A"}}']
)
def test_frames_without_book_or_trade_say_nothing(frame: bytes) -> None:
    assert frame_events(frame, K) == []


def test_an_empty_recording_is_refused() -> None:
    with pytest.raises(RecordingError, match="no market"):
        RecordedSource([], venue=K)


def test_raw_playback_gives_the_bytes_back_in_order_when_due() -> None:
    raw = RawPlayback([*KALSHI, RecordedFrame(None, "c", b"{}", sent=True)], speed=1.0, start_at_ms=100)
    first = raw.take(100)
    assert [f.frame for f in first] == [f.frame for f in KALSHI[:4]]
    assert raw.next_ms() == 2_100
    assert [f.frame for f in raw.take(10_000, limit=2)] == [f.frame for f in KALSHI[4:6]]
    assert [f.frame for f in raw.take(10_000)] == [KALSHI[6].frame]
    assert raw.next_ms() is None


# ------------------------------------------------------------------ captured recordings


def naive(path: Path) -> Iterator[tuple[int | None, dict[str, dict[str, Decimal]]]]:
    """Books of a Kalshi file by the shortest possible code; yields after each frame its time and the one book."""
    book: dict[str, dict[str, Decimal]] = {"yes": {}, "no": {}}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if not line.strip():
                continue
            event = json.loads(line)
            event = event.get("event", event)
            msg = event["msg"]
            if event["type"] == "orderbook_snapshot":
                for side in book:
                    book[side] = {p: Decimal(s) for p, s in msg.get(f"{side}_dollars_fp", [])}
            elif event["type"] == "orderbook_delta":
                side = book[msg["side"]]
                side[msg["price_dollars"]] = side.get(msg["price_dollars"], Decimal(0)) + Decimal(msg["delta_fp"])
                if not side[msg["price_dollars"]]:
                    del side[msg["price_dollars"]]
            yield msg.get("ts_ms"), book


def scaled(book: dict[str, dict[str, Decimal]]) -> tuple[dict[int, int], dict[int, int]]:
    yes, no = ({int(Decimal(p) * 10_000): int(s * 1_000_000) for p, s in book[side].items()} for side in ("yes", "no"))
    return yes, {10_000 - p: s for p, s in no.items()}


@pytest.mark.timeout(60)
def test_a_captured_window_plays_back_to_the_books_of_a_naive_replay(captures: Path) -> None:
    path = captures / "recordings" / "kalshi" / "ws_gold15m" / "KXGOLD15M-26AUG102030-30.2026-08-11.ndjson.gz"
    source = RecordedSource.open([path], K, speed=math.inf)
    (key,) = source.listings
    drain(source, 0)
    assert source.negative_levels == 0
    compared = 0
    newest = 0
    log = source.truth[key]
    for n, (ts_ms, book) in enumerate(naive(path)):
        if ts_ms is not None and ts_ms > newest and n % 1_000 == 0:
            newest = ts_ms
            assert scaled(book) in [(state.bids, state.asks) for state in log.states_at(ts_ms)]
            compared += 1
    assert compared > 20
    assert scaled(book) == source.levels(key)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_nba_connection_plays_back_without_a_negative_level(captures: Path) -> None:
    folder = captures / "recordings" / "kalshi" / "ws_nba_20260318"
    source = RecordedSource.open([folder], K, speed=math.inf)
    assert len(source.listings) == 18
    changes = 0
    while source.next_ms() is not None:
        changes += len(source.advance(0))
    assert source.negative_levels == 0
    assert source.truth.trades == 152_167
    assert source.truth.levels >= 1_484_674
    for path in folder.glob("*.gz"):
        *_, (_, book) = naive(path)
        key = next(k for k in source.listings if k in path.name)
        assert source.levels(key) == scaled(book)

"""Every captured payload parses, and means what it says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overround.book import BookShelf
from overround.market import FeeKind, MarketStatus
from overround.venue.kalshi import KalshiFeed
from overround.venue.kalshi import wire as w
from overround.venue.kalshi.parse import fee_schedule, ladders, market_from_rest, rest_book, time_ms

NOW_MS = 1_786_000_000_000

# Which struct reads which answer, by the words of its path.
ANSWERS = [
    ("/multivariate_event_collections", w.CollectionsPage),
    ("/account/limits", w.AccountLimits),
    ("/account/endpoint_costs", w.EndpointCosts),
    ("/portfolio/balance", w.Balance),
    ("/portfolio/positions", w.PositionsPage),
    ("/portfolio/fills", w.FillsPage),
    ("/portfolio/settlements", w.SettlementsPage),
    ("/exchange/status", w.ExchangeStatus),
    ("/exchange/schedule", w.ExchangeSchedule),
    ("/series/fee_changes", w.SeriesFeeChanges),
    ("/candlesticks", w.Candles),
    ("/markets/orderbooks", w.OrderbooksPage),
    ("/orderbook", w.OrderbookSingle),
    ("/markets/trades", w.TradesPage),
    ("/series/", w.SeriesSingle),
    ("/events", w.EventPage),
]


@pytest.fixture(scope="module")
def samples(captures: Path) -> Path:
    return captures / "venues/samples/kalshi"


def answers(samples: Path, pattern: str = "rest_*.json") -> Iterator[tuple[str, str, Any]]:
    for path in sorted(samples.glob(pattern)):
        for entry in json.loads(path.read_text()):
            yield path.name, entry["request"], entry["response"]


def frames(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["frame"] for line in path.read_text().splitlines()]


def struct_of(request: str, response: dict[str, Any]) -> Any:
    named = {"market": w.MarketSingle, "markets": w.MarketPage, "event": w.EventSingle}
    found = next((kind for key, kind in named.items() if key in response and "events" not in response), None)
    return found or next(kind for words, kind in ANSWERS if words in request)


def events_in(response: dict[str, Any]) -> list[dict[str, Any]]:
    return response.get("events", []) + ([response["event"]] if "event" in response else [])


def markets_in(response: dict[str, Any]) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    found: list[tuple[dict[str, Any] | None, dict[str, Any]]] = [(None, m) for m in response.get("markets", [])]
    found += [(event, market) for event in events_in(response) for market in event.get("markets", [])]
    found += [(None, market) for market in response.get("legs", {}).values()]
    return found + ([(None, response["market"])] if "market" in response else [])


def read(raw: Any, kind: Any) -> Any:
    return msgspec.json.decode(json.dumps(raw), type=kind)


def test_every_captured_answer_has_a_struct_that_reads_it(samples: Path) -> None:
    n = 0
    for _, request, response in answers(samples):
        if "legs" in response:
            continue  # single markets, put together by the capturing project
        read(response, struct_of(request, response))
        n += 1
    assert n >= 25


def test_every_captured_market_becomes_ours(samples: Path) -> None:
    n = 0
    for _, _, response in answers(samples):
        for event, raw in markets_in(response):
            joined = None if event is None else read(event, w.RestEvent)
            market = market_from_rest(read(raw, w.RestMarket), event=joined, now_ms=NOW_MS)
            assert market.market_id == raw["ticker"]
            assert market.close_ts == time_ms(raw["close_time"])
            for side, ours in (("yes_bid", market.best_bid_px), ("yes_ask", market.best_ask_px)):
                if float(raw.get(f"{side}_size_fp", 0)) > 0:
                    assert ours == float(raw[f"{side}_dollars"])
                else:
                    assert ours is None
            for field in ("floor_strike", "cap_strike"):
                if raw.get(field) is not None:
                    assert market.strike is not None
                    assert float(getattr(market.strike, field.removesuffix("_strike"))) == raw[field]
            if raw.get("price_ranges"):
                assert market.tick_grid
            n += 1
    assert n > 150


def test_the_partition_keeps_its_exact_bounds(samples: Path) -> None:
    path = samples / "rest_markets_partition_between.json"
    page = json.loads(path.read_text(), parse_float=str, parse_int=str)[0]["response"]["markets"]
    bounds = {m["ticker"]: (m.get("floor_strike"), m.get("cap_strike")) for m in page}
    # The numbers are read from the file's own bytes: a float in between would not be noticed.
    text = path.read_bytes()
    raws = msgspec.json.decode(text, type=list[dict[str, msgspec.Raw]])
    markets = msgspec.json.decode(raws[0]["response"], type=w.MarketPage).markets
    assert len(markets) == 75
    kinds = []
    for raw in markets:
        market = market_from_rest(msgspec.json.decode(raw, type=w.RestMarket), now_ms=NOW_MS)
        assert market.strike is not None
        assert (market.strike.floor, market.strike.cap) == bounds[market.market_id]
        kinds.append(market.strike.kind)
    assert (kinds.count("less"), kinds.count("between"), kinds.count("greater")) == (1, 73, 1)


def test_exclusive_events_are_those_that_return_collateral(samples: Path) -> None:
    for _, _, response in answers(samples, "rest_events_*.json"):
        for raw in events_in(response):
            event = read(raw, w.RestEvent)
            assert event.mutually_exclusive == (event.collateral_return_type == "MECNET")


def test_settled_markets_are_resolved_with_their_result(samples: Path) -> None:
    for _, _, response in answers(samples, "rest_markets_settled_page.json"):
        for raw in response["markets"]:
            market = market_from_rest(read(raw, w.RestMarket), now_ms=NOW_MS)
            assert market.status is MarketStatus.RESOLVED
            assert market.result in {"yes", "no", "scalar"}


def test_series_carry_fees_we_can_compute(samples: Path) -> None:
    multipliers = set()
    for _, _, response in answers(samples, "rest_series.json"):
        series = read(response, w.SeriesSingle).series
        schedule = fee_schedule(w.RestMarket(ticker="T", event_ticker="E"), None, series)
        assert schedule.kind is FeeKind.KALSHI_QUADRATIC
        multipliers.add(schedule.multiplier)
    assert multipliers == {"0.5", "1"}


def test_combinations_name_their_legs(samples: Path) -> None:
    found = 0
    for _, request, response in answers(samples, "rest_mve_markets.json"):
        for _, raw in markets_in(response):
            market = market_from_rest(read(raw, w.RestMarket), now_ms=NOW_MS)
            legs = raw.get("mve_selected_legs", [])
            assert market.combo_legs == tuple(f"{leg['market_ticker']}:{leg['side']}" for leg in legs)
            assert bool(legs) == ("only" in request)
            found += bool(legs)
    assert found == 2


def test_every_captured_rest_book_keeps_every_level(samples: Path) -> None:
    n = 0
    for name, _, response in answers(samples, "rest_orderbook*.json"):
        rows = response["orderbooks"] if name == "rest_orderbooks_batch.json" else [{"ticker": "T", **response}]
        for row in rows:
            book = rest_book(read(row, w.RestOrderbook))
            sides = row["orderbook_fp"]
            assert {(px, sz) for px, sz in book.bids.items()} == {
                (round(float(p) * 10_000), round(float(s) * 1_000_000)) for p, s in sides["yes_dollars"]
            }
            assert len(book.asks) == len(sides["no_dollars"])
            n += 1
    assert n == 16


@pytest.mark.parametrize(
    "name",
    ["ws_book_small", "ws_control_frames", "ws_ticker", "ws_trade", "ws_lifecycle", "ws_spec_examples_2026-10"],
)
def test_every_captured_socket_frame_is_understood(samples: Path, name: str) -> None:
    # Own-account channels are none of ours.
    foreign = {"fill", "market_position", "order_group_updates", "user_order"}
    for frame in frames(samples / f"{name}.jsonl"):
        feed = KalshiFeed(BookShelf(), passive=True)
        assert feed.receive(json.dumps(frame).encode(), 1)
        assert feed.counters.rejected == 0, frame
        assert set(feed.counters.unknown) <= foreign, frame
        assert frame["type"] not in feed.counters.unknown or frame["type"] in foreign


def rebuilt(lines: list[dict[str, Any]], *, ignore_gaps: bool = False) -> Iterator[KalshiFeed]:
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=ignore_gaps)
    for line in lines:
        feed.receive(json.dumps(line["frame"]).encode(), line["recv_ms"] * 1_000_000)
        yield feed


def check_top(feed: KalshiFeed, top: dict[str, dict[str, Any]]) -> None:
    assert set(feed.books) == set(top)
    for ticker, expected in top.items():
        book = feed.books[ticker]  # type: ignore[index]
        bids, asks = book.bid_levels(), book.ask_levels()
        assert book.best_bid_e4 == bids[0].px_e4
        assert book.best_ask_e4 == asks[0].px_e4
        assert {
            "yes_bid": f"{bids[0].px_e4 / 10_000:.4f}",
            "yes_bid_size": f"{bids[0].sz_e6 / 1_000_000:.2f}",
            "yes_ask": f"{asks[0].px_e4 / 10_000:.4f}",
            "yes_ask_size": f"{asks[0].sz_e6 / 1_000_000:.2f}",
            "yes_levels": len(bids),
            "no_levels": len(asks),
            "yes_total": f"{sum(level.sz_e6 for level in bids) / 1_000_000:.2f}",
            "no_total": f"{sum(level.sz_e6 for level in asks) / 1_000_000:.2f}",
        } == expected


def test_the_session_of_twelve_markets_ends_as_the_oracle_says(samples: Path) -> None:
    lines = [json.loads(line) for line in (samples / "ws_orderbook_12_markets.jsonl").read_text().splitlines()]
    oracle = json.loads((samples / "oracle_ws_orderbook_12_markets.json").read_text())
    feed = list(rebuilt(lines))[-1]
    assert feed.counters.frames == oracle["frames"]
    assert feed.counters.snapshots == oracle["stats"]["snap"]
    assert feed.counters.changes == oracle["stats"]["delta"]
    assert feed.counters.gaps == oracle["seq_gaps_within_file"] == 0
    assert feed.counters.rejected == feed.counters.ignored == feed.counters.duplicates == 0
    assert all(book.live for book in feed.books.values())
    check_top(feed, oracle["final_top_of_book"])


def test_the_gold_excerpt_meets_every_checkpoint(samples: Path) -> None:
    lines = [json.loads(line) for line in (samples / "ws_gold15m_excerpt.jsonl").read_text().splitlines()]
    oracle = json.loads((samples / "oracle_ws_gold15m_excerpt.json").read_text())
    due = {point["after_line"]: point["top"] for point in oracle["checkpoints"]}
    met = 0
    for number, feed in enumerate(rebuilt(lines, ignore_gaps=True), start=1):
        if number in due:
            check_top(feed, due[number])
            met += 1
    assert met == len(due) == 6
    assert feed.counters.changes == oracle["stats"]["delta"]
    assert feed.counters.gaps == feed.counters.negative_levels == feed.counters.rejected == 0
    # Every change of this stream carries its time.
    ticker, book = next(iter(feed.books.items()))
    last = next(x["frame"]["msg"]["ts_ms"] for x in reversed(lines) if x["frame"]["type"] == "orderbook_delta")
    assert book.ts_venue_ms == last
    assert feed.verdict(ticker, now_ms=0).value == "unverified"


def test_the_control_frames_recording_reads_with_its_errors(captures: Path) -> None:
    path = captures / "recordings/kalshi/ws_small/control_and_error_frames_20260418.jsonl"
    feed = KalshiFeed(BookShelf(), passive=True)
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        assert feed.receive(entry["raw"].encode(), entry["recv_ts_ns"])
    assert feed.counters.snapshots == 8
    assert feed.counters.gaps == feed.counters.rejected == 0
    assert sum(event.detail == "8 Unknown channel name" for event in feed.events) == 3
    # These frames of April 2026 carry their time as a text.
    assert all(book.live and book.had_book for book in feed.books.values())
    assert any((book.ts_venue_ms or 0) > 1_776_000_000_000 for book in feed.books.values())


def merged_nba(captures: Path, below: int) -> Iterator[bytes]:
    """The NBA connection's frames of sid 1 up to a number, in order."""
    rows: list[tuple[int, bytes]] = []
    for path in sorted((captures / "recordings/kalshi/ws_nba_20260318").glob("*.ndjson.gz")):
        with gzip.open(path, "rb") as lines:
            for line in lines:
                if b'"sid":1,' not in line:
                    continue
                start = line.index(b'"seq":') + 6
                seq = int(line[start : line.index(b",", start)])
                if seq >= below:
                    break
                rows.append((seq, line))
    return (line for _, line in sorted(rows))


def replay_nba(captures: Path, below: int) -> None:
    """Rebuild with the feed and with a naive dictionary, and compare."""
    feed = KalshiFeed(BookShelf(), passive=True)
    naive: dict[str, dict[str, dict[str, float]]] = {}
    n = 0
    for n, line in enumerate(merged_nba(captures, below), start=1):
        feed.receive(line, n)
        frame = json.loads(line)
        msg = frame["msg"]
        if frame["type"] == "orderbook_snapshot":
            naive[msg["market_ticker"]] = {
                side: {price: float(size) for price, size in msg.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
        else:
            ladder = naive[msg["market_ticker"]][msg["side"]]
            ladder[msg["price_dollars"]] = ladder.get(msg["price_dollars"], 0.0) + float(msg["delta_fp"])
            if not ladder[msg["price_dollars"]]:
                del ladder[msg["price_dollars"]]
    assert n == below - 1
    counters = feed.counters
    assert counters.changes + counters.snapshots == n
    assert counters.gaps == counters.negative_levels == counters.crossed == counters.rejected == counters.ignored == 0
    assert len(feed.books) == 18
    for ticker, book in feed.books.items():
        sides = naive[ticker]
        assert book.live
        assert book.bids == {round(float(p) * 10_000): round(s * 1_000_000) for p, s in sides["yes"].items()}
        assert book.asks == {10_000 - round(float(p) * 10_000): round(s * 1_000_000) for p, s in sides["no"].items()}


def test_a_slice_of_the_nba_connection_rebuilds_without_a_gap(captures: Path) -> None:
    replay_nba(captures, below=40_001)


@pytest.mark.slow
def test_the_whole_nba_connection_rebuilds_without_a_gap(captures: Path) -> None:
    replay_nba(captures, below=1_484_711)


def test_a_stream_without_its_opening_snapshot_never_yields_a_live_book(captures: Path) -> None:
    path = captures / "recordings/kalshi/ws_no_initial_snapshot_20260316/KXNBAGAME-26MAR16PORBKN-BKN.ndjson.gz"
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=True)
    deltas = 0
    with gzip.open(path, "rb") as lines:
        for line in lines:
            if not line.strip() or b'"trade"' in line:
                continue
            if b"orderbook_snapshot" in line:
                break
            feed.receive(line, 1)
            deltas += 1
            if deltas == 5_000:
                break
    (book,) = feed.books.values()
    assert not book.live
    assert not book.had_book
    assert (book.err, book.integrity) == ("gap", "gap")
    assert not book.bids
    assert not book.asks
    assert feed.counters.ignored == deltas
    assert feed.counters.changes == 0


def test_the_empty_snapshot_at_close_empties_the_book(captures: Path) -> None:
    path = captures / "recordings/kalshi/ws_nba_20260318/KXNBAGAME-26MAR18OKCBKN-BKN.ndjson.gz"
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=True)
    with gzip.open(path, "rb") as lines:
        for line in lines:
            feed.receive(line.strip(), 1)
    (book,) = feed.books.values()
    assert (book.bids, book.asks) == ({}, {})
    assert feed.counters.snapshots == 2
    assert feed.counters.heartbeats > 0


def test_ladders_read_every_captured_snapshot(samples: Path) -> None:
    n = 0
    for frame in frames(samples / "ws_orderbook_12_markets.jsonl"):
        if frame["type"] == "orderbook_snapshot":
            msg = read(frame["msg"], w.SnapshotMsg)
            bids, asks = ladders(msg.yes_dollars_fp, msg.no_dollars_fp)
            assert max(bids) < min(asks)
            n += 1
    assert n == 12

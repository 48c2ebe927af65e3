"""The documented shapes: every captured payload of the present departs from nothing, old forms are named as such."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overround.market import DriftSort
from overround.venue.kalshi.profile import SHAPES as KALSHI
from overround.venue.polymarket.profile import SHAPES as POLYMARKET
from overround.venue.shapes import VenueShapes

OLD_FILES = {
    "ws_price_change_old_format_2024-08.json": {"old_format price_change (flat, 2024)"},
    "clob_book_rest_2024-10_old_fields.json": {"old_format rest_book (six fields, before October 2025)"},
    # The publisher of this one turned its times into numbers.
    "ws_and_rest_interleaved_2025-10.jsonl": {
        "old_format rest_book (nine fields, before December 2025)",
        "domain book.timestamp",
        "domain price_change.timestamp",
    },
    "ws_trade.jsonl": {"old_format trade (taker_side only, before May 2026)"},
}


def departures(shapes: VenueShapes, messages: Iterator[tuple[str, object]]) -> set[str]:
    return {f"{found.sort} {found.name}" for kind, message in messages for found in shapes.examine(kind, message)[0]}


def documents(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return whole if isinstance(whole, list) else [whole]


def framed(shapes: VenueShapes, frames: Iterator[bytes]) -> set[str]:
    return {f"{found.sort} {found.name}" for frame in frames for found in shapes.frame(frame).departures}


def test_polymarket_socket_samples(captures: Path) -> None:
    files = [p for p in sorted((captures / "venues/samples/polymarket").glob("ws_*")) if "control" not in p.name]
    assert len(files) >= 11
    for path in files:
        found = framed(POLYMARKET, (json.dumps(doc).encode() for doc in documents(path)))
        assert found == OLD_FILES.get(path.name, set()), path.name


def test_polymarket_listing_and_book_samples(captures: Path) -> None:
    n = 0
    for path in sorted((captures / "venues/samples/polymarket").glob("gamma_*")):
        for doc in documents(path):
            if not isinstance(doc, dict) or not ({"conditionId", "markets"} & doc.keys()):
                continue  # tags, and the answer of the search
            kind = "gamma_market" if "conditionId" in doc else "gamma_event"
            assert departures(POLYMARKET, iter([(kind, doc)])) == set(), path.name
            n += 1
    for path in sorted((captures / "venues/samples/polymarket").glob("clob_book*")):
        found = departures(POLYMARKET, (("rest_book", doc) for doc in documents(path)))
        assert found == OLD_FILES.get(path.name, set()), path.name
        n += 1
    assert n > 60


def test_kalshi_socket_samples(captures: Path) -> None:
    for path in sorted((captures / "venues/samples/kalshi").glob("ws_*")):
        if "commands" in path.name:
            continue
        frames = (json.dumps(json.loads(line)["frame"]).encode() for line in path.read_text().splitlines() if line)
        assert framed(KALSHI, frames) == OLD_FILES.get(path.name, set()), path.name


def test_kalshi_rest_samples(captures: Path) -> None:
    n = 0
    for path in sorted((captures / "venues/samples/kalshi").glob("rest_*.json")):
        for entry in json.loads(path.read_text()):
            answer = entry["response"]
            singles = {"market": "rest_market", "event": "rest_event"}
            for key, kind in singles.items():
                if isinstance(answer.get(key), dict):
                    record = {name: value for name, value in answer[key].items() if name != "markets"}
                    assert departures(KALSHI, iter([(kind, record)])) == set(), path.name
                    n += 1
            for name in ("markets", "events", "series", "orderbooks"):
                if isinstance(answer.get(name), list):
                    page = json.dumps({key: answer[key] for key in (name, "cursor") if key in answer}).encode()
                    records = list(KALSHI.answers(f"/trade-api/v2/{name}", page, range))
                    assert departures(KALSHI, ((kind, record) for kind, record, _ in records)) == set(), path.name
                    n += len(records)
    assert n > 100


def test_recorded_listing(captures: Path) -> None:
    path = captures / "recordings/polymarket/gamma_active_markets_20260311.jsonl.gz"
    with gzip.open(path) as lines:
        records = (("gamma_market", json.loads(line)) for number, line in enumerate(lines) if number % 10 == 0)
        assert departures(POLYMARKET, records) == set()


def gzipped(path: Path, every: int, member: str | None) -> Iterator[bytes]:
    with gzip.open(path) as lines:
        for number, line in enumerate(line for line in lines if line.strip()):
            if number % every == 0:
                yield line if member is None else msgspec.json.encode(json.loads(line)[member])


def test_recorded_kalshi_streams(captures: Path) -> None:
    old = {"old_format trade (taker_side only, before May 2026)"}
    nba = min((captures / "recordings/kalshi/ws_nba_20260318").glob("*.gz"))
    assert framed(KALSHI, gzipped(nba, 40, None)) <= old
    gold = min((captures / "recordings/kalshi/ws_gold15m").glob("*.gz"))
    assert framed(KALSHI, gzipped(gold, 20, "event")) == set()


def test_recorded_stream_in_the_old_format(captures: Path) -> None:
    path = captures / "recordings/polymarket/ws_stream_old_format/btc_hourly_20250703.jsonl"
    found: set[str] = set()
    for line in path.read_text().splitlines():
        record = json.loads(line)
        frame = record.get("frame", record.get("raw", record.get("data", record)))
        raw = frame.encode() if isinstance(frame, str) else json.dumps(frame).encode()
        found |= {f"{d.sort} {d.name}" for d in POLYMARKET.frame(raw).departures}
    assert found == {"old_format price_change (changes, before September 2025)"}


CHANGE = {
    "event_type": "price_change",
    "market": "0x" + "0a" * 32,
    "timestamp": "1783516514216",
    "price_changes": [
        {
            "asset_id": "24",
            "price": "0.1",
            "size": "380",
            "side": "BUY",
            "hash": "ab" * 20,
            "best_bid": "",
            "best_ask": "1",
        }
    ],
}
DELTA = {
    "type": "orderbook_delta",
    "sid": 1,
    "seq": 2,
    "msg": {
        "market_ticker": "KXT-1",
        "market_id": "",
        "price_dollars": "0.0100",
        "delta_fp": "-10.00",
        "side": "yes",
        "ts": "2026-08-27T13:56:23.99Z",
        "ts_ms": 1787838983996,
    },
}


def edited(message: dict[str, Any], *path: str | int, to: object) -> bytes:
    copy: Any = json.loads(json.dumps(message))
    node = copy
    for key in path[:-1]:
        node = node[key]
    if to is None:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (edited(CHANGE, "level", to=2), {"unknown_field price_change.level"}),
        (edited(CHANGE, "price_changes", 0, "side", to="BID"), {"domain price_change.price_changes[].side"}),
        (edited(CHANGE, "price_changes", 0, "price", to="1.2"), {"domain price_change.price_changes[].price"}),
        (edited(CHANGE, "price_changes", 0, "price", to=0.1), {"domain price_change.price_changes[].price"}),
        (edited(CHANGE, "price_changes", 0, "n", to=0.1), {"unknown_field price_change.price_changes[].n"}),
        (edited(CHANGE, "price_changes", 0, "hash", to=None), {"missing_field price_change.price_changes[].hash"}),
        (edited(CHANGE, "event_type", to="price_update"), {"unknown_event price_update"}),
        (edited(CHANGE, "event_type", to=None), {"missing_field price_change.event_type"}),
        (edited(CHANGE, "timestamp", to="1783516514"), {"domain price_change.timestamp"}),
        (b"HELLO", {"unknown_event (text)"}),
        (b"PONG", set()),
        (b"[]", set()),
        (b'{"event_type":', {"unknown_event (no JSON)"}),
        (b"[1]", {"unknown_event (no object)"}),
        (json.dumps([CHANGE, CHANGE]).encode(), set()),
    ],
)
def test_polymarket_departures_are_named(frame: bytes, named: set[str]) -> None:
    assert framed(POLYMARKET, iter([frame])) == named


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (json.dumps(DELTA).encode() + b"\n", set()),
        (edited(DELTA, "msg", "fresh", to=1), {"unknown_field orderbook_delta.msg.fresh"}),
        (edited(DELTA, "fresh", to=1), {"unknown_field orderbook_delta.fresh"}),
        (edited(DELTA, "msg", "delta_fp", to="-10"), {"domain orderbook_delta.msg.delta_fp"}),
        (edited(DELTA, "msg", "side", to="buy"), {"domain orderbook_delta.msg.side"}),
        (edited(DELTA, "msg", "price_dollars", to="0.01"), {"domain orderbook_delta.msg.price_dollars"}),
        (edited(DELTA, "seq", to=None), {"missing_field orderbook_delta.seq"}),
        (edited(DELTA, "type", to="book_delta"), {"unknown_event book_delta"}),
        (
            b'{"type":"orderbook_delta","sid":1,"seq":1,"msg":{"market_ticker":"A","price":53,"delta":-4,"side":"no"}}',
            {"old_format orderbook_delta (cents, before March 2026)"},
        ),
    ],
)
def test_kalshi_departures_are_named(frame: bytes, named: set[str]) -> None:
    assert framed(KALSHI, iter([frame])) == named


@pytest.mark.parametrize(
    ("shapes", "frame", "kind"),
    [
        (POLYMARKET, json.dumps(CHANGE).encode(), "price_change"),
        (POLYMARKET, json.dumps(CHANGE, separators=(",", ":")).encode(), "price_change"),
        (POLYMARKET, b"PONG", ""),
        (KALSHI, json.dumps(DELTA).encode(), "orderbook_delta"),
        (KALSHI, b'{"id":102,"sid":2,"seq":7,"type":"unsubscribed"}', "unsubscribed"),
        (KALSHI, b"", ""),
    ],
)
def test_a_kind_is_told_at_a_glance(shapes: VenueShapes, frame: bytes, kind: str) -> None:
    assert shapes.guess(frame) == kind


def test_a_kind_is_never_reported_without_its_sort() -> None:
    for shapes in (POLYMARKET, KALSHI):
        for kind in shapes.shapes:
            found, _ = shapes.examine(kind, [])
            assert [departure.sort for departure in found] == [DriftSort.DOMAIN], kind

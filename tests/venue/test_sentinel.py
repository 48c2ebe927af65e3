"""The sentinel beside the road: a sample of each kind, all of the odd, within a budget, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from overround.clock import Clock, SystemClock
from overround.config import DriftSettings
from overround.storage import LakePaths, accept_drift, read_drift, read_quarantine
from overround.testing.clock import ManualClock
from overround.venue import sentinel as sentinel_module
from overround.venue.kalshi.profile import SHAPES
from overround.venue.polymarket.profile import SHAPES as POLYMARKET
from overround.venue.sentinel import DriftSentinel

NOON = 1_768_392_000_000
DAY = "2026-01-14"


def sentinel(root: Path, clock: Clock | None = None, **changes: object) -> DriftSentinel:
    settings = DriftSettings(**{"cpu_share": 0.5} | changes)
    return DriftSentinel(LakePaths(root), "kalshi", SHAPES, settings=settings, clock=clock or ManualClock(NOON))


def delta(seq: int, **fields: object) -> bytes:
    msg = {"market_ticker": "KXT-1", "market_id": "", "price_dollars": "0.0100", "delta_fp": "-10.00", "side": "yes",
           "ts": "2026-08-27T13:56:23.99Z", "ts_ms": 1787838983996}  # fmt: skip
    return json.dumps({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": msg | fields}).encode()


def send(watcher: DriftSentinel, *frames: bytes) -> None:
    for number, frame in enumerate(frames):
        watcher.frame(("kalshi-0.1", NOON * 1_000_000 + number, frame))


def set_aside(root: Path) -> list[tuple[str, str, bytes]]:
    files = LakePaths(root).quarantine_files("kalshi", DAY)
    return [(entry.why, entry.name, entry.wire) for path in files for entry in read_quarantine(path)]


async def test_documented_frames_leave_no_trace(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    send(watcher, *(delta(seq) for seq in range(1_000)))
    await watcher.close()
    counted = watcher.counters()
    assert (counted.frames, counted.names, counted.kept) == (1_000, 0, 0)
    assert 20 <= counted.examined <= 22, "one of fifty, and the first"
    assert set_aside(tmp_path) == []
    assert read_drift(LakePaths(tmp_path), "kalshi").found == {}


async def test_a_fresh_field_is_named_once_counted_and_set_aside(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    send(watcher, *(delta(seq, fresh=seq) for seq in range(500)))
    with capture_logs() as logs:
        await watcher.close()
    told = [entry for entry in logs if entry["event"] == "drift.found"]
    assert [(entry["sort"], entry["name"], entry["log_level"]) for entry in told] == [
        ("unknown_field", "orderbook_delta.msg.fresh", "warning")
    ]
    (entry,) = read_drift(LakePaths(tmp_path), "kalshi").found.values()
    assert (entry.first_ms, entry.count) == (NOON, watcher.counters().examined)
    kept = set_aside(tmp_path)
    assert len(kept) == watcher.counters().kept == 10
    assert kept[0][:2] == ("unknown_field", "orderbook_delta.msg.fresh")
    assert kept[0][2] == delta(0, fresh=0)


async def test_one_unknown_event_among_thousands_is_seen(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    odd = b'{"type":"halt","sid":1,"msg":{}}'
    send(watcher, *(delta(seq) for seq in range(3_000)), odd, *(delta(seq) for seq in range(3_000)))
    await watcher.close()
    assert [entry.key for entry in read_drift(LakePaths(tmp_path), "kalshi").found.values()] == ["unknown_event halt"]
    assert set_aside(tmp_path) == [("unknown_event", "halt", odd)]


async def test_every_unknown_event_is_counted_though_few_are_decoded(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    send(watcher, *(b'{"type":"halt","sid":1,"msg":{}}' for _ in range(2_000)))
    await watcher.close()
    (entry,) = read_drift(LakePaths(tmp_path), "kalshi").found.values()
    assert entry.count == 2_000
    assert watcher.counters().examined < 10


async def test_refused_frames_are_always_looked_at_and_set_aside(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    renamed = json.dumps(json.loads(delta(7))).replace("delta_fp", "delta_contracts").encode()
    torn = delta(8)[:40]
    for number, frame in enumerate((renamed, torn)):
        watcher.frame(("kalshi-0.1", number, frame))
        watcher.refused("kalshi-0.1", number, frame)
    await watcher.close()
    assert {(entry.key, entry.count) for entry in read_drift(LakePaths(tmp_path), "kalshi").found.values()} == {
        ("rejected orderbook_delta", 2),
        ("missing_field orderbook_delta.msg.delta_fp", 1),
        ("unknown_field orderbook_delta.msg.delta_contracts", 1),
    }
    assert [wire for _, _, wire in set_aside(tmp_path)] == [renamed, torn]


async def test_answers_are_sampled_by_record(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path)
    books = [{"ticker": f"KX-{n}", "orderbook_fp": {"yes_dollars": [], "no_dollars": [["0.01", 5]]}} for n in range(9)]
    watcher.answer("https://host/trade-api/v2/markets/orderbooks?tickers=A", json.dumps({"orderbooks": books}).encode())
    watcher.answer("https://host/trade-api/v2/markets/orderbooks", b'{"orderbooks":[1,')
    watcher.answer("https://host/trade-api/v2/account/limits", b"{}")
    await watcher.close()
    assert {entry.key for entry in read_drift(LakePaths(tmp_path), "kalshi").found.values()} == {
        "domain rest_orderbook.orderbook_fp.no_dollars",
        "domain rest:/trade-api/v2/markets/orderbooks",
    }
    assert all(b"no_dollars" in wire or b"[1," in wire for _, _, wire in set_aside(tmp_path))


async def test_a_flood_is_sampled_within_the_budget(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path, SystemClock(), cpu_share=0.0001)
    frame = delta(1)
    for _ in range(20):
        send(watcher, *([frame] * 8_000))
        watcher.look()
    counted = watcher.counters()
    assert counted.frames == 20 * 8_000
    assert 1 <= counted.examined < 1_000, "one of fifty would be 3,200: the budget was kept"


class Crowded(ManualClock):
    """On a machine where others take the processor for a second whenever one looks."""

    def monotonic_ns(self) -> int:
        self.skip_ms(1_000)
        return super().monotonic_ns()


@pytest.mark.skipif(not sentinel_module.COUNTS_FINELY, reason="processor time is counted too coarsely here")
async def test_waiting_for_the_processor_costs_no_budget(tmp_path: Path) -> None:
    watcher = sentinel(tmp_path, Crowded(NOON), cpu_share=0.1)
    send(watcher, *(delta(seq) for seq in range(500)))
    await watcher.close()
    assert watcher.counters().examined >= 10, "one of fifty"


async def test_of_a_long_batch_both_ends_are_examined_and_all_that_is_unknown(tmp_path: Path) -> None:
    watcher = DriftSentinel(
        LakePaths(tmp_path), "polymarket", POLYMARKET, settings=DriftSettings(cpu_share=0.5), clock=ManualClock(NOON)
    )
    book = {"event_type": "best_bid_ask", "market": "0x" + "a" * 64, "asset_id": "1", "best_bid": "0.1",
            "best_ask": "0.2", "spread": "0.1", "timestamp": "1787838983996"}  # fmt: skip
    batch = [book] * 50 + [book | {"event_type": "rumour"}] + [book] * 50
    send(watcher, json.dumps(batch).encode())
    await watcher.close()
    state = read_drift(LakePaths(tmp_path), "polymarket")
    assert state.kinds["best_bid_ask"].samples == 20
    assert list(state.found) == ["unknown_event rumour"]


async def test_what_was_accepted_is_logged_as_information_and_no_alarm(tmp_path: Path) -> None:
    first = sentinel(tmp_path)
    send(first, delta(1, fresh=1, strange=1))
    await first.close()
    accept_drift(LakePaths(tmp_path), "kalshi", frozenset({"orderbook_delta.msg.fresh"}), now_ms=NOON)
    second = sentinel(tmp_path)
    send(second, delta(2, fresh=2, strange=2))
    with capture_logs() as logs:
        await second.close()
    told = {entry["name"]: entry["log_level"] for entry in logs if entry["event"] == "drift.found"}
    assert told == {"orderbook_delta.msg.fresh": "info", "orderbook_delta.msg.strange": "warning"}
    assert second.counters().names == 1


async def test_a_later_run_remembers(tmp_path: Path) -> None:
    first = sentinel(tmp_path)
    send(first, delta(1, fresh=1))
    await first.close()
    second = sentinel(tmp_path)
    send(second, delta(2, fresh=2))
    with capture_logs() as logs:
        await second.close()
    (told,) = [entry for entry in logs if entry["event"] == "drift.found"]
    assert (told["first_seen_ms"], told["count"]) == (NOON, 2)
    state = read_drift(LakePaths(tmp_path), "kalshi")
    assert state.kinds["orderbook_delta"].samples == 2
    assert state.found["unknown_field orderbook_delta.msg.fresh"].count == 2
    assert len(LakePaths(tmp_path).quarantine_files("kalshi", DAY)) == 2

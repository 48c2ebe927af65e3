"""Whatever arrives, books equal a naive model, and only declared errors leave."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_polymarket import NS, T0, Scripted, assert_equal, encode, feed_with, send

from overround.errors import WireError
from overround.market import Integrity, MarketId
from overround.venue.polymarket import market_from_gamma, wire
from overround.venue.polymarket.parse import book_sides, deltas

SIDE = st.sampled_from(["BUY", "SELL"])
PX = st.one_of(st.integers(1, 99).map(lambda cents: cents * 100), st.integers(1, 999).map(lambda mills: mills * 10))
SZ = st.one_of(st.just(0), st.integers(1, 10**12), st.integers(1, 9_999).map(lambda lots: lots * 1_000_000))
TOKENS = st.sampled_from([(0, 1), (1, 0), (0,), (1,)])
AFTER = st.sampled_from([0, 0, 1, 7])

STEP = st.one_of(
    st.tuples(st.just("change"), SIDE, PX, SZ, TOKENS, AFTER),
    st.tuples(st.just("old"), SIDE, PX, SZ, st.booleans(), st.sampled_from([0, 1])),
    st.tuples(st.just("several"), st.lists(st.tuples(SIDE, PX, SZ), min_size=2, max_size=5)),
    st.tuples(st.just("book"), st.sampled_from([0, 1])),
    st.tuples(st.just("jump"), st.lists(st.tuples(SIDE, PX, SZ), max_size=5)),
    st.tuples(st.just("again")),
    st.tuples(st.just("noise"), st.sampled_from([b"PONG", b"[]", b'{"event_type":"new"}', b"NO NEW ASSETS"])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_any_run_of_changes_and_snapshots_leaves_the_naive_book(steps: list[tuple[Any, ...]]) -> None:
    script = Scripted(tick_e4=10)
    feed = feed_with(script)
    last = encode(script.dump())
    for step in steps:
        match step:
            case ("change", side, px, sz, tokens, after_ms):
                frame = encode(script.change(side, px, sz, tokens=tokens, after_ms=after_ms))
            case ("old", side, px, sz, flat, token):
                frame = encode([script.old_change(side, px, sz, flat=flat, token=token)])
            case ("several", changes):
                script.ts_ms += 1
                said = [script.change(side, px, sz, after_ms=0) for side, px, sz in changes]
                said[-1]["price_changes"] = [entry for each in said for entry in each["price_changes"]]
                frame = encode(said[-1])
            case ("book", token):
                frame = encode(script.book(token))
            case ("jump", changes):  # unannounced, then a whole book
                for side, px, sz in changes:
                    script.set(side, px, sz)
                script.ts_ms += 1
                frame = encode(script.book(0))
            case ("again",):
                frame = last
            case (_, frame):
                pass
        assert isinstance(feed.receive(frame, script.ts_ms * NS), bool)
        last = frame
        assert_equal(feed, script)
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.VERIFIED
    assert feed.books[market_id].live
    assert feed.counters.rejected == feed.counters.best_mismatches == feed.counters.gaps == 0
    assert feed.outbox == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SIDE, PX, SZ), min_size=2, max_size=20), st.data())
def test_a_missing_change_never_passes_for_verified(changes: list[tuple[str, int, int]], data: st.DataObject) -> None:
    script = Scripted(tick_e4=10)
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    frames = [encode(script.change(*change)) for change in changes]
    lost = data.draw(st.integers(0, len(frames) - 2))
    for n, frame in enumerate(frames):
        if n != lost:
            feed.receive(frame, script.ts_ms * NS)
    book = feed.books[market_id]
    right = (book.bids, book.asks) == (script.bids, script.asks)
    verdict = feed.verdict(market_id, now_ms=script.ts_ms)
    assert (verdict is Integrity.VERIFIED) is right
    assert book.live is right
    assert feed.deadline_ms() is not None
    if not right:
        feed.tick(now_ms=script.ts_ms + 500)
        send(feed, script, script.dump())
        assert_equal(feed, script)
        assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.VERIFIED


# --- fuzz -----------------------------------------------------------------------------------------------------------

SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["0.5", "1", "0", "BUY", "SELL", "book", "price_change", "1766481546000", "0.55555", "-1", "1e5"]),
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*at, name))
    if isinstance(value, list):
        for n, inner in enumerate(value):
            found += paths(inner, (*at, n))
    return found


def damage(data: st.DataObject, value: Any) -> Any:
    """The value with one to three of its parts replaced, removed or renamed."""
    value = json.loads(json.dumps(value))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, name = data.draw(st.sampled_from(paths(value) or [("none",)]))
        holder = value
        for step in above:
            holder = holder[step]
        how = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if how == "replace":
            holder[name] = data.draw(VALUE)
        elif isinstance(holder, dict) and name in holder:
            moved = holder.pop(name)
            if how == "rename":
                holder[f"x_{name}"] = moved
    return value


def originals(script: Scripted) -> list[Any]:
    tick = {"event_type": "tick_size_change", "market": script.market_id, "asset_id": script.tokens[0],
            "old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": str(T0)}  # fmt: skip
    trade = {"event_type": "last_trade_price", "market": script.market_id, "asset_id": script.tokens[0],
             "price": "0.5", "size": "1", "side": "BUY", "fee_rate_bps": "0", "timestamp": str(T0)}  # fmt: skip
    best = {"event_type": "best_bid_ask", "market": script.market_id, "asset_id": script.tokens[0],
            "best_bid": "0.49", "best_ask": "0.51", "timestamp": str(T0)}  # fmt: skip
    news = {"event_type": "market_resolved", "market": script.market_id, "winning_outcome": "Yes",
            "winning_asset_id": script.tokens[0], "assets_ids": list(script.tokens), "timestamp": str(T0)}  # fmt: skip
    return [
        script.book(0),
        script.dump(),
        script.change("BUY", 4_600, 3_000_000),
        script.old_change("SELL", 5_300, 2_000_000),
        script.old_change("SELL", 5_300, 1_000_000, flat=True),
        tick,
        trade,
        best,
        news,
    ]


def whole(feed: Any, script: Scripted) -> None:
    """Ladders hold positive sizes and the best prices are the best."""
    book = feed.books[MarketId(script.market_id)]
    assert all(sz > 0 and 0 <= px <= 10_000 for side in (book.bids, book.asks) for px, sz in side.items())
    assert book.best_bid_e4 == max(book.bids, default=-1)
    assert book.best_ask_e4 == min(book.asks, default=10_001)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_receive_never_raises_and_never_breaks_a_ladder(data: st.DataObject) -> None:
    script = Scripted()
    feed = feed_with(script, passive=data.draw(st.booleans()), check_each=data.draw(st.booleans()))
    if MarketId(script.market_id) not in feed.books:
        send(feed, script, script.dump())
    for _ in range(3):
        original = data.draw(st.sampled_from(originals(script)))
        frame = encode(damage(data, original))
        cut = data.draw(st.one_of(st.none(), st.integers(0, len(frame))))
        assert isinstance(feed.receive(frame[:cut], script.ts_ms * NS), bool)
        whole(feed, script)
        feed.verdict(MarketId(script.market_id), now_ms=T0)
        feed.tick(now_ms=script.ts_ms + 1_000)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), VALUE.map(encode)))
def test_only_wire_errors_leave_the_parsers(body: bytes) -> None:
    script = Scripted()
    feed = feed_with(script)
    feed.receive(body, T0 * NS)
    whole(feed, script)
    with suppress(WireError):
        event = wire.decode_event(body)
        with suppress(WireError):
            deltas(event)
        book_sides(event)
    for decode in (wire.decode_gamma_markets, wire.decode_gamma_events, wire.decode_books):
        with suppress(WireError):
            decode(body)
    with suppress(WireError):
        market_from_gamma(wire.decode_gamma_market(body), now_ms=T0)


GAMMA: dict[str, Any] = {
    "id": "1", "conditionId": "0x1", "questionID": "0x" + "ab" * 32, "question": "?", "outcomes": '["Yes","No"]',
    "outcomePrices": '["0","1"]', "clobTokenIds": '["1","2"]', "active": True, "closed": True, "negRisk": True,
    "acceptingOrders": True, "orderPriceMinTickSize": 0.01, "orderMinSize": 5, "endDate": "2026-05-31T12:00:00Z",
    "closedTime": "2026-05-31 12:00:00+00", "volumeNum": 1.5, "bestBid": 0.1, "bestAsk": 0.2, "line": 2.5,
    "sportsMarketType": "totals", "feesEnabled": True, "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True},
    "clobRewards": [{"rewardsDailyRate": 1, "startDate": "2026-01-01", "endDate": "2027-01-01"}],
    "negRiskMarketID": "0x" + "ab" * 31 + "00",
    "events": [{"id": "2", "title": "t", "series": [{"id": "3"}], "tags": [{"label": "x"}], "negRiskAugmented": True}],
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_listing_is_read_or_refused(data: st.DataObject) -> None:
    with suppress(WireError):
        found = market_from_gamma(wire.decode_gamma_market(encode(damage(data, GAMMA))), now_ms=T0)
        assert len(set(found.outcome_ids)) == 2
        assert found.market_id

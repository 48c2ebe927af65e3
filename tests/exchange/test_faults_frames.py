"""Faults on frames and connections: each does what it says, to whom it says, and writes it down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from handmade import T0, Client, Rig, kalshi_listing, polymarket_listing
from starlette.testclient import TestClient

from overround.errors import ConfigError
from overround.exchange.fault_script import KINDS, Fault, FaultScript
from overround.market import Venue

PM, KA = Venue.POLYMARKET, Venue.KALSHI
P1, P2 = polymarket_listing(1).key, polymarket_listing(2).key
K1, K2 = kalshi_listing(1).key, kalshi_listing(2).key
FIRST = {PM: P1, KA: K1}
SECOND = {PM: P2, KA: K2}
BOTH = pytest.mark.parametrize("venue", [PM, KA])


def _fault(kind: str, venue: Venue, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "venue": venue.value, "at_ms": 0, **more}


def _prices(frames: list[Any]) -> list[str]:
    """Prices of the changes among frames, in order."""
    found = []
    for frame in frames:
        if frame.get("type") == "orderbook_delta":
            found.append(frame["msg"]["price_dollars"][:4])
        elif frame.get("event_type") == "price_change":
            found.append(f"{float(frame['price_changes'][0]['price']):.2f}")
    return found


def _feed(rig: Rig, client: Client, venue: Venue, *prices: int, key: str | None = None) -> list[str]:
    for px in prices:
        rig.change(venue, key=key, px=px)
        rig.step(1)
    return _prices(client.take())


@BOTH
def test_a_dropped_frame_is_lost_and_logged_with_its_market(venue: Venue) -> None:
    rig = Rig(_fault("drop", venue, params={"count": 2}))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200, 1300) == ["0.13"]
    (record,) = rig.records(venue)
    assert (record["state"], record["frames"], record["connection"]) == ("done", 2, f"{venue}-1")
    assert record["markets"][FIRST[venue]]["frames"] == 2
    assert (record["first_ms"], record["last_ms"]) == (T0, T0 + 1)


def test_a_dropped_kalshi_frame_leaves_a_hole_in_the_numbers() -> None:
    rig = Rig(_fault("drop", KA))
    client = rig.subscribed(KA)
    rig.step()
    for px in (1100, 1200):
        rig.change(KA, px=px)
    assert [frame["seq"] for frame in client.take()] == [4], "two snapshots, then 3 is missing"


@BOTH
def test_every_nth_frame_can_be_dropped_for_a_while(venue: Venue) -> None:
    rig = Rig(_fault("drop", venue, duration_ms=50, params={"every": 2}))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200, 1300, 1400) == ["0.11", "0.13"]
    rig.step(60)
    assert _feed(rig, client, venue, 1500, 1600) == ["0.15", "0.16"]
    assert rig.records(venue)[0]["frames"] == 2


@BOTH
def test_a_duplicate_is_byte_for_byte_the_same(venue: Venue) -> None:
    rig = Rig(_fault("duplicate", venue))
    client = rig.subscribed(venue)
    rig.step()
    rig.change(venue)
    client.link.flush()
    first, second = client.wire.take()
    assert first == second


@BOTH
def test_reordered_frames_change_places(venue: Venue) -> None:
    rig = Rig(_fault("reorder", venue))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200, 1300) == ["0.12", "0.11", "0.13"]


@BOTH
def test_a_held_frame_leaves_even_without_successor(venue: Venue) -> None:
    rig = Rig(_fault("reorder", venue))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100) == []
    rig.step(2_001)
    assert _prices(client.take()) == ["0.11"]


@BOTH
def test_a_late_frame_arrives_after_its_successors(venue: Venue) -> None:
    rig = Rig(_fault("late", venue, params={"delay_ms": 500}))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200, 1300) == ["0.12", "0.13"]
    rig.step(500)
    assert _prices(client.take()) == ["0.11"]
    assert rig.records(venue)[0]["state"] == "done"


@BOTH
def test_silence_keeps_heartbeats_alive_and_loses_the_rest(venue: Venue) -> None:
    rig = Rig(_fault("silence", venue, duration_ms=100))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200) == []
    if venue is PM:
        assert client.send("PING") == ["PONG"]
    else:
        rig.step(501)
        assert b"heartbeat" in bytes(client.wire.data) or client.link.flush() is None
    rig.step(101)
    client.take()
    assert _feed(rig, client, venue, 1300) == ["0.13"]
    record = rig.records(venue)[0]
    assert (record["frames"], record["until_ms"]) == (2, T0 + 100)


@BOTH
def test_a_stall_ends_in_a_burst_in_order(venue: Venue) -> None:
    rig = Rig(_fault("stall", venue, duration_ms=100))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100, 1200, 1300) == []
    rig.step(100)
    assert _prices(client.take()) == ["0.11", "0.12", "0.13"]


@BOTH
def test_a_lag_delays_every_frame_and_ends_without_overtaking(venue: Venue) -> None:
    rig = Rig(_fault("lag", venue, duration_ms=100, params={"delay_ms": 60}))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100) == []
    rig.step(60)
    assert _prices(client.take()) == ["0.11"]
    rig.step(30)
    assert _feed(rig, client, venue, 1200) == []
    rig.step(20)
    assert _feed(rig, client, venue, 1300) == [], "the lag is over, its last frame is not there yet"
    rig.step(60)
    assert _prices(client.take()) == ["0.12", "0.13"]
    assert _feed(rig, client, venue, 1400) == ["0.14"]
    assert rig.records(venue)[0]["state"] == "done"


def test_silence_of_one_channel_while_others_flow() -> None:
    rig = Rig(_fault("silence", KA, duration_ms=100, params={"frames": ["ticker"]}))
    client = rig.subscribed(KA)
    client.send({"id": 2, "cmd": "subscribe", "params": {"channels": ["ticker"]}})
    rig.step()
    assert _feed(rig, client, KA, 1100) == ["0.11"]
    rig.step(50)
    assert client.take() == []
    rig.step(2_000)
    rig.change(KA, px=1200)
    rig.step(1_000)
    assert [frame["type"] for frame in client.take()] == ["orderbook_delta", "ticker"]


@BOTH
def test_one_mute_market_falls_silent_among_living_siblings(venue: Venue) -> None:
    rig = Rig(_fault("mute_token", venue, market=FIRST[venue], params={"revive": 1.0}))
    client = rig.subscribed(venue)
    rig.step()
    assert _feed(rig, client, venue, 1100) == []
    assert _feed(rig, client, venue, 1200, key=SECOND[venue]) == ["0.12"]
    if venue is KA:
        rig.change(venue, key=K2, px=1300)
        assert [frame["seq"] for frame in client.take()] == [4], "no hole tells of it"
        update = {"sid": 1, "market_tickers": [K1], "action": "delete_markets"}
        client.send({"id": 2, "cmd": "update_subscription", "params": update})
        update = {"sid": 1, "market_tickers": [K1], "action": "add_markets"}
        assert len(client.send({"id": 3, "cmd": "update_subscription", "params": update})) == 2
    else:
        tokens = list(polymarket_listing(1).tokens)
        client.send({"operation": "unsubscribe", "assets_ids": tokens})
        assert len(client.send({"operation": "subscribe", "assets_ids": tokens})[0]) == 2
    assert _feed(rig, client, venue, 1400) == ["0.14"], "a fresh subscription revived it"
    record = rig.records(venue)[0]
    assert (record["state"], record["market"], record["frames"]) == ("done", FIRST[venue], 1)


@BOTH
def test_a_mute_market_may_stay_dead_after_a_fresh_subscription(venue: Venue) -> None:
    rig = Rig(_fault("mute_token", venue, market=FIRST[venue], params={"revive": 0.0}))
    client = rig.subscribed(venue)
    rig.step()
    if venue is KA:
        update = {"sid": 1, "market_tickers": [K1], "action": "get_snapshot"}
        assert client.send({"id": 2, "cmd": "update_subscription", "params": update}) == []
    else:
        tokens = list(polymarket_listing(1).tokens)
        client.send({"operation": "unsubscribe", "assets_ids": tokens})
        assert client.send({"operation": "subscribe", "assets_ids": tokens}) == [[]]
    assert _feed(rig, client, venue, 1400) == []


@BOTH
def test_a_missing_first_book_is_never_sent_but_its_changes_are(venue: Venue) -> None:
    rig = Rig(_fault("missing_first_book", venue, market=FIRST[venue]))
    rig.step()
    client = rig.subscribed(venue)
    if venue is PM:
        (dump,) = client.first
        assert {book["market"] for book in dump} == {P1, P2}
        assert len(dump) == 3, "one token's book is missing"
    else:
        assert [(f["seq"], f["msg"]["market_ticker"]) for f in client.first if "seq" in f] == [(2, K2)]
    assert _feed(rig, client, venue, 1100) == ["0.11"]
    assert rig.records(venue)[0]["state"] == "done"


@BOTH
def test_a_cut_frame_is_half_a_text_or_half_the_bytes(venue: Venue) -> None:
    rig = Rig(_fault("cut_frame", venue), _fault("cut_frame", venue, at_ms=10, params={"mode": "wire"}))
    client = rig.subscribed(venue)
    rig.step()
    rig.change(venue)
    (half,) = client.take()
    assert isinstance(half, str)
    assert half.startswith("{")
    rig.step(10)
    rig.change(venue, px=1200)
    assert client.wire.ended == "hang_up"
    size = int.from_bytes(client.wire.data[2:4], "big")
    assert 0 < len(client.wire.data) - 4 < size


@BOTH
def test_renamed_and_extra_fields(venue: Venue) -> None:
    rig = Rig(_fault("renamed_field", venue), _fault("extra_field", venue, at_ms=10))
    client = rig.subscribed(venue)
    rig.step()
    rig.change(venue)
    (renamed,) = client.take()
    assert "price_changes" not in str(renamed)
    assert "delta_fp" not in str(renamed)
    rig.step(10)
    rig.change(venue, px=1200)
    (longer,) = client.take()
    assert longer["unheard_of"] == {"a": [1, "2"]}
    assert len(_prices([longer])) == 1


def test_polymarket_falls_back_to_its_old_format_for_a_while() -> None:
    rig = Rig(_fault("old_format", PM, duration_ms=10))
    client = rig.subscribed(PM)
    rig.step()
    rig.change(PM)
    ((first, second),) = client.take()
    assert first["changes"] == [{"price": "0.41", "side": "BUY", "size": "3"}]
    assert second["changes"][0]["side"] == "SELL"
    rig.step(10)
    assert _feed(rig, client, PM, 1200) == ["0.12"]


@pytest.mark.parametrize(
    ("mode", "ended"), [("abort", "abort"), ("hang_up", "hang_up"), (1001, "1001 closed by script")]
)
def test_a_connection_ends_as_the_script_says(mode: object, ended: str) -> None:
    rig = Rig(_fault("close", PM, params={"mode": mode}), _fault("close", KA, params={"mode": mode}))
    clients = [rig.subscribed(venue) for venue in (PM, KA)]
    rig.step()
    assert [client.wire.ended for client in clients] == [ended, ended]
    assert sorted(rig.records(PM)[0]["markets"]) == sorted([P1, P2])


def test_a_sequence_gap_leaves_out_numbers_on_kalshi_and_a_change_on_polymarket() -> None:
    rig = Rig(_fault("sequence_gap", PM), _fault("sequence_gap", KA, params={"count": 3}))
    polymarket, kalshi = rig.subscribed(PM), rig.subscribed(KA)
    rig.step()
    assert _feed(rig, polymarket, PM, 1100, 1200) == ["0.12"]
    rig.change(KA, px=1100)
    assert [frame["seq"] for frame in kalshi.take()] == [6]
    assert rig.records(KA)[0]["first_missing_seq"] == 3


def test_an_underflow_takes_more_than_there_is_with_a_correct_number() -> None:
    rig = Rig(_fault("underflow", KA, market=K1))
    client = rig.subscribed(KA)
    rig.step()
    (forged,) = client.take()
    assert (forged["seq"], forged["msg"]["market_ticker"]) == (3, K1)
    assert forged["msg"]["delta_fp"] == "-11.00", "the best YES level holds 10"
    assert rig.records(KA)[0]["forged"]["seq"] == 3


@BOTH
def test_an_unknown_event_carries_no_number(venue: Venue) -> None:
    rig = Rig(_fault("unknown_event", venue, params={"name": "surprise", "count": 2}))
    client = rig.subscribed(venue)
    rig.step()
    first, second = client.take()
    assert "surprise" in {first.get("type"), first.get("event_type")}
    assert "seq" not in second


def test_a_terminal_error_ends_the_book_subscription_only() -> None:
    rig = Rig(_fault("terminal_error", KA, params={"code": 10}))
    client = rig.subscribed(KA)
    rig.step()
    (error,) = client.take()
    assert (error["msg"]["code"], error["sid"], error["seq"]) == (10, 1, 3)
    assert _feed(rig, client, KA, 1100) == []
    assert client.subscribe(K1)[0]["msg"]["sid"] == 2


def test_upgrades_are_refused_or_let_in_and_dropped() -> None:
    rig = Rig(
        _fault("refuse", PM, duration_ms=100),
        _fault("refuse", KA, duration_ms=100, params={"status": 429}),
        _fault("close_on_open", PM, at_ms=200, duration_ms=100),
    )
    desk = rig.exchange.desk
    assert desk.refusal(PM) is None
    rig.step()
    assert (desk.refusal(PM), desk.refusal(KA)) == (0, 429)
    rig.step(100)
    assert (desk.refusal(PM), desk.refusal(KA)) == (None, None)
    rig.step(100)
    assert rig.client(PM).wire.ended == "abort"
    assert rig.client(KA).wire.ended is None
    rig.step(100)
    assert rig.client(PM).wire.ended is None
    assert rig.records(PM)[1]["connections"] == ["polymarket-1"]


def test_maintenance_ends_connections_and_says_so() -> None:
    rig = Rig(_fault("maintenance", KA, duration_ms=1_000))
    client = rig.subscribed(KA)
    rig.step()
    assert client.wire.ended == "1001 maintenance"
    assert rig.exchange.desk.refusal(KA) == 503
    assert rig.exchange.desk.paused(KA)
    with TestClient(rig.exchange.app()) as rest:
        answer = rest.get("/trade-api/v2/exchange/status")
        assert (answer.status_code, answer.json()["trading_active"]) == (503, False), "an error with the usual body"
    rig.step(1_000)
    assert not rig.exchange.desk.paused(KA)


def test_a_tick_change_and_a_resolution_happen_to_a_watched_market() -> None:
    rig = Rig(
        _fault("tick_change", PM, market=P1),
        _fault("resolution", PM, market=P2, params={"result": 1}),
        _fault("resolution", KA, market=K2, params={"result": 0}),
    )
    client = rig.client(PM)
    client.subscribe(P1, P2, custom_feature_enabled=True)
    kalshi = rig.subscribed(KA)
    kalshi.send({"id": 5, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}})
    rig.step()
    rig.step()
    kinds = [frame["event_type"] for frame in client.take()]
    assert kinds == ["tick_size_change", "tick_size_change", "market_resolved"]
    assert rig.polymarket.listings[P1].tick_e4 == 10
    assert [frame["msg"]["event_type"] for frame in kalshi.take()] == ["close_date_updated", "determined"]
    assert rig.kalshi.listings[K2].result == 0
    rig.change(PM, key=P2, px=1100)
    rig.change(KA, key=K2, px=1100)
    assert client.take() == kalshi.take() == [], "a resolved market is silent"


# ---------------------------------------------------------------- scripts


def test_a_fault_waits_for_its_connection() -> None:
    rig = Rig(_fault("drop", PM, connection=2))
    first = rig.subscribed(PM)
    rig.step()
    assert rig.records(PM)[0]["state"] == "waiting"
    second = rig.subscribed(PM)
    rig.step(50)
    rig.change(PM)
    assert len(first.take()) == 1
    assert second.take() == []
    assert rig.records(PM)[0]["ts_ms"] == T0 + 50


def test_a_fault_on_all_connections_takes_hold_of_later_ones() -> None:
    rig = Rig(_fault("silence", PM, connection="all", duration_ms=100))
    rig.step()
    client = rig.subscribed(PM)
    assert client.first == []
    rig.step(100)
    assert _feed(rig, client, PM, 1100) == ["0.11"]


def test_a_fault_may_wait_for_a_number_of_frames() -> None:
    rig = Rig({"kind": "drop", "venue": "kalshi", "after_frames": 5})
    client = rig.subscribed(KA)
    assert _feed(rig, client, KA, 1100, 1200, 1300, 1400) == ["0.11", "0.12", "0.14"]


def test_two_faults_share_a_connection_and_each_loss_is_logged_once() -> None:
    rig = Rig(_fault("drop", PM), _fault("duplicate", PM))
    client = rig.subscribed(PM)
    rig.step()
    assert _feed(rig, client, PM, 1100, 1200) == ["0.12", "0.12"]
    assert [record["frames"] for record in rig.records(PM)] == [1, 1]


def test_a_closed_connection_takes_its_faults_along() -> None:
    rig = Rig(_fault("drop", PM, params={"count": 100}))
    client = rig.subscribed(PM)
    rig.step()
    rig.exchange.hubs[PM].detach(client.link)
    rig.exchange.desk.closed(PM, client.link)
    assert rig.records(PM)[0]["state"] == "done"


def test_the_truth_knows_when_connections_lived_and_what_a_fault_loses() -> None:
    rig = Rig(_fault("close", PM), _fault("duplicate", PM, at_ms=10_000), _fault("sequence_gap", KA, at_ms=10_000))
    client = rig.subscribed(PM)
    rig.step(30)
    rig.exchange.hubs[PM].detach(client.link)
    rig.exchange.desk.closed(PM, client.link)
    rig.subscribed(PM)
    with TestClient(rig.exchange.app()) as rest:
        first, second = rest.get("/truth/polymarket/connections").json()
        assert (first["name"], first["opened_ms"], first["closed_ms"]) == ("polymarket-1", T0, T0 + 30)
        assert (second["name"], second["closed_ms"], second["frames"]) == ("polymarket-2", None, 1)
        assert rest.get("/truth/kalshi/connections").json() == []
        assert [fault["loses"] for fault in rest.get("/truth/polymarket/faults").json()] == [True, False]
        assert [fault["loses"] for fault in rest.get("/truth/kalshi/faults").json()] == [False]


def test_the_same_seed_draws_the_same_targets() -> None:
    def run(seed: int) -> list[Any]:
        rig = Rig(*[_fault("mute_token", KA, at_ms=n) for n in range(4)], seed=seed)
        rig.subscribed(KA)
        rig.subscribed(KA)
        rig.step(10)
        return [(record["connection"], record["market"]) for record in rig.records(KA)]

    assert run(1) == run(1)
    assert len({str(run(seed)) for seed in range(6)}) > 1


def test_scripts_round_trip_and_are_drawn_from_a_seed() -> None:
    script = FaultScript.drawn(11, venues=[PM, KA], count=50, span_ms=60_000)
    assert FaultScript.from_json(script.to_json()) == script
    assert script == FaultScript.drawn(11, venues=[PM, KA], count=50, span_ms=60_000)
    assert script != FaultScript.drawn(12, venues=[PM, KA], count=50, span_ms=60_000)
    assert len({fault.kind for fault in script.faults}) > 15


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"kind":"flood","venue":"kalshi"}]', "flood"),
        ('[{"kind":"underflow","venue":"polymarket"}]', "kalshi only"),
        ('[{"kind":"drop","venue":"kalshi","when":3}]', "when"),
        ('{"kind":"drop"}', "array"),
    ],
)
def test_a_wrong_script_is_refused_with_the_value_that_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FaultScript.from_json(text)


def test_a_script_is_read_from_a_file_that_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind":"drop","venue":"kalshi","at_ms":5}]')
    assert FaultScript.from_file(path).faults == (Fault(kind="drop", venue=KA, at_ms=5),)
    with pytest.raises(ConfigError, match="absent"):
        FaultScript.from_file(tmp_path / "absent.json")


def test_every_kind_survives_a_busy_exchange() -> None:
    script = [
        _fault(kind, venue, at_ms=10 * n, duration_ms=25)
        for n, kind in enumerate(KINDS)
        for venue in (PM, KA)
        if not ((kind in {"underflow", "terminal_error"} and venue is PM) or (kind == "old_format" and venue is KA))
    ]
    rig = Rig(*script)
    clients = {venue: rig.subscribed(venue) for venue in (PM, KA)}
    for n in range(80):
        for venue, client in clients.items():
            rig.change(venue, px=1100 + n, sz=1_000_000 + n * 10_000)
            rig.change(venue, key=SECOND[venue], px=1100 + n, sz=1_000_000 + n * 10_000)
            if client.link.closed:
                rig.exchange.hubs[venue].detach(client.link)
                rig.exchange.desk.closed(venue, client.link)
                clients[venue] = rig.subscribed(venue)
        rig.step(10)
    rig.step(5_000)
    unfinished = [r["kind"] for venue in (PM, KA) for r in rig.records(venue) if r["state"] != "done"]
    assert unfinished == []


def test_a_fault_added_at_run_time_counts_from_now_and_can_be_ended() -> None:
    rig = Rig()
    client = rig.subscribed(PM)
    rig.step(1_000)
    number = rig.exchange.desk.add(Fault(kind="silence", venue=PM, at_ms=50))
    assert _feed(rig, client, PM, 1100) == ["0.11"]
    rig.step(50)
    assert _feed(rig, client, PM, 1200) == []
    assert rig.exchange.desk.end(number)
    assert not rig.exchange.desk.end(number)
    assert _feed(rig, client, PM, 1300) == ["0.13"]

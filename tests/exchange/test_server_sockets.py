"""The running exchange over real sockets: both venues, signatures, faults at the door and on REST."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from handmade import HandSource, kalshi_listing, polymarket_listing
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from overround.errors import ConfigError
from overround.exchange.server import Exchange
from overround.exchange.settings import ExchangeOptions
from overround.exchange.signature import SigningKey, test_signing_key
from overround.exchange.thread import ExchangeThread

pytestmark = pytest.mark.integration


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class World:
    """A running exchange with two sources made by hand."""

    def __init__(self) -> None:
        now = _now_ms()
        self.polymarket = HandSource([polymarket_listing(n) for n in range(1, 6)], now_ms=now)
        self.kalshi = HandSource([kalshi_listing(n) for n in range(1, 6)], now_ms=now)
        self.key: SigningKey = test_signing_key()
        exchange = Exchange(
            self.polymarket,
            self.kalshi,
            port=0,
            kalshi_public_key=self.key.public_pem,
            kalshi_key_id=self.key.key_id,
        )
        self.thread = ExchangeThread(exchange)

    def headers(self, stamp_ms: int | None = None) -> dict[str, str]:
        private = serialization.load_pem_private_key(self.key.private_pem, None)
        assert isinstance(private, ed25519.Ed25519PrivateKey)
        stamp = _now_ms() if stamp_ms is None else stamp_ms
        return {
            "KALSHI-ACCESS-KEY": self.key.key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(stamp),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(private.sign(f"{stamp}GET/trade-api/ws/v2".encode())).decode(),
        }

    def polymarket_socket(self) -> connect:
        return connect(self.thread.urls.polymarket_ws_url, proxy=None, compression=None)

    def kalshi_socket(self, **headers: str) -> connect:
        return connect(
            self.thread.urls.kalshi_ws_url, proxy=None, additional_headers=headers or self.headers(), compression=None
        )

    def happen(self, venue: str, px: int) -> None:
        source = self.polymarket if venue == "polymarket" else self.kalshi
        key = next(iter(source.listings))
        self.thread.call(lambda: source.level(key, _now_ms(), bid=True, px=px, sz=3_000_000))

    def fault(self, **fault: Any) -> None:
        httpx2.post(self.thread.urls.faults_url, json=fault).raise_for_status()

    def injected(self, venue: str) -> list[dict[str, Any]]:
        return httpx2.get(f"{self.thread.urls.truth_url}/{venue}/faults").json()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    with world.thread:
        yield world


async def _subscribed(world: World, ws: ClientConnection) -> Any:
    tokens = [token for listing in world.polymarket.listings.values() for token in listing.tokens]
    await ws.send(json.dumps({"assets_ids": tokens, "type": "market"}))
    return json.loads(await ws.recv())


async def test_polymarket_speaks_over_a_real_socket(world: World) -> None:
    async with world.polymarket_socket() as ws:
        dump = await _subscribed(world, ws)
        assert len(dump) == 10
        await ws.send("PING")
        assert await ws.recv() == "PONG"
        world.happen("polymarket", 4150)
        frame = json.loads(await asyncio.wait_for(ws.recv(), 5))
        assert frame["price_changes"][0]["price"] == "0.415"


async def test_kalshi_lets_in_only_signed_upgrades(world: World) -> None:
    with pytest.raises(InvalidStatus) as unsigned:
        async with world.kalshi_socket(a="b"):
            pass
    assert unsigned.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as old:
        async with world.kalshi_socket(**world.headers(_now_ms() - 60_000)):
            pass
    assert old.value.response.status_code == 401
    async with world.kalshi_socket() as ws:
        key = next(iter(world.kalshi.listings))
        command = {"channels": ["orderbook_delta"], "market_tickers": [key]}
        await ws.send(json.dumps({"id": 1, "cmd": "subscribe", "params": command}))
        assert json.loads(await ws.recv())["type"] == "subscribed"
        assert json.loads(await ws.recv())["seq"] == 1
        world.happen("kalshi", 4200)
        assert json.loads(await asyncio.wait_for(ws.recv(), 5))["msg"]["price_dollars"] == "0.4200"


async def test_another_path_is_not_found(world: World) -> None:
    with pytest.raises(InvalidStatus) as found:
        async with connect(world.thread.urls.polymarket_ws_url + "x", proxy=None):
            pass
    assert found.value.response.status_code == 404


@pytest.mark.parametrize(("mode", "code"), [("abort", 1006), ("hang_up", 1006), (4000, 4000)])
async def test_a_scripted_end_is_seen_by_the_client(world: World, mode: object, code: int) -> None:
    async with world.polymarket_socket() as ws:
        await _subscribed(world, ws)
        world.fault(kind="close", venue="polymarket", params={"mode": mode})
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)
        assert (ws.close_code or 1006) == code


async def test_a_frame_cut_on_the_wire_ends_the_connection(world: World) -> None:
    async with world.polymarket_socket() as ws:
        await _subscribed(world, ws)
        world.fault(kind="cut_frame", venue="polymarket", params={"mode": "wire"})
        await asyncio.sleep(0.1)
        world.happen("polymarket", 4160)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)


async def test_the_door_can_be_shut_with_and_without_an_answer(world: World) -> None:
    world.fault(kind="refuse", venue="polymarket", duration_ms=400, params={"status": 429})
    await asyncio.sleep(0.15)
    with pytest.raises(InvalidStatus) as refused:
        async with world.polymarket_socket():
            pass
    assert refused.value.response.status_code == 429
    await asyncio.sleep(0.4)
    world.fault(kind="refuse", venue="polymarket", duration_ms=400)
    await asyncio.sleep(0.15)
    with pytest.raises((InvalidMessage, OSError)):
        async with world.polymarket_socket():
            pass
    await asyncio.sleep(0.4)
    async with world.polymarket_socket() as ws:
        assert await _subscribed(world, ws)


async def test_let_in_and_dropped_at_once(world: World) -> None:
    world.fault(kind="close_on_open", venue="polymarket", duration_ms=500)
    await asyncio.sleep(0.15)
    with pytest.raises(ConnectionClosed):
        async with world.polymarket_socket() as ws:
            await asyncio.wait_for(ws.recv(), 5)
    await asyncio.sleep(0.5)
    assert world.injected("polymarket")[-1]["connections"] != []


def _until(world: World, venue: str) -> None:
    deadline = time.monotonic() + 5
    while world.injected(venue)[-1]["state"] == "waiting" and time.monotonic() < deadline:
        time.sleep(0.01)


def test_rest_answers_can_be_errors_pages_slow_or_cut(world: World) -> None:
    gamma, kalshi = world.thread.urls.gamma_url, world.thread.urls.kalshi_rest_url
    world.fault(kind="http_status", venue="kalshi", params={"status": 429, "count": 1})
    _until(world, "kalshi")
    answer = httpx2.get(f"{kalshi}/markets")
    assert (answer.status_code, answer.json()) == (429, {"error": "too many requests"})
    assert "retry-after" not in answer.headers
    assert httpx2.get(f"{kalshi}/markets").status_code == 200
    world.fault(kind="http_status", venue="kalshi", params={"status": 425, "count": 1, "retry_after": 3})
    _until(world, "kalshi")
    assert httpx2.get(f"{kalshi}/markets").headers["retry-after"] == "3"
    world.fault(kind="http_status", venue="kalshi", params={"count": 1, "retry_after": 3, "as_date": True})
    _until(world, "kalshi")
    assert httpx2.get(f"{kalshi}/markets").headers["retry-after"].endswith("GMT")
    world.fault(kind="http_html", venue="polymarket", params={"count": 1, "path": "/markets"})
    _until(world, "polymarket")
    assert httpx2.get(f"{gamma}/events/keyset").status_code == 200
    page = httpx2.get(f"{gamma}/markets/keyset")
    assert page.status_code == 502
    assert page.text.startswith("<!DOCTYPE html>")
    world.fault(kind="http_slow", venue="polymarket", params={"count": 1, "delay_ms": 300})
    _until(world, "polymarket")
    began = time.monotonic()
    httpx2.get(f"{gamma}/markets/keyset").raise_for_status()
    assert time.monotonic() - began > 0.25
    world.fault(kind="http_cut", venue="polymarket", params={"count": 1})
    _until(world, "polymarket")
    with pytest.raises(json.JSONDecodeError):
        httpx2.get(f"{gamma}/markets/keyset").json()
    assert world.injected("polymarket")[-1]["frames"] == 1


def test_cursors_can_stand_still_and_pages_shift(world: World) -> None:
    gamma, kalshi = world.thread.urls.gamma_url, world.thread.urls.kalshi_rest_url
    first = httpx2.get(f"{gamma}/markets/keyset", params={"limit": 2}).json()
    world.fault(kind="stuck_cursor", venue="polymarket", params={"count": 1})
    _until(world, "polymarket")
    stuck = httpx2.get(f"{gamma}/markets/keyset", params={"limit": 2, "after_cursor": first["next_cursor"]}).json()
    assert stuck["next_cursor"] == first["next_cursor"]
    begin = httpx2.get(f"{kalshi}/markets", params={"limit": 2}).json()
    world.fault(kind="stuck_cursor", venue="kalshi", params={"count": 1})
    _until(world, "kalshi")
    stuck = httpx2.get(f"{kalshi}/markets", params={"limit": 2, "cursor": begin["cursor"]}).json()
    assert stuck["cursor"] == begin["cursor"]
    for url, venue, params, name in (
        (f"{gamma}/markets/keyset", "polymarket", {"limit": 2, "after_cursor": first["next_cursor"]}, "markets"),
        (f"{kalshi}/markets", "kalshi", {"limit": 2, "cursor": begin["cursor"]}, "markets"),
    ):
        straight = httpx2.get(url, params=params).json()[name]
        world.fault(kind="shifted_pages", venue=venue, duration_ms=2_000, params={"rows": 1})
        _until(world, venue)
        shifted = httpx2.get(url, params=params).json()[name]
        assert shifted[1] == straight[0], "one row comes a second time"
        number = world.injected(venue)[-1]["id"]
        assert httpx2.delete(f"{world.thread.urls.faults_url}/{number}").json() == {"ended": True}


def test_a_wrong_fault_is_refused_at_run_time(world: World) -> None:
    answer = httpx2.post(world.thread.urls.faults_url, json={"kind": "flood", "venue": "kalshi"})
    assert answer.status_code == 422
    assert "flood" in answer.json()["error"]


def test_a_taken_port_is_a_named_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        thread = ExchangeThread(Exchange(HandSource([polymarket_listing(1)]), port=port))
        with pytest.raises(ConfigError, match=str(port)):
            thread.start()


def test_an_exchange_starts_again_on_its_ports_and_serves_one_venue_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    for _ in range(2):
        with ExchangeThread(Exchange(HandSource([polymarket_listing(1)]), port=port)) as thread:
            assert f":{port}/" in thread.urls.gamma_url
            assert f":{port + 1}/" in thread.urls.polymarket_ws_url
            assert httpx2.get(f"{thread.urls.gamma_url}/markets/500001").status_code == 200
            assert httpx2.get(f"{thread.urls.kalshi_rest_url}/markets").status_code == 404
            assert httpx2.get(f"{thread.urls.truth_url}/kalshi/markets").status_code == 404


def test_a_failing_source_stops_the_exchange_and_says_why() -> None:
    source = HandSource([polymarket_listing(1)])
    thread = ExchangeThread(Exchange(source, port=0)).start()
    source.next_ms = lambda: 1 // 0  # type: ignore[method-assign]
    thread._thread.join(5)
    with pytest.raises(ZeroDivisionError):
        thread.stop()


async def test_an_exchange_runs_until_it_is_cancelled_or_fails() -> None:
    exchange = Exchange(HandSource([polymarket_listing(1)]), port=0)
    running = asyncio.create_task(exchange.run())
    while not exchange.tasks:
        await asyncio.sleep(0.01)
    url = exchange.urls.gamma_url
    async with httpx2.AsyncClient() as client:
        assert (await client.get(f"{url}/markets/500001")).status_code == 200
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(RuntimeError):
        _ = exchange.urls


async def test_upgrades_beyond_a_rate_get_429_and_sockets_can_use_tls(tmp_path: Path) -> None:
    server, client = _tls_contexts(tmp_path)
    options = ExchangeOptions(opens_per_s=2)
    with ExchangeThread(
        Exchange(HandSource([polymarket_listing(1)]), port=0, options=options, socket_tls=server)
    ) as thread:
        url = thread.urls.polymarket_ws_url
        assert url.startswith("wss://")
        async with connect(url, proxy=None, ssl=client), connect(url, proxy=None, ssl=client) as ws:
            await ws.send("PING")
            assert await ws.recv() == "PONG"
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, proxy=None, ssl=client):
                    pass
        assert refused.value.response.status_code == 429


def _tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())

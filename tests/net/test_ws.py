"""Both socket transports against a real websockets server, and against bare TCP where a server must misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

import overround.net
from overround.clock import SystemClock
from overround.errors import AnswerMalformed, ConfigError, RateLimited, RequestRefused, VenueError, VenueUnavailable
from overround.net import Socket, open_socket, picows_socket, websockets_socket
from overround.testing.clock import ManualClock

pytestmark = pytest.mark.integration

WAIT_S = 10.0


@pytest.fixture(params=["picows", "websockets"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers that never hang up are left sooner."""
    monkeypatch.setattr(picows_socket, "CLOSE_WAIT_S", 0.2)
    monkeypatch.setattr(websockets_socket, "CLOSE_WAIT_S", 0.2)


class Owner:
    """What a connection's owner sees of it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stamps: list[int] = []
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

    def on_frame(self, frame: bytes, recv_ns: int) -> None:
        assert not self.reasons, "a frame after the end"
        self.frames.append(frame)
        self.stamps.append(recv_ns)
        self._changed.set()

    def on_closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[Owner], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def ended(self) -> str:
        await self.until(lambda owner: bool(owner.reasons))
        # Long enough for a second call, which would be a fault.
        await asyncio.sleep(0.01)
        assert len(self.reasons) == 1
        return self.reasons[0]


async def opened(url: str, owner: Owner, transport: str, **options: Any) -> Socket:
    options.setdefault("clock", SystemClock())
    return await open_socket(url, on_frame=owner.on_frame, on_closed=owner.on_closed, transport=transport, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def venue(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    options.setdefault("compression", None)
    options.setdefault("max_size", None)
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws{'s' if 'ssl' in options else ''}://127.0.0.1:{port}/ws/market"


async def hold(connection: ServerConnection) -> None:
    await connection.wait_closed()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def bare_venue(script: Script, *, handshake: bool = True, after_s: float = 0.0) -> AsyncIterator[str]:
    """A TCP server that shakes hands (or not) and then sends whatever bytes the script writes."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(after_s)
        if handshake:
            key = next(
                line.split(b":")[1].strip() for line in request.split(b"\r\n") if b"sec-websocket-key" in line.lower()
            )
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        with contextlib.suppress(ConnectionError):
            await script(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve_one(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def frame(payload: bytes, *, opcode: int = 1, fin: bool = True) -> bytes:
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 65_536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


# ---------------------------------------------------------------------- what arrives


async def test_text_and_binary_arrive_as_bytes_with_the_clocks_time(transport: str) -> None:
    async def speak(connection: ServerConnection) -> None:
        await connection.send('{"price":"0.53"}')
        await connection.send(b"\x00\xff")
        await connection.wait_closed()

    clock, owner = ManualClock(start_ms=1_700_000_000_000), Owner()
    async with venue(speak) as url:
        socket = await opened(url, owner, transport, clock=clock, ping_after_ms=None, dead_after_ms=None)
        await owner.until(lambda o: len(o.frames) == 2)
        await socket.close()
    assert owner.frames == [b'{"price":"0.53"}', b"\x00\xff"]
    assert owner.stamps == [1_700_000_000_000 * 1_000_000] * 2
    assert socket.transport == transport


async def test_a_burst_of_730_frames_arrives_whole_and_in_order(transport: str) -> None:
    wanted = [b'{"n":%d,"pad":"%s"}' % (n, b"x" * (n % 700)) for n in range(730)]

    async def burst(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(map(frame, wanted)))
        await writer.drain()
        await asyncio.sleep(WAIT_S)

    owner = Owner()
    async with bare_venue(burst) as url:
        socket = await opened(url, owner, transport)
        await owner.until(lambda o: len(o.frames) == 730)
        await socket.close()
    assert owner.frames == wanted


async def test_a_frame_of_five_megabytes_arrives(transport: str) -> None:
    book = bytes(range(256)) * 20_000

    async def speak(connection: ServerConnection) -> None:
        await connection.send(book)
        await connection.wait_closed()

    owner = Owner()
    async with venue(speak) as url:
        socket = await opened(url, owner, transport)
        await owner.until(lambda o: len(o.frames) == 1)
        await socket.close()
    assert owner.frames == [book]


async def test_fragments_are_put_together_even_with_a_ping_between(transport: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"one ", fin=False) + frame(b"heartbeat", opcode=9))
        writer.write(frame(b"and ", opcode=0, fin=False) + frame(b"two", opcode=0) + frame(b"next"))
        await reader.read()

    owner = Owner()
    async with bare_venue(speak) as url:
        socket = await opened(url, owner, transport)
        await owner.until(lambda o: len(o.frames) == 2)
        await socket.close()
    assert owner.frames == [b"one and two", b"next"]


async def test_a_server_that_speaks_first_is_heard_after_on_opened(transport: str) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"hello"))
        await asyncio.sleep(WAIT_S)

    owner, seen = Owner(), []
    async with bare_venue(speak) as url:
        socket = await opened(url, owner, transport, on_opened=lambda s: seen.append((s, list(owner.frames))))
        await owner.until(lambda o: len(o.frames) == 1)
        await socket.close()
    assert seen == [(socket, [])]


# ---------------------------------------------------------------------- what is sent


async def test_headers_reach_the_handshake_and_messages_the_server(transport: str) -> None:
    heard: list[Any] = []

    async def listen(connection: ServerConnection) -> None:
        assert connection.request is not None
        heard.extend((connection.request.path, connection.request.headers["KALSHI-ACCESS-KEY"]))
        heard.append(connection.request.headers["User-Agent"].split("/")[0])
        heard.append(connection.request.headers.get("Sec-WebSocket-Extensions"))
        async for message in connection:
            heard.append(message)
            await connection.send("taken")

    owner = Owner()
    async with venue(listen) as url:
        socket = await opened(url, owner, transport, headers={"KALSHI-ACCESS-KEY": "k-1"})
        socket.send("PING")
        socket.send(b"\x01")
        await owner.until(lambda o: len(o.frames) == 2)
        await socket.close()
    assert heard == ["/ws/market", "k-1", "overround", None, "PING", b"\x01"]


async def test_sends_never_wait_and_arrive_whole_at_a_slow_reader(transport: str) -> None:
    messages = [f"{n:04d}" + "y" * 100_000 for n in range(60)]
    heard: list[str] = []
    go = asyncio.Event()

    async def slow(connection: ServerConnection) -> None:
        await go.wait()
        heard.extend([str(await connection.recv()) for _ in messages])
        await connection.send("all")
        await connection.wait_closed()

    owner = Owner()
    async with venue(slow) as url:
        socket = await opened(url, owner, transport)
        for message in messages:
            socket.send(message)
        piled_up = socket.unsent_bytes
        go.set()
        await owner.until(lambda o: o.frames == [b"all"])
        assert socket.unsent_bytes == 0
        await socket.close()
    assert piled_up > 0
    assert heard == messages


async def test_a_peer_that_never_reads_is_given_up(transport: str) -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.sleep(WAIT_S)

    owner = Owner()
    async with bare_venue(deaf) as url:
        socket = await opened(url, owner, transport, max_unsent_bytes=1_000_000)
        for _ in range(200):
            socket.send("z" * 200_000)
        assert "unread" in await owner.ended()
        assert socket.closed
        await socket.close()


# ---------------------------------------------------------------------- signs of life


async def test_a_ping_is_answered_and_not_delivered(transport: str) -> None:
    ponged = asyncio.Event()

    async def ping(connection: ServerConnection) -> None:
        await (await connection.ping(b"heartbeat"))
        ponged.set()
        await connection.wait_closed()

    owner = Owner()
    async with venue(ping) as url:
        socket = await opened(url, owner, transport)
        await asyncio.wait_for(ponged.wait(), WAIT_S)
        await socket.close()
    assert owner.frames == []


async def test_a_silent_peer_is_pinged_then_given_up(transport: str) -> None:
    pings: list[bytes] = []

    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):
            if head[0] & 0x0F == 9:
                pings.append(head)
            await reader.read(4 + (head[1] & 0x7F))

    clock, owner = ManualClock(), Owner()
    async with bare_venue(mute) as url:
        socket = await opened(url, owner, transport, clock=clock, ping_after_ms=10_000, dead_after_ms=30_000)
        for _ in range(2):
            await clock.advance_ms(10_000)
            await asyncio.sleep(0.05)
        assert not owner.reasons
        await clock.advance_ms(10_000)
        assert await owner.ended() == "silent for 30000 ms"
        assert socket.close_code == 1006
        await socket.close()
    assert len(pings) == 2


async def test_pongs_keep_a_quiet_connection(transport: str) -> None:
    clock, owner = ManualClock(), Owner()
    async with venue(hold, ping_interval=None) as url:
        socket = await opened(url, owner, transport, clock=clock, ping_after_ms=10_000, dead_after_ms=30_000)
        for _ in range(8):
            await clock.advance_ms(10_000)
            await asyncio.sleep(0.03)
        assert not owner.reasons
        assert not socket.closed
        await socket.close()


# ---------------------------------------------------------------------- how it ends


async def test_the_venues_close_code_is_in_the_reason(transport: str) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(4001, "maintenance")

    owner = Owner()
    async with venue(leave) as url:
        socket = await opened(url, owner, transport)
        assert await owner.ended() == "closed by the venue: 4001 maintenance"
    assert owner.frames == [b"last"]
    assert socket.close_code == 4001
    assert socket.closed


async def test_a_server_that_says_goodbye_without_a_code_and_never_hangs_up_is_left(transport: str) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"", opcode=8))
        await reader.read()

    owner = Owner()
    async with bare_venue(leave) as url:
        await opened(url, owner, transport)
        assert (await owner.ended()).startswith("closed by the venue: 1005")


async def test_an_abrupt_close_is_told_after_the_frames_before_it(transport: str) -> None:
    async def vanish(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"a") + frame(b"b"))
        await writer.drain()
        writer.close()

    owner = Owner()
    async with bare_venue(vanish) as url:
        socket = await opened(url, owner, transport)
        assert await owner.ended() == "connection lost"
    assert owner.frames == [b"a", b"b"]
    assert socket.close_code == 1006


async def test_a_reset_connection_ends_once(transport: str) -> None:
    ready = asyncio.Event()

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ready.wait()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        )
        writer.transport.abort()

    owner = Owner()
    async with bare_venue(reset) as url:
        await opened(url, owner, transport)
        ready.set()
        assert await owner.ended() == "connection lost"


async def test_a_cut_frame_is_not_delivered(transport: str) -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"whole") + frame(b"x" * 1000)[:500])
        await writer.drain()
        writer.close()

    owner = Owner()
    async with bare_venue(cut) as url:
        await opened(url, owner, transport)
        assert await owner.ended() == "connection lost"
    assert owner.frames == [b"whole"]


@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_message_over_the_limit_ends_the_connection(transport: str, fragments: int) -> None:
    part = b"x" * (2_000_000 // fragments)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for n in range(fragments):
            writer.write(frame(part, opcode=1 if n == 0 else 0, fin=n == fragments - 1))
        await writer.drain()
        await reader.read()

    owner = Owner()
    async with bare_venue(flood) as url:
        socket = await opened(url, owner, transport, max_frame_bytes=1_000_000)
        assert (await owner.ended()).startswith("protocol error")
    assert owner.frames == []
    assert socket.close_code == 1009


async def test_bytes_that_are_no_frame_end_the_connection(transport: str) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x83\x01a")  # opcode 3 is reserved
        await reader.read()

    owner = Owner()
    async with bare_venue(babble) as url:
        socket = await opened(url, owner, transport)
        assert (await owner.ended()).startswith("protocol error")
    assert socket.close_code == 1002


async def test_an_error_in_on_frame_closes_with_its_reason_and_reaches_no_transport(transport: str) -> None:
    async def speak(connection: ServerConnection) -> None:
        for n in range(5):
            await connection.send(str(n))
        await connection.wait_closed()
        codes.append(connection.close_code)

    codes: list[int | None] = []
    owner = Owner()
    seen: list[bytes] = []

    def fail(message: bytes, _: int) -> None:
        seen.append(message)
        if message == b"2":
            raise KeyError("0.53")

    async with venue(speak) as url:
        with capture_logs() as logs:
            socket = await open_socket(
                url,
                on_frame=fail,
                on_closed=owner.on_closed,
                clock=SystemClock(),
                transport=transport,  # type: ignore[arg-type]
            )
            assert await owner.ended() == "callback failed: KeyError: '0.53'"
        await asyncio.sleep(0.05)
    assert seen == [b"0", b"1", b"2"]
    assert codes == [1011]
    assert socket.closed
    assert [entry["event"] for entry in logs] == ["socket.callback_failed"]


async def test_an_error_over_a_message_of_fragments_ends_the_connection_too(transport: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"a", fin=False) + frame(b"b", opcode=0) + frame(b"after"))
        await reader.read()

    seen: list[bytes] = []

    def fail(message: bytes, _: int) -> None:
        seen.append(message)
        raise ValueError(message)

    owner = Owner()
    async with bare_venue(speak) as url:
        with capture_logs():
            await open_socket(
                url,
                on_frame=fail,
                on_closed=owner.on_closed,
                clock=SystemClock(),
                transport=transport,  # type: ignore[arg-type]
            )
            assert (await owner.ended()).startswith("callback failed: ValueError")
    assert seen == [b"ab"]


async def test_an_error_in_on_opened_ends_the_connection(transport: str) -> None:
    def fail(_: Socket) -> None:
        raise ValueError("no")

    owner = Owner()
    async with venue(hold) as url:
        with capture_logs():
            await opened(url, owner, transport, on_opened=fail)
            assert await owner.ended() == "callback failed: ValueError: no"


@pytest.mark.parametrize(
    "sent", [frame(b"late", opcode=0), frame(b"one", fin=False) + frame(b"two")], ids=["no first", "no last"]
)
async def test_a_fragment_out_of_turn_ends_the_connection(transport: str, sent: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await reader.read()

    owner = Owner()
    async with bare_venue(speak) as url:
        socket = await opened(url, owner, transport)
        assert (await owner.ended()).startswith("protocol error")
    assert owner.frames == []
    assert socket.close_code == 1002


async def test_an_error_in_on_closed_stays_inside(transport: str) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close()

    def fail(_: str) -> None:
        raise ValueError("owner")

    async with venue(leave) as url:
        with capture_logs() as logs:
            socket = await open_socket(
                url,
                on_frame=lambda *_: None,
                on_closed=fail,
                clock=SystemClock(),
                transport=transport,  # type: ignore[arg-type]
            )
            async with asyncio.timeout(WAIT_S):
                while not socket.closed:
                    await asyncio.sleep(0.01)
    assert [entry["event"] for entry in logs] == ["socket.callback_failed"]


async def test_closing_tells_the_server_and_not_the_owner(transport: str) -> None:
    codes: list[int | None] = []

    async def listen(connection: ServerConnection) -> None:
        await connection.wait_closed()
        codes.append(connection.close_code)

    owner = Owner()
    async with venue(listen) as url:
        socket = await opened(url, owner, transport)
        await socket.close()
        await socket.close()
        socket.send("dropped")
        await asyncio.sleep(0.05)
    assert codes == [1000]
    assert owner.reasons == []
    assert socket.closed


async def test_closing_does_not_wait_for_ever(transport: str) -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(WAIT_S)

    owner = Owner()
    async with bare_venue(deaf) as url:
        socket = await opened(url, owner, transport)
        async with asyncio.timeout(3):
            await socket.close()
    assert socket.closed


# ---------------------------------------------------------------------- how it does not begin


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_refused_connection_names_host_and_remedy(transport: str, host: str) -> None:
    port = free_port()
    with pytest.raises(VenueUnavailable, match=f"{host}:{port}: connection refused") as caught:
        await opened(f"ws://{host}:{port}/ws", Owner(), transport)
    assert "overround exchange" in (caught.value.hint or "")
    assert caught.value.__cause__ is not None


async def test_an_unknown_host_is_named(transport: str) -> None:
    with pytest.raises(VenueUnavailable, match=r"cannot reach venue\.invalid"):
        await opened("ws://venue.invalid/ws", Owner(), transport)


async def test_a_server_that_never_answers_times_out(transport: str) -> None:
    async def sleep(*_: Any) -> None:
        await asyncio.sleep(WAIT_S)

    async with bare_venue(sleep, handshake=False) as url:
        with pytest.raises(VenueUnavailable, match="no answer in time"):
            await opened(url, Owner(), transport, connect_timeout_s=0.2)


async def test_a_server_that_hangs_up_in_the_handshake_is_unavailable(transport: str) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with bare_venue(hang_up, handshake=False) as url:
        with pytest.raises(VenueUnavailable, match="during the handshake"):
            await opened(url, Owner(), transport)


async def test_a_server_that_speaks_no_websocket_is_malformed(transport: str) -> None:
    async def web(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
        await writer.drain()

    async with bare_venue(web, handshake=False) as url:
        with pytest.raises(AnswerMalformed):
            await opened(url, Owner(), transport)


async def test_garbage_instead_of_a_handshake_is_malformed(transport: str) -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01\x02 nothing like HTTP\r\n\r\n")
        await writer.drain()

    async with bare_venue(garbage, handshake=False) as url:
        with pytest.raises(AnswerMalformed):
            await opened(url, Owner(), transport)


async def refusal(
    transport: str, status: HTTPStatus, body: bytes = b"no", headers: dict[str, str] | None = None, clock: Any = None
) -> Exception:
    def refuse(_: ServerConnection, __: Request) -> Response:
        return Response(
            status.value, status.phrase, Headers({"Content-Length": str(len(body)), **(headers or {})}), body
        )

    async with venue(hold, process_request=refuse) as url:
        try:
            await opened(url, Owner(), transport, clock=clock or SystemClock())
        except VenueError as exc:
            return exc
    raise AssertionError("not refused")


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND])
async def test_a_refused_handshake_is_not_retried_and_says_what_to_check(transport: str, status: HTTPStatus) -> None:
    refused = await refusal(transport, status)
    assert isinstance(refused, RequestRefused)
    assert refused.status == status
    assert refused.hint
    assert not refused.retryable
    assert refused.__cause__ is not None


async def test_a_rate_limited_handshake_carries_its_wait(transport: str) -> None:
    refused = await refusal(transport, HTTPStatus.TOO_MANY_REQUESTS, headers={"Retry-After": "17"})
    assert isinstance(refused, RateLimited)
    assert refused.retry_after_s == 17


async def test_a_dated_wait_is_counted_from_the_clock(transport: str) -> None:
    clock = ManualClock(start_ms=1_767_225_600_000)  # 2026-01-01T00:00:00Z, a Thursday
    when = "Thu, 01 Jan 2026 00:01:30 GMT"
    refused = await refusal(transport, HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": when}, clock=clock)
    assert isinstance(refused, VenueUnavailable)
    assert refused.retry_after_s == 90


async def test_a_redirect_is_named_and_not_followed(transport: str) -> None:
    refused = await refusal(transport, HTTPStatus.MOVED_PERMANENTLY, headers={"Location": "wss://elsewhere.example/"})
    assert isinstance(refused, RequestRefused)
    assert "wss://elsewhere.example/" in str(refused)


@pytest.mark.parametrize("url", ["https://gamma.example/ws", "not an address", "wss://", "ws://host:notaport/"])
async def test_what_is_no_sockets_address_is_refused_before_anything_is_sent(transport: str, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await opened(url, Owner(), transport)
    assert caught.value.hint


# ---------------------------------------------------------------------- TLS


async def test_frames_cross_tls_under_a_trusted_certificate(
    transport: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    wanted = [b"%d" % n * 500 for n in range(300)]

    async def speak(connection: ServerConnection) -> None:
        for message in wanted:
            await connection.send(message)
        await connection.send(await connection.recv())
        await connection.wait_closed()

    owner = Owner()
    async with venue(speak, ssl=server_tls) as url:
        socket = await opened(url, owner, transport, ssl_context=client_tls)
        socket.send("w" * 3_000_000)
        await owner.until(lambda o: len(o.frames) == 301)
        await socket.close()
    assert owner.frames == [*wanted, b"w" * 3_000_000]


async def test_an_untrusted_certificate_is_refused_by_default(transport: str, server_tls: ssl.SSLContext) -> None:
    async with venue(hold, ssl=server_tls) as url:
        with pytest.raises(VenueUnavailable, match=r"cannot trust 127\.0\.0\.1") as caught:
            await opened(url, Owner(), transport)
    assert caught.value.hint


async def test_a_plain_server_behind_a_wss_address_is_unavailable(transport: str) -> None:
    async with venue(hold) as url:
        with pytest.raises((VenueUnavailable, AnswerMalformed)):
            await opened(url.replace("ws://", "wss://"), Owner(), transport)


async def test_a_cancelled_opening_leaves_no_connection(transport: str) -> None:
    gone = asyncio.Event()

    async def slow_handshake(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with bare_venue(slow_handshake, handshake=False) as url:
        opening = asyncio.create_task(opened(url, Owner(), transport, connect_timeout_s=1.0))
        await asyncio.sleep(0.1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(gone.wait(), WAIT_S)


async def test_a_handshake_that_completes_after_the_cancellation_leaves_no_connection(transport: str) -> None:
    gone = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(b"hello"))
        await reader.read()
        gone.set()

    owner = Owner()
    async with bare_venue(listen, after_s=0.2) as url:
        opening = asyncio.create_task(opened(url, owner, transport))
        await asyncio.sleep(0.1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(gone.wait(), WAIT_S)
    assert owner.frames == owner.reasons == []


async def test_without_picows_auto_falls_back_and_naming_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(overround.net, "picows_socket")
    monkeypatch.delitem(sys.modules, "overround.net.picows_socket")
    monkeypatch.setitem(sys.modules, "picows", None)
    async with venue(hold) as url:
        socket = await opened(url, Owner(), "auto")
        assert socket.transport == "websockets"
        await socket.close()
        with pytest.raises(ConfigError, match="not installed"):
            await opened(url, Owner(), "picows")


async def test_auto_prefers_picows() -> None:
    async with venue(hold) as url:
        socket = await opened(url, Owner(), "auto")
        assert socket.transport == "picows"
        await socket.close()


@pytest.mark.skipif(sys.platform == "win32", reason="loop: uvloop is not made for Windows")
@pytest.mark.parametrize(
    "claim",
    [
        test_a_burst_of_730_frames_arrives_whole_and_in_order,
        test_a_frame_of_five_megabytes_arrives,
        test_sends_never_wait_and_arrive_whole_at_a_slow_reader,
        test_a_peer_that_never_reads_is_given_up,
        test_an_abrupt_close_is_told_after_the_frames_before_it,
        test_a_cut_frame_is_not_delivered,
        test_closing_tells_the_server_and_not_the_owner,
    ],
)
def test_the_same_holds_on_uvloop(transport: str, claim: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(claim(transport))

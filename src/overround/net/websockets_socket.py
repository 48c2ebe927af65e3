"""Sockets on websockets: the portable fallback, which reads and calls in one task, without a queue of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from overround.clock import Clock
from overround.errors import AnswerMalformed, VenueUnavailable
from overround.net.reach import host_of, one_line, without_query
from overround.net.socket import (
    ABNORMAL,
    CLOSE_WAIT_S,
    OnClosed,
    OnFrame,
    Socket,
    SocketOptions,
    closed_by_peer,
    refused_handshake,
)

__all__ = ["connect"]

_silent = logging.Logger("overround.net.websockets", logging.CRITICAL + 1)  # noqa: LOG001 - ours alone


async def connect(
    url: str,
    *,
    on_frame: OnFrame,
    on_closed: OnClosed,
    on_opened: Callable[[Socket], None] | None,
    clock: Clock,
    options: SocketOptions,
) -> Socket:
    """Open a connection (see :func:`overround.net.open_socket`)."""
    try:
        connection = await _Connect(
            url,
            ssl=options.ssl_context,
            additional_headers=dict(options.headers),
            user_agent_header=None,
            compression=None,
            proxy=None,
            max_size=options.max_frame_bytes,
            # Time-outs and pings are ours, the same for both transports.
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_WAIT_S,
            create_connection=_Connection,
            logger=_silent,
        )
    except InvalidStatus as exc:
        answer = exc.response
        raise refused_handshake(
            url,
            status=answer.status_code,
            headers=answer.headers,
            body=bytes(answer.body or b""),
            now_ms=clock.now_ms(),
        ) from exc
    except InvalidHandshake as exc:
        if isinstance(exc.__cause__, EOFError):
            raise VenueUnavailable(f"{host_of(url)} dropped the connection during the handshake") from exc
        raise AnswerMalformed(f"{without_query(url)} does not speak WebSocket: {one_line(str(exc))}") from exc
    except EOFError as exc:
        raise VenueUnavailable(f"{host_of(url)} dropped the connection during the handshake") from exc
    socket = _WebsocketsSocket(
        url,
        on_frame=on_frame,
        on_closed=on_closed,
        clock=clock,
        options=options,
        connection=cast("_Connection", connection),
    )
    socket.start(on_opened)
    return socket


class _Connect(websockets_connect):
    """Follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """Counts signs of life (every chunk of bytes, whatever is in it), and waits for no server to hang up."""

    chunks = 0
    _patience: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self.chunks += 1
        super().data_received(data)
        # Once close frames were exchanged the server should end TCP; the library would wait for that without end.
        if self._patience is None and self.protocol.close_expected():
            self._patience = asyncio.get_running_loop().call_later(CLOSE_WAIT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)


class _WebsocketsSocket(Socket):
    transport = "websockets"

    def __init__(
        self,
        url: str,
        *,
        on_frame: OnFrame,
        on_closed: OnClosed,
        clock: Clock,
        options: SocketOptions,
        connection: _Connection,
    ) -> None:
        super().__init__(url, on_frame=on_frame, on_closed=on_closed, clock=clock, options=options)
        self._connection = connection
        self._reader: asyncio.Task[None] | None = None
        self._chunks = connection.chunks
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, on_opened: Callable[[Socket], None] | None) -> None:
        """Begin to read."""
        self._start(on_opened)
        self._reader = asyncio.get_running_loop().create_task(self._read())

    def send(self, message: str | bytes) -> None:
        """Send one message; see :class:`Socket`."""
        if self.closed or self._closing:
            return
        # The library's only way to write without awaiting the peer.
        broadcast([self._connection], message)
        if self._connection.paused and (unsent := self.unsent_bytes) > self._options.max_unsent_bytes:
            self._end(f"the venue left {unsent} bytes unread", ABNORMAL)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the peer to read."""
        return 0 if self.closed else self._connection.transport.get_write_buffer_size()

    def _start_closing(self, code: int, reason: str) -> None:
        words = reason.encode()[:120].decode(errors="ignore")
        # Bounded by close_timeout, which breaks the connection off.
        self._spawn(self._connection.close(code, words))

    def _abort(self) -> None:
        self._connection.transport.abort()

    def _send_ping(self) -> None:
        self._spawn(self._connection.ping())

    def _was_heard(self) -> bool:
        before, self._chunks = self._chunks, self._connection.chunks
        return self._chunks != before

    async def _ended(self) -> None:
        waiting = [task for task in (self._reader, *self._tasks) if task is not None]
        if waiting:
            await asyncio.wait(waiting)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Let the library wait for the peer, beside us; that the connection ends meanwhile is no news."""

        async def quietly() -> None:
            with contextlib.suppress(ConnectionClosed):
                await work

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        """Read and call, until the connection ends."""
        recv, now_ns = self._connection.recv, self._clock.now_ns
        try:
            while True:
                message = await recv(decode=False)
                try:
                    self._on_frame(message, now_ns())
                except Exception as exc:  # noqa: BLE001 - a callback must not break the transport that calls it
                    self._failed(exc)
        except ConnectionClosed as exc:
            if exc.rcvd is not None and exc.rcvd_then_sent is not False:
                self._note_end(closed_by_peer(exc.rcvd.code, exc.rcvd.reason), exc.rcvd.code)
            elif exc.sent is not None:
                self._note_end(f"protocol error: {one_line(exc.sent.reason)}", exc.sent.code)
        finally:
            self._finish()

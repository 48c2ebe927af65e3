"""What an open WebSocket connection is to the rest of the project, whichever library carries it."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from overround.clock import Clock
from overround.errors import AnswerMalformed, RateLimited, RequestRefused, VenueError, VenueUnavailable
from overround.net.backoff import parse_retry_after
from overround.net.reach import one_line, without_query

__all__ = [
    "ABNORMAL",
    "CLOSE_WAIT_S",
    "OnClosed",
    "OnFrame",
    "Socket",
    "SocketOptions",
    "closed_by_peer",
    "ignore",
    "nobody",
    "refused_handshake",
]

log = structlog.get_logger()

OnFrame = Callable[[bytes, int], None]
OnClosed = Callable[[str], None]

CLOSE_WAIT_S = 2.0
"""How long a peer may take to answer our close frame (real time)."""

ABNORMAL = 1006
"""The close code that is never sent: the connection broke off, or we broke it off."""


@dataclass(frozen=True, kw_only=True)
class SocketOptions:
    """How to open a connection; the defaults of :func:`open_socket` speak for each.

    Attributes
    ----------
    headers : mapping
        Sent with the handshake.
    ssl_context : ssl.SSLContext or None
        None for an unencrypted connection.
    connect_timeout_s : float
        For the TCP, TLS and WebSocket handshakes together (real time).
    max_frame_bytes : int
        Of one frame, and of one message put together from fragments.
    max_unsent_bytes : int
        What may wait for a peer that does not read before the connection is given up.
    ping_after_ms, dead_after_ms : int or None
    """

    headers: Mapping[str, str]
    ssl_context: ssl.SSLContext | None
    connect_timeout_s: float
    max_frame_bytes: int
    max_unsent_bytes: int
    ping_after_ms: int | None
    dead_after_ms: int | None


class Socket(ABC):
    """An open connection.

    Attributes
    ----------
    url : str
    transport : str
        Library that carries it: ``picows`` or ``websockets``.
    closed : bool
        Nothing more will be received or sent.
    close_code : int or None
        How it ended, as a WebSocket close code; 1006 when it broke off.
    """

    transport = ""

    def __init__(
        self, url: str, *, on_frame: OnFrame, on_closed: OnClosed, clock: Clock, options: SocketOptions
    ) -> None:
        self.url = url
        self.closed = False
        self.close_code: int | None = None
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._clock = clock
        self._options = options
        self._reason = ""
        self._closing = False
        self._heartbeat: asyncio.Task[None] | None = None

    @abstractmethod
    def send(self, message: str | bytes) -> None:
        """Send one message, text or binary, without waiting: what the peer does not take yet is buffered.

        After the connection has ended, messages are dropped. A peer that lets more than
        ``max_unsent_bytes`` pile up is given up.
        """

    @property
    @abstractmethod
    def unsent_bytes(self) -> int:
        """Bytes that wait for the peer to read."""

    async def close(self) -> None:
        """End the connection and wait until it has ended; ``on_closed`` is not called for it."""
        self._on_closed = nobody
        self._end("closed by us", 1000)
        try:
            await self._ended()
        finally:
            # Cancelled, or done: in both cases nothing of this connection is left behind.
            self._abort()

    # ------------------------------------------------------------------ for the transports

    @abstractmethod
    def _start_closing(self, code: int, reason: str) -> None:
        """Start the closing handshake, and break the connection off if it is not answered."""

    @abstractmethod
    def _abort(self) -> None:
        """Break the connection off."""

    @abstractmethod
    def _send_ping(self) -> None: ...

    @abstractmethod
    def _was_heard(self) -> bool:
        """Whether the peer was heard since this was last asked, pings and pongs included."""

    def _stop_delivering(self) -> None:
        """Deliver no further frame."""
        self._on_frame = ignore

    @abstractmethod
    async def _ended(self) -> None:
        """Wait for the end."""

    def _start(self, on_opened: Callable[[Socket], None] | None) -> None:
        """The handshake is done: watch for silence, and let the owner speak first."""
        if self._options.ping_after_ms is not None or self._options.dead_after_ms is not None:
            self._heartbeat = asyncio.get_running_loop().create_task(self._watch_silence())
        if on_opened is None:
            return
        try:
            on_opened(self)
        except Exception as exc:  # noqa: BLE001 - a callback must not break the transport that calls it
            self._failed(exc)

    def _note_end(self, reason: str, code: int) -> bool:
        """Keep the first reason of an end that has begun, and deliver nothing more; False if there was one."""
        if self.closed or self._closing:
            return False
        self._closing = True
        self._reason = reason
        self.close_code = code
        self._stop_delivering()
        return True

    def _end(self, reason: str, code: int) -> None:
        """End the connection from our side; a peer that is not there (1006) gets no closing handshake."""
        if not self._note_end(reason, code):
            return
        if code == ABNORMAL:
            self._abort()
        else:
            self._start_closing(code, reason)

    def _failed(self, exc: Exception) -> None:
        """A callback raised: the connection cannot go on with a frame half applied."""
        log.error("socket.callback_failed", url=without_query(self.url), exc_info=exc)
        self._end(f"callback failed: {type(exc).__name__}: {one_line(str(exc))}", 1011)

    def _finish(self) -> None:
        """The connection has ended, for the reason noted; tell the owner once."""
        if self.closed:
            return
        self._note_end("connection lost", ABNORMAL)
        self.closed = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        on_closed, self._on_closed = self._on_closed, nobody
        try:
            on_closed(self._reason)
        except Exception as exc:
            log.error("socket.callback_failed", url=without_query(self.url), exc_info=exc)  # noqa: TRY400 - structlog

    async def _watch_silence(self) -> None:
        """Ping a peer that is silent, and give up one that stays so.

        A frame only leaves a mark, which is looked at from time to time: it costs no clock and no timer.
        """
        ping_ms, dead_ms = self._options.ping_after_ms, self._options.dead_after_ms
        every_ms = min(value for value in (ping_ms, dead_ms) if value is not None)
        silent_ms = 0.0
        while True:
            began_ns = self._clock.monotonic_ns()
            await self._clock.sleep_ms(every_ms if dead_ms is None else min(every_ms, max(1.0, dead_ms - silent_ms)))
            if self._was_heard():
                silent_ms = 0.0
                continue
            silent_ms += (self._clock.monotonic_ns() - began_ns) / 1e6
            if dead_ms is not None and silent_ms >= dead_ms:
                self._end(f"silent for {silent_ms:.0f} ms", ABNORMAL)
                return
            if ping_ms is not None:
                self._send_ping()


def refused_handshake(url: str, *, status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> VenueError:
    """Translate the HTTP status with which a server declined to open a socket.

    Parameters
    ----------
    url : str
    status : int
    headers : mapping
        With case-insensitive names.
    body : bytes
        As far as it was read.
    now_ms : int
        To which a dated ``Retry-After`` is compared.
    """
    shown = without_query(url)
    wait_s = parse_retry_after(headers.get("Retry-After"), now_ms=now_ms)
    said = one_line(body[:2_000].decode(errors="replace")) or "no explanation"
    if "html" in headers.get("Content-Type", ""):
        said = "an HTML page"
    if status in {425, 429}:
        return RateLimited(shown, status=status, retry_after_s=wait_s)
    if status >= 500:
        return VenueUnavailable(f"{shown} answered {status}: {said}", retry_after_s=wait_s)
    if 300 <= status < 400:
        said, hint = f"moved to {one_line(headers.get('Location', 'nowhere'))}", "update the socket's address"
        return RequestRefused(shown, status=status, detail=said, hint=hint)
    if 400 <= status < 500:
        hints = {
            401: "check the API key, its private key and this machine's clock",
            403: "the venue refuses this account or place; check the API key's rights",
            404: "check the socket's address (`overround config show`)",
        }
        return RequestRefused(shown, status=status, detail=said, hint=hints.get(status))
    return AnswerMalformed(f"{shown} answered {status} instead of opening a socket")


def closed_by_peer(code: int, words: str) -> str:
    """The reason of an end that the peer asked for."""
    return f"closed by the venue: {code} {one_line(words)}".strip()


def ignore(_: bytes, __: int) -> None:
    """A frame that came after the end."""


def nobody(_: str) -> None:
    """The owner has been told, or asked for the end."""

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

__all__ = ["OnClosed", "OnFrame", "Socket", "SocketOptions", "refused_handshake"]

log = structlog.get_logger()

OnFrame = Callable[[bytes, int], None]
OnClosed = Callable[[str], None]

CLOSE_WAIT_S = 2.0


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
    heard : int
        Counts signs of life of the peer.
    """

    transport = ""

    def __init__(
        self, url: str, *, on_frame: OnFrame, on_closed: OnClosed, clock: Clock, options: SocketOptions
    ) -> None:
        self.url = url
        self.closed = False
        self.close_code: int | None = None
        self.heard = 0
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._now_ns = clock.now_ns
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
        self._on_closed = _nobody
        self._end("closed by us", 1000)
        await self._ended()

    # ------------------------------------------------------------------ for the transports

    @abstractmethod
    def _send_close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    @abstractmethod
    def _send_ping(self) -> None: ...

    @abstractmethod
    async def _ended(self) -> None:
        """Wait for the end, by force after a while."""

    def _started(self) -> None:
        """The handshake is done: watch for silence."""
        if self._options.ping_after_ms is not None or self._options.dead_after_ms is not None:
            self._heartbeat = asyncio.get_running_loop().create_task(self._watch_silence())

    def _end(self, reason: str, code: int) -> None:
        """Close from our side; the first reason counts, and no frame is delivered any more."""
        if self.closed or self._closing:
            return
        self._closing = True
        self._reason = reason
        self.close_code = code
        self._on_frame = _ignore
        self._send_close(code, reason)

    def _failed(self, exc: Exception) -> None:
        """``on_frame`` raised: the connection cannot go on with a frame half applied."""
        log.error("socket.callback_failed", url=without_query(self.url), exc_info=exc)
        self._end(f"on_frame failed: {type(exc).__name__}: {one_line(str(exc))}", 1011)

    def _finish(self, reason: str, code: int) -> None:
        """The connection has ended; tell the owner once."""
        if self.closed:
            return
        self.closed = True
        self._on_frame = _ignore
        if not self._closing:
            self._reason = reason
            self.close_code = code
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        on_closed, self._on_closed = self._on_closed, _nobody
        try:
            on_closed(self._reason)
        except Exception as exc:  # noqa: BLE001 - a supervised callback of the transport ends here
            log.error("socket.callback_failed", url=without_query(self.url), exc_info=exc)

    async def _watch_silence(self) -> None:
        """Ping a peer that is silent, and give up one that stays so.

        Signs of life are only counted while frames arrive; here the count is compared from time to time,
        so that a frame costs no clock and no timer.
        """
        ping_ms, dead_ms = self._options.ping_after_ms, self._options.dead_after_ms
        every_ms = min(value for value in (ping_ms, dead_ms) if value is not None)
        heard, silent_ms = self.heard, 0.0
        while True:
            began_ns = self._clock.monotonic_ns()
            await self._clock.sleep_ms(every_ms if dead_ms is None else min(every_ms, max(1.0, dead_ms - silent_ms)))
            if self.heard != heard:
                heard, silent_ms = self.heard, 0.0
                continue
            silent_ms += (self._clock.monotonic_ns() - began_ns) / 1e6
            if dead_ms is not None and silent_ms >= dead_ms:
                self._end(f"silent for {silent_ms:.0f} ms", 1006)
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


def _ignore(_: bytes, __: int) -> None:
    """A frame that came after the end."""


def _nobody(_: str) -> None:
    """The owner has been told, or asked for the end."""

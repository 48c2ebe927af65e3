"""Opening WebSocket connections: one small interface, two libraries behind it.

picows is the default: its callback runs straight from the transport, about ten times cheaper a frame than
the portable fallback, websockets. Both deliver whole messages, in order, to ``on_frame`` and never raise out of it.
Compression is off (it costs more than decoding a message) and so are proxies and redirects.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from overround import __version__
from overround.clock import Clock
from overround.errors import ConfigError
from overround.net.reach import default_tls, host_of, unreachable
from overround.net.socket import OnClosed, OnFrame, Socket, SocketOptions

__all__ = ["TransportName", "open_socket"]

TransportName = Literal["auto", "picows", "websockets"]


async def open_socket(
    url: str,
    *,
    on_frame: OnFrame,
    on_closed: OnClosed,
    clock: Clock,
    headers: Mapping[str, str] | None = None,
    on_opened: Callable[[Socket], None] | None = None,
    transport: TransportName = "auto",
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout_s: float = 10.0,
    max_frame_bytes: int = 32 * 1024 * 1024,
    max_unsent_bytes: int = 16 * 1024 * 1024,
    ping_after_ms: int | None = 10_000,
    dead_after_ms: int | None = 30_000,
) -> Socket:
    """Open a connection and deliver what it carries.

    Parameters
    ----------
    url : str
        ``wss://…``, or ``ws://…`` for loopback and tests.
    on_frame : callable
        ``on_frame(message, recv_ns)`` for each whole message, text or binary, from the transport's own
        callback; ``recv_ns`` is the clock's wall time. Protocol pings are answered and not delivered. If it
        raises, the error is logged and the connection closed with that reason. A server that speaks first
        may be heard before this function has returned.
    on_closed : callable
        ``on_closed(reason)`` once, when the connection ends for any reason but ``Socket.close``. No frame follows it.
    clock : Clock
        Stamps frames and times silence; the time-outs of the handshake are the network's own.
    headers : mapping, optional
        Sent with the handshake (signed anew by the caller each time).
    on_opened : callable, optional
        Called with the socket before any frame is delivered.
    transport : {"auto", "picows", "websockets"}
        ``auto`` is picows where it is installed.
    ssl_context : ssl.SSLContext, optional
        Instead of the verified default of ``wss``.
    connect_timeout_s : float
        For the TCP, TLS and WebSocket handshakes together.
    max_frame_bytes : int
        A longer message ends the connection.
    max_unsent_bytes : int
        A peer that leaves more of ours unread is given up.
    ping_after_ms : int or None
        Silence after which the peer is pinged.
    dead_after_ms : int or None
        Silence (pongs and pings count as speech) after which the connection is given up.

    Raises
    ------
    ConfigError
        If the address is no socket's, or the named transport is not installed.
    VenueUnavailable
        Refused or timed-out connection, unknown host, untrusted certificate, or a 5xx.
    RateLimited
        429 or 425, with the wait that it named.
    RequestRefused
        Another 4xx (401, 403: credentials or place), or a redirect.
    AnswerMalformed
        The server does not speak WebSocket.
    """
    host_of(url)
    scheme = urlsplit(url).scheme
    if scheme not in {"ws", "wss"}:
        raise ConfigError(f"{url!r} is not a socket's address", hint="a socket's address begins with wss://")
    options = SocketOptions(
        headers={"User-Agent": f"overround/{__version__}", **(headers or {})},
        ssl_context=(ssl_context or default_tls()) if scheme == "wss" else None,
        connect_timeout_s=connect_timeout_s,
        max_frame_bytes=max_frame_bytes,
        max_unsent_bytes=max_unsent_bytes,
        ping_after_ms=ping_after_ms,
        dead_after_ms=dead_after_ms,
    )
    connect = _connector(transport)
    try:
        async with asyncio.timeout(connect_timeout_s):
            return await connect(
                url, on_frame=on_frame, on_closed=on_closed, on_opened=on_opened, clock=clock, options=options
            )
    except (OSError, TimeoutError, ssl.SSLError) as exc:
        raise unreachable(url, exc) from exc


def _connector(transport: TransportName) -> Callable[..., Awaitable[Socket]]:
    """Import one transport; each costs about 80 ms, so only the one that is used."""
    if transport != "websockets":
        try:
            from overround.net import picows_socket
        except ImportError as exc:
            if transport == "picows":
                raise ConfigError(
                    "the picows transport is not installed here", hint="pip install picows, or use websockets"
                ) from exc
        else:
            return picows_socket.connect
    from overround.net import websockets_socket

    return websockets_socket.connect

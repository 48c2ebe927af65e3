"""The WebSocket side: accepts, authorises, and carries text between clients and hubs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from overround.exchange.deliveries import DeliveryLog, LoggedLink
from overround.exchange.link import Link
from overround.exchange.signature import SignatureCheck
from overround.market import Venue

__all__ = ["KALSHI_PATH", "POLYMARKET_PATH", "Hub", "SocketDoor", "SocketServer"]

POLYMARKET_PATH = "/ws/market"
KALSHI_PATH = "/trade-api/ws/v2"
_VENUES = {POLYMARKET_PATH: Venue.POLYMARKET, KALSHI_PATH: Venue.KALSHI}
_MOST_COMMAND_BYTES = 4 * 1024 * 1024


class Hub(Protocol):
    """What the door needs of a venue's hub."""

    def attach(self, link: Link, now_ms: int) -> None:
        """A connection was opened."""
        ...

    def detach(self, link: Link) -> None:
        """A connection is gone."""
        ...

    def receive(self, link: Link, text: str, now_ms: int) -> None:
        """A client's text frame."""
        ...


class SocketDoor(Protocol):
    """Port of the faults at the door."""

    def refusal(self, venue: Venue) -> int | None:
        """HTTP status for an upgrade, 0 to drop the connection without an answer, None to let it in."""
        ...

    def opened(self, venue: Venue, link: Link) -> None:
        """A connection was let in."""
        ...

    def closed(self, venue: Venue, link: Link) -> None:
        """A connection is gone."""
        ...


class _SocketWire:
    """The asyncio transport under a server-side WebSocket."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._closing: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        # Once the closing handshake has begun (a client said goodbye) nothing more may be written.
        if not self._transport.is_closing() and self._connection.state is State.OPEN:
            self._transport.write(data)

    def backlog(self) -> int:
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        self._closing = asyncio.get_running_loop().create_task(self._connection.close(code, reason))

    def abort(self) -> None:
        self._transport.abort()

    def hang_up(self) -> None:
        self._transport.close()


class SocketServer:
    """Both venues' sockets on one port, told apart by path.

    Parameters
    ----------
    hubs : dict of Venue to Hub
    door : SocketDoor
    signatures : SignatureCheck or None
        Kalshi's upgrades are let in unchecked when None.
    opens_per_s : int
        Upgrades of one venue beyond so many in a second get 429; 0 lets all in.
    tls : SSLContext or None
    now_ms : callable
    dirty, flush : callable
        Called with a link that has something to send, and after each client frame.
    logs : dict of Venue to DeliveryLog, optional
        Where deliveries are written down.
    """

    def __init__(
        self,
        hubs: dict[Venue, Hub],
        door: SocketDoor,
        *,
        signatures: SignatureCheck | None,
        opens_per_s: int,
        tls: ssl.SSLContext | None,
        now_ms: Callable[[], int],
        dirty: Callable[[Link], None],
        flush: Callable[[], None],
        logs: Mapping[Venue, DeliveryLog] | None = None,
    ) -> None:
        self._hubs = hubs
        self._logs = logs or {}
        self._door = door
        self._signatures = signatures
        self._opens_per_s = opens_per_s
        self._tls = tls
        self._opened: dict[Venue, deque[int]] = {venue: deque() for venue in hubs}
        self._now_ms = now_ms
        self._dirty = dirty
        self._flush = flush
        self._server: Server | None = None
        self._numbers = dict.fromkeys(hubs, 0)
        self.refused = dict.fromkeys(hubs, 0)

    async def start(self, sock: socket.socket) -> None:
        """Begin to accept on a bound socket."""
        self._server = await serve(
            self._serve,
            sock=sock,
            ssl=self._tls,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            max_size=_MOST_COMMAND_BYTES,
            close_timeout=1,
            server_header=None,
        )

    async def stop(self) -> None:
        """Close every connection and stop accepting."""
        if self._server is not None:
            self._server.close(code=1001)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 3)
            self._server = None

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        venue = _VENUES.get(path)
        if venue is None or venue not in self._hubs:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        refusal = self._door.refusal(venue)
        if refusal is not None:
            self.refused[venue] += 1
            if refusal == 0:
                connection.transport.abort()
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")
            return connection.respond(HTTPStatus(refusal), "refused\n")
        if self._too_many(venue):
            self.refused[venue] += 1
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests\n")
        if venue is Venue.KALSHI and self._signatures is not None:
            why = self._signatures.refusal(request.headers, "GET", path, self._now_ms())
            if why is not None:
                self.refused[venue] += 1
                return connection.respond(HTTPStatus.UNAUTHORIZED, f'{{"error":{{"code":"{why}"}}}}\n')
        return None

    def _too_many(self, venue: Venue) -> bool:
        if not self._opens_per_s:
            return False
        now, opened = self._now_ms(), self._opened[venue]
        while opened and opened[0] <= now - 1000:
            opened.popleft()
        opened.append(now)
        return len(opened) > self._opens_per_s

    def _link(self, venue: Venue, number: int, connection: ServerConnection) -> Link:
        name, wire, log = f"{venue}-{number}", _SocketWire(connection), self._logs.get(venue)
        return (
            Link(name, number, wire, self._dirty) if log is None else LoggedLink(name, number, wire, self._dirty, log)
        )

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None  # the handshake is over
        venue = _VENUES[connection.request.path.partition("?")[0]]
        hub = self._hubs[venue]
        self._numbers[venue] += 1
        number = self._numbers[venue]
        link = self._link(venue, number, connection)
        hub.attach(link, self._now_ms())
        try:
            self._door.opened(venue, link)
            self._flush()
            while not link.closed:
                text = await connection.recv(decode=True)
                if not link.closed:
                    hub.receive(link, text, self._now_ms())
                    self._flush()
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        finally:
            link.closed = True
            hub.detach(link)
            link.ended()
            self._door.closed(venue, link)

"""The outgoing side of one client's connection.

Frames are collected during one step of the pump and leave in one write: a call into the WebSocket library per frame
would cost more than building the frame. Server frames are unmasked, so their bytes are a length and the payload.
Faults sit here, between the venue that speaks correctly and the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["FrameFault", "Link", "Wire", "text_frame"]

_TEXT = 0x81
_PING = 0x89


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked WebSocket text frame."""
    return _header(_TEXT, len(payload)) + payload


def _header(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")


class Wire(Protocol):
    """Port to what carries the bytes: an asyncio transport under a WebSocket, or a list in a test."""

    def write(self, data: bytes) -> None:
        """Queue bytes for sending."""
        ...

    def backlog(self) -> int:
        """Bytes queued and not yet handed to the system."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Begin an orderly closing handshake."""
        ...

    def abort(self) -> None:
        """Drop the connection at once, with whatever is queued."""
        ...

    def hang_up(self) -> None:
        """Send what is queued, then end the TCP stream without a closing handshake."""
        ...


class FrameFault(Protocol):
    """Port of a fault that is active on a connection."""

    def take_frame(self, link: Link, payload: bytes, key: str, kind: str) -> bool:
        """Deal with the frame (send it changed, late, twice or not at all, by ``link.put``), or answer False."""
        ...

    def hides_first_book(self, key: str) -> bool:
        """Whether the first book of this market is to be left out."""
        ...

    def mutes(self, key: str) -> bool:
        """Whether this market's data is to be left out before it is numbered."""
        ...


class Link:
    """One client's connection, as the venue sees it.

    Attributes
    ----------
    name : str
        ``polymarket-3``: venue and running number, as logs and fault reports name it.
    number : int
    faults : list of FrameFault
        Active on this connection; the first that wants a frame gets it alone, so that each loss is logged once.
    frames : int
        Data frames put on the wire.
    """

    __slots__ = ("_dirty", "_parts", "closed", "faults", "frames", "name", "number", "wire")

    def __init__(self, name: str, number: int, wire: Wire, dirty: Callable[[Link], None]) -> None:
        self.name = name
        self.number = number
        self.wire = wire
        self.faults: list[FrameFault] = []
        self.frames = 0
        self.closed = False
        self._parts: list[bytes] = []
        self._dirty = dirty

    def push(self, payload: bytes, key: str = "", kind: str = "") -> None:
        """Send a frame, unless a fault decides otherwise; ``key`` is the market it is about."""
        if self.faults:
            for fault in tuple(self.faults):
                if fault.take_frame(self, payload, key, kind):
                    return
        self.put(payload)

    def put(self, payload: bytes, *, instead_of: bytes | None = None) -> None:  # noqa: ARG002 - for links that log
        """Send a frame as it is; ``instead_of`` is the venue's own, where a fault changed the form alone."""
        if not self._parts:
            self._dirty(self)
        self._parts.append(_header(_TEXT, len(payload)))
        self._parts.append(payload)
        self.frames += 1

    def put_bytes(self, data: bytes) -> None:
        """Send bytes that are no frame of their own (a cut one)."""
        if not self._parts:
            self._dirty(self)
        self._parts.append(data)

    def ping(self, body: bytes) -> None:
        """Send a protocol ping; its pong is not waited for."""
        self.put_bytes(_header(_PING, len(body)) + body)

    def flush(self) -> None:
        """Hand the collected frames to the wire."""
        if self._parts and not self.closed:
            self.wire.write(b"".join(self._parts))
        self._parts.clear()

    def mutes(self, key: str) -> bool:
        """Whether a fault silences this market on this connection."""
        return any(fault.mutes(key) for fault in self.faults)

    def hides_first_book(self, key: str) -> bool:
        """Whether a fault swallows the first book of this market."""
        return any(fault.hides_first_book(key) for fault in list(self.faults))

    def let_go(self, key: str) -> None:
        """The client asked for no more of a market."""

    def ended(self) -> None:
        """The connection is gone."""

    def close(self, code: int, reason: str) -> None:
        """Begin an orderly end; nothing more is sent."""
        self.flush()
        if not self.closed:
            self.closed = True
            self.wire.close(code, reason)

    def abort(self) -> None:
        """Drop the connection at once."""
        if not self.closed:
            self.closed = True
            self.wire.abort()

    def hang_up(self) -> None:
        """End the stream after what was sent, without a closing handshake."""
        self.flush()
        if not self.closed:
            self.closed = True
            self.wire.hang_up()

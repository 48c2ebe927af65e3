"""What each connection was really sent, change by change: the exchange's side of "was anything lost?".

The fault log says what was done; this log says what arrived at the wire. A change counts as delivered when its
frame left whole on some connection, and a book as whole when it left as the venue made it. Faults sit between the
hubs and the wire (see ``link``), so a frame that was dropped, cut or renamed simply never appears here, and one that
was held appears when it left. Only kept on demand: it decodes dumps and remembers frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from zlib import crc32

import msgspec

from overround.exchange.link import Link, Wire

__all__ = ["Delivery", "DeliveryLog", "LoggedLink", "Told", "frame_sum"]

_MOST_FRAMES_REMEMBERED = 50_000


class Told(StrEnum):
    """What a line of the log says."""

    HAPPENED = "happened"
    """A level changed on the venue; ``number`` is the state after it."""
    CHANGE = "change"
    """That change was sent on a connection."""
    FORGED = "forged"
    """A change that never happened was sent on a connection."""
    BOOK = "book"
    """A whole book of that state was sent on a connection."""
    REST = "rest"
    """A whole book of that state was given by REST."""
    OTHER = "other"
    """Something else was sent on a connection, or what a fault made of a change."""
    UNSUBSCRIBED = "unsubscribed"
    """The client asked for no more of this market."""
    OPENED = "opened"
    """A connection was let in."""
    ENDED = "ended"
    """A connection is gone."""


class Delivery(msgspec.Struct, frozen=True, array_like=True):
    """One line of the log, in the order in which things happened.

    Attributes
    ----------
    ts_ms : int
        When it happened; of what was sent, when it left. Lines stand in the order of the events, not always of these.
    told : Told
    link : str
        Connection, or empty.
    key : str
        Market, or empty.
    number : int
        Book state.
    level : int
        Price of the changed level, negative on the ask side (``happened`` only).
    frame : int
        Checksum of the frame that told it (``frame_sum``), by which a client's journal finds it; 0 without one.
    place : int
        How many changes had happened on the venue when the frame was made, which may be long before it was sent: frames
        the books' subscription are numbered in this order. -1: by now; of something else than a book or change: it is none
        of that subscription's.
    """

    ts_ms: int
    told: Told
    link: str = ""
    key: str = ""
    number: int = 0
    level: int = 0
    frame: int = 0
    place: int = -1


def frame_sum(payload: bytes) -> int:
    """Checksum of a frame, without the blanks around it."""
    return crc32(payload.strip())


class DeliveryLog:
    """One venue's log.

    Parameters
    ----------
    now_ms : callable

    Attributes
    ----------
    lines : list of Delivery
    shown : set of str
        Markets whose whole book went to the wire at least once.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.lines: list[Delivery] = []
        self.shown: set[str] = set()
        self._now_ms = now_ms
        self._numbers: dict[str, int] = {}
        self._n_happened = 0
        self._forging = ""
        self._frames: dict[bytes, tuple[int, tuple[tuple[Told, str, int], ...]]] = {}

    def happened(self, key: str, number: int, level: int) -> None:
        """A level changed; called before the change is encoded for anybody."""
        self._numbers[key] = number
        self._n_happened += 1
        self._write(Told.HAPPENED, "", key, number, level)

    def forging(self, key: str) -> None:
        """The next change of a market will be one that does not happen."""
        self._forging = key

    def pushed(self, payload: bytes, key: str, kind: str) -> None:
        """A hub made a frame: remember what it tells, in case it reaches the wire."""
        if kind in {"price_change", "orderbook_delta"}:
            told = Told.FORGED if key == self._forging else Told.CHANGE
            self._forging = ""
            content: tuple[tuple[Told, str, int], ...] = ((told, key, self._number(key)),)
        elif kind in {"book", "orderbook_snapshot"}:
            content = ((Told.BOOK, key, self._number(key)),)
        elif kind == "dump":
            found = dict.fromkeys(str(book["market"]) for book in msgspec.json.decode(payload))
            content = tuple((Told.BOOK, market, self._number(market)) for market in found)
        elif kind == "ack":
            content = ()
        else:
            return
        self._frames[payload] = self._n_happened, content
        if len(self._frames) > _MOST_FRAMES_REMEMBERED:
            del self._frames[next(iter(self._frames))]

    def sent(self, link: str, payload: bytes) -> None:
        """A frame goes to the wire as it is."""
        place, found = self._frames.get(payload, (-1, ()))
        frame = frame_sum(payload)
        if not found:
            self._write(Told.OTHER, link, "", frame=frame, place=place)
        for told, key, number in found:
            self._write(told, link, key, number, frame=frame, place=place)
            if told is Told.BOOK:
                self.shown.add(key)

    def left(self, numbers: Iterable[int], *, whole: bool) -> None:
        """Lines that told of frames on their way: they leave now, or they never did."""
        now_ms = self._now_ms()
        for number in numbers:
            line = self.lines[number]
            self.lines[number] = msgspec.structs.replace(
                line, ts_ms=now_ms, told=line.told if whole else Told.OTHER, frame=line.frame if whole else 0
            )

    def asked(self, key: str) -> None:
        """REST gave a market's book."""
        self._write(Told.REST, "", key, self._number(key))

    def link(self, told: Told, name: str, key: str = "") -> None:
        """A connection was opened or ended, or its client let go of a market."""
        self._write(told, name, key)

    def _number(self, key: str) -> int:
        return self._numbers.get(key, -1)

    def _write(
        self, told: Told, link: str, key: str, number: int = 0, level: int = 0, *, frame: int = 0, place: int = -1
    ) -> None:
        self.lines.append(Delivery(self._now_ms(), told, link, key, number, level, frame, place))


class LoggedLink(Link):
    """A connection whose deliveries are logged.

    Parameters
    ----------
    log : DeliveryLog
    """

    __slots__ = ("_log", "_waiting")

    def __init__(self, name: str, number: int, wire: Wire, dirty: Callable[[Link], None], log: DeliveryLog) -> None:
        super().__init__(name, number, wire, dirty)
        self._log = log
        self._waiting: list[int] = []
        log.link(Told.OPENED, name)

    def push(self, payload: bytes, key: str = "", kind: str = "") -> None:
        """Send a frame, unless a fault decides otherwise."""
        self._log.pushed(payload, key, kind)
        super().push(payload, key, kind)

    def put(self, payload: bytes, *, instead_of: bytes | None = None) -> None:
        """Send a frame as it is."""
        if not self.closed:
            first = len(self._log.lines)
            self._log.sent(self.name, payload if instead_of is None else instead_of)
            self._waiting += range(first, len(self._log.lines))
        super().put(payload, instead_of=instead_of)

    def flush(self) -> None:
        """Hand the collected frames to the wire."""
        self._log.left(self._waiting, whole=not self.closed)
        self._waiting.clear()
        super().flush()

    def let_go(self, key: str) -> None:
        """The client asked for no more of a market."""
        if not self.closed:
            self._log.link(Told.UNSUBSCRIBED, self.name, key)

    def ended(self) -> None:
        """The connection is gone."""
        self._log.link(Told.ENDED, self.name)

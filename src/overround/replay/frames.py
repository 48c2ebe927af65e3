"""One recorded frame, and what can be read from its bytes without knowing its venue's protocol."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

from overround.errors import UNREADABLE
from overround.market import Venue

__all__ = [
    "Head",
    "RecordedFrame",
    "head_of",
    "iso_ns",
    "looks_like",
    "market_ids",
    "number_of",
    "subscribed_sid",
    "venue_ms",
]

_ABSENT = msgspec.Raw()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RecordedFrame(msgspec.Struct, frozen=True, gc=False):
    """One entry of a recording: a frame as it crossed the wire, or a mark about the connection.

    Attributes
    ----------
    recv_ns : int or None
        When the recorder saw it, epoch nanoseconds; None where no receive time was kept.
    conn : str
        The recorder's name of the connection; empty where it names none.
    frame : bytes
        The frame's text, verbatim where the recording kept it; empty for a mark.
    sent : bool
        The recorder sent it.
    event : str
        ``opened`` or ``closed`` for a mark about the connection, else empty.
    sid, seq : int or None
        The venue's subscription and sequence number, where they were read for merging.
    rest : bool
        A whole book fetched over REST, in the form of a socket frame.
    """

    recv_ns: int | None
    conn: str
    frame: bytes
    sent: bool = False
    event: str = ""
    sid: int | None = None
    seq: int | None = None
    rest: bool = False


class Head(msgspec.Struct, gc=False):
    """The numbers that order a Kalshi connection's frames; absent on other frames."""

    sid: int | None = None
    seq: int | None = None


class _Acknowledged(msgspec.Struct, gc=False):
    """``subscribed``, whose sid stands inside."""

    msg: Head


class _ProbeMessage(msgspec.Struct, gc=False):
    """What tells the two venues apart."""

    type: str | None = None
    sid: int | None = None
    msg: msgspec.Raw = _ABSENT
    cmd: str | None = None
    orderbook_fp: msgspec.Raw = _ABSENT
    event_type: str | None = None
    price_changes: msgspec.Raw = _ABSENT
    bids: msgspec.Raw = _ABSENT
    buys: msgspec.Raw = _ABSENT
    asset_id: str | None = None
    assets_ids: msgspec.Raw = _ABSENT


_HEAD = msgspec.json.Decoder(Head)
_ACKNOWLEDGED = msgspec.json.Decoder(_Acknowledged)
_PROBE = msgspec.json.Decoder(_ProbeMessage)
_PROBES = msgspec.json.Decoder(list[_ProbeMessage])
_MARKET = re.compile(rb'"market(?:_ticker)?"\s*:\s*"([^"]+)"')
# Nanoseconds of this century have 19; Python reads no integers of thousands.
_STAMP_DIGITS = 19
_STAMP = re.compile(rb'"(?:ts_ms|timestamp|ts)"\s*:\s*(?:"([^"]*)"|(\d+))')


def head_of(frame: bytes) -> Head:
    """Subscription and sequence number of a frame.

    Raises
    ------
    msgspec.DecodeError
        If the frame is not JSON.
    """
    return _HEAD.decode(frame)


def number_of(entry: RecordedFrame) -> tuple[int, int] | None:
    """Subscription and sequence number of an entry, None where it has none (marks, answers, REST books)."""
    if entry.seq is not None:
        return entry.sid or 0, entry.seq
    if entry.rest or entry.sent or entry.frame[:1] != b"{":
        return None
    try:
        head = _HEAD.decode(entry.frame)
    except UNREADABLE:
        return None
    return None if head.seq is None else (head.sid or 0, head.seq)


def subscribed_sid(frame: bytes) -> int | None:
    """The subscription that a Kalshi acknowledgement begins, None for any other frame."""
    if b'"subscribed"' not in frame[:200]:
        return None
    try:
        return _ACKNOWLEDGED.decode(frame).msg.sid
    except UNREADABLE:
        return None


def looks_like(frame: bytes) -> Venue | None:
    """The venue whose protocol a frame speaks, or None when nothing tells."""
    try:
        if frame.lstrip()[:1] == b"[":
            several = _PROBES.decode(frame)
            if not several:
                return None
            probe = several[0]
        else:
            probe = _PROBE.decode(frame)
    except UNREADABLE:
        return None
    if probe.event_type is not None or probe.price_changes or probe.assets_ids:
        return Venue.POLYMARKET
    if probe.asset_id is not None and (probe.bids or probe.buys):
        return Venue.POLYMARKET
    if (probe.type is not None and (probe.msg or probe.sid is not None)) or probe.orderbook_fp or probe.cmd is not None:
        return Venue.KALSHI
    return None


def market_ids(frame: bytes) -> list[str]:
    """Market ids named in a frame, as often as they are named.

    Examples
    --------
    >>> market_ids(b'{"type":"trade","msg":{"market_ticker":"KX-1"}}')
    ['KX-1']
    """
    return [found.decode(errors="replace") for found in _MARKET.findall(frame)]


def venue_ms(frame: bytes) -> int | None:
    """The venue's own time of a frame, epoch milliseconds, or None where it tells none.

    Whole seconds, milliseconds, and ISO texts are told apart by their size and form.

    Examples
    --------
    >>> venue_ms(b'{"msg":{"ts":"2026-03-18T19:36:00.520599Z"}}')
    1773862560520
    >>> venue_ms(b'{"event_type":"book","timestamp":"1766481546487"}')
    1766481546487
    """
    best: int | None = None
    for text, number in _STAMP.findall(frame):
        raw = number or text
        if raw.isdigit():
            if len(raw) > _STAMP_DIGITS:
                continue
            value = int(raw)
            found = value * 1000 if value < 100_000_000_000 else value
        else:
            try:
                found = iso_ns(raw.decode()) // 1_000_000
            except ValueError:
                continue
        best = found if best is None else max(best, found)
    return best


def iso_ns(text: str) -> int:
    """An ISO 8601 time with its zone as epoch nanoseconds, exact to the microsecond.

    Raises
    ------
    ValueError
        If the text is no such time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return (moment - _EPOCH) // _MICROSECOND * 1000

"""The forms in which people write frames down, and how each gives its frames back.

A file is recognised by its first line that says something:

- *bare*: one frame a line, blank lines and heartbeat words between them;
- *wrapped*: one JSON object a line that holds the receive time and the frame, as an object, as a text, or
  as a REST answer; or a pair of time and frame;
- *recorder*: one line per parsed event with ``payload_json`` (the frame's ``msg``) and ``sequence_number``,
  split into one file per event type;
- *document*: one JSON document over several lines that holds frames, alone, in an array or under ``frames``;
- *journal*: our own, see ``overround.storage``.

A frame is handed on verbatim wherever the recording kept it verbatim. Whole books fetched over REST become
snapshot frames of the venue's socket form and are marked ``rest``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path

import msgspec

from overround.errors import UNREADABLE
from overround.market import Venue
from overround.replay.frames import RecordedFrame, head_of, iso_ns, looks_like
from overround.replay.lines import Damage, LineReader

__all__ = ["REST_SNAPSHOT", "Form", "form_of", "read_frames"]

REST_SNAPSHOT = b'{"type":"orderbook_snapshot",'
"""How the frame of a Kalshi REST book begins; it carries no numbers, because REST gives none."""

_HEARTBEAT = re.compile(rb"[A-Z][A-Z ]{1,40}|heartbeat")
_TICKER_IN_REQUEST = re.compile(r"/markets/([^/?\s]+)/orderbook")
# The recorder named no sid; a Kalshi connection gives one per channel.
_SID_OF_CHANNEL = {"ticker": 1, "orderbook_delta": 2, "trade": 3}
_ABSENT = msgspec.Raw()
_RECORDER_OPENED = "ws_connected"
_RECORDER_FRAMES = frozenset({"orderbook_snapshot", "orderbook_delta", "ticker", "trade"})


class Form(Enum):
    """How a file holds its frames."""

    BARE = "bare"
    WRAPPED = "wrapped"
    RECORDER = "recorder"
    DOCUMENT = "document"
    JOURNAL = "journal"


class _Ladders(msgspec.Struct, gc=False):
    """A Kalshi REST book: bids for YES and for NO."""

    yes_dollars: msgspec.Raw = _ABSENT
    no_dollars: msgspec.Raw = _ABSENT


class _TickerLadders(msgspec.Struct, gc=False):
    """One item of a Kalshi batch answer."""

    ticker: str
    orderbook_fp: _Ladders


class _RestAnswer(msgspec.Struct, gc=False):
    """A Kalshi REST answer that holds books."""

    orderbook_fp: _Ladders | None = None
    orderbooks: list[_TickerLadders] | None = None


class _Wrapped(msgspec.Struct, gc=False):
    """Every name under which a recorder was seen to keep a receive time or a frame."""

    recv_ns: int | None = None
    recv_ts_ns: int | None = None
    recv_ms: int | float | None = None
    received_ms: int | float | None = None
    recv_local: str | None = None
    fetched_at: str | None = None
    collector_ts: str | None = None
    captured_at: str | None = None
    frame: msgspec.Raw = _ABSENT
    event: msgspec.Raw = _ABSENT
    raw: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    books: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT
    frames: list[msgspec.Raw] | None = None
    raw_orderbook: _Ladders | None = None
    yes_bids: list[tuple[Decimal, Decimal]] | None = None
    no_bids: list[tuple[Decimal, Decimal]] | None = None
    conn: str = ""
    direction: str = ""
    contract_id: str | None = None
    ticker: str | None = None
    request: str | None = None


class _Recorded(msgspec.Struct, gc=False):
    """One line of the recorder that parsed frames before it kept them."""

    event_type: str
    local_recv_ns: int
    payload_json: msgspec.Raw
    channel: str = ""
    connection_id: str = ""
    sequence_number: int | None = None


class _Keys(msgspec.Struct, gc=False):
    """What tells the forms apart."""

    payload_json: msgspec.Raw = _ABSENT
    conn: msgspec.Raw = _ABSENT
    recv_ns: msgspec.Raw = _ABSENT
    sent_ns: msgspec.Raw = _ABSENT
    ns: msgspec.Raw = _ABSENT


_RAW = msgspec.json.Decoder(msgspec.Raw)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_NUMBER = msgspec.json.Decoder(int | float)
_WRAPPED = msgspec.json.Decoder(_Wrapped)
_RECORDED = msgspec.json.Decoder(_Recorded)
_KEYS = msgspec.json.Decoder(_Keys)
_ANSWER = msgspec.json.Decoder(_RestAnswer)
_JSON = msgspec.json.Encoder()


def form_of(path: Path) -> Form | None:
    """The form of a file, by its first line that says something; None for an empty file."""
    broken = False
    for line in LineReader(path):
        text = line.strip()
        if not text or _HEARTBEAT.fullmatch(text):
            continue
        try:
            _RAW.decode(text)
        except UNREADABLE:
            if broken:
                # Two lines that are no JSON by themselves: parts of one document, or nothing we know.
                return Form.DOCUMENT
            broken = text.startswith((b"{", b"["))
            continue
        if not text.startswith((b"{", b"[")):
            continue
        if text.startswith(b"["):
            return Form.BARE if looks_like(text) is Venue.POLYMARKET else Form.WRAPPED
        keys = _KEYS.decode(text)
        if keys.payload_json:
            return Form.RECORDER
        if keys.conn and (keys.recv_ns or keys.sent_ns or keys.ns):
            return Form.JOURNAL
        return Form.WRAPPED if looks_like(text) is None else Form.BARE
    return Form.DOCUMENT if broken else None


def read_frames(path: Path, form: Form, venue: Venue, damages: list[Damage]) -> Iterator[RecordedFrame]:
    """A file's frames in the order in which it holds them.

    Parameters
    ----------
    path : Path
    form : Form
        Not ``JOURNAL``, which ``overround.replay.journal`` reads.
    venue : Venue
        Whose frames are expected; decides which numbers are read from bare frames.
    damages : list of Damage
        Filled with what could not be read, at most one entry per kind of trouble and file.
    """
    if form is Form.DOCUMENT:
        yield from _document_frames(path, damages)
        return
    reader = LineReader(path)
    parse: Callable[[bytes], list[RecordedFrame]]
    if form is Form.RECORDER:
        parse = _recorder_frames
    elif form is Form.WRAPPED:
        parse = wrapped_frames
    else:
        parse = _numbered_frame if venue is Venue.KALSHI else _plain_frame
    bad = 0
    first: Damage | None = None
    last_bad_line = 0
    for line in reader:
        if not line or line.isspace():
            continue
        try:
            found = parse(line)
        except UNREADABLE as exc:
            text = line.strip()
            if _HEARTBEAT.fullmatch(text):
                yield RecordedFrame(None, "", text)
                continue
            bad += 1
            last_bad_line = reader.line
            first = first or Damage(path, reader.line, _in_words(text, exc), cut=False)
            continue
        yield from found
    cut_line = reader.open_ended and last_bad_line == reader.line
    cut = Damage(path, reader.line + (not cut_line), reader.torn or "half a line", cut=True)
    bad -= cut_line
    if first is not None and bad > 0:
        damages.append(first if bad == 1 else first._replace(what=f"{first.what}; {bad - 1} more lines too"))
    if reader.torn or cut_line:
        damages.append(cut)


def wrapped_frames(line: bytes) -> list[RecordedFrame]:
    """The frames that one wrapped line holds; a bare frame is taken as it is.

    Raises
    ------
    msgspec.DecodeError
        If the line is not JSON.
    ValueError
        If its receive time is no time.
    """
    if line.lstrip().startswith(b"["):
        return _listed_frames(line)
    entry = _WRAPPED.decode(line)
    recv_ns = _receive_time(entry)
    sent = entry.direction == "out"
    payload = entry.frame or entry.event or entry.raw or entry.text
    if payload:
        frame = bytes(payload)
        if frame[:1] == b'"':
            frame = _TEXT.decode(frame).strip().encode()
        elif entry.raw:
            return _rest_frames(frame, recv_ns, entry.contract_id or entry.ticker or "")
        return [RecordedFrame(recv_ns, entry.conn, frame, sent)] if frame else []
    if entry.books:
        return [RecordedFrame(recv_ns, "", bytes(entry.books), rest=True)]
    if entry.response:
        asked = _TICKER_IN_REQUEST.search(entry.request or "")
        return _rest_frames(bytes(entry.response), recv_ns, asked.group(1) if asked else "")
    if entry.raw_orderbook is not None:
        return [_snapshot(entry.ticker or "", entry.raw_orderbook, recv_ns)]
    if entry.yes_bids is not None and entry.no_bids is not None:
        ladders = _Ladders(yes_dollars=_level_texts(entry.yes_bids), no_dollars=_level_texts(entry.no_bids))
        return [_snapshot(entry.ticker or "", ladders, recv_ns)]
    if entry.frames is not None:
        return [frame for item in entry.frames for frame in wrapped_frames(bytes(item))]
    return [RecordedFrame(recv_ns, "", line.strip())]


def _listed_frames(line: bytes) -> list[RecordedFrame]:
    """The frames of an array: a pair of time and frame, one array frame, or frames one by one."""
    items = [bytes(item) for item in _RAWS.decode(line)]
    if looks_like(line) is Venue.POLYMARKET or not items:
        return [RecordedFrame(None, "", line.strip())]
    if len(items) == 2 and items[0][:1] not in (b"{", b"["):
        stamp = items[0]
        recv_ns = iso_ns(_TEXT.decode(stamp)) if stamp[:1] == b'"' else _any_ns(_NUMBER.decode(stamp))
        frame = _TEXT.decode(items[1]).strip().encode() if items[1][:1] == b'"' else items[1]
        return [RecordedFrame(recv_ns, "", frame)]
    return [frame for item in items for frame in wrapped_frames(item)]


def _numbered_frame(line: bytes) -> list[RecordedFrame]:
    """A bare Kalshi frame with the numbers that order its connection."""
    head = head_of(line)
    return [RecordedFrame(None, "", line, False, "", head.sid, head.seq)]  # noqa: FBT003 - positional is twice as fast


def _plain_frame(line: bytes) -> list[RecordedFrame]:
    """A bare frame of a venue that numbers nothing."""
    _RAW.decode(line)
    return [RecordedFrame(None, "", line)]


def _recorder_frames(line: bytes) -> list[RecordedFrame]:
    """The frame that a parsed event was, put together again."""
    event = _RECORDED.decode(line)
    recv_ns, conn, kind = event.local_recv_ns, event.connection_id, event.event_type
    if kind in _RECORDER_FRAMES:
        sid, seq = _SID_OF_CHANNEL.get(event.channel), event.sequence_number
        numbers = f',"sid":{sid}' if sid is not None else ""
        numbers += f',"seq":{seq}' if seq is not None else ""
        frame = b'{"type":"%b"%b,"msg":%b}' % (kind.encode(), numbers.encode(), event.payload_json)
        return [RecordedFrame(recv_ns, conn, frame, sid=sid, seq=seq)]
    if kind == _RECORDER_OPENED:
        return [RecordedFrame(recv_ns, conn, b"", event="opened")]
    payload = bytes(event.payload_json)
    return [RecordedFrame(recv_ns, conn, payload)] if looks_like(payload) is Venue.KALSHI else []


def _document_frames(path: Path, damages: list[Damage]) -> Iterator[RecordedFrame]:
    """Frames of one JSON document that spans several lines."""
    reader = LineReader(path)
    text = b"\n".join(reader)
    try:
        items = _RAWS.decode(text) if text.lstrip().startswith(b"[") else [_RAW.decode(text)]
        frames = [frame for item in items for frame in wrapped_frames(bytes(item))]
    except msgspec.ValidationError:
        # Whole and well-formed, but of another shape: a document about something else.
        return
    except UNREADABLE as exc:
        damages.append(Damage(path, reader.line, reader.torn or _in_words(text, exc), cut=True))
        return
    yield from frames


def _in_words(text: bytes, exc: Exception) -> str:
    """What is wrong with a line, in a few words that show its beginning."""
    shown = text[:40].decode("utf-8", "replace")
    return f"{shown!r} is no frame ({exc})"


def _receive_time(entry: _Wrapped) -> int | None:
    """Receive time of a wrapped line under whichever name it was kept."""
    if entry.recv_ms is not None:
        return round(entry.recv_ms * 1_000_000)
    exact = entry.recv_ns or entry.recv_ts_ns
    if exact is not None:
        return exact
    if entry.received_ms is not None:
        return round(entry.received_ms * 1_000_000)
    text = entry.recv_local or entry.fetched_at or entry.collector_ts or entry.captured_at
    if text is None:
        return None
    try:
        return iso_ns(text)
    except ValueError:
        # A day, or words about the day: kept by hand, of no use for ordering.
        return None


def _any_ns(stamp: float) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds since the epoch as nanoseconds, told apart by size."""
    for factor, limit in ((1_000_000_000, 1e11), (1_000_000, 1e14), (1_000, 1e17)):
        if stamp < limit:
            return round(stamp * factor)
    return int(stamp)


def _rest_frames(payload: bytes, recv_ns: int | None, ticker: str) -> list[RecordedFrame]:
    """Snapshot frames of the books in a REST answer; none where it holds something else."""
    if payload[:1] == b"{":
        answer = _ANSWER.decode(payload)
        if answer.orderbook_fp is not None:
            return [_snapshot(ticker, answer.orderbook_fp, recv_ns)]
        if answer.orderbooks is not None:
            return [_snapshot(item.ticker, item.orderbook_fp, recv_ns) for item in answer.orderbooks]
    if looks_like(payload) is None:
        return []
    return [RecordedFrame(recv_ns, "", payload, rest=True)]


def _snapshot(ticker: str, ladders: _Ladders, recv_ns: int | None) -> RecordedFrame:
    """A Kalshi REST book in the form of a socket snapshot."""
    frame = REST_SNAPSHOT + b'"msg":{"market_ticker":%b,"market_id":"rest","yes_dollars_fp":%b,"no_dollars_fp":%b}}' % (
        _JSON.encode(ticker),
        _levels(ladders.yes_dollars),
        _levels(ladders.no_dollars),
    )
    return RecordedFrame(recv_ns, "", frame, rest=True)


def _levels(side: msgspec.Raw) -> bytes:
    """A side's levels as they stand; an absent or null side has none."""
    text = bytes(side)
    return text if text[:1] == b"[" else b"[]"


def _level_texts(levels: list[tuple[Decimal, Decimal]]) -> msgspec.Raw:
    """Levels kept as numbers, spelled as the venue spells them."""
    return msgspec.Raw(_JSON.encode([[f"{px:f}", f"{sz:f}"] for px, sz in levels]))

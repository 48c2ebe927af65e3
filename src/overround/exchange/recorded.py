"""Recordings as sources of the local exchange: what was seen once happens again, at any speed.

Two views of one recording. ``RecordedSource`` reads the frames, keeps the books and hands out changes, so that the
servers encode them anew for whoever subscribes. ``RawPlayback`` hands out the frames themselves with the times at which
they are due, for serving a connection exactly as it was, numbers included. The frames are read here with a generic
JSON decoder: this is a venue, and shares no parser with the adapters that are tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from overround.errors import RecordingError, ValueOutOfScale
from overround.exchange import ids
from overround.exchange.model import Change, ChangeKind, Listed, ListedEvent
from overround.exchange.truth import Truth
from overround.market import PX_ONE_E4, Venue, px_e4, sz_e6
from overround.replay.frames import RecordedFrame, venue_ms
from overround.replay.recordings import open_recording

__all__ = ["RawFrame", "RawPlayback", "RecordedSource", "Seen", "frame_events"]

_DECODE = msgspec.json.Decoder().decode
_DAY_MS = 86_400_000
_BATCH = 2_000
"""Changes handed out by one ``advance`` when the recording runs faster than it is asked."""


class Seen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that a frame says about a market, in the source's terms.

    Attributes
    ----------
    what : str
        ``book`` (the whole book), ``level``, ``trade`` or ``tick``.
    key : str
        Ticker, or condition id.
    token : str
        Polymarket's outcome, else empty.
    bids, asks : dict of int to int
        Of a book; on Kalshi already seen from the first outcome.
    bid : bool
        Side of a level; whether the taker of a trade buys.
    px_e4, sz_e6 : int
        Of a level or trade.
    delta : bool
        ``sz_e6`` is a signed change, not a total.
    ts_ms : int or None
        Venue time, where the frame tells it.
    trade_id : str
    """

    what: str
    key: str
    token: str = ""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    bid: bool = True
    px_e4: int = 0
    sz_e6: int = 0
    delta: bool = False
    ts_ms: int | None = None
    trade_id: str = ""


# ------------------------------------------------------------------ reading frames


def frame_events(frame: bytes, venue: Venue) -> list[Seen]:
    """What a recorded frame says; empty for heartbeats, acknowledgements and unknown events.

    Raises
    ------
    RecordingError
        If the frame is not JSON, or lacks what its kind needs.
    """
    if frame[:1] not in {b"{", b"["}:
        return []
    try:
        message = _DECODE(frame)
        if venue is Venue.KALSHI:
            return _kalshi(message)
        found: list[Seen] = []
        for event in message if isinstance(message, list) else [message]:
            found += _polymarket(event)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueOutOfScale) as exc:
        raise RecordingError(f"a recorded frame does not read: {frame[:120]!r} ({exc})") from exc
    return found


def _levels(rows: Iterable[Sequence[str]] | None, *, mirrored: bool = False) -> dict[int, int]:
    found = {}
    for px, size in rows or ():
        price, held = px_e4(px), sz_e6(size)
        if held:
            found[PX_ONE_E4 - price if mirrored else price] = held
    return found


def _kalshi(message: dict[str, Any]) -> list[Seen]:
    kind, body = message.get("type"), message.get("msg")
    if not isinstance(body, dict):
        return []
    key = body.get("market_ticker", "")
    if kind == "orderbook_snapshot":
        yes = body.get("yes_dollars_fp", body.get("yes_dollars"))
        no = body.get("no_dollars_fp", body.get("no_dollars"))
        return [Seen(what="book", key=key, bids=_levels(yes), asks=_levels(no, mirrored=True), ts_ms=_ms(body))]
    if kind == "orderbook_delta":
        bid = body["side"] == "yes"
        price = px_e4(body["price_dollars"])
        return [
            Seen(
                what="level", key=key, bid=bid, px_e4=price if bid else PX_ONE_E4 - price,
                sz_e6=sz_e6(str(body["delta_fp"]), signed=True), delta=True, ts_ms=_ms(body),
            )
        ]  # fmt: skip
    if kind == "trade":
        taker = body.get("taker_outcome_side") or body.get("taker_side")
        return [
            Seen(
                what="trade", key=key, bid=taker == "yes", px_e4=px_e4(body["yes_price_dollars"]),
                sz_e6=sz_e6(body["count_fp"]), ts_ms=_ms(body), trade_id=body.get("trade_id", ""),
            )
        ]  # fmt: skip
    return []


def _ms(body: dict[str, Any]) -> int | None:
    """Venue time of a Kalshi body; whole seconds are as good as nothing beside finer neighbours."""
    if (exact := body.get("ts_ms")) is not None:
        return int(exact)
    text = body.get("ts")
    return venue_ms(b'"ts":"%s"' % text.encode()) if isinstance(text, str) else None


def _polymarket(event: dict[str, Any]) -> list[Seen]:
    key, token = event.get("market", ""), event.get("asset_id", "")
    stamp = event.get("timestamp")
    ts_ms = int(stamp) if stamp else None
    kind = event.get("event_type")
    if "bids" in event or "buys" in event:
        bids, asks = (
            _levels((row["price"], row["size"]) for row in event.get(new) or event.get(old) or ())
            for new, old in (("bids", "buys"), ("asks", "sells"))
        )
        return [Seen(what="book", key=key, token=token, bids=bids, asks=asks, ts_ms=ts_ms)]
    if kind == "price_change":
        rows = event.get("price_changes") or event.get("changes") or [event]
        return [
            Seen(
                what="level", key=key, token=row.get("asset_id", token), bid=row["side"] == "BUY",
                px_e4=px_e4(row["price"]), sz_e6=sz_e6(row["size"]), ts_ms=ts_ms,
            )
            for row in rows
        ]  # fmt: skip
    if kind == "last_trade_price":
        # Prints are averages over several levels at times, finer than any tick: the nearest price stands for them.
        price = round(float(event["price"]) * PX_ONE_E4)
        return [
            Seen(
                what="trade", key=key, token=token, bid=event.get("side") == "BUY", px_e4=price,
                sz_e6=sz_e6(event.get("size") or "0"), ts_ms=ts_ms, trade_id=event.get("transaction_hash", ""),
            )
        ]  # fmt: skip
    if kind == "tick_size_change":
        return [Seen(what="tick", key=key, token=token, px_e4=px_e4(event["new_tick_size"]), ts_ms=ts_ms)]
    return []


# ------------------------------------------------------------------ timing


class _Pace:
    """Turns a recording's own times into times of playback.

    Parameters
    ----------
    start_at_ms : int
        When the first frame is due.
    speed : float
        2 plays twice as fast; ``math.inf`` makes everything due at once.
    """

    __slots__ = ("_first", "_last", "_speed", "_start")

    def __init__(self, start_at_ms: int, speed: float) -> None:
        if not speed > 0:
            raise RecordingError(f"a playback speed of {speed:g} is not positive")
        self._start = start_at_ms
        self._speed = speed
        self._first: int | None = None
        self._last = 0

    def due_ms(self, at_ms: int | None) -> int:
        """When something of that recorded time is due; without a time it follows its predecessor."""
        if at_ms is not None:
            if self._first is None:
                self._first = self._last = at_ms
            self._last = max(self._last, at_ms)
        if self._first is None or math.isinf(self._speed):
            return self._start
        return self._start + int((self._last - self._first) / self._speed)


def _recorded_ms(entry: RecordedFrame) -> int | None:
    """Receive time, else the venue's own."""
    return entry.recv_ns // 1_000_000 if entry.recv_ns is not None else venue_ms(entry.frame)


def _spoken(frames: Iterable[RecordedFrame]) -> Iterator[RecordedFrame]:
    """Frames that the venue sent over the socket."""
    return (entry for entry in frames if entry.frame and not entry.sent and not entry.event and not entry.rest)


class RawFrame(msgspec.Struct, frozen=True, gc=False):
    """A recorded frame and when it is due again."""

    due_ms: int
    conn: str
    frame: bytes


class RawPlayback:
    """The frames of a recording as they were, with the times at which they are due.

    Parameters
    ----------
    frames : iterable of RecordedFrame
        In order; read as playback goes on, never as a whole.
    speed : float
    start_at_ms : int
    """

    def __init__(self, frames: Iterable[RecordedFrame], *, speed: float = 1.0, start_at_ms: int = 0) -> None:
        self._frames = _spoken(frames)
        self._pace = _Pace(start_at_ms, speed)
        self._ahead: RawFrame | None = None
        self._pull()

    def _pull(self) -> None:
        entry = next(self._frames, None)
        if entry is None:
            self._ahead = None
            return
        self._ahead = RawFrame(self._pace.due_ms(_recorded_ms(entry)), entry.conn, entry.frame)

    def next_ms(self) -> int | None:
        """When the next frame is due; None at the end."""
        return self._ahead.due_ms if self._ahead else None

    def take(self, now_ms: int, limit: int = _BATCH) -> list[RawFrame]:
        """Frames that are due, in order, at most ``limit``."""
        found: list[RawFrame] = []
        while self._ahead is not None and self._ahead.due_ms <= now_ms and len(found) < limit:
            found.append(self._ahead)
            self._pull()
        return found


# ------------------------------------------------------------------ the source


class _Book:
    """One market of a recording while it plays."""

    __slots__ = ("asks", "bids", "left", "listed", "opened", "trade", "ts_ms")

    def __init__(self, listed: Listed, bids: dict[int, int], asks: dict[int, int], ts_ms: int, left: int) -> None:
        self.listed = listed
        self.bids = bids
        self.asks = asks
        self.ts_ms = ts_ms
        self.left = left
        self.trade: int | None = None
        self.opened = False


class RecordedSource:
    """A recording as a source: books, changes, truth.

    The first whole book of each market stands from the start; what a later whole book says differently becomes level
    changes of its instant. Changes carry the recording's own venue times, so that stored rows can be compared with
    an independent replay of the same files.

    Parameters
    ----------
    frames : iterable of RecordedFrame
        In order. It is iterated twice (for the listing, then for the playback), so no generator.
    venue : Venue
    speed : float
        2 plays twice as fast; ``math.inf`` as fast as it is asked.
    start_at_ms : int
        When the first frame is due.
    listings : mapping, optional
        Markets as they should be listed (titles, grids); others get a plain listing.

    Attributes
    ----------
    truth : Truth
    negative_levels : int
        Changes that would have driven a level below zero (a recording with losses); the level was emptied.
    """

    def __init__(
        self,
        frames: Iterable[RecordedFrame],
        *,
        venue: Venue,
        speed: float = 1.0,
        start_at_ms: int = 0,
        listings: Mapping[str, Listed] | None = None,
    ) -> None:
        self.venue = venue
        self.truth = Truth()
        self.negative_levels = 0
        self._tokens: dict[str, tuple[str, int]] = {}
        self._books: dict[str, _Book] = {}
        self._scan(frames, listings or {}, start_at_ms, speed)
        self._listings = {key: book.listed for key, book in self._books.items()}
        self._frames = _spoken(frames)
        self._pace = _Pace(start_at_ms, speed)
        self._ahead: tuple[int, bytes] | None = None
        self._pull()

    @classmethod
    def open(cls, paths: Sequence[Path], venue: Venue, *, speed: float = 1.0, start_at_ms: int = 0) -> RecordedSource:
        """A source from files or folders of recordings, any raw form.

        Raises
        ------
        RecordingError
            If there is no recording of that venue, or a frame does not read.
        """
        return cls(open_recording(paths, venue), venue=venue, speed=speed, start_at_ms=start_at_ms)

    # ---------------------------------------------------------------- what the recording holds

    def _scan(
        self, frames: Iterable[RecordedFrame], listings: Mapping[str, Listed], start_at_ms: int, speed: float
    ) -> None:
        """Read the recording once: markets, tokens, first books, how often each is spoken of, how long it lasts."""
        counts: dict[str, int] = {}
        first: dict[str, Seen] = {}
        tokens: dict[str, list[str]] = {}
        begin = end = None
        last: RecordedFrame | None = None
        for entry in _spoken(frames):
            begin = begin if begin is not None else _recorded_ms(entry)
            last = entry
            for seen in self._headlines(entry.frame):
                if not seen.key:
                    continue
                counts[seen.key] = counts.get(seen.key, 0) + 1
                known = tokens.setdefault(seen.key, [])
                if seen.token and seen.token not in known:
                    known.append(seen.token)
                if seen.what == "book":
                    first.setdefault(seen.key, seen)
        if last is not None:
            end = _recorded_ms(last)
        if not counts:
            raise RecordingError(f"the recording holds no market of {self.venue}")
        spent = 0 if begin is None or end is None or math.isinf(speed) else int((end - begin) / speed)
        close_ms = start_at_ms + spent + _DAY_MS
        for number, key in enumerate(sorted(counts)):
            pair = tokens[key]
            while len(pair) < 2:  # only one outcome was recorded: the other gets an id of our own
                pair.append(ids.token_id("recorded", key, len(pair)))
            listed = listings.get(key) or self._plain(key, pair, number, start_at_ms, close_ms)
            for index, token in enumerate(listed.tokens):
                self._tokens[token] = (key, index)
            opening = first.get(key)
            bids, asks = self._sided(opening) if opening else ({}, {})
            stamp = (opening.ts_ms if opening else None) or begin or start_at_ms
            book = self._books[key] = _Book(listed, bids, asks, stamp, counts[key])
            book.opened = opening is None
            self.truth.open(key, stamp, book.bids, book.asks)

    def _headlines(self, frame: bytes) -> list[Seen]:
        """What the first reading needs of a frame; a Kalshi delta is only counted."""
        if self.venue is Venue.KALSHI and b'"orderbook_delta"' in frame[:64]:
            at = frame.find(b'"market_ticker":"')
            if at > 0:
                return [Seen(what="level", key=frame[at + 17 : frame.index(b'"', at + 17)].decode())]
        return [seen for seen in frame_events(frame, self.venue) if seen.what != "trade" or seen.token]

    def _plain(self, key: str, pair: list[str], number: int, start_at_ms: int, close_ms: int) -> Listed:
        """A listing for a market of which only frames are known."""
        kalshi = self.venue is Venue.KALSHI
        event = key.rpartition("-")[0] or key
        return Listed(
            venue=self.venue,
            key=key,
            tokens=("yes", "no") if kalshi else (pair[0], pair[1]),
            number=900_000 + number,
            event=ListedEvent(
                key=event if kalshi else str(70_000 + number),
                title=f"Recorded market {event if kalshi else key[:10]}",
                category="Recorded",
                series=event.split("-")[0] if kalshi else "recorded",
                family="recorded",
            ),
            title=f"Recorded market {key if kalshi else key[:18]}",
            label=key.rpartition("-")[2] if kalshi else "",
            rules="A market of a recording; its rules were not recorded with its frames.",
            open_ms=start_at_ms - _DAY_MS,
            close_ms=close_ms,
            grid="tapered_deci_cent" if kalshi else "",
            min_size_e6=10_000 if kalshi else 5_000_000,
            strike_type="custom" if kalshi else "",
        )

    def _sided(self, seen: Seen) -> tuple[dict[int, int], dict[int, int]]:
        """Both sides of a whole book from the first outcome."""
        if self._tokens.get(seen.token, ("", 0))[1]:
            return (
                {PX_ONE_E4 - px: sz for px, sz in seen.asks.items()},
                {PX_ONE_E4 - px: sz for px, sz in seen.bids.items()},
            )
        return dict(seen.bids), dict(seen.asks)

    # ---------------------------------------------------------------- Source

    @property
    def listings(self) -> Mapping[str, Listed]:
        """Every market by key."""
        return self._listings

    def levels(self, key: str) -> tuple[dict[int, int], dict[int, int]]:
        """Bids and asks of the first outcome now."""
        book = self._books[key]
        return book.bids, book.asks

    def state_number(self, key: str) -> int:
        """Number of the market's present book state."""
        return self.truth[key].number

    def oldest_state_number(self, key: str) -> int:
        """Number of the market's oldest book state that is kept."""
        return self.truth[key].oldest_number

    def last_trade_px_e4(self, key: str) -> int | None:
        """Price of the last print, seen from the first outcome."""
        return self._books[key].trade

    def last_change_ms(self, key: str) -> int:
        """Venue time of the market's last book change."""
        return self.truth[key].ts_ms

    def next_ms(self) -> int | None:
        """When the next frame is due; None at the end of the recording."""
        return self._ahead[0] if self._ahead else None

    def advance(self, now_ms: int) -> Sequence[Change]:
        """What is due up to ``now_ms``; a part of it when that is much, and ``next_ms`` says that more is due."""
        out: list[Change] = []
        while self._ahead is not None and self._ahead[0] <= now_ms and len(out) < _BATCH:
            for seen in frame_events(self._ahead[1], self.venue):
                if seen.key in self._books:
                    self._apply(self._books[seen.key], seen, out)
            self._pull()
        return out

    def watch(self, keys: Sequence[str]) -> None:
        """Nothing depends on who listens to a recording."""

    def _pull(self) -> None:
        entry = next(self._frames, None)
        self._ahead = None if entry is None else (self._pace.due_ms(_recorded_ms(entry)), entry.frame)

    # ---------------------------------------------------------------- applying

    def _apply(self, book: _Book, seen: Seen, out: list[Change]) -> None:
        key = seen.key
        if seen.ts_ms is not None:
            book.ts_ms = max(book.ts_ms, seen.ts_ms)
        second = self._tokens.get(seen.token, ("", 0))[1] == 1
        if seen.what == "trade":
            book.left -= bool(seen.token)
            price = PX_ONE_E4 - seen.px_e4 if second else seen.px_e4
            buys = seen.bid != second
            book.trade = price
            log = self.truth[key]
            log.add_print(book.ts_ms, price, seen.sz_e6, taker_buys=buys)
            out.append(
                Change(
                    kind=ChangeKind.TRADE, key=key, ts_ms=book.ts_ms, number=log.number, bid=buys, px_e4=price,
                    sz_e6=seen.sz_e6, trade_id=seen.trade_id,
                )
            )  # fmt: skip
            return
        book.left -= 1
        if not book.opened and seen.what == "level":
            return  # spoken of before its first whole book, which stands from the start
        if seen.what == "tick":
            if seen.px_e4 != book.listed.tick_e4:
                book.listed.tick_e4 = seen.px_e4
                out.append(Change(kind=ChangeKind.TICK, key=key, ts_ms=book.ts_ms, tick_e4=seen.px_e4))
        elif seen.what == "book":
            self._replace(book, seen, out)
        else:
            price = PX_ONE_E4 - seen.px_e4 if second else seen.px_e4
            bid = seen.bid != second
            side = book.bids if bid else book.asks
            size = side.get(price, 0) + seen.sz_e6 if seen.delta else seen.sz_e6
            if size < 0:
                self.negative_levels += 1
                size = 0
            self._set(book, price, size, out, bid=bid)

    def _replace(self, book: _Book, seen: Seen, out: list[Change]) -> None:
        if not book.opened:
            book.opened = True  # the first whole book stands since the start
            return
        bids, asks = self._sided(seen)
        for bid, side, fresh in ((True, book.bids, bids), (False, book.asks, asks)):
            for price in sorted(side.keys() - fresh.keys()):
                self._set(book, price, 0, out, bid=bid)
        for bid, fresh in ((True, bids), (False, asks)):
            for price, size in fresh.items():
                self._set(book, price, size, out, bid=bid)
        if self.venue is Venue.KALSHI and not bids and not asks and not book.left:
            # Kalshi ends a market with an empty book; nothing of it follows.
            book.listed.status = "closed"
            out.append(Change(kind=ChangeKind.STATUS, key=seen.key, ts_ms=book.ts_ms, status="closed"))

    def _set(self, book: _Book, price: int, size: int, out: list[Change], *, bid: bool) -> None:
        side = book.bids if bid else book.asks
        before = side.get(price, 0)
        if before == size:
            return
        if size:
            side[price] = size
        else:
            del side[price]
        log = self.truth[book.listed.key]
        log.add(book.ts_ms, price if bid else -price, size)
        out.append(
            Change(
                kind=ChangeKind.LEVEL, key=book.listed.key, ts_ms=book.ts_ms, number=log.number, bid=bid, px_e4=price,
                sz_e6=size, delta_e6=size - before,
            )
        )  # fmt: skip

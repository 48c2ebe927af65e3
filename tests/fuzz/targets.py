"""One target for each parser of bytes that are not ours: bytes in, and no word unless something is wrong.

A target reads its payload from the bytes (``dice``), hands it to the parser as the collector does, and lets nothing but
declared errors (``overround.errors``) pass. What a parser takes is followed to where it is used: books into stored rows,
markets into ``universe.jsonl``, frames into the journal and out again; and every price and size in a book is one that the
venue wrote, to the last digit.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gzip
import itertools
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import structlog

from overround.book import Book, BookShelf
from overround.config import load_settings
from overround.errors import UNREADABLE, OverroundError
from overround.market import DriftState, Integrity, Market, Venue
from overround.net import HttpClient, RetryPolicy
from overround.replay import RecordedFrame, open_recording
from overround.replay.rebuild import Rebuilder
from overround.scheduler import rank
from overround.storage import FrameJournal, LakePaths, SnapshotBuffer, read_journal, write_universe
from overround.storage.buffer import rows_of
from overround.storage.drift import add_drift, read_drift
from overround.storage.fileops import FileOps
from overround.storage.history import catalogue_as_of, catalogue_changes
from overround.storage.journal import check_journal
from overround.storage.manifest import read_manifest
from overround.storage.origin import read_origin
from overround.storage.quarantine import Quarantine, read_quarantine
from overround.storage.universe import read_universe
from overround.storage.wal import read_wal
from overround.testing.clock import ManualClock
from overround.venue import Feed
from overround.venue.kalshi import KalshiBooks, KalshiCatalog, KalshiFeed
from overround.venue.kalshi.calendar import KalshiCalendar
from overround.venue.kalshi.client import KalshiClient
from overround.venue.kalshi.profile import SHAPES as KALSHI_SHAPES
from overround.venue.polymarket import PolymarketBooks, PolymarketCatalog, PolymarketFeed
from overround.venue.polymarket.profile import SHAPES as POLYMARKET_SHAPES

from .dice import Dice, hostile
from .payloads import (
    CLOB_BOOKS,
    DRIFT_STATE,
    GAMMA_PAGES,
    KALSHI_BOOKS,
    KALSHI_PAGES,
    KALSHI_SCHEDULE,
    KALSHI_STATUS,
    MANIFEST_LINE,
    POLY_FRAMES,
    POLY_TEXTS,
    QUARANTINE_LINE,
    RECORDING_LINES,
    T0_MS,
    TICKERS,
    kalshi_frames,
    kalshi_market,
    kalshi_snapshot,
    poly_book,
    polymarket_market,
)

try:
    from compression import zstd
except ImportError:
    from backports import zstd

__all__ = ["TARGETS"]

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
NS = 1_000_000
DAY = "2026-09-21"


def target(run: Callable[[Dice], None]) -> Callable[[Dice], None]:
    """Enter a target under its name; the errors that it may end with end here."""

    @functools.wraps(run)
    def one(data: bytes) -> None:
        with structlog.testing.capture_logs(), contextlib.suppress(OverroundError):
            run(Dice(data))

    TARGETS[run.__name__] = one
    return run


@functools.cache
def scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="overround-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class _Quick(FileOps):
    """Nothing is synced: what is read here need not outlive the machine."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, folder: Path) -> None:
        pass


QUICK = _Quick()


@contextlib.contextmanager
def file_of(name: str, data: bytes) -> Iterator[Path]:
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# --- what a book may hold -----------------------------------------------------------------------------------------------


def numbers_in(frame: bytes) -> set[Decimal] | None:
    """Every number that a frame spells, as a number or in a text, exactly; None if it cannot be known."""
    found: set[Decimal] = set()

    def note(text: str) -> str:
        with contextlib.suppress(InvalidOperation, ValueError):
            if len(text) < 6_000 and (value := Decimal(text)).is_finite() and -6_000 < value.adjusted() < 60:
                found.add(value)
        return text

    def walk(value: object) -> None:
        if isinstance(value, str):
            note(value)
        for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(below)

    try:
        text = frame.decode("utf-8", "surrogateescape")
        walk(json.loads(text, strict=False, parse_float=note, parse_int=note, object_pairs_hook=_all_members))
    except (ValueError, RecursionError):
        return None
    return found


def _all_members(pairs: list[tuple[str, Any]]) -> list[Any]:
    return [value for _, value in pairs]


def check_book(book: Book, *, largest: int = 1 << 62) -> None:
    for ladder in (book.bids, book.asks):
        for px, sz in ladder.items():
            assert type(px) is int, ladder
            assert type(sz) is int, ladder
            assert 0 <= px <= 10_000, ladder
            assert 0 < sz < largest, ladder
    if book.live:
        assert book.best_bid_e4 == max(book.bids, default=-1)
        assert book.best_ask_e4 == min(book.asks, default=10_001)


def _alike(px_e4: int, alike: set[float]) -> bool:
    return px_e4 / 10_000 in alike or (10_000 - px_e4) / 10_000 in alike


def levels_of(book: Book) -> dict[tuple[bool, int], int]:
    return {(bid, px): sz for bid, side in ((True, book.bids), (False, book.asks)) for px, sz in side.items()}


def check_rows(market: Market, book: Book, verdict: Integrity) -> None:
    """The book as a row: what is stored is what the venue wrote, correctly rounded once."""
    if not book.had_book:
        return
    buffer = SnapshotBuffer()
    key = buffer.register(market.market_id, market.outcome_ids)
    buffer.append(
        key,
        T0_MS,
        book.bids,
        book.asks,
        seq=book.seq,
        source_ts=book.ts_venue_ms,
        stale=not book.live,
        err=book.err,
        integrity=verdict,
    )
    rows = rows_of(buffer.cut(), venue=market.venue, top_k=50)
    rows.validate(full=True)
    first = rows.to_pylist()[0]
    assert first["bid_sz"] == [book.bids[px] / 1_000_000 for px in sorted(book.bids, reverse=True)[:50]]


def check_journal_line(frame: bytes, *, is_json: bool) -> None:
    """A frame that is kept comes back out of the journal as it was."""
    journal = FrameJournal(
        LakePaths(scratch() / "journal"), "kalshi", level=1, bucket_s=300, clock=ManualClock(T0_MS), ops=QUICK
    )
    folder = scratch() / "journal"
    try:
        journal.frame("c", T0_MS * NS, frame, is_json)
        journal.frame("c", T0_MS * NS + 1, b'{"after":1}', True)
        journal.close()
        (path,) = folder.rglob("*.zst")
        kept = [entry.wire for entry in read_journal(path)]
        assert len(kept) == 2, (frame[:200], kept)
        assert kept[1] == b'{"after":1}'
        # Blanks between the tokens of a JSON text, and around it, say nothing.
        assert kept[0] == frame or (is_json and _same_json(kept[0], frame)), (frame[:200], kept[0][:200])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _same_json(one: bytes, other: bytes) -> bool:
    return b"".join(one.split()) == b"".join(other.split())


def drive(
    feed: Feed, market: Market, frames: Iterator[bytes], dice: Dice, check: Callable[[bytes, dict[Any, int]], None]
) -> None:
    """Frames into a feed as its shell hands them over, and everything that the shell asks in between."""
    now_ms = T0_MS + 30
    for frame in frames:
        book = feed.books.get(market.market_id)
        before = levels_of(book) if book is not None else {}
        is_json = feed.receive(frame, now_ms * NS)
        assert is_json is True or is_json is False
        book = feed.books.get(market.market_id)
        if book is not None:
            # Changes that are signed may add up to more than a row can hold; the row is refused then.
            check_book(book, largest=1 << (62 if market.venue is Venue.POLYMARKET else 70))
            check(frame, before)
        if dice.below(32) == 31:
            check_journal_line(frame, is_json=is_json)
        now_ms += 1 + 400 * dice.below(20)
        if feed.deadline_ms() is not None:
            feed.tick(now_ms=now_ms)
        proven_ms = feed.proven_ms(market.market_id)
        assert proven_ms is None or -(1 << 62) < proven_ms < 1 << 62
        book = feed.books.get(market.market_id)
        if book is not None and dice.below(8) == 7:
            check_rows(market, book, feed.verdict(market.market_id, now_ms=now_ms))
        msgspec.json.encode([feed.events, feed.counters])
        for text in feed.outbox:
            msgspec.json.decode(text) if text[:1] == "{" else text.encode("ascii")
        feed.outbox, feed.events = [], []
        if feed.reconnect_reason:
            feed.lost(now_ms=now_ms, reason=feed.reconnect_reason)
            feed.opened(now_ms=now_ms)
    book = feed.books.get(market.market_id)
    if book is not None:
        check_rows(market, book, feed.verdict(market.market_id, now_ms=now_ms))


# --- feeds ----------------------------------------------------------------------------------------------------------------


def _poly_frames(dice: Dice) -> Iterator[bytes]:
    for _ in range(1 + dice.below(6)):
        if dice.below(12) == 11:
            yield dice.pick(POLY_TEXTS) if dice.below(2) == 0 else dice.rest()
        else:
            yield hostile(dice, dice.pick(POLY_FRAMES))


@target
def polymarket_feed(dice: Dice) -> None:
    market = polymarket_market()
    passive = dice.below(4) == 3
    feed = PolymarketFeed(
        BookShelf(),
        passive=passive,
        check_each=dice.below(16) == 15,
        follow_all=dice.below(2) == 1,
        rng=random.Random(1),
        hash_every=0 if passive else dice.pick((0, 0, 0, 1, 16)),
        hash_share=1.0,
    )
    feed.add([market], now_ms=T0_MS)
    feed.opened(now_ms=T0_MS)
    exact: set[Decimal] = set()
    knows = True

    def check(frame: bytes, before: dict[Any, int]) -> None:
        nonlocal knows
        found = numbers_in(frame)
        knows = knows and found is not None
        exact.update(found or ())
        prices, alike = exact | {1 - value for value in exact if abs(value) <= 1}, doubles(exact)
        for (bid, px), sz in levels_of(feed.books[market.market_id]).items() if knows else ():
            assert Decimal(px) / 10_000 in prices or _alike(px, alike), (bid, px)
            assert Decimal(sz) / 1_000_000 in exact or sz / 1_000_000 in alike, (sz, frame[:2_000])

    for first in (poly_book(tick_size="0.01", last_trade_price="0.5"), poly_book(1)):
        feed.receive(encoded(first), T0_MS * NS)
        exact.update(numbers_in(encoded(first)) or ())
    drive(feed, market, _poly_frames(dice), dice, check)


def doubles(exact: set[Decimal]) -> set[float]:
    """Small numbers as doubles: one that no double tells from what is stored differs from it by less than 1e-9."""
    return {float(value) for value in exact if 0 <= value < 10**7}


@target
def kalshi_feed(dice: Dice) -> None:
    market = kalshi_market()
    passive = dice.below(4) == 3
    feed = KalshiFeed(
        BookShelf(),
        passive=passive,
        ignore_gaps=dice.below(8) == 7,
        channels=("orderbook_delta", "trade", "market_lifecycle_v2"),
        watch=dice.pick((0, 2)),
        audit_ms=None if passive else dice.pick((None, 1_000)),
    )
    feed.add([market, kalshi_market(TICKERS[1])], now_ms=T0_MS)
    feed.opened(now_ms=T0_MS)
    for number, channel in enumerate(("orderbook_delta", "trade", "market_lifecycle_v2"), 1):
        answer = {"type": "subscribed", "id": number, "msg": {"channel": channel, "sid": number}}
        feed.receive(encoded(answer), T0_MS * NS)
        feed.tick(now_ms=T0_MS)
    feed.receive(encoded(kalshi_snapshot(1)), T0_MS * NS)

    def check(frame: bytes, before: dict[Any, int]) -> None:
        found = numbers_in(frame)
        if found is None:
            return
        allowed = {int(value * 1_000_000) for value in found if abs(value) < 10**20 and value * 1_000_000 % 1 == 0}
        prices = {value for value in found if abs(value) <= 1}
        for (bid, px), sz in levels_of(feed.books[market.market_id]).items():
            old = before.get((bid, px), 0)
            if sz != old:
                assert sz in allowed or sz - old in allowed, (px, old, sz, frame[:300])
                assert Decimal(px) / 10_000 in prices | {1 - value for value in prices}, (px, frame[:300])

    def frames() -> Iterator[bytes]:
        seq = 2
        for _ in range(1 + dice.below(6)):
            if dice.below(12) == 11:
                yield dice.rest()
                continue
            frame = hostile(dice, dice.pick(kalshi_frames(seq)))
            yield frame
            with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
                seq = max(seq, 1 + json.loads(frame).get("seq", 0)) if dice.below(8) else seq

    drive(feed, market, frames(), dice, check)


# --- REST -------------------------------------------------------------------------------------------------------------------


@functools.cache
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    atexit.register(made.close)
    return made


class _Clock(ManualClock):
    """Nobody waits: sleeping moves the time."""

    async def sleep_ms(self, duration_ms: float) -> None:
        assert duration_ms < 1e12, "a wait without end"
        self._monotonic_ns += int(max(0.0, duration_ms) * NS)


class _Answers(httpx2.AsyncBaseTransport):
    """A host that answers every path with given bytes, page after page."""

    def __init__(self, bodies: Callable[[str], tuple[int, str, bytes]]) -> None:
        self._bodies, self._asked = bodies, 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._asked += 1
        if self._asked > 12:
            return httpx2.Response(404, content=b"enough")
        status, kind, body = self._bodies(request.url.path)
        wait = {"retry-after": kind} if status in (429, 503) else {"content-type": kind}
        return httpx2.Response(status, content=body, headers=wait)


_WAITS = (
    "1",
    "0",
    "-1",
    "1e400",
    "nan",
    "99999999999999999999",
    "Wed, 21 Oct 2099 07:28:00 GMT",
    "x",
    "",
    "0.5",
    "1" * 400,
)


def _http(dice: Dice, body_of: Callable[[str], bytes]) -> HttpClient:
    def answer(path: str) -> tuple[int, str, bytes]:
        status = dice.pick((200, 200, 200, 200, 200, 200, 200, 400, 404, 429, 503, 413))
        kind = dice.pick(_WAITS) if status in (429, 503) else dice.pick(("application/json", "text/html", ""))
        if status == 200 and dice.below(4):
            kind = "application/json"
        return status, kind, body_of(path)

    return HttpClient(
        clock=_Clock(T0_MS), rng=random.Random(1), retry=RetryPolicy(attempts=1), transport=_Answers(answer)
    )


def _markets(catalog: Any, client: HttpClient) -> list[Market]:
    async def read() -> list[Market]:
        try:
            return [market async for market in catalog.markets()]
        finally:
            await client.close()

    return loop().run_until_complete(read())


def _use(markets: list[Market], venue: Venue) -> None:
    """A listing's way through the collector: on disk and back, and into the rotation."""
    paths = LakePaths(scratch() / "universe")
    try:
        write_universe(paths, venue, DAY, markets, ops=QUICK)
        again = {market.market_id: market for market in read_universe(paths.universe(venue, DAY))}
        assert again == {market.market_id: market for market in markets}
    finally:
        shutil.rmtree(scratch() / "universe", ignore_errors=True)
    rank(markets, {}, now_ms=T0_MS)
    for market in markets:
        for band in market.tick_grid:
            assert 0 <= band.start_e4 <= band.end_e4 <= 10_000, band
            assert band.step_e4 > 0, band
        assert market.market_id
        assert len(market.outcome_ids) == 2
        assert 0 <= market.min_size_e6 < 1 << 62


@target
def gamma_listing(dice: Dice) -> None:
    client = _http(dice, lambda _: hostile(dice, dice.pick(GAMMA_PAGES)) if dice.below(16) < 15 else dice.rest())
    markets = _markets(PolymarketCatalog(client, "https://gamma.test", clock=ManualClock(T0_MS)), client)
    _use(markets, Venue.POLYMARKET)


@target
def clob_books(dice: Dice) -> None:
    market = polymarket_market()
    bodies: list[bytes] = []

    def body(_: str) -> bytes:
        bodies.append(hostile(dice, dice.pick(CLOB_BOOKS)) if dice.below(16) < 15 else dice.rest())
        return bodies[-1]

    client = _http(dice, body)

    async def read() -> Any:
        try:
            return await PolymarketBooks(client, "https://clob.test").books([market])
        finally:
            await client.close()

    for book in loop().run_until_complete(read()):
        _check_rest_book(book, bodies, market)
        for passive in (False, True):
            feed = PolymarketFeed(BookShelf(), passive=passive, rng=random.Random(1))
            feed.add([market], now_ms=T0_MS)
            feed.opened(now_ms=T0_MS)
            if dice.below(2):
                feed.receive(encoded(poly_book()), T0_MS * NS)
            feed.rest_book(book, now_ms=T0_MS + 5)
            check_rows(market, feed.books[market.market_id], feed.verdict(market.market_id, now_ms=T0_MS + 5))


def _check_rest_book(book: Any, bodies: list[bytes], market: Market) -> None:
    assert book.market_id == market.market_id
    msgspec.json.decode(msgspec.json.encode(book), type=type(book))
    whole = Book()
    whole.replace(dict(book.bids), dict(book.asks))
    check_book(whole)
    whole.live, whole.ts_venue_ms = True, book.ts_venue_ms
    check_rows(market, whole, Integrity.UNVERIFIED)
    found = [numbers_in(body) for body in bodies]
    exact = {value for each in found if each is not None for value in each}
    alike = doubles(exact)
    for (_, px), sz in levels_of(whole).items() if None not in found else ():
        assert {Decimal(px) / 10_000, 1 - Decimal(px) / 10_000} & exact or _alike(px, alike), px
        assert Decimal(sz) / 1_000_000 in exact or sz / 1_000_000 in alike, sz


@target
def kalshi_listing(dice: Dice) -> None:
    def body(path: str) -> bytes:
        name = "/" + path.rsplit("/", 1)[-1]
        if dice.below(16) == 15:
            return dice.rest()
        return hostile(dice, dice.pick(KALSHI_PAGES.get(name, KALSHI_PAGES["/series"])))

    client = _http(dice, body)
    catalog = KalshiCatalog(client, "https://kalshi.test/trade-api/v2", clock=ManualClock(T0_MS))
    _use(_markets(catalog, client), Venue.KALSHI)


@target
def kalshi_books(dice: Dice) -> None:
    bodies: list[bytes] = []

    def body(_: str) -> bytes:
        bodies.append(hostile(dice, dice.pick(KALSHI_BOOKS)) if dice.below(16) < 15 else dice.rest())
        return bodies[-1]

    client, market = _http(dice, body), kalshi_market()

    async def read() -> Any:
        try:
            return await KalshiBooks(client, "https://kalshi.test", clock=ManualClock(T0_MS)).books([market])
        finally:
            await client.close()

    for book in loop().run_until_complete(read()):
        _check_rest_book(book, bodies, market)


@target
def kalshi_calendar(dice: Dice) -> None:
    def body(path: str) -> bytes:
        return hostile(dice, dice.pick(KALSHI_STATUS if path.endswith("status") else KALSHI_SCHEDULE))

    client = _http(dice, body)
    calendar = KalshiCalendar(KalshiClient(client, "https://kalshi.test", clock=ManualClock(T0_MS)))

    async def ask() -> None:
        # By its contract it raises nothing for a venue that does not answer.
        try:
            pauses = await calendar.pauses(from_ms=T0_MS, to_ms=T0_MS + 86_400_000 * 3)
            trades = await calendar.trading()
        except OverroundError as exc:
            raise AssertionError("the calendar raised") from exc
        finally:
            await client.close()
        assert isinstance(trades, bool)
        for one, other in itertools.pairwise(pauses):
            assert one.end_ms < other.start_ms, pauses
        assert all(pause.start_ms < pause.end_ms for pause in pauses), pauses

    loop().run_until_complete(ask())


# --- the sentinel: it sees every frame and every answer -------------------------------------------------------------------


@target
def shapes(dice: Dice) -> None:
    for frame in _poly_frames(dice):
        assert isinstance(POLYMARKET_SHAPES.guess(frame), str)
        _examined(POLYMARKET_SHAPES.frame(frame))
    for _ in range(1 + dice.below(3)):
        frame = hostile(dice, dice.pick(kalshi_frames(2)))
        assert isinstance(KALSHI_SHAPES.guess(frame), str)
        _examined(KALSHI_SHAPES.frame(frame))
    for known, path, pages in (
        (POLYMARKET_SHAPES, "/markets/keyset", GAMMA_PAGES),
        (POLYMARKET_SHAPES, "/books", CLOB_BOOKS),
        (KALSHI_SHAPES, "/trade-api/v2/markets/orderbooks", KALSHI_BOOKS),
        *((KALSHI_SHAPES, f"/trade-api/v2{path}", pages) for path, pages in KALSHI_PAGES.items()),
    ):
        # These the sentinel takes for an answer that is no documented page.
        with contextlib.suppress(*UNREADABLE):
            for kind, record, raw in known.answers(path, hostile(dice, dice.pick(pages)), range):
                departures, _ = known.examine(kind, record)
                msgspec.json.encode([departures, str(raw[:10])])


def _examined(examined: Any) -> None:
    msgspec.json.encode([examined.departures])
    for seen in examined.seen:
        assert seen is not None


# --- recordings ---------------------------------------------------------------------------------------------------------------


def _lines(dice: Dice, payloads: tuple[Any, ...]) -> bytes:
    first = dice.pick(payloads)
    lines = [
        dice.rest() if dice.below(24) == 23 else hostile(dice, first if dice.below(3) else dice.pick(payloads))
        for _ in range(1 + dice.below(6))
    ]
    text = b"\n".join(lines) + (b"\n" if dice.below(4) else b"")
    return _packed(dice, text)


def _packed(dice: Dice, text: bytes) -> bytes:
    packer = dice.below(6)
    data = gzip.compress(text, 1, mtime=0) if packer == 4 else zstd.compress(text, 1) if packer == 5 else text
    if packer >= 4 and dice.below(2):
        at = dice.below(len(data) or 1)
        data = data[:at] + dice.rest() + (data[at:] if dice.below(2) else b"")
    return data


@target
def recording(dice: Dice) -> None:
    venue = dice.pick(tuple(Venue))
    with file_of("recording/part.jsonl", _lines(dice, RECORDING_LINES)) as path:
        recording = open_recording([path.parent if dice.below(2) else path], venue)
        rebuilder = Rebuilder(venue, ignore_gaps=dice.below(2) == 1)
        for entry in recording:
            assert isinstance(entry, RecordedFrame)
            rebuilder.receive(entry)
        outcomes = [outcome for market_id in rebuilder.market_ids() for outcome in rebuilder.outcomes(market_id)]
        msgspec.json.encode([rebuilder.rebuilt(outcomes), [str(damage) for damage in recording.damages]])


@target
def journal(dice: Dice) -> None:
    text = b"\n".join(hostile(dice, dice.pick(RECORDING_LINES[3:8])) for _ in range(1 + dice.below(6))) + b"\n"
    data = zstd.compress(text, 1)
    if dice.below(2):
        at = dice.below(len(data))
        data = data[:at] + dice.rest() + (data[at:] if dice.below(2) else b"")
    with file_of("journal/venue=kalshi/frames_2026-09-21T14-00.jsonl.zst", data) as path:
        for entry in read_journal(path):
            assert isinstance(entry.wire, bytes)
            assert isinstance(entry.at_ns, int)
        check_journal(path)
        for entry in open_recording([path], Venue.KALSHI):
            assert isinstance(entry.frame, bytes)


# --- files of our own, after somebody or some disk has been at them -----------------------------------------------------------


@target
def quarantine(dice: Dice) -> None:
    data = b"\n".join(hostile(dice, QUARANTINE_LINE) for _ in range(1 + dice.below(4))) + b"\n"
    with file_of("quarantine/part.jsonl", data) as path:
        for entry in read_quarantine(path):
            assert isinstance(entry.wire, bytes)
    # And what is put in: any message of the venue.
    keeper = Quarantine(
        LakePaths(scratch() / "kept"), "kalshi", writer="w", bytes_per_day=1 << 20, per_name_and_day=100, ops=QUICK
    )
    messages = [hostile(dice, dice.pick(POLY_FRAMES)), dice.rest()]
    try:
        for message in messages:
            keeper.put(now_ms=T0_MS, recv_ns=T0_MS * NS, conn="c", message=message, why="w", name="n")
        keeper.flush(T0_MS)
        (path,) = (scratch() / "kept").rglob("*.jsonl")
        again = [entry.wire for entry in read_quarantine(path)]
        assert len(again) == 2, (messages, again)
        for message, kept in zip(messages, again, strict=True):
            assert kept == message or _same_json(kept, message), (message, kept)
    finally:
        shutil.rmtree(scratch() / "kept", ignore_errors=True)


@target
def manifest(dice: Dice) -> None:
    data = b"\n".join(hostile(dice, MANIFEST_LINE) for _ in range(1 + dice.below(4))) + b"\n"
    with file_of("manifest.jsonl", data) as path:
        for name, line in read_manifest(path).items():
            assert isinstance(name, str)
            assert isinstance(line.rows, int)


@target
def universe(dice: Dice) -> None:
    valid = msgspec.to_builtins(polymarket_market() if dice.below(2) else kalshi_market())
    data = b"\n".join(hostile(dice, valid) for _ in range(1 + dice.below(3))) + b"\n"
    with file_of("universe.jsonl", data) as path:
        markets = read_universe(path)
        rank(markets, {}, now_ms=T0_MS)


@target
def drift_state(dice: Dice) -> None:
    paths = LakePaths(scratch() / "drift")
    entry = {"sort": "domain", "name": "a.b", "first_ms": 1, "last_ms": 2, "count": 3, "detail": "", "sample": ""}
    data = hostile(dice, {**DRIFT_STATE, "found": {"domain a.b": entry}} if dice.below(4) else DRIFT_STATE)
    with file_of(str(paths.drift("kalshi").relative_to(scratch())), data):
        with contextlib.suppress(OverroundError):
            read_drift(paths, "kalshi")
        add_drift(paths, "kalshi", DriftState(), ops=QUICK)


@target
def origin(dice: Dice) -> None:
    paths = LakePaths(scratch() / "origin")
    with file_of(str(paths.origin().relative_to(scratch())), hostile(dice, {"origin": "live"})):
        read_origin(paths)


@target
def catalogue(dice: Dice) -> None:
    paths = LakePaths(scratch() / "catalogue")
    record = msgspec.to_builtins(kalshi_market())
    commit = {"at": T0_MS, "scan": T0_MS, "listed": 1, "changes": 1, "checkpoint": True}
    lines: list[Any] = [{"commit": commit}, {"m": TICKERS[0], "f": T0_MS, "full": record}]
    later: list[Any] = [
        {"commit": {**commit, "at": T0_MS + 5, "checkpoint": False}},
        {"m": TICKERS[0], "set": {"title": "new"}},
    ]
    data = b"".join(
        zstd.compress(b"\n".join(hostile(dice, line) for line in part) + b"\n", 1) for part in (lines, later)
    )
    if dice.below(4) == 3:
        at = dice.below(len(data))
        data = data[:at] + dice.rest() + data[at + 1 :]
    with file_of(str(paths.history_file("kalshi", "2026-09").relative_to(scratch())), data):
        for read in (catalogue_as_of, _changes):
            with contextlib.suppress(OverroundError):
                read(paths, "kalshi", T0_MS + 9)


def _changes(paths: LakePaths, venue: str, ts_ms: int) -> object:
    return catalogue_changes(paths, venue, key=TICKERS[0], until_ms=ts_ms)


@functools.cache
def _whole_wal() -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    schema = pa.schema([("ts_recv", pa.int64()), ("venue", pa.string()), ("px", pa.list_(pa.float64()))])
    with pa.ipc.new_stream(sink, schema.with_metadata({"overround.wal_id": "w", "overround.bucket_s": "300"})) as out:
        for n in range(3):
            out.write_batch(pa.record_batch([[n], ["kalshi"], [[0.5, n / 8]]], schema=schema))
    return bytes(sink.getvalue())


@target
def write_ahead(dice: Dice) -> None:
    data = bytearray(_whole_wal())
    for _ in range(dice.below(5)):
        data[dice.below(len(data))] = dice.below(256)
    if dice.below(3) == 2:
        del data[dice.below(len(data)) :]
    with file_of("a.wal", bytes(data)) as path:
        found = read_wal(path)
        assert found.n_rows >= 0


_TOML = (
    b'data_dir = "data"\ntop_k = 50\n[mock]\nenabled = true\nmarkets = 100\n[venues.kalshi]\nenabled = true\n'
    b'api_key = "k"\nhot_count = 40\nopen_per_second = 2.5\n[storage]\njournal = true\nflush_secs = 5\noutcomes = "both"\n'
)  # fmt: skip
_TOML_VALUES = (
    b"-1", b"0", b"1e400", b"nan", b"inf", b"-inf", b"10000000000000000000000000000", b'""', b'"x"', b"[]", b"{}", b"{a=1}", b"true",
    b"1979-05-27T07:32:00Z", b"07:32:00", b'"\\u0000"', b'"\\ud800"', b'"\xff"', b"[[1]]", b'"1"', b"0x10", b"''", b"'''a\n'''",
    b"[" * 2_000, b"[" * 2_000 + b"]" * 2_000,
)  # fmt: skip


@target
def settings_file(dice: Dice) -> None:
    lines = _TOML.splitlines()
    for _ in range(dice.below(4)):
        at = dice.below(len(lines))
        name, equals, _ = lines[at].partition(b"=")
        change = dice.below(6)
        if equals and change < 4:
            lines[at] = name + b"=" + dice.pick(_TOML_VALUES)
        elif change == 4:
            lines.insert(at, lines[dice.below(len(lines))])
        else:
            lines[at] = dice.pick(
                (b"[a.b.c]", b"[[venues]]", b"venues = 1", b"x = 1", b"[venues.kalshi.api_key]", dice.rest())
            )
    environ = {}
    if dice.below(3) == 2:
        name = dice.pick(
            ("TOP_K", "VENUES__KALSHI", "VENUES__KALSHI__HOT_COUNT", "A__B__C", "TOP_K__X", "__", "", "MOCK__ENABLED")
        )
        environ["OVERROUND_" + name] = dice.pick(("", "1", "x", "nan", "1e400", "\udcff", "[]", "{}", "9" * 5_000))
    with file_of("surveillance.toml", b"\n".join(lines)) as path:
        load_settings(path, environ=environ)

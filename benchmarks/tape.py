"""Tapes: what a venue would send on one connection, made offline by the local exchange.

The exchange's hub and the production feed are joined without a socket: the feed's commands go into the hub, the
hub's frames into the feed. So a tape is what the venue answers to exactly the commands that the feed sends when it
meets the tape again on a real socket: a prologue in stages (so many commands, then so many frames), and the frames
that follow when everything is subscribed.

    uv run python benchmarks/tape.py            # what is on the tapes
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from overround.book import BookShelf
from overround.config import PolymarketSettings
from overround.exchange import polymarket_frames
from overround.exchange.book_text import BookText, HashInputs
from overround.exchange.generator import GeneratedSource
from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.link import Link
from overround.exchange.model import ChangeKind, Listed
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.settings import HashEra, KalshiOptions, PolymarketOptions
from overround.exchange.universe import WorldSpec
from overround.market import (
    PX_ONE_E4,
    Integrity,
    Market,
    MarketId,
    MarketStatus,
    OutcomeId,
    TickBand,
    Venue,
    px_text,
    sz_text,
)
from overround.venue.kalshi.feed import KalshiFeed
from overround.venue.polymarket.feed import PolymarketFeed
from overround.venue.ports import Feed

__all__ = [
    "OfflineVenue",
    "Stage",
    "Tape",
    "TwoStateMarket",
    "make_feed",
    "make_tape",
    "market_of",
    "two_state_markets",
    "world",
]

STEP_MS = 10
PATTERNS = 2_000  # distinct books of two-state markets
PRINTS_KEPT = {Venue.POLYMARKET: 0.36, Venue.KALSHI: 1.0}
"""Of the generated world's prints. Its busiest markets print once in nine changes, as Kalshi's did on an NBA evening;
Polymarket's recorded stream has 16 prints (each shown with two whole books) to 401 changes."""
_LONG_MS = 1_000_000_000
_SETTLES_WITHIN_MS = 30_000


def make_feed(venue: Venue, shelf: BookShelf, *, heartbeat_ms: int = 10_000, hash_every: int | None = None) -> Feed:
    """A feed as the collector makes it."""
    if venue is Venue.KALSHI:
        return KalshiFeed(shelf)
    every = PolymarketSettings().hash_sample_every if hash_every is None else hash_every
    return PolymarketFeed(shelf, rng=random.Random(1), heartbeat_ms=heartbeat_ms, hash_every=every)


def world(n_markets: int, *, seed: int = 7, rate_scale: float = 1.0) -> GeneratedSource:
    """A generated world that has so many markets on each venue, and nothing dated that ends them."""
    return GeneratedSource(
        WorldSpec(
            polymarket_markets=n_markets,
            kalshi_markets=n_markets,
            seed=seed,
            rate_scale=rate_scale,
            windows=False,
            planted=0,
            keep_truth_s=10.0,
        )
    )


def market_of(listed: Listed) -> Market:
    """A listing as the catalogue would give it to the feed."""
    return Market(
        market_id=MarketId(listed.key),
        outcome_ids=(OutcomeId(listed.tokens[0]), OutcomeId(listed.tokens[1])),
        title=listed.title,
        close_ts=listed.close_ms,
        open_ts=listed.open_ms,
        status=MarketStatus.ACTIVE,
        tags=(),
        venue=listed.venue,
        tick_grid=(TickBand(0, 10_000, listed.tick_e4),),
        min_size_e6=listed.min_size_e6,
        neg_risk=bool(listed.event.neg_risk_id),
    )


class _NoWire:
    """Where a link's bytes would go; ``_TapeLink`` keeps payloads instead."""

    def write(self, data: bytes) -> None: ...

    def backlog(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"the exchange closed the connection: {code} {reason}")

    def abort(self) -> None:
        raise AssertionError("the exchange dropped the connection")

    def hang_up(self) -> None:
        raise AssertionError("the exchange hung up")


class _TapeLink(Link):
    """Hands each payload over instead of framing it."""

    __slots__ = ("take",)

    def __init__(self, take: Callable[[bytes], None]) -> None:
        super().__init__("tape-0", 0, _NoWire(), lambda _: None)
        self.take = take

    def put(self, payload: bytes) -> None:
        self.take(payload)
        self.frames += 1

    def put_bytes(self, data: bytes) -> None:
        """Protocol pings are not on the tape."""


class OfflineVenue:
    """One venue of a generated world and one connection to it, joined without a socket.

    ``on_frame`` is given each frame and how many commands the venue had received by then.

    Attributes
    ----------
    now_ms : int
        Venue time, and the time that the feed is told.
    commands : list of str
        What the feed has sent.
    """

    def __init__(
        self, venue: Venue, source: GeneratedSource, feed: Feed, on_frame: Callable[[bytes, int], None]
    ) -> None:
        self.venue, self.source, self.feed = venue, source, feed
        self.now_ms = source.spec.now_ms + 1
        self.commands: list[str] = []
        self._on_frame = on_frame
        rng, self._prints = random.Random(5), random.Random(6)
        self._hub: PolymarketHub | KalshiHub
        if venue is Venue.POLYMARKET:
            self._hub = PolymarketHub(source, PolymarketOptions(heartbeat_ms=0), rng)
        else:
            self._hub = KalshiHub(source, KalshiOptions(), rng)
        self._link = _TapeLink(self._deliver)
        self._hub.attach(self._link, self.now_ms)
        feed.opened(now_ms=self.now_ms)

    def markets(self, n: int, *, open_for_ms: int = 6 * 3_600_000) -> list[Market]:
        """The busiest markets that stay open."""
        listings = self.source.listings
        keys = [key for key in self.source.markets(self.venue) if listings[key].close_ms > self.now_ms + open_for_ms]
        return [market_of(listings[key]) for key in keys[:n]]

    def step(self, to_ms: int) -> None:
        """Let the time pass: changes, put-off frames, the feed's deadlines and commands."""
        self.now_ms = to_ms
        changes = [
            change
            for change in self.source.advance(to_ms)
            if change.kind is not ChangeKind.TRADE or self._prints.random() < PRINTS_KEPT[self.venue]
        ]
        if changes:
            self._hub.apply(changes, to_ms)
        self._hub.poll(to_ms)
        deadline = self.feed.deadline_ms()
        if deadline is not None and deadline <= to_ms:
            self.feed.tick(now_ms=to_ms)
        self.exchange_commands()

    def exchange_commands(self) -> None:
        """Give the feed's commands to the venue one by one, and its answers back, until it has no more to say."""
        while self.feed.outbox:
            text = self.feed.outbox.pop(0)
            self.commands.append(text)
            self._hub.receive(self._link, text, self.now_ms)

    def _deliver(self, payload: bytes) -> None:
        self._on_frame(payload, len(self.commands))
        self.feed.receive(payload, self.now_ms * 1_000_000)


@dataclass(frozen=True)
class Stage:
    """Frames that the venue sends once it has received so many commands."""

    commands: int
    frames: list[bytes]


@dataclass
class Tape:
    """One connection's traffic.

    Attributes
    ----------
    markets : list of Market
        Subscribed, busiest first.
    commands : list of str
        What the feed sent.
    prologue : list of Stage
        Answers and first books.
    frames : list of bytes
        What follows.
    seconds : float
        Venue time that the frames cover.
    """

    venue: Venue
    markets: list[Market]
    commands: list[str]
    prologue: list[Stage]
    frames: list[bytes]
    seconds: float

    @property
    def mix(self) -> dict[str, float]:
        """Share of each kind among the frames."""
        kinds = Counter(_kind(frame) for frame in self.frames)
        return {kind: count / len(self.frames) for kind, count in kinds.most_common()}

    @property
    def mean_bytes(self) -> float:
        return sum(map(len, self.frames)) / len(self.frames)

    def described(self) -> str:
        mix = ", ".join(f"{kind} {share:.1%}" for kind, share in self.mix.items())
        return (
            f"{self.venue}: {len(self.markets)} markets, {len(self.frames):,} frames of {self.mean_bytes:.0f} bytes "
            f"({mix}), {self.seconds:.0f} s of venue time"
        )


def _kind(frame: bytes) -> str:
    message = json.loads(frame)
    if isinstance(message, list):
        return "array"
    return str(message.get("event_type") or message.get("type"))


def make_tape(venue: Venue, *, n_markets: int, n_frames: int, seed: int = 7) -> Tape:
    """A tape of the busiest markets of a generated world.

    Raises
    ------
    AssertionError
        If a book on it is not proved right at its end, or the feed had something to repair.
    """
    source = world(2 * n_markets, seed=seed)
    feed = make_feed(venue, BookShelf(), heartbeat_ms=_LONG_MS)
    stages: dict[int, list[bytes]] = {}
    offline = OfflineVenue(venue, source, feed, lambda frame, heard: stages.setdefault(heard, []).append(frame))
    markets = offline.markets(n_markets)
    feed.add(markets, now_ms=offline.now_ms)
    offline.exchange_commands()
    give_up_ms = offline.now_ms + _SETTLES_WITHIN_MS
    while not _settled(feed):
        offline.step(offline.now_ms + STEP_MS)
        assert offline.now_ms < give_up_ms, [str(m) for m, book in feed.books.items() if not book.live]
    prologue = [Stage(heard, frames) for heard, frames in stages.items()]
    n_commands, started_ms = len(offline.commands), offline.now_ms
    frames = stages[n_commands] = []
    while len(frames) < n_frames:
        offline.step(offline.now_ms + STEP_MS)
    assert len(offline.commands) == n_commands, f"the feed repaired: {offline.commands[n_commands:]}"
    proved = [feed.verdict(market.market_id, now_ms=offline.now_ms) for market in markets]
    assert set(proved) == {Integrity.VERIFIED}, Counter(proved)
    return Tape(venue, markets, offline.commands, prologue, frames[:n_frames], (offline.now_ms - started_ms) / 1000)


def _settled(feed: Feed) -> bool:
    books = feed.books.values()
    waiting = feed.deadline_ms()
    busy = isinstance(feed, KalshiFeed) and waiting is not None and waiting - feed.last_recv_ns // 1_000_000 < 5_000
    return bool(books) and all(book.live for book in books) and not feed.outbox and not busy


class TwoStateMarket(NamedTuple):
    """A Polymarket market whose book goes back and forth between two states, with the venue's hashes for both."""

    market: Market
    books: tuple[bytes, bytes]
    changes: tuple[bytes, bytes]  # to the other state, and back


def two_state_markets(n: int, *, seed: int = 7) -> list[TwoStateMarket]:
    """Any number of markets; their books are those of a generated world, with about 50 levels."""
    source = world(PATTERNS, seed=seed)
    patterns = []
    for key in source.markets(Venue.POLYMARKET):
        bids, asks = source.levels(key)
        if bids and asks:
            patterns.append((source.listings[key], dict(bids), dict(asks)))
    rng = random.Random(seed)
    stamp = str(source.spec.now_ms)
    later = str(source.spec.now_ms + 1)
    made = []
    for number in range(n):
        listed, bids, asks = patterns[number % len(patterns)]
        key = f"0x{rng.getrandbits(256):064x}"
        tokens = tuple(str(rng.randrange(10**76, 10**77)) for _ in range(2))
        tick = px_text(listed.tick_e4)
        inputs = [
            HashInputs(
                era=HashEra.TEN,
                market=key,
                asset_id=token,
                min_order_size=sz_text(listed.min_size_e6),
                tick_size=tick,
                neg_risk=bool(listed.event.neg_risk_id),
                last_trade_price="0.5",
            )
            for token in tokens
        ]
        text = BookText(bids, asks)
        books = tuple(
            polymarket_frames.book(
                key,
                tokens[token],
                timestamp=stamp,
                digest=inputs[token].digest(stamp.encode(), *text.sides(token)),
                bids=text.sides(token)[0],
                asks=text.sides(token)[1],
                tick_size=tick,
                last_trade_price="0.5",
            )
            for token in (0, 1)
        )
        px = max(bids)
        changes = []
        for size in (bids[px] + 25_000_000, bids[px]):
            shown = sz_text(size)
            text.set_level(bid=True, px=px, size=shown)
            entries = tuple(
                (
                    tokens[token],
                    px_text(PX_ONE_E4 - px if token else px),
                    shown,
                    "SELL" if token else "BUY",
                    inputs[token].digest(later.encode(), *text.sides(token)),
                    polymarket_frames.bid_text(text.best(token)[0]),
                    polymarket_frames.ask_text(text.best(token)[1]),
                )
                for token in (0, 1)
            )
            frame = polymarket_frames.price_change(key, entries, later)
            changes.append(polymarket_frames.spaced(frame) if rng.random() < 0.3 else frame)
        market = msgspec.structs.replace(
            market_of(listed), market_id=MarketId(key), outcome_ids=tuple(map(OutcomeId, tokens)), close_ts=None
        )
        made.append(TwoStateMarket(market, books, tuple(changes)))
    return made


def tapes(n_markets: int, n_frames: int, venues: Sequence[Venue] = tuple(Venue)) -> list[Tape]:
    return [make_tape(venue, n_markets=n_markets, n_frames=n_frames) for venue in venues]


if __name__ == "__main__":
    for made in tapes(150, 50_000):
        print(made.described())
        print("  prologue:", [(stage.commands, len(stage.frames)) for stage in made.prologue])

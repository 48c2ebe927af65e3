"""The two venues as the shells see them, made from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Protocol

import msgspec

from overround.book import BookShelf
from overround.clock import Clock
from overround.config import KalshiSettings, PolymarketSettings, Settings
from overround.errors import ConfigError
from overround.market import Origin, Venue
from overround.net import HttpClient, Socket, open_socket
from overround.ops import register_secret
from overround.venue.kalshi.calendar import KalshiCalendar
from overround.venue.kalshi.client import KalshiBooks, KalshiCatalog, KalshiClient
from overround.venue.kalshi.commands import BOOKS
from overround.venue.kalshi.feed import KalshiFeed
from overround.venue.kalshi.profile import SHAPES as KALSHI_SHAPES
from overround.venue.kalshi.sign import Signer
from overround.venue.polymarket.client import PolymarketBooks, PolymarketCatalog
from overround.venue.polymarket.feed import PolymarketFeed
from overround.venue.polymarket.profile import SHAPES as POLYMARKET_SHAPES
from overround.venue.ports import BookSource, Feed, MarketCatalog, TradingCalendar
from overround.venue.repair import RepairBudgets
from overround.venue.shapes import VenueShapes

__all__ = ["FeedOptions", "VenueAdapter", "make_feed", "open_adapter"]

OpenSocket = Callable[..., Awaitable[Socket]]


class MakeFeed(Protocol):
    """A new connection's feed over a shelf, with randomness of its own; ``follow_all`` for the one that hears of every market of the venue."""

    def __call__(self, shelf: BookShelf, rng: Random, *, follow_all: bool = False) -> Feed:
        """Make it."""
        ...


# Documented request budgets, (requests, seconds), by endpoint family; we allow ourselves `rate_fraction` of them.
# Polymarket: sliding windows of 10 s (documentation, spring 2026). Kalshi: the basic tier's 200 tokens a second
# at 10 tokens a request.
POLYMARKET_BUDGETS: dict[str, tuple[float, float]] = {
    "default": (4_000, 10),
    "gamma": (4_000, 10),
    "gamma/events": (500, 10),
    "gamma/markets": (300, 10),
    "clob": (9_000, 10),
    "clob/book": (1_500, 10),
    "clob/books": (500, 10),
}
KALSHI_BUDGETS: dict[str, tuple[float, float]] = {"default": (20, 1)}


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say to a venue's feeds.

    Attributes
    ----------
    heartbeat_ms : int or None
        Where we send the heartbeats.
    hash_every, hash_share : int, float
        Which changes are proved between rows, and the share of a core that one connection's proofs may take.
    audit_ms : int or None
        Time between two books that are asked for to compare them with those held, where the venue has such a request.
    watch : int
        Markets at a time whose prints are held against their changes, where the venue sends both.
    """

    heartbeat_ms: int | None = None
    hash_every: int = 0
    hash_share: float = 0.0
    audit_ms: int | None = None
    watch: int = 0


def make_feed(
    venue: Venue,
    options: FeedOptions,
    shelf: BookShelf,
    rng: Random,
    *,
    follow_all: bool = False,
    budgets: RepairBudgets | None = None,
) -> Feed:
    """A feed as a recording makes it; ``budgets`` is one object for all feeds of a venue and a recording."""
    if venue is Venue.POLYMARKET:
        return PolymarketFeed(
            shelf,
            rng=rng,
            heartbeat_ms=options.heartbeat_ms or 10_000,
            follow_all=follow_all,
            hash_every=options.hash_every,
            hash_share=options.hash_share,
            budgets=budgets,
        )
    # The lifecycle channel takes no market filter: it tells of every market.
    lifecycle = ("market_lifecycle_v2",) if follow_all else ()
    return KalshiFeed(
        shelf,
        channels=(BOOKS, "trade", *lifecycle),
        budgets=budgets,
        audit_ms=options.audit_ms,
        watch=options.watch,
    )


@dataclass(frozen=True, kw_only=True)
class VenueAdapter:
    """One venue, ready to be asked.

    Attributes
    ----------
    venue : Venue
    catalog : MarketCatalog
    book_source : BookSource
    http : HttpClient
        Closed by ``aclose``.
    open_socket : callable
        ``await open_socket(on_opened=…, on_frame=…, on_closed=…)``; signs anew each time.
    make_feed : callable
        A new connection's feed over a shelf, with randomness of its own; exactly one of a venue sets ``follow_all`` and
        reports what is listed and resolved elsewhere, too. All feeds of the venue share its repair budgets.
    feed_options : FeedOptions
        What ``make_feed`` gives every feed; with it and the seed, a journal tells how to make the same feed again.
    repair_budgets : RepairBudgets
        What ``make_feed`` gives all feeds together.
    markets_per_connection : int
    can_stream : bool
        False where the socket needs a key that is not configured.
    proves_after_the_fact : bool
        Books are proved by a hash that may fail later (Polymarket), not by a sequence.
    shapes : VenueShapes
        What the venue documents.
    audits_by_rest : bool
        REST books can be ordered against the socket's (they carry the book's own time).
    books_per_request : int
        What one request for books may ask for.
    calendar : TradingCalendar or None
        When silence is no fault; None for a venue that never closes.
    """

    venue: Venue
    catalog: MarketCatalog
    book_source: BookSource
    http: HttpClient
    open_socket: OpenSocket
    make_feed: MakeFeed
    feed_options: FeedOptions
    repair_budgets: RepairBudgets
    markets_per_connection: int
    can_stream: bool
    proves_after_the_fact: bool
    audits_by_rest: bool
    shapes: VenueShapes
    books_per_request: int
    calendar: TradingCalendar | None = None

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self.http.close()


def open_adapter(venue: Venue, settings: Settings, *, clock: Clock, rng: Random, origin: Origin) -> VenueAdapter:
    """Make one venue's adapter from the settings.

    Raises
    ------
    ConfigError
        If a key is configured that cannot be read.
    """
    if venue is Venue.POLYMARKET:
        return _polymarket(settings.venues.polymarket, clock=clock, rng=rng, origin=origin)
    return _kalshi(settings.venues.kalshi, clock=clock, rng=rng, origin=origin)


def _polymarket(settings: PolymarketSettings, *, clock: Clock, rng: Random, origin: Origin) -> VenueAdapter:
    http = HttpClient(clock=clock, rng=rng, limits=POLYMARKET_BUDGETS, rate_fraction=settings.rate_fraction)

    async def socket(**callbacks: object) -> Socket:
        return await open_socket(settings.ws_url, clock=clock, **callbacks)  # type: ignore[arg-type]

    markets_per_connection = settings.max_tokens_per_connection // 2
    options = FeedOptions(
        heartbeat_ms=settings.heartbeat_secs * 1000,
        hash_every=settings.hash_sample_every,
        # Divided beforehand: what one connection may spend must not depend on the others, or no replay could follow.
        hash_share=settings.hash_cpu_share / -(-settings.max_subs_per_venue // markets_per_connection),
    )
    budgets = RepairBudgets()
    return VenueAdapter(
        venue=Venue.POLYMARKET,
        catalog=PolymarketCatalog(http, settings.rest_url, clock=clock, origin=origin),
        book_source=PolymarketBooks(http, settings.clob_url),
        http=http,
        open_socket=socket,
        make_feed=partial(make_feed, Venue.POLYMARKET, options, budgets=budgets),
        feed_options=options,
        repair_budgets=budgets,
        markets_per_connection=markets_per_connection,
        can_stream=True,
        proves_after_the_fact=True,
        audits_by_rest=True,
        shapes=POLYMARKET_SHAPES,
        books_per_request=200,
    )


def _kalshi(settings: KalshiSettings, *, clock: Clock, rng: Random, origin: Origin) -> VenueAdapter:
    signer = _kalshi_signer(settings)
    http = HttpClient(clock=clock, rng=rng, limits=KALSHI_BUDGETS, rate_fraction=settings.rate_fraction)

    async def socket(**callbacks: object) -> Socket:
        headers = signer.headers("GET", settings.ws_url, now_ms=clock.now_ms()) if signer else {}
        return await open_socket(settings.ws_url, headers=headers, clock=clock, **callbacks)  # type: ignore[arg-type]

    options = FeedOptions(audit_ms=settings.audit_secs * 1000 or None, watch=settings.watch_markets)
    budgets = RepairBudgets()
    return VenueAdapter(
        venue=Venue.KALSHI,
        catalog=KalshiCatalog(http, settings.rest_url, clock=clock, origin=origin, signer=signer),
        book_source=KalshiBooks(http, settings.rest_url, clock=clock, signer=signer),
        http=http,
        open_socket=socket,
        make_feed=partial(make_feed, Venue.KALSHI, options, budgets=budgets),
        feed_options=options,
        repair_budgets=budgets,
        markets_per_connection=settings.max_markets_per_connection,
        can_stream=signer is not None,
        proves_after_the_fact=False,
        audits_by_rest=False,
        shapes=KALSHI_SHAPES,
        books_per_request=100,
        calendar=KalshiCalendar(KalshiClient(http, settings.rest_url, clock=clock, signer=signer)),
    )


def _kalshi_signer(settings: KalshiSettings) -> Signer | None:
    pem = settings.api_secret.get_secret_value().encode()
    path = settings.private_key_path
    if path is not None:
        try:
            pem = path.read_bytes()
        except OSError as exc:
            raise ConfigError(
                f"venues.kalshi.private_key_path: cannot read {path}: {exc.strerror}",
                hint="name the PEM file of your key",
            ) from exc
        register_secret(pem.decode(errors="replace"))
    if not settings.api_key and not pem:
        return None
    if not settings.api_key or not pem:
        missing = "api_key" if pem else "private_key_path (or api_secret)"
        raise ConfigError(
            f"venues.kalshi.{missing} is not set, but its counterpart is",
            hint="set both, or neither to poll public books",
        )
    named = f"venues.kalshi.private_key_path {path}" if path is not None else "venues.kalshi.api_secret"
    return Signer.from_pem(settings.api_key, pem, named=named)

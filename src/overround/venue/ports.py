"""What the rest of the project asks of a venue.

A *catalogue* lists markets, a *book source* answers with whole books over REST, and a *feed* is one
socket connection without the socket: frames and time go in; books change in place; events, frames to
send and the next deadline come out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from overround.book import Book
from overround.market import Integrity, Market, MarketId, Trade

__all__ = [
    "PRINTS_MAX",
    "BookSource",
    "Feed",
    "FeedCounters",
    "FeedEvent",
    "FeedEventKind",
    "MarketCatalog",
    "Pause",
    "RestBook",
    "TradingCalendar",
]

PRINTS_MAX = 50_000
"""Prints that a feed keeps for whoever takes them; beyond it the oldest are dropped."""


class MarketCatalog(Protocol):
    """Port through which the scanner learns what a venue lists."""

    def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        """Every listed market once (duplicates while paging are removed by the adapter).

        Raises
        ------
        VenueError
            If a page cannot be had after all retries: a listing is whole or it fails.
        """
        ...

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        """Markets by id, whatever their status: what became of those that left the listing; unknown ones are left out.

        Raises
        ------
        VenueError
            If an answer cannot be had after all retries.
        """
        ...


class RestBook(msgspec.Struct, frozen=True, kw_only=True):
    """One market's book as REST gives it, seen from the first outcome.

    Attributes
    ----------
    market_id : MarketId
    bids, asks : dict of int to int
        ``px_e4`` to ``sz_e6``.
    ts_venue_ms : int or None
        Venue time of the book's last change, where the venue tells it.
    hash : str
        The venue's hash of the first outcome's book, or empty.
    hash_ok : bool or None
        Whether the hash recomputes; None where there is none.
    last_trade_text : str
        ``last_trade_price`` as printed, or empty.
    """

    market_id: MarketId
    bids: dict[int, int]
    asks: dict[int, int]
    ts_venue_ms: int | None = None
    hash: str = ""
    hash_ok: bool | None = None
    last_trade_text: str = ""


class BookSource(Protocol):
    """Port through which whole books are asked for.

    Attributes
    ----------
    unread : set of MarketId
        Markets of which the venue gave a book, the last time, that could not be read: there is one.
    """

    unread: set[MarketId]

    async def books(self, markets: Sequence[Market]) -> list[RestBook]:
        """Books of the markets that have one, in no particular order."""
        ...


class Pause(NamedTuple):
    """A time in which a venue does not trade, epoch milliseconds."""

    start_ms: int
    end_ms: int


class TradingCalendar(Protocol):
    """Port through which a venue says when silence is no fault."""

    async def pauses(self, *, from_ms: int, to_ms: int) -> list[Pause]:
        """Planned pauses that touch a span, in order; never raises for a venue that does not answer."""
        ...

    async def trading(self) -> bool:
        """Whether the venue trades now, as far as it can be asked."""
        ...


class FeedEventKind(StrEnum):
    """What a feed reports besides changed books."""

    LIVE = "live"
    """A market's first book since it was asked for (``took_ms`` since then)."""
    GAP = "gap"
    """Updates are missing or a book is known to be wrong; ``detail`` is an ``ErrCode``."""
    REPAIRED = "repaired"
    """A market is right again after a gap; ``detail`` names the step that did it."""
    RESYNC = "resync"
    """A repair step was taken; ``detail`` names it (a ``venue.repair.State``)."""
    MARKED = "marked"
    """Every repair step failed and the market rests; ``took_ms`` is how long it has been wrong. For the operator."""
    REST_WANTED = "rest_wanted"
    """The feed asks its shell for a REST book of the market (see ``Feed.rest_book``)."""
    TICK = "tick"
    """The tick size changed; ``detail`` is the new one."""
    CLOSED = "closed"
    """The market stopped trading."""
    RESOLVED = "resolved"
    """The market has a result; ``detail`` names it."""
    GONE = "gone"
    """The venue has no book of the market any more and did not say so; from a shell, not from a feed."""
    LISTED = "listed"
    """The venue announced a market."""
    REJECTED = "rejected"
    """A frame or value was refused; ``detail`` says why. It stays in the journal."""
    UNKNOWN = "unknown"
    """A message of an undocumented kind, the first of its name on this connection; ``detail`` is the name."""
    REFUSED = "refused"
    """The venue refused a command; ``detail`` is its code and text."""


class FeedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One report of a feed; ``market_id`` is empty when it concerns the whole connection.

    Attributes
    ----------
    since_ns : int or None
        Of a GAP: the last instant at which the books concerned were known to be right, which is earlier than
        ``ts_recv_ns``, when it was noticed. None where nothing was known before.
    """

    kind: FeedEventKind
    ts_recv_ns: int
    market_id: MarketId = MarketId("")
    detail: str = ""
    took_ms: int | None = None
    since_ns: int | None = None


class FeedCounters(msgspec.Struct, kw_only=True):
    """Plain integers that a feed counts up; read at scrape time.

    Attributes
    ----------
    frames, bytes : int
        Received; a feed may estimate the bytes from a sample.
    changes, snapshots, trades, heartbeats : int
        Applied level changes, whole books, prints, and signs of life without content.
    gaps, repairs, resyncs : int
        Gap episodes (one per detected hole, whatever the number of markets), markets repaired, repair steps taken.
    duplicates, late, ignored : int
        Numbers seen twice, changes older than their snapshot, changes for markets we do not hold.
    negative_levels, crossed, best_mismatches : int
        Signs of a wrong book.
    hash_checked, hash_matched : int
    rejected : int
        Frames or values refused.
    gaps_elsewhere : int
        Holes in numbered channels that carry no book (prints, lifecycle).
    marked : int
        Markets for which every repair step failed.
    mirror_mismatches : int
        Frames in which the two outcomes of a market contradict each other.
    sampled, samples_skipped : int
        Changes proved between rows, and those due for it that the budget refused.
    audits, audit_mismatches : int
        Books asked for and compared with the one held, and those that differed.
    prints_checked, prints_unmatched, watched, clock_back : int
        Prints held against the changes of watched markets, those without a change; changes of watched markets,
        and those whose clock or time stepped back.
    unknown : dict of str to int
        Events of a kind we do not know, by name (at most 100 names).
    """

    frames: int = 0
    bytes: int = 0
    changes: int = 0
    snapshots: int = 0
    trades: int = 0
    heartbeats: int = 0
    gaps: int = 0
    repairs: int = 0
    resyncs: int = 0
    duplicates: int = 0
    late: int = 0
    ignored: int = 0
    negative_levels: int = 0
    crossed: int = 0
    best_mismatches: int = 0
    hash_checked: int = 0
    hash_matched: int = 0
    rejected: int = 0
    unknown: dict[str, int] = msgspec.field(default_factory=dict)
    gaps_elsewhere: int = 0
    marked: int = 0
    mirror_mismatches: int = 0
    sampled: int = 0
    samples_skipped: int = 0
    audits: int = 0
    audit_mismatches: int = 0
    prints_checked: int = 0
    prints_unmatched: int = 0
    watched: int = 0
    clock_back: int = 0


class Feed(Protocol):
    """One connection's protocol, without the connection.

    The shell calls ``opened`` when a connection stands, ``receive`` for each frame straight from the
    transport's callback, ``tick`` when ``deadline_ms`` has passed, and ``lost`` when the connection ends;
    the same feed object then waits for the next ``opened``. After each call it sends what is in ``outbox``
    and takes what is in ``events`` (both are emptied by the shell), and closes the connection if
    ``reconnect_reason`` is set.

    Attributes
    ----------
    outbox : list of str
        Text frames to send, in order.
    events : list of FeedEvent
    reconnect_reason : str or None
        Set when only a new connection can help; cleared by ``lost``.
    last_recv_ns : int
        Receive time of the last frame of any kind, 0 before the first.
    """

    outbox: list[str]
    events: list[FeedEvent]
    reconnect_reason: str | None
    last_recv_ns: int

    @property
    def counters(self) -> FeedCounters:
        """What was counted so far; read anew each time (a feed may count elsewhere and fill it in then)."""
        ...

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection, live or not."""
        ...

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets; commands are sent if the connection stands, else at ``opened``."""
        ...

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:
        """Want fewer markets."""
        ...

    def opened(self, *, now_ms: int) -> None:
        """The connection stands: ask for everything wanted."""
        ...

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """Apply one frame; returns whether it was JSON (the journal stores it verbatim then)."""
        ...

    def take_trades(self) -> list[Trade]:
        """Prints of held markets since the last call, as they came: also those sent twice; none in replay.

        They are read here and not in ``receive``: nothing waits for them.
        """
        ...

    def tick(self, *, now_ms: int) -> None:
        """Do what is due: heartbeats, overdue books, the next repair step."""
        ...

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        ...

    def lost(self, *, now_ms: int, reason: str) -> None:
        """The connection has ended: every book is ``reconnecting`` until its next snapshot."""
        ...

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """Answer to ``REST_WANTED`` or an audit."""
        ...

    def distrust(self, market_id: MarketId, *, now_ms: int, since_ns: int | None = None) -> bool:
        """A market was found mute, wrong or without its first book from outside (REST, a second connection).

        It is subscribed anew, and what that does not cure climbs the ladder of repairs. ``since_ns`` is the last instant
        at which it is known to have been right, where the feed itself knows no better.

        Returns
        -------
        bool
            Whether a repair began; not where one is under way, and not for a market that is over or not held.
        """
        ...

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """Prove the book as it stands now, as far as the venue allows; called before a row is stored.

        A failed proof makes the book not ``live`` (``err`` says why) and starts a repair.
        """
        ...

    def spoken_ns(self) -> int:
        """Receive time of the newest change of a live book that came over the socket; 0 for none.

        Heartbeats do not count, nor do books that REST gave.
        """
        ...

    def proven_ms(self, market_id: MarketId) -> int | None:
        """The last instant at which a market's book was proved right, or None.

        A proof is a hash that recomputed, a REST book that was equal, or a sequence that was whole up to the
        connection's last frame.
        """
        ...

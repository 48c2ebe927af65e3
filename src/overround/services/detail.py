"""What a collector does at this moment, in detail: connections, markets and gaps, for the monitor."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import msgspec

from overround.book import NO_ASK_E4, NO_BID_E4, Book
from overround.collector import VenueRecorder, VenueStatus
from overround.market import PX_ONE_E4, Market
from overround.services.health import Health

__all__ = ["CollectorDetail", "ConnectionDetail", "Detailer", "GapDetail", "MarketDetail", "VenueDetail"]

MARKETS = 15
GAPS = 20
# Rates are those of the last one to two windows.
WINDOW_NS = 5_000_000_000


class ConnectionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One connection slot.

    Attributes
    ----------
    name : str
        As it stands in the log: slot, number of the attempt, run.
    state : str
        ``open``, ``down``, ``idle`` (it carries nothing) or ``polling``.
    since_s : float
        How long it has been so.
    markets, frames, reconnects : int
        Markets it carries; messages and losses since the start.
    quiet_s : float or None
        Since its last message.
    """

    name: str
    state: str
    since_s: float
    markets: int
    frames: int
    reconnects: int
    quiet_s: float | None


class MarketDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One market; prices are those of its first outcome.

    Attributes
    ----------
    market_id, title : str
    best_bid, best_ask : float or None
        Probability.
    verdict : str
        How far the book is proved, or what is wrong with it.
    changes_per_s : float
        Over the last seconds.
    quiet_s : float
        Since the last change.
    """

    market_id: str
    title: str
    best_bid: float | None
    best_ask: float | None
    verdict: str
    changes_per_s: float
    quiet_s: float


class GapDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Gaps that began with one fault.

    Attributes
    ----------
    repair : str
        The repair's name in the log; empty for what cannot be repaired.
    cause : str
    markets, open : int
        Markets hit, and of these not yet right.
    title : str
        A market of them, or empty for the whole venue.
    start_ms, end_ms : int, int or None
        The longest of them; ``end_ms`` is None while one lasts.
    by : str
        What ended it.
    connection : str
    """

    repair: str
    cause: str
    markets: int
    open: int
    title: str
    start_ms: int
    end_ms: int | None
    by: str
    connection: str


class VenueDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One venue; ``figures`` are those of ``VenueStatus``, without numbers that are none yet."""

    venue: str
    mode: str
    figures: dict[str, float]
    books: dict[str, int]
    rows: dict[str, int]
    connections: list[ConnectionDetail]
    markets: list[MarketDetail]
    gaps: list[GapDetail]


class CollectorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A whole collector: its health, and each venue in detail.

    Attributes
    ----------
    now_ms : int
        The collector's time.
    health : Health
    venues : list of VenueDetail
    """

    now_ms: int
    health: Health
    venues: list[VenueDetail]


class Detailer:
    """Tells what recorders do; remembers only what rates need, and that only while somebody asks."""

    def __init__(self) -> None:
        self._samples: dict[str, list[tuple[int, dict[str, int]]]] = {}

    def detail(
        self, recorders: Sequence[VenueRecorder], health: Health, *, now_ms: int, monotonic_ns: int
    ) -> CollectorDetail:
        """Everything, now."""
        return CollectorDetail(
            now_ms=now_ms,
            health=health,
            venues=[self._venue(recorder, now_ms=now_ms, monotonic_ns=monotonic_ns) for recorder in recorders],
        )

    def _venue(self, recorder: VenueRecorder, *, now_ms: int, monotonic_ns: int) -> VenueDetail:
        status = recorder.status()
        return VenueDetail(
            venue=str(status.venue),
            mode=status.mode,
            figures=_figures(status),
            books=status.book_verdicts,
            rows=status.row_verdicts,
            connections=_connections(recorder, now_ms=now_ms),
            markets=self._markets(str(status.venue), list(recorder.held()), now_ms=now_ms, monotonic_ns=monotonic_ns),
            gaps=_gaps(recorder),
        )

    def _markets(
        self, venue: str, held: Sequence[tuple[Market, Book]], *, now_ms: int, monotonic_ns: int
    ) -> list[MarketDetail]:
        """The most active ones."""
        seqs = {str(market.market_id): book.seq for market, book in held}
        samples = self._samples.setdefault(venue, [(monotonic_ns, seqs)])
        since_ns, before = samples[0]
        seconds = max((monotonic_ns - since_ns) / 1e9, 1e-9)
        if monotonic_ns - samples[-1][0] >= WINDOW_NS:
            samples.append((monotonic_ns, seqs))
            del samples[:-2]

        def changes(market: Market) -> int:
            name = str(market.market_id)
            return max(0, seqs[name] - before.get(name, seqs[name]))

        # Before there is a rate, those with most changes so far.
        top = heapq.nlargest(MARKETS, held, key=lambda each: (changes(each[0]), each[1].seq))
        return [
            MarketDetail(
                market_id=str(market.market_id),
                title=market.title,
                best_bid=book.best_bid_e4 / PX_ONE_E4 if book.best_bid_e4 != NO_BID_E4 else None,
                best_ask=book.best_ask_e4 / PX_ONE_E4 if book.best_ask_e4 != NO_ASK_E4 else None,
                verdict=str(book.integrity if book.live or book.err is None else book.err),
                changes_per_s=round(changes(market) / seconds, 2),
                quiet_s=round(max(0.0, now_ms - book.ts_recv_ns / 1e6) / 1000, 1),
            )
            for market, book in top
            if book.had_book
        ]


def _figures(status: VenueStatus) -> dict[str, float]:
    values = {name: getattr(status, name) for name in VenueStatus.__struct_fields__}
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return {name: value for name, value in numbers.items() if value == value}  # noqa: PLR0124 - NaN is not itself


def _connections(recorder: VenueRecorder, *, now_ms: int) -> list[ConnectionDetail]:
    found = []
    for one in recorder.carriers:
        feed = one.feed
        state = "open" if one.connected else "down" if feed.books else "idle"
        found.append(
            ConnectionDetail(
                name=one.log_id,
                state="polling" if state == "open" and recorder.polls else state,
                since_s=round(max(0, now_ms - one.since_ms) / 1000, 1),
                markets=len(feed.books),
                frames=feed.counters.frames,
                reconnects=one.reconnects,
                quiet_s=round(max(0.0, now_ms - feed.last_recv_ns / 1e6) / 1000, 1) if feed.last_recv_ns else None,
            )
        )
    return found


def _gaps(recorder: VenueRecorder) -> list[GapDetail]:
    """The newest ones, those of one repair together."""
    repairs: dict[str, list[GapDetail]] = {}
    for gap in recorder.gaps.newest(GAPS * 50):
        market = recorder.listing(gap.market_id)
        name = recorder.repair_name(gap.repair_no) or ""  # a hole that nobody repairs has none
        one = GapDetail(
            repair=name,
            cause=gap.cause,
            markets=1,
            open=int(gap.end_ms is None),
            title=market.title if market is not None else str(gap.market_id),
            start_ms=gap.start_ms,
            end_ms=gap.end_ms,
            by=gap.repair,
            connection=gap.connection,
        )
        repairs.setdefault(name or f"{gap.cause} {gap.start_ms}", []).append(one)
    newest = sorted(repairs.values(), key=lambda group: -max(one.start_ms for one in group))
    return [_together(group) for group in newest[:GAPS]]


def _together(group: Iterable[GapDetail]) -> GapDetail:
    first, *others = group
    every = [first, *others]
    still = sum(one.open for one in every)
    return msgspec.structs.replace(
        first,
        markets=len(every),
        open=still,
        start_ms=min(one.start_ms for one in every),
        end_ms=None if still else max(one.end_ms or 0 for one in every),
        by="" if still else next((one.by for one in every if one.by), ""),
    )

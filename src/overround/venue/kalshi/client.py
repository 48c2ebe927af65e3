"""Kalshi over HTTP: the market catalogue, whole books, the exchange's state.

A listing is whole or it fails. The nested events are read first, since they bring structure and markets
together, and the flat listing after them: a page may shift while markets open, and what slipped through one
listing stands in the other. Markets are taken once by their ticker; a cursor that comes back is asked for
again and then is an error, never a loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from overround.clock import Clock
from overround.errors import UNREADABLE, AnswerMalformed, RequestRefused, WireError
from overround.market import Market, MarketId, MarketStatus, Origin
from overround.venue.kalshi.parse import market_from_rest, rest_book, status_of
from overround.venue.kalshi.sign import Signer
from overround.venue.kalshi.wire import (
    EventPage,
    ExchangeSchedule,
    ExchangeStatus,
    MarketPage,
    OrderbooksPage,
    RestEvent,
    RestMarket,
    RestOrderbook,
    RestSeries,
    SeriesPage,
    SeriesSingle,
)
from overround.venue.ports import RestBook

__all__ = ["HttpPort", "KalshiBooks", "KalshiCatalog", "KalshiClient"]

log = structlog.get_logger()

T = TypeVar("T")
Pairs = Iterable[tuple[str, Any]]
Sign = Callable[[str, str], Mapping[str, str]]

_decode_market = msgspec.json.Decoder(RestMarket).decode
_decode_event = msgspec.json.Decoder(RestEvent).decode
_decode_series = msgspec.json.Decoder(RestSeries).decode
_decode_book = msgspec.json.Decoder(RestOrderbook).decode
_decode_market_page = msgspec.json.Decoder(MarketPage).decode
_decode_event_page = msgspec.json.Decoder(EventPage).decode
_decode_series_page = msgspec.json.Decoder(SeriesPage).decode
_decode_series_single = msgspec.json.Decoder(SeriesSingle).decode
_decode_books_page = msgspec.json.Decoder(OrderbooksPage).decode
_decode_status = msgspec.json.Decoder(ExchangeStatus).decode
_decode_schedule = msgspec.json.Decoder(ExchangeSchedule).decode

_EVENTS_PER_PAGE = 200
_TICKERS_PER_LOOKUP = 100
_EMPTY_PAGES_MAX = 10


class HttpPort(Protocol):
    """What the adapter asks of ``net.HttpClient``."""

    async def get_as(
        self,
        decode: Callable[[bytes], T],
        url: str,
        params: Pairs | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        sign: Sign | None = None,
        accept: Collection[int] = (),
    ) -> T:
        """Answer of a GET through a decoder; what the decoder refuses is asked for again, signed anew."""
        ...


class KalshiClient:
    """The venue's addresses, signed where there is a key.

    Parameters
    ----------
    http : HttpPort
    rest_url : str
        With ``/trade-api/v2``.
    clock : Clock
        Time of the signatures.
    signer : Signer or None
        Market data needs no signature; with one, the account's limits apply.
    """

    def __init__(self, http: HttpPort, rest_url: str, *, clock: Clock, signer: Signer | None = None) -> None:
        self._http = http
        self.base = rest_url.rstrip("/")
        self._clock = clock
        self._signer = signer

    async def get(
        self, decode: Callable[[bytes], T], path: str, params: Pairs | None = None, *, accept: Collection[int] = ()
    ) -> T:
        """Ask for one path below the base.

        Raises
        ------
        VenueError
            If the answer cannot be had after all retries.
        """
        return await self._http.get_as(
            decode, self.base + path, params, sign=self._sign if self._signer else None, accept=accept
        )

    def _sign(self, method: str, path: str) -> Mapping[str, str]:
        return self._signer.headers(method, path, now_ms=self._clock.now_ms()) if self._signer else {}

    async def exchange_status(self) -> ExchangeStatus:
        """Whether the exchange is open; a failing server may still tell."""
        return await self.get(_decode_status, "/exchange/status", accept=(500, 503, 504))

    async def exchange_schedule(self) -> ExchangeSchedule:
        """Opening hours (Eastern) and planned pauses."""
        return await self.get(_decode_schedule, "/exchange/schedule")

    async def pages(
        self,
        decode: Callable[[bytes], T],
        path: str,
        params: Sequence[tuple[str, Any]],
        *,
        rows: Callable[[T], list[Any]],
    ) -> AsyncIterator[list[Any]]:
        """The rows of each page, until the venue names no further cursor.

        Raises
        ------
        VenueError
            If a page cannot be had, or the listing does not advance.
        """
        given: set[str] = set()
        cursor: str | None = None
        empty = 0

        def advancing(body: bytes) -> T:
            page = decode(body)
            following = _cursor_of(page)
            if following and following in given:
                # In the words that make the HTTP client ask again.
                raise msgspec.DecodeError(f"cursor {following!r} was given before: the listing does not advance")
            return page

        while True:
            page = await self.get(advancing, path, params if cursor is None else [*params, ("cursor", cursor)])
            found = rows(page)
            yield found
            cursor = _cursor_of(page)
            if not cursor:
                return
            given.add(cursor)
            empty = 0 if found else empty + 1
            if empty >= _EMPTY_PAGES_MAX:
                raise AnswerMalformed(f"{self.base}{path} gave {empty} empty pages in a row")


class KalshiCatalog:
    """``MarketCatalog``: ``/events`` with nested markets, ``/markets``, and the fees of ``/series``.

    Parameters
    ----------
    http : HttpPort
    rest_url : str
    clock : Clock
    origin : Origin
        Stamped on each market.
    signer : Signer or None
    page_size : int
        Rows of a page of ``/markets``; the venue allows 1,000.

    Attributes
    ----------
    refused : int
        Records of the last listing that did not read; each was logged.
    """

    def __init__(
        self,
        http: HttpPort,
        rest_url: str,
        *,
        clock: Clock,
        origin: Origin = Origin.LIVE,
        signer: Signer | None = None,
        page_size: int = 1000,
    ) -> None:
        self._client = KalshiClient(http, rest_url, clock=clock, signer=signer)
        self._clock = clock
        self._origin = origin
        self._page_size = page_size
        self._series: dict[str, RestSeries | None] = {}
        self._events: dict[str, RestEvent] = {}
        self.refused = 0

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        """Every listed market once; combinations are left out.

        Parameters
        ----------
        open_only : bool
            False lists markets of every status that the live window still holds.

        Raises
        ------
        VenueError
            If a page cannot be had after all retries.
        """
        self.refused = 0
        await self._read_series()
        self._events = {}
        seen: set[str] = set()
        status = [("status", "open")] if open_only else []
        async for rows in self._client.pages(
            _decode_event_page,
            "/events",
            [*status, ("with_nested_markets", "true"), ("limit", _EVENTS_PER_PAGE)],
            rows=lambda page: page.events,
        ):
            for event in self._records(rows, _decode_event):
                nested, event.markets = event.markets or [], None
                self._events[event.event_ticker] = event
                for market in await self._join(self._records(nested, _decode_market), seen, open_only=open_only):
                    yield market
        async for rows in self._client.pages(
            _decode_market_page,
            "/markets",
            [*status, ("mve_filter", "exclude"), ("limit", self._page_size)],
            rows=lambda page: page.markets,
        ):
            for market in await self._join(self._records(rows, _decode_market), seen, open_only=open_only):
                yield market

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        """Markets by ticker, whatever their status: what became of those that left the listing.

        Raises
        ------
        VenueError
            If an answer cannot be had after all retries.
        """
        found: list[Market] = []
        for tickers in _chunks(market_ids, _TICKERS_PER_LOOKUP):
            async for rows in self._client.pages(
                _decode_market_page,
                "/markets",
                [("tickers", ",".join(tickers)), ("limit", self._page_size)],
                rows=lambda page: page.markets,
            ):
                found += await self._join(self._records(rows, _decode_market), set(), open_only=False)
        return found

    async def _join(self, raws: list[RestMarket], seen: set[str], *, open_only: bool) -> list[Market]:
        """New markets of a page with their events and series; a record that does not fit costs itself only."""
        fresh = []
        for raw in raws:
            # An open event nests its closed markets, too.
            if raw.ticker not in seen and not (open_only and status_of(raw.status) is not MarketStatus.ACTIVE):
                seen.add(raw.ticker)
                fresh.append(raw)
        await self._read_events(raw.event_ticker for raw in fresh)
        now_ms = self._clock.now_ms()
        markets: list[Market] = []
        for raw in fresh:
            event = self._events.get(raw.event_ticker)
            series = await self._series_of(event)
            try:
                markets.append(market_from_rest(raw, event=event, series=series, now_ms=now_ms, origin=self._origin))
            except WireError as exc:
                self._refuse(f"{raw.ticker}: {exc}")
        return markets

    async def _read_events(self, tickers: Iterable[str]) -> None:
        """Events that no page brought, by their tickers."""
        missing = [ticker for ticker in dict.fromkeys(tickers) if ticker and ticker not in self._events]
        for chunk in _chunks(missing, _TICKERS_PER_LOOKUP):
            async for rows in self._client.pages(
                _decode_event_page,
                "/events",
                [("tickers", ",".join(chunk)), ("limit", _EVENTS_PER_PAGE)],
                rows=lambda page: page.events,
            ):
                for event in self._records(rows, _decode_event):
                    event.markets = None
                    self._events[event.event_ticker] = event

    async def _read_series(self) -> None:
        page = await self._client.get(_decode_series_page, "/series")
        self._series = {series.ticker: series for series in self._records(page.series or [], _decode_series)}

    async def _series_of(self, event: RestEvent | None) -> RestSeries | None:
        """The event's series; one that the listing lacks is asked for by name, once."""
        if event is None or not event.series_ticker:
            return None
        ticker = event.series_ticker
        if ticker not in self._series:
            try:
                self._series[ticker] = (await self._client.get(_decode_series_single, f"/series/{ticker}")).series
            except RequestRefused as exc:
                log.warning("kalshi.series_unknown", series=ticker, reason=str(exc))
                self._series[ticker] = None
        return self._series[ticker]

    def _records(self, rows: list[msgspec.Raw], decode: Callable[[msgspec.Raw], T]) -> list[T]:
        records: list[T] = []
        for row in rows:
            try:
                records.append(decode(row))
            except UNREADABLE as exc:
                self._refuse(str(exc))
        return records

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        log.warning("kalshi.record_refused", reason=reason)


class KalshiBooks:
    """``BookSource`` on the batch order books: a hundred books for the price of one request.

    Parameters
    ----------
    http : HttpPort
    rest_url : str
    clock : Clock
    signer : Signer or None
    chunk : int
        Tickers of a request; the venue allows 100.

    Attributes
    ----------
    unread : set of MarketId
        See ``BookSource``; a book that does not read may be that of any market which the answer lacks.
    """

    def __init__(
        self, http: HttpPort, rest_url: str, *, clock: Clock, signer: Signer | None = None, chunk: int = 100
    ) -> None:
        self.unread: set[MarketId] = set()
        self._client = KalshiClient(http, rest_url, clock=clock, signer=signer)
        self._chunk = chunk

    async def books(self, markets: Sequence[Market]) -> list[RestBook]:
        """Books of the markets that have one, in no particular order; the venue leaves out unknown tickers.

        Raises
        ------
        VenueError
            If an answer cannot be had after all retries.
        """
        wanted = dict.fromkeys(str(market.market_id) for market in markets)
        found: list[RestBook] = []
        for tickers in _chunks(list(wanted), self._chunk):
            page = await self._client.get(
                _decode_books_page, "/markets/orderbooks", [("tickers", ticker) for ticker in tickers]
            )
            missing = {MarketId(ticker) for ticker in tickers}
            self.unread -= missing
            refused = False
            for row in page.orderbooks or []:
                try:
                    book = rest_book(_decode_book(row))
                except (*UNREADABLE, WireError) as exc:
                    log.warning("kalshi.book_refused", reason=str(exc))
                    refused = True
                    continue
                if book.market_id in wanted:
                    found.append(book)
                    missing.discard(book.market_id)
            if refused:
                self.unread |= missing
        return found


def _cursor_of(page: Any) -> str | None:
    cursor: str | None = page.cursor
    return cursor


def _chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))

"""Gamma and CLOB over HTTP: the market catalogue and whole books.

A listing is whole or it fails. Rows move while one pages, short pages mean nothing, and cursors have been seen to stand
still: so pages are followed until the venue says that there are no more, records are taken once by their id, and a
cursor that comes back is asked for again and then is an error, never a loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from overround.clock import Clock
from overround.errors import AnswerMalformed, FrameMalformed, RequestRefused, WireError
from overround.market import Market, MarketId, Origin
from overround.venue.polymarket.parse import market_from_gamma, rest_book
from overround.venue.polymarket.wire import (
    ClobBook,
    GammaMarketsPage,
    decode_books,
    decode_gamma_market,
    decode_gamma_markets,
)
from overround.venue.ports import RestBook

__all__ = ["HttpPort", "PolymarketBooks", "PolymarketCatalog"]

log = structlog.get_logger()

T = TypeVar("T")
Pairs = Iterable[tuple[str, Any]]

_IDS_PER_LOOKUP = 50
_EMPTY_PAGES_MAX = 10
# Legacy pages overlap: rows that leave the listing while we page pull later ones to places already read.
_LEGACY_OVERLAP = 20


class HttpPort(Protocol):
    """What the adapter asks of ``net.HttpClient``."""

    async def get_as(
        self,
        decode: Callable[[bytes], T],
        url: str,
        params: Pairs | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
    ) -> T:
        """Answer of a GET through a decoder; what the decoder refuses is asked for again."""
        ...

    async def post_bytes(
        self, url: str, body: Any, headers: Mapping[str, str] | None = None, family: str = "default"
    ) -> bytes:
        """Answer of a POST with a JSON body."""
        ...


class PolymarketCatalog:
    """``MarketCatalog`` on Gamma's keyset listing, with the legacy listing where that is gone.

    Parameters
    ----------
    http : HttpPort
    gamma_url : str
    clock : Clock
    origin : Origin
        Stamped on each market.
    page_size : int
        The venue clamps larger pages to 100 without a word.

    Attributes
    ----------
    refused : int
        Records of the last listing that did not read; each was logged.
    """

    def __init__(
        self, http: HttpPort, gamma_url: str, *, clock: Clock, origin: Origin = Origin.LIVE, page_size: int = 100
    ) -> None:
        self._http = http
        self._base = gamma_url.rstrip("/")
        self._clock = clock
        self._origin = origin
        self._page_size = page_size
        self.refused = 0

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        """Every listed market once.

        Parameters
        ----------
        open_only : bool
            False lists closed markets too (hundreds of thousands).

        Raises
        ------
        VenueError
            If a page cannot be had after all retries.
        """
        self.refused = 0
        seen: set[str] = set()
        for closed in ("false",) if open_only else ("false", "true"):
            filters = [("closed", closed), ("include_tag", "true"), ("limit", self._page_size)]
            if open_only:
                filters = [("active", "true"), ("archived", "false"), *filters]
            async for page in self._pages(filters):
                for market in self._read(page, seen):
                    yield market

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        """Markets by condition id, closed ones included: what became of those that left the listing.

        Raises
        ------
        VenueError
            If an answer cannot be had after all retries.
        """
        seen: set[str] = set()
        found: list[Market] = []
        for start in range(0, len(market_ids), _IDS_PER_LOOKUP):
            ids = [("condition_ids", market_id) for market_id in market_ids[start : start + _IDS_PER_LOOKUP]]
            # Without the filter the venue answers about open markets only, also when asked by id.
            for closed in ("true", "false"):
                filters = [*ids, ("closed", closed), ("include_tag", "true"), ("limit", self._page_size)]
                async for page in self._pages(filters):
                    found += self._read(page, seen)
        return found

    async def _pages(self, filters: list[tuple[str, Any]]) -> AsyncIterator[GammaMarketsPage]:
        given: set[str] = set()
        empty = 0

        def decode(body: bytes) -> GammaMarketsPage:
            page = decode_gamma_markets(body)
            if page.next_cursor and page.next_cursor in given:
                raise FrameMalformed(f"next_cursor {page.next_cursor!r} was given before: the listing does not advance")
            return page

        cursor: str | None = None
        while True:
            params = filters if cursor is None else [*filters, ("after_cursor", cursor)]
            try:
                page = await self._get(_refusing(decode), "/markets/keyset", params)
            except RequestRefused as exc:
                if cursor is not None or exc.status not in (404, 410):
                    raise
                log.info("gamma.keyset_gone", status=exc.status)
                async for legacy in self._legacy_pages(filters):
                    yield legacy
                return
            yield page
            cursor = page.next_cursor
            if not cursor:
                return
            given.add(cursor)
            empty = 0 if page.markets else empty + 1
            if empty >= _EMPTY_PAGES_MAX:
                raise AnswerMalformed(f"{self._base}/markets/keyset gave {empty} empty pages in a row")

    async def _legacy_pages(self, filters: list[tuple[str, Any]]) -> AsyncIterator[GammaMarketsPage]:
        """Pages by offset until one is empty; beyond the venue's ceiling of 10,000 it refuses, and so the listing fails."""
        offset = 0
        while True:
            params = [*filters, ("order", "id"), ("ascending", "true"), ("offset", offset)]
            page = await self._get(_refusing(decode_gamma_markets), "/markets", params)
            if not page.markets:
                return
            yield page
            length = len(page.markets)
            offset += length - _LEGACY_OVERLAP if length > 2 * _LEGACY_OVERLAP else length

    async def _get(self, decode: Callable[[bytes], T], path: str, params: Pairs) -> T:
        return await self._http.get_as(decode, self._base + path, params, family="gamma/markets")

    def _read(self, page: GammaMarketsPage, seen: set[str]) -> list[Market]:
        """Markets of a page that are new; a record that does not read costs itself only."""
        now_ms = self._clock.now_ms()
        found: list[Market] = []
        for raw in page.markets:
            try:
                market = market_from_gamma(decode_gamma_market(raw), now_ms=now_ms, origin=self._origin)
            except WireError as exc:
                self.refused += 1
                log.warning("gamma.record_refused", reason=str(exc))
                continue
            if market.market_id not in seen:
                seen.add(market.market_id)
                found.append(market)
        return found


class PolymarketBooks:
    """``BookSource`` on the CLOB's batch books.

    Parameters
    ----------
    http : HttpPort
    clob_url : str
    chunk : int
        Books per request; the venue's limit is the size of the body.

    Attributes
    ----------
    unread : set of MarketId
        See ``BookSource``.
    """

    def __init__(self, http: HttpPort, clob_url: str, *, chunk: int = 200) -> None:
        self.unread: set[MarketId] = set()
        self._http = http
        self._url = clob_url.rstrip("/") + "/books"
        self._chunk = chunk

    async def books(self, markets: Sequence[Market]) -> list[RestBook]:
        """Books of the markets that have one, in no particular order.

        The first token's book is asked for: the second's is its mirror. The venue leaves out tokens it does not
        know, and answers in any order.

        Raises
        ------
        VenueError
            If an answer cannot be had after all retries.
        """
        by_token = {str(market.outcome_ids[0]): market for market in markets if market.outcome_ids}
        tokens = list(by_token)
        found: list[RestBook] = []
        for start in range(0, len(tokens), self._chunk):
            for raw in await self._ask(tokens[start : start + self._chunk]):
                market = by_token.get(raw.asset_id)
                if market is None:
                    continue
                try:
                    found.append(rest_book(raw, market))
                    self.unread.discard(market.market_id)
                except WireError as exc:
                    self.unread.add(market.market_id)
                    log.warning("clob.book_refused", market_id=market.market_id, reason=str(exc))
        return found

    async def _ask(self, tokens: list[str]) -> list[ClobBook]:
        try:
            body = await self._http.post_bytes(
                self._url, [{"token_id": token} for token in tokens], family="clob/books"
            )
        except RequestRefused as exc:
            # "Payload exceeds the limit": the limit is not documented, so it is found by halving.
            if exc.status not in (400, 413) or "exceed" not in exc.detail.lower() or len(tokens) == 1:
                raise
            half = len(tokens) // 2
            return [*await self._ask(tokens[:half]), *await self._ask(tokens[half:])]
        try:
            return decode_books(body)
        except FrameMalformed as exc:
            raise AnswerMalformed(f"{self._url} answered wrongly: {exc}") from exc


def _refusing(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """The decoder, refusing in the words that make the HTTP client ask again."""

    def refusing(body: bytes) -> T:
        try:
            return decode(body)
        except WireError as exc:
            raise msgspec.DecodeError(str(exc)) from exc

    return refusing

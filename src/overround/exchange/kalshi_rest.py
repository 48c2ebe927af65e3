"""Kalshi's public REST endpoints."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.deliveries import DeliveryLog
from overround.exchange.gamma_rest import written
from overround.exchange.kalshi_frames import count_text, dollars, iso_micros
from overround.exchange.kalshi_listing import event_object, market_object, series_object
from overround.exchange.kalshi_session import trade_uuid
from overround.exchange.model import Change, Listed, Source
from overround.market import PX_ONE_E4, Venue

__all__ = ["KalshiCatalogue", "kalshi_router"]

_FILTERS = {
    "unopened": {"unopened"},
    "open": {"active"},
    "paused": {"paused"},
    "closed": {"closed"},
    "settled": {"resolved"},
}
_EVERY_DAY = ("monday", "tuesday", "wednesday", "friday", "saturday", "sunday")


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error = {"code": code, "message": message}
        if details:
            self.error["details"] = details


class KalshiCatalogue:
    """Markets, events, series, books and prints as REST shows them.

    Parameters
    ----------
    source : Source
    refresh_ms : int
        Age at which a listing page's quotes are made anew.
    shift : callable
        Rows by which a page begins too early (a fault).
    log : DeliveryLog, optional
        Where given books are written down.
    """

    def __init__(
        self,
        source: Source,
        *,
        refresh_ms: int,
        shift: Callable[[], int] = int,
        log: DeliveryLog | None = None,
    ) -> None:
        self._source = source
        self._log = log
        self._refresh_ms = refresh_ms
        self._shift = shift
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._order: list[Listed] = []
        self._events: dict[str, list[Listed]] = {}
        self._series: dict[str, list[Listed]] = {}
        self._stale = True
        self._trades: deque[Change] = deque(maxlen=20_000)

    def changed(self, key: str) -> None:
        """A market's status, tick or result changed, or it is new."""
        self._encoded.pop(key, None)
        self._stale = True

    def traded(self, change: Change) -> None:
        """A print, for ``/markets/trades``."""
        self._trades.append(change)

    def _sort(self) -> None:
        if not self._stale:
            return
        listed = self._source.listings.values()
        self._order = [m for m in listed if m.venue is Venue.KALSHI and not m.unlisted]
        self._order.sort(key=lambda m: m.number)
        self._events.clear()
        self._series.clear()
        for listing in self._order:
            self._events.setdefault(listing.event.key, []).append(listing)
            series = listing.event.series or listing.event.key.partition("-")[0]
            self._series.setdefault(series, []).append(listing)
        self._stale = False

    def find(self, ticker: str) -> Listed:
        """A market by ticker."""
        listing = self._source.listings.get(ticker)
        if listing is None or listing.venue is not Venue.KALSHI:
            raise _Refused(404, "not_found", "not found")
        return listing

    def _listed(self, ticker: str) -> Listed | None:
        listing = self._source.listings.get(ticker)
        return None if listing is None or listing.unlisted or listing.venue is not Venue.KALSHI else listing

    def market(self, listing: Listed, now_ms: int, *, fresh: bool = False) -> bytes:
        """A market, encoded; empty if it is listed no more."""
        kept = self._encoded.get(listing.key)
        if kept is not None and not fresh and now_ms - kept[0] < self._refresh_ms:
            return kept[1]
        if listing.key not in self._source.listings:
            return b""
        encoded = msgspec.json.encode(market_object(self._source, listing, now_ms))
        self._encoded[listing.key] = (now_ms, encoded)
        return encoded

    def markets(self, query: dict[str, str]) -> tuple[list[Listed], str]:
        """One page of markets and the cursor of the next."""
        self._sort()
        chosen: Iterable[Listed] = self._order
        if "tickers" in query:
            named = [ticker for ticker in query["tickers"].split(",") if ticker]
            chosen = [m for ticker in named if (m := self._listed(ticker)) is not None]
        elif "event_ticker" in query:
            chosen = self._events.get(query["event_ticker"], [])
        elif "series_ticker" in query:
            chosen = self._series.get(query["series_ticker"], [])
        words = _status_words(query, exact=True)
        if words is not None:
            chosen = [m for m in chosen if m.status in words]
        mve = query.get("mve_filter")
        if mve not in {None, "only", "exclude"}:
            raise _Refused(400, "bad_request", "bad request", "invalid mve_filter")
        if mve == "only":
            chosen = []
        limits: tuple[tuple[str, Callable[[Listed, int], bool]], ...] = (
            ("min_close_ts", lambda m, ts: m.close_ms >= ts * 1000),
            ("max_close_ts", lambda m, ts: m.close_ms <= ts * 1000),
            ("min_created_ts", lambda m, ts: m.open_ms >= ts * 1000),
            ("max_created_ts", lambda m, ts: m.open_ms <= ts * 1000),
        )
        for name, keep in limits:
            if name in query:
                limit = _integer(query, name, 0, 1 << 40)
                chosen = [m for m in chosen if keep(m, limit)]
        return _page(list(chosen), query, most=1_000, default=100, place=lambda m: m.number, shift=self._shift)

    def events(self, query: dict[str, str]) -> tuple[list[list[Listed]], str]:
        """One page of events as their markets, and the cursor of the next."""
        self._sort()
        chosen = list(self._events.values())
        if "series_ticker" in query:
            chosen = [legs for legs in chosen if (legs[0].event.series or "") == query["series_ticker"]]
        if "tickers" in query:
            named = set(query["tickers"].split(","))
            chosen = [legs for legs in chosen if legs[0].event.key in named]
        words = _status_words(query, exact=True)
        if words is not None:
            chosen = [legs for legs in chosen if any(m.status in words for m in legs)]
        chosen.sort(key=lambda legs: legs[0].number)
        return _page(chosen, query, most=200, default=200, place=lambda legs: legs[0].number, shift=self._shift)

    def event_of(self, legs: list[Listed], now_ms: int, *, nested: bool) -> bytes:
        """An event, encoded."""
        return msgspec.json.encode(self._event(legs, now_ms, nested=nested))

    def event(self, ticker: str, query: dict[str, str], now_ms: int) -> bytes:
        """One event, with its markets nested or, as of old, beside it."""
        self._sort()
        legs = self._events.get(ticker)
        if legs is None:
            raise _Refused(404, "not_found", "not found")
        nested = _true(query, "with_nested_markets")
        value: dict[str, Any] = {"event": self._event(legs, now_ms, nested=nested)}
        if not nested and not _true(query, "exclude_markets"):
            value["markets"] = [msgspec.Raw(body) for m in legs if (body := self.market(m, now_ms, fresh=True))]
        return msgspec.json.encode(value)

    def _event(self, legs: Sequence[Listed], now_ms: int, *, nested: bool) -> dict[str, Any]:
        markets = [msgspec.Raw(body) for m in legs if (body := self.market(m, now_ms))] if nested else None
        return event_object(legs[0].event, legs, markets)

    def series(self, query: dict[str, str]) -> bytes:
        """All series, not paged."""
        self._sort()
        found = [series_object(ticker, legs) for ticker, legs in sorted(self._series.items())]
        if "category" in query:
            found = [value for value in found if value["category"] == query["category"]]
        return msgspec.json.encode({"series": found})

    def one_series(self, ticker: str) -> bytes:
        """One series."""
        self._sort()
        legs = self._series.get(ticker)
        if legs is None:
            raise _Refused(404, "not_found", "not found")
        return msgspec.json.encode({"series": series_object(ticker, legs)})

    def book(self, listing: Listed, depth: int) -> dict[str, Any]:
        """Both ladders, bids only, prices ascending; an empty side is an empty list here."""
        self._source.watch([listing.key])
        over = listing.status not in {"active", "paused"}
        if self._log is not None:
            self._log.asked(listing.key)
        bids, asks = ({}, {}) if over else self._source.levels(listing.key)
        sides = {"no_dollars": {PX_ONE_E4 - px: sz for px, sz in asks.items()}, "yes_dollars": bids}
        return {
            name: [[dollars(px), count_text(sz)] for px, sz in sorted(levels.items())[-depth if depth else 0 :]]
            for name, levels in sides.items()
        }

    def trades(self, query: dict[str, str]) -> bytes:
        """Prints, newest first."""
        ticker = query.get("ticker")
        least = _integer(query, "min_ts", 0, 1 << 40) * 1000
        most = _integer(query, "max_ts", 1 << 40, 1 << 40) * 1000
        found = [
            change
            for change in reversed(self._trades)
            if (ticker is None or change.key == ticker) and least <= change.ts_ms <= most
        ]
        start = _offset(query)
        limit = _integer(query, "limit", 100, 1_000)
        page = found[start : start + limit]
        more = start + limit < len(found)
        cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode().rstrip("=") if more else ""
        return msgspec.json.encode({"cursor": cursor, "trades": [_trade(change) for change in page]})


def kalshi_router(catalogue: KalshiCatalogue, now_ms: Callable[[], int], *, paused: Callable[[], bool]) -> APIRouter:
    """Routes below ``/trade-api/v2``."""
    router = APIRouter()

    @router.get("/exchange/status")
    async def status() -> Response:
        active = not paused()
        body = msgspec.json.encode(
            {
                "exchange_active": active,
                "exchange_estimated_resume_time": None,
                "trading_active": active,
                "intra_exchange_transfers_active": active,
                "exchange_index_statuses": [{"exchange_index": 0, "exchange_active": active, "trading_active": active}],
            }
        )
        return _json(body, 200 if active else 503)

    @router.get("/exchange/schedule")
    async def schedule() -> Response:
        whole = [{"close_time": "00:00", "open_time": "00:00"}]
        hours: dict[str, Any] = dict.fromkeys(_EVERY_DAY, whole)
        hours["thursday"] = [
            {"close_time": "03:00", "open_time": "00:00"},
            {"close_time": "00:00", "open_time": "05:00"},
        ]
        hours |= {"start_time": "2024-12-01T00:00:00Z", "end_time": "2200-12-01T00:00:00Z"}
        return _json(msgspec.json.encode({"schedule": {"maintenance_windows": [], "standard_hours": [hours]}}))

    @router.get("/series/fee_changes")
    async def fee_changes() -> Response:
        return _json(b'{"series_fee_change_arr":[]}')

    @router.get("/series")
    async def series(request: Request) -> Response:
        return _guarded(lambda: catalogue.series(dict(request.query_params)))

    @router.get("/series/{ticker}")
    async def one_series(ticker: str) -> Response:
        return _guarded(lambda: catalogue.one_series(ticker))

    @router.get("/events")
    async def events(request: Request) -> Response:
        query = dict(request.query_params)
        nested = _true(query, "with_nested_markets")
        try:
            rows, cursor = catalogue.events(query)
        except _Refused as exc:
            return _error(exc)
        body = await written(rows, lambda legs: catalogue.event_of(legs, now_ms(), nested=nested))
        return _json(b"".join((f'{{"cursor":"{cursor}","events":['.encode(), body, b"]}")))

    @router.get("/events/{ticker}")
    async def event(ticker: str, request: Request) -> Response:
        return _guarded(lambda: catalogue.event(ticker, dict(request.query_params), now_ms()))

    @router.get("/markets/orderbooks")
    async def orderbooks(request: Request) -> Response:
        def answer() -> bytes:
            tickers = request.query_params.getlist("tickers")
            if not 1 <= len(tickers) <= 100 or any(len(t) > 200 for t in tickers):
                raise _Refused(400, "bad_request", "bad request", "tickers must hold 1 to 100 values")
            found = []
            for ticker in tickers:
                try:
                    listing = catalogue.find(ticker)
                except _Refused:
                    continue
                found.append({"ticker": ticker, "orderbook_fp": catalogue.book(listing, 0)})
            return msgspec.json.encode({"orderbooks": found})

        return _guarded(answer)

    @router.get("/markets/trades")
    async def trades(request: Request) -> Response:
        return _guarded(lambda: catalogue.trades(dict(request.query_params)))

    @router.get("/markets")
    async def markets(request: Request) -> Response:
        try:
            rows, cursor = catalogue.markets(dict(request.query_params))
        except _Refused as exc:
            return _error(exc)
        body = await written(rows, lambda row: catalogue.market(row, now_ms()))
        return _json(b"".join((f'{{"cursor":"{cursor}","markets":['.encode(), body, b"]}")))

    @router.get("/markets/{ticker}")
    async def market(ticker: str) -> Response:
        return _guarded(lambda: b'{"market":' + catalogue.market(catalogue.find(ticker), now_ms(), fresh=True) + b"}")

    @router.get("/markets/{ticker}/orderbook")
    async def orderbook(ticker: str, request: Request) -> Response:
        def answer() -> bytes:
            depth = _integer(dict(request.query_params), "depth", 0, 100)
            return msgspec.json.encode({"orderbook_fp": catalogue.book(catalogue.find(ticker), depth)})

        return _guarded(answer)

    return router


def _trade(change: Change) -> dict[str, Any]:
    taker = "yes" if change.bid else "no"
    return {
        "count_fp": count_text(change.sz_e6),
        "created_time": iso_micros(change.ts_ms, change.number * 7919 % 1000),
        "is_block_trade": False,
        "no_price_dollars": dollars(PX_ONE_E4 - change.px_e4),
        "taker_book_side": "bid" if change.bid else "ask",
        "taker_outcome_side": taker,
        "taker_side": taker,
        "ticker": change.key,
        "trade_id": trade_uuid(change.trade_id, change.key, change.ts_ms, change.number),
        "yes_price_dollars": dollars(change.px_e4),
    }


def _status_words(query: dict[str, str], *, exact: bool) -> set[str] | None:
    word = query.get("status")
    if not word:
        return None
    if exact and word not in _FILTERS:
        raise _Refused(400, "bad_request", "bad request", "invalid status filter")
    return _FILTERS[word]


def _page(
    rows: list[Any],
    query: dict[str, str],
    *,
    most: int,
    default: int,
    place: Callable[[Any], int],
    shift: Callable[[], int],
) -> tuple[list[Any], str]:
    """A page after the cursor, which names the last row's place: rows may come and go between pages."""
    last = _offset(query)
    start = 0
    if last:
        start = next((at for at, row in enumerate(rows) if place(row) > last), len(rows))
        start = max(0, start - shift())
    limit = _integer(query, "limit", default, most) or default
    page = rows[start : start + limit]
    if start + limit >= len(rows) or not page:
        return page, ""
    return page, base64.urlsafe_b64encode(str(place(page[-1])).encode()).decode().rstrip("=")


def _offset(query: dict[str, str]) -> int:
    cursor = query.get("cursor", "")
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))) if cursor else 0
    except (binascii.Error, ValueError) as exc:
        raise _Refused(400, "bad_request", "bad request", "invalid cursor") from exc


def _integer(query: dict[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdigit() or int(text) > most:
        raise _Refused(400, "bad_request", "bad request", f"invalid {name}")
    return int(text)


def _true(query: dict[str, str], name: str) -> bool:
    return query.get(name, "").lower() in {"true", "1"}


def _guarded(answer: Callable[[], bytes]) -> Response:
    try:
        return _json(answer())
    except _Refused as exc:
        return _error(exc)


def _error(exc: _Refused) -> Response:
    return _json(msgspec.json.encode({"error": exc.error}), exc.status)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")

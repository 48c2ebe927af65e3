"""The CLOB's public endpoints over HTTP: books, prices, ticks, markets."""

from __future__ import annotations

import base64
import binascii
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.book_text import levels_text
from overround.exchange.gamma_objects import question_id, slug_of
from overround.exchange.model import Listed, Source
from overround.exchange.polymarket_hub import PolymarketHub
from overround.market import PX_ONE_E4, Venue, px_text, sz_text

__all__ = ["clob_router"]

_NO_BOOK = "No orderbook exists for the requested token id"
_PAGE = 1_000
_END = "LTE="
_MOST_BODY = 64 * 1024


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Clob:
    """Books and prices of the present moment.

    Parameters
    ----------
    source : Source
    hub : PolymarketHub
        Knows ticks, last prices and hashes as the socket shows them.
    rng : random.Random
        Shuffles batch answers: the venue's order is not the request's.
    """

    def __init__(self, source: Source, hub: PolymarketHub, rng: random.Random) -> None:
        self._source = source
        self._hub = hub
        self._rng = rng

    def sides(self, token: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bids ascending and asks descending of a token: the best level is last on both."""
        found = self._hub.rest_book(token)
        if found is None or found[0].status not in {"active", "paused"}:
            raise _Refused(404, _NO_BOOK)
        self._source.watch([found[0].key])
        bids, asks = self._source.levels(found[0].key)
        if found[1]:
            bids, asks = ({PX_ONE_E4 - px: sz for px, sz in side.items()} for side in (asks, bids))
        return sorted(bids.items()), sorted(asks.items(), reverse=True)

    def book(self, token: str) -> bytes:
        """A book object; its timestamp is the last change, not the request."""
        bids, asks = map(levels_text, self.sides(token))
        found = self._hub.rest_book(token)
        assert found is not None  # sides refuses unknown tokens
        listing, _, stamp, tick, last = found
        self._hub.asked_by_rest(listing.key)
        digest = self._hub.rest_hash(token, bids, asks, stamp)
        risk = "true" if listing.event.neg_risk_id else "false"
        head = f'{{"market":"{listing.key}","asset_id":"{token}","timestamp":"{stamp}","hash":"{digest}","bids":['
        tail = (
            f'],"min_order_size":"{sz_text(listing.min_size_e6)}","tick_size":"{tick}","neg_risk":{risk},'
            f'"last_trade_price":"{last}"}}'
        )
        return b"".join((head.encode(), bids, b'],"asks":[', asks, tail.encode()))

    def books(self, tokens: list[str]) -> bytes:
        """Many books: unknown tokens are left out, the order is not the request's."""
        found = []
        for token in dict.fromkeys(tokens):
            try:
                found.append(self.book(token))
            except _Refused:
                continue
        self._rng.shuffle(found)
        return b"[" + b",".join(found) + b"]"

    def best(self, token: str) -> tuple[int | None, int | None]:
        """Best bid and ask of a token."""
        bids, asks = self.sides(token)
        return bids[-1][0] if bids else None, asks[-1][0] if asks else None

    def midpoint(self, token: str) -> str:
        """Middle of the best prices as text."""
        bid, ask = self.best(token)
        if bid is None or ask is None:
            raise _Refused(404, _NO_BOOK)
        return _half_text(bid + ask)

    def tick(self, token: str) -> float:
        """The tick in force."""
        found = self._hub.rest_book(token)
        if found is None:
            raise _Refused(404, "market not found")
        return float(found[3])

    def market_object(self, listing: Listed) -> dict[str, Any]:
        """A CLOB market row."""
        opened = listing.status in {"active", "paused"}
        last = self._source.last_trade_px_e4(listing.key)
        first = 5_000 if last is None else last
        if listing.result is not None:
            first = PX_ONE_E4 if listing.result == 0 else 0
        prices = (first, PX_ONE_E4 - first)
        return {
            "enable_order_book": opened,
            "active": True,
            "closed": not opened,
            "archived": False,
            "accepting_orders": listing.status == "active",
            "accepting_order_timestamp": None,
            "minimum_order_size": _whole(listing.min_size_e6 / 1_000_000),
            "minimum_tick_size": _whole(listing.tick_e4 / PX_ONE_E4),
            "condition_id": listing.key,
            "question_id": question_id(listing),
            "question": listing.title,
            "description": listing.rules,
            "market_slug": slug_of(listing),
            "end_date_iso": _day(listing.close_ms),
            "game_start_time": None,
            "seconds_delay": 3 if listing.event.category == "Sports" else 0,
            "fpmm": "",
            "maker_base_fee": 1000 if listing.fee_rate else 0,
            "taker_base_fee": 1000 if listing.fee_rate else 0,
            "notifications_enabled": True,
            "neg_risk": bool(listing.event.neg_risk_id),
            "neg_risk_market_id": listing.event.neg_risk_id,
            "neg_risk_request_id": question_id(listing) if listing.event.neg_risk_id else "",
            "icon": "",
            "image": "",
            "rewards": {"rates": None, "min_size": 0, "max_spread": 0},
            "is_50_50_outcome": False,
            "tokens": [
                {
                    "token_id": token,
                    "outcome": outcome,
                    "price": _whole(px / PX_ONE_E4),
                    "winner": listing.result == index,
                }
                for index, (token, outcome, px) in enumerate(zip(listing.tokens, listing.outcomes, prices, strict=True))
            ],
            "tags": [tag for tag in (listing.event.category, "All") if tag],
        }

    def page(self, cursor: str) -> dict[str, Any]:
        """One page of all markets; the cursor is base64 of an offset and ends in ``LTE=``."""
        if cursor == _END:
            raise _Refused(400, "Next item should be greater than or equal to 0")
        try:
            offset = int(base64.b64decode(cursor)) if cursor else 0
        except (binascii.Error, ValueError) as exc:
            raise _Refused(400, "invalid next_cursor") from exc
        rows = [m for m in self._source.listings.values() if m.venue is Venue.POLYMARKET]
        page = rows[offset : offset + _PAGE]
        at_end = offset + _PAGE >= len(rows)
        return {
            "data": [self.market_object(listing) for listing in page],
            "next_cursor": _END if at_end else base64.b64encode(str(offset + _PAGE).encode()).decode(),
            "limit": _PAGE,
            "count": len(page),
        }


def clob_router(source: Source, hub: PolymarketHub, rng: random.Random, now_ms: Callable[[], int]) -> APIRouter:
    """Routes below ``/clob``."""
    router = APIRouter()
    clob = Clob(source, hub, rng)

    @router.get("/book")
    async def book(request: Request) -> Response:
        return _guarded(lambda: clob.book(_token(request)))

    @router.post("/books")
    async def books(request: Request) -> Response:
        body = await request.body()
        return _guarded(lambda: clob.books(_tokens(body)))

    @router.get("/midpoint")
    async def midpoint(request: Request) -> Response:
        return _guarded(lambda: msgspec.json.encode({"mid": clob.midpoint(_token(request))}))

    @router.post("/midpoints")
    async def midpoints(request: Request) -> Response:
        body = await request.body()

        def answer() -> bytes:
            found = {}
            for token in _tokens(body):
                try:
                    found[token] = clob.midpoint(token)
                except _Refused:
                    continue
            return msgspec.json.encode(found)

        return _guarded(answer)

    @router.get("/price")
    async def price(request: Request) -> Response:
        def answer() -> bytes:
            side = (request.query_params.get("side") or "").upper()
            if side not in {"BUY", "SELL"}:
                raise _Refused(400, "Invalid side")
            # BUY names the best bid and SELL the best ask, however odd that reads.
            px = clob.best(_token(request))[side == "SELL"]
            if px is None:
                raise _Refused(404, _NO_BOOK)
            return msgspec.json.encode({"price": px_text(px)})

        return _guarded(answer)

    @router.get("/spread")
    async def spread(request: Request) -> Response:
        def answer() -> bytes:
            bid, ask = clob.best(_token(request))
            if bid is None or ask is None:
                raise _Refused(404, _NO_BOOK)
            return msgspec.json.encode({"spread": px_text(max(0, ask - bid))})

        return _guarded(answer)

    @router.get("/last-trade-price")
    async def last_trade_price(request: Request) -> Response:
        def answer() -> bytes:
            found = hub.rest_book(_token(request))
            if found is None:
                raise _Refused(404, _NO_BOOK)
            return msgspec.json.encode({"price": found[4] or "0.5", "side": "BUY" if found[4] else ""})

        return _guarded(answer)

    @router.get("/tick-size")
    async def tick_size(request: Request) -> Response:
        return _guarded(lambda: msgspec.json.encode({"minimum_tick_size": clob.tick(_token(request))}))

    @router.get("/neg-risk")
    async def neg_risk(request: Request) -> Response:
        def answer() -> bytes:
            found = hub.rest_book(_token(request))
            if found is None:
                raise _Refused(404, "market not found")
            return msgspec.json.encode({"neg_risk": bool(found[0].event.neg_risk_id)})

        return _guarded(answer)

    @router.get("/fee-rate")
    async def fee_rate(request: Request) -> Response:
        def answer() -> bytes:
            found = hub.rest_book(_token(request))
            if found is None:
                raise _Refused(404, "fee rate not found for market")
            return msgspec.json.encode({"base_fee": 1000 if found[0].fee_rate else 0})

        return _guarded(answer)

    @router.get("/time")
    async def time() -> Response:
        return _json(str(now_ms() // 1000).encode())

    @router.get("/ok")
    async def alive() -> Response:
        return _json(b'"OK"')

    @router.get("/markets")
    async def markets(request: Request) -> Response:
        return _guarded(lambda: msgspec.json.encode(clob.page(request.query_params.get("next_cursor", ""))))

    @router.get("/markets/{condition_id}")
    async def market(condition_id: str) -> Response:
        def answer() -> bytes:
            listing = source.listings.get(condition_id)
            if listing is None or listing.venue is not Venue.POLYMARKET:
                raise _Refused(404, "market not found")
            return msgspec.json.encode(clob.market_object(listing))

        return _guarded(answer)

    return router


def _token(request: Request) -> str:
    token = request.query_params.get("token_id", "")
    if not token.isdigit():
        raise _Refused(400, "Invalid token id")
    return token


def _tokens(body: bytes) -> list[str]:
    if len(body) > _MOST_BODY:
        raise _Refused(400, "Payload exceeds the limit")
    try:
        return [str(row["token_id"]) for row in json.loads(body)]
    except (ValueError, TypeError, KeyError) as exc:
        raise _Refused(400, "Invalid payload") from exc


def _guarded(answer: Callable[[], bytes]) -> Response:
    try:
        return _json(answer())
    except _Refused as exc:
        return _json(msgspec.json.encode({"error": exc.text}), exc.status)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _half_text(twice_px_e4: int) -> str:
    return f"{twice_px_e4 / (2 * PX_ONE_E4):.5f}".rstrip("0").rstrip(".") or "0"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, tz=UTC).strftime("%Y-%m-%dT00:00:00Z")

"""Gamma over HTTP: keyset and legacy listings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.gamma import GammaCatalogue, PageRefused, Query
from overround.exchange.gamma_objects import tags_of
from overround.exchange.model import Source

__all__ = ["gamma_router", "written"]

Row = TypeVar("Row")
_AT_ONCE = 8


def gamma_router(source: Source, catalogue: GammaCatalogue, now_ms: Callable[[], int]) -> APIRouter:
    """Routes below ``/gamma``."""
    router = APIRouter()

    @router.get("/markets/keyset")
    async def markets_keyset(request: Request) -> Response:
        return await _keyset("markets", request, catalogue.markets_keyset, lambda row: catalogue.market(row, now_ms()))

    @router.get("/events/keyset")
    async def events_keyset(request: Request) -> Response:
        return await _keyset("events", request, catalogue.events_keyset, lambda row: catalogue.event(row, now_ms()))

    @router.get("/markets")
    async def markets(request: Request) -> Response:
        return await _legacy(request, catalogue.markets_offset, lambda row: catalogue.market(row, now_ms()))

    @router.get("/events")
    async def events(request: Request) -> Response:
        return await _legacy(request, catalogue.events_offset, lambda row: catalogue.event(row, now_ms()))

    @router.get("/markets/slug/{slug}")
    async def market_by_slug(slug: str) -> Response:
        return _one(catalogue.find_market_by_slug(slug, now_ms()))

    @router.get("/markets/{ref}")
    async def market(ref: str) -> Response:
        return _one(catalogue.find_market(ref, now_ms()))

    @router.get("/events/{ref}")
    async def event(ref: str) -> Response:
        return _one(catalogue.find_event(ref, now_ms()))

    @router.get("/tags")
    async def tags() -> Response:
        found = {tag["id"]: tag for listing in source.listings.values() for tag in tags_of(listing.event)}
        return _json(msgspec.json.encode(list(found.values())[:100]))

    return router


async def written(rows: Sequence[Row], encode: Callable[[Row], bytes]) -> bytes:
    """Encoded rows with commas between; the loop gets its turn in between, so that frames do not wait for a page."""
    parts = []
    for number, row in enumerate(rows):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        parts.append(encode(row))
    return b",".join(filter(None, parts))


async def _keyset(
    name: str,
    request: Request,
    page: Callable[[Query], tuple[list[Row], str | None]],
    encode: Callable[[Row], bytes],
) -> Response:
    query = Query(request.query_params.multi_items())
    if query.one("offset") is not None:
        return _refused("offset is not supported on keyset endpoints; use after_cursor")
    try:
        rows, cursor = page(query)
    except PageRefused as exc:
        return _refused(exc.text)
    tail = b"}" if cursor is None else f',"next_cursor":"{cursor}"}}'.encode()
    return _json(b"".join((f'{{"{name}":['.encode(), await written(rows, encode), b"]", tail)))


async def _legacy(request: Request, page: Callable[[Query], list[Row]], encode: Callable[[Row], bytes]) -> Response:
    try:
        rows = page(Query(request.query_params.multi_items()))
    except PageRefused as exc:
        return _refused(exc.text)
    return _json(b"[" + await written(rows, encode) + b"]")


def _one(body: bytes | None) -> Response:
    if not body:
        return _json(b'{"type":"not found error","error":"id not found"}', 404)
    return _json(body)


def _refused(text: str) -> Response:
    return _json(msgspec.json.encode({"type": "validation error", "error": text}), 422)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")

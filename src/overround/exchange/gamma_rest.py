"""Gamma over HTTP: keyset and legacy listings."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.gamma import GammaCatalogue, PageRefused, Query
from overround.exchange.gamma_objects import tags_of
from overround.exchange.model import Source

__all__ = ["gamma_router"]


def gamma_router(source: Source, catalogue: GammaCatalogue, now_ms: Callable[[], int]) -> APIRouter:
    """Routes below ``/gamma``."""
    router = APIRouter()

    @router.get("/markets/keyset")
    async def markets_keyset(request: Request) -> Response:
        return _keyset("markets", request, catalogue.markets_keyset, now_ms())

    @router.get("/events/keyset")
    async def events_keyset(request: Request) -> Response:
        return _keyset("events", request, catalogue.events_keyset, now_ms())

    @router.get("/markets")
    async def markets(request: Request) -> Response:
        return _legacy(request, catalogue.markets_offset, now_ms())

    @router.get("/events")
    async def events(request: Request) -> Response:
        return _legacy(request, catalogue.events_offset, now_ms())

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


def _keyset(
    name: str, request: Request, page: Callable[[Query, int], tuple[list[bytes], str | None]], now_ms: int
) -> Response:
    query = Query(request.query_params.multi_items())
    if query.one("offset") is not None:
        return _refused("offset is not supported on keyset endpoints; use after_cursor")
    try:
        rows, cursor = page(query, now_ms)
    except PageRefused as exc:
        return _refused(exc.text)
    tail = b"}" if cursor is None else f',"next_cursor":"{cursor}"}}'.encode()
    return _json(b"".join((f'{{"{name}":['.encode(), b",".join(rows), b"]", tail)))


def _legacy(request: Request, page: Callable[[Query, int], list[bytes]], now_ms: int) -> Response:
    try:
        rows = page(Query(request.query_params.multi_items()), now_ms)
    except PageRefused as exc:
        return _refused(exc.text)
    return _json(b"[" + b",".join(rows) + b"]")


def _one(body: bytes | None) -> Response:
    if body is None:
        return _json(b'{"type":"not found error","error":"id not found"}', 404)
    return _json(body)


def _refused(text: str) -> Response:
    return _json(msgspec.json.encode({"type": "validation error", "error": text}), 422)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")

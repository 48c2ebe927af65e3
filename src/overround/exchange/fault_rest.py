"""Faults of the REST side, and faults added at run time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.fault_script import Fault, HttpFault
from overround.exchange.faults import FaultDesk
from overround.market import Venue

__all__ = ["FaultedApp", "fault_router"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head>"
    b"<body><h1>Error 502</h1><p>The web server reported a bad gateway error.</p></body></html>\n"
)
_TEXTS = {
    425: b'{"error":"service not ready"}',
    429: b'{"error":"too many requests"}',
    500: b'{"error":"internal error"}',
    503: b'{"error":"service unavailable"}',
}
_CURSOR = re.compile(rb'"(next_cursor|cursor)":"[^"]*"')


class FaultedApp:
    """An ASGI application in front of the exchange's own, which spoils answers while a fault is in force.

    Parameters
    ----------
    app : ASGI application
    desk : FaultDesk
    """

    def __init__(self, app: _App, desk: FaultDesk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        venue = None
        if path.startswith("/trade-api/"):
            venue = Venue.KALSHI
        elif path.startswith(("/gamma/", "/clob/")):
            venue = Venue.POLYMARKET
        fault = None if venue is None or scope["type"] != "http" else self._desk.http(venue, path)
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind in {"http_status", "http_html"}:
            await _answer(fault, send)
        elif fault.kind == "http_slow":
            await asyncio.sleep(fault.delay_ms / 1000)
            await self._app(scope, receive, send)
        else:
            await self._spoiled(fault, scope, receive, send)

    async def _spoiled(self, fault: HttpFault, scope: _Message, receive: _Receive, send: _Send) -> None:
        start: _Message = {}
        parts: list[bytes] = []

        async def collect(message: _Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        body = b"".join(parts)
        if fault.kind == "http_cut":
            body = body[: len(body) // 2]
        else:
            query = parse_qs(scope.get("query_string", b"").decode())
            asked = next((query[name][0] for name in ("after_cursor", "next_cursor", "cursor") if name in query), "")
            if asked:
                body = _CURSOR.sub(lambda found: b'"' + found[1] + b'":"' + asked.encode() + b'"', body)
        start["headers"] = [
            (name, str(len(body)).encode() if name == b"content-length" else value) for name, value in start["headers"]
        ]
        await send(start)
        await send({"type": "http.response.body", "body": body})


async def _answer(fault: HttpFault, send: _Send) -> None:
    html = fault.kind == "http_html"
    body = _HTML if html else _TEXTS.get(fault.status, b'{"error":"injected"}')
    headers = [
        (b"content-type", b"text/html; charset=UTF-8" if html else b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if fault.retry_after is not None:
        headers.append((b"retry-after", fault.retry_after.encode()))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def fault_router(desk: FaultDesk) -> APIRouter:
    """Routes below ``/faults``."""
    router = APIRouter()

    @router.post("")
    async def add(request: Request) -> Response:
        body = await request.body()
        try:
            if body.lstrip()[:1] == b"[":
                faults = msgspec.json.decode(body, type=list[Fault])
            else:
                faults = [msgspec.json.decode(body, type=Fault)]
        except msgspec.DecodeError as exc:
            return _json({"error": str(exc)}, 422)
        return _json({"ids": [desk.add(fault) for fault in faults]})

    @router.delete("/{number}")
    async def end(number: int) -> Response:
        return _json({"ended": desk.end(number)})

    @router.get("/{venue}")
    async def report(venue: Venue) -> Response:
        return _json(desk.report(venue))

    return router


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")

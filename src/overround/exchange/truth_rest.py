"""What really happened, over HTTP: for checks and tests, which no venue would answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from fastapi import APIRouter, Request, Response

from overround.exchange.model import Change, ChangeKind, Listed, Source
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.truth import BookState, Truth
from overround.market import Venue

__all__ = ["FaultLog", "ShadowTruth", "StatesQuery", "truth_of", "truth_router"]

_MOST_STATES = 20_000


class FaultLog(Protocol):
    """Port through which the truth learns what was injected."""

    def report(self, venue: Venue) -> list[dict[str, Any]]:
        """What was injected into a venue, in order."""
        ...

    def connections(self, venue: Venue) -> list[dict[str, Any]]:
        """When each connection was opened and closed."""
        ...


class StatesQuery(msgspec.Struct, frozen=True):
    """Body of ``POST /truth/{venue}/states``: market keys and venue times."""

    keys: list[tuple[str, int]]


class ShadowTruth:
    """Truth of a source that keeps none: the books are copied at the start and every change is applied again.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self.truth = Truth()
        self._source = source
        self._books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
        for key in source.listings:
            self._open(key, source.last_change_ms(key), source.levels(key))

    def _open(self, key: str, ts_ms: int, levels: tuple[dict[int, int], dict[int, int]]) -> None:
        bids, asks = self._books[key] = (dict(levels[0]), dict(levels[1]))
        self.truth.open(key, ts_ms, bids, asks)

    def record(self, change: Change) -> None:
        """Write one change down, before it is encoded."""
        if change.key not in self._books:
            self._open(change.key, change.ts_ms, ({}, {}))
        if change.kind is ChangeKind.LEVEL:
            side = self._books[change.key][0 if change.bid else 1]
            if change.sz_e6:
                side[change.px_e4] = change.sz_e6
            else:
                side.pop(change.px_e4, None)
            self.truth[change.key].add(change.ts_ms, change.px_e4 if change.bid else -change.px_e4, change.sz_e6)
        elif change.kind is ChangeKind.TRADE:
            self.truth[change.key].add_print(change.ts_ms, change.px_e4, change.sz_e6, taker_buys=change.bid)


def truth_of(source: Source) -> tuple[Truth, ShadowTruth | None]:
    """The source's own truth, or one kept beside it."""
    own = getattr(source, "truth", None)
    if isinstance(own, Truth):
        return own, None
    shadow = ShadowTruth(source)
    return shadow.truth, shadow


def truth_router(
    sources: Mapping[Venue, Source],
    truths: Mapping[Venue, Truth],
    ended: Mapping[str, int],
    polymarket: PolymarketHub | None,
    faults: FaultLog,
    now_ms: Callable[[], int],
) -> APIRouter:
    """Routes below ``/truth``; ``ended`` says since when a market shows no book any more."""
    router = APIRouter()

    @router.get("/{venue}/markets")
    async def markets(venue: Venue) -> Response:
        if venue not in sources:
            return _absent(venue)
        rows = [_listed(listing) for listing in sources[venue].listings.values() if listing.venue is venue]
        return _json(msgspec.json.encode(rows))

    @router.post("/{venue}/states")
    async def states(venue: Venue, request: Request) -> Response:
        if venue not in sources:
            return _absent(venue)
        try:
            query = msgspec.json.decode(await request.body(), type=StatesQuery)
        except msgspec.DecodeError as exc:
            return _json(msgspec.json.encode({"error": str(exc)}), 422)
        if len(query.keys) > _MOST_STATES:
            return _json(msgspec.json.encode({"error": f"more than {_MOST_STATES} keys"}), 422)
        truth = truths[venue]
        hub = polymarket if venue is Venue.POLYMARKET else None
        answer = []
        for number, (key, ts_ms) in enumerate(query.keys):
            if number % 32 == 31:
                await asyncio.sleep(0)  # rebuilding states takes its time, and frames must not wait for it
            found = truth[key].states_at(ts_ms) if key in truth else []
            told = [_state(key, state, hub) for state in found]
            if found and ts_ms >= ended.get(key, ts_ms + 1):
                # The levels that stood at the end are in the log; what the venue shows from then on is nothing.
                told.append({"number": found[-1].number, "ts_ms": ended[key], "bids": [], "asks": []})
            answer.append(told)
        return _json(msgspec.json.encode(answer))

    @router.get("/{venue}/now/{key}")
    async def now(venue: Venue, key: str) -> Response:
        if venue not in sources or key not in truths[venue]:
            return _absent(venue)
        hub = polymarket if venue is Venue.POLYMARKET else None
        return _json(msgspec.json.encode(_state(key, truths[venue][key].now(), hub)))

    @router.get("/{venue}/trades")
    async def trades(venue: Venue) -> Response:
        if venue not in sources:
            return _absent(venue)
        truth = truths[venue]
        rows = [
            {
                "key": key,
                "ts_ms": each.ts_ms,
                "px_e4": each.px_e4,
                "sz_e6": each.sz_e6,
                "taker_buys": each.taker_buys,
            }
            for key in sorted(truth.keys())
            for each in truth[key].trades()
        ]
        return _json(msgspec.json.encode(rows))

    @router.get("/{venue}/planted")
    async def planted(venue: Venue) -> Response:
        if venue not in sources:
            return _absent(venue)
        found = getattr(sources[venue], "planted", ())
        return _json(msgspec.json.encode(list(found() if callable(found) else found)))

    @router.get("/{venue}/faults")
    async def injected(venue: Venue) -> Response:
        return _json(msgspec.json.encode(faults.report(venue)))

    @router.get("/{venue}/connections")
    async def connections(venue: Venue) -> Response:
        return _json(msgspec.json.encode(faults.connections(venue)))

    @router.get("/time")
    async def time() -> Response:
        return _json(str(now_ms()).encode())

    return router


def _state(key: str, state: BookState, hub: PolymarketHub | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "number": state.number,
        "ts_ms": state.ts_ms,
        "bids": sorted(state.bids.items(), reverse=True),
        "asks": sorted(state.asks.items()),
    }
    if hub is not None and hub.listing(key) is not None:
        hashes = hub.hash_of(key, state.number, state.ts_ms, state.bids, state.asks)
        value["hash"] = hashes[0]
        value["hashes"] = hashes
    return value


def _listed(listing: Listed) -> dict[str, Any]:
    return {
        "key": listing.key,
        "tokens": listing.tokens,
        "number": listing.number,
        "event": listing.event.key,
        "family": listing.event.family,
        "leg": listing.leg,
        "title": listing.title,
        "status": listing.status,
        "result": listing.result,
        "open_ms": listing.open_ms,
        "close_ms": listing.close_ms,
        "tick_e4": listing.tick_e4,
        "related": listing.related,
    }


def _absent(venue: Venue) -> Response:
    return _json(msgspec.json.encode({"error": f"nothing known: {venue}"}), 404)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status_code=status, media_type="application/json")

"""Gamma's catalogue: how markets and events are filtered and paged.

An object is encoded once and kept: the venue's own quotes are minutes old, so a cached one is as true as its.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence

import msgspec

from overround.exchange.gamma_objects import event_object, is_open, market_object, question_id, slug_of, tags_of
from overround.exchange.model import Listed, Source
from overround.market import Venue

__all__ = ["GammaCatalogue", "PageRefused", "Query"]

_PAGE = 100


class PageRefused(Exception):
    """The query asks for what the venue does not allow."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class GammaCatalogue:
    """Markets and events as Gamma lists them.

    Parameters
    ----------
    source : Source
    refresh_ms : int
        Age at which an object's quotes are made anew.
    shift : callable
        Rows by which a page begins too early (a fault).
    """

    def __init__(self, source: Source, *, refresh_ms: int, shift: Callable[[], int] = int) -> None:
        self._source = source
        self._refresh_ms = refresh_ms
        self._shift = shift
        self._encoded: dict[str, tuple[int, bytes]] = {}
        self._summaries: dict[str, tuple[int, bytes]] = {}
        self._by_number: dict[int, Listed] = {}
        self._order: list[int] = []
        self._open_order: list[int] = []
        self._events: dict[str, list[Listed]] = {}
        self._event_order: list[str] = []
        self._stale = True

    def changed(self, key: str) -> None:
        """A market's status, tick or result changed, or it is new."""
        self._encoded.pop(key, None)
        listing = self._source.listings.get(key)
        if listing is not None:
            self._summaries.pop(listing.event.key, None)
        self._stale = True

    # ---------------------------------------------------------------- pages

    def markets_keyset(self, query: Query) -> tuple[list[Listed], str | None]:
        """One page of markets and the cursor of the next."""
        page, cursor = self._keyset(self._matching_numbers(query), query)
        return [self._by_number[number] for number in page], cursor

    def events_keyset(self, query: Query) -> tuple[list[str], str | None]:
        """One page of events' ids and the cursor of the next."""
        page, cursor = self._keyset([int(key) for key in self._matching_events(query)], query)
        return [str(key) for key in page], cursor

    def markets_offset(self, query: Query) -> list[Listed]:
        """The legacy listing of markets."""
        order = self._matching_numbers(query)
        offset = self._offset(query)
        return [self._by_number[n] for n in order[offset : offset + query.limit(_PAGE)]]

    def events_offset(self, query: Query) -> list[str]:
        """The legacy listing of events."""
        order = self._matching_events(query)
        offset = self._offset(query)
        return order[offset : offset + query.limit(_PAGE)]

    def _keyset(self, order: Sequence[int], query: Query) -> tuple[Sequence[int], str | None]:
        start = self._after(order, query.one("after_cursor"))
        size = query.limit(_PAGE)
        page = order[start : start + size]
        return page, _cursor(page[-1]) if page and start + size < len(order) else None

    def find_market(self, ref: str, now_ms: int) -> bytes | None:
        """A market by its Gamma id."""
        self._sort()
        listing = self._by_number.get(int(ref)) if ref.isdigit() else None
        return None if listing is None else self.market(listing, now_ms)

    def find_market_by_slug(self, slug: str, now_ms: int) -> bytes | None:
        """A market by its slug."""
        ref = slug.rpartition("-")[2]
        self._sort()
        listing = self._by_number.get(int(ref)) if ref.isdigit() else None
        return self.market(listing, now_ms) if listing is not None and slug_of(listing) == slug else None

    def find_event(self, ref: str, now_ms: int) -> bytes | None:
        """An event by its id."""
        self._sort()
        return self.event(ref, now_ms) if ref in self._events else None

    def _offset(self, query: Query) -> int:
        offset = query.offset()
        return max(0, offset - self._shift()) if offset else 0

    def _after(self, order: Sequence[int], cursor: str | None) -> int:
        if not cursor:
            return 0
        last = _read_cursor(cursor)
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if order[middle] <= last:
                low = middle + 1
            else:
                high = middle
        return max(0, low - self._shift())

    def _matching_numbers(self, query: Query) -> Sequence[int]:
        self._sort()
        wanted_closed = query.flag("closed", default=False)
        order: Sequence[int] = self._order if wanted_closed else self._open_order
        if wanted_closed:
            order = [n for n in order if not is_open(self._by_number[n])]
        picks: tuple[tuple[str, Callable[[Listed], set[str]]], ...] = (
            ("id", lambda m: {str(m.number)}),
            ("slug", lambda m: {slug_of(m)}),
            ("condition_ids", lambda m: {m.key}),
            ("clob_token_ids", lambda m: set(m.tokens)),
            ("question_ids", lambda m: {question_id(m)}),
        )
        for name, pick in picks:
            values = query.many(name)
            if values:
                named = set(values)
                order = [n for n in order if pick(self._by_number[n]) & named]
        if query.flag("active", default=None) is False:
            order = []
        if query.flag("archived", default=None) is True:
            order = []
        limits: tuple[tuple[str, Callable[[Listed], float]], ...] = (
            ("volume_num_min", lambda m: m.volume_usdc),
            ("liquidity_num_min", lambda m: m.liquidity_usdc),
        )
        for name, value in limits:
            least = query.one(name)
            if least is not None:
                order = [n for n in order if value(self._by_number[n]) >= float(least)]
        return self._ordered(order, query)

    def _ordered(self, order: Sequence[int], query: Query) -> Sequence[int]:
        field = query.one("order")
        fields: dict[str, Callable[[Listed], float]] = {
            "volumeNum": lambda m: m.volume_usdc,
            "volume24hr": lambda m: m.volume_24h_usdc,
            "liquidityNum": lambda m: m.liquidity_usdc,
            "endDate": lambda m: m.close_ms,
            "startDate": lambda m: m.open_ms,
            "createdAt": lambda m: m.open_ms,
            "id": lambda m: m.number,
        }
        pick = fields.get(field or "")
        if pick is None or query.one("after_cursor"):
            return order  # unknown names are silently ignored
        ascending = query.flag("ascending", default=True)
        return sorted(order, key=lambda n: pick(self._by_number[n]), reverse=not ascending)

    def _matching_events(self, query: Query) -> list[str]:
        self._sort()
        closed = query.flag("closed", default=False)
        order = [key for key in self._event_order if any(map(is_open, self._events[key])) is not closed]
        values = query.many("id")
        if values:
            order = [key for key in order if key in set(values)]
        if query.flag("active", default=None) is False or query.flag("archived", default=None) is True:
            order = []
        return order

    def _sort(self) -> None:
        if not self._stale:
            return
        self._by_number.clear()
        self._events.clear()
        for listing in self._source.listings.values():
            if listing.venue is Venue.POLYMARKET and not listing.unlisted:
                self._by_number[listing.number] = listing
                self._events.setdefault(listing.event.key, []).append(listing)
        self._order = sorted(self._by_number)
        self._open_order = [n for n in self._order if is_open(self._by_number[n])]
        self._event_order = sorted(self._events, key=lambda key: (len(key), key))
        for legs in self._events.values():
            legs.sort(key=lambda m: m.number)
        if len(self._encoded) > len(self._by_number):
            listed = {listing.key for listing in self._by_number.values()}
            self._encoded = {key: kept for key, kept in self._encoded.items() if key in listed}
            self._summaries = {key: kept for key, kept in self._summaries.items() if key in self._events}
        self._stale = False

    # ---------------------------------------------------------------- objects

    def market(self, listing: Listed, now_ms: int) -> bytes:
        """A market object with its event, encoded; empty if it is listed no more."""
        bare = self._bare(listing, now_ms)
        if not bare:
            return b""
        return b"".join((bare[:-1], b',"events":[', self._summary(listing.event.key, now_ms), b"]}"))

    def event(self, key: str, now_ms: int) -> bytes:
        """An event object with its markets and tags, encoded; empty if it is listed no more."""
        legs = self._events.get(key)
        if legs is None:
            return b""
        markets = b",".join(filter(None, (self._bare(leg, now_ms) for leg in legs)))
        tags = msgspec.json.encode(tags_of(legs[0].event))
        return b"".join((self._summary(key, now_ms)[:-1], b',"markets":[', markets, b'],"tags":', tags, b"}"))

    def _bare(self, listing: Listed, now_ms: int) -> bytes:
        """A market object without its event, encoded; empty if it is listed no more."""
        kept = self._encoded.get(listing.key)
        if kept is not None and now_ms - kept[0] < self._refresh_ms:
            return kept[1]
        if listing.key not in self._source.listings:
            return b""
        encoded = msgspec.json.encode(market_object(self._source, listing, now_ms))
        self._encoded[listing.key] = (now_ms, encoded)
        return encoded

    def _summary(self, key: str, now_ms: int) -> bytes:
        """An event without its markets, made once for all of its legs."""
        kept = self._summaries.get(key)
        if kept is not None and now_ms - kept[0] < self._refresh_ms:
            return kept[1]
        self._sort()
        legs = self._events[key]
        encoded = msgspec.json.encode(event_object(legs[0].event, legs, now_ms))
        self._summaries[key] = (now_ms, encoded)
        return encoded


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"id": str(number)}).encode()).decode()


def _read_cursor(cursor: str) -> int:
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["id"])
    except (ValueError, KeyError, TypeError) as exc:
        raise PageRefused("invalid cursor") from exc


class Query:
    """Query parameters with the venue's habits: repeated keys, clamped limits."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def one(self, name: str) -> str | None:
        """Last value given, or None."""
        values = self._values.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """All values given."""
        return self._values.get(name, [])

    def flag(self, name: str, *, default: bool | None) -> bool | None:
        """A boolean parameter."""
        value = self.one(name)
        return default if value is None else value.lower() in {"true", "1"}

    def limit(self, most: int, default: int = 20) -> int:
        """The page size: clamped, never refused."""
        value = self.one("limit")
        if value is None:
            return default
        if not value.lstrip("-").isdigit() or int(value) < 0:
            raise PageRefused("limit must be a non-negative integer")
        return min(int(value), most)

    def offset(self) -> int:
        """The legacy offset; above 10,000 it is refused."""
        value = self.one("offset") or "0"
        if not value.isdigit():
            raise PageRefused("offset must be a non-negative integer")
        if int(value) > 10_000:
            raise PageRefused("offset exceeds the maximum of 10000; use the keyset endpoint")
        return int(value)

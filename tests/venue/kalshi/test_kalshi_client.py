"""The Kalshi catalogue and books against scripted answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from overround.errors import AnswerMalformed, RequestRefused
from overround.market import FeeKind, Market, MarketStatus, Origin
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market
from overround.venue.kalshi import KalshiBooks, KalshiCatalog, KalshiClient, Signer
from overround.venue.ports import BookSource, MarketCatalog

T = TypeVar("T")
BASE = "https://venue.test/trade-api/v2"

Answer = Any


class ScriptedHttp:
    """Answers by path and query; what the decoder refuses is asked for once more, then fails."""

    def __init__(self, answer: Callable[[str, dict[str, list[str]]], Answer]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.signed: list[Mapping[str, str]] = []
        self.accepted: list[Collection[int]] = []

    async def get_as(
        self,
        decode: Callable[[bytes], T],
        url: str,
        params: Iterable[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        sign: Callable[[str, str], Mapping[str, str]] | None = None,
        accept: Collection[int] = (),
    ) -> T:
        path = url.removeprefix(BASE)
        query: dict[str, list[str]] = {}
        for key, value in params or []:
            query.setdefault(key, []).append(str(value))
        self.accepted.append(accept)
        for _ in range(2):
            self.asked.append((path, query))
            if sign is not None:
                self.signed.append(sign("GET", "/trade-api/v2" + path))
            answer = self._answer(path, query)
            if isinstance(answer, Exception):
                raise answer
            try:
                return decode(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
            except msgspec.DecodeError as exc:
                error = AnswerMalformed(str(exc))
        raise error


def market(number: int, event: str = "KXA-26", **fields: Any) -> dict[str, Any]:
    return {
        "ticker": f"{event}-{number}",
        "event_ticker": event,
        "status": "active",
        "close_time": "2026-12-01T00:00:00Z",
        "floor_strike": 70_799.99,
        "strike_type": "greater",
        **fields,
    }


def event(ticker: str = "KXA-26", series: str = "KXA", **fields: Any) -> dict[str, Any]:
    return {"event_ticker": ticker, "series_ticker": series, "title": f"Event {ticker}", **fields}


class Listing:
    """A small venue: nested events and flat markets in pages."""

    def __init__(self) -> None:
        self.events: list[list[dict[str, Any]]] = [[]]
        self.markets: list[list[Any]] = [[]]
        self.series = [{"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 0.5, "category": "Crypto"}]
        self.named_events: dict[str, dict[str, Any]] = {}

    def __call__(self, path: str, query: dict[str, list[str]]) -> Answer:
        if path == "/series":
            return {"series": self.series}
        if path.startswith("/series/"):
            return RequestRefused(path, status=404, detail="not found")
        if "tickers" in query:
            named = query["tickers"][0].split(",")
            if path == "/events":
                return {"events": [self.named_events[t] for t in named if t in self.named_events], "cursor": ""}
            return {"markets": [m for page in self.markets for m in page if m["ticker"] in named]}
        pages, key = (self.events, "events") if path == "/events" else (self.markets, "markets")
        place = int(query["cursor"][0]) if "cursor" in query else 0
        more = place + 1 < len(pages)
        return {key: pages[place], "cursor": str(place + 1) if more else ""}


def catalog_of(listing: Any, **options: Any) -> tuple[KalshiCatalog, ScriptedHttp]:
    http = ScriptedHttp(listing)
    return KalshiCatalog(http, BASE + "/", clock=ManualClock(), origin=Origin.SYNTHETIC, **options), http


async def listed(catalog: KalshiCatalog, **options: Any) -> list[Market]:
    return [found async for found in catalog.markets(**options)]


async def test_every_market_of_both_listings_comes_once_with_structure_and_fees() -> None:
    listing = Listing()
    listing.events = [[event(markets=[market(1), market(2)])], [event("KXB-26", "KXB", markets=[market(1, "KXB-26")])]]
    listing.markets = [[market(2), market(3)], [market(1, "KXB-26"), market(4)]]
    catalog, http = catalog_of(listing)
    markets = await listed(catalog)
    assert sorted(m.market_id for m in markets) == ["KXA-26-1", "KXA-26-2", "KXA-26-3", "KXA-26-4", "KXB-26-1"]
    by_id = {m.market_id: m for m in markets}
    slipped = by_id["KXA-26-3"]  # type: ignore[index]
    assert (slipped.event_title, slipped.series_id) == ("Event KXA-26", "KXA")
    assert (slipped.fee.kind, slipped.fee.multiplier) == (FeeKind.KALSHI_QUADRATIC, "0.5")
    assert slipped.strike is not None
    assert slipped.strike.floor == "70799.99"
    assert {m.origin for m in markets} == {Origin.SYNTHETIC}
    # A series that neither listing nor its own address knows costs its markets their fee, and is asked for once.
    assert by_id["KXB-26-1"].fee.kind is FeeKind.UNKNOWN  # type: ignore[index]
    assert sum(path == "/series/KXB" for path, _ in http.asked) == 1
    assert catalog.refused == 0


async def test_the_listing_is_asked_for_as_documented() -> None:
    catalog, http = catalog_of(Listing())
    await listed(catalog)
    asked = dict(http.asked)
    assert asked["/events"] == {"status": ["open"], "with_nested_markets": ["true"], "limit": ["200"]}
    assert asked["/markets"] == {"status": ["open"], "mve_filter": ["exclude"], "limit": ["1000"]}
    await listed(catalog, open_only=False)
    assert "status" not in http.asked[-1][1]


async def test_an_open_events_closed_markets_are_left_out_unless_all_are_wanted() -> None:
    listing = Listing()
    listing.events = [
        [event(markets=[market(1), market(2, status="closed"), market(3, status="finalized", result="yes")])]
    ]
    catalog, _ = catalog_of(listing)
    assert [m.market_id for m in await listed(catalog)] == ["KXA-26-1"]
    everything = await listed(catalog, open_only=False)
    assert [m.status for m in everything] == [MarketStatus.ACTIVE, MarketStatus.CLOSED, MarketStatus.RESOLVED]


async def test_a_market_whose_event_no_page_brought_is_joined_by_name() -> None:
    listing = Listing()
    listing.markets = [[market(1, "KXC-26")]]
    listing.named_events = {"KXC-26": event("KXC-26", mutually_exclusive=True, collateral_return_type="MECNET")}
    catalog, _ = catalog_of(listing)
    (found,) = await listed(catalog)
    assert found.exclusivity.exclusive
    assert found.fee.kind is FeeKind.KALSHI_QUADRATIC
    listing.named_events = {}
    (found,) = await listed(catalog)
    assert found.event_title == ""
    assert found.fee.kind is FeeKind.UNKNOWN


async def test_a_record_that_does_not_read_costs_itself_only() -> None:
    listing = Listing()
    listing.events = [[event(markets=[market(1), {"ticker": 7}, market(2, floor_strike=True)])]]
    listing.markets = [[market(3, price_ranges=[{"start": "0", "end": "1", "step": "0.00001"}]), market(4)]]
    catalog, _ = catalog_of(listing)
    assert [m.market_id for m in await listed(catalog)] == ["KXA-26-1", "KXA-26-4"]
    assert catalog.refused == 3


@pytest.mark.parametrize("path", ["/events", "/markets"])
async def test_a_cursor_that_comes_back_is_an_error_and_no_loop(path: str) -> None:
    def stuck(asked: str, query: dict[str, list[str]]) -> Answer:
        key = "events" if asked == "/events" else "markets"
        return {"series": []} if asked == "/series" else {key: [], "cursor": "again" if asked == path else ""}

    catalog, http = catalog_of(stuck)
    with pytest.raises(AnswerMalformed, match="does not advance"):
        await listed(catalog)
    assert len(http.asked) < 10


async def test_empty_pages_without_end_are_an_error() -> None:
    numbers = iter(range(10_000))

    def endless(path: str, query: dict[str, list[str]]) -> Answer:
        return {"series": []} if path == "/series" else {"events": [], "cursor": f"c{next(numbers)}"}

    catalog, http = catalog_of(endless)
    with pytest.raises(AnswerMalformed, match="empty pages"):
        await listed(catalog)
    assert len(http.asked) < 20


async def test_an_empty_page_in_between_loses_nothing() -> None:
    listing = Listing()
    listing.markets = [[market(1)], [], [market(2)]]
    listing.named_events = {"KXA-26": event()}
    catalog, _ = catalog_of(listing)
    assert len(await listed(catalog)) == 2


async def test_a_page_that_fails_fails_the_listing() -> None:
    listing = Listing()
    listing.events = [[event(markets=[market(1)])]]

    def failing(path: str, query: dict[str, list[str]]) -> Answer:
        return b"<html>" if path == "/markets" else listing(path, query)

    catalog, _ = catalog_of(failing)
    with pytest.raises(AnswerMalformed):
        await listed(catalog)


async def test_markets_are_looked_up_by_hundreds_whatever_their_status() -> None:
    listing = Listing()
    listing.markets = [[market(n, status="finalized", result="no") for n in range(150)]]
    catalog, http = catalog_of(listing)
    wanted = [f"KXA-26-{n}" for n in range(150)]
    found = await catalog.lookup(wanted)  # type: ignore[arg-type]
    assert [m.market_id for m in found] == wanted
    asked = [query["tickers"][0].count(",") + 1 for path, query in http.asked if path == "/markets"]
    assert asked == [100, 50]


async def test_books_come_by_hundreds_with_repeated_keys() -> None:
    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        books = [
            {"ticker": t, "orderbook_fp": {"yes_dollars": [["0.4000", "1.00"]], "no_dollars": []}}
            for t in query["tickers"]
            if t != "KXTEST-00007"
        ]
        return {"orderbooks": [*books, {"ticker": "STRANGER", "orderbook_fp": {}}, {"ticker": "broken"}]}

    http = ScriptedHttp(answer)
    books = await KalshiBooks(http, BASE, clock=ManualClock()).books([a_market(n) for n in range(230)])
    assert [len(query["tickers"]) for _, query in http.asked] == [100, 100, 30]
    assert {path for path, _ in http.asked} == {"/markets/orderbooks"}
    assert len(books) == 229
    assert books[0].bids == {4_000: 1_000_000}
    assert books[0].ts_venue_ms is None


async def test_a_book_that_does_not_fit_is_left_out() -> None:
    rows = [
        {"ticker": "KXTEST-00001", "orderbook_fp": {"yes_dollars": [["0.40001", "1.00"]], "no_dollars": None}},
        {"ticker": "KXTEST-00002", "orderbook_fp": {"yes_dollars": None, "no_dollars": [["0.4000", "1.00"]]}},
    ]
    http = ScriptedHttp(lambda path, query: {"orderbooks": rows})
    source = KalshiBooks(http, BASE, clock=ManualClock())
    books = await source.books([a_market(1), a_market(2)])
    assert [(book.market_id, book.asks) for book in books] == [("KXTEST-00002", {6_000: 1_000_000})]
    assert source.unread == {"KXTEST-00001"}, "it is not a market without a book"
    del rows[0]
    await source.books([a_market(1), a_market(2)])
    assert source.unread == set()


async def test_requests_are_signed_anew_for_each_attempt_when_there_is_a_key() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    clock = ManualClock()
    answers = iter([b"{", {"exchange_active": True, "trading_active": False}])
    http = ScriptedHttp(lambda path, query: next(answers))
    client = KalshiClient(http, BASE, clock=clock, signer=Signer.from_pem("key", pem))
    status = await client.exchange_status()
    assert (status.exchange_active, status.trading_active) == (True, False)
    assert len(http.signed) == 2
    assert {headers["KALSHI-ACCESS-TIMESTAMP"] for headers in http.signed} == {str(clock.now_ms())}
    assert set(http.accepted) == {(500, 503, 504)}


async def test_without_a_key_nothing_is_signed() -> None:
    schedule = {"schedule": {"standard_hours": [], "maintenance_windows": []}}
    http = ScriptedHttp(lambda path, query: schedule)
    answer = await KalshiClient(http, BASE, clock=ManualClock()).exchange_schedule()
    assert answer.schedule.standard_hours == []
    assert http.signed == []


def test_the_adapters_fit_their_ports() -> None:
    http = ScriptedHttp(lambda path, query: {})
    catalog: MarketCatalog = KalshiCatalog(http, BASE, clock=ManualClock())
    books: BookSource = KalshiBooks(http, BASE, clock=ManualClock())
    assert catalog
    assert books

"""Listings are whole or fail; books are matched by token."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from scripted_polymarket import Scripted

from overround.errors import AnswerMalformed, RequestRefused, VenueError
from overround.market import Market, MarketStatus, Origin
from overround.net import HttpClient
from overround.testing.clock import ManualClock
from overround.venue.polymarket import PolymarketBooks, PolymarketCatalog
from overround.venue.ports import BookSource, MarketCatalog

T = TypeVar("T")
GAMMA = "https://gamma.test"
CLOB = "https://clob.test"


def record(n: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": str(n),
        "conditionId": f"0x{n:064x}",
        "question": f"Question {n}?",
        "outcomes": '["Yes", "No"]',
        "clobTokenIds": json.dumps([f"{n}1", f"{n}2"]),
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
    } | changed


class Gamma:
    """Answers as Gamma does, with the faults a test asks for."""

    def __init__(self, records: list[dict[str, Any]], *, page: int = 100, keyset: bool = True) -> None:
        self.records, self.page, self.keyset = records, page, keyset
        self.asked: list[dict[str, str]] = []
        self.before_page: Callable[[int], None] = lambda n: None
        self.stuck_for = 0
        self.ceiling = 10_000

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        url = urlsplit(str(request.url))
        query = dict(parse_qsl(url.query))
        self.asked.append(query | {"path": url.path})
        self.before_page(len(self.asked))
        closed = query.get("closed", "false") == "true"
        rows = [row for row in self.records if row["closed"] is closed]
        ids = [value for name, value in parse_qsl(url.query) if name == "condition_ids"]
        if ids:
            rows = [row for row in rows if row["conditionId"] in ids]
        size = min(int(query["limit"]), self.page)
        if url.path == "/markets/keyset":
            if not self.keyset:
                return httpx2.Response(404, json={"error": "not found"})
            if "offset" in query or "cursor" in query:
                return httpx2.Response(422, json={"error": "offset"})
            after = int(query.get("after_cursor", "0"))
            rows = sorted((row for row in rows if int(row["id"]) > after), key=lambda row: int(row["id"]))
            page = {"markets": rows[:size]}
            if len(rows) > size:
                page["next_cursor"] = rows[size - 1]["id"]
                if after and self.stuck_for > 0:
                    self.stuck_for -= 1
                    page["next_cursor"] = str(after)
            return httpx2.Response(200, json=page)
        offset = int(query["offset"])
        if offset > self.ceiling:
            return httpx2.Response(422, json={"error": "offset exceeds"})
        return httpx2.Response(200, json=rows[offset : offset + size])


async def listed(gamma: Gamma, *, open_only: bool = True, **options: Any) -> list[Market]:
    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(gamma)) as http:
        catalog: MarketCatalog = PolymarketCatalog(http, GAMMA + "/", clock=clock, **options)

        async def all_of() -> list[Market]:
            return [market async for market in catalog.markets(open_only=open_only)]

        return await clock.run(all_of())


async def test_every_market_is_listed_once_over_all_pages() -> None:
    gamma = Gamma([record(n) for n in range(1, 251)])
    found = await listed(gamma, origin=Origin.SYNTHETIC)
    assert [market.venue_ref for market in found] == [str(n) for n in range(1, 251)]
    assert {market.origin for market in found} == {Origin.SYNTHETIC}
    assert [asked.get("after_cursor") for asked in gamma.asked] == [None, "100", "200"]
    assert {(asked["active"], asked["closed"], asked["archived"], asked["include_tag"]) for asked in gamma.asked} == {
        ("true", "false", "false", "true")
    }


async def test_short_pages_do_not_end_a_listing() -> None:
    gamma = Gamma([record(n) for n in range(1, 31)], page=7)  # the venue clamps the limit without a word
    assert len(await listed(gamma)) == 30


async def test_a_cursor_that_stands_still_once_is_asked_again() -> None:
    gamma = Gamma([record(n) for n in range(1, 31)], page=10)
    gamma.stuck_for = 1
    assert len(await listed(gamma)) == 30
    assert [asked.get("after_cursor") for asked in gamma.asked] == [None, "10", "10", "20"]


async def test_a_cursor_that_stands_still_is_an_error_and_no_loop() -> None:
    gamma = Gamma([record(n) for n in range(1, 31)], page=10)
    gamma.stuck_for = 1_000
    with pytest.raises(AnswerMalformed, match="does not advance"):
        await listed(gamma)
    assert len(gamma.asked) < 20


async def test_endless_empty_pages_are_an_error() -> None:
    count = 0

    def empty(request: httpx2.Request) -> httpx2.Response:
        nonlocal count
        count += 1
        return httpx2.Response(200, json={"markets": [], "next_cursor": str(count)})

    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(empty)) as http:
        with pytest.raises(AnswerMalformed, match="empty pages"):
            async for _ in PolymarketCatalog(http, GAMMA, clock=clock).markets():
                pass
    assert count == 10


@pytest.mark.parametrize("page", [100, 30])
async def test_the_legacy_listing_serves_where_the_keyset_is_gone(page: int) -> None:
    gamma = Gamma([record(n) for n in range(1, 251)], page=page, keyset=False)
    found = await listed(gamma)
    assert [market.venue_ref for market in found] == [str(n) for n in range(1, 251)]
    assert gamma.asked[1]["path"] == "/markets"
    assert gamma.asked[1]["order"] == "id"


async def test_rows_that_leave_while_we_page_cost_no_others() -> None:
    gamma = Gamma([record(n) for n in range(1, 401)], keyset=False)

    def leave(n: int) -> None:
        del gamma.records[: 5 if n > 2 else 0]

    gamma.before_page = leave
    found = {market.venue_ref for market in await listed(gamma)}
    assert {str(n) for n in range(30, 401)} <= found


async def test_the_ceiling_of_the_legacy_listing_fails_the_listing() -> None:
    gamma = Gamma([record(n) for n in range(1, 251)], keyset=False)
    gamma.ceiling = 100
    with pytest.raises(RequestRefused):
        await listed(gamma)


async def test_a_refusal_in_the_middle_is_no_reason_to_begin_anew() -> None:
    gamma = Gamma([record(n) for n in range(1, 31)], page=10)

    def gone(request: httpx2.Request) -> httpx2.Response:
        answer = gamma(request)
        return httpx2.Response(410, json={"error": "gone"}) if "after_cursor" in gamma.asked[-1] else answer

    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(gone)) as http:
        with pytest.raises(RequestRefused):
            async for _ in PolymarketCatalog(http, GAMMA, clock=clock).markets():
                pass


async def test_a_page_that_fails_for_good_fails_the_listing() -> None:
    gamma = Gamma([record(n) for n in range(1, 31)], page=10)

    def broken(request: httpx2.Request) -> httpx2.Response:
        answer = gamma(request)
        return httpx2.Response(503) if "after_cursor" in gamma.asked[-1] else answer

    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(broken)) as http:
        catalog = PolymarketCatalog(http, GAMMA, clock=clock)

        async def all_of() -> list[Market]:
            return [market async for market in catalog.markets()]

        with pytest.raises(VenueError):
            await clock.run(all_of())


async def test_a_record_that_does_not_read_costs_itself_only() -> None:
    records = [record(1), record(2, clobTokenIds="[]"), record(3, active=[1, 2]), record(4)]
    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(Gamma(records))) as http:
        catalog = PolymarketCatalog(http, GAMMA, clock=clock)
        found = [market.venue_ref async for market in catalog.markets()]
    assert found == ["1", "4"]
    assert catalog.refused == 2


async def test_closed_markets_are_listed_when_asked_for() -> None:
    gamma = Gamma([record(1), record(2, closed=True, outcomePrices='["1","0"]')])
    found = await listed(gamma, open_only=False)
    assert [market.status for market in found] == [MarketStatus.ACTIVE, MarketStatus.RESOLVED]


async def test_markets_that_left_the_listing_are_looked_up_by_id() -> None:
    records = [record(n, closed=n % 2 == 0) for n in range(1, 121)]
    clock = ManualClock()
    async with HttpClient(clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(Gamma(records))) as http:
        catalog = PolymarketCatalog(http, GAMMA, clock=clock)
        wanted = [market.market_id async for market in catalog.markets(open_only=False)][:70]
        assert {market.market_id for market in await catalog.lookup(wanted)} == set(wanted)
        assert await catalog.lookup([]) == []


# --- books ----------------------------------------------------------------------------------------------------------


class Clob:
    """Answers ``POST /books`` in another order, without the tokens it does not know."""

    def __init__(self, scripts: Iterable[Scripted], *, limit: int = 500) -> None:
        self.books = {
            script.tokens[0]: script.book(0)
            | {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": script.last_trade}
            for script in scripts
        }
        self.limit = limit
        self.asked: list[int] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        tokens = [each["token_id"] for each in json.loads(request.content)]
        self.asked.append(len(tokens))
        if len(tokens) > self.limit:
            return httpx2.Response(400, json={"error": "Payload exceeds the limit"})
        found = [self.books[token] for token in reversed(tokens) if token in self.books]
        return httpx2.Response(200, json=[*found, Scripted(999).book(0)])


async def test_books_are_asked_in_chunks_and_matched_by_token() -> None:
    scripts = [Scripted(n) for n in range(1, 8)]
    clob = Clob(scripts[:6])
    clob.books[scripts[2].tokens[0]]["bids"] = [{"price": "0.55555", "size": "1"}]
    async with HttpClient(clock=ManualClock(), rng=random.Random(1), transport=httpx2.MockTransport(clob)) as http:
        source: BookSource = PolymarketBooks(http, CLOB, chunk=3)
        found = {book.market_id: book for book in await source.books([script.market for script in scripts])}
        assert source.unread == {scripts[2].market_id}, "it is not a market without a book"
    assert clob.asked == [3, 3, 1]
    assert set(found) == {script.market_id for script in scripts[:6]} - {scripts[2].market_id}
    first = found[scripts[0].market.market_id]
    assert (first.bids, first.asks, first.hash_ok) == (scripts[0].bids, scripts[0].asks, True)


async def test_a_body_that_is_too_large_is_halved() -> None:
    scripts = [Scripted(n) for n in range(1, 8)]
    clob = Clob(scripts, limit=2)
    async with HttpClient(clock=ManualClock(), rng=random.Random(1), transport=httpx2.MockTransport(clob)) as http:
        found = await PolymarketBooks(http, CLOB).books([script.market for script in scripts])
    assert len(found) == 7
    assert max(n for n in clob.asked if n <= 2) == 2


class Canned:
    """An ``HttpPort`` that answers with given bytes."""

    def __init__(self, body: bytes = b"", error: Exception | None = None) -> None:
        self.body, self.error = body, error

    async def get_as(
        self,
        decode: Callable[[bytes], T],
        url: str,
        params: Iterable[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
    ) -> T:
        return decode(self.body)

    async def post_bytes(
        self, url: str, body: Any, headers: Mapping[str, str] | None = None, family: str = "default"
    ) -> bytes:
        if self.error is not None:
            raise self.error
        return self.body


async def test_an_answer_that_is_no_list_of_books_is_malformed() -> None:
    with pytest.raises(AnswerMalformed):
        await PolymarketBooks(Canned(b'{"error":"?"}'), CLOB).books([Scripted().market])


async def test_other_refusals_are_passed_on() -> None:
    error = RequestRefused(CLOB, status=400, detail="Invalid token id")
    with pytest.raises(RequestRefused):
        await PolymarketBooks(Canned(error=error), CLOB).books([Scripted().market])

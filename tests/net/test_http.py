"""The HTTP client on a clock that nobody waits for, against scripted answers and against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import msgspec
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request as ServedRequest
from werkzeug import Response as Served

from overround.errors import (
    AnswerMalformed,
    CircuitOpen,
    ConfigError,
    RateLimited,
    RequestRefused,
    VenueUnavailable,
)
from overround.net import BreakerState, CircuitBreaker, HttpClient, RetryPolicy, Timeouts
from overround.testing.clock import ManualClock

URL = "https://gamma.example/markets"
Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]


def ok(body: Any = None, **more: Any) -> httpx2.Response:
    return httpx2.Response(200, json={"ok": True} if body is None else body, **more)


class Venue:
    """Answers from a list, the last one for ever; keeps what it was asked and when."""

    def __init__(self, clock: ManualClock, *answers: Answer) -> None:
        self._clock = clock
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []
        self.at_ms: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        self.at_ms.append((self._clock.monotonic_ns() - 1_000_000_000) / 1e6)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            # A response object can be read once.
            return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)


@contextlib.asynccontextmanager
async def client(clock: ManualClock, *answers: Answer, **options: Any) -> AsyncIterator[tuple[HttpClient, Venue]]:
    venue = Venue(clock, *answers)
    async with HttpClient(clock=clock, rng=random.Random(7), transport=httpx2.MockTransport(venue), **options) as http:
        yield http, venue


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# ---------------------------------------------------------------------- requests and answers


async def test_parameters_headers_and_our_name_are_sent_and_none_is_left_out(clock: ManualClock) -> None:
    async with client(clock, ok([1, 2]), headers={"X-Key": "k"}) as (http, venue):
        assert await http.get_json(URL, {"limit": 100, "closed": False, "cursor": None}, {"X-Once": "1"}) == [1, 2]
    (asked,) = venue.asked
    assert str(asked.url) == f"{URL}?limit=100&closed=false"
    assert asked.headers["user-agent"].startswith("overround/")
    assert (asked.headers["x-key"], asked.headers["x-once"]) == ("k", "1")


async def test_a_query_in_the_address_stays_when_there_are_no_parameters(clock: ManualClock) -> None:
    async with client(clock, ok()) as (http, venue):
        await http.get_json(f"{URL}?limit=5")
    assert str(venue.asked[0].url) == f"{URL}?limit=5"


async def test_bytes_come_undecoded_and_a_decoder_gets_them(clock: ManualClock) -> None:
    class Page(msgspec.Struct):
        next_cursor: str

    async with client(clock, ok({"next_cursor": "c1", "other": 1})) as (http, _):
        assert await http.get_bytes(URL) == b'{"next_cursor":"c1","other":1}'
        assert await http.get_as(msgspec.json.Decoder(Page).decode, URL) == Page("c1")


async def test_a_post_carries_json_or_bytes_as_they_are(clock: ManualClock) -> None:
    async with client(clock, ok()) as (http, venue):
        await http.post_json(URL, [{"token_id": "7"}])
        assert await http.post_bytes(URL, b'[{"token_id": "8"}]') == b'{"ok":true}'
    assert [request.content for request in venue.asked] == [b'[{"token_id":"7"}]', b'[{"token_id": "8"}]']
    assert {request.headers["content-type"] for request in venue.asked} == {"application/json"}


async def test_an_accepted_error_status_gives_its_body_at_once(clock: ManualClock) -> None:
    answer = httpx2.Response(503, json={"exchange_active": False})
    async with client(clock, answer) as (http, venue):
        assert await http.get_json(URL, accept={503}) == {"exchange_active": False}
    assert len(venue.asked) == 1


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx2.Response(400, json={"error": "Invalid token id"}), "answered 400: Invalid token id"),
        (
            httpx2.Response(
                400, json={"error": {"code": "bad_request", "message": "bad request", "details": "status"}}
            ),
            "answered 400: bad_request: bad request: status",
        ),
        (httpx2.Response(404, json={"code": "not_found", "message": "no market"}), "not_found: no market"),
        (httpx2.Response(422, text="offset\n too large"), "offset too large"),
        (
            httpx2.Response(403, html="<html><head><title>Attention required</title></head></html>"),
            "answered 403: Attention required",
        ),
    ],
)
async def test_a_refusal_is_told_in_the_venues_words_and_not_retried(
    clock: ManualClock, answer: httpx2.Response, words: str
) -> None:
    async with client(clock, answer) as (http, venue):
        with pytest.raises(RequestRefused) as caught:
            await clock.run(http.get_json(URL, {"secret": "s"}))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.status == answer.status_code
    assert len(venue.asked) == 1
    assert http.counters()["failures"] == 1


async def test_a_redirect_is_named_and_not_followed(clock: ManualClock) -> None:
    async with client(clock, httpx2.Response(301, headers={"location": "https://new.example/"})) as (http, venue):
        with pytest.raises(RequestRefused, match=r"moved to https://new\.example/"):
            await http.get_json(URL)
    assert len(venue.asked) == 1


@pytest.mark.parametrize("url", ["gamma.example/markets", "ftp://gamma.example", "https://", "https://host:port/"])
async def test_what_is_no_address_is_refused_before_anything_is_sent(clock: ManualClock, url: str) -> None:
    async with client(clock, ok()) as (http, venue):
        with pytest.raises(ConfigError) as caught:
            await http.get_json(url)
    assert caught.value.hint
    assert venue.asked == []


# ---------------------------------------------------------------------- retries


@pytest.mark.parametrize(
    "fault",
    [
        httpx2.Response(500),
        httpx2.Response(502, html="<html>Bad gateway</html>"),
        httpx2.Response(503, json={"error": "x"}),
        httpx2.Response(425, json={"error": "service not ready"}),
        httpx2.Response(429, json={"error": "too many requests"}),
        httpx2.Response(408),
        httpx2.Response(200, html="<html><title>Just a moment</title></html>"),
        httpx2.Response(200, content=b'[{"id":"1"},{"id"', headers={"content-type": "application/json"}),
        httpx2.Response(200, content=b"", headers={"content-type": "application/json"}),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx2.DecodingError("gzip"),
    ],
    ids=lambda fault: str(getattr(fault, "status_code", type(fault).__name__)),
)
async def test_what_may_pass_is_asked_again(clock: ManualClock, fault: httpx2.Response | Exception) -> None:
    async with client(clock, fault, fault, ok()) as (http, venue):
        assert await clock.run(http.get_bytes(URL)) == b'{"ok":true}'
    assert len(venue.asked) == 3
    counters = http.counters()
    assert (counters["requests"], counters["retries"], counters["failures"]) == (3, 2, 0)


async def test_waits_grow_from_one_second_to_thirty(clock: ManualClock) -> None:
    policy = RetryPolicy(attempts=9, total_s=1000)
    # A breaker that trips would add its own pauses.
    patient = {"make_breaker": lambda: CircuitBreaker(threshold=1_000)}
    async with client(clock, httpx2.Response(500), retry=policy, **patient) as (http, venue):
        with pytest.raises(VenueUnavailable, match="9 attempts"):
            await clock.run(http.get_json(URL))
    waits_ms = [later - sooner for sooner, later in zip(venue.at_ms, venue.at_ms[1:], strict=False)]
    bounds = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
    assert all(500 <= wait <= bound + 1 for wait, bound in zip(waits_ms, bounds, strict=True))
    assert len({round(wait) for wait in waits_ms}) == len(waits_ms)


async def test_the_total_time_ends_the_attempts(clock: ManualClock) -> None:
    policy = RetryPolicy(attempts=100, total_s=10)
    async with client(clock, httpx2.Response(500), retry=policy) as (http, venue):
        with pytest.raises(VenueUnavailable):
            await clock.run(http.get_json(URL))
    assert venue.at_ms[-1] <= 10_000
    assert 2 < len(venue.asked) < 10


async def test_a_request_may_bring_its_own_patience(clock: ManualClock) -> None:
    async with client(clock, httpx2.Response(500)) as (http, venue):
        with pytest.raises(VenueUnavailable) as caught:
            await clock.run(http.get_json(URL, retry=RetryPolicy(attempts=1)))
    assert len(venue.asked) == 1
    assert "attempts" not in str(caught.value)


async def test_what_is_not_idempotent_is_repeated_only_when_it_cannot_have_arrived(clock: ManualClock) -> None:
    for fault, sent in (
        (httpx2.Response(500), 1),
        (httpx2.ReadTimeout("slow"), 1),
        (httpx2.ConnectError("refused"), 2),
        (httpx2.Response(429), 2),
    ):
        async with client(clock, fault, ok()) as (http, venue):
            with contextlib.suppress(VenueUnavailable):
                await clock.run(http.post_json(URL, {}, idempotent=False))
        assert len(venue.asked) == sent, fault


async def test_an_answer_the_decoder_refuses_is_malformed_and_asked_again(clock: ManualClock) -> None:
    decode = msgspec.json.Decoder(list[int]).decode
    async with client(clock, ok({"not": "a list"}), ok([3])) as (http, _):
        assert await clock.run(http.get_as(decode, URL)) == [3]
    async with client(clock, ok({"not": "a list"})) as (http, _):
        with pytest.raises(AnswerMalformed, match="not"):
            await clock.run(http.get_as(decode, URL))


# ---------------------------------------------------------------------- Retry-After


async def test_seconds_are_obeyed(clock: ManualClock) -> None:
    limited = httpx2.Response(429, headers={"retry-after": "42"})
    async with client(clock, limited, ok()) as (http, venue):
        await clock.run(http.get_json(URL))
    assert venue.at_ms == [0, 42_000]
    assert http.counters()["rate_limited"] == 1


async def test_a_date_is_obeyed(clock: ManualClock) -> None:
    limited = httpx2.Response(503, headers={"retry-after": "Thu, 01 Jan 2026 00:00:25 GMT"})
    async with client(clock, limited, ok()) as (http, venue):
        await clock.run(http.get_json(URL))
    assert venue.at_ms == [0, 25_000]


async def test_a_wait_in_the_body_is_obeyed(clock: ManualClock) -> None:
    paused = httpx2.Response(503, json={"error": "post only", "code": "x", "retry_after_seconds": 9})
    async with client(clock, paused, ok()) as (http, venue):
        await clock.run(http.get_json(URL))
    assert venue.at_ms == [0, 9_000]


async def test_everybody_who_asks_that_host_waits_and_others_do_not(clock: ManualClock) -> None:
    limited = httpx2.Response(429, headers={"retry-after": "20"})
    async with client(clock, limited, ok()) as (http, venue):

        async def later(url: str) -> None:
            await clock.sleep_ms(1_000)
            await http.get_json(url)

        await clock.run(asyncio.gather(http.get_json(URL), later(f"{URL}/2"), later("https://clob.example/book")))
    asked = {str(request.url): at for request, at in zip(venue.asked, venue.at_ms, strict=True)}
    assert asked["https://clob.example/book"] == 1_000
    assert asked[f"{URL}/2"] == 20_000


async def test_a_wait_longer_than_the_patience_is_told_at_once_and_nothing_is_sent_meanwhile(
    clock: ManualClock,
) -> None:
    limited = httpx2.Response(429, headers={"retry-after": "900"})
    async with client(clock, limited, ok()) as (http, venue):
        for _ in range(3):
            with pytest.raises(RateLimited) as caught:
                await clock.run(http.get_json(URL))
            assert caught.value.retry_after_s == 900
        assert venue.at_ms == [0]
        await clock.advance_ms(900_000)
        await clock.run(http.get_json(URL))
    assert venue.at_ms == [0, 900_000]


# ---------------------------------------------------------------------- signing


async def test_every_attempt_is_signed_anew_over_the_path_alone(clock: ManualClock) -> None:
    signed: list[tuple[str, str]] = []

    def sign(method: str, path: str) -> dict[str, str]:
        signed.append((method, path))
        return {"KALSHI-ACCESS-TIMESTAMP": str(clock.now_ms())}

    async with client(clock, httpx2.Response(500), ok(), sign=sign) as (http, venue):
        await clock.run(http.get_json("https://kalshi.example/trade-api/v2/markets?limit=1", {"cursor": "c"}))
    assert signed == [("GET", "/trade-api/v2/markets")] * 2
    first, second = (request.headers["kalshi-access-timestamp"] for request in venue.asked)
    assert int(second) > int(first)


async def test_a_401_is_signed_once_more_and_then_believed(clock: ManualClock) -> None:
    def sign(_: str, __: str) -> dict[str, str]:
        return {"k": "v"}

    async with client(clock, httpx2.Response(401), ok()) as (http, venue):
        assert await http.get_json(URL, sign=sign) == {"ok": True}
    async with client(clock, httpx2.Response(401)) as (http, venue):
        with pytest.raises(RequestRefused) as caught:
            await http.get_json(URL, sign=sign)
        assert "clock" in (caught.value.hint or "")
        assert len(venue.asked) == 2
    async with client(clock, httpx2.Response(401)) as (http, venue):
        with pytest.raises(RequestRefused):
            await http.get_json(URL)
        assert len(venue.asked) == 1


# ---------------------------------------------------------------------- budgets


async def test_a_family_stays_within_its_share_and_others_are_free(clock: ManualClock) -> None:
    limits = {"markets": (40.0, 10.0), "books": (400.0, 10.0)}
    async with client(clock, ok(), limits=limits, rate_fraction=0.25) as (http, venue):
        await clock.run(
            asyncio.gather(
                *(http.get_json(URL, family="markets") for _ in range(30)), http.get_json(URL, family="books")
            )
        )
    assert len(venue.at_ms) == 31
    times = sorted(venue.at_ms)
    assert times[10] == 0  # ten at once, and the one of the other family
    assert times[-1] == pytest.approx(20_000, abs=5)


async def test_queueing_behind_our_own_budget_uses_up_no_patience(clock: ManualClock) -> None:
    fail_last = [ok()] * 9 + [httpx2.Response(500), ok()]
    async with client(clock, *fail_last, limits={"default": (1, 30)}, retry=RetryPolicy(total_s=60)) as (http, venue):
        await clock.run(asyncio.gather(*(http.get_json(URL) for _ in range(10))))
    assert len(venue.asked) == 11
    assert venue.at_ms[-1] == pytest.approx(300_000, abs=5)


async def test_a_family_without_a_budget_is_an_error_not_a_hole(clock: ManualClock) -> None:
    async with client(clock, ok(), limits={"markets": (10, 1)}) as (http, venue):
        with pytest.raises(ValueError, match="no budget covers the family 'default'"):
            await http.get_json(URL)
    assert venue.asked == []


# ---------------------------------------------------------------------- the breaker


async def test_a_failing_host_is_left_alone_then_tried_once_while_others_go_on(clock: ManualClock) -> None:
    once = RetryPolicy(attempts=1)

    def answer(request: httpx2.Request) -> httpx2.Response:
        return ok() if healthy or request.url.host == "clob.example" else httpx2.Response(500)

    healthy = False
    async with client(clock, answer, retry=once) as (http, venue):
        for _ in range(5):
            with pytest.raises(VenueUnavailable):
                await http.get_json(URL)
        for _ in range(50):
            with pytest.raises(CircuitOpen) as caught:
                await http.get_json(URL)
        assert caught.value.host == "gamma.example"
        assert caught.value.retry_after_s == 15
        assert len(venue.asked) == 5
        assert http.counters()["breaker_state"] == 2
        await http.get_json("https://clob.example/book")
        await clock.advance_ms(15_000)
        with pytest.raises(VenueUnavailable):
            await http.get_json(URL)
        with pytest.raises(CircuitOpen) as caught:
            await http.get_json(URL)
        assert caught.value.retry_after_s == 30
        await clock.advance_ms(30_000)
        healthy = True
        await http.get_json(URL)
        await http.get_json(URL)
        assert http.breaker_states() == {"gamma.example": BreakerState.CLOSED, "clob.example": BreakerState.CLOSED}
        assert http.counters()["breaker_state"] == 0


async def test_a_patient_request_outlives_an_open_breaker(clock: ManualClock) -> None:
    down = [httpx2.Response(500)] * 5
    async with client(clock, *down, ok(), retry=RetryPolicy(attempts=8, total_s=300)) as (http, venue):
        assert await clock.run(http.get_json(URL)) == {"ok": True}
    assert venue.at_ms[5] - venue.at_ms[4] >= 15_000


async def test_refusals_and_limits_do_not_open_it(clock: ManualClock) -> None:
    async with client(clock, *[httpx2.Response(404)] * 10, *[httpx2.Response(429)] * 10, ok()) as (http, _):
        for _ in range(20):
            with pytest.raises((RequestRefused, RateLimited)):
                await clock.run(http.get_json(URL, retry=RetryPolicy(attempts=1)))
        assert http.breaker_states() == {"gamma.example": BreakerState.CLOSED}


async def test_a_cancelled_trial_leaves_the_next_one_free(clock: ManualClock) -> None:
    hang = asyncio.Event()

    async def answer(_: httpx2.Request) -> httpx2.Response:
        if len(seen) < 5:
            seen.append(1)
            return httpx2.Response(500)
        if not hang.is_set():
            await hang.wait()
        return ok()

    seen: list[int] = []
    async with HttpClient(
        clock=clock, rng=random.Random(1), transport=httpx2.MockTransport(answer), retry=RetryPolicy(attempts=1)
    ) as http:
        for _ in range(5):
            with pytest.raises(VenueUnavailable):
                await http.get_json(URL)
        await clock.advance_ms(15_000)
        trial = asyncio.create_task(http.get_json(URL))
        await clock.settle()
        with pytest.raises(CircuitOpen):
            await http.get_json(URL)
        trial.cancel()
        await asyncio.wait({trial})
        hang.set()
        assert await http.get_json(URL) == {"ok": True}


async def test_a_closed_client_says_so(clock: ManualClock) -> None:
    async with client(clock, ok()) as (http, _):
        await http.get_json(URL)
    with pytest.raises(RuntimeError, match="closed"):
        await http.get_json(URL)


# ---------------------------------------------------------------------- real sockets


@pytest.fixture
def served(httpserver: HTTPServer) -> Iterator[HTTPServer]:
    yield httpserver
    httpserver.clear()


@contextlib.asynccontextmanager
async def real(clock: ManualClock, **options: Any) -> AsyncIterator[HttpClient]:
    options.setdefault("retry", RetryPolicy(attempts=3))
    async with HttpClient(clock=clock, rng=random.Random(3), **options) as http:
        yield http


@pytest.mark.integration
async def test_gzip_is_unpacked(clock: ManualClock, served: HTTPServer) -> None:
    body = msgspec.json.encode([{"id": str(n)} for n in range(2_000)])
    served.expect_request("/markets").respond_with_data(
        gzip.compress(body), headers={"content-encoding": "gzip", "content-type": "application/json"}
    )
    async with real(clock) as http:
        assert await http.get_bytes(served.url_for("/markets")) == body
        assert http.counters()["received_bytes"] == len(body)


@pytest.mark.integration
async def test_a_damaged_gzip_body_is_asked_again(clock: ManualClock, served: HTTPServer) -> None:
    damaged = {"content-encoding": "gzip", "content-type": "application/json"}
    served.expect_ordered_request("/m").respond_with_data(b"\x1f\x8bnot gzip at all", headers=damaged)
    served.expect_ordered_request("/m").respond_with_json([1])
    async with real(clock) as http:
        assert await clock.run(http.get_json(served.url_for("/m"))) == [1]


@pytest.mark.integration
async def test_retry_after_crosses_a_real_socket(clock: ManualClock, served: HTTPServer) -> None:
    served.expect_ordered_request("/m").respond_with_data("slow down", status=429, headers={"Retry-After": "3"})
    served.expect_ordered_request("/m").respond_with_json({"ok": 1})
    before_ms = clock.now_ms()
    async with real(clock) as http:
        assert await clock.run(http.get_json(served.url_for("/m"))) == {"ok": 1}
    assert clock.now_ms() - before_ms == 3_000


@pytest.mark.integration
async def test_a_page_that_stops_in_the_middle_times_out_and_is_asked_again(
    clock: ManualClock, served: HTTPServer
) -> None:
    calls: list[int] = []

    def slow(_: ServedRequest) -> Served:
        calls.append(1)
        if len(calls) == 1:
            time.sleep(0.3)
        return Served(b"[7]", content_type="application/json")

    served.expect_request("/slow").respond_with_handler(slow)
    async with real(clock, timeouts=Timeouts(connect_s=2, silence_s=0.2, whole_s=2)) as http:
        assert await clock.run(http.get_json(served.url_for("/slow"))) == [7]
    assert len(calls) == 2


@contextlib.asynccontextmanager
async def bare(*answers: bytes, drip_s: float = 0.0) -> AsyncIterator[str]:
    """Send bytes as they are for each connection, the last for ever, and hang up."""
    waiting = list(answers)

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if drip_s:
                for n in range(len(answer)):
                    writer.write(answer[n : n + 1])
                    await writer.drain()
                    await asyncio.sleep(drip_s)
            writer.write(answer if not drip_s else b"")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/books"
    finally:
        server.close()


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[1,2,3,4]"


@pytest.mark.integration
@pytest.mark.parametrize(
    "cut",
    [
        WHOLE[:-4],
        WHOLE[:30],
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[1,2,",
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["body", "headers", "nothing", "body of unknown length", "noise"],
)
async def test_a_cut_answer_is_asked_again(clock: ManualClock, cut: bytes) -> None:
    async with bare(cut, WHOLE) as url, real(clock) as http:
        assert await clock.run(http.get_bytes(url)) == b"[1,2,3,4]"
        assert http.counters()["retries"] == 1


@pytest.mark.integration
async def test_a_page_that_drips_for_ever_ends_by_the_whole_time(clock: ManualClock) -> None:
    patience = {"timeouts": Timeouts(silence_s=1, whole_s=0.3), "retry": RetryPolicy(attempts=1)}
    async with bare(WHOLE * 5, drip_s=0.02) as url, real(clock, **patience) as http:
        with pytest.raises(VenueUnavailable, match="did not answer in time"):
            await clock.run(http.get_bytes(url))


@pytest.mark.integration
async def test_an_endless_body_is_refused_while_it_is_read(clock: ManualClock) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    bounds = {"max_body_bytes": 1_000_000, "retry": RetryPolicy(attempts=1)}
    async with bare(head + b"9" * 3_000_000) as url, real(clock, **bounds) as http:
        with pytest.raises(AnswerMalformed, match="more than 1000000 bytes"):
            await http.get_bytes(url)


@pytest.mark.integration
async def test_a_refused_connection_names_host_and_remedy(clock: ManualClock) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with real(clock, retry=RetryPolicy(attempts=2)) as http:
        with pytest.raises(VenueUnavailable, match=rf"127.0.0.1:{port}: connection refused \(2 attempts\)") as caught:
            await clock.run(http.get_json(f"http://127.0.0.1:{port}/markets"))
    assert "overround exchange" in (caught.value.hint or "")
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)


@pytest.mark.integration
async def test_an_unknown_host_is_named(clock: ManualClock) -> None:
    async with real(clock, retry=RetryPolicy(attempts=1)) as http:
        with pytest.raises(VenueUnavailable, match=r"cannot reach venue\.invalid") as caught:
            await http.get_json("https://venue.invalid/markets")
    assert caught.value.hint


@pytest.mark.integration
async def test_proxies_of_the_environment_are_not_used(
    clock: ManualClock, served: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    served.expect_request("/m").respond_with_json([1])
    async with real(clock) as http:
        assert await http.get_json(served.url_for("/m")) == [1]


# ---------------------------------------------------------------------- TLS and HTTP/2


@contextlib.asynccontextmanager
async def second_generation(tls: ssl.SSLContext, bodies: list[bytes]) -> AsyncIterator[str]:
    """An HTTP/2 server that answers each request of a connection with the next body."""
    import h2.config
    import h2.connection
    import h2.events

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        talk.initiate_connection()
        writer.write(talk.data_to_send())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                for event in talk.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        stream = event.stream_id
                        talk.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
                        talk.send_data(stream, bodies.pop(0), end_stream=True)
                writer.write(talk.data_to_send())
                await writer.drain()
        writer.close()

    tls.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/markets"
    finally:
        server.close()


@pytest.mark.integration
async def test_http_2_is_spoken_where_the_venue_offers_it(
    clock: ManualClock, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    trusting = {"ssl_context": client_tls, "retry": RetryPolicy(attempts=1)}
    async with second_generation(server_tls, [b"[1]", b"[2"]) as url, real(clock, **trusting) as http:
        assert await http.get_json(url) == [1]
        with pytest.raises(AnswerMalformed):
            await http.get_json(url)


@pytest.mark.integration
async def test_an_untrusted_certificate_is_refused_by_default(clock: ManualClock, server_tls: ssl.SSLContext) -> None:
    async with second_generation(server_tls, [b"[1]"]) as url, real(clock, retry=RetryPolicy(attempts=1)) as http:
        with pytest.raises(VenueUnavailable, match=r"cannot trust 127\.0\.0\.1") as caught:
            await http.get_json(url)
    assert caught.value.hint


async def test_after_a_named_wait_one_request_goes_first_and_the_others_wait_for_its_outcome(
    clock: ManualClock,
) -> None:
    sent_ms: list[float] = []
    waits = iter((5, 5, 5))

    async def answer(_: httpx2.Request) -> httpx2.Response:
        sent_ms.append((clock.monotonic_ns() - 1_000_000_000) / 1e6)
        await clock.sleep_ms(40)
        wait_s = next(waits, None)
        return ok() if wait_s is None else httpx2.Response(429, headers={"retry-after": str(wait_s)})

    async with HttpClient(clock=clock, rng=random.Random(7), transport=httpx2.MockTransport(answer)) as http:
        await clock.run(asyncio.gather(http.get_json(URL), http.get_json(URL)))
    # Both were on their way when the first was told to wait; then one finds out, and only after it the other asks.
    assert sent_ms[:2] == [0, 0]
    assert len(sent_ms) == 5
    assert sent_ms[2] >= 5_040
    assert sent_ms[3] >= sent_ms[2] + 40 + 5_000
    assert sent_ms[4] >= sent_ms[3] + 40

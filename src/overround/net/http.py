"""Requests to a venue's REST hosts: paced, retried, and failing in our own words.

One :class:`HttpClient` per venue. Every request passes, in this order and anew on each attempt: the pause
that the host has named (``Retry-After`` holds for everybody who asks that host), the host's circuit
breaker, and the budget of its endpoint family. What can be cured by asking again is asked again, with exponentially
growing random waits, until the attempts or the total time are used up.

All waiting is done on the injected clock (that is why stamina 26.1 is not used: its waits sleep on the loop's own
time); only the time-outs of a running exchange are the network's own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
import structlog

from overround import __version__
from overround.clock import Clock
from overround.errors import (
    UNREADABLE,
    AnswerMalformed,
    CircuitOpen,
    ConfigError,
    RateLimited,
    RequestRefused,
    VenueError,
    VenueUnavailable,
)
from overround.net.backoff import parse_retry_after, reconnect_delays_ms
from overround.net.breaker import BreakerState, CircuitBreaker
from overround.net.limits import Budgets, HostPause
from overround.net.reach import default_tls, host_of, one_line, unreachable, without_query

__all__ = ["HttpClient", "Params", "RetryPolicy", "Sign", "Timeouts"]

log = structlog.get_logger()

T = TypeVar("T")

Params = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""Query parameters; those that are None are left out."""

Sign = Callable[[str, str], Mapping[str, str]]
"""Headers that sign a request, from its method and its path without the query."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how long a request is tried.

    Attributes
    ----------
    attempts : int
        Requests sent at most, the first included (one more may follow a 401 of a signed request).
    total_s : float
        No wait is begun that would end later than this after the first attempt.
    first_ms, cap_ms : float
        Bounds of the first wait and of every wait (see :func:`reconnect_delays_ms`).
    """

    attempts: int = 6
    total_s: float = 120.0
    first_ms: float = 1_000
    cap_ms: float = 30_000


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds that a running exchange may take (real time).

    Attributes
    ----------
    connect_s, silence_s : float
        To connect; and without a byte, while writing or reading.
    whole_s : float
        For one attempt altogether: a page that drips forever ends here.
    """

    connect_s: float = 10.0
    silence_s: float = 20.0
    whole_s: float = 60.0


class _Host:
    """What is remembered of one host."""

    __slots__ = ("breaker", "pause")

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.pause = HostPause()


class HttpClient:
    """The REST client of one venue; its owner closes it (``async with`` or :meth:`close`).

    Parameters
    ----------
    clock : Clock
    rng : Random
        Spreads the waits.
    limits : mapping of str to (requests, per_s), optional
        Documented budget of each endpoint family; families nest by slashes and ``default`` serves the
        rest (see :class:`Budgets`). Empty: no limit.
    rate_fraction : float
        Our share of those budgets, (0, 1].
    sign : callable, optional
        Called anew on each attempt, since signatures age; a request may bring its own.
    retry : RetryPolicy
    timeouts : Timeouts
    headers : mapping, optional
        Sent with every request.
    max_body_bytes : int
        A longer answer is refused while it is read.
    ssl_context : ssl.SSLContext, optional
        Instead of the verified default.
    make_breaker : callable
        Makes the circuit breaker of each host.
    transport : httpx2.AsyncBaseTransport, optional
        Instead of the network (``httpx2.MockTransport`` in tests).

    Attributes
    ----------
    tap : callable or None
        ``tap(url, body)`` is shown every successful answer.

    Notes
    -----
    Redirects are not followed (a venue that redirects has moved: say so), and proxies are not taken from the
    environment, as for the sockets.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        limits: Mapping[str, tuple[float, float]] | None = None,
        rate_fraction: float = 1.0,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        headers: Mapping[str, str] | None = None,
        max_body_bytes: int = 256 * 1024 * 1024,
        ssl_context: ssl.SSLContext | None = None,
        make_breaker: Callable[[], CircuitBreaker] = CircuitBreaker,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._budgets = Budgets(limits or {}, fraction=rate_fraction, now_ns=clock.monotonic_ns())
        self._sign = sign
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or Timeouts()
        self._headers = {
            "user-agent": f"overround/{__version__}",
            "accept": "application/json",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        self._max_body_bytes = max_body_bytes
        self._ssl_context = ssl_context
        self._make_breaker = make_breaker
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None
        self._closed = False
        self._hosts: dict[str, _Host] = {}
        self.requests = 0
        self.retries = 0
        self.failures = 0
        self.rate_limited = 0
        self.received_bytes = 0
        self.tap: Callable[[str, bytes], None] | None = None

    # ------------------------------------------------------------------ requests

    async def get_json(
        self,
        url: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        accept: Collection[int] = (),
    ) -> Any:
        """Ask and decode the answer as JSON.

        Parameters
        ----------
        url : str
        params : mapping or pairs, optional
        headers : mapping, optional
        family : str
            Endpoint family whose budgets the request draws on.
        sign : callable, optional
            Instead of the client's own.
        retry : RetryPolicy, optional
            Instead of the client's own.
        accept : collection of int
            Error statuses whose body is wanted like a success (a 503 with a valid body), and so not retried.

        Raises
        ------
        RequestRefused
            The venue says that the request is wrong; never retried.
        RateLimited, VenueUnavailable, AnswerMalformed, CircuitOpen
            After all retries.
        """
        return await self._ask(
            "GET", url, msgspec.json.decode, params=params, headers=headers, family=family,
            sign=sign, retry=retry, accept=accept,
        )  # fmt: skip

    async def get_bytes(
        self,
        url: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        accept: Collection[int] = (),
    ) -> bytes:
        """As :meth:`get_json`, undecoded; an answer that says it is JSON is checked to be whole."""
        return await self._ask(
            "GET", url, _undecoded, params=params, headers=headers, family=family, sign=sign, retry=retry, accept=accept
        )

    async def get_as(
        self,
        decode: Callable[[bytes], T],
        url: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        accept: Collection[int] = (),
    ) -> T:
        """As :meth:`get_json` through a msgspec decoder: an answer that it refuses is malformed, and retried."""
        return await self._ask(
            "GET", url, decode, params=params, headers=headers, family=family, sign=sign, retry=retry, accept=accept
        )

    async def post_json(
        self,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        params: Params | None = None,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        accept: Collection[int] = (),
        idempotent: bool = True,
    ) -> Any:
        """Send a body as JSON (``bytes`` go as they are) and decode the answer.

        ``idempotent=False`` forbids a second attempt once the venue may have seen the first: then only
        refused connections and 425 or 429 are retried.
        """
        return await self._ask(
            "POST", url, msgspec.json.decode, body=body, params=params, headers=headers, family=family,
            sign=sign, retry=retry, accept=accept, idempotent=idempotent,
        )  # fmt: skip

    async def post_bytes(
        self,
        url: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        family: str = "default",
        *,
        params: Params | None = None,
        sign: Sign | None = None,
        retry: RetryPolicy | None = None,
        accept: Collection[int] = (),
        idempotent: bool = True,
    ) -> bytes:
        """As :meth:`post_json`, the answer undecoded."""
        return await self._ask(
            "POST", url, _undecoded, body=body, params=params, headers=headers, family=family,
            sign=sign, retry=retry, accept=accept, idempotent=idempotent,
        )  # fmt: skip

    # ------------------------------------------------------------------ state

    def counters(self) -> dict[str, int]:
        """What happened so far.

        ``requests`` sent (retries included), ``retries``, ``failures`` (calls that raised),
        ``rate_limited`` answers, ``received_bytes`` (decompressed), and ``breaker_state`` of the worst
        host: 0 closed, 1 half-open, 2 open.
        """
        worst = max((_SEVERITY[host.breaker.state] for host in self._hosts.values()), default=0)
        return {
            "requests": self.requests,
            "retries": self.retries,
            "failures": self.failures,
            "rate_limited": self.rate_limited,
            "received_bytes": self.received_bytes,
            "breaker_state": worst,
        }

    def breaker_states(self) -> dict[str, BreakerState]:
        """The breaker of every host asked so far."""
        return {name: host.breaker.state for name, host in self._hosts.items()}

    async def close(self) -> None:
        """Close the connections; later requests raise ``RuntimeError``."""
        self._closed = True
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------ the road of one request

    async def _ask(
        self,
        method: str,
        url: str,
        decode: Callable[[bytes], T],
        *,
        body: Any = None,
        params: Params | None,
        headers: Mapping[str, str] | None,
        family: str,
        sign: Sign | None,
        retry: RetryPolicy | None,
        accept: Collection[int],
        idempotent: bool = True,
    ) -> T:
        policy = retry or self._retry
        sign = sign or self._sign
        host_name = host_of(url)
        host = self._hosts.get(host_name)
        if host is None:
            host = self._hosts[host_name] = _Host(self._make_breaker())
        content = None if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        query = _query(params)
        delays_ms = reconnect_delays_ms(self._rng, policy.first_ms, policy.cap_ms)
        deadline_ns = self._clock.monotonic_ns() + int(policy.total_s * 1e9)
        attempts = 0
        signed_again = False
        while True:
            attempts += 1
            try:
                # Queueing behind our own budget is no fault of the venue's, so it does not shorten the patience.
                deadline_ns += await self._await_turn(url, host_name, host, family, deadline_ns)
                if attempts > 1:
                    self.retries += 1
                answer = await self._exchange(method, url, query, content, headers, sign, accept, host)
                if self.tap is not None:
                    # Before decoding: what our decoder refuses is what a watcher wants to see.
                    self.tap(url, answer)
                return _decoded(answer, decode, url)
            except RequestRefused as exc:
                if exc.status == 401 and sign is not None and not signed_again:
                    # The signature may have aged in a queue; a second refusal is the venue's answer.
                    signed_again = True
                    continue
                self.failures += 1
                raise
            except VenueError as exc:
                wait_ms = max(next(delays_ms), (exc.retry_after_s or 0.0) * 1000)
                ends_ns = self._clock.monotonic_ns() + int(wait_ms * 1e6)
                may_repeat = idempotent or isinstance(exc, (RateLimited, CircuitOpen)) or _never_arrived(exc)
                if attempts >= policy.attempts or ends_ns > deadline_ns or not may_repeat:
                    self.failures += 1
                    if attempts > 1:
                        exc.message += f" ({attempts} attempts)"
                    raise
                log.info("http.retry", host=host_name, reason=exc.message, attempt=attempts, wait_ms=round(wait_ms))
                await self._clock.sleep_ms(wait_ms)

    async def _await_turn(self, url: str, host_name: str, host: _Host, family: str, deadline_ns: int) -> int:
        """Return when host, breaker and budget let one request out; the nanoseconds spent on the budget.

        Raises
        ------
        RateLimited, CircuitOpen
            If the host's pause ends later than the deadline, or the breaker is open.
        """
        now_ns = self._clock.monotonic_ns()
        # A request that will not go out must not take a token.
        self._check_pause(url, host, now_ns, deadline_ns)
        if open_ns := host.breaker.wait_ns(now_ns):
            raise CircuitOpen(host_name, retry_after_s=open_ns / 1e9)
        budget_ns = self._budgets.reserve(family, now_ns)
        deadline_ns += budget_ns
        wait_ns = max(budget_ns, host.pause.remaining_ns(now_ns))
        while wait_ns > 0:
            await self._clock.sleep_ms(wait_ns / 1e6)
            # Others may have been told to wait meanwhile.
            now_ns = self._clock.monotonic_ns()
            self._check_pause(url, host, now_ns, deadline_ns)
            wait_ns = host.pause.remaining_ns(now_ns)
        if open_ns := host.breaker.admit(now_ns):
            raise CircuitOpen(host_name, retry_after_s=open_ns / 1e9)
        host.pause.begin()
        return budget_ns

    @staticmethod
    def _check_pause(url: str, host: _Host, now_ns: int, deadline_ns: int) -> None:
        pause_ns = host.pause.remaining_ns(now_ns)
        if pause_ns and now_ns + pause_ns > deadline_ns:
            raise RateLimited(without_query(url), status=host.pause.status, retry_after_s=pause_ns / 1e9)

    async def _exchange(
        self,
        method: str,
        url: str,
        query: list[tuple[str, Any]],
        content: bytes | None,
        headers: Mapping[str, str] | None,
        sign: Sign | None,
        accept: Collection[int],
        host: _Host,
    ) -> bytes:
        """One attempt, its outcome told to the breaker."""
        healthy: bool | None = None
        limited: bool | None = None
        try:
            status, answer_headers, answer = await self._send(method, url, query, content, headers, sign)
            self._judge(url, status, answer_headers, answer, accept)
            healthy, limited = True, False
        except VenueError as exc:
            # A host that refuses or counts our requests is alive.
            healthy = isinstance(exc, (RequestRefused, RateLimited))
            limited = isinstance(exc, RateLimited) or bool(exc.retry_after_s)
            if isinstance(exc, RateLimited):
                self.rate_limited += 1
            if exc.retry_after_s:
                pause_status = exc.status if isinstance(exc, RateLimited) else 503
                host.pause.extend(exc.retry_after_s, status=pause_status, now_ns=self._clock.monotonic_ns())
            raise
        else:
            return answer
        finally:
            host.pause.end(limited=limited)
            if healthy is None:
                host.breaker.abandon()
            else:
                host.breaker.record(ok=healthy, now_ns=self._clock.monotonic_ns())

    async def _send(
        self,
        method: str,
        url: str,
        query: list[tuple[str, Any]],
        content: bytes | None,
        headers: Mapping[str, str] | None,
        sign: Sign | None,
    ) -> tuple[int, httpx2.Headers, bytes]:
        """One exchange on the wire, library exceptions translated."""
        sent = dict(headers or {})
        if content is not None:
            sent["content-type"] = "application/json"
        if sign is not None:
            sent.update(sign(method, urlsplit(url).path or "/"))
        self.requests += 1
        shown = without_query(url)
        try:
            async with asyncio.timeout(self._timeouts.whole_s):
                async with self._opened().stream(
                    method, url, params=query or None, content=content, headers=sent
                ) as response:
                    return response.status_code, response.headers, await self._read(shown, response)
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout, httpx2.PoolTimeout) as exc:
            raise VenueUnavailable(f"{shown} did not answer in time", hint="try again later") from exc
        except httpx2.InvalidURL as exc:
            raise ConfigError(
                f"{url!r} is not an address: {exc}", hint="check it with `overround config show`"
            ) from exc
        except httpx2.RemoteProtocolError as exc:
            raise AnswerMalformed(f"{shown} broke off its answer: {one_line(str(exc))}") from exc
        except httpx2.DecodingError as exc:
            raise AnswerMalformed(f"{shown} sent a damaged body: {one_line(str(exc))}") from exc
        except (httpx2.ReadError, httpx2.WriteError, httpx2.CloseError) as exc:
            raise VenueUnavailable(f"{shown} dropped the connection: {one_line(str(exc)) or 'reset'}") from exc
        except httpx2.TransportError as exc:
            raise unreachable(url, exc) from exc

    async def _read(self, shown: str, response: httpx2.Response) -> bytes:
        parts = bytearray()
        async for part in response.aiter_bytes():
            parts += part
            if len(parts) > self._max_body_bytes:
                raise AnswerMalformed(f"{shown} sent more than {self._max_body_bytes} bytes")
        self.received_bytes += len(parts)
        return bytes(parts)

    def _judge(self, url: str, status: int, headers: httpx2.Headers, answer: bytes, accept: Collection[int]) -> None:
        """Return for an answer as documented, raise for every other."""
        shown = without_query(url)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if status in accept or 200 <= status < 300:
            if kind in {"text/html", "application/xhtml+xml"}:
                raise AnswerMalformed(f"{shown} answered {status} with an HTML page: {_words(answer, kind)}")
            if kind.endswith("json"):
                _decoded(answer, _scan.decode, url)
            return
        if status in {425, 429}:
            raise RateLimited(shown, status=status, retry_after_s=self._named_wait(headers, answer))
        if status >= 500 or status == 408:
            raise VenueUnavailable(
                f"{shown} answered {status}: {_words(answer, kind)}", retry_after_s=self._named_wait(headers, answer)
            )
        if 300 <= status < 400:
            moved = headers.get("location", "nowhere")
            raise RequestRefused(shown, status=status, detail=f"moved to {one_line(moved)}", hint="update the address")
        raise RequestRefused(shown, status=status, detail=_words(answer, kind), hint=_HINTS.get(status))

    def _named_wait(self, headers: httpx2.Headers, answer: bytes) -> float | None:
        """The wait an answer asks for: the header, or the field that Polymarket puts into its 503."""
        wait_s = parse_retry_after(headers.get("retry-after"), now_ms=self._clock.now_ms())
        if wait_s is not None:
            return wait_s
        try:
            return parse_retry_after(str(_wait_field.decode(answer).retry_after_seconds), now_ms=0)
        except UNREADABLE:
            return None

    def _opened(self) -> httpx2.AsyncClient:
        if self._closed:
            raise RuntimeError("this HttpClient is closed")
        if self._client is None:
            times = self._timeouts
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                timeout=httpx2.Timeout(times.silence_s, connect=times.connect_s),
                verify=self._ssl_context or default_tls(),
                http2=True,
                follow_redirects=False,
                trust_env=False,
                transport=self._transport,
            )
        return self._client


_SEVERITY = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}

_HINTS = {
    401: "check the API key, its private key and this machine's clock",
    403: "the venue refuses this account or place; check the API key's rights",
}


class _WaitField(msgspec.Struct):
    retry_after_seconds: float


class _ErrorBody(msgspec.Struct):
    """The venues' error bodies: text, an object with code and message, or that object bare."""

    error: Any = None
    code: Any = None
    message: Any = None
    details: Any = None


_scan = msgspec.json.Decoder(msgspec.Raw)
_wait_field = msgspec.json.Decoder(_WaitField)
_error_body = msgspec.json.Decoder(_ErrorBody)


def _undecoded(answer: bytes) -> bytes:
    return answer


def _query(params: Params | None) -> list[tuple[str, Any]]:
    if params is None:
        return []
    pairs = params.items() if isinstance(params, Mapping) else params
    return [(name, value) for name, value in pairs if value is not None]


def _decoded(answer: bytes, decode: Callable[[bytes], T], url: str) -> T:
    try:
        return decode(answer)
    except UNREADABLE as exc:
        shown = without_query(url)
        raise AnswerMalformed(f"{shown} sent what we cannot read ({exc}): {_words(answer, '')}") from exc


def _words(answer: bytes, kind: str) -> str:
    """What a body says, in one line."""
    if not answer.strip():
        return "no explanation"
    if "html" in kind:
        title = answer[:20_000].lower().partition(b"<title>")
        if title[1]:
            start = len(title[0]) + len(b"<title>")
            return one_line(answer[start:].split(b"<", 1)[0].decode(errors="replace"))
        return "no title"
    try:
        body = _error_body.decode(answer)
    except UNREADABLE:
        return one_line(answer[:2_000].decode(errors="replace"))
    inner = (
        body.error
        if isinstance(body.error, dict)
        else {"code": body.code, "message": body.message, "details": body.details}
    )
    if isinstance(body.error, str):
        return one_line(body.error)
    said = [str(inner[name]) for name in ("code", "message", "details") if inner.get(name)]
    return one_line(": ".join(said) or answer[:2_000].decode(errors="replace"))


def _never_arrived(exc: VenueError) -> bool:
    """Whether the connection itself failed, so that the venue cannot have seen the request."""
    return isinstance(exc.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout))

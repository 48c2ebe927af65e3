"""What the transports share: trusted certificates, hosts in words, and failures to reach them."""

from __future__ import annotations

import errno
import functools
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2

from overround.errors import ConfigError, VenueUnavailable

__all__ = ["default_tls", "host_of", "http_url", "one_line", "unreachable", "without_query"]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@functools.cache
def default_tls() -> ssl.SSLContext:
    """The TLS settings of every connection: certificates and host names are verified.

    The trust store is the system's, as httpx2 finds it on Linux, macOS and Windows (reading it takes
    longer than opening a connection, so it is read once).
    """
    return httpx2.create_ssl_context()


def host_of(url: str) -> str:
    """``host:port`` of an address, the port left out when it is the usual one.

    Raises
    ------
    ConfigError
        If the text is no address with a host.

    Examples
    --------
    >>> host_of("https://clob.example/books?x=1"), host_of("ws://127.0.0.1:9001/ws")
    ('clob.example', '127.0.0.1:9001')
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in DEFAULT_PORTS:
        raise ConfigError(f"{url!r} is not an address", hint="write it as https://host/path (or wss://host/path)")
    return host if port in {None, DEFAULT_PORTS[parts.scheme]} else f"{host}:{port}"


def http_url(host: str, port: int) -> str:
    """Address of a server, IPv6 hosts in brackets.

    Examples
    --------
    >>> http_url("::1", 9464)
    'http://[::1]:9464'
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def without_query(url: str) -> str:
    """The address without its query: what an error may show."""
    return url.split("?", 1)[0]


def one_line(text: str, *, limit: int = 200) -> str:
    """The text in one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def unreachable(url: str, exc: BaseException) -> VenueUnavailable:
    """Translate a failed connection into one sentence that names the host, and the remedy."""
    host = host_of(url)
    hint = "check the network and the address (`overround config show`)"
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return VenueUnavailable(
                f"cannot trust {host}: {one_line(cause.verify_message or str(cause))}",
                hint="check the machine's date and its certificates; a proxy that opens TLS must be trusted by the system",
            )
        if isinstance(cause, ConnectionRefusedError) or getattr(cause, "errno", None) == errno.ECONNREFUSED:
            if host.startswith(("127.", "localhost", "::1")):
                hint = "nothing listens there: start `overround exchange`, or set [mock] enabled = true"
            return VenueUnavailable(f"cannot reach {host}: connection refused", hint=hint)
        if isinstance(cause, socket.gaierror):
            return VenueUnavailable(f"cannot reach {host}: no such host", hint=hint)
        if isinstance(cause, TimeoutError):
            return VenueUnavailable(f"cannot reach {host}: no answer in time", hint=hint)
    return VenueUnavailable(f"cannot reach {host}: {one_line(str(exc) or type(exc).__name__)}", hint=hint)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The error, what is grouped in it, and what led to it, each once."""
    seen: set[int] = set()
    waiting: list[BaseException] = [exc]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(found.exceptions)
        waiting.extend(cause for cause in (found.__cause__, found.__context__) if cause is not None)

"""Asking a running collector's endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from overround.errors import OverroundError, UsageError

if TYPE_CHECKING:
    import httpx2

    from overround.config import MonitoringSettings

__all__ = ["NoCollector", "ask", "decode", "endpoint_url"]

TIMEOUT_S = 5.0
T = TypeVar("T")


class NoCollector(OverroundError):
    """Nobody answers there, or somebody else."""


def endpoint_url(url: str | None, settings: MonitoringSettings) -> str:
    """The endpoint named, or that of the settings.

    Raises
    ------
    UsageError
        If what is named is no address.
    """
    from overround.net.reach import http_url

    base = (url or http_url(settings.host, settings.port)).rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise UsageError(f"{base!r} is no address", hint="write it as http://host:port")
    return base


def ask(base: str, path: str, kind: type[T]) -> T:
    """Ask once.

    Raises
    ------
    NoCollector
        If no collector answers.
    """
    import httpx2

    try:
        return decode(base, httpx2.get(f"{base}{path}", timeout=TIMEOUT_S), kind)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise unanswered(base, exc) from exc


def decode(base: str, answer: httpx2.Response, kind: type[T]) -> T:
    """What an endpoint said.

    Raises
    ------
    NoCollector
        If it is not what a collector says.
    """
    import msgspec

    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.MsgspecError as exc:
        raise NoCollector(
            f"what answers at {base} is no collector: {exc}", hint="name the collector's endpoint with --url"
        ) from exc


def unanswered(base: str, exc: Exception) -> NoCollector:
    """The error for an endpoint that does not answer."""
    return NoCollector(
        f"no collector answers at {base}: {exc or type(exc).__name__}",
        hint="start `overround collect`, or name its endpoint with --url",
    )

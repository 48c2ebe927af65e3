"""Telling systemd that a collector is up and that its loop turns (``Type=notify``, ``WatchdogSec=``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

from overround.clock import Clock

__all__ = ["notify_systemd"]


async def notify_systemd(ready: asyncio.Event, *, clock: Clock, environ: Mapping[str, str]) -> None:
    """Report readiness, then the turning loop twice in each watchdog period, until cancelled; then that we stop.

    Without a ``NOTIFY_SOCKET`` there is nobody to tell, and nothing happens.

    Parameters
    ----------
    ready : asyncio.Event
        Set once the recording has begun.
    clock : Clock
    environ : mapping
        Environment variables: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``, ``WATCHDOG_PID``.

    References
    ----------
    sd_notify(3) and sd_watchdog_enabled(3) of systemd, read 2026-11-21.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    period_us = int(environ.get("WATCHDOG_USEC", "0"))
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        period_us = 0  # meant for another process of the service
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.settimeout(0)

        def tell(state: str) -> None:
            # A manager that cannot be told now is told with the next beat: no reason to end a recording.
            with contextlib.suppress(OSError):
                to.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)

        await ready.wait()
        tell("READY=1")
        try:
            while period_us:
                tell("WATCHDOG=1")
                await clock.sleep_ms(period_us / 2000)
            await asyncio.Event().wait()
        finally:
            tell("STOPPING=1")

"""What systemd is told, heard on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from overround.services import notify_systemd
from overround.testing.clock import ManualClock

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd: no sockets of its kind here")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


def heard(manager: socket.socket) -> list[str]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(100).decode())
    return found


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_ready_then_two_beats_in_a_period_then_stopping(manager: socket.socket) -> None:
    clock, ready = ManualClock(), asyncio.Event()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    task = asyncio.create_task(notify_systemd(ready, clock=clock, environ=environ))
    await clock.advance_ms(100_000)
    assert heard(manager) == []
    ready.set()
    await clock.advance_ms(1)
    assert heard(manager) == ["READY=1", "WATCHDOG=1"]
    await clock.advance_ms(60_000)
    assert heard(manager) == ["WATCHDOG=1"] * 2
    await cancelled(task)
    assert heard(manager) == ["STOPPING=1"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_of_ours_there_are_no_beats(manager: socket.socket, watchdog: dict[str, str]) -> None:
    clock, ready = ManualClock(), asyncio.Event()
    ready.set()
    environ = {"NOTIFY_SOCKET": manager.getsockname(), **watchdog}
    task = asyncio.create_task(notify_systemd(ready, clock=clock, environ=environ))
    await clock.advance_ms(100_000)
    await cancelled(task)
    assert heard(manager) == ["READY=1", "STOPPING=1"]


async def test_a_manager_that_is_away_ends_nothing(tmp_path: Path) -> None:
    clock, ready = ManualClock(), asyncio.Event()
    ready.set()
    environ = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000000"}
    task = asyncio.create_task(notify_systemd(ready, clock=clock, environ=environ))
    await clock.advance_ms(5_000)
    assert not task.done()
    await cancelled(task)
    assert task.cancelled()


async def test_without_systemd_nothing_happens() -> None:
    await notify_systemd(asyncio.Event(), clock=ManualClock(), environ={})

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from overround.testing.warp import WarpClock, WarpLoop, warped

START_MS = 1_790_000_000_000


def run(loop: WarpLoop, work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return loop.run_until_complete(asyncio.wait_for(work, 1e7))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())


def test_a_day_of_sleep_takes_no_time_and_sleepers_wake_in_order() -> None:
    woken: list[tuple[str, int]] = []
    with warped() as loop:
        clock = WarpClock(loop, start_ms=START_MS)

        async def sleeper(name: str, ms: float) -> None:
            await clock.sleep_ms(ms)
            woken.append((name, clock.now_ms() - START_MS))

        async def main() -> None:
            await asyncio.gather(sleeper("day", 86_400_000), sleeper("second", 1_000), sleeper("minute", 60_000))

        run(loop, main())
    assert woken == [("second", 1_000), ("minute", 60_000), ("day", 86_400_000)]


def test_time_stands_still_while_a_thread_works() -> None:
    with warped() as loop:
        clock = WarpClock(loop, start_ms=START_MS)

        async def main() -> int:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await clock.sleep_ms(10)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            await clock.sleep_ms(5)
            await asyncio.to_thread(time.sleep, 0.05)
            ticking.cancel()
            return ticks

        assert run(loop, main()) == 0


def test_real_sockets_answer_before_the_time_moves_on() -> None:
    with warped() as loop:
        clock = WarpClock(loop, start_ms=START_MS)

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        async def main() -> int:
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            began = clock.now_ms()
            # A sleeper is always there to move the time by a second.
            sleeper = asyncio.create_task(clock.sleep_ms(1_000))
            for number in range(100):
                writer.write(b"%d\n" % number)
                assert await reader.readline() == b"%d\n" % number
            assert not sleeper.done()
            sleeper.cancel()
            took = clock.now_ms() - began
            writer.close()
            server.close()
            return took

        assert run(loop, main()) < 1_000

"""What is set aside from collection is not kept for ever."""

from __future__ import annotations

import asyncio
import gc
import weakref

from overround.collector.run import _keep_collections_short
from overround.testing.warp import WarpClock, warped


class Knot:
    """Holds itself, as a closed connection and its transport hold each other."""

    def __init__(self) -> None:
        self.itself = self


def test_a_cycle_that_closed_after_it_was_set_aside_is_gone_within_the_hour() -> None:
    with warped() as loop:
        clock = WarpClock(loop, start_ms=0)

        async def main() -> weakref.ref[Knot]:
            keeper = asyncio.create_task(_keep_collections_short(clock))
            knot: Knot | None = Knot()
            seen = weakref.ref(knot)
            await clock.sleep_ms(60_000)
            knot = None
            await clock.sleep_ms(1_800_000)
            assert seen() is not None, "set aside, it is not looked at"
            await clock.sleep_ms(1_800_000)
            keeper.cancel()
            return seen

        try:
            assert loop.run_until_complete(main())() is None
        finally:
            gc.unfreeze()

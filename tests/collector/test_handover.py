"""The agreement by which a recording changes hands, on a real PostgreSQL; the recorders only note what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from pydantic import SecretStr

from overround.clock import SystemClock
from overround.collector.handover import Handed, ask_for, give, is_taken, succeed
from overround.collector.holding import keep
from overround.collector.leased import LeasedOwnership
from overround.collector.ownership import Hold
from overround.config import LeaseSettings
from overround.errors import LakeLocked
from overround.market import MarketId, Share, Venue
from overround.scheduler import Leaving, RotationState
from overround.storage import LakePaths
from overround.testing.postgres import Postgres

pytestmark = [pytest.mark.long, pytest.mark.integration]
SHARE = Share(0, 2)
MINUTE_MS = 60_000
M, N = MarketId("M"), MarketId("N")


class ShiftedClock(SystemClock):
    """The machine's clock, set so that a minute begins soon."""

    def __init__(self, *, minute_in_ms: int) -> None:
        self._off_ms = MINUTE_MS - minute_in_ms - SystemClock().now_ms() % MINUTE_MS

    def now_ms(self) -> int:
        return super().now_ms() + self._off_ms


@dataclass
class Notes:
    """Stands where a recorder does in the agreement."""

    venue: Venue
    frozen: bool = False
    n_awaited: int = 0
    ends_ms: int | None = None
    began_ms: int | None = None
    state: RotationState = field(
        default_factory=lambda: RotationState(
            hot={M: 1}, leaving={N: Leaving(since_ms=2, newcomer=M)}, counted=((3, 4),), wanted=(N,), turn_ms=5
        )
    )

    def handed(self) -> Handed:
        return Handed(rotation=self.state, live=(M,))

    def end_at(self, cut_ms: int) -> None:
        self.ends_ms = cut_ms

    def begin_at(self, cut_ms: int) -> None:
        self.began_ms = cut_ms


def both() -> list[Any]:
    return [Notes(venue) for venue in Venue]


Make = Callable[[str], LeasedOwnership]


@pytest.fixture
async def make(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[LeasedOwnership] = []

    def ownership(holder: str) -> LeasedOwnership:
        settings = LeaseSettings(url=SecretStr(postgres.url), ttl_secs=2, name=str(tmp_path))
        made.append(LeasedOwnership(settings, LakePaths(tmp_path), clock=SystemClock(), holder=holder))
        return made[-1]

    yield ownership
    for each in made:
        await each.table.close()


async def started(ownership: LeasedOwnership) -> tuple[Hold, asyncio.Task[None]]:
    hold = await ownership.take(SHARE, tuple(Venue))
    return hold, asyncio.create_task(keep(ownership, hold, clock=SystemClock()))


def successor() -> Hold:
    return Hold(share=SHARE, venues=tuple(Venue), leased=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.02)


async def test_the_old_one_ends_where_the_new_one_begins(make: Make) -> None:
    old, new = make("old"), make("new")
    clock = ShiftedClock(minute_in_ms=9_000)
    held, keeping = await started(old)
    ours, theirs, hold = both(), both(), successor()
    giving = asyncio.create_task(give(old, held, ours, clock=clock))
    handed = await ask_for(new, SHARE, tuple(Venue), clock=clock)
    assert handed is not None
    # Every field of the rotation's state arrives as it was.
    assert msgspec.json.encode(handed[Venue.KALSHI]) == msgspec.json.encode(ours[1].handed())
    assert handed[Venue.KALSHI].rotation == ours[1].state
    assert all(recorder.frozen for recorder in ours)
    theirs[1].n_awaited = 1
    taking = asyncio.create_task(succeed(new, hold, theirs, clock=clock))
    await asyncio.sleep(1.2)
    assert ours[0].ends_ms is None
    theirs[1].n_awaited = 0
    await asyncio.wait_for(giving, 20)
    await until(lambda: theirs[0].began_ms is not None)
    cuts = {note.ends_ms for note in ours} | {note.began_ms for note in theirs}
    assert len(cuts) == 1
    assert cast("int", cuts.pop()) % MINUTE_MS == 0
    assert not taking.done()
    assert not hold.certain.is_set()
    keeping.cancel()
    await old.release(held)
    await asyncio.wait_for(taking, 5)
    assert hold.certain.is_set()
    assert all(hold.tokens[venue] == held.tokens[venue] + 1 for venue in Venue)
    assert await is_taken(old, held, clock=clock)
    await new.release(hold)


async def test_a_new_one_that_dies_on_the_way_is_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overround.collector.handover.ALIVE_MS", 500)
    old, new = make("old"), make("new")
    clock = ShiftedClock(minute_in_ms=50_000)
    held, keeping = await started(old)
    ours = both()
    giving = asyncio.create_task(give(old, held, ours, clock=clock))
    assert await ask_for(new, SHARE, tuple(Venue), clock=clock) is not None
    assert all(note.frozen for note in ours)
    await until(lambda: not any(note.frozen for note in ours))
    assert not giving.done()
    assert ours[0].ends_ms is None
    # Another one may come.
    assert await ask_for(make("third"), SHARE, tuple(Venue), clock=clock) is not None
    for task in (giving, keeping):
        task.cancel()
    await old.release(held)
    assert not await is_taken(old, held, clock=clock)


async def test_an_old_one_that_dies_on_the_way_is_succeeded_when_its_lease_runs_out(make: Make) -> None:
    old, new = make("old"), make("new")
    clock = ShiftedClock(minute_in_ms=50_000)
    held, keeping = await started(old)
    ours, theirs, hold = both(), both(), successor()
    giving = asyncio.create_task(give(old, held, ours, clock=clock))
    assert await ask_for(new, SHARE, tuple(Venue), clock=clock) is not None
    taking = asyncio.create_task(succeed(new, hold, theirs, clock=clock))
    for task in (giving, keeping):
        task.cancel()
    began_ms = clock.now_ms()
    await asyncio.wait_for(taking, 10)
    assert all(note.began_ms is not None and note.began_ms >= began_ms + 1_000 for note in theirs)
    assert all(hold.tokens[venue] == held.tokens[venue] + 1 for venue in Venue)
    assert not await old.renew(held)
    await new.release(hold)


async def test_books_that_do_not_come_leave_everything_as_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overround.collector.handover.READY_S", 3)
    old, new = make("old"), make("new")
    clock = ShiftedClock(minute_in_ms=50_000)
    held, keeping = await started(old)
    giving = asyncio.create_task(give(old, held, both(), clock=clock))
    assert await ask_for(new, SHARE, tuple(Venue), clock=clock) is not None
    theirs = both()
    theirs[0].n_awaited = 2
    with pytest.raises(LakeLocked, match="2 books of shard 0/2 did not come within 3 s"):
        await succeed(new, successor(), theirs, clock=clock)
    assert theirs[0].began_ms is None
    assert await old.renew(held)
    for task in (giving, keeping):
        task.cancel()
    await old.release(held)


async def test_of_two_new_ones_one_is_refused_and_without_an_old_one_there_is_nothing_to_ask(make: Make) -> None:
    old, new, other = make("old"), make("new"), make("other")
    clock = SystemClock()
    assert await ask_for(new, SHARE, tuple(Venue), clock=clock) is None
    held, keeping = await started(old)
    assert await new.ask(SHARE, tuple(Venue), ready=False, ttl_ms=5_000)
    with pytest.raises(LakeLocked, match="handed over to another collector already"):
        await ask_for(other, SHARE, tuple(Venue), clock=clock)
    keeping.cancel()
    await old.release(held)

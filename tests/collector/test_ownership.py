"""One contract for shards by the lake's locks and shards by leases; and what only leases have to stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from overround.clock import SystemClock
from overround.collector.holding import keep, take_one
from overround.collector.leased import LeasedOwnership
from overround.collector.ownership import Hold, LakeOwnership, Ownership
from overround.config import LeaseSettings
from overround.errors import DatabaseUnavailable, LakeLocked
from overround.market import Share, Venue
from overround.storage import CollectorLock, LakePaths
from overround.testing.postgres import Postgres

pytestmark = pytest.mark.integration
VENUES = tuple(Venue)
SHARE, OTHER = Share(1, 3), Share(2, 3)
TTL_S = 2
Make = Callable[[str], Ownership]


class WrongClock(SystemClock):
    """A machine whose wall clock is far off and whose uptime is its own."""

    def __init__(self, off_s: int) -> None:
        self._off_ns = off_s * 1_000_000_000

    def now_ns(self) -> int:
        return super().now_ns() + self._off_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + abs(self._off_ns)


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(tmp_path)


def leased(server: Postgres, paths: LakePaths, holder: str, *, off_s: int = 0) -> LeasedOwnership:
    settings = LeaseSettings(url=SecretStr(server.url), ttl_secs=TTL_S, name=str(paths.root))
    return LeasedOwnership(settings, paths, clock=WrongClock(off_s), holder=holder)


@pytest.fixture(params=["lake", "leases"])
async def make(request: pytest.FixtureRequest, paths: LakePaths) -> AsyncIterator[Make]:
    if request.param == "lake":
        yield lambda _: LakeOwnership(paths)
        return
    server = request.getfixturevalue("postgres")
    made: list[LeasedOwnership] = []

    def lease(holder: str) -> Ownership:
        # Clocks an hour apart.
        made.append(leased(server, paths, holder, off_s=3_600 * (-1) ** len(made)))
        return made[-1]

    yield lease
    for each in made:
        await each.table.close()


async def test_a_share_has_one_owner_until_it_is_given_back(make: Make) -> None:
    one, two = make("one"), make("two")
    hold = await one.take(SHARE, VENUES)
    assert hold.share == SHARE
    assert set(hold.tokens) == set(VENUES)
    with pytest.raises(LakeLocked) as refused:
        await two.take(SHARE, VENUES)
    assert refused.value.hint is not None
    assert await one.renew(hold)
    with pytest.raises(LakeLocked):
        await two.take(SHARE, VENUES[:1])
    again = await two.take(OTHER, VENUES)
    await one.release(hold)
    taken = await two.take(SHARE, VENUES)
    assert await two.renew(taken)
    await two.release(taken)
    await two.release(again)


async def test_a_share_is_taken_whole_or_not_at_all(make: Make) -> None:
    one, two, three = make("one"), make("two"), make("three")
    hold = await one.take(SHARE, VENUES[1:])
    with pytest.raises(LakeLocked):
        await two.take(SHARE, VENUES)
    await three.release(await three.take(SHARE, VENUES[:1]))
    await one.release(hold)


async def test_a_hold_is_certain_for_less_time_than_the_database_gives_it(postgres: Postgres, paths: LakePaths) -> None:
    clock = WrongClock(0)
    one = leased(postgres, paths, "one")
    before_ns = clock.monotonic_ns()
    hold = await one.take(SHARE, VENUES)
    assert before_ns < hold.until_ns <= clock.monotonic_ns() + TTL_S * 1_000_000_000
    rows = await one.table.look([one.name(venue, SHARE) for venue in VENUES])
    left_ms = (hold.until_ns - clock.monotonic_ns()) / 1e6
    assert all(left_ms <= row.left_ms + 5 for row in rows)
    await one.release(hold)
    await one.table.close()


async def test_a_dead_owners_share_is_taken_over_whatever_the_clocks_say(postgres: Postgres, paths: LakePaths) -> None:
    dead, heir = leased(postgres, paths, "dead", off_s=7_200), leased(postgres, paths, "heir", off_s=-7_200)
    hold = await dead.take(SHARE, VENUES)
    loop = asyncio.get_running_loop()
    began = loop.time()
    taken = await take_one(heir, [SHARE], VENUES, clock=SystemClock(), ended=loop.create_future(), patient=False)
    assert taken is not None
    assert TTL_S - 0.1 < loop.time() - began < TTL_S + 4
    assert all(taken.tokens[venue] == hold.tokens[venue] + 1 for venue in VENUES)
    # What stood still wakes up.
    assert not await dead.renew(hold)
    assert hold.until_ns <= WrongClock(7_200).monotonic_ns()
    await dead.release(hold)
    assert await heir.renew(taken)
    assert CollectorLock.is_held(paths.lock(Venue.KALSHI, SHARE))
    await heir.release(taken)
    for each in (dead, heir):
        await each.table.close()


async def test_an_owner_that_lives_is_not_waited_for(postgres: Postgres, paths: LakePaths) -> None:
    one, two = leased(postgres, paths, "one"), leased(postgres, paths, "two")
    hold = await one.take(SHARE, VENUES)
    loop = asyncio.get_running_loop()
    keeping = asyncio.create_task(keep(one, hold, clock=SystemClock()))
    with pytest.raises(LakeLocked, match=r"one holds shard 1/3 \(polymarket, kalshi\) for another"):
        await take_one(two, [SHARE], VENUES, clock=SystemClock(), ended=loop.create_future(), patient=False)
    keeping.cancel()
    await one.release(hold)
    for each in (one, two):
        await each.table.close()


async def test_without_its_database_a_share_is_kept_until_the_lease_runs_out(
    postgres: Postgres, paths: LakePaths
) -> None:
    one = leased(postgres, paths, "one")
    hold: Hold = await one.take(SHARE, VENUES)
    loop = asyncio.get_running_loop()
    keeping = asyncio.create_task(keep(one, hold, clock=SystemClock()))
    await asyncio.sleep(0.1)
    postgres.stop()
    lost = loop.time()
    try:
        await asyncio.wait_for(keeping, 20)
        assert TTL_S - 1.2 < loop.time() - lost < TTL_S + 3
        with pytest.raises(DatabaseUnavailable):
            await one.take(SHARE, VENUES)
        await one.release(hold)
    finally:
        postgres.start()
    again = await one.take(SHARE, VENUES)
    assert all(again.tokens[venue] == hold.tokens[venue] + 1 for venue in VENUES)
    await one.release(again)
    await one.table.close()

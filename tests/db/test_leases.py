"""Leases on a real PostgreSQL: one holder, tokens that grow, times of the database's clock only."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest

from overround.db.leases import LeaseTable
from overround.errors import ConfigError, DatabaseUnavailable
from overround.testing.postgres import Postgres

pytestmark = pytest.mark.integration
TTL_MS = 600
_number = itertools.count()


@pytest.fixture
async def table(postgres: Postgres) -> AsyncIterator[Callable[[], LeaseTable]]:
    made: list[LeaseTable] = []

    def make() -> LeaseTable:
        made.append(LeaseTable(postgres.url, ttl_ms=TTL_MS, timeout_s=2))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def name() -> str:
    return f"lease-{next(_number)}"


async def test_one_holds_it_and_a_dead_holders_lease_goes_on_with_a_higher_token(
    table: Callable[[], LeaseTable], name: str
) -> None:
    one, two = table(), table()
    assert await one.take([name], "one") == [1]
    assert await two.take([name], "two") is None
    for _ in range(3):
        await asyncio.sleep(TTL_MS / 2_000)
        assert await one.renew(name, "one", 1) is not None
    assert await two.take([name], "two") is None
    await asyncio.sleep(TTL_MS / 1_000 + 0.1)
    assert await two.take([name], "two") == [2]
    assert await one.renew(name, "one", 1) is None
    await one.release(name, "one", 1)
    (row,) = await two.look([name])
    assert (row.holder, row.token, row.alive) == ("two", 2, True)
    await two.release(name, "two", 2)
    assert await one.take([name], "one") == [3]


async def test_several_leases_are_taken_together_or_not_at_all(table: Callable[[], LeaseTable], name: str) -> None:
    one, two = table(), table()
    assert await one.take([f"{name}-b"], "one") == [1]
    assert await two.take([f"{name}-c", f"{name}-b", f"{name}-a"], "two") is None
    assert [row.name for row in await two.look([f"{name}-{end}" for end in "abc"])] == [f"{name}-b"]
    await one.release(f"{name}-b", "one", 1)
    assert await two.take([f"{name}-c", f"{name}-b", f"{name}-a"], "two") == [1, 2, 1]


async def test_of_many_who_ask_at_once_one_gets_it(table: Callable[[], LeaseTable], name: str) -> None:
    tables = [table() for _ in range(8)]
    taken = await asyncio.gather(*(each.take([name], f"holder {n}") for n, each in enumerate(tables)))
    assert [tokens for tokens in taken if tokens is not None] == [[1]]


async def test_while_a_successor_is_at_hand_nobody_else_gets_what_is_released(
    table: Callable[[], LeaseTable], name: str
) -> None:
    old, new, other = table(), table(), table()
    assert await old.take([name], "old") == [1]
    assert await new.ask(name, "new", ready=False, ttl_ms=5_000) == "old"
    assert await other.ask(name, "other", ready=False, ttl_ms=5_000) is None
    renewed = await old.renew(name, "old", 1)
    assert renewed is not None
    assert (renewed.successor, renewed.ready) == ("new", False)
    assert await old.tell([(name, 1, b"what we know")], "old")
    assert await new.ask(name, "new", ready=True, ttl_ms=5_000) == "old"
    assert await old.tell([(name, 1, None)], "old", cut_ms=1_000)
    (row,) = await new.look([name])
    assert (row.handed, row.cut_ms) == (b"what we know", 1_000)
    await old.release(name, "old", 1)
    assert await other.take([name], "other") is None
    assert await new.take([name], "new") == [2]
    assert not await old.tell([(name, 1, None)], "old", cut_ms=2_000)


async def test_a_successor_that_died_is_not_told_and_holds_nothing_up(
    table: Callable[[], LeaseTable], name: str
) -> None:
    old, new, other = table(), table(), table()
    assert await old.take([name], "old") == [1]
    assert await new.ask(name, "new", ready=True, ttl_ms=100) == "old"
    await asyncio.sleep(0.2)
    renewed = await old.renew(name, "old", 1)
    assert renewed is not None
    assert renewed.successor is None
    assert not await old.tell([(name, 1, None)], "old", cut_ms=1_000)
    await old.release(name, "old", 1)
    assert await other.take([name], "other") == [2]


async def test_a_server_that_is_away_is_said_and_found_again(postgres: Postgres, name: str) -> None:
    table = LeaseTable(postgres.url, ttl_ms=TTL_MS, timeout_s=2)
    assert await table.take([name], "one") == [1]
    postgres.stop()
    try:
        with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{postgres.port}/postgres"):
            await table.renew(name, "one", 1)
    finally:
        postgres.start()
    assert await table.renew(name, "one", 1) is not None
    await table.close()


async def test_a_refusal_names_neither_password_nor_url(postgres: Postgres) -> None:
    url = f"postgresql://nobody:s3cret@127.0.0.1:{postgres.port}/no_such_database"
    with pytest.raises(DatabaseUnavailable) as refused:
        await LeaseTable(url, ttl_ms=TTL_MS, timeout_s=2).look(["x"])
    assert "s3cret" not in f"{refused.value}{refused.value.hint}"
    with pytest.raises(ConfigError, match=r"leases\.url is no PostgreSQL address"):
        LeaseTable("not an address", ttl_ms=TTL_MS, timeout_s=2)


def test_the_driver_is_the_one_with_its_own_library() -> None:
    assert psycopg.pq.__impl__ == "binary"

"""Leases in PostgreSQL: one row per name, held until a time of the database's clock.

Every comparison of times is made by the database with its own clock; a holder only measures how long ago it asked. So it
does not matter what the clocks of the holders say. A token grows with each taking, also after a release.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from overround.errors import ConfigError, DatabaseUnavailable

__all__ = ["LeaseTable", "Renewed", "Row"]

T = TypeVar("T")

_CREATE = """
create table if not exists overround_leases (
    name text primary key,
    holder text,
    token bigint not null,
    expires_at timestamptz not null,
    successor text,
    successor_ready boolean not null default false,
    successor_until timestamptz,
    cut_ms bigint,
    handed bytea
)"""
_TAKE = """
insert into overround_leases as held (name, holder, token, expires_at)
values (%(name)s, %(holder)s, 1, clock_timestamp() + %(ttl)s * interval '1 ms')
on conflict (name) do update set
    holder = excluded.holder, token = held.token + 1, expires_at = excluded.expires_at,
    successor = null, successor_ready = false, successor_until = null, cut_ms = null, handed = null
where held.holder = %(holder)s
   or (held.holder is null or held.expires_at < clock_timestamp())
      and (held.successor is null or held.successor = %(holder)s or held.successor_until < clock_timestamp())
returning token"""
_RENEW = """
update overround_leases set expires_at = clock_timestamp() + %(ttl)s * interval '1 ms'
where name = %(name)s and holder = %(holder)s and token = %(token)s
returning token, case when successor_until > clock_timestamp() then successor end, successor_ready, cut_ms"""
_RELEASE = """
update overround_leases set holder = null, expires_at = clock_timestamp()
where name = %(name)s and holder = %(holder)s and token = %(token)s"""
_LOOK = """
select name, holder, token, extract(epoch from expires_at - clock_timestamp())::float8 * 1000, cut_ms, handed
from overround_leases where name = any(%(names)s) order by name"""
_ASK = """
update overround_leases set successor = %(successor)s, successor_ready = %(ready)s,
    successor_until = clock_timestamp() + %(ttl)s * interval '1 ms',
    cut_ms = case when successor = %(successor)s then cut_ms end,
    handed = case when successor = %(successor)s then handed end
where name = %(name)s and holder is not null and holder <> %(successor)s and expires_at > clock_timestamp()
      and (successor is null or successor = %(successor)s or successor_until < clock_timestamp())
returning holder"""
_TELL = """
update overround_leases set handed = coalesce(%(handed)s, handed), cut_ms = coalesce(%(cut_ms)s, cut_ms)
where name = %(name)s and holder = %(holder)s and token = %(token)s and successor_until > clock_timestamp()
returning token"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the table says of a lease.

    Attributes
    ----------
    name : str
    holder : str or None
    token : int
    left_ms : float
        Until it runs out; negative: since it has.
    cut_ms : int or None
        From when on its successor records, epoch ms of the holder.
    handed : bytes or None
        What the holder lets its successor know.
    """

    name: str
    holder: str | None
    token: int
    left_ms: float
    cut_ms: int | None = None
    handed: bytes | None = None

    @property
    def alive(self) -> bool:
        """Whether it is held and has not run out."""
        return self.holder is not None and self.left_ms > 0


@dataclass(frozen=True, kw_only=True)
class Renewed:
    """What a renewal answered.

    Attributes
    ----------
    successor : str or None
        Who wants the lease.
    ready : bool
    cut_ms : int or None
    """

    successor: str | None
    ready: bool
    cut_ms: int | None


class LeaseTable:
    """The table, through one connection that is opened when needed and again after it broke.

    Parameters
    ----------
    url : str
        ``postgresql://…``; must lead to the server itself or to a pool in session mode.
    ttl_ms : int
        A lease that is not renewed runs out after so long.
    timeout_s : float
        For each question, connecting included.

    Raises
    ------
    ConfigError
        If the extra is not installed, or the address is no PostgreSQL address.
    """

    def __init__(self, url: str, *, ttl_ms: int, timeout_s: float) -> None:
        try:
            self._psycopg: Any = importlib.import_module("psycopg")
        except ImportError as exc:
            raise ConfigError("leases need psycopg", hint="pip install overround[postgres]") from exc
        try:
            parts = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.Error as exc:
            raise ConfigError(f"leases.url is no PostgreSQL address: {exc}", hint="postgresql://user@host/db") from exc
        self.where = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
        self.ttl_ms = ttl_ms
        self._url, self._timeout_s = url, timeout_s
        self._connection: Any = None
        self._mutex = asyncio.Lock()

    async def take(self, names: Sequence[str], holder: str) -> list[int] | None:
        """Take all of these leases, or none; returns their tokens, or None where somebody else has one.

        Raises
        ------
        DatabaseUnavailable
        """

        async def run(connection: Any) -> list[int] | None:
            tokens: dict[str, int] = {}
            async with connection.transaction():
                # In one order everywhere, so that two takers cannot wait for each other.
                for name in sorted(names):
                    cursor = await connection.execute(_TAKE, {"name": name, "holder": holder, "ttl": self.ttl_ms})
                    found = await cursor.fetchone()
                    if found is None:
                        raise self._psycopg.Rollback
                    tokens[name] = found[0]
            return [tokens[name] for name in names] if len(tokens) == len(names) else None

        return await self._ask(run)

    async def renew(self, name: str, holder: str, token: int) -> Renewed | None:
        """Keep a lease for another while; None when it is somebody else's.

        Raises
        ------
        DatabaseUnavailable
        """
        found = await self._one(_RENEW, {"name": name, "holder": holder, "token": token, "ttl": self.ttl_ms})
        return None if found is None else Renewed(successor=found[1], ready=found[2], cut_ms=found[3])

    async def release(self, name: str, holder: str, token: int) -> None:
        """Give a lease back; fine when it is somebody else's."""
        await self._one(_RELEASE, {"name": name, "holder": holder, "token": token}, fetch=False)

    async def look(self, names: Sequence[str]) -> list[Row]:
        """What the table says of these leases; those that were never held are missing."""

        async def run(connection: Any) -> list[Row]:
            cursor = await connection.execute(_LOOK, {"names": list(names)})
            return [
                Row(name=row[0], holder=row[1], token=row[2], left_ms=row[3], cut_ms=row[4], handed=row[5])
                for row in await cursor.fetchall()
            ]

        return await self._ask(run)

    async def ask(self, name: str, successor: str, *, ready: bool, ttl_ms: int) -> str | None:
        """Tell the holder that we want its lease; to be repeated. Returns the holder, None where there is none or another asks."""
        given = {"name": name, "successor": successor, "ready": ready, "ttl": ttl_ms}
        found = await self._one(_ASK, given)
        return None if found is None else str(found[0])

    async def tell(
        self, leases: Sequence[tuple[str, int, bytes | None]], holder: str, *, cut_ms: int | None = None
    ) -> bool:
        """Tell the successor what we know, and from when on it records; all or nothing.

        Parameters
        ----------
        leases : sequence of (str, int, bytes or None)
            Name, our token, and what to let it know.
        holder : str
        cut_ms : int, optional

        Returns
        -------
        bool
            False when nobody is there to hear it.
        """

        async def run(connection: Any) -> bool:
            n_told = 0
            async with connection.transaction():
                for name, token, handed in sorted(leases):
                    given = {"name": name, "holder": holder, "token": token, "handed": handed, "cut_ms": cut_ms}
                    cursor = await connection.execute(_TELL, given)
                    if await cursor.fetchone() is None:
                        raise self._psycopg.Rollback
                    n_told += 1
            return n_told == len(leases)

        return await self._ask(run)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _one(self, query: str, given: dict[str, Any], *, fetch: bool = True) -> Any:
        async def run(connection: Any) -> Any:
            cursor = await connection.execute(query, given)
            return await cursor.fetchone() if fetch else None

        return await self._ask(run)

    async def _ask(self, run: Callable[[Any], Awaitable[T]]) -> T:
        async with self._mutex:
            try:
                async with asyncio.timeout(self._timeout_s):
                    if self._connection is None:
                        self._connection = await self._psycopg.AsyncConnection.connect(self._url, autocommit=True)
                        await self._connection.execute(_CREATE)
                    return await run(self._connection)
            except (self._psycopg.Error, OSError, TimeoutError) as exc:
                with suppress(Exception):
                    await self.close()
                reason = str(exc).strip().partition("\n")[0] or f"no answer within {self._timeout_s:g} s"
                raise DatabaseUnavailable(
                    f"the leases' PostgreSQL ({self.where}) cannot be used: {reason}",
                    hint="is it up, and leases.url right? without leases.url shards are fixed and need no database",
                ) from exc

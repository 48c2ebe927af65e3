"""Buckets of time, and the file names that say them.

A bucket is ``length_s`` seconds of UTC that begin at a multiple of its length; the length divides an
hour, so a bucket never crosses one and each ``hour=HH`` folder holds whole buckets only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from overround.errors import ConfigError

__all__ = ["Bucket", "bucket_of", "check_bucket_length", "date_of", "day_start_ms", "parse_bucket_name"]

_NAME = re.compile(r"^[a-z_]+?_(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})(?:\.s(\d+)of(\d+))?\.(?:parquet|wal|jsonl\.zst)$")


class Bucket(NamedTuple):
    """One bucket: its first millisecond and its length.

    Attributes
    ----------
    start_ms : int
        First millisecond of the bucket, epoch UTC.
    length_s : int
        Length in seconds; divides 3,600.
    """

    start_ms: int
    length_s: int

    @property
    def end_ms(self) -> int:
        """First millisecond after the bucket."""
        return self.start_ms + self.length_s * 1000

    @property
    def date(self) -> str:
        """UTC day, ``YYYY-MM-DD``."""
        return self._utc().strftime("%Y-%m-%d")

    @property
    def hour(self) -> str:
        """UTC hour, ``HH``."""
        return self._utc().strftime("%H")

    @property
    def stamp(self) -> str:
        """``YYYY-MM-DDTHH-mm``, as file names carry it (colons are not allowed on Windows)."""
        return self._utc().strftime("%Y-%m-%dT%H-%M")

    def _utc(self) -> datetime:
        return datetime.fromtimestamp(self.start_ms / 1000, tz=UTC)


def date_of(ts_ms: int) -> str:
    """UTC day of a time, ``YYYY-MM-DD``.

    Examples
    --------
    >>> date_of(1_768_392_000_000)
    '2026-01-14'
    """
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).date().isoformat()


def day_start_ms(date: str) -> int:
    """First millisecond of a UTC day ``YYYY-MM-DD``.

    Examples
    --------
    >>> day_start_ms("2026-01-14")
    1768348800000
    """
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() * 1000)


def check_bucket_length(length_s: int) -> int:
    """Return ``length_s`` if it divides an hour into whole minutes.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if length_s < 60 or length_s % 60 or 3600 % length_s:
        raise ConfigError(
            f"bucket length of {length_s} s does not divide an hour into whole minutes",
            hint="use 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800 or 3600",
        )
    return length_s


def bucket_of(ts_ms: int, length_s: int) -> Bucket:
    """The bucket that holds a millisecond.

    Examples
    --------
    >>> bucket_of(1_768_392_301_500, 300).stamp
    '2026-01-14T12-05'
    """
    length_ms = length_s * 1000
    return Bucket(ts_ms - ts_ms % length_ms, length_s)


def parse_bucket_name(name: str) -> tuple[int, tuple[int, int] | None] | None:
    """Read the bucket start (ms) and the shard out of a file name; None if it is no bucket file.

    Examples
    --------
    >>> parse_bucket_name("snapshots_2026-01-14T12-05.s1of4.parquet")
    (1768392300000, (1, 4))
    """
    found = _NAME.match(name)
    if found is None:
        return None
    day, hour, minute, shard, shards = found.groups()
    start = datetime.fromisoformat(f"{day}T{hour}:{minute}:00+00:00")
    return int(start.timestamp() * 1000), (int(shard), int(shards)) if shard else None

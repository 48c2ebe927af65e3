"""``universe.jsonl``: what a venue lists, one market per line, one file per day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from overround.errors import UNREADABLE, FileDamaged, NothingStored
from overround.market import Market, MarketId, MarketStatus
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

__all__ = ["FoundUniverse", "UniverseChange", "newest_universe", "read_universe", "write_universe"]

_DECODER = msgspec.json.Decoder(Market)
_ENCODER = msgspec.json.Encoder()


class UniverseChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a write changed.

    Attributes
    ----------
    path : Path
    markets : int
        Lines in the file.
    listed : int
        Markets in this listing.
    new : int
        Never listed before.
    vanished : int
        Listed earlier the same day, absent now; kept with status ``vanished``.
    """

    path: Path
    markets: int
    listed: int
    new: int
    vanished: int


class FoundUniverse(msgspec.Struct, frozen=True, kw_only=True):
    """The newest listing of a venue.

    Attributes
    ----------
    path : Path
    markets : tuple of Market
        Those that vanished are left out.
    age_ms : int
        Time since its scan, never negative.
    version : str
        Changes when the file does; hand it back as ``known``.
    """

    path: Path
    markets: tuple[Market, ...]
    age_ms: int
    version: str


def read_universe(path: Path) -> list[Market]:
    """Every market of a listing, vanished ones included, sorted by market id.

    Raises
    ------
    FileDamaged
        If a line is no market; the line is named.
    FileNotFoundError
        If there is no such file.
    """
    markets = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            markets.append(_DECODER.decode(line))
        except UNREADABLE as exc:
            raise FileDamaged(
                f"{path} line {number} is no market: {exc}", hint="remove the file and run `overround scan` again"
            ) from exc
    return markets


def write_universe(
    paths: LakePaths, venue: str, date: str, markets: Iterable[Market], *, ops: FileOps | None = None
) -> UniverseChange:
    """Write a whole listing, merged with the day's earlier ones.

    A market keeps the time it was first seen, on whatever day that was. One that an earlier listing of
    the same day has and this one lacks stays, marked ``vanished``, with the time it was last seen. The
    file is sorted by market id and appears whole or not at all.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    date : str
        UTC day, ``YYYY-MM-DD``.
    markets : iterable of Market
        With ``first_seen_ts`` and ``last_seen_ts`` of this scan; of a market listed twice the last counts.
    ops : FileOps, optional

    Raises
    ------
    FileDamaged
        If an earlier listing that has to be merged cannot be read.
    """
    path = paths.universe(venue, date)
    listed = {market.market_id: market for market in markets}
    earlier_days = [known for known in paths.universes(venue) if known.parent.name < f"date={date}"]
    before = {market.market_id: market for market in read_universe(earlier_days[-1])} if earlier_days else {}
    today = {market.market_id: market for market in read_universe(path)} if path.is_file() else {}

    merged: dict[MarketId, Market] = {}
    for market_id, market in listed.items():
        seen = [
            known.first_seen_ts
            for known in (market, today.get(market_id), before.get(market_id))
            if known is not None and known.first_seen_ts
        ]
        merged[market_id] = msgspec.structs.replace(market, first_seen_ts=min(seen, default=0))
    gone = [market for market_id, market in today.items() if market_id not in listed]
    for market in gone:
        merged[market.market_id] = msgspec.structs.replace(market, status=MarketStatus.VANISHED)

    lines = [_ENCODER.encode(merged[market_id]) for market_id in sorted(merged)]
    (ops or FileOps()).write_whole(path, b"".join(line + b"\n" for line in lines))
    return UniverseChange(
        path=path,
        markets=len(merged),
        listed=len(listed),
        new=sum(market_id not in today and market_id not in before for market_id in listed),
        vanished=len(gone),
    )


def newest_universe(paths: LakePaths, venue: str, *, now_ms: int, known: str = "") -> FoundUniverse | None:
    """The newest listing of any day.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    now_ms : int
    known : str
        ``version`` of the listing already held; nothing is read when it is still the newest.

    Returns
    -------
    FoundUniverse or None
        None when ``known`` is still the newest.

    Raises
    ------
    NothingStored
        If the venue was never scanned.
    FileDamaged
        If the newest file cannot be read.
    """
    found = paths.universes(venue)
    if not found:
        raise NothingStored(
            f"no universe of {venue} under {paths.root / 'metadata'}", hint="`overround scan` writes it"
        )
    path = found[-1]
    stat = path.stat()
    version = f"{path.parent.name}/{stat.st_mtime_ns}/{stat.st_size}"
    if version == known:
        return None
    markets = read_universe(path)
    # The scan's own time, where it is told: a copied file has a new modification time.
    scanned_ms = max((market.last_seen_ts for market in markets), default=0) or stat.st_mtime_ns // 1_000_000
    return FoundUniverse(
        path=path,
        markets=tuple(_listed(markets)),
        age_ms=max(0, now_ms - scanned_ms),
        version=version,
    )


def _listed(markets: Sequence[Market]) -> list[Market]:
    return [market for market in markets if market.status is not MarketStatus.VANISHED]

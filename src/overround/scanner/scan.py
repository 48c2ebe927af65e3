"""One venue's listing into ``universe.jsonl``: all of it, or the file stays as it was.

The catalogue gives a whole listing or raises; nothing is written before its last page. Two more guards stand
here, since a venue can answer with a cut listing and no error at all: an empty listing is refused, and when records
did not read, or a live venue suddenly lists less than half of the markets that should still be there, the markets
that are missing keep the state they had instead of being marked ``vanished``.

Before the file is written its changes go into the catalogue's history (``storage.history``), so that nothing is ever
listed whose coming is not recorded.

A listing of open markets says nothing about those that are not in it: Kalshi's leaves out a market while it is paused.
So what is missing is asked for by id. One that is paused (or slipped through the listing) stays in the universe with the
status it has; one that ended leaves it, and the history keeps how; of one that the venue does not know any more, or that
could not be asked for, only the leaving is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from overround.clock import Clock
from overround.errors import AnswerMalformed, VenueError
from overround.market import HISTORIC_FIELDS, Market, MarketId, MarketStatus, Origin, Venue
from overround.storage import CatalogueHistory, LakePaths, claim_origin, write_universe
from overround.storage.fileops import FileOps
from overround.storage.universe import read_universe
from overround.timebucket import date_of
from overround.venue import MarketCatalog

__all__ = ["ScanSummary", "scan"]

log = structlog.get_logger()

_PLAUSIBLE_SHARE = 0.5
_PLAUSIBLE_FROM = 20  # markets; below, a halving is ordinary
_LOOKUPS_MAX = 5_000
"""Missing markets asked for by id in one scan: an hour's ends on the busiest venue, some 60 requests."""
_ENDED = frozenset({MarketStatus.CLOSED, MarketStatus.RESOLVED, MarketStatus.VANISHED})


@dataclass(frozen=True, kw_only=True)
class ScanSummary:
    """What one listing brought.

    Attributes
    ----------
    venue : str
    total : int
        Markets listed.
    new : int
        Never seen before.
    changed : int
        Seen before, with another text, status, time, tick, fee, ...; volume, liquidity and quotes do not count.
    vanished : int
        Marked ``vanished`` now: listed before, absent today.
    kept : int
        Missing from a listing that is not whole, and left as they were.
    paused : int
        Missing from the listing, but still there when asked for by id.
    refused : int
        Records that could not be read.
    repeated : int
        Records of markets that had been listed already.
    pages : int
        Answers that the listing took, retries not counted.
    took_ms : int
    path : str
    """

    venue: str
    total: int
    new: int
    changed: int
    vanished: int
    kept: int = 0
    paused: int = 0
    refused: int = 0
    repeated: int = 0
    pages: int = 0
    took_ms: int = 0
    path: str = ""

    @property
    def incomplete(self) -> bool:
        """Whether the listing was not whole."""
        return bool(self.kept or self.refused)

    def __str__(self) -> str:
        """One line for a terminal."""
        counts = f"{self.new:,} new, {self.changed:,} changed, {self.vanished:,} vanished"
        if self.paused:
            counts += f", {self.paused:,} paused"
        if self.refused:
            counts += f", {self.refused:,} not readable"
        if self.kept:
            counts += f", {self.kept:,} missing and kept"
        took = f"{self.pages:,} pages, {self.took_ms / 1000:.1f} s"
        return f"{self.venue}: {self.total:,} markets ({counts}; {took}) -> {self.path}"


async def scan(
    catalog: MarketCatalog,
    paths: LakePaths,
    venue: Venue,
    *,
    clock: Clock,
    origin: Origin,
    requests: Callable[[], int] | None = None,
    progress: Callable[[int], None] | None = None,
    ops: FileOps | None = None,
) -> ScanSummary:
    """List a venue and merge the listing into the day's universe.

    Parameters
    ----------
    catalog : MarketCatalog
    paths : LakePaths
    venue : Venue
    clock : Clock
        Its UTC day, at the beginning of the scan, is the file's.
    origin : Origin
        Live and synthetic listings never share a folder.
    requests : callable, optional
        Answers received so far by whoever asks the venue; the difference is reported as ``pages``.
    progress : callable, optional
        Called now and then with the number of markets so far.
    ops : FileOps, optional

    Raises
    ------
    VenueError
        If a page cannot be had after all retries, or the listing is empty; the universe is then as before.
    OriginMismatch, FileDamaged, StorageError
    """
    claim_origin(paths, origin)
    started_ns, now_ms = clock.monotonic_ns(), clock.now_ms()
    asked_before = requests() if requests else 0
    listed: dict[MarketId, Market] = {}
    n_records = 0
    async for market in catalog.markets():
        n_records += 1
        listed[market.market_id] = msgspec.structs.replace(
            market, first_seen_ts=market.first_seen_ts or now_ms, last_seen_ts=now_ms
        )
        if progress is not None and n_records % 1_000 == 0:
            progress(n_records)
    if not listed:
        raise AnswerMalformed(
            f"{venue} listed no market at all", hint="the universe was left as it is; scan again later"
        )
    refused = int(getattr(catalog, "refused", 0))
    may_shrink = origin is Origin.SYNTHETIC
    missing = await asyncio.to_thread(
        _missing, paths, venue, listed, scan_ms=now_ms, refused=refused, may_shrink=may_shrink
    )
    told = await _told(catalog, venue, missing, now_ms=now_ms)
    # A whole venue is tens of megabytes of JSON: the event loop of a running collector must not wait for it.
    merged = await asyncio.to_thread(
        _merge,
        paths,
        venue,
        listed,
        told,
        scan_ms=now_ms,
        clock=clock,
        refused=refused,
        may_shrink=may_shrink,
        ops=ops or FileOps(),
    )
    summary = ScanSummary(
        venue=venue.value,
        total=len(listed),
        refused=refused,
        repeated=n_records - len(listed),
        pages=requests() - asked_before if requests else 0,
        new=merged.new,
        changed=merged.changed,
        vanished=merged.vanished,
        kept=merged.kept,
        paused=merged.paused,
        took_ms=(clock.monotonic_ns() - started_ns) // 1_000_000,
        path=str(merged.path),
    )
    report = log.warning if summary.incomplete else log.info
    report("scan.done", **{name: getattr(summary, name) for name in ScanSummary.__dataclass_fields__})
    return summary


class _Merged(NamedTuple):
    new: int
    changed: int
    vanished: int
    kept: int
    paused: int
    path: Path


class _Told(NamedTuple):
    """What the venue said of missing markets: those found, and those asked for."""

    found: Mapping[MarketId, Market]
    asked: frozenset[MarketId]


class _Before(NamedTuple):
    """The newest universe, and what of it a listing lacks; ``whole`` if the listing is to be believed about that."""

    known: dict[MarketId, Market]
    present: dict[MarketId, Market]
    missing: list[Market]
    whole: bool
    path: Path | None


def _before(
    paths: LakePaths,
    venue: Venue,
    listed: Mapping[MarketId, Market],
    *,
    scan_ms: int,
    refused: int,
    may_shrink: bool,
) -> _Before:
    date = date_of(scan_ms)
    universes = [path for path in paths.universes(venue) if path.parent.name <= f"date={date}"]
    known = {market.market_id: market for market in read_universe(universes[-1])} if universes else {}
    present = {market_id: market for market_id, market in known.items() if market.status is not MarketStatus.VANISHED}
    return _Before(
        known=known,
        present=present,
        missing=[market for market_id, market in present.items() if market_id not in listed],
        whole=not refused and (may_shrink or _plausible(known.values(), listed, now_ms=scan_ms)),
        path=universes[-1] if universes else None,
    )


def _missing(
    paths: LakePaths,
    venue: Venue,
    listed: Mapping[MarketId, Market],
    *,
    scan_ms: int,
    refused: int,
    may_shrink: bool,
) -> list[Market]:
    """Markets to be asked for by id, those first whose absence is a surprise; none where all are kept anyway."""
    before = _before(paths, venue, listed, scan_ms=scan_ms, refused=refused, may_shrink=may_shrink)
    return sorted(before.missing, key=lambda market: _over(market, now_ms=scan_ms)) if before.whole else []


async def _told(catalog: MarketCatalog, venue: Venue, missing: list[Market], *, now_ms: int) -> _Told:
    """Ask for missing markets by id; a venue that does not answer keeps no listing from being written."""
    asked = [market.market_id for market in missing[:_LOOKUPS_MAX]]
    if not asked:
        return _Told({}, frozenset())
    try:
        answers = await catalog.lookup(asked)
    except VenueError as exc:
        log.warning("scan.missing_not_told", venue=venue.value, markets=len(missing), reason=str(exc))
        return _Told({}, frozenset())
    if len(missing) > len(asked):
        log.warning("scan.missing_not_asked", venue=venue.value, markets=len(missing) - len(asked))
    wanted = {market.market_id: market for market in missing}
    found = {
        answer.market_id: msgspec.structs.replace(
            answer, first_seen_ts=wanted[answer.market_id].first_seen_ts, last_seen_ts=now_ms
        )
        for answer in answers
        if answer.market_id in wanted
    }
    return _Told(found, frozenset(asked))


def _merge(
    paths: LakePaths,
    venue: Venue,
    listed: Mapping[MarketId, Market],
    told: _Told,
    *,
    scan_ms: int,
    clock: Clock,
    refused: int,
    may_shrink: bool,
    ops: FileOps,
) -> _Merged:
    """Write what changed, then the day's universe; blocking."""
    history = CatalogueHistory(paths, venue, ops=ops)
    with history.held():
        return _write(
            paths,
            venue,
            listed,
            told,
            history,
            scan_ms=scan_ms,
            clock=clock,
            refused=refused,
            may_shrink=may_shrink,
            ops=ops,
        )


def _write(
    paths: LakePaths,
    venue: Venue,
    listed: Mapping[MarketId, Market],
    told: _Told,
    history: CatalogueHistory,
    *,
    scan_ms: int,
    clock: Clock,
    refused: int,
    may_shrink: bool,
    ops: FileOps,
) -> _Merged:
    before = _before(paths, venue, listed, scan_ms=scan_ms, refused=refused, may_shrink=may_shrink)
    known, missing = before.known, before.missing
    kept = [] if before.whole else missing
    still = [now for market in missing if (now := _still(market, told)) is not None] if before.whole else []
    listed = {**listed, **{market.market_id: market for market in still}}
    history.record(
        listed,
        known=before.present,
        known_scan_ms=max((market.last_seen_ts for market in known.values()), default=0),
        whole=before.whole,
        now_ms=clock.now_ms(),
        scan_ms=scan_ms,
        ended={market_id: market for market_id, market in told.found.items() if market_id not in listed},
    )
    change = write_universe(paths, venue, date_of(scan_ms), [*listed.values(), *kept], ops=ops)
    # On a new day's first scan whatever is missing is simply not in the new file.
    same_day = before.path == change.path
    return _Merged(
        new=sum(market_id not in known for market_id in listed),
        changed=sum(
            any(getattr(market, name) != getattr(held, name) for name in HISTORIC_FIELDS)
            for market_id, market in listed.items()
            if (held := known.get(market_id)) is not None
        ),
        vanished=len(missing) - len(kept) - len(still) if same_day else 0,
        kept=len(kept),
        paused=len(still),
        path=change.path,
    )


def _still(market: Market, told: _Told) -> Market | None:
    """A missing market that is there all the same; None if it left."""
    found = told.found.get(market.market_id)
    if found is not None:
        return None if found.status in _ENDED else found
    # A paused one was missing before; while nobody could ask, nothing is new.
    return market if market.status is MarketStatus.PAUSED and market.market_id not in told.asked else None


def _plausible(known: Iterable[Market], listed: Mapping[MarketId, Market], *, now_ms: int) -> bool:
    """Whether a listing holds enough of what ought to be in it to be believed about what is not."""
    due = [
        market.market_id
        for market in known
        if market.status is not MarketStatus.VANISHED and not _over(market, now_ms=now_ms)
    ]
    found = sum(market_id in listed for market_id in due)
    return len(due) < _PLAUSIBLE_FROM or found >= _PLAUSIBLE_SHARE * len(due)


def _over(market: Market, *, now_ms: int) -> bool:
    """Whether a market's announced end has passed, so that its absence is no surprise."""
    return market.close_ts is not None and market.close_ts <= now_ms

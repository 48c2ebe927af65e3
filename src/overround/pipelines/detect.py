"""A recorded day's books against the constraints of its markets: what could not have lost.

Rows of all venues are walked in the order in which they were received. A row is the book at that instant, and until the
market's next row where that one shows the same book with the same count of changes: nothing happened in between. Each row
touches one component, whose finder looks again once all rows of the same instant are in, at books known at that instant.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from overround.arbitrage import Episode, Episodes, ExclusiveSet, Finder, Limits, Quote
from overround.book import Level, mirror
from overround.errors import FileDamaged, NothingStored
from overround.fills import USD_ONE_E10
from overround.logic import (
    Certificate,
    Component,
    Confidence,
    Constraint,
    Contradiction,
    components,
    counts_of,
    decode_certificates,
    encode_certificate,
)
from overround.market import PX_ONE_E4, SZ_ONE_E6, BookStatus, ErrCode, Integrity, Market, MarketId, OutcomeId, Venue
from overround.replay import Rebuilder, RecordedFrame, open_recording
from overround.storage import LakePaths, partitions
from overround.storage.fileops import FileOps
from overround.storage.schema import LEVEL_COLUMNS
from overround.storage.universe import read_universe
from overround.timebucket import bucket_of

__all__ = [
    "VIOLATION_COLUMNS",
    "Detected",
    "Row",
    "Walk",
    "detect_day",
    "joined",
    "journal_rows",
    "quote_of_market",
    "read_certificates",
    "rebuilt_rows",
    "rows_of",
    "take_new",
    "tied_markets",
    "write_violations",
]

_STANDS = 1 << 62
"""A book that stands until its next row, whenever that comes."""
_ONLY_IF = "a finding holds only under conditions"
_ORDER = (Confidence.CERTAIN, Confidence.CONDITIONAL, Confidence.DOUBTFUL)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One book of a market's first outcome, as it was from ``ts_ms`` to ``until_ms``."""

    ts_ms: int
    until_ms: int
    market_id: MarketId
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    integrity: Integrity


class Detected(msgspec.Struct, kw_only=True):
    """What a walk over a day's books found.

    Attributes
    ----------
    components, legs : int
        With at least two legs, as far as the constraints asked for tie them.
    contradictory : list of str
        Components whose constraints no state satisfies; nothing is claimed of them.
    rows : int
        Books walked.
    refused : dict of str to int
        How often a leg was left out, or a finding withheld, by reason in short.
    episodes : list of Episode
    """

    components: int = 0
    legs: int = 0
    contradictory: list[str] = msgspec.field(default_factory=list)
    rows: int = 0
    refused: dict[str, int] = msgspec.field(default_factory=dict)
    episodes: list[Episode] = msgspec.field(default_factory=list)


def quote_of_market(market: Market) -> Quote:
    """A leg's terms, with nothing on offer yet."""
    first, second = (*market.outcome_ids, OutcomeId(""), OutcomeId(""))[:2]
    return Quote(
        yes=(),
        no=(),
        fee=market.fee,
        outcome_ids=(first, second),
        # Both venues sell fractions of contracts; whole ones are what their smallest fills and our fee bounds count in.
        lot_e6=SZ_ONE_E6,
        # A purchase that trades at once: a dollar at least on Polymarket.
        min_cost_e10=USD_ONE_E10 if market.venue is Venue.POLYMARKET else 0,
        integrity=Integrity.UNVERIFIED,
        settles_ts_ms=market.expected_close_ts or market.close_ts,
    )


class Walk:
    """A walk over books in the order of their times, looking for what cannot lose.

    Parameters
    ----------
    constraints : iterable of Constraint
        Those between markets that are not listed are left out.
    markets : mapping of (Venue, MarketId) to Market
    limits : Limits
    least : Confidence
        Constraints of less confidence are not used, and of certain ones only what holds without a condition.
    charge_from_ms : int or None
        When given, money locked from then until settlement has to earn ``limits.base_rate_e6``, too.
    convert_fee_bips : int
        What a conversion keeps where the listing does not say.

    Attributes
    ----------
    told : Detected
        What was found so far; its episodes are those that ended.
    markets : list of Market
    """

    def __init__(
        self,
        constraints: Iterable[Constraint],
        markets: Mapping[tuple[Venue, MarketId], Market],
        *,
        limits: Limits,
        least: Confidence = Confidence.CERTAIN,
        charge_from_ms: int | None = None,
        convert_fee_bips: int = 0,
    ) -> None:
        used = [
            one
            for one in constraints
            if _ORDER.index(one.confidence) <= _ORDER.index(least)
            and all((leg.venue, leg.market_id) in markets for leg in one.legs)
        ]
        self.told = Detected()
        self.markets = list(markets.values())
        self._finders: list[tuple[str, Finder]] = []
        self._place: dict[MarketId, tuple[int, int]] = {}
        self._episodes = Episodes()
        self._touched: set[int] = set()
        self._until_ms: dict[tuple[int, int], int] = {}
        self._now_ms = 0
        for part in components(*counts_of(used)):
            if len(part.legs) < 2:
                continue
            quotes = [quote_of_market(markets[leg.venue, leg.market_id]) for leg in part.legs]
            try:
                finder = Finder(
                    part,
                    quotes,
                    limits=msgspec.structs.replace(limits, proved_only=least is Confidence.CERTAIN),
                    now_ms=charge_from_ms or 0,
                    sets=_sets(part, markets, convert_fee_bips),
                    charge_capital=charge_from_ms is not None,
                )
            except Contradiction as exc:
                self.told.contradictory.append(str(exc))
                continue
            self._place |= {leg.market_id: (len(self._finders), i) for i, leg in enumerate(part.legs)}
            self._finders.append((" ".join(leg.market_id for leg in part.legs), finder))
            self.told.components += 1
            self.told.legs += len(part.legs)

    @property
    def standing(self) -> list[Episode]:
        """Episodes that have not ended."""
        return list(self._episodes.standing.values())

    def take(self, row: Row) -> None:
        """Take over a book; the components of an instant are looked at when the next one begins."""
        if row.market_id not in self._place:
            return
        if row.ts_ms != self._now_ms:
            self.look()
            self._now_ms = row.ts_ms
        number, leg = self._place[row.market_id]
        finder = self._finders[number][1]
        if leg in finder.refused:
            short = finder.refused[leg].split(" (")[0]
            self.told.refused[short] = self.told.refused.get(short, 0) + 1
        quote = msgspec.structs.replace(
            finder.quotes[leg],
            yes=row.asks,
            no=tuple(mirror(row.bids)),
            ts_ms=row.ts_ms,
            integrity=row.integrity,
        )
        finder.update(leg, quote)
        self._touched.add(number)
        self._until_ms[number, leg] = row.until_ms
        self.told.rows += 1

    def look(self) -> None:
        """Look at what was touched since the last look."""
        for number in sorted(self._touched):
            key, finder = self._finders[number]
            for leg in range(len(finder.quotes)):
                finder.seen(leg, min(self._now_ms, self._until_ms.get((number, leg), 0)))
            found = finder.find(self._now_ms)
            if found is None and finder.withheld is not None:
                self.told.refused[_ONLY_IF] = self.told.refused.get(_ONLY_IF, 0) + 1
            if found is None and finder.refused:
                continue  # books that could not be believed neither show a finding nor its end
            ended = self._episodes.see(key, self._now_ms, found)
            if ended is not None:
                self.told.episodes.append(ended)
        self._touched.clear()

    def finish(self) -> Detected:
        """All that was found, in the order of its beginning; what still stands has no end."""
        self.look()
        self.told.episodes += self._episodes.close()
        self.told.episodes.sort(key=lambda episode: (episode.start_ms, episode.key))
        return self.told


def _sets(part: Component, markets: Mapping[tuple[Venue, MarketId], Market], fee_bips: int) -> list[ExclusiveSet]:
    """Sets whose contraries lock less than their sum: by Kalshi's netting, and by Polymarket's conversion.

    A conversion needs every leg of a set that cannot grow: their numbers leave no hole, and their constraint says that
    exactly one of them wins (which ``certify`` and the checker ask for).
    """
    found: dict[str, list[int]] = {}
    for i, leg in enumerate(part.legs):
        about = markets[leg.venue, leg.market_id].exclusivity
        if about.exclusive and about.set_id:
            found.setdefault(about.set_id, []).append(i)
    sets = []
    for legs in found.values():
        listed = [markets[part.legs[i].venue, part.legs[i].market_id] for i in legs]
        said = [market.exclusivity for market in listed]
        if len(legs) < 2:
            continue
        if all(one.collateral_return == "MECNET" for one in said):
            sets.append(ExclusiveSet(legs=tuple(legs)))
        elif (
            all(market.venue is Venue.POLYMARKET and market.neg_risk for market in listed)
            and {one.index for one in said} == set(range(len(legs)))
            and not any(one.augmented for one in said)
        ):
            kept = max(fee_bips if one.convert_fee_bips is None else one.convert_fee_bips for one in said)
            sets.append(ExclusiveSet(legs=tuple(legs), converts=True, fee_bips=kept))
    return sets


# --- the lake ----------------------------------------------------------------------------------------------------


def rows_of(
    paths: LakePaths, markets: Iterable[Market], *, date: str, hours: Iterable[int] | None = None, after_ms: int = 0
) -> Iterator[Row]:
    """A day's books of some markets, in the order of their times, one hour in memory at a time.

    Parameters
    ----------
    after_ms : int
        Only later ones.
    """
    first: dict[str, list[str]] = {}
    for market in markets:
        if market.outcome_ids:
            first.setdefault(market.venue, []).append(f"{market.market_id} {market.outcome_ids[0]}")
    for hour in range(24) if hours is None else sorted(set(hours)):
        parts = [
            _hour(part.scan(), keys, after_ms)
            for venue, keys in sorted(first.items())
            for part in partitions(paths, venue, date=date, hours=[hour])
        ]
        yield from heapq.merge(*parts, key=lambda row: (row.ts_ms, row.market_id))


def journal_rows(
    paths: LakePaths, markets: Iterable[Market], *, date: str, hours: Iterable[int] | None = None, every_ms: int = 250
) -> Iterator[Row]:
    """The same books rebuilt from the journals, looked at every so often; each stands until its next row.

    Raises
    ------
    NothingStored
        If no venue has a journal of these hours.
    """
    by_venue: dict[Venue, list[MarketId]] = {}
    for market in markets:
        by_venue.setdefault(market.venue, []).append(market.market_id)
    parts = []
    for venue, ids in sorted(by_venue.items()):
        wanted = range(24) if hours is None else sorted(set(hours))
        files = [file for hour in wanted for file in paths.journal_files(venue, date, f"{hour:02d}")]
        if files:
            parts.append(rebuilt_rows(open_recording(files, venue), venue, ids, every_ms))
    if not parts:
        raise NothingStored(f"no journal on {date} under {paths.root}", hint="leave --journal away to walk stored rows")
    yield from heapq.merge(*parts, key=lambda row: (row.ts_ms, row.market_id))


def rebuilt_rows(
    frames: Iterable[RecordedFrame], venue: Venue, ids: Sequence[MarketId], every_ms: int
) -> Iterator[Row]:
    """Rows of changed books at every multiple of ``every_ms`` of receive time; see ``journal_rows``."""
    rebuilder = Rebuilder(venue)
    told: dict[MarketId, tuple[tuple[object, ...], Row]] = {}
    due_ms = 0
    for entry in frames:
        now_ms = (entry.recv_ns or 0) // 1_000_000
        if now_ms > due_ms:
            # Nothing happened since the frame before, so the books stood as they are now at the instant that is due.
            if due_ms:
                for market_id in ids:
                    book = rebuilder.book(market_id)
                    if book is None or not book.had_book:
                        # Given up: what it showed last stands no longer.
                        if market_id in told:
                            last = told.pop(market_id)[1]
                            yield msgspec.structs.replace(last, ts_ms=due_ms, until_ms=due_ms, integrity=Integrity.GAP)
                        continue
                    state = (id(book), book.seq, book.live, book.integrity)
                    if market_id not in told or told[market_id][0] != state:
                        verdict = book.integrity if book.live else Integrity.GAP
                        bids, asks = tuple(book.bid_levels()), tuple(book.ask_levels())
                        row = Row(due_ms, _STANDS, market_id, bids, asks, verdict)
                        told[market_id] = (state, row)
                        yield row
            due_ms = now_ms - now_ms % every_ms + every_ms
        rebuilder.receive(entry)


def _hour(rows: pl.LazyFrame, keys: Sequence[str], after_ms: int) -> list[Row]:
    key = pl.concat_str("market_id", "outcome_id", separator=" ")
    book = pl.struct(*LEVEL_COLUMNS, "seq", "status", "integrity").hash()
    frame = (
        rows.filter(pl.col("ts_recv") > after_ms, key.is_in(keys))
        .sort("market_id", "ts_recv")
        .with_columns(
            until=pl.when(book == book.shift(-1).over("market_id")).then(pl.col("ts_recv").shift(-1).over("market_id"))
        )
        .select("ts_recv", "until", "market_id", *LEVEL_COLUMNS, "status", "err", "integrity")
        .sort("ts_recv", "market_id")
        .collect()
    )
    return [_row(values) for values in frame.iter_rows()]


def _row(values: tuple[Any, ...]) -> Row:
    ts_ms, until_ms, market_id, bid_px, bid_sz, ask_px, ask_sz, status, err, integrity = values
    verdict = Integrity(integrity) if integrity else Integrity.UNVERIFIED
    if status == BookStatus.STALE:
        verdict = Integrity.STALE
    if err == ErrCode.GAP:
        verdict = Integrity.GAP
    bids, asks = _levels(bid_px, bid_sz), _levels(ask_px, ask_sz)
    return Row(ts_ms, until_ms or ts_ms, MarketId(market_id), bids, asks, verdict)


def _levels(px: Sequence[float], sz: Sequence[float]) -> tuple[Level, ...]:
    return tuple(Level(round(p * PX_ONE_E4), round(s * SZ_ONE_E6)) for p, s in zip(px, sz, strict=True))


def listed(paths: LakePaths, venues: Iterable[str], date: str) -> list[Market]:
    """The markets of some venues as they were last listed on a day.

    Raises
    ------
    NothingStored
        If a venue has no listing of that day.
    """
    found: list[Market] = []
    for venue in venues:
        path = paths.universe(venue, date)
        if not path.is_file():
            raise NothingStored(
                f"no listing of {venue} on {date}: {path}", hint=f"`overround scan --venue {venue}` writes it"
            )
        found += read_universe(path)
    return found


def tied_markets(markets: Iterable[Market], constraints: Iterable[Constraint]) -> dict[tuple[Venue, MarketId], Market]:
    """Those of the markets that a constraint speaks of."""
    tied = {(leg.venue, leg.market_id) for one in constraints for leg in one.legs}
    return {key: market for market in markets if (key := (market.venue, market.market_id)) in tied}


def detect_day(
    walk: Walk, paths: LakePaths, *, date: str, hours: Iterable[int] | None = None, journal: bool = False
) -> Detected:
    """Walk over a recorded day: its stored rows, or the books that its journal gives."""
    source = journal_rows if journal else rows_of
    for row in source(paths, walk.markets, date=date, hours=hours):
        walk.take(row)
    return walk.finish()


def joined(parts: Sequence[Detected]) -> Detected:
    """What walks found that followed each other; components and legs are those of the last."""
    whole = msgspec.structs.replace(parts[-1], rows=0, refused={}, episodes=[])
    for part in parts:
        whole.rows += part.rows
        whole.episodes += part.episodes
        for why, n in part.refused.items():
            whole.refused[why] = whole.refused.get(why, 0) + n
    return whole


def take_new(walk: Walk, paths: LakePaths, markets: Sequence[Market], *, after_ms: int, until_ms: int) -> None:
    """Take over what a running collector wrote of two times' books: after the one, and up to the other.

    Rows are written in batches: ``until_ms`` should lie a flush and a little more in the past, so that none comes late.
    """
    hour = bucket_of(after_ms, 3_600)
    while hour.start_ms <= until_ms:
        for row in rows_of(paths, markets, date=hour.date, hours=[int(hour.hour)], after_ms=after_ms):
            if row.ts_ms <= until_ms:
                walk.take(row)
        hour = bucket_of(hour.end_ms, 3_600)
    walk.look()


VIOLATION_COLUMNS: dict[str, Any] = {
    "venues": pl.List(pl.String), "market_ids": pl.List(pl.String), "forms": pl.List(pl.String), "grade": pl.String,
    "start_ts": pl.Int64, "last_ts": pl.Int64, "end_ts": pl.Int64, "peak_ts": pl.Int64, "seen": pl.Int64,
    "profit_usd": pl.Float64, "cost_usd": pl.Float64, "fee_usd": pl.Float64, "capital_usd": pl.Float64,
    "return_per_year": pl.Float64, "settles_ts": pl.Int64, "conditions": pl.List(pl.String), "certificate": pl.String,
}  # fmt: skip


def write_violations(path: Path, episodes: Iterable[Episode]) -> int:
    """One row an episode, its figures those of its peak; returns how many."""
    rows = [_flat(episode) for episode in episodes]
    frame = pl.DataFrame(rows, schema=VIOLATION_COLUMNS, orient="row")
    held = io.BytesIO()
    frame.write_parquet(held, compression="zstd")
    FileOps().write_whole(path, held.getvalue())
    return len(rows)


def _flat(episode: Episode) -> tuple[object, ...]:
    peak = episode.peak
    bought = [peak.component.legs[purchase.leg] for purchase in peak.purchases]
    usd = [amount / USD_ONE_E10 for amount in (peak.profit_e10, peak.cost_e10, peak.fee_e10, peak.capital_e10)]
    return (
        [leg.venue.value for leg in bought], [leg.market_id for leg in bought], list(peak.forms), peak.grade.value,
        episode.start_ms, episode.last_ms, episode.end_ms, episode.peak_ms, episode.seen, *usd,
        None if peak.return_e6 is None else peak.return_e6 / 1e6, peak.settles_ts_ms, list(peak.conditions),
        encode_certificate(peak).decode(),
    )  # fmt: skip


def read_certificates(path: Path) -> list[Certificate]:
    """Certificates of a ``violations.parquet``.

    Raises
    ------
    FileDamaged
        If the file does not read, or has no such column.
    """
    try:
        column = pl.read_parquet(path, columns=["certificate"])["certificate"]
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise FileDamaged(f"{path} holds no certificates: {exc}", hint="detect-arb writes violations.parquet") from exc
    return decode_certificates("\n".join(column).encode()) if len(column) else []

"""The coverage ledger on its way to disk: three tables, durable within seconds, one file per hour or quarter."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from overround.errors import FileDamaged
from overround.market import Share
from overround.storage.bucket import conformed, refused_by_system
from overround.storage.coverage_tables import (
    COVERAGE_TABLE,
    GAPS_TABLE,
    INCLUSION_TABLE,
    GapRow,
    InclusionRow,
    MinuteRow,
    gap_batch,
    inclusion_batch,
    minute_batch,
)
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths, Shard
from overround.storage.schema import TableSpec
from overround.storage.table_writer import TableWriter
from overround.storage.wal import read_wal
from overround.timebucket import parse_bucket_name

__all__ = ["LOOKBACK_DAYS", "CoverageWriter", "LeftOpen"]

log = structlog.get_logger()

LOOKBACK_DAYS = 31
"""A gap or stay that began earlier is not looked for."""

# Minutes come by the hundred, gaps and stays by the dozen: files of a few thousand rows each.
_BUCKETS_S = {COVERAGE_TABLE.name: 900, GAPS_TABLE.name: 3_600, INCLUSION_TABLE.name: 3_600}
# Ends arrive after their bucket is over: most of them while it still waits.
_GRACE_MS = 300_000
_SHARD = "_shard"


@dataclass(frozen=True, kw_only=True)
class LeftOpen:
    """What an earlier run left unfinished; empty after a clean stop.

    Attributes
    ----------
    until_ms : int or None
        The last instant that it accounted for; None if it accounted for none.
    rows_until_ms : int or None
        Time of the newest row that it stored, 0 where there is none; None if nobody looked.
    gaps : tuple of GapRow
    stays : tuple of InclusionRow
    shards : frozenset of Shard
        Whose files say so; others than the present one where the number of collectors has changed.
    """

    until_ms: int | None = None
    rows_until_ms: int | None = None
    gaps: tuple[GapRow, ...] = ()
    stays: tuple[InclusionRow, ...] = ()
    shards: frozenset[Shard] = frozenset()

    @property
    def crashed(self) -> bool:
        """Whether the run ended without closing its books."""
        return bool(self.gaps or self.stays)

    @property
    def died_ms(self) -> int | None:
        """The last instant known good; None after a clean stop.

        Rows are on disk in the order of their time, so what is lost is younger than the newest of them; the ledger's
        own account may be younger than that, for the two are not synced together.
        """
        starts = [gap.start_ms for gap in self.gaps] + [stay.start_ms for stay in self.stays]
        if not starts:
            return None
        accounted = max([*starts, *([] if self.until_ms is None else [self.until_ms])])
        if self.rows_until_ms is None:
            return accounted
        # A run that stored nothing lost nothing of the time before it.
        return min(accounted, max(self.rows_until_ms, min(starts)))


class CoverageWriter:
    """Writes one venue's ledger; the caller holds the collector's lock.

    Every method but the first belongs to one thread at a time.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    level : int
        zstd level of finished files.
    origin : str
    shard : Shard
    ops : FileOps, optional
        A failing disk in tests.
    token : int
        Fencing token of our lease; 0 where there are none.
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        *,
        level: int,
        origin: str,
        shard: Shard = (0, 1),
        ops: FileOps | None = None,
        token: int = 0,
    ) -> None:
        self._paths, self._venue, self._shard = paths, str(venue), shard

        def writer(table: TableSpec) -> TableWriter:
            return TableWriter(
                paths,
                table,
                self._venue,
                bucket_s=_BUCKETS_S[table.name],
                level=level,
                origin=origin,
                shard=shard,
                ops=ops,
                token=token,
            )

        self._minutes, self._gaps, self._stays = writer(COVERAGE_TABLE), writer(GAPS_TABLE), writer(INCLUSION_TABLE)
        self._writers = (self._minutes, self._gaps, self._stays)

    def lease(self, token: int) -> None:
        """Write under this lease; before :meth:`start`."""
        for writer in self._writers:
            writer.token = token

    def start(self, *, now_ms: int) -> LeftOpen:
        """Finish the files that an earlier run left, and tell what it left open."""
        wrote_last = self._minutes.newest_left("until_ms")
        for writer in self._writers:
            writer.recover(now_ms=now_ms)
        gaps, stays = self._open_rows(GAPS_TABLE), self._open_rows(INCLUSION_TABLE)
        shards = frozenset(shard for _, shard in (*gaps, *stays))
        return LeftOpen(
            until_ms=self._accounted_until(shards, wrote_last, now_ms) if shards else None,
            gaps=tuple(GapRow(**{name: row[name] for name in GapRow._fields}) for row, _ in gaps),
            stays=tuple(InclusionRow(**{name: row[name] for name in InclusionRow._fields}) for row, _ in stays),
            shards=shards,
        )

    def add(
        self,
        *,
        minutes: Sequence[MinuteRow] = (),
        gaps: Sequence[GapRow] = (),
        stays: Sequence[InclusionRow] = (),
        now_ms: int,
    ) -> None:
        """Take rows in; :meth:`save` makes them durable."""
        if minutes:
            self._minutes.add(minute_batch(minutes, self._venue), now_ms=now_ms)
        if gaps:
            self._gaps.add(gap_batch(gaps, self._venue), now_ms=now_ms)
        if stays:
            self._stays.add(inclusion_batch(stays, self._venue), now_ms=now_ms)

    def save(self, *, now_ms: int) -> bool:
        """Make everything added durable; False when the disk refused some of it (it is kept and tried again)."""
        # Gaps first: a minute that is durable never lacks the gap that covers it.
        saved = [writer.save(now_ms=now_ms) for writer in (self._gaps, self._stays, self._minutes)]
        return all(saved)

    def finalise(self, *, now_ms: int, all_buckets: bool = False) -> None:
        """Turn buckets that are over (or all) into Parquet files."""
        for writer in self._writers:
            for bucket in writer.end(None if all_buckets else now_ms - _GRACE_MS):
                writer.finalise(bucket, now_ms=now_ms)

    @property
    def failures(self) -> int:
        """Times that the disk refused rows or files."""
        return sum(w.counters.save_failures + w.counters.finalise_failures for w in self._writers)

    @property
    def rows_unsaved(self) -> int:
        """Rows in memory only, because the disk refused them."""
        return sum(writer.counters.rows_unsaved for writer in self._writers)

    # -- what the last run left ---------------------------------------------------------------------

    def _days(self, table: TableSpec) -> Iterator[pa.Table]:
        """Rows of all shards, one day at a time, newest day first, as far back as is looked; each row tells its shard.

        A run may have begun what another shard has to end: the number of collectors may have changed.
        """
        for date in reversed(self._paths.days(table.place, self._venue)[-LOOKBACK_DAYS:]):
            parts = []
            for path in self._paths.bucket_files(table.place, self._venue, date):
                named = parse_bucket_name(path.name)
                if named is None:
                    continue
                try:
                    rows = conformed(pq.read_table(io.BytesIO(path.read_bytes()), use_threads=False), table)
                except FileNotFoundError:
                    continue
                except (pa.ArrowException, OSError, FileDamaged) as exc:
                    if refused_by_system(exc):
                        raise
                    log.warning("ledger.file_damaged", path=str(path), reason=str(exc))
                    continue
                parts.append(_of_shard(rows, named[1] or (0, 1)))
            # What a full disk kept from becoming Parquet, and what others are at.
            for wal in self._paths.wal_files(table.place, self._venue, date):
                try:
                    batches = read_wal(wal.path).batches
                except FileNotFoundError:
                    continue
                if batches:
                    parts.append(_of_shard(conformed(pa.Table.from_batches(batches), table), wal.shard))
            if parts and table.compact is not None:
                yield table.compact(pa.concat_tables(parts))

    def _open_rows(self, table: TableSpec) -> list[tuple[dict[str, Any], Shard]]:
        """Rows without an end, of markets of our share."""
        share = Share(*self._shard)
        rows: list[tuple[dict[str, Any], Shard]] = []
        for day in self._days(table):
            found = day.filter(pc.is_null(day.column("end_ms"))).to_pylist()
            rows += [(row, Share.parse(row[_SHARD])) for row in found if share.owns(row["market_id"])]
        return rows

    def _accounted_until(self, shards: frozenset[Shard], wrote_last: Mapping[Shard, int], now_ms: int) -> int | None:
        """The earliest of the last instants that each of the shards accounted for.

        In ``wrote_last`` stands what their runs wrote before they died. Of a shard that is not there the newest account
        on disk is taken; one that lies ahead is of a time before the clock was set back, and says nothing of who died.
        """
        found = {shard: ms for shard, ms in wrote_last.items() if shard in shards}
        sought = shards - found.keys()
        for day in self._days(COVERAGE_TABLE) if sought else ():
            of_venue = day.filter(pc.equal(day.column("market_id"), pa.scalar("")))
            for name, until_ms in zip(*(of_venue.column(n).to_pylist() for n in (_SHARD, "until_ms")), strict=True):
                shard = Share.parse(name)
                if shard in sought:
                    found[shard] = max(until_ms, found.get(shard, 0))
            if len(found) == len(shards):
                break
        if any(found.get(shard, 0) > now_ms for shard in sought):
            return None
        return min(found.values(), default=None)


def _of_shard(rows: pa.Table, shard: Shard) -> pa.Table:
    return rows.append_column(_SHARD, pa.array([str(Share(*shard))] * rows.num_rows, pa.string()))

"""A small lake for notebooks: some minutes of the generated exchange, recorded without a wire, ledger and listing included."""

from __future__ import annotations

from pathlib import Path

from overround.config import StorageSettings
from overround.exchange.generator import GeneratedSource
from overround.exchange.model import ChangeKind
from overround.exchange.universe import WorldSpec
from overround.market import PX_ONE_E4, MarketId, Origin, OutcomeId, Trade, Venue
from overround.storage import LakePaths, SnapshotWriter, write_universe
from overround.storage.coverage_tables import GapRow, InclusionRow, MinuteRow
from overround.storage.coverage_writer import CoverageWriter
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market
from overround.timebucket import date_of

__all__ = ["tiny_lake"]

_MINUTE_MS = 60_000
_EVERY_MS = 10_000
_GAP_MS = (12 * _MINUTE_MS, 14 * _MINUTE_MS)


async def tiny_lake(folder: Path, *, minutes: int = 30, n_markets: int = 6, seed: int = 7) -> tuple[LakePaths, str]:
    """Record markets of the generated Kalshi.

    The first market has a gap of two minutes: its books of that time are stored as stale.

    Parameters
    ----------
    folder : Path
    minutes, n_markets, seed : int

    Returns
    -------
    LakePaths
    str
        The UTC day.
    """
    spec = WorldSpec(
        polymarket_markets=8, kalshi_markets=4 * n_markets, seed=seed, windows=False, planted=0, keep_truth_s=60.0
    )
    source, begin = GeneratedSource(spec), spec.now_ms
    end = begin + minutes * _MINUTE_MS
    lasting = [key for key in source.markets(Venue.KALSHI) if source.listings[key].close_ms > end + 3_600_000]
    keys = lasting[:: max(1, len(lasting) // n_markets)][:n_markets]
    source.watch(keys)
    paths, clock = LakePaths(folder), ManualClock(begin)
    writer = SnapshotWriter(
        paths, "kalshi", settings=StorageSettings(compression_level=1), top_k=50, origin=Origin.SYNTHETIC, clock=clock
    )
    writer.start()
    rows = {key: writer.buffer.register(MarketId(key), (OutcomeId("yes"), OutcomeId("no"))) for key in keys}
    seq, changed = dict.fromkeys(keys, 0), dict.fromkeys(keys, begin)
    for now in range(begin, end, _EVERY_MS):
        prints: list[Trade] = []
        for change in source.advance(now):
            if change.key not in rows:
                continue
            if change.kind is ChangeKind.LEVEL:
                seq[change.key] += 1
                changed[change.key] = change.ts_ms
            elif change.kind is ChangeKind.TRADE:
                prints.append(
                    Trade(
                        market_id=MarketId(change.key),
                        outcome_id=OutcomeId("yes"),
                        first=True,
                        px=change.px_e4 / PX_ONE_E4,
                        sz_e6=change.sz_e6,
                        taker_side="buy" if change.bid else "sell",
                        ts_recv_ns=change.ts_ms * 1_000_000,
                        ts_venue_ms=change.ts_ms,
                    )
                )
        for place, (key, row) in enumerate(rows.items()):
            stale = place == 0 and _GAP_MS[0] <= now - begin < _GAP_MS[1]
            writer.buffer.append(
                row,
                now,
                *source.levels(key),
                seq=seq[key],
                source_ts=changed[key],
                stale=stale,
                err="gap" if stale else None,
                integrity="gap" if stale else "verified",
            )
        writer.add_trades(prints)
        clock.skip_ms(_EVERY_MS)
        if (now - begin) % _MINUTE_MS == 0:
            await writer.flush(now)
    await writer.stop()
    _ledger(paths, keys, seq, begin, end)
    day = date_of(begin)
    listed = [source.listings[key] for key in keys]
    write_universe(
        paths,
        "kalshi",
        day,
        [
            a_market(n, market_id=MarketId(one.key), title=one.title, close_ts=one.close_ms, origin=Origin.SYNTHETIC)
            for n, one in enumerate(listed)
        ],
    )
    return paths, day


def _ledger(paths: LakePaths, keys: list[str], seq: dict[str, int], begin: int, end: int) -> None:
    """Minutes, the gap and the stays, as the collector would have told them."""
    n_minutes = (end - begin) // _MINUTE_MS
    minutes = []
    for place, key in enumerate(keys):
        for minute in range(begin, end, _MINUTE_MS):
            lost = _MINUTE_MS if place == 0 and _GAP_MS[0] <= minute - begin < _GAP_MS[1] else 0
            minutes.append(
                MinuteRow(
                    minute_ms=minute,
                    market_id=key,
                    outcome_ids=("yes", "no"),
                    verified_ms=_MINUTE_MS - lost,
                    unverified_ms=0,
                    quiet_ms=0,
                    gap_ms=lost,
                    not_subscribed_ms=0,
                    venue_down_ms=0,
                    updates=seq[key] // n_minutes,
                    snapshots=_MINUTE_MS // _EVERY_MS,
                    repairs=0,
                    live_mask=0 if lost else (1 << 60) - 1,
                    until_ms=minute + _MINUTE_MS,
                )
            )
    start, stop = (begin + part for part in _GAP_MS)
    ledger = CoverageWriter(paths, "kalshi", level=1, origin="synthetic")
    ledger.start(now_ms=begin)
    ledger.add(
        minutes=minutes,
        gaps=[
            GapRow(
                start, stop, start + 1_000, keys[0], "gap", "resnapshot", 1, "kalshi-0", "a sequence number was missing"
            )
        ],
        stays=[InclusionRow(begin, end, key, "hot", 1.0 - n / len(keys), "stopped") for n, key in enumerate(keys)],
        now_ms=end,
    )
    ledger.save(now_ms=end)
    ledger.finalise(now_ms=end, all_buckets=True)

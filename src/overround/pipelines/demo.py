"""The whole road in a minute: exchange, scan, collect, mine, and the check against the truth."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from overround.clock import Clock
from overround.collector import VenueRecorder, VenueStatus, collect, run_until_signal
from overround.config import MockSettings, PollingSettings, Settings, StorageSettings
from overround.errors import OverroundError, UsageError
from overround.market import Integrity, Origin, Venue
from overround.pipelines.captions import with_captions
from overround.pipelines.mine import MineResult, mine
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues
from overround.pipelines.truth_check import TruthCheck, check_rows, stored_rows
from overround.storage import SNAPSHOTS, LakePaths, newest_universe, partitions, read_origin

__all__ = ["DemoResult", "VenueResult", "demo_faults", "demo_settings", "run_demo"]


class VenueResult(msgspec.Struct, kw_only=True):
    """What the demo shows of one venue; the names of ``--json``."""

    markets_scanned: int
    frames: int
    snapshots: int
    files: int
    bytes_per_snapshot: float
    books_checked: int
    books_equal: int
    gaps: int
    duration_s: float
    frames_per_s: float
    snapshots_per_s: float
    verified_share: float
    verified_minutes: float | None
    row_verdicts: dict[str, int]
    reconnects: int
    repairs: int
    stale_rows: int
    bytes_on_disk: int
    journal_bytes: int
    differences: list[str] = msgspec.field(default_factory=list)


class DemoResult(msgspec.Struct, kw_only=True):
    """The whole demo."""

    venues: dict[str, VenueResult]
    data_dir: str
    faults: list[str]
    rankings: dict[str, MineResult]
    file_list: list[tuple[str, int]]

    @property
    def agrees(self) -> bool:
        """Whether every stored row of every venue equals the truth, and there are rows at all."""
        return all(0 < venue.books_checked == venue.books_equal for venue in self.venues.values())


def demo_settings(data_dir: Path, *, markets: int, seed: int) -> Settings:
    """The demo's own preset: short intervals, so that a minute shows a rotation and several rows a market."""
    base = Settings()
    quick = {
        "max_subs_per_venue": 60,
        "hot_count": 20,
        "rotation_period_secs": 15,
        "snapshot_interval_ms_hot": 1_000,
        "snapshot_interval_ms_warm": 2_500,
        "subscription_churn_limit_per_minute": 40,
    }
    venues = base.venues.model_copy(
        update={
            "polymarket": base.venues.polymarket.model_copy(update=quick | {"max_tokens_per_connection": 60}),
            "kalshi": base.venues.kalshi.model_copy(update=quick | {"max_markets_per_connection": 30}),
        }
    )
    return base.model_copy(
        update={
            "data_dir": data_dir,
            "venues": venues,
            "mock": MockSettings(enabled=True, markets=markets, seed=seed),
            "polling": PollingSettings(universe_reload_secs=10),
            "storage": StorageSettings(bucket_secs=60, flush_secs=2, journal_flush_secs=2),
        }
    )


def demo_faults(duration_s: float) -> list[tuple[float, dict[str, object]]]:
    """What goes wrong during a demo, and when (seconds): per venue a burst, a sequence gap, an abrupt close."""
    script: list[tuple[float, dict[str, object]]] = []
    for venue, lag in ((Venue.POLYMARKET, 0.0), (Venue.KALSHI, 0.06)):
        script += [
            ((0.25 + lag) * duration_s, {"kind": "stall", "venue": venue, "connection": "any", "duration_ms": 400}),
            ((0.40 + lag) * duration_s, {"kind": "sequence_gap", "venue": venue, "connection": "any"}),
            (
                (0.55 + lag) * duration_s,
                {"kind": "close", "venue": venue, "connection": "any", "params": {"mode": "abort"}},
            ),
        ]
    return sorted(script, key=lambda entry: entry[0])


def run_demo(
    *,
    data_dir: Path,
    markets: int,
    seed: int,
    duration_s: float,
    clock: Clock,
    say: Callable[[str], None],
    on_status: Callable[[Sequence[VenueStatus]], None] | None,
    status_ms: int,
) -> DemoResult:
    """Run the whole road once and compare what was stored with what happened.

    Parameters
    ----------
    data_dir : Path
        Lake folder; an earlier synthetic lake there is removed first, anything else is refused.
    markets, seed : int
        Of the generated universe.
    duration_s : float
        Seconds of collecting.
    clock : Clock
    say : callable
        Takes one line of progress.
    on_status : callable, optional
        Takes every status round while collecting.
    status_ms : int

    Raises
    ------
    UsageError
        If ``data_dir`` holds something that is no synthetic lake.
    """
    _clear(data_dir)
    settings = demo_settings(data_dir, markets=markets, seed=seed)
    rng = random.Random(seed)
    venues = list(Venue)
    say(f"starting the local exchange: {markets:,} markets, seed {seed}")
    with mock_exchange(settings) as (live, thread):
        truth_url = thread.urls.truth_url

        async def main(stop: asyncio.Event) -> tuple[dict[str, int], list[VenueRecorder]]:
            say("scanning both catalogues")
            summaries = await scan_venues(live, venues=venues, clock=clock, rng=rng, origin=Origin.SYNTHETIC)
            scanned = {str(summary.venue): summary.total for summary in summaries}
            say("scanned " + ", ".join(f"{n:,} markets of {venue}" for venue, n in scanned.items()))
            say(f"collecting for {duration_s:g} s; on the way each venue bursts, skips a change and cuts a connection")
            faults = asyncio.create_task(_inject(thread.urls.faults_url, demo_faults(duration_s), clock))
            try:
                recorders = await collect(
                    live,
                    venues=venues,
                    clock=clock,
                    rng=rng,
                    origin=Origin.SYNTHETIC,
                    stop=stop,
                    duration_s=duration_s,
                    on_status=on_status,
                    status_ms=status_ms,
                )
            finally:
                faults.cancel()
            return scanned, recorders

        scanned, recorders = run_until_signal(main)
        paths = LakePaths(data_dir)
        say("mining what was recorded")
        rankings = {}
        for recorder in recorders:
            day = max(paths.days(SNAPSHOTS, str(recorder.venue)))
            rankings[str(recorder.venue)] = with_captions(
                mine(paths, recorder.venue, day, top=5), paths, clock.now_ms()
            )
        say("comparing every stored row with the exchange's truth")
        results, injected = {}, []
        for recorder in recorders:
            venue = recorder.venue
            check = _check(paths, venue, truth_url, settings.top_k, clock)
            injected += [f"{venue}: {fault}" for fault in _told(f"{truth_url}/{venue}/faults")]
            results[str(venue)] = _venue_result(recorder, check, scanned.get(str(venue), 0), duration_s)
    files = sorted(
        (path.relative_to(data_dir).as_posix(), path.stat().st_size) for path in data_dir.rglob("*") if path.is_file()
    )
    return DemoResult(venues=results, data_dir=str(data_dir), faults=injected, rankings=rankings, file_list=files)


def _clear(data_dir: Path) -> None:
    """Remove an earlier demo's lake; refuse to touch anything else."""
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return
    try:
        synthetic = read_origin(LakePaths(data_dir)) is Origin.SYNTHETIC
    except OverroundError:
        synthetic = False
    if not synthetic:
        raise UsageError(
            f"{data_dir} is not empty and holds no synthetic lake", hint="name another folder: --data-dir FOLDER"
        )
    shutil.rmtree(data_dir)


async def _inject(faults_url: str, script: Sequence[tuple[float, dict[str, object]]], clock: Clock) -> None:
    import httpx2

    began_ms = clock.now_ms()
    async with httpx2.AsyncClient(timeout=10) as client:
        for at_s, fault in script:
            await clock.sleep_ms(began_ms + at_s * 1000 - clock.now_ms())
            answer = await client.post(faults_url, content=msgspec.json.encode([fault]))
            answer.raise_for_status()


def _told(url: str) -> list[str]:
    import httpx2

    answer = httpx2.get(url, timeout=30).raise_for_status()
    return [f"{fault.get('kind')} on {fault.get('connection') or fault.get('target') or ''}" for fault in answer.json()]


def _check(paths: LakePaths, venue: Venue, truth_url: str, top_k: int, clock: Clock) -> TruthCheck:
    found = newest_universe(paths, venue, now_ms=clock.now_ms())
    firsts = {str(market.market_id): str(market.outcome_ids[0]) for market in found.markets} if found else {}
    rows = stored_rows((partition.scan() for partition in partitions(paths, venue)), first_outcomes=firsts)
    return check_rows(rows, truth_url=truth_url, venue=venue, top_k=top_k)


def _venue_result(recorder: VenueRecorder, check: TruthCheck, scanned: int, duration_s: float) -> VenueResult:
    counters, written, rows = recorder.counters(), recorder.writer.stats, recorder.snapshotter
    verified = rows.by_integrity[Integrity.VERIFIED]
    time = recorder.ledger.seconds
    return VenueResult(
        markets_scanned=scanned,
        frames=counters.frames,
        snapshots=written.rows,
        files=written.files,
        bytes_per_snapshot=round(written.bytes_written / max(1, written.file_rows), 1),
        books_checked=check.books_checked,
        books_equal=check.books_equal,
        gaps=recorder.gaps.episodes,
        duration_s=round(duration_s, 1),
        frames_per_s=round(counters.frames / duration_s, 1),
        snapshots_per_s=round(written.rows / duration_s, 1),
        verified_share=round(verified / max(1, rows.rows), 4),
        verified_minutes=round(time.verified_share, 4) if time.wanted else None,
        row_verdicts=written.verdicts,
        reconnects=sum(connection.reconnects for connection in recorder.connections),
        repairs=counters.repairs,
        stale_rows=check.stale,
        bytes_on_disk=written.bytes_written,
        journal_bytes=recorder.journal.bytes_written if recorder.journal else 0,
        differences=check.first_differences,
    )

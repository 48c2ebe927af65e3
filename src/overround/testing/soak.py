"""The whole collector over hours of simulated time, watched for anything that grows."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import sys
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from overround.clock import Clock
from overround.collector import VenueStatus, collect
from overround.config import Settings
from overround.exchange import Exchange, ExchangeOptions, GeneratedSource, WorldSpec, test_signing_key
from overround.market import Origin, Venue
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths, scan_snapshots
from overround.testing.warp import WarpClock, warped

__all__ = ["Sample", "SoakResult", "Trend", "run_soak", "trend_of"]

START_MS = 1_790_000_000_000
EXCHANGE = str(Path("overround") / "exchange")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the process.

    Attributes
    ----------
    hours : float
        Simulated, since the start.
    rss_mb : float
        Resident memory of the process, the local exchange included.
    traced_mb : float
        Python memory by tracemalloc, without what the exchange's own modules allocated; NaN where it was not read.
    blocks : int
        Blocks of memory that Python objects hold (``sys.getallocatedblocks``), the exchange's included.
    handles, tasks, threads : int
        Open file handles, tasks of the loop, threads.
    rows, frames, reconnects : int
        So far, both venues together.
    """

    hours: float
    rss_mb: float
    traced_mb: float
    blocks: int
    handles: int
    tasks: int
    threads: int
    rows: int
    frames: int
    reconnects: int


class SoakResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run: its samples, and how it ended.

    Attributes
    ----------
    samples : list of Sample
    rows, frames, files, gaps : int
        Both venues together.
    markets : int
        Markets of which there is a row.
    """

    samples: list[Sample]
    rows: int
    frames: int
    files: int
    gaps: int
    markets: int


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """A straight line through samples.

    Attributes
    ----------
    per_hour : float
        Slope of the least squares.
    level : float
        Mean.
    spread : float
        Largest distance from the mean.
    """

    per_hour: float
    level: float
    spread: float


def trend_of(samples: Sequence[Sample], name: str, *, from_hours: float) -> Trend:
    """The trend of one figure after the warm-up."""
    later = [s for s in samples if s.hours >= from_hours and not math.isnan(getattr(s, name))]
    x = np.array([sample.hours for sample in later])
    y = np.array([float(getattr(sample, name)) for sample in later])
    slope = float(np.polyfit(x, y, 1)[0])
    return Trend(per_hour=slope, level=float(y.mean()), spread=float(np.abs(y - y.mean()).max()))


def run_soak(
    folder: Path,
    settings: Settings,
    *,
    hours: float,
    markets: int,
    seed: int = 3,
    rate_scale: float = 0.05,
    sample_every_s: float = 300.0,
    trace_every: int = 6,
    progress: Callable[[Sample], None] = lambda _: None,
) -> SoakResult:
    """Run exchange and collector for so many simulated hours, on one warped loop and real loopback sockets.

    Parameters
    ----------
    folder : Path
        The lake.
    settings : Settings
        Whose addresses are replaced by the exchange's.
    hours : float
    markets : int
        Of the universe, both venues together.
    seed : int
    rate_scale : float
        Speed of the generated flow; 1 is a busy venue's.
    sample_every_s : float
        Simulated seconds.
    trace_every : int
        Samples from one reading of tracemalloc to the next; 0 leaves it off (tracing slows the run down).
    progress : callable
        Takes each sample.
    """
    with warped() as loop:
        asyncio.set_event_loop(loop)
        clock = WarpClock(loop, start_ms=START_MS)
        try:
            if trace_every:
                tracemalloc.start()
            return loop.run_until_complete(
                _soak(
                    folder, settings, clock, hours=hours, markets=markets, seed=seed, rate_scale=rate_scale,
                    sample_every_s=sample_every_s, trace_every=trace_every, progress=progress,
                )
            )  # fmt: skip
        finally:
            tracemalloc.stop()
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)


async def _soak(
    folder: Path,
    settings: Settings,
    clock: Clock,
    *,
    hours: float,
    markets: int,
    seed: int,
    rate_scale: float,
    sample_every_s: float,
    trace_every: int,
    progress: Callable[[Sample], None],
) -> SoakResult:
    spec = WorldSpec(
        polymarket_markets=-(-markets // 2), kalshi_markets=markets // 2, seed=seed, now_ms=clock.now_ms(),
        rate_scale=rate_scale, keep_truth_s=60.0, windows=False,
    )  # fmt: skip
    source = GeneratedSource(spec, now_ms=clock.now_ms())
    key = test_signing_key()
    exchange = Exchange(
        source, source, port=0, clock=clock, seed=seed, kalshi_public_key=key.public_pem, kalshi_key_id=key.key_id,
        options=ExchangeOptions(tick_ms=50.0),
    )  # fmt: skip
    async with exchange:
        live = pointed_at(settings.model_copy(update={"data_dir": folder}), exchange.urls, key)
        rng, venues = random.Random(seed), list(Venue)
        await scan_venues(live, venues=venues, clock=clock, rng=rng, origin=Origin.SYNTHETIC)
        watch = _Watch(clock, sample_every_s, trace_every, progress)
        recorders = await collect(
            live, venues=venues, clock=clock, rng=rng, origin=Origin.SYNTHETIC, stop=asyncio.Event(),
            duration_s=hours * 3600, on_status=watch.look, status_ms=10_000,
        )  # fmt: skip
        return SoakResult(
            samples=watch.samples,
            rows=sum(recorder.writer.stats.rows for recorder in recorders),
            frames=sum(recorder.counters().frames for recorder in recorders),
            files=sum(recorder.writer.stats.files for recorder in recorders),
            gaps=sum(recorder.gaps.count for recorder in recorders),
            markets=_recorded(LakePaths(folder)),
        )


def _recorded(paths: LakePaths) -> int:
    return sum(scan_snapshots(paths, venue).select(pl.col("market_id").n_unique()).collect().item() for venue in Venue)


class _Watch:
    """Takes a sample now and then, when the collector reports its status."""

    def __init__(self, clock: Clock, every_s: float, trace_every: int, progress: Callable[[Sample], None]) -> None:
        self._clock, self._every_ns, self._progress = clock, int(every_s * 1e9), progress
        self._trace_every = trace_every
        self._began_ns = clock.monotonic_ns()
        self._due_ns = self._began_ns + self._every_ns
        self.samples: list[Sample] = []

    def look(self, statuses: Sequence[VenueStatus]) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._due_ns:
            return
        self._due_ns += self._every_ns
        gc.collect()
        traced = self._trace_every and len(self.samples) % self._trace_every == 0
        sample = Sample(
            hours=(now_ns - self._began_ns) / 3.6e12,
            rss_mb=_resident_mb(),
            traced_mb=_traced_mb() if traced else math.nan,
            blocks=sys.getallocatedblocks(),
            handles=_handles(),
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            rows=sum(status.rows for status in statuses),
            frames=sum(status.frames for status in statuses),
            reconnects=sum(status.reconnects for status in statuses),
        )
        self.samples.append(sample)
        self._progress(sample)


def _traced_mb() -> float:
    """Traced memory of everything but the exchange."""
    snapshot = tracemalloc.take_snapshot().filter_traces(
        (
            tracemalloc.Filter(inclusive=False, filename_pattern=f"*{EXCHANGE}*"),
            tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__),
        )
    )
    return sum(trace.size for trace in snapshot.traces) / 1e6


def _resident_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return math.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _handles() -> int:
    """Open file handles; 0 where the system does not list them."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0

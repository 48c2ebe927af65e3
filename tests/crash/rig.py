"""A collector of both venues as a process of its own, against a local exchange on real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overround.clock import SystemClock
from overround.config import PollingSettings, Settings, StorageSettings
from overround.exchange import Exchange, ExchangeThread, GeneratedSource, WorldSpec, test_signing_key
from overround.market import Origin, Venue
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths

from .witness import Witness, read_witness

PROBE = Path(__file__).with_name("probe.py")
OFFSET = struct.Struct("<q")
# Heavier worlds only cost the machine's other work; a bucket cannot be shorter, files are named by the minute.
QUICK = {
    "max_subs_per_venue": 40,
    "hot_count": 20,
    "rotation_period_secs": 10,
    "snapshot_interval_ms_hot": 250,
    "snapshot_interval_ms_warm": 1_000,
    "subscription_churn_limit_per_minute": 60,
}
FLUSH_S = 1
BUCKET_MS = 60_000


class SharedClock(SystemClock):
    """The machine's clock plus an offset that lies in a file, where other processes read it too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(OFFSET.pack(0))

    @property
    def offset_ns(self) -> int:
        return int(OFFSET.unpack(self.path.read_bytes())[0])

    def step_ms(self, by_ms: float) -> None:
        # In place: a process has the file mapped.
        with self.path.open("r+b") as file:
            file.write(OFFSET.pack(self.offset_ns + int(by_ms * 1e6)))

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        return time.time_ns() + self.offset_ns


@dataclass
class Run:
    """One life of the collector."""

    process: subprocess.Popen[bytes]
    out: Path
    log: Path
    disk: Path
    killed_ms: int | None = None
    died_of: str = ""
    exit_code: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def begun(self, *, patience_s: float = 60) -> None:
        """Wait until the command itself starts."""
        self.wait_for(lambda: self.out.exists() and self.out.stat().st_size > 0, patience_s=patience_s)

    def wait_for(self, true: Any, *, patience_s: float = 60, alive: bool = True) -> None:
        """Wait until ``true()`` holds; fails loudly when it never does."""
        deadline = time.monotonic() + patience_s
        while not true():
            assert not alive or self.process.poll() is None, f"the collector ended: {self.said()[-2000:]}"
            assert time.monotonic() < deadline, f"waited in vain: {self.said()[-2000:]}"
            time.sleep(0.02)

    def said(self) -> str:
        """Standard output and error so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of an event."""
        lines = [line for line in self.said().splitlines() if line.startswith("{") and f'"{name}"' in line]
        return [line for line in map(json.loads, lines) if line["event"] == name]

    def witness(self) -> Witness:
        """What it took in, and what it called durable."""
        return read_witness(self.out)

    def end(self, number: signal.Signals = signal.SIGTERM, *, patience_s: float = 60) -> int:
        """Ask it to end, and wait."""
        self.process.send_signal(number)
        self.exit_code = self.process.wait(patience_s)
        return self.exit_code


class Rig:
    """The exchange, the lake, and the lives of the collector one after the other."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        clock: SharedClock,
        environment: dict[str, str],
        exchange: ExchangeThread,
    ) -> None:
        self.folder, self.settings, self.clock, self.exchange = folder, settings, clock, exchange
        self.paths = LakePaths(settings.data_dir)
        self.runs: list[Run] = []
        self.environment = environment

    def start(
        self,
        *,
        die: dict[str, object] | None = None,
        more: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> Run:
        """Begin a life."""
        number = len(self.runs)
        out, log = self.folder / f"witness-{number}", self.folder / f"log-{number}"
        disk = self.folder / f"disk-{number}"
        probe = {"out": str(out), "offset": str(self.clock.path), "die": die, "disk": str(disk)}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(PROBE), "collect", *arguments],
                env=self.environment | {"PROBE": json.dumps(probe)} | (more or {}),
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        run = Run(process=process, out=out, log=log, disk=disk)
        self.runs.append(run)
        return run

    def bucket_ends_in(self, ms: float) -> None:
        """Move the clock on so that a bucket ends so soon."""
        left_ms = BUCKET_MS - self.clock.now_ms() % BUCKET_MS
        self.clock.step_ms((left_ms - ms) % BUCKET_MS)

    def kill(self, run: Run) -> None:
        """kill -9, unless it has killed itself."""
        ms = self.clock.now_ms()
        run.process.send_signal(signal.SIGKILL)
        run.exit_code = run.process.wait(20)
        died = run.witness().died
        assert run.exit_code == -signal.SIGKILL, run.said()[-3000:]
        run.killed_ms, run.died_of = died or (ms, "random instant")

    def stop_all(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait(20)


def quick_settings(data_dir: Path) -> Settings:
    """Short intervals and the shortest buckets: what happens in an hour happens in a minute."""
    base = Settings()
    venues = base.venues.model_copy(
        update={
            "polymarket": base.venues.polymarket.model_copy(update=QUICK | {"max_tokens_per_connection": 40}),
            "kalshi": base.venues.kalshi.model_copy(update=QUICK | {"max_markets_per_connection": 20}),
        }
    )
    return base.model_copy(
        update={
            "data_dir": data_dir,
            "venues": venues,
            "polling": PollingSettings(universe_reload_secs=5),
            "storage": StorageSettings(
                bucket_secs=60, flush_secs=FLUSH_S, journal_flush_secs=FLUSH_S, compression_level=3
            ),
        }
    )


@contextmanager
def rig(
    folder: Path, *, data_dir: Path | None = None, markets: int = 120, seed: int = 5, exchange_follows: bool = True,
    rate_scale: float = 1.0,
) -> Iterator[Rig]:  # fmt: skip
    """An exchange that serves, a universe that is scanned, and a folder to record into.

    ``exchange_follows`` says whether a step of the collector's clock is one of the world's, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clock = SharedClock(folder / "clock")
    world_clock = clock if exchange_follows else SystemClock()
    spec = WorldSpec(
        polymarket_markets=markets // 2,
        kalshi_markets=markets // 2,
        seed=seed,
        keep_truth_s=30.0,
        windows=False,
        rate_scale=rate_scale,
    )
    source = GeneratedSource(spec, now_ms=world_clock.now_ms())
    key = test_signing_key()
    exchange = Exchange(
        source, source, port=0, clock=world_clock, seed=seed,
        kalshi_public_key=key.public_pem, kalshi_key_id=key.key_id,
    )  # fmt: skip
    pem = folder / "kalshi.pem"
    pem.touch(0o600)
    pem.write_bytes(key.private_pem)
    with ExchangeThread(exchange) as thread:
        settings = pointed_at(quick_settings(data_dir or folder / "lake"), thread.urls, key)
        asyncio.run(scan_venues(settings, venues=list(Venue), clock=clock, rng=random.Random(seed), origin=Origin.LIVE))
        made = Rig(folder, settings, clock, environment_of(settings, pem), thread)
        try:
            yield made
        finally:
            made.stop_all()


def environment_of(settings: Settings, pem: Path) -> dict[str, str]:
    """The settings as a process is told them."""
    told = {"OVERROUND_DATA_DIR": str(settings.data_dir)}
    for table in ("storage", "polling"):
        for name, value in getattr(settings, table).model_dump(exclude_unset=True).items():
            told[f"OVERROUND_{table.upper()}__{name.upper()}"] = str(value)
    for venue in Venue:
        named = getattr(settings.venues, venue)
        names = [*QUICK, "ws_url", "rest_url", "open_per_second", "rate_fraction"]
        names += (
            ["clob_url", "max_tokens_per_connection"] if venue is Venue.POLYMARKET else ["max_markets_per_connection"]
        )
        for name in names:
            told[f"OVERROUND_VENUES__{venue.upper()}__{name.upper()}"] = str(getattr(named, name))
    told["OVERROUND_MONITORING__PORT"] = "0"
    told["OVERROUND_VENUES__KALSHI__API_KEY"] = settings.venues.kalshi.api_key
    told["OVERROUND_VENUES__KALSHI__PRIVATE_KEY_PATH"] = str(pem)
    return {**{name: value for name, value in os.environ.items() if not name.startswith("OVERROUND_")}, **told}

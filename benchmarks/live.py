"""The local exchange on one core and a real `overround collect` process on the other, for what is measured from outside."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from rounds import CLIENT_CORE

from overround.clock import SystemClock
from overround.config import Settings
from overround.exchange import Exchange, ExchangeThread, GeneratedSource, WorldSpec, test_signing_key
from overround.market import Origin, Venue
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues

__all__ = ["Live", "Used"]

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """What the collector has used and done since its start, at one moment.

    Attributes
    ----------
    wall_s, cpu_s : float
    resident_bytes : int
    figures : mapping of str to float
        Its own, summed over labels.
    """

    wall_s: float
    cpu_s: float
    resident_bytes: int
    figures: Mapping[str, float]


class Live:
    """A collector at work, until the context ends.

    Parameters
    ----------
    folder : Path
    markets : dict of Venue to int
        Markets that each venue lists, all of them held.
    rate : float
        Multiplies the generated flow.
    more : mapping of str to str
        Further settings, as environment variables.
    """

    def __init__(
        self, folder: Path, *, markets: Mapping[Venue, int], rate: float, more: Mapping[str, str] | None = None
    ) -> None:
        clock = SystemClock()
        spec = WorldSpec(
            polymarket_markets=max(1, markets.get(Venue.POLYMARKET, 0)),
            kalshi_markets=max(1, markets.get(Venue.KALSHI, 0)),
            seed=5,
            rate_scale=rate,
            keep_truth_s=5.0,
            windows=False,
            now_ms=clock.now_ms(),
        )
        source = GeneratedSource(spec)
        key = test_signing_key()
        exchange = Exchange(
            source, source, port=0, clock=clock, kalshi_public_key=key.public_pem, kalshi_key_id=key.key_id
        )
        self.thread = ExchangeThread(exchange).start()
        self.lake = folder / "lake"
        settings = pointed_at(Settings(data_dir=self.lake), self.thread.urls, key)
        venues = [venue for venue in Venue if markets.get(venue)]
        asyncio.run(scan_venues(settings, venues=venues, clock=clock, rng=random.Random(1), origin=Origin.LIVE))
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        pem = folder / "kalshi.pem"
        pem.touch(0o600)
        pem.write_bytes(key.private_pem)
        told = {"DATA_DIR": str(self.lake), "MONITORING__PORT": str(self.port)}
        for venue in Venue:
            named = getattr(settings.venues, venue)
            names = ["ws_url", "rest_url", "open_per_second", "rate_fraction"]
            names += ["clob_url"] if venue is Venue.POLYMARKET else ["api_key"]
            told |= {f"VENUES__{venue.upper()}__{name.upper()}": str(getattr(named, name)) for name in names}
            told[f"VENUES__{venue.upper()}__MAX_SUBS_PER_VENUE"] = str(max(1, markets.get(venue, 0)))
            told[f"VENUES__{venue.upper()}__ENABLED"] = str(venue in venues)
        told["VENUES__KALSHI__PRIVATE_KEY_PATH"] = str(pem)
        told |= more or {}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERROUND_")}
        environment |= {f"OVERROUND_{name}": value for name, value in told.items()}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from overround.cli import main; main()", "collect"],
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        os.sched_setaffinity(self.process.pid, {CLIENT_CORE})
        self.client = httpx2.Client(base_url=self.url, timeout=30)

    def begun(self, *, live: int, patience_s: float = 60) -> None:
        """Wait until so many books stand."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                if self.figures().get("overround_live_books", 0) >= live:
                    return
            except httpx2.HTTPError:
                pass
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"{self.figures().get('overround_live_books')} books of {live}"
            time.sleep(0.5)

    def figures(self) -> dict[str, float]:
        """The collector's own figures, summed over labels."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.client.get("/metrics").text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    def cpu_s(self) -> float:
        """Processor time of the collector so far, to a hundredth of a second."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def used(self) -> Used:
        """Everything at this moment."""
        figures = self.figures()
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return Used(time.monotonic(), self.cpu_s(), pages * os.sysconf("SC_PAGE_SIZE"), figures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self.thread.stop()

"""How long `rules detect-arb --follow` takes from a change of books to the line that says so.

    python benchmarks/following.py [SECONDS]

The local exchange plants arbitrage in 400 markets, a collector records all of them twice a second with the usual flush, and
the command follows in a process of its own. Counted from the first stored book that shows a finding to its line.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from overround.clock import SystemClock
from overround.collector import collect
from overround.config import MockSettings, Settings
from overround.market import Origin, Venue
from overround.ops import configure_logging
from overround.pipelines.mock import mock_exchange, world_of
from overround.pipelines.scan import scan_venues

MARKETS = 400


def settings_for(root: Path) -> Settings:
    base = Settings()
    whole = {"max_subs_per_venue": MARKETS, "hot_count": MARKETS, "snapshot_interval_ms_hot": 500}
    venues = base.venues.model_copy(
        update={
            "polymarket": base.venues.polymarket.model_copy(update=whole),
            "kalshi": base.venues.kalshi.model_copy(update=whole),
        }
    )
    mock = MockSettings(enabled=True, markets=MARKETS, seed=7)
    return base.model_copy(update={"data_dir": root, "mock": mock, "venues": venues})


def main(seconds: int) -> None:
    configure_logging(level="error", stream=sys.stderr, json=None)
    said: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(Path(folder))
        spec = msgspec.structs.replace(
            world_of(markets=MARKETS, seed=7), planted=30, plant_from_s=12.0, plant_every_s=1.5, plant_for_s=8.0
        )
        with mock_exchange(settings, spec=spec) as (live, _):

            async def run() -> subprocess.Popen[str]:
                rng, clock = random.Random(1), SystemClock()
                known = {"venues": list(Venue), "clock": clock, "rng": rng, "origin": Origin.SYNTHETIC}
                await scan_venues(live, **known)
                command = [Path(sys.executable).with_name("overround"), "rules", "detect-arb", "--follow", "--json"]
                command += ["--duration", str(seconds), "--data-dir", folder]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                reader = threading.Thread(
                    target=lambda: said.extend((time.time(), line) for line in process.stderr or ()), daemon=True
                )
                reader.start()
                await collect(live, **known, stop=asyncio.Event(), duration_s=seconds - 15)
                return process

            process = asyncio.run(run())
        assert process.stdout is not None
        told = json.loads(process.stdout.read())
        process.wait(60)
    began: dict[str, list[float]] = defaultdict(list)
    for episode in told["episodes"]:
        second = datetime.fromtimestamp(episode["start_ms"] / 1_000, tz=UTC).strftime("%H:%M:%S")
        began[second].append(episode["start_ms"] / 1_000)
    took = sorted(at - began[line[:8]].pop(0) for at, line in said if " begins" in line and began[line[:8]])
    print(f"{len(told['episodes'])} episodes, {len(took)} of them told while they stood")
    print(f"seconds from book to line: {took[0]:.1f} to {took[-1]:.1f}, median {statistics.median(took):.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)

"""A real collector reads its settings again while it records, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import polars as pl
import pytest

from overround.clock import SystemClock
from overround.config import MockSettings
from overround.market import Origin, Venue
from overround.pipelines.demo import demo_settings
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues
from overround.pipelines.truth_check import check_rows, stored_rows
from overround.storage import CollectorLock, LakePaths, gaps_of, newest_universe, partitions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OVERROUND = [sys.executable, "-c", "from overround.cli import main; main()"]
CLEAN = {name: text for name, text in os.environ.items() if not name.startswith("OVERROUND_")}


class Rig:
    """A settings file, the collector that runs by it, and what can be asked of both."""

    def __init__(self, folder: Path, settings: Any) -> None:
        self.folder, self.file, self.lake = folder, folder / "s.toml", folder / "lake"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        venues = settings.venues
        key = folder / "key.pem"
        key.touch(mode=0o600)
        key.write_text(venues.kalshi.api_secret.get_secret_value())
        common: dict[str, Any] = {
            "max_subs_per_venue": 12, "hot_count": 4, "snapshot_interval_ms_hot": 500, "snapshot_interval_ms_warm": 2_000,
            "open_per_second": 20.0, "rate_fraction": 1.0, "enabled": True,
        }  # fmt: skip
        self.tables: dict[str, dict[str, Any]] = {
            "": {"data_dir": str(self.lake)},
            "monitoring": {"port": self.port},
            "storage": {"flush_secs": 1},
            "logging": {"level": "info"},
            "venues.polymarket": common
            | {"ws_url": venues.polymarket.ws_url, "rest_url": venues.polymarket.rest_url, "clob_url": venues.polymarket.clob_url},
            "venues.kalshi": common
            | {"ws_url": venues.kalshi.ws_url, "rest_url": venues.kalshi.rest_url, "api_key": venues.kalshi.api_key,
               "private_key_path": str(key)},
        }  # fmt: skip
        self.write()

    def write(self, table: str | None = None, **values: object) -> None:
        if table is not None:
            self.tables[table] |= values
        parts = (
            (f"[{name}]\n" if name else "") + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for name, values in self.tables.items()
        )
        self.file.write_text("\n".join(parts))

    def reload(self) -> tuple[int, str]:
        done = subprocess.run(
            [*OVERROUND, "reload", "--config", str(self.file)],
            cwd=self.folder, env=CLEAN, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def venues(self) -> dict[str, dict[str, Any]]:
        try:
            found = httpx2.get(f"http://127.0.0.1:{self.port}/status", timeout=10).json()
        except httpx2.TransportError:
            return {}
        return {venue["venue"]: venue for venue in found["venues"]}

    def figures(self, name: str) -> dict[str, float]:
        return {venue: found["figures"][name] for venue, found in self.venues().items()}


def until(holds: Callable[[], bool], *, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has neither SIGHUP nor SIGTERM to send")
def test_limits_intervals_and_venues_change_while_nothing_is_lost(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path / "unused", markets=120, seed=5)
    settings = settings.model_copy(update={"mock": MockSettings(enabled=True, markets=120, seed=5)})
    with mock_exchange(settings) as (live, thread):
        rig = Rig(tmp_path, live)
        listed = live.model_copy(update={"data_dir": rig.lake})
        # Kalshi is listed by the collector itself, when it is switched on.
        asyncio.run(
            scan_venues(
                listed, venues=[Venue.POLYMARKET], clock=SystemClock(), rng=random.Random(1), origin=Origin.LIVE
            )
        )
        rig.write("venues.kalshi", enabled=False)
        with subprocess.Popen(
            [*OVERROUND, "collect", "--config", str(rig.file)],
            cwd=tmp_path, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                until(lambda: rig.figures("live") == {"polymarket": 12})

                # Limits and intervals at once; what cannot change is refused by name, with the reason.
                rig.write("venues.polymarket", max_subs_per_venue=30, hot_count=20, snapshot_interval_ms_hot=250)
                rig.write("storage", bucket_secs=60)
                rig.write("logging", level="debug")
                code, said = rig.reload()
                assert code == 3, said
                assert "venues.polymarket.max_subs_per_venue is 30 now" in said
                assert "storage.bucket_secs stays until a restart: open files" in said
                until(lambda: rig.figures("live") == {"polymarket": 30} and rig.figures("hot") == {"polymarket": 20})
                rig.write("storage", bucket_secs=300)

                # A file that does not read changes nothing, whoever asks.
                good = rig.file.read_text()
                rig.file.write_text(good.replace("hot_count = 20", "hot_cuont = 3"))
                code, said = rig.reload()
                assert code == 2
                assert "hot_count" in said
                assert "running collectors keep their settings" in said
                process.send_signal(signal.SIGHUP)
                time.sleep(1)
                rig.file.write_text(good)
                code, said = rig.reload()
                assert code == 0
                assert "nothing has changed" in said
                assert rig.figures("hot") == {"polymarket": 20}

                # A venue that cannot begin costs the other nothing.
                rig.write("venues.kalshi", enabled=True)
                with CollectorLock(LakePaths(rig.lake), "kalshi"):
                    code, said = rig.reload()
                assert code == 3
                assert f"kalshi could not begin, the next reload tries again: process {os.getpid()} is already" in said
                assert rig.figures("live") == {"polymarket": 30}

                # A venue is switched on by SIGHUP (and listed first), and off again; the other goes on.
                rig.write("venues.kalshi", enabled=True)
                process.send_signal(signal.SIGHUP)
                until(lambda: rig.figures("live") == {"polymarket": 30, "kalshi": 12})
                time.sleep(2)
                rig.write("venues.kalshi", enabled=False)
                code, said = rig.reload()
                assert (code, list(rig.venues())) == (0, ["polymarket"]), said

                # To switch off the last one is refused as a whole.
                rig.write("venues.polymarket", enabled=False)
                code, said = rig.reload()
                assert code == 2
                assert "no venue is enabled" in said
                rig.write("venues.polymarket", enabled=True, max_subs_per_venue=8, hot_count=4)
                assert rig.reload()[0] == 0
                until(lambda: rig.figures("subscriptions") == {"polymarket": 8})
                time.sleep(1.5)
            finally:
                process.terminate()
                out, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]

        # What libraries say is written at debug only: it begins with the change.
        told = [
            line["event"] for line in lines if line["event"] == "settings.reloaded" or line.get("logger") == "httpx2"
        ]
        assert told[0] == "settings.reloaded"
        assert any(event.startswith("HTTP Request") for event in told)

        # No connection of the venue that stayed was opened anew, and the book of no market was lost.
        opened = Counter(line["connection"].split(".")[0] for line in lines if line["event"] == "connection.opened")
        assert all(times == 1 for slot, times in opened.items() if slot.startswith("polymarket")), opened
        assert not [
            line
            for line in lines
            if line["event"] in {"connection.lost", "book.gap"} and "polymarket" in line.get("connection", "")
        ]
        assert sum(line["event"] == "settings.unchanged" for line in lines) == 2
        paths = LakePaths(rig.lake)
        day = lines[0]["ts"][:10]
        assert gaps_of(paths, "polymarket", day).collect().is_empty()
        # Every row stored equals the truth, of both venues; markets held throughout have a row at every interval.
        for venue in Venue:
            found = newest_universe(paths, venue, now_ms=SystemClock().now_ms())
            assert found is not None
            firsts = {str(market.market_id): str(market.outcome_ids[0]) for market in found.markets}
            rows = stored_rows((part.scan() for part in partitions(paths, venue)), first_outcomes=firsts)
            check = check_rows(rows, truth_url=thread.urls.truth_url, venue=venue, top_k=50)
            assert check.books_checked > 50
            assert check.books_equal == check.books_checked, check.first_differences
        stored = pl.read_parquet(
            f"{rig.lake}/orderbook_snapshots/venue=polymarket/**/*.parquet", hive_partitioning=False
        )
        held = stored.group_by("market_id", "outcome_id").agg(
            longest=pl.col("ts_recv").sort().diff().max(), span=pl.col("ts_recv").max() - pl.col("ts_recv").min()
        )
        throughout = held.filter(pl.col("span") > held["span"].max() - 3_000)
        assert len(throughout) >= 8
        assert throughout["longest"].max() <= 2_000 + 1_000
        (off,) = [line for line in lines if line["event"] == "venue.switched_off"]
        assert (off["venue"], off["rows_waiting"]) == ("kalshi", 0)
        assert off["rows"] > 0
        assert {line["venue"] for line in lines if line["event"] == "collect.stopped"} == {"polymarket"}
    assert not list((rig.lake / "control").glob("*.json"))


@pytest.mark.parametrize("there", [True, False])
def test_nobody_there_is_one_clear_error(tmp_path: Path, *, there: bool) -> None:
    lake = tmp_path if there else tmp_path / "none"
    done = subprocess.run(
        [*OVERROUND, "reload", "--data-dir", str(lake)], cwd=tmp_path, env=CLEAN, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 1
    assert f"no collector records into {lake}" in done.stderr
    assert "--data-dir" in done.stderr
    assert lake.exists() is there

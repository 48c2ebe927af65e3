"""Every alert, fired by its cause and cleared after it: a real collector, Prometheus, Alertmanager, and who is told."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crash.rig import Rig, Run, rig
from crash.small_disk import fill, mounted
from overround.config import StorageSettings
from overround.exchange.fault_script import Fault
from overround.market import MarketId, Origin, OutcomeId, Venue
from overround.services.exposition import LABELS
from overround.storage import LakePaths, SnapshotWriter, newest_universe, read_run_counts
from overround.testing.clock import ManualClock

from .dashboard import queries
from .servers import FOLDER, Watch, free_port, hastened_rules, watching

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="prometheus: no such packages on Windows"),
]

SEVERITIES = dict(
    re.findall(r"- alert: (\w+)\n(?:.*\n)*?\s+labels: \{severity: (\w+)\}", (FOLDER / "rules.yml").read_text())
)
PM, KALSHI = Venue.POLYMARKET, Venue.KALSHI
Alert = tuple[str, str]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", megabytes=64) as folder:
        yield folder


async def leave_old_rows(paths: LakePaths, venue: Venue, *, at_ms: int) -> None:
    """A lake whose newest row of a venue was stored at a time."""
    clock = ManualClock(at_ms)
    writer = SnapshotWriter(paths, venue, settings=StorageSettings(), top_k=50, origin=Origin.LIVE, clock=clock)
    writer.start()
    key = writer.buffer.register(MarketId("old"), (OutcomeId("yes"), OutcomeId("no")))
    writer.buffer.append(
        key, at_ms, {4_000: 1_000_000}, {5_000: 1_000_000},
        seq=1, source_ts=None, stale=False, err=None, integrity="verified",
    )  # fmt: skip
    await writer.stop()


class Operator:
    """Makes causes and takes them away, and waits for what is told of them."""

    def __init__(self, held: Rig, watch: Watch, port: int) -> None:
        self.held, self.watch, self._port = held, watch, port
        self.seen: set[str] = set()

    def start(self) -> Run:
        """A life of the collector."""
        more = {"OVERROUND_MONITORING__PORT": str(self._port), "OVERROUND_SILENCE__AUDIT_AFTER_SECS": "5"}
        # A second connection of a market would be one of those that can be closed.
        more["OVERROUND_SILENCE__CANARIES_PER_CONNECTION"] = "0"
        return self.held.start(more=more)

    def inject(self, kind: str, venue: Venue, **how: Any) -> int:
        """Begin a fault of the exchange; its number ends it."""
        number: int = self.held.exchange.call(
            self.held.exchange.exchange.desk.add, Fault(kind=kind, venue=venue, **how)
        )
        return number

    def end(self, *numbers: int) -> None:
        """End faults."""
        for number in numbers:
            self.held.exchange.call(self.held.exchange.exchange.desk.end, number)

    @contextmanager
    def awaited(self, *alerts: Alert, patience_s: float = 60) -> Iterator[None]:
        """Inside, the cause is made; after it these alerts must be told of, which did not fire before."""
        receiver, missed = self.watch.receiver, set(alerts)
        before = len(receiver.told)
        assert not receiver.firing() & missed, "fires without its cause"
        yield
        receiver.wait(
            lambda: missed <= receiver.told_of(before), patience_s=patience_s, what=f"awaited {sorted(missed)}"
        )
        self.seen |= {name for name, _ in alerts}

    def cleared(self, *alerts: Alert, patience_s: float = 60) -> None:
        """The cause is gone: these must be taken back."""
        receiver, gone = self.watch.receiver, set(alerts)
        receiver.wait(
            lambda: not receiver.firing() & gone, patience_s=patience_s, what=f"awaited the end of {sorted(gone)}"
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command of an operator, on the lake or the running collector."""
        environment = self.held.environment | {"OVERROUND_MONITORING__PORT": str(self._port), "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, "-c", "from overround.cli import main; main()", *words],
            env=environment, cwd=self.held.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def tries(self, *words: str, code: int) -> str:
        """What a command says, which must end so."""
        with self.begin(*words) as process:
            said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        return said


def test_only_waits_and_windows_are_hastened() -> None:
    ours, hastened = (FOLDER / "rules.yml").read_text().splitlines(), hastened_rules((FOLDER / "rules.yml").read_text())
    changed = [(a, b) for a, b in zip(ours, hastened.splitlines(), strict=True) if a != b]
    assert changed
    length = re.compile(r"(for: |\[)\w+")
    assert all(length.sub("", a) == length.sub("", b) for a, b in changed)
    assert set(SEVERITIES) == set(re.findall(r"- alert: (\w+)", "\n".join(ours)))


def test_every_alert_fires_for_its_cause_and_clears_after_it(tmp_path: Path, small_disk: Path) -> None:
    port = free_port()
    with (
        rig(tmp_path / "rig", data_dir=small_disk / "lake") as held,
        watching(tmp_path / "watch", collector=port) as watch,
    ):
        operator = Operator(held, watch, port)
        began_s = time.monotonic()

        def lap(what: str) -> None:
            print(f"{time.monotonic() - began_s:6.1f} s  {what}")

        # A lake of which one venue's newest row is a quarter of an hour old, the other's seven hours; nobody records.
        now_ms = held.clock.now_ms()
        asyncio.run(leave_old_rows(held.paths, KALSHI, at_ms=now_ms - 900_000))
        asyncio.run(leave_old_rows(held.paths, PM, at_ms=now_ms - 7 * 3_600_000))
        with operator.awaited(("OverroundDown", "")):
            pass
        lap("down")

        # It starts, and no venue lets it in.
        stale = [("OverroundStale", KALSHI), ("OverroundStaleForHours", PM)]
        away = [("OverroundDisconnected", KALSHI), ("OverroundDisconnected", PM)]
        doors = [operator.inject("refuse", venue) for venue in Venue]
        with operator.awaited(*stale, *away):
            run = operator.start()
        operator.cleared(("OverroundDown", ""))
        assert "no connection" in operator.tries("health", code=1)
        # Older than hours says more than older than minutes: it is evaluated, and not told.
        assert watch.ask('ALERTS{alertname="OverroundStale",venue="polymarket",alertstate="firing"}')
        assert ("OverroundStale", PM) not in watch.receiver.firing()
        operator.end(*doors)
        operator.cleared(*stale, *away)
        lap("stale, disconnected")
        run.wait_for(lambda: well(watch) and not watch.receiver.firing(), patience_s=60)
        lap("recording")

        # One of two connections is lost and does not come back; a venue sends a new field; jobs fail.
        half = [("OverroundPartlyDisconnected", PM), ("OverroundVerifiedShareLow", PM)]
        changed = [("OverroundDrift", KALSHI), ("OverroundPipelineFailures", "")]
        with operator.awaited(*half, *changed):
            door = operator.inject("refuse", PM)
            operator.inject("close", PM, params={"mode": "abort"})
            # Not every frame is looked at: it comes until it has been noticed.
            new_field = operator.inject("extra_field", KALSHI, params={"count": 100_000})
            jobs = [operator.begin("mine", "--venue", "kalshi", "--date", "2020-01-01") for _ in range(3)]
            reasons = {job.communicate(timeout=60)[0].splitlines()[0].removeprefix("error: ") for job in jobs}
        assert {read_run_counts(held.paths)["mine"][KALSHI].reason} == reasons
        assert "unheard_of" in operator.tries("drift", "--venue", "kalshi", code=1)
        operator.end(door, new_field)
        operator.cleared(*half, *changed)
        assert "reconnecting" in operator.tries("coverage", "--venue", "polymarket", "--date", "today", code=0)
        lap("partly disconnected, verified share, drift, pipelines")

        # The disk is full.
        full = [("OverroundFlushFailing", PM), ("OverroundFlushFailing", KALSHI), ("OverroundDiskLow", "")]
        with operator.awaited(*full):
            ballast = fill(small_disk)
        ballast.unlink()
        operator.cleared(*full)
        assert {line["venue"] for line in run.events("storage.recovered")} == set(Venue)
        assert not run.events("storage.rows_dropped")
        lap("disk")

        # Both venues are silent but for heartbeats. Kalshi ends its connections once, and its REST fails: so does every
        # repair of its books. Polymarket lets connections stand, and its REST refuses every request then.
        marked = [("OverroundMarketMarked", KALSHI), ("OverroundBreakerOpen", KALSHI)]
        silent, refused = [("OverroundSilent", PM), ("OverroundRepairStorm", PM)], [("OverroundApiErrors", PM)]
        with operator.awaited(*marked):
            failing = [operator.inject("http_status", KALSHI, duration_ms=300_000, params={"status": 503})]
            failing.append(operator.inject("silence", KALSHI, connection="all"))
            operator.inject("close", KALSHI, connection="all", params={"mode": "abort"})
            with operator.awaited(*silent):
                mute = operator.inject("silence", PM, connection="all")
            assert watch.ask('overround_frozen_connections_total{venue="polymarket"} > 0')
            lap("silent, storm")
            with operator.awaited(*refused):
                forbidden = operator.inject("http_status", PM, duration_ms=300_000, params={"status": 403})
            lap("REST refused")
            operator.end(mute, forbidden)
        assert run.events("book.marked")
        lap("marked, breaker")
        operator.end(*failing)
        operator.cleared(*silent, *refused, *marked)
        lap("all of it over")

        # The process is killed.
        with operator.awaited(("OverroundDown", "")):
            held.kill(run)
        again = operator.start()
        operator.cleared(("OverroundDown", ""))
        again.wait_for(lambda: well(watch) and not watch.receiver.firing(), patience_s=60)
        lap("killed")

        assert operator.seen == set(SEVERITIES)
        wrong = {
            (path, labels["alertname"])
            for path, _, labels in watch.receiver.told
            if path != {"page": "/now", "ticket": "/later"}[SEVERITIES[labels["alertname"]]]
        }
        assert not wrong, "told to the wrong receiver"
        assert labels_that_are_none(watch, held.paths) == []
        empty = {title for title, query in queries() if not watch.range(query, seconds=time.monotonic() - began_s)}
        assert empty == set(), "panels without data"
        assert again.end() == 0


def well(watch: Watch) -> bool:
    """Both venues' books are verified, as Prometheus has it."""
    verified = 'sum by (venue) (overround_books{integrity="verified"}) / sum by (venue) (overround_books) > 0.95'
    return len(watch.ask(verified)) == len(watch.ask("overround_live_books >= 35")) == 2


def labels_that_are_none(watch: Watch, paths: LakePaths) -> list[tuple[str, str, str]]:
    """Labels of our series that are not venues, reasons or stages, or whose values are no plain words."""
    known = {market.market_id for venue in Venue for market in newest_universe(paths, venue, now_ms=1 << 50).markets}
    found = []
    for series in watch.series('{__name__=~"overround_.*"}'):
        for label, value in series.items():
            if label in {"__name__", "instance", "job", "le", "version"}:
                continue
            plain = re.fullmatch(r"[a-z_]+", value) is not None or label == "host"
            if label not in LABELS or value in known or not plain:
                found.append((series["__name__"], label, value))
    return found

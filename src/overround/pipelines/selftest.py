"""The fault matrix: real ``collect`` processes against the local exchange, and the check of what they recorded.

Each run is one ``overround collect`` as a user starts it (its own process, real sockets), against an exchange of its
own that injects faults on both venues, knows the truth and writes down what it sent. When the faults are over and
every book has been sent whole again, the collector gets SIGTERM. Then four claims are checked, per venue:

1. every stored row outside recorded gaps equals the truth, and is no older than what had been sent;
2. recorded gaps cover exactly what was lost (:mod:`overround.pipelines.gap_check`);
3. the process stayed up, ended 0 and wrote no traceback;
4. at the end every market was verified again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from overround.clock import Clock
from overround.config import PollingSettings, Settings, StorageSettings
from overround.exchange import (
    Exchange,
    ExchangeOptions,
    ExchangeThread,
    ExchangeUrls,
    Fault,
    GeneratedSource,
    SigningKey,
    WorldSpec,
    test_signing_key,
)
from overround.exchange.deliveries import Delivery, Told, frame_sum
from overround.market import Integrity, MarketStatus, Origin, Venue
from overround.pipelines.fault_cells import FaultCell
from overround.pipelines.gap_check import GapCheck, check_gaps
from overround.pipelines.loss_oracle import Deliveries, Span, merged, outside
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.pipelines.truth_check import StoredRow, TruthCheck, check_rows, stored_rows
from overround.storage import JOURNAL, LakePaths, newest_universe, partitions, read_journal
from overround.timebucket import date_of

__all__ = ["STILL_MS", "CellResult", "held_at_end", "run_cell", "run_cells"]

LISTED, MARKETS = 250, 40
"""Listed per venue (several pages), and subscribed, on two connections."""
HOT_MS, WARM_MS = 500, 1_000
AUDIT_S, AUDIT_TOLERANCE_MS = 5, 500
LIVE_S = 20
CALM_MS = 1_500
SETTLE_MS = 2_500
RECENT_MS = WARM_MS + 1_000
"""A market's last row is no older at the end."""
FRESH_MS = 1_000
"""A row must show what had been sent so long before it."""
STOP_S = 20
POLL_S, WHOLE_S = 0.05, 0.5
SCAN_S = 45
REST_SETTLES_MS = 12_000
"""A difference that REST shows is looked at again before it counts: so long until it is in the ledger and repaired."""
STILL_MS = 1_000
"""An exchange that stands still for longer says nothing about the collector."""


class CellResult(msgspec.Struct, kw_only=True):
    """One venue's half of a run.

    Attributes
    ----------
    cell, venue : str
    seed : int
    problems : list of str
        Empty when everything holds.
    rows, rows_equal, rows_in_gaps, rows_stale : int
        Rows outside recorded gaps and those of them that are right; rows inside gaps; rows marked stale.
    oldest_ms : int
        The most that a row outside gaps lagged behind what had been sent.
    gaps : GapCheck
    injected : list of dict
        The exchange's fault log.
    verified, held : int
        Markets whose last row is verified, of those held at the end.
    still_ms : int
        How long the exchange itself stood still at most; beyond ``STILL_MS`` a failure says nothing.
    took_s, fault_s : float
        The whole run; from the first fault to the last market made whole.
    script : str
        Faults as a script.
    repeat : str
        Command that runs the cell again.
    """

    cell: str
    venue: str
    seed: int
    problems: list[str]
    rows: int
    rows_equal: int
    rows_in_gaps: int
    rows_stale: int
    oldest_ms: int
    gaps: GapCheck
    injected: list[dict[str, Any]]
    verified: int
    held: int
    still_ms: int
    took_s: float
    fault_s: float
    script: str
    repeat: str

    @property
    def ok(self) -> bool:
        """Whether the cell holds."""
        return not self.problems


class _Run(msgspec.Struct, kw_only=True):
    """What a run left behind."""

    settings: Settings
    truth_url: str
    lines: dict[Venue, list[Any]]
    faults: dict[Venue, list[dict[str, Any]]]
    stop_ms: int
    fault_ms: int
    problems: dict[Venue, list[str]]
    over: dict[str, int]


def run_cell(
    cell: FaultCell,
    *,
    venues: Sequence[Venue],
    folder: Path,
    clock: Clock,
    longest_s: float = 60.0,
    say: Callable[[str], None] = lambda _: None,
) -> list[CellResult]:
    """Run one cell and check it; one result per venue.

    Parameters
    ----------
    cell : FaultCell
    venues : sequence of Venue
    folder : Path
        Empty or not there yet; the lake, the settings and the collector's log are written there.
    clock : Clock
    longest_s : float
        Seconds after the faults by which everything must be whole again.
    say : callable
        Takes one line of progress.
    """
    began = time.monotonic()
    with _exchange(cell.seed, clock) as (thread, key):
        run = _run(cell, thread, key, venues=venues, folder=folder, clock=clock, longest_s=longest_s, say=say)
        say("checking")
        results = [_check(cell, run, venue) for venue in venues]
    for result in results:
        result.took_s = round(time.monotonic() - began, 1)
    return results


def run_cells(
    cells: Sequence[FaultCell],
    *,
    venues: Sequence[Venue],
    folder: Path,
    clock: Clock,
    longest_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[CellResult]:
    """Run cells one after another; the folder of a cell that holds is removed, that of one that fails is kept."""
    for number, cell in enumerate(cells):
        own = folder / f"{number:02d} {cell.name}".replace(" ", "-")
        own.mkdir(parents=True)
        here = [venue for venue in venues if venue in cell.venues]
        results = run_cell(cell, venues=here, folder=own, clock=clock, longest_s=longest_s, say=say)
        if all(result.ok for result in results):
            shutil.rmtree(own, ignore_errors=True)
        yield from results


# ---------------------------------------------------------------- the run


@contextmanager
def _exchange(seed: int, clock: Clock) -> Iterator[tuple[ExchangeThread, SigningKey]]:
    spec = WorldSpec(
        polymarket_markets=LISTED, kalshi_markets=LISTED, seed=seed, windows=False, planted=0, now_ms=clock.now_ms()
    )
    source, key = GeneratedSource(spec), test_signing_key()
    served = Exchange(
        source,
        source,
        port=0,
        clock=clock,
        seed=seed,
        options=ExchangeOptions(log_deliveries=True),
        kalshi_public_key=key.public_pem,
        kalshi_key_id=key.key_id,
    )
    with ExchangeThread(served) as thread:
        yield thread, key


def cell_settings(data_dir: Path, urls: ExchangeUrls, key: SigningKey) -> Settings:
    """The collector's settings in a cell: short intervals, two connections per venue, no rotation."""
    base = pointed_at(Settings(data_dir=data_dir), urls, key)
    quick = {
        "max_subs_per_venue": MARKETS,
        "hot_count": MARKETS // 2,
        "rotation_period_secs": 3_600,
        "snapshot_interval_ms_hot": HOT_MS,
        "snapshot_interval_ms_warm": WARM_MS,
    }
    half = MARKETS // 2
    venues = base.venues.model_copy(
        update={
            # Every change is proved: between two samples a loss may come and heal unseen.
            "polymarket": base.venues.polymarket.model_copy(
                update=quick | {"max_tokens_per_connection": 2 * half, "hash_sample_every": 1, "hash_cpu_share": 1.0}
            ),
            "kalshi": base.venues.kalshi.model_copy(update=quick | {"max_markets_per_connection": half}),
        }
    )
    silence = base.silence.model_copy(
        update={
            "audit_after_secs": AUDIT_S,
            "tolerance_ms": AUDIT_TOLERANCE_MS,
            "stall_ms": AUDIT_TOLERANCE_MS,
            "first_book_secs": AUDIT_S,
        }
    )
    return base.model_copy(
        update={
            "venues": venues,
            "silence": silence,
            "polling": PollingSettings(),
            "storage": StorageSettings(bucket_secs=60, flush_secs=1, journal_flush_secs=1),
        }
    )


def _run(
    cell: FaultCell,
    thread: ExchangeThread,
    key: SigningKey,
    *,
    venues: Sequence[Venue],
    folder: Path,
    clock: Clock,
    longest_s: float,
    say: Callable[[str], None],
) -> _Run:
    settings = cell_settings(folder / "lake", thread.urls, key)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "settings.toml"
    key_file = folder / "key.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_pem)
    config.write_text(_toml(_plain(settings, key_file, venues)))
    problems: dict[Venue, list[str]] = {venue: [] for venue in venues}
    listed = _scan_here(settings, venues, clock)
    for fault in cell.first:
        if fault.venue in venues:
            thread.call(thread.exchange.desk.add, fault)
    command = [sys.executable, "-c", "from overround.cli import main; main()"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERROUND_")}
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    log = folder / "collect.log"
    with log.open("wb") as out, subprocess.Popen(  # noqa: S603 - our own command
        [*command, "collect", str(config), "--log-level", "info"],
        cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, creationflags=flags,
    ) as process:  # fmt: skip
        try:
            say("waiting for the first books")
            if not _wait(lambda: _n_live(thread, venues) >= len(venues) * MARKETS, LIVE_S, process) and not cell.first:
                for venue in venues:
                    problems[venue].append(f"not every market was live within {LIVE_S} s")
            time.sleep(CALM_MS / 1000)
            say("injecting")
            fault_ms = clock.now_ms()
            for fault in _aimed(cell, thread, venues):
                thread.call(thread.exchange.desk.add, fault)
            scan = _scan_process(command, config, environment) if cell.scans else None
            last_ms = max((fault.at_ms or 0 for fault in cell.faults), default=0)
            time.sleep(last_ms / 1000 + 0.1)
            say("waiting until everything is whole")
            over = _wait(lambda: _over(thread, venues), longest_s, process)
            if scan is not None:
                _judge_scan(scan, settings, venues, listed, problems, during=True)
                again = _scan_process(command, config, environment)
                _judge_scan(again, settings, venues, listed, problems, during=False)
            whole = _wait(lambda: _whole(thread, venues), longest_s, process, every_s=WHOLE_S)
            time.sleep(SETTLE_MS / 1000)
            for venue in venues:
                if not (over and whole) and not _whole(thread, [venue]):
                    problems[venue].append(f"not whole {longest_s:.0f} s after its faults")
            if process.poll() is not None:
                for venue in venues:
                    problems[venue].append(f"collect ended by itself with {process.returncode}")
            lines = {venue: thread.call(thread.exchange.deliveries[venue].lines.copy) for venue in venues}
            stop_ms = clock.now_ms()
            say("stopping")
            process.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM))
            try:
                code = process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                code = -9
        finally:
            if process.poll() is None:
                process.kill()
    told = log.read_text(encoding="utf-8", errors="replace")
    for venue in venues:
        if code:
            problems[venue].append(f"collect ended with {code} at SIGTERM")
        if "Traceback" in told:
            problems[venue].append("collect printed a traceback: " + told[told.index("Traceback") :][:400])
    return _Run(
        settings=settings,
        truth_url=thread.urls.truth_url,
        lines=lines,
        faults={venue: thread.call(thread.exchange.desk.report, venue) for venue in venues},
        stop_ms=stop_ms,
        fault_ms=fault_ms,
        problems=problems,
        over=dict(thread.call(lambda: thread.exchange.ended)),
    )


def _wait(
    done: Callable[[], bool], longest_s: float, process: subprocess.Popen[bytes], *, every_s: float = POLL_S
) -> bool:
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline and process.poll() is None:
        if done():
            return True
        time.sleep(every_s)
    return done()


def _n_live(thread: ExchangeThread, venues: Sequence[Venue]) -> int:
    def count() -> int:
        return sum(len(thread.exchange.deliveries[venue].shown) for venue in venues)

    return int(thread.call(count))


def _over(thread: ExchangeThread, venues: Sequence[Venue]) -> bool:
    def over() -> bool:
        reports = [record for venue in venues for record in thread.exchange.desk.report(venue)]
        # A mute market that ended is subscribed no more: nothing revives it.
        return all(record["state"] == "done" or record["market"] in thread.exchange.ended for record in reports)

    return bool(thread.call(over))


def _whole(thread: ExchangeThread, venues: Sequence[Venue]) -> bool:
    for venue in venues:
        lines = thread.call(thread.exchange.deliveries[venue].lines.copy)
        if not lines:
            return False
        over = dict(thread.call(lambda: thread.exchange.ended))
        read = Deliveries(lines, end_ms=lines[-1].ts_ms, absolute=venue is Venue.POLYMARKET, over=over)
        if not read.whole or time.time() * 1000 - read.shown_by_rest_ms < REST_SETTLES_MS:
            return False
    return True


def _aimed(cell: FaultCell, thread: ExchangeThread, venues: Sequence[Venue]) -> list[Fault]:
    """Faults on a drawn connection are aimed at one that carries books for the record, not at a canary's."""
    rng = random.Random(f"aim:{cell.seed}")
    found = []
    for fault in cell.faults:
        if fault.venue not in venues:
            continue
        if cell.kinds and fault.connection == "any" and fault.at_ms == 0:
            hub = thread.exchange.hubs[fault.venue]
            sizes = thread.call(lambda hub=hub: {link.number: len(hub.markets_of(link)) for link in hub.links()})
            main = sorted(number for number, size in sizes.items() if size * 2 >= max(sizes.values()))
            if main:
                fault = msgspec.structs.replace(fault, connection=rng.choice(main))
        found.append(fault)
    return found


# ---------------------------------------------------------------- scans


def _scan_here(settings: Settings, venues: Sequence[Venue], clock: Clock) -> dict[Venue, set[str]]:
    """List the venues before the collector starts."""
    asyncio.run(scan_venues(settings, venues=venues, clock=clock, rng=random.Random(1), origin=Origin.LIVE))
    return {venue: _listed(settings, venue) for venue in venues}


def _listed(settings: Settings, venue: Venue) -> set[str]:
    found = newest_universe(LakePaths(settings.data_dir), venue, now_ms=int(time.time() * 1000))
    return {str(m.market_id) for m in found.markets if m.status is not MarketStatus.VANISHED} if found else set()


def _scan_process(command: Sequence[str], config: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [*command, "scan", str(config)], cwd=config.parent, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _judge_scan(
    scan: subprocess.Popen[bytes],
    settings: Settings,
    venues: Sequence[Venue],
    listed: Mapping[Venue, set[str]],
    problems: Mapping[Venue, list[str]],
    *,
    during: bool,
) -> None:
    """A scan is whole or it fails; either way the universe on disk is whole."""
    when = "during the fault" if during else "after the fault"
    try:
        out, _ = scan.communicate(timeout=SCAN_S)
    except subprocess.TimeoutExpired:
        scan.kill()
        out, _ = scan.communicate()
    told = out.decode(errors="replace")
    for venue in venues:
        missing = len(listed[venue] - _listed(settings, venue))
        if missing:
            problems[venue].append(f"after a scan {when} the universe lacks {missing} markets")
        if "Traceback" in told:
            problems[venue].append(f"scan {when} printed a traceback: {told[told.index('Traceback') :][:400]}")
        elif scan.returncode not in ({0, 1, 3} if during else {0}):
            problems[venue].append(f"scan {when} ended with {scan.returncode}: {told[-200:]}")


# ---------------------------------------------------------------- the check


def _check(cell: FaultCell, run: _Run, venue: Venue) -> CellResult:
    paths = LakePaths(run.settings.data_dir)
    problems = run.problems[venue]
    deliveries = Deliveries(
        run.lines[venue],
        end_ms=run.stop_ms,
        absolute=venue is Venue.POLYMARKET,
        over=run.over,
        received=_received(paths, venue),
    )
    gaps, detected, rows_of_gaps = _gaps(paths, venue, deliveries)
    compared = check_gaps(
        deliveries, gaps, run.faults[venue], detected=detected,
        interval_ms=WARM_MS, audit_ms=AUDIT_S * 1000 + AUDIT_TOLERANCE_MS + 2 * 1000,
    )  # fmt: skip
    compared.gaps = rows_of_gaps
    truth, in_gaps, oldest_ms = _rows(paths, run, venue, deliveries, gaps, problems)
    if truth.books_checked != truth.books_equal:
        differ = truth.books_checked - truth.books_equal
        problems.append(f"{differ} rows outside gaps differ from the truth: {truth.first_differences[:3]}")
    if not truth.books_checked:
        problems.append("no row was stored")
    if compared.unrecorded:
        problems.append(f"{len(compared.unrecorded)} losses are not in the ledger: {compared.unrecorded[:3]}")
    if compared.invented:
        problems.append(f"{len(compared.invented)} gaps exceed their bound: {compared.invented[:3]}")
    problems += compared.overlooked
    for fault in run.faults[venue]:
        if fault["state"] == "waiting":
            problems.append(f"the fault {fault['kind']} was never injected")
    verified, held = _final(paths, run, venue, deliveries, problems)
    still_ms = _stood_still(run.lines[venue])
    if problems and still_ms > STILL_MS:
        problems.append(
            f"the exchange itself stood still for {still_ms / 1000:.1f} s: the machine was too busy to judge by"
        )
    healed = [loss.end_ms or run.stop_ms for loss in deliveries.losses]
    return CellResult(
        cell=cell.name,
        venue=venue.value,
        seed=cell.seed,
        problems=problems,
        rows=truth.books_checked,
        rows_equal=truth.books_equal,
        rows_in_gaps=in_gaps,
        rows_stale=truth.stale,
        oldest_ms=oldest_ms,
        gaps=compared,
        injected=run.faults[venue],
        verified=verified,
        held=held,
        still_ms=still_ms,
        took_s=0.0,
        fault_s=round(max(0, max(healed, default=run.fault_ms) - run.fault_ms) / 1000, 1),
        script=cell.script(),
        repeat=cell.repeat(),
    )


def _stood_still(lines: Sequence[Delivery]) -> int:
    """The longest time in which nothing happened in a market that trades many times a second."""
    times = [line.ts_ms for line in lines if line.told is Told.HAPPENED]
    return max((after - before for before, after in pairwise(times)), default=0)


def _received(paths: LakePaths, venue: Venue) -> dict[int, list[int]]:
    """When the collector received each frame, by its checksum, out of the journal."""
    found: dict[int, list[int]] = {}
    for day in paths.days(JOURNAL, venue.value):
        for hour in paths.hours(JOURNAL, venue.value, day):
            for path in paths.journal_files(venue.value, day, hour):
                for entry in read_journal(path):
                    if entry.recv_ns is not None and entry.frame:
                        found.setdefault(frame_sum(bytes(entry.frame)), []).append(entry.recv_ns // 1_000_000)
    return found


def _gaps(
    paths: LakePaths, venue: Venue, deliveries: Deliveries
) -> tuple[dict[str, list[Span]], dict[str, list[int]], int]:
    """Recorded gaps by market, when they were noticed, and their number.

    A gap of the whole venue counts for each market, an open one lasts to the end.
    """
    from overround.storage import gaps_of

    first = deliveries.end_ms - 3_600_000
    days = sorted({date_of(ms) for ms in (first, deliveries.end_ms)})
    table = gaps_of(paths, venue.value, days).select("market_id", "start_ms", "end_ms", "detected_ms").collect()
    spans: dict[str, list[Span]] = {}
    detected: dict[str, list[int]] = {}
    for market_id, start_ms, end_ms, detected_ms in table.iter_rows():
        span = (start_ms, deliveries.end_ms if end_ms is None else min(end_ms, deliveries.end_ms))
        if span[0] <= span[1]:
            for key in [market_id] if market_id else deliveries.markets:
                spans.setdefault(key, []).append(span)
                detected.setdefault(key, []).append(detected_ms)
    return spans, detected, table.height


def _rows(
    paths: LakePaths,
    run: _Run,
    venue: Venue,
    deliveries: Deliveries,
    gaps: Mapping[str, Sequence[Span]],
    problems: list[str],
) -> tuple[TruthCheck, int, int]:
    """Compare stored rows outside gaps with the truth, and with what had been sent by then."""
    universe = newest_universe(paths, venue, now_ms=run.stop_ms)
    firsts = {str(m.market_id): str(m.outcome_ids[0]) for m in universe.markets} if universe else {}
    cover = {key: merged(spans) for key, spans in gaps.items()}
    inside = 0

    def bare() -> Iterator[StoredRow]:
        nonlocal inside
        for row in stored_rows((part.scan() for part in partitions(paths, venue)), first_outcomes=firsts):
            if outside((row.ts_recv, row.ts_recv), cover.get(row.market_id, ())):
                yield row
            else:
                inside += 1

    old: list[str] = []
    oldest = 0

    def on_equal(row: StoredRow, number: int) -> None:
        nonlocal oldest
        if row.status == "stale" or deliveries.least_known(row.market_id, row.ts_recv - 50) <= number:
            return
        sent_ms = deliveries.known_since(row.market_id, number)
        oldest = max(oldest, row.ts_recv - sent_ms)
        if row.ts_recv - sent_ms > FRESH_MS:
            old.append(
                f"{row.market_id} at {row.ts_recv} shows state {number}, {row.ts_recv - sent_ms} ms after the next was sent"
            )

    truth = check_rows(bare(), truth_url=run.truth_url, venue=venue, top_k=run.settings.top_k, on_equal=on_equal)
    if old:
        problems.append(f"{len(old)} rows outside gaps are out of date: {old[:3]}")
    return truth, inside, oldest


def _final(paths: LakePaths, run: _Run, venue: Venue, deliveries: Deliveries, problems: list[str]) -> tuple[int, int]:
    """Markets whose last row is verified and recent, of those that were held at the end."""
    import polars as pl

    frames = [part.scan().select("market_id", "ts_recv", "status", "integrity") for part in partitions(paths, venue)]
    if not frames:
        return 0, 0
    last = pl.concat(frames).sort("ts_recv").group_by("market_id").last().collect()
    found = {row["market_id"]: row for row in last.iter_rows(named=True)}
    never = MARKETS - len(deliveries.markets)
    if never > 0:
        problems.append(f"{never} markets never got their first book")
    held = held_at_end(deliveries, run.over, had_by_ms=run.stop_ms - RECENT_MS)
    poor = []
    for key in held:
        row = found.get(key)
        recent = row is not None and row["ts_recv"] >= run.stop_ms - RECENT_MS
        if row is None or not recent or row["status"] == "stale" or row["integrity"] != Integrity.VERIFIED:
            poor.append(
                f"{key}: {'no row' if row is None else (row['status'], row['integrity'], run.stop_ms - row['ts_recv'])}"
            )
    if poor:
        problems.append(f"{len(poor)} of {len(held)} markets are not verified at the end: {poor[:3]}")
    return len(held) - len(poor), len(held)


def held_at_end(deliveries: Deliveries, over: Mapping[str, int], *, had_by_ms: int) -> list[str]:
    """Markets that must have a row of the end: neither over nor let go, and whose first book came early enough for one.

    The rotation puts another market in the place of one that resolved, perhaps just before the end.
    """
    return [
        key
        for key in deliveries.markets
        if key not in over and not deliveries.let_go(key) and (deliveries.next_book(key, 0) or 0) <= had_by_ms
    ]


# ---------------------------------------------------------------- settings as a file


def _plain(settings: Settings, key_file: Path, venues: Sequence[Venue]) -> dict[str, Any]:
    """The settings as plain values; the key stands in a file of its own."""
    tree: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    for venue in Venue:
        tree["venues"][venue.value]["enabled"] = venue in venues
        tree["venues"][venue.value]["api_secret"] = ""
    tree["venues"]["kalshi"]["private_key_path"] = str(key_file)
    tree["monitoring"]["enabled"] = False  # cells follow each other faster than a port is free again
    tree.pop("db", None)
    return tree


def _toml(tree: Mapping[str, Any], name: str = "") -> str:
    """A tree of tables, texts, numbers and switches as TOML (JSON's texts, numbers and switches are TOML's)."""
    tables = {key: value for key, value in tree.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in tree.items() if key not in tables]
    text = (f"[{name}]\n" if name and lines else "") + "".join(line + "\n" for line in lines)
    return text + "".join(_toml(value, f"{name}.{key}" if name else key) for key, value in tables.items())

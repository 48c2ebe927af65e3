"""`overround verify --deep` and `overround lake rebuild` on lakes that the real collector recorded."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from overround.cli.app import root
from overround.clock import SystemClock
from overround.collector import checkpoint, recorder
from overround.collector.runs import find_runs
from overround.config import Settings
from overround.errors import LakeLocked, UsageError
from overround.exchange import ExchangeThread, Fault, FaultScript
from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import Proof, prove_day, span_of
from overround.pipelines.rebuild_lake import rebuild_lake
from overround.storage import JOURNAL, ROW_SCHEMA, SNAPSHOTS, FrameJournal, LakePaths, scan_snapshots
from overround.storage.fileops import FileOps
from overround.storage.manifest import append_line, read_manifests

from .road import travel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

KEY = ("market_id", "outcome_id", "ts_recv")
FAULTS: list[dict[str, object]] = [
    {"kind": "sequence_gap", "at_ms": 2_000},
    {"kind": "close", "at_ms": 3_500, "params": {"mode": "abort"}},
    {"kind": "drop", "at_ms": 5_500, "params": {"count": 3, "every": 5}},
    {"kind": "tick_change", "at_ms": 6_500},
    {"kind": "resolution", "at_ms": 7_000},
    {"kind": "cut_frame", "at_ms": 8_000},
    {"kind": "late", "at_ms": 9_000, "params": {"count": 3}},
    {"kind": "missing_first_book", "at_ms": 9_500, "params": {"count": 2}},
    {"kind": "refuse", "at_ms": 10_000, "duration_ms": 1_500},
    {"kind": "close", "at_ms": 10_100, "params": {"mode": "hang_up"}},
]


def rotating(settings: Settings) -> Settings:
    """Markets come and go within the test."""
    quick = {"rotation_period_secs": 4, "subscription_churn_limit_per_minute": 200}
    venues = settings.venues
    parts = {name: getattr(venues, name).model_copy(update=quick) for name in ("polymarket", "kalshi")}
    return settings.model_copy(update={"venues": venues.model_copy(update=parts)})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of both venues with faults; its journal is cut into files of four seconds, with a checkpoint in each."""
    folder = tmp_path_factory.mktemp("recorded")
    script = FaultScript(tuple(Fault(venue=venue, **fault) for venue in Venue for fault in FAULTS))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "FrameJournal", partial(short_files, FrameJournal))
        patch.setattr(recorder, "STATE_MS", 2_000)
        patch.setattr(recorder, "STATE_COST", 0)
        trip = travel(folder, duration_s=14, faults=script, change=rotating)
    assert all(trip.faults[venue] for venue in Venue)
    return folder


def short_files(journal: Callable[..., FrameJournal], *args: Any, **options: Any) -> FrameJournal:
    return journal(*args, **options | {"bucket_s": 4})


@pytest.fixture
def lake(recorded: Path, tmp_path: Path) -> LakePaths:
    """A copy that may be spoilt."""
    shutil.copytree(recorded, tmp_path / "lake", ignore=shutil.ignore_patterns(".locks"))
    return LakePaths(tmp_path / "lake")


def prove(paths: LakePaths, venue: Venue, **options: Any) -> Proof:
    """All recorded days together: a test may run over midnight."""
    proofs = [prove_day(paths, venue, span_of(day, None), **options) for day in paths.days(SNAPSHOTS, str(venue))]
    return max(proofs, key=lambda proof: proof.rows) if len(proofs) > 1 else proofs[0]


def files(paths: LakePaths, venue: Venue) -> list[Path]:
    return [
        path
        for day in paths.days(SNAPSHOTS, str(venue))
        for hour in paths.hours(SNAPSHOTS, str(venue), day)
        for path in paths.bucket_files(SNAPSHOTS, str(venue), day, hour)
    ]


def journals(paths: LakePaths, venue: Venue) -> list[Path]:
    days = paths.days(JOURNAL, venue)
    return [part.path for run in find_runs(paths, venue, days, from_ms=0, to_ms=1 << 60) for part in run.parts]


def rewrite(paths: LakePaths, venue: Venue, path: Path, rows: pa.Table) -> None:
    """Write a file anew as its own writer would: sorted or not, with its description, and listed with its checksum."""
    held = pq.read_schema(path).metadata
    pq.write_table(rows.replace_schema_metadata(held), path, compression="zstd")
    day = path.parents[1].name.removeprefix("date=")
    manifests = paths.manifests(SNAPSHOTS, str(venue), day)
    name = path.relative_to(paths.day(SNAPSHOTS, str(venue), day)).as_posix()
    line = read_manifests(manifests)[name]
    times = rows.column("ts_recv")
    data = path.read_bytes()
    changed = {
        "rows": rows.num_rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "first_ts": pc.min(times).as_py(),
        "last_ts": pc.max(times).as_py(),
    }
    import msgspec

    append_line(FileOps(), manifests[0], msgspec.structs.replace(line, **changed))


def altered(value: Any, name: str, rng: random.Random) -> Any:
    """Another value of the same type, as near as can be."""
    if isinstance(value, list):
        if not value or rng.random() < 0.3:
            return [*value, 0.5]
        if rng.random() < 0.3:
            return value[:-1]
        at = rng.randrange(len(value))
        return [*value[:at], float(np.nextafter(value[at], 2)), *value[at + 1 :]]
    if isinstance(value, float):
        return 0.25 if value != value else float(np.nextafter(value, 2))
    if isinstance(value, int):
        return value + rng.choice([-1, 1])
    words = {"status": ("ok", "stale"), "integrity": ("verified", "unverified"), "err": ("gap", None)}
    if name in words:
        return next(word for word in words[name] if word != value)
    return 1 if name == "source_ts" else f"{value}x"


@pytest.mark.parametrize("venue", list(Venue))
def test_an_untouched_lake_is_proved_to_its_last_value(recorded: Path, venue: Venue) -> None:
    proof = prove(LakePaths(recorded), venue)
    assert (proof.findings, proof.unproved, proof.notes) == ([], [], [])
    assert proof.exit_code == 0
    assert proof.proved == proof.rows > 500
    stored = scan_snapshots(LakePaths(recorded), venue).collect()
    assert set(stored["status"]) >= {"ok", "stale"}
    assert len(set(stored["err"])) >= 3


@pytest.mark.parametrize("name", ROW_SCHEMA.names)
def test_one_altered_value_is_found_in_a_file_written_anew(lake: LakePaths, name: str) -> None:
    # crc32-like spread without the process's own hash seed.
    rng = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]))
    venue = rng.choice(list(Venue))
    path = rng.choice(files(lake, venue))
    with path.open("rb") as file:
        rows = pq.read_table(file)
    row, values = rng.randrange(rows.num_rows), rows.column(name).to_pylist()
    before, values[row] = values[row], altered(values[row], name, rng)
    field = rows.schema.field(name)
    at = rows.schema.get_field_index(name)
    rewrite(lake, venue, path, rows.set_column(at, field, pa.array(values, field.type)))
    problems = verify_lake(lake, venue=str(venue)).problems
    assert not {str(problem.kind) for problem in problems} & {"checksum", "manifest", "unreadable", "schema"}
    proof = prove(lake, venue)
    assert proof.exit_code == 1
    (finding,) = proof.findings
    assert finding.kind == "value"
    assert (finding.file, finding.row) == (path.relative_to(lake.root).as_posix(), row)
    assert finding.column.split("[")[0] == name
    told = (finding.stored, finding.expected)
    if isinstance(before, list) and "[" in finding.column:
        place = int(finding.column.partition("[")[2].rstrip("]"))
        assert told == (values[row][place], before[place])
    else:
        assert repr(told) == repr((values[row], before))


@pytest.mark.parametrize("venue", list(Venue))
def test_rows_taken_out_put_in_or_doubled_are_found(lake: LakePaths, venue: Venue) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    with path.open("rb") as file:
        rows = pq.read_table(file)
    taken = rows.num_rows // 3
    without = pa.concat_tables([rows.slice(0, taken), rows.slice(taken + 1)])
    rewrite(lake, venue, path, without)
    (finding,) = prove(lake, venue).findings
    assert (finding.kind, finding.row) == ("missing", None)
    assert (finding.market_id, finding.ts_recv) == tuple(
        rows.column(n)[taken].as_py() for n in ("market_id", "ts_recv")
    )
    rewrite(lake, venue, path, pa.concat_tables([rows.slice(0, taken + 1), rows.slice(taken)]))
    (finding,) = prove(lake, venue).findings
    assert finding.kind == "added"
    # A row of a market and an instant that there never was.
    foreign = rows.slice(taken, 1).set_column(2, rows.schema.field(2), pa.array(["somebody"]))
    foreign = foreign.set_column(4, rows.schema.field(4), pa.array([10**6]))
    for name, value in (("best_bid_sz", 1.0), ("best_ask_sz", 2.0), ("source_ts", 3)):
        at = rows.schema.get_field_index(name)
        foreign = foreign.set_column(at, rows.schema.field(at), pa.array([value], rows.schema.field(at).type))
    rewrite(lake, venue, path, pa.concat_tables([rows, foreign]))
    (finding,) = prove(lake, venue).findings
    assert (finding.kind, finding.market_id, finding.row) == ("added", "somebody", rows.num_rows)
    path.unlink()
    proof = prove(lake, venue)
    assert proof.n_findings == rows.num_rows
    assert {finding.kind for finding in proof.findings} == {"missing"}


@pytest.mark.parametrize("venue", list(Venue))
def test_without_a_journal_nothing_is_proved_and_nothing_is_called_wrong(lake: LakePaths, venue: Venue) -> None:
    shutil.rmtree(lake.table(JOURNAL, str(venue)))
    proof = prove(lake, venue)
    assert (proof.exit_code, proof.n_findings, proof.proved) == (3, 0, 0)
    assert proof.unproved_rows == proof.rows == sum(stretch.rows for stretch in proof.unproved)


@pytest.mark.parametrize("gone", ["first", "middle", "last", "tail"])
@pytest.mark.parametrize("venue", list(Venue))
def test_what_a_missing_or_torn_journal_leaves_open_is_said_and_the_rest_is_proved(
    lake: LakePaths, venue: Venue, gone: str
) -> None:
    parts = journals(lake, venue)
    assert len(parts) >= 4
    if gone == "tail":
        parts[-1].write_bytes(parts[-1].read_bytes()[: parts[-1].stat().st_size // 2])
    else:
        parts[{"first": 0, "middle": 1, "last": -1}[gone]].unlink()
    proof = prove(lake, venue)
    assert (proof.exit_code, proof.findings) == (3, [])
    assert proof.proved + proof.unproved_rows == proof.rows
    assert proof.proved > 100
    assert proof.unproved
    assert all(stretch.why for stretch in proof.unproved)
    if gone in ("first", "middle"):
        # A checkpoint takes it up again.
        ends = max(stretch.to_ms for stretch in proof.unproved)
        assert scan_snapshots(lake, venue).filter(pl.col("ts_recv") > ends).collect().height > 50


def test_an_altered_value_beside_a_hole_is_still_found(lake: LakePaths) -> None:
    venue = Venue.KALSHI
    journals(lake, venue)[0].unlink()
    last = files(lake, venue)[-1]
    with last.open("rb") as file:
        rows = pq.read_table(file)
    newest = int(np.argmax(rows.column("ts_recv").to_numpy()))
    values = rows.column("seq").to_pylist()
    values[newest] += 1
    rewrite(lake, venue, last, rows.set_column(4, rows.schema.field(4), pa.array(values)))
    proof = prove(lake, venue)
    assert (proof.exit_code, [finding.column for finding in proof.findings]) == (1, ["seq"])


def test_one_market_and_one_hour_can_be_asked_about(recorded: Path) -> None:
    paths, venue = LakePaths(recorded), Venue.POLYMARKET
    stored = scan_snapshots(paths, venue).collect()
    market = stored["market_id"][0]
    assert prove(paths, venue, market=market).rows == stored.filter(pl.col("market_id") == market).height
    day = paths.days(SNAPSHOTS, venue)[0]
    hour = int(paths.hours(SNAPSHOTS, venue, day)[0])
    proof = prove_day(paths, venue, span_of(day, [hour]))
    assert (proof.exit_code, proof.proved) == (0, proof.rows)


def test_two_runs_of_one_bucket_are_told_apart(tmp_path: Path) -> None:
    for seed in (11, 11):
        travel(tmp_path, duration_s=3, venues=[Venue.KALSHI], seed=seed)
    proof = prove(LakePaths(tmp_path), Venue.KALSHI)
    assert (proof.exit_code, proof.runs, proof.proved) == (0, 2, proof.rows)


def test_a_lake_is_proved_while_it_is_recorded(tmp_path: Path) -> None:
    proofs: list[Proof] = []

    async def look(_: ExchangeThread, __: Settings) -> None:
        await asyncio.sleep(5)
        proofs.append(await asyncio.to_thread(prove, LakePaths(tmp_path), Venue.POLYMARKET))

    travel(tmp_path, duration_s=7, venues=[Venue.POLYMARKET], meanwhile=look)
    (proof,) = proofs
    assert (proof.exit_code, proof.findings, proof.unproved) == (0, [], [])
    assert proof.proved > 50


def test_a_replay_by_other_code_says_so(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overround.collector import runs
    from overround.pipelines import prove as module

    for place in (module, runs, checkpoint):
        monkeypatch.setattr(place, "code_digest", lambda: "other")
    proof = prove(LakePaths(recorded), Venue.KALSHI)
    assert proof.exit_code == 0
    assert any("recorded by other code" in note for note in proof.notes)


def test_refused_proofs_are_journalled_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PROOF_SHARE", 1e-9)
    monkeypatch.setattr(recorder, "ProofBudget", partial(recorder.ProofBudget, burst_ns=3_000_000))
    travel(tmp_path, duration_s=4, venues=[Venue.POLYMARKET])
    stored = scan_snapshots(LakePaths(tmp_path), Venue.POLYMARKET).collect()
    assert {"verified", "unverified"} <= set(stored["integrity"]), "the budget ran out on the way"
    proof = prove(LakePaths(tmp_path), Venue.POLYMARKET)
    assert (proof.exit_code, proof.proved) == (0, proof.rows)


# -- rebuilding ---------------------------------------------------------------------------------------


def rebuilt(paths: LakePaths, venue: Venue, **options: Any) -> list[Any]:
    days = paths.days(JOURNAL, str(venue))
    return [rebuild_lake(paths, venue, span_of(day, None), level=3, clock=SystemClock(), **options) for day in days]


@pytest.mark.parametrize("venue", list(Venue))
def test_a_rebuilt_lake_holds_the_same_rows(recorded: Path, tmp_path: Path, venue: Venue) -> None:
    paths, out = LakePaths(recorded), LakePaths(tmp_path / "again")
    results = rebuilt(paths, venue, out=out.root)
    assert all(result.exit_code == 0 for result in results)
    stored = scan_snapshots(paths, venue).sort(KEY).collect()
    assert scan_snapshots(out, venue).sort(KEY).collect().equals(stored)
    assert [path.name for path in files(out, venue)] == [path.name for path in files(paths, venue)]
    assert verify_lake(out, venue=str(venue), top_k=50).ok
    with pytest.raises(UsageError, match="already"):
        rebuilt(paths, venue, out=out.root)
    rebuilt(paths, venue, out=out.root, overwrite=True)
    assert scan_snapshots(out, venue).sort(KEY).collect().equals(stored)
    with pytest.raises(UsageError, match="the lake itself"):
        rebuilt(paths, venue, out=recorded)


def test_in_place_an_altered_file_is_mended(lake: LakePaths) -> None:
    venue = Venue.KALSHI
    stored = scan_snapshots(lake, venue).sort(KEY).collect()
    path = files(lake, venue)[0]
    with path.open("rb") as file:
        rows = pq.read_table(file)
    rewrite(lake, venue, path, rows.slice(1))
    files(lake, venue)[-1].unlink()
    rebuilt(lake, venue, out=None)
    assert scan_snapshots(lake, venue).sort(KEY).collect().equals(stored)
    assert verify_lake(lake, venue=str(venue), top_k=50).ok
    assert prove(lake, venue).exit_code == 0
    assert not (lake.root / ".rebuild").exists()


def test_in_place_a_file_that_the_journal_does_not_wholly_give_is_left_alone(lake: LakePaths) -> None:
    venue = Venue.POLYMARKET
    parts = journals(lake, venue)
    parts[0].unlink()
    before = {path: path.read_bytes() for path in files(lake, venue)}
    results = rebuilt(lake, venue, out=None)
    assert {result.exit_code for result in results} == {3}
    kept = [path for path in before if path.read_bytes() == before[path]]
    assert kept
    assert sorted(name for result in results for name in result.kept) == sorted(
        f"{path.parent.name}/{path.name}" for path in kept
    )


def test_in_place_is_refused_while_it_is_recorded(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    async def meddle(_: ExchangeThread, __: Settings) -> None:
        await asyncio.sleep(3)
        try:
            await asyncio.to_thread(rebuilt, LakePaths(tmp_path), Venue.KALSHI, out=None)
        except LakeLocked as exc:
            refused.append(exc)

    travel(tmp_path, duration_s=4, venues=[Venue.KALSHI], meanwhile=meddle)
    assert refused


# -- commands -----------------------------------------------------------------------------------------


def test_the_commands_say_what_they_found(lake: LakePaths) -> None:
    venue, day = Venue.KALSHI, LakePaths(lake.root).days(SNAPSHOTS, "kalshi")[0]
    ask = ["verify", "--venue", venue.value, "--date", day, "--data-dir", str(lake.root)]

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(root, list(arguments), standalone_mode=False)
        assert done.exception is None, done.exception
        return int(done.return_value or 0), done.output

    assert call(*ask)[0] == 0
    code, said = call(*ask, "--deep")
    assert code == 0
    assert "rows are as the journal gives them" in said
    path = files(lake, venue)[0]
    with path.open("rb") as file:
        rows = pq.read_table(file)
    values = rows.column("best_bid_sz").to_pylist()
    values[7] += 1
    rewrite(lake, venue, path, rows.set_column(6, rows.schema.field(6), pa.array(values)))
    code, said = call(*ask, "--deep")
    assert code == 1
    assert "best_bid_sz" in said
    code, said = call(
        "lake", "rebuild", "--from", "journal", "--venue", "kalshi", "--date", day, "--data-dir", str(lake.root)
    )
    assert code == 0
    assert (lake.root.with_name("lake.rebuilt") / "orderbook_snapshots").is_dir()

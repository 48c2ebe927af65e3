"""`overround verify --deep` and `overround lake rebuild` on lakes that the real collector recorded."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner

from overround.cli.app import root
from overround.clock import SystemClock
from overround.collector import checkpoint, recorder
from overround.config import Settings
from overround.errors import LakeLocked, UsageError
from overround.exchange import ExchangeThread
from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import Proof, prove_day, span_of
from overround.pipelines.rebuild_lake import rebuild_lake
from overround.storage import JOURNAL, SNAPSHOTS, LakePaths, scan_snapshots

from .lakes import KEY, files, journals, prove, read, rewrite
from .road import travel

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(180)]


@pytest.mark.parametrize("venue", list(Venue))
def test_an_untouched_lake_is_proved_to_its_last_value(recorded: Path, venue: Venue) -> None:
    proof = prove(LakePaths(recorded), venue)
    assert (proof.findings, proof.unproved, proof.notes) == ([], [], [])
    assert proof.exit_code == 0
    assert proof.proved == proof.rows > 500
    assert proof.minutes > 100
    assert proof.unproved_minutes == 0
    stored = scan_snapshots(LakePaths(recorded), venue).collect()
    assert set(stored["status"]) >= {"ok", "stale"}
    assert len(set(stored["err"])) >= 3


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
    assert proof.unproved_minutes > 0, "what the ledger counted in the hole cannot be told"
    assert proof.unproved
    assert all(stretch.why for stretch in proof.unproved)
    if gone in ("first", "middle"):
        # A checkpoint takes it up again.
        ends = max(stretch.to_ms for stretch in proof.unproved)
        assert scan_snapshots(lake, venue).filter(pl.col("ts_recv") > ends).collect().height > 50


@pytest.mark.parametrize("venue", list(Venue))
def test_wherever_a_journal_is_torn_no_row_is_called_wrong(lake: LakePaths, venue: Venue) -> None:
    for part in journals(lake, venue)[1:3]:
        whole = part.read_bytes()
        # The first block holds hardly more than the line that names the file.
        for size in [300, 1_000, *range(4_000, len(whole), len(whole) // 4)]:
            part.write_bytes(whole[:size])
            proof = prove(lake, venue)
            assert (proof.findings, proof.exit_code) == ([], 3), size
            assert proof.proved + proof.unproved_rows == proof.rows
        part.write_bytes(whole)


def test_an_altered_value_beside_a_hole_is_still_found(lake: LakePaths) -> None:
    venue = Venue.KALSHI
    journals(lake, venue)[0].unlink()
    last = files(lake, venue)[-1]
    rows = read(last)
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


def test_rows_polled_without_a_key_are_proved(tmp_path: Path) -> None:
    travel(tmp_path, duration_s=4, venues=[Venue.KALSHI], keyless=True)
    proof = prove(LakePaths(tmp_path), Venue.KALSHI)
    assert (proof.exit_code, proof.findings, proof.unproved) == (0, [], [])
    assert proof.proved == proof.rows > 100
    assert proof.minutes > 50


def test_two_runs_of_one_bucket_are_told_apart(tmp_path: Path) -> None:
    for seed in (11, 11):
        travel(tmp_path, duration_s=3, venues=[Venue.KALSHI], seed=seed)
    proof = prove(LakePaths(tmp_path), Venue.KALSHI)
    assert (proof.exit_code, proof.runs, proof.proved, proof.unproved_minutes) == (0, 2, proof.rows, 0)


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
    rows = read(path)
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
    named = {name for result in results for name in result.kept}
    # Also that of a bucket that has no journal at all.
    assert named >= {f"{path.parent.name}/{path.name}" for path in before if path.read_bytes() == before[path]}
    assert all(path.read_bytes() == before[path] for path in before if f"{path.parent.name}/{path.name}" in named)
    assert f"{(first := min(before)).parent.name}/{first.name}" in named


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
    rows = read(path)
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


def test_what_chooses_nothing_is_refused_with_a_hint(recorded: Path) -> None:
    day = LakePaths(recorded).days(SNAPSHOTS, "kalshi")[0]
    ask = ["verify", "--venue", "kalshi", "--date", day, "--data-dir", str(recorded)]

    def refusal(*arguments: str) -> str:
        done = CliRunner().invoke(root, [*ask, *arguments], standalone_mode=False)
        assert done.exception is not None
        return str(done.exception)

    hour = int(LakePaths(recorded).hours(SNAPSHOTS, "kalshi", day)[0])
    assert "--deep" in refusal("--hours", "7")
    assert "--deep" in refusal("--market", "M")
    assert "'M'" in refusal("--market", "M", "--deep")
    assert "nothing is stored" in refusal("--hours", str((hour + 12) % 24), "--deep")

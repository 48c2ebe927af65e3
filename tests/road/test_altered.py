"""Whatever is altered in a stored file is found, also where file, checksum and manifest were written anew."""

from __future__ import annotations

import hashlib
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from overround.collector import runs
from overround.market import BookStatus, ErrCode, Integrity, Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import Proof, prove_day, span_of
from overround.storage import COVERAGE_TABLE, ROW_SCHEMA, SNAPSHOTS, LakePaths
from overround.storage.manifest import read_manifests
from overround.storage.paths import COVERAGE
from overround.storage.schema import LEVEL_COLUMNS
from overround.storage.verify import ProblemKind

from .lakes import KEY, files, read, rewrite

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(180)]

WORDS: dict[str, list[str | None]] = {
    "status": [*map(str, BookStatus)],
    "err": [*map(str, ErrCode), None],
    "integrity": [*map(str, Integrity), None],
    "venue": [*map(str, Venue)],
    "outcome_id": ["yes", "no"],
}
FORGED = {ProblemKind.CHECKSUM, ProblemKind.MANIFEST, ProblemKind.UNREADABLE, ProblemKind.SCHEMA, ProblemKind.UNLISTED}
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def proof_of(lake: LakePaths, venue: Venue, path: Path) -> Proof:
    """Of the day that a file belongs to."""
    return prove_day(lake, venue, span_of(path.parents[1].name.removeprefix("date="), None))


def others(name: str, value: Any, wider: list[Any]) -> list[Any]:
    """Other values of a column: the nearest, the plausible and the absurd."""
    found: list[Any]
    if name in LEVEL_COLUMNS:
        found = [[*value, 0.5], [0.25, *value], [*value, None]]
        if value:
            found += [value[:-1], value[1:], []]
        if len(set(value)) > 1:
            found += [value[::-1], [value[1], value[0], *value[2:]]]
        for at in sorted({0, len(value) // 2, len(value) - 1}) if value else ():
            found += [[*value[:at], near, *value[at + 1 :]] for near in others("", value[at], [])]
    elif isinstance(value, float):
        if math.isnan(value):
            found = [0.0, 0.5, math.inf]
        else:
            up, down = float(np.nextafter(value, 2)), float(np.nextafter(value, -1))
            found = [up, down, -value, value + 0.0001, value + 1, math.nan, math.inf]
    elif name in WORDS:
        found = [*WORDS[name], f"{value}x", ""]
    elif isinstance(value, int):
        found = [value + 1, value - 1, -value, value + MINUTE_MS, value + 10 * MINUTE_MS, value - DAY_MS, 2**62]
    elif value is None:
        found = [0, 1, wider[0] if wider else 2]
    else:
        found = [f"{value} ", value.swapcase(), f"{value}\u200b", value[:-1], "", *wider]
    if name == "source_ts":
        found.append(None)
    return [other for other in found if repr(other) != repr(value)]


def drawn(column: pa.ChunkedArray, name: str, row: int, rng: random.Random) -> Any:
    """One of the other values, among them those that other rows have."""
    value = column[row].as_py()
    wider = [column[rng.randrange(len(column))].as_py() for _ in range(3)]
    if name in LEVEL_COLUMNS:
        wider = []
    return rng.choice(others(name, value, [each for each in wider if each is not None]))


def with_values(rows: pa.Table, name: str, values: dict[int, Any]) -> pa.Table:
    """The same rows with other values in some places of a column."""
    at, held = rows.schema.get_field_index(name), rows.column(name).to_pylist()
    for row, value in values.items():
        held[row] = value
    return rows.set_column(at, rows.schema.field(at), pa.array(held, rows.schema.field(at).type))


def assert_named(proof: Proof, lake: LakePaths, path: Path, cells: set[tuple[int, str]], gone: int) -> None:
    """Just these places are found.

    Of a row whose key was altered, the report may say that one row is missing and another was put in.
    """
    file = path.relative_to(lake.root).as_posix()
    assert proof.exit_code == 1
    assert {finding.file for finding in proof.findings} == {file}
    told = {(finding.row, finding.column.split("[")[0]) for finding in proof.findings if finding.kind == "value"}
    plain = {cell for cell in cells if cell[1] not in KEY}
    assert {cell for cell in told if cell[1] not in KEY} >= plain
    keyed = {row for row, column in cells if column in KEY}
    assert {row for row, _ in told} <= {row for row, _ in cells}
    added = {finding.row for finding in proof.findings if finding.kind == "added"}
    assert {row for row, _ in told} | added >= keyed
    assert sum(finding.kind == "missing" for finding in proof.findings) <= gone


def assert_forged(lake: LakePaths, venue: Venue) -> None:
    """The file itself shows no sign of it."""
    assert not {problem.kind for problem in verify_lake(lake, venue=str(venue), journal=False).problems} & FORGED


def alter_one(lake: LakePaths, venue: Venue, name: str, rng: random.Random) -> None:
    path = rng.choice(files(lake, venue))
    rows = read(path)
    row = rng.randrange(rows.num_rows)
    before, value = rows.column(name)[row].as_py(), drawn(rows.column(name), name, row, rng)
    rewrite(lake, venue, path, with_values(rows, name, {row: value}))
    proof = proof_of(lake, venue, path)
    what = f"{venue} row {row}, {name}: {before!r} became {value!r}"
    assert proof.exit_code == 1, what
    if name not in KEY:
        assert {finding.kind for finding in proof.findings} == {"value"}, what
        assert {(each.row, each.column.split("[")[0]) for each in proof.findings} == {(row, name)}, what
        if "[" not in proof.findings[0].column:
            told = (proof.findings[0].stored, proof.findings[0].expected)
            assert repr(told) == repr((value, before)), what
    assert_named(proof, lake, path, {(row, name)}, 1)
    rewrite(lake, venue, path, rows)


def seeded(*words: object) -> random.Random:
    """The same draw in every process, and another for every test."""
    return random.Random(hashlib.sha256(repr(words).encode()).hexdigest())


@pytest.mark.parametrize("name", ROW_SCHEMA.names)
def test_one_altered_value_is_found(lake: LakePaths, name: str) -> None:
    rng = seeded(name)
    alter_one(lake, rng.choice(list(Venue)), name, rng)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("name", ROW_SCHEMA.names)
def test_each_of_many_values_altered_one_by_one_is_found(lake: LakePaths, name: str, venue: Venue) -> None:
    rng = seeded(name, venue)
    for _ in range(40):
        alter_one(lake, venue, name, rng)


@pytest.mark.parametrize("venue", list(Venue))
def test_every_kind_of_alteration_of_every_column_is_found_and_nothing_else(lake: LakePaths, venue: Venue) -> None:
    rng = seeded(venue)
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows = forged = read(path)
    free = rng.sample(range(rows.num_rows), rows.num_rows)
    cells: set[tuple[int, str]] = set()
    for name in ROW_SCHEMA.names:
        column, values = rows.column(name), dict[int, Any]()
        n_kinds = len(others(name, column[free[-1]].as_py(), []))
        for number in range(n_kinds):
            row = free.pop()
            choices = others(name, column[row].as_py(), [])
            values[row] = choices[number % len(choices)]
        forged = with_values(forged, name, values)
        cells |= {(row, name) for row in values}
    rewrite(lake, venue, path, forged)
    assert_forged(lake, venue)
    assert len(cells) > 100
    keyed = sum(name in KEY for _, name in cells)
    assert_named(proof_of(lake, venue, path), lake, path, cells, keyed)


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("name", ["integrity", "status", "err"])
def test_each_word_put_in_the_place_of_each_other_is_found(lake: LakePaths, name: str, venue: Venue) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows = read(path)
    held = rows.column(name).to_pylist()
    values: dict[int, Any] = {}
    for word in sorted(set(held), key=str):
        places = (row for row, each in enumerate(held) if each == word)
        # Of a rare word there may be fewer rows than other words.
        values |= dict(zip(places, (other for other in WORDS[name] if other != word), strict=False))
    assert len(values) >= len(WORDS[name])
    rewrite(lake, venue, path, with_values(rows, name, values))
    assert_forged(lake, venue)
    proof = proof_of(lake, venue, path)
    assert {(f.kind, f.row, f.column, f.stored, f.expected) for f in proof.findings} == {
        ("value", row, name, word, held[row]) for row, word in values.items()
    }


def test_an_alteration_that_contradicts_nothing_in_the_file_is_found(lake: LakePaths) -> None:
    # One contract more at the best bid, in the ladder, in the best price's size and in the other outcome's mirror.
    venue = Venue.KALSHI
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows = read(path)
    at = rows.to_pylist()
    row = next(n for n, each in enumerate(at) if each["status"] == "ok" and each["outcome_id"] == "yes")
    same = (at[row]["market_id"], at[row]["ts_recv"])
    mirror = next(n for n, each in enumerate(at) if (each["market_id"], each["ts_recv"]) == same and n != row)
    forged = rows
    for place, side in ((row, "bid"), (mirror, "ask")):
        sz = [at[place][f"{side}_sz"][0] + 1, *at[place][f"{side}_sz"][1:]]
        forged = with_values(forged, f"{side}_sz", {place: sz})
        forged = with_values(forged, f"best_{side}_sz", {place: sz[0]})
    rewrite(lake, venue, path, forged)
    assert verify_lake(lake, venue=str(venue), top_k=50).ok
    assert {(finding.row, finding.column) for finding in proof_of(lake, venue, path).findings} == {
        (row, "best_bid_sz"), (row, "bid_sz[0]"), (mirror, "best_ask_sz"), (mirror, "ask_sz[0]"),
    }  # fmt: skip


# -- rows and files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", list(Venue))
def test_rows_taken_out_put_in_or_doubled_are_found(lake: LakePaths, venue: Venue) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows, rng = read(path), seeded("rows", venue)
    for taken in {0, rows.num_rows - 1, rng.randrange(rows.num_rows)}:
        rewrite(lake, venue, path, pa.concat_tables([rows.slice(0, taken), rows.slice(taken + 1)]))
        (finding,) = proof_of(lake, venue, path).findings
        assert (finding.kind, finding.row) == ("missing", None)
        assert (finding.market_id, finding.outcome_id, finding.ts_recv) == tuple(
            rows.column(name)[taken].as_py() for name in KEY
        )
    taken = rng.randrange(rows.num_rows)
    rewrite(lake, venue, path, pa.concat_tables([rows.slice(0, taken + 1), rows.slice(taken)]))
    (finding,) = proof_of(lake, venue, path).findings
    assert finding.kind == "added"
    rewrite(lake, venue, path, rows)
    assert proof_of(lake, venue, path).exit_code == 0


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("change", [{"ts_recv": 1}, {"market_id": "somebody"}], ids=["instant", "market"])
def test_a_row_of_a_market_or_an_instant_that_never_was_is_found(
    lake: LakePaths, venue: Venue, change: dict[str, Any]
) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows = read(path)
    foreign, number = rows.slice(rows.num_rows // 2, 1), rows.num_rows // 2
    for name, value in change.items():
        held = foreign.column(name)[0].as_py()
        foreign = with_values(foreign, name, {0: held + value if isinstance(held, int) else value})
    rewrite(lake, venue, path, pa.concat_tables([rows.slice(0, number + 1), foreign, rows.slice(number + 1)]))
    assert_forged(lake, venue)
    (finding,) = proof_of(lake, venue, path).findings
    assert (finding.kind, finding.row) == ("added", number + 1)


@pytest.mark.parametrize("venue", list(Venue))
def test_a_swapped_pair_is_found(lake: LakePaths, venue: Venue) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows, rng = read(path), seeded("swap", venue)
    one, other = sorted(rng.sample(range(rows.num_rows), 2))
    order = list(range(rows.num_rows))
    order[one], order[other] = other, one
    swapped = rows.take(order)
    rewrite(lake, venue, path, swapped)
    # The rows are those that were taken, each with its own time: the proof finds them, the check their places.
    assert proof_of(lake, venue, path).exit_code == 0
    problems = verify_lake(lake, venue=str(venue), journal=False).problems
    assert [problem.kind for problem in problems] == [ProblemKind.ORDER]
    # Under each other's key they are false rows in good order.
    for name in KEY:
        swapped = swapped.set_column(rows.schema.get_field_index(name), rows.schema.field(name), rows.column(name))
    rewrite(lake, venue, path, swapped)
    proof = proof_of(lake, venue, path)
    assert (proof.exit_code, {finding.kind for finding in proof.findings}) == (1, {"value"})
    assert {finding.row for finding in proof.findings} == {one, other}


def without_line(lake: LakePaths, venue: Venue, path: Path) -> None:
    """Take a file and what the manifest says of it away."""
    day = path.parents[1].name.removeprefix("date=")
    name = path.relative_to(lake.day(SNAPSHOTS, str(venue), day)).as_posix()
    for manifest in lake.manifests(SNAPSHOTS, str(venue), day):
        lines = [line for line in manifest.read_bytes().splitlines(keepends=True) if name.encode() not in line]
        manifest.write_bytes(b"".join(lines))
    path.unlink()
    assert name not in read_manifests(lake.manifests(SNAPSHOTS, str(venue), day))


def without_table(lake: LakePaths, venue: Venue, _: Path) -> None:
    shutil.rmtree(lake.table(SNAPSHOTS, str(venue)))


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("remove", [without_line, without_table])
def test_a_file_taken_away_with_its_line_in_the_manifest_is_found(
    lake: LakePaths, venue: Venue, remove: Callable[[LakePaths, Venue, Path], None]
) -> None:
    path = max(files(lake, venue), key=lambda path: path.stat().st_size)
    rows = read(path)
    remove(lake, venue, path)
    assert verify_lake(lake, venue=str(venue)).ok
    proof = proof_of(lake, venue, path)
    assert (proof.exit_code, {finding.kind for finding in proof.findings}) == (1, {"missing"})
    assert proof.n_findings >= rows.num_rows
    assert path.relative_to(lake.root).as_posix() in {finding.file for finding in proof.findings}


# -- the ledger ---------------------------------------------------------------------------------------


def ledger_file(lake: LakePaths, venue: Venue) -> Path:
    day = lake.days(COVERAGE, str(venue))[0]
    return lake.bucket_files(COVERAGE, str(venue), day, lake.hours(COVERAGE, str(venue), day)[0])[0]


def ledger_proof(lake: LakePaths, venue: Venue, path: Path) -> Proof:
    return prove_day(lake, venue, span_of(path.parent.name.removeprefix("date="), None))


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("name", ["snapshots", "updates"])
def test_an_altered_count_of_the_ledger_is_found(lake: LakePaths, venue: Venue, name: str) -> None:
    path, rng = ledger_file(lake, venue), seeded("ledger", venue, name)
    rows = read(path)
    assert ledger_proof(lake, venue, path).minutes > 50
    told = [row for row, market in enumerate(rows.column("market_id").to_pylist()) if market]
    row, by = rng.choice(told), rng.choice([1, -1, 100])
    before = rows.column(name)[row].as_py()
    rewrite(lake, venue, path, with_values(rows, name, {row: before + by}), COVERAGE_TABLE)
    assert_forged(lake, venue)
    (finding,) = ledger_proof(lake, venue, path).findings
    assert (finding.kind, finding.column, finding.stored, finding.expected) == ("count", name, before + by, before)
    assert (finding.market_id, finding.ts_recv) == tuple(rows.column(n)[row].as_py() for n in ("market_id", "minute"))


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize("change", ["moved", "taken out", "all gone"])
def test_a_ledger_row_moved_or_taken_out_is_found(lake: LakePaths, venue: Venue, change: str) -> None:
    path = ledger_file(lake, venue)
    rows = read(path)
    snapshots = rows.column("snapshots").to_pylist()
    row = next(number for number in range(rows.num_rows) if snapshots[number])
    if change == "moved":
        other = rows.column("market_id")[row].as_py() + "x"
        rewrite(lake, venue, path, with_values(rows, "market_id", {row: other}), COVERAGE_TABLE)
    elif change == "taken out":
        rewrite(lake, venue, path, pa.concat_tables([rows.slice(0, row), rows.slice(row + 1)]), COVERAGE_TABLE)
    else:
        shutil.rmtree(lake.table(COVERAGE))
    proof = ledger_proof(lake, venue, path)
    assert (proof.exit_code, {finding.kind for finding in proof.findings}) == (1, {"count"})
    if change == "all gone":
        # The first 500 findings are kept, all are counted.
        assert proof.n_findings >= sum(n > 0 for n in snapshots)
    else:
        lacking = [finding for finding in proof.findings if finding.stored == 0]
        assert [finding.expected for finding in lacking if finding.column == "snapshots"] == [snapshots[row]]


def test_what_of_the_ledger_cannot_be_proved_is_as_the_docs_say(lake: LakePaths) -> None:
    # No frame tells when the collector looked: the day that seconds are proved, the page has to be rewritten.
    venue = Venue.KALSHI
    path = ledger_file(lake, venue)
    rows = read(path)
    row = next(number for number, each in enumerate(rows.column("verified_s").to_pylist()) if each > 1)
    moved = {"verified_s": rows.column("verified_s")[row].as_py() - 1, "gap_s": rows.column("gap_s")[row].as_py() + 1}
    forged = rows
    for name, value in moved.items():
        forged = with_values(forged, name, {row: value})
    rewrite(lake, venue, path, forged, COVERAGE_TABLE)
    assert ledger_proof(lake, venue, path).exit_code == 0


def test_of_minutes_around_a_pause_no_count_is_told(lake: LakePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "PAUSE_MS", 0)
    venue = Venue.KALSHI
    path = ledger_file(lake, venue)
    shutil.rmtree(lake.table(COVERAGE))
    proof = ledger_proof(lake, venue, path)
    assert (proof.exit_code, proof.minutes) == (0, 0)
    assert proof.unproved_minutes > 50

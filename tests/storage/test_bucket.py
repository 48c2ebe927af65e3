"""A bucket's rows become one sorted file, exactly once, whenever the process dies."""

from __future__ import annotations

import hashlib
import itertools
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overround.errors import FileDamaged
from overround.storage import LakePaths, SnapshotBuffer, TablePlace, TableSpec
from overround.storage.bucket import conformed, finalise_bucket, read_file_meta
from overround.storage.buffer import rows_of
from overround.storage.fileops import FileOps
from overround.storage.manifest import ManifestLine, read_manifest
from overround.storage.schema import SNAPSHOT_TABLE
from overround.storage.wal import Wal, new_wal_id
from overround.testing.disks import Crashed, CrashingDisk
from overround.timebucket import Bucket, bucket_of

START = 1_768_392_300_000
BUCKET = bucket_of(START, 300)
SMALL = TableSpec(
    place=TablePlace("things", "things"),
    schema=pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("at", pa.int64(), nullable=False)]),
    version=1,
    time_column="at",
    sort_key=("name", "at"),
    row_group_rows=4,
    dictionary=("name",),
)
GROWN = TableSpec(
    place=SMALL.place,
    schema=pa.schema([*SMALL.schema, pa.field("more", pa.float64())]),
    version=2,
    time_column="at",
    sort_key=SMALL.sort_key,
    row_group_rows=4,
    dictionary=("name",),
)


def wal_of(paths: LakePaths, rows: list[tuple[str, int]], table: TableSpec = SMALL, **tallies: int) -> Path:
    wal_id = new_wal_id()
    path = paths.wal_file(table.place, "kalshi", BUCKET, (0, 1), wal_id)
    wal = Wal(path, wal_id, table.schema, bucket_s=300)
    columns: list[pa.Array] = [pa.array([n for n, _ in rows], pa.string()), pa.array([t for _, t in rows], pa.int64())]
    columns += [pa.nulls(len(rows), field.type) for field in list(table.schema)[2:]]
    wal.add(pa.record_batch(columns, schema=table.schema), number=1, tallies=tallies)
    wal.save(FileOps())
    return path


def finalise(
    paths: LakePaths, wals: list[Path], *, table: TableSpec = SMALL, ops: FileOps | None = None
) -> ManifestLine | None:
    return finalise_bucket(
        paths,
        table,
        "kalshi",
        BUCKET,
        (0, 1),
        wals,
        level=3,
        origin="live",
        now_ms=START + 300_000,
        ops=ops or FileOps(),
    )


def rows_in(paths: LakePaths, table: TableSpec = SMALL) -> list[tuple[str, int]]:
    target = paths.bucket_file(table.place, "kalshi", BUCKET)
    if not target.exists():
        return []
    held = pq.ParquetFile(target).read()
    return list(zip(held["name"].to_pylist(), held["at"].to_pylist(), strict=True))


def files_in(paths: LakePaths) -> list[str]:
    return sorted(path.name for path in paths.root.rglob("*") if path.is_file())


def test_rows_are_sorted_by_key_and_divided_into_groups_of_about_the_wanted_size(paths: LakePaths) -> None:
    rows = [(name, START + at) for name in ("b", "a", "ä") for at in (5, 3, 9)]
    line = finalise(paths, [wal_of(paths, rows[:4]), wal_of(paths, rows[4:])])
    assert rows_in(paths) == sorted(rows)
    metadata = pq.read_metadata(paths.bucket_file(SMALL.place, "kalshi", BUCKET))
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [5, 4]
    assert line is not None
    assert (line.rows, line.first_ts, line.last_ts) == (9, START + 3, START + 9)
    assert files_in(paths) == ["_manifest.jsonl", "things_2026-01-14T12-05.parquet"]


def test_the_manifest_line_describes_the_file(paths: LakePaths) -> None:
    wal = wal_of(paths, [("a", START)], gaps=3)
    line = finalise(paths, [wal])
    target = paths.bucket_file(SMALL.place, "kalshi", BUCKET)
    assert line is not None
    assert read_manifest(paths.manifest(SMALL.place, "kalshi", "2026-01-14")) == {
        "hour=12/things_2026-01-14T12-05.parquet": line
    }
    assert line.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert (line.bytes, line.gaps, line.schema_version, line.origin, line.bucket_s) == (
        target.stat().st_size,
        3,
        1,
        "live",
        300,
    )
    assert line.writer.startswith("overround ")
    meta = read_file_meta(target)
    assert meta is not None
    assert meta.wals == line.wals == (wal.name.split(".")[2],)


def test_a_later_write_ahead_file_is_merged_into_what_is_there(paths: LakePaths) -> None:
    finalise(paths, [wal_of(paths, [("b", START + 1), ("a", START + 9)], gaps=1)])
    line = finalise(paths, [wal_of(paths, [("a", START + 5)], gaps=1)])
    assert rows_in(paths) == [("a", START + 5), ("a", START + 9), ("b", START + 1)]
    assert line is not None
    assert (line.rows, line.gaps, len(line.wals)) == (3, 2, 2)


def test_a_write_ahead_file_found_again_is_not_taken_in_twice(paths: LakePaths) -> None:
    wal = wal_of(paths, [("a", START)])
    data = wal.read_bytes()
    finalise(paths, [wal])
    wal.write_bytes(data)
    finalise(paths, [wal])
    assert rows_in(paths) == [("a", START)]
    assert not wal.exists()


@pytest.mark.parametrize("before", [False, True], ids=["new file", "merge"])
def test_dying_before_any_step_and_repeating_leaves_every_row_exactly_once(tmp_path: Path, before: bool) -> None:
    for survived in itertools.count():
        paths = LakePaths(tmp_path / str(survived))
        expected = []
        if before:
            finalise(paths, [wal_of(paths, [("c", START + 1), ("a", START + 2)])])
            expected = [("c", START + 1), ("a", START + 2)]
        wals = [wal_of(paths, [("a", START + 7)], gaps=1), wal_of(paths, [("b", START + 4)])]
        expected += [("a", START + 7), ("b", START + 4)]
        died = False
        try:
            finalise(paths, wals, ops=CrashingDisk(survived))
        except Crashed:
            died = True
        line = finalise(paths, [wal for wal in wals if wal.exists()])
        assert rows_in(paths) == sorted(expected)
        listed = read_manifest(paths.manifest(SMALL.place, "kalshi", "2026-01-14"))
        target = paths.bucket_file(SMALL.place, "kalshi", BUCKET)
        assert listed["hour=12/" + target.name].sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        assert listed["hour=12/" + target.name].gaps == 1
        assert line is not None
        assert not [name for name in files_in(paths) if name.endswith(".wal")]
        if not died:
            break
    assert survived >= 5  # create, publish, manifest and two removals were all tried


def test_nothing_to_write_leaves_no_file(paths: LakePaths) -> None:
    assert finalise(paths, [wal_of(paths, [])]) is None
    assert files_in(paths) == []


def test_rows_of_an_earlier_version_gain_the_new_column_as_null(paths: LakePaths) -> None:
    finalise(paths, [wal_of(paths, [("a", START)])])
    line = finalise(paths, [wal_of(paths, [("b", START)]), wal_of(paths, [("c", START)], GROWN)], table=GROWN)
    held = pq.ParquetFile(paths.bucket_file(SMALL.place, "kalshi", BUCKET)).read()
    assert held["name"].to_pylist() == ["a", "b", "c"]
    assert held["more"].null_count == 3
    assert line is not None
    assert line.schema_version == 2


def test_rows_of_a_later_version_are_refused_rather_than_cut(paths: LakePaths) -> None:
    wal = wal_of(paths, [("a", START)], GROWN)
    with pytest.raises(FileDamaged, match="more"):
        finalise(paths, [wal])
    assert wal.exists()


@pytest.mark.parametrize(
    ("column", "complaint"), [(pa.array(["x"]), "at is string"), (None, "column at is absent")], ids=["type", "absent"]
)
def test_rows_of_another_shape_are_refused_by_name(column: pa.Array | None, complaint: str) -> None:
    rows = pa.table({"name": ["a"]} | ({} if column is None else {"at": column}))
    with pytest.raises(FileDamaged, match=complaint):
        conformed(rows, SMALL)


def test_a_damaged_file_in_the_way_is_moved_aside_and_kept(paths: LakePaths) -> None:
    target = paths.bucket_file(SMALL.place, "kalshi", BUCKET)
    wal = wal_of(paths, [("a", START)])
    target.write_bytes(b"PAR1 but not really")
    finalise(paths, [wal])
    assert rows_in(paths) == [("a", START)]
    assert target.with_name(target.name + ".damaged").read_bytes() == b"PAR1 but not really"


def test_a_big_write_ahead_file_without_a_head_is_moved_aside_not_removed(paths: LakePaths) -> None:
    wal = wal_of(paths, [("a", START)])
    wal.write_bytes(b"x" * 100_000)
    finalise(paths, [wal])
    assert files_in(paths) == [wal.name + ".damaged"]


def test_equal_rows_are_all_kept_in_the_order_they_came(paths: LakePaths) -> None:
    buffer = SnapshotBuffer()
    key = buffer.register("KX", ("yes",))  # type: ignore[arg-type]
    for seq in random.Random(3).sample(range(50), 50):
        buffer.append(key, START, {}, {}, seq=seq, source_ts=None, stale=False, err=None, integrity=None)
    rows = rows_of(buffer.cut(), venue="kalshi", top_k=50)
    wal_id = new_wal_id()
    wal = Wal(paths.wal_file(SNAPSHOT_TABLE.place, "kalshi", BUCKET, (0, 1), wal_id), wal_id, rows.schema, bucket_s=300)
    wal.add(rows, number=1)
    wal.save(FileOps())
    finalise(paths, [wal.path], table=SNAPSHOT_TABLE)
    held = pq.ParquetFile(paths.bucket_file(SNAPSHOT_TABLE.place, "kalshi", BUCKET)).read()
    assert held["seq"].to_pylist() == rows["seq"].to_pylist()


def test_a_table_without_hours_lies_in_its_day(paths: LakePaths) -> None:
    flat = TableSpec(
        place=TablePlace("things", "things", by_hour=False),
        schema=SMALL.schema,
        version=1,
        time_column="at",
        sort_key=("at",),
    )
    line = finalise(paths, [wal_of(paths, [("a", START)], flat)], table=flat)
    assert line is not None
    assert line.file == "things_2026-01-14T12-05.parquet"
    assert paths.bucket_file(flat.place, "kalshi", Bucket(START, 300)).parent.name == "date=2026-01-14"

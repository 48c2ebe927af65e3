"""Small files become few, and every row stays what it was, at whatever instant the work is cut off."""

from __future__ import annotations

import itertools
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakes import KEY, START_MS, files, recorded, rows
from polars.testing import assert_frame_equal

from overround.cli.app import run
from overround.config import ArchiveSettings
from overround.pipelines.archive import archive_lake, restore_lake
from overround.pipelines.compact import Compaction, compact_lake
from overround.pipelines.lake import verify_lake
from overround.pipelines.retain import DAY_MS
from overround.storage import LakePaths
from overround.storage.archive import open_archive
from overround.storage.fileops import FileOps

LATER = START_MS + 2 * DAY_MS


def compacted(paths: LakePaths, *, apply: bool = True, ops: FileOps | None = None) -> Compaction:
    return compact_lake(paths, bucket_s=300, level=1, now_ms=LATER, apply=apply, ops=ops)


def torn_apart(paths: LakePaths) -> list[Path]:
    """The bucket files' rows in files such as another program writes: named anyhow, unsorted, across buckets, no manifest."""
    hour = next(paths.root.glob("orderbook_snapshots/venue=kalshi/date=*/hour=12"))
    whole = pa.concat_tables([pq.read_table(path, partitioning=None) for path in sorted(hour.glob("*.parquet"))])
    for path in [*hour.glob("*.parquet"), *hour.parent.glob("_manifest*")]:
        path.unlink()
    made = []
    for n in range(7):
        part = whole.filter(pa.array([(at * 5) % 7 == n for at in range(whole.num_rows)]))
        made.append(hour / f"part-{n:05}.parquet")
        pq.write_table(part.take(list(range(part.num_rows))[::-1]).replace_schema_metadata(None), made[-1])
    return made


@pytest.mark.parametrize("foreign", [False, True])
async def test_small_files_become_their_buckets_without_a_row_changed(tmp_path: Path, foreign: bool) -> None:
    paths = await recorded(tmp_path, bucket_s=60, minutes=17)
    if foreign:
        torn_apart(paths)
    before, names = rows(paths), files(paths)
    told = compacted(paths, apply=False)
    assert (told.before, told.after) == (7 if foreign else 17, 4)
    assert files(paths) == names
    done = compacted(paths)
    assert (done.before, done.after, done.problems) == (told.before, told.after, [])
    assert files(paths) == ["_manifest.jsonl", *(f"snapshots_2026-01-14T12-{m:02}.parquet" for m in (0, 5, 10, 15))]
    assert_frame_equal(rows(paths), before)
    assert verify_lake(paths, top_k=50).problems == ()
    assert compacted(paths).before == 0


async def test_foreign_rows_join_the_buckets_that_are_there(tmp_path: Path) -> None:
    paths = await recorded(tmp_path, bucket_s=300, minutes=10)
    before = rows(paths)
    hour = next(paths.root.glob("orderbook_snapshots/venue=kalshi/date=*/hour=12"))
    first = hour / "snapshots_2026-01-14T12-00.parquet"
    late = pl.read_parquet(first, hive_partitioning=False).with_columns(market_id=pl.lit("other"))
    late.write_parquet(hour / "late.parquet")
    done = compacted(paths)
    assert (done.before, done.after, done.rows) == (2, 1, late.height)
    assert_frame_equal(rows(paths), pl.concat([before, late]).sort(KEY))
    assert verify_lake(paths).problems == ()


async def test_the_open_day_and_buckets_of_the_right_length_are_left(tmp_path: Path) -> None:
    paths = await recorded(tmp_path, bucket_s=60, minutes=6)
    names = files(paths)
    done = compact_lake(paths, bucket_s=300, level=1, now_ms=START_MS + 6 * 60_000, apply=True)
    assert (done.before, files(paths)) == (0, names)
    assert compact_lake(paths, bucket_s=60, level=1, now_ms=LATER, apply=True).before == 0
    (next(paths.root.rglob("hour=12")) / ".snapshots_2026-01-14T12-30.0123456789abcdef.wal").write_bytes(b"rows")
    assert "write-ahead" in compacted(paths).problems[0]
    assert [name for name in files(paths) if not name.startswith(".")] == names


async def test_short_buckets_that_a_journal_proves_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = await recorded(tmp_path, bucket_s=60, minutes=7)
    names = files(paths)
    journal = tmp_path / "raw/venue=kalshi/date=2026-01-14/hour=12/frames_2026-01-14T12-00.jsonl.zst"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b"frames")
    done = compacted(paths)
    assert (done.before, done.proved, done.exit_code) == (0, 7, 0)
    assert files(paths) == names
    assert run(["lake", "compact", "--data-dir", str(tmp_path)]) == 0
    assert "left: 7 short buckets that the journal of their hour proves" in capsys.readouterr().err
    late = rows(paths).with_columns(market_id=pl.lit("other"))
    late.write_parquet(next(paths.root.glob("orderbook_snapshots/venue=kalshi/date=*/hour=12")) / "late.parquet")
    journal.unlink()
    assert compacted(paths).after == 2


def another_venue(table: pa.Table) -> pa.Table:
    return table.set_column(1, "venue", pa.array(["polymarket"] * table.num_rows))


def another_hour(table: pa.Table) -> pa.Table:
    return table.set_column(0, "ts_recv", pa.array([0] * table.num_rows))


def a_column_more(table: pa.Table) -> pa.Table:
    return table.append_column("note", pa.array(["x"] * table.num_rows))


def a_column_less(table: pa.Table) -> pa.Table:
    return table.drop_columns(["mid"])


@pytest.mark.parametrize("wrong", [another_venue, another_hour, a_column_more, a_column_less, None])
async def test_a_file_that_cannot_be_taken_whole_is_named_and_left(tmp_path: Path, wrong: object) -> None:
    paths = await recorded(tmp_path, bucket_s=60, minutes=10)
    part = torn_apart(paths)[3]
    if wrong is None:
        part.write_bytes(part.read_bytes()[:-9] + b"nonsense.")
    else:
        assert callable(wrong)
        pq.write_table(wrong(pq.read_table(part, partitioning=None)), part)
    held = part.read_bytes()
    done = compacted(paths)
    assert [problem.split(": ")[0] for problem in done.problems] == [part.relative_to(tmp_path).as_posix()]
    assert done.exit_code == 3
    assert part.read_bytes() == held
    assert files(paths) == [
        "_manifest.jsonl",
        part.name,
        "snapshots_2026-01-14T12-00.parquet",
        "snapshots_2026-01-14T12-05.parquet",
    ]


class Dies(FileOps):
    """The process ends before its n-th change of the disk, counted from 0."""

    def __init__(self, n: int) -> None:
        self.left = n

    def _step(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def create(self, path: Path):
        self._step()
        return super().create(path)

    def publish(self, temporary: Path, final: Path) -> None:
        self._step()
        super().publish(temporary, final)

    def remove(self, path: Path) -> None:
        # What a dead process would not do: tidying up.
        if self.left > 0 or path.suffix != ".tmp":
            self._step()
            super().remove(path)


@pytest.mark.parametrize("foreign", [False, True])
async def test_cut_off_at_any_step_a_repetition_completes_it(tmp_path: Path, foreign: bool) -> None:
    for n in itertools.count():
        root = tmp_path / str(n)
        paths = await recorded(root, bucket_s=60, minutes=7)
        if foreign:
            torn_apart(paths)
        before = rows(paths)
        try:
            compacted(paths, ops=Dies(n))
        except KeyboardInterrupt:
            finished = False
        else:
            finished = True
        # Nothing is ever missing meanwhile; until the small files are gone rows may be there twice.
        assert_frame_equal(rows(paths).unique(KEY).sort(KEY), before)
        done = compacted(paths)
        assert done.problems == []
        assert_frame_equal(rows(paths), before)
        assert [problem.kind for problem in verify_lake(paths).problems if problem.kind != "half_file"] == []
        if finished:
            break
    assert n > 12


async def test_what_was_taken_in_does_not_come_back_from_the_archive(tmp_path: Path) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=60, minutes=7)
    before = rows(paths)
    archive = open_archive(ArchiveSettings(url=str(tmp_path / "archive")))
    assert archive is not None
    always = {"since": "0001-01-01", "until": "9999-12-31"}
    archive_lake(paths, archive, now_ms=LATER, **always)
    compacted(paths)
    archive_lake(paths, archive, now_ms=LATER, **always)
    back = LakePaths(tmp_path / "back")
    assert restore_lake(back, archive, **always).problems == []
    assert files(back) == files(paths)
    assert_frame_equal(rows(back), before)
    assert verify_lake(back).problems == ()


async def test_the_command_says_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = await recorded(tmp_path, bucket_s=60, minutes=7)
    names = files(paths)
    capsys.readouterr()
    assert run(["lake", "compact", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "7 files would be made 2, with 42 rows; --apply does it\n"
    assert files(paths) == names
    assert run(["lake", "compact", "--data-dir", str(tmp_path), "--apply"]) == 0
    assert capsys.readouterr().out == "7 files were made 2, with 42 rows\n"

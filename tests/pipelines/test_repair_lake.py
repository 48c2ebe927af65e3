"""What can be mended is, with the rows that were recorded; what cannot is named and left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lakes import START_MS, recorded, rows
from polars.testing import assert_frame_equal

from overround.cli.app import run
from overround.config import ArchiveSettings
from overround.market import Origin
from overround.pipelines.archive import archive_lake
from overround.pipelines.lake import verify_lake
from overround.pipelines.repair import Repair, repair_lake
from overround.pipelines.retain import DAY_MS
from overround.storage import FrameJournal, LakePaths
from overround.storage.archive import Archive, open_archive
from overround.storage.manifest import read_manifest
from overround.testing.clock import ManualClock

LATER = START_MS + 2 * DAY_MS


def repaired(paths: LakePaths, archive: Archive | None = None, *, apply: bool = True) -> Repair:
    return repair_lake(paths, level=1, now_ms=LATER, apply=apply, archive=archive)


def a_file(paths: LakePaths) -> Path:
    return next(paths.root.rglob("snapshots_2026-01-14T12-05.parquet"))


def a_manifest(paths: LakePaths) -> Path:
    return next(paths.root.rglob("_manifest.jsonl"))


def an_archive(paths: LakePaths) -> Archive:
    archive = open_archive(ArchiveSettings(url=str(paths.root.with_name("archive"))))
    assert archive is not None
    done = archive_lake(paths, archive, now_ms=LATER, since="0001-01-01", until="9999-12-31")
    assert done.problems == []
    return archive


async def test_a_whole_lake_is_left_alone(tmp_path: Path) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11)
    assert repaired(paths) == Repair(applied=True)


async def test_what_a_killed_collector_left_is_taken_in(tmp_path: Path) -> None:
    whole = await recorded(tmp_path / "whole", bucket_s=300, minutes=11)
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11, clean=False)
    (a_file(paths).parent / ".snapshots_2026-01-14T12-00.parquet.tmp").write_bytes(b"half")
    assert list(paths.root.rglob("*.wal"))
    told = repaired(paths, apply=False)
    assert list(paths.root.rglob("*.wal"))
    done = repaired(paths)
    assert (len(done.mended), done.mended, done.left) == (2, told.mended, [])
    assert not list(paths.root.rglob(".snapshots*"))
    assert_frame_equal(rows(paths), rows(whole))
    assert verify_lake(paths).problems == ()


@pytest.mark.parametrize("hurt", ["lost", "cut", "wrong figures"])
async def test_the_manifest_is_made_to_say_what_is_there(tmp_path: Path, hurt: str) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11)
    manifest = a_manifest(paths)
    whole = read_manifest(manifest)
    text = manifest.read_text()
    manifest.write_text(
        {"lost": "", "cut": text[: len(text) // 2], "wrong figures": text.replace('"rows":30', '"rows":31')}[hurt]
    )
    before = rows(paths)
    assert not verify_lake(paths).ok
    assert repaired(paths).left == []
    assert verify_lake(paths).problems == ()
    assert_frame_equal(rows(paths), before)
    mended = read_manifest(manifest)
    assert {name: (line.rows, line.sha256, line.wals) for name, line in mended.items()} == {
        name: (line.rows, line.sha256, line.wals) for name, line in whole.items()
    }


@pytest.mark.parametrize("hurt", ["removed", "cut", "flipped"])
async def test_a_damaged_file_comes_back_from_the_archive(tmp_path: Path, hurt: str) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11)
    archive, path, before = an_archive(paths), a_file(paths), rows(paths)
    data = path.read_bytes()
    if hurt == "removed":
        path.unlink()
    else:
        path.write_bytes(data[:-20] if hurt == "cut" else data[:500] + bytes([data[500] ^ 1]) + data[501:])
    without = repaired(paths)
    assert (without.mended, len(without.left), without.exit_code) == ([], 1, 3)
    assert "lake rebuild --from journal --venue kalshi --date 2026-01-14" in without.left[0]
    assert "brought back" in repaired(paths, archive, apply=False).mended[0]
    assert not verify_lake(paths).ok
    assert repaired(paths, archive).left == []
    assert verify_lake(paths).problems == ()
    assert_frame_equal(rows(paths), before)


async def test_another_version_in_the_archive_is_not_taken(tmp_path: Path) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11)
    other = await recorded(tmp_path / "other", bucket_s=300, minutes=9)
    archive = an_archive(other)
    a_file(paths).unlink()
    done = repaired(paths, archive)
    assert (done.mended, done.exit_code) == ([], 3)
    assert "another version" in done.left[0]
    assert not list(paths.root.rglob("snapshots_2026-01-14T12-05.parquet"))


async def test_an_object_that_the_archive_lost_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    paths = await recorded(tmp_path / "lake", bucket_s=300, minutes=11)
    archive, path = an_archive(paths), a_file(paths)
    path.write_bytes(b"damaged")
    (tmp_path / "archive" / path.relative_to(paths.root)).unlink()
    assert "the archive has lost it" in repaired(paths, archive).left[0]
    assert path.read_bytes() == b"damaged"


async def test_a_damaged_journal_comes_back_and_one_torn_from_the_start_stays(tmp_path: Path) -> None:
    paths, clock = LakePaths(tmp_path / "lake"), ManualClock(START_MS)
    await recorded(paths.root, bucket_s=300, minutes=6)
    journal = FrameJournal(paths, "kalshi", level=1, bucket_s=300, clock=clock)
    journal.frame("c", clock.now_ns(), b'{"a":1}', True)
    journal.close()
    archive, path = an_archive(paths), next(paths.root.rglob("frames_*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 50)
    assert repaired(paths).left[0].endswith("only a copy of the file helps")
    assert repaired(paths, archive).left == []
    assert path.read_bytes() == whole
    path.write_bytes(whole[:4] + b"\xff" * 50)
    shutil.rmtree(tmp_path / "archive")
    assert "the archive holds the same" in repaired(paths, an_archive(paths)).left[0]


async def test_the_command_says_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = await recorded(tmp_path, bucket_s=300, minutes=11)
    a_manifest(paths).unlink()
    capsys.readouterr()
    command = ["lake", "repair", "--data-dir", str(tmp_path)]
    assert run(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 files can be mended, 0 left; --apply mends"
    assert run([*command, "--apply"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 files mended, 0 left"
    assert run(command) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    assert Origin.SYNTHETIC.value in a_manifest(paths).read_text()

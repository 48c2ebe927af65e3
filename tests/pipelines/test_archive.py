"""Copies of finished days in a folder and on a real S3 server (moto's), and what happens when either is hurt."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import msgspec
import pytest

from overround.cli.app import run
from overround.config import ArchiveSettings, RetentionSettings
from overround.errors import ConfigError, OriginMismatch, StorageError
from overround.market import Origin
from overround.pipelines.archive import archive_lake, restore_lake, unarchived
from overround.pipelines.retain import DAY_MS, retain
from overround.storage import LakePaths, claim_origin
from overround.storage.archive import Archive, open_archive
from overround.timebucket import date_of, day_start_ms

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(120)]

NOW = day_start_ms("2026-06-10") + 12 * 3_600_000
ALWAYS = {"since": "0001-01-01", "until": "9999-12-31"}
SECRET = "planted-secret-of-the-archive"


def ago(days: int) -> str:
    return date_of(NOW - days * DAY_MS)


def a_lake(root: Path, ages: tuple[int, ...] = (0, 1, 2, 3), files: int = 3) -> LakePaths:
    claim_origin(LakePaths(root), Origin.SYNTHETIC)
    for table in ("raw", "orderbook_snapshots", "stats"):
        for age in ages:
            folder = root / table / "venue=kalshi" / f"date={ago(age)}"
            for n in range(files):
                path = folder / f"hour={n % 24:02}" / f"file_{n}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{table} {age} {n} ".encode() * (1 + 997 * n))
            (folder / "_manifest.jsonl").write_text(table)
    for path in root.rglob("*"):
        os.utime(path, (NOW / 1000 - DAY_MS, NOW / 1000 - DAY_MS))
    return LakePaths(root)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(params=["folder", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveSettings:
    if request.param == "folder":
        return ArchiveSettings(url=str(tmp_path / "archive"))
    return on_s3(
        request.getfixturevalue("endpoint"), tmp_path.name.replace("_", "-").replace("[", "-").strip("-]").lower()
    )


def on_s3(endpoint: str, bucket: str) -> ArchiveSettings:
    bucket = f"b-{bucket}"[:50].strip("-")
    httpx2.put(f"{endpoint}/{bucket}").raise_for_status()
    return ArchiveSettings.model_validate(
        {
            "url": f"s3://{bucket}/some/prefix",
            "endpoint": endpoint,
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": SECRET,
        }
    )


@pytest.fixture
def archive(settings: ArchiveSettings) -> Archive:
    found = open_archive(settings)
    assert found is not None
    return found


def copied(paths: LakePaths, archive: Archive, *, check: bool = False, now_ms: int = NOW):
    return archive_lake(paths, archive, now_ms=now_ms, check=check, **ALWAYS)


def test_days_that_are_over_come_back_byte_for_byte(tmp_path: Path, archive: Archive) -> None:
    paths = a_lake(tmp_path / "lake")
    done = copied(paths, archive)
    assert (done.days, done.files, done.present, done.problems) == (9, 36, 0, [])
    again = copied(paths, archive)
    assert (again.days, again.files, again.present) == (9, 0, 36)
    back = restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS)
    assert (back.days, back.files, back.bytes, back.problems) == (9, 36, done.bytes, [])
    expected = {name: data for name, data in contents(paths.root).items() if f"date={ago(0)}" not in name}
    assert contents(tmp_path / "back") == expected
    assert restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS).present == 36


def test_a_range_a_table_and_a_venue_come_alone(tmp_path: Path, archive: Archive) -> None:
    copied(a_lake(tmp_path / "lake"), archive)
    back = LakePaths(tmp_path / "back")
    restore_lake(back, archive, since=ago(2), until=ago(2), table="raw")
    assert [(folder.table, folder.date) for folder in back.day_folders()] == [("raw", ago(2))]
    assert restore_lake(back, archive, venue="polymarket", **ALWAYS).days == 0
    restore_lake(back, archive, since=ago(2), until=ago(1))
    assert {folder.date for folder in back.day_folders()} == {ago(2), ago(1)}


def test_a_file_that_was_written_again_is_copied_again(tmp_path: Path, archive: Archive) -> None:
    paths = a_lake(tmp_path / "lake")
    copied(paths, archive)
    mined = paths.root / "stats/venue=kalshi" / f"date={ago(1)}" / "hour=00" / "file_0"
    mined.write_bytes(mined.read_bytes()[::-1])
    done = copied(paths, archive)
    assert (done.files, done.present) == (1, 35)
    restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS)
    assert (tmp_path / "back" / mined.relative_to(paths.root)).read_bytes() == mined.read_bytes()


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_copied(tmp_path: Path) -> None:
    archive = open_archive(ArchiveSettings(url=str(tmp_path / "archive")))
    assert archive is not None
    paths = a_lake(tmp_path / "lake", ages=(1,))
    gone = paths.root / "raw/venue=kalshi" / f"date={ago(1)}" / "hour=00" / "file_0"
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path == gone and sys._getframe(1).f_code.co_name == "carry":
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "stat", stat)
        done = copied(paths, archive)
    name = gone.relative_to(paths.root).as_posix()
    assert (done.files, done.exit_code, done.problems) == (11, 3, [f"{name}: it cannot be read: Permission denied"])
    assert unarchived(archive)(archive_folder := paths.day_folders()[1]).startswith("hour=00/file_0 is not archived")
    assert archive_folder.table == "raw"
    assert copied(paths, archive).files == 1


class Twists(Archive):
    """A store that keeps something else than it was given."""

    def put(self, key: str, path: Path) -> None:
        twisted = path.with_name(".twisted")
        twisted.write_bytes(path.read_bytes()[::-1] + b"?")
        super().put(key, twisted)
        twisted.unlink()


def test_what_the_store_does_not_give_back_is_not_archived(tmp_path: Path) -> None:
    archive = open_archive(ArchiveSettings(url=str(tmp_path / "archive")))
    assert archive is not None
    paths = a_lake(tmp_path / "lake", ages=(1,))
    copied(paths, archive)
    mined = paths.root / "stats/venue=kalshi" / f"date={ago(1)}" / "hour=00" / "file_0"
    mined.write_bytes(b"mined again")
    done = copied(paths, Twists(archive._store, archive.url))
    assert (done.files, done.exit_code) == (0, 3)
    assert "what was read back differs" in done.problems[0]
    assert "hour=00/file_0" not in archive.receipts(table="stats", **ALWAYS)[0].files
    assert copied(paths, archive).files == 1
    restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS)
    assert (tmp_path / "back" / mined.relative_to(paths.root)).read_bytes() == b"mined again"


def a_receipt(archive: Archive) -> str:
    return archive.receipts(table="raw", since=ago(2), until=ago(2))[0].key


def test_a_lost_object_is_named_and_sent_again(tmp_path: Path, archive: Archive) -> None:
    import obstore

    paths = a_lake(tmp_path / "lake")
    copied(paths, archive)
    lost = f"{a_receipt(archive)}/hour=01/file_1"
    obstore.delete(archive._store, lost)
    back = restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS)
    assert (back.files, back.exit_code, back.problems) == (35, 3, [f"{lost}: the archive has lost it"])
    assert not (tmp_path / "back" / lost).exists()
    assert copied(paths, archive, check=True).files == 1
    assert restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS).files == 1


def test_a_damaged_object_is_never_restored(tmp_path: Path, archive: Archive) -> None:
    import obstore

    paths = a_lake(tmp_path / "lake")
    copied(paths, archive)
    hurt = f"{a_receipt(archive)}/hour=01/file_1"
    whole = (paths.root / hurt).read_bytes()
    obstore.put(archive._store, hurt, whole[:-1] + b"?")
    back = restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS)
    assert [problem.split(":")[0] for problem in back.problems] == [hurt]
    assert "another checksum" in back.problems[0]
    assert not (tmp_path / "back" / hurt).exists()
    assert not list((tmp_path / "back").rglob("*.tmp"))
    assert copied(paths, archive, check=True).files == 1
    assert restore_lake(LakePaths(tmp_path / "back"), archive, **ALWAYS).problems == []


def test_what_is_on_disk_is_not_replaced_unless_told(tmp_path: Path, archive: Archive) -> None:
    paths = a_lake(tmp_path / "lake")
    copied(paths, archive)
    mine = paths.root / "raw/venue=kalshi" / f"date={ago(1)}" / "hour=00" / "file_0"
    whole = mine.read_bytes()
    mine.write_bytes(b"mine")
    assert restore_lake(paths, archive, **ALWAYS).exit_code == 3
    assert mine.read_bytes() == b"mine"
    assert restore_lake(paths, archive, overwrite=True, **ALWAYS).files == 1
    assert mine.read_bytes() == whole


def test_retention_removes_only_what_is_whole_in_the_archive(tmp_path: Path, archive: Archive) -> None:
    import obstore

    paths = a_lake(tmp_path / "lake", ages=(31, 32))
    rules = RetentionSettings(snapshots_days=0)

    def retained():
        return retain(paths, rules, now_ms=NOW, apply=True, unarchived=unarchived(archive))

    assert [stays.reason for stays in retained().kept] == ["it is not archived: `overround lake archive` copies it"] * 2
    copied(paths, archive)
    day = paths.root / "raw/venue=kalshi" / f"date={ago(31)}"
    obstore.delete(archive._store, f"{day.relative_to(paths.root).as_posix()}/hour=00/file_0")
    (day.parent / f"date={ago(32)}" / "late").write_bytes(b"late")
    stays = {each.day.date: each.reason for each in retained().kept}
    assert stays[ago(31)].startswith("the archive has lost hour=00/file_0")
    assert stays[ago(32)].startswith("late is not archived as it is")
    assert day.is_dir()
    copied(paths, archive, check=True)
    (day / "hour=00" / ".file.parquet.tmp").write_bytes(b"half written")
    assert (len(retained().removed), day.exists()) == (2, False)
    restore_lake(paths, archive, table="raw", **ALWAYS)
    assert day.is_dir()


def test_rows_of_the_other_origin_are_not_restored_into_a_lake(tmp_path: Path, archive: Archive) -> None:
    copied(a_lake(tmp_path / "lake"), archive)
    live = LakePaths(tmp_path / "live")
    claim_origin(live, Origin.LIVE)
    with pytest.raises(OriginMismatch):
        restore_lake(live, archive, **ALWAYS)


@pytest.mark.parametrize("name", ["../../../../out", "hour=00/../../../../out", "C:out", "..\\out"])
def test_a_receipt_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    archive = open_archive(ArchiveSettings(url=str(tmp_path / "archive")))
    assert archive is not None
    copied(a_lake(tmp_path / "lake"), archive)
    receipt = archive.receipts(table="raw", since=ago(1), until=ago(1))[0]
    file = receipt.files["hour=00/file_0"]
    archive.write_receipt(msgspec.structs.replace(receipt, files={name: file}))
    back = restore_lake(
        LakePaths(tmp_path / "a" / "b" / "c" / "back"), archive, table="raw", since=ago(1), until=ago(1)
    )
    assert back.problems == [f"{receipt.key}/{name}: this name leads out of the lake"]
    assert not list(tmp_path.rglob("*out*"))


def overround(settings: ArchiveSettings, *arguments: str) -> subprocess.Popen[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OVERROUND_")}
    for name, value in settings.model_dump().items():
        environ[f"OVERROUND_ARCHIVE__{name.upper()}"] = value.get_secret_value() if name.startswith("secret") else value
    command = [sys.executable, "-c", "from overround.cli import main; main()", "lake", *arguments]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGKILL")
def test_killed_halfway_it_goes_on_and_restores_the_whole(tmp_path: Path, endpoint: str) -> None:
    paths = a_lake(tmp_path / "lake", files=24)
    settings = on_s3(endpoint, "killed")
    archive = open_archive(settings)
    assert archive is not None
    # The process' days are today's: all of these are over.
    everything = [name for name in contents(paths.root) if "venue=" in name]

    def there() -> int:
        return sum(archive.size(name) is not None for name in everything[:: len(everything) // 20])

    first = overround(settings, "archive", "--data-dir", str(paths.root))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and there() < 6:
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=20)
    held = sum(archive.size(name) is not None for name in everything)
    assert 0 < held < len(everything)
    second = overround(settings, "archive", "--data-dir", str(paths.root), "--json")
    out, err = second.communicate(timeout=100)
    assert second.returncode == 0, err
    done = msgspec.json.decode(out)
    assert (done["files"], done["present"], done["problems"]) == (len(everything) - held, held, [])
    third = overround(settings, "restore", "--data-dir", str(tmp_path / "back"))
    out, err = third.communicate(timeout=100)
    assert third.returncode == 0, err
    back = contents(tmp_path / "back")
    assert {name: back[name] for name in everything} == {name: (paths.root / name).read_bytes() for name in everything}
    assert {name for name in back if "venue=" in name} == set(everything)


def test_a_store_that_is_away_is_one_clear_error_and_nothing_is_removed(tmp_path: Path) -> None:
    paths = a_lake(tmp_path / "lake", ages=(31,))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = ArchiveSettings.model_validate(
            {
                "url": "s3://bucket",
                "endpoint": f"http://127.0.0.1:{nobody.getsockname()[1]}",
                "region": "us-east-1",
                "access_key_id": "key",
                "secret_access_key": SECRET,
            }
        )
        archive = open_archive(settings)
        assert archive is not None
        with pytest.raises(StorageError, match="s3://bucket"):
            retain(paths, RetentionSettings(), now_ms=NOW, apply=True, unarchived=unarchived(archive))
        process = overround(settings, "archive", "--data-dir", str(paths.root))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: s3://bucket" in err
    assert "hint:" in err
    assert SECRET not in out + err
    assert "Traceback" not in err
    assert len(paths.day_folders()) == 3


def test_settings_that_name_no_store_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert open_archive(ArchiveSettings()) is None
    with pytest.raises(ConfigError, match="ftp://x"):
        open_archive(ArchiveSettings(url="ftp://x"))
    with pytest.raises(ConfigError, match="s3:///"):
        open_archive(ArchiveSettings(url="s3:///"))
    assert run(["lake", "archive", "--data-dir", str(tmp_path)]) == 2
    assert "no archive is configured" in capsys.readouterr().err

"""The miner, the reports and SQL over a lake on a real S3 server (moto's): the same figures as over the folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import obstore
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from test_mine_days import DAYS, NOON, record

from overround.cli.app import run
from overround.config import ArchiveSettings
from overround.pipelines.archive import archive_lake
from overround.pipelines.mine import mine
from overround.pipelines.sql import ask
from overround.pipelines.viability import mm_viability
from overround.storage import SNAPSHOTS, LakePaths, objects, write_universe
from overround.storage.archive import open_archive, open_store
from overround.storage.objects import RemoteLake, open_lake
from overround.testing.markets import a_market

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(120)]

DAY = DAYS[0]
SECRET = "planted-secret-of-the-lake"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    paths = record(tmp_path_factory.mktemp("lake"), NOON)
    write_universe(paths, "kalshi", DAY, [a_market(n, close_ts=10**13) for n in range(3)])
    return paths


@pytest.fixture
def settings(endpoint: str, tmp_path: Path) -> ArchiveSettings:
    bucket = f"lake-{os.getpid()}-{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-").lower()[-60:].strip("-")
    httpx2.put(f"{endpoint}/{bucket}").raise_for_status()
    return ArchiveSettings.model_validate(
        {
            "url": f"s3://{bucket}/some/lake", "endpoint": endpoint, "region": "us-east-1", "access_key_id": "key",
            "secret_access_key": SECRET,
        }
    )  # fmt: skip


@pytest.fixture
def remote(local: LakePaths, settings: ArchiveSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteLake:
    monkeypatch.setattr(objects, "_OPEN", {})
    store = open_store(settings.url, settings)
    for path in local.root.rglob("*"):
        if path.is_file() and ".mined" not in path.parts and "stats" not in path.parts:
            obstore.put(store, path.relative_to(local.root).as_posix(), path)
    found = open_lake(Path(settings.url), settings, tmp_path / "work")
    assert isinstance(found, RemoteLake)
    return found


def stored(settings: ArchiveSettings) -> dict[str, str | None]:
    pages = obstore.list(open_store(settings.url, settings))
    return {str(each["path"]): each["e_tag"] for page in pages for each in page}


def test_figures_are_those_of_the_folder_and_nothing_is_written_there(
    local: LakePaths, remote: RemoteLake, settings: ArchiveSettings
) -> None:
    before = stored(settings)
    here, there = mine(local, "kalshi", DAY), mine(remote, "kalshi", DAY)
    assert there.n_snapshots > 0
    assert (there.by_depth, there.most_interesting, there.skipped) == (here.by_depth, here.most_interesting, ())
    assert_frame_equal(pl.read_parquet(remote.stats("kalshi", DAY)), pl.read_parquet(local.stats("kalshi", DAY)))
    assert mine(remote, "kalshi", DAY).n_kept == there.n_files
    assert mm_viability(remote, "kalshi", DAY).markets == mm_viability(local, "kalshi", DAY).markets
    for text in (
        "select count(*), sum(seq), sum(len(bid_px)), min(date), max(hour) from snapshots",
        "select outcome_id, sum(sz) from trades group by all order by all",
        "select cause, count(*) from gaps group by all",
        "select title from universe order by all",
        "select n_snapshots, interest from stats order by market_id, outcome_id",
    ):
        with ask(local, text) as expected, ask(remote, text) as found:
            assert found.result.fetchall() == expected.result.fetchall()
            assert found.skipped == ()
    assert stored(settings) == before


def test_a_damaged_object_in_the_middle_is_named(
    local: LakePaths, remote: RemoteLake, settings: ArchiveSettings
) -> None:
    hurt = local.files_of(SNAPSHOTS)[3]
    name = local.name_of(hurt)
    obstore.put(open_store(settings.url, settings), name, hurt.read_bytes()[:-9])
    result = mine(remote, "kalshi", DAY)
    assert result.incomplete
    assert [each.path for each in result.skipped] == [f"{settings.url}/{name}"]
    with ask(remote, "select count(*) from snapshots") as answer:
        assert [each.path for each in answer.skipped] == [f"{settings.url}/{name}"]


def test_a_lost_object_is_named(local: LakePaths, remote: RemoteLake, settings: ArchiveSettings) -> None:
    name = local.name_of(local.files_of(SNAPSHOTS)[3])
    obstore.delete(open_store(settings.url, settings), name)
    assert [(each.path, each.reason) for each in mine(remote, "kalshi", DAY).skipped] == [
        (f"{settings.url}/{name}", "the file is missing")
    ]
    with ask(remote, "select count(*) from snapshots") as answer:
        assert [each.path for each in answer.skipped] == [f"{settings.url}/{name}"]


def overround(settings: ArchiveSettings, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OVERROUND_")}
    for name, value in settings.model_dump().items():
        environ[f"OVERROUND_ARCHIVE__{name.upper()}"] = value.get_secret_value() if name.startswith("secret") else value
    environ["OVERROUND_DATA_DIR"] = settings.url
    command = [sys.executable, "-c", "from overround.cli import main; main()", *arguments, "--log-level", "error"]
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


def test_commands_read_where_data_dir_says(remote: RemoteLake, settings: ArchiveSettings, tmp_path: Path) -> None:
    mined = overround(settings, tmp_path, "mine", "--venue", "kalshi", "--date", DAY, "--json")
    assert mined.returncode == 0, mined.stderr
    assert (tmp_path / json.loads(mined.stdout)["stats_path"]).is_file()
    for arguments in (
        ("mm-viability", "--venue", "kalshi", "--date", DAY),
        ("coverage", "--venue", "kalshi", "--date", DAY),
        ("report", "--venue", "kalshi", "--date", DAY),
        ("sql", "select count(*) from trades"),
    ):
        done = overround(settings, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    refused = overround(settings, tmp_path, "lake", "ls")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{settings.url} is an object store" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"work"}


def test_a_store_that_is_away_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = ArchiveSettings.model_validate(
            {
                "url": "s3://bucket/lake", "endpoint": f"http://127.0.0.1:{nobody.getsockname()[1]}", "region": "us-east-1",
                "access_key_id": "key", "secret_access_key": SECRET,
            }
        )  # fmt: skip
        done = overround(settings, tmp_path, "sql", "select count(*) from snapshots")
    assert done.returncode == 1
    assert "error: s3://bucket/lake" in done.stderr
    assert "hint:" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["folder", "store"])
def test_sql_asks_the_archive(
    where: str, local: LakePaths, settings: ArchiveSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(objects, "_OPEN", {})
    chosen = settings if where == "store" else ArchiveSettings(url=str(tmp_path / "archive"))
    archive = open_archive(chosen)
    assert archive is not None
    done = archive_lake(local, archive, now_ms=NOON + 10 * 86_400_000, since="0001-01-01", until="9999-12-31")
    assert done.problems == []
    for name, value in chosen.model_dump().items():
        monkeypatch.setenv(
            f"OVERROUND_ARCHIVE__{name.upper()}", value.get_secret_value() if name.startswith("secret") else value
        )
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(["sql", "--archive", "select count(*) as n from snapshots", "--json"]) == 0
    with ask(local, "select count(*) as n from snapshots") as answer:
        assert json.loads(capsys.readouterr().out) == [{"n": answer.result.fetchall()[0][0]}]
    assert run(["sql", "--archive", "select 1", "--data-dir", str(local.root)]) == 2

"""A tree in an object store is listed and read as the same tree in a folder is."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from overround.config import ArchiveSettings
from overround.errors import ConfigError, StorageError
from overround.storage import COVERAGE, SNAPSHOTS, LakePaths, objects
from overround.storage.objects import ObjectPath, RemoteLake, open_lake
from overround.storage.paths import FILES

TREE = [
    "_origin.json",
    "coverage/venue=kalshi/date=2026-01-14/_manifest.jsonl",
    "coverage/venue=kalshi/date=2026-01-14/coverage_2026-01-14T12-00.parquet",
    "metadata/venue=kalshi/date=2026-01-14/universe.jsonl",
    "orderbook_snapshots/venue=kalshi/date=2026-01-14/_manifest.jsonl",
    "orderbook_snapshots/venue=kalshi/date=2026-01-14/hour=12/snapshots_2026-01-14T12-00.parquet",
    "orderbook_snapshots/venue=kalshi/date=2026-01-14/hour=12/snapshots_foreign.parquet",
    "orderbook_snapshots/venue=kalshi/date=2026-01-15/hour=00/snapshots_2026-01-15T00-00.parquet",
    "orderbook_snapshots/venue=polymarket/date=2026-01-14/hour=12/snapshots_2026-01-14T12-00.parquet",
    "reports/mm_viability/venue=kalshi/date=2026-01-14/mm_viability.parquet",
    "stats/venue=kalshi/date=2026-01-14/stats.parquet",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / "lake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "lake"


@pytest.fixture
def remote(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteLake:
    store = MemoryStore()
    for name in TREE:
        obstore.put(store, name, (folder / name).read_bytes())
    monkeypatch.setattr(objects, "_OPEN", {"s3:/bucket/lake": objects._Objects(store, "s3://bucket/lake", {})})
    return RemoteLake(ObjectPath("s3://bucket/lake"), tmp_path / "work")


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "*/*",
        "*/venue=*/date=*",
        "*/*/venue=*/date=*",
        "coverage/venue=*/date=*/_manifest.*jsonl",
        "stats/*",
        "no/*",
        "_origin.json",
    ],
)
def test_patterns_match_what_they_match_in_a_folder(folder: Path, remote: RemoteLake, pattern: str) -> None:
    expected = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    assert sorted(path.relative_to(remote.root).as_posix() for path in remote.root.glob(pattern)) == expected


def test_the_lake_lists_the_same(folder: Path, remote: RemoteLake) -> None:
    local = LakePaths(folder)
    for lake in (local, remote):
        assert lake.venues(SNAPSHOTS) == ["kalshi", "polymarket"]
        assert lake.days(SNAPSHOTS, "kalshi") == ["2026-01-14", "2026-01-15"]
        assert lake.days(SNAPSHOTS, "nobody") == []
        assert lake.hours(SNAPSHOTS, "kalshi", "2026-01-14") == ["12"]
        assert [path.name for path in lake.bucket_files(SNAPSHOTS, "kalshi", "2026-01-14", "12")] == [
            "snapshots_2026-01-14T12-00.parquet"
        ]
        assert len(lake.manifests(COVERAGE, "kalshi", "2026-01-14")) == 1
        assert lake.universe("kalshi", "2026-01-14").is_file()
        assert not lake.universe("kalshi", "2026-01-15").is_file()
    for place in (SNAPSHOTS, COVERAGE, *FILES.values()):
        assert [remote.name_of(path) for path in remote.files_of(place)] == [
            local.name_of(path) for path in local.files_of(place)
        ]
    assert [day.key for day in remote.day_folders()] == [day.key for day in local.day_folders()]
    assert [[path.name for path in day.files()] for day in remote.day_folders()] == [
        [path.name for path in day.files()] for day in local.day_folders()
    ]


def test_what_is_read_is_what_is_there(folder: Path, remote: RemoteLake) -> None:
    path = remote.universe("kalshi", "2026-01-14")
    text = TREE[3].encode()
    assert str(path) == f"s3://bucket/lake/{TREE[3]}"
    assert path.stat().st_size == len(text)
    with objects.open_ranges(path) as file:
        file.seek(3)
        assert bytes(file.read(4)) == text[3:7]
    assert path.read_bytes() == path.open("rb").read() == text
    with objects.open_ranges(path) as file:
        assert file.read() == text
    with pytest.raises(FileNotFoundError):
        remote.universe("kalshi", "2026-01-16").read_bytes()
    with pytest.raises(FileNotFoundError):
        remote.universe("kalshi", "2026-01-16").stat()
    with pytest.raises(StorageError, match="only be read"):
        path.open("wb")


def test_what_is_made_of_it_lies_in_the_work_folder(tmp_path: Path, remote: RemoteLake) -> None:
    work = tmp_path / "work"
    for path in (
        remote.stats("kalshi", "2026-01-16"),
        remote.mm_viability("kalshi", "2026-01-16"),
        remote.mined("kalshi", "2026-01-16"),
        remote.pipeline_runs(),
        remote.pipeline_runs_lock(),
    ):
        assert path.is_relative_to(work)
    made = remote.stats("kalshi", "2026-01-14")
    assert remote.files_of(FILES["stats"]) == [remote.root / TREE[-1]]
    made.parent.mkdir(parents=True)
    made.write_text("made")
    assert remote.files_of(FILES["stats"]) == [made]


def test_only_so_much_is_kept_in_memory(remote: RemoteLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_HELD_BYTES", 200)
    store = objects._OPEN["s3:/bucket/lake"]
    for name in TREE:
        (remote.root / name).read_bytes()
    assert sum(map(len, store._held.values())) <= 200
    assert store.holds(TREE[-1])


def test_folders_stay_folders_and_addresses_are_understood(tmp_path: Path) -> None:
    assert type(open_lake(tmp_path, ArchiveSettings(), tmp_path)) is LakePaths
    lake = open_lake(Path("s3://some-bucket/lake/"), ArchiveSettings(region="us-east-1"), tmp_path)
    assert (str(lake.root), lake.stats("v", "d").parts[: len(tmp_path.parts) + 1]) == (
        "s3://some-bucket/lake",
        (*tmp_path.parts, "s3_some-bucket_lake"),
    )
    with pytest.raises(ConfigError, match="s3://some-bucket/lake is an object store"):
        LakePaths(Path("s3://some-bucket/lake"))

"""The manifest survives torn lines."""

from __future__ import annotations

from pathlib import Path

from overround.storage.fileops import FileOps
from overround.storage.manifest import ManifestLine, append_line, read_manifest, read_manifests


def line(file: str, rows: int) -> ManifestLine:
    return ManifestLine(
        file=file,
        rows=rows,
        bytes=10,
        first_ts=1,
        last_ts=2,
        sha256="x",
        schema_version=1,
        writer="overround",
        origin="live",
    )


def test_the_last_line_of_a_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "day" / "_manifest.jsonl"
    for rows in (1, 2):
        append_line(FileOps(), path, line("a", rows))
        append_line(FileOps(), path, line("b", rows * 10))
    assert {name: found.rows for name, found in read_manifest(path).items()} == {"a": 2, "b": 20}


def test_a_torn_line_is_passed_over_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "_manifest.jsonl"
    append_line(FileOps(), path, line("a", 1))
    whole = path.read_bytes()
    append_line(FileOps(), path, line("b", 2))
    for length in range(len(whole), path.stat().st_size):
        torn = tmp_path / f"torn{length}.jsonl"
        torn.write_bytes(path.read_bytes()[:length])
        append_line(FileOps(), torn, line("c", 3))
        found = read_manifest(torn)
        assert found["c"].rows == 3
        assert found["a"].rows == 1


def test_shards_manifests_are_read_together(tmp_path: Path) -> None:
    for shard in range(2):
        append_line(FileOps(), tmp_path / f"_manifest.s{shard}of2.jsonl", line(f"f{shard}", shard))
    assert sorted(read_manifests(sorted(tmp_path.glob("_manifest*")))) == ["f0", "f1"]
    assert read_manifests([tmp_path / "absent"]) == {}

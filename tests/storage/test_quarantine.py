"""Messages set aside: bounded, readable as a journal, whole after a crash."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from overround.errors import FileDamaged
from overround.market import Drift, DriftSort, DriftState
from overround.storage import (
    JournalEntry,
    LakePaths,
    Quarantine,
    accept_drift,
    add_drift,
    count_quarantined,
    read_drift,
    read_quarantine,
)
from overround.testing.disks import FailingDisk

NOON = 1_768_392_000_000
DAY = "2026-01-14"


def quarantine(root: Path, **bounds: int) -> Quarantine:
    wanted = {"bytes_per_day": 1 << 20, "per_name_and_day": 50} | bounds
    return Quarantine(LakePaths(root), "kalshi", writer="1-a", **wanted)


def put(aside: Quarantine, message: bytes, *, now_ms: int = NOON, name: str = "x") -> bool:
    return aside.put(
        now_ms=now_ms, recv_ns=now_ms * 1_000_000, conn="kalshi-0.1", message=message, why="domain", name=name
    )


def test_lines_read_back_and_read_as_a_journal(tmp_path: Path) -> None:
    aside = quarantine(tmp_path)
    messages = [b'{"a":\n1}\n', b"PANG", b"\xff\xfe", b'{"torn":']
    assert all(put(aside, message) for message in messages)
    assert aside.flush(NOON)
    (path,) = LakePaths(tmp_path).quarantine_files("kalshi", DAY)
    found = list(read_quarantine(path))
    assert [entry.wire for entry in found] == [b'{"a": 1}', b"PANG", b"\xff\xfe", b'{"torn":']
    assert {(entry.why, entry.name, entry.conn) for entry in found} == {("domain", "x", "kalshi-0.1")}
    assert count_quarantined(path) == {("domain", "x"): 4}
    entries = [msgspec.json.decode(line, type=JournalEntry) for line in path.read_bytes().splitlines()]
    assert [entry.wire for entry in entries] == [entry.wire for entry in found]
    assert {entry.recv_ns for entry in entries} == {NOON * 1_000_000}


def test_a_torn_last_line_is_left_out_and_a_restart_writes_its_own_file(tmp_path: Path) -> None:
    aside = quarantine(tmp_path)
    put(aside, b"1")
    aside.flush(NOON)
    (path,) = LakePaths(tmp_path).quarantine_files("kalshi", DAY)
    with path.open("ab") as file:
        file.write(b'{"recv_ns":17')
    assert [entry.wire for entry in read_quarantine(path)] == [b"1"]
    assert count_quarantined(path) == {("domain", "x"): 1}
    put(aside, b"2")
    aside.flush(NOON)
    assert [entry.wire for entry in read_quarantine(path)] == [b"1", b"2"], "what lay beyond was cut off"


def test_one_name_is_bounded_by_minute_and_day(tmp_path: Path) -> None:
    aside = quarantine(tmp_path, per_name_and_day=15)
    assert sum(put(aside, b"1") for _ in range(100)) == 10
    assert put(aside, b"1", name="another")
    assert sum(put(aside, b"1", now_ms=NOON + 60_000) for _ in range(100)) == 5
    assert sum(put(aside, b"1", now_ms=NOON + 24 * 3_600_000) for _ in range(3)) == 3
    assert (aside.kept, aside.turned_away) == (19, 185)


def test_a_day_is_bounded_in_bytes_over_all_writers(tmp_path: Path) -> None:
    first, second = quarantine(tmp_path, bytes_per_day=3_000), quarantine(tmp_path, bytes_per_day=3_000)
    second._writer = "2-b"
    for number in range(20):
        put(first, b'"%s"' % (b"x" * 200), name=str(number))
    first.flush(NOON)
    for number in range(20):
        put(second, b'"%s"' % (b"x" * 200), name=str(number))
    second.flush(NOON)
    size = sum(path.stat().st_size for path in LakePaths(tmp_path).quarantine_files("kalshi", DAY))
    assert 2_000 < size < 4_500
    assert second.kept < first.kept


def test_a_disk_that_refuses_costs_nothing(tmp_path: Path) -> None:
    disk = FailingDisk()
    aside = Quarantine(LakePaths(tmp_path), "kalshi", writer="1", bytes_per_day=1 << 20, per_name_and_day=9, ops=disk)
    put(aside, b"1")
    disk.read_only = True
    assert not aside.flush(NOON)
    put(aside, b"2")
    disk.read_only = False
    assert aside.flush(NOON)
    (path,) = LakePaths(tmp_path).quarantine_files("kalshi", DAY)
    assert [entry.wire for entry in read_quarantine(path)] == [b"1", b"2"]


def found(name: str, *, first_ms: int = 1, count: int = 1) -> DriftState:
    drift = Drift(sort=DriftSort.UNKNOWN_FIELD, name=name, first_ms=first_ms, last_ms=first_ms, count=count)
    return DriftState(found={drift.key: drift})


def test_what_processes_count_adds_up_in_the_file(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    assert read_drift(paths, "kalshi") == DriftState()
    add_drift(paths, "kalshi", found("a", first_ms=5))
    add_drift(paths, "kalshi", found("a", first_ms=3, count=4))
    merged = add_drift(paths, "kalshi", found("b"))
    assert read_drift(paths, "kalshi") == merged
    entry = merged.found["unknown_field a"]
    assert (entry.first_ms, entry.last_ms, entry.count) == (3, 5, 5)


def test_accepting_marks_by_name_or_all_and_counts_nothing(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    add_drift(paths, "kalshi", found("a", count=3))
    add_drift(paths, "kalshi", found("b"))
    assert accept_drift(paths, "kalshi", frozenset({"a"}), now_ms=9)[0].key == "unknown_field a"
    state = read_drift(paths, "kalshi").found
    assert (state["unknown_field a"].accepted_ms, state["unknown_field a"].count) == (9, 3)
    assert state["unknown_field b"].accepted_ms is None
    assert len(accept_drift(paths, "kalshi", None, now_ms=10)) == 1, "what was accepted before is not again"


def test_a_damaged_file_is_named_to_readers_and_set_aside_by_writers(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    paths.drift("kalshi").parent.mkdir(parents=True)
    paths.drift("kalshi").write_bytes(b'{"found":')
    with pytest.raises(FileDamaged, match=r"drift\.json"):
        read_drift(paths, "kalshi")
    assert list(add_drift(paths, "kalshi", found("a")).found) == ["unknown_field a"]
    assert paths.drift("kalshi").with_name("drift.damaged").exists()

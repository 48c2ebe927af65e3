"""The journal keeps every frame as it came and reads back after anything."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from overround.storage import JOURNAL, FrameJournal, LakePaths, read_journal
from overround.storage.journal import JournalEntry, check_journal
from overround.testing.clock import ManualClock
from overround.testing.disks import FailingDisk

Make = Callable[..., FrameJournal]
NS = 1_000_000


@pytest.fixture
def make(paths: LakePaths, clock: ManualClock) -> Make:
    def journal(**options: object) -> FrameJournal:
        return FrameJournal(paths, "kalshi", level=1, bucket_s=300, clock=clock, **options)  # type: ignore[arg-type]

    return journal


def files(paths: LakePaths) -> list[Path]:
    return [
        path
        for date in paths.days(JOURNAL, "kalshi")
        for hour in paths.hours(JOURNAL, "kalshi", date)
        for path in paths.journal_files("kalshi", date, hour)
    ]


def entries(paths: LakePaths) -> list[JournalEntry]:
    return [entry for path in files(paths) for entry in read_journal(path)]


def test_every_kind_of_line_has_the_documented_form(paths: LakePaths, clock: ManualClock, make: Make) -> None:
    journal, ns = make(), clock.now_ns()
    journal.mark("k-0", ns, "opened", markets=3)
    journal.sent("k-0", ns + 1, '{"id":1,"cmd":"subscribe"}')
    journal.sent("k-0", ns + 2, "PING")
    journal.frame("k-0", ns + 3, b'{"type":"ok", "x":1.50}', True)
    journal.frame("k-0", ns + 4, b"PONG", False)
    journal.frame("k-0", ns + 5, b"\xff\x00", False)
    journal.close()
    lines = [
        b'{"ns":%d,"conn":"k-0","event":"opened","markets":3}' % ns,
        b'{"sent_ns":%d,"conn":"k-0","frame":{"id":1,"cmd":"subscribe"}}' % (ns + 1),
        b'{"sent_ns":%d,"conn":"k-0","text":"PING"}' % (ns + 2),
        b'{"recv_ns":%d,"conn":"k-0","frame":{"type":"ok", "x":1.50}}' % (ns + 3),
        b'{"recv_ns":%d,"conn":"k-0","text":"PONG"}' % (ns + 4),
        b'{"recv_ns":%d,"conn":"k-0","base64":"/wA="}' % (ns + 5),
    ]
    (path,) = files(paths)
    assert path.name == "frames_2026-01-14T12-05.jsonl.zst"
    read = list(read_journal(path))
    assert read[0].line == lines[0]
    assert [entry.event for entry in read] == ["opened", "", "", "", "", ""]
    assert [entry.at_ns for entry in read] == [ns + n for n in range(6)]
    assert [entry.wire for entry in read] == [
        b"",
        b'{"id":1,"cmd":"subscribe"}',
        b"PING",
        b'{"type":"ok", "x":1.50}',
        b"PONG",
        b"\xff\x00",
    ]
    assert decompressed(path).splitlines() == lines


def decompressed(path: Path) -> bytes:
    import sys

    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.decompress(path.read_bytes())


def test_line_breaks_between_tokens_become_blanks_and_names_may_be_odd(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal = make()
    journal.frame('c"%d%\n', clock.now_ns(), b'{"a":\r\n[1,\n2]}', True)
    journal.close()
    (entry,) = entries(paths)
    assert entry.conn == 'c"%d%\n'
    assert entry.wire == b'{"a":  [1, 2]}'
    assert msgspec.json.decode(entry.wire) == {"a": [1, 2]}


def test_a_file_torn_at_any_byte_reads_up_to_an_earlier_line(paths: LakePaths, clock: ManualClock, make: Make) -> None:
    journal = make()
    ends = []
    for number in range(12):
        journal.frame("k", clock.now_ns() + number, b'{"n":%d}' % number, True)
        if number % 3 == 2:
            journal.flush()
            ends.append((journal.bytes_written, number + 1))
    (path,) = files(paths)
    data = path.read_bytes()
    assert len(data) == journal.bytes_written
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        read = [entry.wire for entry in read_journal(path)]
        assert read == [b'{"n":%d}' % number for number in range(len(read))]
        flushed = max((n for end, n in ends if end <= length), default=0)
        assert len(read) >= flushed


def test_rubbish_in_the_middle_is_told_and_what_stands_before_is_read(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal = make()
    journal.frame("k", clock.now_ns(), b'{"n":0}', True)
    journal.flush()
    first = journal.bytes_written
    journal.frame("k", clock.now_ns(), b'{"n":1}', True)
    journal.close()
    (path,) = files(paths)
    assert check_journal(path) == (2, True, "")
    path.write_bytes(path.read_bytes()[:first] + b"\xff" * 80)
    assert [entry.wire for entry in read_journal(path)] == [b'{"n":0}']
    assert check_journal(path).damage


def test_each_bucket_has_its_file_and_a_restart_never_touches_an_earlier_one(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    for run in range(2):
        journal = make()
        for _ in range(4):
            journal.frame("k", clock.now_ns(), b'{"run":%d}' % run, True)
            clock.skip_ms(100_000)
        if run:
            journal.close()
        else:
            journal.flush()  # and the process dies
        clock.skip_ms(-400_000 if not run else 0)
    names = ["frames_2026-01-14T12-05.jsonl.zst", "frames_2026-01-14T12-05.r1.jsonl.zst"]
    names += ["frames_2026-01-14T12-10.jsonl.zst", "frames_2026-01-14T12-10.r1.jsonl.zst"]
    assert [path.name for path in files(paths)] == names
    assert [entry.wire[-2:-1] for path in files(paths) for entry in read_journal(path)] == [b"0"] * 3 + [b"1"] * 3 + [
        b"0"
    ] + [b"1"]


def test_frames_of_two_connections_a_little_out_of_order_stay_in_one_file(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal = make()
    clock.skip_ms(299_000)  # the next bucket has begun
    for offset_ms in (0, -5, 3, -900, 7):
        journal.frame("k", clock.now_ns() + offset_ms * NS, b"{}", True)
    journal.close()
    assert [path.name for path in files(paths)] == ["frames_2026-01-14T12-10.jsonl.zst"]
    assert len(entries(paths)) == 5


def test_a_clock_set_back_an_hour_opens_the_older_buckets_file(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal = make()
    for step_ms in (0, -3_600_000, 7_200_000):
        clock.step_wall_ms(step_ms)
        journal.frame("k", clock.now_ns(), b"{}", True)
    journal.close()
    assert [path.name[18:23] for path in files(paths)] == ["11-05", "12-05", "13-05"]
    assert len(entries(paths)) == 3


def test_sent_frames_and_events_turn_the_file_too(paths: LakePaths, clock: ManualClock, make: Make) -> None:
    journal = make()
    journal.sent("k", clock.now_ns() + 300_000 * NS, "PING")
    journal.mark("k", clock.now_ns() + 600_000 * NS, "closed", reason="x")
    journal.close()
    assert [path.name[18:23] for path in files(paths)] == ["12-10", "12-15"]
    assert journal.flush()


def test_bytes_waiting_are_those_of_the_frames_until_they_are_compressed(clock: ManualClock, make: Make) -> None:
    journal = make()
    journal.frame("k", clock.now_ns(), b"12345", True)
    journal.frame("k", clock.now_ns() + 300_000 * NS, b"123", True)
    assert journal.pending_bytes == 8
    journal.flush()
    assert journal.pending_bytes == 0


@pytest.mark.parametrize("fault", ["full", "read_only", "sync_fails"])
def test_frames_wait_while_the_disk_refuses_and_are_written_later_once(
    paths: LakePaths, clock: ManualClock, make: Make, fault: str
) -> None:
    disk = FailingDisk()
    journal = make(ops=disk)
    expected = []
    for number in range(40):
        setattr(disk, fault, 10 <= number < 30)
        frame = b'{"n":%d}' % number
        expected.append(frame)
        journal.frame("k", clock.now_ns(), frame, True)
        assert journal.flush() is not (10 <= number < 30)
        assert bool(journal.last_error) is (10 <= number < 30)
        clock.skip_ms(40_000)  # across buckets
    assert journal.close()
    assert [entry.wire for entry in entries(paths)] == expected
    assert (journal.failures, journal.dropped, journal.pending_bytes) == (20, 0, 0)
    assert all(check_journal(path).ended for path in files(paths))


def test_past_the_bound_the_oldest_frames_are_given_up_and_counted(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    disk = FailingDisk()
    journal = make(ops=disk, pending_limit=200_000)
    disk.read_only = True
    for number in range(3_000):
        noise = random.Random(number).randbytes(600).hex().encode()
        journal.frame("k", clock.now_ns(), b'{"n":%d,"noise":"%s"}' % (number, noise), True)
        if number % 100 == 99:
            journal.flush()
    disk.read_only = False
    assert journal.close()
    read = entries(paths)
    kept = [msgspec.json.decode(entry.wire)["n"] for entry in read if not entry.event]
    assert kept == sorted(set(kept))
    assert kept[-1] == 2_999
    assert len(kept) + journal.dropped == 3_000
    assert journal.dropped > 500
    holes = [msgspec.json.decode(entry.line) for entry in read if entry.event]
    assert {hole["event"] for hole in holes} == {"dropped"}, "a line stands where entries are missing"
    assert sum(hole["entries"] for hole in holes) == journal.dropped


def test_a_runs_files_are_numbered(paths: LakePaths, clock: ManualClock, make: Make) -> None:
    journal = make(run_id="abc")
    for _ in range(3):
        journal.frame("k", clock.now_ns(), b"{}", True)
        clock.skip_ms(300_000)
        journal.flush()
    journal.close()
    heads = [msgspec.json.decode(next(iter(read_journal(path))).line) for path in files(paths)]
    assert [(head["event"], head["run"], head["number"]) for head in heads] == [
        ("file", "abc", number) for number in range(3)
    ]


def test_flushing_in_a_thread_beside_the_frames_loses_and_repeats_none(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal, done = make(), threading.Event()

    def flush() -> None:
        while not done.is_set():
            journal.flush()

    thread = threading.Thread(target=flush)
    thread.start()
    start = clock.now_ns()
    for number in range(60_000):
        journal.frame("k", start + number * 10 * NS, b"%d" % number, True)
    done.set()
    thread.join()
    journal.close()
    assert [int(entry.wire) for entry in entries(paths)] == list(range(60_000))
    assert len(files(paths)) == 3


def test_a_file_removed_under_the_journal_is_followed_by_a_new_one(
    paths: LakePaths, clock: ManualClock, make: Make
) -> None:
    journal = make()
    journal.frame("k", clock.now_ns(), b"1", True)
    journal.flush()
    files(paths)[0].unlink()
    journal.frame("k", clock.now_ns(), b"2", True)
    assert not journal.flush()
    journal.frame("k", clock.now_ns(), b"3", True)
    assert journal.close()
    assert [entry.wire for entry in entries(paths)][-1] == b"3"

"""Files of one connection become its stream again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.replay import merge
from overround.replay.frames import RecordedFrame
from overround.replay.merge import merge_by_number, merge_by_time, starts_over


def numbered(sid: int, seq: int, *, recv_ns: int | None = None, kind: str = "orderbook_delta") -> RecordedFrame:
    frame = b'{"type":"%b","sid":%d,"seq":%d}' % (kind.encode(), sid, seq)
    return RecordedFrame(recv_ns, "", frame, sid=sid, seq=seq)


def plain(recv_ns: int, text: bytes = b"x") -> RecordedFrame:
    return RecordedFrame(recv_ns, "", text)


def by_time(files: Sequence[Sequence[RecordedFrame]], *, is_numbered: bool = True) -> list[RecordedFrame]:
    timed = [(file[0].recv_ns or 0, lambda file=file: iter(file)) for file in files if file]
    return list(merge_by_time(timed, lambda frame: frame.recv_ns, numbered=is_numbered))


def split(frames: Sequence[RecordedFrame], n_files: int, rng: random.Random) -> list[list[RecordedFrame]]:
    files: list[list[RecordedFrame]] = [[] for _ in range(n_files)]
    for frame in frames:
        rng.choice(files).append(frame)
    return files


def connection(n_frames: int, rng: random.Random) -> list[RecordedFrame]:
    """Two subscriptions, interleaved."""
    seqs = {1: 0, 2: 0}
    frames = []
    for _ in range(n_frames):
        sid = 1 if rng.random() < 0.9 else 2
        seqs[sid] += 1
        frames.append(numbered(sid, seqs[sid]))
    return frames


def by_sid(frames: Sequence[RecordedFrame], sid: int) -> list[int]:
    return [frame.seq or 0 for frame in frames if frame.sid == sid]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(1, 8), st.integers(0, 2**32))
def test_numbers_restore_each_subscription(n_frames: int, n_files: int, seed: int) -> None:
    rng = random.Random(seed)
    frames = connection(n_frames, rng)
    merged = list(merge_by_number([iter(file) for file in split(frames, n_files, rng)]))
    assert len(merged) == len(frames)
    for sid in (1, 2):
        assert by_sid(merged, sid) == by_sid(frames, sid)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(1, 6), st.integers(0, 2**32), st.integers(1, 20))
def test_lost_frames_leave_holes_and_no_disorder(n_frames: int, n_files: int, seed: int, n_lost: int) -> None:
    rng = random.Random(seed)
    frames = connection(n_frames, rng)
    kept = [frame for frame in frames if frame not in rng.sample(frames, min(n_lost, len(frames) - 1))]
    merged = list(merge_by_number([iter(file) for file in split(kept, n_files, rng)]))
    assert len(merged) == len(kept)
    for sid in (1, 2):
        assert by_sid(merged, sid) == by_sid(kept, sid)


def test_a_number_behind_a_long_row_of_others_is_still_found() -> None:
    # Subscription 2 begins at 1 in the first file, behind many frames; its head in the second file is 2.
    first = [*(numbered(1, seq) for seq in range(2, 3_000)), numbered(2, 1)]
    second = [numbered(2, 2), numbered(1, 3_000)]
    merged = list(merge_by_number([iter(first), iter(second)]))
    assert by_sid(merged, 2) == [1, 2]
    assert by_sid(merged, 1) == list(range(2, 3_001))


def test_reading_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_LOOK_AHEAD", 10)
    read = 0

    def endless() -> Iterator[RecordedFrame]:
        nonlocal read
        for seq in range(1, 100_000):
            read += 1
            yield numbered(1, seq * 2)

    stream = merge_by_number([endless(), iter([numbered(2, 5)])])
    assert [next(stream).seq for _ in range(3)]
    assert read < 40


def test_connections_follow_each_other_where_numbers_begin_again() -> None:
    old = [numbered(1, 5_001), numbered(1, 5_003)]
    new = [numbered(1, 2, kind="orderbook_snapshot"), numbered(1, 3)]
    other = [numbered(1, 5_002), numbered(1, 1, kind="orderbook_snapshot"), numbered(1, 4)]
    merged = list(merge_by_number([iter([*old, *new]), iter(other)]))
    assert by_sid(merged, 1) == [5_001, 5_002, 5_003, 1, 2, 3, 4]


def test_a_number_seen_twice_is_handed_on_twice() -> None:
    merged = list(merge_by_number([iter([numbered(1, 1), numbered(1, 2)]), iter([numbered(1, 2), numbered(1, 3)])]))
    assert by_sid(merged, 1) == [1, 2, 2, 3]


def test_frames_without_numbers_keep_their_place_in_their_file() -> None:
    answer = RecordedFrame(None, "", b'{"type":"subscribed"}')
    merged = list(merge_by_number([iter([answer, numbered(1, 1), numbered(1, 3)]), iter([numbered(1, 2)])]))
    assert merged[0] is answer
    assert by_sid(merged, 1) == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 6), st.integers(0, 2**32))
def test_times_restore_the_stream(times: list[int], n_files: int, seed: int) -> None:
    frames = [plain(time, b"%d" % at) for at, time in enumerate(sorted(times))]
    files = split(frames, n_files, random.Random(seed))
    merged = by_time(files, is_numbered=False)
    assert [frame.recv_ns for frame in merged] == sorted(times)
    for file in files:
        assert [frame for frame in merged if frame in file] == file


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 6), st.integers(0, 2**32))
def test_coarse_times_do_not_disorder_numbers(n_frames: int, n_files: int, seed: int) -> None:
    rng = random.Random(seed)
    clock, frames = 0, []
    for frame in connection(n_frames, rng):
        clock += rng.random() < 0.2
        frames.append(numbered(frame.sid or 0, frame.seq or 0, recv_ns=clock))
    merged = by_time(split(frames, n_files, rng))
    for sid in (1, 2):
        assert by_sid(merged, sid) == by_sid(frames, sid)


def test_a_snapshot_comes_before_the_changes_of_its_own_instant() -> None:
    # Two files per kind of frame, one stamp: sorting on the stamp alone would apply the changes first.
    opened = RecordedFrame(7, "", b"", event="opened")
    changes = [numbered(2, seq, recv_ns=7) for seq in (2, 3, 4)]
    snapshot = numbered(2, 1, recv_ns=7, kind="orderbook_snapshot")
    merged = by_time([[numbered(2, 900, recv_ns=6), *changes], [snapshot], [opened]])
    assert merged == [merged[0], opened, snapshot, *changes]


def test_a_clock_that_steps_back_does_not_disorder_its_file() -> None:
    stepping = [plain(5, b"a"), plain(3, b"b"), plain(9, b"c")]
    merged = by_time([stepping, [plain(8, b"d")]], is_numbered=False)
    assert [frame.frame for frame in merged] == [b"a", b"b", b"d", b"c"]


def test_files_are_opened_one_after_the_other() -> None:
    opened: list[int] = []

    def file(at: int) -> Iterator[RecordedFrame]:
        opened.append(at)
        yield plain(at)
        yield plain(at + 1)

    stream = merge_by_time([(at, lambda at=at: file(at)) for at in (0, 10, 20)], lambda f: f.recv_ns, numbered=False)
    assert [next(stream).recv_ns for _ in range(2)] == [0, 1]
    assert opened == [0]
    assert [frame.recv_ns for frame in stream] == [10, 11, 20, 21]


def test_a_small_fall_is_disorder_and_a_deep_one_a_new_connection() -> None:
    delta, snapshot = b'{"type":"orderbook_delta"}', b'{"type":"orderbook_snapshot"}'
    assert not starts_over(delta, seq=9, last_seq=10)
    assert starts_over(delta, seq=9, last_seq=5_000)
    assert starts_over(snapshot, seq=1, last_seq=10)
    assert not starts_over(snapshot, seq=11, last_seq=10)

"""Paths become one stream of frames, or a clear error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from overround.clock import Clock
from overround.errors import RecordingError
from overround.market import Venue
from overround.replay import RecordedFrame, open_recording
from overround.storage import FrameJournal, LakePaths
from overround.testing.clock import ManualClock
from overround.testing.tapes import KalshiTape, PolymarketTape, write_lines


@pytest.fixture
def tape() -> KalshiTape:
    return KalshiTape(random.Random(3), ["KX-A", "KX-B", "KX-C"]).subscribe().run(300)


def texts(frames: list[RecordedFrame]) -> list[bytes]:
    return [frame.frame for frame in frames if not frame.event]


def write_split(folder: Path, tape: KalshiTape) -> None:
    for ticker, frames in tape.split().items():
        write_lines(folder / f"{ticker}.ndjson.gz", frames, blank_between=True)


def test_files_without_times_are_merged_on_their_numbers(tmp_path: Path, tape: KalshiTape) -> None:
    write_split(tmp_path, tape)
    recording = open_recording([tmp_path], Venue.KALSHI)
    books = [frame for frame in recording if frame.sid == 1]
    assert [frame.seq for frame in books] == list(range(1, len(books) + 1))
    assert len(recording.files) == 3
    assert not recording.damages


def test_files_with_times_are_merged_on_them(tmp_path: Path, tape: KalshiTape) -> None:
    for ticker in tape.tickers:
        lines = [b'{"recv_ms":%d,"event":%b}' % (ms, frame) for ms, name, frame in tape.frames if name == ticker]
        write_lines(tmp_path / f"{ticker}.jsonl", lines)
    frames = list(open_recording(sorted(tmp_path.iterdir()), Venue.KALSHI))
    books = [frame for frame in texts(frames) if b'"sid":1' in frame]
    assert books == [frame for _, ticker, frame in tape.frames if ticker and b'"sid":1' in frame]


def test_polymarket_files_without_times_are_merged_on_venue_time(tmp_path: Path) -> None:
    polymarket = PolymarketTape(random.Random(5), with_hashes=False).subscribe().run(50)
    frames = [frame for _, frame in polymarket.frames]
    write_lines(tmp_path / "a.jsonl", frames[::2])
    write_lines(tmp_path / "b.jsonl", frames[1::2])
    merged = texts(list(open_recording([tmp_path], Venue.POLYMARKET)))
    assert sorted(merged) == sorted(frames)
    times = [ms for frame in merged for ms, known in polymarket.frames if known == frame]
    assert times == sorted(times)


def test_a_recording_may_be_read_twice(tmp_path: Path, tape: KalshiTape) -> None:
    write_split(tmp_path, tape)
    recording = open_recording([tmp_path], Venue.KALSHI)
    assert list(recording) == list(recording)


def test_numbers_that_begin_again_mark_a_new_connection(tmp_path: Path, tape: KalshiTape) -> None:
    before = len(tape.frames)
    tape.reconnect().run(20)
    lines = [b'{"recv_ms":%d,"event":%b}' % (ms, frame) for ms, _, frame in tape.frames]
    frames = list(open_recording([write_lines(tmp_path / "a.jsonl", lines)], Venue.KALSHI))
    marks = [at for at, frame in enumerate(frames) if frame.event]
    assert [frames[at].event for at in marks] == ["opened"]
    assert marks == [before]
    # Without the acknowledgement, the first snapshot's number tells.
    del lines[before]
    frames = list(open_recording([write_lines(tmp_path / "a.jsonl", lines)], Venue.KALSHI))
    assert [at for at, frame in enumerate(frames) if frame.event] == [before]


def test_our_journal_gives_frames_commands_and_marks(tmp_path: Path, tape: KalshiTape) -> None:
    start_ns = tape.start_ms * 1_000_000
    clock: Clock = ManualClock(tape.start_ms)
    journal = FrameJournal(LakePaths(tmp_path), Venue.KALSHI, level=3, bucket_s=300, clock=clock)
    journal.mark("c0.1", start_ns, "opened")
    journal.sent("c0.1", start_ns + 1, '{"id":1,"cmd":"subscribe"}')
    for at, (_, _, frame) in enumerate(tape.frames):
        journal.frame("c0.1", start_ns + 2 + at, frame, is_json=True)
    journal.frame("c0.1", start_ns + 9_999_999, b"PONG", is_json=False)
    journal.close()
    frames = list(open_recording([tmp_path], Venue.KALSHI))
    assert (frames[0].event, frames[0].conn, frames[0].recv_ns) == ("opened", "c0.1", start_ns)
    assert (frames[1].sent, frames[1].frame) == (True, b'{"id":1,"cmd":"subscribe"}')
    assert texts(frames[2:]) == [*(frame for _, _, frame in tape.frames), b"PONG"]


def test_a_journal_without_its_end_is_reported(tmp_path: Path, tape: KalshiTape) -> None:
    clock: Clock = ManualClock(tape.start_ms)
    journal = FrameJournal(LakePaths(tmp_path), Venue.KALSHI, level=3, bucket_s=300, clock=clock)
    for at, (_, _, frame) in enumerate(tape.frames):
        journal.frame("c0.1", tape.start_ms * 1_000_000 + at, frame, is_json=True)
    journal.flush()
    recording = open_recording([tmp_path], Venue.KALSHI)
    assert len(texts(list(recording))) == len(tape.frames)
    (damage,) = recording.damages
    assert damage.line == len(tape.frames) + 1
    assert "still being written" in str(damage)


def test_other_files_of_a_folder_are_passed_over(tmp_path: Path, tape: KalshiTape) -> None:
    write_split(tmp_path, tape)
    (tmp_path / "README.md").write_text("not a recording")
    (tmp_path / "metadata").mkdir()
    listing = tmp_path / "metadata" / "event.json"
    listing.write_text('{\n "event": {\n  "title": "x"\n }\n}')
    recording = open_recording([tmp_path], Venue.KALSHI)
    assert (len(recording.files), recording.skipped) == (3, [listing])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "holds no line of JSON"),
        (b"some words\nand more\n", "holds no line of JSON"),
        (b'{"id":"1","question":"Who?"}\n', "holds no frames of kalshi"),
        (b'{"market":"0xab","price_changes":[],"event_type":"price_change"}\n', "looks like a recording of polymarket"),
    ],
    ids=["empty", "blank", "prose", "a listing", "the other venue"],
)
def test_a_named_file_without_frames_is_an_error_that_names_it(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as caught:
        open_recording([path], Venue.KALSHI)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_missing_path_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere does not exist"):
        open_recording([tmp_path / "nowhere"], Venue.KALSHI)


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing\n")
    with pytest.raises(RecordingError, match="no recording of polymarket under"):
        open_recording([tmp_path], Venue.POLYMARKET)

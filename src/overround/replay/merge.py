"""Several files of one connection as one stream, without holding them in memory.

Recorders split a connection into files by market or by kind of frame; each file keeps the order of
arrival. Where receive times were kept, the files are merged on them. A receive time is not exact enough
to order frames by itself (millisecond stamps repeat, and a snapshot may carry the same stamp as the deltas
after it), so frames of one instant are put in the order of the venue's numbers. Where no receive times
were kept, the venue's numbers alone restore the order: the frame that is due on its subscription comes
next. When no file can offer a frame that is due, one is missing; then the merge reads ahead in every file
to learn which subscription lacks it, because a frame may also be late only in that it waits behind
another one in its file.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from overround.replay.frames import RecordedFrame, number_of

__all__ = ["TimedFile", "merge_by_number", "merge_by_time", "starts_over"]

TimedFile = tuple[int, Callable[[], Iterator[RecordedFrame]]]
"""Time of a file's first frame, and how to open it."""

_LOOK_AHEAD = 5_000
"""Frames read ahead in each file to find a number; bounds the memory, about 20 MB for 20 files."""
_RESTART_FALL = 1_000


def starts_over(frame: bytes, *, seq: int, last_seq: int) -> bool:
    """Whether a frame's number shows that its connection was opened anew.

    Numbers start at 1 on each connection. A snapshot numbered below its predecessor, or a fall too deep
    for frames in disorder, can only come from another connection.

    Examples
    --------
    >>> starts_over(b'{"type":"orderbook_snapshot"}', seq=22, last_seq=12_560_893)
    True
    >>> starts_over(b'{"type":"orderbook_delta"}', seq=35, last_seq=36)
    False
    """
    return seq < last_seq and (last_seq - seq > _RESTART_FALL or b'"orderbook_snapshot"' in frame[:200])


class _Numbers:
    """What is due next on each subscription."""

    def __init__(self, *, numbered: bool) -> None:
        self._numbered = numbered
        self._due: dict[tuple[str, int], int] = {}

    def passed(self, frame: RecordedFrame) -> None:
        """Take note of a frame that was handed on."""
        if frame.event:
            self._due = {key: seq for key, seq in self._due.items() if key[0] != frame.conn}
            return
        number = self._of(frame)
        if number is not None:
            self._due[number[0]] = number[1] + 1

    def rank(self, frame: RecordedFrame) -> int:
        """Smaller comes first: marks, frames without a number, what is due, then lower numbers."""
        if frame.event:
            return -3
        number = self._of(frame)
        if number is None:
            return -2
        return -1 if self._due.get(number[0]) == number[1] else number[1]

    def _of(self, frame: RecordedFrame) -> tuple[tuple[str, int], int] | None:
        number = number_of(frame) if self._numbered else None
        return None if number is None else ((frame.conn, number[0]), number[1])


class _Timed:
    """A file that is merged on its times; opened when its first frame is asked for."""

    __slots__ = ("_frames", "_open", "_time_of", "frame", "time")

    def __init__(self, start: int, opener: Callable[[], Iterator[RecordedFrame]], time_of: TimeOf) -> None:
        self._open = opener
        self._frames: Iterator[RecordedFrame] | None = None
        self._time_of = time_of
        self.frame: RecordedFrame | None = None
        self.time = start

    def head(self) -> RecordedFrame | None:
        """The frame whose turn is next, None at the end."""
        if self._frames is None:
            self._frames = self._open()
            self.advance()
        return self.frame

    def advance(self) -> RecordedFrame | None:
        """Go to the next frame, None at the end."""
        assert self._frames is not None
        self.frame = frame = next(self._frames, None)
        if frame is not None:
            time = self._time_of(frame)
            if time is not None:
                self.time = time
        return frame


TimeOf = Callable[[RecordedFrame], int | None]


def merge_by_time(files: Sequence[TimedFile], time_of: TimeOf, *, numbered: bool) -> Iterator[RecordedFrame]:
    """Merge files on a time; each is opened when the turn of its first frame comes.

    Parameters
    ----------
    files : sequence of (int, callable)
        Each file keeps its own order, also where its clock steps back.
    time_of : callable
        A frame's time; None is the time of the file's frame before it.
    numbered : bool
        Whether the venue numbers its frames, so that those of one instant can be put in order.
    """
    streams = [_Timed(start, opener, time_of) for start, opener in files]
    heap = [(stream.time, index) for index, stream in enumerate(streams)]
    heapq.heapify(heap)
    numbers = _Numbers(numbered=numbered)
    while heap:
        now, index = heapq.heappop(heap)
        stream = streams[index]
        if heap and heap[0][0] == now:
            here = [stream]
            indices = [index]
            while heap and heap[0][0] == now:
                other = heapq.heappop(heap)[1]
                indices.append(other)
                here.append(streams[other])
            yield from _one_instant(now, here, numbers)
        else:
            limit = heap[0][0] if heap else None
            indices = [index]
            frame = stream.head()
            while frame is not None and (limit is None or stream.time < limit):
                numbers.passed(frame)
                yield frame
                frame = stream.advance()
        for index in indices:
            if streams[index].frame is not None:
                heapq.heappush(heap, (streams[index].time, index))


def _one_instant(now: int, streams: list[_Timed], numbers: _Numbers) -> Iterator[RecordedFrame]:
    """Frames of several files that carry one time, in the order of the venue's numbers."""
    while True:
        heads = [(stream, frame) for stream in streams if (frame := stream.head()) is not None and stream.time == now]
        if not heads:
            return
        stream, frame = min(heads, key=lambda head: numbers.rank(head[1]))
        numbers.passed(frame)
        yield frame
        stream.advance()


class _Numbered:
    """A file that is merged on its numbers, with the frames that were read ahead."""

    __slots__ = ("_frames", "_last", "ahead", "connection")

    def __init__(self, frames: Iterator[RecordedFrame]) -> None:
        self._frames = frames
        self._last: dict[int, int] = {}
        self.ahead: deque[tuple[int, RecordedFrame]] = deque()
        self.connection = 0

    def read(self) -> bool:
        """Read one frame ahead; False at the end."""
        frame = next(self._frames, None)
        if frame is None:
            return False
        if frame.sid is not None and frame.seq is not None:
            last = self._last.get(frame.sid)
            if last is not None and starts_over(frame.frame, seq=frame.seq, last_seq=last):
                self._last.clear()
                self.connection += 1
            self._last[frame.sid] = frame.seq
        self.ahead.append((self.connection, frame))
        return True

    def head(self) -> tuple[int, RecordedFrame] | None:
        """The frame whose turn is next and the connection it belongs to, None at the end."""
        return self.ahead[0] if self.ahead or self.read() else None

    def first_of(self, sid: int, connection: int) -> int | None:
        """The next number on a subscription, read ahead as far as allowed."""
        at = 0
        while at < _LOOK_AHEAD:
            if at == len(self.ahead) and not self.read():
                return None
            owner, frame = self.ahead[at]
            if owner != connection:
                return None
            if frame.sid == sid and frame.seq is not None:
                return frame.seq
            at += 1
        return None


def merge_by_number(files: Sequence[Iterator[RecordedFrame]]) -> Iterator[RecordedFrame]:
    """Merge files that kept no times on subscription and sequence number.

    A number that falls back in a file begins its next connection; connections follow each other, so a file's
    second one is merged with the second one of the others. A file that has frames of the second connection only
    cannot be told from one of the first.
    """
    streams = [_Numbered(frames) for frames in files]
    connection = 0
    while streams:
        yield from _one_connection(streams, connection)
        streams = [stream for stream in streams if stream.head() is not None]
        connection += 1


def _one_connection(streams: list[_Numbered], connection: int) -> Iterator[RecordedFrame]:
    """Frames of one connection, each as soon as it is due on its subscription."""
    due: dict[int, int] = {}
    waiting: dict[tuple[int, int], list[_Numbered]] = {}
    ready: deque[_Numbered] = deque(streams)
    while True:
        while ready:
            stream = ready.popleft()
            head = stream.head()
            while head is not None and head[0] == connection:
                frame = head[1]
                sid, seq = frame.sid, frame.seq
                if sid is not None and seq is not None:
                    expected = due.get(sid)
                    if expected is None or seq > expected:
                        waiting.setdefault((sid, seq), []).append(stream)
                        break
                    # A number seen before is handed on at once; who reads it counts it.
                    due[sid] = expected = max(expected, seq + 1)
                    freed = waiting.pop((sid, expected), None)
                    if freed is not None:
                        ready.extend(freed)
                yield frame
                stream.ahead.popleft()
                head = stream.head()
        if not waiting:
            return
        sid, seq = _past_the_hole(waiting, due, connection)
        due[sid] = seq
        ready.extend(waiting.pop((sid, seq)))


def _past_the_hole(
    waiting: dict[tuple[int, int], list[_Numbered]], due: dict[int, int], connection: int
) -> tuple[int, int]:
    """The waiting frame to go on with when no file offers one that is due.

    It is the lowest of its subscription, also among the frames that wait behind others. Where the look-ahead
    does not decide it, the shortest jump is taken.
    """
    streams = [stream for group in waiting.values() for stream in group]
    lowest: dict[int, int] = {}
    for sid in {number[0] for number in waiting}:
        found = [seq for stream in streams if (seq := stream.first_of(sid, connection)) is not None]
        lowest[sid] = min(found)
    exact = [(sid, seq) for sid, seq in waiting if lowest[sid] == seq]
    return min(exact or waiting, key=lambda number: number[1] - due.get(number[0], 0))

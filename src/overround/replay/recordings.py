"""Recordings of one venue, whatever form they were kept in, as one stream of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from overround.errors import RecordingError
from overround.market import Venue
from overround.replay.forms import Form, form_of, read_frames
from overround.replay.frames import RecordedFrame, looks_like, number_of, subscribed_sid, venue_ms
from overround.replay.journal import journal_frames
from overround.replay.lines import Damage
from overround.replay.merge import merge_by_number, merge_by_time, starts_over

__all__ = ["Recording", "RecordingFile", "open_recording"]

_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".log", ".txt"})
_PACKED = frozenset({".gz", ".zst", ".zstd"})
_PROBED_FRAMES = 2_000
"""Frames looked at before a file is said to hold none of a venue."""


@dataclass(frozen=True, kw_only=True)
class RecordingFile:
    """One file of a recording.

    Attributes
    ----------
    path : Path
    form : Form
    start_ns : int or None
        Receive time of its first frame; None where none was kept.
    """

    path: Path
    form: Form
    start_ns: int | None


@dataclass(kw_only=True)
class Recording:
    """Frames of the files of one venue, in order; may be iterated several times.

    Attributes
    ----------
    venue : Venue
    files : list of RecordingFile
        Those that hold frames.
    skipped : list of Path
        Files found in a folder that hold no frames of any venue.
    damages : list of Damage
        What could not be read; filled while iterating.
    """

    venue: Venue
    files: list[RecordingFile]
    skipped: list[Path] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)

    def __iter__(self) -> Iterator[RecordedFrame]:
        self.damages.clear()
        timed = [file for file in self.files if file.start_ns is not None]
        timeless = [file for file in self.files if file.start_ns is None]
        for group in (timed, timeless):
            if not group:
                continue
            frames = self._merged(group)
            # Our journal marks its connections itself.
            foreign = any(file.form is not Form.JOURNAL for file in group)
            yield from _mark_restarts(frames) if foreign and self.venue is Venue.KALSHI else frames

    def _merged(self, files: list[RecordingFile]) -> Iterator[RecordedFrame]:
        """Frames of files that all kept receive times, or all kept none."""
        if len(files) == 1:
            return self._frames_of(files[0])
        numbered = self.venue is Venue.KALSHI
        if files[0].start_ns is not None:
            starts = [(file.start_ns or 0, partial(self._frames_of, file)) for file in files]
            return merge_by_time(starts, _receive_time, numbered=numbered)
        if numbered:
            return merge_by_number([self._frames_of(file) for file in files])
        starts = [(_first_venue_time(self._frames_of(file)), partial(self._frames_of, file)) for file in files]
        self.damages.clear()
        return merge_by_time(starts, _venue_time, numbered=False)

    def _frames_of(self, file: RecordingFile) -> Iterator[RecordedFrame]:
        if file.form is Form.JOURNAL:
            return journal_frames(file.path, self.damages)
        return read_frames(file.path, file.form, self.venue, self.damages)


def open_recording(paths: Sequence[Path], venue: Venue) -> Recording:
    """Find out what the paths hold, without reading them through.

    Parameters
    ----------
    paths : sequence of Path
        Files, or folders whose files are taken (recursively, by their suffix). Files that kept no connection
        names are taken as parts of one connection.
    venue : Venue

    Returns
    -------
    Recording
        Iterate over it for the frames; what a recorder sent and connection marks are among them
        (``sent``, ``event``).

    Raises
    ------
    RecordingError
        If a path is missing, a named file is empty or holds no frames, a file is of the other venue, or
        nothing is left.
    """
    files: list[RecordingFile] = []
    skipped: list[Path] = []
    for path in paths:
        if not path.exists():
            raise RecordingError(f"{path} does not exist", hint="name a recording, a journal file or a folder of them")
        named = not path.is_dir()
        for found in [path] if named else _files_below(path, venue):
            file = _probed(found, venue, named=named)
            if file is None:
                skipped.append(found)
            else:
                files.append(file)
    if not files:
        where = ", ".join(str(path) for path in paths)
        raise RecordingError(
            f"no recording of {venue} under {where}",
            hint=f"files must end in {', '.join(sorted(_SUFFIXES))} (also .gz or .zst) and hold the venue's frames",
        )
    return Recording(venue=venue, files=files, skipped=skipped)


def _files_below(folder: Path, venue: Venue) -> list[Path]:
    """Files of a folder that may be recordings, in a stable order; a lake's folders of other venues are not entered."""
    others = {f"venue={other}" for other in Venue if other is not venue}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and _suffix(path) in _SUFFIXES and not others.intersection(path.relative_to(folder).parts)
    )


def _suffix(path: Path) -> str:
    """A file's suffix, the one before a packer's."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _PACKED else suffix


def _probed(path: Path, venue: Venue, *, named: bool) -> RecordingFile | None:
    """What a file is; None for one that was found in a folder and holds no frames.

    Raises
    ------
    RecordingError
        If the file is of the other venue, or was named and holds nothing to rebuild books from.
    """
    form = form_of(path)
    if form is None:
        if not named:
            return None
        what = "is empty" if path.stat().st_size == 0 else "holds no line of JSON"
        raise RecordingError(f"{path} {what}", hint="name a file of recorded frames, one per line")
    unread: list[Damage] = []
    frames = journal_frames(path, unread) if form is Form.JOURNAL else read_frames(path, form, venue, unread)
    start_ns: int | None = None
    speaks: Venue | None = None
    for count, entry in enumerate(frames):
        start_ns = start_ns or entry.recv_ns
        speaks = speaks or (looks_like(entry.frame) if entry.frame else None)
        if (speaks is not None and start_ns is not None) or count >= _PROBED_FRAMES:
            break
        if speaks is not None and count >= 20:
            # Frames without receive times do not get one later.
            break
    if speaks is None and form is Form.RECORDER:
        # Parts of a recorder's folder hold marks only.
        return RecordingFile(path=path, form=form, start_ns=start_ns) if start_ns is not None else None
    if speaks is None:
        if not named:
            return None
        detail = f": {unread[0].what}" if unread else ""
        raise RecordingError(
            f"{path} holds no frames of {venue}{detail}", hint="name a recording of socket frames or REST books"
        )
    if speaks is not venue:
        raise RecordingError(f"{path} looks like a recording of {speaks}, not of {venue}", hint=f"say --venue {speaks}")
    return RecordingFile(path=path, form=form, start_ns=start_ns)


def _mark_restarts(frames: Iterator[RecordedFrame]) -> Iterator[RecordedFrame]:
    """Add the marks that a recorder did not keep: a connection whose numbers start over is a new one."""
    last: dict[tuple[str, int], int] = {}
    for entry in frames:
        number = number_of(entry)
        if number is not None:
            key = (entry.conn, number[0])
            before = last.get(key)
            if before is not None and starts_over(entry.frame, seq=number[1], last_seq=before):
                last.clear()
                yield RecordedFrame(entry.recv_ns, entry.conn, b"", event="opened")
            last[key] = number[1]
        elif entry.event:
            last.clear()
        elif (sid := subscribed_sid(entry.frame)) is not None and (entry.conn, sid) in last:
            # A subscription that is begun a second time was begun on another connection.
            last.clear()
            yield RecordedFrame(entry.recv_ns, entry.conn, b"", event="opened")
        yield entry


def _receive_time(entry: RecordedFrame) -> int | None:
    return entry.recv_ns


def _venue_time(entry: RecordedFrame) -> int | None:
    return venue_ms(entry.frame)


def _first_venue_time(frames: Iterator[RecordedFrame]) -> int:
    """Venue time of the first frame that tells one, 0 where none does."""
    return next((time for entry in frames if (time := venue_ms(entry.frame)) is not None), 0)

"""Our own journal as recorded frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from overround.errors import UNREADABLE
from overround.replay.frames import RecordedFrame
from overround.replay.lines import Damage, LineReader
from overround.storage.journal import JournalEntry

__all__ = ["journal_frames"]

# Read here rather than by ``storage.read_journal``, because a rebuilt book must say where its journal ends.
_ENTRY = msgspec.json.Decoder(JournalEntry)


def journal_frames(path: Path, damages: list[Damage]) -> Iterator[RecordedFrame]:
    """A journal file's frames, commands and marks in the order in which they were written.

    A file without its end is reported: it is still being written, or its writer was killed, and what was not
    flushed is missing.
    """
    reader = LineReader(path)
    unread: Damage | None = None
    for line in reader:
        if not line:
            continue
        try:
            entry = _ENTRY.decode(line)
        except UNREADABLE as exc:
            unread = unread or Damage(path, reader.line, f"{exc}", cut=False)
            continue
        if entry.recv_ns is not None:
            yield RecordedFrame(entry.recv_ns, entry.conn, entry.wire)
        elif entry.sent_ns is not None:
            yield RecordedFrame(entry.sent_ns, entry.conn, entry.wire, sent=True)
        elif entry.ns is not None:
            yield RecordedFrame(entry.ns, entry.conn, b"", event=entry.event)
    cut_line = reader.open_ended and unread is not None
    if unread is not None and not (cut_line and unread.line == reader.line):
        damages.append(unread)
    if reader.torn or cut_line:
        why = f"{reader.torn or 'half a line'}: still being written, or its writer was killed"
        damages.append(Damage(path, reader.line + (not cut_line), why, cut=True))

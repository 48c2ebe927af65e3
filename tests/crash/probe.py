"""`overround` under watch: run as a script, it is the command with a witness inside and a death to come.

What the process takes in, and what it says is durable, goes line by line into a file by plain ``write`` calls: what was
written outlives the process, whatever the process has in memory. Nothing of the collector is replaced; its calls are
passed on, and noted.

``PROBE`` in the environment names a JSON object:

``out``
    The witness file.
``offset``
    An 8-byte file: nanoseconds by which this process's wall clock differs from the machine's, read at every look.
``die``
    ``{"table", "kind", "op", "stage", "nth"}``: kill -9 at this moment of the file operations.
``disk``
    A file whose words (``full``, ``read_only``, ``sync_fails``, ``slow``), while it stands, make every file operation fail or linger.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any
from zlib import crc32

OFFSET = struct.Struct("<q")
SLOW_S = 0.4


def place_of(path: Path) -> tuple[str, str]:
    """Table and kind of a file of the lake."""
    table = next((part for part in path.parts if part in {"orderbook_snapshots", "coverage", "raw"}), "other")
    name = path.name
    if name.endswith(".wal"):
        kind = "wal"
    elif ".parquet" in name:
        kind = "parquet"
    elif name.startswith("_manifest"):
        kind = "manifest"
    else:
        kind = "journal" if table == "raw" else "other"
    return table, kind


class Probe:
    """The witness file and the plan."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._fd = os.open(said["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._die = said.get("die")
        self._left = self._die["nth"] if self._die else 0
        self._disk = Path(said["disk"]) if said.get("disk") else None

    def note(self, *words: object) -> None:
        os.write(self._fd, ("|".join(map(str, words)) + "\n").encode())

    def disk(self) -> str:
        try:
            return self._disk.read_text() if self._disk is not None else ""
        except OSError:
            return ""

    def due(self, path: Path, op: str, stage: str) -> bool:
        """Whether the process dies at this moment."""
        plan = self._die
        if plan is None or (plan["op"], plan["stage"]) != (op, stage):
            return False
        if (plan["table"], plan["kind"]) != place_of(path):
            return False
        self._left -= 1
        return self._left == 0

    def die(self, path: Path, op: str, stage: str) -> None:
        self.note("die", time.time_ns() // 1_000_000, op, stage, path.name)
        os.kill(os.getpid(), signal.SIGKILL)


def settable_clock(path: str) -> None:
    """Let the wall clock of this process follow the file; monotonic time is not touched, as in life."""
    with Path(path).open("rb") as file:
        held = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + OFFSET.unpack_from(held)[0]

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def watch_rows(probe: Probe) -> None:
    """Note every row taken in, and up to which row the writer says that they are durable."""
    from overround.storage.buffer import SnapshotBuffer
    from overround.storage.writer import SnapshotWriter

    taken: dict[int, int] = {}
    cut_at: dict[int, int] = {}
    append, cut, flush = SnapshotBuffer.append, SnapshotBuffer.cut, SnapshotWriter.flush

    def noted_append(self: Any, key: int, ts_recv_ms: int, bids: Any, asks: Any, **rest: Any) -> None:
        append(self, key, ts_recv_ms, bids, asks, **rest)
        taken[id(self)] = taken.get(id(self), 0) + 1
        market_id, outcome_ids = self._names[key]
        best = (max(bids, default=0), min(asks, default=0))
        probe.note("row", id(self), market_id, ",".join(outcome_ids), ts_recv_ms, rest["seq"], *best)

    def noted_cut(self: Any) -> Any:
        cut_at[id(self)] = taken.get(id(self), 0)
        return cut(self)

    async def noted_flush(self: Any, now_ms: int) -> bool:
        saved = await flush(self, now_ms)
        if saved:
            probe.note("rows_durable", id(self.buffer), cut_at.get(id(self.buffer), 0), now_ms)
        return saved

    SnapshotBuffer.append, SnapshotBuffer.cut, SnapshotWriter.flush = noted_append, noted_cut, noted_flush


def watch_frames(probe: Probe) -> None:
    """The same for raw frames."""
    from overround.storage.journal import FrameJournal

    taken: dict[int, int] = {}
    frame, flush, close = FrameJournal.frame, FrameJournal.flush, FrameJournal.close

    def noted_frame(self: Any, conn: str, recv_ns: int, data: bytes, is_json: bool) -> None:
        frame(self, conn, recv_ns, data, is_json)
        taken[id(self)] = taken.get(id(self), 0) + 1
        # The journal keeps a frame without the blanks around its JSON, and blanks for line breaks inside.
        kept = data.strip().replace(b"\n", b" ").replace(b"\r", b" ") if is_json else data
        probe.note("frame", id(self), conn, recv_ns, crc32(kept))

    def noted(call: Any) -> Any:
        def flushed(self: Any) -> bool:
            before = taken.get(id(self), 0)
            saved: bool = call(self)
            if saved:
                probe.note("frames_durable", id(self), before)
            return saved

        return flushed

    FrameJournal.frame, FrameJournal.flush, FrameJournal.close = noted_frame, noted(flush), noted(close)


def watch_ledger(probe: Probe) -> None:
    """Note until when the ledger's durable rows account for the collector's time, and that stays are on disk."""
    from overround.storage import CoverageWriter

    pending: dict[int, list[int]] = {}
    add, save = CoverageWriter.add, CoverageWriter.save

    def noted_add(self: Any, **rows: Any) -> None:
        add(self, **rows)
        added = pending.setdefault(id(self), [])
        added += [row.until_ms for row in rows.get("minutes", ()) if not row.market_id]
        added += [row.start_ms for row in rows.get("stays", ()) if row.end_ms is None]

    def noted_save(self: Any, *, now_ms: int) -> bool:
        saved: bool = save(self, now_ms=now_ms)
        if saved and pending.get(id(self)):
            probe.note("ledger_durable", self._venue, max(pending[id(self)]))
            pending[id(self)].clear()
        return saved

    CoverageWriter.add, CoverageWriter.save = noted_add, noted_save


def watch_files(probe: Probe) -> None:
    """Die, fail or linger in the middle of file operations."""
    from overround.storage.fileops import FileOps

    append, create, publish, remove, sync = (
        FileOps.append, FileOps.create, FileOps.publish, FileOps.remove, FileOps.sync,
    )  # fmt: skip

    def half(path: Path, data: Any, at: int) -> None:
        whole = b"".join(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(at)
            file.write(whole[: len(whole) // 2])

    def lived_append(self: Any, path: Path, data: Any, *, at: int) -> int:
        state = probe.disk()
        if "read_only" in state:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if "full" in state:
            half(path, data, at)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "slow" in state:
            probe.note("lingers", path.name)
            time.sleep(SLOW_S)
        if probe.due(path, "append", "before"):
            probe.die(path, "append", "before")
        if probe.due(path, "append", "half"):
            half(path, data, at)
            probe.die(path, "append", "half")
        length = append(self, path, data, at=at)
        if probe.due(path, "append", "after"):
            probe.die(path, "append", "after")
        return length

    def lived_create(self: Any, path: Path) -> Any:
        state = probe.disk()
        if "read_only" in state or "full" in state:
            number = errno.EROFS if "read_only" in state else errno.ENOSPC
            raise OSError(number, os.strerror(number))
        if probe.due(path, "create", "before"):
            probe.die(path, "create", "before")
        file = create(self, path)
        if probe.due(path, "create", "half"):
            return _DiesWriting(file, lambda: probe.die(path, "create", "half"))
        return file

    def lived_publish(self: Any, temporary: Path, final: Path) -> None:
        if probe.due(final, "publish", "before"):
            probe.die(final, "publish", "before")
        publish(self, temporary, final)
        if probe.due(final, "publish", "after"):
            probe.die(final, "publish", "after")

    def lived_remove(self: Any, path: Path) -> None:
        if probe.due(path, "remove", "before"):
            probe.die(path, "remove", "before")
        remove(self, path)
        if probe.due(path, "remove", "after"):
            probe.die(path, "remove", "after")

    def lived_sync(self: Any, fd: int) -> None:
        if "sync_fails" in probe.disk():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(self, fd)

    FileOps.append, FileOps.create, FileOps.publish = lived_append, lived_create, lived_publish
    FileOps.remove, FileOps.sync = lived_remove, lived_sync


class _DiesWriting:
    """A file under a process that dies at its second write, the first one on disk."""

    def __init__(self, file: Any, die: Any) -> None:
        self._file, self._die, self._writes = file, die, 0

    def write(self, data: Any) -> int:
        self._writes += 1
        if self._writes == 2:
            self._file.flush()
            self._die()
        written: int = self._file.write(data)
        return written

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def main() -> None:
    said = json.loads(os.environ["PROBE"])
    if said.get("offset"):
        settable_clock(said["offset"])
    from overround.cli import main as overround

    probe = Probe(said)
    watch_rows(probe)
    watch_frames(probe)
    watch_ledger(probe)
    watch_files(probe)
    probe.note("begin", time.time_ns() // 1_000_000)
    overround(sys.argv[1:])


if __name__ == "__main__":
    main()

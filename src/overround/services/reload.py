"""Asking running collectors to read their settings again, through files in their lake.

A request is a file below ``control/`` in the lake, and so is each collector's answer. Who may write there may damage the record
anyhow, so that nobody gains a right; nothing listens, so that a page in a browser or another machine cannot ask; and it works
the same on every system, across containers that share the lake, and with the endpoint switched off. A request carries no
settings: a collector reads its own files, as at its start.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from overround.clock import Clock
from overround.errors import UNREADABLE, OverroundError, StorageError
from overround.storage.fileops import FileOps

__all__ = ["Answer", "NobodyThere", "Reloader", "ask_all"]

log = structlog.get_logger()

LOOK_MS = 250
# Whoever records has taken a request up by then.
TAKEN_UP_S = 3.0


class Answer(msgspec.Struct, kw_only=True):
    """What a collector did about a request.

    Attributes
    ----------
    request : str
    collector : str
        Its machine and process.
    done : bool
    applied : dict of str to str
        New values by the setting's name.
    refused : dict of str to str
        Why other changed settings stay as they are until a restart.
    failed : dict of str to str
        Why venues that were switched on could not begin; the next request tries again.
    error : str
        Why nothing was changed at all, or empty.
    """

    request: str = ""
    collector: str = ""
    done: bool = False
    applied: dict[str, str] = {}
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    error: str = ""


class NobodyThere(OverroundError):
    """No collector took the request up, or one did not finish."""


class Reloader:
    """Looks for requests, and has them carried out one after the other.

    Parameters
    ----------
    data_dir : Path
        The lake.
    clock : Clock
    reload : callable
        Reads the settings again; gives the answer, and raises ``OverroundError`` where nothing was changed.
    """

    def __init__(self, data_dir: Path, *, clock: Clock, reload: Callable[[], Awaitable[Answer]]) -> None:
        self._folder = data_dir / "control"
        self._name = f"{platform.node() or 'host'}-{os.getpid()}"
        self._clock = clock
        self._reload = reload
        self._signalled = asyncio.Event()
        self._seen = _request_in(self._folder)

    def signal(self) -> None:
        """Read the settings again without a request: SIGHUP."""
        self._signalled.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            while True:
                await self._clock.sleep_ms(LOOK_MS)
                request = _request_in(self._folder)
                if request and request != self._seen:
                    self._seen = request
                    self._write(Answer(request=request, collector=self._name))
                    self._write(await self._carry_out(request))
                elif self._signalled.is_set():
                    self._signalled.clear()
                    await self._carry_out("")
        finally:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    async def _carry_out(self, request: str) -> Answer:
        try:
            answer = await self._reload()
        except OverroundError as exc:
            answer = Answer(error=f"{exc}; {exc.hint}" if exc.hint else str(exc))
            log.error("settings.unchanged", reason=str(exc), remedy=exc.hint)  # noqa: TRY400 - the words say it
        except Exception as exc:
            answer = Answer(error=f"{type(exc).__name__}: {exc}")
            log.error("settings.unchanged", exc_info=exc)  # noqa: TRY400 - structlog
        else:
            log.info("settings.reloaded", applied=answer.applied, refused=answer.refused, failed=answer.failed)
        answer.request, answer.collector, answer.done = request, self._name, True
        return answer

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}.json"

    def _write(self, answer: Answer) -> None:
        try:
            FileOps().write_whole(self._path, msgspec.json.encode(answer))
        except OSError as exc:
            log.warning("settings.unanswered", path=str(self._path), reason=str(exc))


def ask_all(data_dir: Path, *, timeout_s: float) -> list[Answer]:
    """Have every collector of a lake read its settings again; returns what each did.

    Raises
    ------
    StorageError
        If the request cannot be written.
    NobodyThere
        If no collector takes it up, or one that did has not finished in time.
    """
    nobody = NobodyThere(
        f"no collector records into {data_dir}", hint="start `overround collect`, or name its --data-dir"
    )
    if not data_dir.is_dir():
        raise nobody
    folder, request = data_dir / "control", uuid.uuid4().hex
    try:
        folder.mkdir(parents=True, exist_ok=True)
        FileOps().write_whole(folder / "reload", request.encode())
    except OSError as exc:
        raise StorageError(
            f"{folder} cannot be written: {exc.strerror or exc}", hint="ask as the collector's user"
        ) from exc
    began_s = time.monotonic()
    answers: Mapping[str, Answer] = {}
    while time.monotonic() - began_s < timeout_s:
        time.sleep(0.1)
        answers = {
            answer.collector: answer for answer in map(_answer_in, folder.glob("*.json")) if answer.request == request
        }
        if time.monotonic() - began_s > TAKEN_UP_S and all(answer.done for answer in answers.values()):
            break
    late = [name for name, answer in answers.items() if not answer.done]
    if late:
        raise NobodyThere(f"{', '.join(late)} has not finished after {timeout_s:.0f} s", hint="look into its log")
    if not answers:
        raise nobody
    return [answers[name] for name in sorted(answers)]


def _request_in(folder: Path) -> str:
    try:
        return (folder / "reload").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _answer_in(path: Path) -> Answer:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answer)
    except (OSError, *UNREADABLE):
        return Answer()

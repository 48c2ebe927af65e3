"""Logging: JSON lines off a terminal, readable ones on it, and no secret in either.

Events are dotted names with fields (``log.info("book.resynced", market_id=m, took_ms=412)``). Modules take
their logger with ``structlog.get_logger()``; nothing is set up until a command calls
:func:`configure_logging`.
"""

from __future__ import annotations

import contextlib
import json as stdlib_json
import logging
import math
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO
from urllib.parse import quote

import structlog

from overround.ops.files import LogFiles

__all__ = ["MASK", "configure_logging", "mask_secrets", "register_secret"]

MASK = "********"

# Masking a shorter text would rather hide the log than the secret.
SHORTEST_SECRET = 4

_secrets: set[str] = set()
_pattern: re.Pattern[str] | None = None


def register_secret(text: str) -> None:
    """Never write this text to a log: not in a field, a key, a nested value, a repr or a traceback.

    Lines of a longer text (a PEM file), and the text as it looks inside a URL, JSON or a Python repr, are
    masked too. Texts under four characters are let through.
    """
    global _pattern  # noqa: PLW0603 - logging is configured per process, and so are its secrets
    lines = [line.strip() for line in text.splitlines()]
    forms = {text, text.strip(), *(line for line in lines if len(line) >= 16 and not line.startswith("-----"))}
    forms |= {quote(form, safe="") for form in forms} | {repr(form)[1:-1] for form in forms}
    forms |= {stdlib_json.dumps(form)[1:-1] for form in forms}
    _secrets.update(form for form in forms if len(form) >= SHORTEST_SECRET)
    if _secrets:
        _pattern = re.compile("|".join(re.escape(secret) for secret in sorted(_secrets, key=len, reverse=True)))


def configure_logging(
    *,
    level: str = "info",
    stream: TextIO | None = None,
    json: bool | None = None,
    files: LogFiles | None = None,
    file_level: str = "debug",
) -> None:
    """Set up logging for this process; a second call replaces the first.

    Parameters
    ----------
    level : str
        Least level written: ``debug``, ``info``, ``warning`` or ``error``.
    stream : text stream, optional
        Long-running commands give standard output, commands that print a result standard error (the default).
    json : bool, optional
        One JSON object per line, or readable lines; by default JSON unless the stream is a terminal.
    files : LogFiles, optional
        Take every line from ``file_level`` on as well, always as JSON.
    file_level : str

    Notes
    -----
    Libraries that log through :mod:`logging` are written in the same form, from ``warning`` on
    (``info`` on at ``debug``). A stream that can no longer be written to loses lines, never the recording.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    least = _LEVELS[level]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
        # Tracebacks become text here, so that they are masked like everything else and show no local variables.
        structlog.processors.format_exc_info,
    ]
    both = least if files is None else min(least, _LEVELS[file_level])
    last: list[structlog.typing.Processor] = [
        _mask_secrets,
        *([] if files is None else [_Beside(files, _LEVELS[file_level], least)]),
        _render_json if as_json else structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="ts"),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(both),
        logger_factory=lambda *_: _Lines(out),
        # A logger made before this call must follow it; a line costs a few us more, and lines are rare.
        cache_logger_on_first_use=False,
    )
    foreign = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Foreign)]:
        root.removeHandler(handler)
    root.addHandler(_Foreign(foreign, out))
    root.setLevel(logging.INFO if both <= logging.DEBUG else max(both, logging.WARNING))


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Lines:
    """Writes lines to a stream, and loses them when the stream is gone."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            try:
                self._out.write(line + "\n")
            except UnicodeEncodeError:
                self._out.write(line.encode("ascii", "backslashreplace").decode() + "\n")
            self._out.flush()
        except (OSError, ValueError):
            # The reader of our pipe went away, or the disk is full: the recording goes on without its log.
            return

    debug = info = warning = error = critical = fatal = log = msg


class _Beside:
    """Gives lines to the files, and lets those pass that the stream takes as well."""

    def __init__(self, files: LogFiles, level: int, stream_level: int) -> None:
        self._files = files
        self._level, self._stream_level = level, stream_level

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level = _LEVELS.get(str(event.get("level")), logging.ERROR)
        if level >= self._level:
            self._files.write(_render_json(logger, method, event), level)
        least = self._stream_level
        if "logger" in event:  # a library's
            least = logging.INFO if least <= logging.DEBUG else max(least, logging.WARNING)
        if level < least:
            raise structlog.DropEvent
        return event


class _Foreign(logging.Handler):
    """Lines of libraries that use the standard library's logging."""

    def __init__(self, formatter: logging.Formatter, out: TextIO) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._lines = _Lines(out)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(structlog.DropEvent):
            self._lines.msg(self.format(record))


def _render_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    # The standard encoder, because it writes ASCII whatever a market's title holds, and integers of any size.
    return stdlib_json.dumps(event, separators=(",", ":"))


def _mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn every value into what it will look like, and cover what must not be seen."""
    return {mask_secrets(str(key)): _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, Mapping):
        return {mask_secrets(str(key)): _plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(below) for below in value]
    return mask_secrets(str(value))


def mask_secrets(text: str) -> str:
    """The text with every registered secret covered."""
    return text if _pattern is None else _pattern.sub(MASK, text)

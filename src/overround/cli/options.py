"""Options that several commands share, and what they become."""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from overround.errors import UsageError
from overround.market import Venue

if TYPE_CHECKING:
    from overround.config import Loaded
    from overround.ops import LogFiles
    from overround.storage import LakePaths

__all__ = [
    "App",
    "app_options",
    "data_dir_option",
    "date_option",
    "hours_option",
    "json_option",
    "parse_date",
    "parse_dates",
    "parse_time",
    "readable_lake",
    "venue_option",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class App:
    """What every command starts from: the settings as read, and how to log."""

    loaded: Loaded
    log_level: str | None
    path: str | None = None

    def start_logging(self, *, to_stdout: bool, json_lines: bool | None = None, quiet: bool = False) -> None:
        """Set up logging: long-running commands log to stdout, commands that print a result to stderr.

        Where a bar shows how far a command is (``quiet``), a line per file would only tear it.
        """
        from overround.ops import configure_logging

        settings = self.loaded.settings
        wanted = settings.logging
        stream = sys.stdout if to_stdout else sys.stderr
        level = self.log_level or wanted.level
        level = "warning" if quiet and level == "info" else level
        files = None
        if wanted.directory is not None:
            context = click.get_current_context(silent=True)
            name = "-".join(context.command_path.split()[1:]) if context is not None else ""
            files = _log_files(
                wanted.directory,
                name or "overround",
                days=wanted.debug_days,
                error_days=wanted.error_days,
                max_mb=wanted.max_file_mb,
            )
        configure_logging(level=level, stream=stream, json=json_lines, files=files, file_level=wanted.file_level)
        if files is not None:
            files.open()


def app_options(*, positional: bool = False) -> Callable[[F], F]:
    """Add ``--config`` and ``--log-level`` (and a positional CONFIG) and pass an ``App`` as ``app``."""

    def decorate(function: F) -> F:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            ctx = click.get_current_context()
            above: dict[str, str | None] = ctx.find_root().obj or {}
            path = kwargs.pop("config_path", None) or kwargs.pop("config_argument", None) or above.get("config")
            kwargs.pop("config_argument", None)
            level = kwargs.pop("log_level", None) or above.get("log_level")
            kwargs["app"] = load_app(path, log_level=level)
            return function(*args, **kwargs)

        wrapped.__name__ = function.__name__
        wrapped.__doc__ = function.__doc__
        wrapped.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        decorated: Any = click.option(
            "--config", "config_path", type=click.Path(), metavar="PATH", help="Settings file."
        )(wrapped)
        decorated = click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            default=None,
            help="Least level logged.",
        )(decorated)
        if positional:
            decorated = click.argument("config_argument", metavar="[CONFIG]", required=False, type=click.Path())(
                decorated
            )
        return decorated  # type: ignore[no-any-return]

    return decorate


@functools.cache
def _log_files(directory: Path, name: str, **kept: int) -> LogFiles:
    """Files that are written until the process ends, whenever logging is set up anew."""
    from overround.ops import LogFiles

    files = LogFiles(directory, name, **kept)
    atexit.register(files.close)
    return files


def load_app(path: str | None, *, log_level: str | None) -> App:
    """Read the settings, see to it that no secret of theirs is ever shown, and tell their warnings on stderr."""
    from overround.config import load_settings, secret_texts
    from overround.ops import mask_secrets, register_secret

    loaded = load_settings(Path(path) if path else None, environ=os.environ)
    for secret in secret_texts(loaded.settings):
        register_secret(secret)
    for warning in loaded.warnings:
        click.echo(f"warning: {mask_secrets(warning)}", err=True)
    return App(loaded=loaded, log_level=log_level, path=path)


def venue_option(*, required: bool = False, text: str = "Venue.") -> Callable[[F], F]:
    """Add ``--venue``."""
    return click.option("--venue", type=click.Choice([venue.value for venue in Venue]), required=required, help=text)


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")(function)


def data_dir_option(function: F) -> F:
    """Add ``--data-dir``."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default=None,
        help="Lake folder (default: data_dir of the settings).",
    )(function)


def readable_lake(app: App, data_dir: Path | None) -> LakePaths:
    """The lake to read, also where it lies in an object store."""
    from overround.storage.objects import open_lake

    settings = app.loaded.settings
    return open_lake(data_dir or settings.data_dir, settings.archive, settings.work_dir)


def date_option(*, required: bool = False) -> Callable[[F], F]:
    """Add ``--date`` as ``date_text``: today, unless it has to be given."""
    return click.option(
        "--date",
        "date_text",
        default=None if required else "today",
        required=required,
        show_default=not required,
        metavar="D",
        help="UTC day: YYYY-MM-DD, today or yesterday.",
    )


def hours_option(function: F) -> F:
    """Add ``--hours`` as ``hours_text``."""
    return click.option(
        "--hours",
        "hours_text",
        is_flag=False,
        flag_value="all",
        default="all",
        show_default=True,
        metavar="H",
        help="UTC hours: all, 0-23, 7,9-11.",
    )(function)


def parse_date(text: str) -> str:
    """Check a UTC day ``YYYY-MM-DD``; ``today`` and ``yesterday`` are understood.

    Raises
    ------
    UsageError
        If the text is no date.
    """
    from datetime import UTC, date, datetime, timedelta

    today = datetime.now(tz=UTC).date()
    if text in {"today", "yesterday"}:
        return str(today if text == "today" else today - timedelta(days=1))
    try:
        return str(date.fromisoformat(text))
    except ValueError as exc:
        raise UsageError(f"{text!r} is no date", hint="write YYYY-MM-DD (UTC), today or yesterday") from exc


def parse_dates(text: str) -> list[str]:
    """Check a UTC day, or several as ``2026-01-01..2026-01-31`` (both ends included, a year at most).

    Raises
    ------
    UsageError
        If the text is no date and no range of dates.

    Examples
    --------
    >>> parse_dates("2026-01-30..2026-02-01")
    ['2026-01-30', '2026-01-31', '2026-02-01']
    """
    from datetime import date, timedelta

    first, dots, last = text.partition("..")
    if not dots:
        return [parse_date(text)]
    begin, end = date.fromisoformat(parse_date(first)), date.fromisoformat(parse_date(last))
    n_days = (end - begin).days + 1
    if not 1 <= n_days <= 366:
        raise UsageError(f"{text!r} has {max(n_days, 0)} days", hint="name the earlier day first, and a year at most")
    return [str(begin + timedelta(days=n)) for n in range(n_days)]


def parse_time(text: str) -> int:
    """Epoch milliseconds of a UTC time: ``2026-11-21T12:00``, a day (its beginning), or milliseconds themselves.

    Raises
    ------
    UsageError
        If the text is no time.

    Examples
    --------
    >>> parse_time("2026-01-14T12:00"), parse_time("2026-01-14 12:00:00+01:00"), parse_time("1768392000000")
    (1768392000000, 1768388400000, 1768392000000)
    """
    from datetime import UTC, datetime

    if text.isdigit() and len(text) >= 12:
        return int(text)
    if text in {"today", "yesterday"}:
        text = parse_date(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise UsageError(f"{text!r} is no time", hint="write 2026-11-21T12:00 (UTC), a day, or milliseconds") from exc
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

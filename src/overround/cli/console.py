"""The console that tables are printed on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["console", "file_bar", "many"]


def console(*, stderr: bool = False) -> Console:
    """Rich's console; off a terminal it is wide, so that piped tables are not cut."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160)


def file_bar() -> Progress:
    """A bar on standard error that counts files; off a terminal it says nothing."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=screen, transient=True, disable=not screen.is_terminal,
    )  # fmt: skip


def many(n: int, what: str) -> str:
    """A number and its noun: ``1 file``, ``2,000 files``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"

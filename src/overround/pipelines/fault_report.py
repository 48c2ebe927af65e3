"""The fault matrix as a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from overround.pipelines.selftest import CellResult

__all__ = ["COLUMNS", "columns_of", "report_text"]

COLUMNS = (
    ("fault", False),
    ("venue", False),
    ("holds", False),
    ("changes lost (late, traceless, masked)", True),
    ("lost s", True),
    ("recorded s", True),
    ("bound s", True),
    ("repair s", True),
    ("found s", True),
    ("rows right", True),
    ("rows in gaps", True),
    ("verified at the end", True),
)
"""Heads of the table, and whether a column is of numbers. Seconds are sums over markets, except the longest repair."""


def columns_of(result: CellResult) -> list[str]:
    """One line of the table."""
    gaps = result.gaps
    apart = (gaps.late_changes, gaps.traceless_changes, gaps.masked_changes)
    beside = f" ({', '.join(map(str, apart))})" if any(apart) else ""
    return [
        result.cell,
        result.venue,
        "yes" if result.ok else "no",
        f"{gaps.lost_changes:,}{beside}",
        f"{gaps.lost_ms / 1000:.1f}",
        f"{gaps.recorded_ms / 1000:.1f}",
        f"{gaps.allowed_ms / 1000:.1f}",
        f"{gaps.longest_repair_ms / 1000:.1f}",
        f"{gaps.longest_found_ms / 1000:.1f}" if gaps.longest_found_ms else "",
        f"{result.rows_equal:,} of {result.rows:,}",
        f"{result.rows_in_gaps:,}",
        f"{result.verified} of {result.held}",
    ]


def report_text(results: Sequence[CellResult], *, command: str, date: str, took_s: float) -> str:
    """A Markdown page: the command that made it, when and on what, the table, and what failed.

    Parameters
    ----------
    results : sequence of CellResult
    command : str
        As typed.
    date : str
        UTC.
    took_s : float
    """
    held = sum(result.ok for result in results)
    system = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} processors"
    lines = [
        f"`{command}`, {date} UTC, {system}: {held} of {len(results)} cells hold; {took_s / 60:.1f} minutes.",
        "",
        "| " + " | ".join(name for name, _ in COLUMNS) + " |",
        "| " + " | ".join("---:" if number else "---" for _, number in COLUMNS) + " |",
    ]
    lines += ["| " + " | ".join(columns_of(result)) + " |" for result in results]
    failed = [result for result in results if not result.ok]
    for result in failed:
        lines += ["", f"**{result.cell} on {result.venue} does not hold:**", ""]
        lines += [f"- {problem}" for problem in result.problems]
        lines += ["", f"Again: `{result.repeat}`; its script: `{result.script}`"]
    return "\n".join(lines) + "\n"

"""The fault matrix as a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from overround.exchange import KINDS
from overround.exchange.fault_script import ONE_VENUE
from overround.pipelines.fault_cells import cell_scripts
from overround.pipelines.selftest import CellResult

__all__ = ["COLUMNS", "columns_of", "kinds_text", "load_text", "report_text"]

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


def kinds_text() -> str:
    """A Markdown table of every kind of fault: what it does, and how its cell injects it."""
    lines = ["| fault | venues | what the exchange does | injected in its cell |", "| --- | --- | --- | --- |"]
    for kind in KINDS:
        venue = ONE_VENUE.get(kind)
        words = "; then ".join(_spelt(kind, script) for script in cell_scripts(kind))
        lines.append(f"| `{kind}` | {'both' if venue is None else venue.value} | {KINDS[kind]} | {words} |")
    return "\n".join(lines) + "\n"


def _spelt(kind: str, script: Mapping[str, Any]) -> str:
    """One fault of a cell in words."""
    words = [f"`{name}` {value}" for name, value in script.get("params", {}).items()]
    if "duration_ms" in script:
        words.insert(0, f"for {script['duration_ms'] / 1000:g} s")
    elif kind in {"silence", "mute_token"}:
        words.insert(0, "until somebody finds out")
    elif kind == "missing_first_book":
        words.insert(0, "before the collector connects")
    if script.get("at_ms"):
        words.append(f"at {script['at_ms'] / 1000:g} s")
    if "kind" in script:
        words.insert(0, f"`{script['kind']}`")
    return ", ".join(words) or "once"


def load_text() -> str:
    """What else the machine does, for figures that depend on time; empty where the system does not say."""
    if not hasattr(os, "getloadavg"):
        return ""
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def report_text(
    results: Sequence[CellResult], *, command: str, date: str, took_s: float, loads: tuple[str, str] = ("", "")
) -> str:
    """A Markdown page: the command that made it, when and on what, the table, and what failed.

    Parameters
    ----------
    results : sequence of CellResult
    command : str
        As typed.
    date : str
        UTC.
    took_s : float
    loads : tuple of str
        Load averages of the machine (1, 5 and 15 minutes) before the run and after it.
    """
    held = sum(result.ok for result in results)
    system = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} processors"
    lines = [
        f"`{command}`, {date} UTC, {system}: {held} of {len(results)} cells hold; {took_s / 60:.1f} minutes."
        + (f"\nLoad average before it {loads[0]}, after it {loads[1]}." if loads[0] else ""),
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

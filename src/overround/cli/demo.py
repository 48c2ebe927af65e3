"""``overround demo``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from overround.cli.console import console
from overround.cli.options import json_option

if TYPE_CHECKING:
    from rich.console import Console

    from overround.collector import VenueStatus
    from overround.pipelines.demo import DemoResult

__all__ = ["demo", "show"]


@click.command()
@click.option(
    "--duration",
    type=click.FloatRange(min=5),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Seconds of collecting.",
)
@click.option(
    "--markets",
    type=click.IntRange(min=50),
    default=2_000,
    show_default=True,
    help="Markets generated, both venues together.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of the generated markets and their flow.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("data/demo"),
    show_default=True,
    help="Lake folder; an earlier demo there is replaced.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="error",
    show_default=True,
    help="Least level logged, on stderr.",
)
@json_option
def demo(*, duration: float, markets: int, seed: int, data_dir: Path, log_level: str, as_json: bool) -> int:
    """Run the whole road on this machine in a minute, and check it.

    Starts the local exchange for both venues, scans, collects, mines, and compares every stored row with what the
    exchange knows to have happened, although each venue cuts a connection, skips a change and bursts on the way. Needs no
    network and no credentials. Exit code 0 only if every row agrees.

    Example: overround demo --duration 20 --data-dir /tmp/demo
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.ops import configure_logging
    from overround.pipelines.demo import run_demo

    configure_logging(level=log_level, stream=sys.stderr, json=None)
    screen = _Screen(duration)
    with screen:
        result = run_demo(
            data_dir=data_dir,
            markets=markets,
            seed=seed,
            duration_s=duration,
            clock=SystemClock(),
            say=screen.say,
            on_status=screen.status,
            status_ms=1_000,
        )
    if as_json:
        click.echo(msgspec.json.encode({"venues": result.venues, "data_dir": result.data_dir, "faults": result.faults}))
    else:
        show(result, console())
    return 0 if result.agrees else 1


class _Screen:
    """Progress on stderr: a live table and a bar on a terminal, lines elsewhere."""

    def __init__(self, duration_s: float) -> None:
        self._console = console(stderr=True)
        self._duration_s = duration_s
        self._began = time.monotonic()
        self._collecting: float | None = None
        self._shown_s = 0.0
        self._live: object = None

    def __enter__(self) -> Self:
        from rich.live import Live

        if self._console.is_terminal:
            live = Live(console=self._console, refresh_per_second=4, transient=True)
            live.__enter__()
            self._live = live
        return self

    def __exit__(self, *exc: object) -> None:
        from rich.live import Live

        if isinstance(self._live, Live):
            self._live.__exit__(None, None, None)
            self._live = None

    def say(self, line: str) -> None:
        """Print one line with the time since the start."""
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {line}", highlight=False)
        if line.startswith("collecting"):
            self._collecting = time.monotonic()

    def status(self, statuses: Sequence[VenueStatus]) -> None:
        """Redraw the table, or print it every ten seconds where there is no terminal."""
        from rich.console import Group
        from rich.live import Live
        from rich.progress_bar import ProgressBar

        from overround.cli.collect import status_table

        passed_s = time.monotonic() - (self._collecting or self._began)
        table = status_table(statuses, title="recording")
        if isinstance(self._live, Live):
            bar = ProgressBar(total=self._duration_s, completed=min(passed_s, self._duration_s), width=60)
            self._live.update(Group(table, bar))
        elif passed_s - self._shown_s >= 9.5:
            self._shown_s = passed_s
            self._console.print(table)


def show(result: DemoResult, screen: Console, *, files: bool = True, rankings: int = 3) -> None:
    """Print a demo's result: rankings, figures, files, the verdict and the next command."""
    from rich.table import Table

    from overround.cli.mine import ranking_tables

    for venue, ranking in result.rankings.items():
        for table in ranking_tables(ranking, title=venue)[:rankings]:
            screen.print(table)
            screen.print()
    table = Table(title="what was recorded", title_justify="left")
    table.add_column("")
    for venue in result.venues:
        table.add_column(venue, justify="right")
    found = list(result.venues.values())
    for name, cells in (
        ("markets scanned", [f"{v.markets_scanned:,}" for v in found]),
        ("frames, per second", [f"{v.frames:,}, {v.frames_per_s:,.0f}" for v in found]),
        ("snapshots, per second", [f"{v.snapshots:,}, {v.snapshots_per_s:,.1f}" for v in found]),
        ("Parquet files, bytes per snapshot", [f"{v.files}, {v.bytes_per_snapshot:.1f}" for v in found]),
        ("journal bytes", [f"{v.journal_bytes:,}" for v in found]),
        ("verified minutes", ["-" if v.verified_minutes is None else f"{v.verified_minutes:.1%}" for v in found]),
        ("verified when taken", [f"{v.verified_share:.1%}" for v in found]),
        ("gaps, repairs, reconnects", [f"{v.gaps}, {v.repairs}, {v.reconnects}" for v in found]),
        ("rows checked against the truth", [f"{v.books_checked:,}" for v in found]),
        ("rows that agree", [f"{v.books_equal:,}" for v in found]),
    ):
        table.add_row(name, *cells)
    screen.print(table)
    screen.print(f"faults injected: {'; '.join(result.faults) or 'none'}", highlight=False)
    if files:
        screen.print(f"files under {result.data_dir}:", highlight=False)
        for name, size in result.file_list:
            if name.endswith((".parquet", ".jsonl", ".zst")):
                screen.print(f"  {size:>10,}  {name}", highlight=False)
    for venue, found_venue in result.venues.items():
        for line in found_venue.differences:
            screen.print(f"[red]{venue}: {line}[/red]", highlight=False)
    verdict = "every stored row equals the exchange's truth" if result.agrees else "stored rows differ from the truth"
    screen.print(f"[bold]{verdict}[/bold]")
    screen.print(f"next: overround lake ls --data-dir {result.data_dir}", highlight=False)

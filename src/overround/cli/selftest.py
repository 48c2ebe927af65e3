"""``overround exchange selftest``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from overround.cli.console import console
from overround.cli.options import json_option, venue_option
from overround.errors import UsageError
from overround.market import Venue

if TYPE_CHECKING:
    from overround.pipelines.selftest import CellResult

__all__ = ["selftest"]


@click.command()
@venue_option(text="Faults on this venue only (default: on both).")
@click.option(
    "--kind", "kinds", multiple=True, metavar="K", help="Only this fault (repeatable; `none` is the calm run)."
)
@click.option(
    "--random",
    "drawn",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Runs of several faults at once, drawn from seeds S, S+1 and so on. Neither --kind nor --random: all and 6.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of worlds, targets and draws.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="Time after its faults by which a run must be whole again.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the matrix as a Markdown page.")
@click.option("--keep", type=click.Path(path_type=Path), help="Empty folder for the lakes and logs of runs that fail.")
@json_option
def selftest(
    *,
    venue: str | None,
    kinds: tuple[str, ...],
    drawn: int | None,
    seed: int,
    seconds: float,
    out: Path | None,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Break the local exchange in every known way and check what `collect` records.

    Each run is a real `overround collect` against an exchange of its own, with one kind of fault on both venues, or several
    drawn from a seed. A cell holds if every stored row outside recorded gaps equals the exchange's truth, the gaps cover
    exactly what was lost, the process stays up, and everything is verified again at the end. Exit code 1 if one does not.

    Example: overround exchange selftest --kind close --kind drop --seed 3
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.ops import configure_logging
    from overround.pipelines.fault_cells import cells_alone, cells_drawn
    from overround.pipelines.fault_report import load_text, report_text
    from overround.pipelines.selftest import run_cells

    configure_logging(level="error", stream=sys.stderr, json=None)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is not empty", hint="name a new folder: --keep FOLDER")
    venues = [Venue(venue)] if venue else list(Venue)
    count = (0 if kinds else 6) if drawn is None else drawn
    cells = cells_alone(kinds, venues=venues, seed=seed) if kinds or drawn is None else []
    cells += cells_drawn(count, venues=venues, seed=seed)
    began, load, results = time.monotonic(), load_text(), []
    with (
        tempfile.TemporaryDirectory(prefix="overround-selftest-", ignore_cleanup_errors=True) as scratch,
        _Screen(len(cells)) as screen,
    ):
        folder = keep or Path(scratch)
        for result in run_cells(
            cells, venues=venues, folder=folder, clock=SystemClock(), longest_s=seconds, say=screen.say
        ):
            results.append(result)
            screen.done(result, len({(r.cell, r.seed) for r in results}))
    took_s = time.monotonic() - began
    if out is not None:
        command = "overround exchange selftest" + "".join(
            f" {name} {value}" for name, value in (
                ("--venue", venue), *(("--kind", kind) for kind in kinds), ("--random", drawn), ("--seed", seed)
            ) if value is not None
        )  # fmt: skip
        date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        text = report_text(results, command=command, date=date, took_s=took_s, loads=(load, load_text()))
        out.write_text(text, encoding="utf-8", newline="\n")
    if as_json:
        click.echo(msgspec.json.encode(results))
    else:
        _show(results, took_s)
    return 0 if all(result.ok for result in results) else 1


class _Screen:
    """Progress on stderr: a bar on a terminal, a line per cell elsewhere."""

    def __init__(self, n_runs: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = console(stderr=True)
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=n_runs)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """What the present run does."""
        self._bar.update(self._task, description=line)

    def done(self, result: CellResult, n_runs: int) -> None:
        """A cell was checked."""
        word = "[green]holds[/green]" if result.ok else "[red]fails[/red]"
        self._console.print(
            f"{word}  {result.cell} on {result.venue}  [dim]{result.took_s:.0f} s[/dim]", highlight=False
        )
        self._bar.update(self._task, completed=n_runs)


def _show(results: list[CellResult], took_s: float) -> None:
    from rich.markup import escape
    from rich.table import Table

    from overround.pipelines.fault_report import COLUMNS, columns_of

    screen = console()
    table = Table(title="fault matrix", title_justify="left")
    for name, number in COLUMNS:
        table.add_column(name, justify="right" if number else "left")
    for result in results:
        table.add_row(*columns_of(result), style=None if result.ok else "red")
    screen.print(table)
    for result in results:
        if not result.ok:
            screen.print(f"[bold red]{result.cell} on {result.venue} does not hold[/bold red]")
            for problem in result.problems:
                screen.print(f"  {escape(problem)}", highlight=False)
            screen.print(f"  again:  {result.repeat}", highlight=False)
            screen.print(f"  faults: {escape(result.script)}", highlight=False)
    held = sum(result.ok for result in results)
    screen.print(f"[bold]{held} of {len(results)} cells hold[/bold]; {took_s:.0f} s", highlight=False)

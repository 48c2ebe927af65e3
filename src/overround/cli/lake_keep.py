"""``overround lake retain``: what keeps the lake small."""

from __future__ import annotations

from pathlib import Path

import click

from overround.cli.console import console, many
from overround.cli.options import App, app_options, data_dir_option, json_option, venue_option

__all__ = ["KEEPING"]


@click.command()
@venue_option(text="Remove days of this venue only.")
@click.option("--apply", is_flag=True, help="Remove; without it, only say what would go.")
@data_dir_option
@json_option
@app_options()
def retain(*, app: App, venue: str | None, apply: bool, data_dir: Path | None, as_json: bool) -> int:
    """Remove days that are older, or take more disk, than [retention] allows.

    Says what would go; --apply removes it. Whole days of a table go, oldest first, never one that is still written.
    Exit code 3 if something stays that should go; each such day says why.

    Example: overround lake retain --apply
    """
    import msgspec
    from rich.table import Table

    from overround.clock import SystemClock
    from overround.pipelines.retain import retain as run
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False)
    settings = app.loaded.settings
    done = run(
        LakePaths(data_dir or settings.data_dir),
        settings.retention,
        now_ms=SystemClock().now_ms(),
        apply=apply,
        venue=venue,
    )
    if as_json:
        click.echo(msgspec.json.encode(done))
        return done.exit_code
    table = Table(box=None, pad_edge=False)
    for name in ("table", "venue", "date"):
        table.add_column(name, no_wrap=True)
    for name in ("files", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for day in done.removed:
        table.add_row(day.table, day.venue, day.date, f"{day.files:,}", f"{day.bytes / 1e6:,.2f}", day.why)
    if done.removed:
        console().print(table)
    for stays in done.kept:
        day = stays.day
        click.echo(f"stays: {day.table}, {day.venue}, {day.date} ({day.why}): {stays.reason}", err=True)
    for name, n_bytes in done.over_budget.items():
        click.echo(f"{name} takes {n_bytes / 1e9:,.2f} GB more than its budget: the days left may not go yet", err=True)
    what = f"{many(len(done.removed), 'day')}, {done.bytes / 1e9:,.2f} GB"
    if done.applied:
        click.echo(f"removed: {what}")
    else:
        click.echo(f"would be removed: {what}" + ("; --apply removes them" if done.removed else ""))
    return done.exit_code


KEEPING = (retain,)

"""``overround lake ls|stats|verify|rebuild``; what keeps the lake small stands in ``lake_keep``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from overround.cli.console import console, file_bar, many
from overround.cli.lake_keep import KEEPING
from overround.cli.options import (
    App,
    app_options,
    data_dir_option,
    date_option,
    hours_option,
    json_option,
    parse_date,
    venue_option,
)
from overround.errors import UsageError

__all__ = ["lake"]


@click.group()
def lake() -> None:
    """List, check, mend, archive and thin out what is stored.

    Example: overround lake ls
    """


@lake.command()
@venue_option(text="This venue only.")
@click.option(
    "--date", "date_text", default=None, metavar="D", help="This UTC day only: YYYY-MM-DD, today or yesterday."
)
@data_dir_option
@json_option
@app_options()
def ls(*, app: App, venue: str | None, date_text: str | None, data_dir: Path | None, as_json: bool) -> None:
    """List what is stored: a line per table, venue and day.

    Example: overround lake ls --venue kalshi --date today
    """
    import msgspec
    from rich.table import Table

    from overround.pipelines.lake import list_lake
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False)
    paths = LakePaths(data_dir or app.loaded.settings.data_dir)
    entries = list_lake(paths, venue=venue, date=parse_date(date_text) if date_text else None)
    if as_json:
        click.echo(msgspec.json.encode(entries))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("table", "venue", "date"):
        table.add_column(name, no_wrap=True)
    for name in ("files", "open", "rows", "bytes", "bytes/row", "gaps", "from", "to (UTC)"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        table.add_row(
            entry.table,
            entry.venue,
            entry.date,
            f"{entry.files:,}",
            f"{entry.open_files:,}" if entry.rows is not None else "",
            "" if entry.rows is None else f"{entry.rows:,}",
            f"{entry.bytes:,}",
            f"{entry.bytes / entry.rows:.1f}" if entry.rows and not entry.open_files else "",
            f"{entry.gaps:,}" if entry.rows is not None else "",
            _clock(entry.first_ts),
            _clock(entry.last_ts),
        )
    console().print(table)
    unlisted = sum(entry.unlisted for entry in entries)
    if unlisted:
        click.echo(f"{unlisted} files are in no manifest: `overround lake verify` says which", err=True)


@lake.command()
@data_dir_option
@json_option
@app_options()
def stats(*, app: App, data_dir: Path | None, as_json: bool) -> None:
    """Show what each table takes, how it grows, and how long the disk lasts.

    Example: overround lake stats
    """
    import msgspec
    from rich.table import Table

    from overround.pipelines.lake import lake_stats
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False)
    found = lake_stats(LakePaths(data_dir or app.loaded.settings.data_dir), today=parse_date("today"))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("table", "venue", "from", "to"):
        table.add_column(name, no_wrap=True)
    for name in ("days", "files", "rows", "MB", "bytes/row", "MB a day"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.tables:
        table.add_row(
            each.table,
            each.venue,
            each.first,
            each.last,
            f"{each.days:,}",
            f"{each.files:,}",
            "" if each.rows is None else f"{each.rows:,}",
            f"{each.bytes / 1e6:,.2f}",
            f"{each.bytes / each.rows:.1f}" if each.rows else "",
            "" if each.day_bytes is None else f"{each.day_bytes / 1e6:,.2f}",
        )
    console().print(table)
    left = "" if found.days_left is None else f"; it lasts {found.days_left:,.0f} days if nothing is removed"
    click.echo(
        f"{found.bytes / 1e9:,.2f} GB in all; {found.disk_free / 1e9:,.1f} of {found.disk_bytes / 1e9:,.1f} GB of the disk are free{left}"
    )


def _clock(ts_ms: int | None) -> str:
    return "" if ts_ms is None else datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%H:%M:%S")


@lake.command()
@venue_option(text="This venue only.")
@click.option(
    "--date", "date_text", default=None, metavar="D", help="This UTC day only: YYYY-MM-DD, today or yesterday."
)
@click.option("--journal/--no-journal", default=True, help="Read the raw frames through too (default: yes).")
@data_dir_option
@json_option
@app_options()
def verify(
    *, app: App, venue: str | None, date_text: str | None, journal: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Check every stored file: readable, as its manifest says, sorted, consistent, whole.

    Exit code 1 if anything is wrong; each problem names its file.

    Example: overround lake verify --date today
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines.counted import counted
    from overround.pipelines.lake import verify_lake
    from overround.storage import EVERY_VENUE, LakePaths

    app.start_logging(to_stdout=False)
    settings = app.loaded.settings
    paths = LakePaths(data_dir or settings.data_dir)
    with counted(paths, "verify", venue or EVERY_VENUE, clock=SystemClock()) as run, file_bar() as bar:
        task = bar.add_task("files", total=None)
        report = verify_lake(
            paths,
            venue=venue,
            date=parse_date(date_text) if date_text else None,
            top_k=settings.top_k,
            journal=journal,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        if not report.ok:
            run.failed = f"{many(len(report.problems), 'problem')}, the first: {report.problems[0].path}"
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        for problem in report.problems:
            click.echo(f"{problem.path}: {problem.kind}: {problem.detail}", err=True)
        verdict = "nothing is wrong" if report.ok else f"{len(report.problems)} problems"
        click.echo(
            f"{verdict}: {report.days} days, {report.files:,} files with {report.rows:,} rows, {report.open_rows:,} rows in open buckets, "
            f"{report.journal_files:,} journal files with {report.journal_entries:,} frames"
        )
    return 0 if report.ok else 1


@lake.command()
@click.option("--from", "source", type=click.Choice(["journal"]), required=True, help="What the rows are made from.")
@venue_option(required=True)
@date_option(required=True)
@hours_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Data folder to write into (default: the lake's own name with .rebuilt).",
)
@click.option("--in-place", is_flag=True, help="Replace the lake's own files, where the journal gives all of them.")
@click.option("--overwrite", is_flag=True, help="Replace files that DIR holds already.")
@data_dir_option
@json_option
@app_options()
def rebuild(
    *,
    app: App,
    source: str,  # noqa: ARG001 - there is one; the option says what happens
    venue: str,
    date_text: str,
    hours_text: str,
    out: Path | None,
    in_place: bool,
    overwrite: bool,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Write a day's files of snapshots and trades again from the journal, for instance after a parser was mended.

    Exit code 3 if a stretch cannot be rebuilt; in place, its files are left as they are.

    Example: overround lake rebuild --from journal --venue kalshi --date yesterday
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.market import Venue
    from overround.pipelines.counted import counted
    from overround.pipelines.mine import parse_hours
    from overround.pipelines.prove import span_of
    from overround.pipelines.rebuild_lake import rebuild_lake
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False, quiet=True)
    if in_place and (out is not None or overwrite):
        raise UsageError("--in-place writes into the lake itself", hint="leave --out and --overwrite away")
    settings = app.loaded.settings
    paths = LakePaths(data_dir or settings.data_dir)
    if not in_place and out is None:
        out = paths.root.with_name(f"{paths.root.name}.rebuilt")
    span, clock = span_of(parse_date(date_text), parse_hours(hours_text)), SystemClock()
    with counted(paths, "rebuild", venue, clock=clock), file_bar() as bar:
        task = bar.add_task("journal files", total=None)
        result = rebuild_lake(
            paths,
            Venue(venue),
            span,
            out=out,
            overwrite=overwrite,
            level=settings.storage.compression_level,
            clock=clock,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        click.echo(msgspec.json.encode(result))
        return result.exit_code
    for hole in result.holes:
        click.echo(f"cannot be rebuilt: {_clock(hole.from_ms)} to {_clock(hole.to_ms)}: {hole.why}", err=True)
    for name in result.kept:
        click.echo(f"left as it is: {name}", err=True)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"{many(result.files, 'file')} with {many(result.rows, 'row')} and {many(result.trade_files, 'file')} with "
        f"{many(result.trades, 'trade')} in {result.folder}, from "
        f"{many(result.frames, 'frame')} of {many(result.runs, 'run')} in {result.seconds:.1f} s"
    )
    return result.exit_code


for _command in KEEPING:
    lake.add_command(_command)

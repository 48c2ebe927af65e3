"""``overround lake retain|archive|restore|compact|repair``: what keeps the lake small, and safe elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from overround.cli.console import console, file_bar, many
from overround.cli.options import App, app_options, data_dir_option, json_option, parse_date, venue_option
from overround.errors import UsageError

if TYPE_CHECKING:
    from overround.pipelines.archive import Carried
    from overround.storage.archive import Archive

F = TypeVar("F", bound=Callable[..., Any])

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
    With an [archive], only days that are whole in it. Exit code 3 if something stays that should go; each such day says
    why.

    Example: overround lake retain --apply
    """
    import msgspec
    from rich.table import Table

    from overround.clock import SystemClock
    from overround.pipelines.archive import unarchived
    from overround.pipelines.counted import counted
    from overround.pipelines.retain import retain as run
    from overround.storage import EVERY_VENUE, LakePaths
    from overround.storage.archive import open_archive

    app.start_logging(to_stdout=False)
    settings = app.loaded.settings
    paths, clock = LakePaths(data_dir or settings.data_dir), SystemClock()
    with counted(paths, "retain", venue or EVERY_VENUE, clock=clock):
        archive = open_archive(settings.archive)
        done = run(
            paths,
            settings.retention,
            now_ms=clock.now_ms(),
            apply=apply,
            venue=venue,
            unarchived=unarchived(archive) if archive is not None else None,
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


def _carry_options(function: F) -> F:
    for option in (
        click.option("--from", "since", default="0001-01-01", metavar="D", help="First UTC day (default: all)."),
        click.option("--to", "until", default="9999-12-31", metavar="D", help="Last UTC day (default: all)."),
        venue_option(text="This venue only."),
        click.option("--table", default=None, metavar="T", help="This table only: its folder, for instance raw."),
        data_dir_option,
        json_option,
        app_options(),
    )[::-1]:
        function = option(function)
    return function


def _the_archive(app: App) -> Archive:
    from overround.storage.archive import open_archive

    archive = open_archive(app.loaded.settings.archive)
    if archive is None:
        raise UsageError(
            "no archive is configured",
            hint='set [archive] url = "s3://bucket/prefix", or a folder; see docs/how-to/archive.md',
        )
    return archive


@click.command()
@click.option("--check", is_flag=True, help="Read everything again: files, and what the archive says it has.")
@_carry_options
def archive(
    *,
    app: App,
    check: bool,
    since: str,
    until: str,
    venue: str | None,
    table: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Copy days that are over to the archive, and read them back.

    Stopped or killed, it goes on where it was when run again. Exit code 3 if something was not copied.

    Example: overround lake archive --from 2026-01-01 --to 2026-01-31
    """
    from overround.clock import SystemClock
    from overround.pipelines.archive import archive_lake
    from overround.pipelines.counted import counted
    from overround.storage import EVERY_VENUE, LakePaths

    app.start_logging(to_stdout=False, quiet=True)
    store = _the_archive(app)
    paths, clock = LakePaths(data_dir or app.loaded.settings.data_dir), SystemClock()
    with counted(paths, "archive", venue or EVERY_VENUE, clock=clock), file_bar() as bar:
        task = bar.add_task("days", total=None)
        done = archive_lake(
            paths,
            store,
            now_ms=clock.now_ms(),
            since=parse_date(since),
            until=parse_date(until),
            venue=venue,
            table=table,
            check=check,
            on_progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    return _told(done, "copied", f"to {store.url}", as_json=as_json)


@click.command()
@click.option("--overwrite", is_flag=True, help="Replace files that differ from the archive's.")
@_carry_options
def restore(
    *,
    app: App,
    overwrite: bool,
    since: str,
    until: str,
    venue: str | None,
    table: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Bring days back from the archive, each file whole and with its checksum.

    Files that are there already are left. Exit code 3 if something could not be brought back.

    Example: overround lake restore --from 2026-01-14 --to 2026-01-14 --venue kalshi
    """
    from overround.pipelines.archive import restore_lake
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False, quiet=True)
    store = _the_archive(app)
    with file_bar() as bar:
        task = bar.add_task("days", total=None)
        done = restore_lake(
            LakePaths(data_dir or app.loaded.settings.data_dir),
            store,
            since=parse_date(since),
            until=parse_date(until),
            venue=venue,
            table=table,
            overwrite=overwrite,
            on_progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    return _told(done, "brought back", f"from {store.url}", as_json=as_json)


@click.command()
@venue_option(text="This venue only.")
@click.option("--date", "date_text", default=None, metavar="D", help="This UTC day only: YYYY-MM-DD or yesterday.")
@click.option("--apply", is_flag=True, help="Rewrite; without it, only say what would be.")
@data_dir_option
@json_option
@app_options()
def compact(
    *, app: App, venue: str | None, date_text: str | None, apply: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Bring the rows of small files into the buckets they belong to, without changing one.

    Small are files of snapshots and trades that another program wrote, and buckets shorter than storage.bucket_secs.
    Days that are not over are left, and short buckets whose journal is there. Exit code 3 if a file had to be left; it is named.

    Example: overround lake compact --date yesterday --apply
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines.compact import compact_lake
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False, quiet=True)
    settings = app.loaded.settings
    with file_bar() as bar:
        task = bar.add_task("days", total=None)
        done = compact_lake(
            LakePaths(data_dir or settings.data_dir),
            bucket_s=settings.storage.bucket_secs,
            level=settings.storage.compression_level,
            now_ms=SystemClock().now_ms(),
            apply=apply,
            venue=venue,
            date=parse_date(date_text) if date_text else None,
            on_progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    if as_json:
        click.echo(msgspec.json.encode(done))
        return done.exit_code
    for problem in done.problems:
        click.echo(f"left as it is: {problem}", err=True)
    if done.proved:
        click.echo(f"left: {many(done.proved, 'short bucket')} that the journal of their hour proves", err=True)
    verb = "were made" if apply else "would be made"
    click.echo(
        f"{many(done.before, 'file')} {verb} {done.after:,}, with {many(done.rows, 'row')}"
        + ("; --apply does it" if done.before and not apply else "")
    )
    return done.exit_code


@click.command()
@venue_option(text="This venue only.")
@click.option(
    "--date", "date_text", default=None, metavar="D", help="This UTC day only: YYYY-MM-DD, today or yesterday."
)
@click.option("--journal/--no-journal", default=True, help="Look at the raw frames too (default: yes).")
@click.option("--apply", is_flag=True, help="Mend; without it, only say what would be.")
@data_dir_option
@json_option
@app_options()
def repair(
    *,
    app: App,
    venue: str | None,
    date_text: str | None,
    journal: bool,
    apply: bool,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Mend what `lake verify` finds, where the lake or its archive holds what is needed.

    Rows are never made up. Exit code 3 if something is left; each such file says what would help.

    Example: overround lake repair --date yesterday --apply
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines.repair import repair_lake
    from overround.storage import LakePaths
    from overround.storage.archive import open_archive

    app.start_logging(to_stdout=False, quiet=True)
    settings = app.loaded.settings
    with file_bar() as bar:
        task = bar.add_task("files", total=None)
        done = repair_lake(
            LakePaths(data_dir or settings.data_dir),
            level=settings.storage.compression_level,
            now_ms=SystemClock().now_ms(),
            apply=apply,
            archive=open_archive(settings.archive),
            venue=venue,
            date=parse_date(date_text) if date_text else None,
            journal=journal,
            on_progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    if as_json:
        click.echo(msgspec.json.encode(done))
        return done.exit_code
    for line in done.mended:
        click.echo(line)
    for line in done.left:
        click.echo(f"left: {line}", err=True)
    if not done.mended and not done.left:
        click.echo("nothing is wrong")
        return 0
    verb = "mended" if apply else "can be mended"
    click.echo(
        f"{many(len(done.mended), 'file')} {verb}, {len(done.left):,} left"
        + ("; --apply mends" if done.mended and not apply else "")
    )
    return done.exit_code


def _told(done: Carried, what: str, where: str, *, as_json: bool) -> int:
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(done))
        return done.exit_code
    for problem in done.problems:
        click.echo(f"not {what}: {problem}", err=True)
    click.echo(
        f"{many(done.files, 'file')}, {done.bytes / 1e6:,.2f} MB, {what} {where}; {done.present:,} were there already ({many(done.days, 'day folder')})"
    )
    return done.exit_code


KEEPING = (retain, archive, restore, compact, repair)

"""``overround drift``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console
from overround.cli.options import App, app_options, data_dir_option, json_option, parse_time, venue_option
from overround.market import Venue

if TYPE_CHECKING:
    from overround.pipelines.drift import DriftReport

__all__ = ["drift"]


@click.command()
@venue_option(text="This venue only.")
@click.option(
    "--since", default=None, metavar="T", help="Only what was seen since: a UTC time or day, today, yesterday."
)
@click.option("--accept", multiple=True, metavar="NAME", help="Mark a departure as known; may be given several times.")
@click.option("--accept-all", is_flag=True, help="Mark everything found as known.")
@click.option("--all", "with_accepted", is_flag=True, help="Show what was accepted, too.")
@data_dir_option
@json_option
@app_options()
def drift(
    *,
    app: App,
    venue: str | None,
    since: str | None,
    accept: tuple[str, ...],
    accept_all: bool,
    with_accepted: bool,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Show what venues changed in their messages, and since when.

    Fields and events that are not documented, values outside their domain, fields that vanished or stand still: each
    with its first and last time, how often it was met among the messages examined, a sample, and the file that messages
    were set aside in. Exit code 1 if there is any that was not accepted.

    Example: overround drift --since yesterday
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.errors import UsageError
    from overround.pipelines.drift import drift_report
    from overround.storage import LakePaths, accept_drift

    app.start_logging(to_stdout=False)
    paths = LakePaths(data_dir or app.loaded.settings.data_dir)
    venues = [venue] if venue else [known.value for known in Venue]
    since_ms = parse_time(since) if since is not None else 0
    if accept or accept_all:
        names = None if accept_all else frozenset(accept)
        now_ms = SystemClock().now_ms()
        unmet = set(accept)
        for one in venues:
            for entry in accept_drift(paths, one, names, now_ms=now_ms):
                unmet -= {entry.name, entry.key}
                click.echo(f"accepted {one}: {entry.sort.replace('_', ' ')} {entry.name}", err=True)
        if unmet:
            raise UsageError(f"{min(unmet)!r} was not found", hint="`overround drift --all` shows the names")
    report = drift_report(paths, venues, since_ms=since_ms, with_accepted=with_accepted)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report, since=since)
    return 1 if report.news else 0


def _print(report: DriftReport, *, since: str | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    if report.found:
        table = Table(box=None, pad_edge=False)
        for name in ("venue", "what", "name"):
            table.add_column(name, overflow="fold")
        for name in ("first seen (UTC)", "last seen"):
            table.add_column(name, no_wrap=True)
        table.add_column("count", justify="right", no_wrap=True)
        for name in ("expected", "sample"):
            table.add_column(name, overflow="fold", max_width=40)
        for entry in report.found:
            accepted = " (accepted)" if entry.accepted_ms is not None else ""
            table.add_row(
                entry.venue,
                entry.sort.replace("_", " "),
                # Names hold [], which the table would take for its own markup.
                escape(entry.name + accepted),
                _time(entry.first_ms),
                _time(entry.last_ms),
                f"{entry.count:,}",
                escape(entry.expected),
                escape(entry.sample[:80]),
            )
        console().print(table)
        click.echo("")
        for file in sorted({file for entry in report.found for file in entry.files}):
            click.echo(f"set aside: {file}")
    else:
        click.echo("nothing departs from what is documented and usual" + (f" since {since}" if since else ""))
    for watched in report.venues:
        line = f"{watched.venue}: "
        if watched.samples:
            line += (
                f"{watched.samples:,} messages of {watched.kinds} kinds examined from {_time(watched.first_ms)} to "
                f"{_time(watched.last_ms)}, {watched.fields:,} fields watched"
            )
        else:
            line += "no message examined yet"
        if watched.accepted:
            line += f"; {watched.accepted} accepted (shown with --all)"
        if watched.quarantined_files:
            files = f"{watched.quarantined_files} file{'s' if watched.quarantined_files > 1 else ''}"
            line += f"; {watched.quarantined_bytes:,} bytes in {files} under {watched.quarantine}"
        click.echo(line)


def _time(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")

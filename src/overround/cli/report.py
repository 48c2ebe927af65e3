"""``overround report``."""

from __future__ import annotations

from pathlib import Path

import click

from overround.cli.console import console, file_bar
from overround.cli.options import (
    App,
    app_options,
    data_dir_option,
    date_option,
    json_option,
    parse_date,
    readable_lake,
    venue_option,
)
from overround.errors import UsageError

__all__ = ["report"]


@click.command()
@venue_option(text="This venue only (default: all that have the day).")
@click.option("--all-venues", is_flag=True, help="Every venue that has the day, as without --venue.")
@date_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The page: FILE.html, or a folder (default: reports/day of the lake).",
)
@click.option("--top", type=click.IntRange(1, 200), default=10, show_default=True, help="Markets of each table.")
@data_dir_option
@json_option
@app_options()
def report(
    *,
    app: App,
    venue: str | None,
    all_venues: bool,
    date_text: str,
    out: Path | None,
    top: int,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Write a day's page, which opens in a browser without a network.

    What was recorded of each venue and how far it can be trusted, spread and depth through the day, the markets that stand
    out, what rested at which price, what quoting would have earned, and what could not have lost. Mines the day first;
    viability and findings are shown where they were made. Exit code 3 if a damaged file had to be left out.

    Example: overround report --date yesterday --out report.html
    """
    from overround.clock import SystemClock
    from overround.market import Venue
    from overround.pipelines.day_page import day_page
    from overround.pipelines.pages import write_page
    from overround.pipelines.report import day_report, work_of

    app.start_logging(to_stdout=False)
    if venue is not None and all_venues:
        raise UsageError("--venue and --all-venues exclude each other", hint="leave one of them away")
    date = parse_date(date_text)
    paths = readable_lake(app, data_dir)
    venues = [venue] if venue else [one.value for one in Venue]
    path = _target(out, paths.made / "reports" / "day", date)
    with file_bar() as bar:
        task = bar.add_task(f"hours of {date}", total=work_of(paths, venues, date))
        found = day_report(
            paths, venues, date, top=top, clock=SystemClock(), on_hour=lambda: bar.update(task, advance=1)
        )
    write_page(path, day_page(found, top=top))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({"path": path.as_posix(), **found.summary()}))
        return found.exit_code
    screen = console()
    for day in found.venues:
        if day.mined is None:
            screen.print(f"{day.venue}: no rows", highlight=False)
            continue
        result, coverage = day.mined.result, day.coverage
        trust = "no ledger" if coverage is None else f"{coverage.verified:.2%} verified, {coverage.quiet:.2%} quiet"
        screen.print(
            f"{day.venue}: {result.n_snapshots:,} rows, {result.n_markets:,} markets, {result.n_trades:,} trades; {trust}",
            highlight=False,
        )
    for file in found.skipped:
        screen.print(f"[yellow]left out: {file.path}: {file.reason}[/yellow]", highlight=False, soft_wrap=True)
    screen.print(f"page: {path}", highlight=False, soft_wrap=True)
    return found.exit_code


def _target(out: Path | None, folder: Path, date: str) -> Path:
    """The page's file, in the folder that was named or by the name that was."""
    if out is None:
        return folder / f"{date}.html"
    if out.is_dir():
        return out / f"report-{date}.html"
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"--out {out} is no .html file and no folder", hint="name a file such as report.html")
    return out

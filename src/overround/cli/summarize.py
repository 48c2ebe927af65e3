"""``overround summarize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console, many
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

if TYPE_CHECKING:
    from rich.console import Console

    from overround.pipelines.summarize import DaySummary

__all__ = ["summarize"]

_WORST = 5


@click.command()
@venue_option(required=True)
@date_option()
@data_dir_option
@json_option
@app_options()
def summarize(*, app: App, venue: str, date_text: str, data_dir: Path | None, as_json: bool) -> None:
    """Show a recorded day in one page.

    What was stored, how far it can be trusted and what broke it, which markets moved most, and what the venue changed in
    its listing and in its messages.

    Example: overround summarize --venue polymarket --date yesterday
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines.summarize import summarize as put_together

    app.start_logging(to_stdout=False)
    paths = readable_lake(app, data_dir)
    found = put_together(paths, venue, parse_date(date_text), now_ms=SystemClock().now_ms())
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        show(found, console())


def show(found: DaySummary, screen: Console) -> None:
    """Print the page."""
    from overround.cli.coverage import show as show_coverage

    def line(text: str) -> None:
        screen.print(text, highlight=False)

    if found.coverage is None:
        line(f"[bold]{found.venue} on {found.date}[/bold]: no ledger was kept, nothing says what can be trusted")
    else:
        show_coverage(found.coverage, screen, top=_WORST)
    screen.print()
    _show_stored(found, screen)
    screen.print()
    if found.active is None:
        line(f"not mined yet: overround mine --venue {found.venue} --date {found.date}")
    elif found.active:
        _show_active(found, screen)
    screen.print()
    changes = ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in found.listing_changes.items())
    line(f"listing: {changes or 'nothing changed'}")
    if not found.drift:
        line("messages: as documented, as far as they were looked at")
    for departure in found.drift:
        line(f"messages: {departure.sort.value} {departure.name}, {many(departure.count, 'time')}: overround drift")


def _show_stored(found: DaySummary, screen: Console) -> None:
    from rich.table import Table

    table = Table(title="stored", title_justify="left", box=None, pad_edge=False)
    table.add_column("table", no_wrap=True)
    for name in ("files", "under way", "rows", "MB", "bytes a row"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in found.stored:
        table.add_row(
            entry.table,
            f"{entry.files:,}",
            f"{entry.open_files:,}",
            "-" if entry.rows is None else f"{entry.rows:,}",
            f"{entry.bytes / 1e6:,.2f}",
            f"{entry.bytes / entry.rows:,.1f}" if entry.rows else "-",
        )
    screen.print(table)


def _show_active(found: DaySummary, screen: Console) -> None:
    from rich.table import Table

    table = Table(title="moved most", title_justify="left", box=None, pad_edge=False)
    table.add_column("market", max_width=60, no_wrap=True)
    for name in ("quote updates", "avg spread", "avg depth, top 3"):
        table.add_column(name, justify="right", no_wrap=True)
    for market in found.active or []:
        table.add_row(
            market.title or market.market_id,
            f"{market.quote_updates:,}",
            "-" if market.avg_spread is None else f"{market.avg_spread:.4f}",
            "-" if market.avg_depth_top3 is None else f"{market.avg_depth_top3:,.0f}",
        )
    screen.print(table)

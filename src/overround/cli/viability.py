"""``overround mm-viability``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console
from overround.cli.options import (
    App,
    app_options,
    data_dir_option,
    date_option,
    hours_option,
    json_option,
    parse_date,
    readable_lake,
    venue_option,
)

if TYPE_CHECKING:
    from overround.pipelines.viability import ViabilityResult

__all__ = ["mm_viability"]


@click.command("mm-viability")
@venue_option(required=True)
@date_option()
@hours_option
@click.option(
    "--fee-estimate",
    type=click.FloatRange(0),
    is_flag=False,
    flag_value=0.0,
    default=None,
    metavar="USD",
    help="Dollars per contract filled, in place of the listed fee schedules; 0 without a value.",
)
@click.option(
    "--size", type=click.FloatRange(0, min_open=True), default=100.0, show_default=True, help="Contracts of each quote."
)
@click.option(
    "--cancels-ahead",
    type=click.FloatRange(0, 2),
    default=None,
    metavar="FACTOR",
    help="How much more than evenly cancels fall on what stands ahead of a quote; 0 lets only prints advance it. "
    "Fitted to the journal where it can be (Kalshi), else 1.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 1_000),
    is_flag=False,
    flag_value=20,
    default=20,
    show_default=True,
    metavar="N",
    help="Markets shown.",
)
@click.option(
    "--write-report",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=False,
    show_default=True,
    metavar="BOOL",
    help="Write mm_viability.parquet with every market; true without a value.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a page that opens in a browser without a network.",
)
@data_dir_option
@json_option
@app_options()
def mm_viability(
    *,
    app: App,
    venue: str,
    date_text: str,
    hours_text: str,
    fee_estimate: float | None,
    size: float,
    cancels_ahead: float | None,
    top: int,
    write_report: bool,
    out: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Say what a market maker would have earned in each market, and why.

    Imagined quotes at the touch and one tick inside are filled by prints and the queue alone and judged by what the mid did
    after. Exit code 3 if a damaged file had to be left out.

    Example: overround mm-viability --venue polymarket --date yesterday --write-report --out viability.html
    """
    from overround.clock import SystemClock
    from overround.pipelines.counted import counted
    from overround.pipelines.mine import parse_hours
    from overround.pipelines.pages import write_page
    from overround.pipelines.viability import mm_viability as run
    from overround.pipelines.viability_page import viability_page

    app.start_logging(to_stdout=False)
    date, hours = parse_date(date_text), parse_hours(hours_text)
    paths = readable_lake(app, data_dir)
    clock = SystemClock()
    with counted(paths, "mm-viability", venue, clock=clock):
        result = run(
            paths,
            venue,
            date,
            hours=hours,
            fee_usd=fee_estimate,
            cancels_ahead=cancels_ahead,
            size=size,
            top=top,
            write=write_report,
            clock=clock,
        )
    if out is not None:
        write_page(out, viability_page(result))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(result))
    else:
        _print(result)
    return result.exit_code


def _print(result: ViabilityResult) -> None:
    from rich.table import Table

    screen = console()
    title = f"{result.venue} {result.date}, dollars a day of quoting (95 % for the mean of such days)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("market", max_width=34, no_wrap=True)
    for name in ("$/day", "quote", "fills/day", "edge c", "left c", "capital $", "seen"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for market in result.markets:
        stats, policy = market.stats, market.policy
        table.add_row(
            market.title or market.market_id[:34],
            "-" if market.usd_per_day is None else f"{market.usd_per_day:,.2f}",
            policy,
            _number(stats[f"{policy}_fills"], ",.0f"),
            _number(stats[f"{policy}_edge"], ".2f", 100),
            _number(stats[f"{policy}_markout_{stats['judged_after_s']}s"], ".2f", 100),
            _number(stats["capital"], ",.0f"),
            _number(stats["watched_share"], ".0f", 100) + " %",
            f"{market.verdict}: {market.reason}",
        )
    screen.print(table)
    screen.print(
        f"{result.n_markets:,} markets, {result.took_ms:,} ms" + (f"; {result.path}" if result.path else ""),
        highlight=False,
    )
    screen.print(f"cancels ahead of a quote: {result.queue.cancels_ahead:g} ({result.queue.source})", highlight=False)
    for file in result.skipped:
        screen.print(f"[yellow]left out: {file.path}: {file.reason}[/yellow]", highlight=False)


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:{form}}"

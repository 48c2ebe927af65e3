"""``overround mine``."""

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
    venue_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from overround.pipelines.mine import MineResult

__all__ = ["mine", "ranking_tables"]


@click.command()
@venue_option(required=True)
@date_option()
@hours_option
@click.option("--top", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Lines of each ranking.")
@data_dir_option
@json_option
@app_options()
def mine(
    *, app: App, venue: str, date_text: str, hours_text: str, top: int, data_dir: Path | None, as_json: bool
) -> int:
    """Rank a day's markets by depth, spread and quote updates.

    Averages rest on rows with both sides and status ok. Also writes stats.parquet, from which a running `collect`
    chooses its hot markets. Exit code 3 if a damaged file had to be left out.

    Example: overround mine --venue kalshi --date 2026-01-14 --hours 7,9-11
    """
    from overround.clock import SystemClock
    from overround.pipelines.captions import with_captions
    from overround.pipelines.counted import counted
    from overround.pipelines.mine import mine as run_mine
    from overround.pipelines.mine import parse_hours
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False)
    date, hours = parse_date(date_text), parse_hours(hours_text)
    paths = LakePaths(data_dir or app.loaded.settings.data_dir)
    clock = SystemClock()
    with counted(paths, "mine", venue, clock=clock):
        result = run_mine(paths, venue, date, hours=hours, top=top, clock=clock)
    result = with_captions(result, paths, clock.now_ms())
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(result))
    else:
        _print(result)
    return 3 if result.incomplete else 0


def ranking_tables(result: MineResult, *, title: str) -> list[Table]:
    """The three rankings as terminal tables."""
    from rich.table import Table

    tables = []
    for heading, ranked in (
        ("deepest: contracts in the top 3 levels, both sides", result.by_depth),
        ("tightest: average spread", result.by_spread),
        ("busiest: quote updates", result.by_updates),
    ):
        table = Table(title=f"{title} {result.date}, {heading}", title_justify="left", box=None, pad_edge=False)
        table.add_column("market", max_width=46, no_wrap=True)
        for name in ("depth", "spread", "updates", "rows ok"):
            table.add_column(name, justify="right", no_wrap=True)
        for market in ranked:
            table.add_row(
                market.title or _short(market.market_id),
                "-" if market.avg_depth_top3 is None else f"{market.avg_depth_top3:,.0f}",
                "-" if market.avg_spread is None else f"{market.avg_spread:.4f}",
                f"{market.quote_updates:,}",
                f"{market.n_ok:,}",
            )
        tables.append(table)
    return tables


def _short(market_id: str) -> str:
    return market_id if len(market_id) <= 40 else f"{market_id[:10]}…{market_id[-6:]}"


def _print(result: MineResult) -> None:
    screen = console()
    for table in ranking_tables(result, title=result.venue):
        screen.print(table)
        screen.print()
    screen.print(
        f"{result.n_ok:,} of {result.n_snapshots:,} rows counted (both sides, status ok), {result.n_markets:,} markets, "
        f"{result.n_files} files, {result.took_ms:,} ms; {result.stats_path}",
        highlight=False,
    )
    for file in result.skipped:
        screen.print(f"[yellow]left out: {file.path}: {file.reason}[/yellow]", highlight=False)

"""``overround mine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console, file_bar
from overround.cli.options import (
    App,
    app_options,
    data_dir_option,
    date_option,
    hours_option,
    json_option,
    parse_dates,
    readable_lake,
    venue_option,
)

if TYPE_CHECKING:
    from rich.table import Table

    from overround.clock import Clock
    from overround.pipelines.mine import MinedDays, MineResult
    from overround.pipelines.on_ray import RayEngine
    from overround.storage import LakePaths

__all__ = ["mine", "ranking_tables"]


@click.command()
@venue_option(required=True)
@date_option()
@hours_option
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the work is done: here, or on the Ray cluster that [ray] names.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a page that opens in a browser without a network.",
)
@click.option(
    "--rankings",
    "rankings_only",
    is_flag=True,
    help="Only the three rankings, at once; writes nothing, reads no levels.",
)
@click.option("--top", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Lines of each ranking.")
@data_dir_option
@json_option
@app_options()
def mine(
    *,
    app: App,
    venue: str,
    date_text: str,
    hours_text: str,
    engine: str,
    out: Path | None,
    rankings_only: bool,
    top: int,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Rank the markets of a day, or of several, and measure what they cost and do.

    Rankings by depth, spread and quote updates come first; then the most interesting markets with their statistics, 95 %
    intervals and how much of the time they rest on. Also writes each day's stats.parquet, from which a running `collect`
    chooses its hot markets. Exit code 3 if a damaged file had to be left out.

    Example: overround mine --venue kalshi --date 2026-01-01..2026-01-31 --out january.html
    """
    from overround.clock import SystemClock
    from overround.errors import UsageError
    from overround.pipelines.captions import with_captions
    from overround.pipelines.counted import counted
    from overround.pipelines.mine import mine_days, parse_hours, rank_days
    from overround.pipelines.mine_page import mine_page
    from overround.pipelines.pages import write_page

    app.start_logging(to_stdout=False)
    dates, hours = parse_dates(date_text), parse_hours(hours_text)
    paths = readable_lake(app, data_dir)
    clock = SystemClock()
    if rankings_only:
        if out is not None:
            raise UsageError("--rankings makes no page", hint="leave --out or --rankings away")
        return _shown(rank_days(paths, venue, dates, hours=hours, top=top, clock=clock), paths, clock, as_json=as_json)
    with counted(paths, "mine", venue, clock=clock):
        if engine == "ray":
            with file_bar() as bar:
                task = bar.add_task("hours", total=None)
                days = _on_ray(
                    app.loaded.settings.ray.address,
                    lambda done, total: bar.update(task, completed=done, total=total),
                    lambda work: mine_days(paths, venue, dates, hours=hours, top=top, clock=clock, engine=work),
                )
        else:
            days = mine_days(paths, venue, dates, hours=hours, top=top, clock=clock)
    if out is not None:
        write_page(out, mine_page(with_captions(days.result, paths, clock.now_ms()), days.blocks))
    return _shown(days.result, paths, clock, as_json=as_json)


def _on_ray(
    address: str, on_progress: Callable[[int, int], None], mined: Callable[[RayEngine], MinedDays]
) -> MinedDays:
    from overround.pipelines.on_ray import RayEngine

    with RayEngine(address, on_progress=on_progress) as cluster:
        days = mined(cluster)
        return replace(days, result=replace(days.result, cost=cluster.cost))


def _shown(result: MineResult, paths: LakePaths, clock: Clock, *, as_json: bool) -> int:
    from overround.pipelines.captions import with_captions

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


def _measured_table(result: MineResult) -> Table:
    """The most interesting markets."""
    from rich.table import Table

    title = (
        f"{result.venue} {result.date}, most interesting (± half the 95 % interval of what watching throughout gives)"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("market", max_width=34, no_wrap=True)
    for name in (
        "score",
        "spread, ticks",
        "depth top 3",
        "USD traded/h",
        "move/√h",
        "changes/min",
        "watched",
        "verified",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for market in result.most_interesting:
        stats = market.stats
        table.add_row(
            market.title or _short(market.market_id),
            f"{market.interest:.2f}",
            _within(stats, "spread_ticks", ".2f"),
            _within(stats, "depth_top3", ",.0f"),
            _within(stats, "turnover_per_h", ",.0f"),
            _within(stats, "volatility", ".3f"),
            _within(stats, "changes_per_min", ",.0f"),
            _share(stats["watched_share"]),
            _share(stats["verified_share"]),
        )
    return table


def _within(stats: Mapping[str, float | None], name: str, form: str) -> str:
    value, lo, hi = (stats[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    if value is None:
        return "-"
    off = "?" if lo is None or hi is None else f"{50 * (hi - lo) / value:.0f}" if value else "0"
    return f"{value:{form}} ±{off} %"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _print(result: MineResult) -> None:
    screen = console()
    measured = [_measured_table(result)] if result.most_interesting else []
    for table in (*ranking_tables(result, title=result.venue), *measured):
        screen.print(table)
        screen.print()
    screen.print(
        f"{result.n_ok:,} of {result.n_snapshots:,} rows counted (both sides, status ok), {result.n_markets:,} markets, "
        f"{result.n_trades:,} trades, {result.n_files} files ({result.n_kept} known from before), {result.took_ms:,} ms"
        f"{'; ' if result.stats_path else ''}{result.stats_path}",
        highlight=False,
    )
    if result.cost is not None:
        cost = result.cost
        screen.print(
            f"{cost.engine}: {cost.tasks:,} tasks on {cost.processors:,} processors in {cost.took_s:,.1f} s "
            f"({cost.work_s:,.1f} s of processor time), {cost.lost:,} lost and done again; "
            f"{cost.bytes_out:,} bytes sent, {cost.bytes_back:,} back",
            highlight=False,
        )
    for file in result.skipped:
        screen.print(f"[yellow]left out: {file.path}: {file.reason}[/yellow]", highlight=False)

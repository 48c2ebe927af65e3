"""``overround book``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.options import App, app_options, venue_option
from overround.market import Venue

if TYPE_CHECKING:
    from rich.table import Table

    from overround.pipelines.rebuild_book import BookReport
    from overround.replay import OutcomeBook

__all__ = ["book"]

_INCOMPLETE = 3
_SHOWN_LEVELS = 15


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@venue_option(required=True, text="Venue whose frames were recorded.")
@click.option("--market", metavar="M", help="Only this market (condition id or ticker); shows its levels.")
@click.option(
    "--at",
    "at_ms",
    type=click.IntRange(min=0),
    metavar="MS",
    help="Stop at this receive time, epoch ms (else venue time).",
)
@click.option("--until-seq", type=click.IntRange(min=1), metavar="N", help="Stop each book after its N-th change.")
@click.option("--ignore-gaps", is_flag=True, help="Go on over missing numbers (recordings filtered by market).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per outcome and line.")
@app_options()
def book(
    *,
    app: App,  # noqa: ARG001 - every command takes --config
    paths: tuple[Path, ...],
    venue: str,
    market: str | None,
    at_ms: int | None,
    until_seq: int | None,
    ignore_gaps: bool,
    as_json: bool,
) -> int:
    """Rebuild order books from recordings or journals.

    PATH names files or folders: raw frames one per line, frames with receive times, REST books, the
    collector's journal; plain, gzip or zstd. Files without connection names are merged as one connection.

    Example: overround book data/raw/venue=kalshi --venue kalshi --market KXBTC-26DEC31 --at 1790000000000
    """
    from overround.clock import SystemClock
    from overround.pipelines.rebuild_book import rebuild_book

    report = rebuild_book(
        paths,
        Venue(venue),
        clock=SystemClock(),
        market=market,
        at_ms=at_ms,
        until_seq=until_seq,
        ignore_gaps=ignore_gaps,
    )
    if as_json:
        import msgspec

        for outcome in report.rebuilt.outcomes:
            click.echo(msgspec.json.encode(outcome))
    else:
        _print_tables(report.rebuilt.outcomes, with_levels=market is not None)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(summary(report), err=True)
    return _INCOMPLETE if report.warnings else 0


def summary(report: BookReport) -> str:
    """The one line that ends the command."""
    rebuilt = report.rebuilt
    parts = [
        f"{report.n_files} files",
        f"{rebuilt.frames:,} frames",
        f"{rebuilt.gaps:,} gaps",
        f"{rebuilt.negative_levels:,} negative levels",
        f"hashes {rebuilt.hash_matched:,} of {rebuilt.hash_checked:,}",
        f"{report.took_s:.2f} s",
        f"{report.frames_per_s:,.0f} frames/s",
    ]
    if report.n_skipped:
        parts.insert(1, f"{report.n_skipped} other files skipped")
    return ", ".join(parts)


def _print_tables(outcomes: list[OutcomeBook], *, with_levels: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, pad_edge=False)
    for name in ("market", "outcome"):
        table.add_column(name, overflow="ellipsis", max_width=34, no_wrap=True)
    for name in ("bid", "size", "ask", "size", "levels", "changes", "gaps", "negative", "hashes"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for outcome in outcomes:
        table.add_row(
            outcome.market_id,
            outcome.outcome_id,
            *_best(outcome.bids),
            *_best(outcome.asks),
            f"{len(outcome.bids)}+{len(outcome.asks)}",
            f"{outcome.seq:,}",
            str(outcome.gaps),
            str(outcome.negative_levels),
            f"{outcome.hash_matched}/{outcome.hash_checked}",
            outcome.verdict.value,
        )
    console.print(table)
    if with_levels:
        for outcome in outcomes:
            console.print(_ladder(outcome))


def _best(levels: list[tuple[float, float]]) -> tuple[str, str]:
    return (f"{levels[0][0]:g}", f"{levels[0][1]:,g}") if levels else ("-", "-")


def _ladder(outcome: OutcomeBook) -> Table:
    from rich.table import Table

    depth = min(_SHOWN_LEVELS, max(len(outcome.bids), len(outcome.asks)))
    title = f"\n{outcome.outcome_id}, best {depth} levels"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("bid size", "bid", "ask", "ask size"):
        table.add_column(name, justify="right")
    for at in range(depth):
        bid, bid_size = _best(outcome.bids[at : at + 1])
        ask, ask_size = _best(outcome.asks[at : at + 1])
        table.add_row(bid_size, bid, ask, ask_size)
    return table

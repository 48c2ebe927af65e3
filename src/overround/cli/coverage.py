"""``overround coverage``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console
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
    from rich.text import Text

    from overround.pipelines.coverage import Cell, CoverageReport, GapLine, StayLine

__all__ = ["coverage"]

_STRIP_WIDTH = 96
_GAPS_SHOWN = 40


@click.command()
@venue_option(required=True)
@date_option()
@click.option("--market", metavar="M", help="This market only, with its gaps and stays: its id or how that begins.")
@click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Markets shown.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a picture: FILE.png or .html."
)
@data_dir_option
@json_option
@app_options()
def coverage(
    *,
    app: App,
    venue: str,
    date_text: str,
    market: str | None,
    top: int,
    out: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Show how much of a day's record can be trusted.

    Each second in which a market was wanted is verified, quiet, unverified, in a gap, or without a connection. Gaps
    found later count against what was stored as verified before. Markets with most gap come first.

    Example: overround coverage --venue kalshi --date 2026-01-14 --out coverage.html
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines.coverage import coverage_report

    app.start_logging(to_stdout=False)
    paths = readable_lake(app, data_dir)
    report = coverage_report(paths, venue, parse_date(date_text), market=market, now_ms=SystemClock().now_ms())
    if out is not None:
        from overround.pipelines.coverage_picture import write_picture

        write_picture(report, out)
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    screen = console()
    show(report, screen, top=top)
    if out is not None:
        screen.print(f"picture: {out}", highlight=False)


def show(report: CoverageReport, screen: Console, *, top: int) -> None:
    """Print a report: headline, the venue's strip, markets, causes; of one market also its gaps and stays."""
    from rich.table import Table

    hours = report.ran_s / 3600
    screen.print(f"[bold]coverage of {report.venue} on {report.date}[/bold]", highlight=False)
    screen.print(
        f"verified {_percent(report.verified)}, quiet {_percent(report.quiet)}, unverified "
        f"{_percent(report.unverified)}, gap {_percent(report.gap)}, venue down {_percent(report.venue_down)} "
        f"of {report.wanted_s / 3600:,.2f} market-hours",
        highlight=False,
    )
    screen.print(
        f"the collector ran {hours:,.2f} h, connected {report.connected_s / 3600:,.2f} h; {len(report.markets):,} markets",
        highlight=False,
    )
    screen.print()
    screen.print(_axis(report))
    screen.print(_strip(report.cells))
    screen.print(_key())
    screen.print()
    table = Table(box=None, pad_edge=False)
    table.add_column("market", max_width=36, no_wrap=True)
    for name in ("wanted", "verified", "quiet", "unver.", "gap", "gaps", "updates", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = screen.width >= 140
    if wide:
        table.add_column(
            f"{_time(report.start_ms)} + {len(report.cells) * report.cell_minutes} min", no_wrap=True, justify="left"
        )
    for one in report.markets[:top]:
        cells: list[str | Text] = [
            one.title or _short(one.market_id),
            _span(one.wanted_s),
            _percent(one.verified),
            _percent(one.quiet),
            _percent(one.unverified),
            _percent(one.gap + one.venue_down),
            f"{one.gaps:,}",
            f"{one.updates:,}",
            f"{one.snapshots:,}",
        ]
        if wide:
            cells.append(_strip(_thinned(one.cells, max(8, screen.width - 110))))
        table.add_row(*cells)
    screen.print(table)
    if len(report.markets) > top:
        screen.print(f"{len(report.markets) - top:,} more markets with fewer gaps: --top", highlight=False)
    if report.causes:
        causes = Table(title="gaps by cause", title_justify="left", box=None, pad_edge=False)
        causes.add_column("cause", no_wrap=True)
        for name in ("gaps", "markets", "open", "total s", "longest s"):
            causes.add_column(name, justify="right", no_wrap=True)
        for cause in report.causes:
            causes.add_row(
                cause.cause,
                f"{cause.gaps:,}",
                f"{cause.markets:,}",
                f"{cause.open:,}",
                f"{cause.total_s:,.1f}",
                f"{cause.longest_s:,.1f}",
            )
        screen.print()
        screen.print(causes)
    if report.gaps or report.stays:
        _show_market(report.gaps, report.stays, screen)


def _show_market(gaps: Sequence[GapLine], stays: Sequence[StayLine], screen: Console) -> None:
    from rich.table import Table

    table = Table(title="its gaps, UTC", title_justify="left", box=None, pad_edge=False)
    for name in ("last known good", "noticed", "whole again", "cause", "repair", "steps", "connection", "detail"):
        table.add_column(name, no_wrap=name != "detail")
    for gap in gaps[-_GAPS_SHOWN:]:
        table.add_row(
            _time(gap.start_ms, ms=True),
            _time(gap.detected_ms, ms=True),
            "lasts" if gap.end_ms is None else _time(gap.end_ms, ms=True),
            gap.cause if gap.market_id else f"{gap.cause} (venue)",
            gap.repair,
            str(gap.repair_steps),
            gap.connection,
            gap.detail,
        )
    if gaps:
        screen.print()
        screen.print(table)
    if len(gaps) > _GAPS_SHOWN:
        screen.print(f"{len(gaps) - _GAPS_SHOWN:,} earlier gaps: --json", highlight=False)
    table = Table(title="its stays, UTC", title_justify="left", box=None, pad_edge=False)
    for name in ("from", "to", "set", "score", "left because"):
        table.add_column(name, no_wrap=True)
    for stay in stays[-_GAPS_SHOWN:]:
        table.add_row(
            _time(stay.start_ms, ms=True),
            "lasts" if stay.end_ms is None else _time(stay.end_ms, ms=True),
            stay.set,
            f"{stay.score:.3g}",
            stay.reason,
        )
    screen.print()
    screen.print(table)


def _styles() -> dict[str, tuple[str, str]]:
    """Glyph and colour of each cell; glyphs differ so that a pipe tells as much as a terminal."""
    return {
        "verified": ("█", "green"),
        "quiet": ("▓", "cyan"),
        "unverified": ("▒", "yellow"),
        "touched": ("!", "bold red"),
        "gap": ("x", "bold red"),
        "down": ("-", "bold magenta"),
        "absent": ("·", "dim"),
        "hole": (" ", ""),
    }


def _strip(cells: Sequence[Cell]) -> Text:
    from rich.text import Text

    styles, text = _styles(), Text()
    for cell in cells:
        glyph, style = styles[cell.value]
        text.append(glyph * max(1, min(4, _STRIP_WIDTH // max(1, len(cells)))), style=style)
    return text


def _key() -> Text:
    from rich.text import Text

    words = {
        "verified": "verified",
        "quiet": "quiet",
        "unverified": "unverified",
        "touched": "some gap",
        "gap": "mostly gap",
        "down": "venue down",
        "absent": "not subscribed",
        "hole": "blank: collector did not run",
    }
    styles, text = _styles(), Text()
    for name, (glyph, style) in styles.items():
        text.append(glyph, style=style)
        text.append(f" {words[name]}  " if name != "hole" else words[name])
    return text


def _axis(report: CoverageReport) -> str:
    """Times above the strip, where they fit."""
    each = max(1, min(4, _STRIP_WIDTH // max(1, len(report.cells))))
    line, free_at = "", 0
    for cell in range(len(report.cells)):
        at = cell * each
        if at >= free_at:
            line = line.ljust(at) + _time(report.start_ms + cell * report.cell_minutes * 60_000)
            free_at = at + 12
    return f"{line}   (UTC, a cell is {report.cell_minutes} min)"


def _thinned(cells: Sequence[Cell], most: int) -> list[Cell]:
    """At most so many cells: of neighbours the one that should worry most."""
    worst = ["gap", "down", "touched", "unverified", "quiet", "verified", "hole", "absent"]
    size = -(-len(cells) // most)
    return [min(cells[at : at + size], key=lambda cell: worst.index(cell.value)) for at in range(0, len(cells), size)]


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def _time(at_ms: int, *, ms: bool = False) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%d %H:%M:%S.") + f"{at_ms % 1000:03d}" if ms else moment.strftime("%H:%M")


def _short(market_id: str) -> str:
    return market_id if len(market_id) <= 36 else f"{market_id[:10]}…{market_id[-6:]}"

"""``overround scan``."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

import click

from overround.cli.collect import enabled_venues
from overround.cli.options import App, app_options, data_dir_option, json_option, venue_option
from overround.market import Origin, Venue

if TYPE_CHECKING:
    from overround.scanner import ScanSummary

__all__ = ["scan"]


@click.command()
@venue_option(text="Scan this venue only (default: all enabled).")
@data_dir_option
@json_option
@app_options(positional=True)
def scan(*, app: App, venue: str | None, data_dir: object, as_json: bool) -> int:
    """List every market of the enabled venues into universe.jsonl.

    One file per venue and UTC day. A second scan of a day merges: first seen is kept, vanished markets are marked.

    Example: overround scan config/surveillance.toml --venue kalshi
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.collector import run_until_signal
    from overround.pipelines.mock import mock_exchange
    from overround.pipelines.scan import scan_venues

    settings = app.loaded.settings
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    venues = enabled_venues(settings, venue)
    app.start_logging(to_stdout=False)

    terminal = sys.stderr.isatty()

    def progress(venue: Venue, count: int) -> None:
        if terminal:
            click.echo(f"\r{venue}: {count:,} markets so far", err=True, nl=False)

    async def main(stop: asyncio.Event) -> list[ScanSummary]:
        work = asyncio.ensure_future(
            scan_venues(live, venues=venues, clock=SystemClock(), rng=random.Random(), origin=origin, progress=progress)
        )
        stopper = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, stopper}, return_when=asyncio.FIRST_COMPLETED)
        stopper.cancel()
        if not work.done():
            work.cancel()
            raise click.Abort
        return work.result()

    if settings.mock.enabled:
        origin = Origin.SYNTHETIC
        with mock_exchange(settings) as (live, _):
            summaries = run_until_signal(main)
    else:
        live, origin = settings, Origin.LIVE
        summaries = run_until_signal(main)
    if as_json:
        click.echo(msgspec.json.encode(summaries))
    else:
        for summary in summaries:
            # Not in the listing of open markets, but there when asked for by id.
            paused = f", {summary.paused:,} paused" if summary.paused else ""
            click.echo(
                f"{summary.venue}: {summary.total:,} markets ({summary.new:,} new, {summary.changed:,} changed, "
                f"{summary.vanished:,} vanished{paused}) in {summary.took_ms / 1000:.1f} s; {summary.path}"
            )
            if summary.incomplete:
                click.echo(
                    f"  not whole: {summary.refused} records refused, {summary.kept} markets kept as they were",
                    err=True,
                )
        click.echo("next: overround collect --duration 60")
    return 3 if any(summary.incomplete for summary in summaries) else 0

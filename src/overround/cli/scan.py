"""``overround scan``."""

from __future__ import annotations

import asyncio
import random

import click

from overround.cli.collect import enabled_venues
from overround.cli.options import App, app_options, data_dir_option, json_option, venue_option
from overround.market import Origin

__all__ = ["scan"]


@click.command()
@venue_option(text="Scan this venue only (default: all enabled).")
@data_dir_option
@json_option
@app_options(positional=True)
def scan(*, app: App, venue: str | None, data_dir: object, as_json: bool) -> None:
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

    async def main(stop: asyncio.Event) -> list[object]:
        work = asyncio.ensure_future(
            scan_venues(live, venues=venues, clock=SystemClock(), rng=random.Random(), origin=origin, progress=None)
        )
        stopper = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, stopper}, return_when=asyncio.FIRST_COMPLETED)
        stopper.cancel()
        if not work.done():
            work.cancel()
            raise click.Abort
        return list(work.result())

    if settings.mock.enabled:
        origin = Origin.SYNTHETIC
        with mock_exchange(settings) as (live, _):
            summaries = run_until_signal(main)
    else:
        live, origin = settings, Origin.LIVE
        summaries = run_until_signal(main)
    if as_json:
        click.echo(msgspec.json.encode(summaries))
        return
    for summary in summaries:
        click.echo(str(summary))
    click.echo("next: overround collect --duration 60")

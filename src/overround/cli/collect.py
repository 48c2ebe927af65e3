"""``overround collect``."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import isnan
from typing import TYPE_CHECKING, Self

import click

from overround.cli.options import App, app_options, data_dir_option, venue_option
from overround.errors import UsageError
from overround.market import Origin, Venue

if TYPE_CHECKING:
    from rich.table import Table

    from overround.collector import VenueRecorder, VenueStatus
    from overround.config import ClusterSettings, Settings

__all__ = ["collect", "enabled_venues"]


def enabled_venues(settings: Settings, named: str | None) -> list[Venue]:
    """Venues to work on: the one named, else all that are enabled.

    Raises
    ------
    UsageError
        If nothing is enabled.
    """
    if named is not None:
        return [Venue(named)]
    venues = [venue for venue in Venue if getattr(settings.venues, venue.value).enabled]
    if not venues:
        raise UsageError("no venue is enabled", hint="set venues.polymarket.enabled or venues.kalshi.enabled")
    return venues


@click.command()
@venue_option(text="Record this venue only (default: all enabled).")
@click.option("--duration", type=click.FloatRange(min=0.1), metavar="S", help="Stop after S seconds (default: never).")
@click.option(
    "--shard",
    metavar="K/N",
    help="Be collector K, from 0, of N, and record its share of the markets (default: cluster.shard of the settings).",
)
@click.option("--standby", is_flag=True, help="Wait for a shard that nobody records any more, and record it (leases).")
@click.option("--handover", is_flag=True, help="Take over from the collector of this shard, without a gap (leases).")
@data_dir_option
@app_options(positional=True)
def collect(
    *,
    app: App,
    venue: str | None,
    duration: float | None,
    shard: str | None,
    standby: bool,
    handover: bool,
    data_dir: object,
) -> int:
    """Record order books into the lake until stopped.

    Reads the newest universe.jsonl (write it with `overround scan`), keeps the hot markets and a rotating warm set
    subscribed, and stores a row per market and outcome at fixed intervals. Ctrl-C ends it with nothing lost.

    Example: overround collect config/surveillance.toml --venue polymarket --duration 3600
    """
    from overround.cli.reloading import LiveSettings
    from overround.clock import SystemClock
    from overround.collector import collect as run_collect
    from overround.collector import on_hangup, run_until_signal
    from overround.collector.holding import require_leases
    from overround.pipelines.mock import mock_exchange
    from overround.pipelines.scan import scan_venues
    from overround.services import Endpoint, notify_systemd
    from overround.services.reload import Reloader

    settings = app.loaded.settings
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if shard is not None:
        settings = settings.model_copy(update={"cluster": _cluster(settings, shard)})
    if standby or handover:
        require_leases(settings, "standing by" if standby else "handing over")
    venues = enabled_venues(settings, venue)
    fixed = {f"venues.{each}.enabled": "--venue was given" for each in Venue} if venue else {}
    if app.log_level:
        fixed["logging.level"] = "--log-level was given"
    terminal = sys.stdout.isatty()
    # A terminal shows the live view and keeps warnings; elsewhere every event is a JSON line on stdout.

    def start_logging(app: App) -> None:
        app.start_logging(to_stdout=not terminal, quiet=terminal)

    start_logging(app)
    clock, rng = SystemClock(), random.Random()

    async def main(stop: asyncio.Event) -> int:
        with ExitStack() as stack:
            live, origin = settings, Origin.LIVE
            if settings.mock.enabled:
                live, _ = stack.enter_context(mock_exchange(settings))
                origin = Origin.SYNTHETIC
                # Each mock run is a world of its own: what it lists is scanned before it is recorded.
                await scan_venues(live, venues=venues, clock=clock, rng=rng, origin=origin)
            on_status = stack.enter_context(_live_view()) if terminal else None
            endpoint = None
            if live.monitoring.enabled:
                endpoint = Endpoint(live.monitoring, data_dir=live.data_dir, clock=clock)
            serving = asyncio.create_task(endpoint.run()) if endpoint is not None else None
            ready = asyncio.Event()
            telling = asyncio.create_task(notify_systemd(ready, clock=clock, environ=os.environ))

            def on_recorders(recorders: Sequence[VenueRecorder]) -> None:
                ready.set()
                if endpoint is not None:
                    endpoint.show(recorders)

            settings_now = LiveSettings(
                app, live=live, venues_of=lambda wanted: enabled_venues(wanted, venue), fixed=fixed,
                endpoint=endpoint, start_logging=start_logging, clock=clock, rng=rng, origin=origin,
            )  # fmt: skip
            reloader = Reloader(live.data_dir, clock=clock, reload=settings_now.reload)
            reloading = asyncio.create_task(reloader.run())
            if not terminal:  # a terminal that is closed means something else by it
                stack.enter_context(on_hangup(reloader.signal))
            try:
                recorders = await run_collect(
                    live,
                    venues=venues,
                    clock=clock,
                    rng=rng,
                    origin=origin,
                    stop=stop,
                    duration_s=duration,
                    on_status=on_status,
                    status_ms=1_000 if terminal else 10_000,
                    on_recorders=on_recorders,
                    changes=settings_now.changes,
                    standby=standby,
                    handover=handover,
                )
            finally:
                reloading.cancel()
                settings_now.close()
                telling.cancel()
                if serving is not None:
                    serving.cancel()
                    await asyncio.wait({serving})
        final = [recorder.status() for recorder in recorders]
        if terminal:
            _summary(final)
        return 3 if any(status.unsaved for status in final) else 0

    return run_until_signal(main)


def _cluster(settings: Settings, shard: str) -> ClusterSettings:
    from overround.config import parse_shard

    try:
        parse_shard(shard)
    except ValueError as exc:
        raise UsageError(f"--shard: {exc}") from exc
    return settings.cluster.model_copy(update={"shard": shard})


class _live_view:  # noqa: N801 - used like a function
    """A table that is redrawn with every status round."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), refresh_per_second=2, transient=False)
        self._live.__enter__()
        return self

    def __call__(self, statuses: Sequence[VenueStatus]) -> None:
        """Redraw."""
        self._live.update(status_table(statuses))

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(None, None, None)


def status_table(
    statuses: Sequence[VenueStatus], *, title: str = "overround collect   (Ctrl-C ends it, nothing is lost)"
) -> Table:
    """One column per venue, the figures an operator looks at first on top."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("")
    for status in statuses:
        table.add_column(f"{status.venue} ({status.mode})", justify="right")
    rows: list[tuple[str, list[str]]] = [
        ("connected", [f"{s.connected} of {s.connections}" for s in statuses]),
        ("subscriptions, live", [f"{s.subscriptions:,}, {s.live:,}" for s in statuses]),
        ("hot, warm", [f"{s.hot:,}, {s.warm:,}" for s in statuses]),
        ("verified minutes", ["-" if isnan(s.verified_minutes) else f"{s.verified_minutes:.1%}" for s in statuses]),
        ("verified rows", ["-" if s.snapshots == 0 else f"{s.verified_share:.1%}" for s in statuses]),
        ("books now", [_counted(s.book_verdicts) for s in statuses]),
        ("rows", [_counted(s.row_verdicts) for s in statuses]),
        ("frames/s", [f"{s.frames_per_s:,.0f}" for s in statuses]),
        ("snapshots/s", [f"{s.snapshots_per_s:,.1f}" for s in statuses]),
        ("frames", [f"{s.frames:,}" for s in statuses]),
        ("rows durable, waiting", [f"{s.rows:,}, {s.rows_waiting:,}" for s in statuses]),
        ("files, MB", [f"{s.files:,}, {s.bytes_written / 1e6:,.2f}" for s in statuses]),
        ("journal MB", [f"{s.journal_bytes / 1e6:,.2f}" for s in statuses]),
        ("gaps, open now", [f"{s.gaps:,}, {s.open_gaps:,}" for s in statuses]),
        ("repairs, reconnects", [f"{s.repairs:,}, {s.reconnects:,}" for s in statuses]),
        ("last flush ms", [f"{s.last_flush_ms:,.1f}" for s in statuses]),
        (
            "refused by the disk: rows, frames, ledger",
            [f"{s.flush_failures:,}, {s.journal_failures:,}, {s.ledger_failures:,}" for s in statuses],
        ),
        ("rejected, unknown", [f"{s.rejected:,}, {s.unknown:,}" for s in statuses]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    for status in statuses:
        if status.warning:
            table.caption = f"{status.venue}: {status.warning}"
    return table


def _counted(verdicts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {word}" for word, n in verdicts.items() if n) or "-"


def _summary(statuses: Sequence[VenueStatus]) -> None:
    for status in statuses:
        click.echo(
            f"{status.venue}: {status.frames:,} frames, {status.snapshots:,} snapshots, {status.rows:,} rows in {status.files} files, "
            f"{status.gaps} gaps, {status.reconnects} reconnects; rows: {_counted(status.row_verdicts)}"
        )
    click.echo("next: overround mine --venue " + (statuses[0].venue if statuses else "polymarket") + " --date today")

"""``overround exchange``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.options import App, app_options, venue_option
from overround.cli.selftest import selftest
from overround.errors import ConfigError, UsageError
from overround.market import Venue

if TYPE_CHECKING:
    from overround.exchange import FaultScript, Source

__all__ = ["exchange"]


class _Serving(click.Group):
    """Serves when no verb follows; a settings file may stand where the verb would."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tell a verb from a settings file."""
        verb = next((arg for arg in args if not arg.startswith("-")), None)
        if args and args[0] == verb and verb in self.commands:
            args = ["", *args]  # no settings file
        else:
            ctx.allow_interspersed_args = True
        return super().parse_args(ctx, args)


@click.group(cls=_Serving, invoke_without_command=True, subcommand_metavar="[selftest [OPTIONS]]")
@click.option("--host", default=None, help="Address to listen on (default 127.0.0.1).")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=None,
    help="REST port, the sockets are on the next one (default 9000; 0 takes free ones).",
)
@click.option(
    "--markets",
    type=click.IntRange(2),
    default=None,
    help="Markets generated, both venues together (default: [mock] markets).",
)
@click.option(
    "--seed",
    type=int,
    default=None,
    help="Of the generated markets, their flow and the servers' choices (default: [mock] seed).",
)
@click.option(
    "--rate",
    "rate_scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Multiplies the generated flow.",
)
@click.option("--faults", "faults_path", type=click.Path(path_type=Path), help="JSON list of faults to inject.")
@click.option(
    "--recording",
    "recordings",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Serve this recording instead of the generator (with --venue).",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of a recording; 10 plays ten times as fast.",
)
@venue_option(text="Venue of the recording.")
@click.option(
    "--kalshi-public-key",
    type=click.Path(path_type=Path),
    help="PEM file; the socket then checks signatures (default: lets everybody in).",
)
@app_options(positional=True)
def exchange(
    *,
    app: App,
    host: str | None,
    port: int | None,
    markets: int | None,
    seed: int | None,
    rate_scale: float,
    faults_path: Path | None,
    recordings: tuple[Path, ...],
    speed: float,
    venue: str | None,
    kalshi_public_key: Path | None,
) -> int:
    """Serve both venues on loopback in their true wire formats.

    Gamma, CLOB and the market socket, Kalshi REST and socket, fed by a seeded generator or by recordings; it knows the
    truth (`/truth`) and injects faults on demand (`/faults`). Point any bot at it.

    Example: overround exchange --markets 20000 --seed 3 --faults faults.json
    """
    if click.get_current_context().invoked_subcommand is not None:
        return 0
    from overround.clock import SystemClock
    from overround.collector import run_until_signal
    from overround.exchange import Exchange, ExchangeOptions, FaultScript

    settings = app.loaded.settings
    app.start_logging(to_stdout=not sys.stdout.isatty())
    clock = SystemClock()
    script = FaultScript.from_file(faults_path) if faults_path else FaultScript()
    sources = _sources(
        recordings,
        venue=venue,
        markets=markets or settings.mock.markets,
        seed=settings.mock.seed if seed is None else seed,
        rate_scale=rate_scale,
        speed=speed,
        now_ms=clock.now_ms(),
    )
    public_key = None
    if kalshi_public_key is not None:
        try:
            public_key = kalshi_public_key.read_bytes()
        except OSError as exc:
            raise ConfigError(
                f"cannot read {kalshi_public_key}: {exc.strerror}", hint="name a PEM file with a public key"
            ) from exc
    served = Exchange(
        *sources,
        host=host or settings.exchange.host,
        port=settings.exchange.port if port is None else port,
        clock=clock,
        seed=settings.mock.seed if seed is None else seed,
        faults=script,
        kalshi_public_key=public_key,
        # A recording waits for its first subscriber and loses nothing at any speed.
        options=ExchangeOptions(hold_until_markets=1, wait_for_readers=True) if recordings else None,
    )

    async def main(stop: asyncio.Event) -> int:
        await served.start()
        try:
            _show(served, script)
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, *served.tasks}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for task in served.tasks:
                if task.done():
                    task.result()
        finally:
            await served.stop()
        return 0

    return run_until_signal(main)


exchange.add_command(selftest)


def _sources(
    recordings: tuple[Path, ...],
    *,
    venue: str | None,
    markets: int,
    seed: int,
    rate_scale: float,
    speed: float,
    now_ms: int,
) -> tuple[Source | None, Source | None]:
    from overround.exchange import GeneratedSource, WorldSpec

    if not recordings:
        spec = WorldSpec(
            polymarket_markets=-(-markets // 2),
            kalshi_markets=markets // 2,
            seed=seed,
            rate_scale=rate_scale,
            now_ms=now_ms,
        )
        source = GeneratedSource(spec)
        return source, source
    if venue is None:
        raise UsageError(
            "--recording needs --venue", hint="say whose recording it is: --venue kalshi or --venue polymarket"
        )
    from overround.exchange import RecordedSource

    recorded = RecordedSource.open(recordings, Venue(venue), speed=speed, start_at_ms=now_ms)
    return (recorded, None) if venue == Venue.POLYMARKET else (None, recorded)


def _show(served: object, script: FaultScript) -> None:
    from overround.exchange import Exchange

    assert isinstance(served, Exchange)
    for name in type(served.urls).__struct_fields__:
        click.echo(f"{name:<20} {getattr(served.urls, name)}")
    click.echo(f"faults               {len(script.faults)} scripted; POST more to {served.urls.faults_url}")
    click.echo("Ctrl-C ends it")

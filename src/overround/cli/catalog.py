"""``overround catalog history|as-of``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from overround.cli.console import console
from overround.cli.options import App, app_options, data_dir_option, json_option, parse_time, venue_option
from overround.market import Venue

__all__ = ["catalog"]

_SHOWN = 1_000


@click.group()
def catalog() -> None:
    """Show what the venues listed, and when they changed it.

    Example: overround catalog history KXHIGHNY-26NOV21-T45
    """


@catalog.command()
@click.argument("key", metavar="[MARKET]", required=False)
@venue_option(text="This venue only (default: wherever the market is found).")
@click.option("--since", default=None, metavar="T", help="Only what became known since: a UTC time or day.")
@data_dir_option
@json_option
@app_options()
def history(
    *, app: App, key: str | None, venue: str | None, since: str | None, data_dir: Path | None, as_json: bool
) -> int:
    """Every change of a market's listing: when seen, which field, before and after.

    MARKET is a condition id or ticker, with the legs that joined or left its event; or an event, with all its markets.
    Without it: all changes since a time, but for the first listing; without a time, too, how far back the history goes.
    A time is when our scan knew; the change itself lies between it and the
    scan before. A market that left the listing of open markets has the status that the venue told when asked by id.

    Example: overround catalog history KXHIGHNY-26NOV21-T45
    """
    import msgspec
    from rich.table import Table

    from overround.errors import NothingStored
    from overround.market import CatalogueEvent
    from overround.storage import LakePaths, catalogue_changes, catalogue_commits

    app.start_logging(to_stdout=False)
    paths = LakePaths(data_dir or app.loaded.settings.data_dir)
    venues = [name for name in ([venue] if venue else [known.value for known in Venue]) if paths.history_files(name)]
    if not venues:
        raise NothingStored(f"no history under {paths.root / 'metadata'}", hint="`overround scan` writes it")
    since_ms = parse_time(since) if since is not None else None
    if key is None and since_ms is None:
        scans = {name: catalogue_commits(paths, name) for name in venues}
        if as_json:
            click.echo(msgspec.json.encode(scans))
            return 0
        for name, commits in scans.items():
            click.echo(
                f"{name}: {len(commits):,} scan{'s' if len(commits) > 1 else ''} from {_time(commits[0].at)} to "
                f"{_time(commits[-1].at)} UTC, {commits[-1].listed:,} markets listed at the last"
            )
        return 0
    changes = {name: catalogue_changes(paths, name, key=key) for name in venues}
    if key is None:
        changes = {name: [one for one in found if one.before_ms is not None] for name, found in changes.items()}
    elif not any(changes.values()):
        raise NothingStored(
            f"no market or event {key!r} in the history of {' or '.join(venues)}",
            hint="give an id as in `overround coverage --json`; `overround scan` reads the listing anew",
        )
    wanted = {
        name: [change for change in found if since_ms is None or change.at_ms >= since_ms]
        for name, found in changes.items()
        if found
    }
    if as_json:
        click.echo(
            msgspec.json.encode(
                [{"venue": name} | msgspec.to_builtins(change) for name, found in wanted.items() for change in found]
            )
        )
        return 0
    if not any(wanted.values()):
        click.echo(f"{key or ' and '.join(venues)}: nothing changed since {since}")
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("seen (UTC)", no_wrap=True)
    for name in ("market", "what", "field", "before", "after"):
        table.add_column(name, overflow="fold")
    n_all = sum(map(len, wanted.values()))
    for found in wanted.values():
        for change in found[:_SHOWN]:
            after = _shown(change.after, change.field)
            if change.what is CatalogueEvent.LEFT:
                after = after or "unknown"
            before = _shown(change.before, change.field)
            table.add_row(_time(change.at_ms), change.market_id, change.what, change.field, before, after)
    console().print(table)
    if any(len(found) > _SHOWN for found in wanted.values()):
        click.echo(f"{n_all:,} changes, the first {_SHOWN:,} of a venue are shown; --json has all", err=True)
    return 0


@catalog.command(name="as-of")
@click.argument("time", metavar="TIME")
@venue_option(required=True)
@click.option("--market", "markets", multiple=True, metavar="M", help="This market only; may be given several times.")
@data_dir_option
@json_option
@app_options()
def as_of(*, app: App, time: str, venue: str, markets: tuple[str, ...], data_dir: Path | None, as_json: bool) -> int:
    """The listing as it was known at a time; nothing learnt later is in it.

    TIME is UTC, such as 2026-11-21T12:00, a day (its beginning) or epoch milliseconds.

    Example: overround catalog as-of 2026-11-21T12:00 --venue kalshi --market KXHIGHNY-26NOV21-T45
    """
    import msgspec

    from overround.errors import NothingStored
    from overround.market import MarketId
    from overround.storage import LakePaths, catalogue_as_of

    app.start_logging(to_stdout=False)
    paths = LakePaths(data_dir or app.loaded.settings.data_dir)
    wanted = [MarketId(market) for market in markets] or None
    known = catalogue_as_of(paths, venue, parse_time(time), wanted)
    unknown = [market for market in markets if market not in known.markets]
    if unknown:
        raise NothingStored(
            f"{unknown[0]!r} was not in {venue}'s listing at {_time(known.as_of_ms)} UTC",
            hint=f"`overround catalog history {unknown[0]}` shows when it came and left",
        )
    if as_json:
        click.echo(msgspec.json.encode(known))
        return 0
    click.echo(
        f"{venue} as of {_time(known.as_of_ms)} UTC: {len(known.markets):,} markets in {len(known.events()):,} events, "
        f"known since {_time(known.known_ms)}"
    )
    for market_id, market in known.markets.items() if wanted else ():
        click.echo(f"\n{market_id}")
        for name, value in msgspec.to_builtins(market).items():
            if name != "market_id" and value not in (None, "", 0, 0.0, (), [], False):
                click.echo(f"  {name}: {_shown(value, name)}")
    return 0


def _time(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _shown(value: Any, field: str) -> str:
    import msgspec

    if field.endswith("_ts") and isinstance(value, int):
        return _time(value)
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""``overround health``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from overround.cli.options import App, app_options, json_option

if TYPE_CHECKING:
    from overround.services import Health

__all__ = ["health"]

EXIT_CODES = {"ok": 0, "failing": 1, "degraded": 3}


@click.command()
@click.option("--url", metavar="URL", help="The collector's endpoint (default: [monitoring] host and port).")
@json_option
@app_options(positional=True)
def health(*, app: App, url: str | None, as_json: bool) -> int:
    """Ask a running collector whether it is well.

    Exit code 0: well. 1: it does not record, or does not answer. 3: it records, but not everything or not verified.

    Example: overround health --url http://127.0.0.1:9464
    """
    from overround.cli.asking import ask, endpoint_url
    from overround.services.health import Health

    found = ask(endpoint_url(url, app.loaded.settings.monitoring), "/health", Health)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)
    return EXIT_CODES[found.state]


def _show(found: Health) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"collector {found.version}: {found.state}", title_justify="left")
    table.add_column("")
    for venue in found.venues:
        table.add_column(venue.venue, justify="right")
    for name, cells in (
        ("state", [venue.state for venue in found.venues]),
        ("connected", [f"{venue.connected} of {venue.connections}" for venue in found.venues]),
        ("live books", [f"{venue.live:,} of {venue.subscriptions:,}" for venue in found.venues]),
        ("verified books", [_share(venue.verified_share) for venue in found.venues]),
        ("verified minutes", [_share(venue.verified_minutes) for venue in found.venues]),
        ("oldest proof, s", [f"{venue.oldest_book_s:,.1f}" for venue in found.venues]),
        ("last flush, s ago", [f"{venue.last_flush_s:,.1f}" for venue in found.venues]),
        ("open gaps", [f"{venue.open_gaps:,}" for venue in found.venues]),
        ("breakers not closed", [str(sum(s != "closed" for s in v.breakers.values())) for v in found.venues]),
    ):
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    free = f"{found.disk_free_bytes / 1e9:,.1f} GB ({found.disk_free_share:.0%}) of the lake's disk are free"
    console.print(f"up {found.up_s:,.0f} s; {free}{'' if found.ready else '; not ready yet'}", highlight=False)
    for line in (*found.problems, *(f"{venue.venue}: {line}" for venue in found.venues for line in venue.problems)):
        console.print(f"- {line}", highlight=False)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"

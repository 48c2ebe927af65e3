"""``overround monitor``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from overround.cli.options import App, app_options, json_option

if TYPE_CHECKING:
    from overround.cli.monitor_tables import Sight

__all__ = ["monitor"]

BETWEEN_LOOKS_S = 1.0
PRINTED_ROWS = 20


@click.command()
@click.option(
    "--url",
    "urls",
    metavar="URL",
    multiple=True,
    help="A collector's endpoint, several times for several (default: [monitoring] host and port).",
)
@click.option("--once", is_flag=True, help="Print the tables and end; so does a monitor off a terminal.")
@json_option
@app_options(positional=True)
def monitor(*, app: App, urls: tuple[str, ...], once: bool, as_json: bool) -> int:
    """Watch running collectors on a screen.

    Connections, rates, verdicts, the most active markets, the newest gaps and what is wrong, asked once a second of the
    collectors' endpoints. A collector that is restarted is taken up again. q ends it, space holds it still.

    Exit code 1: no collector answers at first.

    Example: overround monitor --url http://127.0.0.1:9464 --url http://127.0.0.1:9465
    """
    from overround.cli.asking import endpoint_url

    settings = app.loaded.settings.monitoring
    bases = [endpoint_url(url, settings) for url in dict.fromkeys(urls or (None,))]
    sights = _first_look(bases)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({sight.url: sight.detail for sight in sights}))
    elif once or not sys.stdout.isatty():
        # Rates are taken between two looks.
        time.sleep(BETWEEN_LOOKS_S)
        _print(_first_look(bases))
    else:
        from overround.cli.monitor_screen import MonitorScreen

        MonitorScreen(sights).run()
    return 0


def _first_look(bases: list[str]) -> list[Sight]:
    """What each says now; where none answers, the first one's error."""
    from overround.cli.asking import NoCollector, ask
    from overround.cli.monitor_tables import Sight
    from overround.services.detail import CollectorDetail

    sights, errors = [], []
    for base in bases:
        try:
            sights.append(Sight(url=base, detail=ask(base, "/status", CollectorDetail)))
        except NoCollector as exc:
            errors.append(exc)
            sights.append(Sight(url=base, error=str(exc)))
    if len(errors) == len(bases):
        raise errors[0]
    return sights


def _print(sights: list[Sight]) -> None:
    from rich.table import Table

    from overround.cli.console import console
    from overround.cli.monitor_tables import headline, problems, tables

    screen = console()
    screen.print(headline(sights), highlight=False)
    for each in tables(sights):
        table = Table(*each.columns, title=each.title, title_justify="left")
        for row in each.rows[:PRINTED_ROWS]:
            table.add_row(*row)
        if each.rows:
            screen.print(table)
    for line in problems(sights):
        screen.print(line)

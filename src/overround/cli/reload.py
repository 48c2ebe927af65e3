"""``overround reload``."""

from __future__ import annotations

from pathlib import Path

import click

from overround.cli.options import data_dir_option, json_option, load_app
from overround.errors import ConfigError

__all__ = ["reload"]

TIMEOUT_S = 120.0
"""A venue that is switched on may have to be listed first."""


@click.command()
@click.option("--config", "config_path", type=click.Path(), metavar="PATH", help="Settings file.")
@click.option(
    "--timeout", "timeout_s", default=TIMEOUT_S, show_default=True, metavar="S", help="Wait S seconds at most."
)
@data_dir_option
@json_option
@click.pass_context
def reload(
    ctx: click.Context, *, config_path: str | None, timeout_s: float, data_dir: Path | None, as_json: bool
) -> int:
    """Have running collectors read their settings again.

    Venues, limits, intervals and log levels change while recording goes on; what cannot change is named with the reason. A
    file that does not read changes nothing.

    Exit code 0: everything that changed is in force. 3: something waits for a restart. 2: the file does not read, nothing
    changed. 1: no collector answered.

    Example: overround reload --config config/surveillance.toml
    """
    from overround.pipelines.mock import lake_of
    from overround.services.reload import ask_all

    above: dict[str, str | None] = ctx.find_root().obj or {}
    try:
        app = load_app(config_path or above.get("config"), log_level=None)
    except ConfigError as exc:
        raise ConfigError(f"{exc}; running collectors keep their settings", hint=exc.hint) from exc
    answers = ask_all(data_dir or lake_of(app.loaded.settings), timeout_s=timeout_s)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(answers))
    for answer in answers if not as_json else ():
        if answer.error:
            click.echo(f"{answer.collector}: nothing changed: {answer.error}")
        elif not (answer.applied or answer.refused or answer.failed):
            click.echo(f"{answer.collector}: nothing has changed")
        for name, value in answer.applied.items():
            click.echo(f"{answer.collector}: {name} is {value} now")
        for name, reason in answer.refused.items():
            click.echo(f"{answer.collector}: {name} stays until a restart: {reason}")
        for venue, reason in answer.failed.items():
            click.echo(f"{answer.collector}: {venue} could not begin, the next reload tries again: {reason}")
    if any(answer.error for answer in answers):
        return 2
    return 3 if any(answer.refused or answer.failed for answer in answers) else 0

"""``overround config show|check``."""

from __future__ import annotations

import click

from overround.cli.options import App, app_options, json_option

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show or check the effective settings.

    Example: overround config show --config config/surveillance.toml
    """


@config.command()
@json_option
@app_options(positional=True)
def show(*, app: App, as_json: bool) -> None:
    """Print every setting with its value and where it comes from; secrets are masked.

    Example: overround config show
    """
    from overround.config import describe
    from overround.config.load import to_json

    if as_json:
        click.echo(to_json(app.loaded))
        return
    rows = describe(app.loaded)
    width = max(len(name) for name, _, _ in rows)
    for name, shown, source in rows:
        value = click.style(shown, bold=source != "default") or '""'
        click.echo(f"{name:<{width}} = {value}  {click.style('# ' + source, dim=True)}")


@config.command()
@app_options(positional=True)
def check(*, app: App) -> None:
    """Check the settings; exit code 0 when they can be used.

    Example: overround config check config/surveillance.toml
    """
    files = ", ".join(str(file) for file in app.loaded.files) or "defaults only (no configuration file)"
    changed = sum(1 for source in app.loaded.sources.values() if source)
    click.echo(f"settings are fine: {files}; {changed} values set, {len(app.loaded.warnings)} warnings")

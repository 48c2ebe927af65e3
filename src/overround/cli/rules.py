"""``overround rules verify``."""

from __future__ import annotations

from pathlib import Path

import click

from overround.cli.console import many
from overround.cli.options import App, app_options, json_option

__all__ = ["rules"]


@click.group()
def rules() -> None:
    """Read rules into logic, and prove what can be earned from it.

    Example: overround rules verify certificates.jsonl
    """


@rules.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
@app_options()
def verify(*, app: App, file: Path, as_json: bool) -> int:
    """Check certificates of findings, one a line, by adding and comparing whole numbers.

    Nothing in the file is believed: states are enumerated anew from the constraints, levels walked, fees and payoffs
    added up. What has to be taken on trust stands in the certificate: its premises, and the levels that were displayed.

    Exit code 1: at least one certificate does not prove what it says.

    Example: overround rules verify certificates.jsonl
    """
    import msgspec

    from overround.arbitrage.check import check
    from overround.logic import decode_certificates

    app.start_logging(to_stdout=False)
    found = decode_certificates(file.read_bytes())
    wrong = [check(certificate) for certificate in found]
    if as_json:
        click.echo(msgspec.json.encode([{"line": i, "wrong": what} for i, what in enumerate(wrong, 1)]))
    else:
        for number, (certificate, what) in enumerate(zip(found, wrong, strict=True), 1):
            name = ", ".join(certificate.forms) or "portfolio"
            states = many(len(certificate.states), "state")
            if what:
                click.echo(f"{number}: {name}: refused", err=True)
                for reason in what:
                    click.echo(f"   {reason}", err=True)
            else:
                click.echo(
                    f"{number}: {name}: {certificate.grade}, earns at least {certificate.profit_e10 / 1e10:.4f} USD "
                    f"on {certificate.capital_e10 / 1e10:.2f} USD in each of {states}"
                )
                for condition in certificate.conditions:
                    click.echo(f"   if {condition}")
        refused = sum(map(bool, wrong))
        click.echo(f"{many(len(found), 'certificate')}: {len(found) - refused} proved, {refused} refused")
    return 1 if any(wrong) else 0

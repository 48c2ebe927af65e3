"""``overround rules …``: what markets say, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console, many
from overround.cli.options import App, app_options, json_option

if TYPE_CHECKING:
    from overround.pipelines.relations import Evaluation
    from overround.rules import Score

__all__ = ["rules"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_markets = click.option(
    "--markets",
    "files",
    type=_FILE,
    multiple=True,
    required=True,
    metavar="FILE",
    help="Markets, one JSON object a line; may be given several times.",
)


@click.group()
def rules() -> None:
    """Read rules into logic, and prove what can be earned from it.

    Example: overround rules relations --markets markets.jsonl
    """


@rules.command()
@_markets
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@app_options()
def relations(*, app: App, files: tuple[Path, ...], as_json: bool) -> int:
    """Every relation between the markets of some files, one line each.

    A file has a venue's own market object beside its event (venue, event_key, event, market) or the lines of a
    universe.jsonl. Ladders are ordered strict to loose. A certain relation holds in every branch that the words name; a
    conditional one if its conditions hold; of a doubtful one readers may differ.

    Example: overround rules relations --markets polymarket.jsonl --markets kalshi.jsonl --json
    """
    import msgspec

    from overround.pipelines.relations import relations_of

    app.start_logging(to_stdout=False)
    for row in relations_of(files):
        if as_json:
            click.echo(msgspec.json.encode(row))
            continue
        names = (f"{one.venue}:{one.market_id}:{one.outcome}" for one in row.markets)
        arrow = " -> " if row.antecedent is not None else " "
        conditions = f"  if {'; '.join(row.conditions)}" if row.conditions else ""
        click.echo(f"{row.confidence} {row.relation} {row.score:.2f} {arrow.join(names)}{conditions}")
    return 0


@rules.command(name="eval")
@_markets
@click.option("--gold", type=_FILE, required=True, metavar="FILE", help="Labelled relations, one JSON object a line.")
@click.option("--pairs", type=_FILE, metavar="FILE", help="Labelled pairs across the venues, one JSON object a line.")
@json_option
@app_options()
def evaluate(*, app: App, files: tuple[Path, ...], gold: Path, pairs: Path | None, as_json: bool) -> int:
    """Score the relations of some markets against labels.

    Ladders and sets are expanded, and what follows from several claims counts as claimed. Precision is that of certain
    claims: a hard negative that is claimed, and a conditional relation that is claimed as certain, count against it.

    Example: overround rules eval --markets markets.jsonl --gold gold.jsonl
    """
    import msgspec

    from overround.pipelines.relations import evaluate_rules

    app.start_logging(to_stdout=False)
    found = evaluate_rules(files, gold, pairs)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)
    return 0


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


def _print(found: Evaluation) -> None:
    from rich.table import Table

    scores = found.scores
    table = Table(box=None, pad_edge=False)
    table.add_column("certain labels", no_wrap=True)
    for name in ("labels", "found", "as conditional", "wrong", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    for name, score in scores.certain.items():
        table.add_row(name, *_cells(score))
    console().print(table)
    recalled = scores.conditional.get("all")
    if recalled is not None and recalled.recall is not None:
        click.echo(f"conditional labels: {recalled.found} of {recalled.rows} claimed as conditional or certain")
    click.echo(
        f"none labels: {scores.none_claimed} of {scores.none_rows} claimed, {scores.none_claimed_certain} as certain"
    )
    click.echo(f"conditional labels claimed certain: {scores.promoted} of {scores.conditional_rows}")
    if found.pairs is not None:
        pairs = found.pairs
        click.echo(
            f"pairs: {pairs.matched} of {pairs.true_pairs} matched, {pairs.wrong} wrong; precision {_share(pairs.precision)}, "
            f"recall {_share(pairs.recall)}"
        )
    for error in (*scores.errors, *(found.pairs.errors if found.pairs is not None else ())):
        click.echo(f"  {error}")


def _cells(score: Score) -> list[str]:
    return [
        *(f"{number:,}" for number in (score.rows, score.found, score.claimed_less, score.wrong)),
        *(_share(share) for share in (score.precision, score.recall, score.f1)),
    ]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"

"""``overround rules ingest|normalize|constraints|run-all|review``: from a day's listing to constraints, and a person's answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from overround.cli.console import many
from overround.cli.options import App, app_options, data_dir_option, date_option, json_option, parse_date, venue_option
from overround.errors import UsageError
from overround.market import Venue

if TYPE_CHECKING:
    from overround.pipelines.read_rules import StageDone
    from overround.rules import QueueItem
    from overround.storage import LakePaths

__all__ = ["constraints", "ingest", "lake_of_stages", "mock_option", "normalize", "review", "run_all"]

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def _stage_options(function: F) -> F:
    """Add ``--venue``, ``--all-venues``, ``--date``, ``--mock``, ``--data-dir``, ``--json`` and the settings."""
    for option in (
        app_options(),
        json_option,
        data_dir_option,
        mock_option,
        date_option(),
        click.option("--all-venues", is_flag=True, help="Every venue that has a listing of the day."),
        venue_option(text="This venue."),
    ):
        function = option(function)
    return function


def mock_option(function: F) -> F:
    """Add ``--mock``."""
    return click.option(
        "--mock", is_flag=True, help="Use the local exchange instead of the venues, for what the day's lake lacks."
    )(function)


_MOCK_S = 25.0
"""Long enough for a dozen plants to come and go."""


def lake_of_stages(
    app: App, data_dir: Path | None, venues: list[str], *, date: str, mock: bool, books: bool = False
) -> LakePaths:
    """The lake meant; in mock mode what is not there yet is listed, and recorded where books are asked for."""
    from overround.clock import SystemClock
    from overround.ops import configure_logging
    from overround.pipelines.mock import lake_of, record_mock
    from overround.storage import SNAPSHOTS, LakePaths

    settings = app.loaded.settings
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if mock:
        settings = settings.model_copy(update={"mock": settings.mock.model_copy(update={"enabled": True})})
    paths = LakePaths(lake_of(settings))
    if settings.mock.enabled:
        listed = all(paths.universe(name, date).is_file() for name in venues)
        recorded = not books or any(date in paths.days(SNAPSHOTS, name) for name in venues)
        if not recorded:
            click.echo(f"recording the local exchange for {_MOCK_S:g} s under {paths.root}", err=True)
        if not (listed and recorded):
            configure_logging(level="error", stream=sys.stderr, json=None)
            record_mock(
                settings,
                venues=[Venue(name) for name in venues],
                clock=SystemClock(),
                duration_s=None if recorded else _MOCK_S,
            )
    return paths


def _lake(
    app: App, data_dir: Path | None, venue: str | None, *, all_venues: bool, date: str, mock: bool, books: bool = False
) -> tuple[LakePaths, list[str]]:
    """The lake and the venues meant."""
    # Of the local exchange both are meant where none is named.
    if (venue is not None) is all_venues and not (mock and venue is None):
        raise UsageError("which venue?", hint="say --venue V or --all-venues, one of them")
    names = [venue] if venue else [one.value for one in Venue]
    paths = lake_of_stages(app, data_dir, names, date=date, mock=mock, books=books)
    if all_venues:
        names = [name for name in names if paths.universe(name, date).is_file()] or names
    return paths, names


def _told(done: list[StageDone], *, as_json: bool) -> int:
    import msgspec

    if as_json:
        click.echo(msgspec.json.encode(done))
        return 0
    for one in done:
        what = f"{many(one.redone, 'row')} made" if one.redone else "nothing changed"
        changed = f", {one.changed:,} with other words than before" if one.changed else ""
        queued = f", {one.queued:,} for review" if one.queued else ""
        click.echo(f"{one.venue} {one.stage}: {many(one.rows, 'row')}, {what}{changed}{queued}; {one.path}")
        if one.counts:
            click.echo("  " + ", ".join(f"{name} {count:,}" for name, count in one.counts.items()))
    return 0


@click.command()
@_stage_options
def ingest(
    *, app: App, venue: str | None, all_venues: bool, date_text: str, mock: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Write the rules of a day's listing to rules.jsonl, with the hash of each text and since when it is what it is.

    Example: overround rules ingest --venue kalshi --date 2026-01-14
    """
    from overround.clock import SystemClock
    from overround.pipelines.read_rules import ingest as run

    app.start_logging(to_stdout=False)
    date = parse_date(date_text)
    paths, venues = _lake(app, data_dir, venue, all_venues=all_venues, date=date, mock=mock)
    return _told([run(paths, name, date, now_ms=SystemClock().now_ms()) for name in venues], as_json=as_json)


@click.command()
@_stage_options
def normalize(
    *, app: App, venue: str | None, all_venues: bool, date_text: str, mock: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Read a day's rules into propositions.parquet, and queue what is doubtful.

    Markets whose words did not change keep their proposition. What people decided in `overround rules review` is replayed.

    Example: overround rules normalize --venue kalshi --date 2026-01-14
    """
    from overround.clock import SystemClock
    from overround.pipelines.read_rules import normalize as run

    app.start_logging(to_stdout=False)
    date = parse_date(date_text)
    paths, venues = _lake(app, data_dir, venue, all_venues=all_venues, date=date, mock=mock)
    below = app.loaded.settings.thresholds.review_below
    return _told(
        [run(paths, name, date, review_below=below, now_ms=SystemClock().now_ms()) for name in venues], as_json=as_json
    )


@click.command()
@_stage_options
def constraints(
    *, app: App, venue: str | None, all_venues: bool, date_text: str, mock: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Relate a day's propositions to each other, into constraints.parquet.

    With --all-venues the venues' propositions are related to each other, too; such a constraint stands in the table of
    its first market's venue.

    Example: overround rules constraints --venue kalshi --date 2026-01-14
    """
    from overround.pipelines.read_rules import constrain as run

    app.start_logging(to_stdout=False)
    date = parse_date(date_text)
    paths, venues = _lake(app, data_dir, venue, all_venues=all_venues, date=date, mock=mock)
    return _told(run(paths, venues, date), as_json=as_json)


@click.command(name="run-all")
@_stage_options
def run_all(
    *, app: App, venue: str | None, all_venues: bool, date_text: str, mock: bool, data_dir: Path | None, as_json: bool
) -> int:
    """Run ingest, normalize, constraints and, where books were recorded, detect-arb; the first three do only what changed.

    `overround rules detect-arb` has the options of the last; here it runs with its defaults.

    Example: overround rules run-all --all-venues --date 2026-01-14
    """
    from overround.clock import SystemClock
    from overround.pipelines import read_rules
    from overround.storage import SNAPSHOTS

    app.start_logging(to_stdout=False)
    date = parse_date(date_text)
    paths, venues = _lake(app, data_dir, venue, all_venues=all_venues, date=date, mock=mock, books=True)
    now_ms, below = SystemClock().now_ms(), app.loaded.settings.thresholds.review_below
    _told(read_rules.bring_up_to_date(paths, venues, date, review_below=below, now_ms=now_ms), as_json=as_json)
    recorded = [name for name in venues if date in paths.days(SNAPSHOTS, name)]
    if not recorded:
        click.echo(f"detect-arb: no books were recorded on {date}; `overround collect` records", err=True)
        return 0
    from overround.cli.rules import detect_arb

    code = click.get_current_context().invoke(
        detect_arb, venue=venue, all_venues=False, date_text=date, data_dir=paths.root, as_json=as_json
    )
    return int(code or 0)


@click.command()
@venue_option(text="This venue only.")
@click.option("--all-venues", is_flag=True, help="Every venue, as without --venue.")
@date_option()
@mock_option
@click.option("--accept", multiple=True, metavar="MARKET", help="The reading is right; may be given several times.")
@click.option(
    "--reject",
    multiple=True,
    metavar="MARKET",
    help="Nothing may be concluded from this market; may be given several times.",
)
@click.option("--correct", metavar="MARKET", help="Set fields of the reading, with --set.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of --correct: a field and its value, as JSON or text.",
)
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the decision.")
@click.option("--export", "export_to", type=_FILE, metavar="FILE", help="Write every decision, one JSON object a line.")
@click.option("--import", "import_from", type=_FILE, metavar="FILE", help="Add the decisions of such a file.")
@data_dir_option
@json_option
@app_options()
def review(
    *,
    app: App,
    venue: str | None,
    all_venues: bool,
    date_text: str,
    mock: bool,
    accept: tuple[str, ...],
    reject: tuple[str, ...],
    correct: str | None,
    settings: tuple[str, ...],
    note: str,
    export_to: Path | None,
    import_from: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Show the doubtful readings of a day, and decide on them.

    A decision is keyed to the hash of the words: it is replayed on every later run, an acceptance or rejection also on
    markets of the same template, and words that change open the item again. `overround rules normalize` applies it.

    Example: overround rules review --venue kalshi --reject KXHIGHNY-26NOV21-T45 --note "station moved"
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.pipelines import read_rules
    from overround.rules import Decision, Ruling, correction_of

    app.start_logging(to_stdout=False)
    if bool(settings) is not (correct is not None):
        raise UsageError("--correct and --set go together", hint="--correct MARKET --set family=deadline")
    if venue is not None and all_venues:
        raise UsageError("--venue and --all-venues exclude each other", hint="leave one of them away")
    date = parse_date(date_text)
    venues = [venue] if venue else [one.value for one in Venue]
    paths = lake_of_stages(app, data_dir, venues, date=date, mock=mock)
    queues = {name: read_rules.read_queue(paths, name, date) for name in venues}
    waiting = {
        named: (name, item)
        for name, items in queues.items()
        for item in items
        for named in {item.wording.named, str(item.wording.market_id)}
    }
    answers = [(Decision.ACCEPT, one) for one in accept] + [(Decision.REJECT, one) for one in reject]
    answers += [(Decision.CORRECT, correct)] if correct is not None else []
    new: dict[str, list[Ruling]] = {name: [] for name in venues}
    for decision, named in answers:
        if named not in waiting:
            raise UsageError(
                f"{named!r} does not wait for an answer on {date}", hint="`overround rules review` lists what does"
            )
        name, item = waiting[named]
        new[name].append(
            Ruling(
                text_hash=item.proposition.text_hash, template_hash=item.proposition.template_hash, decision=decision, note=note,
                fields=correction_of(settings, item.proposition) if decision is Decision.CORRECT else {},
                venue=name, market_id=named, decided_ts=SystemClock().now_ms(),
            )
        )  # fmt: skip
    if import_from is not None:
        for one in read_rules.read_ruling_file(import_from):
            if one.venue in new:
                new[one.venue].append(one)
    added = sum(read_rules.import_rulings(paths, name, rulings) for name, rulings in new.items())
    if added:
        click.echo(f"{many(added, 'decision')} kept; next: overround rules normalize", err=True)
    if export_to is not None:
        lines = [one for name in venues for one in read_rules.read_rulings(paths, name)]
        export_to.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in lines))
        click.echo(f"{many(len(lines), 'decision')} written to {export_to}", err=True)
    if answers or import_from is not None or export_to is not None:
        return 0
    if as_json:
        click.echo(msgspec.json.encode([item for items in queues.values() for item in items]))
    else:
        _print_queue(queues, date)
    return 0


def _print_queue(queues: dict[str, list[QueueItem]], date: str) -> None:
    from overround.rules import highlighted

    for name, items in queues.items():
        click.echo(f"{name} {date}: {many(len(items), 'reading')} for review")
        for item in items:
            click.echo(
                f"\n{item.wording.named}  "
                + " | ".join(text[:120] for text in (item.wording.event_title, item.wording.title, item.wording.label))
            )
            click.echo(f"  {item.proposition.family} {item.proposition.confidence:.2f}: {'; '.join(item.reasons)}")
            for line in highlighted(item, ("»", "«")):
                click.echo(f"  {line}")

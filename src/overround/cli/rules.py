"""``overround rules …``: what markets say, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console, many
from overround.cli.options import (
    App,
    app_options,
    data_dir_option,
    date_option,
    hours_option,
    json_option,
    parse_date,
    venue_option,
)
from overround.cli.rules_stages import constraints, ingest, lake_of_stages, mock_option, normalize, review, run_all
from overround.errors import NothingStored, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from overround.arbitrage import Episode
    from overround.logic import Certificate
    from overround.market import Market, MarketId, Venue
    from overround.pipelines.detect import Detected, Walk
    from overround.pipelines.relations import Evaluation
    from overround.rules import Judged, Score, Scores
    from overround.storage import LakePaths

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


for _stage in (ingest, normalize, constraints, run_all, review):
    rules.add_command(_stage)


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


@rules.command()
@_markets
@click.option(
    "--similar",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    metavar="N",
    help="Pairs with differences to show of each Kalshi market, the nearest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@app_options()
def pairs(*, app: App, files: tuple[Path, ...], similar: int, as_json: bool) -> int:
    """The same question on both venues, with polarity and every difference by name.

    Equivalent pairs ask the same; what follows "if" are terms that are not alike: whose word decides, when the window ends,
    what is paid when the question is void. Similar pairs differ in what is asked, and bind nothing.

    Example: overround rules pairs --markets polymarket.jsonl --markets kalshi.jsonl
    """
    import msgspec

    from overround.pipelines.relations import pairs_of

    app.start_logging(to_stdout=False)
    for pair in pairs_of(files, similar=similar):
        if as_json:
            click.echo(msgspec.json.encode(pair))
            continue
        one, other = (f"{side.venue}:{side.market_id}:{side.outcome}" for side in pair.markets)
        why = (
            f"  if {'; '.join(pair.terms)}"
            if pair.terms
            else f"  but {'; '.join(pair.differences)}"
            if pair.differences
            else ""
        )
        click.echo(f"{pair.verdict} {pair.polarity} {one} {other}{why}")
    return 0


@rules.command(name="eval")
@_markets
@click.option("--gold", type=_FILE, metavar="FILE", help="Labelled relations, one JSON object a line.")
@click.option("--pairs", type=_FILE, metavar="FILE", help="Labelled pairs across the venues, one JSON object a line.")
@click.option(
    "--judgements", type=_FILE, metavar="FILE", help="Judgements of single markets' fields, one JSON object a line."
)
@json_option
@app_options()
def evaluate(
    *, app: App, files: tuple[Path, ...], gold: Path | None, pairs: Path | None, judgements: Path | None, as_json: bool
) -> int:
    """Say how much of some markets is read, and score it against labels.

    A file has one JSON object a line, as for `overround rules relations`, or Polymarket's listing as it came; .gz is unpacked.

    Of labelled relations ladders and sets are expanded, and what follows from several claims counts as claimed. Precision
    is that of certain claims: a hard negative that is claimed, and a conditional relation that is claimed as certain,
    count against it. Of judgements each field is compared, and those of high confidence are counted apart.

    Example: overround rules eval --markets markets.jsonl --gold gold.jsonl
    """
    import msgspec

    from overround.pipelines.relations import evaluate_rules

    app.start_logging(to_stdout=False)
    found = evaluate_rules(files, gold, pairs, judgements)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)
    return 0


@rules.command(name="detect-arb")
@venue_option(text="This venue alone (default: all that have a listing of the day, with the pairs across them).")
@click.option("--all-venues", is_flag=True, help="Every venue; an error if one has no listing of the day.")
@date_option()
@hours_option
@click.option("--conditional", is_flag=True, help="Also use constraints that hold only under stated conditions.")
@click.option("--unverified", is_flag=True, help="Also believe books that nothing proved or disproved.")
@click.option(
    "--max-apart",
    "max_apart_s",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="S",
    help="Longest time between two books of a finding, seconds; 0: all are known at one instant.",
)
@click.option(
    "--budget",
    "budget_usd",
    type=click.FloatRange(0, min_open=True),
    default=None,
    metavar="USD",
    help="Outlay at most, fees included.  [no limit]",
)
@click.option(
    "--least-profit",
    "least_usd",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    metavar="USD",
    help="Profit in the worst state at least.",
)
@click.option(
    "--idle-rate",
    "idle_percent",
    type=click.FloatRange(0),
    default=None,
    metavar="PCT",
    help="What locked money has to earn besides, percent a year.  [not charged]",
)
@click.option(
    "--journal", is_flag=True, help="Walk the books that the journal gives, every quarter second, not stored rows."
)
@click.option("--follow", is_flag=True, help="Then go on with what a running collector writes, until stopped.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(0, min_open=True),
    default=None,
    metavar="S",
    help="With --follow: stop after so many seconds.",
)
@mock_option
@data_dir_option
@json_option
@app_options()
def detect_arb(
    *,
    app: App,
    venue: str | None,
    all_venues: bool,
    date_text: str,
    hours_text: str,
    conditional: bool,
    unverified: bool,
    max_apart_s: float,
    budget_usd: float | None,
    least_usd: float,
    idle_percent: float | None,
    journal: bool,
    follow: bool,
    duration_s: float | None,
    mock: bool,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Walk a day's recorded books and prove what could not have lost.

    Constraints are those of `overround rules constraints`; where the listing, its words or an answer of a review changed
    since, the stages before are run first, as far as they changed. Each finding is an episode, from the first book that shows
    it to the first that does not, and carries its certificate, which `overround rules verify` checks. Books that are
    stale, gapped or suspect give none, nor do books that are not known to have stood at one instant: a book is known when
    it was stored, and until its next row where that shows it unchanged. Writes violations.parquet of each venue.

    With --follow it goes on from there with what is written, a flush and five seconds behind, and prints what begins and
    ends.

    Exit code 3: constraints of some markets contradict each other, so that nothing is claimed of them.

    Example: overround rules detect-arb --venue kalshi --date 2026-01-14
    """
    import msgspec

    from overround.arbitrage import Limits
    from overround.clock import SystemClock
    from overround.logic import Confidence
    from overround.market import Integrity, Venue
    from overround.pipelines.detect import Walk, detect_day, listed, tied_markets, write_violations
    from overround.pipelines.mine import parse_hours
    from overround.pipelines.read_rules import bring_up_to_date, constraints_of_day
    from overround.timebucket import day_start_ms

    app.start_logging(to_stdout=False)
    if journal and follow:
        raise UsageError("--journal and --follow exclude each other", hint="leave one of them away")
    if duration_s is not None and not follow:
        raise UsageError("--duration says how long to follow", hint="say --follow, or leave it away")
    if venue is not None and all_venues:
        raise UsageError("--venue and --all-venues exclude each other", hint="leave one of them away")
    date, hours = parse_date(date_text), parse_hours(hours_text)
    known = [one.value for one in Venue]
    paths = lake_of_stages(app, data_dir, [venue] if venue else known, date=date, mock=mock, books=not follow)
    venues = (
        [venue] if venue else known if all_venues else [one for one in known if paths.universe(one, date).is_file()]
    )
    limits = Limits(
        budget_e10=None if budget_usd is None else int(budget_usd * 10**10),
        max_age_ms=int(max_apart_s * 1_000),
        max_apart_ms=int(max_apart_s * 1_000),
        verdicts=(Integrity.VERIFIED, Integrity.UNVERIFIED) if unverified else (Integrity.VERIFIED,),
        least_profit_e10=max(1, int(least_usd * 10**10)),
        base_rate_e6=Limits().base_rate_e6 if idle_percent is None else int(idle_percent * 10_000),
    )
    settings = app.loaded.settings

    def prepared() -> tuple[Walk, list[Market], int]:
        """What the words say now: a walk over nothing yet, the listing, and how many constraints there are."""
        markets = listed(paths, venues or known, date)
        stages = bring_up_to_date(
            paths, venues, date, review_below=settings.thresholds.review_below, now_ms=SystemClock().now_ms()
        )
        if any(one.redone for one in stages):
            made = ", ".join(f"{one.venue} {one.stage} {one.redone:,}" for one in stages if one.redone)
            click.echo(f"read what had changed: {made} rows made", err=True)
        constraints = constraints_of_day(paths, venues, date)
        walk = Walk(
            constraints,
            tied_markets(markets, constraints),
            limits=limits,
            least=Confidence.CONDITIONAL if conditional else Confidence.CERTAIN,
            charge_from_ms=None if idle_percent is None else day_start_ms(date),
            convert_fee_bips=settings.venues.polymarket.neg_risk_fee_bips,
        )
        return walk, markets, len(constraints)

    walk, markets, n_constraints = prepared()
    if follow:
        watched = [path for name in venues for path in (paths.universe(name, date), paths.review_decisions(name))]
        told = _follow(
            walk,
            lambda: prepared()[0],
            watched,
            paths,
            date=date,
            behind_s=settings.storage.flush_secs + 5,
            duration_s=duration_s,
        )
    else:
        told = detect_day(walk, paths, date=date, hours=hours, journal=journal)
    for name in venues:
        mine = [e for e in told.episodes if e.peak.component.legs[e.peak.purchases[0].leg].venue == name]
        write_violations(paths.logic(name, date, "violations"), mine)
    if as_json:
        click.echo(msgspec.json.encode(told))
    else:
        _print_detected(told, f"{many(len(markets), 'market')}, {many(n_constraints, 'constraint')}", markets)
    return 3 if told.contradictory else 0


def _follow(
    walk: Walk,
    anew: Callable[[], Walk],
    watched: Sequence[Path],
    paths: LakePaths,
    *,
    date: str,
    behind_s: float,
    duration_s: float | None,
) -> Detected:
    """Look at what is new every two seconds; a line on stderr for each episode that begins or ends.

    Where one of the watched files changed, the constraints may have: what stands is left without an end, and a walk that
    is made anew goes on.
    """
    import time

    from overround.clock import SystemClock
    from overround.pipelines.detect import joined, take_new
    from overround.timebucket import day_start_ms

    def state() -> list[int]:
        return [path.stat().st_mtime_ns if path.exists() else 0 for path in watched]

    clock = SystemClock()
    after_ms = day_start_ms(date) - 1
    end = None if duration_s is None else time.monotonic() + duration_s
    shown: set[tuple[str, int]] = set()
    ended: list[Detected] = []
    seen = state()
    try:
        while end is None or time.monotonic() < end:
            if state() != seen:
                seen = state()
                ended.append(walk.finish())
                walk = anew()
            until_ms = clock.now_ms() - int(behind_s * 1_000)
            take_new(walk, paths, walk.markets, after_ms=after_ms, until_ms=until_ms)
            after_ms = until_ms
            for episode in walk.standing:
                if (episode.key, episode.start_ms) not in shown:
                    shown.add((episode.key, episode.start_ms))
                    click.echo(f"{_clock(episode.start_ms)} begins: {_told(episode)}", err=True)
            for episode in walk.told.episodes:
                if episode.end_ms is not None and (episode.key, episode.end_ms) not in shown:
                    shown.add((episode.key, episode.end_ms))
                    click.echo(f"{_clock(episode.end_ms)} ends: {_told(episode)}", err=True)
            time.sleep(2 if end is None else max(0.0, min(2.0, end - time.monotonic())))
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    return joined([*ended, walk.finish()])


def _told(episode: Episode) -> str:
    forms = ", ".join(episode.peak.forms) or "portfolio"
    return f"{forms} ({episode.peak.grade}), {episode.peak.profit_e10 / 1e10:,.2f} USD"


def _print_detected(told: Detected, read: str, markets: Iterable[Market]) -> None:
    from rich.table import Table

    if told.episodes:
        known = {(market.venue, market.market_id): market for market in markets}
        table = Table(box=None, pad_edge=False)
        for name, width in (("from (UTC)", 10), ("lived", 5), ("finding", 12), ("profit USD", 10), ("capital USD", 11)):
            table.add_column(name, no_wrap=True, min_width=width, justify="right" if "USD" in name else "left")
        table.add_column("bought")
        for episode in told.episodes:
            peak = episode.peak
            until_ms, more = (episode.last_ms, " or more") if episode.end_ms is None else (episode.end_ms, "")
            table.add_row(
                _clock(episode.start_ms),
                f"{(until_ms - episode.start_ms) / 1_000:.1f} s{more}",
                f"{', '.join(peak.forms) or 'portfolio'}{'' if peak.grade == 'proved' else f' ({peak.grade})'}",
                f"{peak.profit_e10 / 1e10:,.2f}",
                f"{peak.capital_e10 / 1e10:,.2f}",
                _bought(peak, known),
            )
        console().print(table)
    for what in told.contradictory:
        click.echo(f"nothing is claimed: {what}", err=True)
    left = "".join(f"; {n:,} times {why}" for why, n in sorted(told.refused.items(), key=lambda one: -one[1]))
    click.echo(
        f"{many(len(told.episodes), 'episode')} in {many(told.rows, 'book')} of {many(told.legs, 'market')} in "
        f"{many(told.components, 'component')} ({read}){left}"
    )


def _bought(peak: Certificate, known: Mapping[tuple[Venue, MarketId], Market]) -> str:
    """The event and the first few legs, as people call them."""
    legs = [(peak.component.legs[order.leg], order.yes) for order in peak.purchases]
    first = known.get((legs[0][0].venue, legs[0][0].market_id))
    names = [f"{'' if yes else 'no '}{(leg.label or leg.market_id)[:24]}" for leg, yes in legs[:3]]
    more = f" and {len(legs) - 3} more" if len(legs) > 3 else ""
    about = f"{(first.event_title or first.title)[:60]}: " if first is not None else ""
    return f"{about}{', '.join(names)}{more}"


def _clock(ts_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ts_ms / 1_000, tz=UTC).strftime("%H:%M:%S")


@rules.command()
@click.argument("file", type=_FILE)
@json_option
@app_options()
def verify(*, app: App, file: Path, as_json: bool) -> int:
    """Check certificates of findings by adding and comparing whole numbers.

    FILE is a violations.parquet of `rules detect-arb`, or has one certificate a line, as its column has them.

    Nothing in the file is believed: states are enumerated anew from the constraints, levels walked, fees and payoffs
    added up. What has to be taken on trust stands in the certificate: its premises, and the levels that were displayed.

    Exit code 1: at least one certificate does not prove what it says.

    Example: overround rules verify violations.parquet
    """
    import msgspec

    from overround.arbitrage.check import check
    from overround.logic import decode_certificates

    app.start_logging(to_stdout=False)
    if not file.is_file():
        raise NothingStored(f"there is no file {file}", hint="`overround rules detect-arb` writes violations.parquet")
    if file.suffix == ".parquet":
        from overround.pipelines.detect import read_certificates

        found = read_certificates(file)
    else:
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
                rate = certificate.return_e6
                yearly = (
                    ""
                    if rate is None
                    else f", {rate / 1e4:,.1f} % a year (idle {certificate.base_rate_e6 / 1e4:.1f} %)"
                )
                click.echo(
                    f"{number}: {name}: {certificate.grade}, earns at least {certificate.profit_e10 / 1e10:.4f} USD "
                    f"on {certificate.capital_e10 / 1e10:.2f} USD in each of {states}{yearly}"
                )
                for condition in certificate.conditions:
                    click.echo(f"   if {condition}")
        refused = sum(map(bool, wrong))
        click.echo(f"{many(len(found), 'certificate')}: {len(found) - refused} proved, {refused} refused")
    return 1 if any(wrong) else 0


def _print(found: Evaluation) -> None:
    _table("read", ("markets", "in families", "confident", "both"), {
        venue: [f"{one.markets:,}", *(_part(part, one.markets) for part in (one.in_families, one.high, one.high_in_families))]
        for venue, one in found.readable.items()
    })  # fmt: skip
    if found.scores is not None:
        _print_scores(found.scores)
    if found.pairs is not None:
        pairs = found.pairs
        click.echo(
            f"pairs: {pairs.matched} of {pairs.true_pairs} matched, {pairs.wrong} wrong ({pairs.turned_wrong} by polarity); precision "
            f"{_share(pairs.precision)}, recall {_share(pairs.recall)}; {pairs.unnamed} refused without a named difference"
        )
    if found.judged is not None:
        _print_judged(found.judged)
    for part in (found.scores, found.pairs, found.judged):
        for error in part.errors if part is not None else ():
            click.echo(f"  {error}")


def _table(title: str, columns: Sequence[str], rows: dict[str, list[str]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console().print(table)


def _print_scores(scores: Scores) -> None:
    columns = ("labels", "found", "as conditional", "wrong", "precision", "recall", "F1")
    _table("certain labels", columns, {name: _cells(score) for name, score in scores.certain.items()})
    recalled = scores.conditional.get("all")
    if recalled is not None and recalled.recall is not None:
        click.echo(f"conditional labels: {recalled.found} of {recalled.rows} claimed as conditional or certain")
    click.echo(
        f"none labels: {scores.none_claimed} of {scores.none_rows} claimed, {scores.none_claimed_certain} as certain"
    )
    click.echo(f"conditional labels claimed certain: {scores.promoted} of {scores.conditional_rows}")


def _print_judged(judged: Judged) -> None:
    for title, shares in (
        ("judged fields", {"all": judged.total}),
        ("by field", judged.by_field),
        ("by family", judged.by_family),
        ("by venue", judged.by_venue),
    ):
        _table(title, ("right", "with silence", "confident"), {
            name: [_part(one.said_right, one.said), _part(one.all_right, one.all), _part(one.high_right, one.high)]
            for name, one in shares.items()
        })  # fmt: skip
    if judged.missing:
        click.echo(f"{judged.missing} of {judged.markets} judged markets are in none of the files")


def _part(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)" if whole else ""


def _cells(score: Score) -> list[str]:
    return [
        *(f"{number:,}" for number in (score.rows, score.found, score.claimed_less, score.wrong)),
        *(_share(share) for share in (score.precision, score.recall, score.f1)),
    ]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"

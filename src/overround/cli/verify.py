"""``overround verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from overround.cli.console import console, file_bar, many
from overround.cli.options import App, app_options, data_dir_option, date_option, json_option, parse_date, venue_option
from overround.errors import UsageError

if TYPE_CHECKING:
    from overround.pipelines.lake import VerifyReport
    from overround.pipelines.prove import Proof

__all__ = ["verify"]

COLUMNS = ("bucket", "row", "market", "outcome", "ts_recv", "column", "stored", "expected")
# Only ids are cut where the terminal is narrow; --json has them whole.
CUT = {"market": 36, "outcome": 12}


@click.command()
@venue_option(required=True)
@date_option()
@click.option(
    "--hours", "hours_text", default=None, metavar="H", help="UTC hours compared by --deep: all, 0-23, 7,9-11.  [all]"
)
@click.option("--market", default=None, metavar="ID", help="Compare only this market's rows (with --deep).")
@click.option("--deep", is_flag=True, help="Make every row again from the journal and compare every value.")
@click.option("--first", default=20, show_default=True, metavar="N", help="Differences shown in the table.")
@data_dir_option
@json_option
@app_options()
def verify(
    *,
    app: App,
    venue: str,
    date_text: str,
    hours_text: str | None,
    market: str | None,
    deep: bool,
    first: int,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Prove that what is stored is what was recorded.

    Without --deep: every file of the day (rows, ledger, journal) is readable, as its manifest says, sorted and
    consistent in itself. With --deep every row is made again from the journal, and every value compared: an altered
    one is found also where file, checksum and manifest were written anew.

    Exit code 1: something is wrong. 3: nothing is, but a stretch cannot be proved, for want of its journal.

    Example: overround verify --venue kalshi --date today --deep
    """
    import msgspec

    from overround.clock import SystemClock
    from overround.market import Venue
    from overround.pipelines.counted import counted
    from overround.pipelines.lake import verify_lake
    from overround.pipelines.mine import parse_hours
    from overround.pipelines.prove import prove_day, span_of
    from overround.storage import LakePaths

    app.start_logging(to_stdout=False)
    if not deep and (hours_text is not None or market is not None):
        raise UsageError("--hours and --market choose what --deep compares", hint="say --deep, or leave them away")
    settings = app.loaded.settings
    paths = LakePaths(data_dir or settings.data_dir)
    date = parse_date(date_text)
    span = span_of(date, parse_hours(hours_text or "all"))
    proof = None
    with counted(paths, "verify", venue, clock=SystemClock()) as run, file_bar() as bar:
        task = bar.add_task("files", total=None)
        # The replay reads the journal anyhow, and says more about it.
        checked = verify_lake(
            paths,
            venue=venue,
            date=date,
            top_k=settings.top_k,
            journal=not deep,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        if deep:
            replay = bar.add_task("journal files", total=None)
            proof = prove_day(
                paths,
                Venue(venue),
                span,
                market=market,
                on_progress=lambda done, total: bar.update(replay, completed=done, total=total),
            )
        if not checked.ok or (proof is not None and proof.exit_code == 1):
            run.failed = "what is stored is not what was recorded"
    if as_json:
        found = {"files": checked, "deep": proof}
        click.echo(msgspec.json.encode(found, enc_hook=str))
    else:
        _print_files(checked)
        if proof is not None:
            _print_proof(proof, first)
    if not checked.ok:
        return 1
    return proof.exit_code if proof is not None else 0


def _print_files(checked: VerifyReport) -> None:
    for problem in checked.problems:
        click.echo(f"{problem.path}: {problem.kind}: {problem.detail}", err=True)
    verdict = "nothing is wrong" if checked.ok else many(len(checked.problems), "problem")
    parts = [f"{many(checked.files, 'file')} with {many(checked.rows, 'row')}"]
    if checked.open_rows:
        parts.append(f"{many(checked.open_rows, 'row')} in open buckets")
    if checked.journal_files:
        parts.append(f"{many(checked.journal_files, 'journal file')} with {many(checked.journal_entries, 'line')}")
    click.echo(f"files: {verdict} in {', '.join(parts)}")


def _print_proof(proof: Proof, first: int) -> None:
    from rich.table import Table

    shown = sorted(proof.findings, key=lambda each: (each.file, each.row is None, each.row or 0))[:first]
    if shown:
        table = Table(box=None, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, no_wrap=name not in CUT, min_width=5, max_width=CUT.get(name), overflow="ellipsis")
        for each in shown:
            whole = each.kind in ("missing", "added")
            table.add_row(
                "ledger" if each.kind == "count" else each.file.rpartition("T")[2].removesuffix(".parquet"),
                "" if each.row is None else str(each.row),
                each.market_id,
                each.outcome_id,
                str(each.ts_recv),
                each.column,
                f"row {each.kind}" if whole else _text(each.stored),
                "" if whole else _text(each.expected),
            )
        console().print(table)
        if proof.n_findings > len(shown):
            click.echo(f"and {proof.n_findings - len(shown):,} more: --first shows more, --json 500 in full", err=True)
    for stretch in proof.unproved:
        click.echo(
            f"cannot be proved: {_clock(stretch.from_ms)} to {_clock(stretch.to_ms)}, {many(stretch.rows, 'row')}: {stretch.why}",
            err=True,
        )
    for note in proof.notes:
        click.echo(f"note: {note}", err=True)
    parts = [f"{proof.proved:,} of {proof.rows:,} rows are as the journal gives them"]
    if proof.n_findings:
        parts.append(many(proof.n_findings, "difference"))
    if proof.unproved_rows:
        parts.append(f"{many(proof.unproved_rows, 'row')} cannot be proved")
    if proof.lost_rows:
        parts.append(f"{many(proof.lost_rows, 'row')} lost with the process or the disk, as the journal says")
    if proof.minutes:
        parts.append(f"{many(proof.minutes, 'outcome minute')} of the ledger with the journal's counts")
    if proof.unproved_minutes:
        parts.append(f"{many(proof.unproved_minutes, 'outcome minute')} whose counts cannot be proved")
    if proof.waiting_rows:
        parts.append(f"{many(proof.waiting_rows, 'row')} still under way")
    click.echo(
        f"replay: {', '.join(parts)} ({many(proof.frames, 'frame')} of {many(proof.runs, 'run')} in {proof.seconds:.1f} s, "
        f"{proof.rows / max(proof.seconds, 1e-9):,.0f} rows/s)"
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return many(len(value), "level")
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)


def _clock(ts_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%H:%M:%S.%f")[:-3]

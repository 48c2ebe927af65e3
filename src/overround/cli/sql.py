"""``overround sql``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from overround.cli.console import console, many
from overround.cli.options import App, app_options, data_dir_option, json_option, readable_lake
from overround.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from overround.pipelines.sql import Answer

__all__ = ["sql"]

FORMATS = ("table", "csv", "json", "parquet")
_ROWS = 10_000


@click.command()
@click.argument("query", required=False)
@click.option("--file", "file", type=click.Path(dir_okay=False, path_type=Path), help="Read the query from a file.")
@click.option("--tables", "tables", is_flag=True, help="List the tables and their columns instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=None,
    help="Of what is printed or written.  [table; of --out its ending]",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a file: .csv, .json or .parquet.",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="N",
    help="Rows of a table that are printed; 0 for all.",
)
@click.option(
    "--memory", default="2GB", show_default=True, metavar="SIZE", help="What the engine may take; more goes to disk."
)
@click.option("--threads", type=click.IntRange(1), default=None, metavar="N", help="Threads.  [all cores]")
@click.option("--archive", is_flag=True, help="Ask the archive of the settings instead of the lake.")
@data_dir_option
@json_option
@app_options()
def sql(
    *,
    app: App,
    query: str | None,
    file: Path | None,
    tables: bool,
    form: str | None,
    out: Path | None,
    limit: int,
    memory: str,
    threads: int | None,
    archive: bool,
    data_dir: Path | None,
    as_json: bool,
) -> int:
    """Ask the lake in SQL.

    Every table is there under its name (--tables lists them), with venue, date and hour as columns; conditions on these
    choose files. Nothing but the lake can be read, and nothing written. "-" reads the query from standard input.
    Exit code 3 if a damaged file had to be left out.

    Example: overround sql "select venue, count(*) from snapshots where date = '2026-01-14' group by all"
    """
    from overround.pipelines.sql import ask

    app.start_logging(to_stdout=False, quiet=True)
    if tables:
        return _print_tables(as_json=as_json)
    text = _query(query, file)
    form = _form(form, out, as_json=as_json)
    if archive:
        if data_dir is not None or not app.loaded.settings.archive.url:
            raise UsageError(
                "--archive and --data-dir name two lakes" if data_dir is not None else "no archive is configured",
                hint='[archive] url = "s3://bucket/prefix" names it, or a folder; see docs/how-to/archive.md',
            )
        data_dir = Path(app.loaded.settings.archive.url)
    paths = readable_lake(app, data_dir)
    with _percent() as bar:
        task = bar.add_task("query", total=100)
        with ask(
            paths, text, memory=memory, threads=threads, on_progress=lambda done: bar.update(task, completed=done)
        ) as answer:
            bar.stop()
            n_rows = _give(answer, form, out, limit)
        if out is not None:
            click.echo(f"{many(n_rows, 'row')} in {out}", err=True)
        for each in answer.skipped:
            click.echo(f"left out: {each.path}: {each.reason}", err=True)
    return 3 if answer.skipped else 0


def _query(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise UsageError("a query is needed, and one only", hint='overround sql "select * from snapshots limit 5"')
    try:
        text = (
            file.read_text(encoding="utf-8") if file is not None else sys.stdin.read() if query == "-" else str(query)
        )
    except (OSError, ValueError) as exc:
        raise UsageError(f"--file {file} cannot be read: {exc}", hint="name a text file") from exc
    if not text.strip():
        raise UsageError("the query is empty", hint='overround sql "select * from snapshots limit 5"')
    return text


def _form(form: str | None, out: Path | None, *, as_json: bool) -> str:
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} contradict each other", hint="give one of them")
    found = "json" if as_json else form
    if found is None and out is not None:
        found = out.suffix.removeprefix(".").lower()
        if found not in FORMATS[1:]:
            raise UsageError(
                f"--out {out}: its ending says no format", hint="end it in .csv, .json or .parquet, or add --format"
            )
    if found == "parquet" and out is None:
        raise UsageError("Parquet is for files", hint="add --out FILE.parquet")
    if found == "table" and out is not None:
        raise UsageError("a table is for the screen", hint="write --format csv, json or parquet")
    return found or "table"


@contextmanager
def _percent() -> Iterator[Progress]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=screen, transient=True, disable=not screen.is_terminal,
    ) as bar:  # fmt: skip
        yield bar


def _give(answer: Answer, form: str, out: Path | None, limit: int) -> int:
    """Print or write the rows; returns how many there were."""
    if form == "table":
        return _print_rows(answer, limit)
    if out is None:
        return _write_text(answer, form, sys.stdout)
    from overround.storage.fileops import FileOps

    ops = FileOps()
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with ops.create(temporary) as file:
            if form == "parquet":
                n_rows = _write_parquet(answer, file)
            else:
                import io

                text = io.TextIOWrapper(file, encoding="utf-8", newline="")
                n_rows = _write_text(answer, form, text)
                text.flush()
                text.detach()
            file.flush()
            ops.sync(file.fileno())
        ops.publish(temporary, out)
    except OSError as exc:
        raise StorageError(f"{out} cannot be written: {exc.strerror or exc}") from exc
    finally:
        temporary.unlink(missing_ok=True)
    return n_rows


def _rows(answer: Answer) -> Iterator[tuple[Any, ...]]:
    while rows := answer.result.fetchmany(_ROWS):
        yield from rows


def _write_text(answer: Answer, form: str, file: Any) -> int:
    import csv

    import msgspec

    n_rows = 0
    writer = csv.writer(file, lineterminator="\n")
    if form == "csv":
        writer.writerow(answer.columns)
    for row in _rows(answer):
        if form == "csv":
            writer.writerow([_plain(value) for value in row])
        else:
            # One row a line, all of it one array; NaN becomes null.
            line = msgspec.json.encode(dict(zip(answer.columns, row, strict=True)), enc_hook=str).decode()
            file.write((",\n" if n_rows else "[\n") + line)
        n_rows += 1
    if form == "json":
        file.write("\n]\n" if n_rows else "[]\n")
    return n_rows


def _plain(value: Any) -> Any:
    """A value of a CSV field: parts of its own as JSON."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=str).decode() if isinstance(value, (list, dict, tuple)) else value


def _write_parquet(answer: Answer, file: Any) -> int:
    import pyarrow.parquet as pq

    n_rows = 0
    reader = answer.batches(_ROWS)
    with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
            n_rows += batch.num_rows
    return n_rows


def _print_rows(answer: Answer, limit: int) -> int:
    from rich.table import Table

    rows = answer.result.fetchmany(limit + 1) if limit else answer.result.fetchall()
    if answer.columns == ("explain_key", "explain_value"):
        for _, plan in rows:
            click.echo(plan)
        return len(rows)
    more = bool(limit) and len(rows) > limit
    table = Table(box=None, pad_edge=False)
    numbers = {n for n, value in enumerate(rows[0]) if isinstance(value, (int, float))} if rows else set()
    for n, name in enumerate(answer.columns):
        table.add_column(name, justify="right" if n in numbers else "left", overflow="fold")
    for row in rows[: limit or None]:
        table.add_row(*(_shown(value) for value in row))
    console().print(table, markup=False)
    if more:
        click.echo(f"the first {many(limit, 'row')}; --limit 0 prints all", err=True)
    return len(rows)


def _shown(value: Any) -> str:
    from rich.markup import escape

    if isinstance(value, list) and len(value) > 4:
        return escape(f"[{', '.join(map(_shown, value[:3]))}, … {len(value)}]")
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else escape(str(value))


def _print_tables(*, as_json: bool) -> int:
    import msgspec
    from rich.table import Table

    from overround.pipelines.sql import RUN_COLUMNS, sql_columns
    from overround.pipelines.tables import lake_tables

    found = {each.name: sql_columns(each) for each in lake_tables()} | {"pipeline_runs": RUN_COLUMNS}
    if as_json:
        click.echo(msgspec.json.encode(found))
        return 0
    rows = {each.name: each.row for each in lake_tables()} | {"pipeline_runs": "the runs of one job over one venue"}
    table = Table(box=None, pad_edge=False)
    for name in ("table", "a row is", "columns"):
        table.add_column(
            name, no_wrap=name == "table", ratio=None if name == "table" else 1 if name == "a row is" else 3
        )
    for name, columns in found.items():
        said = [f"{column} {kind}" for column, kind in columns.items()]
        shown = said if len(said) <= 45 else [*said[:30], f"… {len(said)} in all: DESCRIBE {name}"]
        table.add_row(name, rows[name], ", ".join(shown))
    console().print(table)
    return 0

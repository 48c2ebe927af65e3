"""SQL over the lake: a view for every table, which DuckDB reads through files that can be read and nothing else.

DuckDB's own access to files, to the network and to extensions is off, and no statement turns it on again. The lake's files
it sees under ``lake://``, in a file system that opens what was listed, for reading only. To refuse COPY would not do: the
dialect also writes from inside a SELECT (``WITH x AS (COPY … TO …)``).
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from overround.errors import UNREADABLE, ConfigError, NothingStored, StorageError, UsageError
from overround.pipelines.mine import SkippedFile
from overround.pipelines.tables import LakeTable, lake_tables
from overround.storage import LakePaths
from overround.storage.bucket import conformed
from overround.storage.manifest import read_manifests
from overround.storage.objects import open_ranges
from overround.storage.pipeline_runs import read_run_counts
from overround.storage.readers import Partition

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from fsspec import AbstractFileSystem

__all__ = ["RUN_COLUMNS", "Answer", "QueryRefused", "ask", "sql_columns"]

RUN_COLUMNS = {
    "job": "VARCHAR", "venue": "VARCHAR", "done": "BIGINT", "failed": "BIGINT", "done_ms": "BIGINT", "failed_ms": "BIGINT",
    "reason": "VARCHAR",
}  # fmt: skip
"""Of ``pipeline_runs``: how the jobs over the lake ended."""
_NAMED = re.compile(r"lake://[^\s'\"]+")
_DAY = re.compile(r"/venue=([^/]+)/date=([^/]+)/")
_POLL_S = 0.1
_LINE_BYTES = 64 << 20


class QueryRefused(UsageError):
    """DuckDB does not take a query, or cannot answer it."""

    exit_code = 1


@dataclass(kw_only=True)
class Answer:
    """What a query gave.

    Attributes
    ----------
    columns : tuple of str
    result : DuckDBPyConnection
        To fetch the rows from, once.
    skipped : tuple of SkippedFile
        Files that could not be read: their rows are missing.
    """

    columns: tuple[str, ...]
    result: DuckDBPyConnection
    skipped: tuple[SkippedFile, ...]

    def batches(self, rows: int = 10_000) -> pa.RecordBatchReader:
        """The rows as Arrow batches."""
        with warnings.catch_warnings():
            # A copy of the rows is made, that is so; run a second time, the query would find what was just left out.
            warnings.simplefilter("ignore", UserWarning)
            reader = self.result.to_arrow_reader(rows)
        assert reader is not None
        return reader

    def frame(self) -> pl.DataFrame:
        """The rows, all of them."""
        found = pl.from_arrow(self.batches().read_all())
        assert isinstance(found, pl.DataFrame)
        return found


def sql_columns(table: LakeTable) -> dict[str, str]:
    """A table's columns in SQL, those that its folders give included, and their types."""
    columns = {column.name: column.kind for column in table.columns} | {"venue": "VARCHAR"}
    if table.by_day:
        columns["date"] = "DATE"
    if table.by_hour:
        columns["hour"] = "TINYINT"
    return columns


@contextmanager
def ask(
    paths: LakePaths,
    text: str,
    *,
    memory: str = "2GB",
    threads: int | None = None,
    on_progress: Callable[[float], object] | None = None,
) -> Iterator[Answer]:
    """Run one statement over the lake, open buckets included.

    Parameters
    ----------
    paths : LakePaths
    text : str
        ``SELECT``, ``DESCRIBE``, ``SHOW``, ``SUMMARIZE``, ``PIVOT`` or ``EXPLAIN``.
    memory : str
        What DuckDB may take, for instance ``500MB``; what needs more goes to a temporary folder.
    threads : int, optional
        All cores when None.
    on_progress : callable, optional
        Called now and then with the percentage that is done.

    Raises
    ------
    ConfigError
        If the libraries are not installed.
    UsageError
        If the text is no such statement, or several, or ``memory`` is no size.
    QueryRefused
        If DuckDB says no; its words show the place.
    """
    try:
        import duckdb
        import fsspec  # noqa: F401 - the file system below is made of it
    except ImportError as exc:
        raise ConfigError(
            "`overround sql` needs libraries that are not installed", hint="pip install overround[lakesql]"
        ) from exc
    if not paths.root.is_dir():
        raise NothingStored(f"there is no lake at {paths.root}", hint="name its folder with --data-dir")
    spill = tempfile.mkdtemp(prefix="overround_sql_")
    settings: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": spill,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(":memory:", config=settings | ({"threads": threads} if threads else {}))
    except duckdb.Error as exc:
        shutil.rmtree(spill, ignore_errors=True)
        raise UsageError(f"memory {memory!r}: {_first_line(exc)}", hint="write it as 500MB or 2GB") from exc
    try:
        with connection:
            session = _Session(connection, paths, _one_statement(connection, text))
            session.lock()
            yield session.run(on_progress)
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _one_statement(connection: DuckDBPyConnection, text: str) -> str:
    import duckdb

    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as exc:
        raise QueryRefused(str(exc).strip()) from exc
    if len(statements) != 1:
        raise UsageError(f"these are {len(statements)} statements", hint='give one, for instance "SHOW TABLES"')
    allowed = duckdb.StatementType
    if statements[0].type not in (allowed.SELECT, allowed.EXPLAIN, allowed.MULTI):
        raise UsageError(
            f"{statements[0].type.name} does more than read",
            hint="the lake is read here: SELECT, DESCRIBE, SHOW, EXPLAIN",
        )
    return text


@dataclass
class _Session:
    """One connection and what it may read."""

    connection: DuckDBPyConnection
    paths: LakePaths
    text: str
    files: dict[str, Path] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    by_table: dict[str, list[str]] = field(default_factory=dict)
    opened: dict[str, pa.Table] = field(default_factory=dict)
    skipped: dict[str, SkippedFile] = field(default_factory=dict)

    def lock(self) -> None:
        """Show the tables that the query names with their files, all others empty; then close every other door."""
        said = self.text.lower()
        for table in lake_tables():
            # A name that only looks like the table's costs a listing, nothing else.
            taken = self._take_open_rows(table) if table.name in said else set()
            found = self.paths.files_of(table.place) if table.name in said else []
            here = {self._url(path): path for path in found if path not in taken}
            self.files |= here
            self.by_table[table.name] = [*here]
        self.connection.register_filesystem(_file_system(self.files, self.read))
        for table in lake_tables():
            self._show(table)
        self._show_runs()
        for setting in (
            "TimeZone = 'UTC'",
            f"allowed_paths = [{', '.join(map(_quoted, self.files))}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self.connection.execute(f"SET {setting}")

    def run(self, on_progress: Callable[[float], object] | None) -> Answer:
        """The query's answer, without the files that turn out to be damaged."""
        import duckdb

        while True:
            try:
                self._execute(on_progress)
            except duckdb.Error as exc:
                if not self._left_out(exc):
                    raise QueryRefused(self._words(exc)) from exc
            else:
                if self._held_against_manifests():
                    continue
                names = tuple(each[0] for each in self.connection.description or ())
                return Answer(columns=names, result=self.connection, skipped=tuple(self.skipped.values()))

    def _execute(self, on_progress: Callable[[float], object] | None) -> None:
        with ThreadPoolExecutor(1) as pool:
            done: Future[Any] = pool.submit(self.connection.execute, self.text)
            try:
                while not wait([done], timeout=_POLL_S).done:
                    if on_progress is not None:
                        on_progress(max(0.0, float(self.connection.query_progress())))
            except BaseException:
                self.connection.interrupt()
                raise
            done.result()

    def _left_out(self, exc: Exception) -> bool:
        """Take damaged files out of their views; False where none is to blame for an error."""
        blamed = [*dict.fromkeys(_NAMED.findall(str(exc)))] or [url for url in self.read if self._is_damaged(url, exc)]
        named = [url for url in blamed if url in self.files and url not in self.skipped]
        for url in named:
            self.skipped[url] = SkippedFile(path=str(self.files[url]), reason=_first_line(self._words(exc)))
        for table in lake_tables():
            if set(named) & set(self.by_table[table.name]):
                self._show(table)
        return bool(named)

    def _held_against_manifests(self) -> bool:
        """Name files that are gone, in hours that were read or are wholly gone; True where a foreign one was taken out."""
        foreign = False
        for table in lake_tables():
            if table.bucketed is None or not (read := self.read & set(self.by_table[table.name])):
                continue
            place, left = table.bucketed.place, {url.rpartition("/")[0] for url in self.by_table[table.name]}
            folders = {url.rpartition("/")[0] for url in read}
            for venue, date in sorted({(found[1], found[2]) for url in read if (found := _DAY.search(url))}):
                day = self.paths.day(place, venue, date)
                lines = read_manifests(self.paths.manifests(place, venue, date))
                here = f"{self._url(day)}/"
                for url in sorted(each for each in read if each.startswith(here) and each not in self.skipped):
                    if url.removeprefix(here) not in lines and (lacks := self._lacks(url, table)):
                        reason = f"it has no column {', '.join(lacks)}"
                        self.skipped[url] = SkippedFile(path=str(self.files[url]), reason=reason)
                        foreign = True
                for name in lines:
                    url = self._url(day / name)
                    folder = url.rpartition("/")[0]
                    if (
                        url not in self.files
                        and (folder in folders or folder not in left)
                        and not (day / name).is_file()
                    ):
                        self.skipped[url] = SkippedFile(path=str(day / name), reason="the file is missing")
            if foreign:
                self._show(table)
        return foreign

    def _lacks(self, url: str, table: LakeTable) -> list[str]:
        """Columns that a file of another program should have: its rows would be all null in them."""
        with open_ranges(self.files[url]) as file:
            held = set(pq.read_schema(file).names)
        return [column.name for column in table.columns if not column.nullable and column.name not in held]

    def _is_damaged(self, url: str, exc: Exception) -> bool:
        """Whether a file that the query read does not decode: of damage inside a page DuckDB does not say where."""
        import duckdb

        asked_wrongly = (
            duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException,
            duckdb.OutOfMemoryException, duckdb.DataError, duckdb.InterruptException,
        )  # fmt: skip
        if url in self.skipped or not url.endswith(".parquet") or isinstance(exc, asked_wrongly):
            return False
        try:
            with self.files[url].open("rb") as file:
                pq.read_table(file, use_threads=False)
        except (pa.ArrowException, OSError, *UNREADABLE):
            return True
        return False

    def _words(self, exc: Exception) -> str:
        """DuckDB's words, with our paths in them; of what was raised in Python the last line."""
        said = str(exc).strip()
        said = said.splitlines()[-1].partition(": ")[2] if "Traceback (most recent call last)" in said else said
        return _NAMED.sub(lambda found: str(self.files.get(found[0], found[0])), said)

    def _url(self, path: Path) -> str:
        return f"lake://{self.paths.name_of(path)}"

    # -- views ------------------------------------------------------------------------------------------

    def _take_open_rows(self, table: LakeTable) -> set[Path]:
        """Read the rows of buckets that are not finished; returns the files whose rows are among them."""
        taken: set[Path] = set()
        if table.bucketed is None:
            return taken
        spec, parts = table.bucketed, []
        for venue, date, hour in self.paths.open_buckets(spec.place):
            for piece in Partition(paths=self.paths, table=spec, venue=venue, date=date, hour=hour).pieces():
                if not piece.waiting:
                    continue
                taken.add(piece.path)
                try:
                    rows = conformed(piece.scan().collect().to_arrow(), spec)
                except (*UNREADABLE, OSError, pl.exceptions.PolarsError, StorageError) as exc:
                    self.skipped[str(piece.path)] = SkippedFile(path=str(piece.path), reason=_first_line(exc))
                    continue
                rows = spec.compact(rows) if spec.compact is not None else rows
                day = pa.array([dt.date.fromisoformat(date)] * rows.num_rows, pa.date32())
                rows = rows.append_column("date", day)
                if hour:
                    rows = rows.append_column("hour", pa.array([int(hour)] * rows.num_rows, pa.int8()))
                parts.append(rows)
        if parts:
            self.opened[table.name] = pa.concat_tables(parts)
            self.connection.register(f"open_{table.name}", self.opened[table.name])
        return taken

    def _show(self, table: LakeTable) -> None:
        """Make a table's view, over the files that are not left out."""
        columns = sql_columns(table)
        listed = [url for url in self.by_table[table.name] if url not in self.skipped]
        parts = [_select(table, columns, listed)] if listed else []
        if table.name in self.opened:
            parts.append(f"SELECT {', '.join(map(_name, columns))} FROM open_{table.name}")
        self._view(table.name, " UNION ALL ".join(parts), columns)

    def _show_runs(self) -> None:
        rows = [
            (job, venue, run.done, run.failed, run.done_ms, run.failed_ms, run.reason)
            for job, venues in read_run_counts(self.paths).items()
            for venue, run in venues.items()
        ]
        values = ", ".join(f"({', '.join(map(_quoted, row))})" for row in rows)
        self._view("pipeline_runs", f"SELECT * FROM (VALUES {values})" if rows else "", RUN_COLUMNS)

    def _view(self, name: str, body: str, columns: Mapping[str, str]) -> None:
        """A view with these columns; without a body it has no rows."""
        if not body:
            body = f"SELECT {', '.join('NULL' for _ in columns)} WHERE false"
        typed = ", ".join(f"CAST({_name(column)} AS {kind}) AS {_name(column)}" for column, kind in columns.items())
        inner = f"SELECT * FROM ({body}) AS t({', '.join(map(_name, columns))})"
        self.connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT {typed} FROM ({inner})")


_FOLDERS = {
    "venue": ("/venue=([^/]+)/", "VARCHAR"),
    "date": ("/date=([^/]+)/", "DATE"),
    "hour": ("/hour=([^/]+)/", "TINYINT"),
}
"""Read from names of files rather than from rows: a condition on them then chooses files before any is opened."""


def _select(table: LakeTable, columns: Mapping[str, str], urls: list[str]) -> str:
    """What reads a table's files, each column in its type whatever version wrote the file."""
    stored = {column.name: column.kind for column in table.columns}
    listed = f"[{', '.join(map(_quoted, urls))}]"
    if table.is_lines:
        kinds = ", ".join(f"{_name(name)}: {_quoted(kind)}" for name, kind in stored.items())
        source = (
            f"read_json({listed}, format = 'newline_delimited', columns = {{{kinds}}}, filename = true, "
            f"maximum_object_size = {_LINE_BYTES})"
        )
    else:
        kinds = ", ".join(
            f"{_quoted(name)}: {{name: {_quoted(name)}, type: {_quoted(kind)}, default_value: NULL}}"
            for name, kind in stored.items()
        )
        # Unlike union_by_name this opens no file to learn its columns.
        source = f"read_parquet({listed}, schema = MAP {{{kinds}}}, filename = true)"
    chosen = [
        f"CAST(regexp_extract(filename, {_quoted(_FOLDERS[name][0])}, 1) AS {kind})"
        if name in _FOLDERS
        else _name(name)
        for name, kind in columns.items()
    ]
    return f"SELECT {', '.join(chosen)} FROM {source}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _first_line(said: object) -> str:
    return str(said).strip().partition("\n")[0]


def _file_system(files: Mapping[str, Path], read: set[str]) -> AbstractFileSystem:
    """Some files under names of ours; nothing else is there, and nothing can be written. ``read`` tells what was opened."""
    from fsspec import AbstractFileSystem as Base

    class Listed(Base):  # type: ignore[misc]  # fsspec has no types
        protocol = "lake"
        cachable = False

        def _open(self, path: str, mode: str = "rb", **_: object) -> BinaryIO:
            if mode != "rb":
                raise PermissionError(f"{path} can only be read")
            url = f"lake://{self._strip_protocol(path)}"
            try:
                file = open_ranges(self._known(path))
            except (OSError, StorageError) as exc:
                # DuckDB shows what Python raised, line by line; the last line has to say which file it was.
                raise OSError(f"{url} cannot be read: {getattr(exc, 'strerror', None) or exc}") from None
            read.add(url)
            return file

        def info(self, path: str, **_: object) -> dict[str, Any]:
            return {"name": path, "size": self._known(path).stat().st_size, "type": "file"}

        def modified(self, path: str) -> dt.datetime:
            return dt.datetime.fromtimestamp(self._known(path).stat().st_mtime, tz=dt.UTC)

        def exists(self, path: str, **_: object) -> bool:
            return f"lake://{self._strip_protocol(path)}" in files

        def glob(self, path: str, **_: object) -> list[str]:
            return [path] if self.exists(path) else []

        def _known(self, path: str) -> Path:
            url = f"lake://{self._strip_protocol(path)}"
            if url not in files:
                raise FileNotFoundError(f"{url} is no file of the lake")
            return files[url]

    return Listed()

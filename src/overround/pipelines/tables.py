"""Every table of the lake with its columns, gathered from the code that writes them.

What reads the lake from outside (``overround sql``, the page on the schema) goes by this list and by nothing else.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from overround.market import Market
from overround.pipelines.detect import VIOLATION_COLUMNS
from overround.pipelines.mine import stats_columns
from overround.pipelines.read_rules import CONSTRAINT_COLUMNS, PROPOSITION_COLUMNS, RulesRow
from overround.pipelines.viability import VIABILITY_VERSION, viability_columns
from overround.rules.review import QueueItem, Ruling
from overround.storage import COVERAGE_TABLE, GAPS_TABLE, INCLUSION_TABLE, SNAPSHOT_TABLE, TRADE_TABLE, TableSpec
from overround.storage.paths import FILES, FilePlace, TablePlace
from overround.storage.quarantine import QuarantineEntry
from overround.storage.stats import STATS_SCHEMA, STATS_VERSION

__all__ = ["Column", "LakeTable", "lake_tables"]


class Column(NamedTuple):
    """A column as SQL sees it.

    Attributes
    ----------
    name : str
    kind : str
        DuckDB's word: ``BIGINT``, ``DOUBLE[]``, ``JSON``, ...
    nullable : bool
    """

    name: str
    kind: str
    nullable: bool


@dataclass(frozen=True, kw_only=True)
class LakeTable:
    """A table of the lake.

    Attributes
    ----------
    name : str
        Its name in SQL.
    row : str
        What a row is.
    place : TablePlace or FilePlace
    columns : tuple of Column
        As stored; folder names add ``date`` and ``hour``, and ``venue`` where rows do not tell it.
    version : int
    bucketed : TableSpec, optional
        Of tables written in buckets, which also have rows that are in no finished file yet.
    """

    name: str
    row: str
    place: TablePlace | FilePlace
    columns: tuple[Column, ...]
    version: int = 1
    bucketed: TableSpec | None = None

    @property
    def by_day(self) -> bool:
        """Whether folders give a ``date``."""
        return isinstance(self.place, TablePlace) or self.place.by_day

    @property
    def by_hour(self) -> bool:
        """Whether folders give an ``hour``."""
        return isinstance(self.place, TablePlace) and self.place.by_hour

    @property
    def is_lines(self) -> bool:
        """Whether files are JSON lines; else they are Parquet."""
        return isinstance(self.place, FilePlace) and self.place.name.endswith(".jsonl")


@functools.cache
def lake_tables() -> tuple[LakeTable, ...]:
    """Every table, in the order in which data takes its road."""
    return (
        _bucketed("snapshots", "one outcome's book at one instant", SNAPSHOT_TABLE),
        _bucketed("trades", "one print", TRADE_TABLE),
        _bucketed("coverage", "one minute of one outcome, or of the venue (empty `market_id`)", COVERAGE_TABLE),
        _bucketed("gaps", "one stretch in which the record of a market may differ from the venue", GAPS_TABLE),
        _bucketed("inclusion", "one market's stay in a set of the rotation", INCLUSION_TABLE),
        _lines("universe", "one market as listed", Market),
        _parquet(
            "stats", "what mining found about one outcome", stats_columns(), version=STATS_VERSION, first=STATS_SCHEMA
        ),
        _parquet(
            "mm_viability", "what quoting one market would have earned", viability_columns(), version=VIABILITY_VERSION
        ),
        _lines("rules", "the words of one market's rules", RulesRow),
        _parquet("propositions", "one market's rules as logic", PROPOSITION_COLUMNS),
        _parquet("constraints", "one relation between markets", CONSTRAINT_COLUMNS),
        _parquet("violations", "one stretch in which prices contradicted the logic", VIOLATION_COLUMNS),
        _lines("review_queue", "one reading that waits for an answer", QueueItem),
        _lines("review_decisions", "one answer", Ruling),
        _lines("quarantine", "one message set aside", QuarantineEntry),
    )


def _bucketed(name: str, row: str, spec: TableSpec) -> LakeTable:
    columns = tuple(Column(field.name, _of_arrow(field.type), field.nullable) for field in spec.schema)
    return LakeTable(name=name, row=row, place=spec.place, columns=columns, version=spec.version, bucketed=spec)


def _parquet(
    name: str, row: str, columns: Mapping[str, Any], *, version: int = 1, first: Iterable[pa.Field[Any]] = ()
) -> LakeTable:
    """A table of whole files; of ``first`` it is known which columns are never null."""
    empty = pl.DataFrame(schema=dict(columns)).to_arrow()
    never = {field.name for field in first if not field.nullable}
    kinds = tuple(Column(field.name, _of_arrow(field.type), field.name not in never) for field in empty.schema)
    return LakeTable(name=name, row=row, place=FILES[name], columns=kinds, version=version)


def _lines(name: str, row: str, struct: type[msgspec.Struct]) -> LakeTable:
    hints = typing.get_type_hints(struct)
    columns = tuple(
        Column(field.encode_name, *_of_python(hints[field.name])) for field in msgspec.structs.fields(struct)
    )
    return LakeTable(name=name, row=row, place=FILES[name], columns=columns)


_ARROW = {
    "int64": "BIGINT",
    "int32": "INTEGER",
    "uint32": "UINTEGER",
    "int8": "TINYINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "bool": "BOOLEAN",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
}


def _of_arrow(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{_of_arrow(kind.value_type)}[]"
    return _ARROW[str(kind)]


_PYTHON: dict[Any, str] = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bytes: "VARCHAR"}


def _of_python(hint: Any) -> tuple[str, bool]:
    """SQL's type of what a JSON line holds, and whether it may be null; whatever has parts of its own stays JSON."""
    hint = getattr(hint, "__supertype__", hint)
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        (kind, _), *more = [_of_python(each) for each in _some(arguments)]
        return ("JSON" if more else kind), len(_some(arguments)) < len(arguments)
    if origin in {tuple, list} and len(set(arguments) - {...}) == 1:
        kind, _ = _of_python(arguments[0])
        return ("JSON" if kind == "JSON" else f"{kind}[]"), False
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "VARCHAR", False
    return _PYTHON.get(hint, "JSON"), False


def _some(arguments: Iterable[Any]) -> list[Any]:
    return [each for each in arguments if each is not type(None)]

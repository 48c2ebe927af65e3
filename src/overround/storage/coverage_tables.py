"""The coverage ledger's three tables: minutes, gaps, and who was included when.

Rows are only ever added. What changes later is told by a further row of the same key (the end of a gap that
was open, the rest of a minute that a flush cut in two), and rows of one key are made one when their bucket
becomes Parquet; until then readers do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from overround.storage.bucket import sort_order
from overround.storage.columns import column, numbers, optional, texts
from overround.storage.paths import COVERAGE, GAPS, INCLUSION
from overround.storage.schema import TableSpec

__all__ = [
    "COVERAGE_TABLE",
    "GAPS_TABLE",
    "INCLUSION_TABLE",
    "MINUTE_MS",
    "STATE_COLUMNS",
    "GapRow",
    "InclusionRow",
    "MinuteRow",
    "gap_batch",
    "inclusion_batch",
    "minute_batch",
]

MINUTE_MS = 60_000
STATE_COLUMNS = ("verified_s", "unverified_s", "quiet_s", "gap_s", "not_subscribed_s", "venue_down_s")
"""Seconds of a minute in each state; they add up to the part of the minute that the collector ran."""

_COUNTS = ("updates", "snapshots", "repairs")


class MinuteRow(NamedTuple):
    """A part of one market's minute, or, with an empty ``market_id``, of the venue's.

    Attributes
    ----------
    minute_ms : int
        Start of the minute.
    market_id : str
    outcome_ids : tuple of str
        One stored row each, all alike: the second outcome's book is the first's mirror.
    verified_ms, unverified_ms, quiet_ms, gap_ms, not_subscribed_ms, venue_down_ms : int
        Milliseconds in each state. Of the venue: ``unverified_ms`` is the time with a connection.
    updates, snapshots, repairs : int
        Changes applied, rows stored per outcome, and gaps ended.
    live_mask : int
        Bit ``k`` is set when the book was held to be right during second ``k``, or a part of it.
    until_ms : int
        The last instant that the row accounts for.
    """

    minute_ms: int
    market_id: str
    outcome_ids: tuple[str, ...]
    verified_ms: int
    unverified_ms: int
    quiet_ms: int
    gap_ms: int
    not_subscribed_ms: int
    venue_down_ms: int
    updates: int
    snapshots: int
    repairs: int
    live_mask: int
    until_ms: int


class GapRow(NamedTuple):
    """One stretch in which the record of a market (of the whole venue: empty id) may differ from the venue.

    Attributes
    ----------
    start_ms : int
        The last instant known good.
    end_ms : int or None
        The first whole book again; None while it lasts.
    detected_ms : int
    market_id : str
    cause : str
        An ``ErrCode``, ``no_book``, ``suspect``, ``rows_lost`` or ``collector_down``.
    repair : str
        What ended it: a repair step, ``unsubscribed``, ``closed`` or ``stopped``.
    repair_steps : int
        Steps taken meanwhile.
    connection : str
        Name of the connection that carried the market.
    detail : str
        The feed's words.
    """

    start_ms: int
    end_ms: int | None
    detected_ms: int
    market_id: str
    cause: str
    repair: str = ""
    repair_steps: int = 0
    connection: str = ""
    detail: str = ""


class InclusionRow(NamedTuple):
    """One market's stay in a set of the rotation.

    Attributes
    ----------
    start_ms : int
    end_ms : int or None
        None while it lasts.
    market_id : str
    set : str
        ``hot``, ``warm`` or ``leaving``.
    score : float
        By which the scheduler ranked it when it entered.
    reason : str
        Why it left.
    """

    start_ms: int
    end_ms: int | None
    market_id: str
    set: str
    score: float
    reason: str = ""


def _required(name: str, kind: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False)


_MINUTE_SCHEMA = pa.schema(
    [
        _required("minute", pa.int64()),
        *(_required(name, pa.string()) for name in ("venue", "market_id", "outcome_id")),
        *(_required(name, pa.float64()) for name in STATE_COLUMNS),
        *(_required(name, pa.int64()) for name in (*_COUNTS, "live_mask", "until_ms")),
    ]
)
_GAP_SCHEMA = pa.schema(
    [
        _required("start_ms", pa.int64()),
        pa.field("end_ms", pa.int64()),
        _required("detected_ms", pa.int64()),
        *(_required(name, pa.string()) for name in ("venue", "market_id", "cause", "repair")),
        _required("repair_steps", pa.int64()),
        *(_required(name, pa.string()) for name in ("connection", "detail")),
    ]
)
_INCLUSION_SCHEMA = pa.schema(
    [
        _required("start_ms", pa.int64()),
        pa.field("end_ms", pa.int64()),
        *(_required(name, pa.string()) for name in ("venue", "market_id", "set")),
        _required("score", pa.float64()),
        _required("reason", pa.string()),
    ]
)


# -- rows in -----------------------------------------------------------------------------------------------


def minute_batch(rows: Sequence[MinuteRow], venue: str) -> pa.RecordBatch:
    """Rows as a batch, one per outcome."""
    figures = np.array([row[3:] for row in rows], np.int64).reshape(len(rows), -1)
    copies = np.fromiter((len(row.outcome_ids) for row in rows), np.int64, len(rows))
    at = np.repeat(np.arange(len(rows)), copies)
    figures = figures[at]
    minutes = np.fromiter((row.minute_ms for row in rows), np.int64, len(rows))[at]
    states = len(STATE_COLUMNS)
    return pa.RecordBatch.from_arrays(
        [
            column(minutes),
            texts([venue] * len(at)),
            texts([row.market_id for row in rows for _ in row.outcome_ids]),
            texts([outcome for row in rows for outcome in row.outcome_ids]),
            *(column(figures[:, n] / 1000) for n in range(states)),
            *(column(np.ascontiguousarray(figures[:, n])) for n in range(states, figures.shape[1])),
        ],
        schema=_MINUTE_SCHEMA,
    )


def gap_batch(rows: Sequence[GapRow], venue: str) -> pa.RecordBatch:
    """Rows as a batch."""
    return pa.RecordBatch.from_arrays(
        [
            optional([row.start_ms for row in rows]),
            optional([row.end_ms for row in rows]),
            optional([row.detected_ms for row in rows]),
            texts([venue] * len(rows)),
            texts([row.market_id for row in rows]),
            texts([row.cause for row in rows]),
            texts([row.repair for row in rows]),
            optional([row.repair_steps for row in rows]),
            texts([row.connection for row in rows]),
            texts([row.detail for row in rows]),
        ],
        schema=_GAP_SCHEMA,
    )


def inclusion_batch(rows: Sequence[InclusionRow], venue: str) -> pa.RecordBatch:
    """Rows as a batch."""
    return pa.RecordBatch.from_arrays(
        [
            optional([row.start_ms for row in rows]),
            optional([row.end_ms for row in rows]),
            texts([venue] * len(rows)),
            texts([row.market_id for row in rows]),
            texts([row.set for row in rows]),
            column(np.array([row.score for row in rows], np.float64)),
            texts([row.reason for row in rows]),
        ],
        schema=_INCLUSION_SCHEMA,
    )


# -- rows of one key become one ----------------------------------------------------------------------------


def _runs(rows: pa.Table, key: Sequence[str]) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The rows sorted by ``key``, and where each new key begins; rows of one key keep their order."""
    rows = rows.combine_chunks()
    rows = rows.take(column(sort_order(rows, key)))
    changes = np.zeros(rows.num_rows, np.bool_)
    changes[:1] = True
    for name in key:
        values = rows.column(name).combine_chunks()
        codes = numbers(values.dictionary_encode().indices if pa.types.is_string(values.type) else values)
        changes[1:] |= codes[1:] != codes[:-1]
    return rows, np.flatnonzero(changes)


def _one_minute(rows: pa.Table) -> pa.Table:
    """Parts of one outcome's minute added up."""
    if not rows.num_rows:
        return rows
    rows, starts = _runs(rows, COVERAGE_TABLE.sort_key)
    first = rows.take(column(starts))
    figures: dict[str, npt.NDArray[Any]] = {}
    for name in (*STATE_COLUMNS, *_COUNTS):
        figures[name] = np.add.reduceat(numbers(rows.column(name).combine_chunks()), starts)
    figures["live_mask"] = np.bitwise_or.reduceat(numbers(rows.column("live_mask").combine_chunks()), starts)
    figures["until_ms"] = np.maximum.reduceat(numbers(rows.column("until_ms").combine_chunks()), starts)
    # A clock that was set back lives through a minute twice; no minute has more than 60 seconds.
    excess = np.maximum(1.0, sum(figures[name] for name in STATE_COLUMNS) / 60)
    for name in STATE_COLUMNS:
        figures[name] = figures[name] / excess
    columns: list[Any] = [
        column(figures[field.name]) if field.name in figures else first.column(field.name) for field in rows.schema
    ]
    return pa.Table.from_arrays(columns, schema=rows.schema)


def _latest(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Of the rows of one key the one with the latest end; one without an end only where none has one."""
    if not rows.num_rows:
        return rows
    ends = rows.column("end_ms").combine_chunks()
    filled = column(numbers(ends.fill_null(-1)))
    named = rows.append_column("_end", filled)
    named, starts = _runs_by_end(named, key)
    last = np.append(starts[1:], named.num_rows) - 1
    return named.take(column(last)).drop_columns(["_end"])


def _runs_by_end(rows: pa.Table, key: Sequence[str]) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    rows = rows.combine_chunks()
    return _runs(rows.take(column(sort_order(rows, (*key, "_end")))), key)


def _one_gap(rows: pa.Table) -> pa.Table:
    return _latest(rows, GAPS_TABLE.sort_key)


def _one_stay(rows: pa.Table) -> pa.Table:
    return _latest(rows, INCLUSION_TABLE.sort_key)


COVERAGE_TABLE = TableSpec(
    place=COVERAGE,
    schema=_MINUTE_SCHEMA,
    version=1,
    time_column="minute",
    sort_key=("market_id", "outcome_id", "minute"),
    dictionary=("venue", "market_id", "outcome_id", *STATE_COLUMNS, *_COUNTS, "live_mask"),
    compact=_one_minute,
)
GAPS_TABLE = TableSpec(
    place=GAPS,
    schema=_GAP_SCHEMA,
    version=1,
    time_column="start_ms",
    sort_key=("market_id", "start_ms"),
    dictionary=("venue", "market_id", "cause", "repair", "connection", "detail"),
    compact=_one_gap,
)
INCLUSION_TABLE = TableSpec(
    place=INCLUSION,
    schema=_INCLUSION_SCHEMA,
    version=1,
    time_column="start_ms",
    sort_key=("market_id", "start_ms", "set"),
    dictionary=("venue", "market_id", "set", "reason"),
    compact=_one_stay,
)

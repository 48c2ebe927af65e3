"""Comparing stored rows with what the local exchange knows to have happened.

The exchange keeps every book state with its venue time. A stored row says, with ``source_ts``, which
moment's book it shows; it is right if its levels equal a state of exactly that venue millisecond, and if
along a market's rows these states never go back. Every row is compared, of both outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from overround.errors import VenueUnavailable
from overround.market import PX_ONE_E4, SZ_ONE_E6, Venue

__all__ = ["StoredRow", "TruthCheck", "check_rows", "stored_rows"]

Levels = tuple[tuple[int, int], ...]
CHUNK = 400


class StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison needs of one row; levels as integers, best first."""

    market_id: str
    second_outcome: bool
    ts_recv: int
    seq: int
    source_ts: int | None
    status: str
    bids: Levels
    asks: Levels


class TruthCheck(msgspec.Struct, kw_only=True):
    """The result.

    Attributes
    ----------
    books_checked, books_equal : int
        Rows compared, and rows that equal the truth.
    stale : int
        Of the rows compared, those marked ``stale`` (they repeat the last proved levels).
    first_differences : list of str
        Up to ten rows that differ, in words.
    """

    books_checked: int = 0
    books_equal: int = 0
    stale: int = 0
    first_differences: list[str] = msgspec.field(default_factory=list)


class _State(msgspec.Struct):
    number: int
    ts_ms: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]


_STATES = msgspec.json.Decoder(list[list[_State]])


def stored_rows(frames: Iterable[object], *, first_outcomes: dict[str, str]) -> Iterator[StoredRow]:
    """Rows of lazy frames, one partition at a time, in the order of market and time.

    Parameters
    ----------
    frames : iterable of polars.LazyFrame
    first_outcomes : dict of str to str
        First outcome id by market id.
    """
    import polars as pl

    columns = [
        "market_id",
        "outcome_id",
        "ts_recv",
        "seq",
        "source_ts",
        "status",
        "bid_px",
        "bid_sz",
        "ask_px",
        "ask_sz",
    ]
    for frame in frames:
        assert isinstance(frame, pl.LazyFrame)
        table = frame.select(columns).sort("market_id", "outcome_id", "ts_recv", "seq").collect()
        for market_id, outcome_id, ts_recv, seq, source_ts, status, bid_px, bid_sz, ask_px, ask_sz in table.iter_rows():
            yield StoredRow(
                market_id=market_id,
                second_outcome=first_outcomes.get(market_id) != outcome_id,
                ts_recv=ts_recv,
                seq=seq,
                source_ts=source_ts,
                status=status,
                bids=_levels(bid_px, bid_sz),
                asks=_levels(ask_px, ask_sz),
            )


def _levels(px: Sequence[float], sz: Sequence[float]) -> Levels:
    return tuple((round(p * PX_ONE_E4), round(s * SZ_ONE_E6)) for p, s in zip(px, sz, strict=True))


def check_rows(
    rows: Iterable[StoredRow],
    *,
    truth_url: str,
    venue: Venue,
    top_k: int,
    on_equal: Callable[[StoredRow, int], None] | None = None,
) -> TruthCheck:
    """Compare rows with the exchange's truth over HTTP.

    Parameters
    ----------
    rows : iterable of StoredRow
        In the order of market, outcome and time.
    truth_url : str
        The exchange's ``/truth`` address.
    venue : Venue
    top_k : int
        Levels stored per side.
    on_equal : callable, optional
        Called with each row that agrees and the number of the newest state that it equals.

    Raises
    ------
    VenueUnavailable
        If the exchange does not answer.
    """
    import httpx2

    result = TruthCheck()
    reached: dict[tuple[str, bool], int] = {}
    with httpx2.Client(base_url=truth_url, timeout=60) as client:
        for chunk in _chunks(rows):
            keys = sorted({(row.market_id, row.source_ts or row.ts_recv) for row in chunk})
            try:
                answer = client.post(f"{truth_url}/{venue}/states", content=msgspec.json.encode({"keys": keys}))
                answer.raise_for_status()
            except httpx2.HTTPError as exc:
                raise VenueUnavailable(f"the exchange at {truth_url} does not tell the truth: {exc}") from exc
            states = dict(zip(keys, _STATES.decode(answer.content), strict=True))
            for row in chunk:
                _compare(row, states[row.market_id, row.source_ts or row.ts_recv], reached, result, top_k, on_equal)
    return result


def _compare(
    row: StoredRow,
    states: Sequence[_State],
    reached: dict[tuple[str, bool], int],
    result: TruthCheck,
    top_k: int,
    on_equal: Callable[[StoredRow, int], None] | None,
) -> None:
    result.books_checked += 1
    result.stale += row.status == "stale"
    key = (row.market_id, row.second_outcome)
    least = reached.get(key, -1)
    equal = []
    for state in states:
        bids, asks = tuple(state.bids), tuple(state.asks)
        if row.second_outcome:
            bids, asks = _mirrored(asks), _mirrored(bids)
        if state.number >= least and bids[:top_k] == row.bids and asks[:top_k] == row.asks:
            equal.append(state.number)
    if equal:
        reached[key] = equal[0]
        result.books_equal += 1
        if on_equal is not None:
            on_equal(row, equal[-1])
        return
    if len(result.first_differences) < 10:
        result.first_differences.append(
            f"{row.market_id} at {row.ts_recv} (source_ts {row.source_ts}, seq {row.seq}, {row.status}): "
            f"{len(row.bids)} bids, {len(row.asks)} asks equal none of {len(states)} states of that millisecond"
        )


def _mirrored(levels: Levels) -> Levels:
    return tuple((PX_ONE_E4 - px, sz) for px, sz in levels)


def _chunks(rows: Iterable[StoredRow]) -> Iterator[list[StoredRow]]:
    chunk: list[StoredRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

"""Snapshot rows between the book and the disk.

``append`` is on the collector's hot path: it copies a book's integers into growing typed arrays and
does nothing else. Sorting, cutting to ``top_k``, deriving the second outcome's mirrored rows, prices as
floats and the Arrow columns happen once per flush, vectorised, in numpy, which lets other threads run.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from overround.market import PX_ONE_E4, SZ_ONE_E6, BookStatus, ErrCode, Integrity, MarketId, OutcomeId
from overround.storage.schema import ROW_SCHEMA

__all__ = ["Cut", "SnapshotBuffer", "rows_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FIELDS = 9  # key, ts_recv, seq, source_ts, stale, err, integrity, number of bids, number of asks
_NO_TIME = -(1 << 63)
_STATUS_WORDS = (BookStatus.OK, BookStatus.PARTIAL, BookStatus.EMPTY, BookStatus.STALE)
_ERR_WORDS: tuple[str | None, ...] = (None, *ErrCode)
_INTEGRITY_WORDS: tuple[str | None, ...] = (None, *Integrity)
_ERR_CODES = {word: code for code, word in enumerate(_ERR_WORDS)}
_INTEGRITY_CODES = {word: code for code, word in enumerate(_INTEGRITY_WORDS)}
# Above it int64 -> float64 rounds, and a division would round a second time.
_EXACT_LIMIT = 1 << 53


class Cut(NamedTuple):
    """What was appended up to one moment; ``rows_of`` turns it into rows.

    Attributes
    ----------
    heads : array of int64
        Nine numbers per appended book.
    px, sz : array of int32, array of int64
        Levels of all books: bids then asks of each, in no order.
    names : sequence of tuple
        Market id and outcome ids of each key (the buffer's own list, which only grows).
    """

    heads: array[int]
    px: array[int]
    sz: array[int]
    names: Sequence[tuple[MarketId, tuple[OutcomeId, ...]]]


class SnapshotBuffer:
    """Collects snapshots of books as integers.

    Parameters
    ----------
    outcomes : "both" or "first"
        Whether a book makes a row for each outcome, or only for the first.
    """

    def __init__(self, *, outcomes: Literal["both", "first"] = "both") -> None:
        self._width_limit = 2 if outcomes == "both" else 1
        self._keys: dict[MarketId, int] = {}
        self._names: list[tuple[MarketId, tuple[OutcomeId, ...]]] = []
        self._widths: list[int] = []
        self._heads: array[int] = array("q")
        self._px: array[int] = array("i")
        self._sz: array[int] = array("q")
        self.rows = 0

    def register(self, market_id: MarketId, outcome_ids: Sequence[OutcomeId]) -> int:
        """Key of a market for :meth:`append`; asking again gives the same key.

        Parameters
        ----------
        market_id : MarketId
        outcome_ids : sequence of OutcomeId
            The first is the one whose book is appended, the second its mirror.
        """
        key = self._keys.get(market_id)
        if key is None:
            key = self._keys[market_id] = len(self._names)
            outcomes = tuple(outcome_ids[: self._width_limit])
            self._names.append((market_id, outcomes))
            self._widths.append(len(outcomes))
        return key

    def append(
        self,
        key: int,
        ts_recv_ms: int,
        bids: dict[int, int],
        asks: dict[int, int],
        *,
        seq: int,
        source_ts: int | None,
        stale: bool,
        err: str | None,
        integrity: str | None,
    ) -> None:
        """Take one book as it stands; its dicts are read at once and not kept.

        Parameters
        ----------
        key : int
            From :meth:`register`.
        ts_recv_ms : int
            Time of the row, epoch UTC.
        bids, asks : dict of int to int
            ``px_e4`` to ``sz_e6`` of the first outcome, in any order.
        seq : int
            Applied changes of the book.
        source_ts : int or None
            Venue time of the last change, ms.
        stale : bool
            Whether the row's status is ``stale`` whatever the levels.
        err : str or None
            An ``ErrCode``.
        integrity : str or None
            An ``Integrity``.

        Raises
        ------
        KeyError
            If ``err`` or ``integrity`` is none of the documented words; nothing is appended then.
        """
        self._heads.fromlist(
            [
                key,
                ts_recv_ms,
                seq,
                _NO_TIME if source_ts is None else source_ts,
                1 if stale else 0,
                _ERR_CODES[err],
                _INTEGRITY_CODES[integrity],
                len(bids),
                len(asks),
            ]
        )
        # One list per array: fromlist checks each number once, where extend would go through an iterator.
        self._px.fromlist([*bids, *asks])
        self._sz.fromlist([*bids.values(), *asks.values()])
        self.rows += self._widths[key]

    def __len__(self) -> int:
        """Number of books appended since the last cut."""
        return len(self._heads) // _FIELDS

    def cut(self) -> Cut:
        """Take out everything appended so far."""
        heads, px, sz = self._heads, self._px, self._sz
        self._heads, self._px, self._sz = array("q"), array("i"), array("q")
        self.rows = 0
        return Cut(heads, px, sz, self._names)


def rows_of(cut: Cut, *, venue: str, top_k: int) -> pa.RecordBatch:
    """Snapshot rows of a cut: every book's first outcome, then the mirrored second outcomes.

    Parameters
    ----------
    cut : Cut
    venue : str
    top_k : int
        Levels kept per side, best first.

    Returns
    -------
    pyarrow.RecordBatch
        With ``ROW_SCHEMA``. Prices and sizes are the integers divided by their scale, correctly
        rounded, so they equal ``float`` of the venue's text.
    """
    heads = np.frombuffer(cut.heads, np.int64).reshape(-1, _FIELDS) if cut.heads else np.empty((0, _FIELDS), np.int64)
    keys, inverse = np.unique(heads[:, 0], return_inverse=True)
    names = [cut.names[key] for key in keys.tolist()]
    bids, asks = _ladders(cut, heads[:, 7], heads[:, 8], top_k)
    both = np.array([len(outcomes) > 1 for _, outcomes in names], np.bool_)[inverse]
    rows = np.concatenate([np.arange(len(heads)), np.flatnonzero(both)])
    n_first = len(heads)
    # The second outcome's bids are the first's asks seen from the other side, best first as well.
    all_bids = bids.joined(asks.only(both).mirrored())
    all_asks = asks.joined(bids.only(both).mirrored())
    best_bid_e4, best_ask_e4 = all_bids.best(), all_asks.best()
    has_bid, has_ask = all_bids.counts > 0, all_asks.counts > 0
    two_sided = has_bid & has_ask
    status = np.where(heads[rows, 4] > 0, 3, np.where(two_sided, 0, np.where(has_bid | has_ask, 1, 2)))
    source_ts = heads[rows, 3]
    market_codes = inverse[rows]
    outcomes = [ids[0] for _, ids in names] + [ids[-1] for _, ids in names]
    outcome_codes = market_codes.copy()
    outcome_codes[n_first:] += len(names)
    return pa.record_batch(
        [
            pa.array(heads[rows, 1]),
            pa.repeat(pa.scalar(venue, pa.string()), len(rows)),
            _words(market_codes, [market_id for market_id, _ in names]),
            _words(outcome_codes, outcomes),
            pa.array(heads[rows, 2]),
            pa.array(np.where(has_bid, best_bid_e4 / PX_ONE_E4, np.nan)),
            pa.array(all_bids.best_sizes()),
            pa.array(np.where(has_ask, best_ask_e4 / PX_ONE_E4, np.nan)),
            pa.array(all_asks.best_sizes()),
            pa.array(np.where(two_sided, (best_bid_e4 + best_ask_e4) / (2 * PX_ONE_E4), np.nan)),
            pa.array(np.where(two_sided, (best_ask_e4 - best_bid_e4) / PX_ONE_E4, np.nan)),
            all_bids.px_lists(),
            all_bids.sz_lists(),
            all_asks.px_lists(),
            all_asks.sz_lists(),
            _words(status, _STATUS_WORDS),
            _words(heads[rows, 5], _ERR_WORDS),
            pa.array(source_ts, mask=source_ts == _NO_TIME),
            _words(heads[rows, 6], _INTEGRITY_WORDS),
        ],
        schema=ROW_SCHEMA,
    )


class _Side(NamedTuple):
    """One side of many books: levels per book, and all books' levels one after the other, best first."""

    counts: Ints
    px_e4: npt.NDArray[np.int32]
    sz: Floats

    def mirrored(self) -> _Side:
        return self._replace(px_e4=PX_ONE_E4 - self.px_e4)

    def only(self, mask: npt.NDArray[np.bool_]) -> _Side:
        if mask.all():
            return self
        levels = np.repeat(mask, self.counts)
        return _Side(self.counts[mask], self.px_e4[levels], self.sz[levels])

    def joined(self, other: _Side) -> _Side:
        return _Side(
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.px_e4, other.px_e4]),
            np.concatenate([self.sz, other.sz]),
        )

    def best(self) -> Ints:
        """Best price of each book; meaningless where it has no level."""
        return self._first(self.px_e4).astype(np.int64)

    def best_sizes(self) -> Floats:
        """Size at the best price of each book; 0.0 where it has no level."""
        return np.where(self.counts > 0, self._first(self.sz), 0.0)

    def px_lists(self) -> pa.Array[Any]:
        return self._lists(self.px_e4 / PX_ONE_E4)

    def sz_lists(self) -> pa.Array[Any]:
        return self._lists(self.sz)

    def _first(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        starts = np.cumsum(self.counts) - self.counts
        # A book without levels at the very end starts past the last value.
        firsts: npt.NDArray[Any] = np.append(values, 0)[np.minimum(starts, len(values))]
        return firsts

    def _lists(self, values: Floats) -> pa.Array[Any]:
        offsets = np.zeros(len(self.counts) + 1, np.int32)
        np.cumsum(self.counts, out=offsets[1:])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.float64()))


def _ladders(cut: Cut, n_bids: Ints, n_asks: Ints, top_k: int) -> tuple[_Side, _Side]:
    """Sort every book's levels best first and keep the best ``top_k`` of each side."""
    counts = np.column_stack((n_bids, n_asks)).ravel()
    px = np.frombuffer(cut.px, np.int32) if cut.px else np.empty(0, np.int32)
    sz = np.frombuffer(cut.sz, np.int64) if cut.sz else np.empty(0, np.int64)
    ladder = np.repeat(np.arange(len(counts)), counts)
    # Even ladders are bids: the highest price first. Ladder and rank share one integer, so one sort does all.
    order = np.argsort((ladder << 14) | np.where(ladder & 1, px, (1 << 14) - 1 - px))
    px, sz = px[order], sz[order]
    if len(counts) and counts.max() > top_k:
        place = np.arange(len(px)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = place < top_k
        px, sz, ladder = px[kept], sz[kept], ladder[kept]
        counts = np.minimum(counts, top_k)
    sizes = _contracts(sz)
    ask = (ladder & 1).astype(np.bool_)
    return _Side(counts[0::2], px[~ask], sizes[~ask]), _Side(counts[1::2], px[ask], sizes[ask])


def _contracts(sz_e6: Ints) -> Floats:
    sizes = sz_e6 / float(SZ_ONE_E6)
    for at in np.flatnonzero(sz_e6 > _EXACT_LIMIT).tolist():
        sizes[at] = int(sz_e6[at]) / SZ_ONE_E6
    return sizes


def _words(codes: npt.NDArray[np.integer[Any]], words: Sequence[str | None]) -> pa.Array[Any]:
    """Texts by code."""
    return pa.array(words, pa.string()).take(pa.array(codes))

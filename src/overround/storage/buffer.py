"""Snapshot rows between the book and the disk.

``append`` is on the collector's hot path: it copies a book's integers into growing typed arrays and
does nothing else. Sorting, cutting to ``top_k``, deriving the second outcome's mirrored rows, prices as
floats and the Arrow columns happen once per flush, vectorised, in numpy, which lets other threads run.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from overround.errors import ValueOutOfScale
from overround.market import PX_ONE_E4, SZ_ONE_E6, BookStatus, ErrCode, Integrity, MarketId, OutcomeId
from overround.storage.columns import column, lists, texts
from overround.storage.schema import ROW_SCHEMA

__all__ = ["Cut", "SnapshotBuffer", "rows_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PX_BITS = 14  # holds 0 to 10,000
_PX_MASK = (1 << _PX_BITS) - 1
_FIELDS = 9  # key, ts_recv, seq, source_ts, stale, err, integrity, number of bids, number of asks
_NO_TIME = -(1 << 63)
_STATUS_WORDS = (BookStatus.OK, BookStatus.PARTIAL, BookStatus.EMPTY, BookStatus.STALE)
_ERR_WORDS: tuple[str | None, ...] = (None, *ErrCode)
_INTEGRITY_WORDS: tuple[str | None, ...] = (None, *Integrity)
_ERR_CODES = {word: code for code, word in enumerate(_ERR_WORDS)}
_INTEGRITY_CODES = {word: code for code, word in enumerate(_INTEGRITY_WORDS)}
# Above it int64 -> float64 rounds, and a division would round a second time.
_EXACT_LIMIT = 1 << 53
# Every price there is, divided once; and the same seen from the other outcome.
_PROBABILITY = np.arange(PX_ONE_E4 + 1) / PX_ONE_E4
_COMPLEMENT = _PROBABILITY[::-1].copy()


class Cut(NamedTuple):
    """What was appended up to one moment; ``rows_of`` turns it into rows.

    Attributes
    ----------
    heads : array of int64
        Nine numbers per appended book.
    bid_px, bid_sz, ask_px, ask_sz : array of int32 or int64
        Levels of all books, one book after the other, in no order inside a book.
    names : sequence of tuple
        Market id and outcome ids of each key (the buffer's own list, which only grows).
    """

    heads: array[int]
    bid_px: array[int]
    bid_sz: array[int]
    ask_px: array[int]
    ask_sz: array[int]
    names: Sequence[tuple[MarketId, tuple[OutcomeId, ...]]]

    def blocks(self, n_books: int) -> Iterator[Cut]:
        """The same books in blocks, so that no single step of making rows keeps the interpreter for long."""
        if len(self.heads) <= n_books * _FIELDS:
            yield self
            return
        bid = ask = 0
        for start in range(0, len(self.heads), n_books * _FIELDS):
            heads = self.heads[start : start + n_books * _FIELDS]
            next_bid, next_ask = bid + sum(heads[7::_FIELDS]), ask + sum(heads[8::_FIELDS])
            yield Cut(
                heads,
                self.bid_px[bid:next_bid],
                self.bid_sz[bid:next_bid],
                self.ask_px[ask:next_ask],
                self.ask_sz[ask:next_ask],
                self.names,
            )
            bid, ask = next_bid, next_ask


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
        self._verdicts = [0] * len(_INTEGRITY_WORDS)
        self._cut_fresh()
        self.rows = 0

    def _cut_fresh(self) -> None:
        self._heads: array[int] = array("q")
        self._bid_px: array[int] = array("i")
        self._bid_sz: array[int] = array("q")
        self._ask_px: array[int] = array("i")
        self._ask_sz: array[int] = array("q")

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
            If ``err`` or ``integrity`` is none of the documented words.
        ValueOutOfScale
            If a size or a time does not fit 64 bits (signed changes may add up to anything).

        In both cases nothing is appended.
        """
        before = (len(self._heads), len(self._bid_px), len(self._ask_px))
        try:
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
            # By way of lists: extending from the dict itself goes through an iterator and takes a third longer.
            self._bid_px.fromlist(list(bids))
            self._bid_sz.fromlist(list(bids.values()))
            self._ask_px.fromlist(list(asks))
            self._ask_sz.fromlist(list(asks.values()))
        except OverflowError as exc:
            self._take_back(*before)
            largest = max(abs(number) for number in (seq, source_ts or 0, *bids.values(), *asks.values()))
            raise ValueOutOfScale("row", largest, scale="64 bits") from exc
        width = self._widths[key]
        self.rows += width
        self._verdicts[_INTEGRITY_CODES[integrity]] += width

    def _take_back(self, n_heads: int, n_bids: int, n_asks: int) -> None:
        del self._heads[n_heads:]
        for bids in (self._bid_px, self._bid_sz):
            del bids[n_bids:]
        for asks in (self._ask_px, self._ask_sz):
            del asks[n_asks:]

    def verdicts(self) -> dict[str, int]:
        """Rows taken since the start, by their word in ``integrity``, zeros included."""
        return {word: n for word, n in zip(_INTEGRITY_WORDS, self._verdicts, strict=True) if word is not None}

    def __len__(self) -> int:
        """Number of books appended since the last cut."""
        return len(self._heads) // _FIELDS

    def cut(self) -> Cut:
        """Take out everything appended so far."""
        cut = Cut(self._heads, self._bid_px, self._bid_sz, self._ask_px, self._ask_sz, self._names)
        self._cut_fresh()
        self.rows = 0
        return cut


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
    bids = _best_first(cut.bid_px, cut.bid_sz, heads[:, 7], top_k, descending=True)
    asks = _best_first(cut.ask_px, cut.ask_sz, heads[:, 8], top_k, descending=False)
    mirrored = np.array([len(outcomes) > 1 for _, outcomes in names], np.bool_)[inverse]
    second = np.flatnonzero(mirrored)
    rows = np.concatenate([np.arange(len(heads)), second])
    # The second outcome's bids are the first's asks seen from the other side, best first as well.
    bid = _both(bids, asks.only(mirrored))
    ask = _both(asks, bids.only(mirrored))
    two_sided = (bid.counts > 0) & (ask.counts > 0)
    one_sided = (bid.counts > 0) | (ask.counts > 0)
    status = np.where(heads[rows, 4] > 0, 3, np.where(two_sided, 0, np.where(one_sided, 1, 2)))
    source_ts = heads[rows, 3]
    market_codes = inverse[rows]
    outcome_codes = market_codes.copy()
    outcome_codes[len(heads) :] += len(names)
    return pa.record_batch(
        [
            column(heads[rows, 1]),
            _words(np.zeros(len(rows), np.int64), [venue]),
            _words(market_codes, [market_id for market_id, _ in names]),
            _words(outcome_codes, [ids[0] for _, ids in names] + [ids[-1] for _, ids in names]),
            column(heads[rows, 2]),
            column(np.where(bid.counts > 0, bid.best_e4 / PX_ONE_E4, np.nan)),
            column(bid.best_sz),
            column(np.where(ask.counts > 0, ask.best_e4 / PX_ONE_E4, np.nan)),
            column(ask.best_sz),
            column(np.where(two_sided, (bid.best_e4 + ask.best_e4) / (2 * PX_ONE_E4), np.nan)),
            column(np.where(two_sided, (ask.best_e4 - bid.best_e4) / PX_ONE_E4, np.nan)),
            bid.px,
            bid.sz,
            ask.px,
            ask.sz,
            _words(status, _STATUS_WORDS),
            _words(heads[rows, 5], _ERR_WORDS),
            column(source_ts, present=source_ts != _NO_TIME),
            _words(heads[rows, 6], _INTEGRITY_WORDS),
        ],
        schema=ROW_SCHEMA,
    )


class _Side(NamedTuple):
    """One side of many books: levels per book, and all books' levels one after the other, best first."""

    counts: Ints
    px_e4: Ints
    sz: Floats

    def only(self, mask: npt.NDArray[np.bool_]) -> _Side:
        """The books that ``mask`` picks."""
        if mask.all():
            return self
        levels = np.repeat(mask, self.counts)
        return _Side(self.counts[mask], self.px_e4[levels], self.sz[levels])

    def best(self) -> tuple[Ints, Floats]:
        """Price and size at the top of each book: 0 and 0.0 where it has no level."""
        px_e4, sz = np.zeros(len(self.counts), np.int64), np.zeros(len(self.counts))
        there = self.counts > 0
        starts = (np.cumsum(self.counts) - self.counts)[there]
        px_e4[there], sz[there] = self.px_e4[starts], self.sz[starts]
        return px_e4, sz


class _Columns(NamedTuple):
    """The columns of one side; ``best_e4`` means nothing where ``counts`` is 0."""

    counts: Ints
    best_e4: Ints
    best_sz: Floats
    px: pa.Array[Any]
    sz: pa.Array[Any]


def _both(first: _Side, other: _Side) -> _Columns:
    """Rows of the first outcomes, then of the second ones, whose side is the ``other`` one mirrored."""
    counts = np.concatenate([first.counts, other.counts])
    n_first = len(first.px_e4)
    best_e4, best_sz = first.best()
    other_e4, other_sz = other.best()
    px = np.empty(n_first + len(other.px_e4))
    np.take(_PROBABILITY, first.px_e4, out=px[:n_first], mode="clip")
    np.take(_COMPLEMENT, other.px_e4, out=px[n_first:], mode="clip")
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return _Columns(
        counts,
        np.concatenate([best_e4, PX_ONE_E4 - other_e4]),
        np.concatenate([best_sz, other_sz]),
        lists(offsets, px),
        lists(offsets, np.concatenate([first.sz, other.sz])),
    )


def _best_first(px: array[int], sz: array[int], counts: Ints, top_k: int, *, descending: bool) -> _Side:
    """Sort every book's levels of one side and keep the best ``top_k``."""
    if not px:
        return _Side(counts, np.empty(0, np.int64), np.empty(0))
    place_bits = len(px).bit_length()
    # Book, rank and place share one integer: sorting plain integers takes half the time of sorting indices.
    packed = np.repeat(np.arange(len(counts)) << (_PX_BITS + place_bits), counts)
    rank = np.frombuffer(px, np.int32).astype(np.int64)
    if descending:
        np.subtract(_PX_MASK, rank, out=rank)
    rank <<= place_bits
    packed |= rank
    packed |= np.arange(len(px))
    packed.sort()
    order = packed & ((1 << place_bits) - 1)
    packed >>= place_bits
    packed &= _PX_MASK
    px_e4 = np.subtract(_PX_MASK, packed, out=packed) if descending else packed
    sz_e6 = np.frombuffer(sz, np.int64)[order]
    if counts.max() > top_k:
        kept = np.arange(len(px)) - np.repeat(np.cumsum(counts) - counts, counts) < top_k
        px_e4, sz_e6 = px_e4[kept], sz_e6[kept]
        counts = np.minimum(counts, top_k)
    return _Side(counts, px_e4, _contracts(sz_e6))


def _contracts(sz_e6: Ints) -> Floats:
    sizes = sz_e6 / float(SZ_ONE_E6)
    if sz_e6.max(initial=0) > _EXACT_LIMIT:
        for at in np.flatnonzero(sz_e6 > _EXACT_LIMIT).tolist():
            sizes[at] = int(sz_e6[at]) / SZ_ONE_E6
    return sizes


def _words(codes: npt.NDArray[np.integer[Any]], words: Sequence[str | None]) -> pa.Array[Any]:
    """Texts by code."""
    return texts(words).take(column(codes))

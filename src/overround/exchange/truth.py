"""What really happened: every state of every book, written down before anything is encoded.

A market's log is a chain of chunks. Each chunk opens with the whole book (prices and sizes in typed arrays) and
holds up to 256 changes as three typed columns, 18 bytes a change; any state is rebuilt from the nearest opening.
Whole chunks are forgotten once they are older than the time to keep.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["BookState", "MarketLog", "Print", "Truth"]

_CHUNK = 256


class BookState(NamedTuple):
    """One state of one market's book, seen from the first outcome.

    Attributes
    ----------
    number : int
        The book after its ``number``-th change; 0 is the first book.
    ts_ms : int
        Venue time of that change.
    bids, asks : dict of int to int
        ``px_e4`` to ``sz_e6``.
    """

    number: int
    ts_ms: int
    bids: dict[int, int]
    asks: dict[int, int]


class Print(NamedTuple):
    """One trade as it happened.

    Attributes
    ----------
    number : int
        Book state that the trade left behind.
    ts_ms : int
    px_e4, sz_e6 : int
        Price of the first outcome; contracts.
    taker_buys : bool
        Whether the taker bought the first outcome.
    """

    number: int
    ts_ms: int
    px_e4: int
    sz_e6: int
    taker_buys: bool


class _Chunk:
    """Up to 256 changes and the book before them; signed prices: bids positive, asks negative."""

    __slots__ = ("first", "open_px", "open_sz", "opened_ms", "px", "sz", "ts")

    def __init__(self, first: int, opened_ms: int, bids: Mapping[int, int], asks: Mapping[int, int]) -> None:
        self.first = first
        self.opened_ms = opened_ms
        self.open_px = array("h", bids)
        self.open_px.extend(-px for px in asks)
        self.open_sz = array("q", bids.values())
        self.open_sz.extend(asks.values())
        self.ts = array("q")
        self.px = array("h")
        self.sz = array("q")

    def states(self, first: int, last: int) -> Iterator[BookState]:
        """States ``first`` to ``last`` by number; both lie in this chunk."""
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for px, sz in zip(self.open_px, self.open_sz, strict=True):
            if px > 0:
                bids[px] = sz
            else:
                asks[-px] = sz
        number, ts = self.first, self.opened_ms
        if number >= first:
            yield BookState(number, ts, dict(bids), dict(asks))
        for ts, px, sz in zip(self.ts, self.px, self.sz, strict=True):
            if number == last:
                return
            number += 1
            ladder, at = (bids, px) if px > 0 else (asks, -px)
            if sz:
                ladder[at] = sz
            else:
                ladder.pop(at, None)
            if number >= first:
                yield BookState(number, ts, dict(bids), dict(asks))


class MarketLog:
    """The history of one market's book.

    Parameters
    ----------
    ts_ms : int
        Venue time of the first book.
    bids, asks : dict of int to int
        The live ladders: they are read again at each chunk's opening, so a change is applied before it is added.

    Attributes
    ----------
    number : int
        Number of the present state.
    ts_ms : int
        Venue time of the present state.
    n_prints : int
        Trades since the start.
    """

    __slots__ = ("_asks", "_bids", "_chunk", "_chunks", "_room", "n_prints", "number", "prints", "ts_ms")

    def __init__(self, ts_ms: int, bids: dict[int, int], asks: dict[int, int]) -> None:
        self._bids = bids
        self._asks = asks
        self.number = 0
        self.ts_ms = ts_ms
        self._chunk = _Chunk(0, ts_ms, bids, asks)
        self._chunks = [self._chunk]
        self._room = _CHUNK
        self.n_prints = 0
        self.prints: tuple[array[int], array[int], array[int], array[int]] = (
            array("q"), array("q"), array("h"), array("q"),
        )  # fmt: skip

    def add(self, ts_ms: int, signed_px: int, sz_e6: int) -> None:
        """One change, after it was applied; ``signed_px`` is negative for the ask side."""
        chunk = self._chunk
        chunk.ts.append(ts_ms)
        chunk.px.append(signed_px)
        chunk.sz.append(sz_e6)
        self._room -= 1
        self.number += 1
        self.ts_ms = ts_ms
        if not self._room:
            # The ladders hold exactly the chunk's last state now, and only now.
            self._open_chunk()

    def add_print(self, ts_ms: int, px_e4: int, sz_e6: int, *, taker_buys: bool) -> None:
        """One trade, after its changes."""
        numbers, times, prices, sizes = self.prints
        self.n_prints += 1
        numbers.append(self.number)
        times.append(ts_ms)
        prices.append(px_e4 if taker_buys else -px_e4)
        sizes.append(sz_e6)

    def _open_chunk(self) -> None:
        self._chunk = _Chunk(self.number, self.ts_ms, self._bids, self._asks)
        self._chunks.append(self._chunk)
        self._room = _CHUNK

    def forget(self, before_ms: int) -> None:
        """Drop chunks and prints that ended before an instant; the present state always stays."""
        keep = 0
        while keep + 1 < len(self._chunks) and self._chunks[keep + 1].opened_ms < before_ms:
            keep += 1
        if keep:
            del self._chunks[:keep]
        old = bisect_left(self.prints[1], before_ms)
        if old:
            for column in self.prints:
                del column[:old]

    @property
    def oldest_number(self) -> int:
        """Number of the oldest state that is kept."""
        return self._chunks[0].first

    def states_at(self, ts_ms: int) -> list[BookState]:
        """Every state stamped with the time of the last change up to ``ts_ms``; empty when forgotten or too early."""
        found: list[BookState] = []
        stamp: int | None = None
        for chunk in reversed(self._chunks):
            if chunk.opened_ms > ts_ms:
                continue
            end = bisect_right(chunk.ts, ts_ms)
            if stamp is None:
                stamp = chunk.ts[end - 1] if end else chunk.opened_ms
            if end and chunk.ts[end - 1] == stamp:
                begin = bisect_left(chunk.ts, stamp)
                found[:0] = chunk.states(chunk.first + begin + 1, chunk.first + end)
                if begin:
                    return found
            if chunk.opened_ms != stamp:
                return found
            if chunk is self._chunks[0]:
                found[:0] = chunk.states(chunk.first, chunk.first)
        return found

    def state(self, number: int) -> BookState | None:
        """The book after its ``number``-th change; None when it is forgotten or yet to come."""
        if number > self.number:
            return None
        at = bisect_right([chunk.first for chunk in self._chunks], number) - 1
        return next(self._chunks[at].states(number, number)) if at >= 0 else None

    def now(self) -> BookState:
        """The present book."""
        return BookState(self.number, self.ts_ms, dict(self._bids), dict(self._asks))

    def between(self, first: int, last: int) -> Iterator[BookState]:
        """States ``first`` to ``last`` by number, as far as they are kept."""
        for chunk in self._chunks:
            end = chunk.first + len(chunk.ts)
            begin = max(first, chunk.first + (chunk is not self._chunks[0]))
            if begin <= min(last, end):
                yield from chunk.states(begin, min(last, end))

    def trades(self) -> Iterator[Print]:
        """Prints that are kept, oldest first."""
        for number, ts_ms, px, sz in zip(*self.prints, strict=True):
            yield Print(number, ts_ms, abs(px), sz, px > 0)

    @property
    def oldest_ms(self) -> int:
        """Since when states are kept."""
        return self._chunks[0].opened_ms

    @property
    def nbytes(self) -> int:
        """Bytes of the typed columns."""
        columns = [c for k in self._chunks for c in (k.open_px, k.open_sz, k.ts, k.px, k.sz)]
        return sum(len(c) * c.itemsize for c in [*columns, *self.prints])


class Truth:
    """The logs of every market of one source.

    Parameters
    ----------
    keep_ms : int or None
        How long states are kept; None keeps all.
    unopened : callable, optional
        Gives the log of a market that exists but never moved, or None.

    Attributes
    ----------
    keep_ms : int or None
    """

    def __init__(
        self, keep_ms: int | None = None, *, unopened: Callable[[str], MarketLog | None] | None = None
    ) -> None:
        self.keep_ms = keep_ms
        self._unopened = unopened
        self._closed = [0, 0]
        self._logs: dict[str, MarketLog] = {}

    def open(self, key: str, ts_ms: int, bids: dict[int, int], asks: dict[int, int]) -> MarketLog:
        """Begin a market's log with its first book; the ladders are kept, not copied."""
        log = self._logs[key] = MarketLog(ts_ms, bids, asks)
        return log

    def close(self, key: str) -> None:
        """Drop a market's log; its counts stay."""
        log = self._logs.pop(key, None)
        if log is not None:
            self._closed[0] += log.number
            self._closed[1] += log.n_prints

    def __contains__(self, key: str) -> bool:
        return key in self._logs or (self._unopened is not None and self._unopened(key) is not None)

    def __getitem__(self, key: str) -> MarketLog:
        log = self._logs.get(key)
        if log is None and self._unopened is not None:
            log = self._unopened(key)
        if log is None:
            raise KeyError(key)
        return log

    @property
    def levels(self) -> int:
        """Level changes since the start, on all markets."""
        return self._closed[0] + sum(log.number for log in self._logs.values())

    @property
    def trades(self) -> int:
        """Prints since the start, on all markets."""
        return self._closed[1] + sum(log.n_prints for log in self._logs.values())

    def states_at(self, key: str, ts_ms: int) -> list[BookState]:
        """Every state of a market stamped with the time of its last change up to ``ts_ms``."""
        return self[key].states_at(ts_ms) if key in self else []

    def state(self, key: str, number: int) -> BookState | None:
        """A market's book after its ``number``-th change."""
        return self[key].state(number) if key in self else None

    def now(self, key: str) -> BookState:
        """A market's present book."""
        return self[key].now()

    def keys(self) -> list[str]:
        """Markets with a log."""
        return list(self._logs)

    def forget(self, now_ms: int) -> None:
        """Drop what is older than the time to keep."""
        if self.keep_ms is not None:
            for log in self._logs.values():
                log.forget(now_ms - self.keep_ms)

    @property
    def nbytes(self) -> int:
        """Bytes of all typed columns."""
        return sum(log.nbytes for log in self._logs.values())

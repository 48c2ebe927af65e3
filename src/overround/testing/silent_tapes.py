"""When markets changed, and how late it was heard: the input of a simulated day of silence watching.

A tape holds the level changes of some markets with the venue's times, from a recording or from the generated world.
The lag between the venue and the socket is the recorded one of Kalshi's gold windows (median 13 ms, one in a hundred
above two seconds, in minutes of several seconds now and then, ten at worst), begun at a drawn moment and repeated.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from overround.exchange import GeneratedSource, WorldSpec
from overround.exchange.model import ChangeKind, Source
from overround.exchange.recorded import RecordedSource
from overround.market import PX_ONE_E4, Venue

__all__ = ["LagCurve", "SilentTape", "generated_tape", "no_lag", "quotes_tape", "recorded_lags", "recorded_tape"]

Ints = NDArray[np.int64]
_STEP_MS = 60_000


class SilentTape(msgspec.Struct, frozen=True, kw_only=True):
    """Level changes of markets numbered from 0, by venue time.

    Attributes
    ----------
    name : str
    venue : Venue
    markets : tuple of str
    begin_ms, end_ms : int
    ts_ms, market, px, sz : ndarray of int64, shape (n_changes,)
        A price is negative for an ask; a size of 0 removes the level.
    first : list of (dict, dict)
        Bids and asks of each market at the beginning.
    closed_ms : mapping
        Market number to the venue time of its end, for those that end.
    """

    name: str
    venue: Venue
    markets: tuple[str, ...]
    begin_ms: int
    end_ms: int
    ts_ms: Ints
    market: Ints
    px: Ints
    sz: Ints
    first: list[tuple[dict[int, int], dict[int, int]]]
    closed_ms: Mapping[int, int] = {}

    @property
    def days(self) -> float:
        """How long it is."""
        return (self.end_ms - self.begin_ms) / 86_400_000

    def only(self, name: str, numbers: Sequence[int]) -> SilentTape:
        """The same time with some of the markets."""
        place = np.full(len(self.markets), -1)
        place[list(numbers)] = np.arange(len(numbers))
        kept = place[self.market] >= 0
        return msgspec.structs.replace(
            self,
            name=name,
            markets=tuple(self.markets[n] for n in numbers),
            ts_ms=self.ts_ms[kept],
            market=place[self.market[kept]],
            px=self.px[kept],
            sz=self.sz[kept],
            first=[self.first[n] for n in numbers],
            closed_ms={int(place[n]): at for n, at in self.closed_ms.items() if place[n] >= 0},
        )

    def speaking_share(self, at_ms: int, *, window_s: int = 600) -> float:
        """Share of the seconds before an instant in which there was a change."""
        low, high = np.searchsorted(self.ts_ms, [at_ms - window_s * 1000, at_ms])
        return len(np.unique(self.ts_ms[low:high] // 1000)) / window_s


def _tape(
    name: str,
    venue: Venue,
    markets: Sequence[str],
    rows: Sequence[tuple[int, int, int, int]],
    first: list[tuple[dict[int, int], dict[int, int]]],
    closed_ms: Mapping[int, int],
    span: tuple[int, int] | None = None,
) -> SilentTape:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4)
    # Within a market times never fall; between markets the stream is a little out of order.
    columns = columns[np.argsort(columns[:, 0], kind="stable")]
    begin_ms, end_ms = span or (int(columns[0, 0]), int(columns[-1, 0]))
    ts_ms, market, px, sz = (np.ascontiguousarray(columns[:, n]) for n in range(4))
    return SilentTape(
        name=name, venue=venue, markets=tuple(markets), begin_ms=begin_ms, end_ms=end_ms, ts_ms=ts_ms, market=market,
        px=px, sz=sz, first=first, closed_ms=closed_ms,
    )  # fmt: skip


def _drain(
    source: Source, number: Mapping[str, int], to_ms: int, rows: list[tuple[int, int, int, int]], closed: dict[int, int]
) -> None:
    for change in source.advance(to_ms):
        at = number.get(change.key)
        if at is None:
            continue
        if change.kind is ChangeKind.LEVEL:
            rows.append((change.ts_ms, at, change.px_e4 if change.bid else -change.px_e4, change.sz_e6))
        elif change.kind is ChangeKind.STATUS and change.status != "active":
            closed[at] = change.ts_ms


def recorded_tape(name: str, paths: Sequence[Path], venue: Venue) -> SilentTape:
    """A recording of raw frames."""
    source = RecordedSource.open(paths, venue)
    keys = sorted(source.listings)
    number = {key: n for n, key in enumerate(keys)}
    first = [tuple(map(dict, source.levels(key))) for key in keys]
    rows: list[tuple[int, int, int, int]] = []
    closed: dict[int, int] = {}
    while (due_ms := source.next_ms()) is not None:
        _drain(source, number, due_ms + _STEP_MS, rows, closed)
    return _tape(name, venue, keys, rows, first, closed)  # type: ignore[arg-type]


def quotes_tape(name: str, paths: Sequence[Path]) -> SilentTape:
    """Kalshi's best bids of both outcomes, as a recorder wrote them down at every change (CSV)."""
    rows: list[tuple[int, int, int, int]] = []
    number: dict[str, int] = {}
    shown: dict[int, list[int]] = {}
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                at = number.setdefault(row["market_ticker"], len(number))
                ts_ms = int(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp() * 1000)
                quote = [int(row["best_yes_bid"]) * 100, int(row["best_no_bid"]) * 100 - PX_ONE_E4]
                before = shown.setdefault(at, [0, -PX_ONE_E4])
                for side, none in ((0, 0), (1, -PX_ONE_E4)):
                    if quote[side] != before[side]:
                        if before[side] != none:
                            rows.append((ts_ms, at, before[side], 0))
                        if quote[side] != none:
                            rows.append((ts_ms, at, quote[side], 1_000_000))
                shown[at] = quote
    return _tape(name, Venue.KALSHI, list(number), rows, [({}, {}) for _ in number], {})


def generated_tape(
    name: str, venue: Venue, *, ranks: range, hours: float, seed: int, n_markets: int = 1_000, rate_scale: float = 1.0
) -> SilentTape:
    """Markets of the generated world by their rank in activity, the busiest being 0."""
    spec = WorldSpec(
        polymarket_markets=n_markets, kalshi_markets=n_markets, seed=seed, windows=False, planted=0, keep_truth_s=10.0,
        rate_scale=rate_scale,
    )  # fmt: skip
    source = GeneratedSource(spec)
    begin_ms = spec.now_ms + 1
    end_ms = begin_ms + int(hours * 3_600_000)
    listings = source.listings
    open_all_day = [key for key in source.markets(venue) if listings[key].close_ms > end_ms]
    keys = [open_all_day[rank] for rank in ranks]
    source.watch(keys)
    number = {key: n for n, key in enumerate(keys)}
    first = [tuple(map(dict, source.levels(key))) for key in keys]
    rows: list[tuple[int, int, int, int]] = []
    closed: dict[int, int] = {}
    for to_ms in range(begin_ms + _STEP_MS, end_ms + _STEP_MS, _STEP_MS):
        _drain(source, number, min(to_ms, end_ms), rows, closed)
    return _tape(name, venue, keys, rows, first, closed, (begin_ms, end_ms))  # type: ignore[arg-type]


class LagCurve(msgspec.Struct, frozen=True, kw_only=True):
    """How late frames came, against the time since the curve's beginning.

    Attributes
    ----------
    at_ms, lag_ms : ndarray of int64, shape (n_frames,)
    """

    at_ms: Ints
    lag_ms: Ints

    def received(self, ts_ms: Ints, *, shift_ms: int) -> Ints:
        """When changes of those venue times are heard, in order; the curve begins at a moment of its own and repeats."""
        at = np.searchsorted(self.at_ms, (ts_ms + shift_ms) % (int(self.at_ms[-1]) + 1))
        return np.maximum.accumulate(ts_ms + self.lag_ms[np.minimum(at, len(self.lag_ms) - 1)])


def recorded_lags(paths: Sequence[Path]) -> LagCurve:
    """Receive time minus venue time of recorded Kalshi frames; the smallest counts as none, since clocks differ."""
    stamps: list[tuple[int, int]] = []
    for path in paths:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                entry: dict[str, Any] = msgspec.json.decode(line) if line.strip() else {}
                ts_ms = entry.get("event", {}).get("msg", {}).get("ts_ms")
                if ts_ms is not None:
                    stamps.append((entry["recv_ms"], entry["recv_ms"] - ts_ms))
    columns = np.array(sorted(stamps), dtype=np.int64)
    recv_ms, lag_ms = columns[:, 0], columns[:, 1] - columns[:, 1].min()
    at_ms = recv_ms - lag_ms - recv_ms[0]
    order = np.argsort(at_ms, kind="stable")
    return LagCurve(at_ms=at_ms[order] - at_ms.min(), lag_ms=lag_ms[order])


def no_lag(lag_ms: int = 20) -> LagCurve:
    """The same small lag always."""
    return LagCurve(at_ms=np.array([0, 1], dtype=np.int64), lag_ms=np.array([lag_ms, lag_ms], dtype=np.int64))

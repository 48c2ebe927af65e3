"""Where in a queue cancels fall, fitted to a day's journal: Kalshi's changes are single orders', and its prints say which were executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from overround.book import Side
from overround.errors import UNREADABLE, WireError
from overround.fills import Episode, LevelFates, fit_cancels_ahead
from overround.market import PX_ONE_E4, px_e4, sz_e6
from overround.replay.journal import journal_frames
from overround.replay.lines import Damage
from overround.storage import LakePaths
from overround.venue.kalshi.parse import ms_of, stamp_of
from overround.venue.kalshi.prints import Print, print_of
from overround.venue.kalshi.wire import DeltaMsg, Envelope, SnapshotMsg, TradeMsg

__all__ = ["QueueFit", "fit_queue", "kalshi_fates"]

_MOST_FRAMES = 200_000
_MOST_ORDERS = 2_000
_FEWEST_FILLED = 50
_AHEAD = 20_000
"""Frames within which a print follows its change."""
_envelope = msgspec.json.Decoder(Envelope).decode
_delta = msgspec.json.Decoder(DeltaMsg).decode
_trade = msgspec.json.Decoder(TradeMsg).decode
_snapshot = msgspec.json.Decoder(SnapshotMsg).decode

_Level = tuple[str, str, int]
_Message = DeltaMsg | TradeMsg | SnapshotMsg


class QueueFit(msgspec.Struct, frozen=True, kw_only=True):
    """How much more than evenly cancels fall on what stands ahead.

    Attributes
    ----------
    cancels_ahead : float
    n_orders : int
        Whose fate was known; 0 where nothing was fitted.
    source : str
        In words.
    """

    cancels_ahead: float
    n_orders: int = 0
    source: str


def fit_queue(
    paths: LakePaths, venue: str, date: str, *, hours: Sequence[int], default: float, every_ms: int = 10_000
) -> QueueFit:
    """Fit the queue model to what the day's journal tells, a part of each hour.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    hours : sequence of int
    default : float
        Where nothing can be fitted.
    every_ms : int
        How often the queue model looks at a level.
    """
    if venue != "kalshi":
        return QueueFit(cancels_ahead=default, source="default: this venue tells no orders apart")
    files = {hour: paths.journal_files(venue, date, f"{hour:02d}") for hour in hours}
    files = {hour: found for hour, found in files.items() if found}
    if not files:
        return QueueFit(cancels_ahead=default, source="default: no journal of these hours")
    damages: list[Damage] = []
    episodes: list[Episode] = []
    for found in files.values():
        wires = (one.frame for path in found for one in journal_frames(path, damages) if one.frame and not one.sent)
        episodes += kalshi_fates(islice(wires, _MOST_FRAMES // len(files)), every_ms=every_ms)
    filled = sum(bool(episode.filled_e6) for episode in episodes)
    if filled < _FEWEST_FILLED:
        told = f"default: {filled} orders filled of {len(episodes)} known in the journal are too few"
        return QueueFit(cancels_ahead=default, source=told)
    # Evenly through the day.
    known = episodes[:: max(1, len(episodes) // _MOST_ORDERS)]
    factor = fit_cancels_ahead(known, otherwise=default, within=0.01)
    return QueueFit(cancels_ahead=factor, n_orders=len(known), source=f"fitted to {len(known):,} orders of the journal")


def kalshi_fates(wires: Iterable[bytes], *, every_ms: int) -> list[Episode]:
    """Orders that joined the best price, and what became of them.

    Parameters
    ----------
    wires : iterable of bytes
        Frames as they came.
    every_ms : int
    """
    messages = _messages(wires)
    books: dict[tuple[str, str], dict[int, LevelFates]] = {}
    episodes: list[Episode] = []
    while chunk := list(islice(messages, _AHEAD)):
        printed: dict[_Level, list[Print]] = {}
        for message in chunk:
            told = print_of(message) if isinstance(message, TradeMsg) else None
            if told is not None:
                side, px = told.level
                level = ("yes", px) if side is Side.BID else ("no", PX_ONE_E4 - px)
                printed.setdefault((message.market_ticker, *level), []).append(told)
        for message in chunk:
            if isinstance(message, SnapshotMsg):
                for name, levels in (("yes", message.yes_dollars_fp), ("no", message.no_dollars_fp)):
                    books[message.market_ticker, name] = {
                        px_e4(px): LevelFates(sz_e6(sz), every_ms=every_ms) for px, sz in levels or ()
                    }
            elif isinstance(message, DeltaMsg):
                book, ts_ms = books.get((message.market_ticker, message.side)), ms_of(stamp_of(message))
                if book is not None and ts_ms is not None:
                    _apply(book, message, ts_ms, printed, episodes, every_ms)
    return episodes


def _apply(
    book: dict[int, LevelFates],
    message: DeltaMsg,
    ts_ms: int,
    printed: Mapping[_Level, Sequence[Print]],
    episodes: list[Episode],
    every_ms: int,
) -> None:
    """One change, in the prices of its own side, of which the highest is the best."""
    px, delta = px_e4(message.price_dollars), sz_e6(message.delta_fp, signed=True)
    best = max(book, default=0)
    executed = delta < 0 and any(
        _explains(one, ts_ms, -delta) for one in printed.get((message.market_ticker, message.side, px), ())
    )
    level = book.setdefault(px, LevelFates(0, every_ms=every_ms))
    level.change(ts_ms, delta, executed=executed, best=px >= best)
    left = book.get(best, level)
    if px > best:
        left.leave()
    for one in (level, left):
        episodes += one.episodes
        one.episodes.clear()
    if not level.total_e6:
        del book[px]


def _explains(one: Print, ts_ms: int, gone_e6: int) -> bool:
    if not one.first_ms <= ts_ms <= one.last_ms or one.left_e6 < gone_e6:
        return False
    one.left_e6 -= gone_e6
    return True


def _messages(wires: Iterable[bytes]) -> Iterator[_Message]:
    for wire in wires:
        try:
            envelope = _envelope(wire)
            if envelope.type == "orderbook_delta":
                yield _delta(envelope.msg)
            elif envelope.type == "trade":
                yield _trade(envelope.msg)
            elif envelope.type == "orderbook_snapshot":
                yield _snapshot(envelope.msg)
        except (*UNREADABLE, WireError):
            continue  # recorded as it came; whoever rebuilds the books says so

"""Was anything lost, and does the ledger say so? Two records of one run, compared.

The exchange wrote down each change as it happened and each frame that reached the wire whole
(:mod:`overround.exchange.deliveries`); the collector wrote down gaps. From the first follows which changes no
connection delivered, and until when a reader's book had to be wrong. A correct ledger covers every such stretch, and
covers nothing that cannot be explained by one.

Rules of reading, per market, in the order of the log:

- a change counts only on a connection that was sent the market's whole book before;
- a change that arrives later than its successor, or after a delay, is *late*, not lost;
- a change is missed when its turn is over: where the whole stream is late, frames that were made before it still arrive
  after it happened, and until the last of them nothing is missing, the reader's book is only as late as the stream. Its
  turn ends with the first frame made after it (of the subscription where frames are numbered, else of the market);
- a lost change makes the book wrong until a whole book of that state or a later one is sent (or given by REST), or,
  where levels are absolute (Polymarket), until a later change of the same level arrives;
- between the end of a connection and the next whole book every change is lost;
- on Polymarket, which numbers nothing, a lost change leaves no trace if the very next frame of the market overwrites
  it (the same level again, or a whole book): no reader of the stream can know of it. Such losses are counted apart;
- a forged change makes the book wrong until the next whole book;
- what the client unsubscribed concerns it no more, unless it subscribes again soon: then that was a repair;
- a market that is over owes nobody a book: a stretch ends there at the latest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from overround.exchange.deliveries import Delivery, Told

__all__ = ["SAME_CLOCK_MS", "Deliveries", "Stretch", "covered_ms", "merged", "outside"]

LATE_MS = 250
"""A change that reaches the wire later than this after it happened is late."""
REPAIR_BY_UNSUBSCRIBING_MS = 10_000
IN_FLIGHT_MS = 100
SAME_CLOCK_MS = 5
"""Both sides read one clock, in milliseconds, at either end of a loopback socket."""

Span = tuple[int, int]


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A time during which a reader of one market could not know the book.

    Attributes
    ----------
    key : str
        Market.
    start_ms, end_ms : int, int or None
        From the first change that did not arrive to the whole book after it; None when none came.
    changes : int
        Changes that did not arrive, or arrived late.
    late : bool
        All of them arrived after all.
    traceless : bool
        No reader can know.
    """

    key: str
    start_ms: int
    end_ms: int | None
    changes: int
    late: bool = False
    traceless: bool = False


class _Lost(NamedTuple):
    at_ms: int
    level: int
    n_sent: int
    passed: bool = False
    """A frame made after it has come."""


class _Market:
    """What one market's reader can know."""

    __slots__ = ("heard_ms", "held", "known", "let_go_ms", "limbo", "missing", "sent", "torn")

    def __init__(self) -> None:
        self.heard_ms = 0
        self.held = False
        self.torn = False
        self.missing: dict[int, _Lost] = {}
        self.limbo: dict[int, _Lost] = {}
        self.let_go_ms: int | None = None
        self.known: list[tuple[int, int]] = []
        self.sent: list[tuple[int, str, bool]] = []


class Deliveries:
    """One venue's log, read.

    Parameters
    ----------
    lines : sequence of Delivery
        In order; those after ``end_ms`` are left out.
    end_ms : int
        When the collector was asked to stop.
    absolute : bool
        Whether a change tells a level's new size (Polymarket), not the difference (Kalshi).
    over : mapping of str to int, optional
        Since when a market shows no book any more; changes after that are nobody's.
    received : mapping of int to sequence of int, optional
        When the collector received frames, by their checksum, in order. A gap begins with the receipt of the last good frame, which
        is some milliseconds after it was sent: what happened in between is lost from that receipt on.

    Attributes
    ----------
    losses, delays : list of Stretch
    shown_by_rest_ms : int
        When REST last showed what a reader of the stream had missed; 0 for never.
    link_ends : list of tuple
        For each connection that ended: its name, when, its last delivery, and the markets it carried.
    """

    def __init__(
        self,
        lines: Sequence[Delivery],
        *,
        end_ms: int,
        absolute: bool,
        over: Mapping[str, int] | None = None,
        received: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.end_ms = end_ms
        self.losses: list[Stretch] = []
        self.delays: list[Stretch] = []
        self.link_ends: list[tuple[str, int, int, tuple[str, ...]]] = []
        self.shown_by_rest_ms = 0
        self._absolute = absolute
        self._over = over or {}
        self._received = received or {}
        self._heard_ms: dict[str, int] = {}
        self._markets: dict[str, _Market] = {}
        self._carried: dict[str, dict[str, None]] = {}
        self._last_on: dict[str, int] = {}
        self._n_happened = 0
        # Changes whose turn is not over, in the order of their happening, by the stream that is to bring them.
        self._due: dict[tuple[str, str], list[tuple[int, str, int]]] = {}
        n_told = next((n for n in range(len(lines), 0, -1) if lines[n - 1].ts_ms <= end_ms), 0)
        told = lines[:n_told]
        self._canaries = _canaries(told)
        self._arrives_ms = {
            (line.key, line.number): line.ts_ms
            for line in told
            if line.told is Told.CHANGE and line.link not in self._canaries
        }
        for line in told:
            if line.link not in self._canaries:
                self._read(line)
        for key, market in self._markets.items():
            old = {n: lost for n, lost in market.missing.items() if lost.at_ms < end_ms - IN_FLIGHT_MS}
            self._lose(key, market, old, None)

    @property
    def canaries(self) -> frozenset[str]:
        """Connections that only listen twice."""
        return self._canaries

    @property
    def absolute(self) -> bool:
        """Whether a change tells a level's new size; nothing is numbered there."""
        return self._absolute

    @property
    def links(self) -> list[str]:
        """Connections that delivered anything."""
        return list(self._last_on)

    @property
    def markets(self) -> list[str]:
        """Markets whose whole book was sent at least once."""
        return [key for key, market in self._markets.items() if market.held]

    @property
    def whole(self) -> bool:
        """Whether at the end no market's reader misses anything."""
        return all(not m.missing and (not m.held or m.let_go_ms is not None or self._based(k))
                   for k, m in self._markets.items() if k not in self._over)  # fmt: skip

    def carried_by(self, link: str) -> list[str]:
        """Markets that a connection carried at any time."""
        return [key for key, market in self._markets.items() if any(name == link for _, name, _ in market.sent)]

    def let_go(self, key: str) -> bool:
        """Whether the client was no longer interested at the end."""
        return self._markets[key].let_go_ms is not None

    def owed_until(self, key: str) -> int:
        """Until when somebody was to be told of a market: it ended, or the client was no longer interested, or the run ended."""
        market = self._markets.get(key)
        let_go_ms = None if market is None else market.let_go_ms
        return min(self.end_ms, self._over.get(key, self.end_ms), self.end_ms if let_go_ms is None else let_go_ms)

    def last_before(self, key: str, ts_ms: int) -> int:
        """When the market was last heard of before an instant."""
        times = [at for at, _, _ in self._markets[key].sent if at < ts_ms]
        return max(times, default=ts_ms)

    def next_book(self, key: str, ts_ms: int) -> int | None:
        """When its next whole book was sent, at an instant or later."""
        return min((at for at, _, book in self._markets[key].sent if book and at >= ts_ms), default=None)

    def next_sign(self, key: str, ts_ms: int) -> int | None:
        """When the market was next heard of, at an instant or later."""
        return min((at for at, _, _ in self._markets[key].sent if at >= ts_ms), default=None)

    def least_known(self, key: str, ts_ms: int) -> int:
        """The newest state that a reader had been told of by then; -1 when none."""
        market = self._markets.get(key)
        return max((number for at, number in market.known if at <= ts_ms), default=-1) if market else -1

    def known_since(self, key: str, number: int) -> int:
        """When a reader had first been told of a state newer than ``number``."""
        return min(at for at, told in self._markets[key].known if told > number)

    # ---------------------------------------------------------------- reading

    def _based(self, key: str) -> bool:
        return any(key in carried for carried in self._carried.values())

    def _read(self, line: Delivery) -> None:
        told, key, link = line.told, line.key, line.link
        if told is Told.OPENED:
            self._carried[link] = {}
            return
        if told is Told.ENDED:
            carried = self._carried.pop(link, {})
            for name in carried:
                self._markets[name].torn = True
                # What is under way arrives all the same.
                self._markets[name].heard_ms = max(self._markets[name].heard_ms, self._heard_ms.get(link, 0))
            self.link_ends.append((link, line.ts_ms, self._last_on.get(link, line.ts_ms), tuple(carried)))
            return
        if told is Told.OTHER:
            self._heard_ms[link] = max(self._heard_ms.get(link, 0), self._receipt(line))
            if line.place >= 0:
                self._pass(line)
            return
        market = self._markets.setdefault(key, _Market())
        if told is Told.HAPPENED:
            self._n_happened += 1
            if not market.held or line.ts_ms >= self._over.get(key, line.ts_ms + 1):
                return
            into = market.limbo if market.let_go_ms is not None else market.missing
            heard_ms = max((self._heard_ms.get(on, 0) for on, keys in self._carried.items() if key in keys), default=0)
            start_ms = max(line.ts_ms, heard_ms, market.heard_ms)
            into[line.number] = _Lost(start_ms, line.level, len(market.sent))
            for on, keys in self._carried.items():
                if key in keys:
                    self._due.setdefault(self._stream(on, key), []).append((self._n_happened, key, line.number))
        elif told is Told.UNSUBSCRIBED:
            self._carried.get(link, {}).pop(key, None)
            if not self._based(key):
                market.let_go_ms, market.torn = line.ts_ms, True
        elif told is Told.REST:
            if any(number <= line.number for number in market.missing):
                self.shown_by_rest_ms = line.ts_ms
            self._whole(key, market, line)
        elif told is Told.BOOK:
            self._carried.setdefault(link, {})[key] = None
            self._last_on[link] = line.ts_ms
            self._heard_ms[link] = max(self._heard_ms.get(link, 0), self._receipt(line))
            market.sent.append((line.ts_ms, link, True))
            market.held = True
            if market.let_go_ms is not None:
                if line.ts_ms - market.let_go_ms <= REPAIR_BY_UNSUBSCRIBING_MS:
                    market.missing |= market.limbo
                market.limbo, market.let_go_ms = {}, None
            self._pass(line)
            self._whole(key, market, line)
        elif told in {Told.CHANGE, Told.FORGED} and key in self._carried.get(link, {}):
            self._last_on[link] = line.ts_ms
            self._heard_ms[link] = max(self._heard_ms.get(link, 0), self._receipt(line))
            market.sent.append((line.ts_ms, link, False))
            self._pass(line)
            if told is Told.CHANGE:
                self._change(key, market, line)
            else:
                # A number below every state: only a whole book ends it.
                wrong_ms = max(line.ts_ms, self._receipt(line))
                market.missing[-1 - len(market.missing)] = _Lost(wrong_ms, 0, -1, passed=True)

    def _stream(self, link: str, key: str) -> tuple[str, str]:
        """What orders a market's frames on a connection: its numbers, over all markets, or the market's own times."""
        return (link, key if self._absolute else "")

    def _pass(self, line: Delivery) -> None:
        """A frame came: what was made after it is missing since then at the earliest, what was made before it is passed."""
        stream = self._stream(line.link, line.key)
        due = self._due.pop(stream, None)
        if due is None:
            return
        place, receipt_ms = line.place if line.place >= 0 else self._n_happened, self._receipt(line)
        later = []
        for turn in due:
            number, market = turn[2], self._markets[turn[1]]
            lost = market.missing.get(number)
            if lost is None:
                continue
            if turn[0] > place:
                # Nor is it a trace of what was made after it.
                lost = lost._replace(at_ms=max(lost.at_ms, receipt_ms), n_sent=len(market.sent))
                later.append(turn)
            elif line.ts_ms <= self._over.get(turn[1], line.ts_ms):
                lost = lost._replace(passed=True)
            market.missing[number] = lost
        if later:
            self._due[stream] = later

    def _receipt(self, line: Delivery) -> int:
        """When the collector received what was sent; the same bytes may come more than once."""
        return next((at for at in self._received.get(line.frame, ()) if at >= line.ts_ms - SAME_CLOCK_MS), 0)

    def _whole(self, key: str, market: _Market, line: Delivery) -> None:
        ended = {number: lost for number, lost in market.missing.items() if number <= line.number}
        for number in ended:
            del market.missing[number]
        self._lose(key, market, ended, line.ts_ms, traceless=self._no_trace(market, ended) and line.told is Told.BOOK)
        if line.told is Told.BOOK:
            market.torn = False
            market.known.append((line.ts_ms, line.number))

    def _change(self, key: str, market: _Market, line: Delivery) -> None:
        own = market.missing.pop(line.number, None)
        if own is None:
            return
        if line.ts_ms - own.at_ms > LATE_MS:
            self.delays.append(Stretch(key=key, start_ms=own.at_ms, end_ms=line.ts_ms, changes=1, late=True))
        if self._absolute:
            healed = {n: lost for n, lost in market.missing.items() if lost.level == own.level and n < line.number}
            for number in healed:
                del market.missing[number]
            self._lose(key, market, healed, line.ts_ms, traceless=self._no_trace(market, healed))
        if not market.missing:
            market.known.append((line.ts_ms, line.number))

    def _no_trace(self, market: _Market, lost: Mapping[int, _Lost]) -> bool:
        """Whether the line just read is the first that the market was sent since the loss, on an unbroken connection."""
        first = min((told.n_sent for told in lost.values()), default=-1)
        return self._absolute and not market.torn and first == len(market.sent) - 1

    def _lose(
        self, key: str, market: _Market, lost: Mapping[int, _Lost], end_ms: int | None, *, traceless: bool = False
    ) -> None:
        over_ms = self._over.get(key)
        if over_ms is not None:
            end_ms = over_ms if end_ms is None else min(end_ms, over_ms)
            lost = {number: told for number, told in lost.items() if told.at_ms < over_ms}
        ends_ms = self.end_ms if end_ms is None else end_ms
        # Still under way when something else than the stream ended the wait: late, not lost.
        for number, told in lost.items():
            arrives_ms = self._arrives_ms.get((key, number), -1)
            if not told.passed and arrives_ms >= ends_ms:
                self.delays.append(Stretch(key=key, start_ms=told.at_ms, end_ms=arrives_ms, changes=1, late=True))
                lost = {other: one for other, one in lost.items() if other != number}
        if not lost:
            return
        start = min(told.at_ms for told in lost.values())
        if end_ms is not None:
            end_ms = max(start, end_ms)  # sent before the last good frame was received
        # Still wrong while anything else is missing: the next stretch goes on from here.
        self.losses.append(
            Stretch(
                key=key, start_ms=start, end_ms=end_ms, changes=len(lost), traceless=traceless and not market.missing
            )
        )


def _canaries(lines: Sequence[Delivery]) -> frozenset[str]:
    """Connections whose every whole book came while another, larger connection carried the market."""
    carried: dict[str, set[str]] = {}
    sizes: dict[str, set[str]] = {}
    twice: dict[str, bool] = {}
    for line in lines:
        if line.told is Told.BOOK and line.link:
            others = [name for name, keys in carried.items() if name != line.link and line.key in keys]
            twice[line.link] = twice.get(line.link, True) and bool(others)
            carried.setdefault(line.link, set()).add(line.key)
            sizes.setdefault(line.link, set()).add(line.key)
        elif line.told is Told.UNSUBSCRIBED:
            carried.get(line.link, set()).discard(line.key)
        elif line.told is Told.ENDED:
            carried.pop(line.link, None)
    largest = max(map(len, sizes.values()), default=0)
    return frozenset(name for name, always in twice.items() if always and len(sizes[name]) * 3 <= largest)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that touch or overlap joined.

    Examples
    --------
    >>> merged([(5, 9), (1, 3), (2, 4)])
    [(1, 4), (5, 9)]
    """
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end >= start:
            joined.append((start, end))
    return joined


def outside(span: Span, cover: Sequence[Span]) -> list[Span]:
    """The parts of a span that merged spans leave uncovered.

    Examples
    --------
    >>> outside((0, 10), [(2, 3), (5, 20)])
    [(0, 2), (3, 5)]
    >>> outside((4, 4), [(1, 3)])
    [(4, 4)]
    """
    start, end = span
    left: list[Span] = []
    for low, high in cover:
        if high < start or low > end:
            continue
        if low > start:
            left.append((start, low))
        start = high
        if start >= end:
            return left
    return [*left, (start, end)]


def covered_ms(spans: Iterable[Span]) -> int:
    """Milliseconds that spans cover together."""
    return sum(end - start for start, end in merged(spans))

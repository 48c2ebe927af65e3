"""A day of the silence watch in seconds: its deciders over a tape, without sockets, with a REST that has its delays.

What ``collector.watch`` does around the deciders (looks twice a second, questions that take their time, canaries, cures)
is done here on simulated time; the deciders are the collector's own. A finding on a day without a fault is a false
alarm. For times to detection the day is copied at drawn moments and each copy is given one fault.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Iterable, Mapping
from random import Random

import msgspec
import numpy as np

from overround.book import Book
from overround.collector.canary import WITNESS, CanaryJudge, Pair, choose_canaries
from overround.collector.silence import Check, ConnectionSeen, Fault, Finding, SilenceDecider, compare
from overround.collector.watch import CANARIES_MS, FIRST_CANARIES_MS, LOOK_MS, MOST_QUESTIONS
from overround.config import SilenceSettings
from overround.market import ErrCode, MarketId, Venue
from overround.testing.silent_tapes import Ints, LagCurve, SilentTape
from overround.venue import RestBook

__all__ = ["Alarm", "Detection", "SilentDay"]

BATCH = {Venue.POLYMARKET: 200, Venue.KALSHI: 100}
REST_MEDIAN_MS, REST_SPREAD = 150, 0.8
"""A request's duration is log-normal: one in a hundred takes a second."""
REST_STALE_MS = 500
"""What REST shows is up to so old."""
RECONNECT_MS = 1_500
RESUBSCRIBE_MS = 500


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and when."""

    at_ms: int
    finding: Finding


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """How one fault was found.

    Attributes
    ----------
    fault : Fault
    took_ms : int or None
        Since the fault began; None: not within the patience.
    missed_ms : int or None
        Since the first change that it kept from us; None where there was none, or it was not found.
    shown_ms : int or None
        Of a mute market: since the venue's book has differed from ours without a break. A change that is taken back
        before anybody asks leaves nothing to be seen.
    called : Fault or None
        What it was taken for.
    by : str
        What gave it away.
    speaking : float or None
        Of a freeze: share of the seconds of the ten minutes before in which the connection had a change.
    changed : bool
        Whether anything was kept from us within the patience.
    """

    fault: Fault
    took_ms: int | None
    missed_ms: int | None
    shown_ms: int | None
    called: Fault | None
    by: str
    speaking: float | None
    changed: bool


class _Stream:
    """What one connection hears, and what of it reaches the books."""

    def __init__(self, tape: SilentTape, rows: Ints, heard_ms: Ints, books: Mapping[int, Book]) -> None:
        self.tape = tape
        self.books = dict(books)
        self.at = 0
        self.frozen = False
        self.mute: set[int] = set()
        self.since_ms = dict.fromkeys(self.books, 0)
        self.heard = heard_ms.data
        self.ts, self.market, self.px, self.sz = (
            np.ascontiguousarray(column[rows]).data for column in (tape.ts_ms, tape.market, tape.px, tape.sz)
        )

    def __deepcopy__(self, memo: dict[int, object]) -> _Stream:
        made = copy.copy(self)
        made.books = copy.deepcopy(self.books, memo)
        made.mute, made.since_ms = set(self.mute), dict(self.since_ms)
        return made

    def hear(self, now_ms: int) -> None:
        """Take what has come by now."""
        if self.frozen:
            return
        heard, ts, market, px, sz = self.heard, self.ts, self.market, self.px, self.sz
        books, since_ms, mute = self.books, self.since_ms, self.mute
        at, end = self.at, len(heard)
        while at < end and heard[at] <= now_ms:
            number = market[at]
            book = books.get(number)
            if book is not None and ts[at] > since_ms[number] and number not in mute and book.live:
                apply(book, px[at], sz[at])
                book.ts_venue_ms = ts[at]
                book.ts_recv_ns = heard[at] * 1_000_000
                book.seq += 1
            at += 1
        self.at = at


def apply(book: Book, px: int, sz: int) -> None:
    """One level of a tape."""
    side, price = (book.bids, px) if px > 0 else (book.asks, -px)
    if sz:
        side[price] = sz
    else:
        side.pop(price, None)


class SilentDay:
    """The watch over one venue's connections, from a tape's beginning to its end.

    Parameters
    ----------
    tape : SilentTape
    settings : SilenceSettings
    lags : LagCurve
    rng : Random
    slots : int
        Connections; markets are dealt in turn.

    Attributes
    ----------
    now_ms : int
        Venue time.
    alarms : list of Alarm
        All that was found, the witness's own faults excepted.
    witness_alarms, questions, asked_books : int
    """

    def __init__(
        self, tape: SilentTape, *, settings: SilenceSettings, lags: LagCurve, rng: Random, slots: int = 1
    ) -> None:
        self.tape = tape
        self.settings = settings
        self.rng = rng
        self.now_ms = tape.begin_ms
        self.alarms: list[Alarm] = []
        self.witness_alarms = self.questions = self.asked_books = 0
        self._decider = SilenceDecider(settings, batch=BATCH[tape.venue])
        self._judge = CanaryJudge(
            tolerance_ms=settings.canary_tolerance_ms, stall_ms=settings.stall_ms, silence_ms=self._silence_ms
        )
        self._truth = [self._first(n) for n in range(len(tape.markets))]
        self._truth_at = 0
        self._ends = sorted((at, n) for n, at in tape.closed_ms.items())
        every = np.arange(len(tape.ts_ms))
        self._streams: dict[str, _Stream] = {}
        for slot in range(slots):
            numbers = range(slot, len(tape.markets), slots)
            rows = every[tape.market % slots == slot]
            heard = lags.received(tape.ts_ms[rows], shift_ms=rng.randrange(86_400_000))
            self._streams[str(slot)] = _Stream(tape, rows, heard, {n: self._first(n) for n in numbers})
        self._opened: dict[str, int | None] = dict.fromkeys(self._streams, self.now_ms)
        heard = lags.received(tape.ts_ms, shift_ms=rng.randrange(86_400_000))
        self._witness = _Stream(tape, every, heard, {})
        self._canaries_due_ms = self.now_ms + FIRST_CANARIES_MS
        self._ids = [MarketId(str(n)) for n in range(len(tape.markets))]
        self._by_id = [{self._ids[n]: book for n, book in stream.books.items()} for stream in self._streams.values()]
        self._due: list[tuple[int, int, str, tuple[object, ...]]] = []
        self._numbered = self._open_questions = 0

    def _first(self, number: int) -> Book:
        book = Book(seq=1)
        bids, asks = self.tape.first[number]
        book.bids, book.asks = dict(bids), dict(asks)
        book.live = book.had_book = True
        book.ts_venue_ms = self.tape.begin_ms
        return book

    def copied(self) -> SilentDay:
        """The same moment once more, with a future of its own."""
        memo: dict[int, object] = {id(shared): shared for shared in (self.tape, self.settings, self._ids, self._ends)}
        made = copy.deepcopy(self, memo)
        made.alarms = []
        return made

    @property
    def suspicions(self) -> int:
        """Silences that outlasted a connection's habit."""
        return self._decider.suspicions

    def _silence_ms(self, slot: str) -> int:
        return self._decider.silence_ms(slot, now_ms=self.now_ms)

    # -- time --------------------------------------------------------------------------------------------------

    def run_to(self, ms: int, *, until_found: bool = False) -> None:
        """Let time pass, in the watch's looks."""
        while self.now_ms < ms and not (until_found and self.alarms):
            look_ms = self.now_ms + LOOK_MS
            while self._due and self._due[0][0] <= look_ms:
                at_ms, _, what, about = heapq.heappop(self._due)
                self.now_ms = max(self.now_ms, at_ms)
                getattr(self, what)(*about)
            self.now_ms = look_ms
            for stream in self._streams.values():
                stream.hear(look_ms)
            self._witness.hear(look_ms)
            self._end_markets()
            self._look()

    def _later(self, in_ms: int, what: str, *about: object) -> None:
        self._numbered += 1
        heapq.heappush(self._due, (self.now_ms + in_ms, self._numbered, what, about))

    def _see_truth(self, as_of_ms: int) -> None:
        tape = self.tape
        end = int(np.searchsorted(tape.ts_ms, as_of_ms, side="right"))
        for at in range(self._truth_at, end):
            book = self._truth[int(tape.market[at])]
            apply(book, int(tape.px[at]), int(tape.sz[at]))
            book.ts_venue_ms = int(tape.ts_ms[at])
        self._truth_at = max(self._truth_at, end)

    def _end_markets(self) -> None:
        while self._ends and self._ends[0][0] <= self.now_ms:
            self._ends = self._ends[1:]
            for number in (n for at, n in self.tape.closed_ms.items() if at <= self.now_ms):
                for stream in self._streams.values():
                    if number in stream.books:
                        stream.books[number].live, stream.books[number].err = False, ErrCode.CLOSED
                self._witness.books.pop(number, None)

    # -- the watch -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        seen = [
            ConnectionSeen(slot, self._opened[slot], books)
            for slot, books in zip(self._streams, self._by_id, strict=True)
        ]
        for check in self._decider.observe(seen, now_ms=self.now_ms):
            self._ask(check)
        if self.settings.canaries_per_connection and self.now_ms >= self._canaries_due_ms:
            self._canaries_due_ms = self.now_ms + CANARIES_MS
            self._choose_canaries()
        for told in self._judge.judge(self._pairs(), now_ms=self.now_ms):
            if isinstance(told, Check):
                self._ask(told)
            else:
                self._act(told)

    def _stream_of(self, number: int) -> tuple[str, _Stream]:
        slot = str(number % len(self._streams))
        return slot, self._streams[slot]

    def _ask(self, check: Check) -> None:
        if self._open_questions >= MOST_QUESTIONS:
            self._decider.answered(check, {}, now_ms=self.now_ms)
            return
        self.questions += 1
        self.asked_books += len(check.market_ids)
        self._open_questions += 1
        seqs = {m: self._held(m).seq for m in check.market_ids}
        took_ms = round(REST_MEDIAN_MS * math.exp(self.rng.gauss(0, REST_SPREAD)))
        self._later(took_ms // 2, "_serve", check, seqs, took_ms - took_ms // 2)

    def _held(self, market_id: MarketId) -> Book:
        number = int(market_id)
        return self._stream_of(number)[1].books[number]

    def _serve(self, check: Check, seqs: dict[MarketId, int], back_ms: int) -> None:
        """The request is at the venue."""
        self._see_truth(self.now_ms - self.rng.randrange(REST_STALE_MS))
        told = {m: self._rest(m) for m in check.market_ids}
        self._later(back_ms, "_answer", check, seqs, told)

    def _rest(self, market_id: MarketId) -> RestBook:
        book = self._truth[int(market_id)]
        # Only Polymarket tells when a book changed last.
        ts_ms = book.ts_venue_ms if self.tape.venue is Venue.POLYMARKET else None
        return RestBook(market_id=market_id, bids=dict(book.bids), asks=dict(book.asks), ts_venue_ms=ts_ms)

    def _answer(self, check: Check, seqs: dict[MarketId, int], told: dict[MarketId, RestBook]) -> None:
        self._open_questions -= 1
        for stream in self._streams.values():
            stream.hear(self.now_ms)
        answers = {m: compare(self._held(m), told[m], asked_seq=seqs[m]) for m in check.market_ids}
        for finding in self._decider.answered(check, answers, now_ms=self.now_ms):
            self._act(finding)

    # -- what was found ------------------------------------------------------------------------------------------

    def _act(self, finding: Finding) -> None:
        if finding.slot == WITNESS:
            self.witness_alarms += 1
            numbers = self._witness.books if finding.fault is Fault.FROZEN else map(int, finding.market_ids)
            for number in list(numbers):
                self._show(self._witness, number)
            return
        self.alarms.append(Alarm(at_ms=self.now_ms, finding=finding))
        if finding.fault is Fault.FROZEN:
            self._decider.acquit(finding.slot, now_ms=self.now_ms)
            self._opened[finding.slot] = None
            self._set_live(self._streams[finding.slot].books.values(), live=False)
            self._later(RECONNECT_MS, "_reopen", finding.slot)
        else:
            self._set_live((self._held(m) for m in finding.market_ids), live=False)
            self._later(RESUBSCRIBE_MS, "_resubscribe", finding.market_ids)

    def _set_live(self, books: Iterable[Book], *, live: bool) -> None:
        for book in books:
            if book.err != ErrCode.CLOSED:
                book.live = live

    def _reopen(self, slot: str) -> None:
        stream = self._streams[slot]
        stream.frozen = False
        self._opened[slot] = self.now_ms
        for number in stream.books:
            self._show(stream, number)

    def _resubscribe(self, market_ids: tuple[MarketId, ...]) -> None:
        for number in map(int, market_ids):
            stream = self._stream_of(number)[1]
            stream.mute.discard(number)
            if not stream.frozen:
                self._show(stream, number)

    def _show(self, stream: _Stream, number: int) -> None:
        """A whole book comes."""
        self._see_truth(self.now_ms)
        book, true = stream.books[number], self._truth[number]
        if book.err == ErrCode.CLOSED:
            return
        book.bids, book.asks = dict(true.bids), dict(true.asks)
        book.live = True
        book.seq += 1
        stream.since_ms[number] = self.now_ms

    # -- canaries ------------------------------------------------------------------------------------------------

    def _choose_canaries(self) -> None:
        held = {self._ids[n] for n in self._witness.books}
        rates = {slot: self._decider.rates(slot, now_ms=self.now_ms) for slot in self._streams}
        chosen = choose_canaries(held, rates, per_connection=self.settings.canaries_per_connection)
        for gone in held - chosen:
            self._witness.books.pop(int(gone), None)
        for number in sorted(int(m) for m in chosen - held):
            self._witness.books[number] = Book()
            self._show(self._witness, number)

    def _pairs(self) -> list[Pair]:
        pairs = []
        for number, witnessed in self._witness.books.items():
            slot, stream = self._stream_of(number)
            if self._opened[slot] is not None:
                pairs.append(Pair(self._ids[number], slot, stream.books[number], witnessed))
        return pairs

    # -- faults ----------------------------------------------------------------------------------------------------

    def detect(self, fault: Fault, *, number: int, patience_ms: int) -> Detection:
        """Give this moment a fault, and wait until something is found.

        Parameters
        ----------
        fault : Fault
        number : int
            The market, or one of the connection that freezes.
        patience_ms : int
        """
        begun_ms, tape = self.now_ms, self.tape
        slot, stream = self._stream_of(number)
        hit = {number}
        stream.hear(begun_ms)
        if fault is Fault.FROZEN:
            stream.frozen, hit = True, set(stream.books)
        elif fault is Fault.MUTE:
            stream.mute.add(number)
        else:
            book = stream.books[number] = Book()
            self._by_id[int(slot)][self._ids[number]] = book
            self._witness.books.pop(number, None)
            stream.mute.add(number)
        # What is under way was sent before: a mute or frozen venue says no more, so its clock decides.
        low, high = np.searchsorted(tape.ts_ms, [begun_ms, begun_ms + patience_ms])
        kept = tape.ts_ms[low:high][np.isin(tape.market[low:high], list(hit))]
        first_ms = int(kept[0]) if len(kept) else None
        if fault is Fault.MISSING_BOOK:
            first_ms = begun_ms
        share = tape.only("", sorted(stream.books)).speaking_share(begun_ms) if fault is Fault.FROZEN else None
        end_ms = begun_ms + patience_ms
        ids = {self._ids[n] for n in hit}
        differs = _Differs(self, stream, number)
        found: Alarm | None = None
        while self.now_ms < end_ms and found is None:
            self.run_to(self.now_ms + LOOK_MS, until_found=True)
            for alarm in self.alarms:
                named = alarm.finding.fault is Fault.FROZEN or not ids.isdisjoint(alarm.finding.market_ids)
                if found is None and alarm.finding.slot == slot and named:
                    found = alarm
            self.alarms.clear()
            if found is None:
                differs.look(self.now_ms)
        at_ms = None if found is None else found.at_ms
        return Detection(
            fault=fault,
            took_ms=_since(at_ms, begun_ms),
            missed_ms=_since(at_ms, first_ms),
            shown_ms=_since(at_ms, differs.since_ms) if fault is Fault.MUTE else None,
            called=None if found is None else found.finding.fault,
            by="" if found is None else found.finding.by,
            speaking=share,
            changed=first_ms is not None,
        )


def _since(at_ms: int | None, from_ms: int | None) -> int | None:
    return None if at_ms is None or from_ms is None else max(0, at_ms - from_ms)


class _Differs:
    """Since when a market's book at the venue has been another than the held one."""

    def __init__(self, day: SilentDay, stream: _Stream, number: int) -> None:
        tape = day.tape
        self.since_ms: int | None = None
        self._held = stream.books[number]
        self._true = copy.deepcopy(day._truth[number])
        rows = np.flatnonzero(tape.market[day._truth_at :] == number) + day._truth_at
        self._rows = zip(tape.ts_ms[rows].tolist(), tape.px[rows].tolist(), tape.sz[rows].tolist(), strict=True)
        self._next = next(self._rows, None)
        self.look(day.now_ms)

    def look(self, now_ms: int) -> None:
        held, true = self._held, self._true
        while True:
            if held.bids == true.bids and held.asks == true.asks:
                self.since_ms = None
            if self._next is None or self._next[0] > now_ms:
                return
            ts_ms, px, sz = self._next
            apply(true, px, sz)
            if self.since_ms is None:
                self.since_ms = ts_ms
            self._next = next(self._rows, None)

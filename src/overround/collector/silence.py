"""Which silence is a fault: suspicion by habit, conviction by comparison.

Pongs prove nothing; a connection can answer them for hours and deliver nothing, and a token can fall mute among its
siblings. A silence alone proves nothing either: quiet markets are silent for hours, and busy ones between two bursts.
So nothing is convicted for being silent. Silence, or the age of a book's last proof, makes a book worth a look at REST;
a difference that REST still shows when the socket has had its time to overtake it is a fault:

==============================================  =======================================================================
what is seen                                    what follows
==============================================  =======================================================================
connection silent beyond its habit              its most active books are looked up
book neither heard nor proved for a while       it is looked up
any live book, when it is its turn              it is looked up: the rest of each batch, at least a quarter of it
market silent beyond its own habit              it is looked up with the next ones
no first book for a while                       it is looked up; REST has one: it is missing
REST shows the held book                        a proof
REST shows another one                          looked up again when the tolerance is over, unless the socket spoke
still another; the connection has not spoken    connection frozen, if its silence is suspicious or two books differ
still another; siblings have spoken             market mute
REST has none of a live book, and none later    the market is gone: it ended, and nobody told us
==============================================  =======================================================================

Frames are late at times, and all of them together: three seconds every few minutes, ten once in two recorded hours. So no
connection is called frozen before its silence has lasted ``stall_ms``.

Times are those of a clock that never steps; books carry the wall clock's, so a shell says since when something was
known to be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from overround.book import Book
from overround.collector.expectation import MESSAGES_DUE, Expectation
from overround.config import SilenceSettings
from overround.market import ErrCode, MarketId
from overround.venue import RestBook

__all__ = ["Answer", "Check", "ConnectionSeen", "Fault", "Finding", "SilenceDecider", "Why", "compare"]

# Batches of audits are at least so far apart, and one takes what is nearly due along.
_AUDIT_GAP_MS = 3_000
_NEARLY_DUE = 0.8
# A live book is asked for after so many times ``audit_after_secs``, whatever was heard of it; and one place in so many of
# a batch is for those whose turn it is, however many are due for another reason. So every one of n live books is asked
# for within _TURN x audit_after_secs + ceil(n / (batch / _TURN_SHARE)) x _AUDIT_GAP_MS, as long as REST answers.
_TURN = 4
_TURN_SHARE = 4
_ASK_AGAIN_MS = 60_000
_UNANSWERED_MS = 60_000
_BACKOFF_FIRST_MS, _BACKOFF_CAP_MS = 10_000, 120_000
# A market's own habit: it needs some past, and its limit is left to fall more slowly, since there are many of them.
_MARKET_SHORTEST_MS = 10_000
_MARKET_HALF_LIFE_MS = 1_800_000
_SUSPECT_MARKETS = 20
_AFTER_FREEZE_MS = 10_000


class Why(StrEnum):
    """Why a book is looked up."""

    SILENCE = "silence"
    AUDIT = "audit"
    CONFIRM = "confirm"
    FIRST_BOOK = "first_book"
    CANARY = "canary"


class Answer(StrEnum):
    """What REST says of a held book."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """Older than the held book, not to be trusted, or overtaken by the socket while it was asked for."""
    ABSENT = "absent"
    """REST has no book of that market."""


class Fault(StrEnum):
    """What was found."""

    FROZEN = "frozen"
    MUTE = "mute"
    MISSING_BOOK = "missing_first_book"
    GONE = "gone"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Books to be asked for."""

    why: Why
    market_ids: tuple[MarketId, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A fault: of one connection, proved by some markets, or of one market."""

    fault: Fault
    slot: str
    market_ids: tuple[MarketId, ...]
    by: Why


class ConnectionSeen(NamedTuple):
    """A recording connection at one moment: when it was opened (None: it is down), and its books."""

    slot: str
    opened_ms: int | None
    books: Mapping[MarketId, Book]


def compare(book: Book, rest: RestBook | None, *, asked_seq: int) -> Answer:
    """What a REST book says of the held one.

    Parameters
    ----------
    book : Book
    rest : RestBook or None
        None where the venue answered without it.
    asked_seq : int
        ``book.seq`` when it was asked for.
    """
    if rest is None:
        return Answer.ABSENT
    if rest.bids == book.bids and rest.asks == book.asks:
        return Answer.SAME
    overtaken = book.seq != asked_seq
    older = rest.ts_venue_ms is not None and book.ts_venue_ms is not None and rest.ts_venue_ms < book.ts_venue_ms
    return Answer.UNKNOWN if overtaken or older or rest.hash_ok is False else Answer.DIFFERENT


class _Market:
    """What is known of one market."""

    __slots__ = (
        "absent_ms",
        "asked_ms",
        "asked_seq",
        "different_ms",
        "ended",
        "expectation",
        "live",
        "not_before_ms",
        "proved_ms",
        "seq",
        "turn_ms",
        "wanted_ms",
    )

    def __init__(self, seq: int, now_ms: int, *, longest_ms: int) -> None:
        self.seq = seq
        self.turn_ms = now_ms
        self.live = self.ended = False
        self.wanted_ms = now_ms
        self.proved_ms = now_ms
        self.not_before_ms = now_ms
        self.asked_ms: int | None = None
        self.asked_seq = seq
        self.different_ms: int | None = None
        self.absent_ms: int | None = None
        self.expectation = Expectation(
            now_ms,
            shortest_ms=min(_MARKET_SHORTEST_MS, longest_ms),
            longest_ms=longest_ms,
            first_ms=longest_ms,
            half_life_ms=_MARKET_HALF_LIFE_MS,
        )


class _Line:
    """What is known of one connection."""

    __slots__ = ("checked_ms", "expectation", "markets", "opened_ms", "rate_ms", "rate_per_s", "suspect")

    def __init__(self, now_ms: int, settings: SilenceSettings) -> None:
        self.markets: dict[MarketId, _Market] = {}
        self.opened_ms: int | None = None
        self.checked_ms = now_ms
        self.suspect = False
        self.rate_per_s = 0.0
        self.rate_ms = 0
        self.expectation = Expectation(
            now_ms, shortest_ms=settings.shortest_silence_ms, longest_ms=settings.longest_silence_secs * 1_000
        )


class SilenceDecider:
    """Decides what is looked up, and what the answers mean.

    Parameters
    ----------
    settings : SilenceSettings
    batch : int
        Books of one request.

    Attributes
    ----------
    suspicions : int
        Silences of a connection that outlasted its habit.
    differences : int
        Books that REST showed differently, overtaken or not.
    """

    def __init__(self, settings: SilenceSettings, *, batch: int) -> None:
        self._settings = settings
        self._batch = batch
        self._kept = max(1, batch // _TURN_SHARE)
        self._audit_ms = settings.audit_after_secs * 1_000
        self._lines: dict[str, _Line] = {}
        self._slot_of: dict[MarketId, str] = {}
        self._audited_ms = 0
        self._backoff_ms = 0
        self._rest_after_ms = 0
        self._rest_gave_ms = 0
        self.suspicions = 0
        self.differences = 0

    # -- what is seen ----------------------------------------------------------------------------------------

    def observe(self, seen: Sequence[ConnectionSeen], *, now_ms: int, paused: bool = False) -> list[Check]:
        """Look at every connection; called about once a second.

        Parameters
        ----------
        seen : sequence of ConnectionSeen
        now_ms : int
            On a clock that never steps.
        paused : bool
            The venue does not trade: nothing is expected of it, and nothing is learnt.

        Returns
        -------
        list of Check
            To be answered by ``answered`` or ``failed``.
        """
        for one in seen:
            self._look(one, now_ms, paused=paused)
        if paused or now_ms < self._rest_after_ms:
            return []
        checks: list[Check] = []
        for line in self._lines.values():
            if line.opened_ms is not None:
                self._confirm(line, checks, now_ms)
                self._first_books(line, checks, now_ms)
                self._suspect(line, checks, now_ms)
        self._audit(checks, now_ms)
        return checks

    def _look(self, one: ConnectionSeen, now_ms: int, *, paused: bool) -> None:
        line = self._lines.get(one.slot)
        if line is None:
            line = self._lines[one.slot] = _Line(now_ms, self._settings)
        if one.opened_ms != line.opened_ms or paused:
            line.opened_ms = one.opened_ms
            line.suspect = False
            line.checked_ms = now_ms
            line.expectation.skip_to(now_ms)
            for market in line.markets.values():
                market.different_ms = market.absent_ms = None
                market.wanted_ms = now_ms
                market.expectation.skip_to(now_ms)
        if one.opened_ms is None:
            line.expectation.skip_to(now_ms)
            return
        changes = self._look_at_books(line, one, now_ms)
        if changes:
            line.suspect = False
            line.expectation.heard(changes, now_ms)

    def _look_at_books(self, line: _Line, one: ConnectionSeen, now_ms: int) -> int:
        """Note what every market has said; returns how many changes there were."""
        markets = line.markets
        changes = 0
        for market_id, book in one.books.items():
            market = markets.get(market_id)
            if market is None:
                market = markets[market_id] = _Market(book.seq, now_ms, longest_ms=self._audit_ms)
                self._slot_of[market_id] = one.slot
            seq = book.seq
            if seq != market.seq:
                n = seq - market.seq if seq > market.seq else 1
                changes += n
                market.seq = seq
                market.proved_ms = now_ms
                market.different_ms = market.absent_ms = None
                market.expectation.heard(n, now_ms)
            market.ended = book.err == ErrCode.CLOSED
            if book.live is not market.live:
                market.live = book.live
                market.different_ms = market.absent_ms = None
                market.wanted_ms = market.proved_ms = now_ms
                market.expectation.skip_to(now_ms)
        if len(markets) != len(one.books):
            for market_id in [known for known in markets if known not in one.books]:
                del markets[market_id]
                if self._slot_of.get(market_id) == one.slot:
                    del self._slot_of[market_id]
        return changes

    # -- what is looked up -------------------------------------------------------------------------------------

    def _free(self, market: _Market, now_ms: int) -> bool:
        """Whether no answer is being waited for."""
        return market.asked_ms is None or now_ms - market.asked_ms > _UNANSWERED_MS

    def _ask(self, checks: list[Check], why: Why, asked: Iterable[tuple[MarketId, _Market]], now_ms: int) -> None:
        chosen = list(asked)
        for _, market in chosen:
            market.asked_ms = market.turn_ms = now_ms
            market.asked_seq = market.seq
        for start in range(0, len(chosen), self._batch):
            part = tuple(market_id for market_id, _ in chosen[start : start + self._batch])
            checks.append(Check(why=why, market_ids=part))

    def _confirm(self, line: _Line, checks: list[Check], now_ms: int) -> None:
        """Look again at what was different, or not there."""
        due = []
        for market_id, market in line.markets.items():
            if market.absent_ms is not None and now_ms >= market.not_before_ms and self._free(market, now_ms):
                due.append((market_id, market))
            elif market.different_ms is not None and self._free(market, now_ms):
                quiet = line.expectation.heard_ms < market.different_ms
                if quiet and line.expectation.silence_ms(now_ms) < self._settings.stall_ms:
                    continue  # perhaps everything is only late
                wait_ms = self._settings.tolerance_ms if quiet else self._settings.mute_tolerance_ms
                if now_ms - market.different_ms >= wait_ms and now_ms >= market.not_before_ms:
                    due.append((market_id, market))
        self._ask(checks, Why.CONFIRM, due, now_ms)

    def _first_books(self, line: _Line, checks: list[Check], now_ms: int) -> None:
        wait_ms = self._settings.first_book_secs * 1_000
        due = [
            (market_id, market)
            for market_id, market in line.markets.items()
            if not market.live
            and not market.ended
            and now_ms - market.wanted_ms >= wait_ms
            and now_ms >= market.not_before_ms
            and self._free(market, now_ms)
        ]
        self._ask(checks, Why.FIRST_BOOK, due, now_ms)

    def _suspect(self, line: _Line, checks: list[Check], now_ms: int) -> None:
        """A connection silent beyond its habit: look at the books that should have changed first."""
        limit_ms = self._limit_ms(line, now_ms)
        silence_ms = line.expectation.silence_ms(now_ms)
        if silence_ms < limit_ms or now_ms < line.checked_ms:
            return
        chosen = sorted(
            ((market_id, market) for market_id, market in line.markets.items() if market.live),
            key=lambda known: -known[1].expectation.rate.per_s(now_ms),
        )[: self._settings.spot_check_markets]
        free = [
            (market_id, market)
            for market_id, market in chosen
            if market.different_ms is None and market.absent_ms is None and self._free(market, now_ms)
        ]
        if not free:
            return
        if not line.suspect:
            line.suspect = True
            self.suspicions += 1
        line.checked_ms = now_ms + max(int(limit_ms / 2), self._settings.shortest_silence_ms)
        self._ask(checks, Why.SILENCE, free, now_ms)

    def _limit_ms(self, line: _Line, now_ms: int) -> float:
        """How long this connection may be silent, by its own habit and by what its markets that trade now are due."""
        if now_ms - line.rate_ms >= 5_000:
            line.rate_ms = now_ms
            line.rate_per_s = sum(
                market.expectation.rate.per_s(now_ms) for market in line.markets.values() if market.live
            )
        return line.expectation.limit_ms(now_ms, rate_per_s=line.rate_per_s)

    def _audit(self, checks: list[Check], now_ms: int) -> None:
        """Look at what nothing was heard of for a while, the oldest first, and at those whose turn it is; one batch."""
        if now_ms - self._audited_ms < _AUDIT_GAP_MS:
            return
        nearly_ms = self._audit_ms * _NEARLY_DUE
        aged: list[tuple[int, MarketId, _Market]] = []
        suspects: list[tuple[MarketId, _Market]] = []
        turns: list[tuple[int, MarketId, _Market]] = []
        due = False
        for line in self._lines.values():
            if line.opened_ms is None:
                continue
            for market_id, market in line.markets.items():
                if not market.live or market.different_ms is not None or market.absent_ms is not None:
                    continue
                if now_ms < market.not_before_ms or not self._free(market, now_ms):
                    continue
                turns.append((market.turn_ms, market_id, market))
                age_ms = now_ms - market.proved_ms
                due = due or now_ms - market.turn_ms >= self._audit_ms * _TURN
                if age_ms < _MARKET_SHORTEST_MS:
                    continue
                if age_ms >= nearly_ms:
                    aged.append((-age_ms, market_id, market))
                    due = due or age_ms >= self._audit_ms
                elif age_ms >= market.expectation.limit_ms(now_ms) and len(suspects) < _SUSPECT_MARKETS:
                    suspects.append((market_id, market))
        if not due and not suspects:
            return
        self._audited_ms = now_ms
        aged.sort(key=lambda known: known[:2])
        turns.sort(key=lambda known: known[:2])
        chosen = dict([*suspects, *((market_id, market) for _, market_id, market in aged)][: self._batch - self._kept])
        for _, market_id, market in turns:
            if len(chosen) == self._batch:
                break
            chosen[market_id] = market
        self._ask(checks, Why.AUDIT, chosen.items(), now_ms)

    # -- what came back ----------------------------------------------------------------------------------------

    def failed(self, check: Check, *, now_ms: int) -> None:
        """REST did not answer: nothing is known, and nothing is asked for a while."""
        for market_id in check.market_ids:
            market = self._market(market_id)
            if market is not None:
                market.asked_ms = None
        if now_ms < self._rest_after_ms:
            return
        self._backoff_ms = min(_BACKOFF_CAP_MS, self._backoff_ms * 2 or _BACKOFF_FIRST_MS)
        self._rest_after_ms = now_ms + self._backoff_ms

    def asked_seq(self, market_id: MarketId) -> int:
        """``book.seq`` when the market was asked for last."""
        market = self._market(market_id)
        return -1 if market is None else market.asked_seq

    def answered(self, check: Check, answers: Mapping[MarketId, Answer], *, now_ms: int) -> list[Finding]:
        """REST answered; markets that ``answers`` lacks are held no more.

        Returns
        -------
        list of Finding
            One for a frozen connection whatever the number of its markets, else one for each market.
        """
        self._backoff_ms = 0
        if any(answer is not Answer.ABSENT for answer in answers.values()):
            self._rest_gave_ms = now_ms
        confirmed: dict[str, list[MarketId]] = {}
        findings: list[Finding] = []
        for market_id in check.market_ids:
            market, answer = self._market(market_id), answers.get(market_id)
            if market is None:
                continue
            asked_ms, market.asked_ms = market.asked_ms, None
            if answer is None:
                continue
            if not market.live:
                findings += self._first_book(market_id, market, answer, now_ms)
                continue
            if answer is Answer.ABSENT:
                findings += self._absent(market_id, market, now_ms)
                continue
            market.absent_ms = None
            if answer is Answer.SAME:
                market.proved_ms = max(market.proved_ms, now_ms if asked_ms is None else asked_ms)
                market.different_ms = None
            elif answer is not Answer.DIFFERENT:
                market.different_ms = None
                market.not_before_ms = now_ms + _AUDIT_GAP_MS
            elif market.different_ms is None:
                self.differences += 1
                market.different_ms = now_ms
            elif now_ms - market.different_ms >= self._settings.tolerance_ms:
                confirmed.setdefault(self._slot_of[market_id], []).append(market_id)
        for slot, market_ids in confirmed.items():
            findings += self._convict(slot, market_ids, check.why, now_ms)
        return findings

    def _first_book(self, market_id: MarketId, market: _Market, answer: Answer, now_ms: int) -> list[Finding]:
        market.not_before_ms = now_ms + _ASK_AGAIN_MS
        if answer is Answer.ABSENT or market.ended:
            return []
        slot = self._slot_of[market_id]
        return [Finding(fault=Fault.MISSING_BOOK, slot=slot, market_ids=(market_id,), by=Why.FIRST_BOOK)]

    def _absent(self, market_id: MarketId, market: _Market, now_ms: int) -> list[Finding]:
        """REST has no book of a market that is live here: looked up again, unless the socket speaks of it meanwhile.

        Nobody is convicted while REST has no book of any market: then REST is wrong.
        """
        market.different_ms = None
        if market.absent_ms is None:
            market.absent_ms = now_ms
            market.not_before_ms = now_ms + self._settings.mute_tolerance_ms
            return []
        if now_ms < market.not_before_ms:
            return []
        market.not_before_ms = now_ms + _ASK_AGAIN_MS
        if self._rest_gave_ms < market.absent_ms:
            return []
        slot = self._slot_of[market_id]
        return [Finding(fault=Fault.GONE, slot=slot, market_ids=(market_id,), by=Why.CONFIRM)]

    def _convict(self, slot: str, market_ids: list[MarketId], by: Why, now_ms: int) -> list[Finding]:
        """Books of a connection that the socket had its time to overtake and did not."""
        line = self._lines[slot]
        first_ms = min((m.different_ms for m in line.markets.values() if m.different_ms is not None), default=now_ms)
        unheard = line.expectation.heard_ms < first_ms
        silence_ms = line.expectation.silence_ms(now_ms)
        # Where next to nothing was due, the silence of the others says nothing: a fresh subscription will tell.
        suspicious = silence_ms >= self._limit_ms(line, now_ms) and line.rate_per_s * silence_ms >= MESSAGES_DUE * 1_000
        if unheard and silence_ms < self._settings.stall_ms:
            return []
        if unheard and (suspicious or len(market_ids) > 1):
            self.acquit(slot, now_ms=now_ms)
            return [Finding(fault=Fault.FROZEN, slot=slot, market_ids=tuple(market_ids), by=by)]
        findings = []
        for market_id in market_ids:
            market = line.markets[market_id]
            market.not_before_ms = now_ms + self._settings.tolerance_ms
            if market.different_ms is not None and now_ms - market.different_ms >= self._settings.mute_tolerance_ms:
                market.different_ms = None
                market.not_before_ms = now_ms + self._settings.mute_tolerance_ms
                findings.append(Finding(fault=Fault.MUTE, slot=slot, market_ids=(market_id,), by=by))
        return findings

    def acquit(self, slot: str, *, now_ms: int) -> None:
        """Begin anew with a connection: it is being replaced, or the exchange turned out to be closed."""
        line = self._lines.get(slot)
        if line is None:
            return
        line.suspect = False
        line.checked_ms = now_ms + _AFTER_FREEZE_MS
        line.expectation.skip_to(now_ms)
        for market in line.markets.values():
            market.different_ms = market.absent_ms = None
            market.not_before_ms = now_ms + _AFTER_FREEZE_MS

    # -- what others ask ---------------------------------------------------------------------------------------

    def _market(self, market_id: MarketId) -> _Market | None:
        slot = self._slot_of.get(market_id)
        return None if slot is None else self._lines[slot].markets.get(market_id)

    def silence_ms(self, slot: str, *, now_ms: int) -> int:
        """How long a connection has been silent; 0 for an unknown one."""
        line = self._lines.get(slot)
        return 0 if line is None or line.opened_ms is None else line.expectation.silence_ms(now_ms)

    def rates(self, slot: str, *, now_ms: int) -> dict[MarketId, float]:
        """Changes per second of a connection's live markets."""
        line = self._lines.get(slot)
        if line is None:
            return {}
        return {
            market_id: market.expectation.rate.per_s(now_ms)
            for market_id, market in line.markets.items()
            if market.live
        }

"""The accountant: how long each market was in which state, minute by minute.

Time is spent: a market's account remembers until when it has been settled, and every report first spends the
time since then in the state that held. The states, the first that applies:

==================  =====================================================================================
``not_subscribed``  not in the rotation, or over, or its first book is awaited
``venue_down``      there is no connection to the venue at all
``gap``             its book is known to be wrong, or may be; a gap is open
``verified``        live and proved, the proof not older than a minute
``quiet``           live and proved once, nothing has changed or been compared for a minute
``unverified``      live, what it says now is not proved
==================  =====================================================================================

A gap begins at the last instant known good, which is earlier than its detection. What was spent in a good
state meanwhile is taken back, as far as a short memory reaches; beyond it readers apply the gap.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from overround.collector.gaps import Gap, GapLedger
from overround.market import WHOLE, ErrCode, Integrity, MarketId, Share
from overround.storage import GapRow, InclusionRow, LeftOpen, MinuteRow

__all__ = ["NO_BOOK_AFTER_MS", "QUIET_AFTER_MS", "CoverageLedger", "Entries", "Seconds"]

QUIET_AFTER_MS = 60_000
"""A proof older than this makes a book quiet."""

NO_BOOK_AFTER_MS = 10_000
"""A first book awaited for longer is a gap, from the time it was asked for."""

MINUTE_MS = 60_000
# A longer stretch without any settling was not lived through: the machine slept, or the clock was set.
_STRIDE_MS = 30_000
_HISTORY = 16
# Rows that a disk refuses for longer than this may be lost without a gap of the markets that left meanwhile.
_GONE_KEPT_MS = 24 * 3_600_000

_VERIFIED, _UNVERIFIED, _QUIET, _GAP, _NOT_SUBSCRIBED, _VENUE_DOWN = range(6)
_GOOD = (_VERIFIED, _UNVERIFIED, _QUIET)
_VENUE = MarketId("")


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Rows ready to be stored.

    Attributes
    ----------
    minutes : list of MinuteRow
    gaps : list of GapRow
    stays : list of InclusionRow
    """

    minutes: list[MinuteRow]
    gaps: list[GapRow]
    stays: list[InclusionRow]


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Market-seconds spent in each state since the start, what was taken back included.

    Attributes
    ----------
    verified, unverified, quiet, gap, venue_down : float
    """

    verified: float
    unverified: float
    quiet: float
    gap: float
    venue_down: float

    @property
    def wanted(self) -> float:
        """Their sum: seconds in which a market was wanted."""
        return self.verified + self.unverified + self.quiet + self.gap + self.venue_down

    @property
    def verified_share(self) -> float:
        """Part of the wanted time that is verified; NaN where there was none."""
        return self.verified / self.wanted if self.wanted else float("nan")


class _Account:
    """One market's (or the venue's) time."""

    __slots__ = (
        "closed",
        "gap",
        "history",
        "included",
        "live_mask",
        "market_id",
        "minute_ms",
        "outcome_ids",
        "proved",
        "proven_ms",
        "repairs",
        "right",
        "score",
        "seen_gap",
        "seen_ms",
        "seq",
        "set",
        "since_ms",
        "snapshots",
        "spent",
        "stay_ms",
        "until_ms",
        "updates",
        "wanted_ms",
    )

    def __init__(self, market_id: MarketId, outcome_ids: tuple[str, ...], since_ms: int) -> None:
        self.market_id = market_id
        self.outcome_ids = outcome_ids
        self.since_ms = self.until_ms = since_ms
        self.minute_ms = since_ms - since_ms % MINUTE_MS
        self.spent = [0, 0, 0, 0, 0, 0]
        self.live_mask = self.updates = self.snapshots = self.repairs = 0
        self.history: list[tuple[int, int, int]] = []
        self.included = False
        self.set = ""
        self.score = 0.0
        self.stay_ms = self.wanted_ms = 0
        self.forget()

    def forget(self) -> None:
        """Nothing is known of its book."""
        self.right = self.closed = self.proved = self.seen_gap = False
        self.gap: Gap | None = None
        self.proven_ms = self.seen_ms = 0
        self.seq: int | None = None

    @property
    def empty(self) -> bool:
        return not (any(self.spent) or self.updates or self.snapshots or self.repairs)


class CoverageLedger:
    """Keeps account of one venue; no clock, no files: time comes in, rows come out.

    Parameters
    ----------
    share : Share
        Of the venue's markets. What befalls a recording of all of them is a gap of the venue; with several collectors it
        is one of each market held, since those of the others are none the worse.

    Attributes
    ----------
    gaps : GapLedger
    ends_ms : int
        Nothing is accounted for from here on: somebody else does.
    """

    def __init__(self, *, share: Share = WHOLE) -> None:
        self._whole = share == WHOLE
        self._name = "" if self._whole else str(share)
        self.ends_ms = sys.maxsize
        self.gaps = GapLedger()
        self._accounts: dict[MarketId, _Account] = {}
        self._venue: _Account | None = None
        self._began_ms = 0
        self._up: bool | None = None
        self._rows: list[MinuteRow] = []
        self._old_gaps: list[GapRow] = []
        self._stays: list[InclusionRow] = []
        self._left: dict[MarketId, int] = {}
        self._gone: dict[MarketId, int] = {}
        self._totals = [0, 0, 0, 0, 0, 0]

    # -- life ---------------------------------------------------------------------------------------

    def start(self, left: LeftOpen, *, now_ms: int) -> None:
        """Begin; what a run that died left open is closed, and the hole since then becomes gaps.

        Parameters
        ----------
        left : LeftOpen
            Of the earlier run; empty after a clean stop.
        now_ms : int
        """
        self._began_ms = now_ms
        self._venue = _Account(_VENUE, (self._name,), now_ms)
        if left.died_ms is None:
            return
        died_ms = min(now_ms, left.died_ms)
        for gap in left.gaps:
            self._old_gaps.append(gap._replace(end_ms=max(died_ms, gap.start_ms), repair="collector_down"))
        for stay in left.stays:
            self._stays.append(stay._replace(end_ms=max(died_ms, stay.start_ms), reason="collector_down"))
            self._left[MarketId(stay.market_id)] = min(now_ms, max(died_ms, stay.start_ms))
        if self._whole:
            self.gaps.note(_hole(_VENUE, died_ms, now_ms, repair="started"))
        self.gaps.episodes += 1

    def hold(
        self,
        sets: Mapping[str, Iterable[MarketId]],
        *,
        now_ms: int,
        outcomes_of: Callable[[MarketId], Sequence[str]],
        score_of: Callable[[MarketId], float],
        seq_of: Callable[[MarketId], int],
    ) -> None:
        """These are the rotation's sets from now on.

        Parameters
        ----------
        sets : mapping
            Markets by the set's name.
        now_ms : int
        outcomes_of, score_of, seq_of : callable
            A market's outcomes whose rows are stored, its present score, and its book's ``seq``.
        """
        wanted = {market_id: name for name, market_ids in sets.items() for market_id in market_ids}
        for market_id, account in self._accounts.items():
            if account.included and market_id not in wanted:
                self._leave(account, now_ms, "ended" if account.closed else "rotated")
        for market_id, name in wanted.items():
            found = self._accounts.get(market_id)
            if found is None:
                begin = min(now_ms, max(self._began_ms, now_ms - now_ms % MINUTE_MS))
                found = _Account(market_id, tuple(outcomes_of(market_id)), begin)
                self._accounts[market_id] = found
                if begin < now_ms:
                    found.since_ms = now_ms
                    self._add(found, _NOT_SUBSCRIBED, begin, now_ms)
            if not found.included:
                self._spend(found, now_ms)
                found.forget()
                found.included = True
                found.seq = seq_of(market_id)
                found.wanted_ms = now_ms
                died_ms = self._left.pop(market_id, None)
                if died_ms is not None:
                    found.gap = self.gaps.begin(market_id, "collector_down", now_ms=now_ms, since_ms=died_ms)
                elif self._up is False:
                    found.gap = self.gaps.begin(market_id, ErrCode.VENUE_DOWN, now_ms=now_ms)
                self._enter(found, name, score_of(market_id), now_ms)
            elif found.set != name:
                self._end_stay(found, now_ms, f"to {name}")
                self._enter(found, name, score_of(market_id), now_ms)
        for market_id, died_ms in self._left.items():
            self.gaps.note(_hole(market_id, died_ms, now_ms, repair="unsubscribed"))
        self._left.clear()

    def adopt(self, left: LeftOpen, *, until_ms: int) -> None:
        """Close what a collector left open that died while it handed over to us, who record since ``until_ms``."""
        died_ms = left.died_ms
        if died_ms is None:
            return
        died_ms = min(died_ms, until_ms)
        for gap in left.gaps:
            self._old_gaps.append(gap._replace(end_ms=max(died_ms, gap.start_ms), repair="collector_down"))
        for stay in left.stays:
            end_ms = max(died_ms, stay.start_ms)
            self._stays.append(stay._replace(end_ms=end_ms, reason="collector_down"))
            if end_ms < until_ms:
                self.gaps.note(_hole(MarketId(stay.market_id), end_ms, until_ms, repair="handed over"))

    def stop(self, *, now_ms: int) -> None:
        """The end: everything open is closed."""
        now_ms = min(now_ms, self.ends_ms)
        self.settle(now_ms=now_ms)
        for account in self._accounts.values():
            if account.included:
                self._leave(account, now_ms, "stopped")
            self._push(account)
        if self._venue is not None:
            self._push(self._venue)

    # -- reports ------------------------------------------------------------------------------------

    def right(
        self, market_id: MarketId, how: str, *, now_ms: int, verified: bool = False, proven_ms: int | None = None
    ) -> Gap | None:
        """A market's book is whole and right; returns the gap that this ended.

        Parameters
        ----------
        market_id : MarketId
        how : str
            The step that did it.
        now_ms : int
        verified : bool
            Whether it is proved, and not only whole.
        proven_ms : int or None
            The last instant at which it was proved right.
        """
        account = self._accounts.get(market_id)
        if account is None or not account.included:
            return self.gaps.end(market_id, how, now_ms=now_ms)
        self._spend(account, now_ms)
        account.right, account.closed = True, False
        account.proved, account.proven_ms = verified, proven_ms or 0
        account.seen_ms = now_ms
        return self._end_gap(account, how, now_ms)

    def wrong(
        self,
        market_ids: Sequence[MarketId],
        cause: str,
        *,
        now_ms: int,
        since_ms: int | None = None,
        connection: str = "",
        detail: str = "",
    ) -> int:
        """One thing went wrong, and the books of these markets with it; returns the number of this repair.

        Parameters
        ----------
        market_ids : sequence of MarketId
        cause : str
        now_ms : int
        since_ms : int, optional
            The last instant at which they were known to be right; None: never since they were asked for.
        connection, detail : str
        """
        before, repair_no = self.gaps.count, self.gaps.new_repair()
        for market_id in market_ids:
            account = self._accounts.get(market_id)
            if account is None or not account.included or account.closed:
                continue
            self._open_gap(account, cause, now_ms, since_ms, connection=connection, detail=detail, repair_no=repair_no)
        if self.gaps.count > before:
            self.gaps.episodes += 1
            return repair_no
        # Books that are wrong already wait for their first repair.
        return next((number for market_id in market_ids if (number := self.gaps.repair_of(market_id))), repair_no)

    def lost(self, start_ms: int, end_ms: int, *, now_ms: int) -> None:
        """Rows of that time, of whatever market was held, will never be on disk."""
        end_ms = max(start_ms, min(end_ms, now_ms))
        for market_id in [_VENUE] if self._whole else self._held_since(start_ms):
            self.gaps.note(
                Gap(
                    market_id=market_id,
                    cause="rows_lost",
                    start_ms=start_ms,
                    detected_ms=now_ms,
                    end_ms=end_ms,
                    repair="none",
                )
            )
        self.gaps.episodes += 1

    def step(self, market_id: MarketId) -> None:
        """A repair step was taken for a market."""
        self.gaps.step(market_id)

    def closed(self, market_id: MarketId, *, now_ms: int) -> None:
        """A market is over: nothing more is expected of it."""
        account = self._accounts.get(market_id)
        if account is None or not account.included or account.closed:
            return
        self._spend(account, now_ms)
        self._end_gap(account, "closed", now_ms, repaired=False)
        account.closed = True

    def connected(self, n_connections: int, *, now_ms: int) -> None:
        """So many connections to the venue stand now."""
        up = self._up
        if n_connections:
            up = True
        elif up is True or now_ms - self._began_ms >= NO_BOOK_AFTER_MS:
            up = False
        if up is self._up:
            return
        self._spend_all(now_ms)
        self._up = up
        if up is False:
            repair_no = self.gaps.new_repair()
            for account in self._accounts.values():
                if account.included and not account.closed and account.gap is None and not account.right:
                    account.gap = self.gaps.begin(
                        account.market_id, ErrCode.VENUE_DOWN, now_ms=now_ms, repair_no=repair_no
                    )

    def observe(
        self,
        market_id: MarketId,
        *,
        live: bool,
        integrity: Integrity,
        proven_ms: int | None,
        seq: int,
        err: str | None,
        now_ms: int,
    ) -> None:
        """A row of a market was stored; what its book looked like.

        Parameters
        ----------
        market_id : MarketId
        live : bool
        integrity : Integrity
            The verdict on it.
        proven_ms : int or None
            The last instant at which it was proved right.
        seq : int
        err : str or None
        now_ms : int
        """
        account = self._accounts.get(market_id)
        if account is None or not account.included:
            return
        self._spend(account, now_ms)
        account.snapshots += 1
        if account.seq is not None:
            account.updates += max(0, seq - account.seq)
        account.seq = seq
        if live and integrity is not Integrity.SUSPECT:
            account.right = True
            if account.seen_gap:
                self._end_gap(account, "seen right", now_ms)
            account.proved = integrity is Integrity.VERIFIED
            account.proven_ms = proven_ms or 0
            account.seen_ms = now_ms
        elif account.gap is None and not account.closed and err != ErrCode.CLOSED:
            # No report told of it: a book that the proof found doubtful, or a poll that failed.
            cause = "suspect" if live else (err or ErrCode.GAP)
            since_ms = account.seen_ms if proven_ms is None else proven_ms
            self._open_gap(account, cause, now_ms, since_ms or None)
            account.seen_gap = True
            self.gaps.episodes += 1

    # -- settling -----------------------------------------------------------------------------------

    def settle(self, *, now_ms: int) -> None:
        """Spend the time until now in every account; to be called every few seconds."""
        self._spend_all(now_ms)
        gone = []
        for market_id, account in self._accounts.items():
            if not account.included:
                if now_ms - account.stay_ms >= MINUTE_MS or now_ms // MINUTE_MS != account.stay_ms // MINUTE_MS:
                    self._push(account)
                    gone.append(market_id)
            elif (
                not (account.right or account.closed)
                and account.gap is None
                and now_ms - account.wanted_ms >= NO_BOOK_AFTER_MS
            ):
                self._open_gap(account, "no_book", now_ms, account.wanted_ms)
        for market_id in gone:
            del self._accounts[market_id]
        if not self._whole:
            kept_ms = now_ms - _GONE_KEPT_MS
            self._gone = {market_id: ms for market_id, ms in self._gone.items() if ms >= kept_ms}

    def take(self, *, minutes: bool = True) -> Entries:
        """Rows since the last call.

        Parameters
        ----------
        minutes : bool
            Include what has been spent of minutes that are not over. Gaps and stays always come at once.
        """
        if minutes:
            for account in self._accounts.values():
                self._push(account)
            if self._venue is not None:
                self._push(self._venue)
        rows, self._rows = self._rows, []
        stays, self._stays = self._stays, []
        old, self._old_gaps = self._old_gaps, []
        return Entries(minutes=rows, gaps=[*old, *(gap.row() for gap in self.gaps.take_changed())], stays=stays)

    @property
    def seconds(self) -> Seconds:
        """Market-seconds in each state so far."""
        spent = [total / 1000 for total in self._totals]
        return Seconds(
            verified=spent[_VERIFIED],
            unverified=spent[_UNVERIFIED],
            quiet=spent[_QUIET],
            gap=spent[_GAP],
            venue_down=spent[_VENUE_DOWN],
        )

    @property
    def urgent(self) -> bool:
        """Whether gaps or stays wait to be taken."""
        return bool(self._stays or self._old_gaps or self.gaps.n_changed)

    def __len__(self) -> int:
        return len(self._accounts)

    # -- stays --------------------------------------------------------------------------------------

    def _enter(self, account: _Account, name: str, score: float, now_ms: int) -> None:
        account.set, account.score, account.stay_ms = name, score, now_ms
        self._stays.append(InclusionRow(now_ms, None, account.market_id, name, score))

    def _end_stay(self, account: _Account, now_ms: int, reason: str) -> None:
        self._stays.append(
            InclusionRow(
                account.stay_ms, max(now_ms, account.stay_ms), account.market_id, account.set, account.score, reason
            )
        )

    def _leave(self, account: _Account, now_ms: int, reason: str) -> None:
        self._spend(account, now_ms)
        self._end_gap(account, "stopped" if reason == "stopped" else "unsubscribed", now_ms, repaired=False)
        self._end_stay(account, now_ms, reason)
        account.included = False
        account.forget()
        account.stay_ms = now_ms
        if not self._whole:
            self._gone[account.market_id] = now_ms

    def _held_since(self, start_ms: int) -> set[MarketId]:
        held = {market_id for market_id, account in self._accounts.items() if account.included}
        return held | {market_id for market_id, left_ms in self._gone.items() if left_ms >= start_ms}

    # -- gaps ---------------------------------------------------------------------------------------

    def _open_gap(
        self,
        account: _Account,
        cause: str,
        now_ms: int,
        since_ms: int | None,
        *,
        connection: str = "",
        detail: str = "",
        repair_no: int | None = None,
    ) -> None:
        self._spend(account, now_ms)
        if since_ms is None:
            since_ms = account.wanted_ms
        since_ms = max(since_ms, account.wanted_ms)
        waited = not account.right
        account.gap = self.gaps.begin(
            account.market_id,
            cause,
            now_ms=now_ms,
            since_ms=since_ms,
            connection=connection,
            detail=detail,
            repair_no=repair_no,
        )
        account.right = account.proved = account.seen_gap = False
        self._take_back(account, since_ms, waited=waited)

    def _end_gap(self, account: _Account, how: str, now_ms: int, *, repaired: bool = True) -> Gap | None:
        gap = self.gaps.end(account.market_id, how, now_ms=now_ms)
        if gap is not None:
            account.repairs += repaired
        account.gap = None
        account.seen_gap = False
        return gap

    # -- time ---------------------------------------------------------------------------------------

    def _state(self, account: _Account) -> int:
        if account is self._venue:
            return _UNVERIFIED if self._up else _VENUE_DOWN
        if not account.included or account.closed:
            return _NOT_SUBSCRIBED
        if self._up is False:
            return _VENUE_DOWN
        if account.gap is not None:
            return _GAP
        if not account.right:
            return _NOT_SUBSCRIBED
        return _VERIFIED if account.proved else _UNVERIFIED

    def _spend_all(self, now_ms: int) -> None:
        if self._venue is not None:
            self._spend(self._venue, now_ms)
        for account in self._accounts.values():
            self._spend(account, now_ms)

    def _spend(self, account: _Account, now_ms: int) -> None:
        start, now_ms = account.since_ms, min(now_ms, self.ends_ms)
        passed = now_ms - start
        if not 0 < passed <= _STRIDE_MS:
            if passed > 0 or passed < -_STRIDE_MS:
                account.since_ms = now_ms
                account.history.clear()
            return
        account.since_ms = now_ms
        state = self._state(account)
        if state == _VERIFIED:
            fresh_until = account.proven_ms + QUIET_AFTER_MS
            if fresh_until < now_ms:
                if fresh_until > start:
                    self._add(account, _VERIFIED, start, fresh_until)
                    start = fresh_until
                state = _QUIET
        self._add(account, state, start, now_ms)

    def _add(self, account: _Account, state: int, start: int, end: int) -> None:
        history = account.history
        if history and history[-1][0] == state and history[-1][2] == start:
            history[-1] = (state, history[-1][1], end)
        else:
            history.append((state, start, end))
            if len(history) > _HISTORY:
                del history[0]
        if account is not self._venue:
            self._totals[state] += end - start
        while start < end:
            minute = start - start % MINUTE_MS
            if minute != account.minute_ms:
                self._push(account)
                account.minute_ms = minute
            stop = min(end, minute + MINUTE_MS)
            account.spent[state] += stop - start
            if state in _GOOD:
                first, last = (start - minute) // 1000, (stop - 1 - minute) // 1000
                account.live_mask |= ((2 << (last - first)) - 1) << first
            start = account.until_ms = stop

    def _take_back(self, account: _Account, since_ms: int, *, waited: bool) -> None:
        """Time that a gap turns out to cover was not what it was taken for."""
        changed = []
        for state, start, end in account.history:
            if end <= since_ms or not (state in _GOOD or (waited and state == _NOT_SUBSCRIBED)):
                changed.append((state, start, end))
                continue
            begin = max(start, since_ms)
            if begin > start:
                changed.append((state, start, begin))
            changed.append((_GAP, begin, end))
            self._totals[state] -= end - begin
            self._totals[_GAP] += end - begin
            while begin < end:
                minute = begin - begin % MINUTE_MS
                stop = min(end, minute + MINUTE_MS)
                self._move(account, minute, state, stop - begin)
                begin = stop
        account.history = changed[-_HISTORY:]

    def _move(self, account: _Account, minute: int, state: int, spent_ms: int) -> None:
        if minute == account.minute_ms:
            account.spent[state] -= spent_ms
            account.spent[_GAP] += spent_ms
            return
        # That minute has been handed out: a further row of it takes back and adds.
        moved = [0, 0, 0, 0, 0, 0]
        moved[state], moved[_GAP] = -spent_ms, spent_ms
        whole = (minute, account.market_id, account.outcome_ids, *moved, 0, 0, 0, 0, minute + MINUTE_MS)
        self._rows.append(MinuteRow._make(whole))

    def _push(self, account: _Account) -> None:
        """Hand out what an account has gathered."""
        if account.empty:
            return
        whole = (
            account.minute_ms,
            account.market_id,
            account.outcome_ids,
            *account.spent,
            account.updates,
            account.snapshots,
            account.repairs,
            account.live_mask,
            account.until_ms,
        )
        self._rows.append(MinuteRow._make(whole))
        account.spent = [0, 0, 0, 0, 0, 0]
        account.live_mask = account.updates = account.snapshots = account.repairs = 0


def _hole(market_id: MarketId, died_ms: int, now_ms: int, *, repair: str) -> Gap:
    return Gap(
        market_id=market_id,
        cause="collector_down",
        start_ms=died_ms,
        detected_ms=now_ms,
        end_ms=max(died_ms, now_ms),
        repair=repair,
    )

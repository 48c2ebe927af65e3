"""The commands of one connection: computed from what is wanted and what stands, sent one at a time.

There is no queue. Whenever nothing is under way, ``Commander.plan`` compares the markets wanted with the
markets confirmed and sends the one command that matters most; a lost answer or a changed wish needs no
clean-up, because the next comparison sees it. A command is answered when its acknowledgements have come and
with them the book of every market it asks for; otherwise it times out, and each market without a book climbs
one step of ``venue.repair.TABLE``. Its step *resubscribe* is remove and add here, *renew* unsubscribe and
subscribe; *rest* only tells that there is a book, and is followed by *marked*.

The order: a book subscription at all; missing books by ``get_snapshot``; markets to be taken off for a
re-add; markets to be added; last, markets nobody wants any more. So a rotation holds the new market before it
lets go of the old one. Channels without books (trades) follow the book channel's markets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from overround.venue.kalshi.state import Channel, Command, Held, Saw, Verb
from overround.venue.ports import FeedCounters, FeedEventKind
from overround.venue.repair import Action, Ladder, Pace, RepairBudgets, State
from overround.venue.repair import Saw as RepairSaw

__all__ = ["BOOKS", "MARKETLESS", "PACE", "Commander"]

BOOKS = "orderbook_delta"
MARKETLESS = frozenset({"market_lifecycle_v2", "multivariate_market_lifecycle"})
"""Channels that take no market filter."""

PACE = Pace(
    joining=2_000, recheck=2_000, resnapshot=2_000, resubscribe=2_000, renew=2_000, reconnect=2_000, rest=10_000
)
"""A command, and so what it is to bring, is due after two seconds; each answer to it begins them anew."""

_BACKOFF_FIRST_MS, _BACKOFF_CAP_MS = 1_000, 30_000
_REFUSED_REST_MS = 600_000
_STRIKES = 3
_RECHECK_MS = 200
_RETRIED = frozenset({1, 18})
"""Could not process, timed out at the server: the outcome is unknown, and the next comparison finds out."""
_ENDED = frozenset({10, 25})
"""Terminal: the subscription is over."""


class Commander:
    """Decides what to send, and what an answer or its absence means.

    Parameters
    ----------
    held : dict of str to Held
        The markets wanted; the feed's own, changed by it.
    channels : sequence of Channel
        In the order of importance; the book channel first.
    counters : FeedCounters
    send, report, give_up, reconnect : callable
        ``send(text)``; ``report(kind, now_ms, market_id, detail, took_ms)``; ``give_up(channel, now_ms)`` drops a sid and
        breaks its markets; ``reconnect(reason)``.
    use_yes_price : bool
    chunk : int
        Markets in one command at most.
    step_ms : int
        How long an answer may take.
    probe_ms : int or None
        Silence after which one market's snapshot is asked for, to hear whether the connection lives.
    budgets : RepairBudgets or None
        Shared with the venue's other connections.
    audit_ms : int or None
        Time between two books asked for to compare them with those held; None compares doubtful ones only.
    """

    def __init__(
        self,
        held: dict[str, Held],
        channels: tuple[Channel, ...],
        counters: FeedCounters,
        *,
        send: Callable[[str], None],
        report: Callable[[FeedEventKind, int, str, str, int | None], None],
        give_up: Callable[[Channel, int], None],
        reconnect: Callable[[str], None],
        use_yes_price: bool,
        chunk: int,
        step_ms: int,
        probe_ms: int | None,
        budgets: RepairBudgets | None = None,
        audit_ms: int | None = None,
    ) -> None:
        self._held = held
        self._channels = channels
        self._counters = counters
        self._send = send
        self._report = report
        self._give_up = give_up
        self._ask_reconnect = reconnect
        self._use_yes_price = use_yes_price
        self._chunk = chunk
        self._step_ms = step_ms
        self._probe_ms = probe_ms
        self._ladder = Ladder(budgets)
        self._audit_ms = audit_ms
        self._audits_refused = False
        self._audit_due_ms = 0
        self._round: deque[str] = deque()
        self._doubtful: dict[str, None] = {}
        self._next_id = 1
        self._open = False
        self._strikes = 0
        self._backoff_ms = 0
        self._quiet_until_ms = 0
        self._wake_ms: int | None = None
        self._heard_ms = 0
        self.under_way: Command | None = None

    # -- the connection --------------------------------------------------------------------------------------

    def opened(self, now_ms: int) -> None:
        """Ask for everything on a new connection."""
        self.closed()
        self._open = True
        self._heard_ms = now_ms
        self._audit_due_ms = now_ms + (self._audit_ms or 0)
        self.plan(now_ms)

    def closed(self) -> None:
        """The connection ended: nothing is under way or on the wire."""
        self._open = False
        self.under_way = None
        self._strikes = self._backoff_ms = self._quiet_until_ms = 0
        self._wake_ms = None
        self._audits_refused = False
        self._doubtful.clear()
        for channel in self._channels:
            channel.sid = None
            channel.refused = False
            channel.live.clear()
            channel.on_wire.clear()

    def deadline_ms(self, last_recv_ms: int) -> int | None:
        """When ``tick`` has something to do."""
        if not self._open:
            return None
        if self.under_way is not None:
            return self.under_way.deadline_ms
        if self._quiet_until_ms:
            return self._quiet_until_ms
        due = self._wake_ms
        if self._probe_ms is not None and self._channels[0].live:
            probe = max(self._heard_ms, last_recv_ms) + self._probe_ms
            due = probe if due is None else min(due, probe)
        audit = self._next_audit_ms()
        return audit if due is None else due if audit is None else min(due, audit)

    def tick(self, now_ms: int, last_recv_ms: int) -> None:
        """Time out what is overdue, then plan."""
        if not self._open:
            return
        command = self.under_way
        if command is not None and now_ms >= command.deadline_ms:
            self._expire(command, now_ms)
        self.plan(now_ms)
        if (
            self._probe_ms is not None
            and self.under_way is None
            and not self._quiet_until_ms
            and now_ms >= max(self._heard_ms, last_recv_ms) + self._probe_ms
        ):
            self._probe(now_ms)
        audit = self._next_audit_ms()
        if audit is not None and now_ms >= audit and self.under_way is None and not self._quiet_until_ms:
            self._audit(now_ms)

    def _reconnect(self, reason: str) -> None:
        """Only a new connection helps: nothing more is sent on this one."""
        self._open = False
        self.under_way = None
        self._ask_reconnect(reason)

    def _probe(self, now_ms: int) -> None:
        """Ask a healthy market for its book: a quiet connection and a dead one look alike otherwise."""
        channel = self._channels[0]
        self._heard_ms = now_ms
        ticker = next(iter(channel.live), None)
        if channel.sid is not None and ticker is not None:
            self._begin(Verb.SNAPSHOT, channel, (ticker,), now_ms, probe=True)

    # -- what is compared ------------------------------------------------------------------------------------

    def recheck(self, ticker: str, now_ms: int) -> None:
        """A market's book is doubtful: it is compared before all others."""
        if self._open:
            self._doubtful[ticker] = None
            self._audit_due_ms = min(self._audit_due_ms, now_ms + _RECHECK_MS)

    def _next_audit_ms(self) -> int | None:
        """When the next book is to be compared, or None."""
        if self._audits_refused or not self._channels[0].live:
            return None
        return self._audit_due_ms if self._doubtful or self._audit_ms is not None else None

    def _audit(self, now_ms: int) -> None:
        """Ask for a book believed right: the doubtful first, then every one in turn."""
        channel = self._channels[0]
        self._audit_due_ms = now_ms + (self._audit_ms or self._step_ms)
        ticker = next((ticker for ticker in self._doubtful if ticker in channel.live), None)
        self._doubtful.pop(ticker or "", None)
        if ticker is None and self._audit_ms is not None:
            self._doubtful.clear()
            ticker = self._next_of_round(channel)
        if channel.sid is not None and ticker is not None:
            self._begin(Verb.SNAPSHOT, channel, (ticker,), now_ms, audit=True)

    def _next_of_round(self, channel: Channel) -> str | None:
        if not self._round:
            self._round.extend(channel.live)
        while self._round:
            ticker = self._round.popleft()
            if ticker in channel.live:
                return ticker
        return None

    # -- what to send ----------------------------------------------------------------------------------------

    def plan(self, now_ms: int) -> None:
        """Send the command that matters most, unless one is under way or the venue asked for patience."""
        if not self._open or self.under_way is not None:
            return
        if now_ms < self._quiet_until_ms:
            return
        self._quiet_until_ms = 0
        self._wake_ms = None
        books, *others = self._channels
        if self._plan_books(books, now_ms):
            return
        for channel in others:
            if not channel.refused and self._plan_other(channel, books, now_ms):
                return

    def _plan_books(self, channel: Channel, now_ms: int) -> bool:
        """One command of the book channel, if any is needed."""
        joins: list[str] = []
        asks: list[str] = []
        readds: list[str] = []
        for ticker, held in self._held.items():
            refused = held.refused_until_ms is not None
            if not (held.needs_book or refused):
                continue
            not_before_ms = held.refused_until_ms or held.not_before_ms
            if not_before_ms > now_ms:
                self._wake(not_before_ms)
                continue
            if refused:
                held.move(Saw.RESTED)
            on_wire = channel.sid is not None and ticker in channel.on_wire
            state: State | None = held.mend.state
            if state is not State.RESNAPSHOT and state is not State.JOINING:
                state = self._settle(ticker, held, now_ms, on_wire=on_wire)
            if state is None:
                continue
            if state is State.RECONNECT and not held.mend.acted:
                self._counters.resyncs += 1
                self._report(FeedEventKind.RESYNC, now_ms, ticker, State.RECONNECT, None)
                self._reconnect(f"no book of {ticker} after every repair step")
                return True
            if not on_wire:
                joins.append(ticker)
            elif state is State.RENEW and not held.mend.acted:
                self._begin(Verb.UNSUBSCRIBE, channel, (), now_ms, repaired=ticker)
                return True
            elif state is State.RESUBSCRIBE:
                readds.append(ticker)
            else:
                asks.append(ticker)
        if channel.sid is None:
            return bool(joins) and not channel.refused and self._begin_chunk(Verb.SUBSCRIBE, channel, joins, now_ms)
        return (
            (self._affords(State.RESNAPSHOT, asks, now_ms) and self._begin_chunk(Verb.SNAPSHOT, channel, asks, now_ms))
            or (
                self._affords(State.RESUBSCRIBE, readds, now_ms)
                and self._begin_chunk(Verb.DELETE, channel, readds, now_ms, repairs=True)
            )
            or self._begin_chunk(Verb.ADD, channel, joins, now_ms)
            or self._let_go(channel, self._held, now_ms)
        )

    def _affords(self, step: State, tickers: list[str], now_ms: int) -> bool:
        """Whether the budget has a command for these markets; if not, they wait for it."""
        if not tickers:
            return False
        if self._ladder.take(step, now_ms):
            return True
        self._wake(self._ladder.free_ms(step, now_ms))
        return False

    def _settle(self, ticker: str, held: Held, now_ms: int, *, on_wire: bool) -> State | None:
        """The step that the socket is to be asked for now; None where something else is awaited."""
        mend = held.mend
        if mend.due_ms is not None and mend.due_ms <= now_ms:
            self._mark(held, mend.overdue(now_ms), now_ms)
        for step in (State.RENEW, State.RECONNECT):
            if (
                mend.state is step
                and not mend.acted
                # A market that is off the wire is asked for before a whole subscription is given up for it.
                and (on_wire or step is State.RECONNECT)
                and not self._ladder.take(step, now_ms)
            ):
                mend.see(RepairSaw.BUSY, now_ms)
        if mend.state is State.REST and not mend.acted and mend.due_ms is None:
            if self._ladder.take(State.REST, now_ms):
                mend.acted = True
                self._counters.resyncs += 1
                self._report(FeedEventKind.RESYNC, now_ms, ticker, State.REST, None)
                self._report(FeedEventKind.REST_WANTED, now_ms, ticker, State.REST, None)
                mend.await_by(PACE, now_ms)
            else:
                mend.see(RepairSaw.BUSY, now_ms)
                mend.due_ms = self._ladder.free_ms(State.REST, now_ms)
        if mend.due_ms is not None:
            self._wake(mend.due_ms)
            return None
        return mend.state

    def rest_came(self, held: Held, now_ms: int) -> None:
        """REST has a book of a market that the socket gives none of: nothing orders it, so it is no repair."""
        if held.mend.state is State.REST and held.mend.acted:
            self._mark(held, held.mend.see(RepairSaw.USELESS, now_ms), now_ms)
            self.plan(now_ms)

    def _mark(self, held: Held, action: Action, now_ms: int) -> None:
        """Every step failed: tell the operator, and rest."""
        if action is Action.MARK:
            self._counters.marked += 1
            took_ms = max(0, now_ms - held.since_ms)
            self._report(FeedEventKind.MARKED, now_ms, held.market_id, held.cause, took_ms)
            held.mend.await_by(PACE, now_ms)

    def _wake(self, at_ms: int) -> None:
        self._wake_ms = at_ms if self._wake_ms is None else min(self._wake_ms, at_ms)

    def _plan_other(self, channel: Channel, books: Channel, now_ms: int) -> bool:
        """One command of a channel without books, if any is needed."""
        if channel.name in MARKETLESS:
            return channel.sid is None and self._begin(Verb.SUBSCRIBE, channel, (), now_ms)
        wanted = [ticker for ticker in books.on_wire if ticker in self._held]
        joins = [ticker for ticker in wanted if ticker not in channel.on_wire]
        verb = Verb.SUBSCRIBE if channel.sid is None else Verb.ADD
        return self._begin_chunk(verb, channel, joins, now_ms) or self._let_go(channel, wanted, now_ms)

    def _let_go(self, channel: Channel, wanted: Iterable[str], now_ms: int) -> bool:
        """Take off what nobody wants; whether a subscription survives its last market is not documented."""
        if channel.sid is None:
            return False
        leaving = channel.on_wire.difference(wanted)
        if leaving and len(leaving) == len(channel.on_wire):
            return self._begin(Verb.UNSUBSCRIBE, channel, (), now_ms)
        return self._begin_chunk(Verb.DELETE, channel, sorted(leaving), now_ms)

    def _begin_chunk(
        self, verb: Verb, channel: Channel, tickers: list[str], now_ms: int, *, repairs: bool = False
    ) -> bool:
        if not tickers:
            return False
        repaired = "" if not repairs else tickers[0] if len(tickers) == 1 else "*"
        return self._begin(verb, channel, tuple(tickers[: self._chunk]), now_ms, repaired=repaired)

    def _begin(
        self,
        verb: Verb,
        channel: Channel,
        tickers: tuple[str, ...],
        now_ms: int,
        *,
        probe: bool = False,
        audit: bool = False,
        repaired: str = "",
    ) -> bool:
        """Send one command and remember what it must be answered with."""
        with_books = channel.name == BOOKS and verb in (Verb.SUBSCRIBE, Verb.ADD, Verb.SNAPSHOT)
        command = Command(
            self._next_id,
            verb,
            channel,
            tickers,
            # A get_snapshot is answered by the books themselves.
            acks=0 if verb is Verb.SNAPSHOT else 1,
            awaiting=set(tickers) if with_books else set(),
            deadline_ms=now_ms + self._step_ms,
            probe=probe,
            audit=audit,
        )
        self._next_id += 1
        self.under_way = command
        self._send(msgspec.json.encode(self._body(command)).decode())
        if with_books:
            for ticker in tickers:
                held = self._held[ticker]
                if verb is not Verb.SNAPSHOT:
                    held.mend.see(RepairSaw.ASKED, now_ms)
                if held.move(Saw.ASKED) and not held.cause:
                    held.since_ms = now_ms
        if verb is Verb.SNAPSHOT and not probe and not audit:
            self._note_repair(State.RESNAPSHOT, tickers, now_ms)
        elif verb is Verb.DELETE and repaired:
            self._note_repair(State.RESUBSCRIBE, tickers, now_ms)
        elif verb is Verb.UNSUBSCRIBE:
            if repaired:
                self._note_repair(State.RENEW, (), now_ms)
            # From here on its frames are dropped: what they would change is asked for anew.
            self._give_up(channel, now_ms)
            if repaired:
                for held in self._held.values():
                    if held.needs_book:
                        held.mend.taken_along(State.RENEW)
        return True

    def _body(self, command: Command) -> dict[str, Any]:
        channel, tickers = command.channel, list(command.tickers)
        if command.verb is Verb.SUBSCRIBE:
            params: dict[str, Any] = {"channels": [channel.name]}
            if tickers:
                params["market_tickers"] = tickers
            if channel.name == BOOKS:
                # The venue's default will flip: never left to it.
                params["use_yes_price"] = self._use_yes_price
            return {"id": command.id, "cmd": "subscribe", "params": params}
        if command.verb is Verb.UNSUBSCRIBE:
            return {"id": command.id, "cmd": "unsubscribe", "params": {"sids": [channel.sid]}}
        return {
            "id": command.id,
            "cmd": "update_subscription",
            "params": {"sids": [channel.sid], "market_tickers": tickers, "action": command.verb.value},
        }

    def _note_repair(self, step: State, tickers: tuple[str, ...], now_ms: int) -> None:
        self._counters.resyncs += 1
        self._report(FeedEventKind.RESYNC, now_ms, tickers[0] if len(tickers) == 1 else "", step, None)

    # -- what came back --------------------------------------------------------------------------------------

    def book_came(self, ticker: str, now_ms: int) -> None:
        """A market's book arrived, or it is known that none will."""
        command = self.under_way
        if command is not None and ticker in command.awaiting:
            command.awaiting.discard(ticker)
            self._progress(command, now_ms)

    def forget(self, ticker: str) -> None:
        """A market is wanted no more: nobody waits for its book."""
        command = self.under_way
        if command is not None:
            command.awaiting.discard(ticker)
            if command.verb is Verb.SNAPSHOT and not command.awaiting:
                # Its answer, should it come, concerns nobody: that is no command without an answer.
                self.under_way = None

    def acknowledged(self, number: int | None, now_ms: int) -> Command | None:
        """The command under way that an answer belongs to, one acknowledgement further; None for a stranger."""
        command = self.under_way
        if command is None or number != command.id:
            return None
        if command.verb is not Verb.SNAPSHOT:
            command.acks -= 1
        if command.acks <= 0:
            self._take_effect(command)
        self._progress(command, now_ms)
        return command

    def _take_effect(self, command: Command) -> None:
        on_wire = command.channel.on_wire
        if command.verb in (Verb.SUBSCRIBE, Verb.ADD):
            on_wire.update(command.tickers)
        elif command.verb is Verb.DELETE:
            on_wire.difference_update(command.tickers)

    def _progress(self, command: Command, now_ms: int) -> None:
        command.heard = True
        self._strikes = self._backoff_ms = 0
        command.deadline_ms = now_ms + self._step_ms
        if command.acks <= 0 and not command.awaiting:
            self.under_way = None
            self.plan(now_ms)

    def failed(
        self, number: int | None, code: int, text: str, named: tuple[str, ...], channel: Channel | None, now_ms: int
    ) -> None:
        """The venue answered with an error, or ended a subscription by itself.

        Parameters
        ----------
        number : int or None
            Id of the command it answers.
        code, text : int, str
        named : tuple of str
            Markets it names.
        channel : Channel or None
            The subscription it names by its sid.
        now_ms : int
        """
        command = self.under_way if self.under_way is not None and number == self.under_way.id else None
        if command is not None:
            self.under_way = None
            self._strikes = 0
            channel = channel or command.channel
        detail = f"{code} {text}".strip()
        self._report(FeedEventKind.REFUSED, now_ms, named[0] if len(named) == 1 else "", detail, None)
        if code == 9:
            self._reconnect("authentication required")
        elif code in _ENDED:
            channel = channel or self._channels[0]
            self._counters.gaps += bool(channel.live)
            self._give_up(channel, now_ms)
            self._wait(now_ms)
        elif code == 7:
            self._give_up(channel or self._channels[0], now_ms)
        elif code == 27:
            self._wait(now_ms)
        elif command is not None:
            if code in _RETRIED:
                self._climb(command, now_ms)
            else:
                self._refuse(command, named, detail, now_ms)
        self.plan(now_ms)

    def _wait(self, now_ms: int) -> None:
        """Back off: nothing is sent for a while, longer each time."""
        self._backoff_ms = min(self._backoff_ms * 2 or _BACKOFF_FIRST_MS, _BACKOFF_CAP_MS)
        self._quiet_until_ms = now_ms + self._backoff_ms

    def _refuse(self, command: Command, named: tuple[str, ...], detail: str, now_ms: int) -> None:
        """The command itself is wrong: repeating it would be wrong again."""
        channel = command.channel
        if channel.name != BOOKS:
            channel.refused = command.verb is not Verb.DELETE
            if command.verb is Verb.DELETE:
                channel.on_wire.difference_update(command.tickers)
        elif command.verb in (Verb.SUBSCRIBE, Verb.ADD):
            for ticker in named or command.tickers:
                held = self._held.get(ticker)
                if held is not None and held.move(Saw.REFUSED):
                    held.refused_until_ms = now_ms + _REFUSED_REST_MS
                    if len(named) != 1:
                        self._report(FeedEventKind.REFUSED, now_ms, ticker, detail, None)
        elif command.verb is Verb.SNAPSHOT:
            # A venue that will not be asked for a book it has sent before is not asked again on this connection.
            self._audits_refused = self._audits_refused or command.audit
            self._climb(command, now_ms)
        elif command.verb is Verb.DELETE:
            channel.on_wire.difference_update(command.tickers)

    def _expire(self, command: Command, now_ms: int) -> None:
        """No (further) answer in time."""
        self.under_way = None
        if command.probe:
            self._reconnect("silent: a snapshot asked for as a sign of life did not come")
            return
        if not command.heard:
            self._strikes += 1
            if self._strikes >= _STRIKES:
                self._reconnect(f"{_STRIKES} commands in a row were not answered")
                return
        elif command.verb in (Verb.SUBSCRIBE, Verb.ADD):
            # The acknowledgement is missing, but what sent its book is there.
            command.channel.on_wire.update(ticker for ticker in command.tickers if ticker not in command.awaiting)
        self._climb(command, now_ms)

    def _climb(self, command: Command, now_ms: int) -> None:
        """Each market that the command should have helped goes one repair step up."""
        tickers = command.awaiting or (command.tickers if command.verb is Verb.DELETE else ())
        for ticker in tickers:
            held = self._held.get(ticker)
            if held is not None and held.needs_book:
                held.mend.see(RepairSaw.DUE, now_ms)

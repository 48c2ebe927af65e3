"""What is done about a book that is not right: one table for both venues, complete over every pair.

A market stands in one `State`; what a feed learns of it is a `Saw`; ``TABLE`` says where it stands then and which
`Action` the feed takes. The feed performs it and brings what comes of it back as the next ``Saw``, the passing of the
step's time included. A step that a venue does not have, or that cannot help as things stand, is answered with
``USELESS``, and the table goes on to the next one.

The ladder, cheapest first: look again; ask for the book alone; take the market off the connection and put it on
again; give the whole subscription up and ask anew; ask for a new connection; ask REST; mark the market, tell the
operator and rest. Any whole book, and any proof of the one we have, ends the repair at once, wherever it stands.

It does not storm. Every step costs from a budget that all connections of a venue share (``BUDGETS``): where it is used
up, a step for one market waits, and one that would hurt its siblings is left out. A market that breaks a third time,
each time within a minute of its repair, goes on where it left off instead of beginning anew. A rest doubles up to ten
minutes.

Nothing here reads a clock or sends anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

__all__ = [
    "BUDGETS",
    "RECONNECT_REST_MS",
    "STEPS",
    "TABLE",
    "Action",
    "Budget",
    "Ladder",
    "Mend",
    "Pace",
    "RepairBudgets",
    "Saw",
    "State",
]


class State(StrEnum):
    """Where a market's repair stands."""

    WHOLE = "whole"
    """Nothing is known to be wrong."""
    JOINING = "joining"
    """Asked for; its first book on this connection is awaited."""
    RECHECK = "recheck"
    """A proof failed once: messages of one change may still be on their way."""
    RESNAPSHOT = "resnapshot"
    """The book alone is asked for: ``get_snapshot``, or a REST book."""
    RESUBSCRIBE = "resubscribe"
    """The market is taken off the connection and put on again."""
    RENEW = "renew"
    """The whole subscription is given up and asked for anew."""
    RECONNECT = "reconnect"
    """A new connection is asked for, or its first book awaited."""
    REST = "rest"
    """REST is asked whether there is a book at all."""
    MARKED = "marked"
    """Every step failed: the operator was told, the market rests."""
    ENDED = "ended"
    """Trading is over: nothing to repair."""


class Saw(StrEnum):
    """What a feed learns of a market."""

    ASKED = "asked"
    """It was subscribed on a new connection."""
    BOOK = "book"
    """A whole book came over the socket."""
    PROOF = "proof"
    """The book as it stands was proved right."""
    REST_BOOK = "rest_book"
    """A REST book came that may be taken over."""
    DOUBT = "doubt"
    """A proof failed."""
    FAULT = "fault"
    """Changes are known to be missing."""
    MUTE = "mute"
    """What we miss was not announced, or cannot be ordered: the subscription itself is in doubt."""
    DUE = "due"
    """The time of the step is over."""
    BUSY = "busy"
    """The budget of the step is used up."""
    USELESS = "useless"
    """The step cannot help: the venue has no such step, or its answer is of no use."""
    LOST = "lost"
    """The connection ended."""
    ENDED = "ended"
    """Trading is over."""


class Action(StrEnum):
    """What the feed does."""

    NOTHING = "-"
    AWAIT = "await"
    """Set the time by which its first book must have come."""
    LOOK_AGAIN = "look again"
    SNAPSHOT = "ask for the book"
    RESUBSCRIBE = "off and on"
    RENEW = "subscribe anew"
    RECONNECT = "ask to reconnect"
    ASK_REST = "ask REST"
    MARK = "mark and tell"
    PAUSE = "wait for budget"
    RESTORE = "live again"
    ADOPT = "take it over"
    STOP = "stop"


_NOTHING, _AWAIT, _RESTORE, _STOP = Action.NOTHING, Action.AWAIT, Action.RESTORE, Action.STOP
_W, _J, _C, _S, _U, _N, _R, _Q, _M, _E = State

TABLE: Mapping[State, Mapping[Saw, tuple[State, Action]]] = {
    State.WHOLE: {
        Saw.ASKED: (_W, _NOTHING),
        Saw.BOOK: (_W, _NOTHING),
        Saw.PROOF: (_W, _NOTHING),
        Saw.REST_BOOK: (_W, _NOTHING),
        Saw.DOUBT: (_C, Action.LOOK_AGAIN),
        Saw.FAULT: (_S, Action.SNAPSHOT),
        Saw.MUTE: (_U, Action.RESUBSCRIBE),
        Saw.DUE: (_W, _NOTHING),
        Saw.BUSY: (_W, _NOTHING),
        Saw.USELESS: (_W, _NOTHING),
        Saw.LOST: (_J, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.JOINING: {
        Saw.ASKED: (_J, _AWAIT),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_J, _NOTHING),
        # The socket's own is on its way: a book that may be older is no substitute yet.
        Saw.REST_BOOK: (_J, _NOTHING),
        Saw.DOUBT: (_J, _NOTHING),
        # Its very first book did not read.
        Saw.FAULT: (_S, Action.SNAPSHOT),
        Saw.MUTE: (_J, _NOTHING),
        Saw.DUE: (_S, Action.SNAPSHOT),
        Saw.BUSY: (_J, _NOTHING),
        Saw.USELESS: (_J, _NOTHING),
        Saw.LOST: (_J, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.RECHECK: {
        Saw.ASKED: (_C, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_C, _NOTHING),
        Saw.DOUBT: (_C, _NOTHING),
        Saw.FAULT: (_S, Action.SNAPSHOT),
        Saw.MUTE: (_U, Action.RESUBSCRIBE),
        Saw.DUE: (_S, Action.SNAPSHOT),
        Saw.BUSY: (_C, _NOTHING),
        Saw.USELESS: (_C, _NOTHING),
        # Lost by chance, with nothing tried yet: the new connection's book settles it.
        Saw.LOST: (_J, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.RESNAPSHOT: {
        Saw.ASKED: (_S, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_W, Action.ADOPT),
        Saw.DOUBT: (_S, _NOTHING),
        Saw.FAULT: (_S, _NOTHING),
        Saw.MUTE: (_U, Action.RESUBSCRIBE),
        Saw.DUE: (_U, Action.RESUBSCRIBE),
        Saw.BUSY: (_S, Action.PAUSE),
        Saw.USELESS: (_U, Action.RESUBSCRIBE),
        Saw.LOST: (_J, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.RESUBSCRIBE: {
        Saw.ASKED: (_U, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_U, _NOTHING),
        Saw.DOUBT: (_U, _NOTHING),
        Saw.FAULT: (_U, _NOTHING),
        Saw.MUTE: (_U, _NOTHING),
        Saw.DUE: (_N, Action.RENEW),
        Saw.BUSY: (_U, Action.PAUSE),
        Saw.USELESS: (_N, Action.RENEW),
        # A new connection is what it gets; the next step is the one after that.
        Saw.LOST: (_R, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.RENEW: {
        Saw.ASKED: (_N, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_N, _NOTHING),
        Saw.DOUBT: (_N, _NOTHING),
        Saw.FAULT: (_N, _NOTHING),
        Saw.MUTE: (_N, _NOTHING),
        Saw.DUE: (_R, Action.RECONNECT),
        # Both hurt every market of the connection: the one that is left out is not made up for by waiting.
        Saw.BUSY: (_R, Action.RECONNECT),
        Saw.USELESS: (_R, Action.RECONNECT),
        Saw.LOST: (_R, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.RECONNECT: {
        Saw.ASKED: (_R, _AWAIT),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_R, _NOTHING),
        Saw.DOUBT: (_R, _NOTHING),
        Saw.FAULT: (_R, _NOTHING),
        Saw.MUTE: (_R, _NOTHING),
        Saw.DUE: (_Q, Action.ASK_REST),
        Saw.BUSY: (_Q, Action.ASK_REST),
        Saw.USELESS: (_Q, Action.ASK_REST),
        Saw.LOST: (_R, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.REST: {
        Saw.ASKED: (_Q, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_W, Action.ADOPT),
        Saw.DOUBT: (_Q, _NOTHING),
        Saw.FAULT: (_Q, _NOTHING),
        Saw.MUTE: (_Q, _NOTHING),
        Saw.DUE: (_M, Action.MARK),
        Saw.BUSY: (_Q, Action.PAUSE),
        Saw.USELESS: (_M, Action.MARK),
        Saw.LOST: (_R, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.MARKED: {
        Saw.ASKED: (_M, _NOTHING),
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_W, _RESTORE),
        Saw.REST_BOOK: (_M, _NOTHING),
        Saw.DOUBT: (_M, _NOTHING),
        Saw.FAULT: (_M, _NOTHING),
        Saw.MUTE: (_M, _NOTHING),
        Saw.DUE: (_S, Action.SNAPSHOT),
        Saw.BUSY: (_M, _NOTHING),
        Saw.USELESS: (_M, _NOTHING),
        Saw.LOST: (_R, _STOP),
        Saw.ENDED: (_E, _STOP),
    },
    State.ENDED: {
        Saw.ASKED: (_E, _NOTHING),
        # It trades on after all.
        Saw.BOOK: (_W, _RESTORE),
        Saw.PROOF: (_E, _NOTHING),
        Saw.REST_BOOK: (_E, _NOTHING),
        Saw.DOUBT: (_E, _NOTHING),
        Saw.FAULT: (_S, Action.SNAPSHOT),
        Saw.MUTE: (_E, _NOTHING),
        Saw.DUE: (_E, _NOTHING),
        Saw.BUSY: (_E, _NOTHING),
        Saw.USELESS: (_E, _NOTHING),
        Saw.LOST: (_E, _NOTHING),
        Saw.ENDED: (_E, _NOTHING),
    },
}

STEPS: Mapping[Action, State] = {
    Action.SNAPSHOT: State.RESNAPSHOT,
    Action.RESUBSCRIBE: State.RESUBSCRIBE,
    Action.RENEW: State.RENEW,
    Action.RECONNECT: State.RECONNECT,
    Action.ASK_REST: State.REST,
}
"""Actions that cost something, and the state in which their outcome is awaited."""

_STEP_OF = {state: action for action, state in STEPS.items()}


class Budget(NamedTuple):
    """So many ``times`` at once, and as many more in every ``per_ms``, evenly."""

    times: int
    per_ms: int


BUDGETS: Mapping[State, Budget] = {
    State.RESNAPSHOT: Budget(600, 60_000),
    State.RESUBSCRIBE: Budget(300, 60_000),
    State.RENEW: Budget(6, 60_000),
    State.RECONNECT: Budget(4, 600_000),
    State.REST: Budget(300, 60_000),
}
"""What one venue may spend on each step: one for a market on Polymarket, one for a command on Kalshi."""

RECONNECT_REST_MS = 600_000
"""One connection is given up for a market's sake at most so often, whatever the venue's budget."""


class RepairBudgets:
    """What is left of a venue's budgets; one object for all feeds of a venue.

    Parameters
    ----------
    budgets : mapping of State to Budget
    """

    def __init__(self, budgets: Mapping[State, Budget] = BUDGETS) -> None:
        self._budgets = budgets
        self._left: dict[State, float] = {step: float(budget.times) for step, budget in budgets.items()}
        self._at_ms: dict[State, int] = {}
        self.refused: dict[State, int] = dict.fromkeys(budgets, 0)

    def _refill(self, step: State, now_ms: int) -> float:
        budget = self._budgets[step]
        # A clock that steps back earns nothing, and does not stop the budget for as long as it stepped.
        passed_ms = max(0, now_ms - self._at_ms.get(step, now_ms))
        self._at_ms[step] = now_ms
        left = self._left[step] = min(float(budget.times), self._left[step] + passed_ms * budget.times / budget.per_ms)
        return left

    def take(self, step: State, now_ms: int) -> bool:
        """Spend one; False, and nothing spent, when there is none left."""
        if self._refill(step, now_ms) < 1:
            self.refused[step] += 1
            return False
        self._left[step] -= 1
        return True

    def free_ms(self, step: State, now_ms: int) -> int:
        """When there will be one to spend."""
        missing = 1 - self._refill(step, now_ms)
        budget = self._budgets[step]
        return now_ms if missing <= 0 else now_ms + 1 + int(missing * budget.per_ms / budget.times)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How long each state may last before ``DUE``, in milliseconds; ``marked`` is the first rest.

    Attributes
    ----------
    joining, recheck, resnapshot, resubscribe, renew, reconnect, rest, marked : int
    longest_rest : int
        A rest doubles up to this.
    """

    joining: int
    recheck: int
    resnapshot: int
    resubscribe: int
    renew: int
    reconnect: int
    rest: int
    marked: int = 60_000
    longest_rest: int = 600_000


class Mend:
    """One market's place in the table.

    Attributes
    ----------
    state : State
    due_ms : int or None
        When ``DUE`` is to be told.
    acted : bool
        The step of the present state was taken and its outcome is awaited.
    """

    __slots__ = ("_ended_by", "_healed_ms", "_marks", "_relapses", "acted", "due_ms", "state")

    CALM_MS = 60_000
    RELAPSES = 3

    def __init__(self) -> None:
        self.state = State.JOINING
        self.due_ms: int | None = None
        self.acted = False
        self._ended_by = State.JOINING
        self._healed_ms: int | None = None
        self._relapses = 0
        self._marks = 0

    @property
    def ended_by(self) -> State:
        """The state from which the market came back last; ``JOINING`` is a first book."""
        return self._ended_by

    def see(self, saw: Saw, now_ms: int) -> Action:
        """Move by the table; returns what is to be done."""
        before = self.state
        self.state, action = TABLE[before][saw]
        if self.state is not before or action is Action.STOP:
            self.due_ms = None
            self.acted = False
        if self.state is State.WHOLE and before is not State.WHOLE:
            self._ended_by = before
            if before is not State.JOINING and before is not State.RECHECK:
                self._healed_ms = now_ms
        if self.state is State.RECONNECT and saw is Saw.LOST:
            # Nobody need ask for what is happening already.
            self.acted = True
        return action

    def overdue(self, now_ms: int) -> Action:
        """Its time has come: the step that waited for its budget, or what follows."""
        self.due_ms = None
        waiting = None if self.acted else _STEP_OF.get(self.state)
        return self.see(Saw.DUE, now_ms) if waiting is None else waiting

    def taken_along(self, step: State) -> None:
        """A step that concerns a whole subscription was taken for one of its markets: it stands for this one, too."""
        self.state, self.due_ms, self.acted = step, None, True

    def broke(self, saw: Saw, now_ms: int, *, climbs: bool = True) -> Action:
        """A book that was whole is not any more.

        A market that keeps breaking goes on where it left off, unless what breaks is not its own (``climbs`` false).
        """
        soon = self._healed_ms is not None and now_ms - self._healed_ms <= self.CALM_MS
        self._relapses = self._relapses + 1 if soon else 0
        if not soon:
            self._marks = 0
        if climbs and self.state is State.WHOLE and self._relapses >= self.RELAPSES:
            self.state = self._ended_by
            return self.see(Saw.DUE, now_ms)
        return self.see(saw, now_ms)

    def await_by(self, pace: Pace, now_ms: int) -> int:
        """Set and return the time by which the present state must have ended."""
        wait_ms = {
            State.JOINING: pace.joining,
            State.RECHECK: pace.recheck,
            State.RESNAPSHOT: pace.resnapshot,
            State.RESUBSCRIBE: pace.resubscribe,
            State.RENEW: pace.renew,
            State.RECONNECT: pace.reconnect,
            State.REST: pace.rest,
            State.MARKED: min(pace.marked << min(self._marks, 16), pace.longest_rest),
        }[self.state]
        self._marks += self.state is State.MARKED
        self.due_ms = now_ms + wait_ms
        return self.due_ms


class Ladder:
    """How one connection climbs: its own rest between two reconnects, and the venue's budgets.

    Parameters
    ----------
    budgets : RepairBudgets or None
        Shared by the venue's connections; None for budgets of its own.
    """

    __slots__ = ("_budgets", "_reconnect_ms")

    def __init__(self, budgets: RepairBudgets | None) -> None:
        self._budgets = budgets if budgets is not None else RepairBudgets()
        self._reconnect_ms: int | None = None

    def may_reconnect(self, now_ms: int) -> bool:
        """Whether this connection has not been given up lately."""
        return self._reconnect_ms is None or now_ms - self._reconnect_ms >= RECONNECT_REST_MS

    def gave_up(self, now_ms: int) -> None:
        """Note that this connection is being given up."""
        self._reconnect_ms = now_ms

    def take(self, step: State, now_ms: int) -> bool:
        """Whether the step may be taken now; it is paid for then."""
        if step is State.RECONNECT and not self.may_reconnect(now_ms):
            return False
        if not self._budgets.take(step, now_ms):
            return False
        if step is State.RECONNECT:
            self.gave_up(now_ms)
        return True

    def free_ms(self, step: State, now_ms: int) -> int:
        """When the budget of a step has something left."""
        return self._budgets.free_ms(step, now_ms)

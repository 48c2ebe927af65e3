"""What one market asserts: whose number or deed, which values, when, by whose word, and what is paid in each branch.

Each field carries how sure its reading is and where in the words it stands, so that a person can check it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from overround.logic.interval import Interval
from overround.market import MarketId, Venue

__all__ = ["Branch", "Family", "Field", "Payoff", "Proposition", "Span", "Window", "WindowKind"]


class Family(StrEnum):
    """The shape of a question; members of one family relate to each other by the same laws."""

    THRESHOLD = "threshold"
    """A number above or below a level, at one time or once it is known."""
    TOUCH = "touch"
    """A number that reaches a level at any time of a window."""
    RANGE = "range"
    """A number between two levels, or exactly one."""
    DEADLINE = "deadline"
    """Something that happens by a date."""
    CANDIDATE = "candidate"
    """One of several contenders: an election, an award, a season."""
    RATE_DECISION = "rate_decision"
    """What a central bank decides."""
    UP_DOWN = "up_down"
    """A price at the end of a window against its beginning."""
    MONEYLINE = "moneyline"
    """Who wins a fixture, or that nobody does."""
    SPREAD = "spread"
    """By how much a side wins a fixture."""
    TOTAL = "total"
    """How much both sides score in a fixture."""
    PROP = "prop"
    """A player's number, or another detail of a fixture."""
    MENTION = "mention"
    """Whether somebody says a word."""
    JOINT = "joint"
    """Several things together, as one question."""
    COMBO = "combo"
    """Several markets together, named as legs."""
    EVENT = "event"
    """A single question of yes or no."""
    UNREAD = "unread"
    """Nothing that we can vouch for."""


class WindowKind(StrEnum):
    """How time enters."""

    AT = "at"
    """At one moment, or for the value published for a period."""
    ANY = "any"
    """At any time within."""
    BY = "by"
    """At any time up to the end."""
    NONE = "none"
    """The words give no time."""


class Branch(StrEnum):
    """Ways in which a question ends other than by its own answer."""

    CANCELLED = "cancelled"
    TIE = "tie"
    NO_DATA = "no_data"
    ABSENT = "absent"
    """The named person does not take part."""


class Payoff(StrEnum):
    """What the first outcome is paid in a branch."""

    NOTHING = "0"
    ALL = "1"
    HALF = "0.5"
    FAIR = "fair"
    """A price that the venue finds: any number from 0 to 1."""
    OTHER = "other"
    """Another market of the set is paid."""


class Span(msgspec.Struct, frozen=True):
    """A piece of a market's words.

    Attributes
    ----------
    field : str
        ``title``, ``label``, ``rules``, ``event_title`` or ``strike``.
    start, end : int
        Characters; both 0 for a structured field, which is one piece.
    """

    field: str
    start: int = 0
    end: int = 0


class Field(msgspec.Struct, frozen=True):
    """How sure one field's reading is, 0 to 1, and the words it rests on."""

    confidence: float
    spans: tuple[Span, ...] = ()
    note: str = ""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """When the assertion is measured.

    Attributes
    ----------
    kind : WindowKind
    start_ms, end_ms : int or None
        Epoch UTC, the end not included; None where the words give none.
    from_creation : bool
        The window begins when the market was made, which is ``start_ms``.
    zone : str
        The zone whose clock the words name, as the tz database calls it.
    """

    kind: WindowKind = WindowKind.NONE
    start_ms: int | None = None
    end_ms: int | None = None
    from_creation: bool = False
    zone: str = ""

    def inside(self, other: Window) -> bool | None:
        """Whether it lies within another; None when an end is not known."""
        if self.start_ms is not None and other.start_ms is not None and self.start_ms < other.start_ms:
            return False
        if self.end_ms is not None and other.end_ms is not None and self.end_ms > other.end_ms:
            return False
        ends = (self.start_ms, other.start_ms, self.end_ms, other.end_ms)
        return None if None in ends else True


class Proposition(msgspec.Struct, frozen=True, kw_only=True):
    """One market's assertion, that is, what its first outcome is paid for.

    Attributes
    ----------
    venue, market_id : Venue, MarketId
    ref : str
        The venue's other key (Gamma id), else empty.
    event_id : str
    outcomes : tuple of str
        Their labels; the assertion is the first one's.
    family : Family
    subject : str
        Whom or what it is about, in canonical words (``btc/usdt``, ``high temperature miami``, ``detroit pistons``).
    measure : str
        Which number, deed or title is meant, in canonical words.
    values : Interval or None
        The numbers for which the first outcome is paid.
    step : str
        Distance of neighbouring values as reported (``1``, ``0.1``), empty where the number is continuous or unknown.
    unit : str
    aggregation : str
        Which of many numbers counts: ``close``, ``high``, ``low``, ``average``, ``settlement``, ``max``, ``min`` or ``count``.
    window : Window
    source : str
        Whose word decides, in canonical words.
    payoffs : dict of str to Payoff
        By branch, as far as the words tell.
    qualifier : str
        What narrows the measure: a half, a map, a player, a period.
    game : str
        Canonical key of the fixture, else empty.
    exclusive_set : str
        Key of the set of which at most one market is paid, else empty.
    open_set : bool
        The set may grow, or legs of it are missing: it is not exhaustive.
    text_hash : str
        Hash of everything that was read; decisions of a review are keyed to it.
    template_hash : str
        Hash of title and rules without numbers and dates; a review's decision carries over to equal ones.
    fields : dict of str to Field
        Confidence and spans by the name of the field.
    confidence : float
        Of the reading as a whole, 0 to 1: that of its weakest necessary field.
    reasons : tuple of str
        Why the confidence is not higher.
    """

    venue: Venue
    market_id: MarketId
    ref: str = ""
    event_id: str = ""
    outcomes: tuple[str, ...] = ("Yes", "No")
    family: Family = Family.UNREAD
    subject: str = ""
    measure: str = ""
    values: Interval | None = None
    step: str = ""
    unit: str = ""
    aggregation: str = ""
    window: Window = Window()
    source: str = ""
    payoffs: dict[str, Payoff] = msgspec.field(default_factory=dict)
    qualifier: str = ""
    game: str = ""
    exclusive_set: str = ""
    open_set: bool = False
    text_hash: str = ""
    template_hash: str = ""
    fields: dict[str, Field] = msgspec.field(default_factory=dict)
    confidence: float = 0.0
    reasons: tuple[str, ...] = ()

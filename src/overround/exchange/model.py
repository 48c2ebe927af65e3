"""What the local exchange trades: listings, changes, and the port of a source of changes.

The exchange is a venue, not a client: nothing here comes from the adapters, so that a mistake in an
adapter cannot cancel itself out in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from overround.market import Venue

__all__ = ["Change", "ChangeKind", "Listed", "ListedEvent", "Source"]


class ListedEvent(msgspec.Struct, kw_only=True):
    """A question family as the venue would list it.

    Attributes
    ----------
    key : str
        Gamma event id, or Kalshi event ticker.
    title, category, series : str
    exclusive : bool
        Neg-risk, or ``mutually_exclusive``.
    augmented : bool
        Legs may be added later (Polymarket's augmented neg-risk).
    neg_risk_id : str
        ``0x`` and 64 hex digits ending in ``00``; empty for others.
    family : str
        ``binary``, ``exclusive``, ``augmented``, ``threshold``, ``touch``, ``deadline``, ``partition``, ``joint``, ...
    """

    key: str
    title: str
    category: str
    series: str
    exclusive: bool = False
    augmented: bool = False
    neg_risk_id: str = ""
    family: str = "binary"


class Listed(msgspec.Struct, kw_only=True):
    """One market as the exchange knows it; mutable, because status, tick and result change.

    Attributes
    ----------
    venue : Venue
    key : str
        Condition id, or ticker.
    tokens : tuple of str
        Two token ids (Polymarket); ``("yes", "no")`` on Kalshi.
    number : int
        Gamma's numeric id, or a running number.
    event : ListedEvent
    leg : int
        Index inside the event.
    title, label, rules, source : str
    outcomes : tuple of str
        Outcome labels.
    open_ms, close_ms : int
    tick_e4 : int
        Tick now in force (Kalshi grids with fine tails: see ``grid``).
    grid : str
        Kalshi ``price_level_structure`` (``linear_cent``, ``tapered_deci_cent``, ...); empty on Polymarket.
    min_size_e6 : int
    status : str
        ``active``, ``paused``, ``closed`` or ``resolved``.
    result : int or None
        Index of the winning outcome.
    fee_rate, fee_type : str
        Decimal text (Polymarket: rate, Kalshi: multiplier) and the venue's word; empty where there is no fee.
    strike_type : str
        Kalshi's word, or empty.
    floor_strike, cap_strike : str
        Decimal texts, or empty.
    volume_usdc, volume_24h_usdc, liquidity_usdc : float
    unlisted : bool
        Left out of the listings; its book goes on.
    related : dict of str to str
        What the generator knows about relations (planted or logical), for the truth endpoint only.
    """

    venue: Venue
    key: str
    tokens: tuple[str, str]
    number: int
    event: ListedEvent
    leg: int = 0
    title: str = ""
    label: str = ""
    rules: str = ""
    source: str = ""
    outcomes: tuple[str, str] = ("Yes", "No")
    open_ms: int = 0
    close_ms: int = 0
    tick_e4: int = 100
    grid: str = ""
    min_size_e6: int = 5_000_000
    status: str = "active"
    result: int | None = None
    fee_rate: str = ""
    fee_type: str = ""
    strike_type: str = ""
    floor_strike: str = ""
    cap_strike: str = ""
    volume_usdc: float = 0.0
    volume_24h_usdc: float = 0.0
    liquidity_usdc: float = 0.0
    unlisted: bool = False
    related: dict[str, str] = msgspec.field(default_factory=dict)


class ChangeKind(StrEnum):
    """What happened to a market."""

    LEVEL = "level"
    """The resting size at one price of the first outcome's book is now ``sz_e6`` (``delta_e6`` = change)."""
    TRADE = "trade"
    """A print; its book changes are LEVEL changes of the same millisecond, before it."""
    TICK = "tick"
    """The tick is now ``tick_e4``."""
    STATUS = "status"
    """``status`` changed (paused, active, closed, resolved)."""
    LISTED = "listed"
    """A market was added."""
    EDITED = "edited"
    """What the listing says of a market changed (texts, times, fees), or whether it says anything."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, in the order in which it happened.

    Attributes
    ----------
    kind : ChangeKind
    key : str
        Market key.
    ts_ms : int
        Venue time; may repeat, never falls within one market.
    number : int
        Running number of this market's book states: state ``n`` is the book after its ``n``-th LEVEL change.
    bid : bool
        Side of the first outcome's book (LEVEL), or whether the taker buys the first outcome (TRADE).
    px_e4, sz_e6, delta_e6 : int
    tick_e4 : int
    status : str
    trade_id : str
    """

    kind: ChangeKind
    key: str
    ts_ms: int
    number: int = 0
    bid: bool = True
    px_e4: int = 0
    sz_e6: int = 0
    delta_e6: int = 0
    tick_e4: int = 0
    status: str = ""
    trade_id: str = ""


class Source(Protocol):
    """Port through which the exchange's servers learn what happens: the generator or a recording.

    A source applies its changes to its own books as it hands them out, in ``advance``; ``levels`` answers with
    the books as they are after the last ``advance``. ``Change`` objects are made only on this side, which is a
    simulated venue; the collector's own road never sees one.
    """

    @property
    def listings(self) -> Mapping[str, Listed]:
        """Every market by key."""
        ...

    def levels(self, key: str) -> tuple[dict[int, int], dict[int, int]]:
        """Bids and asks (``px_e4`` to ``sz_e6``) of the first outcome now; not to be changed by the caller."""
        ...

    def state_number(self, key: str) -> int:
        """Number of the market's present book state."""
        ...

    def oldest_state_number(self, key: str) -> int:
        """Number of the market's oldest book state that is kept."""
        ...

    def last_trade_px_e4(self, key: str) -> int | None:
        """Price of the last print, seen from the first outcome."""
        ...

    def last_change_ms(self, key: str) -> int:
        """Venue time of the market's last book change."""
        ...

    def next_ms(self) -> int | None:
        """When ``advance`` has something to do next; None when the source is exhausted."""
        ...

    def advance(self, now_ms: int) -> Sequence[Change]:
        """Everything that happens up to and including ``now_ms``, in order."""
        ...

    def watch(self, keys: Sequence[str]) -> None:
        """Hint: these markets are subscribed now, too.

        A market that was never named may stand still (a generator's economy), but never moves wrongly.
        """
        ...

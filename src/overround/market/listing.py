"""What a venue lists: one market as the universe file stores it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from overround.market.fees import FeeSchedule
from overround.market.ids import MarketId, OutcomeId, Venue

__all__ = ["Exclusivity", "Market", "MarketStatus", "Origin", "Strike", "TickBand"]


class MarketStatus(StrEnum):
    """Where a market stands, in our words."""

    UNOPENED = "unopened"
    ACTIVE = "active"
    PAUSED = "paused"
    CLOSED = "closed"
    RESOLVED = "resolved"
    VANISHED = "vanished"
    """Listed earlier, absent from the newest full listing."""


class Origin(StrEnum):
    """Where rows come from; the two never share a folder."""

    LIVE = "live"
    SYNTHETIC = "synthetic"


class TickBand(msgspec.Struct, frozen=True):
    """Prices from ``start_e4`` to ``end_e4`` move in steps of ``step_e4``."""

    start_e4: int
    end_e4: int
    step_e4: int


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """A structured threshold, as listed; numbers stay exact decimal texts.

    Attributes
    ----------
    kind : str
        ``greater``, ``greater_or_equal``, ``less``, ``less_or_equal``, ``between``, ``functional``,
        ``custom``, ``structured``, or the venue's own word.
    floor, cap : str or None
        Lower and upper number.
    functional : str or None
        Formula text.
    custom : dict of str to str
        Free keys (a team id, a company); what separates two ladders of one event.
    """

    kind: str
    floor: str | None = None
    cap: str | None = None
    functional: str | None = None
    custom: dict[str, str] = msgspec.field(default_factory=dict)


class Exclusivity(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue says about a market's siblings; exclusive never means exhaustive.

    Attributes
    ----------
    exclusive : bool
        At most one market of the set resolves YES.
    set_id : str
        Key of the set (neg-risk market id, or event ticker); empty when there is none.
    index : int or None
        Place of this leg in the set (Polymarket: last byte of the question id).
    augmented : bool
        Legs may still be added: the visible set is not exhaustive.
    collateral_return : str
        Kalshi's word (``MECNET``, ``DIRECNET``) or empty.
    convert_fee_bips : int or None
        What Polymarket keeps of a conversion, hundredths of a percent; None where the listing does not say.
    """

    exclusive: bool = False
    set_id: str = ""
    index: int | None = None
    augmented: bool = False
    collateral_return: str = ""
    convert_fee_bips: int | None = None


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable question, as one line of ``universe.jsonl``.

    The first seven names are fixed by the design. Times are epoch milliseconds, money is USD.

    Attributes
    ----------
    market_id : MarketId
        Polymarket condition id, Kalshi ticker.
    outcome_ids : tuple of OutcomeId
        In the venue's order; the second outcome's book is the mirror of the first's.
    title : str
        The question.
    close_ts, open_ts : int or None
        End and start of trading (Polymarket's end is indicative).
    status : MarketStatus
    tags : tuple of str
        Labels or categories.
    venue : Venue
    origin : Origin
    venue_ref : str
        The venue's other key (Gamma id); empty when there is none.
    event_id, event_title, series_id : str
    outcome_labels : tuple of str
    label : str
        Caption of the leg inside its event.
    rules_text, rules_source : str
    tick_grid : tuple of TickBand
    min_size_e6 : int
        Smallest resting order, millionths of a contract.
    fee : FeeSchedule
    strike : Strike or None
    exclusivity : Exclusivity
    neg_risk : bool
        Part of the Polymarket book hash.
    combo_legs : tuple of str
        ``market_id:outcome`` of each leg of a combination, else empty.
    volume_usdc, volume_24h_usdc, liquidity_usdc : float
        0.0 where the venue says nothing.
    best_bid_px, best_ask_px : float or None
        The listing's own quote of the first outcome: minutes old, for ranking only.
    result : str
        ``yes``, ``no``, ``scalar``, an outcome label, or empty.
    accepts_orders : bool
    expected_close_ts : int or None
        When the result is expected (Kalshi), else None.
    rewards_daily_usdc, rewards_min_size, rewards_max_spread_px : float
        Liquidity rewards; 0.0 when there are none.
    slug : str
    first_seen_ts, last_seen_ts : int
        When our scans first and last saw it.
    disputed : bool
        Its outcome was proposed, and somebody objects.
    """

    market_id: MarketId
    outcome_ids: tuple[OutcomeId, ...]
    title: str
    close_ts: int | None
    open_ts: int | None
    status: MarketStatus
    tags: tuple[str, ...]
    venue: Venue
    origin: Origin = Origin.LIVE
    venue_ref: str = ""
    event_id: str = ""
    event_title: str = ""
    series_id: str = ""
    outcome_labels: tuple[str, ...] = ()
    label: str = ""
    rules_text: str = ""
    rules_source: str = ""
    tick_grid: tuple[TickBand, ...] = ()
    min_size_e6: int = 0
    fee: FeeSchedule = FeeSchedule()
    strike: Strike | None = None
    exclusivity: Exclusivity = Exclusivity()
    neg_risk: bool = False
    combo_legs: tuple[str, ...] = ()
    volume_usdc: float = 0.0
    volume_24h_usdc: float = 0.0
    liquidity_usdc: float = 0.0
    best_bid_px: float | None = None
    best_ask_px: float | None = None
    result: str = ""
    accepts_orders: bool = True
    expected_close_ts: int | None = None
    rewards_daily_usdc: float = 0.0
    rewards_min_size: float = 0.0
    rewards_max_spread_px: float = 0.0
    slug: str = ""
    first_seen_ts: int = 0
    last_seen_ts: int = 0
    disputed: bool = False

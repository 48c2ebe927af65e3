"""Kalshi's payloads as they come: the venue's field names, only the fields we use.

Numbers stay texts here (``parse`` makes integers of them). A JSON number that must stay exact, such as a
strike of ``7999999999.99``, is kept as its own text through ``msgspec.Raw``. What the venue may leave out or
send as null has a default; everything it may add is ignored.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

__all__ = [
    "AccountLimits",
    "Balance",
    "Bucket",
    "Candles",
    "CandlesPage",
    "CollectionsPage",
    "DeltaFrame",
    "DeltaMsg",
    "EndpointCosts",
    "Envelope",
    "ErrorMsg",
    "EventPage",
    "EventSingle",
    "ExchangeSchedule",
    "ExchangeStatus",
    "FillsPage",
    "LifecycleMsg",
    "MarketOnly",
    "MarketPage",
    "MarketSingle",
    "OkMsg",
    "OrderbookFp",
    "OrderbookSingle",
    "OrderbooksPage",
    "PositionsPage",
    "RestEvent",
    "RestMarket",
    "RestOrderbook",
    "RestSeries",
    "RestTrade",
    "SeriesFeeChanges",
    "SeriesPage",
    "SeriesSingle",
    "SettlementsPage",
    "SnapshotMsg",
    "StampedFrame",
    "StampedMsg",
    "SubscribedMsg",
    "TextTimedFrame",
    "TextTimedMsg",
    "TickerMsg",
    "TradeFrame",
    "TradeHead",
    "TradeMsg",
    "TradesPage",
]

Levels = list[tuple[str, str]]


# -- socket ------------------------------------------------------------------------------------------------


class MarketOnly(Struct, gc=False, frozen=True):
    """Which market a message is about, whatever else it says."""

    market_ticker: str = ""


class TradeHead(Struct, gc=False, tag_field="type", tag="trade"):
    """What a print means to most books: its number, and whose it is."""

    sid: int
    seq: int
    msg: MarketOnly = MarketOnly()


class Envelope(Struct):
    """A frame of any kind, its message still raw."""

    type: str = ""
    sid: int | None = None
    seq: int | None = None
    id: int | None = None
    sending_ts_ms: int | None = None
    msg: Raw = Raw(b"")


class DeltaMsg(Struct, gc=False):
    """One signed change of resting size."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    ts: str | int | None = None
    ts_ms: int | None = None
    clock: int | None = None


class DeltaFrame(Struct, gc=False, tag_field="type", tag="orderbook_delta"):
    """A whole ``orderbook_delta`` frame; the tag costs next to nothing, because the venue writes it first."""

    sid: int
    seq: int
    msg: DeltaMsg


class StampedMsg(Struct, gc=False):
    """A ``DeltaMsg`` that carries ``ts_ms``, as all do since April 2026: the text of its time is skipped."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    stamp: int = msgspec.field(name="ts_ms")


class StampedFrame(Struct, gc=False, tag_field="type", tag="orderbook_delta"):
    """A ``DeltaFrame`` as it is today."""

    sid: int
    seq: int
    msg: StampedMsg


class TextTimedMsg(Struct, gc=False):
    """A ``DeltaMsg`` of an older stream: its time is a text."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    stamp: str = msgspec.field(name="ts")


class TextTimedFrame(Struct, gc=False, tag_field="type", tag="orderbook_delta"):
    """A ``DeltaFrame`` of an older stream."""

    sid: int
    seq: int
    msg: TextTimedMsg


class SnapshotMsg(Struct):
    """A whole book: an absent side has no levels."""

    market_ticker: str = ""
    market_id: str = ""
    yes_dollars_fp: Levels | None = None
    no_dollars_fp: Levels | None = None
    ts: str | int | None = None
    ts_ms: int | None = None


class TradeMsg(Struct, gc=False):
    """One print."""

    market_ticker: str
    yes_price_dollars: str
    no_price_dollars: str
    count_fp: str
    trade_id: str = ""
    taker_outcome_side: str = ""
    taker_side: str = ""
    is_block_trade: bool = False
    ts: str | int | None = None
    ts_ms: int | None = None


class TradeFrame(Struct, gc=False, tag_field="type", tag="trade"):
    """A whole ``trade`` frame."""

    msg: TradeMsg


class TickerMsg(Struct, gc=False):
    """Best quotes and totals; the quote fields have sentinels, the sizes tell the truth."""

    market_ticker: str
    price_dollars: str = ""
    yes_bid_dollars: str = ""
    yes_ask_dollars: str = ""
    yes_bid_size_fp: str = ""
    yes_ask_size_fp: str = ""
    last_trade_size_fp: str = ""
    volume_fp: str = ""
    open_interest_fp: str = ""
    dollar_volume: int | None = None
    dollar_open_interest: int | None = None
    ts: int | None = None
    ts_ms: int | None = None


class PriceRange(Struct, gc=False):
    """Prices from ``start`` to ``end`` move in steps of ``step``."""

    start: str
    end: str
    step: str


class LifecycleMsg(Struct):
    """``market_lifecycle_v2``; times are Unix seconds."""

    market_ticker: str = ""
    event_type: str = ""
    open_ts: int | None = None
    close_ts: int | None = None
    determination_ts: int | None = None
    settled_ts: int | None = None
    is_deactivated: bool | None = None
    result: str = ""
    settlement_value: str = ""
    settlement_value_dollars: str = ""
    price_level_structure: str = ""
    price_ranges: list[PriceRange] | None = None


class SubscribedMsg(Struct, gc=False):
    """A new subscription's number."""

    channel: str
    sid: int


class OkMsg(Struct):
    """The whole market set after a change."""

    market_tickers: list[str] | None = None


class ErrorMsg(Struct):
    """A refused command or an ended subscription."""

    code: int = 0
    msg: str = ""
    market_ticker: str = ""
    market_tickers: list[str] | None = None


# -- REST: catalogue -----------------------------------------------------------------------------------------


class Source(Struct, gc=False):
    """A settlement source."""

    name: str = ""
    url: str | None = None


class Leg(Struct, gc=False):
    """One leg of a combination."""

    market_ticker: str
    side: str = "yes"
    event_ticker: str = ""


class RestMarket(Struct):
    """One market; see the venue notes for which fields lie."""

    ticker: str
    event_ticker: str
    status: str = ""
    market_type: str = "binary"
    title: str = ""
    subtitle: str | None = None
    yes_sub_title: str = ""
    no_sub_title: str = ""
    open_time: str | None = None
    close_time: str | None = None
    expected_expiration_time: str | None = None
    settlement_ts: str | None = None
    fee_waiver_expiration_time: str | None = None
    rules_primary: str = ""
    rules_secondary: str = ""
    result: str | None = None
    settlement_value_dollars: str | None = None
    expiration_value: str | None = None
    price_level_structure: str = ""
    price_ranges: list[PriceRange] | None = None
    strike_type: str | None = None
    floor_strike: Raw = Raw(b"")
    cap_strike: Raw = Raw(b"")
    functional_strike: str | None = None
    custom_strike: dict[str, Any] | None = None
    volume_fp: str | None = None
    volume_24h_fp: str | None = None
    open_interest_fp: str | None = None
    notional_value_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    last_price_dollars: str | None = None
    mve_collection_ticker: str | None = None
    mve_selected_legs: list[Leg] | None = None
    is_provisional: bool = False
    exchange_index: int | None = None


class RestEvent(Struct):
    """A question family; ``markets`` when nested."""

    event_ticker: str
    series_ticker: str = ""
    title: str = ""
    sub_title: str | None = None
    category: str | None = None
    mutually_exclusive: bool = False
    collateral_return_type: str | None = None
    settlement_sources: list[Source] | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Raw = Raw(b"")
    markets: list[Raw] | None = None


class RestSeries(Struct):
    """A recurring topic; it carries the fees."""

    ticker: str
    title: str = ""
    category: str | None = None
    categories: list[str] | None = None
    tags: list[str] | None = None
    frequency: str | None = None
    settlement_sources: list[Source] | None = None
    fee_type: str = ""
    fee_multiplier: Raw = Raw(b"")


class MarketPage(Struct):
    """A page of ``/markets``; records stay raw, so that one that does not read costs itself only."""

    markets: list[Raw]
    cursor: str | None = None


class MarketSingle(Struct):
    """``/markets/{ticker}``."""

    market: RestMarket


class EventPage(Struct):
    """A page of ``/events``; records stay raw."""

    events: list[Raw]
    cursor: str | None = None


class EventSingle(Struct):
    """``/events/{event_ticker}``."""

    event: RestEvent
    markets: list[RestMarket] | None = None


class SeriesPage(Struct):
    """``/series``; not paged, records stay raw."""

    series: list[Raw] | None = None


class SeriesSingle(Struct):
    """``/series/{series_ticker}``."""

    series: RestSeries


class SeriesFeeChange(Struct):
    """A scheduled change of a series' fee."""

    series_ticker: str
    fee_type: str = ""
    fee_multiplier: Raw = Raw(b"")
    scheduled_ts: str | None = None


class SeriesFeeChanges(Struct):
    """``/series/fee_changes``."""

    series_fee_change_arr: list[SeriesFeeChange] | None = None


class CollectionsPage(Struct):
    """``/multivariate_event_collections``."""

    multivariate_contracts: list[Collection] | None = None
    cursor: str | None = None


class Collection(Struct):
    """A family of combinations."""

    collection_ticker: str = ""
    series_ticker: str = ""
    title: str = ""
    associated_event_tickers: list[str] | None = None


# -- REST: books, trades, candles, exchange ------------------------------------------------------------------


class OrderbookFp(Struct):
    """Bids of both sides, prices ascending; null or empty where there are none."""

    yes_dollars: Levels | None = None
    no_dollars: Levels | None = None


class RestOrderbook(Struct):
    """One market's book of a batch."""

    ticker: str
    orderbook_fp: OrderbookFp


class OrderbooksPage(Struct):
    """``/markets/orderbooks``; records stay raw."""

    orderbooks: list[Raw] | None = None


class OrderbookSingle(Struct):
    """``/markets/{ticker}/orderbook``."""

    orderbook_fp: OrderbookFp


class RestTrade(Struct, gc=False):
    """One public print."""

    trade_id: str
    ticker: str
    count_fp: str
    yes_price_dollars: str
    no_price_dollars: str
    created_time: str
    taker_outcome_side: str = ""
    taker_side: str = ""
    is_block_trade: bool = False


class TradesPage(Struct):
    """``/markets/trades``, newest first."""

    trades: list[RestTrade] | None = None
    cursor: str | None = None


class Ohlc(Struct, gc=False):
    """Prices of a candle; absent keys mean that nothing happened."""

    open_dollars: str | None = None
    high_dollars: str | None = None
    low_dollars: str | None = None
    close_dollars: str | None = None
    mean_dollars: str | None = None
    previous_dollars: str | None = None


class Candle(Struct):
    """One period, named by its inclusive end (seconds)."""

    end_period_ts: int
    price: Ohlc
    yes_bid: Ohlc
    yes_ask: Ohlc
    volume_fp: str = "0.00"
    open_interest_fp: str = "0.00"


class Candles(Struct):
    """``/series/{s}/markets/{t}/candlesticks``."""

    ticker: str = ""
    candlesticks: list[Candle] | None = None


class CandlesPage(Struct):
    """``/markets/candlesticks``."""

    markets: list[Candles] | None = None


class ExchangeStatus(Struct):
    """Whether the exchange is open; a 5xx can carry the same body."""

    exchange_active: bool
    trading_active: bool
    intra_exchange_transfers_active: bool | None = None
    exchange_estimated_resume_time: str | None = None


class Session(Struct, gc=False):
    """Opening hours of a day, Eastern ``HH:MM``; ``00:00`` to ``00:00`` is the whole day."""

    open_time: str
    close_time: str


class StandardHours(Struct):
    """Opening hours of a week."""

    start_time: str
    end_time: str
    monday: list[Session] = []
    tuesday: list[Session] = []
    wednesday: list[Session] = []
    thursday: list[Session] = []
    friday: list[Session] = []
    saturday: list[Session] = []
    sunday: list[Session] = []


class MaintenanceWindow(Struct, gc=False):
    """A planned pause."""

    start_datetime: str
    end_datetime: str


class Schedule(Struct):
    """Weeks and pauses."""

    standard_hours: list[StandardHours] = []
    maintenance_windows: list[MaintenanceWindow] = []


class ExchangeSchedule(Struct):
    """``/exchange/schedule``."""

    schedule: Schedule


# -- REST: account -------------------------------------------------------------------------------------------


class Bucket(Struct, gc=False):
    """A token bucket: tokens per second, and how many it holds."""

    refill_rate: int
    bucket_capacity: int


class AccountLimits(Struct):
    """``/account/limits``."""

    read: Bucket
    write: Bucket
    usage_tier: str = ""


class EndpointCost(Struct, gc=False):
    """Tokens that one call of an endpoint costs."""

    method: str
    path: str
    cost: int


class EndpointCosts(Struct):
    """``/account/endpoint_costs``."""

    default_cost: int
    endpoint_costs: list[EndpointCost] = []


class Balance(Struct):
    """``/portfolio/balance``: ``balance`` and ``portfolio_value`` are integer cents."""

    balance: int
    portfolio_value: int = 0
    balance_dollars: str = ""
    updated_ts: int | None = None


class MarketPosition(Struct, gc=False):
    """Contracts held: positive YES, negative NO."""

    ticker: str
    position_fp: str
    market_exposure_dollars: str = ""
    fees_paid_dollars: str = ""
    realized_pnl_dollars: str = ""
    total_traded_dollars: str = ""
    resting_orders_count: int = 0


class PositionsPage(Struct):
    """``/portfolio/positions``."""

    market_positions: list[MarketPosition] | None = None
    cursor: str | None = None


class RestFill(Struct, gc=False):
    """One own fill; ``fee_cost`` is trade fee plus rounding fee."""

    trade_id: str
    order_id: str
    ticker: str
    count_fp: str
    yes_price_dollars: str
    no_price_dollars: str
    outcome_side: str
    is_taker: bool
    fee_cost: str
    created_time: str = ""


class FillsPage(Struct):
    """``/portfolio/fills``."""

    fills: list[RestFill] | None = None
    cursor: str | None = None


class RestSettlement(Struct, gc=False):
    """One settled position: ``revenue`` and ``value`` are integer cents, the costs dollar texts."""

    ticker: str
    market_result: str
    revenue: int
    yes_count_fp: str
    no_count_fp: str
    yes_total_cost_dollars: str
    no_total_cost_dollars: str
    fee_cost: str
    settled_time: str
    value: int | None = None


class SettlementsPage(Struct):
    """``/portfolio/settlements``."""

    settlements: list[RestSettlement] | None = None
    cursor: str | None = None

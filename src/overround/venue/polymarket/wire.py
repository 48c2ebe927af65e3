"""The venue's payloads with the venue's own names: only the fields we use, in the types they come in.

Text and number are both accepted where the venue has sent either (``Number``); absent, null and ``""`` are the same.
Nothing is interpreted here: ``parse`` does that. Fields not named here are skipped without being allocated.

On the market channel the kind (``event_type``) comes after the bulk of a message, so a tagged union would scan twice.
`ChangeFrame` is the narrow struct of the one kind that makes up nine tenths of the traffic; `Event` is flat and takes
every kind.
"""

# The venue's spelling is kept: it is what one searches the documentation and the journal for.
# ruff: noqa: N815

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar

import msgspec

from overround.errors import UNREADABLE, FrameMalformed

__all__ = [
    "BookFrame",
    "BookLevel",
    "CancelAnswer",
    "ChangeFrame",
    "ClobBook",
    "ClobMarket",
    "ClobMarketsPage",
    "DataPricePoint",
    "Event",
    "GammaEvent",
    "GammaEventsPage",
    "GammaFeeSchedule",
    "GammaMarket",
    "GammaMarketsPage",
    "GammaReward",
    "GammaSearch",
    "GammaSeries",
    "GammaTag",
    "HashesFrame",
    "LevelChange",
    "OrderAnswer",
    "PriceChange",
    "PriceHistory",
    "ShortFrame",
    "TradePrint",
    "UserOrder",
    "UserOrdersPage",
    "UserTrade",
    "UserTradesPage",
    "decode_book",
    "decode_books",
    "decode_change",
    "decode_event",
    "decode_gamma_event",
    "decode_gamma_events",
    "decode_gamma_market",
    "decode_gamma_markets",
    "decode_hashes",
    "decode_levels",
    "decode_short",
    "split_array",
]

_T = TypeVar("_T")

Number: TypeAlias = str | int | float | None
Texts: TypeAlias = list[str] | str | None
"""A list of texts, or a text that holds the JSON of one. No numbers: token ids have 77 digits."""
Prices: TypeAlias = list[str | int | float] | str | None
"""The same for prices, which come as texts or numbers."""


# --- market channel -------------------------------------------------------------------------------------------------


class _NarrowChange(msgspec.Struct, gc=False):
    """An element of ``price_changes`` as the hot path reads it; sizes hardly repeat, prices do."""

    asset_id: str
    price: str
    size: float
    side: Literal["BUY", "SELL"]


class ChangeFrame(msgspec.Struct, gc=False):
    """A ``price_change`` in the common form, or any other object (then ``price_changes`` is None)."""

    price_changes: list[_NarrowChange] | None = None
    timestamp: int = 0


class _AnnouncedHash(msgspec.Struct, gc=False):
    """An element of ``price_changes`` as a proof reads it."""

    asset_id: str = ""
    hash: str = ""


class HashesFrame(msgspec.Struct, gc=False):
    """What a ``price_change`` announces about the books after it."""

    price_changes: list[_AnnouncedHash] = []


class _NarrowLevel(msgspec.Struct, gc=False):
    """A level as the venue prints it at present: two texts."""

    price: str
    size: str


class BookFrame(msgspec.Struct, gc=False):
    """A ``book`` in the common form, its levels unread; any other object does not decode, or has another kind."""

    event_type: str
    asset_id: str
    timestamp: int
    bids: msgspec.Raw
    asks: msgspec.Raw
    hash: str | None = None
    tick_size: Number = None
    last_trade_price: Number = None


class ShortFrame(msgspec.Struct, gc=False):
    """A ``best_bid_ask`` or a ``last_trade_price`` in the common form; any other object has another kind."""

    event_type: str
    market: str
    asset_id: str
    timestamp: int
    price: str = ""
    best_bid: str = ""
    best_ask: str = ""


class BookLevel(msgspec.Struct, gc=False):
    """One level of a book."""

    price: Number
    size: Number


class PriceChange(msgspec.Struct, gc=False):
    """An element of ``price_changes``: the new size of one level of one token."""

    asset_id: str = ""
    token_id: str = ""
    price: Number = None
    size: Number = None
    side: str | None = None
    hash: str | None = None
    best_bid: Number = None
    best_ask: Number = None


class LevelChange(msgspec.Struct, gc=False):
    """An element of ``changes`` (before 15 September 2025)."""

    price: Number = None
    size: Number = None
    side: str | None = None


class Event(msgspec.Struct, gc=False):
    """Any object of the market channel; fields of other kinds stay at their defaults.

    A side of a book may be null, which is empty; a side that is absent is not (a renamed field must not empty a book).
    """

    event_type: str = ""
    market: str = ""
    asset_id: str = ""
    token_id: str = ""
    timestamp: Number = None
    hash: str | None = None
    bids: list[BookLevel] | msgspec.UnsetType | None = msgspec.UNSET
    asks: list[BookLevel] | msgspec.UnsetType | None = msgspec.UNSET
    buys: list[BookLevel] | msgspec.UnsetType | None = msgspec.UNSET
    sells: list[BookLevel] | msgspec.UnsetType | None = msgspec.UNSET
    tick_size: Number = None
    last_trade_price: Number = None
    price_changes: list[PriceChange] | None = None
    changes: list[LevelChange] | None = None
    price: Number = None
    size: Number = None
    side: str | None = None
    best_bid: Number = None
    best_ask: Number = None
    new_tick_size: Number = None
    condition_id: str | None = None
    question: str | None = None
    winning_asset_id: str | None = None
    winning_outcome: str | None = None
    transaction_hash: str | None = None
    fee_rate_bps: Number = None


# --- user channel (read by the live relayer) ------------------------------------------------------------------------


class UserOrder(msgspec.Struct, kw_only=True):
    """An order of ours: placed, updated, cancelled; also a row of the open-orders page."""

    id: str
    market: str
    asset_id: str
    side: str
    price: Number
    original_size: Number
    size_matched: Number
    status: str = ""
    type: str = ""
    order_type: str = ""
    outcome: str = ""
    owner: str = ""
    expiration: Number = None
    created_at: Number = None
    timestamp: Number = None
    associate_trades: list[str] | None = None


class MakerOrder(msgspec.Struct, kw_only=True):
    """One resting order that a trade consumed."""

    order_id: str
    asset_id: str
    price: Number
    matched_amount: Number
    owner: str = ""
    outcome: str = ""
    side: str = ""
    fee_rate_bps: Number = None


class UserTrade(msgspec.Struct, kw_only=True):
    """A trade of ours at one of its stages; repeated at each, so upsert by ``id``."""

    id: str
    market: str
    asset_id: str
    side: str
    price: Number
    size: Number
    status: str
    taker_order_id: str = ""
    trader_side: str = ""
    maker_orders: list[MakerOrder] | None = None
    match_time: Number = None
    last_update: Number = None
    fee_rate_bps: Number = None
    transaction_hash: str | None = None


class UserOrdersPage(msgspec.Struct, kw_only=True):
    """A page of our open orders."""

    data: list[UserOrder]
    next_cursor: str = ""


class UserTradesPage(msgspec.Struct, kw_only=True):
    """A page of our trades."""

    data: list[UserTrade]
    next_cursor: str = ""


class OrderAnswer(msgspec.Struct, kw_only=True):
    """Answer to placing an order."""

    success: bool
    orderID: str | None = None
    errorMsg: str | None = None


class CancelAnswer(msgspec.Struct, kw_only=True):
    """Answer to cancelling orders: what was cancelled, and why the others were not."""

    canceled: list[str] = []
    not_canceled: dict[str, str] = {}


# --- CLOB REST ------------------------------------------------------------------------------------------------------


class ClobBook(msgspec.Struct, kw_only=True):
    """A book as REST gives it; the last four members appeared over the years."""

    market: str
    asset_id: str
    bids: list[BookLevel]
    asks: list[BookLevel]
    timestamp: Number = None
    hash: str = ""
    min_order_size: Number = None
    tick_size: Number = None
    neg_risk: bool | None = None
    last_trade_price: Number = None


class ClobToken(msgspec.Struct, kw_only=True):
    """One outcome of a CLOB market; rows with an empty ``token_id`` exist."""

    token_id: str = ""
    outcome: str = ""
    price: Number = None
    winner: bool | None = None


class ClobMarket(msgspec.Struct, kw_only=True):
    """A row of the CLOB's own market list."""

    condition_id: str
    question_id: str = ""
    question: str = ""
    description: str = ""
    market_slug: str = ""
    tokens: list[ClobToken] = []
    minimum_order_size: Number = None
    minimum_tick_size: Number = None
    active: bool | None = None
    closed: bool | None = None
    archived: bool | None = None
    accepting_orders: bool | None = None
    enable_order_book: bool | None = None
    end_date_iso: str | None = None
    game_start_time: str | None = None
    seconds_delay: int | None = None
    maker_base_fee: Number = None
    taker_base_fee: Number = None
    neg_risk: bool | None = None
    neg_risk_market_id: str | None = None
    is_50_50_outcome: bool | None = None
    tags: list[str] | None = None


class ClobMarketsPage(msgspec.Struct, kw_only=True):
    """``/markets`` on the CLOB host; the cursor ``LTE=`` is the end."""

    data: list[ClobMarket]
    next_cursor: str = ""


class PricePoint(msgspec.Struct, kw_only=True):
    """One point of a price history: epoch seconds and a price."""

    t: int
    p: float


class PriceHistory(msgspec.Struct, kw_only=True):
    """``/prices-history``; equal points may repeat."""

    history: list[PricePoint]


class DataPricePoint(msgspec.Struct, kw_only=True):
    """One point of the Data API's price history (v2)."""

    timestamp: int
    price: float
    resolution_seconds: int | None = None


class TradePrint(msgspec.Struct, kw_only=True):
    """A row of the Data API's ``/trades``: one print of any market."""

    asset: str
    conditionId: str
    side: str
    price: Number
    size: Number
    timestamp: int
    outcome: str = ""
    outcomeIndex: int | None = None
    transactionHash: str = ""


# --- Gamma ----------------------------------------------------------------------------------------------------------


class GammaTag(msgspec.Struct):
    """A label of an event or market."""

    label: str | None = None
    slug: str | None = None


class GammaSeries(msgspec.Struct):
    """A recurring family of events."""

    id: Number = None
    slug: str | None = None
    title: str | None = None


class GammaFeeSchedule(msgspec.Struct):
    """What a fill costs: ``rate`` and ``exponent`` of the fee curve."""

    rate: Number = None
    exponent: Number = None
    takerOnly: bool | str | None = None
    rebateRate: Number = None


class GammaReward(msgspec.Struct):
    """A liquidity reward programme."""

    rewardsDailyRate: Number = None
    startDate: str | None = None
    endDate: str | None = None


class GammaEvent(msgspec.Struct, kw_only=True):
    """A question family; inside a market it comes without its ``markets``."""

    id: Number = None
    title: str | None = None
    slug: str | None = None
    endDate: str | None = None
    negRisk: bool | str | None = None
    enableNegRisk: bool | str | None = None
    negRiskAugmented: bool | str | None = None
    negRiskMarketID: str | None = None
    negRiskFeeBips: Number = None
    seriesSlug: str | None = None
    series: list[GammaSeries] | None = None
    tags: list[GammaTag] | None = None
    markets: list[msgspec.Raw] | None = None


class GammaMarket(msgspec.Struct, kw_only=True):
    """A market as the catalogue lists it."""

    id: Number = None
    conditionId: str | None = None
    questionID: str | None = None
    question: str | None = None
    slug: str | None = None
    description: str | None = None
    resolutionSource: str | None = None
    outcomes: Texts = None
    outcomePrices: Prices = None
    clobTokenIds: Texts = None
    positionIds: Texts = None
    version: str | None = None
    active: bool | str | None = None
    closed: bool | str | None = None
    archived: bool | str | None = None
    acceptingOrders: bool | str | None = None
    enableOrderBook: bool | str | None = None
    acceptingOrdersTimestamp: str | None = None
    startDate: str | None = None
    startDateIso: str | None = None
    createdAt: str | None = None
    endDate: str | None = None
    endDateIso: str | None = None
    closedTime: str | None = None
    umaResolutionStatus: str | None = None
    orderPriceMinTickSize: Number = None
    orderMinSize: Number = None
    volume: Number = None
    volumeNum: Number = None
    volume24hr: Number = None
    liquidity: Number = None
    liquidityNum: Number = None
    bestBid: Number = None
    bestAsk: Number = None
    negRisk: bool | str | None = None
    negRiskMarketID: str | None = None
    groupItemTitle: str | None = None
    sportsMarketType: str | None = None
    line: Number = None
    gameId: Number = None
    feesEnabled: bool | str | None = None
    feeType: str | None = None
    feeSchedule: GammaFeeSchedule | None = None
    clobRewards: list[GammaReward] | None = None
    rewardsMinSize: Number = None
    rewardsMaxSpread: Number = None
    events: list[GammaEvent] | None = None
    tags: list[GammaTag] | None = None


class GammaMarketsPage(msgspec.Struct, kw_only=True):
    """A page of ``/markets/keyset``; records stay raw, so that one bad record does not cost the page."""

    markets: list[msgspec.Raw]
    next_cursor: str | None = None


class GammaEventsPage(msgspec.Struct, kw_only=True):
    """A page of ``/events/keyset``."""

    events: list[msgspec.Raw]
    next_cursor: str | None = None


class GammaSearch(msgspec.Struct, kw_only=True):
    """``/public-search``."""

    events: list[GammaEvent] | None = None


# --- decoders -------------------------------------------------------------------------------------------------------

decode_change = msgspec.json.Decoder(ChangeFrame, strict=False).decode
"""The hot path's decoder: raises ``msgspec.MsgspecError`` (or ``ValueError``) on anything but such an object."""

decode_book = msgspec.json.Decoder(BookFrame, strict=False).decode
"""The same for whole books; a side is read by `decode_levels` only if it is needed."""

decode_short = msgspec.json.Decoder(ShortFrame, strict=False).decode
"""The same for best prices and prints."""

decode_hashes = msgspec.json.Decoder(HashesFrame).decode
"""The hashes of a frame that `decode_change` has read; raises as it does."""

decode_levels = msgspec.json.Decoder(list[_NarrowLevel]).decode
"""One side of a ``BookFrame``, likewise: a third cheaper than `decode_event`, which expects numbers among the texts."""

_event = msgspec.json.Decoder(Event)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_clob_books = msgspec.json.Decoder(list[ClobBook])
_gamma_market = msgspec.json.Decoder(GammaMarket)
_gamma_event = msgspec.json.Decoder(GammaEvent)
_gamma_markets = msgspec.json.Decoder(GammaMarketsPage)
_gamma_events = msgspec.json.Decoder(GammaEventsPage)


def decode_event(data: bytes | msgspec.Raw) -> Event:
    """One object of the market channel.

    Raises
    ------
    FrameMalformed
        If it is not JSON or a field has an impossible type.
    """
    return _read(_event, data, "market channel")


def split_array(data: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    """Elements of an array, undecoded.

    Raises
    ------
    FrameMalformed
        If it is no JSON array.
    """
    return _read(_raws, data, "array")


def decode_books(data: bytes) -> list[ClobBook]:
    """Answer of ``POST /books``.

    Raises
    ------
    FrameMalformed
        If it is no array of books.
    """
    return _read(_clob_books, data, "CLOB books")


def decode_gamma_market(data: bytes | msgspec.Raw) -> GammaMarket:
    """One market record of Gamma.

    Raises
    ------
    FrameMalformed
        If it is not JSON or a field has an impossible type.
    """
    return _read(_gamma_market, data, "Gamma market")


def decode_gamma_event(data: bytes | msgspec.Raw) -> GammaEvent:
    """One event record of Gamma; its markets stay raw.

    Raises
    ------
    FrameMalformed
        If it is not JSON or a field has an impossible type.
    """
    return _read(_gamma_event, data, "Gamma event")


def decode_gamma_markets(data: bytes) -> GammaMarketsPage:
    """A page of the keyset listing, or of the legacy one (a bare array, which has no cursor).

    Raises
    ------
    FrameMalformed
        If it is neither.
    """
    if data[:64].lstrip()[:1] == b"[":
        return GammaMarketsPage(markets=split_array(data))
    return _read(_gamma_markets, data, "Gamma markets page")


def decode_gamma_events(data: bytes) -> GammaEventsPage:
    """A page of the event listing, keyset or legacy.

    Raises
    ------
    FrameMalformed
        If it is neither.
    """
    if data[:64].lstrip()[:1] == b"[":
        return GammaEventsPage(events=split_array(data))
    return _read(_gamma_events, data, "Gamma events page")


def _read(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw, what: str) -> _T:
    try:
        return decoder.decode(data)
    except UNREADABLE as exc:
        raise FrameMalformed(f"{what}: {exc}") from exc

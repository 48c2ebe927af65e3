"""What Polymarket documents: every field of every message and listing record, with what its values may be.

Compiled from the venue's documentation and from captured payloads of December 2025 to October 2026; where the two
differ the payload was believed. A field of a listing may be absent, null or an empty text: the three mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from overround.venue.shapes import (
    BOOL,
    INT,
    NULL,
    NUMBER,
    TEXT,
    Domain,
    OldForm,
    Shape,
    VenueShapes,
    either,
    free,
    number,
    text,
    word,
)

__all__ = ["SHAPES"]

_HEX64 = text(r"0x[0-9a-fA-F]{64}", "0x and 64 hex digits")
_HEX40 = text(r"0x[0-9a-fA-F]{40}", "0x and 40 hex digits", or_empty=True)
_TOKEN = text(r"\d{1,78}", "a token id in decimal")
_SHA1 = text(r"[0-9a-f]{40}", "40 hex digits")
_MS = text(r"1\d{12}", "epoch milliseconds as text")
_PX = text(r"0|1|1\.0+|0?\.\d{1,6}", "a price in [0, 1] as text")
_PX_OR_NONE = text(r"0|1|1\.0+|0?\.\d{1,6}", "a price in [0, 1] as text", or_empty=True)
_SIZE = text(r"\d+(\.\d{1,6})?", "a size as text")
_SIDE = word("BUY", "SELL")
_TICKS = ("0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001")
_TICK = word(*_TICKS)
_TICK_NUMBERS = frozenset(float(tick) for tick in _TICKS)
_DIGITS = text(r"\d*", "digits")

_ISO = text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", "a time such as 2026-03-11T20:30:03.38Z")
_SPACED = text(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})?\+00", "a time such as 2026-03-11 20:30:00+00")
_DAY = text(r"\d{4}-\d\d-\d\d", "a day")
_DECIMAL = text(r"-?\d+(\.\d+)?", "a decimal as text")
_LIST = either(text(r"(?s)\[.*\]", "a JSON array as text"), Domain("a list", lambda value: isinstance(value, list)))
_UNIT = number(0, 1, "a number in [0, 1]")
_CHANGE = number(-1, 1, "a number in [-1, 1]")
_AMOUNT = number(0, 1e13, "a number, not negative")
_TICK_NUMBER = Domain(
    f"one of {', '.join(_TICKS)}",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value in _TICK_NUMBERS,
)
_NONE = either(NULL, word(""))


def _lax(domain: Domain) -> Domain:
    return either(domain, _NONE)


def _all(domain: Domain, names: str, mark: str = "?") -> dict[str, Domain]:
    return {name + mark: domain for name in names.split()}


_LEVELS = [{"price": _PX, "size": _SIZE}]
_FEE_SCHEDULE_TEXTS = {
    "exponent?": _DECIMAL, "rate?": _DECIMAL, "taker_only?": BOOL, "rebate_rate?": _DECIMAL,
}  # fmt: skip
_ANNOUNCED = {
    "condition_id?": _HEX64, "active?": BOOL, "clob_token_ids?": [_TOKEN], "sports_market_type?": TEXT, "line?": TEXT,
    "game_start_time?": TEXT, "order_price_min_tick_size?": word(*_TICKS, ""), "group_item_title?": TEXT,
    "taker_base_fee?": _DIGITS, "fees_enabled?": BOOL, "fee_schedule~": _FEE_SCHEDULE_TEXTS,
}  # fmt: skip
_GLOBAL = {
    "event_type": word("new_market", "market_resolved"), "id": _DIGITS, "question?": TEXT, "market": _HEX64,
    "slug?": TEXT, "description?": TEXT, "assets_ids": [_TOKEN], "outcomes?": [TEXT],
    "event_message?": {"id?": _DIGITS, "ticker?": TEXT, "slug?": TEXT, "title?": TEXT, "description?": TEXT},
    "timestamp!": _MS, "tags?": either(NULL, Domain("a list", lambda value: isinstance(value, list))),
}  # fmt: skip

_TAG = {
    "id": _DIGITS, "label": _lax(TEXT), "slug": _lax(TEXT),
    **_all(BOOL, "forceShow forceHide isCarousel requiresTranslation", "~"),
    **_all(_lax(_ISO), "createdAt updatedAt", "~"), "publishedAt~": _lax(either(_SPACED, _ISO)),
    "createdBy~": _lax(either(INT, _DIGITS)), "updatedBy~": _lax(either(INT, _DIGITS)),
}  # fmt: skip
_SERIES = {
    "id": _DIGITS, "slug": _lax(TEXT), "title": _lax(TEXT),
    **_all(_lax(TEXT), "ticker seriesType recurrence image icon layout subtitle pythTokenID cgAssetName description", "~"),
    **_all(_lax(BOOL), "active closed archived new featured restricted requiresTranslation commentsEnabled", "~"),
    **_all(_lax(_ISO), "createdAt updatedAt startDate", "~"), "publishedAt~": _lax(either(_SPACED, _ISO)),
    **_all(_lax(NUMBER), "volume volume24hr liquidity commentCount", "~"), "competitive~": _lax(either(NUMBER, _DECIMAL)),
    "createdBy~": _lax(either(INT, _DIGITS)), "updatedBy~": _lax(either(INT, _DIGITS)),
}  # fmt: skip
_EVENT: dict[str, Any] = {
    "id": _DIGITS, "title": TEXT, "slug": TEXT, "ticker?": _lax(TEXT),
    **_all(_lax(TEXT), "description resolutionSource image icon sortBy category subcategory seriesSlug gmpChartMode"
           " countryName electionType elapsed period score estimatedValue", "~"),
    **_all(_lax(BOOL), "active closed archived new featured restricted enableOrderBook negRisk enableNegRisk"
           " negRiskAugmented cyom showAllOutcomes showMarketImages automaticallyActive automaticallyResolved"
           " pendingDeployment deploying requiresTranslation cumulativeMarkets estimateValue cantEstimate ended live"
           " commentsEnabled", "~"),
    **_all(_lax(_ISO), "startDate creationDate endDate createdAt updatedAt startTime deployingTimestamp"
           " finishedTimestamp", "~"),
    "closedTime~": _lax(either(_ISO, _SPACED)), "publishedAt~": _lax(either(_SPACED, _ISO)), "eventDate~": _lax(_DAY),
    **_all(_lax(_AMOUNT), "liquidity volume volume24hr volume1wk volume1mo volume1yr liquidityClob liquidityAmm"
           " openInterest tweetCount featuredOrder eventWeek competitive", "~"),
    "commentCount~": _lax(NUMBER),  # -1 occurs
    **_all(_lax(either(INT, _DIGITS)), "gameId parentEventId createdBy updatedBy negRiskFeeBips", "~"),
    "negRiskMarketID~": _lax(_HEX64), "eventMetadata~": _lax(free("an object")),
    "series~": _lax(Domain("a list", lambda value: isinstance(value, list))),
    "tags~": _lax(Domain("a list", lambda value: isinstance(value, list))),
    **_all(_lax(free("an object")), "teams sport", "~"),
}  # fmt: skip
_MARKET: dict[str, Any] = {
    "id": _DIGITS, "conditionId": _HEX64, "question": TEXT, "slug": TEXT, "outcomes": _LIST,
    "questionID?": _lax(_HEX64), "description?": _lax(TEXT), "resolutionSource~": _lax(TEXT),
    "outcomePrices?": _lax(_LIST), "clobTokenIds?": _lax(_LIST), "positionIds~": _lax(_LIST),
    "version~": _lax(word("v1", "v2")), "umaResolutionStatuses?": _lax(_LIST),
    **_all(BOOL, "active closed", ""),
    **_all(_lax(BOOL), "archived restricted new featured ready funded approved acceptingOrders enableOrderBook negRisk"
           " negRiskOther feesEnabled cyom hasReviewedDates pagerDutyNotificationEnabled automaticallyActive"
           " clearBookOnStart manualActivation pendingDeployment deploying rfqEnabled holdingRewardsEnabled"
           " requiresTranslation"),
    **_all(_lax(BOOL), "showGmpSeries showGmpOutcome automaticallyResolved fpmmLive sentDiscord wideFormat"
           " commentsEnabled", "~"),
    **_all(_lax(_ISO), "endDate startDate createdAt updatedAt acceptingOrdersTimestamp"),
    **_all(_lax(_ISO), "deployingTimestamp eventStartTime", "~"),
    **_all(_lax(_DAY), "endDateIso startDateIso"),
    **_all(_lax(either(_SPACED, _ISO)), "closedTime gameStartTime umaEndDate", "~"),
    "orderPriceMinTickSize?": _lax(_TICK_NUMBER), "orderMinSize?": _lax(_AMOUNT),
    **_all(_lax(_DECIMAL), "volume liquidity", "~"),
    **_all(_lax(_AMOUNT), "volumeNum liquidityNum volumeClob liquidityClob volumeAmm liquidityAmm volume24hr volume1wk"
           " volume1mo volume1yr volume24hrClob volume1wkClob volume1moClob volume1yrClob volume24hrAmm volume1wkAmm"
           " volume1moAmm volume1yrAmm", "~"),
    **_all(_lax(_UNIT), "bestBid bestAsk lastTradePrice competitive", "~"), "spread?": _lax(_CHANGE),
    **_all(_lax(NUMBER), "oneHourPriceChange oneDayPriceChange oneWeekPriceChange oneMonthPriceChange"
           " oneYearPriceChange line", "~"),
    **_all(_lax(TEXT), "image icon groupItemTitle feeType sportsMarketType submitted_by resolvedBy seriesColor"
           " comboStatus marketMakerAddress fpmm category twitterCardImage mailchimpTag $schema groupItemRange", "~"),
    "negRiskMarketID~": _lax(_HEX64), "negRiskRequestID~": _lax(_HEX64), "groupItemThreshold~": _lax(_DECIMAL),
    "umaResolutionStatus~": _lax(word("proposed", "disputed", "resolved", "requested", "settled")),
    **_all(_lax(_DECIMAL), "umaBond umaReward", "~"),
    **_all(_lax(INT), "customLiveness makerBaseFee takerBaseFee makerRebatesFeeShareBps secondsDelay", "~"),
    "gameId~": _lax(either(INT, TEXT)),
    "feeSchedule~": {"rate": NUMBER, "exponent": NUMBER, "takerOnly?": BOOL, "rebateRate?": NUMBER},
    "clobRewards~": [
        {"id": _DIGITS, "conditionId?": _HEX64, "assetAddress?": _HEX40, "rewardsAmount?": _AMOUNT,
         "rewardsDailyRate": _AMOUNT, "startDate?": _lax(_DAY), "endDate?": _lax(_DAY)},
    ],
    **_all(_lax(_AMOUNT), "rewardsMinSize rewardsMaxSpread"),
    "events~": [{**_EVENT, "series~": [_SERIES], "tags~": [_TAG]}], "tags~": [_TAG],
}  # fmt: skip

_REST_BOOK = {
    "market": _HEX64, "asset_id": _TOKEN, "timestamp": _MS, "hash": _SHA1, "bids": _LEVELS, "asks": _LEVELS,
    "min_order_size": _SIZE, "tick_size": _TICK, "neg_risk": BOOL, "last_trade_price": _PX_OR_NONE,
}  # fmt: skip


def _has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda message: all(key in message for key in keys)


def _lacks(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda message: not any(key in message for key in keys)


_SHAPES = (
    Shape(
        kind="book",
        fields={
            "event_type": word("book"), "market": _HEX64, "asset_id": _TOKEN, "timestamp!": _MS, "hash!": _SHA1,
            "bids": _LEVELS, "asks": _LEVELS, "tick_size~": _TICK, "last_trade_price~": _PX_OR_NONE,
        },
        old=(OldForm("book (buys and sells)", _has("buys")),),
        identity="market",
    ),
    Shape(
        kind="price_change",
        fields={
            "event_type": word("price_change"), "market": _HEX64, "timestamp!": _MS,
            "price_changes": [
                {"asset_id": _TOKEN, "price": _PX, "size": _SIZE, "side": _SIDE, "hash!": _SHA1,
                 "best_bid": _PX_OR_NONE, "best_ask": _PX_OR_NONE},
            ],
        },
        old=(
            OldForm("price_change (changes, before September 2025)", _has("changes")),
            OldForm("price_change (flat, 2024)", _has("price", "size", "side", "asset_id")),
        ),
        identity="market",
    ),
    Shape(
        kind="last_trade_price",
        fields={
            "event_type": word("last_trade_price"), "market": _HEX64, "asset_id": _TOKEN, "price": _PX, "size": _SIZE,
            "side": _SIDE, "fee_rate_bps": text(r"\d{0,5}", "basis points as text"), "timestamp!": _MS,
            "transaction_hash!?": _HEX64,
        },
        identity="market",
    ),
    Shape(
        kind="tick_size_change",
        fields={
            "event_type": word("tick_size_change"), "market": _HEX64, "asset_id": _TOKEN, "old_tick_size": _TICK,
            "new_tick_size": _TICK, "timestamp!": _MS,
        },
        identity="market",
    ),
    Shape(
        kind="best_bid_ask",
        fields={
            "event_type": word("best_bid_ask"), "market": _HEX64, "asset_id": _TOKEN, "best_bid": _PX_OR_NONE,
            "best_ask": _PX_OR_NONE, "spread": text(r"-?\d*(\.\d{1,6})?", "a spread as text"), "timestamp!": _MS,
        },
        identity="market",
    ),
    Shape(kind="new_market", fields={**_GLOBAL, **_ANNOUNCED}, identity="market"),
    Shape(
        kind="market_resolved",
        fields={**_GLOBAL, **_ANNOUNCED, "winning_asset_id": _TOKEN, "winning_outcome": TEXT},
        identity="market",
    ),
    Shape(
        kind="rest_book",
        fields=_REST_BOOK,
        old=(
            OldForm("rest_book (six fields, before October 2025)", _lacks("min_order_size", "tick_size", "neg_risk")),
            OldForm("rest_book (nine fields, before December 2025)", _lacks("last_trade_price")),
        ),
        identity="market",
        slow=True,
    ),
    Shape(kind="gamma_market", fields=_MARKET, identity="conditionId", slow=True),
    Shape(
        kind="gamma_event",
        fields={**_EVENT, "markets~": [_MARKET], "series~": [_SERIES], "tags~": [_TAG]},
        identity="id",
        slow=True,
    ),
    Shape(
        kind="gamma_page",
        fields={"markets": Domain("a list", lambda value: isinstance(value, int)), "next_cursor~": _lax(TEXT)},
        slow=True,
    ),
)  # fmt: skip

_TEXT_FRAMES = frozenset({b"PONG", b"NO NEW ASSETS", b""})
_KIND = b'"event_type"'
_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_pages = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _guess(frame: bytes) -> str:
    # Near the end in most frames, at the beginning in some.
    at = frame.rfind(_KIND)
    if at < 0:
        return ""
    start = frame.find(b'"', at + 12) + 1
    return frame[start : frame.find(b'"', start)].decode(errors="replace") if start else ""


def _messages(frame: bytes) -> list[tuple[str, object]]:
    body = frame.strip()
    if body in _TEXT_FRAMES:
        return []
    if body[:1] not in b"[{":
        return [("(text)", body.decode(errors="replace"))]
    decoded = _decode(body)
    return [(_kind(message), message) for message in (decoded if isinstance(decoded, list) else [decoded])]


def _kind(message: object) -> str:
    if not isinstance(message, dict):
        return "(no object)"
    kind = message.get("event_type")
    if isinstance(kind, str) and kind:
        return kind
    if "min_order_size" in message or "neg_risk" in message:
        return "rest_book"
    if "bids" in message or "asks" in message or "buys" in message:
        return "book"
    return "price_change" if "price_changes" in message or "changes" in message else "(none)"


def _answers(path: str, body: bytes, choose: Callable[[int], Collection[int]]) -> Iterator[tuple[str, object, bytes]]:
    if path.endswith("/books"):
        kind, rows = "rest_book", _split(body)
    elif path.endswith(("/markets/keyset", "/markets")):
        kind = "gamma_market"
        if body.lstrip()[:1] == b"[":
            rows = _split(body)
        else:
            page = _pages(body)
            rows = _split(page.get("markets", b"[]"))
            envelope = {name: len(rows) if name == "markets" else _decode(raw) for name, raw in page.items()}
            yield "gamma_page", envelope, body[-400:]
    else:
        return
    for index in choose(len(rows)):
        yield kind, _decode(rows[index]), bytes(rows[index])


SHAPES = VenueShapes({shape.kind: shape for shape in _SHAPES}, _guess, _messages, _answers)
"""Polymarket's documented messages and records."""

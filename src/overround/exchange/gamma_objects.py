"""Gamma's market and event objects, field by field.

Types follow captured records: lists as JSON inside strings, volumes as strings *and* numbers, absent keys rather
than nulls, whole numbers without a decimal point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

from overround.exchange.model import Listed, ListedEvent, Source
from overround.market import PX_ONE_E4

__all__ = ["event_object", "event_slug", "is_open", "market_object", "question_id", "slug_of", "tags_of"]

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_WORDS = re.compile(r"[a-z0-9]+")
_IMAGE = "https://polymarket-upload.s3.us-east-2.amazonaws.com/"
_COLLATERAL = "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174"
_ORACLE = "0x2F5e3684cb1F318ec51b00Edba38d79Ac2c0aA9d"


def _number(value: float) -> int | float:
    """A JSON number as the venue's serialiser writes it: no ``.0`` on whole values."""
    value = round(value, 6)
    return int(value) if value == int(value) else value


def _px(px_e4: int) -> int | float:
    return _number(px_e4 / PX_ONE_E4)


def _iso(ms: int, *, fraction: bool = False) -> str:
    stamp = _second(ms // 1000)
    if fraction:
        # The venue prints up to six digits and trims zeros; our millisecond gets digits that look like them.
        stamp += f".{ms % 1000:03d}{ms * 7919 % 1000:03d}".rstrip("0").rstrip(".")
    return f"{stamp}Z"


@lru_cache(maxsize=4_096)
def _second(s: int) -> str:
    return datetime.fromtimestamp(s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _hex(*parts: object) -> str:
    return "0x" + sha256(":".join(map(str, parts)).encode()).hexdigest()


def slug_of(listing: Listed) -> str:
    """The market's slug: words of its title and its number, so that it is unique."""
    return f"{_slug(listing.title)}-{listing.number}"


def event_slug(event: ListedEvent) -> str:
    """The event's slug."""
    return f"{_slug(event.title)}-{event.key}"


@lru_cache(maxsize=4_096)
def _slug(text: str) -> str:
    return "-".join(_WORDS.findall(text.lower()))[:90].strip("-") or "market"


def question_id(listing: Listed) -> str:
    """Question id; the last byte of a neg-risk leg's is its index."""
    if listing.event.neg_risk_id:
        return f"{listing.event.neg_risk_id[:-2]}{listing.leg:02x}"
    return _hex("question", listing.key)


def market_object(source: Source, listing: Listed, now_ms: int) -> dict[str, Any]:
    """A market object without its event."""
    event, number = listing.event, listing.number
    opened = is_open(listing)
    created_ms = listing.open_ms - 3_600_000
    bids, asks = source.levels(listing.key) if opened else ({}, {})
    bid, ask = max(bids, default=None), min(asks, default=None)
    last = source.last_trade_px_e4(listing.key)
    fees = bool(listing.fee_rate)
    value: dict[str, Any] = {
        "id": str(number),
        "question": listing.title,
        "conditionId": listing.key,
        "slug": slug_of(listing),
    }
    if listing.source or number % 5:  # absent on a fifth of the markets
        value["resolutionSource"] = listing.source
    if number % 111:  # absent on 0.9 %
        value["endDate"] = _iso(listing.close_ms)
    if listing.liquidity_usdc > 0:
        value["liquidity"] = _decimal(listing.liquidity_usdc)
    value |= {
        "startDate": _iso(listing.open_ms, fraction=True),
        "image": f"{_IMAGE}{_slug(event.title)}.png",
        "icon": f"{_IMAGE}{_slug(event.title)}.png",
        "description": listing.rules,
        "outcomes": _nested(listing.outcomes),
        "outcomePrices": _nested(_outcome_prices(listing, bid, ask, last)),
    }
    if listing.volume_usdc > 0:
        value["volume"] = _decimal(listing.volume_usdc)
    value |= {
        "active": True,
        "closed": not opened,
        "marketMakerAddress": "",
        "createdAt": _iso(created_ms, fraction=True),
        "updatedAt": _iso(now_ms, fraction=True),
    }
    if not opened:
        value["closedTime"] = _spaced_time(listing.close_ms)
    value |= {
        "new": False,
        "featured": False,
        "submitted_by": "0x91430CaD2d3975766499717fA0D66A78D814E5c5",
        "archived": False,
        "resolvedBy": _ORACLE,
        "restricted": True,
    }
    if listing.label:
        value["groupItemTitle"] = listing.label
    value["groupItemThreshold"] = str(listing.leg)
    value |= {
        "questionID": question_id(listing),
        "enableOrderBook": True,
        "orderPriceMinTickSize": _px(listing.tick_e4),
        "orderMinSize": _number(listing.min_size_e6 / 1_000_000),
    }
    if listing.status == "resolved":
        value["umaResolutionStatus"] = "resolved"
    volume, day = listing.volume_usdc, listing.volume_24h_usdc
    if volume > 0:
        value["volumeNum"] = _number(volume)
    if listing.liquidity_usdc > 0:
        value["liquidityNum"] = _number(listing.liquidity_usdc)
    if number % 111:
        value["endDateIso"] = _iso(listing.close_ms)[:10]
    value |= {"startDateIso": _iso(listing.open_ms)[:10], "hasReviewedDates": True}
    if volume > 0:
        spans = {"24hr": day, "1wk": min(volume, day * 5), "1mo": min(volume, day * 18), "1yr": volume}
        value |= {f"volume{span}": _number(amount) for span, amount in spans.items()}
        value |= {f"volume{span}Clob": _number(amount) for span, amount in spans.items()}
        value["volumeClob"] = _number(volume)
    value |= {"clobTokenIds": _nested(listing.tokens), "umaBond": "500", "umaReward": "5"}
    if listing.liquidity_usdc > 0:
        value["liquidityClob"] = _number(listing.liquidity_usdc)
    if fees:
        value |= {"makerBaseFee": 1000, "takerBaseFee": 1000}
    value |= {
        "customLiveness": 0,
        "acceptingOrders": listing.status == "active",
        "negRisk": bool(event.neg_risk_id),
    }
    if event.neg_risk_id:
        value["negRiskMarketID"] = event.neg_risk_id
    value["negRiskRequestID"] = _hex("request", listing.key) if event.neg_risk_id else ""
    value |= {
        "ready": False,
        "funded": False,
        "acceptingOrdersTimestamp": _iso(listing.open_ms),
        "cyom": False,
    }
    if bid is not None and ask is not None:
        middle = (bid + ask) / 2 / PX_ONE_E4
        value["competitive"] = _number(1 / (1 + (middle - 0.5) ** 2))
    value |= {"pagerDutyNotificationEnabled": False, "approved": True}
    if number % 10 == 3:
        value["clobRewards"] = [
            {
                "id": str(number % 100_000),
                "conditionId": listing.key,
                "assetAddress": _COLLATERAL,
                "rewardsAmount": 0,
                "rewardsDailyRate": 1 + number % 50,
                "startDate": _iso(listing.open_ms)[:10],
                "endDate": "2500-12-31",
            }
        ]
    value |= {
        "rewardsMinSize": 20 if number % 3 else 50,
        "rewardsMaxSpread": 3.5 if number % 3 else 4.5,
        "spread": _px((PX_ONE_E4 if ask is None else ask) - (0 if bid is None else bid)),
    }
    if volume > 0 and day > 0:
        value["oneDayPriceChange"] = _number((number % 41 - 20) / 1000 or 0.001)
    if last is not None:
        value["lastTradePrice"] = _px(last)
    if bid is not None:
        value["bestBid"] = _px(bid)
    value["bestAsk"] = 1 if ask is None else _px(ask)
    value |= {
        "automaticallyActive": True,
        "clearBookOnStart": bool(event.category == "Sports"),
        "seriesColor": "",
        "showGmpSeries": False,
        "showGmpOutcome": False,
        "manualActivation": False,
        "negRiskOther": False,
        "umaResolutionStatuses": "[]",
        "pendingDeployment": False,
        "deploying": False,
        "deployingTimestamp": _iso(created_ms, fraction=True),
        "rfqEnabled": False,
        "holdingRewardsEnabled": False,
        "feesEnabled": fees,
        "requiresTranslation": False,
    }
    if fees:
        value["makerRebatesFeeShareBps"] = 10000
    value["feeType"] = listing.fee_type or None
    if fees:
        value["feeSchedule"] = {
            "exponent": 1,
            "rate": _number(float(listing.fee_rate)),
            "takerOnly": True,
            "rebateRate": 0.2,
        }
    return value


def event_object(event: ListedEvent, legs: Sequence[Listed], now_ms: int) -> dict[str, Any]:
    """An event object without its markets."""
    opened = any(map(is_open, legs))
    starts, ends = min(leg.open_ms for leg in legs), max(leg.close_ms for leg in legs)
    created_ms = starts - 7_200_000
    volume = sum(leg.volume_usdc for leg in legs)
    day = sum(leg.volume_24h_usdc for leg in legs)
    liquidity = sum(leg.liquidity_usdc for leg in legs)
    slug = event_slug(event)
    value: dict[str, Any] = {
        "id": event.key,
        "ticker": slug,
        "slug": slug,
        "title": event.title,
        "description": legs[0].rules,
        "resolutionSource": legs[0].source,
        "startDate": _iso(starts, fraction=True),
        "creationDate": _iso(starts, fraction=True),
        "endDate": _iso(ends),
        "image": f"{_IMAGE}{_slug(event.title)}.png",
        "icon": f"{_IMAGE}{_slug(event.title)}.png",
        "active": True,
        "closed": not opened,
        "archived": False,
        "new": False,
        "featured": False,
        "restricted": True,
        "liquidity": _number(liquidity),
        "volume": _number(volume),
        "openInterest": 0,
        "createdAt": _iso(created_ms, fraction=True),
        "updatedAt": _iso(now_ms, fraction=True),
        "competitive": _number(0.9),
        "volume24hr": _number(day),
        "volume1wk": _number(min(volume, day * 5)),
        "volume1mo": _number(min(volume, day * 18)),
        "volume1yr": _number(volume),
        "enableOrderBook": True,
        "liquidityClob": _number(liquidity),
        "negRisk": bool(event.neg_risk_id),
    }
    if event.neg_risk_id:
        value["negRiskMarketID"] = event.neg_risk_id
    value["commentCount"] = 0
    if event.series:
        value["series"] = [_series(event, created_ms, now_ms, volume, day, liquidity)]
    value |= {
        "cyom": False,
        "showAllOutcomes": True,
        "showMarketImages": True,
        "enableNegRisk": bool(event.neg_risk_id),
        "automaticallyActive": True,
    }
    if event.series:
        value["seriesSlug"] = _slug(event.series)
    value |= {
        "gmpChartMode": "default",
        "negRiskAugmented": event.augmented,
        "cumulativeMarkets": False,
        "pendingDeployment": False,
        "deploying": False,
        "requiresTranslation": False,
    }
    return value


def tags_of(event: ListedEvent) -> list[dict[str, Any]]:
    """The event's tags as Gamma lists them."""
    labels = [label for label in (event.category, event.series) if label]
    return [
        {
            "id": str(int(sha256(label.encode()).hexdigest()[:5], 16)),
            "label": label,
            "slug": _slug(label),
            "forceShow": False,
            "createdAt": "2024-11-07T23:07:25.512144Z",
            "updatedAt": "2026-03-09T22:20:41.744191Z",
            "requiresTranslation": False,
        }
        for label in labels
    ]


def _series(
    event: ListedEvent, created_ms: int, now_ms: int, volume: float, day: float, liquidity: float
) -> dict[str, Any]:
    slug = _slug(event.series)
    return {
        "id": str(int(sha256(slug.encode()).hexdigest()[:4], 16)),
        "ticker": slug,
        "slug": slug,
        "title": event.series,
        "seriesType": "single",
        "recurrence": "daily",
        "image": "",
        "icon": "",
        "active": True,
        "closed": False,
        "archived": False,
        "createdAt": _iso(created_ms, fraction=True),
        "updatedAt": _iso(now_ms, fraction=True),
        "volume24hr": _number(day),
        "volume": _number(volume),
        "liquidity": _number(liquidity),
        "commentCount": 0,
        "requiresTranslation": False,
    }


def is_open(listing: Listed) -> bool:
    """Whether Gamma lists it as not closed."""
    return listing.status in {"active", "paused"}


def _outcome_prices(listing: Listed, bid: int | None, ask: int | None, last: int | None) -> list[str]:
    if listing.status == "resolved" and listing.result is not None:
        return ["1", "0"] if listing.result == 0 else ["0", "1"]
    if bid is not None and ask is not None:
        twice = bid + ask
    elif last is not None:
        twice = 2 * last
    else:
        twice = PX_ONE_E4
    return [f"{half / (2 * PX_ONE_E4):.5f}".rstrip("0").rstrip(".") for half in (twice, 2 * PX_ONE_E4 - twice)]


def _nested(values: Iterable[str]) -> str:
    """A list as JSON text inside a string, in the venue's spacing."""
    return _ENCODER.encode(list(values))


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _spaced_time(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S+00")

"""Kalshi's catalogue: market, event and series objects in the venue's spelling."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from overround.exchange.kalshi_frames import count_text, dollars, iso_micros
from overround.exchange.model import Listed, ListedEvent, Source
from overround.market import PX_ONE_E4

__all__ = ["event_object", "market_object", "price_ranges", "series_object", "status_word"]

_HOUR_MS = 3_600_000
_STEPS = {"whole": 100, "half": 50, "quint": 20, "deci": 10, "centi": 1}
_STATUS = {
    "unopened": "initialized",
    "active": "active",
    "paused": "inactive",
    "closed": "closed",
    "resolved": "finalized",
}


def price_ranges(grid: str, tick_e4: int) -> list[dict[str, str]]:
    """The bands of a ``price_level_structure``."""

    def band(start: int, end: int, step: int) -> dict[str, str]:
        return {"end": dollars(end), "start": dollars(start), "step": dollars(step)}

    words = grid.split("_")
    if grid == "tapered_deci_cent":
        return [band(0, 1_000, 10), band(1_000, 9_000, 100), band(9_000, PX_ONE_E4, 10)]
    if len(words) == 5 and words[0] == "center" and words[2] == "edge":
        center, edge = _STEPS.get(words[1], 100), _STEPS.get(words[3], 10)
        at = 100 if grid == "center_deci_edge_centi_cent" else 1_000
        return [band(0, at, edge), band(at, PX_ONE_E4 - at, center), band(PX_ONE_E4 - at, PX_ONE_E4, edge)]
    step = {"linear_cent": 100, "deci_cent": 10}.get(grid, tick_e4)
    return [band(0, PX_ONE_E4, step)]


def status_word(listing: Listed) -> str:
    """The venue's status word."""
    return _STATUS.get(listing.status, listing.status)


def market_object(source: Source, listing: Listed, now_ms: int) -> dict[str, Any]:
    """A market, keys in alphabetical order."""
    opened = listing.status == "active"
    bids, asks = source.levels(listing.key) if opened else ({}, {})
    bid, ask = max(bids, default=0), min(asks, default=PX_ONE_E4)
    last = source.last_trade_px_e4(listing.key)
    volume = int(listing.volume_usdc * 2) * 1_000_000
    salt = int(sha256(listing.key.encode()).hexdigest()[:6], 16)
    middle = last if last is not None else (bid + ask) // 2
    before = min(max(middle + (salt % 7 - 3) * 100, 100), 9_900) // 100 * 100
    traded = volume > 0
    structured = listing.event.category == "Sports" and not listing.strike_type
    value: dict[str, Any] = {"can_close_early": True}
    if listing.cap_strike:
        value["cap_strike"] = _number(listing.cap_strike)
    value |= {
        "close_time": iso_micros(listing.close_ms // 1000 * 1000),
        "created_time": iso_micros(listing.open_ms - _HOUR_MS, salt % 1000),
    }
    if structured or listing.strike_type == "structured":
        value["custom_strike"] = {"team": str(uuid5(NAMESPACE_URL, f"team:{listing.label}"))}
    elif listing.strike_type == "custom":
        value["custom_strike"] = {"Word": listing.label}
    if structured:
        value["early_close_condition"] = "This market will close and expire after a winner is declared."
    value |= {
        "event_ticker": listing.event.key,
        "exchange_index": 0,
        "expected_expiration_time": iso_micros(listing.close_ms // 1000 * 1000 + 300_000),
        "expiration_time": iso_micros(listing.close_ms // 1000 * 1000 + 7 * 24 * _HOUR_MS),
        "expiration_value": "" if listing.result is None else listing.label or listing.outcomes[listing.result],
    }
    if listing.floor_strike:
        value["floor_strike"] = _number(listing.floor_strike)
    value |= {
        "last_price_dollars": dollars(last or 0),
        "latest_expiration_time": iso_micros(listing.close_ms // 1000 * 1000 + 7 * 24 * _HOUR_MS),
        "liquidity_dollars": "0.0000",
        "market_type": "binary",
        "no_ask_dollars": dollars(PX_ONE_E4 - bid),
        "no_bid_dollars": dollars(PX_ONE_E4 - ask),
        "no_sub_title": listing.label or listing.outcomes[1],
        "notional_value_dollars": "1.0000",
        "occurrence_datetime": iso_micros(listing.close_ms // 1000 * 1000 + 300_000),
        "open_interest_fp": count_text(int(listing.liquidity_usdc) * 1_000_000),
        "open_time": iso_micros(listing.open_ms // 1000 * 1000),
        "previous_price_dollars": dollars(before if traded else 0),
        "previous_yes_ask_dollars": dollars(min(before + 100, PX_ONE_E4) if traded else 0),
        "previous_yes_bid_dollars": dollars(before if traded else 0),
        "price_level_structure": listing.grid or "linear_cent",
        "price_ranges": price_ranges(listing.grid or "linear_cent", listing.tick_e4),
        "result": "" if listing.result is None else ("yes", "no")[listing.result],
        "rules_primary": listing.rules,
        "rules_secondary": "",
        "settlement_timer_seconds": 300 if structured else 60,
    }
    if listing.status == "resolved" and listing.result is not None:
        value["settlement_ts"] = iso_micros(listing.close_ms + 180_000, salt % 1000)
        value["settlement_value_dollars"] = dollars(PX_ONE_E4 if listing.result == 0 else 0)
    value["status"] = status_word(listing)
    value["strike_type"] = listing.strike_type or ("structured" if structured else "custom")
    if listing.label:
        value["subtitle"] = listing.label
    value |= {
        "ticker": listing.key,
        "title": listing.title,
        "updated_time": iso_micros(max(listing.open_ms, now_ms - salt % 60_000_000), salt % 1000),
        "volume_24h_fp": count_text(int(listing.volume_24h_usdc * 2) * 1_000_000),
        "volume_fp": count_text(volume),
        "yes_ask_dollars": dollars(ask),
        "yes_ask_size_fp": count_text(asks.get(ask, 0)),
        "yes_bid_dollars": dollars(bid),
        "yes_bid_size_fp": count_text(bids.get(bid, 0)),
        "yes_sub_title": listing.label or listing.outcomes[0],
    }
    return value


def event_object(event: ListedEvent, legs: Sequence[Listed], markets: list[msgspec.Raw] | None) -> dict[str, Any]:
    """An event; its markets are nested when given."""
    created = min(leg.open_ms for leg in legs) - _HOUR_MS
    value: dict[str, Any] = {
        "available_on_brokers": True,
        "category": event.category or "World",
        "collateral_return_type": "MECNET" if event.exclusive else "",
        "event_ticker": event.key,
        "exchange_index": 0,
        "last_updated_ts": iso_micros(created, 123),
    }
    if markets is not None:
        value["markets"] = markets
    value |= {
        "mutually_exclusive": event.exclusive,
        "product_metadata": {"competition": event.category or "World", "competition_scope": event.family},
        "series_ticker": event.series or event.key.partition("-")[0],
        "settlement_sources": [{"name": legs[0].source or "the venue", "url": "https://example.com/"}],
        "strike_period": "",
        "sub_title": legs[0].label,
        "title": event.title,
    }
    return value


def series_object(ticker: str, legs: Sequence[Listed]) -> dict[str, Any]:
    """A series with its fee fields."""
    first = legs[0]
    return {
        "additional_prohibitions": ["Paid employees of the Source Agencies."],
        "category": first.event.category or "World",
        "contract_terms_url": f"https://example.com/contract_terms/{ticker}.pdf",
        "contract_url": f"https://example.com/certifications/{ticker}.pdf",
        "exchange_index": 0,
        "fee_multiplier": fee_multiplier(first.fee_rate),
        "fee_type": first.fee_type or "quadratic",
        "frequency": "custom",
        "last_updated_ts": iso_micros(min(leg.open_ms for leg in legs) - _HOUR_MS, 456),
        "product_metadata": {"scope": first.event.family},
        "settlement_sources": [{"name": first.source or "the venue", "url": "https://example.com/"}],
        "tags": [first.event.category or "World"],
        "ticker": ticker,
        "title": first.event.title,
    }


def fee_multiplier(rate: str) -> int | float:
    """The series' multiplier out of a listing's rate: 0.07 is 1, and a number of 0.2 and more is a multiplier."""
    if not rate:
        return 1
    number = Decimal(rate)
    multiplier = number / Decimal("0.07") if number < Decimal("0.2") else number
    rounded = round(multiplier, 4)
    return int(rounded) if rounded == int(rounded) else float(rounded)


def _number(text: str) -> msgspec.Raw:
    """A strike as a JSON number, digits as listed."""
    return msgspec.Raw(text.encode())

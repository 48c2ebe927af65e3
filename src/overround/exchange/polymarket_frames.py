"""Polymarket's frames as templates; no struct of an adapter is used, so its mistakes cannot cancel out here."""

from __future__ import annotations

import json
from typing import Any

from overround.market import PX_ONE_E4, px_text

__all__ = [
    "ask_text",
    "best_bid_ask",
    "bid_text",
    "book",
    "flat_price_change",
    "last_trade_price",
    "market_resolved",
    "new_market",
    "old_book",
    "old_price_change",
    "price_change",
    "spaced",
    "tick_size_change",
]

PX_TEXT = tuple(px_text(px) for px in range(PX_ONE_E4 + 1))


def bid_text(px: int | None) -> str:
    """``best_bid`` of a price_change; an empty side prints as 0."""
    return "0" if px is None else PX_TEXT[px]


def ask_text(px: int | None) -> str:
    """``best_ask`` of a price_change; an empty side prints as 1."""
    return "1" if px is None else PX_TEXT[px]


def spaced(frame: bytes) -> bytes:
    """The same frame as the venue's other serialiser writes it, with blanks after separators."""
    for tight, loose in ((b'":', b'": '), (b',"', b', "'), (b",{", b", {")):
        frame = frame.replace(tight, loose)
    return frame


def book(
    market: str,
    asset_id: str,
    *,
    timestamp: str,
    digest: str,
    bids: bytes,
    asks: bytes,
    tick_size: str | None = None,
    last_trade_price: str | None = None,
) -> bytes:
    """A whole book; ``tick_size`` and ``last_trade_price`` come on the initial dump only."""
    tail = '"event_type":"book"'
    if tick_size is not None:
        tail = f'"tick_size":"{tick_size}",{tail}'
    if last_trade_price is not None:
        tail = f'{tail},"last_trade_price":"{last_trade_price}"'
    head = f'{{"market":"{market}","asset_id":"{asset_id}","timestamp":"{timestamp}","hash":"{digest}","bids":['
    return b"".join((head.encode(), bids, b'],"asks":[', asks, b"],", tail.encode(), b"}"))


_Entry = tuple[str, str, str, str, str, str, str]


def price_change(market: str, entries: tuple[_Entry, _Entry], timestamp: str, *, loose: bool = False) -> bytes:
    """New totals; an entry is asset_id, price, size, side, hash, best_bid, best_ask.

    By far the commonest frame: ``loose`` writes it as ``spaced`` would, without the detour.
    """
    _ = " " if loose else ""
    (a, px, sz, side, digest, bid, ask), (a2, px2, sz2, side2, digest2, bid2, ask2) = entries
    return (
        f'{{"market":{_}"{market}",{_}"price_changes":{_}[{{"asset_id":{_}"{a}",{_}"price":{_}"{px}",{_}"size":{_}"{sz}",'
        f'{_}"side":{_}"{side}",{_}"hash":{_}"{digest}",{_}"best_bid":{_}"{bid}",{_}"best_ask":{_}"{ask}"}},'
        f'{_}{{"asset_id":{_}"{a2}",{_}"price":{_}"{px2}",{_}"size":{_}"{sz2}",{_}"side":{_}"{side2}",'
        f'{_}"hash":{_}"{digest2}",{_}"best_bid":{_}"{bid2}",{_}"best_ask":{_}"{ask2}"}}],'
        f'{_}"timestamp":{_}"{timestamp}",{_}"event_type":{_}"price_change"}}'
    ).encode()


def old_book(market: str, asset_id: str, *, timestamp: str, digest: str, bids: bytes, asks: bytes) -> bytes:
    """A book after a trade before September 2025: keys in alphabetical order."""
    return b"".join(
        (
            b'{"asks":[', asks, f'],"asset_id":"{asset_id}","bids":['.encode(), bids,
            f'],"event_type":"book","hash":"{digest}","market":"{market}","timestamp":"{timestamp}"}}'.encode(),
        )
    )  # fmt: skip


def old_price_change(market: str, asset_id: str, change: tuple[str, str, str], *, digest: str, timestamp: str) -> bytes:
    """New total of one token before September 2025; a change is price, side, size."""
    price, side, size = change
    return (
        f'{{"asset_id":"{asset_id}","changes":[{{"price":"{price}","side":"{side}","size":"{size}"}}],'
        f'"event_type":"price_change","hash":"{digest}","market":"{market}","timestamp":"{timestamp}"}}'
    ).encode()


def flat_price_change(
    market: str, asset_id: str, change: tuple[str, str, str], *, digest: str, timestamp: str
) -> bytes:
    """New total of one token in 2024."""
    price, side, size = change
    return (
        f'{{"asset_id":"{asset_id}","event_type":"price_change","hash":"{digest}","market":"{market}",'
        f'"price":"{price}","side":"{side}","size":"{size}","timestamp":"{timestamp}"}}'
    ).encode()


def last_trade_price(
    market: str,
    asset_id: str,
    *,
    price: str,
    size: str,
    side: str,
    fee_rate_bps: str,
    timestamp: str,
    transaction_hash: str,
    old: bool = False,
) -> bytes:
    """One print; ``side`` is the taker's."""
    if old:
        return (
            f'{{"asset_id":"{asset_id}","event_type":"last_trade_price","fee_rate_bps":"{fee_rate_bps}",'
            f'"market":"{market}","price":"{price}","side":"{side}","size":"{size}","timestamp":"{timestamp}"}}'
        ).encode()
    return (
        f'{{"market":"{market}","asset_id":"{asset_id}","price":"{price}","size":"{size}",'
        f'"fee_rate_bps":"{fee_rate_bps}","side":"{side}","timestamp":"{timestamp}",'
        f'"event_type":"last_trade_price","transaction_hash":"{transaction_hash}"}}'
    ).encode()


def tick_size_change(market: str, asset_id: str, *, old: str, new: str, timestamp: str) -> bytes:
    """The tick of a token changed."""
    return (
        f'{{"market":"{market}","asset_id":"{asset_id}","old_tick_size":"{old}","new_tick_size":"{new}",'
        f'"timestamp":"{timestamp}","event_type":"tick_size_change"}}'
    ).encode()


def best_bid_ask(market: str, asset_id: str, *, bid: int | None, ask: int | None, timestamp: str) -> bytes:
    """Best prices of a token changed (custom feature); a missing side is empty text."""
    spread = "" if bid is None or ask is None else PX_TEXT[max(0, ask - bid)]
    return (
        f'{{"market":"{market}","asset_id":"{asset_id}","best_bid":"{"" if bid is None else PX_TEXT[bid]}",'
        f'"best_ask":"{"" if ask is None else PX_TEXT[ask]}","spread":"{spread}","timestamp":"{timestamp}",'
        f'"event_type":"best_bid_ask"}}'
    ).encode()


def new_market(
    *,
    ref: str,
    market: str,
    question: str,
    slug: str,
    description: str,
    tokens: tuple[str, str],
    outcomes: tuple[str, str],
    event: dict[str, str],
    timestamp: str,
    active: bool,
    tick_size: str,
    group_title: str,
    fee_rate: str,
) -> bytes:
    """A market was listed (custom feature, sent to every connection that asked for it)."""
    frame: dict[str, Any] = {
        "id": ref,
        "question": question,
        "market": market,
        "slug": slug,
        "description": description[:40],  # the venue cuts it; the rules are in Gamma
        "assets_ids": list(tokens),
        "outcomes": list(outcomes),
        "event_message": {**event, "description": description[:40]},
        "timestamp": timestamp,
        "event_type": "new_market",
        "tags": [],
        "condition_id": market,
        "active": active,
        "clob_token_ids": list(tokens),
        "sports_market_type": "",
        "line": "",
        "game_start_time": "",
        "order_price_min_tick_size": tick_size,
        "group_item_title": group_title,
        "taker_base_fee": "1000" if fee_rate else "0",
        "fees_enabled": bool(fee_rate),
    }
    if fee_rate:
        frame["fee_schedule"] = {"exponent": "1", "rate": fee_rate, "taker_only": True, "rebate_rate": "0.2"}
    return _compact(frame)


def market_resolved(
    *, ref: str, market: str, tokens: tuple[str, str], winner: int, outcomes: tuple[str, str], timestamp: str
) -> bytes:
    """A market resolved (custom feature, sent to every connection that asked for it)."""
    return _compact(
        {
            "id": ref,
            "market": market,
            "assets_ids": list(tokens),
            "winning_asset_id": tokens[winner],
            "winning_outcome": outcomes[winner],
            "timestamp": timestamp,
            "event_type": "market_resolved",
            "tags": [],
        }
    )


def _compact(frame: dict[str, Any]) -> bytes:
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()

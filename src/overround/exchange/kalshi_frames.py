"""Kalshi's frames as templates: a shared body per change, and a head with the connection's own ``sid`` and ``seq``.

Frames end with a newline, as the venue's do.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from overround.market import PX_ONE_E4

__all__ = [
    "count_text",
    "delta_body",
    "dollars",
    "error",
    "frame",
    "iso_micros",
    "lifecycle_body",
    "ok",
    "snapshot_body",
    "subscribed",
    "ticker_body",
    "trade_body",
    "unsubscribed",
]

_PX = tuple(f"{px // PX_ONE_E4}.{px % PX_ONE_E4:04d}" for px in range(PX_ONE_E4 + 1))


def dollars(px_e4: int) -> str:
    """A price as the venue spells it: four decimals."""
    return _PX[px_e4]


def count_text(sz_e6: int) -> str:
    """A count as the venue spells it: two decimals, signed where it is a change."""
    whole, cents = divmod(abs(sz_e6) // 10_000, 100)
    return f"{'-' if sz_e6 < 0 else ''}{whole}.{cents:02d}"


def iso_micros(ts_ms: int, micros: int = 0) -> str:
    """Time in UTC with up to six decimals, trailing zeros trimmed."""
    fraction = f"{ts_ms % 1000:03d}{micros:03d}".rstrip("0")
    return f"{_second(ts_ms // 1000)}.{fraction}Z" if fraction else f"{_second(ts_ms // 1000)}Z"


@lru_cache(maxsize=256)
def _second(ts_s: int) -> str:
    return datetime.fromtimestamp(ts_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def frame(kind: str, sid: int, seq: int | None, body: bytes, *, sending_ms: int | None, command: int = 0) -> bytes:
    """A frame of a subscription: its head and a shared body."""
    head = f'{{"type":"{kind}",'
    if command:
        head += f'"id":{command},'
    head += f'"sid":{sid},'
    if seq is not None:
        head += f'"seq":{seq},'
    if sending_ms is not None:
        head += f'"sending_ts_ms":{sending_ms},'
    return b"".join((head.encode(), b'"msg":', body, b"}\n"))


def snapshot_body(
    ticker: str,
    market_id: str,
    *,
    yes: list[tuple[int, int]],
    no: list[tuple[int, int]],
    clock: int | None,
) -> bytes:
    """A whole book, levels ascending; a side without levels has no key."""
    parts = [f'{{"market_ticker":"{ticker}","market_id":"{market_id}"']
    if clock is not None:
        parts.append(f',"clock":{clock}')
    for name, levels in (("yes_dollars_fp", yes), ("no_dollars_fp", no)):
        if levels:
            body = ",".join(f'["{_PX[px]}","{count_text(sz)}"]' for px, sz in levels)
            parts.append(f',"{name}":[{body}]')
    parts.append("}")
    return "".join(parts).encode()


def delta_body(
    ticker: str,
    market_id: str,
    *,
    px_e4: int,
    delta_e6: int,
    side: str,
    ts: str,
    ts_ms: int | None,
    clock: int | None,
) -> bytes:
    """A signed change at one price of one side."""
    at = "" if clock is None else f'"clock":{clock},'
    ms = "" if ts_ms is None else f',"ts_ms":{ts_ms}'
    return (
        f'{{"market_ticker":"{ticker}","market_id":"{market_id}",{at}"price_dollars":"{_PX[px_e4]}",'
        f'"delta_fp":"{count_text(delta_e6)}","side":"{side}","ts":"{ts}"{ms}}}'
    ).encode()


def trade_body(ticker: str, *, trade_id: str, yes_px_e4: int, sz_e6: int, taker: str, ts_ms: int) -> bytes:
    """One print; ``taker`` is ``yes`` or ``no``."""
    return (
        f'{{"trade_id":"{trade_id}","market_ticker":"{ticker}","yes_price_dollars":"{_PX[yes_px_e4]}",'
        f'"no_price_dollars":"{_PX[PX_ONE_E4 - yes_px_e4]}","count_fp":"{count_text(sz_e6)}","taker_side":"{taker}",'
        f'"taker_outcome_side":"{taker}","taker_book_side":"{"bid" if taker == "yes" else "ask"}",'
        f'"is_block_trade":false,"ts":{ts_ms // 1000},"ts_ms":{ts_ms}}}'
    ).encode()


def ticker_body(
    ticker: str,
    market_id: str,
    *,
    price_e4: int,
    bid: tuple[int, int],
    ask: tuple[int, int],
    volume_e6: int,
    open_interest_e6: int,
    last_size_e6: int,
    ts_ms: int,
) -> bytes:
    """Best quotes and totals; a missing side is 0.0000 or 1.0000 with size 0.00."""
    return (
        f'{{"market_id":"{market_id}","market_ticker":"{ticker}","price_dollars":"{_PX[price_e4]}",'
        f'"yes_bid_dollars":"{_PX[bid[0]]}","yes_ask_dollars":"{_PX[ask[0]]}","volume_fp":"{count_text(volume_e6)}",'
        f'"open_interest_fp":"{count_text(open_interest_e6)}","dollar_volume":{volume_e6 // 2_000_000},'
        f'"dollar_open_interest":{open_interest_e6 // 2_000_000},"yes_bid_size_fp":"{count_text(bid[1])}",'
        f'"yes_ask_size_fp":"{count_text(ask[1])}","last_trade_size_fp":"{count_text(last_size_e6)}",'
        f'"ts":{ts_ms // 1000},"ts_ms":{ts_ms},"time":"{iso_micros(ts_ms)}"}}'
    ).encode()


def lifecycle_body(ticker: str, event_type: str, fields: dict[str, Any]) -> bytes:
    """A ``market_lifecycle_v2`` message."""
    return _compact({"market_ticker": ticker, **fields, "event_type": event_type})


def subscribed(command: int, channel: str, sid: int, *, sending_ms: int | None) -> bytes:
    """Answer to a new subscription: no top-level sid, no seq."""
    at = "" if sending_ms is None else f'"sending_ts_ms":{sending_ms},'
    return f'{{"type":"subscribed","id":{command},{at}"msg":{{"channel":"{channel}","sid":{sid}}}}}\n'.encode()


def ok(
    command: int, msg: Any, *, sid: int | None = None, seq: int | None = None, sending_ms: int | None = None
) -> bytes:
    """Acknowledgement; of a sequenced channel it consumes a ``seq``."""
    head: dict[str, Any] = {"type": "ok", "id": command}
    return _ended(head, sid=sid, seq=seq, sending_ms=sending_ms, msg=msg)


def unsubscribed(command: int, *, sid: int, seq: int | None, sending_ms: int | None) -> bytes:
    """A subscription ended on request."""
    return _ended({"type": "unsubscribed", "id": command}, sid=sid, seq=seq, sending_ms=sending_ms, msg=None)


def error(
    command: int,
    code: int,
    text: str,
    *,
    sid: int | None = None,
    seq: int | None = None,
    sending_ms: int | None = None,
    tickers: list[str] | None = None,
) -> bytes:
    """An error answer, or with ``sid`` the end of a subscription."""
    msg: dict[str, Any] = {"code": code, "msg": text}
    if tickers:
        msg["market_tickers"] = tickers
    head: dict[str, Any] = {"type": "error"}
    if command:
        head["id"] = command
    return _ended(head, sid=sid, seq=seq, sending_ms=sending_ms, msg=msg)


def _ended(head: dict[str, Any], *, sid: int | None, seq: int | None, sending_ms: int | None, msg: Any) -> bytes:
    fields = (("sid", sid), ("seq", seq), ("sending_ts_ms", sending_ms), ("msg", msg))
    head |= {name: value for name, value in fields if value is not None}
    return _compact(head) + b"\n"


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

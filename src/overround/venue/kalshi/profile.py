"""What Kalshi documents: every field of every message and record, with what its values may be.

Compiled from the specification of October 2026 and from captured payloads of 2026; where the two differ the payload was
believed. Fields that the specification deprecates and the venue still sends are here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from overround.venue.shapes import (
    ANY,
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

_TICKER = text(r"[A-Za-z0-9][A-Za-z0-9._:-]*", "a ticker", or_empty=True)
_UUID = text(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "a UUID", or_empty=True)
_DOLLARS = text(r"0\.\d{4,6}|1\.0{4,6}", "a price in [0, 1] with at least four decimals")
_DOLLARS_OR_NONE = text(r"0\.\d{4,6}|1\.0{4,6}", "a price in [0, 1] with at least four decimals", or_empty=True)
_MONEY = text(r"-?\d+\.\d{2,6}", "dollars as text")
_COUNT = text(r"\d+\.\d\d", "a count with two decimals")
_CHANGE = text(r"-?\d+\.\d\d", "a signed count with two decimals")
_YES_NO = word("yes", "no")
_SECONDS = number(1.2e9, 2.5e9, "Unix seconds")
_MS = number(1.2e12, 2.5e12, "Unix milliseconds")
_ISO = text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", "a time such as 2026-08-05T11:45:36.564Z")
_NUMBERED = number(0, 2**63, "a whole number, not negative")


def _is_level(level: object) -> bool:
    return isinstance(level, list) and len(level) == 2 and _DOLLARS.holds(level[0]) and _COUNT.holds(level[1])


_LEVELS = [Domain("a pair of a price and a count", _is_level)]


def _or_null(domain: Domain) -> Domain:
    return either(domain, NULL)


def _all(domain: Domain, names: str, mark: str = "") -> dict[str, Domain]:
    return {name + mark: domain for name in names.split()}


_RANGES = [{"start": _DOLLARS, "end": _DOLLARS, "step": _DOLLARS}]
_GRID = word(
    *("", "linear_cent", "deci_cent", "tapered_deci_cent", "banded_centi_cent", "center_deci_edge_centi_cent"),
    *(
        f"center_{center}_edge_{edge}_cent"
        for center in ("whole", "half", "quint", "deci", "centi")
        for edge in ("whole", "half", "quint", "deci", "centi")
        if (center, edge) != ("deci", "centi")
    ),
)
_STRIKES = word(
    *("", "greater", "greater_or_equal", "less", "less_or_equal", "between", "functional", "custom", "structured")
)
_FEE_TYPE = word("quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees", "flat")


def _framed(
    kind: str, msg: Any, *, sequenced: bool, old: tuple[OldForm, ...] = (), identity: str = "msg.market_ticker"
) -> Shape:
    """A frame of a subscription."""
    head: dict[str, Any] = {"type": word(kind), "sid": _NUMBERED, "id?": _NUMBERED, "sending_ts_ms~": _MS}
    head["seq!" if sequenced else "seq~"] = _NUMBERED
    return Shape(kind=kind, fields={**head, "msg": msg}, old=old, identity=identity)


def _msg(of: Callable[[Mapping[str, Any]], bool]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda frame: isinstance(frame.get("msg"), dict) and of(frame["msg"])


_METADATA = {
    **_all(TEXT, "name title yes_sub_title no_sub_title rules_primary rules_secondary", "~"),
    "can_close_early~": BOOL, "event_ticker~": _TICKER, "expected_expiration_ts~": _SECONDS, "strike_type~": _STRIKES,
    "floor_strike~": _or_null(NUMBER), "cap_strike~": _or_null(NUMBER), "custom_strike~": _or_null(free("an object")),
    "functional_strike~": _or_null(TEXT),
}  # fmt: skip
_LIFECYCLE = {
    "event_type": word(
        "created", "activated", "deactivated", "close_date_updated", "determined", "settled",
        "price_level_structure_updated", "metadata_updated",
    ),
    "market_ticker": _TICKER, "market_id~": _UUID, "exchange_index~": INT,
    **_all(_SECONDS, "open_ts close_ts determination_ts settled_ts", "~"), "is_deactivated~": BOOL,
    "result~": word("yes", "no", "scalar", ""), "settlement_value~": _DOLLARS_OR_NONE,
    "settlement_value_dollars~": _DOLLARS_OR_NONE, "additional_metadata~": _METADATA, "price_level_structure~": _GRID,
    "price_ranges~": _RANGES, "fractional_trading_enabled~": BOOL,
    **{name: domain for name, domain in _METADATA.items() if name != "event_ticker~"},
}  # fmt: skip
_TRADE = {
    "trade_id!": _UUID, "market_ticker": _TICKER, "market_id~": _UUID, "yes_price_dollars": _DOLLARS,
    "no_price_dollars": _DOLLARS, "count_fp": _COUNT, "taker_outcome_side": _YES_NO,
    "taker_book_side": word("bid", "ask"), "taker_side?": _YES_NO, "is_block_trade?": BOOL, "ts": _SECONDS,
    "ts_ms!": _MS,
}  # fmt: skip
_MARKET: dict[str, Any] = {
    "ticker": _TICKER, "event_ticker": _TICKER, "market_type?": word("binary", "scalar"),
    "status": word("initialized", "inactive", "active", "closed", "determined", "disputed", "amended", "finalized"),
    **_all(_ISO, "open_time close_time"), **_all(_ISO, "latest_expiration_time created_time updated_time", "?"),
    **_all(_or_null(_ISO), "expected_expiration_time occurrence_datetime settlement_ts fee_waiver_expiration_time"
           " expiration_time", "~"),
    "can_close_early?": BOOL, "early_close_condition~": _or_null(TEXT), "settlement_timer_seconds?": INT,
    **_all(_DOLLARS, "yes_bid_dollars yes_ask_dollars no_bid_dollars no_ask_dollars last_price_dollars"
           " previous_yes_bid_dollars previous_yes_ask_dollars previous_price_dollars notional_value_dollars", "?"),
    "liquidity_dollars~": _MONEY,
    **_all(_COUNT, "yes_bid_size_fp yes_ask_size_fp volume_fp volume_24h_fp open_interest_fp", "?"),
    "price_level_structure?": _GRID, "price_ranges?": _RANGES, "strike_type~": _STRIKES,
    "floor_strike~": _or_null(NUMBER), "cap_strike~": _or_null(NUMBER), "functional_strike~": _or_null(TEXT),
    "custom_strike~": _or_null(free("an object")), **_all(TEXT, "yes_sub_title no_sub_title", "?"),
    **_all(_or_null(TEXT), "title subtitle", "~"), **_all(TEXT, "rules_primary rules_secondary", "?"),
    "result?": word("yes", "no", "scalar", ""), "settlement_value_dollars~": _or_null(_DOLLARS_OR_NONE),
    "settlement_bounds_type~": word("default", "floor"), "settlement_floor_dollars~": _or_null(_DOLLARS),
    "expiration_value?": TEXT, "mve_collection_ticker~": _TICKER,
    "mve_selected_legs~": [
        {"event_ticker": _TICKER, "market_ticker": _TICKER, "side": _YES_NO,
         "yes_settlement_value_dollars~": _or_null(_DOLLARS_OR_NONE)},
    ],
    "is_provisional~": BOOL, "primary_participant_key~": _or_null(TEXT), "exchange_index~": INT,
}  # fmt: skip
_SOURCES = either(NULL, Domain("a list", lambda value: isinstance(value, list)))
_EVENT: dict[str, Any] = {
    "event_ticker": _TICKER, "series_ticker": _TICKER, "title": TEXT, "sub_title?": TEXT,
    "collateral_return_type?": word("MECNET", "DIRECNET", ""), "mutually_exclusive": BOOL,
    "settlement_sources~": _SOURCES, "strike_date~": _or_null(_ISO), "strike_period~": _or_null(TEXT),
    "product_metadata~": _or_null(free("an object")), "last_updated_ts~": _ISO,
    "fee_type_override~": _or_null(_FEE_TYPE), "fee_multiplier_override~": _or_null(NUMBER), "exchange_index~": INT,
    "available_on_brokers~": BOOL, "category~": TEXT,
}  # fmt: skip
_SERIES = {
    "ticker": _TICKER, "title": TEXT, "frequency?": TEXT, "category?": TEXT,
    **_all(_or_null(Domain("a list", lambda value: isinstance(value, list))),
           "categories tags additional_prohibitions", "~"),
    "settlement_sources~": _SOURCES, **_all(_or_null(TEXT), "contract_url contract_terms_url", "~"),
    "fee_type": _FEE_TYPE, "fee_multiplier": number(0, 10, "a number in [0, 10]"),
    "product_metadata~": _or_null(free("an object")), "volume_fp~": _COUNT, "last_updated_ts~": _ISO,
    "exchange_index~": INT,
}  # fmt: skip


def _is_ladder(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_level, value[:20]))


_LADDER = either(Domain("a list of pairs of a price and a count", _is_ladder), NULL)
_LADDERS = {"yes_dollars": _LADDER, "no_dollars": _LADDER}


def _has(*keys: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda message: any(key in message for key in keys)


_CENTS = "cents, before March 2026"
_OWN = free("an object of our own account")
_SHAPES = (
    _framed(
        "orderbook_snapshot",
        {"market_ticker": _TICKER, "market_id": _UUID, "clock?": _NUMBERED, "yes_dollars_fp~": _LEVELS,
         "no_dollars_fp~": _LEVELS, "ts~": ANY, "ts_ms~": _MS},
        sequenced=True,
        old=(OldForm(f"orderbook_snapshot ({_CENTS})", _msg(_has("yes", "no", "yes_dollars", "no_dollars"))),),
    ),
    _framed(
        "orderbook_delta",
        {"market_ticker": _TICKER, "market_id": _UUID, "clock!?": _NUMBERED, "price_dollars": _DOLLARS,
         "delta_fp": _CHANGE, "side": _YES_NO, "ts?": _ISO, "ts_ms!?": _MS, "client_order_id~": TEXT,
         "subaccount~": INT},
        sequenced=True,
        old=(OldForm(f"orderbook_delta ({_CENTS})", _msg(_has("price", "delta"))),),
    ),
    _framed(
        "trade",
        _TRADE,
        sequenced=True,
        old=(
            OldForm(f"trade ({_CENTS})", _msg(_has("yes_price", "count"))),
            OldForm("trade (taker_side only, before May 2026)", _msg(lambda msg: "taker_outcome_side" not in msg
                                                                     and "taker_book_side" not in msg
                                                                     and "taker_side" in msg)),
        ),
    ),
    _framed(
        "ticker",
        {
            "market_ticker": _TICKER, "market_id?": _UUID, "price_dollars": _DOLLARS_OR_NONE,
            **_all(_DOLLARS, "yes_bid_dollars yes_ask_dollars"),
            **_all(_COUNT, "volume_fp open_interest_fp"),
            **_all(_COUNT, "yes_bid_size_fp yes_ask_size_fp last_trade_size_fp", "?"),
            **_all(_NUMBERED, "dollar_volume dollar_open_interest", "?"), "ts": _SECONDS, "ts_ms!?": _MS, "time?": _ISO,
        },
        sequenced=False,
        old=(OldForm(f"ticker ({_CENTS})", _msg(_has("price", "yes_bid", "volume"))),),
    ),
    _framed("market_lifecycle_v2", _LIFECYCLE, sequenced=True),
    _framed("multivariate_market_lifecycle", _LIFECYCLE, sequenced=True),
    _framed(
        "event_lifecycle",
        {"event_ticker": _TICKER, "exchange_index~": INT, "title": TEXT, "subtitle?": TEXT,
         "collateral_return_type?": word("MECNET", "DIRECNET", ""), "series_ticker": _TICKER, "strike_date~": ANY,
         "strike_period~": TEXT},
        sequenced=True,
        identity="msg.event_ticker",
    ),
    _framed(
        "event_fee_update",
        {"event_ticker": _TICKER, "fee_type_override": _or_null(_FEE_TYPE), "fee_multiplier_override": _or_null(NUMBER)},
        sequenced=True,
        identity="msg.event_ticker",
    ),
    Shape(
        kind="subscribed",
        fields={"type": word("subscribed"), "id": _NUMBERED, "sending_ts_ms~": _MS,
                "msg": {"channel": TEXT, "sid": _NUMBERED}},
    ),
    Shape(
        kind="unsubscribed",
        fields={"type": word("unsubscribed"), "id": _NUMBERED, "sid": _NUMBERED, "seq~": _NUMBERED,
                "sending_ts_ms~": _MS},
    ),
    Shape(
        kind="ok",
        fields={"type": word("ok"), "id": _NUMBERED, "sid~": _NUMBERED, "seq~": _NUMBERED, "sending_ts_ms~": _MS,
                "msg~": either(free("an object"), Domain("a list", lambda value: isinstance(value, list)))},
    ),
    Shape(
        kind="error",
        fields={"type": word("error"), "id~": _NUMBERED, "sid~": _NUMBERED, "seq~": _NUMBERED, "sending_ts_ms~": _MS,
                "msg": {"code": number(1, 28, "an error code from 1 to 28"), "msg": TEXT, "market_ticker~": _TICKER,
                        "market_tickers~": Domain("a list", lambda value: isinstance(value, list))}},
    ),
    *(
        _framed(kind, _OWN, sequenced=False, identity="")
        for kind in ("fill", "market_position", "user_order", "order_group_updates")
    ),
    Shape(
        kind="rest_market",
        fields=_MARKET,
        old=(OldForm(f"rest_market ({_CENTS})", lambda m: "yes_bid" in m or "volume" in m),),
        identity="ticker",
        slow=True,
    ),
    Shape(kind="rest_event", fields=_EVENT, identity="event_ticker", slow=True),
    Shape(kind="rest_series", fields=_SERIES, identity="ticker", slow=True),
    Shape(
        kind="rest_orderbook",
        fields={"ticker~": _TICKER, "orderbook_fp": _LADDERS},
        old=(OldForm(f"rest_orderbook ({_CENTS})", lambda m: "orderbook" in m),),
        identity="ticker",
        slow=True,
    ),
    Shape(
        kind="rest_status",
        fields={"exchange_active": BOOL, "trading_active": BOOL, "intra_exchange_transfers_active~": BOOL,
                "exchange_estimated_resume_time~": _or_null(_ISO),
                "exchange_index_statuses~": Domain("a list", lambda value: isinstance(value, list))},
        slow=True,
    ),
    Shape(
        kind="rest_page",
        fields={"cursor~": _or_null(TEXT), **_all(INT, "markets events series orderbooks", "~")},
        slow=True,
    ),
)  # fmt: skip

_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(list[msgspec.Raw] | None).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LISTS = {"markets": "rest_market", "events": "rest_event", "series": "rest_series", "orderbooks": "rest_orderbook"}


def _guess(frame: bytes) -> str:
    at = frame.find(b'"type"')
    if at < 0:
        return ""
    start = frame.find(b'"', at + 6) + 1
    return frame[start : frame.find(b'"', start)].decode(errors="replace") if start else ""


def _messages(frame: bytes) -> list[tuple[str, object]]:
    message = _decode(frame)
    if not isinstance(message, dict):
        return [("(no object)", message)]
    kind = message.get("type")
    return [(kind if isinstance(kind, str) and kind else "(none)", message)]


def _answers(path: str, body: bytes, choose: Callable[[int], Collection[int]]) -> Iterator[tuple[str, object, bytes]]:
    name = path.rsplit("/", 1)[-1]
    if path.endswith("/exchange/status"):
        yield "rest_status", _decode(body), body
        return
    if name not in _LISTS:
        return
    page = _fields(body)
    rows = _split(page.get(name, b"[]")) or []
    envelope = {key: len(rows) if key == name else _decode(raw) for key, raw in page.items()}
    yield "rest_page", envelope, body[-400:]
    for index in choose(len(rows)):
        record = _decode(rows[index])
        if name == "events" and isinstance(record, dict):
            nested = record.pop("markets", None)
            yield "rest_event", record, bytes(rows[index])
            for market in nested[:2] if isinstance(nested, list) else ():
                yield "rest_market", market, msgspec.json.encode(market)
        else:
            yield _LISTS[name], record, bytes(rows[index])


SHAPES = VenueShapes({shape.kind: shape for shape in _SHAPES}, _guess, _messages, _answers)
"""Kalshi's documented messages and records."""

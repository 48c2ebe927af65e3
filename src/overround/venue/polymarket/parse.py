"""From the venue's words to ours: decimals to integers, Gamma listings to markets, CLOB books to ladders.

Strict where it protects: a price, size, tick or id that does not fit is a ``WireError`` that names it. Tolerant where
the venue drifts: unknown words, dates that do not read and absent fields become "unknown". Absent, null and ``""``
are the same everywhere.

Price and size texts repeat, so both are read through tables that fill as texts are seen. The feed's hot path looks
into the tables itself; a text that is not there yet takes the slow and strict way once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec

from overround.errors import UNREADABLE, FrameMalformed, ValueOutOfScale
from overround.market import (
    PX_ONE_E4,
    SZ_ONE_E6,
    Exclusivity,
    FeeKind,
    FeeSchedule,
    Market,
    MarketId,
    MarketStatus,
    Origin,
    OutcomeId,
    Strike,
    TickBand,
    Venue,
    px_e4,
    px_text,
    sz_e6,
)
from overround.venue.polymarket.hash import HashEra, HashInputs, book_hash
from overround.venue.polymarket.wire import (
    ClobBook,
    Event,
    GammaEvent,
    GammaFeeSchedule,
    GammaMarket,
    GammaReward,
    Number,
    Prices,
    Texts,
    decode_gamma_market,
)
from overround.venue.ports import RestBook

__all__ = [
    "Delta",
    "book_sides",
    "decimal_text",
    "deltas",
    "epoch_ms",
    "ladder",
    "market_from_gamma",
    "markets_from_event",
    "mirror_text_by_px",
    "mirrored",
    "price_e4",
    "px_by_text",
    "rest_book",
    "size_e6",
    "timestamp_ms",
]

# Canonical spellings are 10,001; padded ones are rare. Sizes of single changes hardly repeat and are read as numbers;
# whole books repeat those of all their levels: when the table is full, it starts anew.
_PX_TEXTS_MAX = 40_000


# Both tables read what they do not hold. If a price met for the first time took another road through the feed, what a
# feed makes of a frame would depend on what other feeds of the process have seen, and no replay would make the same.
class _Prices(dict[str, int]):
    __slots__ = ()

    def __missing__(self, text: str) -> int:
        if not isinstance(text, str):
            raise KeyError(text)
        px = px_e4(text)
        if len(self) < _PX_TEXTS_MAX:
            self[text] = px
        return px


class _Mirrors(dict[int, str]):
    __slots__ = ()

    def __missing__(self, px: int) -> str:
        text = self[px] = px_text(PX_ONE_E4 - px)
        return text


px_by_text: dict[str, int] = _Prices()
"""``px_e4`` by price text as seen on the wire; reads a text not met before, and keeps it."""
mirror_text_by_px: dict[int, str] = _Mirrors()
"""Text of ``1 - px`` by ``px_e4``, as the venue prints the other outcome's price."""

_LEVEL_TEXTS_MAX = 1 << 15
_sz_by_level_text: dict[str, int] = {}
_E6_BY_PLACES: tuple[int, ...] = tuple(10 ** (6 - places) for places in range(7))
# Of a number with more digits a double may be another one's too.
_SURE_DIGITS = 15
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_texts = msgspec.json.Decoder(list[str])
_prices = msgspec.json.Decoder(list[str | int | float])


# --- numbers --------------------------------------------------------------------------------------------------------


def price_e4(value: Number, *, field: str = "price") -> int:
    """Read a price, text or number, exactly.

    Raises
    ------
    ValueOutOfScale
        If it is absent, no decimal, finer than 0.0001, or outside [0, 1].
    """
    text = value if isinstance(value, str) else _exact_text(value, field)
    px = px_by_text.get(text)
    if px is None:
        px = px_e4(text, field=field)
        if len(px_by_text) < _PX_TEXTS_MAX:
            px_by_text[text] = px
    return px


def size_e6(value: Number, *, field: str = "size") -> int:
    """Read a size, text or number, exactly.

    Raises
    ------
    ValueOutOfScale
        If it is absent, no decimal, or finer than 0.000001.
    """
    text = value if isinstance(value, str) else _exact_text(value, field)
    sz = _sz_by_level_text.get(text)
    if sz is None:
        sz = _size(text, field)
        if len(_sz_by_level_text) >= _LEVEL_TEXTS_MAX:
            _sz_by_level_text.clear()
        _sz_by_level_text[text] = sz
    return sz


def _size(text: str, field: str) -> int:
    # Twice as fast as the general reader for what the venue sends: whole numbers and few decimals.
    if len(text) <= 12 and text.isascii():
        if text.isdigit():
            return int(text) * SZ_ONE_E6
        whole, _, fraction = text.partition(".")
        body = whole + fraction
        if len(fraction) <= 6 and body.isdigit():
            return int(body) * _E6_BY_PLACES[len(fraction)]
    return sz_e6(text, field=field)


def _exact_text(value: Number, field: str) -> str:
    """Text of a number, if it is sure to be the number that was sent."""
    if isinstance(value, float) and len(repr(value).partition("e")[0].replace(".", "").strip("-0")) > _SURE_DIGITS:
        raise ValueOutOfScale(field, value, scale=f"{_SURE_DIGITS} digits as a JSON number")
    return decimal_text(value)


def decimal_text(value: Number) -> str:
    """Plain decimal text of a number as JSON gave it; a text passes, null is empty.

    Examples
    --------
    >>> decimal_text(0.0025), decimal_text(5), decimal_text(1e-05), decimal_text(5.0)
    ('0.0025', '5', '0.00001', '5')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        # The shortest decimal that reads back as this float is what the venue wrote, up to 15 digits.
        text = repr(value)
        if "e" in text:
            text = format(Decimal(text), "f")
        return text.removesuffix(".0")
    return str(value)


def timestamp_ms(value: Number) -> int:
    """Read a venue timestamp in milliseconds.

    Raises
    ------
    ValueOutOfScale
        If it is no whole number of at most 15 digits.
    """
    text = decimal_text(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueOutOfScale("timestamp", value, scale="whole milliseconds")
    return int(text)


def epoch_ms(text: str | None) -> int | None:
    """Read a date in any of the listing's forms; None where it is absent or does not read.

    Examples
    --------
    >>> epoch_ms("2026-03-11T09:29:01.328428Z"), epoch_ms("2026-04-05 19:37:33+00"), epoch_ms("2026-03-12")
    (1773221341328, 1775417853000, 1773273600000)
    """
    if not text:
        return None
    try:
        then = datetime.fromisoformat(text)
        return ((then if then.tzinfo else then.replace(tzinfo=UTC)) - _EPOCH) // _MS
    except (ValueError, OverflowError):
        return None


# --- books ----------------------------------------------------------------------------------------------------------


class _Level(Protocol):
    """A level of any of the wire structs."""

    @property
    def price(self) -> Number: ...

    @property
    def size(self) -> Number: ...


def ladder(levels: Iterable[_Level]) -> dict[int, int]:
    """Levels in any order as ``px_e4`` to ``sz_e6``; empty levels are left out.

    Raises
    ------
    ValueOutOfScale
        If a price or size does not fit.
    """
    found: dict[int, int] = {}
    for level in levels:
        try:
            found[px_by_text[level.price]] = _sz_by_level_text[level.size]  # type: ignore[index]  # a number is no key
        except KeyError:
            found[price_e4(level.price)] = size_e6(level.size)
    if 0 in found.values():
        return {px: sz for px, sz in found.items() if sz}
    return found


class Delta(NamedTuple):
    """A token's new resting size at one price, as announced.

    Attributes
    ----------
    token : str
    bid : bool
        Side of that token's book.
    px_e4, sz_e6 : int
    hash : str
        Of that token's book after the message, or empty.
    best_bid, best_ask : Number
        Of that token after the message, as printed; None where the form has none.
    """

    token: str
    bid: bool
    px_e4: int
    sz_e6: int
    hash: str
    best_bid: Number
    best_ask: Number


def deltas(event: Event) -> list[Delta]:
    """Level changes of a ``price_change`` in any of its three forms.

    Raises
    ------
    WireError
        If it has no change, or one whose value does not fit; nothing of it may be applied then.
    """
    token, hash_ = event.asset_id or event.token_id, event.hash or ""
    if event.price_changes is not None:
        found = [
            Delta(
                change.asset_id or change.token_id,
                _is_buy(change.side),
                price_e4(change.price),
                size_e6(change.size),
                change.hash or "",
                change.best_bid,
                change.best_ask,
            )
            for change in event.price_changes
        ]
    elif event.changes is not None:
        found = [
            Delta(token, _is_buy(change.side), price_e4(change.price), size_e6(change.size), hash_, None, None)
            for change in event.changes
        ]
    elif event.price is None:
        raise FrameMalformed("price_change names no level")
    else:
        px, sz = price_e4(event.price), size_e6(event.size)
        found = [Delta(token, _is_buy(event.side), px, sz, hash_, event.best_bid, event.best_ask)]
    if not all(delta.token for delta in found):
        raise FrameMalformed("price_change names no token")
    return found


def book_sides(event: Event) -> tuple[dict[int, int], dict[int, int]]:
    """Bids and asks of a ``book``, under their present or their old names.

    Raises
    ------
    WireError
        If a side is absent (null is an empty side) or a value does not fit.
    """
    bids = event.buys if event.bids is msgspec.UNSET else event.bids
    asks = event.sells if event.asks is msgspec.UNSET else event.asks
    if bids is msgspec.UNSET or asks is msgspec.UNSET:
        raise FrameMalformed("book lacks a side")
    return ladder(bids or ()), ladder(asks or ())


def _is_buy(side: str | None) -> bool:
    if side == "BUY":
        return True
    if side == "SELL":
        return False
    raise FrameMalformed(f"side={side!r} is neither BUY nor SELL")


def mirrored(levels: Mapping[int, int]) -> dict[int, int]:
    """The same ladder seen from the other outcome."""
    return {PX_ONE_E4 - px: sz for px, sz in levels.items()}


def rest_book(raw: ClobBook, market: Market) -> RestBook:
    """A CLOB book of either token as the first outcome's book.

    Raises
    ------
    WireError
        If a value does not fit, or the book is of another market.
    """
    if raw.asset_id not in market.outcome_ids:
        raise FrameMalformed(f"book of token {raw.asset_id} is none of market {market.market_id}")
    bids, asks = ladder(raw.bids), ladder(raw.asks)
    ts_ms = None if raw.timestamp in (None, "") else timestamp_ms(raw.timestamp)
    first = raw.asset_id == market.outcome_ids[0]
    return RestBook(
        market_id=market.market_id,
        bids=bids if first else mirrored(asks),
        asks=asks if first else mirrored(bids),
        ts_venue_ms=ts_ms,
        hash=raw.hash if first else "",
        hash_ok=_hash_holds(raw, ts_ms) if raw.hash else None,
        last_trade_text=decimal_text(raw.last_trade_price),
    )


def _hash_holds(raw: ClobBook, ts_ms: int | None) -> bool:
    inputs = HashInputs(
        market=raw.market,
        asset_id=raw.asset_id,
        timestamp_ms=ts_ms or 0,
        min_order_size=decimal_text(raw.min_order_size),
        tick_size=decimal_text(raw.tick_size),
        neg_risk=bool(raw.neg_risk),
        last_trade_price=decimal_text(raw.last_trade_price),
    )
    sides = [[(decimal_text(at.price), decimal_text(at.size)) for at in levels] for levels in (raw.bids, raw.asks)]
    if raw.last_trade_price is not None:
        eras: tuple[HashEra, ...] = (HashEra.TEN,)
    else:
        eras = (HashEra.SIX, HashEra.FIVE) if raw.tick_size is None else (HashEra.NINE,)
    return any(book_hash(era, inputs, sides[0], sides[1]) == raw.hash for era in eras)


# --- listings -------------------------------------------------------------------------------------------------------


def markets_from_event(raw: GammaEvent, *, now_ms: int, origin: Origin = Origin.LIVE) -> list[Market]:
    """All markets of a Gamma event that carries them.

    Raises
    ------
    WireError
        If one of them does not read.
    """
    return [
        market_from_gamma(decode_gamma_market(record), now_ms=now_ms, origin=origin, event=raw)
        for record in raw.markets or ()
    ]


def market_from_gamma(
    raw: GammaMarket, *, now_ms: int, origin: Origin = Origin.LIVE, event: GammaEvent | None = None
) -> Market:
    """One Gamma market as a universe record.

    Parameters
    ----------
    raw : GammaMarket
    now_ms : int
        When it was listed.
    origin : Origin
    event : GammaEvent, optional
        The parent, where the record comes nested in it; otherwise the record's own ``events``.

    Raises
    ------
    FrameMalformed
        If it has no condition id or not two token ids.
    ValueOutOfScale
        If its tick, minimum size or a money field does not read.
    """
    if event is None and raw.events:
        event = raw.events[0]
    if not raw.conditionId:
        raise FrameMalformed(f"Gamma market {raw.id} has no conditionId")
    tokens = _token_ids(raw)
    labels = tuple(_text_list(raw.outcomes, "outcomes"))
    prices = [decimal_text(price) for price in _price_list(raw.outcomePrices, "outcomePrices")]
    status, result = _status(raw, prices, labels)
    rewards = _rewards_daily(raw.clobRewards, now_ms)
    return Market(
        market_id=MarketId(raw.conditionId),
        outcome_ids=tokens,
        title=raw.question or raw.slug or "",
        close_ts=_close_ts(raw, event),
        open_ts=epoch_ms(raw.acceptingOrdersTimestamp) or epoch_ms(raw.startDate) or epoch_ms(raw.createdAt),
        status=status,
        tags=_tags(raw, event),
        venue=Venue.POLYMARKET,
        origin=origin,
        venue_ref=decimal_text(raw.id),
        event_id=decimal_text(event.id) if event else "",
        event_title=(event.title or "") if event else "",
        series_id=_series(event),
        outcome_labels=labels,
        label=raw.groupItemTitle or "",
        rules_text=raw.description or "",
        rules_source=raw.resolutionSource or "",
        tick_grid=_tick_grid(raw.orderPriceMinTickSize),
        min_size_e6=0 if raw.orderMinSize in (None, "") else size_e6(raw.orderMinSize, field="orderMinSize"),
        fee=_fee(raw.feeSchedule, enabled=bool(_flag(raw.feesEnabled)), name=raw.feeType or ""),
        strike=_strike(raw),
        exclusivity=_exclusivity(raw, event),
        neg_risk=bool(_flag(raw.negRisk)),
        volume_usdc=_money(_first_present(raw.volumeNum, raw.volume), "volume"),
        volume_24h_usdc=_money(raw.volume24hr, "volume24hr"),
        liquidity_usdc=_money(_first_present(raw.liquidityNum, raw.liquidity), "liquidity"),
        best_bid_px=_quote(raw.bestBid, "bestBid"),
        best_ask_px=_quote(raw.bestAsk, "bestAsk"),
        result=result,
        accepts_orders=status is MarketStatus.ACTIVE,
        rewards_daily_usdc=rewards,
        rewards_min_size=_money(raw.rewardsMinSize, "rewardsMinSize") if rewards else 0.0,
        rewards_max_spread_px=_money(raw.rewardsMaxSpread, "rewardsMaxSpread") / 100 if rewards else 0.0,
        slug=raw.slug or "",
        first_seen_ts=now_ms,
        last_seen_ts=now_ms,
        disputed=raw.umaResolutionStatus == "disputed",
    )


def _token_ids(raw: GammaMarket) -> tuple[OutcomeId, ...]:
    # Protocol V2 lists position ids in place of token ids; the version decides, not what happens to be present.
    ids = raw.positionIds if raw.version == "v2" else raw.clobTokenIds
    tokens = tuple(OutcomeId(token) for token in _text_list(ids, "clobTokenIds"))
    if len(tokens) != 2 or not all(tokens) or tokens[0] == tokens[1]:
        raise FrameMalformed(f"Gamma market {raw.id} has token ids {tokens!r}, not two")
    return tokens


def _status(raw: GammaMarket, prices: Sequence[str], labels: Sequence[str]) -> tuple[MarketStatus, str]:
    """Status and result; ``active`` stays true after resolution, ``closed`` is what changes."""
    if _flag(raw.closed) or _flag(raw.archived):
        result = _result(prices, labels)
        if raw.umaResolutionStatus == "resolved" or result not in ("", "scalar"):
            return MarketStatus.RESOLVED, result
        return MarketStatus.CLOSED, ""
    if not _flag(raw.active):
        return MarketStatus.UNOPENED, ""
    if not _flag(raw.acceptingOrders) or _flag(raw.enableOrderBook) is False:
        return MarketStatus.PAUSED, ""
    return MarketStatus.ACTIVE, ""


def _result(prices: Sequence[str], labels: Sequence[str]) -> str:
    """Winner by the final prices: ``yes``, ``no`` or its label; ``scalar`` if both pay something; empty if unknown."""
    if len(prices) != 2 or len(labels) != 2:
        return ""
    try:
        values = [float(price) for price in prices]
    except ValueError:
        return ""
    if sorted(values) == [0.0, 1.0]:
        label = labels[values.index(1.0)]
        return label.lower() if label in ("Yes", "No") else label
    # Rows of old, never settled markets hold zeros or a stray last price.
    return "scalar" if values == [0.5, 0.5] else ""


def _close_ts(raw: GammaMarket, event: GammaEvent | None) -> int | None:
    """End of trading: known once closed, before that the listing's indication."""
    if _flag(raw.closed):
        closed = epoch_ms(raw.closedTime)
        if closed is not None:
            return closed
    for text in (raw.endDate, event.endDate if event else None, raw.endDateIso):
        end = epoch_ms(text)
        if end is not None:
            return end
    return None


def _tags(raw: GammaMarket, event: GammaEvent | None) -> tuple[str, ...]:
    tags = [*(raw.tags or ()), *((event.tags or ()) if event else ())]
    return tuple(dict.fromkeys(name for tag in tags if (name := tag.label or tag.slug)))


def _series(event: GammaEvent | None) -> str:
    if event is None:
        return ""
    for series in event.series or ():
        name = decimal_text(series.id) or series.slug
        if name:
            return name
    return event.seriesSlug or ""


def _tick_grid(tick: Number) -> tuple[TickBand, ...]:
    """Orders rest from one tick to one minus a tick; empty where the listing names no tick."""
    if tick in (None, ""):
        return ()
    step = px_e4(decimal_text(tick), field="orderPriceMinTickSize")
    if step == 0:
        raise ValueOutOfScale("orderPriceMinTickSize", tick, scale="a positive price step")
    return (TickBand(step, PX_ONE_E4 - step, step),)


def _fee(schedule: GammaFeeSchedule | None, *, enabled: bool, name: str) -> FeeSchedule:
    """The listed schedule; a market that names a fee without its schedule has an unknown one, not none."""
    if schedule is None or schedule.rate in (None, ""):
        return FeeSchedule(kind=FeeKind.UNKNOWN if enabled else FeeKind.NONE, name=name)
    rate = decimal_text(schedule.rate)
    exponent = decimal_text(schedule.exponent) or "1"
    if not (exponent.isascii() and exponent.isdigit() and len(exponent) <= 2):
        return FeeSchedule(kind=FeeKind.UNKNOWN, name=name, taker_rate=rate)
    return FeeSchedule(
        kind=FeeKind.POLYMARKET_CURVE,
        name=name,
        taker_rate=rate,
        maker_rate=rate if _flag(schedule.takerOnly) is False else "0",
        exponent=int(exponent),
        rebate_rate=decimal_text(schedule.rebateRate) or "0",
    )


def _strike(raw: GammaMarket) -> Strike | None:
    """The sort of a sports bet and its line, the only number that the listing has in a field of its own."""
    if not raw.sportsMarketType:
        return None
    game = decimal_text(raw.gameId)
    return Strike(
        kind=raw.sportsMarketType, floor=decimal_text(raw.line) or None, custom={"game_id": game} if game else {}
    )


def _exclusivity(raw: GammaMarket, event: GammaEvent | None) -> Exclusivity:
    """Neg-risk sets: at most one YES; the leg's index is the last byte of its question id."""
    set_id = raw.negRiskMarketID or (event.negRiskMarketID if event else None) or ""
    if not _flag(raw.negRisk) or not set_id:
        return Exclusivity()
    question = (raw.questionID or "").lower()
    index = None
    if len(question) == len(set_id) and question[:-2] == set_id[:-2].lower():
        try:
            index = int(question[-2:], 16)
        except ValueError:
            index = None
    augmented = event is not None and bool(_flag(event.enableNegRisk)) and bool(_flag(event.negRiskAugmented))
    fee = event.negRiskFeeBips if event else None
    return Exclusivity(
        exclusive=True,
        set_id=set_id,
        index=index,
        augmented=augmented,
        convert_fee_bips=None if fee in (None, "") else math.ceil(_money(fee, "negRiskFeeBips")),
    )


def _rewards_daily(rewards: Sequence[GammaReward] | None, now_ms: int) -> float:
    """USD a day of the reward programmes in force."""
    if not rewards:
        return 0.0
    today = (_EPOCH + now_ms * _MS).strftime("%Y-%m-%d")
    return sum(
        _money(reward.rewardsDailyRate, "rewardsDailyRate")
        for reward in rewards
        if (reward.startDate or today)[:10] <= today <= (reward.endDate or today)[:10]
    )


def _quote(value: Number, field: str) -> float | None:
    """A listed best price; 0 and 1 mean an empty side."""
    price = _money(value, field)
    return price if 0.0 < price < 1.0 else None


def _money(value: Number, field: str) -> float:
    """A listed amount as a float (for ranking, not for arithmetic); 0.0 where the listing says nothing."""
    if value in (None, ""):
        return 0.0
    try:
        amount = float(value)
    except (ValueError, OverflowError) as exc:
        raise ValueOutOfScale(field, value, scale="a number") from exc
    if not math.isfinite(amount):
        raise ValueOutOfScale(field, value, scale="a finite number")
    return amount


def _first_present(*values: Number) -> Number:
    return next((value for value in values if value not in (None, "")), None)


def _flag(value: bool | str | None) -> bool | None:  # noqa: FBT001
    """A flag, also where it comes as text; None where it is absent or reads as neither."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value


def _text_list(value: Texts, field: str) -> list[str]:
    if not isinstance(value, str):
        return value or []
    try:
        return _texts.decode(value) if value else []
    except UNREADABLE as exc:
        raise FrameMalformed(f"{field}={value[:200]!r} holds no list of texts") from exc


def _price_list(value: Prices, field: str) -> Sequence[str | int | float]:
    if not isinstance(value, str):
        return value or []
    try:
        return _prices.decode(value) if value else []
    except UNREADABLE as exc:
        raise FrameMalformed(f"{field}={value[:200]!r} holds no list of prices") from exc

"""From Kalshi's words to ours: pure functions over the wire structs.

Money and counts are decimal texts on this venue; they become ``px_e4`` and ``sz_e6`` exactly, or
``ValueOutOfScale`` names the text. Strikes and multipliers are JSON numbers and stay exact decimal texts.
The only levels are bids, for YES and for NO: a NO bid at ``q`` is an offer of YES at ``1 - q``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from overround.errors import FrameMalformed
from overround.market import (
    PX_ONE_E4,
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
    sz_e6,
)
from overround.venue.kalshi.wire import (
    DeltaMsg,
    Levels,
    PriceRange,
    RestEvent,
    RestMarket,
    RestOrderbook,
    RestSeries,
    SnapshotMsg,
    Source,
)
from overround.venue.ports import RestBook

__all__ = [
    "MIN_SIZE_E6",
    "NO_AS_ASK",
    "OUTCOMES",
    "PX_BY_TEXT",
    "fee_schedule",
    "ladders",
    "market_from_rest",
    "ms_of",
    "number_text",
    "rest_book",
    "stamp_of",
    "status_of",
    "strike_of",
    "tick_grid",
    "time_ms",
]

OUTCOMES = (OutcomeId("yes"), OutcomeId("no"))

MIN_SIZE_E6 = 10_000
"""Contracts come in hundredths on every market since 2026-04-17."""

PX_BY_TEXT = {f"{px // PX_ONE_E4}.{px % PX_ONE_E4:04d}": px for px in range(PX_ONE_E4 + 1)}
"""Every price as the venue spells it; other spellings take the slow road through ``px_e4``."""

NO_AS_ASK = {text: PX_ONE_E4 - px for text, px in PX_BY_TEXT.items()}
"""Where a NO bid stands on the YES ladder of offers."""

_STATUS = {
    "initialized": MarketStatus.UNOPENED,
    "active": MarketStatus.ACTIVE,
    "inactive": MarketStatus.PAUSED,
    "closed": MarketStatus.CLOSED,
    # A result that can still be disputed or amended is no result to settle on.
    "determined": MarketStatus.CLOSED,
    "disputed": MarketStatus.CLOSED,
    "amended": MarketStatus.CLOSED,
    "finalized": MarketStatus.RESOLVED,
}

# Rates of the published table (kalshi.md §6.2); a schedule carries them from here on.
_TAKER_RATE = "0.07"
_MAKER_RATES = {
    "quadratic": "0",
    "quadratic_with_maker_fees": "0.0175",
    "quadratic_with_combo_maker_fees": "0.035",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def time_ms(text: str | None, *, field: str = "time") -> int | None:
    """Epoch milliseconds of an RFC 3339 text, rounded down; None for null, empty and the zero time.

    Raises
    ------
    FrameMalformed
        If the text is no time.

    Examples
    --------
    >>> time_ms("2026-08-06T00:31:49.97871Z")
    1785976309978
    >>> time_ms("0001-01-01T00:00:00Z")
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise FrameMalformed(f"{field}={text!r} is no RFC 3339 time") from exc
    if moment.year <= 1:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MS


def stamp_of(msg: DeltaMsg | SnapshotMsg) -> int | str | None:
    """Venue time of a message: milliseconds, or a text still to be read; whole seconds become milliseconds."""
    if msg.ts_ms is not None:
        return msg.ts_ms
    return msg.ts * 1000 if isinstance(msg.ts, int) else msg.ts or None


def ms_of(stamp: int | str | None) -> int | None:
    """The same in milliseconds; None where there is none that can be read."""
    if not isinstance(stamp, str):
        return stamp
    try:
        return time_ms(stamp, field="ts")
    except FrameMalformed:
        return None


def ladders(
    yes: Levels | None, no: Levels | None, *, use_yes_price: bool = False
) -> tuple[dict[int, int], dict[int, int]]:
    """Bids and asks of the YES book from both sides' bids; an absent, null or empty side has no levels.

    Parameters
    ----------
    yes, no : list of (price, size) texts or None
    use_yes_price : bool
        Whether the ``no`` side comes in YES prices already (an ask ladder).

    Raises
    ------
    ValueOutOfScale
        If a price or size does not fit our integers.
    FrameMalformed
        If a side names one price twice.
    """
    no_table = PX_BY_TEXT if use_yes_price else NO_AS_ASK
    return _side(yes, PX_BY_TEXT, mirrored=False), _side(no, no_table, mirrored=not use_yes_price)


def _side(levels: Levels | None, table: Mapping[str, int], *, mirrored: bool) -> dict[int, int]:
    ladder: dict[int, int] = {}
    if not levels:
        return ladder
    for price, size in levels:
        px = table.get(price)
        if px is None:
            px = px_e4(price)
            if mirrored:
                px = PX_ONE_E4 - px
        if px in ladder:
            raise FrameMalformed(f"the price {price!r} comes twice on one side")
        ladder[px] = sz_e6(size)
    if 0 in ladder.values():
        # A level of nothing would make depth count ghosts.
        ladder = {px: sz for px, sz in ladder.items() if sz}
    return ladder


def rest_book(raw: RestOrderbook) -> RestBook:
    """One market's book; it has no clock and no number, so it can never repair a socket's book."""
    bids, asks = ladders(raw.orderbook_fp.yes_dollars, raw.orderbook_fp.no_dollars)
    return RestBook(market_id=MarketId(raw.ticker), bids=bids, asks=asks)


def status_of(word: str) -> MarketStatus:
    """Our word for a status; an unknown word counts as paused, so that nothing trades on it."""
    return _STATUS.get(word, MarketStatus.PAUSED)


def number_text(raw: msgspec.Raw, *, field: str) -> str | None:
    """The decimal text of a JSON number (or of a string that holds one), exact; None for null or absent.

    Raises
    ------
    FrameMalformed
        If it is neither.

    Examples
    --------
    >>> number_text(msgspec.Raw(b"7999999999.99"), field="cap_strike")
    '7999999999.99'
    """
    text = bytes(raw).decode("utf-8", "replace").strip()
    if text in ("", "null"):
        return None
    bare = text[1:-1] if text.startswith('"') and text.endswith('"') else text
    try:
        value = Decimal(bare)
    except InvalidOperation as exc:
        raise FrameMalformed(f"{field}={text} is no number") from exc
    if not value.is_finite() or abs(value.adjusted()) > 40:
        raise FrameMalformed(f"{field}={text} is no number of this world")
    return format(value, "f") if "e" in bare.lower() else bare


def tick_grid(ranges: Sequence[PriceRange] | None) -> tuple[TickBand, ...]:
    """Bands of the price grid; use them, never the grid's name.

    Raises
    ------
    ValueOutOfScale
        If a bound or step is finer than 0.0001.
    FrameMalformed
        If a band runs backwards or stands still.
    """
    bands = []
    for band in ranges or ():
        start, end, step = (
            px_e4(band.start, field="start"),
            px_e4(band.end, field="end"),
            px_e4(band.step, field="step"),
        )
        if step <= 0 or end < start:
            raise FrameMalformed(f"price range {band.start} to {band.end} by {band.step} is none")
        bands.append(TickBand(start, end, step))
    return tuple(bands)


def strike_of(raw: RestMarket) -> Strike | None:
    """The structured threshold, numbers as exact texts; None when the market has none at all."""
    floor, cap = number_text(raw.floor_strike, field="floor_strike"), number_text(raw.cap_strike, field="cap_strike")
    custom = {key: _plain_text(value) for key, value in (raw.custom_strike or {}).items()}
    if not (raw.strike_type or floor or cap or custom or raw.functional_strike):
        return None
    return Strike(
        kind=raw.strike_type or "", floor=floor, cap=cap, functional=raw.functional_strike or None, custom=custom
    )


def fee_schedule(raw: RestMarket, event: RestEvent | None, series: RestSeries | None) -> FeeSchedule:
    """What a fill costs: the event's override beats the series.

    Without a series, or with a type that is not in the published table, the kind is ``UNKNOWN``: nothing may
    be called riskless with it.
    """
    name = (event.fee_type_override if event is not None else None) or (series.fee_type if series is not None else "")
    multiplier = None
    if event is not None:
        multiplier = number_text(event.fee_multiplier_override, field="fee_multiplier_override")
    if multiplier is None and series is not None:
        multiplier = number_text(series.fee_multiplier, field="fee_multiplier")
    waived = time_ms(raw.fee_waiver_expiration_time, field="fee_waiver_expiration_time")
    maker_rate = _MAKER_RATES.get(name)
    if maker_rate is None or multiplier is None:
        return FeeSchedule(kind=FeeKind.UNKNOWN, name=name, multiplier=multiplier or "1", waived_until_ts=waived)
    return FeeSchedule(
        kind=FeeKind.KALSHI_QUADRATIC,
        name=name,
        taker_rate=_TAKER_RATE,
        maker_rate=maker_rate,
        multiplier=multiplier,
        waived_until_ts=waived,
    )


def market_from_rest(
    raw: RestMarket,
    *,
    event: RestEvent | None = None,
    series: RestSeries | None = None,
    now_ms: int,
    origin: Origin = Origin.LIVE,
) -> Market:
    """One listed market, joined with its event and series as far as they are known.

    Raises
    ------
    WireError
        If a price, strike, multiplier or time is none.

    Notes
    -----
    A quote exists only if its size is greater than zero: the quote fields have sentinels. ``volume_usdc`` is
    half the contracts traded, which is what the venue's own ticker calls ``dollar_volume``.
    """
    event_title = event.title if event is not None else ""
    status = status_of(raw.status)
    sources = (event.settlement_sources if event is not None else None) or (
        series.settlement_sources if series is not None else None
    )
    return Market(
        market_id=MarketId(raw.ticker),
        outcome_ids=OUTCOMES,
        title=raw.title or event_title or raw.ticker,
        close_ts=time_ms(raw.close_time, field="close_time"),
        open_ts=time_ms(raw.open_time, field="open_time"),
        status=status,
        tags=_tags(event, series),
        venue=Venue.KALSHI,
        origin=origin,
        event_id=raw.event_ticker,
        event_title=event_title,
        series_id=event.series_ticker if event is not None else "",
        outcome_labels=("Yes", "No"),
        label=raw.yes_sub_title or raw.subtitle or "",
        rules_text="\n\n".join(text for text in (raw.rules_primary, raw.rules_secondary) if text),
        rules_source="; ".join(_source_text(source) for source in sources or ()),
        tick_grid=tick_grid(raw.price_ranges),
        min_size_e6=MIN_SIZE_E6,
        fee=fee_schedule(raw, event, series),
        strike=strike_of(raw),
        exclusivity=_exclusivity(raw, event),
        combo_legs=tuple(f"{leg.market_ticker}:{leg.side}" for leg in raw.mve_selected_legs or ()),
        volume_usdc=_number(raw.volume_fp) / 2,
        volume_24h_usdc=_number(raw.volume_24h_fp) / 2,
        best_bid_px=_quote(raw.yes_bid_dollars, raw.yes_bid_size_fp),
        best_ask_px=_quote(raw.yes_ask_dollars, raw.yes_ask_size_fp),
        result=raw.result or "",
        accepts_orders=status is MarketStatus.ACTIVE,
        expected_close_ts=time_ms(raw.expected_expiration_time, field="expected_expiration_time"),
        first_seen_ts=now_ms,
        last_seen_ts=now_ms,
    )


def _exclusivity(raw: RestMarket, event: RestEvent | None) -> Exclusivity:
    """At most one YES in the event, as the venue says; never that there is exactly one."""
    if event is None:
        return Exclusivity()
    return Exclusivity(
        exclusive=event.mutually_exclusive,
        set_id=raw.event_ticker if event.mutually_exclusive else "",
        collateral_return=event.collateral_return_type or "",
    )


def _tags(event: RestEvent | None, series: RestSeries | None) -> tuple[str, ...]:
    words: list[str | None] = [event.category] if event is not None else []
    if series is not None:
        words += [series.category, *(series.categories or ()), *(series.tags or ())]
    return tuple(dict.fromkeys(word for word in words if word))


def _source_text(source: Source) -> str:
    return f"{source.name} <{source.url}>" if source.url else source.name


def _quote(price: str | None, size: str | None) -> float | None:
    """A quote, or None where its size says that there is none."""
    return px_e4(price, field="quote") / PX_ONE_E4 if price and size and sz_e6(size) else None


def _number(text: str | None) -> float:
    return sz_e6(text, field="volume") / 1e6 if text else 0.0


def _plain_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

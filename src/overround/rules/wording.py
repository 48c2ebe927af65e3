"""What is read of one market: its words and structured fields, from a universe record or a venue's own object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from overround.errors import FrameMalformed
from overround.market import Market, MarketId, MarketStatus, Venue

__all__ = ["MAX_CHARS", "Wording", "plain", "wording_of_market", "wording_of_record"]

MAX_CHARS = 20_000
"""Longer texts are not read: the longest rules seen have about 9,000 characters."""

# One character for one, so that spans into the plain text are spans into the venue's own.
_PLAIN = {ord(char): " " for char in "\u00a0\u2007\u2009\u200a\u202f\u200b\u200c\u200d\u2060\ufeff\u00ad\t\r\x0b\x0c"}
_PLAIN |= {ord(char): "-" for char in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"}
_PLAIN |= {ord(char): '"' for char in "\u201c\u201d\u201e\u00ab\u00bb"} | {
    ord(char): "'" for char in "\u2018\u2019\u02bc"
}
_PLAIN |= {code: " " for code in range(32) if code not in (9, 10, 11, 12, 13)} | dict.fromkeys(range(127, 160), " ")


def plain(text: str) -> str:
    """The text with one form for each dash, quote and blank, and no control characters; as long as it was.

    Examples
    --------
    >>> plain("“2–3”")
    '"2-3"'
    """
    return text.translate(_PLAIN)


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """One market's words, made plain, and the fields that speak of its meaning.

    Attributes
    ----------
    venue, market_id, ref
    event_id, event_title, series_id : str
    title, label, rules : str
        Question, caption inside the event, rules text.
    outcomes : tuple of str
    kind, floor, cap : str
        Strike as listed: the venue's word and exact decimal texts; empty where there is none. Of a Polymarket fixture
        the kind is the sort of bet and the floor its line.
    custom : dict of str to str
        Free strike keys.
    exclusive : bool
        The venue says that at most one of the set is paid.
    set_id : str
    index : int or None
        Place in the set.
    augmented : bool
    legs : tuple of str
        ``market_id:side`` of a combination.
    made_ms, close_ms, game_ms : int or None
        When it was made, when trading ends, when the fixture starts.
    mid_px : float or None
        The listing's own mid, for the sums that betray a missing leg.
    closed : bool
    disputed : bool
    """

    venue: Venue
    market_id: MarketId
    ref: str = ""
    event_id: str = ""
    event_title: str = ""
    series_id: str = ""
    title: str = ""
    label: str = ""
    rules: str = ""
    outcomes: tuple[str, ...] = ("Yes", "No")
    kind: str = ""
    floor: str = ""
    cap: str = ""
    custom: dict[str, str] = msgspec.field(default_factory=dict)
    exclusive: bool = False
    set_id: str = ""
    index: int | None = None
    augmented: bool = False
    legs: tuple[str, ...] = ()
    made_ms: int | None = None
    close_ms: int | None = None
    game_ms: int | None = None
    mid_px: float | None = None
    closed: bool = False
    disputed: bool = False

    @property
    def named(self) -> str:
        """What people call the market by: Gamma id or ticker."""
        return self.ref or self.market_id


def wording_of_market(market: Market) -> Wording:
    """The words of a universe record."""
    strike = market.strike
    return Wording(
        venue=market.venue,
        market_id=market.market_id,
        ref=market.venue_ref,
        event_id=market.event_id,
        event_title=plain(market.event_title),
        series_id=market.series_id,
        title=plain(market.title),
        label=plain(market.label),
        rules=plain(market.rules_text),
        outcomes=market.outcome_labels or ("Yes", "No"),
        kind=strike.kind if strike else "",
        floor=(strike.floor or "") if strike else "",
        cap=(strike.cap or "") if strike else "",
        custom=strike.custom if strike else {},
        exclusive=market.exclusivity.exclusive,
        set_id=market.exclusivity.set_id,
        index=market.exclusivity.index,
        augmented=market.exclusivity.augmented,
        legs=market.combo_legs,
        made_ms=market.open_ts,
        close_ms=market.close_ts,
        mid_px=_mid(market.best_bid_px, market.best_ask_px),
        closed=market.status in (MarketStatus.CLOSED, MarketStatus.RESOLVED),
        disputed=market.disputed,
    )


def wording_of_record(record: Mapping[str, Any]) -> Wording:
    """The words of a venue's own market object, beside its event: ``venue``, ``event_key``, ``event``, ``market``.

    Absent, null and empty fields are alike; a field of another type than the venue's counts as absent.

    Raises
    ------
    FrameMalformed
        If the venue is unknown or the market has no id.
    """
    try:
        venue = Venue(record.get("venue", ""))
    except ValueError as exc:
        raise FrameMalformed(f"{record.get('venue')!r} is no venue") from exc
    market, event = record.get("market"), record.get("event")
    if not isinstance(market, Mapping):
        raise FrameMalformed(f"a {venue} record has no market object")
    event = event if isinstance(event, Mapping) else {}
    key = _text(record, "event_key")
    return (_of_gamma if venue is Venue.POLYMARKET else _of_kalshi)(market, event, key)


def _of_gamma(market: Mapping[str, Any], event: Mapping[str, Any], key: str) -> Wording:
    ref = _text(market, "id")
    set_id = _text(market, "negRiskMarketID") if market.get("negRisk") is True else ""
    question = _text(market, "questionID").lower()
    index = int(question[-2:], 16) if re.fullmatch(r"0x[0-9a-f]{64}", question) and set_id else None
    line = _text(market, "line")
    if not (ref or market.get("conditionId")):
        raise FrameMalformed("a Polymarket record has no id")
    return Wording(
        venue=Venue.POLYMARKET,
        market_id=MarketId(_text(market, "conditionId") or ref),
        ref=ref,
        event_id=key or _text(event, "id"),
        event_title=plain(_text(event, "title")),
        series_id=_text(event, "seriesSlug"),
        title=plain(_text(market, "question")),
        label=plain(_text(market, "groupItemTitle")),
        rules=plain(_text(market, "description")),
        outcomes=_texts(market.get("outcomes")) or ("Yes", "No"),
        kind=_text(market, "sportsMarketType"),
        floor=line,
        exclusive=bool(set_id),
        set_id=set_id,
        index=index,
        augmented=event.get("enableNegRisk") is True and event.get("negRiskAugmented") is True,
        made_ms=_time(market, "startDate") or _time(market, "createdAt"),
        close_ms=_time(market, "endDate"),
        game_ms=_time(market, "gameStartTime"),
        mid_px=_mid(_number(market.get("bestBid")), _number(market.get("bestAsk"))),
        closed=market.get("closed") is True,
        disputed=_text(market, "umaResolutionStatus") == "disputed",
    )


def _of_kalshi(market: Mapping[str, Any], event: Mapping[str, Any], key: str) -> Wording:
    ticker = _text(market, "ticker")
    if not ticker:
        raise FrameMalformed("a Kalshi record has no ticker")
    custom = market.get("custom_strike")
    legs = market.get("mve_selected_legs")
    exclusive = event.get("mutually_exclusive") is True
    event_id = key or _text(market, "event_ticker")
    return Wording(
        venue=Venue.KALSHI,
        market_id=MarketId(ticker),
        event_id=event_id,
        event_title=plain(_text(event, "title")),
        series_id=_text(event, "series_ticker") or event_id.split("-")[0],
        title=plain(_text(market, "title")),
        label=plain(_text(market, "yes_sub_title") or _text(market, "subtitle")),
        rules=plain(
            "\n\n".join(text for name in ("rules_primary", "rules_secondary") if (text := _text(market, name)))
        ),
        kind=_text(market, "strike_type"),
        floor=_text(market, "floor_strike"),
        cap=_text(market, "cap_strike"),
        custom={str(name): str(value) for name, value in custom.items()} if isinstance(custom, Mapping) else {},
        exclusive=exclusive,
        set_id=event_id if exclusive else "",
        legs=tuple(
            f"{leg.get('market_ticker')}:{leg.get('side')}"
            for leg in (legs if isinstance(legs, list) else ())
            if isinstance(leg, Mapping)
        ),
        made_ms=_time(market, "open_time") or _time(market, "created_time"),
        close_ms=_time(market, "close_time"),
        game_ms=_time(market, "occurrence_datetime"),
        mid_px=_mid(_number(market.get("yes_bid_dollars")), _number(market.get("yes_ask_dollars"))),
        closed=_text(market, "status") in {"finalized", "settled", "determined", "closed"},
        disputed=_text(market, "status") in {"disputed", "amended"},
    )


def _text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return str(value) if isinstance(value, str | int) else ""


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _mid(bid: float | None, ask: float | None) -> float | None:
    """None unless both sides are quoted, or the one side that is leaves no doubt."""
    if ask is None or not 0 < ask <= 1:
        return None
    return ((bid or 0.0) + ask) / 2


def _time(source: Mapping[str, Any], name: str) -> int | None:
    text = _text(source, name)
    if len(text) < 10:
        return None
    if re.search(r"[+-]\d\d$", text):
        text += ":00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

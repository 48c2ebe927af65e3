"""What changes in a listing, as values: the fields whose history is kept, and one change of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from overround.market.ids import MarketId
from overround.market.listing import Market

__all__ = [
    "HISTORIC_FIELDS",
    "VOLATILE_FIELDS",
    "CatalogueChange",
    "CatalogueEvent",
    "State",
    "changed_fields",
    "changes_between",
    "market_of",
    "state_of",
    "value_in",
]

VOLATILE_FIELDS = frozenset(
    {
        *("volume_usdc", "volume_24h_usdc", "liquidity_usdc", "best_bid_px", "best_ask_px"),
        *("first_seen_ts", "last_seen_ts"),
    }
)
"""What moves with every trade and every scan is no change of the listing."""

HISTORIC_FIELDS = tuple(name for name in Market.__struct_fields__ if name not in VOLATILE_FIELDS)
"""Fields whose every change is kept: texts, times, status, tick, fees, strikes, exclusivity, ..."""

_MISSING = object()


def _plain(value: object) -> Any:
    """As it reads back from JSON: lists for tuples, so that what is stored compares with what is fresh."""
    return msgspec.json.decode(msgspec.json.encode(value))


_DEFAULTS = {
    field.name: _plain(field.default_factory() if field.default is msgspec.NODEFAULT else field.default)
    for field in msgspec.structs.fields(Market)
    if not field.required
}

State = dict[str, Any]
"""The historic fields of one market as JSON values; one that is absent has its default."""


class CatalogueEvent(StrEnum):
    """What happened to a market (or an event) in a listing."""

    LISTED = "listed"
    CHANGED = "changed"
    LEFT = "left"
    """No more in the listing of open markets; its status by id, where the venue told one, is ``after``."""
    RELISTED = "relisted"
    """Listed again after it had left."""
    LEG_ADDED = "leg added"
    """A market joined an event that had been listed without it."""
    LEG_REMOVED = "leg removed"
    """A market left its event, or the listing with a status that nobody knows; one that ended stays a leg."""


class CatalogueChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change, from the moment we saw it.

    Attributes
    ----------
    at_ms : int
        When we knew; the venue may have changed it at any time since ``before_ms``.
    before_ms : int or None
        The scan before, which still saw the old value; None for the first scan.
    what : CatalogueEvent
    market_id : MarketId
    event_id : str
    field : str
        Empty where the market as a whole is meant; ``status`` for one that left (``after`` is None if nobody knows it).
    before, after : JSON value
    """

    at_ms: int
    before_ms: int | None
    what: CatalogueEvent
    market_id: MarketId
    event_id: str = ""
    field: str = ""
    before: Any = None
    after: Any = None


def state_of(market: Market) -> State:
    """The historic fields of a market, defaults left out.

    Examples
    --------
    >>> from overround.testing.markets import a_market
    >>> "volume_usdc" in state_of(a_market(1))
    False
    """
    values = _plain(market)
    return {name: value for name in HISTORIC_FIELDS if (value := values[name]) != _DEFAULTS.get(name, _MISSING)}


def market_of(state: Mapping[str, Any], *, first_seen_ts: int = 0, last_seen_ts: int = 0) -> Market:
    """The market of a state; volumes and quotes, which have no history, are at their defaults.

    Raises
    ------
    msgspec.ValidationError
        If the state is no market's.
    """
    known = {name: state[name] for name in HISTORIC_FIELDS if name in state}
    return msgspec.convert(known | {"first_seen_ts": first_seen_ts, "last_seen_ts": last_seen_ts}, Market)


def changed_fields(before: Market, after: Market) -> State:
    """New values of the historic fields that differ."""
    return {
        name: _plain(getattr(after, name)) for name in HISTORIC_FIELDS if getattr(before, name) != getattr(after, name)
    }


def value_in(state: Mapping[str, Any], name: str) -> Any:
    """A field of a state, its default where it is absent."""
    return state[name] if name in state else _DEFAULTS.get(name)


def changes_between(
    before: State, after: State, *, at_ms: int, before_ms: int | None, market_id: MarketId
) -> list[CatalogueChange]:
    """One change per field in which two states differ, in the order of the fields."""
    event_id = str(value_in(after, "event_id") or "")
    return [
        CatalogueChange(
            at_ms=at_ms,
            before_ms=before_ms,
            what=CatalogueEvent.CHANGED,
            market_id=market_id,
            event_id=event_id,
            field=name,
            before=old,
            after=new,
        )
        for name in HISTORIC_FIELDS
        if (old := value_in(before, name)) != (new := value_in(after, name))
    ]

"""Markets made up for tests, in the venues' own layouts."""

from __future__ import annotations

from typing import Any

import msgspec

from overround.logic import Constraint, Relation
from overround.rules import Reading, read, relate, wording_of_record

MADE = "2027-04-20T12:00:00Z"


def gamma(ref: int, title: str, rules: str, *, event: str = "E1", about: str = "", label: str = "", outcomes: tuple[str, ...] = ("Yes", "No"),
          set_index: int | None = None, augmented: bool = False, made: str = MADE, **fields: Any) -> dict[str, Any]:  # fmt: skip
    """A Polymarket record."""
    market: dict[str, Any] = {
        "id": str(ref), "conditionId": f"0x{ref:064x}", "question": title, "description": rules, "groupItemTitle": label,
        "outcomes": msgspec.json.encode(outcomes).decode(), "startDate": made, **fields,
    }  # fmt: skip
    if set_index is not None:
        market |= {
            "negRisk": True,
            "negRiskMarketID": "0x" + "ab" * 31 + "00",
            "questionID": "0x" + "ab" * 31 + f"{set_index:02x}",
        }
    return {
        "venue": "polymarket", "event_key": event, "market": market,
        "event": {"id": event, "title": about or title, "enableNegRisk": set_index is not None, "negRiskAugmented": augmented},
    }  # fmt: skip


def kalshi(ticker: str, title: str = "", rules: str = "", *, event: str = "KXMADE-27", label: str = "", about: str = "",
           exclusive: bool | None = None, **fields: Any) -> dict[str, Any]:  # fmt: skip
    """A Kalshi record."""
    market = {
        "ticker": ticker,
        "event_ticker": event,
        "title": title,
        "rules_primary": rules,
        "yes_sub_title": label,
        "open_time": MADE,
        **fields,
    }
    flags = {"title": about} | ({} if exclusive is None else {"mutually_exclusive": exclusive})
    return {"venue": "kalshi", "event_key": event, "event": flags, "market": market}


def readings(records: list[dict[str, Any]]) -> list[Reading]:
    """All of them read."""
    return [read(wording_of_record(record)) for record in records]


def related(records: list[dict[str, Any]]) -> list[Constraint]:
    """Their relations."""
    return relate(readings(records))


def shown(constraints: list[Constraint], relation: Relation) -> list[tuple[str, list[str]]]:
    """Confidence and markets of one relation, ``~`` before a second outcome."""
    return [
        (one.confidence.value, ["~" * leg.index + (leg.ref or leg.market_id) for leg in one.legs])
        for one in constraints
        if one.relation is relation
    ]

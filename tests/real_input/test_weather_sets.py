"""Recorded books of 170 weather events: what a sum of best prices flags, and what is left when it is looked at."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from overround.arbitrage import Finder, Limits, Quote
from overround.book import Level, mirror
from overround.logic import Component, Leg, ladder, partition
from overround.market import FeeKind, FeeSchedule, MarketId, Venue

FEES = {"free": FeeSchedule(), "after fees": FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07")}


def events(captures: Path) -> list[list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    file = captures / "recordings" / "kalshi" / "rest_weather_books" / "2026-07-23.jsonl.gz"
    for line in gzip.decompress(file.read_bytes()).splitlines():
        row = msgspec.json.decode(line)
        if row["strike_type"] != "custom":
            found[row["capture_id"], row["ticker"].rsplit("-", 1)[0]].append(row)
    return list(found.values())


def degrees(row: dict[str, Any]) -> tuple[float, float]:
    """The whole degrees on which a bracket pays, both ends included."""
    low = -1e9 if row["strike_type"] == "less" else row["floor_strike"] + (row["strike_type"] == "greater")
    return low, 1e9 if row["strike_type"] == "greater" else row["cap_strike"] - (row["strike_type"] == "less")


def quote(row: dict[str, Any], fee: FeeSchedule) -> Quote:
    yes_bids, no_bids = (
        [Level(round(px * 10_000), round(sz * 1_000_000)) for px, sz in sorted(row[side], reverse=True)]
        for side in ("yes_bids", "no_bids")
    )
    return Quote(yes=tuple(mirror(no_bids)), no=tuple(mirror(yes_bids)), fee=fee)


def test_what_sums_of_best_prices_flag_does_not_survive_fees_or_reading(captures: Path) -> None:
    told: Counter[str] = Counter()
    for rows in events(captures):
        rows.sort(key=degrees)
        bids = sum(max((px for px, _ in row["yes_bids"]), default=0.0) for row in rows)
        asks = sum(min((1 - px for px, _ in row["no_bids"]), default=1.0) for row in rows)
        spans = [degrees(row) for row in rows]
        tiled = spans[0][0] < -1e8 and spans[-1][1] > 1e8 and all(a[1] + 1 == b[0] for a, b in pairwise(spans))
        kind = "tiled" if tiled else "ladder"
        assert tiled or {row["strike_type"] for row in rows} == {"greater"}
        told[kind] += 1
        told[f"{kind}: bids over 1"] += bids > 1
        told[f"{kind}: asks under 1"] += asks < 1
        n = len(rows)
        legs = tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(row["ticker"])) for row in rows)
        counts = (partition(range(n)),) if tiled else tuple(ladder(range(n)[::-1]))
        for name, fee in FEES.items():
            finder = Finder(
                Component(legs=legs, counts=counts), [quote(row, fee) for row in rows], limits=Limits(), now_ms=0
            )
            told[f"{kind}: {name}"] += finder.find(0) is not None
    assert told == {
        "tiled": 160, "tiled: bids over 1": 17, "tiled: asks under 1": 0, "tiled: free": 17, "tiled: after fees": 0,
        "ladder": 10, "ladder: bids over 1": 10, "ladder: asks under 1": 0, "ladder: free": 0, "ladder: after fees": 0,
    }  # fmt: skip

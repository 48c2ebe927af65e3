"""What naive checks flag in real listings and books, and why almost all of it is refused.

    OVERROUND_CAPTURES=… python benchmarks/real_arbitrage.py

Prints one table: a row for each capture and check, with the reasons in the order in which they are asked: does the logic
hold (the reading of the words; of books without words the strike fields), does it survive fees, was it on offer (sizes
displayed, all at one time). Who fails several reasons is counted at the first.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from overround.fills import fee_bound
from overround.logic import Component, Confidence, Constraint, Count, counts_of
from overround.market import PX_ONE_E4, SZ_ONE_E6, FeeKind, FeeSchedule, Market, MarketId
from overround.rules import read, relate, wording_of_market
from overround.venue.polymarket.parse import decode_gamma_market, market_from_gamma

KALSHI = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07")
LISTED_MS = 1_773_261_000_000
OPEN_LIST = "the list is open: legs may be added"
UNCOVERED = "nothing says that the legs cover every outcome"
NOT_EXCLUSIVE = "the legs do not exclude each other"
NO_STEP = "no certain implication between the two"
FEES = "nothing is left after fees"
FEES_UNKNOWN = "the fee is of a kind unknown to us"
TERMS = "the same only where the venues' terms for void, tie and source agree; no sizes"
NO_SIZES = "no sizes, or not of one instant: nothing shows that it was on offer"


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as file:
        for line in file:
            if line.startswith(b"{"):  # one file came with the marks of a merge
                yield msgspec.json.decode(line)


def earns(bought: Iterable[tuple[float, FeeSchedule]], pays: float) -> str:
    """Why one contract of each at these prices earns nothing; empty where it does."""
    cost = 0
    for px, fee in bought:
        # Of a thousand, so that the rounding of a single contract does not decide.
        px_e4 = round(px * PX_ONE_E4)
        due = fee_bound(fee, px_e4=px_e4, sz_e6=1_000 * SZ_ONE_E6, ts_ms=LISTED_MS) if 0 < px_e4 < PX_ONE_E4 else 0
        if due is None or fee.kind is FeeKind.UNKNOWN:
            return FEES_UNKNOWN
        cost += px_e4 * SZ_ONE_E6 + due // 1_000
    return "" if cost < pays * PX_ONE_E4 * SZ_ONE_E6 else FEES


class Told:
    """Rows of the table."""

    def __init__(self) -> None:
        self.looked: Counter[str] = Counter()
        self.flagged: Counter[str] = Counter()
        self.refused: dict[str, Counter[str]] = defaultdict(Counter)

    def flag(self, row: str, *reasons: str) -> None:
        self.flagged[row] += 1
        self.refused[row][next((reason for reason in reasons if reason), "proved")] += 1

    def table(self) -> str:
        told = [
            "| where, and what is checked | looked at | flagged | refused because | proved |",
            "| --- | ---: | ---: | --- | ---: |",
        ]
        for row, looked in self.looked.items():
            why = self.refused[row]
            proved = why.pop("proved", 0)
            reasons = "; ".join(f"{reason}: {n:,}" for reason, n in why.most_common())
            told.append(f"| {row} | {looked:,} | {self.flagged[row]:,} | {reasons} | {proved:,} |")
        return "\n".join(told)


# --- the listing of Polymarket ---


def listing(root: Path, told: Told) -> None:
    path = root / "polymarket" / "gamma_active_markets_20260311.jsonl.gz"
    with gzip.open(path) as file:
        markets = [market_from_gamma(decode_gamma_market(line), now_ms=LISTED_MS) for line in file]
    constraints = relate([read(wording_of_market(market)) for market in markets])
    certain = Counter(one.confidence for one in constraints)
    print(
        f"{len(markets):,} markets, {len(constraints):,} constraints, of them {certain[Confidence.CERTAIN]:,} certain\n"
    )
    by_legs: dict[frozenset[MarketId], list[Constraint]] = defaultdict(list)
    for one in constraints:
        by_legs[frozenset(leg.market_id for leg in one.legs)].append(one)
    _sets(markets, by_legs, told)
    _captions(markets, constraints, told)


def _sets(markets: Sequence[Market], by_legs: Mapping[frozenset[MarketId], Sequence[Constraint]], told: Told) -> None:
    sets: dict[str, list[Market]] = defaultdict(list)
    for market in markets:
        if market.exclusivity.set_id:
            sets[market.exclusivity.set_id].append(market)
    buy, sell = (
        "listing, neg-risk sets: asks add up to less than 1",
        "listing, neg-risk sets: bids add up to more than 1",
    )
    for legs in sets.values():
        if len(legs) < 2:
            continue
        told.looked[buy] += 1
        told.looked[sell] += 1
        over = by_legs.get(frozenset(market.market_id for market in legs), ())
        whole = [one for one in over if one.relation in {"partition", "exhaustive"}]
        asks = [market.best_ask_px for market in legs]
        bids = [market.best_bid_px or 0.0 for market in legs]
        fees = [market.fee for market in legs]
        if None not in asks and sum(ask or 0.0 for ask in asks) < 1:
            if any(market.exclusivity.augmented for market in legs):
                logic = OPEN_LIST
            elif any(one.confidence is Confidence.CERTAIN for one in whole):
                logic = ""
            elif whole:
                logic = f"complete only if {_kind(whole[0].conditions[0])}"
            else:
                logic = UNCOVERED
            told.flag(buy, logic, earns(zip((ask or 0.0 for ask in asks), fees, strict=True), 1), NO_SIZES)
        if sum(bids) > 1:
            apart = any(
                one.confidence is Confidence.CERTAIN and one.relation in {"partition", "mutually_exclusive"}
                for one in over
            )
            paid = [(1 - bid, fee) for bid, fee in zip(bids, fees, strict=True) if bid]
            told.flag(sell, "" if apart else NOT_EXCLUSIVE, earns(paid, len(paid) - 1), NO_SIZES)


def _kind(condition: str) -> str:
    """A condition without its numbers and names."""
    return re.sub(r"\d[\d.]*", "n", condition.split(" (")[0].split(":")[0])


def _captions(markets: Sequence[Market], constraints: Sequence[Constraint], told: Told) -> None:
    """Captions of one event with one number each, taken for a ladder in either direction."""
    row = "listing, numbers in captions: the dearer of two neighbours should be the cheaper"
    steps = {
        (legs[strict.leg].market_id, legs[loose.leg].market_id)
        for one in constraints
        if one.confidence is Confidence.CERTAIN
        for legs, counts in [counts_of([one])]
        for strict, loose in _implied(Component(legs=tuple(legs), counts=tuple(counts)).counts)
    }
    # What follows from two steps is a step.
    after: dict[MarketId, set[MarketId]] = defaultdict(set)
    for a, b in steps:
        after[a].add(b)

    def follows(a: MarketId, b: MarketId) -> bool:
        seen, due = {a}, [a]
        while due:
            for found in after.get(due.pop(), ()):
                if found == b:
                    return True
                if found not in seen:
                    seen.add(found)
                    due.append(found)
        return False

    events: dict[str, list[tuple[float, Market]]] = defaultdict(list)
    for market in markets:
        numbers = re.findall(r"\d[\d,]*\.?\d*", market.label)
        if market.event_id and len(numbers) == 1 and not market.exclusivity.set_id:
            events[market.event_id].append((float(numbers[0].replace(",", "")), market))
    for members in events.values():
        members.sort(key=lambda one: one[0])
        prices = [market.best_bid_px or 0.0 for _, market in members]
        rising = sum(b > a for a, b in itertools.pairwise(prices)) > len(prices) / 2
        for (_, low), (_, high) in itertools.pairwise(members):
            strict, loose = (low, high) if rising else (high, low)
            told.looked[row] += 1
            if (strict.best_bid_px or 0.0) > (loose.best_ask_px or 1.0):
                logic = "" if follows(strict.market_id, loose.market_id) else NO_STEP
                paid = [(1 - (strict.best_bid_px or 0.0), strict.fee), (loose.best_ask_px or 1.0, loose.fee)]
                told.flag(row, logic, earns(paid, 1), NO_SIZES)


def _implied(counts: Iterable[Count]) -> Iterator[tuple[Any, Any]]:
    for count in counts:
        if count.kind == "implies" and [x.holds for x in count.literals] == [False, True]:
            yield count.literals[0], count.literals[1]


# --- books and quotes of Kalshi, and pairs ---


def weather_books(root: Path, told: Told) -> None:
    events: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in lines(root / "kalshi" / "rest_weather_books" / "2026-07-23.jsonl.gz"):
        if one["strike_type"] != "custom":
            events[one["capture_id"], one["ticker"].rsplit("-", 1)[0]].append(one)
    buy, sell = "weather books, whole: asks add up to less than 1", "weather books, whole: bids add up to more than 1"
    for legs in events.values():
        told.looked[buy] += 1
        told.looked[sell] += 1
        ladder = {one["strike_type"] for one in legs} == {"greater"}
        bids = [max((px for px, _ in one["yes_bids"]), default=0.0) for one in legs]
        asks = [min((1 - px for px, _ in one["no_bids"]), default=1.0) for one in legs]
        if sum(asks) < 1:
            told.flag(buy, UNCOVERED if ladder else "", earns([(ask, KALSHI) for ask in asks], 1))
        if sum(bids) > 1:
            paid = [(1 - bid, KALSHI) for bid in bids if bid]
            told.flag(sell, NOT_EXCLUSIVE if ladder else "", earns(paid, len(paid) - 1))


def weather_changes(root: Path, told: Told) -> None:
    buy, sell = "weather brackets, every change: asks under 1", "weather brackets, every change: bids over 1"
    for path in sorted((root / "kalshi" / "bbo_weather_kxhighny").glob("*.csv.gz")):
        with gzip.open(path, "rt") as file:
            held: dict[str, tuple[float, float]] = {}
            for one in csv.DictReader(file):
                bid, ask = float(one["best_yes_bid"]) / 100, float(one["implied_yes_ask"]) / 100
                held[one["market_ticker"]] = (bid, ask)
                if len(held) < 6:
                    continue
                told.looked[buy] += 1
                told.looked[sell] += 1
                if sum(each for _, each in held.values()) < 0.9999:
                    told.flag(buy, earns([(each, KALSHI) for _, each in held.values()], 1), NO_SIZES)
                if sum(each for each, _ in held.values()) > 1.0001:
                    paid = [(1 - each, KALSHI) for each, _ in held.values() if each]
                    told.flag(sell, earns(paid, len(paid) - 1), NO_SIZES)


def econ_ladders(root: Path, told: Told) -> None:
    row = "ladders of economic releases: a higher rung bid over a lower one's ask"
    for path in sorted((root / "kalshi" / "rest_ladders_econ").glob("*.jsonl.gz")):
        for capture in lines(path):
            for event in capture.get("open_events", {}).get("events", ()):
                rungs = sorted(
                    (one for one in event["strikes"] if one["strike_type"] == "greater"),
                    key=lambda one: one["floor_strike"],
                )
                for loose, strict in itertools.pairwise(rungs):
                    told.looked[row] += 1
                    if (strict["yes_bid"] or 0.0) > (loose["yes_ask"] or 1.0):
                        paid = [(1 - strict["yes_bid"], KALSHI), (loose["yes_ask"], KALSHI)]
                        told.flag(row, earns(paid, 1), NO_SIZES)


def depth_books(root: Path, told: Told) -> None:
    row = "whole books asked one by one: a rung `-T` bid over a lower one's ask"
    with gzip.open(root / "kalshi" / "relations" / "markets_index.csv.gz", "rt") as file:
        listed = {one["ticker"]: one["strike_type"] for one in csv.DictReader(file)}
    for path in sorted((root / "kalshi" / "rest_orderbook_depth").glob("*.jsonl.gz")):
        events: dict[tuple[str, str], list[tuple[float, dict[str, Any]]]] = defaultdict(list)
        for one in lines(path):
            found = re.fullmatch(r"(.+)-T(-?\d+\.?\d*)", one["ticker"])
            if found:
                events[one["capture_id"], found[1]].append((float(found[2]), one))
        for rungs in events.values():
            rungs.sort(key=lambda one: one[0])
            for (_, loose), (_, strict) in itertools.pairwise(rungs):
                told.looked[row] += 1
                bid, ask = strict["best_yes_bid"] or 0.0, loose["best_yes_ask"] or 1.0
                if bid > ask:
                    kinds = {listed.get(one["ticker"], "") for one in (loose, strict)}
                    apart_s = abs(_seconds(loose) - _seconds(strict))
                    told.flag(
                        row,
                        "" if kinds == {"greater"} else "the rungs are not known to be strikes of one ladder",
                        earns([(1 - bid, KALSHI), (ask, KALSHI)], 1),
                        "" if apart_s <= 2 else "the books are more than 2 s apart",
                    )


def _seconds(book: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(book["captured_at"]).timestamp()


def stock_ladders(root: Path, told: Told) -> None:
    row = "weekly stock ladders, hourly prices: a higher strike dearer than the next lower one"
    folder = root / "polymarket" / "weekly_stock_ladders"
    with gzip.open(folder / "markets.csv.gz", "rt") as file:
        strike = {one["market_id"]: (one["event_id"], float(one["threshold"])) for one in csv.DictReader(file)}
    hours: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with gzip.open(folder / "bars_1h.csv.gz", "rt") as file:
        for one in csv.DictReader(file):
            if one["market_id"] in strike and one["close"]:
                event, level = strike[one["market_id"]]
                hours[event, one["timestamp_utc"]].append((level, float(one["close"])))
    for rungs in hours.values():
        for (low, lower), (high, higher) in itertools.pairwise(sorted(set(rungs))):
            if high > low:
                told.looked[row] += 1
                if higher > lower:
                    told.flag(row, "prices of a history, not offers")


def pairs(root: Path, told: Told) -> None:
    for name in ("world_cup", "macro"):
        row = f"pairs across the venues, {name.replace('_', ' ')}: both sides for less than 1"
        for path in sorted((root / "kalshi" / "cross_venue_pairs" / name).glob("*.jsonl.gz")):
            for one in lines(path):
                here, there = one["kalshi"], one["polymarket"]
                yes, bid = here.get("yes_ask"), there.get("best_bid")
                no, ask = here.get("no_ask"), there.get("best_ask")
                for px, other in ((yes, None if bid is None else 1 - bid), (no, ask)):
                    if px is None or other is None:
                        continue
                    told.looked[row] += 1
                    if px + other < 0.99999:
                        # What Polymarket charged then is not told: none is the least.
                        told.flag(row, earns([(px, KALSHI), (other, FeeSchedule())], 1), TERMS)


def main() -> None:
    root = Path(os.environ["OVERROUND_CAPTURES"]) / "recordings"
    told = Told()
    for part in (listing, weather_books, weather_changes, econ_ladders, depth_books, stock_ladders, pairs):
        part(root, told)
    print(told.table())


if __name__ == "__main__":
    main()

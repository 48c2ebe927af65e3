"""The page of a day: opens from disk, needs no network, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from markupsafe import Markup

from overround.analytics import BLOCK_MS, RankedMarket
from overround.pipelines.coverage import CoverageReport
from overround.pipelines.coverage_picture import key, layers
from overround.pipelines.liquidity import LiquidityMap
from overround.pipelines.mine import MeasuredMarket, MinedDays
from overround.pipelines.pages import charts, render
from overround.pipelines.report import DayReport, Finding, VenueDay
from overround.pipelines.viability_page import scatter

__all__ = ["day_page"]

_SHADES = 96
_MOST_DOTS = 500
_BID, _ASK, _UNWATCHED = (15, 143, 130), (222, 104, 56), (128, 128, 128, 56)
_MEASURES = (
    ("spread_ticks", "spread, ticks", ".2f"),
    ("depth_top3", "depth, top 3", ",.0f"),
    ("turnover_per_h", "USD traded/h", ",.0f"),
    ("changes_per_min", "changes/min", ",.1f"),
    ("volatility", "move/√h", ".4f"),
)
_SUMS = ("w_ms", "w2_ms", "mid", "spread", "depth_top3", "updates")
_UNITS = ((3_600_000, "h"), (60_000, "min"), (1_000, "s"))


class Cell(NamedTuple):
    """A cell of a table: what it says, the number it is sorted by, and its interval."""

    text: str | Markup
    value: float | None = None
    bounds: str = ""


def day_page(report: DayReport, *, top: int) -> str:
    """The page as text."""
    name = _Names(report.names)
    found = [finding for venue in report.venues for finding in venue.found or ()]
    found.sort(key=lambda finding: (-finding.profit_usd, finding.start_ms))
    return render(
        "day",
        date=report.date,
        skipped=report.skipped,
        measures=_MEASURES,
        venues=[_venue(day, top, name) for day in report.venues],
        found=[_finding(one, name) for one in found[:top]],
        n_found=len(found),
        never_looked=all(venue.found is None for venue in report.venues),
    )


class _Names:
    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def __call__(self, market_id: str) -> str:
        return self._known.get(market_id) or market_id


def _venue(day: VenueDay, top: int, name: _Names) -> dict[str, Any]:
    told: dict[str, Any] = {
        "venue": day.venue,
        "unread": bool(day.skipped),
        "mined": None,
        "coverage": None,
        "quoted": None,
    }
    if day.coverage is not None:
        told["coverage"] = _coverage(day.coverage)
    if day.quoted is not None:
        told["quoted"] = {
            "n": len(day.quoted),
            "scatter": scatter((one, name(one.market_id)) for one in day.quoted[:_MOST_DOTS]),
            "rows": [(name(one.market_id), one) for one in day.quoted[:top]],
        }
    if day.mined is None:
        return told
    result = day.mined.result
    drawn = _Drawn(day, day.mined)
    told["tiles"] = _tiles(day, day.mined)
    told["through"] = [
        _through(drawn, "spread", 100, "Spread, cents", ",g"),
        _through(drawn, "depth_top3", 1, "Depth, contracts in the top 3 levels", ",.0f"),
    ]
    told["mined"] = {
        "interesting": [_measured(market, drawn, name) for market in result.most_interesting],
        "rankings": [
            _ranking(words, ranked, drawn, name)
            for words, ranked in (
                (_DEEPEST, result.by_depth),
                (_TIGHTEST, result.by_spread),
                (_BUSIEST, result.by_updates),
            )
        ],
        "maps": [_map(day, market_id, found, name(market_id)) for market_id, found in day.maps.items()],
        "bin": _length(day.bin_ms),
    }
    return told


class _Ranking(NamedTuple):
    head: str
    column: str
    top: str
    over: str
    value: Callable[[RankedMarket], float | None]
    form: str


_DEEPEST = _Ranking("Deepest", "contracts, top 3", "depth_top3", "w2_ms", lambda market: market.avg_depth_top3, ",.0f")
_TIGHTEST = _Ranking("Tightest", "spread", "spread", "w2_ms", lambda market: market.avg_spread, ".4f")
_BUSIEST = _Ranking("Busiest", "quote updates", "updates", "w_ms", lambda market: market.quote_updates, ",d")


class _Drawn:
    """Blocks of the outcomes that are shown, on the day's axis."""

    def __init__(self, day: VenueDay, mined: MinedDays) -> None:
        self.begin_ms, self.end_ms = day.begin_ms, day.end_ms
        firsts = pl.DataFrame(
            {"market_id": list(day.firsts), "outcome_id": list(day.firsts.values())},
            schema={"market_id": pl.String, "outcome_id": pl.String},
        )
        narrow = mined.blocks.select("market_id", "outcome_id", "block", *_SUMS)
        self.blocks = narrow.join(firsts, on=["market_id", "outcome_id"], how="semi", maintain_order="left")
        result = mined.result
        ids = {market.market_id for market in result.most_interesting}
        ids |= {
            market.market_id for ranked in (result.by_depth, result.by_spread, result.by_updates) for market in ranked
        }
        self._by_market = self.blocks.filter(pl.col("market_id").is_in(ids)).partition_by("market_id", as_dict=True)

    def part(self, at_ms: int) -> float:
        """Where a time lies on the axis, [0, 1]."""
        return min(max((at_ms - self.begin_ms) / (self.end_ms - self.begin_ms), 0.0), 1.0)

    def step(self, block: int, value: float) -> charts.Step:
        return charts.Step(self.part(block), self.part(block + BLOCK_MS), value)

    def spark(self, market_id: str, top: str, over: str, *, alt: str, from_zero: bool = True) -> Markup:
        """One market's averages, a step per block."""
        blocks = self._by_market.get((market_id,))
        found = (
            []
            if blocks is None
            else [
                self.step(block, above / below)
                for block, above, below in blocks.select("block", top, over).iter_rows()
                if below > 0
            ]
        )
        low = 0.0 if from_zero else min((step.value for step in found), default=0.0)
        high = max((step.value for step in found), default=1.0)
        return charts.spark(charts.steps(found, low=low, high=high or 1.0, style="a"), alt=alt)


def _tiles(day: VenueDay, mined: MinedDays) -> list[tuple[str, str]]:
    result, coverage = mined.result, day.coverage
    tiles = [
        (f"{result.n_snapshots:,}", f"rows, {result.n_files:,} files"),
        (f"{result.n_markets:,}", f"markets, {result.n_outcomes:,} outcomes"),
        (f"{result.n_trades:,}", "trades"),
    ]
    if coverage is not None:
        tiles += [
            (f"{coverage.verified:.2%}", f"of wanted minutes verified; {coverage.quiet:.2%} quiet"),
            (f"{sum(cause.gaps for cause in coverage.causes):,}", "gaps"),
            (f"{coverage.gap + coverage.venue_down:.2%}", "of wanted minutes in a gap or without the venue"),
        ]
    tiles.append((_length(day.end_ms - day.begin_ms), f"{_clock(day.begin_ms)} to {_clock(day.end_ms)} UTC"))
    return tiles


def _coverage(report: CoverageReport) -> dict[str, Any]:
    worst = sorted(report.causes, key=lambda cause: -cause.total_s)
    return {
        "strip": layers(report),
        "key": key(),
        "ran": _length(round(1_000 * report.ran_s)),
        "wanted_h": report.wanted_s / 3_600,
        "cell": report.cell_minutes,
        "causes": ", ".join(f"{cause.cause} {cause.gaps:,}" for cause in worst),
    }


def _through(drawn: _Drawn, name: str, scale: float, head: str, form: str) -> dict[str, Any]:
    """The median market and the middle half, block by block."""
    each = pl.col(name) * scale / pl.col("w2_ms")
    found = (
        drawn.blocks.filter(pl.col("w2_ms") > 0)
        .group_by("block")
        .agg(
            each.quantile(0.25, "linear").alias("low"),
            each.median().alias("middle"),
            each.quantile(0.75, "linear").alias("high"),
            pl.len(),
        )
        .sort("block")
    )
    high, ys = charts.ticks_up_to(float(found["high"].max() or 0), form)  # type: ignore[arg-type]
    lower, middle, upper = (
        [drawn.step(block, value) for block, value in found.select("block", column).iter_rows()]
        for column in ("low", "middle", "high")
    )
    marks = charts.band(list(zip(lower, upper, strict=True)), low=0, high=high)
    marks += charts.steps(middle, low=0, high=high, style="a")
    fewest, most = int(found["len"].min() or 0), int(found["len"].max() or 0)  # type: ignore[arg-type]
    watched = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    caption = f"the median market, and the middle half of the {watched} watched at a time; five-minute averages"
    return {
        "head": head,
        "svg": charts.chart(
            marks, height=170, alt=f"{head} through the day: {caption}", xs=charts.clock_ticks(drawn.begin_ms, drawn.end_ms), ys=ys
        ),
        "caption": caption,
    }  # fmt: skip


def _measured(market: MeasuredMarket, drawn: _Drawn, name: _Names) -> dict[str, Any]:
    stats = market.stats
    cells = [Cell(f"{market.interest:.2f}", market.interest)]
    for measure, _, form in _MEASURES:
        value, lo, hi = stats[measure], stats[f"{measure}_lo"], stats[f"{measure}_hi"]
        bounds = "" if lo is None or hi is None else f"{lo:{form}} to {hi:{form}}"
        cells.append(Cell("–" if value is None else f"{value:{form}}", value, bounds))
    cells += [_share(stats["watched_share"]), _share(stats["verified_share"])]
    title = name(market.market_id)
    alt = f"price of {title} through the day"
    return {
        "title": title,
        "market_id": market.market_id,
        "short": _short(market.market_id),
        "spark": drawn.spark(market.market_id, "mid", "w2_ms", alt=alt, from_zero=False),
        "cells": cells,
    }


def _ranking(ranking: _Ranking, markets: Sequence[RankedMarket], drawn: _Drawn, name: _Names) -> dict[str, Any]:
    rows = []
    for market in markets:
        title, value = name(market.market_id), ranking.value(market)
        alt = f"{ranking.column} of {title} through the day"
        text = "–" if value is None else format(int(value) if ranking.form == ",d" else value, ranking.form)
        rows.append((title, drawn.spark(market.market_id, ranking.top, ranking.over, alt=alt), Cell(text, value)))
    return {"head": ranking.head, "column": ranking.column, "rows": rows}


def _map(day: VenueDay, market_id: str, found: LiquidityMap, title: str) -> dict[str, Any]:
    """Bids and asks shaded by what rested there; the lines are the best prices."""
    window = found.window
    sizes = np.concatenate([found.bid_sz[found.bid_sz > 0], found.ask_sz[found.ask_sz > 0]])
    fullest = float(np.quantile(sizes, 0.98)) if len(sizes) else 1.0
    shades = [
        np.ceil(np.sqrt(np.minimum(sz / fullest, 1.0)) * _SHADES).astype(np.uint8)
        for sz in (found.bid_sz, found.ask_sz)
    ]
    pixels = np.where(shades[0] > 0, shades[0], np.where(shades[1] > 0, shades[1] + _SHADES, 0)).astype(np.uint8)
    pixels[:, ~found.watched] = 2 * _SHADES + 1
    palette: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
    palette += [(*colour, round(255 * shade / _SHADES)) for colour in (_BID, _ASK) for shade in range(1, _SHADES + 1)]
    data = charts.png(pixels[::-1], [*palette, _UNWATCHED])
    low, high = window.low_e4 / 1e4, window.high_e4 / 1e4
    marks = charts.image(data) + Markup("").join(
        charts.steps(
            [charts.Step(n / len(best), (n + 1) / len(best), float(px)) for n, px in enumerate(best) if low <= px <= high],
            low=low, high=high, style="best",
        )
        for best in (found.best_bid, found.best_ask)
    )  # fmt: skip
    outcome = "yes" if day.firsts[market_id] == "yes" else "its first outcome"
    caption = f"price of {outcome}; fullest shade {fullest:,.0f} contracts"
    return {
        "title": title,
        "caption": caption,
        "svg": charts.chart(
            marks, height=230, alt=f"Resting contracts of {title} by price and time: {caption}",
            xs=charts.clock_ticks(day.begin_ms, day.end_ms),
            ys=charts.ticks_between(100 * low, 100 * high, " c"),
        ),
    }  # fmt: skip


def _finding(finding: Finding, name: _Names) -> dict[str, Any]:
    lived = f"{_length(finding.lived_ms)}{'' if finding.ended else ' or more'}"
    return {
        "what": f"{finding.forms} ({finding.grade})",
        "legs": [(venue, name(market_id)) for venue, market_id in finding.legs],
        "conditions": finding.conditions,
        "start": Cell(_clock(finding.start_ms, seconds=True), finding.start_ms),
        "lived": Cell(lived, finding.lived_ms),
        "profit": Cell(f"{finding.profit_usd:,.2f}", finding.profit_usd),
        "capital": Cell(f"{finding.capital_usd:,.2f}", finding.capital_usd),
        "per_year": Cell(
            "–" if finding.return_per_year is None else f"{finding.return_per_year:.1%}", finding.return_per_year
        ),
    }


def _short(market_id: str) -> str:
    return market_id if len(market_id) <= 30 else f"{market_id[:10]}…{market_id[-6:]}"


def _share(share: float | None) -> Cell:
    return Cell("–" if share is None else f"{share:.0%}", share)


def _clock(at_ms: int, *, seconds: bool = False) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, tz=UTC).strftime("%H:%M:%S" if seconds else "%H:%M")


def _length(ms: int) -> str:
    value, unit = next((ms / each, unit) for each, unit in _UNITS if ms >= 2 * each or each == _UNITS[-1][0])
    return f"{value:,.3g} {unit}"

"""The viability page: opens from disk, needs no network, light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from overround.analytics import HORIZONS_S
from overround.pipelines.pages import charts, render
from overround.pipelines.report import Quoted
from overround.pipelines.viability import ViabilityResult, ViableMarket

__all__ = ["scatter", "viability_page"]


def viability_page(result: ViabilityResult) -> str:
    """The page as text."""
    return render(
        "viability",
        title=f"Market making on {result.venue}, {result.date}",
        result=result,
        scatter=scatter((_quoted(market), market.title or market.market_id) for market in result.markets),
        horizons=HORIZONS_S,
        rows=[(market, _figures(market)) for market in result.markets],
    )


def scatter(markets: Iterable[tuple[Quoted, str]]) -> Markup | None:
    """Dollars a day, with their intervals, over the capital that they take; None if none has both."""
    dots = []
    for market, title in markets:
        usd, lo, hi = market.usd_per_day, market.usd_per_day_lo, market.usd_per_day_hi
        if usd is None or lo is None or hi is None or not market.capital:
            continue
        words = f"{title}: {market.verdict}, {usd:,.2f} dollars a day ({lo:,.2f} to {hi:,.2f}) on {market.capital:,.0f}"
        dots.append(charts.Dot(market.capital, usd, lo, hi, lo > 0, words))
    return charts.scatter(dots, height=260, alt="Expected dollars a day over capital in dollars") if dots else None


def _quoted(market: ViableMarket) -> Quoted:
    return Quoted(
        market_id=market.market_id,
        verdict=market.verdict,
        reason=market.reason,
        policy=market.policy,
        usd_per_day=market.usd_per_day,
        usd_per_day_lo=market.usd_per_day_lo,
        usd_per_day_hi=market.usd_per_day_hi,
        capital=market.stats["capital"],
    )


def _figures(market: ViableMarket) -> list[_Figure]:
    """The numbers of a line."""
    stats, policy = market.stats, market.policy
    judged = ((stats[name], stats[f"{name}_se"]) for name in (f"{policy}_markout_{seconds}s" for seconds in HORIZONS_S))
    hours = stats["hours_to_close"]
    return [
        _number(stats["watched_share"], ".0%", more="" if hours is None else f"closes in {max(0, hours):,.0f}\u00a0h"),
        _number(stats[f"{policy}_fills"], ",.0f"),
        _number(stats["quoted_spread"], ".2f", 100, more=_words(stats["competition"], "{:,.0f}\u00a0shown")),
        _number(stats[f"{policy}_edge"], ".2f", 100),
        *(_number(value, ".2f", 100, more=_words(error, "±\u00a0{:.2f}", 196)) for value, error in judged),
        _number(stats["capital"], ",.0f"),
        _number(stats["rewards"], ",.2f"),
        _number(stats["inventory_risk"], ",.0f", more=_words(stats["jump_risk"], "jump\u00a0{:,.0f}")),
    ]


class _Figure(NamedTuple):
    """A number as it is sorted, as it is shown, and what is said below it."""

    value: float | str
    text: str
    more: str


def _number(value: float | None, form: str, scale: float = 1.0, *, more: str = "") -> _Figure:
    return _Figure("", "–", more) if value is None else _Figure(value, f"{value * scale:{form}}", more)


def _words(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(value * scale)

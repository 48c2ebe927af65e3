"""The viability page: opens from disk, needs no network, light and dark."""

from __future__ import annotations

import math
from html import escape

from overround.analytics import HORIZONS_S
from overround.pipelines.mine_page import PAGE_STYLE
from overround.pipelines.viability import ViabilityResult, ViableMarket

__all__ = ["viability_page"]

_WIDTH, _HEIGHT, _LEFT, _FOOT = 760, 260, 70, 30
_STYLE = """
table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:right;padding:.3rem .5rem;border-bottom:1px solid var(--line);
font-variant-numeric:tabular-nums;vertical-align:top}th{color:var(--faint);font-weight:500}td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}
.dot{fill:var(--one)}.dot.loses{fill:var(--two)}.bar{stroke:var(--faint);stroke-width:1}.axis{stroke:var(--line)}text{fill:var(--faint);font-size:11px}
"""


def viability_page(result: ViabilityResult) -> str:
    """The page as text."""
    title = f"Market making on {result.venue}, {result.date}"
    rows = "".join(_row(market) for market in result.markets)
    markouts = "".join(f"<th>{seconds} s</th>" for seconds in HORIZONS_S)
    skipped = "".join(
        f'<p class="wrong">Left out: {escape(file.path)}: {escape(file.reason)}</p>' for file in result.skipped
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{PAGE_STYLE}{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>The best {len(result.markets)} of {result.n_markets:,} markets. Each was quoted by two imagined orders; fills come from prints
and the queue alone, and count as earned what is left of them some time later (five minutes, where a market was watched for
so long), after fees, with rebates and rewards.
Intervals (95 %) are about the mean of such days. Cancels ahead of a quote: {result.queue.cancels_ahead:g} ({escape(result.queue.source)}).</p>{skipped}
{_scatter(result)}
<table><thead><tr><th>market</th><th>dollars a day</th><th>quote</th><th>fills a day</th><th>spread, c</th><th>edge, c</th>{markouts}
<th>capital, $</th><th>rewards, $</th><th>inventory, $</th><th>verdict</th></tr></thead><tbody>{rows}</tbody></table>
<p>Edge and markouts are cents per contract filled; a markout below the edge is what takers knew.</p></body></html>
"""


def _row(market: ViableMarket) -> str:
    stats, policy = market.stats, market.policy
    usd = "&ndash;"
    if market.usd_per_day is not None:
        usd = f"{market.usd_per_day:,.2f}<small>{market.usd_per_day_lo:,.2f} to {market.usd_per_day_hi:,.2f}</small>"
    cells = [
        f'{escape(market.title or market.market_id)}<div class="id">{escape(market.market_id)}</div>',
        usd,
        policy,
        _number(stats[f"{policy}_fills"], ",.0f"),
        _number(stats["quoted_spread"], ".2f", 100),
        _number(stats[f"{policy}_edge"], ".2f", 100),
        *(_number(stats[f"{policy}_markout_{seconds}s"], ".2f", 100) for seconds in HORIZONS_S),
        _number(stats["capital"], ",.0f"),
        _number(stats["rewards"], ",.2f"),
        _number(stats["inventory_risk"], ",.0f"),
        f"<b>{escape(market.verdict)}</b><small>{escape(market.reason)}</small>",
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "&ndash;" if value is None else f"{value * scale:{form}}"


def _scatter(result: ViabilityResult) -> str:
    """Dollars a day, with their intervals, over the inventory risk (log scale)."""
    points = [
        (
            float(market.stats["inventory_risk"]),
            market.usd_per_day,
            market.usd_per_day_lo,
            market.usd_per_day_hi,
            market,
        )
        for market in result.markets
        if market.usd_per_day is not None and market.stats["inventory_risk"]
    ]
    if not points:
        return ""
    low = min(math.log10(risk) for risk, *_ in points)
    wide = max(max(math.log10(risk) for risk, *_ in points) - low, 0.1)
    floor = min(0.0, *(lo or 0.0 for _, _, lo, _, _ in points))
    tall = max(0.0, *(hi or 0.0 for _, _, _, hi, _ in points)) - floor or 1.0

    def x(risk: float) -> float:
        return _LEFT + 10 + (_WIDTH - _LEFT - 30) * (math.log10(risk) - low) / wide

    def y(usd: float) -> float:
        return 8 + (_HEIGHT - _FOOT - 16) * (1 - (usd - floor) / tall)

    drawn = "".join(
        f'<line class="bar" x1="{x(risk):.1f}" x2="{x(risk):.1f}" y1="{y(lo or 0):.1f}" y2="{y(hi or 0):.1f}"/>'
        f'<circle class="dot {"loses" if (lo or 0) <= 0 else ""}" cx="{x(risk):.1f}" cy="{y(usd or 0):.1f}" r="4">'
        f"<title>{escape(market.title or market.market_id)}: {market.verdict}</title></circle>"
        for risk, usd, lo, hi, market in points
    )
    marks = "".join(
        f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
        for value in sorted({floor, 0.0, floor + tall})
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="dollars a day over inventory risk"><line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
        f'{marks}{drawn}<text x="{_LEFT}" y="{_HEIGHT - 8}">{10**low:,.1f} $ of inventory risk a day</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 8}" text-anchor="end">{10 ** (low + wide):,.1f} $</text></svg>'
    )

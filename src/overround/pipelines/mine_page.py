"""The miner's page: opens from disk, needs no network, light and dark."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from overround.analytics import BLOCK_MS, INTEREST_PARTS
from overround.pipelines.mine import MeasuredMarket, MineResult
from overround.pipelines.pages import charts, render
from overround.timebucket import day_start_ms

__all__ = ["mine_page"]

_SHOWN = (
    ("spread_ticks", "spread, ticks", ".2f"),
    ("rel_spread", "spread / p(1-p)", ".3f"),
    ("depth_top3", "depth, top 3", ",.0f"),
    ("depth_1", "within 1 tick", ",.0f"),
    ("two_sided", "two-sided", ".1%"),
    ("turnover_per_h", "USD traded/h", ",.0f"),
    ("trades_per_h", "trades/h", ",.1f"),
    ("changes_per_min", "changes/min", ",.1f"),
    ("volatility", "move/√h", ".4f"),
    ("logit_volatility", "log-odds/√h", ".3f"),
    ("vpin", "VPIN", ".2f"),
    ("amihud", "Amihud, per 1,000 USD", ".4f"),
    ("ofi_slope", "OFI slope", ".2e"),
)


def mine_page(result: MineResult, blocks: pl.DataFrame) -> str:
    """The page as text.

    Parameters
    ----------
    result : MineResult
    blocks : polars.DataFrame
        The sums behind it: spread and depth through the time, and when each market was watched.
    """
    first, _, last = result.date.partition("..")
    begin, end = day_start_ms(first), day_start_ms(last or first) + 86_400_000
    by_market = blocks.partition_by("market_id", "outcome_id", as_dict=True)
    return render(
        "mine",
        title=f"{result.venue}, {result.date}",
        result=result,
        markets=[
            _market(market, by_market[market.market_id, market.outcome_id], begin, end)
            for market in result.most_interesting
        ],
    )


def _market(market: MeasuredMarket, blocks: pl.DataFrame, begin: int, end: int) -> dict[str, Any]:
    stats = market.stats
    watched = f"watched {_share(stats['watched_share'])}, verified {_share(stats['verified_share'])} of the time it was wanted"
    return {
        "told": market,
        "charts": [
            _line(blocks, "spread", begin, end, "a", "average spread, five minutes", 100, ".2f", " c"),
            _line(blocks, "depth_top3", begin, end, "b", "contracts in the top 3 levels", 1, ",.0f", ""),
            (_strip(blocks, begin, end, watched), watched),
        ],
        "parts": [(part.replace("_", "-"), round(100 * market.parts[part])) for part in INTEREST_PARTS],
        "values": [(label, *_value(stats, name, form)) for name, label, form in _SHOWN],
    }


def _line(
    blocks: pl.DataFrame, name: str, begin: int, end: int, style: str, words: str, scale: float, form: str, unit: str
) -> tuple[Markup, str]:
    """A line over the time, from 0; it breaks where nobody watched."""
    found = [
        charts.Step((at - begin) / (end - begin), (at + BLOCK_MS - begin) / (end - begin), scale * value)
        for at, value in blocks.filter(pl.col("w2_ms") > 0).select("block", pl.col(name) / pl.col("w2_ms")).iter_rows()
    ]
    high = max((step.value for step in found), default=0.0)
    words = f"{words}; from 0 to {high:{form}}{unit}"
    return charts.spark(charts.steps(found, low=0, high=high or 1.0, style=style), alt=words), words


def _strip(blocks: pl.DataFrame, begin: int, end: int, words: str) -> Markup:
    bars = [Markup('<rect class="full" y="300" width="1000" height="400"/>')]
    bars += [
        Markup('<rect class="part" x="{:.2f}" y="300" width="{:.2f}" height="400"/>').format(
            1_000 * (at - begin) / (end - begin), max(1.5, 1_000 * watched / (end - begin))
        )
        for at, watched in blocks.select("block", "w_ms").rows()
    ]
    return charts.spark(Markup("").join(bars), alt=words)


def _value(stats: dict[str, float | None], name: str, form: str) -> tuple[str, str]:
    value, lo, hi = stats[name], stats.get(f"{name}_lo"), stats.get(f"{name}_hi")
    if value is None:
        return "–", ""
    told = lo is not None and hi is not None and f"{lo:{form}}" != f"{hi:{form}}"
    return f"{value:{form}}", f"{lo:{form}}–{hi:{form}}" if told else ""


def _share(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f} %"

"""The miner's page: opens from disk, needs no network, light and dark."""

from __future__ import annotations

from html import escape

import polars as pl

from overround.analytics import BLOCK_MS, INTEREST_PARTS
from overround.pipelines.mine import MeasuredMarket, MineResult
from overround.timebucket import day_start_ms

__all__ = ["PAGE_STYLE", "mine_page"]

_WIDTH, _HEIGHT = 220, 34
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
PAGE_STYLE = """
:root{color-scheme:light dark;--ink:#1b2a33;--faint:#66757f;--line:#d8dfe3;--paper:#fbfcfc;--one:#0b6e69;--two:#b4552d;--bar:#cfe3e1}
@media(prefers-color-scheme:dark){:root{--ink:#e3eaed;--faint:#93a1a9;--line:#33424b;--paper:#12191d;--one:#5cc4bb;--two:#e69468;--bar:#23443f}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem auto;max-width:1180px;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:0}p{color:var(--faint);margin:.3rem 0 1rem;max-width:70ch}
section{border-top:1px solid var(--line);padding:1rem 0}.id{color:var(--faint);font:12px ui-monospace,monospace;overflow-wrap:anywhere}
.charts{display:flex;flex-wrap:wrap;gap:1.2rem;margin:.6rem 0}figure{margin:0}figcaption{color:var(--faint);font-size:12px}
svg{display:block;overflow:visible}.a{fill:none;stroke:var(--one);stroke-width:1.5}.b{fill:none;stroke:var(--two);stroke-width:1.5}
.seen{fill:var(--one)}.unseen{fill:var(--line)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.35rem 1rem;margin:0}dt{color:var(--faint);font-size:12px}
dd{margin:0;font-variant-numeric:tabular-nums}small{color:var(--faint);display:block}
.parts{display:flex;flex-wrap:wrap;gap:.3rem .9rem;margin:.3rem 0 .5rem;font-size:12px;color:var(--faint)}
.meter{display:inline-block;width:60px;height:7px;background:var(--line);margin-left:.3rem}.meter i{display:block;height:7px;background:var(--one)}
.wrong{color:var(--two)}
"""


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
    title = f"{result.venue}, {result.date}"
    by_market = blocks.partition_by("market_id", "outcome_id", as_dict=True)
    sections = "".join(
        _section(market, by_market[market.market_id, market.outcome_id], begin, end)
        for market in result.most_interesting
    )
    skipped = "".join(
        f'<p class="wrong">Left out: {escape(file.path)}: {escape(file.reason)}</p>' for file in result.skipped
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(title)}</title><style>{PAGE_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{result.n_markets:,} markets, {result.n_snapshots:,} snapshot rows, {result.n_trades:,} trades, {result.n_files:,} files.
Behind each value stands the 95 % interval of what watching throughout would have given; it vanishes where that was done.
Times are UTC.</p>{skipped}{sections}</body></html>
"""


def _section(market: MeasuredMarket, blocks: pl.DataFrame, begin: int, end: int) -> str:
    stats = market.stats
    charts = (
        _figure(_line(blocks, "spread", begin, end, "a"), "average spread, five minutes"),
        _figure(_line(blocks, "depth_top3", begin, end, "b"), "contracts in the top 3 levels"),
        _figure(_strip(blocks, begin, end), f"watched {_share(stats['watched_share'])}, verified "
                f"{_share(stats['verified_share'])} of the time it was wanted"),
    )  # fmt: skip
    parts = "".join(
        f'<span>{escape(part.replace("_", "-"))}<span class="meter"><i style="width:{round(60 * market.parts[part])}px"></i></span></span>'
        for part, word in ((part, part.replace("_", "-")) for part in INTEREST_PARTS)
    )
    values = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{_value(stats, name, form)}</dd></div>" for name, label, form in _SHOWN
    )
    return (
        f"<section><h2>{escape(market.title or market.market_id)} &middot; {market.interest:.2f}</h2>"
        f'<div class="id">{escape(market.market_id)} / {escape(market.outcome_id)}, {stats["n_units"]:.0f} units</div>'
        f'<div class="parts">{parts}</div><div class="charts">{"".join(charts)}</div><dl>{values}</dl></section>'
    )


def _figure(drawing: str, caption: str) -> str:
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(caption)}">{drawing}</svg><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _line(blocks: pl.DataFrame, name: str, begin: int, end: int, style: str) -> str:
    """A line over the time; it breaks where nobody watched for more than half an hour."""
    points = (
        blocks.filter(pl.col("w2_ms") > 0)
        .select((pl.col("block") + BLOCK_MS // 2).alias("at"), (pl.col(name) / pl.col("w2_ms")).alias("value"))
        .rows()
    )
    top = max((value for _, value in points), default=0.0) or 1.0
    path, before = [], None
    for at, value in points:
        x, y = _WIDTH * (at - begin) / (end - begin), _HEIGHT - 2 - (_HEIGHT - 4) * value / top
        path.append(f"{'L' if before is not None and at - before <= 1_800_000 else 'M'}{x:.1f} {y:.1f}h.1")
        before = at
    return f'<path class="{style}" d="{"".join(path)}"/>'


def _strip(blocks: pl.DataFrame, begin: int, end: int) -> str:
    bars = "".join(
        f'<rect class="seen" x="{_WIDTH * (at - begin) / (end - begin):.2f}" y="10" '
        f'width="{max(0.3, _WIDTH * watched / (end - begin)):.2f}" height="14"/>'
        for at, watched in blocks.select("block", "w_ms").rows()
    )
    return f'<rect class="unseen" x="0" y="10" width="{_WIDTH}" height="14"/>{bars}'


def _value(stats: dict[str, float | None], name: str, form: str) -> str:
    value, lo, hi = stats[name], stats.get(f"{name}_lo"), stats.get(f"{name}_hi")
    if value is None:
        return "&ndash;"
    bounds = (
        ""
        if lo is None or hi is None or f"{lo:{form}}" == f"{hi:{form}}"
        else f" <small>{lo:{form}}&ndash;{hi:{form}}</small>"
    )
    return f"{value:{form}}{bounds}"


def _share(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f} %"

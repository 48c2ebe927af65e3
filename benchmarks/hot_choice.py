"""What the HOT set chosen from ``stats.parquet`` is worth, on seeded days of the generated exchange.

    uv run python benchmarks/hot_choice.py --plot docs/images/hot-choice.svg     # 20 seeds: about 3 minutes of one core

A first half of a simulated day is recorded by round-robin and mined. Over the second half the scheduler holds as many
markets again, so many of them HOT, chosen by four scores: what was mined (as the collector ranks them), the listing alone,
nothing (round-robin: no HOT slot), and hindsight: what each market was going to trade, or to change, in that half. Told is
which part of the second half's volume and book changes fell into the time that their market was held.
"""

from __future__ import annotations

import argparse
import importlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from rounds import markdown

from overround.analytics import partial_of, stats_of
from overround.market import MarketId
from overround.scheduler import Limits, market_stats, rank
from overround.testing.rotated_days import RotatedDay, rotated_day, stays_of

N_MARKETS, SLOTS = 40, 10
HOT = (0, 2, 4, 6, 8)
SCORES = {"stats.parquet": "#0072b2", "listing": "#d55e00", "hindsight": "#8a8a8a"}
MEASURES = ("volume", "changes")
Shares = dict[tuple[str, str, int], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--hours", type=float, default=12.0, help="both halves together")
    parser.add_argument("--plot", type=Path, help="draw the shares as SVG")
    args = parser.parse_args()
    shares: Shares = defaultdict(list)
    longest: dict[int, list[float]] = defaultdict(list)
    for seed in range(args.first, args.first + args.seeds):
        measure(seed, args.hours, shares, longest)
    print(report(shares, longest))
    if args.plot is not None:
        draw(shares, args.plot)


def measure(seed: int, hours: float, shares: Shares, longest: dict[int, list[float]]) -> None:
    """Add one seed's shares, and the longest time between two visits of a market by the number of HOT slots, minutes."""
    day = rotated_day(seed, hours=hours, n_markets=N_MARKETS, max_subs=SLOTS, hot_count=0, rate_scale=0.05)
    begin, end = cast("int", day.rows["ts_recv"].min()), cast("int", day.rows["ts_recv"].max())
    noon = begin + round(hours * 1_800_000)
    early = day.sampled(day.rows.filter(pl.col("ts_recv") < noon))
    mined = market_stats(stats_of(partial_of(early.lazy()), venue="kalshi").to_dicts())
    late = pl.col("ts_recv") >= noon
    step = pl.col("seq").diff().over("market_id").alias("amount")
    seen = {
        "volume": day.trades.filter(late).select("market_id", "ts_recv", pl.col("sz").alias("amount")),
        "changes": day.rows.sort("ts_recv").with_columns(step).filter(late).select("market_id", "ts_recv", "amount"),
    }
    for measure in MEASURES:
        amounts = seen[measure]
        scores = {
            "stats.parquet": rank(day.markets.values(), mined, now_ms=noon),
            "listing": rank(day.markets.values(), None, now_ms=noon),
            "hindsight": _hindsight(amounts, day.markets),
        }
        for word, score in scores.items():
            for hot in HOT:
                limits = Limits(max_subs=SLOTS, hot_count=hot, rotation_period_ms=180_000, churn_per_minute=20)
                held = replace(day, stays=stays_of(day.markets, score, limits, noon, end))
                part = held.sampled(amounts)["amount"].to_numpy().sum() / amounts["amount"].to_numpy().sum()
                shares[measure, word, hot].append(float(part))
                if (measure, word) == ("volume", "stats.parquet"):
                    longest[hot].append(_longest_wait(held))


def _hindsight(amounts: pl.DataFrame, markets: Mapping[MarketId, object]) -> dict[MarketId, float]:
    total = dict(amounts.group_by("market_id").agg(pl.col("amount").sum()).iter_rows())
    most = max(total.values())
    return {market_id: total.get(market_id, 0.0) / most for market_id in markets}


def _longest_wait(day: RotatedDay) -> float:
    stays = day.stays.sort("market_id", "start_ms")
    return float(stays.select((pl.col("start_ms") - pl.col("end_ms").shift(1)).over("market_id").max()).item()) / 60_000


def report(shares: Shares, longest: Mapping[int, list[float]]) -> str:
    rows = []
    for measure in MEASURES:
        for word in SCORES:
            for hot in HOT[1:]:
                part, plain = np.array(shares[measure, word, hot]), np.array(shares[measure, word, 0])
                gain = part / plain
                rows.append((
                    measure, word, str(hot), f"{part.mean():.0%}", f"{part.std(ddof=1):.0%}", f"{plain.mean():.0%}",
                    f"{gain.mean():.2f}", f"{gain.min():.2f} to {gain.max():.2f}", f"{np.mean(longest[hot]):.0f}",
                ))  # fmt: skip
    head = (
        *("of", "HOT by", "HOT slots", "captured", "spread over seeds", "round-robin"),
        *("times round-robin", "from seed to seed", "longest wait, min"),
    )
    return f"{markdown(head, rows)}\n\nlongest wait by round-robin: {np.mean(longest[0]):.0f} min"


def draw(shares: Shares, path: Path) -> None:
    """Captured shares over the number of HOT slots: mean of the seeds, and one standard deviation each way."""
    matplotlib: Any = importlib.import_module("matplotlib")
    figures: Any = importlib.import_module("matplotlib.figure")
    # On white, whatever the page; letters stay letters, and equal numbers give equal bytes.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "overround", "font.size": 11})
    figure = figures.Figure(figsize=(9, 3.8), facecolor="white", layout="constrained")
    for axes, measure in zip(figure.subplots(1, 2, sharey=True), MEASURES, strict=True):
        for word, colour in SCORES.items():
            parts = 100 * np.array([shares[measure, word, hot] for hot in HOT])
            mean, spread = parts.mean(axis=1), parts.std(axis=1, ddof=1)
            axes.fill_between(HOT, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
            axes.plot(HOT, mean, "o-", color=colour, label=f"HOT by {word}")
        plain = 100 * float(np.mean(shares[measure, "stats.parquet", 0]))
        axes.axhline(plain, color="#333", linestyle="--", linewidth=1, label="round-robin")
        axes.set(xlabel=f"HOT slots of {SLOTS}", title=f"{measure} captured", xticks=HOT, ylim=(0, 100))
        axes.grid(color="#ddd")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("% of all")
    figure.axes[0].legend(loc="upper left", frameon=False, fontsize=10)
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

"""Statistics of rotated samples against those of watching throughout, on seeded days of the generated exchange.

    uv run python benchmarks/rotated_days.py                    # 200 days of 24 h: about 20 minutes of one core
    uv run python benchmarks/rotated_days.py --days 20 --first 7

For each statistic: how many market-days have an interval (and values that changed at all), in how many the 95 % interval of
the rotated sample holds the value of full observation, how wide it is against the 95 % interval of full observation (1.96
standard errors each way), and how far off the value is on average, with the error of that.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import polars as pl
from rounds import markdown

from overround.analytics import ESTIMATES, blocks_of, estimate
from overround.testing.rotated_days import rotated_day

NO_GAPS = pl.DataFrame(schema={"market_id": pl.String, "start_ms": pl.Int64, "end_ms": pl.Int64})
KEY = ["market_id", "outcome_id"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=200)
    parser.add_argument("--first", type=int, default=1, help="seed of the first day")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--markets", type=int, default=8, help="of which three are held at a time")
    args = parser.parse_args()
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    shares: list[float] = []
    for seed in range(args.first, args.first + args.days):
        day = rotated_day(seed, hours=args.hours, n_markets=args.markets, max_subs=3, rate_scale=0.05)
        whole = blocks_of(day.rows.lazy(), day.trades, NO_GAPS)
        part = blocks_of(day.sampled(day.rows).lazy(), day.sampled(day.trades), NO_GAPS)
        recorded = whole["block"].unique().to_list()
        both = estimate(whole, recorded=recorded).join(estimate(part, recorded=recorded), on=KEY, suffix="_part")
        both = both.filter(pl.col("watched_share_part") < 0.9)
        shares += both["watched_share_part"].to_list()
        for one in ESTIMATES:
            names = (one.name, f"{one.name}_se", *(f"{one.name}{end}_part" for end in ("", "_lo", "_hi")))
            found[one.name] += both.select(names).drop_nulls().rows()
    print(
        f"{args.days} days of {args.hours:g} h, {len(shares)} market-days, {np.mean(shares):.0%} watched on average\n"
    )
    print(markdown(("statistic", "intervals", "hold", "width", "bias"), [*_rows(found)]))


def _rows(found: dict[str, list[tuple[float, ...]]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, lines in found.items():
        if not lines:
            rows.append((f"`{name}`", "none", "", "", ""))
            continue
        value, error, seen, lo, hi = np.array(lines).T
        moved = error > 1e-12 * np.abs(value)  # the rest never changed in a day
        held = ((lo <= value) & (value <= hi))[moved].mean()
        width = np.median((hi - lo)[moved] / (2 * 1.96 * error[moved]))
        off, typical = seen - value, np.abs(value).mean()
        bias, its_error = off.mean() / typical, off.std() / np.sqrt(len(off)) / typical
        off_by = f"{100 * bias:+.1f} ± {100 * its_error:.1f} %"
        rows.append((f"`{name}`", str(moved.sum()), f"{100 * held:.1f} %", f"{width:.2f}", off_by))
    return rows


if __name__ == "__main__":
    main()

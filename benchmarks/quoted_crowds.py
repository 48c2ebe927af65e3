"""`mm-viability` held against quoters whose fills an exchange's matching decides, in markets of known parameters.

    uv run python benchmarks/quoted_crowds.py                 # 200 markets of 24 h: about 15 minutes of one core
    uv run python benchmarks/quoted_crowds.py --markets 40 --size 50 --every-ms 2000

Each market is recorded without the quoter, as a collector would, and judged by `mm-viability`. Then a quoter stands in
the same market, with the same makers and takers, and what it earns is held against the printed interval. The same
market's other days, of which nothing was recorded, say by how much a quoter's days differ.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog
from rounds import markdown

from overround.analytics import POLICIES
from overround.exchange.crowd import CrowdSpec
from overround.pipelines.viability import mm_viability
from overround.testing.quoted_crowds import quoted, record_crowds
from overround.timebucket import day_start_ms

DATE = "2026-01-14"
_BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markets", type=int, default=200)
    parser.add_argument("--first", type=int, default=1, help="seed of the first market")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--every-ms", type=int, default=10_000, help="between rows, and between looks of the quoter")
    parser.add_argument("--size", type=float, default=10.0, help="contracts of each order")
    parser.add_argument("--cancels-ahead", type=float, help="default: as the command has it")
    parser.add_argument("--days", type=int, default=3, help="other days of each market, at least one")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    options: dict[str, Any] = {"start_ms": day_start_ms(DATE), "hours": args.hours, "every_ms": args.every_ms}
    found: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
    seeds = range(args.first, args.first + args.markets)
    for first in range(0, len(seeds), _BATCH):
        specs = [CrowdSpec.drawn(seed) for seed in seeds[first : first + _BATCH]]
        with tempfile.TemporaryDirectory() as folder:
            paths = record_crowds(Path(folder), specs, **options)
            result = mm_viability(
                paths, "kalshi", DATE, size=args.size, cancels_ahead=args.cancels_ahead, top=_BATCH, write=False
            )
        told = {market.market_id: market.stats for market in result.markets}
        for number, spec in enumerate(specs):
            stats = told[f"KXTEST-{number:05d}"]
            for policy in POLICIES:
                seed_of = (spec.seed * 1_000 + day for day in range(args.days))
                days = [spec, *(msgspec.structs.replace(spec, seed=seed) for seed in seed_of)]
                true = [quoted(day, policy, size=args.size, **options) for day in days]
                for name, values in (
                    ("usd_per_day", [day.usd for day in true]),
                    ("carried_usd", [day.usd_at_end for day in true]),
                ):
                    bounds = [stats[f"{policy}_{name}{end}"] for end in ("", "_lo", "_hi")]
                    if None not in bounds:
                        found[policy, name].append((*bounds, *values))
    print(f"{args.markets} markets of {args.hours:g} h, orders of {args.size:g} contracts\n")
    head = ("quotes", "dollars", "markets", "held", "above", "below", "other days", "width", "told", "true")
    print(markdown(head, [*_rows(found)]))


def _rows(found: dict[tuple[str, str], list[tuple[float, ...]]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for (policy, name), lines in sorted(found.items(), reverse=True):
        usd, lo, hi, *days = np.array(lines).T
        true, every = days[0], np.array(days)
        others = every[1:]
        # What a market's days differ by: the mean of the logs over all markets, which is too small where days are few.
        spread = np.exp(np.log(every.std(axis=0, ddof=1)).mean() - _shortfall(len(every) - 1))
        rows.append(
            (
                policy,
                {"usd_per_day": "by markouts", "carried_usd": "carried"}[name],
                f"{len(lines)}",
                f"{((lo <= true) & (true <= hi)).mean():.1%}",
                f"{(true > hi).mean():.1%}",
                f"{(true < lo).mean():.1%}",
                f"{((lo <= others) & (others <= hi)).mean():.1%}",
                f"{np.exp(np.log((hi - lo) / 3.92).mean()) / spread:.2f}",
                f"{usd.sum():,.0f}",
                f"{true.sum():,.0f}",
            )
        )
    return rows


def _shortfall(free: int) -> float:
    """Mean log of a standard deviation of so many degrees of freedom, against that of the true one."""
    # Half the digamma function of half of it, by recurrence, less half the log.
    at, digamma = (1.0, -np.euler_gamma) if free % 2 == 0 else (0.5, -np.euler_gamma - 2 * np.log(2))
    while at < free / 2:
        digamma, at = digamma + 1 / at, at + 1
    return float(digamma - np.log(free / 2)) / 2


if __name__ == "__main__":
    main()

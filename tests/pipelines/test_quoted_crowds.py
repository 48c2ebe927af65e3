"""The printed interval against a quoter whose fills an exchange's matching decides: a slice of the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from overround.analytics import POLICIES
from overround.exchange.crowd import CrowdSpec
from overround.pipelines.viability import mm_viability
from overround.testing.quoted_crowds import quoted, record_crowds
from overround.timebucket import day_start_ms

pytestmark = pytest.mark.long

DATE, SIZE, HOURS, EVERY_MS = "2026-01-14", 10.0, 8.0, 10_000
SEEDS = range(50, 58)


def test_what_a_quoter_really_earned_lies_within_the_interval(tmp_path: Path) -> None:
    specs = [CrowdSpec.drawn(seed) for seed in SEEDS]
    start = day_start_ms(DATE)
    paths = record_crowds(tmp_path, specs, start_ms=start, hours=HOURS, every_ms=EVERY_MS)
    result = mm_viability(paths, "kalshi", DATE, size=SIZE, top=len(specs), write=False)
    stats = {market.market_id: market.stats for market in result.markets}
    held = dict.fromkeys(("usd_per_day", "carried_usd"), 0)
    for policy in POLICIES:
        told = true = 0.0
        for number, spec in enumerate(specs):
            mine = stats[f"KXTEST-{number:05d}"]
            day = quoted(spec, policy, size=SIZE, start_ms=start, hours=HOURS, every_ms=EVERY_MS)
            for name, usd in (("usd_per_day", day.usd), ("carried_usd", day.usd_at_end)):
                held[name] += mine[f"{policy}_{name}_lo"] <= usd <= mine[f"{policy}_{name}_hi"]
            told, true = told + mine[f"{policy}_usd_per_day"], true + day.usd
        if policy == "touch":
            assert told == pytest.approx(true, rel=0.1)
    assert min(held.values()) >= 0.8 * len(specs) * len(POLICIES), held

"""Which markets are recorded: scores, the HOT set, the turns of the WARM set. Pure: values in, values out."""

from overround.scheduler.bound import visit_bound_ms
from overround.scheduler.plan import CHURN_WINDOW_MS, Limits, Plan
from overround.scheduler.rotation import Leaving, RotationState, eligible, ended, plan_rotation
from overround.scheduler.score import MarketStats, activity_score, market_stats, rank, stats_score

__all__ = [
    "CHURN_WINDOW_MS",
    "Leaving",
    "Limits",
    "MarketStats",
    "Plan",
    "RotationState",
    "activity_score",
    "eligible",
    "ended",
    "market_stats",
    "plan_rotation",
    "rank",
    "stats_score",
    "visit_bound_ms",
]

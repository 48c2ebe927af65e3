"""Statuses to judge and to show."""

from __future__ import annotations

from typing import Any

from overround.collector import VenueStatus


def a_status(**changes: Any) -> VenueStatus:
    whole: dict[str, Any] = dict.fromkeys(VenueStatus.__struct_fields__, 0)
    whole |= {
        "venue": "kalshi", "mode": "socket", "connections": 2, "connected": 2, "subscriptions": 10, "live": 10,
        "verified_share": 1.0, "verified_minutes": 0.99, "frames_per_s": 1.0, "snapshots_per_s": 1.0,
        "last_flush_ms": 1.0, "warning": "", "row_verdicts": {}, "book_verdicts": {"verified": 10}, "breakers": {},
    }  # fmt: skip
    return VenueStatus(**(whole | changes))

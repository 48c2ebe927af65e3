"""A collector's state, judged from its figures."""

from __future__ import annotations

from typing import Any

import pytest
from statuses import a_status

from overround.collector import VenueStatus
from overround.config import MonitoringSettings
from overround.services import Health, judge


def judged(*statuses: VenueStatus, free: int = 50, settings: MonitoringSettings | None = None) -> Health:
    return judge(
        statuses, settings or MonitoringSettings(), disk_free_bytes=free, disk_total_bytes=100, up_s=1.0, version="1"
    )


def test_a_collector_that_lacks_nothing_is_ok_and_ready() -> None:
    health = judged(a_status(), a_status(venue="polymarket"))
    assert (health.state, health.ready, health.problems) == ("ok", True, [])
    assert health.venues[0].verified_share == 1.0
    assert health.venues[0].problems == []


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"connected": 0}, "failing", "no connection"),
        ({"connected": 1}, "degraded", "1 of 2 connections are down"),
        ({"book_verdicts": {"verified": 8, "gap": 2}}, "degraded", "80% of the live books are verified"),
        ({"breakers": {"api.example": "open"}}, "degraded", "breaker of api.example is open"),
        ({"warning": "universe is 30 h old"}, "degraded", "universe is 30 h old"),
        ({"flush_failures": 3, "last_flush_age_ms": 61_000, "rows_waiting": 9}, "failing", "9 rows wait"),
    ],
)
def test_what_is_wrong_is_named_and_weighed(changes: dict[str, Any], state: str, words: str) -> None:
    health = judged(a_status(venue="polymarket"), a_status(**changes))
    assert health.state == health.venues[1].state == state
    assert health.venues[0].state == "ok"
    assert words in health.venues[1].problems[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"book_verdicts": {"verified": 9, "gap": 1}},
        {"flush_failures": 3, "last_flush_age_ms": 5_000},
        {"breakers": {"api.example": "closed"}},
        {"mode": "polling", "book_verdicts": {"unverified": 10}},
        {"book_verdicts": {}},
    ],
)
def test_what_is_not_wrong_is_not_complained_of(changes: dict[str, Any]) -> None:
    assert judged(a_status(**changes)).state == "ok"


def test_what_cannot_be_verified_has_no_share() -> None:
    (venue,) = judged(a_status(mode="polling", book_verdicts={"unverified": 10})).venues
    assert venue.verified_share is None


def test_a_nearly_full_disk_degrades_the_whole() -> None:
    health = judged(a_status(), free=4)
    assert health.state == "degraded"
    assert "4.0% left" in health.problems[0]
    assert judged(a_status(), free=4, settings=MonitoringSettings(min_free_disk_share=0.01)).state == "ok"


def test_it_is_not_ready_before_every_venue_has_a_book() -> None:
    assert not judged().ready
    assert not judged(a_status(), a_status(live=0)).ready
    assert not judged(a_status(connected=0)).ready

"""All lines of one connection, or of one repair, bear one name."""

from __future__ import annotations

import io
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from overround.config import Settings
from overround.exchange import Fault, FaultScript
from overround.market import Venue
from overround.ops import configure_logging
from overround.storage import LakePaths, gaps_of

from .road import travel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out = io.StringIO()
    configure_logging(level="debug", stream=out)
    yield out
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def on_one_connection(settings: Settings) -> Settings:
    kalshi = settings.venues.kalshi.model_copy(update={"max_markets_per_connection": 1_000})
    return settings.model_copy(update={"venues": settings.venues.model_copy(update={"kalshi": kalshi})})


def test_a_connections_and_a_repairs_lines_are_found_by_their_name(tmp_path: Path, written: io.StringIO) -> None:
    faults = FaultScript(
        (
            Fault(venue=Venue.KALSHI, kind="sequence_gap", at_ms=2_000),
            Fault(venue=Venue.KALSHI, kind="close", at_ms=4_500, params={"mode": "abort"}),
        )
    )
    venues = [Venue.KALSHI]
    trip = travel(tmp_path, duration_s=9, venues=venues, faults=faults, markets=60, change=on_one_connection)
    lines: list[dict[str, Any]] = [json.loads(line) for line in written.getvalue().splitlines()]
    run = trip.recorders[Venue.KALSHI].log_run

    by_connection = defaultdict(list)
    for line in lines:
        if "connection" in line:
            by_connection[line["connection"]].append(line["event"])
    assert all(name.endswith(f"@{run}") for name in by_connection)
    first, second = by_connection[f"kalshi-0.1@{run}"], by_connection[f"kalshi-0.2@{run}"]
    assert first[0] == second[0] == "connection.opened"
    assert {"book.gap", "book.repaired", "connection.lost"} <= set(first)
    assert "book.repaired" in second

    by_repair = defaultdict(list)
    for line in lines:
        if line["event"] in {"book.gap", "book.repaired", "feed.event"} and line.get("repair"):
            by_repair[line["repair"]].append(line)
    assert all(name.startswith("kalshi-r") and name.endswith(f"@{run}") for name in by_repair)
    hole, lost = (
        next(found for found in by_repair.values() if found[0]["event"] == "book.gap" and test(found[0]))
        for test in (lambda line: "gap" in line["cause"], lambda line: "reconnecting" in line["cause"])
    )
    # The hole is mended on the connection that had it, step by step; the cut by the connection that follows.
    assert {line["connection"] for line in hole} == {f"kalshi-0.1@{run}"}
    assert {line["event"] for line in hole} == {"book.gap", "feed.event", "book.repaired"}
    assert {line["connection"] for line in lost} == {f"kalshi-0.1@{run}", f"kalshi-0.2@{run}"}
    assert sum(line["event"] == "book.repaired" for line in lost) == lost[0]["markets"] > 1
    # The name leads from the log to the stored gaps, which bear the connection without the run.
    stored = gaps_of(LakePaths(trip.settings.data_dir), "kalshi", lost[0]["ts"][:10]).collect()
    assert f"{lost[0]['connection'].split('@')[0]}" in stored["connection"].to_list()
    assert not [line for line in lines if line["event"] == "book.repaired" and not line["repair"]]

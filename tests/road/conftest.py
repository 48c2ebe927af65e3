"""A lake that the real collector recorded, once for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from overround.collector import recorder
from overround.config import Settings
from overround.exchange import Fault, FaultScript
from overround.market import Venue
from overround.storage import FrameJournal, LakePaths

from .road import travel

FAULTS: list[dict[str, object]] = [
    {"kind": "sequence_gap", "at_ms": 2_000},
    {"kind": "close", "at_ms": 3_500, "params": {"mode": "abort"}},
    {"kind": "drop", "at_ms": 5_500, "params": {"count": 3, "every": 5}},
    {"kind": "tick_change", "at_ms": 6_500},
    {"kind": "resolution", "at_ms": 7_000},
    {"kind": "cut_frame", "at_ms": 8_000},
    {"kind": "late", "at_ms": 9_000, "params": {"count": 3}},
    {"kind": "missing_first_book", "at_ms": 9_500, "params": {"count": 2}},
    {"kind": "refuse", "at_ms": 10_000, "duration_ms": 1_500},
    {"kind": "close", "at_ms": 10_100, "params": {"mode": "hang_up"}},
]


def rotating(settings: Settings) -> Settings:
    """Markets come and go within the test."""
    quick = {"rotation_period_secs": 4, "subscription_churn_limit_per_minute": 200}
    venues = settings.venues
    parts = {
        "kalshi": venues.kalshi.model_copy(update=quick),
        # A lost change is to be noticed before something newer overwrites it.
        "polymarket": venues.polymarket.model_copy(update=quick | {"hash_sample_every": 4}),
    }
    return settings.model_copy(update={"venues": venues.model_copy(update=parts)})


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of both venues with faults; its journal is cut into files of four seconds, with a checkpoint in each."""
    folder = tmp_path_factory.mktemp("recorded")
    script = FaultScript(tuple(Fault(venue=venue, **fault) for venue in Venue for fault in FAULTS))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "FrameJournal", partial(short_files, FrameJournal))
        patch.setattr(recorder, "STATE_MS", 2_000)
        patch.setattr(recorder, "STATE_COST", 0)
        trip = travel(folder, duration_s=14, faults=script, change=rotating)
    assert all(trip.faults[venue] for venue in Venue)
    return folder


def short_files(journal: Callable[..., FrameJournal], *args: Any, **options: Any) -> FrameJournal:
    return journal(*args, **options | {"bucket_s": 4})


@pytest.fixture
def lake(recorded: Path, tmp_path: Path) -> LakePaths:
    """A copy that may be spoilt."""
    shutil.copytree(recorded, tmp_path / "lake", ignore=shutil.ignore_patterns(".locks"))
    return LakePaths(tmp_path / "lake")

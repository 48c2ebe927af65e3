"""The venue edits its listing between two real scans; the history tells what, when and what was before."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from overround.cli.app import run
from overround.clock import SystemClock
from overround.config import MockSettings, Settings
from overround.market import MarketStatus, Origin, Venue
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths, catalogue_as_of, catalogue_changes, catalogue_commits

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CLOSES_IN_MS = 40 * 24 * 3_600_000


def scanned(settings: Settings) -> int:
    """Scan both venues; the time afterwards."""
    clock = SystemClock()
    asyncio.run(scan_venues(settings, venues=list(Venue), clock=clock, rng=random.Random(3), origin=Origin.SYNTHETIC))
    now_ms = clock.now_ms()
    time.sleep(0.02)  # the next scan is another millisecond's
    return now_ms


def edit(url: str, *faults: dict[str, Any]) -> None:
    """Post edits and wait until the venue has made them."""
    import httpx2

    ids = httpx2.post(f"{url}/faults", content=json.dumps(faults), timeout=10).json()["ids"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        told = [entry for venue in Venue for entry in httpx2.get(f"{url}/faults/{venue}", timeout=10).json()]
        if {entry["id"] for entry in told if entry["state"] == "done"} >= set(ids):
            time.sleep(0.2)  # the change itself happens in the exchange's next step
            return
        time.sleep(0.05)
    raise AssertionError("the exchange did not make the edits")


def test_edits_between_two_scans_are_told_and_never_known_too_early(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Settings(data_dir=tmp_path / "lake", mock=MockSettings(enabled=True, markets=300, seed=5))
    paths = LakePaths(base.data_dir)
    with mock_exchange(base) as (settings, thread):
        url = thread.urls.truth_url.removesuffix("/truth")
        first_ms = scanned(settings)
        chosen = {}
        for venue in Venue:
            known = catalogue_as_of(paths, venue, first_ms)
            event_id = next(event for event, legs in sorted(known.events().items()) if len(legs) >= 4)
            chosen[venue] = (event_id, known.events()[event_id], known.markets)
        edit(
            url,
            *(
                fault
                for venue, (_, legs, _) in chosen.items()
                for fault in (
                    {"kind": "edit", "venue": venue, "market": legs[0], "params": {"rules": "Clarified.", "close_in_ms": CLOSES_IN_MS}},
                    {"kind": "edit", "venue": venue, "market": legs[1], "params": {"status": "paused"}},
                    {"kind": "delist", "venue": venue, "market": legs[2]},
                )
            ),
        )  # fmt: skip
        second_ms = scanned(settings)
        edit(
            url,
            *(
                fault
                for venue, (_, legs, _) in chosen.items()
                for fault in (
                    {"kind": "relist", "venue": venue, "market": legs[2]},
                    {"kind": "edit", "venue": venue, "market": legs[1], "params": {"status": "active"}},
                )
            ),
        )
        third_ms = scanned(settings)
    for venue, (event_id, legs, before) in chosen.items():
        edited, paused, left = legs[:3]
        changes = catalogue_changes(paths, venue, since_ms=first_ms + 1)
        named = {(change.what.value, change.market_id, change.field) for change in changes}
        assert {("changed", edited, "rules_text"), ("changed", edited, "close_ts")} <= named
        rules = next(change for change in changes if (change.market_id, change.field) == (edited, "rules_text"))
        assert rules.before == before[edited].rules_text != rules.after
        assert "Clarified." in rules.after
        assert first_ms < rules.at_ms <= second_ms
        assert rules.before_ms is not None
        assert rules.before_ms <= first_ms
        assert {("left", left, "status"), ("relisted", left, "")} <= named
        assert next(change for change in changes if change.what == "left").after is None, "the venue knew it no more"
        assert {("leg removed", left, "legs"), ("leg added", left, "legs")} <= named
        assert ("changed", paused, "status") in named
        told = [change for change in changes if (change.market_id, change.field) == (paused, "status")]
        assert [(change.before, change.after) for change in told] == [("active", "paused"), ("paused", "active")]
        touched = {edited, paused, left}
        assert {market for _, market, _ in named} <= touched, "and of no other market anything"

        old, new, last = (
            catalogue_as_of(paths, venue, ms, [edited, left]) for ms in (rules.at_ms - 1, second_ms, third_ms)
        )
        assert old.markets[edited].rules_text == before[edited].rules_text
        assert old.markets[edited].close_ts == before[edited].close_ts
        assert "Clarified." in new.markets[edited].rules_text
        assert (left in old.markets, left in new.markets, left in last.markets) == (True, False, True)
        assert last.markets[left].status is MarketStatus.ACTIVE
        assert len(catalogue_commits(paths, venue)) == 3

        capsys.readouterr()
        assert run(["catalog", "history", edited, "--data-dir", str(base.data_dir), "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        fields = {
            entry["field"]: entry for entry in printed if entry["what"] == "changed" and entry["market_id"] == edited
        }
        assert set(fields) - {"expected_close_ts"} == {"rules_text", "close_ts"}
        assert fields["close_ts"]["before"] == before[edited].close_ts
        assert run(["catalog", "history", event_id, "--venue", venue.value, "--data-dir", str(base.data_dir)]) == 0
        assert "leg added" in capsys.readouterr().out
        at = str(rules.at_ms - 1)
        assert (
            run(["catalog", "as-of", at, "--venue", venue.value, "--market", edited, "--data-dir", str(base.data_dir)])
            == 0
        )
        assert "Clarified." not in capsys.readouterr().out

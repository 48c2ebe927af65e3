"""The alert rules, evaluated by Prometheus' own tool: each fires when its cause is there, and clears after it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from overround.services.exposition import CollectorFigures
from overround.storage import LakePaths

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "how-to" / "answer-an-alert.md"
RULES = (FOLDER / "rules.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)

A = 'instance="a",job="overround"'
V = f'{A},venue="kalshi"'
# Series over half minutes: well for 20 of them, then the cause for 60, then well for 100. When the alert is looked for:
# before the cause, at its end, and long after it.
BEFORE, DURING, AFTER = "9m", "39m", "89m"


def well_ill_well(well: str, ill: str) -> str:
    return f"{well}x19 {ill}x59 {well}x99"


CAUSES: dict[str, dict[str, str]] = {
    "OverroundDown": {f"up{{{A}}}": well_ill_well("1", "0")},
    "OverroundDisconnected": {
        f"overround_connections{{{V}}}": "2x200",
        f"overround_connections_up{{{V}}}": well_ill_well("2", "0"),
    },
    "OverroundPartlyDisconnected": {
        f"overround_connections{{{V}}}": "2x200",
        f"overround_connections_up{{{V}}}": well_ill_well("2", "1"),
    },
    "OverroundVerifiedShareLow": {
        f'overround_books{{{V},integrity="verified"}}': well_ill_well("95", "80"),
        f'overround_books{{{V},integrity="gap"}}': well_ill_well("5", "20"),
        f"overround_polled{{{V}}}": "0x200",
    },
    "OverroundSilent": {
        f"overround_connections_up{{{V}}}": "2x200",
        f"overround_frames_total{{{V}}}": "0+100x200",
        f"overround_book_changes_total{{{V}}}": "0+100x19 1900x59 1900+100x99",
        f"overround_polled{{{V}}}": "0x200",
    },
    "OverroundStale": {f"overround_newest_row_age_seconds{{{V}}}": well_ill_well("3", "700")},
    "OverroundStaleForHours": {f"overround_newest_row_age_seconds{{{V}}}": well_ill_well("3", "22000")},
    "OverroundFlushFailing": {f"overround_flush_failures_total{{{V}}}": "0x19 0+1x59 60x99"},
    "OverroundDiskLow": {
        f"overround_disk_free_bytes{{{A}}}": well_ill_well("50", "5"),
        f"overround_disk_bytes{{{A}}}": "100x200",
    },
    "OverroundPipelineFailures": {
        f'overround_pipelines_total{{{V},stage="mine",outcome="failed"}}': "0x29 2x49 2x220",
        f'overround_pipelines_total{{{V},stage="scan",outcome="failed"}}': "0x59 1x19 1x220",
        f'overround_pipelines_total{{{V},stage="scan",outcome="done"}}': "0+1x300",
    },
    "OverroundDrift": {f"overround_drift_departures{{{V}}}": "0x19 0x29 2x300"},
    "OverroundRepairStorm": {f"overround_resyncs_total{{{V}}}": "0x19 0+100x59 6000x99"},
    "OverroundMarketMarked": {f"overround_marked_markets_total{{{V}}}": "0x19 0+1x59 60x99"},
    "OverroundApiErrors": {
        f"overround_requests_total{{{V}}}": "0+20x200",
        f"overround_request_failures_total{{{V}}}": "0x19 0+2x59 120x99",
    },
    "OverroundBreakerOpen": {f'overround_breaker_state{{{V},host="h"}}': well_ill_well("0", "2")},
}
# A change in the last hour is shown for an hour.
LATER = {"OverroundDrift": "120m", "OverroundPipelineFailures": "120m"}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("prometheus: promtool is not installed")
    return found


def firing(promtool: str, tmp_path: Path, series: dict[str, str], alert: str, at: str) -> bool:
    """Whether an alert fires at a time, asked by expecting that it does not."""
    asked: dict[str, Any] = {
        "rule_files": [str(FOLDER / "rules.yml")],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []}],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(json.dumps(asked))
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    if done.returncode:
        assert f'alertname="{alert}"' in said, said
    return done.returncode != 0


def test_every_alert_has_a_cause_here_and_a_runbook() -> None:
    assert set(CAUSES) == set(ALERTS)
    headings = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    assert headings == ALERTS


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_for_its_cause_and_clears_after_it(promtool: str, tmp_path: Path, alert: str) -> None:
    at = (BEFORE, DURING, LATER.get(alert, AFTER))
    assert [firing(promtool, tmp_path, CAUSES[alert], alert, time) for time in at] == [False, True, False]


@pytest.mark.parametrize("alert", ["OverroundVerifiedShareLow", "OverroundSilent"])
def test_a_polled_venue_is_not_asked_for_what_it_cannot_have(promtool: str, tmp_path: Path, alert: str) -> None:
    series = CAUSES[alert] | {f"overround_polled{{{V}}}": "1x200"}
    assert not firing(promtool, tmp_path, series, alert, DURING)


def test_two_failures_of_jobs_in_an_hour_are_no_alert(promtool: str, tmp_path: Path) -> None:
    alert = "OverroundPipelineFailures"
    series = CAUSES[alert] | {f'overround_pipelines_total{{{V},stage="scan",outcome="failed"}}': "0x300"}
    assert not any(firing(promtool, tmp_path, series, alert, at) for at in (DURING, "60m", "70m"))


def test_the_rules_ask_only_for_figures_that_there_are() -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        CollectorFigures(list, version="1", disk_free=lambda: (1, 2), paths=LakePaths(Path("no") / "lake"))
    )
    told = set(re.findall(r"^# TYPE (\w+)", generate_latest(registry).decode(), flags=re.MULTILINE))
    asked = set(re.findall(r"\boverround_\w+", RULES))
    assert asked
    assert asked <= told


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("promtool", ["check", "config", "prometheus.yml"]),
        ("amtool", ["check-config", "alertmanager.yml"]),
    ],
)
def test_the_files_are_what_the_servers_read(tool: str, arguments: list[str]) -> None:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"prometheus: {tool} is not installed")
    done = subprocess.run([found, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr

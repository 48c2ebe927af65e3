"""Shared fixtures: captured data by environment variable, and a check that nothing is skipped in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from overround.testing.postgres import Postgres, find_postgres

# The slice that every check runs is the same each time; the full counts are drawn anew, and what a failing run prints
# can be replayed.
settings.register_profile("quick", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=400, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of private captured payloads; tests that need it are skipped by name without it."""
    named = os.environ.get("OVERROUND_CAPTURES")
    if not named or not Path(named).is_dir():
        pytest.skip("captures: OVERROUND_CAPTURES names no folder")
    return Path(named)


def _provided() -> list[str]:
    """Kinds of tests that this machine can run and must not skip."""
    return [kind for kind in os.environ.get("OVERROUND_TESTS_PROVIDED", "").split(",") if kind]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    provided = _provided()
    long = "long" in provided
    for item in items:
        if provided and any(item.get_closest_marker(mark) for mark in ("integration", "long")):
            # A whole check runs real processes beside each other on few cores: one that got none of them for seconds
            # is asked once more, and its name stands in the summary.
            item.add_marker(pytest.mark.flaky(reruns=1))
        if not long and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="long: `bash scripts/check` runs it"))
        if "captures" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.captures)
        if item.get_closest_marker("long") or item.get_closest_marker("captures"):
            # Counting branches makes such a test more than twice as long; the others reach nearly the same lines.
            item.add_marker(pytest.mark.no_cover)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count skips by their kind, the word before the colon of the reason."""
    kinds: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        kind = reason.removeprefix("Skipped: ").split(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_line(f"asked again: {report.nodeid}")
    if kinds:
        counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        terminalreporter.write_line(f"skipped by kind: {counted}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip of a kind that this machine provides is a failure."""
    provided = _provided()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not provided or reporter is None:
        return
    for report in reporter.stats.get("skipped", []):
        reason = (report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)).removeprefix(
            "Skipped: "
        )
        if reason.split(":")[0] in provided:
            reporter.write_line(f"FAILED {report.nodeid}: skipped ({reason}), but this machine provides that")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the test run's own."""
    binaries = find_postgres()
    if binaries is None:
        pytest.skip("postgres: no PostgreSQL server is installed")
    with Postgres(binaries) as server:
        yield server

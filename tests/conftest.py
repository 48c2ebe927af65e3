"""Shared fixtures: captured data by environment variable, and markers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _captures_path() -> Path | None:
    named = os.environ.get("OVERROUND_CAPTURES")
    return Path(named) if named and Path(named).is_dir() else None


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of private captured payloads; tests that need it are skipped by name without it."""
    path = _captures_path()
    if path is None:
        pytest.skip("captures: OVERROUND_CAPTURES names no folder")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "captures" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.captures)

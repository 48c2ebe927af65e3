"""Running ``overround book`` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from overround.cli.app import run

Outcomes = dict[tuple[str, str], dict]


@pytest.fixture
def book(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Outcomes, str]]:
    """``book(PATH..., "--venue", ...)`` gives exit code, outcomes by (market, outcome), and stderr."""

    def call(*argv: str | Path) -> tuple[int, Outcomes, str]:
        code = run(["book", *map(str, argv), "--json"])
        captured = capfd.readouterr()
        rows = [json.loads(line, parse_float=Decimal) for line in captured.out.splitlines()]
        return code, {(row["market_id"], row["outcome_id"]): row for row in rows}, captured.err

    return call

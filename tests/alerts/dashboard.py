"""What Grafana would ask Prometheus for the dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "overround.json"
# As Grafana fills them in with everything chosen; the interval is the test's, four scrapes at least.
VARIABLES = {"$__rate_interval": "4s", "$instance": ".*", "$venue": ".*"}


def panels() -> list[dict[str, Any]]:
    """All panels, those inside rows included."""
    found: list[dict[str, Any]] = []
    for panel in json.loads(BOARD.read_text())["panels"]:
        found += [panel, *panel.get("panels", [])]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Title of a panel, and each of its queries with the variables filled in."""
    for panel in panels():
        for target in panel.get("targets", ()):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield panel["title"], query

"""The dashboard's file is what Grafana imports: its structure, without a Grafana. Its queries run in test_real_servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from overround.services.exposition import CollectorFigures
from overround.storage import LakePaths

from .dashboard import BOARD, panels, queries

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Made by Prometheus itself and by the client library.
OTHERS = {"ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def datasources(part: Any) -> Iterator[Any]:
    """Every data source named anywhere."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "datasource":
                yield value
            yield from datasources(value)
    elif isinstance(part, list):
        for value in part:
            yield from datasources(value)


def test_panels_have_ids_titles_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in panels()]
    titles = [panel["title"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"], p["gridPos"]["w"], p["gridPos"]["h"]) for p in panels()]
    assert all(x >= 0 and x + w <= 24 for x, _, w, _ in places)
    for (x, y, w, h), (x2, y2, w2, h2) in combinations(places, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_the_data_source_is_chosen_and_nowhere_fixed() -> None:
    board = json.loads(BOARD.read_text())
    first, *others = board["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert [(other["name"], other["datasource"]) for other in others] == [("instance", SOURCE), ("venue", SOURCE)]
    sources = list(datasources(board))
    assert len(sources) > len(panels())
    assert all(source == SOURCE for source in sources)
    assert "__inputs" not in board
    assert board.get("id") is None


def test_every_panel_asks_and_its_queries_are_told_apart() -> None:
    for panel in panels():
        targets = panel.get("targets", [])
        assert bool(targets) == (panel["type"] != "row"), panel["title"]
        letters = [target["refId"] for target in targets]
        assert len(set(letters)) == len(letters)
        assert panel["type"] == "row" or panel["description"]


def test_queries_ask_only_for_figures_that_there_are_and_know_the_variables() -> None:
    registry = CollectorRegistry(auto_describe=False)
    figures = CollectorFigures(list, version="1", disk_free=lambda: (1, 2), paths=LakePaths(Path("no") / "lake"))
    registry.register(figures)
    told = set(re.findall(r"^# TYPE (\w+)", generate_latest(registry).decode(), flags=re.MULTILINE))
    told |= {f"{name}_bucket" for name in told if name.endswith("_seconds")} | OTHERS
    asked = {name for _, query in queries() for name in re.findall(r"\b(?:overround_|process_|ALERTS)\w*", query)}
    assert asked <= told
    assert not [query for _, query in queries() if "$" in query]

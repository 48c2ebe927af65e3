"""The labelled markets: figures as published, the costly mistakes at zero, and nothing of them in the source."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec
import pytest

from overround.pipelines.relations import Evaluation, evaluate_rules, read_wordings
from overround.rules import GoldRow, evaluate, read, relate

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def scored() -> Evaluation:
    import os

    named = os.environ.get("OVERROUND_CAPTURES")
    if not named or not Path(named).is_dir():
        pytest.skip("captures: OVERROUND_CAPTURES names no folder")
    data = Path(named) / "data"
    return evaluate_rules(
        [data / "markets_polymarket.jsonl", data / "markets_kalshi.jsonl"],
        data / "gold_relations.jsonl",
        data / "xvenue_pairs.jsonl",
    )


@pytest.mark.captures
def test_no_hard_negative_is_claimed_and_nothing_promoted(scored: Evaluation) -> None:
    assert scored.scores is not None
    assert scored.scores.promoted == 0
    assert scored.scores.none_claimed == 0


@pytest.mark.captures
def test_certain_relations_and_pairs_meet_their_targets(scored: Evaluation) -> None:
    assert scored.scores is not None
    total = scored.scores.certain["all"]
    assert total.precision is not None
    assert total.recall is not None
    assert total.precision >= 0.99
    assert total.recall >= 0.90
    assert scored.pairs is not None
    assert scored.pairs.precision is not None
    assert scored.pairs.recall is not None
    assert scored.pairs.precision >= 0.99
    assert scored.pairs.recall >= 0.70


def test_no_market_of_the_labels_stands_in_the_source(captures: Path) -> None:
    """Ids, tickers, event keys and questions are for measuring, not for tuning."""
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    words = set(re.findall(r"[\w.:-]{5,}", text))
    for name in ("markets_polymarket.jsonl", "markets_kalshi.jsonl"):
        for line in (captures / "data" / name).read_bytes().splitlines():
            record = msgspec.json.decode(line)
            market = record["market"]
            for key in (
                record["event_key"],
                market.get("id"),
                market.get("ticker"),
                market.get("event_ticker"),
                market.get("conditionId"),
                market.get("slug"),
            ):
                assert key is None or str(key) not in words, key
            question = market.get("question") or market.get("title") or ""
            assert len(question) < 12 or question not in text, question


@pytest.mark.captures
def test_both_halves_of_the_labels_meet_their_target(captures: Path) -> None:
    """As in the docs: the half of a label is that of the hash of its first event."""
    data = captures / "data"
    readings = [
        read(words) for words in read_wordings([data / "markets_polymarket.jsonl", data / "markets_kalshi.jsonl"])
    ]
    constraints = relate(readings)
    labels = {(one.wording.venue.value, one.wording.named): one.wording.outcomes for one in readings}
    lines = (data / "gold_relations.jsonl").read_bytes().splitlines()
    gold = [msgspec.json.decode(line, type=GoldRow) for line in lines]
    for half in (0, 1):
        rows = [row for row in gold if hashlib.sha256(min(row.events).encode()).digest()[0] % 2 == half]
        recall = evaluate(constraints, rows, labels).certain["all"].recall
        assert recall is not None
        assert recall >= 0.90

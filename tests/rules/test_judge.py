"""Single fields against judgements, and the judgements of real markets that stand in the repository."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overround.cli.app import run
from overround.market import MarketId, Venue
from overround.rules import Judgement, Wording, judge, read, readable

JUDGEMENTS = Path(__file__).parent / "judgements"

RULES = (
    'This market will resolve to "Yes" if the Binance 1 minute candle for ABC/USDT 12:00 in the ET timezone (noon) on the '
    'date specified in the title has a final "Close" price higher than the price specified in the title. '
    "The resolution source for this market is Binance, specifically the ABC/USDT prices."
)


def words(**more: Any) -> Wording:
    return Wording(
        venue=Venue.POLYMARKET, market_id=MarketId("0x1"), ref="1", title="Will the price of ABC be above $5 on May 9, 2027?", label="$5",
        rules=RULES, made_ms=1_800_000_000_000, **more,
    )  # fmt: skip


def judgement(**more: str | None) -> Judgement:
    right: dict[str, str | None] = {
        "family": "threshold", "subject": "abc (usdt)", "measure": "*", "values": "(5,inf)", "unit": "$", "kind": "at", "start": "2027-05-09T12:00",
        "end": "2027-05-09T12:00", "agg": "*", "source": "binance", "set": "none",
    }  # fmt: skip
    return Judgement(venue="polymarket", market_id="1", stratum="threshold", **{**right, **more})


def wrong(**more: str | None) -> list[str]:
    return [error.split(":")[0].split()[-1] for error in judge([judgement(**more)], [read(words())]).errors]


def test_a_reading_that_agrees_in_everything_has_no_errors() -> None:
    found = judge([judgement()], [read(words())])
    assert found.errors == ()
    assert found.total.said == found.total.said_right == found.by_family["threshold"].said > 8
    assert found.total.all == found.total.all_right > found.total.said


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("family", "range", ["family"]),
        ("subject", "xyz", ["subject"]),
        ("values", "[5,inf)", ["comparator"]),
        ("values", "(6,inf)", ["threshold"]),
        ("values", None, ["comparator", "threshold"]),
        ("start", "2027-05-09T11:00", ["start"]),
        ("end", "2027-05-09T12:00@America/Los_Angeles", ["end"]),
        ("end", None, ["end"]),
        ("source", "coinbase", ["source"]),
        ("void", "0.5", ["void"]),
        ("set", "exclusive", ["set"]),
        ("set", "none|exclusive", []),
        ("family", "*", []),
    ],
)
def test_every_field_that_was_read_otherwise_is_named(field: str, value: str | None, named: list[str]) -> None:
    assert wrong(**{field: value}) == named


def test_what_the_words_do_not_say_may_not_be_claimed_and_silence_is_counted_apart() -> None:
    found = judge([judgement(source=None)], [read(words())])
    assert [error.split(" (")[0] for error in found.errors] == [
        "polymarket 1 threshold source: judged None, read 'binance'"
    ]
    assert found.by_field["absent"].said == 0
    assert found.by_field["absent"].all == 1


def test_a_judged_market_that_is_in_no_file_is_missing() -> None:
    assert judge([judgement()], []).missing == 1


def test_half_points_stand_for_the_whole_numbers_beside_them() -> None:
    line = words(kind="spreads", floor="-1.5")
    line = msgspec.structs.replace(line, title="Spread: Ayr (-1.5)", label="Ayr (-1.5)", outcomes=("Ayr", "Bute"))
    found = judge([judgement(values="[2,inf)")], [read(line)])
    assert not any(" comparator:" in error or " threshold:" in error for error in found.errors)


def test_shares_count_single_questions_and_unread_ones_out() -> None:
    event = msgspec.structs.replace(words(), title="Is it so?", label="", rules="It is so.", market_id=MarketId("0x2"))
    shares = readable([read(words()), read(event), read(msgspec.structs.replace(event, title="", rules=""))])[
        "polymarket"
    ]
    assert (shares.markets, shares.in_families, shares.high, shares.high_in_families) == (3, 1, 2, 1)


def test_a_listing_as_it_came_is_scored_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {
        "id": "1", "conditionId": "0x1", "question": words().title, "groupItemTitle": "$5", "description": RULES,
        "startDate": "2027-01-15T08:00:00Z", "events": [{"id": "7", "title": "How high?"}],
    }  # fmt: skip
    markets, judged = tmp_path / "listing.jsonl.gz", tmp_path / "judged.jsonl"
    markets.write_bytes(gzip.compress(json.dumps(listed).encode()))
    judged.write_bytes(msgspec.json.encode(judgement(source="coinbase")))
    assert run(["rules", "eval", "--markets", str(markets), "--judgements", str(judged), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["readable"]["polymarket"]["high_in_families"] == 1
    assert [error.split()[3] for error in found["judged"]["errors"]] == ["source:"]
    assert run(["rules", "eval", "--markets", str(markets), "--judgements", str(judged)]) == 0
    assert "judged fields" in capsys.readouterr().out


def test_a_torn_listing_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "listing.jsonl.gz"
    torn.write_bytes(gzip.compress(b"{}" * 1_000)[:-9])
    assert run(["rules", "eval", "--markets", str(torn)]) == 1
    assert "no whole gzip file" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "count"), [("first", 200), ("fresh", 98), ("fresh_again", 98), ("fresh_hard", 57)])
def test_the_judgements_of_the_repository_can_be_read(name: str, count: int) -> None:
    lines = (JUDGEMENTS / f"{name}.jsonl").read_bytes().splitlines()
    judgements = [msgspec.json.decode(line, type=Judgement) for line in lines]
    assert len({(one.venue, one.market_id) for one in judgements}) == len(judgements) == count

"""``overround rules`` as people run it: relations of files, the stages of a day, and the answers of a review."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import polars as pl
import pytest

from overround.cli.app import run
from overround.errors import NothingStored
from overround.market import Exclusivity, Market, MarketId, MarketStatus, OutcomeId, Strike, Venue
from overround.pipelines.read_rules import constraints_of_day, read_constraints
from overround.storage import LakePaths
from overround.storage.universe import write_universe

DAY = "2027-05-01"


def market(name: str, strike: str, caption: str, **words: str) -> Market:
    return Market(
        market_id=MarketId(name), outcome_ids=(OutcomeId("yes"), OutcomeId("no")), title=words.get("title", f"Will it be above {strike} on May 9, 2027?"),
        close_ts=None, open_ts=1_800_000_000_000, status=MarketStatus.ACTIVE, tags=(), venue=Venue.KALSHI, event_id="E", event_title="How high?", series_id="S",
        outcome_labels=("Yes", "No"), label=caption, rules_text=words.get("rules", f"If it is above {strike} on May 9, 2027, then the market resolves to Yes."),
        strike=Strike(kind="greater", floor=strike),
    )  # fmt: skip


def listed(root: Path, *markets: Market) -> None:
    write_universe(LakePaths(root), "kalshi", DAY, markets)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    listed(tmp_path, market("A", "5", "Above 5"), market("B", "6", "Above 6"), market("C", "7", "7 or below"))
    return tmp_path


def rules(lake: Path, *arguments: str, code: int = 0) -> None:
    assert run(["rules", *arguments, "--date", DAY, "--data-dir", str(lake)]) == code


def test_a_second_run_makes_nothing_anew(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    files = [
        LakePaths(lake).rules("kalshi", DAY),
        *(LakePaths(lake).logic("kalshi", DAY, name) for name in ("propositions", "constraints")),
    ]
    before = [file.read_bytes() for file in files]
    capsys.readouterr()
    rules(lake, "run-all", "--venue", "kalshi", "--json")
    done = json.loads(capsys.readouterr().out)
    assert [(one["stage"], one["redone"]) for one in done] == [("ingest", 0), ("normalize", 0), ("constraints", 0)]
    assert [file.read_bytes() for file in files] == before


def test_stages_leave_tables_and_a_queue(lake: Path) -> None:
    for stage in ("ingest", "normalize", "constraints"):
        rules(lake, stage, "--venue", "kalshi")
    paths = LakePaths(lake)
    table = pl.read_parquet(paths.logic("kalshi", DAY, "propositions"))
    assert table.sort("market_id")["values_lo"].to_list() == [5.0, 6.0, 7.0]
    (queued,) = [json.loads(line) for line in paths.review_queue("kalshi", DAY).read_bytes().splitlines()]
    assert queued["wording"]["market_id"] == "C"
    (ladder,) = read_constraints(paths.logic("kalshi", DAY, "constraints"))
    assert ladder.confidence == "doubtful"


def test_what_the_venue_says_of_a_set_is_read_again_though_the_words_are_the_same(lake: Path) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    paths = LakePaths(lake)
    assert len(constraints_of_day(paths, ["kalshi"], DAY)) == 1
    steps = (market("A", "5", "Above 5"), market("B", "6", "Above 6"))
    in_a_set = Exclusivity(exclusive=True, set_id="S")
    listed(lake, *(msgspec.structs.replace(one, exclusivity=in_a_set) for one in steps), market("C", "7", "7 or below"))
    for stage in ("ingest", "normalize"):
        rules(lake, stage, "--venue", "kalshi")
    with pytest.raises(NothingStored, match="made of other propositions"):
        constraints_of_day(paths, ["kalshi"], DAY)
    rules(lake, "constraints", "--venue", "kalshi")
    constraints_of_day(paths, ["kalshi"], DAY)


def test_constraints_across_the_venues_stand_in_one_of_the_tables(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    words = {"title": "Will Ann Roe resign by May 31, 2027?", "rules": "If Ann Roe resigns by May 31, 2027, then the market resolves to Yes."}  # fmt: skip
    one = msgspec.structs.replace(market("A", "", "", **words), strike=None)
    other = msgspec.structs.replace(one, venue=Venue.POLYMARKET, market_id=MarketId("0xa"), event_id="9")
    write_universe(paths, "kalshi", DAY, [one])
    write_universe(paths, "polymarket", DAY, [other])
    rules(tmp_path, "run-all", "--all-venues")
    (pair,) = constraints_of_day(paths, ["kalshi", "polymarket"], DAY)
    assert (pair.relation, [leg.venue for leg in pair.legs]) == ("equivalent", [Venue.KALSHI, Venue.POLYMARKET])
    made = paths.logic("kalshi", DAY, "constraints").stat().st_mtime_ns
    # What was made together holds for one venue, too; what was made apart knows nothing of the other.
    rules(tmp_path, "constraints", "--venue", "kalshi")
    assert paths.logic("kalshi", DAY, "constraints").stat().st_mtime_ns == made
    paths.logic("kalshi", DAY, "constraints").unlink()
    rules(tmp_path, "constraints", "--venue", "kalshi")
    assert constraints_of_day(paths, ["kalshi"], DAY) == []
    with pytest.raises(NothingStored, match="kalshi and polymarket"):
        constraints_of_day(paths, ["kalshi", "polymarket"], DAY)


def test_a_rejection_is_replayed_until_the_words_change(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    rules(lake, "review", "--venue", "kalshi", "--reject", "C", "--note", "which is it?")
    rules(lake, "run-all", "--venue", "kalshi")
    paths = LakePaths(lake)
    (ladder,) = read_constraints(paths.logic("kalshi", DAY, "constraints"))
    assert ladder.confidence == "certain"
    assert [leg.market_id for leg in ladder.legs] == ["B", "A"]
    assert paths.review_queue("kalshi", DAY).read_bytes() == b""

    changed = market(
        "C",
        "7",
        "7 or below",
        rules="If it is higher than 7 on May 9, 2027, as told by the Bureau, then the market resolves to Yes.",
    )
    listed(lake, market("A", "5", "Above 5"), market("B", "6", "Above 6"), changed)
    capsys.readouterr()
    rules(lake, "run-all", "--venue", "kalshi", "--json")
    stages = {one["stage"]: one for one in json.loads(capsys.readouterr().out)}
    assert stages["ingest"]["changed"] == 1
    assert stages["normalize"]["queued"] == 1
    assert stages["normalize"]["redone"] < 3


def test_a_correction_goes_into_the_constraints_and_through_export_and_import(
    lake: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    right = 'values={"lo":null,"hi":"7","lo_closed":false,"hi_closed":true}'
    rules(lake, "review", "--venue", "kalshi", "--correct", "C", "--set", right)
    file = lake / "decisions.jsonl"
    rules(lake, "review", "--export", str(file))

    other = tmp_path_factory.mktemp("other")
    listed(other, market("A", "5", "Above 5"), market("B", "6", "Above 6"), market("C", "7", "7 or below"))
    rules(other, "review", "--import", str(file))
    rules(other, "review", "--import", str(file))
    for where in (lake, other):
        rules(where, "run-all", "--venue", "kalshi")
        (ladder,) = read_constraints(LakePaths(where).logic("kalshi", DAY, "constraints"))
        assert [leg.market_id for leg in ladder.legs] == ["B", "A"]
    assert len((LakePaths(other).review_decisions("kalshi")).read_bytes().splitlines()) == 1


def test_review_shows_the_words_it_doubts(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    capsys.readouterr()
    rules(lake, "review", "--venue", "kalshi")
    shown = capsys.readouterr().out
    assert "1 reading for review" in shown
    assert "the other way round" in shown


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    [
        (["ingest"], "which venue", 2),
        (["ingest", "--venue", "kalshi", "--all-venues"], "which venue", 2),
        (["review", "--accept", "NOPE"], "NOPE", 2),
        (["review", "--correct", "C"], "--set", 2),
        (["review", "--correct", "C", "--set", "colour=red"], "colour", 2),
        (["normalize", "--venue", "polymarket"], "rules.jsonl", 1),
        (["constraints", "--venue", "polymarket"], "rules.jsonl", 1),
    ],
)
def test_misuse_is_named(
    lake: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str, code: int
) -> None:
    rules(lake, "run-all", "--venue", "kalshi")
    capsys.readouterr()
    rules(lake, *arguments, code=code)
    assert named in capsys.readouterr().err


def test_relations_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "markets.jsonl"
    file.write_text(
        "".join(
            json.dumps({"venue": "kalshi", "event_key": "E", "market": {"ticker": name, "title": f"Will it be above {k} in May 2027?", "strike_type": "greater",
                        "floor_strike": k, "rules_primary": f"If it is above {k} in May 2027, Yes."}}) + "\n"
            for name, k in (("A", 5), ("B", 6))
        )
    )  # fmt: skip
    assert run(["rules", "relations", "--markets", str(file), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert (row["relation"], row["confidence"], [one["market_id"] for one in row["markets"]]) == (
        "monotonic_ladder",
        "certain",
        ["B", "A"],
    )
    assert row["premises"]
    gold = tmp_path / "gold.jsonl"
    legs = [{"venue": "kalshi", "market_id": name} for name in "BA"]
    gold.write_text(
        json.dumps({"gold_id": "1", "relation": "monotonic_ladder", "confidence": "certain", "markets": legs}) + "\n"
    )
    assert run(["rules", "eval", "--markets", str(file), "--gold", str(gold), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["certain"]["all"]["recall"] == 1.0


def test_a_file_that_holds_no_markets_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "markets.jsonl"
    file.write_text('{"venue":"kalshi","market":{}}\n')
    assert run(["rules", "relations", "--markets", str(file)]) == 1
    assert f"{file} line 1" in capsys.readouterr().err


def test_pairs_name_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title = "Will Ann Roe {} by June 30, 2027?"
    records = [
        {"venue": "kalshi", "event_key": "K", "market": {"ticker": "KXROE", "title": title.format("resign"), "rules_primary": "Ann Roe resigns."}},
        {"venue": "polymarket", "event_key": "P", "market": {"id": "1", "question": title.format("not resign"), "description": "She stays."}},
        {"venue": "polymarket", "event_key": "P", "market": {"id": "2", "question": title.format("announce to resign"), "description": "She says it."}},
    ]  # fmt: skip
    file = tmp_path / "markets.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run(["rules", "pairs", "--markets", str(file)]) == 0
    equal, alike = capsys.readouterr().out.splitlines()
    assert equal.startswith("equivalent inverted kalshi:KXROE:Yes polymarket:1:No  if ")
    assert alike == "similar aligned kalshi:KXROE:Yes polymarket:2:Yes  but announce"
    assert run(["rules", "pairs", "--markets", str(file), "--similar", "0", "--json"]) == 0
    (pair,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert pair["polarity"] == "inverted"

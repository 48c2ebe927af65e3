"""The same question on both venues: names, polarity, and what keeps an equivalence from being certain or from being one."""

from __future__ import annotations

from typing import Any

import pytest
from made import gamma, kalshi, readings, related, shown

from overround.logic import Relation
from overround.rules import Verdict, match, statement, venue_pairs
from overround.rules.teams import sides_of

VOID = " If it is canceled, this market will resolve 50-50."


def game(sport: str, *, day: str = "May 9, 2027", sides: tuple[str, str] = ("Chicago", "Boston")) -> dict[str, Any]:
    return kalshi(
        "KXGAME-BOS", f"{sides[0]} at {sides[1]} Winner?", f"If {sides[1]} wins the {sides[0]} at {sides[1]} {sport} game originally scheduled for {day}, Yes.",
        label=sides[1], strike_type="structured",
    )  # fmt: skip


def other_game(league: str, sides: tuple[str, str] = ("Bulls", "Celtics")) -> dict[str, Any]:
    return gamma(1, f"{sides[0]} vs. {sides[1]}", f"In the upcoming {league} game, scheduled for May 9, 2027: {sides[0]} or {sides[1]}.{VOID}",
                 outcomes=sides, sportsMarketType="moneyline")  # fmt: skip


def test_a_fixture_is_found_by_team_names_and_its_second_side_is_inverted() -> None:
    found = related([game("professional basketball"), other_game("NBA")])
    assert shown(found, Relation.EQUIVALENT) == [("conditional", ["KXGAME-BOS", "~1"])]
    (pair,) = venue_pairs(readings([game("professional basketball"), other_game("NBA")]))
    assert pair.index == 1
    assert any("void rules: cancelled" in term for term in pair.terms)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (game("professional hockey"), other_game("NBA")),
        (game("women's professional basketball"), other_game("NBA")),
        (game("professional basketball", day="May 10, 2027"), other_game("NBA")),
        (game("professional basketball"), other_game("NBA", ("Bulls", "Knicks"))),
        (game("professional"), other_game("next")),
    ],
)
def test_another_league_day_or_side_is_another_fixture(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert not shown(related([mine, theirs]), Relation.EQUIVALENT)


@pytest.mark.parametrize(
    ("one", "other", "league", "place"),
    [
        (("Los Angeles C", "New York"), ("Knicks", "Clippers"), "nba", (1, 0)),
        (("Los Angeles", "New York"), ("Knicks", "Clippers"), "nba", None),
        (("Man City", "Villa"), ("Aston Villa", "Manchester City"), "", (1, 0)),
        (("Korea Republic", "USA"), ("South Korea", "United States"), "", (0, 1)),
        (("Cats", "Dogs"), ("Dogs", "Cats"), "", (1, 0)),
        (("Chicago", "Boston"), ("Chicago", "Boston"), "", None),
        (("Chicago", "Boston"), ("Chicago", "Boston"), "nba", (0, 1)),
    ],
)
def test_sides_of_a_fixture(
    one: tuple[str, str], other: tuple[str, str], league: str, place: tuple[int, int] | None
) -> None:
    assert sides_of(one, other, league) == place


@pytest.mark.parametrize(
    ("one", "other", "aligned"),
    [
        ("Will Acme's share end 2027 up?", "Will Acme's share end 2027 down?", False),
        ("Will Acme's share end 2027 up?", "Will Acme's share end 2027 up?", True),
        ("Will Acme not go public by June 30, 2027?", "Will Acme go public by June 30, 2027?", False),
        ("Will CPI rise more than 0.6% in May?", "Will CPI rise 0.6% or less in May?", False),
    ],
)
def test_polarity(one: str, other: str, aligned: bool) -> None:
    found = match(statement(one), statement(other))
    assert (found.verdict, found.aligned) == (Verdict.EQUIVALENT, aligned)


def asked(rules: str, mine: str | None = None) -> list[dict[str, Any]]:
    title = "Will Ann Roe resign by June 30, 2027?"
    return [
        kalshi("KXROE", title, mine or rules),
        gamma(1, title, rules),
    ]


SAME = "If Ann Roe resigns by June 30, 2027, per the Associated Press, Yes. If nothing is published, no data: this market will resolve to No."


def test_an_equivalence_is_certain_only_where_every_term_is_said_and_alike() -> None:
    assert shown(related(asked(SAME)), Relation.EQUIVALENT) == [("certain", ["KXROE", "1"])]
    for changed, named in [
        (SAME.replace("Associated Press", "NBC"), "authority"),
        (SAME.replace("to No", "50-50"), "void rules"),
        (SAME.replace("resigns", "announces that she resigns"), "event against announcement"),
        ("Ann Roe resigns by June 30, 2027.", "void rules"),
    ]:
        (found,) = [one for one in related(asked(SAME, changed)) if one.relation is Relation.EQUIVALENT]
        assert found.confidence.value == "conditional"
        assert any(named in condition for condition in found.conditions), changed


def test_another_station_is_a_named_difference_and_no_equivalence() -> None:
    title = "Will the highest temperature in Freedonia be above 70° on May 9, 2027?"
    rules = "The highest temperature recorded at the {} Station on May 9, 2027, per the National Weather Service."
    records = [
        kalshi("KXHOT", title, rules.format("North Freedonia"), strike_type="greater", floor_strike=70),
        gamma(1, title, rules.format("South Freedonia")),
    ]
    assert not shown(related(records), Relation.EQUIVALENT)
    (pair,) = venue_pairs(readings(records))
    assert pair.verdict is Verdict.SIMILAR
    assert any(named.startswith("station: ") for named in pair.differences)


def bets(line: str, extra: str = "") -> list[dict[str, Any]]:
    played = "the Chicago at Boston professional basketball game originally scheduled for May 9, 2027"
    coming = f"In the upcoming NBA game, scheduled for May 9, 2027:{extra}"
    return [
        kalshi("KXT-210", "Over 210.5 points scored", f"If Chicago and Boston score more than 210.5 points in {played}, Yes.",
               about="Chicago at Boston: Total Points", event="KXT", strike_type="greater", floor_strike=210.5),
        kalshi("KXS-BOS5", "Boston wins by over 5.5 points?", f"If Boston wins by more than 5.5 points in {played}, Yes.",
               about="Chicago at Boston: Spread", event="KXS", label="Boston wins by over 5.5 points", strike_type="greater", floor_strike=5.5),
        gamma(1, f"Bulls vs. Celtics: O/U {line}", f"{coming} Over or under {line} points.", about="Bulls vs. Celtics", label=f"O/U {line}",
              outcomes=("Over", "Under"), sportsMarketType="totals", line=float(line)),
        gamma(2, "Spread: Celtics (-5.5)", f"{coming} Celtics win by 6 or more points.", about="Bulls vs. Celtics", label="Spread -5.5",
              outcomes=("Celtics", "Bulls"), sportsMarketType="spreads", line=-5.5),
    ]  # fmt: skip


def test_totals_and_margins_of_one_fixture_need_one_line() -> None:
    assert [names for _, names in shown(related(bets("210.5")), Relation.EQUIVALENT)] == [["KXT-210", "1"], ["KXS-BOS5", "2"]]  # fmt: skip
    assert [names for _, names in shown(related(bets("211.5")), Relation.EQUIVALENT)] == [["KXS-BOS5", "2"]]


def test_what_counts_overtime_is_not_what_ends_with_regulation() -> None:
    records = [
        game("professional basketball"),
        other_game("NBA"),
    ]
    records[0]["market"]["rules_primary"] += " This refers to the outcome within regulation."
    records[1]["market"]["description"] += " This includes any overtime periods."
    assert not shown(related(records), Relation.EQUIVALENT)
    (pair,) = venue_pairs(readings(records))
    assert pair.differences == ("overtime: counts for one only",)

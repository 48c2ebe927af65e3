"""What is claimed between ways to ask one election, seeds of one tournament, and decisions of one bank."""

from __future__ import annotations

from typing import Any

import pytest
from made import gamma, kalshi, related, shown

from overround.logic import Relation

KNOWN = " If the results are not known by December 31, 2027, this market will resolve to Other."


def vote(ref: int, title: str, rules: str = "An election in Freedonia in 2027." + KNOWN, **more: Any) -> dict[str, Any]:
    return gamma(ref, title, rules, event=more.pop("event", f"E{ref}"), **more)


def test_a_margin_names_the_winner_but_a_tie_is_the_lowest_bracket() -> None:
    found = related(
        [
            vote(1, "Will Firefly win the 2027 Freedonian presidential election by 5-10%?", label="Firefly 5-10%"),
            vote(2, "Will Firefly win the 2027 Freedonian presidential election by 0-5%?", label="Firefly 0-5%"),
            vote(3, "Will Firefly win the 2027 Freedonian presidential election?", label="Firefly"),
            vote(4, "Will Trentino win the 2027 Freedonian presidential election?", label="Trentino"),
            vote(5, "Will Firefly win the 2027 Sylvanian presidential election?", label="Firefly"),
        ]
    )
    implied = shown(found, Relation.IMPLIES)
    assert ("certain", ["1", "3"]) in implied
    assert ("conditional", ["2", "3"]) in implied
    assert not {"4", "5"} & {name for _, names in implied for name in names}


def test_places_of_a_first_round_exclude_each_other_and_two_go_on() -> None:
    found = related(
        [
            vote(1, "Will Firefly finish in second place in the first round of the 2027 Freedonian presidential election?", label="Firefly"),
            vote(2, "Will Firefly finish in third place in the first round of the 2027 Freedonian presidential election?", label="Firefly"),
            vote(3, "Will Firefly qualify for Freedonia's presidential runoff?", label="Firefly"),
            vote(4, "Will Firefly win the 2027 Freedonian presidential election?", label="Firefly"),
        ]
    )  # fmt: skip
    apart = shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert ("certain", ["1", "2"]) in apart
    assert ("conditional", ["2", "3"]) in apart
    assert ("conditional", ["2", "4"]) in apart
    assert ("conditional", ["1", "3"]) in shown(found, Relation.IMPLIES)
    assert not any(names == ["1", "4"] for _, names in shown(found, Relation.IMPLIES))


def test_chambers_and_seats_are_conditional_and_a_wider_question_is_neither() -> None:
    about = "The 2026 midterms."
    found = related(
        [
            vote(1, "2026 Balance of Power: D Senate, R House", about, label="D Senate, R House"),
            vote(2, "Will the Democratic Party control the Senate after the 2026 Midterm elections?", about),
            vote(3, "Will the Republican Party hold exactly 53 Senate seats after the 2026 midterm elections?", about, label="53"),
            vote(4, "Will the Republican Party hold exactly 48 Senate seats after the 2026 midterm elections?", about, label="48"),
            vote(5, "Will the Republican Party control the Senate after the 2026 Midterm elections?", about),
            vote(6, "Will there be a shutdown and will the Republican Party win the House in 2026?", about),
        ]
    )  # fmt: skip
    implied = shown(found, Relation.IMPLIES)
    assert ("conditional", ["1", "2"]) in implied
    assert ("conditional", ["3", "5"]) in implied
    assert ("conditional", ["4", "5"]) in shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert not any("6" in names for relation in Relation for _, names in shown(found, relation))


def seed(number: int, title: str, label: str = "", **more: Any) -> dict[str, Any]:
    return kalshi(
        f"KXSEED{number}", title, "Of the 2027 men's college basketball tournament.", event=f"KXS{number}", label=label or title, **more
    )  # fmt: skip


def test_a_seed_that_reached_a_late_round_was_in_the_early_ones() -> None:
    found = related(
        [
            seed(1, "Will the highest seed to reach the Round of 8 be a #11 seed?", strike_type="between", floor_strike=11, cap_strike=11),
            seed(2, "Will the highest seed to reach the Round of 32 be a #9 seed?", strike_type="between", floor_strike=9, cap_strike=9),
            seed(3, "Will at least one #10 seed win a game in the Round of 64?"),
            seed(4, "Will a team seeded #11 or higher win a game in the Round of 64?"),
            seed(5, "Will at least one #15 or #16 seed win a game in the Round of 64?"),
        ]
    )  # fmt: skip
    apart, implied = shown(found, Relation.MUTUALLY_EXCLUSIVE), shown(found, Relation.IMPLIES)
    assert ("certain", ["KXSEED1", "KXSEED2"]) in apart
    assert ("certain", ["KXSEED2", "KXSEED3"]) in apart
    assert ("certain", ["KXSEED5", "KXSEED4"]) in implied
    assert ("conditional", ["KXSEED1", "KXSEED4"]) in implied  # a walkover is no win
    assert not any(names == ["KXSEED3", "KXSEED4"] for _, names in implied)


def test_a_path_names_each_decision_and_counts_the_years_cuts() -> None:
    rules = "The meetings are January 27, 2027, March 17, 2027 and April 28, 2027."
    found = related(
        [
            gamma(1, "Will the Fed Pause-Cut-Cut in the next three decisions (Jan-Mar-Apr)?", rules, event="path", label="Pause-Cut-Cut"),
            gamma(2, "Will there be no change in Fed interest rates after the January 2027 meeting?", "The rate.", event="jan", label="No change"),
            gamma(3, "Will the Fed increase interest rates by 25 bps after the March 2027 meeting?", "The rate.", event="mar", label="25 bps increase"),
            gamma(4, "Will 1 Fed rate cut happen in 2027?", "Cuts.", event="count", label="1 (25 bps)"),
            gamma(5, "Will 2 Fed rate cuts happen in 2027?", "Cuts.", event="count", label="2 (50 bps)"),
            gamma(6, "Fed rate hike in 2027?", "A hike.", event="hike"),
            gamma(7, "Will there be no change in Fed interest rates after the June 2027 meeting?", "The rate.", event="jun", label="No change"),
        ]
    )  # fmt: skip
    implied, apart = shown(found, Relation.IMPLIES), shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert ("certain", ["1", "2"]) in implied
    assert ("certain", ["3", "6"]) in implied
    assert ("certain", ["1", "3"]) in apart
    assert ("certain", ["1", "4"]) in apart
    assert not any("5" in names or "7" in names for _, names in (*implied, *apart) if "1" in names)


@pytest.mark.parametrize(("word", "first"), [("", "1"), (" not", "2")])
def test_what_does_not_happen_by_later_did_not_by_earlier(word: str, first: str) -> None:
    rules = "Whether it is public. The day is {day}, 2027."
    found = related(
        [
            gamma(1, f"Will Acme{word} go public by June 30, 2027?", rules.format(day="June 30"), event="june"),
            gamma(2, f"Will Acme{word} go public by December 31, 2027?", rules.format(day="December 31"), event="dec"),
        ]
    )
    assert [names[0] for _, names in shown(found, Relation.IMPLIES)] == [first]


def test_a_month_and_a_price_need_the_thing_by_then_if_the_texts_mean_one() -> None:
    found = related(
        [
            gamma(1, "Will Acme's initial public offering occur in May 2027 (ET)?", "The month of the offering.", event="month", label="May"),
            gamma(2, "Will Acme IPO by June 30, 2027?", "It lists its shares.", event="by", label="June 30"),
            gamma(3, "Will Acme IPO by April 30, 2027?", "It lists its shares.", event="by", label="April 30"),
            gamma(4, "Acme IPO closing market cap above $2B?", "If no IPO occurs by June 30, 2027, No.", event="worth", label="$2B"),
            gamma(5, "Will Acne IPO by June 30, 2027?", "It lists its shares.", event="other", label="June 30"),
        ]
    )  # fmt: skip
    implied = shown(found, Relation.IMPLIES)
    assert ("conditional", ["1", "2"]) in implied
    assert ("conditional", ["4", "2"]) in implied
    assert ("conditional", ["1", "3"]) in shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert not any(names == ["4", "3"] or "5" in names for _, names in implied)

"""What is claimed between bets on one fixture, places of one contender, and combinations."""

from __future__ import annotations

from typing import Any

from made import gamma, kalshi, related, shown

from overround.logic import Relation

CANCELLED = " If the game is canceled entirely, this market will resolve 50-50."


def match(**cancelled: str) -> list[dict[str, Any]]:
    half = cancelled.get("half", CANCELLED)
    return [
        gamma(1, "Spread: Cats (-1.5)", 'In the upcoming game, scheduled for May 9, 2027: "Cats" if Cats win the game by 2 or more goals.' + half,
              about="Cats vs. Dogs - More Markets", event="more", label="Cats (-1.5)", outcomes=("Cats", "Dogs"), sportsMarketType="spreads", line=-1.5),
        gamma(2, "Spread: Dogs (-1.5)", 'In the upcoming game, scheduled for May 9, 2027: "Dogs" if Dogs win the game by 2 or more goals.' + half,
              about="Cats vs. Dogs - More Markets", event="more", label="Dogs (-1.5)", outcomes=("Dogs", "Cats"), sportsMarketType="spreads", line=-1.5),
        gamma(3, "Cats vs. Dogs: O/U 1.5", 'In the upcoming game, scheduled for May 9, 2027: "Over" if Cats and Dogs combine to score 2 or more goals.' + half,
              about="Cats vs. Dogs - More Markets", event="more", label="O/U 1.5", outcomes=("Over", "Under"), sportsMarketType="totals", line=1.5),
        gamma(4, "Cats vs. Dogs: Both Teams to Score", 'In the upcoming game, scheduled for May 9, 2027: "Yes" if both score one or more goals.' + half,
              about="Cats vs. Dogs - More Markets", event="more", label="Both Teams to Score", sportsMarketType="both_teams_to_score"),
        gamma(5, "Will Cats win on 2027-05-09?", 'In the upcoming game, scheduled for May 9, 2027. If Cats wins, "Yes". If the game is canceled entirely, this market will resolve "No".',
              about="Cats vs. Dogs", event="result", label="Cats", set_index=0, sportsMarketType="moneyline"),
    ]  # fmt: skip


def test_bets_on_one_match() -> None:
    found = related(match())
    implied = shown(found, Relation.IMPLIES)
    assert ("certain", ["4", "3"]) in implied
    assert ("certain", ["1", "3"]) in implied
    assert ("conditional", ["1", "5"]) in implied  # cancelled: 0.5 against 0
    assert ("certain", ["1", "2"]) in shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert not any(names == ["5", "1"] for _, names in implied)


def test_another_match_or_half_has_nothing_to_do_with_it() -> None:
    other = gamma(9, "Mice vs. Rats: O/U 1.5", "In the upcoming game, scheduled for May 9, 2027." + CANCELLED, about="Mice vs. Rats - More Markets", event="other",
                  label="O/U 1.5", outcomes=("Over", "Under"), sportsMarketType="totals", line=1.5)  # fmt: skip
    half = gamma(8, "Cats vs. Dogs: 1st Half O/U 1.5", "In the upcoming game, scheduled for May 9, 2027." + CANCELLED, about="Cats vs. Dogs - More Markets",
                 event="more", label="1H O/U 1.5", outcomes=("Over", "Under"), sportsMarketType="first_half_totals", line=1.5)  # fmt: skip
    assert not any(
        {"8", "9"} & {name.strip("~") for name in names}
        for relation in Relation
        for _, names in shown(related([*match(), other, half]), relation)
    )


def test_places_of_one_club() -> None:
    def place(ref: int, event: str, title: str) -> dict[str, Any]:
        return gamma(
            ref,
            title,
            "This market is about the 2026-27 NBA season.",
            event=event,
            about=event,
            label="Springfield Cats",
        )

    found = related([
        place(1, "NBA Champion", "Will the Springfield Cats win the 2027 NBA Finals?"),
        place(2, "Which teams will make the NBA Playoffs?", "Will the Springfield Cats make the NBA Playoffs?"),
        place(3, "NBA Best Record", "Will the Springfield Cats finish with the best record in the NBA?"),
    ])  # fmt: skip
    implied = shown(found, Relation.IMPLIES)
    assert ("certain", ["1", "2"]) in implied
    assert ("certain", ["3", "2"]) in implied
    assert not any(names[0] == "2" or names == ["3", "1"] for _, names in implied)


def test_a_combination_is_bounded_by_its_legs() -> None:
    legs = [kalshi("L1", "One?", "If one.", event="A"), kalshi("L2", "Two?", "If two.", event="B")]
    combo = kalshi(
        "C",
        "yes One, no Two",
        event="C",
        mve_selected_legs=[{"market_ticker": "L1", "side": "yes"}, {"market_ticker": "L2", "side": "no"}],
    )
    assert shown(related([*legs, combo]), Relation.JOINT) == [("certain", ["C", "L1", "~L2"])]
    assert shown(related([legs[0], combo]), Relation.IMPLIES) == [("certain", ["C", "L1"])]


def test_combinations_by_rival_winners_and_by_larger_numbers() -> None:
    def combo(name: str, title: str, *legs: str) -> dict[str, Any]:
        return kalshi(
            name, title, event=name, mve_selected_legs=[{"market_ticker": leg, "side": "yes"} for leg in legs]
        )

    found = related([
        combo("C1", "yes Cats,yes Ann Roe: 8+", "KXAGAME-27MAY09CATDOG-CAT", "KXAPTS-27MAY09CATDOG-CATAROE1-8"),
        combo("C2", "yes Dogs,yes Ann Roe: 2+", "KXAGAME-27MAY09CATDOG-DOG", "KXAPTS-27MAY09CATDOG-CATAROE1-2"),
        combo("C3", "yes Cats,yes Ann Roe: 2+", "KXAGAME-27MAY09CATDOG-CAT", "KXAPTS-27MAY09CATDOG-CATAROE1-2"),
        combo("C4", "yes Cats,yes Ann Roe: 2+", "KXAGAME-27MAY10CATDOG-CAT", "KXAPTS-27MAY10CATDOG-CATAROE1-2"),
    ])  # fmt: skip
    assert shown(found, Relation.MUTUALLY_EXCLUSIVE) == [("conditional", ["C1", "C2"]), ("conditional", ["C2", "C3"])]
    assert shown(found, Relation.IMPLIES) == [("conditional", ["C1", "C3"])]

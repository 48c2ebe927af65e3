"""What is claimed between events."""

from __future__ import annotations

from made import gamma, kalshi, related, shown
from test_sets import CLOSE, above, ranges

from overround.logic import Constraint, Relation

HIGH = 'This market will resolve to "Yes" if any Binance 1 minute candle for DOG/USDT during the {} has a final "High" price equal to or greater than the listed price.'


def touch(ref: int, level: int, when: str, span: str, event: str) -> dict[str, object]:
    return gamma(ref, f"Will Dog reach ${level} {when}?", HIGH.format(span), label=f"↑ {level}", event=event)


def implied(found: list[Constraint]) -> set[tuple[str, str, str]]:
    return {(confidence, *names) for confidence, names in shown(found, Relation.IMPLIES)}


def test_a_touch_in_a_week_is_one_in_its_month_and_not_the_other_way() -> None:
    found = related(
        [
            touch(1, 80, "May 9-15", "date range specified in the title", "week"),
            touch(2, 80, "in May", "month specified in the title", "month"),
        ]
    )
    assert implied(found) == {("certain", "1", "2")}


def test_a_close_is_a_touch_only_inside_the_window() -> None:
    legs = [
        *above([80]),
        touch(1, 80, "in May", "month specified in the title", "may"),
        touch(2, 80, "in June", "month specified in the title", "june"),
    ]
    assert implied(related(legs)) == {("certain", "80", "1")}


def test_a_range_implies_the_threshold_below_it_and_at_its_edge_but_for_one_price() -> None:
    found = related([*above([60, 70]), *ranges(["<60", "60-70", "70-80", ">80"])])
    claims = implied(found)
    assert ("certain", "1002", "60") in claims
    assert ("conditional", "1002", "70") in claims
    assert ("certain", "1001", "60") not in claims
    assert ("certain", ["1001", "1002", "1003", "~60"]) not in [
        (c, sorted(n)) for c, n in shown(found, Relation.PARTITION)
    ]
    assert ("conditional", ["1001", "1002", "1003", "~60"]) in [
        (c, sorted(n)) for c, n in shown(found, Relation.PARTITION)
    ]


def test_other_days_have_nothing_to_do_with_each_other() -> None:
    later = [gamma(9, "Will the price of Dog be above $60 on May 4?", CLOSE, label="60", event="later")]
    assert related([*above([60]), *later]) == []


def test_a_coarse_top_range_is_the_union_of_finer_ones() -> None:
    rules = "This market will resolve based on Dogco's market cap on its first day of trading. If the value falls exactly between two brackets, then this market will resolve to the higher range bracket."
    sets = {"coarse": ["<1T", "1T+"], "fine": ["<1.0T", "1.0T-1.2T", "1.2T+"]}
    legs = [
        gamma(
            n + 10 * m,
            f"Will Dogco's market cap be {label} at market close on IPO day?",
            rules,
            label=label,
            event=event,
            set_index=n,
        )
        for m, (event, labels) in enumerate(sets.items(), 1)
        for n, label in enumerate(labels)
    ]
    assert ("certain", ["~11", "21", "22"]) in shown(related(legs), Relation.PARTITION)


def test_the_same_caption_in_two_matches_is_not_the_same_market() -> None:
    legs = [
        gamma(
            n,
            "Map 2: Odd/Even Total Rounds?",
            "This market will resolve by the rounds of map 2.",
            event=event,
            about=event,
            sportsMarketType="odd_even",
        )
        for n, event in enumerate(["Cats vs. Dogs", "Mice vs. Rats"])
    ]
    assert related(legs) == []


def test_one_question_on_both_venues_is_equivalent_on_a_condition() -> None:
    legs = [
        kalshi(
            "K",
            "Will Rexford Quill win the 2027 Dog Mayor election?",
            "If Rexford Quill wins, Yes.",
            label="Rexford Quill",
        ),
        gamma(1, "Will Rexford Quill win the Dog Mayor election in 2027?", "This market is about the 2027 election."),
        gamma(
            2,
            "Will Rexford Quill win the first round of the 2027 Dog Mayor election?",
            "This market is about the 2027 election.",
        ),
    ]
    assert shown(related(legs), Relation.EQUIVALENT) == [("conditional", ["K", "1"])]

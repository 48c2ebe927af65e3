"""What is claimed inside one event, and what must not be."""

from __future__ import annotations

from typing import Any

import pytest
from made import gamma, kalshi, related, shown

from overround.logic import Confidence, Constraint, Relation

CLOSE = (
    'This market will resolve to "Yes" if the Binance 1 minute candle for DOG/USDT 12:00 in the ET timezone (noon) on the date '
    'specified in the title has a final "Close" price higher than the price specified in the title. Otherwise, "No".'
)
RANGES = (
    'This market will resolve according to the final "Close" price of the Binance 1 minute candle for DOG/USDT 12:00 in the ET '
    "timezone (noon) on the date specified in the title. If the reported value falls exactly between two brackets, then this "
    "market will resolve to the higher range bracket."
)


def above(strikes: list[int]) -> list[dict[str, object]]:
    return [
        gamma(k, f"Will the price of Dog be above ${k} on May 3?", CLOSE, label=str(k), event="above") for k in strikes
    ]


def ranges(labels: list[str], *, holes: bool = False) -> list[dict[str, object]]:
    return [
        gamma(
            1000 + n,
            f"Will the price of Dog be {label} on May 3?",
            RANGES,
            label=label,
            event="ranges",
            set_index=n + holes,
        )
        for n, label in enumerate(labels)
    ]


def test_a_ladder_is_ordered_strict_to_loose() -> None:
    assert shown(related(above([60, 80, 70])), Relation.MONOTONIC_LADDER) == [("certain", ["80", "70", "60"])]


def test_ranges_that_leave_nothing_out_are_a_partition() -> None:
    found = related(ranges(["<60", "60-70", "70-80", ">80"]))
    assert shown(found, Relation.PARTITION) == [("certain", ["1000", "1001", "1002", "1003"])]


def test_ranges_with_a_hole_are_only_exclusive() -> None:
    found = related(ranges(["<60", "70-80", ">80"]))
    assert shown(found, Relation.PARTITION) == []
    assert [confidence for confidence, _ in shown(found, Relation.MUTUALLY_EXCLUSIVE)] == ["certain"]


def test_whole_numbers_that_skip_one_are_no_partition() -> None:
    rules = "This market will resolve according to the number of cats that arrive by May 9, 2027."
    legs = [
        gamma(n, f"How many cats: {label}?", rules, label=label, set_index=n)
        for n, label in enumerate(["<3", "4-6", "7+"])
    ]
    assert shown(related(legs), Relation.PARTITION) == []


@pytest.mark.parametrize(("augmented", "confidence"), [(False, ["certain"]), (True, [])])
def test_a_set_that_may_grow_is_never_exhaustive(augmented: bool, confidence: list[str]) -> None:
    rules = 'This market will resolve according to who wins the 2027 Dog Show. If nobody does, it resolves to "Other".'
    legs = [
        gamma(n, f"Will {name} win the 2027 Dog Show?", rules, label=name, set_index=n, augmented=augmented)
        for n, name in enumerate(["Rex", "Bello", "Other"])
    ]
    found = related(legs)
    assert [word for word, _ in shown(found, Relation.PARTITION)] == confidence
    if augmented:
        assert shown(found, Relation.MUTUALLY_EXCLUSIVE) == [("certain", ["0", "1", "2"])]


def test_a_missing_index_makes_the_set_conditional() -> None:
    rules = "This market will resolve according to who wins the 2027 Dog Show."
    legs = [
        gamma(n, f"Will {name} win the 2027 Dog Show?", rules, label=name, set_index=n)
        for n, name in enumerate(["Rex", "Bello", "Other"])
        if name != "Bello"
    ]
    ((confidence, _),) = shown(related(legs), Relation.PARTITION)
    assert confidence == "conditional"


def test_reach_and_dip_are_two_ladders_and_no_set() -> None:
    def rule(end: str) -> str:
        return f'This market will resolve to "Yes" if any Binance 1 minute candle for DOG/USDT during May 2027 has a final "{end}" price equal to or {"above" if end == "High" else "below"} the listed price.'

    legs = [gamma(k, f"Will Dog reach ${k} in May?", rule("High"), label=f"↑ {k}") for k in (70, 80, 90)]
    legs += [gamma(k, f"Will Dog dip to ${k} in May?", rule("Low"), label=f"↓ {k}") for k in (40, 50)]
    found = related(legs)
    assert sorted(shown(found, Relation.MONOTONIC_LADDER)) == [
        ("certain", ["40", "50"]),
        ("certain", ["90", "80", "70"]),
    ]
    assert shown(found, Relation.MUTUALLY_EXCLUSIVE) == []


def test_another_window_splits_a_ladder() -> None:
    def rule(day: str) -> str:
        return f'This resolves to "Yes" if the yield reaches or is higher than the listed value for any date between {day} and December 31, 2027.'

    legs = [gamma(k, f"Will the yield hit {k}.0% before 2028?", rule("May 1, 2027"), label=f"{k}.0%") for k in (5, 6)]
    legs += [gamma(4, "Will the yield hit 4.0% before 2028?", rule("June 9, 2027"), label="4.0%")]
    found = shown(related(legs), Relation.MONOTONIC_LADDER)
    assert ("certain", ["6", "5"]) in found
    assert ("conditional", ["6", "5", "4"]) in found
    assert not any(confidence == "certain" and "4" in names for confidence, names in found)


def test_an_own_number_that_stands_elsewhere_too_does_no_harm() -> None:
    rule = 'This resolves to "Yes" if any Binance 1 minute candle for DOG/USDT in May 2027 has a "High" of {} or more.'
    legs = [gamma(k, f"Will Dog reach ${k} in May?", rule.format(k), label=f"↑ {k}") for k in (1, 2, 3)]
    assert shown(related(legs), Relation.MONOTONIC_LADDER) == [("certain", ["3", "2", "1"])]


def test_deadlines_follow_each_other_by_day() -> None:
    legs = [
        gamma(
            n,
            f"Will Rex be crowned by {day}?",
            f'This resolves to "Yes" if Rex is crowned by {day}, 2027, 11:59 PM ET.',
            label=day,
        )
        for n, day in enumerate(["June 30", "May 31", "December 31"])
    ]
    assert shown(related(legs), Relation.MONOTONIC_LADDER) == [("certain", ["1", "0", "2"])]


def test_a_later_market_that_counts_from_its_creation_is_conditional() -> None:
    rule = 'This resolves to "Yes" if Rex barks between market creation and {}, 2027, 11:59 PM ET.'
    legs = [gamma(1, "Rex barks by May 31?", rule.format("May 31"), label="May 31"),
            gamma(2, "Rex barks by June 30?", rule.format("June 30"), label="June 30", made="2027-05-09T12:00:00Z")]  # fmt: skip
    assert [confidence for confidence, _ in shown(related(legs), Relation.MONOTONIC_LADDER)] == ["conditional"]


def test_a_fair_price_for_each_makes_a_ladder_conditional() -> None:
    rule = "If Ann Roe records {}+ points in the A vs B game, then the market resolves to Yes. If Ann Roe does not play, the market will resolve to the fair market price."
    legs = [
        kalshi(
            f"P{n}",
            f"Ann Roe: {n}+ points?",
            rule.format(n),
            label=f"Ann Roe: {n}+",
            strike_type="greater",
            floor_strike=n - 0.5,
        )
        for n in (5, 10)
    ]
    assert shown(related(legs), Relation.MONOTONIC_LADDER) == [("conditional", ["P10", "P5"])]


def test_players_of_one_event_are_never_mixed() -> None:
    legs = [
        kalshi(f"{name[0]}{n}", f"{name}: {n}+ points?", f"If {name} records {n}+ points, then the market resolves to Yes.",
               label=f"{name}: {n}+", strike_type="greater", floor_strike=n - 0.5)
        for name in ("Ann Roe", "Bea Moe") for n in (5, 10)
    ]  # fmt: skip
    assert sorted(names for _, names in shown(related(legs), Relation.MONOTONIC_LADDER)) == [
        ["A10", "A5"],
        ["B10", "B5"],
    ]


def test_buckets_of_whole_degrees_are_a_partition_without_a_flag() -> None:
    strikes = [
        ("less", None, 83, "<83"),
        ("between", 83, 84, "83-84"),
        ("between", 85, 86, "85-86"),
        ("greater", 86, None, ">86"),
    ]
    legs = [
        kalshi(
            f"T{n}",
            f"Will the high temp be {text}° on May 9, 2027?",
            strike_type=kind,
            floor_strike=floor,
            cap_strike=cap,
        )
        for n, (kind, floor, cap, text) in enumerate(strikes)
    ]
    assert shown(related(legs), Relation.PARTITION) == [("certain", ["T0", "T1", "T2", "T3"])]


def test_a_caption_against_its_strike_is_doubtful() -> None:
    legs = [
        kalshi(
            f"D{n}",
            f"Will it be above {n}?",
            f"If it is above {n}, Yes.",
            label=label,
            strike_type="greater",
            floor_strike=n,
        )
        for n, label in ((5, "5 or below"), (6, "6 or below"))
    ]
    assert [confidence for confidence, _ in shown(related(legs), Relation.MONOTONIC_LADDER)] == ["doubtful"]


def test_words_said_are_independent() -> None:
    legs = [
        kalshi(
            f"M{word}",
            f"Will Rex say {word} in May?",
            f"If Rex says {word} in May 2027, then the market resolves to Yes.",
            label=word,
            custom_strike={"Word": word},
        )
        for word in ("Bone", "Ball")
    ]
    assert related(legs) == []


def test_contenders_for_one_place_exclude_each_other_and_finishers_do_not() -> None:
    def race(title: str, deed: str) -> list[dict[str, object]]:
        return [
            kalshi(name, title, f"If {name} {deed} the Dog Derby, then the market resolves to Yes.", label=name)
            for name in ("Rex", "Bello")
        ]

    assert [c for c, _ in shown(related(race("Dog Derby Winner?", "wins")), Relation.MUTUALLY_EXCLUSIVE)] == ["certain"]
    assert related(race("Dog Derby Podium Finishers?", "finishes top 3 in")) == []


def test_nothing_is_claimed_of_an_unfilled_template() -> None:
    legs = [
        kalshi(
            f"U{n}",
            f"Above {n} || Unit ||?",
            f"If it is above {n} || Unit ||, Yes.",
            strike_type="greater",
            floor_strike=n,
        )
        for n in (1, 2)
    ]
    assert related(legs) == []


def test_a_rate_that_moves_in_steps_may_pass_a_level() -> None:
    rule = (
        'This market will resolve to "Yes" if the rate reaches the specified level at any point by December 31, 2027.'
    )
    legs = [gamma(k, f"Will the rate reach {k}.0% before 2028?", rule, label=f"↑ {k}.0%") for k in (4, 5)]
    assert [confidence for confidence, _ in shown(related(legs), Relation.MONOTONIC_LADDER)] == ["conditional"]


def test_a_voted_prize_may_be_shared() -> None:
    legs = [
        kalshi(
            name,
            f"Will {name} win the MVP?",
            f"If {name} wins the MVP, then the market resolves to Yes.",
            label=name,
            about="MVP Winner?",
            exclusive=True,
        )
        for name in ("Rex", "Bello")
    ]
    assert [confidence for confidence, _ in shown(related(legs), Relation.MUTUALLY_EXCLUSIVE)] == ["conditional"]


def test_a_fair_price_breaks_even_a_flagged_set() -> None:
    rule = "If {} wins the A vs B game, Yes. If the game is cancelled, the market will resolve to a fair price in accordance with the rules."
    legs = [
        kalshi(name, "A vs B Winner?", rule.format(name), label=name, about="A vs B", exclusive=True)
        for name in ("A", "B")
    ]
    assert {confidence for confidence, _ in shown(related(legs), Relation.MUTUALLY_EXCLUSIVE)} == {"conditional"}


def test_rules_that_call_themselves_exclusive_are_believed() -> None:
    rule = "If the Fed does a {} on May 9, 2027, then the market resolves to Yes. This market is mutually exclusive. Only one bucket, at maximum, can resolve to Yes."
    legs = [
        kalshi(
            f"F{n}",
            f"Will the Fed {deed} rates by {size} at their May 2027 meeting?",
            rule.format(f"{deed} of {size}"),
            label=f"{deed} {size}",
        )
        for n, (deed, size) in enumerate([("Hike", "25bps"), ("Cut", "25bps"), ("Cut", ">25bps")])
    ]
    found = related(legs)
    assert ("certain", ["F0", "F1", "F2"]) in shown(found, Relation.MUTUALLY_EXCLUSIVE)
    assert not any(confidence == "certain" for confidence, _ in shown(found, Relation.PARTITION))


def test_a_set_that_pays_nothing_in_a_branch_it_names_is_complete_only_outside_it() -> None:
    """Cancelled, all three pay 0; a draw is an ordinary end, although only its own market names it."""
    words = 'This market will resolve to "Yes" if {} wins.'
    void = ' If the game is canceled, this market will resolve to "No".'
    names = ("Foo City", "Draw (Foo City vs. Bar Town)", "Bar Town")

    def of(extra: str) -> Constraint:
        (found,) = [
            one
            for one in related(
                [
                    gamma(place + 1, f"Will {name} win on 2027-05-09?", words.format(name) + extra, about="Foo City vs. Bar Town",
                          label=name, set_index=place, sportsMarketType="moneyline")
                    for place, name in enumerate(names)
                ]
            )
            if one.relation is Relation.PARTITION
        ]  # fmt: skip
        return found

    assert of("").confidence is Confidence.CERTAIN
    void_found = of(void)
    assert void_found.confidence is Confidence.CONDITIONAL
    assert any(condition.startswith("not cancelled") for condition in void_found.conditions)


def test_a_draw_is_the_rest_only_where_both_sides_are_listed() -> None:
    def leg(number: int, label: str, kind: str = "cricket_most_sixes") -> dict[str, Any]:
        return gamma(number + 1, f"Cats vs Dogs - Most Sixes {label}", "The team that hits more sixes; the same number is a draw.", about="Cats vs Dogs - Most Sixes",
                     label=label, set_index=number, sportsMarketType=kind)  # fmt: skip

    whole = related([leg(0, "Cats"), leg(1, "Draw"), leg(2, "Dogs")])
    assert [confidence for confidence, _ in shown(whole, Relation.PARTITION)] == ["certain"]
    assert [confidence for confidence, _ in shown(related([leg(0, "Cats"), leg(1, "Draw")]), Relation.PARTITION)] == ["conditional"]  # fmt: skip


def test_nobody_is_no_rest_of_a_list_of_names() -> None:
    def leg(number: int, label: str) -> dict[str, Any]:
        return gamma(number + 1, f"Who will lead the club next? {label}", "Whoever is named first.", about="Who will lead the club next?", label=label, set_index=number)  # fmt: skip

    assert [one for one, _ in shown(related([leg(0, "Ann"), leg(1, "Bea"), leg(2, "Nobody")]), Relation.PARTITION)] == ["conditional"]  # fmt: skip
    assert [one for one, _ in shown(related([leg(0, "Ann"), leg(1, "Bea"), leg(2, "Other")]), Relation.PARTITION)] == ["certain"]  # fmt: skip

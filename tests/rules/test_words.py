"""Whom, what, when and by whose word: canonical words of made markets, and windows as the words give them."""

from __future__ import annotations

from typing import Any

import pytest

from overround.logic import Proposition, WindowKind
from overround.market import MarketId, Venue
from overround.rules import HIGH, Wording, read
from overround.rules.dates import clock_ms, find_dates

MADE_MS = 1_800_000_000_000  # 2027-01-15
CANDLE = (
    'This market will resolve to "Yes" if any Kraken 1 minute candle for Foo (FOO/USDT) between March 1, 2027, 17:30 and May 9, 2027, 23:59 in the ET '
    'timezone has a final "Low" price equal to or lower than the price specified in the title. The resolution source for this market is Kraken, '
    "specifically the FOO/USDT prices."
)
CONTEST = (
    "This market will resolve according to the winner of the 2027 Toy Cup, scheduled for May 1-9, 2027. If it is cancelled, postponed after June 2, 2027, "
    '11:59 PM ET, or no winner has been declared by then, this market will resolve to "Other". The primary resolution source for this market will be '
    "official information from the Toy League; however, a consensus of credible reporting may also be used."
)


def prop(title: str, label: str = "", rules: str = "", venue: Venue = Venue.POLYMARKET, **more: Any) -> Proposition:
    return read(
        Wording(
            venue=venue,
            market_id=MarketId("0x1"),
            title=title,
            label=label,
            rules=rules,
            **{"made_ms": MADE_MS, **more},
        )
    ).prop


def day(text: str, at: str = "") -> int:
    when = find_dates(f"{text}, 2027")[0].first
    hour, minute = (int(part) for part in (at or "0:0").split(":"))
    return clock_ms(when) + (hour * 60 + minute) * 60_000


@pytest.mark.parametrize(
    ("title", "label", "more", "subject", "measure", "unit"),
    [
        ("Will the highest temperature in Oslo be 9°C on May 9?", "9°C", {}, "oslo", "max highest temperature", "°C"),
        ("Will the **high temp in LA** be 68-69° on May 9?", "", {"venue": Venue.KALSHI, "kind": "between", "floor": "68", "cap": "69"}, "la", "max high temp", "°"),
        ("Will Ada Roe post 20-29 tweets in May?", "20-29", {}, "ada roe", "post tweets", ""),
        ("Will Foo Inc (FOO) close above $70 on May 9?", "$70", {}, "foo inc (foo)", "close", "$"),
        ("Foo FDV above $1B one day after launch?", "$1B", {}, "foo", "fdv one day after launch", "$"),
        ("Will 12 or more Fed rate cuts happen in 2027?", "12+", {}, "fed", "rate cuts happen", ""),
        ("Will Ada Roe win the 2027 Toy Cup?", "Ada Roe", {"exclusive": True, "set_id": "s"}, "ada roe", "win toy cup", ""),
        ("Spread: Ayr (-1.5)", "Ayr (-1.5)", {"kind": "spreads", "floor": "-1.5", "outcomes": ("Ayr", "Bute"), "rules": "Ayr win the game by 2 or more goals."}, "ayr", "margin", "goals"),
        ("Ayr vs. Bute: O/U 2.5", "O/U 2.5", {"kind": "totals", "floor": "2.5", "outcomes": ("Over", "Under"), "event_title": "Ayr vs. Bute - More Markets", "rules": "Ayr and Bute combine to score 3 or more goals."}, "ayr v bute", "total", "goals"),
        ("Ada Roe: Points O/U 17.5", "Ada Roe: Points O/U 17.5", {"kind": "points", "floor": "17.5", "event_title": "Ayr vs. Bute"}, "ada roe", "points o/u", "points"),
        ("Will the Bank of Foo increase rates by 25 bps after the May meeting?", "25 bps increase", {}, "bank of foo", "rate change", "bps"),
    ],
)  # fmt: skip
def test_subject_measure_and_unit_are_words(
    title: str, label: str, more: dict[str, Any], subject: str, measure: str, unit: str
) -> None:
    found = prop(title, label, **more)
    assert (found.subject, found.measure, found.unit) == (subject, measure, unit)


def test_a_touch_names_pair_price_and_both_ends() -> None:
    found = prop("Will Foo dip to $2 by May 9, 2027?", "↓ 2", CANDLE)
    assert (found.subject, found.aggregation, found.unit, found.source) == ("foo/usdt", "low", "$", "kraken")
    assert (found.window.start_ms, found.window.end_ms) == (day("March 1", "17:30"), day("May 10"))


def test_a_contest_ends_when_it_has_to_be_known_and_not_with_its_year() -> None:
    found = prop("Will Ada Roe win the 2027 Toy Cup?", "Ada Roe", CONTEST, exclusive=True, set_id="s")
    assert (found.window.kind, found.window.start_ms, found.window.end_ms) == (WindowKind.AT, None, day("June 3"))
    assert found.source == "official information from the toy league"
    bare = prop(
        "Will Ada Roe win the 2026-27 Toy Cup?", "Ada Roe", "Ada Roe wins the Toy Cup.", exclusive=True, set_id="s"
    )
    assert (bare.window.start_ms, bare.window.end_ms) == (None, None)


@pytest.mark.parametrize(
    ("title", "start", "end"),
    [
        ("Foo Up or Down - May 9, 1:00AM-1:05AM ET", day("May 9", "1:00"), day("May 9", "1:05")),
        ("Foo Up or Down - May 9, 11:45PM-12:00AM ET", day("May 9", "23:45"), day("May 10")),
        ("Foo Up or Down - May 9, 3PM ET", day("May 9", "15:00"), day("May 9", "16:00")),
        ("Foo (FOO) Up or Down on May 9?", day("May 9"), day("May 10")),
    ],
)
def test_up_or_down_is_measured_from_minute_to_minute(title: str, start: int, end: int) -> None:
    found = prop(title, outcomes=("Up", "Down"))
    assert (found.window.start_ms, found.window.end_ms) == (start, end)


def test_a_meeting_is_on_the_day_that_the_rules_name() -> None:
    rules = "The resolution source for this market is information released by the Bank of Foo after its May 20, 2027 policy meeting."
    found = prop("Will the Bank of Foo cut rates by 25 bps at the May 2027 meeting?", "25 bps decrease", rules)
    assert (found.window.start_ms, found.window.end_ms) == (day("May 20"), day("May 21"))


def test_ranges_give_a_shared_end_to_the_upper_one_only_where_rules_say_so() -> None:
    upward = "If the reported value falls exactly between two brackets, then this market will resolve to the higher range bracket."
    for rules, closed in ((upward, False), ("", True)):
        values = prop("Will Foo close at $70-$80 on May 9?", "$70-$80", rules).values
        assert values is not None
        assert values.hi_closed is closed
    whole = prop("Will Ada post 20-29 times in May?", "20-29", upward).values
    assert whole is not None
    assert whole.hi_closed


def test_one_strike_of_a_set_is_paid_in_a_branch_and_the_others_not() -> None:
    rules = 'If the meeting is canceled, then the strike for "Bank maintains rate" will resolve to Yes and all others will resolve to No.'
    assert prop("Will it cut by 25bps?", "Cut 25bps", rules).payoffs == {"cancelled": "other"}
    assert prop("Will it cut by 0bps?", "Bank maintains rate", rules).payoffs == {"cancelled": "1"}
    named = 'If no launch occurs by May 9, 2027, this market will resolve to "No launch before June".'
    assert prop("Will it be 5?", "5", named).payoffs == {"cancelled": "other"}
    assert prop("Will it be?", "No launch before June", named).payoffs == {"cancelled": "1"}


def test_a_tie_and_a_cancellation_in_one_sentence_are_both_read() -> None:
    rules = "If the game is canceled entirely, with no make-up game, or ends in a tie, this market will resolve 50-50."
    assert prop("Ayr vs. Bute", rules=rules, kind="moneyline", outcomes=("Ayr", "Bute")).payoffs == {
        "cancelled": "0.5",
        "tie": "0.5",
    }


def test_a_name_that_holds_a_month_is_no_date() -> None:
    assert find_dates("Will Azerbaijan win?") == []
    assert prop("Will Foo reach $2.10 March 9-15?", "↑ 2.10").window.end_ms == day("March 16")


def test_a_month_without_a_year_is_the_last_one_before_the_market_closes() -> None:
    found = prop(
        "Will CPI rise more than 0.1% in September?",
        venue=Venue.KALSHI,
        kind="greater",
        floor="0.1",
        made_ms=None,
        close_ms=day("October 14"),
    )
    assert (found.window.start_ms, found.window.end_ms) == (day("September 1"), day("October 1"))


def test_confidence_rises_with_agreement_and_falls_with_contradiction() -> None:
    alone = prop("Will Foo launch by May 9, 2027?", rules="It launches.")
    against = prop(
        "Will Foo launch by May 9, 2027?", rules='This market will resolve to "Yes" if Foo launches by May 12, 2027.'
    )
    assert against.fields["window"].confidence < HIGH <= alone.fields["window"].confidence
    assert against.confidence < HIGH
    assert "title and rules name different days" in against.reasons
    both, one = prop("Will Foo close above $70 on May 9?", "$70"), prop("Will Foo close on May 9?", "$70+")
    assert both.fields["values"].confidence > one.fields["values"].confidence


@pytest.mark.parametrize(
    "text",
    ["If no " * 3_000, "How many will " * 1_400, "resolution source for this market will be " * 460, "between March 1, 2026 and " * 750, "a vs b: " * 2_400,
     "February 30, 2027 " * 900, "\x00\x1b[2J" * 3_000, "(" * 19_000, " - " * 6_000, ""],
)  # fmt: skip
def test_hostile_words_are_read_to_an_end(text: str) -> None:
    for field in ("title", "label", "rules"):
        words: dict[str, Any] = {"title": "Is it?", field: text[:19_999]}
        assert 0 <= prop(**words).confidence <= 1

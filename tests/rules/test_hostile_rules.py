"""Words that nobody should send: no crash, no hang, nothing claimed."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from made import gamma, kalshi, readings, related

from overround.logic import Family
from overround.rules import read, wording_of_record
from overround.rules.dates import find_clocks, find_dates
from overround.rules.matching import statement
from overround.rules.numbers import quantity
from overround.rules.payoffs import payoffs
from overround.rules.template import template

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=300) | st.text(
    alphabet="0123456789,.-$%KMBT and to May June 2027 by before :", max_size=200
)


@given(TEXT)
def test_any_text_is_read_without_a_crash(text: str) -> None:
    for reader in (quantity, find_dates, find_clocks, payoffs, template, statement):
        reader(text)


@given(
    TEXT,
    TEXT,
    TEXT,
    st.sampled_from(["greater", "less", "between", "structured", "custom", ""]),
    st.text("0123456789.-e", max_size=30),
)
def test_any_market_is_read_without_a_crash(title: str, label: str, rules: str, kind: str, strike: str) -> None:
    record = kalshi("K", title, rules, label=label, strike_type=kind, floor_strike=strike, cap_strike=strike)
    assert 0 <= read(wording_of_record(record)).prop.confidence <= 1


def test_long_texts_take_bounded_time() -> None:
    for text in (
        "1" * 100_000,
        "by May " * 20_000,
        "between " * 20_000,
        "1,000 to " * 20_000,
        "a vs " * 20_000,
        "-$" * 50_000,
        "\x00" * 100_000,
        "If " + "x" * 19_000 + " wins",
    ):
        started = time.process_time()
        readings([gamma(1, text, text, label=text), kalshi("K", text[:19_000], text[:19_000], label=text[:300])])
        assert time.process_time() - started < 5


def test_what_cannot_be_read_says_why() -> None:
    long, foreign, empty = readings(
        [
            gamma(1, "Will it?", "x" * 30_000),
            gamma(2, "Будет ли дождь?", "Рынок будет разрешён как «Да», если пойдёт дождь в Москве до конца мая."),
            kalshi("E"),
        ]
    )
    assert [one.prop.family for one in (long, foreign, empty)] == [Family.UNREAD] * 3
    assert [one.prop.reasons[0].split()[-1] for one in (long, foreign, empty)] == ["read", "English", "words"]


def test_days_that_do_not_exist_are_no_deadline() -> None:
    legs = [
        gamma(n, f"Will Rex bark by {day}?", f"By {day}, 2027.", label=day)
        for n, day in enumerate(["June 31", "February 30"])
    ]
    assert related(legs) == []
    assert [one.prop.reasons[-1] for one in readings(legs)] == ["there is no June 31", "there is no February 30"]
    assert all(one.prop.confidence < 0.8 for one in readings(legs))


def test_one_question_in_very_many_events_is_not_compared_pair_by_pair() -> None:
    played = (
        "If Boston wins the Chicago at Boston professional basketball game originally scheduled for May 9, 2027, Yes."
    )
    records = [
        *(gamma(n, "Will Cats finish in 3rd place in the 2026-27 English Premier League?", "2026-27 season", event=f"P{n}", label="Cats") for n in range(450)),
        *(kalshi(f"KX-{n}", "Chicago at Boston Winner?", played, event=f"K{n}", label="Boston", strike_type="structured") for n in range(450)),
        *(gamma(1_000 + n, "Bulls vs. Celtics", "In the upcoming NBA game, scheduled for May 9, 2027", event=f"G{n}", outcomes=("Bulls", "Celtics"),
                sportsMarketType="moneyline") for n in range(450)),
    ]  # fmt: skip
    assert not related(records)

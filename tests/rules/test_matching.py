"""Pairs across the venues."""

from __future__ import annotations

import pytest

from overround.rules import Verdict, match, statement


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Will Democratic win the House race for VT-7?", "Will the Democratic Party win the VT-07 House seat?"),
        (
            "Will Zoe Quill qualify for the Grand Final at 2027 Rex Cup?",
            "Will Zoë Quill reach the Grand Final at Rex Cup Major 2027?",
        ),
        ("Will Vasili Petrov be arrested before Jan 2028?", "Vasily Petrov arrested before 2028?"),
    ],
)
def test_one_question_in_two_wordings(one: str, other: str) -> None:
    assert match(statement(one), statement(other)).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ("Will Ann Roe win the first round of the election?", "Will Ann Roe win the election?", "first round"),
        (
            "Will Democratic win the House race for VT-7?",
            "Will the Democratic Party win the VT-08 House seat?",
            "office",
        ),
        (
            "Will Republican win the House race for VT-7?",
            "Will the Democratic Party win the VT-07 House seat?",
            "party",
        ),
        ("Will CPI rise more than 0.6% in May?", "Will CPI be 0.6% or more in May?", "inclusiveness"),
        ("Will CPI rise more than 0.6% in May?", "Will CPI rise more than 0.7% in May?", "threshold"),
        ("Will Ann Roe resign by May 31, 2027?", "Will Ann Roe resign by June 30, 2027?", "window edge"),
        ("Will Ann Roe win the 2027 primary?", "Will Ann Roe win the 2027 election?", "primary"),
        ("Will Ann Roe visit Peru in 2027?", "Will Ann Roe meet Bea Moe in Peru in 2027?", "visit"),
    ],
)
def test_a_difference_has_a_name_and_is_no_equivalence(one: str, other: str, difference: str) -> None:
    found = match(statement(one), statement(other))
    assert found.verdict is not Verdict.EQUIVALENT
    assert any(difference in named for named in found.differences)

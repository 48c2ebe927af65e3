"""The comparison itself can fail."""

from __future__ import annotations

import pytest
from shapes import differences

from overround.exchange import polymarket_frames as frames


@pytest.mark.parametrize(
    ("ours", "captured", "said"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, "ours only: .b"),
        ({"a": 1}, {"a": 1, "b": 2}, "captured only: .b"),
        ({"a": "1"}, {"a": 1}, "spelt otherwise: .a"),
        ({"a": "0.50"}, {"a": "0.5"}, "spelt otherwise: .a"),
        ({"a": "0.5"}, {"a": "0.5000"}, "spelt otherwise: .a"),
        ({"a": "12.0"}, {"a": "12.00"}, "spelt otherwise: .a"),
        ({"a": 1.0}, {"a": 1.5}, "spelt otherwise: .a"),
        ({"a": 1.5}, {"a": 1}, "spelt otherwise: .a"),
        ({"a": None}, {"a": ""}, "spelt otherwise: .a"),
        ({"a": ["x"]}, {"a": '["x"]'}, "spelt otherwise: .a"),
        ({"a": "2026-01-01T00:00:00.100Z"}, {"a": "2026-01-01T00:00:00.1Z"}, "spelt otherwise: .a"),
    ],
)
def test_a_difference_is_named(ours: object, captured: object, said: str) -> None:
    assert any(line.startswith(said) for line in differences([ours], [captured]))


def test_equal_shapes_differ_in_nothing() -> None:
    ours = {"px": "0.25", "sz": "3", "n": 2, "list": [{"t": "2026-01-01T00:00:00Z"}]}
    captured = {"px": "0.13", "sz": "12.5", "n": 2.5, "list": [{"t": "2026-02-01T10:00:00.25Z"}]}
    assert differences([ours], [captured]) == []


def test_a_loose_change_is_the_tight_one_with_blanks() -> None:
    entry = ("1", "0.5", "3", "BUY", "ab", "0.4", "0.6")
    tight = frames.price_change("0x1", (entry, entry), "17")
    assert frames.price_change("0x1", (entry, entry), "17", loose=True) == frames.spaced(tight)

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.errors import ValueOutOfScale
from overround.market import px_e4, px_text, sz_e6, sz_text


@given(st.integers(0, 10_000))
def test_a_price_survives_the_way_through_text(px: int) -> None:
    assert px_e4(px_text(px)) == px
    assert Decimal(px_text(px)) * 10_000 == px


@given(st.integers(0, 1 << 61))
def test_a_size_survives_the_way_through_text(sz: int) -> None:
    assert sz_e6(sz_text(sz)) == sz


@given(st.decimals(min_value=0, max_value=1, places=4))
def test_a_price_of_any_spelling_reads_like_its_decimal(value: Decimal) -> None:
    assert px_e4(format(value, "f")) == value * 10_000


@pytest.mark.parametrize(
    "text", ["", ".", "1e3", "0.12345", "1.1", " 1", "1 ", "+1", "-0.5", "nan", "١", "0x1", "1_0", "1,0", None, 0.5]
)
def test_a_price_that_does_not_fit_is_named_and_never_rounded(text: object) -> None:
    with pytest.raises(ValueOutOfScale, match="price="):
        px_e4(text)  # type: ignore[arg-type]


def test_trailing_zeros_beyond_the_scale_fit() -> None:
    assert px_e4("0.530000") == 5300
    assert sz_e6("1.00000000") == 1_000_000


def test_a_size_beyond_the_scale_is_refused() -> None:
    with pytest.raises(ValueOutOfScale, match="size="):
        sz_e6("4611686018427.4")


def test_a_signed_size_keeps_its_sign() -> None:
    assert sz_e6("-54.00", signed=True) == -54_000_000
    with pytest.raises(ValueOutOfScale):
        sz_e6("-54.00")

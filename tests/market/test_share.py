"""Rendezvous hashing: every market has one owner, shares are alike, and a further shard moves only its own."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.market import WHOLE, MarketId, Share

pytestmark = pytest.mark.long

TOTALS = st.integers(1, 40)
IDS = st.text(min_size=1, max_size=80).map(MarketId)


def owners(market_id: MarketId, total: int) -> list[int]:
    return [number for number in range(total) if Share(number, total).owns(market_id)]


@given(IDS, TOTALS)
def test_every_market_has_exactly_one_owner(market_id: MarketId, total: int) -> None:
    assert len(owners(market_id, total)) == 1


@given(IDS, TOTALS)
def test_a_further_shard_takes_a_market_for_itself_or_leaves_it_where_it_was(market_id: MarketId, total: int) -> None:
    (before,), (after,) = owners(market_id, total), owners(market_id, total + 1)
    assert after in {before, total}


@given(st.integers(2, 20), st.sampled_from(["0x{:064x}", "KXBTC-26NOV21-T{}"]))
def test_shares_are_alike(total: int, form: str) -> None:
    n = 200 * total
    markets = [MarketId(form.format(number)) for number in range(n)]
    counts = [sum(Share(number, total).owns(market) for market in markets) for number in range(total)]
    assert sum(counts) == n
    # Six standard deviations of a fair division.
    assert max(abs(count - 200) for count in counts) < 6 * math.sqrt(200)
    moved = sum(Share(total, total + 1).owns(market) for market in markets)
    assert abs(moved - n / (total + 1)) < 6 * math.sqrt(n / (total + 1))


def test_who_owns_what_is_the_same_in_every_version() -> None:
    # What is stored was divided so: these figures may never change.
    named = [MarketId(f"KXBTC-26NOV21-T{number}") for number in range(12)]
    assert [owners(market, 4)[0] for market in named] == [1, 2, 2, 0, 2, 3, 1, 3, 1, 2, 0, 3]
    assert [owners(market, 11)[0] for market in named] == [8, 2, 2, 5, 5, 9, 10, 3, 1, 10, 5, 3]


@pytest.mark.parametrize(("text", "share"), [("0/1", WHOLE), ("3/4", Share(3, 4)), ("12/100", Share(12, 100))])
def test_a_share_reads_as_it_is_written(text: str, share: Share) -> None:
    assert Share.parse(text) == share
    assert str(share) == text


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "1/0", "a/b", "1/4/2", "0.5/2", "0/1000", "¹/4"])
def test_what_is_no_share_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no shard; write k/n"):
        Share.parse(text)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overround.book import NO_ASK_E4, NO_BID_E4, Book, BookShelf, Side
from overround.market import MarketId

changes = st.lists(st.tuples(st.sampled_from(Side), st.integers(0, 40), st.integers(0, 3)), max_size=80)


@given(changes)
def test_any_run_of_levels_equals_a_plain_dict_with_sorted_sides(run: list[tuple[Side, int, int]]) -> None:
    book = Book()
    naive: dict[Side, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    for side, px, sz in run:
        book.set_level(side, px, sz)
        naive[side].pop(px, None)
        if sz:
            naive[side][px] = sz
        assert book.best_bid_e4 == max(naive[Side.BID], default=NO_BID_E4)
        assert book.best_ask_e4 == min(naive[Side.ASK], default=NO_ASK_E4)
    assert book.bid_levels() == sorted(naive[Side.BID].items(), reverse=True)
    assert book.ask_levels() == sorted(naive[Side.ASK].items())
    assert book.seq == len(run)


@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(0, 10), st.integers(-5, 5)), max_size=60))
def test_signed_changes_never_leave_a_negative_level(run: list[tuple[Side, int, int]]) -> None:
    book = Book()
    naive: dict[tuple[Side, int], int] = {}
    for side, px, delta in run:
        after = naive.get((side, px), 0) + delta
        applied = book.change_level(side, px, delta)
        assert applied == (after >= 0)
        if applied:
            naive[side, px] = after
    for (side, px), sz in naive.items():
        assert (book.bids if side is Side.BID else book.asks).get(px, 0) == sz


def test_the_second_outcome_is_the_mirror_of_the_first() -> None:
    book = Book()
    book.replace({5300: 10, 5200: 20}, {5500: 30})
    bids, asks = book.mirrored()
    assert bids == [(4500, 30)]
    assert asks == [(4700, 10), (4800, 20)]
    assert not book.crossed


def test_a_shelf_continues_the_count_of_a_market_that_comes_back() -> None:
    shelf = BookShelf()
    market = MarketId("m")
    shelf.open(market).set_level(Side.BID, 1, 1)
    shelf.close(market)
    assert shelf.get(market) is None
    again = shelf.open(market)
    assert (again.seq, again.bids, again.had_book) == (1, {}, False)

"""Price, then time, and nothing else decides who is filled."""

from __future__ import annotations

import random

from overround.exchange.matching import MatchingBook, Order

LOT = 1_000_000


def order(bid: bool, px: int, lots: int, owner: str = "") -> Order:
    return Order(bid=bid, px_e4=px, sz_e6=lots * LOT, owner=owner)


def test_a_better_price_goes_first_and_then_who_came_first() -> None:
    book = MatchingBook()
    early, late, better = order(False, 5_200, 5), order(False, 5_200, 5), order(False, 5_100, 2)
    for each in (early, late, better):
        assert book.place(each) == []
    matches = book.take(buys=True, sz_e6=9 * LOT, limit_e4=5_200)
    assert [(match.order, match.sz_e6 // LOT) for match in matches] == [(better, 2), (early, 5), (late, 2)]
    assert book.levels(bids=False) == {5_200: 3 * LOT}
    assert book.take(buys=True, sz_e6=9 * LOT, limit_e4=5_100) == [], "its price is not met"


def test_what_crosses_is_matched_and_the_rest_stands() -> None:
    book = MatchingBook()
    book.place(order(False, 5_200, 5))
    bid = order(True, 5_300, 8, "ours")
    assert [match.sz_e6 for match in book.place(bid)] == [5 * LOT]
    assert (bid.left_e6, book.best(bids=True), book.best(bids=False)) == (3 * LOT, 5_300, 0)
    assert book.best(bids=True, without="ours") == 0
    assert book.cancel(bid) == 3 * LOT
    assert book.cancel(bid) == 0
    assert book.levels(bids=True) == {}


def test_a_cancelled_order_is_passed_over() -> None:
    book = MatchingBook()
    first, second = order(True, 4_000, 5), order(True, 4_000, 5)
    book.place(first)
    book.place(second)
    book.cancel(first)
    assert [match.order for match in book.take(buys=False, sz_e6=LOT, limit_e4=1)] == [second]
    assert book.orders(bids=True, better_than_e4=3_999) == [second]
    assert book.orders(bids=True, better_than_e4=4_000) == []


def test_every_contract_is_somewhere() -> None:
    """Any run of orders, takes and cancels: levels are the sums of what is left, never crossed, nothing is lost."""
    rng, book, known = random.Random(3), MatchingBook(), list[Order]()
    placed = gone = 0
    for _ in range(4_000):
        roll = rng.random()
        if roll < 0.6:
            one = order(rng.random() < 0.5, 100 * rng.randrange(45, 56), rng.randrange(1, 9))
            placed += one.left_e6
            gone += 2 * sum(match.sz_e6 for match in book.place(one))
            known.append(one)
        elif roll < 0.8:
            buys = rng.random() < 0.5
            limit = 100 * rng.randrange(45, 56)
            gone += sum(match.sz_e6 for match in book.take(buys=buys, sz_e6=rng.randrange(1, 20) * LOT, limit_e4=limit))
        elif known:
            gone += book.cancel(rng.choice(known))
        bid, ask = book.best(bids=True), book.best(bids=False)
        assert not bid or not ask or bid < ask
    for bids in (True, False):
        sums: dict[int, int] = {}
        for one in known:
            if one.bid is bids and one.left_e6:
                sums[one.px_e4] = sums.get(one.px_e4, 0) + one.left_e6
        assert book.levels(bids=bids) == sums
    assert placed - gone == sum(one.left_e6 for one in known)

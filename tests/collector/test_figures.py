"""What is counted of lag, whatever the clocks say."""

from __future__ import annotations

import pytest

from overround.book import Book
from overround.collector.figures import RecorderFigures
from overround.market import MarketId

ONE, TWO = MarketId("one"), MarketId("two")


def changed(book: Book, *, recv_ms: int, venue_ms: int) -> Book:
    book.live, book.ts_recv_ns, book.ts_venue_ms = True, recv_ms * 1_000_000, venue_ms
    return book


@pytest.mark.parametrize("clock_off_ms", [0, 3_600_000, -3_600_000])
def test_lag_is_what_lies_above_the_least_difference_whatever_the_venues_clock_shows(clock_off_ms: int) -> None:
    figures, book = RecorderFigures(), Book()
    for recv_ms, took_ms in ((10_000_000, 500), (10_001_000, 20), (10_002_000, 20), (10_003_000, 120)):
        figures.book(ONE, changed(book, recv_ms=recv_ms, venue_ms=recv_ms - took_ms + clock_off_ms))
    # The first book carries the stamp of a change long past; then the least, the least again, and 100 ms more.
    assert sum(figures.lag.counts) == 3
    assert figures.lag.total == pytest.approx(0.1)


def test_a_change_is_counted_once_and_not_without_both_times() -> None:
    figures, book = RecorderFigures(), Book()
    figures.book(ONE, changed(book, recv_ms=1_000, venue_ms=990))
    figures.book(ONE, changed(book, recv_ms=2_000, venue_ms=1_990))
    figures.book(ONE, book)
    figures.book(ONE, changed(book, recv_ms=3_000, venue_ms=0))
    changed(book, recv_ms=4_000, venue_ms=3_990).live = False
    figures.book(ONE, book)
    assert sum(figures.lag.counts) == 1


def test_a_market_that_comes_back_begins_with_a_first_book_again() -> None:
    figures, book = RecorderFigures(), Book()
    figures.book(TWO, changed(book, recv_ms=1_000, venue_ms=990))
    figures.forget(TWO)
    figures.book(TWO, changed(book, recv_ms=900_000, venue_ms=2_000))
    assert sum(figures.lag.counts) == 0

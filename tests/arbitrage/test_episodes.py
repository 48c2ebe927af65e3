from __future__ import annotations

from overround.arbitrage import Episodes, Finder, Limits, Quote
from overround.book import Level
from overround.logic import Certificate, Component, Leg, implies
from overround.market import MarketId, Venue


def finding(edge: int) -> Certificate | None:
    legs = tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(name)) for name in ("A", "B"))
    quotes = [Quote(yes=(), no=(Level(4_000, 10**8),)), Quote(yes=(Level(6_000 - edge, 10**8),), no=())]
    return Finder(Component(legs=legs, counts=(implies(0, 1),)), quotes, limits=Limits(), now_ms=0).find(0)


def test_an_episode_lasts_from_the_first_finding_to_the_first_look_without_and_remembers_its_peak() -> None:
    episodes = Episodes()
    assert episodes.see("a", 0, None) is None
    for ts_ms, edge in ((10, 100), (20, 300), (30, 200)):
        assert episodes.see("a", ts_ms, finding(edge)) is None
    episodes.see("b", 31, finding(100))
    ended = episodes.see("a", 40, finding(0))
    assert ended is not None
    assert (ended.start_ms, ended.last_ms, ended.end_ms, ended.seen) == (10, 30, 40, 3)
    assert (ended.peak_ms, ended.peak) == (20, finding(300))
    assert episodes.see("a", 50, None) is None
    episodes.see("a", 60, finding(100))
    assert [(left.key, left.start_ms, left.end_ms) for left in episodes.close()] == [("b", 31, None), ("a", 60, None)]


def test_an_episode_that_nobody_could_look_at_for_long_has_no_end_and_the_next_is_another() -> None:
    episodes = Episodes(silence_ms=100)
    episodes.see("a", 0, finding(100))
    assert episodes.see("a", 100, finding(100)) is None
    left = episodes.see("a", 201, finding(100))
    assert left is not None
    assert (left.start_ms, left.last_ms, left.end_ms) == (0, 100, None)
    assert episodes.standing["a"].start_ms == 201
    left = episodes.see("a", 400, None)
    assert left is not None
    assert (left.end_ms, episodes.standing) == (None, {})

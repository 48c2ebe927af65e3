import time
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.exchange.generator import GeneratedSource
from overround.exchange.grid import kalshi_grid, uniform_grid
from overround.exchange.model import Change, ChangeKind, Source
from overround.exchange.universe import WorldSpec
from overround.market import Venue

pytestmark = pytest.mark.long

NOW = 1_790_000_000_000
LEVEL, TRADE, TICK, STATUS, LISTED, *_ = ChangeKind


def world(**changes: object) -> GeneratedSource:
    spec = {"polymarket_markets": 90, "kalshi_markets": 90, "seed": 3, "now_ms": NOW, "planted": 3, "plant_from_s": 3.0}
    return GeneratedSource(WorldSpec(**(spec | changes)))  # type: ignore[arg-type]


def play(source: GeneratedSource, seconds: float) -> list[Change]:
    return list(source.advance(source.spec.now_ms + int(seconds * 1000)))


def test_the_source_is_a_source() -> None:
    source: Source = world()
    assert source.next_ms() is not None


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 29_999), max_size=40), seed=st.integers(0, 5))
def test_what_happens_does_not_depend_on_how_time_is_sliced(cuts: list[int], seed: int) -> None:
    at_once, sliced = world(seed=seed), world(seed=seed)
    watched = sorted(at_once.listings)[::2]
    at_once.watch(watched)
    sliced.watch(watched)
    expected = list(at_once.advance(NOW + 30_000))
    found: list[Change] = []
    for cut in [*sorted(cuts), 30_000]:
        found += sliced.advance(NOW + cut)
    assert found == expected
    assert len(expected) > 1_000
    assert {k: at_once.levels(k) for k in watched} == {k: sliced.levels(k) for k in watched}


def test_advance_hands_out_what_is_due_and_nothing_later() -> None:
    source = world(economy=False)
    while (due := source.next_ms()) is not None and due < NOW + 2_000:
        changes = source.advance(due)
        assert {c.ts_ms for c in changes} <= {due}
        assert source.next_ms() is None or source.next_ms() > due


def test_first_books_are_the_same_whenever_they_are_touched() -> None:
    early, late, never = world(), world(), world()
    books = {k: tuple(map(dict, early.levels(k))) for k in early.listings}
    play(late, 5)
    late.watch(list(late.listings)[:40])
    play(never, 5)
    for key in list(late.listings)[:40]:
        state = late.truth[key].state(0)
        assert state is not None
        assert (state.bids, state.asks) == books[key]
        log = never.truth[key]
        if log.number == 0:
            assert (log.now().bids, log.now().asks) == books[key]
    again = GeneratedSource(early.spec)
    assert {k: tuple(map(dict, again.levels(k))) for k in reversed(list(again.listings))} == books


def test_truth_and_changes_and_levels_are_one_story() -> None:
    source = world(economy=False, rate_scale=2.0)
    books = {k: tuple(map(dict, source.levels(k))) for k in source.listings}
    numbers: Counter[str] = Counter()
    for second in range(1, 40):
        for c in source.advance(NOW + second * 1000):
            if c.kind is not LEVEL:
                continue
            if c.key not in books:
                books[c.key] = ({}, {})
                first = source.truth[c.key].state(0)
                books[c.key] = (first.bids, first.asks)
            side = books[c.key][0 if c.bid else 1]
            assert side.get(c.px_e4, 0) + c.delta_e6 == c.sz_e6 >= 0
            assert c.delta_e6
            numbers[c.key] += 1
            assert c.number == numbers[c.key]
            if c.sz_e6:
                side[c.px_e4] = c.sz_e6
            else:
                del side[c.px_e4]
            bids, asks = books[c.key]
            assert not (bids and asks) or max(bids) < min(asks)
    for key, (bids, asks) in books.items():
        assert source.levels(key) == (bids, asks)
        state = source.truth.now(key)
        assert (state.bids, state.asks, state.number) == (bids, asks, numbers[key])
        assert source.state_number(key) == numbers[key]
    assert source.truth.levels == sum(numbers.values())


def test_time_never_falls() -> None:
    changes = play(world(economy=False), 30)
    assert all(a.ts_ms <= b.ts_ms for a, b in pairwise(changes))
    assert changes[0].ts_ms >= NOW


def test_levels_lie_on_the_market_s_grid_and_sizes_on_its_unit() -> None:
    source = world(economy=False)
    ticks = {k: m.tick_e4 for k, m in source.listings.items()}
    for key, listed in source.listings.items():
        source.levels(key)
        ticks[key] = listed.tick_e4
    fractions = Counter()
    for c in play(source, 60):
        listed = source.listings[c.key]
        if c.kind is TICK:
            assert listed.venue is Venue.POLYMARKET
            assert c.tick_e4 < ticks[c.key]
            ticks[c.key] = c.tick_e4
        if c.kind is not LEVEL:
            continue
        assert c.sz_e6 % 10_000 == 0
        if listed.venue is Venue.KALSHI:
            assert c.px_e4 in kalshi_grid(listed.grid).better
        else:
            assert c.px_e4 in uniform_grid(ticks.get(c.key, listed.tick_e4)).better
        fractions[listed.venue, c.sz_e6 % 1_000_000 != 0] += 1
    for venue in Venue:
        assert fractions[venue, True] > 0


def test_a_print_follows_its_own_book_change_on_the_resting_side() -> None:
    source = world(economy=False, rate_scale=3.0)
    taken: dict[tuple[str, int, bool, int], int] = defaultdict(int)
    printed: dict[tuple[str, int, bool, int], int] = defaultdict(int)
    prints = 0
    for c in play(source, 60):
        if c.kind is LEVEL and c.delta_e6 < 0:
            taken[c.key, c.ts_ms, c.bid, c.px_e4] -= c.delta_e6
        elif c.kind is TRADE:
            prints += 1
            at = (c.key, c.ts_ms, not c.bid, c.px_e4)  # the taker buys from asks
            printed[at] += c.sz_e6
            assert printed[at] <= taken[at]
            assert source.truth[c.key].state(c.number).ts_ms == c.ts_ms
            assert len(c.trade_id) == 32
    assert prints > 500
    assert source.truth.trades == prints


def test_trade_ids_are_never_used_twice() -> None:
    found = Counter(c.trade_id for c in play(world(economy=False, rate_scale=5.0), 60) if c.kind is TRADE)
    assert max(found.values()) == 1


def test_quotes_straddle_the_weights_of_their_family_at_all_times() -> None:
    source = world(economy=False, planted=0)
    for step in range(60):
        source.advance(NOW + step * 1_000)
        for family, weights in source.weights():
            assert sum(weights) == pytest.approx(1)
            for leg in family.legs:
                if leg.listed.key not in source.listings or leg.listed.status != "active":
                    continue
                fair = family.fair(leg, weights) * 10_000
                bids, asks = source.levels(leg.listed.key)
                assert max(bids, default=-1) <= fair + 1e-6
                assert min(asks, default=10_001) >= fair - 1e-6


def test_both_sides_are_usually_there() -> None:
    source = world(economy=False)
    play(source, 60)
    active = [source.levels(k) for k, m in source.listings.items() if m.status == "active"]
    assert sum(bool(b and a) for b, a in active) / len(active) > 0.85


def test_sleeping_families_stand_still_and_watched_ones_move() -> None:
    source = world(planted=0)
    keys = source.markets(Venue.KALSHI)
    source.watch(keys[:1])
    moved = {c.key for c in play(source, 30) if c.kind is LEVEL}
    awake = {family.key for family, _ in source.weights() if any(leg.listed.key == keys[0] for leg in family.legs)}
    assert keys[0] in moved
    assert {source.listings[k].related["family"] for k in moved} == awake
    asleep = next(k for k in keys if k not in moved)
    assert source.state_number(asleep) == 0
    assert source.truth[asleep].states_at(NOW + 10_000)[0].number == 0


def test_busy_markets_take_their_share_of_the_flow() -> None:
    source = world(polymarket_markets=0, kalshi_markets=600, economy=False, planted=0, windows=False)
    counts = Counter(c.key for c in play(source, 240) if c.kind is LEVEL)
    ranked = sorted(counts.values(), reverse=True)
    assert 0.4 < sum(ranked[:40]) / sum(ranked) < 0.8
    assert 240 * 200 < sum(ranked) < 240 * 700  # 323 a second are meant, heavy tails included


def test_windows_close_resolve_and_follow_each_other() -> None:
    source = world(polymarket_markets=80, kalshi_markets=80, planted=0)
    before = set(source.listings)
    status: dict[str, list[str]] = defaultdict(list)
    listed: list[str] = []
    for c in play(source, 20 * 60):
        if c.kind is STATUS:
            status[c.key].append(c.status)
        elif c.kind is LISTED:
            listed.append(c.key)
    windows = [k for k in status if source.listings[k].related["kind"] == "updown"]
    assert len(windows) >= 6
    assert all(status[k] in (["closed", "resolved"], ["closed"]) for k in windows)
    fresh = [k for k in listed if source.listings[k].related["kind"] == "updown"]
    assert fresh
    assert not before & set(fresh)
    assert all(source.listings[k].close_ms > NOW for k in fresh)
    assert all(source.levels(k)[0] or source.levels(k)[1] for k in fresh)


def test_closed_markets_do_not_move() -> None:
    source = world(economy=False, planted=0, rate_scale=0.3)
    over: set[str] = set()
    for c in play(source, 11 * 60):
        if c.kind is STATUS:
            over.add(c.key)
        else:
            assert c.key not in over
    assert over


def test_results_satisfy_every_relation_of_a_family() -> None:
    # Sixty days at once: nobody watches, so only what is dated happens.
    source = world(polymarket_markets=300, kalshi_markets=300, planted=0, windows=False)
    source.advance(NOW + 60 * 86_400_000)
    ended = 0
    for family, _ in source.weights():
        results = [leg.listed.result for leg in family.legs]
        for relation in family.relations:
            won = [results[p] == 0 for p in relation.legs]
            if any(results[p] is None for p in relation.legs):
                continue
            ended += 1
            if relation.kind == "implies":
                assert won[1] or not won[0]
            elif relation.kind == "equivalent":
                assert won[0] == won[1]
            elif relation.kind == "partition":
                assert sum(won) == 1
            elif relation.kind == "exclusive":
                assert sum(won) <= 1
            else:
                assert won[0] == (won[1] and won[2])
    assert ended > 100


def test_results_follow_the_prices_at_the_close() -> None:
    expected = happened = 0.0
    n = 0
    for seed in range(3):
        source = world(polymarket_markets=250, kalshi_markets=250, planted=0, windows=False, seed=seed)
        source.advance(NOW + 40 * 86_400_000)
        for family, weights in source.weights():
            if family.kind in {"partition", "exclusive", "game", "line"} and family.legs[0].listed.result is not None:
                for leg in family.legs:
                    p = family.fair(leg, weights)
                    if 0.05 < p < 0.95 and leg.listed.venue is Venue.KALSHI:
                        expected += p
                        happened += leg.listed.result == 0
                        n += 1
    assert n > 200
    assert abs(expected - happened) < 3 * (n * 0.2) ** 0.5


def test_open_lists_get_new_legs() -> None:
    source = world(polymarket_markets=150, kalshi_markets=0, planted=0, economy=False, rate_scale=0.1)
    added = [c.key for c in play(source, 1_800) if c.kind is LISTED and source.listings[c.key].event.augmented]
    assert added
    for key in added:
        assert source.listings[key].open_ms > NOW
        assert source.truth[key].number > 0


def test_a_burst_floods_one_market_within_ten_milliseconds() -> None:
    source = world()
    key = source.markets(Venue.POLYMARKET)[0]
    source.watch([key])
    source.advance(NOW + 5_000)
    source.burst(key, 750)
    stamps = [c.ts_ms for c in source.advance(NOW + 6_000) if c.kind is LEVEL and c.key == key]
    assert sum(stamps[0] <= ts <= stamps[0] + 10 for ts in stamps) >= 700


def test_heavy_bursts_happen_by_themselves() -> None:
    source = world(polymarket_markets=0, kalshi_markets=200, economy=False, planted=0, windows=False, rate_scale=4.0)
    worst = 0
    for second in range(1, 400):
        per_ms = Counter((c.key, c.ts_ms // 20) for c in source.advance(NOW + second * 1000) if c.kind is LEVEL)
        worst = max(worst, *per_ms.values(), 0)
    assert worst > 350


def test_the_rate_scale_multiplies_the_flow() -> None:
    slow = len(play(world(economy=False, planted=0), 60))
    fast = len(play(world(economy=False, planted=0, rate_scale=8.0), 60))
    assert 5 < fast / slow < 12


def test_fifty_thousand_changes_a_second_are_generated() -> None:
    source = world(polymarket_markets=200, kalshi_markets=200, economy=False, rate_scale=40.0, keep_truth_s=60.0)
    begun = time.process_time()
    n = len(play(source, 6))
    took = time.process_time() - begun
    assert n > 60_000  # ten thousand a second of venue time
    assert n / took > 50_000  # about 300,000 on the machine that measured it


def test_truth_forgets_what_is_older_than_told() -> None:
    source = world(
        polymarket_markets=0, kalshi_markets=30, windows=False, economy=False, keep_truth_s=30.0, rate_scale=5.0
    )
    key = source.markets(Venue.KALSHI)[0]
    source.advance(NOW + 60_000)
    held = source.truth.nbytes
    source.advance(NOW + 180_000)
    assert source.truth.nbytes < 2 * held
    assert source.truth[key].oldest_ms > NOW + 100_000
    assert source.truth.states_at(key, NOW + 1_000) == []


def test_the_tick_gets_finer_beyond_96_and_never_coarser_again() -> None:
    source = world(planted=0, windows=False)
    key = next(k for k in source.markets(Venue.POLYMARKET) if source.levels(k) and source.listings[k].tick_e4 == 100)
    source.watch([key])
    flow = source._flows[key]
    ticks = []
    for ms, fair in enumerate((0.5, 0.955, 0.9612, 0.99, 0.5, 0.02), start=NOW + 1):
        out: list[Change] = []
        flow.move(fair, ms, out)
        ticks += [(c.tick_e4, c.ts_ms) for c in out if c.kind is TICK]
        bids, asks = source.levels(key)
        assert max(bids, default=0) < fair * 10_000 <= min(asks, default=10_000)
        assert [c.kind for c in out].index(TICK) == 0 if ticks and ticks[-1][1] == ms else True
    assert ticks == [(10, NOW + 3)]
    assert source.listings[key].tick_e4 == 10

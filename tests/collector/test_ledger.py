"""The accountant against a model that looks at every second by itself."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.collector.ledger import NO_BOOK_AFTER_MS, QUIET_AFTER_MS, CoverageLedger
from overround.market import Integrity, MarketId, Share
from overround.storage import CoverageWriter, GapRow, InclusionRow, LakePaths, LeftOpen, coverage_of, gaps_of, runs_of
from overround.storage.coverage_tables import STATE_COLUMNS

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
DAY = "2026-01-14"
M, N = MarketId("M"), MarketId("N")
VERIFIED, UNVERIFIED, QUIET, GAP, ABSENT, DOWN = range(6)
GOOD = {VERIFIED, UNVERIFIED, QUIET}


def hold(ledger: CoverageLedger, sets: dict[str, list[MarketId]], now_ms: int) -> None:
    ledger.hold(sets, now_ms=now_ms, outcomes_of=lambda _: ("yes", "no"), score_of=lambda _: 1.0, seq_of=lambda _: 0)


def observe(ledger: CoverageLedger, market: MarketId, now_ms: int, **given: Any) -> None:
    facts: dict[str, Any] = {"live": True, "integrity": Integrity.VERIFIED, "proven_ms": now_ms, "seq": 0, "err": None}
    ledger.observe(market, now_ms=now_ms, **(facts | given))


def begun(now_ms: int = NOON, left: LeftOpen | None = None, *, markets: tuple[MarketId, ...] = (M,)) -> CoverageLedger:
    ledger = CoverageLedger()
    ledger.start(left or LeftOpen(), now_ms=now_ms)
    ledger.connected(1, now_ms=now_ms)
    hold(ledger, {"hot": list(markets)}, now_ms)
    return ledger


def pass_time(ledger: CoverageLedger, start_ms: int, end_ms: int, step_ms: int = 5_000) -> None:
    for now_ms in range(start_ms + step_ms, end_ms + 1, step_ms):
        ledger.settle(now_ms=now_ms)


def spent(ledger: CoverageLedger, market: MarketId = M) -> dict[int, list[float]]:
    """Seconds by minute (counted from noon) and state."""
    found: dict[int, list[float]] = defaultdict(lambda: [0.0] * 6)
    for row in ledger.take().minutes:
        if row.market_id == market:
            for state, value in enumerate(row[3:9]):
                found[(row.minute_ms - NOON) // 60_000][state] += value / 1000
    return dict(found)


# -- the model -----------------------------------------------------------------------------------------------


class Model:
    """One market, one second after another; nothing is remembered but facts."""

    def __init__(self) -> None:
        self.seconds: dict[int, int] = {}
        self.included = self.right = self.closed = self.proved = self.gap = self.seen_gap = False
        self.proven = self.wanted = -1_000

    def state(self, now: int, *, up: bool) -> int:
        if not self.included or self.closed:
            return ABSENT
        if not up:
            return DOWN
        if self.gap:
            return GAP
        if not self.right:
            return ABSENT
        if not self.proved:
            return UNVERIFIED
        return VERIFIED if now < self.proven + QUIET_AFTER_MS // 1000 else QUIET

    def open_gap(self, now: int, since: int | None) -> None:
        since = max(self.wanted, self.wanted if since is None else since)
        waited = not self.right
        for second in range(since, now):
            if self.seconds.get(second) in GOOD or (waited and self.seconds.get(second) == ABSENT):
                self.seconds[second] = GAP
        self.gap, self.right, self.proved, self.seen_gap = True, False, False, False

    def leave(self) -> None:
        self.__dict__.update(included=False, right=False, closed=False, proved=False, gap=False, seen_gap=False)


events = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from([M, N]),
        st.sampled_from(
            [
                "hold",
                "hold",
                "drop",
                "right",
                "right",
                "wrong",
                "wrong",
                "seen",
                "blind",
                "close",
                "cut",
                "join",
                "take",
            ]
        ),
        st.integers(0, 90),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(events)
def test_every_second_is_in_the_state_that_the_model_sees(
    given_events: list[tuple[int, MarketId, str, int, bool]],
) -> None:
    ledger = CoverageLedger()
    ledger.start(LeftOpen(), now_ms=NOON)
    ledger.connected(1, now_ms=NOON)
    models, up, held = {M: Model(), N: Model()}, True, set[MarketId]()
    by_second: dict[int, list[tuple[int, MarketId, str, int, bool]]] = defaultdict(list)
    for event in given_events:
        by_second[event[0]].append(event)
    end = 240
    folder = tempfile.TemporaryDirectory()
    paths = LakePaths(Path(folder.name))
    writer = CoverageWriter(paths, "kalshi", level=1, origin="synthetic")

    def write(now_ms: int) -> None:
        taken = ledger.take()
        writer.add(minutes=taken.minutes, gaps=taken.gaps, stays=taken.stays, now_ms=now_ms)
        writer.save(now_ms=now_ms)

    for now in range(end):
        now_ms = NOON + now * 1000
        for _, market, what, number, flag in by_second[now]:
            model = models[market]
            if what in ("hold", "drop"):
                held = held | {market} if what == "hold" else held - {market}
                hold(ledger, {"hot": sorted(held)}, now_ms)
                if what == "drop":
                    model.leave()
                elif not model.included:
                    model.leave()
                    model.included, model.wanted, model.gap = True, now, not up
            elif what == "right":
                ledger.right(market, "step", now_ms=now_ms, verified=flag, proven_ms=now_ms if flag else None)
                if model.included:
                    model.right, model.closed, model.gap, model.seen_gap = True, False, False, False
                    model.proved, model.proven = flag, now if flag else -1_000
            elif what == "wrong":
                since = now - number if flag else None
                ledger.wrong([market], "gap", now_ms=now_ms, since_ms=None if since is None else NOON + since * 1000)
                if model.included and not model.closed:
                    model.open_gap(now, since)
            elif what == "seen" and model.included and not (model.gap and not model.seen_gap) and not model.closed:
                verdict = Integrity.VERIFIED if flag else Integrity.UNVERIFIED
                observe(ledger, market, now_ms, integrity=verdict, proven_ms=now_ms - number * 1000)
                model.right, model.gap, model.seen_gap = True, False, False
                model.proved, model.proven = flag, now - number
            elif what == "blind" and model.included and not model.closed:
                observe(
                    ledger, market, now_ms, live=flag, integrity=Integrity.SUSPECT, proven_ms=now_ms - number * 1000
                )
                if not model.gap:
                    model.open_gap(now, now - number)
                    model.seen_gap = True
            elif what == "close":
                ledger.closed(market, now_ms=now_ms)
                if model.included:
                    model.gap, model.closed = False, True
            elif what in ("cut", "join"):
                ledger.connected(int(what == "join"), now_ms=now_ms)
                if up and what == "cut":
                    for each in models.values():
                        each.gap = each.gap or (each.included and not each.closed and not each.right)
                up = what == "join"
            elif what == "take":
                write(now_ms)
        if now % 5 == 0:
            ledger.settle(now_ms=now_ms)
            for model in models.values():
                waiting = model.included and not (model.right or model.closed or model.gap)
                if waiting and now - model.wanted >= NO_BOOK_AFTER_MS // 1000:
                    model.open_gap(now, model.wanted)
        for model in models.values():
            model.seconds[now] = model.state(now, up=up)
    ledger.stop(now_ms=NOON + end * 1000)
    write(NOON + end * 1000)
    for _ in range(2):  # as write-ahead rows, then as Parquet
        found = {
            (row["market_id"], row["minute"]): [row[name] for name in STATE_COLUMNS]
            for row in coverage_of(paths, "kalshi", DAY).filter(outcome_id="yes").collect().to_dicts()
        }
        for market, model in models.items():
            for minute in range(end // 60):
                seconds = [model.seconds[minute * 60 + second] for second in range(60)]
                due = [float(seconds.count(state)) for state in range(6)]
                got = found.get((market, NOON + minute * 60_000))
                if got is None:
                    assert due == [0, 0, 0, 0, 60, 0]
                else:
                    assert got == pytest.approx(due), (market, minute)
                    assert sum(got) == pytest.approx(60)
        assert runs_of(paths, "kalshi", DAY).collect()["ran_s"].to_list() == [60.0] * (end // 60)
        assert gaps_of(paths, "kalshi", DAY).collect()["end_ms"].null_count() == 0
        writer.finalise(now_ms=NOON, all_buckets=True)
    folder.cleanup()
    if len(given_events) < 12:  # beyond, the accountant's short memory may end and readers apply the gap
        lived = [second for model in models.values() for second in model.seconds.values()]
        seconds = ledger.seconds
        figures = (seconds.verified, seconds.unverified, seconds.quiet, seconds.gap, seconds.venue_down)
        assert figures == tuple(lived.count(state) for state in (VERIFIED, UNVERIFIED, QUIET, GAP, DOWN))


# -- single claims -------------------------------------------------------------------------------------------


def test_a_proof_lasts_a_minute_then_the_book_is_quiet_until_the_next() -> None:
    ledger = begun()
    ledger.right(M, "book", now_ms=NOON, verified=True, proven_ms=NOON)
    pass_time(ledger, NOON, NOON + 90_000)
    observe(ledger, M, NOON + 90_000)
    pass_time(ledger, NOON + 90_000, NOON + 120_000)
    assert spent(ledger) == {0: [60.0, 0, 0, 0, 0, 0], 1: [30.0, 0, 30.0, 0, 0, 0]}


def test_a_gap_takes_back_what_was_spent_since_the_last_instant_known_good() -> None:
    ledger = begun()
    ledger.right(M, "book", now_ms=NOON, verified=True, proven_ms=NOON)
    pass_time(ledger, NOON, NOON + 70_000)
    assert spent(ledger) == {0: [60.0, 0, 0, 0, 0, 0], 1: [0, 0, 10.0, 0, 0, 0]}  # handed out, and stored
    ledger.wrong([M], "hash_mismatch", now_ms=NOON + 70_000, since_ms=NOON + 50_500, connection="c.1", detail="why")
    ledger.step(M)
    gap = ledger.right(M, "resubscribe", now_ms=NOON + 72_000, verified=True, proven_ms=NOON + 72_000)
    assert gap is not None
    pass_time(ledger, NOON + 72_000, NOON + 77_000)
    taken = ledger.take()
    assert taken.gaps == [
        GapRow(NOON + 50_500, NOON + 72_000, NOON + 70_000, "M", "hash_mismatch", "resubscribe", 1, "c.1", "why")
    ]
    assert [(row.minute_ms - NOON, *row[3:9]) for row in taken.minutes if row.market_id] == [
        (0, -9_500, 0, 0, 9_500, 0, 0),
        (60_000, 5_000, 0, -10_000, 12_000, 0, 0),
    ]
    assert ledger.seconds.gap == 21.5


def test_a_gap_never_reaches_back_before_the_market_was_asked_for() -> None:
    ledger = begun(NOON)
    ledger.wrong([M], "reconnecting", now_ms=NOON + 5_000, since_ms=NOON - 60_000)
    assert [gap.start_ms for gap in ledger.gaps] == [NOON]


def test_a_second_cause_that_reaches_further_back_gets_a_row_of_its_own() -> None:
    ledger = begun()
    ledger.right(M, "book", now_ms=NOON, verified=True, proven_ms=NOON)
    pass_time(ledger, NOON, NOON + 30_000)
    ledger.wrong([M], "gap", now_ms=NOON + 30_000, since_ms=NOON + 20_000)
    ledger.wrong([M], "reconnecting", now_ms=NOON + 31_000, since_ms=NOON + 10_000)
    rows = ledger.take(minutes=False).gaps
    assert sorted((row.start_ms - NOON, row.end_ms and row.end_ms - NOON, row.cause) for row in rows) == [
        (10_000, 20_000, "reconnecting"),
        (20_000, None, "gap"),
    ]
    pass_time(ledger, NOON + 31_000, NOON + 36_000)
    assert spent(ledger)[0] == [10.0, 0, 0, 26.0, 0, 0]


def test_a_first_book_that_does_not_come_is_a_gap_from_the_time_it_was_asked_for() -> None:
    ledger = begun()
    pass_time(ledger, NOON, NOON + 9_000, 1_000)
    assert ledger.gaps.n_open == 0
    pass_time(ledger, NOON + 9_000, NOON + 20_000, 1_000)
    ledger.right(M, "book", now_ms=NOON + 20_000)
    assert [(gap.cause, gap.start_ms, gap.end_ms) for gap in ledger.gaps] == [("no_book", NOON, NOON + 20_000)]
    assert spent(ledger) == {0: [0, 0, 0, 20.0, 0, 0]}


def test_without_any_connection_the_venue_is_down_and_waiting_markets_have_a_gap() -> None:
    ledger = begun(markets=(M, N))
    ledger.right(M, "book", now_ms=NOON)
    pass_time(ledger, NOON, NOON + 5_000)
    ledger.wrong([M], "reconnecting", now_ms=NOON + 5_000, since_ms=NOON + 4_000)
    ledger.connected(0, now_ms=NOON + 5_000)
    pass_time(ledger, NOON + 5_000, NOON + 15_000)
    ledger.connected(2, now_ms=NOON + 15_000)
    pass_time(ledger, NOON + 15_000, NOON + 16_000, 1_000)
    ledger.right(M, "reconnect", now_ms=NOON + 16_000)
    assert {(gap.market_id, gap.cause, gap.start_ms) for gap in ledger.gaps} == {
        (M, "reconnecting", NOON + 4_000),
        (N, "venue_down", NOON + 5_000),
    }
    rows = ledger.take().minutes
    by_market = {row.market_id: row[3:9] for row in rows}
    assert by_market[""] == (0, 6_000, 0, 0, 0, 10_000)
    assert by_market["M"] == (0, 4_000, 0, 2_000, 0, 10_000)
    assert by_market["N"] == (0, 0, 0, 1_000, 5_000, 10_000)


def test_a_venue_that_never_answers_is_down_after_a_while() -> None:
    ledger = CoverageLedger()
    ledger.start(LeftOpen(), now_ms=NOON)
    hold(ledger, {"hot": [M]}, NOON)
    for second in range(0, 21, 5):
        ledger.connected(0, now_ms=NOON + second * 1000)
        ledger.settle(now_ms=NOON + second * 1000)
    assert spent(ledger)[0] == [0, 0, 0, 0, 10.0, 10.0]
    assert [(gap.cause, gap.start_ms) for gap in ledger.gaps] == [("venue_down", NOON + 10_000)]


def test_what_a_dead_run_left_open_is_closed_and_the_hole_is_a_gap_until_the_first_book() -> None:
    died = NOON - 100_000
    left = LeftOpen(
        until_ms=died,
        gaps=(GapRow(died - 5_000, None, died - 4_000, "M", "gap"),),
        stays=(InclusionRow(died - 60_000, None, "M", "hot", 2.0), InclusionRow(died - 1_000, None, "N", "warm", 1.0)),
    )
    ledger = begun(left=left)
    pass_time(ledger, NOON, NOON + 3_000, 1_000)
    ledger.right(M, "book", now_ms=NOON + 3_000)
    taken = ledger.take()
    assert {(row.market_id, row.cause, row.start_ms, row.end_ms, row.repair) for row in taken.gaps} == {
        ("M", "gap", died - 5_000, died, "collector_down"),
        ("", "collector_down", died, NOON, "started"),
        ("M", "collector_down", died, NOON + 3_000, "book"),
        ("N", "collector_down", died, NOON, "unsubscribed"),
    }
    assert [(row.market_id, row.end_ms, row.reason) for row in taken.stays[:2]] == [
        ("M", died, "collector_down"),
        ("N", died, "collector_down"),
    ]
    assert {row[:2]: row[3:9] for row in taken.minutes}[(NOON, "M")] == (0, 0, 0, 3_000, 0, 0)


@pytest.mark.parametrize(
    ("rows_until_ms", "died_ms"),
    [
        # Rows were behind the account; the account was behind the rows; none was stored in that life, or ever.
        (NOON - 103_000, NOON - 103_000),
        (NOON - 99_000, NOON - 100_000),
        (NOON - 500_000, NOON - 160_000),
        (0, NOON - 160_000),
    ],
)
def test_a_hole_begins_where_either_the_rows_or_the_account_end(rows_until_ms: int, died_ms: int) -> None:
    left = LeftOpen(
        until_ms=NOON - 100_000,
        rows_until_ms=rows_until_ms,
        stays=(
            InclusionRow(NOON - 160_000, None, "M", "hot", 2.0),
            InclusionRow(NOON - 101_000, None, "N", "warm", 1.0),
        ),
    )
    taken = begun(left=left).take()
    assert {(row.market_id, row.start_ms) for row in taken.gaps} >= {
        ("", died_ms),
        ("M", died_ms),
        ("N", max(died_ms, NOON - 101_000)),
    }


def test_rows_that_will_never_be_on_disk_are_a_gap_of_the_whole_venue() -> None:
    ledger = begun()
    ledger.lost(NOON - 9_000, NOON - 4_000, now_ms=NOON)
    gap = ledger.take().gaps[-1]
    assert (gap.market_id, gap.cause, gap.start_ms, gap.end_ms) == ("", "rows_lost", NOON - 9_000, NOON - 4_000)


def test_stays_say_when_and_why_a_market_entered_and_left() -> None:
    ledger = begun(markets=(M, N))
    hold(ledger, {"hot": [M], "leaving": [N]}, NOON + 1_000)
    ledger.closed(M, now_ms=NOON + 1_500)
    hold(ledger, {"leaving": [N]}, NOON + 2_000)
    ledger.stop(now_ms=NOON + 3_000)
    stays = {row[:4]: row.reason for row in ledger.take().stays if row.end_ms is not None}
    assert stays == {
        (NOON, NOON + 2_000, "M", "hot"): "ended",
        (NOON, NOON + 1_000, "N", "hot"): "to leaving",
        (NOON + 1_000, NOON + 3_000, "N", "leaving"): "stopped",
    }


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_jumps_makes_no_time(jump_ms: int) -> None:
    ledger = begun()
    ledger.right(M, "book", now_ms=NOON)
    pass_time(ledger, NOON, NOON + 20_000)
    after = NOON + 20_000 + jump_ms
    ledger.settle(now_ms=after)
    pass_time(ledger, after, after + 10_000)
    found = spent(ledger)
    assert sum(map(sum, found.values())) == 30.0
    assert found[0] == [0, 20.0, 0, 0, 0, 0]
    assert found[jump_ms // 60_000] == [0, 10.0, 0, 0, 0, 0]


def test_updates_and_rows_are_counted_where_they_happened() -> None:
    ledger = begun()
    ledger.right(M, "book", now_ms=NOON)
    for second, seq in ((10, 4), (50, 9), (70, 9), (80, 12)):
        observe(ledger, M, NOON + second * 1000, seq=seq)
    counts = {row.minute_ms - NOON: row[9:12] for row in ledger.take().minutes if row.market_id}
    assert counts == {0: (9, 2, 0), 60_000: (3, 2, 0)}


def test_nothing_is_kept_of_a_market_that_left() -> None:
    ledger = begun(markets=(M, N))
    hold(ledger, {"hot": [M]}, NOON + 10_000)
    pass_time(ledger, NOON + 10_000, NOON + 55_000)
    assert len(ledger) == 2  # the rest of its minute is told
    pass_time(ledger, NOON + 55_000, NOON + 65_000)
    assert len(ledger) == 1
    assert spent(ledger, N) == {0: [0, 0, 0, 0, 60.0, 0], 1: [0, 0, 0, 0, 0, 0]} or spent(ledger, N) == {}


# -- several collectors ----------------------------------------------------------------------------------------


def test_what_befalls_one_of_several_collectors_is_a_gap_of_its_own_markets_only() -> None:
    left = LeftOpen(
        until_ms=NOON - 10_000,
        rows_until_ms=NOON - 20_000,
        stays=tuple(InclusionRow(NOON - 60_000, None, market, "hot", 1.0) for market in (M, N)),
    )
    ledger = CoverageLedger(share=Share(1, 3))
    ledger.start(left, now_ms=NOON)
    ledger.connected(1, now_ms=NOON)
    hold(ledger, {"hot": [M]}, NOON)
    pass_time(ledger, NOON, NOON + 20_000)
    hold(ledger, {"hot": [N]}, NOON + 20_000)
    pass_time(ledger, NOON + 20_000, NOON + 200_000)
    ledger.lost(NOON + 10_000, NOON + 15_000, now_ms=NOON + 200_000)
    ledger.lost(NOON + 30_000, NOON + 35_000, now_ms=NOON + 200_000)
    ledger.stop(now_ms=NOON + 200_000)
    entries = ledger.take()
    down = {(gap.market_id, gap.start_ms) for gap in entries.gaps if gap.cause == "collector_down"}
    assert down == {(M, NOON - 20_000), (N, NOON - 20_000)}
    lost = {
        (gap.market_id, gap.start_ms - NOON, (gap.end_ms or 0) - NOON)
        for gap in entries.gaps
        if gap.cause == "rows_lost"
    }
    assert lost == {(M, 10_000, 15_000), (N, 10_000, 15_000), (N, 30_000, 35_000)}
    assert {row.outcome_ids for row in entries.minutes if not row.market_id} == {("1/3",)}


def test_whoever_records_a_market_now_closes_what_a_dead_collector_of_another_number_left_open(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    markets = [MarketId(f"M{number}") for number in range(40)]
    for old in (Share(0, 2), Share(1, 2)):
        writer = CoverageWriter(paths, "kalshi", level=1, origin="live", shard=old)
        writer.start(now_ms=NOON)
        held = [market for market in markets if old.owns(market)]
        ledger = CoverageLedger(share=old)
        ledger.start(LeftOpen(), now_ms=NOON)
        ledger.connected(1, now_ms=NOON)
        hold(ledger, {"hot": held}, NOON)
        ledger.wrong(held[:3], "gap", now_ms=NOON + 1_000)
        pass_time(ledger, NOON, NOON + (20 + old.number) * 1_000)
        entries = ledger.take()
        writer.add(minutes=entries.minutes, gaps=entries.gaps, stays=entries.stays, now_ms=NOON)
        assert writer.save(now_ms=NOON)
    adopted: dict[str, Share] = {}
    for new in (Share(0, 3), Share(1, 3), Share(2, 3)):
        writer = CoverageWriter(paths, "kalshi", level=1, origin="live", shard=new)
        left = writer.start(now_ms=NOON + 60_000)
        # A further collector takes from both, and from these nothing moves to one another.
        assert left.shards == ({Share(0, 2), Share(1, 2)} if new.number == 2 else {Share(new.number, 2)})
        assert left.until_ms == NOON + 20_000
        assert {stay.market_id for stay in left.stays} == {market for market in markets if new.owns(market)}
        adopted |= {stay.market_id: new for stay in left.stays}
        ledger = CoverageLedger(share=new)
        ledger.start(left, now_ms=NOON + 60_000)
        hold(ledger, {}, NOON + 60_000)
        ledger.stop(now_ms=NOON + 61_000)
        entries = ledger.take()
        writer.add(minutes=entries.minutes, gaps=entries.gaps, stays=entries.stays, now_ms=NOON)
        assert writer.save(now_ms=NOON)
    assert set(adopted) == set(markets)
    assert gaps_of(paths, "kalshi", DAY).collect()["end_ms"].null_count() == 0
    again = CoverageWriter(paths, "kalshi", level=1, origin="live", shard=Share(0, 3))
    assert not again.start(now_ms=NOON + 70_000).crashed

"""The coverage ledger on disk: rows of one key become one, gaps override, nothing is seen twice."""

from __future__ import annotations

import itertools
import math
import random

import polars as pl
import pytest

from overround.errors import NothingStored
from overround.pipelines.lake import list_lake, verify_lake
from overround.storage import (
    CoverageWriter,
    GapRow,
    InclusionRow,
    LakePaths,
    MinuteRow,
    coverage_of,
    gaps_of,
    inclusion_of,
    runs_of,
    shares_of,
    trusted,
    verified_share,
)
from overround.storage.coverage_tables import MINUTE_MS, STATE_COLUMNS

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
DAY = "2026-01-14"
WHOLE = (1 << 60) - 1


def minute(
    start: int = NOON,
    market: str = "M",
    *,
    outcomes: tuple[str, ...] = ("yes", "no"),
    verified: int = 0,
    unverified: int = 0,
    quiet: int = 0,
    gap: int = 0,
    unsubscribed: int = 0,
    down: int = 0,
    mask: int | None = None,
    until: int | None = None,
) -> MinuteRow:
    return MinuteRow(
        minute_ms=start,
        market_id=market,
        outcome_ids=outcomes,
        verified_ms=verified,
        unverified_ms=unverified,
        quiet_ms=quiet,
        gap_ms=gap,
        not_subscribed_ms=unsubscribed,
        venue_down_ms=down,
        updates=1,
        snapshots=2,
        repairs=0,
        live_mask=WHOLE if mask is None else mask,
        until_ms=start + MINUTE_MS if until is None else until,
    )


def gap(start: int, end: int | None, market: str = "M", cause: str = "gap", detected: int | None = None) -> GapRow:
    return GapRow(start, end, start if detected is None else detected, market, cause)


def written(
    paths: LakePaths,
    *,
    minutes: list[MinuteRow] | None = None,
    gaps: list[GapRow] | None = None,
    stays: list[InclusionRow] | None = None,
    finish: bool = True,
    venue: str = "kalshi",
) -> CoverageWriter:
    writer = CoverageWriter(paths, venue, level=1, origin="synthetic")
    writer.add(minutes=minutes or [], gaps=gaps or [], stays=stays or [], now_ms=NOON)
    assert writer.save(now_ms=NOON)
    if finish:
        writer.finalise(now_ms=NOON, all_buckets=True)
    return writer


def states(paths: LakePaths, **options: object) -> list[tuple[float, ...]]:
    frame = coverage_of(paths, "kalshi", DAY, **options).filter(outcome_id="yes").sort("minute", "market_id").collect()  # type: ignore[arg-type]
    return [tuple(round(value, 6) for value in row) for row in frame.select(STATE_COLUMNS).rows()]


@pytest.mark.parametrize("finish", [False, True])
def test_parts_of_a_minute_add_up_whether_or_not_their_bucket_is_finished(paths: LakePaths, *, finish: bool) -> None:
    parts = [
        minute(verified=5_000, mask=0b11111),
        minute(verified=2_000, gap=3_000, mask=0b1100000),
        minute(quiet=50_000, mask=WHOLE ^ 0b1111111111),
        minute(NOON + MINUTE_MS, verified=60_000),
        minute(market="N", outcomes=("only",), unverified=60_000),
    ]
    writer = written(paths, minutes=parts[:2], finish=finish)
    writer.add(minutes=parts[2:], now_ms=NOON)
    writer.save(now_ms=NOON)
    if finish:
        writer.finalise(now_ms=NOON, all_buckets=True)
    frame = coverage_of(paths, "kalshi", DAY).sort("market_id", "outcome_id", "minute").collect()
    assert frame.select("market_id", "outcome_id", "minute").rows() == [
        ("M", "no", NOON),
        ("M", "no", NOON + MINUTE_MS),
        ("M", "yes", NOON),
        ("M", "yes", NOON + MINUTE_MS),
        ("N", "only", NOON),
    ]
    assert frame.row(0)[4:] == (7.0, 0.0, 50.0, 3.0, 0.0, 0.0, 3, 6, 0)
    if finish:
        stored = pl.read_parquet(sorted((paths.root / "coverage").rglob("coverage_*.parquet")))
        assert stored.height == 5
        assert stored.filter(market_id="M", minute=NOON)["live_mask"].to_list() == [WHOLE ^ 0b1110000000] * 2


def test_a_gap_found_later_takes_its_seconds_from_what_was_stored_as_verified(paths: LakePaths) -> None:
    whole = [minute(NOON + n * MINUTE_MS, verified=40_000, quiet=20_000) for n in range(4)]
    writer = written(paths, minutes=whole)
    assert states(paths) == [(40.0, 0.0, 20.0, 0.0, 0.0, 0.0)] * 4
    # From the middle of the first minute to a quarter of the third, noticed much later.
    writer.add(gaps=[gap(NOON + 30_000, NOON + 135_000, detected=NOON + 10 * MINUTE_MS)], now_ms=NOON)
    writer.save(now_ms=NOON)
    assert states(paths) == [
        (20.0, 0.0, 10.0, 30.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 60.0, 0.0, 0.0),
        (30.0, 0.0, 15.0, 15.0, 0.0, 0.0),
        (40.0, 0.0, 20.0, 0.0, 0.0, 0.0),
    ]
    assert verified_share(coverage_of(paths, "kalshi", DAY)) == pytest.approx(90 / 240)


def test_seconds_known_as_a_gap_when_stored_are_not_taken_twice(paths: LakePaths) -> None:
    # Right until 9.9 s, noticed at 10.4 s, repaired at 12.3 s: 0.5 s had been stored as verified.
    live = WHOLE ^ (1 << 11)
    rows = [minute(verified=58_100, gap=1_900, mask=live), minute(market="N", verified=60_000)]
    written(paths, minutes=rows, gaps=[gap(NOON + 9_900, NOON + 12_300, detected=NOON + 10_400)])
    assert states(paths) == [(57.6, 0.0, 0.0, 2.4, 0.0, 0.0), (60.0, 0.0, 0.0, 0.0, 0.0, 0.0)]


def test_a_hole_between_two_runs_costs_nothing_that_was_recorded(paths: LakePaths) -> None:
    # 30 s good, 10 s nobody ran, 5 s until the first book, 15 s good.
    before = minute(verified=30_000, mask=(1 << 30) - 1, until=NOON + 30_000)
    after = minute(verified=15_000, gap=5_000, mask=WHOLE ^ ((1 << 45) - 1))
    written(paths, minutes=[before, after], gaps=[gap(NOON + 30_000, NOON + 45_000, cause="collector_down")])
    assert states(paths) == [(45.0, 0.0, 0.0, 5.0, 0.0, 0.0)]


def test_a_gap_of_the_whole_venue_covers_every_market_and_overlaps_count_once(paths: LakePaths) -> None:
    rows = [minute(market="M", verified=60_000), minute(market="N", unverified=30_000, unsubscribed=30_000)]
    rows[1] = rows[1]._replace(live_mask=WHOLE ^ ((1 << 30) - 1))
    found = [
        gap(NOON + 10_000, NOON + 40_000, market=""),
        gap(NOON + 20_000, NOON + 50_000, market="M"),
        gap(NOON + 25_000, NOON + 30_000, market="M"),
    ]
    written(paths, minutes=rows, gaps=found)
    assert states(paths) == [(20.0, 0.0, 0.0, 40.0, 0.0, 0.0), (0.0, 20.0, 0.0, 10.0, 30.0, 0.0)]
    assert states(paths, markets=["N"]) == [(0.0, 20.0, 0.0, 10.0, 30.0, 0.0)]


@pytest.mark.parametrize("finish", [False, True])
def test_the_end_of_a_gap_supersedes_its_open_row(paths: LakePaths, *, finish: bool) -> None:
    opened, closed = gap(NOON, None), gap(NOON, NOON + 5_000)
    writer = written(paths, minutes=[minute(verified=60_000)], gaps=[opened, gap(NOON + 1, None, "N")], finish=finish)
    assert gaps_of(paths, "kalshi", DAY, markets=["M"]).collect()["end_ms"].to_list() == [None]
    assert states(paths) == [(0.0, 0.0, 0.0, 60.0, 0.0, 0.0)]
    writer.add(gaps=[closed._replace(repair="resubscribe"), opened], now_ms=NOON)
    writer.save(now_ms=NOON)
    for _ in range(2):
        found = gaps_of(paths, "kalshi", DAY).collect()
        assert found.select("market_id", "end_ms", "repair").rows() == [
            ("M", NOON + 5_000, "resubscribe"),
            ("N", None, ""),
        ]
        assert states(paths) == [(55.0, 0.0, 0.0, 5.0, 0.0, 0.0)]
        writer.finalise(now_ms=NOON, all_buckets=True)


def test_a_gap_of_an_earlier_day_reaches_into_this_one(paths: LakePaths) -> None:
    midnight = NOON - 12 * 3_600_000
    rows = [minute(midnight + n * MINUTE_MS, verified=60_000) for n in range(2)]
    written(paths, minutes=rows, gaps=[gap(midnight - 3 * 86_400_000, midnight + 90_000)])
    assert states(paths) == [(0.0, 0.0, 0.0, 60.0, 0.0, 0.0), (30.0, 0.0, 0.0, 30.0, 0.0, 0.0)]
    assert gaps_of(paths, "kalshi", "2026-01-12").collect().height == 1
    assert gaps_of(paths, "kalshi", "2026-01-15").collect().height == 0
    assert gaps_of(paths, "kalshi", ["2026-01-10", "2026-01-15"]).collect().height == 0


def test_the_venue_row_tells_when_the_collector_ran(paths: LakePaths) -> None:
    of_venue = minute(market="", outcomes=("",), unverified=50_000, down=10_000)
    written(paths, minutes=[of_venue, minute(verified=60_000)])
    assert runs_of(paths, "kalshi", DAY).collect().rows() == [(NOON, "kalshi", 60.0, 50.0)]
    assert coverage_of(paths, "kalshi", DAY).collect()["market_id"].unique().to_list() == ["M"]


def test_shares_leave_out_the_time_in_which_nobody_asked(paths: LakePaths) -> None:
    written(paths, minutes=[minute(verified=20_000, quiet=5_000, unverified=10_000, down=5_000, unsubscribed=20_000)])
    found = shares_of(coverage_of(paths, "kalshi", DAY))
    assert (found.verified, found.quiet, found.unverified, found.gap, found.venue_down) == (0.5, 0.125, 0.25, 0, 0.125)
    assert found.wanted_s == 80.0
    assert math.isnan(verified_share(coverage_of(paths, "kalshi", DAY, markets=["absent"])))


def test_a_minute_lived_twice_has_sixty_seconds(paths: LakePaths) -> None:
    twice = [minute(verified=60_000), minute(verified=30_000, gap=30_000)]
    writer = written(paths, minutes=twice, finish=False)
    for _ in range(2):
        assert states(paths) == [(45.0, 0.0, 0.0, 15.0, 0.0, 0.0)]
        writer.finalise(now_ms=NOON, all_buckets=True)


def test_a_start_after_a_crash_learns_what_was_left_open(paths: LakePaths) -> None:
    first = written(
        paths,
        minutes=[minute(market="", outcomes=("",), until=NOON + 17_000), minute(until=NOON + 17_000)],
        gaps=[gap(NOON, None), gap(NOON, NOON + 1_000, "N")],
        stays=[InclusionRow(NOON, None, "M", "hot", 2.5), InclusionRow(NOON, NOON + 9, "N", "warm", 1.0, "rotated")],
        finish=False,
    )
    del first
    again = CoverageWriter(paths, "kalshi", level=1, origin="synthetic")
    left = again.start(now_ms=NOON + 60_000)
    assert left.crashed
    assert left.until_ms == NOON + 17_000
    assert left.gaps == (gap(NOON, None),)
    assert left.stays == (InclusionRow(NOON, None, "M", "hot", 2.5),)
    again.add(gaps=[gap(NOON, NOON + 5)], stays=[left.stays[0]._replace(end_ms=NOON + 5)], now_ms=NOON)
    again.save(now_ms=NOON)
    third = CoverageWriter(paths, "kalshi", level=1, origin="synthetic").start(now_ms=NOON + 90_000)
    assert not third.crashed
    assert inclusion_of(paths, "kalshi", DAY).collect()["end_ms"].to_list() == [NOON + 5, NOON + 9]


@pytest.mark.parametrize(
    ("accounted_ms", "until_ms"),
    [([NOON + 17_000, NOON + 600_000], NOON + 600_000), ([], None)],
    ids=["died after an account", "died before one"],
)
def test_the_account_of_an_hour_lived_twice_is_not_that_of_the_run_that_died(
    paths: LakePaths, accounted_ms: list[int], until_ms: int | None
) -> None:
    """The clock was set back by an hour: a run under the old time had accounted for what lies ahead."""
    old = written(
        paths,
        minutes=[minute(NOON + n * MINUTE_MS, "", outcomes=("",)) for n in range(60)],
        stays=[InclusionRow(NOON, NOON + 60 * MINUTE_MS, "M", "hot", 1.0, "stopped")],
    )
    del old
    minutes = [minute(until - until % MINUTE_MS, "", outcomes=("",), until=until) for until in accounted_ms]
    died = written(paths, minutes=minutes, stays=[InclusionRow(NOON + 5_000, None, "M", "hot", 1.0)], finish=False)
    del died
    left = CoverageWriter(paths, "kalshi", level=1, origin="synthetic").start(now_ms=NOON + 660_000)
    assert left.until_ms == until_ms
    assert left.died_ms == (until_ms or NOON + 5_000)
    # Its own files are finished now, and its accounts lie among those of the run before it.
    again = CoverageWriter(paths, "kalshi", level=1, origin="synthetic").start(now_ms=NOON + 670_000)
    assert again.died_ms == NOON + 5_000, "rather too long a hole than none"


def test_three_tables_in_one_folder_keep_apart_in_listing_and_check(paths: LakePaths) -> None:
    writer = written(
        paths,
        minutes=[minute(verified=60_000)],
        gaps=[gap(NOON, None)],
        stays=[InclusionRow(NOON, None, "M", "hot", 0)],
    )
    found = {entry.table: (entry.files, entry.rows, entry.unlisted) for entry in list_lake(paths)}
    assert found == {"coverage": (1, 2, 0), "coverage/gaps": (1, 1, 0), "coverage/inclusion": (1, 1, 0)}
    assert verify_lake(paths).ok
    manifest = sorted(path.name for path in (paths.root / "coverage").rglob("_manifest*"))
    assert manifest == ["_manifest.jsonl", "_manifest_gaps.jsonl", "_manifest_inclusion.jsonl"]
    target = next((paths.root / "coverage").rglob("gaps_*.parquet"))
    target.write_bytes(target.read_bytes()[:-5])
    (target.parent / ".gaps_2026-01-14T12-00.parquet.tmp").write_bytes(b"half")
    report = verify_lake(paths)
    assert sorted(problem.kind.value for problem in report.problems) == ["checksum", "half_file", "unreadable"]
    assert {problem.path.name.strip(".").split("_")[0] for problem in report.problems} == {"gaps"}
    del writer


def test_buckets_wait_a_little_so_that_late_ends_do_not_rewrite_files(paths: LakePaths) -> None:
    writer = written(paths, minutes=[minute()], gaps=[gap(NOON, None)], finish=False)
    writer.finalise(now_ms=NOON + 3_600_000)
    assert not list(paths.root.rglob("gaps_*.parquet"))
    assert list(paths.root.rglob("coverage_*.parquet"))
    writer.finalise(now_ms=NOON + 3_900_000)
    assert list(paths.root.rglob("gaps_*.parquet"))


def test_rows_inside_gaps_are_left_out_of_what_is_trusted(paths: LakePaths) -> None:
    rng = random.Random(5)
    gaps = []
    for _ in range(60):
        start = NOON + rng.randrange(3_000_000)
        end = None if rng.random() < 0.02 else start + rng.randrange(1, 90_000)
        gaps.append(gap(start, end, rng.choice(["A", "B", "C", ""])))
    written(paths, gaps=gaps)
    rows = pl.DataFrame(
        [
            {"market_id": market, "ts_recv": NOON + rng.randrange(3_200_000), "n": n}
            for n, market in enumerate(itertools.islice(itertools.cycle("ABCD"), 4_000))
        ]
    )
    kept = trusted(rows.lazy(), gaps_of(paths, "kalshi", DAY)).collect()
    latest = {(g.market_id, g.start_ms): g for g in gaps}
    due = [
        n
        for market, ts, n in rows.rows()
        if not any(
            g.market_id in ("", market) and g.start_ms <= ts and (g.end_ms is None or ts < g.end_ms)
            for g in latest.values()
        )
    ]
    assert 0 < len(due) < rows.height
    assert sorted(kept["n"].to_list()) == due
    assert kept.columns == rows.columns


def test_no_ledger_is_said_so(paths: LakePaths) -> None:
    with pytest.raises(NothingStored, match="no coverage ledger for kalshi on 2026-01-14"):
        coverage_of(paths, "kalshi", DAY)
    assert gaps_of(paths, "kalshi", DAY).collect().is_empty()
    assert inclusion_of(paths, "kalshi", DAY).collect().columns[0] == "start_ms"

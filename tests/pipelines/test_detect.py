"""A recorded day against constraints: episodes begin, peak and end where they did, and bad books give none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from overround.arbitrage import Limits, check
from overround.book import Level
from overround.config import StorageSettings
from overround.errors import FileDamaged
from overround.exchange.generator import GeneratedSource
from overround.exchange.universe import WorldSpec
from overround.fills import USD_ONE_E10
from overround.logic import Confidence, Constraint, Leg, Relation
from overround.market import (
    Exclusivity,
    FeeKind,
    FeeSchedule,
    Integrity,
    Market,
    MarketId,
    MarketStatus,
    Origin,
    OutcomeId,
    Venue,
)
from overround.pipelines.detect import (
    Detected,
    Row,
    Walk,
    detect_day,
    read_certificates,
    rebuilt_rows,
    rows_of,
    take_new,
    tied_markets,
    write_violations,
)
from overround.replay import RecordedFrame
from overround.storage import LakePaths, SnapshotWriter
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market

NOON = 1_768_392_000_000  # 2026-01-14T12:00Z
DAY = "2026-01-14"
FEE = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07")
LIMITS = Limits(max_age_ms=15_000, max_apart_ms=15_000)
STRICT, LOOSE = (a_market(number, fee=FEE, close_ts=NOON + 86_400_000) for number in (70, 60))


def implication(confidence: Confidence = Confidence.CERTAIN, conditions: tuple[str, ...] = ()) -> Constraint:
    return Constraint(
        relation=Relation.IMPLIES, legs=tuple(Leg(venue=m.venue, market_id=m.market_id) for m in (STRICT, LOOSE)),
        antecedent=0, consequent=1, confidence=confidence, conditions=conditions, rule="threshold_ladder",
    )  # fmt: skip


Book = tuple[int, Market, int, int, Integrity | None, bool]
"""Seconds after noon, market, bid and ask in cents, verdict, staleness."""


def record(root: Path, books: Sequence[Book], seqs: Sequence[int] | None = None) -> LakePaths:
    paths = LakePaths(root)

    async def run() -> None:
        writer = SnapshotWriter(
            paths, "kalshi", settings=StorageSettings(), top_k=50, origin=Origin.SYNTHETIC, clock=ManualClock(NOON)
        )
        writer.start()
        for number, (second, market, bid, ask, integrity, stale) in enumerate(books):
            key = writer.buffer.register(market.market_id, (OutcomeId("yes"), OutcomeId("no")))
            writer.buffer.append(
                key, NOON + second * 1_000, {bid * 100: 10**8}, {ask * 100: 10**8}, seq=number if seqs is None else seqs[number], source_ts=None,
                stale=stale, err=None, integrity=integrity,
            )  # fmt: skip
        await writer.stop()

    asyncio.run(run())
    return paths


def whole_day(
    lake: LakePaths, markets: list[Market], constraints: list[Constraint], *, date: str, limits: Limits, **known: Any
) -> Detected:
    walk = Walk(constraints, tied_markets(markets, constraints), limits=limits, **known)
    return detect_day(walk, lake, date=date)


OK = Integrity.VERIFIED
TALE: list[Book] = [
    (0, STRICT, 40, 42, OK, False), (0, LOOSE, 50, 52, OK, False),
    (5, STRICT, 58, 60, OK, False),  # over the loose one's ask: found
    (8, STRICT, 61, 63, OK, False),  # more
    (10, LOOSE, 50, 53, OK, False),  # less
    (14, STRICT, 44, 46, OK, False),  # over
    (20, STRICT, 60, 62, OK, True), (21, LOOSE, 50, 52, OK, False),  # stale
    (30, STRICT, 60, 62, Integrity.GAP, False), (31, LOOSE, 50, 52, OK, False),
    (40, STRICT, 60, 62, None, False), (41, LOOSE, 50, 52, OK, False),  # nobody proved it
    (60, STRICT, 60, 62, OK, False),  # the other book is 19 seconds old
    (61, LOOSE, 50, 52, OK, False),  # and now it is not
]  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    return record(tmp_path_factory.mktemp("lake"), TALE)


def test_episodes_are_those_of_the_tale(lake: LakePaths, tmp_path: Path) -> None:
    told = whole_day(lake, [STRICT, LOOSE], [implication()], date=DAY, limits=LIMITS)
    assert (told.components, told.legs, told.rows) == (1, 2, len(TALE))
    seconds = [
        tuple(None if ts is None else (ts - NOON) // 1_000 for ts in (e.start_ms, e.peak_ms, e.last_ms, e.end_ms))
        for e in told.episodes
    ]
    assert seconds == [(5, 8, 10, 14), (61, 61, 61, None)]
    peak = told.episodes[0].peak
    assert check(peak) == []
    assert peak.forms == ("monotonic_ladder",)
    # 100 pairs at 0.39 and 0.52, fees by the formula and a unit of rounding a contract, a cent an order.
    fees = 100 * 0.07 * (0.39 * 0.61 + 0.52 * 0.48)
    assert fees < peak.fee_e10 / USD_ONE_E10 <= fees + 0.0402
    assert peak.profit_e10 / USD_ONE_E10 == pytest.approx(9 - peak.fee_e10 / USD_ONE_E10)
    assert {"the book is stale", "the book is gap", "the book is unverified"} <= set(told.refused)

    file = tmp_path / "violations.parquet"
    assert write_violations(file, told.episodes) == 2
    rows = pl.read_parquet(file)
    assert rows["market_ids"].to_list()[0] == [STRICT.market_id, LOOSE.market_id]
    assert rows["end_ts"].to_list() == [NOON + 14_000, None]
    assert read_certificates(file) == [episode.peak for episode in told.episodes]


def test_only_first_outcomes_come_back_in_order_with_their_verdicts(lake: LakePaths) -> None:
    rows = list(rows_of(lake, [STRICT, LOOSE], date=DAY))
    assert len(rows) == len(TALE)
    assert [row.ts_ms for row in rows] == sorted(row.ts_ms for row in rows)
    assert rows[1].asks == (Level(4_200, 10**8),)
    assert {row.integrity for row in rows} == {OK, Integrity.STALE, Integrity.GAP, Integrity.UNVERIFIED}
    assert list(rows_of(lake, [STRICT], date="2026-01-15")) == []


def test_a_conditional_constraint_is_used_only_when_asked_for_and_says_so(lake: LakePaths) -> None:
    one = implication(Confidence.CONDITIONAL, ("the reading is taken",))
    assert not whole_day(lake, [STRICT, LOOSE], [one], date=DAY, limits=LIMITS).episodes
    told = whole_day(lake, [STRICT, LOOSE], [one], date=DAY, limits=LIMITS, least=Confidence.CONDITIONAL)
    assert [(e.peak.grade, e.peak.conditions) for e in told.episodes] == [
        ("conditional", ("the reading is taken",))
    ] * 2


def test_constraints_that_contradict_each_other_are_named_and_nothing_is_claimed(lake: LakePaths) -> None:
    legs = implication().legs
    apart = [
        Constraint(relation=relation, legs=legs, confidence=Confidence.CERTAIN)
        for relation in (Relation.EQUIVALENT, Relation.COMPLEMENT)
    ]
    told = whole_day(lake, [STRICT, LOOSE], apart, date=DAY, limits=LIMITS)
    assert not told.episodes
    assert len(told.contradictory) == 1


def test_a_leg_that_is_not_listed_kills_its_constraint(lake: LakePaths) -> None:
    told = whole_day(lake, [STRICT], [implication()], date=DAY, limits=LIMITS)
    assert (told.components, told.episodes) == (0, [])


def test_a_parquet_file_without_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"no parquet")
    with pytest.raises(FileDamaged, match="holds no certificates"):
        read_certificates(file)


def test_following_finds_what_the_whole_day_gives(lake: LakePaths) -> None:
    tied = tied_markets([STRICT, LOOSE, a_market(1)], [implication()])
    assert [market.market_id for market in tied.values()] == [STRICT.market_id, LOOSE.market_id]
    walk = Walk([implication()], tied, limits=LIMITS)
    standing = []
    for second in range(-3, 66, 3):
        take_new(walk, lake, list(tied.values()), after_ms=NOON + (second - 3) * 1_000, until_ms=NOON + second * 1_000)
        standing += [second] if walk.standing else []
    assert standing == [6, 9, 12, 63]
    whole = whole_day(lake, [STRICT, LOOSE], [implication()], date=DAY, limits=LIMITS)
    assert walk.finish() == whole


@pytest.mark.parametrize("seed", range(3))
def test_plants_become_episodes_that_begin_and_end_with_them(seed: int) -> None:
    step = 500
    source = GeneratedSource(
        WorldSpec(
            polymarket_markets=60,
            kalshi_markets=60,
            seed=seed,
            now_ms=NOON,
            planted=4,
            plant_from_s=2.0,
            plant_every_s=1.5,
            plant_for_s=4.0,
            economy=True,
            windows=False,
        )
    )
    markets: dict[tuple[Venue, MarketId], Market] = {}
    constraints = []
    words = {"implies": Relation.IMPLIES, "equivalent": Relation.EQUIVALENT, "partition": Relation.PARTITION,
             "exclusive": Relation.MUTUALLY_EXCLUSIVE, "joint": Relation.JOINT}  # fmt: skip
    for family in source.universe.families:
        for leg in family.legs:
            if leg.listed.key in source.listings:
                key = (leg.listed.venue, MarketId(leg.listed.key))
                markets[key] = Market(
                    market_id=key[1], outcome_ids=(OutcomeId("yes"), OutcomeId("no")), title=leg.listed.title,
                    close_ts=leg.listed.close_ms, open_ts=None, status=MarketStatus.ACTIVE, tags=(), venue=key[0],
                )  # fmt: skip
        for relation in family.relations:
            listed = [family.legs[place].listed for place in relation.legs]
            constraints.append(
                Constraint(
                    relation=words[relation.kind], confidence=Confidence.CERTAIN, antecedent=0, consequent=1,
                    legs=tuple(Leg(venue=each.venue, market_id=MarketId(each.key)) for each in listed),
                )
            )  # fmt: skip

    def rows():
        for now in range(NOON + step, NOON + 14_000, step):
            source.advance(now)
            for _, key in markets:
                bids, asks = source.levels(key)
                yield Row(
                    now, now, key, tuple(Level(px, bids[px]) for px in sorted(bids, reverse=True)),
                    tuple(Level(px, asks[px]) for px in sorted(asks)), Integrity.VERIFIED,
                )  # fmt: skip

    walk = Walk(constraints, markets, limits=LIMITS)
    for row in rows():
        walk.take(row)
    told = walk.finish()
    planted = {frozenset(leg.key for leg in plant.legs): plant for plant in source.planted}
    assert len(told.episodes) == len(planted)
    for episode in told.episodes:
        bought = {episode.peak.component.legs[order.leg].market_id for order in episode.peak.purchases}
        plant = planted[frozenset(bought)]
        assert 0 <= episode.start_ms - plant.start_ms <= step
        assert episode.end_ms is not None
        assert 0 <= episode.end_ms - plant.end_ms <= step
        assert episode.peak.profit_e10 == plant.contracts_e6 * plant.profit_e4


def test_a_book_stands_until_its_next_row_where_that_shows_no_change(tmp_path: Path) -> None:
    """Strictly at one instant: the loose leg's book is known from 0 to 10 seconds, then changes unseen, then is known again."""
    books: list[Book] = [
        (0, LOOSE, 50, 52, OK, False), (4, STRICT, 58, 60, OK, False), (10, LOOSE, 50, 52, OK, False),
        (12, STRICT, 58, 60, OK, False), (14, LOOSE, 50, 52, OK, False), (16, STRICT, 44, 46, OK, False),
    ]  # fmt: skip
    lake = record(tmp_path, books, seqs=[1, 1, 1, 2, 7, 3])
    rows = list(rows_of(lake, [STRICT, LOOSE], date=DAY))
    assert [((row.ts_ms - NOON) // 1_000, (row.until_ms - NOON) // 1_000) for row in rows] == [
        (0, 10), (4, 4), (10, 10), (12, 12), (14, 14), (16, 16),
    ]  # fmt: skip
    strict = Limits(max_age_ms=0, max_apart_ms=0)
    told = whole_day(lake, [STRICT, LOOSE], [implication()], date=DAY, limits=strict)
    seconds = [((e.start_ms - NOON) // 1_000, (e.last_ms - NOON) // 1_000) for e in told.episodes]
    assert seconds == [(4, 4)]
    assert {order.book_ts_ms for order in told.episodes[0].peak.purchases} == {NOON + 4_000}
    loose = whole_day(lake, [STRICT, LOOSE], [implication()], date=DAY, limits=LIMITS)
    assert [(e.last_ms - NOON) // 1_000 for e in loose.episodes] == [14]


def kalshi(
    ms: int,
    seq: int,
    market: Market,
    *,
    snapshot: tuple[str, str] | None = None,
    delta: tuple[str, str, str] | None = None,
) -> RecordedFrame:
    """A snapshot of one bid for yes and one for no, 100 each, or a change of one level: side, price, contracts."""
    message: dict[str, object] = {"market_ticker": market.market_id, "market_id": "x"}
    if snapshot is not None:
        message |= {"yes_dollars_fp": [[snapshot[0], "100.00"]], "no_dollars_fp": [[snapshot[1], "100.00"]]}
    elif delta is not None:
        message |= {"side": delta[0], "price_dollars": delta[1], "delta_fp": delta[2], "ts_ms": ms}
    kind = "orderbook_snapshot" if snapshot is not None else "orderbook_delta"
    frame = msgspec.json.encode({"type": kind, "sid": 1, "seq": seq, "msg": message})
    return RecordedFrame(ms * 1_000_000, "c", frame)


def test_a_journal_gives_all_books_at_one_instant_and_stops_believing_after_a_gap() -> None:
    frames = [
        kalshi(NOON + 10, 1, STRICT, snapshot=("0.4000", "0.5800")), kalshi(NOON + 20, 2, LOOSE, snapshot=("0.5000", "0.4800")),
        # Bid over the loose one's ask for 600 ms.
        kalshi(NOON + 400, 3, STRICT, delta=("yes", "0.5700", "100.00")),
        kalshi(NOON + 450, 4, STRICT, delta=("no", "0.5800", "-100.00")),
        kalshi(NOON + 1_000, 5, STRICT, delta=("yes", "0.5700", "-100.00")),
        kalshi(NOON + 1_300, 6, STRICT, delta=("yes", "0.5700", "100.00")),
        # Number 7 is missing: nothing is known of these books any more.
        kalshi(NOON + 1_600, 8, LOOSE, delta=("yes", "0.4900", "5.00")), kalshi(NOON + 2_000, 9, LOOSE, delta=("yes", "0.4900", "5.00")),
    ]  # fmt: skip
    ids = [STRICT.market_id, LOOSE.market_id]
    rows = list(rebuilt_rows(frames, Venue.KALSHI, ids, 250))
    assert [(row.ts_ms - NOON, row.market_id == LOOSE.market_id, row.integrity) for row in rows[:2]] == [
        (250, False, OK),
        (250, True, OK),
    ]
    assert {row.integrity for row in rows if row.ts_ms > NOON + 1_600} == {Integrity.GAP}
    walk = Walk(
        [implication()], tied_markets([STRICT, LOOSE], [implication()]), limits=Limits(max_age_ms=0, max_apart_ms=0)
    )
    for row in rows:
        walk.take(row)
    told = walk.finish()
    assert [(e.start_ms - NOON, e.end_ms and e.end_ms - NOON) for e in told.episodes] == [(500, 1_250), (1_500, None)]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 25), ({"convert_fee_bips": 0}, 0), ({"augmented": True}, None), ({"index": 4}, None), ({"index": None}, None),
        ({"exclusive": False}, None),
    ],
)  # fmt: skip
def test_a_whole_neg_risk_set_is_converted_for_the_fee_of_the_listing_or_of_the_settings(
    changes: dict[str, Any], kept: int | None
) -> None:
    markets = [
        msgspec.structs.replace(
            a_market(number),
            venue=Venue.POLYMARKET,
            neg_risk=True,
            close_ts=NOON + 300 * 86_400_000,
            exclusivity=msgspec.structs.replace(
                Exclusivity(exclusive=True, set_id="S", index=place),
                **(changes if place == 2 or "convert_fee_bips" in changes else {}),
            ),
        )
        for place, number in enumerate((1, 2, 3))
    ]
    whole = Constraint(
        relation=Relation.PARTITION, confidence=Confidence.CERTAIN,
        legs=tuple(Leg(venue=m.venue, market_id=m.market_id) for m in markets),
    )  # fmt: skip
    walk = Walk([whole], tied_markets(markets, [whole]), limits=LIMITS, charge_from_ms=NOON, convert_fee_bips=25)
    for market in markets:
        walk.take(Row(NOON, NOON, market.market_id, (Level(4_000, 10**8),), (Level(9_000, 10**8),), OK))
    (episode,) = walk.finish().episodes
    assert check(episode.peak) == []
    assert [release.fee_bips for release in episode.peak.releases] == ([] if kept is None else [kept])

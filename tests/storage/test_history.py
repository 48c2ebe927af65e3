"""The catalogue's history: every scan's changes, as of any time, whatever crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.errors import FileDamaged, NothingStored, StorageError, UsageError
from overround.market import HISTORIC_FIELDS, FeeSchedule, Market, MarketId, MarketStatus, Origin, TickBand, Venue
from overround.scanner import scan
from overround.storage import (
    CatalogueHistory,
    LakePaths,
    catalogue_as_of,
    catalogue_changes,
    catalogue_commits,
    catalogue_spans,
)
from overround.storage.fileops import FileOps
from overround.storage.universe import read_universe
from overround.testing.clock import ManualClock
from overround.testing.disks import Crashed, CrashingDisk, FailingDisk
from overround.testing.markets import a_market

NOON = 1_768_392_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


class Listing:
    def __init__(
        self, markets: Sequence[Market], clock: ManualClock, *, refused: int = 0, by_id: Sequence[Market] = (),
        took_ms: int = 0,
    ) -> None:  # fmt: skip
        self.listed, self.refused, self.by_id = list(markets), refused, list(by_id)
        self.clock, self.took_ms = clock, took_ms

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        for market in self.listed:
            yield market
        self.clock.skip_ms(self.took_ms)

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        return [market for market in self.by_id if market.market_id in market_ids]


def run(
    root: Path, markets: Sequence[Market], at_ms: int, *, refused: int = 0, ops: FileOps | None = None,
    origin: Origin = Origin.LIVE, by_id: Sequence[Market] = (), took_ms: int = 0,
) -> None:  # fmt: skip
    clock = ManualClock(at_ms)
    listing = Listing(markets, clock, refused=refused, by_id=by_id, took_ms=took_ms)
    asyncio.run(scan(listing, LakePaths(root), Venue.KALSHI, clock=clock, origin=origin, ops=ops))


def as_of(root: Path, ts_ms: int, markets: Sequence[MarketId] | None = None) -> dict[MarketId, Market]:
    return catalogue_as_of(LakePaths(root), "kalshi", ts_ms, markets).markets


def told(root: Path, key: str | None = None, **span: int) -> list[tuple[int, str, str, str, Any, Any]]:
    found = catalogue_changes(LakePaths(root), "kalshi", key=key, **span)
    return [(c.at_ms - NOON, c.what.value, c.market_id, c.field, c.before, c.after) for c in found]


def bare(market: Market) -> dict[str, Any]:
    return {name: getattr(market, name) for name in HISTORIC_FIELDS}


def test_a_change_is_kept_with_what_was_before_and_seen_from_its_scan_on(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1), a_market(2)], NOON)
    run(tmp_path, [a_market(1, rules_text="New rules.", close_ts=5, volume_usdc=9.0), a_market(2)], NOON + HOUR)
    m1 = a_market(1).market_id
    assert told(tmp_path, m1) == [
        (0, "listed", m1, "", None, None),
        (HOUR, "changed", m1, "close_ts", a_market(1).close_ts, 5),
        (HOUR, "changed", m1, "rules_text", a_market(1).rules_text, "New rules."),
    ]
    assert as_of(tmp_path, NOON + HOUR - 1)[m1].rules_text == a_market(1).rules_text
    assert as_of(tmp_path, NOON + HOUR)[m1].rules_text == "New rules."
    assert [commit.changes for commit in catalogue_commits(LakePaths(tmp_path), "kalshi")] == [2, 1]


def test_every_described_field_is_kept(tmp_path: Path) -> None:
    first = a_market(1)
    second = a_market(
        1, title="Other?", status=MarketStatus.PAUSED, tags=("x",), tick_grid=(TickBand(0, 10_000, 10),),
        fee=FeeSchedule(multiplier="0.5"), result="yes", outcome_labels=("A", "B"), min_size_e6=7, rewards_daily_usdc=2.5,
    )  # fmt: skip
    run(tmp_path, [first], NOON)
    run(tmp_path, [second], NOON + HOUR)
    fields = {field for _, _, _, field, _, _ in told(tmp_path)} - {""}
    assert fields == {name for name in HISTORIC_FIELDS if getattr(first, name) != getattr(second, name)}
    assert bare(as_of(tmp_path, NOON + HOUR)[first.market_id]) == bare(second)
    assert bare(as_of(tmp_path, NOON)[first.market_id]) == bare(first)


def test_a_market_that_ended_leaves_with_its_end_and_stays_a_leg(tmp_path: Path) -> None:
    a, b = (a_market(number, event_id="KXE") for number in (1, 2))
    end = msgspec.structs.replace(b, status=MarketStatus.RESOLVED, result="yes", close_ts=NOON)
    run(tmp_path, [a, b], NOON)
    run(tmp_path, [a], NOON + HOUR, by_id=[end])
    assert told(tmp_path, b.market_id)[1:] == [
        (HOUR, "left", b.market_id, "status", "active", "resolved"),
        (HOUR, "changed", b.market_id, "close_ts", None, NOON),
        (HOUR, "changed", b.market_id, "result", "", "yes"),
    ]
    assert b.market_id not in as_of(tmp_path, NOON + HOUR)
    assert as_of(tmp_path, NOON + HOUR - 1)[b.market_id].result == "", "nobody knew its result yet"


def test_a_market_that_is_paused_stays_and_its_return_is_seen(tmp_path: Path) -> None:
    a, b = (a_market(number, event_id="KXE") for number in (1, 2))
    paused = msgspec.structs.replace(b, status=MarketStatus.PAUSED)
    run(tmp_path, [a, b], NOON)
    run(tmp_path, [a], NOON + HOUR, by_id=[paused])
    run(tmp_path, [a], NOON + 2 * HOUR, by_id=[paused])
    assert as_of(tmp_path, NOON + 2 * HOUR)[b.market_id].status is MarketStatus.PAUSED
    run(tmp_path, [a, b], NOON + 3 * HOUR)
    assert told(tmp_path, b.market_id)[1:] == [
        (HOUR, "changed", b.market_id, "status", "active", "paused"),
        (3 * HOUR, "changed", b.market_id, "status", "paused", "active"),
    ]


def test_an_end_told_in_the_first_scan_of_a_month_is_kept(tmp_path: Path) -> None:
    january = int(datetime(2026, 1, 31, 23, tzinfo=UTC).timestamp() * 1000)
    run(tmp_path, [a_market(1), a_market(2)], january)
    end = a_market(2, status=MarketStatus.CLOSED)
    run(tmp_path, [a_market(1)], january + 2 * HOUR, by_id=[end])
    assert [(what, after) for _, what, *_, after in told(tmp_path, end.market_id)] == [
        ("listed", None), ("left", "closed"),
    ]  # fmt: skip
    assert set(as_of(tmp_path, january + 2 * HOUR)) == {a_market(1).market_id}


def test_what_moves_with_trades_is_no_change(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1)], NOON)
    run(tmp_path, [a_market(1, volume_usdc=1e6, best_bid_px=0.4, liquidity_usdc=3.0)], NOON + HOUR)
    assert [commit.changes for commit in catalogue_commits(LakePaths(tmp_path), "kalshi")] == [1, 0]
    assert as_of(tmp_path, NOON + HOUR)[a_market(1).market_id].volume_usdc == 0.0


def test_removal_and_return_are_recorded(tmp_path: Path) -> None:
    a, b = a_market(1), a_market(2)
    run(tmp_path, [a, b], NOON)
    run(tmp_path, [a], NOON + HOUR)
    run(tmp_path, [a], NOON + 2 * HOUR)
    run(tmp_path, [a, msgspec.structs.replace(b, title="Back?")], NOON + DAY)
    mine = [(at, what, field) for at, what, market, field, _, _ in told(tmp_path, b.market_id) if market == b.market_id]
    legs = [("leg" in what) for _, what, _ in mine]
    assert [entry for entry, leg in zip(mine, legs, strict=True) if not leg] == [
        (0, "listed", ""), (HOUR, "left", "status"), (DAY, "relisted", ""), (DAY, "changed", "title"),
    ]  # fmt: skip
    assert b.market_id not in as_of(tmp_path, NOON + 2 * HOUR)
    assert as_of(tmp_path, NOON + DAY)[b.market_id].title == "Back?"


@pytest.mark.parametrize("refused", [0, 1])
def test_a_listing_that_is_not_whole_removes_nothing(tmp_path: Path, refused: int) -> None:
    everything = [a_market(number) for number in range(40)]
    run(tmp_path, everything, NOON)
    # Cut to a quarter without an error, or with a record that did not read.
    cut = everything[:10] if refused == 0 else everything[:39]
    run(tmp_path, [*cut, a_market(99)], NOON + HOUR, refused=refused)
    assert len(as_of(tmp_path, NOON + HOUR)) == 41
    assert [what for _, what, _, field, _, _ in told(tmp_path, since_ms=NOON + 1) if field != "legs"] == ["listed"]


def test_a_leg_that_joins_an_event_is_a_change_of_the_event(tmp_path: Path) -> None:
    legs = [a_market(number, event_id="KXE-1") for number in (1, 2)]
    other = a_market(7, event_id="KXE-2")
    run(tmp_path, [*legs, other], NOON)
    run(tmp_path, [*legs, a_market(3, event_id="KXE-1"), other], NOON + HOUR)
    run(tmp_path, [legs[0], a_market(3, event_id="KXE-2"), other], NOON + 2 * HOUR)
    third = a_market(3).market_id
    events = [entry for entry in told(tmp_path, "KXE-1") if entry[3] == "legs"]
    assert events == [
        (HOUR, "leg added", third, "legs", None, third),
        (2 * HOUR, "leg removed", third, "legs", third, None),
        (2 * HOUR, "leg removed", legs[1].market_id, "legs", legs[1].market_id, None),
    ]
    assert events[0] in told(tmp_path, legs[0].market_id), "a market's history tells its event's legs"
    assert (2 * HOUR, "leg added", third, "legs", None, third) in told(tmp_path, other.market_id)
    known = catalogue_as_of(LakePaths(tmp_path), "kalshi", NOON + HOUR)
    assert known.events()["KXE-1"] == (*(leg.market_id for leg in legs), third)


def test_an_event_lists_the_changes_of_its_markets(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1, event_id="KXE-1"), a_market(2, event_id="KXE-9")], NOON)
    run(tmp_path, [a_market(1, event_id="KXE-1", title="T"), a_market(2, event_id="KXE-9", title="U")], NOON + HOUR)
    assert [(what, field) for _, what, _, field, _, _ in told(tmp_path, "KXE-1")] == [
        ("listed", ""), ("changed", "title"),
    ]  # fmt: skip


def test_nothing_was_known_before_the_first_scan(tmp_path: Path) -> None:
    with pytest.raises(NothingStored, match="nothing was known of kalshi"):
        as_of(tmp_path, NOON)
    run(tmp_path, [a_market(1)], NOON)
    with pytest.raises(NothingStored):
        as_of(tmp_path, NOON - 1)


def test_a_repeated_scan_writes_no_change_twice(tmp_path: Path) -> None:
    markets = [a_market(number) for number in range(30)]
    for _ in range(3):
        run(tmp_path, markets, NOON)
    assert [commit.changes for commit in catalogue_commits(LakePaths(tmp_path), "kalshi")] == [30, 0, 0]


def test_a_clock_set_back_never_puts_knowledge_before_what_was_known(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1)], NOON)
    run(tmp_path, [a_market(1, title="Later?")], NOON - HOUR)
    commits = catalogue_commits(LakePaths(tmp_path), "kalshi")
    assert [commit.at for commit in commits] == [NOON, NOON]
    assert [commit.scan for commit in commits] == [NOON, NOON - HOUR]
    run(tmp_path, [a_market(1, title="Latest?")], NOON + HOUR)
    assert as_of(tmp_path, NOON + HOUR)[a_market(1).market_id].title == "Latest?"
    assert [after for *_, after in told(tmp_path)] == [None, "Later?", "Latest?"]


def test_each_month_begins_with_the_whole_listing_and_needs_no_other(tmp_path: Path) -> None:
    january = int(datetime(2026, 1, 31, 23, tzinfo=UTC).timestamp() * 1000)
    run(tmp_path, [a_market(1), a_market(2), a_market(3)], january)
    run(tmp_path, [a_market(1), a_market(2, title="New?")], january + 2 * HOUR)
    run(tmp_path, [a_market(1), a_market(2, title="New?")], january + 3 * HOUR)
    paths = LakePaths(tmp_path)
    names = [path.name for path in paths.history_files("kalshi")]
    assert names == ["changes_2026-01.jsonl.zst", "changes_2026-02.jsonl.zst"]
    assert [(c.checkpoint, c.changes) for c in catalogue_commits(paths, "kalshi")] == [(True, 3), (True, 2), (False, 0)]
    changes = catalogue_changes(paths, "kalshi", since_ms=january + 1)
    assert {(c.what.value, c.market_id, c.field) for c in changes if c.field != "legs"} == {
        ("changed", a_market(2).market_id, "title"), ("left", a_market(3).market_id, "status"),
    }  # fmt: skip
    assert len(as_of(tmp_path, january + HOUR)) == 3, "early in a month the month before answers"
    paths.history_files("kalshi")[0].unlink()
    assert set(as_of(tmp_path, january + 3 * HOUR)) == {a_market(1).market_id, a_market(2).market_id}


def test_markets_can_be_asked_for_by_name(tmp_path: Path) -> None:
    run(tmp_path, [a_market(number) for number in range(9)], NOON)
    two = [a_market(3).market_id, MarketId("KXNONE")]
    assert set(as_of(tmp_path, NOON, two)) == {a_market(3).market_id}


def test_a_history_that_begins_late_takes_the_listing_as_it_is(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1), a_market(2)], NOON)
    for path in LakePaths(tmp_path).history_head("kalshi").parent.iterdir():
        path.unlink()  # a lake of a version without history
    run(tmp_path, [a_market(1)], NOON + HOUR)
    assert set(as_of(tmp_path, NOON + HOUR)) == {a_market(1).market_id}
    assert as_of(tmp_path, NOON + HOUR)[a_market(1).market_id].first_seen_ts == NOON
    with pytest.raises(NothingStored):
        as_of(tmp_path, NOON)


# -- disks and crashes ----------------------------------------------------------------------------------------------


def scenario(at: int) -> list[Market]:
    return [
        *(
            a_market(number, title=f"T{number}{'b' if at and number % 3 == 0 else ''}?")
            for number in range(at, 12 + at)
        ),
    ]


@pytest.mark.parametrize("step", range(12))
def test_a_crash_anywhere_in_a_scan_loses_nothing_and_repeats_nothing(tmp_path: Path, step: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for root in (whole, broken):
        run(root, scenario(0), NOON)
    disk = CrashingDisk(step)
    try:
        run(broken, scenario(2), NOON + HOUR, ops=disk)
    except Crashed:
        pass
    else:
        assert step >= 5, "a scan takes at least so many operations"
    before = as_of(broken, NOON + HOUR)
    assert [bare(m) for m in before.values()] in (
        [bare(m) for m in scenario(0)], [bare(m) for m in scenario(2)],
    ), "one of the two, never a mixture"  # fmt: skip
    for root in (whole, broken):
        run(root, scenario(2), NOON + 2 * HOUR)
        run(root, scenario(1), NOON + 3 * HOUR)
    assert [entry[1:] for entry in told(broken)] == [entry[1:] for entry in told(whole)]
    for ts_ms in (NOON, NOON + 2 * HOUR, NOON + 3 * HOUR):
        assert {k: bare(m) for k, m in as_of(broken, ts_ms).items()} == {
            k: bare(m) for k, m in as_of(whole, ts_ms).items()
        }


def test_a_disk_that_refuses_leaves_history_and_listing_as_they_were(tmp_path: Path) -> None:
    run(tmp_path, scenario(0), NOON)
    paths = LakePaths(tmp_path)
    listing = paths.universe("kalshi", "2026-01-14").read_bytes()
    disk = FailingDisk()
    disk.full = True
    with pytest.raises(StorageError):
        run(tmp_path, scenario(2), NOON + HOUR, ops=disk)
    assert paths.universe("kalshi", "2026-01-14").read_bytes() == listing
    assert len(catalogue_commits(paths, "kalshi")) == 1
    disk.full = False
    run(tmp_path, scenario(2), NOON + 2 * HOUR, ops=disk)
    assert [bare(m) for m in as_of(tmp_path, NOON + 2 * HOUR).values()] == [bare(m) for m in scenario(2)]


def test_a_lost_head_is_made_again(tmp_path: Path) -> None:
    run(tmp_path, scenario(0), NOON)
    LakePaths(tmp_path).history_head("kalshi").unlink()
    run(tmp_path, scenario(2), NOON + HOUR)
    assert [c.checkpoint for c in catalogue_commits(LakePaths(tmp_path), "kalshi")] == [True, False]


def test_an_altered_byte_is_named_not_read_over(tmp_path: Path) -> None:
    run(tmp_path, scenario(0), NOON)
    run(tmp_path, scenario(2), NOON + HOUR)
    (path,) = LakePaths(tmp_path).history_files("kalshi")
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 0x55
    path.write_bytes(body)
    with pytest.raises(FileDamaged, match="changes_2026-01"):
        as_of(tmp_path, NOON + HOUR)


def test_a_shortened_file_is_named(tmp_path: Path) -> None:
    run(tmp_path, scenario(0), NOON)
    (path,) = LakePaths(tmp_path).history_files("kalshi")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileDamaged, match="cut off"):
        as_of(tmp_path, NOON)


# -- against a naive model ------------------------------------------------------------------------------------------

IDS = st.integers(0, 7)
EDIT = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["A?", "B?", "C?"]),
        "rules_text": st.sampled_from(["", "one", "two"]),
        "close_ts": st.one_of(st.none(), st.integers(0, 3)),
        "status": st.sampled_from([MarketStatus.ACTIVE, MarketStatus.PAUSED, MarketStatus.CLOSED]),
        "event_id": st.sampled_from(["KXE-1", "KXE-2", ""]),
        "tags": st.sampled_from([(), ("x",), ("x", "y")]),
        "tick_grid": st.sampled_from([(), (TickBand(0, 10_000, 100),), (TickBand(0, 10_000, 10),)]),
        "fee": st.sampled_from([FeeSchedule(), FeeSchedule(multiplier="0.5")]),
    },
)
SCANS = st.lists(
    st.tuples(
        st.dictionaries(IDS, EDIT, min_size=1),
        st.integers(0, 20 * 24),
        st.booleans(),
        st.dictionaries(IDS, st.sampled_from(MarketStatus)),
        st.integers(0, HOUR),
    ),
    min_size=1,
    max_size=8,
)
GONE = {MarketStatus.CLOSED, MarketStatus.RESOLVED, MarketStatus.VANISHED}


@given(scans=SCANS, data=st.data())
@settings(deadline=None)
def test_as_of_equals_what_a_reader_had(
    tmp_path_factory: pytest.TempPathFactory,
    scans: list[tuple[dict[int, dict[str, Any]], int, bool, dict[int, MarketStatus], int]],
    data: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("lake")
    paths = LakePaths(root)
    now, state = NOON, {}
    model: list[tuple[int, dict[MarketId, dict[str, Any]]]] = []
    for edits, hours, whole, by_id, took_ms in scans:
        now += hours * HOUR + 1
        listed = [a_market(number, **edit) for number, edit in edits.items()]
        answers = [a_market(number, status=status, result="no") for number, status in by_id.items()]
        run(root, listed, now, refused=0 if whole else 1, origin=Origin.SYNTHETIC, by_id=answers, took_ms=took_ms)
        now += took_ms  # what a listing says is known when it has been read and written, not when it was begun
        # What is not in a whole listing is asked for by id, and stays if it is there still.
        still = {m.market_id: bare(m) for m in answers if m.market_id in state and m.status not in GONE}
        state = (still if whole else state) | {market.market_id: bare(market) for market in listed}
        model.append((now, dict(state)))
    instants = [at + shift for at, _ in model for shift in (-1, 0, 1)]
    instant = st.sampled_from(instants) | st.integers(NOON - HOUR, now + HOUR)
    for ts_ms in data.draw(st.lists(instant, min_size=1, max_size=6)):
        had = [known for at, known in model if at <= ts_ms]
        if not had:
            with pytest.raises(NothingStored):
                as_of(root, ts_ms)
            continue
        assert {market_id: bare(market) for market_id, market in as_of(root, ts_ms).items()} == had[-1]
    # The universe file, which readers of today use, says the same as the history now.
    stored = [m for m in read_universe(paths.universes("kalshi")[-1]) if m.status is not MarketStatus.VANISHED]
    assert {m.market_id: bare(m) for m in stored} == model[-1][1]
    # Replaying the changes gives every state again.
    replayed: dict[str, dict[str, Any]] = {}
    by_time: dict[int, list[tuple[str, str, str, Any]]] = {}
    for change in catalogue_changes(paths, "kalshi"):
        by_time.setdefault(change.at_ms, []).append((change.what.value, change.market_id, change.field, change.after))
    gone: dict[str, dict[str, Any]] = {}
    plain = {at: {k: msgspec.json.decode(msgspec.json.encode(v)) for k, v in known.items()} for at, known in model}
    for at, known in plain.items():
        for what, market_id, name, after in by_time.get(at, []):
            if what == "listed":
                replayed[market_id] = dict(known[market_id])
            elif what == "relisted":
                replayed[market_id] = gone[market_id]
            elif what == "left":
                gone[market_id] = replayed.pop(market_id)
                gone[market_id]["status"] = after or gone[market_id]["status"]
            elif what == "changed":
                (replayed if market_id in replayed else gone)[market_id][name] = after
        assert replayed == known
    # Spans: at each instant exactly the markets listed then, with the values they had.
    spans = catalogue_spans(paths, "kalshi", fields=["title", "close_ts", "tags"]).collect()
    for at, known in plain.items():
        valid = spans.filter((pl.col("from_ms") <= at) & (pl.col("to_ms").is_null() | (pl.col("to_ms") > at)))
        assert {row["market_id"]: (row["title"], row["close_ts"]) for row in valid.iter_rows(named=True)} == {
            market_id: (values["title"], values["close_ts"]) for market_id, values in known.items()
        }


def test_rows_joined_by_spans_never_see_later_knowledge(tmp_path: Path) -> None:
    run(tmp_path, [a_market(1, title="Old?"), a_market(2)], NOON)
    run(tmp_path, [a_market(1, title="New?")], NOON + HOUR)
    m1, m2 = a_market(1).market_id, a_market(2).market_id
    rows = pl.LazyFrame(
        {"ts_recv": [NOON - 1, NOON, NOON + HOUR - 1, NOON + HOUR, NOON + HOUR], "market_id": [m1, m1, m1, m1, m2]}
    ).sort("ts_recv")
    spans = catalogue_spans(LakePaths(tmp_path), "kalshi", fields=["title"])
    joined = rows.join_asof(
        spans.sort("from_ms"), left_on="ts_recv", right_on="from_ms", by="market_id", check_sortedness=False
    )
    valid = pl.when(pl.col("to_ms").is_null() | (pl.col("ts_recv") < pl.col("to_ms"))).then("title")
    found = joined.with_columns(title=valid).collect().sort("ts_recv", "market_id")["title"].to_list()
    assert found == [None, "Old?", "Old?", "New?", None]


def test_a_field_without_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'volume_usdc' has no history"):
        catalogue_spans(LakePaths(tmp_path), "kalshi", fields=["title", "volume_usdc"])


def test_two_scans_at_once_do_not_mix(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    history = CatalogueHistory(paths, "kalshi")

    async def both() -> None:
        clock = ManualClock(NOON)
        await asyncio.gather(
            *(
                scan(Listing(scenario(n), clock), paths, Venue.KALSHI, clock=clock, origin=Origin.LIVE)
                for n in (0, 1, 2, 3)
            )
        )

    asyncio.run(both())
    commits = catalogue_commits(paths, "kalshi")
    assert len(commits) == 4
    stored = [m for m in read_universe(paths.universes("kalshi")[-1]) if m.status is not MarketStatus.VANISHED]
    assert {m.market_id: bare(m) for m in stored} == {k: bare(m) for k, m in as_of(tmp_path, NOON).items()}
    with history.held():
        pass

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.book import Book
from overround.collector.silence import (
    Answer,
    Check,
    ConnectionSeen,
    Fault,
    Finding,
    SilenceDecider,
    Why,
    compare,
)
from overround.config import SilenceSettings
from overround.market import ErrCode, MarketId
from overround.venue import RestBook

STEP = 500


def book(*, live: bool = True, seq: int = 1) -> Book:
    made = Book(seq=seq)
    made.live = made.had_book = live
    made.bids = {4_000: seq}
    return made


class Venue:
    """Connections of a venue whose REST is always right; time moves in the watch's steps.

    Attributes
    ----------
    lines : dict
        Connection to its books; None stands for one that is down.
    truth : dict
        What REST shows of a market; absent: no book.
    """

    def __init__(self, *, slots: int = 1, markets: int = 4, batch: int = 100, **changed: object) -> None:
        self.settings = SilenceSettings(**changed)  # type: ignore[arg-type]
        self.decider = SilenceDecider(self.settings, batch=batch)
        self.now_ms = 1_000_000
        self.lines = {str(slot): {MarketId(f"{slot}/{n}"): book() for n in range(markets)} for slot in range(slots)}
        self.opened: dict[str, int | None] = dict.fromkeys(self.lines, 1)
        self.truth = {m: dict(held.bids) for books in self.lines.values() for m, held in books.items()}
        self.checks: list[tuple[int, Check]] = []
        self.paused = self.rest_down = False

    def held(self, market_id: str) -> Book:
        return self.lines[market_id.split("/", maxsplit=1)[0]][MarketId(market_id)]

    def change(self, market_id: str, *, reaches_us: bool = True) -> None:
        """The market's book changes at the venue; perhaps nobody tells us."""
        bids = self.truth[MarketId(market_id)] = {4_000: self.truth[MarketId(market_id)][4_000] + 1}
        if reaches_us:
            self.held(market_id).bids = dict(bids)
            self.held(market_id).seq += 1

    def run(self, ms: int, each: Callable[[int], None] = lambda _: None) -> list[tuple[int, Finding]]:
        """Let time pass; ``each`` is called every step. Returns findings with the milliseconds they took."""
        begun, found = self.now_ms, []
        while self.now_ms < begun + ms and not found:
            self.now_ms += STEP
            each(self.now_ms - begun)
            seen = [ConnectionSeen(slot, self.opened[slot], books) for slot, books in self.lines.items()]
            for check in self.decider.observe(seen, now_ms=self.now_ms, paused=self.paused):
                self.checks.append((self.now_ms - begun, check))
                if self.rest_down:
                    self.decider.failed(check, now_ms=self.now_ms)
                    continue
                answers = {m: compare(self.held(m), self.rest(m), asked_seq=self.held(m).seq) for m in check.market_ids}
                told = self.decider.answered(check, answers, now_ms=self.now_ms)
                found += [(self.now_ms - begun, finding) for finding in told]
        return found

    def rest(self, market_id: MarketId) -> RestBook | None:
        bids = self.truth.get(market_id)
        return None if bids is None else RestBook(market_id=market_id, bids=dict(bids), asks={})

    def speak(self, *market_ids: str, every_ms: int = 1_000) -> Callable[[int], None]:
        return lambda at: [self.change(m) for m in market_ids if at % every_ms == 0] and None

    def whys(self) -> set[Why]:
        return {check.why for _, check in self.checks}


def learnt(**changed: object) -> Venue:
    """Two connections whose first market has spoken every second for an hour."""
    venue = Venue(slots=2, **changed)
    assert venue.run(3_600_000, venue.speak("0/0", "1/0")) == []
    venue.checks.clear()
    return venue


# -- comparing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "asked_seq", "expected"),
    [
        (None, 7, Answer.ABSENT),
        ({"bids": {4_000: 7}}, 7, Answer.SAME),
        ({"bids": {4_000: 7}}, 6, Answer.SAME),
        ({"bids": {4_000: 8}}, 7, Answer.DIFFERENT),
        ({"bids": {4_000: 8}}, 6, Answer.UNKNOWN),
        ({"bids": {4_000: 8}, "ts_venue_ms": 99}, 7, Answer.UNKNOWN),
        ({"bids": {4_000: 8}, "ts_venue_ms": 101}, 7, Answer.DIFFERENT),
        ({"bids": {4_000: 8}, "hash_ok": False}, 7, Answer.UNKNOWN),
    ],
    ids=["absent", "same", "same, though overtaken", "different", "overtaken", "older", "newer", "wrong hash"],
)
def test_what_a_rest_book_says_of_the_held_one(
    rest: dict[str, object] | None, asked_seq: int, expected: Answer
) -> None:
    held = book(seq=7)
    held.ts_venue_ms = 100
    told = None if rest is None else RestBook(market_id=MarketId("m"), asks={}, **rest)  # type: ignore[arg-type]
    assert compare(held, told, asked_seq=asked_seq) is expected


# -- freezes -----------------------------------------------------------------------------------------------------


def test_a_connection_frozen_while_it_normally_speaks_every_second_is_found_within_fifteen_seconds() -> None:
    venue = learnt()

    def frozen(at: int) -> None:
        if at % 1_000 == 0:
            venue.change("0/0", reaches_us=False)
            venue.change("1/0")

    ((took_ms, finding),) = venue.run(60_000, frozen)
    assert (finding.fault, finding.slot) == (Fault.FROZEN, "0")
    assert took_ms <= 15_000


@pytest.mark.parametrize("stalled_ms", [4_000, 10_000])
def test_a_connection_whose_frames_are_late_is_not_frozen(stalled_ms: int) -> None:
    venue = learnt()

    def stalled(at: int) -> None:
        """Once a minute everything is late, and then comes at once."""
        late = at % 60_000 < stalled_ms
        if at % 1_000 == 0:
            venue.change("0/0", reaches_us=not late)
            venue.change("1/0")

    assert venue.run(3_600_000, stalled) == []


def test_a_quiet_connection_is_not_frozen_as_long_as_rest_agrees() -> None:
    venue = learnt()
    assert venue.run(3 * 3_600_000) == []
    assert Why.SILENCE in venue.whys()
    assert venue.decider.differences == 0


def test_a_book_that_the_socket_overtakes_in_time_is_no_fault() -> None:
    venue = learnt()
    held = venue.held("0/0")

    def late(at: int) -> None:
        """REST shows each change one and a half seconds before the socket does, once a minute."""
        if at % 60_000 == 20_000:
            venue.change("0/0", reaches_us=False)
        if at % 60_000 == 21_500:
            held.bids, held.seq = dict(venue.truth[MarketId("0/0")]), held.seq + 1

    assert venue.run(3_600_000, late) == []


def test_after_a_freeze_was_found_the_new_connection_gets_its_time() -> None:
    venue = learnt()
    assert venue.run(60_000, lambda at: venue.change("0/0", reaches_us=False) if at % 1_000 == 0 else None)
    venue.opened["0"] = None
    assert venue.run(5_000) == []
    venue.opened["0"] = 2
    for m in venue.lines["0"]:
        venue.held(m).bids, venue.held(m).seq = dict(venue.truth[m]), venue.held(m).seq + 1
    assert venue.run(600_000, venue.speak("0/0", "1/0")) == []


def test_a_connection_that_is_down_is_not_looked_at() -> None:
    venue = learnt()
    venue.opened["0"] = None
    venue.change("0/1", reaches_us=False)
    assert venue.run(600_000, venue.speak("1/0")) == []
    assert all(not m.startswith("0/") for _, check in venue.checks for m in check.market_ids)


# -- mute markets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begins_s", range(0, 60, 7))
def test_a_mute_market_is_found_within_sixty_seconds_of_its_first_missed_change(begins_s: int) -> None:
    venue = learnt()
    venue.run(begins_s * 1_000 + 500, venue.speak("0/0", "1/0"))
    venue.change("0/2", reaches_us=False)
    ((took_ms, finding),) = venue.run(120_000, venue.speak("0/0", "1/0"))
    assert (finding.fault, finding.slot, finding.market_ids) == (Fault.MUTE, "0", (MarketId("0/2"),))
    assert took_ms <= 60_000


def test_a_market_that_falls_mute_out_of_its_habit_is_looked_up_early() -> None:
    venue = Venue()
    for _ in range(4):  # its limit falls by half in half an hour
        venue.run(3_600_000, venue.speak("0/0", "0/1"))

    def mute(at: int) -> None:
        if at % 1_000 == 0:
            venue.change("0/0")
            venue.change("0/1", reaches_us=False)

    ((took_ms, finding),) = venue.run(60_000, mute)
    assert (finding.fault, finding.market_ids) == (Fault.MUTE, (MarketId("0/1"),))
    assert took_ms <= 25_000


def test_every_live_market_is_audited_within_its_time_and_a_rotation_costs_few_requests() -> None:
    venue = Venue(markets=250)
    venue.run(600_000)
    asked = [m for _, check in venue.checks for m in check.market_ids]
    assert set(asked) == set(venue.lines["0"])
    rounds = 600_000 / (venue.settings.audit_after_secs * 1_000 * 0.8)
    assert len(venue.checks) <= 3 * rounds * 1.5, "250 books in batches of 100"


@given(
    markets=st.integers(1, 60),
    batch=st.integers(1, 24),
    busy=st.sets(st.integers(0, 59)),
    every_ms=st.sampled_from([STEP, 2_000, 7_000]),
)
@settings(max_examples=40, deadline=None)
def test_every_live_market_has_its_turn_in_a_bounded_time_however_busy_or_quiet_it_is(
    markets: int, batch: int, busy: set[int], every_ms: int
) -> None:
    venue = Venue(markets=markets, batch=batch, audit_after_secs=5)
    venue.run(150_000, venue.speak(*(f"0/{n}" for n in busy if n < markets), every_ms=every_ms))
    bound_ms = 4 * 5_000 + 3_000 * math.ceil(markets / max(1, batch // 4)) + STEP
    asked: dict[MarketId, list[int]] = defaultdict(lambda: [0])
    for at_ms, check in venue.checks:
        assert len(check.market_ids) <= batch
        for market_id in check.market_ids:
            asked[market_id].append(at_ms)
    for market_id in venue.lines["0"]:
        times = [*asked[market_id], 150_000]
        assert max(after - before for before, after in pairwise(times)) <= bound_ms
    audits = [at_ms for at_ms, check in venue.checks if check.why is Why.AUDIT]
    assert all(after - before >= 3_000 for before, after in pairwise(audits)), "the request budget"


def test_turns_cost_a_busy_venue_fewer_requests_than_a_quiet_one_costs_anyhow() -> None:
    quiet, busy = Venue(markets=250), Venue(markets=250)
    quiet.run(600_000)
    busy.run(600_000, busy.speak(*busy.lines["0"]))
    assert 9 <= len(busy.checks) < len(quiet.checks) / 2


def test_markets_that_are_closed_or_not_live_are_not_audited() -> None:
    venue = Venue()
    closed = venue.held("0/1")
    closed.live, closed.err = False, ErrCode.CLOSED
    venue.run(300_000, venue.speak("0/0"))
    assert MarketId("0/1") not in {m for _, check in venue.checks for m in check.market_ids}


def test_a_market_that_ended_unheard_is_found_gone_once_rest_denies_it_again() -> None:
    venue = learnt()
    del venue.truth[MarketId("0/1")]
    ((took_ms, finding),) = venue.run(120_000, venue.speak("0/0", "1/0"))
    assert finding == Finding(fault=Fault.GONE, slot="0", market_ids=(MarketId("0/1"),), by=Why.CONFIRM)
    assert took_ms <= 45_000 + 3_000 + venue.settings.mute_tolerance_ms + 2 * STEP


def test_a_market_that_speaks_or_is_there_again_is_not_gone() -> None:
    venue = learnt()
    there = venue.truth.pop(MarketId("0/1"))

    def speaks(at_ms: int) -> None:
        venue.speak("0/0", "1/0")(at_ms)
        if any(MarketId("0/1") in check.market_ids for _, check in venue.checks):
            venue.held("0/1").seq += 1

    assert venue.run(120_000, speaks) == []
    venue.checks.clear()

    def comes_back(at_ms: int) -> None:
        venue.speak("0/0", "1/0")(at_ms)
        if any(MarketId("0/1") in check.market_ids for _, check in venue.checks):
            venue.truth[MarketId("0/1")] = there

    assert venue.run(120_000, comes_back) == []


def test_where_rest_has_no_book_at_all_nobody_is_gone() -> None:
    venue = learnt()
    venue.truth.clear()
    assert venue.run(600_000) == []
    assert Why.CONFIRM in venue.whys()


# -- first books ---------------------------------------------------------------------------------------------------


def test_a_missing_first_book_is_found_when_rest_has_one() -> None:
    venue = learnt()
    late = MarketId("0/9")
    venue.lines["0"][late] = book(live=False, seq=0)
    assert venue.run(30_000, venue.speak("0/0", "1/0")) == [], "REST has none either: a market just listed"
    venue.truth[late] = {4_000: 1}
    ((took_ms, finding),) = venue.run(90_000, venue.speak("0/0", "1/0"))
    assert (finding.fault, finding.market_ids) == (Fault.MISSING_BOOK, (late,))
    new = MarketId("0/8")
    venue.lines["0"][new] = book(live=False, seq=0)
    venue.truth[new] = {4_000: 1}
    ((took_ms, finding),) = venue.run(90_000, venue.speak("0/0", "1/0"))
    assert finding.market_ids == (new,)
    assert took_ms <= 11_000


# -- what must not cry ---------------------------------------------------------------------------------------------


def test_in_a_pause_nothing_is_expected_and_nothing_is_learnt() -> None:
    venue = learnt()
    before = venue.decider.rates("0", now_ms=venue.now_ms)
    venue.paused = True
    for m in venue.truth:
        venue.truth[m] = {}
    assert venue.run(7_200_000) == []
    assert venue.checks == []
    after = venue.decider.rates("0", now_ms=venue.now_ms)
    assert after == pytest.approx(before, rel=0.01)


def test_while_rest_does_not_answer_it_is_asked_ever_more_slowly_and_nobody_is_convicted() -> None:
    venue = learnt()
    venue.rest_down = True
    assert venue.run(1_800_000) == []
    assert len(venue.checks) <= 40
    venue.rest_down = False
    venue.change("0/0", reaches_us=False)
    assert [finding.fault for _, finding in venue.run(300_000)] == [Fault.FROZEN], "it used to speak every second"


def test_one_wrong_book_of_a_connection_on_which_little_was_due_is_a_mute_market() -> None:
    venue = Venue()
    assert venue.run(3_600_000) == []
    venue.change("0/1", reaches_us=False)
    assert [finding.fault for _, finding in venue.run(120_000)] == [Fault.MUTE]
    two = Venue()
    assert two.run(3_600_000) == []
    two.change("0/1", reaches_us=False)
    two.change("0/2", reaches_us=False)
    assert [finding.fault for _, finding in two.run(120_000)] == [Fault.FROZEN], "two of them are no chance"


def test_a_venue_whose_clock_of_looks_pauses_for_a_night_convicts_nobody() -> None:
    venue = learnt()
    venue.now_ms += 8 * 3_600_000
    assert venue.run(120_000, venue.speak("0/0", "1/0")) == []

from __future__ import annotations

import pytest

from overround.exchange.deliveries import Delivery, Told
from overround.pipelines.gap_check import check_gaps
from overround.pipelines.loss_oracle import Deliveries
from overround.pipelines.selftest import held_at_end

LINK, KEY = "polymarket-1", "m"


def line(ts_ms: int, told: str, number: int = 0, *, level: int = 100, link: str = LINK, key: str = KEY) -> Delivery:
    of_link = told in {"opened", "ended"}
    anywhere = told in {"happened", "rest"}
    return Delivery(ts_ms, Told(told), "" if anywhere else link, "" if of_link else key, number, level)


def happens(ts_ms: int, number: int, *, level: int = 100, sent: bool = True, link: str = LINK) -> list[Delivery]:
    told = [line(ts_ms, "happened", number, level=level)]
    return [*told, line(ts_ms, "change", number, link=link)] if sent else told


START = [line(0, "opened"), line(1, "book", 0)]


def read(*lines: Delivery, absolute: bool = True, end_ms: int = 10_000) -> Deliveries:
    return Deliveries([*START, *lines], end_ms=end_ms, absolute=absolute)


def losses(found: Deliveries) -> list[tuple[int, int | None, int, bool]]:
    return [(loss.start_ms, loss.end_ms, loss.changes, loss.traceless) for loss in found.losses]


def test_what_is_sent_at_once_is_not_lost() -> None:
    found = read(*happens(100, 1), *happens(200, 2))
    assert (losses(found), found.delays, found.whole) == ([], [], True)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_dropped_change_is_lost_until_the_next_whole_book(*, absolute: bool) -> None:
    found = read(
        *happens(100, 1, sent=False), *happens(200, 2, level=-300), line(700, "book", 2), absolute=absolute
    )  # fmt: skip
    assert losses(found) == [(100, 700, 1, False)]
    assert found.whole


def test_without_a_whole_book_it_stays_lost() -> None:
    found = read(*happens(100, 1, sent=False), *happens(200, 2, level=-300))
    assert losses(found) == [(100, None, 1, False)]
    assert not found.whole


def test_an_absolute_level_heals_when_the_same_level_changes_again() -> None:
    lost = happens(100, 1, sent=False)
    seen = happens(200, 2, level=-300)
    again = happens(300, 3)
    assert losses(read(*lost, *seen, *again)) == [(100, 300, 1, False)]
    assert losses(read(*lost, *seen, *again, absolute=False)) == [(100, None, 1, False)]


def test_overwritten_by_the_very_next_frame_a_loss_leaves_no_trace_where_nothing_is_numbered() -> None:
    lost = happens(100, 1, sent=False)
    assert losses(read(*lost, *happens(300, 2))) == [(100, 300, 1, True)]
    assert losses(read(*lost, line(300, "book", 1))) == [(100, 300, 1, True)]
    assert losses(read(*lost, line(300, "book", 1), absolute=False)) == [(100, 300, 1, False)]


def test_a_connection_that_ends_leaves_a_trace_whatever_comes_next() -> None:
    found = read(
        line(50, "ended"), *happens(100, 1, sent=False), line(200, "opened", link="p-2"), line(300, "book", 1, link="p-2")
    )  # fmt: skip
    assert losses(found) == [(100, 300, 1, False)]
    assert found.link_ends == [(LINK, 50, 1, (KEY,))]


def test_a_change_before_the_first_book_of_its_connection_tells_nothing() -> None:
    found = read(line(50, "ended"), line(60, "opened", link="p-2"), *happens(100, 1, link="p-2"))
    assert losses(found) == [(100, None, 1, False)]


def test_what_arrives_after_all_is_late() -> None:
    found = read(line(100, "happened", 1), *happens(200, 2, level=-300), line(900, "change", 1))
    assert losses(found) == []
    assert [(late.start_ms, late.end_ms) for late in found.delays] == [(100, 900)]


def test_unsubscribed_for_good_nothing_is_lost_but_a_resubscription_was_a_repair() -> None:
    gone = [line(100, "unsubscribed"), *happens(200, 1, sent=False)]
    assert losses(read(*gone)) == []
    assert losses(read(*gone, line(500, "book", 1))) == [(200, 500, 1, False)]


def test_a_canarys_second_ear_delivers_nothing() -> None:
    main = [line(2, "book", 0, key=f"other-{n}") for n in range(5)]
    ear = [line(3, "opened", link="ear"), line(4, "book", 0, link="ear")]
    found = read(
        *main, *ear, *happens(100, 1, sent=False), line(100, "change", 1, link="ear"), line(200, "happened", 2)
    )
    assert found.canaries == {"ear"}
    assert losses(found) == [(100, None, 2, False)]


def test_a_forged_change_needs_a_whole_book() -> None:
    # Also where the book comes within the same millisecond, and whatever other change comes before it.
    forged = line(100, "forged")
    assert losses(read(forged, line(500, "book", 0), absolute=False)) == [(100, 500, 1, False)]
    assert losses(read(forged, *happens(200, 1), absolute=False)) == [(100, None, 1, False)]
    assert losses(read(forged, line(100, "book", 0), *happens(200, 1), absolute=False)) == [(100, 100, 1, False)]
    assert losses(read(line(50, "ended"), forged, absolute=False)) == [], "it reached nobody"


DROP = {"kind": "drop", "ts_ms": 90, "ended_ms": 110, "last_ms": 100, "connections": [LINK], "markets": {}}


@pytest.mark.parametrize(
    ("gap", "unrecorded", "invented"),
    [
        ((60, 720), 0, 0),
        ((60, 699), 0, 0),  # the clocks' milliseconds
        ((60, 650), 1, 0),
        ((200, 720), 1, 0),
        ((60, 5_000), 0, 1),
        (None, 1, 0),
        ((8_000, 8_100), 1, 1),
    ],
)
def test_gaps_must_cover_what_was_lost_and_no_more(gap: tuple[int, int] | None, unrecorded: int, invented: int) -> None:
    found = read(*happens(60, 1), *happens(100, 2, sent=False), *happens(300, 3, level=-300), line(700, "book", 3))
    check = check_gaps(found, {KEY: [gap]} if gap else {}, [DROP], detected={}, interval_ms=1_000, audit_ms=0)
    assert (len(check.unrecorded), len(check.invented)) == (unrecorded, invented)
    assert (check.lost_changes, check.lost_ms) == (1, 600)


def test_a_calm_run_may_record_no_gap() -> None:
    check = check_gaps(read(*happens(100, 1)), {KEY: [(100, 200)]}, [], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.invented) == 1


def test_a_change_is_missed_from_the_receipt_of_the_frame_before_it() -> None:
    before = Delivery(100, Told.CHANGE, LINK, KEY, 1, 0, 77)
    lines = [*START, line(100, "happened", 1), before, *happens(101, 2, sent=False), *happens(300, 3, level=-300)]
    found = Deliveries(lines, end_ms=10_000, absolute=True, received={77: [140, 900]})
    assert losses(found) == [(140, None, 1, False)]


@pytest.mark.parametrize(
    ("kind", "noticed_ms", "ended_ms", "overlooked", "took_ms"),
    [
        ("mute_token", 20_000, 21_000, 0, 19_900),
        ("mute_token", 70_000, 71_000, 1, 0),
        ("mute_token", None, 80_000, 1, 0),
        ("mute_token", None, 30_000, 0, 0),  # it ended before it had to be noticed
        ("silence", 20_000, 20_010, 0, 19_900),
        ("silence", 1_000, 80_000, 1, 0),  # a gap of before is not the detection
    ],
)
def test_what_no_frame_shows_must_be_noticed_within_a_minute(
    kind: str, noticed_ms: int | None, ended_ms: int, overlooked: int, took_ms: int
) -> None:
    fault = {
        "kind": kind,
        "ts_ms": 90,
        "first_ms": 100,
        "ended_ms": ended_ms,
        "until_ms": None,
        "connections": [LINK],
        "markets": {KEY: {"frames": 9, "first_ms": 100, "last_ms": ended_ms}},
    }
    detected = {} if noticed_ms is None else {KEY: [noticed_ms]}
    check = check_gaps(read(end_ms=90_000), {}, [fault], detected=detected, interval_ms=1_000, audit_ms=0)
    assert (len(check.overlooked), check.longest_found_ms if not overlooked else 0) == (overlooked, took_ms)


def test_the_same_bytes_sent_again_are_received_again() -> None:
    again = Delivery(500, Told.BOOK, LINK, KEY, 1, 0, 77)
    lines = [*START, *happens(100, 1), again, *happens(501, 2, sent=False), *happens(800, 3, level=-300)]
    found = Deliveries(lines, end_ms=10_000, absolute=True, received={77: [140, 530]})
    assert losses(found) == [(530, None, 1, False)]


MUTE = {
    "kind": "mute_token",
    "ts_ms": 90,
    "first_ms": 100,
    "ended_ms": 600,
    "connections": [LINK],
    "markets": {KEY: {"frames": 1, "first_ms": 100, "last_ms": 100}},
}
BREAK = {"kind": "sequence_gap", "ts_ms": 500, "ended_ms": 500, "connections": [LINK], "markets": {}}


@pytest.mark.parametrize(
    ("faults", "spoke", "gap", "masked", "unrecorded"),
    [
        ([MUTE, BREAK], False, (480, 700), 1, 0),
        ([MUTE, BREAK], False, (1, 700), 0, 0),  # recorded after all
        ([MUTE, BREAK], True, (480, 700), 0, 1),  # what the market said then contradicted its book
        ([MUTE], False, (480, 700), 0, 1),  # nothing else happened: it had to be found
        ([BREAK], False, (480, 700), 0, 1),
        ([MUTE, BREAK], False, (600, 700), 0, 1),  # the interruption itself is not covered
        ([MUTE, BREAK], False, None, 0, 1),
    ],
)
def test_a_loss_without_a_number_is_masked_by_the_interruption_that_ends_it(
    faults: list[dict[str, object]], *, spoke: bool, gap: tuple[int, int] | None, masked: int, unrecorded: int
) -> None:
    said = happens(300, 2, level=-300) if spoke else []
    found = read(*happens(100, 1, sent=False), *said, line(700, "book", 2), absolute=False)
    gaps = {KEY: [gap]} if gap else {}
    check = check_gaps(found, gaps, faults, detected={}, interval_ms=1_000, audit_ms=0)
    assert (check.masked_changes, len(check.unrecorded)) == (masked, unrecorded)


def test_what_was_under_way_when_a_connection_ended_arrives_before_anything_is_missed() -> None:
    before = Delivery(100, Told.CHANGE, LINK, KEY, 1, 0, 77)
    lines = [*START, line(100, "happened", 1), before, line(102, "ended"), *happens(105, 2, sent=False)]
    found = Deliveries(lines, end_ms=10_000, absolute=True, received={77: [140]})
    assert losses(found) == [(140, None, 1, False)]


def test_a_forged_change_is_wrong_from_its_receipt_on() -> None:
    forged = Delivery(520, Told.FORGED, LINK, KEY, 0, 0, 77)
    lines = [*START, forged, line(900, "book", 0)]
    found = Deliveries(lines, end_ms=10_000, absolute=False, received={77: [560]})
    assert losses(found) == [(560, 900, 1, False)]


def numbered(*lines: Delivery, over: dict[str, int] | None = None, end_ms: int = 10_000) -> Deliveries:
    """A numbered stream whose frames were received ten milliseconds after they were sent."""
    received = {one.frame: [one.ts_ms + 10] for one in lines if one.frame}
    return Deliveries([*START, *lines], end_ms=end_ms, absolute=False, over=over, received=received)


def sent_late(ts_ms: int, number: int, *, place: int, told: str = "change", key: str = KEY) -> Delivery:
    return Delivery(ts_ms, Told(told), LINK, key, number, 0, 1000 + ts_ms + place, place)


def test_on_a_stream_that_is_late_as_a_whole_a_change_is_missed_when_its_turn_is_over() -> None:
    # The third change happens while the first is still under way, and a book made after it overtakes it.
    lines = [line(100, "happened", 1), line(200, "happened", 2), line(900, "happened", 3)]
    lines += [sent_late(1_600, 1, place=1), sent_late(1_700, 2, place=2)]
    lines += [sent_late(2_000, 3, place=3, told="book")]
    assert losses(numbered(*lines)) == [(1_710, 2_000, 1, False)]
    # A print, of another subscription, overtakes them without saying so; an answer of their own is numbered after them.
    printed, answered = Delivery(1_000, Told.OTHER, LINK), Delivery(1_000, Told.OTHER, LINK, place=3)
    assert losses(numbered(*lines[:3], printed, *lines[3:])) == [(1_710, 2_000, 1, False)]
    assert losses(numbered(*lines[:3], answered, *lines[3:])) == [(900, 2_000, 1, False)]
    # Dropped from a stream that is not late it is missed from its happening on, whatever is late besides.
    at_once = [line(100, "happened", 1), line(200, "happened", 2), sent_late(201, 2, place=2)]
    found = numbered(*at_once, sent_late(1_600, 3, place=3, told="book"), sent_late(1_700, 1, place=1))
    assert losses(found) == [(100, 1_600, 1, False)]


@pytest.mark.parametrize(
    ("gap", "unrecorded"), [((1_705, 2_010), 0), ((1_800, 2_010), 1), ((100, 1_500), 1), (None, 1)]
)
def test_what_a_late_stream_skipped_must_be_recorded_from_the_last_frame_before_it(
    gap: tuple[int, int] | None, unrecorded: int
) -> None:
    lines = [line(100, "happened", 1), line(900, "happened", 2), sent_late(1_700, 1, place=1)]
    found = numbered(*lines, sent_late(2_000, 2, place=2, told="book"))
    check = check_gaps(found, {KEY: [gap]} if gap else {}, [DROP], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.unrecorded) == unrecorded


def test_where_nothing_is_numbered_only_the_markets_own_frames_tell_its_turn() -> None:
    other = [line(150, "happened", 1, key="n"), sent_late(1_700, 1, place=2, key="n")]
    lines = [line(5, "book", 0, key="n"), line(100, "happened", 1), *other, line(2_000, "book", 1)]
    assert losses(read(*lines)) == [(100, 2_000, 1, True)]


def test_frames_made_before_a_loss_are_no_trace_of_it_however_late_they_come() -> None:
    old, lost = line(100, "happened", 1), line(900, "happened", 2)
    book = line(1_700, "book", 2)
    assert losses(read(old, lost, sent_late(1_600, 1, place=1), book)) == [(900, 1_700, 1, True)]
    # One made after it is.
    seen = [line(950, "happened", 3, level=-300), sent_late(1_600, 3, place=3)]
    assert losses(read(old, line(100, "change", 1), lost, *seen, line(1_700, "book", 3))) == [(900, 1_700, 1, False)]


def test_a_change_under_way_that_rest_overtakes_is_late_but_one_that_was_passed_is_lost() -> None:
    held_up = [line(100, "happened", 1), line(900, "rest", 1), sent_late(1_500, 1, place=1)]
    found = numbered(*held_up)
    assert (losses(found), [(late.start_ms, late.end_ms) for late in found.delays]) == ([], [(100, 1_500)])
    passed = [line(100, "happened", 1), *happens(200, 2), line(900, "rest", 2), sent_late(1_500, 1, place=1)]
    assert losses(numbered(*passed)) == [(100, 900, 1, False)]


@pytest.mark.parametrize(("gap", "unrecorded"), [((95, 600), 0), ((95, 400), 1), (None, 1)])
def test_a_market_that_is_over_owes_nobody_a_book_but_what_it_lost_before_is_lost(
    gap: tuple[int, int] | None, unrecorded: int
) -> None:
    lines = [*happens(100, 1, sent=False), *happens(200, 2, sent=False, level=-300), line(5_000, "rest", 2)]
    found = Deliveries([*START, *lines], end_ms=10_000, absolute=True, over={KEY: 600})
    assert losses(found) == [(100, 600, 2, False)]
    check = check_gaps(found, {KEY: [gap]} if gap else {}, [DROP], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.unrecorded) == unrecorded


def test_what_a_stall_held_up_until_its_market_was_over_is_late() -> None:
    stalled = [line(100, "happened", 1), line(200, "happened", 2), line(700, "unsubscribed")]
    arrived = [sent_late(900, 1, place=1), sent_late(901, 1, place=1, told="book"), sent_late(902, 2, place=2)]
    found = Deliveries([*START, *stalled, *arrived], end_ms=10_000, absolute=True, over={KEY: 600})
    assert (losses(found), len(found.delays)) == ([], 2)
    # Something made after it had come before the market was over.
    passed = [line(100, "happened", 1), *happens(200, 2, level=-300), line(900, "change", 1), line(901, "book", 2)]
    found = Deliveries(
        [*START, *passed[:3], line(700, "unsubscribed"), *passed[3:]], end_ms=9_000, absolute=True, over={KEY: 600}
    )
    assert losses(found) == [(100, 600, 1, False)]


@pytest.mark.parametrize(("over_ms", "overlooked"), [(90, 0), (30_000, 0), (None, 1)])
def test_nobody_need_notice_that_a_market_is_mute_which_is_over(over_ms: int | None, overlooked: int) -> None:
    over = {} if over_ms is None else {KEY: over_ms}
    found = Deliveries([*START], end_ms=90_000, absolute=True, over=over)
    check = check_gaps(found, {}, [MUTE | {"ended_ms": 80_000}], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.overlooked) == overlooked


@pytest.mark.parametrize(("gap", "unrecorded"), [((98, 99), 0), ((103, 103), 0), ((80, 90), 1), (None, 1)])
def test_a_loss_of_a_millisecond_needs_a_gap_beside_it(gap: tuple[int, int] | None, unrecorded: int) -> None:
    found = read(*happens(100, 1, sent=False), line(101, "book", 1), absolute=False)
    check = check_gaps(found, {KEY: [gap]} if gap else {}, [DROP], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.unrecorded) == unrecorded


def test_what_rest_shows_of_a_loss_is_not_settled_yet() -> None:
    assert read(*happens(100, 1, sent=False), line(300, "rest", 1)).shown_by_rest_ms == 300
    assert read(*happens(100, 1), line(300, "rest", 1)).shown_by_rest_ms == 0


@pytest.mark.parametrize(("gap", "invented"), [((450, 900), 0), ((300, 900), 1), ((450, 9_000), 1)])
def test_a_market_wanted_while_the_connection_is_down_is_out_until_its_first_book(
    gap: tuple[int, int], invented: int
) -> None:
    found = read(line(400, "ended"), line(800, "opened", link="p-2"), line(880, "book", 0, link="p-2", key="n"))
    check = check_gaps(found, {"n": [gap]}, [], detected={}, interval_ms=1_000, audit_ms=0)
    assert len(check.invented) == invented


def test_a_market_that_came_just_before_the_end_needs_no_row_of_it_but_one_that_was_held_does() -> None:
    found = read(
        line(5, "book", 0, key="over"),
        line(6, "book", 0, key="let go"),
        line(700, "unsubscribed", key="let go"),
        line(8_000, "book", 0, key="in time"),
        line(8_001, "book", 0, key="too late"),
        line(8_500, "book", 0),
    )
    assert held_at_end(found, {"over": 900}, had_by_ms=8_000) == [KEY, "in time"]

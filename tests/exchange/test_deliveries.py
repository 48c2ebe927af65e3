from __future__ import annotations

import json
from typing import Any

import pytest

from overround.exchange.deliveries import DeliveryLog, LoggedLink, Told


class Wire:
    def write(self, data: bytes) -> None: ...
    def backlog(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...
    def hang_up(self) -> None: ...


class Fault:
    """Does with every frame what it is told to."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def take_frame(self, link: LoggedLink, payload: bytes, key: str, kind: str) -> bool:
        self.act(link, payload)
        return True

    def hides_first_book(self, key: str) -> bool:
        return False

    def mutes(self, key: str) -> bool:
        return False


@pytest.fixture
def log() -> DeliveryLog:
    return DeliveryLog(lambda: 5)


@pytest.fixture
def link(log: DeliveryLog) -> LoggedLink:
    return LoggedLink("polymarket-1", 1, Wire(), lambda _: None, log)


def told(log: DeliveryLog) -> list[tuple[str, str, int]]:
    return [(line.told.value, line.key, line.number) for line in log.lines if line.told is not Told.OPENED]


def test_a_change_is_written_down_when_it_happens_and_when_it_leaves(log: DeliveryLog, link: LoggedLink) -> None:
    log.happened("m", 4, 500)
    link.push(b"{}", "m", "price_change")
    assert told(log) == [("happened", "m", 4), ("change", "m", 4)]


def test_a_frame_knows_how_much_had_happened_when_it_was_made_however_late_it_leaves(
    log: DeliveryLog, link: LoggedLink
) -> None:
    held: list[bytes] = []
    link.faults.append(Fault(lambda _, payload: held.append(payload)))
    log.happened("m", 4, 500)
    link.push(b"{}", "m", "price_change")
    log.happened("m", 5, 500)
    link.put(held[0])
    link.push(b"done", kind="ack")
    link.put(held[1])
    link.push(b"a print", "m", "trade")
    link.put(held[2])
    assert [(line.told, line.place) for line in log.lines[3:]] == [(Told.CHANGE, 1), (Told.OTHER, 2), (Told.OTHER, -1)]


def test_a_forged_change_is_told_as_one_and_the_next_is_not(log: DeliveryLog, link: LoggedLink) -> None:
    log.happened("m", 4, 500)
    log.forging("m")
    link.push(b"{}", "m", "orderbook_delta")
    link.push(b"[]", "m", "orderbook_delta")
    assert told(log)[1:] == [("forged", "m", 4), ("change", "m", 4)]


def test_a_dump_tells_each_of_its_markets_once(log: DeliveryLog, link: LoggedLink) -> None:
    log.happened("m", 4, 500)
    link.push(json.dumps([{"market": "m"}, {"market": "m"}, {"market": "n"}]).encode(), kind="dump")
    assert told(log)[1:] == [("book", "m", 4), ("book", "n", -1)]
    assert log.shown == {"m", "n"}


@pytest.mark.parametrize(
    ("act", "delivered"),
    [
        (lambda link, payload: None, False),
        (lambda link, payload: link.put(payload[:3]), False),
        (lambda link, payload: link.put(payload), True),
        (lambda link, payload: link.put(b"more", instead_of=payload), True),
    ],
    ids=["dropped", "cut", "as it was", "in another form"],
)
def test_only_what_reaches_the_wire_whole_counts(
    log: DeliveryLog, link: LoggedLink, act: Any, *, delivered: bool
) -> None:
    link.faults.append(Fault(act))
    log.happened("m", 1, 500)
    link.push(b"a frame", "m", "orderbook_delta")
    assert (("change", "m", 1) in told(log)) is delivered


def test_a_held_frame_keeps_its_number(log: DeliveryLog, link: LoggedLink) -> None:
    held: list[bytes] = []
    link.faults.append(Fault(lambda _, payload: held.append(payload)))
    log.happened("m", 1, 500)
    link.push(b"first", "m", "price_change")
    log.happened("m", 2, 600)
    link.put(held[0])
    assert told(log)[-1] == ("change", "m", 1)


def test_after_the_end_nothing_is_delivered_or_let_go(log: DeliveryLog, link: LoggedLink) -> None:
    link.closed = True
    link.push(b"frame", "m", "price_change")
    link.let_go("m")
    link.ended()
    assert told(log) == [("ended", "", 0)]


def test_what_waits_for_the_wire_leaves_later_or_with_an_abort_never() -> None:
    now_ms = 5
    log = DeliveryLog(lambda: now_ms)
    links = [LoggedLink(name, 1, Wire(), lambda _: None, log) for name in ("left", "cut")]
    log.happened("m", 4, 500)
    for link in links:
        link.push(b"{}", "m", "price_change")
    links[1].abort()
    now_ms = 900
    for link in links:
        link.flush()
    found = [(line.ts_ms, line.told.value, line.link) for line in log.lines[2:]]
    assert found == [(5, "happened", ""), (900, "change", "left"), (900, "other", "cut")]

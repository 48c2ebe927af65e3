"""Does the ledger cover exactly what was lost? Recorded gaps against :mod:`overround.pipelines.loss_oracle`.

Two claims are checked, market by market:

- **nothing unrecorded**: each stretch in which changes were lost lies inside recorded gaps. Losses of which no reader
  can know are counted apart: *traceless* ones (see there), and *masked* ones: without a number on them, nothing of that
  market came before another fault interrupted it, too, and the book that ended the interruption cannot tell which of
  its changes are older. What the interruption itself took must be recorded;
- **nothing invented**: recorded gap time lies inside *outage + repair + one snapshot interval* of something that the
  exchange did. The outage begins when the market was last heard of before it (that is the last instant at which its
  book was known to be right) and ends with the fault, or, where the stream cannot show a loss (a mute market, a silence
  on a venue that numbers nothing), with the market's next frame or one audit interval later; the repair ends with the
  next whole book that the exchange sent, and counts at most ``REPAIR_MS``;
- **nothing overlooked**: what lasts until somebody finds out (a mute market, a connection that only answers pings) is
  in the ledger at most ``FOUND_MS`` after its first missed change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from overround.pipelines.loss_oracle import SAME_CLOCK_MS, Deliveries, Span, Stretch, covered_ms, merged, outside

__all__ = ["REPAIR_MS", "GapCheck", "check_gaps"]

REPAIR_MS = 10_000
"""Longest repair that is accepted, counted from the moment at which the stream (or an audit) shows the loss."""
FOUND_MS = 60_000
"""Longest time from the first missed change of what no frame shows to its detection."""
SLACK_MS = 500
_GIVEN_UP_MS = 1_000
_LAST_FRAME_MS = 2_000
_UNSEEN = frozenset({"mute_token", "silence"})
_UNNUMBERED = _UNSEEN | {"drop", "sequence_gap"}


class GapCheck(msgspec.Struct, kw_only=True):
    """What the comparison found; times are sums over markets.

    Attributes
    ----------
    lost_changes, late_changes, traceless_changes, masked_changes : int
    lost_ms : int
        Market time in which a book could not be known.
    recorded_ms, allowed_ms : int
        Recorded gap time, and the bound on it (of the markets that have gaps).
    longest_repair_ms : int
        From the end of an outage to the end of the gap, of the market for which it took longest.
    longest_found_ms : int
        From the first missed change of a silence to its detection, of that which took longest; 0 without one.
    gaps : int
        Rows of the ledger.
    unrecorded, invented, overlooked : list of str
        What is wrong, in words.
    """

    lost_changes: int = 0
    late_changes: int = 0
    traceless_changes: int = 0
    masked_changes: int = 0
    lost_ms: int = 0
    recorded_ms: int = 0
    allowed_ms: int = 0
    longest_repair_ms: int = 0
    longest_found_ms: int = 0
    gaps: int = 0
    unrecorded: list[str] = msgspec.field(default_factory=list)
    invented: list[str] = msgspec.field(default_factory=list)
    overlooked: list[str] = msgspec.field(default_factory=list)


def check_gaps(
    deliveries: Deliveries,
    gaps: Mapping[str, Sequence[Span]],
    faults: Sequence[Mapping[str, Any]],
    *,
    detected: Mapping[str, Sequence[int]],
    interval_ms: int,
    audit_ms: int,
) -> GapCheck:
    """Compare one venue's recorded gaps with what was lost.

    Parameters
    ----------
    deliveries : Deliveries
    gaps : mapping of str to spans
        Recorded gaps by market, the venue's own already added to each; an open gap ends when the run does.
    faults : sequence of dict
        The exchange's fault log.
    detected : mapping of str to sequence of int
        When gaps of each market were noticed.
    interval_ms : int
        The longest snapshot interval.
    audit_ms : int
        Longest time until a comparison with REST, tolerance included.
    """
    found = GapCheck(gaps=sum(map(len, gaps.values())))
    cover = {key: merged(spans) for key, spans in gaps.items()}
    _unrecorded(deliveries, cover, faults, found)
    _overlooked(deliveries, faults, detected, found)
    allowed, overs = _allowed(deliveries, faults, interval_ms=interval_ms, audit_ms=audit_ms)
    for key, spans in cover.items():
        bound = merged(allowed.get(key, []))
        found.recorded_ms += covered_ms(spans)
        found.allowed_ms += covered_ms(bound)
        for span in spans:
            over = max((ms for ms in overs.get(key, ()) if span[0] <= ms <= span[1]), default=span[1])
            found.longest_repair_ms = max(found.longest_repair_ms, span[1] - over)
            excess = [part for part in outside(span, bound) if part[1] - part[0] > SAME_CLOCK_MS]
            if excess:
                found.invented.append(f"{key}: gap {_shown(span)} exceeds {[_shown(b) for b in bound]}")
    return found


def _unrecorded(
    deliveries: Deliveries,
    cover: Mapping[str, Sequence[Span]],
    faults: Sequence[Mapping[str, Any]],
    found: GapCheck,
) -> None:
    for late in deliveries.delays:
        found.late_changes += late.changes
    for loss in deliveries.losses:
        if loss.traceless:
            found.traceless_changes += loss.changes
            continue
        end = loss.end_ms if loss.end_ms is not None else deliveries.end_ms
        bare = outside((loss.start_ms, end), cover.get(loss.key, ()))
        bare = [part for part in bare if part[1] - part[0] > SAME_CLOCK_MS or part == (loss.start_ms, end)]
        if end - loss.start_ms <= SAME_CLOCK_MS and any(
            gap[0] - SAME_CLOCK_MS <= end and gap[1] + SAME_CLOCK_MS >= loss.start_ms for gap in cover.get(loss.key, ())
        ):
            bare = []  # shorter than two clocks agree: a gap beside it is its gap
        if bare and _masked(deliveries, loss, bare, faults):
            found.masked_changes += loss.changes
            continue
        found.lost_changes += loss.changes
        found.lost_ms += end - loss.start_ms
        if bare:
            found.unrecorded.append(
                f"{loss.key}: {loss.changes} changes lost in {_shown((loss.start_ms, end))}, unrecorded {[_shown(b) for b in bare]}"
            )


def _masked(deliveries: Deliveries, loss: Stretch, bare: Sequence[Span], faults: Sequence[Mapping[str, Any]]) -> bool:
    """Whether what is bare is only the time between a loss without a number and an interruption by another fault."""
    end = loss.end_ms
    if end is None or len(bare) != 1 or bare[0][0] != loss.start_ms or bare[0][1] >= end:
        return False
    sign = deliveries.next_sign(loss.key, loss.start_ms)
    if sign is not None and sign < end:
        return False
    unseen = _UNNUMBERED if deliveries.absolute else {"mute_token"}
    links = {link for link in deliveries.links if loss.key in deliveries.carried_by(link)}
    cause = next(
        (
            fault
            for fault in faults
            if fault["kind"] in unseen
            and loss.key in fault["markets"]
            and fault["markets"][loss.key]["first_ms"] <= loss.start_ms + SAME_CLOCK_MS
        ),
        None,
    )
    if cause is None:
        return False
    breaks = [ended_ms for link, ended_ms, _, carried in deliveries.link_ends if loss.key in carried]
    breaks += [
        int(fault["ts_ms"])
        for fault in faults
        if fault is not cause and fault.get("ts_ms") is not None and links & set(fault.get("connections") or ())
    ]
    # The gap of an interruption begins with the last frame before it.
    return any(loss.start_ms < ms <= end and ms - _LAST_FRAME_MS <= bare[0][1] <= ms for ms in breaks)


def _overlooked(
    deliveries: Deliveries, faults: Iterable[Mapping[str, Any]], detected: Mapping[str, Sequence[int]], found: GapCheck
) -> None:
    """What no frame shows must have been noticed in time, unless it ended before."""
    for fault in faults:
        if fault["kind"] not in _UNSEEN or fault.get("first_ms") is None:
            continue
        owed = {key: deliveries.owed_until(key) for key in fault["markets"]}
        firsts = [ms for key, one in fault["markets"].items() if (ms := int(one["first_ms"])) < owed[key]]
        if not firsts:
            continue  # of a market that was over, or that nobody wanted any more, nothing is missed
        first = min(firsts)
        over = min(int(fault.get("ended_ms") or deliveries.end_ms), max(owed.values()))
        # Other markets of a silent connection may have gaps of their own; one that was found was given up.
        begin = first if fault["kind"] == "mute_token" else over - _GIVEN_UP_MS
        seen = min((ms for key in fault["markets"] for ms in detected.get(key, ()) if ms >= begin), default=None)
        if seen is not None and seen <= over + SAME_CLOCK_MS and fault.get("until_ms") is None:
            found.longest_found_ms = max(found.longest_found_ms, seen - first)
        if over - first > FOUND_MS and (seen is None or seen - first > FOUND_MS):
            when = "never noticed" if seen is None else f"noticed after {(seen - first) / 1000:.1f} s"
            found.overlooked.append(f"{fault['kind']} from {first % 1_000_000 / 1000:.3f} on was {when}")


def _allowed(
    deliveries: Deliveries,
    faults: Iterable[Mapping[str, Any]],
    *,
    interval_ms: int,
    audit_ms: int,
) -> tuple[dict[str, list[Span]], dict[str, list[int]]]:
    """Spans in which gaps of each market may lie, and when its outages were over."""
    spans: dict[str, list[Span]] = {}
    overs: dict[str, list[int]] = {}

    def allow(key: str, begin_ms: int, over_ms: int, *, hidden: bool) -> None:
        """An outage of a market from ``begin_ms`` to ``over_ms``; hidden if only REST may show it."""
        start = deliveries.last_before(key, begin_ms)
        sign = deliveries.next_sign(key, over_ms)
        shown = over_ms + audit_ms if hidden else over_ms
        if hidden and sign is not None:
            shown = max(over_ms, min(shown, sign))
        book = deliveries.next_book(key, over_ms)
        # No book came: none was needed, or the repair is still under way and may take what a repair may take.
        whole = shown + REPAIR_MS if book is None else min(book, shown + REPAIR_MS)
        spans.setdefault(key, []).append((start - SAME_CLOCK_MS, whole + interval_ms + SLACK_MS))

    for loss in deliveries.losses:
        end = loss.end_ms if loss.end_ms is not None else deliveries.end_ms
        allow(loss.key, loss.start_ms, end, hidden=False)
    for late in deliveries.delays:
        allow(late.key, late.start_ms, late.end_ms or deliveries.end_ms, hidden=False)
    for _, ended_ms, last_ms, carried in deliveries.link_ends:
        for key in carried:
            allow(key, min(last_ms, ended_ms), ended_ms, hidden=False)
            overs.setdefault(key, []).append(ended_ms)
    for key in deliveries.markets:
        # Wanted while its connection was down: out until the first book that it ever had.
        first = deliveries.next_book(key, 0)
        down = [ended_ms for _, ended_ms, _, _ in deliveries.link_ends if first is not None and ended_ms <= first]
        if first is not None and down:
            over = min(first, max(down) + REPAIR_MS)
            spans.setdefault(key, []).append((max(down) - SAME_CLOCK_MS, over + interval_ms + SLACK_MS))
    for fault in faults:
        if fault.get("ts_ms") is None:
            continue
        begin = int(fault["ts_ms"])
        over = max(begin, int(fault.get("ended_ms") or deliveries.end_ms), int(fault.get("last_ms") or 0))
        over = min(over, deliveries.end_ms)
        touched = {key for link in fault.get("connections") or () for key in deliveries.carried_by(link)}
        touched |= set(fault.get("markets") or ()) & set(deliveries.markets)
        for key in touched:
            allow(key, begin, over, hidden=fault["kind"] in {"mute_token", "silence", "missing_first_book"})
            overs.setdefault(key, []).append(over)
    return spans, overs


def _shown(span: Span) -> str:
    return f"{span[0] % 1_000_000 / 1000:.3f}-{span[1] % 1_000_000 / 1000:.3f}"

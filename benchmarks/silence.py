"""False alarms of the silence watch, and its times to detection, on simulated days.

    uv run python benchmarks/silence.py                     # everything: some twenty minutes
    uv run python benchmarks/silence.py --quick             # a few days and seeds: three minutes
    uv run python benchmarks/silence.py --plot docs/images/silence.svg      # the published picture

The collector's own deciders (`collector.silence`, `collector.canary`) with default settings, looks twice a second, over
simulated time and without sockets; see `overround.testing.silent_days`. Quiet days come from the recordings under
OVERROUND_CAPTURES: two weeks of weather markets (the six of a day on one connection, and each alone) and every market of
an NBA evening alone; busy hours are that evening as it was and the gold windows; the generated world gives both venues
two hundred markets on two connections, in busy hours and on a quiet day. Every tape gets receive lags recorded with
the gold windows; REST takes 150 ms in the median and a second in one of a hundred cases, and shows a book up to half a
second old. Those last figures are assumed.

A finding on a day without a fault is a false alarm. For detection the day is copied at drawn moments, and each copy
gets one fault: a connection that freezes at the moment; a market that is mute from one of its changes on (a market is
drawn, then a change of it); a new subscription whose first book never comes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rounds import machine, markdown, progress

from overround.collector.silence import Fault
from overround.config import SilenceSettings
from overround.market import Venue
from overround.testing.silent_days import Detection, SilentDay
from overround.testing.silent_tapes import (
    LagCurve,
    SilentTape,
    generated_tape,
    quotes_tape,
    recorded_lags,
    recorded_tape,
)

PATIENCE_MS = 600_000
WARM_MS = 1_800_000
SPEAKS = 0.95
"""A connection that had a change in so many of the last ten minutes' seconds normally speaks every second."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Days of one kind: how they are made, on how many connections, how often they are run, how many faults they get."""

    name: str
    tapes: Callable[[], Iterator[SilentTape]]
    slots: int = 1
    seeds: int = 1
    faults: int = 0


class Found(msgspec.Struct, kw_only=True):
    """What came of a profile."""

    name: str
    connection_days: float = 0.0
    alarms: list[str] = []
    witness_alarms: int = 0
    suspicions: int = 0
    questions: int = 0
    asked_books: int = 0
    changes: int = 0
    detections: list[Detection] = []


def profiles(captures: Path, *, quick: bool) -> list[Profile]:
    kalshi = captures / "recordings" / "kalshi"
    weather = sorted((kalshi / "bbo_weather_kxhighny").glob("*.csv.gz"))[: 3 if quick else None]

    def six() -> Iterator[SilentTape]:
        for path in weather:
            yield quotes_tape(path.name, [path])

    def single() -> Iterator[SilentTape]:
        for tape in six():
            for n, ticker in enumerate(tape.markets):
                yield tape.only(ticker, [n])

    def evening() -> Iterator[SilentTape]:
        yield recorded_tape("NBA", sorted((kalshi / "ws_nba_20260318").glob("*.gz")), Venue.KALSHI)

    def evening_alone() -> Iterator[SilentTape]:
        for tape in evening():
            for n, ticker in enumerate(tape.markets):
                # After its end a market is nobody's any more.
                alone = tape.only(ticker, [n])
                yield msgspec.structs.replace(alone, end_ms=alone.closed_ms.get(0, alone.end_ms))

    def gold() -> Iterator[SilentTape]:
        yield recorded_tape("gold", sorted((kalshi / "ws_gold15m").glob("*.gz")), Venue.KALSHI)

    def world(venue: Venue, ranks: range, hours: float, rate_scale: float, seeds: int) -> Iterator[SilentTape]:
        for seed in range(seeds):
            yield generated_tape(
                f"{venue} {seed}", venue, ranks=ranks, hours=hours, seed=11 + seed, rate_scale=rate_scale
            )

    few, many = (1, 30) if quick else (3, 200)
    made = [
        Profile(name="weather, six markets (recorded)", tapes=six, faults=8 if quick else 15),
        Profile(name="weather, one market (recorded)", tapes=single),
        Profile(name="NBA, one market (recorded)", tapes=evening_alone, seeds=few, faults=2 if quick else 6),
        Profile(name="NBA, 18 markets (recorded)", tapes=evening, seeds=few, faults=many),
        Profile(name="gold, one window at a time (recorded)", tapes=gold, seeds=few, faults=many),
    ]
    for venue in Venue:
        quiet = partial(world, venue, range(600, 800), 6.0 if quick else 24.0, 0.2, 1)
        busy = partial(world, venue, range(200), 1.0 if quick else 2.0, 1.0, 1)
        made += [
            Profile(
                name=f"{venue}, 200 quiet markets (generated)", tapes=quiet, slots=2, seeds=min(few, 2), faults=many
            ),
            Profile(name=f"{venue}, 200 busiest markets (generated)", tapes=busy, slots=2, seeds=few, faults=many),
        ]
    return made


def run(profile: Profile, lags: LagCurve, settings: SilenceSettings, *, alarms_only: bool) -> Found:
    found = Found(name=profile.name)
    for number, tape in enumerate(profile.tapes()):
        progress(f"{profile.name}: {tape.name}, {tape.days:.2f} days, {len(tape.ts_ms):,} changes")
        found.changes += len(tape.ts_ms)
        for seed in range(profile.seeds):
            rng = random.Random(f"{profile.name}:{number}:{seed}")
            day = SilentDay(tape, settings=settings, lags=lags, rng=rng, slots=profile.slots)
            # Faults are given on the first run only: the others are there for the alarms.
            for at_ms, fault, market in sorted(_draws(profile, tape, rng)) if not (seed or alarms_only) else ():
                day.run_to(at_ms)
                detection = day.copied().detect(fault, number=market, patience_ms=PATIENCE_MS)
                found.detections.append(detection)
            day.run_to(tape.end_ms)
            found.connection_days += tape.days * profile.slots
            found.alarms += [f"{alarm.finding.fault} by {alarm.finding.by}" for alarm in day.alarms]
            found.witness_alarms += day.witness_alarms
            found.suspicions += day.suspicions
            found.questions += day.questions
            found.asked_books += day.asked_books
    return found


def _draws(profile: Profile, tape: SilentTape, rng: random.Random) -> Iterator[tuple[int, Fault, int]]:
    """Moments, faults and markets; while markets are open, and not before there is some past."""
    low, high = tape.begin_ms + WARM_MS, tape.end_ms - PATIENCE_MS
    markets = range(len(tape.markets))

    def still_open(number: int, at_ms: int) -> bool:
        return at_ms < tape.closed_ms.get(number, tape.end_ms) - PATIENCE_MS

    for fault in (Fault.FROZEN, Fault.MISSING_BOOK):
        for _ in range(profile.faults):
            for _ in range(100):
                at_ms, market = rng.randrange(low, high), rng.choice(markets)
                if still_open(market, at_ms):
                    yield at_ms, fault, market
                    break
    for _ in range(profile.faults):
        for _ in range(100):
            market = rng.choice(markets)
            changes = tape.ts_ms[(tape.market == market) & (tape.ts_ms > low) & (tape.ts_ms < high)]
            if len(changes) and still_open(market, at_ms := int(rng.choice(changes))):
                # The look before the change; the day goes on in looks.
                yield at_ms - 501, Fault.MUTE, market
                break


def speaks_often(detection: Detection) -> bool:
    return detection.speaking is not None and detection.speaking >= SPEAKS


def _row(words: str, where: str, values: Sequence[int], drawn: int, named: str) -> tuple[object, ...]:
    if not values:
        return (words, where, drawn, 0, "", "", "", named)
    p50, p90, most = (f"{np.percentile(values, p) / 1000:.1f}" for p in (50, 90, 100))
    return (words, where, drawn, len(values), p50, p90, most, named)


def detections(results: Sequence[Found]) -> str:
    rows = []
    for words, fault, pick, when in (
        ("freeze, speaks every second", Fault.FROZEN, lambda d: d.took_ms, speaks_often),
        ("… since its first lost change", Fault.FROZEN, lambda d: d.missed_ms, speaks_often),
        ("freeze, speaks more rarely", Fault.FROZEN, lambda d: d.took_ms, lambda d: not speaks_often(d)),
        ("… since its first lost change", Fault.FROZEN, lambda d: d.missed_ms, lambda d: not speaks_often(d)),
        ("mute, since REST has shown it", Fault.MUTE, lambda d: d.shown_ms, lambda _: True),
        ("… since its first lost change", Fault.MUTE, lambda d: d.missed_ms, lambda _: True),
        ("missing first book", Fault.MISSING_BOOK, lambda d: d.took_ms, lambda _: True),
    ):
        for result in results:
            drawn = [d for d in result.detections if d.fault is fault and d.changed and when(d)]
            values = [value for d in drawn if (value := pick(d)) is not None]
            named = Counter(str(d.called) for d in drawn if d.called is not None and d.called is not fault)
            if drawn:
                others = ", ".join(f"{n} as {called}" for called, n in named.most_common())
                rows.append(_row(words, result.name, values, len(drawn), others))
    head = ("fault", "days", "n", "found", "p50, s", "p90, s", "longest, s", "named otherwise")
    return markdown(head, rows)


def false_alarms(results: Sequence[Found]) -> str:
    rows = []
    for one in results:
        days = one.connection_days
        rows.append(
            (
                one.name,
                f"{days:,.1f}",
                f"{len(one.alarms)}" + (f" ({', '.join(sorted(set(one.alarms)))})" if one.alarms else ""),
                f"{len(one.alarms) / days:.2f}",
                f"{(len(one.alarms) + 3) / days:.2f}" if not one.alarms else "",
                f"{one.suspicions / days:,.0f}",
                f"{one.asked_books / days:,.0f}",
            )
        )
    head = (
        "days",
        "connection-days",
        "false alarms",
        "a day",
        "at most (95 %)",
        "suspicions a day",
        "REST books a day",
    )
    return markdown(head, rows)


CURVES = (
    ("#0072b2", "freeze, where the connection speaks every second", Fault.FROZEN, lambda d: d.took_ms, True),
    ("#56b4e9", "freeze elsewhere, since its first lost change", Fault.FROZEN, lambda d: d.missed_ms, False),
    ("#d55e00", "mute market, since REST has shown it", Fault.MUTE, lambda d: d.shown_ms, None),
    ("#009e73", "first book that never comes", Fault.MISSING_BOOK, lambda d: d.took_ms, None),
)


def plot(results: Sequence[Found], path: Path) -> None:
    """Shares found after so many seconds, as an SVG of our own making (no plotting library is a dependency)."""
    left, top, width, height, most_s = 50, 20, 640, 260, 90
    parts = []
    for y in (0, 25, 50, 75, 100):
        at = top + height * (1 - y / 100)
        parts.append(f'<path d="M{left} {at}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4}" text-anchor="end">{y} %</text>')
    for x in range(0, most_s + 1, 15):
        at = left + width * x / most_s
        parts.append(f'<text x="{at}" y="{top + height + 18}" text-anchor="middle">{x} s</text>')
    for row, (colour, words, fault, pick, speaks) in enumerate(CURVES):
        drawn = [
            d
            for result in results
            for d in result.detections
            if d.fault is fault and d.changed and speaks in {None, speaks_often(d)}
        ]
        took = sorted(value / 1000 for d in drawn if (value := pick(d)) is not None)
        line = f"M{left} {top + height}"
        for n, seconds in enumerate(took, start=1):
            if seconds <= most_s:
                line += f"H{left + width * seconds / most_s:.1f}V{top + height * (1 - n / len(drawn)):.1f}"
        parts.append(f'<path d="{line}H{left + width}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = top + height - 84 + 20 * row
        parts.append(f'<text x="{left + width - 8}" y="{at}" text-anchor="end" fill="{colour}">{words}</text>')
    box = f"0 0 {left + width + 20} {top + height + 30}"
    style = "font:13px system-ui,sans-serif;fill:#555"
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" style="{style}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n',
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer days, seeds and faults")
    parser.add_argument("--only", default="", help="profiles whose name has this word")
    parser.add_argument("--no-canaries", action="store_true", help="REST alone")
    parser.add_argument("--alarms-only", action="store_true", help="no faults")
    parser.add_argument("--keep", type=Path, help="write the results as JSON")
    parser.add_argument("--kept", type=Path, nargs="+", help="read results that were kept instead of measuring")
    parser.add_argument("--plot", type=Path, help="draw the times to detection as SVG")
    args = parser.parse_args()
    if args.kept:
        results = [one for path in args.kept for one in msgspec.json.decode(path.read_bytes(), type=list[Found])]
        report(results, args.plot)
        return
    captures = os.environ.get("OVERROUND_CAPTURES")
    if not captures:
        sys.exit("OVERROUND_CAPTURES names no folder of recordings")
    settings = SilenceSettings(canaries_per_connection=0) if args.no_canaries else SilenceSettings()
    lags = recorded_lags(sorted((Path(captures) / "recordings" / "kalshi" / "ws_gold15m").glob("*.gz")))
    chosen = [p for p in profiles(Path(captures), quick=args.quick) if args.only in p.name]
    results = [run(profile, lags, settings, alarms_only=args.alarms_only) for profile in chosen]
    if args.keep:
        args.keep.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    report(results, args.plot)


def report(results: Sequence[Found], picture: Path | None) -> None:
    print(f"\n{machine('numpy')}\n\n{false_alarms(results)}\n\n{detections(results)}")
    if picture is not None:
        plot(results, picture)


if __name__ == "__main__":
    main()

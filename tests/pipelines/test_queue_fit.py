"""The queue model's factor, fitted to a journal of Kalshi frames whose queues are known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from overround.exchange.kalshi_frames import delta_body, frame, iso_micros, snapshot_body, trade_body
from overround.pipelines.queue_fit import fit_queue, kalshi_fates
from overround.storage import FrameJournal, LakePaths
from overround.testing.clock import ManualClock
from overround.timebucket import date_of

LOT = 1_000_000
START = 1_768_392_000_000  # 2026-01-14T12:00Z
DATE = date_of(START)


def frames(seed: int, *, youth: float, n: int = 4_000) -> Iterator[tuple[int, bytes]]:
    """One level of a market: joins, prints with their changes, and cancels that fall on the young by a power."""
    rng, queue, seq = random.Random(seed), [40 * LOT], 1
    body = snapshot_body("KXTEST-1", "id", yes=[(4_000, 40 * LOT), (100, LOT)], no=[(5_500, LOT)], clock=None)
    yield START, frame("orderbook_snapshot", 1, seq, body, sending_ms=None)
    sizes = iter(range(3, 10**6))
    for step in range(n):
        now, roll = START + step * 400, rng.random()
        if len(queue) < 4 or (roll < 0.5 and len(queue) < 12):
            delta = (next(sizes) % 400 + 1) * LOT
            queue.append(delta)
        elif roll < 0.75:
            # The later in the queue, the likelier; never the block that was there first.
            delta = -queue.pop(1 + int((len(queue) - 1) * rng.random() ** (1 / (1 + youth))))
        else:
            taken = queue[0] if rng.random() < 0.5 else rng.randrange(1, queue[0] // LOT + 1) * LOT
            queue[0] -= taken
            delta = -taken
            if not queue[0]:
                del queue[0]
            told = trade_body("KXTEST-1", trade_id=f"t{step}", yes_px_e4=4_000, sz_e6=taken, taker="no", ts_ms=now)
            yield now, frame("trade", 2, step + 1, told, sending_ms=None)
        seq += 1
        body = delta_body(
            "KXTEST-1", "id", px_e4=4_000, delta_e6=delta, side="yes", ts=iso_micros(now), ts_ms=now, clock=None
        )
        yield now, frame("orderbook_delta", 1, seq, body, sending_ms=None)


def journal(folder: Path, told: Iterator[tuple[int, bytes]]) -> LakePaths:
    paths, clock = LakePaths(folder), ManualClock(START)
    kept = FrameJournal(paths, "kalshi", level=1, bucket_s=3_600, clock=clock)
    for now, body in told:
        kept.frame("kalshi-0", now * 1_000_000, body, True)
    kept.close()
    return paths


def test_prints_tell_executions_from_cancels() -> None:
    episodes = kalshi_fates((body for _, body in frames(1, youth=0.0)), every_ms=400)
    assert len(episodes) > 150
    shares = [episode.filled_e6 / episode.sz_e6 for episode in episodes]
    assert 0.05 < sum(shares) / len(shares) < 0.95


@pytest.mark.parametrize("broken", [b"{", b'{"type":"orderbook_delta","msg":{}}', b'{"type":"new_word","msg":1}'])
def test_frames_that_are_not_understood_are_passed_over(broken: bytes) -> None:
    told = [body for _, body in frames(1, youth=0.0, n=500)]
    assert kalshi_fates([broken, *told], every_ms=400) == kalshi_fates(told, every_ms=400)


def test_the_factor_is_fitted_where_the_journal_tells_and_said_to_be_a_default_elsewhere(tmp_path: Path) -> None:
    factors = []
    for youth in (0.0, 6.0):
        paths = journal(tmp_path / f"{youth}", frames(2, youth=youth))
        fit = fit_queue(paths, "kalshi", DATE, hours=[12], default=1.0, every_ms=400)
        assert fit.n_orders > 100
        assert "fitted" in fit.source
        factors.append(fit.cancels_ahead)
    assert factors[1] < factors[0], "the young are cancelled: those ahead are not"
    for venue, hours, why in (("kalshi", [3], "no journal"), ("polymarket", [12], "tells no orders apart")):
        fit = fit_queue(paths, venue, DATE, hours=hours, default=1.0)
        assert (fit.cancels_ahead, fit.n_orders) == (1.0, 0)
        assert why in fit.source
    few = journal(tmp_path / "few", frames(2, youth=0.0, n=50))
    assert "too few" in fit_queue(few, "kalshi", DATE, hours=[12], default=1.0, every_ms=400).source


def test_a_torn_journal_tells_what_it_holds(tmp_path: Path) -> None:
    paths = journal(tmp_path, frames(2, youth=0.0))
    (path,) = paths.journal_files("kalshi", DATE, "12")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert fit_queue(paths, "kalshi", DATE, hours=[12], default=1.0, every_ms=400).source
    path.write_bytes(b"no zstd")
    assert "too few" in fit_queue(paths, "kalshi", DATE, hours=[12], default=1.0, every_ms=400).source

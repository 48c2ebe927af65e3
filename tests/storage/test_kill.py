"""A collector that is killed at any instant loses only what it had not flushed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from overround.pipelines.lake import verify_lake
from overround.storage import JOURNAL, LakePaths, read_journal, scan_snapshots, scan_trades

WRITER = """
import asyncio, sys
from pathlib import Path
from overround.config import StorageSettings
from overround.market import Origin, Trade
from overround.storage import FrameJournal, LakePaths, SnapshotWriter
from overround.testing.clock import ManualClock

async def main(root, run, last):
    # Time runs fast: a bucket ends every few flushes, so that a kill often hits the making of a file.
    clock = ManualClock(1_768_392_301_000 + run * 40_000)
    paths = LakePaths(Path(root))
    writer = SnapshotWriter(paths, "kalshi", settings=StorageSettings(bucket_secs=60, compression_level=3), top_k=50,
                            origin=Origin.SYNTHETIC, clock=clock)
    journal = FrameJournal(paths, "kalshi", level=1, bucket_s=60, clock=clock)
    writer.start()
    keys = [writer.buffer.register(f"KX-{n}", ("yes", "no")) for n in range(5)]
    seq = run * 1_000_000
    for turn in range(60 if last else 1_000_000):
        for _ in range(40):
            seq += 1
            writer.buffer.append(keys[seq % 5], clock.now_ms(), {5000: seq * 1_000_000, 4900: 1}, {5100: 7}, seq=seq,
                                 source_ts=None, stale=False, err=None, integrity=None)
            journal.frame("k0", clock.now_ns(), b'{"seq": %d}' % seq, True)
            writer.add_trades([Trade(market_id=f"KX-{seq % 5}", outcome_id="yes", first=True, px=0.5, sz_e6=seq * 1_000_000,
                                     taker_side="buy", ts_recv_ns=clock.now_ns())])
            clock.skip_ms(100)
        if await writer.flush(clock.now_ms()):
            print("rows", seq, flush=True)
        if journal.flush():
            print("frames", seq, flush=True)
    await writer.stop()
    journal.close()
    print("stopped", seq, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "last"))
"""


def run_until_killed(root: Path, run: int, rng: random.Random) -> dict[str, int]:
    """Last acknowledged number of each kind."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(run), "more"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(rng.random() * 0.25)
        child.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        said = [first, *child.stdout.read().splitlines()]
    return {line.split()[0]: int(line.split()[1]) for line in said if len(line.split()) == 2}


def kill_and_check(root: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged = [run_until_killed(root, run, rng) for run in range(kills)]
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(root), str(kills), "last"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    acknowledged.append({"rows": int(done.stdout.split()[-1]), "frames": int(done.stdout.split()[-1])})

    paths = LakePaths(root)
    rows = scan_snapshots(paths, "kalshi").select("seq", "outcome_id", "bid_sz").collect()
    for outcome in ("yes", "no"):
        held = Counter(rows.filter(outcome_id=outcome)["seq"].to_list())
        assert max(held.values()) == 1
        for run, said in enumerate(acknowledged):
            due = range(run * 1_000_000 + 1, said.get("rows", run * 1_000_000) + 1)
            assert all(number in held for number in due), (outcome, run)
    first = rows.filter(outcome_id="yes")
    assert first["bid_sz"].list.first().to_list() == [float(seq) for seq in first["seq"]]

    traded = Counter(round(sz) for sz in scan_trades(paths, "kalshi").collect()["sz"])
    assert max(traded.values()) == 1
    for run, said in enumerate(acknowledged):
        assert all(n in traded for n in range(run * 1_000_000 + 1, said.get("rows", run * 1_000_000) + 1))

    frames: Counter[int] = Counter()
    for date in paths.days(JOURNAL, "kalshi"):
        for hour in paths.hours(JOURNAL, "kalshi", date):
            for path in paths.journal_files("kalshi", date, hour):
                frames.update(int(entry.wire[8:-1]) for entry in read_journal(path))
    assert max(frames.values()) == 1
    for run, said in enumerate(acknowledged):
        assert all(n in frames for n in range(run * 1_000_000 + 1, said.get("frames", run * 1_000_000) + 1))

    report = verify_lake(paths)
    assert report.problems == ()
    assert report.open_rows == 0
    assert report.rows == len(rows) + traded.total()


def test_every_flushed_row_and_frame_is_there_exactly_once_after_some_kills(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "data", kills=3, seed=5)


@pytest.mark.slow
def test_every_flushed_row_and_frame_is_there_exactly_once_after_many_kills(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "data", kills=60, seed=11)

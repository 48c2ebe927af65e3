"""A killed collector's lake: nothing in it is taken for altered, and what nobody can prove is named."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import pytest

from overround.market import Venue
from overround.pipelines.prove import prove_day, span_of
from overround.storage import SNAPSHOTS

from .rig import Rig, Run, rig

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no kill -9"),
]


def busy(held: Rig) -> Run:
    """A collector that has rows of both venues on disk: the machine's other work decides how long that takes."""
    run = held.start()
    run.begun()
    run.wait_for(lambda: sorted(taken.durable > 40 for taken in run.witness().rows.values()) == [True, True])
    return run


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_after_kills_no_row_is_called_altered_and_the_open_ends_are_named(tmp_path: Path, kills: int) -> None:
    rng = random.Random(7)
    with rig(tmp_path) as held:
        for _ in range(kills):
            run = busy(held)
            time.sleep(rng.uniform(0, 1))
            held.kill(run)
        run = busy(held)
        assert run.end() == 0, run.said()[-2000:]
        for venue in Venue:
            proofs = [prove_day(held.paths, venue, span_of(day, None)) for day in held.paths.days(SNAPSHOTS, venue)]
            assert [finding for proof in proofs for finding in proof.findings] == []
            rows, proved = sum(proof.rows for proof in proofs), sum(proof.proved for proof in proofs)
            assert rows > 40 * len(held.runs)
            assert rows == proved + sum(proof.unproved_rows for proof in proofs)
            # The journal and the rows are flushed each second: hardly more than that can be open after a kill.
            assert proved > 0.6 * rows
            assert {proof.exit_code for proof in proofs} == {3}
            named = [stretch for proof in proofs for stretch in proof.unproved]
            assert len(named) >= kills


@pytest.mark.slow
def test_after_a_sleep_nothing_is_called_altered(tmp_path: Path) -> None:
    with rig(tmp_path) as held:
        run = busy(held)
        run.process.send_signal(signal.SIGSTOP)
        time.sleep(40)
        run.process.send_signal(signal.SIGCONT)
        before = run.witness().rows
        run.wait_for(lambda: all(taken.durable > before[who].durable + 80 for who, taken in run.witness().rows.items()))
        assert run.end() == 0, run.said()[-2000:]
        for venue in Venue:
            proofs = [prove_day(held.paths, venue, span_of(day, None)) for day in held.paths.days(SNAPSHOTS, venue)]
            assert [finding for proof in proofs for finding in proof.findings] == []
            assert {proof.exit_code for proof in proofs} == {0}
            assert sum(proof.unproved_minutes for proof in proofs) > 0
            assert all(proof.proved == proof.rows for proof in proofs)

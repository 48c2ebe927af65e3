"""The commands as a user runs them: real processes, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import polars as pl
import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

OVERROUND = [sys.executable, "-c", "from overround.cli import main; main()"]


def environment(tmp_path: Path) -> dict[str, str]:
    quick = {
        "OVERROUND_DATA_DIR": str(tmp_path / "lake"),
        "OVERROUND_MOCK__ENABLED": "true",
        "OVERROUND_MOCK__MARKETS": "120",
        "OVERROUND_MONITORING__PORT": "0",
        "OVERROUND_VENUES__POLYMARKET__SNAPSHOT_INTERVAL_MS_WARM": "1000",
        "OVERROUND_VENUES__KALSHI__SNAPSHOT_INTERVAL_MS_WARM": "1000",
    }
    return {**{k: v for k, v in os.environ.items() if not k.startswith("OVERROUND_")}, **quick}


@pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_collect_cleanly_with_everything_in_parquet(tmp_path: Path, number: signal.Signals) -> None:
    env = environment(tmp_path)
    with subprocess.Popen(
        [*OVERROUND, "collect"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(tmp_path.glob("lake/**/*.wal")):
            time.sleep(0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    stopped = {line["venue"]: line for line in lines if line["event"] == "collect.stopped"}
    assert set(stopped) == {"polymarket", "kalshi"}
    assert all(line["rows"] > 0 and line["rows_waiting"] == 0 for line in stopped.values())
    assert list(tmp_path.glob("lake/**/*.parquet"))
    assert not list(tmp_path.glob("lake/**/*.wal"))
    for venue, line in stopped.items():
        files = f"{tmp_path}/lake/orderbook_snapshots/venue={venue}/**/*.parquet"
        stored = dict(pl.read_parquet(files).group_by("integrity").len().rows())
        assert {word: n for word, n in line["row_verdicts"].items() if n} == stored
        assert 0 < sum(line["book_verdicts"].values()) <= line["subscriptions"]
    checked = subprocess.run(
        [*OVERROUND, "lake", "verify"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


def test_a_log_folder_that_refuses_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    env = environment(tmp_path) | {"OVERROUND_LOGGING__DIRECTORY": str(tmp_path / "logs")}
    done = subprocess.run(
        [*OVERROUND, "collect", "--venue", "kalshi", "--duration", "4"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    (told,) = [line for line in lines if line["event"] == "logging.file_unwritable"]
    assert str(tmp_path / "logs") in told["path"]
    assert "[logging] directory" in told["remedy"]
    (stopped,) = [line for line in lines if line["event"] == "collect.stopped"]
    assert stopped["rows"] > 0
    assert stopped["rows_waiting"] == 0


def test_demo_agrees_and_says_so_in_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [*OVERROUND, "demo", "--duration", "8", "--markets", "200", "--json", "--data-dir", "lake"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    for venue in ("polymarket", "kalshi"):
        figures = found["venues"][venue]
        assert {
            "markets_scanned", "frames", "snapshots", "files", "bytes_per_snapshot", "books_checked", "books_equal", "gaps", "duration_s",
        } <= set(figures)  # fmt: skip
        assert figures["books_checked"] == figures["books_equal"] == figures["snapshots"] > 100
        assert sum(figures["row_verdicts"].values()) == figures["snapshots"]
        assert figures["gaps"] >= 1
        assert figures["markets_scanned"] == 100
    assert len(found["faults"]) >= 6


def test_the_demo_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = subprocess.run(
        [*OVERROUND, "demo", "--data-dir", "."],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "holds no synthetic lake" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_live_collector_refuses_a_synthetic_lake(tmp_path: Path) -> None:
    env = environment(tmp_path)
    subprocess.run(
        [*OVERROUND, "scan", "--venue", "kalshi"], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=60
    )
    subprocess.run(
        [*OVERROUND, "collect", "--venue", "kalshi", "--duration", "2"],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        timeout=60,
    )
    done = subprocess.run(
        [*OVERROUND, "collect", "--venue", "kalshi", "--duration", "2"],
        cwd=tmp_path, env=env | {"OVERROUND_MOCK__ENABLED": "false"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "synthetic" in done.stderr
    assert "hint:" in done.stderr


def test_a_running_collector_says_that_it_is_well_and_none_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = environment(tmp_path) | {"OVERROUND_MONITORING__PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([*OVERROUND, "collect"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            ready = False
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not ready:
                time.sleep(0.2)
                with contextlib.suppress(httpx2.TransportError):
                    ready = httpx2.get(f"{url}/readyz").status_code == 200
            assert ready
            metrics = httpx2.get(f"{url}/metrics").text
            asked = subprocess.run([*OVERROUND, "health"], env=env, cwd=tmp_path, capture_output=True, timeout=60)
        finally:
            process.terminate()
            process.communicate(timeout=40)
    assert asked.returncode == 0, asked.stdout
    assert 'overround_connections_up{venue="kalshi"}' in metrics
    assert process.returncode == 0
    gone = subprocess.run([*OVERROUND, "health"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert gone.returncode == 1
    assert "overround collect" in gone.stderr


def test_two_processes_may_not_claim_one_shard_and_another_shard_may_run_beside(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"OVERROUND_CLUSTER__SHARD": "1/3"}
    collect = [*OVERROUND, "collect", "--venue", "kalshi"]

    def second(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*collect, "--duration", "2", *arguments],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    with subprocess.Popen(collect, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(tmp_path.glob("lake/**/*.wal")):
            time.sleep(0.2)
        same, other, foreign = second(), second("--shard", "2/3"), second("--shard", "0/2")
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    assert same.returncode == 2
    assert f"process {process.pid} is already recording kalshi shard 1/3" in same.stderr
    assert "hint:" in same.stderr
    assert other.returncode == 0, other.stderr
    assert foreign.returncode == 2
    assert "shard 1/3 of kalshi is being recorded" in foreign.stderr
    names = {path.name.split(".", 1)[1] for path in tmp_path.glob("lake/orderbook_snapshots/**/*.parquet")}
    assert names == {"s1of3.parquet", "s2of3.parquet"}
    nonsense = second("--shard", "3/3")
    assert nonsense.returncode == 2
    assert "'3/3' is no shard" in nonsense.stderr

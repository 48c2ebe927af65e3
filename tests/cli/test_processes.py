"""The commands as a user runs them: real processes, real signals."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import polars as pl
import pytest

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.timeout(120)]

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


def stalled_scraper(port: int) -> socket.socket:
    """A Prometheus that asks for more than it reads: the answers do not fit into what lies between, and stop there."""
    scraper = socket.socket()
    scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    scraper.connect(("127.0.0.1", port))
    scraper.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        for _ in range(50):
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: collector\r\n\r\n" * 40)
    assert scraper.recv(64).startswith(b"HTTP/1.1 200")
    return scraper


def test_scrapers_that_stop_in_the_middle_of_an_answer_hold_up_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = environment(tmp_path) | {"OVERROUND_MONITORING__PORT": str(port)}
    with (
        contextlib.ExitStack() as stack,
        subprocess.Popen([*OVERROUND, "collect"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.2)
                with contextlib.suppress(httpx2.TransportError):
                    if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
            for _ in range(3):
                stack.enter_context(stalled_scraper(port))
            # And one that is gone, with a reset, while it is being answered.
            gone = stalled_scraper(port)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.close()
            frames = []
            for _ in range(4):
                began = time.monotonic()
                metrics = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
                assert time.monotonic() - began < 5
                frames.append(
                    sum(map(float, re.findall(r"^overround_frames_total\{.*\} (.*)$", metrics, re.MULTILINE)))
                )
                time.sleep(1)
        finally:
            process.terminate()
            began = time.monotonic()
            out, _ = process.communicate(timeout=40)
    assert frames == sorted(set(frames)), "frames stand still"
    assert process.returncode == 0
    assert time.monotonic() - began < 15, "it waits for scrapers when it is told to stop"
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert not [line for line in lines if line["level"] == "error"]
    assert all(line["rows"] > 0 for line in lines if line["event"] == "collect.stopped")


def test_a_taken_port_is_one_line_in_the_log_and_recording_goes_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = environment(tmp_path) | {"OVERROUND_MONITORING__PORT": str(port)}
        done = subprocess.run(
            [*OVERROUND, "collect", "--duration", "6"],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line["level"] == "error"]
    assert told["event"] == "endpoint.unavailable"
    assert f"127.0.0.1 port {port}" in told["reason"]
    assert "[monitoring]" in told["remedy"]
    stopped = [line for line in lines if line["event"] == "collect.stopped"]
    assert len(stopped) == 2
    assert all(line["rows"] > 0 for line in stopped)

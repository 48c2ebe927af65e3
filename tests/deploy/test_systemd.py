"""The systemd units, judged by systemd's own tools, and a real collector that reports as they ask."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("overround-*.*") if path.is_file())
SERVICES = [name for name in UNITS if name.endswith(".service")]
EXPOSURE = 20
"""Tenths; systemd calls 0 to 10 perfect and 11 to 40 OK."""


def instance(name: str) -> str:
    """A template as one of its instances."""
    return name.replace("@.", "@0." if "collect" in name else "@kalshi.")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine on which the units are installed as the page says."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd: systemd-analyze is not installed")
    shutil.copytree(FOLDER, tmp_path / "etc/systemd/system")
    for program in ("opt/overround/bin/overround", "usr/bin/flock", "usr/bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    targets = tmp_path / "usr/lib/systemd/system"
    targets.mkdir(parents=True)
    for target in ("basic", "sysinit", "shutdown", "network-online", "time-sync", "timers", "multi-user"):
        (targets / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    return tmp_path


def analyze(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments[:1], f"--root={machine}", *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_reads_every_unit_without_a_word(machine: Path, name: str) -> None:
    done = analyze(machine, "verify", instance(name))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_would_say_what_is_wrong(machine: Path) -> None:
    unit = machine / "etc/systemd/system/overround-verify.service"
    unit.write_text(unit.read_text().replace("Nice=", "Nicer="))
    assert "Nicer" in analyze(machine, "verify", unit.name).stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_touch_little(machine: Path, name: str) -> None:
    asked = ("security", "--offline=true", f"--threshold={EXPOSURE}", instance(name))
    done = analyze(machine, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(machine / "etc/systemd/system/overround-.service.d")
    assert analyze(machine, *asked).returncode != 0


CONFINED = """
import ctypes, os, subprocess, sys
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p

class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64)]

def calls(group):
    said = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    names = [line.strip() for line in said.splitlines()[1:]]
    return {call for name in names if name and name[0] != "#" for call in (calls(name) if name[0] == "@" else [name])}

def allow(call, *compare):
    number = lib.seccomp_syscall_resolve_name(call.encode())
    if number >= 0:
        args = (Compare * len(compare))(*(Compare(arg, 7, mask, value) for arg, mask, value in compare))
        assert lib.seccomp_rule_add_array(context, 0x7FFF0000, number, len(compare), args) == 0, call

context = ctypes.c_void_p(lib.seccomp_init(0x00050000 | 1))  # EPERM for everything that is not allowed
for call in calls("@system-service") - calls("@privileged") - calls("@resources") - {"mmap", "mprotect", "pkey_mprotect"}:
    allow(call)
for value in (0, 2, 4):  # MemoryDenyWriteExecute=: never writable and executable, nor executable later
    allow("mmap", (2, 6, value))
allow("mprotect", (2, 4, 0))
assert lib.prctl(38, 1, 0, 0, 0) == 0
assert lib.seccomp_load(context) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.integration
@pytest.mark.skipif(platform.machine() != "x86_64", reason="systemd: the filter's numbers are of x86-64")
def test_the_road_runs_with_only_the_system_calls_that_the_units_allow(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd: systemd-analyze is not installed")
    common = (FOLDER / "overround-.service.d" / "common.conf").read_text()
    for line in (
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
    ):
        assert line in common
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OVERROUND_")}
    given = re.findall(r"^Environment=(.*)$", common, flags=re.MULTILINE)
    environ |= dict(pair.split("=", 1) for line in given for pair in line.split() if "%" not in pair)
    demo = [
        sys.executable,
        "-c",
        "from overround.cli import main; main()",
        "demo",
        "--duration",
        "6",
        "--markets",
        "60",
    ]
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, *demo], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert "every stored row equals the exchange's truth" in done.stdout, done.stderr
    del environ["POLARS_SKIP_CPU_CHECK"]
    refused = [sys.executable, "-c", CONFINED, sys.executable, "-c", "import polars"]
    said = subprocess.run(refused, env=environ, capture_output=True, text=True, timeout=60).stderr
    assert "could not execute mprotect" in said


@pytest.mark.integration
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd: no sockets of its kind here")
def test_a_real_collector_reports_that_it_is_ready_and_turns_and_stops(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OVERROUND_")} | {
        "OVERROUND_DATA_DIR": str(tmp_path / "lake"),
        "OVERROUND_MOCK__ENABLED": "true",
        "OVERROUND_MOCK__MARKETS": "40",
        "OVERROUND_MONITORING__PORT": "0",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "400000",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(environ["NOTIFY_SOCKET"])
        manager.settimeout(60)
        command = [sys.executable, "-c", "from overround.cli import main; main()", "collect"]
        with subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            try:
                assert manager.recv(100) == b"READY=1"
                beats = [manager.recv(100) for _ in range(3)]
                # One that hangs is silent: systemd ends it after WatchdogSec.
                process.send_signal(signal.SIGSTOP)
                manager.settimeout(1)
                with pytest.raises(TimeoutError):
                    [manager.recv(100) for _ in range(20)]
                process.send_signal(signal.SIGCONT)
                manager.settimeout(60)
                process.terminate()
                deadline = time.monotonic() + 60
                while (last := manager.recv(100)) == b"WATCHDOG=1" and time.monotonic() < deadline:
                    beats.append(last)
                assert process.wait(60) == 0
            finally:
                process.kill()
    assert set(beats) == {b"WATCHDOG=1"}
    assert last == b"STOPPING=1"

"""Log files: what is in them, when they turn, how long they stay, and what a folder that refuses does."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from overround.ops import LogFiles, configure_logging
from overround.ops import files as files_module

DAY_S = 86_400
Opened = Callable[..., LogFiles]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    made: list[LogFiles] = []

    def make(
        *, stream: io.StringIO | None = None, level: str = "info", file_level: str = "debug", **kept: Any
    ) -> LogFiles:
        files = LogFiles(kept.pop("directory", tmp_path / "logs"), "collect", **kept)
        made.append(files)
        configure_logging(level=level, stream=stream or io.StringIO(), files=files, file_level=file_level)
        files.open()
        return files

    yield make
    for files in made:
        files.close()
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def settled(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines of a file, once it holds so many."""
    deadline = time.monotonic() + 10
    while (not path.exists() or len(lines(path)) < count) and time.monotonic() < deadline:
        time.sleep(0.01)
    return lines(path)


def test_the_file_holds_all_the_stream_some_and_the_second_file_errors_alone(opened: Opened) -> None:
    out = io.StringIO()
    files = opened(stream=out, level="warning")
    log = structlog.get_logger()
    log.debug("a.debug", n=1)
    log.info("a.info")
    log.error("an.error", reason="x")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").error("failed")
    files.close()
    assert [line["event"] for line in lines(files.path)] == ["a.debug", "a.info", "an.error", "chatter", "failed"]
    assert [line["event"] for line in lines(files.path.with_name("collect.errors.log"))] == ["an.error", "failed"]
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["an.error", "failed"]


def test_a_new_day_begins_a_new_file_and_what_is_too_old_goes(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    now = time.time()
    for name, age_days in (
        ("collect.log", 1.2), ("collect.log.2026-01-01", 29), ("collect.log.2025-01-01", 31), ("collect.log.mine", 400),
        ("collect.errors.log.2026-01-01", 89), ("collect.errors.log.2025-01-01", 91), ("scan.log.2025-01-01", 400),
    ):  # fmt: skip
        (folder / name).write_text(f'{{"event":"{name}"}}\n')
        os.utime(folder / name, (now - age_days * DAY_S, now - age_days * DAY_S))
    files = opened()
    # A short command meets no midnight: what is too old goes at the start.
    left = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert left == {
        "collect.log", "collect.log.2026-01-01", "collect.log.mine", "collect.errors.log", "collect.errors.log.2026-01-01",
        "scan.log.2025-01-01",
    }  # fmt: skip
    structlog.get_logger().info("today")
    files.close()
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(now - 1.2 * DAY_S))
    assert [line["event"] for line in lines(folder / f"collect.log.{yesterday}")] == ["collect.log"]
    assert [line["event"] for line in lines(folder / "collect.log")] == ["today"]


def test_a_folder_that_cannot_be_written_is_said_once_and_used_when_it_can(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    out = io.StringIO()
    files = opened(stream=out, directory=tmp_path / "taken")
    log = structlog.get_logger()
    for _ in range(3):
        log.info("a.b")
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    (warning,) = [line for line in told if line["level"] == "warning"]
    assert warning["event"] == "logging.file_unwritable"
    assert str(tmp_path / "taken") in warning["path"]
    assert "[logging] directory" in warning["remedy"]
    assert sum(line["event"] == "a.b" for line in told) == 3
    while not files._queue.empty():
        time.sleep(0.01)
    (tmp_path / "taken").unlink()
    log.info("c.d")
    assert settled(files.path, 2)[0]["event"] == "c.d"
    assert "logging.file_recovered" in out.getvalue()


def test_a_days_flood_is_cut_and_errors_are_not(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    files = opened(stream=out, max_mb=1)
    for _ in range(40):
        structlog.get_logger().error("a.flood", text="x" * 50_000)
    files.close()
    assert 1 << 20 < files.path.stat().st_size < 1.2 * (1 << 20)
    assert len(lines(files.path.with_name("collect.errors.log"))) == 40
    assert out.getvalue().count("logging.file_full") == 1


def test_two_processes_of_one_name_never_share_a_file(opened: Opened, tmp_path: Path) -> None:
    files = opened()
    code = (
        "import sys; from pathlib import Path; from overround.ops import LogFiles;"
        "files = LogFiles(Path(sys.argv[1]), 'collect'); print(files.path.name); files.close()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "logs")]
    beside = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert (files.path.name, beside.strip()) == ("collect.log", "collect-2.log")
    files.close()
    after = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert after.strip() == "collect.log"


def test_a_disk_that_stands_still_holds_nobody_up(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "WAITING_LINES", 5)
    out = io.StringIO()
    files = opened(stream=out)
    files._all.acquire()  # as a write that does not return
    try:
        began = time.monotonic()
        for _ in range(50):
            structlog.get_logger().info("a.b")
        took_s = time.monotonic() - began
    finally:
        files._all.release()
    assert took_s < 2
    assert files.dropped >= 40
    assert out.getvalue().count("a.b") == 50

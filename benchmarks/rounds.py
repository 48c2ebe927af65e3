"""What the benchmarks share: cases run in turn, the machine and the versions, tables in Markdown.

Ratios are the result; absolute numbers are context. A ratio of medians that differs much from the ratio of the best
rounds tells of a disturbed machine; so does a wall time well above the processor time of a case that never waits.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CLIENT_CORE",
    "SENDER_CORE",
    "Stopwatch",
    "Took",
    "alternate",
    "machine",
    "markdown",
    "median",
    "of_reference",
    "pin",
    "progress",
    "resident_bytes",
]

SENDER_CORE, CLIENT_CORE = 0, 1


def pin(core: int) -> bool:
    """Keep this process on one core; False where the system cannot."""
    try:
        os.sched_setaffinity(0, {core})
    except (AttributeError, OSError):
        return False
    return True


class Took(NamedTuple):
    """Seconds per unit of work: on the wall, and of this process's processor time."""

    wall: float
    cpu: float


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per(self, units: int) -> Took:
        """What passed since, for each of so many units."""
        return Took((time.perf_counter() - self._wall) / units, (time.process_time() - self._cpu) / units)


def alternate(cases: dict[str, Callable[[], Took]], rounds: int, *, warm: int = 1) -> dict[str, list[Took]]:
    """Run the cases in turn, forth and back.

    What stands at the start is frozen for the collector of garbage, so that no case pays for another's data.
    """
    took: dict[str, list[Took]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(-warm, rounds):
        for name in names if turn % 2 else names[::-1]:
            gc.collect()
            gc.freeze()
            one = cases[name]()
            gc.unfreeze()
            if turn >= 0:
                took[name].append(one)
            progress(f"round {turn + 1:>2}  {name}: {one.wall * 1e6:.2f} us, {one.cpu * 1e6:.2f} us of processor")
    return took


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; every column but the first is aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def of_reference(took: dict[str, list[Took]]) -> str:
    """The cases' processor time, and its share of the first case's: by medians and by the best rounds."""
    cpu = {name: [one.cpu for one in each] for name, each in took.items()}
    reference = next(iter(cpu.values()))
    rows = [
        (
            name,
            f"{median(each) * 1e6:.2f}",
            f"{median(each) / median(reference):.3f}",
            f"{min(each) / min(reference):.3f}",
        )
        for name, each in cpu.items()
    ]
    return markdown(("case", "CPU us/frame", "of reference", "(bests)"), rows)


def machine(*packages: str) -> str:
    """One paragraph: command, date, processor, versions, and how busy the machine is."""
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} absent")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    command = " ".join(["python", Path(sys.argv[0]).parent.name + "/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    return (
        f"`{command}`, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores ({_processor()}){load}; {', '.join(found)}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def resident_bytes() -> int:
    """Resident memory of this process (its peak where the system does not tell the present size)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

"""Print branch coverage by room, from the data of the last test run.

Deciders, feeds and books should stand at 100 %; the table says how far they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

PURE = ("scheduler", "analytics", "book", "market", "fills", "feed.py", "parse.py", "hash.py", "wire.py")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        subprocess.run(
            [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report), "--fail-under=0"], check=True
        )
        files = json.loads(report.read_text())["files"]
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    pure: dict[str, float] = {}
    for name, found in files.items():
        parts = Path(name).parts
        room = "/".join(parts[parts.index("overround") + 1 :][:-1]) or "(top)"
        summary = found["summary"]
        sums = rooms[room]
        sums[0] += summary["covered_lines"]
        sums[1] += summary["num_statements"]
        sums[2] += summary.get("covered_branches", 0)
        sums[3] += summary.get("num_branches", 0)
        if any(word in parts for word in PURE) or (parts[-1] in PURE and "venue" in parts):
            pure["/".join(parts[parts.index("overround") + 1 :])] = summary["percent_covered"]
    print(f"{'room':<24} {'lines':>7} {'branches':>9}")
    for room, (lines, all_lines, branches, all_branches) in sorted(rooms.items()):
        print(
            f"{room:<24} {lines / max(1, all_lines):7.1%} {branches / max(1, all_branches) if all_branches else 1:9.1%}"
        )
    short = {name: percent for name, percent in sorted(pure.items()) if percent < 100}
    print(f"deciders, feeds and books: {len(pure) - len(short)} of {len(pure)} modules at 100 %")
    for name, percent in short.items():
        print(f"  {percent:5.1f} %  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

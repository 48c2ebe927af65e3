"""Run the demo and write what it shows as docs/images/demo.svg.

uv run python scripts/picture.py
"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console

from overround.cli import demo as command
from overround.clock import SystemClock
from overround.ops import configure_logging
from overround.pipelines.demo import run_demo

TARGET = Path(__file__).parents[1] / "docs" / "images" / "demo.svg"


def main() -> None:
    import sys

    configure_logging(level="error", stream=sys.stderr, json=None)
    screen = Console(record=True, width=104, file=io.StringIO())
    screen.print("$ uv run overround demo", style="bold green")
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(
            data_dir=Path(folder) / "demo",
            markets=2_000,
            seed=7,
            duration_s=60,
            clock=SystemClock(),
            say=lambda line: screen.print(f"[dim]{line}[/dim]", highlight=False),
            on_status=None,
            status_ms=1_000,
        )
        result.data_dir = "data/demo"
        command.show(result, screen, files=False, rankings=1)
    picture = screen.export_svg(title="overround demo")
    # The fonts would be fetched from somebody's server: the reader's own monospace serves.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = re.sub(r"<!--.*?-->", "", picture, flags=re.DOTALL)
    TARGET.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Record a simulated day, write its report, and keep two parts of the page as docs/images/report*.png.

uv run --with pillow python scripts/report_picture.py              # needs chromium; some ten minutes
uv run --with pillow python scripts/report_picture.py --lake DIR   # of a lake that was recorded before

The lake is the local exchange's, recorded by the whole collector in accelerated time: 300 markets, 9.6 hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from overround.config import Settings
from overround.testing.soak import run_soak

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DAY = "2026-09-21"
WIDTH = 1200
QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PARTS = (("report.png", 1, (0, 1240)), ("report-liquidity.png", 0, (2100, 3265)))
"""File, scheme (1 light, 0 dark), and the rows of the page that it shows."""


def record(lake: Path) -> None:
    settings = Settings()
    fewer = settings.ingestion.model_copy(update={"hot_count": 12, "max_subs_per_venue": 48})
    run_soak(lake, settings.model_copy(update={"ingestion": fewer}), hours=9.6, markets=300, trace_every=0)


def overround(*words: str) -> None:
    subprocess.run([sys.executable, "-c", "from overround.cli import main; main()", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", type=Path)
    named = parser.parse_args().lake
    with tempfile.TemporaryDirectory() as folder:
        lake = named or Path(folder) / "lake"
        if named is None:
            record(lake)
            for venue in ("polymarket", "kalshi"):
                overround("mm-viability", "--venue", venue, "--date", DAY, "--write-report", "--data-dir", str(lake))
        page = Path(folder) / "report.html"
        overround("report", "--date", DAY, "--data-dir", str(lake), "--out", str(page), "--top", "6")
        for name, scheme, (top, bottom) in PARTS:
            shot = Path(folder) / "shot.png"
            subprocess.run(
                ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", *QUIET, "--hide-scrollbars",
                 f"--user-data-dir={folder}/{name}.profile", f"--blink-settings=preferredColorScheme={scheme}",
                 f"--window-size={WIDTH},{bottom}", f"--screenshot={shot}", page.as_uri()],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip
            with Image.open(shot) as picture:
                part = picture.convert("RGB").crop((0, top, WIDTH, bottom))
                part.quantize(255, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()

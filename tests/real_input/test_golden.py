"""What `overround book` prints for captured recordings does not change unnoticed; only digests are kept.

After a wanted change: ``REWRITE_GOLDEN=1 uv run pytest tests/real_input/test_golden.py -m ""``, and read the
difference.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from overround.cli.app import run

GOLDEN = Path(__file__).parent / "golden_books.json"
KALSHI, POLYMARKET = "recordings/kalshi", "recordings/polymarket"
CASES = {
    "btc, two markets": [
        f"{KALSHI}/ws_btc15m_recorder/rv600_next_evidence_shadow_20260514T043808Z",
        "--venue",
        "kalshi",
    ],
    "btc, three markets": [
        f"{KALSHI}/ws_btc15m_recorder/particle_spot_rv_terminal_oos_RVTERMLOCK001",
        "--venue",
        "kalshi",
    ],
    "gold, in the middle": [
        f"{KALSHI}/ws_gold15m/KXGOLD15M-26AUG102030-30.2026-08-11.ndjson.gz",
        *("--venue", "kalshi", "--ignore-gaps", "--at", "1786407900000"),
    ],
    "gold, after 5,000 changes": [
        f"{KALSHI}/ws_gold15m/KXGOLD15M-26AUG102200-00.2026-08-11.ndjson.gz",
        *("--venue", "kalshi", "--ignore-gaps", "--until-seq", "5000"),
    ],
    "twelve markets": [f"{KALSHI}/ws_small/multi_market_stream_mlb_wnba_20260807.json.gz", "--venue", "kalshi"],
    "kalshi, REST": [f"{KALSHI}/rest_orderbook_raw", "--venue", "kalshi"],
    "polymarket, 2025": [f"{POLYMARKET}/ws_stream_old_format", "--venue", "polymarket"],
    "polymarket, nine members": [f"{POLYMARKET}/ws_frames", "--venue", "polymarket"],
    "polymarket, REST": [f"{POLYMARKET}/rest_books_hash", "--venue", "polymarket"],
}
SLOW = {
    "nba, in the middle": [f"{KALSHI}/ws_nba_20260318", "--venue", "kalshi", "--at", "1773880000000"],
    "nba, after 10,000 changes": [f"{KALSHI}/ws_nba_20260318", "--venue", "kalshi", "--until-seq", "10000"],
}


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        *(pytest.param(name, argv, id=name) for name, argv in CASES.items()),
        *(pytest.param(name, argv, id=name, marks=pytest.mark.slow) for name, argv in SLOW.items()),
    ],
)
def test_the_rebuilt_books_are_the_golden_ones(
    captures: Path, capfd: pytest.CaptureFixture[str], name: str, argv: list[str]
) -> None:
    code = run(["book", str(captures / argv[0]), *argv[1:], "--json"])
    out = capfd.readouterr().out
    rows = [json.loads(line) for line in out.splitlines()]
    seen = {
        "exit_code": code,
        "outcomes": len(rows),
        "changes": sum(row["seq"] for row in rows) // 2,
        "levels": sum(len(row["bids"]) + len(row["asks"]) for row in rows),
        "sha256": hashlib.sha256(out.encode()).hexdigest(),
    }
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {name: seen}, indent=1, sort_keys=True) + "\n")
        return
    assert seen == golden[name]

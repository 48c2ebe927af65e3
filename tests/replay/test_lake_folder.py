from __future__ import annotations

from pathlib import Path

from overround.market import Venue
from overround.replay import open_recording

BOOK = '{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"T","market_id":"m"}}\n'


def test_a_lakes_folder_gives_the_files_of_the_venue_asked_for(tmp_path: Path) -> None:
    for venue in ("kalshi", "polymarket"):
        folder = tmp_path / f"venue={venue}" / "date=2026-01-14"
        folder.mkdir(parents=True)
        text = (
            BOOK if venue == "kalshi" else '[{"event_type":"book","asset_id":"1","market":"0x1","bids":[],"asks":[]}]\n'
        )
        (folder / "frames.jsonl").write_text(text)
    assert len(list(open_recording([tmp_path], Venue.KALSHI))) == 1
    assert len(list(open_recording([tmp_path], Venue.POLYMARKET))) == 1

"""What Kalshi's verdicts rest on, measured on recordings: numbers, levels, crossings, prints against changes.

    OVERROUND_CAPTURES=DIR uv run python benchmarks/kalshi_evidence.py

Every market is watched all the time here, so that every print is judged (live, a rotating sample is). A print is
matched when sizes taken from its level with its venue time explain all of it; a print before the first change of
a watch is not judged. *Doubts* are suspicions that would have asked for a book: on a sound recording each is false.
*Verified* is the part of all changes after which the market's book is. A recording filtered by market has holes
that mean nothing, and its books stay unverified.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from overround.book import BookShelf
from overround.market import Venue
from overround.replay import open_recording
from overround.replay.frames import venue_ms
from overround.venue.kalshi import KalshiFeed, watch

FOLDER = "recordings/kalshi"


@dataclass
class Evidence:
    feed: KalshiFeed
    doubts: int = 0
    crossings: int = 0
    crossed_ms: int = 0


def gather(path: Path, *, filtered: bool, n_frames: int | None = None) -> Evidence:
    """Feed a recording's frames and count, every change watched; ``filtered`` for one whose numbers have holes that mean nothing."""
    watch._MOST_CHANGES = 1_000_000
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=filtered, watch=1_000, watch_share=1_000.0)
    found = Evidence(feed)
    markets = feed._markets
    note_crossed = markets.crossed
    crossed: dict[str, int] = {}

    def count_crossed(ticker: str, now_ms: int) -> None:
        if ticker not in crossed:
            found.crossings += 1
            crossed[ticker] = now_ms
        note_crossed(ticker, now_ms)

    def count_doubt(ticker: str, now_ms: int) -> None:
        found.doubts += 1

    markets.crossed = count_crossed  # type: ignore[method-assign]
    markets._recheck = count_doubt
    now_ms = ticked_ms = n = 0
    for entry in open_recording([path], Venue.KALSHI):
        if entry.frame[:1] != b"{":
            continue
        at_ms = entry.recv_ns // 1_000_000 if entry.recv_ns is not None else venue_ms(entry.frame) or 0
        now_ms = max(now_ms, at_ms)
        feed.receive(entry.frame, now_ms * 1_000_000)
        for ticker in [ticker for ticker in crossed if not feed.books[ticker].crossed]:  # type: ignore[index]
            found.crossed_ms = max(found.crossed_ms, now_ms - crossed.pop(ticker))
        if now_ms - ticked_ms >= 1_000:
            ticked_ms = now_ms
            feed.tick(now_ms=now_ms)
        n += 1
        if n == n_frames:
            break
    feed.tick(now_ms=now_ms + 10_000)
    return found


def main() -> None:
    folder = Path(os.environ.get("OVERROUND_CAPTURES", "")) / FOLDER
    if not folder.is_dir():
        sys.exit("OVERROUND_CAPTURES names no folder with recordings")
    print("recording, changes, prints judged, unmatched, doubts, crossings, longest ms, gaps, negative, back, verified")
    for path, filtered in [
        (folder / "ws_nba_20260318", False),
        *((path, False) for path in sorted((folder / "ws_btc15m_recorder").iterdir())),
        *((path, True) for path in sorted((folder / "ws_gold15m").glob("*.gz"))),
    ]:
        began = time.process_time()
        found = gather(path, filtered=filtered)
        counters = found.feed.counters
        sent = counters.changes + counters.ignored
        verified = "unnumbered" if filtered else f"{counters.changes / sent:.4%} of {sent:,}"
        print(
            f"{path.name[:28]:28} {counters.changes:>9,} {counters.prints_checked:>8,} {counters.prints_unmatched:>3} "
            f"{found.doubts:>3} {found.crossings:>4} {found.crossed_ms:>5} {counters.gaps:>3} "
            f"{counters.negative_levels:>3} {counters.clock_back:>3}  {verified}  ({time.process_time() - began:.0f} s)"
        )


if __name__ == "__main__":
    main()

"""An independent, naive replay: plain dictionaries and decimals, its own parsing, nothing of the package.

It is slow and says what is true: the production readers, feeds and books are compared with it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

Levels = list[tuple[Decimal, Decimal]]


@dataclass
class NaiveKalshi:
    """Books of a Kalshi connection, by ticker and side, as the frames say."""

    books: dict[str, dict[str, dict[Decimal, Decimal]]] = field(default_factory=dict)
    negative_levels: int = 0
    before_snapshot: int = 0
    changes: dict[str, int] = field(default_factory=dict)

    def apply(self, kind: str, msg: dict) -> None:
        ticker = msg.get("market_ticker", "")
        if kind == "orderbook_snapshot":
            self.books[ticker] = {
                side: {Decimal(px): Decimal(sz) for px, sz in msg.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
            self.changes[ticker] = self.changes.get(ticker, 0) + 1
        elif kind == "orderbook_delta":
            if ticker not in self.books:
                self.before_snapshot += 1
                return
            ladder = self.books[ticker][msg["side"]]
            price = Decimal(msg["price_dollars"])
            size = ladder.get(price, Decimal(0)) + Decimal(msg["delta_fp"])
            self.negative_levels += size < 0
            if size:
                ladder[price] = size
            else:
                del ladder[price]
            self.changes[ticker] += 1

    def outcome(self, ticker: str, outcome: str) -> tuple[Levels, Levels]:
        """Bids and asks of one outcome, best first."""
        other = "no" if outcome == "yes" else "yes"
        bids = sorted(self.books[ticker][outcome].items(), reverse=True)
        asks = sorted((1 - px, sz) for px, sz in self.books[ticker][other].items())
        return bids, asks


def frames(path: Path) -> Iterator[dict]:
    """JSON values of a packed file of one per line, blank lines between them."""
    with gzip.open(path, "rt") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def connection(folder: Path, *, until_seq: int | None = None) -> list[dict]:
    """Book frames (sid 1) of a folder with one file per ticker, in the order of their numbers."""
    found: list[dict] = []
    for path in sorted(folder.glob("*.ndjson.gz")):
        for frame in frames(path):
            if frame["sid"] != 1:
                continue
            if until_seq is not None and frame["seq"] > until_seq:
                break
            found.append(frame)
    found.sort(key=lambda frame: frame["seq"])
    return found


def venue_ms(frame: dict) -> int | None:
    """Venue time of a book frame, floored to milliseconds."""
    text = frame["msg"].get("ts")
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def as_decimals(levels: Iterable[Iterable[float]]) -> Levels:
    """Levels of a JSON line (parsed with ``parse_float=Decimal``)."""
    return [(Decimal(px), Decimal(sz)) for px, sz in levels]

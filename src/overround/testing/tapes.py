"""Seeded frames of both venues, written by templates of their own, and recordings of them.

Nothing here comes from the adapters: a tape knows what its books are after each frame, so a test can compare.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

__all__ = ["KalshiTape", "PolymarketTape", "write_lines"]

_ROUND_SIZES = (200, 5, 50, 100, 1000, 300, 10, 500, 20, 25, 600, 900, 225, 1700, 250, 80, 800, 12, 400, 15, 30, 2000)

Ladder = dict[Decimal, Decimal]


@dataclass
class KalshiTape:
    """One Kalshi connection: book frames on sid 1, trades on sid 2, numbered like the venue's.

    Parameters
    ----------
    rng : random.Random
    tickers : list of str
    start_ms : int
        Venue and receive time of the first frame.

    Attributes
    ----------
    frames : list of (int, str, bytes)
        Receive time in milliseconds, ticker (empty for answers), frame without its line end.
    books : dict
        Ticker to ``{"yes": {price: size}, "no": {...}}`` after the last frame.
    """

    rng: random.Random
    tickers: list[str]
    start_ms: int = 1_790_000_000_000
    frames: list[tuple[int, str, bytes]] = field(default_factory=list)
    books: dict[str, dict[str, Ladder]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now_ms = self.start_ms
        self._seq = {1: 0, 2: 0}

    def subscribe(self) -> KalshiTape:
        """Acknowledgement and a snapshot of every market."""
        self._add("", {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}})
        for ticker in self.tickers:
            self.snapshot(ticker)
        return self

    def reconnect(self) -> KalshiTape:
        """A new connection: numbers begin at 1 again, and every market gets a snapshot."""
        self._seq = {1: 0, 2: 0}
        return self.subscribe()

    def snapshot(self, ticker: str) -> None:
        """A fresh random book; mid between 0.20 and 0.80."""
        mid = self.rng.randrange(20, 80)
        book: dict[str, Ladder] = {"yes": {}, "no": {}}
        for side, best in (("yes", mid - 1), ("no", 99 - mid)):
            for price in range(best, max(0, best - 30), -1):
                if self.rng.random() < 0.7 or price == best:
                    book[side][Decimal(price) / 100] = Decimal(self.rng.randrange(1, 500_000)) / 100
        self.books[ticker] = book
        levels = {
            f"{side}_dollars_fp": [[f"{px:.4f}", f"{sz:.2f}"] for px, sz in sorted(ladder.items())]
            for side, ladder in book.items()
            if ladder
        }
        self._number(1, "orderbook_snapshot", ticker, levels)

    def clear(self, ticker: str) -> None:
        """The empty snapshot that closes a market."""
        self.books[ticker] = {"yes": {}, "no": {}}
        self._number(1, "orderbook_snapshot", ticker, {})

    def run(self, n_frames: int) -> KalshiTape:
        """Random changes, one in ten followed by a trade."""
        for _ in range(n_frames):
            self.now_ms += self.rng.choice((0, 0, 0, 1, 1, 3, 20))
            ticker = self.rng.choice(self.tickers)
            side = self.rng.choice(("yes", "no"))
            ladder = self.books[ticker][side]
            other = self.books[ticker]["no" if side == "yes" else "yes"]
            highest = 99 - int(max(other, default=Decimal(0)) * 100)
            # Few sizes make up most changes: 5,407 texts in the 60,000 first frames of an NBA evening.
            known = self.rng.random() < 0.9
            change = Decimal(self.rng.choice(_ROUND_SIZES) if known else self.rng.randrange(1, 90_000)) / (
                1 if known else 100
            )
            if ladder and self.rng.random() < 0.5:
                # Half of the changes lower a level; one in seven of those removes it.
                price = self.rng.choice(list(ladder))
                change = -ladder[price] if self.rng.random() < 0.15 else -min(ladder[price], change)
            else:
                price = Decimal(self.rng.randrange(1, max(2, highest))) / 100
            size = ladder.get(price, Decimal(0)) + change
            if size:
                ladder[price] = size
            else:
                ladder.pop(price, None)
            stamp = f"2026-09-21T14:13:20.{self.now_ms % 1000:03d}{self.rng.randrange(1000):03d}Z"
            self._number(
                1,
                "orderbook_delta",
                ticker,
                {"price_dollars": f"{price:.4f}", "delta_fp": f"{change:.2f}", "side": side}
                | {"ts": stamp, "ts_ms": self.now_ms},
            )
            if self.rng.random() < 0.1:
                self._number(
                    2, "trade", ticker, {"yes_price_dollars": "0.5000", "count_fp": "1.00", "ts_ms": self.now_ms}
                )
        return self

    def split(self) -> dict[str, list[bytes]]:
        """Frames by ticker, as a recorder that keeps a file per market splits them."""
        files: dict[str, list[bytes]] = {ticker: [] for ticker in self.tickers}
        for _, ticker, frame in self.frames:
            if ticker:
                files[ticker].append(frame)
        return files

    def _number(self, sid: int, kind: str, ticker: str, fields: Mapping[str, object]) -> None:
        self._seq[sid] += 1
        message = {"market_ticker": ticker, "market_id": "6531426a-e352-40dd-886c-807ec6472403"} | dict(fields)
        self._add(ticker, {"type": kind, "sid": sid, "seq": self._seq[sid], "msg": message})

    def _add(self, ticker: str, frame: dict[str, object]) -> None:
        self.frames.append((self.now_ms, ticker, json.dumps(frame, separators=(",", ":")).encode()))


@dataclass
class PolymarketTape:
    """One binary market's frames on the market channel, both tokens, with the venue's hashes.

    Parameters
    ----------
    rng : random.Random
    market : str
        Condition id.
    tokens : (str, str)
    start_ms : int
    with_hashes : bool
        Whether hashes are computed (they cost more than the rest).

    Attributes
    ----------
    frames : list of (int, bytes)
        Receive time in milliseconds and frame.
    bids, asks : dict
        The first token's book after the last frame.
    """

    rng: random.Random
    market: str = "0x" + "ab" * 32
    tokens: tuple[str, str] = ("1" * 77, "2" * 77)
    start_ms: int = 1_790_000_000_000
    with_hashes: bool = True
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    bids: Ladder = field(default_factory=dict)
    asks: Ladder = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now_ms = self.start_ms
        self._recent: list[Decimal] = []

    def subscribe(self) -> PolymarketTape:
        """The array with both tokens' books."""
        for price in range(1, 50):
            if self.rng.random() < 0.8:
                self.bids[Decimal(price) / 100] = Decimal(self.rng.randrange(500, 500_000)) / 100
            if self.rng.random() < 0.8:
                self.asks[Decimal(price + 50) / 100] = Decimal(self.rng.randrange(500, 500_000)) / 100
        books = [self._book(token) | {"event_type": "book", "last_trade_price": "0.5"} for token in (0, 1)]
        self._add(books)
        return self

    def run(self, n_frames: int) -> PolymarketTape:
        """Changes of one level each, told for both tokens."""
        for _ in range(n_frames):
            self.now_ms += self.rng.choice((1, 1, 2, 15, 80))
            is_bid = self.rng.random() < 0.5
            ladder = self.bids if is_bid else self.asks
            if ladder and self.rng.random() < 0.13:
                price, size = self.rng.choice(list(ladder)), Decimal(0)
            else:
                low, high = (1, 50) if is_bid else (51, 100)
                price = Decimal(self.rng.randrange(low, high)) / 100
                size = self._size()
            if size:
                ladder[price] = size
            else:
                ladder.pop(price, None)
            self._add(
                {
                    "market": self.market,
                    "price_changes": [self._change(token, is_bid, price, size) for token in (0, 1)],
                    "timestamp": str(self.now_ms),
                    "event_type": "price_change",
                }
            )
        return self

    def _size(self) -> Decimal:
        """A size that repeats as captured ones do: half are round, a fifth of the texts is seen once."""
        kind = self.rng.random()
        if kind < 0.45:
            return Decimal(self.rng.choice(_ROUND_SIZES))
        if kind < 0.80 and self._recent:
            return self.rng.choice(self._recent)
        size = Decimal(self.rng.randrange(500, 500_000)) / 100
        self._recent = [*self._recent[-30:], size]
        return size

    def _change(self, token: int, is_bid: bool, price: Decimal, size: Decimal) -> dict[str, str]:  # noqa: FBT001
        bids, asks = self._sides(token)
        return {
            "asset_id": self.tokens[token],
            "price": _plain(price if token == 0 else 1 - price),
            "size": _plain(size),
            "side": "BUY" if is_bid == (token == 0) else "SELL",
            "hash": str(self._book(token)["hash"]) if self.with_hashes else "0" * 40,
            "best_bid": _plain(max(bids, default=Decimal(0))),
            "best_ask": _plain(min(asks, default=Decimal(1))),
        }

    def _sides(self, token: int) -> tuple[Ladder, Ladder]:
        if token == 0:
            return self.bids, self.asks
        return {1 - px: sz for px, sz in self.asks.items()}, {1 - px: sz for px, sz in self.bids.items()}

    def _book(self, token: int) -> dict[str, object]:
        bids, asks = self._sides(token)
        book: dict[str, object] = {
            "market": self.market,
            "asset_id": self.tokens[token],
            "timestamp": str(self.now_ms),
            "hash": "",
            "bids": [{"price": _plain(px), "size": _plain(sz)} for px, sz in sorted(bids.items())],
            "asks": [{"price": _plain(px), "size": _plain(sz)} for px, sz in sorted(asks.items(), reverse=True)],
        }
        hashed = book | {"min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": "0.5"}
        text = json.dumps(hashed, separators=(",", ":")).encode()
        return book | {"hash": hashlib.sha1(text, usedforsecurity=False).hexdigest(), "tick_size": "0.01"}

    def _add(self, frame: object) -> None:
        self.frames.append((self.now_ms, json.dumps(frame, separators=(",", ":")).encode()))


def write_lines(path: Path, lines: Iterable[bytes], *, blank_between: bool = False) -> Path:
    """Write lines to a file, packed with gzip if its name ends so."""
    data = b"".join(line + (b"\n\n" if blank_between else b"\n") for line in lines)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def _plain(value: Decimal) -> str:
    """Shortest plain decimal."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

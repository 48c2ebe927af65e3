"""A venue in a few lines: answers commands, changes books, numbers frames. It knows nothing of the adapter."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from overround.book import BookShelf
from overround.testing.markets import a_market
from overround.venue.kalshi import KalshiFeed
from overround.venue.ports import FeedEventKind

T0 = 1_790_000_000_000
A, B, C = (a_market(n) for n in (1, 2, 3))

Ladders = dict[str, dict[int, int]]


class ScriptedVenue:
    """One connection's venue side: prices in cents, sizes in hundredths.

    Attributes
    ----------
    books : dict
        Ticker to ``{"yes": {cents: hundredths}, "no": ...}``, as they are now.
    deaf : set of str
        Commands or actions that are taken and never answered nor obeyed.
    forgetful : set of str
        Markets whose next snapshots are lost on the way.
    commands : list of dict
        Everything received.
    """

    def __init__(self, rng: random.Random, tickers: list[str]) -> None:
        self.rng = rng
        self.books: dict[str, Ladders] = {ticker: self._new_book() for ticker in tickers}
        self.deaf: set[str] = set()
        self.forgetful: set[str] = set()
        self.commands: list[dict[str, Any]] = []
        self.sent: list[bytes] = []
        self.now_ms = T0
        self.connect()

    def connect(self) -> None:
        """A new connection: sids and numbers begin anew."""
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.sids = 0

    def _new_book(self) -> Ladders:
        mid = self.rng.randrange(30, 70)
        return {
            "yes": {mid - 1 - n: self.rng.randrange(100, 10_000) for n in range(5)},
            "no": {99 - mid - n: self.rng.randrange(100, 10_000) for n in range(5)},
        }

    # -- frames ------------------------------------------------------------------------------------------

    def number(self, channel: str) -> dict[str, int]:
        sub = self.subscriptions[channel]
        sub["seq"] += 1
        return {"sid": sub["sid"], "seq": sub["seq"]}

    def send(self, frame: dict[str, Any]) -> bytes:
        text = json.dumps(frame, separators=(",", ":")).encode() + b"\n"
        self.sent.append(text)
        return text

    def snapshot(self, ticker: str, number: int | None = None) -> None:
        book = self.books.get(ticker)
        msg: dict[str, Any] = {"market_ticker": ticker, "market_id": f"uuid-{ticker}" if book else ""}
        for side, ladder in (book or {}).items():
            if ladder:
                msg[f"{side}_dollars_fp"] = [
                    [f"{px / 100:.4f}", f"{sz / 100:.2f}"] for px, sz in sorted(ladder.items())
                ]
        head = {"type": "orderbook_snapshot", **({"id": number} if number else {}), **self.number("orderbook_delta")}
        if ticker not in self.forgetful:
            self.send({**head, "msg": msg})

    def change(self, ticker: str) -> bytes | None:
        """One random change of a market, never crossing; its frame if anybody subscribed."""
        book, side = self.books[ticker], self.rng.choice(["yes", "no"])
        other = book["no" if side == "yes" else "yes"]
        px = self.rng.randrange(1, 100 - max(other, default=0))
        held = book[side].get(px, 0)
        delta = -held if held and self.rng.random() < 0.3 else self.rng.randrange(1, 5_000)
        return self.put(ticker, side, px, delta)

    def put(self, ticker: str, side: str, px: int, delta: int, *, true: bool = True) -> bytes | None:
        """A given change; ``true=False`` leaves the venue's own book alone."""
        if true:
            ladder = self.books[ticker][side]
            ladder[px] = ladder.get(px, 0) + delta
            if not ladder[px]:
                del ladder[px]
        self.now_ms += 1
        sub = self.subscriptions.get("orderbook_delta")
        if sub is None or ticker not in sub["markets"]:
            return None
        msg = {
            "market_ticker": ticker,
            "market_id": f"uuid-{ticker}",
            "price_dollars": f"{px / 100:.4f}",
            "delta_fp": f"{delta / 100:.2f}",
            "side": side,
            "ts": "2026-09-21T14:13:20.000001Z",
            "ts_ms": self.now_ms,
        }
        return self.send({"type": "orderbook_delta", **self.number("orderbook_delta"), "msg": msg})

    def match(
        self, ticker: str, taker: str, size: int, *, change: bool = True, told: bool = True, **more: Any
    ) -> tuple[bytes | None, bytes | None]:
        """A taker of ``taker`` takes from the best level of the other side: its change, then its print."""
        side = "no" if taker == "yes" else "yes"
        px = max(self.books[ticker][side])
        size = min(size, self.books[ticker][side][px])
        frame = self.put(ticker, side, px, -size) if change else None
        return frame, self.trade(ticker, taker, 100 - px if side == "no" else px, size, **more) if told else None

    def trade(self, ticker: str, taker: str, yes_px: int, size: int, **more: Any) -> bytes:
        """A print at a YES price in cents."""
        msg = {
            "trade_id": "t",
            "market_ticker": ticker,
            "yes_price_dollars": f"{yes_px / 100:.4f}",
            "no_price_dollars": f"{(100 - yes_px) / 100:.4f}",
            "count_fp": f"{size / 100:.2f}",
            "taker_side": taker,
            "taker_outcome_side": taker,
            "ts": self.now_ms // 1000,
            "ts_ms": self.now_ms,
            **more,
        }
        msg = {key: value for key, value in msg.items() if value is not None}
        return self.send({"type": "trade", **self.number("trade"), "msg": msg})

    def ack(self, number: int, channel: str, kind: str = "ok") -> None:
        msg = (
            {}
            if kind == "unsubscribed"
            else {"msg": {"market_tickers": sorted(self.subscriptions[channel]["markets"])}}
        )
        self.send({"type": kind, "id": number, **self.number(channel), **msg})

    def error(self, code: int, text: str = "", **more: Any) -> None:
        head = {key: more.pop(key) for key in ("id", "sid", "seq") if key in more}
        self.send({"type": "error", **head, "msg": {"code": code, "msg": text, **more}})

    # -- commands ----------------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        command = json.loads(text)
        self.commands.append(command)
        params = command["params"]
        word = params.get("action", command["cmd"])
        if word in self.deaf:
            return
        if command["cmd"] == "subscribe":
            for channel in params["channels"]:
                self._subscribe(command["id"], channel, params.get("market_tickers", []))
            return
        channel = self._channel_of(params["sids"][0])
        if channel is None:
            self.error(7, "Unknown subscription ID", id=command["id"])
        elif word == "unsubscribe":
            self.ack(command["id"], channel, "unsubscribed")
            del self.subscriptions[channel]
        elif word == "get_snapshot":
            for ticker in params["market_tickers"]:
                self.snapshot(ticker, command["id"])
        else:
            markets = self.subscriptions[channel]["markets"]
            named = dict.fromkeys(params["market_tickers"])
            new = [ticker for ticker in named if ticker not in markets]
            if word == "add_markets":
                markets.update(named)
            else:
                for ticker in named:
                    markets.pop(ticker, None)
            self.ack(command["id"], channel)
            if word == "add_markets" and channel == "orderbook_delta":
                for ticker in new:
                    self.snapshot(ticker)

    def _subscribe(self, number: int, channel: str, tickers: list[str]) -> None:
        sub = self.subscriptions.get(channel)
        new = [ticker for ticker in tickers if sub is None or ticker not in sub["markets"]]
        if sub is None:
            self.sids += 1
            self.subscriptions[channel] = {"sid": self.sids, "seq": 0, "markets": dict.fromkeys(tickers)}
            self.send({"type": "subscribed", "id": number, "msg": {"channel": channel, "sid": self.sids}})
        else:
            sub["markets"].update(dict.fromkeys(tickers))
            self.ack(number, channel)
        if channel == "orderbook_delta":
            for ticker in new:
                self.snapshot(ticker)

    def _channel_of(self, sid: int) -> str | None:
        return next((name for name, sub in self.subscriptions.items() if sub["sid"] == sid), None)

    def e_units(self, ticker: str) -> tuple[dict[int, int], dict[int, int]]:
        """The YES book in the project's integers."""
        book = self.books[ticker]
        bids = {px * 100: sz * 10_000 for px, sz in book["yes"].items()}
        asks = {10_000 - px * 100: sz * 10_000 for px, sz in book["no"].items()}
        return bids, asks


class Wire:
    """A feed and a scripted venue, joined; time moves when it is told to."""

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.venue = ScriptedVenue(random.Random(seed), [str(m.market_id) for m in (A, B, C)])
        self.feed = KalshiFeed(BookShelf(), **options)
        self.feed.add([A, B, C], now_ms=T0)
        self.now_ms = T0
        self.tamper: Callable[[bytes], list[bytes]] = lambda frame: [frame]

    def open(self) -> Wire:
        self.feed.opened(now_ms=self.now_ms)
        return self.run()

    def reopen(self) -> Wire:
        self.feed.lost(now_ms=self.now_ms, reason="test")
        self.venue.connect()
        self.venue.sent.clear()
        return self.open()

    def run(self) -> Wire:
        """Carry commands and frames until both sides are silent."""
        while self.feed.outbox or self.venue.sent:
            outbox, self.feed.outbox = self.feed.outbox, []
            for text in outbox:
                self.venue.receive(text)
            sent, self.venue.sent = self.venue.sent, []
            for frame in sent:
                for one in self.tamper(frame):
                    self.feed.receive(one, self.now_ms * 1_000_000)
        return self

    def wait(self, ms: int) -> Wire:
        """Let time pass; the feed is ticked whenever its deadline has come, as a shell would."""
        until = self.now_ms + ms
        for _ in range(10_000):
            due = self.feed.deadline_ms()
            if due is None or due > until:
                break
            self.now_ms = max(self.now_ms, due)
            self.feed.tick(now_ms=self.now_ms)
            self.run()
            assert self.feed.deadline_ms() is None or self.feed.deadline_ms() != due, "a deadline that never passes"
        self.now_ms = until
        return self

    def words(self) -> list[str]:
        """What was asked for, in order."""
        return [c["params"].get("action", c["cmd"]) for c in self.venue.commands]

    def events(self, kind: FeedEventKind) -> list[tuple[str, str]]:
        return [(str(e.market_id), e.detail) for e in self.feed.events if e.kind is kind]

    def equal(self, market: Any) -> bool:
        book = self.feed.books[market.market_id]
        return (book.bids, book.asks) == self.venue.e_units(market.market_id)

    def live(self) -> list[bool]:
        return [book.live for book in self.feed.books.values()]

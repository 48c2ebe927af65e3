"""One connection to the market channel as such: what is wanted on it, what is said on it, and whether it lives.

Commands are not acknowledged, so what was asked for waits with a deadline; that the deadline passes is the repair's
business. Heartbeats are texts of the venue's own. A connection can answer each of them and deliver nothing for hours;
that is for the collector's silence watch to find.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from overround.book import Book, BookShelf
from overround.market import Market, MarketId, OutcomeId, Trade
from overround.venue.polymarket.hash import HashEra
from overround.venue.polymarket.held import NEVER, Held
from overround.venue.polymarket.sampling import HashBudget
from overround.venue.ports import PRINTS_MAX, FeedCounters, FeedEvent, FeedEventKind
from overround.venue.repair import Ladder, Pace, RepairBudgets, Saw

__all__ = ["PACE", "Connection"]

PACE = Pace(
    joining=30_000, recheck=500, resnapshot=2_000, resubscribe=10_000, renew=10_000, reconnect=30_000, rest=10_000
)
"""A dump that has not come within 30 s does not come; after an explicit repair ten are enough."""

_PASSIVE_EVERY = 256


class Connection:
    """One connection: what is wanted on it, what is sent, whether it lives.

    Parameters
    ----------
    shelf : BookShelf
        Where the books live.
    rng : random.Random or None
        Jitter of heartbeats; None for none.
    heartbeat_ms : int
        Milliseconds between two ``PING``; the connection is given up when nothing at all has come since the last but
        one.
    passive : bool
        Replay: takes every market it sees, sends nothing, repairs nothing.
    hash_era : HashEra or None
        None: ten members when live; tried out and remembered when passive.
    check_each : bool
        Recompute every announced hash (replay), not only what ``verdict`` asks for.
    follow_all : bool
        Report LISTED and RESOLVED of markets not held here: one connection of a venue should.
    chunk_tokens, chunk_gap_ms : int
        A large subscription goes out in commands of so many tokens, so far apart.
    hash_every : int
        Prove every so many changes of a book between its rows; 0 for none.
    hash_share : float
        Reckoned share of a core that proofs may take before samples are skipped.
    budgets : RepairBudgets or None
        What the venue's connections may spend on repairs together; None for budgets of its own.

    Attributes
    ----------
    outbox, events, reconnect_reason, counters, last_recv_ns
        See ``venue.ports.Feed``.
    """

    # More than thirty attributes: a dict of so many is no longer shared, and each access on the hot path would search it.
    __slots__ = (
        "_books",
        "_by_token",
        "_bytes",
        "_changes",
        "_check_each",
        "_chunk_gap_ms",
        "_chunk_markets",
        "_chunk_ms",
        "_connected",
        "_counters",
        "_era_given",
        "_eras",
        "_follow_all",
        "_frames",
        "_greeted",
        "_hash_budget",
        "_heartbeat_ms",
        "_held",
        "_hot",
        "_hot_frames",
        "_ladder",
        "_odd_trades",
        "_passive",
        "_ping_ms",
        "_pings",
        "_prints",
        "_recv_at_ping",
        "_rng",
        "_sample_every",
        "_shelf",
        "_to_ask",
        "_wake_ms",
        "events",
        "last_recv_ns",
        "outbox",
        "reconnect_reason",
    )

    def __init__(
        self,
        shelf: BookShelf,
        *,
        rng: random.Random | None = None,
        heartbeat_ms: int = 10_000,
        passive: bool = False,
        hash_era: HashEra | None = None,
        check_each: bool = False,
        follow_all: bool = False,
        chunk_tokens: int = 100,
        chunk_gap_ms: int = 250,
        hash_every: int = 64,
        hash_share: float = 0.1,
        budgets: RepairBudgets | None = None,
    ) -> None:
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.last_recv_ns = 0
        # What every frame counts up are ints of the feed's own: in the struct they would cost three times more. A frame
        # of the hot path is one change.
        self._hot_frames = self._frames = self._bytes = self._changes = 0
        self._counters = FeedCounters()
        # Prints of the common form, unread, and those of any other.
        self._prints: deque[tuple[Held, bytes, int]] = deque(maxlen=PRINTS_MAX)
        self._odd_trades: deque[Trade] = deque(maxlen=PRINTS_MAX)
        self._shelf = shelf
        self._rng = rng
        self._heartbeat_ms = heartbeat_ms
        self._passive = passive
        self._check_each = check_each
        self._follow_all = follow_all
        self._chunk_markets = max(1, chunk_tokens // 2)
        self._chunk_gap_ms = chunk_gap_ms
        self._eras = _eras(hash_era, passive=passive)
        self._era_given = hash_era is not None
        self._held: dict[MarketId, Held] = {}
        self._books: dict[MarketId, Book] = {}
        self._by_token: dict[str, Held] = {}
        # First tokens only, and empty while every hash is to be checked: the hot path then finds nothing.
        self._hot: dict[str, Held] = {}
        self._connected = False
        self._greeted = False
        self._to_ask: deque[MarketId] = deque()
        self._chunk_ms = 0
        self._ping_ms = 0
        self._pings = 0
        self._recv_at_ping = 0
        self._wake_ms = NEVER
        self._ladder = Ladder(budgets)
        # A replay repairs nothing: it only counts best prices that differ, and rarely looks.
        self._sample_every = _PASSIVE_EVERY if passive else hash_every or NEVER
        self._hash_budget = HashBudget(hash_share)

    # --- what the shell reads ---------------------------------------------------------------------------------------

    @property
    def counters(self) -> FeedCounters:
        """What was counted so far; read anew each time."""
        counted = self._counters
        counted.frames = self._hot_frames + self._frames
        counted.changes = self._hot_frames + self._changes
        counted.bytes = self._bytes
        return counted

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection, live or not."""
        return self._books

    @property
    def hash_era(self) -> HashEra | None:
        """The era in which hashes are recomputed; None while a replay has not found out."""
        return self._eras[0] if len(self._eras) == 1 else None

    def tokens(self, market_id: MarketId) -> tuple[OutcomeId, ...]:
        """Outcome ids of a market, first outcome first (in replay, as far as they have been seen)."""
        held = self._held.get(market_id)
        return tuple(OutcomeId(token) for token in held.tokens if token) if held else ()

    def hash_counts(self, outcome_id: OutcomeId) -> tuple[int, int]:
        """How many announced hashes of that token were recomputed, and how many matched."""
        held = self._by_token.get(outcome_id)
        if held is None:
            return 0, 0
        index = 0 if outcome_id == held.tokens[0] else 1
        return held.checked[index], held.matched[index]

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        if not self._connected or self._passive:
            return None
        return min(self._wake_ms, self._ping_ms)

    # --- what is wanted ---------------------------------------------------------------------------------------------

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets; commands are sent if the connection stands, else at ``opened``."""
        for market in markets:
            if market.market_id in self._held:
                continue
            if len(market.outcome_ids) != 2:
                self._report(FeedEventKind.REJECTED, market.market_id, "market has not two tokens", now_ms=now_ms)
                continue
            self._hold(Held.of(market, self._shelf.open(market.market_id)))
            if self._connected:
                self._to_ask.append(market.market_id)
        self._ask(now_ms)

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Want fewer markets; their levels are dropped."""
        waiting = set(self._to_ask)
        asked: list[str] = []
        for market_id in market_ids:
            held = self._held.pop(market_id, None)
            if held is None:
                continue
            for token in held.tokens:
                self._by_token.pop(token, None)
            self._hot.pop(held.tokens[0], None)
            del self._books[market_id]
            self._shelf.close(market_id)
            if market_id not in waiting:
                asked += held.tokens
        self._to_ask = deque(market_id for market_id in self._to_ask if market_id in self._held)
        if asked and self._connected and not self._passive:
            self._send({"operation": "unsubscribe", "assets_ids": asked})

    def _hold(self, held: Held) -> None:
        self._held[held.market_id] = held
        self._books[held.market_id] = held.book
        for token in held.tokens:
            if token:
                self._by_token[token] = held
        if not self._check_each:
            self._hot[held.tokens[0]] = held

    # --- the connection ---------------------------------------------------------------------------------------------

    def opened(self, *, now_ms: int) -> None:
        """The connection stands: ask for everything wanted."""
        self._connected = True
        self._greeted = False
        self._pings = 0
        self._wake_ms = NEVER
        self._plan_ping(now_ms)
        self._to_ask = deque(market_id for market_id, held in self._held.items() if not held.closed)
        self._chunk_ms = now_ms
        self._ask(now_ms)

    # --- heartbeat --------------------------------------------------------------------------------------------------

    def _heartbeat(self, now_ms: int) -> None:
        """Send ``PING``; after two without any frame since, the connection is dead."""
        for held in self._held.values():
            held.drop_unused_text()
        if self._pings >= 2 and self.last_recv_ns == self._recv_at_ping:
            self.reconnect_reason = "heartbeat"
        if self._pings == 0 or self.last_recv_ns != self._recv_at_ping:
            self._pings = 0
            self._recv_at_ping = self.last_recv_ns
        self._pings += 1
        self.outbox.append("PING")
        self._plan_ping(now_ms)

    def _plan_ping(self, now_ms: int) -> None:
        jitter = self._rng.uniform(0.9, 1.0) if self._rng is not None else 1.0
        self._ping_ms = now_ms + int(self._heartbeat_ms * jitter)

    def _want_rest(self, held: Held, why: str, now_ms: int) -> None:
        if not self._passive:
            self._report(FeedEventKind.REST_WANTED, held.market_id, why, now_ms=now_ms)

    # --- commands ---------------------------------------------------------------------------------------------------

    def _ask(self, now_ms: int) -> None:
        """Send the next waiting subscription if its time has come."""
        if not self._to_ask or not self._connected or self._passive:
            self._to_ask.clear()
            return
        if now_ms < self._chunk_ms:
            self._wake_at(self._chunk_ms)
            return
        tokens: list[str] = []
        for _ in range(min(self._chunk_markets, len(self._to_ask))):
            held = self._held[self._to_ask.popleft()]
            held.asked_ms = now_ms
            tokens += held.tokens
            held.mend.see(Saw.ASKED, now_ms)
            self._await(held, now_ms)
        self._send_subscribe(tokens)
        self._chunk_ms = now_ms + self._chunk_gap_ms
        if self._to_ask:
            self._wake_at(self._chunk_ms)

    def _send_subscribe(self, tokens: list[str]) -> None:
        if self._greeted:
            self._send({"operation": "subscribe", "assets_ids": tokens, "custom_feature_enabled": True})
        else:
            # Only the first message of a connection has this form; only it asks for the dump in so many words.
            self._greeted = True
            self._send({"assets_ids": tokens, "type": "market", "custom_feature_enabled": True, "initial_dump": True})

    def _send(self, command: Mapping[str, object]) -> None:
        self.outbox.append(msgspec.json.encode(command).decode())

    # --- small things -----------------------------------------------------------------------------------------------

    def _await(self, held: Held, now_ms: int) -> None:
        """Set the time of the repair step or first book that is awaited."""
        self._wake_at(held.mend.await_by(PACE, now_ms))

    def _plan(self, held: Held, at_ms: int) -> None:
        held.mend.due_ms = at_ms
        self._wake_at(at_ms)

    def _wake_at(self, at_ms: int) -> None:
        self._wake_ms = min(self._wake_ms, at_ms)

    def _report(
        self,
        kind: FeedEventKind,
        market_id: MarketId,
        detail: str,
        *,
        now_ms: int,
        took_ms: int | None = None,
        since_ns: int | None = None,
    ) -> None:
        self.events.append(
            FeedEvent(
                kind=kind,
                ts_recv_ns=now_ms * 1_000_000,
                market_id=market_id,
                detail=detail,
                took_ms=took_ms,
                since_ns=since_ns,
            )
        )


def _eras(era: HashEra | None, *, passive: bool) -> tuple[HashEra, ...]:
    if era is not None:
        return (era,)
    return tuple(sorted(HashEra, reverse=True)) if passive else (HashEra.TEN,)

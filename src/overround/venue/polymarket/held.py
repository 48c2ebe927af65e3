"""One market as a connection holds it: its book, what was announced about it, and where its repair stands.

The book is kept for the first token; frames of the second are turned over before they touch it. ``newest_ms`` rules
what is applied: it is the venue time of the newest change, or ``NEVER`` while there is no book to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import gcd
from typing import NamedTuple

import msgspec

from overround.book import Book
from overround.errors import UNREADABLE, WireError
from overround.market import PX_ONE_E4, Market, MarketId, px_e4, px_text, sz_text
from overround.venue.polymarket.hash import (
    OLD_SHIFTS_MS,
    HashEra,
    HashInputs,
    HashProof,
    last_trade_candidates,
    prove,
)
from overround.venue.polymarket.kept_text import KeptText
from overround.venue.polymarket.parse import Delta, deltas, mirrored, timestamp_ms
from overround.venue.polymarket.sampling import proof_again_cost_ns, proof_cost_ns, wide_search_cost_ns
from overround.venue.polymarket.wire import decode_event, decode_hashes
from overround.venue.ports import RestBook
from overround.venue.repair import Mend

__all__ = ["NEVER", "Announced", "Change", "Claim", "Held"]

NEVER = 1 << 62
"""A time after every other: nothing is new enough to be applied."""

_TICKS = ("0.01", "0.001", "0.1", "0.005", "0.0025", "0.0001")
# After so many failures without one success the wide search stops: the book is trimmed, or the venue hashes anew.
_WIDE_SEARCHES = 20


class Announced(NamedTuple):
    """A hash that the venue announced for the newest state of one token's book."""

    first: bool
    hash: str
    ts_ms: int


class Change(NamedTuple):
    """A level change in terms of the first token's book; ``first`` tells which token's frame said it."""

    bid: bool
    px_e4: int
    sz_e6: int
    first: bool


class Claim(NamedTuple):
    """Best prices of the first token that a ``best_bid_ask`` announced."""

    bid_e4: int
    ask_e4: int
    ts_ms: int
    recv_ms: int


class Held:
    """One wanted market.

    Attributes
    ----------
    market_id : MarketId
    tokens : tuple of str
        First and second token; the second is empty in replay until it is seen.
    second : str
        The second token again, for the hot path.
    book : Book
    newest_ms : int
        Venue time of the newest change, ``NEVER`` while there is no book.
    frame : bytes or None
        The ``price_change`` that made the newest change; its hashes are read only when they are asked for.
    snapshot_ms, snapshot_seq, snapshot_hash
        Time of the last whole book, ``book.seq`` after it, and its hash by token (first, second).
    tick, min_size, neg_risk, last_trade : str, str, bool or None, str
        What the hash needs besides the levels; ``neg_risk`` None where nobody has said it.
    trades : tuple of str
        Prices of the last eight prints, newest first.
    proved : bool
        A hash of this market has been recomputed: from then on a mismatch means a wrong book.
    proven_ns, whole_ns : int
        Receive time of what the last proof proved (the newest change, or a REST book that was equal) and of the last
        whole book; 0 for never.
    lost_ns : int
        Receive time of the last frame of the connection with which its live book was lost, until a whole book comes.
    doubted_ns : int
        Until when it was known to be right before a proof failed; 0 while none has.
    checked_seq : int
        ``book.seq`` at the last verdict.
    checked, matched : list of int
        Hashes recomputed and matched, by token.
    cost_ns : int
        What the last proof is reckoned to have cost.
    text : KeptText or None
        The book as hashed, while it is proved often.
    touched : list of int
        Levels changed since ``text`` was last right: a bid's price, an ask's with a minus sign.
    mend : Mend
        Where its repair stands.
    asked_ms, gap_ms : int or None
        When it was last subscribed, when the present gap was noticed.
    best_off_ms : int or None
        Since when the announced best prices differ from ours.
    claim : Claim or None
        Best prices announced alone, not looked at yet.
    audit, audit_ms : RestBook or None, int or None
        A REST book that is newer than ours, and when it will count.
    rest_seq : int or None
        ``book.seq`` after a book was taken from REST, until the socket speaks again.
    """

    __slots__ = (
        "_announced",
        "_failures",
        "_inputs",
        "_read",
        "_recent",
        "_text_used",
        "asked_ms",
        "audit",
        "audit_ms",
        "best_off_ms",
        "book",
        "checked",
        "checked_seq",
        "claim",
        "closed",
        "cost_ns",
        "doubted_ns",
        "frame",
        "gap_ms",
        "last_trade",
        "lost_ns",
        "market_id",
        "matched",
        "mend",
        "min_size",
        "neg_risk",
        "newest_ms",
        "proved",
        "proven_ns",
        "rest_seq",
        "second",
        "snapshot_hash",
        "snapshot_ms",
        "snapshot_seq",
        "text",
        "tick",
        "tokens",
        "touched",
        "trades",
        "whole_ns",
    )

    def __init__(self, market_id: MarketId, tokens: tuple[str, str], book: Book) -> None:
        self.market_id = market_id
        self.tokens = tokens
        self.second = tokens[1]
        self.book = book
        self.newest_ms = NEVER
        self.frame: bytes | None = None
        self._announced: list[Announced] = []
        self._recent: Sequence[Change] = ()
        self._failures = 0
        self._read: tuple[bytes, list[Delta], int] | None = None
        self._inputs: HashInputs | None = None
        self._text_used = False
        self.text: KeptText | None = None
        self.touched: list[int] = []
        self.snapshot_ms = 0
        self.snapshot_seq = 0
        self.snapshot_hash = ["", ""]
        self.tick = ""
        self.min_size = "5"
        self.neg_risk: bool | None = None
        self.last_trade = ""
        self.trades: tuple[str, ...] = ()
        self.proved = False
        self.proven_ns = 0
        self.whole_ns = 0
        self.lost_ns = 0
        self.doubted_ns = 0
        self.checked_seq = -1
        self.checked = [0, 0]
        self.matched = [0, 0]
        self.cost_ns = 0
        self.mend = Mend()
        self.asked_ms: int | None = None
        self.gap_ms: int | None = None
        self.best_off_ms: int | None = None
        self.claim: Claim | None = None
        self.audit: RestBook | None = None
        self.audit_ms: int | None = None
        self.rest_seq: int | None = None
        self.closed = False

    @classmethod
    def of(cls, market: Market, book: Book) -> Held:
        """A listed market: its tick, minimum size and neg-risk flag are known."""
        held = cls(market.market_id, (market.outcome_ids[0], market.outcome_ids[1]), book)
        if market.tick_grid:
            held.tick = px_text(market.tick_grid[0].step_e4)
        if market.min_size_e6:
            held.min_size = sz_text(market.min_size_e6)
        held.neg_risk = market.neg_risk
        return held

    def contradicts(self, found: Iterable[Delta]) -> bool:
        """Whether the two tokens' entries of one message leave the same level with different sizes."""
        last: tuple[dict[tuple[bool, int], int], dict[tuple[bool, int], int]] = ({}, {})
        for delta in found:
            first = delta.token == self.tokens[0]
            if first:
                last[0][delta.bid, delta.px_e4] = delta.sz_e6
            elif delta.token == self.second:
                last[1][not delta.bid, PX_ONE_E4 - delta.px_e4] = delta.sz_e6
        return any(last[1].get(level, sz) != sz for level, sz in last[0].items())

    def learn_second(self, token: str) -> None:
        """In replay: the market's other token has shown itself."""
        self.tokens = (self.tokens[0], token)
        self.second = token

    def changes(self, found: Iterable[Delta]) -> list[Change]:
        """Those of the deltas that are ours, turned to the first token's book, each change once.

        The venue announces a change for both tokens; the mirror of one that was already said adds nothing.
        """
        said: dict[tuple[bool, int, int], bool] = {}
        mine: list[Change] = []
        for delta in found:
            first = delta.token == self.tokens[0]
            if not first and delta.token != self.second:
                continue
            bid = delta.bid if first else not delta.bid
            px = delta.px_e4 if first else PX_ONE_E4 - delta.px_e4
            if said.setdefault((bid, px, delta.sz_e6), first) is first:
                mine.append(Change(bid, px, delta.sz_e6, first))
        return mine

    def announce(
        self, found: Iterable[Delta], changes: Sequence[Change], ts_ms: int, *, changed: bool
    ) -> list[Announced]:
        """Remember the hashes of the newest message; returns those that are its own.

        A message that ``changed`` nothing is the other token's view of the one before, whose hash stays true.
        """
        hashes = {delta.token: delta.hash for delta in found if delta.hash}
        fresh = [
            Announced(token == self.tokens[0], text, ts_ms) for token, text in hashes.items() if token in self.tokens
        ]
        known = [] if changed else [old for old in self.announced() if old.ts_ms == ts_ms]
        kept = [old for old in known if all(old.first is not new.first for new in fresh)]
        self.frame = None
        self._announced = kept + fresh
        self._recent = changes
        return fresh

    def announce_book(self, *, first: bool, text: str, ts_ms: int) -> None:
        """Remember the hash of a whole book, which replaces all announced before."""
        self.frame = None
        self._announced = [Announced(first, text, ts_ms)] if text else []
        self._recent = ()

    def announced(self) -> list[Announced]:
        """Hashes announced for the newest state."""
        if self.frame is not None:
            found, ts_ms = self._of_frame(self.frame)
            hashes = {delta.token: delta.hash for delta in found if delta.hash}
            return [
                Announced(token == self.tokens[0], text, ts_ms)
                for token, text in hashes.items()
                if token in self.tokens
            ]
        return self._announced

    def recent(self) -> Sequence[Change]:
        """What the newest message changed."""
        return self.changes(self.newest_deltas()) if self.frame is not None else self._recent

    def newest_deltas(self) -> list[Delta]:
        """The newest change as announced, if it came in the common form."""
        return self._of_frame(self.frame)[0] if self.frame is not None else []

    def forget(self) -> None:
        """There is no book any more that a change could apply to."""
        self.text = None
        self.touched.clear()
        self.newest_ms = NEVER
        self.frame = None
        self._announced = []
        self._recent = ()
        self.snapshot_hash = ["", ""]
        self.checked_seq = -1
        self.doubted_ns = 0
        self.best_off_ms = None
        self.claim = None
        self.audit = self.audit_ms = None
        self.rest_seq = None

    def prove(self, said: Announced, eras: Sequence[HashEra]) -> HashProof | None:
        """Recompute one announced hash from the book as it stands; a success teaches the inputs it found."""
        book = self.book
        bids, asks = (book.bids, book.asks) if said.first else (mirrored(book.asks), mirrored(book.bids))
        inputs = HashInputs(
            market=self.market_id,
            asset_id=self.tokens[0 if said.first else 1],
            timestamp_ms=said.ts_ms,
            min_order_size=self.min_size,
            tick_size=self.tick or _TICKS[0],
            neg_risk=bool(self.neg_risk),
            last_trade_price=self.last_trade,
        )
        self.checked[0 if said.first else 1] += 1
        self.cost_ns = 0
        proof = self._prove(said.hash, inputs, bids, asks, eras)
        if proof is None:
            self._failures += 1
            return None
        self.matched[0 if said.first else 1] += 1
        self.proved = True
        self.proven_ns = book.ts_recv_ns
        self._failures = 0
        if proof.era >= HashEra.NINE:
            self.min_size, self.tick = proof.inputs.min_order_size, proof.inputs.tick_size
            self.neg_risk = proof.inputs.neg_risk
        self._inputs = None
        if proof.era is HashEra.TEN:
            self.last_trade = proof.inputs.last_trade_price
            if said.first:
                self._inputs = proof.inputs
        return proof

    def prove_again(self, *, keep: bool) -> bool:
        """Whether the newest change's hash comes out with the inputs that proved an earlier one.

        Parameters
        ----------
        keep : bool
            Make the book's text if there is none; it is kept from then on.

        Returns
        -------
        bool
            False says nothing: `prove` has to look.
        """
        inputs, frame, book, text = self._inputs, self.frame, self.book, self.text
        self.cost_ns = 0
        if inputs is None or frame is None:
            return False
        touched = self.touched
        if text is not None and text.bids is book.bids and text.asks is book.asks:
            text.refresh(touched)
        elif keep:
            text = self.text = KeptText(book.bids, book.asks)
            self.cost_ns = proof_cost_ns(len(book.bids) + len(book.asks))
        else:
            return False
        self.touched = []
        self._text_used = True
        try:
            said = next(one.hash for one in decode_hashes(frame).price_changes if one.asset_id == inputs.asset_id)
        except (*UNREADABLE, StopIteration):
            return False
        likely = chain(self.trades[:2], self._near(map(abs, reversed(touched))), self.trades[2:])
        trade = text.prove(said, inputs, self.newest_ms, last_trade_candidates(likely))
        self.cost_ns += proof_again_cost_ns(len(book.bids) + len(book.asks), len(touched), text.n_tried)
        if trade is None:
            return False
        if trade != inputs.last_trade_price:
            self._inputs = msgspec.structs.replace(inputs, last_trade_price=trade)
            self.last_trade = trade
        self.checked[0] += 1
        self.matched[0] += 1
        self.proven_ns = book.ts_recv_ns
        self._failures = 0
        return True

    def drop_unused_text(self) -> None:
        """Keep the text only while it is proved between two calls of this."""
        if not self._text_used:
            self.text = None
            self.touched.clear()
        self._text_used = False

    def _prove(
        self, announced: str, inputs: HashInputs, bids: dict[int, int], asks: dict[int, int], eras: Sequence[HashEra]
    ) -> HashProof | None:
        timed = [era for era in eras if era >= HashEra.NINE]
        n_levels = len(bids) + len(asks)
        likely = (*self.trades, *self._near(change.px_e4 for change in self.recent()))
        proof = prove(announced, inputs, bids, asks, eras=timed, last_trades=last_trade_candidates(likely))
        self.cost_ns += proof_cost_ns(n_levels, 3 * len(likely) if proof is None else proof.n_tried)
        old = [era for era in eras if era < HashEra.NINE]
        if proof is None and old:
            proof = prove(announced, inputs, bids, asks, eras=old, shifts_ms=OLD_SHIFTS_MS)
        if proof is None and timed and self._failures < _WIDE_SEARCHES:
            # What the listing said may be outdated, and the last trade may not have reached us: try every price of
            # the grid on which the book stands, which is finer than the tick where the tick was changed.
            step = gcd(10 if not self.tick else _step_e4(self.tick), *bids, *asks)
            trades = list(last_trade_candidates((*self.trades, ""), step_e4=step))
            ticks = () if self.proved else _TICKS
            flags = (True, False) if self.neg_risk is None else ()
            proof = prove(
                announced, inputs, bids, asks, eras=timed, last_trades=trades, tick_sizes=ticks, neg_risks=flags
            )
            all_tails = len({inputs.last_trade_price, *trades}) * len({inputs.tick_size, *ticks}) * (len(flags) or 1)
            n_tails = all_tails if proof is None else proof.n_tried
            self.cost_ns += wide_search_cost_ns(n_levels, len(trades), n_tails)
        return proof

    def _near(self, changed: Iterable[int]) -> Iterator[str]:
        """Prices at which a print that has not reached us may have been: the levels just changed, and the touch.

        A print is hashed before it is announced.
        """
        book = self.book
        touch = (px for px in (book.best_bid_e4, book.best_ask_e4) if 0 < px < PX_ONE_E4)
        # The last trade is common to both tokens, and not complemented: either may have traded.
        return (px_text(each) for px in chain(changed, touch) for each in (px, PX_ONE_E4 - px))

    def _of_frame(self, frame: bytes) -> tuple[list[Delta], int]:
        """All that a frame says of which the hot path took the levels; nothing, if the rest of it does not read."""
        read = self._read
        if read is None or read[0] is not frame:
            try:
                event = decode_event(frame)
                read = frame, deltas(event), timestamp_ms(event.timestamp)
            except WireError:
                read = frame, [], 0
            self._read = read
        return read[1], read[2]


def _step_e4(tick: str) -> int:
    try:
        return px_e4(tick)
    except WireError:
        return 0

"""Proving a connection's books, and what is done about one that fails.

The hash that the venue announced last must come out of the book as it stands. A mismatch on a market whose hash has
matched before means that the book is wrong; on one that never matched it means that we do not know how to hash it.
Best prices are announced too, with each change and alone, and count if they stay off for two seconds: messages of one
change arrive apart.

Repair climbs ``venue.repair.TABLE``. Of its steps, two have a meaning of their own here: the book alone is a REST book,
which is taken over only if it is as new as the newest change that the socket brought; and there is no subscription
apart from its markets, so that none can be renewed. A failed hash asks for the book alone first; where a change was
lost without a trace, or could not be read, the market is subscribed anew at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from overround.book import NO_ASK_E4, NO_BID_E4
from overround.errors import WireError
from overround.market import PX_ONE_E4, ErrCode, Integrity, MarketId
from overround.venue.polymarket.connection import Connection
from overround.venue.polymarket.held import NEVER, Announced, Held
from overround.venue.polymarket.parse import Delta, price_e4
from overround.venue.polymarket.wire import Number
from overround.venue.ports import FeedEventKind, RestBook
from overround.venue.repair import STEPS, Action, Saw, State

__all__ = ["Repair"]

_REST_AGAIN_MS = 30_000
_BEST_TOLERANCE_MS = 2_000
_AUDIT_GRACE_MS = 2_000


class Repair(Connection):
    """A connection that proves its books and repairs them."""

    __slots__ = ()

    def lost(self, *, now_ms: int, reason: str) -> None:
        """The connection has ended: every book is ``reconnecting`` until its next snapshot."""
        self._connected = False
        self.reconnect_reason = None
        self.outbox.clear()
        self._to_ask.clear()
        self._wake_ms = NEVER
        broken = False
        for held in self._held.values():
            held.forget()
            held.mend.see(Saw.LOST, now_ms)
            if held.closed:
                continue
            book = held.book
            if book.live:
                broken = True
                held.gap_ms = now_ms
                held.lost_ns = self.last_recv_ns
            book.live = False
            book.err = ErrCode.RECONNECTING
            book.integrity = Integrity.GAP if book.had_book else Integrity.UNVERIFIED
        if broken:
            self._counters.gaps += 1
            detail = f"{ErrCode.RECONNECTING}: {reason}"
            self._report(FeedEventKind.GAP, MarketId(""), detail, now_ms=now_ms, since_ns=self.last_recv_ns or None)

    def tick(self, *, now_ms: int) -> None:
        """Do what is due: heartbeats, waiting commands, overdue books, the next repair step."""
        if not self._connected or self._passive:
            return
        if now_ms >= self._ping_ms:
            self._heartbeat(now_ms)
        if now_ms < self._wake_ms:
            return
        self._wake_ms = NEVER
        self._ask(now_ms)
        for held in self._held.values():
            if held.audit_ms is not None:
                if now_ms >= held.audit_ms:
                    self._settle_audit(held, now_ms)
                else:
                    self._wake_at(held.audit_ms)
            mend = held.mend
            if mend.due_ms is not None:
                if now_ms >= mend.due_ms:
                    self._overdue(held, now_ms)
                if mend.due_ms is not None:
                    self._wake_at(mend.due_ms)

    # --- proof ------------------------------------------------------------------------------------------------------

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """Prove the book as it stands now by the last announced hash.

        Returns
        -------
        Integrity
            ``verified``: the hash recomputes. ``unverified``: no hash is known, or none of this market ever
            recomputed. ``suspect``: it did before and does not now; the book is no longer live and repair has begun.
            While the book is not live: why.
        """
        held = self._held.get(market_id)
        if held is None:
            return Integrity.UNVERIFIED
        book = held.book
        if held.claim is not None and book.live:
            self._settle_claim(held, now_ms)
        if held.checked_seq == book.seq:
            return book.integrity
        if not book.live:
            if book.err == ErrCode.HASH_MISMATCH and held.newest_ms != NEVER and self._proof(held):
                self._heal(held, now_ms)
            return book.integrity
        held.checked_seq = book.seq
        found = self._proof(held)
        if found:
            self._proved(held, now_ms)
        elif found is False and held.proved:
            self._doubt(held, ErrCode.HASH_MISMATCH, Saw.DOUBT, now_ms)
        else:
            book.integrity = Integrity.UNVERIFIED
            self._spot_check(held, now_ms)
            if book.live and book.crossed:
                self._counters.crossed += 1
                book.integrity = Integrity.SUSPECT
                held.checked_seq = -1
        return book.integrity

    def spoken_ns(self) -> int:
        """Receive time of the newest change of a live book that came over the socket."""
        heard = (one.book for one in self._held.values() if one.book.live and one.rest_seq != one.book.seq)
        return max((book.ts_recv_ns for book in heard), default=0)

    def proven_ms(self, market_id: MarketId) -> int | None:
        """Until when a market's book was proved right, by a hash or by an equal REST book, or None."""
        held = self._held.get(market_id)
        return held.proven_ns // 1_000_000 if held is not None and held.proven_ns else None

    def _proof(self, held: Held, *, keep_text: bool = False) -> bool | None:
        """Whether the newest announced hash recomputes; None if none is known."""
        again = held.prove_again(keep=keep_text)
        self._hash_budget.spend(held.cost_ns)
        if again:
            self._counters.hash_checked += 1
            self._counters.hash_matched += 1
            return True
        said = held.announced()
        if not said:
            return None
        best = next((one for one in said if one.first), said[0])
        return self._recompute(held, best)

    def _recompute(self, held: Held, said: Announced) -> bool:
        self._counters.hash_checked += 1
        proof = held.prove(said, self._eras)
        self._hash_budget.spend(held.cost_ns)
        if proof is None:
            return False
        self._counters.hash_matched += 1
        if len(self._eras) > 1 and not self._era_given:
            self._eras = (proof.era,)
        return True

    def _check_each_of(self, held: Held, said: Iterable[Announced]) -> None:
        good = [self._recompute(held, one) for one in said]
        if not good:
            return
        held.checked_seq = held.book.seq
        if all(good):
            held.book.integrity = Integrity.VERIFIED
        else:
            held.book.integrity = Integrity.SUSPECT if held.proved else Integrity.UNVERIFIED

    def _sample(self, held: Held, recv_ns: int) -> None:
        """Prove the book after a change between two rows, if the budget allows.

        One failure is no reason to take the book back: it is looked at again when late messages have had their time,
        and, if a row is due before, then.
        """
        if self._passive:
            self._spot_check(held, recv_ns // 1_000_000)
            return
        if not held.book.live:
            return
        if not self._hash_budget.allows(recv_ns):
            self._counters.samples_skipped += 1
            return
        self._counters.sampled += 1
        now_ms = recv_ns // 1_000_000
        found = self._proof(held, keep_text=True)
        if found:
            self._proved(held, now_ms)
        elif found is False and held.proved:
            held.doubted_ns = held.doubted_ns or max(held.proven_ns, held.whole_ns)
            self._suspect(held, now_ms)
        else:
            self._spot_check(held, now_ms)

    def _proved(self, held: Held, now_ms: int) -> None:
        """A live book is right as it stands."""
        book = held.book
        book.integrity = Integrity.VERIFIED
        held.checked_seq = book.seq
        held.best_off_ms = None
        if held.mend.state is State.RECHECK:
            held.mend.see(Saw.PROOF, now_ms)
            if held.doubted_ns:
                # It came right without what was missing, which something newer overwrote: that is a gap, too.
                since_ns, held.doubted_ns = held.doubted_ns, 0
                self._counters.gaps += 1
                self._report(FeedEventKind.GAP, held.market_id, ErrCode.HASH_MISMATCH, now_ms=now_ms, since_ns=since_ns)
                held.gap_ms = now_ms
                self._repaired(held, State.RECHECK, now_ms)
        held.doubted_ns = 0

    def _suspect(self, held: Held, now_ms: int) -> None:
        """One sign that a live book may be wrong: look again shortly."""
        book, mend = held.book, held.mend
        if self._passive or not self._connected or not book.live or mend.state is not State.WHOLE:
            return
        book.integrity = Integrity.SUSPECT
        held.checked_seq = -1
        self._do(held, mend.see(Saw.DOUBT, now_ms), now_ms)

    def _look_again(self, held: Held, now_ms: int) -> None:
        """A live book was suspect for a while: one way or the other."""
        found = self._proof(held)
        if found:
            self._proved(held, now_ms)
        elif found is False and held.proved:
            self._doubt(held, ErrCode.HASH_MISMATCH, Saw.DUE, now_ms)
        else:
            # Its hash says nothing: an audit has to.
            held.doubted_ns = 0
            held.mend.see(Saw.PROOF, now_ms)
            held.book.integrity = Integrity.UNVERIFIED
            self._want_rest(held, "suspect", now_ms)

    def _spot_check(self, held: Held, now_ms: int) -> None:
        """Compare the best prices that the newest change announced with ours."""
        if held.frame is not None:
            self._compare_any_best(held, held.newest_deltas(), now_ms)

    def _compare_any_best(self, held: Held, found: Sequence[Delta], now_ms: int) -> None:
        delta = next(
            (each for each in reversed(found) if each.best_bid is not None and each.token in held.tokens), None
        )
        if delta is not None:
            with suppress(WireError):  # a price that does not read says nothing about ours
                self._compare_best(held, delta.best_bid, delta.best_ask, delta.token, now_ms)

    @staticmethod
    def _first_best(held: Held, bid: Number, ask: Number, token: str) -> tuple[int, int]:
        """Announced best prices as the first token's."""
        theirs = (_best(bid, empty=NO_BID_E4), _best(ask, empty=NO_ASK_E4))
        # The sentinels mirror each other as prices do: -1 is one minus 10,001.
        return theirs if token == held.tokens[0] else (PX_ONE_E4 - theirs[1], PX_ONE_E4 - theirs[0])

    def _settle_claim(self, held: Held, now_ms: int) -> None:
        """Best prices announced two seconds ago, with no change since: if ours differ, a change was lost."""
        claim, book = held.claim, held.book
        if claim is None or now_ms - claim.recv_ms < _BEST_TOLERANCE_MS:
            return
        held.claim = None
        if claim.ts_ms > held.newest_ms and (claim.bid_e4, claim.ask_e4) != (book.best_bid_e4, book.best_ask_e4):
            self._counters.best_mismatches += 1
            self._doubt(held, ErrCode.GAP, Saw.MUTE, now_ms)

    def _compare_best(self, held: Held, bid: Number, ask: Number, token: str, now_ms: int) -> None:
        book = held.book
        if self._first_best(held, bid, ask, token) == (book.best_bid_e4, book.best_ask_e4):
            held.best_off_ms = None
            return
        self._counters.best_mismatches += 1
        if held.best_off_ms is None:
            held.best_off_ms = now_ms
        elif now_ms - held.best_off_ms >= _BEST_TOLERANCE_MS and book.live:
            held.best_off_ms = None
            if not self._proof(held):
                self._doubt(held, ErrCode.CROSSED if book.crossed else ErrCode.GAP, Saw.MUTE, now_ms)

    # --- repair -----------------------------------------------------------------------------------------------------

    def distrust(self, market_id: MarketId, *, now_ms: int, since_ns: int | None = None) -> bool:
        """A market was found mute, wrong or without its first book from outside: subscribe it anew.

        Our own proofs say since when; ``since_ns`` serves a market that has none.
        """
        held = self._held.get(market_id)
        if held is None or held.closed or not self._connected or self._passive:
            return False
        if held.book.live:
            since_ns = max(held.proven_ns, held.whole_ns) or since_ns
            self._doubt(held, ErrCode.GAP, Saw.MUTE, now_ms, since_ns=since_ns)
            return True
        if held.mend.state is not State.JOINING or held.asked_ms is None:
            return False
        # Its first book is missing, and is not waited for any longer.
        self._do(held, held.mend.see(Saw.DUE, now_ms), now_ms)
        return True

    def _doubt(self, held: Held, err: ErrCode, saw: Saw, now_ms: int, *, since_ns: int | None = None) -> None:
        """The book is known to be wrong: it is not live any more, and repair begins.

        Without ``since_ns`` it was right at its last proof before the first doubt, or at its last whole book.
        """
        book = held.book
        if not book.live:
            return
        book.live = False
        book.err = err
        book.integrity = Integrity.SUSPECT if err is ErrCode.HASH_MISMATCH else Integrity.GAP
        held.gap_ms = now_ms
        held.checked_seq = -1
        self._counters.gaps += 1
        since_ns = since_ns or held.doubted_ns or max(held.proven_ns, held.whole_ns) or None
        held.doubted_ns = 0
        self._report(FeedEventKind.GAP, held.market_id, err, now_ms=now_ms, since_ns=since_ns)
        if not self._passive and self._connected:
            self._do(held, held.mend.broke(saw, now_ms), now_ms)

    def _overdue(self, held: Held, now_ms: int) -> None:
        mend = held.mend
        if held.book.live and mend.state is State.RECHECK:
            mend.due_ms = None
            self._look_again(held, now_ms)
        elif held.book.live:
            mend.due_ms = None
            if held.rest_seq is not None and held.rest_seq == held.book.seq:
                # The book came from REST and the socket is still silent about it: go on asking.
                self._want_rest(held, State.REST, now_ms)
                self._plan(held, now_ms + _REST_AGAIN_MS)
        elif mend.state is State.RECHECK and held.newest_ms != NEVER and self._proof(held):
            self._heal(held, now_ms)
        else:
            self._do(held, mend.overdue(now_ms), now_ms)

    def _do(self, held: Held, action: Action, now_ms: int) -> None:
        """Do what the table says, and what follows if that cannot be done."""
        mend = held.mend
        while action in STEPS:
            step = STEPS[action]
            if not self._has(step, held):
                action = mend.see(Saw.USELESS, now_ms)
            elif self._ladder.take(step, now_ms):
                self._take_step(held, step, now_ms)
                return
            else:
                action = mend.see(Saw.BUSY, now_ms)
        if action is Action.LOOK_AGAIN:
            self._await(held, now_ms)
        elif action is Action.PAUSE:
            self._plan(held, self._ladder.free_ms(mend.state, now_ms))
        elif action is Action.MARK:
            self._counters.marked += 1
            took_ms = None if held.gap_ms is None else max(0, now_ms - held.gap_ms)
            self._report(FeedEventKind.MARKED, held.market_id, held.book.err or "", now_ms=now_ms, took_ms=took_ms)
            self._await(held, now_ms)

    @staticmethod
    def _has(step: State, held: Held) -> bool:
        """Whether the venue has this step, as things stand."""
        if step is State.RESNAPSHOT:
            # Without a book of the socket's nothing tells whether a REST book is new enough, nor that changes follow.
            return held.newest_ms != NEVER
        return step is not State.RENEW

    def _take_step(self, held: Held, step: State, now_ms: int) -> None:
        held.mend.acted = True
        self._counters.resyncs += 1
        self._report(FeedEventKind.RESYNC, held.market_id, step, now_ms=now_ms)
        if step is State.RESUBSCRIBE:
            held.forget()
            held.asked_ms = now_ms
            self._send({"operation": "unsubscribe", "assets_ids": held.tokens})
            self._send_subscribe(list(held.tokens))
        elif step is State.RECONNECT:
            self.reconnect_reason = f"repair of {held.market_id}"
        else:
            self._want_rest(held, step, now_ms)
        self._await(held, now_ms)

    def _revive(self, held: Held, now_ms: int, *, prove: bool, how: str = "") -> None:
        """A whole book has arrived where none was live; the table knows of it."""
        book = held.book
        book.live = True
        book.err = None
        book.integrity = Integrity.UNVERIFIED
        held.closed = False
        held.mend.due_ms = None
        held.checked_seq = -1
        if held.gap_ms is None:
            took = None if held.asked_ms is None else max(0, now_ms - held.asked_ms)
            self._report(FeedEventKind.LIVE, held.market_id, how, now_ms=now_ms, took_ms=took)
        else:
            state = held.mend.ended_by
            # A first book that ends a gap is that of a new connection.
            self._repaired(held, how or (State.RECONNECT if state is State.JOINING else state), now_ms)
        if prove and not self._passive:
            # The first book of a subscription brings every input of its hash: whether it recomputes tells whether
            # later mismatches mean anything.
            held.checked_seq = book.seq
            if self._proof(held):
                book.integrity = Integrity.VERIFIED
            else:
                held.proved = False

    def _heal(self, held: Held, now_ms: int) -> None:
        """What was missing has arrived after all."""
        book = held.book
        book.live = True
        book.err = None
        book.integrity = Integrity.VERIFIED
        held.checked_seq = book.seq
        state = held.mend.state
        held.mend.see(Saw.PROOF, now_ms)
        self._repaired(held, state, now_ms)

    def _repaired(self, held: Held, how: str, now_ms: int) -> None:
        took = None if held.gap_ms is None else max(0, now_ms - held.gap_ms)
        held.gap_ms = None
        self._counters.repairs += 1
        self._report(FeedEventKind.REPAIRED, held.market_id, how, now_ms=now_ms, took_ms=took)

    # --- REST -------------------------------------------------------------------------------------------------------

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """Answer to ``REST_WANTED`` or an audit.

        A book that its own hash contradicts is not used. Where the socket gives none, it becomes ours; where ours is
        live and it is newer, it has two seconds to be overtaken before it counts as proof that we miss something.
        """
        held = self._held.get(book.market_id)
        if held is None or self._passive:
            return
        ours, mend = held.book, held.mend
        if not ours.live:
            if mend.acted and mend.state in (State.RESNAPSHOT, State.REST):
                self._take_rest(held, book, now_ms)
        elif book.hash_ok is not False and book.ts_venue_ms is not None and book.ts_venue_ms >= held.newest_ms:
            if ours.bids == book.bids and ours.asks == book.asks:
                held.audit = held.audit_ms = None
                if book.hash_ok:
                    held.last_trade = book.last_trade_text or held.last_trade
                    held.proven_ns = now_ms * 1_000_000
                    self._proved(held, now_ms)
            else:
                held.audit, held.audit_ms = book, now_ms + _AUDIT_GRACE_MS
                self._wake_at(held.audit_ms)

    def _take_rest(self, held: Held, book: RestBook, now_ms: int) -> None:
        """The answer that a repair step waits for."""
        ours, ts_ms = held.book, book.ts_venue_ms
        heard = held.newest_ms != NEVER
        if book.hash_ok is False or ts_ms is None or (heard and ts_ms < held.newest_ms):
            self._do(held, held.mend.see(Saw.USELESS, now_ms), now_ms)
        elif heard and ours.bids == book.bids and ours.asks == book.asks:
            held.last_trade = book.last_trade_text or held.last_trade
            held.proven_ns = now_ms * 1_000_000
            self._heal(held, now_ms)
        else:
            self._adopt(held, book, now_ms)

    def _adopt(self, held: Held, book: RestBook, now_ms: int) -> None:
        ts_ms = book.ts_venue_ms or 0
        self._replace(held, dict(book.bids), dict(book.asks), ts_ms, now_ms * 1_000_000)
        held.newest_ms = held.snapshot_ms = held.book.ts_venue_ms = ts_ms
        held.snapshot_seq = held.rest_seq = held.book.seq
        held.snapshot_hash = [book.hash, ""]
        held.announce_book(first=True, text=book.hash, ts_ms=ts_ms)
        held.last_trade = book.last_trade_text or held.last_trade
        state = held.mend.state
        held.mend.see(Saw.REST_BOOK, now_ms)
        self._revive(held, now_ms, prove=False, how=state)
        held.book.integrity = Integrity.VERIFIED if book.hash_ok else Integrity.UNVERIFIED
        if book.hash_ok:
            held.proven_ns = now_ms * 1_000_000
        held.checked_seq = held.book.seq
        self._plan(held, now_ms + _REST_AGAIN_MS)

    def _settle_audit(self, held: Held, now_ms: int) -> None:
        """The grace of a newer REST book is over: if we still do not know what it says, we missed it."""
        book, held.audit, held.audit_ms = held.audit, None, None
        ours = held.book
        if book is None or book.ts_venue_ms is None or held.newest_ms > book.ts_venue_ms:
            return
        if ours.bids != book.bids or ours.asks != book.asks:
            self._doubt(held, ErrCode.GAP, Saw.MUTE, now_ms)

    def _replace(self, held: Held, bids: dict[int, int], asks: dict[int, int], ts_ms: int, recv_ns: int) -> None:
        if held.lost_ns:
            self._look_back(held, bids, asks, ts_ms, recv_ns)
        held.book.replace(bids, asks)
        held.book.ts_recv_ns = held.whole_ns = recv_ns
        held.best_off_ms = None
        held.rest_seq = None
        self._counters.snapshots += 1
        if held.audit is not None and held.audit.ts_venue_ms is not None and ts_ms >= held.audit.ts_venue_ms:
            held.audit = held.audit_ms = None

    def _look_back(self, held: Held, bids: dict[int, int], asks: dict[int, int], ts_ms: int, recv_ns: int) -> None:
        """The first book after a lost connection: whether that connection had missed something before it ended.

        It had, where this book is another and yet was made before the connection's last frame. Nothing tells how long
        before, so ours was right up to its last proof only.
        """
        lost_ns, held.lost_ns = held.lost_ns, 0
        ours = held.book
        if ts_ms * 1_000_000 > lost_ns or (ours.bids == bids and ours.asks == asks):
            return
        since_ns = max(held.proven_ns, held.whole_ns)
        if since_ns < lost_ns:
            self._counters.gaps += 1
            now_ms = recv_ns // 1_000_000
            self._report(FeedEventKind.GAP, held.market_id, ErrCode.GAP, now_ms=now_ms, since_ns=since_ns or None)


def _best(value: Number, *, empty: int) -> int:
    """An announced best price; an empty side is printed as ``""``, as 0 for bids and as 1 for asks."""
    if value in (None, ""):
        return empty
    px = price_e4(value)
    return empty if px == (0 if empty == NO_BID_E4 else PX_ONE_E4) else px

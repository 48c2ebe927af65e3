"""Proof between rows: which changes, at what price, and what one failure means."""

from __future__ import annotations

import pytest
from scripted_polymarket import NS, T0, Scripted, assert_equal, details, encode, feed_with, kinds, only, send

from overround.market import ErrCode, Integrity, MarketId
from overround.venue.polymarket import HashEra, HashInputs, PolymarketFeed, prove
from overround.venue.polymarket.hash import ladder_hash, last_trade_candidates
from overround.venue.polymarket.sampling import HashBudget, proof_cost_ns, wide_search_cost_ns
from overround.venue.ports import FeedEventKind, RestBook

K = FeedEventKind
LOTS = 1_000_000


def busy(feed: PolymarketFeed, script: Scripted, n: int, *, every_ms: int = 10) -> None:
    for i in range(n):
        send(feed, script, script.change("BUY", 4600, (i % 7 + 1) * LOTS, after_ms=every_ms))


def book_of(feed: PolymarketFeed, script: Scripted):  # type: ignore[no-untyped-def]
    return feed.books[MarketId(script.market_id)]


@pytest.mark.parametrize(("every", "sampled"), [(1, 64), (8, 8), (64, 1), (0, 0)])
def test_every_so_many_changes_of_a_book_are_proved_without_any_row(every: int, sampled: int) -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=every)
    checked = feed.counters.hash_checked
    busy(feed, script, 64)
    assert feed.counters.sampled == sampled
    assert feed.counters.hash_checked - checked == sampled
    if sampled:
        assert feed.counters.hash_matched == feed.counters.hash_checked
        assert book_of(feed, script).integrity is Integrity.VERIFIED
        assert feed.proven_ms(MarketId(script.market_id)) is not None


def test_a_wrong_book_is_found_and_repaired_though_no_row_ever_asks() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=4)
    busy(feed, script, 4)
    proven_ms = feed.proven_ms(MarketId(script.market_id))
    script.change("SELL", 5300, 9 * LOTS)  # lost
    busy(feed, script, 4)
    assert kinds(feed) == []
    feed.tick(now_ms=script.ts_ms + 500)
    assert only(feed, K.GAP).detail == ErrCode.HASH_MISMATCH
    assert only(feed, K.GAP).since_ns == (proven_ms or 0) * NS
    assert details(feed, K.RESYNC) == ["resnapshot"]


# --- one mismatch is never a reason to drop data; a confirmed one climbs the ladder --------------------------------


def test_one_failed_sample_takes_nothing_back_and_is_forgotten_when_the_late_message_comes() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1)
    late = script.change("SELL", 5300, 9 * LOTS)
    send(feed, script, script.change("BUY", 4700, LOTS))
    book = book_of(feed, script)
    assert (book.live, book.integrity) == (True, Integrity.SUSPECT)
    assert book.bids[4700] == LOTS
    send(feed, script, late)
    feed.tick(now_ms=script.ts_ms + 500)
    assert (book.live, book.integrity) == (True, Integrity.VERIFIED)
    assert_equal(feed, script)
    assert kinds(feed) == []
    assert feed.outbox == []
    assert feed.counters.gaps == 0


def test_changes_go_on_being_applied_to_a_suspect_book_and_one_that_proves_clears_it() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1)
    late = script.change("SELL", 5300, 9 * LOTS)
    for px in (4700, 4750, 4800):
        send(feed, script, script.change("BUY", px, LOTS))
        assert book_of(feed, script).bids[px] == LOTS
    send(feed, script, late)
    send(feed, script, script.change("BUY", 4850, LOTS))
    assert book_of(feed, script).integrity is Integrity.VERIFIED
    feed.tick(now_ms=script.ts_ms + 1_000)
    assert kinds(feed) == []


def test_a_row_due_while_a_book_is_suspect_is_never_stored_as_verified() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1)
    script.change("SELL", 5300, 9 * LOTS)  # lost
    send(feed, script, script.change("BUY", 4700, LOTS))
    assert feed.verdict(MarketId(script.market_id), now_ms=script.ts_ms + 100) is Integrity.SUSPECT
    assert details(feed, K.GAP) == ["hash_mismatch"]
    feed.tick(now_ms=script.ts_ms + 500)
    assert details(feed, K.RESYNC) == ["resnapshot"]


def test_a_hundred_benign_suspicions_are_no_relapse() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1)
    for i in range(100):
        late = script.change("SELL", 5300, (i + 1) * LOTS)
        send(feed, script, script.change("BUY", 4700, (i + 1) * LOTS))
        send(feed, script, late)
        feed.tick(now_ms=script.ts_ms + 500)
        script.ts_ms += 600
    assert kinds(feed) == []
    assert book_of(feed, script).live


def test_a_loss_that_something_newer_overwrites_is_a_gap_since_the_last_proof() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1)
    send(feed, script, script.change("BUY", 4600, LOTS))
    good_ms = script.ts_ms
    script.change("SELL", 5300, 9 * LOTS)  # lost
    send(feed, script, script.change("BUY", 4700, LOTS))
    assert kinds(feed) == []
    send(feed, script, script.change("SELL", 5300, 8 * LOTS))
    assert_equal(feed, script)
    gap, repaired = feed.events
    assert (gap.kind, gap.detail, gap.since_ns // 1_000_000) == (K.GAP, "hash_mismatch", good_ms)
    assert (repaired.kind, repaired.detail) == (K.REPAIRED, "recheck")


def test_one_wrong_best_price_is_counted_and_changes_nothing() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script)
    frame = script.change("BUY", 4600, LOTS, tokens=(0,))
    frame["price_changes"][0] |= {"best_bid": "0.3"}
    send(feed, script, frame)
    assert feed.counters.best_mismatches == 1
    assert_equal(feed, script)
    assert (book_of(feed, script).live, kinds(feed)) == (True, [])


def test_one_rest_book_that_differs_changes_nothing_until_its_grace_is_over() -> None:
    script = Scripted()
    feed = feed_with(script)
    ours = dict(script.bids)
    newer = RestBook(
        market_id=MarketId(script.market_id),
        bids={100: LOTS},
        asks={},
        ts_venue_ms=script.ts_ms + 10,
        hash="x",
        hash_ok=True,
    )
    feed.rest_book(newer, now_ms=T0 + 100)
    assert (book_of(feed, script).bids, book_of(feed, script).live, kinds(feed)) == (ours, True, [])


# --- the two outcomes mirror each other ----------------------------------------------------------------------------


def contradiction(script: Scripted) -> dict[str, object]:
    frame = script.change("BUY", 4600, 3 * LOTS)
    frame["price_changes"][1]["size"] = "8"
    return frame


def test_outcomes_that_contradict_each_other_are_counted_and_looked_at_again() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=0)
    send(feed, script, contradiction(script))
    assert feed.counters.mirror_mismatches == 1
    book = book_of(feed, script)
    assert (book.live, book.integrity) == (True, Integrity.SUSPECT)
    assert kinds(feed) == []
    feed.tick(now_ms=script.ts_ms + 500)
    assert details(feed, K.GAP) == ["hash_mismatch"]
    assert details(feed, K.RESYNC) == ["resnapshot"]


def test_a_contradiction_that_the_hash_settles_is_nothing() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=0)
    frame = contradiction(script)
    frame["price_changes"].reverse()  # the right one is applied last
    send(feed, script, frame)
    assert feed.counters.mirror_mismatches == 1
    feed.tick(now_ms=script.ts_ms + 500)
    assert book_of(feed, script).integrity is Integrity.VERIFIED
    assert kinds(feed) == []


def test_a_contradiction_that_no_hash_can_settle_is_settled_by_an_audit() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script, hash_every=0)
    send(feed, script, contradiction(script))
    feed.tick(now_ms=script.ts_ms + 500)
    assert details(feed, K.REST_WANTED) == ["suspect"]
    assert book_of(feed, script).live


def test_dumps_of_one_instant_that_differ_are_counted() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.ts_ms += 5
    send(feed, script, script.book(0))
    script.asks[5500] = LOTS
    send(feed, script, script.book(1))
    assert feed.counters.mirror_mismatches == 1
    assert_equal(feed, script)


def test_outcomes_that_mirror_each_other_are_not_counted() -> None:
    script = Scripted()
    feed = feed_with(script)
    busy(feed, script, 20)
    frame = script.change("BUY", 4600, 3 * LOTS)
    frame["price_changes"] += script.change("BUY", 4600, 4 * LOTS, after_ms=0)["price_changes"]
    send(feed, script, frame)
    assert feed.counters.mirror_mismatches == 0


# --- the price of it -------------------------------------------------------------------------------------------------


def test_samples_are_skipped_when_the_budget_is_used_up_and_rows_are_not() -> None:
    script = Scripted()
    feed = feed_with(script, hash_every=1, hash_share=0.01)
    for _ in range(20_000):
        send(feed, script, script.change("BUY", 4600, LOTS), at_ms=T0)
        if feed.counters.samples_skipped > 10:
            break
    assert feed.counters.samples_skipped > 10
    busy(feed, script, 1, every_ms=0)
    sampled = feed.counters.sampled
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED
    send(feed, script, script.change("BUY", 4600, 2 * LOTS), at_ms=T0 + 60_000)  # time earns it back
    assert feed.counters.sampled == sampled + 1


def test_a_share_of_nothing_proves_one_burst_and_no_more() -> None:
    budget = HashBudget(0.0, burst_ns=10)
    assert budget.allows(1)
    budget.spend(11)
    assert not budget.allows(10**15)


def test_time_that_steps_back_earns_nothing() -> None:
    budget = HashBudget(1.0, burst_ns=100)
    assert budget.allows(10**15)
    budget.spend(150)
    assert not budget.allows(10)
    assert not budget.allows(60)
    assert budget.allows(70)


def test_a_proof_is_reckoned_by_its_levels_and_candidates() -> None:
    assert proof_cost_ns(0) < proof_cost_ns(100) < proof_cost_ns(100, 2) < proof_cost_ns(100, 300)


def test_the_price_of_the_change_itself_is_tried_before_the_whole_grid() -> None:
    # The venue hashes a print before it announces it.
    script = Scripted(tick_e4=10)
    feed = feed_with(script, hash_every=1)
    script.last_trade = "0.463"
    send(feed, script, script.change("BUY", 4630, LOTS))
    assert book_of(feed, script).integrity is Integrity.VERIFIED
    held = feed._held[MarketId(script.market_id)]
    assert held.cost_ns < proof_cost_ns(len(script.bids) + len(script.asks), 100)


@pytest.mark.parametrize(
    ("tick_e4", "proved", "tails"), [(100, True, 100), (10, True, 1_000), (10, False, 6_000), (100, False, 600)]
)
def test_a_search_through_the_grid_is_charged_for_every_combination(tick_e4: int, tails: int, *, proved: bool) -> None:
    script = Scripted(tick_e4=tick_e4)
    feed = feed_with(script)
    held = feed._held[MarketId(script.market_id)]
    held.proved = proved
    book = book_of(feed, script)
    book.bids[4700] = 9 * LOTS  # not what the venue hashed
    held.neg_risk = False
    assert held.prove(held.announced()[0], (HashEra.TEN,)) is None
    n_levels = len(book.bids) + len(book.asks)
    assert held.cost_ns >= wide_search_cost_ns(n_levels, tails // (1 if proved else 6), tails)
    assert held.cost_ns < wide_search_cost_ns(n_levels, tails, 2 * tails + 200)
    # What was found on the way is charged as far as it went.
    del book.bids[4700]
    assert held.prove(held.announced()[0], (HashEra.TEN,)) is not None
    assert held.cost_ns < proof_cost_ns(n_levels, 50)


def test_a_proof_tells_how_many_combinations_it_took() -> None:
    inputs = HashInputs(market="0x1", asset_id="2", timestamp_ms=3)
    wanted = HashInputs(market="0x1", asset_id="2", timestamp_ms=3, last_trade_price="0.70")
    announced = ladder_hash(HashEra.TEN, wanted, {4000: LOTS}, {})
    proof = prove(announced, inputs, {4000: LOTS}, {}, last_trades=last_trade_candidates(["0.5", "0.7"]))
    assert proof is not None
    assert proof.n_tried == 6  # "", then 0.5, 0.50, 0.500, 0.7, 0.70


def test_a_replay_samples_no_hashes() -> None:
    script = Scripted()
    feed = PolymarketFeed(feed_with(script)._shelf, passive=True, hash_every=1)
    feed.receive(encode(script.dump()), T0 * NS)
    busy(feed, script, 300)
    assert feed.counters.sampled == 0


# --- what a lost connection had missed before it ended -------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost_ms", "changed_ms", "found"),
    [(100, None, True), (None, 900, False), (None, None, False)],
    ids=["before it ended", "while it was away", "nothing"],
)
def test_the_first_book_after_a_lost_connection_tells_what_that_one_had_missed(
    lost_ms: int | None, changed_ms: int | None, *, found: bool
) -> None:
    script = Scripted()
    feed = feed_with(script)
    proven_ms = feed.proven_ms(MarketId(script.market_id))
    if lost_ms is not None:
        script.change("BUY", 4600, LOTS, after_ms=lost_ms)  # lost, and nothing of this market after it
    feed.receive(b"PONG", (T0 + 500) * NS)
    feed.lost(now_ms=T0 + 600, reason="cut")
    assert only(feed, K.GAP).since_ns == (T0 + 500) * NS
    feed.events.clear()
    if changed_ms is not None:
        script.change("BUY", 4600, LOTS, after_ms=changed_ms)
    feed.opened(now_ms=T0 + 1_000)
    send(feed, script, script.dump(), at_ms=T0 + 1_100)
    assert_equal(feed, script)
    # The ledger puts what lies before the open gap in front of it.
    assert kinds(feed) == ([K.GAP, K.REPAIRED] if found else [K.REPAIRED])
    if found:
        assert feed.events[0].since_ns == (proven_ms or 0) * NS
    feed.events.clear()
    send(feed, script, script.change("BUY", 4500, LOTS), at_ms=T0 + 1_200)
    assert kinds(feed) == []


@pytest.mark.parametrize("whole", [False, True])
def test_a_frame_that_is_cut_breaks_the_market_it_names(whole: bool) -> None:
    """Else a change that sets the same level again would hide that it was lost."""
    script, other = Scripted(), Scripted(2)
    feed = feed_with(script, other)
    proven_ms = feed.proven_ms(MarketId(script.market_id))
    frame = encode(script.change("BUY", 4600, LOTS))
    at_ms = script.ts_ms
    feed.receive(frame if whole else frame[: len(frame) // 2], at_ms * NS)
    assert book_of(feed, script).live is whole
    assert book_of(feed, other).live
    if not whole:
        gap = only(feed, K.GAP)
        assert (gap.market_id, gap.since_ns) == (MarketId(script.market_id), (proven_ms or 0) * NS)

"""The text of a book that is kept must be the text of that book."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_polymarket import T0, Scripted, feed_with, send

from overround.market import Integrity, MarketId
from overround.venue.polymarket import hash as hashing
from overround.venue.polymarket.hash import HashEra, HashInputs, ladder_hash, ladders_text
from overround.venue.polymarket.kept_text import KeptText

prices = st.integers(1, 9_999)
sizes = st.one_of(st.integers(1, 200), st.integers(1, 2**62 - 1))
ladders = st.dictionaries(prices, sizes, max_size=30)
# Which side, where, how large: zero removes.
changes = st.lists(st.tuples(st.booleans(), prices, st.one_of(st.just(0), sizes)), max_size=40)
INPUTS = HashInputs(
    market="0xab",
    asset_id="17",
    timestamp_ms=T0,
    min_order_size="5",
    tick_size="0.001",
    neg_risk=True,
    last_trade_price="0.5",
)


@given(ladders, ladders, st.lists(changes, max_size=5))
def test_a_text_written_level_by_level_equals_one_written_anew(
    bids: dict[int, int], asks: dict[int, int], rounds: list[list[tuple[bool, int, int]]]
) -> None:
    text = KeptText(bids, asks)
    for round_ in rounds:
        for bid, px, sz in round_:
            ladder = bids if bid else asks
            ladder.pop(px, None) if sz == 0 else ladder.__setitem__(px, sz)
        text.refresh([px if bid else -px for bid, px, _ in round_])
        assert text.ladders() == ladders_text(bids, asks).encode()
        announced = ladder_hash(HashEra.TEN, INPUTS, bids, asks)
        before = msgspec.structs.replace(INPUTS, last_trade_price="0.4")
        assert text.prove(announced, INPUTS, T0, ()) == "0.5"
        assert text.prove(announced, before, T0, ["0.3", "0.5", "0.6"]) == "0.5"
        assert text.prove(announced, before, T0, ["0.3"]) is None


def test_a_text_that_has_lost_its_book_proves_nothing() -> None:
    bids, asks = {3_000: 1}, {6_000: 1}
    text = KeptText(bids, asks)
    bids[4_000] = 1
    assert text.prove(ladder_hash(HashEra.TEN, INPUTS, {3_000: 1}, asks), INPUTS, T0, ()) is None


def run(feed_options: dict[str, int], *, turns: int, seed: int = 5) -> tuple[Scripted, object]:
    rng, script = Random(seed), Scripted()
    feed = feed_with(script, **feed_options)
    for _ in range(turns):
        bid = rng.random() < 0.5
        px = rng.randrange(40, 50) * 100 if bid else rng.randrange(51, 61) * 100
        change = script.change("BUY" if bid else "SELL", px, rng.choice((0, 1_000_000, 2_500_000, 7_770_000)))
        send(feed, script, change)
    return script, feed


def test_every_change_is_proved_from_the_kept_text(monkeypatch: pytest.MonkeyPatch) -> None:
    anew: list[str] = []
    whole = hashing.ladders_text
    monkeypatch.setattr(hashing, "ladders_text", lambda bids, asks: anew.append("") or whole(bids, asks))
    _, feed = run({"hash_every": 1, "hash_share": 1}, turns=300)
    # Once for the dump and once for the first change; from then on the text is kept.
    assert len(anew) < 10
    assert feed.counters.hash_checked == feed.counters.hash_matched > 290
    assert not feed.events


@pytest.mark.parametrize("wrong", ["size", "missing", "surplus"])
def test_a_book_that_went_wrong_behind_the_text_is_found(wrong: str) -> None:
    script, feed = run({"hash_every": 1, "hash_share": 1}, turns=50)
    market_id = MarketId(script.market_id)
    # The venue's book changes, and the message is lost.
    if wrong == "missing":
        script.set("BUY", 3_100, 5_000_000)
    elif wrong == "surplus":
        script.set("BUY", max(script.bids), 0)
    else:
        script.set("BUY", max(script.bids), 123_000_000)
    send(feed, script, script.change("SELL", 6_500, 4_000_000))
    assert feed.books[market_id].integrity is Integrity.SUSPECT


def test_a_text_that_is_not_used_is_dropped_at_a_heartbeat() -> None:
    script, feed = run({"hash_every": 1, "hash_share": 1}, turns=5)
    held = feed._held[MarketId(script.market_id)]
    for beat in (1, 2):
        assert held.text is not None
        feed.tick(now_ms=T0 + beat * 10_000)
    assert held.text is None
    send(feed, script, script.change("BUY", 4_500, 1_000_000))
    assert held.text is not None

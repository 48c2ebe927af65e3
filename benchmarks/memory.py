"""What books weigh, whether a rotating hour makes anything grow, and how long garbage collection holds the loop up.

    uv run python benchmarks/memory.py               # all three, about three minutes
    uv run python benchmarks/memory.py book gc

- *book*: bytes of a `Book` with 20 levels a side, both dicts and every integer in them that no table shares, at
  ticks of 0.01 and 0.001, fresh and after many changes; beside it what the feed keeps for the market.
- *hour*: feeds, shelf, snapshotter and rotation plan over a universe of thousands, without sockets, in simulated time
  at the default intervals. The rotation is sped up so that the warm-up visits every market; then an hour is measured
  by tracemalloc, in the rooms `book`, `collector`, `market`, `scheduler`, `storage` and `venue`.
- *gc*: pauses of full collections with 10,000 live books on 100 feeds and their snapshot targets, the heap frozen as
  `collector.run` does (before the first frame, when the books have come, now and then), and otherwise.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from rounds import CLIENT_CORE, machine, markdown, pin, progress
from tape import TwoStateMarket, two_state_markets

import overround
from overround.book import Book, BookShelf, Side
from overround.collector.placement import Placement
from overround.collector.recorder import PLAN_MS
from overround.collector.snapshots import Snapshotter
from overround.market import Integrity, MarketId
from overround.scheduler import Limits, RotationState, plan_rotation
from overround.storage import SnapshotBuffer
from overround.venue.polymarket.feed import PolymarketFeed

START_MS = 1_790_000_000_000
_GC_HEAD = 16  # what the collector of garbage puts before each object it may have to track
ROOMS = ("book", "collector", "market", "scheduler", "storage", "venue")


class Slot:
    """A connection slot without a connection: a feed, and a venue that answers its commands."""

    down_since_ms: int | None = None

    def __init__(self, shelf: BookShelf, by_token: dict[str, tuple[TwoStateMarket, int]]) -> None:
        self.feed = PolymarketFeed(shelf, rng=random.Random(1))
        self._by_token = by_token
        self.feed.opened(now_ms=START_MS)

    def answer(self, now_ms: int) -> None:
        """Send both tokens' books for every subscription; reports are taken and forgotten."""
        feed = self.feed
        while feed.outbox:
            text = feed.outbox.pop(0)
            if text == "PING":
                feed.receive(b"PONG", now_ms * 1_000_000)
                continue
            command = msgspec.json.decode(text)
            if command.get("operation", "subscribe") == "subscribe":
                found = [self._by_token[token] for token in command["assets_ids"]]
                books = b",".join(market.books[side] for market, side in found)
                feed.receive(b"[" + books + b"]", now_ms * 1_000_000)
        feed.events.clear()


def tokens_of(made: Sequence[TwoStateMarket]) -> dict[str, tuple[TwoStateMarket, int]]:
    return {token: (one, side) for one in made for side, token in enumerate(one.market.outcome_ids)}


# ---------------------------------------------------------------------------------------------- a book


def book_bytes(tick_e4: int, *, changes: int, n: int = 300, levels: int = 20) -> list[int]:
    """Bytes that each of ``n`` books owns once it has 20 levels a side, after so many changes of levels.

    Counted are the object, its two dicts, and every size; prices belong to the table of price texts, which all books
    share. Removing and setting levels leaves holes in a dict, so a book that has lived is larger than a fresh one.
    """
    rng = random.Random(tick_e4)
    found = []
    for _ in range(n):
        one = Book()
        mid = rng.randrange(2 * levels, 10_000 // tick_e4 - 2 * levels)
        for side, way in ((Side.BID, -1), (Side.ASK, 1)):
            ladder = one.bids if side is Side.BID else one.asks
            places = [(mid + way * (place + 1)) * tick_e4 for place in range(2 * levels)]
            for px in places[:levels]:
                one.set_level(side, px, _size(rng))
            for _ in range(changes // 2):
                # A level goes and another comes: the book stays about as deep.
                one.set_level(side, rng.choice(list(ladder)), 0)
                one.set_level(side, rng.choice([px for px in places if px not in ladder]), _size(rng))
        assert len(one.bids) == len(one.asks) == levels
        found.append(_owned(one))
    return found


def _size(rng: random.Random) -> int:
    return rng.randrange(1, 10**8) * 10_000


def _owned(one: Book) -> int:
    sizes = [size for ladder in (one.bids, one.asks) for size in ladder.values()]
    heads = 3 * _GC_HEAD
    return heads + sum(map(sys.getsizeof, (one, one.bids, one.asks, *sizes)))


def state_bytes(n: int = 500) -> float:
    """Bytes that a feed keeps for each market besides the book."""
    made = two_state_markets(n)
    markets = [one.market for one in made]
    gc.collect()
    tracemalloc.start()
    feed = PolymarketFeed(BookShelf())
    before = tracemalloc.get_traced_memory()[0]
    feed.add(markets, now_ms=START_MS)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    shell = Book()
    return (after - before) / n - _owned(shell)


def book() -> str:
    rows = []
    for tick_e4 in (100, 10):
        for changes in (0, 400):
            found = book_bytes(tick_e4, changes=changes)
            rows.append(
                (f"tick {tick_e4 / 10_000:g}, after {changes} changes", f"{statistics.mean(found):,.0f}", max(found))
            )
    return (
        "**A book of 40 levels** (20 a side).\n\n"
        + markdown(("book", "bytes, mean", "largest"), rows)
        + f"\n\nBesides the book a Polymarket feed keeps {state_bytes():,.0f} bytes for a market."
    )


# ---------------------------------------------------------------------------------------------- a rotating hour


def hour(n_markets: int, hours: float) -> str:
    made = two_state_markets(n_markets)
    by_token, by_id = tokens_of(made), {one.market.market_id: one for one in made}
    universe = {one.market.market_id: one.market for one in made}
    rng = random.Random(4)
    scores = {market_id: rng.random() for market_id in universe}
    limits = Limits(max_subs=200, hot_count=40, rotation_period_ms=20_000, churn_per_minute=800)
    tracemalloc.start()
    shelf, buffer, placement = BookShelf(), SnapshotBuffer(), Placement(100)
    snapshotter = Snapshotter(buffer, stale_after_ms=30_000, keep_stored=True)
    placement.reserve(limits.max_subs)
    slots: list[Slot] = []
    state, live, turn = RotationState(), set[MarketId](), dict[MarketId, int]()
    visited: set[MarketId] = set()
    marks: list[tuple[float, int]] = []
    warm_ms = end_ms = None
    now_ms = START_MS
    while end_ms is None or now_ms < end_ms:
        if (now_ms - START_MS) % PLAN_MS == 0:
            plan, state = plan_rotation(state, markets=universe, scores=scores, now_ms=now_ms, limits=limits, live=live)
            for number, ids in placement.put(plan.add).items():
                while len(slots) <= number:
                    slots.append(Slot(shelf, by_token))
                slots[number].feed.add([universe[market_id] for market_id in ids], now_ms=now_ms)
            for market_ids, interval_ms in ((plan.warm | plan.leaving, 10_000), (plan.hot, 2_000)):
                for market_id in market_ids:
                    slot = placement.slot_of(market_id)
                    if slot is not None:
                        snapshotter.put(
                            market_id,
                            universe[market_id].outcome_ids,
                            slots[slot],
                            interval_ms=interval_ms,
                            now_ms=now_ms,
                        )
            snapshotter.drop(plan.remove)
            live.difference_update(plan.remove)
            for market_id in plan.remove:
                turn.pop(market_id, None)
            for number, ids in placement.take(plan.remove).items():
                slots[number].feed.remove(ids, now_ms=now_ms)
            visited |= plan.held
        for slot in slots:
            slot.feed.tick(now_ms=now_ms)
            slot.answer(now_ms)
            for market_id, held in slot.feed.books.items():
                if held.live:
                    live.add(market_id)
                    if rng.random() < 0.5:
                        at = turn[market_id] = turn.get(market_id, 0) + 1
                        slot.feed.receive(by_id[market_id].changes[at % 2 - 1], now_ms * 1_000_000)
        snapshotter.run_due(now_ms)
        if (now_ms - START_MS) % 5_000 == 0:
            buffer.cut()
        now_ms += 1_000
        if warm_ms is None and len(visited) == n_markets:
            warm_ms = now_ms + 300_000
            end_ms = warm_ms + int(hours * 3_600_000)
            progress(f"every market was visited after {(now_ms - START_MS) / 60_000:.0f} min of simulated time")
        if warm_ms is not None and now_ms >= warm_ms and (now_ms - warm_ms) % 300_000 == 0:
            marks.append(((now_ms - warm_ms) / 60_000, _traced()))
            progress(f"{marks[-1][0]:4.0f} min  {marks[-1][1]:,} bytes")
    tracemalloc.stop()
    assert snapshotter.by_integrity[Integrity.VERIFIED] == snapshotter.rows, snapshotter.by_integrity
    n_marks = len(marks) // 3
    first, last = (statistics.mean(size for _, size in part) for part in (marks[:n_marks], marks[-n_marks:]))
    rows = [
        ("universe, subscribed at once", f"{n_markets:,}, {limits.max_subs}"),
        ("markets visited in the warm-up", f"{len(visited):,}"),
        ("snapshots taken, all verified", f"{snapshotter.rows:,}"),
        ("traced memory, first and last third of the hour", f"{first / 1e6:.3f} MB, {last / 1e6:.3f} MB"),
        ("growth", f"{(last - first) / 1e3:+.1f} kB ({(last / first - 1):+.2%})"),
        ("smallest and largest mark", f"{min(s for _, s in marks) / 1e6:.3f}, {max(s for _, s in marks) / 1e6:.3f} MB"),
    ]
    return f"**A rotating hour** ({hours:g} h simulated).\n\n" + markdown(("quantity", "value"), rows)


def _traced() -> int:
    """Bytes allocated by our rooms and not freed."""
    gc.collect()
    folder = overround.__path__[0]
    wanted = [tracemalloc.Filter(True, f"{folder}/{room}/*") for room in ROOMS]
    return sum(stat.size for stat in tracemalloc.take_snapshot().filter_traces(wanted).statistics("filename"))


# ---------------------------------------------------------------------------------------------- pauses


def _live_books(n: int) -> tuple[list[Slot], Snapshotter, list[TwoStateMarket]]:
    made = two_state_markets(n)
    return [], Snapshotter(SnapshotBuffer(), stale_after_ms=1 << 40, keep_stored=True), made


def _fill(slots: list[Slot], snapshotter: Snapshotter, made: list[TwoStateMarket]) -> None:
    shelf, by_token = BookShelf(), tokens_of(made)
    for first in range(0, len(made), 100):
        slot = Slot(shelf, by_token)
        slots.append(slot)
        markets = [one.market for one in made[first : first + 100]]
        slot.feed.add(markets, now_ms=START_MS)
        for now_ms in range(START_MS, START_MS + 1_000, 250):
            slot.feed.tick(now_ms=now_ms)
            slot.answer(now_ms)
        for market in markets:
            snapshotter.put(market.market_id, market.outcome_ids, slot, interval_ms=1_000, now_ms=START_MS)
    snapshotter.run_due(START_MS + 2_000, at_most=len(made))
    assert sum(book.live for slot in slots for book in slot.feed.books.values()) == len(made)


def _work(slots: list[Slot], made: list[TwoStateMarket], turn: int) -> None:
    """What comes between two collections: changes of all books, and a hundred markets that rotate out and in."""
    for number, one in enumerate(made):
        slots[number // 100].feed.receive(one.changes[0], START_MS * 1_000_000)
        slots[number // 100].feed.receive(one.changes[1], START_MS * 1_000_000)
    slot = slots[turn % len(slots)]
    rotated = [one.market for one in made[turn % len(slots) * 100 :][:100]]
    now_ms = START_MS + (turn + 1) * 10_000
    slot.feed.remove([market.market_id for market in rotated], now_ms=now_ms)
    slot.feed.outbox.clear()
    slot.feed.add(rotated, now_ms=now_ms)
    for later_ms in range(now_ms, now_ms + 1_000, 250):
        slot.feed.tick(now_ms=later_ms)
        slot.answer(later_ms)


def pauses(n: int, times: int, *, before: bool, after: bool) -> list[float]:
    """Milliseconds of full collections of a heap frozen before or after the books come."""
    slots, snapshotter, made = _live_books(n)
    gc.collect()
    if before:
        gc.freeze()
    _fill(slots, snapshotter, made)
    if after:
        gc.collect(1)
        gc.freeze()
    took = []
    for turn in range(times):
        _work(slots, made, turn)
        started = time.perf_counter()
        gc.collect()
        took.append((time.perf_counter() - started) * 1000)
        if after and turn % 3 == 2:
            gc.freeze()
    gc.unfreeze()
    return took


def garbage(n: int) -> str:
    rows = []
    for name, before, after in (
        ("never frozen", False, False),
        ("frozen before the first connection only", True, False),
        ("as the collector does: again when the books have come, then now and then", True, True),
    ):
        took = pauses(n, 20, before=before, after=after)
        rows.append((name, f"{statistics.median(took):.2f}", f"{min(took):.2f}", f"{max(took):.2f}"))
    return f"**Pauses of full collections, {n:,} live books**, 100 markets rotated before each.\n\n" + markdown(
        ("heap", "median, ms", "shortest", "longest"), rows
    )


def parts(args: argparse.Namespace) -> Iterator[str]:
    if "book" in args.what:
        yield book()
    if "gc" in args.what:
        yield garbage(args.books)
    if "hour" in args.what:
        yield hour(args.markets, args.hours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["book", "gc", "hour"], help="book, gc, hour")
    parser.add_argument("--books", type=int, default=10_000, help="live ones, for gc")
    parser.add_argument("--markets", type=int, default=3_000, help="of the rotating hour's universe")
    parser.add_argument("--hours", type=float, default=1.0)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    pin(CLIENT_CORE)
    print(machine("msgspec") + "\n")
    for part in parts(args):
        print(part + "\n", flush=True)


if __name__ == "__main__":
    main()

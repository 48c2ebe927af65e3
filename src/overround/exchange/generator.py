"""The generated source: a world of related markets whose books move.

Everything random belongs to one family and is drawn in the order of that family's own events, and events of different
families are ordered by time and a fixed number. So what happens does not depend on how the caller slices time:
``advance`` in one step or in a thousand gives the same changes.

A family sleeps until one of its markets is watched: its books are made anew from the seed whenever somebody looks, and
nothing of it moves but what is dated (closings, resolutions, listings, plants).
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from overround.exchange import ids
from overround.exchange.families import Family, Leg
from overround.exchange.flow import MarketFlow
from overround.exchange.habits import Habit, shape_of
from overround.exchange.model import Change, ChangeKind, Listed
from overround.exchange.planted import Plant, PlantedArbitrage, plan_plants
from overround.exchange.truth import MarketLog, Truth
from overround.exchange.universe import Universe, WorldSpec
from overround.market import Venue

__all__ = ["GeneratedSource"]

_AT_HAND = 512
"""Books of sleeping markets that are kept; others are made anew when asked for."""
_FAMILY_ORDER = 1 << 40
_SLOWEST_MOVE_S = 900.0
_BURIAL_MS = 3_600_000
_FORGET_EVERY_US = 10_000_000
_JUMP_SHARE = 0.03
_JUMP = 6.0
_SHOCK_SHARE = 0.01
_SHOCK_E4 = 400


class _Housekeeper:
    """Lets the truth forget, on the world's own clock."""

    __slots__ = ("_truth", "due_us", "order")

    def __init__(self, truth: Truth, now_us: int) -> None:
        self._truth = truth
        self.due_us = now_us + _FORGET_EVERY_US
        self.order = _FAMILY_ORDER << 1

    def fire(self, us: int, out: list[Change]) -> int | None:  # noqa: ARG002 - fired like the others
        self._truth.forget(us // 1000)
        return us + _FORGET_EVERY_US


class _Kinship:
    """One family in time: its weights, its diary, and the books of its markets once it is awake."""

    __slots__ = (
        "awake", "diary", "due_us", "family", "flows", "habit", "next_move_us", "order", "result", "rng", "source",
        "weights", "written",
    )  # fmt: skip

    def __init__(self, family: Family, source: GeneratedSource, plants: Sequence[Plant], born_ms: int) -> None:
        self.family = family
        self.source = source
        self.order = _FAMILY_ORDER + family.index
        self.rng = random.Random(0)
        self.habit: Habit | None = None
        self.flows: dict[int, MarketFlow] = {}
        self.awake = False
        self.weights = family.process.weights(born_ms)
        self.next_move_us: int | None = None
        self.result: int | None = None
        self.written = 0
        self.diary: list[tuple[int, int, str, object]] = []
        for place, leg in enumerate(family.legs):
            if leg.lists_ms is not None:
                self.note(leg.lists_ms, "list", place)
        for plant in plants:
            self.note(max(plant.told.start_ms - 5_000, born_ms + 1), "wake")
            self.note(plant.told.start_ms, "plant", plant)
            self.note(plant.told.end_ms, "uproot", plant)
        if family.kind == "deadline":
            for ms in sorted({leg.listed.close_ms for leg in family.legs}):
                self.note(ms, "deadline", ms)
        else:
            self.note(family.close_ms, "close")
            self.note(family.resolve_ms, "resolve")
            self.note(family.resolve_ms + _BURIAL_MS, "bury")
        self.due_us = self.next_due_us() or 0

    # ---------------------------------------------------------------- diary

    def note(self, ms: int, what: str, about: object = None) -> None:
        """Enter a dated event; equal times keep the order of entry."""
        self.written += 1
        heapq.heappush(self.diary, (ms * 1000, self.written, what, about))

    def next_due_us(self) -> int | None:
        """When the next move or dated event is due."""
        dated = self.diary[0][0] if self.diary else None
        if self.next_move_us is None:
            return dated
        return self.next_move_us if dated is None else min(dated, self.next_move_us)

    def fire(self, us: int, out: list[Change]) -> int | None:
        """Do what is due; returns when the next thing is."""
        while self.diary and self.diary[0][0] <= us:
            _, _, what, about = heapq.heappop(self.diary)
            getattr(self, f"_{what}")(us, about, out)
        if self.next_move_us is not None and self.next_move_us <= us:
            self._move(us, out)
        return self.next_due_us()

    # ---------------------------------------------------------------- waking and moving

    def _wake(self, us: int, about: object, out: list[Change]) -> None:  # noqa: ARG002 - diary entries are alike
        self.rouse(us)

    def rouse(self, us: int) -> None:
        """Let the family move from now on."""
        if self.awake or self.result is not None or us >= self.family.close_ms * 1000:
            return
        self.awake = True
        source, seed = self.source, self.source.spec.seed
        self.rng = random.Random(ids.stream_seed(seed, "flow", self.family.key))
        for place, leg in enumerate(self.family.legs):
            if leg.listed.key in source.listings and leg.listed.status == "active":
                self._stir(place, us, source.opened_ms(leg))
        lead = max(self.flows.values(), key=lambda flow: flow.leg.rate, default=None)
        self.habit = lead.shape.habit if lead else None
        self._plan_move(us)

    def _stir(self, place: int, us: int, opened_ms: int) -> None:
        """Start one market's changes."""
        leg = self.family.legs[place]
        flow = self.source.make_flow(self, leg)
        self.flows[place] = flow
        flow.begin(self.source.truth, opened_ms, self.rng, leg.rate * self.source.spec.rate_scale)
        self.source.adopt(flow)
        self.source.arm(flow, us + flow.gap_us())

    def _plan_move(self, us: int) -> None:
        if self.habit is None:
            return
        rate = sum(flow.leg.rate for flow in self.flows.values()) * self.habit.moves_per_change
        rate = max(rate, 1 / _SLOWEST_MOVE_S) * self.source.spec.rate_scale
        self.next_move_us = us + 1 + int(self.rng.expovariate(rate) * 1e6)

    def _move(self, us: int, out: list[Change]) -> None:
        """The weights take a random step, and the books follow."""
        assert self.habit is not None
        rng = self.rng
        size = self.habit.move_size
        if rng.random() < _JUMP_SHARE:
            size *= _JUMP
        self.family.process.kick(rng, size)
        self.weights = self._living(self.family.process.weights(us // 1000))
        self._follow(us, out)
        if rng.random() < _SHOCK_SHARE:
            self._shock(us)
        self._plan_move(us)

    def _living(self, weights: list[float]) -> list[float]:
        """Weights without the states that time has ruled out."""
        gone = self.source.gone.get(self.family.index)
        if not gone:
            return weights
        kept = [0.0 if s in gone else w for s, w in enumerate(weights)]
        total = sum(kept)
        return [w / total for w in kept]

    def _follow(self, us: int, out: list[Change]) -> None:
        ms = us // 1000
        for place, flow in self.flows.items():
            if flow.stopped:
                continue
            fair = self.family.fair(self.family.legs[place], self.weights)
            jump = abs(fair - flow.fair) * 10_000
            flow.move(fair, ms, out)
            if jump >= _SHOCK_E4:
                flow.shock(int(8 + self.rng.random() * jump / 8))
                self.source.arm(flow, us + flow.gap_us())

    def _shock(self, us: int) -> None:
        """A flood of orders on the busiest market, now and then hundreds within ten milliseconds."""
        lead = max(self.flows.values(), key=lambda flow: flow.leg.rate)
        if lead.leg.rate < 1.0 or lead.stopped:
            return
        lead.shock(int(min(self.source.spec.burst_levels, 60 * self.rng.paretovariate(0.8))))
        self.source.arm(lead, us + lead.gap_us())

    # ---------------------------------------------------------------- dated events

    def _list(self, us: int, about: object, out: list[Change]) -> None:
        assert isinstance(about, int)
        leg = self.family.legs[about]
        self.source.universe.list_leg(leg)
        self.source.listed(leg)
        out.append(Change(kind=ChangeKind.LISTED, key=leg.listed.key, ts_ms=us // 1000))
        if self.awake:
            self._stir(about, us, us // 1000)

    def _plant(self, us: int, about: object, out: list[Change]) -> None:
        assert isinstance(about, Plant)
        self.next_move_us = None
        self.weights = list(about.weights)
        self._follow(us, out)
        for pin in about.pins:
            self.flows[pin.leg].pin(pin.px_e4, about.told.contracts_e6, us // 1000, out, bid=pin.bid)

    def _uproot(self, us: int, about: object, out: list[Change]) -> None:
        assert isinstance(about, Plant)
        for pin in about.pins:
            self.flows[pin.leg].unpin(us // 1000, out)
        self.weights = self._living(self.family.process.weights(us // 1000))
        self._follow(us, out)
        self._plan_move(us)

    def _close(self, us: int, about: object, out: list[Change]) -> None:  # noqa: ARG002 - diary entries are alike
        weights = self._living(self.family.process.weights(us // 1000))
        draw = random.Random(ids.stream_seed(self.source.spec.seed, "result", self.family.key)).random()
        state = len(weights) - 1
        for s, weight in enumerate(weights):
            draw -= weight
            if draw < 0:
                state = s
                break
        self.result = state
        self.next_move_us = None
        for place in range(len(self.family.legs)):
            self._end(place, "closed", us, out)
        if self.family.window_ms:
            self.source.roll(self.family, us, out)

    def _resolve(self, us: int, about: object, out: list[Change]) -> None:  # noqa: ARG002 - diary entries are alike
        for place in range(len(self.family.legs)):
            self._settle(place, us, out)

    def _deadline(self, us: int, about: object, out: list[Change]) -> None:
        """One deadline passes: either it happened since the last one, and all is known, or that rung is lost."""
        places = [p for p, leg in enumerate(self.family.legs) if leg.listed.close_ms == about]
        rung = min(max(self.family.legs[p].states) for p in places)
        weights = self._living(self.family.process.weights(us // 1000))
        draw = random.Random(ids.stream_seed(self.source.spec.seed, "result", self.family.key, rung)).random()
        gone = self.source.gone.setdefault(self.family.index, set())
        if draw < weights[rung]:
            self.result = rung
        elif rung + 2 == len(self.family.states):
            self.result = rung + 1
        ends = range(len(self.family.legs)) if self.result is not None else places
        for place in ends:
            self._end(place, "closed", us, out)
        self.note(us // 1000 + 90_000, "decide", tuple(ends))
        if self.result is None:
            gone.add(rung)
            self.weights = self._living(weights)
            self._follow(us, out)
        else:
            self.diary = [entry for entry in self.diary if entry[2] in {"decide", "list"}]
            heapq.heapify(self.diary)
            self.next_move_us = None

    def _decide(self, us: int, about: object, out: list[Change]) -> None:
        assert isinstance(about, tuple)
        for place in about:
            self._settle(place, us, out)

    def _end(self, place: int, status: str, us: int, out: list[Change]) -> None:
        listed = self.family.legs[place].listed
        if listed.status in {status, "resolved"} or listed.key not in self.source.listings:
            return
        listed.status = status
        flow = self.flows.get(place)
        if flow is not None:
            flow.stopped = True
        out.append(Change(kind=ChangeKind.STATUS, key=listed.key, ts_ms=us // 1000, status=status))

    def _settle(self, place: int, us: int, out: list[Change]) -> None:
        leg = self.family.legs[place]
        if leg.listed.key not in self.source.listings or leg.listed.status == "resolved":
            return
        # A leg that closed alone lost its rung; else the family's result decides.
        won = self.result is not None and self.result in leg.states
        leg.listed.result = 0 if won else 1
        leg.listed.status = "resolved"
        out.append(Change(kind=ChangeKind.STATUS, key=leg.listed.key, ts_ms=us // 1000, status="resolved"))

    def _bury(self, us: int, about: object, out: list[Change]) -> None:  # noqa: ARG002 - diary entries are alike
        if self.family.window_ms:  # rolling windows would pile up without end
            self.source.bury(self)
            self.flows.clear()


class GeneratedSource:
    """A seeded world on both venues; one object serves both.

    Parameters
    ----------
    spec : WorldSpec
    now_ms : int, optional
        Start of the world instead of ``spec.now_ms``.

    Attributes
    ----------
    spec : WorldSpec
    universe : Universe
        Families, with their logic.
    truth : Truth
        Every state of every book.
    planted : tuple of PlantedArbitrage
        All that will be or was planted, by start.
    """

    def __init__(self, spec: WorldSpec, now_ms: int | None = None) -> None:
        if now_ms is not None:
            spec = msgspec.structs.replace(spec, now_ms=now_ms)
        self.spec = spec
        self.universe = Universe(spec)
        keep = None if spec.keep_truth_s is None else int(spec.keep_truth_s * 1000)
        self.truth = Truth(keep, unopened=self._unopened)
        self.gone: dict[int, set[int]] = {}
        plants = plan_plants(self.universe, spec)
        self.planted: tuple[PlantedArbitrage, ...] = tuple(
            sorted((p.told for family in plants.values() for p in family), key=lambda told: (told.start_ms, told.name))
        )
        self._now_us = (spec.now_ms + 1) * 1000
        self._listings: dict[str, Listed] = {}
        self._kinships: dict[_Kinship, None] = {}
        self._legs: dict[str, tuple[_Kinship, Leg]] = {}
        self._flows: dict[str, MarketFlow] = {}
        self._pristine: OrderedDict[str, MarketFlow] = OrderedDict()
        self._heap: list[tuple[int, int, _Kinship | MarketFlow | _Housekeeper]] = []
        keeper = _Housekeeper(self.truth, spec.now_ms * 1000)
        self._heap.append((keeper.due_us, keeper.order, keeper))
        for family in self.universe.families:
            self._admit(family, plants.get(family.index, ()))
        heapq.heapify(self._heap)
        if not spec.economy:
            self.watch(list(self._listings))

    def _admit(self, family: Family, plants: Sequence[Plant], born_ms: int | None = None) -> _Kinship:
        kinship = _Kinship(family, self, plants, self.spec.now_ms if born_ms is None else born_ms)
        self._kinships[kinship] = None
        for leg in family.legs:
            self._legs[leg.listed.key] = (kinship, leg)
            if leg.lists_ms is None:
                self._listings[leg.listed.key] = leg.listed
        self._heap.append((kinship.due_us, kinship.order, kinship))
        return kinship

    # ---------------------------------------------------------------- what families call

    def make_flow(self, kinship: _Kinship, leg: Leg) -> MarketFlow:
        """A market with its first book, which only the seed and the family's first weights decide."""
        fair = kinship.family.fair(leg, kinship.weights)
        rng = random.Random(ids.stream_seed(self.spec.seed, "book", leg.listed.key))
        return MarketFlow(leg, shape_of(leg, fair, self.spec.seed), fair, rng, self._first_trade(leg, fair))

    def adopt(self, flow: MarketFlow) -> None:
        """A market's books are live from now on."""
        self._flows[flow.key] = flow
        self._pristine.pop(flow.key, None)

    def arm(self, flow: MarketFlow, us: int) -> None:
        """Set when a market's next change is due."""
        flow.due_us = us
        heapq.heappush(self._heap, (us, flow.leg.index, flow))

    def listed(self, leg: Leg) -> None:
        """A leg was added to its venue's list."""
        self._listings[leg.listed.key] = leg.listed

    def roll(self, family: Family, us: int, out: list[Change]) -> None:
        """A short window closed: list the one after the next."""
        fresh = self.universe.next_window(family)
        kinship = self._admit(fresh, (), us // 1000)
        self._sift()
        out.extend(Change(kind=ChangeKind.LISTED, key=leg.listed.key, ts_ms=us // 1000) for leg in fresh.legs)
        if not self.spec.economy:
            kinship.rouse(us)
            self._requeue(kinship)

    def bury(self, kinship: _Kinship) -> None:
        """Forget a family that ended long ago."""
        self._kinships.pop(kinship, None)
        for leg in kinship.family.legs:
            key = leg.listed.key
            self._flows.pop(key, None)
            self._pristine.pop(key, None)
            self._legs.pop(key, None)
            self._listings.pop(key, None)
            self.truth.close(key)
            self.universe.listings[leg.listed.venue].pop(key, None)

    def opened_ms(self, leg: Leg) -> int:
        """Venue time of a market's first book: half of them changed within the last 35 s, some hours ago."""
        start = max(self.spec.now_ms, leg.listed.open_ms if leg.listed.event.family == "updown" else 0)
        draw = ids.number_of(self.spec.seed, leg.listed.key, "age")
        age = 35_000 * ((1.0 - draw) / max(draw, 1e-6)) ** 1.5
        return min(start, self.spec.now_ms) - int(min(age, 75_600_000))

    def _first_trade(self, leg: Leg, fair: float) -> int | None:
        if ids.number_of(self.spec.seed, leg.listed.key, "traded") > 1.0 - 0.6 * leg.rank:
            return None
        return min(9_900, max(100, round(fair * 100) * 100))

    # ---------------------------------------------------------------- Source

    @property
    def listings(self) -> Mapping[str, Listed]:
        """Every market by key, both venues."""
        return self._listings

    def levels(self, key: str) -> tuple[dict[int, int], dict[int, int]]:
        """Bids and asks of the first outcome now."""
        flow = self._flow(key)
        return flow.bids.levels, flow.asks.levels

    def state_number(self, key: str) -> int:
        """Number of the market's present book state."""
        flow = self._flows.get(key)
        return flow.log.number if flow else 0

    def oldest_state_number(self, key: str) -> int:
        """Number of the market's oldest book state that is kept."""
        flow = self._flows.get(key)
        return flow.log.oldest_number if flow else 0

    def last_trade_px_e4(self, key: str) -> int | None:
        """Price of the last print, seen from the first outcome."""
        flow = self._flows.get(key)
        if flow is not None:
            return flow.last_trade
        kinship, leg = self._legs[key]
        return self._first_trade(leg, kinship.family.fair(leg, kinship.weights))

    def last_change_ms(self, key: str) -> int:
        """Venue time of the market's last book change."""
        flow = self._flows.get(key)
        return flow.log.ts_ms if flow else self.opened_ms(self._legs[key][1])

    def next_ms(self) -> int | None:
        """When ``advance`` has something to do next."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].due_us:
            heapq.heappop(heap)
        return heap[0][0] // 1000 if heap else None

    def advance(self, now_ms: int) -> Sequence[Change]:
        """Everything that happens up to and including ``now_ms``, in order."""
        limit = (now_ms + 1) * 1000
        out: list[Change] = []
        heap, replace, pop = self._heap, heapq.heapreplace, heapq.heappop
        while heap and heap[0][0] < limit:
            us, order, due = heap[0]
            if due.due_us != us:
                pop(heap)
            elif order < _FAMILY_ORDER:
                after = due.fire(us, out)
                if after is None:
                    pop(heap)
                else:
                    due.due_us = after
                    replace(heap, (after, order, due))
            else:
                pop(heap)
                self._now_us = us
                due.due_us = -1
                after = due.fire(us, out)
                if after is not None and due.due_us == -1:
                    due.due_us = after
                    heapq.heappush(heap, (after, order, due))
        self._now_us = max(self._now_us, limit)
        return out

    def watch(self, keys: Sequence[str]) -> None:
        """Wake the families of these markets; they stay awake."""
        for key in keys:
            found = self._legs.get(key)
            if found is not None and not found[0].awake:
                found[0].rouse(self._now_us)
                self._requeue(found[0])

    def weights(self) -> Iterator[tuple[Family, Sequence[float]]]:
        """Every family with the probabilities of its states at present."""
        for kinship in self._kinships:
            yield kinship.family, kinship.weights

    def burst(self, key: str, changes: int) -> None:
        """Flood one market with changes within about ten milliseconds from now on; wakes its family."""
        self.watch([key])
        flow = self._flows[key]
        flow.shock(changes)
        self.arm(flow, self._now_us + 1)

    # ---------------------------------------------------------------- inside

    def _requeue(self, kinship: _Kinship) -> None:
        due = kinship.next_due_us()
        if due is not None:
            kinship.due_us = due
            heapq.heappush(self._heap, (due, kinship.order, kinship))

    def _sift(self) -> None:
        """Put the entry that was just appended into its place."""
        heapq.heappush(self._heap, self._heap.pop())

    def _flow(self, key: str) -> MarketFlow:
        flow = self._flows.get(key) or self._pristine.get(key)
        if flow is None:
            kinship, leg = self._legs[key]
            flow = self._pristine[key] = self.make_flow(kinship, leg)
            if len(self._pristine) > _AT_HAND:
                self._pristine.popitem(last=False)
        return flow

    def _unopened(self, key: str) -> MarketLog | None:
        """Log of a market that never moved: its first book."""
        if key not in self._listings:
            return None
        flow = self._flow(key)
        return MarketLog(self.opened_ms(self._legs[key][1]), flow.bids.levels, flow.asks.levels)

    def markets(self, venue: Venue) -> list[str]:
        """Keys of a venue's markets, busiest first."""
        legs = [leg for _, leg in self._legs.values() if leg.listed.venue is venue and leg.listed.key in self._listings]
        return [leg.listed.key for leg in sorted(legs, key=lambda leg: (leg.rank, leg.index))]

"""The generated world: which markets exist, how they are related, and how busy each is."""

from __future__ import annotations

import math
import random
from bisect import bisect_left

import msgspec

from overround.exchange import ids
from overround.exchange.families import CARDS, Card, Family, Leg, Maker, short_window
from overround.exchange.model import Listed
from overround.market import Venue

__all__ = ["Universe", "WorldSpec", "activity_share"]

_MINUTE = 60_000
_DAY_VOLUME_USDC = 216e6
_WINDOWS = ((Venue.POLYMARKET, 5), (Venue.POLYMARKET, 15), (Venue.KALSHI, 15))
_SHARE_POINTS = ((0, 0.0), (1, 0.045), (5, 0.16), (40, 0.495), (200, 0.70), (1_000, 0.92), (36_000, 1.0))
"""Ranks and the share of all activity up to them: the top 40 markets make half of it, the top 200 seventy per cent."""


class WorldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to generate; equal specs give equal worlds.

    Attributes
    ----------
    polymarket_markets, kalshi_markets : int
        Markets open at the start, exactly; rolling windows and open lists add to them later.
    seed : int
    now_ms : int
        Venue time at which the world starts.
    rate_scale : float
        Multiplies the speed of everything that is not dated (flow, not closings).
    events_per_s_hot : float
        Mean level changes per second of one of the forty busiest markets of a venue; the rest follows from the
        measured concentration.
    planted : int
        Arbitrages to plant.
    plant_from_s, plant_every_s, plant_for_s : float
        When the first is planted (seconds from the start), how far apart they begin, and how long they stand.
    windows : bool
        Whether short up-or-down windows are listed, closed, resolved and listed anew.
    economy : bool
        Families that nobody watches stand still; False lets all of them move from the start.
    keep_truth_s : float or None
        How long book states are kept; None keeps all.
    burst_levels : int
        Upper end of the heaviest bursts on busy markets.
    """

    polymarket_markets: int = 300
    kalshi_markets: int = 300
    seed: int = 1
    now_ms: int = 1_790_000_000_000
    rate_scale: float = 1.0
    events_per_s_hot: float = 4.0
    planted: int = 4
    plant_from_s: float = 20.0
    plant_every_s: float = 30.0
    plant_for_s: float = 20.0
    windows: bool = True
    economy: bool = True
    keep_truth_s: float | None = 7_200.0
    burst_levels: int = 900


def _size_up(leg: Leg, rank: int, seed: int) -> None:
    """Money figures of a listing: concentrated like the activity, nothing traded today in 62 % of markets."""
    listed = leg.listed
    noise = [math.exp(1.6 * (ids.number_of(seed, listed.key, "money", i) - 0.5)) for i in range(3)]
    day = _DAY_VOLUME_USDC * activity_share(rank) * noise[0] if leg.rank < 0.38 else 0.0
    older = ids.number_of(seed, listed.key, "older") < 0.5
    listed.volume_24h_usdc = round(day, 2)
    listed.volume_usdc = round(day * 25 * noise[1] + (40.0 * noise[1] if older else 0.0), 2)
    listed.liquidity_usdc = round(20.0 * 10_000.0 ** (1.0 - leg.rank) ** 1.5 * noise[2], 2)


def activity_share(rank: int) -> float:
    """Share of all activity that falls on the ``rank``-th busiest market (from 1).

    Examples
    --------
    >>> round(sum(activity_share(rank) for rank in range(1, 41)), 3)
    0.495
    """
    return _share_up_to(rank) - _share_up_to(rank - 1)


def _share_up_to(rank: int) -> float:
    if rank <= 0:
        return 0.0
    ranks = [point[0] for point in _SHARE_POINTS]
    at = bisect_left(ranks, rank)
    if at >= len(ranks):
        return 1.0
    (r0, s0), (r1, s1) = _SHARE_POINTS[max(at - 1, 0)], _SHARE_POINTS[at]
    if r0 == r1:
        return s1
    low = math.log(max(r0, 0.5))
    return s0 + (s1 - s0) * (math.log(rank) - low) / (math.log(r1) - low)


class Universe:
    """All families of a world.

    Parameters
    ----------
    spec : WorldSpec

    Attributes
    ----------
    families : list of Family
        In order of creation; rolling windows are appended while the world runs.
    listings : dict of Venue to dict of str to Listed
        Per venue, by market key; only what is listed at present or was.
    """

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec
        self.families: list[Family] = []
        self.listings: dict[Venue, dict[str, Listed]] = {venue: {} for venue in Venue}
        self._maker = Maker(spec.seed, spec.now_ms)
        self._legs = 0
        self._windows: dict[str, Family] = {}
        self._room = {Venue.POLYMARKET: spec.polymarket_markets, Venue.KALSHI: spec.kalshi_markets}
        if spec.windows:
            self._open_windows()
        self._deal()
        self._rank()

    # ---------------------------------------------------------------- making

    def _deal(self) -> None:
        rng = random.Random(ids.stream_seed(self.spec.seed, "deck"))
        deck: list[Card] = []
        singles = [Card("binary", (venue,)) for venue in Venue]
        while any(self._room.values()):
            if not deck:
                deck = [card for card in CARDS if all(self._room[venue] for venue in card.venues)]
                rng.shuffle(deck)
            card = deck.pop()
            if not all(self._room[venue] for venue in card.venues):
                continue
            family = self._maker.make(card)
            needed = dict.fromkeys(Venue, 0)
            for leg in family.legs:
                needed[leg.listed.venue] += leg.lists_ms is None
            if any(needed[venue] > self._room[venue] for venue in Venue):
                # Too large for what is left: single questions fill the rest.
                for single in singles:
                    if single.venues[0] in card.venues and self._room[single.venues[0]]:
                        self._add(self._maker.make(single))
                        self._room[single.venues[0]] -= 1
                continue
            for venue, count in needed.items():
                self._room[venue] -= count
            self._add(family)

    def _add(self, family: Family) -> None:
        family.index = len(self.families)
        self.families.append(family)
        for leg in family.legs:
            leg.index = self._legs
            self._legs += 1
            if leg.lists_ms is None:
                self.list_leg(leg)

    def list_leg(self, leg: Leg) -> None:
        """Put a market on its venue's list."""
        listings = self.listings[leg.listed.venue]
        if listings.setdefault(leg.listed.key, leg.listed) is not leg.listed:
            raise AssertionError(f"two markets share the key {leg.listed.key}")

    def _rank(self) -> None:
        """Give each market its rate from its rank in its venue."""
        spec = self.spec
        total = spec.events_per_s_hot * 40 / 0.495
        for venue in Venue:
            legs = [leg for family in self.families for leg in family.legs if leg.listed.venue is venue]
            legs.sort(key=lambda leg: (-leg.pull, leg.index))
            for at, leg in enumerate(legs):
                leg.rank = at / len(legs)
                leg.rate = max(total * activity_share(at + 1), 1e-5)
                _size_up(leg, at + 1, spec.seed)

    # ---------------------------------------------------------------- rolling windows

    def _open_windows(self) -> None:
        for venue, minutes in _WINDOWS:
            coins = min(6, self._room[venue] // 40)
            for coin in range(coins):
                start = self.spec.now_ms - self.spec.now_ms % (minutes * _MINUTE)
                for begin in (start, start + minutes * _MINUTE):
                    self._room[venue] -= 1
                    self._add(self._window(venue, coin, minutes * _MINUTE, begin))

    def _window(self, venue: Venue, coin: int, window_ms: int, start_ms: int) -> Family:
        family = short_window(self._maker, coin, venue, window_ms, start_ms)
        family.coin = coin
        self._windows[family.key] = family
        return family

    def next_window(self, family: Family) -> Family:
        """The window to be listed when ``family``'s closes: the one after the next."""
        leg = family.legs[0]
        start = family.close_ms + family.window_ms
        found = self._window(leg.listed.venue, family.coin, family.window_ms, start)
        found.legs[0].rate, found.legs[0].rank = leg.rate, leg.rank
        self._add(found)
        return found

"""What a market maker would have earned: two imagined quotes in each market, judged by what came after their fills.

A quoter keeps one order a side, of one size, by either of two policies: *touch* joins the best price at the back of its
queue; *inside* stands one tick better, alone, where the spread has room. Orders follow the best price, are taken back
where the record has a gap, a pause or one side only, and are filled by the queue model (``fills.queue``) alone. A fill's
*markout* is what it has gained by the mid some time later: the half spread that was quoted, less what the taker knew.

Rows lie seconds apart: a quote is looked at with them, prints of the seconds before reach it first, and a markout is
taken at the first row at or after its time, so the shorter ones are those of the row that came next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from overround.analytics.blocks import BLOCK_MS, GRID_MS
from overround.analytics.estimate import Estimate
from overround.analytics.miner import PAUSE_MS
from overround.fills import LevelNews, QueuedOrder, fill_fee
from overround.market import PX_ONE_E4, SZ_ONE_E6, FeeSchedule

__all__ = [
    "HORIZONS_S",
    "IMAGINED",
    "JUDGED_FROM_S",
    "POLICIES",
    "QUOTE_COLUMNS",
    "QUOTE_ESTIMATES",
    "Quoter",
    "QuoterPrints",
    "QuoterRows",
    "quote_px",
]
__all__ += ["RewardRule", "reward_share", "verdict_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HORIZONS_S = (1, 5, 30, 300)
"""Seconds after a fill at which it is judged."""
JUDGED_FROM_S = 30
"""What a fill has gained sooner says too little of what its taker knew."""
POLICIES = ("touch", "inside")
IMAGINED = (*POLICIES, "answered")
"""What is imagined: the last is ``inside`` again, in a market that answers."""
_REACH_MS = 60_000
_E10 = PX_ONE_E4 * SZ_ONE_E6
_DAY_MS = 86_400_000

QUOTE_COLUMNS = (
    *("w_ms", "quoted_ms", "spread", "competition", "capital", "grid_ms", "mid2", "jump"),
    *(
        f"{policy}_{what}"
        for policy in IMAGINED
        for what in ("fills", "contracts", "edge", "fee", "rebate", "carried", *(f"m{s}" for s in HORIZONS_S))
    ),
    *(f"{policy}_judged{s}" for policy in IMAGINED for s in HORIZONS_S),
)
"""Sums of one block: milliseconds, and over the quoted time spread, contracts displayed at both touches and dollars
bound; squared moves of the mid in ten seconds, and the largest; per policy fills, contracts, dollars, also with what was
bought and sold carried along at the mid."""

QUOTE_ESTIMATES: tuple[Estimate, ...] = (
    Estimate(name="quoted_spread", top="spread", over="quoted_ms"),
    Estimate(name="quoted_share", top="quoted_ms", over="w_ms", signed=True),
    Estimate(name="competition", top="competition", over="quoted_ms"),
    Estimate(name="capital", top="capital", over="quoted_ms"),
    Estimate(name="day_move", top="mid2", over="grid_ms", scale=_DAY_MS, root=True, events=True),
    *(
        one
        for policy in IMAGINED
        for one in (
            Estimate(name=f"{policy}_fills", top=f"{policy}_fills", over="w_ms", scale=_DAY_MS, events=True),
            Estimate(name=f"{policy}_contracts", top=f"{policy}_contracts", over="w_ms", scale=_DAY_MS, events=True),
            Estimate(name=f"{policy}_edge", top=f"{policy}_edge", over=f"{policy}_contracts", signed=True),
            *(
                Estimate(
                    name=f"{policy}_markout_{s}s",
                    top=f"{policy}_m{s}",
                    over=f"{policy}_judged{s}",
                    signed=True,
                    events=True,
                )
                for s in HORIZONS_S
            ),
            Estimate(name=f"{policy}_fees", top=f"{policy}_fee", over="w_ms", scale=_DAY_MS),
            Estimate(name=f"{policy}_rebates", top=f"{policy}_rebate", over="w_ms", scale=_DAY_MS),
            Estimate(
                name=f"{policy}_carried", top=f"{policy}_carried", over="w_ms", scale=_DAY_MS, signed=True, events=True
            ),
        )
    ),
)
"""Per day of being there all day: fills, contracts, dollars; per contract: edge (half the quoted spread) and markouts."""


class QuoterRows(NamedTuple):
    """One market's rows of its first outcome, in order; a side that is absent has price 0 and size 0.

    Attributes
    ----------
    ts_ms, bid_e4, ask_e4, bid_e6, ask_e6 : array of int64
    good : array of bool
        Whether a row can be trusted: not stale, not in a gap.
    """

    ts_ms: Ints
    bid_e4: Ints
    ask_e4: Ints
    bid_e6: Ints
    ask_e6: Ints
    good: npt.NDArray[np.bool_]


class QuoterPrints(NamedTuple):
    """Its trades seen from the first outcome, in order of time; those without a side are left out.

    Attributes
    ----------
    ts_ms, px_e4, sz_e6 : array of int64
    buys : array of bool
        Whether the taker bought the first outcome.
    """

    ts_ms: Ints
    px_e4: Ints
    sz_e6: Ints
    buys: npt.NDArray[np.bool_]


class _Fill(NamedTuple):
    ts_ms: int
    policy: str
    sign: int
    px_e4: int
    sz_e6: int


class _Quote:
    """One side's order of one policy."""

    __slots__ = ("order", "px_e4")

    def __init__(self) -> None:
        self.order: QueuedOrder | None = None
        self.px_e4 = 0


class _Bag:
    """What one policy holds, and paid for it, in e10 of dollars."""

    __slots__ = ("cash", "held_e6", "worth")

    def __init__(self) -> None:
        self.cash = self.held_e6 = 0
        self.worth = 0.0


class _Answer:
    """What others do about an order alone at a better price, on one side: learned from those whom the record shows.

    Who improves a price is joined there after a time, and the price stands for a time. An order of ours would have been
    answered alike, and what it takes from prints others keep: so prices are held to stand (`px_e4`) that the record does not
    show. Times are means so far.
    """

    __slots__ = (
        "_alone_ms",
        "_best",
        "_ended",
        "_followed",
        "_lone",
        "_lone_ms",
        "_own_ms",
        "_size",
        "_stood_ms",
        "px_e4",
        "until_ms",
    )

    def __init__(self) -> None:
        self._best = self._size = 0
        self._lone = 0  # price of somebody who improved it and stands alone
        self._lone_ms = self._followed = self._stood_ms = self._ended = 0
        self._own_ms = 0
        self.px_e4 = self.until_ms = 0

    def see(self, sign: int, step_ms: int, best: int, size: int) -> None:
        """The side's best after a step."""
        before, self._best = self._best, best
        if self._lone:
            if best == self._lone:
                self._lone_ms += step_ms
                if size > self._size:
                    self._followed += 1
                    self._lone = 0
            else:
                self._lone = 0
        if best and before and (best - before) * sign > 0:
            self._lone = best
        if before and best:
            self._stood_ms += step_ms
            self._ended += (best - before) * sign < 0
        self._size = size

    def alone(self, ts: int, step_ms: int, px: int) -> None:
        """Our order stood alone at a better price."""
        self._own_ms += step_ms
        if self._followed and self._own_ms * self._followed >= self._lone_ms:
            self._own_ms = 0
            self.stand(ts, px)

    def stand(self, ts: int, px: int) -> None:
        """Others stand at a price, for as long as they do."""
        self.px_e4 = px
        self.until_ms = ts + (self._stood_ms // self._ended if self._ended else 0)


def quote_px(policy: str, sign: int, held: int | None, bid: int, ask: int, *, tick_e4: int) -> int | None:
    """Where a policy wants its order, given the best prices of the others; None where it wants none.

    Parameters
    ----------
    policy : str
        One of ``POLICIES``.
    sign : int
        1 for the bid, -1 for the ask.
    held : int or None
        Price of the order that stands there now.
    bid, ask : int
        ``px_e4``.
    tick_e4 : int
    """
    best = bid if sign > 0 else ask
    if policy == "touch" or held == best:
        return best  # inside: others have come to it
    # With a room of two ticks both orders would want the one price between.
    return best + sign * tick_e4 if ask - bid >= 3 * tick_e4 else None


class Quoter:
    """One market's two imagined quotes, fed in order of time, a piece at a time.

    Parameters
    ----------
    size_e6 : int
        Contracts of each order.
    tick_e4 : int
    cancels_ahead : float
        See ``QueuedOrder``.
    fee : FeeSchedule
    fee_usd : float or None
        Dollars per contract, instead of the schedule.

    Attributes
    ----------
    blocks : dict of int to dict of str to float
        ``QUOTE_COLUMNS`` by start of the block; a fill belongs to the block in which it happened.
    """

    def __init__(
        self,
        *,
        size_e6: int,
        tick_e4: int,
        cancels_ahead: float = 0.0,
        fee: FeeSchedule | None = None,
        fee_usd: float | None = None,
    ) -> None:
        self._size_e6, self._tick_e4, self._cancels_ahead = size_e6, tick_e4, cancels_ahead
        self._fee, self._fee_usd = fee or FeeSchedule(), fee_usd
        self._quotes = {(policy, sign): _Quote() for policy in IMAGINED for sign in (1, -1)}
        self._answers = {1: _Answer(), -1: _Answer()}
        self._bags = {policy: _Bag() for policy in IMAGINED}
        self._before: tuple[int, int, int, bool] | None = None
        self._shown = (0, 0, 0, 0)
        self._grid: tuple[int, float] | None = None
        self._waiting: list[deque[_Fill]] = [deque() for _ in HORIZONS_S]
        self.blocks: dict[int, dict[str, float]] = {}

    def feed(self, rows: QuoterRows, prints: QuoterPrints) -> None:
        """Rows and prints of a piece of time after the ones before."""
        at, n_prints = 0, len(prints.ts_ms)
        print_ts, print_px, print_sz, print_buys = (column.tolist() for column in prints)
        for ts, bid, ask, bid_e6, ask_e6, good in zip(*(column.tolist() for column in rows), strict=True):
            first = at
            while at < n_prints and print_ts[at] <= ts:
                at += 1
            two_sided = good and bid > 0 and ask > bid
            before = self._before
            step = 0 if before is None else ts - before[0]
            whole = before is not None and before[3] and good and 0 <= step <= PAUSE_MS
            # Most rows say what the one before said: then nothing is filled and no order moves.
            shown = (bid, ask, bid_e6, ask_e6)
            still = whole and at == first and shown == self._shown
            self._shown = shown
            if whole and before is not None:
                self._account(before, step)
                if not still:
                    told = [(print_px[n], print_sz[n], print_buys[n]) for n in range(first, at)]
                    self._hear(ts, told, bid, ask, bid_e6, ask_e6)
                self._answered(ts, step, bid, ask, bid_e6, ask_e6)
            else:
                self._drop()
                # What is held when nobody watches is let go at the last mid.
                self._bags = {policy: _Bag() for policy in IMAGINED}
            if two_sided:
                self._judge(ts, bid, ask)
                self._move(ts, (bid + ask) / 2 / PX_ONE_E4)
                if not still:
                    self._carry(ts, bid, ask)
                if not still or any(answer.until_ms for answer in self._answers.values()):
                    self._requote(ts, bid, ask, bid_e6, ask_e6)
            else:
                self._drop()
            self._before = (ts, bid, ask, good)
            if two_sided and whole:
                sums = self._block(ts)
                sums["competition"] += step * (bid_e6 + ask_e6) / SZ_ONE_E6

    # -- inside -------------------------------------------------------------------------------------------

    def _block(self, ts_ms: int) -> dict[str, float]:
        start = ts_ms // BLOCK_MS * BLOCK_MS
        sums = self.blocks.get(start)
        if sums is None:
            sums = self.blocks[start] = dict.fromkeys(QUOTE_COLUMNS, 0.0)
        return sums

    def _account(self, before: tuple[int, int, int, bool], step_ms: int) -> None:
        ts, bid, ask, _ = before
        sums = self._block(ts)
        sums["w_ms"] += step_ms
        if 0 < bid < ask:
            sums["quoted_ms"] += step_ms
            sums["spread"] += step_ms * (ask - bid) / PX_ONE_E4
            # A bid binds its price; an ask is a bid for the other outcome.
            sums["capital"] += step_ms * (bid + PX_ONE_E4 - ask) / PX_ONE_E4 * self._size_e6 / SZ_ONE_E6

    def _move(self, ts: int, mid: float) -> None:
        """The mid's move since ten seconds ago or more, if it was watched."""
        if self._grid is not None and ts - self._grid[0] < GRID_MS:
            return
        if self._grid is not None and ts - self._grid[0] <= 3 * GRID_MS:
            sums, moved = self._block(ts), abs(mid - self._grid[1])
            sums["grid_ms"] += ts - self._grid[0]
            sums["mid2"] += moved**2
            sums["jump"] = max(sums["jump"], moved)
        self._grid = (ts, mid)

    def _hear(
        self, ts: int, told: Sequence[tuple[int, int, bool]], bid: int, ask: int, bid_e6: int, ask_e6: int
    ) -> None:
        for (policy, sign), quote in self._quotes.items():
            order = quote.order
            if order is None:
                continue
            best, best_e6 = (bid, bid_e6) if sign > 0 else (ask, ask_e6)
            mine = [(px, sz) for px, sz, buys in told if buys != (sign > 0)]
            executed = sum(sz for px, sz in mine if px == quote.px_e4)
            through = sum(sz for px, sz in mine if (px - quote.px_e4) * sign < 0)
            behind = best == 0 or (best - quote.px_e4) * sign < 0
            other, other_e6 = (ask, ask_e6) if sign > 0 else (bid, bid_e6)
            if executed and behind:
                through += order.left_e6  # who took the level to its end would have taken the order with it
            if other and (quote.px_e4 - other) * sign >= 0:
                through += other_e6  # who came to stand there would have met the order first
            # Behind a better price the level is not looked at: nothing of it is taken for cancelled.
            level = best_e6 if best == quote.px_e4 else 0 if behind else max(0, order.ahead_e6)
            filled = order.hear(LevelNews(level, executed_e6=executed, through_e6=through))
            if filled:
                self._fill(ts, policy, sign, quote.px_e4, filled)
                kept = min((px * sign for px, _ in mine), default=0) * sign
                if policy == "answered" and kept and (kept - best) * sign > 0:
                    self._answers[sign].stand(ts, kept)

    def _answered(self, ts: int, step_ms: int, bid: int, ask: int, bid_e6: int, ask_e6: int) -> None:
        for sign, best, size in ((1, bid, bid_e6), (-1, ask, ask_e6)):
            answer, quote = self._answers[sign], self._quotes["answered", sign]
            answer.see(sign, step_ms, best, size)
            if quote.order is not None and best and (quote.px_e4 - best) * sign > 0:
                answer.alone(ts, step_ms, quote.px_e4)

    def _fill(self, ts: int, policy: str, sign: int, px: int, sz_e6: int) -> None:
        sums = self._block(ts)
        contracts = sz_e6 / SZ_ONE_E6
        fee, rebate = self._fees(px, sz_e6, ts)
        half = 0.0
        if self._before is not None and 0 < self._before[1] < self._before[2]:
            half = sign * ((self._before[1] + self._before[2]) / 2 - px) / PX_ONE_E4
        sums[f"{policy}_fills"] += 1
        sums[f"{policy}_contracts"] += contracts
        sums[f"{policy}_edge"] += half * contracts
        sums[f"{policy}_fee"] += fee
        sums[f"{policy}_rebate"] += rebate
        bag = self._bags[policy]
        bag.cash -= sign * px * sz_e6
        bag.held_e6 += sign * sz_e6
        for waiting in self._waiting:
            waiting.append(_Fill(ts, policy, sign, px, sz_e6))

    def _fees(self, px: int, sz_e6: int, ts: int) -> tuple[float, float]:
        """Maker fee and rebate of a fill, dollars; NaN where the schedule is of an unknown kind."""
        if self._fee_usd is not None:
            return self._fee_usd * sz_e6 / SZ_ONE_E6, 0.0
        paid = fill_fee(self._fee, px_e4=px, sz_e6=sz_e6, is_taker=False, ts_ms=ts)
        taken = fill_fee(self._fee, px_e4=px, sz_e6=sz_e6, is_taker=True, ts_ms=ts)
        if paid is None or taken is None:
            return float("nan"), 0.0
        return paid / _E10, taken / _E10 * float(self._fee.rebate_rate)

    def _judge(self, ts: int, bid: int, ask: int) -> None:
        """Fills whose time has come are held against the mid; those that wait for too long are not judged."""
        mid_e4 = (bid + ask) / 2
        for seconds, waiting in zip(HORIZONS_S, self._waiting, strict=True):
            while waiting and ts >= waiting[0].ts_ms + seconds * 1000:
                fill = waiting.popleft()
                if ts > fill.ts_ms + seconds * 1000 + _REACH_MS:
                    continue
                contracts = fill.sz_e6 / SZ_ONE_E6
                gained = fill.sign * (mid_e4 - fill.px_e4) / PX_ONE_E4 * contracts
                sums = self._block(fill.ts_ms)
                sums[f"{fill.policy}_m{seconds}"] += gained
                sums[f"{fill.policy}_judged{seconds}"] += contracts

    def _carry(self, ts: int, bid: int, ask: int) -> None:
        """What was bought and sold so far, at the mid, against what it was worth at the row before."""
        sums = self._block(ts)
        for policy, bag in self._bags.items():
            worth = bag.cash + bag.held_e6 * (bid + ask) / 2
            sums[f"{policy}_carried"] += (worth - bag.worth) / _E10
            bag.worth = worth

    def _requote(self, ts: int, bid: int, ask: int, bid_e6: int, ask_e6: int) -> None:
        for answer in self._answers.values():
            if ts >= answer.until_ms:
                answer.until_ms = 0
        stood_bid, stood_ask = (
            max((answer.px_e4 * sign, best * sign)) * sign
            if answer.until_ms and (bid + ask) / 2 * sign > answer.px_e4 * sign
            else best
            for (sign, answer), best in zip(self._answers.items(), (bid, ask), strict=True)
        )
        for (policy, sign), quote in self._quotes.items():
            best, displayed = (bid, bid_e6) if sign > 0 else (ask, ask_e6)
            alive = quote.order is not None and quote.order.left_e6 > 0
            held = quote.px_e4 if alive else None
            seen = (stood_bid, stood_ask) if policy == "answered" else (bid, ask)
            px = quote_px(policy, sign, held, *seen, tick_e4=self._tick_e4)
            if px is None:
                quote.order = None
            elif px != held:
                quote.px_e4 = px
                quote.order = QueuedOrder(
                    self._size_e6, displayed if px == best else 0, cancels_ahead=self._cancels_ahead
                )

    def _drop(self) -> None:
        for quote in self._quotes.values():
            quote.order = None


# -- rewards -----------------------------------------------------------------------------------------------


class RewardRule(NamedTuple):
    """A market's liquidity rewards (Polymarket).

    Attributes
    ----------
    daily_usd : float
    min_size : float
        Contracts; smaller orders do not count.
    max_spread : float
        Probability; orders farther from the mid do not count.
    """

    daily_usd: float
    min_size: float
    max_spread: float


def reward_share(rows: pl.DataFrame, rule: RewardRule, *, size: float) -> float:
    """The share of a market's reward pool that quotes of ``size`` contracts at both touches would earn, [0, 1].

    An order scores ``((v - s) / v) ** 2`` times its size, ``v`` the greatest distance and ``s`` its own from the mid. The
    weaker side counts, or a third of the stronger where the mid lies within [0.10, 0.90]. All that is displayed counts as
    if one maker had quoted it, which gives the others no less than they score.

    Parameters
    ----------
    rows : polars.DataFrame
        Of one outcome, in order of ``ts_recv``, with ``mid``, ``status`` and the four lists of levels.
    rule : RewardRule
    size : float
    """
    if size < rule.min_size or rule.max_spread <= 0:
        return 0.0
    v = rule.max_spread
    two = rows.with_row_index("at").with_columns(
        (pl.col("ts_recv").shift(-1) - pl.col("ts_recv")).clip(0, _REACH_MS).fill_null(0).alias("ms")
    )
    two = two.filter(pl.col("status") == "ok", pl.col("mid").is_finite())
    if two.is_empty() or not two["ms"].sum():
        return 0.0
    scores = two.select("at", "ms", "mid")
    for side in ("bid", "ask"):
        near = (v - (pl.col("mid") - pl.col(f"{side}_px")).abs()).clip(0) / v
        theirs = (
            two.select("at", "mid", f"{side}_px", f"{side}_sz")
            .explode(f"{side}_px", f"{side}_sz")
            .group_by("at")
            .agg((near**2 * pl.col(f"{side}_sz")).sum().alias(f"{side}_theirs"), (near.max() ** 2 * size).alias(side))
        )
        scores = scores.join(theirs, on="at", how="left")
    middle = pl.col("mid").is_between(0.10, 0.90)

    def counted(one: str, other: str) -> pl.Expr:
        least = pl.min_horizontal(one, other)
        return pl.when(middle).then(pl.max_horizontal(least, pl.max_horizontal(one, other) / 3)).otherwise(least)

    ours, theirs_all = counted("bid", "ask"), counted("bid_theirs", "ask_theirs")
    share = (ours / (ours + theirs_all)).fill_nan(0.0)
    return float(scores.select((share * pl.col("ms")).sum() / pl.col("ms").sum()).item())


# -- in words ----------------------------------------------------------------------------------------------

_FEWEST_FILLS = 10


def verdict_of(line: Mapping[str, float | None], *, hours_to_close: float | None) -> tuple[str, str]:
    """One word and the reason for it.

    Parameters
    ----------
    line : mapping
        ``two_sided``, ``fills_seen``, ``usd_per_day`` with ``_lo`` and ``_hi``, ``edge`` and ``markout`` (after
        ``judged_after_s``) per contract, ``rewards`` dollars per day, of the better policy; ``fees_known``, 0 or 1.
    hours_to_close : float or None

    Returns
    -------
    (str, str)
        ``viable``, ``loses``, ``uncertain``, ``one-sided``, ``too little seen``, ``fees unknown`` or ``closing``.
    """
    two_sided, seen = line["two_sided"] or 0.0, line["fills_seen"] or 0.0
    usd, lo, hi = line["usd_per_day"], line["usd_per_day_lo"], line["usd_per_day_hi"]
    if two_sided < 0.5:
        return (
            "one-sided",
            f"two sides stood for {two_sided:.0%} of the time only: nothing to capture, nobody to sell to",
        )
    if hours_to_close is not None and hours_to_close < 6:
        return "closing", f"it closes within {max(hours_to_close, 0):.1f} h: the result comes as one jump"
    if not line["fees_known"]:
        return "fees unknown", "its fees are not listed, and no figure leaves them out: scan, or give --fee-estimate"
    if seen < _FEWEST_FILLS or usd is None or lo is None or hi is None:
        told = f"{seen:.0f} fills, or too few of them watched for {JUDGED_FROM_S} s after"
        return "too little seen", f"{told}: no figure can be given"
    edge, kept = 100 * (line["edge"] or 0.0), 100 * (line["markout"] or 0.0)
    story = f"of {edge:.2f} c quoted per contract, {kept:.2f} c are left {line['judged_after_s']:.0f} s after a fill"
    if lo > 0:
        rewards = line["rewards"] or 0.0
        source = "most of it rewards" if rewards > usd / 2 else story
        return "viable", f"{usd:,.2f} dollars a day ({lo:,.2f} to {hi:,.2f}): {source}"
    if hi < 0:
        return "loses", f"{usd:,.2f} dollars a day ({lo:,.2f} to {hi:,.2f}): {story}"
    return "uncertain", f"between {lo:,.2f} and {hi:,.2f} dollars a day: {story}"

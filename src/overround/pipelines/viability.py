"""A day's market-making viability: the record in, ``mm_viability.parquet`` and a verdict per market out."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import add, sub
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import structlog

from overround.analytics import (
    HORIZONS_S,
    IMAGINED,
    JUDGED_FROM_S,
    POLICIES,
    QUOTE_COLUMNS,
    QUOTE_ESTIMATES,
    TRADE_COLUMNS,
    Quoter,
    QuoterPrints,
    QuoterRows,
    RewardRule,
    estimate,
    reward_share,
    verdict_of,
)
from overround.clock import Clock, SystemClock
from overround.errors import UNREADABLE, FileDamaged, NothingStored
from overround.market import PX_ONE_E4, SZ_ONE_E6, FeeKind, FeeSchedule, Market
from overround.pipelines.captions import caption_of
from overround.pipelines.mine import (
    ALL_HOURS,
    SkippedFile,
    check_sum,
    manifest_of,
    missing_files,
    nothing_stored,
    with_coverage,
)
from overround.pipelines.queue_fit import QueueFit, fit_queue
from overround.storage import SNAPSHOTS, TRADE_TABLE, TRADES, LakePaths, gaps_of, newest_universe, partitions, trusted
from overround.storage.fileops import FileOps
from overround.storage.readers import Partition, Piece
from overround.storage.universe import read_universe
from overround.timebucket import day_start_ms

__all__ = [
    "DEFAULT_CANCELS_AHEAD",
    "DEFAULT_SIZE",
    "ViabilityResult",
    "ViableMarket",
    "mm_viability",
    "viability_columns",
]

log = structlog.get_logger()

DEFAULT_SIZE = 100.0
"""Contracts of each imagined order, where the market does not ask for more."""
DEFAULT_CANCELS_AHEAD = 1.0
"""Cancels fall evenly on what stands ahead and behind."""
_COLUMNS = (
    "market_id",
    "outcome_id",
    "ts_recv",
    "seq",
    "status",
    "mid",
    "best_bid_px",
    "best_bid_sz",
    "best_ask_px",
    "best_ask_sz",
)
_LISTS = ("bid_px", "bid_sz", "ask_px", "ask_sz")
VIABILITY_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class ViableMarket:
    """One market's line.

    Attributes
    ----------
    market_id, title, verdict, reason : str
    policy : str
        The better of ``touch`` and ``inside``; the figures are its.
    usd_per_day, usd_per_day_lo, usd_per_day_hi : float or None
        Expected dollars for a day of quoting, fees, rebates and rewards included, and the 95 % interval for the mean of such
        days; None where too little was seen.
    stats : dict of str to float or None
        Everything else, as in the file.
    """

    market_id: str
    title: str
    verdict: str
    reason: str
    policy: str
    usd_per_day: float | None
    usd_per_day_lo: float | None
    usd_per_day_hi: float | None
    stats: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ViabilityResult:
    """What was found.

    Attributes
    ----------
    venue, date : str
    markets : tuple of ViableMarket
        Best first: by the lower end of the interval.
    n_markets : int
    path : str
        The file, or empty where none was to be written.
    queue : QueueFit
        How the queue was advanced by cancels, and whence that is known.
    skipped : tuple of SkippedFile
        Damaged and missing files.
    incomplete : bool
        Whether anything was skipped; the command then ends with exit code 3.
    took_ms : int
    """

    venue: str
    date: str
    markets: tuple[ViableMarket, ...]
    n_markets: int
    path: str
    queue: QueueFit
    skipped: tuple[SkippedFile, ...] = ()
    incomplete: bool = False
    took_ms: int = 0

    @property
    def exit_code(self) -> int:
        """3 where the result is incomplete."""
        return 3 if self.incomplete else 0


def mm_viability(
    paths: LakePaths,
    venue: str,
    date: str,
    *,
    hours: Sequence[int] = ALL_HOURS,
    fee_usd: float | None = None,
    cancels_ahead: float | None = None,
    size: float = DEFAULT_SIZE,
    top: int = 20,
    write: bool = True,
    clock: Clock | None = None,
) -> ViabilityResult:
    """Judge every market of a day.

    Rows are read an hour at a time, without their levels; only markets with liquidity rewards need these.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    hours : sequence of int
    fee_usd : float, optional
        Dollars per contract filled, in place of the listed schedules.
    cancels_ahead : float, optional
        See ``fills.QueuedOrder``; 1 is evenly, 0 lets only prints advance a quote. Fitted to the journal where it can be, else
        ``DEFAULT_CANCELS_AHEAD``.
    size : float
        Contracts of each quote.
    top : int
        Markets in the result; the file has all.
    write : bool
    clock : Clock, optional

    Raises
    ------
    NothingStored
        If there is no snapshot in these hours.
    """
    clock = clock or SystemClock()
    began_ns = clock.monotonic_ns()
    listed = _listed(paths, venue, date, clock.now_ms())
    gaps = gaps_of(paths, venue, [date]).collect()
    skipped: list[SkippedFile] = []
    quoters: dict[tuple[str, str], Quoter] = {}
    shares: dict[str, list[tuple[float, int]]] = {}
    two_sided: dict[str, list[int]] = {}
    found = False
    # The levels of markets with rewards only.
    held = pl.col("market_id").is_in(sorted(key for key, each in listed.items() if each.rewards_daily_usdc > 0))
    levels = [pl.when(held).then(pl.col(name)).alias(name) for name in _LISTS]
    parts = list(partitions(paths, venue, date=date, hours=hours))
    if cancels_ahead is not None:
        queue = QueueFit(cancels_ahead=cancels_ahead, source="as asked for")
    else:
        queue = fit_queue(paths, venue, date, hours=[int(part.hour) for part in parts], default=DEFAULT_CANCELS_AHEAD)
    skipped += missing_files(paths, venue, date, hours, SNAPSHOTS)
    for partition in parts:
        frames = _frames(paths, venue, date, partition, [*_COLUMNS, *levels], skipped)
        trades = _trades(paths, venue, date, int(partition.hour), skipped)
        if not frames or trades is None:
            continue
        found = True
        rows = pl.concat(frames)
        kept = trusted(rows.select("market_id", "ts_recv").with_row_index("at").lazy(), gaps).select("at").collect()
        good = np.zeros(rows.height, np.bool_)
        good[kept["at"].to_numpy()] = True
        rows = rows.with_columns(pl.Series("good", good) & pl.col("status").is_in(["ok", "partial", "empty"]))
        of_market = {str(key[0]): part for key, part in trades.partition_by("market_id", as_dict=True).items()}
        for key, mine in rows.partition_by("market_id", as_dict=True, maintain_order=True).items():
            market_id = str(key[0])
            market = listed.get(market_id)
            first = (
                str(market.outcome_ids[0]) if market else str(mine["outcome_id"].min() if venue != "kalshi" else "yes")
            )
            mine = mine.filter(pl.col("outcome_id") == first).sort("ts_recv", "seq")
            if mine.is_empty():
                continue
            quoter = quoters.get((market_id, first))
            if quoter is None:
                quoter = quoters[market_id, first] = _quoter(market, mine, size, fee_usd, queue.cancels_ahead)
            quoter.feed(_quoter_rows(mine), _prints(of_market.get(market_id, trades.clear()), first))
            sides = two_sided.setdefault(market_id, [0, 0])
            sides[0] += int(mine["good"].sum())
            sides[1] += int((mine["good"] & (mine["status"] == "ok")).sum())
            if market is not None and market.rewards_daily_usdc > 0:
                rule = RewardRule(market.rewards_daily_usdc, market.rewards_min_size, market.rewards_max_spread_px)
                shares.setdefault(market_id, []).append(
                    (reward_share(mine, rule, size=_size(market, size)), mine.height)
                )
    if not found:
        raise nothing_stored(paths, venue, [date], hours, skipped)
    stats = with_coverage(_measured(quoters), paths, venue, [date], skipped)
    lines = _lines(stats, shares, two_sided, listed, date, size)
    path = ""
    if write:
        path = str(_write(paths, venue, date, lines, queue))
    result = ViabilityResult(
        venue=venue,
        date=date,
        markets=tuple(lines[:top]),
        n_markets=len(lines),
        path=path,
        queue=queue,
        skipped=tuple(skipped),
        incomplete=bool(skipped),
        took_ms=(clock.monotonic_ns() - began_ns) // 1_000_000,
    )
    log.info("viability.done", venue=venue, date=date, markets=len(lines), skipped=len(skipped), took_ms=result.took_ms)
    return result


# -- in ----------------------------------------------------------------------------------------------------


def _listed(paths: LakePaths, venue: str, date: str, now_ms: int) -> dict[str, Market]:
    """What the venue listed that day, its schedules and sizes of then; the newest listing where there is none."""
    path = paths.universe(venue, date)
    try:
        if path.is_file():
            return {str(market.market_id): market for market in read_universe(path)}
        universe = newest_universe(paths, venue, now_ms=now_ms)
    except (NothingStored, FileDamaged) as exc:
        log.warning("viability.no_listing", venue=venue, reason=str(exc))
        return {}
    return {str(market.market_id): market for market in universe.markets} if universe else {}


def _frames(
    paths: LakePaths,
    venue: str,
    date: str,
    partition: Partition,
    select: Sequence[str | pl.Expr],
    skipped: list[SkippedFile],
) -> list[pl.DataFrame]:
    """What of an hour's files is whole; the others are named."""
    frames = []
    place = partition.table.place
    day, lines = paths.day(place, venue, date), manifest_of(paths, venue, date, place)
    for piece in partition.pieces():
        try:
            check_sum(piece, day, lines)
            frames.append(_read(piece, select))
        except (*UNREADABLE, OSError, pl.exceptions.PolarsError, FileDamaged) as exc:
            skipped.append(SkippedFile(path=str(piece.path), reason=str(exc).splitlines()[0]))
    return frames


def _read(piece: Piece, select: Sequence[str | pl.Expr]) -> pl.DataFrame:
    frame = piece.scan().select(*select).collect(engine="streaming")
    if sum(frame.select(pl.col("market_id", "outcome_id", "ts_recv").null_count()).row(0)):
        # A foreign file: its missing columns were read as nulls.
        raise FileDamaged(f"{piece.path} holds rows without market, outcome or time")
    return frame


def _trades(paths: LakePaths, venue: str, date: str, hour: int, skipped: list[SkippedFile]) -> pl.DataFrame | None:
    """An hour's prints; None where a part of them is lost, for who hears half of the prints is filled by half."""
    lost = missing_files(paths, venue, date, [hour], TRADES)
    frames = [pl.DataFrame(TRADE_TABLE.schema.empty_table()).select(TRADE_COLUMNS)]
    for partition in partitions(paths, venue, date=date, hours=[hour], table=TRADE_TABLE):
        frames += _frames(paths, venue, date, partition, TRADE_COLUMNS, lost)
    skipped += lost
    return None if lost else pl.concat(frames).sort("ts_recv", maintain_order=True)


def _quoter(
    market: Market | None, rows: pl.DataFrame, size: float, fee_usd: float | None, cancels_ahead: float
) -> Quoter:
    """With the listing's schedule, tick and smallest size; the tick of the prices where there is no listing."""
    mid = float(rows["mid"].drop_nans().mean() or 0.5)  # type: ignore[arg-type]
    tick = 100
    if market is not None and market.tick_grid:
        tick = next(
            (band.step_e4 for band in market.tick_grid if band.start_e4 <= mid * PX_ONE_E4 <= band.end_e4),
            market.tick_grid[0].step_e4,
        )
    return Quoter(
        size_e6=round(_size(market, size) * SZ_ONE_E6),
        tick_e4=tick,
        cancels_ahead=cancels_ahead,
        # Whoever is not listed is not taken for free of fees.
        fee=FeeSchedule(kind=FeeKind.UNKNOWN) if market is None else market.fee,
        fee_usd=fee_usd,
    )


def _size(market: Market | None, size: float) -> float:
    """Contracts of each order: what is asked for, or what the market asks for at least."""
    return size if market is None else max(size, market.min_size_e6 / SZ_ONE_E6)


def _quoter_rows(rows: pl.DataFrame) -> QuoterRows:
    def whole(name: str, scale: int) -> Any:
        return (rows[name].fill_nan(0.0).fill_null(0.0) * scale).round().cast(pl.Int64).to_numpy()

    return QuoterRows(
        rows["ts_recv"].to_numpy(),
        whole("best_bid_px", PX_ONE_E4),
        whole("best_ask_px", PX_ONE_E4),
        whole("best_bid_sz", SZ_ONE_E6),
        whole("best_ask_sz", SZ_ONE_E6),
        rows["good"].fill_null(value=False).to_numpy(),
    )


def _prints(trades: pl.DataFrame, first: str) -> QuoterPrints:
    told = trades.filter(~pl.col("block"), pl.col("taker_side").is_not_null())
    same = told["outcome_id"] == first
    px = told.select(pl.when(same).then("px").otherwise(1 - pl.col("px"))).to_series()
    return QuoterPrints(
        told["ts_recv"].to_numpy(),
        (px * PX_ONE_E4).round().cast(pl.Int64).to_numpy(),
        (told["sz"] * SZ_ONE_E6).round().cast(pl.Int64).to_numpy(),
        ((told["taker_side"] == "buy") == same).to_numpy(),
    )


# -- out ---------------------------------------------------------------------------------------------------


def _lines(
    stats: pl.DataFrame,
    shares: Mapping[str, Sequence[tuple[float, int]]],
    two_sided: Mapping[str, Sequence[int]],
    listed: Mapping[str, Market],
    date: str,
    size: float,
) -> list[ViableMarket]:
    end = day_start_ms(date) + 86_400_000
    found = [_line(row, shares, two_sided, listed.get(row["market_id"]), end, size) for row in stats.to_dicts()]
    worst = float("-inf")
    return sorted(
        found,
        key=lambda line: (-(line.usd_per_day_lo if line.usd_per_day_lo is not None else worst), line.market_id),
    )


def _measured(quoters: Mapping[tuple[str, str], Quoter]) -> pl.DataFrame:
    """What each market's sums say, a row a market."""
    rows = [
        {"market_id": market_id, "outcome_id": outcome_id, "block": block, **sums}
        for (market_id, outcome_id), quoter in quoters.items()
        for block, sums in quoter.blocks.items()
    ]
    schema = {
        "market_id": pl.String,
        "outcome_id": pl.String,
        "block": pl.Int64,
        **dict.fromkeys(QUOTE_COLUMNS, pl.Float64),
    }
    blocks = pl.DataFrame(rows, schema=schema).sort("market_id", "outcome_id", "block")
    stats = estimate(blocks, what=QUOTE_ESTIMATES)
    seen = blocks.group_by("market_id").agg(
        pl.col("jump").max(),
        *(pl.col(f"{policy}_fills").sum().alias(f"{policy}_fills_seen") for policy in IMAGINED),
        *(
            (pl.col(f"{policy}_judged{s}").sum() / pl.col(f"{policy}_contracts").sum())
            .fill_nan(0.0)
            .alias(f"{policy}_judged{s}_share")
            for policy in IMAGINED
            for s in HORIZONS_S
        ),
    )
    judged = [f"{policy}_markout_{seconds}s" for policy in IMAGINED for seconds in HORIZONS_S]
    # What takers know is asked of such days, not of the time that was not watched: the interval does not shrink to nothing.
    stats = stats.with_columns(
        (pl.col(name) + sign * 1.96 * pl.col(f"{name}_se")).alias(f"{name}_{end}")
        for name in judged
        for end, sign in (("lo", -1), ("hi", 1))
    )
    return stats.join(seen, on="market_id", how="left").sort("market_id")


def _line(
    row: dict[str, Any],
    shares: Mapping[str, Sequence[tuple[float, int]]],
    two_sided: Mapping[str, Sequence[int]],
    market: Market | None,
    end_ms: int,
    size: float,
) -> ViableMarket:
    market_id, size = row["market_id"], _size(market, size)
    parts = shares.get(market_id, ())
    share = sum(part * n for part, n in parts) / max(1, sum(n for _, n in parts))
    rewards = share * market.rewards_daily_usdc if market is not None else 0.0
    n_rows, n_two = two_sided.get(market_id, (0, 0))
    hours = None if market is None or market.close_ts is None else (market.close_ts - end_ms) / 3_600_000
    policies: dict[str, dict[str, float | None]] = {}
    for policy in POLICIES:
        usd, lo, hi, judged_s = _dollars(row, policy, _earned)
        policies[policy] = {
            "two_sided": n_two / n_rows if n_rows else None,
            "fills_seen": row[f"{policy}_fills_seen"],
            "usd_per_day": None if usd is None else usd + rewards,
            "usd_per_day_lo": None if lo is None else lo + rewards,
            "usd_per_day_hi": None if hi is None else hi + rewards,
            "edge": row[f"{policy}_edge"],
            "markout": row.get(f"{policy}_markout_{judged_s}s"),
            "judged_after_s": judged_s,
            "rewards": rewards,
            "fees_known": float(row[f"{policy}_fees"] is not None),
        }
    policy = max(POLICIES, key=lambda name: _or_least(policies[name]["usd_per_day_lo"]))
    best = policies[policy]
    word, reason = verdict_of(best, hours_to_close=hours)
    capital = row["capital"]
    stats = {name: value for name, value in row.items() if name not in {"market_id", "outcome_id"}}
    for each, told in policies.items():
        stats |= {f"{each}_usd_per_day{end}": told[f"usd_per_day{end}"] for end in ("", "_lo", "_hi")}
        carried = _dollars(row, each, _carried)
        stats |= {f"{each}_carried_usd{end}": value for end, value in zip(("", "_lo", "_hi"), carried, strict=False)}
    stats |= {
        "two_sided": best["two_sided"],
        "judged_after_s": best["judged_after_s"],
        "reward_share": share,
        "rewards": rewards,
        "hours_to_close": hours,
        "size": size,
        # One quote's worth of inventory held for a day, one standard deviation; and in the largest ten seconds seen.
        "inventory_risk": None if row["day_move"] is None else row["day_move"] * size,
        "jump_risk": row["jump"] * size,
        "usd_per_day_per_usd": best["usd_per_day"] / capital if best["usd_per_day"] is not None and capital else None,
    }
    return ViableMarket(
        market_id=market_id,
        title=caption_of(market) if market is not None else "",
        verdict=word,
        reason=reason,
        policy=policy,
        usd_per_day=best["usd_per_day"],
        usd_per_day_lo=best["usd_per_day_lo"],
        usd_per_day_hi=best["usd_per_day_hi"],
        stats=stats,
    )


class _Dollars(NamedTuple):
    """Dollars a day with the bounds (95 %) of the mean of such days; None where too little was seen.

    Attributes
    ----------
    usd, lo, hi : float or None
    judged_s : int
        The seconds after which fills were judged.
    """

    usd: float | None
    lo: float | None
    hi: float | None
    judged_s: int = 0


def _dollars(row: Mapping[str, Any], policy: str, how: Callable[[Mapping[str, Any], str], _Earned]) -> _Dollars:
    """Dollars a day by fills.

    Inside, the record cannot tell what others would have done about it: the bounds are those of a market that answers as it
    answers others, and of one that does not answer, and the figure lies between.
    """
    found = [how(row, name) for name in ((policy, "answered") if policy == "inside" else (policy,))]
    usd = [one.usd for one in found if one.usd is not None]
    if len(usd) < len(found):
        return _Dollars(None, None, None, found[0].judged_s)
    halves = [1.96 * one.error for one in found]
    lo, hi = min(map(sub, usd, halves)), max(map(add, usd, halves))
    return _Dollars(sum(usd) / len(usd), lo, hi, found[0].judged_s)


class _Earned(NamedTuple):
    usd: float | None
    error: float
    judged_s: int = 0


def _earned(row: Mapping[str, Any], policy: str) -> _Earned:
    """Dollars a day by fills, their standard error, and the seconds after which fills were judged.

    Of the horizons the longest at which half of the contracts could be judged, none under ``JUDGED_FROM_S``: a stay of three
    minutes shows no mid five minutes after its fills.
    """
    contracts, spread = row[f"{policy}_contracts"], row[f"{policy}_contracts_se"]
    for seconds in reversed(HORIZONS_S):
        if seconds < JUDGED_FROM_S:
            break
        markout, error = row[f"{policy}_markout_{seconds}s"], row[f"{policy}_markout_{seconds}s_se"]
        judged = row[f"{policy}_judged{seconds}_share"]
        if None in (contracts, spread, markout, error) or judged < 0.5:
            continue
        fees, rebates = row[f"{policy}_fees"], row[f"{policy}_rebates"]
        if fees is None or rebates is None:
            return _Earned(None, 0.0, seconds)  # the schedule is of an unknown kind
        return _Earned(contracts * markout + rebates - fees, math.hypot(contracts * error, markout * spread), seconds)
    return _Earned(None, 0.0, HORIZONS_S[-1])


def _carried(row: Mapping[str, Any], policy: str) -> _Earned:
    """Dollars a day with all that was bought and sold carried along at the mid, and their standard error."""
    names = (f"{policy}_carried", f"{policy}_carried_se", f"{policy}_fees", f"{policy}_rebates")
    if any(row[name] is None for name in names):
        return _Earned(None, 0.0)
    carried, error, fees, rebates = (row[name] for name in names)
    return _Earned(carried + rebates - fees, error)


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None else value


def viability_columns() -> dict[str, Any]:
    """Names and types of the columns of ``mm_viability.parquet``."""
    measured = with_coverage(_measured({}), LakePaths(Path()), "", ["1970-01-01"], []).schema
    nothing = _line({**dict.fromkeys(measured, 0.0), "market_id": ""}, {}, {}, None, 0, 0.0)
    texts = dict.fromkeys(("venue", "market_id", "verdict", "reason", "policy", "cancels_ahead_source"), pl.String)
    whole = dict.fromkeys(("version", "judged_after_s"), pl.Int64)
    known = {**dict(measured), **texts, **whole}
    return {name: known.get(name, pl.Float64) for name in _stored("", nothing, QueueFit(cancels_ahead=0.0, source=""))}


def _stored(venue: str, line: ViableMarket, queue: QueueFit) -> dict[str, Any]:
    """A market's row of the file."""
    return {
        "version": VIABILITY_VERSION,
        "venue": venue,
        "market_id": line.market_id,
        "verdict": line.verdict,
        "reason": line.reason,
        "policy": line.policy,
        "usd_per_day": line.usd_per_day,
        "usd_per_day_lo": line.usd_per_day_lo,
        "usd_per_day_hi": line.usd_per_day_hi,
        "cancels_ahead": queue.cancels_ahead,
        "cancels_ahead_source": queue.source,
        **line.stats,
    }


def _write(paths: LakePaths, venue: str, date: str, lines: Sequence[ViableMarket], queue: QueueFit) -> Path:
    frame = pl.DataFrame([_stored(venue, line, queue) for line in lines], schema=viability_columns())
    sink = io.BytesIO()
    frame.write_parquet(sink, compression="zstd")
    path = paths.mm_viability(venue, date)
    path.parent.mkdir(parents=True, exist_ok=True)
    FileOps().write_whole(path, sink.getvalue())
    return path

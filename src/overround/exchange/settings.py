"""How the local exchange behaves: eras of the wire formats, timings and limits."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["ExchangeOptions", "ExchangeUrls", "HashEra", "KalshiOptions", "OldFormat", "PolymarketOptions"]


class HashEra(StrEnum):
    """Which fields the Polymarket book hash covers."""

    SIX = "six"
    """December 2024 to July 2025: market, asset_id, timestamp, hash, bids, asks."""
    NINE = "nine"
    """October 2025: the six, then min_order_size, tick_size, neg_risk."""
    TEN = "ten"
    """December 2025 and later: the nine, then last_trade_price."""


class OldFormat(StrEnum):
    """Forms of ``price_change`` before 15 September 2025."""

    NO = "no"
    """Today's: one object with ``price_changes`` of both tokens."""
    CHANGES = "changes"
    """A list with one element of ``changes`` per token."""
    FLAT = "flat"
    """A list with one flat element per token and level (2024)."""


class PolymarketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Habits of the Polymarket side.

    Attributes
    ----------
    hash_era : HashEra
    old_format : OldFormat
    old_stamp_lag_ms : tuple of int
        In the old format a frame's timestamp is so much later than the one inside its hash.
    spaced_share : float
        Share of frames written with blanks after separators; the initial dump never is.
    last_trade_delay_ms : tuple of int
        ``last_trade_price`` follows its match after so many milliseconds.
    last_trade_early : bool
        The hash uses a match's price at once, before ``last_trade_price`` announces it.
    back_stamp_share : float
        Share of ``last_trade_price`` events stamped some milliseconds before their predecessor.
    stale_after_dump_share : float
        Share of dumps after which a change comes that is older than the dump and already in it.
    most_tokens : int
        Tokens beyond so many on one connection get nothing, and no error either.
    tick_in_dump : bool
        The initial book carries ``tick_size`` (2026 on).
    first_message_ms : int
        A connection that has not subscribed by then is closed.
    heartbeat_ms : int
        A connection without a ``PING`` for so long is closed; 0 never.
    """

    hash_era: HashEra = HashEra.TEN
    old_format: OldFormat = OldFormat.NO
    old_stamp_lag_ms: tuple[int, int] = (3, 13)
    spaced_share: float = 0.3
    last_trade_delay_ms: tuple[int, int] = (1, 66)
    last_trade_early: bool = True
    back_stamp_share: float = 0.06
    stale_after_dump_share: float = 0.05
    most_tokens: int = 500
    tick_in_dump: bool = True
    first_message_ms: int = 10_000
    heartbeat_ms: int = 30_000


class KalshiOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Habits of the Kalshi side.

    Attributes
    ----------
    clock_fields : bool
        ``clock`` on book frames and ``sending_ts_ms`` on all (October 2026).
    ts_ms : bool
        ``ts_ms`` on book frames (absent in April 2026).
    delta_first_share : float
        Share of trades whose maker's delta is sent before the trade frame.
    close_snapshot_ms : tuple of int
        The empty snapshot follows the scheduled close after so many milliseconds.
    ticker_ms : int
        Shortest time between two ``ticker`` frames of one market.
    ping_ms : int
        Between two protocol pings with body ``heartbeat``.
    skew_ms : int
        Tolerated difference between the signed timestamp and our clock.
    command_delay_ms : tuple of int
        A command is obeyed so much later, so that pipelined ones overtake each other.
    max_tickers_per_command : int
        More tickers in one command are refused with error 26.
    """

    clock_fields: bool = True
    ts_ms: bool = True
    delta_first_share: float = 0.95
    close_snapshot_ms: tuple[int, int] = (400, 2_200)
    ticker_ms: int = 1_000
    ping_ms: int = 10_000
    skew_ms: int = 30_000
    command_delay_ms: tuple[int, int] = (0, 0)
    max_tickers_per_command: int = 1_000


class ExchangeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Habits of the exchange as a whole.

    Attributes
    ----------
    polymarket, kalshi : PolymarketOptions, KalshiOptions
    tick_ms : float
        Longest batching delay of the pump; a source's change leaves at most so much after its time.
    slice_ms : int
        Venue time that one uninterrupted step of the pump may cover.
    buffer_bytes : int
        Unsent bytes a connection may pile up before it counts as too slow.
    opens_per_s : int
        Upgrades of one venue beyond so many in a second get 429; 0 lets all in.
    hold_until_markets : int
        Nothing happens until so many markets are subscribed; a recording then plays from its beginning.
    wait_for_readers : bool
        Hold the pump instead when a connection's buffer fills (lossless replays at any speed).
    gamma_refresh_ms : int
        Age at which a listing's quotes are computed anew; the venue's own are minutes old.
    log_deliveries : bool
        Write down what each connection was sent of which change (``Exchange.deliveries``); for checks, not for speed.
    """

    polymarket: PolymarketOptions = PolymarketOptions()
    kalshi: KalshiOptions = KalshiOptions()
    tick_ms: float = 2.0
    slice_ms: int = 250
    buffer_bytes: int = 16 * 1024 * 1024
    opens_per_s: int = 0
    hold_until_markets: int = 0
    wait_for_readers: bool = False
    gamma_refresh_ms: int = 60_000
    log_deliveries: bool = False


class ExchangeUrls(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running exchange answers; ready for the settings of the venues."""

    gamma_url: str
    clob_url: str
    polymarket_ws_url: str
    kalshi_rest_url: str
    kalshi_ws_url: str
    truth_url: str
    faults_url: str

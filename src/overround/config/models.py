"""The settings and their defaults; ``config/surveillance.toml`` is the commented copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from overround.errors import ConfigError
from overround.timebucket import check_bucket_length

__all__ = [
    "ArchiveSettings",
    "ClusterSettings",
    "DbSettings",
    "DriftSettings",
    "ExchangeSettings",
    "IngestionSettings",
    "KalshiSettings",
    "LeaseSettings",
    "LoggingSettings",
    "MockSettings",
    "MonitoringSettings",
    "PollingSettings",
    "PolymarketSettings",
    "RaySettings",
    "RetentionSettings",
    "Settings",
    "SilenceSettings",
    "StorageSettings",
    "StrategySettings",
    "ThresholdSettings",
    "VenueSettings",
    "VenuesSettings",
    "parse_shard",
]

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
MOST_SHARDS = 999
Level = Literal["debug", "info", "warning", "error"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VenueSettings(_Table):
    """What both venues have.

    Attributes
    ----------
    enabled : bool
    api_key : str
        Empty where the venue needs none for reading.
    api_secret : SecretStr
        Secret text; for Kalshi the PEM text of the private key.
    private_key_path : Path or None
        PEM file (Kalshi); read instead of ``api_secret``.
    max_subs_per_venue, hot_count : int
        Markets subscribed at once, and how many of them stay (hot).
    rotation_period_secs : int
        Seconds between two turns of the warm set.
    snapshot_interval_ms_hot, snapshot_interval_ms_warm : int
        Milliseconds between two rows of one market.
    subscription_churn_limit_per_minute : int
        Markets added plus removed by rotation in one minute.
    open_per_second : float
        Connections opened per second, so that a start is no storm.
    rate_fraction : float
        Share of the documented request budget that we allow ourselves, (0, 1].
    """

    enabled: bool = True
    api_key: str = ""
    api_secret: SecretStr = SecretStr("")
    private_key_path: Path | None = None
    ws_url: str = ""
    rest_url: str = ""
    max_subs_per_venue: Positive = 200
    hot_count: NotNegative = 40
    rotation_period_secs: Positive = 180
    snapshot_interval_ms_hot: Positive = 2_000
    snapshot_interval_ms_warm: Positive = 10_000
    subscription_churn_limit_per_minute: NotNegative = 20
    open_per_second: Annotated[float, Field(gt=0)] = 1.5
    rate_fraction: Annotated[float, Field(gt=0, le=1)] = 0.05


class PolymarketSettings(VenueSettings):
    """``[venues.polymarket]``: ``rest_url`` is Gamma, ``clob_url`` the order-book host.

    Attributes
    ----------
    neg_risk_fee_bips : int
        What a conversion of a neg-risk set keeps, hundredths of a percent, where the listing does not say. The default is
        taken, not read: the field is documented, and none of 22,018 markets listed on 2026-03-11 came with it.
    """

    ws_url: str = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    rest_url: str = "https://gamma-api.polymarket.com"
    clob_url: str = "https://clob.polymarket.com"
    max_tokens_per_connection: Annotated[int, Field(ge=2, le=400)] = 200
    heartbeat_secs: Positive = 10
    hash_sample_every: Annotated[int, Field(ge=0)] = 64
    hash_cpu_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    neg_risk_fee_bips: Annotated[int, Field(ge=0, le=10_000)] = 0


class KalshiSettings(VenueSettings):
    """``[venues.kalshi]``: the socket needs a key, REST market data does not.

    Attributes
    ----------
    audit_secs : int
        Seconds between two books that a connection asks for to compare them with those held; 0 compares doubtful ones
        only.
    watch_markets : int
        Markets of a connection whose prints are held against their changes at a time; 0 for none.
    """

    ws_url: str = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
    rest_url: str = "https://external-api.kalshi.com/trade-api/v2"
    max_markets_per_connection: Annotated[int, Field(ge=1, le=1000)] = 100
    audit_secs: NotNegative = 5
    watch_markets: NotNegative = 4
    rate_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5


class VenuesSettings(_Table):
    """``[venues]``."""

    polymarket: PolymarketSettings = PolymarketSettings()
    kalshi: KalshiSettings = KalshiSettings()


class PollingSettings(_Table):
    """``[polling]``: how often REST is asked, seconds."""

    catalogue_secs: Positive = 3_600
    universe_reload_secs: Positive = 30
    universe_max_age_hours: Positive = 24


class SilenceSettings(_Table):
    """``[silence]``: looking for silence that heartbeats hide.

    Attributes
    ----------
    enabled : bool
    audit_after_secs : int
        A live book of which nothing has been heard or proved for so long is compared with REST.
    tolerance_ms, mute_tolerance_ms : int
        A book that REST shows differently has so long to be overtaken by the socket: on a connection that is silent,
        and on one that speaks.
    first_book_secs : int
        A market without its first book for so long is looked up in REST.
    shortest_silence_ms, longest_silence_secs : int
        A connection's silence below the first is never suspicious, above the second always; in between its own
        habit decides.
    stall_ms : int
        A connection silent for less is late, not frozen.
    spot_check_markets : int
        Most active markets of a suspicious connection that REST is asked for.
    canaries_per_connection : int
        Most active markets of each connection that a second one subscribes, too; 0 opens none.
    canary_tolerance_ms : int
        What one of two connections heard of a canary, the other must have heard within so long.
    """

    enabled: bool = True
    audit_after_secs: Annotated[int, Field(ge=5)] = 45
    tolerance_ms: Annotated[int, Field(ge=500)] = 2_000
    mute_tolerance_ms: Annotated[int, Field(ge=500)] = 6_000
    first_book_secs: Positive = 10
    shortest_silence_ms: Annotated[int, Field(ge=1_000)] = 3_000
    longest_silence_secs: Positive = 45
    stall_ms: Annotated[int, Field(ge=0)] = 11_000
    spot_check_markets: Positive = 5
    canaries_per_connection: NotNegative = 2
    canary_tolerance_ms: Annotated[int, Field(ge=1_000)] = 5_000


class DriftSettings(_Table):
    """``[drift]``: looking for what venues change without saying so.

    Attributes
    ----------
    enabled : bool
    sample_every : int
        One of so many frames of a common kind is held against the documented shape; of each kind at least one
        every quarter of a second.
    cpu_share : float
        Share of one core that the looking may take, [0, 0.5].
    quarantine_mb : int
        Megabytes of messages set aside per venue and day.
    quarantine_per_name : int
        Messages set aside per day for one departure.
    """

    enabled: bool = True
    sample_every: Positive = 50
    cpu_share: Annotated[float, Field(gt=0, le=0.5)] = 0.005
    quarantine_mb: Positive = 64
    quarantine_per_name: Positive = 100


def parse_shard(text: str) -> tuple[int, int]:
    """Number, from 0, and count of collectors as written: ``1/4`` is the second of four.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and int(number) < int(count) <= MOST_SHARDS:
        return int(number), int(count)
    raise ValueError(
        f"{text!r} is no shard; write k/n, k from 0 to n-1 and n at most {MOST_SHARDS}: 0/4 is the first of four"
    )


class ClusterSettings(_Table):
    """``[cluster]``: several collectors of one lake.

    Attributes
    ----------
    shard : str
        ``k/n``: this collector is number k, counted from 0, of n, and records its share of the markets.
    """

    shard: str = "0/1"

    @field_validator("shard")
    @classmethod
    def _is_a_shard(cls, value: str) -> str:
        parse_shard(value)
        return value


class LeaseSettings(_Table):
    """``[leases]``: who records a shard is settled in PostgreSQL, so that a dead collector is replaced.

    Attributes
    ----------
    url : SecretStr
        ``postgresql://user:password@host/database``; empty: shards are fixed, and the lake's locks are all there is.
    ttl_secs : int
        A collector that has not renewed its lease for so long has lost it.
    name : str
        Tells the leases of one lake from those of others in the same database.
    """

    url: SecretStr = SecretStr("")
    ttl_secs: Annotated[int, Field(ge=2, le=600)] = 15
    name: Annotated[str, Field(min_length=1)] = "overround"


class MonitoringSettings(_Table):
    """``[monitoring]``: what a collector says about itself over HTTP, and when it calls itself unwell.

    Attributes
    ----------
    enabled : bool
    host : str
    port : int
        ``/metrics``, ``/health``, ``/livez``, ``/readyz``, ``/status``; 0 for any free port.
    min_verified_share : float
        Below this part of the live books verified, a venue is degraded.
    min_free_disk_share : float
        Below this part of the lake's disk free, the collector is degraded.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464
    min_verified_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    min_free_disk_share: Annotated[float, Field(ge=0, le=1)] = 0.05


class LoggingSettings(_Table):
    """``[logging]``: how much is said, and what is kept of it in files.

    Attributes
    ----------
    level : str
        Least level on the stream; ``--log-level`` wins.
    directory : Path or None
        Where each command keeps its files; none without it.
    file_level : str
        Least level in the files.
    debug_days, error_days : int
        How long the files of all lines, and those of errors, are kept.
    max_file_mb : int
        Most megabytes of one day's file of all lines.
    """

    level: Level = "info"
    directory: Path | None = None
    file_level: Level = "debug"
    debug_days: Positive = 30
    error_days: Positive = 90
    max_file_mb: Positive = 1_000

    @field_validator("directory", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None


class StorageSettings(_Table):
    """``[storage]``: the lake.

    Attributes
    ----------
    bucket_secs : int
        Seconds per Parquet file; divides an hour into whole minutes.
    flush_rows, flush_secs : int
        A flush makes rows durable after so many rows or seconds.
    top_k : int
        Levels stored per side at most (``top_k`` at the top of the file).
    compression_level : int
        zstd level of the Parquet files.
    outcomes : "both" or "first"
        Store both outcomes' rows, or only the first (the second is its mirror).
    journal : bool
        Keep raw frames.
    journal_level : int
        zstd level of the journal.
    journal_flush_secs : int
        Seconds of frames that a crash may cost the journal.
    """

    bucket_secs: int = 300
    flush_rows: Positive = 50_000
    flush_secs: Positive = 5
    compression_level: Annotated[int, Field(ge=1, le=22)] = 9
    outcomes: Literal["both", "first"] = "both"
    journal: bool = True
    journal_level: Annotated[int, Field(ge=1, le=22)] = 1
    journal_flush_secs: Positive = 5

    @field_validator("bucket_secs")
    @classmethod
    def _divides_an_hour(cls, value: int) -> int:
        try:
            return check_bucket_length(value)
        except ConfigError as exc:
            raise ValueError(f"{exc}; {exc.hint}") from exc


class RetentionSettings(_Table):
    """``[retention]``: what `overround lake retain` removes; 0 keeps for ever.

    Statistics, reports, coverage, listings and the rest are kept.

    Attributes
    ----------
    journal_days, snapshots_days, trades_days : int
        Whole UTC days kept, today not counted.
    journal_gb, snapshots_gb, trades_gb : float
        Gigabytes (10^9 bytes) of disk that a table may take, all venues together; its oldest days go first.
    """

    journal_days: NotNegative = 30
    snapshots_days: NotNegative = 90
    trades_days: NotNegative = 90
    journal_gb: Annotated[float, Field(ge=0)] = 0.0
    snapshots_gb: Annotated[float, Field(ge=0)] = 0.0
    trades_gb: Annotated[float, Field(ge=0)] = 0.0


class ArchiveSettings(_Table):
    """``[archive]``: where `overround lake archive` copies finished days to.

    Attributes
    ----------
    url : str
        ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix`` or a folder; empty: no archive.
    endpoint, region : str
        Of an S3-compatible server that is not Amazon's.
    access_key_id : str
    secret_access_key : SecretStr
        S3 keys; without them, and for the other stores, what the environment and the machine's role give.
    """

    url: str = ""
    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")


class RaySettings(_Table):
    """``[ray]``: the cluster that ``mine --engine ray`` works on.

    Attributes
    ----------
    address : str
        Of a running cluster, ``host:port`` or ``ray://host:port``; empty starts one on this machine for the run. Every
        node sees the data folder under the same path.
    """

    address: str = ""


class MockSettings(_Table):
    """``[mock]``: run against the local exchange, in this process, with no network."""

    enabled: bool = False
    markets: Positive = 2_000
    seed: int = 7


class ExchangeSettings(_Table):
    """``[exchange]``: the local exchange server (``overround exchange``)."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9_000


class DbSettings(_Table):
    """``[db]``: where events are ingested (read by later commands)."""

    url: SecretStr = SecretStr("sqlite:///data/overround.db")
    wal: bool = True


class IngestionSettings(_Table):
    """``[ingestion]``."""

    buffer_rows: Positive = 10_000
    stale_after_ms: Positive = 30_000


class StrategySettings(_Table):
    """``[strategy]``: which built-in strategies run."""

    dutch_book: bool = True
    spread: bool = True


class ThresholdSettings(_Table):
    """``[thresholds]``.

    Attributes
    ----------
    min_profit_usdc : float
    review_below : float
        Readings of rules with less confidence are queued for review, [0, 1].
    """

    min_profit_usdc: Annotated[float, Field(ge=0)] = 0.02
    review_below: Annotated[float, Field(ge=0, le=1)] = 0.8


class Settings(_Table):
    """The whole configuration.

    Attributes
    ----------
    data_dir : Path
        The lake: a folder, or, for commands that only read, an address in an object store (``s3://bucket/prefix``).
    work_dir : Path
        Where what is made of a lake in an object store is written.
    """

    data_dir: Path = Path("data")
    work_dir: Path = Path("work")
    top_k: Annotated[int, Field(ge=1, le=1000)] = 50
    venues: VenuesSettings = VenuesSettings()
    polling: PollingSettings = PollingSettings()
    silence: SilenceSettings = SilenceSettings()
    drift: DriftSettings = DriftSettings()
    cluster: ClusterSettings = ClusterSettings()
    leases: LeaseSettings = LeaseSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    logging: LoggingSettings = LoggingSettings()
    storage: StorageSettings = StorageSettings()
    retention: RetentionSettings = RetentionSettings()
    archive: ArchiveSettings = ArchiveSettings()
    ray: RaySettings = RaySettings()
    mock: MockSettings = MockSettings()
    exchange: ExchangeSettings = ExchangeSettings()
    db: DbSettings = DbSettings()
    ingestion: IngestionSettings = IngestionSettings()
    strategy: StrategySettings = StrategySettings()
    thresholds: ThresholdSettings = ThresholdSettings()

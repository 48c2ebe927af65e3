"""Settings: one frozen model per TOML table, read once and passed down."""

from overround.config.load import Loaded, describe, load_settings
from overround.config.models import (
    DbSettings,
    DriftSettings,
    ExchangeSettings,
    IngestionSettings,
    KalshiSettings,
    MockSettings,
    MonitoringSettings,
    PollingSettings,
    PolymarketSettings,
    Settings,
    SilenceSettings,
    StorageSettings,
    StrategySettings,
    ThresholdSettings,
    VenueSettings,
    VenuesSettings,
)

__all__ = [
    "DbSettings",
    "DriftSettings",
    "ExchangeSettings",
    "IngestionSettings",
    "KalshiSettings",
    "Loaded",
    "MockSettings",
    "MonitoringSettings",
    "PollingSettings",
    "PolymarketSettings",
    "Settings",
    "SilenceSettings",
    "StorageSettings",
    "StrategySettings",
    "ThresholdSettings",
    "VenueSettings",
    "VenuesSettings",
    "describe",
    "load_settings",
]

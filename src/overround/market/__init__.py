"""Plain values of the field: ids, markets, prices and sizes as scaled integers, rows."""

from overround.market.drift import Drift, DriftSort, DriftState, KindTraits, Trait
from overround.market.fees import FeeKind, FeeSchedule
from overround.market.history import HISTORIC_FIELDS, CatalogueChange, CatalogueEvent
from overround.market.ids import MarketId, OutcomeId, Venue
from overround.market.listing import Exclusivity, Market, MarketStatus, Origin, Strike, TickBand
from overround.market.rows import BookStatus, ErrCode, Integrity
from overround.market.scale import (
    PX_ONE_E4,
    SZ_ONE_E6,
    px_e4,
    px_text,
    sz_e6,
    sz_text,
)
from overround.market.share import WHOLE, Share
from overround.market.trades import BUY, SELL, Trade

__all__ = [
    "BUY",
    "HISTORIC_FIELDS",
    "PX_ONE_E4",
    "SELL",
    "SZ_ONE_E6",
    "WHOLE",
    "BookStatus",
    "CatalogueChange",
    "CatalogueEvent",
    "Drift",
    "DriftSort",
    "DriftState",
    "ErrCode",
    "Exclusivity",
    "FeeKind",
    "FeeSchedule",
    "Integrity",
    "KindTraits",
    "Market",
    "MarketId",
    "MarketStatus",
    "Origin",
    "OutcomeId",
    "Share",
    "Strike",
    "TickBand",
    "Trade",
    "Trait",
    "Venue",
    "px_e4",
    "px_text",
    "sz_e6",
    "sz_text",
]

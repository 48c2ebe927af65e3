"""The local exchange: both venues' true wire formats on loopback, with a known truth and faults on demand."""

from overround.exchange.fault_script import KINDS, Fault, FaultScript
from overround.exchange.generator import GeneratedSource
from overround.exchange.model import Change, ChangeKind, Listed, ListedEvent, Source
from overround.exchange.recorded import RecordedSource
from overround.exchange.server import Exchange
from overround.exchange.settings import ExchangeOptions, ExchangeUrls, KalshiOptions, PolymarketOptions
from overround.exchange.signature import SigningKey, test_signing_key
from overround.exchange.thread import ExchangeThread
from overround.exchange.truth import Truth
from overround.exchange.universe import WorldSpec

__all__ = [
    "KINDS",
    "Change",
    "ChangeKind",
    "Exchange",
    "ExchangeOptions",
    "ExchangeThread",
    "ExchangeUrls",
    "Fault",
    "FaultScript",
    "GeneratedSource",
    "KalshiOptions",
    "Listed",
    "ListedEvent",
    "PolymarketOptions",
    "RecordedSource",
    "SigningKey",
    "Source",
    "Truth",
    "WorldSpec",
    "test_signing_key",
]

"""Portfolios that cannot lose: programs, circulations, closed forms, certificates and their checker."""

from overround.arbitrage.certify import certify
from overround.arbitrage.check import check
from overround.arbitrage.circulation import Circulation, line_of
from overround.arbitrage.closed import Bundle, Found, best_bundles, bundles, forms_of
from overround.arbitrage.episodes import Episode, Episodes
from overround.arbitrage.finder import Finder
from overround.arbitrage.program import Amounts, Program, by_facets
from overround.arbitrage.quotes import ExclusiveSet, Limits, Quote, cost_e10, quote_of, unusable

__all__ = [
    "Amounts",
    "Bundle",
    "Circulation",
    "Episode",
    "Episodes",
    "ExclusiveSet",
    "Finder",
    "Found",
    "Limits",
    "Program",
    "Quote",
    "best_bundles",
    "bundles",
    "by_facets",
    "certify",
    "check",
    "cost_e10",
    "forms_of",
    "line_of",
    "quote_of",
    "unusable",
]

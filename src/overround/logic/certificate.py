"""A finding with its proof: what to buy, and what it pays in every state.

Money is ``usd_e10`` (dollars times 10**10, the unit of ``px_e4 * sz_e6``), so that every number below is an exact sum of
products of integers. Nothing here decides anything: ``overround.arbitrage`` writes a certificate and its checker, which
shares no code with the solvers, believes none of the numbers.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from overround.errors import UNREADABLE, UsageError
from overround.logic.component import Component
from overround.market import FeeSchedule, Integrity

__all__ = [
    "Certificate",
    "Grade",
    "Outcome",
    "Purchase",
    "Release",
    "Walked",
    "decode_certificates",
    "encode_certificate",
    "sealed",
]


class Grade(StrEnum):
    """How far a finding may be relied on."""

    PROVED = "proved"
    """All premises are certain."""
    CONDITIONAL = "conditional"
    """It holds unless one of its conditions fails."""
    REVIEW = "review"
    """Rests on a doubtful reading."""


class Walked(msgspec.Struct, frozen=True, kw_only=True):
    """One displayed level, and what is taken of it.

    Attributes
    ----------
    px_e4, sz_e6 : int
        As displayed.
    taken_e6 : int
    fee_e10 : int
        The most that the venue may charge for it.
    """

    px_e4: int
    sz_e6: int
    taken_e6: int
    fee_e10: int


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """One order of the portfolio.

    Attributes
    ----------
    leg : int
        Place in the component.
    yes : bool
        Whether the leg's first outcome is bought, or the second.
    outcome_id : str
    levels : tuple of Walked
        From the best price on, each emptied before the next is touched.
    rounding_e10 : int
        The most that the venue's rounding of an order's balance adds.
    fee : FeeSchedule
        In force at ``book_ts_ms``.
    lot_e6, min_contracts_e6, min_cost_e10 : int
    book_ts_ms : int
        When the book was last known to be as it is here.
    integrity : Integrity
    settles_ts_ms : int or None
    """

    leg: int
    yes: bool
    outcome_id: str
    levels: tuple[Walked, ...]
    rounding_e10: int
    fee: FeeSchedule
    lot_e6: int
    min_contracts_e6: int
    min_cost_e10: int
    book_ts_ms: int
    integrity: Integrity
    settles_ts_ms: int | None

    @property
    def contracts_e6(self) -> int:
        """Contracts bought."""
        return sum(level.taken_e6 for level in self.levels)


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Collateral that the venue gives back at once, because of contraries in an exclusive set at most one loses.

    A conversion takes the contraries and gives the other legs besides, so that the payoff stays what it was; that needs a
    set of which exactly one leg wins.

    Attributes
    ----------
    legs : tuple of int
    premise : str
        The venue's rule.
    cash_e10 : int
    converts : bool
    fee_bips, fee_e10 : int
        What a conversion keeps: hundredths of a percent of all that it gives, and the most that this is in any state.
    """

    legs: tuple[int, ...]
    premise: str
    cash_e10: int
    converts: bool = False
    fee_bips: int = 0
    fee_e10: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One state and what the whole portfolio pays in it.

    Attributes
    ----------
    name : str
        An ending's name, empty for ordinary states.
    pays_e4 : tuple of (int, int)
        By leg, the least that its first and its second outcome pay.
    payoff_e10 : int
    """

    name: str
    pays_e4: tuple[tuple[int, int], ...]
    payoff_e10: int


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio that cannot lose, with everything its proof needs.

    Attributes
    ----------
    version : int
    found_ts_ms : int
    grade : Grade
    forms : tuple of str
        Closed forms it is a case of: ``dutch_book``, ``rebalancing``, ``monotonic_ladder``, ...
    component : Component
        The legs that matter, and the constraints that are used.
    purchases : tuple of Purchase
    releases : tuple of Release
    states : tuple of Outcome
        All of them.
    worst : int
        Place of a state in which the portfolio pays least.
    cost_e10, fee_e10, payoff_e10, profit_e10 : int
        Prices paid, fees and roundings at most (those of conversions, too), payoff in the worst state, and what is left.
    capital_e10 : int
        Cost and fees, less what is released: locked until settlement.
    settles_ts_ms : int or None
        The last settlement of a leg bought; None when one is unknown.
    return_e6, base_rate_e6 : int or None
        Profit per dollar locked, as a yearly rate in millionths rounded down (None without capital or date), and what
        idle money earns.
    premises, conditions : tuple of str
    max_age_ms, max_apart_ms : int
        How old and how far apart the books were allowed to be.
    digest : str
        SHA-256 of all the rest, so that a slip of the pen shows; no proof of origin.
    """

    version: int = 1
    found_ts_ms: int
    grade: Grade
    forms: tuple[str, ...]
    component: Component
    purchases: tuple[Purchase, ...]
    releases: tuple[Release, ...]
    states: tuple[Outcome, ...]
    worst: int
    cost_e10: int
    fee_e10: int
    payoff_e10: int
    profit_e10: int
    capital_e10: int
    settles_ts_ms: int | None
    return_e6: int | None
    base_rate_e6: int
    premises: tuple[str, ...]
    conditions: tuple[str, ...]
    max_age_ms: int
    max_apart_ms: int
    digest: str = ""


_LINE = msgspec.json.Decoder(Certificate)


def sealed(certificate: Certificate) -> Certificate:
    """The same certificate with its digest."""
    bare = msgspec.structs.replace(certificate, digest="")
    return msgspec.structs.replace(bare, digest=hashlib.sha256(msgspec.json.encode(bare)).hexdigest())


def encode_certificate(certificate: Certificate) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(certificate)


def decode_certificates(data: bytes) -> list[Certificate]:
    """Read one certificate a line.

    Raises
    ------
    UsageError
        If a line is no certificate; it names the line.
    """
    found = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                found.append(_LINE.decode(line))
            except UNREADABLE as exc:
                raise UsageError(
                    f"line {number} is no certificate: {exc}", hint="one certificate a line, as detect-arb writes them"
                ) from exc
    if not found:
        raise UsageError("there is no certificate to check", hint="one certificate a line, as detect-arb writes them")
    return found

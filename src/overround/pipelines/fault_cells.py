"""The fault matrix: which faults are injected together, when, and how long they last."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from overround.errors import UsageError
from overround.exchange import KINDS, Fault, FaultScript
from overround.exchange.fault_script import HTTP_KINDS, ONE_VENUE
from overround.market import Venue

__all__ = ["CALM", "FaultCell", "cell_scripts", "cells_alone", "cells_drawn"]

CALM = "none"
"""The cell without a fault: no gap may be recorded."""
_DRAWN_STREAM, _DRAWN_HTTP = 4, 1
_DRAWN_SPAN_MS = 4_000
_DRAWN_LONGEST_MS = 2_500


class FaultCell(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the matrix; each venue in it is a cell of its own.

    Attributes
    ----------
    name : str
    seed : int
        Of the world, the flow and the targets.
    faults : tuple of Fault
        ``at_ms`` counts from the moment at which every subscribed market is live.
    first : tuple of Fault
        In force before the collector connects.
    scans : bool
        A real ``scan`` runs while the faults last, and again after them.
    kinds : tuple of str
        What ``--kind`` asks for to repeat it; empty for a drawn cell.
    """

    name: str
    seed: int
    faults: tuple[Fault, ...] = ()
    first: tuple[Fault, ...] = ()
    scans: bool = False
    kinds: tuple[str, ...] = ()

    @property
    def venues(self) -> list[Venue]:
        """Venues that have a fault here; all when there is none."""
        named = {fault.venue for fault in (*self.first, *self.faults)}
        return [venue for venue in Venue if venue in named or not named]

    def repeat(self) -> str:
        """The command that runs this cell again."""
        if self.kinds:
            return f"overround exchange selftest --kind {' --kind '.join(self.kinds)} --seed {self.seed}"
        return f"overround exchange selftest --random 1 --seed {self.seed}"

    def script(self) -> str:
        """The faults as a script that ``overround exchange --faults`` reads."""
        return FaultScript((*self.first, *self.faults)).to_json().decode()


# Without a duration a silence lasts as long as its connection, and a market is mute until a fresh subscription revives
# it: somebody has to find out. What goes into a cell beside its own kind: a closed door matters to those who must come back.
_ABORT: dict[str, Any] = {"kind": "close", "at_ms": 100, "params": {"mode": "abort"}}
_SCRIPTS: dict[str, list[dict[str, Any]]] = {
    CALM: [],
    "silence": [{"duration_ms": 3_000}, {"at_ms": 8_000}],
    "lag": [{"duration_ms": 2_000, "params": {"delay_ms": 800}}],
    "stall": [{"duration_ms": 1_500}],
    "mute_token": [{}],
    "missing_first_book": [{"params": {"count": 4}}],
    "drop": [{"params": {"count": 5, "every": 2}}],
    "duplicate": [{"params": {"count": 5, "every": 2}}],
    "reorder": [{"params": {"count": 3}}],
    "late": [{"params": {"count": 3, "delay_ms": 800}}],
    "cut_frame": [{"params": {"count": 2}}, {"at_ms": 1_500, "params": {"mode": "wire"}}],
    "renamed_field": [{"params": {"count": 3}}],
    "extra_field": [{"params": {"count": 10}}],
    "old_format": [{"duration_ms": 2_000}],
    "close": [{"params": {"mode": "abort"}}, {"at_ms": 300, "params": {"mode": "hang_up"}}, {"at_ms": 3_000, "params": {"mode": 1001}}],
    "sequence_gap": [{"params": {"count": 2}}],
    "underflow": [{}],
    "unknown_event": [{"params": {"count": 3}}],
    "terminal_error": [{}],
    "refuse": [{"duration_ms": 2_500}, _ABORT],
    "close_on_open": [{"duration_ms": 2_500}, _ABORT],
    "maintenance": [{"duration_ms": 2_500}],
    "tick_change": [{}],
    "resolution": [{}],
    "http_status": [{"duration_ms": 2_000, "params": {"status": 429, "retry_after": 1}}, {"at_ms": 2_000, "duration_ms": 1_500, "params": {"status": 503}}, {"at_ms": 3_500, "duration_ms": 1_500, "params": {"status": 425}}],
    "http_html": [{"duration_ms": 5_000}],
    "http_slow": [{"duration_ms": 5_000, "params": {"delay_ms": 500}}],
    "http_cut": [{"duration_ms": 5_000}],
    "stuck_cursor": [{"duration_ms": 5_000}],
    "shifted_pages": [{"duration_ms": 5_000}],
}  # fmt: skip
# REST fails while the stream needs it.
_BESIDE_HTTP: dict[str, Any] = {"kind": "drop", "at_ms": 2_500, "params": {"count": 2}}


def cells_alone(kinds: Sequence[str], *, venues: Sequence[Venue], seed: int) -> list[FaultCell]:
    """One cell per kind, with the fault on each venue that knows it.

    Parameters
    ----------
    kinds : sequence of str
        Keys of ``KINDS``, ``none`` or ``all``; all when empty.
    venues : sequence of Venue
    seed : int

    Raises
    ------
    UsageError
        If a kind is unknown.
    """
    kinds = () if "all" in kinds else kinds
    for kind in kinds:
        if kind not in _SCRIPTS:
            raise UsageError(f"unknown kind of fault {kind!r}", hint=f"known: {', '.join(_SCRIPTS)}")
    assert set(_SCRIPTS) == {CALM, *KINDS}
    found = []
    for kind in kinds or _SCRIPTS:
        at = [venue for venue in venues if ONE_VENUE.get(kind, venue) is venue]
        faults = [fault for venue in at for fault in _faults(kind, venue)]
        first = tuple(fault for fault in faults if fault.kind == "missing_first_book")
        if faults or kind == CALM:
            found.append(
                FaultCell(
                    name=kind,
                    seed=seed,
                    faults=tuple(fault for fault in faults if fault not in first),
                    first=first,
                    scans=kind in HTTP_KINDS,
                    kinds=(kind,),
                )
            )
    return found


def cell_scripts(kind: str) -> list[dict[str, Any]]:
    """What the cell of a kind injects on each venue, in the words of a fault script."""
    return _SCRIPTS[kind] + ([_BESIDE_HTTP] if kind in HTTP_KINDS else [])


def _faults(kind: str, venue: Venue) -> Iterator[Fault]:
    for words in cell_scripts(kind):
        whole: dict[str, Any] = {"kind": kind, "venue": venue, "at_ms": 0} | words
        yield Fault(**whole)


def cells_drawn(count: int, *, venues: Sequence[Venue], seed: int) -> list[FaultCell]:
    """Cells of several faults on each venue, drawn from seeds ``seed``, ``seed + 1`` and so on."""
    stream = [kind for kind in KINDS if kind not in HTTP_KINDS]
    found = []
    for own in range(seed, seed + count):
        faults: list[Fault] = []
        for venue in venues:
            # Each venue draws for itself, so that --venue repeats its half.
            number = 2 * own + (venue is Venue.KALSHI)
            for kinds, n in ((stream, _DRAWN_STREAM), (list(HTTP_KINDS), _DRAWN_HTTP)):
                faults += FaultScript.drawn(
                    number, venues=[venue], count=n, kinds=kinds, span_ms=_DRAWN_SPAN_MS, longest_ms=_DRAWN_LONGEST_MS
                ).faults
        rng = random.Random(f"selftest:{own}")
        found.append(FaultCell(name=f"drawn {own}", seed=own, faults=tuple(_as_known(fault, rng) for fault in faults)))
    return found


def _as_known(fault: Fault, rng: random.Random) -> Fault:
    """A drawn fault as venues commit it."""
    if fault.kind == "close":
        return msgspec.structs.replace(fault, params={"mode": rng.choice(["abort", "hang_up", 1001])})
    if fault.kind == "mute_token":
        return msgspec.structs.replace(fault, duration_ms=0)  # until it is subscribed anew
    return fault

"""Rebuild order books from recordings or journals: what ``overround book`` runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from overround.clock import Clock
from overround.errors import RecordingError, UsageError
from overround.market import MarketId, Venue
from overround.replay import Rebuilt, open_recording, rebuild

__all__ = ["BookReport", "rebuild_book"]


class BookReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rebuilt books and what there is to say about their recording.

    Attributes
    ----------
    rebuilt : Rebuilt
    n_files, n_skipped : int
        Files read, and files of the given folders that hold no frames.
    warnings : list of str
        What is missing from the result, one line each; empty when everything was used.
    took_s : float
    """

    rebuilt: Rebuilt
    n_files: int
    n_skipped: int
    warnings: list[str]
    took_s: float

    @property
    def frames_per_s(self) -> float:
        """Frames read and applied per second."""
        return self.rebuilt.frames / self.took_s if self.took_s > 0 else 0.0


def rebuild_book(
    paths: Sequence[Path],
    venue: Venue,
    *,
    clock: Clock,
    market: str | None = None,
    at_ms: int | None = None,
    until_seq: int | None = None,
    ignore_gaps: bool = False,
) -> BookReport:
    """Rebuild the books that recordings hold.

    Parameters
    ----------
    paths : sequence of Path
        Recordings, journal files, or folders of them; files without connection names belong to one connection.
    venue : Venue
    clock : Clock
    market, at_ms, until_seq, ignore_gaps
        See ``overround.replay.rebuild``.

    Raises
    ------
    RecordingError
        If nothing can be read, or no book can be rebuilt from what is read.
    UsageError
        If ``market`` is not in the recording.
    """
    started_ns = clock.monotonic_ns()
    recording = open_recording(paths, venue)
    market_id = None if market is None else MarketId(market)
    rebuilt = rebuild(recording, venue, market=market_id, at_ms=at_ms, until_seq=until_seq, ignore_gaps=ignore_gaps)
    took_s = (clock.monotonic_ns() - started_ns) / 1e9
    warnings = [f"{damage}" for damage in recording.damages]
    if market is not None and market not in rebuilt.seen:
        raise _unknown_market(market, rebuilt.seen)
    if not rebuilt.outcomes:
        raise _no_book(rebuilt, warnings, at_ms=at_ms, market=market)
    asked = [market] if market is not None else sorted({*rebuilt.left_out, *rebuilt.bookless})
    for name in asked:
        if changes := rebuilt.left_out.get(MarketId(name)):
            warnings.append(f"{name}: {changes:,} changes came while its book was not whole and were left out")
        elif MarketId(name) in rebuilt.bookless:
            changes = rebuilt.bookless[MarketId(name)]
            warnings.append(f"{name}: no snapshot, so no book; {changes:,} changes were left out")
    if rebuilt.rejected:
        warnings.append(f"{rebuilt.rejected:,} frames or values were refused as malformed")
    return BookReport(
        rebuilt=rebuilt,
        n_files=len(recording.files),
        n_skipped=len(recording.skipped),
        warnings=warnings,
        took_s=took_s,
    )


def _unknown_market(market: str, seen: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(market, seen, n=1, cutoff=0.5)
    known = f"did you mean {near[0]}?" if near else f"it holds {', '.join(seen[:3])}{' ...' if len(seen) > 3 else ''}"
    return UsageError(f"market {market} is not in the recording ({len(seen)} markets)", hint=known)


def _no_book(rebuilt: Rebuilt, warnings: Sequence[str], *, at_ms: int | None, market: str | None) -> RecordingError:
    whose = f"of {market} " if market is not None else ""
    if warnings:
        return RecordingError(f"no book {whose}can be rebuilt: {warnings[0]}", hint="use an undamaged copy")
    if not rebuilt.frames:
        return RecordingError(
            f"no frame was received up to {at_ms}" if at_ms is not None else "the recording holds no frames",
            hint="--at takes epoch milliseconds" if at_ms is not None else "name a recording of socket frames",
        )
    left_out = sum(rebuilt.bookless.values())
    return RecordingError(
        f"no book {whose}can be rebuilt: {left_out:,} changes, and no snapshot before them",
        hint="the recording lost its opening snapshots; add the file that holds them, or stop later (--at, --until-seq)",
    )

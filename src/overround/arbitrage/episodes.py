"""How long findings live: what could have been executed, and what was gone before an order arrived."""

from __future__ import annotations

import msgspec

from overround.logic import Certificate

__all__ = ["Episode", "Episodes"]


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One finding from its first to its last moment, on one component.

    Attributes
    ----------
    key : str
        The component.
    start_ms : int
        When it was first found.
    last_ms : int
        When it was last found.
    end_ms : int or None
        When it was first not found any more; None while it stands, and where nobody could look.
    peak_ms : int
    peak : Certificate
        The largest profit it showed, and when.
    seen : int
        How often it was found.
    """

    key: str
    start_ms: int
    last_ms: int
    end_ms: int | None
    peak_ms: int
    peak: Certificate
    seen: int


class Episodes:
    """Joins findings of one component that follow each other without a look that found nothing.

    Parameters
    ----------
    silence_ms : int
        After so long without a look, what is found is a new episode.
    """

    def __init__(self, *, silence_ms: int = 30_000) -> None:
        self.silence_ms = silence_ms
        self.standing: dict[str, Episode] = {}

    def see(self, key: str, ts_ms: int, found: Certificate | None) -> Episode | None:
        """Take over what a look at a component found; returns the episode that this ends, if it ends one."""
        held = self.standing.get(key)
        if held is not None and ts_ms - held.last_ms > self.silence_ms:
            del self.standing[key]
            self.see(key, ts_ms, found)
            return held
        if found is None:
            if held is not None:
                del self.standing[key]
                return msgspec.structs.replace(held, end_ms=ts_ms)
            return None
        if held is None:
            self.standing[key] = Episode(
                key=key, start_ms=ts_ms, last_ms=ts_ms, end_ms=None, peak_ms=ts_ms, peak=found, seen=1
            )
        else:
            higher = found.profit_e10 > held.peak.profit_e10
            self.standing[key] = msgspec.structs.replace(
                held,
                last_ms=ts_ms,
                seen=held.seen + 1,
                peak_ms=ts_ms if higher else held.peak_ms,
                peak=found if higher else held.peak,
            )
        return None

    def close(self) -> list[Episode]:
        """Those that still stand, without an end."""
        held, self.standing = list(self.standing.values()), {}
        return held

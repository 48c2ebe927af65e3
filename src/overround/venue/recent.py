"""The frames of the last moments, for those who look at them beside the road."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["RECENT_MAX", "Frame", "RecentFrames"]

RECENT_MAX = 8_192
"""Frames kept between two takings; they are in the journal's memory anyway."""

Frame = tuple[str, int, bytes]
"""Connection, receive time (ns), bytes."""


class RecentFrames:
    """Frames of all connections of a venue, in order; the road pays one append for each.

    Parameters
    ----------
    listener : callable, optional
        Is given every batch that is taken.

    Attributes
    ----------
    append : callable
        ``append((connection, recv_ns, bytes))``.
    """

    def __init__(self, listener: Callable[[list[Frame]], None] | None = None) -> None:
        self._frames: deque[Frame] = deque(maxlen=RECENT_MAX)
        self._listener = listener
        self.append = self._frames.append

    def __len__(self) -> int:
        return len(self._frames)

    def take(self) -> list[Frame]:
        """All frames since the last taking, or the newest of them if they were too many."""
        frames = list(self._frames)
        self._frames.clear()
        if frames and self._listener is not None:
            self._listener(frames)
        return frames

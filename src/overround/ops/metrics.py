"""Counters: plain integers where things happen, read only when somebody asks.

A labelled metric object costs as much as decoding a message; ``counters.gaps += 1`` costs nothing. So every
part counts in its own integers and registers here a function that reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Counters"]

Read = Callable[[], Mapping[str, Any]]


class Counters:
    """Named groups of counters and gauges of one process.

    Examples
    --------
    >>> counters = Counters()
    >>> counters.register("http.kalshi", lambda: {"requests": 3, "retries": 0})
    >>> counters.snapshot()
    {'http.kalshi': {'requests': 3, 'retries': 0}}
    """

    def __init__(self) -> None:
        self._groups: dict[str, Read] = {}

    def register(self, group: str, read: Read) -> None:
        """Add a group; ``read`` is called at each snapshot and returns numbers (or mappings of numbers).

        Raises
        ------
        ValueError
            If the name is taken: two parts would count over each other.
        """
        if group in self._groups:
            raise ValueError(f"counters of {group!r} are registered already")
        self._groups[group] = read

    def unregister(self, group: str) -> None:
        """Forget a group; unknown names are ignored."""
        self._groups.pop(group, None)

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """Every group's numbers now, as plain dictionaries of their own."""
        return {
            group: {name: dict(value) if isinstance(value, Mapping) else value for name, value in read().items()}
            for group, read in list(self._groups.items())
        }

    def flat(self) -> dict[str, int | float]:
        """The same in one level, names joined by dots, other values than numbers left out."""
        found: dict[str, int | float] = {}
        for group, values in self.snapshot().items():
            for name, value in values.items():
                below = value if isinstance(value, dict) else {"": value}
                for key, number in below.items():
                    if isinstance(number, (int, float)):
                        found[f"{group}.{name}{'.' if key else ''}{key}"] = number
        return found

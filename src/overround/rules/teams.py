"""Names of teams: which of them mean the same side."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files

__all__ = ["same_team", "sides_of"]

_FIRM = re.compile(r"\b(?:fc|cf|sc|afc|the|club de)\b|[.'’]")
_BLANKS = re.compile(r"\s+")


def same_team(one: str, other: str, league: str) -> bool | None:
    """Whether two names mean one team of a league; None when the league's table does not know one of them.

    Examples
    --------
    >>> (
    ...     same_team("Golden State", "Warriors", "nba"),
    ...     same_team("Heat", "Warriors", "nba"),
    ...     same_team("Heat", "Cats", "nba"),
    ... )
    (True, False, None)
    """
    known = _table().get(league, {})
    first, second = known.get(_plain(one)), known.get(_plain(other))
    return None if first is None or second is None else first == second


def sides_of(one: tuple[str, str], other: tuple[str, str], league: str) -> tuple[int, int] | None:
    """Where the sides of one fixture stand in another's naming of it.

    Names that are spelled alike are one side in any league; aliases count in the league that is named, or, where none is, in
    the one table of those that venues leave unnamed which knows them. A city of several leagues names nobody without one.

    Examples
    --------
    >>> sides_of(("Miami", "Golden State"), ("Warriors", "Heat"), "nba")
    (1, 0)
    """
    shared = any(sum(_plain(name) in known for known in _table().values()) > 1 for name in (*one, *other))
    if shared and not league:
        return None
    tables = [league] if league else ["football", "nation"]
    found = {place for name in tables if (place := _placed(one, other, name)) is not None}
    return found.pop() if len(found) == 1 else None


def _placed(one: tuple[str, str], other: tuple[str, str], league: str) -> tuple[int, int] | None:
    same = [[_plain(mine) == _plain(theirs) or same_team(mine, theirs, league) for theirs in other] for mine in one]
    if same[0][0] and same[1][1] and not same[0][1] and not same[1][0]:
        return 0, 1
    return (1, 0) if same[0][1] and same[1][0] and not same[0][0] and not same[1][1] else None


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _BLANKS.sub(" ", _FIRM.sub("", text)).strip()


@cache
def _table() -> dict[str, dict[str, str]]:
    """Team by name, league by league; a name of two teams of one league means neither."""
    found: dict[str, dict[str, str]] = {}
    for line in files(__package__).joinpath("teams.csv").read_text(encoding="utf-8").splitlines()[1:]:
        league, team, also = line.split(";")
        known = found.setdefault(league, {})
        for name in {_plain(name) for name in (team, *also.split("|")) if name}:
            known[name] = "" if known.get(name, team) != team else team
    return {league: {name: team for name, team in known.items() if team} for league, known in found.items()}

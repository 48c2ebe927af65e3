"""Seeds in a knockout: who reaches a round was in every round before, so the highest seed of a later one bounds an earlier one's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import msgspec

from overround.logic import Constraint, Relation
from overround.rules.draw import draw
from overround.rules.grammar import Reading
from overround.rules.sets import MOST, grouped
from overround.rules.windows import day_of

__all__ = ["seed_constraints"]

_REACHED = re.compile(r"\bhighest seed to reach the round of (\d{1,2})\b.*?#(\d{1,2})(?: through #(\d{1,2}))? seed\b", re.IGNORECASE)  # fmt: skip
_CHAMPION = re.compile(r"#(\d{1,2})(?: through #(\d{1,2}))? seed be the\b.*\bchampion\b", re.IGNORECASE)
_WINS = re.compile(r"(#\d{1,2}(?:(?:, or |, | or | and )#\d{1,2})*)( or higher)?(?: seeds?)? wins?\b.{0,30}?\bin the round of (\d{1,2})\b", re.IGNORECASE)  # fmt: skip
_LEAST = re.compile(r"\b(?:at least (?:one|[1-9])|exactly [1-9]\d*|an? (?:team seeded )?#\d)", re.IGNORECASE)
_SPORT = re.compile(r"\b(women's|men's)?[\w ]{0,20}\b(basketball|baseball|softball|volleyball|hockey|soccer|tennis)\b", re.IGNORECASE)  # fmt: skip
_YEAR = re.compile(r"\b(20\d\d)\b(?!-)")
_LAST_SEED = 16


class _Said(msgspec.Struct, frozen=True):
    """That the highest seed among the teams of a round is one of ``low`` to ``high``; ``whole`` if that is all it says.

    ``won`` of a win: a team whose opponent does not come reaches the round without one.
    """

    reading: Reading
    teams: int
    low: int
    high: int
    whole: bool
    won: bool = False


def seed_constraints(readings: Sequence[Reading]) -> Iterator[Constraint]:
    """What holds between questions on seeds, tournament by tournament."""
    said = [
        (key, one) for reading in readings if "seed" in reading.wording.title.lower() for key, one in _said(reading)
    ]
    for group in grouped(said, lambda item: item[0]).values():
        if len(group) > MOST:
            continue
        for (_, one), (_, other) in itertools.permutations(group, 2):
            if one.reading.wording.event_id == other.reading.wording.event_id and one.teams == other.teams:
                continue
            yield from _pair(one, other)


def _said(reading: Reading) -> Iterator[tuple[tuple[str, ...], _Said]]:
    words = reading.wording
    sport, year = _SPORT.search(words.rules), _YEAR.search(words.rules)
    close = day_of(words.close_ms)
    if sport is None or not (year or close):
        return
    key = (
        words.venue.value,
        sport[0].lower().split("tournament")[0].strip(),
        year[1] if year else str(close.year if close else ""),
    )
    if (reached := _REACHED.search(words.title)) is not None:
        low = int(reached[2])
        yield key, _Said(reading, int(reached[1]), low, int(reached[3] or low), whole=True)
    elif (champion := _CHAMPION.search(words.title)) is not None:
        low = int(champion[1])
        yield key, _Said(reading, 1, low, int(champion[2] or low), whole=True)
    elif (wins := _WINS.search(words.title)) is not None and _LEAST.search(words.title) is not None:
        seeds = {int(seed) for seed in re.findall(r"\d+", wins[1])}
        rising = wins[2] is not None or seeds == set(range(min(seeds), _LAST_SEED + 1))
        one = re.search(r"\b(?:exactly|at least [2-9])\b", words.title, re.IGNORECASE) is None
        yield key, _Said(reading, int(wins[3]) // 2, min(seeds), _LAST_SEED, whole=rising and one, won=True)


def _pair(one: _Said, other: _Said) -> Iterator[Constraint]:
    """The later round is the stricter: its seeds were in every earlier one."""
    if one.teams > other.teams:
        return
    pair = [(one.reading, 0), (other.reading, 0)]
    highest = one.high if one.teams == other.teams else _LAST_SEED
    if other.whole and one.low >= other.low and highest <= other.high:
        conditions = (
            ["no team goes on without a game"] if other.won and not (one.won and one.teams == other.teams) else []
        )
        yield draw(Relation.IMPLIES, pair, rule="seed_was_there", conditions=conditions)
    elif other.high < one.low or (one.teams == other.teams and one.high < other.low):
        yield draw(Relation.MUTUALLY_EXCLUSIVE, pair, rule="seeds_apart")

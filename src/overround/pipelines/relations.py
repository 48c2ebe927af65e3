"""Relations of markets in files, and their score against labels."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from overround.errors import UNREADABLE, FileDamaged, FrameMalformed, NothingStored
from overround.logic import Constraint, Leg
from overround.market import Market
from overround.rules import (
    GoldRow,
    Judged,
    Judgement,
    PairRow,
    PairScores,
    Readable,
    Reading,
    Scores,
    Wording,
    evaluate,
    evaluate_pairs,
    judge,
    leg,
    read,
    readable,
    relate,
    venue_pairs,
    wording_of_market,
    wording_of_record,
)

__all__ = [
    "Evaluation",
    "PairOut",
    "RelationMarket",
    "RelationRow",
    "evaluate_rules",
    "pairs_of",
    "read_wordings",
    "relations_of",
]

_MARKET = msgspec.json.Decoder(Market)
T = Any


class RelationMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome of a printed relation; Polymarket markets by Gamma id where they have one."""

    venue: str
    event_key: str
    market_id: str
    outcome: str
    label: str


class RelationRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One printed relation; see ``logic.Constraint``."""

    relation: str
    confidence: str
    score: float
    markets: list[RelationMarket]
    antecedent: int | None = None
    consequent: int | None = None
    conditions: list[str]
    premises: list[str]
    rule: str


class PairOut(msgspec.Struct, frozen=True, kw_only=True):
    """A printed pair across the venues.

    Attributes
    ----------
    verdict : str
        ``equivalent`` or ``similar``.
    polarity : str
        ``aligned`` where the first outcomes mean the same, ``inverted`` where one's is the other's second.
    markets : list of RelationMarket
        The outcomes that are paid together.
    differences : list of str
        In what is asked; none where the pair is equivalent.
    terms : list of str
        In how it is decided and paid: conditions of the equivalence.
    """

    verdict: str
    polarity: str
    markets: list[RelationMarket]
    differences: list[str]
    terms: list[str]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How markets were read and, as far as labels were given, the scores of relations, of pairs and of single fields."""

    markets: int
    readable: dict[str, Readable]
    relations: int | None = None
    scores: Scores | None = None
    pairs: PairScores | None = None
    judged: Judged | None = None


def read_wordings(paths: Iterable[Path]) -> list[Wording]:
    """Markets of files with one JSON object a line, packed or not.

    A line is a venue's record beside its event, a market of Polymarket's listing as it came, or one of ``universe.jsonl``.

    A market that comes twice counts as it comes last.

    Raises
    ------
    NothingStored
        If a file is not there or no file has a market.
    FileDamaged
        If a line is no market; the file and the line are named.
    """
    found: dict[tuple[str, str], Wording] = {}
    for path in paths:
        for number, line in _lines(path):
            try:
                record = msgspec.json.decode(line)
                if isinstance(record, dict) and "conditionId" in record:
                    record = _beside_event(record)
                of_venue = isinstance(record, dict) and "market" in record
                words = wording_of_record(record) if of_venue else wording_of_market(_MARKET.decode(line))
            except (FrameMalformed, *UNREADABLE) as exc:
                raise FileDamaged(
                    f"{path} line {number} is no market: {exc}",
                    hint="one JSON object a line: venue, event_key, event, market; or a line of universe.jsonl",
                ) from exc
            found[words.venue, words.named] = words
    if not found:
        raise NothingStored("the files have no markets")
    return list(found.values())


def _beside_event(market: dict[str, Any]) -> dict[str, Any]:
    """A market of Polymarket's listing, which holds its events, as a record beside its event."""
    events = market.get("events")
    event = events[0] if isinstance(events, list) and events and isinstance(events[0], dict) else {}
    return {"venue": "polymarket", "event_key": str(event.get("id") or ""), "event": event, "market": market}


def _lines(path: Path) -> Iterable[tuple[int, bytes]]:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise FileDamaged(
            f"{path} is no whole gzip file: {exc}", hint="fetch it again, or name the unpacked file"
        ) from exc
    except OSError as exc:
        raise NothingStored(
            f"{path} cannot be read: {exc.strerror}", hint="name a file with one JSON object a line"
        ) from exc
    return ((number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip())


def relations_of(paths: Sequence[Path]) -> list[RelationRow]:
    """Every relation between the markets of some files."""
    return [_row(constraint) for constraint in relate([read(words) for words in read_wordings(paths)])]


def pairs_of(paths: Sequence[Path], *, similar: int = 3) -> list[PairOut]:
    """Pairs across the venues: those that ask the same, and of each market a few that sound alike, with what differs."""
    readings = [read(words) for words in read_wordings(paths)]
    return [
        PairOut(
            verdict=pair.verdict, polarity="inverted" if pair.index else "aligned",
            markets=[_market(leg(pair.one)), _market(leg(pair.other, pair.index))],
            differences=list(pair.differences), terms=list(pair.terms),
        )
        for pair in venue_pairs(readings, similar=similar)
    ]  # fmt: skip


def _market(leg: Leg) -> RelationMarket:
    return RelationMarket(
        venue=leg.venue, event_key=leg.event_id, market_id=leg.ref or leg.market_id, outcome=leg.outcome, label=leg.label
    )  # fmt: skip


def _row(constraint: Constraint) -> RelationRow:
    return RelationRow(
        relation=constraint.relation,
        confidence=constraint.confidence,
        score=constraint.score,
        markets=[_market(leg) for leg in constraint.legs],
        antecedent=constraint.antecedent,
        consequent=constraint.consequent,
        conditions=list(constraint.conditions),
        premises=[f"{one.market_id} {one.field}: {one.text}".strip() if one.market_id else one.text for one in constraint.premises],
        rule=constraint.rule,
    )  # fmt: skip


def evaluate_rules(
    markets: Sequence[Path], gold: Path | None = None, pairs: Path | None = None, judgements: Path | None = None
) -> Evaluation:
    """Read the markets, relate them where relations are labelled, and score the result.

    Raises
    ------
    NothingStored, FileDamaged
        If a file is missing, or a line of it is not what it should be.
    """
    wanted = _rows(judgements, Judgement) if judgements is not None else None
    labelled = _rows(gold, GoldRow) if gold is not None else None
    readings: list[Reading] = [read(words) for words in read_wordings(markets)]
    constraints = relate(readings) if labelled is not None else []
    labels = {(one.wording.venue.value, one.wording.named): one.wording.outcomes for one in readings}
    return Evaluation(
        markets=len(readings),
        readable=readable(readings),
        relations=len(constraints) if labelled is not None else None,
        scores=evaluate(constraints, labelled, labels) if labelled is not None else None,
        pairs=evaluate_pairs(_rows(pairs, PairRow)) if pairs is not None else None,
        judged=judge(wanted, readings) if wanted is not None else None,
    )


def _rows(path: Path, of: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(of)
    rows = []
    for number, line in _lines(path):
        try:
            rows.append(decoder.decode(line))
        except UNREADABLE as exc:
            raise FileDamaged(
                f"{path} line {number} is no {of.__name__}: {exc}", hint="one JSON object a line"
            ) from exc
    return rows

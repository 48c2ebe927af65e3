"""The stages from a day's listing to its constraints: ingest, normalize, constraints; each writes one file a venue and day.

A stage does its work again only where its input changed: the file says of what it was made.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl

from overround.errors import UNREADABLE, FileDamaged, NothingStored
from overround.logic import Constraint, Family, Proposition
from overround.market import MarketId
from overround.rules import (
    HIGH,
    QueueItem,
    Reading,
    Ruling,
    Wording,
    queue_item,
    read,
    relate,
    ruled,
    rulings,
    wording_of_market,
)
from overround.rules.template import digest
from overround.storage import LakePaths
from overround.storage.fileops import FileOps
from overround.storage.universe import read_universe

__all__ = [
    "CONSTRAINT_COLUMNS",
    "PROPOSITION_COLUMNS",
    "RulesRow",
    "StageDone",
    "bring_up_to_date",
    "constrain",
    "constraints_of_day",
    "import_rulings",
    "ingest",
    "normalize",
    "read_constraints",
    "read_queue",
    "read_rules",
    "read_ruling_file",
    "read_rulings",
]  # fmt: skip

VERSION = "3"
"""Raised whenever the grammar or the laws change what they say, so that stored files are made anew."""

_INPUT = "overround_input"
_BESIDE = "overround_beside"
"""Of which other venues' propositions a table of constraints was made, too."""
T = TypeVar("T")


class RulesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``rules.jsonl``.

    Attributes
    ----------
    wording : Wording
        Texts and structured fields.
    text_hash : str
    first_seen_ts : int
        When our scans first saw the market, epoch milliseconds.
    changed_ts : int or None
        When its words were last found to differ from an earlier day or run; None while they never did.
    """

    wording: Wording
    text_hash: str
    first_seen_ts: int = 0
    changed_ts: int | None = None

    @property
    def market_id(self) -> MarketId:
        """The market's id."""
        return self.wording.market_id


class StageDone(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage did.

    Attributes
    ----------
    stage, venue, date : str
    path : str
    rows : int
        In the file.
    redone : int
        Rows that had to be made; 0 where nothing had changed.
    changed : int
        Of ``ingest`` markets whose words changed.
    queued : int
        Of ``normalize`` items that wait for an answer.
    counts : dict of str to int
        Rows by family, or by relation and confidence.
    """

    stage: str
    venue: str
    date: str
    path: str
    rows: int
    redone: int
    changed: int = 0
    queued: int = 0
    counts: dict[str, int] = msgspec.field(default_factory=dict)


def ingest(paths: LakePaths, venue: str, date: str, *, now_ms: int, ops: FileOps | None = None) -> StageDone:
    """The day's listing as rules texts with their hashes, and since when they are what they are.

    Raises
    ------
    NothingStored
        If the venue was not scanned that day.
    """
    listing = paths.universe(venue, date)
    if not listing.is_file():
        raise NothingStored(
            f"no universe of {venue} on {date} under {paths.root / 'metadata'}", hint="`overround scan` writes today's"
        )
    path = paths.rules(venue, date)
    earlier = [
        one for one in sorted(path.parent.parent.glob("date=*/rules.jsonl")) if one.parent.name < path.parent.name
    ]
    known = {
        row.market_id: row
        for source in (*earlier[-1:], *([path] if path.is_file() else []))
        for row in read_rules(source)
    }
    rows, redone, changed = [], 0, 0
    for market in read_universe(listing):
        words = wording_of_market(market)
        text_hash = read_hash(words)
        before = known.get(market.market_id)
        differs = before is not None and before.text_hash != text_hash
        changed += differs
        redone += before is None or differs
        rows.append(
            RulesRow(
                wording=words, text_hash=text_hash, first_seen_ts=market.first_seen_ts,
                changed_ts=now_ms if differs else before.changed_ts if before is not None else None,
            )
        )  # fmt: skip
    _write_lines(path, rows, ops)
    return StageDone(
        stage="ingest", venue=venue, date=date, path=str(path), rows=len(rows), redone=redone, changed=changed
    )


def read_hash(words: Wording) -> str:
    """Hash of everything that is read of a market; as in its proposition."""
    return digest(
        words.event_title,
        words.title,
        words.label,
        words.rules,
        words.kind,
        words.floor,
        words.cap,
        *sorted(words.custom.values()),
    )


def row_hash(words: Wording) -> str:
    """Hash of a market's words and fields, its price aside."""
    return digest(msgspec.json.encode(msgspec.structs.replace(words, mid_px=None)).decode())


def normalize(
    paths: LakePaths, venue: str, date: str, *, review_below: float, now_ms: int, ops: FileOps | None = None
) -> StageDone:
    """Propositions of the day's rules; what is read with less confidence than ``review_below`` is queued.

    Markets whose words did not change since the last run keep their proposition.

    Raises
    ------
    NothingStored
        If ``ingest`` did not run.
    """
    rows = read_rules(paths.rules(venue, date))
    known = rulings(read_rulings(paths, venue))
    path = paths.logic(venue, date, "propositions")
    hashes = {row.market_id: row_hash(row.wording) for row in rows}
    mark = _mark(
        *hashes.values(),
        *(msgspec.json.encode(one).decode() for one in known.values()),
        str(review_below),
    )
    if _made_of(path) == mark:
        return StageDone(
            stage="normalize",
            venue=venue,
            date=date,
            path=str(path),
            rows=len(rows),
            redone=0,
            queued=len(read_queue(paths, venue, date)),
        )
    before = _propositions(path)
    queued_before = {item.proposition.text_hash: item.queued_ts for item in read_queue(paths, venue, date)}
    propositions: list[tuple[Proposition, bool]] = []
    queue: list[QueueItem] = []
    redone = 0
    for row in rows:
        # A decided item is read again: the decision goes onto the grammar's own reading, not onto an earlier decision.
        kept, reviewed, made_of = before.get(row.market_id, (None, False, ""))
        if (
            kept is not None
            and made_of == hashes[row.market_id]
            and not (reviewed or row.text_hash in known or _open_to(kept, known))
        ):
            reading = Reading(wording=row.wording, prop=kept)
        else:
            reading = read(row.wording)
            redone += 1
        reading, decided = ruled(reading, known)
        propositions.append((reading.prop, decided))
        if not decided and reading.prop.confidence < review_below:
            queue.append(queue_item(reading, now_ms=queued_before.get(row.text_hash, now_ms)))
    _write_lines(paths.review_queue(venue, date), queue, ops)
    _write_table(
        path,
        [_proposition_row(prop, decided, hashes[prop.market_id]) for prop, decided in propositions],
        PROPOSITION_COLUMNS,
        {_INPUT: mark},
        ops,
    )
    return StageDone(
        stage="normalize", venue=venue, date=date, path=str(path), rows=len(rows), redone=redone, queued=len(queue),
        counts=_counted(prop.family.value for prop, _ in propositions),
    )  # fmt: skip


def constrain(paths: LakePaths, venues: Sequence[str], date: str, *, ops: FileOps | None = None) -> list[StageDone]:
    """Constraints between the day's propositions, of several venues also across them.

    A constraint stands in the table of its first leg's venue. A table holds until the propositions change it was made of.

    Raises
    ------
    NothingStored
        If ``normalize`` did not run.
    """
    rows = {venue: read_rules(paths.rules(venue, date)) for venue in venues}
    marks = _marks(paths, rows, date)
    done = []
    fresh = all(_holds(paths.logic(venue, date, "constraints"), marks[venue]) for venue in venues)
    made: dict[str, list[Constraint]] = {venue: [] for venue in venues}
    if not fresh:
        readings = [
            ruled(read(row.wording), known)[0]
            for venue in venues
            for known in [rulings(read_rulings(paths, venue))]
            for row in rows[venue]
        ]
        for one in relate([one for one in readings if one.prop.family is not Family.UNREAD]):
            made[one.legs[0].venue].append(one)
    for venue in venues:
        path = paths.logic(venue, date, "constraints")
        constraints = made[venue]
        if not fresh:
            table = [_constraint_row(one) for one in constraints]
            _write_table(path, table, CONSTRAINT_COLUMNS, marks[venue], ops)
        done.append(
            StageDone(
                stage="constraints", venue=venue, date=date, path=str(path), redone=len(constraints),
                rows=len(constraints) if not fresh else len(pl.read_parquet(path, columns=["key"])),
                counts=_counted(f"{one.relation} {one.confidence}" for one in constraints),
            )
        )  # fmt: skip
    return done


def _marks(paths: LakePaths, rows: Mapping[str, Sequence[RulesRow]], date: str) -> dict[str, dict[str, str]]:
    """Of what each venue's constraints are made: its propositions, and those of the venues beside it."""
    own = {}
    for venue, listed in rows.items():
        source = paths.logic(venue, date, "propositions")
        if not source.is_file():
            raise NothingStored(f"no propositions of {venue} on {date}", hint="`overround rules normalize` writes them")
        own[venue] = _mark(_made_of(source), *_low_sums(listed))
    return {
        venue: {_INPUT: mark, _BESIDE: " ".join(f"{name}={own[name]}" for name in sorted(own) if name != venue)}
        for venue, mark in own.items()
    }


def _holds(path: Path, marks: Mapping[str, str]) -> bool:
    """Whether a table was made of these; one made with another venue besides holds for its own venue alone, too."""
    return _made_of(path) == marks[_INPUT] and marks[_BESIDE] in ("", _made_of(path, _BESIDE))


def _low_sums(rows: Iterable[RulesRow]) -> list[str]:
    """Events whose listed mids add up to so little that a market may be missing: all that a price says here."""
    mids: dict[str, list[float | None]] = {}
    for row in rows:
        mids.setdefault(row.wording.event_id, []).append(row.wording.mid_px)
    return sorted(
        event for event, all_mids in mids.items() if sum(mid or 0.0 for mid in all_mids) < 0.95 and None not in all_mids
    )


def constraints_of_day(paths: LakePaths, venues: Sequence[str], date: str) -> list[Constraint]:
    """The stored constraints of some venues, and across them.

    Raises
    ------
    NothingStored
        If there are none, or they were made of other propositions than are stored now.
    """
    marks = _marks(paths, {venue: read_rules(paths.rules(venue, date)) for venue in venues}, date)
    found: list[Constraint] = []
    for venue in venues:
        path = paths.logic(venue, date, "constraints")
        if not _holds(path, marks[venue]):
            what = "were made of other propositions" if path.is_file() else "are not there"
            raise NothingStored(
                f"the constraints of {' and '.join(venues)} on {date} {what}: {path}",
                hint=f"overround rules constraints {'--all-venues' if len(venues) > 1 else f'--venue {venue}'} --date {date}",
            )
        found += read_constraints(path)
    return found


def bring_up_to_date(
    paths: LakePaths,
    venues: Sequence[str],
    date: str,
    *,
    review_below: float,
    now_ms: int,
    ops: FileOps | None = None,
) -> list[StageDone]:
    """Run the stages up to the constraints; each does only what changed."""
    done = []
    for venue in venues:
        done.append(ingest(paths, venue, date, now_ms=now_ms, ops=ops))
        done.append(normalize(paths, venue, date, review_below=review_below, now_ms=now_ms, ops=ops))
    return [*done, *constrain(paths, venues, date, ops=ops)]


def read_rules(path: Path) -> list[RulesRow]:
    """The lines of a ``rules.jsonl``.

    Raises
    ------
    NothingStored, FileDamaged
    """
    if not path.is_file():
        raise NothingStored(f"there is no {path}", hint="`overround rules ingest` writes it")
    return _read_lines(path, RulesRow)


def read_queue(paths: LakePaths, venue: str, date: str) -> list[QueueItem]:
    """What waits for an answer; nothing before ``normalize`` ran."""
    path = paths.review_queue(venue, date)
    return _read_lines(path, QueueItem) if path.is_file() else []


def read_rulings(paths: LakePaths, venue: str) -> list[Ruling]:
    """Every decision of a venue, as made."""
    path = paths.review_decisions(venue)
    return _read_lines(path, Ruling) if path.is_file() else []


def read_ruling_file(path: Path) -> list[Ruling]:
    """Decisions that were exported.

    Raises
    ------
    NothingStored, FileDamaged
    """
    if not path.is_file():
        raise NothingStored(f"there is no {path}", hint="`overround rules review --export FILE` writes one")
    return _read_lines(path, Ruling)


def import_rulings(paths: LakePaths, venue: str, new: Iterable[Ruling], *, ops: FileOps | None = None) -> int:
    """Add decisions to the stored ones; the same decision twice is one. Gives the number added."""
    known = read_rulings(paths, venue)
    fresh = [one for one in {msgspec.json.encode(one): one for one in new}.values() if one not in known]
    if fresh:
        _write_lines(paths.review_decisions(venue), [*known, *fresh], ops)
    return len(fresh)


def read_constraints(path: Path) -> list[Constraint]:
    """The constraints of a stored table.

    Raises
    ------
    FileDamaged
        If a row does not read.
    """
    try:
        return [
            msgspec.json.decode(text, type=Constraint)
            for text in pl.read_parquet(path, columns=["constraint"])["constraint"]
        ]
    except (pl.exceptions.PolarsError, *UNREADABLE) as exc:
        raise FileDamaged(
            f"{path} holds no constraints: {exc}", hint="remove it and run `overround rules constraints` again"
        ) from exc


PROPOSITION_COLUMNS: dict[str, Any] = {
    "venue": pl.String, "market_id": pl.String, "ref": pl.String, "event_id": pl.String, "family": pl.String, "subject": pl.String,
    "measure": pl.String, "values_lo": pl.Float64, "values_hi": pl.Float64, "lo_closed": pl.Boolean, "hi_closed": pl.Boolean,
    "unit": pl.String, "window_kind": pl.String, "window_start": pl.Int64, "window_end": pl.Int64, "zone": pl.String, "source": pl.String,
    "game": pl.String, "exclusive_set": pl.String, "open_set": pl.Boolean, "confidence": pl.Float64, "reviewed": pl.Boolean,
    "reasons": pl.List(pl.String), "text_hash": pl.String, "template_hash": pl.String, "row_hash": pl.String, "proposition": pl.String,
}  # fmt: skip
CONSTRAINT_COLUMNS: dict[str, Any] = {
    "key": pl.String, "relation": pl.String, "confidence": pl.String, "score": pl.Float64, "rule": pl.String, "legs": pl.Int64,
    "markets": pl.List(pl.String), "outcomes": pl.List(pl.String), "conditions": pl.List(pl.String), "constraint": pl.String,
}  # fmt: skip


def _proposition_row(prop: Proposition, reviewed: bool, made_of: str) -> dict[str, Any]:  # noqa: FBT001 - a column
    values, window = prop.values, prop.window
    return {
        "venue": prop.venue, "market_id": prop.market_id, "ref": prop.ref, "event_id": prop.event_id, "family": prop.family.value,
        "subject": prop.subject, "measure": prop.measure,
        "values_lo": float(values.lo) if values is not None and values.lo is not None else None,
        "values_hi": float(values.hi) if values is not None and values.hi is not None else None,
        "lo_closed": values.lo_closed if values is not None else None, "hi_closed": values.hi_closed if values is not None else None,
        "unit": prop.unit, "window_kind": window.kind.value, "window_start": window.start_ms, "window_end": window.end_ms, "zone": window.zone,
        "source": prop.source, "game": prop.game, "exclusive_set": prop.exclusive_set, "open_set": prop.open_set,
        "confidence": prop.confidence, "reviewed": reviewed, "reasons": list(prop.reasons), "text_hash": prop.text_hash,
        "template_hash": prop.template_hash, "row_hash": made_of, "proposition": msgspec.json.encode(prop).decode(),
    }  # fmt: skip


def _constraint_row(one: Constraint) -> dict[str, Any]:
    return {
        "key": one.key, "relation": one.relation.value, "confidence": one.confidence.value, "score": one.score, "rule": one.rule,
        "legs": len(one.legs), "markets": [str(leg.market_id) for leg in one.legs], "outcomes": [leg.outcome for leg in one.legs],
        "conditions": list(one.conditions), "constraint": msgspec.json.encode(one).decode(),
    }  # fmt: skip


def _open_to(prop: Proposition, known: dict[str, Ruling]) -> bool:
    """Whether a decision on its template would be replayed on a reading."""
    return prop.confidence < HIGH and f"template:{prop.template_hash}" in known


def _propositions(path: Path) -> dict[MarketId, tuple[Proposition, bool, str]]:
    """Those of the last run, whether decided, and of what; nothing of an older version or of a damaged file."""
    if not _made_of(path).startswith(f"{VERSION}:"):
        return {}
    table = pl.read_parquet(path, columns=["proposition", "reviewed", "row_hash"])
    found = (msgspec.json.decode(text, type=Proposition) for text in table["proposition"])
    return {
        prop.market_id: (prop, *rest) for prop, *rest in zip(found, table["reviewed"], table["row_hash"], strict=True)
    }


def _mark(*parts: str) -> str:
    return f"{VERSION}:{digest(*parts)}"


def _made_of(path: Path, which: str = _INPUT) -> str:
    """Of what a table was made; empty where there is none or it does not say."""
    if not path.is_file():
        return ""
    try:
        return pl.read_parquet_metadata(path).get(which, "")
    except (pl.exceptions.PolarsError, OSError):
        return ""


def _counted(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _write_table(
    path: Path, rows: Sequence[dict[str, Any]], schema: dict[str, Any], marks: dict[str, str], ops: FileOps | None
) -> None:
    held = io.BytesIO()
    pl.DataFrame(rows, schema=schema).write_parquet(held, compression="zstd", metadata=marks)
    (ops or FileOps()).write_whole(path, held.getvalue())


def _write_lines(path: Path, rows: Sequence[msgspec.Struct], ops: FileOps | None) -> None:
    data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    if not path.is_file() or path.read_bytes() != data:
        (ops or FileOps()).write_whole(path, data)


def _read_lines(path: Path, of: type[T]) -> list[T]:
    decoder = msgspec.json.Decoder(of)
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            rows.append(decoder.decode(line))
        except UNREADABLE as exc:
            raise FileDamaged(
                f"{path} line {number} does not read: {exc}", hint="remove the file; the stage before writes it again"
            ) from exc
    return rows

"""What people decided about doubtful readings, and its replay on every later run.

A decision is keyed to the hash of the words it was made on: other words, other hash, and the item is open again. Where
only numbers and days differ, that is, where the template is the same, an acceptance or rejection carries over to readings
that are in doubt, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from overround.errors import UsageError
from overround.logic import Family, Proposition
from overround.rules.grammar import HIGH, Reading
from overround.rules.wording import Wording

__all__ = [
    "CORRECTABLE",
    "Decision",
    "QueueItem",
    "Ruling",
    "correction_of",
    "highlighted",
    "queue_item",
    "ruled",
    "rulings",
]

CORRECTABLE = ("family", "subject", "measure", "values", "step", "unit", "window", "source", "game", "open_set")
"""Fields of a proposition that a correction may set."""


class Decision(StrEnum):
    """What was decided."""

    ACCEPT = "accept"
    REJECT = "reject"
    CORRECT = "correct"


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, as it is stored, exported and imported: one line.

    Attributes
    ----------
    text_hash, template_hash : str
        Of the words as they were.
    decision : Decision
    fields : dict of str to any
        Corrected fields of the proposition, in the form of its JSON; of ``correct`` only.
    note : str
    venue, market_id : str
        Where it was made, for people.
    decided_ts : int
        Epoch milliseconds.
    """

    text_hash: str
    decision: Decision
    template_hash: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    note: str = ""
    venue: str = ""
    market_id: str = ""
    decided_ts: int = 0


class QueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that waits for an answer: one line of ``queue.jsonl``.

    Attributes
    ----------
    wording : Wording
    proposition : Proposition
    reasons : tuple of str
        Why it is doubtful.
    queued_ts : int
        When these words were first queued, epoch milliseconds.
    """

    wording: Wording
    proposition: Proposition
    reasons: tuple[str, ...] = ()
    queued_ts: int = 0


def rulings(lines: Iterable[Ruling]) -> dict[str, Ruling]:
    """The newest decision by hash, of texts and, where it carries over, of templates."""
    found: dict[str, Ruling] = {}
    for ruling in sorted(lines, key=lambda one: one.decided_ts):
        found[ruling.text_hash] = ruling
        if ruling.template_hash and ruling.decision is not Decision.CORRECT:
            found[f"template:{ruling.template_hash}"] = ruling
    return found


def ruled(reading: Reading, known: dict[str, Ruling]) -> tuple[Reading, bool]:
    """A reading as decided, and whether it was; a correction that no longer fits is no decision."""
    prop = reading.prop
    ruling = known.get(prop.text_hash)
    if ruling is None and prop.template_hash and prop.confidence < HIGH:
        ruling = known.get(f"template:{prop.template_hash}")
    if ruling is None:
        return reading, False
    why = f"{ruling.decision} in review" + (f": {ruling.note}" if ruling.note else "")
    match ruling.decision:
        case Decision.ACCEPT:
            prop = msgspec.structs.replace(prop, confidence=1.0, reasons=(why,))
        case Decision.REJECT:
            prop = msgspec.structs.replace(prop, family=Family.UNREAD, confidence=0.0, reasons=(why,))
        case Decision.CORRECT:
            try:
                corrected = msgspec.convert(msgspec.to_builtins(prop) | ruling.fields, Proposition, strict=False)
            except (msgspec.ValidationError, TypeError):
                return reading, False
            prop = msgspec.structs.replace(corrected, confidence=1.0, reasons=(why,))
    values = prop.values
    direction = reading.direction if values is None else 1 if values.hi is None else -1 if values.lo is None else 0
    return msgspec.structs.replace(reading, prop=prop, direction=direction), True


def correction_of(settings: Iterable[str], proposition: Proposition) -> dict[str, Any]:
    """Corrected fields out of ``name=value`` texts; a value is JSON, or else a text.

    Raises
    ------
    UsageError
        If a name is no field that can be corrected, or a value does not fit it.
    """
    fields: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in CORRECTABLE:
            raise UsageError(f"{setting!r} corrects nothing", hint=f"NAME=VALUE with one of {', '.join(CORRECTABLE)}")
        try:
            fields[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            fields[name] = text
    try:
        msgspec.convert(msgspec.to_builtins(proposition) | fields, Proposition, strict=False)
    except (msgspec.ValidationError, TypeError) as exc:
        raise UsageError(
            f"the correction does not fit: {exc}", hint="`overround rules review --json` shows the form of each field"
        ) from exc
    return fields


def queue_item(reading: Reading, *, now_ms: int, reasons: Iterable[str] = ()) -> QueueItem:
    """A reading as an item of the queue."""
    return QueueItem(
        wording=reading.wording,
        proposition=reading.prop,
        reasons=(*reading.prop.reasons, *reasons) or ("low confidence",),
        queued_ts=now_ms,
    )


def highlighted(item: QueueItem, mark: tuple[str, str] = ("[", "]")) -> list[str]:
    """The texts that fields rest on, their spans between marks, one line each.

    Examples
    --------
    >>> from overround.logic import Field, Span
    >>> from overround.market import MarketId, Venue
    >>> words = Wording(venue=Venue.KALSHI, market_id=MarketId("X"), title="Above 5 in May?")
    >>> prop = Proposition(
    ...     venue=Venue.KALSHI, market_id=MarketId("X"), fields={"values": Field(0.4, (Span("title", 0, 7),))}
    ... )
    >>> highlighted(QueueItem(wording=words, proposition=prop))
    ['values 0.40 title: [Above 5] in May?']
    """
    texts = {name: getattr(item.wording, name) for name in ("title", "label", "rules", "event_title")}
    lines = []
    for name, field in item.proposition.fields.items():
        for span in field.spans:
            text = texts.get(span.field, f"{item.wording.kind} {item.wording.floor} {item.wording.cap}".strip())
            end = span.end or len(text)
            around = f"{text[max(0, span.start - 60) : span.start]}{mark[0]}{text[span.start : end][:200]}{mark[1]}{text[end : end + 60]}"
            lines.append(
                f"{name} {field.confidence:.2f} {span.field}: {' '.join(around.split())}"
                + (f" ({field.note})" if field.note else "")
            )
    return lines

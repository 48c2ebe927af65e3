"""Documented shapes of messages, and what in a message departs from them.

The structs of ``wire`` name the fields that we use and skip all others unseen: that is what makes them fast, and what
makes them blind. A shape names every field that a venue documents, with what its values may be; a few messages of each
kind are decoded generically and held against it.

A shape is written as a table: a field's name and what it holds. After the name ``?`` says that it may be absent, and
``~`` that it comes and goes for good reasons (its long absence, or a single value, means nothing). ``!`` says that its
value moves in every stream, so that a long standstill is news even where one market alone is seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec

from overround.errors import UNREADABLE
from overround.market import DriftSort
from overround.market.drift import SAMPLE_CHARS

__all__ = [
    "ANY",
    "BOOL",
    "INT",
    "NO_JSON",
    "NULL",
    "NUMBER",
    "TEXT",
    "Departure",
    "Domain",
    "Examined",
    "OldForm",
    "Seen",
    "Shape",
    "VenueShapes",
    "either",
    "free",
    "number",
    "shown",
    "text",
    "word",
]

NO_JSON = "(no JSON)"
"""Name of what cannot be decoded at all."""

ELEMENTS_MAX = 20
"""Elements of a list that are looked at; the same count of bids says as much as all of them."""
_NAME_CHARS = 80


class Domain(NamedTuple):
    """What a value may be.

    Attributes
    ----------
    name : str
        As it is reported: ``one of BUY, SELL``.
    holds : callable
    """

    name: str
    holds: Callable[[Any], bool]


Spec: TypeAlias = "Domain | Mapping[str, Any] | list[Any]"
"""A domain, a table of fields, or a list with the one spec that its elements have."""


def text(pattern: str, name: str, *, or_empty: bool = False) -> Domain:
    """A text that matches a pattern as a whole."""
    match = re.compile(f"(?:{pattern})?" if or_empty else pattern).fullmatch
    return Domain(
        f"{name}, or empty" if or_empty else name, lambda value: isinstance(value, str) and match(value) is not None
    )


def word(*words: str) -> Domain:
    """One of a documented set of words."""
    known = frozenset(words)
    named = ", ".join(known_word or '""' for known_word in words)
    return Domain(f"one of {named}", lambda value: isinstance(value, str) and value in known)


def number(low: float, high: float, name: str) -> Domain:
    """A JSON number in a closed range."""
    return Domain(
        name, lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    )


def either(*domains: Domain) -> Domain:
    """What one of several domains holds."""
    return Domain(
        " or ".join(domain.name for domain in domains), lambda value: any(domain.holds(value) for domain in domains)
    )


def free(name: str) -> Domain:
    """An object whose keys are the venue's own words of the day (a strike's custom keys)."""
    return Domain(name, lambda value: isinstance(value, dict))


ANY = Domain("anything", lambda _: True)
TEXT = Domain("text", lambda value: isinstance(value, str))
BOOL = Domain("true or false", lambda value: isinstance(value, bool))
INT = Domain("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
NUMBER = Domain("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
NULL = Domain("null", lambda value: value is None)


class Departure(NamedTuple):
    """One way in which a message is not as documented."""

    sort: DriftSort
    name: str
    detail: str
    sample: str


class Seen(NamedTuple):
    """What one message of a kind contains, as far as it is watched over time.

    Attributes
    ----------
    kind : str
    identity : str
        The market it is about, or empty.
    values : dict of str to object
        Scalars by path; of lists the first element's.
    """

    kind: str
    identity: str
    values: dict[str, object]


class Examined(NamedTuple):
    """All that a look at one frame or answer found."""

    departures: list[Departure]
    seen: list[Seen]


@dataclass(frozen=True)
class OldForm:
    """A form that the venue gave up, recognised as a whole so that it is named once and not field by field.

    Attributes
    ----------
    name : str
    is_it : callable
        Takes the message's object.
    """

    name: str
    is_it: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class _Node:
    path: str
    domain: Domain | None
    table: _Table | None
    element: _Node | None


@dataclass(frozen=True)
class _Table:
    fields: dict[str, _Node]
    required: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The documented form of one kind of message.

    Attributes
    ----------
    kind : str
        As it is reported.
    fields : mapping
        The table, see the module.
    old : sequence of OldForm
    identity : str
        Path of the field that names the market.
    slow : bool
        Seen on request only (a listing): its habits take longer to learn.
    """

    kind: str
    fields: Mapping[str, Any]
    old: Sequence[OldForm] = ()
    identity: str = ""
    slow: bool = False
    root: _Node = field(init=False, repr=False, compare=False)
    fleeting: frozenset[str] = field(init=False, repr=False, compare=False)
    moving: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fleeting: set[str] = set()
        moving: set[str] = set()
        object.__setattr__(self, "root", _compiled("", self.fields, fleeting, moving))
        object.__setattr__(self, "fleeting", frozenset(fleeting))
        object.__setattr__(self, "moving", frozenset(moving))

    def examine(self, message: object) -> tuple[list[Departure], Seen | None]:
        """Hold one decoded message against the shape."""
        if isinstance(message, dict):
            for form in self.old:
                if form.is_it(message):
                    return [Departure(DriftSort.OLD_FORMAT, form.name, "", shown(message))], None
        found: list[Departure] = []
        values: dict[str, object] = {}
        _look(self.root, self.kind, message, found, values)
        identity = values.get(self.identity, "")
        return found, Seen(self.kind, identity if isinstance(identity, str) else "", values)


def shown(value: object) -> str:
    """The beginning of a value as JSON, for a report."""
    try:
        return msgspec.json.encode(value)[: SAMPLE_CHARS * 4].decode(errors="replace")[:SAMPLE_CHARS]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return repr(value)[:SAMPLE_CHARS]


def _compiled(path: str, spec: Any, fleeting: set[str], moving: set[str]) -> _Node:
    if isinstance(spec, Domain):
        return _Node(path, spec, None, None)
    if isinstance(spec, list):
        return _Node(path, None, None, _compiled(f"{path}[]", spec[0], fleeting, moving))
    fields: dict[str, _Node] = {}
    required: set[str] = set()
    for marked, of in spec.items():
        name = marked.rstrip("?~!")
        marks = marked[len(name) :]
        where = f"{path}.{name}" if path else name
        if not marks or marks == "!":
            required.add(name)
        if "~" in marks:
            fleeting.add(where)
        if "!" in marks:
            moving.add(where)
        fields[name] = _compiled(where, of, fleeting, moving)
    return _Node(path, None, _Table(fields, frozenset(required)), None)


def _look(node: _Node, kind: str, value: object, found: list[Departure], values: dict[str, object]) -> None:
    """Walk a value along its node; ``values`` takes the scalars that it meets first on each path."""
    domain = node.domain
    if domain is not None:
        if not domain.holds(value):
            found.append(Departure(DriftSort.DOMAIN, f"{kind}.{node.path}", domain.name, shown(value)))
        if not isinstance(value, dict | list):
            values.setdefault(node.path, value)
        elif node.path not in values:
            values[node.path] = len(value)
    elif node.table is not None:
        if not isinstance(value, dict):
            found.append(Departure(DriftSort.DOMAIN, _name(kind, node.path), "an object", shown(value)))
            return
        fields = node.table.fields
        for key, child in value.items():
            known = fields.get(key)
            if known is None:
                name = f"{node.path}.{key}" if node.path else key
                found.append(Departure(DriftSort.UNKNOWN_FIELD, _name(kind, name), "", shown(child)))
            else:
                _look(known, kind, child, found, values)
        found.extend(
            Departure(DriftSort.MISSING_FIELD, f"{kind}.{fields[key].path}", "", shown(value))
            for key in sorted(node.table.required - value.keys())
        )
    elif node.element is not None:
        if not isinstance(value, list):
            found.append(Departure(DriftSort.DOMAIN, f"{kind}.{node.path}", "a list", shown(value)))
            return
        values.setdefault(node.path, len(value))
        # Both ends: levels are sorted, and the odd one may stand at either.
        for element in value if len(value) <= ELEMENTS_MAX else (*value[: ELEMENTS_MAX - 5], *value[-5:]):
            _look(node.element, kind, element, found, values)


def _name(kind: str, path: str) -> str:
    return (f"{kind}.{path}" if path else kind)[:_NAME_CHARS]


class VenueShapes(NamedTuple):
    """What one venue documents, and how its frames and answers are taken apart.

    Attributes
    ----------
    shapes : dict of str to Shape
        By kind.
    guess : callable
        The kind of a frame at a glance, from its bytes; wrong guesses cost a sample, nothing else.
    messages : callable
        ``messages(frame)`` gives (kind, decoded message) pairs; raises one of ``UNREADABLE`` when the frame is no JSON.
    answers : callable
        ``answers(path, body, choose)`` gives (kind, decoded record, its bytes) of one REST answer; of its n records those
        whose places ``choose(n)`` names.
    """

    shapes: Mapping[str, Shape]
    guess: Callable[[bytes], str]
    messages: Callable[[bytes], list[tuple[str, object]]]
    answers: Callable[[str, bytes, Callable[[int], Collection[int]]], Iterator[tuple[str, object, bytes]]]

    def examine(self, kind: str, message: object) -> tuple[list[Departure], Seen | None]:
        """Hold one decoded message against the shape of its kind."""
        shape = self.shapes.get(kind)
        if shape is None:
            return [Departure(DriftSort.UNKNOWN_EVENT, kind[:_NAME_CHARS], "", shown(message))], None
        return shape.examine(message)

    def _some(self, messages: list[tuple[str, object]]) -> list[tuple[str, object]]:
        """Of a long batch (a hundred first books in one frame) both ends, and every kind that nobody knows."""
        if len(messages) <= ELEMENTS_MAX:
            return messages
        begin, end = ELEMENTS_MAX - 5, len(messages) - 5
        return [
            message
            for place, message in enumerate(messages)
            if place < begin or place >= end or message[0] not in self.shapes
        ]

    def frame(self, frame: bytes) -> Examined:
        """All departures of one frame."""
        try:
            messages = self.messages(frame)
        except UNREADABLE as exc:
            why = str(exc)[:_NAME_CHARS]
            return Examined(
                [Departure(DriftSort.UNKNOWN_EVENT, NO_JSON, why, frame[:SAMPLE_CHARS].decode(errors="replace"))],
                [],
            )
        found: list[Departure] = []
        seen: list[Seen] = []
        for kind, message in self._some(messages):
            departures, habits = self.examine(kind, message)
            found += departures
            if habits is not None:
                seen.append(habits)
        return Examined(found, seen)

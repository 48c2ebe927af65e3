"""Shapes of JSON values: key sets, types and number spelling, to compare ours with captured ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_SPELLINGS = (
    ("empty", r""),
    ("hex40", r"[0-9a-f]{40}"),
    ("0xhex64", r"0x[0-9a-f]{64}"),
    ("0xhex40", r"0x[0-9a-fA-F]{40}"),
    ("uuid", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("token", r"\d{70,78}"),
    ("ms", r"1[5-9]\d{11}"),
    ("number", r"-?\d+(\.\d+)?"),
    ("iso", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z"),
    ("day", r"\d{4}-\d\d-\d\d"),
    ("spaced time", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00"),
    ("json", r"\[.*\]"),
    ("text", r"(?s).+"),
)
_COMPILED = [(name, re.compile(pattern)) for name, pattern in _SPELLINGS]


def spelling(value: Any) -> str:
    """The kind of a scalar; a number inside a string keeps its decimals: ``str:number 0.50``."""
    if isinstance(value, str):
        name = next(name for name, pattern in _COMPILED if pattern.fullmatch(value))
        return f"str:number {value}" if name == "number" else f"str:{name}"
    if value is None:
        return "null"
    if isinstance(value, float) and value == int(value):
        return "float with .0"  # neither venue writes one
    return type(value).__name__


def _number_style(texts: set[str]) -> str:
    """How numbers inside strings are padded: ``fixed2``, ``plain`` (no trailing zeros), ``2 or plain``, ``mixed``."""
    places = {len(text.partition(".")[2]) for text in texts}
    padded = any("." in text and text.endswith("0") for text in texts)
    if len(places) == 1 and places != {0}:
        return f"fixed{places.pop()}" if padded else f"{places.pop()} or plain"
    return "mixed" if padded else "plain"


def _kinds(given: set[str]) -> set[str]:
    texts = {kind.partition(" ")[2] for kind in given if kind.startswith("str:number ")}
    rest = {kind for kind in given if not kind.startswith("str:number ")}
    return rest | {f"str:number {_number_style(texts)}"} if texts else rest


def _allows(captured: set[str], kind: str) -> bool:
    if kind in captured:
        return True
    if kind == "int":
        return "float" in captured  # whole numbers lose their point
    if kind.startswith("str:number "):
        style = kind.removeprefix("str:number ")
        for other in captured:
            known = other.removeprefix("str:number ")
            if known == "mixed" or (style == "plain" and known.endswith("or plain")):
                return True
            if style.endswith("or plain") and known in {"plain", f"fixed{style[0]}"}:
                return True
            if known.endswith("or plain") and (style.endswith("or plain") or style == f"fixed{known[0]}"):
                return True
    return False


def paths(value: Any, at: str = "") -> dict[str, set[str]]:
    """Every path of a JSON value with its kinds; list elements share a path."""
    found: dict[str, set[str]] = {}

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            found.setdefault(where, set()).add("object")
            for key, child in node.items():
                walk(child, f"{where}.{key}")
        elif isinstance(node, list):
            found.setdefault(where, set()).add("array")
            for child in node:
                walk(child, f"{where}[]")
        else:
            found.setdefault(where, set()).add(spelling(node))

    walk(value, at)
    return found


def union(values: Iterable[Any]) -> dict[str, set[str]]:
    """Paths of many values together."""
    found: dict[str, set[str]] = {}
    for value in values:
        for path, kinds in paths(value).items():
            found.setdefault(path, set()).update(kinds)
    return found


def common(values: Iterable[Any]) -> set[str]:
    """Paths that every value has."""
    sets = [set(paths(value)) for value in values]
    return set.intersection(*sets) if sets else set()


def differences(
    ours: list[Any],
    captured: list[Any],
    *,
    extra: Iterable[str] = (),
    missing: Iterable[str] = (),
    words: Iterable[str] = (),
) -> list[str]:
    """What is in ours but in no captured value, or in every captured value but never in ours.

    Parameters
    ----------
    ours, captured : list
        Parsed payloads of one kind.
    extra : iterable of str
        Paths that we may have although no sample shows them (documented later than the samples).
    missing : iterable of str
        Path prefixes that we leave out on purpose.
    words : iterable of str
        Paths whose strings are free text: only the JSON type is compared.
    """
    assert ours, "nothing of ours to compare"
    assert captured, "nothing captured to compare"
    found = []
    seen, known = union(ours), union(captured)
    for path, kinds in sorted(seen.items()):
        if path in extra:
            continue
        if path not in known:
            found.append(f"ours only: {path} {sorted(kinds)}")
            continue
        allowed = _kinds(known[path])
        for kind in sorted(_kinds(kinds)):
            if path in words and kind.startswith("str:") and any(a.startswith("str:") for a in allowed):
                continue
            if not _allows(allowed, kind):
                found.append(f"spelt otherwise: {path} is {kind}, captured {sorted(allowed)}")
    absent = sorted(path for path in common(captured) if path not in seen)
    found += [f"captured only: {path}" for path in absent if not any(path.startswith(prefix) for prefix in missing)]
    return found

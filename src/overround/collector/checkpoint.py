"""The state of a recording at one instant, so that a replay can begin there instead of at the run's start.

A run may last for months and its journal be kept for days. Once per bucket the whole state that later rows depend on
goes into the journal: feeds, books, and when each market's next row is due. It is pickled, because a feed's state is
whatever its author thought of, and read back by an unpickler that knows the classes of books, values and feeds and
nothing else: none of these does any I/O, so a foreign journal can make objects and can do nothing with them.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import pickle
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import overround
from overround.book import BookShelf
from overround.collector.snapshots import Plans
from overround.errors import FileDamaged
from overround.market import Venue
from overround.venue import Feed
from overround.venue.adapters import FeedOptions
from overround.venue.repair import RepairBudgets

__all__ = ["Checkpoint", "RunSettings", "code_digest", "freeze", "thaw"]

# What bytes that are no pickle of ours make an unpickler raise.
_NO_STATE = (
    pickle.UnpicklingError,
    msgspec.MsgspecError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_ROOMS = (
    "overround.book.",
    "overround.market.",
    "overround.venue.",
    "overround.collector.snapshots",
    "overround.collector.polling",
    "overround.collector.checkpoint",
)


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal's ``run`` and ``state`` lines say of a recording.

    Attributes
    ----------
    venue : Venue
    version, code : str
        Of the program that recorded, and of the modules that decide what a row says (see ``code_digest``).
    top_k, bucket_s, stale_after_ms : int
    outcomes : str
    keep_stored, budgeted : bool
        See ``Snapshotter``.
    feed : FeedOptions
    poller : str
        Slot of the poller where there is no socket, else empty.
    """

    venue: Venue
    version: str = ""
    code: str = ""
    top_k: int
    bucket_s: int
    stale_after_ms: int
    outcomes: str
    keep_stored: bool
    budgeted: bool
    feed: FeedOptions = FeedOptions()
    poller: str = ""


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """All that later rows depend on besides later calls.

    Attributes
    ----------
    shelf : BookShelf
    budgets : RepairBudgets
        Shared by the feeds.
    feeds : dict of str to Feed
        By slot.
    down_since_ms : dict of str to int or None
        By slot.
    plans : Plans
        Which rows are due when.
    rows : int
        Rows taken by the run so far.
    """

    shelf: BookShelf
    budgets: RepairBudgets
    feeds: dict[str, Feed]
    down_since_ms: dict[str, int | None]
    plans: Plans
    rows: int


def _decoder(decoder: Any) -> tuple[Any, tuple[Any, ...]]:
    return msgspec.json.Decoder, (decoder.type,)


class _Pickler(pickle.Pickler):
    dispatch_table: Mapping[type, Any] = {msgspec.json.Decoder: _decoder}


def _method(owner: object, name: str) -> Any:
    """A bound method, as feeds hand their parts some of theirs."""
    kind = type(owner)
    if kind is not msgspec.json.Decoder and not kind.__module__.startswith(_ROOMS):
        raise pickle.UnpicklingError(f"{name!r} of {kind.__name__}")
    return getattr(owner, name)


def _struct(kind: type, values: dict[str, Any]) -> object:
    """A struct of msgspec, as its own pickling has it."""
    return kind(**values)


_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _method,
    ("collections", "deque"): collections.deque,
    ("random", "Random"): random.Random,
    ("msgspec.json", "Decoder"): msgspec.json.Decoder,
    ("msgspec._core", "JSONDecoder"): msgspec.json.Decoder,
    ("msgspec._utils", "rebuild"): _struct,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        if module.startswith(_ROOMS) and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__.startswith(_ROOMS):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a recording's state")


@functools.cache
def code_digest() -> str:
    """Digest of the modules that decide what a row says: a replay by other code may come out otherwise."""
    package = Path(overround.__file__).parent
    digest = hashlib.sha256()
    files = [*(path for room in ("market", "book", "venue") for path in package.joinpath(room).rglob("*.py"))]
    files += [package / "collector" / "snapshots.py", package / "collector" / "polling.py"]
    for path in sorted(files):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def freeze(state: Checkpoint) -> bytes:
    """A state as bytes.

    Raises
    ------
    TypeError
        If a part of it cannot be written down.
    """
    out = io.BytesIO()
    try:
        _Pickler(out, 5).dump(state)
    except (pickle.PicklingError, AttributeError) as exc:
        raise TypeError(str(exc)) from exc
    return out.getvalue()


def thaw(data: bytes) -> Checkpoint:
    """A state out of bytes.

    Raises
    ------
    FileDamaged
        If the bytes are no such state, or one of a version with other feeds.
    """
    try:
        state = _Unpickler(io.BytesIO(data)).load()
    except _NO_STATE as exc:
        raise FileDamaged(f"no state of a recording: {exc}", hint="another version wrote it") from exc
    if not isinstance(state, Checkpoint):
        raise FileDamaged(f"no state of a recording but a {type(state).__name__}")
    return state

"""The catalogue's history: what each scan changed, from the moment we knew it.

One file per month, ``history/changes_YYYY-MM.jsonl.zst``, append-only. Each scan adds one zstd frame: a line that names
the scan and then a line for each market that was listed (its whole record), changed (the fields that changed) or left
(with what the venue said of it when asked by id, if it said something).
A month's first frame is a checkpoint, the whole listing, so that no reader needs more than a month. A frame that a crash
cut is no frame: readers stop before it, and the next scan writes over it.

The history is written before the day's ``universe.jsonl``. A crash between the two leaves a history that is one scan
ahead; the next scan then compares with the history, not with the file that is behind, and no change is written twice.

A reader as of a time sees what had been written by then. The venue's own times decide nothing: a market that was changed
yesterday and read today is changed today.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock
import msgspec

from overround.errors import UNREADABLE, FileDamaged, NothingStored, StorageError, UsageError
from overround.market import Market, MarketId
from overround.market.history import (
    HISTORIC_FIELDS,
    CatalogueChange,
    CatalogueEvent,
    State,
    changed_fields,
    changes_between,
    market_of,
    state_of,
    value_in,
)
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Catalogue",
    "CatalogueHistory",
    "Commit",
    "catalogue_as_of",
    "catalogue_changes",
    "catalogue_commits",
    "catalogue_spans",
]

LOCK_S = 120.0
"""A scan that finds another one writing waits so long: a whole venue takes seconds."""
LEVEL = 9
_PIECE = 1 << 18
_HINT = "restore the file from a copy"


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One scan's entry.

    Attributes
    ----------
    at : int
        When it was written: from then on it was known (ms). Never before the entry in front of it.
    scan : int
        When the scan began (ms): ``last_seen_ts`` of the markets that it listed.
    listed : int
        Markets present after it.
    changes : int
        Lines that follow.
    checkpoint : bool
        The lines are the whole listing.
    """

    at: int
    scan: int
    listed: int
    changes: int
    checkpoint: bool = False


class _Line(msgspec.Struct, omit_defaults=True):
    """A line: of a scan, or of a market.

    ``e`` is the event it leaves, ``f`` when it was first listed; a market that is ``gone`` may have a last ``set``.
    """

    m: str = ""
    e: str = ""
    f: int = 0
    full: dict[str, Any] | None = None
    set: dict[str, Any] | None = None
    gone: bool = False
    commit: Commit | None = None


class _Held(NamedTuple):
    """A listed market while the history is read."""

    state: State
    first_ms: int


class _Head(msgspec.Struct, kw_only=True):
    """Where the history ends: a file, its good length, and the last entry. A cache; the files are the truth."""

    file: str
    length: int
    commit: Commit | None


_EVENT_ID = b'"event_id":'
_START = b'{"m":"'

_LINE = msgspec.json.Decoder(_Line)
_HEAD = msgspec.json.Decoder(_Head)
_ENCODER = msgspec.json.Encoder()


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's listing as it was known at one time.

    Attributes
    ----------
    as_of_ms : int
        The time asked for.
    known_ms, scan_ms : int
        When the newest scan known then had been written, and when it had begun.
    markets : dict of MarketId to Market
        Listed markets. ``first_seen_ts`` is when our history first had them, ``last_seen_ts`` is ``scan_ms``. Volumes,
        liquidity and quotes have no history and are at their defaults.
    """

    as_of_ms: int
    known_ms: int
    scan_ms: int
    markets: dict[MarketId, Market]

    def events(self) -> dict[str, tuple[MarketId, ...]]:
        """Legs of each event, as far as they were known; a market without an event is left out."""
        legs: dict[str, list[MarketId]] = {}
        for market_id, market in sorted(self.markets.items()):
            if market.event_id:
                legs.setdefault(market.event_id, []).append(market_id)
        return {event_id: tuple(ids) for event_id, ids in legs.items()}


class CatalogueHistory:
    """Writes one venue's history; see ``held`` for two scans at a time.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    ops : FileOps, optional
        A failing disk in tests.
    """

    def __init__(self, paths: LakePaths, venue: str, *, ops: FileOps | None = None) -> None:
        self._paths, self._venue, self._ops = paths, str(venue), ops or FileOps()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other scans of the venue waiting: from reading the listing before to writing the one after.

        Raises
        ------
        StorageError
            If another process holds it too long, or the folder cannot be written.
        """
        path = self._paths.history_lock(self._venue)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path)
            lock.acquire(timeout=LOCK_S)
        except filelock.Timeout as exc:
            raise StorageError(f"another scan of {self._venue} has been writing for {LOCK_S:g} s") from exc
        except OSError as exc:
            raise StorageError(f"{self._paths.root} cannot be written: {exc.strerror or exc}") from exc
        try:
            yield
        finally:
            lock.release()

    def record(
        self,
        listed: Mapping[MarketId, Market],
        *,
        known: Mapping[MarketId, Market],
        known_scan_ms: int,
        whole: bool,
        now_ms: int,
        scan_ms: int,
        ended: Mapping[MarketId, Market] | None = None,
    ) -> Commit:
        """Add what a listing changed; on disk when this returns.

        Parameters
        ----------
        listed : mapping of MarketId to Market
        known : mapping of MarketId to Market
            The listing before (markets removed from it left out), as the newest universe file has it.
        known_scan_ms : int
            The scan that wrote that file. If it is not the history's last, the history itself is compared with.
        whole : bool
            Whether the listing can be believed about what is not in it; markets leave only then.
        now_ms, scan_ms : int
            Now, and when the scan began.
        ended : mapping of MarketId to Market, optional
            Of the markets that left, those of which the venue told the end.

        Raises
        ------
        StorageError
            If the disk refuses; the history is then as before.
        """
        head = self._head()
        last = head.commit if head is not None else None
        at = max(now_ms, last.at if last is not None else 0)
        before = self._states(known, trusted=last is not None and last.scan == known_scan_ms)
        lines = _differences(before, known, listed, ended=ended or {}, whole=whole)
        n_present = len(listed) if whole else len(listed.keys() | before.keys())
        month = _month(at)
        path = self._paths.history_file(self._venue, month)
        begins = head is None or head.file != path.name
        if begins:
            # The last words on those that left are behind the listing: a checkpoint without them would swallow them.
            last_words = [line for line in lines if line.gone and line.set]
            lines = [*_checkpoint(before, known, listed, whole=whole), *last_words]
        commit = Commit(at=at, scan=scan_ms, listed=n_present, changes=len(lines), checkpoint=begins)
        body = b"".join(_ENCODER.encode(line) + b"\n" for line in [_Line(commit=commit), *lines])
        start = 0 if head is None or begins else head.length
        try:
            if begins and head is not None:
                self._end_month(head)
            length = self._ops.append(path, [_compressed(body)], at=start)
            self._write_head(_Head(file=path.name, length=length, commit=commit))
        except OSError as exc:
            raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc
        return commit

    def _states(self, known: Mapping[MarketId, Market], *, trusted: bool) -> dict[MarketId, _Held | None]:
        """What the history's end holds; None for a market whose state ``known`` has, too."""
        if trusted:
            return dict.fromkeys(known)
        return dict(_folded(self._paths, self._venue, until_ms=None, markets=None).held)

    def _head(self) -> _Head | None:
        """The end of the history, whatever a crash left."""
        files = self._paths.history_files(self._venue)
        if not files:
            return None
        newest = files[-1]
        head = _read_head(self._paths, self._venue)
        size = newest.stat().st_size
        if head is None or head.file != newest.name or head.length > size:
            head = _Head(file=newest.name, length=0, commit=None)
        if head.length < size:
            for body, end in _frames(newest, head.length):
                head = _Head(file=newest.name, length=end, commit=_commit_of(body, newest))
        if head.commit is None and len(files) > 1:
            # A month whose first frame was cut: the month before is the end, and this file begins anew.
            before = files[-2]
            for body, end in _frames(before, 0):
                head = _Head(file=before.name, length=end, commit=_commit_of(body, before))
        return head if head.commit is not None else None

    def _end_month(self, head: _Head) -> None:
        """Cut off what a crash left behind the last scan of the month before."""
        path = self._paths.history_head(self._venue).with_name(head.file)
        if path.stat().st_size > head.length:
            self._ops.append(path, [], at=head.length)

    def _write_head(self, head: _Head) -> None:
        self._ops.write_whole(self._paths.history_head(self._venue), _ENCODER.encode(head))


def _differences(
    before: Mapping[MarketId, _Held | None],
    known: Mapping[MarketId, Market],
    listed: Mapping[MarketId, Market],
    *,
    ended: Mapping[MarketId, Market],
    whole: bool,
) -> list[_Line]:
    lines: list[_Line] = []
    for market_id in sorted(listed):
        market = listed[market_id]
        if market_id not in before:
            lines.append(_Line(m=market_id, f=market.first_seen_ts, full=state_of(market)))
            continue
        changed, event_id = _changed(before[market_id], known, market_id, market)
        if changed:
            lines.append(_Line(m=market_id, e=event_id if "event_id" in changed else "", set=changed))
    if whole:
        for market_id in sorted(before.keys() - listed.keys()):
            end = ended.get(market_id)
            last, event_id = _changed(before[market_id], known, market_id, end)
            if end is not None:
                last |= {"status": end.status.value}
            lines.append(_Line(m=market_id, e=event_id, set=last or None, gone=True))
    return lines


def _changed(
    held: _Held | None, known: Mapping[MarketId, Market], market_id: MarketId, market: Market | None
) -> tuple[State, str]:
    """What is new of a market, and the event that it was in."""
    if held is None:
        before = known[market_id]
        return ({} if market is None else changed_fields(before, market)), before.event_id
    return ({} if market is None else _changed_states(held.state, state_of(market))), _event(held.state)


def _checkpoint(
    before: Mapping[MarketId, _Held | None],
    known: Mapping[MarketId, Market],
    listed: Mapping[MarketId, Market],
    *,
    whole: bool,
) -> list[_Line]:
    """The whole listing; what is not in it and may not be believed gone is as it was."""
    lines: list[_Line] = []
    for market_id in sorted(listed if whole else listed.keys() | before.keys()):
        held = before.get(market_id)
        if held is not None:
            first_ms = held.first_ms
        else:
            first_ms = (known if market_id in known else listed)[market_id].first_seen_ts
        if market_id in listed:
            state = state_of(listed[market_id])
        else:
            state = state_of(known[market_id]) if held is None else held.state
        lines.append(_Line(m=market_id, f=first_ms, full=state))
    return lines


def _changed_states(before: State, after: State) -> State:
    return {name: new for name in HISTORIC_FIELDS if value_in(before, name) != (new := value_in(after, name))}


def _event(state: State) -> str:
    return str(value_in(state, "event_id") or "")


# -- reading ---------------------------------------------------------------------------------------------------------


class _Folded(NamedTuple):
    held: dict[MarketId, _Held]
    commit: Commit | None


def catalogue_as_of(paths: LakePaths, venue: str, ts_ms: int, markets: Collection[MarketId] | None = None) -> Catalogue:
    """The listing as it was known at a time; nothing that was learnt later is in it.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    ts_ms : int
        Epoch milliseconds.
    markets : collection of MarketId, optional
        Only these (those that were listed); all when None.

    Raises
    ------
    NothingStored
        If there was no scan by then.
    FileDamaged
        If the history does not read.
    """
    wanted = None if markets is None else frozenset(markets)
    folded = _folded(paths, venue, until_ms=ts_ms, markets=wanted)
    commit = folded.commit
    if commit is None:
        raise NothingStored(
            f"nothing was known of {venue} at {_utc(ts_ms)} under {paths.root}",
            hint="the history begins with the first scan; `overround catalog history` lists what it has",
        )
    try:
        listed = {
            market_id: market_of(held.state, first_seen_ts=held.first_ms, last_seen_ts=commit.scan)
            for market_id, held in sorted(folded.held.items())
        }
    except UNREADABLE as exc:
        raise FileDamaged(f"the history of {venue} has a market that is none: {exc}", hint=_HINT) from exc
    return Catalogue(as_of_ms=ts_ms, known_ms=commit.at, scan_ms=commit.scan, markets=listed)


def catalogue_commits(paths: LakePaths, venue: str) -> list[Commit]:
    """Every scan that the history has, oldest first."""
    return [commit for commit, _ in _commits(paths, venue)]


def catalogue_changes(
    paths: LakePaths,
    venue: str,
    *,
    key: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> list[CatalogueChange]:
    """What changed, oldest first; of one market or event, or of all.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    key : str, optional
        A market, with the legs of its event; or an event, with all of its markets.
    since_ms, until_ms : int, optional
        Only what became known in this span.

    Raises
    ------
    FileDamaged
        If the history does not read.
    """
    events, ids = _related(paths, venue, key) if key is not None else (frozenset(), frozenset())
    found = _Changes(key, events)
    for commit, lines in _commits(paths, venue):
        if until_ms is not None and commit.at > until_ms:
            break
        found.take(commit, (line for line in lines if key is None or _market_of(line) in ids))
    return [change for change in found.changes if since_ms is None or change.at_ms >= since_ms]


def catalogue_spans(
    paths: LakePaths,
    venue: str,
    *,
    fields: Collection[str] = HISTORIC_FIELDS,
    markets: Collection[MarketId] | None = None,
) -> pl.LazyFrame:
    """Validity spans, to be joined with rows by time: what a reader knew, and from when to when.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    fields : collection of str
        Historic fields wanted as columns; a change of another field opens no span. Texts, numbers and booleans are
        columns of their type, everything else is JSON text.
    markets : collection of MarketId, optional

    Returns
    -------
    polars.LazyFrame
        ``market_id, from_ms, to_ms`` (null while it holds) and the fields, sorted by market and ``from_ms``. Join with
        ``rows.join_asof(spans, left_on="ts_recv", right_on="from_ms", by="market_id")`` and drop rows at or after
        ``to_ms``.

    Raises
    ------
    UsageError
        If a field has no history.
    """
    import polars as pl

    names = [name for name in HISTORIC_FIELDS if name in fields and name != "market_id"]
    unknown = sorted(set(fields) - set(HISTORIC_FIELDS))
    if unknown:
        raise UsageError(f"{unknown[0]!r} has no history", hint=f"choose from {', '.join(HISTORIC_FIELDS)}")
    wanted = None if markets is None else frozenset(markets)
    rows: list[dict[str, Any]] = []
    opened: dict[MarketId, dict[str, Any]] = {}
    states: dict[MarketId, _Held] = {}
    for commit, lines in _commits(paths, venue):
        for market_id, held, _ in _applied(states, commit, lines, wanted):
            row = opened.get(market_id)
            values = None if held is None else {name: value_in(held.state, name) for name in names}
            if row is not None and (values is None or any(row[name] != values[name] for name in names)):
                row["to_ms"] = commit.at
                del opened[market_id]
                row = None
            if row is None and values is not None:
                opened[market_id] = {"market_id": market_id, "from_ms": commit.at, "to_ms": None, **values}
                rows.append(opened[market_id])
    columns = {name: _column_type(name) for name in names}
    schema = {"market_id": pl.String, "from_ms": pl.Int64, "to_ms": pl.Int64, **columns}
    for row in rows:
        for name, dtype in columns.items():
            if dtype == pl.String and row[name] is not None and not isinstance(row[name], str):
                row[name] = _ENCODER.encode(row[name]).decode()
    # A span that a later change of the same instant closed held for no reader.
    lasting = [row for row in rows if row["from_ms"] != row["to_ms"]]
    return pl.LazyFrame(lasting, schema=schema, orient="row").sort("market_id", "from_ms")


def _column_type(name: str) -> Any:
    import polars as pl

    hint = str(next(field.type for field in msgspec.structs.fields(Market) if field.name == name))
    if "bool" in hint:
        return pl.Boolean
    if "float" in hint and "tuple" not in hint:
        return pl.Float64
    return pl.Int64 if "int" in hint and "tuple" not in hint and "Struct" not in hint else pl.String


class _Changes:
    """Turns lines into changes, with what was before."""

    def __init__(self, key: str | None, events: frozenset[str]) -> None:
        self.changes: list[CatalogueChange] = []
        self._key, self._events = key, events
        self._states: dict[MarketId, _Held] = {}
        self._gone: dict[MarketId, State] = {}
        self._legs: dict[str, set[MarketId]] = {}
        self._before_ms: int | None = None

    def take(self, commit: Commit, lines: Iterator[bytes]) -> None:
        """One scan's lines."""
        old = dict(self._states)
        legs_before = {event_id for event_id, legs in self._legs.items() if legs}
        for market_id, held, last in list(_applied(self._states, commit, lines, None)):
            self._one(commit, market_id, old.get(market_id), held, last, legs_before)
        self._before_ms = commit.at

    def _one(
        self,
        commit: Commit,
        market_id: MarketId,
        was: _Held | None,
        now: _Held | None,
        last: State,
        legs_before: set[str],
    ) -> None:
        before = was.state if was is not None else self._gone.get(market_id)
        old_event = _event(before) if before is not None else ""
        new_event = _event(now.state) if now is not None else ""
        wanted = self._key is None or market_id == self._key or self._key in {old_event, new_event}
        if wanted:
            if now is None:
                assert was is not None
                self._leave(commit, market_id, was.state, last)
            elif before is None:
                self._add(commit, CatalogueEvent.LISTED, market_id, new_event)
            else:
                if was is None:
                    self._add(commit, CatalogueEvent.RELISTED, market_id, new_event)
                self._between(commit, market_id, before, now.state)
        if now is None and was is not None:
            self._gone[market_id] = was.state | last
        old_leg = old_event if market_id in self._legs.get(old_event, ()) else ""
        # One that ended stays a leg of its event.
        new_leg = old_leg if now is None and "status" in last else new_event
        if old_leg != new_leg:
            if old_leg:
                self._legs[old_leg].discard(market_id)
                self._add_leg(commit, CatalogueEvent.LEG_REMOVED, market_id, old_leg)
            if new_leg:
                self._legs.setdefault(new_leg, set()).add(market_id)
                if new_leg in legs_before:
                    self._add_leg(commit, CatalogueEvent.LEG_ADDED, market_id, new_leg)

    def _leave(self, commit: Commit, market_id: MarketId, before: State, last: State) -> None:
        """A market left: with its status by id, where that was told, and what else was told with it."""
        self._add(
            commit,
            CatalogueEvent.LEFT,
            market_id,
            _event(before),
            field="status",
            before=value_in(before, "status"),
            after=last.get("status"),
        )
        others = {name: value for name, value in last.items() if name != "status"}
        self._between(commit, market_id, before, before | others)

    def _between(self, commit: Commit, market_id: MarketId, before: State, after: State) -> None:
        self.changes += changes_between(before, after, at_ms=commit.at, before_ms=self._before_ms, market_id=market_id)

    def _add_leg(self, commit: Commit, what: CatalogueEvent, market_id: MarketId, event_id: str) -> None:
        if self._key is None or event_id in self._events:
            before, after = (None, market_id) if what is CatalogueEvent.LEG_ADDED else (market_id, None)
            self._add(commit, what, market_id, event_id, field="legs", before=before, after=after)

    def _add(
        self,
        commit: Commit,
        what: CatalogueEvent,
        market_id: MarketId,
        event_id: str,
        *,
        field: str = "",
        before: object = None,
        after: object = None,
    ) -> None:
        self.changes.append(
            CatalogueChange(
                at_ms=commit.at,
                before_ms=self._before_ms,
                what=what,
                market_id=market_id,
                event_id=event_id,
                field=field,
                before=before,
                after=after,
            )
        )


def _folded(paths: LakePaths, venue: str, *, until_ms: int | None, markets: frozenset[MarketId] | None) -> _Folded:
    """The state after the last scan not later than a time."""
    files = paths.history_files(venue)
    if until_ms is not None:
        month = _month(until_ms)
        files = [path for path in files if path.name <= paths.history_file(venue, month).name]
    # Newest first: the checkpoint that begins a month makes the months before it needless.
    for path in reversed(files):
        held: dict[MarketId, _Held] = {}
        last: Commit | None = None
        for commit, lines in _commits(paths, venue, [path]):
            if until_ms is not None and commit.at > until_ms:
                break
            for _ in _applied(held, commit, lines, markets):
                pass
            last = commit
        if last is not None:
            return _Folded(held, last)
    return _Folded({}, None)


def _applied(
    states: dict[MarketId, _Held],
    commit: Commit,
    lines: Iterator[bytes],
    wanted: frozenset[MarketId] | None,
) -> Iterator[tuple[MarketId, _Held | None, State]]:
    """Apply one scan's lines to the states; gives each market that they touch.

    None when it is gone, then with what was last told of it.
    """
    left = set(states) if commit.checkpoint else set()
    for raw in lines:
        if wanted is not None and _market_of(raw) not in wanted:
            continue
        line = _line_of(raw)
        market_id = MarketId(line.m)
        left.discard(market_id)
        if line.gone:
            if states.pop(market_id, None) is not None:
                yield market_id, None, line.set or {}
            continue
        held = states.get(market_id)
        if line.full is not None:
            states[market_id] = _Held(line.full, line.f)
        elif held is not None:
            states[market_id] = _Held(held.state | (line.set or {}), held.first_ms)
        else:
            continue
        yield market_id, states[market_id], {}
    for market_id in sorted(left):
        del states[market_id]
        yield market_id, None, {}


def _related(paths: LakePaths, venue: str, key: str) -> tuple[frozenset[str], frozenset[str]]:
    """Events and markets that a key concerns: a market and the events it was in, or an event and its markets."""
    members: dict[str, set[str]] = {}
    for _, lines in _commits(paths, venue):
        for raw in lines:
            if _EVENT_ID in raw:
                line = _line_of(raw)
                members.setdefault(str((line.full or line.set or {}).get("event_id") or ""), set()).add(line.m)
    members.pop("", None)
    events = {key} if key in members else {event_id for event_id, ids in members.items() if key in ids}
    # Lines of all legs: one that joins the event later began elsewhere.
    return frozenset(events), frozenset({key}.union(*(members[event_id] for event_id in events)))


def _line_of(raw: bytes) -> _Line:
    try:
        return _LINE.decode(raw)
    except UNREADABLE as exc:
        raise FileDamaged(f"the history has a line that is no market's: {exc}", hint=_HINT) from exc


def _market_of(raw: bytes) -> str:
    """The market of a line, without decoding the rest of it."""
    return raw[len(_START) : raw.find(b'"', len(_START))].decode(errors="replace") if raw.startswith(_START) else ""


def _commits(
    paths: LakePaths, venue: str, files: Sequence[Path] | None = None
) -> Iterator[tuple[Commit, Iterator[bytes]]]:
    every = paths.history_files(venue)
    good = _read_head(paths, venue)
    for path in every if files is None else files:
        # Behind what the head calls good a scan may have been cut off; before it nothing may be wrong.
        sure = good.length if good is not None and good.file == path.name else 0
        if path != every[-1]:
            sure = path.stat().st_size
        for body, _ in _frames(path, 0, sure=sure):
            yield _commit_of(body, path), iter(body.splitlines()[1:])


def _read_head(paths: LakePaths, venue: str) -> _Head | None:
    try:
        return _HEAD.decode(paths.history_head(venue).read_bytes())
    except (OSError, *UNREADABLE):
        return None


def _commit_of(body: bytes, path: Path) -> Commit:
    try:
        commit = _LINE.decode(body[: body.index(b"\n")]).commit
    except UNREADABLE as exc:
        raise FileDamaged(f"{path} has an entry that is no scan's: {exc}") from exc
    if commit is None:
        raise FileDamaged(f"{path} has an entry that is no scan's")
    return commit


def _frames(path: Path, start: int, *, sure: int = 0) -> Iterator[tuple[bytes, int]]:
    """Whole frames from an offset on, each with the offset behind it; a cut last frame is left out.

    Raises
    ------
    FileDamaged
        If what is not whole begins before ``sure``.
    """
    with path.open("rb") as file:
        file.seek(start)
        at, rest = start, b""
        while True:
            decompressor = zstd.ZstdDecompressor()
            parts: list[bytes] = []
            taken = 0
            try:
                while not decompressor.eof:
                    piece = rest or file.read(_PIECE)
                    rest = b""
                    if not piece:
                        if at < sure:
                            raise FileDamaged(f"{path} is cut off at byte {at:,}", hint=_HINT)
                        return
                    parts.append(decompressor.decompress(piece))
                    taken += len(piece)
            except zstd.ZstdError as exc:
                if at < sure:
                    raise FileDamaged(f"{path} does not read from byte {at:,} on: {exc}", hint=_HINT) from exc
                # What follows the last whole frame was torn by a crash and is written over by the next scan.
                return
            rest = decompressor.unused_data
            at += taken - len(rest)
            yield b"".join(parts), at


def _compressed(body: bytes) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    return zstd.compress(body, options=options)


def _month(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%Y-%m")


def _utc(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).isoformat(timespec="seconds")

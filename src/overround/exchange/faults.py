"""Faults: what venues are known to do wrong, on demand, seeded and written down.

A script is a list of faults, each with its moment and its target; the desk fires them, sits between the hubs and the
wires while they last, and keeps for each exactly what it did: when, on which connection, to which markets' frames.
A check compares that log with what the collector recorded as gaps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from overround.errors import ConfigError
from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Listed
from overround.exchange.polymarket_hub import PolymarketHub
from overround.market import Venue

__all__ = ["FRAME_KINDS", "HTTP_KINDS", "KINDS", "Fault", "FaultDesk", "FaultScript", "HttpFault"]

FRAME_KINDS = {
    "silence": "no frame but heartbeats for duration_ms; what was meant to be sent is lost",
    "stall": "frames are held for duration_ms and then sent at once, in order: a burst",
    "mute_token": "one market is not sent for duration_ms; a fresh subscription revives it with params.revive (0.55)",
    "missing_first_book": "the next params.count first books are not sent",
    "drop": "params.count frames are lost",
    "duplicate": "params.count frames are sent twice",
    "reorder": "params.count frames change places with their successor",
    "late": "params.count frames leave params.delay_ms (1,500) later than they should",
    "cut_frame": "a frame is cut: params.mode payload (half the text) or wire (half the bytes, then the end)",
    "renamed_field": "in params.count frames params.from is spelt params.to",
    "extra_field": "params.count frames carry an unknown field",
    "old_format": "Polymarket: price_change in the form before September 2025 for duration_ms",
}
CONNECTION_KINDS = {
    "close": "the connection ends: params.mode abort, hang_up or a close code",
    "sequence_gap": "Kalshi: params.count numbers are left out; Polymarket: a change is lost",
    "underflow": "Kalshi: a delta takes more than a level holds",
    "unknown_event": "params.count frames of an unknown kind",
    "terminal_error": "Kalshi: the book subscription ends with params.code (10)",
}
DOOR_KINDS = {
    "refuse": "upgrades are refused for duration_ms: params.status, or dropped without an answer",
    "close_on_open": "for duration_ms connections are let in and dropped at once",
    "maintenance": "all connections end, upgrades get 503 and the exchange says it is closed for duration_ms",
}
MARKET_KINDS = {
    "tick_change": "a market's tick becomes params.tick_e4 (or finer, or coarser again)",
    "resolution": "a market resolves to params.result (0 or 1)",
}
HTTP_KINDS = {
    "http_status": "params.count answers, or all for duration_ms, are params.status; params.retry_after seconds or 'date'",
    "http_html": "answers are an HTML page with params.status (502)",
    "http_slow": "answers wait params.delay_ms (2,000)",
    "http_cut": "answers end halfway",
    "stuck_cursor": "pages name the cursor they were asked with",
    "shifted_pages": "pages begin params.rows (3) rows too early: rows repeat",
}
KINDS = {**FRAME_KINDS, **CONNECTION_KINDS, **DOOR_KINDS, **MARKET_KINDS, **HTTP_KINDS}
_ONE_VENUE = {
    "underflow": Venue.KALSHI,
    "terminal_error": Venue.KALSHI,
    "old_format": Venue.POLYMARKET,
}
_CHANGES = frozenset({"price_change", "orderbook_delta"})
_RENAMED = {
    Venue.POLYMARKET: ("price_changes", "price_updates"),
    Venue.KALSHI: ("delta_fp", "delta_contracts"),
}
_COUNTED = frozenset(
    {"drop", "duplicate", "reorder", "late", "cut_frame", "renamed_field", "extra_field", "missing_first_book"}
)
_LONGEST_HOLD_MS = 2_000
_MOST_MARKETS_LOGGED = 5_000


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a script.

    Attributes
    ----------
    kind : str
        A key of ``KINDS``.
    venue : Venue
    at_ms : int or None
        Milliseconds after the exchange's start; at once when neither this nor ``after_frames`` is given.
    after_frames : int or None
        Fires when the venue has sent so many data frames.
    connection : int or str
        Running number of the connection (the first is 1), ``any`` (drawn among those with subscriptions) or ``all``.
        A fault waits for its connection.
    market : str
        Market key, ``any`` (drawn among the connection's markets) or ``all``.
    duration_ms : int
        How long it lasts; 0 until its count is used up, or for ever.
    params : dict
        See ``KINDS``; ``every`` applies counted kinds to each n-th frame only.
    """

    kind: str
    venue: Venue
    at_ms: int | None = None
    after_frames: int | None = None
    connection: int | Literal["any", "all"] = "any"
    market: str = "any"
    duration_ms: int = 0
    params: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; known: {', '.join(KINDS)}")
        only = _ONE_VENUE.get(self.kind)
        if only is not None and only is not self.venue:
            raise ValueError(f"{self.kind} is a fault of {only} only")


class FaultScript(msgspec.Struct, frozen=True):
    """Faults in the order in which they are written."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def from_json(cls, text: bytes | str) -> FaultScript:
        """Read a JSON list of faults.

        Raises
        ------
        ConfigError
            If it is no such list.
        """
        try:
            return cls(msgspec.json.decode(text, type=tuple[Fault, ...]))
        except msgspec.DecodeError as exc:
            raise ConfigError(f"fault script: {exc}", hint="a JSON list of {kind, venue, at_ms, ...}") from exc

    @classmethod
    def from_file(cls, path: Path) -> FaultScript:
        """Read a script from a file.

        Raises
        ------
        ConfigError
            If there is no such file or it is no script.
        """
        try:
            return cls.from_json(path.read_bytes())
        except OSError as exc:
            raise ConfigError(f"fault script {path}: {exc.strerror}", hint="name a JSON file") from exc

    def to_json(self) -> bytes:
        """The script as JSON, readable by ``from_json``."""
        return msgspec.json.encode(self.faults)

    @classmethod
    def drawn(
        cls,
        seed: int,
        *,
        venues: Sequence[Venue],
        count: int,
        span_ms: int,
        kinds: Sequence[str] | None = None,
        longest_ms: int = 5_000,
    ) -> FaultScript:
        """A random script, the same for the same seed.

        Parameters
        ----------
        seed : int
        venues : sequence of Venue
        count : int
            Number of faults.
        span_ms : int
            They begin within so many milliseconds of the start.
        kinds : sequence of str, optional
            Kinds to draw from; all when None.
        longest_ms : int
            Longest duration.
        """
        rng = random.Random(f"faults:{seed}")
        chosen = []
        for _ in range(count):
            venue = rng.choice(list(venues))
            possible = [k for k in kinds or list(KINDS) if _ONE_VENUE.get(k, venue) is venue]
            chosen.append(
                Fault(
                    kind=rng.choice(possible),
                    venue=venue,
                    at_ms=rng.randrange(span_ms),
                    duration_ms=rng.randint(200, longest_ms),
                )
            )
        return cls(tuple(sorted(chosen, key=lambda fault: fault.at_ms or 0)))


class HttpFault(msgspec.Struct, frozen=True, kw_only=True):
    """What the REST side is to do with one request.

    Attributes
    ----------
    kind : str
    status : int
    retry_after : str or None
        Value of the header.
    delay_ms : int
    """

    kind: str
    status: int = 0
    retry_after: str | None = None
    delay_ms: int = 0


class _Injection:
    """A fault in force, and the record of what it did; attached to links, it is their ``FrameFault``."""

    def __init__(self, desk: FaultDesk, fault: Fault, number: int) -> None:
        self.fault = fault
        self.kind = fault.kind
        self._desk = desk
        self.links: list[Link] = []
        self.market: str | None = None
        self.until_ms: int | None = None
        self.left: int | None = None
        self._every = max(1, int(fault.params.get("every", 1)))
        self._seen = 0
        self._held: list[tuple[int, Link, bytes, str]] = []
        wanted = fault.params.get("frames")
        self._frames = frozenset(wanted) if wanted else (_CHANGES if fault.kind in _COUNTED else None)
        self.record: dict[str, Any] = {
            "id": number,
            "kind": fault.kind,
            "venue": fault.venue.value,
            "state": "waiting",
            "at_ms": fault.at_ms,
            "ts_ms": None,
            "until_ms": None,
            "connection": None,
            "connections": [],
            "market": None,
            "frames": 0,
            "first_ms": None,
            "last_ms": None,
            "markets": {},
            "params": fault.params,
        }

    # ---- as FrameFault

    def take_frame(self, link: Link, payload: bytes, key: str, kind: str) -> bool:
        """Deal with a frame of a link it is attached to."""
        if self.kind == "silence":
            self.note(key)
            return True
        if self.kind == "stall":
            self.note(key)
            self._held.append((self.until_ms or 0, link, payload, key))
            return True
        if self.kind == "reorder" and self._held and self._succeeds(link, key, kind):
            link.put(payload)
            self.release()
            return True
        if not self._wants(key, kind):
            return False
        return self._spoil(link, payload, key)

    def _succeeds(self, link: Link, key: str, kind: str) -> bool:
        # Kalshi's numbers make any successor on the subscription visible; Polymarket orders one market only.
        _, held_on, _, held_key = self._held[0]
        return held_on is link and kind in _CHANGES and (self.fault.venue is Venue.KALSHI or key == held_key)

    def _wants(self, key: str, kind: str) -> bool:
        if self.kind in {"mute_token", "missing_first_book"} or self.left == 0 or self._held:
            if self.kind != "late" or self.left == 0:
                return False
        if self.market is not None and key != self.market:
            return False
        if self._frames is not None and kind not in self._frames:
            return False
        self._seen += 1
        return self._seen % self._every == 0

    def _spoil(self, link: Link, payload: bytes, key: str) -> bool:
        params = self.fault.params
        if self.kind == "old_format":
            self.note(key)
            link.put(_old_form(payload))
            return True
        if self.left is not None:
            self.left -= 1
        self.note(key)
        if self.kind == "duplicate":
            link.put(payload)
            link.put(payload)
        elif self.kind == "reorder":
            self._held.append((self._desk.now_ms() + _LONGEST_HOLD_MS, link, payload, key))
        elif self.kind == "late":
            due = self._desk.now_ms() + int(params.get("delay_ms", 1_500))
            self._held.append((due, link, payload, key))
        elif self.kind == "cut_frame":
            if params.get("mode", "payload") == "wire":
                link.put_bytes(b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload[: len(payload) // 2])
                link.hang_up()
            else:
                link.put(payload[: len(payload) // 2])
        elif self.kind == "renamed_field":
            old, new = _RENAMED[self.fault.venue]
            old, new = str(params.get("from", old)), str(params.get("to", new))
            link.put(payload.replace(f'"{old}"'.encode(), f'"{new}"'.encode()))
        elif self.kind == "extra_field":
            body = payload.rstrip()
            link.put(body[:-1] + b',"unheard_of":{"a":[1,"2"]}}' + payload[len(body) :])
        # "drop" sends nothing
        if self.left == 0 and not self._held:
            self._desk.finish(self)
        return True

    def hides_first_book(self, key: str) -> bool:
        """Whether a first book is swallowed; a mute market may come alive by the fresh subscription."""
        if self.market is not None and key != self.market:
            return False
        if self.kind == "missing_first_book" and self.left:
            self.left -= 1
            self.note(key)
            if not self.left:
                self._desk.finish(self)
            return True
        if self.kind == "mute_token":
            if self._desk.rng.random() < float(self.fault.params.get("revive", 0.55)):
                self._desk.finish(self)
                return False
            self.note(key)
            return True
        return False

    def mutes(self, key: str) -> bool:
        """Whether a market's data is left out."""
        if self.kind == "mute_token" and key == self.market:
            self.note(key)
            return True
        return False

    # ---- the rest

    def note(self, key: str) -> None:
        """Write down one frame that was touched."""
        now = self._desk.now_ms()
        record = self.record
        record["frames"] += 1
        if record["first_ms"] is None:
            record["first_ms"] = now
        record["last_ms"] = now
        markets = record["markets"]
        if key:
            seen = markets.get(key)
            if seen is not None:
                seen["frames"] += 1
                seen["last_ms"] = now
            elif len(markets) < _MOST_MARKETS_LOGGED:
                markets[key] = {"frames": 1, "first_ms": now, "last_ms": now}

    def due_ms(self) -> int | None:
        """When a held frame is to leave."""
        return min((due for due, _, _, _ in self._held), default=None)

    def release(self, now_ms: int | None = None) -> None:
        """Send held frames that are due, or all."""
        held, self._held = self._held, []
        for due, link, payload, key in held:
            if now_ms is not None and due > now_ms:
                self._held.append((due, link, payload, key))
            elif not link.closed:
                link.put(payload)
        if self.left == 0 and not self._held:
            self._desk.finish(self)


class _Hub(Protocol):
    """What the desk needs of a hub."""

    def links(self) -> list[Link]: ...

    def markets_of(self, link: Link) -> list[str]: ...


class FaultDesk:
    """Fires faults and keeps the log.

    Parameters
    ----------
    script : FaultScript
    hubs : dict of Venue to hub
    rng : random.Random
        Draws targets.
    now_ms : callable
    inject : callable
        Lets a change happen that the source did not say.
    """

    def __init__(
        self,
        script: FaultScript,
        hubs: Mapping[Venue, PolymarketHub | KalshiHub],
        rng: random.Random,
        now_ms: Callable[[], int],
        inject: Callable[[Change], None],
    ) -> None:
        self.rng = rng
        self.now_ms = now_ms
        self._hubs = hubs
        self._inject = inject
        self._start_ms = 0
        self._pending: list[_Injection] = []
        self._active: list[_Injection] = []
        self._all: list[_Injection] = []
        self._closed_frames = dict.fromkeys(Venue, 0)
        for fault in script.faults:
            self._queue(fault)

    def start(self, now_ms: int) -> None:
        """The exchange starts: ``at_ms`` counts from here."""
        self._start_ms = now_ms

    def add(self, fault: Fault) -> int:
        """Queue one more fault; its moment counts from now. The number under which the log has it is returned."""
        if fault.at_ms is not None:
            fault = msgspec.structs.replace(fault, at_ms=fault.at_ms + self.now_ms() - self._start_ms)
        return int(self._queue(fault).record["id"])

    def _queue(self, fault: Fault) -> _Injection:
        injection = _Injection(self, fault, len(self._all) + 1)
        self._all.append(injection)
        self._pending.append(injection)
        return injection

    def report(self, venue: Venue) -> list[dict[str, Any]]:
        """What was injected into a venue, in the order of the script."""
        return [injection.record for injection in self._all if injection.fault.venue is venue]

    def end(self, number: int) -> bool:
        """End a fault by its number; False if it is not in force."""
        for injection in [*self._active, *self._pending]:
            if injection.record["id"] == number:
                if injection in self._pending:
                    self._pending.remove(injection)
                self.finish(injection)
                return True
        return False

    # ---------------------------------------------------------------- time

    def next_ms(self) -> int | None:
        """When ``poll`` has something to do next."""
        now = self.now_ms()
        due: list[int] = []
        for injection in self._pending:
            if injection.fault.at_ms is not None:
                due.append(max(self._start_ms + injection.fault.at_ms, now + 5))
            else:
                due.append(now + 5)
        for injection in self._active:
            held = injection.due_ms()
            due += [moment for moment in (injection.until_ms, held) if moment is not None]
        return min(due, default=None)

    def poll(self, now_ms: int) -> None:
        """Fire what is due and end what is over."""
        for injection in list(self._pending):
            if self._due(injection.fault, now_ms) and self._fire(injection, now_ms):
                self._pending.remove(injection)
        for injection in list(self._active):
            held = injection.due_ms()
            if injection.until_ms is not None and now_ms >= injection.until_ms:
                self.finish(injection)
            elif held is not None and held <= now_ms:
                injection.release(now_ms)

    def _due(self, fault: Fault, now_ms: int) -> bool:
        if fault.after_frames is not None:
            hub = self._hubs.get(fault.venue)
            sent = self._closed_frames[fault.venue] + sum(link.frames for link in (hub.links() if hub else []))
            return sent >= fault.after_frames
        return fault.at_ms is None or now_ms >= self._start_ms + fault.at_ms

    def finish(self, injection: _Injection) -> None:
        """A fault is over: let go of its links and its held frames."""
        if injection in self._active:
            self._active.remove(injection)
        injection.release()
        for link in injection.links:
            if injection in link.faults:
                link.faults.remove(injection)
        if injection.record["state"] != "done":
            injection.record["state"] = "done"
            injection.record["ended_ms"] = self.now_ms()

    # ---------------------------------------------------------------- firing

    def _fire(self, injection: _Injection, now_ms: int) -> bool:
        """Put a fault in force; False to try again because its target is not there yet."""
        fault = injection.fault
        if fault.venue not in self._hubs:
            injection.record["state"] = "done"
            return True
        if fault.kind in FRAME_KINDS or fault.kind in CONNECTION_KINDS:
            if not self._aim(injection):
                return False
        elif fault.kind in MARKET_KINDS and not self._aim_market(injection):
            return False
        injection.record |= {"state": "active", "ts_ms": now_ms}
        if fault.duration_ms:
            injection.until_ms = injection.record["until_ms"] = now_ms + fault.duration_ms
        if fault.kind in _COUNTED:
            injection.left = int(fault.params.get("count", 0 if fault.duration_ms else 1)) or None
            if injection.left is None and fault.kind == "missing_first_book":
                injection.left = 1_000_000
        elif fault.kind in HTTP_KINDS and "count" in fault.params:
            injection.left = int(fault.params["count"])
        self._active.append(injection)
        if fault.kind in FRAME_KINDS:
            for link in injection.links:
                link.faults.append(injection)
        elif fault.kind in CONNECTION_KINDS:
            self._strike(injection, now_ms)
        elif fault.kind in MARKET_KINDS:
            self._change_market(injection, now_ms)
        elif fault.kind == "maintenance":
            for link in self._hubs[fault.venue].links():
                injection.record["connections"].append(link.name)
                link.close(1001, "maintenance")
        return True

    def _aim(self, injection: _Injection) -> bool:
        fault = injection.fault
        hub: _Hub = self._hubs[fault.venue]
        links = hub.links()
        if fault.kind == "missing_first_book" and fault.connection == "any":
            chosen = links  # first books come right after an opening: whoever subscribes next is hit
        elif fault.connection == "all":
            chosen = links
        elif fault.connection == "any":
            busy = [link for link in links if hub.markets_of(link)]
            if fault.market not in {"any", "all"}:
                busy = [link for link in busy if fault.market in hub.markets_of(link)]
            if not busy:
                return False
            chosen = [self.rng.choice(busy)]
        else:
            chosen = [link for link in links if link.number == fault.connection]
            if not chosen:
                return False
        if fault.market not in {"any", "all"}:
            injection.market = fault.market
        elif fault.market == "any" and fault.kind in {"mute_token", "underflow", "missing_first_book"}:
            if fault.kind != "missing_first_book":
                markets = [key for link in chosen for key in hub.markets_of(link)]
                if not markets:
                    return False
                injection.market = self.rng.choice(markets)
        injection.links = chosen
        names = [link.name for link in chosen]
        injection.record |= {
            "connection": names[0] if len(names) == 1 else None,
            "connections": names,
            "market": injection.market,
        }
        return True

    def _aim_market(self, injection: _Injection) -> bool:
        fault = injection.fault
        hub = self._hubs[fault.venue]
        if fault.market not in {"any", "all"}:
            injection.market = fault.market
        else:
            watched = sorted({key for link in hub.links() for key in hub.markets_of(link)})
            if not watched:
                return False
            injection.market = self.rng.choice(watched)
        injection.record["market"] = injection.market
        return hub.listing(injection.market) is not None

    def _strike(self, injection: _Injection, now_ms: int) -> None:
        fault, params = injection.fault, injection.fault.params
        hub = self._hubs[fault.venue]
        count = int(params.get("count", 1))
        over = True
        for link in injection.links:
            if fault.kind == "close":
                mode = params.get("mode", "abort")
                injection.record["markets"] |= {
                    key: {"frames": 0, "first_ms": now_ms, "last_ms": now_ms} for key in hub.markets_of(link)
                }
                if isinstance(mode, int):
                    link.close(mode, "closed by script")
                elif mode == "hang_up":
                    link.hang_up()
                else:
                    link.abort()
            elif fault.kind == "sequence_gap" and isinstance(hub, KalshiHub):
                injection.record["first_missing_seq"] = hub.skip_seq(link, count)
            elif fault.kind == "sequence_gap":
                injection.kind, injection.left = "drop", count
                injection._frames = _CHANGES
                link.faults.append(injection)
                over = False
            elif fault.kind == "underflow" and isinstance(hub, KalshiHub) and injection.market is not None:
                forged = hub.underflow(link, injection.market, int(params.get("beyond_e6", 1_000_000)))
                injection.record["forged"] = forged
                injection.note(injection.market)
            elif fault.kind == "terminal_error" and isinstance(hub, KalshiHub):
                hub.break_channel(link, int(params.get("code", 10)))
            elif fault.kind == "unknown_event":
                for _ in range(count):
                    link.put(_unknown_event(fault.venue, str(params.get("name", "unheard_of")), now_ms))
                    injection.note("")
        if over:
            self.finish(injection)

    def _change_market(self, injection: _Injection, now_ms: int) -> None:
        fault = injection.fault
        listing = self._hubs[fault.venue].listing(injection.market or "")
        assert listing is not None  # _aim_market looked
        if fault.kind == "tick_change":
            tick = int(fault.params.get("tick_e4", 10 if listing.tick_e4 >= 100 else 100))
            injection.record["tick_e4"] = [listing.tick_e4, tick]
            _set_tick(listing, tick)
            change = Change(kind=ChangeKind.TICK, key=listing.key, ts_ms=now_ms, tick_e4=tick)
        else:
            listing.result = int(fault.params.get("result", self.rng.randrange(2)))
            listing.status = "resolved"
            injection.record["result"] = listing.result
            change = Change(kind=ChangeKind.STATUS, key=listing.key, ts_ms=now_ms, status="resolved")
        injection.note(listing.key)
        self._inject(change)
        self.finish(injection)

    # ---------------------------------------------------------------- the doors

    def refusal(self, venue: Venue) -> int | None:
        """What an upgrade gets: a status, 0 for no answer at all, None to let it in."""
        for injection in self._active:
            if injection.fault.venue is venue and injection.kind in {"refuse", "maintenance"}:
                injection.note("")
                return 503 if injection.kind == "maintenance" else int(injection.fault.params.get("status", 0))
        return None

    def opened(self, venue: Venue, link: Link) -> None:
        """A connection was let in: faults on all connections take hold of it, or it is dropped."""
        for injection in list(self._active):
            if injection.fault.venue is not venue:
                continue
            if injection.kind == "close_on_open":
                injection.note("")
                injection.record["connections"].append(link.name)
                link.abort()
            elif injection.kind in FRAME_KINDS and (
                injection.fault.connection == "all" or injection.kind == "missing_first_book"
            ):
                injection.links.append(link)
                injection.record["connections"].append(link.name)
                link.faults.append(injection)

    def closed(self, venue: Venue, link: Link) -> None:
        """A connection is gone; faults that lasted as long as it did are over."""
        self._closed_frames[venue] += link.frames
        for injection in list(self._active):
            if link in injection.links:
                injection.links.remove(link)
                if not injection.links and injection.fault.connection != "all" and injection.kind in FRAME_KINDS:
                    if injection.kind != "missing_first_book":
                        self.finish(injection)

    def paused(self, venue: Venue) -> bool:
        """Whether the venue says that it is closed."""
        return any(i.fault.venue is venue and i.kind == "maintenance" for i in self._active)

    def shift(self, venue: Venue) -> int:
        """Rows by which pages begin too early."""
        for injection in self._active:
            if injection.fault.venue is venue and injection.kind == "shifted_pages":
                injection.note("")
                return int(injection.fault.params.get("rows", 3))
        return 0

    def http(self, venue: Venue, path: str) -> HttpFault | None:
        """What the REST side is to do with a request."""
        for injection in list(self._active):
            fault = injection.fault
            if fault.venue is not venue or injection.kind not in HTTP_KINDS or injection.kind == "shifted_pages":
                continue
            if str(fault.params.get("path", "")) not in path:
                continue
            injection.note("")
            if injection.left is not None:
                injection.left -= 1
                if injection.left <= 0:
                    self.finish(injection)
            return self._http_fault(injection)
        return None

    def _http_fault(self, injection: _Injection) -> HttpFault:
        params = injection.fault.params
        status = int(params.get("status", {"http_status": 503, "http_html": 502}.get(injection.kind, 200)))
        wait = params.get("retry_after")
        if params.get("as_date") and wait is not None:
            wait = formatdate(self.now_ms() / 1000 + float(wait), usegmt=True)
        return HttpFault(
            kind=injection.kind,
            status=status,
            retry_after=None if wait is None else str(wait),
            delay_ms=int(params.get("delay_ms", 2_000 if injection.kind == "http_slow" else 0)),
        )


def _set_tick(listing: Listed, tick_e4: int) -> None:
    listing.tick_e4 = tick_e4
    if listing.grid:
        listing.grid = {100: "linear_cent", 10: "deci_cent"}.get(tick_e4, listing.grid)


def _unknown_event(venue: Venue, name: str, now_ms: int) -> bytes:
    if venue is Venue.POLYMARKET:
        return f'{{"market":"0x00","note":"new","timestamp":"{now_ms}","event_type":"{name}"}}'.encode()
    return f'{{"type":"{name}","sid":1,"msg":{{"note":"new","ts_ms":{now_ms}}}}}\n'.encode()


def _old_form(payload: bytes) -> bytes:
    """A ``price_change`` in the form before September 2025: a list with one element of ``changes`` per token."""
    message = msgspec.json.decode(payload)
    entries = message.get("price_changes")
    if entries is None:
        return payload
    return msgspec.json.encode(
        [
            {
                "asset_id": entry["asset_id"],
                "changes": [{"price": entry["price"], "side": entry["side"], "size": entry["size"]}],
                "event_type": "price_change",
                "hash": entry["hash"],
                "market": message["market"],
                "timestamp": message["timestamp"],
            }
            for entry in entries
        ]
    )

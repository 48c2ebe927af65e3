"""Faults: what venues are known to do wrong, on demand, seeded and written down.

A script is a list of faults, each with its moment and its target; the desk fires them, sits between the hubs and the
wires while they last, and keeps for each exactly what it did: when, on which connection, to which markets' frames.
A check compares that log with what the collector recorded as gaps.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Protocol

import msgspec

from overround.exchange.fault_injection import CHANGES, COUNTED, Injection
from overround.exchange.fault_script import (
    CATALOGUE_KINDS,
    CONNECTION_KINDS,
    FRAME_KINDS,
    HTTP_KINDS,
    KINDS,
    MARKET_KINDS,
    Fault,
    FaultScript,
    HttpFault,
)
from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Listed
from overround.exchange.polymarket_hub import PolymarketHub
from overround.market import Venue

__all__ = ["KINDS", "Fault", "FaultDesk", "FaultScript", "HttpFault"]

_MOST_CONNECTIONS = 10_000


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
        self._pending: list[Injection] = []
        self._active: list[Injection] = []
        self._all: list[Injection] = []
        self._closed_frames = dict.fromkeys(Venue, 0)
        self._connections: dict[Link, dict[str, Any]] = {}
        self._past: deque[dict[str, Any]] = deque(maxlen=_MOST_CONNECTIONS)
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

    def _queue(self, fault: Fault) -> Injection:
        injection = Injection(self, fault, len(self._all) + 1)
        self._all.append(injection)
        self._pending.append(injection)
        return injection

    def report(self, venue: Venue) -> list[dict[str, Any]]:
        """What was injected into a venue, in the order of the script."""
        return [injection.record for injection in self._all if injection.fault.venue is venue]

    def connections(self, venue: Venue) -> list[dict[str, Any]]:
        """When each connection was opened and closed, and the frames it got."""
        present = [known | {"closed_ms": None, "frames": link.frames} for link, known in self._connections.items()]
        return [known for known in [*self._past, *present] if known["venue"] == venue]

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
            if held is not None and held <= now_ms:
                injection.release(now_ms)
            if injection.over(now_ms):
                self.finish(injection)

    def _due(self, fault: Fault, now_ms: int) -> bool:
        if fault.after_frames is not None:
            hub = self._hubs.get(fault.venue)
            sent = self._closed_frames[fault.venue] + sum(link.frames for link in (hub.links() if hub else []))
            return sent >= fault.after_frames
        return fault.at_ms is None or now_ms >= self._start_ms + fault.at_ms

    def finish(self, injection: Injection) -> None:
        """A fault is over: let go of its links and its held frames."""
        if injection.record["state"] == "done":
            return
        injection.record |= {"state": "done", "ended_ms": self.now_ms()}
        if injection in self._active:
            self._active.remove(injection)
        for link in injection.links:
            if injection in link.faults:
                link.faults.remove(injection)
        injection.release()

    # ---------------------------------------------------------------- firing

    def _fire(self, injection: Injection, now_ms: int) -> bool:
        """Put a fault in force; False to try again because its target is not there yet."""
        fault = injection.fault
        if fault.venue not in self._hubs:
            injection.record["state"] = "done"
            return True
        if fault.kind in FRAME_KINDS or fault.kind in CONNECTION_KINDS:
            if not self._aim(injection):
                return False
        elif (fault.kind in MARKET_KINDS or fault.kind in CATALOGUE_KINDS) and not self._aim_market(injection):
            return False
        injection.record |= {"state": "active", "ts_ms": now_ms}
        if fault.duration_ms:
            injection.until_ms = injection.record["until_ms"] = now_ms + fault.duration_ms
        if fault.kind in COUNTED:
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
        elif fault.kind in CATALOGUE_KINDS:
            self._edit(injection, now_ms)
        elif fault.kind == "maintenance":
            for link in self._hubs[fault.venue].links():
                injection.record["connections"].append(link.name)
                link.close(1001, "maintenance")
        return True

    def _aim(self, injection: Injection) -> bool:
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
        elif fault.market == "any" and fault.kind in {"mute_token", "underflow"}:
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

    def _aim_market(self, injection: Injection) -> bool:
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

    def _strike(self, injection: Injection, now_ms: int) -> None:
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
                injection.frames = CHANGES
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

    def _change_market(self, injection: Injection, now_ms: int) -> None:
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

    def _edit(self, injection: Injection, now_ms: int) -> None:
        """Change what the listing says of a market, as the venue's own staff would."""
        fault = injection.fault
        listing = self._hubs[fault.venue].listing(injection.market or "")
        assert listing is not None  # _aim_market looked
        if fault.kind == "edit":
            params = fault.params or {"rules": f"{listing.rules} (Clarified.)"}
            for name, value in params.items():
                if name == "close_in_ms":
                    listing.close_ms = now_ms + int(value)
                elif name == "tick_e4":
                    _set_tick(listing, int(value))
                elif name == "event_title":
                    listing.event.title = str(value)
                elif name in {"title", "rules", "label", "source", "status", "fee_rate"}:
                    setattr(listing, name, str(value))
        else:
            listing.unlisted = fault.kind == "delist"
        injection.note(listing.key)
        change = Change(kind=ChangeKind.EDITED, key=listing.key, ts_ms=now_ms)
        if "status" in fault.params:
            change = Change(kind=ChangeKind.STATUS, key=listing.key, ts_ms=now_ms, status=listing.status)
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
        self._connections[link] = {"name": link.name, "venue": venue.value, "opened_ms": self.now_ms()}
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
        known = self._connections.pop(link, None)
        if known is not None:
            self._past.append(known | {"closed_ms": self.now_ms(), "frames": link.frames})
        for injection in list(self._active):
            if link in injection.links:
                injection.links.remove(link)
                lives_on = injection.fault.connection == "all" or injection.kind == "missing_first_book"
                if not injection.links and not lives_on and injection.kind in FRAME_KINDS:
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

    def _http_fault(self, injection: Injection) -> HttpFault:
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

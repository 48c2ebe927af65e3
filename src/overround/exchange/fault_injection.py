"""A fault in force: what it does to frames, and the record of what it did."""

from __future__ import annotations

import random
from typing import Any, Protocol

import msgspec

from overround.exchange.fault_script import LOSING_KINDS, Fault
from overround.exchange.link import Link
from overround.market import Venue

__all__ = ["CHANGES", "COUNTED", "Desk", "Injection"]

CHANGES = frozenset({"price_change", "orderbook_delta"})
_RENAMED = {
    Venue.POLYMARKET: ("price_changes", "price_updates"),
    Venue.KALSHI: ("delta_fp", "delta_contracts"),
}
COUNTED = frozenset(
    {"drop", "duplicate", "reorder", "late", "cut_frame", "renamed_field", "extra_field", "missing_first_book"}
)
_LONGEST_HOLD_MS = 2_000
_MOST_MARKETS_LOGGED = 5_000


class Desk(Protocol):
    """What an injection needs of the desk that fired it."""

    @property
    def rng(self) -> random.Random:
        """Draws what the script leaves open."""
        ...

    def now_ms(self) -> int:
        """The exchange's time."""
        ...

    def finish(self, injection: Injection) -> None:
        """The fault is over."""
        ...


class Injection:
    """A fault in force, and the record of what it did; attached to links, it is their ``FrameFault``."""

    def __init__(self, desk: Desk, fault: Fault, number: int) -> None:
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
        self.frames = frozenset(wanted) if wanted else (CHANGES if fault.kind in COUNTED else None)
        self.record: dict[str, Any] = {
            "id": number,
            "kind": fault.kind,
            "venue": fault.venue.value,
            "state": "waiting",
            "loses": fault.kind in LOSING_KINDS or (fault.kind, fault.venue) == ("sequence_gap", Venue.POLYMARKET),
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
        if self.kind in {"silence", "stall", "lag"}:
            if self.frames is not None and kind not in self.frames:
                return False
            self.note(key)
            if self.kind != "silence":
                self._held.append((self._due_ms(), link, payload, key))
            return True
        if self.kind == "reorder" and self._held and self._succeeds(link, key, kind):
            link.put(payload)
            self.release()
            return True
        if not self._wants(key, kind):
            return False
        return self._spoil(link, payload, key)

    def _due_ms(self) -> int:
        """When a frame that is held back now may leave."""
        now, until = self._desk.now_ms(), self.until_ms or 0
        if self.kind == "stall":
            return until
        if until and now >= until:  # the lag is over, but what is under way must not be overtaken
            return max((due for due, _, _, _ in self._held), default=now)
        return now + int(self.fault.params.get("delay_ms", 1_500))

    def over(self, now_ms: int) -> bool:
        """Whether its time has passed."""
        if self.until_ms is None or now_ms < self.until_ms:
            return False
        return self.kind != "lag" or not self._held

    def _succeeds(self, link: Link, key: str, kind: str) -> bool:
        # Kalshi's numbers make any successor on the subscription visible; Polymarket orders one market only.
        _, held_on, _, held_key = self._held[0]
        return held_on is link and kind in CHANGES and (self.fault.venue is Venue.KALSHI or key == held_key)

    def _wants(self, key: str, kind: str) -> bool:
        if self.kind in {"mute_token", "missing_first_book"} or self.left == 0:
            return False
        if self.kind == "reorder" and self._held:
            return False
        if self.market is not None and key != self.market:
            return False
        if self.frames is not None and kind not in self.frames:
            return False
        self._seen += 1
        return self._seen % self._every == 0

    def _spoil(self, link: Link, payload: bytes, key: str) -> bool:
        params = self.fault.params
        if self.kind == "old_format":
            self.note(key)
            link.put(_old_form(payload), instead_of=payload)
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
            more = body[:-1] + b',"unheard_of":{"a":[1,"2"]}}' + payload[len(body) :]
            link.put(more, instead_of=payload)
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

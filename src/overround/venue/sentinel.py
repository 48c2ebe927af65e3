"""Watches what a venue sends for drift, beside the road that the frames take.

The road pays one append for each frame. Four times a second a few frames of each kind are taken out of what was kept,
decoded generically and held against the documented shapes, within a budget of processor time: under a flood fewer are
looked at. Frames that the feed refused and kinds that nobody knows are always looked at. What departs is counted by name, told
once (``drift.found``), and a sample of it is set aside.

Fields are many and change slowly: what is known is kept in a file from run to run (``overround drift`` shows it).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import structlog

from overround.clock import Clock
from overround.config import DriftSettings
from overround.errors import UNREADABLE, StorageError
from overround.market import Drift, DriftSort, DriftState
from overround.storage import LakePaths, Quarantine, add_drift, read_drift
from overround.venue.drift import DriftLedger
from overround.venue.recent import RecentFrames
from overround.venue.shapes import NO_JSON, Departure, Examined, VenueShapes

__all__ = ["DriftSentinel", "SentinelCounters"]

log = structlog.get_logger()

DRAIN_MS = 250
SAVE_FOUND_MS = 5_000
SAVE_MS = 60_000
REFUSED_MAX = 256
ANSWERS_MAX = 16
RECORDS_PER_ANSWER = 5
UNKNOWN_PER_LOOK = 3
GUESS_SHARE = 0.3
"""Of the budget: finding out which kinds the frames are of."""
KINDS_MAX = 500
COUNTS_FINELY = time.get_clock_info("thread_time").resolution <= 1e-5
"""Whether the system tells a thread's processor time in steps that a look can be measured by."""
SPENT_CAP = 4
"""Looks whose unspent budget may be saved up for one."""


class SentinelCounters(NamedTuple):
    """What was looked at in this run.

    Attributes
    ----------
    frames, answers : int
        Frames passed by, and REST answers.
    examined : int
        Frames and records decoded and held against the shapes.
    names : int
        Departures by name, found in this run and not accepted.
    kept, turned_away : int
        Messages set aside, and those beyond the quarantine's bounds.
    spent_ns : int
        Processor time of the looks.
    """

    frames: int
    answers: int
    examined: int
    names: int
    kept: int
    turned_away: int
    spent_ns: int


class DriftSentinel:
    """Watches one venue in one process.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    shapes : VenueShapes
    settings : DriftSettings
    clock : Clock
    worked_ns : callable, optional
        The budget's clock: processor time of this thread, so that a busy machine does not eat up what may be looked at;
        the time that passes where the system counts it too coarsely.
    recent : RecentFrames, optional
        Where the road leaves its frames, if others look at them too.

    Attributes
    ----------
    frame : callable
        ``frame((connection, recv_ns, bytes))`` for every frame: an append, nothing else.
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        shapes: VenueShapes,
        *,
        settings: DriftSettings,
        clock: Clock,
        worked_ns: Callable[[], int] | None = None,
        recent: RecentFrames | None = None,
    ) -> None:
        self._paths, self._venue, self._shapes = paths, str(venue), shapes
        self._settings, self._clock = settings, clock
        self._recent = RecentFrames() if recent is None else recent
        self.frame = self._recent.append
        self._refused: deque[tuple[str, int, bytes]] = deque(maxlen=REFUSED_MAX)
        self._strange: deque[tuple[str, int, bytes]] = deque(maxlen=REFUSED_MAX)
        self._answers: deque[tuple[str, int, bytes]] = deque(maxlen=ANSWERS_MAX)
        self._worked_ns = worked_ns or (time.thread_time_ns if COUNTS_FINELY else clock.monotonic_ns)
        self._budget_ns = int(settings.cpu_share * DRAIN_MS * 1e6)
        self._allowance_ns = self._budget_ns
        self._guess_ns = 300.0
        self._kinds: dict[tuple[str, bytes], int] = {}
        self._turn = 0
        self._ledger = DriftLedger(shapes.shapes, self._known())
        self._quarantine = Quarantine(
            paths,
            venue,
            writer=f"{os.getpid()}-{uuid4().hex[:6]}",
            bytes_per_day=settings.quarantine_mb << 20,
            per_name_and_day=settings.quarantine_per_name,
        )
        self._unsaved = DriftState()
        self._saved_ms = clock.now_ms()
        self._news = False
        self._frames = self._n_answers = self._examined = self._spent_ns = 0

    # -- what the road calls ------------------------------------------------------------------------

    def refused(self, connection: str, recv_ns: int, frame: bytes) -> None:
        """A frame that the feed refused: always looked at, and set aside."""
        self._refused.append((connection, recv_ns, frame))

    def strange(self, connection: str, recv_ns: int, frame: bytes) -> None:
        """A frame of a kind that the feed met for the first time: always looked at, it may not come again."""
        self._strange.append((connection, recv_ns, frame))

    def answer(self, url: str, body: bytes) -> None:
        """A REST answer that came whole."""
        self._n_answers += 1
        self._answers.append((urlsplit(url).path, self._clock.now_ns(), body))

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self._clock.sleep_ms(DRAIN_MS)
            self.look()
            now_ms = self._clock.now_ms()
            if now_ms - self._saved_ms >= (SAVE_FOUND_MS if self._news else SAVE_MS):
                await self.save()

    async def close(self) -> None:
        """Look at what is left and write what was found."""
        self.look()
        await self.save()

    def counters(self) -> SentinelCounters:
        """What was looked at so far."""
        return SentinelCounters(
            frames=self._frames + len(self._recent),
            answers=self._n_answers,
            examined=self._examined,
            names=self._ledger.names,
            kept=self._quarantine.kept,
            turned_away=self._quarantine.turned_away,
            spent_ns=self._spent_ns,
        )

    # -- looking ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take a sample of what has come since the last look."""
        started_ns = self._worked_ns()
        self._allowance_ns = min(self._allowance_ns + self._budget_ns, SPENT_CAP * self._budget_ns)
        ends_ns = started_ns + self._allowance_ns
        refused = set()  # looked at already
        while self._refused:
            connection, recv_ns, frame = self._refused.popleft()
            refused.add((connection, recv_ns))
            self._look_at_refused(connection, recv_ns, frame)
        while self._strange:
            connection, recv_ns, frame = self._strange.popleft()
            refused.add((connection, recv_ns))
            self._report(connection, recv_ns, frame, self._shapes.frame(frame))
        self._look_at_frames(ends_ns, refused)
        while self._answers and self._worked_ns() < ends_ns:
            self._look_at_answer(*self._answers.popleft())
        spent_ns = self._worked_ns() - started_ns
        self._allowance_ns -= spent_ns
        self._spent_ns += spent_ns

    def _look_at_frames(self, ends_ns: int, refused: set[tuple[str, int]]) -> None:
        frames = self._recent.take()
        if not frames:
            return
        self._frames += len(frames)
        for number, (connection, recv_ns, frame) in enumerate(self._chosen(frames)):
            if number and self._worked_ns() > ends_ns:
                return  # one is looked at however poor we are
            if (connection, recv_ns) in refused:
                continue
            self._report(connection, recv_ns, frame, self._shapes.frame(frame))

    def _chosen(self, frames: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
        """At least one frame of each kind, one of so many of the common ones; the rare kinds first."""
        guess, known, kinds, every = self._shapes.guess, self._shapes.shapes, self._kinds, self._settings.sample_every
        started_ns = self._worked_ns()
        stride = 1 + int(len(frames) * self._guess_ns / (GUESS_SHARE * self._budget_ns + 1))
        if len(kinds) > KINDS_MAX:
            kinds.clear()
        first: list[tuple[str, int, bytes]] = []
        more: list[tuple[str, int, bytes]] = []
        unknown: dict[str, int] = {}
        met: set[tuple[str, bytes]] = set()
        self._turn += 1
        looked = frames[self._turn % stride :: stride]
        for item in looked:
            frame = item[2]
            kind = guess(frame)
            # A list where objects are usual is another form, however rare.
            form = (kind, frame[:1])
            n = kinds[form] = kinds.get(form, 0) + 1
            if form not in met:
                met.add(form)
                first.append(item)
            elif kind and kind not in known:
                unknown[kind] = n_more = unknown.get(kind, 0) + 1
                if n_more < UNKNOWN_PER_LOOK:
                    first.append(item)
            elif n % every == 0:
                more.append(item)
        for kind, n_more in unknown.items():
            uncounted = n_more - UNKNOWN_PER_LOOK + 1
            if uncounted > 0:
                self._ledger.depart([Departure(DriftSort.UNKNOWN_EVENT, kind[:80], "", "")] * uncounted, self._now_ms())
        if looked:
            cost_ns = (self._worked_ns() - started_ns) / len(looked)
            self._guess_ns += 0.1 * (cost_ns - self._guess_ns)
        return first + more

    def _look_at_refused(self, connection: str, recv_ns: int, frame: bytes) -> None:
        examined = self._shapes.frame(frame)
        departures = [departure for departure in examined.departures if departure.name != NO_JSON]
        sample = frame[:160].decode(errors="replace")
        kind = self._shapes.guess(frame)[:60] or "(no kind)"
        refusal = Departure(DriftSort.REJECTED, kind, "refused by the feed", sample)
        self._report(connection, recv_ns, frame, Examined([refusal, *departures], examined.seen))

    def _look_at_answer(self, path: str, recv_ns: int, body: bytes) -> None:
        try:
            for kind, record, raw in self._shapes.answers(path, body, self._some):
                departures, seen = self._shapes.examine(kind, record)
                self._report(f"rest:{path}", recv_ns, raw, Examined(departures, [seen] if seen else []))
        except UNREADABLE as exc:  # an answer that is no documented page
            departure = Departure(DriftSort.DOMAIN, f"rest:{path}"[:80], "a documented page", str(exc)[:160])
            self._report(f"rest:{path}", recv_ns, body, Examined([departure], []))

    def _some(self, count: int) -> Collection[int]:
        """Places of a few records of a page, others each time."""
        if count <= RECORDS_PER_ANSWER:
            return range(count)
        self._turn += 1
        step = count / RECORDS_PER_ANSWER
        return sorted({int(n * step + self._turn % max(1, int(step))) for n in range(RECORDS_PER_ANSWER)})

    def _report(self, connection: str, recv_ns: int, message: bytes, examined: Examined) -> None:
        self._examined += 1
        now_ms = self._now_ms()
        found = self._ledger.depart(examined.departures, now_ms)
        departed: list[tuple[DriftSort, str]] = [(departure.sort, departure.name) for departure in examined.departures]
        for seen in examined.seen:
            broken = self._ledger.see(seen, now_ms)
            found += broken
            departed += [(drift.sort, drift.name) for drift in broken]
        if departed:
            self._news = True
            why, name = departed[0]
            self._quarantine.put(
                now_ms=now_ms, recv_ns=recv_ns, conn=connection, message=message, why=why.value, name=name
            )
        for drift in found:
            self._tell(drift)

    def _tell(self, drift: Drift) -> None:
        tell = log.info if drift.accepted_ms is not None else log.warning
        tell(
            "drift.found",
            venue=self._venue,
            sort=drift.sort.value,
            name=drift.name,
            first_seen_ms=drift.first_ms,
            count=drift.count,
            expected=drift.detail,
            sample=drift.sample,
        )

    def _now_ms(self) -> int:
        return self._clock.now_ms()

    # -- remembering --------------------------------------------------------------------------------

    def _known(self) -> DriftState:
        try:
            return read_drift(self._paths, self._venue)
        except StorageError as exc:
            log.warning("drift.unreadable", venue=self._venue, reason=str(exc))
            return DriftState()

    async def save(self) -> None:
        """Write what was counted and set aside; what the disk refuses is kept for the next time."""
        self._saved_ms, self._news = self._now_ms(), False
        fresh = self._ledger.take()
        self._unsaved.add(fresh)
        unsaved, self._unsaved = self._unsaved, DriftState()
        try:
            merged = await asyncio.to_thread(self._write, unsaved)
        except StorageError as exc:
            self._unsaved.add(unsaved)
            log.warning("drift.unsaved", venue=self._venue, reason=str(exc))
        else:
            if merged is not None:
                self._ledger.know(merged)

    def _write(self, unsaved: DriftState) -> DriftState | None:
        self._quarantine.flush(self._now_ms())
        if not unsaved.found and not unsaved.kinds:
            return None
        return add_drift(self._paths, self._venue, unsaved)

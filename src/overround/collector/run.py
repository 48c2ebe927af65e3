"""Recording all enabled venues until somebody says stop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from overround.clock import Clock
from overround.collector.crew import Change, Changes, Crew
from overround.collector.handover import Handed, ask_for, give, is_taken, succeed
from overround.collector.holding import all_shares, keep, leased, ownership_of, take_one
from overround.collector.ownership import Hold, Ownership
from overround.collector.recorder import VenueRecorder
from overround.collector.status import VenueStatus
from overround.collector.steady import SteadyClock
from overround.config import Settings
from overround.market import Origin, Share, Venue
from overround.storage import LakePaths, claim_origin

if TYPE_CHECKING:
    from overround.collector.leased import LeasedOwnership

__all__ = ["collect", "on_hangup", "run_until_signal"]

log = structlog.get_logger()

T = TypeVar("T")
STATUS_MS = 10_000
WARM_UP_S = (3, 10, 30)
FREEZE_EVERY_S = 300
WHOLE_EVERY = 12
CLOCK_EVERY_MS = 200
# A clock that is being set is left alone until it has stood for so long.
CLOCK_SETTLES_MS = 2_000


async def collect(
    settings: Settings,
    *,
    venues: Sequence[Venue],
    clock: Clock,
    rng: Random,
    origin: Origin,
    stop: asyncio.Event,
    duration_s: float | None = None,
    on_status: Callable[[Sequence[VenueStatus]], None] | None = None,
    status_ms: int = STATUS_MS,
    on_recorders: Callable[[Sequence[VenueRecorder]], None] | None = None,
    changes: Changes | None = None,
    standby: bool = False,
    handover: bool = False,
) -> list[VenueRecorder]:
    """Record the venues until ``stop`` is set or the duration has passed.

    When the machine's clock is stepped, the recording ends as on a clean stop and begins anew under the new time. When
    the lease of the shard is lost, it ends too, and begins anew once the lease can be had again.

    Parameters
    ----------
    settings : Settings
    venues : sequence of Venue
    clock : Clock
    rng : Random
    origin : Origin
        Where the rows come from; a lake of the other origin is refused.
    stop : asyncio.Event
        Set by a signal handler.
    duration_s : float, optional
        Seconds; forever when None.
    on_status : callable, optional
        Takes every status round (the live view).
    status_ms : int
        Milliseconds between two status rounds; the log line comes every ten seconds.
    on_recorders : callable, optional
        Takes the recorders when they begin, anew after each step of the clock and each change.
    changes : Changes, optional
        Brings changed settings while recording goes on.
    standby : bool
        Wait for a shard that nobody holds, whichever of the settings' number it is, and record that.
    handover : bool
        Take the shard over from the collector that records it, without a gap; where there is none, just record it.

    Returns
    -------
    list of VenueRecorder
        Stopped recorders; their counters, gaps and writers tell what happened since the start, or the last step of the clock.
        None where the end came while a shard was waited for.

    Raises
    ------
    NothingStored
        If a venue has no universe file.
    OriginMismatch, LakeLocked
        If the lake cannot be recorded into, or somebody else records the shard.
    DatabaseUnavailable
        If leases cannot be asked for at the start.
    """
    paths = LakePaths(settings.data_dir)
    claim_origin(paths, origin)
    ended = asyncio.create_task(_end_of(stop, clock, duration_s))
    ownership = ownership_of(settings, paths, clock=clock)
    recorders: list[VenueRecorder] = []
    steps = 0
    try:
        while True:
            shares = all_shares(settings) if standby else [Share.parse(settings.cluster.shard)]
            handed = await ask_for(leased(ownership), shares[0], venues, clock=clock) if handover else None
            handover = False
            hold: Hold | None
            if handed is not None:
                hold = Hold(share=shares[0], venues=tuple(venues), leased=True)
            else:
                patient = standby or bool(recorders)
                hold = await take_one(ownership, shares, venues, clock=clock, ended=ended, patient=patient)
            if hold is None:
                return recorders
            settings = settings.model_copy(
                update={"cluster": settings.cluster.model_copy(update={"shard": str(hold.share)})}
            )
            keeping = asyncio.create_task(keep(ownership, hold, clock=clock))
            given = False
            try:
                while not keeping.done() and not given:
                    run = await _record(
                        settings, venues=venues, clock=SteadyClock(clock), rng=rng, origin=origin, ended=ended,
                        on_status=on_status, status_ms=status_ms, on_recorders=on_recorders, clock_steps=steps,
                        changes=changes or Changes(), ownership=ownership, hold=hold, keeping=keeping,
                        handed=None if hold.certain.is_set() else handed,
                    )  # fmt: skip
                    recorders, given = run.recorders, run.given
                    settings, venues = run.settings, run.venues
                    if run.step_ms:
                        steps += 1
                        log.error(
                            "clock.stepped",
                            by_ms=run.step_ms,
                            remedy="none needed: everything is stored, recording begins anew under the new time;"
                            " look after the time service",
                        )
                    elif ended.done() and not given:
                        return recorders
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await ownership.release(hold)
            if given and await is_taken(leased(ownership), hold, clock=clock):
                log.info("handover.given", share=str(hold.share))
                return recorders
    finally:
        ended.cancel()


async def _end_of(stop: asyncio.Event, clock: Clock, duration_s: float | None) -> None:
    """Wait until recording has to end."""
    waits = {asyncio.create_task(stop.wait())}
    if duration_s is not None:
        waits.add(asyncio.create_task(clock.sleep_ms(duration_s * 1000)))  # type: ignore[arg-type]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()


async def _change_hands(
    ownership: LeasedOwnership, hold: Hold, recorders: Sequence[VenueRecorder], clock: Clock
) -> None:
    """Get the share from whoever has it, where it is not ours yet; then wait until somebody gets it from us."""
    if not hold.certain.is_set():
        await succeed(ownership, hold, recorders, clock=clock)
    await give(ownership, hold, recorders, clock=clock)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run that has ended: its recorders, by how much the clock was stepped (0: it was not), and what was wanted last.

    ``given`` says that a successor records from here on.
    """

    recorders: list[VenueRecorder]
    step_ms: int
    settings: Settings
    venues: Sequence[Venue]
    given: bool


async def _record(
    settings: Settings,
    *,
    venues: Sequence[Venue],
    clock: SteadyClock,
    rng: Random,
    origin: Origin,
    ended: asyncio.Task[None],
    on_status: Callable[[Sequence[VenueStatus]], None] | None,
    status_ms: int,
    on_recorders: Callable[[Sequence[VenueRecorder]], None] | None,
    clock_steps: int,
    changes: Changes,
    ownership: Ownership,
    hold: Hold,
    keeping: asyncio.Task[None],
    handed: Mapping[Venue, Handed] | None,
) -> _Run:
    """Record under one steady time."""
    paths = LakePaths(settings.data_dir)
    crew = Crew(paths, clock=clock, rng=rng, origin=origin, clock_steps=clock_steps, hold=hold, handed=handed)
    change: asyncio.Task[Change] | None = None
    try:
        for venue in venues:
            crew.hire(venue, settings)
        if on_recorders is not None:
            on_recorders(crew.recorders)
        crew.begin()
        reporter = asyncio.create_task(_report(crew.recorders, clock, on_status, status_ms))
        freezer = asyncio.create_task(_keep_collections_short(clock))
        stepped = asyncio.create_task(_step_of(clock))
        giving: asyncio.Task[None] | None = None
        if hold.leased:
            giving = asyncio.create_task(_change_hands(leased(ownership), hold, crew.recorders, clock))
        ends: set[asyncio.Task[Any]] = {ended, stepped, keeping, *([giving] if giving else [])}
        try:
            while not any(task.done() for task in (*ends, *crew.tasks.values())):
                if change is None:
                    change = asyncio.create_task(changes.next())
                await asyncio.wait({*ends, *crew.tasks.values(), change}, return_when=asyncio.FIRST_COMPLETED)
                if change.done():
                    settings = change.result().settings
                    venues = await crew.take(change.result())
                    change = None
                    if on_recorders is not None:
                        on_recorders(crew.recorders)
            step_ms = stepped.result() if stepped.done() and not ended.done() else 0
            given = giving is not None and giving.done()
        finally:
            others = (stepped, reporter, freezer, *([giving] if giving else []), *([change] if change else []))
            for task in others:
                task.cancel()
            try:
                await crew.end()
            finally:
                gc.unfreeze()
        if giving is not None and given:
            giving.result()
        for recorder in crew.recorders:
            log.info("collect.stopped", **_fields(recorder.status()))
        return _Run(
            recorders=[*crew.ended, *crew.recorders],
            step_ms=step_ms,
            settings=settings,
            venues=venues,
            given=given,
        )
    finally:
        await crew.aclose()


async def _step_of(clock: SteadyClock) -> int:
    """Wait until the machine's clock has been stepped, and stands; returns by how many milliseconds."""
    while True:
        await clock.sleep_ms(CLOCK_EVERY_MS)
        step_ms = clock.follow()
        while step_ms:
            before = step_ms
            await clock.sleep_ms(CLOCK_SETTLES_MS)
            step_ms = clock.follow()
            if step_ms and abs(step_ms - before) < CLOCK_EVERY_MS:
                return step_ms


async def _keep_collections_short(clock: Clock) -> None:
    """Set what lives long aside, so that full collections pass over it however many books there are.

    Once before the first frame, once when the first books have come (with 10,000 books the next full
    collection would stop the loop for 35 ms, measured), then now and then for what the rotation brought. Once an hour
    the whole is looked at: a connection that closed after it was set aside is a cycle that nothing else would find.
    """
    gc.collect()
    gc.freeze()
    for wait_s in WARM_UP_S:
        await clock.sleep_ms(wait_s * 1000)
        gc.collect(1)
        gc.freeze()
    for round_ in itertools.count(1):
        await clock.sleep_ms(FREEZE_EVERY_S * 1000)
        if round_ % WHOLE_EVERY == 0:
            gc.unfreeze()
        # A whole collection, so that no garbage is set aside for ever; it sees only what came since the last.
        gc.collect()
        gc.freeze()


async def _report(
    recorders: Sequence[VenueRecorder],
    clock: Clock,
    on_status: Callable[[Sequence[VenueStatus]], None] | None,
    status_ms: int,
) -> None:
    logged_ms = clock.now_ms()
    while True:
        await clock.sleep_ms(status_ms)
        round_ = [recorder.status() for recorder in recorders]
        if on_status is not None:
            on_status(round_)
        if clock.now_ms() - logged_ms >= STATUS_MS - 50:
            logged_ms = clock.now_ms()
            for status in round_:
                log.info("collect.status", **_fields(status))


def _fields(status: VenueStatus) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in VenueStatus.__struct_fields__:
        value = getattr(status, name)
        fields[name] = round(value, 3) if isinstance(value, float) else value
    return fields


@contextmanager
def on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call back on the loop at each SIGHUP; on Windows, which has none, this does nothing."""
    if sys.platform == "win32":
        yield
        return
    loop = asyncio.get_running_loop()

    def told(*_: object) -> None:
        loop.call_soon_threadsafe(call)

    before = signal.signal(signal.SIGHUP, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def run_until_signal(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the fast loop; Ctrl-C and SIGTERM set the event it is given.

    A second signal is left to Python, so that a stop that hangs can still be ended.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        loop = runner.get_loop()
        stop = asyncio.Event()

        def request_stop(*_: object) -> None:
            loop.call_soon_threadsafe(stop.set)
            for number, old in before.items():
                signal.signal(number, old)

        before = {}
        numbers = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            numbers.append(signal.SIGBREAK)
        # signal.signal works on every system; loop.add_signal_handler does not exist on Windows.
        for number in numbers:
            before[number] = signal.signal(number, request_stop)
        try:
            return runner.run(main(stop))
        finally:
            for number, old in before.items():
                with suppress(ValueError):
                    signal.signal(number, old)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    name = "winloop" if sys.platform == "win32" else "uvloop"
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(name).new_event_loop
    return factory

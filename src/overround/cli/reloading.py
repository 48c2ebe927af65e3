"""What a running collector does when it is asked to read its settings again."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from overround.cli.options import App
from overround.clock import Clock
from overround.collector import Changes
from overround.config import Settings, load_settings, plan_reload, secret_texts, with_values
from overround.errors import NothingStored, OverroundError
from overround.market import Origin, Venue
from overround.ops import register_secret
from overround.pipelines.scan import scan_every, scan_venues
from overround.services import Endpoint
from overround.services.reload import Answer
from overround.storage import LakePaths, newest_universe

__all__ = ["LiveSettings"]


class LiveSettings:
    """The settings that are in force, and the tasks that follow them.

    Parameters
    ----------
    app : App
    live : Settings
        Those of ``app`` as this process uses them: with the command line's options, pointed at the mock exchange.
    venues_of : callable
        The venues that settings ask for; raises ``UsageError`` where there is none.
    fixed : dict of str to str
        Reasons why settings do not change in this process.
    endpoint : Endpoint or None
    start_logging : callable
        Sets logging up as an ``App`` has it.
    """

    def __init__(
        self,
        app: App,
        *,
        live: Settings,
        venues_of: Callable[[Settings], Sequence[Venue]],
        fixed: dict[str, str],
        endpoint: Endpoint | None,
        start_logging: Callable[[App], None],
        clock: Clock,
        rng: Random,
        origin: Origin,
    ) -> None:
        self.changes = Changes()
        self._app = app
        self._base, self._live = app.loaded.settings, live
        self._venues_of = venues_of
        self._venues = list(venues_of(self._base))
        self._fixed = fixed
        self._endpoint = endpoint
        self._start_logging = start_logging
        self._clock = clock
        self._rng = rng
        self._origin = origin
        self._scans = self._keep_listing()

    def close(self) -> None:
        """Scan no more."""
        self._scans.cancel()

    async def reload(self) -> Answer:
        """Read the files again and put into force what can be.

        Raises
        ------
        OverroundError
            If they do not read, or would leave nothing to record: everything stays as it was.
        """
        loaded = load_settings(Path(self._app.path) if self._app.path else None, environ=os.environ)
        for secret in secret_texts(loaded.settings):
            register_secret(secret)
        plan = plan_reload(self._base, loaded.settings, fixed=self._fixed)
        live, venues = with_values(self._live, plan.applied), self._venues_of(plan.settings)
        failed = await self._list_new(live, venues)
        failed |= await self.changes.hand_over(live, [venue for venue in venues if venue not in failed])
        # What could not begin is tried again by the next reload.
        off = {f"venues.{venue}.enabled": False for venue in failed}
        self._base, self._live = with_values(plan.settings, off), with_values(live, off)
        self._venues = [venue for venue in venues if venue not in failed]
        self._scans.cancel()
        self._scans = self._keep_listing()
        if self._endpoint is not None:
            self._endpoint.adjust(self._live.monitoring)
        if any(name.startswith("logging.") for name in plan.applied):
            self._start_logging(dataclasses.replace(self._app, loaded=dataclasses.replace(loaded, settings=self._base)))
        return Answer(
            applied={name: str(value).lower() for name, value in plan.applied.items() if name not in off},
            refused=dict(plan.refused),
            failed={str(venue): why for venue, why in failed.items()},
        )

    async def _list_new(self, live: Settings, venues: Sequence[Venue]) -> dict[Venue, str]:
        """List venues that were never listed; returns why some could not be."""
        failed: dict[Venue, str] = {}
        for venue in venues:
            if venue in self._venues:
                continue
            try:
                newest_universe(LakePaths(live.data_dir), venue, now_ms=self._clock.now_ms())
            except NothingStored:
                try:
                    await scan_venues(live, venues=[venue], clock=self._clock, rng=self._rng, origin=self._origin)
                except OverroundError as exc:
                    failed[venue] = str(exc)
        return failed

    def _keep_listing(self) -> asyncio.Task[None]:
        return asyncio.create_task(
            scan_every(self._live, venues=self._venues, clock=self._clock, rng=self._rng, origin=self._origin)
        )

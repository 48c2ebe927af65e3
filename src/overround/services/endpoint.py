"""A collector's own HTTP endpoint: ``/metrics`` for Prometheus, ``/health``, ``/livez``, ``/readyz``, ``/status``."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from overround import __version__
from overround.clock import Clock
from overround.collector import VenueRecorder
from overround.config import MonitoringSettings
from overround.errors import ConfigError
from overround.net.reach import http_url
from overround.net.serving import QuietServer, listen
from overround.ops import mask_secrets
from overround.services.detail import CollectorDetail, Detailer
from overround.services.exposition import CollectorFigures
from overround.services.health import Health, judge
from overround.storage import LakePaths

__all__ = ["Endpoint"]

log = structlog.get_logger()

RETRY_S = 30
"""A taken port is tried again so soon: a predecessor may be about to leave."""


class Endpoint:
    """Serves until cancelled; a port that is taken is reported and tried again, and recording goes on meanwhile.

    Parameters
    ----------
    settings : MonitoringSettings
    data_dir : Path
        The lake, whose disk is watched.
    clock : Clock

    Attributes
    ----------
    recorders : sequence of VenueRecorder
        Those that run; set by whoever starts them.
    port : int or None
        Where it listens.
    """

    def __init__(self, settings: MonitoringSettings, *, data_dir: Path, clock: Clock) -> None:
        self.recorders: Sequence[VenueRecorder] = ()
        self.port: int | None = None
        self._settings = settings
        self._data_dir = data_dir
        self._clock = clock
        self._began_ns = clock.monotonic_ns()
        self._detailer = Detailer()

    def show(self, recorders: Sequence[VenueRecorder]) -> None:
        """These recorders run from now on."""
        self.recorders = recorders

    def adjust(self, settings: MonitoringSettings) -> None:
        """Judge by other thresholds from now on; address and port stay."""
        self._settings = settings

    def health(self) -> Health:
        """The collector's health now."""
        free, total = self._disk()
        return judge(
            [recorder.status() for recorder in self.recorders],
            self._settings,
            disk_free_bytes=free,
            disk_total_bytes=total,
            up_s=(self._clock.monotonic_ns() - self._began_ns) / 1e9,
            version=__version__,
        )

    def detail(self) -> CollectorDetail:
        """Every connection, the most active markets and the newest gaps."""
        return self._detailer.detail(
            self.recorders, self.health(), now_ms=self._clock.now_ms(), monotonic_ns=self._clock.monotonic_ns()
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        host, port = self._settings.host, self._settings.port
        told = False
        while True:
            try:
                bound = listen(host, port, hint="set [monitoring] host and port to a free one")
            except ConfigError as exc:
                if not told:
                    log.error("endpoint.unavailable", reason=str(exc), remedy=exc.hint, retry_in_s=RETRY_S)  # noqa: TRY400
                told = True
                await self._clock.sleep_ms(RETRY_S * 1000)
                continue
            break
        self.port = bound.getsockname()[1]
        log.info("endpoint.opened", url=http_url(host, self.port))
        config = uvicorn.Config(
            self.app(), log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = QuietServer(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            self.port = None

    def app(self) -> FastAPI:
        """The routes."""
        registry = CollectorRegistry(auto_describe=False)
        figures = CollectorFigures(
            lambda: self.recorders, version=__version__, disk_free=self._disk, paths=LakePaths(self._data_dir)
        )
        registry.register(figures)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        app = FastAPI(title="Overround collector", version=__version__, docs_url=None, redoc_url=None)

        # Coroutines: a plain function would run in a thread, beside the recorders whose figures it reads.
        async def metrics(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(registry), media_type=content_type)

        async def livez() -> Response:
            return Response("ok\n", media_type="text/plain")

        async def readyz() -> Response:
            ready = self.health().ready
            return Response(
                "ok\n" if ready else "starting\n", status_code=200 if ready else 503, media_type="text/plain"
            )

        async def health() -> Response:
            found = self.health()
            return Response(
                mask_secrets(msgspec.json.encode(found).decode()),
                status_code=503 if found.state == "failing" else 200,
                media_type="application/json",
            )

        async def status() -> Response:
            return Response(mask_secrets(msgspec.json.encode(self.detail()).decode()), media_type="application/json")

        for path, answer in (
            ("/metrics", metrics),
            ("/livez", livez),
            ("/readyz", readyz),
            ("/health", health),
            ("/status", status),
        ):
            app.add_api_route(path, answer, methods=["GET"], response_class=Response)
        return app

    def _disk(self) -> tuple[int, int]:
        folder = self._data_dir.absolute()
        usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
        return usage.free, usage.total

"""The local exchange: both venues on loopback, driven by sources of changes.

One task, the pump, advances the sources on the clock, writes every change into the truth, and only then has it
encoded and sent. Everything runs on one event loop, so a subscription that arrives between two steps of the pump
sees a book that holds exactly the changes sent so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import uvicorn
from fastapi import FastAPI

from overround.clock import Clock, SystemClock
from overround.errors import ConfigError
from overround.exchange.clob_rest import clob_router
from overround.exchange.deliveries import DeliveryLog
from overround.exchange.fault_rest import FaultedApp, fault_router
from overround.exchange.fault_script import FaultScript
from overround.exchange.faults import FaultDesk
from overround.exchange.gamma import GammaCatalogue
from overround.exchange.gamma_rest import gamma_router
from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.kalshi_rest import KalshiCatalogue, kalshi_router
from overround.exchange.link import Link
from overround.exchange.model import Change, ChangeKind, Source
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.settings import ExchangeOptions, ExchangeUrls
from overround.exchange.signature import SignatureCheck
from overround.exchange.sockets import KALSHI_PATH, POLYMARKET_PATH, SocketServer
from overround.exchange.truth import Truth
from overround.exchange.truth_rest import ShadowTruth, truth_of, truth_router
from overround.market import Venue
from overround.net.reach import http_url
from overround.net.serving import QuietServer, listen

__all__ = ["Exchange"]

_HOUSEKEEPING_MS = 500
_LONGEST_SLEEP_MS = 50
_MOST_PATIENCE_NS = 30_000_000_000


class Exchange:
    """Serves both venues' true wire formats on loopback.

    Parameters
    ----------
    source_polymarket, source_kalshi : Source or None
        What happens on each venue; the same object may serve both.
    host : str
    port : int
        REST; sockets listen on the next port. 0 takes free ports.
    clock : Clock
    seed : int
        Of every choice the servers make (serialisation, delays, fault targets).
    faults : FaultScript or None
    kalshi_public_key : bytes or None
        PEM of the key that signs the socket's upgrade; None lets everybody in.
    kalshi_key_id : str or None
        The only key id accepted; any when None.
    options : ExchangeOptions
    socket_tls : SSLContext or None
        Serve the sockets as ``wss``.
    """

    def __init__(
        self,
        source_polymarket: Source | None = None,
        source_kalshi: Source | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 9_000,
        clock: Clock | None = None,
        seed: int = 7,
        faults: FaultScript | None = None,
        kalshi_public_key: bytes | None = None,
        kalshi_key_id: str | None = None,
        options: ExchangeOptions | None = None,
        socket_tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = socket_tls
        self._host, self._port = host, port
        self._clock: Clock = clock or SystemClock()
        self._options = options or ExchangeOptions()
        self._sources: dict[Venue, Source] = {}
        if source_polymarket is not None:
            self._sources[Venue.POLYMARKET] = source_polymarket
        if source_kalshi is not None:
            self._sources[Venue.KALSHI] = source_kalshi
        self._unique = list({id(source): source for source in self._sources.values()}.values())
        self._truths: dict[Venue, Truth] = {}
        self._shadows: dict[int, ShadowTruth] = {}
        for source in self._unique:
            truth, shadow = truth_of(source)
            self._truths |= {venue: truth for venue, held in self._sources.items() if held is source}
            if shadow is not None:
                self._shadows[id(source)] = shadow
        logged = self._sources if self._options.log_deliveries else ()
        self.deliveries = {venue: DeliveryLog(self._clock.now_ms) for venue in logged}
        self._polymarket = (
            PolymarketHub(
                source_polymarket,
                self._options.polymarket,
                random.Random(f"{seed}:polymarket"),
                self.deliveries.get(Venue.POLYMARKET),
            )
            if source_polymarket is not None
            else None
        )
        self._kalshi = (
            KalshiHub(
                source_kalshi,
                self._options.kalshi,
                random.Random(f"{seed}:kalshi"),
                self.deliveries.get(Venue.KALSHI),
            )
            if source_kalshi is not None
            else None
        )
        self._hubs: list[PolymarketHub | KalshiHub] = [h for h in (self._polymarket, self._kalshi) if h is not None]
        self._dirty: list[Link] = []
        self.desk = FaultDesk(
            faults or FaultScript(),
            {hub.venue: hub for hub in self._hubs},
            random.Random(f"{seed}:faults"),
            self._clock.now_ms,
            self.inject,
        )
        refresh, desk = self._options.gamma_refresh_ms, self.desk
        self._gamma = (
            GammaCatalogue(source_polymarket, refresh_ms=refresh, shift=lambda: desk.shift(Venue.POLYMARKET))
            if source_polymarket is not None
            else None
        )
        self._listing = (
            KalshiCatalogue(
                source_kalshi,
                refresh_ms=refresh,
                shift=lambda: desk.shift(Venue.KALSHI),
                log=self.deliveries.get(Venue.KALSHI),
            )
            if source_kalshi is not None
            else None
        )
        self._sockets = SocketServer(
            {hub.venue: hub for hub in self._hubs},
            self.desk,
            signatures=None
            if kalshi_public_key is None
            else SignatureCheck(kalshi_public_key, key_id=kalshi_key_id, skew_ms=self._options.kalshi.skew_ms),
            opens_per_s=self._options.opens_per_s,
            tls=socket_tls,
            now_ms=self._clock.now_ms,
            dirty=self._dirty.append,
            flush=self._flush,
            logs=self.deliveries,
        )
        self._ended: dict[str, int] = {}
        self._seed = seed
        self._injected: list[Change] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._http: uvicorn.Server | None = None
        self._urls: ExchangeUrls | None = None
        self._housekeeping_ms = 0
        self._start_ms = self._clock.now_ms()
        self._released_ms: int | None = None
        self.changes = 0

    # ---------------------------------------------------------------- running

    @property
    def urls(self) -> ExchangeUrls:
        """Addresses of the running exchange."""
        if self._urls is None:
            raise RuntimeError("the exchange is not running")
        return self._urls

    @property
    def tasks(self) -> Sequence[asyncio.Task[Any]]:
        """What runs; a task that ends before ``stop`` has failed."""
        return tuple(self._tasks)

    @property
    def hubs(self) -> dict[Venue, PolymarketHub | KalshiHub]:
        """The venues' sockets without their sockets."""
        return {hub.venue: hub for hub in self._hubs}

    @property
    def ended(self) -> Mapping[str, int]:
        """Since when (venue time) a market that is over shows no book."""
        return self._ended

    @property
    def frames(self) -> dict[Venue, int]:
        """Data frames sent on the open connections, per venue."""
        return {hub.venue: sum(link.frames for link in hub.links()) for hub in self._hubs}

    async def start(self) -> None:
        """Bind, serve and begin to pump.

        Raises
        ------
        ConfigError
            If a port is taken.
        """
        rest, sockets = self._bind()
        rest_port, ws_port = rest.getsockname()[1], sockets.getsockname()[1]
        http, ws = http_url(self._host, rest_port), http_url(self._host, ws_port)
        ws = ws.replace("http", "wss" if self._tls else "ws", 1)
        self._urls = ExchangeUrls(
            gamma_url=f"{http}/gamma",
            clob_url=f"{http}/clob",
            polymarket_ws_url=ws + POLYMARKET_PATH,
            kalshi_rest_url=f"{http}/trade-api/v2",
            kalshi_ws_url=ws + KALSHI_PATH,
            truth_url=f"{http}/truth",
            faults_url=f"{http}/faults",
        )
        config = uvicorn.Config(
            FaultedApp(self.app(), self.desk), log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._http = QuietServer(config)
        self.desk.start(self._clock.now_ms())
        await self._sockets.start(sockets)
        self._tasks = [
            asyncio.create_task(self._http.serve(sockets=[rest]), name="exchange-rest"),
            asyncio.create_task(self._pump(), name="exchange-pump"),
        ]
        while not self._http.started:
            if self._tasks[0].done():
                await self._tasks[0]
                break
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop pumping, close connections and ports."""
        if self._http is not None:
            self._http.should_exit = True
        for task in self._tasks[1:]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._sockets.stop()
        if self._tasks:
            await self._tasks[0]
        self._tasks = []
        self._http = None
        self._urls = None

    async def run(self) -> None:
        """Serve until cancelled, or until a task of the exchange fails."""
        await self.start()
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def app(self) -> FastAPI:
        """The REST side as an ASGI application."""
        app = FastAPI(title="Overround exchange", openapi_url=None, docs_url=None, redoc_url=None)
        now_ms = self._clock.now_ms
        if self._gamma is not None and self._polymarket is not None:
            source = self._sources[Venue.POLYMARKET]
            app.include_router(gamma_router(source, self._gamma, now_ms), prefix="/gamma")
            app.include_router(
                clob_router(source, self._polymarket, random.Random(f"{self._seed}:clob"), now_ms), prefix="/clob"
            )
        if self._listing is not None:
            app.include_router(
                kalshi_router(self._listing, now_ms, paused=lambda: self.desk.paused(Venue.KALSHI)),
                prefix="/trade-api/v2",
            )
        app.include_router(
            truth_router(self._sources, self._truths, self._ended, self._polymarket, self.desk, now_ms), prefix="/truth"
        )
        app.include_router(fault_router(self.desk), prefix="/faults")
        return app

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        rest = self._listen(self._port)
        try:
            if self._port:
                return rest, self._listen(self._port + 1)
            try:
                return rest, self._listen(rest.getsockname()[1] + 1)
            except (ConfigError, OverflowError):
                return rest, self._listen(0)
        except ConfigError:
            rest.close()
            raise

    def _listen(self, port: int) -> socket.socket:
        return listen(self._host, port, hint="another exchange runs there? --port 0 takes any free port")

    # ---------------------------------------------------------------- the pump

    def inject(self, change: Change) -> None:
        """Let something happen that the source did not say (a tick change, a resolution)."""
        self._injected.append(change)

    async def _pump(self) -> None:
        while True:
            now = self._clock.now_ms()
            for _ in self.step(now):
                await asyncio.sleep(0)  # requests and new connections get their turn between slices
                if self._options.wait_for_readers:
                    await self._readers()
            await self._clock.sleep_ms(self._pause(self._clock.now_ms()))

    def step(self, now_ms: int) -> Iterator[int]:
        """Bring the exchange to ``now_ms``; yields after each slice that was sent."""
        if self._released_ms is None and not self._holds(now_ms):
            self._released_ms = now_ms
        if self._released_ms is not None:
            source_now = now_ms - self._released_ms + self._start_ms
            for source in self._unique:
                while (due := source.next_ms()) is not None and due <= source_now:
                    until = min(source_now, due + self._options.slice_ms)
                    changes = source.advance(until)
                    if changes:
                        self._happen(source, changes, now_ms)
                        self._flush()
                        self.desk.poll(now_ms)  # a recording at full speed is one long step: faults still fire on time
                    yield until
                # Nothing more is due; the source's own time moves on, so that a market first looked at now starts now.
                source.advance(source_now)
        if self._injected:
            injected, self._injected = self._injected, []
            for change in injected:
                for source in self._unique:
                    if change.key in source.listings:
                        self._happen(source, [change], now_ms)
                        break
        self.desk.poll(now_ms)
        for hub in self._hubs:
            hub.poll(now_ms)
        if now_ms >= self._housekeeping_ms:
            self._housekeeping_ms = now_ms + _HOUSEKEEPING_MS
            for hub in self._hubs:
                hub.housekeeping(now_ms)
        self._flush()

    def _holds(self, now_ms: int) -> bool:
        """Whether the sources stand still because too few markets are subscribed yet."""
        if not self._options.hold_until_markets:
            self._start_ms = now_ms  # the sources' time is ours
            return False
        watched = {key for hub in self._hubs for link in hub.links() for key in hub.markets_of(link)}
        return len(watched) < self._options.hold_until_markets

    def _happen(self, source: Source, changes: Sequence[Change], now_ms: int) -> None:
        self.changes += len(changes)
        shadow = self._shadows.get(id(source))
        if shadow is not None:
            for change in changes:
                shadow.record(change)
        for hub in self._hubs:
            if self._sources[hub.venue] is source:
                hub.apply(changes, now_ms)
        for change in changes:
            if change.kind is ChangeKind.LEVEL:
                continue
            if change.kind is ChangeKind.STATUS and change.status in {"closed", "resolved"}:
                self._ended.setdefault(change.key, change.ts_ms)
            if change.kind is ChangeKind.TRADE:
                if self._listing is not None and self._sources.get(Venue.KALSHI) is source:
                    self._listing.traded(change)
                continue
            for catalogue in (self._gamma, self._listing):
                if catalogue is not None:
                    catalogue.changed(change.key)

    def _flush(self) -> None:
        dirty, limit = self._dirty, self._options.buffer_bytes
        while dirty:
            links, dirty[:] = dirty[:], []
            for link in links:
                link.flush()
                if not self._options.wait_for_readers and not link.closed and link.wire.backlog() > limit:
                    for hub in self._hubs:
                        if link in hub.links():
                            hub.overflow(link)

    async def _readers(self) -> None:
        """Wait until every client has read what it was sent; one that reads nothing for long is given up."""
        limit = self._options.buffer_bytes // 4
        waiting_since = self._clock.monotonic_ns()
        while slow := [link for hub in self._hubs for link in hub.links() if link.wire.backlog() > limit]:
            if self._clock.monotonic_ns() - waiting_since > _MOST_PATIENCE_NS:
                for link in slow:
                    link.abort()
            await asyncio.sleep(0.001)

    def _pause(self, now_ms: int) -> float:
        due: list[int | None] = []
        if self._released_ms is not None:
            behind = self._released_ms - self._start_ms
            due = [None if at is None else at + behind for at in (source.next_ms() for source in self._unique)]
        due += [hub.next_ms() for hub in self._hubs]
        due.append(self.desk.next_ms())
        known = [moment for moment in due if moment is not None]
        wait = min(known) - now_ms if known else _LONGEST_SLEEP_MS
        return min(max(wait, self._options.tick_ms), _LONGEST_SLEEP_MS)

"""The exchange in a thread of its own, for mock mode, tests and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any, Self

from overround.exchange.server import Exchange
from overround.exchange.settings import ExchangeUrls

__all__ = ["ExchangeThread"]

_PATIENCE_S = 60


class ExchangeThread:
    """Runs an exchange on an event loop of its own.

    Parameters
    ----------
    exchange : Exchange
        Not yet started; it belongs to the thread from then on.

    Examples
    --------
    ::

        with ExchangeThread(Exchange(source, port=0)) as exchange:
            listing = httpx2.get(exchange.urls.gamma_url + "/markets/keyset")
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._urls: ExchangeUrls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="exchange", daemon=True)

    @property
    def urls(self) -> ExchangeUrls:
        """Addresses of the running exchange."""
        if self._urls is None:
            raise RuntimeError("the exchange is not running")
        return self._urls

    def start(self) -> Self:
        """Start and wait until it serves; a failure to start is raised here."""
        self._thread.start()
        if not self._ready.wait(_PATIENCE_S):
            raise TimeoutError("the exchange did not start")
        if self._error is not None:
            raise self._error
        return self

    def stop(self) -> None:
        """Stop serving; what made the exchange fail meanwhile is raised here."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop ended in between
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE_S)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def call(self, method: Any, *arguments: Any) -> Any:
        """Run a function on the exchange's loop and return its result (tests and fault scripts)."""
        assert self._loop is not None

        async def run() -> Any:
            return method(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_PATIENCE_S)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as exc:  # noqa: BLE001 - a thread ends here; start and stop raise it
            self._error = exc
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.exchange.start()
        self._urls = self.exchange.urls
        self._ready.set()
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({stopping, *self.exchange.tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in self.exchange.tasks:
                if task.done():
                    task.result()
        finally:
            stopping.cancel()
            await self.exchange.stop()

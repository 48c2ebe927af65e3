"""An HTTP server inside a program that has other things to do."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from overround.errors import ConfigError

__all__ = ["QuietServer", "listen"]


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner, and at its end clients that do not read their answers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving; an answer that its client stopped reading would only be waited for in vain."""
        for connection in list(self.server_state.connections):
            flow = getattr(connection, "flow", None)
            if flow is not None and flow.write_paused:
                connection.transport.abort()
        await super().shutdown(sockets)


def listen(host: str, port: int, *, hint: str) -> socket.socket:
    """Bind a port, so that a taken one is known before anything is served.

    Parameters
    ----------
    host : str
    port : int
        0 for any free one.
    hint : str
        What to do about a taken one.

    Raises
    ------
    ConfigError
        If it cannot be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=512)
    except OSError as exc:
        raise ConfigError(f"cannot listen on {host} port {port}: {exc.strerror or exc}", hint=hint) from exc
    # Accepted sockets inherit it; asyncio sets it only where it made the socket itself, and without it a small
    # answer waits up to 40 ms for the client's acknowledgement of the one before.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening

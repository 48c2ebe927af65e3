"""A PostgreSQL server for tests: its own folder, its own port, ended by its own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Postgres", "find_postgres"]

_PATIENCE_S = 30


def find_postgres() -> Path | None:
    """Folder of the server's programs; None where none is installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    return found[-1].parent if found else None


class Postgres:
    """Runs from ``with`` to its end; may be stopped, and paused, in between.

    Parameters
    ----------
    binaries : Path
        See ``find_postgres``.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="overround-pg-"))
        # The server refuses to run as root.
        self._as = ["runuser", "-u", "nobody", "--"] if os.name == "posix" and os.geteuid() == 0 else []
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Address of its database."""
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        if self._as:
            shutil.chown(self._folder, "nobody")
        self._run("initdb", "-D", str(self._folder / "data"), "-A", "trust", "-U", "tester", "-N")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*self._as, str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _PATIENCE_S
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, every connection with it."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            # The server's own process id: `runuser` would not pass the signal on.
            os.kill(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
            process.wait(_PATIENCE_S)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(  # noqa: S603
            [*self._as, str(self._binaries / program), *arguments], check=False, capture_output=True, text=True
        )
        if check and done.returncode:
            raise RuntimeError(done.stderr)
        return done.returncode

"""A venue's end of one loopback WebSocket, made of prebuilt frames so that it is never the bottleneck.

Runs in a process and on a core of its own. After the handshake it answers commands stage by stage, then waits to be
told what to do with the tape: flood (256 KiB pieces), pace (one send per frame) or burst.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import ipaddress
import multiprocessing
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Self

from rounds import SENDER_CORE, pin
from tape import Stage

from overround.exchange.link import text_frame

__all__ = ["Sender", "Texts", "handshake_answer", "tls_context", "tls_files"]

PIECE = 256 * 1024
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Sleeping ends up to so much late; the rest of a pause is spun away.
_SPIN_S = 0.000_12


def handshake_answer(request: bytes) -> bytes:
    """The upgrade's answer to a client's request head."""
    lines = request.split(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + _MAGIC).encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def tls_files(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def tls_context(cert_file: Path) -> ssl.SSLContext:
    """A client's context that trusts the sender."""
    return ssl.create_default_context(cafile=str(cert_file))


@dataclass(frozen=True)
class _Plan:
    """What the sender process needs to know."""

    prologue: list[Stage]
    frames: list[bytes]
    tls: tuple[str, str]


class Sender:
    """The process, seen from the client's side.

    Attributes
    ----------
    port, tls_port : int
    """

    def __init__(self, prologue: Sequence[Stage], frames: Sequence[bytes]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        cert_file, key_file = tls_files(Path(self._folder.name))
        self.tls = tls_context(cert_file)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        plan = _Plan(list(prologue), list(frames), (str(cert_file), str(key_file)))
        self._process = context.Process(target=_serve, args=(theirs, plan), daemon=True)
        self._process.start()
        self.port, self.tls_port = self._pipe.recv()

    def tell(self, *order: object) -> None:
        """``("flood", n)``, ``("pace", n, per_s)`` or ``("burst", n, within_s)`` for the present connection."""
        self._pipe.send(order)

    def answer(self) -> Any:
        """When the first and the last of the frames ordered were sent (``time.time_ns``)."""
        return self._pipe.recv()

    def poll(self) -> bool:
        """Whether ``answer`` has something."""
        return self._pipe.poll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._folder.cleanup()


def _serve(pipe: Pipe, plan: _Plan) -> None:
    pin(SENDER_CORE)
    plain, encrypted = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*plan.tls)
    stages = [(stage.commands, b"".join(map(text_frame, stage.frames))) for stage in plan.prologue]
    framed = [text_frame(frame) for frame in plan.frames]
    ends, total = [], 0
    for frame in framed:
        total += len(frame)
        ends.append(total)
    tape = memoryview(b"".join(framed))
    pipe.send((plain.getsockname()[1], encrypted.getsockname()[1]))
    import select

    while True:
        ready, _, _ = select.select([plain, encrypted], [], [])
        link, _ = ready[0].accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, EOFError):
            if ready[0] is encrypted:
                link = context.wrap_socket(link, server_side=True)
            _one_client(link, pipe, stages, tape, ends)
        link.close()


def _one_client(
    link: socket.socket, pipe: Pipe, stages: list[tuple[int, bytes]], tape: memoryview, ends: list[int]
) -> None:
    incoming = _texts(link)
    heard = 0
    for commands, data in stages:
        while heard < commands:
            next(incoming)
            heard += 1
        link.sendall(data)
    at = 0  # frames sent
    while True:
        order = pipe.recv()
        if order[0] == "end":
            return
        n = min(order[1], len(ends) - at)
        begin = ends[at - 1] if at else 0
        end = ends[at + n - 1]
        first_ns = time.time_ns()
        if order[0] == "flood":
            for start in range(begin, end, PIECE):
                link.sendall(tape[start : min(start + PIECE, end)])
        else:
            gap = 1 / order[2] if order[0] == "pace" else order[2] / n
            _paced(link, tape, [begin, *ends[at : at + n]], gap)
        at = (at + n) % len(ends)
        pipe.send((first_ns, time.time_ns()))


def _paced(link: socket.socket, tape: memoryview, cuts: list[int], gap: float) -> None:
    clock = time.perf_counter
    began = clock()
    for i in range(len(cuts) - 1):
        due = began + i * gap
        left = due - clock()
        if left > _SPIN_S:
            time.sleep(left - _SPIN_S)
        while clock() < due:
            pass
        link.sendall(tape[cuts[i] : cuts[i + 1]])


class Texts:
    """Takes a client's handshake and masked text frames out of a stream of bytes.

    Attributes
    ----------
    head : bytes
        The handshake request, once it has come.
    """

    def __init__(self, *, opened: bool = False) -> None:
        self.head = b""
        self._opened = opened
        self._data = b""

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """None for the handshake, then the payload of each text frame."""
        if not data:
            raise EOFError
        self._data += data
        if not self._opened:
            if b"\r\n\r\n" not in self._data:
                return
            self.head, _, self._data = self._data.partition(b"\r\n\r\n")
            self.head += b"\r\n\r\n"
            self._opened = True
            yield None
        while (frame := self._next()) is not None:
            kind, payload = frame
            if kind == 1:
                yield payload

    def _next(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1] & 127, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        end = start + 4 + size
        if len(data) < end:
            return None
        mask, body = data[start : start + 4], data[start + 4 : end]
        self._data = data[end:]
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return data[0] & 15, (int.from_bytes(body, "big") ^ key).to_bytes(size, "big")


def _texts(link: socket.socket) -> Iterator[bytes]:
    """The client's text frames, after its handshake has been answered."""
    reader = Texts()
    while True:
        for text in reader.feed(link.recv(1 << 16)):
            if text is None:
                link.sendall(handshake_answer(reader.head))
            else:
                yield text

"""Prometheus and Alertmanager as processes of their own, with our rules and routes, hastened."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"

# Whatever a rule waits for is made shorter, in this order of lengths; no threshold is changed, nor is an expression but for
# its windows. A window holds at least six scrapes.
WAITS = {"1m": "1s", "2m": "1s", "5m": "2s"}
WINDOWS = {"5m": "4s", "10m": "8s", "15m": "8s", "1h": "15s"}
SCRAPE = "500ms"


def hastened_rules(text: str) -> str:
    """The rules with shorter waits and windows; a length that is not in the tables is an error."""
    text = re.sub(r"(?m)^(\s+for: )(\w+)$", lambda match: match[1] + WAITS[match[2]], text)
    return re.sub(r"\[(\w+)\]", lambda match: f"[{WINDOWS[match[1]]}]", text)


def hastened_config(text: str, *, alertmanager: int, collector: int) -> str:
    """The scrape configuration with shorter intervals and this test's ports."""
    text = replaced(text, "interval: 15s", f"interval: {SCRAPE}")
    return replaced(replaced(text, ":9093", f":{alertmanager}"), ":9464", f":{collector}")


def hastened_routes(text: str, *, receiver: int) -> str:
    """The routes with shorter waits and this test's receiver."""
    text = re.sub(r"group_wait: \w+", "group_wait: 1s", text)
    text = replaced(text, "group_interval: 5m", "group_interval: 1s")
    return replaced(text, ":9095", f":{receiver}")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


class Receiver:
    """Where Alertmanager tells of alerts."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, str]]] = []
        """Path, ``firing`` or ``resolved``, and labels, in the order of arrival."""
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                with receiver._changed:
                    receiver.told += [(self.path, alert["status"], alert["labels"]) for alert in body["alerts"]]
                    receiver._changed.notify_all()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def told_of(self, since: int) -> set[tuple[str, str]]:
        """Alerts that fired since so many were told, by name and venue."""
        return {(a["alertname"], a.get("venue", "")) for _, status, a in self.told[since:] if status == "firing"}

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that were told of and not taken back."""
        state = {}
        for _, status, labels in self.told:
            state[labels["alertname"], labels.get("venue", "")] = status
        return {alert for alert, status in state.items() if status == "firing"}

    def wait(self, true: Callable[[], object], *, patience_s: float, what: str) -> None:
        """Until what was told makes ``true()`` hold."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            while not true():
                left = deadline - time.monotonic()
                assert left > 0, f"{what}; told {[(s, a['alertname'], a.get('venue')) for _, s, a in self.told[-30:]]}"
                self._changed.wait(left)


class Watch:
    """The servers that run.

    Parameters
    ----------
    prometheus : str
        Base address.
    receiver : Receiver
    """

    def __init__(self, prometheus: str, receiver: Receiver) -> None:
        self.receiver = receiver
        self._client = httpx2.Client(base_url=prometheus, timeout=20)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that answer a query now; a query that Prometheus does not accept fails the test."""
        answer = self._client.get("/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def range(self, query: str, *, seconds: float) -> list[dict[str, Any]]:
        """The series that answer a query at any moment of the last so many seconds."""
        now_s = time.time()
        asked = {"query": query, "start": now_s - seconds, "end": now_s, "step": "1s"}
        answer = self._client.get("/api/v1/query_range", params=asked).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def series(self, match: str) -> list[dict[str, str]]:
        """Labels of all series that there were."""
        answer = self._client.get("/api/v1/series", params={"match[]": match}).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, str]] = answer["data"]
        return found

    def ready(self, *, patience_s: float = 30) -> None:
        """Wait until Prometheus answers."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                if self._client.get("/-/ready").status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            assert time.monotonic() < deadline, "Prometheus does not start"
            time.sleep(0.1)


@contextmanager
def watching(folder: Path, *, collector: int) -> Iterator[Watch]:
    """Both servers, which look at a collector's port."""
    named = [shutil.which(name) for name in ("prometheus", "prometheus-alertmanager")]
    if None in named:
        pytest.skip("prometheus: the servers are not installed")
    folder.mkdir(parents=True)
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    receiver = Receiver()
    config = (FOLDER / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(
        hastened_config(config, alertmanager=ports["alertmanager"], collector=collector)
    )
    (folder / "rules.yml").write_text(hastened_rules((FOLDER / "rules.yml").read_text()))
    routes = (FOLDER / "alertmanager.yml").read_text()
    (folder / "alertmanager.yml").write_text(hastened_routes(routes, receiver=receiver.port))
    commands = {
        "prometheus": [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            "--rules.alert.resend-delay=1s",
        ],
        "alertmanager": [
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            "--cluster.listen-address=",
        ],
    }
    with ExitStack() as stack:
        threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
        stack.callback(receiver.server.server_close)
        stack.callback(receiver.server.shutdown)
        for name, command in commands.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
        watch = Watch(f"http://127.0.0.1:{ports['prometheus']}", receiver)
        watch.ready()
        yield watch

"""The pages in a real browser: nothing asked for, nothing refused, light and dark, narrow and wide."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_day_page import HOSTILE
from test_mine_days import DAYS, MARKETS, NOON, record
from websockets.sync.client import ClientConnection, connect

from overround.cli.app import root
from overround.storage import write_universe
from overround.testing.markets import a_market

pytestmark = pytest.mark.integration

WAIT_S = 60
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "about:blank",
)  # fmt: skip


class Tab:
    """A page in a browser of its own, spoken to by Chromium's debugging protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        said = {"id": number, "method": method, "params": params}
        self._socket.send(json.dumps(said | ({"sessionId": self._session} if self._session else {})))
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def show(self, page: Path, *, width: int, scheme: str) -> None:
        """Open a page and wait until it has loaded; ``events`` are what came of it."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events = []
        self.call("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def ask(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def complaints(self) -> list[str]:
        """Errors on the console, and requests that failed."""
        self.ask("0")  # what happened before is told before
        bad = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed")
        return [json.dumps(event) for event in self.events if event.get("method") in bad]

    def requests(self) -> list[str]:
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def _next(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._socket.recv(timeout=WAIT_S))
        return found


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        pytest.skip("browser: no chromium is installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            [chromium, f"--user-data-dir={profile}", *FLAGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            told, until = Path(profile) / "DevToolsActivePort", time.monotonic() + WAIT_S
            while not (told.is_file() and len(told.read_text().splitlines()) == 2):
                assert browser.poll() is None, "the browser ended"
                assert time.monotonic() < until, "the browser names no port"
                time.sleep(0.05)
            port, path = told.read_text().splitlines()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None, open_timeout=WAIT_S) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()
            browser.wait(WAIT_S)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every page of one lake, one of its markets with a name that wants to be more."""
    folder = tmp_path_factory.mktemp("pages")
    lake = record(folder / "lake", NOON, minutes=12)
    names = ["Will it rain?", HOSTILE, "W" * 200]
    write_universe(lake, "kalshi", DAYS[0], [a_market(number, title=name) for number, name in enumerate(names)])
    pages = {}
    for command in ("mm-viability", "mine", "coverage", "report"):
        pages[command] = folder / f"{command}.html"
        words = [
            command,
            "--venue",
            "kalshi",
            "--date",
            DAYS[0],
            "--data-dir",
            str(lake.root),
            "--out",
            str(pages[command]),
        ]
        done = CliRunner().invoke(root, words + ["--write-report"] * (command == "mm-viability"), standalone_mode=False)
        assert done.exception is None, done.output
    return pages


@pytest.mark.parametrize("command", ["report", "mine", "mm-viability", "coverage"])
def test_a_page_loads_whole_without_a_network(tab: Tab, pages: dict[str, Path], command: str) -> None:
    seen = {}
    for width in (390, 1_400):
        for scheme in ("light", "dark"):
            tab.show(pages[command], width=width, scheme=scheme)
            assert tab.complaints() == []
            assert [url for url in tab.requests() if not url.startswith("data:image/png")] == [pages[command].as_uri()]
            assert tab.ask("document.documentElement.scrollWidth") <= width, "the page itself scrolls sideways"
            seen[width, scheme] = tab.ask(
                "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
            )
            assert tab.ask("document.images.length") == 0
    assert seen[390, "light"] == seen[1_400, "light"] != seen[390, "dark"] == seen[1_400, "dark"]
    if command == "report":
        wide = "[...document.querySelectorAll('image')].map((e) => e.getBoundingClientRect()).every((r) => r.width > 100 && r.height > 100)"
        assert tab.ask("document.querySelectorAll('image').length") == 3
        assert tab.ask(wide)


def test_a_click_on_a_name_sorts_and_another_turns_it_round(tab: Tab, pages: dict[str, Path]) -> None:
    tab.show(pages["report"], width=1_400, scheme="light")
    table = "document.querySelector('table.sortable')"
    ids = f"[...{table}.tBodies[0].rows].map((row) => row.querySelector('.id').title)"
    spread = f"{table}.tHead.rows[0].cells[3]"
    assert tab.ask(f"{spread}.textContent") == "spread, ticks"
    for order, expected in (("descending", MARKETS[::-1]), ("ascending", MARKETS)):
        tab.ask(f"{spread}.click()")
        assert tab.ask(ids) == expected
        assert tab.ask(f"{spread}.ariaSort") == order


def test_what_should_get_past_the_escaping_is_refused(tab: Tab, pages: dict[str, Path], tmp_path: Path) -> None:
    """The browser would tell: the same page with a script, a style, a picture and an attribute of somebody else's."""
    text = pages["mine"].read_text(encoding="utf-8")
    foreign = (
        "<script>document.title='mine now'</script><img src='https://overround.invalid/x.png'>"
        "<b onclick='x()' style='color:red'>b</b>"
    )
    page = tmp_path / "foreign.html"
    page.write_text(text.replace("</body>", f"{foreign}</body>"), encoding="utf-8")
    tab.show(page, width=1_400, scheme="light")
    said = "".join(tab.complaints())
    for kind in ("script-src", "img-src", "style-src"):
        assert kind in said
    assert tab.ask("document.title") == f"kalshi, {DAYS[0]}"

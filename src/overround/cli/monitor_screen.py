"""The monitor's screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import httpx2
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, Footer, Static

from overround.cli.asking import TIMEOUT_S, NoCollector, decode, unanswered
from overround.cli.monitor_tables import Sight, Table, headline, problems, tables
from overround.services.detail import CollectorDetail

__all__ = ["MonitorScreen"]

EVERY_S = 1.0


class MonitorScreen(App[None]):
    """Asks every collector once a second and shows what they say; one that goes away is waited for.

    Parameters
    ----------
    sights : sequence of Sight
        The collectors, with their first answers.
    every_s : float
        Seconds between two questions.
    """

    TITLE = "overround monitor"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("space", "hold", "Hold still"),
        ("tab", "app.focus_next", "Next table"),
    ]
    CSS = """
    Screen { layout: vertical; }
    #headline { height: auto; padding: 0 1; background: $panel; color: $text; }
    #problems { height: auto; max-height: 8; border: round $panel-lighten-2; padding: 0 1; }
    DataTable { border: round $panel-lighten-2; border-title-color: $text-muted; height: 1fr; width: 1fr; scrollbar-size: 1 1; }
    DataTable:focus { border: round $accent; }
    #venues { height: auto; max-height: 9; }
    #lower { height: 1fr; }
    #connections { width: 4fr; }
    #markets { width: 5fr; }
    #gaps { height: 30%; min-height: 6; }
    """

    def __init__(self, sights: Sequence[Sight], *, every_s: float = EVERY_S) -> None:
        super().__init__()
        self.sights = list(sights)
        self._answered_s = [time.monotonic()] * len(self.sights)
        self._every_s = every_s
        self._held = False

    def compose(self) -> ComposeResult:
        """The parts of the screen."""
        yield Static(id="headline")
        yield DataTable(id="venues", cursor_type="none")
        with Horizontal(id="lower"):
            yield DataTable(id="connections", cursor_type="none")
            yield DataTable(id="markets", cursor_type="none")
        yield DataTable(id="gaps", cursor_type="none")
        with VerticalScroll(id="problems", can_focus=False):
            yield Static(id="problem-lines")
        yield Footer()

    def on_mount(self) -> None:
        """Show the first answers, and begin to ask."""
        self.query_one("#problems").border_title = "Problems"
        self._redraw()
        self.run_worker(self._ask_on(), exclusive=True)

    def action_hold(self) -> None:
        """Stop redrawing, or go on."""
        self._held = not self._held
        self._redraw()

    async def _ask_on(self) -> None:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
            while True:
                began_s = time.monotonic()
                await asyncio.gather(*(self._ask(client, place) for place in range(len(self.sights))))
                if not self._held:
                    self._redraw()
                await asyncio.sleep(max(0.05, self._every_s - (time.monotonic() - began_s)))

    async def _ask(self, client: httpx2.AsyncClient, place: int) -> None:
        url = self.sights[place].url
        try:
            detail = decode(url, await client.get(f"{url}/status"), CollectorDetail)
        except (httpx2.HTTPError, httpx2.InvalidURL, NoCollector) as exc:
            error = exc if isinstance(exc, NoCollector) else unanswered(url, exc)
            silent_s = time.monotonic() - self._answered_s[place]
            self.sights[place] = replace(self.sights[place], error=str(error), silent_s=silent_s)
            return
        self._answered_s[place] = time.monotonic()
        self.sights[place] = Sight(url=url, detail=detail)

    def _redraw(self) -> None:
        lines = Text(headline(self.sights))
        if self._held:
            lines.append("  held still, space goes on", style="reverse")
        self.query_one("#headline", Static).update(lines)
        for table in tables(self.sights):
            _fill(self.query_one(f"#{table.name}", DataTable), table)
        self.query_one("#problem-lines", Static).update(Text("\n").join(problems(self.sights)))


def _fill(widget: DataTable[Text], table: Table) -> None:
    """Put the rows into their widget, which stays where it was scrolled to."""
    widget.border_title = table.title
    if not widget.columns:
        for name in table.columns:
            widget.add_column(name)
    x, y = widget.scroll_offset
    widget.clear()
    for row in table.rows:
        widget.add_row(*row)
    widget.scroll_to(x, y, animate=False)

"""A day of the ledger as a picture: a page that needs nothing, a PNG by matplotlib (the extra ``reports``)."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from overround.errors import StorageError, UsageError
from overround.pipelines.coverage import Cell, CoverageReport
from overround.pipelines.pages import charts, render, write_page
from overround.storage.fileops import FileOps

__all__ = ["COLOURS", "MEANINGS", "clock_time", "html_page", "key", "layers", "png_image", "write_picture"]

COLOURS: dict[Cell, str] = {
    Cell.VERIFIED: "#1a9850",
    Cell.QUIET: "#74add1",
    Cell.UNVERIFIED: "#fdd835",
    Cell.TOUCHED: "#f46d43",
    Cell.GAP: "#c2185b",
    Cell.DOWN: "#6a1b9a",
    Cell.ABSENT: "#e0e0e0",
    Cell.HOLE: "#ffffff",
}
MEANINGS: dict[Cell, str] = {
    Cell.VERIFIED: "verified",
    Cell.QUIET: "quiet: proved, nothing changed for a minute",
    Cell.UNVERIFIED: "unverified",
    Cell.TOUCHED: "a gap in a part of it",
    Cell.GAP: "mostly gap",
    Cell.DOWN: "mostly no connection",
    Cell.ABSENT: "not subscribed",
    Cell.HOLE: "collector did not run",
}
# In the order of CoverageReport.shares_cells.
_LAYERS = (Cell.VERIFIED, Cell.QUIET, Cell.UNVERIFIED, Cell.GAP, Cell.DOWN)
_MOST_ROWS = 200


def write_picture(report: CoverageReport, path: Path) -> None:
    """Write ``path`` as its suffix says.

    Raises
    ------
    UsageError
        If the suffix is neither ``.png`` nor ``.html``, or matplotlib is not installed.
    StorageError
        If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in {".html", ".htm"}:
        write_page(path, html_page(report))
        return
    if suffix != ".png":
        raise UsageError(f"{path.name!r} is neither .png nor .html", hint="name a file such as coverage.html")
    try:
        FileOps().write_whole(path, png_image(report))
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def clock_time(report: CoverageReport, cell: int) -> str:
    """UTC time ``HH:MM`` at which a cell begins."""
    ms = report.start_ms + cell * report.cell_minutes * 60_000
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%H:%M")


def _headline(report: CoverageReport) -> str:
    return (
        f"{report.verified:.2%} verified, {report.quiet:.2%} quiet, {report.unverified:.2%} unverified, "
        f"{report.gap:.2%} gap, {report.venue_down:.2%} venue down"
    )


# -- HTML --------------------------------------------------------------------------------------------------


def html_page(report: CoverageReport) -> str:
    """One self-contained page."""
    shown = report.markets[:_MOST_ROWS]
    return render(
        "coverage",
        report=report,
        headline=_headline(report),
        layers=layers(report),
        key=key(),
        rows=[(market, _strip(report, market.cells)) for market in shown],
        left=len(report.markets) - len(shown),
    )


def layers(report: CoverageReport) -> Markup:
    """All markets' wanted time, cell by cell, with its axis."""
    side, n_cells, parts = 1_000, len(report.cells), []
    for at, shares in enumerate(report.shares_cells):
        top = 1.0
        said = ", ".join(f"{MEANINGS[c].partition(':')[0]} {s:.1%}" for c, s in zip(_LAYERS, shares, strict=True) if s)
        for cell, share in zip(_LAYERS, shares, strict=True):
            if share:
                top -= share
                parts.append(
                    Markup(
                        '<rect class="{}" x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"><title>{}: {}</title></rect>'
                    ).format(
                        cell.value, side * at / n_cells, side * max(0.0, top), side / n_cells, side * share,
                        clock_time(report, at), said,
                    )
                )  # fmt: skip
    end_ms = report.start_ms + n_cells * report.cell_minutes * 60_000
    return charts.chart(
        Markup("").join(parts),
        height=90,
        alt=f"Coverage of {report.venue} on {report.date}: {_headline(report)}",
        xs=charts.clock_ticks(report.start_ms, end_ms),
        ys=[(0.0, "0"), (0.5, "50 %"), (1.0, "100 %")],
    )


def key() -> Markup:
    """What the colours mean."""
    return Markup("").join(
        Markup('<span><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="{}" width="1" height="1"/></svg>{}</span>').format(
            cell.value, MEANINGS[cell]
        )
        for cell in Cell
    )  # fmt: skip


def _strip(report: CoverageReport, cells: Sequence[Cell]) -> Markup:
    """A strip; hovering tells the times."""
    told, at = [], 0
    for cell, run in groupby(cells):
        width = len(list(run))
        words = f"{clock_time(report, at)} to {clock_time(report, at + width)}: {MEANINGS[cell]}"
        told += [(cell.value, words)] * width
        at += width
    return charts.strip(told, alt=f"from {clock_time(report, 0)} to {clock_time(report, at)} UTC")


# -- PNG ---------------------------------------------------------------------------------------------------


def png_image(report: CoverageReport) -> bytes:
    """The same as an image.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
        colours: Any = importlib.import_module("matplotlib.colors")
        patches: Any = importlib.import_module("matplotlib.patches")
    except ImportError as exc:
        raise UsageError(
            "a PNG needs matplotlib", hint="pip install 'overround[reports]', or name a .html file"
        ) from exc
    shown = report.markets[:_MOST_ROWS]
    height = 3.2 + max(1.0, min(14.0, len(shown) * 0.16))
    figure = figures.Figure(figsize=(13, height), dpi=110, layout="constrained")
    top, below = figure.subplots(2, 1, height_ratios=[1.4, max(1.0, min(14.0, len(shown) * 0.16))])
    n_cells = len(report.cells)
    figure.suptitle(f"Coverage of {report.venue} on {report.date}: {_headline(report)}", fontsize=11)
    base = [0.0] * n_cells
    for layer, cell in enumerate(_LAYERS):
        parts = [shares[layer] for shares in report.shares_cells]
        top.bar(range(n_cells), parts, bottom=base, width=1.0, align="edge", color=COLOURS[cell])
        base = [b + p for b, p in zip(base, parts, strict=True)]
    top.set(xlim=(0, n_cells), ylim=(0, 1), ylabel="all markets")
    top.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    order = list(Cell)
    below.imshow(
        [[order.index(cell) for cell in market.cells] for market in shown] or [[0] * n_cells],
        aspect="auto",
        interpolation="nearest",
        cmap=colours.ListedColormap([COLOURS[cell] for cell in order]),
        vmin=-0.5,
        vmax=len(order) - 0.5,
        extent=(0, n_cells, max(1, len(shown)), 0),
    )
    if len(shown) <= 60:
        names = [_short(market.title or market.market_id) for market in shown]
        below.set_yticks([row + 0.5 for row in range(len(shown))], names, fontsize=6.5)
    else:
        below.set_ylabel(f"{len(shown)} of {len(report.markets):,} markets, most gap first")
        below.set_yticks([])
    step = max(1, n_cells // 12)
    ticks = list(range(0, n_cells + 1, step))
    for axes in (top, below):
        axes.set_xticks(ticks, [clock_time(report, tick) for tick in ticks], fontsize=8)
    below.set_xlabel(f"UTC; a cell is {report.cell_minutes} min")
    figure.legend(
        handles=[patches.Patch(facecolor=COLOURS[c], edgecolor="#999999", label=MEANINGS[c]) for c in Cell],
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    sink = io.BytesIO()
    figure.savefig(sink, format="png", facecolor="white")
    return sink.getvalue()


def _short(text: str) -> str:
    return text if len(text) <= 44 else f"{text[:43]}…"

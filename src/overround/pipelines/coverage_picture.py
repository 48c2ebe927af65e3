"""A day of the ledger as a picture: HTML that needs nothing, PNG by matplotlib (the extra ``reports``)."""

from __future__ import annotations

import html
import importlib
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from overround.errors import StorageError, UsageError
from overround.pipelines.coverage import Cell, CoverageReport
from overround.storage.fileops import FileOps

__all__ = ["COLOURS", "MEANINGS", "clock_time", "html_page", "png_image", "write_picture"]

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
        data = html_page(report).encode()
    elif suffix == ".png":
        data = png_image(report)
    else:
        raise UsageError(f"{path.name!r} is neither .png nor .html", hint="name a file such as coverage.html")
    try:
        FileOps().write_whole(path, data)
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def clock_time(report: CoverageReport, cell: int) -> str:
    """UTC time ``HH:MM`` at which a cell begins."""
    ms = report.start_ms + cell * report.cell_minutes * 60_000
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%H:%M")


def _headline(report: CoverageReport) -> str:
    return (
        f"{report.verified:.1%} verified, {report.quiet:.1%} quiet, {report.unverified:.1%} unverified, "
        f"{report.gap:.2%} gap, {report.venue_down:.2%} venue down"
    )


# -- HTML --------------------------------------------------------------------------------------------------

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; max-width: 1200px; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ padding: 1px 8px 1px 0; text-align: right; white-space: nowrap; }}
td:first-child, th:first-child {{ text-align: left; max-width: 22em; overflow: hidden; text-overflow: ellipsis; }}
td.strip {{ width: 55%; }} svg {{ display: block; width: 100%; height: 14px; }} svg.tall {{ height: 90px; }}
.key span {{ display: inline-block; margin-right: 1.2em; }}
.key i {{ display: inline-block; width: 1em; height: 1em; margin-right: .4em; vertical-align: -2px; border: 1px solid #999; }}
</style></head><body>
<h1>{title}</h1><p>{headline}<br>{rest}</p><p class="key">{key}</p>
<svg class="tall" viewBox="0 0 {n} 1" preserveAspectRatio="none">{layers}</svg>
<p>{first} to {last} UTC, a cell is {cell} min; hover for the time.</p>
<table><tr><th>market</th><th>verified</th><th>quiet</th><th>unverified</th><th>gap</th><th>gaps</th><th class="strip"></th></tr>
{rows}</table>{more}<h2>Gaps by cause</h2>
<table><tr><th>cause</th><th>gaps</th><th>markets</th><th>open</th><th>total s</th><th>longest s</th></tr>{causes}</table>
</body></html>
"""


def html_page(report: CoverageReport) -> str:
    """One self-contained page: no script, nothing loaded."""
    shown = report.markets[:_MOST_ROWS]
    rows = "\n".join(
        f"<tr><td title='{html.escape(m.market_id, quote=True)}'>{html.escape(m.title or m.market_id)}</td>"
        f"<td>{m.verified:.1%}</td><td>{m.quiet:.1%}</td><td>{m.unverified:.1%}</td>"
        f"<td>{m.gap + m.venue_down:.2%}</td><td>{m.gaps}</td><td class='strip'>{_svg(report, m.cells)}</td></tr>"
        for m in shown
    )
    left = len(report.markets) - len(shown)
    return _PAGE.format(
        title=f"Coverage of {report.venue} on {report.date}",
        headline=_headline(report),
        rest=f"{len(report.markets):,} markets, {report.wanted_s / 3600:,.1f} market-hours wanted; the collector ran "
        f"{report.ran_s / 3600:.2f} h, {report.connected_s / 3600:.2f} h of it connected.",
        key="".join(f"<span><i style='background:{COLOURS[c]}'></i>{html.escape(MEANINGS[c])}</span>" for c in Cell),
        n=len(report.cells),
        layers=_layers_svg(report),
        first=clock_time(report, 0),
        last=clock_time(report, len(report.cells)),
        cell=report.cell_minutes,
        rows=rows,
        more=f"<p>{left:,} more markets with fewer gaps are not shown.</p>" if left else "",
        causes="".join(
            f"<tr><td>{html.escape(c.cause)}</td><td>{c.gaps:,}</td><td>{c.markets:,}</td><td>{c.open:,}</td>"
            f"<td>{c.total_s:,.1f}</td><td>{c.longest_s:,.1f}</td></tr>"
            for c in report.causes
        ),
    )


def _svg(report: CoverageReport, cells: Sequence[Cell]) -> str:
    """A strip; neighbours that are alike are one rectangle."""
    parts, at = [], 0
    for cell, run in groupby(cells):
        width = len(list(run))
        said = f"{clock_time(report, at)} to {clock_time(report, at + width)}: {MEANINGS[cell]}"
        parts.append(
            f"<rect x='{at}' y='0' width='{width}' height='1' fill='{COLOURS[cell]}'><title>{said}</title></rect>"
        )
        at += width
    return f"<svg viewBox='0 0 {len(cells)} 1' preserveAspectRatio='none'>{''.join(parts)}</svg>"


def _layers_svg(report: CoverageReport) -> str:
    parts = []
    for at, shares in enumerate(report.shares_cells):
        top = 1.0
        said = ", ".join(f"{MEANINGS[c].partition(':')[0]} {s:.1%}" for c, s in zip(_LAYERS, shares, strict=True) if s)
        for cell, share in zip(_LAYERS, shares, strict=True):
            if share:
                top -= share
                parts.append(
                    f"<rect x='{at}' y='{max(0.0, top):.4f}' width='1' height='{share:.4f}' fill='{COLOURS[cell]}'>"
                    f"<title>{clock_time(report, at)}: {said}</title></rect>"
                )
    return "".join(parts)


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

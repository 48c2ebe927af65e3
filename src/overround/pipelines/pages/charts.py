"""Pictures in a page: SVG that fits any width, coloured by the stylesheet, and small palette PNGs.

Places are parts of the picture's width and height, 0 at its left and top: as percentages they keep text and dots in shape,
and paths live in a square of 1,000 that is stretched under them.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

__all__ = [
    "Dot",
    "Step",
    "band",
    "chart",
    "clock_ticks",
    "image",
    "png",
    "scatter",
    "spark",
    "steps",
    "strip",
    "ticks_up_to",
]

Ticks = Sequence[tuple[float, str]]
_SIDE = 1_000


class Step(NamedTuple):
    """A value that holds for a while; ``x0`` and ``x1`` are parts of the width."""

    x0: float
    x1: float
    value: float


class Dot(NamedTuple):
    """An estimate with its interval over a positive figure."""

    x: float
    y: float
    lo: float
    hi: float
    good: bool
    words: str


def chart(
    marks: Markup, *, height: int, alt: str, xs: Ticks = (), ys: Ticks = (), over: Markup | None = None
) -> Markup:
    """Paths with an axis of labels to the left and below; ``over`` is drawn unstretched."""
    labels = [
        Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/><text x="-6" y="{0}" dy="4" text-anchor="end">{1}</text>').format(
            _percent(1 - at), text
        )
        for at, text in ys
    ] + [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/><text x="{0}" y="100%" dy="15" text-anchor="middle">{1}</text>').format(
            _percent(at), text
        )
        for at, text in xs
    ]  # fmt: skip
    return Markup('<svg height="{}" role="img" aria-label="{}">{}{}{}</svg>').format(
        height, alt, Markup("").join(labels), _stretched(marks), over or Markup("")
    )


def spark(marks: Markup, *, alt: str) -> Markup:
    """A small picture without an axis."""
    return Markup(
        '<svg class="spark" viewBox="0 0 {0} {0}" preserveAspectRatio="none" role="img" aria-label="{1}">{2}</svg>'
    ).format(_SIDE, alt, marks)


def steps(found: Sequence[Step], *, low: float, high: float, style: str) -> Markup:
    """A line of steps; it breaks where a stretch is missing."""
    path, end = [], math.nan
    for step in found:
        y = _SIDE * (1 - _part(step.value, low, high))
        path.append(f"{'L' if abs(step.x0 - end) < 1e-9 else 'M'}{_SIDE * step.x0:.1f} {y:.0f}H{_SIDE * step.x1:.1f}")
        end = step.x1
    return Markup('<path class="{}" d="{}"/>').format(style, "".join(path))


def band(found: Sequence[tuple[Step, Step]], *, low: float, high: float) -> Markup:
    """The stretch between two lines of steps."""

    def y(step: Step) -> str:
        return f"{_SIDE * (1 - _part(step.value, low, high)):.0f}"

    return Markup('<path class="band" d="{}"/>').format(
        "".join(
            f"M{_SIDE * under.x0:.1f} {y(under)}H{_SIDE * under.x1:.1f}V{y(over)}H{_SIDE * over.x0:.1f}Z"
            for under, over in found
        )
    )


def strip(cells: Sequence[tuple[str, str]], *, alt: str) -> Markup:
    """Cells side by side, each a class and words for it; neighbours that are alike are one rectangle."""
    parts, at = [], 0
    for (style, words), run in groupby(cells):
        width = len(list(run))
        parts.append(
            Markup('<rect class="{}" x="{}" width="{}" height="1"><title>{}</title></rect>').format(
                style, at, width, words
            )
        )
        at += width
    return Markup(
        '<svg class="strip" viewBox="0 0 {} 1" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(max(1, len(cells)), alt, Markup("").join(parts))


def scatter(dots: Sequence[Dot], *, height: int, alt: str) -> Markup:
    """Estimates and intervals over a logarithmic axis; upwards ten times as much is about as far again, either side of 0."""
    least_x, most_x = min(dot.x for dot in dots) / 1.05, max(dot.x for dot in dots) * 1.05
    low, high = math.log10(least_x), math.log10(most_x)
    rounds = [times * 10.0**n for n in range(math.floor(low), math.ceil(high)) for times in (1, 2, 5)]
    xs = [(_part(math.log10(at), low, high), f"{at:,.6g}") for at in rounds if least_x <= at <= most_x]
    if len(xs) < 3:
        xs = [
            (_part(math.log10(least_x + part * (most_x - least_x)), low, high), words)
            for part, words in ticks_between(least_x, most_x, "")
        ]
    reach = max(1.0, *(abs(end) for dot in dots for end in (dot.lo, dot.hi, dot.y)))
    most = math.ceil(math.log10(reach))
    least = -most if any(min(dot.lo, dot.y) < -0.5 for dot in dots) else 0
    bottom, top = _squeezed(math.copysign(10 ** abs(least), least) if least else -0.5), _squeezed(10**most)
    ups = [0.0, *(sign * 10.0**n for n in range(most + 1) for sign in (1, -1) if sign > 0 or least)]
    shown = [up for up in ups if most <= 3 or up == 0 or round(math.log10(abs(up))) % 2 == most % 2]

    def x(dot: Dot) -> str:
        return _percent(_part(math.log10(dot.x), low, high))

    def y(value: float) -> str:
        return _percent(1 - _part(_squeezed(value), bottom, top))

    marks = [
        Markup(
            '<line class="bar" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><circle class="dot{3}" cx="{0}" cy="{4}" r="4"><title>{5}</title></circle>'
        ).format(x(dot), y(dot.lo), y(dot.hi), "" if dot.good else " loses", y(dot.y), dot.words)
        for dot in dots
    ]
    return chart(
        Markup(""),
        height=height,
        alt=alt,
        xs=xs,
        ys=[(_part(_squeezed(up), bottom, top), f"{up:,.0f}") for up in sorted(shown)],
        over=Markup("").join(marks),
    )


def image(data: bytes) -> Markup:
    """A PNG, stretched over the picture."""
    return Markup(
        '<image class="pixels" width="{0}" height="{0}" preserveAspectRatio="none" href="data:image/png;base64,{1}"/>'
    ).format(_SIDE, base64.b64encode(data).decode())


def png(pixels: npt.NDArray[np.uint8], palette: Iterable[tuple[int, int, int, int]]) -> bytes:
    """A PNG of palette entries, red, green, blue and opacity of 255 each; the first row is the top."""
    rgb, opacity = bytearray(), bytearray()
    for *colour, alpha in palette:
        rgb += bytes(colour)
        opacity.append(alpha)
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": bytes(rgb),
        b"tRNS": bytes(opacity),
        b"IDAT": zlib.compress(lines, 9),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def clock_ticks(begin_ms: int, end_ms: int) -> list[tuple[float, str]]:
    """Eight times at most, UTC, on whole steps of the clock."""
    span_s = (end_ms - begin_ms) / 1_000
    step_s = next(
        (step for step in (10, 30, 60, 120, 300, 900, 1_800, 3_600, 7_200, 10_800, 21_600) if span_s / step <= 7),
        21_600,
    )
    first = -(-begin_ms // (step_s * 1_000)) * step_s * 1_000
    shown = "%H:%M" if step_s >= 60 else "%H:%M:%S"
    return [
        ((at - begin_ms) / (end_ms - begin_ms), datetime.fromtimestamp(at / 1_000, tz=UTC).strftime(shown))
        for at in range(first, end_ms + 1, step_s * 1_000)
    ]  # fmt: skip


def ticks_up_to(most: float, form: str) -> tuple[float, list[tuple[float, str]]]:
    """A round number not below ``most``, and labels at 0, its half and itself."""
    if most <= 0:
        most = 1.0
    power: float = 10.0 ** math.floor(math.log10(most))
    top = next(times * power for times in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0) if times * power >= most * 0.999)
    return top, [(part, format(top * part, form)) for part in (0.0, 0.5, 1.0)]


def ticks_between(low: float, high: float, unit: str) -> list[tuple[float, str]]:
    """Six round numbers at most."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= (high - low) / 5 * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(_part(n * step, low, high), f"{n * step:.6g}{unit}") for n in range(first, last + 1)]


def _stretched(marks: Markup) -> Markup:
    return Markup('<svg viewBox="0 0 {0} {0}" width="100%" height="100%" preserveAspectRatio="none">{1}</svg>').format(
        _SIDE, marks
    )


def _percent(part: float) -> str:
    return f"{100 * part:.2f}%"


def _part(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _squeezed(value: float) -> float:
    return math.asinh(value * 2)

"""What the monitor shows, as tables: the same on its screen and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from overround.market import Integrity
from overround.services.detail import CollectorDetail, GapDetail, VenueDetail

__all__ = ["Sight", "Table", "problems", "tables"]

BAR = 24
# Told apart without colours, too.
_SHADES = {
    Integrity.VERIFIED: ("█", "green"),
    Integrity.UNVERIFIED: ("▓", "blue"),
    Integrity.SUSPECT: ("▒", "yellow"),
    Integrity.STALE: ("░", "magenta"),
    Integrity.GAP: ("×", "red"),
}
_STATES = {
    "ok": "green", "degraded": "yellow", "failing": "red", "no answer": "red", "open": "green", "polling": "blue", "down": "red", "idle": "dim",
    "verified": "green", "unverified": "blue",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What is known of one collector.

    Attributes
    ----------
    url : str
    detail : CollectorDetail or None
        Its last answer.
    error : str
        Why there is no newer one, or empty.
    silent_s : float
        Since the last answer, or since it was asked first.
    """

    url: str
    detail: CollectorDetail | None = None
    error: str = ""
    silent_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Table:
    """A heading, columns and cells; numbers stand right."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[list[Text]]


def tables(sights: Sequence[Sight]) -> list[Table]:
    """Venues, connections, markets and gaps of all collectors."""
    several = len(sights) > 1
    seen = [
        (_host(sight.url) if several else "", sight.detail, venue)
        for sight in sights
        if sight.detail is not None
        for venue in sight.detail.venues
    ]
    return [
        Table(
            name="venues",
            title="Venues",
            columns=("venue", "state", "connected", "books", f"{'verdicts':<{BAR}}", "verified", "frames/s", "rows/s",
                     "gaps", "open", "reconnects", "flushed"),
            rows=[
                _venue(sight, _host(sight.url) if several else "", venue)
                for sight in sights
                if sight.detail is not None
                for venue in sight.detail.venues
            ],
        ),
        Table(
            name="connections",
            title="Connections",
            columns=("connection", "state", "for", "markets", "frames", "quiet", "lost"),
            rows=[
                [
                    _text(f"{at} {one.name}".strip()), _state(one.state), _right(_span(one.since_s)), _right(f"{one.markets:,}"),
                    _right(f"{one.frames:,}"), _right("-" if one.quiet_s is None else _span(one.quiet_s)), _right(str(one.reconnects)),
                ]
                for at, _, venue in seen
                for one in sorted(venue.connections, key=lambda one: one.state == "idle")
            ],
        ),
        Table(
            name="markets",
            title="Most active markets",
            columns=("changes/s", "bid", "ask", "verdict", "quiet", "market"),
            rows=[
                [
                    _right(f"{one.changes_per_s:,.1f}"), _price(one.best_bid), _price(one.best_ask), _state(one.verdict),
                    _right(_span(one.quiet_s)), _text(f"{venue.venue}: {one.title}"),
                ]
                for _, _, venue, one in sorted(
                    ((at, detail, venue, one) for at, detail, venue in seen for one in venue.markets),
                    key=lambda row: -row[3].changes_per_s,
                )
            ],
        ),
        Table(
            name="gaps",
            title="Newest gaps",
            columns=("ago", "lasted", "cause", "markets", "ended by", "repair", "market"),
            rows=[
                _gap(detail, gap)
                for detail, gap in sorted(
                    ((detail, gap) for _, detail, venue in seen for gap in venue.gaps),
                    key=lambda row: (not row[1].open, -row[1].start_ms),
                )
            ],
        ),
    ]  # fmt: skip


def problems(sights: Sequence[Sight]) -> list[Text]:
    """What is wrong, with the remedy; one line that says so when nothing is."""
    found = []
    for sight in sights:
        at = f"{_host(sight.url)}: " if len(sights) > 1 else ""
        if sight.error:
            found.append(
                Text(f"{at}{sight.error} (silent for {_span(sight.silent_s)}, asked every second)", style="red")
            )
        if sight.detail is None:
            continue
        health = sight.detail.health
        lines = [*health.problems, *(f"{venue.venue}: {line}" for venue in health.venues for line in venue.problems)]
        found += [Text(f"{at}{line}", style=_STATES[health.state]) for line in lines]
        if not health.ready:
            found.append(Text(f"{at}not ready yet: not every venue has a connection and a book", style="yellow"))
    return found or [Text("nothing is wrong", style="green")]


def headline(sights: Sequence[Sight]) -> str:
    """One line about each collector."""
    lines = []
    for sight in sights:
        if sight.detail is None:
            lines.append(f"{sight.url}  no answer yet")
            continue
        health = sight.detail.health
        free = f"{health.disk_free_bytes / 1e9:,.1f} GB ({health.disk_free_share:.0%}) free"
        state = f"no answer for {_span(sight.silent_s)}" if sight.error else health.state
        lines.append(f"{sight.url}  {state}  up {_span(health.up_s)}  {free}  version {health.version}")
    return "\n".join(lines)


def verdict_bar(books: Mapping[str, int]) -> Text:
    """The shares of the verdicts, each of at least one cell if there is any."""
    total = sum(books.values())
    bar = Text()
    if not total:
        return bar.append("-" * BAR, style="dim")
    cells = {word: max(1, round(n * BAR / total)) for word, n in books.items() if n}
    widest = max(cells, key=lambda word: cells[word])
    cells[widest] += BAR - sum(cells.values())
    for word, (shade, colour) in _SHADES.items():
        bar.append(shade * cells.get(word, 0), style=colour)
    return bar


def _venue(sight: Sight, at: str, venue: VenueDetail) -> list[Text]:
    assert sight.detail is not None
    health = next(one for one in sight.detail.health.venues if one.venue == venue.venue)
    figures = venue.figures
    books = sum(venue.books.values())
    share = venue.books.get(Integrity.VERIFIED, 0) / books if books else None
    return [
        _text(f"{at} {venue.venue}".strip() + (" (polled)" if venue.mode == "polling" else "")),
        _state("no answer" if sight.error else health.state),
        _right(f"{health.connected} of {health.connections}"),
        _right(f"{health.live:,} of {health.subscriptions:,}"),
        verdict_bar(venue.books),
        _right("-" if share is None else f"{share:.1%}"),
        _right(f"{figures['frames_per_s']:,.0f}"),
        _right(f"{figures['snapshots_per_s']:,.1f}"),
        _right(f"{figures['gaps']:,.0f}"),
        _right(f"{health.open_gaps:,}"),
        _right(f"{figures['reconnects']:,.0f}"),
        _right(_span(health.last_flush_s)),
    ]


def _gap(detail: CollectorDetail, gap: GapDetail) -> list[Text]:
    lasted_ms = (detail.now_ms if gap.end_ms is None else gap.end_ms) - gap.start_ms
    lasted = _right(_span(lasted_ms / 1000))
    if gap.open:
        lasted = Text(f"{lasted.plain} …", style="red", justify="right")
    return [
        _right(_span((detail.now_ms - gap.start_ms) / 1000)),
        lasted,
        _text(gap.cause),
        _right(f"{gap.markets:,}" if not gap.open else f"{gap.open:,} of {gap.markets:,}"),
        _text(gap.by or "-"),
        _text(gap.repair),
        _text(gap.title if gap.markets == 1 else ""),
    ]


def _host(url: str) -> str:
    return url.partition("://")[2]


def _text(text: str) -> Text:
    return Text(text)


def _right(text: str) -> Text:
    return Text(text, justify="right")


def _price(px: float | None) -> Text:
    return _right("-" if px is None else f"{px:.3f}")


def _state(word: str) -> Text:
    return Text(word, style=_STATES.get(word, "yellow"))


def _span(seconds: float) -> str:
    """A length of time at a glance: ``0.4 s``, ``12 s``, ``3 min``, ``5.1 h``, ``2.0 d``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"

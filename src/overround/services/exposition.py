"""A collector's figures in Prometheus' words, made at the moment of a scrape.

Labels are venues (and their hosts), reasons (causes, verdicts, outcomes) and stages (steps), never markets: a rotating set
of markets would be a series for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from overround.collector import VenueRecorder, VenueStatus
from overround.collector.figures import RecorderTotals
from overround.market import Venue
from overround.ops import Histogram
from overround.storage import EVERY_VENUE, STAGES, LakePaths, RunCount, read_run_counts

__all__ = ["COUNTED", "COUNTERS", "GAUGES", "LABELS", "TOTALS", "CollectorFigures"]

LABELS = frozenset({"venue", "host", "cause", "integrity", "outcome", "step", "stage"})
"""Every label there is, beside a histogram's bounds and the version."""

# Field of VenueStatus, name (without the prefix, and `_total` for counters), what it says.
COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("frames", "frames", "Messages received."),
    ("changes", "book_changes", "Changes applied to books."),
    ("trades", "trades", "Prints seen."),
    ("snapshots", "snapshots", "Snapshots taken (one market's rows at one instant)."),
    ("rows", "rows", "Rows taken in."),
    ("flushes", "flushes", "Flushes of rows."),
    ("flush_failures", "flush_failures", "Flushes that the disk refused."),
    ("files", "files", "Parquet files finished."),
    ("bytes_written", "file_bytes", "Bytes of finished Parquet files."),
    ("journal_bytes", "journal_bytes", "Compressed bytes of the journal."),
    ("journal_failures", "journal_failures", "Writes of the journal that the disk refused."),
    ("ledger_failures", "ledger_failures", "Writes of the coverage ledger that the disk refused."),
    ("clock_steps", "clock_steps", "Times that the machine's clock was set and recording began anew."),
    ("repairs", "repairs", "Books that became right again."),
    ("resyncs", "resyncs", "Repair steps taken."),
    ("marked", "marked_markets", "Times that every repair step failed for a market, which rests then."),
    ("reconnects", "reconnects", "Connections lost and opened again."),
    ("rejected", "rejected_messages", "Messages that did not read."),
    ("unknown", "unknown_messages", "Messages of kinds that are not documented."),
    ("listed", "listed_markets", "Markets announced by the venue."),
    ("suspicions", "silence_suspicions", "Times that silence was looked into."),
    ("audits", "audits", "Books compared with the venue's REST."),
    ("freezes", "frozen_connections", "Connections found silent and replaced."),
    ("mutes", "mute_markets", "Markets found mute and subscribed anew."),
    ("missing_books", "missing_first_books", "Markets whose first book was asked for again."),
    ("quarantined", "quarantined_messages", "Messages set aside because they are not as documented."),
    ("requests", "requests", "REST requests sent, repeated ones included."),
    ("request_failures", "request_failures", "REST calls that failed for good."),
    ("rate_limited", "rate_limited", "REST answers that told us to wait."),
)
GAUGES: tuple[tuple[str, str, str], ...] = (
    ("connections", "connections", "Connections wanted."),
    ("connected", "connections_up", "Connections that stand."),
    ("subscriptions", "subscriptions", "Markets held."),
    ("live", "live_books", "Markets with a right book."),
    ("hot", "hot_markets", "Markets always held."),
    ("warm", "warm_markets", "Markets of the rotating set."),
    ("rows_waiting", "rows_waiting", "Rows that are not durable yet."),
    ("journal_waiting", "journal_waiting_bytes", "Bytes of the journal in memory because the disk refused them."),
    ("ledger_waiting", "ledger_rows_waiting", "Rows of the ledger in memory because the disk refused them."),
    ("open_gaps", "open_gaps", "Gaps that have not ended."),
    ("verified_share", "verified_rows_ratio", "Part of the rows whose book was proved."),
    ("verified_minutes", "verified_minutes_ratio", "Part of the wanted market-minutes that is verified."),
    ("drift", "drift_departures", "Ways in which messages are not as documented."),
)
_SECONDS: tuple[tuple[str, str, str], ...] = (
    ("last_flush_age_ms", "last_flush_age_seconds", "Time since the last durable flush."),
    ("oldest_book_ms", "oldest_book_seconds", "Longest time since a live book was proved."),
)
TOTALS: tuple[tuple[str, str, Callable[[RecorderTotals], int]], ...] = (
    ("gap_episodes", "Holes found, whatever the number of books each hurt.", lambda t: t.feed.gaps),
    ("received_bytes", "Bytes of messages; a feed may estimate them from a sample.", lambda t: t.feed.bytes),
    ("whole_books", "Whole books received.", lambda t: t.feed.snapshots),
    ("heartbeats", "Signs of life without content.", lambda t: t.feed.heartbeats),
    ("request_retries", "REST requests repeated.", lambda t: t.http["retries"]),
    ("rest_received_bytes", "Bytes of REST answers, decompressed.", lambda t: t.http["received_bytes"]),
)
COUNTED: tuple[tuple[str, str, str, Callable[[RecorderTotals], dict[str, int]]], ...] = (
    (
        "proofs",
        "Checks of books and messages; samples skipped are those that the budget refused.",
        "step",
        lambda t: {
            "hash": t.feed.hash_checked,
            "sample": t.feed.sampled,
            "sample_skipped": t.feed.samples_skipped,
            "audit": t.feed.audits,
            "print": t.feed.prints_checked,
            "watched_change": t.feed.watched,
        },
    ),
    (
        "doubts",
        "Signs of a wrong book or message.",
        "cause",
        lambda t: {
            "hash_mismatch": t.feed.hash_checked - t.feed.hash_matched,
            "negative_level": t.feed.negative_levels,
            "crossed": t.feed.crossed,
            "best_mismatch": t.feed.best_mismatches,
            "mirror_mismatch": t.feed.mirror_mismatches,
            "audit_mismatch": t.feed.audit_mismatches,
            "print_unmatched": t.feed.prints_unmatched,
            "clock_back": t.feed.clock_back,
            "gap_elsewhere": t.feed.gaps_elsewhere,
            "duplicate": t.feed.duplicates,
            "late": t.feed.late,
            "ignored": t.feed.ignored,
        },
    ),
    (
        "silence_checks",
        "What the watch for silence did, besides what it found.",
        "step",
        lambda t: {
            "proof": t.silence.proofs,
            "difference": t.silence.differences,
            "ended_unheard": t.silence.gone,
            "witness_fault": t.silence.witness_faults,
            "unanswered": t.silence.failures,
        },
    ),
    (
        "rows_lost",
        "Rows given up because too many waited for the disk, and rows that another's hand removed.",
        "cause",
        lambda t: {"given_up": t.rows_given_up, "removed": t.rows_removed},
    ),
)
_BREAKER = {"closed": 0, "half_open": 1, "open": 2}


class CollectorFigures(Collector):
    """Reads the recorders whenever Prometheus asks.

    Parameters
    ----------
    recorders : callable
        Gives the recorders that run at this moment.
    version : str
    disk_free : callable
        Gives free and total bytes of the lake's file system.
    paths : LakePaths
        Where jobs are counted.
    """

    def __init__(
        self,
        recorders: Callable[[], Sequence[VenueRecorder]],
        *,
        version: str,
        disk_free: Callable[[], tuple[int, int]],
        paths: LakePaths,
    ) -> None:
        self._recorders = recorders
        self._version = version
        self._disk_free = disk_free
        self._paths = paths

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield InfoMetricFamily("overround", "The program that records.", {"version": self._version})
        free, total = self._disk_free()
        yield GaugeMetricFamily("overround_disk_free_bytes", "Free bytes where the lake is.", free)
        yield GaugeMetricFamily("overround_disk_bytes", "Bytes of the file system where the lake is.", total)
        recorders = self._recorders()
        statuses = [recorder.status() for recorder in recorders]
        for field, name, text in COUNTERS:
            yield _family(CounterMetricFamily(f"overround_{name}", text, labels=("venue",)), statuses, field)
        for field, name, text in GAUGES:
            yield _family(GaugeMetricFamily(f"overround_{name}", text, labels=("venue",)), statuses, field)
        for field, name, text in _SECONDS:
            yield _family(GaugeMetricFamily(f"overround_{name}", text, labels=("venue",)), statuses, field, 1e-3)
        polled = GaugeMetricFamily("overround_polled", "1 where books are polled, unverified.", labels=("venue",))
        for status in statuses:
            polled.add_metric((str(status.venue),), status.mode == "polling")
        yield polled
        yield _counted(
            CounterMetricFamily("overround_rows_by_integrity", "Rows by verdict.", labels=("venue", "integrity")),
            {status.venue: status.row_verdicts for status in statuses},
        )
        yield _counted(
            GaugeMetricFamily("overround_books", "Books held now, by verdict.", labels=("venue", "integrity")),
            {status.venue: status.book_verdicts for status in statuses},
        )
        yield _counted(
            GaugeMetricFamily("overround_breaker_state", "0 closed, 1 half open, 2 open.", labels=("venue", "host")),
            {
                status.venue: {host: _BREAKER.get(state, 2) for host, state in status.breakers.items()}
                for status in statuses
            },
        )
        yield from _totals({str(recorder.venue): recorder.totals() for recorder in recorders})
        yield _pipelines(self._paths)
        figures = {str(recorder.venue): recorder.figures for recorder in recorders}
        yield _counted(
            CounterMetricFamily("overround_gaps", "Gaps in books, by cause.", labels=("venue", "cause")),
            {venue: each.gaps for venue, each in figures.items()},
        )
        yield _counted(
            CounterMetricFamily("overround_repair_steps", "Repair steps, by kind.", labels=("venue", "step")),
            {venue: each.steps for venue, each in figures.items()},
        )
        for name, text, histograms in (
            (
                "lag_seconds",
                "From the venue's stamp to us, above the least difference seen lately.",
                {venue: each.lag for venue, each in figures.items()},
            ),
            ("flush_seconds", "Until a flush was durable.", {venue: each.flush for venue, each in figures.items()}),
            (
                "repair_seconds",
                "From the last instant a book was known to be right until it was right again.",
                {venue: each.repair for venue, each in figures.items()},
            ),
        ):
            yield _histogram(f"overround_{name}", text, histograms)


def _family(
    family: CounterMetricFamily | GaugeMetricFamily, statuses: Sequence[VenueStatus], field: str, scale: float = 1.0
) -> Metric:
    for status in statuses:
        value = getattr(status, field)
        if not math.isnan(value):
            family.add_metric((str(status.venue),), value * scale)
    return family


def _totals(totals: Mapping[str, RecorderTotals]) -> Iterator[Metric]:
    for name, text, total in TOTALS:
        family = CounterMetricFamily(f"overround_{name}", text, labels=("venue",))
        for venue, each in totals.items():
            family.add_metric((venue,), total(each))
        yield family
    for name, text, label, counts in COUNTED:
        yield _counted(
            CounterMetricFamily(f"overround_{name}", text, labels=("venue", label)),
            {venue: counts(each) for venue, each in totals.items()},
        )
    # What is found wrong later is taken back: these may fall.
    seconds = GaugeMetricFamily(
        "overround_ledger_seconds", "Market-seconds since the start, by verdict.", labels=("venue", "integrity")
    )
    age = GaugeMetricFamily(
        "overround_newest_row_age_seconds",
        "Time since the newest row on disk, an earlier run's included.",
        labels=("venue",),
    )
    for venue, each in totals.items():
        for verdict in ("verified", "unverified", "quiet", "gap", "venue_down"):
            seconds.add_metric((venue, verdict), getattr(each.seconds, verdict))
        age.add_metric((venue,), each.newest_row_age_ms / 1000)
    yield seconds
    yield age


def _pipelines(paths: LakePaths) -> Metric:
    """Jobs over the lake; those that never ran stand at 0, so that a first failure is an increase."""
    family = CounterMetricFamily(
        "overround_pipelines", "Jobs over the lake that ended, by outcome.", labels=("venue", "stage", "outcome")
    )
    counts = read_run_counts(paths)
    for stage in STAGES:
        for venue in (*Venue, EVERY_VENUE):
            count = counts.get(stage, {}).get(venue, RunCount())
            family.add_metric((venue, stage, "done"), count.done)
            family.add_metric((venue, stage, "failed"), count.failed)
    return family


def _counted(family: CounterMetricFamily | GaugeMetricFamily, by_venue: Mapping[str, Mapping[str, int]]) -> Metric:
    for venue, counts in by_venue.items():
        for name, count in counts.items():
            family.add_metric((str(venue), str(name)), count)
    return family


def _histogram(name: str, text: str, by_venue: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("venue",))
    for venue, histogram in by_venue.items():
        family.add_metric((venue,), histogram.cumulative(), histogram.total)
    return family

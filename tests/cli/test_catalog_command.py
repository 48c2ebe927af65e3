"""``overround catalog`` on a history written as the scan writes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from overround.cli.app import run
from overround.market import Market, MarketId, MarketStatus, Origin, Venue
from overround.scanner import scan
from overround.storage import LakePaths
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market

NOON = 1_768_392_000_000  # 2026-01-14T12:00:00Z
HOUR = 3_600_000
FIRST, SECOND, THIRD = (a_market(number, event_id="KXTEST", close_ts=NOON + 30 * HOUR) for number in range(3))


class Listing:
    def __init__(self, *markets: Market, by_id: Sequence[Market] = ()) -> None:
        self.listed, self.by_id = markets, by_id

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        for market in self.listed:
            yield market

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        return [market for market in self.by_id if market.market_id in market_ids]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three hourly scans: the rules change, one market resolves and one is forgotten."""
    clearer = msgspec.structs.replace(FIRST, rules_text="Clearer.", close_ts=NOON + 31 * HOUR)
    resolved = msgspec.structs.replace(SECOND, status=MarketStatus.RESOLVED, result="yes")
    for hour, listing in enumerate(
        (Listing(FIRST, SECOND, THIRD), Listing(clearer, SECOND, THIRD), Listing(clearer, by_id=[resolved]))
    ):
        clock = ManualClock(NOON + hour * HOUR)
        asyncio.run(scan(listing, LakePaths(tmp_path), Venue.KALSHI, clock=clock, origin=Origin.SYNTHETIC))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], lake: Path, *arguments: str, code: int = 0) -> str:
    assert run(["catalog", *arguments, "--data-dir", str(lake)]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_market_is_told_from_its_listing_on(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(printed(capsys, lake, "history", FIRST.market_id))
    assert ["2026-01-14", "12:00:00", FIRST.market_id, "listed"] in told
    assert ["2026-01-14", "13:00:00", FIRST.market_id, "changed", "rules_text", "Clearer."] in told
    times = ["2026-01-15", "18:00:00", "2026-01-15", "19:00:00"]
    assert ["2026-01-14", "13:00:00", FIRST.market_id, "changed", "close_ts", *times] in told


def test_an_end_is_told_and_a_leaving_without_a_word_is_unknown(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(printed(capsys, lake, "history", "KXTEST", "--since", "2026-01-14T14:00"))[1:]
    left = ["2026-01-14", "14:00:00"]
    assert told == [
        [*left, SECOND.market_id, "left", "status", "active", "resolved"],
        [*left, SECOND.market_id, "changed", "result", "yes"],
        [*left, THIRD.market_id, "left", "status", "active", "unknown"],
        [*left, THIRD.market_id, "leg", "removed", "legs", THIRD.market_id],
    ]


def test_json_has_what_was_before_and_the_scan_before(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(capsys, lake, "history", FIRST.market_id, "--since", "2026-01-14T13:00", "--json"))
    (change,) = (entry for entry in told if entry["field"] == "close_ts")
    assert change == {
        "venue": "kalshi", "at_ms": NOON + HOUR, "before_ms": NOON, "what": "changed", "market_id": FIRST.market_id,
        "event_id": "KXTEST", "field": "close_ts", "before": NOON + 30 * HOUR, "after": NOON + 31 * HOUR,
    }  # fmt: skip


def test_without_a_market_the_span_of_the_history_is_told(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, lake, "history").strip() == (
        "kalshi: 3 scans from 2026-01-14 12:00:00 to 2026-01-14 14:00:00 UTC, 1 markets listed at the last"
    )
    assert [entry["changes"] for entry in json.loads(printed(capsys, lake, "history", "--json"))["kalshi"]] == [3, 1, 2]


def test_all_changes_since_a_time_leave_the_first_listing_out(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = lines(printed(capsys, lake, "history", "--since", "2026-01-14"))[1:]
    assert [(line[2], line[3]) for line in told] == [
        (FIRST.market_id, "changed"), (FIRST.market_id, "changed"), (SECOND.market_id, "left"),
        (SECOND.market_id, "changed"), (THIRD.market_id, "left"), (THIRD.market_id, "leg"),
    ]  # fmt: skip


def test_a_span_without_a_change_says_so(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, lake, "history", FIRST.market_id, "--since", "2026-01-15")
    assert text.strip() == f"{FIRST.market_id}: nothing changed since 2026-01-15"


def test_a_time_shows_what_was_known_then(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("as-of", "2026-01-14T12:59:59", "--venue", "kalshi")
    assert printed(capsys, lake, *arguments).strip() == (
        "kalshi as of 2026-01-14 12:59:59 UTC: 3 markets in 1 events, known since 2026-01-14 12:00:00"
    )
    text = printed(capsys, lake, *arguments, "--market", FIRST.market_id)
    assert "close_ts: 2026-01-15 18:00:00" in text
    assert "Clearer." not in text
    later = json.loads(
        printed(capsys, lake, "as-of", str(NOON + HOUR), "--venue", "kalshi", "--market", FIRST.market_id, "--json")
    )
    assert later["markets"][FIRST.market_id]["rules_text"] == "Clearer."


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("history", "KXNONE"), 1, "no market or event 'KXNONE' in the history of kalshi"),
        (("history", FIRST.market_id, "--since", "soon"), 2, "'soon' is no time"),
        (("history", FIRST.market_id, "--venue", "polymarket"), 1, "no history under"),
        (("as-of", "2026-01-13", "--venue", "kalshi"), 1, "nothing was known of kalshi"),
        (
            ("as-of", "2026-01-14T14:00", "--venue", "kalshi", "--market", SECOND.market_id),
            1,
            f"'{SECOND.market_id}' was not in kalshi's listing",
        ),
    ],
)
def test_what_cannot_be_told_is_said_in_one_line(
    lake: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in printed(capsys, lake, *arguments, code=code)

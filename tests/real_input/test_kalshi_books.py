"""`overround book` on captured Kalshi streams, against an independent naive replay (issue 2, I and H)."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from naive_books import NaiveKalshi, as_decimals, connection, frames, venue_ms

from overround.book import BookShelf
from overround.market import Venue
from overround.replay import open_recording, sample_books
from overround.venue.kalshi import KalshiFeed

Book = Callable[..., tuple[int, dict, str]]

NBA = "recordings/kalshi/ws_nba_20260318"
GOLD = "recordings/kalshi/ws_gold15m"
BTC = "recordings/kalshi/ws_btc15m_recorder"
SLICE = 60_000
MARKETS = 18


def assert_equal(outcomes: dict, naive: NaiveKalshi, *, verdict: str | None = "verified") -> None:
    """Every outcome's ladders are the naive ones, to the last contract; no verdict is asked for by None."""
    assert {market for market, _ in outcomes} == set(naive.books)
    for (market, outcome), row in outcomes.items():
        bids, asks = naive.outcome(market, outcome)
        assert as_decimals(row["bids"]) == bids, (market, outcome)
        assert as_decimals(row["asks"]) == asks, (market, outcome)
        assert row["seq"] == naive.changes[market]
        assert verdict in (None, row["verdict"])
    assert naive.negative_levels == 0


@pytest.fixture(scope="module")
def nba_slice(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """The connection's first frames, in the raw form and split as captured, and the same in order."""
    folder = tmp_path_factory.mktemp("nba")
    for path in sorted((captures / NBA).glob("*.ndjson.gz")):
        kept = []
        with gzip.open(path, "rb") as file:
            for line in file:
                if line.strip():
                    frame = json.loads(line)
                    if frame["sid"] == 1 and frame["seq"] > SLICE:
                        break
                    kept.append(line + b"\n")
        (folder / path.name).write_bytes(gzip.compress(b"".join(kept), compresslevel=1))
    return folder, connection(folder)


def test_a_slice_of_the_nba_connection_is_whole(nba_slice: tuple[Path, list[dict]], book: Book) -> None:
    folder, expected = nba_slice
    assert [frame["seq"] for frame in expected] == list(range(1, SLICE + 1))
    naive = NaiveKalshi()
    for frame in expected:
        naive.apply(frame["type"], frame["msg"])
    code, outcomes, err = book(folder, "--venue", "kalshi")
    assert code == 0
    assert len(outcomes) == 2 * MARKETS
    assert_equal(outcomes, naive)
    assert {(row["gaps"], row["negative_levels"]) for row in outcomes.values()} == {(0, 0)}
    assert "18 files" in err
    assert "0 gaps, 0 negative levels" in err


@pytest.mark.parametrize("seed", [1, 2])
def test_books_in_the_middle_of_the_session_are_equal(
    nba_slice: tuple[Path, list[dict]], book: Book, seed: int
) -> None:
    folder, expected = nba_slice
    at_ms = venue_ms(random.Random(seed).choice(expected[1_000:]))
    naive = NaiveKalshi()
    for frame in expected:
        seen = venue_ms(frame)
        if seen is not None and seen > at_ms:
            break
        naive.apply(frame["type"], frame["msg"])
    code, outcomes, _ = book(folder, "--venue", "kalshi", "--at", str(at_ms))
    assert code == 0
    assert_equal(outcomes, naive)


def test_a_book_stops_after_its_own_number_of_changes(nba_slice: tuple[Path, list[dict]], book: Book) -> None:
    folder, expected = nba_slice
    market = "KXNBAGAME-26MAR18ATLDAL-ATL"
    naive = NaiveKalshi()
    for frame in expected:
        if frame["msg"]["market_ticker"] == market and naive.changes.get(market, 0) < 777:
            naive.apply(frame["type"], frame["msg"])
    code, outcomes, _ = book(folder, "--venue", "kalshi", "--market", market, "--until-seq", "777")
    assert code == 0
    assert_equal(outcomes, naive)


def test_one_lost_frame_is_one_gap_and_freezes_every_book(
    nba_slice: tuple[Path, list[dict]], tmp_path: Path, book: Book
) -> None:
    folder, expected = nba_slice
    lost = random.Random(7).choice([frame for frame in expected[10_000:] if frame["type"] == "orderbook_delta"])
    for path in folder.iterdir():
        lines = gzip.decompress(path.read_bytes()).split(b"\n\n")
        kept = [line for line in lines if line and f'"sid":1,"seq":{lost["seq"]},'.encode() not in line]
        (tmp_path / path.name).write_bytes(gzip.compress(b"\n\n".join(kept) + b"\n\n", compresslevel=1))

    before = NaiveKalshi()
    without = NaiveKalshi()
    for frame in expected:
        if frame["seq"] < lost["seq"]:
            before.apply(frame["type"], frame["msg"])
        if frame["seq"] != lost["seq"]:
            without.apply(frame["type"], frame["msg"])

    code, outcomes, err = book(tmp_path, "--venue", "kalshi")
    assert "1 gaps" in err
    assert {row["gaps"] for row in outcomes.values()} == {1}
    # A recording answers no question, so no snapshot repairs the books: they stay as they were at the hole.
    assert_equal(outcomes, before, verdict="gap")
    assert code == 3
    assert "changes came while its book was not whole" in err

    code, outcomes, err = book(tmp_path, "--venue", "kalshi", "--ignore-gaps")
    assert code == 0
    assert "0 gaps" in err
    assert_equal(outcomes, without, verdict="unverified")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_nba_connection_is_whole(captures: Path, book: Book) -> None:
    expected = connection(captures / NBA)
    assert [frame["seq"] for frame in expected] == list(range(1, 1_484_711))
    naive = NaiveKalshi()
    at_ms = venue_ms(random.Random(11).choice(expected))
    middle = None
    for frame in expected:
        seen = venue_ms(frame)
        if middle is None and seen is not None and seen > at_ms:
            code, middle, _ = book(captures / NBA, "--venue", "kalshi", "--at", str(at_ms))
            assert code == 0
            assert_equal(middle, naive)
        naive.apply(frame["type"], frame["msg"])
    assert middle
    code, outcomes, err = book(captures / NBA, "--venue", "kalshi")
    assert code == 0
    assert_equal(outcomes, naive)
    assert "1,636,877 frames, 0 gaps, 0 negative levels" in err


def naive_samples(path: Path, every_ms: int) -> dict[int, dict]:
    """A log's books at each instant: the state after the frames received up to and including it."""
    naive = NaiveKalshi()
    found: dict[int, dict] = {}
    due_ms = None
    for entry in frames(path):
        if due_ms is None:
            due_ms = entry["recv_ms"] - entry["recv_ms"] % every_ms + every_ms
        while due_ms < entry["recv_ms"]:
            found[due_ms] = {
                ticker: (dict(book["yes"]), {1 - px: sz for px, sz in book["no"].items()})
                for ticker, book in naive.books.items()
            }
            due_ms += every_ms
        naive.apply(entry["event"]["type"], entry["event"]["msg"])
    assert naive.negative_levels == 0
    return found


def assert_gold_rows_equal(path: Path) -> int:
    every_ms = 2_000
    expected = naive_samples(path, every_ms)
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=True)
    n_rows = 0
    for row in sample_books(open_recording([path], Venue.KALSHI), feed, every_ms):
        bids, asks = expected[row.ts_ms][row.market_id]
        assert row.bids == {int(px * 10_000): int(sz * 1_000_000) for px, sz in bids.items()}, row.ts_ms
        assert row.asks == {int(px * 10_000): int(sz * 1_000_000) for px, sz in asks.items()}, row.ts_ms
        n_rows += 1
    assert n_rows == sum(len(books) for books in expected.values())
    return n_rows


# The second window holds a reconnect in its middle.
@pytest.mark.parametrize("window", ["102200-00", "102030-30"])
def test_gold_rows_every_two_seconds_equal_an_independent_replay(captures: Path, window: str) -> None:
    (path,) = (captures / GOLD).glob(f"*{window}*.gz")
    assert assert_gold_rows_equal(path) > 350


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_gold_rows_equal_an_independent_replay(captures: Path) -> None:
    paths = sorted((captures / GOLD).glob("*.gz"))
    assert len(paths) == 8
    assert sum(assert_gold_rows_equal(path) for path in paths) > 3_000


def test_gold_books_do_not_pretend_to_be_proved(captures: Path, book: Book) -> None:
    (path,) = (captures / GOLD).glob("*102200-00*.gz")
    at_ms = str(1786413000_000)
    code, outcomes, _ = book(path, "--venue", "kalshi", "--ignore-gaps", "--at", at_ms)
    assert code == 0
    assert {row["verdict"] for row in outcomes.values()} == {"unverified"}
    code, outcomes, _ = book(path, "--venue", "kalshi", "--at", at_ms)
    assert {row["verdict"] for row in outcomes.values()} == {"gap"}
    assert code == 3


def btc_stream(folder: Path, *, exact: bool) -> list[tuple[int, str, int, dict]]:
    """The recorder's book events by receive time, those of one instant by number (or as the files come)."""
    events = []
    for kind in ("orderbook_delta", "orderbook_snapshot"):
        rows = frames(folder / f"{kind}.ndjson.gz")
        events += [(row["local_recv_ns"], kind, row["sequence_number"], row["payload_json"]) for row in rows]
    events.sort(key=lambda event: (event[0], event[2]) if exact else event[0])
    return events


def holes(numbers: list[int]) -> int:
    """Places where a number does not follow its predecessor."""
    return sum(second != first + 1 for first, second in itertools.pairwise(numbers))


@pytest.mark.parametrize(
    ("recording", "n_connections", "n_markets"),
    [("rv600_next_evidence_shadow_20260514T043808Z", 3, 2), ("particle_spot_rv_terminal_oos_RVTERMLOCK001", 3, 3)],
)
def test_both_btc_recordings_are_whole(
    captures: Path, book: Book, recording: str, n_connections: int, n_markets: int
) -> None:
    events = btc_stream(captures / BTC / recording, exact=True)
    naive = NaiveKalshi()
    for _, kind, _, msg in events:
        naive.apply(kind, msg)
    assert holes([seq for _, _, seq, _ in events]) == n_connections - 1
    code, outcomes, err = book(captures / BTC / recording, "--venue", "kalshi")
    assert len(outcomes) == 2 * n_markets
    assert_equal(outcomes, naive, verdict=None)
    last = events[-1][3]["market_ticker"]
    # A market that the last connection does not carry is known up to the one before it.
    assert {(market == last, row["verdict"]) for (market, _), row in outcomes.items()} == {
        (True, "verified"),
        (False, "gap"),
    }
    assert "0 gaps, 0 negative levels" in err
    assert code == (3 if naive.before_snapshot else 0)


def test_receive_times_alone_would_lose_frames_of_a_whole_recording(captures: Path) -> None:
    # The captured set's own notes count 4 gaps and 410 negative levels here. They come from sorting on receive
    # time only: the last connection's first ten changes carry the stamp of the snapshot before them.
    events = btc_stream(captures / BTC / "particle_spot_rv_terminal_oos_RVTERMLOCK001", exact=False)
    naive = NaiveKalshi()
    for _, kind, _, msg in events:
        naive.apply(kind, msg)
    assert (holes([seq for _, _, seq, _ in events]), naive.negative_levels) == (4, 410)


def test_a_recording_without_its_opening_snapshots_is_refused(captures: Path, book: Book) -> None:
    folder = captures / "recordings/kalshi/ws_no_initial_snapshot_20260316"
    code, outcomes, err = book(folder, "--venue", "kalshi", "--at", "1773710000000")
    assert (code, outcomes) == (2, {})
    assert "no snapshot before them" in err
    # At the end the venue sends the empty books of closed markets: those are known, and what came before is owned up.
    code, outcomes, err = book(folder, "--venue", "kalshi")
    assert code == 3
    assert {(len(row["bids"]), len(row["asks"])) for row in outcomes.values()} == {(0, 0)}
    assert "KXNBAGAME-26MAR16PORBKN-BKN: 27,981 changes came while its book was not whole" in err


@pytest.mark.parametrize(
    ("name", "n_outcomes"),
    [
        ("recordings/kalshi/ws_small/control_and_error_frames_20260418.jsonl", 16),
        ("recordings/kalshi/ws_small/multi_market_stream_mlb_wnba_20260807.json.gz", 24),
        ("venues/samples/kalshi/ws_orderbook_12_markets.jsonl", 24),
        ("venues/samples/kalshi/ws_book_small.jsonl", 2),
        ("recordings/kalshi/rest_orderbook_raw/lol_books_20260723.jsonl.gz", 188),
        ("recordings/kalshi/rest_orderbook_depth/2026-07-11.jsonl.gz", None),
        ("recordings/kalshi/rest_weather_books/2026-07-23.jsonl.gz", None),
        ("venues/samples/kalshi/rest_orderbook.json", 8),
        ("venues/samples/kalshi/rest_orderbooks_batch.json", 24),
    ],
)
def test_every_raw_form_gives_its_books(captures: Path, book: Book, name: str, n_outcomes: int | None) -> None:
    code, outcomes, err = book(captures / name, "--venue", "kalshi")
    assert code == 0, err
    assert len(outcomes) == n_outcomes or (n_outcomes is None and len(outcomes) > 100)


def test_the_oracle_of_twelve_markets_is_met(captures: Path, book: Book) -> None:
    samples = captures / "venues/samples/kalshi"
    oracle = json.loads((samples / "oracle_ws_orderbook_12_markets.json").read_text())
    code, outcomes, _ = book(samples / "ws_orderbook_12_markets.jsonl", "--venue", "kalshi")
    assert code == 0
    for ticker, top in oracle["final_top_of_book"].items():
        row = outcomes[ticker, "yes"]
        assert f"{row['bids'][0][0]:.4f}" == top["yes_bid"]
        assert f"{row['asks'][0][0]:.4f}" == top["yes_ask"]

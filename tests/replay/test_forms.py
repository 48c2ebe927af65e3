"""Each raw form gives back the frames that went into it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overround.market import Venue
from overround.replay.forms import Form, form_of, read_frames
from overround.replay.frames import looks_like, venue_ms
from overround.replay.lines import Damage
from overround.testing.tapes import write_lines

DELTA = b'{"type":"orderbook_delta","sid":1,"seq":7,"msg":{"market_ticker":"KX-A","delta_fp":"1.00"}}'
TRADE = b'{"type":"trade","sid":2,"seq":3,"msg":{"market_ticker":"KX-A"}}'
CHANGE = b'{"market":"0xab","price_changes":[],"timestamp":"1766481546776","event_type":"price_change"}'
BOOK = b'{"market":"0xab","asset_id":"1","timestamp":"1","hash":"","bids":[],"asks":[]}'


def frames_of(path: Path, venue: Venue) -> tuple[Form | None, list, list[Damage]]:
    form = form_of(path)
    damages: list[Damage] = []
    assert form is not None
    return form, list(read_frames(path, form, venue, damages)), damages


def test_bare_kalshi_frames_carry_their_numbers(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.ndjson", [DELTA, TRADE], blank_between=True)
    form, frames, damages = frames_of(path, Venue.KALSHI)
    assert form is Form.BARE
    assert [(f.frame, f.sid, f.seq, f.recv_ns) for f in frames] == [(DELTA, 1, 7, None), (TRADE, 2, 3, None)]
    assert not damages


def test_heartbeats_between_frames_are_handed_on(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [b"PONG", b"", CHANGE, b"NO NEW ASSETS", b"[" + BOOK + b"]"])
    form, frames, damages = frames_of(path, Venue.POLYMARKET)
    assert form is Form.BARE
    assert [f.frame for f in frames] == [b"PONG", CHANGE, b"NO NEW ASSETS", b"[" + BOOK + b"]"]
    assert not damages


@pytest.mark.parametrize(
    ("line", "recv_ns"),
    [
        (b'{"recv_ms":1786406485476,"event":%b}' % DELTA, 1786406485476_000_000),
        (b'{"recv_ms":1786406485476,"frame":%b}' % DELTA, 1786406485476_000_000),
        (
            b'{"recv_ts_ns":1776490453460692001,"raw":%b}' % json.dumps(DELTA.decode() + "\n").encode(),
            1776490453460692001,
        ),
        (b'{"received_ms":1786085188416,"frame":%b}' % DELTA, 1786085188416_000_000),
        (
            b'{"recv_local":"2025-07-03T13:52:54.530+10:00","raw":%b}' % json.dumps(DELTA.decode()).encode(),
            1751514774530_000_000,
        ),
        (b'{"source":"somewhere","note":"","frame":%b}' % DELTA, None),
        (b"[1786406485.476,%b]" % DELTA, 1786406485476_000_000),
        (b"[1786406485476,%b]" % json.dumps(DELTA.decode()).encode(), 1786406485476_000_000),
    ],
    ids=[
        "recv_ms event",
        "recv_ms frame",
        "ns and text",
        "received_ms",
        "ISO and text",
        "no time",
        "pair",
        "pair, text",
    ],
)
def test_wrapped_frames_come_out_verbatim_with_their_time(tmp_path: Path, line: bytes, recv_ns: int | None) -> None:
    form, frames, damages = frames_of(write_lines(tmp_path / "a.jsonl", [line]), Venue.KALSHI)
    assert form is Form.WRAPPED
    assert [(f.frame, f.recv_ns) for f in frames] == [(DELTA, recv_ns)]
    assert not damages


def test_what_a_recorder_sent_is_marked(tmp_path: Path) -> None:
    line = json.dumps({"direction": "out", "kind": "heartbeat", "text": "PING"}).encode()
    _, frames, _ = frames_of(write_lines(tmp_path / "a.jsonl", [line]), Venue.POLYMARKET)
    assert [(f.frame, f.sent) for f in frames] == [(b"PING", True)]


def test_parsed_events_become_frames_again(tmp_path: Path) -> None:
    def line(kind: str, seq: int | None, payload: str) -> bytes:
        return (
            f'{{"channel":"orderbook_delta","connection_id":"c","event_type":"{kind}","local_recv_ns":17,'
            f'"payload_json":{payload},"sequence_number":{"null" if seq is None else seq}}}'
        ).encode()

    path = write_lines(
        tmp_path / "a.ndjson",
        [
            line("ws_connected", None, "{}"),
            line("orderbook_snapshot", 1, '{"market_ticker":"KX-A"}'),
            line("market_rotated", None, "{}"),
        ],
    )
    form, frames, _ = frames_of(path, Venue.KALSHI)
    assert form is Form.RECORDER
    assert [(f.event, f.conn, f.recv_ns) for f in frames] == [("opened", "c", 17), ("", "c", 17)]
    assert json.loads(frames[1].frame) == {
        "type": "orderbook_snapshot",
        "sid": 2,
        "seq": 1,
        "msg": {"market_ticker": "KX-A"},
    }


def test_a_document_over_several_lines_gives_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    document = {"captured_ms": 1, "frames": [{"received_ms": 5, "frame": json.loads(DELTA)}]}
    path.write_text(json.dumps(document, indent=1))
    form, frames, _ = frames_of(path, Venue.KALSHI)
    assert form is Form.DOCUMENT
    assert [(json.loads(f.frame), f.recv_ns) for f in frames] == [(json.loads(DELTA), 5_000_000)]


def test_kalshi_rest_books_become_snapshots(tmp_path: Path) -> None:
    ladders = '{"orderbook_fp":{"no_dollars":[["0.0100","5.00"]],"yes_dollars":[]}}'
    kept_raw = f'{{"contract_id":"KX-A","fetched_at":"2026-07-23T05:55:55.588Z","raw":{ladders}}}'.encode()
    as_numbers = (
        b'{"captured_at":"2026-07-23T05:55:55.588000+00:00","ticker":"KX-A","yes_bids":[],"no_bids":[[0.01,5.0]]}'
    )
    for line in (kept_raw, as_numbers):
        _, frames, damages = frames_of(write_lines(tmp_path / "a.jsonl", [line]), Venue.KALSHI)
        (frame,) = frames
        message = json.loads(frame.frame)["msg"]
        assert frame.rest
        assert frame.recv_ns == 1784786155588_000_000
        assert message["market_ticker"] == "KX-A"
        assert [[float(px), float(sz)] for px, sz in message["no_dollars_fp"]] == [[0.01, 5.0]]
        assert message["yes_dollars_fp"] == []
        assert not damages


def test_polymarket_rest_batches_are_one_frame(tmp_path: Path) -> None:
    line = b'{"collector_ts":"2026-03-11T21:41:49.524648+00:00","book_count":1,"books":[%b]}' % BOOK
    _, frames, _ = frames_of(write_lines(tmp_path / "a.jsonl", [line]), Venue.POLYMARKET)
    assert [(f.frame, f.recv_ns) for f in frames] == [(b"[" + BOOK + b"]", 1773265309524_648_000)]


def test_an_unreadable_line_is_left_out_and_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.ndjson", [DELTA, b'{"type":', b"???", TRADE])
    _, frames, damages = frames_of(path, Venue.KALSHI)
    assert [f.frame for f in frames] == [DELTA, TRADE]
    (damage,) = damages
    assert (damage.path, damage.line, damage.cut) == (path, 2, False)
    assert "1 more lines too" in str(damage)


def test_half_a_last_line_is_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(DELTA + b"\n" + TRADE[:20])
    _, frames, damages = frames_of(path, Venue.KALSHI)
    assert [f.frame for f in frames] == [DELTA]
    assert [(d.line, d.cut) for d in damages] == [(2, True)]
    assert "cut at line 2" in str(damages[0])


def test_a_last_line_without_line_end_is_whole_if_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(DELTA + b"\n" + TRADE)
    _, frames, damages = frames_of(path, Venue.KALSHI)
    assert len(frames) == 2
    assert not damages


def test_a_file_that_begins_inside_a_frame_is_read_from_the_next_line(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.ndjson", [b'{"type":"orderb', DELTA, TRADE])
    form, frames, damages = frames_of(path, Venue.KALSHI)
    assert form is Form.BARE
    assert len(frames) == 2
    assert [d.line for d in damages] == [1]


@pytest.mark.parametrize(
    ("frame", "venue"),
    [
        (DELTA, Venue.KALSHI),
        (b'{"type":"ok","id":4,"sid":1,"seq":2}', Venue.KALSHI),
        (CHANGE, Venue.POLYMARKET),
        (b"[" + BOOK + b"]", Venue.POLYMARKET),
        (BOOK, Venue.POLYMARKET),
        (b'{"id":"1","question":"Who?","clobTokenIds":"[]"}', None),
        (b"[]", None),
        (b"PONG", None),
    ],
)
def test_a_venue_is_known_by_its_frames(frame: bytes, venue: Venue | None) -> None:
    assert looks_like(frame) is venue


@pytest.mark.parametrize(
    ("frame", "ms"),
    [
        (b'{"msg":{"ts":1773862560}}', 1773862560_000),
        (b'{"msg":{"ts":"2026-08-05T11:45:36.564039Z","ts_ms":1785930336564}}', 1785930336564),
        (b'[{"timestamp":"5000000000000"},{"timestamp":"5000000000001"}]', 5000000000001),
        (b'{"timestamp":1761179949036}', 1761179949036),
        (b'{"type":"orderbook_snapshot"}', None),
    ],
)
def test_venue_time_is_read_in_every_spelling(frame: bytes, ms: int | None) -> None:
    assert venue_ms(frame) == ms

"""``overround book``: what it prints, and what it says about bad input."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from overround.cli.app import run
from overround.testing.tapes import KalshiTape, PolymarketTape, write_lines

KEYS = [
    *("venue", "market_id", "outcome_id", "bids", "asks", "ts_ms", "seq", "frames", "gaps", "negative_levels"),
    *("hash_checked", "hash_matched", "verdict"),
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    tape = KalshiTape(random.Random(9), ["KX-A", "KX-B"]).subscribe().run(300)
    lines = [b'{"recv_ms":%d,"event":%b}' % (ms, frame) for ms, _, frame in tape.frames]
    return write_lines(tmp_path / "a.jsonl.gz", lines)


def call(capfd: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = run(["book", *map(str, argv)])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_json_gives_one_line_per_outcome_with_exactly_the_documented_keys(
    recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capfd, recording, "--venue", "kalshi", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["market_id"], row["outcome_id"]) for row in rows] == [
        *(("KX-A", "yes"), ("KX-A", "no"), ("KX-B", "yes"), ("KX-B", "no"))
    ]
    for row in rows:
        assert list(row) == KEYS
        assert row["bids"] == sorted(row["bids"], reverse=True)
        assert row["asks"] == sorted(row["asks"])
        assert all(len(level) == 2 for level in row["bids"] + row["asks"])
    assert rows[0]["bids"][0][0] == round(1 - rows[1]["asks"][0][0], 4)
    (summary,) = err.splitlines()
    for part in ("1 files", "gaps", "negative levels", "hashes 0 of 0", " s, ", "frames/s"):
        assert part in summary


def test_a_table_is_for_people(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, recording, "--venue", "kalshi")
    assert code == 0
    assert out.splitlines()[0].split()[:3] == ["market", "outcome", "bid"]
    assert "verified" in out
    code, out, _ = call(capfd, recording, "--venue", "kalshi", "--market", "KX-B")
    assert "yes, best 15 levels" in out
    assert "KX-A" not in out


def test_a_polymarket_recording_counts_its_hashes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tape = PolymarketTape(random.Random(2)).subscribe().run(20)
    path = write_lines(tmp_path / "a.jsonl", [frame for _, frame in tape.frames])
    code, out, err = call(capfd, path, "--venue", "polymarket", "--json")
    assert code == 0
    assert [(row["hash_checked"], row["hash_matched"]) for row in map(json.loads, out.splitlines())] == [(21, 21)] * 2
    assert "hashes 42 of 42" in err


@pytest.mark.parametrize("at", ["option before", "option after"])
def test_config_may_stand_before_or_after_the_verb(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], at: str
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("top_k = 10\n")
    tail = ["book", str(recording), "--venue", "kalshi", "--json"]
    option = ["--config", str(config)]
    assert run([*option, *tail] if at == "option before" else [*tail, *option]) == 0
    assert capfd.readouterr().out


def test_a_cut_recording_is_used_up_to_the_cut(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    packed = recording.read_bytes()
    recording.write_bytes(packed[: len(packed) * 2 // 3])
    code, out, err = call(capfd, recording, "--venue", "kalshi", "--json")
    assert code == 3
    assert len(out.splitlines()) == 4
    (warning,) = [line for line in err.splitlines() if line.startswith("warning:")]
    assert f"{recording} is cut at line " in warning
    assert "everything before it was used" in warning


def test_half_a_last_line_is_a_cut(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = recording.with_name("b.jsonl")
    lines = gzip.decompress(recording.read_bytes())
    plain.write_bytes(lines[:-30])
    code, _, err = call(capfd, plain, "--venue", "kalshi", "--json")
    assert code == 3
    n_lines = lines.count(b"\n")
    assert f"{plain} is cut at line {n_lines} (half a line)" in err


def test_an_unreadable_line_is_left_out_and_named(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = recording.with_name("b.jsonl")
    lines = gzip.decompress(recording.read_bytes()).splitlines()
    lines.insert(5, b'{"recv_ms":17,"event":{"ty')
    code, _, err = call(capfd, write_lines(plain, lines), "--venue", "kalshi", "--json")
    assert code == 3
    assert f"{plain} line 6 was left out" in err


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["{dir}/nowhere.jsonl", "--venue", "kalshi"], "nowhere.jsonl does not exist", "hint:  name a recording"),
        (["{dir}/empty.jsonl", "--venue", "kalshi"], "empty.jsonl is empty", "hint:  name a file"),
        (["{rec}", "--venue", "polymarket"], "looks like a recording of kalshi", "hint:  say --venue kalshi"),
        (
            ["{rec}", "--venue", "kalshi", "--market", "KX-AA"],
            "market KX-AA is not in the recording",
            "did you mean KX-A?",
        ),
        (["{rec}", "--venue", "kalshi", "--at", "5"], "no frame was received up to 5", "epoch milliseconds"),
        (["{dir}/listing.jsonl", "--venue", "kalshi"], "holds no frames of kalshi", "hint:  name a recording"),
        (["{dir}/deltas.jsonl", "--venue", "kalshi"], "1 changes, and no snapshot before them", "opening snapshots"),
    ],
)
def test_bad_input_gets_one_clear_line_and_a_remedy(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], argv: list[str], message: str, hint: str
) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "listing.jsonl").write_bytes(b'{"ticker":"KX-A","title":"x"}\n')
    (tmp_path / "deltas.jsonl").write_bytes(
        b'{"type":"orderbook_delta","sid":1,"seq":7,"msg":{"market_ticker":"KX-A","price_dollars":"0.5000",'
        b'"delta_fp":"1.00","side":"yes","ts_ms":1790000000000}}\n'
    )
    code, out, err = call(capfd, *(part.format(dir=tmp_path, rec=recording) for part in argv))
    assert (code, out) == (2, "")
    error, remedy = err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint in remedy


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["book"], "Missing argument"),
        (["book", "x", "--venue", "nasdaq"], "is not one of"),
        (["book", "x"], "Missing option '--venue'"),
        (["book", "x", "--venue", "kalshi", "--at", "-1"], "is not in the range"),
        (["book", "x", "--venue", "kalshi", "--until-seq", "many"], "is not a valid integer"),
    ],
)
def test_misuse_is_explained(capfd: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert run(argv) == 2
    assert message in capfd.readouterr().err

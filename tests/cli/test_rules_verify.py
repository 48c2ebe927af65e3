from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from overround.arbitrage import Finder, Limits, Quote
from overround.book import Level
from overround.cli.app import run
from overround.logic import Certificate, Component, Leg, encode_certificate, implies, sealed
from overround.market import MarketId, Venue


def finding() -> Certificate:
    legs = tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(name)) for name in ("OVER-70", "OVER-60"))
    component = Component(legs=legs, counts=(implies(0, 1, premise="over 70 is over 60"),))
    quotes = [
        Quote(yes=(), no=(Level(3_500, 100_000_000),), ts_ms=999),
        Quote(yes=(Level(5_500, 80_000_000),), no=(), ts_ms=998),
    ]
    found = Finder(component, quotes, limits=Limits(), now_ms=1_000).find(1_000)
    assert found is not None
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "certificates.jsonl"


def test_a_true_certificate_passes_and_an_altered_one_does_not(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true = finding()
    file.write_bytes(encode_certificate(true) + b"\n")
    assert run(["rules", "verify", str(file)]) == 0
    assert (
        "1: monotonic_ladder: proved, earns at least 8.0000 USD on 72.00 USD in each of 3 states"
        in capsys.readouterr().out
    )
    file.write_bytes(
        encode_certificate(true)
        + b"\n"
        + encode_certificate(sealed(msgspec.structs.replace(true, profit_e10=81 * 10**9)))
    )
    assert run(["rules", "verify", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == [
        {"line": 1, "wrong": []},
        {"line": 2, "wrong": ["profit_e10 is 81000000000, and should be 80000000000"]},
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 100_000, b"\xff\x00", b'{"version":1' + b"9" * 6_000 + b"}", b"null\n"],
    ids=["empty", "no fields", "deep", "no text", "long number", "null"],
)
def test_what_is_no_certificate_is_named_in_one_line(
    content: bytes, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(content)
    assert run(["rules", "verify", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "certificate" in error


def test_a_file_that_is_not_there_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "verify", str(file)]) == 1
    assert f"there is no file {file}" in capsys.readouterr().err


def test_the_checker_loads_no_solver(file: Path) -> None:
    file.write_bytes(encode_certificate(finding()))
    script = (
        "import sys; from overround.cli.app import run; code = run(['rules', 'verify', sys.argv[1]]);"
        "print([name for name in ('highspy', 'numba', 'polars', 'pyarrow', 'lark') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr

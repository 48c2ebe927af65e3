"""The page of a day: what it says, that it needs nothing and believes no name, and what spoils it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from lakes import START_MS
from test_mine_days import DAYS, MARKETS, NOON, record

from overround.cli.app import root
from overround.pipelines.liquidity import PriceWindow, liquidity_maps, window_of
from overround.pipelines.pages import charts
from overround.pipelines.report import Quoted
from overround.pipelines.viability_page import scatter
from overround.storage import COVERAGE, SNAPSHOTS, LakePaths, write_universe
from overround.testing.markets import a_market

DAY = DAYS[0]
HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\" {{ 7*7 }}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    """Twelve minutes of three markets, one of them with a name that wants to be more."""
    paths = record(tmp_path_factory.mktemp("lake"), NOON, minutes=12)
    names = ["Will it rain?", HOSTILE, "Will it snow?"]
    write_universe(paths, "kalshi", DAY, [a_market(number, title=name) for number, name in enumerate(names)])
    return paths


@pytest.fixture
def lake(recorded: LakePaths, tmp_path: Path) -> LakePaths:
    return LakePaths(shutil.copytree(recorded.root, tmp_path / "lake"))


def run(*words: str, lake: LakePaths) -> Result:
    return CliRunner().invoke(root, [*words, "--data-dir", str(lake.root), "--date", DAY], standalone_mode=False)


class Page(HTMLParser):
    """What a browser would find: every tag with its attributes, and the text of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.inside.setdefault(self.tags[-1][0], []).append(data)


def assert_needs_nothing(text: str) -> None:
    """One style, one script, both named by the policy; no attribute asks for anything outside the page."""
    page = Page(text)
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        assert sum(name == tag for name, _ in page.tags) == 1
        digest = base64.b64encode(hashlib.sha256("".join(page.inside[tag]).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "http" not in policy
    assert not re.search(r"@import|url\(", "".join(page.inside["style"]))
    for _, attrs in page.tags:
        assert not any(name.startswith("on") or name in {"src", "style", "srcset", "xlink:href"} for name in attrs)
        assert re.match(r"#|data:image/png;base64,", attrs.get("href") or "#")


@pytest.fixture
def judged(lake: LakePaths) -> LakePaths:
    """The lake with viability and one finding."""
    assert run("mm-viability", "--venue", "kalshi", "--write-report", lake=lake).return_value == 0
    path = lake.logic("kalshi", DAY, "violations")
    path.parent.mkdir(parents=True)
    pl.DataFrame(
        {
            "venues": [["kalshi", "kalshi"]], "market_ids": [MARKETS[:2]], "forms": [["dutch_book"]], "grade": ["conditional"],
            "start_ts": [NOON], "last_ts": [NOON + 90_000], "end_ts": pl.Series([None], dtype=pl.Int64), "profit_usd": [12.5],
            "capital_usd": [1_987.5], "return_per_year": [0.31], "conditions": [["<b>neither is void"]],
        }
    ).write_parquet(path)  # fmt: skip
    return lake


def test_the_page_shows_every_part_and_escapes_names(judged: LakePaths, tmp_path: Path) -> None:
    out = tmp_path / "day.html"
    done = run("report", "--out", str(out), lake=judged)
    assert done.return_value in (0, None), done.output
    assert "kalshi: 432 rows, 3 markets" in done.output
    assert "polymarket: no rows" in done.output
    text = out.read_text(encoding="utf-8")
    assert_needs_nothing(text)
    told = "".join("".join(parts) for parts in Page(text).inside.values())
    for words in (
        "Coverage", "Spread, cents", "Depth, contracts", "Most interesting", "Deepest", "Tightest", "Busiest", "Liquidity",
        "Would quoting have paid?", "What could not have lost", "Gaps by cause: gap 1", "Will it rain?", HOSTILE,
        "dutch_book (conditional)", "90 s or more", "12.50", "1,987.50", "31.0%", "<b>neither is void",
        "No rows of polymarket were stored",
    ):  # fmt: skip
        assert words in told
    tags = [tag for tag, _ in Page(text).tags]
    assert "img" not in tags
    assert "b" in tags
    labels = [attrs.get("aria-label") for tag, attrs in Page(text).tags if attrs.get("role") == "img"]
    assert len(labels) == 1 + 2 + 4 * 3 + 3, "coverage, spread and depth, four rankings, maps"
    assert all(labels)
    verified = re.search(r"<b>([\d.]+)%</b><span>of wanted minutes verified", text)
    ledger = json.loads(run("coverage", "--venue", "kalshi", "--json", lake=judged).stdout)
    assert verified is not None
    assert float(verified[1]) == pytest.approx(100 * ledger["verified"], abs=0.01)


def test_the_other_pages_escape_names_and_need_nothing_either(judged: LakePaths, tmp_path: Path) -> None:
    for command in ("mine", "mm-viability", "coverage"):
        out = tmp_path / f"{command}.html"
        done = run(command, "--venue", "kalshi", "--out", str(out), lake=judged)
        assert done.return_value in (0, None), done.output
        text = out.read_text(encoding="utf-8")
        assert_needs_nothing(text)
        page = Page(text)
        assert "img" not in [tag for tag, _ in page.tags]
        assert HOSTILE in "".join("".join(parts) for parts in page.inside.values())


def test_what_was_not_made_is_named_with_its_command(lake: LakePaths) -> None:
    shutil.rmtree(lake.table(COVERAGE))
    done = run("report", "--venue", "kalshi", "--json", lake=lake)
    assert done.return_value in (0, None), done.output
    told = json.loads(done.stdout)
    assert told["venues"] == [
        {"venue": "kalshi", "rows": 432, "markets": 3, "trades": told["venues"][0]["trades"], "verified": None, "quiet": None,
         "gaps": None, "quoted": None, "findings": None}
    ]  # fmt: skip
    assert told["path"] == (lake.root / "reports" / "day" / f"{DAY}.html").as_posix()
    text = Path(told["path"]).read_text(encoding="utf-8")
    assert f"<code>overround mm-viability --venue kalshi --date {DAY} --write-report</code>" in text
    assert f"<code>overround rules detect-arb --date {DAY}</code>" in text
    assert "<code>overround collect --venue kalshi</code>" in text


def test_a_day_without_rows_is_an_error_and_writes_nothing(lake: LakePaths, tmp_path: Path) -> None:
    out = tmp_path / "none.html"
    words = ["report", "--data-dir", str(lake.root), "--date", "2026-01-02", "--out", str(out)]
    done = CliRunner().invoke(root, words)
    assert done.exception is not None
    assert "no snapshots for polymarket or kalshi on 2026-01-02" in str(done.exception)
    assert getattr(done.exception, "exit_code", 0) == 1
    assert not out.exists()


@pytest.mark.parametrize("what", ["snapshots", "trades", "coverage", "viability", "violations", "universe"])
def test_a_damaged_file_is_left_out_and_named(judged: LakePaths, tmp_path: Path, what: str) -> None:
    day = f"venue=kalshi/date={DAY}"
    path = {
        "snapshots": sorted(judged.day(SNAPSHOTS, "kalshi", DAY).rglob("snapshots_*.parquet"))[1],
        "trades": sorted((judged.root / "trades" / day).rglob("trades_*.parquet"))[1],
        "coverage": next((judged.root / "coverage" / day).glob("coverage_*.parquet")),
        "viability": judged.mm_viability("kalshi", DAY),
        "violations": judged.logic("kalshi", DAY, "violations"),
        "universe": judged.universe("kalshi", DAY),
    }[what]
    path.write_bytes(path.read_bytes()[:-40])
    out = tmp_path / "day.html"
    done = run("report", "--out", str(out), "--json", lake=judged)
    assert done.return_value == 3, done.output
    skipped = json.loads(done.stdout)["skipped"]
    assert any(path.name.split("_")[0] in file["path"] or what in file["path"] for file in skipped), skipped
    text = out.read_text(encoding="utf-8")
    assert text.count('class="wrong">Left out: ') == len(skipped)
    assert "Most interesting" in text
    if what == "snapshots":
        assert json.loads(done.stdout)["venues"][1]["rows"] < 432


def test_nothing_that_reads_is_an_error(lake: LakePaths, tmp_path: Path) -> None:
    for path in lake.day(SNAPSHOTS, "kalshi", DAY).rglob("snapshots_*.parquet"):
        path.write_bytes(b"torn")
    done = run("report", "--out", str(tmp_path / "day.html"), lake=lake)
    assert "can be read" in str(done.exception)
    assert getattr(done.exception, "exit_code", 0) == 1
    assert not (tmp_path / "day.html").exists()


def test_figures_do_not_rest_on_gaps_that_cannot_be_read(lake: LakePaths, tmp_path: Path) -> None:
    path = next((lake.root / "coverage" / "venue=kalshi" / f"date={DAY}").glob("gaps_*.parquet"))
    path.write_bytes(path.read_bytes()[:-40])
    done = run("report", "--out", str(tmp_path / "day.html"), lake=lake)
    assert f"the gaps of kalshi up to {DAY} cannot be read" in str(done.exception)
    assert not (tmp_path / "day.html").exists()


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--venue", "kalshi", "--all-venues"], "exclude each other", 2),
        (["--out", "page.pdf"], "no .html file", 2),
        (["--out", f"{__file__}/page.html"], "cannot be written", 1),
    ],
)
def test_a_wrong_question_names_what_is_wrong(lake: LakePaths, words: list[str], said: str, code: int) -> None:
    done = run("report", *words, lake=lake)
    assert said in str(done.exception)
    assert getattr(done.exception, "exit_code", 0) == code


def test_a_folder_takes_a_page_named_by_its_day(lake: LakePaths, tmp_path: Path) -> None:
    assert run("report", "--venue", "kalshi", "--out", str(tmp_path), lake=lake).return_value == 0
    assert (tmp_path / f"report-{DAY}.html").is_file()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_map_is_the_average_of_what_rested(recorded: LakePaths) -> None:
    """Against the rows added up one by one."""
    window, bin_ms, n_bins = PriceWindow(low_e4=4_000, step_e4=100, n_rows=20), 60_000, 12
    key = (MARKETS[0], "yes")
    maps, skipped = liquidity_maps(recorded, "kalshi", DAY, {key: window}, begin_ms=NOON, bin_ms=bin_ms, n_bins=n_bins)
    assert not skipped
    rows = pl.read_parquet(recorded.day(SNAPSHOTS, "kalshi", DAY) / "*" / "*.parquet", hive_partitioning=False).filter(
        pl.col("market_id") == key[0], pl.col("outcome_id") == key[1]
    )
    bid, ask, seen = np.zeros((20, n_bins)), np.zeros((20, n_bins)), np.zeros(n_bins)
    for row in rows.iter_rows(named=True):
        at = (row["ts_recv"] - NOON) // bin_ms
        if 600_000 <= row["ts_recv"] - NOON < 900_000:  # the ledger's gap
            continue
        seen[at] += 1
        for px, sz in zip(row["bid_px"], row["bid_sz"], strict=True):
            if 0 <= (place := round(px * 100) - 40) < 20:
                bid[place, at] += sz
        for px, sz in zip(row["ask_px"], row["ask_sz"], strict=True):
            if 0 <= (place := round(px * 100) - 41) < 20:
                ask[place, at] += sz
    assert list(seen) == [6.0] * 10 + [0.0, 0.0]
    found = maps[key]
    assert list(found.watched) == [True] * 10 + [False] * 2
    np.testing.assert_allclose(found.bid_sz[:, :10], bid[:, :10] / seen[:10])
    np.testing.assert_allclose(found.ask_sz[:, :10], ask[:, :10] / seen[:10])
    assert bid.sum() > 0
    assert ask.sum() > 0
    assert np.isnan(found.best_bid[10:]).all()


def test_levels_that_do_not_match_are_left_out_of_a_map_by_name(lake: LakePaths) -> None:
    path = min(lake.day(SNAPSHOTS, "kalshi", DAY).rglob("snapshots_*.parquet"))
    rows = pl.read_parquet(path, hive_partitioning=False)
    rows.with_columns(bid_sz=pl.col("bid_sz").list.head(1)).write_parquet(path)
    window = {(MARKETS[0], "yes"): PriceWindow(low_e4=4_000, step_e4=100, n_rows=20)}
    maps, skipped = liquidity_maps(lake, "kalshi", DAY, window, begin_ms=NOON, bin_ms=60_000, n_bins=12)
    assert [file.path for file in skipped] == [str(path)]
    assert list(maps[MARKETS[0], "yes"].watched) == [False] * 5 + [True] * 5 + [False] * 2


def test_a_windows_rows_are_whole_ticks_and_hold_the_mids() -> None:
    blocks = pl.DataFrame(
        {"w2_ms": [100.0, 0.0, 300.0], "mid": [30.3, 0.0, 120.0], "spread": [2.0, 0.0, 6.0], "tick_e4": [100] * 3}
    )
    window = window_of(blocks)
    assert window is not None
    assert (window.low_e4, window.step_e4, window.high_e4) == (2_000, 100, 5_000)
    assert window_of(blocks.filter(pl.col("w2_ms") == 0)) is None
    fine = window_of(blocks.with_columns(tick_e4=10, mid=pl.col("w2_ms") * 0.995))
    assert fine is not None
    assert (fine.high_e4, fine.step_e4) == (10_000, 20)


def test_dots_stand_where_their_figures_are() -> None:
    def quoted(capital: float | None, usd: float | None) -> Quoted:
        lo, hi = (None, None) if usd is None else (usd - 40, usd + 40)
        return Quoted(
            market_id="m", verdict="viable", reason="", policy="touch", usd_per_day=usd, usd_per_day_lo=lo, usd_per_day_hi=hi,
            capital=capital,
        )  # fmt: skip

    drawn = scatter([(quoted(10, 50), "a<b"), (quoted(1_000, 0), "c"), (quoted(None, 1), "d"), (quoted(9, None), "e")])
    assert drawn is not None
    dots = re.findall(r'<circle class="dot( loses)?" cx="([\d.]+)%" cy="([\d.]+)%" r="4"><title>(.*?)</title>', drawn)
    assert [(loses, words[:4]) for loses, _, _, words in dots] == [("", "a&lt"), (" loses", "c: v")]
    (_, left, above, _), (_, right, middle, _) = dots
    assert float(left) == pytest.approx(100 * np.log(1.05) / np.log(1_000 / 10 * 1.05**2), abs=0.01)
    assert float(right) == pytest.approx(100 - float(left), abs=0.01)
    assert float(above) < float(middle) == pytest.approx(50, abs=0.01)
    assert scatter([(quoted(None, 1), "d")]) is None


def test_a_palette_png_reads_back() -> None:
    from matplotlib.image import imread

    pixels = np.array([[0, 1], [2, 1]], np.uint8)
    palette = [(0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 255, 51)]
    read = imread(io.BytesIO(charts.png(pixels, palette)))
    np.testing.assert_allclose(read * 255, np.array(palette, float)[pixels])


def test_axes_are_round() -> None:
    assert charts.ticks_up_to(3.2, "g") == (4.0, [(0.0, "0"), (0.5, "2"), (1.0, "4")])
    assert [words for _, words in charts.ticks_between(29.7, 47.1, " c")] == ["30 c", "35 c", "40 c", "45 c"]
    assert [words for _, words in charts.clock_ticks(START_MS, START_MS + 420_000)][:2] == ["12:01", "12:02"]
    assert [words for _, words in charts.clock_ticks(NOON - 43_200_000, NOON + 43_200_000)][:3] == [
        "00:00",
        "06:00",
        "12:00",
    ]

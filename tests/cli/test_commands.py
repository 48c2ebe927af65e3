from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from overround.cli.app import COMMANDS, root, run

REPOSITORY = Path(__file__).parents[2]
HEAVY = (
    "polars",
    "pyarrow",
    "numpy",
    "highspy",
    "numba",
    "fastapi",
    "uvicorn",
    "pandas",
    "duckdb",
    "pydantic",
    "httpx2",
    "websockets",
    "picows",
    "rich",
    "structlog",
    "textual",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import overround"],
        ["-c", "import sys; sys.argv=['overround','--help']; from overround.cli.app import run; run()"],
    ],
)
def test_importing_and_help_load_no_heavy_library(arguments: list[str]) -> None:
    code = arguments[1] + f"; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]"), done.stdout


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        with click.Context(command) as ctx:
            for name in command.list_commands(ctx):
                child = command.get_command(ctx, name)
                assert child is not None
                found += every_command(child, (*path, name))
    return found


def test_the_static_purposes_are_the_commands_own() -> None:
    for name, (_, purpose) in COMMANDS.items():
        with click.Context(root) as ctx:
            command = root.get_command(ctx, name)
        assert command is not None
        assert command.get_short_help_str(limit=200).rstrip(".") == purpose.rstrip(".")


def test_every_command_has_help_with_an_example_and_stands_in_the_docs() -> None:
    reference = (REPOSITORY / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for path, command in every_command(root):
        done = CliRunner().invoke(root, [*path, "--help"])
        assert done.exit_code == 0
        if path:
            assert "Example: overround" in " ".join(done.output.split()), path
            assert f"`overround {' '.join(path)}`" in reference
        assert command.help


def test_a_wrong_setting_ends_with_one_line_a_hint_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text("topk = 1")
    assert run(["config", "check", "--config", str(tmp_path / "a.toml")]) == 2
    assert run(["--config", str(tmp_path / "a.toml"), "config", "check"]) == 2
    error, hint, *_ = capsys.readouterr().err.splitlines()
    assert error.startswith("error: unknown setting topk")
    assert hint == "hint:  did you mean top_k?"


def test_an_unknown_verb_is_misuse() -> None:
    assert run(["colect"]) == 2


def test_config_show_masks_secrets_and_names_sources(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERROUND_VENUES__KALSHI__API_SECRET", "very-secret-text")
    assert run(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert "very-secret-text" not in shown
    assert "OVERROUND_VENUES__KALSHI__API_SECRET" in shown


@pytest.mark.parametrize(("option", "doing"), [("--standby", "standing by"), ("--handover", "handing over")])
def test_what_needs_leases_is_refused_before_anything_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, doing: str
) -> None:
    monkeypatch.setenv("OVERROUND_MOCK__ENABLED", "true")
    assert run(["collect", option, "--data-dir", str(tmp_path / "lake")]) == 2
    assert f"{doing} needs leases" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()

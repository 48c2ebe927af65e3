"""What the pages tell a reader to type is typed here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from overround.cli.app import root

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*uv run overround (.*?)(?:\s{2,}#.*)?$", re.MULTILINE)


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in COMMAND.finditer(page.read_text(encoding="utf-8")):
            yield page.name, found.group(1)


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_in_the_pages_exists_with_its_options(page: str, line: str) -> None:
    command: click.Command = root
    ctx = click.Context(root, info_name="overround")
    words = shlex.split(line, comments=True)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(ctx, words[0])
        assert found is not None, f"{page}: no command {words[0]}"
        command, words = found, words[1:]
    command.make_context("overround", list(words))


def test_the_readme_begins_with_its_two_commands() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert first is not None
    assert first.group(1).splitlines() == ["uv run overround demo", "uv run pytest"]


@pytest.mark.integration
def test_the_python_in_readme_and_tutorial_runs_on_a_demos_lake(tmp_path: Path) -> None:
    run = [sys.executable, "-c", "from overround.cli import main; main()"]
    subprocess.run(
        [*run, "demo", "--duration", "6", "--markets", "100"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=100,
    )
    for page in (REPOSITORY / "README.md", REPOSITORY / "docs" / "tutorial" / "first-day.md"):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        assert blocks
        for block in blocks:
            done = subprocess.run(
                [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            assert "shape: (5," in done.stdout


def test_exported_names_exist() -> None:
    import importlib

    api = (REPOSITORY / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^::: (overround\.\w+)$", api, re.MULTILINE)
    assert len(rooms) > 10
    for room in rooms:
        module = importlib.import_module(room)
        assert list(module.__all__) == sorted(
            module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
        )
        for name in module.__all__:
            getattr(module, name)

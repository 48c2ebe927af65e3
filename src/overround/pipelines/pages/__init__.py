"""Pages that open from disk: one stylesheet, one policy, templates that escape what markets are called."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overround.errors import StorageError
from overround.storage.fileops import FileOps

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "write_page"]


def render(template: str, **values: Any) -> str:
    """One self-contained page.

    Its policy allows this stylesheet, this script and pictures in the page itself, and nothing else: a browser
    refuses whatever else a page might ask for, were something to get past the escaping.

    Parameters
    ----------
    template : str
        Name of a file beside this one, without its suffix.
    """
    style, script = _text("style.css"), _text("sort.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(style=style, script=script, policy=policy, **values)


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    try:
        FileOps().write_whole(path, page.encode())
    except OSError as exc:
        raise StorageError(
            f"{path} cannot be written: {exc.strerror or exc}", hint="name a file in a folder that you may write to"
        ) from exc


@cache
def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        autoescape=True,
        loader=FunctionLoader(lambda name: _text(f"{name}.html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

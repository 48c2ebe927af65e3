"""Secrets: where they may lie, who else could read them, and which texts of the settings they are.

They come from environment variables, from files that only their owner can read, or from a directory that an engine mounts
(``OVERROUND_SECRETS_DIR``): a file for each setting, named like its variable.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from overround.errors import ConfigError

__all__ = ["SECRETS_DIR", "check_rights", "read_mounted", "secret_texts"]

SECRETS_DIR = "OVERROUND_SECRETS_DIR"
# A key's id is no secret to the venue, but nobody else's business; masking a short one would hide the log.
SHORTEST_ID = 8
_REFUSED = {
    stat.S_IWOTH: "everybody can change",
    stat.S_IWGRP: "its group can change",
    stat.S_IROTH: "everybody can read",
}


def check_rights(path: Path) -> str | None:
    """Check who else can read or change a file with a secret; returns a warning where its group can read it.

    A file of another owner (root) is read by right of its group, and not warned about. Nothing is checked on systems without such rights (Windows: the file's access list decides).

    Raises
    ------
    ConfigError
        If everybody can read it, or somebody else can change it.
    """
    if os.name != "posix" or not path.is_file():
        return None
    found = path.stat()
    mode, ours = stat.S_IMODE(found.st_mode), found.st_uid == os.getuid()
    remedy = f"chmod {'600' if ours else '640'} {path}"
    for bit, what in _REFUSED.items():
        if mode & bit:
            raise ConfigError(f"{path} holds a secret, and {what} it (mode {mode:03o})", hint=remedy)
    if ours and mode & stat.S_IRGRP:
        return f"{path} holds a secret, and its group can read it (mode {mode:03o}): {remedy}"
    return None


def read_mounted(directory: Path) -> Iterator[tuple[Path, str, str]]:
    """Path, name and text of each file in a mounted directory; hidden ones are the engine's own.

    Rights are not checked: the engine gives the directory to this process alone, and often makes its files readable to all.

    Raises
    ------
    ConfigError
        If the directory or a file cannot be read.
    """
    try:
        files = sorted(path for path in directory.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as exc:
        raise ConfigError(
            f"{SECRETS_DIR}={directory} cannot be read: {exc.strerror or exc}", hint="mount it, or unset the variable"
        ) from exc
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            reason = "it is no UTF-8 text" if isinstance(exc, UnicodeDecodeError) else exc.strerror or exc
            # No chain: what does not decode is part of the secret.
            raise ConfigError(f"the secret {path} cannot be read: {reason}", hint="mount it as text") from None
        yield path, path.name, text.removesuffix("\n")


def secret_texts(settings: BaseModel) -> Iterator[str]:
    """Every text of the settings that nobody may see: secrets, key ids, passwords inside addresses."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from secret_texts(value)
            continue
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str) or not text:
            continue
        if "://" in text:
            found = password_of(text)
            if found:
                yield found
                yield unquote(found)
        elif isinstance(value, SecretStr) or (name == "api_key" and len(text) >= SHORTEST_ID):
            yield text


def password_of(url: str) -> str:
    """The password inside an address, as it is written there."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def holds_secret(tree: Mapping[str, object]) -> bool:
    """Whether a table read from a file sets a secret."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            if holds_secret(value):
                return True
        elif isinstance(value, str) and (value if name == "api_secret" else password_of(value)):
            return True
    return False

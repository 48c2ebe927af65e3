"""Reading the settings: files, overlays, environment, and where each value came from.

Order, later wins: defaults, ``surveillance.toml`` (or the file named), ``local.toml`` and
``secrets.local.toml`` beside it, the files of ``OVERROUND_SECRETS_DIR``, then ``OVERROUND_…`` environment
variables, where two underscores descend into a table (``OVERROUND_VENUES__KALSHI__API_KEY``). The layering is ours rather than
pydantic-settings', which cannot tell afterwards where a value came from.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr, ValidationError

from overround.config.models import Settings
from overround.config.secrets import SECRETS_DIR, check_rights, holds_secret, read_mounted
from overround.errors import UNREADABLE, ConfigError

__all__ = ["Loaded", "describe", "load_settings", "model_leaves"]

DEFAULT_PATH = Path("config/surveillance.toml")
PREFIX = "OVERROUND_"
# Variables of the same prefix that are no settings: the test suite's switches, and where secrets lie.
NOT_SETTINGS = ("OVERROUND_CAPTURES", "OVERROUND_TESTS_", SECRETS_DIR)
FALSE_SOCKET = "gamma-api.polymarket.com/ws"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Effective settings, the source of each value by dotted name, and warnings to show."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default=())


def load_settings(path: Path | None, *, environ: Mapping[str, str]) -> Loaded:
    """Read and check the settings.

    Parameters
    ----------
    path : Path or None
        The main file; None takes ``config/surveillance.toml`` if it is there, else the defaults.
    environ : mapping
        Environment variables.

    Raises
    ------
    ConfigError
        If a named file is missing, a file is no TOML, a key is unknown (the nearest known one is
        named), a value is of the wrong type or out of range, or somebody else can read a file with a secret.
    """
    main = path or (DEFAULT_PATH if DEFAULT_PATH.is_file() else None)
    layers: list[tuple[str, dict[str, Any]]] = []
    files: list[Path] = []
    warnings: list[str | None] = []
    if main is not None:
        if main.is_dir():
            main = main / "surveillance.toml"
        if not main.is_file():
            raise ConfigError(
                f"no configuration file at {main}", hint="copy config/surveillance.toml, or leave --config away"
            )
        overlays = [main.with_name("local.toml"), main.with_name("secrets.local.toml")]
        for file in [main, *(p for p in overlays if p.is_file() and p != main)]:
            tree = _read_toml(file)
            layers.append((str(file), tree))
            files.append(file)
            if holds_secret(tree):
                warnings.append(check_rights(file))
    if environ.get(SECRETS_DIR):
        for file, name, text in read_mounted(Path(environ[SECRETS_DIR])):
            if name.upper().startswith(PREFIX) or "__" in name:
                layers.append((str(file), _tree_of(name, text)))
    layers.append(("environment", _from_environ(environ)))

    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, tree in layers:
        _check_keys(tree, Settings, where=name)
        for dotted, value in _leaves(tree):
            _assign(merged, dotted, value)
            sources[".".join(dotted)] = f"{PREFIX}{'__'.join(dotted).upper()}" if name == "environment" else name
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as exc:
        raise ConfigError(*_first_problem(exc, sources)) from None
    keys = (settings.venues.polymarket.private_key_path, settings.venues.kalshi.private_key_path)
    warnings += [check_rights(key) for key in keys if key is not None and not _is_mounted(key, environ)]
    told = (*(warning for warning in warnings if warning), *_warnings(settings))
    return Loaded(settings=settings, sources=sources, warnings=told, files=tuple(files))


def _is_mounted(path: Path, environ: Mapping[str, str]) -> bool:
    directory = environ.get(SECRETS_DIR)
    return bool(directory) and path.is_relative_to(Path(str(directory)))


def describe(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Name, shown value (secrets masked) and source of every setting, in file order."""
    rows = []
    for dotted, value in model_leaves(loaded.settings):
        name = ".".join(dotted)
        if isinstance(value, SecretStr):
            shown = (
                _mask(value.get_secret_value())
                if dotted[-1] == "url"
                else "********"
                if value.get_secret_value()
                else ""
            )
        elif dotted[-1] == "api_key" and value:
            shown = f"{str(value)[:4]}…"
        else:
            shown = _mask(str(value)) if value is not None else ""
        rows.append((name, shown, loaded.sources.get(name, "default")))
    return rows


def _mask(url: str) -> str:
    head, at, tail = url.rpartition("@")
    if not at:
        return url
    scheme, sep, _ = head.partition("://")
    return f"{scheme}{sep}********@{tail}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}", hint="mend the line it names") from exc


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name.startswith(NOT_SETTINGS):
            continue
        _assign(tree, _dotted(name), text)
    return tree


def _tree_of(name: str, text: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    _assign(tree, _dotted(name), text)
    return tree


def _dotted(name: str) -> tuple[str, ...]:
    """Where the value of a variable, or of a file named like it, belongs."""
    return tuple(part.lower() for part in name.upper().removeprefix(PREFIX).split("__"))


def _assign(tree: dict[str, Any], dotted: tuple[str, ...], value: object) -> None:
    for part in dotted[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(
                f"{'.'.join(dotted)}: {part} is a value, not a table", hint="see config/surveillance.toml"
            )
        tree = below
    tree[dotted[-1]] = value


def _leaves(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def model_leaves(model: BaseModel, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting: its dotted name in parts, and its value."""
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            yield from model_leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _check_keys(tree: Mapping[str, Any], model: type[BaseModel], *, where: str, prefix: str = "") -> None:
    for key, value in tree.items():
        if key not in model.model_fields:
            near = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(model.model_fields)}"
            raise ConfigError(f"unknown setting {prefix}{key} ({where})", hint=hint)
        below = model.model_fields[key].annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{key} is a table, no single value ({where})", hint=f"write [{prefix}{key}]")
            _check_keys(value, below, where=where, prefix=f"{prefix}{key}.")


def _first_problem(exc: ValidationError, sources: Mapping[str, str]) -> tuple[str]:
    problem = exc.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in problem["loc"])
    return (f"{name}: {problem['msg'][:1].lower()}{problem['msg'][1:]} ({sources.get(name, 'default')})",)


def _warnings(settings: Settings) -> tuple[str, ...]:
    found = []
    polymarket = settings.venues.polymarket
    if FALSE_SOCKET in polymarket.ws_url:
        found.append(
            f"venues.polymarket.ws_url = {polymarket.ws_url!r} is not a socket (Gamma is REST only); "
            f"the market socket is {type(polymarket)().ws_url!r}"
        )
    for name, venue in (("polymarket", polymarket), ("kalshi", settings.venues.kalshi)):
        if venue.hot_count > venue.max_subs_per_venue:
            found.append(
                f"venues.{name}.hot_count = {venue.hot_count} exceeds max_subs_per_venue = {venue.max_subs_per_venue}"
            )
    return tuple(found)


def to_json(loaded: Loaded) -> bytes:
    """The rows of :func:`describe` as one JSON object."""
    return msgspec.json.encode({name: {"value": shown, "source": source} for name, shown, source in describe(loaded)})

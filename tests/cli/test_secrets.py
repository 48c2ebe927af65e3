"""Secrets are planted in every way, commands fail in several, and nothing that they leave behind shows one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from overround.clock import SystemClock
from overround.config import ExchangeSettings, MockSettings, Settings, load_settings
from overround.errors import ConfigError
from overround.market import Origin, Venue
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_venues

pytestmark = pytest.mark.long

OVERROUND = [sys.executable, "-c", "from overround.cli import main; main()"]
KEY_ID = "planted-key-id-7f3c"
PASSWORD = "planted/pass+word"
DB_URL = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:1/x"
PEM = (
    rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    .private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    .decode()
)
# Every line of the key's body is a part of the secret.
PLANTED = (KEY_ID, PASSWORD, quote(PASSWORD, safe=""), *PEM.splitlines()[1:-1])
posix = pytest.mark.skipif(os.name != "posix", reason="rights: Windows has none of these bits")


def clean(**more: str) -> dict[str, str]:
    return {**{name: text for name, text in os.environ.items() if not name.startswith("OVERROUND_")}, **more}


def planted(way: str, folder: Path) -> dict[str, str]:
    """Put the secrets where this way has them, below ``folder``; returns the environment that goes with it."""
    config = folder / "config"
    config.mkdir(parents=True)
    (config / "surveillance.toml").write_text("")
    pem_in_toml = json.dumps(PEM)
    if way == "environment":
        return clean(
            OVERROUND_VENUES__KALSHI__API_KEY=KEY_ID, OVERROUND_VENUES__KALSHI__API_SECRET=PEM, OVERROUND_DB__URL=DB_URL
        )
    if way == "overlay":
        path = config / "secrets.local.toml"
        path.touch(mode=0o600)
        path.write_text(f'[venues.kalshi]\napi_key = "{KEY_ID}"\napi_secret = {pem_in_toml}\n[db]\nurl = "{DB_URL}"\n')
        return clean()
    if way == "key file":
        path = folder / "kalshi.pem"
        path.touch(mode=0o600)
        path.write_text(PEM)
        return clean(
            OVERROUND_VENUES__KALSHI__API_KEY=KEY_ID,
            OVERROUND_VENUES__KALSHI__PRIVATE_KEY_PATH=str(path),
            OVERROUND_DB__URL=DB_URL,
        )
    mounted = folder / "mounted"
    mounted.mkdir()
    (mounted / "..data").mkdir()
    for name, text in (
        ("OVERROUND_VENUES__KALSHI__API_KEY", KEY_ID), ("venues__kalshi__api_secret", PEM), ("db__url", DB_URL),
        ("somebody-elses", "x"),
    ):  # fmt: skip
        (mounted / name).write_text(f"{text}\n")
        (mounted / name).chmod(0o444)
    return clean(OVERROUND_SECRETS_DIR=str(mounted))


WAYS = ("environment", "overlay", "key file", "mounted")


def assert_hidden(texts: dict[str, str]) -> None:
    shown = {where: [secret for secret in PLANTED if secret in text] for where, text in texts.items()}
    assert not {where: found for where, found in shown.items() if found}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_secrets_and_shows_none(way: str, tmp_path: Path) -> None:
    env = planted(way, tmp_path)
    loaded = load_settings(tmp_path / "config" / "surveillance.toml", environ=env)
    kalshi = loaded.settings.venues.kalshi
    pem = kalshi.private_key_path.read_text() if kalshi.private_key_path else kalshi.api_secret.get_secret_value()
    assert (kalshi.api_key, pem.strip(), loaded.settings.db.url.get_secret_value()) == (KEY_ID, PEM.strip(), DB_URL)
    texts = {"repr": repr(loaded).replace(KEY_ID, "")}
    for argv in (["config", "show"], ["config", "show", "--json"], ["config", "check"]):
        done = subprocess.run([*OVERROUND, *argv], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        texts[" ".join(argv)] = done.stdout + done.stderr
    assert_hidden(texts)


CRASH = """
import overround.cli.scan, overround.pipelines.scan, overround.cli.options, os, sys, threading
from overround.cli import main
where = sys.argv.pop(1)
def boom(*_, **settings):
    if where == "thread":
        thread = threading.Thread(target=lambda: 1 / 0 if not settings else (_ for _ in ()).throw(RuntimeError(os.environ["SECRET"])))
        thread.start(); thread.join()
    raise RuntimeError(f"tried with {os.environ['SECRET']} and {os.environ['SECRET']!r}")
if where == "early":
    overround.cli.options.App = boom
else:
    overround.pipelines.scan.scan_venues = boom
main()
"""


@pytest.mark.parametrize("where", ["early", "late", "thread"])
def test_a_crash_leaves_its_trace_without_the_secret(where: str, tmp_path: Path) -> None:
    env = planted("environment", tmp_path) | {
        "SECRET": f"{PEM} {PASSWORD} {KEY_ID}",
        "OVERROUND_LOGGING__DIRECTORY": str(tmp_path / "logs"),
    }
    done = subprocess.run(
        [sys.executable, "-c", CRASH, where, "scan"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    logs = {str(path): path.read_text() for path in (tmp_path / "logs").glob("*")}
    assert_hidden({"stdout": done.stdout, "stderr": done.stderr, **logs})
    assert "RuntimeError: tried with" in done.stderr
    if where != "early":
        (errors,) = [text for name, text in logs.items() if name.endswith("scan.errors.log")]
        assert json.loads(errors.splitlines()[-1])["event"] == "process.crashed"
        assert "Traceback" in errors
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("OVERROUND_VENUES__KALSHI__API_SECRET", "planted-is-no-key", "no readable private key"),
        ("OVERROUND_VENUES__KALSHI__API_SECRT", "planted-is-no-key", "did you mean"),
        ("OVERROUND_VENUES__KALSHI", "planted-is-no-key", "not a table"),
        ("OVERROUND_TOP_K", "planted-is-no-key", "top_k"),
        ("OVERROUND_SECRETS_DIR", "planted-nowhere", "cannot be read"),
    ],
)
def test_a_wrong_value_is_named_by_its_setting_and_not_shown(name: str, text: str, words: str, tmp_path: Path) -> None:
    env = planted("environment", tmp_path) | {name: text, "OVERROUND_DATA_DIR": str(tmp_path / "lake")}
    done = subprocess.run(
        [*OVERROUND, "scan", "--venue", "kalshi"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "planted-is-no-key" not in done.stderr + done.stdout
    assert_hidden({"stderr": done.stderr})


@posix
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o644, "everybody can read"),
        (0o622, "everybody can change"),
        (0o660, "its group can change"),
        (0o640, ""),
        (0o400, ""),
    ],
)
@pytest.mark.parametrize("way", ["overlay", "key file"])
def test_a_file_that_others_can_use_is_refused_with_the_remedy(way: str, mode: int, words: str, tmp_path: Path) -> None:
    env = planted(way, tmp_path)
    path = tmp_path / ("kalshi.pem" if way == "key file" else "config/secrets.local.toml")
    path.chmod(mode)
    if words:
        with pytest.raises(ConfigError, match=words) as caught:
            load_settings(tmp_path / "config" / "surveillance.toml", environ=env)
        assert caught.value.hint == f"chmod 600 {path}"
    else:
        told = load_settings(tmp_path / "config" / "surveillance.toml", environ=env).warnings
        assert [f"chmod 600 {path}" in line for line in told] == ([True] if mode == 0o640 else [])


@posix
def test_a_file_of_another_owner_is_read_by_right_of_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = planted("key file", tmp_path)
    (tmp_path / "kalshi.pem").chmod(0o640)
    monkeypatch.setattr(os, "getuid", lambda: 1 + (tmp_path / "kalshi.pem").stat().st_uid)
    settings = tmp_path / "config" / "surveillance.toml"
    assert not load_settings(settings, environ=env).warnings
    (tmp_path / "kalshi.pem").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        load_settings(settings, environ=env)
    assert caught.value.hint == f"chmod 640 {tmp_path / 'kalshi.pem'}"


def test_an_overlay_without_a_secret_may_be_read_by_all(tmp_path: Path) -> None:
    (tmp_path / "surveillance.toml").write_text("")
    (tmp_path / "secrets.local.toml").write_text('[venues.kalshi]\napi_key = "x"\n')
    assert not load_settings(tmp_path / "surveillance.toml", environ={}).warnings


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Path]]:
    """An exchange that accepts another key than the planted one, and a lake with its listing."""
    lake = tmp_path_factory.mktemp("listed") / "lake"
    settings = Settings(data_dir=lake, mock=MockSettings(enabled=True, markets=40), exchange=ExchangeSettings(port=0))
    with mock_exchange(settings) as (live, _):
        asyncio.run(
            scan_venues(live, venues=[Venue.KALSHI], clock=SystemClock(), rng=random.Random(1), origin=Origin.LIVE)
        )
        yield live, lake


@pytest.mark.integration
@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["environment", *(pytest.param(way, marks=pytest.mark.long) for way in WAYS[1:])])
def test_a_collector_whose_key_is_refused_shows_it_nowhere(
    way: str, venue: tuple[Settings, Path], tmp_path: Path
) -> None:
    live, listed = venue
    shutil.copytree(listed, tmp_path / "lake")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = planted(way, tmp_path) | {
        "OVERROUND_DATA_DIR": str(tmp_path / "lake"),
        "OVERROUND_LOGGING__DIRECTORY": str(tmp_path / "logs"),
        "OVERROUND_MONITORING__PORT": str(port),
        "OVERROUND_VENUES__KALSHI__WS_URL": live.venues.kalshi.ws_url,
        "OVERROUND_VENUES__KALSHI__REST_URL": live.venues.kalshi.rest_url.replace("://", f"://me:{quote(PASSWORD, safe='')}@"),
    }  # fmt: skip
    texts: dict[str, str] = {}
    with subprocess.Popen(
        [*OVERROUND, "--log-level", "debug", "collect", "--venue", "kalshi"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        log = tmp_path / "logs" / "collect.log"
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.1)
                if log.exists() and "connection.refused" in log.read_text():
                    break
            for page in ("/health", "/metrics", "/status", "/readyz"):
                with suppress(httpx2.TransportError):
                    texts[page] = httpx2.get(f"http://127.0.0.1:{port}{page}", timeout=10).text
        finally:
            process.terminate()
            texts["stdout"], texts["stderr"] = process.communicate(timeout=40)
    assert "connection.refused" in texts["stdout"], texts["stderr"]
    texts |= {str(path): path.read_text(errors="replace") for path in (tmp_path / "logs").glob("*")}
    assert {"/health", "/metrics", "/status"} <= set(texts)
    assert len(texts[str(log)].splitlines()) > 5
    assert_hidden(texts)

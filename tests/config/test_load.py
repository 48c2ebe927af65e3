from __future__ import annotations

from pathlib import Path

import pytest

from overround.config import Settings, describe, load_settings
from overround.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_states_every_default() -> None:
    loaded = load_settings(REPOSITORY / "config" / "surveillance.toml", environ={})
    assert loaded.settings == Settings()
    unset = {name for name, _, source in describe(loaded) if source == "default"}
    assert unset <= {"venues.polymarket.private_key_path", "venues.kalshi.private_key_path"}


def test_overlays_and_environment_win_in_order_and_their_source_is_told(tmp_path: Path) -> None:
    main = write(tmp_path / "surveillance.toml", "top_k = 10\n[venues.kalshi]\nhot_count = 1\nmax_subs_per_venue = 9\n")
    write(tmp_path / "local.toml", "[venues.kalshi]\nhot_count = 2\n")
    write(tmp_path / "secrets.local.toml", '[venues.kalshi]\napi_secret = "s3cret"\n').chmod(0o600)
    loaded = load_settings(main, environ={"OVERROUND_TOP_K": "20", "OVERROUND_VENUES__KALSHI__API_KEY": "abcdef"})
    kalshi = loaded.settings.venues.kalshi
    assert (loaded.settings.top_k, kalshi.hot_count, kalshi.max_subs_per_venue, kalshi.api_key) == (20, 2, 9, "abcdef")
    assert kalshi.api_secret.get_secret_value() == "s3cret"
    rows = {name: (shown, source) for name, shown, source in describe(loaded)}
    assert rows["top_k"] == ("20", "OVERROUND_TOP_K")
    assert rows["venues.kalshi.hot_count"][1].endswith("local.toml")
    assert rows["venues.kalshi.api_secret"] == ("********", str(tmp_path / "secrets.local.toml"))
    assert "s3cret" not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("topk = 3", "top_k"),
        ("[venues.kalshi]\nmax_subs = 3", "max_subs_per_venue"),
        ("[venue.kalshi]\n", "venues"),
        ("top_k = [", "valid TOML"),
        ("top_k = 'many'", "top_k"),
        ("[storage]\nbucket_secs = 420", "divide an hour"),
        ("storage = 3", "table"),
        ("[venues.polymarket]\nmax_tokens_per_connection = 900", "max_tokens_per_connection"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_and_the_remedy(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path / "surveillance.toml", text), environ={})
    assert names in f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_settings(tmp_path / "nothing.toml", environ={})


def test_the_false_gamma_socket_is_warned_about_and_the_right_one_named(tmp_path: Path) -> None:
    main = write(tmp_path / "a.toml", '[venues.polymarket]\nws_url = "wss://gamma-api.polymarket.com/ws"\n')
    (warning,) = load_settings(main, environ={}).warnings
    assert "wss://ws-subscriptions-clob.polymarket.com/ws/market" in warning


def test_a_database_password_is_masked() -> None:
    loaded = load_settings(None, environ={"OVERROUND_DB__URL": "postgresql://me:hush@host/db"})
    shown = {name: shown for name, shown, _ in describe(loaded)}["db.url"]
    assert shown == "postgresql://********@host/db"

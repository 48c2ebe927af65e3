"""Which changed settings take effect while a collector records."""

from __future__ import annotations

import pytest

from overround.config import LIVE, Settings, plan_reload, with_values
from overround.config.load import model_leaves
from overround.config.reload import _REASONS

NAMES = {".".join(dotted): value for dotted, value in model_leaves(Settings())}


def changed(**values: object) -> Settings:
    return with_values(Settings(), {name.replace("__", "."): value for name, value in values.items()})


def test_what_is_live_is_applied_and_the_rest_refused_with_its_reason() -> None:
    read = changed(
        venues__kalshi__hot_count=7, venues__polymarket__enabled=False, polling__catalogue_secs=60, logging__level="debug",
        data_dir="elsewhere", storage__bucket_secs=60, venues__kalshi__ws_url="wss://elsewhere", thresholds__min_profit_usdc=1.0,
    )  # fmt: skip
    plan = plan_reload(Settings(), read)
    assert plan.applied == {
        "venues.kalshi.hot_count": 7, "venues.polymarket.enabled": False, "polling.catalogue_secs": 60, "logging.level": "debug",
    }  # fmt: skip
    assert set(plan.refused) == {"data_dir", "storage.bucket_secs", "venues.kalshi.ws_url"}
    assert "open files" in plan.refused["data_dir"]
    assert plan.settings == with_values(Settings(), plan.applied)
    # What was refused is told anew each time, what is in force is not.
    again = plan_reload(plan.settings, read)
    assert (again.applied, again.refused) == ({}, plan.refused)


def test_an_option_of_the_command_line_wins() -> None:
    plan = plan_reload(Settings(), changed(logging__level="debug"), fixed={"logging.level": "--log-level was given"})
    assert (plan.applied, plan.refused) == ({}, {"logging.level": "--log-level was given"})


def test_a_secret_is_never_among_the_values_told() -> None:
    from pydantic import SecretStr

    plan = plan_reload(Settings(), changed(venues__kalshi__api_secret=SecretStr("planted")))
    assert "planted" not in repr(plan)
    assert "signed" in plan.refused["venues.kalshi.api_secret"]


@pytest.mark.parametrize("pattern", [*LIVE, *_REASONS])
def test_every_pattern_names_a_setting(pattern: str) -> None:
    from fnmatch import fnmatchcase

    assert any(fnmatchcase(name, pattern) for name in NAMES)

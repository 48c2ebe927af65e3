"""Which changed settings take effect while a collector records, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pydantic import BaseModel

from overround.config.load import model_leaves
from overround.config.models import Settings

__all__ = ["LIVE", "Reload", "plan_reload", "with_values"]

M = TypeVar("M", bound=BaseModel)

LIVE = (
    "venues.*.enabled",
    "venues.*.max_subs_per_venue",
    "venues.*.hot_count",
    "venues.*.rotation_period_secs",
    "venues.*.snapshot_interval_ms_hot",
    "venues.*.snapshot_interval_ms_warm",
    "venues.*.subscription_churn_limit_per_minute",
    "venues.*.open_per_second",
    "polling.*",
    "monitoring.min_verified_share",
    "monitoring.min_free_disk_share",
    "logging.level",
    "logging.file_level",
)
"""Names of settings that change while a collector records."""

# The first pattern that fits says why.
_REASONS = {
    "data_dir": "the run holds the lock and the open files of its folder",
    "work_dir": "a collector writes nothing there",
    "top_k": "the rows of an open file have one depth",
    "storage.bucket_secs": "open files and the journal end with their bucket",
    "storage.*": "the open files were begun with it",
    "venues.*.*_url": "connections stand to it",
    "venues.*.api_key": "connections are signed with it",
    "venues.*.api_secret": "connections are signed with it",
    "venues.*.private_key_path": "connections are signed with it",
    "venues.*": "the venue's connections and feeds were made with it",
    "monitoring.*": "the endpoint is bound at the start",
    "logging.*": "log files are opened at the start",
    "mock.*": "the exchange was started with it",
    "*": "it is read at the start",
}
# Other commands read these.
_NOT_READ = ("exchange.*", "db.*", "retention.*", "strategy.*", "thresholds.*", "ingestion.buffer_rows")


@dataclass(frozen=True, kw_only=True)
class Reload:
    """What becomes of a changed file.

    Attributes
    ----------
    settings : Settings
        Those that ran, with what was applied.
    applied : mapping of str to object
        New values by dotted name.
    refused : mapping of str to str
        Why the others stay as they are.
    """

    settings: Settings
    applied: Mapping[str, Any]
    refused: Mapping[str, str]


def plan_reload(running: Settings, read: Settings, *, fixed: Mapping[str, str] | None = None) -> Reload:
    """Compare what runs with what was read.

    Parameters
    ----------
    running, read : Settings
    fixed : mapping of str to str, optional
        Reasons why names do not change in this process (an option of the command line wins).
    """
    before = {".".join(dotted): value for dotted, value in model_leaves(running)}
    applied, refused = {}, {}
    for dotted, value in model_leaves(read):
        name = ".".join(dotted)
        if value == before[name] or any(fnmatchcase(name, pattern) for pattern in _NOT_READ):
            continue
        if fixed and name in fixed:
            refused[name] = fixed[name]
        elif any(fnmatchcase(name, pattern) for pattern in LIVE):
            applied[name] = value
        else:
            refused[name] = next(why for pattern, why in _REASONS.items() if fnmatchcase(name, pattern))
    return Reload(settings=with_values(running, applied), applied=applied, refused=refused)


def with_values(model: M, values: Mapping[str, Any]) -> M:
    """The same settings with other values under dotted names; each was checked when it was read."""
    update: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, dot, rest = name.partition(".")
        if dot:
            below.setdefault(head, {})[rest] = value
        else:
            update[head] = value
    update |= {head: with_values(getattr(model, head), part) for head, part in below.items()}
    return model.model_copy(update=update)

"""Counters are read when asked for, not before."""

from __future__ import annotations

import pytest

from overround.ops import Counters


def test_groups_are_read_at_the_snapshot_and_copied() -> None:
    feed = {"frames": 0, "unknown": {"new_kind": 1}}
    counters = Counters()
    counters.register("feed.polymarket-0", lambda: feed)
    feed["frames"] = 12
    snapshot = counters.snapshot()
    feed["frames"] = 13
    feed["unknown"]["new_kind"] = 5  # type: ignore[index]
    assert snapshot == {"feed.polymarket-0": {"frames": 12, "unknown": {"new_kind": 1}}}


def test_the_flat_form_joins_names_and_leaves_words_out() -> None:
    counters = Counters()
    counters.register("a", lambda: {"n": 1, "rate": 0.5, "state": "open", "kinds": {"x": 2, "y": "z"}})
    counters.register("b", dict)
    assert counters.flat() == {"a.n": 1, "a.rate": 0.5, "a.kinds.x": 2}


def test_a_name_is_taken_once_and_free_again_after_unregistering() -> None:
    counters = Counters()
    counters.register("a", dict)
    with pytest.raises(ValueError, match="registered already"):
        counters.register("a", dict)
    counters.unregister("a")
    counters.unregister("a")
    counters.register("a", dict)
    assert counters.snapshot() == {"a": {}}

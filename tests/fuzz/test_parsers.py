"""No bytes of a venue, and no damaged file, end in anything but a declared error.

``OVERROUND_TESTS_FUZZ=20000`` sets the number of examples of each parser.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .targets import TARGETS

# What other runs found.
FOUND = {
    "kalshi_calendar": ("a92a04990cb3792c0dff221432",),
    "catalogue": ("730068ef57777d600d00baa0ee709b152df8bcac7658185f8c374f38a45ffae8",),
}
EXAMPLES = int(os.environ.get("OVERROUND_TESTS_FUZZ", "0"))
SEEDED = 100


@pytest.mark.timeout(3_600 if EXAMPLES else 120)
@pytest.mark.parametrize("name", TARGETS)
@settings(
    max_examples=EXAMPLES or 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.binary(max_size=160))
def test_drawn_bytes_end_in_nothing_but_declared_errors(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.timeout(3_600 if EXAMPLES else 120)
@pytest.mark.parametrize("name", TARGETS)
def test_thrown_bytes_end_in_nothing_but_declared_errors(name: str) -> None:
    """The same from a seed: hypothesis likes short and even bytes, these are long and uneven."""
    rng = random.Random(f"overround {name}")
    for _ in range(EXAMPLES or SEEDED):
        data = rng.randbytes(rng.randrange(8, 160))
        try:
            TARGETS[name](data)
        except BaseException as exc:
            exc.add_note(f'TARGETS["{name}"](bytes.fromhex("{data.hex()}"))')
            raise


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, found in FOUND.items() for data in found])
def test_what_was_found_once_is_mended(name: str, data: str) -> None:
    TARGETS[name](bytes.fromhex(data))

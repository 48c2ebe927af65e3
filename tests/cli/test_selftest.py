from __future__ import annotations

import pytest
from click.testing import CliRunner

from overround.cli.app import root
from overround.market import Venue
from overround.pipelines.fault_cells import cells_alone, cells_drawn


def test_every_kind_of_fault_has_a_cell_on_each_venue_that_knows_it() -> None:
    from overround.exchange import KINDS

    cells = cells_alone((), venues=list(Venue), seed=3)
    assert {cell.name for cell in cells} == {"none", *KINDS}
    for cell in cells:
        own = [fault for fault in (*cell.first, *cell.faults) if fault.kind == cell.name]
        assert {fault.venue for fault in own} == (set() if cell.name == "none" else set(cell.venues))


def test_drawn_cells_depend_on_their_seed_alone() -> None:
    cells = cells_drawn(3, venues=list(Venue), seed=5)
    assert cells[1:] == cells_drawn(2, venues=list(Venue), seed=6)
    assert len({cell.script() for cell in cells}) == 3
    assert cells[2].repeat() == "overround exchange selftest --random 1 --seed 7"


def test_an_unknown_kind_is_misuse_and_names_the_known() -> None:
    from overround.cli.app import run

    assert run(["exchange", "selftest", "--kind", "flood"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["exchange", "--help"], "selftest"),
        (["exchange", "selftest", "--help"], "fault"),
        (["exchange", "no-such-file.toml", "--port", "0"], ""),
    ],
)
def test_the_exchange_takes_a_verb_or_a_settings_file(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(root, arguments)
    if says:
        assert says in done.output
    else:
        assert "no configuration file at no-such-file.toml" in str(done.exception)

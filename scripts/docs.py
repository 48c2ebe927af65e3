"""Write the generated reference pages and tables, or check that they are current.

python scripts/docs.py            writes docs/reference/{commands,settings,schema,api}.md and the tables of explanation/{faults,repair}.md
python scripts/docs.py --check    exits 1 and names the page if one is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

DOCS = Path(__file__).parents[1] / "docs" / "reference"
FAULTS = DOCS.parent / "explanation" / "faults.md"
REPAIR = DOCS.parent / "explanation" / "repair.md"
REPORT = Path(__file__).parent / "fault_matrix.md"
"""Written by ``overround exchange selftest --out scripts/fault_matrix.md``."""
ROOMS = (
    "errors clock timebucket config market book ops logic fills storage net venue scheduler analytics rules arbitrage replay "
    "scanner collector exchange pipelines"
)


def commands_page() -> str:
    from overround.cli.app import root

    lines = ["# Commands", "", "Written from `--help` by `scripts/docs.py`.", ""]

    def write(command: click.Command, name: str, depth: int) -> None:
        with click.Context(command, info_name=name, max_content_width=100, terminal_width=100) as ctx:
            lines.extend(["#" * depth + f" `{name}`", "", "```text", command.get_help(ctx), "```", ""])
            if isinstance(command, click.Group):
                for child in command.list_commands(ctx):
                    found = command.get_command(ctx, child)
                    if found is not None:
                        write(found, f"{name} {child}", depth + 1)

    write(root, "overround", 2)
    return "\n".join(lines)


def settings_page() -> str:
    text = (DOCS.parents[1] / "config" / "surveillance.toml").read_text(encoding="utf-8")
    return (
        "# Settings\n\nThe complete file, with defaults; written from `config/surveillance.toml` by `scripts/docs.py`.\n"
        "`overround config show` prints the effective values and where each comes from.\n\n"
        f"```toml\n{text}```\n"
    )


def schema_page() -> str:
    """Every table of the lake, column by column."""
    from overround.pipelines.columns import meaning_of, since_of, unit_of
    from overround.pipelines.tables import lake_tables
    from overround.storage.paths import FilePlace

    lines = [
        "# Schema",
        "",
        "Every table of the lake, written from the code by `scripts/docs.py`; [the lake](lake.md) says how rows get there.",
        "Types are SQL's ([ask in SQL](../how-to/query-with-sql.md)): in Parquet `BIGINT` is int64 and `DOUBLE[]` a list of float64.",
        "`JSON` is a value with parts of its own in a line of JSON.",
        "Times in ms are milliseconds since the epoch, UTC.",
        "The names of folders give `venue`, `date` and `hour` besides.",
        "",
        "A file says its version (`schema_version` in a bucket's file and in the manifest, `overround.stats_version` in statistics).",
        "Columns are only added, at the end and nullable.",
        "Files of every older version are read, with null where a column was not there yet.",
        "A file of a later version is refused where its columns would be lost.",
        "",
    ]
    for table in lake_tables():
        place = table.place
        if isinstance(place, FilePlace):
            where = place.pattern.replace("venue=*", "venue=V").replace("date=*", "date=D")
        else:
            hour = "hour=HH/" if place.by_hour else ""
            where = f"{place.folder}/venue=V/date=D/{hour}{place.prefix}_DTHH-mm.parquet"
        rows = [
            [
                f"`{column.name}`",
                column.kind,
                unit_of(table.name, column.name),
                "yes" if column.nullable else "no",
                str(since_of(table.name, column.name)),
                meaning_of(table.name, column.name),
            ]
            for column in table.columns
        ]
        lines += [f"## {table.name}", "", f"A row is {table.row}.", f"Version {table.version}, in `{where}`.", ""]
        lines += [_columns(["Column", "Type", "Unit", "Null", "Since", "Meaning"], rows), ""]
    return "\n".join(lines)


def api_page() -> str:
    lines = ["# API", "", "The public names of each room; written by `scripts/docs.py`.", ""]
    for room in ROOMS.split():
        lines += [f"## `overround.{room}`", "", f"::: overround.{room}", ""]
    return "\n".join(lines)


def faults_page() -> str:
    """The page of the fault matrix with its tables: every kind of fault, and the stored report of a whole run."""
    from overround.pipelines.fault_report import kinds_text

    return _filled(FAULTS, {"kinds": kinds_text(), "report": REPORT.read_text(encoding="utf-8")})


def _columns(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(
        ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    )


def repair_page() -> str:
    """The page of the repair table with the table itself, drawn and written out, its times, budgets and breaker."""
    from overround.net import breaker
    from overround.venue.kalshi.commands import PACE as KALSHI
    from overround.venue.polymarket.connection import PACE as POLYMARKET
    from overround.venue.repair import BUDGETS, TABLE, Action, Saw, State

    common = (Saw.BOOK, Saw.PROOF, Saw.LOST, Saw.ENDED)
    edges: dict[tuple[State, State], list[str]] = {}
    for state, row in TABLE.items():
        for saw, (to, _) in row.items():
            if to is not state and (
                saw not in common or (state, saw) in ((State.JOINING, Saw.BOOK), (State.ENDED, Saw.BOOK))
            ):
                edges.setdefault((state, to), []).append(saw)
    drawn = [f"  {a} --> {b}: {', '.join(seen)}" for (a, b), seen in edges.items()]

    def cell(state: State, saw: Saw) -> str:
        to, action = TABLE[state][saw]
        said = [f"**{to}**"] if to is not state else []
        return "<br>".join(said + ([action] if action is not Action.NOTHING else [])) or "·"

    times = [name for name in KALSHI.__struct_fields__ if name != "longest_rest"]
    seconds = [[name, *(f"{getattr(pace, name) / 1000:g} s" for pace in (POLYMARKET, KALSHI))] for name in times]
    seconds.append(["longest rest", *(f"{pace.longest_rest / 1000:g} s" for pace in (POLYMARKET, KALSHI))])
    parts = {
        "diagram": "\n".join(["```mermaid", "stateDiagram-v2", f"  [*] --> {State.JOINING}", *drawn, "```"]),
        "table": _columns(["", *State], [[f"`{saw}`", *(cell(state, saw) for state in State)] for saw in Saw]),
        "pace": _columns(["state", "Polymarket", "Kalshi"], seconds),
        "budgets": _columns(
            ["step", "at once", "and as many more in"],
            [[step, str(budget.times), f"{budget.per_ms / 60_000:g} min"] for step, budget in BUDGETS.items()],
        ),
        "breaker": _columns(
            ["state", *breaker.Saw],
            [[at, *(breaker.NEXT[at, saw] for saw in breaker.Saw)] for at in breaker.BreakerState],
        ),
    }
    return _filled(REPAIR, parts)


def _filled(page: Path, parts: dict[str, str]) -> str:
    """The page with each part between its two marks."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n{part.rstrip()}\n\n{end}{rest.partition(end)[2]}"
    return text


def main() -> int:
    stale = []
    pages = {
        DOCS / "commands.md": commands_page,
        DOCS / "settings.md": settings_page,
        DOCS / "schema.md": schema_page,
        DOCS / "api.md": api_page,
    }
    for path, make in {**pages, FAULTS: faults_page, REPAIR: repair_page}.items():
        text = make()
        if "--check" in sys.argv:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path.relative_to(DOCS.parents[1])))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python scripts/docs.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a test does with a recorded lake: prove it, list its files, write one of them anew."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from overround.collector.runs import find_runs
from overround.market import Venue
from overround.pipelines.prove import Proof, prove_day, span_of
from overround.storage import JOURNAL, SNAPSHOTS, LakePaths
from overround.storage.fileops import FileOps
from overround.storage.manifest import append_line, read_manifests
from overround.storage.schema import SNAPSHOT_TABLE, TableSpec

KEY = ("market_id", "outcome_id", "ts_recv")


def prove(paths: LakePaths, venue: Venue, **options: Any) -> Proof:
    """All recorded days together: a test may run over midnight."""
    proofs = [prove_day(paths, venue, span_of(day, None), **options) for day in paths.days(SNAPSHOTS, str(venue))]
    return max(proofs, key=lambda proof: proof.rows) if len(proofs) > 1 else proofs[0]


def files(paths: LakePaths, venue: Venue) -> list[Path]:
    return [
        path
        for day in paths.days(SNAPSHOTS, str(venue))
        for hour in paths.hours(SNAPSHOTS, str(venue), day)
        for path in paths.bucket_files(SNAPSHOTS, str(venue), day, hour)
    ]


def read(path: Path) -> pa.Table:
    """A file's own rows: no columns from its folder's name."""
    with path.open("rb") as file:
        return pq.read_table(file)


def journals(paths: LakePaths, venue: Venue) -> list[Path]:
    days = paths.days(JOURNAL, venue)
    return [part.path for run in find_runs(paths, venue, days, from_ms=0, to_ms=1 << 60) for part in run.parts]


def rewrite(paths: LakePaths, venue: Venue, path: Path, rows: pa.Table, table: TableSpec = SNAPSHOT_TABLE) -> None:
    """Write a file anew as its own writer would: sorted or not, with its description, and listed with its checksum."""
    held = pq.read_schema(path).metadata
    pq.write_table(rows.replace_schema_metadata(held), path, compression="zstd")
    place = table.place
    day = path.parents[int(place.by_hour)].name.removeprefix("date=")
    manifests = paths.manifests(place, str(venue), day)
    name = path.relative_to(paths.day(place, str(venue), day)).as_posix()
    line = read_manifests(manifests)[name]
    times = rows.column(table.time_column)
    data = path.read_bytes()
    changed = {
        "rows": rows.num_rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "first_ts": pc.min(times).as_py(),
        "last_ts": pc.max(times).as_py(),
    }
    append_line(FileOps(), manifests[0], msgspec.structs.replace(line, **changed))

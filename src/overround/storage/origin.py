"""Live and synthetic rows never share a folder: the folder says which it holds."""

from __future__ import annotations

import msgspec

from overround.errors import UNREADABLE, FileDamaged, OriginMismatch, StorageError
from overround.market import Origin
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

__all__ = ["claim_origin", "read_origin"]


def read_origin(paths: LakePaths) -> Origin | None:
    """What the folder holds; None when nobody has said yet.

    Raises
    ------
    FileDamaged
        If the file does not say.
    """
    path = paths.origin()
    try:
        said = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return Origin(said["origin"])
    except FileNotFoundError:
        return None
    except (*UNREADABLE, KeyError) as exc:
        raise FileDamaged(
            f"{path} does not say where the rows come from",
            hint=f'write {{"origin": "live"}} or {{"origin": "synthetic"}} into {path}',
        ) from exc


def claim_origin(paths: LakePaths, origin: Origin, *, ops: FileOps | None = None) -> None:
    """Say what will be written into the folder.

    Raises
    ------
    OriginMismatch
        If it holds rows of the other origin.
    StorageError
        If the folder cannot be written.
    """
    held = read_origin(paths)
    if held is None:
        try:
            (ops or FileOps()).write_whole(paths.origin(), msgspec.json.encode({"origin": origin.value}) + b"\n")
        except OSError as exc:
            raise StorageError(
                f"{paths.root} cannot be written: {exc.strerror or exc}",
                hint="choose another data_dir, or mend its rights",
            ) from exc
    elif held is not origin:
        raise OriginMismatch(
            f"{paths.root} holds {held} rows, these would be {origin}",
            hint="set data_dir to another folder (--data-dir where the command has it)",
        )

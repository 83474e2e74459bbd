"""Something to write -> a file or folder that is there whole, or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsforecast.errors import DataError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write a file to; it becomes `path` when the block ends, and is gone when the block fails.

    A reader sees the old file or the new one. After a power cut too: the bytes are on disk before the name changes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """A new folder to write into; it takes the place of `path` when the block ends, and is gone when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if path.exists():  # a folder cannot be replaced in one step; for this moment there is none, which reads as "not done"
            path.replace(old)
        aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def digest_of(folder: Path) -> str:
    """SHA-256 over names and contents of the files in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def write_json(path: Path, values: Any) -> None:
    """Write `values` to `path` with sorted keys, so that equal values are equal bytes."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(values, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None when there is no such file.

    Raises:
        DataError: it is no JSON, which `write_json` never leaves.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: object) -> DataError:
    """What to say of a file of a run folder that something else has written to, or a disk has lost."""
    return DataError(f"{path} is damaged: {error}; delete it, and run the recipe for that moment again with --force")

"""Panel, or Parquet larger than memory -> a folder of arrays, and back as a panel whose arrays are mapped, not read.

The folder holds `panel.json` and a .npy file for each array; no file in it is executable or a pickle.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from tsforecast.errors import DataError, OptionError
from tsforecast.panel import IntArray, Panel
from tsforecast.preprocessing.blocks import pieces, series_blocks

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.preprocessing.parquet import ParquetRows, Reading

MANIFEST, FORMAT = "panel.json", 1
ROWS = ("timestamps", "target", "covariates", "past_covariates")  # arrays with a row for each row of the panel
WHOLE = ("offsets", "static_reals")  # arrays with a row for each series
AT_ONCE = 1 << 22  # rows sorted and checked in memory, where no series is longer


class Options(TypedDict, total=False):
    """How Parquet is read, as in `panel_from_parquet`."""

    freq: str | int | None
    season: int | None
    id_col: str
    time_col: str
    target_col: str
    missing_steps: Any
    covariates: Sequence[str]
    past_covariates: Sequence[str]
    static: "pd.DataFrame | None"


def store_panel(source: Panel | str | os.PathLike[str], folder: str | os.PathLike[str], **options: Unpack[Options]) -> Path:
    """Write a panel into a new folder for `open_panel`; return the folder, which is there whole or not at all.

    Parquet is read twice, a part at a time, and lies in a temporary folder beside `folder` in between, sorted by series in
    buckets of some million rows: memory holds one bucket (or the longest series, where that is longer), the disk twice the
    panel. The frequency is told from the first bucket.

    Args:
        source: a panel, or a Parquet file or folder that may be larger than memory.
        folder: must not exist, or be empty.
        options: for Parquet: freq, season, id_col, time_col, target_col, missing_steps, covariates, past_covariates as in
            `panel_from_parquet`, and `static`, a frame.

    Raises:
        DataError: the folder holds something already, or cannot be written; and all of `panel_from_parquet`.
        OptionError: options for Parquet beside a panel, or static columns that are not a frame.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is there already; remove it, or choose another folder", field="folder")
    if isinstance(source, Panel) and options:
        raise OptionError(f"{', '.join(options)} are for Parquet, and the source is a panel; leave them out", field="options")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}.aside")
        aside.mkdir()
        try:
            _write(iter([source]) if isinstance(source, Panel) else _panels_of(source, aside / "rows", options), aside)
            if target.exists():
                target.rmdir()
            aside.replace(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}", field="folder") from error
    return target


def open_panel(folder: str | os.PathLike[str]) -> Panel:
    """The panel that `store_panel` wrote. Its rows stay on the disk: what is looked at is read then.

    Networks fit and forecast such a panel by the windows they draw, with no more of it in memory; steps that make a new
    panel (transforms, splits, `panel.select`) hold what they make in memory, as they do of any panel.

    Raises:
        DataError: the folder holds no stored panel, or it is damaged or of another version.
    """
    path = Path(folder)
    try:
        values = json.loads((path / MANIFEST).read_text())
        if values["format"] != FORMAT:
            raise DataError(f"{path} is of format {values['format']}, this version reads {FORMAT}; store the panel again")
        told = {name: _as_tuples(value) for name, value in values["panel"].items()}
        files = {name: path / f"{name}.npy" for name in values["arrays"]}
        arrays: dict[str, Any] = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in files.items()}
        panel = Panel(**told, **(arrays | {name: np.array(arrays[name]) for name in WHOLE if name in arrays}))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} holds no whole stored panel: {error}; write it by store_panel", field="folder") from error
    rows = int(panel.offsets[-1])
    whole = len(panel.offsets) == len(panel) + 1 and (np.diff(panel.offsets) > 0).all() and panel.offsets[0] == 0
    if not whole or any(len(getattr(panel, name)) != rows for name in ROWS if name in arrays):
        raise DataError(f"the arrays in {path} do not belong together; store the panel again", field="folder")
    return panel


def _write(panels: Iterator[Panel], folder: Path) -> None:
    """The panels, one below the other; what they do not share is of the first one."""
    with ExitStack() as stack:
        files: dict[str, _GrowingArray] = {}
        offsets = [np.zeros(1, dtype=np.int64)]
        first: Panel | None = None
        ids: list[str] = []
        for panel in panels:
            first = first or panel
            for name in ROWS:
                array = getattr(panel, name)
                if array is None:
                    continue
                if name not in files:
                    files[name] = stack.enter_context(_growing(folder / f"{name}.npy", array))
                files[name].append(array)
            ids += panel.series_ids
            offsets.append(offsets[-1][-1] + panel.offsets[1:])
    assert first is not None  # Parquet without rows is refused
    whole = {"offsets": np.concatenate(offsets), "static_reals": first.static_reals}
    for name, array in whole.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    arrays = [*files, *(name for name, array in whole.items() if array is not None)]
    told = {field.name: getattr(first, field.name) for field in fields(Panel) if field.name not in (*ROWS, *WHOLE)}
    manifest = {"format": FORMAT, "kind": "panel", "arrays": arrays, "panel": told | {"series_ids": ids}}
    (folder / MANIFEST).write_text(json.dumps(manifest, allow_nan=False) + "\n")


class _GrowingArray:
    """A .npy file whose first axis grows; its header is written again, at the same length, when all is there."""

    def __init__(self, path: Path, like: npt.NDArray[Any]) -> None:
        self.file = path.open("wb")
        self.dtype, self.shape, self.rows = like.dtype, like.shape[1:], 0
        self.write_header()

    def write_header(self) -> None:
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, described)

    def append(self, array: npt.NDArray[Any]) -> None:
        for piece in pieces(array):
            np.ascontiguousarray(piece, dtype=self.dtype).tofile(self.file)
        self.rows += len(array)


@contextmanager
def _growing(path: Path, like: npt.NDArray[Any]) -> Iterator[_GrowingArray]:
    growing = _GrowingArray(path, like)
    with growing.file:
        yield growing
        growing.file.seek(0)
        growing.write_header()
        growing.file.flush()
        os.fsync(growing.file.fileno())


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(one) for one in value) if isinstance(value, list) else value


# Parquet larger than memory


def _panels_of(source: str | os.PathLike[str], rows: Path, options: Options) -> Iterator[Panel]:
    """Panels of some series each, in order of first appearance; `rows` is a folder for what is on its way."""
    from tsforecast.preprocessing.parquet import ParquetRows, reading_of
    from tsforecast.preprocessing.static import static_fields

    if isinstance(options.get("static"), list | tuple):
        message = "static columns of a Parquet file are not read a part at a time; pass static as a frame with a row per series"
        raise OptionError(message, field="static")
    reading = reading_of(**options)
    parquet = ParquetRows(source, reading.columns)
    counts = np.zeros(0, dtype=np.int64)
    for codes in parquet.codes_only():
        found = np.bincount(codes, minlength=len(parquet.ids))
        found[: len(counts)] += counts
        counts = found
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    blocks = list(series_blocks(offsets, AT_ONCE))
    _into_buckets(parquet, np.array([block.start for block in blocks]), rows)
    columns = reading.columns
    static: Any = columns.static  # a frame, see above
    constant = {} if static is None else static_fields(static, id_col=columns.id_col, ids=parquet.ids)
    for number, block in enumerate(blocks):
        panel = _panel_of_bucket(rows / str(number), parquet, reading, block)
        reading = replace(reading, freq=panel.freq, season=panel.season)
        yield replace(panel, **constant)  # the first one, with what is said of all series
        constant = {}
    shutil.rmtree(rows)


def _into_buckets(parquet: "ParquetRows", firsts: IntArray, folder: Path) -> None:
    """Append each row's values to the files of its bucket; bucket b has the series from `firsts[b]` on."""
    from tsforecast.preprocessing.parquet import IN_ROWS

    for part in parquet.parts():
        bucket = np.searchsorted(firsts, part.codes, side="right") - 1
        for number in np.unique(bucket):
            mine = bucket == number
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            for name in IN_ROWS:
                array = getattr(part, name)
                if array is not None:
                    with (folder / str(number) / name).open("ab") as file:
                        array[mine].tofile(file)


def _panel_of_bucket(folder: Path, parquet: "ParquetRows", reading: "Reading", block: slice) -> Panel:
    """The panel of the series of a bucket, whose files are gone then."""
    from tsforecast.preprocessing.parquet import Flat

    columns = reading.columns
    arrays: dict[str, Any] = {}
    for path in folder.iterdir():
        dtype = {"codes": np.dtype(np.int64), "timestamps": parquet.clock_type}.get(path.name, np.dtype(np.float64))
        arrays[path.name] = np.fromfile(path, dtype=dtype)
    for name, names in (("covariates", columns.covariates), ("past_covariates", columns.past_covariates)):
        if names:
            arrays[name] = arrays[name].reshape(-1, len(names))
    arrays["codes"] -= block.start
    shutil.rmtree(folder)
    return Flat(**arrays).panel(parquet, reading, ids=parquet.ids[block])

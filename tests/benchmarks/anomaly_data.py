"""Labelled series of the shared folder -> what a detector learns from, what it judges, the labels that score it.

The protocol is the same in all benchmarks of anomaly detection. Each series is alone. Learnt from: the first 25 % of the rows
in nab (in the order of the source, NAB is scored row by row), the first half in wsd, the train part of the archive in
ucr_anomaly, aiops_kpi and smd. Judged: the rest. Labels score, and are never shown to a detector. The clock is the number of the
row everywhere, so a season is what a detector finds in the data. Development series, on which choices of the project were
made, are those of even index when the univariate ones are ordered by (data set, id); the others are held out.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import append_line

from tsforecast.datasets import DATA_DIR
from tsforecast.metrics import buffer_of
from tsforecast.models.detector import Detector
from tsforecast.models.registry import available_models, build_detector
from tsforecast.panel import FloatArray, IntArray, Panel

DEFAULT_FOLDER = Path(__file__).parents[3] / "shared" / "data"  # beside the checkout
UNIVARIATE = ("nab", "ucr_anomaly", "aiops_kpi", "wsd")
NAB_FILES = ("realAWSCloudwatch", "realKnownCause")
LEARNED_SHARE = {"nab": 0.25, "wsd": 0.5}  # of the rows, where the archive has no split
NOT_FOUND = 125  # steps of buffer where a series has no period


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One series with its labels; T rows, C channels."""

    data: str
    series_id: str
    values: FloatArray  # (T, C)
    labels: IntArray  # (T,) 1 = anomalous
    learned: int  # rows that are learnt from, the first ones
    channels: tuple[str, ...] = ("y",)  # (C,)
    development: bool = False

    @property
    def key(self) -> str:
        return f"{self.data}/{self.series_id}"

    @property
    def train(self) -> Panel:
        return self.panel(self.values[: self.learned], first=0)

    @property
    def test(self) -> Panel:
        return self.panel(self.values[self.learned :], first=self.learned)

    @property
    def test_labels(self) -> IntArray:
        return self.labels[self.learned :]

    @cached_property
    def buffer(self) -> int:
        """Widest buffer of VUS-PR in steps, told from the first channel that varies in the whole series, as TSB-AD does."""
        varying = np.flatnonzero(self.values.max(axis=0) > self.values.min(axis=0))
        return buffer_of(self.values[:, varying[0]]) if len(varying) else NOT_FOUND

    def panel(self, values: FloatArray, *, first: int) -> Panel:
        """Rows (T', C) as a panel of one series whose clock begins at `first`."""
        return Panel(
            series_ids=(self.series_id,),
            offsets=np.asarray([0, len(values)], dtype=np.int64),
            timestamps=np.arange(first, first + len(values), dtype=np.int64),
            target=values[:, 0].copy(),
            past_covariates=values[:, 1:].copy() if values.shape[1] > 1 else None,
            past_covariate_names=self.channels[1:],
            target_name=self.channels[0],
            freq=1,
            season=1,
        )


def folder() -> Path:
    """Where the data are: what TSF_DATA_DIR names, else ../shared/data."""
    return Path(os.environ.get(DATA_DIR) or DEFAULT_FOLDER)


def load(data: Sequence[str] = UNIVARIATE) -> list[Labelled]:
    """Univariate series of some data sets, ordered by (data set, id)."""
    return [one for one in _all_univariate(folder()) if one.data in data]


@lru_cache(1)
def _all_univariate(where: Path) -> list[Labelled]:
    found = sorted(_univariate(where), key=lambda one: (one.data, one.series_id))
    return [replace(one, development=i % 2 == 0) for i, one in enumerate(found)]


def _univariate(where: Path) -> Iterator[Labelled]:
    import pandas as pd

    for file in NAB_FILES:
        frame = pd.read_parquet(where / "nab" / f"{file}.parquet")
        for name, rows in frame.sort_values(["unique_id", "row"]).groupby("unique_id"):
            yield _series("nab", str(name).split("/")[1], rows, int(LEARNED_SHARE["nab"] * len(rows)))
    for data in ("ucr_anomaly", "aiops_kpi"):
        parts = [pd.read_parquet(where / data / f"{split}.parquet") for split in ("train", "test")]
        learned = parts[0].groupby("unique_id").size()
        for name, rows in pd.concat(parts).groupby("unique_id"):  # a group keeps the order of its rows
            yield _series(data, str(name), rows, int(learned[name]))
    for name, rows in pd.read_parquet(where / "wsd" / "data.parquet").groupby("unique_id"):
        yield _series("wsd", str(name), rows, int(LEARNED_SHARE["wsd"] * len(rows)))


def _series(data: str, name: str, rows: Any, learned: int) -> Labelled:
    values = rows["y"].to_numpy(dtype=np.float64)[:, None]
    return Labelled(data=data, series_id=name, values=values, labels=rows["label"].to_numpy(dtype=np.int64), learned=learned)


@lru_cache(1)
def machines() -> list[Labelled]:
    """The multivariate series: the machines of smd, 38 channels."""
    import pandas as pd

    parts = [pd.read_parquet(folder() / "smd" / f"{split}.parquet") for split in ("train", "test")]
    channels = tuple(str(name) for name in parts[0] if name not in ("unique_id", "ds", "label"))
    learned = parts[0].groupby("unique_id").size()
    found = []
    for name, rows in pd.concat(parts).groupby("unique_id"):
        values = rows[list(channels)].to_numpy(dtype=np.float64)
        labels = rows["label"].to_numpy(dtype=np.int64)
        one = Labelled(
            data="smd", series_id=str(name), values=values, labels=labels, learned=int(learned[name]), channels=channels
        )
        found.append(one)
    return found


def runs_of(labels: IntArray) -> list[tuple[int, int]]:
    """(first, last) row of each stretch of ones."""
    edge = np.diff(np.asarray(labels, dtype=np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(edge == 1).tolist(), (np.flatnonzero(edge == -1) - 1).tolist(), strict=True))


def widened(labels: IntArray, steps: int) -> np.ndarray:
    """Which rows lie in a labelled stretch or at most `steps` beside one, (T,) bool."""
    found = np.zeros(len(labels), dtype=bool)
    for first, last in runs_of(labels):
        found[max(first - steps, 0) : last + 1 + steps] = True
    return found


# Rows of the tables

EXTRA_ROWS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> (detector of the registry, options)
    "sub_pca": ("pca_remainder", {"score": "sub_pca"}),
    "energy_shape": ("ensemble", {"members": ("window_energy", "shape_neighbour"), "weights": (1.0, 1.0)}),
    "energy_shape_rest": (
        "ensemble",
        {"members": ("window_energy", "shape_neighbour", "pca_remainder"), "weights": (1.0, 1.0, 1.0)},
    ),
}
WITHOUT_CHANCE = ("window_energy", "seasonal_residual", "shape_neighbour", "pca_remainder")  # any seed gives the same


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of a table: a detector with options."""

    row: str
    detector: str
    options: Mapping[str, Any]

    def recipe(self) -> Detector:
        return build_detector(self.detector, **self.options)

    @property
    def by_chance(self) -> bool:
        """Whether the seed matters."""
        members = self.options.get("members", ()) if self.detector == "ensemble" else (self.detector,)
        return not members or any(name not in WITHOUT_CHANCE for name in members)


def entries(rows: Sequence[str], options: Sequence[str] = (), variants: Sequence[str] = ()) -> list[Entry]:
    """Rows by name, with `row.option=JSON` set, and variants `name=detector:{JSON options}` besides."""
    given: dict[str, dict[str, Any]] = {}
    for one in options:
        name, _, value = one.partition("=")
        row, _, option = name.partition(".")
        given.setdefault(row, {})[option] = _value(value)
    unknown = [row for row in given if row not in rows]
    if unknown:
        raise SystemExit(f"--option names {unknown[0]!r}, which is not among the rows {', '.join(rows)}")
    found = []
    for row in rows:
        detector, own = EXTRA_ROWS.get(row, (row, {}))
        found.append(Entry(row=row, detector=detector, options=own | given.get(row, {})))
    for one in variants:
        name, _, rest = one.partition("=")
        detector, _, text = rest.partition(":")
        found.append(Entry(row=name, detector=detector, options=_tuples(json.loads(text or "{}"))))
    for entry in found:
        entry.recipe()  # a wrong option is found now, not in an hour
    return found


def default_rows() -> list[str]:
    """All detectors of the registry, and the other rows."""
    return [*available_models("anomaly"), *EXTRA_ROWS]


def _value(text: str) -> Any:
    try:
        return _tuples(json.loads(text))
    except json.JSONDecodeError:
        return text


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


# Runs and their lines


@dataclass(frozen=True, kw_only=True)
class Run:
    """One series, one row, one seed: what one process measures at a time."""

    key: str
    entry: Entry
    seed: int
    how: tuple[tuple[str, Any], ...] = ()  # further names and values that make it what it is

    @property
    def names(self) -> dict[str, Any]:
        """What makes two lines answers to the same question."""
        data, _, series = self.key.partition("/")
        own = {"data": data, "series": series, "row": self.entry.row, "seed": self.seed}
        return own | {"options": options_text(self.entry.options)} | dict(self.how)

    @property
    def text(self) -> str:
        return json.dumps(self.names, sort_keys=True)

    def series(self) -> Labelled:
        among = machines() if self.key.startswith("smd/") else load()
        return next(one for one in among if one.key == self.key)


def runs_of_all(
    series: Sequence[Labelled], rows: Sequence[Entry], seeds: Sequence[int], how: Mapping[str, Any] | None = None
) -> list[Run]:
    """Short series first; detectors without chance once."""
    ordered = sorted(series, key=lambda one: one.values.size)
    kept = tuple((how or {}).items())
    return [
        Run(key=one.key, entry=entry, seed=seed, how=kept)
        for one in ordered
        for entry in rows
        for seed in (seeds if entry.by_chance else seeds[:1])
    ]


def options_text(options: Mapping[str, Any]) -> str:
    """Options as a text that two equal ones share."""
    return json.dumps(dict(options), sort_keys=True)


def measure_all(
    attempt: Callable[[Run], dict[str, Any]], runs: Sequence[Run], *, out: Path, workers: int, again: bool = False
) -> None:
    """Measure what is not in `out` yet, each run in a process with one thread, and append each line as soon as it is known."""
    done = {line["run"] for line in read_lines(out) if "error" not in line}
    left = [run for run in runs if again or run.text not in done]
    print(f"{len(runs)} runs, {len(runs) - len(left)} of them in {out} already", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which are started anew
    began, count = time.perf_counter(), 0
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(safely, attempt, run) for run in left]):
            line = future.result()
            append_line(out, line)
            count += 1
            if "error" in line or count % 50 == 0 or count == len(left):
                said = f"{line['series']} {line['row']} seed {line['seed']}: {line.get('error', 'done')}"
                print(f"{count}/{len(left)} {time.perf_counter() - began:.0f} s {said}", flush=True)


def safely(attempt: Callable[[Run], dict[str, Any]], run: Run) -> dict[str, Any]:
    """A line of the result: what was measured, or what went wrong."""
    import torch

    torch.set_num_threads(1)
    line = {"run": run.text} | run.names
    try:
        return line | attempt(run)
    except Exception as error:  # the others go on, and the table says what this one said
        return line | {"error": f"{type(error).__name__}: {error}"}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The newest line of each run of a file of JSON lines."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.endswith("}")]  # no half line
    return list({line["run"]: line for line in lines}.values())


def label_of(line: Mapping[str, Any]) -> str:
    """Name of the row of a line, with its options where they are not the defaults of that row."""
    row = str(line["row"])
    _, own = EXTRA_ROWS.get(row, (row, {}))
    known = row in EXTRA_ROWS or row in available_models("anomaly")
    return f"{row} {line['options']}" if known and line["options"] != options_text(own) else row


def arguments(description: str | None, *, out: str, rows: str | None, seeds: str, data: str) -> argparse.ArgumentParser:
    """Options that all benchmarks of anomaly detection have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", default=rows, help="rows, separated by commas")
    parser.add_argument("--seeds", default=seeds, type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--data", default=[], type=lambda text: text.split(","), help=f"data sets: {data}")
    parser.add_argument("--series", type=int, help="only so many series of each set, the shortest ones: a trial")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--option", nargs="*", default=[], metavar="ROW.OPTION=JSON", help="options of rows")
    parser.add_argument("--variant", nargs="*", default=[], metavar="NAME=DETECTOR:JSON", help="further rows")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--again", action="store_true", help="measure anew what is in --out already")
    parser.add_argument("--table", action="store_true", help="print what is in --out as Markdown, and measure nothing")
    return parser


def nothing_to_do(asked: argparse.Namespace, *, data: str) -> bool:
    """Whether nothing is to be measured; says why where nothing is to be shown either."""
    if asked.table:
        return True
    if not asked.data:
        print(f"skipped: it takes hours, so say what to measure: --data {data}; or --table")
    elif not folder().is_dir():
        print(f"skipped: no folder {folder()}; set {DATA_DIR} to the one that holds {', '.join(asked.data)}")
    else:
        return False
    raise SystemExit(0)


def shortest(series: Sequence[Labelled], count: int | None) -> list[Labelled]:
    """So many series of each data set, the shortest ones; None = all."""
    found: list[Labelled] = []
    for data in dict.fromkeys(one.data for one in series):
        own = sorted((one for one in series if one.data == data), key=lambda one: one.values.size)
        found += own[:count]
    return found


def markdown(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"

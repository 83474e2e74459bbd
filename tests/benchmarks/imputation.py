"""Filling holes of real series: mean absolute error in standard deviations, a row for each data set and kind of hole.

    TSF_DATA_DIR=… python tests/benchmarks/imputation.py [--data etth1 m4_hourly …] [--models autoencoder vae] [--seeds 0 1 2]
        [--holes random 8 24 season] [--out build/imputation.jsonl]

The detector is fitted on the first 60 % of each series; holes are made in the rest: a tenth of the steps at random, or blocks of
8 steps, of 24 and of one season, about a fifth of the steps. Error: mean over the hidden steps of a series in units of the
standard deviation of its first part, then the mean over the series.

    line          a straight line between the neighbours
    season        the mean of the same phase in the seasons before and after
    network       one network of the model alone (the longer window), with what it is off by at the edges of a hole carried on
    autoencoder …  `detector.impute`
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tsforecast
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.holes import beside_seasons, guesses, on_a_line, values_or
from tsforecast.models.uses import impute
from tsforecast.panel import FloatArray, Panel

DATA_DIR = Path(os.environ.get("TSF_DATA_DIR", "/work/shared/data"))
SHARE = 0.6  # of each series, that is learnt from
SETS: dict[str, tuple[str, int, int, int]] = {  # folder, season, newest rows, every n-th series
    "etth1": ("etth1/train.parquet", 24, 6_000, 1),
    "ettm1": ("ettm1/train.parquet", 96, 8_000, 1),
    "m4_hourly": ("m4_hourly/train.parquet", 24, 1_000, 10),
    "vic_elec": ("vic_elec/train.parquet", 48, 10_000, 1),
    "bike_sharing": ("bike_sharing_hourly/train.parquet", 24, 10_000, 1),
    "nyc_taxi": ("nab/realKnownCause.parquet", 48, 11_000, 1),
    "wsd": ("wsd/data.parquet", 1_440, 16_000, 1),
    "aiops_kpi": ("aiops_kpi/train.parquet", 1_440, 16_000, 1),
}
HOLES = ("random", "8", "24", "season")


def series_of(name: str) -> list[FloatArray]:
    """The series of a data set, (T,) each."""
    import pandas as pd

    path, _, rows, every = SETS[name]
    frame = pd.read_parquet(DATA_DIR / path)
    if name == "nyc_taxi":
        frame = frame[frame["unique_id"].str.contains("taxi")]
    groups = [one["y"].to_numpy(dtype=np.float64)[-rows:] for _, one in frame.groupby("unique_id", sort=False)]
    return [one for one in groups[::every] if np.nanstd(one[: int(SHARE * len(one))]) > 0]


def panel_of(series: Sequence[FloatArray], season: int, first: Sequence[int]) -> Panel:
    """On an integer clock, so that the second part of a series follows its first."""
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([start + np.arange(len(one)) for start, one in zip(first, series, strict=True)]).astype(
            np.int64
        ),
        target=np.concatenate(series),
        freq=1,
        season=season,
    )


def hidden_steps(rows: int, kind: str, season: int, draws: np.random.Generator) -> np.ndarray:
    """Steps that are taken away, (T,) bool."""
    hidden = np.zeros(rows, dtype=bool)
    if kind == "random":
        hidden[1:-1] = draws.random(rows - 2) < 0.1
        return hidden
    length = season if kind == "season" else int(kind)
    start = length + int(draws.integers(length))
    while start + 2 * length < rows:
        hidden[start : start + length] = True
        start += 4 * length + int(draws.integers(2 * length))
    return hidden


def guesses_of(detector: FittedDetector, series_id: str, values: FloatArray, season: int) -> dict[str, FloatArray]:
    """The baselines and one network alone, for one series with holes."""
    scale = detector.memories[series_id].scale
    mean, deviation = scale.mean[0], scale.deviation[0]
    from tsforecast.models.detector import Rows

    def reconstruct(column: FloatArray) -> list[FloatArray]:
        rows = Rows(values=column[:, None], timestamps=np.arange(len(column)), freq=1, season=season)
        return [one[:, 0] for one in detector.core.reconstructions(rows)[-1:]]

    alone = guesses((values - mean) / deviation, season=1, reconstruct=reconstruct)
    course = values_or(values, beside_seasons(values, season, on_a_line(values)))
    return {"line": on_a_line(values), "season": course, "network": alone.values[1] * deviation + mean}


def measure(name: str, models: Sequence[str], kinds: Sequence[str], seed: int) -> Iterator[dict[str, Any]]:
    """One line for each kind of hole."""
    series, season = series_of(name), SETS[name][1]
    cut = [int(SHARE * len(one)) for one in series]
    fit = panel_of([one[:rows] for one, rows in zip(series, cut, strict=True)], season, [0] * len(series))
    detectors = {model: tsforecast.build_model(model).fit(fit, seed=seed) for model in models}
    for kind in kinds:
        if kind == "season" and (season == 24 or season > 200):
            continue  # there is such a line already, or the rest of the series holds too few
        draws = np.random.default_rng([seed, HOLES.index(kind)])
        truth = [one[rows:] for one, rows in zip(series, cut, strict=True)]
        hidden = [hidden_steps(len(one), kind, season, draws) & np.isfinite(one) for one in truth]
        holed = [np.where(gone, np.nan, one) for one, gone in zip(truth, hidden, strict=True)]
        asked = panel_of(holed, season, cut)
        errors: dict[str, list[float]] = {}
        said = {model: [values for _, values in impute(detector, asked).panel] for model, detector in detectors.items()}
        for i, (one, gone) in enumerate(zip(truth, hidden, strict=True)):
            deviation = float(np.nanstd(series[i][: cut[i]]))
            found = guesses_of(detectors[models[0]], f"s{i}", holed[i], season) | {model: said[model][i] for model in models}
            for way, values in found.items():
                errors.setdefault(way, []).append(float(np.abs(values - one)[gone].mean()) / deviation)
        numbers = {way: round(float(np.mean(found)), 4) for way, found in errors.items()}
        yield {"data": name, "series": len(series), "holes": kind, "seed": seed, **numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--models", nargs="+", default=["autoencoder", "vae"])
    parser.add_argument("--holes", nargs="+", choices=HOLES, default=list(HOLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    ways = ("line", "season", "network", *given.models)
    print("| data | holes | seed | " + " | ".join(ways) + " |\n|" + "---|" * (3 + len(ways)))
    for seed in given.seeds:
        for name in given.data:
            for line in measure(name, given.models, given.holes, seed):
                print(
                    f"| {name} | {line['holes']} | {seed} | " + " | ".join(f"{line[way]:.3f}" for way in ways) + " |", flush=True
                )
                if given.out is not None:
                    given.out.parent.mkdir(parents=True, exist_ok=True)
                    with given.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

"""Series generated from real ones, beside them: the report of `compare_series` for a VAE, a block bootstrap and white noise.

    TSF_DATA_DIR=… python tests/benchmarks/generation.py [--data etth1 nyc_taxi …] [--seeds 0 1 2] [--out build/generation.jsonl]

The VAE is fitted on all series of a set; real is what it has learnt from, the first three quarters of each. "one": for each of
at most four series, four generated ones as long as half of it, beside the real one; the numbers are means. "all": twelve series
generated for the set as a whole, beside all of it.

    vae         `detector.generate`, of one configuration that is made to generate: GENERATING
    default     … of the default options, which are made to detect
    blocks      pieces of one season of the real series, in random order, cut where they stand in the season
    noise       normal, with the mean and deviation of the real series
    half        the other half of the real series: what the bars are to let pass
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tsforecast
from tsforecast.comparison import BARS, ComparisonReport, compare_series
from tsforecast.models.detector import HELD_OUT
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

DATA_DIR = Path(os.environ.get("TSF_DATA_DIR", "/work/shared/data"))
SETS: dict[str, tuple[str, int, int, int]] = {  # folder, season, newest rows, every n-th series
    "etth1": ("etth1/train.parquet", 24, 6_000, 1),
    "ettm1": ("ettm1/train.parquet", 96, 8_000, 1),
    "m4_hourly": ("m4_hourly/train.parquet", 24, 1_000, 20),
    "vic_elec": ("vic_elec/train.parquet", 48, 10_000, 1),
    "bike_sharing": ("bike_sharing_hourly/train.parquet", 24, 10_000, 1),
    "nyc_taxi": ("nab/realKnownCause.parquet", 48, 11_000, 1),
}
COUNT, MOST_SERIES, WAYS = 4, 4, ("vae", "default", "blocks", "noise", "half")
GENERATING: dict[str, Any] = {"latent": 16, "hidden": (128,), "mask": 0.0}
TRAIN = TrainConfig(max_epochs=30)


def panel_of(series: Sequence[FloatArray], season: int) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(one)) for one in series]).astype(np.int64),
        target=np.concatenate(series),
        freq=1,
        season=season,
    )


def load(name: str) -> Panel:
    import pandas as pd

    path, season, rows, every = SETS[name]
    frame = pd.read_parquet(DATA_DIR / path)
    if name == "nyc_taxi":
        frame = frame[frame["unique_id"].str.contains("taxi")]
    groups = [one["y"].to_numpy(dtype=np.float64)[-rows:] for _, one in frame.groupby("unique_id", sort=False)]
    return panel_of(groups[::every], season)


def blocks(values: FloatArray, steps: int, season: int, draws: np.random.Generator) -> FloatArray:
    """A bootstrap of whole seasons."""
    turns = len(values) // season
    chosen = draws.integers(turns, size=-(-steps // season))
    return values[: turns * season].reshape(turns, season)[chosen].ravel()[:steps]


def ways_of(panel: Panel, detectors: dict[str, Any], seed: int) -> dict[str, Callable[[int, int], Panel]]:
    """How to make series like the one at an index."""
    draws, season = np.random.default_rng(seed), panel.season
    values = [one for _, one in panel]

    def several(make: Callable[[], FloatArray]) -> Panel:
        return panel_of([make() for _ in range(COUNT)], season)

    return {
        "vae": lambda i, steps: detectors["vae"].generate(steps, count=COUNT, seed=seed, series_id=f"s{i}"),
        "default": lambda i, steps: detectors["default"].generate(steps, count=COUNT, seed=seed, series_id=f"s{i}"),
        "blocks": lambda i, steps: several(lambda: blocks(values[i], steps, season, draws)),
        "noise": lambda i, steps: several(lambda: values[i].mean() + values[i].std() * draws.standard_normal(steps)),
        "half": lambda i, steps: panel_of([values[i][-steps:]], season),
    }


def summary(name: str, way: str, scope: str, reports: Sequence[ComparisonReport], seed: int) -> dict[str, Any]:
    numbers = {measure: round(float(np.nanmean([one[measure] for one in reports])), 3) for measure in BARS}
    passed = sum(one.passes for one in reports)
    return {"data": name, "way": way, "scope": scope, "seed": seed, **numbers, "passed": f"{passed}/{len(reports)}"}


def measure(name: str, seed: int) -> list[dict[str, Any]]:
    panel = load(name)
    detectors = {
        "vae": tsforecast.build_model("vae", **GENERATING).fit(panel, seed=seed, train=TRAIN),
        "default": tsforecast.build_model("vae").fit(panel, seed=seed),
    }
    panel = panel_of([values[: len(values) - int(HELD_OUT * len(values))] for _, values in panel], panel.season)
    lines = []
    ways = ways_of(panel, detectors, seed)
    for way in WAYS:
        reports = []
        for i in range(min(len(panel), MOST_SERIES)):
            real = panel.select([i])
            steps = int(panel.lengths[i]) // 2
            kept = panel_of([real.target[:-steps]], panel.season) if way == "half" else real
            reports.append(compare_series(kept, ways[way](i, steps), seed=seed))
        lines.append(summary(name, way, "one", reports, seed))
    if len(panel) > 1:
        steps = int(panel.lengths.min()) // 2
        for way, detector in detectors.items():
            report = compare_series(panel, detector.generate(steps, count=12, seed=seed), seed=seed)
            lines.append(summary(name, way, "all", [report], seed))
    kl = {way: [round(view["kl"], 1) for view in detector.training["views"]] for way, detector in detectors.items()}
    return [line | {"kl": kl.get(line["way"], "")} for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = ("data", "way", "scope", "seed", *BARS, "passed", "kl")
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    print("| bars ||||" + "|".join(f" {'≤' if side == 'most' else '≥'} {bar:g} " for side, bar, _ in BARS.values()) + "|||")
    for seed in given.seeds:
        for name in given.data:
            for line in measure(name, seed):
                print("| " + " | ".join(str(line[one]) for one in names) + " |", flush=True)
                if given.out is not None:
                    given.out.parent.mkdir(parents=True, exist_ok=True)
                    with given.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

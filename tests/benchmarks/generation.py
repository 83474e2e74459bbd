"""Series generated from real ones, beside them: the report of `compare_series` for a VAE, and for what is to pass and to fail.

    TSF_DATA_DIR=… python tests/benchmarks/generation.py [--data etth1 nyc_taxi …] [--seeds 0 1 2] [--out build/generation.jsonl]

The VAE is fitted on all series of a set; real is what it has learnt from, the first three quarters of each. "one": for each of
at most four series, four generated ones as long as it, beside the real one; the numbers are means. "all": twelve series
generated for the set as a whole, beside all of it.

    vae         `detector.generate`, of the options that are made to generate: `VAE.for_generation()`
    default     … of the default options, which are made to detect
    blocks      pieces of one season of the real series, in random order, cut where they stand in the season
    half        the later half of each real series, beside the earlier one: as near as real series are
    noise       to fail: normal, with the mean and deviation of the real series
    shuffled    to fail: the real values in random order
    copy        to fail: the first half of the real series itself
    itself      no generated series: the distances of the real one from itself that move the bars; it fails above a ceiling
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
from tsforecast.models.vae import VAE
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
COUNT, MOST_SERIES, AS_A_WHOLE = 4, 4, 12
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


def ways_of(panel: Panel, detectors: dict[str, Any], seed: int) -> dict[str, Callable[[int | None, int], Panel]]:
    """How to make series like the one at an index, or like the whole set, each of some steps."""
    draws, season = np.random.default_rng(seed), panel.season
    values = [one for _, one in panel]

    def several(make: Callable[[FloatArray, int], FloatArray], count: int = COUNT) -> Callable[[int | None, int], Panel]:
        def made(i: int | None, steps: int) -> Panel:
            models = values[:AS_A_WHOLE] if i is None else [values[i]] * count
            return panel_of([make(one, steps) for one in models], season)

        return made

    def learnt(detector: Any) -> Callable[[int | None, int], Panel]:
        def made(i: int | None, steps: int) -> Panel:
            count, like = (AS_A_WHOLE, None) if i is None else (COUNT, f"s{i}")
            found: Panel = detector.generate(steps, count=count, seed=seed, series_id=like)
            return found

        return made

    return {
        **{name: learnt(detector) for name, detector in detectors.items()},
        "blocks": several(lambda one, steps: blocks(one, steps, season, draws)),
        "half": several(lambda one, steps: one[-(steps // 2) :], count=1),
        "noise": several(lambda one, steps: one.mean() + one.std() * draws.standard_normal(steps)),
        "shuffled": several(lambda one, steps: draws.permutation(one)[:steps]),
        "copy": several(lambda one, steps: one[: steps // 2], count=1),
    }


def summary(name: str, way: str, scope: str, reports: Sequence[ComparisonReport], seed: int) -> dict[str, Any]:
    """Means over reports; a way fails a measure where one report does."""
    itself = way == "itself"
    found: dict[str, list[float]] = {measure: [] for measure in BARS}
    failed: list[set[str]] = []
    for report in reports:
        for one in report.measures:
            found[one.name].append(one.own if itself else one.value)
        failed.append({one.name for one in report.measures if (one.own > one.bar if itself else not one.passes)})
    seen = {measure: [one for one in values if np.isfinite(one)] for measure, values in found.items()}
    numbers = {measure: round(float(np.mean(values)), 3) if values else np.nan for measure, values in seen.items()}
    passed = f"{sum(not one for one in failed)}/{len(reports)}"
    named = ", ".join(sorted(set().union(*failed)))
    return {"data": name, "way": way, "scope": scope, "seed": seed, **numbers, "passed": passed, "failed": named}


def measure(name: str, seed: int) -> list[dict[str, Any]]:
    panel = load(name)
    detectors = {
        "vae": VAE.for_generation().fit(panel, seed=seed, train=TRAIN),
        "default": tsforecast.build_model("vae").fit(panel, seed=seed),
    }
    panel = panel_of([values[: len(values) - int(HELD_OUT * len(values))] for _, values in panel], panel.season)
    lines = []
    scopes: dict[str, list[int | None]] = {"one": list(range(min(len(panel), MOST_SERIES)))}
    if len(panel) > 1:
        scopes["all"] = [None]
    for scope, indices in scopes.items():
        reports: list[ComparisonReport] = []
        for way, make in ways_of(panel, detectors, seed).items():
            reports = []
            for i in indices:
                real = panel if i is None else panel.select([i])
                steps = int(real.lengths.min())
                kept = panel_of([one[: -(steps // 2)] for _, one in real], panel.season) if way == "half" else real
                reports.append(compare_series(kept, make(i, steps), seed=seed))
            lines.append(summary(name, way, scope, reports, seed))
        lines.append(summary(name, "itself", scope, reports, seed))
    kl = {way: [round(view["kl"], 1) for view in detector.training["views"]] for way, detector in detectors.items()}
    return [line | {"kl": kl.get(line["way"], "")} for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = ("data", "way", "scope", "seed", *BARS, "passed", "failed", "kl")
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    bars = [f"≤ {bar:g} to {ceiling:g}" if side == "most" else f"≥ {bar:g}" for side, bar, ceiling, _ in BARS.values()]
    print("| bars |||| " + " | ".join(bars) + " ||||")
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

"""Taking noise out: root mean square distance to the values before white noise was added, a row for each series and noise.

    TSF_DATA_DIR=… python tests/benchmarks/denoising.py [--series sine etth1.OT …] [--rows 300 2000] [--noise 0.1 0.25 0.5]
        [--models autoencoder vae] [--seeds 0] [--out build/denoising.jsonl]

The detector is fitted on the noisy series itself, hourly, with default options. Real series are standardised.

    raw           the noisy values
    network       the mean of what all windows of the model make of a step
    mean 5        centred moving mean
    SSA           singular spectrum analysis, windows of a season, rank by minimum description length
    STL           trend and season of LOESS, the season known
    autoencoder … `detector.denoise`
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import tsforecast
from tsforecast.panel import FloatArray

DATA_DIR = Path(os.environ.get("TSF_DATA_DIR", "/work/shared/data"))
SEASON = 24
MADE = ("sine", "sine x 3", "two seasons", "square", "random walk", "trend")
REAL = ("etth1.OT", "etth1.HULL", "ettm1.HUFL", "ettm1.OT")
FIRST = 3_000  # row of a real series at which seed 0 begins; seed 1 begins as much later


def course(name: str, rows: int, seed: int) -> FloatArray:
    """The true values, (T,)."""
    steps = np.arange(rows)
    day = 2 * np.pi * steps / SEASON
    made: dict[str, FloatArray] = {
        "sine": np.sin(day),
        "sine x 3": 3 * np.sin(day),
        "two seasons": np.sin(day) + 0.7 * np.sin(day / 7),
        "square": np.sign(np.sin(day + np.pi / SEASON)),
        "random walk": 0.3 * np.cumsum(np.random.default_rng(100 + seed).standard_normal(rows)),
        "trend": np.sin(day) + steps / 200,
    }
    if name in made:
        return made[name]
    import pandas as pd

    folder, column = name.split(".")
    frame = pd.read_parquet(DATA_DIR / folder / "train.parquet")
    values = frame[frame["unique_id"] == column]["y"].to_numpy(dtype=np.float64)[FIRST * (seed + 1) :][:rows]
    found: FloatArray = (values - values.mean()) / values.std()
    return found


def spectrum_analysis(values: FloatArray, width: int) -> FloatArray:
    """The main components of all windows, put together again; as many as the description of the data is shortest with."""
    mean = values.mean()
    windows = np.lib.stride_tricks.sliding_window_view(values - mean, width)
    left, size, right = np.linalg.svd(windows, full_matrices=False)
    count, power = len(windows), size**2 / len(windows)

    def length(rank: int) -> float:
        rest = power[rank:] + 1e-12
        unlike = count * len(rest) * (np.log(rest.mean()) - np.log(rest).mean())
        return float(unlike + 0.5 * rank * (2 * width - rank) * np.log(count))

    rank = min(range(1, width - 1), key=length)
    rebuilt = (left[:, :rank] * size[:rank]) @ right[:rank]
    total, times = np.zeros(len(values)), np.zeros(len(values))
    for place in range(width):
        total[place : place + count] += rebuilt[:, place]
        times[place : place + count] += 1
    found: FloatArray = mean + total / times
    return found


def known_ways(values: FloatArray) -> dict[str, FloatArray]:
    """What takes noise out without a detector."""
    import pandas as pd
    from statsmodels.tsa.seasonal import STL

    parts = STL(values, period=SEASON).fit()
    return {
        "raw": values,
        "mean 5": pd.Series(values).rolling(5, center=True, min_periods=1).mean().to_numpy(),
        "SSA": spectrum_analysis(values, SEASON),
        "STL": parts.trend + parts.seasonal,
    }


def measure(name: str, rows: int, noise: float, models: list[str], seed: int) -> dict[str, Any]:
    """One line."""
    import pandas as pd

    truth = course(name, rows, seed)
    values = truth + noise * np.random.default_rng(seed).standard_normal(len(truth))
    hours = pd.date_range("2026-01-01", periods=len(truth), freq="h")
    panel = tsforecast.panel_from_frame(pd.DataFrame({"unique_id": "a", "ds": hours, "y": values}))
    found = known_ways(values)
    for model in models:
        detector = tsforecast.build_model(model).fit(panel, seed=seed)
        found[model] = detector.denoise(panel).target
        if "network" not in found:
            memory = detector.memories["a"]
            rows_of_fit, before = detector.looking_back(panel, 0, memory)
            found["network"] = memory.scale.back(detector.core.reconstructions(rows_of_fit)[0])[before:, 0]
    errors = {way: round(float(np.sqrt(np.nanmean((one - truth) ** 2))), 4) for way, one in found.items()}
    return {"series": name, "rows": rows, "noise": noise, "seed": seed, **errors}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", nargs="+", choices=(*MADE, *REAL), default=[*MADE, *REAL])
    parser.add_argument("--rows", nargs="+", type=int, default=[2_000])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.1, 0.25, 0.5])
    parser.add_argument("--models", nargs="+", default=["autoencoder"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    ways = ("raw", *given.models, "network", "mean 5", "SSA", "STL")
    print("| series | rows | noise | seed | " + " | ".join(ways) + " |\n|" + "---|" * (4 + len(ways)))
    for seed in given.seeds:
        for name in given.series:
            for rows in given.rows:
                for noise in given.noise:
                    line = measure(name, rows, noise, given.models, seed)
                    cells = [name, str(rows), f"{noise:g}", str(seed), *(f"{line[way]:.3f}" for way in ways)]
                    print("| " + " | ".join(cells) + " |", flush=True)
                    if given.out is not None:
                        given.out.parent.mkdir(parents=True, exist_ok=True)
                        with given.out.open("a") as file:
                            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

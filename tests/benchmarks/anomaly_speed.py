"""Batch scoring, points/s, as a ratio to the bare forward passes of the same networks on the same windows; and the time of a fit.

    python tests/benchmarks/anomaly_speed.py [--detectors autoencoder,vae] [--lengths 10000,100000] [--channels 1,8] [--rounds 5]

Both run in this process, in turns (A B A B …), on one thread, and processor time is what counts, so the ratio holds on a
machine that others use (set OMP_NUM_THREADS=1 for numpy). Bare: for each window length of the fitted detector and each channel,
`network(values, mask)` in inference mode on chunks of 4,096 windows, which are strided views of the standardised series: what
no scoring with these networks can save, if it calls them as they are. Ours: `scores` gives the causal and the revised score
of every step; `score` the whole report with p-values, bands and events (not their explanations). A point is one value of
one channel. Memory is how much the highest resident set grew since the bare passes.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from anomaly_data import Entry, entries, markdown, number

from tsforecast.models.detector import channel_values
from tsforecast.models.detector_tape import Column
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.panel import Panel

SEASON, TRAINED, CHUNK = 96, 8_000, 4_096
ROWS = "autoencoder,vae,lstm_autoencoder,ensemble"


def made_up(length: int, channels: int, *, first: int, seed: int) -> Panel:
    """One series with a season and noise, channels apart in phase; the clock begins at `first`."""
    rng = np.random.default_rng(seed)
    steps = np.arange(first, first + length)[:, None]
    phase = np.linspace(0, np.pi, channels)
    values = (
        np.sin(2 * np.pi * steps / SEASON + phase)
        + 0.3 * np.sin(6 * np.pi * steps / SEASON)
        + rng.normal(0, 0.2, (length, channels))
    )
    return Panel(
        series_ids=("a",),
        offsets=np.asarray([0, length], dtype=np.int64),
        timestamps=steps[:, 0],
        target=values[:, 0].copy(),
        past_covariates=values[:, 1:].copy() if channels > 1 else None,
        past_covariate_names=tuple(f"c{i}" for i in range(1, channels)),
        freq=1,
        season=1,
    )


def bare(detector: FittedDetector, panel: Panel) -> Callable[[], None]:
    """The forward passes alone; of a detector without a network nothing, so its ratio means nothing."""
    core: Any = detector.core
    parts = getattr(core, "cores", (core,))
    pairs = [pair for part in parts if hasattr(part, "networks") for pair in zip(part.windows, part.networks, strict=True)]
    values = detector.memories["a"].scale.standardise(channel_values(panel, 0))
    columns = [(Column.of(values[:, c], window), network) for window, network in pairs for c in range(values.shape[1])]

    def run() -> None:
        with torch.inference_mode():
            for column, network in columns:
                for first in range(0, column.steps, CHUNK):
                    network(*column.windows(first, min(CHUNK, column.steps - first)))

    return run


def seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(entry: Entry, *, length: int, channels: int, rounds: int) -> dict[str, Any]:
    train = made_up(TRAINED, channels, first=0, seed=0)
    began = time.process_time()
    detector = entry.recipe().fit(train)
    fit_s = time.process_time() - began
    panel = made_up(length, channels, first=TRAINED, seed=1)
    forward = bare(detector, panel)
    forward()
    before = megabytes()
    detector.scores(panel)  # warm-up
    ways: dict[str, Callable[[], object]] = {
        "bare": forward,
        "scores": lambda: detector.scores(panel),
        "score": lambda: detector.score(panel, explain=False),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    ratios = {
        name: statistics.median(a / b for a, b in zip(times["bare"], times[name], strict=True)) for name in ("scores", "score")
    }
    per_s = {name: length * channels / statistics.median(own) for name, own in times.items()}
    return {
        "row": entry.row,
        "length": length,
        "channels": channels,
        **{f"{name}_per_s": round(value) for name, value in per_s.items()},
        **{f"{name}_ratio": round(value, 3) for name, value in ratios.items()},
        "memory_mb": round(megabytes() - before, 1),
        "fit_s": round(fit_s, 2),
        "views": [view["window"] for view in detector.training.get("views", [])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", default=ROWS)
    parser.add_argument("--lengths", default=[10_000, 100_000], type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--channels", default=[1, 8], type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--option", nargs="*", default=[], metavar="ROW.OPTION=JSON")
    parser.add_argument("--variant", nargs="*", default=[], metavar="NAME=DETECTOR:JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"1 thread, torch {torch.__version__}; median of {asked.rounds} rounds", flush=True)
    lines = []
    for entry in entries(asked.detectors.split(","), asked.option, asked.variant):
        for channels in asked.channels:
            for length in asked.lengths:
                lines.append(measure(entry, length=length, channels=channels, rounds=asked.rounds))
                print(json.dumps(lines[-1]), flush=True)
    head = ["detector", "steps", "channels", "bare, points/s", "scores, points/s", "ratio", "score, points/s", "ratio", "fit, s"]
    cells = [
        [
            f"`{one['row']}`",
            one["length"],
            one["channels"],
            one["bare_per_s"],
            one["scores_per_s"],
            number(one["scores_ratio"], 2),
            one["score_per_s"],
            number(one["score_ratio"], 2),
            number(one["fit_s"], 1),
        ]
        for one in lines
    ]
    print("\n" + markdown(head, cells))


if __name__ == "__main__":
    main()

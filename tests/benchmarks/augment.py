"""Which augmentation helps on which data: a small network with and without it, scored on the end of the training part.

    TSF_DATA_DIR=… python tests/benchmarks/augment.py --data m4_hourly m3_monthly m5_sample etth1 [--model gru] [--seeds 0 1 2]
        [--augment jitter mixup …] [--out build/augment.jsonl]
    python tests/benchmarks/augment.py --table [--out build/augment.jsonl]

One JSON line for each data set, augmentation and seed is appended to --out as soon as it is known; what stands there is not
measured again, so a run that was stopped goes on. The test part is never opened. All augmentations stand at their defaults.

M4 Hourly (100 series), M3 Monthly (300), M5 (200 items and stores, head of counts): drawn with seed 0, the last horizon of the
training part held back and forecast. ETTh1: fitted on the train part, forecast from every 47th hour of the validation part.
The training itself decides when to stop on the end of what it is given. Point score: OWA of M4 and M3, MASE of M5, MAE of
ETTh1; and the weighted quantile loss over the levels 0.1 … 0.9. The table shows the relative change against the same seed
without augmentation, mean and standard deviation over seeds: negative is better, and a change within the spread says nothing.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import DECILES, LEVELS, Settings, Task, append_line, competition, etth1, machine

import tsforecast
from tsforecast.datasets import DATA_DIR
from tsforecast.metrics import naive2, score, seasonal_scale
from tsforecast.nn.augmentations import AUGMENTATIONS, build_augmentation
from tsforecast.nn.config import TrainConfig

NONE = "none"
MIXTURES = {"jitter + masking": ("jitter", "masking"), "mixup + seasonal_bootstrap": ("mixup", "seasonal_bootstrap")}
CHOICES = {NONE: (), **{name: (name,) for name in AUGMENTATIONS}, **MIXTURES}
SERIES = {"m4_hourly": 100, "m3_monthly": 300, "m5_sample": 200}
DATA = (*SERIES, "etth1")
STRIDE = 47  # hours between origins of ETTh1: no multiple of a day
OPTIONS = {"m5_sample": {"head": "negative_binomial"}}  # mostly zeros: counts
POINT = {"m4_hourly": "owa", "m3_monthly": "owa", "m5_sample": "mase", "etth1": "mae"}
TRAIN = TrainConfig(max_epochs=10, batch_size=128, steps_per_epoch=40, progress=False, accelerator="cpu", threads=1)
OF_A_RUN = ("data", "model", "augment", "seed")


def load_task(data: str) -> Task:
    if data == "etth1":
        return etth1(Settings(validation=True), stride=STRIDE)
    if data != "m5_sample":
        return competition(data, Settings(validation=True, series=SERIES[data]))
    import pandas as pd

    frame = pd.read_parquet(Path(os.environ[DATA_DIR]) / data / "train.parquet", columns=["unique_id", "ds", "y"])
    panel = tsforecast.panel_from_frame(frame, freq="D")
    panel = panel.select(np.sort(np.random.default_rng(0).choice(len(panel), SERIES[data], replace=False)))
    horizon = 28
    fit, actual = panel.without_last(horizon), panel.tail(horizon).target.reshape(len(panel), -1)
    return Task(fit=fit, ask=fit, actual=actual)


def measure(task: Task, data: str, model: str, names: Sequence[str], seed: int, known: dict[str, Any]) -> dict[str, float]:
    """Fit, forecast and score; `known` keeps what is the same for all augmentations."""
    train = replace(TRAIN, augment=tuple(build_augmentation(name) for name in names))
    recipe = tsforecast.build_model(model, hidden=64, layers=1, **OPTIONS.get(data, {}))
    began = time.process_time()
    predictor = recipe.fit(task.fit, horizon=task.horizon, seed=seed, train=train)
    spent = time.process_time() - began
    forecast = predictor.predict(task.ask, horizon=task.horizon, quantile_levels=LEVELS)
    if not known and POINT[data] != "mae":
        known |= {"scale": seasonal_scale(task.ask)}
        known |= {"naive2": naive2(task.ask, horizon=task.horizon)} if POINT[data] == "owa" else {}
    found = score(actual=task.actual, quantiles=forecast.quantiles, quantile_levels=LEVELS, **known).total
    deciles = np.stack([forecast.quantile(level) for level in DECILES], axis=-1)
    wql = score(actual=task.actual, quantiles=deciles, quantile_levels=DECILES).total["wql"]
    return {"point": round(found[POINT[data]], 5), "wql": round(wql, 5), "fit_cpu_s": round(spent, 1)}


def run(data: Sequence[str], choices: Sequence[str], seeds: Sequence[int], *, model: str, out: Path) -> None:
    """Measure what is not in `out` yet, and print each line."""
    done = [[line[name] for name in OF_A_RUN] for line in read_lines(out)]
    tasks = {one: (load_task(one), dict[str, Any]()) for one in data}
    for seed, one, choice in itertools.product(seeds, data, choices):  # all of a seed first: then the table is whole
        if [one, model, choice, seed] in done:
            continue
        task, known = tasks[one]
        line = dict(zip(OF_A_RUN, (one, model, choice, seed), strict=True))
        line |= measure(task, one, model, CHOICES[choice], seed, known) | {"machine": machine()}
        append_line(out, line)
        print(json.dumps(line), flush=True)


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.endswith("}")]  # no half line


def table(lines: list[dict[str, Any]], model: str) -> str:
    """Relative change in percent against no augmentation, mean ± deviation over seeds; and what no augmentation scores."""
    own = {(line["data"], line["augment"], line["seed"]): line for line in lines if line["model"] == model}
    data = [one for one in DATA if any(key[0] == one for key in own)]
    columns = [(one, which) for one in data for which in ("point", "wql")]
    heads = [f"{one} {POINT[one].upper() if which == 'point' else 'WQL'}" for one, which in columns]
    rows = [f"| augmentation ({model}) | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
    for choice in CHOICES:
        cells = []
        for one, which in columns:
            seeds = sorted(seed for found, name, seed in own if (found, name) == (one, choice) and (one, NONE, seed) in own)
            values = [own[one, choice, seed][which] for seed in seeds]
            plain = [own[one, NONE, seed][which] for seed in seeds]
            cells.append(
                _cell(values if choice == NONE else [100 * (a / b - 1) for a, b in zip(values, plain, strict=True)], choice)
            )
        rows.append(f"| {choice} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(values: list[float], choice: str) -> str:
    if not values:
        return ""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return (
        f"{statistics.mean(values):.4f} ± {spread:.4f}" if choice == NONE else f"{statistics.mean(values):+.1f} % ± {spread:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], choices=DATA)
    parser.add_argument("--augment", nargs="+", default=list(CHOICES), choices=list(CHOICES), metavar="NAME")
    parser.add_argument("--model", default="gru")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("build/augment.jsonl"))
    parser.add_argument("--table", action="store_true", help="print what is in --out as Markdown, and measure nothing")
    asked = parser.parse_args()
    if not asked.table and asked.data and not os.environ.get(DATA_DIR):
        print(f"skipped: set {DATA_DIR} to the folder that holds {', '.join(asked.data)}")
        return
    if not asked.table and not asked.data:
        print(f"skipped: it takes a while, so say what to measure: --data {' '.join(DATA)}")
        return
    if not asked.table:
        run(asked.data, asked.augment, asked.seeds, model=asked.model, out=asked.out)
    for model in sorted({line["model"] for line in read_lines(asked.out)}):
        print(table(read_lines(asked.out), model) + "\n")


if __name__ == "__main__":
    main()

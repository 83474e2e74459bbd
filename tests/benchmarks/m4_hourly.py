"""Accuracy on M4 Hourly (414 series, 48 steps ahead): default options, one seed, beside seasonal naive.

    TSF_DATA_DIR=… python tests/benchmarks/m4_hourly.py [--models gru lstm] [--seed 0] [--validation] [--option hidden=64 …]

`--validation` scores the last 48 steps of the training part instead and never opens the test part: what every choice
of a default is made on. OWA is against Naive2 as the competition computed it; wql over the levels 0.1 … 0.9.
"""

import argparse
import json
import os
import time
from typing import Any

import numpy as np

import tsforecast
from tsforecast.datasets import BENCHMARKS, DATA_DIR, load_benchmark
from tsforecast.metrics import naive2, score, seasonal_scale
from tsforecast.panel import FloatArray, Panel

LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
DECILES = LEVELS[1:-1]
BENCHMARK = BENCHMARKS["m4_hourly"]


def load(*, validation: bool) -> tuple[Panel, FloatArray]:
    """(history, actual (S, 48))."""
    panel = tsforecast.panel_from_frame(load_benchmark("m4_hourly", "train"), freq=1, season=BENCHMARK.season)
    if validation:
        return panel.without_last(BENCHMARK.horizon), panel.tail(BENCHMARK.horizon).target.reshape(len(panel), -1)
    test = tsforecast.panel_from_frame(load_benchmark("m4_hourly", "test"), freq=1)
    assert test.series_ids == panel.series_ids
    return panel, test.target.reshape(len(panel), -1)


def run(name: str, panel: Panel, actual: FloatArray, *, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Fit, forecast and score one model."""
    began = time.perf_counter()
    predictor = tsforecast.build_model(name, **options).fit(panel, horizon=BENCHMARK.horizon, seed=seed)
    fitted = time.perf_counter()
    forecast = predictor.predict(panel, horizon=BENCHMARK.horizon, quantile_levels=LEVELS)
    done = time.perf_counter()
    baseline, scale = naive2(panel, horizon=BENCHMARK.horizon), seasonal_scale(panel)
    total = score(actual=actual, quantiles=forecast.quantiles, quantile_levels=LEVELS, scale=scale, naive2=baseline).total
    deciles = np.stack([forecast.quantile(level) for level in DECILES], axis=-1)
    return {
        "model": name,
        "owa": round(total["owa"], 4),
        "smape": round(total["smape"], 3),
        "mase": round(total["mase"], 4),
        "wql": round(score(actual=actual, quantiles=deciles, quantile_levels=DECILES).total["wql"], 4),
        "coverage_80": round(total["coverage_80"], 3),
        "coverage_95": round(total["coverage_95"], 3),
        "fit_s": round(fitted - began),
        "predict_s": round(done - fitted, 2),
        "parameters": getattr(predictor, "values", {}).get("parameters", 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["seasonal_naive", "gru", "lstm"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="score the end of the training part, not the test part")
    parser.add_argument("--option", nargs="*", default=[], metavar="NAME=JSON", help="options of the models, e.g. hidden=64")
    arguments = parser.parse_args()
    options = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in arguments.option)}
    if not os.environ.get(DATA_DIR):
        print(f"skipped: set {DATA_DIR} to a folder that holds m4_hourly/train.parquet and test.parquet")
        return
    panel, actual = load(validation=arguments.validation)
    for name in arguments.models:
        chosen = {} if name == "seasonal_naive" else options
        print(json.dumps(run(name, panel, actual, seed=arguments.seed, options=chosen)), flush=True)


if __name__ == "__main__":
    main()

"""Accuracy of every registered model at its default options, beside seasonal naive: M4 Hourly, M3 Monthly, ETTh1.

    TSF_DATA_DIR=… python tests/benchmarks/accuracy.py --data m4_hourly m3_monthly etth1 [--models gru lstm] [--max-seconds 240]
        [--seed 0] [--out build/accuracy.jsonl] [--validation] [--option hidden=64 …] [--again]
    python tests/benchmarks/accuracy.py --table [--out build/accuracy.jsonl]

One JSON line for each data set and model is appended to --out as soon as it is known; what stands there is not measured again,
unless it failed or --again is given. `--validation` scores the end of the training part and never opens the test part: what
every choice of a default is made on.

M4, M3: the official test part. OWA is against Naive2 as the competition computed it.
ETTh1: 96 steps ahead; 7 channels as 7 series, z-scored with mean and deviation of the train part; MSE and MAE of the median over
windows of the test part. Networks are fitted once on train and val (the end of it decides when to stop), and forecast from
every `--stride`-th origin; models fitted per series are fitted anew at every `--local-stride`-th. Strides that are no
multiple of a day visit all hours; published numbers have stride 1. Each origin sees the last 1,344 rows (8 weeks). `naive` is
seasonal naive on the very same windows. Everywhere: point forecast = median; WQL over the levels 0.1 … 0.9.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tsforecast
from tsforecast.datasets import BENCHMARKS, DATA_DIR, load_benchmark
from tsforecast.errors import FrequencyError
from tsforecast.metrics import naive2, score, seasonal_scale
from tsforecast.models.registry import available_models, model_class
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
DECILES = LEVELS[1:-1]
LOOK_BACK = 1344  # rows before an origin of ETTh1
STRIDE, LOCAL_STRIDE = 23, 383  # rows between origins of ETTh1
CLOCKS = {"m4_hourly": "h", "m3_monthly": "MS"}  # for models that need dates, which these sets do not have
DATA = ("m4_hourly", "m3_monthly", "etth1")
OF_A_RUN = ("data", "model", "seed", "validation", "options", "max_seconds", "series", "stride")  # what makes two lines the same


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to learn from, where to forecast from, and what came."""

    fit: Panel
    ask: Panel
    actual: FloatArray  # (S, H) of `ask`
    facts: dict[str, Any] = field(default_factory=dict)  # for the table

    @property
    def horizon(self) -> int:
        return int(self.actual.shape[1])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of a run that are the same for all models."""

    seed: int = 0
    validation: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    max_seconds: float | None = None  # of a training
    workers: int | None = None  # processes for models fitted per series
    series: int | None = None  # of M4 and M3, drawn with seed 0; None = all
    stride: int = STRIDE
    local_stride: int = LOCAL_STRIDE


# Data


def competition(data: str, settings: Settings) -> Task:
    """History and the steps after it, of M4 or M3."""
    horizon = BENCHMARKS[data].horizon
    panel = tsforecast.panel_from_frame(load_benchmark(data, "train"), freq=1, season=BENCHMARKS[data].season)
    if settings.validation:
        panel, actual = panel.without_last(horizon), panel.tail(horizon).target.reshape(len(panel), -1)
    else:
        test = tsforecast.panel_from_frame(load_benchmark(data, "test"), freq=1)
        assert test.series_ids == panel.series_ids
        actual = test.target.reshape(len(panel), -1)
    if settings.series is not None and settings.series < len(panel):
        drawn = np.sort(np.random.default_rng(0).choice(len(panel), settings.series, replace=False))
        panel, actual = panel.select(drawn), actual[drawn]
    return Task(fit=panel, ask=panel, actual=actual, facts={"series": len(panel)})


def etth1(settings: Settings, *, stride: int) -> Task:
    """What is learned from, and one history for each channel and origin."""
    parts = {split: _channels(load_benchmark("etth1", split)) for split in ("train", "val")}
    if not settings.validation:
        parts["test"] = _channels(load_benchmark("etth1", "test"))
    ids, times = parts["train"][0], np.concatenate([clock for _, clock, _ in parts.values()])
    values = np.concatenate([target for _, _, target in parts.values()], axis=1)  # (7, T)
    learned = parts["train"][2].shape[1] + (0 if settings.validation else parts["val"][2].shape[1])
    mean, deviation = (f(parts["train"][2], axis=1, keepdims=True) for f in (np.mean, np.std))
    return windows_task(ids, times, (values - mean) / deviation, learned=learned, stride=stride)


def windows_task(
    ids: Sequence[str], times: np.ndarray, values: FloatArray, *, learned: int, stride: int, horizon: int = 96
) -> Task:
    """Learn from the first `learned` columns of `values` (C, T); forecast from every `stride`-th of the others."""
    origins = np.arange(learned, values.shape[1] - horizon + 1, stride)
    asked = [(k, origin) for origin in origins for k in range(len(ids))]
    histories = [slice(max(origin - LOOK_BACK, 0), origin) for _, origin in asked]
    return Task(
        fit=_hourly(ids, [times[:learned]] * len(ids), list(values[:, :learned])),
        ask=_hourly(
            [f"{ids[k]}@{origin}" for k, origin in asked],
            [times[rows] for rows in histories],
            [values[k, rows] for (k, _), rows in zip(asked, histories, strict=True)],
        ),
        actual=np.stack([values[k, origin : origin + horizon] for k, origin in asked]),
        facts={"origins": len(origins), "stride": stride},
    )


def _channels(frame: Any) -> tuple[tuple[str, ...], np.ndarray, FloatArray]:
    panel = tsforecast.panel_from_frame(frame, freq="h")
    return panel.series_ids, panel.timestamps[: panel.offsets[1]], panel.target.reshape(len(panel), -1)


def _hourly(ids: Sequence[str], times: list[np.ndarray], values: list[FloatArray]) -> Panel:
    return Panel(
        series_ids=tuple(ids),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in values])]).astype(np.int64),
        timestamps=np.concatenate(times),
        target=np.concatenate(values),
        freq="h",
        season=24,
    )


def dated(task: Task, freq: str) -> Task:
    """The same series, all of them beginning with the year 2000."""
    first = {"h": np.datetime64("2000-01-01", "h"), "MS": np.datetime64("2000-01", "M")}[freq]

    def stamp(panel: Panel) -> Panel:
        times = (first + panel.row_in_series()).astype("datetime64[ns]")
        return replace(panel, timestamps=times, freq=freq)

    return replace(task, fit=stamp(task.fit), ask=stamp(task.ask), facts=task.facts | {"clock": f"made-up dates, {freq}"})


def load_task(data: str, name: str, settings: Settings) -> Task:
    """The task that `data` is for the model called `name`."""
    if data != "etth1":
        return competition(data, settings)
    about = model_class(name).about
    if about.scope == "global" or about.family == "baseline":
        return etth1(settings, stride=settings.stride)
    local = etth1(settings, stride=settings.local_stride)
    return replace(local, fit=local.ask)  # what is asked is what is fitted


# Measuring


def measure(name: str, task: Task, settings: Settings) -> dict[str, Any]:
    """Fit, forecast and score one model."""
    options = {} if model_class(name).about.family == "baseline" else settings.options
    train = TrainConfig(max_seconds=settings.max_seconds, workers=settings.workers, progress=False)
    began = time.perf_counter()
    predictor = tsforecast.build_model(name, **options).fit(task.fit, horizon=task.horizon, seed=settings.seed, train=train)
    fitted = time.perf_counter()
    forecast = predictor.predict(task.ask, horizon=task.horizon, quantile_levels=LEVELS)
    done = time.perf_counter()
    deciles = np.stack([forecast.quantile(level) for level in DECILES], axis=-1)
    scores = windows_scores(task, forecast.quantiles) if "origins" in task.facts else competition_scores(task, forecast.quantiles)
    return scores | {
        "wql": round(score(actual=task.actual, quantiles=deciles, quantile_levels=DECILES).total["wql"], 4),
        "fit_s": round(fitted - began, 1),
        "predict_s": round(done - fitted, 2),
        "parameters": getattr(predictor, "values", {}).get("parameters", 0),
    }


def competition_scores(task: Task, quantiles: FloatArray) -> dict[str, float]:
    baseline, scale = naive2(task.ask, horizon=task.horizon), seasonal_scale(task.ask)
    total = score(actual=task.actual, quantiles=quantiles, quantile_levels=LEVELS, scale=scale, naive2=baseline).total
    digits = {"owa": 4, "smape": 3, "mase": 4, "coverage_80": 3, "coverage_95": 3}
    return {name: round(total[name], places) for name, places in digits.items()}


def windows_scores(task: Task, quantiles: FloatArray) -> dict[str, float]:
    error = task.actual - quantiles[..., LEVELS.index(0.5)]
    season = task.ask.season
    last = np.stack([target[-season:] for _, target in task.ask])  # (S, season)
    naive = task.actual - last[:, np.arange(task.horizon) % season]
    total = score(actual=task.actual, quantiles=quantiles, quantile_levels=LEVELS).total
    numbers = {"mse": (error**2).mean(), "mae": abs(error).mean(), "naive_mse": (naive**2).mean(), "naive_mae": abs(naive).mean()}
    return {name: round(float(value), 4) for name, value in numbers.items()} | {
        name: round(total[name], 3) for name in ("coverage_80", "coverage_95")
    }


def attempt(data: str, name: str, settings: Settings) -> dict[str, Any]:
    """A line of the result: scores, or what went wrong."""
    line: dict[str, Any] = run_of(data, name, settings)
    try:
        task = load_task(data, name, settings)
        try:
            scores = measure(name, task, settings)
        except FrequencyError:
            if data not in CLOCKS:
                raise
            task = dated(task, CLOCKS[data])
            scores = measure(name, task, settings)
        return line | {"facts": task.facts, "machine": machine()} | scores
    except Exception as error:  # the others go on, and the table says what this one said
        return line | {"error": f"{type(error).__name__}: {error}"}


def run_of(data: str, name: str, settings: Settings) -> dict[str, Any]:
    """What makes a line the answer to the same question."""
    stride = [settings.stride, settings.local_stride] if data == "etth1" else None
    facts = {"seed": settings.seed, "validation": settings.validation, "options": settings.options}
    facts |= {"max_seconds": settings.max_seconds, "series": settings.series if data != "etth1" else None}
    return {"data": data, "model": name, **facts, "stride": stride}


def machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    return f"{cores} cores{gpu}"


# Lines and tables


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The newest line of each run."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.endswith("}")]  # no half line
    return list({json.dumps([line.get(name) for name in OF_A_RUN]): line for line in lines}.values())


def append_line(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.is_file() and not path.read_text(encoding="utf-8").endswith("\n")  # a kill amid a line
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if torn else "") + json.dumps(line) + "\n")


def run(data: Sequence[str], models: Sequence[str], settings: Settings, *, out: Path, again: bool = False) -> None:
    """Measure what is not in `out` yet, and print each line."""
    done = [{name: line.get(name) for name in OF_A_RUN} for line in read_lines(out) if "error" not in line]
    for one in data:
        for name in models:
            if not again and run_of(one, name, settings) in done:
                print(f"{one} {name}: in {out} already", flush=True)
                continue
            line = attempt(one, name, settings)
            append_line(out, line)
            print(json.dumps(line), flush=True)


COLUMNS = {
    "owa": "OWA",
    "smape": "sMAPE",
    "mase": "MASE",
    "mse": "MSE",
    "mae": "MAE",
    "naive_mse": "naive MSE",
    "naive_mae": "naive MAE",
    "wql": "WQL",
    "coverage_80": "80 % interval covers",
    "fit_s": "train, s",
    "predict_s": "predict, s",
    "parameters": "parameters",
}


def tables(lines: list[dict[str, Any]]) -> Iterator[str]:
    """One Markdown table for each data set and part, best model first, failures last."""
    for data, validation in sorted({(line["data"], line["validation"]) for line in lines}):
        own = [line for line in lines if (line["data"], line["validation"]) == (data, validation)]
        own.sort(key=lambda line: line.get("owa", line.get("mse", float("inf"))))
        shown = [name for name in COLUMNS if any(name in line for line in own)]
        part = "end of the training part" if validation else "test part"
        yield f"### {data}, {part}, {horizon_of(data)} steps ahead\n"
        yield f"| model | {' | '.join(COLUMNS[name] for name in shown)} | notes |\n|{'---|' * (len(shown) + 2)}"
        for line in own:
            cells = [str(line.get(name, "")) for name in shown]
            yield f"| `{line['model']}` | {' | '.join(cells)} | {notes(line)} |"
        yield ""


def horizon_of(data: str) -> int:
    return 96 if data == "etth1" else BENCHMARKS[data].horizon


def notes(line: dict[str, Any]) -> str:
    """What differs from one line to the next."""
    facts = line.get("facts", {})
    said = [f"{name}={value}" for name, value in line["options"].items()]
    said += [f"at most {line['max_seconds']:g} s of training"] if line["max_seconds"] else []
    said += [f"seed {line['seed']}"] if line["seed"] else []
    said += [f"{facts['series']} series"] if line.get("series") and facts else []
    said += [f"{facts['origins']} origins, {facts['stride']} rows apart"] if "origins" in facts else []
    said += [facts["clock"]] if "clock" in facts else []
    said += [line["error"].replace("|", "\\|").replace("\n", " ")] if "error" in line else []
    return "; ".join(said)


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], choices=DATA)
    parser.add_argument("--models", nargs="+", help="default: all registered ones")
    parser.add_argument("--max-seconds", type=float, help="of each training of a network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/accuracy.jsonl"))
    parser.add_argument("--validation", action="store_true", help="score the end of the training part, not the test part")
    parser.add_argument("--option", nargs="*", default=[], metavar="NAME=JSON", help="options of the models, e.g. hidden=64")
    parser.add_argument("--series", type=int, help="so many series of M4 and M3, drawn with a fixed seed; default: all")
    parser.add_argument("--stride", type=int, default=STRIDE, help="rows between origins of ETTh1")
    parser.add_argument("--local-stride", type=int, default=LOCAL_STRIDE, help="… for models fitted per series")
    parser.add_argument("--workers", type=int, help="processes for models fitted per series; default: one per core")
    parser.add_argument("--again", action="store_true", help="measure anew what is in --out already")
    parser.add_argument("--table", action="store_true", help="print what is in --out as Markdown, and measure nothing")
    asked = parser.parse_args()
    if asked.table:
        print("\n".join(tables(read_lines(asked.out))))
        return
    if not asked.data:
        print(f"skipped: it takes hours, so say what to measure: --data {' '.join(DATA)}")
        return
    if not os.environ.get(DATA_DIR):
        print(f"skipped: set {DATA_DIR} to the folder that holds {', '.join(asked.data)}")
        return
    common = {name: getattr(asked, name) for name in ("seed", "validation", "max_seconds", "workers", "series", "stride")}
    settings = Settings(**common, local_stride=asked.local_stride, options=options_of(asked.option))
    run(asked.data, asked.models or available_models(), settings, out=asked.out, again=asked.again)


if __name__ == "__main__":
    main()

"""Accuracy of every detector at its default options on labelled series: VUS-PR, beside random scores and simple baselines.

    python tests/benchmarks/anomaly.py --data nab,ucr_anomaly,aiops_kpi,wsd [--detectors autoencoder,vae] [--seeds 0,1,2]
        [--workers 2] [--option autoencoder.latent=16 …] [--variant 'NAME=autoencoder:{"second_window": null}' …]
        [--pyod] [--out build/anomaly.jsonl] [--again] [--series 6]
    python tests/benchmarks/anomaly.py --table [--out build/anomaly.jsonl]

Data and protocol: anomaly_data.py (TSF_DATA_DIR, default ../shared/data). Series whose judged part has no label are left out.
Each detector has one configuration for all series. `random` scores are uniform noise. One JSON line for each series, row
and seed is appended to --out as soon as it is known; what stands there is not measured again. A detector that fails on a
series has 0 there. Tables are means over series of the means over seeds; intervals are a paired bootstrap over series.
`of reports` is the VUS-PR of the revised scores of a report, in held-out units; all else is of `detector.scores(panel)`.

--pyod: rows of PyOD's AutoEncoder, VAE and IForest at their defaults, on the first windows of our `autoencoder`,
fitted on the whole training part, the score of a window spread over its steps as the mean of the windows that cover one. PyOD is
no dependency of this project: PYTHONPATH has to lead to it (pip install --no-deps --target FOLDER pyod numba llvmlite).
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anomaly_data import (
    UNIVARIATE,
    Entry,
    Labelled,
    Run,
    arguments,
    default_rows,
    entries,
    label_of,
    load,
    markdown,
    measure_all,
    nothing_to_do,
    number,
    read_lines,
    runs_of_all,
    shortest,
)

from tsforecast.metrics import auc_pr, bootstrap_mean_difference, vus_pr
from tsforecast.panel import FloatArray

PYOD = ("pyod_autoencoder", "pyod_vae", "pyod_iforest")
MEASURES = ("vus_pr", "auc_pr", "vus_pr_causal", "auc_pr_causal", "vus_pr_report")
PAIRS = (  # what is to be shown of them: one above the other
    ("ensemble", "energy_shape_rest"),
    ("ensemble", "sub_pca"),
    ("autoencoder", "window_energy"),
    ("vae", "autoencoder"),
    ("autoencoder", "pyod_autoencoder"),
    ("vae", "pyod_vae"),
    ("isolation_forest", "pyod_iforest"),
)


# Measuring


def attempt(run: Run) -> dict[str, Any]:
    """What one detector makes of one series."""
    series = run.series()
    said = {"development": series.development, "buffer": series.buffer}
    if run.entry.row == "random":
        noise = np.random.default_rng([run.seed, len(series.test_labels)]).random(len(series.test_labels))
        return said | scored(series, revised=noise, causal=noise)
    if run.entry.row in PYOD:
        return said | measure_pyod(run, series)
    train, test = series.train, series.test
    began = time.perf_counter()
    detector = run.entry.recipe().fit(train, seed=run.seed)
    fitted = time.perf_counter()
    revised = detector.scores(test, revised=True)
    done = time.perf_counter()
    causal = detector.scores(test, revised=False)
    said |= scored(series, revised=revised, causal=causal) | {"width": detector.core.width}
    told = detector.score(test, revised=True, explain=False).revised_score
    said["vus_pr_report"] = round(float(vus_pr(series.test_labels, told, buffer=series.buffer)), 5)
    said |= {"fit_s": round(fitted - began, 3), "score_s": round(done - fitted, 3)}
    kl = [round(view["kl"], 3) for view in detector.training.get("views", []) if "kl" in view]
    return said | ({"kl": kl} if kl else {})


def scored(series: Labelled, *, revised: FloatArray, causal: FloatArray) -> dict[str, Any]:
    labels = series.test_labels
    numbers = {
        "vus_pr": vus_pr(labels, revised, buffer=series.buffer),
        "auc_pr": auc_pr(labels, revised),
        "vus_pr_causal": vus_pr(labels, causal, buffer=series.buffer),
        "auc_pr_causal": auc_pr(labels, causal),
    }
    unjudged = float(np.mean(~np.isfinite(revised)))
    return {name: round(float(value), 5) for name, value in numbers.items()} | {"unjudged": round(unjudged, 5)}


# PyOD


def measure_pyod(run: Run, series: Labelled) -> dict[str, Any]:
    window = first_window(series)
    train = all_windows(series.values[: series.learned, 0], window)
    before = min(window - 1, series.learned)  # its windows look back into the training part, as ours do
    test = all_windows(series.values[series.learned - before :, 0], window)
    model = pyod_model(run.entry.row, run.seed)
    began = time.perf_counter()
    model.fit(train)
    fitted = time.perf_counter()
    scores = np.asarray(model.decision_function(test), dtype=np.float64)
    done = time.perf_counter()
    steps = len(series.values) - series.learned + before
    revised = spread(scores, steps, window=window)[before:]
    causal = np.concatenate([np.full(steps - len(scores), np.nan), scores])[before:]
    numbers = scored(series, revised=revised, causal=causal)
    return numbers | {"fit_s": round(fitted - began, 3), "score_s": round(done - fitted, 3), "width": window}


def first_window(series: Labelled) -> int:
    """Steps of the first window that our autoencoder has of the series."""
    from tsforecast.nn.config import TrainConfig

    short = TrainConfig(max_epochs=1, steps_per_epoch=1, progress=False)  # the window does not depend on the training
    return int(Entry(row="", detector="autoencoder", options={}).recipe().fit(series.train, train=short).core.windows[0])


def all_windows(values: FloatArray, window: int) -> FloatArray:
    """All windows (n, w) of values (T,)."""
    return np.lib.stride_tricks.sliding_window_view(values, window).copy()


def spread(scores: FloatArray, steps: int, *, window: int) -> FloatArray:
    """Scores of windows (n,) -> mean of the windows that cover a step, (T,)."""
    first = np.maximum(np.arange(steps) - window + 1, 0)
    last = np.minimum(np.arange(steps), len(scores) - 1)
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    return (sums[last + 1] - sums[first]) / (last + 1 - first)


def pyod_model(row: str, seed: int) -> Any:
    if row == "pyod_iforest":
        from pyod.models.iforest import IForest

        return IForest(random_state=seed)
    if row == "pyod_vae":
        from pyod.models.vae import VAE

        return VAE(random_state=seed, verbose=0)
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(random_state=seed, verbose=0)


# Tables


@dataclass(frozen=True, kw_only=True)
class Results:
    """Means over seeds; S series, one array (S,) for each row and measure, NaN = not measured."""

    keys: tuple[str, ...]  # (S,)
    development: np.ndarray  # (S,) bool
    rows: dict[str, dict[str, FloatArray]]
    failures: dict[str, list[str]]
    by_seed: dict[str, dict[int, float]]  # mean VUS-PR over series

    @classmethod
    def of(cls, lines: Sequence[dict[str, Any]]) -> "Results":
        keys = sorted({(line["data"], line["series"]) for line in lines})
        place = {key: i for i, key in enumerate(keys)}
        development = np.zeros(len(keys), dtype=bool)
        gathered: dict[str, dict[str, list[list[float]]]] = {}
        failures: dict[str, list[str]] = {}
        seeds: dict[str, dict[int, list[float]]] = {}
        for line in lines:
            i, row = place[line["data"], line["series"]], label_of(line)
            development[i] |= line.get("development", False)
            own = gathered.setdefault(row, {name: [[] for _ in keys] for name in (*MEASURES, "fit_s", "score_s")})
            if "error" in line:
                failures.setdefault(row, []).append(f"{line['series']}: {line['error']}")
            for name, values in own.items():
                worst = 0.0 if name in MEASURES and "error" in line else np.nan
                values[i].append(line.get(name, worst))
            seeds.setdefault(row, {}).setdefault(line["seed"], []).append(line.get("vus_pr", 0.0))
        return cls(
            keys=tuple("/".join(key) for key in keys),
            development=development,
            rows={
                row: {name: np.asarray([_mean(one) for one in values]) for name, values in own.items()}
                for row, own in gathered.items()
            },
            failures=failures,
            by_seed={row: {seed: float(np.mean(values)) for seed, values in own.items()} for row, own in seeds.items()},
        )

    def of_data(self, data: str) -> np.ndarray:
        return np.asarray([key.startswith(f"{data}/") for key in self.keys])


def _mean(values: Sequence[float] | FloatArray) -> float:
    seen = np.asarray(values, dtype=np.float64)
    seen = seen[np.isfinite(seen)]
    return float(seen.mean()) if len(seen) else float("nan")


def tables(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: means, medians, seeds, differences, failures."""
    if not lines:
        return
    found = Results.of(lines)
    order = sorted(found.rows, key=lambda row: -_mean(found.rows[row]["vus_pr"]))
    sets = [data for data in UNIVARIATE if found.of_data(data).any()]
    counts = " + ".join(f"{int(found.of_data(data).sum())} {data}" for data in sets)
    yield f"### VUS-PR, revised score, mean over {len(found.keys)} series ({counts})\n"
    head = [
        "row",
        "all",
        *sets,
        "development",
        "held out",
        "median",
        "AUC-PR",
        "causal VUS-PR",
        "of reports",
        "fit, s",
        "score, s",
        "series",
    ]
    yield markdown(head, [mean_row(found, row, sets) for row in order])
    yield "\n### Medians of VUS-PR\n"
    yield markdown(["row", "all", *sets], [median_row(found, row, sets) for row in order])
    seeds = sorted({seed for own in found.by_seed.values() for seed in own})
    yield "\n### Mean VUS-PR by seed\n"
    several = [row for row in order if len(found.by_seed[row]) > 1]
    yield markdown(["row", *seeds], [[f"`{row}`", *(number(found.by_seed[row].get(seed)) for seed in seeds)] for row in several])
    yield "\n### Differences of VUS-PR over the same series, 95 % interval (paired bootstrap over series)\n"
    best = "ensemble" if "ensemble" in found.rows else order[0]
    pairs = [*PAIRS, *((best, row) for row in order if row != best and (best, row) not in PAIRS)]
    shown = [pair for pair in pairs if pair[0] in found.rows and pair[1] in found.rows]
    yield markdown(
        ["difference", "all", "95 %", "wins / losses", "development", "held out", "95 % held out"],
        [difference_row(found, *pair) for pair in shown],
    )
    for row, failed in found.failures.items():
        yield f"\n`{row}` failed {len(failed)} times, counted as 0; the first: {failed[0]}"


def mean_row(found: Results, row: str, sets: Sequence[str]) -> list[str]:
    own = found.rows[row]
    vus = own["vus_pr"]
    parts = [vus, *(vus[found.of_data(data)] for data in sets), vus[found.development], vus[~found.development]]
    cells = [number(_mean(part)) for part in parts] + [number(float(np.nanmedian(vus)))]
    cells += [number(_mean(own["auc_pr"])), number(_mean(own["vus_pr_causal"])), number(_mean(own["vus_pr_report"]))]
    cells += [number(_mean(own[name]), 2) for name in ("fit_s", "score_s")]
    return [f"`{row}`", *cells, str(int(np.isfinite(vus).sum()))]


def median_row(found: Results, row: str, sets: Sequence[str]) -> list[str]:
    vus = found.rows[row]["vus_pr"]
    parts = [vus, *(vus[found.of_data(data)] for data in sets)]
    return [f"`{row}`", *(number(float(np.median(seen))) if len(seen := part[np.isfinite(part)]) else "" for part in parts)]


def difference_row(found: Results, a: str, b: str) -> list[str]:
    first, second = found.rows[a]["vus_pr"], found.rows[b]["vus_pr"]
    held = ~found.development
    mean, low, high = bootstrap_mean_difference(first, second, seed=0)
    held_mean, held_low, held_high = bootstrap_mean_difference(first[held], second[held], seed=0)
    wins, losses = int((first > second + 1e-4).sum()), int((first < second - 1e-4).sum())
    development = _mean((first - second)[found.development])
    return [
        f"`{a}` − `{b}`",
        f"{mean:+.3f}",
        f"{low:+.3f} … {high:+.3f}",
        f"{wins} / {losses}",
        f"{development:+.3f}",
        f"{held_mean:+.3f}",
        f"{held_low:+.3f} … {held_high:+.3f}",
    ]


def own_arguments() -> argparse.ArgumentParser:
    parser = arguments(__doc__, out="build/anomaly.jsonl", rows=None, seeds="0,1,2", data=",".join(UNIVARIATE))
    parser.add_argument("--pyod", action="store_true", help="also the rows of PyOD")
    return parser


def main() -> None:
    asked = own_arguments().parse_args()
    if not nothing_to_do(asked, data=",".join(UNIVARIATE)):
        rows = asked.detectors.split(",") if asked.detectors else [*default_rows(), "random"]
        others = (["random"] if "random" in rows else []) + (list(PYOD) if asked.pyod else [])
        own = entries([row for row in rows if row != "random"], asked.option, asked.variant)
        own += [Entry(row=row, detector=row, options={}) for row in others]
        series = shortest([one for one in load(asked.data) if one.test_labels.any()], asked.series)
        measure_all(attempt, runs_of_all(series, own, asked.seeds), out=asked.out, workers=asked.workers, again=asked.again)
    print("\n".join(tables(read_lines(asked.out))))


if __name__ == "__main__":
    main()

"""What each kind of evidence adds to the ensemble: VUS-PR without each member, and with others beside them.

    python tests/benchmarks/anomaly_evidence.py --data nab,ucr_anomaly,aiops_kpi,wsd [--seeds 0,1,2] [--workers 2]
        [--out build/anomaly_evidence.jsonl] [--series 6]
    python tests/benchmarks/anomaly_evidence.py --table

Data and protocol: anomaly_data.py. The default ensemble is fitted once for each series and seed, autoencoders beside it give the
further kinds, and the kinds are summed in several ways, each in median absolute deviations of the judged rows, as the ensemble
does it: what lies above the median counts. Amplitude (two members together), shape and level weigh 1 each, a further kind 1.

    window of 64        error of a second autoencoder over 64 steps, the other window of the recipe that was handed down
    long window         error over four windows of the first
    prediction error    of the step beyond either end of the window, forwards and backwards: for single points
    latent distance     squared distance of the code of a window to the nearest code of the training part: for shapes
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from anomaly_data import (
    UNIVARIATE,
    Entry,
    Labelled,
    Run,
    arguments,
    load,
    markdown,
    measure_all,
    nothing_to_do,
    number,
    read_lines,
    runs_of_all,
    shortest,
)

from tsforecast.metrics import bootstrap_mean_difference, vus_pr
from tsforecast.models.evidence import centred_mean, in_units, units_of
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.registry import build_detector
from tsforecast.models.window_arrays import covering_mean
from tsforecast.panel import FloatArray

MEMBERS = {"autoencoder": 0.5, "remainder": 0.5, "shape": 1.0, "level": 1.0}  # of the ensemble, with their weights
FURTHER = ("window of 64", "long window", "prediction error", "latent distance")
CODES = 2_000  # of the training part, evenly spaced
AT_ONCE = 1_024  # codes that are compared together


def sums() -> Iterator[tuple[str, dict[str, float]]]:
    """(row of the table, weights of its kinds)."""
    yield "ensemble", MEMBERS
    for name in MEMBERS:
        rest = {other: weight for other, weight in MEMBERS.items() if other != name}
        if name in ("autoencoder", "remainder"):  # the other one speaks for amplitude alone
            rest["remainder" if name == "autoencoder" else "autoencoder"] = 1.0
        yield f"without {name}", rest
    for name in FURTHER:
        yield f"with {name}", MEMBERS | {name: 1.0}
    yield "with all of these", MEMBERS | dict.fromkeys(FURTHER, 1.0)
    for name in FURTHER:
        yield f"{name} alone", {name: 1.0}


def attempt(run: Run) -> dict[str, Any]:
    """VUS-PR of all sums on one series."""
    series = run.series()
    began = time.perf_counter()
    kinds = evidence_of(series, run.seed)
    said: dict[str, Any] = {"development": series.development, "fit_and_score_s": round(time.perf_counter() - began, 2)}
    for row, weights in sums():
        evidence = np.stack([kinds[name] for name in weights])
        score = in_units(evidence, units_of(evidence), tuple(weights.values()))[:, 0]
        said[row] = round(float(vus_pr(series.test_labels, score, buffer=series.buffer)), 5)
    return said


def evidence_of(series: Labelled, seed: int) -> dict[str, FloatArray]:
    """Revised evidence of each kind on the judged rows, (T, 1)."""
    ensemble = build_detector("ensemble").fit(series.train, seed=seed)
    network = ensemble.core.cores[0]  # type: ignore[attr-defined]  # an ensemble has them
    window = network.windows[0]
    found = dict(zip(MEMBERS, judged(ensemble, series), strict=True))
    found["latent distance"] = latent_distance(ensemble, series)
    found["prediction error"] = further(series, seed, ends=True, window=window)[1]
    found["window of 64"] = further(series, seed, ends=False, window=64)[0]
    longest = len(series.train.target) // 4  # as a fit refuses more
    found["long window"] = further(series, seed, ends=False, window=max(min(4 * window, longest), window))[0]
    return found


def further(series: Labelled, seed: int, *, ends: bool, window: int) -> FloatArray:
    recipe = build_detector("autoencoder", window=window, second_window=None, ends=ends, point_evidence=ends)
    return judged(recipe.fit(series.train, seed=seed), series)


def judged(detector: FittedDetector, series: Labelled) -> FloatArray:
    """(K, T, 1) of the judged rows, which follow those of the fit."""
    rows, before = detector.looking_back(series.test, 0, detector.memories[series.series_id])
    return detector.core.evidence_alone(rows).revised[:, before:]


def latent_distance(ensemble: FittedDetector, series: Labelled) -> FloatArray:
    network = ensemble.core.cores[0]  # type: ignore[attr-defined]  # an ensemble has them
    memory, window = ensemble.memories[series.series_id], network.windows[0]
    scale = memory.scale
    learnt = series.train.target[: memory.new(series.train.timestamps).argmax() or None, None]

    def codes(values: FloatArray) -> tuple[np.ndarray, FloatArray]:
        rows, _ = ensemble.looking_back(series.test, 0, memory)
        ends, found = network.encode(type(rows)(values=values, timestamps=np.arange(len(values)), freq=1, season=1), every=1)
        return ends, found[:, 0]

    _, known = codes(scale.standardise(learnt))
    known = known[np.isfinite(known).all(axis=1)]
    known = known[np.unique(np.linspace(0, len(known) - 1, CODES).astype(int))]
    spread = np.maximum(known.std(axis=0), 1e-9)
    rows, before = ensemble.looking_back(series.test, 0, memory)
    ends, found = codes(rows.values)
    known, found = known / spread, found / spread
    distance = np.full(len(rows), np.nan)
    half = 0.5 * (known**2).sum(axis=1)
    for first in range(0, len(found), AT_ONCE):
        part = found[first : first + AT_ONCE]
        near = known[(half - part @ known.T).argmin(axis=1)]
        distance[ends[first : first + AT_ONCE]] = ((part - near) ** 2).mean(axis=1)
    revised = centred_mean(covering_mean(distance, window), max(window // 4, 1))
    return revised[before:, None]


def tables(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: means over series of the means over seeds, and what each sum has more than the ensemble."""
    if not lines:
        return
    for line in (one for one in lines if "error" in one):
        yield f"failed: {line['data']}/{line['series']} seed {line['seed']}: {line['error']}\n"
    kept = [line for line in lines if "error" not in line]
    if not kept:
        return
    keys = sorted({(line["data"], line["series"]) for line in kept})
    development = np.asarray([next(one["development"] for one in kept if (one["data"], one["series"]) == key) for key in keys])

    def means(row: str) -> FloatArray:
        return np.asarray([np.mean([one[row] for one in kept if (one["data"], one["series"]) == key]) for key in keys])

    whole = means("ensemble")
    cells = []
    for row, _ in sums():
        own = means(row)
        mean, low, high = bootstrap_mean_difference(own, whole, seed=0)
        sets = [
            number(float(own[[key[0] == data for key in keys]].mean()))
            for data in UNIVARIATE
            if any(key[0] == data for key in keys)
        ]
        more = "" if row == "ensemble" else f"{mean:+.3f} ({low:+.3f} … {high:+.3f})"
        halves = [number(float(own[part].mean())) for part in (development, ~development) if part.any()]
        cells.append([row, number(float(own.mean())), *sets, *halves, more])
    present = [data for data in UNIVARIATE if any(key[0] == data for key in keys)]
    yield f"### VUS-PR, revised score, mean over {len(keys)} series\n"
    yield markdown(["sum", "all", *present, "development", "held out", "less the ensemble"], cells)


def main() -> None:
    asked = arguments(
        __doc__, out="build/anomaly_evidence.jsonl", rows=None, seeds="0,1,2", data=",".join(UNIVARIATE)
    ).parse_args()
    if not nothing_to_do(asked, data=",".join(UNIVARIATE)):
        series = shortest([one for one in load(asked.data) if one.test_labels.any()], asked.series)
        own: Mapping[str, Any] = {}
        rows = [Entry(row="ensemble", detector="ensemble", options=own)]
        measure_all(attempt, runs_of_all(series, rows, asked.seeds), out=asked.out, workers=asked.workers, again=asked.again)
    print("\n".join(tables(read_lines(asked.out))))


if __name__ == "__main__":
    main()

"""Many channels: VUS-PR on the machines of smd against PCA, and whether the channels that are blamed are the right ones.

    python tests/benchmarks/anomaly_smd.py --data smd [--part scores,channels] [--detectors autoencoder,ensemble] [--seeds 0,1,2]
        [--workers 2] [--out build/anomaly_smd.jsonl]
    python tests/benchmarks/anomaly_smd.py --table [--out build/anomaly_smd.jsonl]

Data and protocol: anomaly_data.py. The copy of smd has no interpretation labels, so anomalies are planted for the second part.

scores: mean VUS-PR and AUC-PR. `pca_steps`: scikit-learn's PCA of standardised rows, all components, sum of the distances to
the unit eigenvectors over their shares of variance. `pca_windows`: the PCA row of TSB-AD-M with its options (windows of 100
steps, each z-scored as a whole, components for 25 % of the variance), fitted on the training part, every 4th window;
`pca_windows_on_test`: fitted on the part it judges, as TSB-AD does.

channels: 60 anomalies for each machine and seed, in 1 to 4 random channels each, in clean stretches of the judged part, 20
at a time: spike, level shift, shape (played backwards, or at twice the speed), variance, correlation (another stretch of
the same channel at the same level). Sizes are in robust standard deviations of the 500 steps around. Channels that are
constant there get none. The channels are ranked by their mean part of the score over the planted steps, against |z|
(training mean and deviation): mean and maximum over the same steps, and `z_local`, |z| against the 500 steps before. HitRate and
NDCG as in `tsforecast.metrics`. `risen`: the same part of the score less that of the 500 steps before, which `z_local` is to
be compared with. `by event`: ranked by the shares that the event names which overlaps the planted steps most.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anomaly_data import (
    Entry,
    Labelled,
    Run,
    arguments,
    default_rows,
    entries,
    label_of,
    machines,
    markdown,
    measure_all,
    nothing_to_do,
    number,
    read_lines,
    runs_of_all,
    shortest,
    widened,
)

from tsforecast.metrics import auc_pr, bootstrap_mean_difference, hit_rate, ndcg, vus_pr
from tsforecast.panel import FloatArray

PCAS = ("pca_steps", "pca_windows", "pca_windows_on_test")
KINDS = ("spike", "level shift", "shape", "variance", "correlation")
EVENTS, AT_ONCE = 60, 20  # planted for each machine and seed, and in one copy of the machine
MOST_CHANNELS, MOST_TRIES = 4, 300  # of a planted event; places that are tried before it gets one channel less
AROUND, MARGIN, GAP = 500, 150, 200  # steps that say how large is large; from a label; from one planted event to the next
LONGEST = 100  # steps of a planted event
WINDOW, VARIANCE, EVERY = 100, 0.25, 4  # of TSB-AD's PCA; of the training windows
MEASURES = ("hit_100", "hit_150", "ndcg")
CHANNEL_ROWS = "autoencoder,vae,ensemble,window_energy,forecast_residual"


# Scores


def attempt_scores(run: Run) -> dict[str, Any]:
    series = run.series()
    began = time.perf_counter()
    if run.entry.row in PCAS:
        found = pca_scores(run.entry.row, series)
    elif run.entry.row == "random":
        found = np.random.default_rng(run.seed).random(len(series.test_labels))
    else:
        found = run.entry.recipe().fit(series.train, seed=run.seed).scores(series.test, revised=True)
    took = time.perf_counter() - began
    numbers = {
        "vus_pr": vus_pr(series.test_labels, found, buffer=series.buffer),
        "auc_pr": auc_pr(series.test_labels, found),
    }
    return {name: round(float(value), 5) for name, value in numbers.items()} | {
        "seconds": round(took, 1),
        "buffer": series.buffer,
    }


def pca_scores(row: str, series: Labelled) -> FloatArray:
    train, test = series.values[: series.learned], series.values[series.learned :]
    if row == "pca_steps":
        return distances(train, test, kept=None)
    judged = z_scored_windows(test)
    learned = judged[::EVERY] if row == "pca_windows_on_test" else z_scored_windows(train)[::EVERY]
    scores = distances(learned, judged, kept=VARIANCE)
    before = (WINDOW - 1) // 2 + (WINDOW - 1) % 2  # TSB-AD: the middle of the window, the ends repeated
    return np.concatenate([np.full(before, scores[0]), scores, np.full((WINDOW - 1) // 2, scores[-1])])


def z_scored_windows(values: FloatArray) -> FloatArray:
    """All windows of rows (T, C), (n, w * C), each z-scored over all that is in it; single precision saves half a gigabyte."""
    windows = np.lib.stride_tricks.sliding_window_view(values.astype(np.float32), WINDOW, axis=0)  # (n, C, w)
    flat = windows.reshape(len(windows), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(flat.std(axis=1, ddof=1, keepdims=True), 1e-12)
    return flat


def distances(learned: FloatArray, judged: FloatArray, *, kept: float | None) -> FloatArray:
    """Sum over the components of the distance of each standardised row to the unit eigenvector over its share of variance."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(learned)
    fitted = scaler.transform(learned)
    varying = fitted.std(axis=0) > 1e-6
    pca = PCA(n_components=kept, svd_solver="covariance_eigh", random_state=0).fit(fitted[:, varying])
    share = np.maximum(pca.explained_variance_ratio_, 1e-12)  # constant channels that PCA sees would divide by 0
    found = np.empty(len(judged))
    for first in range(0, len(judged), 4096):
        rows = scaler.transform(judged[first : first + 4096])[:, varying].astype(np.float64)
        squares = (rows**2).sum(axis=1)[:, None] + 1.0 - 2.0 * rows @ pca.components_.T
        found[first : first + 4096] = (np.sqrt(np.maximum(squares, 0.0)) / share).sum(axis=1)
    return found


# Planting


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One anomaly in a copy of a machine."""

    first: int  # rows of the judged part, both inclusive
    last: int
    channels: tuple[int, ...]
    kind: str


def planted_copies(series: Labelled, seed: int) -> list[tuple[FloatArray, list[Planted]]]:
    """Copies of the judged part (T, C) with anomalies, and which."""
    rng = np.random.default_rng([seed, 5])
    values = series.values[series.learned :]
    clean = ~widened(series.test_labels, MARGIN)
    varying = series.values[: series.learned].std(axis=0) > 0
    found = []
    for _ in range(EVENTS // AT_ONCE):
        changed, events = values.copy(), []
        free = clean.copy()
        free[:AROUND] = free[len(free) - AROUND :] = False
        for number_of in range(AT_ONCE):
            kind, count = KINDS[number_of % len(KINDS)], number_of // len(KINDS) % MOST_CHANNELS + 1
            event, tries = None, 0
            while event is None:  # a place where too few channels vary is none
                event = plant(changed, values, free, varying, kind, max(count - tries // MOST_TRIES, 1), rng)
                tries += 1
            free[max(event.first - GAP, 0) : event.last + 1 + GAP] = False
            events.append(event)
        found.append((changed, events))
    return found


def plant(
    changed: FloatArray,
    values: FloatArray,
    free: np.ndarray,
    varying: np.ndarray,
    kind: str,
    count: int,
    rng: np.random.Generator,
) -> Planted | None:
    """Change `count` channels of `changed` somewhere where it is free; None = the place that was drawn will not do."""
    length = int(rng.integers(1, 4) if kind == "spike" else rng.integers(30, LONGEST + 1))
    first = int(rng.choice(np.flatnonzero(free)))
    rows = slice(first, first + length)
    if first + 2 * length > len(free) or not free[rows].all():
        return None
    around = values[max(first - AROUND // 2, 0) : first + length + AROUND // 2]
    scale = 1.4826 * np.median(np.abs(around - np.median(around, axis=0)), axis=0)
    able = np.flatnonzero(varying & (scale > 1e-9))
    if kind in ("shape", "correlation"):  # noise played backwards is noise
        able = able[[smooth(around[:, c]) for c in able]]
    if len(able) < count:
        return None
    channels = np.sort(rng.choice(able, count, replace=False))
    new = {int(c): altered(values[:, c], rows, kind, float(scale[c]), rng) for c in channels}
    moved = [np.sqrt(np.mean((new[c] - values[rows, c]) ** 2)) >= scale[c] for c in new]
    if not all(moved):
        return None
    for c, one in new.items():
        changed[rows, c] = one
    return Planted(first=first, last=first + length - 1, channels=tuple(new), kind=kind)


def smooth(values: FloatArray) -> bool:
    """Whether neighbours are alike, correlation of at least 0.5."""
    away = values - values.mean()
    return bool((away[1:] * away[:-1]).sum() >= 0.5 * (away**2).sum())


def altered(values: FloatArray, rows: slice, kind: str, scale: float, rng: np.random.Generator) -> FloatArray:
    """Other values for some rows of a channel (T,)."""
    old = values[rows]
    length, sign = len(old), rng.choice([-1.0, 1.0])
    if kind == "spike":
        return old + sign * scale * rng.uniform(5, 12)
    if kind == "level shift":
        return old + sign * scale * rng.uniform(3, 6)
    if kind == "variance":
        return old + scale * rng.uniform(2, 4) * rng.normal(size=length)
    if kind == "shape":
        return old[::-1] if sign > 0 else values[rows.start : rows.start + 2 * length : 2]
    start = int(rng.integers(0, len(values) - length))
    other = values[start : start + length]
    return other - np.median(other) + np.median(old)


# Who is to blame


def attempt_channels(run: Run) -> dict[str, Any]:
    """HitRate and NDCG of each planted event, by the score of one detector, or by |z|."""
    series = run.series()
    judge = None if run.entry.row == "z" else run.entry.recipe().fit(series.train, seed=run.seed)
    events: list[dict[str, Any]] = []
    for values, planted in planted_copies(series, run.seed):
        ranked = blame_by_z(series, values, planted) if judge is None else blame_by(judge, series, values, planted)
        for i, event in enumerate(planted):
            for way, contribution in ((way, every[i]) for way, every in ranked.items()):
                line = {"way": way, "kind": event.kind, "k": len(event.channels), "place": len(events)}
                events.append(line | (marks(contribution, event) if contribution is not None else {}))
    return {"events": events}


def marks(contribution: FloatArray, event: Planted) -> dict[str, float]:
    return {
        "hit_100": round(hit_rate(contribution, event.channels), 4),
        "hit_150": round(hit_rate(contribution, event.channels, percent=150), 4),
        "ndcg": round(ndcg(contribution, event.channels), 4),
    }


def blame_by(
    detector: Any, series: Labelled, values: FloatArray, planted: Sequence[Planted]
) -> dict[str, list[FloatArray | None]]:
    report = detector.score(series.panel(values, first=series.learned), sensitivity=1.0, explain=True)
    parts = np.where(np.isfinite(report.channel_scores), report.channel_scores, 0.0).clip(min=0.0)
    over = [parts[event.first : event.last + 1].mean(axis=0) for event in planted]
    return {
        "over the planted steps": over,
        "risen": [risen(report.channel_scores, event) for event in planted],
        "by event": [by_event(report, series, event) for event in planted],
    }


def risen(channel_scores: FloatArray, event: Planted) -> FloatArray:
    """Mean over the planted steps (C,), less the median of the steps before, in their median absolute deviation or at least 1."""
    scores = np.nan_to_num(channel_scores)
    before = scores[event.first - AROUND : event.first]
    usual = np.median(before, axis=0)
    spread = np.maximum(np.median(np.abs(before - usual), axis=0), 1.0)
    return (scores[event.first : event.last + 1].mean(axis=0) - usual) / spread


def by_event(report: Any, series: Labelled, planted: Planted) -> FloatArray | None:
    """Shares (C,) of the event that overlaps most; None = no event overlaps."""
    shared = [min(one.last_row, planted.last) - max(one.first_row, planted.first) + 1 for one in report.events]
    if not shared or max(shared) < 1:
        return None
    found = np.zeros(len(series.channels))
    for one in report.events[int(np.argmax(shared))].channels:
        found[series.channels.index(one.name)] = one.share
    return found


def blame_by_z(series: Labelled, values: FloatArray, planted: Sequence[Planted]) -> dict[str, list[FloatArray | None]]:
    train = series.values[: series.learned]
    deviation = train.std(axis=0)
    z = np.abs(values - train.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    found: dict[str, list[FloatArray | None]] = {"z_mean": [], "z_max": [], "z_local": []}
    for event in planted:
        rows = slice(event.first, event.last + 1)
        before = values[event.first - AROUND : event.first]
        spread = before.std(axis=0)
        local = np.abs(values[rows] - before.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        found["z_mean"].append(z[rows].mean(axis=0))
        found["z_max"].append(z[rows].max(axis=0))
        found["z_local"].append(local.mean(axis=0))
    return found


# Tables


def tables(lines: list[dict[str, Any]]) -> Iterator[str]:
    good = [line for line in lines if "error" not in line]
    scores = [line for line in good if line["part"] == "scores"]
    if scores:
        yield "### smd, VUS-PR of the revised score\n"
        yield scores_table(scores)
    channels = [line for line in good if line["part"] == "channels"]
    if channels:
        yield "\n### smd, channels of planted anomalies\n"
        yield channels_table(channels)
        yield "\n### HitRate@100 % by kind and by number of channels\n"
        yield kinds_table(channels)
        yield "\n### HitRate@100 %, less that of |z|; 95 % interval over events\n"
        yield differences_table(channels)
    for line in (line for line in lines if "error" in line):
        yield f"\n`{label_of(line)}` failed on {line['series']}, seed {line['seed']}: {line['error']}"


def scores_table(lines: Sequence[dict[str, Any]]) -> str:
    names = sorted({line["series"] for line in lines})
    rows = []
    for row in dict.fromkeys(label_of(line) for line in lines):
        own = [line for line in lines if label_of(line) == row]
        each = [[line["vus_pr"] for line in own if line["series"] == name] for name in names]
        means = [float(np.mean(one)) if one else float("nan") for one in each]
        auc = float(np.mean([line["auc_pr"] for line in own]))
        seconds = float(np.mean([line["seconds"] for line in own]))
        by_seed = [
            float(np.mean(one))
            for seed in sorted({x["seed"] for x in own})
            if (one := [x["vus_pr"] for x in own if x["seed"] == seed])
        ]
        seeds = " ".join(number(one) for one in by_seed)
        rows.append(
            (
                float(np.mean(means)),
                [f"`{row}`", number(float(np.mean(means))), *map(number, means), number(auc), seeds, number(seconds, 1)],
            )
        )
    rows.sort(key=lambda row: -row[0])
    return markdown(["row", "mean", *names, "AUC-PR", "by seed", "fit + score, s"], [row for _, row in rows])


Events = dict[tuple[str, str], list[dict[str, Any]]]  # (row, way) -> events of all machines and seeds, in one order


def events_of(lines: Sequence[dict[str, Any]]) -> Events:
    found: Events = {}
    for line in sorted(lines, key=lambda line: (line["series"], line["seed"])):
        for event in line["events"]:
            found.setdefault((label_of(line), event["way"]), []).append(event)
    return found


def mean_of(events: Sequence[dict[str, Any]], name: str) -> float:
    seen = [event[name] for event in events if name in event]
    return float(np.mean(seen)) if seen else float("nan")


def channels_table(lines: Sequence[dict[str, Any]]) -> str:
    rows = []
    for (row, way), events in events_of(lines).items():
        ranked = sum("hit_100" in event for event in events)
        rows.append([f"`{row}`", way, *(number(mean_of(events, name)) for name in MEASURES), f"{ranked} of {len(events)}"])
    return markdown(["row", "ranked", "HitRate@100 %", "HitRate@150 %", "NDCG@100 %", "events ranked"], rows)


def kinds_table(lines: Sequence[dict[str, Any]]) -> str:
    rows = []
    for (row, way), events in events_of(lines).items():
        parts = [[event for event in events if event["kind"] == kind] for kind in KINDS]
        parts += [[event for event in events if event["k"] == k] for k in (1, 2, 3, 4)]
        rows.append([f"`{row}`", way, *(number(mean_of(part, "hit_100"), 2) for part in parts)])
    return markdown(["row", "ranked", *KINDS, "1 channel", "2", "3", "4"], rows)


def differences_table(lines: Sequence[dict[str, Any]]) -> str:
    events = events_of(lines)
    ways = {way: own for (row, way), own in events.items() if row == "z"}
    rows = []
    for less in ways:
        for (row, way), own in events.items():
            if row != "z" and way != "by event" and len(own) == len(ways[less]):
                a, b = ([event["hit_100"] for event in one] for one in (own, ways[less]))
                mean, low, high = bootstrap_mean_difference(a, b, seed=0)
                rows.append([f"`{row}`", way, less, f"{mean:+.3f}", f"{low:+.3f} … {high:+.3f}"])
    return markdown(["row", "ranked", "less", "difference", "95 %"], rows)


def own_arguments() -> argparse.ArgumentParser:
    parser = arguments(__doc__, out="build/anomaly_smd.jsonl", rows=None, seeds="0,1,2", data="smd")
    parser.add_argument("--part", default=["scores", "channels"], type=lambda text: text.split(","))
    return parser


def main() -> None:
    asked = own_arguments().parse_args()
    nothing = nothing_to_do(asked, data="smd")
    series = [] if nothing else shortest(machines(), asked.series)
    if not nothing and "scores" in asked.part:
        rows = entries(asked.detectors.split(",") if asked.detectors else default_rows(), asked.option, asked.variant)
        runs = runs_of_all(series, rows, asked.seeds, {"part": "scores"})
        runs += runs_of_all(series, [Entry(row="random", detector="random", options={})], asked.seeds, {"part": "scores"})
        bare = [Entry(row=row, detector=row, options={}) for row in PCAS]
        runs += runs_of_all(series, bare, asked.seeds[:1], {"part": "scores"})
        measure_all(attempt_scores, runs, out=asked.out, workers=asked.workers, again=asked.again)
    if not nothing and "channels" in asked.part:
        rows = entries((asked.detectors or CHANNEL_ROWS).split(","), asked.option, asked.variant)
        # other seeds plant other anomalies: rows without chance are measured with each
        every = [Entry(row="z", detector="z", options={}), *rows]
        runs = [
            Run(key=one.key, entry=entry, seed=seed, how=(("part", "channels"),))
            for one in series
            for entry in every
            for seed in asked.seeds
        ]
        measure_all(attempt_channels, runs, out=asked.out, workers=asked.workers, again=asked.again)
    print("\n".join(tables(read_lines(asked.out))))


if __name__ == "__main__":
    main()

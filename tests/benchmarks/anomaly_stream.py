"""A stream of a million values, one at a time: time per point and memory at 10^4, 10^5 and 10^6, and equality with the batch.

    python tests/benchmarks/anomaly_stream.py [--detectors autoencoder,ensemble] [--points 10000,100000,1000000]

A million values take about an hour, so without --points it stops at 100,000. The series has a season, noise, a slow walk and,
each 5,000 steps, an anomaly, so that events open and close all the way. Time is that of the process on one thread, mean
since the line before; the quantiles are wall-clock time of the newest 5,000 points. Memory: resident set now, and its growth
since the first line of the detector; the stored state (JSON + safetensors). Equality: the scores, p-values and alarms of
the first `--compared` points against `detector.score` of the same rows in one batch.
"""

import argparse
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly_data import Entry, entries, markdown, number

from tsforecast.panel import FloatArray, Panel

SEASON, TRAINED, EVERY, LAST = 96, 8_000, 5_000, 5_000


def made_up(length: int) -> FloatArray:
    """(length,): the part that is learnt from, and what comes after it."""
    rng = np.random.default_rng(0)
    steps = np.arange(length)
    values = np.sin(2 * np.pi * steps / SEASON) + 0.3 * np.sin(6 * np.pi * steps / SEASON) + rng.normal(0, 0.2, length)
    values += np.sin(2 * np.pi * steps / 200_000)  # a slow walk
    for number_of, first in enumerate(range(TRAINED + EVERY // 2, length - 50, EVERY)):
        rows = slice(first, first + (1 if number_of % 2 else 50))
        values[rows] += 4.0 if number_of % 2 else 1.5
    return values


def panel_of(values: FloatArray, first: int) -> Panel:
    return Panel(
        series_ids=("a",),
        offsets=np.asarray([0, len(values)], dtype=np.int64),
        timestamps=np.arange(first, first + len(values), dtype=np.int64),
        target=values.copy(),
        freq=1,
        season=1,
    )


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def stored_kb(stream: Any) -> float:
    with tempfile.TemporaryDirectory() as folder:
        stream.save(folder)
        return sum(file.stat().st_size for file in Path(folder).iterdir()) / 1024


def measure(entry: Entry, *, points: list[int], compared: int) -> list[dict[str, Any]]:
    values = made_up(TRAINED + max(points))
    detector = entry.recipe().fit(panel_of(values[:TRAINED], 0))
    stream = detector.stream("a")
    told: dict[str, list[Any]] = {"score": [], "p_value": [], "alarm": []}
    events: set[str] = set()
    walls = np.zeros(LAST)
    lines: list[dict[str, Any]] = []
    began, done, equal = time.process_time(), 0, {}
    for i, value in enumerate(values[TRAINED:]):
        at = time.perf_counter_ns()
        update = stream.update(value)
        walls[i % LAST] = time.perf_counter_ns() - at
        events.update(event.id for event in update.events)
        if i < compared:
            for name, list_of in told.items():
                list_of.append(getattr(update.points[0], name))
        if i + 1 in points:
            cpu = time.process_time() - began
            gc.collect()
            if not equal:
                equal = compare(detector, panel_of(values[TRAINED : TRAINED + len(told["score"])], TRAINED), told)
            line = {
                "row": entry.row,
                "points": i + 1,
                "cpu_us": round(1e6 * cpu / (i + 1 - done), 1),
                "p50_us": round(float(np.quantile(walls[: i + 1], 0.5)) / 1e3, 1),
                "p99_us": round(float(np.quantile(walls[: i + 1], 0.99)) / 1e3, 1),
                "resident_mb": round(resident_mb(), 1),
                "state_kb": round(stored_kb(stream), 1),
                "events": len(events),
            } | equal
            line["grown_mb"] = round(line["resident_mb"] - (lines[0] if lines else line)["resident_mb"], 1)
            lines.append(line)
            print(json.dumps(line), flush=True)
            began, done = time.process_time(), i + 1
    return lines


def compare(detector: Any, panel: Panel, told: dict[str, list[Any]]) -> dict[str, Any]:
    """How far the stream is from the batch over the first points."""
    report = detector.score(panel, explain=False)
    score, p_value = np.asarray(told["score"]), np.asarray(told["p_value"])
    away = np.abs(score - report.score) / np.maximum(np.abs(report.score), 1.0)
    return {
        "compared": len(score),
        "score_differs": float(np.nanmax(away)),
        "score_same_bits": int((score == report.score).sum() + (np.isnan(score) & np.isnan(report.score)).sum()),
        "p_value_differs": float(np.nanmax(np.abs(p_value - report.p_value))),
        "alarms_differ": int((np.asarray(told["alarm"]) != report.alarm).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", default="autoencoder,ensemble")
    parser.add_argument("--points", default=[10_000, 100_000], type=lambda text: sorted(int(one) for one in text.split(",")))
    parser.add_argument("--compared", type=int, default=10_000)
    parser.add_argument("--option", nargs="*", default=[], metavar="ROW.OPTION=JSON")
    parser.add_argument("--variant", nargs="*", default=[], metavar="NAME=DETECTOR:JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for entry in entries(asked.detectors.split(","), asked.option, asked.variant):
        lines += measure(entry, points=asked.points, compared=asked.compared)
    head = ["detector", "points", "CPU a point, µs", "median, µs", "99 %, µs", "resident, MB", "grown, MB", "state, KB", "events"]
    names = ("cpu_us", "p50_us", "p99_us", "resident_mb", "grown_mb", "state_kb", "events")
    print("\n" + markdown(head, [[f"`{one['row']}`", f"{one['points']:,}", *(one[name] for name in names)] for one in lines]))
    head = [
        "detector",
        "compared with the batch",
        "same bits",
        "score, largest relative difference",
        "p-value",
        "alarms that differ",
    ]
    first = {one["row"]: one for one in reversed(lines)}
    cells = [
        [
            f"`{row}`",
            one["compared"],
            one["score_same_bits"],
            f"{one['score_differs']:.1e}",
            f"{one['p_value_differs']:.1e}",
            number(one["alarms_differ"], 0),
        ]
        for row, one in first.items()
    ]
    print("\n" + markdown(head, cells))


if __name__ == "__main__":
    main()

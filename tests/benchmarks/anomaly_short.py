"""Short histories: alarms per 1,000 clean steps where 1 was asked for, and whether six odd hours are found, by rows of the fit.

    python tests/benchmarks/anomaly_short.py [--detectors ensemble,autoencoder,…] [--rows 200,400,700,2000] [--seeds 12]

Made series, hourly: a day of amplitude 3 with normal, heavy-tailed (t, 4 degrees) or autocorrelated (0.7) noise of deviation
0.3 to 0.5, in turn. The 300 rows behind the fit are judged: clean; clean, but half a year later, so that nothing is looked back
on; clean with a gap of ten hours; and with six hours raised by 2.5, by the causal score and by the revised one, that looks back.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

import tsforecast
from tsforecast.anomaly.report import AnomalyReport, Event
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.panel import FloatArray, Panel

JUDGED, ODD, RAISED = 300, slice(150, 156), 2.5  # rows behind the fit, which of them are odd, by how much
NEAR = 24  # rows behind the odd ones in which an event that begins is still theirs


def noise_of(seed: int, rows: int) -> FloatArray:
    draws = np.random.default_rng(seed)
    if seed % 3 == 1:
        return draws.standard_t(4, rows) * 0.25
    steps: FloatArray = draws.normal(0, 0.3, rows)
    if seed % 3 == 2:
        for t in range(1, rows):
            steps[t] = 0.7 * (steps[t - 1] + steps[t])
    return steps


def panel_of(values: FloatArray, start: str = "2025-01-01") -> Panel:
    import pandas as pd

    hours = pd.date_range(start, periods=len(values), freq="h")
    return tsforecast.panel_from_frame(pd.DataFrame({"unique_id": "a", "ds": hours, "y": values}))


def measure(asked: tuple[str, int, int]) -> dict[str, float]:
    """One detector, one length of history, one seed."""
    name, rows, seed = asked
    import torch

    torch.set_num_threads(1)
    values = 10 + 3 * np.sin(2 * np.pi * np.arange(rows + JUDGED) / 24) + noise_of(seed, rows + JUDGED)
    panel = panel_of(values)
    detector = tsforecast.build_model(name).fit(panel.until(panel.timestamps[rows - 1]), seed=0)

    def judged(some: FloatArray, *, revised: bool = False) -> AnomalyReport:
        return detector.score(panel_of(some), since=panel.timestamps[rows], explain=False, revised=revised)

    clean = judged(values)
    holed = values.copy()
    holed[rows + 100 : rows + 110] = np.nan
    raised = values.copy()
    raised[rows + ODD.start : rows + ODD.stop] += RAISED
    found = {
        "follows": float(len(clean.events)),
        "later": float(len(later(detector, values[-JUDGED:]).events)),
        "gap": float(len([event for event in judged(holed).events if event.kind != "gap"])),
        "steps": float(sum(event.steps for event in clean.events)),
    }
    for way in ("causal", "revised"):
        events = _theirs(judged(raised, revised=way == "revised").events, rows)
        found |= {f"{way} found": float(bool(events))}
        if events:
            most = max(events, key=lambda event: event.severity)
            found |= {
                f"{way} severity": most.severity,
                f"{way} start": most.first_row - rows - ODD.start,
                f"{way} steps": most.steps,
            }
    return found


def later(detector: FittedDetector, values: FloatArray) -> AnomalyReport:
    return detector.score(panel_of(values, start="2025-12-01"), explain=False)


def _theirs(events: Sequence[Event], rows: int) -> list[Event]:
    first, last = rows + ODD.start, rows + ODD.stop - 1
    return [event for event in events if event.first_row <= last + NEAR and event.last_row >= first]


def row_of(lines: Sequence[dict[str, float]]) -> list[str]:
    """Cells of the table."""
    thousands = len(lines) * JUDGED / 1_000
    cells = [f"{sum(line[name] for line in lines) / thousands:.1f}" for name in ("follows", "later", "gap")]
    cells.append(f"{100 * sum(line['steps'] for line in lines) / (1_000 * thousands):.0f} %")
    for way in ("causal", "revised"):
        seen: dict[str, Any] = {
            name: np.median([line[f"{way} {name}"] for line in lines if f"{way} {name}" in line] or [np.nan])
            for name in ("severity", "start", "steps")
        }
        share = np.mean([line[f"{way} found"] for line in lines])
        cells += [f"{100 * share:.0f} %", f"{seen['severity']:.0f}", f"{seen['start']:+.0f}", f"{seen['steps']:.0f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--detectors", default="ensemble,autoencoder,pca_remainder,shape_neighbour,window_energy")
    parser.add_argument("--rows", default="200,400,700,2000")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    head = ["detector", "rows of the fit", "alarms per 1,000", "… half a year later", "… with a gap", "clean steps in events"]
    head += [f"{way}: {what}" for way in ("causal", "revised") for what in ("found", "severity", "begins at", "steps")]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    with ProcessPoolExecutor(given.workers) as pool:
        for name in given.detectors.split(","):
            for rows in (int(one) for one in given.rows.split(",")):
                lines = list(pool.map(measure, [(name, rows, seed) for seed in range(given.seeds)]))
                print("| " + " | ".join([f"`{name}`", str(rows), *row_of(lines)]) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Alarms at a sensitivity fixed beforehand: how many come on clean stretches, how many labelled stretches they find.

    python tests/benchmarks/anomaly_alarms.py --data nab,ucr_anomaly,aiops_kpi,wsd,smd [--detectors autoencoder,vae]
        [--sensitivities 0.3,1,3] [--seeds 0] [--workers 2] [--revised] [--out build/anomaly_alarms.jsonl]
    python tests/benchmarks/anomaly_alarms.py --table [--out build/anomaly_alarms.jsonl]

Data and protocol: anomaly_data.py. A detector is fitted on the training part and asked for so many alarms per 1,000 steps of the
judged part; no label is seen, nothing is chosen per data set. Events are made from the causal score, as a stream would have
them (--revised: from the revised score). Clean are the steps outside the labelled stretches and more than one window of the
detector away from them. Given: events that begin on a clean step, per 1,000 clean steps; of a data set: all such events over
all its clean steps. One endless event is one alarm, so the share of the clean steps under alarm stands beside it.
Precision: share of the events within a window of a labelled stretch. Recall: share of the labelled stretches with an event
within a window. Strict: without the window on either side. NAB score: of nab, the first step of each event being the alarm,
over the points of the whole corpus; the training part is the probation, so windows inside it do not count.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from anomaly_data import (
    UNIVARIATE,
    Labelled,
    Run,
    arguments,
    entries,
    label_of,
    load,
    machines,
    markdown,
    measure_all,
    nothing_to_do,
    number,
    read_lines,
    runs_of,
    runs_of_all,
    shortest,
    widened,
)

from tsforecast.metrics import event_scores, nab_points, range_f1

ROWS = "autoencoder,vae,ensemble,window_energy,forecast_residual"
PROFILES = ("standard", "reward_low_FP_rate", "reward_low_FN_rate")
LEAST, MOST = 0.3, 3.0  # alarms given for one asked that are still right


def attempt(run: Run) -> dict[str, Any]:
    """Alarms of one detector on one series, at every sensitivity that is asked for."""
    series, how = run.series(), dict(run.how)
    detector = run.entry.recipe().fit(series.train, seed=run.seed)
    test = series.test
    found = {}
    for sensitivity in how["sensitivities"]:
        report = detector.score(test, sensitivity=sensitivity, revised=how["revised"], explain=False)
        spans = [(event.first_row, event.last_row) for event in report.events]
        found[f"{sensitivity:g}"] = counted(series, spans, detector.core.width)
    return {"width": detector.core.width, "development": series.development, "found": found}


def counted(series: Labelled, spans: Sequence[tuple[int, int]], width: int) -> dict[str, Any]:
    """Numbers that add up over series, of events (first, last row of the judged part)."""
    labels = series.test_labels
    near = widened(labels, width)
    alarmed = np.zeros(len(labels), dtype=np.int64)
    for first, last in spans:
        alarmed[first : last + 1] = 1
    strict, wide = event_scores(labels, alarmed), event_scores(labels, alarmed, slack=width)
    numbers = {
        "steps": len(labels),
        "clean_steps": int((~near).sum()),
        "clean_alarm_steps": int(alarmed[~near].sum()),
        "events": len(spans),
        "begun_clean": sum(not near[first] for first, _ in spans),
        "longest": max((last - first + 1 for first, last in spans), default=0),
        "true_events": sum(bool(near[first : last + 1].any()) for first, last in spans),
        "strict_true_events": sum(bool(labels[first : last + 1].any()) for first, last in spans),
        "runs": strict.found + strict.missed,
        "found": wide.found,
        "strict_found": strict.found,
        "range_f1": round(float(range_f1(labels, alarmed)), 4) if labels.any() else None,
    }
    if series.data == "nab":
        starts = [series.learned + first for first, _ in spans]
        for profile in PROFILES:
            points = nab_points(
                runs_of(series.labels),
                np.asarray(starts, dtype=np.int64),
                len(series.labels),
                profile=profile,
                probation=series.learned,
            )
            numbers[f"nab_{profile}"] = [round(one, 5) for one in points]
    return numbers


# Tables


def tables(lines: list[dict[str, Any]]) -> Iterator[str]:
    """One Markdown table for each sensitivity and kind of score, then one with the NAB scores."""
    good = [line for line in lines if "error" not in line]
    for revised in sorted({line["revised"] for line in good}):
        own = [line for line in good if line["revised"] == revised]
        kind = "revised" if revised else "causal"
        asked = sorted({float(text) for line in own for text in line["found"]})
        for sensitivity in asked:
            yield f"### {sensitivity:g} alarms per 1,000 steps asked for, {kind} score\n"
            yield rates_table(own, sensitivity)
            yield ""
        yield f"### NAB scores of the alarms, {kind} score, thresholds set without labels\n"
        yield nab_table(own, asked)
    failed = [line for line in lines if "error" in line]
    for line in failed:
        yield f"\n`{label_of(line)}` failed on {line['data']}/{line['series']}, seed {line['seed']}: {line['error']}"


def rates_table(lines: Sequence[dict[str, Any]], sensitivity: float) -> str:
    head = ["row", "data", "given per 1,000", "right", "quartiles over series", "clean steps under alarm", "longest event"]
    head += ["precision", "recall", "F1", "strict precision", "strict recall", "range-F1", "events", "series"]
    rows = []
    for row in dict.fromkeys(label_of(line) for line in lines):
        own = [line for line in lines if label_of(line) == row]
        sets = sorted({line["data"] for line in own})
        for data in [*sets, "all"]:
            part = [line["found"][f"{sensitivity:g}"] for line in own if data in (line["data"], "all")]
            rows.append([f"`{row}`", data, *rates(part, sensitivity)])
    return markdown(head, rows)


def rates(part: Sequence[dict[str, Any]], sensitivity: float) -> list[str]:
    """Cells of one row and data set."""
    total = {name: sum(one[name] for one in part) for name in part[0] if name != "range_f1" and not name.startswith("nab_")}
    given = 1000 * total["begun_clean"] / max(total["clean_steps"], 1)
    each = [1000 * one["begun_clean"] / one["clean_steps"] for one in part if one["clean_steps"]]
    precision = total["true_events"] / total["events"] if total["events"] else float("nan")
    recall = total["found"] / total["runs"] if total["runs"] else float("nan")
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    strict = total["strict_true_events"] / total["events"] if total["events"] else float("nan")
    strict_recall = total["strict_found"] / total["runs"] if total["runs"] else float("nan")
    ranges = [one["range_f1"] for one in part if one["range_f1"] is not None]
    return [
        number(given, 2),
        "yes" if LEAST <= given / sensitivity <= MOST else "no",
        " / ".join(number(float(one), 2) for one in np.quantile(each, (0.25, 0.5, 0.75))) if each else "",
        f"{100 * total['clean_alarm_steps'] / max(total['clean_steps'], 1):.1f} %",
        str(max(one["longest"] for one in part)),
        *(number(one, 2) for one in (precision, recall, f1, strict, strict_recall)),
        number(float(np.mean(ranges)), 2) if ranges else "",
        str(total["events"]),
        str(len(part)),
    ]


def nab_table(lines: Sequence[dict[str, Any]], asked: Sequence[float]) -> str:
    rows = []
    for row in dict.fromkeys(label_of(line) for line in lines):
        own = [line for line in lines if label_of(line) == row and line["data"] == "nab"]
        for sensitivity in asked if own else ():
            part = [line["found"][f"{sensitivity:g}"] for line in own]
            cells = []
            for profile in PROFILES:
                raw, null, perfect = np.asarray([one[f"nab_{profile}"] for one in part]).sum(axis=0)
                cells.append(number(100 * (raw - null) / (perfect - null), 1))
            rows.append([f"`{row}`", f"{sensitivity:g}", *cells])
    return markdown(["row", "asked per 1,000", "standard", "low FP", "low FN"], rows)


def own_arguments() -> argparse.ArgumentParser:
    data = ",".join((*UNIVARIATE, "smd"))
    parser = arguments(__doc__, out="build/anomaly_alarms.jsonl", rows=ROWS, seeds="0", data=data)
    parser.add_argument("--sensitivities", default=[0.3, 1.0, 3.0], type=lambda text: [float(one) for one in text.split(",")])
    parser.add_argument("--revised", action="store_true", help="events from the revised score, which reads what came after")
    return parser


def main() -> None:
    asked = own_arguments().parse_args()
    if not nothing_to_do(asked, data=",".join((*UNIVARIATE, "smd"))):
        series = [*load(asked.data), *(machines() if "smd" in asked.data else [])]
        how = {"sensitivities": tuple(asked.sensitivities), "revised": asked.revised}
        rows = entries(asked.detectors.split(","), asked.option, asked.variant)
        runs = runs_of_all(shortest(series, asked.series), rows, asked.seeds, how)
        measure_all(attempt, runs, out=asked.out, workers=asked.workers, again=asked.again)
    print("\n".join(tables(read_lines(asked.out))))


if __name__ == "__main__":
    main()

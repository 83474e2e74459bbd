"""One data file, no recipe: `tsforecast detect` fits a detector or takes a saved one, and says what is out of the ordinary."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.detections import after_fit, channels_of
from pipelines.environment import Environment
from pipelines.io import read_timed, write_frame
from pipelines.one_file import options_from_arguments, pairs_of, source_from_arguments
from pipelines.option_words import EVENTS, PICTURES, TABLES, check_ending
from pipelines.panels import panel_of
from pipelines.recipe import Source
from pipelines.recipe_detect import DEFAULT_DETECTOR, DetectOptions, alarm_rules
from pipelines.tables import read_table
from tsforecast.errors import DataError, ForecastError, OptionError
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import IntArray, Panel, wall_labels

if TYPE_CHECKING:
    from tsforecast.anomaly.alarms import AlarmRules
    from tsforecast.anomaly.report import AnomalyReport
    from tsforecast.models.fitted_detector import FittedDetector

OK, THERE_ARE_EVENTS = 0, 7
SHOWN_EVENTS = 20  # the most severe ones; all of them are in --events
SHOWN_NOTES = 5
WHY_NOT = {  # by tsforecast.anomaly.report.REASONS
    "missing": "has no values",
    "too short": "has too few steps: a window of this detector is {width}",
    "too sparse": "has too many missing values: too little of each window is observed",
    "not calibrated": "has too few held-out scores to compare with",
}
OF_A_FIT = ("model", "option", "train", "seed", "save")  # arguments that say nothing beside --detector


def add_detect_arguments(command: argparse.ArgumentParser) -> None:
    """Which detector, what an alarm is, and where the answer goes."""
    command.add_argument("--channels", type=_names, default=(), metavar="A,B", help="columns that are judged together; the first "
                         "takes the place of --target where that is not among them")  # fmt: skip
    command.add_argument(
        "--model", metavar="NAME", help=f"detector to fit (default: {DEFAULT_DETECTOR}), see `tsforecast models`"
    )
    command.add_argument("--option", action="append", metavar="NAME=VALUE", help="option of the detector, repeatable")
    command.add_argument("--train", action="append", metavar="NAME=VALUE", help="training option, repeatable")
    command.add_argument("--seed", type=int, metavar="N", help="default: 0")
    command.add_argument("--save", metavar="DIR", help="save the fitted detector there")
    command.add_argument("--detector", metavar="DETECTOR", help="in place of a fit: folder of a saved detector, or name, "
                         "name@alias, name/version of the registry")  # fmt: skip
    command.add_argument("--sensitivity", type=float, metavar="N", help="alarms asked for per 1,000 steps (default: 1)")
    command.add_argument("--alarm", action="append", default=[], metavar="NAME=VALUE", help="more of what an alarm is, as under "
                         "[alarms] of a recipe: min_duration=3, direction=above; repeatable")  # fmt: skip
    command.add_argument("--level", type=float, default=99.0, metavar="PERCENT", help="coverage of the band (default: 99)")
    command.add_argument(
        "--revised", action="store_true", help="judge each step knowing what came after: to look back, not to warn"
    )
    command.add_argument("--since", metavar="T", help="judge from this timestamp or step on; a fit learns from the rows before")
    command.add_argument("--labels", metavar="COLUMN", help="column of 1 = anomalous, else 0: says how good the scores are")
    command.add_argument("--out", metavar="FILE", help="scores of all judged steps, .csv or .parquet")
    command.add_argument("--events", metavar="FILE", help="the events: .json with all that is known, .jsonl, .csv or .parquet")
    command.add_argument("--plot", metavar="FILE", help="a picture of the series with the most severe event: .png, .svg or .pdf")
    command.add_argument("--json", action="store_true", help="print events and scores as JSON")
    command.add_argument("--fail-on-event", action="store_true", help="exit code 7 if there are events")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def detect(args: argparse.Namespace) -> int:
    """Judge the file, print the events, write what is asked for.

    Raises:
        DataError: the file cannot be read, makes no panel, or has no step that can be judged, also none after --since.
        UnknownModel, OptionError, RecipeError: a name or value is wrong.
    """
    from tsforecast.evaluation import evaluate

    for option, endings in (("out", TABLES), ("events", EVENTS), ("plot", PICTURES)):
        check_ending(args, option, endings)
    DetectOptions(level=args.level)  # refuses what is no coverage
    rules = _rules(args)
    panel, labels = channels_from_arguments(args)
    detector = _detector(args, panel)
    since = _moment(args.since, panel)
    report = detector.score(_judged(detector, panel, since), alarms=rules, level=args.level, revised=args.revised, since=since)
    kept = _rows_kept(report, panel)
    scores = evaluate(report, None if labels is None else labels[kept]).total
    _write(args, report, None if labels is None else labels[kept])
    if args.json:
        plain = {name: value if np.isfinite(value) else None for name, value in scores.items()}
        print(json.dumps({"model": detector.recipe.name, "events": report.events_json(), "scores": plain}, indent=1))
    else:
        print(_text(detector, report, scores))
    if not len(report.score):
        raise DataError(f"no step of {args.data} is judged: {_last_row(panel)}, before --since {args.since}", field="since")
    if not np.isfinite(report.p_value).any():
        if args.fail_on_event and report.events:  # gaps, which are events too
            return THERE_ARE_EVENTS
        raise DataError(f"no step of {args.data} can be judged: {_why_not(detector, report)}")
    for series_id, words in report.notes[:SHOWN_NOTES]:
        print(f"tsforecast: {series_id}: {words}", file=sys.stderr)
    if len(report.notes) > SHOWN_NOTES:
        print(f"tsforecast: and {len(report.notes) - SHOWN_NOTES} series more with a note", file=sys.stderr)
    return THERE_ARE_EVENTS if args.fail_on_event and report.events else OK


def channels_from_arguments(args: argparse.Namespace) -> tuple[Panel, IntArray | None]:
    """The panel in the file, target and past covariates as channels, and the labels (N,) where a column has them."""
    source = _source(args)
    frame = read_timed(source, folder=Path(), environment=Environment({}))
    return channels_of(panel_of(frame, options_from_arguments(args), source), target=source.target, label=source.label)


def _source(args: argparse.Namespace) -> Source:
    channels = args.channels or (args.target,)
    target = args.target if args.target in channels else channels[0]
    beside = tuple(dict.fromkeys(name for name in (*channels, *args.past_covariates) if name != target))
    return source_from_arguments(args, target=target, past_covariates=beside, label=args.labels)


def _rules(args: argparse.Namespace) -> "AlarmRules":
    """What an alarm is, as --alarm and --sensitivity say."""
    rules = alarm_rules(pairs_of(args.alarm, "--alarm"), file="--alarm")
    if args.sensitivity is None:
        return rules
    try:
        return replace(rules, sensitivity=args.sensitivity)
    except ForecastError as error:
        raise OptionError(f"--{str(error).removeprefix('alarms.')}", field="sensitivity") from error


def _detector(args: argparse.Namespace, panel: Panel) -> "FittedDetector":
    """The saved one, or one that is fitted on the file, up to --since where that is given."""
    from tsforecast.models.registry import build_detector

    if args.detector is not None:
        given = [name for name in OF_A_FIT if getattr(args, name) is not None]
        if given:
            raise OptionError(f"--{given[0]} says how to fit, and --detector is fitted already; leave one out", field=given[0])
        return load(args.detector)
    recipe = build_detector(args.model or DEFAULT_DETECTOR, **pairs_of(args.option or [], "--option"))
    train = read_table(TrainConfig, pairs_of(args.train or [], "--train"), file="--train")
    since = _moment(args.since, panel)
    past = panel if since is None else panel.rows(np.less(panel.timestamps, since))
    if not len(past):
        raise OptionError(f"there is no row before --since {args.since} to learn from; choose a later one", field="since")
    detector = recipe.fit(past, seed=args.seed or 0, train=train)
    if args.save is not None:
        detector.save(args.save)
    return detector


def _judged(detector: "FittedDetector", panel: Panel, since: Any) -> Panel:
    """The rows after the fit, where these are all that is asked for: what was learnt from opens no event that then goes on."""
    if since is None:
        return panel
    after, asked = after_fit(detector, panel), np.greater_equal(panel.timestamps, since)
    return panel if (asked & ~after).any() or not after.any() else panel.rows(after)


def load(reference: str) -> "FittedDetector":
    """The detector in a folder, or that of a registry reference (name, name@alias, name/3)."""
    import os

    from pipelines.tracked import machine_tracker
    from tsforecast.models.fitted_detector import load_detector

    if Path(reference).is_dir():
        return load_detector(reference)
    detector, _ = machine_tracker(Environment(os.environ)).load_detector(reference)
    return detector


def _moment(text: str | None, panel: Panel) -> Any:
    """--since as the panel stores moments; without a zone it is on the panel's wall clock.

    A time that this clock shows twice is the first of the two; one that it skips is the moment after the gap.

    Raises:
        OptionError: it is none.
    """
    if text is None:
        return None
    if panel.is_integer_clock:
        if not text.lstrip("-").isdecimal():
            raise OptionError(f"--since must be a whole number of steps, as the series have, got {text!r}", field="since")
        return int(text)
    import pandas as pd

    try:
        moment = pd.Timestamp(text)
    except ValueError as error:
        raise OptionError(
            f"--since must be a timestamp such as 2024-01-31 or 2024-01-31T06:00, got {text!r}", field="since"
        ) from error
    if moment.tz is None and panel.tz is not None:
        moment = moment.tz_localize(panel.tz, ambiguous=True, nonexistent="shift_forward")
    return (moment if moment.tz is None else moment.tz_convert("UTC").tz_localize(None)).to_datetime64()


def _rows_kept(report: "AnomalyReport", panel: Panel) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Rows of the panel that are in the report, (N,): the last ones of each of its series."""
    lengths = dict(zip(report.series_ids, np.diff(report.offsets).tolist(), strict=True))
    last = np.array([lengths.get(series_id, 0) for series_id in panel.series_ids])
    found: np.ndarray[Any, np.dtype[np.bool_]] = panel.row_in_series() >= np.repeat(panel.lengths - last, panel.lengths)
    return found


def _write(args: argparse.Namespace, report: "AnomalyReport", labels: IntArray | None) -> None:
    from pipelines.files import written_aside

    if args.out:
        write_frame(report.to_frame(), Path(args.out))
    suffix = Path(args.events or "").suffix.lower()
    if suffix in (".json", ".jsonl"):
        events = report.events_json()
        lines = "".join(json.dumps(event, allow_nan=False) + "\n" for event in events)
        with written_aside(Path(args.events)) as aside:
            text = lines if suffix == ".jsonl" else json.dumps(events, indent=1, allow_nan=False) + "\n"
            aside.write_text(text, encoding="utf-8")
    elif args.events:
        write_frame(report.events_frame(), Path(args.events))
    if args.plot and not len(report):
        print(f"tsforecast: no step was judged, so there is nothing to draw in {args.plot}", file=sys.stderr)
    elif args.plot:
        from tsforecast.plots import save
        from tsforecast.plots_anomaly import score_chart

        save(score_chart(report, labels=labels), args.plot)


def _why_not(detector: "FittedDetector", report: "AnomalyReport") -> str:
    """For each series the most frequent reason why its steps have no p-value; missing values only where there are no others."""
    from tsforecast.anomaly.report import JUDGED, MISSING, REASONS

    said = []
    for i, series_id in enumerate(report.series_ids[:SHOWN_NOTES]):
        rows = report.rows_of(i)
        counts = np.bincount(report.reason[rows], minlength=len(REASONS))
        counts[JUDGED] = 0
        if np.isfinite(report.values[rows]).any():
            counts[MISSING] = 0
        why = REASONS[int(counts.argmax())] if counts.any() else "missing"
        said.append(f"series {series_id!r} {WHY_NOT[why].format(width=detector.core.width)}")
    more = len(report) - SHOWN_NOTES
    return "; ".join(said) + (f"; and {more} series more" if more > 0 else "")


def _text(detector: "FittedDetector", report: "AnomalyReport", scores: dict[str, float]) -> str:
    """One line of counts, the most severe events as a table in order of time, and the metrics where there are labels."""
    facts = detector.facts
    counts = f"{len(report)} series, {len(report.score)} steps, {len(report.events)} events"
    lines = [
        f"{detector.recipe.name}, trained until {facts.trained_until}: {counts} ({report.sensitivity:g} per 1,000 steps asked)"
    ]
    shown = sorted(report.events, key=lambda event: -event.severity)[:SHOWN_EVENTS]
    lines += _table([event for event in report.events if event in shown], report)
    if len(report.events) > SHOWN_EVENTS:
        lines.append(f"  and {len(report.events) - SHOWN_EVENTS} less severe ones; --events FILE has all")
    if "vus_pr" in scores:
        known = {name: "-" if np.isnan(value) else f"{value:.3f}" for name, value in scores.items()}
        lines += [
            f"VUS-PR {known['vus_pr']} (random scores {known['vus_pr_random']})  AUC-PR {known['auc_pr']}",
            f"events: precision {known['event_precision']}  recall {known['event_recall']}  "
            f"false alarms per 1,000 steps {known['false_alarms_per_1000']}",
        ]
    return "\n".join(lines)


def _last_row(panel: Panel) -> str:
    """Where the data ends, on the wall clock of the series that lasts longest."""
    last = panel.last_timestamps()
    i = int(last.argmax())
    label = str(wall_labels(last[i : i + 1], panel.zone_of(i))[0])
    return f"the last row of the data is at {label.replace(' ', 'T')}"


def _table(events: Any, report: "AnomalyReport") -> list[str]:
    if not events:
        return []
    rows = [["series", "start", "end", "steps", "kind", "severity", "channels"]]
    for event in events:
        ends = [str(report.label(moment, event.series_id)).removesuffix("T00:00:00") for moment in (event.start, event.end)]
        ends[1] += " (open)" if event.open else ""
        channels = ", ".join(f"{one.name} {one.share:.0%}" for one in event.channels[:3]) if len(report.channels) > 1 else ""
        rows.append([event.series_id, *ends, str(event.steps), event.kind, f"{event.severity:.0f}", channels])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

"""Reports of a detector -> the JSON of an answer, with ids as they were given and in the order of the request."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from service.anomaly_request import AnomalySeries
from service.answers import texts_of
from service.detectors import OpenStream
from service.known_events import KnownEvents
from service.panels import Group
from tsforecast.anomaly.points import Point
from tsforecast.anomaly.report import REASONS, AnomalyReport, Event
from tsforecast.models.detector import channel_values
from tsforecast.models.judging import NEW_SERIES
from tsforecast.models.stream import Update
from tsforecast.panel import FloatArray, Panel, moment_number

EVENT = ("id", "peak_score", "p_value", "severity", "kind", "open", "suppressed", "steps")
NUMBERS = ("score", "p_value", "severity")
OLD = "already judged"  # so long ago that the answer is forgotten, or learnt from
RESET = '"reset": true begins anew'
NOT_READ = {  # field of an Update -> what is said where it counts any
    "changed": "{} of the values sent differ from those that were judged for their steps, and were not read; " + RESET,
    "late": "{} of the values sent came after their steps had been judged as missing, and were not read; " + RESET,
    "outdated": "{} of the values sent lie before the first step that was judged, or so far back that their answers are "
    "forgotten, and were not read; " + RESET,
}
_REASONS = (None, *REASONS[1:])


def anomalies_json(
    series: Sequence[AnomalySeries], model: Mapping[str, Any], reports: Sequence[tuple[Group, AnomalyReport]]
) -> bytes:
    """The body of an answer with reports on whole histories."""
    rows: list[dict[str, Any]] = [{} for _ in series]
    for group, report in reports:
        numbers = {series_id: number for number, series_id in enumerate(report.series_ids)}
        for place in group.places:
            number = numbers.get(series[place].series_id)
            found = nothing_json(report.channels) if number is None else series_json(report, number)
            rows[place] = {"id": series[place].given_id} | found
    first = reports[0][1]
    return dump({"model": model, "sensitivity": float(first.sensitivity), "level": first.level, "series": rows})


def nothing_json(channels: Sequence[str]) -> dict[str, Any]:
    """What is said of a series that has no step to be judged: all of them lie before `since`."""
    empty = ("timestamps", "score", "revised_score", "p_value", "severity", "alarm", "provisional", "reason", "events", "notes")
    bands = {name: dict[str, list[float]](expected=[], lower=[], upper=[]) for name in channels}
    return {**{name: [] for name in empty}, "channels": bands}


def rows_of(panel: Panel, number: int) -> slice:
    """Rows of the series at that index."""
    return slice(int(panel.offsets[number]), int(panel.offsets[number + 1]))


def judge_new_values(one: OpenStream, panel: Panel, number: int, events: KnownEvents, *, explain: bool) -> dict[str, Any]:
    """What a stream says of the rows of the series at that index of the panel, as JSON values."""
    moments, channels = panel.timestamps[rows_of(panel, number)], one.stream.detector.facts.channels
    update, changed = one.update(channel_values(panel, number), moments, explain=explain)
    model, version, series = one.key
    if not one.dropped:  # a reset has forgotten its events meanwhile
        events.told((event_json(event, panel.tz) for event in changed), model=model, version=version, series=series)
    keys = [moment_number(moment) for moment in moments]
    points = {moment_number(point.timestamp): point for point in update.points}
    judged = [points.get(key) for key in keys]
    ids = [event for key in keys for event in one.changed.get(key, ())]
    ids += [point.event_id for point in judged if point is not None and point.event_id is not None]
    revised = [(moment, score) for moment, score in update.revised if np.isfinite(score)]  # a gap may be long
    told = (events.of(model, series, event) for event in dict.fromkeys(ids))
    return (
        {"timestamps": texts_of(moments[None], panel.tz)[0]}
        | _points_json(judged, channels)
        | {
            "revised_score": [one.revised.get(key) for key in keys],
            "events": [event for event in told if event is not None],
            "notes": one.noted() + ([] if one.stream.known else [NEW_SERIES]) + _not_read(update),
            "stream": {
                "repeated": [point is None or point.repeated for point in judged],
                "skipped": update.skipped,
                "judged": one.stream.rows,
                "revised": {
                    "timestamps": _texts([moment for moment, _ in revised], panel),
                    "score": [score for _, score in revised],
                },
            },
        }
    )


def _not_read(update: Update) -> list[str]:
    return [says.format(getattr(update, name)) for name, says in NOT_READ.items() if getattr(update, name)]


def _points_json(judged: Sequence[Point | None], channels: Sequence[str]) -> dict[str, Any]:
    """Columns of the steps sent; None = a step too old to be told again."""
    bands = {
        name: {
            field: [None if point is None else getattr(point, field)[c] for point in judged]
            for field in ("expected", "lower", "upper")
        }
        for c, name in enumerate(channels)
    }
    columns = {name: [None if point is None else getattr(point, name) + 0.0 for point in judged] for name in NUMBERS}
    return columns | {
        "alarm": [point is not None and point.alarm for point in judged],
        "provisional": [point is not None and point.provisional for point in judged],
        "reason": [OLD if point is None else point.reason or None for point in judged],
        "channels": bands,
    }


def _texts(moments: Sequence["np.datetime64 | int"], panel: Panel) -> list[str] | list[int]:
    if not moments:
        return []
    found = np.array([moments], dtype=np.int64 if panel.is_integer_clock else "M8[ns]")
    return texts_of(found, panel.tz)[0]


def series_json(report: AnomalyReport, number: int) -> dict[str, Any]:
    """What a report says of the series at that index."""
    rows, series_id = report.rows_of(number), report.series_ids[number]
    moments = report.timestamps[rows]
    bands = {
        name: {
            "expected": _column(report.expected[rows, c]),
            "lower": _column(report.lower[rows, c]),
            "upper": _column(report.upper[rows, c]),
        }
        for c, name in enumerate(report.channels)
    }
    return {
        "timestamps": texts_of(moments[None], report.tz)[0] if len(moments) else [],
        "score": report.score[rows],
        "revised_score": report.revised_score[rows],
        "p_value": report.p_value[rows],
        "severity": report.severity[rows] + 0.0,  # without the sign of -0.0
        "alarm": report.alarm[rows].tolist(),
        "provisional": report.provisional[rows].tolist(),
        "reason": [_REASONS[one] for one in report.reason[rows].tolist()],
        "channels": bands,
        "events": [event_json(event, report.tz) for event in report.events if event.series_id == series_id],
        "notes": [note for whose, note in report.notes if whose == series_id],
    }


def event_json(event: Event, tz: str | None) -> dict[str, Any]:
    """An event as JSON values, its timestamps written like those of the steps."""
    nearest = None
    if event.nearest_normal is not None:
        example = asdict(event.nearest_normal)
        nearest = example | {name: _same_form(example[name]) for name in ("start", "end")}
    return {name: getattr(event, name) for name in EVENT} | {
        "start": _moment(event.start, tz),
        "end": _moment(event.end, tz),
        "peak": _moment(event.peak, tz),
        "channels": [asdict(one) | {"first": _same_form(one.first)} for one in event.channels],
        "nearest_normal": nearest,
    }


def _same_form(text: str | int | None) -> str | int | None:
    """A timestamp that the library wrote, as the service writes UTC."""
    return f"{text[:-6]}Z" if isinstance(text, str) and text.endswith("+00:00") else text


def dump(body: object) -> bytes:
    """JSON; NaN and infinity become null."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _column(values: FloatArray) -> FloatArray:
    return np.ascontiguousarray(values)


def _moment(moment: "np.datetime64 | int", tz: str | None) -> str | int:
    if not isinstance(moment, np.datetime64):
        return int(moment)
    return str(texts_of(np.array([[moment]]), tz)[0][0])

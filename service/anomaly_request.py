"""Decoded JSON -> what is asked about anomalies, or one 422 that lists all that is wrong. Looks at shapes and types.

A child of the reader of forecasts: ids and clocks are said in the same way. What it accepts is documented by
`service/anomaly_schemas.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from service.errors import FieldError, invalid
from service.forecast_request import MAX_ID, MAX_STEP, Reader, SeriesRequest, kind_of
from service.panels import Clocked, Group, panels_of
from service.settings import Settings
from tsforecast.anomaly.alarms import AlarmRules
from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.columns import ISO

DETECT = ("series", "model", "options", "seed", "sensitivity", "alarms", "level", "revised", "since", "explain", "feedback")
SCORE = ("series", "model", "sensitivity", "alarms", "level", "explain", "reset", "stateless", "revised", "since", "recalibrate")
FEEDBACK = ("model", "event", "series", "start", "end", "label")
SERIES = ("id", "start", "freq", "timestamps", "tz", "target", "channels", "labels")
ONLY_STATELESS = ("revised", "since", "recalibrate")  # fields of SCORE that a stream does not know
ALONE = "target"  # name of the only channel of a series that is sent as `target`
RULES = tuple(one.name for one in fields(AlarmRules))
LABELS: dict[Any, int] = {1: 1, 0: 0, -1: -1, None: 0}
VERDICTS = {"true alarm": 1, "false alarm": -1}
MAX_NAME = 128  # characters of a channel
MAX_OPTION = 1_024  # largest number of an option that is a whole number; those are widths, steps, trees
MAX_OPTION_ENTRIES = 16  # of a list or table of options
MAX_OPTION_DEPTH = 5
MAX_RULE = 2**31  # steps
MAX_IGNORED = 1_000  # windows
MAX_SEED = 2**31


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomalySeries(SeriesRequest):
    """One series as asked; `target` holds the numbers of its rows, so that it is seen whether its timestamps ascend."""

    channels: tuple[str, ...]  # (C,)
    alone: bool  # whether it was sent as `target`: its channel has no name
    values: FloatArray  # (T, C), NaN = not observed
    labels: IntArray | None  # (T,) 1 = a true anomaly, -1 = ordinary, 0 = not known


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledGroup(Group):
    """The series of a request that share one clock, and what is known of their rows."""

    labels: IntArray | None  # (N,) as in `Detector.fit`


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    """How scores become alarms."""

    alarms: AlarmRules | None = None  # None = nothing was said of them
    level: float | None = None  # coverage of the band, percent
    revised: bool = False  # whether events come from the revised score
    since: str | int | None = None  # rows before it are context
    explain: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectRequest:
    """Fit and score in one call."""

    series: tuple[AnomalySeries, ...]
    model: str | None  # name of a detector; None = the quick default
    options: dict[str, Any]
    seed: int
    feedback: str | None  # name of the model whose feedback marks what is known of the series
    judging: Judging


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRequest:
    """New values for a stored detector."""

    series: tuple[AnomalySeries, ...]
    model: str
    reset: bool  # forget what was sent before
    stateless: bool
    recalibrate: bool
    judging: Judging


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackRequest:
    """A verdict on an event, by its id or by its series and its first and last step."""

    model: str
    event: str | None
    series: str | None
    start: str | int | None
    end: str | int | None
    label: Literal["true alarm", "false alarm"]


def read_detect(body: object, limits: Settings) -> DetectRequest:
    """The request that the decoded `body` of POST /v1/anomalies holds.

    Raises:
        Problem: 422 with one entry for each thing that is wrong.
    """
    reader = AnomalyReader.of(limits, labels=True)
    given = reader.top(body, DETECT)
    found = DetectRequest(
        series=reader.anomaly_series(given),
        model=reader.model(given.get("model")),
        options=reader.options(given.get("options")),
        seed=reader.whole("seed", given.get("seed"), default=0, most=MAX_SEED, least=0),
        feedback=reader.text("feedback", given.get("feedback"), "the name of a stored detector"),
        judging=reader.judging(given),
    )
    reader.finish()
    if reader.points > limits.max_detect_points:
        message = (
            f"holds {reader.points} values in all, at most {limits.max_detect_points} are learnt from in one request; "
            "train a detector offline, store it and ask POST /v1/anomalies/score"
        )
        raise invalid([FieldError(field="series", message=message)])
    _refuse_other_channels(found.series)
    return found


def read_score(body: object, limits: Settings) -> ScoreRequest:
    """As `read_detect`, of POST /v1/anomalies/score."""
    reader = AnomalyReader.of(limits, labels=False)
    given = reader.top(body, SCORE)
    if given.get("model") is None:
        reader.refuse("model", "is missing: say which stored detector; GET /v1/models lists them")
    stateless = reader.flag("stateless", given.get("stateless"), default=False)
    for name in ONLY_STATELESS if not stateless else ():
        if given.get(name) not in (None, False):
            reader.refuse(name, "is for stateless requests only; set stateless to true, or leave it out")
    found = ScoreRequest(
        series=reader.anomaly_series(given),
        model=reader.model(given.get("model")) or "",
        reset=reader.flag("reset", given.get("reset"), default=False),
        stateless=stateless,
        recalibrate=reader.flag("recalibrate", given.get("recalibrate"), default=False),
        judging=reader.judging(given),
    )
    if found.reset and found.stateless:
        reader.refuse("reset", "is for streams: a stateless request has nothing to forget; leave one of them out")
    reader.finish()
    return found


def read_feedback(body: object, limits: Settings) -> FeedbackRequest:
    """As `read_detect`, of POST /v1/anomalies/feedback."""
    reader = AnomalyReader.of(limits, labels=False)
    given = reader.top(body, FEEDBACK)
    if given.get("model") is None:
        reader.refuse("model", "is missing: say which stored detector gave the alarm")
    model = reader.model(given.get("model"))
    event = reader.text("event", given.get("event"), "the id of an event", most=2 * MAX_ID)
    series = given.get("series")
    if event is None:
        for name in ("series", "start", "end"):
            if given.get(name) is None:
                reader.refuse(name, "is missing: give the id of the event, or series, start and end")
    elif any(given.get(name) is not None for name in ("series", "start", "end")):
        reader.refuse("event", "give either the id of the event, or series, start and end, not both")
    if series is not None and type(series) is not int:
        series = reader.text("series", series, "the id of a series")
    start, end = (reader.moment(name, given.get(name)) for name in ("start", "end"))
    if not _in_order(start, end):
        reader.refuse("end", "must be a timestamp of the kind of start, and not before it")
    label = given.get("label")
    if not isinstance(label, str) or label not in VERDICTS:
        reader.refuse("label", f"must be 'true alarm' or 'false alarm', got {kind_of(label)}")
    reader.finish()
    assert model is not None
    assert label == "true alarm" or label == "false alarm"
    named = None if series is None else str(series)
    return FeedbackRequest(model=model, event=event, series=named, start=start, end=end, label=label)


def _in_order(start: str | int | None, end: str | int | None) -> bool:
    if isinstance(start, str) and isinstance(end, str):
        first, last = pd.Timestamp(start), pd.Timestamp(end)
        return (first.tzinfo is None) == (last.tzinfo is None) and bool(first <= last)
    if isinstance(start, int) and isinstance(end, int):
        return start <= end
    return start is None and end is None


@dataclass(kw_only=True, slots=True)
class AnomalyReader(Reader):
    """Reads the parts that requests for anomalies have besides those of a forecast."""

    with_labels: bool = False  # whether series may have labels

    @classmethod
    def of(cls, limits: Settings, *, labels: bool) -> "AnomalyReader":
        return cls(limits=limits, done="judged", with_labels=labels)

    def top(self, body: object, known: tuple[str, ...]) -> dict[str, Any]:
        """The fields of the body; {} where it is none."""
        if not isinstance(body, dict):
            self.refuse("", f"the body must be an object with {', '.join(known[:2])} …, got {kind_of(body)}")
            self.finish()
            return {}
        self.unknown_fields(body, known, where="", series=None)
        return body

    def finish(self) -> None:
        """Raises Problem: 422, if anything was wrong."""
        if self.errors:
            raise invalid(self.errors)

    # Series

    def anomaly_series(self, given: dict[str, Any]) -> tuple[AnomalySeries, ...]:
        found = self.all_series(given.get("series"))
        return tuple(one for one in found if isinstance(one, AnomalySeries))

    def one_series(self, index: int, value: object) -> AnomalySeries | None:
        where = f"series[{index}]"
        if not isinstance(value, dict):
            self.refuse(where, f"must be an object with `id`, a clock, and `target` or `channels`, got {kind_of(value)}")
            return None
        before = len(self.errors)
        given = self.read_id(where, value.get("id"))
        self.unknown_fields(value, SERIES if self.with_labels else SERIES[:-1], where=f"{where}.", series=given)
        columns = self._columns(where, value, given)
        length = len(next(iter(columns.values()))) if columns else 0
        self.read_clock(where, value, given, length)
        labels = self._labels(f"{where}.labels", value.get("labels"), given, length) if columns else None
        if len(self.errors) > before or given is None or not columns:
            return None
        return AnomalySeries(
            given_id=given,
            series_id=str(given),
            target=list(range(length)),
            freq=value.get("freq"),
            start=value.get("start"),
            timestamps=value.get("timestamps"),
            tz=value.get("tz"),
            channels=tuple(columns),
            alone=value.get("channels") is None,
            values=np.column_stack(list(columns.values())),
            labels=labels,
        )

    def _columns(self, where: str, value: dict[str, Any], given: str | int | None) -> dict[str, FloatArray]:
        """Channel -> its values (T,); {} where something is wrong with them."""
        target, channels = value.get("target"), value.get("channels")
        if (target is None) == (channels is None):
            said = "give either target or channels, not both" if channels is not None else "is missing: give target or channels"
            self.refuse(f"{where}.target", said, given)
            return {}
        if channels is None:
            column = self.read_numbers(f"{where}.target", target, given)
            return {} if column is None else {ALONE: column}
        if not isinstance(channels, dict) or not channels:
            self.refuse(
                f"{where}.channels", f"must be an object of a list of numbers for each name, got {kind_of(channels)}", given
            )
            return {}
        if len(channels) > self.limits.max_channels:
            most = self.limits.max_channels
            self.refuse(f"{where}.channels", f"holds {len(channels)} channels, at most {most} are judged together", given)
            return {}
        found: dict[str, FloatArray] = {}
        for name, numbers in channels.items():
            at = f"{where}.channels.{name[:80]}"
            if not 0 < len(name) <= MAX_NAME:
                self.refuse(at, f"the name of a channel has 1 to {MAX_NAME} characters, this one has {len(name)}", given)
            column = self.read_numbers(at, numbers, given)
            if column is None:
                continue
            if found and len(column) != len(next(iter(found.values()))):
                first, length = next((one, len(numbers)) for one, numbers in found.items())
                self.refuse(
                    at, f"holds {len(column)} values, channel {first[:40]!r} holds {length}; send null for what is missing", given
                )
            found[name] = column
        return found if len(found) == len(channels) else {}

    def _labels(self, where: str, value: object, given: str | int | None, length: int) -> IntArray | None:
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length:
            self.refuse(where, f"must be a list of one label for each of the {length} values, got {kind_of(value)}", given)
            return None
        odd = next((i for i, one in enumerate(value) if isinstance(one, bool | float | list | dict) or one not in LABELS), None)
        if odd is not None:
            said = f"must be 1 (a true anomaly), -1 (ordinary), 0 or null (not known), got {kind_of(value[odd])}"
            self.refuse(f"{where}[{odd}]", said, given)
            return None
        return np.array([LABELS[one] for one in value], dtype=np.int64)

    # Options

    def judging(self, given: dict[str, Any]) -> Judging:
        return Judging(
            alarms=self.alarms(given.get("alarms"), given.get("sensitivity")),
            level=self.percent("level", given.get("level")),
            revised=self.flag("revised", given.get("revised"), default=False),
            since=self.moment("since", given.get("since")),
            explain=self.flag("explain", given.get("explain"), default=True),
        )

    def percent(self, name: str, value: object) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 100:
            self.refuse(name, f"must be the coverage of the band in percent, between 0 and 100, got {kind_of(value)}")
            return None
        return float(value)

    def flag(self, name: str, value: object, *, default: bool) -> bool:
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, f"must be true or false, got {kind_of(value)}")
            return default
        return value

    def whole(self, name: str, value: object, *, default: int, least: int, most: int) -> int:
        if value is None:
            return default
        if type(value) is not int or not least <= value <= most:
            self.refuse(name, f"must be a whole number from {least} to {most}, got {kind_of(value)}")
            return default
        return value

    def text(self, name: str, value: object, what: str, *, most: int = MAX_ID) -> str | None:
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= most):
            self.refuse(name, f"must be {what}, a text of 1 to {most} characters, got {kind_of(value)}")
            return None
        return value

    def moment(self, name: str, value: object) -> str | int | None:
        """A timestamp, written in one way, or an integer step."""
        if value is None:
            return None
        if type(value) is int and abs(value) <= MAX_STEP:
            return value
        if isinstance(value, str) and ISO.fullmatch(value):
            try:
                return pd.Timestamp(value).as_unit("ns").isoformat()
            except pd.errors.OutOfBoundsDatetime:
                self.refuse(name, f"must lie in the years 1678 to 2261, got {kind_of(value)}")
                return None
            except ValueError:  # the thirteenth month
                pass
        self.refuse(name, f"must be an ISO 8601 timestamp such as '2026-01-31T12:00', or a whole number, got {kind_of(value)}")
        return None

    def options(self, value: object) -> dict[str, Any]:
        """Options of a detector, bounded: a caller may not ask for a network of any size."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse("options", f"must be an object of options of the model, got {kind_of(value)}; GET /v1/models lists them")
            return {}
        return {name: self._option(f"options.{name[:80]}", one, 1) for name, one in value.items()}

    def _option(self, where: str, value: object, depth: int) -> Any:
        if isinstance(value, dict | list):
            if len(value) > MAX_OPTION_ENTRIES or depth >= MAX_OPTION_DEPTH:
                self.refuse(
                    where, f"is larger than a request may ask: {MAX_OPTION_ENTRIES} entries, {MAX_OPTION_DEPTH} levels deep"
                )
                return None
            if isinstance(value, list):
                return tuple(self._option(f"{where}[{i}]", one, depth + 1) for i, one in enumerate(value))
            return {name: self._option(f"{where}.{name[:80]}", one, depth + 1) for name, one in value.items()}
        if type(value) is int and abs(value) > MAX_OPTION:
            self.refuse(where, f"must be at most {MAX_OPTION} in a request, got {value}; train larger detectors offline")
        if isinstance(value, str) and len(value) > MAX_NAME:
            self.refuse(where, f"must have at most {MAX_NAME} characters, got {kind_of(value)}")
        return value

    def alarms(self, value: object, sensitivity: object) -> AlarmRules | None:
        """The rules, with the sensitivity that may also stand beside them."""
        if value is None and sensitivity is None:
            return None
        if value is not None and not isinstance(value, dict):
            self.refuse("alarms", f"must be an object of rules, got {kind_of(value)}")
            return None
        before = len(self.errors)
        self.unknown_fields(value or {}, RULES, where="alarms.", series=None)
        given = {name: one for name, one in (value or {}).items() if one is not None}
        if sensitivity is not None and "sensitivity" in given:
            self.refuse("sensitivity", "is given twice; give it here or in alarms")
        for name, one in given.items():
            if type(one) is int and abs(one) > MAX_RULE:
                self.refuse(f"alarms.{name[:80]}", f"must be at most {MAX_RULE}, got {one}")
        if "ignore" in given:
            given["ignore"] = self._windows(given["ignore"])
        if len(self.errors) > before:
            return None
        try:
            return AlarmRules(**given if sensitivity is None else given | {"sensitivity": sensitivity})
        except OptionError as error:
            where = error.field or "alarms"
            self.refuse("sensitivity" if where == "alarms.sensitivity" and sensitivity is not None else where, str(error))
            return None

    def _windows(self, value: object) -> tuple[tuple[str | int, str | int], ...]:
        if not isinstance(value, list) or len(value) > MAX_IGNORED:
            self.refuse("alarms.ignore", f"must be a list of at most {MAX_IGNORED} pairs of timestamps, got {kind_of(value)}")
            return ()
        found = []
        for i, pair in enumerate(value):
            where = f"alarms.ignore[{i}]"
            if not isinstance(pair, list) or len(pair) != 2:
                self.refuse(where, f"must be the first and the last timestamp to ignore, got {kind_of(pair)}")
                continue
            start, end = (self.moment(f"{where}[{place}]", one) for place, one in enumerate(pair))
            if start is None or end is None or type(start) is not type(end):
                self.refuse(where, "must be two timestamps of one kind")
                continue
            found.append((start, end))
        return tuple(found)


# Panels


def anomaly_panels(series: Sequence[AnomalySeries], clock: Clocked | None) -> list[LabelledGroup]:
    """The series as panels, one for each clock, their channels as target and past covariates.

    Args:
        series: all of the same channels.
        clock: of the detector that will judge them; None where one is to be fitted.

    Raises:
        Problem: 422 that names every series whose clock cannot be understood, or whose timestamps do not ascend.
    """
    groups = panels_of(series, clock)
    _refuse_disorder(groups, series)
    return [_with_values(group, series) for group in groups]


def _refuse_disorder(groups: Sequence[Group], series: Sequence[AnomalySeries]) -> None:
    """The answer goes step by step, in the order of the request."""
    errors = {}
    for group in groups:
        for number, place in enumerate(group.places):
            rows = group.panel.target[group.panel.offsets[number] : group.panel.offsets[number + 1]]  # where each row was
            order = np.argsort(rows)
            early = np.flatnonzero(np.diff(order) < 0)
            if len(early):
                row = int(early[0]) + 1
                message = "lies before the timestamp ahead of it; send steps oldest first"
                where = f"series[{place}].timestamps[{row}]"
                errors[place] = FieldError(field=where, series=series[place].given_id, message=message)
    if errors:
        raise invalid([errors[place] for place in sorted(errors)], kind="invalid-series")


def _with_values(group: Group, series: Sequence[AnomalySeries]) -> LabelledGroup:
    """The group with values in place of row numbers."""
    values, labels = [], []
    marked = any(series[place].labels is not None for place in group.places)
    for place in group.places:
        one = series[place]
        values.append(one.values)
        labels.append(np.zeros(len(one.values), dtype=np.int64) if one.labels is None else one.labels)
    joined = np.concatenate(values)
    names = series[group.places[0]].channels
    more = {"past_covariates": joined[:, 1:].copy(), "past_covariate_names": names[1:]} if len(names) > 1 else {}
    panel = replace(group.panel, target=joined[:, 0].copy(), target_name=names[0], **more)  # type: ignore[arg-type]  # as named
    return LabelledGroup(places=group.places, panel=panel, labels=np.concatenate(labels) if marked else None)


def in_channels_of(series: Sequence[AnomalySeries], channels: tuple[str, ...]) -> tuple[AnomalySeries, ...]:
    """The series with their channels in the order of a detector's; the only channel may have any name.

    Raises:
        Problem: 422 that names each series with a channel too many, or one too few.
    """
    found, errors = [], []
    for place, one in enumerate(series):
        if one.channels == channels or (one.alone and len(channels) == 1):
            found.append(one if one.channels == channels else replace(one, channels=channels))
        elif set(one.channels) == set(channels):
            order = [one.channels.index(name) for name in channels]
            found.append(replace(one, channels=channels, values=one.values[:, order]))
        else:
            message = _differ(one.channels, channels, alone=one.alone)
            errors.append(FieldError(field=f"series[{place}].channels", series=one.given_id, message=message))
    if errors:
        raise invalid(errors, kind="other-channels")
    return tuple(found)


def _differ(given: tuple[str, ...], wanted: tuple[str, ...], *, alone: bool) -> str:
    if alone:
        return f"the detector judges channels {_listed(wanted)} together; send them as `channels`, not one of them as `target`"
    new = [name for name in given if name not in wanted]
    gone = [name for name in wanted if name not in given]
    said = [f"{_listed(new)} is new to it"] if new else []
    said += [f"{_listed(gone)} is missing, send null where nothing was observed"] if gone else []
    return f"the detector judges channels {_listed(wanted)}: {'; '.join(said)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _refuse_other_channels(series: Sequence[AnomalySeries]) -> None:
    """Series of one request are learnt from together, so they have the same channels."""
    errors = []
    for place, one in enumerate(series):
        if set(one.channels) != set(series[0].channels):
            message = f"has channels {_listed(one.channels)}, series[0] has {_listed(series[0].channels)}; split the request"
            errors.append(FieldError(field=f"series[{place}].channels", series=one.given_id, message=message))
    if errors:
        raise invalid(errors)

"""Series as asked -> panels, one for each clock among them, so that one call of the model forecasts all of its kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import MAX_ERRORS, FieldError, invalid
from service.forecast_request import SeriesRequest
from tsforecast.errors import DuplicateError, ForecastError, FrequencyError, GapError, SchemaError
from tsforecast.models.base import Facts
from tsforecast.panel import Panel, TimeArray
from tsforecast.preprocessing.calendar import DAY, Clock, advance, clock_of, default_season, grid_positions

ISO = re.compile(r"(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?)(Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?")
MOST_YEARS = 400
_DAYS = {"D": 1.0, "B": 1.4, "W": 7.0, "SMS": 15.5, "SME": 15.5}  # of one step; months are the rest
YEARS = ("1678", "2261")  # what 64-bit nanoseconds hold
HOW = "write ISO 8601 such as 2024-01-31 or 2024-01-31T06:00:00Z"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The series of a request that share one clock."""

    places: tuple[int, ...]  # index of each series in the request
    panel: Panel


def panels_of(series: Sequence[SeriesRequest], facts: Facts | None, horizon: int) -> list[Group]:
    """The series, grouped by clock, in order of first appearance.

    Args:
        series: as asked.
        facts: of the model that will forecast them: its freq is meant where timestamps come without one, and its
            season where the freq is its own; None for a model that needs no training.
        horizon: steps that have to be reached.

    Raises:
        Problem: 422 that names every series whose clock cannot be understood.
    """
    found: dict[tuple[str | int, str | None], list[tuple[int, TimeArray]]] = {}
    errors: list[FieldError] = []
    for place, one in enumerate(series):
        try:
            clock, tz, timestamps = clocked(one, facts, horizon)
        except ForecastError as error:
            errors.append(FieldError(field=f"series[{place}].{error.field}", series=one.given_id, message=str(error)))
            if len(errors) > MAX_ERRORS:
                break
        else:
            found.setdefault((clock.freq, tz), []).append((place, timestamps))
    if errors:
        raise invalid(errors, kind="invalid-series")
    return [_group(series, freq, tz, members, facts) for (freq, tz), members in found.items()]


def _group(
    series: Sequence[SeriesRequest], freq: str | int, tz: str | None, members: list[tuple[int, TimeArray]], facts: Facts | None
) -> Group:
    ones = [series[place] for place, _ in members]
    panel = Panel(
        series_ids=tuple(one.series_id for one in ones),
        offsets=np.cumsum([0, *(len(one.target) for one in ones)], dtype=np.int64),
        timestamps=np.concatenate([timestamps for _, timestamps in members]),
        target=np.concatenate([one.target for one in ones]),
        freq=freq,
        season=facts.season if facts is not None and facts.freq == freq else default_season(freq),
        tz=tz,
    )
    return Group(places=tuple(place for place, _ in members), panel=panel)


def clocked(one: SeriesRequest, facts: Facts | None, horizon: int) -> tuple[Clock, str | None, TimeArray]:
    """(clock, zone, timestamps (T,)) of one series.

    Raises:
        DataError: with the field of the series that is wrong.
    """
    if one.timestamps is None:
        assert one.start is not None and one.freq is not None
        clock = clock_of(one.freq)
        moments, tz = _moments([one.start], "start")
        _check_kind(clock, moments)
        _check_reach(clock, len(one.target) + horizon)
        return clock, tz, advance(clock, moments, np.arange(len(one.target)), tz)
    moments, tz = _moments(one.timestamps, "timestamps")
    freq, whence = (one.freq, "") if one.freq is not None else _freq_of(moments, facts)
    clock = clock_of(freq)
    _check_kind(clock, moments)
    _check_reach(clock, horizon)
    _check_grid(clock, moments, tz, whose=f"freq {clock.freq!r}{whence}")
    return clock, tz, moments


def _check_reach(clock: Clock, steps: int) -> None:
    """Refuse steps so long that clocks of nanoseconds, which hold 584 years, would come round to where they were."""
    if clock.unit == "integer":
        return
    days = clock.step / DAY if clock.unit == "tick" else clock.step * _DAYS.get(clock.unit, 30.5)
    if days * steps > MOST_YEARS * 365:
        raise FrequencyError(f"{steps} steps of freq {clock.freq!r} reach over more than {MOST_YEARS} years", field="freq")


def _check_kind(clock: Clock, moments: TimeArray) -> None:
    if (moments.dtype.kind == "i") != (clock.unit == "integer"):
        clocks = ("an integer", "a calendar") if moments.dtype.kind == "i" else ("a calendar", "an integer")
        raise FrequencyError(f"the timestamps are of {clocks[0]} clock, freq {clock.freq!r} of {clocks[1]} one", field="freq")


def _freq_of(moments: TimeArray, facts: Facts | None) -> tuple[str | int, str]:
    """The step of timestamps that came without one, and where it was taken from, for messages."""
    if facts is not None and isinstance(facts.freq, int) == (moments.dtype.kind == "i"):
        return facts.freq, " (that of the model; give freq if it is another)"
    whence = " (as the timestamps say; give freq if it is another)"
    if moments.dtype.kind == "i":
        step = int(moments[1] - moments[0]) if len(moments) > 1 else 1
        return max(step, 1), whence
    import pandas as pd

    found = (
        pd.infer_freq(pd.DatetimeIndex(moments)) if len(moments) > 2 and (np.diff(moments) > np.timedelta64(0)).all() else None
    )
    if found is None:
        raise FrequencyError("the step cannot be told from these timestamps; give freq, such as 'h', 'D' or 'MS'", field="freq")
    return found, whence


def _check_grid(clock: Clock, moments: TimeArray, tz: str | None, *, whose: str) -> None:
    """Refuse timestamps that do not go on by one step of the clock each."""
    number = moments.astype(np.int64)
    for i in np.flatnonzero(np.diff(number) <= 0)[:1]:
        if number[i] == number[i + 1]:
            raise DuplicateError(f"{_shown(moments[i])} comes twice; keep one value per timestamp", field=f"timestamps[{i + 1}]")
        raise SchemaError(f"{_shown(moments[i + 1])} comes after {_shown(moments[i])}; sort them", field=f"timestamps[{i + 1}]")
    positions, on_grid = grid_positions(clock, moments, np.array([0, len(moments)]), tz)
    for i in np.flatnonzero(~on_grid)[:1]:
        raise FrequencyError(f"{_shown(moments[i])} is not a step of {whose}", field=f"timestamps[{i}]")
    for i in np.flatnonzero(np.diff(positions) != 1)[:1]:
        missing = int(positions[i + 1] - positions[i] - 1)
        steps = "1 step" if missing == 1 else f"{missing} steps"
        message = f"missing after {_shown(moments[i])}: {steps} of {whose}; send what was not observed with target null"
        raise GapError(message, field=f"timestamps[{i + 1}]")


def _moments(given: Sequence[str | int], name: str) -> tuple[TimeArray, str | None]:
    """(datetime64[ns] instants or int64 steps, "UTC" if they came with offsets)."""
    if isinstance(given[0], int):
        return np.array(given, dtype=np.int64), None
    matches = [ISO.fullmatch(text) for text in given if isinstance(text, str)]  # all are: the reader saw to it
    if None in matches:
        i = matches.index(None)
        raise SchemaError(f"{str(given[i])[:40]!r} is no timestamp; {HOW}", field=_place(name, i))
    texts, offsets = zip(*(match.groups() for match in matches if match), strict=True)
    if min(texts) < YEARS[0] or max(texts)[:4] > YEARS[1]:
        i = next(i for i, text in enumerate(texts) if not YEARS[0] <= text[:4] <= YEARS[1])
        raise SchemaError(f"{given[i]!r} lies outside the years {YEARS[0]} to {YEARS[1]}", field=_place(name, i))
    try:
        moments = np.array(texts, dtype="datetime64[ns]")
    except ValueError as error:
        i = next(i for i, text in enumerate(texts) if not _exists(text))
        raise SchemaError(f"{given[i]!r} does not exist; {HOW}", field=_place(name, i)) from error
    kinds = {offset is not None for offset in offsets}
    if kinds == {False}:
        return moments, None
    if len(kinds) > 1:
        i = offsets.index(None)
        raise SchemaError(f"{given[i]!r} has no UTC offset, others have; write all with or all without", field=_place(name, i))
    if set(offsets) != {"Z"}:
        moments = moments - np.array([_minutes(offset) for offset in offsets], dtype="timedelta64[m]")
    return moments, "UTC"


def _place(name: str, i: int) -> str:
    return name if name == "start" else f"{name}[{i}]"


def _minutes(offset: str) -> int:
    """ "+05:30" -> 330."""
    if offset == "Z":
        return 0
    digits = offset[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if offset[0] == "-" else minutes


def _exists(text: str) -> bool:
    try:
        np.datetime64(text)
    except ValueError:
        return False
    return True


def _shown(moment: np.generic) -> str:
    if not isinstance(moment, np.datetime64):
        return str(moment)
    text = str(np.datetime_as_string(moment, unit="ns"))
    return text.removesuffix(".000000000")

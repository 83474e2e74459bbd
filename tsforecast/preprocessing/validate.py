"""Raw frame, or lists of numbers -> Panel. The only place where untrusted data is looked at."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from tsforecast.errors import CovariateError, DuplicateError, FrequencyError, SchemaError
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import (
    advance,
    clock_of,
    default_season,
    future_timestamps,
    grid_positions,
    zones_at,
)
from tsforecast.preprocessing.columns import (
    ISO,
    Times,
    column_of,
    ids_as_text,
    nearest,
    parse_texts,
    read_ids,
    read_numbers,
    read_zoned_times,
    refusal,
    show_times,
    zone_name,
)
from tsforecast.preprocessing.regular import MissingSteps, Rows, check_kind, check_season, panel_from_rows
from tsforecast.preprocessing.seasonality import with_detected_season
from tsforecast.preprocessing.static import constant_columns, static_fields
from tsforecast.preprocessing.zones import on_wall_clocks, zones_given

LONE_SERIES = "series"  # the id of a series that comes without one
ID_COL = "unique_id"


class Features(TypedDict, total=False):
    """What a panel has beside the target, by when it is known."""

    covariates: Sequence[str]  # columns whose future will be known too
    past_covariates: Sequence[str]  # columns known up to the present only
    static: pd.DataFrame | Sequence[str] | None  # one value for a whole series


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The columns of a frame by their roles, one each."""

    id_col: str
    time_col: str
    target_col: str
    tz_col: str | None = None
    covariates: Sequence[str] = ()
    past_covariates: Sequence[str] = ()
    static: pd.DataFrame | Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse a column with two roles, and a bare text, which would be taken for its letters."""
        for option in ("covariates", "past_covariates", "static"):
            given = getattr(self, option)
            if isinstance(given, str):
                raise CovariateError(f"{option} must be names, got the text {given!r}; pass [{given!r}]", field=option)
            if option != "static" and not isinstance(given, Iterable):
                raise CovariateError(f"{option} must be names of columns, got {type(given).__name__}", field=option)
        if self.static is not None and not isinstance(self.static, pd.DataFrame | list | tuple):
            message = f"static must be a frame with one row per series, or names of columns, got {type(self.static).__name__}"
            raise SchemaError(message, field="static")
        roles = [self.id_col, self.time_col, self.target_col, *([] if self.tz_col is None else [self.tz_col])]
        roles += [*self.covariates, *self.past_covariates, *self.static_columns]
        for name in roles:
            try:
                hash(name)
            except TypeError:
                raise SchemaError(f"{name!r} is no name of a column; use texts", field=str(name)) from None
            if roles.count(name) > 1:
                raise SchemaError(f"column {name!r} is given two roles among {roles}; give each its own column", field=name)

    @property
    def static_columns(self) -> list[str]:
        """Names of what is static, whichever frame has it."""
        if isinstance(self.static, pd.DataFrame):
            return [str(name) for name in self.static.columns if name != self.id_col]
        return list(self.static or ())

    @property
    def features(self) -> list[str]:
        """Columns of the long frame beside the three."""
        static = [] if isinstance(self.static, pd.DataFrame) else self.static_columns
        zone = [] if self.tz_col is None else [self.tz_col]
        return [*zone, *self.covariates, *self.past_covariates, *static]


def panel_from_frame(
    frame: "pd.DataFrame | pd.Series[float]",
    freq: str | int | None = None,
    season: int | Literal["auto"] | None = None,
    id_col: str = ID_COL,
    time_col: str = "ds",
    target_col: str = "y",
    *,
    missing_steps: MissingSteps = "error",
    tz: str | None = None,
    tz_col: str | None = None,
    **features: Unpack[Features],
) -> Panel:
    """Check a frame and turn it into a `Panel`; rows may come in any order, and the frame is left as it is.

    Args:
        frame: long: a row for each series and timestamp, with columns `id_col` (any hashable; without it all rows are
            one series), `time_col` (datetimes, with or without zone, ISO 8601 texts, or integer steps), `target_col`
            (numbers; NaN = not observed). Wide: an index of datetimes, each column a series. Or one Series so indexed.
        freq: pandas alias, or steps per row for integer steps; told from the data when None.
        season: steps; that of the freq when None (h 24, D 7, W 52, MS 12, QS 4 …), 1 for integer steps; "auto" finds it in
            the data, see `seasonality.with_detected_season`.
        missing_steps: "insert" adds the rows that are missing inside a series, with NaN.
        tz: zone of the wall clock, such as "Europe/Berlin": timestamps without a zone are meant on it (an hour that comes twice
            is told by the order of the rows, see `zones.on_wall_clocks`), those with one are moved to it.
        tz_col: or the column with the zone of each series. Timestamps that are Python objects may also bring it themselves.
        features: `covariates=[…]`, columns of a long frame whose future will be known too, see `future_from_frame`;
            `past_covariates=[…]`, columns known up to the present only (both: numbers, NaN = missing); `static=`, a frame
            with one row per series, ids in its column or index `id_col`, or columns of the long frame that never change
            inside a series (numbers and truth values become reals, texts categories; none may be missing).

    Raises:
        SchemaError: a column is missing, a type or a value is wrong, or the frame is empty.
        DuplicateError, FrequencyError, GapError: a series has a timestamp twice, off the clock, or not at all.
        CovariateError: a covariate is missing, or not a number; a series has no static row, or a value there is missing.
        OptionError: season or missing_steps has an impossible value.

    >>> hours = pd.date_range("2026-01-01", periods=4, freq="h")
    >>> panel_from_frame(pd.DataFrame({"unique_id": "a", "ds": hours, "y": [1.0, 2.0, 3.0, 4.0]})).freq
    'h'
    """
    columns = Columns(id_col=id_col, time_col=time_col, target_col=target_col, tz_col=tz_col, **features)
    long = _long_frame(frame, columns)
    rows = _rows_of(long, columns, tz=tz, freq=freq)
    static = columns.static
    if static is not None and not isinstance(static, pd.DataFrame):
        static = constant_columns(long, static, codes=rows.codes, ids=rows.series_ids) if len(static) else None
    constant = {} if static is None else static_fields(static, id_col=id_col, ids=rows.series_ids)
    given = None if season == "auto" else season
    try:
        panel = panel_from_rows(rows, freq=freq, season=given, missing_steps=missing_steps)
        panel = replace(panel, **constant, target_name=str(target_col))
        return with_detected_season(panel) if season == "auto" else panel
    except DuplicateError as error:
        if id_col in long.columns:
            raise
        hint = "if the rows are of several series, name the column that tells them apart by id_col="
        raise DuplicateError(f"{error}; {hint}", series_id=error.series_id, field=error.field) from None


def _rows_of(long: pd.DataFrame, columns: Columns, *, tz: str | None, freq: str | int | None) -> Rows:
    """The rows of a long frame, their values looked at one by one."""
    id_col, time_col = columns.id_col, columns.time_col
    times, target = column_of(long, time_col, "time_col"), column_of(long, columns.target_col, "target_col")
    known = [column_of(long, name, "covariates") for name in columns.covariates]
    past = [column_of(long, name, "past_covariates") for name in columns.past_covariates]
    if not len(long):
        raise SchemaError("the frame has no rows; send at least one observation", field=columns.target_col)
    lone = id_col not in long.columns
    codes, ids = _one_series(long, id_col) if lone else read_ids(column_of(long, id_col, "id_col"))
    zones = zones_given(long, codes, ids, tz=tz, tz_col=columns.tz_col)
    read = read_zoned_times(times, codes, ids)
    read = on_wall_clocks(read, zones, codes, freq=freq, refuse=refusal(codes, ids, time_col))
    numbers = read_numbers(target, codes, ids)
    return Rows(
        series_ids=ids,
        codes=codes,
        timestamps=read.moments.copy() if np.shares_memory(read.moments, times.to_numpy()) else read.moments,  # a panel's
        target=numbers.copy() if np.shares_memory(numbers, target.to_numpy()) else numbers,  # arrays become read-only
        covariates=_side_by_side(known, codes, ids),
        covariate_names=tuple(columns.covariates),
        past_covariates=_side_by_side(past, codes, ids),
        past_covariate_names=tuple(columns.past_covariates),
        tz=read.tz,
        zones=read.zones,
        time_field=time_col,
    )


def _side_by_side(columns: list[pd.Series], codes: IntArray, ids: tuple[str, ...]) -> FloatArray | None:
    """Covariates (N, C); None where there are none."""
    return np.column_stack([read_numbers(one, codes, ids, covariate=True) for one in columns]) if columns else None


def _long_frame(frame: "pd.DataFrame | pd.Series[float]", columns: Columns) -> pd.DataFrame:
    """The frame with a row for each series and timestamp, whichever of the three shapes it has."""
    id_col, time_col, target_col = columns.id_col, columns.time_col, columns.target_col
    if isinstance(frame, pd.Series):
        if not _is_calendar(frame.index) and frame.index.dtype.kind not in "iu":
            message = f"the index of the Series is of type {frame.index.dtype}; use a DatetimeIndex, or a frame with {time_col!r}"
            raise SchemaError(message, field=time_col)
        name = LONE_SERIES if frame.name is None else str(frame.name)
        return pd.DataFrame({id_col: name, time_col: frame.index, target_col: frame.array})
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"panel_from_frame needs a pandas DataFrame or Series, got {type(frame).__name__}", field="frame")
    in_index = [name for name in (id_col, time_col) if name in frame.index.names and name not in frame.columns]
    if _is_calendar(frame.index) and time_col not in frame.columns:
        if id_col in frame.columns or columns.features:
            return frame.rename_axis(time_col).reset_index()
        return _melted(frame, id_col, time_col, target_col)
    return frame.reset_index(in_index) if in_index else frame


def _is_calendar(index: "pd.Index[Any]") -> bool:
    return isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex))


def _melted(wide: pd.DataFrame, id_col: str, time_col: str, target_col: str) -> pd.DataFrame:
    """The columns of a wide frame below one another."""
    if not wide.shape[1]:
        raise SchemaError("the frame has an index of datetimes but no columns; each column is a series", field=target_col)
    names = ids_as_text(["/".join(map(str, name)) if isinstance(name, tuple) else name for name in wide.columns], "columns")
    nobody = np.zeros(len(wide), dtype=np.int64)
    values = [read_numbers(wide.iloc[:, i].rename(name), nobody, (name,)) for i, name in enumerate(names)]
    return pd.DataFrame(
        {
            id_col: pd.Categorical.from_codes(np.repeat(np.arange(len(names)), len(wide)), categories=pd.Index(names)),
            time_col: wide.index.append([wide.index] * (len(names) - 1)),
            target_col: np.concatenate(values),
        }
    )


def _one_series(long: pd.DataFrame, id_col: str) -> tuple[IntArray, tuple[str, ...]]:
    """All rows are of one series, unless the ids are only called otherwise.

    Raises:
        SchemaError: the id column was asked for by name, or another column has nearly that name.
    """
    if id_col != ID_COL or nearest(id_col, long.columns, cutoff=0.75):
        column_of(long, id_col, "id_col")  # refuses, and names the nearest
    return np.zeros(len(long), dtype=np.int64), (LONE_SERIES,)


# Lists, as a service gets them


def panel_from_lists(
    *,
    ids: Sequence[Hashable],
    targets: Sequence[Sequence[float | None]],
    starts: Sequence[str | int] | None = None,
    timestamps: Sequence[Sequence[str | int]] | None = None,
    freq: str | int | None = None,
    season: int | None = None,
    tz: str | Sequence[str] | None = None,
) -> Panel:
    """A `Panel` from plain lists, without a frame in between: one series of 500 points takes a fraction of a millisecond.

    Args:
        ids: (S,) any hashable.
        targets: for each series its numbers; None and NaN = not observed.
        starts: for each series its first timestamp; the others follow by `freq`. ISO 8601, or an integer step.
        timestamps: or for each series all its timestamps, in any order.
        freq: as in `panel_from_frame`; needed with `starts`.
        season: steps; that of the freq when None.
        tz: zone of the wall clock, or for each series its own. Timestamps without offset are meant on it, as in
            `panel_from_frame`; those with offsets are moved to it, or to UTC when it is None.

    Raises:
        SchemaError: lists of different lengths, no values, text or infinity among the numbers, impossible timestamps.
        DuplicateError, FrequencyError, GapError: as in `panel_from_frame`.
        OptionError: season is not a positive int.
    """
    names = ids_as_text(ids, "ids")
    _check_lengths(names, targets=targets, starts=starts, timestamps=timestamps)
    values = [_read_list(one, name) for one, name in zip(targets, names, strict=True)]
    lengths = np.array([len(one) for one in values], dtype=np.int64)
    target = np.concatenate(values)
    zones = _zones_of_lists(tz, names)
    if timestamps is not None:
        codes = np.repeat(np.arange(len(names)), lengths)
        flat = [moment for one in timestamps for moment in one]
        times = _read_moments(flat, codes, names, "timestamps", zones, freq)
        rows = Rows(
            series_ids=names,
            codes=codes,
            timestamps=times.moments,
            target=target,
            tz=times.tz,
            zones=times.zones,
            time_field="timestamps",
        )
        return panel_from_rows(rows, freq=freq, season=season)
    assert starts is not None  # _check_lengths saw to it
    if freq is None:
        raise FrequencyError("starts need a freq, such as 'h' or 'D', or send timestamps instead", field="freq")
    check_season(season)
    return _panel_from_starts(names, starts, lengths, target, freq=freq, season=season, zones=zones)


def _panel_from_starts(
    names: tuple[str, ...],
    starts: Sequence[str | int],
    lengths: IntArray,
    target: FloatArray,
    *,
    freq: str | int,
    season: int | None,
    zones: tuple[str, ...],
) -> Panel:
    """The panel of series without holes that begin at `starts` (S,)."""
    clock = clock_of(freq)
    series = np.arange(len(names))
    times = _read_moments(starts, series, names, "starts", zones, freq)
    firsts = times.moments
    check_kind(clock, firsts, "starts")
    if not clock.absolute and not zones and times.tz is not None:
        for i in np.flatnonzero([isinstance(one, str) and _has_offset(one) for one in starts])[:1]:
            raise SchemaError(
                f"series {names[i]!r} starts at {starts[i]!r}: steps of {clock.freq!r} follow the clock on a wall, and "
                "an offset does not say which; pass tz, such as 'Europe/Berlin', or leave the offset away",
                series_id=names[i],
                field="starts",
            )
    _, on_grid = grid_positions(clock, firsts, np.arange(len(names) + 1), zones_at(times.tz, times.zones, series))
    for i in np.flatnonzero(~on_grid)[:1]:
        zone = times.zones[i] if times.zones else times.tz
        raise FrequencyError(
            f"series {names[i]!r} starts at {show_times(firsts[i : i + 1], zone)}, which is not on the clock of freq "
            f"{clock.freq!r}; pass the freq of the data, such as another weekday or month end",
            series_id=names[i],
            field="starts",
        )
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.arange(len(target)) - np.repeat(offsets[:-1], lengths)
    whose = np.zeros(1, dtype=np.int64) if len(names) == 1 else np.repeat(series, lengths)
    return Panel(
        series_ids=names,
        offsets=offsets,
        timestamps=advance(clock, firsts[whose], steps, zones_at(times.tz, times.zones, whose)),
        target=target,
        freq=clock.freq,
        season=default_season(clock.freq) if season is None else int(season),
        tz=times.tz,
        zones=times.zones,
    )


def _zones_of_lists(tz: str | Sequence[str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """The zone of each series (S,); () = not asked for."""
    if tz is None:
        return ()
    if not isinstance(tz, list | tuple):
        return (zone_name(tz, "tz"),) * len(names)
    if len(tz) != len(names):
        raise SchemaError(f"there are {len(names)} ids and {len(tz)} zones; send one for each series", field="tz")
    known = {zone: zone_name(zone, "tz") for zone in set(map(str, tz))}
    return tuple(known[str(zone)] for zone in tz)


def _has_offset(text: str) -> bool:
    """True where an ISO 8601 text has an offset that is not that of UTC."""
    found = ISO.fullmatch(text.strip())
    return found is not None and found.group(2) not in (None, "Z", "+00", "+00:00", "+0000", "-00:00")


def _check_lengths(
    names: tuple[str, ...],
    *,
    targets: Sequence[Sequence[float | None]],
    starts: Sequence[str | int] | None,
    timestamps: Sequence[Sequence[str | int]] | None,
) -> None:
    """Refuse lists that do not belong together."""
    if (starts is None) == (timestamps is None):
        raise SchemaError("pass either starts (with freq) or timestamps", field="timestamps")
    if not names:
        raise SchemaError("there is no series; send at least one", field="ids")
    for field, lists in (("targets", targets), ("starts", starts), ("timestamps", timestamps)):
        if lists is not None and len(lists) != len(names):
            raise SchemaError(f"there are {len(names)} ids and {len(lists)} {field}; send one for each series", field=field)
    for i, name in enumerate(names):
        if not len(targets[i]):
            raise SchemaError(f"series {name!r} has no values; send at least one", series_id=name, field="targets")
        if timestamps is not None and len(timestamps[i]) != len(targets[i]):
            raise SchemaError(
                f"series {name!r} has {len(timestamps[i])} timestamps and {len(targets[i])} values; send one for each",
                series_id=name,
                field="timestamps",
            )


def _read_list(values: Sequence[float | None], series_id: str) -> FloatArray:
    """Numbers of one series, (T,), NaN where None."""
    for kind in set(map(type, values)):
        if kind is bool or not issubclass(kind, (float, int, np.floating, np.integer, type(None))):
            place, value = next((i, one) for i, one in enumerate(values) if type(one) is kind)
            raise SchemaError(
                f"series {series_id!r} has {str(value)[:40]!r} ({kind.__name__}) among its numbers, place {place}; "
                "send numbers, and null for what was not observed",
                series_id=series_id,
                field="targets",
            )
    try:
        numbers = np.array(values, dtype=np.float64)
        endless = np.flatnonzero(np.isinf(numbers))
    except OverflowError:  # an int beyond what a float holds
        numbers, endless = np.zeros(0), np.array([next(i for i, one in enumerate(values) if one and abs(one) > 1e308)])
    if len(endless):
        raise SchemaError(
            f"series {series_id!r} has an infinite value, place {endless[0]}; send null for what is not known",
            series_id=series_id,
            field="targets",
        )
    return numbers


def _read_moments(
    moments: Sequence[str | int],
    codes: IntArray,
    ids: tuple[str, ...],
    field: str,
    zones: tuple[str, ...],
    freq: str | int | None,
) -> Times:
    """Instants or steps (N,) of texts or integers; `codes` (N,) say whose they are, `zones` (S,) whose clock is whose."""

    def refuse(bad: Sequence[int] | IntArray, problem: str) -> SchemaError:
        series_id = ids[codes[bad[0]]]
        return SchemaError(f"series {series_id!r}: {problem}", series_id=series_id, field=field)

    kinds = {type(one) for one in moments}
    if kinds <= {int, np.int64}:
        big = [i for i, one in enumerate(moments) if abs(int(one)) > 2**61]
        if big:
            raise refuse(big, f"step {moments[big[0]]} is beyond 2**61; number the steps from 0")
        return on_wall_clocks(Times(moments=np.array(moments, dtype=np.int64)), zones, codes, freq=freq, refuse=refuse)
    odd = [i for i, one in enumerate(moments) if not isinstance(one, str)]
    if odd:
        shown = f"{str(moments[odd[0]])[:40]!r} ({type(moments[odd[0]]).__name__})"
        raise refuse(odd, f"{shown} is no timestamp; send ISO 8601 texts, or integers for all")
    instants, zone = parse_texts(list(map(str, moments)), field, refuse)
    return on_wall_clocks(Times(moments=instants, tz=zone), zones, codes, freq=freq, refuse=refuse)


# The future of covariates


def future_from_frame(
    frame: pd.DataFrame,
    panel: Panel,
    horizon: int,
    *,
    id_col: str = ID_COL,
    time_col: str = "ds",
    tz: str | None = None,
    tz_col: str | None = None,
) -> FloatArray:
    """The covariates of `panel` over the `horizon` steps after each series, (S, H, C), in the panel's order.

    Args:
        frame: a row for each series and future timestamp with the columns `panel.covariate_names`; rows of other
            times or series are passed over. `id_col` may be missing where the panel has one series.
        tz: zone that timestamps without one are meant on; `tz_col` the column of zones, both as in `panel_from_frame`.

    Raises:
        CovariateError: a column, a row or a value is missing, a row comes twice, the clock is of another kind, or the
            panel has no covariates.
        SchemaError: no frame, or no columns of ids and timestamps.
        HorizonError: the horizon is not a positive int.
    """
    series, names = len(panel), panel.covariate_names
    if not names:
        message = "the panel has no covariates, so they have no future; build it by panel_from_frame(frame, covariates=[…])"
        raise CovariateError(message, field="covariates")
    if not isinstance(frame, pd.DataFrame):
        raise SchemaError(f"future_from_frame needs a pandas DataFrame, got {type(frame).__name__}", field="frame")
    future = future_timestamps(panel, horizon)  # (S, H)
    features = [column_of(frame, name, "covariates") for name in names]
    codes, ids = _ids_of_future(frame, panel, id_col)
    zones = zones_given(frame, codes, ids, tz=tz, tz_col=tz_col)
    read = read_zoned_times(column_of(frame, time_col, "time_col"), codes, ids)
    read = on_wall_clocks(read, zones, codes, freq=panel.freq, refuse=refusal(codes, ids, time_col))
    _check_same_clock(read, panel, time_col)
    rows, slots = _rows_in_slots(_places(ids, panel)[codes], read.moments, future)
    counts = np.bincount(slots, minlength=future.size)
    for wrong, problem in ((counts == 0, "have no row"), (counts > 1, "have more than one row")):
        _refuse_slots(wrong, problem, future, panel)
    values = np.empty((future.size, len(names)))
    for channel, feature in enumerate(features):
        values[slots, channel] = read_numbers(feature, codes, ids, covariate=True)[rows]
        _refuse_slots(np.isnan(values[:, channel]), f"have no value in {names[channel]!r}", future, panel)
    return values.reshape(series, horizon, len(names))


def _ids_of_future(frame: pd.DataFrame, panel: Panel, id_col: str) -> tuple[IntArray, tuple[str, ...]]:
    if not len(frame):
        message = f"the frame of future covariates has no rows; send {list(panel.covariate_names)} of each future timestamp"
        raise CovariateError(message, field="covariates")
    if id_col not in frame.columns and len(panel) == 1:
        return np.zeros(len(frame), dtype=np.int64), panel.series_ids
    return read_ids(column_of(frame, id_col, "id_col"))


def _check_same_clock(times: Times, panel: Panel, time_col: str) -> None:
    if (times.moments.dtype.kind == "M") == panel.is_integer_clock:
        have, want = ("timestamps", "integer steps") if panel.is_integer_clock else ("integer steps", "timestamps")
        raise CovariateError(f"{time_col!r} of the future holds {have}, the panel {want}; use the panel's", field=time_col)
    if (times.tz is None) != (panel.tz is None):
        have, want = times.tz or "no time zone", panel.tz or "none"
        raise CovariateError(f"{time_col!r} of the future has {have}, the panel {want}; localize or convert it", field=time_col)


def _places(ids: tuple[str, ...], panel: Panel) -> IntArray:
    """Place of each id in the panel, -1 where it is not there."""
    place = {series_id: i for i, series_id in enumerate(panel.series_ids)}
    return np.array([place.get(series_id, -1) for series_id in ids], dtype=np.int64)


def _rows_in_slots(series: IntArray, times: TimeArray, future: TimeArray) -> tuple[IntArray, IntArray]:
    """(rows of the frame that belong to the future, the flat place in (S, H) of each).

    Args:
        series: (N,) place of each row's series, -1 = not in the panel.
        times: (N,)
        future: (S, H) ascending along H.
    """
    moments, where = np.unique(future, return_inverse=True)
    wanted = (np.arange(len(future))[:, None] * len(moments) + where.reshape(future.shape)).ravel()  # ascending
    at = np.minimum(np.searchsorted(moments, times), len(moments) - 1)
    keys = np.where(moments[at] == times, series * len(moments) + at, -1)  # negative: of no slot
    slots = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    rows = np.flatnonzero(wanted[slots] == keys)
    return rows, slots[rows]


def _refuse_slots(
    wrong: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", problem: str, future: TimeArray, panel: Panel
) -> None:
    if not wrong.any():
        return
    slots = wrong.reshape(future.shape)
    i = int(np.argmax(slots.any(axis=1)))
    others = int(slots.any(axis=1).sum()) - 1
    more = f", and so do those of {others} other series" if others else ""
    shown = show_times(future[i][slots[i]], panel.zone_of(i))
    raise CovariateError(
        f"series {panel.series_ids[i]!r}: future timestamps {problem}: {shown}{more}; "
        f"send exactly one row for each of the {future.shape[1]} steps",
        series_id=panel.series_ids[i],
        field="covariates",
    )

"""A grid, and a frame of the future -> findings about covariates: missing, constant, telling the target, of unknown words."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tsforecast.checking.clock import Grid
from tsforecast.checking.report import Finding
from tsforecast.checking.rows import SHOWN, Found, Future, counted, listed, row_words, words
from tsforecast.errors import DataError, SchemaError
from tsforecast.panel import FloatArray, IntArray
from tsforecast.preprocessing.calendar import BoolArray, future_timestamps_after, wall_from_instants
from tsforecast.preprocessing.columns import nearest
from tsforecast.preprocessing.grouped import mean_and_deviation

LEADS, LAGS = (1, 2, 3), (0, -1, -2, -3)  # steps that a covariate may be ahead of the target, or behind
ENOUGH = 20  # pairs
SAME, SAME_STEPS = 0.999, 0.99  # correlation of the values, and of their changes, of what is the target itself
AHEAD, MORE = 0.9, 0.15  # correlation with a later target; how much more than with the present and the past


def _of_column(kind: str, column: str, count: int, where: tuple[str, ...], message: str) -> Found:
    return Found(finding=Finding(kind=kind, series_id=None, field=column, count=count, where=where, message=message))


# The history


def trailing(grid: Grid) -> BoolArray:
    """Rows (N,) at the end of a series without a target, which are there for covariates known in the future."""
    table = grid.table
    none = np.zeros(len(table.order), dtype=bool)
    if not table.columns.covariates:
        return none
    row = np.arange(len(table.order))
    last = np.maximum.reduceat(np.where(np.isnan(table.target), -1, row), table.offsets[:-1])  # observed row of each series
    late: BoolArray = (row > np.repeat(last, np.diff(table.offsets))) & np.repeat(last >= 0, np.diff(table.offsets))
    return late


def find_in_history(grid: Grid, future: BoolArray) -> list[Found]:
    """Covariates that are missing, that never change, or that tell the target."""
    table = grid.table
    found = []
    for name, values in table.covariates.items():
        missing = np.flatnonzero(np.isnan(values) & ~future)
        history = int((~future).sum())
        if len(missing):
            series = np.unique(np.searchsorted(table.offsets, missing, side="right") - 1)
            where = words(table.wall[missing])
            told = f"{name!r} is missing in {counted(len(missing), 'row')} of {history}, in {len(series)} series"
            first = f"first in series {table.ids[series[0]]!r} at {where[0]}"
            found.append(_of_column("covariate_missing", name, len(missing), where, f"{told}, {first}"))
        seen = values[~np.isnan(values)]
        if len(seen) and seen.min() == seen.max() and history > 1:
            found.append(_of_column("covariate_constant", name, len(seen), (), f"{name!r} is {seen[0]:.10g} in every row"))
        elif len(seen):
            found += _leaks(grid, name)
    return found


@np.errstate(all="ignore")  # constant series have no correlation
def _leaks(grid: Grid, name: str) -> list[Found]:
    target, values = grid.target, grid.covariates[name]
    lengths = np.diff(grid.offsets)
    seasonal = grid.season if grid.season > 1 and np.median(lengths) >= 3 * grid.season else 0
    moves, changes = (_standard(_changes(one, grid.offsets, seasonal), grid.offsets) for one in (values, target))
    at = {lead: _correlation(moves, changes, grid.offsets, lead) for lead in (*LAGS, *LEADS)}
    known_ahead = name in grid.table.columns.covariates
    same = _correlation(_standard(values, grid.offsets), _standard(target, grid.offsets), grid.offsets, 0)
    if known_ahead and abs(same) > SAME and abs(at[0]) > SAME_STEPS:
        told = f"{name!r} is the target but for its scale (correlation {same:.4f} at the same step)"
        return [_of_column("leak", name, int((~np.isnan(values)).sum()), (), told)]
    lead = max(LEADS, key=lambda one: abs(at[one]))
    otherwise = max(abs(at[lag]) for lag in LAGS)
    if abs(at[lead]) >= AHEAD and abs(at[lead]) >= otherwise + MORE:
        told = (
            f"{name!r} tells the target {counted(lead, 'step')} later: their changes correlate by {at[lead]:.3f}, with the "
            f"present and the past by {otherwise:.3f} at most"
        )
        return [_of_column("leak", name, int((~np.isnan(values)).sum()), (), told)]
    return []


def _changes(values: FloatArray, offsets: IntArray, season: int) -> FloatArray:
    """From step to step, and from season to season, (M,): what returns every season tells nothing."""
    for lag in (1, season) if season else (1,):
        values = values - _shifted(values, offsets, -lag)
    return values


def _shifted(values: FloatArray, offsets: IntArray, lead: int) -> FloatArray:
    """The value `lead` steps later in the same series, (M,); NaN beyond its ends."""
    places = np.arange(len(values)) + lead
    lengths = np.diff(offsets)
    inside = (places >= np.repeat(offsets[:-1], lengths)) & (places < np.repeat(offsets[1:], lengths))
    return np.where(inside, values[np.clip(places, 0, len(values) - 1)], np.nan)


def _standard(values: FloatArray, offsets: IntArray) -> FloatArray:
    """In standard deviations from the mean of each series, (M,)."""
    mean, deviation = mean_and_deviation(values, offsets)
    lengths = np.diff(offsets)
    standard: FloatArray = (values - np.repeat(mean, lengths)) / np.repeat(np.where(deviation > 0, deviation, np.nan), lengths)
    return standard


def _correlation(values: FloatArray, target: FloatArray, offsets: IntArray, lead: int) -> float:
    """Of the values with the target `lead` steps later, all series together; 0 for too few pairs."""
    later = _shifted(target, offsets, lead)
    both = np.isfinite(values) & np.isfinite(later)
    if both.sum() < ENOUGH:
        return 0.0
    x, y = values[both], later[both]
    found = float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))
    return found if np.isfinite(found) else 0.0


# The future


def find_in_rows(grid: Grid, future: BoolArray) -> list[Found]:
    """Rows of the future in the frame itself that lack a covariate."""
    table = grid.table
    found = []
    for name in table.columns.covariates:
        rows = np.flatnonzero(future & np.isnan(table.covariates[name]))
        if len(rows):
            series = np.unique(np.searchsorted(table.offsets, rows, side="right") - 1)
            where = words(table.wall[rows])
            told = f"{name!r} is missing in {counted(len(rows), 'row')} of {int(future.sum())} after the last value"
            first = f"in {len(series)} series, first in {table.ids[series[0]]!r} at {where[0]}"
            found.append(_of_column("future_missing", name, len(rows), where, f"{told}, {first}"))
    return found


def find_in_future(grid: Grid, future: Future, horizon: int | None) -> list[Found]:
    """Steps of the horizon for which a covariate has no value in the frame of the future.

    Without a horizon, it is the longest future of any series.
    """
    table = grid.table
    found = [
        _of_column("future_missing", name, future.rows, (), f"the frame of the future has no column {name!r}")
        for name in future.lacking
    ]
    last = table.times[table.offsets[1:] - 1]
    place = {series_id: i for i, series_id in enumerate(table.ids)}
    series = np.array([place.get(series_id, -1) for series_id in future.ids], dtype=np.int64)
    if future.times.dtype.kind != last.dtype.kind:
        told = "the frame of the future has another kind of timestamps than the history"
        return [*found, _of_column("future_missing", table.columns.time_col, future.rows, (), told)]
    codes = series[future.codes] if len(series) else np.zeros(0, dtype=np.int64)
    ahead = (codes >= 0) & (future.times.astype(np.int64) > last.astype(np.int64)[codes])
    counts = np.bincount(codes[ahead], minlength=len(table.ids))
    steps = int(horizon or counts.max(initial=0))
    if grid.clock is None or not steps:
        return found if steps else [*found, *_no_future(grid, future)]
    try:
        wanted = future_timestamps_after(last, grid.clock.freq, steps, table.tz)  # (S, H)
    except DataError:
        return found  # off the clock, and said so
    moments, slots = np.unique(wanted.astype(np.int64), return_inverse=True)
    keys = np.repeat(np.arange(len(last)), steps) * len(moments) + slots.ravel()
    times = future.times.astype(np.int64)[ahead]
    at = np.minimum(np.searchsorted(moments, times), len(moments) - 1)
    have = np.where(moments[at] == times, codes[ahead] * len(moments) + at, -1)
    for name, values in future.covariates.items():
        there = have[~np.isnan(values[ahead])]
        lacks = np.flatnonzero(~np.isin(keys, there))
        if not len(lacks):
            continue
        shown = wanted.ravel()[lacks[:SHOWN]]
        if shown.dtype.kind == "M":
            shown = wall_from_instants(shown.astype("datetime64[ns]"), table.tz)
        mine = np.unique(lacks // steps)
        told = f"{name!r} has no value for {counted(len(lacks), 'step')} of {wanted.size} in the future"
        first = f"in {len(mine)} series, first in {table.ids[mine[0]]!r} at {words(shown)[0]}"
        found.append(_of_column("future_missing", name, len(lacks), words(shown), f"{told}, {first}"))
    return found


def _no_future(grid: Grid, future: Future) -> list[Found]:
    message = f"none of the {future.rows} rows of the future lies after the history of its series"
    return [_of_column("future_missing", grid.table.columns.time_col, future.rows, (), message)]


# Words


def find_words(
    frame: pd.DataFrame, future: pd.DataFrame | None, known: Mapping[str, Collection[object]], left_out: Collection[str]
) -> list[Found]:
    """Words that are not among those known, and words of the future that the history never has.

    Raises:
        SchemaError: a column of `known` is in neither frame.
    """
    frames = [("", frame), *([("the future, ", future)] if future is not None else [])]
    found = []
    for name, allowed in known.items():
        if not any(name in one.columns for _, one in frames):
            near = nearest(name, frame.columns)
            hint = f"; did you mean {near!r}?" if near else ""
            raise SchemaError(f"the frame has no column {name!r} named in known_categories{hint}", field=str(name))
        accepted = {str(one) for one in allowed}
        for place, one in frames:
            if name in one.columns:
                found += _unseen(one[name], str(name), accepted, place)
    if future is None:
        return found
    for name in frame.columns.intersection(future.columns):
        if name not in known and name not in left_out and _holds_words(frame[name]) and _holds_words(future[name]):
            found += _unseen(future[name], str(name), {str(one) for one in _distinct(frame[name])}, "the future, ")
    return found


def _holds_words(column: Any) -> bool:
    if not isinstance(column, pd.Series):
        return False
    dtype = column.dtype
    return isinstance(dtype, pd.CategoricalDtype | pd.StringDtype) or dtype.kind in "OU"


def _distinct(column: pd.Series) -> list[Any]:
    return list(pd.unique(column.map(str, na_action="ignore").dropna()))


def _unseen(column: Any, name: str, accepted: set[str], place: str) -> list[Found]:
    if not isinstance(column, pd.Series):
        return []
    texts = column.map(str, na_action="ignore")
    new = [one for one in _distinct(column) if str(one) not in accepted]
    if not new:
        return []
    rows = np.flatnonzero(texts.isin(new).to_numpy())
    shown = ", ".join(repr(str(one)[:40]) for one in new[:3]) + (" …" if len(new) > 3 else "")
    where = row_words(rows)
    words_told = "one word" if len(new) == 1 else f"{len(new)} words"
    told = f"{name!r} has {words_told} unseen before in {counted(len(rows), 'row')}: {shown} ({place}{listed(where, len(rows))})"
    return [_of_column("unseen_category", name, len(rows), where, told)]

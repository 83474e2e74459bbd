"""Any frame -> DataReport. Reads what can be read, looks at each part in turn, and asks `panel_from_frame` whether it would."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from tsforecast.checking.clock import Grid, read_clock
from tsforecast.checking.covariates import find_in_future, find_in_history, find_in_rows, find_words, trailing
from tsforecast.checking.lengths import find_domain, find_ends, find_similar_ids, find_twins
from tsforecast.checking.levels import find_levels
from tsforecast.checking.report import KINDS, SEVERITIES, DataReport, Finding, SeriesReport
from tsforecast.checking.rows import MOST_MARKS, Found, Table, long_frame, read_future, read_table, words
from tsforecast.checking.runs import find_missing, find_runs
from tsforecast.errors import DataError, HorizonError, OptionError, SchemaError
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import advance
from tsforecast.preprocessing.regular import check_season
from tsforecast.preprocessing.seasonality import MOST_SERIES, Season, detect_seasons
from tsforecast.preprocessing.validate import ID_COL, Columns, panel_from_frame

MOST_REPORTED, QUIET = 100, 12  # series with findings that are reported one by one; filled up to so many with others
CURVE = 240  # values of a picture
COLUMNS_TOLD = 50


class Beside(TypedDict, total=False):
    """What a check may know beside the three columns."""

    covariates: Sequence[str]  # columns whose future will be known
    past_covariates: Sequence[str]  # columns known up to the present only
    future: pd.DataFrame | None  # rows of the covariates after the history
    known_categories: Mapping[str, Collection[object]] | None  # column -> the words a model knows
    horizon: int | None  # steps that will be forecast
    counts: bool | None  # the target counts something; None: told from the data


def check(
    frame: "pd.DataFrame | pd.Series[float]",
    *,
    freq: str | int | None = None,
    season: int | None = None,
    id_col: str = ID_COL,
    time_col: str = "ds",
    target_col: str = "y",
    **beside: Unpack[Beside],
) -> DataReport:
    """All that is wrong with a frame, or worth knowing; the frame is left as it is.

    Args:
        frame: of any shape that `panel_from_frame` reads, and with any fault.
        freq: pandas alias, or steps per row of integer steps; told from the data when None.
        season: steps; that of the freq when None.
        id_col, time_col, target_col: names of the columns.
        beside: `covariates=[…]` and `past_covariates=[…]`, columns of numbers; `future=`, a frame of covariates after the
            history; `known_categories={column: words}`; `horizon=`, steps; `counts=True` where the target counts something.

    Returns:
        A report whose `refusal` is what `panel_from_frame` says to the frame (missing steps being an error), None where it
        makes a panel.

    Raises:
        SchemaError, CovariateError: it is no frame, or a column that is named is not there, or there twice.
        OptionError, HorizonError: season or horizon is not a positive int, counts is no truth value.

    >>> days = pd.date_range("2026-01-01", periods=4, freq="D").delete(2)
    >>> [finding.kind for finding in check(pd.DataFrame({"ds": days, "y": [1.0, 2.0, 3.0]})).findings]
    ['gaps', 'short']
    """
    _check_options(season, beside)
    columns = Columns(
        id_col=id_col,
        time_col=time_col,
        target_col=target_col,
        covariates=beside.get("covariates") or (),
        past_covariates=beside.get("past_covariates") or (),
    )
    table, found = read_table(frame, columns)
    refusal = _refusal(frame, columns, freq, season)
    long, future, horizon = long_frame(frame, columns), beside.get("future"), beside.get("horizon")
    found += find_words(long, future, beside.get("known_categories") or {}, {id_col, time_col, target_col, *columns.features})
    found += find_similar_ids(table.ids, id_col)
    facts = {"rows": len(long), "columns": [str(name) for name in long.columns[:COLUMNS_TOLD]]}
    grid = None
    if len(table.order):
        grid, of_clock = read_clock(table, freq=freq, season=season)
        seasons = _seasons(grid)
        found += of_clock + _in_values(grid, seasons, horizon, beside.get("counts"))
        if future is not None:
            read, unread = read_future(future, table)
            found += unread + find_in_future(grid, read, horizon)
        facts |= _facts(table, grid, seasons)
    if refusal is not None and not any(one.finding.severity == "error" for one in found):
        finding = Finding(kind="refused", series_id=None, field=target_col, count=1, where=(), message=refusal)
        found.append(Found(finding=finding))
    order = _Order(table)
    return DataReport(
        facts=_all_facts(facts),
        findings=tuple(one.finding for one in sorted(found, key=order.of)),
        series=() if grid is None else _series_reports(grid, sorted(found, key=order.of)),
        repairs={},
        refusal=refusal,
    )


def _check_options(season: int | None, beside: Beside) -> None:
    unknown = set(beside) - set(Beside.__annotations__)
    if unknown:
        raise TypeError(f"check() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    horizon, counts, future = beside.get("horizon"), beside.get("counts"), beside.get("future")
    check_season(season)
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1):
        raise HorizonError(f"horizon must be a positive number of steps, got {horizon!r}", field="horizon")
    if counts not in (None, True, False):
        raise OptionError(f"counts must be True, False or None, got {counts!r}", field="counts")
    if future is not None and not isinstance(future, pd.DataFrame):
        raise SchemaError(f"future must be a pandas DataFrame, got {type(future).__name__}", field="future")


def _refusal(frame: Any, columns: Columns, freq: str | int | None, season: int | None) -> str | None:
    """Why no panel can be made of the frame."""
    try:
        panel_from_frame(
            frame,
            freq,
            season,
            columns.id_col,
            columns.time_col,
            columns.target_col,
            covariates=columns.covariates,
            past_covariates=columns.past_covariates,
        )
    except DataError as error:
        return str(error)
    return None


def _in_values(grid: Grid, seasons: tuple[Season, ...], horizon: int | None, counts: bool | None) -> list[Found]:
    future = trailing(grid)
    found = find_missing(grid, future)
    observed = np.add.reduceat(~np.isnan(grid.target), grid.offsets[:-1], dtype=np.int64)
    runs, odd = find_runs(grid, observed)
    found += runs + find_ends(grid, future, horizon) + find_domain(grid, counts) + find_twins(grid)
    periods = tuple(one.period for one in seasons)
    strongest = max(seasons, key=lambda one: one.strength).period if seasons else 1
    found += find_levels(replace(grid, season=grid.season if grid.season > 1 else strongest), odd, periods)
    return found + find_in_history(grid, future) + find_in_rows(grid, future)


def _seasons(grid: Grid) -> tuple[Season, ...]:
    """Seen in the longest of the series that are on their clock."""
    if grid.clock is None:
        return ()
    lengths = np.diff(grid.offsets)
    chosen = np.sort(np.argsort(-lengths, kind="stable")[:MOST_SERIES])
    rows = np.concatenate([np.arange(grid.offsets[i], grid.offsets[i + 1]) for i in chosen])
    offsets = np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64)
    firsts = np.repeat(grid.table.offsets[:-1][chosen], lengths[chosen])  # rows of the table
    try:
        timestamps = advance(
            grid.clock, grid.table.times[firsts], np.arange(len(rows)) - np.repeat(offsets[:-1], lengths[chosen]), grid.table.tz
        )
    except DataError:  # a first row off the clock, said elsewhere
        return ()
    panel = Panel(
        series_ids=tuple(grid.table.ids[i] for i in chosen),
        offsets=offsets,
        timestamps=timestamps,
        target=grid.target[rows],
        freq=grid.clock.freq,
        season=grid.season,
        tz=grid.table.tz,
    )
    return detect_seasons(panel)


# Facts


def _facts(table: Table, grid: Grid, seasons: tuple[Season, ...]) -> dict[str, Any]:
    lengths = np.diff(table.offsets)
    observed = int((~np.isnan(table.target)).sum())
    return {
        "series": len(table.ids),
        "freq": None if grid.clock is None else grid.clock.freq,
        "freq_share": None if grid.agree is None else round(grid.agree, 6),
        "season": grid.season,
        "seasons": [one.period for one in seasons],
        "first": words(np.sort(table.wall)[:1])[0],
        "last": words(np.sort(table.wall)[-1:])[0],
        "tz": table.tz,
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "not_observed": len(table.order) - observed,
        "observed": observed,
    }


def _all_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """In one order, with those of a frame that nothing can be read of."""
    none: dict[str, Any] = dict.fromkeys(("freq", "freq_share", "season", "first", "last", "tz"))
    zero = dict.fromkeys(("series", "shortest", "longest", "not_observed", "observed"), 0)
    order = ("rows", "series", *none, "seasons", "shortest", "longest", "not_observed", "observed", "columns")
    told = {**none, **zero, "seasons": [], **facts}
    return {name: told[name] for name in order}


# Series


class _Order:
    """Errors first, then by kind, then by series."""

    def __init__(self, table: Table) -> None:
        self.kinds = {kind: number for number, kind in enumerate(KINDS)}
        self.series = {series_id: number for number, series_id in enumerate(table.ids)}

    def of(self, one: Found) -> tuple[int, int, int]:
        finding = one.finding
        place = -1 if finding.series_id is None else self.series.get(finding.series_id, len(self.series))
        return SEVERITIES.index(finding.severity), self.kinds[finding.kind], place


def _series_reports(grid: Grid, found: list[Found]) -> tuple[SeriesReport, ...]:
    """Of the worst series, and a few quiet ones; `found` is in order, worst first."""
    by_series: dict[int, list[Found]] = {}
    for one in found:
        if one.series is not None:
            by_series.setdefault(one.series, []).append(one)

    def badness(series: int) -> tuple[int, ...]:
        counts = [0] * len(SEVERITIES)
        for one in by_series[series]:
            counts[SEVERITIES.index(one.finding.severity)] -= 1
        return (*counts, series)

    worst = sorted(by_series, key=badness)[:MOST_REPORTED]
    quiet = [series for series in range(min(len(grid.table.ids), len(worst) + QUIET)) if series not in by_series]
    return tuple(_series_report(grid, one, by_series.get(one, [])) for one in [*worst, *quiet[: max(QUIET - len(worst), 0)]])


def _series_report(grid: Grid, series: int, found: list[Found]) -> SeriesReport:
    table = grid.table
    begin, end = int(table.offsets[series]), int(table.offsets[series + 1])
    marks = sorted({mark for one in found for mark in one.marks})
    if len(marks) > MOST_MARKS:
        marks = [marks[int(i)] for i in np.linspace(0, len(marks) - 1, MOST_MARKS)]
    return SeriesReport(
        series_id=table.ids[series],
        rows=end - begin,
        first=words(table.wall[begin : begin + 1])[0],
        last=words(table.wall[end - 1 : end])[0],
        not_observed=int(np.isnan(table.target[begin:end]).sum()),
        findings=tuple(one.finding for one in found),
        curve=thinned(grid.target[int(grid.offsets[series]) : int(grid.offsets[series + 1])]),
        marks=tuple(marks),
    )


def thinned(values: FloatArray, most: int = CURVE) -> tuple[float | None, ...]:
    """At most `most` of the values: the lowest and the highest of each of so many stretches, in their order; NaN are None."""
    if len(values) > most:
        bounds = np.linspace(0, len(values), most // 2 + 1).astype(np.int64)
        chosen = []
        for begin, end in pairwise(bounds):
            part = values[begin:end]
            seen = ~np.isnan(part)
            ends = {int(np.nanargmin(part)), int(np.nanargmax(part))} if seen.any() else {0}
            chosen += [begin + place for place in sorted(ends)]
        values = values[np.array(chosen)]
    return tuple(float(one) if seen else None for one, seen in zip(values, ~np.isnan(values), strict=True))

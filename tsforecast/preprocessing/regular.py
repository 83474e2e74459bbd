"""Rows of many series in any order -> Panel on one regular clock, or an error that names the rows in the way."""

from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np

from tsforecast.errors import DuplicateError, FrequencyError, GapError, OptionError
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import (
    DAY,
    BoolArray,
    Clock,
    Zone,
    advance,
    clock_of,
    default_season,
    grid_positions,
    places_of,
    wall_from_instants,
    zones_at,
)
from tsforecast.preprocessing.columns import SHOWN, show_times
from tsforecast.preprocessing.frequency import infer_freq

MissingSteps = Literal["error", "insert"]
ENOUGH = 4  # rows that show a step of their own; fewer may be what is left of a finer one
LOOKED_AT = 200  # series examined one by one for a message
MOST_INSERTED = (100_000, 100)  # at most this many rows, or this many for each row there is


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Rows whose values have been checked one by one, but not yet their clock."""

    series_ids: tuple[str, ...]  # (S,) in order of first appearance; each has a row
    codes: IntArray  # (N,) index of the row's series
    timestamps: TimeArray  # (N,) datetime64[ns] instants in UTC, or int64 steps
    target: FloatArray  # (N,) finite or NaN
    covariates: FloatArray | None = None  # (N, C)
    covariate_names: tuple[str, ...] = ()
    past_covariates: FloatArray | None = None  # (N, P)
    past_covariate_names: tuple[str, ...] = ()
    tz: str | None = None
    zones: tuple[str, ...] = ()  # (S,) where each series has a wall clock of its own
    time_field: str = "ds"  # what the caller calls the timestamps, for messages

    @property
    def clocks(self) -> Zone:
        """Zone of each row's wall clock: one for all, or (N,)."""
        return zones_at(self.tz, self.zones, self.codes)

    def zone_of(self, series: int) -> str | None:
        return self.zones[series] if self.zones else self.tz


def panel_from_rows(
    rows: Rows, *, freq: str | int | None, season: int | None = None, missing_steps: MissingSteps = "error"
) -> Panel:
    """The panel of `rows`, sorted, on one clock.

    Args:
        freq: told from the rows when None.
        season: steps; that of the freq when None.
        missing_steps: "insert" adds the rows that are missing inside a series, with NaN.

    Raises:
        DuplicateError: a series has a timestamp twice.
        FrequencyError: the freq cannot be told, is mixed, or rows stand off its clock.
        GapError: rows are missing inside a series.
        OptionError: season is not a positive int, or missing_steps has another value.
    """
    check_season(season)
    if missing_steps not in ("error", "insert"):
        raise OptionError(f"missing_steps must be 'error' or 'insert', got {missing_steps!r}", field="missing_steps")
    rows, offsets = _in_order(rows)
    _refuse_duplicates(rows, offsets)
    clock = clock_for(rows, offsets, freq)
    positions, on_grid = grid_positions(clock, rows.timestamps, offsets, rows.clocks)
    problem = _Problem(rows=rows, offsets=offsets, clock=clock, told=freq is None)
    if not on_grid.all():
        problem.raise_strays(on_grid)
    lacking = _missing_after(positions, offsets)
    if lacking.any():
        problem.refuse_mixed(positions)
        if missing_steps == "error":
            problem.raise_gaps(positions, lacking)
        rows, offsets = problem.filled_up(positions, lacking)
    return Panel(
        series_ids=rows.series_ids,
        offsets=offsets,
        timestamps=rows.timestamps,
        target=rows.target,
        freq=clock.freq,
        season=default_season(clock.freq) if season is None else int(season),
        tz=rows.tz,
        zones=rows.zones,
        covariates=rows.covariates,
        covariate_names=rows.covariate_names,
        past_covariates=rows.past_covariates,
        past_covariate_names=rows.past_covariate_names,
    )


def check_season(season: int | None) -> None:
    """Refuse a season that is no positive number of steps."""
    if season is None:
        return
    if isinstance(season, bool) or not isinstance(season, (int, np.integer)) or season < 1:
        raise OptionError(f"season must be a positive number of steps, got {season!r}; 1 means none", field="season")


def clock_for(rows: Rows, offsets: IntArray, freq: str | int | None) -> Clock:
    """The clock of `freq`, or the one the sorted rows say.

    Raises:
        FrequencyError: it cannot be told, or is of the other kind than the timestamps.
    """
    if freq is None:
        freq = infer_freq(rows.timestamps, offsets, rows.clocks)
        if freq is None:
            raise FrequencyError(
                f"series {rows.series_ids[0]!r} has one row only, as has every other, so its step cannot be told; "
                "pass freq, such as freq='h'",
                series_id=rows.series_ids[0],
                field="freq",
            )
    clock = clock_of(freq)
    check_kind(clock, rows.timestamps, rows.time_field)
    if not rows.zones and rows.tz in (None, "UTC") and clock.unit == "tick" and clock.step % DAY == 0:
        return clock_of(f"{clock.step // DAY}D")  # where no clock is ever moved, 24 h and a day are one
    return clock


def check_kind(clock: Clock, timestamps: TimeArray, field: str) -> None:
    """Refuse an alias for integer steps, and a number for timestamps."""
    if clock.unit != "integer" and timestamps.dtype.kind != "M":
        raise FrequencyError(
            f"freq {clock.freq!r} needs timestamps, {field!r} holds integer steps; pass freq=1 and the season in steps",
            field="freq",
        )
    if clock.unit == "integer" and timestamps.dtype.kind == "M":
        raise FrequencyError(
            f"freq {clock.freq} is for integer steps, {field!r} holds timestamps; pass an alias such as 'h', 'D' or 'MS'",
            field="freq",
        )


def _in_order(rows: Rows) -> tuple[Rows, IntArray]:
    """The rows series by series, each ascending in time, and the offsets (S + 1,)."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows.codes, minlength=len(rows.series_ids)))]).astype(np.int64)
    ahead = np.diff(rows.codes)
    if (ahead >= 0).all() and (np.diff(rows.timestamps).astype(np.int64)[ahead == 0] >= 0).all():
        return rows, offsets
    order = np.lexsort((rows.timestamps, rows.codes))
    return replace(
        rows,
        codes=rows.codes[order],
        timestamps=rows.timestamps[order],
        target=rows.target[order],
        covariates=None if rows.covariates is None else rows.covariates[order],
        past_covariates=None if rows.past_covariates is None else rows.past_covariates[order],
    ), offsets


def _refuse_duplicates(rows: Rows, offsets: IntArray) -> None:
    twice = np.zeros(len(rows.codes), dtype=bool)
    twice[1:] = (rows.timestamps[1:] == rows.timestamps[:-1]) & (rows.codes[1:] == rows.codes[:-1])
    if not twice.any():
        return
    first, others, mine = _first_series(twice, offsets)
    series_id, again = rows.series_ids[first], rows.timestamps[_span(offsets, first)][mine]
    again = again[np.unique(again, return_index=True)[1]]
    raise DuplicateError(
        f"series {series_id!r} has {_counted(len(again), 'timestamp')} more than once: {show_times(again, rows.zone_of(first))}"
        f"{_and_others(others)}; keep one row each by the repair 'duplicates', or merge them by 'resample'"
        f"{_if_local(rows, again)}",
        series_id=series_id,
        field=rows.time_field,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """Sorted rows that do not fill their clock, and what to say of them."""

    rows: Rows
    offsets: IntArray
    clock: Clock
    told: bool  # the freq was told from the rows, not asked for

    @property
    def freq_text(self) -> str:
        return f"freq {self.clock.freq!r} ({'as most rows say' if self.told else 'as asked'})"

    def raise_strays(self, on_grid: BoolArray) -> NoReturn:
        """Name the rows that are not on the clock, or the frequency that their series has instead."""
        first, others, _ = _first_series(~on_grid, self.offsets)
        series_id = self.rows.series_ids[first]
        own = self.own_freq(first)
        if own is not None and self.told:
            self.raise_mixed(first, own)
        hint = f"; its own steps are those of freq={own!r}" if own is not None else ""
        timestamps = self.rows.timestamps[_span(self.offsets, first)]
        zone = self.rows.zone_of(first)
        strays = timestamps[_strays(self.clock, timestamps, zone)]
        count = f"{len(strays)} of its {len(timestamps)} timestamps" if len(timestamps) > 1 else "its only timestamp"
        raise FrequencyError(
            f"series {series_id!r} does not step by {self.freq_text}: {count} off that clock: {show_times(strays, zone)}"
            f"{_and_others(others)}{hint}; correct them, pass the right freq, "
            f"or bring the series to a regular clock by the repair 'clock' or 'resample' with freq={self.clock.freq!r}",
            series_id=series_id,
            field=self.rows.time_field,
        )

    def refuse_mixed(self, positions: IntArray) -> None:
        """Refuse series with a coarser step of their own, unless the freq was asked for: they do not lack rows.

        A coarser step is one of most rows of a series that never has two neighbours on the panel's clock.
        """
        if not self.told:
            return
        starts, lengths = self.offsets[:-1], np.diff(self.offsets)
        jumps = np.diff(positions, prepend=0)
        jumps[starts] = 0
        neighbours = np.add.reduceat(jumps == 1, starts, dtype=np.int64)
        strides = np.gcd.reduceat(positions, starts)
        even = np.add.reduceat((jumps == np.repeat(strides, lengths)) & (jumps > 0), starts, dtype=np.int64)
        coarse = (lengths >= ENOUGH) & (neighbours == 0)
        for i in np.flatnonzero(coarse & (2 * even >= lengths - 1))[:1]:
            own = infer_freq(self.rows.timestamps[_span(self.offsets, i)], np.array([0, lengths[i]]), self.rows.zone_of(int(i)))
            assert own is not None  # it has rows enough
            self.raise_mixed(int(i), own)
        for i in np.flatnonzero(coarse)[:LOOKED_AT]:  # months among days have no even stride
            own = self.own_freq(int(i))
            if own is not None:
                self.raise_mixed(int(i), own)

    def raise_gaps(self, positions: IntArray, lacking: IntArray) -> NoReturn:
        """Name the steps that are missing."""
        first, others, mine = _first_series(lacking > 0, self.offsets)
        series_id = self.rows.series_ids[first]
        own = self.own_freq(first)
        if own is not None and self.told:
            self.raise_mixed(first, own)
        lacks = lacking[_span(self.offsets, first)]
        hint = f" (its own steps are those of freq={own!r})" if own is not None else ""
        raise GapError(
            f"series {series_id!r} lacks {_counted(int(lacks.sum()), 'step')} of {self.freq_text}: "
            f"{self._first_missing(first, positions, mine, int(lacks.sum()))}{_and_others(others)}{hint}; "
            "pass missing_steps='insert' to add them as not observed, or use the repair 'resample'",
            series_id=series_id,
            field=self.rows.time_field,
        )

    def _first_missing(self, series: int, positions: IntArray, gaps: BoolArray, total: int) -> str:
        """The first missing steps of a series as text; `gaps` (T,) marks the rows before them."""
        span = _span(self.offsets, series)
        begins, ends = positions[span][gaps][:SHOWN], positions[span][1:][gaps[:-1]][:SHOWN]
        missing = [step for a, b in zip(begins, ends, strict=True) for step in range(a + 1, min(b, a + 1 + SHOWN))][:SHOWN]
        zone = self.rows.zone_of(series)
        moments = advance(self.clock, self.rows.timestamps[span][:1], np.array(missing), zone)
        return show_times(moments, zone, total=total)

    def raise_mixed(self, series: int, own: str | int) -> NoReturn:
        """Say which series has which frequency."""
        series_id, step = self.rows.series_ids[series], self.clock.freq
        others = [i for i in range(min(len(self.rows.series_ids), LOOKED_AT)) if i != series]
        example = next((self.rows.series_ids[i] for i in others if self.own_freq(i) == step), None)
        most = f", {example!r} by {step!r}" if example is not None else f", most rows by {step!r}"
        raise FrequencyError(
            f"the series step by different frequencies: {series_id!r} by {own!r}{most}; make one panel for each, bring them "
            f"to one clock by the repair 'resample', or, if rows are only missing, pass freq={step!r} with "
            "missing_steps='insert'",
            series_id=series_id,
            field=self.rows.time_field,
        )

    def own_freq(self, series: int) -> str | int | None:
        """The freq of a series that by itself is regular, without holes, and has at least three rows."""
        timestamps = self.rows.timestamps[_span(self.offsets, series)]
        if len(timestamps) < 3:
            return None
        alone, zone = np.array([0, len(timestamps)]), self.rows.zone_of(series)
        freq = infer_freq(timestamps, alone, zone)
        assert freq is not None  # it has three rows
        positions, on_grid = grid_positions(clock_of(freq), timestamps, alone, zone)
        return freq if on_grid.all() and (np.diff(positions) == 1).all() else None

    def filled_up(self, positions: IntArray, lacking: IntArray) -> tuple[Rows, IntArray]:
        """(rows with those that are missing, as NaN, and their offsets)."""
        rows, missing = self.rows, int(lacking.sum())
        if missing > max(MOST_INSERTED[0], MOST_INSERTED[1] * len(positions)):
            worst = int(np.argmax(np.add.reduceat(lacking, self.offsets[:-1])))
            raise GapError(
                f"{missing} steps of {self.freq_text} are missing between {len(positions)} rows, most in series "
                f"{rows.series_ids[worst]!r}; that many are not inserted: look for a wrong timestamp, or pass a coarser freq",
                series_id=rows.series_ids[worst],
                field=rows.time_field,
            )
        lengths = positions[self.offsets[1:] - 1] + 1
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        old = offsets[rows.codes] + positions  # where each row goes
        codes = np.repeat(np.arange(len(lengths)), lengths)
        new = np.ones(len(codes), dtype=bool)
        new[old] = False
        timestamps: TimeArray = np.empty(len(codes), dtype=rows.timestamps.dtype)  # type: ignore[assignment]  # one of the two
        timestamps[old] = rows.timestamps
        places = np.flatnonzero(new)
        firsts = rows.timestamps[self.offsets[:-1]][codes[places]]
        zones = zones_at(rows.tz, rows.zones, codes[places])
        timestamps[places] = advance(self.clock, firsts, places - offsets[codes[places]], zones)

        def spread(values: FloatArray) -> FloatArray:
            """NaN in the rows that are new."""
            wide = np.full((len(codes), *values.shape[1:]), np.nan)
            wide[old] = values
            return wide

        return replace(
            rows,
            codes=codes,
            timestamps=timestamps,
            target=spread(rows.target),
            covariates=None if rows.covariates is None else spread(rows.covariates),
            past_covariates=None if rows.past_covariates is None else spread(rows.past_covariates),
        ), offsets


def _missing_after(positions: IntArray, offsets: IntArray) -> IntArray:
    """Steps that are missing between each row and the next of its series, (N,)."""
    lacking = np.zeros(len(positions), dtype=np.int64)
    lacking[:-1] = np.diff(positions) - 1
    lacking[offsets[1:] - 1] = 0
    return lacking


def _strays(clock: Clock, timestamps: TimeArray, tz: str | None) -> BoolArray:
    """Rows of one series off the clock that most of its rows are on, (T,); all of them where they agree on another."""
    if clock.absolute:
        phase = timestamps.astype(np.int64) % clock.step
        off: BoolArray = phase != _most_frequent(phase)
        return off
    ordinals, since, on_grid = places_of(clock, wall_from_instants(timestamps.astype("datetime64[ns]"), tz))
    if not on_grid.any():
        return ~on_grid
    phase = ordinals % clock.step
    off = ~on_grid
    off |= since != _most_frequent(since[on_grid])
    off |= phase != _most_frequent(phase[on_grid])
    return off


def _most_frequent(values: IntArray) -> int:
    sizes, counts = np.unique(values, return_counts=True)
    return int(sizes[np.argmax(counts)])


def _span(offsets: IntArray, series: int | np.int64) -> slice:
    return slice(int(offsets[series]), int(offsets[series + 1]))


def _first_series(wrong: BoolArray, offsets: IntArray) -> tuple[int, int, BoolArray]:
    """(first series with a wrong row, number of other such series, its wrong rows (T,))."""
    series = np.unique(np.searchsorted(offsets, np.flatnonzero(wrong), side="right") - 1)
    first = int(series[0])
    return first, len(series) - 1, wrong[_span(offsets, first)]


# Words


def _if_local(rows: Rows, again: TimeArray) -> str:
    """A way out for hours that the clock shows twice when summer time ends."""
    if again.dtype.kind != "M" or rows.tz is not None:
        return ""
    hours = again.astype("datetime64[h]")
    of_day = (hours - again.astype("datetime64[D]")).astype(np.int64)
    night = of_day.max() <= 3 and int((hours.max() - hours.min()).astype(np.int64)) <= 1
    return "; if these are local hours that come twice when summer time ends, pass tz='Europe/Berlin' or alike" if night else ""


def _counted(count: int, word: str) -> str:
    return f"1 {word}" if count == 1 else f"{count} {word}s"


def _and_others(others: int) -> str:
    return f", and {others} more series likewise" if others else ""

"""Repair steps on the panel: holes, outliers, units, dead ends and short series, each with a log of what it changed."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from tsforecast.errors import CovariateError, FrequencyError, GapError, OptionError, SchemaError
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray, zone_fields
from tsforecast.preprocessing.calendar import BoolArray, advance, clock_of, grid_positions
from tsforecast.preprocessing.outlying import outliers_in
from tsforecast.preprocessing.repair import MOST_EMPTY
from tsforecast.preprocessing.repair_step import (
    Changes,
    PanelStep,
    changed_values,
    changes_of_rows,
    check_choice,
    check_least,
    check_numbers,
    removed_rows,
)
from tsforecast.preprocessing.robust import residual_and_unit, unit_factors

POOLED = "pooled"  # id of the series that short ones are added up in


@dataclass(frozen=True, kw_only=True, slots=True)
class FillHoles(PanelStep):
    """Values for rows that were not observed.

    linear: a straight line between the neighbours.   forward: the last observation.   constant: `value`.
    seasonal: a straight line between the same phases of the seasons before and after, one of them where there is one;
    linear where there is none.   none: nothing.
    """

    name: ClassVar[str] = "fill"
    METHODS: ClassVar[tuple[str, ...]] = ("none", "linear", "seasonal", "forward", "constant")
    method: str = "linear"
    value: float | None = None  # for "constant", units of the target
    limit: int | None = None  # rows of the longest hole that is filled, longer ones stay whole; None = any
    inside_only: bool = True  # False: also before the first and after the last observation of a series, from the nearest

    def __post_init__(self) -> None:
        check_choice(self, ("method", self.METHODS))
        check_numbers(self)
        check_least(self, limit=1)
        if (self.value is None) == (self.method == "constant"):
            way_out = "needs a value" if self.value is None else "takes no value"
            raise OptionError(f"repair 'fill': method {self.method!r} {way_out}", field="value")

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        hole = np.isnan(panel.target)
        if self.method == "none" or not hole.any():
            return panel, []
        starts, ends = np.repeat(panel.offsets[:-1], panel.lengths), np.repeat(panel.offsets[1:], panel.lengths)
        before, after = _neighbours(~hole, starts, ends)
        wanted = hole & (before >= 0) & (after < len(hole)) if self.inside_only else hole
        if self.limit is not None:
            wanted &= _run_lengths(hole, starts) <= self.limit
        if self.method == "constant":
            filled = np.full(len(hole), self.value)
        elif self.method == "forward":
            filled = np.where(before >= 0, panel.target[before], np.nan)
        else:
            filled = _between(panel.target, before, after)
            if self.method == "seasonal":
                by_season = _between_seasons(panel)
                filled = np.where(np.isnan(by_season), filled, by_season)
        target = np.where(wanted, filled, panel.target)
        return panel.with_target(target), changed_values(self.name, panel, target)


def _neighbours(seen: BoolArray, starts: IntArray, ends: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of the last true at or before, and the first true at or after each row of its series, (N,); -1 and N = none."""
    rows = np.arange(len(seen))
    before = np.maximum.accumulate(np.where(seen, rows, -1))
    after = np.minimum.accumulate(np.where(seen, rows, len(seen))[::-1])[::-1]
    return np.where(before >= starts, before, -1), np.where(after < ends, after, len(seen))


def _between(target: FloatArray, before: IntArray, after: IntArray) -> FloatArray:
    """Values on the line between two rows, (N,); that of the one there is, NaN where there is none."""
    none_before, none_after = before < 0, after >= len(target)
    left = np.where(none_before, after, before)
    right = np.where(none_after, before, after)
    nowhere = none_before & none_after
    left, right = np.where(nowhere, 0, left), np.where(nowhere, 0, right)
    weight = np.where(left == right, 0.0, (np.arange(len(target)) - left) / np.maximum(right - left, 1))
    line = np.where(left == right, target[left], (1 - weight) * target[left] + weight * target[right])
    return np.where(nowhere, np.nan, line)


def _between_seasons(panel: Panel) -> FloatArray:
    """Lines as above from season to season, phase by phase, (N,)."""
    row = panel.row_in_series()
    series = np.repeat(np.arange(len(panel)), panel.lengths)
    group = series * panel.season + row % panel.season
    order = np.argsort(group, kind="stable")  # rows of one phase of one series side by side, in time
    firsts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(np.append(firsts, len(order)))
    target = panel.target[order]
    filled = np.empty(len(order))
    filled[order] = _between(target, *_neighbours(~np.isnan(target), np.repeat(firsts, sizes), np.repeat(firsts + sizes, sizes)))
    return filled


def _run_lengths(true: BoolArray, starts: IntArray) -> IntArray:
    """Rows of the run of equals that each row is in, within its series, (N,)."""
    new = np.ones(len(true), dtype=bool)
    new[1:] = (true[1:] != true[:-1]) | (starts[1:] != starts[:-1])
    firsts = np.flatnonzero(new)
    sizes = np.diff(np.append(firsts, len(true)))
    return np.repeat(sizes, sizes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outliers(PanelStep):
    """Single values far from what season and neighbours say: those that a check names, see `outlying.outliers_in`.

    clip: to `threshold` deviations.   replace: by what the seasons say.   mask: NaN, for `fill` or the model.
    """

    name: ClassVar[str] = "outliers"
    METHODS: ClassVar[tuple[str, ...]] = ("clip", "replace", "mask")
    method: str = "replace"
    threshold: float = 8.0  # robust standard deviations of the residual

    def __post_init__(self) -> None:
        check_choice(self, ("method", self.METHODS))
        check_numbers(self)
        if self.threshold <= 0:
            raise OptionError(f"repair 'outliers': threshold must be above 0, got {self.threshold}", field="threshold")

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        far, _ = outliers_in(panel.target, panel.offsets, panel.season, threshold=self.threshold)
        residual, unit = residual_and_unit(panel.target, panel.offsets, panel.season)
        with np.errstate(over="ignore", invalid="ignore"):  # values near the largest float
            expected = panel.target - residual
            if self.method == "clip":
                expected = expected + np.sign(residual) * self.threshold * unit
        target = np.where(far & (np.isfinite(expected) | (self.method == "mask")), expected, panel.target)
        if self.method == "mask":
            target[far] = np.nan
        return panel.with_target(target), changed_values(self.name, panel, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitJumps(PanelStep):
    """Stretches in another unit than the rest of their series, such as grams among kilograms, are divided back."""

    name: ClassVar[str] = "unit_jumps"
    factors: tuple[float, ...] = (1000.0, 100.0, 10.0)  # looked for, and their inverses
    at_least: int = 3  # rows of a stretch; fewer are outliers

    def __post_init__(self) -> None:
        factors = self.factors if isinstance(self.factors, (list, tuple)) else ()
        numbers = [one for one in factors if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if not numbers or len(numbers) < len(factors) or not all(1 < one < 1e300 for one in numbers):
            message = f"repair 'unit_jumps': factors must be numbers above 1 such as [1000, 100, 10], got {self.factors!r}"
            raise OptionError(message, field="factors")
        object.__setattr__(self, "factors", tuple(map(float, numbers)))
        check_numbers(self)
        check_least(self, at_least=1)

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        wrong = unit_factors(panel.target, panel.offsets, panel.season, factors=self.factors, at_least=self.at_least)
        target = np.where(wrong == 1, panel.target, panel.target / wrong)
        return panel.with_target(target), changed_values(self.name, panel, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class NonNegative(PanelStep):
    """Negative values become 0, or NaN, where a quantity cannot be negative."""

    name: ClassVar[str] = "non_negative"
    to: str = "zero"  # "zero" | "missing"

    def __post_init__(self) -> None:
        check_choice(self, ("to", ("zero", "missing")))

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        target = np.where(panel.target < 0, 0.0 if self.to == "zero" else np.nan, panel.target)
        return panel.with_target(target), changed_values(self.name, panel, target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trim(PanelStep):
    """Series begin with their first and end with their last telling value; forecasts of a series begin after its last row.

    A series that is zero throughout stays; one without any observation goes where `missing` is true.
    """

    name: ClassVar[str] = "trim"
    leading_zeros: bool = True  # rows before the first value that is not zero
    dead_tail: bool = True  # rows after the last value that is not zero, where more than `longest`
    longest: int | None = None  # zeros at the end that are usual; None = a season, or the longest run of zeros inside the series
    missing: bool = True  # rows before the first and after the last observation

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, longest=0)

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        row, lengths = panel.row_in_series(), panel.lengths
        seen = ~np.isnan(panel.target)
        first, last = _ends(seen, row, panel)
        alive, last_alive = _ends(seen & (panel.target != 0), row, panel)
        begin, end = (first, last + 1) if self.missing else (np.zeros_like(lengths), lengths)
        never = last_alive < 0  # zero or missing throughout
        if self.leading_zeros:
            begin = np.where(never, begin, alive)
        if self.dead_tail:
            usual = np.maximum(panel.season, self._longest_inside(panel, row)) if self.longest is None else self.longest
            end = np.where(~never & (last - last_alive > usual), last_alive + 1, end)
        keep = (row >= np.repeat(begin, lengths)) & (row < np.repeat(end, lengths))
        return _kept(self.name, panel, keep)

    @staticmethod
    def _longest_inside(panel: Panel, row: IntArray) -> IntArray:
        """The longest run without a value other than zero between two of these, (S,)."""
        rows = np.flatnonzero(~np.isnan(panel.target) & (panel.target != 0))
        longest = np.zeros(len(panel), dtype=np.int64)
        series = np.searchsorted(panel.offsets, rows, side="right") - 1
        inner = np.diff(series) == 0
        np.maximum.at(longest, series[1:][inner], np.diff(row[rows])[inner] - 1)
        return longest


def _ends(true: BoolArray, row: IntArray, panel: Panel) -> tuple[IntArray, IntArray]:
    """Position of the first and the last true of each series, (S,); its length and -1 where there is none."""
    first = np.minimum.reduceat(np.where(true, row, np.repeat(panel.lengths, panel.lengths)), panel.offsets[:-1])
    return first, np.maximum.reduceat(np.where(true, row, -1), panel.offsets[:-1])


def _kept(step: str, panel: Panel, keep: BoolArray) -> tuple[Panel, list[Changes]]:
    """The panel with these rows (N,).

    Raises:
        SchemaError: none is left.
    """
    if keep.all():
        return panel, []
    if not keep.any():
        message = f"repair {step!r} leaves none of the {len(panel)} series; loosen its options, or look at the source"
        raise SchemaError(message, field=step)
    return panel.rows(keep), removed_rows(step, panel, keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class MinLength(PanelStep):
    """What becomes of series with fewer rows than a model needs.

    drop: they go.   pool: they are added up, timestamp by timestamp, in one series called "pooled".   keep: they stay; each
    is logged with its last value, old and new.
    """

    name: ClassVar[str] = "min_length"
    rows: int
    policy: str = "drop"

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, rows=1)
        check_choice(self, ("policy", ("drop", "pool", "keep")))

    def apply(self, panel: Panel) -> tuple[Panel, list[Changes]]:
        short = panel.lengths < self.rows  # (S,)
        if not short.any():
            return panel, []
        keep = np.repeat(~short, panel.lengths)
        if self.policy == "keep":
            last = panel.offsets[1:][short] - 1
            return panel, [changes_of_rows(self.name, panel, last, panel.target[last], panel.target[last])]
        if self.policy == "drop":
            return _kept(self.name, panel, keep)
        pooled = _pooled(panel.select(np.flatnonzero(short)))
        rest = panel.rows(keep)
        if POOLED in rest.series_ids:
            message = f"a series is called {POOLED!r} already, as the sum of short ones would be; rename it"
            raise SchemaError(message, series_id=POOLED, field="policy")
        whole = replace(
            rest,
            series_ids=(*rest.series_ids, POOLED),
            offsets=np.append(rest.offsets, rest.offsets[-1] + len(pooled.target)),
            timestamps=np.concatenate([rest.timestamps, pooled.timestamps]),
            target=np.concatenate([rest.target, pooled.target]),
            **(zone_fields((*map(str, map(rest.zone_of, range(len(rest)))), str(pooled.tz))) if panel.zones else {}),
        )
        here = np.arange(len(rest.target), len(whole.target))
        came = changes_of_rows(self.name, whole, here, np.full(len(here), np.nan), pooled.target)
        return whole, [*removed_rows(self.name, panel, keep), came]


def _pooled(panel: Panel) -> Panel:
    """The sum of all series as one, on their clock from the first to the last timestamp; NaN where none is observed.

    Raises:
        CovariateError: there are covariates or static features, which a sum has none of.
        FrequencyError, GapError: the series do not share one clock, or lie far apart.
    """
    if panel.covariate_names or panel.past_covariate_names or panel.static_real_names or panel.static_category_names:
        message = "repair 'min_length' cannot pool series with covariates or static features, a sum has none; use policy 'drop'"
        raise CovariateError(message, field="policy")
    if panel.zones:
        message = "repair 'min_length' cannot pool series of different time zones; use policy 'drop'"
        raise FrequencyError(message, field="policy")
    order = np.argsort(panel.timestamps, kind="stable")
    times: TimeArray = panel.timestamps[order]
    clock = clock_of(panel.freq)
    places, on_grid = grid_positions(clock, times, np.array([0, len(times)]), panel.tz)
    if not on_grid.all():
        stray = panel.series_ids[int(np.searchsorted(panel.offsets, order[np.argmax(~on_grid)], side="right")) - 1]
        message = f"series {stray!r} stands beside the clock of other short series, so they have no sum; use policy 'drop'"
        raise FrequencyError(message, series_id=stray, field="policy")
    length = int(places[-1]) + 1
    if length > len(times) + max(MOST_EMPTY[0], MOST_EMPTY[1] * len(times)):
        message = f"the short series lie {length} steps of {panel.freq!r} apart with {len(times)} rows; use policy 'drop'"
        raise GapError(message, field="policy")
    target = panel.target[order]
    seen = np.bincount(places, weights=~np.isnan(target), minlength=length) > 0
    total = np.bincount(places, weights=np.nan_to_num(target), minlength=length)
    if np.isinf(total).any():
        message = "repair 'min_length': the sum of the short series is beyond the largest number; use policy 'drop'"
        raise SchemaError(message, field="policy")
    return Panel(
        series_ids=(POOLED,),
        offsets=np.array([0, length]),
        timestamps=advance(clock, times[:1], np.arange(length), panel.tz),
        target=np.where(seen, total, np.nan),
        freq=panel.freq,
        season=panel.season,
        tz=panel.tz,
    )

"""What comes in: many series on one regular clock, validated once and stored end to end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
TimeArray = npt.NDArray[np.datetime64] | IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Many regular series, stored end to end without padding.

    Series i owns rows `offsets[i]:offsets[i + 1]`; inside a series rows ascend by exactly one step of `freq`.
    The arrays are read-only: a step that changes them returns a new panel.
    Build one with `tsforecast.panel_from_frame`, which checks all this; the constructor trusts its caller.
    """

    series_ids: tuple[str, ...]  # (S,) in order of first appearance
    offsets: IntArray  # (S + 1,) int64
    timestamps: TimeArray  # (N,) datetime64[ns], instants in UTC (naive input: as given) | int64 steps
    target: FloatArray  # (N,) float64, NaN = not observed
    freq: str | int  # pandas offset alias, e.g. "h", "W-SUN", "15min" | steps per row of an integer clock
    season: int  # steps in the main season, e.g. 24 for "h"; 1 = none
    tz: str | None = None  # IANA zone of the wall clock (daily and longer steps follow it); None = naive
    zones: tuple[str, ...] = ()  # (S,) where series have wall clocks of their own, `tz` is "UTC" then; () = all share `tz`
    covariates: FloatArray | None = None  # (N, C) float64, known in the future too; None = no covariates
    covariate_names: tuple[str, ...] = ()  # (C,)
    past_covariates: FloatArray | None = None  # (N, P) float64, known up to the present only; None = none
    past_covariate_names: tuple[str, ...] = ()  # (P,)
    static_reals: FloatArray | None = None  # (S, R) float64, one value for a whole series; None = none
    static_real_names: tuple[str, ...] = ()  # (R,)
    static_categories: tuple[tuple[str, ...], ...] = ()  # (S, K) words; () = none
    static_category_names: tuple[str, ...] = ()  # (K,)
    target_name: str = "y"  # of its column, where several channels stand side by side

    def __post_init__(self) -> None:
        for array in (self.offsets, self.timestamps, self.target, self.covariates, self.past_covariates, self.static_reals):
            if array is not None:
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.series_ids)

    def __iter__(self) -> Iterator[tuple[str, FloatArray]]:
        """Yield (series_id, target of that series with shape (T,))."""
        for i, series_id in enumerate(self.series_ids):
            yield series_id, self.target[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> IntArray:
        """Rows of each series, (S,)."""
        return np.diff(self.offsets)

    @property
    def is_integer_clock(self) -> bool:
        return isinstance(self.freq, int)

    def zone_of(self, series: int) -> str | None:
        """Zone of the wall clock of the series at index `series`; None = naive."""
        return self.zones[series] if self.zones else self.tz

    def last_timestamps(self) -> TimeArray:
        """Timestamp of the last row of each series, (S,)."""
        return self.timestamps[self.offsets[1:] - 1]

    def rows(self, keep: npt.NDArray[np.bool_]) -> "Panel":
        """The panel with only the rows where `keep` (N,) is true; series left without rows are gone.

        The caller keeps series regular, so cut only at their ends.
        """
        kept = np.add.reduceat(keep, self.offsets[:-1], dtype=np.int64) if len(self) else np.zeros(0, np.int64)
        alive = kept > 0
        return replace(
            self,
            **self._statics(np.flatnonzero(alive)),
            offsets=np.concatenate([[0], np.cumsum(kept[alive])]).astype(np.int64),
            timestamps=self.timestamps[keep],
            target=self.target[keep],
            covariates=None if self.covariates is None else self.covariates[keep],
            past_covariates=None if self.past_covariates is None else self.past_covariates[keep],
        )

    def _statics(self, chosen: IntArray) -> dict[str, Any]:
        """What belongs to a series as a whole, of the series at `chosen`."""
        return {
            **(zone_fields([self.zones[i] for i in chosen]) if self.zones else {}),
            "series_ids": tuple(self.series_ids[i] for i in chosen),
            "static_reals": None if self.static_reals is None else self.static_reals[chosen],
            "static_categories": tuple(self.static_categories[i] for i in chosen) if self.static_categories else (),
        }

    def row_in_series(self) -> IntArray:
        """Position of each row within its series, from 0, (N,)."""
        return np.arange(len(self.target)) - np.repeat(self.offsets[:-1], self.lengths)

    def without_last(self, steps: int) -> "Panel":
        """The panel as it was `steps` steps ago: the last `steps` rows of each series are gone.

        Series not longer than `steps` are gone altogether.
        """
        return self.rows(self.row_in_series() < np.repeat(self.lengths - steps, self.lengths))

    def tail(self, steps: int) -> "Panel":
        """The last `steps` rows of each series (all rows of a shorter one)."""
        return self.rows(self.row_in_series() >= np.repeat(self.lengths - steps, self.lengths))

    def until(self, moment: np.datetime64 | int) -> "Panel":
        """The panel as it was at `moment`: rows later than it are gone, rows at it stay."""
        keep: npt.NDArray[np.bool_] = np.less_equal(self.timestamps, moment)
        return self.rows(keep)

    def select(self, indices: npt.ArrayLike) -> "Panel":
        """The series at `indices` (integers), in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)  # (N',)
        return replace(
            self,
            **self._statics(chosen),
            offsets=offsets,
            timestamps=self.timestamps[rows],
            target=self.target[rows],
            covariates=None if self.covariates is None else self.covariates[rows],
            past_covariates=None if self.past_covariates is None else self.past_covariates[rows],
        )

    def with_target(self, target: FloatArray) -> "Panel":
        """The same rows with other values, (N,)."""
        return replace(self, target=target)


def moment_number(moment: np.datetime64 | int | np.integer[Any]) -> int:
    """A timestamp as nanoseconds since 1970; a step of an integer clock as it is."""
    return int(moment.astype("M8[ns]").astype(np.int64)) if isinstance(moment, np.datetime64) else int(moment)


def zone_fields(zones: Sequence[str]) -> dict[str, Any]:
    """The fields `tz` and `zones` of a panel whose series have the wall clocks `zones` (S,)."""
    if len(set(zones)) == 1:
        return {"tz": zones[0], "zones": ()}
    return {"tz": "UTC", "zones": tuple(zones)}


def wall_labels(timestamps: TimeArray, tz: str | None, zones: tuple[str, ...] = ()) -> "pd.Index[Any]":
    """Timestamps as their owners write them, (S * H,): with the zone, or each with that of its series, or as they are.

    Args:
        timestamps: (S, H) instants in UTC, naive moments, or integer steps.
        tz: zone that all series share; None = naive.
        zones: (S,) where they differ; the labels are Python objects then, as no other column holds two zones.
    """
    import pandas as pd

    if tz is None:
        return pd.Index(timestamps.ravel())
    index = pd.DatetimeIndex(timestamps.ravel()).tz_localize("UTC")
    if not zones:
        return index.tz_convert(tz)
    labels = np.empty(len(index), dtype=object)
    owner = np.repeat(np.asarray(zones, dtype=object), timestamps.shape[1])
    for zone in dict.fromkeys(zones):
        labels[owner == zone] = index[owner == zone].tz_convert(zone).astype(object)
    return pd.Index(labels, dtype=object)

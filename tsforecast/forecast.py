"""What goes out: quantiles of the future of each series."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, TimeArray, wall_labels

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_QUANTILE_LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Predictive quantiles in the units of the target, non-decreasing along Q."""

    series_ids: tuple[str, ...]  # (S,)
    timestamps: TimeArray  # (S, H) datetime64[ns], instants in UTC (naive input: as given) | int64 steps
    quantile_levels: tuple[float, ...]  # (Q,) ascending, inside (0, 1)
    quantiles: FloatArray  # (S, H, Q) float64
    tz: str | None = None  # zone of the panel, for the wall clock of `to_frame`
    zones: tuple[str, ...] = ()  # (S,) where series have wall clocks of their own, `tz` is "UTC" then; () = all share `tz`
    fallbacks: tuple[tuple[str, str], ...] = ()  # (series id, why its model could not forecast it and what did instead)

    def __post_init__(self) -> None:
        expected = (*self.timestamps.shape, len(self.quantile_levels))
        if self.quantiles.shape != expected or len(self.series_ids) != expected[0]:
            raise ValueError(
                f"quantiles must have shape (S, H, Q) = {expected} for {len(self.series_ids)} series, got {self.quantiles.shape}"
            )
        if len(self.zones) not in (0, expected[0]):
            raise ValueError(f"zones must have shape (S,) = ({expected[0]},) or be empty, got {len(self.zones)}")
        for array in (self.timestamps, self.quantiles):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.series_ids)

    @property
    def horizon(self) -> int:
        """Steps ahead, H."""
        return int(self.timestamps.shape[1])

    def quantile(self, level: float) -> FloatArray:
        """Quantile `level`, (S, H); between two levels of the forecast, interpolated; outside them, an error."""
        levels = np.asarray(self.quantile_levels)
        if not levels[0] - 1e-12 <= level <= levels[-1] + 1e-12:
            raise OptionError(
                f"quantile level {level} lies outside the forecast's {levels[0]} … {levels[-1]}; ask for it in predict",
                field="quantile_levels",
            )
        upper = int(np.clip(np.searchsorted(levels, level - 1e-12), 1, max(len(levels) - 1, 1))) if len(levels) > 1 else 0
        if upper == 0:
            return self.quantiles[:, :, 0]
        weight = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
        found: FloatArray = (1 - weight) * self.quantiles[:, :, upper - 1] + weight * self.quantiles[:, :, upper]
        return found

    @property
    def median(self) -> FloatArray:
        """The point forecast, (S, H)."""
        return self.quantile(0.5)

    def zone_of(self, series: int) -> str | None:
        """Zone of the wall clock of the series at index `series`; None = naive."""
        return self.zones[series] if self.zones else self.tz

    def to_frame(self) -> "pd.DataFrame":
        """One row per (series, step): unique_id, ds, then one column per level named by it ("0.1" …).

        `ds` is on the wall clock of the series; where their zones differ it holds objects, each with its own.
        """
        import pandas as pd

        series, horizon, levels = self.quantiles.shape
        ids = np.repeat(np.asarray(self.series_ids, dtype=object), horizon)
        columns: dict[str, object] = {"unique_id": ids, "ds": wall_labels(self.timestamps, self.tz, self.zones)}
        flat = self.quantiles.reshape(series * horizon, levels)
        columns |= {str(level): flat[:, q] for q, level in enumerate(self.quantile_levels)}
        return pd.DataFrame(columns)


def check_quantile_levels(quantile_levels: Sequence[float]) -> tuple[float, ...]:
    """The levels as an ascending tuple.

    Raises:
        OptionError: no level, a level outside (0, 1), or levels that do not ascend.
    """
    levels = tuple(float(level) for level in quantile_levels)
    if not levels:
        raise OptionError("quantile_levels is empty; ask for at least one, e.g. [0.1, 0.5, 0.9]", field="quantile_levels")
    outside = [level for level in levels if not 0 < level < 1]
    if outside:
        raise OptionError(f"quantile_levels must lie in (0, 1), got {outside[0]}", field="quantile_levels")
    if any(b <= a for a, b in pairwise(levels)):
        raise OptionError(f"quantile_levels must ascend without repeats, got {list(levels)}", field="quantile_levels")
    return levels


def interpolate_levels(quantiles: FloatArray, levels: Sequence[float], asked: Sequence[float]) -> FloatArray:
    """Quantiles (…, Q) at `levels` -> quantiles (…, Q') at `asked`, non-decreasing.

    Between two levels the quantile is linear in the normal score of the level, and so it goes on beyond the
    outermost ones: exact for a normal distribution, and never crossing.
    """
    from scipy.special import ndtri

    if tuple(levels) == tuple(asked):
        return quantiles
    known, wanted = ndtri(np.asarray(levels)), ndtri(np.asarray(asked))  # normal scores
    if len(known) == 1:
        return np.repeat(quantiles, len(wanted), axis=-1)
    upper = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)  # (Q',)
    weight = (wanted - known[upper - 1]) / (known[upper] - known[upper - 1])
    found = quantiles[..., upper - 1] * (1 - weight) + quantiles[..., upper] * weight
    return np.maximum.accumulate(found, axis=-1)

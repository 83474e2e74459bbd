"""What else a fitted detector can do with a panel: take the noise out, fill holes, squeeze windows into a few numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows, channel_names, channel_values
from tsforecast.models.fitted_detector import FittedDetector, Memory
from tsforecast.models.holes import mixed
from tsforecast.models.noise import without_noise
from tsforecast.panel import FloatArray, Panel, wall_labels

if TYPE_CHECKING:
    import pandas as pd

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Imputation:
    """A panel whose holes are filled, and which of them."""

    panel: Panel
    filled: BoolArray  # (N, C) values that were not observed and are there now
    left: BoolArray  # (N, C) values that are still missing: before the first or after the last observation of a series

    def to_frame(self) -> "pd.DataFrame":
        """One row for each value filled or left: unique_id, ds, channel, value (units of the channel; NaN = left)."""
        import pandas as pd

        panel = self.panel
        values = np.concatenate([channel_values(panel, i) for i in range(len(panel))]) if len(panel) else self.filled[:, :0]
        rows, channels = np.nonzero(self.filled | self.left)
        owner = np.searchsorted(panel.offsets, rows, side="right") - 1
        zones = tuple(panel.zones[i] for i in owner) if panel.zones else ()
        return pd.DataFrame(
            {
                "unique_id": np.asarray(panel.series_ids, dtype=object)[owner],
                "ds": wall_labels(panel.timestamps[rows][:, None], panel.tz, zones),
                "channel": np.asarray(channel_names(panel), dtype=object)[channels],
                "value": values[rows, channels],
            }
        )


def denoise(detector: FittedDetector, panel: Panel) -> Panel:
    """All channels without their noise: each value moved towards what its surroundings let the networks expect.

    How far, is told for each series and channel: by the variance of the noise, read from the spectrum, over that of what the
    expectation is off by where nothing was learnt from (`noise.without_noise`). Noise is what has no memory from step to step;
    a channel without such noise, and one that the networks do not understand, stays nearly as it was.

    What was missing stays missing; a step that no window covers stays as it was, as in a series shorter than half a window,
    and so does a channel with fewer than 32 values.

    Raises:
        OptionError: the detector cannot; FrequencyError, CovariateError, SchemaError: not a panel for this detector.
    """
    detector.require("denoise")
    found = []
    for rows, memory, before in _each_series(detector, panel):
        unseen = memory.new(rows.timestamps)
        said = rows.values.copy()
        for c in range(said.shape[1]):
            said[:, c] = without_noise(rows.values[:, c], rows.season, _reconstruct(detector, rows), unseen=unseen)
        found.append(memory.scale.back(said[before:]))
    return _with_channels(panel, found)


def _reconstruct(detector: FittedDetector, rows: Rows) -> Callable[[FloatArray], list[FloatArray]]:
    """Values (T,) of one channel at the times of `rows` -> what each network makes of them."""

    def reconstruct(column: FloatArray) -> list[FloatArray]:
        return [course[:, 0] for course in detector.core.reconstructions(replace(rows, values=column[:, None]))]

    return reconstruct


def impute(detector: FittedDetector, panel: Panel) -> Imputation:
    """All holes between two observations of a channel filled; what was observed is left as it is.

    The networks look at windows whose holes the seasons or a straight line have filled; how much of what they say, of the
    seasons and of the line goes into a hole is decided by what does best on holes of the same lengths made where the values
    are known, for each series and channel. Holes at the ends of a series stay: what comes there is a forecast.

    Raises:
        OptionError: the detector cannot; FrequencyError, CovariateError, SchemaError: not a panel for this detector.
    """
    detector.require("impute")
    found, filled, left = [], [], []
    for rows, memory, before in _each_series(detector, panel):
        values = rows.values.copy()
        for c in range(values.shape[1]):
            values[:, c] = _filled(detector, rows, c)
        had, has = np.isfinite(rows.values[before:]), np.isfinite(values[before:])
        found.append(memory.scale.back(values[before:]))
        filled.append(has & ~had)
        left.append(~has)
    whole = [np.concatenate(one) if one else np.zeros((0, len(channel_names(panel))), dtype=bool) for one in (filled, left)]
    restored = [np.where(new, value, channel_values(panel, i)) for i, (new, value) in enumerate(zip(filled, found, strict=True))]
    return Imputation(panel=_with_channels(panel, restored), filled=whole[0], left=whole[1])


def _filled(detector: FittedDetector, rows: Rows, channel: int) -> FloatArray:
    """One channel, standardised, (T,), without holes inside."""
    values = rows.values[:, channel]
    seen = np.flatnonzero(np.isfinite(values))
    if len(seen) < 2:
        return values.copy()
    inside = slice(int(seen[0]), int(seen[-1]) + 1)
    wanted = ~np.isfinite(values[inside])
    if not wanted.any():
        return values.copy()

    reconstruct = _reconstruct(detector, replace(rows, timestamps=rows.timestamps[inside]))
    found = values.copy()
    found[inside] = mixed(values[inside], rows.season, reconstruct, wanted=wanted)
    return found


def latent(detector: FittedDetector, panel: Panel, every: int | None = None) -> "pd.DataFrame":
    """The few numbers that each window is squeezed into: unique_id, ds (last step of the window), z0, z1 …

    Args:
        every: steps from a window to the next; None = half a window. Of several channels, columns are "cpu_z0" and so on.

    A window that is observed for less than half has NaN.

    Raises:
        OptionError: the detector cannot, or `every` is no positive number; and those of `denoise`.
    """
    import pandas as pd

    detector.require("latent")
    if every is None:
        every = max(detector.core.width // 2, 1)
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise OptionError(f"every must be a number of steps from 1 on, or none for half a window, got {every!r}", field="every")
    parts = []
    for series, (rows, _, before) in enumerate(_each_series(detector, panel)):
        ends, codes = detector.core.encode(rows.last(len(rows) - before), every=every)
        names = [f"z{d}" for d in range(codes.shape[2])]
        if codes.shape[1] > 1:
            names = [f"{channel}_{name}" for channel in channel_names(panel) for name in names]
        times = rows.timestamps[before:][ends]
        zone = panel.zone_of(series)
        columns: dict[str, Any] = {"unique_id": panel.series_ids[series], "ds": wall_labels(times[:, None], zone)}
        columns |= dict(zip(names, codes.reshape(len(ends), -1).T, strict=True))
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"unique_id": [], "ds": []})


def _each_series(detector: FittedDetector, panel: Panel) -> Iterator[tuple[Rows, Memory, int]]:
    """(standardised rows with those of the fit before them, what is remembered, how many rows those are) of each series."""
    detector.check_request(panel)
    for series, series_id in enumerate(panel.series_ids):
        memory = detector.memory_of(series_id, channel_values(panel, series))
        rows, before = detector.looking_back(panel, series, memory)
        yield rows, memory, before


def _with_channels(panel: Panel, found: list[FloatArray]) -> Panel:
    """`panel` with other channels, (T, C) of each series."""
    if not found:
        return panel
    values = np.concatenate(found)
    past = None if panel.past_covariates is None else np.ascontiguousarray(values[:, 1:])
    return replace(panel, target=np.ascontiguousarray(values[:, 0]), past_covariates=past)

"""Raw frame -> Panel. The only place where untrusted data is looked at."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tsforecast.errors import FrequencyError, SchemaError
from tsforecast.panel import Panel
from tsforecast.preprocessing.calendar import default_season, normalise_freq


def panel_from_frame(
    frame: pd.DataFrame | pd.Series,
    freq: str | int | None = None,
    season: int | None = None,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    *,
    covariates: Sequence[str] = (),
    missing_steps: str = "error",
) -> Panel:
    """Happy path; being deepened."""
    if isinstance(frame, pd.Series):
        frame = pd.DataFrame({id_col: str(frame.name or "series"), time_col: frame.index, target_col: frame.to_numpy()})
    missing = [column for column in (time_col, target_col) if column not in frame.columns]
    if missing:
        raise SchemaError(f"frame lacks columns {missing}; it has {list(frame.columns)}")
    keys = frame[id_col] if id_col in frame.columns else pd.Series(["series"] * len(frame))
    codes, ids = pd.factorize(keys)
    times = frame[time_col]
    tz = None
    if times.dtype.kind in "iu":
        stamps = times.to_numpy(np.int64)
    else:
        index = pd.DatetimeIndex(times)
        tz = None if index.tz is None else str(index.tz)
        stamps = (index if index.tz is None else index.tz_convert("UTC").tz_localize(None)).to_numpy().astype("datetime64[ns]")
    order = np.lexsort([stamps, codes])
    stamps = stamps[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int64)
    if freq is None:
        if stamps.dtype.kind == "i":
            freq = 1
        else:
            longest = int(np.argmax(np.diff(offsets)))
            freq = pd.infer_freq(pd.DatetimeIndex(stamps[offsets[longest] : offsets[longest + 1]]))
            if freq is None:
                raise FrequencyError("cannot tell freq")
    freq = normalise_freq(freq)
    return Panel(
        series_ids=tuple(map(str, ids)),
        offsets=offsets,
        timestamps=stamps,
        target=frame[target_col].to_numpy(dtype=np.float64)[order],
        freq=freq,
        season=season or default_season(freq),
        tz=tz,
        covariates=frame[list(covariates)].to_numpy(dtype=np.float64)[order] if covariates else None,
        covariate_names=tuple(covariates),
    )

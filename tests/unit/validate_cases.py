"""Frames of hours, and when two panels are one."""

import numpy as np
import pandas as pd

from tsforecast.panel import Panel

HOURS = pd.date_range("2024-01-01", periods=48, freq="h")
ALIASES = [
    *("h", "2h", "6h", "15min", "90min", "min", "s", "30s", "ms", "D", "2D", "30D", "B"),
    *("W-SUN", "W-MON", "W-WED", "2W-FRI", "4W-MON", "MS", "ME", "2MS", "BMS", "BME", "SMS", "SME"),
    *("QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV", "BQS-JAN", "BQE-DEC", "YS-JAN", "YS-JUL", "YE-DEC", "YE-JUN", "BYE-DEC", "2YS-JAN"),
]


def frame_of(**clocks):
    """A long frame with one series per argument; the values count up over all rows."""
    parts = [pd.DataFrame({"unique_id": name, "ds": clock}) for name, clock in clocks.items()]
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(y=np.arange(len(frame), dtype=float))


def same(one: Panel, other: Panel) -> bool:
    arrays = ("offsets", "timestamps", "target", "covariates")
    facts = ("series_ids", "freq", "season", "tz", "zones", "covariate_names")
    return all(getattr(one, name) == getattr(other, name) for name in facts) and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name in ("target", "covariates"))
        for name in arrays
        if getattr(one, name) is not None or getattr(other, name) is not None
    )

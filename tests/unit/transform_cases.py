"""Panels, forecasts and the whole table of transforms with their options, for the tests of transforms."""

from itertools import product

import numpy as np
from hypothesis import strategies as st

from tsforecast.forecast import Forecast
from tsforecast.panel import Panel
from tsforecast.preprocessing.scaling import Scale

NAN = np.nan
SMALLEST, LARGEST = 1e-300, 1e300
SCALES = [("scale", {"method": method, "scope": scope}) for method, scope in product(Scale.METHODS, ("series", "panel"))]
POWERS = [(name, {"scope": scope}) for name, scope in product(("box_cox", "yeo_johnson"), ("series", "panel"))]
LOGITS = [
    ("logit", {"low": 0.0, "high": 1.0, "margin": 0.0}),
    ("logit", {"low": 0.0, "high": 1.0}),
    ("logit", {"margin": 0.1}),
    ("logit", {"scope": "panel"}),
    ("logit", {"low": 0.0, "scope": "panel"}),
]
FILLS = [
    *(("fill", {"method": method}) for method in ("linear", "seasonal", "forward", "none")),
    ("fill", {"method": "constant", "value": -1.5, "limit": 2}),
]
SEASONS = [("deseasonalise", {}), ("deseasonalise", {"season": 2})]
MAPS = [*SCALES, ("log1p", {}), *POWERS, *LOGITS, *SEASONS]  # those that change observed values
EVERY = [*FILLS, *MAPS]


def case_id(case):
    return "-".join(str(part) for part in case.values()) if isinstance(case, dict) else str(case)


def panel_of(season=2, **series):
    lengths = [len(values) for values in series.values()]
    return Panel(
        series_ids=tuple(series),
        offsets=np.cumsum([0, *lengths]),
        timestamps=np.concatenate([np.arange(length) for length in lengths]),
        target=np.concatenate([np.asarray(values, dtype=float) for values in series.values()]),
        freq=1,
        season=season,
    )


def forecast_of(panel, values):
    shape = (len(panel), 1, len(values))
    return Forecast(
        series_ids=panel.series_ids,
        timestamps=np.zeros(shape[:2], dtype=np.int64),
        quantile_levels=tuple(np.linspace(0.1, 0.9, len(values))),
        quantiles=np.broadcast_to(np.asarray(values, dtype=float), shape).copy(),
    )


def domain_of(name, options):
    """Smallest and largest value the transform takes, and whether these two themselves are taken."""
    if name == "log1p" or (name == "logit" and options.get("low") == 0.0 and "high" not in options):
        return 0.0, LARGEST, True
    if name == "box_cox":
        return SMALLEST, LARGEST, True
    if name == "logit" and "high" in options:
        return 0.0, 1.0, options.get("margin") != 0.0
    return -LARGEST, LARGEST, True


@st.composite
def panels(draw, low, high, ends, *, tame=False):
    """Up to three ragged series of any values between `low` and `high`: wild, constant, never observed, with holes."""
    span = {"allow_subnormal": False, "exclude_min": not ends, "exclude_max": not ends}
    known = [-LARGEST, -1e9, -1.0, -1e-9, -SMALLEST, 0.0, SMALLEST, 1e-9, 0.5, 1.0, 1e9, LARGEST]
    corner = st.sampled_from([one for one in known if low < one < high or (ends and low <= one <= high)])
    calm = st.floats(max(low, -10.0), min(high, 10.0), **span)
    wild = calm if tame else st.floats(low, high, **span)
    series = {}
    for i in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 7))
        value = draw(st.sampled_from([calm, wild, corner]))
        kind = draw(st.sampled_from(["varied", "varied", "holes", "constant", "never"]))
        if kind == "never":
            series[f"s{i}"] = [NAN] * size
        elif kind == "constant":
            series[f"s{i}"] = [draw(value)] * size
        else:
            one = value if kind == "varied" else st.one_of(st.just(NAN), value)
            series[f"s{i}"] = draw(st.lists(one, min_size=size, max_size=size))
    return panel_of(season=1 + len(series), **series)

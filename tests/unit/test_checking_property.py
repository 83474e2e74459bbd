"""Whatever comes in, a check says what is wrong with it, or raises an error of ours: never anything else, never a warning."""

import datetime as dt
import json
import os
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsforecast.checking.whole import check
from tsforecast.errors import ForecastError
from tsforecast.preprocessing.validate import panel_from_frame

BERLIN = "Europe/Berlin"
TEXTS = st.sampled_from(["a", "A", " a", "b", "", "1", "\x00", "a\x00b", "ü", "\ud800", "<script>", "2024-01-31", "nan", "1e5"])
ISO_TEXTS = st.sampled_from(
    ["2024-01-01", "2024-01-02T00:00", "2024-03-31T02:30:00", "2024-01-03T00:00:00+01:00", "20240104", "2024-02-30", "9999-01-01"]
)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 5.0, -1.0, 1e308, -0.0])
MOMENTS = st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2300, 1, 1)) | st.integers(0, 60).map(
    lambda day: dt.datetime(2024, 1, 1) + dt.timedelta(days=day)
)
AWARE = st.integers(0, 9000).map(lambda hour: pd.Timestamp("2024-01-01", tz=BERLIN) + pd.Timedelta(hours=hour))
ODD = st.sampled_from([None, pd.NaT, pd.NA, True, 10**400, Decimal("1.5"), b"1", 1j, np.complex128(1), (1,), dt.time(3)])
UNHASHABLE = st.sampled_from([[1], {}, {1}, np.arange(2)])
KINDS = ("clock", "clock", "zoned", "steps", "floats", "counts", "texts", "iso", "objects", "moments", "other")
STEPS = ("int64", "Int8", "float32", "category", "object")
COUNTS = ("uint8", "int64", "Float64", "boolean", "complex128")
ANY = TEXTS | ISO_TEXTS | NUMBERS | MOMENTS | AWARE | ODD | UNHASHABLE | st.integers(-(2**70), 2**70) | st.dates() | st.booleans()


def columns_of(rows: int, draw: Any) -> Any:
    """One column of that many rows, of a type that is likely to matter or of any mixture."""

    def some(strategy: Any) -> list[Any]:
        return draw(st.lists(strategy, min_size=rows, max_size=rows))

    start = draw(st.sampled_from(["2024-01-01", "2024-03-30", "1680-01-01"]))
    freq = draw(st.sampled_from(["h", "D", "MS", "B", "30min", "7D"]))
    kind = draw(
        st.sampled_from(["clock", "clock", "zoned", "steps", "floats", "counts", "texts", "iso", "objects", "moments", "other"])
    )
    if kind == "clock":
        return pd.Series(pd.date_range(start, periods=rows, freq=freq))
    if kind == "zoned":
        return pd.Series(pd.date_range(start, periods=rows, freq=freq, tz=BERLIN))
    if kind == "steps":
        return pd.Series(some(st.integers(-5, 30)), dtype=draw(st.sampled_from(STEPS)))
    if kind == "floats":
        return pd.Series(some(NUMBERS), dtype="float64")
    if kind == "counts":
        return pd.Series(some(st.integers(0, 1)), dtype=draw(st.sampled_from(COUNTS)))
    if kind == "texts":
        return pd.Series(some(TEXTS)) if draw(st.booleans()) else pd.Series(some(ISO_TEXTS), dtype="category")
    if kind == "iso":
        return pd.Series(some(ISO_TEXTS), dtype="object")
    if kind == "moments":
        return pd.Series(some(MOMENTS | AWARE), dtype="object")
    if kind == "objects":
        return pd.Series(some(ANY), dtype="object")
    periods = pd.period_range("2024-01", periods=rows, freq=draw(st.sampled_from(["M", "D"])))
    return pd.Series(draw(st.sampled_from([periods, pd.to_timedelta(np.arange(rows), unit="h"), pd.interval_range(0, rows)])))


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    rows = draw(st.integers(0, 30))
    names = draw(st.lists(st.sampled_from(["unique_id", "ds", "y", "x"]), min_size=2, max_size=5))
    if draw(st.integers(0, 9)):  # mostly those that are needed
        names = list(dict.fromkeys(["ds", "y", *names]))
    frame = pd.concat([columns_of(rows, draw).rename(name) for name in names], axis=1)
    shape = draw(st.sampled_from(["long", "long", "long", "wide", "indexed", "levels"]))
    if shape == "wide":
        return frame.set_axis(pd.date_range("2024-01-01", periods=len(frame), freq="D"), axis=0)
    if shape == "indexed" and "ds" in names and names.count("ds") == 1 and frame["ds"].dtype != object:
        return frame.set_index("ds")
    if shape == "levels":
        return frame.set_axis(pd.MultiIndex.from_product([["a"], range(len(frame))]), axis=0)
    return frame


@settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(frames(), st.sampled_from([None, "h", "D", "x", 1]), st.sampled_from([None, 1, 7]), st.booleans())
def test_any_frame_gives_a_report_or_an_error_of_ours(frame: pd.DataFrame, freq: Any, season: Any, beside: bool) -> None:
    asked: dict[str, Any] = {"covariates": ["x"], "future": frame, "horizon": 3} if beside else {}
    before = frame.copy(deep=True)
    try:
        report = check(frame, freq=freq, season=season, **asked)
    except ForecastError:
        return
    pd.testing.assert_frame_equal(frame, before)
    json.dumps(report.to_json(), allow_nan=False)
    report.to_text(most=3).encode("utf-8")
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert errors or report.refusal is None
    assert all(finding.kind != "refused" for finding in report.findings), report.refusal
    if report.refusal is None:
        panel_from_frame(frame, freq, season, covariates=asked.get("covariates", ()))

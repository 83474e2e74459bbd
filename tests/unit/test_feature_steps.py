"""Features that follow from the clock, lags and rolling statistics, by hand and against loops; and what a flow does with them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsforecast
from tsforecast.backtest import backtest
from tsforecast.errors import ArtifactError, CovariateError, FrequencyError, HorizonError, OptionError
from tsforecast.flow import FittedFlow, ForecastFlow, load_model
from tsforecast.forecast import Forecast
from tsforecast.models.base import About, Facts, Forecaster, Predictor
from tsforecast.models.linear import Linear
from tsforecast.models.seasonal_naive import SeasonalNaive
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.calendar import calendar_features, future_timestamps
from tsforecast.preprocessing.feature import Feature, KnownFeature, Moments, PastFeature, future_of, with_known, with_past
from tsforecast.preprocessing.features import FEATURES, build_feature, feature_from_json
from tsforecast.preprocessing.past_features import STATISTICS
from tsforecast.preprocessing.transforms import Scale
from tsforecast.tracking.pyfunc import ServedFlow, long_frame

NAN = np.nan


def daily(start: str = "2024-01-01", freq: str = "D", tz: str | None = None, **series: Sequence[float]) -> Panel:
    frames = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range(start, periods=len(y), freq=freq, tz=tz), "y": y})
        for name, y in series.items()
    ]
    return tsforecast.panel_from_frame(pd.concat(frames), freq=freq)


def integers(**series: Sequence[float]) -> Panel:
    lengths = [len(y) for y in series.values()]
    return Panel(
        series_ids=tuple(series),
        offsets=np.cumsum([0, *lengths]),
        timestamps=np.concatenate([np.arange(length) for length in lengths]),
        target=np.concatenate([np.asarray(y, dtype=float) for y in series.values()]),
        freq=1,
        season=1,
    )


def known(feature: Feature, panel: Panel) -> dict[str, list[float]]:
    """Column name -> values of the rows."""
    fitted = feature.fit(panel)
    assert isinstance(fitted, KnownFeature)
    return dict(zip(fitted.names, fitted.columns(Moments.of_rows(panel)).T.tolist(), strict=True))


def past(feature: Feature, panel: Panel) -> dict[str, list[float]]:
    fitted = feature.fit(panel)
    assert isinstance(fitted, PastFeature)
    return dict(zip(fitted.names, fitted.columns(panel).T.tolist(), strict=True))


# Calendar


def test_the_cyclic_calendar_is_that_of_the_networks() -> None:
    panel = daily(freq="h", a=np.zeros(50))
    fitted = build_feature("calendar").fit(panel)
    waves, names = calendar_features(panel.timestamps, panel.freq)
    assert isinstance(fitted, KnownFeature) and fitted.names == names
    np.testing.assert_array_equal(fitted.columns(Moments.of_rows(panel)), waves)


def test_the_plain_calendar_says_numbers_that_a_person_reads_off_the_wall() -> None:
    panel = daily("2024-02-29 23:00", freq="h", a=[0, 0], b=[0])
    found = known(
        build_feature("calendar", cyclic=False, plain=True, which=["hour_of_day", "day_of_week", "month_of_year"]), panel
    )
    assert found == {"hour_of_day": [23, 0, 23], "day_of_week": [3, 4, 3], "month_of_year": [2, 3, 2]}  # a Thursday, then March
    every = known(build_feature("calendar", cyclic=False, plain=True), panel)
    assert list(every) == [
        "hour_of_day", "day_of_week", "weekend", "day_of_month", "day_of_year", "month_of_year", "quarter_of_year",
    ]  # fmt: skip
    assert (every["day_of_year"], every["quarter_of_year"], every["weekend"]) == ([60, 61, 60], [1, 1, 1], [0, 0, 0])
    assert known(build_feature("calendar", cyclic=False, plain=True, which=["year"]), panel)["year"] == [2024] * 3
    seconds = known(build_feature("calendar", cyclic=False, plain=True), daily("2024-01-06 00:59:30", freq="30s", a=[0, 0]))
    assert (seconds["second_of_minute"], seconds["minute_of_hour"], seconds["weekend"]) == ([30, 0], [59, 0], [1, 1])


@pytest.mark.parametrize(
    ("freq", "names"),
    [
        ("MS", ["month_of_year", "quarter_of_year"]),
        ("W-SUN", ["day_of_month", "day_of_year", "month_of_year", "quarter_of_year"]),
        ("B", ["day_of_week", "day_of_month", "day_of_year", "month_of_year", "quarter_of_year"]),
        ("SMS", ["day_of_month", "day_of_year", "month_of_year", "quarter_of_year"]),
        ("24h", ["day_of_week", "weekend", "day_of_month", "day_of_year", "month_of_year", "quarter_of_year"]),
    ],
)
def test_only_what_changes_from_step_to_step_becomes_a_column(freq: str, names: list[str]) -> None:
    assert list(known(build_feature("calendar", cyclic=False, plain=True), daily(freq=freq, a=np.zeros(30)))) == names


def test_the_wall_clock_of_each_series_counts() -> None:
    # 23:00 UTC is midnight of the next day in Berlin, and 18:00 of the same in New York.
    times = pd.date_range("2024-01-01 23:00", periods=2, freq="h", tz="UTC")
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": name, "ds": times.tz_convert(zone).astype(object), "y": 0.0})
            for name, zone in (("be", "Europe/Berlin"), ("ny", "America/New_York"))
        ]
    )
    panel = tsforecast.panel_from_frame(frame, freq="h")
    feature = build_feature("calendar", cyclic=False, plain=True, which=["hour_of_day", "day_of_month"])
    assert known(feature, panel) == {"hour_of_day": [0, 1, 18, 19], "day_of_month": [2, 2, 1, 1]}
    fitted = feature.fit(panel)
    assert isinstance(fitted, KnownFeature)
    future = future_of(panel, [fitted], 1)
    assert future is not None and future[:, 0].tolist() == [[2, 2], [20, 1]]


def test_a_daily_series_of_a_zone_has_the_day_of_its_wall_clock_over_the_change_to_summer_time() -> None:
    panel = daily("2024-03-30", tz="Europe/Berlin", a=[0, 0, 0])  # 31 March has 23 hours
    found = known(build_feature("calendar", cyclic=False, plain=True, which=["day_of_month"]), panel)
    assert found["day_of_month"] == [30, 31, 1]


def test_a_calendar_that_the_steps_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(FrequencyError, match="'calendar' needs a calendar, these series count integer steps"):
        build_feature("calendar").fit(integers(a=[1, 2]))
    with pytest.raises(FrequencyError, match=r"no 'hour_of_day' for steps of 'D', which have day_of_week, day_of_month"):
        build_feature("calendar", which=["hour_of_day"]).fit(daily(a=[1, 2]))
    with pytest.raises(FrequencyError, match=r"no 'weekend' for steps of 'D'.*plain number, set plain = true"):
        build_feature("calendar", which=["weekend"]).fit(daily(a=[1, 2]))
    with pytest.raises(FrequencyError, match="nothing that changes from step to step of 'YS-JAN'; leave it out"):
        build_feature("calendar").fit(daily(freq="YS", a=[1, 2, 3]))


# Fourier terms


def test_fourier_terms_of_a_week_by_hand() -> None:
    panel = daily("1970-01-08", a=[0, 0])  # 7 days after 1970: the phase is 0
    found = known(build_feature("fourier", period=7, order=2), panel)
    assert list(found) == ["fourier_7_sin_1", "fourier_7_cos_1", "fourier_7_sin_2", "fourier_7_cos_2"]
    turn = 2 * np.pi / 7
    expected = [[0, np.sin(turn)], [1, np.cos(turn)], [0, np.sin(2 * turn)], [1, np.cos(2 * turn)]]
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)


CLOCKS = ["h", "D", "B", "W-WED", "MS", "QE", "15min", "2D"]


@pytest.mark.parametrize("freq", CLOCKS)
def test_the_phase_does_not_depend_on_where_the_history_begins_and_the_future_goes_on(freq: str) -> None:
    panel, feature = daily(freq=freq, a=np.zeros(40)), build_feature("fourier", period=[7, 12.5], order=[3, 1])
    fitted = feature.fit(panel)
    assert isinstance(fitted, KnownFeature)
    whole = fitted.columns(Moments.of_rows(panel))
    np.testing.assert_array_equal(fitted.columns(Moments.of_rows(panel.tail(9))), whole[-9:])
    np.testing.assert_array_equal(fitted.columns(Moments.of_future(panel.without_last(5), 5)), whole[-5:])
    again = fitted.columns(Moments.of_future(panel.without_last(12), 12))
    np.testing.assert_allclose(again[:5, :6], again[7:, :6], atol=1e-9)  # a period later, the same


def test_fourier_terms_of_integer_steps_count_the_steps() -> None:
    panel = replace(integers(a=[0] * 4), freq=10, timestamps=np.array([0, 10, 20, 30]))
    assert known(build_feature("fourier", period=4), panel)["fourier_4_cos_1"] == pytest.approx([1, 0, -1, 0], abs=1e-12)


def test_hours_at_half_past_are_half_a_step_further() -> None:
    panel = daily("1970-01-01 00:30", freq="h", a=[0, 0])
    expected = [np.cos(2 * np.pi * 0.5 / 4), np.cos(2 * np.pi * 1.5 / 4)]
    assert known(build_feature("fourier", period=4), panel)["fourier_4_cos_1"] == pytest.approx(expected)


# Age and time index


def test_age_counts_from_the_first_row_of_the_fit_also_where_the_history_was_cut() -> None:
    panel = daily(a=np.zeros(5), b=np.zeros(4))
    panel = panel.rows(np.arange(9) != 5)  # b begins a day later
    fitted = build_feature("age").fit(panel)
    cut = panel.tail(2)
    again = fitted.for_panel(cut)
    assert isinstance(again, KnownFeature)
    assert again.columns(Moments.of_rows(cut))[:, 0].tolist() == [3, 4, 1, 2]
    assert again.columns(Moments.of_future(cut, 2))[:, 0].tolist() == [5, 6, 3, 4]


def test_the_age_of_a_stranger_counts_from_the_history_given() -> None:
    fitted = build_feature("age").fit(daily(a=np.zeros(5)))
    stranger = daily("2024-03-01", a=[0], x=[0, 0])
    again = fitted.for_panel(stranger)
    assert isinstance(again, KnownFeature)
    assert again.columns(Moments.of_rows(stranger))[:, 0].tolist() == [60, 0, 1]  # 31 days of January and 29 of February


def test_the_time_index_is_one_clock_for_all_series_from_0_to_1() -> None:
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=5, freq="MS"), "y": 0.0}),
            pd.DataFrame({"unique_id": "b", "ds": pd.date_range("2024-03-01", periods=2, freq="MS"), "y": 0.0}),
        ]
    )
    panel = tsforecast.panel_from_frame(frame, freq="MS")
    fitted = build_feature("time_index").fit(panel)
    assert isinstance(fitted, KnownFeature)
    assert fitted.columns(Moments.of_rows(panel))[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1, 0.5, 0.75]
    assert fitted.columns(Moments.of_future(panel, 2))[:, 0].tolist() == [1.25, 1.5, 1, 1.25]
    assert known(build_feature("time_index"), daily(a=[7]))["time_index"] == [0]


# Lags and rolling statistics


def test_lags_do_not_cross_from_series_to_series() -> None:
    found = past(build_feature("lags", steps=[1, 3]), integers(a=[1, 2, NAN, 4], b=[10, 20]))
    np.testing.assert_array_equal(found["lag_1"], [NAN, 1, 2, NAN, NAN, 10])
    np.testing.assert_array_equal(found["lag_3"], [NAN, NAN, NAN, 1, NAN, NAN])


def test_rolling_statistics_by_hand() -> None:
    found = past(build_feature("rolling", windows=[3], statistics=list(STATISTICS)), integers(a=[1, 5, NAN, 3, 4], b=[NAN, 2]))
    expected = {
        "mean": [1, 3, 3, 4, 3.5, NAN, 2],
        "std": [0, 2, 2, 1, 0.5, NAN, 0],
        "min": [1, 1, 1, 3, 3, NAN, 2],
        "max": [1, 5, 5, 5, 4, NAN, 2],
        "median": [1, 3, 3, 4, 3.5, NAN, 2],
        "sum": [1, 6, 6, 8, 7, NAN, 2],
    }
    assert list(found) == [f"rolling_{name}_3" for name in expected]
    for name, values in expected.items():
        np.testing.assert_allclose(found[f"rolling_{name}_3"], values, err_msg=name)


TWINS: Mapping[str, Callable[[FloatArray], float]] = {
    "mean": lambda x: float(np.mean(x)),
    "std": lambda x: float(np.std(x)),
    "min": lambda x: float(min(x)),
    "max": lambda x: float(max(x)),
    "median": lambda x: float(np.median(x)),
    "sum": lambda x: float(sum(x)),
}
numbers = st.floats(-1e6, 1e6, width=32) | st.just(NAN)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(numbers, min_size=1, max_size=12), min_size=1, max_size=4), st.integers(2, 14))
def test_rolling_statistics_are_those_of_a_loop(series: list[list[float]], window: int) -> None:
    panel = integers(**{f"s{i}": y for i, y in enumerate(series)})
    found = past(build_feature("rolling", windows=[window], statistics=list(STATISTICS)), panel)
    for name, twin in TWINS.items():
        expected = []
        for y in series:
            for t in range(len(y)):
                seen = np.array([v for v in y[max(0, t + 1 - window) : t + 1] if not np.isnan(v)])
                expected.append(twin(seen) if len(seen) else NAN)
        np.testing.assert_allclose(found[f"rolling_{name}_{window}"], expected, rtol=1e-9, atol=1e-6)


def test_long_windows_are_worked_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = integers(a=np.arange(50.0), b=np.arange(30.0) ** 2)
    whole = past(build_feature("rolling", windows=[7], statistics=["mean", "median"]), panel)
    monkeypatch.setattr("tsforecast.preprocessing.past_features.CELLS", 21)  # three rows at once
    assert past(build_feature("rolling", windows=[7], statistics=["mean", "median"]), panel) == whole


# What all share

EVERY: list[tuple[str, dict[str, Any]]] = [
    ("calendar", {"plain": True}),
    ("holidays", {"country": "DE", "subdivision": "BY", "before": 1, "bridge": True, "names": True, "most": 3}),
    ("fourier", {"period": [7.0, 30.4], "order": [3, 2]}),
    ("time_index", {}),
    ("age", {}),
    ("lags", {"steps": [1, 7]}),
    ("rolling", {"windows": [3, 7], "statistics": ["mean", "max"]}),
]
every = pytest.mark.parametrize(("name", "options"), EVERY, ids=[name for name, _ in EVERY])


def two_series(seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    return daily("2023-11-20", a=rng.normal(size=60), b=rng.normal(size=45))


def columns_of(fitted: Any, panel: Panel) -> FloatArray:
    found: FloatArray = fitted.columns(panel if isinstance(fitted, PastFeature) else Moments.of_rows(panel))
    return found


@every
def test_a_feature_comes_back_from_json_with_the_same_columns(name: str, options: dict[str, Any]) -> None:
    panel = two_series()
    fitted = build_feature(name, **options).fit(panel)
    again = feature_from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    assert (again.names, again.recipe) == (fitted.names, fitted.recipe)
    np.testing.assert_array_equal(columns_of(again, panel), columns_of(fitted, panel))
    assert len(set(fitted.names)) == columns_of(fitted, panel).shape[1] == len(fitted.names)


@every
def test_a_series_alone_has_the_columns_it_has_among_others(name: str, options: dict[str, Any]) -> None:
    panel = two_series()
    fitted = build_feature(name, **options).fit(panel)
    np.testing.assert_array_equal(columns_of(fitted, panel.select([1])), columns_of(fitted, panel)[60:])
    np.testing.assert_array_equal(columns_of(fitted, panel.select([1, 0]))[45:], columns_of(fitted, panel)[:60])


@every
def test_what_comes_later_changes_no_row_before(name: str, options: dict[str, Any]) -> None:
    panel = two_series()
    poisoned = panel.with_target(np.where(panel.row_in_series() >= 40, 1e9, panel.target))
    before = panel.row_in_series() < 40
    fitted, other = (build_feature(name, **options).fit(one) for one in (panel, poisoned))
    assert fitted.names == other.names
    np.testing.assert_array_equal(columns_of(fitted, panel)[before], columns_of(other, poisoned)[before])
    if isinstance(fitted, KnownFeature):  # and none at all
        np.testing.assert_array_equal(columns_of(fitted, panel), columns_of(other, poisoned))


@every
def test_the_future_is_what_the_rows_will_be(name: str, options: dict[str, Any]) -> None:
    panel = two_series()
    fitted = build_feature(name, **options).fit(panel.without_last(10))
    if isinstance(fitted, KnownFeature):
        future = future_of(panel.without_last(10), [fitted], 10)
        whole = fitted.columns(Moments.of_rows(panel))
        assert future is not None
        np.testing.assert_array_equal(future, np.stack([whole[50:60], whole[95:105]]))


WRONG_OPTIONS = [
    ("calender", {}, r"no feature 'calender'; did you mean 'calendar'\?; there are calendar, holidays, events"),
    ("fourier", {"periods": 7}, r"'fourier' has no option 'periods'; did you mean 'period'\?; options: period, order"),
    ("calendar", {"which": ["hour"]}, r"no which 'hour'; did you mean 'hour_of_day'\?; there are second_of_minute"),
    ("calendar", {"which": "year"}, "which must be a list of at least one, got 'year'"),
    ("calendar", {"cyclic": False}, "makes nothing without cyclic or plain"),
    ("fourier", {}, r"period must be a list of at least one, got \(\)"),
    ("fourier", {"period": 1}, "period must be a number of steps above 1, got 1"),
    ("fourier", {"period": [7, "12"]}, "period must be a number of steps above 1, got '12'"),
    ("fourier", {"period": float("nan")}, "period must be a number of steps above 1, got nan"),
    ("fourier", {"period": 7, "order": 4}, "period 7 has at most 3 harmonics, got order 4"),
    ("fourier", {"period": 7, "order": 0}, "order must be a whole number from 1 to 50, got 0"),
    ("fourier", {"period": [7, 30], "order": [1]}, "1 orders for 2 periods; give one for all, or one for each"),
    ("fourier", {"period": [365.25, 366], "order": 26}, "104 columns, at most 100; lower the orders"),
    ("lags", {}, r"steps must be a list of at least one, got \(\)"),
    ("lags", {"steps": [0]}, "steps must be a whole number from 1 to 10000, got 0"),
    ("lags", {"steps": [1, 1]}, "steps has 1 twice; name it once"),
    ("lags", {"steps": list(range(1, 102))}, "101 columns, at most 100; name fewer steps"),
    ("rolling", {"windows": [1]}, "windows must be a whole number from 2 to 10000, got 1"),
    ("rolling", {"windows": [7], "statistics": ["avg"]}, "no statistics 'avg'; there are mean, std"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG_OPTIONS)
def test_a_wrong_option_is_refused_with_what_is_right(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_feature(name, **options)


def test_a_name_that_is_there_already_is_refused() -> None:
    panel = replace(two_series(), covariates=np.zeros((105, 1)), covariate_names=("age",))
    age = build_feature("age").fit(panel)
    assert isinstance(age, KnownFeature)
    with pytest.raises(CovariateError, match=r"feature 'age' would add column 'age', which is there already; leave one of them"):
        with_known(panel, [age])
    lags = build_feature("lags", steps=[1]).fit(panel)
    assert isinstance(lags, PastFeature)
    with pytest.raises(CovariateError, match="'lags' would add column 'lag_1'"):
        with_past(panel, [lags, lags])


# In a flow


@dataclass(frozen=True, kw_only=True)
class Reader(Forecaster):
    """Forecasts the sum of the future covariates of each step, and remembers what it was given."""

    name: ClassVar[str] = "reader"
    about: ClassVar[About] = About(
        family="fake", scope="local", source="this file", minimal_history="1 row", covariates=("known-future", "past")
    )
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def tiny(cls) -> "Reader":
        return cls()

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return ReaderPredictor

    def fit(self, panel: Panel, **options: Any) -> "ReaderPredictor":
        self.given["fit"] = panel
        return ReaderPredictor(self, Facts.of(panel, horizon=options["horizon"], seed=options["seed"]))


class ReaderPredictor(Predictor):
    def __init__(self, recipe: Reader, facts: Facts) -> None:
        self.recipe, self.facts = recipe, facts

    def predict(self, panel: Panel, **options: Any) -> Forecast:
        steps = self.check_request(panel, options["horizon"], options["future"])
        self.recipe.given["predict"], self.recipe.given["future"] = panel, options["future"]
        levels, total = tuple(options["quantile_levels"]), options["future"].sum(axis=2)
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=future_timestamps(panel, steps),
            quantile_levels=levels,
            quantiles=np.repeat(total[:, :, None], len(levels), axis=2),
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(cls, recipe: Any, facts: Facts, arrays: Any, values: Any) -> "ReaderPredictor":
        return cls(recipe, facts)


def promoted() -> Panel:
    """Two series with a known and a past covariate of the caller's own."""
    panel = daily(a=np.arange(8.0), b=np.arange(6.0) * 10)
    rows = np.arange(14.0)[:, None]
    return replace(
        panel, covariates=rows, covariate_names=("price",), past_covariates=rows + 100, past_covariate_names=("visits",)
    )


def reading(*names: str) -> tuple[FittedFlow, Panel, dict[str, Any]]:
    panel, model, options = promoted(), Reader(), {"lags": {"steps": [1]}}
    features = tuple(build_feature(name, **options.get(name, {})) for name in names)
    flow = ForecastFlow(features=features, transforms=(Scale(method="minmax"),), model=model).fit(panel, horizon=3)
    return flow, panel, model.given


def test_columns_of_features_stand_after_those_of_the_caller_and_lags_are_of_the_scaled_target() -> None:
    _, panel, given_to = reading("lags", "age", "time_index")
    seen = given_to["fit"]
    assert (seen.covariate_names, seen.past_covariate_names) == (("price", "age", "time_index"), ("visits", "lag_1"))
    np.testing.assert_allclose(seen.past_covariates[1:8, 1], np.arange(7) / 7)  # y from 0 to 7 became 0 to 1
    np.testing.assert_array_equal(seen.covariates[:, 1], [*range(8), *range(6)])
    assert panel.covariate_names == ("price",)


def test_the_caller_gives_the_future_of_their_own_covariates_only() -> None:
    flow, panel, given_to = reading("age", "lags")
    assert (flow.facts.covariate_names, flow.facts.past_covariate_names) == (("price",), ("visits",))
    assert flow.predictor.facts.covariate_names == ("price", "age")
    forecast = flow.predict(panel, future=np.full((2, 3, 1), 0.5), quantile_levels=(0.5,))
    assert given_to["future"].tolist() == [[[0.5, 8], [0.5, 9], [0.5, 10]], [[0.5, 6], [0.5, 7], [0.5, 8]]]
    np.testing.assert_allclose(forecast.median[0], np.array([8.5, 9.5, 10.5]) * 7)
    short = flow.predict(panel, horizon=1, future=np.zeros((2, 1, 1)))
    assert short.horizon == 1


def test_what_the_caller_gets_wrong_is_said_in_the_names_they_know() -> None:
    flow, panel, _ = reading("age", "lags")
    with pytest.raises(CovariateError, match=r"needs the future of covariates \['price'\]; pass future="):
        flow.predict(panel)
    with pytest.raises(CovariateError, match=r"future must have shape \(S, H, C\) = \(2, 3, 1\), got \(2, 2, 1\)"):
        flow.predict(panel, future=np.zeros((2, 2, 1)))
    bare = replace(panel, covariates=None, covariate_names=())
    with pytest.raises(CovariateError, match=r"fitted with covariates \['price'\], the panel has \[\]"):
        flow.predict(bare, future=np.zeros((2, 3, 1)))
    bare = replace(panel, past_covariates=None, past_covariate_names=())
    with pytest.raises(CovariateError, match=r"fitted with past covariates \['visits'\], the panel has \[\]"):
        flow.predict(bare, future=np.zeros((2, 3, 1)))
    with pytest.raises(HorizonError, match="horizon 4 is longer than the 3 steps"):
        flow.predict(panel, horizon=4, future=np.zeros((2, 3, 1)))
    with pytest.raises(HorizonError, match="positive number of steps, got 0"):
        flow.predict(panel, horizon=0, future=np.zeros((2, 0, 1)))
    with pytest.raises(FrequencyError, match="fitted on steps of 'D', these series step by 'h'"):
        flow.predict(replace(panel, freq="h"), future=np.zeros((2, 3, 1)))


def test_a_model_that_reads_no_covariates_is_spared_them() -> None:
    panel = two_series()
    features = (build_feature("age"), build_feature("lags", steps=[1]))
    flow = ForecastFlow(features=features, model=SeasonalNaive()).fit(panel, horizon=3)
    assert flow.features == () and flow.facts.covariate_names == ()
    bare = ForecastFlow(model=SeasonalNaive()).fit(panel, horizon=3)
    np.testing.assert_array_equal(flow.predict(panel).quantiles, bare.predict(panel).quantiles)


def fitted_linear(*features: Feature) -> tuple[FittedFlow, Panel]:
    panel = two_series()
    flow = ForecastFlow(features=features, transforms=(Scale(),), model=Linear.tiny())
    return flow.fit(panel, horizon=4, train=TrainConfig(max_epochs=2)), panel


def test_a_stored_flow_makes_its_features_again_also_for_series_it_has_not_seen(tmp_path: Path) -> None:
    flow, panel = fitted_linear(*(build_feature(name, **options) for name, options in EVERY))
    loaded = load_model(flow.save(tmp_path))
    assert (loaded.facts, loaded.facts.covariate_names) == (flow.facts, ())
    stranger = replace(panel, series_ids=("x", "a"))
    for asked in (panel, stranger):
        np.testing.assert_array_equal(loaded.predict(asked).quantiles, flow.predict(asked).quantiles)
    assert [path.name for path in tmp_path.iterdir() if path.suffix not in (".json", ".safetensors")] == []


def test_mlflow_is_sent_the_history_only_where_the_flow_makes_all_covariates() -> None:
    flow, panel = fitted_linear(build_feature("holidays", country="DE"), build_feature("lags", steps=[7]))
    answer = ServedFlow(flow).forecast(long_frame(panel), horizon=4, quantile_levels=(0.5,))
    np.testing.assert_array_equal(answer["0.5"], flow.predict(panel, quantile_levels=(0.5,)).quantiles.ravel())
    assert list(long_frame(panel).columns) == ["unique_id", "ds", "y"]


def test_a_flow_stored_before_there_were_features_still_loads(tmp_path: Path) -> None:
    flow, panel = fitted_linear()
    path = flow.save(tmp_path) / "flow.json"
    old = json.loads(path.read_text())
    assert old.pop("features") == []
    path.write_text(json.dumps(old))
    assert load_model(tmp_path).features == ()
    np.testing.assert_array_equal(load_model(tmp_path).predict(panel).quantiles, flow.predict(panel).quantiles)


def test_a_stored_feature_that_is_unknown_or_damaged_is_refused(tmp_path: Path) -> None:
    flow, _ = fitted_linear(build_feature("age"))
    path = flow.save(tmp_path) / "flow.json"
    text = path.read_text()
    path.write_text(text.replace('"name": "age"', '"name": "rage"'))
    with pytest.raises(ArtifactError, match=r"holds a step this version does not have: no feature 'rage'; .*upgrade tsforecast"):
        load_model(tmp_path)
    path.write_text(text.replace('"births"', '"deaths"'))
    with pytest.raises(ArtifactError, match=r"flow.json is damaged: KeyError\('births'\)"):
        load_model(tmp_path)


@pytest.mark.parametrize("refit", [True, False])
def test_a_backtest_of_a_flow_with_features_does_not_look_ahead(refit: bool) -> None:
    panel = two_series()
    origin = np.datetime64("2023-12-28")
    poisoned = panel.with_target(np.where(panel.timestamps > origin, 1e9, panel.target))
    recipe = ForecastFlow(
        features=tuple(build_feature(name, **options) for name, options in EVERY), transforms=(Scale(),), model=Linear.tiny()
    )
    first, second = (
        backtest(recipe, one, horizon=4, folds=[origin], refit=refit, train=TrainConfig(max_epochs=2)).folds[0].forecast
        for one in (panel, poisoned)
    )
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_the_table_has_each_feature_under_its_name_and_says_what_it_is_for() -> None:
    assert [one.name for one in FEATURES.values()] == list(FEATURES)
    assert {name for name, one in FEATURES.items() if one.kind == "past"} == {"lags", "rolling", "latent"}
    assert set(FEATURES) == {name for name, _ in EVERY} | {"events", "latent"}

"""A backtest stands in the past: nothing it shows a model lies after the origin, and what it scores is what came."""

import math
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from tsforecast import metrics
from tsforecast.backtest import Fallback, Skipped, StepsBack, backtest, calendar_origins, own_end_origins
from tsforecast.errors import DataError, HistoryTooShort, HorizonError, ModelError, OptionError
from tsforecast.flow import ForecastFlow
from tsforecast.forecast import Forecast
from tsforecast.models.base import About, Facts, Forecaster, Predictor
from tsforecast.panel import Panel
from tsforecast.postprocess import clip_below_zero, round_to_integers
from tsforecast.preprocessing.transforms import BoxCox, Fill, FittedTransform, Log1p, Scale, Transform

NAN = math.nan
DAY = np.timedelta64(1, "D")
START = np.datetime64("2024-01-01", "ns")
LEVELS = (0.1, 0.5, 0.9)


def day(number):
    return START + number * DAY


def panel_of(series, *, start=None, season=2, integer=False, covariates=False):
    """`series`: id -> values; `start`: id -> day of the first row, from 0. The covariate of a row is its day number."""
    first = dict.fromkeys(series, 0) | (start or {})
    lengths = [len(values) for values in series.values()]
    days = np.concatenate([first[name] + np.arange(n) for name, n in zip(series, lengths, strict=True)])
    return Panel(
        series_ids=tuple(series),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=days + 1 if integer else START + days * DAY,
        target=np.concatenate([np.asarray(values, dtype=float) for values in series.values()]),
        freq=1 if integer else "D",
        season=season,
        covariates=days[:, None].astype(float) if covariates else None,
        covariate_names=("day",) if covariates else (),
    )


def following(panel, horizon):
    """Timestamps (S, H) after the end of each series."""
    step = 1 if panel.is_integer_clock else DAY
    return panel.last_timestamps()[:, None] + np.arange(1, horizon + 1) * step


@dataclass(frozen=True)
class Recorded:
    """One call of a fake: what was done, and the panel that was shown."""

    did: str
    panel: Panel
    future: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Fake(Forecaster):
    """Forecasts `point(…)` for every step, 1 less and 1 more as its outer quantiles, and writes down each call."""

    name = "fake"
    about = About(family="fake", scope="global", source="this file", minimal_history="need rows")
    log: list = field(default_factory=list)
    need_to_fit: int = 1
    need_to_predict: int = 1
    spoil: object = None  # forecast -> forecast

    @classmethod
    def tiny(cls):
        return cls()

    @classmethod
    def predictor_class(cls):
        return FakePredictor

    def fit(self, panel, *, horizon, seed=0, train=None, callbacks=()):
        for series_id, values in panel:
            if len(values) < self.need_to_fit:
                raise HistoryTooShort(series_id, have=len(values), need=self.need_to_fit)
        self.log.append(Recorded("fit", panel))
        return FakePredictor(self, panel, Facts.of(panel, horizon=horizon, seed=seed))

    def point(self, fitted_on, panel):
        """Last value of each series, (S,)."""
        return panel.target[panel.offsets[1:] - 1]


class FakePredictor(Predictor):
    def __init__(self, recipe, fitted_on, facts):
        self.recipe, self.fitted_on, self.facts = recipe, fitted_on, facts

    def predict(self, panel, *, horizon=None, quantile_levels=LEVELS, future=None):
        for series_id, values in panel:
            observed = int(np.isfinite(values).sum())
            if observed < self.recipe.need_to_predict:
                raise HistoryTooShort(series_id, have=observed, need=self.recipe.need_to_predict)
        self.recipe.log.append(Recorded("predict", panel, future))
        points = np.broadcast_to(self.recipe.point(self.fitted_on, panel), (len(panel),))
        spread = np.linspace(-1, 1, len(quantile_levels))
        forecast = Forecast(
            series_ids=panel.series_ids,
            timestamps=following(panel, horizon),
            quantile_levels=tuple(quantile_levels),
            quantiles=np.tile(points[:, None, None] + spread, (1, horizon, 1)),
        )
        return forecast if self.recipe.spoil is None else self.recipe.spoil(forecast)

    def state(self):
        return {}, {}

    @classmethod
    def from_state(cls, recipe, facts, arrays, values):
        raise NotImplementedError


class Memoriser(Fake):
    """Forecasts the largest value it was ever shown, by fit or predict, anywhere: the most indiscreet model there is."""

    def point(self, fitted_on, panel):
        return max(np.nanmax(record.panel.target) for record in self.log)


@dataclass(frozen=True)
class Watcher(Transform, FittedTransform):
    """A transform that does nothing but write down what it is shown."""

    name = "watcher"
    shown: list = field(default_factory=list)

    def fit(self, panel):
        self.shown.append(("fit", panel))
        return self

    def for_panel(self, panel):
        self.shown.append(("for_panel", panel))
        return self

    def apply(self, panel):
        self.shown.append(("apply", panel))
        return panel

    def invert(self, forecast):
        return forecast

    def invert_panel(self, panel):
        return panel

    def to_json(self):
        return {"name": "watcher"}

    @classmethod
    def fitted_from_json(cls, values):
        return cls()


def run(panel, model=None, **options):
    """(result, log of calls) of the fake model."""
    model = Fake() if model is None else model
    return backtest(ForecastFlow(model=model), panel, **options), model.log


RISING = {"a": np.arange(20.0), "b": 100 + np.arange(20.0)}


# ---------------------------------------------------------------- what is forecast and what is scored


def test_folds_go_from_old_to_new_and_their_actuals_follow_the_origin():
    result, _ = run(panel_of(RISING), horizon=3, folds=2)
    assert [fold.origin for fold in result.folds] == [day(13), day(16)]
    np.testing.assert_array_equal(result.folds[0].actual, [[14, 15, 16], [114, 115, 116]])
    np.testing.assert_array_equal(result.folds[1].actual, [[17, 18, 19], [117, 118, 119]])
    np.testing.assert_array_equal(result.folds[1].forecast.timestamps[0], [day(17), day(18), day(19)])
    np.testing.assert_array_equal(result.folds[1].forecast.median, [[16] * 3, [116] * 3])
    assert result.model == "fake"
    assert result.skipped == ()


def test_step_moves_the_origins_and_folds_may_overlap():
    result, _ = run(panel_of(RISING), horizon=4, folds=3, step=1)
    assert [fold.origin for fold in result.folds] == [day(13), day(14), day(15)]
    assert result.folds[0].actual.shape == (2, 4)


def test_missing_values_stay_missing_in_the_actuals():
    series = {"a": [1.0, 2, 3, 4, NAN, 6]}
    result, _ = run(panel_of(series), horizon=2, folds=1)
    np.testing.assert_array_equal(result.folds[0].actual, [[NAN, 6]])
    assert result.scores()["mae"] == 2


# ---------------------------------------------------------------- no leaks


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("refit", [False, True])
def test_whatever_happens_after_an_origin_the_forecast_made_there_stays_the_same(refit, integer):
    """The Memoriser would repeat any value of the future that it was shown, of its own or of another series."""
    series = {"a": np.arange(20.0), "b": np.arange(12.0), "c": np.arange(20.0)}
    panel = panel_of(series, start={"b": 8}, integer=integer)
    clean, _ = run(panel, Memoriser(), horizon=3, folds=2, refit=refit)
    for number, fold in enumerate(clean.folds):
        target = panel.target.copy()
        row = panel.row_in_series()
        back = np.repeat(panel.lengths, panel.lengths) - row
        target[back <= 3 * (len(clean.folds) - number)] = 1e6  # every series ends on the same day: both kinds of origin agree
        poisoned, _ = run(panel.with_target(target), Memoriser(), horizon=3, folds=2, refit=refit)
        np.testing.assert_array_equal(poisoned.folds[number].forecast.quantiles, fold.forecast.quantiles)
        assert (poisoned.folds[number].actual == 1e6).all()  # while the poison is really there


def test_on_a_calendar_no_series_shows_another_ones_future():
    """Series b ends ten days before a: at b's own end, a is already shown; on the shared calendar it is not."""
    series = {"a": np.arange(20.0), "b": np.arange(10.0)}
    panel = panel_of(series)
    _, log = run(panel, horizon=2, folds=[day(7)])
    assert all(record.panel.timestamps.max() == day(7) for record in log)
    _, own = run(panel, horizon=2, folds=[StepsBack(2)])
    assert own[0].panel.timestamps.max() == day(17)
    np.testing.assert_array_equal(own[0].panel.lengths, [18, 8])


def test_transforms_see_only_the_history():
    watcher = Watcher()
    backtest(ForecastFlow(transforms=(watcher,), model=Fake()), panel_of(RISING), horizon=3, folds=2)
    ends = [(did, panel.timestamps.max()) for did, panel in watcher.shown]
    calls = ["fit", "apply", "for_panel", "apply"]
    assert ends == [(did, day(13)) for did in calls] + [(did, day(16)) for did in calls]


def test_the_history_shares_no_memory_with_the_future():
    panel = panel_of(RISING)
    _, log = run(panel, horizon=3, folds=2)
    assert not any(np.shares_memory(record.panel.target, panel.target) for record in log)


# ---------------------------------------------------------------- refit


def test_refit_fits_at_every_origin():
    _, log = run(panel_of(RISING), horizon=3, folds=3)
    assert [(one.did, one.panel.timestamps.max()) for one in log] == [
        (did, day(at)) for at in (10, 13, 16) for did in ("fit", "predict")
    ]


def test_without_refit_the_oldest_fit_is_kept_and_the_history_moves():
    result, log = run(panel_of(RISING), horizon=3, folds=3, refit=False)
    assert [(one.did, one.panel.timestamps.max()) for one in log] == [
        ("fit", day(10)),
        ("predict", day(10)),
        ("predict", day(13)),
        ("predict", day(16)),
    ]
    assert [fold.fit_seconds > 0 for fold in result.folds] == [True, False, False]
    assert result.fit_seconds == result.folds[0].fit_seconds
    assert result.predict_seconds == sum(fold.predict_seconds for fold in result.folds) > 0


def test_seed_and_training_options_reach_the_model():
    from tsforecast.nn.config import TrainConfig

    seen = []

    class Curious(Fake):
        def fit(self, panel, **options):
            seen.append(options)
            return super().fit(panel, **options)

    train = TrainConfig(max_epochs=2)
    run(panel_of(RISING), Curious(), horizon=3, folds=1, seed=7, train=train)
    assert seen == [{"horizon": 3, "seed": 7, "train": train, "callbacks": ()}]


# ---------------------------------------------------------------- ragged panels


def test_series_without_rows_before_or_after_the_origin_are_left_out_and_named():
    series = {"long": np.arange(20.0), "young": np.arange(3.0), "ended": np.arange(10.0)}
    result, _ = run(panel_of(series, start={"young": 17}), horizon=3, folds=2)
    assert [fold.forecast.series_ids for fold in result.folds] == [("long",), ("long",)]
    assert {type(one.origin) for one in result.skipped} == {str}
    assert set(result.skipped) == {
        Skipped(origin="2024-01-14", series_id="young", reason="no rows at or before the origin"),
        Skipped(origin="2024-01-14", series_id="ended", reason="no rows after the origin to score"),
        Skipped(origin="2024-01-17", series_id="young", reason="no rows at or before the origin"),
        Skipped(origin="2024-01-17", series_id="ended", reason="no rows after the origin to score"),
    }


def test_a_series_that_ends_inside_the_horizon_is_scored_as_far_as_it_goes():
    result, _ = run(panel_of({"a": np.arange(20.0), "b": np.arange(18.0)}), horizon=3, folds=1)
    np.testing.assert_array_equal(result.folds[0].actual, [[17, 18, 19], [17, NAN, NAN]])
    assert result.per_series()["mae"].tolist() == [2, 1]


def test_integer_clocks_stand_before_each_series_own_end():
    result, log = run(panel_of({"a": np.arange(20.0), "b": np.arange(9.0)}, integer=True), horizon=3, folds=2)
    assert [fold.origin for fold in result.folds] == [StepsBack(6), StepsBack(3)]
    np.testing.assert_array_equal(result.folds[0].last_seen, [14, 3])
    np.testing.assert_array_equal(result.folds[0].actual, [[14, 15, 16], [3, 4, 5]])
    np.testing.assert_array_equal(log[0].panel.lengths, [14, 3])


def test_integer_clocks_may_be_a_shared_calendar():
    panel = panel_of({"a": np.arange(20.0), "b": np.arange(9.0)}, integer=True)
    result, _ = run(panel, horizon=3, folds=(*calendar_origins(panel, horizon=3, folds=1), 7))
    assert [fold.origin for fold in result.folds] == [7, 17]
    assert [fold.forecast.series_ids for fold in result.folds] == [("a", "b"), ("a",)]
    assert result.skipped[0].origin == "17"


@pytest.mark.parametrize("stage", ["need_to_fit", "need_to_predict"])
def test_series_too_short_for_the_model_are_left_out_of_the_fold_only(stage):
    series = {"a": np.arange(20.0), "b": np.arange(9.0), "c": np.arange(8.0)}
    model = Fake(**{stage: 6})
    result, log = run(panel_of(series, start={"b": 11, "c": 12}), model, horizon=3, folds=2)
    assert [fold.forecast.series_ids for fold in result.folds] == [("a",), ("a", "b")]
    np.testing.assert_array_equal(result.folds[1].actual, [[17, 18, 19], [6, 7, 8]])
    reason = "series 'b' has 3 observations, the model needs at least 6"
    assert Skipped(origin="2024-01-14", series_id="b", reason=reason) in result.skipped
    assert [one.series_id for one in result.skipped] == ["b", "c", "c"]
    assert len([record for record in log if record.did == "fit"]) == 2  # nothing was fitted twice


def test_only_series_short_by_the_models_own_count_are_left_out():
    """The fake counts rows when it fits: a long series with many holes is long enough for it."""
    series = {"short": np.arange(8.0), "holes": np.where(np.arange(20) % 4 == 0, np.arange(20.0), NAN)}
    result, _ = run(panel_of(series, start={"short": 12}), Fake(need_to_fit=6), horizon=3, folds=1)
    assert result.folds[0].forecast.series_ids == ("holes",)


def test_a_model_that_counts_in_its_own_way_is_believed():
    class Peculiar(Fake):
        def fit(self, panel, **options):
            if "b" in panel.series_ids:
                raise HistoryTooShort("b", have=3, need=5, hint="three of its values are usable")
            return super().fit(panel, **options)

    result, _ = run(panel_of(RISING), Peculiar(), horizon=3, folds=1)
    assert result.folds[0].forecast.series_ids == ("a",)
    reason = "series 'b' has 3 observations, the model needs at least 5; three of its values are usable"
    assert result.skipped == (Skipped(origin="2024-01-17", series_id="b", reason=reason),)


def test_many_short_series_cost_one_more_attempt_not_one_each():
    attempts = []

    class Counting(Fake):
        def fit(self, panel, **options):
            attempts.append(len(panel))
            return super().fit(panel, **options)

    series = {"long": np.arange(50.0)} | {f"s{i}": np.arange(5.0) for i in range(30)}
    result, _ = run(panel_of(series, integer=True), Counting(need_to_fit=10), horizon=2, folds=1)
    assert attempts == [31, 1]
    assert len(result.skipped) == 30


def test_without_refit_the_first_origin_with_a_long_enough_series_is_fitted():
    result, log = run(panel_of({"a": np.arange(10.0)}), Fake(need_to_fit=4), horizon=2, folds=4, refit=False)
    assert [fold.origin for fold in result.folds] == [day(3), day(5), day(7)]
    assert [record.panel.timestamps.max() for record in log if record.did == "fit"] == [day(3)]
    assert [one.origin for one in result.skipped] == ["2024-01-02"]


def test_a_backtest_without_any_fold_says_why():
    message = (
        "none of 2 origins has a series to forecast; at 2024-01-05, series 'a': series 'a' has 5 observations, "
        "the model needs at least 9. Ask for fewer folds or a shorter horizon"
    )
    with pytest.raises(DataError, match=re.escape(message)):
        run(panel_of({"a": np.arange(8.0)}), Fake(need_to_predict=9), horizon=3, folds=2, step=1)


def test_a_refusal_that_names_no_series_of_the_panel_is_passed_on():
    class Odd(Fake):
        def fit(self, panel, **options):
            raise HistoryTooShort("elsewhere", have=1, need=2)

    with pytest.raises(HistoryTooShort, match="series 'elsewhere' has 1 observations"):
        run(panel_of(RISING), Odd(), horizon=3)


# ---------------------------------------------------------------- covariates


def test_known_covariates_of_the_horizon_are_passed_on():
    _, log = run(panel_of(RISING, covariates=True), horizon=3, folds=2)
    futures = [record.future for record in log if record.did == "predict"]
    np.testing.assert_array_equal(futures[0], [[[14], [15], [16]]] * 2)
    np.testing.assert_array_equal(futures[1], [[[17], [18], [19]]] * 2)
    assert log[0].panel.covariates.max() == 13  # the history has only its own


def test_a_series_whose_covariates_end_inside_the_horizon_is_left_out():
    series = {"a": np.arange(20.0), "b": np.arange(18.0)}
    result, log = run(panel_of(series, covariates=True), horizon=3, folds=1)
    assert result.folds[0].forecast.series_ids == ("a",)
    assert result.skipped[0].reason == "its covariates reach 1 of the 3 steps after the origin"
    assert log[1].future.shape == (1, 3, 1)


def test_series_left_out_by_the_model_take_their_covariates_with_them():
    series = {"young": np.arange(5.0), "a": np.arange(20.0)}
    _, log = run(panel_of(series, start={"young": 15}, covariates=True), Fake(need_to_predict=5), horizon=2, folds=1)
    np.testing.assert_array_equal(log[-1].future, [[[18], [19]]])


# ---------------------------------------------------------------- numbers


def test_scales_and_naive2_come_from_the_folds_own_history():
    rng = np.random.default_rng(0)
    season = np.tile([0.0, 5, 10, 5], 8)[:30]
    panel = panel_of({"a": season + rng.normal(10, 1, 30), "b": season + rng.normal(50, 9, 30)}, season=4)
    result, _ = run(panel, horizon=3, folds=2)
    assert result.folds[0].naive2[0].std() > 1  # the season was found
    for fold in result.folds:
        history = panel.until(fold.origin)
        np.testing.assert_array_equal(fold.scale, metrics.seasonal_scale(history, season=4))
        np.testing.assert_array_equal(fold.squared_scale, metrics.squared_seasonal_scale(history, season=4))
        np.testing.assert_array_equal(fold.naive2, metrics.naive2(history, horizon=3, season=4))


def test_scores_of_a_panel_equal_a_loop_over_series_folds_and_steps():
    rng = np.random.default_rng(1)
    series = {"c": rng.normal(5, 1, 10), "a": rng.normal(10, 1, 20), "b": rng.normal(50, 9, 20)}
    result, _ = run(panel_of(series, start={"c": 7}), horizon=3, folds=2)
    assert [fold.forecast.series_ids for fold in result.folds] == [("c", "a", "b"), ("a", "b")]
    errors = {name: [] for name in series}
    for fold in result.folds:
        for s, name in enumerate(fold.forecast.series_ids):
            for h in range(3):
                if not math.isnan(fold.actual[s, h]):
                    errors[name].append((fold.actual[s, h], fold.forecast.median[s, h], fold.scale[s]))
    mae = {name: sum(abs(y - f) for y, f, _ in rows) / len(rows) for name, rows in errors.items()}
    mase = {name: sum(abs(y - f) / q for y, f, q in rows) / len(rows) for name, rows in errors.items()}
    scores = result.scores()
    assert scores["mae"] == pytest.approx(sum(mae.values()) / 3)
    assert scores["mase"] == pytest.approx(sum(mase.values()) / 3)
    everything = [row for rows in errors.values() for row in rows]
    assert scores["wape"] == pytest.approx(sum(abs(y - f) for y, f, _ in everything) / sum(abs(y) for y, _, _ in everything))
    table = result.per_series()
    assert table["unique_id"].tolist() == ["c", "a", "b"]
    np.testing.assert_allclose(table["mae"], list(mae.values()))
    assert set(table.columns) == {"unique_id", *scores}


def test_scores_have_the_names_that_every_model_shares():
    levels = (0.025, 0.1, 0.5, 0.9, 0.975)
    rng = np.random.default_rng(2)
    result, _ = run(panel_of({"a": rng.normal(10, 1, 20)}), horizon=3, quantile_levels=levels)
    names = ["mae", "rmse", "mape", "smape", "wape", "mase", "rmsse", "bias", "pinball", "wql", "crps", "owa"]
    names += [f"{name}_{level}" for name in ("coverage", "width", "msis") for level in (80, 95)]
    assert set(result.scores()) == set(names)
    assert all(math.isfinite(value) for value in result.scores().values())


def test_the_error_per_step_ahead_grows_as_the_series_rises():
    result, _ = run(panel_of({"a": np.append(np.arange(14.0), [14, 15, 16, 18, 20, 22])}), horizon=3, folds=2)
    table = result.per_horizon()
    assert table["step"].tolist() == [1, 2, 3]
    assert table["mae"].tolist() == [1.5, 3, 4.5]  # the last value, where the series gains 1 a day and then 2
    assert table["bias"].tolist() == [-1.5, -3, -4.5]
    assert table["coverage_80"].tolist() == [0.5, 0, 0]


def test_the_long_table_has_every_forecast_beside_what_came():
    result, _ = run(panel_of({"a": np.arange(20.0), "b": np.arange(18.0)}), horizon=3, folds=2)
    frame = result.to_frame()
    assert frame.columns.tolist() == ["unique_id", "ds", "origin", "y", "0.1", "0.5", "0.9"]
    assert len(frame) == 12
    last = frame.iloc[-3]
    assert (last["unique_id"], last["ds"], last["origin"]) == ("b", day(17), day(16))
    assert (last["y"], last["0.1"], last["0.5"], last["0.9"]) == (17, 15, 16, 17)
    assert frame["y"].isna().sum() == 2
    assert ((frame["y"] - frame["0.5"]).abs().groupby(frame["unique_id"]).mean() == [2, 7 / 4]).all()


def test_the_long_table_has_each_series_own_origin():
    result, _ = run(panel_of({"a": np.arange(20.0), "b": np.arange(9.0)}, integer=True), horizon=2, folds=1)
    assert result.to_frame()["origin"].tolist() == [18, 18, 7, 7]
    assert result.to_frame()["ds"].tolist() == [19, 20, 8, 9]


def test_the_long_table_says_the_wall_clock_of_the_panel():
    panel = replace(panel_of(RISING), tz="Europe/Zurich")

    def zoned(forecast):
        return replace(forecast, tz="Europe/Zurich")

    frame = run(panel, Fake(spoil=zoned), horizon=3, folds=1)[0].to_frame()
    assert str(frame["origin"].iloc[0]) == "2024-01-17 01:00:00+01:00"
    assert str(frame["ds"].iloc[0]) == "2024-01-18 01:00:00+01:00"


# ---------------------------------------------------------------- mistakes of callers and of models


def test_calendar_origins_are_moments_of_the_whole_panel():
    panel = panel_of({"a": np.arange(10.0), "b": np.arange(5.0)}, start={"b": 9})
    assert calendar_origins(panel, horizon=2, folds=2, step=3) == (day(8), day(11))
    assert own_end_origins(horizon=2, folds=2, step=3) == (StepsBack(5), StepsBack(2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": 7}, DataError, "the panel spans 20 steps; 7 folds of 3 steps, 3 apart, need at least 22; ask for fewer folds"),
        ({"folds": 0}, OptionError, "folds must be at least 1, got 0"),
        ({"step": 0}, OptionError, "step must be at least 1, got 0"),
        ({"horizon": 0}, HorizonError, "horizon must be a positive number of steps, got 0"),
        ({"folds": []}, OptionError, "folds is empty; give at least one origin"),
        ({"folds": [day(3)], "step": 2}, OptionError, "step has no meaning beside a list of origins"),
        ({"folds": [3]}, OptionError, "origin 3 is not on the panel's clock; give np.datetime64 moments"),
        ({"folds": [day(3), StepsBack(1)]}, OptionError, "not on the panel's clock; give np.datetime64 moments, or StepsBack"),
        ({"quantile_levels": (0.6, 0.9)}, OptionError, "a backtest scores the median, and quantile_levels [0.6, 0.9]"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        run(panel_of(RISING), **{"horizon": 3} | options)


def test_the_smallest_panel_that_is_said_to_be_enough_is_enough():
    result, _ = run(panel_of({"a": np.arange(22.0)}), horizon=3, folds=7)
    assert len(result.folds) == 7
    assert result.folds[0].origin == day(0)


def test_an_origin_at_or_after_the_end_is_refused():
    with pytest.raises(OptionError, match="StepsBack must go back at least 1 step, got 0"):
        StepsBack(0)


def test_moments_off_an_integer_clock_are_refused():
    with pytest.raises(OptionError, match="give integer steps, or StepsBack for all"):
        run(panel_of(RISING, integer=True), horizon=3, folds=[day(3)])


def test_origins_given_in_any_order_run_from_old_to_new():
    result, _ = run(panel_of(RISING), horizon=3, folds=[day(9), day(4)])
    assert [fold.origin for fold in result.folds] == [day(4), day(9)]
    result, _ = run(panel_of(RISING), horizon=3, folds=[StepsBack(3), StepsBack(9)])
    assert [fold.origin for fold in result.folds] == [StepsBack(9), StepsBack(3)]


def spoiled(**changes):
    return lambda forecast: replace(forecast, **{name: change(forecast) for name, change in changes.items()})


def first_only(forecast):
    return replace(
        forecast, series_ids=("a",), timestamps=forecast.timestamps[:1].copy(), quantiles=forecast.quantiles[:1].copy()
    )


def holed(forecast):
    quantiles = forecast.quantiles.copy()
    quantiles[1, 2, 0] = NAN
    return quantiles


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled(series_ids=lambda f: f.series_ids[::-1]), "model 'fake' answered with series 'b' in the place of 'a'"),
        (first_only, "model 'fake' was asked for number of series 2, and answered with 1"),
        (spoiled(quantile_levels=lambda f: (0.2, 0.5, 0.8)), "was asked for quantile levels (0.1, 0.5, 0.9)"),
        (
            spoiled(timestamps=lambda f: f.timestamps + DAY),
            "forecasts series 'a' from 2024-01-19T00:00:00.000000000, the first row after the origin is 2024-01-18T",
        ),
        (
            spoiled(quantiles=holed),
            "forecasts nan for series 'b', step 3, quantile 0.1, from origin 2024-01-17; a forecast has to be finite",
        ),
    ],
)
def test_a_model_that_answers_something_else_is_not_scored(spoil, message):
    with pytest.raises(ModelError, match=re.escape(message)):
        run(panel_of(RISING), Fake(spoil=spoil), horizon=3, folds=1)


def test_what_was_forecast_by_a_fallback_is_told_through_transforms_and_last_touches():
    def fell(forecast):
        return replace(forecast, fallbacks=(("b", "no root, naive instead"),))

    model = Fake(spoil=fell)
    flow = ForecastFlow(
        transforms=(Fill(), Log1p(), BoxCox(), Scale()), model=model, postprocess=(clip_below_zero, round_to_integers)
    )
    result = backtest(flow, panel_of({name: values + 1 for name, values in RISING.items()}), horizon=3, folds=2)
    assert result.fallbacks == (
        Fallback(origin="2024-01-14", series_id="b", reason="no root, naive instead"),
        Fallback(origin="2024-01-17", series_id="b", reason="no root, naive instead"),
    )
    assert result.fallbacks_frame().columns.tolist() == ["unique_id", "origin", "reason"]
    assert result.fallbacks_frame()["unique_id"].tolist() == ["b", "b"]
    plain = backtest(ForecastFlow(model=Fake()), panel_of(RISING), horizon=3)
    assert plain.fallbacks == () and len(plain.fallbacks_frame()) == 0


def test_past_covariates_end_with_the_history_and_static_features_stay_with_their_series():
    panel = panel_of(RISING)
    told = replace(
        panel,
        past_covariates=panel.target[:, None],
        past_covariate_names=("seen",),
        static_reals=np.arange(len(panel), dtype=float)[:, None],
        static_real_names=("number",),
    )
    model = Fake()
    run(told, model, horizon=3, folds=2)
    for record in model.log:
        np.testing.assert_array_equal(record.panel.past_covariates[:, 0], record.panel.target)
        assert record.panel.static_reals[:, 0].tolist() == [panel.series_ids.index(one) for one in record.panel.series_ids]


def test_an_empty_panel_is_refused():
    empty = panel_of(RISING).select([])
    with pytest.raises(DataError, match="the panel spans 0 steps"):
        run(empty, horizon=3)
    with pytest.raises(DataError, match=r"none of 3 origins has a series to forecast\. Ask"):
        run(replace(empty, freq=1), horizon=3)

"""The models of statsforecast: what is taken over as it is, what is not, and what happens when one cannot fit a series."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsforecast.models as library
from scipy.special import ndtri

import tsforecast
from tsforecast.errors import HistoryTooShort, ModelError, OptionError
from tsforecast.models import statistical as module
from tsforecast.models.auto_arima import AutoARIMA
from tsforecast.models.auto_ets import AutoETS
from tsforecast.models.statistical import History, StatisticalModel, demand_quantiles, ets_deviation, without_gaps
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

ALONE = TrainConfig(workers=1)
NAMES = ("auto_arima", "auto_ets", "auto_theta", "croston", "mstl", "tsb")


def panel_of(*series: FloatArray, freq: str = "MS", season: int = 12) -> Panel:
    parts = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": pd.date_range("2020-01-01", periods=len(y), freq=freq), "y": y})
        for i, y in enumerate(series)
    ]
    return tsforecast.panel_from_frame(pd.concat(parts, ignore_index=True), freq=freq, season=season)


def monthly(seed: int, length: int = 84) -> FloatArray:
    """Level, slope, a yearly pattern and noise: positive."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    pattern = rng.normal(0, 1, 12)
    return 40 + rng.uniform(-0.1, 0.2) * t + np.cumsum(rng.normal(0, 0.15, length)) + pattern[t % 12] + rng.normal(0, 0.4, length)


def of_unit_spread(y: FloatArray) -> FloatArray:
    """`y` about as wide as one, so that it reaches the library in the units it has."""
    y = y / np.std(y)
    assert module.unit(y) == 1.0
    return y


def forecast(name: str, panel: Panel, horizon: int, levels: tuple[float, ...] = (0.1, 0.5, 0.9), **options: Any) -> Any:
    recipe = tsforecast.build_model(name, **options)
    return recipe.fit(panel, horizon=horizon, train=ALONE).predict(panel, quantile_levels=levels)


# The same numbers as the library


@pytest.mark.parametrize("model", ["ZZZ", "ANN", "AAN", "MNN", "MAN", "ANA"])
def test_ets_forecasts_are_those_of_the_library(model: str) -> None:
    y = of_unit_spread(monthly(0))
    direct = library.AutoETS(season_length=12, model=model).forecast(y, h=15)["mean"]
    np.testing.assert_allclose(forecast("auto_ets", panel_of(y), 15, model=model).median[0], direct, rtol=1e-9)


@pytest.mark.parametrize("model", ["ANN", "AAN", "MNN", "MAN", "MNA", "ANA", "AAA"])
@pytest.mark.parametrize("damped", [False, True])
def test_ets_intervals_are_those_of_the_library_at_the_end_of_its_horizon(model: str, damped: bool) -> None:
    if damped and model[1] == "N":
        pytest.skip("no trend to damp")
    y = of_unit_spread(monthly(1))
    mine = forecast("auto_ets", panel_of(y, season=4), 10, (0.1, 0.9), model=model, damped=damped).quantiles[0]
    fitted = library.AutoETS(season_length=4, model=model, damped=damped).fit(y)
    for h in range(1, 11):  # with a season, its 2.1.1 takes the seasons to the end of the horizon for those to every step
        direct = fitted.predict(h, level=[80.0])
        np.testing.assert_allclose(mine[h - 1], [direct["lo-80.0"][-1], direct["hi-80.0"][-1]], rtol=1e-9)


def test_ets_intervals_with_a_multiplicative_season_are_those_of_simulated_futures() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(96)
    y = (50 + 0.3 * t) * (1 + 0.4 * np.sin(t * np.pi / 2)) * (1 + rng.normal(0, 0.08, 96))
    fitted = library.AutoETS(season_length=4, model="MAM", damped=False).fit(y)
    model = fitted.model_
    alpha, beta, gamma = model["par"][:3]
    paths, steps = 40_000, 10
    level, slope = np.full(paths, model["states"][-1][0]), np.full(paths, model["states"][-1][1])
    seasons = [np.full(paths, value) for value in model["states"][-1][2:][::-1]]  # the first is that of the next step
    future = np.empty((steps, paths))
    for h in range(steps):
        season = seasons.pop(0)
        error = rng.normal(0, np.sqrt(model["sigma2"]), paths)
        future[h] = (level + slope) * season * (1 + error)
        level, slope = (level + slope) * (1 + alpha * error), slope + beta * (level + slope) * error
        seasons.append(season * (1 + gamma * error))
    mean = fitted.predict(steps)["mean"]
    np.testing.assert_allclose(future.mean(axis=1), mean, rtol=0.01)
    np.testing.assert_allclose(ets_deviation(model, mean), future.std(axis=1), rtol=0.02)


def test_arima_forecasts_are_those_of_the_library_on_the_standardised_series() -> None:
    y = monthly(2, 60)
    plain = (y - y.mean()) / y.std()
    orders = {"max_p": 1, "max_q": 1, "max_P": 0, "max_Q": 1, "start_p": 1, "start_q": 1, "start_P": 0, "start_Q": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of candidates it does not choose
        direct = library.AutoARIMA(season_length=12, approximation=True, **orders).forecast(plain, h=14, level=[80.0])
    mine = forecast(
        "auto_arima", panel_of(y), 14, max_p=1, max_q=1, max_seasonal_p=0, max_seasonal_q=1, approximation=True
    ).quantiles[0]
    expected = np.stack([direct["lo-80.0"], direct["mean"], direct["hi-80.0"]], axis=1)
    np.testing.assert_allclose(mine, y.mean() + y.std() * expected, rtol=1e-9)


def test_theta_forecasts_are_those_of_the_library_and_intervals_those_of_many_draws() -> None:
    from statsforecast.theta import compute_pi_samples

    y = of_unit_spread(np.cumsum(np.random.default_rng(4).normal(0, 1, 90)) + 50)
    out = forecast("auto_theta", panel_of(y, season=1), 12)
    np.testing.assert_allclose(out.median[0], library.AutoTheta(season_length=1).forecast(y, h=12)["mean"], rtol=1e-9)
    model = library.AutoTheta(season_length=1).fit(y).model_
    state = {"n": 90, "states": model["states"], "mean_y": model["mean_y"], **{k: model["par"][k] for k in ("alpha", "theta")}}
    drawn = compute_pi_samples(h=12, sigma=np.std(model["residuals"][3:], ddof=1), n_samples=20_000, **state)
    width = (out.quantiles[0, :, 2] - out.quantiles[0, :, 0]) / (2 * ndtri(0.9))
    np.testing.assert_allclose(width, drawn.std(axis=1), rtol=0.04)


@pytest.mark.parametrize("decomposition", ["additive", "multiplicative"])
def test_the_season_is_no_part_of_the_errors_of_the_theta_method(decomposition: str) -> None:
    rng = np.random.default_rng(5)
    t = np.arange(120)
    y = 100 + 30 * np.sin(t * np.pi / 6) + rng.normal(0, 1, 120)
    out = forecast("auto_theta", panel_of(y), 12, decomposition=decomposition)
    width = (out.quantiles[0, :, 2] - out.quantiles[0, :, 0]) / (2 * ndtri(0.9))
    assert width.min() > 0.5 and width.max() < 2.0  # noise of one under a season of thirty
    np.testing.assert_allclose(out.median[0], 100 + 30 * np.sin(np.arange(120, 132) * np.pi / 6), atol=4)


def test_mstl_forecasts_are_those_of_the_library() -> None:
    y = of_unit_spread(monthly(6))
    direct = library.MSTL(season_length=12).forecast(y, h=15, level=[80.0])
    expected = np.stack([direct["lo-80.0"], direct["mean"], direct["hi-80.0"]], axis=1)
    np.testing.assert_allclose(forecast("mstl", panel_of(y), 15).quantiles[0], expected, rtol=1e-9)


def test_mstl_of_hourly_series_has_the_week_too_once_there_are_two() -> None:
    rng = np.random.default_rng(7)
    t = np.arange(400)
    y = of_unit_spread(np.sin(t * np.pi / 12) + np.where(t // 24 % 7 < 5, 0.0, -2.0) + rng.normal(0, 0.1, 400))
    panel = panel_of(y, y[:300], freq="h", season=24)
    out = forecast("mstl", panel, 30)
    np.testing.assert_allclose(out.median[0], library.MSTL(season_length=[24, 168]).forecast(y, h=30)["mean"], rtol=1e-9)
    short = of_unit_spread(y[:300])
    alone = forecast("mstl", panel_of(short, freq="h", season=24), 30).median[0]
    np.testing.assert_allclose(alone, library.MSTL(season_length=24).forecast(short, h=30)["mean"], rtol=1e-9)
    days = forecast("mstl", panel, 30, seasons=[24]).median[0]
    np.testing.assert_allclose(days, library.MSTL(season_length=24).forecast(y, h=30)["mean"], rtol=1e-9)


# Intermittent demand, by loops

DEMAND = np.array([0, 0, 3, 0, 5, 0, 0, 0, 2, 4, 0, 0, 6, 0, 0, 1, 0, 0], dtype=float)


def croston_by_a_loop(y: FloatArray, bias: float = 1.0) -> tuple[float, FloatArray]:
    """(forecast, what it would have been before each step)."""
    size = interval = None
    since, before = 0, np.zeros(len(y))  # nothing is expected before the first demand
    for t, value in enumerate(y):
        if size is not None:
            before[t] = bias * size / interval
        since += 1
        if value > 0:
            size = value if size is None else size + 0.1 * (value - size)
            interval = since if interval is None else interval + 0.1 * (since - interval)
            since = 0
    return bias * size / interval, before


def tsb_by_a_loop(y: FloatArray, alpha_d: float, alpha_p: float) -> tuple[float, FloatArray]:
    size, chance, before = None, None, np.zeros(len(y))
    for t, value in enumerate(y):
        if size is not None:
            before[t] = size * chance
        happens = float(value > 0)
        chance = happens if chance is None else chance + alpha_p * (happens - chance)
        if value > 0:
            size = value if size is None else size + alpha_d * (value - size)
    return size * chance, before


@pytest.mark.parametrize(("variant", "bias"), [("classic", 1.0), ("sba", 0.95)])
def test_croston_is_the_loop(variant: str, bias: float) -> None:
    point, before = croston_by_a_loop(DEMAND, bias)
    out = forecast("croston", panel_of(DEMAND), 3, variant=variant)
    np.testing.assert_allclose(out.median[0], point, rtol=1e-9)
    may_come = [max(point + value - was, 0.0) if value else 0.0 for value, was in zip(DEMAND[1:], before[1:], strict=True)]
    high = np.quantile(may_come, 0.9, method="weibull")
    np.testing.assert_allclose(out.quantiles[0], [[0.0, point, high]] * 3, rtol=1e-9)


def test_croston_optimized_is_the_library_and_takes_its_scatter_from_the_classic_one() -> None:
    y = of_unit_spread(DEMAND)
    out = forecast("croston", panel_of(y), 3, variant="optimized")
    np.testing.assert_allclose(out.median[0], library.CrostonOptimized().forecast(y, h=3)["mean"], rtol=1e-9)
    classic = forecast("croston", panel_of(y), 3)
    np.testing.assert_allclose(out.quantiles[0, :, 2] - out.median[0], classic.quantiles[0, :, 2] - classic.median[0], rtol=1e-9)


def test_tsb_is_the_loop_and_forgets_a_demand_that_has_ended() -> None:
    point, before = tsb_by_a_loop(DEMAND, 0.3, 0.2)
    out = forecast("tsb", panel_of(DEMAND), 3, alpha_d=0.3, alpha_p=0.2)
    may_come = [max(point + value - was, 0.0) if value else 0.0 for value, was in zip(DEMAND[1:], before[1:], strict=True)]
    high = np.quantile(may_come, 0.9, method="weibull")
    np.testing.assert_allclose(out.quantiles[0], [[0.0, point, high]] * 3, rtol=1e-9)
    ended = np.concatenate([DEMAND, np.zeros(40)])
    assert forecast("tsb", panel_of(ended), 1).median[0, 0] < 0.05
    assert forecast("croston", panel_of(ended), 1).median[0, 0] > 0.5


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_missing_steps_are_left_out_of_demand(name: str) -> None:
    holed = np.insert(DEMAND, [4, 4, 9], np.nan)
    out, whole = (forecast(name, panel_of(y), 2).quantiles for y in (holed, DEMAND))
    np.testing.assert_allclose(out, whole, rtol=1e-9)


def test_quantiles_of_demand_are_what_came_before_never_below_zero_and_never_across_the_point_forecast() -> None:
    # no demand; 0.5 + 1, 0.5 + 3 and 0.5 - 0.7 < 0 at levels 1/5 … 4/5: 0, 0, 1.5, 3.5
    past, expected = np.array([9.0, 0, 2, 4, 0.3]), np.array([np.nan, 1, 1, 1, 1])
    found = demand_quantiles(np.array([0.5]), past, expected, (0.2, 0.4, 0.5, 0.55, 0.8, 0.99))
    np.testing.assert_allclose(found, [[0.0, 0.0, 0.5, 1.125, 3.5, 3.5]])
    mostly_none = demand_quantiles(np.array([0.5]), np.array([0.0, 0, 0, 4]), np.ones(4), (0.4, 0.5, 0.6))
    np.testing.assert_allclose(mostly_none, [[0.0, 0.5, 0.5]])


# Missing values, short series


def test_gaps_are_filled_on_top_of_the_average_season() -> None:
    t = np.arange(40)
    y = 3.0 + 0.5 * t + np.array([0, 5, -5, 0])[t % 4]
    holed = y.copy()
    holed[[9, 10, 21, 22, 23, 24]] = np.nan
    np.testing.assert_allclose(without_gaps(holed, 4), y, atol=1.0)  # a season of five either way
    np.testing.assert_allclose(without_gaps(np.array([1.0, np.nan, np.nan, 4.0]), 1), [1, 2, 3, 4])
    assert without_gaps(y, 4) is y


def test_a_place_of_the_season_that_was_never_observed_lies_between_its_neighbours() -> None:
    y = np.tile([0.0, np.nan, 4.0, 2.0], 6)[:-1]
    y[-1] = 4.0
    filled = without_gaps(y, 4)
    assert np.abs(filled[1::4] - 2.0).max() < 1.0


@pytest.mark.parametrize("name", NAMES)
def test_steps_missing_at_the_end_are_forecast_first(name: str) -> None:
    y = monthly(8, 48)
    late = np.concatenate([y, np.full(5, np.nan)])
    options = {"max_p": 1, "max_q": 0, "max_seasonal_p": 0, "max_seasonal_q": 0} if name == "auto_arima" else {}
    after, whole = forecast(name, panel_of(late), 3, **options), forecast(name, panel_of(y), 8, **options)
    np.testing.assert_allclose(after.quantiles, whole.quantiles[:, 5:], rtol=1e-9)
    assert after.timestamps[0, 0] == whole.timestamps[0, 5]


@pytest.mark.parametrize(("name", "need"), [("auto_arima", 7), ("auto_ets", 7), ("auto_theta", 5), ("mstl", 7), ("tsb", 2)])
def test_a_series_too_short_is_refused_by_name(name: str, need: int) -> None:
    panel = panel_of(monthly(0), monthly(1)[:need], np.append(monthly(1)[: need - 1], np.nan))
    message = f"series 's2' has {need - 1} observations, the model needs at least {need}; give it a longer history"
    with pytest.raises(HistoryTooShort, match=message):
        forecast(name, panel, 2)
    out = forecast(name, panel.select([0, 1]), 2)
    assert np.isfinite(out.quantiles).all() and out.fallbacks == ()


# A series that a model cannot fit


def test_a_series_that_is_none_of_demand_is_forecast_by_seasonal_naive_and_named() -> None:
    rows = monthly(3, 30) - 40
    panel = panel_of(DEMAND, rows)
    out = forecast("croston", panel, 4)
    assert out.fallbacks == (("s1", "croston failed with ValueError('demand below 0'); seasonal naive was used"),)
    naive = tsforecast.build_model("seasonal_naive").fit(panel, horizon=4).predict(panel)
    np.testing.assert_array_equal(out.quantiles[1], naive.quantiles[1])
    np.testing.assert_array_equal(out.quantiles[0], forecast("croston", panel_of(DEMAND), 4).quantiles[0])


def test_a_fallback_of_less_than_a_season_repeats_the_last_value() -> None:
    out = forecast("tsb", panel_of(np.array([-1.0, -2.0, -3.0])), 2)
    np.testing.assert_array_equal(out.median, [[-3.0, -3.0]])
    assert [series for series, _ in out.fallbacks] == ["s0"]


def failing(answer: Callable[..., FloatArray], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The second of three series meets `answer` instead of the model."""
    works = AutoETS.answer

    def sometimes(self: AutoETS, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        return (answer if len(history.y) == 50 else works)(self, library, history, levels)

    monkeypatch.setattr(AutoETS, "answer", sometimes)
    return forecast("auto_ets", panel_of(monthly(0), monthly(1, 50), monthly(2)), 6)


def test_a_fit_that_raises_or_ends_in_nothing_finite_does_not_fail_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object) -> FloatArray:
        raise ArithmeticError("singular")

    def is_nan(self: AutoETS, library: Any, history: History, levels: tuple[float, ...]) -> FloatArray:
        return np.full((history.steps, len(levels)), np.nan)

    whole = forecast("auto_ets", panel_of(monthly(0), monthly(1, 50), monthly(2)), 6)
    assert whole.fallbacks == ()
    for answer, words in ((raises, "ArithmeticError('singular')"), (is_nan, "a forecast that is not finite")):
        with monkeypatch.context() as patch:
            out = failing(answer, patch)
        assert out.fallbacks == (("s1", f"auto_ets failed with {words}; seasonal naive was used"),)
        np.testing.assert_array_equal(out.quantiles[[0, 2]], whole.quantiles[[0, 2]])
        np.testing.assert_array_equal(out.median[1], monthly(1, 50)[38:44])


# Processes


def test_processes_give_what_one_process_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_PAYS_FROM", 0.0)
    monkeypatch.setattr(module, "CHUNK_SECONDS", 0.001)
    panel = panel_of(DEMAND, *(monthly(i, 40) for i in range(3)), -monthly(4, 40))
    recipe = tsforecast.build_model("croston")
    alone, together = (recipe.fit(panel, horizon=3, train=TrainConfig(workers=n)).predict(panel) for n in (1, 2))
    np.testing.assert_array_equal(together.quantiles, alone.quantiles)
    assert together.fallbacks == alone.fallbacks != ()


class Bomb:
    """Kills the process that unpickles it, as the out-of-memory killer would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)


def test_a_killed_worker_is_reported_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_PAYS_FROM", 0.0)
    tasks = [module._Task(history=History(y=DEMAND, seasons=(), steps=2), skip=skip) for skip in (0, Bomb())]  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ModelError, match=r"a worker process died while croston was fitting 2 series.*train.workers"):
        module._run(tsforecast.build_model("croston"), (0.5,), tasks, workers=2)  # type: ignore[arg-type]  # it is one


# Are they any good


@pytest.mark.parametrize("name", ["auto_ets", "auto_theta", "auto_arima", "mstl"])
def test_intervals_hold_what_they_promise(name: str) -> None:
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 1, (60, 106))
    ar = np.zeros_like(noise)
    for t in range(1, 106):
        ar[:, t] = 0.7 * ar[:, t - 1] + noise[:, t]
    walk = 0.3 * np.cumsum(noise, axis=1) + 0.7 * noise  # simple exponential smoothing with alpha 0.3
    options = {"max_p": 2, "max_q": 1} if name == "auto_arima" else {}
    for series in (ar[:30], walk[30:]):
        out = forecast(name, panel_of(*(20 + y[:100] for y in series), season=1), 6, **options)
        truth = 20 + series[:, 100:]
        inside = (out.quantiles[:, :, 0] <= truth) & (truth <= out.quantiles[:, :, 2])
        assert 0.66 < inside.mean() < 0.94, f"80 % intervals of {name} hold {inside.mean():.0%}"


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_intervals_of_demand_hold_what_they_promise(name: str) -> None:
    rng = np.random.default_rng(10)
    demand = rng.poisson(4, (40, 106)) * (rng.random((40, 106)) < 0.3)
    out = forecast(name, panel_of(*demand[:, :100].astype(float), season=1), 6)
    inside = (out.quantiles[:, :, 0] <= demand[:, 100:]) & (demand[:, 100:] <= out.quantiles[:, :, 2])
    assert 0.75 < inside.mean() < 0.97


@pytest.mark.parametrize("name", ["auto_ets", "auto_theta", "auto_arima", "mstl"])
def test_monthly_series_are_forecast_better_than_by_repeating_the_last_year(name: str) -> None:
    series = [monthly(seed, 96) for seed in range(20, 28)]
    panel = panel_of(*(y[:84] for y in series))
    truth = np.stack([y[84:] for y in series])
    options = {"max_p": 1, "max_q": 1, "max_seasonal_p": 0, "max_seasonal_q": 1, "approximation": True}
    mine = forecast(name, panel, 12, **(options if name == "auto_arima" else {}))
    naive = forecast("seasonal_naive", panel, 12)
    assert np.abs(mine.median - truth).mean() < 0.9 * np.abs(naive.median - truth).mean()
    assert mine.fallbacks == ()


# Options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("auto_ets", {"model": "ZZ"}, "model must be of three letters such as 'ZZZ' or 'AAN', got 'ZZ'"),
        ("auto_ets", {"model": "AMN"}, "model must be of three letters such as 'ZZZ' or 'AAN', got 'AMN'"),
        ("auto_ets", {"model": "ANM"}, "model 'ANM': a multiplicative season needs error M or Z"),
        ("auto_ets", {"damped": 1}, "damped must be true, false or none, got 1"),
        ("auto_ets", {"season": 0}, "season must be a positive number of steps, got 0"),
        ("auto_theta", {"decomposition": "both"}, "decomposition must be 'multiplicative' or 'additive', got 'both'"),
        ("auto_arima", {"max_p": -1}, "max_p must be a whole number of at least 0, got -1"),
        ("auto_arima", {"approximation": "no"}, "approximation must be true, false or none, got 'no'"),
        ("mstl", {"seasons": [24, 1]}, r"seasons must be numbers of steps from 2 on, got \[24, 1\]"),
        ("croston", {"variant": "best"}, "variant must be one of classic, sba, optimized, got 'best'"),
        ("tsb", {"alpha_p": 1.5}, "alpha_p must lie between 0 and 1, got 1.5"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}$"):
        tsforecast.build_model(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_no_model_can_start_from_another(name: str) -> None:
    panel = panel_of(monthly(0))
    recipe = tsforecast.build_model(name)
    predictor = recipe.fit(panel, horizon=2)
    with pytest.raises(OptionError, match=f"model '{name}' is fitted afresh each time"):
        recipe.fit(panel, horizon=2, start_from=predictor)


def test_the_season_can_be_chosen() -> None:
    y = of_unit_spread(monthly(11))
    direct = library.AutoETS(season_length=6).forecast(y, h=6)["mean"]
    np.testing.assert_allclose(forecast("auto_ets", panel_of(y), 6, season=6).median[0], direct, rtol=1e-9)
    assert isinstance(AutoARIMA(), StatisticalModel)

"""What every registered forecaster promises. A new model is tested by being in the table of models.

A promise that a model cannot keep by its nature stands in an exemption table here, with the reason.
"""

import json
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.errors import CovariateError, DataError, FrequencyError, HistoryTooShort, HorizonError, OptionError
from tsforecast.models.base import Epoch, Predictor
from tsforecast.models.registry import model_class
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

ROOT = Path(__file__).parents[2]
LEVELS = (0.1, 0.5, 0.9)
MANY_LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.975, 0.999)
HORIZON = 8  # longer than the season of 7, so that a second season is reached
TRAIN = TrainConfig(
    max_epochs=3, steps_per_epoch=4, batch_size=16, learning_rate=1e-2, accelerator="cpu", threads=1, workers=1, progress=False
)

NOT_EVERY_STEP_SEES_THE_LAST_VALUE = {
    "seasonal_naive": "by definition a step repeats its own place in the season, and the last value is one place of it",
}
GUESSES_PLACES_NEVER_SEEN = {
    "prophet": "its weekly curve is a Fourier series that nothing holds on a weekday without observations",
}
GETS_WORSE_AT = {"linear": 0.2, "nlinear": 0.2}  # learning rate at which a few epochs are too many
NOT_SCALE_EQUIVARIANT = {
    "deepar": "the logarithm of a window's size is one of its inputs",
}
DRAWS_BY_CONTENT = {
    "prophet": "its futures are drawn from a generator seeded by the values of the series, so only the median is comparable",
}
NOT_SHIFT_EQUIVARIANT = {
    "prophet": "its priors act on the series divided by its largest absolute value, so a shift changes the fit",
    "deepar": "windows are divided by their mean size, as in the paper",
    "auto_ets": "its errors and seasons may be multiplicative, in per cent of the level",
    "auto_theta": "its season is multiplicative, in per cent of the level",
    "mstl": "the errors of its exponential smoothing may be multiplicative, in per cent of the level",
    "croston": "zero is no demand, and a series below zero is not forecast by it",
    "tsb": "zero is no demand, and a series below zero is not forecast by it",
}


def series_values(length: int, *, level: float = 20.0, seed: int = 0) -> FloatArray:
    """A weekly pattern with noise, (length,)."""
    rng = np.random.default_rng(seed)
    return level + 3.0 * np.sin(np.arange(length) * 2 * np.pi / 7) + rng.normal(0, 0.5, length)


def panel_of(series: Sequence[FloatArray], *, freq: str = "D", tz: str | None = None, ids: Sequence[str] = ()) -> Panel:
    """Daily series that start on the same day and are called s0, s1 … unless named."""
    parts = [
        pd.DataFrame(
            {
                "unique_id": ids[i] if ids else f"s{i}",
                "ds": pd.date_range("2024-01-01", periods=len(values), freq=freq, tz=tz),
                "y": values,
            }
        )
        for i, values in enumerate(series)
    ]
    return tsforecast.panel_from_frame(pd.concat(parts, ignore_index=True), freq=freq, season=7)


@lru_cache
def usual_panel() -> Panel:
    """Three series that end on different days; arrays of a panel are read-only, so tests may share it."""
    return panel_of([series_values(length, level=10.0 * (i + 1), seed=i) for i, length in enumerate((60, 45, 80))])


@lru_cache
def fitted(name: str) -> Predictor:
    """`tiny()` fitted on the usual panel; predictors are immutable, so tests may share it."""
    return model_class(name).tiny().fit(usual_panel(), horizon=HORIZON, seed=3, train=TRAIN)


@pytest.fixture(params=tsforecast.available_models())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_last_values(panel: Panel, series: int, values: Sequence[float]) -> Panel:
    """The panel with the last values of one series replaced."""
    target = panel.target.copy()
    end = int(panel.offsets[series + 1])
    target[end - len(values) : end] = values
    return panel.with_target(target)


# What comes out


def test_a_forecast_has_a_row_per_series_in_order_and_starts_one_step_after_each_history(name: str) -> None:
    panel = usual_panel()
    out = fitted(name).predict(panel, quantile_levels=LEVELS)
    assert out.quantiles.shape == (3, HORIZON, 3)
    assert out.series_ids == ("s0", "s1", "s2")
    assert out.quantile_levels == LEVELS
    assert out.timestamps[:, 0].astype("datetime64[D]").astype(str).tolist() == ["2024-03-01", "2024-02-15", "2024-03-21"]
    assert (np.diff(out.timestamps, axis=1) == np.timedelta64(1, "D")).all()


def test_each_row_of_a_forecast_belongs_to_its_own_series(name: str) -> None:
    levels = fitted(name).predict(usual_panel()).median.mean(axis=1)
    assert np.abs(levels - [10.0, 20.0, 30.0]).max() < 4.0  # the series stand ten apart


def test_quantiles_are_finite_and_never_cross(name: str) -> None:
    out = fitted(name).predict(usual_panel(), quantile_levels=MANY_LEVELS)
    assert np.isfinite(out.quantiles).all()
    assert (np.diff(out.quantiles, axis=-1) >= 0).all()


def test_any_quantile_level_can_be_asked_and_does_not_depend_on_the_others(name: str) -> None:
    many = fitted(name).predict(usual_panel(), quantile_levels=MANY_LEVELS)
    for level in (0.01, 0.6, 0.999):
        alone = fitted(name).predict(usual_panel(), quantile_levels=(level,))
        np.testing.assert_allclose(alone.quantiles[:, :, 0], many.quantiles[:, :, MANY_LEVELS.index(level)], rtol=1e-9)
    assert (many.quantiles[:, :, -1] > many.quantiles[:, :, 0]).all()  # noise was seen: an interval has a width


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(name: str) -> None:
    whole = fitted(name).predict(usual_panel())
    for steps in (1, 3):
        part = fitted(name).predict(usual_panel(), horizon=steps)
        np.testing.assert_allclose(part.quantiles, whole.quantiles[:, :steps], rtol=1e-9)
        np.testing.assert_array_equal(part.timestamps, whole.timestamps[:, :steps])


def test_a_panel_with_a_time_zone_is_forecast_on_its_wall_clock(name: str) -> None:
    panel = panel_of([series_values(80)], tz="Europe/Berlin")  # ends on 2024-03-20; the clock is put forward on the 31st
    out = model_class(name).tiny().fit(panel, horizon=14, train=TRAIN).predict(panel)
    assert out.tz == "Europe/Berlin"
    days = pd.DatetimeIndex(out.timestamps[0]).tz_localize("UTC").tz_convert("Europe/Berlin")
    assert (days == pd.date_range("2024-03-21", periods=14, freq="D", tz="Europe/Berlin")).all()


# Same in, same out


def test_the_same_panel_and_seed_give_the_same_forecast(name: str) -> None:
    again = model_class(name).tiny().fit(usual_panel(), horizon=HORIZON, seed=3, train=TRAIN)
    np.testing.assert_array_equal(again.predict(usual_panel()).quantiles, fitted(name).predict(usual_panel()).quantiles)


def test_asking_twice_gives_the_same_answer(name: str) -> None:
    first, second = (fitted(name).predict(usual_panel()).quantiles for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_batch_of_series_gives_what_each_series_gives_alone(name: str) -> None:
    short = series_values(10, level=500.0, seed=7)  # shorter than a context: nothing of its neighbours may fill it up
    panel = panel_of([series_values(60), short, series_values(45, seed=1), short[:9]])
    batch = fitted(name).predict(panel)
    for i in range(4):
        alone = fitted(name).predict(panel.select([i]))
        np.testing.assert_allclose(alone.quantiles[0], batch.quantiles[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(alone.timestamps[0], batch.timestamps[i])


def test_the_order_of_series_does_not_matter(name: str) -> None:
    order = [2, 0, 1]
    batch = fitted(name).predict(usual_panel())
    shuffled = fitted(name).predict(usual_panel().select(order))
    assert shuffled.series_ids == ("s2", "s0", "s1")
    np.testing.assert_allclose(shuffled.quantiles, batch.quantiles[order], rtol=1e-5, atol=1e-5)


def test_a_change_in_one_series_leaves_the_forecasts_of_the_others_alone(name: str) -> None:
    changed = with_last_values(usual_panel(), 1, [500.0] * 10)
    before, after = (fitted(name).predict(panel).quantiles for panel in (usual_panel(), changed))
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], rtol=1e-5, atol=1e-5)
    assert np.abs(after[1] - before[1]).max() > 10.0


def test_a_series_that_was_not_in_the_fit_is_forecast_from_its_own_history(name: str) -> None:
    stranger = panel_of([series_values(50, level=300.0, seed=9)], ids=["stranger"])
    out = fitted(name).predict(stranger)
    assert out.series_ids == ("stranger",)
    assert np.abs(out.median - 300.0).max() < 15.0


def test_threads_share_a_predictor(name: str) -> None:
    alone = [fitted(name).predict(usual_panel().select([i])).quantiles for i in range(3)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        jobs = [pool.submit(fitted(name).predict, usual_panel().select([i % 3])) for i in range(12)]
        for i, job in enumerate(jobs):
            np.testing.assert_allclose(job.result().quantiles, alone[i % 3], rtol=1e-9)


# What is left alone


def test_fitting_and_forecasting_leave_their_input_alone(name: str) -> None:
    panel = panel_of([series_values(60), np.where(np.arange(50) % 9 == 4, np.nan, series_values(50, seed=1))])
    before = {field.name: np.array(getattr(panel, field.name), copy=True) for field in fields(panel)}
    recipe = model_class(name).tiny()
    options = asdict(recipe)
    recipe.fit(panel, horizon=HORIZON, train=TRAIN).predict(panel)
    for key, value in before.items():
        np.testing.assert_array_equal(np.array(getattr(panel, key)), value, err_msg=key)
    assert asdict(recipe) == options


def test_no_global_random_state_is_read_or_changed(name: str) -> None:
    import torch

    def states() -> tuple[object, ...]:
        kind, keys, *rest = np.random.get_state()
        return kind, np.asarray(keys).tolist(), rest, random.getstate(), torch.get_rng_state().tolist()

    def forecast() -> FloatArray:
        recipe = model_class(name).tiny()
        return recipe.fit(usual_panel(), horizon=HORIZON, seed=3, train=TRAIN).predict(usual_panel()).quantiles

    before = states()
    first = forecast()
    assert states() == before
    np.random.random(7), random.random(), torch.rand(3)  # every global state has moved
    np.testing.assert_array_equal(forecast(), first)


def test_recipes_are_frozen_and_made_of_options_that_json_can_say(name: str) -> None:
    recipe = model_class(name).tiny()
    with pytest.raises(FrozenInstanceError):
        setattr(recipe, fields(recipe)[0].name, None)
    options = json.loads(json.dumps(asdict(recipe)))
    assert tsforecast.build_model(name, **options) == recipe


# Histories that are not nice


def works_or_is_refused_by_name(call: Callable[[], FloatArray], series_id: str) -> FloatArray | None:
    """The quantiles, checked to be finite and in order; None where an error names the series."""
    try:
        quantiles = call()
    except DataError as error:
        assert error.series_id == series_id and repr(series_id) in str(error), f"{error!r} does not name {series_id!r}"
        return None
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    return quantiles


def fit_and_forecast(name: str, panel: Panel) -> FloatArray:
    return model_class(name).tiny().fit(panel, horizon=HORIZON, train=TRAIN).predict(panel).quantiles


HOLES = {
    "at the start": lambda y: np.concatenate([np.full(5, np.nan), y[5:]]),
    "one inside": lambda y: np.where(np.arange(len(y)) == 30, np.nan, y),
    "many inside": lambda y: np.where(np.random.default_rng(0).random(len(y)) < 0.3, np.nan, y),
    "a whole season at the end": lambda y: np.concatenate([y[:-7], np.full(7, np.nan)]),
    "one place of the season": lambda y: np.where(np.arange(len(y)) % 7 == 3, np.nan, y),
}


@pytest.mark.parametrize("hole", HOLES)
def test_ragged_lengths_and_missing_values_work_or_are_refused_by_name(name: str, hole: str) -> None:
    panel = panel_of([series_values(60), HOLES[hole](series_values(75, level=50.0, seed=1))], ids=["whole", "holed"])
    quantiles = works_or_is_refused_by_name(lambda: fit_and_forecast(name, panel), "holed")
    if hole == "one place of the season" and name in GUESSES_PLACES_NEVER_SEEN:
        return
    if quantiles is not None:
        assert np.abs(quantiles[1, :, 1] - 50.0).max() < 15.0  # a hole is not a zero


@pytest.mark.parametrize("observed", [0, 1, 2, 3, 7])
def test_a_short_series_is_forecast_or_refused_by_name(name: str, observed: int) -> None:
    short = np.full(max(observed, 2), np.nan)
    short[len(short) - observed :] = [4.0, 6.0, 5.0, 4.0, 7.0, 5.0, 6.0][:observed]
    panel = panel_of([series_values(60), short], ids=["long", "short"])
    quantiles = works_or_is_refused_by_name(lambda: fit_and_forecast(name, panel), "short")
    assert (quantiles is None) or observed > 0, "a series without any observation cannot be forecast"
    if quantiles is not None:
        assert np.abs(quantiles[1, :, 1] - 5.0).max() < 50.0


@pytest.mark.parametrize("constant", [0.0, 5.0, -3e6])
def test_a_constant_series_goes_on_as_it_is(name: str, constant: float) -> None:
    panel = panel_of([series_values(60), np.full(60, constant)], ids=["usual", "flat"])
    quantiles = works_or_is_refused_by_name(lambda: fit_and_forecast(name, panel), "flat")
    assert quantiles is not None
    np.testing.assert_allclose(quantiles[1, :, 1], constant, rtol=1e-3, atol=1e-3)


def test_an_outlier_of_a_million_leaves_the_forecast_finite_and_no_larger_than_it(name: str) -> None:
    values = series_values(60)
    values[-20] = 1e6
    panel = panel_of([series_values(60, seed=1), values], ids=["usual", "struck"])
    quantiles = works_or_is_refused_by_name(lambda: fit_and_forecast(name, panel), "struck")
    assert quantiles is not None
    assert np.abs(quantiles[1, :, 1]).max() <= 1e6
    assert np.abs(quantiles[0, :, 1] - 20.0).max() < 10.0  # nor does it reach the other series


# What a forecast may know


def test_perturbing_the_last_observation_changes_every_step(name: str) -> None:
    panel = usual_panel()
    changed = with_last_values(panel, 0, [float(panel.target[panel.offsets[1] - 1]) + 4.0])
    difference = fitted(name).predict(changed).median[0] - fitted(name).predict(panel).median[0]
    moved = np.abs(difference) > 1e-6
    if name in NOT_EVERY_STEP_SEES_THE_LAST_VALUE:
        assert moved.tolist() == [step % 7 == 0 for step in range(1, HORIZON + 1)], NOT_EVERY_STEP_SEES_THE_LAST_VALUE[name]
        np.testing.assert_allclose(difference[6], 4.0)
    else:
        assert moved.all(), f"steps {np.flatnonzero(~moved) + 1} do not see the last observation"


def test_perturbing_anything_after_the_origin_changes_nothing(name: str) -> None:
    origin = np.datetime64("2024-02-10", "ns")
    panel = usual_panel()
    later = panel.timestamps > origin
    assert later.any()
    other = panel.with_target(np.where(later, panel.target * -7.0 + 1e5, panel.target))
    forecasts = []
    for known in (panel.until(origin), other.until(origin)):
        predictor = model_class(name).tiny().fit(known, horizon=HORIZON, seed=3, train=TRAIN)
        assert predictor.facts.trained_until == "2024-02-10T00:00:00"
        forecasts.append(predictor.predict(known))
    np.testing.assert_array_equal(forecasts[0].quantiles, forecasts[1].quantiles)
    assert (forecasts[0].timestamps[:, 0] == origin + np.timedelta64(1, "D")).all()


def test_histories_in_other_units_are_forecast_in_those_units(name: str) -> None:
    if name in NOT_SCALE_EQUIVARIANT:
        pytest.skip(NOT_SCALE_EQUIVARIANT[name])
    panel = usual_panel()
    plain = fitted(name).predict(panel)
    scaled = fitted(name).predict(panel.with_target(32.0 * panel.target))
    if name in DRAWS_BY_CONTENT:
        np.testing.assert_allclose(scaled.median, 32.0 * plain.median, rtol=1e-4)
    else:
        np.testing.assert_allclose(scaled.quantiles, 32.0 * plain.quantiles, rtol=1e-4)


def test_shifting_a_history_shifts_its_forecast(name: str) -> None:
    if name in NOT_SHIFT_EQUIVARIANT:
        pytest.skip(NOT_SHIFT_EQUIVARIANT[name])
    panel, recipe = usual_panel(), model_class(name).tiny()
    if "space" in {field.name for field in fields(recipe)}:
        recipe = replace(recipe, space="linear")
    predictor = recipe.fit(panel, horizon=HORIZON, seed=3, train=TRAIN)
    plain = predictor.predict(panel).quantiles
    moved = predictor.predict(panel.with_target(40.0 * panel.target - 900.0)).quantiles
    np.testing.assert_allclose(moved, 40.0 * plain - 900.0, rtol=1e-4, atol=40 * 1e-4)


def test_known_future_covariates_are_demanded_checked_and_used(name: str) -> None:
    if "known-future" not in model_class(name).about.covariates:
        pytest.skip(f"{name} reads no covariates")
    rng = np.random.default_rng(5)
    panel = panel_of([series_values(70), series_values(70, seed=1)])
    price = rng.normal(size=len(panel.target))
    panel = replace(panel, target=panel.target + 5.0 * price, covariates=price[:, None], covariate_names=("price",))
    predictor = model_class(name).tiny().fit(panel, horizon=HORIZON, train=TRAIN)
    low, high = (predictor.predict(panel, future=np.full((2, HORIZON, 1), value)).median for value in (-1.0, 1.0))
    np.testing.assert_allclose(high - low, 10.0, atol=4.0)  # five per unit of price
    assert (high - low).mean() == pytest.approx(10.0, abs=2.0)
    with pytest.raises(CovariateError, match=r"needs the future of covariates \['price'\]; pass future="):
        predictor.predict(panel)
    with pytest.raises(CovariateError, match=r"future must have shape \(S, H, C\) = \(2, 8, 1\), got \(2, 7, 1\)"):
        predictor.predict(panel, future=np.zeros((2, 7, 1)))
    with pytest.raises(CovariateError, match=r"fitted with covariates \['price'\], the panel has \[\]"):
        predictor.predict(replace(panel, covariates=None, covariate_names=()), future=np.zeros((2, HORIZON, 1)))


# What is refused


@pytest.mark.parametrize("horizon", [0, -3, True, 2.5, "6"])
def test_an_impossible_horizon_is_refused_in_fit_and_in_predict(name: str, horizon: object) -> None:
    message = f"horizon must be a positive number of steps, got {horizon!r}"
    with pytest.raises(HorizonError) as caught:
        model_class(name).tiny().fit(usual_panel(), horizon=horizon, train=TRAIN)
    assert str(caught.value) == message and caught.value.field == "horizon"
    with pytest.raises(HorizonError) as caught:
        fitted(name).predict(usual_panel(), horizon=horizon)
    assert str(caught.value) == message


def test_a_horizon_longer_than_the_fitted_one_is_refused(name: str) -> None:
    with pytest.raises(
        HorizonError, match=f"horizon 9 is longer than the 8 steps this '{name}' was fitted for.*fit with horizon=9"
    ):
        fitted(name).predict(usual_panel(), horizon=9)


def test_series_of_another_frequency_are_refused(name: str) -> None:
    hourly = panel_of([series_values(60)], freq="h")
    with pytest.raises(FrequencyError, match="fitted on steps of 'D', these series step by 'h'; resample them"):
        fitted(name).predict(hourly)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "quantile_levels is empty"),
        ((0.0, 0.5), r"must lie in \(0, 1\), got 0.0"),
        ((0.9, 0.1), "must ascend without repeats"),
    ],
)
def test_impossible_quantile_levels_are_refused(name: str, levels: tuple[float, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fitted(name).predict(usual_panel(), quantile_levels=levels)


def test_an_unknown_option_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=f"model '{name}' has no option 'max_epochz'"):
        tsforecast.build_model(name, max_epochz=3)


# Fitting


def optimiser_steps(call: Callable[[], object]) -> int:
    """How often any torch optimiser stepped while `call` ran."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    count = [0]

    def hook(*_: object) -> None:
        count[0] += 1

    handle = register_optimizer_step_post_hook(hook)
    try:
        call()
    finally:
        handle.remove()
    return count[0]


def test_tiny_fits_in_few_steps_with_no_options_given(name: str) -> None:
    log: list[Epoch] = []
    recipe = model_class(name).tiny()
    quiet = TrainConfig(accelerator="cpu", threads=1, progress=False)
    steps = optimiser_steps(lambda: recipe.fit(usual_panel(), horizon=HORIZON, train=quiet, callbacks=[log.append]))
    assert steps <= 100  # a step of a tiny network takes a few milliseconds
    assert len(log) <= 40


def test_callbacks_are_told_of_each_epoch_in_order(name: str) -> None:
    log: list[Epoch] = []
    model_class(name).tiny().fit(usual_panel(), horizon=HORIZON, train=TRAIN, callbacks=[log.append, log.append])
    if not model_class(name).about.needs_training:
        assert log == []
        return
    assert [epoch.number for epoch in log[::2]] == list(range(1, len(log) // 2 + 1)) != []
    assert log[::2] == log[1::2]
    assert all(np.isfinite(list(epoch.values.values())).all() for epoch in log)


def test_the_saved_weights_are_those_of_the_best_epoch(name: str) -> None:
    rise = np.arange(70) + np.random.default_rng(0).normal(0, 0.5, 70)
    panel = panel_of([np.concatenate([rise, 70.0 - 2.0 * np.arange(HORIZON)])])  # what it learns is wrong in the end

    def fit(patience: int, log: list[Epoch]) -> Predictor:
        train = replace(TRAIN, max_epochs=12, patience=patience, schedule="constant", learning_rate=GETS_WORSE_AT.get(name, 0.02))
        return model_class(name).tiny().fit(panel, horizon=HORIZON, seed=1, train=train, callbacks=[log.append])

    log: list[Epoch] = []
    whole = fit(50, log)
    values = whole.state()[1]
    if "best_val_loss" not in values:
        pytest.skip(f"{name} has no epochs to choose from")
    losses = [epoch.values["val_loss"] for epoch in log]
    best = values["best_epoch"]
    assert [entry["val_loss"] for entry in values["history"]] == losses
    assert (best, values["best_val_loss"]) == (1 + losses.index(min(losses)), min(losses))
    # The same training stopped sooner has the same best epoch but another last one.
    bests = [epoch for epoch in range(1, 13) if losses[epoch - 1] == min(losses[:epoch])]
    patience = max(np.diff(bests), default=1)
    sooner: list[Epoch] = []
    stopped = fit(int(patience), sooner)
    assert best < len(sooner) < len(log), "this training has to get worse at its end, or it shows nothing"
    np.testing.assert_array_equal(stopped.predict(panel).quantiles, whole.predict(panel).quantiles)


def test_facts_say_what_the_fit_has_seen(name: str) -> None:
    facts = fitted(name).facts
    assert (facts.horizon, facts.freq, facts.season, facts.seed, facts.series) == (HORIZON, "D", 7, 3, 3)
    assert facts.trained_until == "2024-03-20T00:00:00"
    assert facts.observations == 60 + 45 + 80
    assert fitted(name).recipe == model_class(name).tiny()
    about = model_class(name).about
    assert about.source and about.minimal_history and about.family


# Files


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder for each model, as `save` wrote it."""
    folder = tmp_path_factory.mktemp("models")
    for name in tsforecast.available_models():
        assert fitted(name).save(folder / name) == folder / name
    return folder


READ_IN_A_FRESH_PROCESS = """
import json, sys
import pandas as pd
import tsforecast
folder, *names = sys.argv[1:]
panel = tsforecast.panel_from_frame(pd.read_parquet(f"{folder}/panel.parquet"), freq="D", season=7)
unpickled = []
sys.addaudithook(lambda event, args: unpickled.append(str(args)) if event == "pickle.find_class" else None)
models = {name: tsforecast.load_model(f"{folder}/{name}") for name in names}
print(json.dumps({"unpickled": unpickled, **{name: model.predict(panel).quantiles.tolist() for name, model in models.items()}}))
"""


@pytest.fixture(scope="module")
def read_elsewhere(stored: Path) -> dict[str, list[object]]:
    """What each stored model forecasts when a fresh Python process reads it, and what that process unpickled."""
    panel = usual_panel()
    frame = pd.DataFrame({"unique_id": np.repeat(panel.series_ids, panel.lengths), "ds": panel.timestamps, "y": panel.target})
    frame.to_parquet(stored / "panel.parquet")
    command = [sys.executable, "-c", READ_IN_A_FRESH_PROCESS, str(stored), *tsforecast.available_models()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_save_then_load_gives_the_same_numbers(name: str, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loading a model must not unpickle anything")

    for entrance in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, entrance, refuse)
    loaded = tsforecast.load_model(stored / name)
    assert loaded.facts == fitted(name).facts
    assert loaded.recipe == fitted(name).recipe
    again, first = (model.predict(usual_panel(), quantile_levels=MANY_LEVELS) for model in (loaded, fitted(name)))
    np.testing.assert_array_equal(again.quantiles, first.quantiles)
    np.testing.assert_array_equal(again.timestamps, first.timestamps)


def test_a_fresh_process_reads_it_and_forecasts_the_same(name: str, read_elsewhere: dict[str, list[object]]) -> None:
    quantiles = np.array(read_elsewhere[name], dtype=np.float64)
    np.testing.assert_allclose(quantiles, fitted(name).predict(usual_panel()).quantiles, rtol=1e-6)
    assert read_elsewhere["unpickled"] == []


def test_what_is_saved_is_json_and_tensors_without_a_pickle(name: str, stored: Path) -> None:
    files = sorted(path for path in (stored / name).rglob("*") if path.is_file())
    assert [path.name for path in files] == ["manifest.json", "weights.safetensors"]
    for path in files:
        content = path.read_bytes()
        with pytest.raises(ValueError):  # no pickle, in whatever words pickletools puts it
            list(pickletools.genops(content))
        pickles = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # 0x80 alone may begin a length
        assert not content.startswith((*pickles, b"PK", b"\x1f\x8b")), f"{path.name} is a pickle or an archive"
    json.loads((stored / name / "manifest.json").read_text())
    content = (stored / name / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in header.values()]
    assert len(content) == 8 + length + max(ends, default=0)  # nothing hides behind the tensors
    assert {entry["dtype"] for entry in header.values()} <= {"F16", "BF16", "F32", "F64", "I64", "I32", "U8", "BOOL"}


def test_saving_twice_writes_the_same_bytes(name: str, stored: Path, tmp_path: Path) -> None:
    tsforecast.load_model(stored / name).predictor.save(tmp_path / "again")
    for path in (stored / name).iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_history_too_short_says_how_much_it_has_and_needs(name: str) -> None:
    empty = panel_of([series_values(60), np.full(9, np.nan)], ids=["long", "empty"])
    with pytest.raises(HistoryTooShort, match=r"series 'empty' has 0 observations, the model needs at least \d+"):
        fitted(name).predict(empty)

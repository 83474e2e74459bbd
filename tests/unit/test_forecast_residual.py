"""forecast_residual: the errors are those of the forecaster itself, asked anew at each step."""

import numpy as np
import pytest

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.forecast_residual import NORMAL_RANGE, SMOOTHED, ForecastResidual, ForecastResidualCore
from tsforecast.models.registry import build_forecaster
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

START = np.datetime64("2024-01-01", "ns")
DAY = np.timedelta64(86_400_000_000_000, "ns")
TRAIN = TrainConfig(max_epochs=2, steps_per_epoch=5, batch_size=32, accelerator="cpu", threads=1, workers=1, progress=False)


def rows_with(values: FloatArray, season: int = 7) -> Rows:
    columns = values if values.ndim == 2 else values[:, None]
    return Rows(values=columns, timestamps=START + DAY * np.arange(len(columns)), freq="D", season=season)


def weekly(count: int, seed: int = 0) -> FloatArray:
    return np.sin(np.arange(count) * 2 * np.pi / 7) + np.random.default_rng(seed).normal(0, 0.3, count)


def learnt(rows: Rows, **options: object) -> ForecastResidualCore:
    recipe = ForecastResidual(**options)  # type: ignore[arg-type]  # options of any kind
    return recipe.learn([rows], seed=1, train=TRAIN, callbacks=())[0]


def test_a_step_is_judged_by_the_forecast_that_its_history_alone_gives() -> None:
    values = weekly(120)
    values[60] = np.nan
    core = learnt(rows_with(values), forecaster="seasonal_naive", context=30, least_spread=0.6)
    found = core.evidence(rows_with(values))
    for step in (40, 61, 67, 119):
        past = Panel(
            series_ids=("one",), offsets=np.array([0, 30]), timestamps=START + DAY * np.arange(step - 30, step),
            target=values[step - 30 : step], freq="D", season=7,
        )  # fmt: skip
        low, middle, high = build_forecaster("seasonal_naive").fit(past, horizon=1).predict(past).quantiles[0, 0]
        assert found.expected[step, 0] == pytest.approx(middle)
        spread = max((high - low) / NORMAL_RANGE, 0.6)
        np.testing.assert_allclose(found.causal[0, step, 0], ((values[step] - middle) / spread) ** 2, rtol=1e-9)
    assert np.isnan(found.causal[0, 60, 0]) and np.isfinite(found.expected[60, 0])
    assert np.isnan(found.revised[0, 60, 0])
    middle = np.nanmean(found.causal[0, 70 - SMOOTHED // 2 : 70 + SMOOTHED // 2, 0])
    assert found.revised[0, 70, 0] == pytest.approx(middle, rel=1e-9)


def test_where_the_forecaster_refuses_its_history_nothing_is_judged() -> None:
    values = weekly(100)
    values[20:45] = np.nan
    core = learnt(rows_with(weekly(100)), forecaster="seasonal_naive", context=20)
    found = core.evidence(rows_with(values)).causal[0, :, 0]
    assert np.isnan(found[:8]).all()  # a season and a step are needed
    assert np.isfinite(found[8:20]).all()
    assert np.isnan(found[45:52]).all() and np.isfinite(found[54:]).all()


def test_a_wide_forecast_forgives_where_that_is_asked_for() -> None:
    quiet, loud = 0.2 * weekly(200), 3.0 * np.random.default_rng(2).normal(size=200)
    core = learnt(rows_with(np.stack([quiet, loud], axis=1)), forecaster="seasonal_naive", least_spread=0.05)
    struck = np.stack([quiet, loud], axis=1)
    struck[150] += 4.0
    away = core.evidence(rows_with(struck)).causal[0, 150]
    assert away[0] > 20 * away[1]
    plain = learnt(rows_with(np.stack([quiet, loud], axis=1)), forecaster="seasonal_naive").evidence(rows_with(struck))
    np.testing.assert_allclose(plain.causal[0, 150], (struck[150] - plain.expected[150]) ** 2, rtol=1e-12)


def test_a_network_reads_standardised_values_as_they_are_and_two_seasons_of_them() -> None:
    core = learnt(rows_with(weekly(200)), forecaster="linear", forecaster_options={"hidden": 8})
    assert core.predictor.recipe == build_forecaster("linear", hidden=8, space="linear", context=64)
    assert core.reach == 64  # two weeks are fewer
    positive = rows_with(weekly(60) + 9.0)  # in a logarithm these would be forecast otherwise
    plain, shifted = (core.causal(rows, 20)[1] for rows in (rows_with(weekly(60)), positive))
    np.testing.assert_allclose(shifted - 9.0, plain, atol=1e-4)


def test_the_stored_state_gives_the_same_forecasts() -> None:
    rows = rows_with(weekly(150))
    recipe = ForecastResidual(forecaster="mlp", forecaster_options=(("hidden", 8), ("context", 16), ("patch", 4)))
    core, said = recipe.learn([rows], seed=1, train=TRAIN, callbacks=())
    again = ForecastResidualCore.from_state(recipe, *core.state())
    assert again.reach == core.reach == said["context"] == 16 and again.predictor.facts == core.predictor.facts
    for found, wanted in zip(again.causal(rows, 30), core.causal(rows, 30), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_channels_without_values_are_left_out_of_the_fit_and_too_short_ones_refused() -> None:
    values = np.stack([weekly(100), np.full(100, np.nan)], axis=1)
    core = learnt(rows_with(values), forecaster="seasonal_naive")
    found = core.evidence(rows_with(values)).causal[0]
    assert np.isfinite(found[10:, 0]).all() and np.isnan(found[:, 1]).all()
    for short in (np.full(50, np.nan), weekly(15)):
        with pytest.raises(HistoryTooShort, match="needs at least 16"):
            learnt(rows_with(short))


def test_impossible_options_are_refused_by_name() -> None:
    for options, field, message in (
        ({"forecaster": "lineer"}, "forecaster", "no model 'lineer'"),
        ({"forecaster": "window_energy"}, "forecaster", "detects anomalies and makes no forecasts"),
        ({"least_spread": 0.0}, "least_spread", "least_spread must be a positive number, or none, got 0.0"),
        ({"context": 1}, "context", "context must be at least 2 steps, got 1"),
        ({"forecaster_options": ("hidden",)}, "forecaster_options", "must be .name, value. pairs, got 'hidden'"),
        ({"forecaster": "seasonal_naive", "forecaster_options": {"saeson": 3}}, "saeson", "has no option 'saeson'"),
    ):
        with pytest.raises(OptionError, match=message) as caught:
            ForecastResidual(**options)  # type: ignore[arg-type]  # the point of the test
        assert caught.value.field == field

"""Prophet behind the contract: same numbers as the package alone, but repeatable, in parallel, and quiet."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tests.unit.prophet_cases import (
    ALONE,
    LEVELS,
    days,
    frame_of,
    panel_of,
    prophet_alone,
    values,
    with_covariates,
)
from tsforecast.errors import CovariateError, FrequencyError, HistoryTooShort, ModelError, OptionError
from tsforecast.models import processes
from tsforecast.models import prophet as module
from tsforecast.models import prophet_series as series_module
from tsforecast.models.base import Epoch, load_predictor
from tsforecast.models.prophet import ProphetModel, ProphetPredictor
from tsforecast.nn.config import TrainConfig

ROOT = Path(__file__).parents[2]


# The same numbers as prophet itself


def test_the_median_is_prophets_yhat() -> None:
    panel = panel_of(values())
    out = ProphetModel().fit(panel, horizon=10, train=ALONE).predict(panel)
    alone = prophet_alone(frame_of(values())).predict(days("2024-03-31", 10))
    np.testing.assert_allclose(out.median[0], alone["yhat"], rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seasonality_mode": "multiplicative", "changepoint_prior_scale": 2.0},
        {"growth": "flat"},
        {"changepoint_prior_scale": 2.0, "n_changepoints": 8},
    ],
    ids=["default", "multiplicative", "flat", "restless trend"],
)
def test_quantiles_agree_with_those_of_prophets_own_sampler(options: dict[str, object]) -> None:
    y = values() * (1.0 + 0.6 * np.sin(np.arange(90) * 2 * np.pi / 7))
    state = np.random.get_state()
    model = prophet_alone(frame_of(y), uncertainty_samples=8000, **options)
    drawn = model.predictive_samples(days("2024-03-31", 30))["yhat"]
    np.random.set_state(state)  # prophet draws from the global generator
    recipe = ProphetModel(uncertainty_samples=8000, **options)
    out = recipe.fit(panel_of(y), horizon=30, train=ALONE).predict(panel_of(y), quantile_levels=LEVELS)
    expected = np.quantile(drawn, LEVELS, axis=1).T
    width = expected[:, -1:] - expected[:, :1]
    assert np.abs((out.quantiles[0] - expected) / width).max() < 0.05


def test_the_interval_widens_where_the_trend_may_bend() -> None:
    panel = panel_of(values(seed=3))
    recipe = ProphetModel(changepoint_prior_scale=1.0)
    low, high = np.moveaxis(
        recipe.fit(panel, horizon=60, train=ALONE).predict(panel, quantile_levels=(0.1, 0.9)).quantiles[0], -1, 0
    )
    assert (high - low)[-1] > 1.5 * (high - low)[0]


def test_holidays_of_its_own_and_of_a_country_are_prophets() -> None:
    y = values(120)
    shops_shut = [("shut", day, 0, 1) for day in ("2024-01-20", "2024-02-20", "2024-03-20", "2024-05-05")]
    for day in ("2024-01-20", "2024-02-20", "2024-03-20"):
        at = (pd.Timestamp(day) - pd.Timestamp("2024-01-01")).days
        y[at : at + 2] -= 25.0
    panel = panel_of(y)
    recipe = ProphetModel(holidays=shops_shut, holidays_country="US")
    out = recipe.fit(panel, horizon=14, train=ALONE).predict(panel)
    holidays = pd.DataFrame(shops_shut, columns=["holiday", "ds", "lower_window", "upper_window"])
    model = prophet_alone(frame_of(y), country="US", holidays=holidays)
    np.testing.assert_allclose(out.median[0], model.predict(days("2024-04-30", 14))["yhat"], rtol=1e-6)
    ordinary = out.median[0][[3, 4, 7, 8]].mean()
    assert np.all(out.median[0][[5, 6]] < ordinary - 10.0)  # the 5th of May and the day after


def test_regressors_may_have_names_that_prophet_reserves_and_keep_their_order() -> None:
    rng = np.random.default_rng(4)
    covariates = rng.normal(size=(90, 2))
    panel = with_covariates(panel_of(values() + covariates @ [6.0, -3.0]), covariates, ("trend", "y"))
    predictor = ProphetModel().fit(panel, horizon=2, train=ALONE)
    future = np.zeros((1, 2, 2))
    base = predictor.predict(panel, future=future).median[0]
    for one, effect in (((1.0, 0.0), 6.0), ((0.0, 1.0), -3.0)):
        moved = predictor.predict(panel, future=future + np.array(one)).median[0]
        np.testing.assert_allclose(moved - base, effect, atol=0.6)


def test_a_panel_with_a_time_zone_is_fitted_on_the_clock_on_the_wall() -> None:
    hours = np.arange(24 * 12)
    y = 10.0 + 5.0 * (hours % 24 == 9)  # every day at nine, by the clock on the wall
    zoned = panel_of(y + 0.01 * np.sin(hours), start="2024-03-20", freq="h", tz="Europe/Berlin")  # ends on 2024-04-01 at 00:00
    moved = ProphetModel().fit(zoned, horizon=24, train=ALONE).predict(zoned)
    local = pd.DatetimeIndex(moved.timestamps[0]).tz_localize("UTC").tz_convert("Europe/Berlin")
    naive = replace(zoned, timestamps=module._wall(zoned.timestamps, zoned.tz), tz=None)
    frame = pd.DataFrame({"ds": naive.timestamps, "y": naive.target})
    alone = prophet_alone(frame).predict(pd.DataFrame({"ds": local.tz_localize(None)}))
    np.testing.assert_allclose(moved.median[0], alone["yhat"], rtol=1e-6)


@pytest.mark.parametrize(("freq", "length"), [("W-SUN", 120), ("MS", 40), ("QS-OCT", 30), ("B", 60), ("15min", 400)])
def test_other_clocks_have_their_own_seasonalities(freq: str, length: int) -> None:
    panel = panel_of(values(length), freq=freq)
    out = ProphetModel.tiny().fit(panel, horizon=4, train=ALONE).predict(panel)
    assert np.isfinite(out.quantiles).all()
    assert np.abs(out.median - panel.target[-10:].mean()).max() < 30.0


# Whose model answers


def test_a_history_it_was_fitted_on_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of(values(), values(seed=1))
    predictor = ProphetModel.tiny().fit(panel, horizon=5, train=ALONE)
    fitted: list[str] = []
    fit = series_module.fit
    monkeypatch.setattr(
        series_module, "fit", lambda recipe, task, seed: fitted.append(task.series_id) or fit(recipe, task, seed=seed)
    )
    predictor.predict(panel.select([1, 0]))
    predictor.predict(replace(panel, series_ids=("other", "names")))
    assert fitted == []
    changed = panel.target.copy()
    changed[-1] += 3.0  # of the second series
    predictor.predict(panel.with_target(changed))
    assert fitted == ["s1"]
    predictor.predict(panel.without_last(1))
    assert fitted == ["s1", "s0", "s1"]


def test_a_history_with_other_covariates_is_another_history() -> None:
    rng = np.random.default_rng(4)
    price = rng.normal(size=(90, 1))
    panel = with_covariates(panel_of(values() + 6.0 * price[:, 0]), price, ("price",))
    predictor = ProphetModel.tiny().fit(panel, horizon=1, train=ALONE)
    up = np.ones((1, 1, 1))
    halved = with_covariates(panel, price / 2, ("price",))
    effects = [np.ptp([predictor.predict(one, future=sign * up).median for sign in (0.0, 1.0)]) for one in (panel, halved)]
    np.testing.assert_allclose(effects, [6.0, 12.0], rtol=0.1)


def test_a_history_fitted_in_predict_gives_what_a_fit_on_it_gives() -> None:
    first, second = panel_of(values()), panel_of(values(70, seed=5))
    late = ProphetModel.tiny().fit(first, horizon=5, seed=2, train=ALONE).predict(second)
    early = ProphetModel.tiny().fit(second, horizon=5, seed=2, train=ALONE).predict(second)
    np.testing.assert_array_equal(late.quantiles, early.quantiles)


def test_the_seed_decides_the_drawn_futures_and_not_the_median() -> None:
    panel = panel_of(values())
    one, other = (ProphetModel.tiny().fit(panel, horizon=5, seed=seed, train=ALONE).predict(panel) for seed in (1, -2))
    assert np.abs(one.quantiles[:, :, 0] - other.quantiles[:, :, 0]).max() > 1e-6
    np.testing.assert_allclose(one.median, other.median, rtol=1e-9)


def test_threads_may_ask_for_histories_that_have_to_be_fitted() -> None:
    predictor = ProphetModel.tiny().fit(panel_of(values()), horizon=5, train=ALONE)
    panels = [panel_of(values(60, seed=seed)) for seed in range(6)]
    alone = [predictor.predict(panel).quantiles for panel in panels]
    with ThreadPoolExecutor(max_workers=3) as pool:
        together = list(pool.map(lambda panel: predictor.predict(panel).quantiles, panels))
    np.testing.assert_array_equal(together, alone)


# Many series in parallel processes


@pytest.fixture
def eager_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes pay from the first series on."""
    monkeypatch.setattr(series_module, "POOL_PAYS_FROM", 0.0)
    monkeypatch.setattr(series_module, "CHUNK_SECONDS", 0.01)


def test_processes_give_what_one_process_gives_and_tell_of_each_chunk(eager_pool: None) -> None:
    panel = panel_of(*(values(40 + i, seed=i) for i in range(5)))
    log: list[Epoch] = []
    recipe = ProphetModel.tiny()
    together = recipe.fit(panel, horizon=4, train=TrainConfig(workers=2), callbacks=[log.append])
    alone = recipe.fit(panel, horizon=4, train=ALONE)
    assert list(together.models.items()) == list(alone.models.items())  # in the order of the panel
    np.testing.assert_array_equal(together.predict(panel).quantiles, alone.predict(panel).quantiles)
    assert [epoch.number for epoch in log] == [1, 2, 3, 4, 5]
    assert [epoch.values["series_done"] for epoch in log] == [1, 2, 3, 4, 5]
    assert all(epoch.values["series_per_s"] > 0 for epoch in log)


class Bomb:
    """Kills the process that unpickles it, as the out-of-memory killer would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)


def test_a_killed_worker_is_reported_and_not_waited_for(eager_pool: None) -> None:
    tasks = list(module._tasks(ProphetModel(), panel_of(*(values(40, seed=i) for i in range(4)))))
    tasks[1] = replace(tasks[1], series_id=Bomb())
    with pytest.raises(ModelError, match=r"a worker process died while prophet was fitting, \d of 4 series done.*train.workers"):
        series_module.run(ProphetModel.tiny(), tasks, seed=0, workers=2)


# A series that prophet fails on


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stan says no to the series in this list."""
    names: list[str] = []
    fit = series_module.fit

    def fail(options: Any, task: Any, *, seed: int) -> str:
        if task.series_id in names:
            raise RuntimeError("Stan says no Command '/tmp/x1y2'")
        return fit(options, task, seed=seed)

    monkeypatch.setattr(series_module, "fit", fail)
    return names


WHY = 'prophet failed with RuntimeError("Stan says no; seasonal naive was used'


def test_a_series_that_prophet_fails_on_is_forecast_by_seasonal_naive_and_named(failing: list[str], tmp_path: Path) -> None:
    failing.append("s1")
    panel = panel_of(values(), values(seed=1), values(seed=2))
    predictor = ProphetModel.tiny().fit(panel, horizon=9, train=ALONE)
    assert predictor.fallbacks == (("s1", WHY),)
    failing.clear()  # it is remembered and not tried again
    naive = tsforecast.build_model("seasonal_naive").fit(panel, horizon=9).predict(panel)
    for model in (predictor, load_predictor(predictor.save(tmp_path))):
        assert isinstance(model, ProphetPredictor)
        assert (model.fallbacks, model.failures) == (predictor.fallbacks, predictor.failures)
        out = model.predict(panel.select([2, 1, 0]))
        assert out.fallbacks == (("s1", WHY),)
        np.testing.assert_array_equal(out.quantiles[1], naive.quantiles[1])
        clean = ProphetModel.tiny().fit(panel.select([0, 2]), horizon=9, train=ALONE).predict(panel.select([2, 0]))
        np.testing.assert_array_equal(out.quantiles[[0, 2]], clean.quantiles)
        assert clean.fallbacks == ()
        parts = model.components(panel)["trend"]
        assert np.isnan(parts[1]).all() and np.isfinite(parts[[0, 2]]).all()
        np.testing.assert_array_equal(model.predict(panel.select([1])).quantiles[0], naive.quantiles[1])  # alone as in a batch


def test_a_series_that_fails_in_predict_is_named_too(failing: list[str]) -> None:
    predictor = ProphetModel.tiny().fit(panel_of(values()), horizon=3, train=ALONE)
    failing.append("s1")
    assert predictor.predict(panel_of(values(), values(seed=1))).fallbacks == (("s1", WHY),)
    assert predictor.fallbacks == ()


def test_a_failing_series_shorter_than_a_season_goes_on_with_its_last_value(failing: list[str]) -> None:
    failing.append("s1")
    panel = panel_of(values(), values(6))
    out = ProphetModel.tiny().fit(panel, horizon=3, train=ALONE).predict(panel)
    assert out.fallbacks == (("s1", f"{WHY} with a season of 1, as its history has no full season and a step"),)
    np.testing.assert_array_equal(out.median[1], panel.target[-1])


def test_a_forecast_that_is_not_finite_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of(values())
    predictor = ProphetModel.tiny().fit(panel, horizon=3, train=ALONE)
    monkeypatch.setattr(series_module, "_drawn", lambda *_, **__: np.full((3, 4), np.inf))
    out = predictor.predict(panel)
    assert out.fallbacks[0][1].startswith("prophet failed with ArithmeticError('its forecast is not finite'); seasonal naive")
    assert np.isfinite(out.quantiles).all()


def test_where_every_series_fails_there_is_no_model(failing: list[str]) -> None:
    failing.extend(["s0", "s1"])
    with pytest.raises(ModelError, match="prophet could fit none of 2 series; series 's0': prophet failed with Runt") as caught:
        ProphetModel.tiny().fit(panel_of(values(), values(seed=1)), horizon=2, train=ALONE)
    assert caught.value.series_id == "s0"


def test_work_is_cut_into_parts_of_a_second_but_no_fewer_than_workers() -> None:
    (task,) = module._tasks(ProphetModel(), panel_of(values(50)))  # 0.05 s of work
    assert [len(part) for part in series_module.chunks_of([task] * 60, 2)] == [20, 20, 20]
    assert [len(part) for part in series_module.chunks_of([task] * 6, 4)] == [2, 1, 1, 2]
    assert [len(part) for part in series_module.chunks_of([task] * 3, 8)] == [1, 1, 1]


def test_few_series_are_fitted_without_starting_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no processes for a second of work")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", refuse)
    panel = panel_of(values(), values(seed=1))
    ProphetModel.tiny().fit(panel, horizon=2, train=TrainConfig(workers=8)).predict(panel)


# Quiet, tidy, stored as JSON


QUIET = """
import numpy as np, pandas as pd, tsforecast
frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=40), "y": np.sin(np.arange(40.0) ** 2)})
panel = tsforecast.panel_from_frame(frame, freq="D")
tsforecast.build_model("prophet").fit(panel, horizon=2).predict(panel)
"""


def test_it_says_nothing_unless_asked() -> None:
    """In a fresh process: the packages set up their logging when they are first imported."""
    done = subprocess.run([sys.executable, "-c", QUIET], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_progress_bar_shows_where_it_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    ProphetModel.tiny().fit(panel_of(values(), values(seed=1)), horizon=2, train=TrainConfig(workers=1, progress=True))
    said = capfd.readouterr().err
    assert "prophet 2/2 series" in said and said.endswith("\n")


def test_it_leaves_no_files_of_stan_behind() -> None:
    series_module.load_prophet()
    import cmdstanpy

    def files() -> set[Path]:
        return {path for path in Path(cmdstanpy._TMPDIR).rglob("*") if path.is_file()}

    before = files()
    ProphetModel.tiny().fit(panel_of(values()), horizon=2, train=ALONE)
    assert files() - before == set()


def test_what_is_stored_is_prophets_own_json_and_small_however_long_the_history(tmp_path: Path) -> None:
    panel = panel_of(values(60), values(900, seed=1))
    predictor = ProphetModel.tiny().fit(panel, horizon=2, train=ALONE)
    short, long = predictor.models.values()
    assert len(short) < len(long) < 8_000  # yearly and weekly seasonality against weekly alone
    from prophet.serialize import model_from_json

    assert model_from_json(long).growth == "linear"
    loaded = load_predictor(predictor.save(tmp_path / "model"))
    assert isinstance(loaded, ProphetPredictor)
    assert loaded.models == predictor.models
    assert (tmp_path / "model" / "manifest.json").stat().st_size < 2000
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["values"] == {}


def test_options_survive_the_way_through_json(tmp_path: Path) -> None:
    recipe = ProphetModel.tiny()
    recipe = replace(recipe, holidays=[["fair", "2024-03-01", -1, 1], ("ball", "2024-02-02")], holidays_country="DE")
    recipe = replace(recipe, changepoints=["2024-02-03", "2024-02-01"], seasonalities=[["month", 30.5, 2]], weekly_seasonality=2)
    assert recipe.holidays == (("fair", "2024-03-01", -1, 1), ("ball", "2024-02-02", 0, 0))
    assert recipe.seasonalities == (("month", 30.5, 2, None, None),)
    assert recipe.changepoints == ("2024-02-01", "2024-02-03")
    panel = panel_of(values())
    assert load_predictor(recipe.fit(panel, horizon=2, train=ALONE).save(tmp_path)).recipe == recipe


def test_a_model_stored_before_it_had_so_many_options_is_read(tmp_path: Path) -> None:
    panel = panel_of(values())
    predictor = ProphetModel(holidays_country="US", uncertainty_samples=200).fit(panel, horizon=4, train=ALONE)
    manifest = json.loads((predictor.save(tmp_path) / "manifest.json").read_text())
    first = ["growth", "n_changepoints", "changepoint_prior_scale", "seasonality_mode", "seasonality_prior_scale"]
    first += ["holidays_country", "holidays", "holidays_prior_scale", "uncertainty_samples"]
    manifest["options"] = {name: manifest["options"][name] for name in first}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    np.testing.assert_array_equal(load_predictor(tmp_path).predict(panel).quantiles, predictor.predict(panel).quantiles)


# What is refused


def test_an_integer_clock_is_refused_with_the_way_out() -> None:
    panel = tsforecast.panel_from_frame(pd.DataFrame({"unique_id": "a", "ds": np.arange(50), "y": values(50)}), freq=1)
    message = (
        "prophet reads the calendar, but these series step by the integer 1; give them dates, or use a model that needs none"
    )
    with pytest.raises(FrequencyError, match=message):
        ProphetModel.tiny().fit(panel, horizon=2)


def test_a_series_too_short_for_a_trend_and_noise_is_refused_by_name() -> None:
    short = values(8)
    short[3:7] = np.nan
    with pytest.raises(HistoryTooShort, match="series 's1' has 4 observations, the model needs at least 5; give it a longer"):
        ProphetModel.tiny().fit(panel_of(values(), short), horizon=2)


def test_missing_covariates_are_refused_by_name_where_the_target_is_observed() -> None:
    covariates = np.random.default_rng(0).normal(size=(90, 2))
    target = values()
    target[3] = covariates[3, 1] = np.nan  # nobody reads it
    panel = with_covariates(panel_of(target), covariates, ("price", "promo"))
    predictor = ProphetModel.tiny().fit(panel, horizon=3, train=ALONE)
    future = np.zeros((1, 3, 2))
    future[0, 2, 1] = np.nan
    with pytest.raises(CovariateError, match="series 's0': the future of covariate 'promo' is missing at step 3; fill it"):
        predictor.predict(panel, future=future)
    broken = covariates.copy()
    broken[5, 0] = np.nan
    with pytest.raises(CovariateError, match="series 's0': covariate 'price' is missing where the target is observed; fill it"):
        ProphetModel.tiny().fit(with_covariates(panel_of(target), broken, ("price", "promo")), horizon=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": "cubic"}, "growth must be 'linear', 'logistic' or 'flat', got 'cubic'"),
        ({"cap": 5, "growth": "logistic", "cap_share": 1.2}, "cap and cap_share both say where growth saturates; leave one"),
        ({"cap": 5.0}, "cap is read with growth 'logistic' only, got growth 'linear'; set growth, or leave it out"),
        ({"cap": True, "growth": "logistic"}, "cap must be a number or the name of a covariate, got True"),
        ({"cap": 2.0, "floor": 2.0, "growth": "logistic"}, "cap must lie above the floor 2.0, got 2.0; raise it or lower floor"),
        ({"floor": "room", "cap": "room", "growth": "logistic"}, "cap and floor are both the covariate 'room'; they have to"),
        ({"cap": None, "growth": "logistic"}, "growth 'logistic' needs to know where it saturates: give cap, .* or cap_share, e"),
        ({"cap_share": 1.0, "growth": "logistic"}, "cap_share must be a number above 1, e.g. 1.2, got 1.0"),
        ({"changepoint_range": 0}, "changepoint_range must be a number above 0 and at most 1, got 0"),
        ({"changepoints": "2024-01-01"}, "changepoints must be a list, got '2024-01-01'"),
        ({"changepoints": ["1st of May"]}, "a changepoint must be a date 'YYYY-MM-DD' or a moment on the clock .*'1st of May'"),
        ({"weekly_seasonality": 0}, "weekly_seasonality must be 'auto', true, false or a number of Fourier terms of at least 1"),
        (
            {"seasonalities": [("m", 30.5)]},
            "a seasonality must be .name, period in days > 0, Fourier terms >= 1., .*got .'m', 30",
        ),
        ({"seasonalities": [("m", 30.5, 3, None, "sum")]}, "a seasonality must be .*'additive' or 'multiplicative', got"),
        ({"seasonalities": [("m", 30, 3), ("m", 31, 3)]}, "two seasonalities are called 'm'; give each its own name"),
        (
            {"seasonalities": [("weekly", 7, 2)], "weekly_seasonality": True},
            "seasonality 'weekly' replaces prophet's own, but weekly_seasonality is True; leave that on 'auto'",
        ),
        ({"holidays_subdivision": "BY"}, "holidays_subdivision 'BY' needs the country it lies in; set holidays_country"),
        ({"holidays_mode": "no"}, "holidays_mode must be 'additive' or 'multiplicative', got 'no'"),
        ({"regressor_mode": "no"}, "regressor_mode must be 'additive' or 'multiplicative', got 'no'"),
        ({"regressor_prior_scale": -1}, "regressor_prior_scale must be a positive number, got -1"),
        ({"regressor_standardize": 1}, "regressor_standardize must be 'auto', true or false, got 1"),
        ({"scaling": "none"}, "scaling must be 'absmax' or 'minmax', got 'none'"),
        ({"seasonality_prior_scale": float("nan")}, "seasonality_prior_scale must be a positive number, got nan"),
        ({"seasonality_mode": "both"}, "seasonality_mode must be 'additive' or 'multiplicative', got 'both'"),
        ({"n_changepoints": -1}, "n_changepoints must be a whole number of at least 0, got -1"),
        ({"uncertainty_samples": 1}, "uncertainty_samples must be a whole number of at least 2, got 1"),
        ({"changepoint_prior_scale": 0}, "changepoint_prior_scale must be a positive number, got 0"),
        ({"holidays": [("x", "2024-02-30", 0, 0)]}, "a holiday must be .*, got .'x', '2024-02-30', 0, 0."),
        ({"holidays": [("x", "2024-02-03", 1, 0)]}, "a holiday must be .*days before <= 0"),
        ({"holidays": ["x"]}, "a holiday must be .*, got 'x'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        tsforecast.build_model("prophet", **options)
    assert caught.value.field in options


def test_options_that_only_prophet_can_judge_are_refused_before_any_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run", lambda *_, **__: pytest.fail("no fit before the options are known to be good"))
    panel = panel_of(values())
    with pytest.raises(OptionError, match="holidays_country 'Atlantis' is not one the holidays package knows; use a code"):
        ProphetModel(holidays_country="Atlantis").fit(panel, horizon=2)
    with pytest.raises(OptionError, match=r"prophet refuses holidays: Name 'trend' is reserved. Choose another."):
        ProphetModel(holidays=[("trend", "2024-01-01", 0, 0)]).fit(panel, horizon=2)
    with pytest.raises(OptionError, match=r"prophet refuses seasonalities: Name 'yhat' is reserved. Choose another.") as caught:
        ProphetModel(seasonalities=[("yhat", 5, 2)]).fit(panel, horizon=2)
    assert caught.value.field == "seasonalities"
    with pytest.raises(OptionError, match="prophet refuses seasonalities: Name 'x0' is reserved for a covariate"):
        ProphetModel(seasonalities=[("x0", 5, 2)]).fit(panel, horizon=2)
    with pytest.raises(OptionError, match="holidays_subdivision 'XX' is not one of 'DE'; known: BB, BE, BW, BY"):
        ProphetModel(holidays_country="DE", holidays_subdivision="XX").fit(panel, horizon=2)
    with pytest.raises(
        OptionError, match="changepoint '2034-01-01' lies in the history of no series; they reach from 2024-01-01T"
    ):
        ProphetModel(changepoints=["2024-02-01", "2034-01-01"]).fit(panel, horizon=2)
    with pytest.raises(OptionError, match=r"cap is to be the covariate 'room', the panel has \[\]; name one of these, or give"):
        ProphetModel(growth="logistic", cap="room").fit(panel, horizon=2)
    with pytest.raises(OptionError, match="model 'prophet' is fitted afresh each time and cannot start from another"):
        ProphetModel().fit(panel, horizon=2, start_from=object())  # type: ignore[arg-type]  # refused before it is looked at


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cap": 60.0}, "series 's1' reaches 6[0-9.]+ at 2024-.*, but its cap is 60; logistic growth needs a cap above all"),
        ({"cap_share": 1.5, "floor": 49.0}, "series 's1' falls to 4[0-9.]+ at 2024-.*, but its floor is 49; lower floor"),
        ({"cap_share": 1.5, "floor": 500.0}, "series 's0': at 2024-01-01.* its cap .* is not above its floor 500, so logistic"),
    ],
)
def test_observations_outside_cap_and_floor_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    panel = panel_of(np.full(30, 50.0), values())
    recipe = ProphetModel(growth="logistic", **options)
    with pytest.raises(OptionError, match=message) as caught:
        recipe.fit(panel, horizon=2)
    assert caught.value.series_id in str(caught.value)

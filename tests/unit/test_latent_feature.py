"""Latent numbers of windows as past covariates of a flow."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tsforecast
from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.flow import ForecastFlow
from tsforecast.models.autoencoder import Autoencoder
from tsforecast.models.linear import Linear
from tsforecast.models.window_detector import WindowDetector
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.preprocessing.features import FEATURES, build_feature, feature_from_json
from tsforecast.preprocessing.late import LateTable

WINDOW, ROWS = 16, 200


def course(seed: int) -> np.ndarray:
    t = np.arange(ROWS)
    return 10 + 3 * np.sin(2 * np.pi * t / WINDOW) + 0.2 * np.random.default_rng(seed).standard_normal(ROWS)


def panel_of(*series: np.ndarray, ids: tuple[str, ...] = ("a", "b")) -> Panel:
    return Panel(
        series_ids=ids[: len(series)],
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(one)) for one in series]).astype(np.int64),
        target=np.concatenate(series),
        freq=1,
        season=WINDOW,
    )


@pytest.fixture(scope="module", autouse=True)
def short_training():
    """Codes need not be good here: a feature trains as its detector does by default, which is cut."""
    short = replace(Autoencoder().default_train(), max_epochs=2, steps_per_epoch=20, batch_size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowDetector, "default_train", lambda _: short)
        yield


@pytest.fixture(scope="module")
def fitted():
    return build_feature("latent", size=3, window=WINDOW).fit(panel_of(course(0), course(1)))


def test_each_row_has_the_code_of_the_window_that_ends_there(fitted):
    columns = fitted.columns(panel_of(course(0), course(1)))
    assert fitted.names == ("latent_0", "latent_1", "latent_2") and columns.shape == (2 * ROWS, 3)
    missing = np.isnan(columns).all(axis=1).reshape(2, ROWS)
    np.testing.assert_array_equal(np.flatnonzero(missing[0]), np.arange(WINDOW - 1))
    np.testing.assert_array_equal(missing[0], missing[1])
    assert np.nanstd(columns, axis=0).min() > 0.01


def test_a_row_looks_at_its_own_target_and_earlier_ones_only(fitted):
    before = fitted.columns(panel_of(course(0), course(1)))
    changed = course(0)
    changed[120:] = 99.0
    after = fitted.columns(panel_of(changed, course(1)))
    np.testing.assert_array_equal(before[:120], after[:120])
    np.testing.assert_array_equal(before[ROWS:], after[ROWS:])
    assert (before[120:136] != after[120:136]).any(axis=1).all()


def test_the_fit_is_the_same_each_time_and_another_with_another_seed(fitted):
    panel = panel_of(course(0), course(1))
    again = build_feature("latent", size=3, window=WINDOW).fit(panel)
    other = build_feature("latent", size=3, window=WINDOW, seed=1).fit(panel)
    np.testing.assert_array_equal(again.columns(panel), fitted.columns(panel))
    assert not np.allclose(other.columns(panel)[WINDOW:100], fitted.columns(panel)[WINDOW:100])


def test_a_stored_feature_gives_the_same_numbers(fitted):
    text = json.dumps(fitted.to_json(), allow_nan=False)
    panel = panel_of(course(4), course(1), ids=("new", "b"))
    np.testing.assert_array_equal(feature_from_json(json.loads(text)).columns(panel), fitted.columns(panel))


def test_a_damaged_feature_is_refused(fitted):
    values = fitted.to_json()
    with pytest.raises(ValueError):
        feature_from_json(values | {"weights": "no base64 at all"})


def test_a_series_that_the_fit_has_not_seen_has_the_scale_of_its_history(fitted):
    same = fitted.columns(panel_of(course(0)))[WINDOW:]
    other = fitted.columns(panel_of(1000 * course(0), ids=("new",)))[WINDOW:]
    np.testing.assert_allclose(other, same, atol=1e-3)


def test_a_flow_with_it_fits_forecasts_and_is_stored(tmp_path):
    panel = panel_of(course(0), course(1))
    flow = ForecastFlow(features=(build_feature("latent", size=2, window=WINDOW, model="vae"),), model=Linear.tiny())
    done = flow.fit(panel, horizon=4, train=TrainConfig(max_epochs=1))
    said = done.predict(panel)
    assert np.isfinite(said.quantiles).all()
    np.testing.assert_array_equal(tsforecast.load_model(done.save(tmp_path / "flow")).predict(panel).quantiles, said.quantiles)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "window_energy"}, "no model 'window_energy'; there are autoencoder"),
        ({"size": 0}, "size must be a whole number from 1 to 100"),
        ({"window": 2}, "window must be a whole number from 4"),
        ({"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        build_feature("latent", **options)


def test_a_history_without_a_window_is_refused():
    with pytest.raises(HistoryTooShort):
        build_feature("latent", window=WINDOW).fit(panel_of(course(0)[:20]))


def test_a_late_table_imports_a_class_only_when_it_is_asked_for():
    table: LateTable[object] = LateTable({"now": int}, {"later": "fractions:Fraction", "never": "no_such_module:Nothing"})
    assert list(table) == ["now", "later", "never"] and len(table) == 3 and "never" in table and "other" not in table
    assert table["now"] is int and table["later"].__name__ == "Fraction"
    with pytest.raises(ModuleNotFoundError):
        table["never"]
    assert FEATURES["latent"].__name__ == "Latent"

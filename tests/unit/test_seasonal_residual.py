"""seasonal_residual: what the seasons before let expect."""

import numpy as np
import pytest

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.seasonal_residual import SeasonalResidual, SeasonalResidualCore
from tsforecast.panel import FloatArray


def rows_with(values: FloatArray) -> Rows:
    return Rows(values=values[:, None], timestamps=np.arange(len(values)), freq=1, season=1)


def repeated(seasons: int, season: int = 12) -> FloatArray:
    return np.tile(np.random.default_rng(0).normal(size=season), seasons)


def core_of(**options: int) -> SeasonalResidualCore:
    values = {"season": 12, "seasons": 4, "level": 0} | options
    return SeasonalResidualCore(**values)


def test_what_repeats_is_expected_and_the_first_season_is_not_judged() -> None:
    values = repeated(10)
    found = core_of().evidence(rows_with(values))
    np.testing.assert_array_equal(found.expected[12:, 0], values[12:])
    assert np.isnan(found.causal[0, :12, 0]).all() and not found.causal[0, 12:, 0].any()
    np.testing.assert_array_equal(found.revised_expected[:, 0], values)  # the first season is known from the next


def test_one_anomaly_does_not_become_what_is_expected_next_season() -> None:
    values = repeated(12)
    values[70] += 9.0
    found = core_of().evidence(rows_with(values))
    assert found.causal[0, 70, 0] == pytest.approx(81.0)
    assert not np.delete(found.causal[0, 12:, 0], 70 - 12).any()


def test_expectations_are_medians_by_a_loop() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=90)
    values[rng.random(90) < 0.1] = np.nan
    core = core_of(season=7, seasons=3, level=5)
    found = core.evidence(rows_with(values)).expected[:, 0]

    def usual(step: int) -> float:
        seen = [values[step - 7 * j] for j in (1, 2, 3) if step >= 7 * j and np.isfinite(values[step - 7 * j])]
        return float(np.median(seen)) if seen else np.nan

    for step in range(40, 90):
        away = [values[s] - usual(s) for s in range(step - 5, step)]
        known = [one for one in away if np.isfinite(one)]
        wanted = usual(step) + (float(np.median(known)) if known else 0.0)
        np.testing.assert_allclose(found[step], wanted, rtol=1e-12)


def test_a_lasting_shift_is_followed_after_half_the_steps_of_the_level() -> None:
    values = repeated(30)
    values[240:] += 5.0
    causal = core_of(level=20).evidence(rows_with(values)).causal[0, :, 0]
    assert (causal[240:250] > 20.0).all() and causal[251:264].max() < 1e-12


def test_without_a_season_the_last_steps_are_expected() -> None:
    values = np.array([1.0, 2.0, 3.0, 10.0, 4.0, np.nan, 5.0])
    core = core_of(season=1, level=3)
    found = core.evidence(rows_with(values))
    np.testing.assert_array_equal(found.expected[:, 0], [np.nan, 1.0, 1.5, 2.0, 3.0, 4.0, 7.0])
    np.testing.assert_array_equal(found.causal[0, :, 0], (values - found.expected[:, 0]) ** 2)


def test_the_season_is_told_from_the_data_even_a_day_of_minutes() -> None:
    rng = np.random.default_rng(1)
    day = np.cumsum(rng.normal(size=1440))
    values = np.tile(day - np.linspace(0, day[-1], 1440), 8) / 20 + rng.normal(0, 0.2, 8 * 1440)
    core, said = SeasonalResidual().learn([rows_with(values)], seed=0, train=None, callbacks=())
    assert said == {"season": core.season}
    assert abs(core.season - 1440) <= 2
    noise, _ = SeasonalResidual(season=1).learn([rows_with(values)], seed=0, train=None, callbacks=())
    assert noise.season == 1 and noise.reach == noise.level == 64


def test_too_few_observations_are_refused() -> None:
    with pytest.raises(HistoryTooShort, match="has 15 observations, the model needs at least 16"):
        SeasonalResidual().learn([rows_with(np.arange(15.0))], seed=0, train=None, callbacks=())


@pytest.mark.parametrize("options", [{"season": 0}, {"seasons": 0}, {"level": -1}, {"season": True}, {"season": 1, "level": 0}])
def test_impossible_options_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(OptionError) as caught:
        SeasonalResidual(**options)
    assert caught.value.field in options

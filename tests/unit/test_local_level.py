"""local_level: steps of the level, beside a season, at the beginning of a series and behind holes."""

import numpy as np

from tsforecast.models.detector import Rows
from tsforecast.models.local_level import LocalLevel, LocalLevelCore
from tsforecast.panel import FloatArray

NAN = np.nan


def rows_with(values: FloatArray) -> Rows:
    return Rows(values=values[:, None], timestamps=np.arange(len(values)), freq=1, season=1)


def season(rows: int, period: int = 24) -> FloatArray:
    wave: FloatArray = 3.0 * np.sin(np.arange(rows) * 2 * np.pi / period)
    return wave


def test_evidence_is_the_difference_of_neighbouring_means_by_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=80)
    core = LocalLevelCore(6, 0)
    found = core.evidence(rows_with(values)).causal[0, :, 0]
    assert np.isnan(found[:9]).all()  # too little of the window before is inside the series
    for t in range(11, 80):
        wanted = abs(values[t - 5 : t + 1].mean() - values[t - 11 : t - 5].mean())
        np.testing.assert_allclose(found[t], wanted, rtol=1e-9, atol=1e-12)


def test_a_step_is_highest_where_its_windows_meet() -> None:
    values = np.random.default_rng(1).normal(0, 0.1, 300)
    values[150:] += 2.0
    found = LocalLevelCore(20, 0).evidence(rows_with(values))
    assert int(np.nanargmax(found.causal[0, :, 0])) in range(168, 171)
    assert int(np.nanargmax(found.revised[0, :, 0])) in range(135, 166)


def test_holes_hide_as_much_of_the_season_in_both_windows() -> None:
    values = season(600)
    core, _ = LocalLevel(window=64).learn([rows_with(values)], seed=0, train=None, callbacks=())
    assert isinstance(core, LocalLevelCore) and core.period == 24
    whole = core.evidence(rows_with(values)).causal[0, :, 0]
    holed = values.copy()
    holed[300:310] = NAN
    found = core.evidence(rows_with(holed)).causal[0, :, 0]
    assert np.isfinite(found[310:]).all() and np.isnan(found[300:310]).all()
    np.testing.assert_allclose(found[310:], whole[310:], atol=1e-9)  # a period before all was the same


def test_half_a_day_is_no_level() -> None:
    found = LocalLevelCore(64, 24).evidence(rows_with(season(600))).causal[0, :, 0]
    assert np.isnan(found[:120]).all() and np.isfinite(found[128:]).all()
    assert np.nanmax(found) <= np.max(found[128:]) * (1 + 0.25)


def test_the_newest_steps_alone_have_the_evidence_that_they_have_in_the_whole() -> None:
    values = season(500) + np.random.default_rng(2).normal(0, 0.3, 500)
    values[[380, 381, 440, 470]] = NAN
    core = LocalLevelCore(48, 24)
    whole = core.evidence(rows_with(values)).causal[:, -60:]
    np.testing.assert_allclose(core.causal(rows_with(values), 60)[0], whole, rtol=1e-9, atol=1e-12)

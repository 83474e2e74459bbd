"""How far values lie from what their season says: for-loop twins, clean series without alarms, faults at every place."""

import numpy as np
import pytest

from tsforecast.preprocessing.robust import (
    deviations,
    medians_by_series,
    residual_and_unit,
    seasonal_residual,
    unit_factors,
    window_median,
)

ALARM = 8


def alone(values):
    values = np.asarray(values, dtype=np.float64)
    return values, np.array([0, len(values)])


def clean(kind, seed, rows=200):
    rng = np.random.default_rng(seed)
    steps, noise = np.arange(rows), rng.normal(size=rows)
    return {
        "noise": (noise, 1),
        "seasonal": (100 + 20 * np.sin(2 * np.pi * steps / 24) + 3 * noise, 24),
        "peaks": (10 + 100 * (steps % 7 == 2) + noise, 7),
        "trend": (10 * steps + noise, 7),
        "steep": (10 * steps + noise, 1),
        "multiplicative": (100 * np.exp(0.01 * steps + 0.4 * np.sin(2 * np.pi * steps / 12) + 0.02 * noise), 12),
        "counts": (rng.poisson(3, rows).astype(float), 7),
        "intermittent": (rng.poisson(3, rows) * (rng.random(rows) < 0.2).astype(float), 7),
        "walk": (np.cumsum(noise), 7),
        "constant": (np.full(rows, 5.0), 7),
        "line": (3.25 * steps, 1),
        "holes": (np.where(rng.random(rows) < 0.4, np.nan, 10 * np.sin(2 * np.pi * steps / 7) + noise), 7),
        "short": (noise[:9], 1),
        "zero": (np.zeros(rows), 7),
    }[kind]


KINDS = [
    "noise", "seasonal", "peaks", "trend", "steep", "multiplicative", "counts", "intermittent", "walk", "constant", "line",
    "holes", "short", "zero",
]  # fmt: skip


def test_the_middle_of_a_series_is_compared_with_its_phase_in_two_seasons_on_each_side():
    values, offsets = alone(np.random.default_rng(0).normal(size=60))
    residual, _ = seasonal_residual(values, offsets, 6)
    for row in range(12, 48):
        around = sorted(values[row + shift] for shift in (-12, -6, 6, 12))
        assert residual[row] == pytest.approx(values[row] - (around[1] + around[2]) / 2, abs=1e-15)


def test_without_a_season_a_value_is_compared_with_three_rows_on_each_side():
    values, offsets = alone(np.random.default_rng(1).normal(size=30))
    residual, _ = seasonal_residual(values, offsets, 1)
    for row in range(3, 27):
        around = [values[row + shift] for shift in (-3, -2, -1, 1, 2, 3)]
        assert residual[row] == pytest.approx(values[row] - np.median(around), abs=1e-15)


def test_a_series_of_less_than_three_seasons_is_compared_with_its_rows():
    values, offsets = alone(np.random.default_rng(2).normal(size=17))
    for left, right in zip(seasonal_residual(values, offsets, 6), seasonal_residual(values, offsets, 1), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_value_counts_itself_only_where_others_are_few_and_alone_says_nothing():
    values = np.array([1.0, 5.0, 9.0, np.nan, np.nan, np.nan, np.nan, np.nan, 2.0])
    medians = window_median(values, np.array([0, 9]), np.arange(9), step=1, around=2, own=values)
    np.testing.assert_array_equal(medians, [5, 5, 5, *[np.nan] * 6])


def test_the_scale_is_that_of_a_normal_deviation_and_outliers_do_not_move_it():
    values, offsets = alone(np.random.default_rng(3).normal(scale=2, size=20_000))
    _, scale = seasonal_residual(values, offsets, 1)
    assert scale[0] == pytest.approx(2 * np.sqrt(1 + np.pi / 2 / 6), rel=0.03)  # value and median of six, both vary
    spoilt = values.copy()
    spoilt[::50] = 1e9
    assert seasonal_residual(spoilt, offsets, 1)[1][0] == pytest.approx(scale[0], rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_clean_series_have_no_outlier(kind):
    worst = []
    for seed in range(50):
        values, season = clean(kind, seed)
        worst.append(np.nanmax(np.abs(deviations(*alone(values), season)), initial=0))
    assert max(worst) < ALARM


@pytest.mark.parametrize("kind", ["noise", "seasonal", "peaks", "trend", "steep", "multiplicative", "constant"])
@pytest.mark.parametrize("place", [0, 5, 100, 195, 199])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_spike_is_found_wherever_it_is_and_nothing_beside_it(kind, place, sign):
    values, season = clean(kind, 7)
    values = values.copy()
    values[place] += sign * (2000 if kind in ("peaks", "trend", "steep", "multiplicative") else 100)
    assert np.flatnonzero(np.abs(deviations(*alone(values), season)) > ALARM).tolist() == [place]


def test_a_series_gets_the_same_alone_and_among_others():
    parts = [clean(kind, 3)[0] for kind in ("seasonal", "short", "walk", "holes")]
    offsets = np.cumsum([0, *map(len, parts)])
    together = deviations(np.concatenate(parts), offsets, 24)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(together[offsets[i] : offsets[i + 1]], deviations(*alone(part), 24))


def test_windows_are_looked_at_in_parts(monkeypatch):
    values, offsets = alone(clean("holes", 0)[0])
    whole = deviations(values, offsets, 7)
    monkeypatch.setattr("tsforecast.preprocessing.robust.ROWS_AT_ONCE", 17)
    np.testing.assert_array_equal(deviations(values, offsets, 7), whole)


def test_large_values_of_what_is_never_negative_may_lie_farther_off():
    values, offsets = alone(np.where(np.arange(70) % 7 == 0, 100.0, 10.0) + np.random.default_rng(0).normal(size=70))
    _, unit = residual_and_unit(values, offsets, 7)
    assert unit[35] == pytest.approx(10 * unit[36], rel=0.2)
    _, unit = residual_and_unit(values - 50, offsets, 7)
    assert unit[35] == unit[36]


@pytest.mark.parametrize("values", [[np.nan] * 5, [1.0], [1.0, np.nan], [0.0] * 4, [1e308, -1e308] * 10, [5e-324] * 9])
def test_whatever_the_values_the_scale_is_positive_and_nothing_warns(values):
    residual, scale = seasonal_residual(*alone(values), 2)
    assert scale[0] > 0 and len(residual) == len(values)


def test_medians_pass_over_nan():
    np.testing.assert_array_equal(
        medians_by_series(np.array([3.0, np.nan, 1, np.nan, 4, 2]), np.array([0, 3, 4, 6])), [2, np.nan, 3]
    )


# Units

FACTORS = (1000.0, 100.0, 10.0)


def units(values, season=1, at_least=3):
    return unit_factors(*alone(values), season, factors=FACTORS, at_least=at_least)


@pytest.mark.parametrize("factor", [1000, 100, 10, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("stretch", [slice(0, 4), slice(80, 110), slice(196, 200)])
def test_a_stretch_in_another_unit_is_found_with_its_factor(factor, stretch):
    for kind in ("seasonal", "multiplicative") if factor not in (10, 0.1) else ("seasonal",):  # the other grows by more
        values, season = clean(kind, 5)
        values = values.copy()
        values[stretch] *= factor
        expected = np.ones(200)
        expected[stretch] = factor
        np.testing.assert_allclose(units(values, season), expected, rtol=1e-15)


def test_zeros_and_holes_inside_a_stretch_do_not_end_it_and_stay():
    values = 50 + np.random.default_rng(0).normal(size=40)
    values[10:17] *= 1000
    values[[12, 14]] = 0, np.nan
    assert np.flatnonzero(units(values) != 1).tolist() == [10, 11, 13, 15, 16]


def test_fewer_rows_than_a_stretch_half_the_series_and_other_factors_are_left():
    values = 50 + np.random.default_rng(0).normal(size=40)
    for rows, factor in ((slice(10, 12), 1000), (slice(0, 20), 1000), (slice(10, 20), 400), (slice(10, 20), 4)):
        changed = values.copy()
        changed[rows] *= factor
        assert (units(changed) == 1).all()
    changed = values.copy()
    changed[10:12] *= -1000  # the sign stays
    assert np.flatnonzero(units(changed, at_least=1) == 1000).tolist() == [10, 11]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_series_have_one_unit(kind):
    for seed in range(50):
        values, season = clean(kind, seed)
        assert (units(values, season) == 1).all()

"""Seasons: found where they are, not found in noise of any colour, and measured by numbers worked out by hand or in loops."""

from dataclasses import replace

import numpy as np
import pytest

from tsforecast.errors import FrequencyError, OptionError
from tsforecast.panel import Panel
from tsforecast.preprocessing.calendar import zones_of_rows
from tsforecast.preprocessing.seasonality import (
    Season,
    autocorrelation,
    calendar_seasons,
    detect_seasons,
    line_evidence,
    main_season,
    moving_average,
    places_on_clock,
    recommend,
    with_detected_season,
)

NAN = np.nan
UNITS = {"h": "h", "D": "D", "MS": "M"}


def panel_of(*series, freq="h", season=24, starts=None, tz=None):
    """Series of values, from 2024-01-01 (or `starts` steps later each)."""
    starts = [0] * len(series) if starts is None else starts
    if isinstance(freq, int):
        times = [first + np.arange(len(values)) for first, values in zip(starts, series, strict=True)]
    else:
        day = np.datetime64("2024-01-01", UNITS[freq])
        times = [
            (day + first + np.arange(len(values))).astype("datetime64[ns]") for first, values in zip(starts, series, strict=True)
        ]
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.cumsum([0, *(len(values) for values in series)]),
        timestamps=np.concatenate(times),
        target=np.concatenate([np.asarray(values, dtype=float) for values in series]),
        freq=freq,
        season=season,
        tz=tz,
    )


def wave(rows, period, *, seed=0, noise=0.3):
    """A season of random shape and of deviation 1, and noise."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=period)
    shape = (shape - shape.mean()) / shape.std()
    return shape[np.arange(rows) % period] + noise * rng.normal(size=rows)


def periods(found):
    return [season.period for season in found]


# Autocorrelation


def autocorrelation_in_loops(values, lags):
    seen = [value for value in values if np.isfinite(value)]
    mean = sum(seen) / len(seen)
    variance = sum((value - mean) ** 2 for value in seen) / len(seen)
    answer = []
    for lag in lags:
        products = [
            (values[t] - mean) * (values[t - lag] - mean)
            for t in range(lag, len(values))
            if np.isfinite(values[t]) and np.isfinite(values[t - lag])
        ]
        answer.append(sum(products) / len(products) * (len(values) - lag) / len(values) / variance if products else NAN)
    return answer


@pytest.mark.parametrize("holes", [0.0, 0.3, 0.9])
def test_autocorrelation_is_that_of_loops_over_the_pairs_that_were_observed(holes):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 40)).cumsum(axis=1)
    values[rng.random(values.shape) < holes] = NAN
    values[:, [3, 9]] = 1.0, 2.0
    lags = [0, 1, 7, 24, 39]
    expected = [autocorrelation_in_loops(row, lags) for row in values]
    np.testing.assert_allclose(autocorrelation(values, lags), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(autocorrelation(values[2], lags), expected[2], rtol=1e-9, atol=1e-12)


def test_autocorrelation_without_holes_is_the_usual_estimate():
    from statsmodels.tsa.stattools import acf

    values = np.random.default_rng(2).normal(size=200).cumsum()
    np.testing.assert_allclose(autocorrelation(values, 30), acf(values, nlags=30, fft=False), rtol=1e-9)


def test_autocorrelation_worked_out_by_hand():
    np.testing.assert_allclose(autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 3), [1, -0.75, 0.5, -0.25])
    huge = 1e200 * np.array([1.0, -1.0, 1.0, -1.0])
    np.testing.assert_allclose(autocorrelation(huge, 3), [1, -0.75, 0.5, -0.25])


def test_where_nothing_can_be_correlated_there_is_nan():
    assert np.isnan(autocorrelation(np.full(9, 5.0), [0, 1])).all()
    assert np.isnan(autocorrelation(np.full(9, NAN), [0, 1])).all()
    assert np.isnan(autocorrelation(np.arange(3.0), [3, 40])).all()
    assert np.isnan(autocorrelation(np.array([1.0, NAN, 2.0, NAN]), [1])).all()


def test_mistakes_in_arguments_are_named():
    values = np.arange(50.0)
    with pytest.raises(OptionError, match="lags must be 0 or more steps, got -1"):
        autocorrelation(values, [3, -1])
    with pytest.raises(OptionError, match=r"values must be \(T,\) or \(S, T\), got 3 dimensions"):
        autocorrelation(np.zeros((2, 2, 2)), 3)
    with pytest.raises(OptionError, match="most must be at least 1 season, got 0"):
        detect_seasons(values, most=0)
    with pytest.raises(OptionError, match=r"values must be \(T,\), got 2 dimensions"):
        detect_seasons(values.reshape(2, 25))
    with pytest.raises(FrequencyError, match="unknown freq 'fortnight'"):
        detect_seasons(values, freq="fortnight")
    with pytest.raises(OptionError, match="horizon must be at least 1 step, got 0"):
        recommend(panel_of(values), 0)


# The calendar


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        ("min", (60, 1440, 10080)),
        ("5min", (12, 288, 2016)),
        ("15min", (96, 672)),
        ("30min", (48, 336)),
        ("h", (24, 168)),
        ("6h", (4, 28)),
        ("7h", (24,)),
        ("24h", (7, 365)),
        ("D", (7, 365)),
        ("B", (5, 261)),
        ("W-SUN", (52,)),
        ("2W-SUN", (26,)),
        ("MS", (12,)),
        ("2MS", (6,)),
        ("QE-DEC", (4,)),
        ("YS-JAN", ()),
        (1, ()),
    ],
)
def test_the_calendar_offers_the_seasons_of_a_frequency(freq, expected):
    assert calendar_seasons(freq) == expected


@pytest.mark.parametrize(("freq", "zone"), [("D", None), ("D", "Europe/Berlin"), ("MS", None), ("h", None), (1, None)])
def test_a_row_keeps_its_place_on_the_clock_wherever_its_series_is_cut(freq, zone):
    panel = panel_of(np.zeros(400), freq=freq, tz=zone)
    if zone:
        start = np.datetime64("2023-12-31T23", "ns")  # local midnight, also in summer
        hours = np.where((np.arange(400) >= 91) & (np.arange(400) < 301), -1, 0).astype("timedelta64[h]")
        panel = replace(panel, timestamps=start + np.arange(400).astype("timedelta64[D]") + hours)
    places = places_on_clock(panel.timestamps, freq, zones_of_rows(panel))
    np.testing.assert_array_equal(np.diff(places), 1)
    np.testing.assert_array_equal(places_on_clock(panel.timestamps[123:], freq, panel.tz), places[123:])


# Noise has no season


def noises(kind, rows, rng):
    shocks = rng.normal(size=rows)
    if kind == "white noise":
        return shocks
    if kind == "random walk":
        return shocks.cumsum()
    if kind == "random walk of heavy tails":
        return rng.standard_t(3, size=rows).cumsum()
    if kind == "trend":
        return 0.1 * np.arange(rows) + shocks
    if kind == "rare counts":
        return rng.poisson(0.5, size=rows).astype(float)
    values = np.zeros(rows)
    for t in range(1, rows):
        values[t] = 0.9 * values[t - 1] + shocks[t]
    return values


KINDS = ["white noise", "random walk", "AR(1) of 0.9", "random walk of heavy tails", "trend", "rare counts"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("freq", "rows"), [("h", 700), ("D", 400), ("MS", 96), ("QS-JAN", 30), ("W-SUN", 260), (1, 300)])
def test_of_200_series_of_noise_at_most_two_show_a_season(freq, rows, kind):
    rng = np.random.default_rng(11)
    alarms = [periods(found) for _ in range(200) if (found := detect_seasons(noises(kind, rows, rng), freq=freq))]
    assert len(alarms) <= 2, alarms


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("series", [2, 5, 20])
def test_panels_of_noise_show_no_season_either(kind, series):
    rng = np.random.default_rng(3)
    panels = [panel_of(*(noises(kind, 500, rng) for _ in range(series))) for _ in range(40)]
    assert sum(bool(detect_seasons(panel)) for panel in panels) <= 1


def test_noise_that_alternates_has_no_season_of_two_steps():
    rng = np.random.default_rng(13)
    for _ in range(10):
        shocks = rng.normal(size=1001)
        assert detect_seasons(np.append(shocks[1:] - 0.6 * shocks[:-1], NAN)) == ()


def test_the_evidence_of_noise_is_about_standard_normal():
    """It is the larger of two tests, so the mean lies a little above 0."""
    rng = np.random.default_rng(4)
    for period, rows in ((12, 100), (24, 1000), (168, 1000)):
        evidence = np.array([line_evidence(rng.normal(size=rows), period) for _ in range(400)])
        assert abs(evidence.mean()) < 0.5 and 0.7 < evidence.std() < 1.2
        assert (evidence > 3.1).mean() < 0.01


@pytest.mark.parametrize(
    "values",
    [
        np.full(500, 7.0),
        np.full(500, NAN),
        np.arange(500.0),
        np.arange(500.0) ** 2,
        np.where(np.arange(500) > 250, 1000.0, 0.0),
        np.where(np.arange(500) == 99, 1e9, 0.0),
        np.array([]),
        np.array([1.0]),
        np.array([1.0, NAN, 2.0]),
        1e308 * (-1.0) ** np.arange(500) * (np.arange(500) == 3),
    ],
    ids=["constant", "never observed", "line", "parabola", "level shift", "spike", "empty", "one", "three", "huge"],
)
@pytest.mark.parametrize("freq", ["h", 1])
def test_a_series_without_noise_has_no_season_by_that(values, freq):
    assert detect_seasons(values, freq=freq) == ()


# Seasons that are there


@pytest.mark.parametrize(
    ("freq", "period", "rows"),
    [("h", 24, 240), ("15min", 96, 800), ("D", 7, 60), ("MS", 12, 60), ("QS-JAN", 4, 40), ("B", 5, 60)],
)
def test_a_season_of_the_calendar_is_found_and_its_multiples_and_parts_are_not(freq, period, rows):
    found = detect_seasons(wave(max(rows, 8 * period), period), freq=freq)
    assert periods(found) == [period]
    assert found[0].share == 1
    assert found[0].strength > 0.8


@pytest.mark.parametrize("period", [4, 7, 12, 13, 24, 50, 168])
def test_an_integer_clock_is_searched_for_its_season(period):
    assert periods(detect_seasons(wave(9 * period + 60, period))) == [period]


def test_a_week_counts_beside_a_day_only_where_its_days_differ():
    days = wave(168 * 8, 24, noise=0.3)
    assert periods(detect_seasons(days, freq="h")) == [24]
    assert periods(detect_seasons(days)) == [24]
    closed = np.where(np.arange(len(days)) % 168 >= 120, 0.3 * days, days)  # quiet weekends
    assert periods(detect_seasons(closed, freq="h")) == [24, 168]
    assert periods(detect_seasons(closed)) == [24, 168]
    assert periods(detect_seasons(closed, freq="h", most=1)) == [24]


def spoiled(values, how):
    rng = np.random.default_rng(5)
    values = values.copy()
    if how == "trend":
        return values + 0.05 * np.arange(len(values))
    if how == "random walk":
        return values + 0.3 * rng.normal(size=len(values)).cumsum()
    if how == "holes":
        values[rng.random(len(values)) < 0.3] = NAN
        values[200:260] = NAN
    if how == "outliers":
        values[rng.choice(len(values), 8, replace=False)] = 1e6
    if how == "level shift":
        values[300:] += 50
    if how == "infinities":
        values[[7, 70]] = np.inf, -np.inf
    return values


@pytest.mark.parametrize("how", ["trend", "random walk", "holes", "outliers", "level shift", "infinities"])
@pytest.mark.parametrize("freq", ["h", 1])
def test_a_season_is_found_through(how, freq):
    found = detect_seasons(spoiled(wave(600, 24, noise=0.5), how), freq=freq)
    assert periods(found) == [24]
    assert found[0].strength > 0.3


def test_a_season_that_repeats_without_any_noise_is_found():
    shape = np.array([5.0, 1, 2, 9, 4, 3, 7])
    assert periods(detect_seasons(np.tile(shape, 20), freq="D")) == [7]
    sine = np.sin(2 * np.pi * np.arange(400) / 25)
    assert periods(detect_seasons(sine)) == [25]


def test_the_numbers_of_a_season_are_those_it_was_made_with():
    for noise, expected in ((0.5, 0.8), (1.0, 0.5), (2.0, 0.2)):  # variance 1 of the season, noise² of the rest
        (found,) = detect_seasons(wave(24 * 60, 24, noise=noise), freq="h")
        assert found.strength == pytest.approx(expected, abs=0.06)
        assert found.acf == pytest.approx(expected, abs=0.06)


def test_a_season_lost_in_noise_has_little_strength():
    (found,) = detect_seasons(wave(24 * 60, 24, noise=3.0), freq="h")
    assert found.strength < 0.2


def test_a_panel_has_a_season_where_enough_of_its_series_show_it():
    rng = np.random.default_rng(7)
    walks = [rng.normal(size=480).cumsum() for _ in range(8)]
    two = panel_of(*walks, wave(480, 24, seed=1), wave(480, 24, seed=2))
    (found,) = detect_seasons(two)
    assert found.period == 24 and found.share == 0.2
    one = panel_of(*walks, wave(480, 24, seed=1), walks[0])
    assert detect_seasons(one) == ()


def test_one_of_four_series_is_not_enough():
    rng = np.random.default_rng(1)
    faint = wave(480, 24, noise=2.5)
    assert periods(detect_seasons(panel_of(faint))) == [24]
    assert detect_seasons(panel_of(faint, *(rng.normal(size=480) for _ in range(3)))) == ()


def test_a_series_of_which_most_was_not_observed_says_nothing():
    values = wave(2400, 24)
    missing = np.random.default_rng(2).random(2400)
    assert periods(detect_seasons(np.where(missing < 0.4, NAN, values), freq="h")) == [24]
    assert detect_seasons(np.where(missing < 0.6, NAN, values), freq="h") == ()


def test_series_too_noisy_alone_show_the_season_they_share_together_wherever_each_begins():
    """Each has a variance of 1 to 60 of the season; phases are those of the clock, not of the first row."""
    rng = np.random.default_rng(8)
    shape = np.array([2.0, 0.5, -0.5, -1, -1, -0.5, 0.5]) / 1.1
    starts = rng.integers(0, 40, size=60)
    series = [shape[(first + np.arange(150)) % 7] + 7 * rng.normal(size=150) for first in starts]
    (found,) = detect_seasons(panel_of(*series, freq="D", season=7, starts=starts))
    assert found.period == 7
    assert found.share < 0.15
    assert detect_seasons(panel_of(*series, freq="D", season=7, starts=np.zeros(60, dtype=int))) == ()


def test_short_series_beside_long_ones_do_not_vote():
    panel = panel_of(*(wave(480, 24, seed=i) for i in range(3)), *(np.zeros(5) + i for i in range(2)))
    (found,) = detect_seasons(panel)
    assert found.share == 1


def test_a_panel_of_many_series_is_looked_at_in_bounded_work(monkeypatch):
    from tsforecast.preprocessing import seasonality

    looked = []
    prepared = seasonality._prepared
    monkeypatch.setattr(seasonality, "_prepared", lambda target, place: (looked.append(len(target)), prepared(target, place))[1])
    monkeypatch.setattr(seasonality, "ROW_BUDGET", 20_000)
    rows = np.tile(wave(300, 24), 1000)
    panel = panel_of(*rows.reshape(1000, 300))
    assert periods(detect_seasons(panel)) == [24]
    assert len(looked) == 200 and set(looked) == {100}


# What follows from it


def season_of(period, strength):
    return Season(period=period, strength=strength, acf=0.5, share=1.0)


def test_the_main_season_is_the_shortest_that_is_half_as_strong_as_the_strongest():
    assert main_season([season_of(24, 0.5), season_of(168, 0.9)]) == 24
    assert main_season([season_of(60, 0.1), season_of(1440, 0.9)]) == 1440
    assert main_season([]) == 1


def test_the_detected_season_takes_the_place_of_that_of_the_frequency():
    assert with_detected_season(panel_of(wave(400, 24), season=1)).season == 24
    assert with_detected_season(panel_of(np.random.default_rng(0).normal(size=400).cumsum())).season == 1
    assert with_detected_season(panel_of(np.arange(30.0))).season == 24  # too short to tell
    assert with_detected_season(panel_of(wave(400, 11), freq=1, season=1)).season == 11


def test_a_context_holds_two_of_the_longest_season_if_the_series_do():
    week = wave(168 * 10, 168)
    found = recommend(panel_of(week), 24)
    assert found.context == 336
    assert 168 in periods(found.seasons)
    assert "the context is two seasons of 168 steps" in found.reason
    short = recommend(panel_of(wave(100, 24)), 24)
    assert (short.season, short.context) == (24, 48)
    assert recommend(panel_of(wave(100, 24)), 30).context == 60
    cut = recommend(panel_of(wave(100, 24)), 60)
    assert cut.context == 40
    assert cut.reason.endswith(
        "the context is two horizons of 60 steps, cut to the 40 that half of the series hold before a horizon"
    )


def test_without_a_season_the_context_is_two_horizons():
    found = recommend(panel_of(np.random.default_rng(0).normal(size=400).cumsum()), 10)
    assert (found.season, found.seasons, found.context) == (1, (), 20)
    assert found.reason == "no season is to be told from noise; the context is two horizons"


@pytest.mark.parametrize("period", [1, 2, 3, 4, 7, 12])
def test_a_moving_average_is_that_of_loops(period):
    values = np.random.default_rng(9).normal(size=20)
    half, expected = period // 2, np.full(20, NAN)
    for t in range(half, 20 - half):
        rows = values[t - half : t + half + 1].copy()
        if period % 2 == 0:
            rows[[0, -1]] /= 2
        expected[t] = rows.sum() / period
    np.testing.assert_allclose(moving_average(values, period), expected, rtol=1e-12)

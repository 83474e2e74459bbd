"""The report that compares generated series with real ones: bars that real series pass, and noise and copies do not."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tsforecast.comparison import BARS, ComparisonReport, compare_series
from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.panel import Panel

PERIOD, ROWS = 16, 640


def course(seed: int, level: float = 10.0) -> np.ndarray:
    """A season whose size changes."""
    t, draws = np.arange(ROWS), np.random.default_rng(seed)
    swing = 1 + 0.2 * np.sin(2 * np.pi * t / 200 + seed)
    return level + 3 * (swing * np.sin(2 * np.pi * t / PERIOD) + 0.15 * draws.standard_normal(ROWS))


def drifting(seed: int) -> np.ndarray:
    """A season on a level that drifts: the first half lies elsewhere than the second."""
    return course(seed) + 4 * np.tanh((np.arange(ROWS) - ROWS / 2) / (ROWS / 8))


def panel_of(*series: np.ndarray, season: int = PERIOD) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(one)) for one in series]).astype(np.int64),
        target=np.concatenate(series),
        freq=1,
        season=season,
    )


REAL: dict[str, tuple[np.ndarray, ...]] = {
    "steady": (course(0),),
    "drifting": (drifting(0),),
    "several": tuple(drifting(seed) for seed in range(3)),
}


def noise(values: np.ndarray) -> np.ndarray:
    return values.mean() + values.std() * np.random.default_rng(7).standard_normal(len(values))


def shuffled(values: np.ndarray) -> np.ndarray:
    return np.random.default_rng(7).permutation(values)


def half(values: np.ndarray) -> np.ndarray:
    return values[: len(values) // 2]


def blocks(values: np.ndarray) -> np.ndarray:
    turns = values.reshape(-1, PERIOD)
    return turns[np.random.default_rng(7).integers(len(turns), size=len(turns))].ravel()


@cache
def report_of(kind: str, made: Callable[[np.ndarray], np.ndarray]) -> ComparisonReport:
    return compare_series(panel_of(*REAL[kind]), panel_of(*map(made, REAL[kind])))


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """The classifier tells these series apart, or does not, with few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsforecast.comparison.TREES", 8)
        yield


def failed(report: ComparisonReport) -> set[str]:
    return {one.name for one in report.measures if not one.passes}


@cache
def of_its_kind() -> ComparisonReport:
    return compare_series(panel_of(course(0)), panel_of(course(2)))


# What passes and what fails


def test_series_of_the_same_kind_pass():
    report = of_its_kind()
    assert report.passes, str(report)
    assert 0.8 < report["privacy"] < 1.3


@pytest.mark.parametrize("kind", REAL)
def test_white_noise_of_the_right_distribution_fails(kind):
    assert failed(report_of(kind, noise)) >= {"autocorrelation", "changes", "discriminative"}


@pytest.mark.parametrize("kind", REAL)
def test_the_real_values_in_random_order_fail(kind):
    report = report_of(kind, shuffled)
    assert report["ks"] < 0.01 and failed(report) >= {"autocorrelation", "changes", "discriminative"}


@pytest.mark.parametrize("kind", REAL)
def test_a_copy_of_a_part_of_the_real_series_fails_as_a_copy(kind):
    report = report_of(kind, half)
    assert report["privacy"] < 0.05 and "privacy" in failed(report)


def test_a_copy_is_found_in_a_series_of_which_a_sample_is_looked_at():
    long = np.cumsum(np.random.default_rng(0).standard_normal(6_000))
    report = compare_series(panel_of(long, season=1), panel_of(3 * long[4_000:] - 50, season=1))
    assert report["privacy"] < 0.05


def test_whole_seasons_in_random_order_are_no_copy():
    report = report_of("steady", blocks)
    assert report.passes, str(report)


def test_another_level_of_a_single_series_is_noticed():
    report = compare_series(panel_of(course(0)), panel_of(course(2, level=13.0)))
    assert report["wasserstein"] > 0.9 and "wasserstein" in failed(report)


def test_the_season_is_compared_whatever_its_phase():
    late = np.roll(course(2), 5)
    assert compare_series(panel_of(course(0)), panel_of(late))["season"] < 0.1


# The bars


def test_series_that_drift_like_the_real_one_pass_though_a_fixed_bar_would_not_let_them():
    report = compare_series(panel_of(drifting(0)), panel_of(drifting(4)[ROWS // 4 :]))
    assert report.passes, str(report)
    moved = {one.name: one for one in report.measures if one.bar > BARS[one.name][1]}
    assert moved["wasserstein"].value > BARS["wasserstein"][1]
    assert moved["wasserstein"].bar == min(moved["wasserstein"].own, BARS["wasserstein"][2])


def test_the_bars_of_a_steady_series_are_the_fixed_ones():
    for one in of_its_kind().measures:
        assert one.bar == BARS[one.name][1]
        assert np.isnan(one.own) if one.name == "privacy" else one.own < one.bar


def test_a_bar_moves_no_further_than_its_ceiling():
    """Half of the real series is a slow wave, the other half noise."""
    t = np.arange(ROWS // 2)
    torn = np.concatenate([np.sin(t / 10), 50 + 5 * np.random.default_rng(0).standard_normal(len(t))])
    report = compare_series(panel_of(torn, season=1), panel_of(noise(torn), season=1))
    assert not report.passes
    moved = {one.name: (one.own, one.bar) for one in report.measures if one.name in ("wasserstein", "changes", "discriminative")}
    for name, (own, bar) in moved.items():
        assert own > bar == BARS[name][2], name


def test_the_own_distance_is_that_of_the_halves_or_of_every_other_season():
    """Odd and even seasons differ here, the halves do not."""
    sizes = np.where(np.arange(ROWS) // PERIOD % 2, 3.0, 1.0)
    other = [sizes * (course(seed) - 10) for seed in (0, 2)]
    report = compare_series(panel_of(other[0]), panel_of(other[1]))
    own = {one.name: one.own for one in report.measures}
    assert own["season"] > 0.5 and own["changes"] > 0.8
    first, second = report_of("drifting", half).measures[:2]
    assert first.own > 1 and second.own > 0.5  # and here the halves


def test_several_series_are_compared_each_in_its_own_units():
    report = report_of("several", half)
    several, single = (
        next(one.own for one in found.measures if one.name == "wasserstein") for found in (report, report_of("drifting", half))
    )
    assert several < 0.1 < single


# What is said


def test_the_report_names_each_measure_both_numbers_its_bar_and_the_verdict():
    report = of_its_kind()
    frame = report.to_frame()
    assert list(frame.columns) == ["measure", "generated", "real_against_itself", "side", "bar", "passes", "meaning"]
    assert list(frame["measure"]) == list(BARS) and frame["passes"].dtype == bool
    assert frame["generated"].notna().all() and frame["real_against_itself"].notna().sum() == len(BARS) - 1
    said = str(report)
    assert said.startswith("1 generated beside 1 real series: passes\n") and "at least 0.5" in said
    assert "real against itself" in said.splitlines()[1]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(HistoryTooShort, match="longest generated series"):
        compare_series(panel_of(course(0)), panel_of(course(0)[:20]))
    short = panel_of(course(0))
    with pytest.raises(OptionError, match="real series step by 1, generated ones by 2"):
        compare_series(short, replace(short, freq=2))


def test_short_series_are_compared_by_what_can_be_measured_with_the_fixed_bars():
    report = compare_series(panel_of(course(0)[:40]), panel_of(course(2)[:40]))
    assert np.isfinite(report["wasserstein"]) and np.isnan(report["discriminative"])
    assert all(np.isnan(one.own) and one.bar == BARS[one.name][1] for one in report.measures)
    assert "not measured" in str(report)


def test_the_same_seed_gives_the_same_report():
    again = compare_series(panel_of(course(0)), panel_of(course(2)))
    np.testing.assert_array_equal([one.value for one in again.measures], [one.value for one in of_its_kind().measures])
    np.testing.assert_array_equal([one.own for one in again.measures], [one.own for one in of_its_kind().measures])

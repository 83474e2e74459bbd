"""Each metric beside a for-loop that says it in the plainest words, and beside the published scores of M3 and M4."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from tsforecast import metrics
from tsforecast.errors import HorizonError, ModelError, OptionError
from tsforecast.panel import Panel

NAN = math.nan
LEVELS = (0.1, 0.25, 0.5, 0.9)


def panel_of(*series, season=1):
    lengths = [len(one) for one in series]
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(series))),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=np.concatenate([np.arange(1, n + 1) for n in lengths]),
        target=np.concatenate([np.asarray(one, dtype=float) for one in series]),
        freq=1,
        season=season,
    )


def sample(seed=0, series=5, horizon=7):
    """Actuals with holes and zeros, and quantiles around them."""
    rng = np.random.default_rng(seed)
    actual = np.round(rng.normal(3, 4, (series, horizon)), 1)
    actual[0, 2] = 0.0
    actual[1, :3] = NAN
    actual[2, -1] = NAN
    quantiles = np.sort(rng.normal(3, 4, (series, horizon, len(LEVELS))), axis=-1)
    quantiles[0, 0, 1] = quantiles[0, 0, 0]  # two equal quantiles
    quantiles[3, 1, :] = actual[3, 1]  # a forecast without spread, and right
    return actual, quantiles, rng.uniform(0.5, 2, series)


def steps(actual, *others):
    """For each series the list of its observed steps: (y, other values of that step …)."""
    for s in range(len(actual)):
        yield [(actual[s, h], *(other[s, h] for other in others)) for h in range(actual.shape[1]) if not math.isnan(actual[s, h])]


def average(values):
    values = list(values)
    return sum(values) / len(values) if values else NAN


def rho(y, q, level):
    return level * (y - q) if y >= q else (1 - level) * (q - y)


def test_point_metrics_equal_their_for_loops():
    y, quantiles, scale = sample()
    f = quantiles[..., 2]
    rows = list(steps(y, f))
    twins = {
        "mae": [average(abs(a - b) for a, b in row) for row in rows],
        "rmse": [average((a - b) ** 2 for a, b in row) ** 0.5 for row in rows],
        "bias": [average(b - a for a, b in row) for row in rows],
        "mape": [average(100 * abs(a - b) / abs(a) for a, b in row if a != 0) for row in rows],
        "smape": [average(200 * abs(a - b) / (abs(a) + abs(b)) for a, b in row) for row in rows],
        "wape": [sum(abs(a - b) for a, b in row) / sum(abs(a) for a, _ in row) for row in rows],
    }
    for name, twin in twins.items():
        np.testing.assert_allclose(getattr(metrics, name)(y, f), twin, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(
        metrics.mase(y, f, scale), [average(abs(a - b) for a, b in row) / s for row, s in zip(rows, scale, strict=True)]
    )
    np.testing.assert_allclose(
        metrics.rmsse(y, f, scale**2),
        [average((a - b) ** 2 for a, b in row) ** 0.5 / s for row, s in zip(rows, scale, strict=True)],
    )


def test_quantile_metrics_equal_their_for_loops():
    y, quantiles, _ = sample()
    pinball, wql = [], []
    for row in steps(y, quantiles):
        losses = [[rho(a, q[k], level) for a, q in row] for k, level in enumerate(LEVELS)]
        pinball.append(average(average(loss) for loss in losses))
        wql.append(average(2 * sum(loss) / sum(abs(a) for a, _ in row) for loss in losses))
    np.testing.assert_allclose(metrics.pinball(y, quantiles, LEVELS), pinball)
    np.testing.assert_allclose(metrics.wql(y, quantiles, LEVELS), wql)


def test_interval_metrics_equal_their_for_loops():
    y, quantiles, scale = sample()
    low, high = quantiles[..., 0], quantiles[..., 3]
    rows = list(steps(y, low, high))
    penalty = 2 / 0.2
    winkler = [
        average(u - l + penalty * (l - a) * (a < l) + penalty * (a - u) * (a > u) for a, l, u in row)  # noqa: E741
        for row in rows
    ]
    np.testing.assert_allclose(metrics.coverage(y, low, high), [average(float(l <= a <= u) for a, l, u in row) for row in rows])  # noqa: E741
    np.testing.assert_allclose(metrics.interval_width(y, low, high), [average(u - l for _, l, u in row) for row in rows])  # noqa: E741
    np.testing.assert_allclose(metrics.msis(y, low, high, scale, level=80), np.array(winkler) / scale)


def test_crps_is_the_integral_of_the_squared_distance_to_the_step():
    """Against a fine sum over x of (F(x) - 1[x >= y])^2 with F linear between the quantiles."""
    y, quantiles, _ = sample(series=4, horizon=3)
    width = 1e-3
    twin = []
    for row in steps(y, quantiles):
        values = []
        for a, q in row:
            x = np.arange(min(a, q[0]) - 1, max(a, q[-1]) + 1, width) + width / 2
            below = np.searchsorted(q, x, side="right")
            inner = np.clip(below, 1, len(q) - 1)
            left, right = q[inner - 1], q[inner]
            share = np.divide(x - left, right - left, out=np.ones_like(x), where=right > left)
            levels = np.asarray(LEVELS)
            f = levels[inner - 1] + share * (levels[inner] - levels[inner - 1])
            f = np.where(below == 0, 0.0, np.where(below == len(q), 1.0, f))
            values.append(((f - (x >= a)) ** 2).sum() * width)
        twin.append(average(values))
    np.testing.assert_allclose(metrics.crps(y, quantiles, LEVELS), twin, atol=3 * width)


def test_crps_of_many_normal_quantiles_is_the_known_score_of_the_normal():
    """CRPS of N(0, 1) at y: y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi) (Gneiting & Raftery 2007)."""
    from statistics import NormalDist

    normal = NormalDist()
    levels = tuple(np.linspace(0.001, 0.999, 999))
    y = np.array([[0.0, 0.7, -2.0]])
    quantiles = np.broadcast_to([normal.inv_cdf(level) for level in levels], (1, 3, 999))
    exact = average(v * (2 * normal.cdf(v) - 1) + 2 * normal.pdf(v) - 1 / math.sqrt(math.pi) for v in y[0])
    assert metrics.crps(y, quantiles, levels)[0] == pytest.approx(exact, abs=1e-3)


def test_one_level_alone_gives_the_metrics_of_a_point():
    y, quantiles, _ = sample()
    half = quantiles[..., 2:3]
    np.testing.assert_allclose(metrics.crps(y, half, (0.5,)), metrics.mae(y, half[..., 0]))
    np.testing.assert_allclose(metrics.wql(y, half, (0.5,)), metrics.wape(y, half[..., 0]))
    np.testing.assert_allclose(2 * metrics.pinball(y, half, (0.5,)), metrics.mae(y, half[..., 0]))


def test_numbers_worked_out_by_hand():
    y, f = np.array([[10.0, 20.0]]), np.array([[12.0, 16.0]])
    assert metrics.mae(y, f)[0] == 3
    assert metrics.rmse(y, f)[0] == pytest.approx(math.sqrt(10))
    assert metrics.bias(y, f)[0] == -1  # too low on average
    assert metrics.mape(y, f)[0] == 20
    assert metrics.smape(y, f)[0] == pytest.approx((200 * 2 / 22 + 200 * 4 / 36) / 2)
    assert metrics.wape(y, f)[0] == pytest.approx(0.2)
    assert metrics.mase(y, f, np.array([2.0]))[0] == 1.5
    assert metrics.msis(np.array([[5.0]]), np.array([[6.0]]), np.array([[8.0]]), np.array([1.0]), level=95)[0] == pytest.approx(
        42
    )


def test_zeros_have_a_defined_score():
    y, f = np.array([[0.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 5.0]])
    np.testing.assert_array_equal(metrics.mape(y, f), [NAN, 25])  # a zero has no percentage
    np.testing.assert_array_equal(metrics.smape(y, f), [100, (200 + 200 / 9) / 2])  # 0 for 0 is no error
    np.testing.assert_array_equal(metrics.wape(y, f), [NAN, 0.5])
    np.testing.assert_array_equal(metrics.wql(y, f[..., None], (0.5,)), [NAN, 0.5])


def test_what_was_not_observed_is_not_scored():
    y, quantiles, scale = sample()
    clean = metrics.score(actual=y, quantiles=quantiles, quantile_levels=LEVELS, scale=scale, squared_scale=scale)
    wild = np.where(np.isnan(y)[..., None], 1e9, quantiles)
    again = metrics.score(actual=y, quantiles=wild, quantile_levels=LEVELS, scale=scale, squared_scale=scale)
    assert again.total == clean.total
    nothing = metrics.score(actual=np.full((1, 2), NAN), quantiles=np.ones((1, 2, 4)), quantile_levels=LEVELS)
    assert all(math.isnan(value) for value in nothing.total.values())


def test_a_history_that_repeats_itself_has_no_mase_and_does_not_spoil_the_mean():
    scale = metrics.seasonal_scale(panel_of([1, 2, 1, 2], [1, 2, 4, 2], season=2))
    np.testing.assert_array_equal(scale, [0, 1.5])
    values = metrics.mase(np.ones((2, 1)), np.full((2, 1), 4.0), scale)
    np.testing.assert_array_equal(values, [NAN, 2])
    assert metrics.mean_over_series(values) == 2


def test_scale_may_differ_between_steps():
    y, f = np.array([[1.0, 1.0]]), np.array([[3.0, 5.0]])
    assert metrics.mase(y, f, np.array([[1.0, 4.0]]))[0] == (2 + 1) / 2
    assert metrics.rmsse(y, f, np.array([[1.0, 16.0]]))[0] == pytest.approx(math.sqrt((4 + 1) / 2))
    for unusable in (0.0, NAN):
        assert metrics.mase(y, f, np.array([[unusable, 4.0]]))[0] == 1
        assert metrics.rmsse(y, f, np.array([[unusable, 4.0]]))[0] == 2
        assert metrics.msis(y, f, f, np.array([[unusable, 4.0]]), level=50)[0] == 4


def test_score_names_every_metric_and_averages_over_series():
    y, quantiles, scale = sample()
    naive2 = np.full(y.shape, 2.5)
    levels = (0.025, 0.1, 0.9, 0.975)
    got = metrics.score(actual=y, quantiles=quantiles, quantile_levels=levels, scale=scale, squared_scale=scale**2, naive2=naive2)
    point = ["mae", "rmse", "mape", "smape", "wape", "mase", "rmsse", "bias", "pinball", "wql", "crps", "owa"]
    intervals = ["coverage_80", "width_80", "msis_80", "coverage_95", "width_95", "msis_95"]
    assert set(got.total) == set(got.per_series) == {*point, *intervals}
    half = (quantiles[..., 1] + quantiles[..., 2]) / 2  # 0.5 lies in the middle of 0.1 and 0.9
    np.testing.assert_allclose(got.per_series["mae"], metrics.mae(y, half))
    np.testing.assert_allclose(got.per_series["coverage_80"], metrics.coverage(y, quantiles[..., 1], quantiles[..., 2]))
    np.testing.assert_allclose(got.per_series["msis_95"], metrics.msis(y, quantiles[..., 0], quantiles[..., 3], scale, level=95))
    assert got.total["mae"] == pytest.approx(got.per_series["mae"].mean())
    seen = ~np.isnan(y)
    assert got.total["wape"] == pytest.approx(np.abs(y - half)[seen].sum() / np.abs(y)[seen].sum())  # sums of the whole panel
    loss = metrics.pinball(y[seen][None], quantiles[seen][None], levels)[0]
    assert got.total["wql"] == pytest.approx(2 * loss / np.abs(y)[seen].mean())
    assert got.total["owa"] == metrics.owa(y, half, naive2, scale)


def test_score_without_scales_leaves_out_what_needs_them():
    y, quantiles, _ = sample()
    names = set(metrics.score(actual=y, quantiles=quantiles, quantile_levels=LEVELS, naive2=y).total)
    assert not names & {"mase", "rmsse", "owa", "msis_80"}
    assert {"mae", "coverage_80"} <= names


def test_owa_averages_before_it_divides():
    y = np.array([[10.0], [10.0]])
    f, naive2, scale = np.array([[11.0], [14.0]]), np.array([[12.0], [12.0]]), np.array([1.0, 4.0])
    smape = (200 / 21 + 800 / 24) / (2 * 400 / 22)
    mase = (1 + 1) / (2 + 0.5)
    assert metrics.owa(y, f, naive2, scale) == pytest.approx((smape + mase) / 2)
    np.testing.assert_allclose(metrics.owa_per_series(y, f, naive2, scale)[0], ((200 / 21) / (400 / 22) + 1 / 2) / 2)
    assert metrics.owa(y, naive2, naive2, scale) == 1
    unscored = (np.vstack([y, [[NAN], [7.0]]]), np.vstack([f, [[1.0], [1.0]]]), np.vstack([naive2, [[1.0], [1.0]]]))
    assert metrics.owa(*unscored, np.array([1.0, 4.0, 1.0, 0.0])) == metrics.owa(y, f, naive2, scale)
    assert math.isnan(metrics.owa(y, f, y, scale))  # Naive2 was perfect: nothing to compare with


def test_pairs_are_found_whatever_the_rounding():
    assert metrics.symmetric_pairs((0.05, 0.1, 0.5, 0.9, 0.95)) == [(0, 4, 90.0), (1, 3, 80.0)]
    assert metrics.symmetric_pairs((0.0025, 0.3, 0.5, 1 - 0.0025)) == [(0, 3, 99.5)]
    assert metrics.symmetric_pairs((0.1, 0.9000000000000001)) == [(0, 1, 80.0)]
    assert metrics.symmetric_pairs((0.5, 0.9)) == []


def test_seasonal_scales_equal_their_for_loops():
    series = [np.array([3.0, 1, NAN, 5, 9, 2, 6]), np.array([1.0, 2]), np.array([2.0, 7, 1, 8])]
    panel = panel_of(*series, season=2)
    pairs = [[a - b for a, b in zip(s[2:], s, strict=False) if not math.isnan(a - b)] for s in series]
    np.testing.assert_allclose(metrics.seasonal_scale(panel), [average(abs(d) for d in one) for one in pairs])
    np.testing.assert_allclose(metrics.squared_seasonal_scale(panel), [average(d * d for d in one) for one in pairs])
    assert math.isnan(metrics.seasonal_scale(panel)[1])  # not longer than a season
    np.testing.assert_allclose(metrics.seasonal_scale(panel, season=1)[2], (5 + 6 + 7) / 3)


def naive2_loop(y, horizon, m):
    """M4's R code, word for word: SeasonalityTest, decompose(type = "multiplicative"), naive."""
    n = len(y)
    seasonal = False
    if m > 1 and n >= 3 * m:
        mean = sum(y) / n
        c = [sum((y[t] - mean) * (y[t + k] - mean) for t in range(n - k)) for k in range(m + 1)]
        acf = [value / c[0] for value in c[1:]]
        limit = 1.645 / math.sqrt(n) * math.sqrt(1 + 2 * sum(r * r for r in acf[:-1]))
        seasonal = abs(acf[-1]) > limit
    if not seasonal:
        return [y[-1]] * horizon
    half = m // 2
    ratios = [[] for _ in range(m)]
    for t in range(half, n - half):
        window = y[t - half : t + half + 1]
        weights = [1.0] * m if m % 2 else [0.5] + [1.0] * (m - 1) + [0.5]
        ratios[t % m].append(y[t] / (sum(w * v for w, v in zip(weights, window, strict=True)) / m))
    index = [average(one) for one in ratios]
    index = [one / average(index) for one in index]
    return [y[-1] / index[(n - 1) % m] * index[(n + h) % m] for h in range(horizon)]


@pytest.mark.parametrize("season", [1, 4, 7])
def test_naive2_equals_its_for_loop(season):
    rng = np.random.default_rng(season)
    wave = 10 + 5 * np.sin(2 * np.pi * np.arange(60) / season)
    series = [wave + rng.normal(0, 0.5, 60), wave[: 3 * season - 1], rng.normal(50, 1, 45), wave[: 3 * season] + 1]
    got = metrics.naive2(panel_of(*series, season=season), horizon=9)
    np.testing.assert_allclose(got, [naive2_loop(list(one), 9, season) for one in series], rtol=1e-12)
    if season > 1:
        assert got[0].std() > 1  # it did find the season
        assert got[1].std() == 0  # shorter than three seasons


def test_less_than_three_seasons_are_no_proof_of_a_season():
    spikes = np.tile([1.0, 1, 1, 1, 1, 1, 9], 3)
    panel = panel_of(spikes, spikes[:-1], season=7)
    assert metrics.naive2(panel, horizon=7).std(axis=1).tolist() == [pytest.approx(spikes.std()), 0]


def test_indices_of_a_pure_season_are_the_season_with_mean_one():
    for season in ([1.0, 3], [2.0, 4, 6], [4.0, 1, 2, 1]):
        indices = metrics.seasonal_indices(np.tile(season, 6)[:-1] * 10, len(season))
        np.testing.assert_allclose(indices, np.array(season) / np.mean(season))
    noisy = np.random.default_rng(0).uniform(1, 9, 50)
    assert metrics.seasonal_indices(noisy, 4).mean() == pytest.approx(1)


def test_naive2_does_not_depend_on_the_unit():
    wave = 10 + 5 * np.sin(np.arange(60) * np.pi / 2) + np.random.default_rng(0).normal(0, 0.5, 60)
    in_small_units = metrics.naive2(panel_of(wave * 1e-6, season=4), horizon=4)
    np.testing.assert_allclose(in_small_units * 1e6, metrics.naive2(panel_of(wave, season=4), horizon=4))
    assert in_small_units.std() > 1e-6


def test_naive2_of_awkward_histories_is_defined():
    ends_on_zero = np.tile([0.0, 0, 0, 1], 10)[:-1]  # seasonal, and the last value has to be divided by an index of 0
    got = metrics.naive2(panel_of(np.full(20, 3.0), [NAN, NAN], [5.0, NAN], np.zeros(20), ends_on_zero, season=4), horizon=2)
    np.testing.assert_array_equal(got, [[3, 3], [NAN, NAN], [5, 5], [0, 0], [0, 0]])
    assert metrics.is_seasonal(ends_on_zero, 4)


def test_naive2_bridges_missing_values_with_the_season():
    wave = np.tile([8.0, 10, 12, 10], 12)
    holes = wave.copy()
    holes[[17, 30, 46, 47]] = NAN  # the last two rows as well: the last value known is 8 at position 0
    np.testing.assert_allclose(metrics.naive2(panel_of(holes, season=4), horizon=4)[0], [8, 10, 12, 10], rtol=1e-9)


def test_mistakes_are_named():
    y, quantiles, _ = sample()
    with pytest.raises(OptionError, match=r"0\.5 lies outside the quantile levels 0\.6 … 0\.9; add 0\.5"):
        metrics.score(actual=y, quantiles=quantiles, quantile_levels=(0.6, 0.7, 0.8, 0.9))
    broken = quantiles.copy()
    broken[3, 4, 1] = NAN
    with pytest.raises(ModelError, match=r"forecast of series number 3, step 5, is \[.*nan.*\]: not finite"):
        metrics.score(actual=y, quantiles=broken, quantile_levels=LEVELS)
    with pytest.raises(OptionError, match="season must be at least 1 step, got 0"):
        metrics.seasonal_scale(panel_of([1, 2]), season=0)
    with pytest.raises(HorizonError, match="horizon must be a positive number of steps, got 0"):
        metrics.naive2(panel_of([1, 2]), horizon=0)


def test_a_missing_forecast_of_an_observed_value_is_not_hidden():
    assert math.isnan(metrics.mae(np.array([[1.0, 2.0]]), np.array([[1.0, NAN]]))[0])
    assert math.isnan(metrics.coverage(np.array([[1.0, 2.0]]), np.array([[0.0, NAN]]), np.array([[3.0, NAN]]))[0])


# ---------------------------------------------------------------- the published scores


DATA = Path(os.environ.get("TSF_DATA_DIR") or Path(__file__).parents[2] / "../shared/data")
published = pytest.mark.skipif(not (DATA / "m4_hourly").is_dir(), reason="no benchmark data: set TSF_DATA_DIR to their folder")

M4 = {  # set -> column -> (sMAPE, MASE, OWA); hourly and weekly are complete: the organisers' own workbook
    "m4_hourly": {
        "Naive": (43.003, 11.608, 3.593),
        "Naive2": (18.383, 2.395, 1.000),
        "SES": (18.094, 2.385, 0.990),
        "sub218_Iqbal": (41.678, 11.806, 3.598),
        "sub024_Reilly": (13.135, 1.149, 0.597),
        "sub249_Clark": (36.700, 10.791, 3.251),
    },
    "m4_weekly": {
        "Naive": (9.161, 2.777, 1.000),
        "Naive2": (9.161, 2.777, 1.000),
        "SES": (9.012, 2.685, 0.975),
        "sub218_Iqbal": (11.002, 2.535, 1.057),
        "sub024_Reilly": (8.035, 2.259, 0.845),
        "sub249_Clark": (10.269, 3.169, 1.131),
    },
    "m4_daily": {"Naive2": (2.258, 3.009, 1.000), "SES": (2.263, 3.012, 1.002)},
    "m4_monthly": {"Naive2": (14.235, 1.042, 1.000), "sNaive": (16.081, 1.207, None), "SES": (13.405, 0.982, 0.942)},
    "m4_quarterly": {"Naive2": (12.019, 1.494, 1.000), "sNaive": (13.611, 1.709, None), "SES": (11.036, 1.418, 0.933)},
    "m4_yearly": {"Naive2": (16.387, 3.892, 1.000), "sub024_Reilly": (16.589, 3.688, None), "SES": (16.440, 3.894, 1.002)},
}
M3 = {  # set -> column -> sMAPE to two decimals, as printed
    "m3_yearly": {"NAIVE2": 17.88, "SINGLE": 17.82, "COMB_S-H-D": 17.07, "THETA": 16.97, "ForecastPro": 17.27, "RBF": 16.42},
    "m3_quarterly": {"NAIVE2": 9.95, "SINGLE": 9.72, "COMB_S-H-D": 9.22, "THETA": 8.96, "ForecastPro": 9.82, "RBF": 9.57},
    "m3_monthly": {"NAIVE2": 16.89, "SINGLE": 15.30, "COMB_S-H-D": 14.47, "THETA": 13.89, "ForecastPro": 13.90, "RBF": 14.76},
    "m3_other": {"NAIVE2": 6.30, "SINGLE": 6.29, "COMB_S-H-D": 4.56, "THETA": 4.41, "ForecastPro": 4.60, "RBF": 5.60},
}
M3_MASE = {"m3_yearly": 3.172, "m3_quarterly": 1.252, "m3_monthly": 1.038, "m3_other": 3.089}  # of our own Naive2


def benchmark(name):
    """(train panel, test (S, H), published forecasts by column, each (S, H))."""
    from tsforecast.datasets import BENCHMARKS, load_benchmark

    train, test, forecasts = (load_benchmark(name, split, folder=DATA) for split in ("train", "test", "published_forecasts"))
    ids = train["unique_id"].to_numpy()
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    panel = Panel(
        series_ids=tuple(ids[starts]),
        offsets=np.r_[starts, len(ids)].astype(np.int64),
        timestamps=train["ds"].to_numpy(np.int64),
        target=train["y"].to_numpy(float),
        freq=1,
        season=BENCHMARKS[name].season,
    )
    horizon = BENCHMARKS[name].horizon
    assert (test["unique_id"].to_numpy()[::horizon] == ids[starts]).all()
    assert (forecasts["unique_id"].to_numpy() == test["unique_id"].to_numpy()).all()
    columns = {column: forecasts[column].to_numpy().reshape(-1, horizon) for column in forecasts.columns[2:]}
    return panel, test["y"].to_numpy().reshape(-1, horizon), columns


@published
@pytest.mark.parametrize("name", M4)
def test_m4_scores_are_the_published_ones_to_three_decimals(name):
    panel, actual, columns = benchmark(name)
    scale = metrics.seasonal_scale(panel)
    for method, (smape, mase, owa) in M4[name].items():
        forecast = columns[method]
        assert metrics.smape(actual, forecast).mean() == pytest.approx(smape, abs=6e-4), method
        assert metrics.mase(actual, forecast, scale).mean() == pytest.approx(mase, abs=6e-4), method
        if owa is not None:
            assert metrics.owa(actual, forecast, columns["Naive2"], scale) == pytest.approx(owa, abs=6e-4), method


@published
@pytest.mark.parametrize("name", M4)
def test_our_naive2_is_the_published_naive2_of_every_m4_series(name):
    panel, actual, columns = benchmark(name)
    np.testing.assert_allclose(metrics.naive2(panel, horizon=actual.shape[1]), columns["Naive2"], rtol=1e-8)


@published
@pytest.mark.parametrize("name", M3)
def test_m3_scores_are_the_published_ones(name):
    panel, actual, columns = benchmark(name)
    for method, smape in M3[name].items():
        assert metrics.smape(actual, columns[method]).mean() == pytest.approx(smape, abs=6e-3), method
    scale = metrics.seasonal_scale(panel)
    own = metrics.naive2(panel, horizon=actual.shape[1])
    assert metrics.mean_over_series(metrics.mase(actual, own, scale)) == pytest.approx(M3_MASE[name], abs=6e-4)


@published
@pytest.mark.parametrize(("name", "msis"), [("m4_hourly", 71.25), ("m4_weekly", 26.36)])
def test_msis_of_the_naive_interval_is_the_published_one(name, msis):
    """R's naive(): last value -+ 1.96 sigma sqrt(h), sigma = root mean square of the differences."""
    panel, actual, columns = benchmark(name)
    sigma = np.array([np.sqrt(np.mean(np.diff(target) ** 2)) for _, target in panel])
    half = 1.959964 * sigma[:, None] * np.sqrt(np.arange(1, actual.shape[1] + 1))
    naive = columns["Naive"]
    scores = metrics.msis(actual, naive - half, naive + half, metrics.seasonal_scale(panel), level=95)
    assert scores.mean() == pytest.approx(msis, abs=6e-3)

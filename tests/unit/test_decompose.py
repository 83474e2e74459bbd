"""Decomposition: what the library finds, put together again, with holes and short series accounted for."""

import re

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.seasonal import MSTL, STL

from tsforecast.cli import main
from tsforecast.decompose import decompose
from tsforecast.errors import OptionError
from tsforecast.panel import Panel

NAN = np.nan


def panel_of(season=1, freq="h", tz=None, zones=(), **series):
    lengths = [len(values) for values in series.values()]
    start = np.datetime64("2024-03-30T12", "ns")
    times = [np.arange(n) if freq == 1 else start + np.arange(n).astype("timedelta64[h]") for n in lengths]
    return Panel(
        series_ids=tuple(series),
        offsets=np.cumsum([0, *lengths]),
        timestamps=np.concatenate(times),
        target=np.concatenate([np.asarray(values, dtype=float) for values in series.values()]),
        freq=freq,
        season=season,
        tz=tz,
        zones=zones,
    )


def two_seasons(rows, seed=0, noise=0.2):
    t = np.arange(rows)
    shocks = noise * np.random.default_rng(seed).normal(size=rows)
    return 50 + 0.02 * t + 3 * np.sin(2 * np.pi * t / 24) + 2 * np.sign(t % 168 - 120) + shocks


@pytest.mark.parametrize("robust", [False, True])
def test_one_season_is_taken_apart_as_the_library_does(robust):
    values = two_seasons(200)
    found = decompose(panel_of(other=values[:60], a=values), seasons=[24], robust=robust)
    expected = STL(values, period=24, robust=robust).fit()
    np.testing.assert_allclose(found.trend[60:], expected.trend, rtol=1e-8)
    np.testing.assert_allclose(found.seasonal[60:, 0], expected.seasonal, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.remainder[60:], expected.resid, rtol=1e-8, atol=1e-8)


def test_several_seasons_are_taken_apart_as_the_library_does():
    values = two_seasons(300)
    found = decompose(panel_of(a=values), seasons=(12, 24))
    expected = MSTL(values, periods=(12, 24)).fit()
    np.testing.assert_allclose(found.trend, expected.trend, rtol=1e-8)
    np.testing.assert_allclose(found.seasonal, expected.seasonal, rtol=1e-8, atol=1e-8)


def test_the_shortcut_for_long_seasons_stays_near_what_the_library_finds():
    values = two_seasons(168 * 5)
    found = decompose(panel_of(a=values), seasons=(24, 168))
    expected = MSTL(values, periods=(24, 168)).fit()
    for part, other in ((found.trend, expected.trend), (found.seasonal, expected.seasonal), (found.remainder, expected.resid)):
        assert np.abs(part - other).max() < 0.25 * expected.resid.std()


@pytest.mark.parametrize("method", ["auto", "mstl"])
def test_the_parts_add_up_where_a_value_was_observed_and_go_on_through_holes(method):
    values = two_seasons(24 * 9)
    holes = np.array([0, 1, 40, 41, 42, 100, 214, 215])
    values[holes] = NAN
    panel = panel_of(a=values, b=two_seasons(24 * 9, seed=1))
    found = decompose(panel, seasons=[24], method=method)
    whole = found.trend + found.seasonal.sum(axis=1) + found.remainder
    seen = ~np.isnan(panel.target)
    np.testing.assert_allclose(whole[seen], panel.target[seen], rtol=1e-14)
    assert np.isnan(found.remainder[~seen]).all()
    outside = np.array([0, 1, 214, 215])
    assert np.isnan(found.trend[outside]).all() and np.isnan(found.seasonal[outside]).all()
    assert np.isfinite(found.trend[2:214]).all() and np.isfinite(found.seasonal[2:214]).all()


def test_series_too_short_for_a_season_have_none_of_it_and_are_named():
    panel = panel_of(long=two_seasons(400), middle=two_seasons(60), short=[1.0, 5.0], empty=[NAN, NAN, NAN])
    found = decompose(panel, seasons=(24, 168))
    assert found.reduced == (
        ("middle", "60 steps from first to last observation, not more than two of 168"),
        ("short", "2 steps from first to last observation, not more than two of 24 and 168"),
        ("empty", "no observations"),
    )
    middle = slice(400, 460)
    assert found.seasonal[middle, 0].any() and not found.seasonal[middle, 1].any()
    np.testing.assert_array_equal(found.trend[460:], [3, 3, NAN, NAN, NAN])
    np.testing.assert_array_equal(found.seasonal[460:462], 0)
    np.testing.assert_array_equal(found.remainder[460:], [-2, 2, NAN, NAN, NAN])


def test_a_series_that_is_two_seasons_long_is_too_short_and_one_step_more_is_not():
    assert decompose(panel_of(a=two_seasons(48)), seasons=[24]).reduced
    assert not decompose(panel_of(a=two_seasons(49)), seasons=[24]).reduced


def test_seasons_are_those_detected_or_else_that_of_the_panel_or_none():
    noise = np.random.default_rng(0).normal(size=400).cumsum()
    assert decompose(panel_of(a=two_seasons(168 * 6))).seasons == (24, 168)
    assert decompose(panel_of(a=noise, season=24)).seasons == (24,)
    assert decompose(panel_of(a=noise, season=1)).seasons == ()
    assert decompose(panel_of(a=two_seasons(400)), seasons=(48, 24, 24)).seasons == (24, 48)
    assert decompose(panel_of(a=two_seasons(400), season=24), seasons=()).seasonal.shape == (400, 0)


def test_without_a_season_the_trend_of_a_line_is_the_line_and_an_outlier_bends_it_unless_robust():
    line = 3 + 0.5 * np.arange(60)
    np.testing.assert_allclose(decompose(panel_of(a=line)).trend, line, rtol=1e-9)
    spoiled = line + 0.1 * np.random.default_rng(0).normal(size=60)
    spoiled[30] = 500
    assert np.abs(decompose(panel_of(a=spoiled), robust=True).trend - line).max() < 0.2
    assert decompose(panel_of(a=spoiled)).trend[30] - line[30] > 10


def test_strengths_are_one_minus_the_share_of_variance_that_is_left():
    panel = panel_of(a=two_seasons(400), b=two_seasons(200, noise=2.0), c=np.full(100, 4.0))
    found = decompose(panel, seasons=[24])
    strengths = found.strengths()
    assert strengths.columns.tolist() == ["unique_id", "trend", "seasonal_24"]
    for i, (start, end) in enumerate(((0, 400), (400, 600))):
        rows = slice(start, end)
        left = np.var(found.remainder[rows])
        assert strengths["trend"][i] == pytest.approx(max(0, 1 - left / np.var(found.trend[rows] + found.remainder[rows])))
        assert strengths["seasonal_24"][i] == pytest.approx(1 - left / np.var(found.seasonal[rows, 0] + found.remainder[rows]))
    assert strengths["seasonal_24"][0] > 0.8 > strengths["seasonal_24"][1]


def test_a_series_where_nothing_varies_or_that_is_too_short_has_no_strength():
    strengths = decompose(panel_of(a=np.zeros(60), b=two_seasons(40)), seasons=[24]).strengths()
    assert strengths["seasonal_24"].isna().all()
    assert strengths["trend"].isna().tolist() == [True, False]


def test_the_frame_has_a_column_for_each_part_and_the_wall_clock_of_the_panel():
    panel = panel_of(tz="Europe/Berlin", a=two_seasons(60), b=two_seasons(60))
    frame = decompose(panel, seasons=[12, 24]).to_frame()
    assert frame.columns.tolist() == ["unique_id", "ds", "y", "trend", "seasonal_12", "seasonal_24", "remainder"]
    assert str(frame["ds"].iloc[0]) == "2024-03-30 13:00:00+01:00"
    assert str(frame["ds"].iloc[59]) == "2024-04-02 01:00:00+02:00"
    np.testing.assert_allclose(frame[["trend", "seasonal_12", "seasonal_24", "remainder"]].sum(axis=1), frame["y"])


def test_in_a_panel_of_several_zones_each_series_has_its_own_wall_clock():
    panel = panel_of(tz="UTC", zones=("Asia/Tokyo", "Europe/Berlin"), a=two_seasons(60), b=two_seasons(60))
    frame = decompose(panel, seasons=[24]).to_frame()
    assert [str(frame["ds"][row]) for row in (0, 60)] == ["2024-03-30 21:00:00+09:00", "2024-03-30 13:00:00+01:00"]


def test_mistakes_are_named():
    panel = panel_of(a=two_seasons(100))
    with pytest.raises(OptionError, match="seasons must be numbers of steps from 2 on, got 1"):
        decompose(panel, seasons=[24, 1])
    with pytest.raises(OptionError, match=r"seasons must be numbers of steps from 2 on, got 24\.0"):
        decompose(panel, seasons=[24.0])
    with pytest.raises(OptionError, match="no method 'x11'; there are auto, stl, mstl"):
        decompose(panel, method="x11")
    with pytest.raises(OptionError, match=r"method 'stl' takes one season, got \[12, 24\]; use 'mstl' or 'auto'"):
        decompose(panel, seasons=[12, 24], method="stl")


def test_what_is_found_cannot_be_changed_and_the_panel_is_left_alone():
    panel = panel_of(a=two_seasons(100))
    before = panel.target.copy()
    found = decompose(panel, seasons=[24])
    np.testing.assert_array_equal(panel.target, before)
    for part in (found.trend, found.seasonal, found.remainder):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1


def test_the_command_says_the_seasons_writes_the_parts_and_draws_one_series(tmp_path, capsys):
    rows = 168 * 6
    times = pd.date_range("2024-01-01", periods=rows, freq="h")
    frames = [pd.DataFrame({"unique_id": name, "ds": times, "y": two_seasons(rows, seed=i)}) for i, name in enumerate("ab")]
    data, out, plot = (tmp_path / name for name in ("data.parquet", "out.csv", "plot.png"))
    pd.concat(frames).to_parquet(data)
    command = ["decompose", str(data), "--only", "b", "--out", str(out), "--plot", str(plot), "--horizon", "48"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("seasons of 24 (strength 0.")
    assert "the context is two seasons of 168 steps: season 24, context 336\n" in said
    assert re.search(r"strength, median over series: trend \d\.\d\d  seasonal_24 \d\.\d\d  seasonal_168 \d\.\d\d\n", said)
    written = pd.read_csv(out)
    assert written["unique_id"].unique().tolist() == ["b"]
    np.testing.assert_allclose(written[["trend", "seasonal_24", "seasonal_168", "remainder"]].sum(axis=1), written["y"])
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_command_names_series_that_cannot_show_a_season_and_mistakes(tmp_path, capsys):
    data = tmp_path / "data.csv"
    days = pd.date_range("2024-01-01", periods=10)
    pd.concat([pd.DataFrame({"unique_id": f"s{i}", "ds": days, "y": range(10)}) for i in range(12)]).to_csv(data, index=False)
    assert main(["decompose", str(data), "--seasons", "4,7"]) == 0
    said = capsys.readouterr().out
    assert said.count("  not shown: s") == 10
    assert "  not shown: s0: 10 steps from first to last observation, not more than two of 7\n" in said
    assert said.endswith("  and 2 series more\n")
    assert main(["decompose", str(data), "--seasons", "week"]) != 0
    assert "--seasons takes whole numbers such as 24,168, got 'week'" in capsys.readouterr().err
    assert main(["decompose", str(data), "--only", "x"]) != 0
    assert "no series 'x' in" in capsys.readouterr().err


def test_rounding_is_no_variation() -> None:
    found = decompose(panel_of(a=np.full(60, 0.1)), seasons=[7]).strengths()
    assert found[["trend", "seasonal_7"]].isna().all(axis=None)

"""Charts show the numbers they are given. What they look like was judged by eye; here: what is drawn, named and written."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest

from tsforecast.decompose import decompose
from tsforecast.errors import OptionError
from tsforecast.forecast import Forecast
from tsforecast.panel import Panel
from tsforecast.plots import fan_chart, leaderboard_chart, plot_autocorrelation, plot_decomposition, save
from tsforecast.preprocessing.seasonality import autocorrelation

START = np.datetime64("2024-03-30", "ns")
HOUR = np.timedelta64(1, "h")


def panel_of(values, *, integer=False, tz=None):
    """One series called "a$b$" of hours (or steps)."""
    rows = np.arange(len(values))
    return Panel(
        series_ids=("other", "a$b$"),
        offsets=np.array([0, 1, 1 + len(values)]),
        timestamps=np.concatenate([[1], rows + 1]) if integer else START + np.concatenate([[0], rows]) * HOUR,
        target=np.concatenate([[0.0], values]),
        freq=1 if integer else "h",
        season=24,
        tz=tz,
    )


def forecast_of(first, quantiles, *, levels=(0.1, 0.5, 0.9), integer=False, tz=None):
    """`quantiles` (H, Q) of "a$b$", from row `first`."""
    steps = first + np.arange(len(quantiles))
    return Forecast(
        series_ids=("a$b$",),
        timestamps=(steps + 1)[None] if integer else (START + steps * HOUR)[None],
        quantile_levels=levels,
        quantiles=np.asarray(quantiles, dtype=float)[None],
        tz=tz,
    )


FAN = [[9.0, 10, 11], [8, 10, 13]]


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def bands(figure):
    return {band.get_label(): band for band in figure.axes[0].collections}


def test_the_fan_opens_from_the_last_value_and_shows_median_and_interval():
    figure = fan_chart(panel_of(np.arange(10.0), integer=True), forecast_of(10, FAN, integer=True), "a$b$")
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["history"].get_xydata(), np.column_stack([np.arange(1, 11), np.arange(10)]))
    np.testing.assert_array_equal(drawn["median"].get_xydata(), [[10, 9], [11, 10], [12, 10]])
    outline = bands(figure)["80 % interval"].get_paths()[0].vertices
    assert {(10, 9), (11, 9), (11, 11), (12, 8), (12, 13)} <= {tuple(point) for point in outline}
    assert figure.axes[0].get_title(loc="left") == "a$b$: 2 steps ahead"
    assert figure.axes[0].get_xlabel() == "step"


def test_each_symmetric_pair_is_an_interval_in_the_legend():
    levels = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
    figure = fan_chart(panel_of(np.arange(10.0)), forecast_of(10, [np.arange(7), np.arange(7)], levels=levels))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["history", "95 % interval", "80 % interval", "50 % interval", "median"]
    shades = [band.get_facecolor()[0].sum() for band in bands(figure).values()]
    assert shades == sorted(shades, reverse=True)  # the inner ones are darker
    assert len(set(shades)) == 3


def test_last_cuts_the_history_and_rows_inside_the_horizon_are_dots():
    figure = fan_chart(panel_of(np.append(np.arange(11.0), [math.nan, 12, 13])), forecast_of(10, FAN), last=4)
    drawn = lines(figure)
    assert drawn["history"].get_ydata().tolist() == [6, 7, 8, 9]
    assert drawn["what came"].get_ydata().tolist() == [10]  # step 2 was not observed, 3 and 4 lie beyond


def test_times_are_drawn_on_the_wall_clock_of_the_panel():
    figure = fan_chart(panel_of(np.arange(30.0), tz="Europe/Zurich"), forecast_of(30, FAN, tz="Europe/Zurich"))
    assert figure.axes[0].get_xlabel() == "time (Europe/Zurich)"
    x = lines(figure)["median"].get_xdata()
    assert x[-1] == np.datetime64("2024-03-31T09:00")  # 07:00 in UTC, and summer time began that night


@pytest.mark.parametrize("last_value", [5.0, math.nan])
def test_one_step_ahead_is_visible(last_value):
    figure = fan_chart(panel_of([1.0, 2, last_value]), forecast_of(3, FAN[:1]))
    drawn = lines(figure)["median"]
    assert drawn.get_marker() == "o"
    assert drawn.get_ydata().tolist() == ([5, 10] if last_value == 5 else [10])
    thickness = bands(figure)["80 % interval"].get_linewidths()[0]
    assert thickness == (0 if last_value == 5 else 8)  # an area, or a bar where the area would have no width
    assert figure.axes[0].get_title(loc="left") == "a$b$: 1 step ahead"


def test_levels_without_a_median_or_a_pair_are_drawn_as_far_as_they_go():
    figure = fan_chart(panel_of(np.arange(5.0)), forecast_of(5, [[1.0, 2]], levels=(0.6, 0.9)))
    assert set(lines(figure)) == {"history"}
    assert not bands(figure)


def test_large_values_are_written_with_a_unit_sign():
    figure = fan_chart(panel_of(1e6 * np.arange(100, 110)), forecast_of(10, 1e6 * (100 + np.array(FAN))))
    figure.draw_without_rendering()
    assert any(label.get_text().endswith(" M") for label in figure.axes[0].get_yticklabels())


def test_the_best_model_stands_on_top_and_one_without_a_number_last():
    scores = {"naive": {"mase": 1.2}, "gru": {"mase": 0.82}, "prophet": {"mase": math.nan}, "lstm": {"mase": 1234.5}}
    axes = leaderboard_chart(scores, "mase").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gru", "naive", "lstm", "prophet"]
    assert [bar.get_width() for bar in axes.patches] == [0.82, 1.2, 1234.5, 0]
    assert [text.get_text() for text in axes.texts] == ["0.820", "1.20", "1,234", "no value"]
    assert axes.yaxis_inverted()
    assert axes.get_title(loc="left") == "mase (lower is better)"
    assert len({tuple(bar.get_facecolor()) for bar in axes.patches}) == 2  # the best one has its own colour


@pytest.mark.parametrize(
    ("metric", "values", "order", "rule"),
    [
        ("bias", {"a": -3.0, "b": 1.0, "c": 2.0}, ["b", "c", "a"], "nearest to 0 is best"),
        ("coverage_80", {"a": 0.99, "b": 0.5, "c": 0.75}, ["c", "a", "b"], "nearest to 0.8 is best"),
    ],
)
def test_some_metrics_are_best_near_their_aim(metric, values, order, rule):
    axes = leaderboard_chart({model: {metric: value} for model, value in values.items()}, metric).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    assert axes.get_title(loc="left") == f"{metric} ({rule})"


def test_a_decomposition_is_drawn_part_by_part_with_bars_of_one_height():
    t = np.arange(200)
    values = 10 + 0.1 * t + 3 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(0).normal(size=200)
    values[50] = math.nan
    found = decompose(panel_of(values, tz="Europe/Zurich"), seasons=[12, 24])
    figure = plot_decomposition(found, "a$b$")
    parts = [values, found.trend[1:], found.seasonal[1:, 0], found.seasonal[1:, 1], found.remainder[1:]]
    assert [axes.get_ylabel() for axes in figure.axes] == ["value", "trend", "season of 12", "season of 24", "remainder"]
    bars = []
    for axes, part in zip(figure.axes, parts, strict=True):
        curves = [line for line in axes.get_lines() if len(line.get_xdata()) == 200]
        np.testing.assert_array_equal(curves[0].get_ydata(), part)
        bars += [np.ptp(line.get_ydata()) for line in axes.get_lines() if line.get_linewidth() == 5]
    assert len(bars) == 5
    np.testing.assert_allclose(bars, min(np.ptp(part[np.isfinite(part)]) for part in parts))
    assert figure.axes[-1].get_xlabel() == "time (Europe/Zurich)"
    assert figure.axes[0].get_title(loc="left") == "a$b$: taken apart"


def test_a_decomposition_without_parts_or_values_is_drawn_as_far_as_it_goes():
    constant = plot_decomposition(decompose(panel_of(np.full(20, 5.0), integer=True), seasons=[4]))
    assert constant.axes[-1].get_xlabel() == "step"
    never = plot_decomposition(decompose(panel_of(np.full(20, math.nan)), seasons=[4]), "a$b$")
    assert len(never.axes) == 4
    never.draw_without_rendering()


def test_an_autocorrelation_is_drawn_with_its_band_and_its_seasons():
    values = np.sin(2 * np.pi * np.arange(100) / 12)
    values[3] = math.nan
    axes = plot_autocorrelation(values, 30, seasons=(12, 48)).axes[0]
    (stems,) = axes.collections
    tips = np.array([segment[1] for segment in stems.get_segments()])
    np.testing.assert_allclose(tips, np.column_stack([np.arange(1, 31), autocorrelation(values, 30)[1:]]))
    assert [text.get_text() for text in axes.texts] == ["12"]
    (band,) = axes.patches
    assert band.get_height() == pytest.approx(2 * 1.96 / math.sqrt(99))


def test_an_autocorrelation_of_a_constant_is_empty_not_wrong():
    axes = plot_autocorrelation(np.full(20, 5.0), 5, seasons=(4,)).axes[0]
    assert all((segment[:, 1] == 0).all() for segment in axes.collections[0].get_segments())
    axes.figure.draw_without_rendering()


def test_mistakes_in_what_is_taken_apart_are_named():
    found = decompose(panel_of(np.arange(20.0)), seasons=[4])
    with pytest.raises(OptionError, match=re.escape("no series 'x' in the decomposition, which has 2: 'other', 'a$b$' …")):
        plot_decomposition(found, "x")
    for lags in (0, 20):
        with pytest.raises(OptionError, match=f"lags must be 1 to 19 for 20 steps, got {lags}"):
            plot_autocorrelation(np.arange(20.0), lags)
    with pytest.raises(OptionError, match=r"values must be \(T,\), got 2 dimensions"):
        plot_autocorrelation(np.zeros((2, 20)), 3)


def test_mistakes_are_named():
    panel, forecast = panel_of(np.arange(5.0)), forecast_of(5, FAN)
    with pytest.raises(OptionError, match=re.escape("no series 'x' in the forecast, which has 1: 'a$b$' …")):
        fan_chart(panel, forecast, "x")
    with pytest.raises(OptionError, match=re.escape("no series 'a$b$' in the panel, which has 1: 'other' …")):
        fan_chart(panel.select([0]), forecast)
    with pytest.raises(OptionError, match="last must be at least 1 row of history, got 0"):
        fan_chart(panel, forecast, last=0)
    with pytest.raises(OptionError, match="no model has a number for metric 'mae'; there are mase"):
        leaderboard_chart({"gru": {"mase": 1.0}}, "mae")
    with pytest.raises(OptionError, match="no model has a number for metric 'mae'; there are no scores"):
        leaderboard_chart({}, "mae")


def test_a_picture_is_written_into_a_new_folder(tmp_path):
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = save(fan_chart(panel_of(np.arange(5.0)), forecast_of(5, FAN)), tmp_path / "new" / f"fan{suffix}")
        assert path.read_bytes().startswith(start)


def test_no_global_state_of_matplotlib_is_touched():
    code = """
import sys, tsforecast.plots
assert "matplotlib" not in sys.modules, "loaded before it is needed"
tsforecast.plots.leaderboard_chart({"a": {"mae": 1.0}}, "mae")
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

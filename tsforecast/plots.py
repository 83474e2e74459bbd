"""Panels, forecasts and scores -> matplotlib figures. Figure objects only: no pyplot, no global state, no window."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.decompose import Decomposition
from tsforecast.errors import OptionError
from tsforecast.forecast import Forecast
from tsforecast.metrics import symmetric_pairs
from tsforecast.panel import FloatArray, Panel, TimeArray
from tsforecast.preprocessing.seasonality import autocorrelation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e8ec"
FORECAST, HISTORY, BEST = "#c2410c", "#334155", "#0f766e"


def fan_chart(panel: Panel, forecast: Forecast, series_id: str | None = None, *, last: int | None = None) -> "Figure":
    """The end of one series and its forecast: the median as a line, each symmetric pair of quantiles as a shaded interval.

    Args:
        panel: the history; rows of it that lie inside the horizon are drawn as dots, to compare.
        series_id: None = the first series of the forecast.
        last: rows of history to show, None = four horizons, at least 24.

    Raises:
        OptionError: the series is not in the panel or not in the forecast, or `last` is not positive.
    """
    if last is not None and last < 1:
        raise OptionError(f"last must be at least 1 row of history, got {last}", field="last")
    chosen = forecast.series_ids[0] if series_id is None else series_id
    for what, ids in (("forecast", forecast.series_ids), ("panel", panel.series_ids)):
        if chosen not in ids:
            shown = ", ".join(repr(one) for one in ids[:3])
            raise OptionError(f"no series {chosen!r} in the {what}, which has {len(ids)}: {shown} …", field="series_id")
    i, j = panel.series_ids.index(chosen), forecast.series_ids.index(chosen)
    rows = slice(panel.offsets[i], panel.offsets[i + 1])
    times, target, zone = panel.timestamps[rows], panel.target[rows], panel.zone_of(i)
    past = times < forecast.timestamps[j, 0]
    rows_shown = max(4 * forecast.horizon, 24) if last is None else last

    past_x, past_y = axis_times(times[past][-rows_shown:], zone), target[past][-rows_shown:]
    seen = ~past & np.isfinite(target) & (times <= forecast.timestamps[j, -1])

    figure, axes = canvas(9.0, 4.6)
    axes.plot(past_x, past_y, color=HISTORY, linewidth=1.4, label="history", zorder=3)
    _draw_fan(axes, forecast, j, start=(past_x[-1:], past_y[-1:]))
    if seen.any():
        axes.plot(axis_times(times[seen], zone), target[seen], "o", color=INK, markersize=3, label="what came", zorder=5)
    steps = "1 step" if forecast.horizon == 1 else f"{forecast.horizon} steps"
    axes.set_title(f"{chosen}: {steps} ahead", loc="left", color=INK, fontsize=12, fontweight="bold", parse_math=False)
    axes.set_xlabel("step" if panel.is_integer_clock else f"time ({zone})" if zone else "time")
    axes.set_ylabel("value")
    if not panel.is_integer_clock:
        date_axis(axes)
    short_numbers(axes)
    figure.legend(loc="outside lower center", frameon=False, ncols=7, fontsize=9, labelcolor=INK)
    axes.margins(x=0.01)
    return figure


def leaderboard_chart(scores: Mapping[str, Mapping[str, float]], metric: str) -> "Figure":
    """One bar per model, the best on top. A model without a number for `metric` stands last, without a bar.

    Args:
        scores: model name -> metric name -> value, as `BacktestResult.scores()` gives them.
        metric: lower is better; for bias and coverage_… the value nearest to 0 and to its level is best.

    Raises:
        OptionError: no model, or none with that metric.
    """
    values = {model: float(own.get(metric, np.nan)) for model, own in scores.items()}
    if not any(np.isfinite(value) for value in values.values()):
        known = sorted({name for own in scores.values() for name in own})
        raise OptionError(
            f"no model has a number for metric {metric!r}; there are {', '.join(known) or 'no scores'}", field="metric"
        )
    aim, rule = _aim(metric)
    order = sorted(values, key=lambda model: (not np.isfinite(values[model]), abs(values[model] - aim)))
    figure, axes = canvas(7.5, 1.3 + 0.46 * len(order))
    place = np.arange(len(order))
    drawn = [values[model] if np.isfinite(values[model]) else 0.0 for model in order]
    axes.barh(place, drawn, color=[BEST, *["#a8b3bf"] * (len(order) - 1)], height=0.62)
    for y, model in enumerate(order):
        value = values[model]
        side, away = ("left", 6) if drawn[y] >= 0 else ("right", -6)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # keeps the dashed line out of the number
        axes.annotate(_number(value), (drawn[y], y), xytext=(away, 0), textcoords="offset points", va="center", ha=side,
                      color=INK, fontsize=10, bbox=box)  # fmt: skip
    axes.set_yticks(place, order, parse_math=False)  # a name may have dollar signs
    axes.invert_yaxis()
    if aim:
        axes.axvline(aim, color=INK, linestyle="--", linewidth=1)
    axes.set_title(f"{metric} ({rule})", loc="left", color=INK, fontsize=12, fontweight="bold")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    return figure


def plot_decomposition(decomposition: Decomposition, series_id: str | None = None) -> "Figure":
    """One series above its trend, its seasons and its remainder, each on its own scale; a grey bar is the same height on all.

    Args:
        series_id: None = the first series.

    Raises:
        OptionError: the series is not in the decomposition.
    """
    panel = decomposition.panel
    chosen = panel.series_ids[0] if series_id is None else series_id
    if chosen not in panel.series_ids:
        shown = ", ".join(repr(one) for one in panel.series_ids[:3])
        raise OptionError(f"no series {chosen!r} in the decomposition, which has {len(panel)}: {shown} …", field="series_id")
    i = panel.series_ids.index(chosen)
    rows, zone = slice(panel.offsets[i], panel.offsets[i + 1]), panel.zone_of(i)
    parts = {"value": panel.target[rows], "trend": decomposition.trend[rows]}
    parts |= {f"season of {one}": decomposition.seasonal[rows, k] for k, one in enumerate(decomposition.seasons)}
    parts["remainder"] = decomposition.remainder[rows]
    ranges = {name: np.ptp(values[np.isfinite(values)]) for name, values in parts.items() if np.isfinite(values).any()}
    bar = min((one for one in ranges.values() if one > 1e-9 * max(ranges.values())), default=0.0)
    times = axis_times(panel.timestamps[rows], zone)
    figure, stack = canvas_stack(9.0, 1.0 + 1.45 * len(parts), len(parts))
    for axes, (name, values) in zip(stack, parts.items(), strict=True):
        if name == "remainder":
            axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.plot(times, values, color=FORECAST if name == "trend" else HISTORY, linewidth=1.6 if name == "trend" else 0.9)
        axes.set_ylabel(name)
        axes.margins(x=0.01)
        if ranges.get(name, 0.0) >= bar > 0:
            middle = (np.nanmin(values) + np.nanmax(values)) / 2
            axes.plot([1.01, 1.01], [middle - bar / 2, middle + bar / 2], color="#a8b3bf", linewidth=5, solid_capstyle="butt",
                      transform=axes.get_yaxis_transform(), clip_on=False)  # fmt: skip
        short_numbers(axes)
    stack[0].set_title("grey bars: the same height in units of the value", loc="right", color=MUTED, fontsize=9)
    stack[0].set_title(f"{chosen}: taken apart", loc="left", color=INK, fontsize=12, fontweight="bold", parse_math=False)
    stack[-1].set_xlabel("step" if panel.is_integer_clock else f"time ({zone})" if zone else "time")
    if not panel.is_integer_clock:
        date_axis(stack[-1])
    return figure


def plot_autocorrelation(values: FloatArray, lags: int, *, seasons: Sequence[int] = ()) -> "Figure":
    """The autocorrelation of one series at lags 1 … `lags`, and the band that white noise stays in 95 times of 100.

    Args:
        values: (T,), NaN = not observed.
        lags: steps.
        seasons: steps, marked where they lie within the lags.

    Raises:
        OptionError: `lags` is not positive or not shorter than the series, or values are not (T,).
    """
    if values.ndim != 1:
        raise OptionError(f"values must be (T,), got {values.ndim} dimensions", field="values")
    if not 1 <= lags < len(values):
        raise OptionError(f"lags must be 1 to {len(values) - 1} for {len(values)} steps, got {lags}", field="lags")
    correlation = autocorrelation(values, lags)[1:]
    bound = 1.96 / np.sqrt(max(int(np.isfinite(values).sum()), 1))
    figure, axes = canvas(9.0, 3.6)
    axes.axhspan(-bound, bound, color="#e8ecf0", linewidth=0, zorder=1)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    place = np.arange(1, lags + 1)
    axes.vlines(place, 0, np.nan_to_num(correlation), color=HISTORY, linewidth=max(min(400 / lags, 3.0), 0.6), zorder=3)
    marked = [one for one in seasons if one <= lags]
    for one in marked:
        axes.plot(one, correlation[one - 1], "o", color=FORECAST, markersize=6, zorder=4)
        axes.annotate(str(one), (one, correlation[one - 1]), xytext=(0, 8), textcoords="offset points", ha="center",
                      color=FORECAST, fontsize=10)  # fmt: skip
    axes.set_ylim(min(-1.1 * bound, 1.1 * np.nanmin(correlation, initial=0.0)), 1.15)
    axes.set_title("Autocorrelation", loc="left", color=INK, fontsize=12, fontweight="bold")
    axes.set_xlabel("lag in steps")
    axes.margins(x=0.01)
    return figure


def save(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Write the figure in the format its suffix names (png, svg, pdf), making the folder where it is missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=144)
    return target


def canvas(width: float, height: float) -> tuple["Figure", "Axes"]:
    """An empty figure of that many inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: "Axes") -> None:
    """Thin lines, no frame."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=3)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)


def canvas_stack(width: float, height: float, count: int) -> tuple["Figure", "list[Axes]"]:
    """An empty figure of `count` axes on top of each other, with one time axis below."""
    figure, first = canvas(width, height)
    figure.delaxes(first)
    figure.set_layout_engine("constrained", rect=(0, 0, 0.985, 1))  # room for the bars beside the axes
    stack = list(figure.subplots(count, sharex=True, squeeze=False)[:, 0])
    for axes in stack:
        _style(axes)
        axes.tick_params(axis="x", length=3 if axes is stack[-1] else 0)
    figure.align_ylabels(stack)
    return figure, stack


def _draw_fan(axes: "Axes", forecast: Forecast, series: int, *, start: tuple[Any, FloatArray]) -> None:
    """Intervals and median; they open from `start`, the last row of the history, where its value is known."""
    from matplotlib.colors import to_rgb

    first_x, first_y = start if np.isfinite(start[1]).all() else (start[0][:0], start[1][:0])
    x = np.concatenate([first_x, axis_times(forecast.timestamps[series], forecast.zone_of(series))])
    pairs = symmetric_pairs(forecast.quantile_levels)
    for depth, (low, high, level) in zip(np.linspace(0.22, 0.55, max(len(pairs), 2)), pairs, strict=False):
        shade = 1 - depth * (1 - np.array(to_rgb(FORECAST)))  # opaque, so that the legend shows what the chart shows
        lower, upper = (np.concatenate([first_y, forecast.quantiles[series, :, q]]) for q in (low, high))
        label = f"{level:g} % interval"
        if len(x) == 1:  # an area over one point has no width
            axes.vlines(x, lower, upper, color=shade, linewidth=8, label=label, zorder=2)
        else:
            axes.fill_between(x, lower, upper, color=shade, linewidth=0, label=label, zorder=2)
    if forecast.quantile_levels[0] <= 0.5 <= forecast.quantile_levels[-1]:
        median = np.concatenate([first_y, forecast.median[series]])
        axes.plot(
            x,
            median,
            "-o" if forecast.horizon == 1 else "-",
            color=FORECAST,
            linewidth=1.8,
            markersize=4,
            label="median",
            zorder=4,
        )


def axis_times(timestamps: TimeArray, tz: str | None) -> Any:
    """Timestamps as matplotlib draws them: the wall clock of `tz`, or the integers."""
    if tz is None:
        return timestamps
    import pandas as pd

    return pd.DatetimeIndex(timestamps).tz_localize("UTC").tz_convert(tz).tz_localize(None).to_numpy()


def date_axis(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]  # matplotlib.dates has no types
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # as above


def _aim(metric: str) -> tuple[float, str]:
    """(the best value of a metric, that in words)."""
    if metric.startswith("coverage_"):
        level = float(metric.removeprefix("coverage_"))
        return level / 100, f"nearest to {level / 100:g} is best"
    return 0.0, "nearest to 0 is best" if metric == "bias" else "lower is better"


def short_numbers(axes: "Axes") -> None:
    """120 M instead of 1.2 and a lost 1e8."""
    from matplotlib.ticker import EngFormatter

    if max(abs(edge) for edge in axes.get_ylim()) >= 1e5:
        axes.yaxis.set_major_formatter(EngFormatter())


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "no value"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")

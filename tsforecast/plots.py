"""Panels, forecasts and scores -> matplotlib figures. Figure objects only: no pyplot, no global state, no window."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.forecast import Forecast
from tsforecast.metrics import symmetric_pairs
from tsforecast.panel import FloatArray, Panel, TimeArray

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
    times, target = panel.timestamps[rows], panel.target[rows]
    past = times < forecast.timestamps[j, 0]
    rows_shown = max(4 * forecast.horizon, 24) if last is None else last

    past_x, past_y = _axis_times(times[past][-rows_shown:], panel.tz), target[past][-rows_shown:]
    seen = ~past & np.isfinite(target) & (times <= forecast.timestamps[j, -1])

    figure, axes = _canvas(9.0, 4.6)
    axes.plot(past_x, past_y, color=HISTORY, linewidth=1.4, label="history", zorder=3)
    _draw_fan(axes, forecast, j, start=(past_x[-1:], past_y[-1:]))
    if seen.any():
        axes.plot(_axis_times(times[seen], panel.tz), target[seen], "o", color=INK, markersize=3, label="what came", zorder=5)
    steps = "1 step" if forecast.horizon == 1 else f"{forecast.horizon} steps"
    axes.set_title(f"{chosen}: {steps} ahead", loc="left", color=INK, fontsize=12, fontweight="bold", parse_math=False)
    axes.set_xlabel("step" if panel.is_integer_clock else f"time ({panel.tz})" if panel.tz else "time")
    axes.set_ylabel("value")
    if not panel.is_integer_clock:
        _date_axis(axes)
    _short_numbers(axes)
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
    figure, axes = _canvas(7.5, 1.3 + 0.46 * len(order))
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


def save(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Write the figure in the format its suffix names (png, svg, pdf), making the folder where it is missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=144)
    return target


def _canvas(width: float, height: float) -> tuple["Figure", "Axes"]:
    """An empty figure of that many inches, drawn by Agg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=3)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    return figure, axes


def _draw_fan(axes: "Axes", forecast: Forecast, series: int, *, start: tuple[Any, FloatArray]) -> None:
    """Intervals and median; they open from `start`, the last row of the history, where its value is known."""
    from matplotlib.colors import to_rgb

    first_x, first_y = start if np.isfinite(start[1]).all() else (start[0][:0], start[1][:0])
    x = np.concatenate([first_x, _axis_times(forecast.timestamps[series], forecast.tz)])
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


def _axis_times(timestamps: TimeArray, tz: str | None) -> Any:
    """Timestamps as matplotlib draws them: the wall clock of `tz`, or the integers."""
    if tz is None:
        return timestamps
    import pandas as pd

    return pd.DatetimeIndex(timestamps).tz_localize("UTC").tz_convert(tz).tz_localize(None).to_numpy()


def _date_axis(axes: "Axes") -> None:
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


def _short_numbers(axes: "Axes") -> None:
    """120 M instead of 1.2 and a lost 1e8."""
    from matplotlib.ticker import EngFormatter

    if max(abs(edge) for edge in axes.get_ylim()) >= 1e5:
        axes.yaxis.set_major_formatter(EngFormatter())


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "no value"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")

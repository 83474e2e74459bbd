"""AnomalyReport -> matplotlib figures: what was judged, and whether alarms come as often as asked. Figure objects only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsforecast.anomaly.report import AnomalyReport, Event
from tsforecast.errors import OptionError
from tsforecast.panel import FloatArray, IntArray
from tsforecast.plots import HISTORY, INK, MUTED, axis_times, canvas, canvas_stack, date_axis, short_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EVENT, EXPECTED, BAND, LABEL = "#c2410c", "#0f766e", "#cfe5e1", "#6d28d9"
MOST_CHANNELS = 6  # drawn, those that the events blame first
MOST_NAMED = 12  # events whose kind is written over them


def score_chart(
    report: AnomalyReport, series_id: str | None = None, *, labels: IntArray | None = None, last: int | None = None
) -> "Figure":
    """One series: each channel with what was expected and its band, below them the score; events are shaded over all.

    Args:
        series_id: None = that of the most severe event, or the first.
        labels: (N,) of the report's rows, 1 = known to be anomalous: a strip below the score.
        last: rows to show, the newest; None = all.

    Raises:
        OptionError: the series is not in the report, `last` is not positive, or labels have another shape.
    """
    if last is not None and last < 1:
        raise OptionError(f"last must be at least 1 row, got {last}", field="last")
    if labels is not None and labels.shape != report.score.shape:
        raise OptionError(f"labels must have one value per row, {report.score.shape}, got {labels.shape}", field="labels")
    chosen = _worst_series(report) if series_id is None else series_id
    if chosen not in report.series_ids:
        shown = ", ".join(repr(one) for one in report.series_ids[:3])
        raise OptionError(f"no series {chosen!r} in the report, which has {len(report)}: {shown} …", field="series_id")
    i = report.series_ids.index(chosen)
    rows = report.rows_of(i)
    rows = slice(rows.start if last is None else max(rows.stop - last, rows.start), rows.stop)
    zone = report.zones[i] if report.zones else report.tz
    times = axis_times(report.timestamps[rows], zone)
    events = [one for one in report.events if one.series_id == chosen and one.end >= report.timestamps[rows][0]]
    channels = _channels(report, events)

    figure, stack = canvas_stack(9.5, 1.4 + 1.9 * len(channels) + 1.6, len(channels) + 1)
    for axes, c in zip(stack, channels, strict=False):
        _draw_channel(axes, report, rows, times, c)
    _draw_score(stack[-1], report, rows, times, None if labels is None else labels[rows])
    for axes in stack:
        _shade(axes, report, events, zone)
        axes.margins(x=0.01)
    _name_events(stack[0], report, events, zone)
    integers = not np.issubdtype(report.timestamps.dtype, np.datetime64)
    count = "no event" if not events else f"{len(events)} event{'s' if len(events) > 1 else ''}"
    stack[0].set_title(f"{chosen}: {count}", loc="left", color=INK, fontsize=12, fontweight="bold", parse_math=False, pad=16)
    stack[-1].set_xlabel("step" if integers else f"time ({zone})" if zone else "time")
    if not integers:
        date_axis(stack[-1])
    known = {
        name: handle for axes in (stack[0], stack[-1]) for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(known.values(), known.keys(), loc="outside lower center", frameon=False, ncols=7, fontsize=9, labelcolor=INK)
    return figure


def calibration_chart(asked: FloatArray, given: FloatArray, *, steps: int) -> "Figure":
    """Alarms given against alarms asked for, both per 1,000 steps, on logarithmic axes; the grey band is a factor of 3.

    Args:
        asked: (K,) sensitivities, positive and ascending.
        given: (K,) alarms on the calibration part; 0 is drawn as an open circle near the lower edge.
        steps: steps of the calibration part that were judged: fewer alarms than one of them cannot be seen.

    Raises:
        OptionError: shapes differ, or nothing was asked.
    """
    if asked.ndim != 1 or asked.shape != given.shape or not len(asked):
        raise OptionError(f"asked and given must both be (K,), got {asked.shape} and {given.shape}", field="given")
    figure, axes = canvas(5.2, 4.8)
    floor = min(0.3 * float(asked[0]), 500.0 / max(steps, 1))
    axes.fill_between(asked, asked / 3, asked * 3, color="#e8ecf0", linewidth=0, zorder=1, label="within a factor of 3")
    axes.plot(asked, asked, color=MUTED, linewidth=1, linestyle="--", zorder=2, label="as asked")
    axes.plot(asked, np.maximum(given, floor), "-o", color=EVENT, linewidth=1.8, markersize=5, zorder=4, label="given")
    none = given == 0
    if none.any():  # 0 has no place on a logarithmic axis
        axes.plot(asked[none], np.full(none.sum(), floor), "o", color=EVENT, markerfacecolor="white", markersize=5, zorder=5,
                  label="none")  # fmt: skip
    axes.axhline(1_000.0 / max(steps, 1), color=MUTED, linewidth=0.8, linestyle=":", zorder=2, label="one alarm in all")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("alarms asked for per 1,000 steps")
    axes.set_ylabel("alarms given per 1,000 steps")
    axes.set_title(f"{steps:,} held-out steps", loc="left", color=INK, fontsize=12, fontweight="bold")
    figure.legend(loc="outside lower center", frameon=False, ncols=2, fontsize=9, labelcolor=INK)
    return figure


def _worst_series(report: AnomalyReport) -> str:
    worst = max(report.events, key=lambda event: event.severity, default=None)
    return report.series_ids[0] if worst is None else worst.series_id


def _channels(report: AnomalyReport, events: Sequence[Event]) -> list[int]:
    """Numbers of the channels to draw, in the order of the report: those with the largest shares of the events."""
    shares = np.zeros(len(report.channels))
    for event in events:
        for one in event.channels:
            shares[report.channels.index(one.name)] += one.share
    return sorted(np.argsort(-shares, kind="stable")[:MOST_CHANNELS].tolist())


def _draw_channel(axes: "Axes", report: AnomalyReport, rows: slice, times: Any, c: int) -> None:
    lower, upper, expected = report.lower[rows, c], report.upper[rows, c], report.expected[rows, c]
    if np.isfinite(lower).any():
        label = f"band of {report.level:g} %"
        axes.fill_between(times, lower, upper, color=BAND, linewidth=0, zorder=2, label=label)
    if np.isfinite(expected).any():
        axes.plot(times, expected, color=EXPECTED, linewidth=1.0, zorder=3, label="expected")
    values = report.values[rows, c]
    axes.plot(times, values, color=HISTORY, linewidth=1.0, zorder=4, label="value")
    edges = np.r_[True, np.isnan(values), True]
    alone = np.isfinite(values) & edges[:-2] & edges[2:]  # between two holes no line is drawn
    if alone.any():
        axes.plot(times[alone], values[alone], ".", color=HISTORY, markersize=3, zorder=4)
    seen = values[np.isfinite(values)]
    if len(seen):  # a wild band must not press the values flat
        spread = max(float(np.ptp(seen)), 1e-12 * max(float(np.abs(seen).max()), 1.0))
        axes.set_ylim(seen.min() - 0.35 * spread, seen.max() + 0.35 * spread)
    axes.set_ylabel(report.channels[c], parse_math=False)
    short_numbers(axes)


def _draw_score(axes: "Axes", report: AnomalyReport, rows: slice, times: Any, labels: IntArray | None) -> None:
    """The score on an axis that is linear near 0 and logarithmic beyond: its tail is what it is about."""
    score = (report.revised_score if report.revised else report.score)[rows]
    axes.plot(times, score, color=INK, linewidth=0.9, zorder=3, label="score")
    seen = score[np.isfinite(score)]
    axes.set_yscale("symlog", linthresh=10.0)
    axes.yaxis.set_major_formatter("{x:g}")
    if len(seen):
        axes.set_ylim(min(float(seen.min()), 0.0) - 1.0, max(float(seen.max()), 10.0) * 1.6)
    alarmed = report.alarm[rows] & np.isfinite(score)
    if alarmed.any():
        axes.plot(times[alarmed], score[alarmed], ".", color=EVENT, markersize=3, zorder=4, label="alarm")
    if labels is not None and (labels == 1).any():
        marked = np.where(labels == 1, 0.03, np.nan)
        axes.plot(times, marked, color=LABEL, linewidth=5, solid_capstyle="butt", transform=axes.get_xaxis_transform(), zorder=5,
                  label="labelled")  # fmt: skip
    axes.set_ylabel("score")


def _shade(axes: "Axes", report: AnomalyReport, events: Sequence[Event], zone: str | None) -> None:
    for event in events:
        first, after = _edges(report, event, zone)
        axes.axvspan(first, after, color=EVENT, alpha=0.13 if event.severity < 100 else 0.22, linewidth=0, zorder=1)


def _name_events(axes: "Axes", report: AnomalyReport, events: Sequence[Event], zone: str | None) -> None:
    """The kinds of the most severe events, above the first axes."""
    worst = sorted(events, key=lambda event: -event.severity)[:MOST_NAMED]
    for event in worst:
        first, _ = _edges(report, event, zone)
        axes.annotate(event.kind, (first, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                      color=EVENT, fontsize=8, annotation_clip=True)  # fmt: skip


def _edges(report: AnomalyReport, event: Event, zone: str | None) -> tuple[Any, Any]:
    """Where an event begins and where the step after it would begin, on the time axis."""
    rows = report.rows_of(report.series_ids.index(event.series_id))
    stamps = report.timestamps[rows]
    step = np.diff(stamps[:2].astype(np.int64)).sum()  # 0 for a series of one row
    moments = np.array([event.start, event.end], dtype=stamps.dtype).astype(np.int64) + np.array([0, step])
    edges = axis_times(moments.astype(stamps.dtype), zone)
    return edges[0], edges[1]

"""Charts of reports show the numbers they are given; what they look like was judged by eye."""

from typing import Any

import numpy as np
import pytest

from tsforecast.anomaly.report import AnomalyReport, ChannelShare, Event
from tsforecast.errors import OptionError
from tsforecast.plots import save
from tsforecast.plots_anomaly import calibration_chart, score_chart

START, HOUR = np.datetime64("2025-01-01", "ns"), np.timedelta64(1, "h")
ROWS = 40


def event_at(row: int, end: int, *, integer: bool = False, **more: Any) -> Event:
    moments = {"start": row, "end": end, "peak": row} if integer else {
        name: START + at * HOUR for name, at in (("start", row), ("end", end), ("peak", row))
    }  # fmt: skip
    share = ChannelShare(name="mem", share=0.8, first=row, value=1.0, expected=0.0, severity_without=3.0)
    base = {"id": f"b@{row}", "series_id": "b", "peak_score": 9.0, "p_value": 1e-5, "severity": 83.0, "kind": "spike"}
    return Event(**moments, first_row=row, last_row=end, channels=(share,), **(base | more))  # type: ignore[arg-type]  # by name


def report_of(*, integer: bool = False, events: tuple[Event, ...] = (), channels: int = 2, **more: Any) -> AnomalyReport:
    """Two series "a" and "b" of 40 steps; value = 0, 1, 2 …, expected = value + 1, score = row."""
    rows = np.tile(np.arange(ROWS), 2)
    values = np.stack([rows + 0.0] * channels, axis=1)
    score = rows + 0.0
    fields: dict[str, Any] = {
        "series_ids": ("a", "b"),
        "offsets": np.array([0, ROWS, 2 * ROWS]),
        "timestamps": rows if integer else START + rows * HOUR,
        "channels": ("y", "mem", *(f"c{i}" for i in range(channels - 2)))[:channels],
        "values": values,
        "score": score,
        "revised_score": 2 * score,
        "provisional": np.zeros(2 * ROWS, dtype=bool),
        "p_value": np.full(2 * ROWS, 0.5),
        "rate": np.full(2 * ROWS, 0.5),
        "severity": np.full(2 * ROWS, 5.0),
        "alarm": rows >= 30,
        "reason": np.zeros(2 * ROWS, dtype=np.int8),
        "expected": values + 1,
        "lower": values - 5,
        "upper": values + 5,
        "channel_scores": values,
        "events": events,
        "sensitivity": 1.0,
        "level": 99.0,
    }
    return AnomalyReport(**(fields | more))


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_each_channel_and_the_score_are_drawn_with_what_was_expected() -> None:
    figure = score_chart(report_of(), "b")
    first, second, below = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["y", "mem", "score"]
    np.testing.assert_array_equal(lines(first)["value"].get_ydata(), np.arange(40.0))
    np.testing.assert_array_equal(lines(second)["expected"].get_ydata(), np.arange(40.0) + 1)
    band = first.collections[0].get_paths()[0].vertices
    assert first.collections[0].get_label() == "band of 99 %" and band[:, 1].min() == -5 and band[:, 1].max() == 44
    np.testing.assert_array_equal(lines(below)["score"].get_ydata(), np.arange(40.0))
    np.testing.assert_array_equal(lines(below)["alarm"].get_ydata(), np.arange(30.0, 40.0))
    assert figure.axes[0].get_title(loc="left") == "b: no event"


def test_without_a_name_the_series_of_the_most_severe_event_is_drawn_and_its_events_are_shaded_and_named() -> None:
    report = report_of(integer=True, events=(event_at(5, 9, integer=True), event_at(30, 30, integer=True, kind="gap")))
    figure = score_chart(report)
    assert figure.axes[0].get_title(loc="left") == "b: 2 events" and figure.axes[-1].get_xlabel() == "step"
    shades = [patch.get_bbox() for patch in figure.axes[1].patches]
    assert [(box.x0, box.x1) for box in shades] == [(5, 10), (30, 31)]  # to where the step after the last one begins
    assert [text.get_text() for text in figure.axes[0].texts] == ["spike", "gap"]
    assert len(score_chart(report, "a").axes[0].patches) == 0


def test_last_cuts_rows_and_events_that_ended_before_them() -> None:
    report = report_of(events=(event_at(2, 3), event_at(30, 38)))
    figure = score_chart(report, "b", last=10)
    assert lines(figure.axes[0])["value"].get_ydata().tolist() == list(range(30, 40))
    assert figure.axes[0].get_title(loc="left") == "b: 1 event" and len(figure.axes[0].patches) == 1


def test_the_revised_score_is_drawn_where_it_was_judged_and_labels_are_a_strip() -> None:
    labels = np.r_[np.zeros(75, dtype=int), np.ones(5, dtype=int)]
    below = score_chart(report_of(revised=True), "b", labels=labels).axes[-1]
    assert lines(below)["score"].get_ydata()[-1] == 78
    assert np.isfinite(lines(below)["labelled"].get_ydata()).nonzero()[0].tolist() == [35, 36, 37, 38, 39]


def test_of_many_channels_those_with_the_largest_shares_are_drawn() -> None:
    figure = score_chart(report_of(channels=9, events=(event_at(5, 9),)))
    assert len(figure.axes) == 7 and "mem" in [axes.get_ylabel() for axes in figure.axes]


def test_a_series_without_any_value_can_be_drawn(tmp_path: Any) -> None:
    nothing = np.full((2 * ROWS, 2), np.nan)
    empty = {"values": nothing, "expected": nothing, "lower": nothing, "upper": nothing, "score": nothing[:, 0]}
    path = save(score_chart(report_of(**empty, tz="Europe/Berlin")), tmp_path / "empty.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_calibration_curve_shows_asked_against_given_and_none_as_an_open_circle(tmp_path: Any) -> None:
    figure = calibration_chart(np.array([0.5, 1.0, 10.0]), np.array([0.0, 2.0, 9.0]), steps=4_000)
    drawn = lines(figure.axes[0])
    assert drawn["given"].get_ydata().tolist() == [0.125, 2.0, 9.0]  # half an alarm in all stands for none
    assert drawn["none"].get_xydata().tolist() == [[0.5, 0.125]]
    assert drawn["one alarm in all"].get_ydata()[0] == 0.25
    assert figure.axes[0].get_title(loc="left") == "4,000 held-out steps"
    assert save(figure, tmp_path / "curve.png").exists()


def test_what_cannot_be_drawn_is_named() -> None:
    report = report_of()
    with pytest.raises(OptionError, match="no series 'c' in the report, which has 2: 'a', 'b'"):
        score_chart(report, "c")
    with pytest.raises(OptionError, match="last must be at least 1 row"):
        score_chart(report, last=0)
    with pytest.raises(OptionError, match="labels must have one value per row"):
        score_chart(report, labels=np.zeros(3, dtype=int))
    with pytest.raises(OptionError, match=r"asked and given must both be \(K,\)"):
        calibration_chart(np.ones(2), np.ones(3), steps=10)

"""Requests about anomalies, read by hand: what is taken, what is refused, and that the documented schemas say the same."""

from typing import Any

import numpy as np
import pytest

from service import anomaly_schemas
from service.anomaly_request import (
    DETECT,
    FEEDBACK,
    RULES,
    SCORE,
    SERIES,
    anomaly_panels,
    in_channels_of,
    read_detect,
    read_feedback,
    read_score,
)
from service.errors import Problem
from service.settings import Settings

SETTINGS = Settings(max_series=3, max_points=6, max_total_points=20, max_detect_points=16, max_channels=2)


def hourly(series_id: Any = "a", **fields: Any) -> dict[str, Any]:
    values = {} if "channels" in fields else {"target": [1, 2, None]}
    return {"id": series_id, "start": "2026-01-01", "freq": "h"} | values | fields


def told(read: Any, body: Any) -> list[tuple[str, Any, str]]:
    with pytest.raises(Problem) as caught:
        read(body, SETTINGS)
    assert caught.value.status == 422
    return [(one.field, one.series, one.message) for one in caught.value.errors]


def test_values_come_as_one_target_or_as_channels_side_by_side() -> None:
    asked = read_detect({"series": [hourly(), hourly("b", target=[None, None])]}, SETTINGS)
    assert [one.channels for one in asked.series] == [("target",), ("target",)]
    assert np.isnan(asked.series[1].values).all()  # a sensor that is off is no mistake of the caller
    both = read_detect({"series": [hourly(channels={"cpu": [1, 2], "mem": [3, None]})]}, SETTINGS).series[0]
    assert both.channels == ("cpu", "mem")
    np.testing.assert_array_equal(both.values, [[1, 3], [2, np.nan]])


def test_timestamps_that_do_not_ascend_are_refused_with_series_and_row() -> None:
    """They were put in order, and the answer did not follow the request."""
    series = {"id": "a", "target": [1, 2, 3], "timestamps": ["2026-01-01T00:00", "2026-01-01T02:00", "2026-01-01T01:00"]}
    steps = {"id": "b", "target": [1, 2], "timestamps": [9, 8]}
    asked = read_detect({"series": [series, hourly("c"), steps]}, SETTINGS).series
    with pytest.raises(Problem) as caught:
        anomaly_panels(asked, None)
    found = [(one.field, one.series) for one in caught.value.errors]
    assert (caught.value.status, found) == (422, [("series[0].timestamps[2]", "a"), ("series[2].timestamps[1]", "b")])
    assert "send steps oldest first" in caught.value.detail


def test_values_labels_and_channels_go_by_their_timestamps() -> None:
    series = hourly(channels={"cpu": [1, 2, 3], "mem": [10, 20, 30]}, labels=[0, None, 1])
    del series["start"], series["freq"]
    series["timestamps"] = ["2026-01-01T00:00", "2026-01-01T01:00", "2026-01-01T02:00"]
    [group] = anomaly_panels(read_detect({"series": [series]}, SETTINGS).series, None)
    panel = group.panel
    assert panel.past_covariates is not None and group.labels is not None
    assert (panel.target.tolist(), panel.past_covariates[:, 0].tolist()) == ([1, 2, 3], [10, 20, 30])
    assert (panel.target_name, panel.past_covariate_names, group.labels.tolist()) == ("cpu", ("mem",), [0, 0, 1])


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"target": None}, "series[0].target", "is missing: give target or channels"),
        ({"channels": {"cpu": [1]}, "target": [1]}, "series[0].target", "give either target or channels, not both"),
        ({"channels": []}, "series[0].channels", "must be an object of a list of numbers for each name, got an empty list"),
        ({"channels": {"a": [1], "b": [1], "c": [1]}}, "series[0].channels", "holds 3 channels, at most 2 are judged together"),
        ({"channels": {"a": [1, 2], "b": [1]}}, "series[0].channels.b", "holds 1 values, channel 'a' holds 2"),
        ({"channels": {"": [1]}}, "series[0].channels.", "the name of a channel has 1 to 128 characters, this one has 0"),
        ({"channels": {"a": [1, "x"]}}, "series[0].channels.a[1]", "must be a number or null (not observed), got the string 'x'"),
        ({"target": [1e101]}, "series[0].target[0]", "must lie within ±1e+100"),
        ({"target": [1, 2], "labels": [1]}, "series[0].labels", "must be a list of one label for each of the 2 values"),
        ({"target": [1, 2], "labels": [1, True]}, "series[0].labels[1]", "must be 1 (a true anomaly), -1 (ordinary)"),
        ({"target": [1, 2], "labels": [1, 7]}, "series[0].labels[1]", "got 7"),
        ({"y": [1]}, "series[0].y", "there is no such field; did you mean 'target'?"),
    ],
)
def test_a_wrong_series_is_named_with_the_place_that_is_wrong(fields: dict[str, Any], where: str, says: str) -> None:
    errors = told(read_detect, {"series": [hourly(**fields)]})
    found = [message for field, series, message in errors if (field, series) == (where, "a")]
    assert found and says in found[0], errors


@pytest.mark.parametrize(
    ("fields", "where", "says"),
    [
        ({"sensitivity": 0}, "sensitivity", "must be a positive number from 0 to 1000, got 0"),
        ({"sensitivity": 1, "alarms": {"sensitivity": 1}}, "sensitivity", "is given twice"),
        ({"level": 100}, "level", "between 0 and 100, got 100"),
        ({"explain": "no"}, "explain", "must be true or false, got the string 'no'"),
        ({"seed": -1}, "seed", "must be a whole number from 0 to"),
        ({"since": "yesterday"}, "since", "must be an ISO 8601 timestamp"),
        ({"since": "2026-13-01"}, "since", "must be an ISO 8601 timestamp"),
        ({"since": "9999-01-01"}, "since", "must lie in the years 1678 to 2261"),
        ({"alarms": {"min_duratio": 2}}, "alarms.min_duratio", "did you mean 'min_duration'?"),
        ({"alarms": {"min_duration": 0}}, "alarms.min_duration", "must be a whole number of steps of at least 1"),
        ({"alarms": {"cooldown": 2**40}}, "alarms.cooldown", f"must be at most {2**31}"),
        ({"alarms": {"ignore": [["2026-01-01"]]}}, "alarms.ignore[0]", "must be the first and the last timestamp"),
        ({"alarms": {"ignore": [["2026-01-02", "2026-01-01"]]}}, "alarms.ignore", "the first not after the last"),
        ({"alarms": {"ignore": [["2026-01-02", 3]]}}, "alarms.ignore[0]", "must be two timestamps of one kind"),
        ({"options": {"hidden": [10**9]}}, "options.hidden[0]", "must be at most 1024 in a request"),
        ({"options": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, "options.a.b.c.d.e", "5 levels deep"),
        ({"options": {"members": ["x"] * 17}}, "options.members", "is larger than a request may ask"),
        ({"modle": "vae"}, "modle", "did you mean 'model'?"),
        ({"stateless": True}, "stateless", "there is no such field"),
    ],
)
def test_a_wrong_option_is_named(fields: dict[str, Any], where: str, says: str) -> None:
    errors = told(read_detect, {"series": [hourly()]} | fields)
    found = [message for field, _, message in errors if field == where]
    assert found and says in found[0], errors


def test_all_that_is_wrong_is_told_at_once_and_limits_count_all_channels() -> None:
    errors = told(read_detect, {"series": [hourly(target="x"), hourly()], "level": 0, "seed": "x"})
    assert {where for where, _, _ in errors} == {"series[0].target", "level", "seed"}
    wide = {"a": [1.0] * 6, "b": [1.0] * 6}
    assert (
        "holds 24 values in all, at most 20 are judged"
        in told(read_detect, {"series": [hourly(i, channels=wide) for i in "ab"]})[0][2]
    )
    [(_, _, message)] = told(read_detect, {"series": [hourly(channels=wide), hourly("b", channels={"a": [1] * 3, "b": [1] * 3})]})
    assert "at most 16 are learnt from in one request" in message
    assert "the body must be an object with series, model" in told(read_detect, [])[0][2]


def test_series_that_are_learnt_from_together_have_the_same_channels() -> None:
    [(where, series, message)] = told(read_detect, {"series": [hourly(channels={"cpu": [1]}), hourly("b")]})
    assert (where, series) == ("series[1].channels", "b")
    assert message == "has channels 'target', series[0] has 'cpu'; split the request"


def test_channels_are_put_in_the_order_of_the_detector_and_a_lone_one_may_have_any_name() -> None:
    asked = read_score({"series": [hourly(channels={"mem": [2], "cpu": [1]})], "model": "m"}, SETTINGS)
    [sorted_] = in_channels_of(asked.series, ("cpu", "mem"))
    assert (sorted_.channels, sorted_.values.tolist()) == (("cpu", "mem"), [[1, 2]])
    [lone] = in_channels_of(read_score({"series": [hourly()], "model": "m"}, SETTINGS).series, ("load",))
    assert lone.channels == ("load",)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"channels": {"cpu": [1], "disk": [1]}}, "'disk' is new to it; 'mem' is missing, send null where nothing was observed"),
        ({"channels": {"cpu": [1]}}, "judges channels 'cpu', 'mem': 'mem' is missing"),
        ({}, "judges channels 'cpu', 'mem' together; send them as `channels`, not one of them as `target`"),
    ],
)
def test_a_channel_too_many_or_too_few_is_named(fields: dict[str, Any], says: str) -> None:
    asked = read_score({"series": [hourly(**fields)], "model": "m"}, SETTINGS)
    with pytest.raises(Problem) as caught:
        in_channels_of(asked.series, ("cpu", "mem"))
    assert (caught.value.status, caught.value.errors[0].field) == (422, "series[0].channels")
    assert says in caught.value.errors[0].message


def test_what_only_a_whole_history_allows_is_refused_for_a_stream() -> None:
    body = {"series": [hourly()], "model": "m", "revised": True, "since": "2026-01-01", "recalibrate": True}
    assert {where for where, _, _ in told(read_score, body)} == {"revised", "since", "recalibrate"}
    assert read_score(body | {"stateless": True}, SETTINGS).recalibrate
    assert told(read_score, {"series": [hourly()], "model": "m", "stateless": True, "reset": True})[0][0] == "reset"
    assert told(read_score, {"series": [hourly()]})[0][0] == "model"
    assert told(read_score, {"series": [hourly(labels=[0, 0, 0])], "model": "m"})[0][0] == "series[0].labels"


def test_feedback_is_on_an_event_or_on_steps_of_a_series() -> None:
    whole = {"model": "m", "series": 7, "start": "2026-01-01T00:00Z", "end": "2026-01-01T03:00Z", "label": "false alarm"}
    asked = read_feedback(whole, SETTINGS)
    assert (asked.series, asked.start, asked.end) == ("7", "2026-01-01T00:00:00+00:00", "2026-01-01T03:00:00+00:00")
    assert [where for where, _, _ in told(read_feedback, {"label": "true alarm"})] == ["model", "series", "start", "end"]
    assert told(read_feedback, whole | {"event": "a@1"})[0][0] == "event"
    for end in (3, "2025-12-31T00:00Z", "2026-01-01"):
        assert told(read_feedback, whole | {"start": "2026-01-01T00:00Z", "end": end})[0][0] == "end"
    assert (
        told(read_feedback, whole | {"label": "maybe"})[0][2] == "must be 'true alarm' or 'false alarm', got the string 'maybe'"
    )
    assert told(read_feedback, whole | {"label": ["x"]})[0][0] == "label"


def test_the_documented_fields_are_those_that_are_read() -> None:
    documented = [
        (anomaly_schemas.AnomalyRequest, DETECT),
        (anomaly_schemas.ScoreRequest, SCORE),
        (anomaly_schemas.FeedbackRequest, FEEDBACK),
        (anomaly_schemas.LabelledSeries, SERIES),
        (anomaly_schemas.JudgedSeries, SERIES[:-1]),
        (anomaly_schemas.AlarmRules, RULES),
    ]
    for schema, fields in documented:
        assert set(schema.model_fields) == set(fields)

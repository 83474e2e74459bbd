"""Futures of covariates, and lists as a service gets them -> arrays and panels, or messages with the way out."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.unit.validate_cases import ALIASES, HOURS, frame_of, same
from tsforecast import future_from_frame, panel_from_frame
from tsforecast.errors import (
    CovariateError,
    DuplicateError,
    FrequencyError,
    GapError,
    HorizonError,
    OptionError,
    SchemaError,
)
from tsforecast.preprocessing.validate import panel_from_lists

# The future


@pytest.fixture
def known():
    """(panel of two series that end at different hours, frame with all of their covariates)."""
    frame = frame_of(a=HOURS[:10], b=HOURS[:8])
    everything = (
        frame_of(b=HOURS[:14], a=HOURS[:14]).drop(columns="y").assign(x=lambda f: f.index * 1.0, p=lambda f: f.index % 2 == 0)
    )
    history = frame.merge(everything, on=["unique_id", "ds"])
    return panel_from_frame(history, covariates=["p", "x"]), everything


def test_future_covariates_follow_each_series_own_end_in_the_order_of_the_panel(known):
    panel, frame = known
    future = future_from_frame(frame.sample(frac=1, random_state=1), panel, 3)
    assert future.shape == (2, 3, 2)
    np.testing.assert_array_equal(future[:, :, 1], [[24, 25, 26], [8, 9, 10]])
    np.testing.assert_array_equal(future[:, :, 0], [[1, 0, 1], [1, 0, 1]])


def test_future_rows_and_values_that_are_missing_or_double_are_named(known):
    panel, frame = known

    def refuse(message, rows, kind=CovariateError, horizon=3):
        with pytest.raises(kind, match=message):
            future_from_frame(rows, panel, horizon)

    lacking = (
        "series 'a': future timestamps have no row: 2024-01-01T10:00:00, 2024-01-01T12:00:00; send exactly one row for each of"
    )
    refuse(lacking, frame.drop(index=[24, 26]))
    refuse("series 'b': future timestamps have more than one row: 2024-01-01T08:00:00", pd.concat([frame, frame.loc[[8]]]))
    refuse(
        "series 'b': future timestamps have no value in 'x': 2024-01-01T09:00:00",
        frame.assign(x=frame["x"].mask(frame.index == 9)),
    )
    refuse("no column 'x'", frame.drop(columns="x"))
    refuse(
        "'ds' of the future has UTC, the panel none; localize or convert it",
        frame.assign(ds=frame["ds"].dt.tz_localize("UTC")),
    )
    refuse("frame of future covariates has no rows", frame[:0])
    refuse(r"'a': .*have no row: .*, and so do those of 1 other series", frame[:1])
    refuse("'ds' of the future holds integer steps, the panel timestamps", frame.assign(ds=range(28)))
    refuse("needs a pandas DataFrame, got dict", {}, kind=SchemaError)
    refuse("no column 'unique_id'", frame.drop(columns="unique_id"), kind=SchemaError)
    refuse("horizon must be a positive number", frame, kind=HorizonError, horizon=0)


def test_rows_beyond_the_future_may_be_damaged(known):
    panel, frame = known
    frame.loc[[0, 13], "x"] = np.nan
    assert np.isfinite(future_from_frame(pd.concat([frame, frame.loc[[0]]]), panel, 3)).all()


def test_the_only_series_needs_no_id_in_its_future_and_a_panel_without_covariates_has_none():
    frame = pd.DataFrame({"ds": range(8), "y": 1.0, "x": np.arange(8) * 1.0})
    panel = panel_from_frame(frame[:5], covariates=["x"])
    np.testing.assert_array_equal(future_from_frame(frame, panel, 2), [[[5.0], [6.0]]])
    with pytest.raises(
        CovariateError, match=re.escape("the panel has no covariates, so they have no future; build it by panel_from_frame")
    ):
        future_from_frame(frame, panel_from_frame(frame[:5]), 2)


# Lists


def test_lists_with_starts_give_the_panel_of_the_same_frame():
    for freq in ALIASES:
        clock = pd.date_range("2021-03-03", periods=30, freq=freq)
        frame = frame_of(b=clock[3:20], a=clock)
        panel = panel_from_lists(
            ids=["b", "a"],
            starts=[str(clock[3].isoformat()), str(clock[0].isoformat())],
            targets=[frame["y"][:17].tolist(), frame["y"][17:].to_numpy()],
            freq=freq,
        )
        assert same(panel, panel_from_frame(frame, freq=freq)), freq


def test_lists_with_timestamps_give_the_panel_of_the_same_frame_and_none_is_not_observed():
    texts = HOURS.strftime("%Y-%m-%dT%H:%M").tolist()
    panel = panel_from_lists(
        ids=[7, "b"], timestamps=[texts[:3], texts[::-1]], targets=[[1, None, float("nan")], list(range(48))]
    )
    assert (panel.series_ids, panel.freq, panel.season, panel.tz) == (("7", "b"), "h", 24, None)
    np.testing.assert_array_equal(panel.target, [1, np.nan, np.nan, *range(47, -1, -1)])
    steps = panel_from_lists(ids=["a"], timestamps=[[4, 6, 8]], targets=[[1, 2, 3]], season=12)
    assert (steps.freq, steps.season, steps.timestamps.tolist()) == (2, 12, [4, 6, 8])
    assert panel_from_lists(ids=["a"], starts=[5], targets=[[1, 2]], freq=3).timestamps.tolist() == [5, 8]


def test_lists_without_offsets_are_on_the_wall_of_the_zone_and_those_with_offsets_are_moved_to_it():
    wall = panel_from_lists(ids=["a"], starts=["2024-03-30"], targets=[[1, 2, 3]], freq="D", tz="Europe/Berlin")
    assert wall.timestamps.astype("M8[h]").astype(str).tolist() == ["2024-03-29T23", "2024-03-30T23", "2024-03-31T22"]
    moved = panel_from_lists(ids=["a"], starts=["2024-03-29T23:00:00Z"], targets=[[1, 2, 3]], freq="D", tz="Europe/Berlin")
    assert same(wall, moved)
    utc = panel_from_lists(ids=["a"], timestamps=[["2024-03-30T00:00+01:00", "2024-03-30T01:00+01:00"]], targets=[[1, 2]])
    assert (utc.tz, str(utc.timestamps[0])) == ("UTC", "2024-03-29T23:00:00.000000000")


@pytest.mark.parametrize(
    ("changes", "kind", "message", "series", "field"),
    [
        ({"ids": []}, SchemaError, "there is no series; send at least one", None, "ids"),
        ({"ids": [1, "1"]}, SchemaError, "ids 1 and '1' in 'ids' read the same as text", "1", "ids"),
        ({"ids": ["a", "b"]}, SchemaError, "there are 2 ids and 1 targets; send one for each series", None, "targets"),
        ({"starts": None}, SchemaError, r"pass either starts \(with freq\) or timestamps", None, "timestamps"),
        ({"starts": ["2024"] * 2}, SchemaError, "there are 1 ids and 2 starts", None, "starts"),
        ({"freq": None}, FrequencyError, "starts need a freq, such as 'h' or 'D'", None, "freq"),
        ({"freq": "nonsense"}, FrequencyError, "unknown freq 'nonsense'", None, "freq"),
        ({"freq": 1}, FrequencyError, "freq 1 is for integer steps, 'starts' holds timestamps", None, "freq"),
        (
            {"freq": "W-SUN"},
            FrequencyError,
            "series 'a' starts at 2024-01-01, which is not on the clock of freq 'W-SUN'",
            "a",
            "starts",
        ),
        ({"freq": "YS", "targets": [[1.0] * 300]}, FrequencyError, "299 steps reach beyond April 2262", None, "freq"),
        ({"targets": [[]]}, SchemaError, "series 'a' has no values; send at least one", "a", "targets"),
        (
            {"targets": [[1, "2"]]},
            SchemaError,
            r"series 'a' has '2' \(str\) among its numbers, place 1; send numbers",
            "a",
            "targets",
        ),
        ({"targets": [[1, True]]}, SchemaError, r"series 'a' has 'True' \(bool\) among its numbers", "a", "targets"),
        ({"targets": [[1, 2, -np.inf]]}, SchemaError, "series 'a' has an infinite value, place 2; send null", "a", "targets"),
        ({"targets": [[1, 10**400]]}, SchemaError, "series 'a' has an infinite value, place 1", "a", "targets"),
        (
            {"starts": ["2024-13-01"]},
            SchemaError,
            "series 'a': '2024-13-01' in 'starts' is no timestamp; write ISO",
            "a",
            "starts",
        ),
        ({"starts": ["01/02/2024"]}, SchemaError, "series 'a': '01/02/2024' in 'starts' is no timestamp", "a", "starts"),
        (
            {"starts": [1.5]},
            SchemaError,
            r"series 'a': '1.5' \(float\) is no timestamp; send ISO 8601 texts, or int",
            "a",
            "starts",
        ),
        ({"starts": [2**63]}, SchemaError, "series 'a': step 9223372036854775808 is beyond 2", "a", "starts"),
        ({"tz": "Mars/Base"}, SchemaError, "'tz' has zone Mars/Base, which has no IANA name", None, "tz"),
        ({"season": 0}, OptionError, "season must be a positive number of steps, got 0", None, "season"),
    ],
)
def test_lists_that_make_no_panel_are_refused(changes, kind, message, series, field):
    good = {"ids": ["a"], "starts": ["2024-01-01"], "targets": [[1.0, 2.0]], "freq": "D"}
    assert panel_from_lists(**good).lengths.tolist() == [2]
    with pytest.raises(kind, match=message) as caught:
        panel_from_lists(**good | changes)
    assert (caught.value.series_id, caught.value.field) == (series, field)


def test_lists_of_timestamps_have_the_checks_of_frames():
    def refuse(kind, message, times, targets=((1.0, 2.0, 3.0),)):
        with pytest.raises(kind, match=message) as caught:
            panel_from_lists(ids=["a"], timestamps=[times], targets=targets)
        assert (caught.value.series_id, caught.value.field) == ("a", "timestamps")

    refuse(SchemaError, "series 'a' has 2 timestamps and 3 values; send one for each", ["2024-01-01", "2024-01-02"])
    refuse(GapError, "series 'a' lacks 1 step of freq 1", [0, 1, 3])
    refuse(DuplicateError, "series 'a' has 1 timestamp more than once: 2024-01-01;", ["2024-01-01", "2024-01-01", "2024-01-02"])
    mixed = ["2024-01-01T00:00", "2024-01-01T01:00Z", "2024-01-01T02:00"]
    refuse(SchemaError, "series 'a': timestamps without a zone stand beside others in UTC offsets", mixed)

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service import schemas
from service.errors import Problem
from service.forecast_request import ALIKE, SERIES, TOP, ForecastRequest, read_request
from service.settings import Settings

LIMITS = Settings(max_series=3, max_points=5, max_total_points=8, max_horizon=30, max_quantile_levels=4)


def one(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "start": "2024-01-01", "freq": "D", "target": [1, 2]} | fields


def read(*series: Any, **fields: Any) -> ForecastRequest:
    return read_request({"series": list(series), "horizon": 2} | fields, LIMITS)


def refused(body: Any) -> list[tuple[str, str]]:
    """(field, message) of each error."""
    with pytest.raises(Problem) as caught:
        read_request(body, LIMITS)
    assert caught.value.status == 422
    return [(error.field, error.message) for error in caught.value.errors]


def only(body: Any) -> tuple[str, str]:
    errors = refused(body)
    assert len(errors) == 1, errors
    return errors[0]


def test_ids_keep_their_type_to_be_echoed() -> None:
    assert [series.given_id for series in read(one(id=7), one(id="ü/🙂")).series] == [7, "ü/🙂"]


def test_what_is_left_out_takes_its_documented_default() -> None:
    asked = read_request({"series": [one()]}, LIMITS)
    assert (asked.horizon, asked.quantile_levels, asked.model) == (None, (0.1, 0.5, 0.9), None)
    assert read(one(), quantile_levels=None, level=None, model=None).quantile_levels == (0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    ("level", "quantile_levels"),
    [
        ([80], (0.1, 0.5, 0.9)),
        ([95], (0.025, 0.5, 0.975)),
        ([80, 50], (0.1, 0.25, 0.5, 0.75, 0.9)),
        ([85], (0.075, 0.5, 0.925)),  # 0.5 - 0.425 is 0.07500000000000001 in binary
        ([99.9], (0.0005, 0.5, 0.9995)),
    ],
)
def test_a_level_is_the_coverage_of_a_central_interval_and_brings_the_median(
    level: list[float], quantile_levels: tuple[float, ...]
) -> None:
    assert read(one(), level=level).quantile_levels == quantile_levels


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"horizon": 0}, ("horizon", "must be a positive whole number of steps, got 0")),
        ({"horizon": True}, ("horizon", "must be a positive whole number of steps, got true")),
        ({"horizon": 2.0}, ("horizon", "must be a positive whole number of steps, got 2.0")),
        ({"horizon": "7"}, ("horizon", "must be a positive whole number of steps, got the string '7'")),
        ({"horizon": 31}, ("horizon", "must be at most 30 steps here, got 31")),
        ({"model": 3}, ("model", "must be the name of a model, got 3; GET /v1/models lists them")),
        ({"model": ""}, ("model", "must be the name of a model, got the string ''; GET /v1/models lists them")),
        ({"level": [80], "quantile_levels": [0.5]}, ("level", "give either quantile_levels or level, not both")),
        ({"level": 80}, ("level", "must be a list of at least one number, got 80")),
        ({"level": []}, ("level", "must be a list of at least one number, got an empty list")),
        ({"level": [80, "90"]}, ("level[1]", "must be a number, got the string '90'")),
        ({"level": [0.8]}, ("level", "is in percent, got 0.8; did you mean 80?")),
        ({"level": [1, 2, 3]}, ("level", "holds 3 numbers, at most 2 are answered here")),
        (
            {"level": [100]},
            ("level", "must lie between 0 and 100 percent, got 100; a level of 80 spans the quantiles 0.1 and 0.9"),
        ),
        ({"level": [99.99999999999]}, ("level", "99.99999999999 percent is too close to 100; ask for at most 99.9999999")),
        ({"quantile_levels": [0.5, True]}, ("quantile_levels[1]", "must be a number, got true")),
        ({"quantile_levels": [0.1] * 5}, ("quantile_levels", "holds 5 numbers, at most 4 are answered here")),
        ({"quantile_levels": [80]}, ("quantile_levels", "quantile_levels must lie in (0, 1), got 80.0")),
        (
            {"quantile_levels": [0.9, 0.1]},
            ("quantile_levels", "quantile_levels must ascend without repeats, got [0.9, 0.1]"),
        ),
        ({"h": 3}, ("h", "there is no such field; did you mean 'horizon'?")),
        ({"horizons": 3}, ("horizons", "there is no such field; did you mean 'horizon'?")),
        (
            {"zzz": 3},
            ("zzz", "there is no such field; there are series, horizon, quantile_levels, level, model"),
        ),
    ],
)
def test_a_wrong_field_of_the_request_is_named(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert only({"series": [one()], "horizon": 2} | fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"id": None}, ("series[1].id", "must be a string of 1 to 256 characters, or a whole number, got null")),
        (
            {"id": ""},
            ("series[1].id", "must be a string of 1 to 256 characters, or a whole number, got a string of 0 characters"),
        ),
        (
            {"id": "x" * 257},
            ("series[1].id", "must be a string of 1 to 256 characters, or a whole number, got a string of 257 characters"),
        ),
        ({"id": 1.5}, ("series[1].id", "must be a string of 1 to 256 characters, or a whole number, got 1.5")),
        ({"id": True}, ("series[1].id", "must be a string of 1 to 256 characters, or a whole number, got true")),
        ({"id": "first"}, ("series[1].id", "is the id of series[0] too; ids must be unique")),
        ({"target": None}, ("series[1].target", "must be a list of at least one number, got null")),
        ({"target": []}, ("series[1].target", "must be a list of at least one number, got an empty list")),
        ({"target": {"0": 1}}, ("series[1].target", "must be a list of at least one number, got an object")),
        ({"target": [None, None]}, ("series[1].target", "holds nothing but null; at least one value has to be observed")),
        ({"target": [1, "2"]}, ("series[1].target[1]", "must be a number or null (not observed), got the string '2'")),
        ({"target": [1, False]}, ("series[1].target[1]", "must be a number or null (not observed), got false")),
        ({"target": [1, [2]]}, ("series[1].target[1]", "must be a number or null (not observed), got a list of 1")),
        ({"target": [None, 1, -1e308]}, ("series[1].target[2]", "must lie within ±1e+100, got -1e+308; rescale the series")),
        ({"target": [1] * 6}, ("series[1].target", "holds 6 values, at most 5 of one series are read; send the latest ones")),
        ({"start": None}, ("series[1].start", "is missing: give start and freq, or timestamps")),
        ({"start": 1.5}, ("series[1].start", "must be an ISO 8601 timestamp or a whole number, got 1.5")),
        ({"start": 2**60, "freq": 1}, ("series[1].start", "must lie within ±2**53, got 1152921504606846976")),
        ({"freq": None}, ("series[1].freq", "is missing: a start needs the step, such as 'h', 'D' or 'MS'")),
        ({"freq": 1.5}, ("series[1].freq", "must be a step such as 'h', 'D' or 'MS', or a whole number, got 1.5")),
        ({"freq": "D" * 33}, ("series[1].freq", "must be a step such as 'h', 'D' or 'MS', got a string of 33 characters")),
        ({"tz": 2}, ("series[1].tz", "must be the name of a zone such as 'Europe/Berlin', got 2")),
        ({"freq": 0}, ("series[1].freq", "must lie between 1 and 2147483648 on an integer clock, got 0")),
        ({"timestamps": ["2024-01-01"]}, ("series[1].timestamps", "give either timestamps or start and freq, not both")),
        (
            {"start": None, "timestamps": "2024-01-01"},
            ("series[1].timestamps", "must be a list with one timestamp per value, got the string '2024-01-01'"),
        ),
        ({"start": None, "timestamps": ["2024-01-01"]}, ("series[1].timestamps", "holds 1 timestamps for 2 values of target")),
        (
            {"start": None, "timestamps": ["2024-01-01", None]},
            ("series[1].timestamps[1]", "must be an ISO 8601 string like the others (or all whole numbers), got null"),
        ),
        (
            {"start": None, "timestamps": [1, "2024-01-01"]},
            (
                "series[1].timestamps[1]",
                "must be an ISO 8601 string like the others (or all whole numbers), got the string '2024-01-01'",
            ),
        ),
        ({"start": None, "timestamps": [1, 2**54]}, ("series[1].timestamps[1]", "must lie within ±2**53, got 18014398509481984")),
        ({"y": [1]}, ("series[1].y", "there is no such field; did you mean 'target'?")),
        ({"unique_id": "b"}, ("series[1].unique_id", "there is no such field; did you mean 'id'?")),
        ({"strat": "2024"}, ("series[1].strat", "there is no such field; did you mean 'start'?")),
    ],
)
def test_a_wrong_field_of_a_series_is_named_with_its_place(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert only({"series": [one(id="first"), one() | fields], "horizon": 2}) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], ("", "the body must be an object with `series` and `horizon`, got an empty list")),
        (None, ("", "the body must be an object with `series` and `horizon`, got null")),
        ({}, ("series", "must be a list of at least one series, got null")),
        ({"series": []}, ("series", "must be a list of at least one series, got an empty list")),
        ({"series": {"a": 1}}, ("series", "must be a list of at least one series, got an object")),
        ({"series": [3]}, ("series[0]", "must be an object with `id`, `start`, `freq` and `target`, got 3")),
        (
            {"series": [one(id=i) for i in range(4)]},
            ("series", "holds 4 series, at most 3 are forecast in one request; split it"),
        ),
        (
            {"series": [one(id=i, target=[1] * 3) for i in range(3)]},
            ("series", "holds 9 values in all, at most 8 are forecast in one request; split it"),
        ),
    ],
)
def test_a_body_of_the_wrong_shape_or_size_is_refused(body: Any, expected: tuple[str, str]) -> None:
    assert only(body) == expected


def test_all_that_is_wrong_is_told_at_once_and_with_the_id_as_given() -> None:
    with pytest.raises(Problem) as caught:
        read_request({"horizon": 0, "series": [one(target=[]), one(id=9, target=["x"])]}, LIMITS)
    told = [(error.field, error.series) for error in caught.value.errors]
    assert told == [("horizon", None), ("series[0].target", "a"), ("series[1].target[0]", 9)]
    assert "(and 2 more; `errors` lists all)" in caught.value.detail


def test_ids_that_read_the_same_are_duplicates() -> None:
    assert only({"series": [one(id="1"), one(id=1)]}) == ("series[1].id", "is the id of series[0] too; ids must be unique")


def test_an_answer_lists_at_most_fifty_errors_and_counts_the_rest() -> None:
    with pytest.raises(Problem) as caught:
        read_request({"series": [{"id": i} for i in range(60)]}, Settings())
    assert len(caught.value.errors) == 50
    assert caught.value.detail.endswith("(and 119 more; `errors` lists the first 50)")  # a target and a start each


def test_the_documented_schema_and_the_reader_know_the_same_fields() -> None:
    assert set(schemas.ForecastRequest.model_fields) == set(TOP)
    assert set(schemas.Series.model_fields) == set(SERIES)
    assert set(ALIKE.values()) <= set(TOP) | set(SERIES)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*SERIES, *TOP, "x"]), inner, max_size=5),
    max_leaves=12,
)
nearly_series = st.fixed_dictionaries(
    {"id": json_values, "target": st.lists(json_values, max_size=5) | json_values},
    optional={"start": json_values, "freq": json_values, "timestamps": st.lists(json_values, max_size=5) | json_values},
)
nearly_requests = st.fixed_dictionaries(
    {"series": st.lists(nearly_series, max_size=3) | json_values},
    optional={"horizon": json_values, "level": json_values, "quantile_levels": json_values, "model": json_values},
)


@given(body=json_values | nearly_requests)
def test_any_json_is_either_read_or_refused_with_422(body: Any) -> None:
    try:
        asked = read_request(body, LIMITS)
    except Problem as problem:
        assert problem.status == 422
        assert problem.errors
    else:
        assert asked.series


@given(body=nearly_requests)
def test_what_the_reader_accepts_the_documented_schema_accepts_too(body: Any) -> None:
    try:
        read_request(body, LIMITS)
    except Problem:
        return
    try:
        schemas.ForecastRequest.model_validate(body, strict=False)
    except ValidationError as error:
        pytest.fail(f"the reader took what the schema forbids: {error}")

"""Nearly reasonable requests about anomalies, made at random: each is answered or refused, none breaks the service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.model_store import FolderStore
from service.settings import Settings
from tests.service.conftest import TestClient
from tests.service.test_anomalies_route import moment, store_detectors

numbers = st.none() | st.floats(-1e15, 1e15) | st.sampled_from([0, 1, 10, 10.5])
clocks = st.fixed_dictionaries(
    {
        "start": st.sampled_from([moment(300), "2024-02-29T23:59:59", "2024-01-01T00:00Z", "2024-13-01", 0]),
        "freq": st.sampled_from(["h", "D", "x", 5]),
    },
    optional={"tz": st.sampled_from(["Europe/Berlin", "UTC", "../x"])},
)
by_start = st.builds(lambda clock, target: clock | {"target": target}, clocks, st.lists(numbers, min_size=1, max_size=12))
by_timestamps = st.builds(
    lambda pairs: {"timestamps": [at for at, _ in pairs], "target": [value for _, value in pairs]},
    st.lists(st.tuples(st.integers(295, 310).map(moment) | st.integers(-9, 9), numbers), min_size=1, max_size=9),
)
short = by_start | by_timestamps
long = st.builds(
    lambda start, values, repeat: {"start": start, "freq": "h", "target": values * repeat},
    st.sampled_from([moment(0), moment(300), moment(310)]),
    st.lists(numbers, min_size=1, max_size=30),
    st.sampled_from([1, 4]),
)
pairs = st.fixed_dictionaries(
    {
        "start": st.just(moment(300)),
        "freq": st.just("h"),
        "channels": st.fixed_dictionaries({"cpu": st.just([1, None]), "mem": st.just([2, 1e15])}),
    }
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "sensitivity": st.sampled_from([0.01, 1, 1000, 2000]),
        "direction": st.sampled_from(["both", "above", "below", "up"]),
        "min_duration": st.integers(0, 3),
        "merge_gap": st.integers(0, 3),
        "cooldown": st.integers(0, 30),
        "new_normal": st.integers(0, 20),
        "max_duration": st.integers(1, 5),
        "ignore": st.lists(st.tuples(st.sampled_from([moment(301), 3]), st.sampled_from([moment(305), 4])).map(list), max_size=2),
    },
)
options = st.fixed_dictionaries(
    {},
    optional={
        "alarms": rules,
        "level": st.sampled_from([50, 99, 99.999, 100]),
        "explain": st.booleans(),
        "since": st.sampled_from([moment(305), 5]),
    },
)


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Any], Any]]:
    folder: Path = tmp_path_factory.mktemp("detectors")
    store_detectors(folder)
    chosen = Settings(refresh_seconds=3600.0, max_streams=3, state_dir=str(tmp_path_factory.mktemp("state")))
    app = create_app(models=FolderStore(folder), settings=chosen)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield lambda path, body: client.post(path, json=body)


def answered_or_refused(answer: Any, series: list[dict[str, Any]]) -> None:
    if answer.status_code != 200:
        assert answer.status_code in (409, 422), answer.text
        assert answer.json()["errors"], answer.text
        return
    for one, asked in zip(answer.json()["series"], series, strict=True):
        assert one["id"] == asked["id"]
        size = len(one["timestamps"])
        columns = [one[name] for name in ("score", "revised_score", "p_value", "severity", "alarm", "provisional", "reason")]
        columns += [column for band in one["channels"].values() for column in band.values()]
        assert {len(column) for column in columns} == {size}
        assert all(p is None or 0 < p <= 1 for p in one["p_value"])
        assert all((score is None) <= (reason is not None) for score, reason in zip(one["score"], one["reason"], strict=True))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(short | long, min_size=1, max_size=3),
    asked=options,
    model=st.sampled_from(["window_energy", "seasonal_residual"]),
)
def test_a_history_is_judged_or_refused_with_a_reason(post: Any, series: list[Any], asked: dict[str, Any], model: str) -> None:
    series = [one | {"id": i} for i, one in enumerate(series)]
    answered_or_refused(post("/v1/anomalies", {"series": series, "model": model} | asked), series)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(short | long | pairs, min_size=1, max_size=3),
    asked=options,
    model=st.sampled_from(["load", "host"]),
    how=st.sampled_from([{}, {"stateless": True}, {"reset": True}]),
)
def test_new_values_are_judged_or_refused_with_a_reason(
    post: Any, series: list[Any], asked: dict[str, Any], model: str, how: dict[str, Any]
) -> None:
    series = [one | {"id": "ab"[i] if i < 2 else i} for i, one in enumerate(series)]
    answered_or_refused(post("/v1/anomalies/score", {"series": series, "model": model} | asked | how), series)

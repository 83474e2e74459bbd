"""Nearly reasonable requests, made at random: each is answered or refused, none breaks the service."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import TestClient
from tests.service.fakes import MemoryStore, ramp_flow

numbers = st.none() | st.floats(-1e100, 1e100) | st.integers(-(2**63), 2**64 - 1)
targets = st.lists(numbers, min_size=1, max_size=12) | st.lists(st.just(1e100) | st.just(-1e100), min_size=9, max_size=12)
freqs = st.sampled_from(
    ["D", "h", "W-WED", "ME", "QS-FEB", "YE", "B", "SMS", "15min", "ns", "1h30min", "2D", "0h", "-1D", "9999YE", "x", 1, 2**31, 0]
)
texts = [
    "2024-01-01",
    "2024-02-29T23:59:59",
    "1678-01-01",
    "2261-12-31",
    "2024-03-31T01:30+01:00",
    "2024-01-01T00:00Z",
    "2024-13-01",
]
moments = st.sampled_from([*texts, 0, -(2**53), 2**53])
clocks = st.fixed_dictionaries(
    {"start": moments, "freq": freqs}, optional={"tz": st.sampled_from(["Europe/Berlin", "UTC", "../x"])}
)
by_start = st.builds(lambda clock, target: clock | {"target": target}, clocks, targets)
by_timestamps = st.builds(
    lambda pairs: {"timestamps": [at for at, _ in pairs], "target": [value for _, value in pairs]},
    st.lists(st.tuples(st.dates().map(str) | st.integers(-9, 9), numbers), min_size=1, max_size=9),
)
levels = st.fixed_dictionaries(
    {},
    optional={
        "level": st.lists(st.floats(0, 101), max_size=3),
        "quantile_levels": st.lists(st.floats(0, 1), max_size=3, unique=True).map(sorted),
    },
)


@pytest.fixture(scope="module")
def post() -> Iterator[Callable[[Any], Any]]:
    store = MemoryStore()
    store.put("demand", ramp_flow())
    app = create_app(models=store, settings=Settings(refresh_seconds=3600.0))
    app.state.services.models.refresh()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield lambda body: client.post("/v1/forecast", json=body)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    series=st.lists(by_start | by_timestamps, min_size=1, max_size=3),
    horizon=st.sampled_from([1, 2, 14, 15, 1000]),
    asked=levels,
    model=st.sampled_from([None, "seasonal_naive"]),
)
def test_a_request_is_answered_with_numbers_in_order_or_refused_with_a_reason(
    post: Callable[[Any], Any], series: list[dict[str, Any]], horizon: int, asked: dict[str, Any], model: str | None
) -> None:
    body = {"series": [one | {"id": i} for i, one in enumerate(series)], "horizon": horizon, "model": model} | asked
    answer = post(body)
    if answer.status_code != 200:
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"], answer.text
        return
    forecasts = answer.json()["forecasts"]
    assert [one["id"] for one in forecasts] == list(range(len(series)))
    for one in forecasts:
        assert len(one["timestamps"]) == horizon
        columns = list(zip(*one["quantiles"].values(), strict=True))
        assert all(None not in column and list(column) == sorted(column) for column in columns)
        assert one["timestamps"] == sorted(one["timestamps"])

"""Series of several zones in one request: each is read and answered on its own wall clock."""

from collections.abc import Callable
from typing import Any

Ask = Callable[..., Any]
AUTUMN = ["2024-10-27T00:00", "2024-10-27T01:00", "2024-10-27T02:00", "2024-10-27T02:00", "2024-10-27T03:00"]


def days(zone: str, **fields: Any) -> dict[str, Any]:
    return {"id": zone, "start": "2024-03-24", "freq": "D", "tz": zone, "target": list(range(8))} | fields


def test_each_series_is_answered_on_its_wall_clock_with_its_offset(ask: Ask) -> None:
    zones = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"]
    forecasts = ask(*map(days, zones), model="seasonal_naive").json()["forecasts"]
    assert {one["id"]: one["timestamps"] for one in forecasts} == {
        "Europe/Berlin": ["2024-04-01T00:00:00+02:00", "2024-04-02T00:00:00+02:00"],
        "America/New_York": ["2024-04-01T00:00:00-04:00", "2024-04-02T00:00:00-04:00"],
        "Asia/Kathmandu": ["2024-04-01T00:00:00+05:45", "2024-04-02T00:00:00+05:45"],
    }


def test_what_was_answered_can_be_sent_again(ask: Ask) -> None:
    first = ask(days("Europe/Berlin"), horizon=8, model="seasonal_naive").json()["forecasts"][0]
    again = days("Europe/Berlin", start=None, timestamps=first["timestamps"])
    answer = ask({key: value for key, value in again.items() if value is not None}, model="seasonal_naive").json()
    assert answer["forecasts"][0]["timestamps"] == ["2024-04-09T00:00:00+02:00", "2024-04-10T00:00:00+02:00"]


def test_local_hours_go_over_the_change_to_winter_time(ask: Ask) -> None:
    series, options = {"id": "a", "freq": "h", "tz": "Europe/Berlin"}, {"horizon": 3, "model": "seasonal_naive"}
    hourly = [f"2024-10-26T{hour:02}:00" for hour in range(24)] + AUTUMN[:2]
    forecast = ask(series | {"timestamps": hourly, "target": list(range(26))}, **options).json()["forecasts"][0]
    assert forecast["timestamps"] == ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"]
    forecast = ask(series | {"timestamps": hourly + AUTUMN[2:], "target": list(range(29))}, **options).json()["forecasts"][0]
    assert forecast["timestamps"][0] == "2024-10-27T04:00:00+01:00"


def test_a_start_in_the_hour_that_comes_twice_is_refused_with_the_way_out(ask: Ask) -> None:
    series = {"id": "a", "start": AUTUMN[2], "freq": "h", "tz": "Europe/Berlin", "target": list(range(30))}
    answer = ask(series, model="seasonal_naive")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], error["series"]) == ("series[0].start", "a")
    assert "clocks in Europe/Berlin show 2024-10-27T02:00:00 twice" in error["message"]
    assert "write timestamps with their UTC offset" in error["message"]
    told = ask(series | {"start": "2024-10-27T02:00+02:00"}, model="seasonal_naive").json()["forecasts"][0]
    assert told["timestamps"][0] == "2024-10-28T07:00:00+01:00"

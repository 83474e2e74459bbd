"""Holidays and events: the days by hand, whatever the steps; windows, bridge days, regions, files, and what is not known."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tsforecast
from tsforecast.errors import CovariateError, DataError, FrequencyError, OptionError, SchemaError
from tsforecast.flow import ForecastFlow
from tsforecast.models.linear import Linear
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.days import Around, days_of, ranked
from tsforecast.preprocessing.events import read_events
from tsforecast.preprocessing.feature import Feature, KnownFeature, Moments, future_of
from tsforecast.preprocessing.features import build_feature, feature_from_json
from tsforecast.preprocessing.repair import resample


def panel_of(
    start: str, periods: int, freq: str = "D", *, tz: str | None = None, ids: Sequence[str] = ("a",), **static: Any
) -> Panel:
    times = pd.date_range(start, periods=periods, freq=freq, tz=tz)
    frame = pd.concat([pd.DataFrame({"unique_id": one, "ds": times, "y": 1.0}) for one in ids])
    table = pd.DataFrame({"unique_id": list(ids), **static}) if static else None
    return tsforecast.panel_from_frame(frame, freq=freq, static=table)


def fit(feature: Feature, panel: Panel) -> KnownFeature:
    fitted = feature.fit(panel)
    assert isinstance(fitted, KnownFeature)
    return fitted


def columns(feature: Feature, panel: Panel) -> dict[str, list[float]]:
    fitted = fit(feature, panel)
    return dict(zip(fitted.names, fitted.columns(Moments.of_rows(panel)).T.tolist(), strict=True))


def dates_with(values: Sequence[float], panel: Panel) -> dict[str, float]:
    """Day -> value, of the rows where it is not 0."""
    days = np.datetime_as_string(panel.timestamps, unit="D").tolist()
    return {day: value for day, value in zip(days, values, strict=True) if value}


# Holidays


def test_the_holidays_of_a_german_christmas() -> None:
    panel = panel_of("2023-12-20", 14)
    found = columns(build_feature("holidays", country="DE"), panel)
    assert list(found) == ["holiday"]
    assert dates_with(found["holiday"], panel) == {"2023-12-25": 1, "2023-12-26": 1, "2024-01-01": 1}


def test_a_region_has_holidays_of_its_own() -> None:
    panel = panel_of("2024-01-02", 10)  # Epiphany on 6 January is one of Bavaria, not of Berlin
    assert columns(build_feature("holidays", country="DE", subdivision="BY"), panel)["holiday"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert columns(build_feature("holidays", country="DE", subdivision="BE"), panel)["holiday"] == [0] * 10
    assert columns(build_feature("holidays", country="DE", subdivision="Bayern"), panel)["holiday"][4] == 1


def test_each_series_has_the_holidays_of_its_own_place() -> None:
    ids = ["münchen", "berlin", "paris", "boston"]
    panel = panel_of("2024-01-06", 1, ids=ids, place=["DE-BY", "DE-BE", "FR", "US-MA"])
    feature = build_feature("holidays", country_column="place")
    assert columns(feature, panel)["holiday"] == [1, 0, 0, 0]
    bastille = panel_of("2024-07-14", 1, ids=ids, place=["DE-BY", "DE-BE", "FR", "US-MA"])
    assert columns(feature, bastille)["holiday"] == [0, 0, 1, 0]
    fitted = fit(feature, panel)
    bare = replace(panel, static_categories=(), static_category_names=())
    again = fitted.for_panel(bare)  # the places of the fit are kept
    assert isinstance(again, KnownFeature)
    assert again.columns(Moments.of_rows(bare))[:, 0].tolist() == [1, 0, 0, 0]
    stranger = panel_of("2024-01-06", 2, ids=["augsburg"], place=["DE-BY"])
    again = fitted.for_panel(stranger)
    assert isinstance(again, KnownFeature)
    assert again.columns(Moments.of_rows(stranger))[:, 0].tolist() == [1, 0]


def test_a_series_without_a_place_and_a_place_that_is_none_are_refused_by_name() -> None:
    feature = build_feature("holidays", country_column="place")
    with pytest.raises(CovariateError, match=r"series 'a': its country is to be static category 'place', .* \(it has none\)"):
        feature.fit(panel_of("2024-01-06", 1))
    with pytest.raises(CovariateError, match=r"series 'b': place 'DE-BYE': 'DE' has no subdivision 'BYE'; did you mean 'BY'"):
        feature.fit(panel_of("2024-01-06", 1, ids=["a", "b"], place=["DE-BY", "DE-BYE"]))


def test_windows_count_the_days_to_the_edge_of_a_stretch_of_holidays() -> None:
    panel = panel_of("2023-12-21", 9)  # 21 to 29 December; holidays 25 and 26
    found = columns(build_feature("holidays", country="DE", before=2, after=2), panel)
    assert {name: dates_with(values, panel) for name, values in found.items()} == {
        "holiday": {"2023-12-25": 1, "2023-12-26": 1},
        "holiday_before_1": {"2023-12-24": 1},
        "holiday_before_2": {"2023-12-23": 1},
        "holiday_after_1": {"2023-12-27": 1},
        "holiday_after_2": {"2023-12-28": 1},
    }


def test_windows_see_holidays_outside_the_rows() -> None:
    eve = columns(build_feature("holidays", country="DE", before=1, after=1), panel_of("2023-12-24", 1))
    assert eve == {"holiday": [0], "holiday_before_1": [1], "holiday_after_1": [0]}
    after = columns(build_feature("holidays", country="DE", before=1, after=1), panel_of("2023-12-27", 1))
    assert after == {"holiday": [0], "holiday_before_1": [0], "holiday_after_1": [1]}


def test_a_bridge_day_is_a_working_day_between_two_free_ones() -> None:
    panel = panel_of("2024-05-01", 31)  # 1 May a Wednesday, Ascension on Thursday 9, Whit Monday 20, Corpus Christi Thursday 30
    bavaria = columns(build_feature("holidays", country="DE", subdivision="BY", bridge=True), panel)
    assert dates_with(bavaria["holiday_bridge"], panel) == {"2024-05-10": 1, "2024-05-31": 1}
    berlin = columns(build_feature("holidays", country="DE", subdivision="BE", bridge=True), panel)
    assert dates_with(berlin["holiday_bridge"], panel) == {"2024-05-10": 1}
    new_year = panel_of("2024-12-30", 3)  # a Monday before, a Tuesday that bridges nothing, and a holiday on Wednesday
    assert columns(build_feature("holidays", country="DE", bridge=True), new_year)["holiday_bridge"] == [0, 0, 0]
    tuesday = panel_of("2023-10-02", 1)  # Monday before Unity Day
    assert columns(build_feature("holidays", country="DE", bridge=True), tuesday)["holiday_bridge"] == [1]


def test_a_bridge_day_follows_the_weekend_of_the_country() -> None:
    panel = panel_of("2025-04-20", 6)  # Egypt rests on Friday and Saturday and works on Sundays: the 20th is one before a holiday
    found = columns(build_feature("holidays", country="EG", bridge=True), panel)
    assert dates_with(found["holiday"], panel) == {"2025-04-21": 1, "2025-04-25": 1}
    assert dates_with(found["holiday_bridge"], panel) == {"2025-04-20": 1}


def test_every_hour_of_the_local_day_is_a_holiday() -> None:
    panel = panel_of("2024-12-24 22:00", 30, "h", tz="Europe/Berlin")
    found = columns(build_feature("holidays", country="DE"), panel)["holiday"]
    assert found == [0, 0, *[1] * 28]  # 23:00 UTC of the 24th is midnight of the 25th in Berlin
    utc = columns(build_feature("holidays", country="DE"), replace(panel, tz="UTC"))["holiday"]
    assert utc == [0, 0, 0, *[1] * 27]
    change = panel_of("2024-03-31", 26, "h", tz="Europe/Berlin")  # Easter Sunday is a holiday of Brandenburg, and has 23 hours
    assert (
        sum(columns(build_feature("holidays", country="DE", subdivision="BB", names=True), change)["holiday:Easter Sunday"]) == 23
    )


SPANS = {
    "W-SUN": ("2023-12-31", ("2023-12-25", "2023-12-31")),
    "W-WED": ("2023-12-27", ("2023-12-21", "2023-12-27")),
    "2W-SUN": ("2023-12-31", ("2023-12-18", "2023-12-31")),
    "MS": ("2024-02-01", ("2024-02-01", "2024-02-29")),
    "ME": ("2024-02-29", ("2024-02-01", "2024-02-29")),
    "BMS": ("2024-06-03", ("2024-06-01", "2024-06-30")),
    "BME": ("2024-06-28", ("2024-06-01", "2024-06-30")),
    "QS": ("2024-04-01", ("2024-04-01", "2024-06-30")),
    "QE": ("2024-06-30", ("2024-04-01", "2024-06-30")),
    "YS": ("2024-01-01", ("2024-01-01", "2024-12-31")),
    "YE": ("2024-12-31", ("2024-01-01", "2024-12-31")),
    "SMS": ("2024-02-15", ("2024-02-15", "2024-02-29")),
    "SME": ("2024-02-15", ("2024-02-01", "2024-02-15")),
    "D": ("2024-02-15", ("2024-02-15", "2024-02-15")),
    "3D": ("2024-02-15", ("2024-02-15", "2024-02-17")),
    "B": ("2024-02-16", ("2024-02-16", "2024-02-16")),
    "48h": ("2024-02-15", ("2024-02-15", "2024-02-16")),
    "6h": ("2024-02-15", ("2024-02-15", "2024-02-15")),
}


@pytest.mark.parametrize("freq", SPANS)
def test_the_days_of_a_step_are_those_that_resample_puts_into_it(freq: str) -> None:
    label, expected = SPANS[freq]
    panel = panel_of(label, 3, freq)
    first, last = days_of(Moments.of_rows(panel))
    spans = np.stack([first, last], axis=1).astype("datetime64[D]").astype(str)
    assert tuple(spans[0]) == expected
    if freq not in ("B", "6h"):  # there every day is in one step, so steps join without a hole
        assert (first[1:] == last[:-1] + 1).all()
    if freq not in ("B", "6h", "2W-SUN"):  # resample begins pairs of weeks with the first week of the data
        days = pd.DataFrame({"ds": pd.date_range(str(spans[0][0]), str(spans[-1][1]), freq="D"), "y": 1.0})
        put = resample(days, freq, "sum").frame
        assert dict(zip(put["ds"], put["y"], strict=True)) == dict(
            zip(panel.timestamps, (last - first + 1).astype(float), strict=True)
        )


def test_longer_steps_count_their_holidays() -> None:
    weeks = panel_of("2023-12-24", 3, "W-SUN")
    found = columns(build_feature("holidays", country="DE", before=1), weeks)
    assert found == {"holiday": [0, 2, 1], "holiday_before_1": [1, 1, 0]}  # 24 December, and 31 December before New Year
    assert columns(build_feature("holidays", country="DE"), panel_of("2024-05-01", 2, "MS"))["holiday"] == [3, 0]


def test_each_holiday_has_a_column_the_most_frequent_first_and_the_others_share_one() -> None:
    panel = panel_of("2023-12-20", 370)  # Christmas twice or once … to 23 December 2024: all once, and so by the alphabet
    found = columns(build_feature("holidays", country="DE", names=True, most=2), panel)
    assert list(found) == ["holiday:Ascension Day", "holiday:Christmas Day", "holiday:other"]
    total = np.sum(list(found.values()), axis=0)
    np.testing.assert_array_equal(total, columns(build_feature("holidays", country="DE"), panel)["holiday"])
    weeks = panel_of("2023-12-20", 1106)
    first = list(columns(build_feature("holidays", country="DE", names=True, most=9), weeks))
    assert first[:2] == ["holiday:Christmas Day", "holiday:Second Day of Christmas"]  # four of each, three of all others


def test_a_holiday_that_was_put_off_keeps_its_name() -> None:
    panel = panel_of("2021-12-01", 40)  # Christmas 2021 was a Saturday: observed on Friday 24
    found = columns(build_feature("holidays", country="US", names=True), panel)
    assert dates_with(found["holiday:Christmas Day"], panel) == {"2021-12-24": 1, "2021-12-25": 1}
    assert dates_with(found["holiday:New Year's Day"], panel) == {"2021-12-31": 1, "2022-01-01": 1}


def test_the_names_do_not_depend_on_the_language_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    found = columns(build_feature("holidays", country="DE", names=True, most=1), panel_of("1991-12-25", 1))
    assert list(found) == ["holiday:Christmas Day", "holiday:other"]


def test_a_holiday_of_the_future_that_the_fit_did_not_see_is_one_of_the_others() -> None:
    fitted = fit(build_feature("holidays", country="DE", names=True), panel_of("2023-12-20", 8))
    assert fitted.names == ("holiday:Christmas Day", "holiday:Second Day of Christmas", "holiday:other")
    future = future_of(panel_of("2023-12-20", 8), [fitted], 6)  # 28 December to 2 January
    assert future is not None and future[0, :, 2].tolist() == [0, 0, 0, 0, 1, 0]


def test_holidays_of_two_countries_stand_beside_each_other_under_labels() -> None:
    panel = panel_of("2024-07-03", 12)
    fitted = [fit(build_feature("holidays", country=code, label=f"holiday_{code}"), panel) for code in ("US", "FR")]
    found = np.concatenate([one.columns(Moments.of_rows(panel)) for one in fitted], axis=1)
    assert [one.names for one in fitted] == [("holiday_US",), ("holiday_FR",)]
    assert [dates_with(column, panel) for column in found.T] == [{"2024-07-04": 1}, {"2024-07-14": 1}]


WRONG_OPTIONS = [
    ({}, "needs country or country_column, one of them"),
    ({"country": "DE", "country_column": "place"}, "needs country or country_column, one of them"),
    ({"country_column": "place", "subdivision": "BY"}, "subdivision has no meaning beside country_column"),
    ({"country": "Germany"}, "no country 'Germany' in the holidays package; did you mean 'DE'"),
    ({"country": "de"}, "no country 'de' in the holidays package; did you mean 'DE'"),
    ({"country": "United Kingdom"}, "did you mean 'GB'"),
    ({"country": "DE", "subdivision": "Bayer"}, "'DE' has no subdivision 'Bayer'; did you mean 'Bayern'.*there are BB, BE"),
    ({"country": "DE", "before": 15}, "before must be a whole number from 0 to 14, got 15"),
    ({"country": "DE", "after": -1}, "after must be a whole number from 0 to 14, got -1"),
    ({"country": "DE", "names": True, "most": 50, "before": 2}, "would make 153 columns, at most 100; lower most, before or"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS)
def test_a_wrong_option_is_refused_with_what_is_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_feature("holidays", **options)


def test_holidays_need_a_calendar_and_years_that_are_known() -> None:
    whole = replace(panel_of("2024-01-01", 2), freq=1, timestamps=np.arange(2))
    with pytest.raises(FrequencyError, match="feature 'holidays' needs a calendar, these series count integer steps"):
        build_feature("holidays", country="DE").fit(whole)
    late = panel_of("2100-12-30", 2)
    fitted = fit(build_feature("holidays", country="DE"), late)
    with pytest.raises(CovariateError, match="series 'a' reaches into 2101, the holidays of 'DE' are known before 2101-01-01"):
        future_of(late, [fitted], 1)
    early = panel_of("1800-12-25", 1)
    assert columns(build_feature("holidays", country="DE"), early)["holiday"] == [0]


# Windows against a loop


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 3), st.integers(0, 3))
def test_windows_are_those_of_a_loop(on: list[bool], before: int, after: int) -> None:
    panel = panel_of("2024-01-01", len(on))
    day0 = int(panel.timestamps[0].astype("datetime64[D]").astype(np.int64))

    def marks(first: int, last: int) -> Any:
        return np.array([[0 <= day - day0 < len(on) and on[day - day0]] for day in range(first, last + 1)])

    found = Around(before=before, after=after).columns(Moments.of_rows(panel), marks)
    for t in range(len(on)):
        ahead = next((k for k in range(4) if t + k < len(on) and on[t + k]), None)  # days to the next, 0 = today
        back = next((k for k in range(4) if t - k >= 0 and on[t - k]), None)
        expected = [on[t], *(ahead == k for k in range(1, before + 1)), *(back == k for k in range(1, after + 1))]
        assert found[t].tolist() == expected


def test_names_are_ranked_by_how_often_they_come_then_by_the_alphabet() -> None:
    assert ranked(["b", "c", "a", "b", "c"], 2) == ("b", "c")
    assert ranked([], 3) == ()


# Events


def csv(folder: Path, text: str, name: str = "events.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_days_and_spans_of_a_file_become_columns_by_name(tmp_path: Path) -> None:
    path = csv(
        tmp_path, "start,end,name\n2024-01-02,2024-01-03,promo\n2024-01-03,2024-01-05,school\n2024-01-09,2024-01-09,promo\n"
    )
    found = columns(build_feature("events", path=path), panel_of("2024-01-01", 9))
    assert found == {"event:promo": [0, 1, 1, 0, 0, 0, 0, 0, 1], "event:school": [0, 0, 1, 1, 1, 0, 0, 0, 0]}
    one = columns(build_feature("events", path=path, names=False, label="busy", before=1, after=1), panel_of("2024-01-01", 9))
    assert one == {
        "busy": [0, 1, 1, 1, 1, 0, 0, 0, 1],
        "busy_before_1": [1, 0, 0, 0, 0, 0, 0, 1, 0],
        "busy_after_1": [0, 0, 0, 0, 0, 1, 0, 0, 0],
    }
    few = columns(build_feature("events", path=path, most=1), panel_of("2024-01-01", 9))
    assert few == {"event:promo": found["event:promo"], "event:other": found["event:school"]}


def test_steps_longer_than_a_day_count_the_days_and_shorter_ones_lie_in_them(tmp_path: Path) -> None:
    path = csv(tmp_path, "date\n2024-01-02\n2024-01-03\n2024-02-29\n")
    assert columns(build_feature("events", path=path), panel_of("2024-01-01", 2, "MS"))["event:event"] == [2, 1]
    hours = columns(build_feature("events", path=path), panel_of("2024-01-01 12:00", 4, "12h"))
    assert hours["event:event"] == [0, 1, 1, 1]


def test_an_event_of_one_series_is_one_of_that_series_only(tmp_path: Path) -> None:
    path = csv(tmp_path, "date,name,unique_id\n2024-01-01,sale,007\n2024-01-02,closed,\n2024-01-03,sale,b\n")
    panel = panel_of("2024-01-01", 3, ids=["b", "007", "c"])
    found = columns(build_feature("events", path=path), panel)
    assert found["event:closed"] == [0, 1, 0] * 3
    assert found["event:sale"] == [0, 0, 1, 1, 0, 0, 0, 0, 0]
    fitted = fit(build_feature("events", path=path), panel)
    np.testing.assert_array_equal(fitted.columns(Moments.of_rows(panel.select([1]))), fitted.columns(Moments.of_rows(panel))[3:6])


def test_parquet_holds_dates_of_its_own(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": pd.to_datetime(["2024-01-02"]), "name": ["x"], "unique_id": [None]})
    frame.to_parquet(tmp_path / "e.parquet")
    assert columns(build_feature("events", path=str(tmp_path / "e.parquet")), panel_of("2024-01-01", 2)) == {"event:x": [0, 1]}
    pd.DataFrame({"date": [date(2024, 1, 1)]}).to_parquet(tmp_path / "e.pq")
    assert columns(build_feature("events", path=str(tmp_path / "e.pq")), panel_of("2024-01-01", 1)) == {"event:event": [1]}


def test_what_lies_after_the_file_is_refused_by_name_unless_the_file_is_complete(tmp_path: Path) -> None:
    path = csv(tmp_path, "date,name\n2024-01-02,promo\n")
    fitted = fit(build_feature("events", path=path), panel_of("2024-01-01", 2, ids=["a", "b"]))
    message = (
        r"events of 'events\.csv' are known until 2024-01-02, series 'a' \(and 1 more\) asks for 2024-01-05: columns event:promo "
        r"are missing from 2024-01-03 on; add the events up to then, or say until = 2024-01-05 if there are none"
    )
    with pytest.raises(CovariateError, match=message):
        future_of(panel_of("2024-01-01", 2, ids=["a", "b"]), [fitted], 3)
    with pytest.raises(CovariateError, match="known until 2024-01-02, series 'a' asks for 2024-01-07"):  # a week is all its days
        columns(build_feature("events", path=path), panel_of("2024-01-07", 1, "W-SUN"))
    for until in ("2024-01-05", date(2024, 1, 5)):
        complete = fit(build_feature("events", path=path, until=until), panel_of("2024-01-01", 2))
        future = future_of(panel_of("2024-01-01", 2), [complete], 3)
        assert future is not None and future.tolist() == [[[0], [0], [0]]]


def test_a_fit_says_at_once_that_its_horizon_is_not_known(tmp_path: Path) -> None:
    path = csv(tmp_path, "date,name\n2024-02-20,promo\n")
    panel = panel_of("2024-01-01", 50)  # to 19 February
    flow = ForecastFlow(features=(build_feature("events", path=path),), model=Linear.tiny())
    with pytest.raises(CovariateError, match="known until 2024-02-20, series 'a' asks for 2024-02-21"):
        flow.fit(panel, horizon=2)
    fitted = flow.fit(panel, horizon=1, train=TrainConfig(max_epochs=1))
    assert fitted.facts.covariate_names == ()
    assert fitted.predict(panel).horizon == 1


def test_the_events_are_stored_with_the_model_and_the_file_is_not_needed_any_more(tmp_path: Path) -> None:
    path = csv(tmp_path, "date,name,unique_id\n2024-01-02,promo,\n2024-01-01,sale,b\n")
    panel = panel_of("2024-01-01", 2, ids=["a", "b"])
    fitted = fit(build_feature("events", path=path, until="2024-01-31", after=1), panel)
    again = feature_from_json(json.loads(json.dumps(fitted.to_json(), allow_nan=False)))
    (tmp_path / "events.csv").unlink()
    assert isinstance(again, KnownFeature) and again.names == fitted.names
    np.testing.assert_array_equal(again.columns(Moments.of_future(panel, 20)), fitted.columns(Moments.of_future(panel, 20)))
    np.testing.assert_array_equal(again.columns(Moments.of_rows(panel)), fitted.columns(Moments.of_rows(panel)))


WRONG_FILES = [
    ("day\n2024-01-01\n", r"events\.csv needs the column date, or start and end; it has day"),
    ("start,name\n2024-01-01,x\n", "needs the column date, or start and end; it has start, name"),
    ("date\n", "has 0 events, it must have 1 to 100000"),
    ("date\n2024-01-01\n31.12.2024\n", r"row 1: date must be a date such as 2026-12-31, got '31\.12\.2024'"),
    ("date\n2024-01-01 06:00\n", "row 0: date must be a date such as 2026-12-31, got '2024-01-01 06:00'"),
    ("date,name\n,x\n", "row 0: date must be a date such as 2026-12-31, got ''"),
    ("start,end\n2024-01-02,2024-01-01\n", "row 0: the event from 2024-01-02 to 2024-01-01 ends before it starts"),
    ("start,end\n2024-01-01,2124-01-01\n", "row 0: the event from 2024-01-01 to 2124-01-01 lasts ten years or more"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_FILES)
def test_a_file_that_holds_no_events_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        build_feature("events", path=csv(tmp_path, text)).fit(panel_of("2024-01-01", 2))


def test_a_file_that_is_not_there_and_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the events '.*none\.csv' cannot be read: No such file"):
        build_feature("events", path=str(tmp_path / "none.csv")).fit(panel_of("2024-01-01", 2))
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(DataError, match=r"broken\.parquet' cannot be read"):
        build_feature("events", path=str(tmp_path / "broken.parquet")).fit(panel_of("2024-01-01", 2))
    for options, message in (
        ({}, "needs path, a CSV or Parquet file with dates"),
        ({"path": "x.csv", "until": "soon"}, "until must be a date such as 2026-12-31, got 'soon'"),
        ({"path": "x.csv", "most": 0}, "most must be a whole number from 1 to 100, got 0"),
    ):
        with pytest.raises(OptionError, match=message):
            build_feature("events", **options)
    with pytest.raises(FrequencyError, match="feature 'events' needs a calendar"):
        build_feature("events", path="x.csv").fit(replace(panel_of("2024-01-01", 2), freq=1, timestamps=np.arange(2)))


def test_a_panel_without_rows_gives_no_rows() -> None:
    panel = panel_of("2024-01-01", 3)
    empty = panel.select([])
    fitted = fit(build_feature("holidays", country="DE", names=True, before=1), panel)
    found: FloatArray = fitted.columns(Moments.of_rows(empty))
    assert found.shape == (0, len(fitted.names))


def test_owners_of_events_are_those_of_the_panel_though_a_hole_made_them_floats(tmp_path: Path) -> None:
    file = tmp_path / "events.parquet"
    pd.DataFrame(
        {"date": ["2024-01-03T00:00:00+01:00", "2024-01-05"], "unique_id": [7, None], "name": ["fair", None]}
    ).to_parquet(file)
    owners, names, first, _ = read_events(file)
    assert (list(owners), list(names)) == (["7", ""], ["fair", "event"])
    assert first.astype("datetime64[D]").astype(str).tolist() == ["2024-01-03", "2024-01-05"]

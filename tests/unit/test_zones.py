"""Wall clocks: local times -> instants and back over both changes of the clock, one zone or one for each series."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsforecast import build_model, future_from_frame, panel_from_frame
from tsforecast.backtest import backtest
from tsforecast.errors import CovariateError, ForecastError, FrequencyError, GapError, OptionError, SchemaError
from tsforecast.flow import ForecastFlow
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.plots import fan_chart
from tsforecast.preprocessing.calendar import (
    Zones,
    advance,
    calendar_features,
    clock_of,
    future_timestamps,
    instants_from_wall,
    wall_from_instants,
    zones_of_future,
    zones_of_rows,
)
from tsforecast.preprocessing.frequency import infer_freq
from tsforecast.preprocessing.validate import panel_from_lists
from tsforecast.tracking.provenance import fingerprint
from tsforecast.tracking.pyfunc import ServedFlow, _example, long_frame, reads_zones

BERLIN, NEW_YORK, LORD_HOWE, KATHMANDU, TOKYO = (
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tokyo"),
)
AUTUMN = ["2024-10-27 00:00", "2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00", "2024-10-27 04:00"]
CHANGES = {  # zone, change -> (first instant after it, labels of the hour before it and of the hour from it on)
    (BERLIN, "spring"): ("2024-03-31T01:00", "2024-03-31 01:00:00+01:00", "2024-03-31 03:00:00+02:00"),
    (BERLIN, "autumn"): ("2024-10-27T01:00", "2024-10-27 02:00:00+02:00", "2024-10-27 02:00:00+01:00"),
    (NEW_YORK, "spring"): ("2024-03-10T07:00", "2024-03-10 01:00:00-05:00", "2024-03-10 03:00:00-04:00"),
    (NEW_YORK, "autumn"): ("2024-11-03T06:00", "2024-11-03 01:00:00-04:00", "2024-11-03 01:00:00-05:00"),
}


def frame_of(times, ids="a", **columns):
    times = list(times) if isinstance(times, list) else times
    frame = pd.DataFrame({"unique_id": ids, "ds": pd.to_datetime(times) if isinstance(times, list) else times})
    return frame.assign(y=np.arange(len(frame), dtype=float), **columns)


def naive(index):
    """The wall clock of a zoned index."""
    return index.tz_localize(None)


def instants(texts):
    return np.array(texts, dtype="datetime64[ns]")


def days(zone, periods=10, start="2024-03-25"):
    return pd.date_range(start, periods=periods, freq="D", tz=zone)


def mixed(freq="D", periods=40, start="2024-03-01", zones=(BERLIN, NEW_YORK, KATHMANDU)):
    """A panel whose series have the same wall clock, each in a zone of its own, and one series for each by itself."""
    parts = []
    for i, zone in enumerate(zones):
        clock = pd.date_range(start, periods=periods, freq=freq, tz=zone)
        values = 10.0 * (i + 1) + np.sin(np.arange(periods) * 2 * np.pi / 7) + np.random.default_rng(i).normal(0, 0.2, periods)
        parts.append(pd.DataFrame({"unique_id": zone, "ds": naive(clock), "y": values, "zone": zone}))
    options = {"tz_col": "zone", "freq": freq, "season": 7}
    return panel_from_frame(pd.concat(parts), **options), [panel_from_frame(part, **options) for part in parts]


# Hours over the changes of the clock


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_forecast_of_48_hours_goes_over_the_change_by_its_instants_and_shows_it_in_its_labels(zone, change):
    moment, before, after = CHANGES[zone, change]
    end = np.datetime64(moment) - np.timedelta64(24, "h")  # the last hour seen; the change is 24 steps later
    clock = pd.date_range(end=pd.Timestamp(end, tz="UTC"), periods=72, freq="h").tz_convert(zone)
    panel = panel_from_frame(frame_of(naive(clock)), tz=zone)
    assert (panel.tz, panel.freq, panel.season) == (zone, "h", 24)
    forecast = build_model("seasonal_naive").fit(panel, horizon=48).predict(panel)
    np.testing.assert_array_equal(forecast.timestamps[0], end + np.arange(1, 49) * np.timedelta64(1, "h"))
    labels = forecast.to_frame()["ds"]
    assert str(labels.dtype) == f"datetime64[ns, {zone}]"
    assert [str(one) for one in labels[22:24]] == [before, after]
    assert len(set(naive(pd.DatetimeIndex(labels)))) == (48 if change == "spring" else 47)  # an hour is shown twice


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_local_hours_over_the_change_are_the_instants_they_were_made_of(zone, change):
    middle = pd.Timestamp(CHANGES[zone, change][0], tz="UTC")
    clock = pd.date_range(middle - pd.Timedelta("30h"), periods=60, freq="h").tz_convert(zone)
    panel = panel_from_frame(frame_of(naive(clock)), tz=zone)
    np.testing.assert_array_equal(panel.timestamps, naive(clock.tz_convert("UTC")).to_numpy().astype("M8[ns]"))
    assert panel.target.tolist() == list(range(60))


def test_of_an_hour_shown_twice_the_first_row_is_summer_time_and_the_second_winter_time():
    panel = panel_from_frame(frame_of(AUTUMN), tz=BERLIN)
    hours = ["2024-10-26T22", "2024-10-26T23", "2024-10-27T00", "2024-10-27T01", "2024-10-27T02", "2024-10-27T03"]
    np.testing.assert_array_equal(panel.timestamps, instants(hours))
    texts = frame_of(AUTUMN).assign(ds=AUTUMN)
    np.testing.assert_array_equal(panel_from_frame(texts, tz=BERLIN).timestamps, panel.timestamps)


def test_half_hours_of_lord_howe_whose_clock_moves_by_half_an_hour():
    autumn = ["2024-04-07 01:00", "2024-04-07 01:30", "2024-04-07 01:30", "2024-04-07 02:00"]
    panel = panel_from_frame(frame_of(autumn), tz=LORD_HOWE)
    half_hours = ["2024-04-06T14:00", "2024-04-06T14:30", "2024-04-06T15:00", "2024-04-06T15:30"]
    np.testing.assert_array_equal(panel.timestamps, instants(half_hours))
    assert panel.freq == "30min"
    spring = ["2024-10-06 01:00", "2024-10-06 01:30", "2024-10-06 02:30", "2024-10-06 03:00"]
    panel = panel_from_frame(frame_of(spring), tz=LORD_HOWE)
    assert (panel.freq, np.diff(panel.timestamps).tolist()) == ("30min", [30 * 60 * 10**9] * 3)
    with pytest.raises(SchemaError, match=r"clocks in Australia/Lord_Howe skip 2024-10-06T02:00:00 \(summer time begins\)"):
        panel_from_frame(frame_of(["2024-10-06 01:30", "2024-10-06 02:00", "2024-10-06 02:30"]), tz=LORD_HOWE)


def test_kathmandu_is_five_hours_and_three_quarters_ahead():
    panel = panel_from_frame(frame_of(["2024-01-01", "2024-01-02", "2024-01-03"]), tz=KATHMANDU)
    np.testing.assert_array_equal(panel.timestamps, instants(["2023-12-31T18:15", "2024-01-01T18:15", "2024-01-02T18:15"]))
    assert panel.freq == "D"
    label = build_model("seasonal_naive", season=1).fit(panel, horizon=1).predict(panel).to_frame()["ds"][0]
    assert label.isoformat() == "2024-01-04T00:00:00+05:45"


def test_days_of_the_change_have_46_and_50_half_hours():
    for day, rows in (("2024-03-31", 46), ("2024-10-27", 50)):
        clock = pd.date_range(day, pd.Timestamp(day) + pd.Timedelta(days=1), freq="30min", tz=BERLIN, inclusive="left")
        panel = panel_from_frame(frame_of(naive(clock)), tz=BERLIN)
        assert (len(panel.target), panel.freq) == (rows, "30min")
        assert panel.timestamps[-1] - panel.timestamps[0] == np.timedelta64((rows - 1) * 30, "m")


def test_daily_noons_stay_at_noon_over_the_change():
    clock = pd.date_range("2024-03-25 12:00", periods=5, freq="D", tz=BERLIN)
    panel = panel_from_frame(frame_of(naive(clock)), tz=BERLIN)
    forecast = build_model("seasonal_naive", season=1).fit(panel, horizon=3).predict(panel)
    assert [one.isoformat() for one in forecast.to_frame()["ds"]] == [
        "2024-03-30T12:00:00+01:00",
        "2024-03-31T12:00:00+02:00",
        "2024-04-01T12:00:00+02:00",
    ]
    assert np.diff(forecast.timestamps[0]).astype("timedelta64[h]").tolist() == [
        np.timedelta64(23, "h"),
        np.timedelta64(24, "h"),
    ]


def test_texts_with_both_offsets_of_a_zone_are_instants_in_utc_and_move_to_a_zone_that_is_named():
    text = "unique_id,ds,y\na,2024-10-27T02:00+02:00,1\na,2024-10-27T02:00+01:00,2\na,2024-10-27T03:00+01:00,3\n"
    frame = pd.read_csv(io.StringIO(text))
    panel = panel_from_frame(frame)
    assert panel.tz == "UTC"
    moved = panel_from_frame(frame, tz=BERLIN)
    np.testing.assert_array_equal(moved.timestamps, panel.timestamps)
    np.testing.assert_array_equal(panel.timestamps, instants(["2024-10-27T00", "2024-10-27T01", "2024-10-27T02"]))
    assert moved.tz == BERLIN


# Which of two hours


@pytest.mark.parametrize(
    ("times", "hours"),
    [
        (AUTUMN[:3], [22, 23, 0]),  # ends in the hour: the step goes on
        (AUTUMN[3:], [1, 2, 3]),  # begins in it
        (["2024-10-26 23:00", "2024-10-27 02:00", "2024-10-27 04:00", "2024-10-27 07:00"], [21, 0, 3, 6]),  # every 3 hours
        (["2024-10-26 23:00", "2024-10-27 00:30", "2024-10-27 02:00", "2024-10-27 02:30"], [21, 22, 0, 1]),  # every 90 minutes
        (["2024-10-27 02:30", "2024-10-27 03:00", "2024-10-27 03:30"], [1, 2, 2]),
    ],
)
def test_an_hour_shown_twice_is_told_by_the_step_where_the_clock_does_not_go_back(times, hours):
    panel = panel_from_frame(frame_of(times), tz=BERLIN)
    assert [int(one) % 24 for one in panel.timestamps.astype("datetime64[h]").astype(np.int64)] == hours


@pytest.mark.parametrize(
    "times",
    [
        ["2024-10-27 02:00"],
        ["2024-10-27 02:00", "2024-10-27 03:00"],
        [*AUTUMN[:3], *AUTUMN[4:]],  # one of the two is missing
        [*AUTUMN[:3], *AUTUMN[2:]],  # three of them
        AUTUMN[::-1],
        [AUTUMN[2], *AUTUMN[:2], *AUTUMN[3:]],
    ],
    ids=["alone", "beside one row", "one missing", "thrice", "newest first", "out of order"],
)
def test_an_hour_shown_twice_that_cannot_be_told_is_refused_by_name(times):
    frame = pd.concat([frame_of(["2024-05-01 00:00", "2024-05-01 01:00"], "early"), frame_of(times, "b")])
    message = r"series 'b', .*: clocks in Europe/Berlin show 2024-10-27T02:00:00 twice \(summer time ends\), and the order of the"
    with pytest.raises(SchemaError, match=message) as caught:
        panel_from_frame(frame, tz=BERLIN)
    assert (caught.value.series_id, caught.value.field) == ("b", "ds")


def test_rows_of_other_series_in_between_and_other_years_do_not_matter():
    a, b = frame_of(AUTUMN, "a"), frame_of(AUTUMN, "b")
    woven = pd.concat([a, b]).sort_index(kind="stable")
    panel = panel_from_frame(woven, tz=BERLIN)
    np.testing.assert_array_equal(panel.timestamps[:6], panel.timestamps[6:])
    long = pd.date_range("2022-10-01", "2024-12-01", freq="h", tz=BERLIN)  # two autumns
    panel = panel_from_frame(frame_of(naive(long)), tz=BERLIN)
    np.testing.assert_array_equal(panel.timestamps, naive(long.tz_convert("UTC")).to_numpy().astype("M8[ns]"))


def test_a_time_that_the_clock_skips_is_refused_by_name_with_its_rows():
    times = ["2024-03-31 01:00", "2024-03-31 02:00", "2024-03-31 03:00"]
    message = r"series 'a', row 1: clocks in Europe/Berlin skip 2024-03-31T02:00:00 \(summer time begins\); correct it, drop the"
    with pytest.raises(SchemaError, match=message):
        panel_from_frame(frame_of(times), tz=BERLIN)


def test_days_whose_midnight_is_skipped_or_comes_twice_are_days_all_the_same():
    cairo = frame_of([f"2024-04-{day} 00:00" for day in range(22, 29)])  # 26th: 00:00 is skipped
    panel = panel_from_frame(cairo, tz="Africa/Cairo")
    np.testing.assert_array_equal(panel.timestamps[3:6], instants(["2024-04-24T22", "2024-04-25T22", "2024-04-26T21"]))
    assert panel.freq == "D"
    havana = frame_of([f"2024-11-0{day} 00:00" for day in (2, 3, 4)])  # 3rd: 00:00 comes twice
    panel = panel_from_frame(havana, tz="America/Havana")
    np.testing.assert_array_equal(panel.timestamps, instants(["2024-11-02T04", "2024-11-03T04", "2024-11-04T05"]))
    lone = frame_of(["2024-11-03 00:00"])
    assert panel_from_frame(lone, tz="America/Havana", freq="D").timestamps[0] == np.datetime64("2024-11-03T04")
    with pytest.raises(SchemaError, match="show 2024-11-03T00:00:00 twice"):
        panel_from_frame(lone, tz="America/Havana", freq="h")


# Zones as they are given


def test_timestamps_with_a_zone_are_moved_to_the_one_that_is_named():
    clock = days("UTC")
    panel = panel_from_frame(frame_of(clock), tz=TOKYO)
    assert (panel.tz, panel.timestamps[0]) == (TOKYO, np.datetime64("2024-03-25"))


@pytest.mark.parametrize(
    ("change", "options", "kind", "message", "field"),
    [
        ({}, {"tz": "Mars/Base"}, SchemaError, "'tz' has zone Mars/Base, which has no IANA name", "tz"),
        ({}, {"tz": BERLIN, "tz_col": "zone"}, OptionError, "tz 'Europe/Berlin' and tz_col 'zone' are both given", "tz"),
        ({}, {"tz_col": "zone"}, SchemaError, "the frame has no column 'zone'", "zone"),
        ({}, {"tz_col": "y"}, SchemaError, "column 'y' is given two roles", "y"),
        ({"zone": [BERLIN, TOKYO, TOKYO]}, {"tz_col": "zone"}, SchemaError,
         "series 'a', 2 rows .1, 2.: zone Asia/Tokyo stands beside Europe/Berlin in one series", "zone"),
        ({"zone": [BERLIN, None, BERLIN]}, {"tz_col": "zone"}, SchemaError, "series 'a', row 1: zone 'zone' is missing", "zone"),
        ({"zone": [BERLIN, 3, BERLIN]}, {"tz_col": "zone"}, SchemaError, r"row 1: '3' \(int\) in 'zone' is no name", "zone"),
        ({"zone": [[1], [2], [3]]}, {"tz_col": "zone"}, SchemaError, "'zone' holds objects that are no zones", "zone"),
        ({"zone": "Mars/Base"}, {"tz_col": "zone"}, SchemaError, "'zone' has zone Mars/Base, which has no IANA name", "zone"),
        ({"ds": [1, 2, 3]}, {"tz": BERLIN}, SchemaError, "integer steps are on no wall clock; leave the zone out", "ds"),
    ],
)  # fmt: skip
def test_impossible_zones_are_refused_by_name(change, options, kind, message, field):
    frame = frame_of(["2024-01-01", "2024-01-02", "2024-01-03"]).assign(**change)
    with pytest.raises(kind, match=message) as caught:
        panel_from_frame(frame, **options)
    assert caught.value.field == field


def test_objects_may_bring_a_zone_for_each_series_also_where_their_instants_are_the_same():
    moments = pd.date_range("2024-01-01", periods=4, freq="6h", tz="UTC")
    both = [*moments.tz_convert(BERLIN), *moments.tz_convert(TOKYO)]
    frame = frame_of(pd.Series(both, dtype=object), ["a"] * 4 + ["b"] * 4)
    panel = panel_from_frame(frame)
    assert (panel.tz, panel.zones, panel.freq) == ("UTC", (BERLIN, TOKYO), "6h")
    assert (panel.zone_of(0), panel.zone_of(1)) == (BERLIN, TOKYO)
    np.testing.assert_array_equal(panel.timestamps[:4], panel.timestamps[4:])
    same = frame.assign(ds=pd.Series([*moments.tz_convert(BERLIN)] * 2, dtype=object))
    assert (panel_from_frame(same).tz, panel_from_frame(same).zones) == (BERLIN, ())
    with pytest.raises(
        SchemaError, match=r"series 'a', 2 rows .3, 7.: zone Asia/Tokyo stands beside Europe/Berlin in one series"
    ):
        panel_from_frame(frame.assign(ds=pd.Series([*both[:3], both[4], *both[:3], both[7]], dtype=object), unique_id="a"))


def test_a_panel_of_several_zones_has_the_same_days_on_every_wall_and_other_instants():
    panel, alone = mixed(periods=40)
    assert (panel.tz, panel.zones, panel.freq) == ("UTC", (BERLIN, NEW_YORK, KATHMANDU), "D")
    wall = wall_from_instants(panel.timestamps, zones_of_rows(panel)).reshape(3, 40)
    np.testing.assert_array_equal(wall, np.tile(np.arange("2024-03-01", "2024-04-10", dtype="M8[D]"), (3, 1)))
    assert (panel.timestamps[40:80] - panel.timestamps[:40]).astype("timedelta64[h]").astype(int).tolist() == (
        [6] * 10 + [5] * 21 + [6] * 9  # New York's summer begins on 10 March, Berlin's on the 31st
    )
    for i, one in enumerate(alone):
        assert same_panel(panel.select([i]), one)
        assert (one.tz, one.zones) == (panel.zones[i], ())


def same_panel(one: Panel, other: Panel) -> bool:
    facts = ("series_ids", "freq", "season", "tz", "zones")
    arrays = ("offsets", "timestamps", "target")
    return all(getattr(one, name) == getattr(other, name) for name in facts) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def test_choosing_and_cutting_keeps_the_zone_of_each_series():
    panel, _ = mixed()
    assert panel.select([2, 0]).zones == (KATHMANDU, BERLIN)
    assert panel.tail(5).zones == panel.without_last(3).zones == panel.until(np.datetime64("2024-03-09")).zones == panel.zones
    before = panel.until(np.datetime64("2024-02-29T20:00"))  # Kathmandu's first day has begun, the others' have not
    assert (before.series_ids, before.tz, before.zones) == ((KATHMANDU,), KATHMANDU, ())
    assert (panel.select([]).tz, panel.select([]).zones) == ("UTC", ())


def test_missing_days_and_strays_go_by_the_clock_of_their_series():
    clocks = [days(BERLIN), days(NEW_YORK)]
    frame = pd.concat([frame_of(naive(clock), zone, zone=zone) for clock, zone in zip(clocks, (BERLIN, NEW_YORK), strict=True)])
    whole = panel_from_frame(frame, tz_col="zone")
    holed = frame[~((frame["unique_id"] == BERLIN) & frame["ds"].isin(pd.to_datetime(["2024-03-31", "2024-04-01"])))]
    with pytest.raises(GapError, match=r"series 'Europe/Berlin' lacks 2 steps of .*: 2024-03-31, 2024-04-01 Europe/Berlin;"):
        panel_from_frame(holed, tz_col="zone")
    filled = panel_from_frame(holed, tz_col="zone", missing_steps="insert")
    np.testing.assert_array_equal(filled.timestamps, whole.timestamps)
    moved = frame.assign(ds=frame["ds"] + pd.to_timedelta((np.arange(20) == 14).astype(int), unit="h"))
    with pytest.raises(
        FrequencyError, match=r"series 'America/New_York' .*1 of its 10 timestamps off that clock: 2024-03-29T01:00:00 A"
    ):
        panel_from_frame(moved, tz_col="zone")
    utc = panel_from_frame(frame.assign(zone="UTC"), tz_col="zone")
    assert (utc.tz, utc.zones) == ("UTC", ())


def test_a_midnight_that_one_of_several_zones_skips_is_on_its_clock_and_in_its_forecast():
    clock = pd.date_range("2024-04-19", periods=9, freq="D")  # in Cairo the 26th begins at 01:00
    zones = (NEW_YORK, "Africa/Cairo")
    panel = panel_from_frame(pd.concat([frame_of(clock, zone, zone=zone) for zone in zones]), tz_col="zone")
    assert panel.freq == "D"
    np.testing.assert_array_equal(panel.timestamps[-3:], instants(["2024-04-24T22", "2024-04-25T22", "2024-04-26T21"]))
    before = panel.until(np.datetime64("2024-04-24T22"))
    np.testing.assert_array_equal(future_timestamps(before, 2)[1], panel.timestamps[-2:])


def test_24_hours_in_several_zones_are_a_length_of_time():
    clock = pd.date_range("2024-03-25", periods=10, freq="24h", tz="UTC")
    both = [*clock.tz_convert(BERLIN), *clock.tz_convert(NEW_YORK)]
    frame = frame_of(pd.Series(both, dtype=object), ["a"] * 10 + ["b"] * 10)
    assert panel_from_frame(frame).freq == "24h"
    assert panel_from_frame(frame, freq="24h").freq == "24h"


def test_the_clock_functions_take_a_zone_for_each_moment():
    zones = Zones(names=(BERLIN, TOKYO), which=np.array([0, 1, 0]))
    moments = instants(["2024-03-30T23:00", "2024-03-30T15:00", "2024-03-31T22:00"])
    wall = instants(["2024-03-31", "2024-03-31", "2024-04-01"])
    np.testing.assert_array_equal(wall_from_instants(moments, zones), wall)
    np.testing.assert_array_equal(instants_from_wall(wall, zones), moments)
    later = advance(clock_of("D"), moments[:2, None], np.arange(3), Zones(names=zones.names, which=zones.which[:2, None]))
    np.testing.assert_array_equal(later[0], instants(["2024-03-30T23", "2024-03-31T22", "2024-04-01T22"]))
    np.testing.assert_array_equal(later[1], moments[1] + np.arange(3) * np.timedelta64(1, "D"))
    rows = Zones(names=zones.names, which=np.repeat([0, 1], 3))
    assert infer_freq(later.ravel(), np.array([0, 3, 6]), rows) == "D"
    features, names = calendar_features(later, "h", Zones(names=zones.names, which=zones.which[:2, None]))
    hour = features[..., names.index("hour_of_day_cos")]
    np.testing.assert_array_equal(hour, np.ones((2, 3)))  # midnight everywhere


# Forecasts


TRAIN = TrainConfig(max_epochs=2, steps_per_epoch=3, batch_size=16, accelerator="cpu", threads=1, workers=1, progress=False)


@pytest.mark.parametrize("name", ["seasonal_naive", "linear", "mlp"])
def test_a_model_gives_each_series_of_several_zones_what_it_gives_it_alone(name):
    panel, alone = mixed(periods=60, start="2024-02-01")
    model = build_model(name) if name == "seasonal_naive" else replace(type(build_model(name)).tiny(), calendar=True)
    predictor = model.fit(panel, horizon=8, seed=1, **({} if name == "seasonal_naive" else {"train": TRAIN}))
    together = predictor.predict(panel)
    assert (together.tz, together.zones) == ("UTC", panel.zones)
    frame = together.to_frame()
    assert frame["ds"].dtype == object
    for i, one in enumerate(alone):
        forecast = predictor.predict(one)
        np.testing.assert_allclose(together.quantiles[i], forecast.quantiles[0], rtol=1e-5)
        np.testing.assert_array_equal(together.timestamps[i], forecast.timestamps[0])
        labels = frame["ds"][8 * i : 8 * i + 8]
        assert [str(label) for label in labels] == [str(label) for label in forecast.to_frame()["ds"]]
        assert [str(label)[:19] for label in labels] == [f"2024-04-{day:02} 00:00:00" for day in range(1, 9)]


def test_calendar_features_of_several_zones_are_those_of_each_alone():
    panel, alone = mixed(freq="h", periods=800)
    rows = calendar_features(panel.timestamps, "h", zones_of_rows(panel))[0]
    ahead = calendar_features(future_timestamps(panel, 30), "h", zones_of_future(panel))[0]
    for i, one in enumerate(alone):
        np.testing.assert_array_equal(rows[800 * i : 800 * i + 800], calendar_features(one.timestamps, "h", one.tz)[0])
        np.testing.assert_array_equal(ahead[i], calendar_features(future_timestamps(one, 30)[0], "h", one.tz)[0])


def test_the_frame_of_a_forecast_makes_a_panel_of_the_same_zones_again():
    panel, _ = mixed()
    frame = build_model("seasonal_naive").fit(panel, horizon=9).predict(panel).to_frame()
    again = panel_from_frame(frame.rename(columns={"0.5": "y"}))
    assert (again.series_ids, again.tz, again.zones, again.freq) == (panel.series_ids, "UTC", panel.zones, "D")


def test_a_forecast_counts_its_zones():
    panel, _ = mixed()
    forecast = build_model("seasonal_naive").fit(panel, horizon=2).predict(panel)
    assert [forecast.zone_of(i) for i in range(3)] == list(panel.zones)
    with pytest.raises(ValueError, match=r"zones must have shape \(S,\) = \(3,\) or be empty, got 1"):
        replace(forecast, zones=(BERLIN,))


def test_a_backtest_of_several_zones_has_labels_and_origins_on_each_wall():
    panel, _ = mixed(periods=60)
    frame = backtest(ForecastFlow(model=build_model("seasonal_naive")), panel, horizon=4, folds=2).to_frame()
    for _, row in frame.iterrows():
        assert str(row["ds"].tz) == str(row["origin"].tz) == row["unique_id"]
        assert (row["ds"].hour, row["origin"].hour) == (0, 0)


def test_a_chart_shows_the_wall_clock_of_its_series():
    panel, _ = mixed()
    forecast = build_model("seasonal_naive").fit(panel, horizon=3).predict(panel)
    axes = fan_chart(panel, forecast, KATHMANDU).axes[0]
    assert axes.get_xlabel() == "time (Asia/Kathmandu)"
    assert np.datetime64("2024-04-09") in axes.lines[0].get_xdata()


def test_the_fingerprint_tells_zones_apart():
    panel, _ = mixed()
    assert fingerprint(panel) != fingerprint(replace(panel, zones=(BERLIN, NEW_YORK, TOKYO)))
    assert fingerprint(panel.select([2, 1, 0])) == fingerprint(panel)


def test_a_stored_model_of_several_zones_reads_and_answers_each_on_its_wall():
    panel, alone = mixed(periods=60, start="2024-02-01")
    served = ServedFlow(ForecastFlow(model=build_model("seasonal_naive")).fit(panel, horizon=3))
    options = {"horizon": 3, "quantile_levels": (0.5,)}
    frame = served.forecast(long_frame(panel), **options)
    assert [str(label) for label in frame["ds"][3:6]] == [f"2024-04-{day:02} 00:00:00-04:00" for day in (1, 2, 3)]
    one = served.forecast(long_frame(alone[1]).assign(zone=NEW_YORK), **options)
    assert [str(label) for label in one["ds"]] == [str(label) for label in frame["ds"][3:6]]
    example, horizon = _example(served, panel.select([1, 0]))  # of daily series across the change, on New York's clock
    assert (set(example["zone"]), horizon) == ({NEW_YORK}, 3)
    assert reads_zones(served.flow)


# The future of covariates


def test_the_future_is_found_by_instants_whatever_zone_its_rows_are_written_in():
    zones = {"a": BERLIN, "b": NEW_YORK}
    past = pd.concat([frame_of(naive(days(zone)), name, zone=zone, x=1.0) for name, zone in zones.items()])
    panel = panel_from_frame(past, tz_col="zone", covariates=["x"])
    ahead = [days(zone, 3, "2024-04-04") for zone in zones.values()]
    naively = pd.concat(
        [pd.DataFrame({"unique_id": n, "ds": naive(c), "x": 1.0 + i, "zone": z})
         for i, ((n, z), c) in enumerate(zip(zones.items(), ahead, strict=True))]
    )  # fmt: skip
    expected = np.repeat([1.0, 2.0], 3).reshape(2, 3, 1)
    np.testing.assert_array_equal(future_from_frame(naively, panel, 3, tz_col="zone"), expected)
    objects = naively.assign(ds=pd.Series([*ahead[0], *ahead[1]], dtype=object).to_numpy())
    np.testing.assert_array_equal(future_from_frame(objects, panel, 3), expected)
    with pytest.raises(CovariateError, match="'ds' of the future has no time zone, the panel UTC; localize or convert it"):
        future_from_frame(naively, panel, 3)
    with pytest.raises(CovariateError, match=r"series 'b': future timestamps have no row: 2024-04-05 America/New_York; send"):
        future_from_frame(naively[np.arange(6) != 4], panel, 3, tz_col="zone")


# Lists


def test_lists_may_have_a_zone_for_each_series():
    options = {"ids": ["a", "b"], "targets": [[1, 2, 3], [4, 5, 6]], "tz": [BERLIN, NEW_YORK]}
    panel = panel_from_lists(starts=["2024-03-30", "2024-03-09"], freq="D", **options)
    assert (panel.tz, panel.zones) == ("UTC", (BERLIN, NEW_YORK))
    np.testing.assert_array_equal(panel.timestamps[:3], instants(["2024-03-29T23", "2024-03-30T23", "2024-03-31T22"]))
    np.testing.assert_array_equal(panel.timestamps[3:], instants(["2024-03-09T05", "2024-03-10T05", "2024-03-11T04"]))
    stamps = [["2024-03-30", "2024-03-31", "2024-04-01"], ["2024-03-09", "2024-03-10", "2024-03-11"]]
    listed = panel_from_lists(timestamps=stamps, **options)
    assert same_panel(listed, panel)
    with pytest.raises(FrequencyError, match="series 'b' starts at 2024-03-09 America/New_York, which is not on the clock"):
        panel_from_lists(starts=["2024-03-04", "2024-03-09"], freq="W-MON", **options)
    with pytest.raises(SchemaError, match="there are 2 ids and 1 zones; send one for each series"):
        panel_from_lists(starts=["2024-03-04", "2024-03-09"], freq="D", **{**options, "tz": [BERLIN]})


def test_lists_of_local_hours_tell_the_hour_that_comes_twice_and_refuse_what_cannot_be_told():
    panel = panel_from_lists(ids=["a"], targets=[list(range(6))], timestamps=[AUTUMN], tz=BERLIN)
    assert np.diff(panel.timestamps).tolist() == [3600 * 10**9] * 5
    with pytest.raises(SchemaError, match="series 'a': clocks in Europe/Berlin show 2024-10-27T02:00:00 twice") as caught:
        panel_from_lists(ids=["a"], targets=[[1, 2]], starts=["2024-10-27T02:00"], freq="h", tz=BERLIN)
    assert caught.value.field == "starts"
    day = panel_from_lists(ids=["a"], targets=[[1, 2]], starts=["2024-10-27T02:00"], freq="D", tz=BERLIN)
    np.testing.assert_array_equal(day.timestamps, instants(["2024-10-27T00", "2024-10-28T01"]))
    offset = panel_from_lists(ids=["a"], targets=[[1, 2]], starts=["2024-10-27T02:00+01:00"], freq="h", tz=BERLIN)
    np.testing.assert_array_equal(offset.timestamps, instants(["2024-10-27T01", "2024-10-27T02"]))
    with pytest.raises(ForecastError, match="integer steps are on no wall clock"):
        panel_from_lists(ids=["a"], targets=[[1, 2]], starts=[0], freq=1, tz=BERLIN)

"""Every planted fault is found and named; clean panels report nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.unit.faulty_panels import FAULTS, FREQS, SHAPES, clean, local_hours
from tsforecast.checking.report import KINDS, DataReport, Finding
from tsforecast.checking.whole import check
from tsforecast.errors import DataError
from tsforecast.preprocessing.validate import panel_from_frame

COMPANIONS = {  # fault -> other kinds that are true of it as well
    "ids that are None": {"gaps"},
    "1 and '1' as ids": {"conflicting_duplicates", "out_of_order"},
    "timestamps that are NaT": {"gaps"},
    "a date that is none": {"gaps"},
    "text among numbers": {"missing_y"},
    "infinity": {"missing_y"},
    "rows twice": {"out_of_order"},
    "rows twice with other values": {"out_of_order"},
    "seven minutes past the hour": {"gaps"},
    "a day not observed": {"missing_y"},
    "a short series": {"dead"},
    "negative counts": {"outliers"},
}


def of_kind(report: DataReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named_and_nothing_else_is_said(name: str) -> None:
    kind, plant = FAULTS[name]
    frame, asked = plant(clean())
    report = check(frame, **asked)
    found = {finding.kind for finding in report.findings}
    assert kind in found
    assert found <= {kind} | COMPANIONS.get(name, set())


@pytest.mark.parametrize("name", FAULTS)
def test_a_report_refuses_what_panel_from_frame_refuses_with_its_words_and_says_error(name: str) -> None:
    frame, asked = FAULTS[name][1](clean())
    report = check(frame, **asked)
    columns = {option: asked[option] for option in ("covariates", "past_covariates") if option in asked}
    if report.refusal is None:
        panel_from_frame(frame, **columns)
    else:
        with pytest.raises(DataError) as caught:
            panel_from_frame(frame, **columns)
        assert str(caught.value) == report.refusal
    assert (report.refusal is not None) == any(finding.severity == "error" for finding in report.findings)
    json.dumps(report.to_json(), allow_nan=False)
    for finding in report.findings:
        assert finding.title in report.to_text(most=99) and finding.message in report.to_text(most=99)


def test_every_kind_but_the_last_resort_has_a_planted_fault() -> None:
    assert set(KINDS) - {kind for kind, _ in FAULTS.values()} == {"refused"}


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_panels_report_nothing(shape: str) -> None:
    for number, freq in enumerate(FREQS):
        report = check(clean(shape, freq, seed=100 + 10 * number + SHAPES.index(shape)))
        assert report.findings == () and report.refusal is None, (freq, report.to_text())
        assert report.facts["freq"] == freq and report.facts["freq_share"] == 1.0


def test_peaks_that_return_are_no_outliers_also_where_the_season_has_to_be_seen() -> None:
    steps = np.arange(400)
    y = 100 + np.random.default_rng(0).normal(0, 1, 400) + np.where(steps % 25 == 7, 80, 0)
    assert of_kind(check(pd.DataFrame({"ds": steps, "y": y})), "outliers") == []


def test_a_weekly_peak_in_hours_is_no_outlier_of_the_day() -> None:
    frame = clean(rows=24 * 7 * 8, series=1)
    hour_of_week = frame["ds"].dt.dayofweek * 24 + frame["ds"].dt.hour
    frame["y"] += np.where(hour_of_week == 30, 120.0, 0.0)
    assert check(frame).findings == ()


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("Europe/London", "Europe"),
        ("America/New_York", "North America"),
        ("Australia/Sydney", "Australia"),
        ("Pacific/Auckland", "New Zealand"),
    ],
)
def test_the_region_of_summer_time_is_named(zone: str, region: str) -> None:
    (finding,) = check(local_hours(zone, 2023)).findings
    assert finding.kind == "daylight_saving" and f"as in {region}" in finding.message
    assert finding.count == 2


def test_an_hour_missing_on_a_sunday_in_may_is_a_gap_like_any_other() -> None:
    frame = clean(rows=24 * 200, series=1)
    missing = frame["ds"] == pd.Timestamp("2023-05-07T02:00:00")
    assert {finding.kind for finding in check(frame[~missing]).findings} == {"gaps"}


def test_hours_with_a_zone_have_no_trouble_with_summer_time() -> None:
    hours = pd.date_range("2023-01-01", periods=24 * 365, freq="h", tz="Europe/Berlin")
    y = 100 + 20 * np.sin(np.arange(len(hours)) * np.pi / 12) + np.random.default_rng(0).normal(0, 2, len(hours))
    report = check(pd.DataFrame({"ds": hours, "y": y}))
    assert report.findings == () and report.facts["tz"] == "Europe/Berlin"


def test_a_level_that_falls_with_its_season_is_a_shift() -> None:
    rng = np.random.default_rng(0)
    week = np.array([1, 1, 1.05, 1.1, 1.5, 1.9, 0.7])
    days = pd.date_range("2023-01-02", periods=420)
    y = 200 * week[days.dayofweek] * rng.normal(1, 0.06, 420)
    y[260:] *= 0.35
    findings = check(pd.DataFrame({"ds": days, "y": y})).findings
    assert [one.kind for one in findings] == ["level_shift"]
    assert abs(pd.Timestamp(findings[0].where[0]) - days[260]) <= pd.Timedelta(days=3)

"""The report: its order, its words, its JSON, its pictures; and what a finding says, in numbers worked out by hand."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tests.unit.faulty_panels import FAULTS, clean
from tsforecast.checking.clock import most_frequent
from tsforecast.checking.report import KINDS, SEVERITIES, DataReport, Finding
from tsforecast.checking.whole import check, thinned
from tsforecast.errors import CovariateError, HorizonError, OptionError, SchemaError


def days(y: list[float], start: str = "2024-01-01") -> pd.DataFrame:
    return pd.DataFrame({"ds": pd.date_range(start, periods=len(y), freq="D"), "y": y})


def of_kind(report: DataReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


def several() -> pd.DataFrame:
    """Four series: s0 with an outlier, s1 with gaps, s2 quiet, s3 with text."""
    frame = clean(rows=200)
    frame.loc[100, "y"] = 1e4
    frame = frame.drop(index=[200 + 50, 200 + 51])
    frame["y"] = frame["y"].astype(object)
    frame.loc[600 + 7, "y"] = "n/a"
    return frame


# The object


def test_errors_come_first_then_kinds_in_their_order_then_series() -> None:
    report = check(several())
    places = [(SEVERITIES.index(one.severity), list(KINDS).index(one.kind)) for one in report.findings]
    assert places == sorted(places)
    assert [one.kind for one in report.findings] == ["text", "gaps", "outliers", "missing_y"]
    assert list(report.by_kind()) == ["text", "gaps", "outliers", "missing_y"]


def test_series_are_reported_worst_first_then_quiet_ones() -> None:
    report = check(several())
    assert [one.series_id for one in report.series] == ["s3", "s1", "s0", "s2"]
    assert [len(one.findings) for one in report.series] == [2, 1, 1, 0]
    assert report.series[1].rows == 198 and report.series[1].first == "2023-01-02"


def test_a_picture_shows_missing_steps_as_holes_and_marks_where_findings_lie() -> None:
    worst = {one.series_id: one for one in check(several()).series}
    assert [i for i, value in enumerate(worst["s1"].curve) if value is None] == [50, 51]
    assert worst["s0"].marks == (round(100 / 199, 4),)
    assert worst["s2"].marks == ()


def test_a_long_picture_keeps_its_spike_and_its_holes() -> None:
    values = np.zeros(10_000)
    values[1234], values[5000:6000] = 7.0, np.nan
    curve = thinned(values)
    assert len(curve) <= 240 and 7.0 in curve and None in curve
    assert thinned(np.arange(3.0)) == (0.0, 1.0, 2.0)


def test_at_most_a_hundred_series_are_reported_one_by_one() -> None:
    frame = pd.concat([days([1.0, 2.0, 3.0]).assign(unique_id=f"s{i}") for i in range(150)], ignore_index=True)
    report = check(frame)
    assert len(of_kind(report, "short")) == 150 and len(report.series) == 100


def test_facts_say_what_the_data_are() -> None:
    report = check(several())
    facts = {name: report.facts[name] for name in ("rows", "series", "freq", "season", "seasons", "shortest", "longest")}
    assert facts == {"rows": 798, "series": 4, "freq": "h", "season": 24, "seasons": [24], "shortest": 198, "longest": 200}
    assert report.facts["first"] == "2023-01-02" and report.facts["last"] == "2023-01-10T07:00:00"
    assert report.facts["not_observed"] == 1 and report.facts["observed"] == 797
    assert report.facts["freq_share"] == pytest.approx((4 * 199 - 3) / (4 * 199 - 2), abs=1e-6)
    assert report.facts["tz"] is None and report.facts["columns"] == ["unique_id", "ds", "y"]


def test_the_verdict_is_refused_repaired_or_ok() -> None:
    assert check(clean(rows=100)).verdict == "ok"
    assert check(several()).verdict == "refused"
    clear = check(clean(rows=100))
    assert DataReport(facts={}, findings=clear.findings, series=(), repairs={"fill": 2}, refusal=None).verdict == "repaired"


def test_json_holds_all_of_it_without_a_nan() -> None:
    frame = several()
    frame.loc[3, "y"] = np.inf
    read = json.loads(json.dumps(check(frame).to_json(), allow_nan=False))
    assert list(read) == ["verdict", "refusal", "facts", "counts", "findings", "series", "repairs"]
    assert read["counts"] == {"error": 3, "warning": 1, "info": 2}
    assert read["findings"][0]["title"] == KINDS[read["findings"][0]["kind"]].title
    assert read["series"][0]["curve"][3] is None


def test_the_text_groups_findings_and_shows_as_many_as_asked() -> None:
    text = check(several()).to_text()
    assert text.splitlines()[:2] == [
        "798 rows, 4 series, freq 'h' (99.9 % of steps), season 24, seasons seen: 24, 2023-01-02 to 2023-01-10T07:00:00",
        "found: 2 errors, 1 warning, 1 info",
    ]
    assert "error: missing steps\n  - series 's1' lacks 2 steps of 200 in 1 gap, the longest of 2: 2023-01-04T02:00:00" in text
    assert "refused: series 's3' has the text 'n/a'" in text
    frame = pd.concat([days([1.0, 2.0, 3.0]).assign(unique_id=f"s{i}") for i in range(50)], ignore_index=True)
    assert "(50 findings, 150 places)" in check(frame).to_text(most=5) and "… and 45 more" in check(frame).to_text(most=5)


def test_a_clean_panel_has_nothing_found() -> None:
    assert "nothing found" in check(clean(rows=100)).to_text()


def test_what_an_id_holds_cannot_reach_the_terminal() -> None:
    frame = days([1.0, 2.0, 3.0]).assign(unique_id="\x1b[31mred\n")
    assert "\x1b" not in check(frame).to_text() and "\\x1b[31mred\\n" in check(frame).to_text()


# What is asked


def test_a_frame_without_the_columns_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SchemaError, match="no column 'y'; did you mean 'Y'"):
        check(pd.DataFrame({"ds": [1, 2], "Y": [1.0, 2.0]}))
    with pytest.raises(SchemaError, match="check needs a pandas DataFrame or Series, got list"):
        check([1, 2])  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(CovariateError, match="no column 'promo'"):
        check(days([1.0, 2.0]), covariates=["promo"])
    with pytest.raises(SchemaError, match="no column 'kinds' named in known_categories; did you mean 'kind'"):
        check(days([1.0, 2.0]).assign(kind="a"), known_categories={"kinds": ["a"]})
    with pytest.raises(SchemaError, match="future must be a pandas DataFrame, got dict"):
        check(days([1.0, 2.0]), future={})  # type: ignore[arg-type]  # what the test is about


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(HorizonError, match="horizon must be a positive number of steps, got 0"):
        check(days([1.0, 2.0]), horizon=0)
    with pytest.raises(OptionError, match="season must be a positive number of steps, got -1"):
        check(days([1.0, 2.0]), season=-1)
    with pytest.raises(OptionError, match="counts must be True, False or None, got 'yes'"):
        check(days([1.0, 2.0]), counts="yes")  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(TypeError, match="unexpected keyword argument 'horizn'"):
        check(days([1.0, 2.0]), horizn=3)  # type: ignore[call-arg]  # what the test is about


def test_a_freq_nobody_knows_is_a_finding() -> None:
    report = check(days([1.0, 2.0, 3.0]), freq="fortnight")
    assert report.refusal is not None and "unknown freq 'fortnight'" in report.refusal
    assert of_kind(report, "frequency_unknown")[0].message == report.refusal


def test_the_frame_is_left_as_it_is() -> None:
    frame = days([1.0, np.inf, 3.0, 4.0])
    before = frame.copy(deep=True)
    check(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_wide_frames_series_and_indexed_frames_are_read_as_panel_from_frame_reads_them() -> None:
    wide = clean(rows=100, series=2).pivot(index="ds", columns="unique_id", values="y")
    assert check(wide).facts["series"] == 2 and check(wide).refusal is None
    assert check(wide["s0"]).findings == ()
    assert check(clean(rows=100).set_index(["unique_id", "ds"])).findings == ()


def test_integer_steps_and_a_season_of_one_are_checked_too() -> None:
    report = check(pd.DataFrame({"ds": [1, 2, 3, 5], "y": [1.0, 2.0, 3.0, 4.0]}), season=1)
    assert report.facts["freq"] == 1 and report.facts["season"] == 1
    assert [one.message for one in report.findings] == ["series 'series' lacks 1 step of 5 in 1 gap, the longest of 1: 4"]


# Numbers by hand


def test_a_series_is_short_of_two_seasons_or_of_two_horizons_whichever_is_more() -> None:
    assert [one.message for one in check(days([float(i) for i in range(13)])).findings] == [
        "series 'series' has 13 rows, less than two seasons of 7 steps"
    ]
    assert check(days([float(i) for i in range(14)])).findings == ()
    assert "less than twice the horizon of 8 steps" in check(days([float(i) for i in range(15)]), horizon=8).findings[0].message
    assert "less than two seasons" in check(days([float(i) for i in range(13)]), horizon=3).findings[0].message


def test_gaps_are_counted_in_steps_and_the_first_missing_ones_are_named() -> None:
    frame = days([float(i) for i in range(30)]).drop(index=[3, 4, 5, 6, 7, 8, 20])
    (finding,) = check(frame).findings
    assert finding.count == 7
    assert finding.where == ("2024-01-04", "2024-01-05", "2024-01-06", "2024-01-07", "2024-01-08")
    assert finding.message.startswith("series 'series' lacks 7 steps of 30 in 2 gaps, the longest of 6: 2024-01-04")


def test_gaps_of_a_series_that_is_nearly_empty_are_counted_without_filling_it() -> None:
    sparse = pd.DataFrame({"ds": [0, 1, 10**15], "y": [1.0, 2.0, 3.0]})
    (finding,) = of_kind(check(sparse), "gaps")
    assert finding.count == 10**15 - 2


def test_missing_days_on_the_wall_clock_are_named_as_the_clock_shows_them() -> None:
    noons = pd.date_range("2024-03-25 12:00", periods=20, freq="D", tz="Europe/Berlin").delete(8)
    (finding,) = check(pd.DataFrame({"ds": noons, "y": np.arange(19.0)})).findings
    assert finding.kind == "gaps" and finding.where == ("2024-04-02T12:00:00",)


def test_duplicates_with_one_value_and_with_several_are_told_apart() -> None:
    frame = pd.concat([days([float(i) for i in range(20)]), days([0.0, 9.0])], ignore_index=True)
    same, other = of_kind(check(frame), "duplicates"), of_kind(check(frame), "conflicting_duplicates")
    assert (same[0].where, other[0].where) == (("2024-01-01",), ("2024-01-02",))
    assert other[0].message.endswith("(first: 1, 9)")


def test_a_run_is_unusual_against_the_runs_of_its_own_series() -> None:
    rng = np.random.default_rng(0)
    prices = np.repeat(rng.normal(100, 10, 40), 8)  # each stays for eight rows, as it always does
    assert of_kind(check(days(list(prices))), "stuck") == []
    prices[100:150] = 77.0
    (finding,) = of_kind(check(days(list(prices))), "stuck")
    assert finding.count == 50 and "repeats 77 for 50 rows, otherwise for 8 at most" in finding.message


def test_two_stuck_stretches_of_one_length_are_both_found() -> None:
    y = np.random.default_rng(0).normal(100, 10, 300)
    y[50:70], y[150:170] = 90.0, 110.0
    assert sorted(one.count for one in of_kind(check(days(list(y))), "stuck")) == [20, 20]


def test_nights_without_sun_are_no_zero_stretches() -> None:
    hours = np.arange(24 * 60)
    sun = np.maximum(np.sin((hours % 24 - 6) * np.pi / 12), 0) * np.random.default_rng(0).uniform(50, 100, len(hours))
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=len(hours), freq="h"), "y": np.round(sun, 3)})
    assert check(frame).findings == ()


@pytest.mark.parametrize(("factor", "told"), [(1000, "x1000"), (100, "x100"), (10, "x10"), (0.1, "/10"), (0.001, "/1000")])
def test_a_stretch_in_another_unit_is_named_with_its_factor_and_its_rows(factor: float, told: str) -> None:
    frame = clean(series=1)
    frame.loc[100:149, "y"] *= factor
    (finding,) = check(frame).findings
    assert finding.kind == "unit_jump" and finding.count == 50
    assert finding.message == f"series 's0' is {told} for 50 rows against the rest: another unit from 2023-01-06T04:00:00 on"


def test_a_shift_that_goes_back_is_no_lasting_one() -> None:
    frame = clean(series=1)
    frame.loc[150:230, "y"] += 60
    assert of_kind(check(frame), "level_shift") == []


def test_counts_can_be_asked_for_and_denied() -> None:
    frame = days([3.0, -1.0, 2.5, 4.0] * 10)
    assert {one.kind: one.count for one in check(frame, counts=True).findings} == {"negative": 10, "fractions": 10}
    assert check(frame, counts=False).findings == () and check(frame).findings == ()


def test_leading_indicators_that_tell_less_than_nearly_all_are_no_leaks() -> None:
    y = np.random.default_rng(0).normal(0, 1, 300)
    x = np.roll(y, -1) + np.random.default_rng(1).normal(0, 1, 300)
    frame = days(list(100 + y)).assign(x=x)
    assert of_kind(check(frame, covariates=["x"]), "leak") == []
    (finding,) = of_kind(check(frame.assign(x=np.roll(y, -2)), covariates=["x"]), "leak")
    assert "tells the target 2 steps later" in finding.message


def test_the_wave_of_a_calendar_is_no_leak_of_a_seasonal_target() -> None:
    frame = clean(series=1)
    frame["x"] = np.roll(100 + 20 * np.sin(2 * np.pi * np.arange(400) / 24), -2)
    assert of_kind(check(frame, covariates=["x"]), "leak") == []


def test_a_past_covariate_may_be_the_target_itself() -> None:
    frame = clean(series=1)
    frame["x"] = 2 * frame["y"]
    assert of_kind(check(frame, past_covariates=["x"]), "leak") == []
    assert len(of_kind(check(frame, covariates=["x"]), "leak")) == 1


def test_the_future_is_measured_by_the_horizon() -> None:
    frame = days([float(i) for i in range(20)]).assign(x=1.0, unique_id="a")
    future = days([1.0] * 3, start="2024-01-21").rename(columns={"y": "x"}).assign(unique_id="a")
    assert of_kind(check(frame, covariates=["x"], future=future, horizon=3), "future_missing") == []
    (finding,) = of_kind(check(frame, covariates=["x"], future=future, horizon=5), "future_missing")
    assert finding.count == 2 and finding.where == ("2024-01-24", "2024-01-25")
    (finding,) = of_kind(check(frame, covariates=["x"], future=future.drop(columns="x"), horizon=3), "future_missing")
    assert "the frame of the future has no column 'x'" in finding.message


def test_most_frequent_value_of_each_series_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    values, offsets = rng.integers(0, 4, 60), np.array([0, 10, 11, 60])
    for begin, end in pairwise(offsets):
        counts = np.bincount(values[begin:end])
        chosen = most_frequent(values, offsets)[begin:end]
        assert len(set(chosen)) == 1 and counts[chosen[0]] == counts.max()


def test_findings_of_many_series_come_at_once_and_in_order() -> None:
    frame = clean(rows=100, series=60, seed=3)
    frame = frame.drop(index=[100 * i + 50 for i in range(60)])
    assert [one.series_id for one in of_kind(check(frame), "gaps")] == [f"s{i}" for i in range(60)]


def test_a_fault_is_found_in_whichever_series_and_order_it_stands() -> None:
    frame, asked = FAULTS["x1000 for a while"][1](clean())
    shuffled = frame.sample(frac=1, random_state=0)
    assert [one.message for one in of_kind(check(shuffled, **asked), "unit_jump")] == [
        one.message for one in of_kind(check(frame, **asked), "unit_jump")
    ]


def test_integer_steps_out_of_order_are_counted() -> None:
    (finding,) = check(pd.DataFrame({"ds": [1, 2, 4, 3, 5], "y": [1.0, 2.0, 4.0, 3.0, 5.0]})).findings
    assert finding.kind == "out_of_order" and finding.where == ("row 3",)


def test_days_of_a_month_off_the_clock_are_named_also_where_they_come_first() -> None:
    months = pd.date_range("2024-01-01", periods=30, freq="MS").to_list()
    months[0], months[1] = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-02-05")
    report = check(pd.DataFrame({"ds": months, "y": np.arange(30.0)}))
    (finding,) = of_kind(report, "off_clock")
    assert finding.where == ("2024-01-02", "2024-02-05") and "2 rows of 30 off the clock of freq 'MS'" in finding.message


def test_where_most_days_of_a_series_are_off_the_clock_the_others_are_not() -> None:
    frame = clean("seasonal", "MS")
    mine = frame["unique_id"] == "s1"
    ds = frame["ds"].where(~mine | (frame.groupby("unique_id").cumcount() % 3 == 0), frame["ds"] + pd.Timedelta(days=2))
    (finding,) = of_kind(check(frame.assign(ds=ds)), "off_clock")
    assert finding.count == 64 and finding.where[0] == "2023-03-03"


def test_five_hours_missing_in_the_night_of_the_change_are_a_gap() -> None:
    frame = clean(rows=24 * 100, series=1)
    night = frame["ds"].between("2023-03-26T02:00:00", "2023-03-26T06:00:00")
    assert {one.kind for one in check(frame[~night]).findings} == {"gaps"}


def test_a_run_twice_as_long_as_others_is_usual() -> None:
    y = np.random.default_rng(0).normal(100, 10, 400)
    for begin, length in ((20, 10), (80, 11), (140, 12), (200, 13), (300, 25)):
        y[begin : begin + length] = y[begin]
    assert of_kind(check(days(list(y))), "stuck") == []


def test_a_series_of_heavy_tails_has_few_outliers_not_many() -> None:
    y = np.random.default_rng(0).standard_t(1.2, 1000)  # one value in thirty is farther off than eight deviations
    assert sum(one.count for one in of_kind(check(days(list(y))), "outliers")) <= 20


def test_whole_numbers_that_are_often_negative_are_no_counts() -> None:
    y = np.round(np.random.default_rng(0).normal(2, 5, 200))
    assert of_kind(check(days(list(y))), "negative") == []


def test_a_pulse_that_precedes_that_of_the_target_every_day_is_no_leak() -> None:
    hour = np.arange(400) % 24
    frame = clean(series=1).assign(y=np.where(hour == 8, 50.0, 0.0) + np.random.default_rng(0).normal(100, 1, 400))
    frame["x"] = np.where(hour == 7, 1.0, 0.0) + np.random.default_rng(1).normal(0, 0.01, 400)
    assert of_kind(check(frame, covariates=["x"]), "leak") == []


def test_a_smooth_covariate_that_tells_the_future_no_better_than_the_present_is_no_leak() -> None:
    y = np.cumsum(np.cumsum(np.random.default_rng(0).normal(0, 1, 300)))
    assert of_kind(check(days(list(y)).assign(x=y), season=1, past_covariates=["x"]), "leak") == []


def test_a_bare_text_for_covariates_is_refused() -> None:
    with pytest.raises(CovariateError, match="covariates must be names, got the text 'promo'"):
        check(days([1.0, 2.0]), covariates="promo")

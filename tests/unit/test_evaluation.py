"""Reports become numbers: counted by hand on a report small enough to count."""

import math

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tests.unit.test_plots_anomaly import ROWS, event_at, report_of
from tsforecast.errors import OptionError
from tsforecast.evaluation import calibration_curve, drift_of, evaluate
from tsforecast.metrics import auc_pr


def test_alarms_are_counted_over_judged_steps_and_events_that_began_before_the_report_are_not_new() -> None:
    early = event_at(-3, 2, integer=True)  # its first rows lie before the report
    report = report_of(integer=True, events=(early, event_at(30, 39, integer=True)))
    found = evaluate(report)
    assert found.total == {"judged_steps": 80.0, "alarms_per_1000": 1000 / 80}
    assert found.per_series["alarms"].tolist() == [0, 1]
    assert found.per_series["alarms_per_1000"].tolist() == [0, 25]


def test_against_labels_runs_are_counted_over_all_series_and_scores_averaged_over_those_with_labels() -> None:
    events = (
        event_at(5, 6, integer=True, series_id="a"),
        event_at(20, 22, integer=True),
        event_at(30, 33, integer=True, kind="gap"),  # no alarm
        event_at(39, 39, integer=True),
    )
    report = report_of(integer=True, events=events, values=np.full((2 * ROWS, 2), 3.0))
    labels = np.zeros(2 * ROWS, dtype=int)
    labels[78:] = 1  # "b" only: found by the alarm at 39; that at 20 lies within half of its default period of 125
    total = evaluate(report, labels).total
    assert total["event_precision"] == 2 / 3 and total["event_recall"] == 1 and total["false_alarms_per_1000"] == 1000 / 78
    assert math.isclose(total["event_f1"], 2 * (2 / 3) / (2 / 3 + 1))
    assert total["auc_pr"] == auc_pr(labels[ROWS:], report.revised_score[ROWS:]) == 1
    assert total["vus_pr"] > total["vus_pr_random"] > 0


def test_without_a_labelled_step_there_is_nothing_to_find() -> None:
    total = evaluate(report_of(), np.zeros(2 * ROWS, dtype=int)).total
    assert math.isnan(total["vus_pr"]) and math.isnan(total["event_recall"]) and total["alarms_per_1000"] == 0
    with pytest.raises(OptionError, match="labels must have one value per row"):
        evaluate(report_of(), np.zeros(3, dtype=int))


def noise(steps: int, scale: float = 1.0, seed: int = 0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(0, scale, steps)
    return pd.DataFrame({"unique_id": "n", "ds": pd.date_range("2025-01-01", periods=steps, freq="h"), "y": values})


def test_the_calibration_curve_of_noise_rises_and_stays_near_what_was_asked() -> None:
    panel = tsforecast.panel_from_frame(noise(8_000))
    curve = calibration_curve(tsforecast.build_model("window_energy", window=4).fit(panel))
    assert curve.steps == 1_000 and curve.asked[0] == 0.3
    assert (np.diff(curve.given) >= 0).all()
    assert 20 / 3 < curve.given[-1] < 60  # asked for 20
    short = calibration_curve(tsforecast.build_model("window_energy", window=4).fit(tsforecast.panel_from_frame(noise(100))))
    assert short.steps == 0 and np.isnan(short.given).all()


def test_twice_the_noise_is_drift_and_the_same_noise_is_none() -> None:
    detector = tsforecast.build_model("window_energy", window=4).fit(tsforecast.panel_from_frame(noise(1_000)))
    for scale, drifted in ((1.0, False), (2.0, True)):
        more = pd.concat([noise(1_000), noise(1_400, scale, seed=1).iloc[1_000:]])
        after = tsforecast.panel_from_frame(more).tail(400)
        drift = drift_of(detector, detector.score(after, explain=False))
        assert drift.drifted is drifted and set(drift.medians) == {"n"}
    few = detector.score(tsforecast.panel_from_frame(more).tail(50), explain=False)
    assert drift_of(detector, few).medians == {}  # too few to tell


@pytest.mark.parametrize("labelled", [False, True])
def test_a_report_without_series_has_no_alarms_and_a_table_with_the_same_columns(labelled: bool) -> None:
    panel = tsforecast.panel_from_frame(noise(100))
    nothing = tsforecast.build_model("window_energy", window=4).fit(panel).score(panel, since=np.datetime64("2030-01-01"))
    assert len(nothing) == 0
    found = evaluate(nothing, np.zeros(0, dtype=int) if labelled else None)
    full = evaluate(report_of(), np.zeros(2 * ROWS, dtype=int) if labelled else None)
    assert found.per_series.columns.tolist() == full.per_series.columns.tolist() and found.per_series.empty
    assert found.total["judged_steps"] == 0 and found.total.keys() == full.total.keys()
    assert all(math.isnan(value) for name, value in found.total.items() if name != "judged_steps")

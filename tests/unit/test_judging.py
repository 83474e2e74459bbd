"""Reports: p-values, bands, events and their explanations, and what is said where nothing can be judged."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import tsforecast
from tsforecast.anomaly.alarms import AlarmRules
from tsforecast.anomaly.report import REASONS, AnomalyReport, severity_of
from tsforecast.errors import CovariateError, FrequencyError, HistoryTooShort, OptionError, SchemaError
from tsforecast.models.detector_fitting import looked_back_on, recalibrated
from tsforecast.models.fitted_detector import FittedDetector
from tsforecast.models.judging import SeriesJudge
from tsforecast.models.window_energy import WindowEnergy
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel, moment_number

ROWS, FITTED = 1600, 1000
HOURS = pd.date_range("2026-01-01", periods=ROWS, freq="h")
CHANNELS = ("cpu", "mem", "net")


def values_of(seed: int = 0) -> np.ndarray:
    phases = 2 * np.pi * np.arange(ROWS) / 24
    draws = np.random.default_rng(seed)
    return np.stack([np.sin(phases), 5 + 2 * np.cos(phases), 100 + 10 * np.sin(phases + 1)], axis=1) + draws.normal(
        0, [0.1, 0.2, 1.0], (ROWS, 3)
    )


def panel_of(values: np.ndarray, series_id: str = "a", hours: pd.DatetimeIndex = HOURS) -> Panel:
    frame = pd.DataFrame(values, columns=list(CHANNELS)).assign(unique_id=series_id, ds=hours[: len(values)])
    return tsforecast.panel_from_frame(frame, freq="h", target_col="cpu", past_covariates=["mem", "net"])


def struck() -> np.ndarray:
    values = values_of()
    values[1200:1212, 1] += 3.0
    return values


@pytest.fixture(scope="module")
def detector() -> FittedDetector:
    return WindowEnergy(window=12).fit(panel_of(values_of()[:FITTED]))


@pytest.fixture(scope="module")
def network() -> FittedDetector:
    recipe = tsforecast.build_model("autoencoder", window=24, second_window=None, hidden=(24,))
    found: FittedDetector = recipe.fit(panel_of(values_of()[:FITTED]), train=TrainConfig(max_epochs=8, steps_per_epoch=25))
    return found


@pytest.fixture(scope="module")
def report(network: FittedDetector) -> AnomalyReport:
    return network.score(panel_of(struck()), since=HOURS[FITTED], sensitivity=1.0)


# Numbers


def test_the_event_that_was_planted_is_found_with_its_channel(report: AnomalyReport) -> None:
    event = max(report.events, key=lambda one: one.peak_score)
    assert 1195 <= event.first_row <= 1205 and event.severity > 50
    assert event.channels[0].name == "mem" and event.channels[0].share > 0.5
    assert event.id == f"a@{HOURS[event.first_row].isoformat()}"


def test_what_an_event_says_of_its_channel_is_in_units_of_the_channel(report: AnomalyReport) -> None:
    first = max(report.events, key=lambda one: one.peak_score).channels[0]
    assert first.value is not None and first.expected is not None
    assert first.value - first.expected == pytest.approx(3.0, abs=1.5)
    assert HOURS[1195].isoformat() <= str(first.first) <= HOURS[1212].isoformat()


def test_without_its_channel_the_event_would_have_been_less_severe_and_without_another_not(report: AnomalyReport) -> None:
    event = max(report.events, key=lambda one: one.peak_score)
    by_name = {one.name: one for one in event.channels}
    assert by_name["mem"].severity_without is not None
    assert by_name["mem"].severity_without < 0.95 * event.severity
    others = [one.severity_without for name, one in by_name.items() if name != "mem" and one.severity_without is not None]
    assert all(other > by_name["mem"].severity_without for other in others)


def test_the_nearest_ordinary_window_is_one_of_the_training(report: AnomalyReport) -> None:
    nearest = max(report.events, key=lambda one: one.peak_score).nearest_normal
    assert nearest is not None and nearest.series_id == "a" and nearest.channel in CHANNELS
    assert str(nearest.end) < HOURS[FITTED].isoformat() and nearest.distance > 0


def test_ordinary_steps_have_even_p_values(network: FittedDetector) -> None:
    found = network.score(panel_of(values_of(seed=3)), since=HOURS[FITTED], explain=False).p_value
    for share in (0.1, 0.3, 0.5):
        assert np.mean(found <= share) == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("level", [50.0, 90.0])
def test_the_band_holds_its_share_of_ordinary_steps(network: FittedDetector, level: float) -> None:
    found = network.score(panel_of(values_of(seed=4)), since=HOURS[FITTED], level=level, explain=False)
    inside = (found.values >= found.lower) & (found.values <= found.upper)
    assert 100 * inside.mean() == pytest.approx(level, abs=8)
    assert (found.lower <= found.upper).all()


def test_severity_is_a_hundred_at_one_in_a_million_and_missing_without_a_p_value() -> None:
    np.testing.assert_allclose(severity_of(np.array([1.0, 1e-3, 1e-6, 1e-9])), [0.0, 50.0, 100.0, 100.0])
    assert np.isnan(severity_of(np.array([np.nan]))).all()


def test_more_sensitivity_gives_no_fewer_alarms(detector: FittedDetector) -> None:
    panel = panel_of(struck())
    counts = [len(detector.score(panel, sensitivity=asked, explain=False).events) for asked in (0.2, 2.0, 20.0)]
    assert counts[0] <= counts[1] <= counts[2] and counts[2] > counts[0]


def test_who_looks_back_judges_the_revised_scores(network: FittedDetector) -> None:
    found = network.score(panel_of(struck()), revised=True)
    event = max(found.events, key=lambda one: one.peak_score)
    assert found.revised and abs(event.peak - HOURS[1206].to_datetime64()) <= np.timedelta64(12, "h")
    np.testing.assert_array_equal(found.channel_scores.shape, (ROWS, 3))


def test_the_same_rows_give_the_same_event_ids(detector: FittedDetector) -> None:
    whole = detector.score(panel_of(struck()), since=HOURS[FITTED])
    part = detector.score(panel_of(struck()[:1300]), since=HOURS[FITTED])
    known = {event.id for event in whole.events}
    assert {event.id for event in part.events} <= known and part.events


def test_rows_before_since_are_history_only(detector: FittedDetector) -> None:
    panel = panel_of(struck())
    whole, part = detector.score(panel), detector.score(panel, since=HOURS[1300].isoformat())
    assert len(part.score) == ROWS - 1300 and part.timestamps[0] == HOURS[1300].to_datetime64()
    np.testing.assert_array_equal(part.score, whole.score[1300:])
    np.testing.assert_array_equal(part.p_value, whole.p_value[1300:])
    assert all(event.end >= part.timestamps[0] for event in part.events)


def test_new_rows_alone_look_back_on_those_of_the_fit(detector: FittedDetector) -> None:
    alone = detector.score(panel_of(struck()[FITTED:], hours=HOURS[FITTED:]))
    whole = detector.score(panel_of(struck()), since=HOURS[FITTED])
    np.testing.assert_allclose(alone.score, whole.score, rtol=1e-9)
    np.testing.assert_allclose(alone.p_value, whole.p_value, rtol=1e-9)


def test_frames_and_json_say_the_same(report: AnomalyReport) -> None:
    import json

    frame, events = report.to_frame(), report.events_frame()
    assert list(frame.columns[:3]) == ["unique_id", "ds", "score"] and len(frame) == ROWS - FITTED
    assert {"cpu", "cpu:expected", "mem:lower", "net:score"} <= set(frame.columns)
    assert events["id"].tolist() == [event.id for event in report.events]
    told = json.loads(json.dumps(report.events_json(), allow_nan=False))
    assert [one["id"] for one in told] == events["id"].tolist() and told[0]["channels"][0]["name"] in CHANNELS


# Rules


def test_an_ignored_window_opens_no_event(detector: FittedDetector) -> None:
    rules = AlarmRules(ignore=((HOURS[1190], HOURS[1240]),))
    found = detector.score(panel_of(struck()), alarms=rules)
    assert not found.alarm[1190:1241].any()
    assert detector.score(panel_of(struck())).alarm[1190:1241].any()


def test_a_direction_leaves_out_what_points_elsewhere(network: FittedDetector) -> None:
    panel = panel_of(struck())
    above, below = (network.score(panel, alarms=AlarmRules(direction=one)).alarm[1198:1214] for one in ("above", "below"))
    assert above.any() and not below[:6].any()


def test_a_long_gap_is_an_event_and_its_steps_say_that_they_are_missing(detector: FittedDetector) -> None:
    values = values_of()
    values[1300:1340] = np.nan
    values[1400, 0] = np.nan
    found = detector.score(panel_of(values))
    gaps = [event for event in found.events if event.kind == "gap"]
    assert [(one.first_row, one.last_row) for one in gaps] == [(1300, 1339)]
    frame = found.to_frame()
    assert (frame["reason"][1300:1340] == "missing").all() and frame["score"][1300:1340].isna().all()
    assert frame["reason"][1400] == ""  # two channels are left


# Feedback


def test_a_true_alarm_leaves_the_calibration_and_a_false_one_stays(detector: FittedDetector) -> None:
    values = values_of()[:FITTED]
    values[900:912] += 30.0
    panel = panel_of(values)
    labels = np.zeros(FITTED, dtype=np.int64)
    labels[890:930] = 1
    without, with_it = recalibrated(detector, panel, labels), recalibrated(detector, panel, -labels)
    assert without.memories["a"].scores.max() < with_it.memories["a"].scores.max()
    assert without.core is detector.core and detector.memories["a"].scores.max() == detector.memories["a"].scores.max()


@pytest.mark.parametrize(("labels", "told"), [(np.zeros(3, dtype=int), "shape"), (np.full(FITTED, 7), "got 7")])
def test_labels_that_are_none_are_refused(labels: np.ndarray, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        WindowEnergy().fit(panel_of(values_of()[:FITTED]), labels=labels)


# What cannot be judged


def test_a_series_that_is_all_missing_has_no_scores_and_a_note(detector: FittedDetector) -> None:
    found = detector.score(panel_of(np.full((50, 3), np.nan), "empty"))
    assert np.isnan(found.score).all() and not found.alarm.any()
    assert set(found.to_frame()["reason"]) == {"missing"}
    assert ("empty", "has no values at all: nothing is judged") in found.notes


def test_a_constant_series_is_judged_and_calm(detector: FittedDetector) -> None:
    found = detector.score(panel_of(np.full((300, 3), 4.0), "flat"))
    assert np.isfinite(found.score[detector.first_rows :]).all() and not found.alarm.any()
    assert any("not in the training data" in note for _, note in found.notes)


def test_a_fit_on_a_constant_series_tells_a_change(detector: FittedDetector) -> None:
    values = np.full((ROWS, 3), 4.0)
    fitted = WindowEnergy(window=12).fit(panel_of(values[:FITTED]))
    values[1200:1210, 0] = 5.0
    assert fitted.score(panel_of(values)).alarm[1200:1222].any()


def test_one_row_is_answered(detector: FittedDetector) -> None:
    found = detector.score(panel_of(values_of()[:1], "new"))
    assert len(found.score) == 1 and found.events == ()


def test_an_infinite_value_is_refused_by_series_and_channel(detector: FittedDetector) -> None:
    panel = panel_of(values_of())
    past = np.array(panel.past_covariates)
    past[5, 1] = np.inf
    with pytest.raises(SchemaError, match="series 'a' has an infinite value in 'net', row 5"):
        detector.score(replace(panel, past_covariates=past))


def test_another_frequency_and_other_channels_are_refused(detector: FittedDetector) -> None:
    with pytest.raises(FrequencyError, match="fitted on steps of 'h', these series step by 'D'"):
        frame = pd.DataFrame(values_of()[:90], columns=list(CHANNELS)).assign(ds=pd.date_range("2026-01-01", periods=90))
        detector.score(tsforecast.panel_from_frame(frame, freq="D", target_col="cpu", past_covariates=["mem", "net"]))
    frame = pd.DataFrame({"cpu": values_of()[:90, 0], "disk": values_of()[:90, 1], "ds": HOURS[:90]})
    with pytest.raises(CovariateError, match=r"channels \['cpu', 'mem', 'net'\], these series have \['cpu', 'disk'\]"):
        detector.score(tsforecast.panel_from_frame(frame, freq="h", target_col="cpu", past_covariates=["disk"]))


def test_a_fit_without_enough_rows_is_refused() -> None:
    with pytest.raises(HistoryTooShort, match="at least 32"):
        WindowEnergy().fit(panel_of(values_of()[:20]))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"level": 100}, "level"),
        ({"since": 3}, "since"),
        ({"alarms": {"sensitivity": 1}}, "alarms"),
        ({"sensitivity": 0}, "alarms.sensitivity"),
    ],
)
def test_impossible_options_are_refused_by_name(detector: FittedDetector, options: dict, field: str) -> None:
    with pytest.raises(OptionError) as told:
        detector.score(panel_of(values_of()), **options)
    assert told.value.field == field


def test_what_a_model_cannot_do_names_those_that_can(detector: FittedDetector) -> None:
    with pytest.raises(OptionError, match="'window_energy' cannot denoise; models that can: autoencoder"):
        detector.denoise(panel_of(values_of()))


# Histories that nobody has looked at


def test_an_anomaly_among_the_held_out_rows_does_not_hide_the_next_one() -> None:
    severities = {}
    for held_out_anomaly in (False, True):
        values = values_of()
        values[1200:1212, 1] += 6.0
        if held_out_anomaly:
            values[900:912, 1] += 6.0
        fitted = WindowEnergy(window=12).fit(panel_of(values[:FITTED]))
        found = fitted.score(panel_of(values), since=HOURS[FITTED], explain=False)
        severities[held_out_anomaly] = max(event.severity for event in found.events)
    assert severities[True] > 0.6 * severities[False]


def test_rows_that_feedback_calls_ordinary_raise_the_threshold_wherever_they_lie() -> None:
    values, labels = values_of(), np.zeros(FITTED, dtype=np.int64)
    for start in (200, 400, 600, 1200):
        values[start : start + 12, 1] += 3.0
    labels[200:224] = labels[400:424] = labels[600:624] = -1
    panel = panel_of(values)
    before, after = (
        WindowEnergy(window=12).fit(panel_of(values[:FITTED]), labels=said).score(panel, since=HOURS[FITTED], explain=False)
        for said in (None, labels)
    )
    assert np.nanmin(after.p_value[200:224]) > 2 * np.nanmin(before.p_value[200:224])


def test_recalibration_on_too_few_rows_keeps_what_is_known(detector: FittedDetector) -> None:
    again = recalibrated(detector, panel_of(values_of()[:30]))
    np.testing.assert_array_equal(again.memories["a"].scores, detector.memories["a"].scores)


def test_windows_to_ignore_are_meant_on_the_wall_clock_of_the_series() -> None:
    frame = pd.DataFrame({"ds": HOURS, "cpu": values_of()[:, 0]})
    panel = tsforecast.panel_from_frame(frame, freq="h", target_col="cpu", tz="Asia/Tokyo")
    fitted = WindowEnergy(window=12).fit(panel.rows(np.arange(ROWS) < FITTED))
    target = panel.target.copy()
    target[1200] += 9.0
    rules = AlarmRules(ignore=((str(HOURS[1199]), str(HOURS[1240])),))
    assert not fitted.score(panel.with_target(target), alarms=rules).alarm[1199:1241].any()


def test_scores_of_a_series_that_the_fit_has_not_seen_do_not_depend_on_what_comes_later(detector: FittedDetector) -> None:
    values = values_of(seed=8)
    later = values.copy()
    later[900:] += 50.0
    first, second = (detector.score(panel_of(one, "new"), explain=False).score[:900] for one in (values, later))
    np.testing.assert_array_equal(first, second)


def test_rows_that_follow_are_judged_the_same_after_a_recalibration_on_them(network: FittedDetector) -> None:
    hours = pd.date_range(HOURS[FITTED], periods=400, freq="h")
    panel = panel_of(values_of()[FITTED : FITTED + 400], hours=hours)
    again = recalibrated(network, panel)
    plain, found = network.score(panel), again.score(panel, before=network)
    np.testing.assert_array_equal(np.isfinite(found.score), np.isfinite(plain.score))  # nothing looks back on less
    assert np.isfinite(found.score).all() and len(found.events) <= 2
    assert np.isnan(again.score(panel).score[:18]).all()  # what it remembers has moved to the end


@pytest.mark.parametrize("rows", [10, 30, 400])  # too few to tell, fewer than are remembered, more
def test_what_is_remembered_moves_on_with_a_recalibration(network: FittedDetector, rows: int) -> None:
    hours = pd.date_range(HOURS[FITTED], periods=rows, freq="h")
    again = recalibrated(network, panel_of(values_of()[FITTED : FITTED + rows], hours=hours))
    memory = again.memories["a"]
    assert memory.tail_times[-1] == hours[-1] and len(memory.tail) == looked_back_on(network.core)
    np.testing.assert_allclose(memory.tail, values_of()[: FITTED + rows][-looked_back_on(network.core) :])
    later = panel_of(values_of()[FITTED + rows :][:50], hours=HOURS[FITTED + rows :])
    assert np.isfinite(again.score(later).score).all()


def test_after_a_recalibration_all_rows_that_nothing_was_learnt_from_count(network: FittedDetector) -> None:
    hours = pd.date_range(HOURS[FITTED], periods=400, freq="h")
    again = recalibrated(network, panel_of(values_of()[FITTED : FITTED + 400], hours=hours))
    assert again.memories["a"].scores.shape[1] == 400 > network.memories["a"].scores.shape[1]
    assert again.memories["a"].fitted_until == network.memories["a"].fitted_until == moment_number(HOURS[749].to_datetime64())


def test_a_series_too_short_to_recalibrate_by_is_judged_as_any_new_one(detector: FittedDetector) -> None:
    unseen = panel_of(values_of(seed=9)[:60], "new")
    again = recalibrated(detector, unseen)
    np.testing.assert_array_equal(again.score(unseen).p_value, detector.score(unseen).p_value)


def test_a_revised_score_that_is_not_provisional_never_changes(network: FittedDetector) -> None:
    short, long = (network.score(panel_of(values_of()[:rows]), revised=True, explain=False) for rows in (1300, 1600))
    final = ~short.provisional
    np.testing.assert_allclose(short.revised_score[final], long.revised_score[:1300][final], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [110, 300])
def test_an_outage_of_half_of_the_judged_rows_is_an_event_for_who_looks_back_too(network: FittedDetector, rows: int) -> None:
    values = values_of()[: FITTED + 400]
    values[-rows:] = 0.0
    for revised in (False, True):
        found = network.score(panel_of(values), since=HOURS[FITTED], revised=revised, explain=False)
        event = next(one for one in found.events if one.severity > 90)
        assert abs(event.first_row - (len(values) - rows)) <= 24 and event.steps >= 100  # by and by it is the new normal


def test_alarms_of_who_looks_back_lie_in_events_and_start_and_end_them(network: FittedDetector) -> None:
    found = network.score(panel_of(struck()), revised=True, explain=False)
    inside = np.zeros(ROWS, dtype=bool)
    for event in found.events:
        inside[event.first_row : event.last_row + 1] = True
        assert found.alarm[event.first_row] and found.alarm[event.last_row]
        assert found.timestamps[event.first_row] == event.start and found.timestamps[event.last_row] == event.end
        assert event.id.endswith(pd.Timestamp(event.start).isoformat())
    assert found.alarm.any() and not (found.alarm & ~inside).any()


@pytest.mark.parametrize("row", [199, 185, 160])
def test_a_huge_value_in_the_newest_quarter_of_a_short_history_does_not_hide_itself(row: int) -> None:
    values = values_of()[:200]
    values[row, 1] += 1e6
    found = tsforecast.build_model("pca_remainder").fit(panel_of(values)).score(panel_of(values), explain=False)
    assert any(event.first_row == row and event.severity > 90 for event in found.events)


def test_a_false_alarm_counts_as_ordinary_for_who_looks_back(detector: FittedDetector) -> None:
    values = values_of()[:FITTED]
    values[800:803, 1] += 6.0
    labels = np.zeros(FITTED, dtype=np.int64)
    labels[790:825] = -1
    before, after = (
        recalibrated(detector, panel_of(values), said).score(panel_of(values), revised=True, explain=False)
        for said in (None, labels)
    )
    assert np.nanmin(after.p_value[795:820]) > 3 * np.nanmin(before.p_value[795:820])


def test_what_is_too_sparse_to_judge_is_not_called_too_short(detector: FittedDetector) -> None:
    values = values_of()
    values[1100:1300] = np.where(np.arange(200)[:, None] % 4 == 0, values[1100:1300], np.nan)
    found = detector.score(panel_of(values), explain=False)
    observed = np.isfinite(values[1150:1290]).any(axis=1)
    assert {REASONS[one] for one in found.reason[1150:1290][observed]} == {"too sparse"}
    assert REASONS[found.reason[0]] == "too short"


def test_since_with_an_offset_is_refused_where_the_series_have_no_zone(detector: FittedDetector) -> None:
    with pytest.raises(OptionError, match="no time zone"):
        detector.score(panel_of(values_of()), since=pd.Timestamp("2026-02-01T00:00+02:00"))


def test_a_judge_that_was_restored_refuses_to_look_back(detector: FittedDetector) -> None:
    judge = SeriesJudge(AlarmRules(), series_id="a", scores=detector.memories["a"].scores[0], width=12)
    again = SeriesJudge.from_state(AlarmRules(), *judge.state())
    steps = {"score": np.zeros(3), "residual": np.zeros(3), "missing": np.zeros(3, dtype=bool)}
    again.update(HOURS[:3].to_numpy(), **steps)
    with pytest.raises(TypeError, match="restored"):
        again.update(HOURS[3:6].to_numpy(), **steps, learnt=np.ones(3, dtype=bool))


def test_only_channels_out_of_the_ordinary_say_since_when(report: AnomalyReport) -> None:
    event = max(report.events, key=lambda one: one.peak_score)
    by_name = {one.name: one.first for one in event.channels}
    assert by_name["mem"] is not None and str(by_name["mem"]) <= pd.Timestamp(event.start).isoformat()
    assert all(first is None or str(first) >= str(by_name["mem"]) for first in by_name.values())

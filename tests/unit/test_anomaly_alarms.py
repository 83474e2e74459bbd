"""Alarm rules and the machine of events: opening, staying, closing, and that chunks do not matter."""

import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from tsforecast.anomaly.alarms import AlarmMachine, AlarmRules
from tsforecast.anomaly.calibration import CalibrationRules, Calibrator
from tsforecast.errors import OptionError

QUIET, NEAR, ALARM = 0.5, 0.004, 1e-4  # rates: nothing | within 5 times the asked one | an alarm
WIDTH = 4


def rates(text):
    """ "..Aan": quiet, quiet, alarm, near an alarm, not judged."""
    return np.array([{".": QUIET, "a": NEAR, "A": ALARM, "n": np.nan}[letter] for letter in text])


def run(text, rules=None, *, chunks=(), machine=None, timestamps=None, **more):
    """The changes and alarms that the steps of `text` give, fed in `chunks`."""
    rate = rates(text)
    rules = rules or AlarmRules(merge_gap=2, new_normal=0)
    machine = machine or AlarmMachine(rules, series_id="s", width=WIDTH)
    timestamps = np.arange(len(rate)) + 100 if timestamps is None else timestamps
    changes, alarms = [], []
    for part in np.split(np.arange(len(rate)), list(chunks)):
        named = {name: values[part] for name, values in more.items()}
        found = machine.update(timestamps[part], rate=rate[part], p_value=rate[part], score=1.0 - rate[part], **named)
        changes += found.changes
        alarms.append(found.alarm)
    return changes, np.concatenate(alarms), machine


def spans(changes):
    """(first row, last row) of the events closed."""
    return [(change.event.first_row, change.event.last_row) for change in changes if change.what == "closed"]


def lasting(changes):
    """All but "extended", which depends on where the chunks end."""
    return [change for change in changes if change.what != "extended"]


# Opening and closing


def test_an_event_spans_its_alarms_and_closes_after_more_quiet_steps_than_the_merge_gap():
    changes, alarm, _ = run("..AA..A...A....")
    assert spans(changes) == [(2, 6), (10, 10)]
    assert [change.what for change in changes] == ["opened", "closed", "opened", "closed"]
    assert np.flatnonzero(alarm).tolist() == [2, 3, 6, 10]


def test_an_event_opens_at_the_asked_rate_and_stays_at_five_times_it():
    changes, _, _ = run("..aaA.aa.a....aa..")
    assert spans(changes) == [(4, 9)]
    strict, _, _ = run("..aaA.aa.a....aa..", AlarmRules(merge_gap=2, close_factor=1.0, new_normal=0))
    assert spans(strict) == [(4, 4)]


def test_sensitivity_is_the_rate_that_opens():
    assert spans(run("..a.....", AlarmRules(merge_gap=2, sensitivity=4.0))[0]) == [(2, 2)]
    assert spans(run("..A.....", AlarmRules(merge_gap=2, sensitivity=0.01, close_factor=1.0))[0]) == []


def test_shorter_alarms_than_the_minimum_are_never_mentioned():
    rules = AlarmRules(merge_gap=1, min_duration=3, new_normal=0)
    changes, alarm, _ = run(".AA...A.A...AAA...", rules)
    assert spans(changes) == [(12, 14)]
    assert np.flatnonzero(alarm).tolist() == [14]  # it is known from the third step on


def test_an_event_carries_its_peak_its_smallest_p_value_and_its_severity():
    rate = np.array([0.5, 1e-4, 1e-6, 1e-3, 0.5, 0.5, 0.5])
    machine = AlarmMachine(AlarmRules(merge_gap=1), series_id="s", width=WIDTH)
    score = np.array([0.0, 3.0, 5.0, 9.0, 0.0, 0.0, 0.0])
    (*_, closed) = machine.update(np.arange(7) * 10, rate=rate, p_value=rate, score=score).changes
    event = closed.event
    assert (event.start, event.end, event.peak, event.peak_score) == (10, 30, 30, 9.0)
    assert (event.first_row, event.last_row, event.steps, event.open) == (1, 3, 3, False)
    assert event.p_value == 1e-6 and event.severity == 100.0
    assert closed.why == "ended"


def test_the_default_merge_gap_is_the_width_of_the_detector():
    rules = AlarmRules(new_normal=0)
    assert spans(run("A....A......", rules)[0]) == [(0, 5)]  # 4 quiet steps
    assert spans(run("A.....A.....", rules)[0]) == [(0, 0), (6, 6)]


def test_steps_that_are_not_judged_open_nothing_and_count_as_quiet():
    assert spans(run("nnAnnAnnn.")[0]) == [(2, 5)]


# Fewer messages


def test_alarms_in_the_cool_down_are_counted_to_the_event_before():
    rules = AlarmRules(merge_gap=1, cooldown=10, new_normal=0)
    changes, alarm, _ = run("A..A..AA..A.....A...", rules)
    assert [change.what for change in changes] == ["opened", "closed", *["suppressed"] * 3, "opened", "closed"]
    assert [change.event.suppressed for change in changes][2:5] == [1, 2, 3]
    assert spans(changes) == [(0, 0), (16, 16)]
    assert np.flatnonzero(alarm).tolist() == [0, 16]


def test_an_alarm_that_outlasts_the_cool_down_opens_when_it_is_over():
    changes, _, _ = run("A...AAAAAAA....", AlarmRules(merge_gap=1, cooldown=6, new_normal=0))
    assert spans(changes) == [(0, 0), (7, 10)]


def test_what_lasts_is_closed_as_a_level_shift_and_does_not_fire_again_until_it_was_quiet():
    rules = AlarmRules(merge_gap=2, new_normal=5)
    changes, alarm, _ = run(".AAAAAAAAAaaAA...AA....", rules)
    assert spans(changes) == [(1, 5), (17, 18)]
    assert changes[1].why == "new normal" and changes[1].event.kind == "level shift"
    assert np.flatnonzero(alarm).tolist() == [1, 2, 3, 4, 5, 17, 18]


def test_no_event_is_longer_than_the_longest_allowed():
    changes, _, _ = run("AAAAAAAA....A...", AlarmRules(merge_gap=2, max_duration=3, new_normal=0))
    assert spans(changes) == [(0, 2), (12, 12)]
    assert changes[1].why == "too long" and changes[1].event.kind == "shape"


def test_by_default_eight_widths_or_500_steps_are_the_new_normal():
    changes, _, _ = run("A" * 600, AlarmRules())
    assert spans(changes) == [(0, 499)]
    assert spans(run("A" * 600, AlarmRules(new_normal=0))[0]) == []


# Direction, windows to be ignored


def test_only_values_on_the_asked_side_of_what_was_expected_alarm():
    residual = np.array([0.0, 5.0, 0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0, -5.0, 0.2, 0.0, 0.0, 0.0, 0.0])
    text = ".AAA.....AA...."
    above, _, _ = run(text, AlarmRules(merge_gap=1, direction="above", new_normal=0), residual=residual)
    below, _, _ = run(text, AlarmRules(merge_gap=1, direction="below", new_normal=0), residual=residual)
    assert spans(above) == [(1, 3)] and spans(below) == [(9, 10)]  # the largest residual of the window decides


def test_a_direction_without_residuals_is_refused():
    with pytest.raises(OptionError, match="no residuals are given"):
        run("A", AlarmRules(direction="above"))


def test_nothing_opens_in_a_window_to_be_ignored():
    hours = np.datetime64("2024-03-01T00", "ns") + np.arange(12) * np.timedelta64(1, "h")
    rules = AlarmRules(merge_gap=1, ignore=(("2024-03-01T02:00", "2024-03-01T05:00"),), new_normal=0)
    changes, _, _ = run("..AAA.AA....", rules, timestamps=hours)
    assert spans(changes) == [(6, 7)]
    assert rules.ignored(hours).tolist() == [False] * 2 + [True] * 4 + [False] * 6
    given = np.zeros(12, dtype=bool)
    assert spans(run("..AAA.AA....", rules, timestamps=hours, ignore=given)[0]) == [(2, 7)]


def test_moments_with_a_zone_are_read_as_instants_and_lists_from_json_are_taken():
    zone = timezone(timedelta(hours=2))
    hours = np.datetime64("2024-03-01T00", "ns") + np.arange(4) * np.timedelta64(1, "h")
    for window in (
        ["2024-03-01T03:00+02:00", "2024-03-01T04:00+02:00"],
        (datetime(2024, 3, 1, 3, tzinfo=zone), datetime(2024, 3, 1, 2, tzinfo=UTC)),
        (np.datetime64("2024-03-01T01"), np.datetime64("2024-03-01T02")),
    ):
        assert AlarmRules(ignore=[window]).ignored(hours).tolist() == [False, True, True, False]
    assert AlarmRules(ignore=((3, 4),)).ignored(np.arange(6)).tolist() == [False] * 3 + [True] * 2 + [False]


def test_windows_of_another_clock_are_refused():
    with pytest.raises(OptionError, match=r"alarms\.ignore must be whole numbers"):
        AlarmRules(ignore=(("2024-03-01", "2024-03-02"),)).ignored(np.arange(3))
    with pytest.raises(OptionError, match=r"alarms\.ignore must be timestamps"):
        AlarmRules(ignore=((1, 2),)).ignored(np.zeros(3, dtype="M8[ns]"))


# Chunks, ids, storage


RULES = [
    AlarmRules(merge_gap=2, new_normal=0),
    AlarmRules(merge_gap=0, cooldown=7, min_duration=2, new_normal=9),
    AlarmRules(new_normal=12, max_duration=20, direction="above", ignore=((130, 140), (300, 310))),
]


def random_text(seed, steps=400):
    rng = np.random.default_rng(seed)
    letters = []
    while len(letters) < steps:
        letters += ["....A", "a", "A", ".", "n"][rng.integers(5)] * int(rng.integers(1, 12))
    return "".join(letters[:steps]), rng.standard_normal(steps)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_chunks_do_not_matter(rules, seed):
    text, residual = random_text(seed)
    whole, alarm, machine = run(text, rules, residual=residual)
    single, alarms, other = run(text, rules, residual=residual, chunks=range(1, 400))
    assert lasting(single) == lasting(whole) and len(spans(whole)) > 2
    np.testing.assert_array_equal(alarms, alarm)
    assert other.state()[1] == machine.state()[1] and other.event() == machine.event()


@pytest.mark.parametrize("rules", RULES)
def test_a_stored_machine_goes_on_as_if_nothing_had_been(rules):
    text, residual = random_text(7)
    whole, alarm, _ = run(text, rules, residual=residual)
    moments = np.arange(400) + 100
    for cut in (1, 57, 203, 333):
        head, first_alarms, first = run(text[:cut], rules, timestamps=moments[:cut], residual=residual[:cut])
        arrays, values = first.state()
        second = AlarmMachine.from_state(rules, arrays, json.loads(json.dumps(values, allow_nan=False)))
        tail, alarms, _ = run(text[cut:], rules, machine=second, timestamps=moments[cut:], residual=residual[cut:])
        assert lasting([*head, *tail]) == lasting(whole)
        np.testing.assert_array_equal(np.concatenate([first_alarms, alarms]), alarm)


def test_stored_events_keep_their_timestamps():
    moments = np.datetime64("2024-03-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
    rules = AlarmRules(merge_gap=0, cooldown=9, new_normal=0)
    whole, _, _ = run("A..A..", rules, timestamps=moments)
    _, _, machine = run("A..", rules, timestamps=moments[:3])
    arrays, values = machine.state()
    restored = AlarmMachine.from_state(rules, arrays, json.loads(json.dumps(values)))
    changes, _, _ = run("A..", rules, machine=restored, timestamps=moments[3:])
    assert changes == whole[-1:] and changes[0].what == "suppressed"


def test_the_same_rows_have_the_same_ids_and_an_open_event_keeps_its_own():
    days = np.datetime64("2024-03-01", "ns") + np.arange(8) * np.timedelta64(1, "D")
    once, _, _ = run(".AA..AA.", timestamps=days)
    again, _, _ = run(".AA..AA.", timestamps=days, chunks=[2, 4])
    assert {change.event.id for change in once} == {change.event.id for change in again} == {"s@2024-03-02T00:00:00"}
    assert {change.event.id for change in run("..A.")[0]} == {"s@102"}


def test_the_event_under_way_is_told_after_each_batch_in_which_it_grew():
    changes, _, machine = run(".AAA..A.", chunks=[2, 4, 5])
    assert [change.what for change in changes] == ["opened", "extended", "extended"]
    assert [change.event.last_row for change in changes] == [1, 3, 6]
    assert machine.event() == changes[-1].event and machine.event().open
    assert run("....")[2].event() is None


def test_no_steps_change_nothing():
    changes, alarm, _ = run("")
    assert changes == [] and len(alarm) == 0


# Together with the calibrator


def test_a_level_shift_gives_one_event_and_not_one_each_day():
    rng = np.random.default_rng(0)
    scores = np.convolve(rng.standard_normal(12_000) ** 2, np.ones(16) / 16)[:12_000]
    scores[6_000:] += 10.0
    rules = AlarmRules(new_normal=400)
    assert rules.calibration(window=2_000) == CalibrationRules(sensitivity=1.0, new_normal=400, window=2_000)
    found = Calibrator(rules.calibration(), scores=scores[:3_000], width=16).update(scores[3_000:])
    machine = AlarmMachine(rules, series_id="s", width=16)
    changes = machine.update(np.arange(9_000), rate=found.rate, p_value=found.p_value, score=scores[3_000:]).changes
    shifts = [change.event for change in changes if change.why == "new normal"]
    assert [(event.first_row, event.last_row) for event in shifts] == [(3_000, 3_399)]
    later = [change for change in changes if change.what == "opened" and change.event.first_row > 3_000]
    assert len(later) <= 12  # in 6,000 steps


# Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensitivity", 0),
        ("sensitivity", "high"),
        ("direction", "up"),
        ("min_duration", 0),
        ("min_duration", None),
        ("merge_gap", -1),
        ("cooldown", 1.5),
        ("cooldown", None),
        ("close_factor", 0.5),
        ("new_normal", -1),
        ("max_duration", 0),
        ("max_duration", True),
        ("ignore", ("2024-01-01", "2024-01-02")),
        ("ignore", (("2024-01-02", "2024-01-01"),)),
        ("ignore", ((1, "2024-01-01"),)),
        ("ignore", (("soon", "later"),)),
        ("ignore", ((1, 2, 3),)),
        ("ignore", 7),
    ],
)
def test_bad_rules_are_refused_by_name(name, value):
    with pytest.raises(OptionError, match=rf"alarms\.{name} must be") as caught:
        AlarmRules(**{name: value})
    assert caught.value.field == f"alarms.{name}"


def test_the_longest_event_may_not_be_shorter_than_the_shortest():
    with pytest.raises(OptionError, match=r"max_duration must be at least alarms\.min_duration = 5"):
        AlarmRules(min_duration=5, max_duration=4)

"""Calibration: p-values, rates of alarms, drift, feedback and storage, against loops from the definitions."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tsforecast.anomaly.calibration import CalibrationRules, Calibrator
from tsforecast.anomaly.tails import EpisodeTable, PointTable, Tail, highest_before
from tsforecast.errors import OptionError

FIXED = CalibrationRules(gain=0.0)


def smeared(steps, width, seed):
    """Scores like those of a window detector: mean squares of `width` standard normals, (steps,)."""
    noise = np.random.default_rng(seed).standard_normal(steps + width) ** 2
    return np.convolve(noise, np.ones(width) / width, mode="full")[width : steps + width]


def episodes(rate, asked, width):
    """First steps of alarms, those with at most `width` steps from the last one left out."""
    alarmed = np.flatnonzero(rate <= asked)
    return alarmed[np.diff(alarmed, prepend=-width - 1) > width]


def started(rules=None, *, width=16, steps=3_000, seed=0):
    scores = smeared(steps + 12_000, width, seed)
    return Calibrator(rules or CalibrationRules(), scores=scores[:steps], width=width), scores[steps:]


def one_by_one(calibrator, scores, ignore=None):
    parts = [
        calibrator.update(scores[i : i + 1], ignore=None if ignore is None else ignore[i : i + 1]) for i in range(len(scores))
    ]
    return np.concatenate([part.p_value for part in parts]), np.concatenate([part.rate for part in parts])


# What the numbers mean


def test_a_p_value_is_one_plus_the_count_of_scores_as_high_over_one_plus_all_of_them():
    known = np.random.default_rng(0).exponential(size=200).round(1)  # with ties
    asked = np.array([0.0, 0.3, 0.5, 1.0])  # below the tail
    found = Calibrator(CalibrationRules(), scores=known, width=1).update(asked).p_value
    np.testing.assert_array_equal(found, [(1 + (known >= score).sum()) / 201 for score in asked])


def test_beyond_the_largest_score_p_goes_on_falling_as_the_tail_says_and_is_never_zero():
    known = np.random.default_rng(1).exponential(size=5_000)
    calibrator = Calibrator(CalibrationRules(window=5_000), scores=known, width=1)
    asked = np.array([10.0, 12.0, 14.0, 100.0, 1e9])
    found = calibrator.update(asked)
    assert (np.diff(found.p_value[:4]) < 0).all() and found.p_value[-1] > 0 and found.rate[-1] > 0
    assert found.p_value[1] < 1 / 5_000
    np.testing.assert_allclose(np.log(found.p_value[:3]), -asked[:3], rtol=0.25)  # P(score > s) = exp(-s)


@pytest.mark.parametrize("seed", range(5))
def test_the_higher_the_score_the_lower_p_and_the_rate(seed):
    calibrator, scores = started(width=1 + 7 * seed, seed=seed)
    calibrator.update(scores[:5_000])
    asked = np.sort(np.concatenate([scores, np.linspace(0, 3 * scores.max(), 500)]))
    copy = Calibrator.from_state(*calibrator.state())
    found = copy.update(asked, ignore=np.ones(len(asked), dtype=bool))  # all of it judged by one calibration
    assert (np.diff(found.p_value) <= 0).all() and (np.diff(found.rate) <= 0).all()
    assert ((found.p_value > 0) & (found.p_value <= 1) & (found.rate > 0) & (found.rate <= 1)).all()


@pytest.mark.parametrize("width", [1, 5, 30])
def test_the_rate_counts_the_episodes_that_a_threshold_at_the_score_would_have_had(width):
    known = smeared(2_000, width, seed=2)
    table = EpisodeTable.of(known, highest_before(known, width), np.ones(2_000, dtype=bool), width=width, peaks=20, least=10)

    def counted(threshold):
        reached = np.flatnonzero(known >= threshold)
        return int((np.diff(reached, prepend=-width - 1) > width).sum())

    asked = np.quantile(known, [0.9, 0.95])
    asked = asked[asked <= table.threshold]
    most = [max(counted(score) for score in known[known >= one]) for one in asked]
    np.testing.assert_allclose(table.rate(asked), [max((1 + count) / 2_001, table.share) for count in most])


def test_the_tail_is_that_of_the_highest_of_each_episode_not_of_each_step():
    known = np.zeros(1_000)
    known[::10] = np.arange(100.0)  # episodes of one step …
    known[905:908] = (190.0, 200.0, 195.0)  # … and one of three, with the step 900 and the step 910 within its width
    table = EpisodeTable.of(known, highest_before(known, 6), np.ones(1_000, dtype=bool), width=6, peaks=20, least=10)
    high = known[::10][known[::10] > table.threshold]
    peaks = np.concatenate([high[~np.isin(high, known[[900, 910]])], [200.0]])
    assert table.share == pytest.approx((1 + len(peaks)) / 1_001)
    assert table.tail == Tail.of(peaks - table.threshold, spread=9.0, least_scale=0.0)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 64, 500])
def test_the_memory_knows_the_highest_score_before_each_across_calibrations(width):
    scores = smeared(300, 5, seed=10)
    calibrator = Calibrator(CalibrationRules(every=7), scores=scores[:50], width=width)
    calibrator.update(scores[50:])
    kept = calibrator.state()[0]["before"]
    loop = [max(scores[max(i - width, 0) : i], default=np.nan) for i in range(len(kept))]
    np.testing.assert_array_equal(kept, loop)


def test_on_steady_scores_as_many_alarms_come_as_were_asked_for():
    for width in (1, 32):
        for asked in (1.0, 4.0):
            calibrator = Calibrator(CalibrationRules(sensitivity=asked), scores=smeared(3_000, width, seed=3), width=width)
            rate = calibrator.update(smeared(20_000, width, seed=4)).rate
            came = 1_000 * len(episodes(rate, asked / 1_000, width)) / 20_000
            assert 0.5 * asked <= came <= 1.6 * asked, (width, asked, came)


def test_p_values_of_steady_scores_are_spread_evenly():
    calibrator, scores = started(width=8)
    found = calibrator.update(scores).p_value
    for level, slack in ((0.5, 0.05), (0.1, 0.03), (0.01, 0.006)):
        assert abs((found <= level).mean() - level) < slack


def test_the_answer_for_a_step_does_not_depend_on_that_step_or_later_ones():
    one, scores = started()
    other, _ = started()
    first = one.update(scores[:3_000])
    changed = scores[:3_000].copy()
    changed[1_500:] *= 10.0
    second = other.update(changed)
    np.testing.assert_array_equal(first.rate[:1_500], second.rate[:1_500])
    np.testing.assert_array_equal(first.p_value[:1_500], second.p_value[:1_500])
    assert (second.rate[1_500:] < first.rate[1_500:]).any()


# One at a time, stored and restored


def awkward(seed):
    """Scores with missing ones, ties, a burst, a level that rises for good, and steps to be ignored."""
    rng = np.random.default_rng(seed)
    scores = smeared(4_000, 12, seed)
    scores[rng.random(4_000) < 0.1] = np.nan
    scores[500:560] += 8.0
    scores[1_000:1_300] = 1.0
    scores[2_200:] *= 3.0
    return scores, rng.random(4_000) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_scores_one_at_a_time_give_bit_for_bit_what_one_batch_gives(seed):
    scores, ignore = awkward(seed)
    start = smeared(300, 12, seed=9)
    whole = Calibrator(CalibrationRules(window=700, every=37), scores=start, width=12).update(scores, ignore=ignore)
    p_value, rate = one_by_one(Calibrator(CalibrationRules(window=700, every=37), scores=start, width=12), scores, ignore)
    np.testing.assert_array_equal(p_value, whole.p_value)
    np.testing.assert_array_equal(rate, whole.rate)


@pytest.mark.parametrize("cut", [1, 36, 37, 530, 2_300])
def test_a_stored_calibrator_goes_on_as_if_nothing_had_been(cut):
    scores, _ = awkward(5)
    rules = CalibrationRules(window=700, every=37)
    whole = Calibrator(rules, scores=np.zeros(0), width=12).update(scores)
    first = Calibrator(rules, scores=np.zeros(0), width=12)
    head = first.update(scores[:cut])
    arrays, values = first.state()
    second = Calibrator.from_state(arrays, json.loads(json.dumps(values, allow_nan=False)))
    tail = second.update(scores[cut:])
    np.testing.assert_array_equal(np.concatenate([head.rate, tail.rate]), whole.rate)
    np.testing.assert_array_equal(np.concatenate([head.p_value, tail.p_value]), whole.p_value)


def test_a_state_that_does_not_fit_together_is_refused():
    calibrator, _ = started()
    arrays, values = calibrator.state()
    with pytest.raises(ValueError, match="do not fit"):
        Calibrator.from_state(arrays | {"steps": arrays["steps"][:-1]}, values)


def test_the_memory_does_not_grow_with_the_steps_seen():
    calibrator, scores = started(CalibrationRules(window=500))
    sizes = set()
    for part in np.split(scores, 6):
        calibrator.update(part)
        sizes.add(len(calibrator.state()[0]["scores"]))
    assert sizes == {500}
    assert calibrator.steps == len(scores)


# Awkward scores


def test_nothing_is_said_before_there_are_scores_enough():
    calibrator = Calibrator(CalibrationRules(every=5), scores=np.full(7, np.nan), width=3)
    assert not calibrator.calibrated
    found = calibrator.update(np.linspace(0.0, 1.0, 30))
    assert np.isnan(found.p_value[:10]).all() and np.isnan(found.rate[:10]).all()
    assert np.isfinite(found.p_value[10:]).all() and calibrator.calibrated


def test_missing_scores_have_no_p_value_and_count_for_nothing():
    scores, _ = awkward(6)
    seen = np.isfinite(scores)
    with_gaps = Calibrator(CalibrationRules(), scores=np.zeros(0), width=12).update(scores)
    without = Calibrator(CalibrationRules(), scores=np.zeros(0), width=12).update(scores[seen])
    assert np.isnan(with_gaps.p_value[~seen]).all() and np.isnan(with_gaps.rate[~seen]).all()
    np.testing.assert_array_equal(with_gaps.rate[seen], without.rate)


@pytest.mark.parametrize("height", [0.0, 5.0, 1e-300, 1e200])
def test_scores_that_are_all_the_same_are_ordinary_and_a_higher_one_is_not(height):
    calibrator = Calibrator(CalibrationRules(), scores=np.full(50, height), width=4)
    found = calibrator.update(np.array([height, height + max(height, 1.0)]))
    assert found.p_value[0] == 1.0 and found.rate[0] == 1.0
    assert 0 < found.p_value[1] < 1e-3 and 0 < found.rate[1] < 1e-3


def test_scores_that_are_mostly_zero_do_not_alarm_at_zero():
    rng = np.random.default_rng(7)
    scores = np.where(rng.random(4_000) < 0.02, rng.exponential(size=4_000), 0.0)
    found = Calibrator(CalibrationRules(), scores=scores[:1_000], width=1).update(scores[1_000:])
    assert (found.rate[scores[1_000:] == 0.0] == 1.0).all()
    assert 1 <= len(episodes(found.rate, 1e-3, 1)) <= 12


def test_a_few_calibration_scores_still_find_what_is_far_beyond_them():
    known = np.random.default_rng(8).standard_normal(12)
    found = Calibrator(CalibrationRules(), scores=known, width=2).update(np.array([0.0, 40.0]))
    assert found.rate[0] > 0.01 and found.rate[1] < 1e-3


def test_what_is_common_never_alarms_however_many_alarms_are_asked_for():
    calibrator, scores = started(CalibrationRules(sensitivity=200.0), width=64)
    assert (calibrator.update(scores).rate <= 0.2).mean() < 0.3


def test_the_tail_of_known_distributions_is_found():
    rng = np.random.default_rng(9)
    exponential = Tail.of(rng.exponential(2.0, size=20_000), spread=9.0, least_scale=1e-9)
    assert abs(exponential.shape) < 0.03 and abs(exponential.scale - 2.0) < 0.1
    heavy = Tail.of((rng.random(20_000) ** -0.3 - 1) / 0.3, spread=9.0, least_scale=1e-9)
    assert abs(heavy.shape - 0.3) < 0.05
    heaviest = Tail.of(rng.random(5_000) ** -2.0, spread=9.0, least_scale=1e-9)
    assert heaviest.shape == pytest.approx(0.5 + 1 / 5_000)  # heavier than is believed


def test_the_fewer_excesses_there_are_the_heavier_is_the_tail_that_is_believed():
    assert Tail.of(np.array([1.0, 1.0, 1.0]), spread=9.0, least_scale=1e-9) == Tail(shape=1 / 3, scale=1.0)
    assert Tail.of(np.array([1.0]), spread=9.0, least_scale=1e-9) == Tail(shape=0.5, scale=1.0)
    assert Tail.of(np.zeros(0), spread=9.0, least_scale=1e-9) == Tail(shape=0.5, scale=9.0)
    rng = np.random.default_rng(10)  # of exponential scores the next one exceeds what is believed as often as is said
    said = [
        float(Tail.of(rng.exponential(size=4), spread=1.0, least_scale=1e-9).beyond(rng.exponential(size=1))[0])
        for _ in range(4_000)
    ]
    assert np.mean(np.asarray(said) <= 0.01) == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("known", [50, 150, 400])
def test_a_short_calibration_gives_no_more_alarms_than_were_asked_for(known: int):
    width, begun = 24, 0
    for seed in range(60):
        noise = np.random.default_rng([seed, known]).standard_normal(known + 300 + width) ** 2
        scores = np.convolve(noise, np.full(width, 1 / width), "valid")[: known + 300]
        calibrator = Calibrator(CalibrationRules(), scores=scores[:known], width=width)
        begun += len(episodes(calibrator.update(scores[known:]).rate, 1e-3, width))
    assert begun / (60 * 0.3) < 1.5  # per 1,000 steps


def test_who_looks_back_judges_each_odd_episode_by_the_others():
    scores = np.random.default_rng(11).exponential(size=300)
    scores[[100, 101, 200]] = 30.0, 25.0, 24.0
    known = np.ones(300, dtype=bool)  # nothing is remembered twice
    there, looking_back = (
        Calibrator(CalibrationRules(), scores=scores, width=8, looking_back=back).update(scores, ignore=known)
        for back in (False, True)
    )
    assert there.p_value[[100, 200]].min() > 1e-3  # among scores that are as high
    assert looking_back.p_value[[100, 101, 200]].max() < 1e-4 and looking_back.rate[[100, 200]].max() < 1e-4
    assert len(episodes(looking_back.rate, 1e-3, 8)) <= 3


def test_too_few_scores_make_a_table_that_says_nothing():
    assert np.isnan(PointTable.of(np.arange(3.0), share=0.02, peaks=20, least=10).p_value(np.ones(2))).all()


# Drift


def test_scores_that_rise_for_good_alarm_at_first_and_then_as_often_as_asked():
    width = 16
    calibrator, scores = started(width=width)
    scores[2_000:] *= 3.0
    rate = calibrator.update(scores).rate
    begun = episodes(rate, 1e-3, width)
    assert ((begun >= 2_000) & (begun < 2_100)).any()
    late = (begun > 5_000).sum()
    assert late / 7.0 <= 2.0  # per 1,000 steps
    once = Calibrator(replace(FIXED, every=100_000), scores=smeared(3_000, width, 0), width=width).update(scores).rate
    assert (episodes(once, 1e-3, width) > 5_000).sum() > 2 * late + 10  # calibrated once and for all


def test_a_slow_rise_does_not_alarm_more_often_than_three_times_what_was_asked():
    width = 16
    calibrator, scores = started(width=width)
    rate = calibrator.update(scores * np.linspace(1.0, 3.0, len(scores))).rate
    assert 1_000 * len(episodes(rate, 1e-3, width)) / len(scores) <= 3.0
    assert (rate <= 1e-3).mean() < 0.1


def test_an_anomaly_does_not_hide_the_next_one():
    calibrator, scores = started(width=16)
    for at in (3_000, 4_000, 5_000, 6_000):
        scores[at : at + 30] += 4.0 * scores.std()
    rate = calibrator.update(scores).rate
    assert all((rate[at : at + 30] <= 1e-3).any() for at in (3_000, 4_000, 5_000, 6_000))


def test_what_lasts_becomes_the_new_normal_and_what_was_normal_before_is_forgotten():
    calibrator, scores = started(CalibrationRules(new_normal=300), width=16)
    scores[1_000:] += 50.0
    rate = calibrator.update(scores).rate
    assert (rate[1_000:1_200] <= 1e-3).all()
    assert (rate[1_500:] <= 1e-3).mean() < 0.05
    oldest = calibrator.state()[0]["scores"].min()
    assert oldest > 40.0


# Feedback


def test_true_anomalies_leave_the_memory_and_the_same_again_stands_out_more():
    calibrator, scores = started(FIXED)
    scores[100:130] = 20.0
    calibrator.update(scores[:1_000])
    again = np.array([20.0])
    before = Calibrator.from_state(*calibrator.state()).update(again).p_value
    assert calibrator.exclude(np.arange(100, 130)) == 30
    assert calibrator.update(again).p_value < before


def test_false_alarms_count_as_ordinary_and_the_same_again_stands_out_less():
    calibrator, scores = started(FIXED)
    for at in range(100, 900, 100):
        scores[at : at + 5] = 20.0 + at / 1_000
    calibrator.update(scores[:1_000])
    again = np.array([20.0])
    before = Calibrator.from_state(*calibrator.state()).update(again).rate
    rows = np.concatenate([np.arange(at, at + 5) for at in range(100, 900, 100)])
    assert calibrator.readmit(rows) == len(rows)
    after = calibrator.update(again).rate
    assert before < 1e-4 and after > 5 * before


def test_feedback_reaches_steps_that_wait_for_the_next_calibration_and_none_that_are_gone():
    calibrator, scores = started(CalibrationRules(window=500))
    calibrator.update(scores[:1_050])  # the last 50 wait
    assert calibrator.exclude([1_040, 1_049]) == 2
    assert calibrator.exclude([3, 5_000]) == 0
    calibrator.update(scores[1_050:1_100])
    arrays, _ = calibrator.state()
    assert arrays["states"][np.isin(arrays["steps"], [1_040, 1_049])].tolist() == [2, 2]
    fresh, _ = started()
    assert fresh.exclude([-1, -2]) == 2  # of the scores of the start


def test_ignored_steps_are_judged_but_not_remembered():
    calibrator, scores = started()
    ignore = np.zeros(1_000, dtype=bool)
    ignore[200:400] = True
    scores[200:400] += 100.0
    found = calibrator.update(scores[:1_000], ignore=ignore)
    assert (found.rate[200:400] < 1e-3).all()
    assert calibrator.state()[0]["scores"].max() < 50.0


# Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("window", 5),
        ("every", 1.5),
        ("least", True),
        ("peaks", -1),
        ("sensitivity", 0),
        ("sensitivity", 2_000),
        ("tail", 1.0),
        ("gain", -0.1),
        ("new_normal", 0),
        ("sensitivity", "high"),
    ],
)
def test_bad_rules_are_refused_by_name(name, value):
    with pytest.raises(OptionError, match=rf"calibration\.{name} must be") as caught:
        CalibrationRules(**{name: value})
    assert caught.value.field == f"calibration.{name}"


def test_scores_and_masks_of_a_wrong_form_are_refused():
    calibrator, _ = started()
    with pytest.raises(OptionError, match="infinite"):
        calibrator.update(np.array([1.0, np.inf]))
    with pytest.raises(OptionError, match="shape"):
        calibrator.update(np.zeros((2, 2)))
    with pytest.raises(OptionError, match="ignore"):
        calibrator.update(np.zeros(3), ignore=np.zeros(2, dtype=bool))
    with pytest.raises(OptionError, match="width"):
        Calibrator(CalibrationRules(), scores=np.zeros(3), width=0)
    assert len(calibrator.update(np.zeros(0)).rate) == 0

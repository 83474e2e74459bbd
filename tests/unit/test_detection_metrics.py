"""Each metric of detection beside a for-loop from its definition, a case worked out by hand, or scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsforecast import metrics
from tsforecast.errors import DataError, OptionError

NAN = math.nan
EARLIEST = 2 / (1 + math.exp(-5)) - 1  # NAB's s(-1)


def runs_of(labels):
    """[(first, last)], one step after the other."""
    found = []
    for row, value in enumerate(labels):
        if value and row and labels[row - 1]:
            found[-1] = (found[-1][0], row)
        elif value:
            found.append((row, row))
    return found


def zeros_with(n, *rows):
    labels = np.zeros(n, dtype=int)
    labels[list(rows)] = 1
    return labels


def sample(seed, n=120, share=0.1, levels=None):
    """Labels with runs at both ends on odd seeds, and scores that know something; `levels` rounds them into ties."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(n, dtype=int)
    while labels.mean() < share:
        start = int(rng.integers(n))
        labels[start : start + int(rng.integers(1, 9))] = 1
    if seed % 2:
        labels[:2] = labels[-3:] = 1
    scores = labels + rng.normal(0, 0.8, n)
    return labels, scores if levels is None else np.round(scores * levels) / levels


# ---------------------------------------------------------------- volume under the surface


def merged_runs(runs, reach, n):
    """Runs widened by `reach` steps; those that share a step are one."""
    merged = [[max(runs[0][0] - reach, 0), runs[0][1] + reach]]
    for start, end in runs[1:]:
        if merged[-1][1] < start - reach:
            merged.append([start - reach, end + reach])
        else:
            merged[-1][1] = end + reach
    merged[-1][1] = min(merged[-1][1], n - 1)
    return merged


def soft_labels(labels, runs, width):
    soft = [float(value) for value in labels]
    for start, end in runs:
        for row in range(len(soft)):
            distance = start - row if row < start else row - end
            if 1 <= distance <= width // 2:
                soft[row] += math.sqrt(1 - distance / width)
    return [min(value, 1.0) for value in soft]


def slow_vus_pr(labels, scores, buffer, thresholds):
    n, runs = len(labels), runs_of(labels)
    descending = sorted(scores, reverse=True)
    widest = merged_runs(runs, buffer // 2, n)
    areas = []
    for width in range(buffer + 1):
        soft = soft_labels(labels, runs, width)
        segments = merged_runs(runs, width // 2, n)
        area, before = 0.0, 0.0
        for rank in np.linspace(0, n - 1, thresholds).astype(int):
            predicted = [score >= descending[rank] for score in scores]
            at_threshold = [soft[row] * predicted[row] for row in range(n)]
            for start, end in runs:
                at_threshold[start : end + 1] = [1.0] * (end + 1 - start)
            hits = total = 0.0
            for start, end in widest:
                for row in range(start, end + 1):
                    hits += at_threshold[row] * predicted[row]
                    total += at_threshold[row]
            touched = sum(any(predicted[start : end + 1]) for start, end in segments) / len(segments)
            recall = min(hits / ((sum(labels) + total) / 2), 1.0) * touched
            area += (recall - before) * hits / sum(predicted)
            before = recall
        areas.append(area)
    return sum(areas) / len(areas)


@pytest.mark.parametrize("buffer", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("seed", range(6))
def test_the_volume_agrees_with_the_slow_one_from_the_definition(seed, buffer):
    labels, scores = sample(seed, n=70, levels=2 if seed > 2 else None)
    assert metrics.vus_pr(labels, scores, buffer=buffer, thresholds=25) == pytest.approx(
        slow_vus_pr(labels, scores, buffer, 25), abs=1e-12
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=24),
    buffer=st.integers(0, 30),
    thresholds=st.integers(2, 30),
)
def test_the_volume_agrees_on_any_small_case_of_ties_and_crowded_runs(rows, buffer, thresholds):
    labels, scores = [int(label) for label, _ in rows], [float(score) for _, score in rows]
    if 0 < sum(labels) < len(labels):
        slow = slow_vus_pr(labels, scores, buffer, thresholds)
        assert metrics.vus_pr(labels, scores, buffer=buffer, thresholds=thresholds) == pytest.approx(slow, abs=1e-12)


def test_the_volume_at_250_thresholds_on_a_longer_series_agrees_too():
    labels, scores = sample(1, n=400, share=0.05)
    assert metrics.vus_pr(labels, scores, buffer=4) == pytest.approx(slow_vus_pr(labels, scores, 4, 250), abs=1e-12)


def test_without_a_buffer_and_with_a_threshold_at_each_step_one_run_leaves_average_precision():
    labels, scores = zeros_with(50, *range(20, 27)), np.random.default_rng(3).normal(size=50)
    assert metrics.vus_pr(labels, scores, buffer=0, thresholds=50) == pytest.approx(metrics.auc_pr(labels, scores), abs=1e-12)


def test_the_volume_forgives_a_lag_that_average_precision_does_not():
    labels, scores = zeros_with(200, *range(100, 105)), np.zeros(200)
    scores[106:109] = 1
    assert metrics.vus_pr(labels, scores, buffer=20) > 4 * metrics.auc_pr(labels, scores)


def test_one_long_run_does_not_decide_over_the_short_ones():
    labels, long_one, every_one = zeros_with(300, *range(50, 90), 150, 200, 250), np.zeros(300), np.zeros(300)
    long_one[50:90] = 1
    every_one[[*range(50, 87), 150, 200, 250]] = 1
    assert metrics.vus_pr(labels, every_one, buffer=0) > 2 * metrics.vus_pr(labels, long_one, buffer=0)


def test_constant_scores_are_worth_the_share_of_anomalies():
    labels = zeros_with(100, 40, 41, 42, 43, 44)
    assert metrics.vus_pr(labels, np.full(100, 7.0), buffer=0) == pytest.approx(0.05, abs=1e-12)
    assert metrics.auc_pr(labels, np.full(100, 7.0)) == pytest.approx(0.05, abs=1e-12)
    assert metrics.auc_roc(labels, np.full(100, 7.0)) == 0.5


def test_runs_closer_than_the_buffer_count_as_one_for_being_found():
    labels, scores = zeros_with(60, 30, 34), np.zeros(60)
    scores[30] = 1
    assert metrics.vus_pr(labels, scores, buffer=3, thresholds=2) == pytest.approx(slow_vus_pr(labels, scores, 3, 2), abs=1e-12)
    at_3, at_4 = (metrics.vus_pr(labels, scores, buffer=width) for width in (3, 4))
    assert 5 * at_4 - 4 * at_3 > at_3  # the area at width 4 alone, where the two runs become one


# ---------------------------------------------------------------- scores against scikit-learn


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_average_precision_and_the_roc_area_are_those_of_scikit_learn(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    for seed in range(5):
        labels, scores = sample(seed, levels=levels)
        assert metrics.auc_pr(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        assert metrics.auc_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.auc_pr, metrics.auc_roc, lambda y, s: metrics.vus_pr(y, s, buffer=3)])
def test_scores_count_by_their_order_alone_and_one_that_is_missing_as_the_lowest(metric):
    labels, scores = sample(2)
    scores[[5, 50]] = scores.min() - 1
    expected = metric(labels, scores)
    assert metric(labels, np.exp(scores)) == expected
    lowest = np.where(scores == scores.min(), NAN, scores)
    assert metric(labels, lowest) == expected
    highest = np.where(scores == scores.max(), np.inf, scores)
    assert metric(labels.astype(bool), highest) == expected


@pytest.mark.parametrize("metric", [metrics.auc_pr, metrics.auc_roc, lambda y, s: metrics.vus_pr(y, s, buffer=3)])
def test_where_there_is_nothing_to_tell_apart_there_is_no_value(metric):
    for labels in (np.zeros(8), np.ones(8), np.zeros(0)):
        assert math.isnan(metric(labels, np.arange(len(labels))))


@pytest.mark.parametrize("metric", [metrics.auc_pr, metrics.auc_roc, lambda y, s: metrics.vus_pr(y, s, buffer=3)])
def test_labels_that_are_none_and_lengths_that_differ_are_refused(metric):
    with pytest.raises(DataError, match="got 2 at row 1") as wrong:
        metric([0, 2, 1], [0.1, 0.2, 0.3])
    assert wrong.value.field == "labels"
    with pytest.raises(DataError, match="got nan at row 0"):
        metric([NAN, 0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="one of each for each step") as wrong:
        metric([0, 1], [0.1, 0.2, 0.3])
    assert wrong.value.field == "scores"
    with pytest.raises(DataError, match="shape"):
        metric([[0, 1]], [[0.1, 0.2]])


def test_a_negative_buffer_and_a_single_threshold_are_refused():
    with pytest.raises(OptionError, match="buffer must be at least 0"):
        metrics.vus_pr([0, 1], [0, 1], buffer=-1)
    with pytest.raises(OptionError, match="thresholds must be at least 2"):
        metrics.vus_pr([0, 1], [0, 1], buffer=1, thresholds=1)


# ---------------------------------------------------------------- the buffer


def reference_length(values):
    """TSB-AD's `find_length`, with the libraries it uses."""
    from scipy.signal import argrelextrema
    from statsmodels.tsa.stattools import acf

    correlation = acf(values[:20_000], nlags=400, fft=True)[3:]
    peaks = argrelextrema(correlation, np.greater)[0]
    if not len(peaks):
        return 125
    best = peaks[np.argmax(correlation[peaks])]
    return best + 3 if 3 <= best <= 300 else 125


@pytest.mark.parametrize("period", [4, 5, 6, 24, 100, 303, 304, 380])
def test_the_buffer_is_the_period_as_tsb_ad_finds_it(period):
    rng = np.random.default_rng(period)
    values = np.tile(rng.normal(size=period), 6000 // period) + rng.normal(0, 0.1, 6000 // period * period)
    expected = reference_length(values)
    assert metrics.buffer_of(values) == expected
    if 6 <= period <= 100:
        assert expected == period


def test_the_buffer_agrees_on_noise_and_short_series_and_reads_the_beginning_only():
    rng = np.random.default_rng(0)
    for n in (30, 400, 401, 2000):
        values = rng.normal(size=n).cumsum()
        assert metrics.buffer_of(values) == reference_length(values)
    beginning = np.tile(np.arange(20.0), 1000)
    assert metrics.buffer_of(np.concatenate([beginning, np.tile(np.arange(50.0) * 100, 1000)])) == 20


def test_a_series_without_a_period_gets_125_and_missing_values_do_not_hide_one():
    assert metrics.buffer_of(np.full(500, 3.0)) == metrics.buffer_of([1.0]) == metrics.buffer_of([]) == 125
    assert metrics.buffer_of(np.full(500, NAN)) == 125
    values = np.tile(np.arange(20.0), 50)
    values[np.random.default_rng(1).random(1000) < 0.2] = NAN
    assert metrics.buffer_of(values) == 20
    with pytest.raises(DataError, match="pass one channel"):
        metrics.buffer_of(np.zeros((50, 2)))


# ---------------------------------------------------------------- alarms


def test_runs_are_counted_once_and_a_near_one_only_within_the_slack():
    labels = zeros_with(40, 5, 6, 7, 20, 30, 31)
    predicted = zeros_with(40, 6, 22, 23, 35)
    plain = metrics.event_scores(labels, predicted)
    assert (plain.found, plain.missed, plain.false_alarms) == (1, 2, 2)
    assert (plain.precision, plain.recall, plain.f1) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    near = metrics.event_scores(labels, predicted, slack=2)
    assert (near.found, near.missed, near.false_alarms) == (2, 1, 1)
    assert (near.precision, near.recall) == pytest.approx((2 / 3, 2 / 3))
    assert metrics.event_scores(labels, predicted, slack=1).found == 1


@pytest.mark.parametrize("slack", [0, 1, 4])
@pytest.mark.parametrize("seed", range(8))
def test_events_agree_with_a_comparison_of_every_pair_of_runs(seed, slack):
    labels, scores = sample(seed)
    predicted = (scores > 1.2).astype(int)
    truth = [(start - slack, end + slack) for start, end in runs_of(labels)]
    alarms = runs_of(predicted)
    found = sum(any(start <= last and first <= end for first, last in alarms) for start, end in truth)
    right = sum(any(start <= last and first <= end for start, end in truth) for first, last in alarms)
    got = metrics.event_scores(labels, predicted, slack=slack)
    assert (got.found, got.missed, got.false_alarms) == (found, len(truth) - found, len(alarms) - right)
    per_1000 = 1000 * (len(alarms) - right) / (len(labels) - sum(labels))
    assert metrics.false_alarms_per_1000(labels, predicted, slack=slack) == pytest.approx(per_1000)


def test_where_nothing_is_predicted_or_labelled_the_missing_half_is_nan():
    silent = metrics.event_scores(zeros_with(10, 3), np.zeros(10))
    assert math.isnan(silent.precision) and (silent.recall, silent.f1, silent.missed) == (0.0, 0.0, 1)
    calm = metrics.event_scores(np.zeros(10), zeros_with(10, 3, 7))
    assert math.isnan(calm.recall) and math.isnan(calm.f1) and (calm.precision, calm.false_alarms) == (0.0, 2)
    wrong = metrics.event_scores(zeros_with(10, 1), zeros_with(10, 7))
    assert (wrong.precision, wrong.recall, wrong.f1) == (0.0, 0.0, 0.0)


def test_false_alarms_nearer_than_the_gap_are_one_and_only_normal_steps_are_counted():
    labels = zeros_with(204, 100, 101, 102, 103)
    predicted = zeros_with(204, 10, 12, 15, 98, 150)
    assert metrics.false_alarms_per_1000(labels, predicted) == pytest.approx(1000 * 5 / 200)
    assert metrics.false_alarms_per_1000(labels, predicted, gap=1) == pytest.approx(1000 * 5 / 200)
    assert metrics.false_alarms_per_1000(labels, predicted, gap=2) == pytest.approx(1000 * 4 / 200)
    assert metrics.false_alarms_per_1000(labels, predicted, gap=3) == pytest.approx(1000 * 3 / 200)
    assert metrics.false_alarms_per_1000(labels, predicted, gap=3, slack=2) == pytest.approx(1000 * 2 / 200)
    assert metrics.false_alarms_per_1000(labels, np.zeros(204), gap=3) == 0.0
    assert metrics.false_alarms_per_1000(np.zeros(500), zeros_with(500, 1), gap=3) == 2.0
    assert math.isnan(metrics.false_alarms_per_1000(np.ones(3), np.ones(3)))


def test_negative_steps_and_predictions_that_are_scores_are_refused():
    with pytest.raises(OptionError, match="slack"):
        metrics.event_scores([0, 1], [0, 1], slack=-1)
    with pytest.raises(OptionError, match="gap"):
        metrics.false_alarms_per_1000([0, 1], [0, 1], gap=-1)
    with pytest.raises(DataError, match=r"got 0\.7 at row 1") as wrong:
        metrics.event_scores([0, 1], [0, 0.7])
    assert wrong.value.field == "predicted"
    with pytest.raises(DataError, match="one of each"):
        metrics.range_f1([0, 1], [0, 1, 1])
    with pytest.raises(OptionError, match="from 0 to 1"):
        metrics.range_f1([0, 1], [0, 1], existence=1.5)


def slow_range_reward(own, other, existence):
    rewards = []
    for start, end in runs_of(own):
        touching = [(a, b) for a, b in runs_of(other) if a <= end and start <= b]
        overlap = sum(min(b, end) - max(a, start) + 1 for a, b in touching) / (end - start + 1)
        rewards.append(existence * bool(touching) + (1 - existence) * (overlap / len(touching) if touching else 0.0))
    return sum(rewards) / len(rewards)


@pytest.mark.parametrize("existence", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_range_precision_and_recall_agree_with_the_paper_run_by_run(seed, existence):
    labels, scores = sample(seed)
    predicted = (scores > 0.9).astype(int)
    precision, recall = slow_range_reward(predicted, labels, 0.0), slow_range_reward(labels, predicted, existence)
    assert metrics.range_precision_recall(labels, predicted, existence=existence) == pytest.approx((precision, recall))
    f1 = 2 * precision * recall / (precision + recall)
    assert metrics.range_f1(labels, predicted, existence=existence) == pytest.approx(f1)


def test_a_broken_alarm_is_worth_less_than_one_of_the_same_length():
    labels = zeros_with(20, *range(5, 13))
    whole, broken = zeros_with(20, 5, 6, 7, 8), zeros_with(20, 5, 6, 9, 10)
    assert metrics.range_precision_recall(labels, whole) == pytest.approx((1.0, 0.2 + 0.8 * 0.5))
    assert metrics.range_precision_recall(labels, broken) == pytest.approx((1.0, 0.2 + 0.8 * 0.5 / 2))
    assert metrics.range_f1(labels, np.zeros(20)) == 0.0
    assert math.isnan(metrics.range_f1(np.zeros(20), whole))


# ---------------------------------------------------------------- NAB


def sigmoid(position):
    return 2 / (1 + math.exp(5 * position)) - 1


def test_nab_gives_0_for_silence_and_100_for_a_hit_on_the_first_row_of_each_window():
    windows = [(200, 219), (400, 449)]
    for profile in ("standard", "reward_low_FP_rate", "reward_low_FN_rate"):
        assert metrics.nab_score(windows, [], 1000, profile=profile) == 0.0
        assert metrics.nab_score(windows, [200, 400], 1000, profile=profile) == pytest.approx(100.0)
        assert metrics.nab_score(windows, [200, 210, 400, 449], 1000, profile=profile) == pytest.approx(100.0)


def test_nab_rewards_the_first_hit_by_its_earliness_and_charges_what_is_missed():
    windows = [(200, 219), (400, 449)]
    raw, null, perfect = metrics.nab_points(windows, [210, 215], 1000)
    assert raw == pytest.approx(sigmoid(-10 / 20) / EARLIEST - 1) and (null, perfect) == (-2.0, 2.0)
    raw, null, perfect = metrics.nab_points(windows, [219], 1000, profile="reward_low_FN_rate")
    assert raw == pytest.approx(sigmoid(-1 / 20) / EARLIEST - 2) and (null, perfect) == (-4.0, 2.0)


def test_nab_charges_each_row_of_a_false_alarm_by_its_distance_to_the_window_before():
    windows = [(200, 219), (400, 449)]
    assert metrics.nab_points(windows, [180, 199], 1000)[0] == pytest.approx(-2 - 0.11 * 2)  # before any window: full weight
    assert metrics.nab_points(windows, [220], 1000)[0] == pytest.approx(-2 + 0.11 * sigmoid(1 / 19))
    assert metrics.nab_points(windows, [229, 460], 1000)[0] == pytest.approx(-2 + 0.11 * (sigmoid(10 / 19) + sigmoid(11 / 49)))
    at_3, beyond = (metrics.nab_points(windows, [219 + 3 * 19 + more], 1000)[0] for more in (0, 1))
    assert at_3 == pytest.approx(-2 + 0.11 * sigmoid(3), abs=1e-12)
    assert beyond == pytest.approx(-2.11, abs=1e-12)  # full weight, where the curve itself stops 3e-7 short
    low = metrics.nab_points(windows, [220], 1000, profile="reward_low_FP_rate")[0]
    assert low == pytest.approx(-2 + 0.22 * sigmoid(1 / 19))


def test_nab_scores_nothing_within_the_probation():
    windows = [(100, 160), (400, 449)]
    assert metrics.nab_points(windows, [50, 100], 1000) == metrics.nab_points(windows, [], 1000)
    inside = metrics.nab_points(windows, [150], 1000)[0]  # 15 % of 1,000 rows are over, the window is not
    assert inside == pytest.approx(sigmoid(-11 / 61) / EARLIEST - 1)
    assert metrics.nab_points(windows, [50], 1000, probation=0)[0] == pytest.approx(-2.11)
    assert metrics.nab_points(windows, [170], 1000, probation=161) == pytest.approx((-1 + 0.11 * sigmoid(10 / 60), -1.0, 1.0))
    assert metrics.nab_points([(700, 749)], [], 9000)[1:] == (0.0, 0.0)  # at most 750 rows
    assert math.isnan(metrics.nab_score([], [600], 1000))


def test_nab_refuses_masks_rows_outside_and_windows_out_of_order():
    with pytest.raises(DataError, match=r"np\.flatnonzero"):
        metrics.nab_score([(2, 3)], np.array([True, False, True, True]), 4)
    with pytest.raises(DataError, match=r"rows 0 … 9") as wrong:
        metrics.nab_score([(2, 3)], [10], 10)
    assert wrong.value.field == "predicted"
    for windows in ([(3, 2)], [(5, 6), (1, 2)], [(1, 4), (4, 6)], [(8, 10)], [(-1, 2)]):
        with pytest.raises(DataError, match="without overlap"):
            metrics.nab_score(windows, [], 10)
    with pytest.raises(OptionError, match="profile must be one of standard"):
        metrics.nab_score([(2, 3)], [], 10, profile="best")
    with pytest.raises(OptionError, match="probation"):
        metrics.nab_score([(2, 3)], [], 10, probation=-1)


# ---------------------------------------------------------------- channels and the bootstrap


def test_the_hit_rate_is_the_share_of_true_channels_among_the_first():
    contribution = [0.5, 0.1, 0.9, 0.3, 0.2]
    assert metrics.hit_rate(contribution, {2, 0}) == 1.0
    assert metrics.hit_rate(contribution, {2, 3}) == 0.5
    assert metrics.hit_rate(contribution, {2, 3}, percent=150) == 1.0
    assert metrics.hit_rate(contribution, {1, 2, 3}, percent=150) == 1.0  # ceil(4.5) = 5
    assert metrics.hit_rate(contribution, {1}) == 0.0
    assert metrics.hit_rate([NAN, 0.1], {0}) == 0.0
    assert math.isnan(metrics.hit_rate(contribution, set()))


def test_equal_contributions_earn_what_chance_would():
    assert metrics.hit_rate([1, 1, 1, 1], {0}) == metrics.hit_rate([1, 1, 1, 1], {3}) == 0.25
    assert metrics.hit_rate([5, 1, 1, 0], {0, 2}) == 0.75


def test_discounted_gain_is_that_of_scikit_learn():
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(4)
    for _ in range(20):
        contribution = rng.integers(0, 6, 12).astype(float)  # ties
        truth = set(rng.choice(12, int(rng.integers(1, 6)), replace=False).tolist())
        for percent in (100, 200):
            k = min(len(truth) * percent // 100, 12)
            expected = ndcg_score([[int(c in truth) for c in range(12)]], [contribution], k=k)
            assert metrics.ndcg(contribution, truth, percent=percent) == pytest.approx(expected, abs=1e-12)
    assert metrics.ndcg([3, 2, 1], {1}, percent=200) == pytest.approx(1 / math.log2(3))
    assert math.isnan(metrics.ndcg([3, 2, 1], set()))


def test_channels_that_do_not_exist_are_refused():
    with pytest.raises(DataError, match=r"within 0 … 1") as wrong:
        metrics.hit_rate([0.2, 0.1], {2})
    assert wrong.value.field == "truth"
    with pytest.raises(OptionError, match="percent"):
        metrics.ndcg([0.2, 0.1], {1}, percent=0)
    with pytest.raises(DataError, match="shape"):
        metrics.hit_rate([[0.2, 0.1]], {1})


def test_the_interval_is_that_of_the_paired_difference():
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 10, 200)  # the same for both: pairing removes it
    gain = rng.normal(0.3, 1, 200)
    mean, low, high = metrics.bootstrap_mean_difference(difficulty + gain, difficulty, seed=1)
    error = gain.std() / math.sqrt(200)
    assert mean == pytest.approx(gain.mean())
    assert (low, high) == pytest.approx((gain.mean() - 1.96 * error, gain.mean() + 1.96 * error), abs=0.1 * error)
    back = metrics.bootstrap_mean_difference(difficulty, difficulty + gain, seed=1)
    assert back == pytest.approx((-mean, -high, -low))


def test_the_bootstrap_repeats_itself_leaves_out_gaps_and_survives_few_pairs():
    a, b = np.array([1.0, 2.0, NAN, 4.0, 6.0]), np.array([0.0, 2.0, 1.0, NAN, 1.0])
    once = metrics.bootstrap_mean_difference(a, b, seed=3, draws=500)
    assert once == metrics.bootstrap_mean_difference(a[[0, 1, 4]], b[[0, 1, 4]], seed=3, draws=500)
    assert once[0] == 2.0 and once[1] < 2.0 < once[2]
    mean, low, high = metrics.bootstrap_mean_difference([1.0], [0.5], seed=3)
    assert mean == 0.5 and math.isnan(low) and math.isnan(high)
    assert all(math.isnan(value) for value in metrics.bootstrap_mean_difference([NAN], [0.5], seed=3))
    with pytest.raises(DataError, match="same order"):
        metrics.bootstrap_mean_difference([1.0, 2.0], [1.0], seed=3)
    with pytest.raises(OptionError, match="draws"):
        metrics.bootstrap_mean_difference(a, b, seed=3, draws=0)


# ---------------------------------------------------------------- the package


def test_all_metrics_are_offered_by_the_package_and_point_adjusted_f1_is_not():
    assert len(set(metrics.__all__)) == len(metrics.__all__)
    assert all(hasattr(metrics, name) for name in metrics.__all__)
    assert not [name for name in (*metrics.__all__, *dir(metrics)) if "adjust" in name.lower() or name.lower().startswith("pa_")]

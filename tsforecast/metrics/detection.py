"""Labelled anomalies and what a detector said -> numbers. Every metric is one function over plain arrays of one series.

Shapes: `labels` (N,) of 0 / 1, 1 = anomalous; `scores` (N,), higher = more anomalous; `predicted` (N,) of 0 / 1, 1 = alarm.
A score of NaN (a step the detector could not judge) counts as the lowest of all: what was not judged was not found.
A run is a longest stretch of ones. Where a metric has no value (no anomaly to find) it is NaN, as each docstring says.

`vus_pr` is the main metric: no threshold to choose, a few steps of lag forgiven, one long run cannot decide alone. Print it
beside the value of random scores, which is not the share of anomalies but higher, because of the buffers around them.

Point-adjusted F1 is not offered: it counts every step of a run as found once one of them is hit, and so prefers noise. On our
data uniform random scores got 0.87 and a real detector 0.76; Kim et al. (AAAI 2022) found random scores above published ones.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsforecast.errors import DataError, OptionError
from tsforecast.panel import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
NAB_PROFILES = {  # name -> weight of (a true positive, a false positive, a false negative): NAB's config/profiles.json
    "standard": (1.0, 0.11, 1.0),
    "reward_low_FP_rate": (1.0, 0.22, 1.0),
    "reward_low_FN_rate": (1.0, 0.11, 2.0),
}
NO_PERIOD = 125  # steps: what TSB-AD takes where the autocorrelation has no peak
FAR = np.iinfo(np.int64).max // 4  # steps to a run that does not exist

# ---------------------------------------------------------------- scores, over all thresholds


def vus_pr(labels: npt.ArrayLike, scores: npt.ArrayLike, *, buffer: int, thresholds: int = 250) -> float:
    """Volume under the precision-recall surface, 0 to 1 (Paparrizos et al., PVLDB 2022), as TSB-AD computes it.

    Args:
        buffer: the widest buffer in steps; TSB-AD takes the main period of the series, see `buffer_of`.
        thresholds: how many scores, at equally spaced ranks, serve as thresholds.

    For each width l = 0 … buffer a step at d <= l // 2 steps from a run gets the soft label sqrt(1 - d / l), summed over runs
    and cut at 1. At each threshold: hits = sum of soft labels of the steps at or above it; precision = hits / their number;
    recall = hits / (mean of the labelled steps without and with the buffer steps hit), at most 1, times the share of runs
    (widened by l // 2; those that then overlap are one) with a step hit. Area = sum of recall gains x precision; mean over l.
    NaN where no step is labelled, or every one. Cost: O(N log N + buffer^2 thresholds), whatever the number of runs.

    Raises:
        DataError: lengths differ, or labels are not 0 and 1.
        OptionError: buffer < 0, or fewer than 2 thresholds.
    """
    if buffer < 0 or thresholds < 2:
        name, got, least = ("buffer", buffer, 0) if buffer < 0 else ("thresholds", thresholds, 2)
        raise OptionError(f"{name} must be at least {least}, got {got}", field=name)
    labelled, judged = _labels_and_scores(labels, scores)
    if labelled.all() or not labelled.any():
        return math.nan
    descending = np.sort(judged)[::-1]
    at = descending[np.linspace(0, len(judged) - 1, thresholds).astype(np.int64)]  # (K,)
    first = np.searchsorted(-at, -judged)  # (N,): the first, so highest, threshold that a step reaches
    predicted = np.cumsum(np.bincount(first, minlength=thresholds))  # (K,)
    hard = np.cumsum(np.bincount(first[labelled], minlength=thresholds))  # (K,): steps hit inside runs
    positives = int(labelled.sum())
    found = _shares_found(labelled, first, buffer // 2, thresholds)  # (R + 1, K)
    areas = []
    for width, soft in enumerate(_buffer_hits(labelled, first, buffer, thresholds)):
        hits = hard + np.cumsum(soft)
        recall = np.minimum(hits / (positives + (hits - hard) / 2), 1.0) * found[width // 2]
        areas.append(np.diff(recall, prepend=0.0) @ (hits / predicted))
    return float(np.mean(areas))


def auc_pr(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Average precision per step, 0 to 1: sum of recall gains x precision, equal scores taken together, as scikit-learn.

    Honest but strict: a peak a few steps beside its run counts as a false one. NaN where no step is labelled, or every one.
    """
    labelled, judged = _labels_and_scores(labels, scores)
    if labelled.all() or not labelled.any():
        return math.nan
    order = np.argsort(-judged, kind="stable")
    ordered = judged[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # the last step of each group of equal scores
    hits = np.cumsum(labelled[order])[last]
    return float(np.diff(hits, prepend=0) @ (hits / (last + 1)) / labelled.sum())


def auc_roc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Chance that an anomalous step scores above a normal one, a tie counting half; 0.5 for random scores.

    Too kind where anomalies are rare: 1 % false alarms hardly show. NaN where no step is labelled, or every one.
    """
    labelled, judged = _labels_and_scores(labels, scores)
    if labelled.all() or not labelled.any():
        return math.nan
    _, group, sizes = np.unique(judged, return_inverse=True, return_counts=True)
    rank = np.cumsum(sizes) - (sizes - 1) / 2  # mean rank of each group of equal scores, from 1
    positives = int(labelled.sum())
    above = rank[group][labelled].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(labelled) - positives)))


def buffer_of(values: npt.ArrayLike) -> int:
    """The buffer TSB-AD gives `vus_pr` for a series (N,): its main period in steps, 125 where there is none.

    The highest local peak of the autocorrelation of the first 20,000 steps at lags 4 … 399, and 125 where that lies below
    lag 6 or above 303 (TSB-AD's `find_length`). Missing values count as the mean. Take channel 0 of many, as TSB-AD does.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise DataError(
            f"buffer_of takes the values (N,) of one series, got shape {series.shape}; pass one channel", field="values"
        )
    series = series[:20_000]
    observed = np.isfinite(series)
    if not observed.any():
        return NO_PERIOD
    deviation = np.where(observed, series, 0.0)
    deviation = np.where(observed, deviation - deviation[observed].mean(), 0.0)
    padded = 2 ** math.ceil(math.log2(2 * len(series)))  # so that the circular correlation of the FFT is the plain one
    spectrum = np.fft.rfft(deviation, padded)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, padded)[: min(401, len(series))]  # lags 0 … 400
    if not covariance[0] > 0:
        return NO_PERIOD
    correlation = covariance[3:] / covariance[0]
    peaks = 1 + np.flatnonzero((correlation[1:-1] > correlation[:-2]) & (correlation[1:-1] > correlation[2:]))
    if not len(peaks):
        return NO_PERIOD
    peak = int(peaks[np.argmax(correlation[peaks])])
    return peak + 3 if 3 <= peak <= 300 else NO_PERIOD


# ---------------------------------------------------------------- alarms, at a threshold fixed without the labels


@dataclass(frozen=True, kw_only=True, slots=True)
class EventScores:
    """Runs counted once each. `found` and `missed` are labelled runs, `false_alarms` predicted ones.

    precision is NaN where nothing is predicted, recall and f1 where nothing is labelled.
    """

    precision: float
    recall: float
    f1: float
    found: int
    missed: int
    false_alarms: int


def event_scores(labels: npt.ArrayLike, predicted: npt.ArrayLike, *, slack: int = 0) -> EventScores:
    """Precision and recall of alarms by run, for alarms of a threshold chosen without the labels.

    Args:
        slack: steps by which each labelled run is widened on both sides.

    A labelled run is found if a predicted run overlaps it (widened), a predicted run is right if it overlaps a labelled one.
    With the best threshold for the labels this would be a ceiling, not a result: one alarm over everything scores 1.
    """
    _check_steps("slack", slack)
    truth, alarm = _labels(labels, "labels"), _labels(predicted, "predicted")
    _check_lengths(truth, alarm, "predicted")
    starts, ends = _runs(truth)
    alarm_starts, alarm_ends = _runs(alarm)
    hit = _touched(starts - slack, ends + slack, alarm_starts, alarm_ends)
    right = _touched(alarm_starts, alarm_ends, starts - slack, ends + slack)
    precision = float(right.mean()) if len(right) else math.nan
    recall = float(hit.mean()) if len(hit) else math.nan
    return EventScores(
        precision=precision,
        recall=recall,
        f1=_f1(precision, recall),
        found=int(hit.sum()),
        missed=int((~hit).sum()),
        false_alarms=int((~right).sum()),
    )


def false_alarms_per_1000(labels: npt.ArrayLike, predicted: npt.ArrayLike, *, slack: int = 0, gap: int = 0) -> float:
    """Predicted runs that touch no labelled run, per 1,000 unlabelled steps; NaN where every step is labelled.

    Args:
        slack: steps by which each labelled run is widened on both sides.
        gap: predicted runs with fewer than `gap` quiet steps between them count as one.
    """
    _check_steps("slack", slack)
    _check_steps("gap", gap)
    truth, alarm = _labels(labels, "labels"), _labels(predicted, "predicted")
    _check_lengths(truth, alarm, "predicted")
    if truth.all():
        return math.nan
    starts, ends = _runs(truth)
    alarm_starts, alarm_ends = _runs(alarm)
    alarm_starts, alarm_ends = _merged(alarm_starts, alarm_ends, gap)
    wrong = ~_touched(alarm_starts, alarm_ends, starts - slack, ends + slack)
    return float(1000 * wrong.sum() / (~truth).sum())


def range_precision_recall(labels: npt.ArrayLike, predicted: npt.ArrayLike, *, existence: float = 0.2) -> tuple[float, float]:
    """(precision, recall) over ranges, 0 to 1 (Tatbul et al., NeurIPS 2018), no position better than another (flat bias).

    Args:
        existence: share of a labelled run's recall it gets for being touched at all, alpha; TSB-AD takes 0.2.

    The rest is the share of its steps predicted, divided by the number of predicted runs that do so: one alarm is better than
    a broken one. Precision is the same with the roles changed and alpha 0. NaN: precision where nothing is predicted, recall
    where nothing is labelled.
    """
    if not 0 <= existence <= 1:
        raise OptionError(f"existence is a share from 0 to 1, got {existence}", field="existence")
    truth, alarm = _labels(labels, "labels"), _labels(predicted, "predicted")
    _check_lengths(truth, alarm, "predicted")
    return _overlap_reward(alarm, truth, 0.0), _overlap_reward(truth, alarm, existence)


def range_f1(labels: npt.ArrayLike, predicted: npt.ArrayLike, *, existence: float = 0.2) -> float:
    """Harmonic mean of `range_precision_recall`; 0 where nothing is predicted, NaN where nothing is labelled."""
    return _f1(*range_precision_recall(labels, predicted, existence=existence))


# ---------------------------------------------------------------- the Numenta Anomaly Benchmark


def nab_score(
    windows: Sequence[tuple[int, int]],
    predicted: npt.ArrayLike,
    n: int,
    *,
    profile: str = "standard",
    probation: int | None = None,
) -> float:
    """NAB score of the alarms of one series: 0 = no alarm at all, 100 = every window found at once and nothing else.

    Args and errors as `nab_points`. For a corpus sum the points over its files before scaling, as NAB does. NaN without a
    window. NAB publishes it at the threshold that is best for the labels; at a threshold set beforehand it is lower.
    """
    raw, null, perfect = nab_points(windows, predicted, n, profile=profile, probation=probation)
    return 100 * (raw - null) / (perfect - null) if perfect > null else math.nan


def nab_points(
    windows: Sequence[tuple[int, int]],
    predicted: npt.ArrayLike,
    n: int,
    *,
    profile: str = "standard",
    probation: int | None = None,
) -> tuple[float, float, float]:
    """(raw score, that of no alarm, that of perfect alarms) of NAB (Lavin & Ahmad 2015; its `sweeper.py`).

    Args:
        windows: (first, last) row of each labelled window, both inclusive, in order, not overlapping.
        predicted: numbers of the rows with an alarm, 0 … n - 1.
        n: rows of the series.
        probation: rows at the start that are not scored; None = NAB's 15 %, at most 750.

    The first alarm in a window earns s(position) / s(-1), position from -1 at the window's first row to -1 / width at its last
    and s(y) = 2 / (1 + exp(5 y)) - 1. An alarm outside costs its weight times s(rows since the last window / (width - 1)),
    full weight beyond 3 or before any window. A window without an alarm costs its weight. Windows that end within the
    probation do not count.

    Raises:
        DataError: a window or alarm lies outside the series, or windows overlap.
        OptionError: unknown profile, or probation < 0.
    """
    if profile not in NAB_PROFILES:
        raise OptionError(f"profile must be one of {', '.join(NAB_PROFILES)}, got {profile!r}", field="profile")
    true_positive, false_positive, false_negative = NAB_PROFILES[profile]
    unscored = min(math.floor(0.15 * n), 750) if probation is None else probation
    _check_steps("probation", unscored)
    starts, ends = _windows(windows, n)
    alarms = _row_numbers(predicted)
    if len(alarms) and not 0 <= alarms[0] <= alarms[-1] < n:
        raise DataError(
            f"alarms lie in rows {alarms[0]} … {alarms[-1]}, the series has rows 0 … {n - 1}; predicted takes row numbers",
            field="predicted",
        )
    alarms = alarms[alarms >= unscored]
    next_end = np.searchsorted(ends, alarms)  # the first window that does not end before the alarm
    inside = np.append(starts, FAR)[next_end] <= alarms
    raw = 0.0
    scored = ends >= unscored
    for window in np.flatnonzero(scored):
        hits = alarms[inside & (next_end == window)]
        width = ends[window] - starts[window] + 1
        earned = _nab_sigmoid(-(ends[window] - hits[:1] + 1) / width) * true_positive / _nab_sigmoid(np.array([-1.0]))
        raw += float(earned[0]) if len(hits) else -false_negative
    past = next_end[~inside] - 1  # the last window before each false alarm, -1 = none
    widths = np.maximum(ends - starts, 1)  # NAB divides by width - 1, so by 0 for a window of one row
    rows_since = alarms[~inside] - np.append(ends, -FAR)[past]
    raw += false_positive * float(_nab_sigmoid(rows_since / np.append(widths, 1)[past]).sum())
    return raw, -false_negative * int(scored.sum()), true_positive * int(scored.sum())


# ---------------------------------------------------------------- which channel


def hit_rate(contribution: npt.ArrayLike, truth: Collection[int], *, percent: float = 100) -> float:
    """HitRate@P% (Su et al., KDD 2019): share of the true channels among the ceil(P % x their number) that contribute most.

    Args:
        contribution: (C,), higher = more to blame; NaN counts as the lowest.
        truth: numbers of the channels to blame, 0 … C - 1.

    Equal contributions: the mean over all orders of them, so that the order of the columns earns nothing. NaN without truth.
    """
    gains = _gains_by_rank(contribution, truth, percent)
    return float(gains.sum() / len(set(truth))) if len(gains) else math.nan


def ndcg(contribution: npt.ArrayLike, truth: Collection[int], *, percent: float = 100) -> float:
    """Normalised discounted cumulative gain of the same ranking, 0 to 1: a true channel at rank r gains 1 / log2(r + 1).

    Divided by that of the best order. Args, ties and NaN as in `hit_rate`.
    """
    gains = _gains_by_rank(contribution, truth, percent)
    discount = 1 / np.log2(np.arange(len(gains)) + 2)
    return float(gains @ discount / discount[: len(set(truth))].sum()) if len(gains) else math.nan


# ---------------------------------------------------------------- two detectors over many series


def bootstrap_mean_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, *, seed: int, draws: int = 10_000
) -> tuple[float, float, float]:
    """(mean of a - b, lower and upper end of its 95 % interval) over series, by a paired bootstrap (percentiles).

    Args:
        a, b: a metric of two detectors on the same series, (S,). Series where either is NaN are left out: give a detector
            that failed on a series the metric's worst value, not NaN.

    NaN throughout without a pair; one pair has no interval.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            f"a and b are one number for each series, in the same order; got {first.shape} and {second.shape}", field="b"
        )
    if draws < 1:
        raise OptionError(f"draws must be at least 1, got {draws}", field="draws")
    difference = (first - second)[np.isfinite(first) & np.isfinite(second)]
    if len(difference) < 2:
        return (float(difference[0]) if len(difference) else math.nan), math.nan, math.nan
    rng = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // len(difference))  # bounds the memory
    means = np.empty(draws)
    for start in range(0, draws, at_once):
        block = means[start : start + at_once]
        block[:] = difference[rng.integers(len(difference), size=(len(block), len(difference)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


# ---------------------------------------------------------------- parts of the volume


def _buffer_hits(labelled: BoolArray, first: IntArray, buffer: int, thresholds: int) -> list[FloatArray]:
    """For each width l = 0 … buffer: soft labels of buffer steps, summed by the first threshold they reach, (K,).

    Only the two nearest runs of a step matter: a soft label is at least sqrt(1/2), so two of them pass 1, where the sum is
    cut. Steps are counted in a table by distance and threshold, and leave it for the full ones where the second run reaches.
    """
    radius = buffer // 2
    rows, nearest, second = _distances(labelled, radius)
    table = np.zeros((radius + 1, thresholds))  # [distance, threshold]: steps within reach of one run at most
    np.add.at(table, (nearest, first[rows]), 1.0)
    full = np.zeros(thresholds)
    by_second = np.argsort(second, kind="stable")
    reached = np.searchsorted(second[by_second], np.arange(radius + 2))
    soft = []
    for width in range(buffer + 1):
        reach = width // 2
        if width % 2 == 0:
            now_full = by_second[reached[reach] : reached[reach + 1]]
            np.subtract.at(table, (nearest[now_full], first[rows[now_full]]), 1.0)
            np.add.at(full, first[rows[now_full]], 1.0)
        weight = np.sqrt(1 - np.arange(1, reach + 1) / max(width, 1))
        soft.append(weight @ table[1 : reach + 1] + full)
    return soft


def _distances(labelled: BoolArray, radius: int) -> tuple[IntArray, IntArray, IntArray]:
    """Unlabelled rows within `radius` of a run, and their distances in steps to the nearest and second nearest run."""
    starts, ends = _runs(labelled)
    normal = np.flatnonzero(~labelled)
    after = np.searchsorted(starts, normal)  # the number of runs before each row
    past, coming = np.concatenate([[-FAR, -FAR], ends]), np.concatenate([starts, [FAR, FAR]])
    candidates = np.stack([normal - past[after + 1], normal - past[after], coming[after] - normal, coming[after + 1] - normal])
    candidates.sort(axis=0)
    near = candidates[0] <= radius
    return normal[near], candidates[0, near], candidates[1, near]


def _shares_found(labelled: BoolArray, first: IntArray, radius: int, thresholds: int) -> FloatArray:
    """[r, k]: share of the runs, widened by r and one where they overlap, with a step that reaches threshold k.

    Widened runs that only stand side by side stay two, as in TSB-AD's `new_sequence`.
    """
    starts, ends = _runs(labelled)
    borders = np.stack([starts, ends + 1], axis=1).ravel()
    best = np.minimum.reduceat(np.append(first, thresholds), borders)[::2]  # (G,): the first threshold a step of each run reaches
    found = np.empty((radius + 1, thresholds))
    for reach in range(radius + 1):
        best = np.minimum(best, first[np.maximum(starts - reach, 0)])
        best = np.minimum(best, first[np.minimum(ends + reach, len(first) - 1)])
        alone = np.append(True, ends[:-1] + reach < starts[1:] - reach)
        merged = np.minimum.reduceat(best, np.flatnonzero(alone))
        found[reach] = np.cumsum(np.bincount(merged, minlength=thresholds)) / len(merged)
    return found


# ---------------------------------------------------------------- shared arithmetic and checks


def _labels(values: npt.ArrayLike, field: str) -> BoolArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{field} must be (N,), one 0 or 1 for each step; got shape {array.shape}", field=field)
    ones = array == 1
    wrong = ~(ones | (array == 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{field} must be 0 or 1 at each step, got {array[row]} at row {row}", field=field)
    return np.asarray(ones, dtype=np.bool_)


def _labels_and_scores(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    labelled = _labels(labels, "labels")
    judged = np.asarray(scores, dtype=np.float64)
    _check_lengths(labelled, judged, "scores")
    return labelled, np.where(np.isnan(judged), -np.inf, judged)


def _check_lengths(labels: BoolArray, other: npt.NDArray[np.generic], field: str) -> None:
    if labels.shape != other.shape:
        raise DataError(f"labels are {labels.shape} and {field} {other.shape}; give one of each for each step", field=field)


def _check_steps(name: str, steps: int) -> None:
    if steps < 0:
        raise OptionError(f"{name} is a number of steps and cannot be negative, got {steps}", field=name)


def _runs(mask: BoolArray) -> tuple[IntArray, IntArray]:
    """First and last row of each run, (G,) each."""
    edge = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1


def _touched(starts: IntArray, ends: IntArray, other_starts: IntArray, other_ends: IntArray) -> BoolArray:
    """Which of the first runs share a step with one of the others; all in order of their rows."""
    candidate = np.searchsorted(other_ends, starts)  # the first other run that does not end before
    return np.append(other_starts, FAR)[candidate] <= ends


def _merged(starts: IntArray, ends: IntArray, gap: int) -> tuple[IntArray, IntArray]:
    """Runs with fewer than `gap` steps between them as one."""
    apart = starts[1:] - ends[:-1] - 1 >= gap
    return starts[np.append(True, apart)[: len(starts)]], ends[np.append(apart, True)[: len(ends)]]


def _overlap_reward(own: BoolArray, other: BoolArray, existence: float) -> float:
    """Mean reward of the runs of `own` for their overlap with the runs of `other`; NaN where it has none."""
    starts, ends = _runs(own)
    if not len(starts):
        return math.nan
    other_starts, other_ends = _runs(other)
    count = np.searchsorted(other_starts, ends, side="right") - np.searchsorted(other_ends, starts)  # runs that overlap
    total = np.concatenate([[0], np.cumsum(other)])
    share = (total[ends + 1] - total[starts]) / (ends + 1 - starts)
    return float(np.mean(existence * (count > 0) + (1 - existence) * share / np.maximum(count, 1)))


def _f1(precision: float, recall: float) -> float:
    if math.isnan(recall):
        return math.nan
    return 2 * precision * recall / (precision + recall) if recall > 0 and precision > 0 else 0.0


def _windows(windows: Sequence[tuple[int, int]], n: int) -> tuple[IntArray, IntArray]:
    pairs = np.asarray(windows, dtype=np.int64).reshape(-1, 2)
    starts, ends = pairs[:, 0], pairs[:, 1]
    if (starts > ends).any() or (starts < 0).any() or (ends >= n).any() or (starts[1:] <= ends[:-1]).any():
        raise DataError(
            f"windows must be (first, last) rows within 0 … {n - 1}, in order and without overlap; got {pairs.tolist()}",
            field="windows",
        )
    return starts, ends


def _row_numbers(predicted: npt.ArrayLike) -> IntArray:
    """Each row once, sorted."""
    rows = np.asarray(predicted)
    if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
        raise DataError(
            f"predicted takes the numbers of the rows with an alarm, got {rows.dtype} of shape {rows.shape}; "
            "np.flatnonzero makes them of a mask",
            field="predicted",
        )
    return np.unique(rows).astype(np.int64)


def _nab_sigmoid(position: FloatArray) -> FloatArray:
    """NAB's s(y), from 1 long before to -1 long after; exactly -1 beyond 3."""
    inside = np.minimum(position, 3.0)  # no overflow
    return np.where(position > 3.0, -1.0, 2 / (1 + np.exp(5 * inside)) - 1)


def _gains_by_rank(contribution: npt.ArrayLike, truth: Collection[int], percent: float) -> FloatArray:
    """Chance that a true channel has rank 1, 2 … k = ceil(percent % x true channels), (k,); () without truth."""
    shares = np.asarray(contribution, dtype=np.float64)
    true = sorted(set(truth))
    if shares.ndim != 1:
        raise DataError(f"contribution must be (C,), got shape {shares.shape}", field="contribution")
    if true and not 0 <= true[0] <= true[-1] < len(shares):
        raise DataError(f"true channels must lie within 0 … {len(shares) - 1}, got {true}", field="truth")
    if not percent > 0:
        raise OptionError(f"percent must be above 0, got {percent}", field="percent")
    if not true:
        return np.zeros(0)
    blamed = np.zeros(len(shares))
    blamed[true] = 1.0
    _, group, sizes = np.unique(np.where(np.isnan(shares), np.inf, -shares), return_inverse=True, return_counts=True)
    mean = np.bincount(group, weights=blamed) / sizes  # share of true channels among equal contributions
    ranked = np.repeat(mean, sizes)
    return ranked[: math.ceil(percent * len(true) / 100 - 1e-9)]

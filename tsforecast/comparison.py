"""Two panels -> how alike their series are: values, autocorrelation, changes, season, whether a classifier tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.seasonality import autocorrelation

if TYPE_CHECKING:
    import pandas as pd

BARS: dict[str, tuple[str, float, str]] = {  # measure -> (side, bar, what it is)
    "wasserstein": ("most", 0.25, "distance of the distributions of values, standard deviations"),
    "ks": ("most", 0.15, "largest gap between the distribution functions of values"),
    "autocorrelation": ("most", 0.15, "mean absolute difference of the autocorrelations up to two seasons"),
    "changes": ("most", 0.35, "absolute logarithm of the ratio of the deviations of changes from step to step"),
    "season": ("most", 0.30, "root mean square difference of the seasonal profiles, standard deviations"),
    "discriminative": ("most", 0.25, "accuracy of a classifier of windows on series parts it has not seen, less a half"),
    "privacy": ("least", 0.50, "distance from a generated window to the nearest real one, over that between real ones"),
}
LONGEST_LAG, LONGEST_WINDOW, SHORTEST_WINDOW = 400, 64, 8  # steps
WITHOUT_SEASON = 24  # steps that stand for a season where there is none
MOST_WINDOWS = 1_000  # of each side
FOLDS = 4  # parts in time, each of which is held out once
TREES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One comparison."""

    name: str
    value: float  # NaN = the series are too short for it, or have no season
    bar: float
    side: str  # "most": passes at or below the bar | "least": at or above it
    meaning: str

    @property
    def passes(self) -> bool:
        """What cannot be measured is no objection."""
        if not np.isfinite(self.value):
            return True
        return self.value <= self.bar if self.side == "most" else self.value >= self.bar


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonReport:
    """How generated series compare with real ones."""

    measures: tuple[Measured, ...]
    window: int  # steps, of what the classifier and the search for copies look at
    real: int  # series
    generated: int  # series

    @property
    def passes(self) -> bool:
        """Whether all do."""
        return all(one.passes for one in self.measures)

    def __getitem__(self, name: str) -> float:
        return next(one.value for one in self.measures if one.name == name)

    def to_frame(self) -> "pd.DataFrame":
        """measure, value, bar, passes, meaning."""
        import pandas as pd

        rows = [(one.name, one.value, one.side, one.bar, one.passes, one.meaning) for one in self.measures]
        return pd.DataFrame(rows, columns=["measure", "value", "side", "bar", "passes", "meaning"])

    def __str__(self) -> str:
        lines = [f"{self.generated} generated beside {self.real} real series: {'passes' if self.passes else 'does not pass'}"]
        for one in self.measures:
            said = "not measured" if not np.isfinite(one.value) else f"{one.value:.3f}"
            verdict = "passes" if one.passes else "fails"
            lines.append(f"  {one.name:<16}{said:>13}   at {one.side} {one.bar:g}   {verdict:<7} {one.meaning}")
        return "\n".join(lines)


def compare_series(real: Panel, generated: Panel, *, seed: int = 0) -> ComparisonReport:
    """Compare the targets of two panels.

    Values are standardised: of one real series all by its mean and deviation; where there are several, each by the own ones,
    so shapes are compared and not sizes. The season is that of `real`. Bars stand in `BARS`. They are such that halves of one
    real series pass against each other where it is stationary, and white noise of the right distribution does not.

    Args:
        real: what the generator has learnt from, or other series like it.
        generated: what it made.
        seed: of the classifier and of the choice of windows.

    Raises:
        HistoryTooShort: no series of a panel has 32 values.
        OptionError: another frequency.
    """
    if real.freq != generated.freq:
        raise OptionError(f"real series step by {real.freq!r}, generated ones by {generated.freq!r}", field="freq")
    ours, theirs = _standardised(real, generated)
    season = real.season if real.season > 1 else 1
    turn = season if season > 1 else WITHOUT_SEASON
    shortest = min(int(np.median([len(one) for one in ours])), int(np.median([len(one) for one in theirs])))
    window = int(np.clip(turn, SHORTEST_WINDOW, max(min(LONGEST_WINDOW, shortest // 4), SHORTEST_WINDOW)))
    draws = np.random.default_rng(seed)
    windows = [_windows(side, window, draws) for side in (ours, theirs)]
    found = {
        **_marginals(ours, theirs),
        "autocorrelation": _autocorrelation(ours, theirs, min(2 * turn, LONGEST_LAG, shortest // 3)),
        "changes": abs(float(np.log(_change(theirs) / _change(ours)))),
        "season": _season(ours, theirs, season) if season > 1 else np.nan,
        "discriminative": _discriminative(windows[0], windows[1], seed),
        "privacy": _privacy(windows[0], windows[1], window),
    }
    measures = tuple(
        Measured(name=name, value=float(found[name]), bar=bar, side=side, meaning=meaning)
        for name, (side, bar, meaning) in BARS.items()
    )
    return ComparisonReport(measures=measures, window=window, real=len(ours), generated=len(theirs))


def _standardised(real: Panel, generated: Panel) -> tuple[list[FloatArray], list[FloatArray]]:
    """Targets of both sides, without holes."""
    sides = []
    for which, panel in (("real", real), ("generated", generated)):
        lengths = {series_id: int(np.isfinite(values).sum()) for series_id, values in panel}
        if max(lengths.values(), default=0) < 32:
            longest = max(lengths, key=lambda name: lengths[name], default="")
            raise HistoryTooShort(longest, have=lengths.get(longest, 0), need=32, hint=f"it is the longest {which} series")
        sides.append([_without_holes(values) for series_id, values in panel if lengths[series_id] >= 32])
    if len(sides[0]) == 1:
        mean, deviation = _level(sides[0][0])
        first, second = ([(one - mean) / deviation for one in side] for side in sides)
    else:
        first, second = ([(one - _level(one)[0]) / _level(one)[1] for one in side] for side in sides)
    return first, second


def _level(values: FloatArray) -> tuple[float, float]:
    deviation = float(values.std())
    return float(values.mean()), deviation if deviation > 0 else 1.0


def _without_holes(values: FloatArray) -> FloatArray:
    seen = np.flatnonzero(np.isfinite(values))
    return np.interp(np.arange(seen[0], seen[-1] + 1), seen, values[seen])


def _marginals(ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> dict[str, float]:
    from scipy.stats import ks_2samp, wasserstein_distance

    first, second = np.concatenate(ours), np.concatenate(theirs)
    return {
        "wasserstein": float(wasserstein_distance(first, second)),
        "ks": float(ks_2samp(first, second, method="asymp").statistic),
    }


def _autocorrelation(ours: Sequence[FloatArray], theirs: Sequence[FloatArray], lags: int) -> float:
    sides = []
    for side in (ours, theirs):
        found = np.array([autocorrelation(one, lags)[1:] for one in side if len(one) > 2 * lags])
        found = found[np.isfinite(found).all(axis=1)] if len(found) else found
        if not len(found):
            return np.nan
        sides.append(found.mean(axis=0))
    return float(np.abs(sides[0] - sides[1]).mean())


def _change(side: Sequence[FloatArray]) -> float:
    """Root mean square of the changes from step to step, the mean of the series."""
    return max(float(np.mean([np.sqrt(np.mean(np.diff(one) ** 2)) for one in side])), 1e-12)


def _season(ours: Sequence[FloatArray], theirs: Sequence[FloatArray], season: int) -> float:
    """The profiles of all series, each turned until it lies best on the strongest of the real ones."""
    profiles = [[_profile(one, season) for one in side if len(one) >= 2 * season] for side in (ours, theirs)]
    if not all(profiles):
        return np.nan
    model = max(profiles[0], key=lambda one: float(one.std()))
    first, second = (np.mean([_turned(one, model) for one in side], axis=0) for side in profiles)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _profile(values: FloatArray, season: int) -> FloatArray:
    found: FloatArray = values[: len(values) // season * season].reshape(-1, season).mean(axis=0)
    found -= found.mean()
    return found


def _turned(profile: FloatArray, model: FloatArray) -> FloatArray:
    fit = np.fft.irfft(np.fft.rfft(model) * np.conj(np.fft.rfft(profile)), n=len(model))
    return np.roll(profile, int(np.argmax(fit)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Windows:
    """Windows of some series."""

    values: FloatArray  # (W, w)
    place: FloatArray  # (W,) of the window in its series, from 0 to 1
    start: IntArray  # (W,) of its first step, over all series end to end


def _windows(side: Sequence[FloatArray], window: int, draws: np.random.Generator) -> _Windows:
    values, place, start, before = [], [], [], 0
    each = max(MOST_WINDOWS // len(side), 1)
    for one in side:
        count = len(one) - window + 1
        if count > 0:
            chosen = np.sort(draws.choice(count, min(each, count), replace=False))
            values.append(np.lib.stride_tricks.sliding_window_view(one, window)[chosen])
            place.append(chosen / max(count - 1, 1))
            start.append(before + chosen)
        before += len(one) + window
    found = np.concatenate(values)[:MOST_WINDOWS] if values else np.zeros((0, window))
    return _Windows(values=found, place=np.concatenate(place)[: len(found)], start=np.concatenate(start)[: len(found)])


def _discriminative(ours: _Windows, theirs: _Windows, seed: int) -> float:
    """|balanced accuracy - 0.5| of a forest on values, changes and moments of windows, over parts in time held out in turn."""
    from sklearn import ensemble  # type: ignore[import-untyped]  # scikit-learn ships no type stubs

    count = min(len(ours.values), len(theirs.values))
    if count < 8 * FOLDS:
        return np.nan
    draws = np.random.default_rng(seed)
    picked = [np.sort(draws.choice(len(side.values), count, replace=False)) for side in (ours, theirs)]
    features = np.concatenate([_features(side.values[rows]) for side, rows in zip((ours, theirs), picked, strict=True)])
    fold = np.concatenate(
        [np.minimum((side.place[rows] * FOLDS).astype(int), FOLDS - 1) for side, rows in zip((ours, theirs), picked, strict=True)]
    )
    label = np.repeat([0, 1], count)
    right: list[float] = []
    for held in range(FOLDS):
        known = fold != held
        if len(np.unique(label[known])) < 2 or len(np.unique(label[~known])) < 2:
            continue
        forest = ensemble.RandomForestClassifier(TREES, min_samples_leaf=4, random_state=seed, n_jobs=1)
        said = forest.fit(features[known], label[known]).predict(features[~known])
        right.append(float(np.mean([np.mean(said[label[~known] == one] == one) for one in (0, 1)])))
    return abs(float(np.mean(right)) - 0.5) if right else np.nan


def _features(windows: FloatArray) -> FloatArray:
    changes = np.diff(windows, axis=1)
    moments = [windows.mean(axis=1), windows.std(axis=1), np.abs(changes).mean(axis=1), changes.std(axis=1)]
    return np.concatenate([windows, changes, np.stack(moments, axis=1)], axis=1)


def _privacy(ours: _Windows, theirs: _Windows, window: int) -> float:
    """Median distance to the nearest real window, over the median between real windows that do not overlap."""
    if not len(ours.values) or not len(theirs.values):
        return np.nan
    between = _apart(ours.values, ours.values)
    between[np.abs(ours.start[:, None] - ours.start) < window] = np.inf
    nearest = between.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    if not len(nearest) or not np.median(nearest) > 0:
        return np.nan
    return float(np.median(_apart(theirs.values, ours.values).min(axis=1)) / np.median(nearest))


def _apart(first: FloatArray, second: FloatArray) -> FloatArray:
    """Euclidean distances, (A, B)."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    found: FloatArray = np.sqrt(np.maximum(squares, 0.0))
    return found

"""Two panels -> how alike their series are: values, autocorrelation, changes, season, whether a classifier tells them apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.seasonality import autocorrelation

if TYPE_CHECKING:
    import pandas as pd

BARS: dict[str, tuple[str, float, float, str]] = {  # measure -> (side, bar, ceiling of the bar, what it is)
    "wasserstein": ("most", 0.25, 1.00, "distance of the distributions of values, standard deviations"),
    "ks": ("most", 0.15, 0.50, "largest gap between the distribution functions of values"),
    "autocorrelation": ("most", 0.15, 0.25, "mean absolute difference of the autocorrelations up to two seasons"),
    "changes": ("most", 0.35, 0.50, "absolute logarithm of the ratio of the deviations of changes from step to step"),
    "season": ("most", 0.30, 0.50, "root mean square difference of the seasonal profiles, standard deviations"),
    "discriminative": ("most", 0.25, 0.40, "accuracy of a classifier of windows on series parts it has not seen, less a half"),
    "privacy": ("least", 0.50, 0.50, "distance from a generated window to the nearest real one, over that between real ones"),
}
LONGEST_LAG, LONGEST_WINDOW, SHORTEST_WINDOW = 400, 64, 8  # steps
SHORTEST = 32  # values of a series, or of a part of one, that is compared
WITHOUT_SEASON, WITHOUT_BLOCK = 24, 64  # steps that stand for a season, and for a block of one, where there is none
MOST_WINDOWS = 500  # of each side that the classifier sees
MOST_ASKED, AT_ONCE = 300, 4_096  # windows whose nearest one is sought; real ones that are looked at together
FLAT = 0.05  # deviation of a window, in those of the series, below which its shape is not made larger
FOLDS = 4  # parts in time, each of which is held out once
TREES = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One comparison."""

    name: str
    value: float  # of the generated series; NaN = the series are too short for it, or have no season
    own: float  # of the real series against themselves; NaN = too short, or not asked
    bar: float  # what `value` has to keep to
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
        """measure, generated, real_against_itself, side, bar, passes, meaning."""
        import pandas as pd

        rows = [(one.name, one.value, one.own, one.side, one.bar, one.passes, one.meaning) for one in self.measures]
        return pd.DataFrame(rows, columns=["measure", "generated", "real_against_itself", "side", "bar", "passes", "meaning"])

    def __str__(self) -> str:
        lines = [f"{self.generated} generated beside {self.real} real series: {'passes' if self.passes else 'does not pass'}"]
        lines.append(f"  {'measure':<16}{'generated':>12}{'real against itself':>22}   bar")
        for one in self.measures:
            said = "not measured" if not np.isfinite(one.value) else f"{one.value:.3f}"
            own = f"{one.own:.3f}" if np.isfinite(one.own) else "-"
            verdict = "passes" if one.passes else "fails"
            lines.append(f"  {one.name:<16}{said:>12}{own:>22}   at {one.side:<5} {one.bar:<6.3g}{verdict:<7} {one.meaning}")
        return "\n".join(lines)


def compare_series(real: Panel, generated: Panel, *, seed: int = 0) -> ComparisonReport:
    """Compare the targets of two panels.

    Values are standardised: of one real series all by its mean and deviation; where there are several, each by the own ones,
    so shapes are compared and not sizes. The season is that of `real`.

    The bars are no fixed ones. Real series drift and change, and a generated set can be asked to be as near to the real one as
    the real one is to itself, not nearer: with fixed bars, years of electricity demand do not pass against the years after. So
    each measure is also taken of the real panel against itself, the first half of each series against the second, and every
    other season against the ones between (or 64 steps, where there is none). The larger of the two is the bar where it is above
    the fixed one of `BARS`, up to the ceiling there: a series that is half one thing and half another does not make white noise
    of the right distribution, or its own values in random order, pass. The measure of copies has the fixed bar alone.

    Args:
        real: what the generator has learnt from, or other series like it.
        generated: what it made; of about the lengths of the real ones, for a series that drifts has other autocorrelations in
            parts than as a whole.
        seed: of the classifier and of the choice of windows.

    Raises:
        HistoryTooShort: no series of a panel has 32 values.
        OptionError: another frequency.
    """
    if real.freq != generated.freq:
        raise OptionError(f"real series step by {real.freq!r}, generated ones by {generated.freq!r}", field="freq")
    values = [_long_enough(which, panel) for which, panel in (("real", real), ("generated", generated))]
    ours, theirs = _standardised(values[0], *values)
    season = max(real.season, 1)
    window = _window(season, ours, theirs)
    found = _distances(ours, theirs, season, window, seed)
    found["privacy"] = _privacy(ours, theirs, window, seed)
    own = _against_itself(values[0], season, window, seed)
    measures = tuple(_measured(name, found[name], own.get(name, np.nan)) for name in BARS)
    return ComparisonReport(measures=measures, window=window, real=len(ours), generated=len(theirs))


def _measured(name: str, value: float, own: float) -> Measured:
    side, bar, ceiling, meaning = BARS[name]
    if np.isfinite(own):
        bar = min(max(bar, own), ceiling)
    return Measured(name=name, value=float(value), own=float(own), bar=float(bar), side=side, meaning=meaning)


def _against_itself(real: Sequence[FloatArray], season: int, window: int, seed: int) -> dict[str, float]:
    """The larger of both distances of each measure; of those that series are too short for, none."""
    largest: dict[str, float] = {}
    block = season if season > 1 else WITHOUT_BLOCK
    for split in (_halves, lambda one: _interleaved(one, block)):
        pairs = [pair for pair in map(split, real) if min(map(len, pair)) >= SHORTEST]
        if not pairs:
            continue
        first, second = _standardised(real, [one for one, _ in pairs], [one for _, one in pairs])
        for name, value in _distances(first, second, season, window, seed).items():
            if np.isfinite(value):
                largest[name] = max(value, largest.get(name, 0.0))
    return largest


def _halves(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    return values[: len(values) // 2], values[len(values) // 2 :]


def _interleaved(values: FloatArray, block: int) -> tuple[FloatArray, FloatArray]:
    """Blocks 0, 2, 4 … end to end, and blocks 1, 3, 5 …, as many: both have seams at the same places."""
    turns = len(values) // (2 * block)
    pairs = values[: 2 * block * turns].reshape(turns, 2, block)
    return pairs[:, 0].ravel(), pairs[:, 1].ravel()


def _distances(ours: Sequence[FloatArray], theirs: Sequence[FloatArray], season: int, window: int, seed: int) -> dict[str, float]:
    """All measures but that of copies, of standardised series."""
    turn = season if season > 1 else WITHOUT_SEASON
    draws = np.random.default_rng(seed)
    windows = [_windows(side, window, draws) for side in (ours, theirs)]
    return {
        **_marginals(ours, theirs),
        "autocorrelation": _autocorrelation(ours, theirs, min(2 * turn, LONGEST_LAG, _length(ours, theirs) // 3)),
        "changes": abs(float(np.log(_change(theirs) / _change(ours)))),
        "season": _season(ours, theirs, season) if season > 1 else np.nan,
        "discriminative": _discriminative(windows[0], windows[1], seed),
    }


def _length(ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> int:
    return min(int(np.median([len(one) for one in side])) for side in (ours, theirs))


def _window(season: int, ours: Sequence[FloatArray], theirs: Sequence[FloatArray]) -> int:
    turn = season if season > 1 else WITHOUT_SEASON
    most = max(min(LONGEST_WINDOW, _length(ours, theirs) // 4), SHORTEST_WINDOW)
    return int(np.clip(turn, SHORTEST_WINDOW, most))


def _long_enough(which: str, panel: Panel) -> list[FloatArray]:
    """Targets of the series that have enough values, without holes."""
    lengths = {series_id: int(np.isfinite(values).sum()) for series_id, values in panel}
    if max(lengths.values(), default=0) < SHORTEST:
        longest = max(lengths, key=lambda name: lengths[name], default="")
        raise HistoryTooShort(longest, have=lengths.get(longest, 0), need=SHORTEST, hint=f"it is the longest {which} series")
    return [_without_holes(values) for series_id, values in panel if lengths[series_id] >= SHORTEST]


def _standardised(real: Sequence[FloatArray], *sides: Sequence[FloatArray]) -> list[list[FloatArray]]:
    """Each side in the units of the one real series, or each series in its own where there are several."""
    level = _level(real[0]) if len(real) == 1 else None
    found = []
    for side in sides:
        levels = [level or _level(one) for one in side]
        found.append([(one - mean) / deviation for one, (mean, deviation) in zip(side, levels, strict=True)])
    return found


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


def _windows(side: Sequence[FloatArray], window: int, draws: np.random.Generator) -> _Windows:
    values, place = [], []
    each = max(MOST_WINDOWS // len(side), 1)
    for one in side:
        count = len(one) - window + 1
        if count > 0:
            chosen = np.sort(draws.choice(count, min(each, count), replace=False))
            values.append(np.lib.stride_tricks.sliding_window_view(one, window)[chosen])
            place.append(chosen / max(count - 1, 1))
    if not values:
        return _Windows(values=np.zeros((0, window)), place=np.zeros(0))
    return _Windows(values=np.concatenate(values)[:MOST_WINDOWS], place=np.concatenate(place)[:MOST_WINDOWS])


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


def _privacy(ours: Sequence[FloatArray], theirs: Sequence[FloatArray], window: int, seed: int) -> float:
    """Median distance to the nearest real window, over the median between real windows that do not overlap.

    The nearest is sought among all real windows: of a copy, a sample of them would hold the neighbours, not the window itself.
    Windows are compared by their shapes, so a copied part of a series is found whatever units that part alone gives it.
    """
    draws = np.random.default_rng(seed)
    asked = [_places(side, window, draws) for side in (ours, theirs)]
    if not all(map(len, asked)):
        return np.nan
    between = _nearest(ours, [(s, start, ours[s][start : start + window]) for s, start in asked[0]], window)
    made = _nearest(ours, [(-1, 0, theirs[s][start : start + window]) for s, start in asked[1]], window)
    between = between[np.isfinite(between)]
    if not len(between) or not np.median(between) > 0:
        return np.nan
    return float(np.median(made) / np.median(between))


def _places(side: Sequence[FloatArray], window: int, draws: np.random.Generator) -> list[tuple[int, int]]:
    """(series, first step) of windows, drawn from all."""
    counts = np.cumsum([max(len(one) - window + 1, 0) for one in side])
    chosen = np.sort(draws.choice(counts[-1], min(MOST_ASKED, counts[-1]), replace=False)) if counts[-1] else counts[:0]
    owner = np.searchsorted(counts, chosen, side="right")
    return [(int(s), int(place - (counts[s - 1] if s else 0))) for s, place in zip(owner, chosen, strict=True)]


def _nearest(side: Sequence[FloatArray], asked: Sequence[tuple[int, int, FloatArray]], window: int) -> FloatArray:
    """Euclidean distance of the shape of each window to that of the nearest one of a side, (A,), overlapping ones left out."""
    values = _shapes(np.stack([one for _, _, one in asked]))
    owner, start = (np.array([one[i] for one in asked]) for i in (0, 1))
    found = np.full(len(asked), np.inf)
    for s, one in enumerate(side):
        if len(one) < window:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(one, window)
        for first in range(0, len(windows), AT_ONCE):
            part = _shapes(windows[first : first + AT_ONCE])
            squares = (values**2).sum(axis=1)[:, None] + (part**2).sum(axis=1) - 2 * values @ part.T
            overlaps = np.abs(start[:, None] - (first + np.arange(len(part)))) < window
            squares[(owner == s)[:, None] & overlaps] = np.inf
            found = np.minimum(found, squares.min(axis=1))
    nearest: FloatArray = np.sqrt(np.maximum(found, 0.0))
    return nearest


def _shapes(windows: FloatArray) -> FloatArray:
    """Windows (W, w) of standardised series with mean 0 and deviation 1 each; what hardly moves stays small."""
    deviation = np.maximum(windows.std(axis=1, keepdims=True), FLAT)
    shapes: FloatArray = (windows - windows.mean(axis=1, keepdims=True)) / deviation
    return shapes

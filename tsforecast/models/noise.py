"""Noisy values (T,) and networks that guess what they have not seen -> the values without their noise; numpy only.

What a network makes of a window is off by something that has nothing to do with noise: it was trained with a fifth of the
window hidden, through few numbers, and flattens what it sees. Beside little noise that is the larger error, so a course of it
does not take the place of the values. It guesses instead.

A guess of a step that is blind to the value there owes nothing to the noise of that value, if noise is independent from step to
step. So of several guesses the mix that errs least against the noisy values errs least against the true ones too (Batson &
Royer 2019, Noise2Self). Of the difference `value - guess`, with variance M, the share (variance of the noise) / M is noise in
the mean: with the best guess that is the smoother of Wiener, and a poor guess has a large M and leaves the value as it is.
How much noise there is the spectrum says: the part that remains where all that has a memory has died away.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tsforecast.models.holes import on_a_line
from tsforecast.panel import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
Reconstruct = Callable[[FloatArray], Sequence[FloatArray]]  # values (T,) -> courses (T,) of one or several networks

PASSES = 5  # each hides a fifth of the steps, as training does
BESIDE = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16))  # distances to the steps whose difference to the course is carried over
SEASONS = (1, 2, 3)  # … and in whole seasons
PRIOR = 16.0  # steps that the weights without any data, the mean of the networks, are worth
LEAST = 32  # steps to tell weights and variances from
WEIGH_ROUNDS, HEAVY = 8, 2.0  # of weighing steps anew; usual deviations up to which they weigh alike
CLIP = 4.0  # usual deviations beyond which a difference is an anomaly, and counts as no more than that

MEMORY = (0.5, 0.7, 0.85, 0.95, 1.0)  # autocorrelations from one step to the next of what is no noise
POWERS = (2, 4)  # of its spectrum: as a random walk, as the sum of one
BAND = 1 / 12  # cycles per step above which the spectrum is read
MOST_BINS = 512  # frequencies, or means of neighbouring ones
PEAK, PEAK_ROUNDS = 9.0, 3  # times the spectrum from which on a frequency is that of a season; rounds of leaving such out
PARTS = (0.0, 0.25, 0.5, 0.75, 0.9)  # of the likeliest floor, that are tried too
FIT_ROUNDS = 60
UNSURE = 3.0  # of the logarithm of the likelihood: a floor less worse than that may be the true one


def without_noise(values: FloatArray, season: int, reconstruct: Reconstruct, *, unseen: BoolArray) -> FloatArray:
    """`values` (T,) without noise, (T,): holes stay, and so does a step that no network says anything about.

    Args:
        season: steps; 0 or 1 = none.
        unseen: (T,) steps that the networks have not learnt from: where there are enough, they tell how good the guess is.
    """
    features, networks = blind_features(values, season, reconstruct)
    usable = np.isfinite(values) & np.isfinite(features).all(axis=1)
    if usable.sum() < LEAST:
        return values.copy()
    weights = _weights(features[usable], values[usable], networks)
    away = np.where(usable, values - features @ weights, 0.0)
    judges = usable & unseen if (usable & unseen).sum() >= LEAST else usable
    usual = 1.4826 * float(np.median(np.abs(away[judges])))
    tame = np.clip(away, -CLIP * usual, CLIP * usual)
    variance = float(np.mean(tame[judges] ** 2))
    if not variance > 0:
        return values.copy()
    noise = noise_variance(on_a_line(np.where(usable, values - away + tame, np.nan)))
    found: FloatArray = np.where(usable, values - min(noise / variance, 1.0) * away, values)
    return found


def blind_features(values: FloatArray, season: int, reconstruct: Reconstruct) -> tuple[FloatArray, int]:
    """What can be told of each step without its value, (T, F), and how many of the first columns are courses of networks.

    The others are differences between values and course at steps beside and in other seasons, where the course was not shown
    the value of the step either; 0 where there is none. NaN where no network says anything.
    """
    steps = len(values)
    order = np.tile(np.arange(PASSES), (-(-steps // PASSES), 1))
    turn = np.random.default_rng(0).permuted(order, axis=1).ravel()[:steps]  # not periodic, as seasons are
    distances = [np.arange(near, far + 1) for near, far in BESIDE]
    distances += [np.array([season * turns]) for turns in SEASONS] if season > 1 else []
    networks, found = 0, np.full((steps, 0), np.nan)
    for one in range(PASSES):
        hidden = np.flatnonzero(turn == one)
        shown = values.copy()
        shown[hidden] = np.nan
        courses = np.stack(list(reconstruct(shown)), axis=1)
        away = values - courses.mean(axis=1)
        if not networks:
            networks = courses.shape[1]
            found = np.full((steps, networks + len(distances)), np.nan)
        found[hidden, :networks] = courses[hidden]
        found[hidden, networks:] = np.stack([_beside(away, hidden, apart) for apart in distances], axis=1)
    return found, networks


def _beside(values: FloatArray, steps: IntArray, distances: IntArray) -> FloatArray:
    """Mean of the values so many steps before and after each of `steps` (n,), (n,); 0 where there is none."""
    total, count = np.zeros(len(steps)), np.zeros(len(steps))
    for distance in np.concatenate([-distances, distances]):
        places = steps + distance
        picked = values[np.clip(places, 0, len(values) - 1)]
        there = np.isfinite(picked) & (places >= 0) & (places < len(values))
        total += np.where(there, picked, 0.0)
        count += there
    found: FloatArray = total / np.maximum(count, 1)
    return found


def _weights(features: FloatArray, truth: FloatArray, networks: int) -> FloatArray:
    """Weights (F,) that come nearest to `truth` (n,), drawn to the mean of the networks; steps far off weigh less (Huber)."""
    before = np.zeros(features.shape[1])
    before[:networks] = 1 / networks
    rest = truth - features @ before
    mean = (features**2).mean(axis=0)
    pull = np.diag(PRIOR * mean + 1e-9 * float(mean.max()) + 1e-300)
    weights, heavy = before, np.ones(len(truth))
    for _ in range(WEIGH_ROUNDS):
        weighed = (features * heavy[:, None]).T
        weights = before + np.linalg.solve(weighed @ features + pull, weighed @ rest)
        away = np.abs(truth - features @ weights)
        heavy = np.minimum(1.0, HEAVY * 1.4826 * float(np.median(away)) / np.maximum(away, 1e-300))
    return weights


def noise_variance(values: FloatArray) -> float:
    """Variance of the white noise in `values` (T,) without holes: the floor of the spectrum below all that has a memory.

    Models of the spectrum are a floor and a process of order 1, or the sum of one, by the likelihood of Whittle; the peaks of
    seasons are left out. The lowest floor that is not clearly less likely than the best is believed: too little noise taken
    out does less harm than too much, and where the floor cannot be told from a random walk there is no noise.
    """
    rate, power, count = _periodogram(values)
    if not power.sum() > 0:
        return 0.0
    shapes = [np.abs(1 - memory * np.exp(-2j * np.pi * rate)) ** -float(order) for order in POWERS for memory in MEMORY]
    kept = np.ones(len(power), dtype=bool)
    for _ in range(PEAK_ROUNDS):
        fits = [(_fitted(shape[kept], power[kept]), shape) for shape in shapes]
        (_, floor, height), shape = min(fits, key=lambda one: one[0][0])
        kept = power < PEAK * (floor + height * shape)
    tried = []
    for shape in shapes:
        cost, floor, _ = _fitted(shape[kept], power[kept])
        tried.append((cost, floor))
        tried += [_fitted(shape[kept], power[kept], part * floor)[:2] for part in PARTS]
    most = min(cost for cost, _ in tried) + UNSURE / count
    return min(floor for cost, floor in tried if cost <= most)


def _periodogram(values: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """(frequencies above BAND in cycles per step, mean power there, how many frequencies each is the mean of)."""
    steps = len(values)
    taper = np.hanning(steps + 2)[1:-1]
    line = np.polyval(np.polyfit(np.arange(steps), values, 1), np.arange(steps))
    power = np.abs(np.fft.rfft((values - line) * taper)) ** 2 / (taper**2).sum()
    rate = np.fft.rfftfreq(steps)
    rate, power = rate[rate > BAND], power[rate > BAND]
    count = -(-len(rate) // MOST_BINS)
    whole = len(rate) // count * count
    return rate[:whole].reshape(-1, count).mean(axis=1), power[:whole].reshape(-1, count).mean(axis=1), count


def _fitted(shape: FloatArray, power: FloatArray, fixed: float | None = None) -> tuple[float, float, float]:
    """(-log likelihood, floor, height) of the spectrum floor + height * shape (F,); with `fixed` that is the floor.

    Multiplicative rounds, which keep both positive (Févotte, Bertin & Durrieu 2009, Itakura-Saito distance).
    """
    mean = float(power.mean())
    low, high = mean / 2 if fixed is None else max(fixed, 1e-9 * mean), mean / (2 * float(shape.mean()))
    for _ in range(FIT_ROUNDS):
        inverse = 1 / (low + high * shape)
        want = power * inverse**2
        high = max(high * float(np.sqrt((shape @ want) / (shape @ inverse))), 1e-20 * mean)
        if fixed is None:
            low = max(low * float(np.sqrt(want.sum() / inverse.sum())), 1e-9 * mean)
    spectrum = low + high * shape
    return float((np.log(spectrum) + power / spectrum).sum()), low, high

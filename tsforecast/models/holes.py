"""Values (T,) with holes -> several guesses of what is missing, and the mix of them that does best on holes made on purpose.

A guess of the whole course, such as that of a network, is off by something at the edges of a hole. How far that is carried
into the hole decides more than the network does, so it is one of the things that are mixed. numpy only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsforecast.panel import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
Reconstruct = Callable[[FloatArray], Sequence[FloatArray]]  # values (T,) -> courses (T,) of one or several networks

CLASSES = (3, 12, 48)  # steps up to which a hole is short, of a day, …: each class has a mix of its own
TRIALS, ENOUGH = 6, 4_000  # times that holes are made on purpose; hidden steps of a class that suffice
PRIOR = 20.0  # hidden steps that the mix without any trial is worth
ROUNDS, LEAST_APART = 5, 0.02  # of weighing steps anew; mean errors of a guess below which steps weigh alike
LAG = 4  # steps over which the memory of what a course is off by is measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Guesses:
    """Guesses of one column with holes."""

    names: tuple[str, ...]  # (G,) "line", "season", "season with edges", then "network" and "network with edges" of each
    values: FloatArray  # (G, T)


def guesses(values: FloatArray, season: int, reconstruct: Reconstruct) -> Guesses:
    """What a straight line, the seasons before and after, and the network say; `values` (T,) have some number in them.

    The network sees the holes filled by the season: of a window that is half a hole it makes little.
    """
    line = on_a_line(values)
    names, found = ["line"], [line]
    filled = line
    if 1 < season < len(values):
        course = beside_seasons(values, season, line)
        filled = with_edges(values, course)
        names += ["season", "season with edges"]
        found += [np.where(np.isfinite(values), values, course), filled]
    for course in reconstruct(filled):
        known = np.where(np.isfinite(course), course, filled)
        names += ["network", "network with edges"]
        found += [values_or(values, known + on_a_line(np.where(np.isfinite(values), values - known, np.nan)))]
        found += [with_edges(values, known)]
    return Guesses(names=tuple(names), values=np.stack(found))


def mixed(values: FloatArray, season: int, reconstruct: Reconstruct, *, wanted: BoolArray) -> FloatArray:
    """`values` (T,) with the steps `wanted` filled, (T,): weights are those that did best on holes made on purpose.

    Such holes are the real ones, shifted to where the values are known; no chance is involved.
    """
    real = guesses(values, season, reconstruct)
    length = run_lengths(~np.isfinite(values))
    kind = np.searchsorted(CLASSES, length)
    found = values.copy()
    trials = _trials(values, season, reconstruct, wanted)
    for one in np.unique(kind[wanted]):
        said, truth = trials.get(int(one), (np.zeros((0, len(real.names))), np.zeros(0)))
        weights = mix(said, truth, _without_trial(real.names))
        rows = wanted & (kind == one)
        found[rows] = weights @ real.values[:, rows]
    return found


def mix(said: FloatArray, truth: FloatArray, before: FloatArray) -> FloatArray:
    """Weights (G,), none negative, sum 1, of the guesses `said` (n, G) that come nearest to `truth` (n,) in the mean distance.

    Least squares whose rows are weighed by 1 / distance, some rounds. The weights are drawn to `before` (G,) as if that had
    been right for PRIOR of the steps.
    """
    from scipy.optimize import nnls

    errors = np.abs(said - truth[:, None]).mean(axis=0) if len(truth) else np.zeros(len(before))
    unit = max(float(errors.min()), 1e-9 * float(errors.max()))  # a guess far off does not make the others alike
    if not unit > 0:
        return before
    apart = (said - truth[:, None]) / unit  # with a sum of 1 the error of the mix is apart @ weights
    pull = np.sqrt(PRIOR) * np.eye(len(before))
    one = 1e3 * np.sqrt(len(truth) + PRIOR) * np.ones((1, len(before)))  # a heavy row: the sum is 1
    right = np.concatenate([np.zeros(len(truth)), np.sqrt(PRIOR) * before, one[:, 0]])
    weights = before
    for _ in range(ROUNDS):
        heavy = 1 / np.sqrt(np.maximum(np.abs(apart @ weights), LEAST_APART))[:, None]
        weights = nnls(np.concatenate([apart * heavy, pull, one]), right)[0]
        weights = weights / weights.sum()
    found: FloatArray = weights
    return found


def _without_trial(names: Sequence[str]) -> FloatArray:
    """Equal weights of what the networks say, where there are any."""
    network = np.array([name.startswith("network") for name in names], dtype=np.float64)
    network = network if network.any() else np.ones(len(names))
    found: FloatArray = network / network.sum()
    return found


def _trials(
    values: FloatArray, season: int, reconstruct: Reconstruct, wanted: BoolArray
) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Class of hole -> (guesses (n, G), truth (n,)) of steps hidden on purpose."""
    seen = np.isfinite(values)
    longest = int(run_lengths(wanted).max())
    parts: dict[int, list[tuple[FloatArray, FloatArray]]] = {}
    done, least = 0, 0
    for trial in range(TRIALS):
        shift = (trial + 1) * (longest + 1 + trial) + trial % 3
        hidden = np.roll(wanted, shift) & seen
        hidden &= (np.cumsum(seen & ~hidden) > 0) & (np.cumsum((seen & ~hidden)[::-1])[::-1] > 0)  # inside, as what is wanted
        if not hidden.any():
            continue
        trying = np.where(hidden, np.nan, values)
        said = guesses(trying, season, reconstruct).values
        kind = np.searchsorted(CLASSES, run_lengths(~np.isfinite(trying)))
        for one in np.unique(kind[hidden]):
            rows = hidden & (kind == one)
            parts.setdefault(int(one), []).append((said[:, rows].T, values[rows]))
        done += 1
        least = min(sum(len(truth) for _, truth in found) for found in parts.values())
        if done >= 2 and least >= ENOUGH:
            break
    return {one: (np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])) for one, found in parts.items()}


# Courses and edges


def values_or(values: FloatArray, others: FloatArray) -> FloatArray:
    """What was observed, and `others` where nothing was, (T,)."""
    found: FloatArray = np.where(np.isfinite(values), values, others)
    return found


def on_a_line(values: FloatArray) -> FloatArray:
    """Holes on a straight line between their neighbours, held at the ends, (T,)."""
    seen = np.flatnonzero(np.isfinite(values))
    if not len(seen):
        return np.zeros(len(values))
    return np.interp(np.arange(len(values)), seen, values[seen])


def beside_seasons(values: FloatArray, season: int, otherwise: FloatArray) -> FloatArray:
    """Mean of the value of the same phase in the nearest seasons before and after, without the step itself, (T,)."""
    turns = -(-len(values) // season)
    grid = np.full((turns, season), np.nan)
    grid.ravel()[: len(values)] = values
    before = _latest(grid)
    after = _latest(grid[::-1])[::-1]
    both = np.where(np.isfinite(before), np.where(np.isfinite(after), (before + after) / 2, before), after)
    course = both.ravel()[: len(values)]
    return np.where(np.isfinite(course), course, otherwise)


def _latest(grid: FloatArray) -> FloatArray:
    """The latest value above each of a column, (R, M); NaN where there is none."""
    rows = np.arange(len(grid))[:, None]
    place = np.maximum.accumulate(np.where(np.isfinite(grid), rows, -1), axis=0)
    place = np.concatenate([np.full((1, grid.shape[1]), -1), place[:-1]])
    return np.where(place >= 0, np.take_along_axis(grid, np.maximum(place, 0), axis=0), np.nan)


def with_edges(values: FloatArray, course: FloatArray) -> FloatArray:
    """`course` (T,) in the holes, plus what it is off by at their edges, which fades as fast as the errors forget.

    The expectation of an autoregressive process of order 1 between two known values.
    """
    seen, steps = np.isfinite(values), np.arange(len(values))
    off = np.where(seen, values - course, 0.0)
    left = np.maximum.accumulate(np.where(seen, steps, -1))
    right = np.minimum.accumulate(np.where(seen, steps, len(values))[::-1])[::-1]
    decay = _forgetting(off, seen)
    near = np.where(left >= 0, np.exp(-decay * (steps - left)), 0.0)
    far = np.where(right < len(values), np.exp(-decay * (right - steps)), 0.0)
    rest = np.maximum(1 - (near * far) ** 2, 1e-12)
    guess = near * (1 - far**2) * off[np.maximum(left, 0)] + far * (1 - near**2) * off[np.minimum(right, len(values) - 1)]
    return values_or(values, course + guess / rest)


def _forgetting(off: FloatArray, seen: BoolArray) -> float:
    """Rate at which the autocorrelation of errors decays, for each step."""
    both = seen[LAG:] & seen[:-LAG]
    power = float(np.mean(off[seen] ** 2)) if seen.any() else 0.0
    if not both.any() or not power > 0:
        return 1.0
    correlation = float(np.mean((off[LAG:] * off[:-LAG])[both])) / power
    return -float(np.log(np.clip(correlation, 1e-3, 0.9999))) / LAG


def run_lengths(true: BoolArray) -> IntArray:
    """Length of the run that each true step lies in, 0 elsewhere, (T,)."""
    edge = np.diff(np.concatenate([[False], true, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    found = np.zeros(len(true), dtype=np.int64)
    found[true] = np.repeat(ends - starts, ends - starts)
    return found

"""New series from a variational autoencoder: a walk through the latent numbers of the windows it has learnt from.

The prior of a VAE is not where its windows lie. What is drawn from is the aggregated posterior: the mixture of q(z | x) over
windows x of the fit (Hoffman & Johnson 2016), one component for each. From a component the walk jumps to one whose window and
slow level are alike, at the same phase of the season, and goes on to the window half a length later. Windows overlap by half
and are faded into each other; to their mean comes noise of the deviation that the decoder gives, as rough as the errors on the
windows of the fit were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsforecast.errors import OptionError
from tsforecast.models.detector import Rows
from tsforecast.models.detector_tape import Column
from tsforecast.models.evidence import LEAST_SEEN, trailing_mean
from tsforecast.nn.autoencoder import VariationalWindowAutoencoder
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.calendar import future_timestamps_after
from tsforecast.preprocessing.seasonality import places_on_clock

if TYPE_CHECKING:
    from tsforecast.models.fitted_detector import FittedDetector

MOST_CODES = 40_000  # windows times channels that are kept
MOST_WINDOWS = 20_000
NEAREST = 3  # windows, the present one among them, from which the walk goes on
LEAST_AT_PHASE = 30  # windows to choose from; where fewer are at a phase, those at the next ones count too
SLOW_WEIGHT = 0.3  # of the slow level beside the window
SLOW = 8  # half windows over which the slow level is the mean
LARGEST_ERROR = 4.0  # deviations beyond which an error on a window of the fit counts as an anomaly


@dataclass(frozen=True, kw_only=True, slots=True)
class Bank:
    """Components of the aggregated posterior: W windows of C channels, D latent numbers; S series of the fit."""

    network: IntArray  # (1,) which network
    mean: FloatArray  # (W, C, D)
    deviation: FloatArray  # (W, C, D)
    owner: IntArray  # (W,) series
    next: IntArray  # (W,) the window half a length later; -1 = none
    slow: FloatArray  # (W, C) mean of the half windows before the window ends, standardised
    phase: IntArray  # (W,) of the first step of the window, in steps
    season: IntArray  # (1,) steps
    spectrum: FloatArray  # (S, C, w // 2 + 1) power of the errors at each frequency, in variances of the decoder

    def to_arrays(self) -> dict[str, np.ndarray]:
        """By name, in single precision."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"bank.{name}": one.astype(np.float32) if one.dtype.kind == "f" else one for name, one in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Bank":
        stored: dict[str, Any] = {field.name: arrays[f"bank.{field.name}"] for field in fields(cls)}
        return cls(**{name: one.astype(np.float64) if one.dtype.kind == "f" else one for name, one in stored.items()})

    @classmethod
    def of(cls, networks: Sequence[Any], windows: Sequence[int], series: Sequence[Rows]) -> "Bank":
        """Windows of which each channel is observed for at least half, through the network that errs least."""
        found = [
            cls._through(network, window, series, v) for v, (network, window) in enumerate(zip(networks, windows, strict=True))
        ]
        return min(found, key=lambda one: one[0])[1]

    @classmethod
    def _through(
        cls, network: VariationalWindowAutoencoder, window: int, series: Sequence[Rows], number: int
    ) -> "tuple[float, Bank]":
        """(mean squared error, bank) of one network."""
        columns = [[Column.of(rows.values[:, c], window) for c in range(rows.values.shape[1])] for rows in series]
        ends = _spread_out([_ends(own, window) for own in columns], window, channels=len(columns[0]))
        owner, places = np.repeat(np.arange(len(series)), [len(one) for one in ends]), np.concatenate(ends)
        mean = np.zeros((len(places), len(columns[0]), network.latent))
        deviation, slow = np.ones_like(mean), np.zeros(mean.shape[:2])
        spectrum = np.ones((len(series), mean.shape[1], network.window // 2 + 1))
        phase, season = np.zeros(len(places), dtype=np.int64), max(series[0].season, 1)
        errors = []
        for s, rows in enumerate(series):
            mine = np.flatnonzero(owner == s)
            if not len(mine):
                continue
            first = places_on_clock(rows.timestamps[:1], rows.freq, rows.tz)[0]
            phase[mine] = (first + places[mine] - window + 1) % season
            slow[mine] = np.nan_to_num(trailing_mean(rows.values, SLOW * max(window // 2, 1))[places[mine]])
            for c, column in enumerate(columns[s]):
                values, seen = (one[torch.from_numpy(places[mine])] for one in column.windows(0, column.steps))
                with torch.inference_mode():
                    code = network.posterior(values, seen)
                    said, sigma = network.decode(code[0])
                mean[mine, c], deviation[mine, c] = (one.double().numpy() for one in code)
                spectrum[s, c] = _spectrum(((values - said) / sigma).double().numpy(), seen.numpy() > 0)
                errors.append(float((((values - said) ** 2) * seen).sum() / seen.sum()))
        bank = cls(
            network=np.asarray([number]),
            mean=mean,
            deviation=deviation,
            owner=owner,
            next=_next(owner, places, max(window // 2, 1)),
            slow=slow,
            phase=phase,
            season=np.asarray([season]),
            spectrum=spectrum,
        )
        return float(np.median(errors)) if errors else np.inf, bank


def _ends(columns: Sequence[Column], window: int) -> IntArray:
    """Last steps of the windows that will do, (W,)."""
    steps = np.arange(min(window - 1, columns[0].steps), columns[0].steps)
    if not len(steps):
        return steps
    enough = np.ones(len(steps), dtype=bool)
    for column in columns:
        _, seen = column.windows(int(steps[0]), len(steps))
        enough &= (seen.mean(1) >= LEAST_SEEN).numpy()
    return steps[enough]


def _spread_out(ends: list[IntArray], window: int, *, channels: int) -> list[IntArray]:
    """Not too many of them: the step from one to the next divides half a window, so that each has its next one."""
    most = max(min(MOST_WINDOWS, MOST_CODES // channels), 1)
    hop = max(window // 2, 1)
    total = sum(len(one) for one in ends)
    stride = next((step for step in range(1, hop + 1) if hop % step == 0 and total <= most * step), hop)
    each = max(most // max(sum(len(one) > 0 for one in ends), 1), NEAREST)  # of a series, the newest
    return [one[one % stride == 0][-max(each, most - total // stride) :] if len(one) else one for one in ends]


def _next(owner: IntArray, places: IntArray, hop: int) -> IntArray:
    """Index of the window of the same series that ends `hop` later, (W,); -1 where there is none."""
    if not len(places):
        return places
    key = owner * (int(places.max()) + hop + 1) + places  # ascending
    found = np.minimum(np.searchsorted(key, key + hop), len(key) - 1)
    return np.where(key[found] == key + hop, found, -1)


def _spectrum(errors: FloatArray, seen: np.ndarray) -> FloatArray:
    """Mean power of errors (n, w) at each frequency, (F,), those of anomalies clipped; of white noise it is 1."""
    errors = np.where(seen, np.clip(errors, -LARGEST_ERROR, LARGEST_ERROR), 0.0)
    count = np.maximum(seen.sum(axis=1), 1)[:, None]
    found: FloatArray = (np.abs(np.fft.rfft(errors, axis=1)) ** 2 / count).mean(axis=0)
    return found


def walk(
    bank: Bank,
    network: VariationalWindowAutoencoder,
    steps: int,
    *,
    count: int,
    draws: np.random.Generator,
    series: int,
    phase: int | None,
) -> FloatArray:
    """New standardised series like one of the fit, (count, steps, C); the first step is at `phase`, None = at any."""
    mine = np.flatnonzero(bank.owner == series)
    after = np.where(bank.next[mine] >= 0, bank.next[mine] - mine[0], -1)  # the windows of a series lie side by side
    paths = _Paths(mean=bank.mean[mine], slow=bank.slow[mine], phase=bank.phase[mine], after=after, season=int(bank.season[0]))
    hop = max(network.window // 2, 1)
    chosen = [paths.draw(network, steps, hop, draws, phase, part=(i, count)) for i in range(count)]
    found = np.empty((count, steps, bank.mean.shape[1]))
    for i, (places, skip) in enumerate(chosen):
        z = bank.mean[mine][places]
        z = z + bank.deviation[mine][places] * draws.standard_normal(z.shape)
        with torch.inference_mode():
            said = network.decode(torch.from_numpy(z.reshape(-1, z.shape[2])).float())
        course, sigma = (_faded(one.double().numpy().reshape(*z.shape[:2], -1), hop) for one in said)
        noise = _coloured(draws.standard_normal(course.shape), bank.spectrum[series])
        found[i] = (course + sigma * noise)[skip : skip + steps]
    return found


@dataclass(kw_only=True, slots=True)
class _Paths:
    """Ways through the windows of one series."""

    mean: FloatArray  # (W, C, D)
    slow: FloatArray  # (W, C)
    phase: IntArray  # (W,)
    after: IntArray  # (W,) -1 = none
    season: int
    courses: FloatArray | None = None  # (W, C, w + 1) what is compared

    def draw(
        self,
        network: VariationalWindowAutoencoder,
        steps: int,
        hop: int,
        draws: np.random.Generator,
        phase: int | None,
        *,
        part: tuple[int, int],
    ) -> tuple[IntArray, int]:
        """(windows of a path (n,), steps of it that come before the first one wanted).

        Path i of n begins in that part of the series, so that several together have seen all of it.
        """
        if self.courses is None:
            with torch.inference_mode():
                said = network.decode(torch.from_numpy(self.mean.reshape(-1, self.mean.shape[2])).float())[0]
            courses = said.double().numpy().reshape(*self.mean.shape[:2], -1)
            self.courses = np.concatenate([courses, SLOW_WEIGHT * np.sqrt(courses.shape[2]) * self.slow[..., None]], axis=2)
        skip = hop // 2  # what only the first window knows is not used
        able = np.arange(len(self.phase))
        late = np.zeros_like(able)
        if phase is not None and self.season > 1:
            late = (phase - skip - self.phase) % self.season
            least = min(max(LEAST_AT_PHASE, part[1]), len(late)) - 1
            able = np.flatnonzero(late <= np.partition(late, least)[least])
        within = (part[0] + draws.random()) / part[1]
        place = int(able[min(int(within * len(able)), len(able) - 1)])
        skip += int(late[place])
        places = [place]
        start = int(self.phase[place])
        for n in range(-(-(skip + steps) // hop)):
            allowed = self._going_on(start + n * hop)
            apart = ((self.courses[allowed] - self.courses[place]) ** 2).sum(axis=(1, 2))
            nearest = allowed[np.argsort(apart, kind="stable")[:NEAREST]]
            place = int(self.after[draws.choice(nearest)]) if len(nearest) else place
            places.append(place)
        return np.asarray(places), skip

    def _going_on(self, phase: int) -> IntArray:
        """Windows that have a next one and begin at `phase`, or as near to it as there are some."""
        going = np.flatnonzero(self.after >= 0)
        if self.season <= 1 or len(going) <= LEAST_AT_PHASE:
            return going
        apart = np.abs((self.phase[going] - phase + self.season // 2) % self.season - self.season // 2)
        near: IntArray = going[apart <= np.partition(apart, LEAST_AT_PHASE - 1)[LEAST_AT_PHASE - 1]]
        return near


def _faded(windows: FloatArray, hop: int) -> FloatArray:
    """Windows (n, C, w), each `hop` steps after the one before -> (T, C), weighed by the distance from their ends."""
    several, channels, w = windows.shape
    weight = np.minimum(np.arange(1, w + 1), np.arange(w, 0, -1)).astype(np.float64)
    total, sums = np.zeros(((several - 1) * hop + w, channels)), np.zeros((several - 1) * hop + w)
    for n in range(several):
        total[n * hop : n * hop + w] += (windows[n] * weight).T
        sums[n * hop : n * hop + w] += weight
    return total / sums[:, None]


def _coloured(noise: FloatArray, spectrum: FloatArray) -> FloatArray:
    """White noise (T, C) -> noise with that power (C, F) at each frequency from 0 to a half."""
    found = np.empty_like(noise)
    power = np.linspace(0, 0.5, spectrum.shape[1])
    for c in range(noise.shape[1]):
        size = np.sqrt(np.interp(np.fft.rfftfreq(len(noise)), power, spectrum[c]))
        found[:, c] = np.fft.irfft(np.fft.rfft(noise[:, c]) * size, n=len(noise))
    return found


def generate(detector: "FittedDetector", steps: int, *, count: int = 1, seed: int = 0, series_id: str | None = None) -> Panel:
    """New series in units of the channels, which follow the series of the fit on the clock: "generated_1", "generated_2" …

    Args:
        steps: rows of each.
        count: how many.
        seed: of all chance; the same seed gives the same series.
        series_id: of the fit, that they are to be like; None = for each of them one of the fit, drawn by its length.

    Raises:
        OptionError: the detector cannot, a number is out of range, or no series of the fit has that id.
    """
    detector.require("generate")
    for name, value in (("steps", steps), ("count", count)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(f"{name} must be a number from 1 on, got {value!r}", field=name)
    ids = list(detector.fitted_ids)
    if series_id is not None and series_id not in ids:
        known = ", ".join(map(repr, ids[:5])) + (" …" if len(ids) > 5 else "")
        raise OptionError(f"no series {series_id!r} in the fit, which had {known}", field="series_id")
    core: Any = detector.core
    if series_id is not None and ids.index(series_id) not in core.bank.owner:
        raise OptionError(f"series {series_id!r} was too short for a window, so nothing like it is known", field="series_id")
    draws = np.random.default_rng(seed)
    homes = core.bank.owner[draws.integers(len(core.bank.owner), size=count)]
    if series_id is not None:
        homes = np.full(count, ids.index(series_id))
    facts = detector.facts
    values, times = np.empty((count, steps, len(facts.channels))), []
    for home in homes:
        last = detector.memories[ids[home]].tail_times[-1:]
        times.append(future_timestamps_after(last, facts.freq, steps, tz=facts.tz)[0])
    for home in np.unique(homes):
        mine, scale = np.flatnonzero(homes == home), detector.memories[ids[home]].scale
        phase = int(places_on_clock(times[mine[0]][:1], facts.freq, facts.tz)[0])
        seed = int(draws.integers(2**31))
        values[mine] = scale.back(core.generate(steps, count=len(mine), seed=seed, series=int(home), phase=phase))
    whole, channels = values.reshape(count * steps, -1), facts.channels
    return Panel(
        series_ids=tuple(f"generated_{i + 1}" for i in range(count)),
        offsets=np.arange(count + 1, dtype=np.int64) * steps,
        timestamps=np.concatenate(times),
        target=np.ascontiguousarray(whole[:, 0]),
        freq=facts.freq,
        season=facts.season,
        tz=facts.tz,
        past_covariates=np.ascontiguousarray(whole[:, 1:]) if len(channels) > 1 else None,
        past_covariate_names=channels[1:],
        target_name=channels[0],
    )

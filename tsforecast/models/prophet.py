"""Panel -> Forecast by Prophet, one additive model per series. The only file that imports prophet.

A series is fitted on the rows it has. Asked for a series it was not fitted on, or for one whose rows have changed
since, the predictor fits that series anew on the history it is given: a local model has nothing else to go by.
"""

import hashlib
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from tsforecast.errors import CovariateError, FrequencyError, HistoryTooShort, ModelError, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import About, Callback, Epoch, Facts, Forecaster, Predictor, check_horizon
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import future_timestamps, wall_from_instants

MIN_OBSERVED = 5  # observations; with fewer the trend runs through all of them and leaves no noise to estimate
CHUNK_SECONDS = 1.0  # estimated work handed to a process at a time
POOL_PAYS_FROM = 5.0  # estimated seconds of work; below, starting processes takes longer than it saves


@dataclass(frozen=True, kw_only=True, slots=True)
class ProphetModel(Forecaster):
    """Trend with changepoints, calendar seasonalities, holidays and the panel's covariates as regressors.

    Seasonalities are prophet's automatic ones: yearly from two years of history on, weekly and daily from two weeks and
    two days on where the steps are shorter. Holidays are days: a step of weekly or longer data has one only if it starts
    on that day. A weekday or hour that was never observed is extrapolated by a smooth curve that nothing holds there.
    """

    name: ClassVar[str] = "prophet"
    about: ClassVar[About] = About(
        family="additive",
        scope="local",
        source="Taylor & Letham 2018, Forecasting at Scale",
        minimal_history=f"{MIN_OBSERVED} observations, with dates",
        covariates="known-future",
    )

    growth: Literal["linear", "flat"] = "linear"
    n_changepoints: int = 25  # places where the trend may bend
    changepoint_prior_scale: float = 0.05  # how much it bends there
    seasonality_mode: Literal["additive", "multiplicative"] = "additive"
    seasonality_prior_scale: float = 10.0
    holidays_country: str | None = None  # as the holidays package calls it, e.g. "US", "DE"
    holidays: tuple[tuple[str, str, int, int], ...] = ()  # (name, ISO date, days before <= 0, days after >= 0)
    holidays_prior_scale: float = 10.0
    uncertainty_samples: int = 1000  # futures drawn for the quantiles

    def __post_init__(self) -> None:
        # "logistic" growth needs a capacity for each series, which a panel does not say.
        _check_choice("growth", self.growth, ("linear", "flat"))
        _check_choice("seasonality_mode", self.seasonality_mode, ("additive", "multiplicative"))
        for name, least in (("n_changepoints", 0), ("uncertainty_samples", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise OptionError(f"{name} must be a whole number of at least {least}, got {value!r}", field=name)
        for name in ("changepoint_prior_scale", "seasonality_prior_scale", "holidays_prior_scale"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise OptionError(f"{name} must be a positive number, got {value!r}", field=name)
        object.__setattr__(self, "holidays", tuple(_holiday(entry) for entry in self.holidays))  # JSON has no tuples

    @classmethod
    def tiny(cls) -> Self:
        return cls(n_changepoints=3, uncertainty_samples=200)

    @classmethod
    def predictor_class(cls) -> type[Predictor]:
        return ProphetPredictor

    def fit(
        self,
        panel: Panel,
        *,
        horizon: int,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> "ProphetPredictor":
        """As `Forecaster.fit`, in parallel processes of `train.workers` where there is enough work for them.

        Callbacks hear of each finished chunk of series as an epoch with `series_done` and `series_per_s`.

        Raises:
            HorizonError, HistoryTooShort, OptionError; FrequencyError: an integer clock; CovariateError: a covariate
            is NaN; ModelError: a series could not be fitted, or a worker process died.
        """
        train = train or TrainConfig()
        facts = Facts.of(panel, horizon=check_horizon(horizon), seed=seed)
        _check_panel(panel)
        self.new_model(regressors=len(panel.covariate_names))  # options that prophet refuses: say so before the work
        tasks = {task.fingerprint: task for task in _tasks(panel)}  # twins are fitted once
        progress = _Progress(total=len(tasks), callbacks=callbacks, config=train)
        answers = _run(self, tuple(tasks.values()), seed=seed, workers=train.workers, progress=progress.tell)
        progress.close()
        models = {fingerprint: answer.model for fingerprint, answer in zip(tasks, answers, strict=True)}
        return ProphetPredictor(recipe=self, facts=facts, models=models, workers=train.workers)

    def new_model(self, *, regressors: int) -> Any:
        """An unfitted `prophet.Prophet` with these options and that many regressors, called x0, x1 …

        Raises:
            OptionError: prophet or the holidays package does not know what the options name.
        """
        prophet = _prophet()
        try:
            model = prophet.Prophet(
                growth=self.growth,
                n_changepoints=self.n_changepoints,
                changepoint_prior_scale=self.changepoint_prior_scale,
                seasonality_mode=self.seasonality_mode,
                seasonality_prior_scale=self.seasonality_prior_scale,
                holidays=_holiday_frame(self.holidays),
                holidays_prior_scale=self.holidays_prior_scale,
                uncertainty_samples=0,  # this file draws them: prophet's own come from the global random state
            )
            if self.holidays_country is not None:
                _check_country(self.holidays_country)
                model.add_country_holidays(self.holidays_country)
            for i in range(regressors):
                model.add_regressor(f"x{i}")  # not by their own names, which may be words that prophet reserves
        except ValueError as error:
            raise OptionError(f"prophet refuses its options: {error}", field="holidays") from error
        return model


@dataclass(frozen=True, kw_only=True, slots=True)
class ProphetPredictor(Predictor):
    """The fitted models, each as prophet's own JSON, found by what is in the rows of its series."""

    recipe: ProphetModel
    facts: Facts
    models: Mapping[bytes, str] = field(repr=False)  # fingerprint of a series' rows (32 bytes) -> JSON
    workers: int | None = None  # processes for series that have to be fitted in `predict`; None = one per core

    def predict(
        self,
        panel: Panel,
        *,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
        future: FloatArray | None = None,
    ) -> Forecast:
        """As `Predictor.predict`; the median is prophet's `yhat`, the other quantiles are those of drawn futures.

        A series whose rows are not those of the fit is fitted here first, which takes a fraction of a second.
        """
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        _check_panel(panel)
        _check_future(panel, future)
        timestamps = future_timestamps(panel, steps)
        wall = _wall(timestamps, panel.tz)
        tasks = tuple(
            replace(task, model=self.models.get(task.fingerprint), horizon=_Horizon.of(i, wall, future, levels))
            for i, task in enumerate(_tasks(panel))
        )
        answers = _run(self.recipe, tasks, seed=self.facts.seed, workers=self.workers)
        quantiles = np.stack([answer.quantiles for answer in answers]) if answers else np.zeros((0, steps, len(levels)))
        return Forecast(
            series_ids=panel.series_ids, timestamps=timestamps, quantile_levels=levels, quantiles=quantiles, tz=panel.tz
        )

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        texts = [text.encode() for text in self.models.values()]
        return {
            "json": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "json.offsets": np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)]).astype(np.int64),
            "fingerprints": np.frombuffer(b"".join(self.models), dtype=np.uint8).reshape(-1, 32),
        }, {}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "ProphetPredictor":
        assert isinstance(recipe, ProphetModel)
        content, offsets = arrays["json"].tobytes(), arrays["json.offsets"].tolist()
        texts = [content[start:stop].decode() for start, stop in pairwise(offsets)]
        fingerprints = [row.tobytes() for row in arrays["fingerprints"]]
        return cls(recipe=recipe, facts=facts, models=dict(zip(fingerprints, texts, strict=True)))


# One series


@dataclass(frozen=True, kw_only=True, slots=True)
class _Horizon:
    """What to forecast of one series."""

    ds: np.ndarray  # (H,) datetime64[ns] on the wall clock
    covariates: FloatArray  # (H, C)
    levels: tuple[float, ...]  # (Q,)

    @classmethod
    def of(cls, i: int, wall: np.ndarray, future: FloatArray | None, levels: tuple[float, ...]) -> Self:
        covariates = np.zeros((wall.shape[1], 0)) if future is None else np.asarray(future[i], dtype=np.float64)
        return cls(ds=wall[i], covariates=covariates, levels=levels)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    """One series to fit, to forecast, or both."""

    series_id: str
    fingerprint: bytes  # of the rows below, 32 bytes
    ds: np.ndarray  # (T,) datetime64[ns] on the wall clock
    y: FloatArray  # (T,)
    covariates: FloatArray  # (T, C)
    model: str | None = None  # JSON of a fitted model; None = to be fitted
    horizon: _Horizon | None = None  # None = nothing to forecast

    @property
    def seconds(self) -> float:
        """Rough work in it, as measured on one core: 0.06 s for 120 monthly rows, 0.2 s for 1,460 daily ones."""
        return (0.045 + 1e-4 * len(self.y)) * (self.model is None) + 0.015 * (self.horizon is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What became of a task."""

    model: str  # JSON of the fitted model
    quantiles: FloatArray  # (H, Q); (0, 0) where nothing was to be forecast


def _tasks(panel: Panel) -> Iterator[_Task]:
    wall = _wall(panel.timestamps, panel.tz)
    covariates = np.zeros((len(panel.target), 0)) if panel.covariates is None else panel.covariates
    for i, series_id in enumerate(panel.series_ids):
        rows = slice(panel.offsets[i], panel.offsets[i + 1])
        digest = hashlib.sha256(wall[rows].tobytes())
        digest.update(panel.target[rows].tobytes())
        digest.update(np.ascontiguousarray(covariates[rows]).tobytes())
        yield _Task(
            series_id=series_id, fingerprint=digest.digest(), ds=wall[rows], y=panel.target[rows], covariates=covariates[rows]
        )


def _wall(timestamps: TimeArray, tz: str | None) -> npt.NDArray[np.datetime64]:
    """Prophet knows no time zones: daily patterns and holidays follow the clock on the wall."""
    return wall_from_instants(timestamps.astype("datetime64[ns]"), tz)


def _work(recipe: ProphetModel, seed: int, tasks: Sequence[_Task]) -> list[_Answer]:
    """Fit and forecast a few series, one after the other; what a worker process does."""
    answers = []
    for task in tasks:
        # By the rows and not by the place in the panel: a series has the same forecast alone and in a batch.
        own = hashlib.sha256(f"{seed}".encode() + task.fingerprint).digest()
        try:
            text = task.model or _fit(recipe, task, seed=int.from_bytes(own[:4], "big"))
            quantiles = np.zeros((0, 0)) if task.horizon is None else _forecast(recipe, text, task.horizon, seed=own)
        except (RuntimeError, ValueError, ArithmeticError) as error:
            raise ModelError(
                f"series {task.series_id!r}: prophet failed with {error!r}; look at its values, or use another model",
                series_id=task.series_id,
            ) from error
        answers.append(_Answer(model=text, quantiles=quantiles))
    return answers


def _fit(recipe: ProphetModel, task: _Task, *, seed: int) -> str:
    """A fitted model as prophet's JSON."""
    model = recipe.new_model(regressors=task.covariates.shape[1])
    from prophet.serialize import model_to_json  # after `new_model`, which keeps the import quiet

    model.fit(_frame(task.ds, task.covariates).assign(y=task.y), seed=seed)
    model.stan_backend.cleanup()  # Stan's files in the temporary folder
    # A forecast reads these parameters only; without rows a stored model is a few kB however long the history was.
    model.params = {name: model.params[name] for name in ("k", "m", "delta", "beta", "sigma_obs")}
    model.history, model.history_dates = model.history.tail(2), model.history_dates.tail(2)
    text: str = model_to_json(model)
    return text


def _forecast(recipe: ProphetModel, text: str, horizon: _Horizon, *, seed: bytes) -> FloatArray:
    """Quantiles of the steps of `horizon`, (H, Q)."""
    model = _decoded(text)
    parts = model.predict(_frame(horizon.ds, horizon.covariates))
    yhat = parts["yhat"].to_numpy(dtype=np.float64)[:, None]  # (H, 1)
    grown = 1.0 + parts["multiplicative_terms"].to_numpy(dtype=np.float64)[:, None]  # (H, 1)
    time_scaled = (horizon.ds - model.start.to_datetime64()) / model.t_scale.to_timedelta64()  # (H,) 1 = last observation
    trend, noise = _draw(model, time_scaled, samples=recipe.uncertainty_samples, seed=seed)
    drawn = model.y_scale * (trend * grown + noise)  # (H, N)
    # Each drawn future comes with its mirror image, so that the median is yhat itself.
    quantiles: FloatArray = yhat + np.quantile(np.hstack([drawn, -drawn]), horizon.levels, axis=1).T
    return quantiles


def _draw(model: Any, time_scaled: FloatArray, *, samples: int, seed: bytes) -> tuple[FloatArray, FloatArray]:
    """Futures of trend and noise around the forecast, both (H, N) in prophet's units.

    As prophet draws them (Taylor & Letham 2018, section 3.1.4): the trend bends as often and, Laplace-distributed, as
    strongly as in the past. But from a generator of this series instead of the global one, and step by step, so that
    a longer horizon begins with the draws of a shorter one.
    """
    shape = (len(time_scaled), max(samples // 2, 1))
    happens, size, noise = (np.random.default_rng([*seed, stream]) for stream in range(3))
    scatter = noise.normal(0.0, float(model.params["sigma_obs"].mean()), shape)
    if model.growth == "flat":
        return np.zeros(shape), scatter
    step = np.diff(time_scaled, prepend=1.0)[:, None]  # (H, 1) from the step before
    bends = happens.uniform(size=shape) < len(model.changepoints_t) * step
    bend = bends * size.laplace(0.0, np.abs(model.params["delta"]).mean() + 1e-8, shape)  # (H, N) change of slope
    slope = np.cumsum(bend, axis=0) - bend / 2  # in the middle of its step, as nobody knows where
    return np.cumsum(slope * step, axis=0), scatter


def _frame(ds: np.ndarray, covariates: FloatArray) -> Any:
    """The frame prophet reads: ds and x0, x1 …"""
    import pandas as pd

    return pd.DataFrame({"ds": ds, **{f"x{i}": covariates[:, i] for i in range(covariates.shape[1])}})


@lru_cache(maxsize=256)
def _decoded(text: str) -> Any:
    """The prophet model of that JSON; forecasting leaves it as it is, so threads share it."""
    _prophet()
    from prophet.serialize import model_from_json

    return model_from_json(text)


@lru_cache(maxsize=1)
def _prophet() -> Any:
    """The prophet package, loaded when it is first needed and kept quiet."""
    names = ("prophet", "cmdstanpy")
    logging.getLogger("cmdstanpy").addHandler(logging.NullHandler())  # without a handler it adds one that prints
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # before the import, which complains of missing extras
    import prophet

    for name in names:  # the import sets levels of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return prophet


# Many series


def _run(
    recipe: ProphetModel,
    tasks: Sequence[_Task],
    *,
    seed: int,
    workers: int | None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[_Answer]:
    """Answers in the order of `tasks`; `progress` is told how many series each finished chunk had."""
    workers = workers or _cores()
    chunks = _chunks(tasks, workers)
    answers: list[list[_Answer]] = [[] for _ in chunks]
    if workers == 1 or sum(task.seconds for task in tasks) < POOL_PAYS_FROM:
        for i, chunk in enumerate(chunks):
            answers[i] = _work(recipe, seed, chunk)
            progress(len(chunk))
        return [answer for part in answers for answer in part]
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(chunks)),
        mp_context=multiprocessing.get_context(method),
        initializer=os.putenv,  # runs before numpy is loaded, which reads it once; workers times threads thrash a machine
        initargs=("OMP_NUM_THREADS", "1"),
    )
    try:
        futures = {pool.submit(_work, recipe, seed, chunk): i for i, chunk in enumerate(chunks)}
        for future in as_completed(futures):
            answers[futures[future]] = future.result()
            progress(len(chunks[futures[future]]))
    except BrokenProcessPool as error:
        done = sum(map(len, answers))
        raise ModelError(
            f"a worker process died while prophet was fitting, {done} of {len(tasks)} series done; when memory ran out, "
            "use fewer processes (train.workers); a script has to start its work under if __name__ == '__main__'"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return [answer for part in answers for answer in part]


def _chunks(tasks: Sequence[_Task], workers: int) -> list[Sequence[_Task]]:
    """The tasks in parts of about `CHUNK_SECONDS` of work, but no fewer parts than there are workers."""
    seconds = sum(task.seconds for task in tasks)
    parts = min(max(round(seconds / CHUNK_SECONDS), workers), len(tasks))
    edges = np.linspace(0, len(tasks), max(parts, 1) + 1).round().astype(int)
    return [tasks[start:stop] for start, stop in pairwise(edges)]


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """Counts finished series, tells callbacks, and shows one line where somebody watches."""

    def __init__(self, *, total: int, callbacks: Sequence[Callback], config: TrainConfig) -> None:
        self.total, self.callbacks = total, callbacks
        self.bar = sys.stderr.isatty() if config.progress is None else config.progress
        self.started, self.chunks, self.done = time.perf_counter(), 0, 0

    def tell(self, series: int) -> None:
        self.chunks += 1
        self.done += series
        speed = self.done / max(time.perf_counter() - self.started, 1e-9)
        for callback in self.callbacks:
            callback(Epoch(number=self.chunks, values={"series_done": float(self.done), "series_per_s": speed}))
        if self.bar:
            sys.stderr.write(f"\r\x1b[Kprophet {self.done}/{self.total} series  {speed:.1f} series_per_s")
            sys.stderr.flush()

    def close(self) -> None:
        if self.bar:
            sys.stderr.write("\n")


# Checks


def _check_panel(panel: Panel) -> None:
    """Refuse what prophet cannot fit, naming the first series it cannot."""
    if panel.is_integer_clock:
        raise FrequencyError(
            f"prophet reads the calendar, but these series step by the integer {panel.freq}; "
            "give them dates, or use a model that needs none, such as seasonal_naive",
            field="freq",
        )
    for i, (series_id, target) in enumerate(panel):
        seen = np.isfinite(target)
        if seen.sum() < MIN_OBSERVED:
            raise HistoryTooShort(
                series_id, have=int(seen.sum()), need=MIN_OBSERVED, hint="give it a longer history, or leave it out"
            )
        if panel.covariates is None:
            continue
        rows = panel.covariates[panel.offsets[i] : panel.offsets[i + 1]][seen]
        for c in np.flatnonzero(~np.isfinite(rows).all(axis=0))[:1]:
            raise CovariateError(
                f"series {series_id!r}: covariate {panel.covariate_names[c]!r} is missing where the target is observed; fill it",
                series_id=series_id,
                field=panel.covariate_names[c],
            )


def _check_future(panel: Panel, future: FloatArray | None) -> None:
    if future is None or np.isfinite(future).all():
        return
    i, step, c = (int(index) for index in np.argwhere(~np.isfinite(future))[0])
    raise CovariateError(
        f"series {panel.series_ids[i]!r}: the future of covariate {panel.covariate_names[c]!r} is missing at step {step + 1}; "
        "fill it",
        series_id=panel.series_ids[i],
        field="future",
    )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}", field=name)


def _check_country(country: str) -> None:
    import holidays

    try:
        holidays.country_holidays(country)
    except NotImplementedError:
        raise OptionError(
            f"holidays_country {country!r} is not one the holidays package knows; use a code such as 'US' or 'DE'",
            field="holidays_country",
        ) from None


def _holiday(entry: Sequence[Any]) -> tuple[str, str, int, int]:
    """One holiday as (name, ISO date, days before <= 0, days after >= 0); without days it is the day alone."""
    try:
        name, day, before, after = (*entry, 0, 0) if len(entry) == 2 else entry
        date.fromisoformat(day)
        if not (isinstance(name, str) and name and int(before) <= 0 <= int(after)):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"a holiday must be (name, 'YYYY-MM-DD', days before <= 0, days after >= 0), got {entry!r}", field="holidays"
        ) from error
    return name, day, int(before), int(after)


def _holiday_frame(holidays: tuple[tuple[str, str, int, int], ...]) -> Any:
    if not holidays:
        return None
    import pandas as pd

    frame = pd.DataFrame(list(holidays), columns=["holiday", "ds", "lower_window", "upper_window"])
    return frame.assign(ds=pd.to_datetime(frame["ds"]))

"""Rows of one series -> a prophet model fitted to them -> its forecast; many series in parallel processes.

The only file that imports prophet.
"""

import copy
import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.special import expit

from tsforecast.errors import OptionError
from tsforecast.models.base import Callback, Epoch
from tsforecast.models.processes import cores, in_processes, split
from tsforecast.models.prophet_options import ProphetOptions
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

CHUNK_SECONDS = 1.0  # estimated work handed to a process at a time
POOL_PAYS_FROM = 5.0  # estimated seconds of work; below, starting processes takes longer than it saves
LONGEST_WHY = 200  # characters of an error of prophet that are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Steps of one series as prophet reads them."""

    ds: np.ndarray  # (T,) datetime64[ns] on the wall clock
    regressors: FloatArray  # (T, R)
    limits: FloatArray | None = None  # (2, T) cap and floor of logistic growth, units of the target

    def frame(self) -> Any:
        """ds, x0, x1 … and, for logistic growth, cap and floor."""
        import pandas as pd

        # Regressors not by their own names, which may be words that prophet reserves.
        columns = {"ds": self.ds, **{f"x{i}": self.regressors[:, i] for i in range(self.regressors.shape[1])}}
        if self.limits is not None:
            columns |= {"cap": self.limits[0], "floor": self.limits[1]}
        return pd.DataFrame(columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One series to fit, to forecast, or both."""

    series_id: str
    fingerprint: bytes  # of the rows below, 32 bytes
    history: Rows
    y: FloatArray  # (T,)
    model: str | None = None  # JSON of a fitted model; None = to be fitted
    failure: str = ""  # why it could not be fitted before; "" = it was not tried, or could
    horizon: Rows | None = None  # None = nothing to forecast
    levels: tuple[float, ...] = ()  # (Q,)

    @property
    def seconds(self) -> float:
        """Rough work in it, as measured on one core: 0.06 s for 120 monthly rows, 0.2 s for 1,460 daily ones."""
        if self.failure:
            return 0.0
        return (0.045 + 1e-4 * len(self.y)) * (self.model is None) + 0.015 * (self.horizon is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of a task."""

    model: str = ""  # JSON of the fitted model
    quantiles: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))  # (H, Q); empty where nothing was to be forecast
    parts: dict[str, FloatArray] = field(default_factory=dict)  # each (H,), in units of the target; they add up to the median
    failure: str = ""  # why there is none of these


def work(options: ProphetOptions, seed: int, tasks: Sequence[Task]) -> list[Answer]:
    """Fit and forecast a few series, one after the other; what a worker process does.

    Only failures that come from the numbers of a series are answers; anything else is an error here.
    """
    return [Answer(failure=task.failure) if task.failure else _answer(options, seed, task) for task in tasks]


def _answer(options: ProphetOptions, seed: int, task: Task) -> Answer:
    # By the rows and not by the place in the panel: a series has the same forecast alone and in a batch.
    own = hashlib.sha256(f"{seed}".encode() + task.fingerprint).digest()
    try:
        with np.errstate(all="ignore"):  # what is not finite in the end is found below
            text = task.model or fit(options, task, seed=int.from_bytes(own[:4], "big"))
            if task.horizon is None:
                return Answer(model=text)
            parts, quantiles = forecast(options, text, task.horizon, levels=task.levels, seed=own)
        if not np.isfinite(quantiles).all() or not np.isfinite(list(parts.values())).all():
            raise ArithmeticError("its forecast is not finite")
    except (RuntimeError, ValueError, ArithmeticError) as error:
        why, _, _ = repr(error).partition(" Command ")  # Stan goes on with names of temporary files
        return Answer(failure=why if len(why) <= LONGEST_WHY else f"{why[:LONGEST_WHY]}…")
    return Answer(model=text, quantiles=quantiles, parts=parts)


# Fitting


def is_regressor(name: str) -> bool:
    """Whether prophet is told of a covariate by that name: x0, x1 …"""
    return name[:1] == "x" and name[1:].isdecimal()


def new_model(options: ProphetOptions, *, regressors: int, observed: np.ndarray) -> Any:
    """An unfitted `prophet.Prophet` with these options and that many regressors, called x0, x1 …

    Args:
        options: those of the recipe.
        regressors: how many.
        observed: (T,) moments with a target, ascending; changepoints and holidays are those of their time.

    Raises:
        OptionError: prophet or the holidays package does not know what the options name.
    """
    prophet = load_prophet()
    changepoints = options.changepoints
    if changepoints is not None:
        changepoints = tuple(day for day in changepoints if observed[0] <= np.datetime64(day) <= observed[-1])
    holidays = holiday_frame(options, observed)
    with _refused("holidays"):
        model = prophet.Prophet(
            growth=options.growth,
            changepoints=None if changepoints is None else list(changepoints),
            n_changepoints=options.n_changepoints,
            changepoint_range=options.changepoint_range,
            changepoint_prior_scale=options.changepoint_prior_scale,
            yearly_seasonality=options.yearly_seasonality,
            weekly_seasonality=options.weekly_seasonality,
            daily_seasonality=options.daily_seasonality,
            seasonality_mode=options.seasonality_mode,
            seasonality_prior_scale=options.seasonality_prior_scale,
            holidays=holidays,
            holidays_mode=options.holidays_mode,
            holidays_prior_scale=options.holidays_prior_scale,
            scaling=options.scaling,
            uncertainty_samples=0,  # this file draws them: prophet's own come from the global random state
        )
        for i in range(regressors):
            model.add_regressor(
                f"x{i}",
                prior_scale=options.regressor_prior_scale,
                standardize=options.regressor_standardize,
                mode=options.regressor_mode,
            )
    with _refused("seasonalities"):
        for name, period, order, prior, mode in options.seasonalities:
            if is_regressor(name):
                raise ValueError(f"Name {name!r} is reserved for a covariate.")
            model.add_seasonality(name, period, order, prior_scale=prior, mode=mode)
    return model


@contextmanager
def _refused(option: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise OptionError(f"prophet refuses {option}: {error} Choose another.", field=option) from error


def fit(options: ProphetOptions, task: Task, *, seed: int) -> str:
    """A fitted model as prophet's JSON."""
    seen = np.isfinite(task.y)
    observed = task.history.ds[seen]
    if options.growth == "logistic" and np.ptp(task.y[seen]) == 0.0:
        # Prophet itself takes a series that never moves as it is, but a logistic one it gives to Stan, which finds no rest.
        options = replace(options, growth="flat", cap=None, cap_share=None, floor=None)
    model = new_model(options, regressors=task.history.regressors.shape[1], observed=observed)
    from prophet.serialize import model_to_json  # after `new_model`, which keeps the import quiet

    try:
        model.fit(task.history.frame().assign(y=task.y), seed=seed)
    finally:
        model.stan_backend.cleanup()  # Stan's files in the temporary folder
    # A forecast reads these parameters only; without rows a stored model is a few kB however long the history was.
    model.params = {name: model.params[name] for name in ("k", "m", "delta", "beta", "sigma_obs")}
    if not all(np.isfinite(values).all() for values in model.params.values()):
        raise ArithmeticError("its parameters are not finite")
    model.history, model.history_dates = model.history.tail(2), model.history_dates.tail(2)
    model.holidays, model.country_holidays = _own_holidays(options), options.holidays_country  # a forecast has other years
    text: str = model_to_json(model)
    return text


# Holidays


def check_country(options: ProphetOptions) -> None:
    """Say so if the holidays package does not know the country or its subdivision.

    Raises:
        OptionError: it does not.
    """
    import holidays

    country, subdivision = options.holidays_country, options.holidays_subdivision
    if country is None:
        return
    load_prophet()
    from prophet.make_holidays import get_country_holidays_class

    try:
        holidays.country_holidays(country)
        get_country_holidays_class(country)
    except (AttributeError, NotImplementedError):
        raise OptionError(
            f"holidays_country {country!r} is not one the holidays package knows; use a code such as 'US' or 'DE'",
            field="holidays_country",
        ) from None
    known = get_country_holidays_class(country).subdivisions
    if subdivision is not None and subdivision not in known:
        raise OptionError(
            f"holidays_subdivision {subdivision!r} is not one of {country!r}; known: {', '.join(known) or 'none'}",
            field="holidays_subdivision",
        )


def holiday_frame(options: ProphetOptions, moments: np.ndarray) -> Any:
    """The holidays of the options, those of the country in the years of `moments`; None without any."""
    own = _own_holidays(options)
    if options.holidays_country is None:
        return own
    import pandas as pd

    years = tuple(np.unique(moments.astype("datetime64[Y]").astype(np.int64) + 1970).tolist())
    country = _country_holidays(options.holidays_country, options.holidays_subdivision, years)
    return country.copy() if own is None else pd.concat([own, country], ignore_index=True)


def _own_holidays(options: ProphetOptions) -> Any:
    if not options.holidays:
        return None
    import pandas as pd

    frame = pd.DataFrame(list(options.holidays), columns=["holiday", "ds", "lower_window", "upper_window"])
    return frame.assign(ds=pd.to_datetime(frame["ds"]))


@lru_cache(maxsize=256)
def _country_holidays(country: str, subdivision: str | None, years: tuple[int, ...]) -> Any:
    load_prophet()
    from prophet.make_holidays import make_holidays_df

    frame = make_holidays_df(list(years), country, province=subdivision)
    return frame.assign(lower_window=0, upper_window=0)[["holiday", "ds", "lower_window", "upper_window"]]


# Forecasting


def forecast(
    options: ProphetOptions, text: str, horizon: Rows, *, levels: tuple[float, ...], seed: bytes
) -> tuple[dict[str, FloatArray], FloatArray]:
    """(parts of the forecast, each (H,); quantiles (H, Q)) of the steps of `horizon`."""
    model = _decoded(text)
    if options.holidays_country is not None:  # the years of the horizon; a copy, as threads share the model
        model = copy.copy(model)
        model.holidays, model.country_holidays = holiday_frame(options, horizon.ds), None
    table = model.predict(horizon.frame())
    floor = _floor(model, horizon)  # (H,)
    yhat = table["yhat"].to_numpy(dtype=np.float64)
    grown = table["multiplicative_terms"].to_numpy(dtype=np.float64)
    # Prophet fits the growth above the floor times (1 + terms), and forecasts the floor times it too.
    yhat = (yhat - floor * grown)[:, None]  # (H, 1)
    drawn = _drawn(model, horizon, grown[:, None], floor, samples=options.uncertainty_samples, seed=seed)  # (H, 2N)
    quantiles: FloatArray = yhat + np.quantile(drawn, levels, axis=1).T
    if model.growth == "logistic":  # its mirror images are bent
        quantiles -= np.median(drawn, axis=1)[:, None]
    return _parts(model, table, floor), quantiles


def _floor(model: Any, horizon: Rows) -> FloatArray:
    """What the scaled series stands on, (H,)."""
    if model.growth == "logistic":
        assert horizon.limits is not None
        floor: FloatArray = horizon.limits[1]
        return floor
    return np.full(len(horizon.ds), float(model.y_min) if model.scaling == "minmax" else 0.0)


def _parts(model: Any, table: Any, floor: FloatArray) -> dict[str, FloatArray]:
    """The parts of a forecast in units of the target, each (H,); they add up to the median."""
    trend = table["trend"].to_numpy(dtype=np.float64)
    modes = {name: properties["mode"] for name, properties in model.seasonalities.items()}
    if model.train_holiday_names is not None:
        modes["holidays"] = model.holidays_mode
    modes |= {name: properties["mode"] for name, properties in model.extra_regressors.items()}
    parts: dict[str, FloatArray] = {"trend": trend}
    for name, mode in modes.items():
        part = table[name].to_numpy(dtype=np.float64)
        parts[name] = part * (trend - floor) if mode == "multiplicative" else part
    return parts


def _drawn(model: Any, horizon: Rows, grown: FloatArray, floor: FloatArray, *, samples: int, seed: bytes) -> FloatArray:
    """Futures minus the forecast, (H, 2N) in units of the target.

    Each comes with its mirror image, so that the median is the forecast itself.
    """
    time_scaled = (horizon.ds - model.start.to_datetime64()) / model.t_scale.to_timedelta64()  # (H,) 1 = last observation
    bent, noise = _draw(model, time_scaled, samples=samples, seed=seed)
    if model.growth != "logistic":
        drawn = model.y_scale * (bent * (1.0 + grown) + noise)  # (H, N)
        return np.hstack([drawn, -drawn])
    # A logistic trend is a curve over a line with the same bends, so a bend in the future moves the line as it moves a
    # linear trend, and the curve keeps it between floor and cap.
    assert horizon.limits is not None
    k, m, delta = (np.asarray(model.params[name]).ravel() for name in ("k", "m", "delta"))
    line = model.piecewise_linear(time_scaled, delta, k[0], -k[0] * m[0], model.changepoints_t)[:, None]  # (H, 1)
    height = (horizon.limits[0] - floor)[:, None]  # (H, 1)
    trends = [height * (expit(line + sign * bent) - expit(line)) for sign in (1.0, -1.0)]
    return np.hstack([trend * (1.0 + grown) + sign * model.y_scale * noise for trend, sign in zip(trends, (1, -1), strict=True)])


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


@lru_cache(maxsize=256)
def _decoded(text: str) -> Any:
    """The prophet model of that JSON; forecasting leaves it as it is, so threads share it."""
    load_prophet()
    from prophet.serialize import model_from_json

    return model_from_json(text)


@lru_cache(maxsize=1)
def load_prophet() -> Any:
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


def run(
    options: ProphetOptions,
    tasks: Sequence[Task],
    *,
    seed: int,
    workers: int | None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """Answers in the order of `tasks`; `progress` is told how many series each finished chunk had.

    Raises:
        ModelError: a worker process died.
    """
    workers = workers or cores()
    chunks = chunks_of(tasks, workers)
    answers: list[list[Answer]] = [[] for _ in chunks]
    one_by_one = partial(work, options, seed)
    if workers == 1 or sum(task.seconds for task in tasks) < POOL_PAYS_FROM:
        found: Iterable[tuple[int, list[Answer]]] = enumerate(map(one_by_one, chunks))
    else:
        found = in_processes(
            one_by_one,
            chunks,
            workers=workers,
            doing=lambda: f"prophet was fitting, {sum(map(len, answers))} of {len(tasks)} series done",
        )
    for i, part in found:
        answers[i] = part
        progress(len(chunks[i]))
    return [answer for part in answers for answer in part]


def chunks_of(tasks: Sequence[Task], workers: int) -> list[Sequence[Task]]:
    """The tasks in parts of about `CHUNK_SECONDS` of work, but no fewer parts than there are workers."""
    return split(tasks, seconds=sum(task.seconds for task in tasks), chunk_seconds=CHUNK_SECONDS, workers=workers)


class Progress:
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

"""Panel -> Forecast by Prophet, one additive model per series.

A series is fitted on the rows it has. Asked for a series it was not fitted on, or for one whose rows have changed
since, the predictor fits that series anew on the history it is given: a local model has nothing else to go by.
The options stand in `prophet_options.py`, what happens to one series in `prophet_series.py`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tsforecast.errors import CovariateError, FrequencyError, HistoryTooShort, ModelError, OptionError
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.models.base import (
    About,
    Callback,
    Facts,
    Forecaster,
    Predictor,
    check_horizon,
    refuse_start_from,
)
from tsforecast.models.prophet_options import ProphetOptions
from tsforecast.models.prophet_series import Answer, Progress, Rows, Task, check_country, is_regressor, new_model, run
from tsforecast.models.registry import build_forecaster
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import Zone, future_timestamps, wall_from_instants, zones_of_future, zones_of_rows

MIN_OBSERVED = 5  # observations; with fewer the trend runs through all of them and leaves no noise to estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class ProphetModel(ProphetOptions, Forecaster):
    """Trend with changepoints, calendar seasonalities, holidays and the panel's covariates as regressors.

    Seasonalities are prophet's automatic ones unless the options say more: yearly from two years of history on, weekly
    and daily from two weeks and two days on where the steps are shorter. Holidays are days: a step of weekly or longer
    data has one only if it starts on that day. A weekday or hour that was never observed is extrapolated by a smooth
    curve that nothing holds there. Of `changepoints`, a series bends at those within its own history.

    Where multiplicative terms stand on a floor (logistic growth, or scaling "minmax") the forecast is that of the model
    as it was fitted; prophet 1.5 itself multiplies the floor too. Its `mcmc_samples` are left out: a posterior would
    take minutes a series and a thousand times the storage.
    """

    name: ClassVar[str] = "prophet"
    about: ClassVar[About] = About(
        family="additive",
        scope="local",
        source="Taylor & Letham 2018, Forecasting at Scale",
        minimal_history=f"{MIN_OBSERVED} observations, with dates",
        covariates=("known-future",),
    )

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
        start_from: Predictor | None = None,
        freeze: int | None = None,
    ) -> "ProphetPredictor":
        """As `Forecaster.fit`, in parallel processes of `train.workers` where there is enough work for them.

        Callbacks hear of each finished chunk of series as an epoch with `series_done` and `series_per_s`. A series that
        prophet fails on is named in `fallbacks` of the predictor, and forecast by seasonal naive.

        Raises:
            HorizonError, HistoryTooShort, OptionError (also for observations outside cap and floor); FrequencyError: an
            integer clock; CovariateError: a covariate is NaN; ModelError: no series could be fitted, or a worker died.
        """
        refuse_start_from(self, start_from)
        train = train or TrainConfig()
        facts = Facts.of(panel, horizon=check_horizon(horizon), seed=seed)
        _check_panel(panel)
        check_country(self)
        rows = list(_tasks(self, panel))
        self._check_changepoints(rows)
        if rows:  # options that prophet refuses: say so before the work
            new_model(self, regressors=rows[0].history.regressors.shape[1], observed=rows[0].history.ds)
        tasks = {task.fingerprint: task for task in rows}  # twins are fitted once
        progress = Progress(total=len(tasks), callbacks=callbacks, config=train)
        answers = run(self, tuple(tasks.values()), seed=seed, workers=train.workers, progress=progress.tell)
        progress.close()
        found = dict(zip(tasks, answers, strict=True))
        failures = {fingerprint: answer.failure for fingerprint, answer in found.items() if answer.failure}
        if found and len(failures) == len(found):
            raise ModelError(
                f"prophet could fit none of {len(rows)} series; series {rows[0].series_id!r}: prophet failed with "
                f"{failures[rows[0].fingerprint]}; look at its values, or use another model",
                series_id=rows[0].series_id,
            )
        return ProphetPredictor(
            recipe=self,
            facts=facts,
            models={fingerprint: answer.model for fingerprint, answer in found.items() if not answer.failure},
            failures=failures,
            fallbacks=tuple(
                (task.series_id, _words(failures[task.fingerprint], panel, i))
                for i, task in enumerate(rows)
                if task.fingerprint in failures
            ),
            workers=train.workers,
        )

    def _check_changepoints(self, tasks: Sequence[Task]) -> None:
        observed = [task.history.ds[np.isfinite(task.y)] for task in tasks] if self.changepoints else []
        for day in self.changepoints or ():
            if observed and not any(ds[0] <= np.datetime64(day) <= ds[-1] for ds in observed):
                first, last = np.datetime_as_string([min(ds[0] for ds in observed), max(ds[-1] for ds in observed)], unit="s")
                raise OptionError(
                    f"changepoint {day!r} lies in the history of no series; they reach from {first} to {last}; leave it out",
                    field="changepoints",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProphetPredictor(Predictor):
    """The fitted models, each as prophet's own JSON, found by what is in the rows of its series."""

    recipe: ProphetModel
    facts: Facts
    models: Mapping[bytes, str] = field(repr=False)  # fingerprint of a series' rows (32 bytes) -> JSON
    failures: Mapping[bytes, str] = field(default_factory=dict, repr=False)  # fingerprint -> why prophet failed on the rows
    fallbacks: tuple[tuple[str, str], ...] = ()  # of the fit: (series id, why prophet failed and what is used instead)
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

        A series whose rows are not those of the fit is fitted here first, which takes a fraction of a second. One that
        prophet fails on is forecast by seasonal naive and named in `fallbacks` of the forecast.
        """
        steps = self.check_request(panel, horizon, future)
        levels = check_quantile_levels(quantile_levels)
        timestamps = future_timestamps(panel, steps)
        quantiles = np.zeros((len(panel), steps, len(levels)))
        fallbacks = []
        for i, answer in enumerate(self._answers(panel, timestamps, future, levels)):
            if answer.failure:
                quantiles[i] = _naive(panel, i, steps, levels)
                fallbacks.append((panel.series_ids[i], _words(answer.failure, panel, i)))
            else:
                quantiles[i] = answer.quantiles
        return Forecast(
            series_ids=panel.series_ids,
            timestamps=timestamps,
            quantile_levels=levels,
            quantiles=quantiles,
            tz=panel.tz,
            zones=panel.zones,
            fallbacks=tuple(fallbacks),
        )

    def components(self, panel: Panel, horizon: int | None = None, future: FloatArray | None = None) -> dict[str, FloatArray]:
        """What the median is made of: name -> (S, H) in units of the target, adding up to it.

        "trend", each seasonality by its name, "holidays" and "regressor:NAME" for each covariate. Zero where the model
        of a series has no such part; NaN for a series that prophet failed on. Arguments and errors as in `predict`.
        """
        steps = self.check_request(panel, horizon, future)
        answers = self._answers(panel, future_timestamps(panel, steps), future, (0.5,))
        found: dict[str, FloatArray] = {}
        for name in sorted({name for answer in answers for name in answer.parts}, key=_place):
            found[name] = np.stack(
                [np.full(steps, np.nan) if answer.failure else answer.parts.get(name, np.zeros(steps)) for answer in answers]
            )
        regressors = _regressors(self.recipe, panel)
        return {_named(name, [panel.covariate_names[c] for c in regressors]): part for name, part in found.items()}

    def _answers(self, panel: Panel, timestamps: TimeArray, future: FloatArray | None, levels: tuple[float, ...]) -> list[Answer]:
        _check_panel(panel)
        _check_future(panel, future)
        wall = _wall(timestamps, zones_of_future(panel))
        tasks = []
        for i, task in enumerate(_tasks(self.recipe, panel)):
            covariates = np.zeros((wall.shape[1], 0)) if future is None else np.asarray(future[i], dtype=np.float64)
            ahead = _rows(self.recipe, panel, wall[i], covariates, task.y)
            _check_limits(task.series_id, ahead)
            model, failure = self.models.get(task.fingerprint), self.failures.get(task.fingerprint, "")
            tasks.append(replace(task, model=model, failure=failure, horizon=ahead, levels=levels))
        return run(self.recipe, tasks, seed=self.facts.seed, workers=self.workers)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        texts = [text.encode() for text in self.models.values()]
        arrays: dict[str, np.ndarray] = {
            "json": np.frombuffer(b"".join(texts), dtype=np.uint8),
            "json.offsets": np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)]).astype(np.int64),
            "fingerprints": np.frombuffer(b"".join(self.models), dtype=np.uint8).reshape(-1, 32),
        }
        if not self.failures:
            return arrays, {}
        failures = {fingerprint.hex(): why for fingerprint, why in self.failures.items()}
        return arrays, {"failures": failures, "fallbacks": [list(entry) for entry in self.fallbacks]}

    @classmethod
    def from_state(
        cls, recipe: Forecaster, facts: Facts, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
    ) -> "ProphetPredictor":
        assert isinstance(recipe, ProphetModel)
        content, offsets = arrays["json"].tobytes(), arrays["json.offsets"].tolist()
        texts = [content[start:stop].decode() for start, stop in pairwise(offsets)]
        fingerprints = [row.tobytes() for row in arrays["fingerprints"]]
        return cls(
            recipe=recipe,
            facts=facts,
            models=dict(zip(fingerprints, texts, strict=True)),
            failures={bytes.fromhex(fingerprint): str(why) for fingerprint, why in values.get("failures", {}).items()},
            fallbacks=tuple((str(series_id), str(words)) for series_id, words in values.get("fallbacks", [])),
        )


# From a panel to the rows prophet reads


def _tasks(recipe: ProphetOptions, panel: Panel) -> Iterator[Task]:
    wall = _wall(panel.timestamps, zones_of_rows(panel))
    covariates = np.zeros((len(panel.target), 0)) if panel.covariates is None else panel.covariates
    for i, series_id in enumerate(panel.series_ids):
        rows = slice(panel.offsets[i], panel.offsets[i + 1])
        digest = hashlib.sha256(wall[rows].tobytes())
        digest.update(panel.target[rows].tobytes())
        digest.update(np.ascontiguousarray(covariates[rows]).tobytes())
        y = panel.target[rows]
        history = _rows(recipe, panel, wall[rows], covariates[rows], y)
        _check_limits(series_id, history, y)
        yield Task(series_id=series_id, fingerprint=digest.digest(), history=history, y=y)


def _wall(timestamps: TimeArray, tz: Zone) -> npt.NDArray[np.datetime64]:
    """Prophet knows no time zones: daily patterns and holidays follow the clock on the wall."""
    return wall_from_instants(timestamps.astype("datetime64[ns]"), tz)


def _regressors(recipe: ProphetOptions, panel: Panel) -> list[int]:
    """Columns of the covariates that are regressors, which cap and floor are not."""
    return [c for c, name in enumerate(panel.covariate_names) if name not in (recipe.cap, recipe.floor)]


def _rows(recipe: ProphetOptions, panel: Panel, ds: np.ndarray, covariates: FloatArray, y: FloatArray) -> Rows:
    """Rows of `covariates` (T, C) at `ds`; `y` is the whole history of the series."""
    regressors = covariates[:, _regressors(recipe, panel)]
    if recipe.growth != "logistic":
        return Rows(ds=ds, regressors=regressors)

    def column(option: str, value: float | str) -> FloatArray:
        if not isinstance(value, str):
            return np.full(len(ds), float(value))
        if value not in panel.covariate_names:
            raise OptionError(
                f"{option} is to be the covariate {value!r}, the panel has {list(panel.covariate_names)}; name one of these, "
                "or give a number",
                field=option,
            )
        found: FloatArray = covariates[:, panel.covariate_names.index(value)]
        return found

    floor = column("floor", 0.0 if recipe.floor is None else recipe.floor)
    if recipe.cap_share is not None:
        cap = floor + recipe.cap_share * (np.nanmax(y) - floor)
    else:
        assert recipe.cap is not None
        cap = column("cap", recipe.cap)
    return Rows(ds=ds, regressors=regressors, limits=np.stack([cap, floor]))


def _naive(panel: Panel, i: int, steps: int, levels: tuple[float, ...]) -> FloatArray:
    """What is used where prophet fails, (H, Q)."""
    alone = panel.select([i])
    recipe = build_forecaster("seasonal_naive", season=_naive_season(panel, i))
    quantiles: FloatArray = recipe.fit(alone, horizon=steps).predict(alone, quantile_levels=levels).quantiles[0]
    return quantiles


def _naive_season(panel: Panel, i: int) -> int:
    observed = int(np.isfinite(panel.target[panel.offsets[i] : panel.offsets[i + 1]]).sum())
    return panel.season if observed > panel.season else 1


def _words(why: str, panel: Panel, i: int) -> str:
    short = panel.season > 1 and _naive_season(panel, i) == 1
    season = " with a season of 1, as its history has no full season and a step" if short else ""
    return f"prophet failed with {why}; seasonal naive was used{season}"


def _place(name: str) -> tuple[int, int]:
    """Where a component stands: trend, seasonalities from long to short, the asked ones, holidays, regressors."""
    order = ["trend", "yearly", "weekly", "daily", "", "holidays"]
    if name in order:
        return order.index(name), 0
    return (len(order), int(name[1:])) if is_regressor(name) else (order.index(""), 0)


def _named(name: str, covariate_names: Sequence[str]) -> str:
    return f"regressor:{covariate_names[int(name[1:])]}" if is_regressor(name) else name


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


def _check_limits(series_id: str, rows: Rows, y: FloatArray | None = None) -> None:
    """Refuse observations `y` at or above the cap of logistic growth, or below its floor, and a cap not above the floor."""
    if rows.limits is None:
        return
    cap, floor = rows.limits
    moments = np.datetime_as_string(rows.ds, unit="s")
    read = np.ones(len(cap), dtype=bool) if y is None else np.isfinite(y)
    for t in np.flatnonzero(read & ~(cap > floor))[:1]:
        raise OptionError(
            f"series {series_id!r}: at {moments[t]} its cap {cap[t]:.6g} is not above its floor {floor[t]:.6g}, so logistic "
            "growth has no room; lower floor or raise cap",
            series_id=series_id,
            field="cap",
        )
    if y is None:
        return
    for t in np.flatnonzero(y >= cap)[:1]:
        raise OptionError(
            f"series {series_id!r} reaches {y[t]:.6g} at {moments[t]}, but its cap is {cap[t]:.6g}; logistic growth needs a "
            "cap above all observations: raise cap, or use cap_share",
            series_id=series_id,
            field="cap",
        )
    for t in np.flatnonzero(y < floor)[:1]:
        raise OptionError(
            f"series {series_id!r} falls to {y[t]:.6g} at {moments[t]}, but its floor is {floor[t]:.6g}; lower floor",
            series_id=series_id,
            field="floor",
        )

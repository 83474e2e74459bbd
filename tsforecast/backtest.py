"""A recipe and a panel -> its forecasts from moments of the past, beside what came. The only file that holds a model's future.

At each origin the flow is given `history`, a panel whose later rows do not exist any more; what came after it goes into
`Fold.actual`, which nothing but the metrics reads.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tsforecast.errors import DataError, HistoryTooShort, ModelError, OptionError
from tsforecast.flow import FittedFlow, ForecastFlow
from tsforecast.forecast import DEFAULT_QUANTILE_LEVELS, Forecast, check_quantile_levels
from tsforecast.metrics import BoolArray, Score, naive2, score, seasonal_scale, squared_seasonal_scale
from tsforecast.models.base import check_horizon
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel, TimeArray, wall_labels

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class StepsBack:
    """An origin of an own-end backtest: every series as it was `steps` steps before its own last row."""

    steps: int  # at least 1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"StepsBack must go back at least 1 step, got {self.steps}", field="folds")


Origin: TypeAlias = np.datetime64 | int | StepsBack  # a moment of the panel's clock that all series share | StepsBack


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A series that one fold could not forecast or could not score."""

    origin: str
    series_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fallback:
    """A series that in one fold was forecast, and is scored, by something else than the model."""

    origin: str
    series_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One origin of a backtest."""

    origin: Origin
    last_seen: TimeArray  # (S,) last row of each series that the model was shown, at or before the origin
    forecast: Forecast  # (S, H, Q)
    actual: FloatArray  # (S, H) NaN = not observed
    scale: FloatArray  # (S,) seasonal_scale of this fold's own history
    squared_scale: FloatArray  # (S,) squared_seasonal_scale of it
    naive2: FloatArray  # (S, H) Naive2 forecast from it
    fit_seconds: float  # 0 where an earlier fit is used again
    predict_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestResult:
    """What a backtest found, oldest fold first."""

    model: str
    horizon: int  # steps
    quantile_levels: tuple[float, ...]
    folds: tuple[Fold, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def series_ids(self) -> tuple[str, ...]:
        """Series that at least one fold has forecast, in order of first appearance."""
        return tuple(dict.fromkeys(series_id for fold in self.folds for series_id in fold.forecast.series_ids))

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """What the forecasts of the folds say in `Forecast.fallbacks`, oldest fold first."""
        return tuple(
            Fallback(origin=_name(fold.origin), series_id=series_id, reason=words)
            for fold in self.folds
            for series_id, words in fold.forecast.fallbacks
        )

    def fallbacks_frame(self) -> "pd.DataFrame":
        """One row per fallback: unique_id, origin, reason."""
        import pandas as pd

        rows = [(one.series_id, one.origin, one.reason) for one in self.fallbacks]
        return pd.DataFrame(rows, columns=["unique_id", "origin", "reason"])

    @property
    def fit_seconds(self) -> float:
        return sum(fold.fit_seconds for fold in self.folds)

    @property
    def predict_seconds(self) -> float:
        return sum(fold.predict_seconds for fold in self.folds)

    def score(self) -> Score:
        """Every metric, over the panel and per series; a series is scored on the steps of all its folds together."""
        return _score(self._side_by_side(), self.quantile_levels)

    def scores(self) -> dict[str, float]:
        """Metric name -> its value over the panel, as `metrics.score` names and averages them."""
        return self.score().total

    def per_series(self) -> "pd.DataFrame":
        """One row per series: unique_id, then one column per metric."""
        import pandas as pd

        return pd.DataFrame({"unique_id": np.asarray(self.series_ids, dtype=object), **self.score().per_series})

    def per_horizon(self) -> "pd.DataFrame":
        """One row per step ahead: step (from 1), then one column per metric, over all series and folds."""
        import pandas as pd

        tables = self._side_by_side()
        rows = []
        for step in range(self.horizon):
            one_step = {name: table[:, step :: self.horizon] for name, table in tables.items()}  # (S, F, …)
            rows.append({"step": step + 1, **_score(one_step, self.quantile_levels).total})
        return pd.DataFrame(rows)

    def to_frame(self) -> "pd.DataFrame":
        """One row per (fold, series, step): unique_id, ds, origin (last row the model saw), y, one column per level."""
        import pandas as pd

        frames = []
        for fold in self.folds:
            frame = fold.forecast.to_frame()
            origins: Any = np.repeat(fold.last_seen[:, None], self.horizon, axis=1)  # (S, H)
            frame.insert(2, "origin", wall_labels(origins, fold.forecast.tz, fold.forecast.zones))
            frame.insert(3, "y", fold.actual.ravel())
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def _side_by_side(self) -> dict[str, FloatArray]:
        """The folds beside each other, (S, F * H, …); NaN where a series is not in a fold."""
        place = {series_id: i for i, series_id in enumerate(self.series_ids)}
        shape = (len(place), len(self.folds) * self.horizon)
        names = ("actual", "scale", "squared_scale", "naive2")
        tables = {name: np.full(shape, np.nan) for name in names}
        tables["quantiles"] = np.full((*shape, len(self.quantile_levels)), np.nan)
        for f, fold in enumerate(self.folds):
            rows = np.array([place[series_id] for series_id in fold.forecast.series_ids])
            columns = slice(f * self.horizon, (f + 1) * self.horizon)
            tables["actual"][rows, columns] = fold.actual
            tables["naive2"][rows, columns] = fold.naive2
            tables["scale"][rows, columns] = fold.scale[:, None]
            tables["squared_scale"][rows, columns] = fold.squared_scale[:, None]
            tables["quantiles"][rows, columns] = fold.forecast.quantiles
        return tables


def _score(tables: dict[str, FloatArray], quantile_levels: tuple[float, ...]) -> Score:
    return score(
        actual=tables["actual"],
        quantiles=tables["quantiles"],
        quantile_levels=quantile_levels,
        scale=tables["scale"],
        squared_scale=tables["squared_scale"],
        naive2=tables["naive2"],
    )


def backtest(
    flow: ForecastFlow,
    panel: Panel,
    *,
    horizon: int,
    folds: int | Sequence[Origin] = 3,
    step: int | None = None,
    refit: bool = True,
    quantile_levels: Sequence[float] = DEFAULT_QUANTILE_LEVELS,
    seed: int = 0,
    train: TrainConfig | None = None,
) -> BacktestResult:
    """Forecast `horizon` steps from each of `folds` origins and put beside each forecast what came.

    Args:
        folds: how many origins, or the origins themselves. A number means the last ones that leave `horizon` steps to score:
            on a calendar the same moments for every series (`calendar_origins`), on an integer clock, whose steps mean
            nothing between series, counted back from each series' own end (`own_end_origins`).
        step: steps between origins, None = `horizon`; only with a number of folds.
        refit: fit at every origin; False: fit once, at the oldest origin, and only move the history.
        quantile_levels: have to reach both sides of 0.5 or contain it.
        seed, train: as in `ForecastFlow.fit`.

    MASE, RMSSE, MSIS and Naive2 take `panel.season` and each fold's own history. A series that an origin has to leave out
    (nothing before it, nothing after it, too short for the model, known covariates missing) is in `BacktestResult.skipped`;
    compare two models only where they left out the same.

    Raises:
        DataError: no fold could be forecast at all.
        OptionError: folds, step or origins that make no sense, or 0.5 outside the levels.
        ModelError: the model answers with other series or times than asked, or with numbers that are not finite.
    """
    levels = check_quantile_levels(quantile_levels)
    if not levels[0] <= 0.5 <= levels[-1]:
        raise OptionError(
            f"a backtest scores the median, and quantile_levels {list(levels)} do not reach 0.5; add it", field="quantile_levels"
        )
    origins = _origins(panel, check_horizon(horizon), folds, step)
    plan = _Plan(flow=flow, horizon=horizon, quantile_levels=levels, seed=seed, train=train)
    done: list[Fold] = []
    skipped: list[Skipped] = []
    fitted: FittedFlow | None = None
    for origin in origins:
        fold, newest, left_out = plan.run(_stand_at(panel, origin, horizon), fitted)
        skipped += [Skipped(origin=_name(origin), series_id=one, reason=why) for one, why in left_out.items()]
        done += [] if fold is None else [fold]
        fitted = None if refit else newest
    if not done:
        why = f"; at {skipped[-1].origin}, series {skipped[-1].series_id!r}: {skipped[-1].reason}" if skipped else ""
        raise DataError(
            f"none of {len(origins)} origins has a series to forecast{why}. Ask for fewer folds or a shorter horizon",
            field="folds",
        )
    return BacktestResult(
        model=flow.model.name, horizon=horizon, quantile_levels=levels, folds=tuple(done), skipped=tuple(skipped)
    )


# ---------------------------------------------------------------- where to stand


def calendar_origins(panel: Panel, *, horizon: int, folds: int = 3, step: int | None = None) -> tuple[Origin, ...]:
    """The last `folds` moments of the panel's clock, `step` apart, that leave `horizon` steps after them; oldest first.

    The clock is all timestamps that any series has. Every series stands at the same moment, so none can tell the future of
    another.

    Raises:
        DataError: the panel does not span that many steps.
        OptionError: folds or step is not positive.
    """
    apart = _check_counts(horizon, folds, step)
    clock = np.unique(panel.timestamps)
    newest = len(clock) - 1 - horizon
    oldest = newest - (folds - 1) * apart
    if oldest < 0:
        raise DataError(
            f"the panel spans {len(clock)} steps; {folds} folds of {horizon} steps, {apart} apart, need at least "
            f"{len(clock) - oldest}; ask for fewer folds, a smaller step or a shorter horizon",
            field="folds",
        )
    return tuple(clock[oldest : newest + 1 : apart])


def own_end_origins(*, horizon: int, folds: int = 3, step: int | None = None) -> tuple[Origin, ...]:
    """`folds` origins counted back from each series' own end, `step` apart, the newest `horizon` before it; oldest first.

    Right where series are unrelated or the clock means nothing between them; on a calendar, what one series shows at its
    origin may lie in another's future.

    Raises:
        OptionError: folds or step is not positive.
    """
    apart = _check_counts(horizon, folds, step)
    return tuple(StepsBack(horizon + k * apart) for k in reversed(range(folds)))


def _origins(panel: Panel, horizon: int, folds: int | Sequence[Origin], step: int | None) -> tuple[Origin, ...]:
    """The origins that `folds` means, oldest first."""
    if isinstance(folds, Sequence):
        return _given_origins(panel, folds, step)
    if panel.is_integer_clock:
        return own_end_origins(horizon=horizon, folds=folds, step=step)
    return calendar_origins(panel, horizon=horizon, folds=folds, step=step)


def _check_counts(horizon: int, folds: int, step: int | None) -> int:
    """Steps between origins."""
    apart = check_horizon(horizon) if step is None else step
    for name, value in (("folds", folds), ("step", apart)):
        if value < 1:
            raise OptionError(f"{name} must be at least 1, got {value}", field=name)
    return apart


def _given_origins(panel: Panel, origins: Sequence[Origin], step: int | None) -> tuple[Origin, ...]:
    """`origins`, oldest first, after checking that they fit the panel's clock."""
    if step is not None:
        raise OptionError("step has no meaning beside a list of origins; leave it out or give a number of folds", field="step")
    if not origins:
        raise OptionError("folds is empty; give at least one origin, or a number of folds", field="folds")
    back = [origin for origin in origins if isinstance(origin, StepsBack)]
    if len(back) == len(origins):
        return tuple(sorted(back, key=lambda origin: -origin.steps))
    on_clock = (int, np.integer) if panel.is_integer_clock else np.datetime64
    wrong = [origin for origin in origins if not isinstance(origin, on_clock)]
    if wrong:
        wanted = "integer steps" if panel.is_integer_clock else "np.datetime64 moments"
        raise OptionError(f"origin {wrong[0]!r} is not on the panel's clock; give {wanted}, or StepsBack for all", field="folds")
    moments: list[Any] = list(origins)
    return tuple(sorted(moments))


def _name(origin: Origin) -> str:
    if isinstance(origin, StepsBack):
        return f"{origin.steps} steps before its end"
    return str(np.datetime_as_string(origin, unit="auto") if isinstance(origin, np.datetime64) else origin)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stand:
    """The panel seen from one origin: what a model may see, and what it may not."""

    origin: Origin
    history: Panel
    covariates: FloatArray | None  # (S, H, C) known future of the covariates
    actual: FloatArray  # (S, H) for the metrics only
    first_after: TimeArray  # (S,) what the first forecast has to be for
    left_out: dict[str, str]  # series id -> why it is not in `history`

    def keep(self, kept: BoolArray, reason: dict[str, str]) -> "_Stand":
        """The same origin with only the series that `kept` (S,) marks; `reason` says why the others go."""
        return replace(
            self,
            history=self.history.select(np.flatnonzero(kept)),
            covariates=None if self.covariates is None else self.covariates[kept],
            actual=self.actual[kept],
            first_after=self.first_after[kept],
            left_out=self.left_out | reason,
        )


def _stand_at(panel: Panel, origin: Origin, horizon: int) -> _Stand:
    if isinstance(origin, StepsBack):
        shown = np.maximum(panel.lengths - origin.steps, 0)
    else:
        timestamps: npt.NDArray[Any] = panel.timestamps
        passed = np.concatenate([[0], np.cumsum(timestamps <= origin)])
        shown = passed[panel.offsets[1:]] - passed[panel.offsets[:-1]]  # (S,) rows at or before the origin
    to_come = panel.lengths - shown
    left_out = {}
    for i in np.flatnonzero((shown == 0) | (to_come == 0) | ((to_come < horizon) & (panel.covariates is not None))):
        if shown[i] == 0:
            why = "no rows at or before the origin"
        elif to_come[i] == 0:
            why = "no rows after the origin to score"
        else:
            why = f"its covariates reach {to_come[i]} of the {horizon} steps after the origin"
        left_out[panel.series_ids[i]] = why
    used = np.array([series_id not in left_out for series_id in panel.series_ids], dtype=np.bool_)
    rows = (panel.offsets[:-1] + shown)[used][:, None] + np.arange(horizon)  # (S, H) rows after the origin
    exists = np.arange(horizon) < to_come[used][:, None]
    rows = np.where(exists, rows, 0)
    return _Stand(
        origin=origin,
        history=panel.rows(panel.row_in_series() < np.repeat(np.where(used, shown, 0), panel.lengths)),
        covariates=None if panel.covariates is None else panel.covariates[rows],  # (S, H, C)
        actual=np.where(exists, panel.target[rows], np.nan),
        first_after=panel.timestamps[rows[:, 0]],
        left_out=left_out,
    )


# ---------------------------------------------------------------- one fold


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What is the same in every fold."""

    flow: ForecastFlow
    horizon: int
    quantile_levels: tuple[float, ...]
    seed: int
    train: TrainConfig | None

    def run(self, stand: _Stand, fitted: FittedFlow | None) -> tuple[Fold | None, FittedFlow | None, dict[str, str]]:
        """(the fold, what it was forecast with, series id -> why it was left out); None where no series is long enough."""
        started, fit_seconds = time.perf_counter(), 0.0
        if fitted is None:
            fitted, stand = self._fit(stand)
            fit_seconds = time.perf_counter() - started
        started = time.perf_counter()
        forecast, stand = self._predict(fitted, stand)
        predict_seconds = time.perf_counter() - started
        if forecast is None:
            return None, fitted, stand.left_out
        self._check(forecast, stand)
        fold = Fold(
            origin=stand.origin,
            last_seen=stand.history.last_timestamps(),
            forecast=forecast,
            actual=stand.actual,
            scale=seasonal_scale(stand.history),
            squared_scale=squared_seasonal_scale(stand.history),
            naive2=naive2(stand.history, horizon=self.horizon),
            fit_seconds=fit_seconds,
            predict_seconds=predict_seconds,
        )
        return fold, fitted, stand.left_out

    def _fit(self, stand: _Stand) -> tuple[FittedFlow | None, _Stand]:
        while len(stand.history):
            try:
                return self.flow.fit(stand.history, horizon=self.horizon, seed=self.seed, train=self.train), stand
            except HistoryTooShort as error:
                stand = _without_short(stand, error)
        return None, stand

    def _predict(self, fitted: FittedFlow | None, stand: _Stand) -> tuple[Forecast | None, _Stand]:
        while fitted is not None and len(stand.history):
            try:
                forecast = fitted.predict(
                    stand.history, horizon=self.horizon, quantile_levels=self.quantile_levels, future=stand.covariates
                )
                return forecast, stand
            except HistoryTooShort as error:
                stand = _without_short(stand, error)
        return None, stand

    def _check(self, forecast: Forecast, stand: _Stand) -> None:
        """Raise ModelError where the forecast is not one of what was asked."""
        model, history = self.flow.model.name, stand.history
        for what, asked, got in (
            ("number of series", len(history), len(forecast)),
            ("horizon", self.horizon, forecast.horizon),
            ("quantile levels", self.quantile_levels, forecast.quantile_levels),
        ):
            if asked != got:
                raise ModelError(f"model {model!r} was asked for {what} {asked}, and answered with {got}")
        for wanted, given in zip(history.series_ids, forecast.series_ids, strict=True):
            if wanted != given:
                raise ModelError(f"model {model!r} answered with series {given!r} in the place of {wanted!r}", series_id=wanted)
        off = np.flatnonzero(forecast.timestamps[:, 0] != stand.first_after)
        if len(off):
            i = int(off[0])
            raise ModelError(
                f"model {model!r} forecasts series {history.series_ids[i]!r} from {forecast.timestamps[i, 0]}, "
                f"the first row after the origin is {stand.first_after[i]}",
                series_id=history.series_ids[i],
            )
        broken = np.argwhere(~np.isfinite(forecast.quantiles))
        if len(broken):
            i, step, q = broken[0]
            raise ModelError(
                f"model {model!r} forecasts {forecast.quantiles[i, step, q]} for series {history.series_ids[i]!r}, "
                f"step {step + 1}, quantile {self.quantile_levels[q]}, from origin {_name(stand.origin)}; "
                "a forecast has to be finite",
                series_id=history.series_ids[i],
            )


def _without_short(stand: _Stand, error: HistoryTooShort) -> _Stand:
    """The stand without the series that `error` names, and without those that would be refused next for the same reason."""
    ids = stand.history.series_ids
    if error.series_id not in ids:
        raise error
    named = ids.index(error.series_id)
    observed = np.array([np.isfinite(target).sum() for _, target in stand.history])
    have = stand.history.lengths if stand.history.lengths[named] == error.have else observed  # a model may count either
    short = have < error.need
    short[named] = True
    reason = {ids[i]: str(HistoryTooShort(ids[i], have=int(have[i]), need=error.need)) for i in np.flatnonzero(short)}
    return stand.keep(~short, reason | {ids[named]: str(error)})

"""The options of the prophet model: their defaults, and what is refused before anything is fitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite
from typing import Any, Literal

from tsforecast.errors import OptionError

Mode = Literal["additive", "multiplicative"]
Order = Literal["auto"] | bool | int  # of a Fourier series; True = prophet's own
Seasonality = tuple[str, float, int, float | None, Mode | None]
Holiday = tuple[str, str, int, int]
MODES = ("additive", "multiplicative")
BUILT_IN = ("yearly", "weekly", "daily")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProphetOptions:
    """What can be asked of prophet; lists in place of tuples are taken, as JSON has no tuples."""

    growth: Literal["linear", "logistic", "flat"] = "linear"  # of the trend: "linear" | "logistic" (needs a cap) | "flat"
    cap: float | str | None = None  # logistic growth: where it saturates, units of the target | the covariate that says it
    cap_share: float | None = None  # instead of `cap`: so many times the largest observation of the series, from its floor
    floor: float | str | None = None  # logistic growth: where it saturates below, or the covariate that says it; None = 0
    changepoints: tuple[str, ...] | None = None  # ISO dates where the trend may bend; None = chosen evenly
    n_changepoints: int = 25  # places where the trend may bend, unless `changepoints` names them
    changepoint_range: float = 0.8  # part of the history, from its start, they lie in
    changepoint_prior_scale: float = 0.05  # how much it bends there
    yearly_seasonality: Order = "auto"  # Fourier terms; "auto" = by length and step of the series, True = 10
    weekly_seasonality: Order = "auto"  # the same, True = 3
    daily_seasonality: Order = "auto"  # the same, True = 4
    # (name, period in days, Fourier terms, prior scale, mode); None = as `seasonality_prior_scale` and `_mode` say
    seasonalities: tuple[Seasonality, ...] = ()  # own ones: (name, period in days, order, prior scale, mode)
    seasonality_mode: Mode = "additive"  # "additive" | "multiplicative" (a share of the trend)
    seasonality_prior_scale: float = 10.0  # how large seasons may be
    holidays_country: str | None = None  # as the holidays package calls it, e.g. "US", "DE"
    holidays_subdivision: str | None = None  # state or province of it, e.g. "CA", "BY"; None = the national ones
    holidays: tuple[Holiday, ...] = ()  # (name, ISO date, days before <= 0, days after >= 0)
    holidays_mode: Mode | None = None  # None = as `seasonality_mode`
    holidays_prior_scale: float = 10.0  # how large the effects of holidays may be
    regressor_mode: Mode | None = None  # of all covariates; None = as `seasonality_mode`
    regressor_prior_scale: float | None = None  # None = as `holidays_prior_scale`
    regressor_standardize: Literal["auto"] | bool = "auto"  # "auto" = unless they are zeros and ones
    scaling: Literal["absmax", "minmax"] = "absmax"  # "minmax": a series far from zero is fitted as if it were not
    uncertainty_samples: int = 1000  # futures drawn for the quantiles

    def __post_init__(self) -> None:
        _check_choice("growth", self.growth, ("linear", "logistic", "flat"))
        _check_choice("seasonality_mode", self.seasonality_mode, MODES)
        _check_choice("scaling", self.scaling, ("absmax", "minmax"))
        for name in ("holidays_mode", "regressor_mode"):
            if getattr(self, name) is not None:
                _check_choice(name, getattr(self, name), MODES)
        for name, least in (("n_changepoints", 0), ("uncertainty_samples", 2)):
            _check_whole(name, getattr(self, name), least)
        for name in ("changepoint_prior_scale", "seasonality_prior_scale", "holidays_prior_scale"):
            _check_positive(name, getattr(self, name))
        if self.regressor_prior_scale is not None:
            _check_positive("regressor_prior_scale", self.regressor_prior_scale)
        if not _is_number(self.changepoint_range) or not 0 < self.changepoint_range <= 1:
            raise OptionError(
                f"changepoint_range must be a number above 0 and at most 1, got {self.changepoint_range!r}",
                field="changepoint_range",
            )
        if self.regressor_standardize != "auto" and not isinstance(self.regressor_standardize, bool):
            raise OptionError(
                f"regressor_standardize must be 'auto', true or false, got {self.regressor_standardize!r}",
                field="regressor_standardize",
            )
        self._check_limits()
        self._check_country()
        set_field = object.__setattr__  # the recipe is frozen
        if self.changepoints is not None:
            set_field(self, "changepoints", _moments(self.changepoints))
        set_field(self, "holidays", tuple(_holiday(entry) for entry in _entries("holidays", self.holidays)))
        set_field(self, "seasonalities", tuple(_seasonality(entry) for entry in _entries("seasonalities", self.seasonalities)))
        self._check_seasonalities()

    def _check_limits(self) -> None:
        for name in ("cap", "floor"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) or (isinstance(value, str) and value)):
                raise OptionError(f"{name} must be a number or the name of a covariate, got {value!r}", field=name)
        if self.cap_share is not None and (not _is_number(self.cap_share) or self.cap_share <= 1):
            raise OptionError(f"cap_share must be a number above 1, e.g. 1.2, got {self.cap_share!r}", field="cap_share")
        given = [name for name in ("cap", "cap_share", "floor") if getattr(self, name) is not None]
        if self.growth != "logistic":
            if given:
                raise OptionError(
                    f"{given[0]} is read with growth 'logistic' only, got growth {self.growth!r}; set growth, or leave it out",
                    field=given[0],
                )
            return
        if self.cap is None and self.cap_share is None:
            raise OptionError(
                "growth 'logistic' needs to know where it saturates: give cap, a number or the name of a covariate, "
                "or cap_share, e.g. 1.2 for 1.2 times the largest observation of each series",
                field="cap",
            )
        if self.cap is not None and self.cap_share is not None:
            raise OptionError("cap and cap_share both say where growth saturates; leave one of them out", field="cap_share")
        floor = 0.0 if self.floor is None else self.floor
        if not isinstance(self.cap, str) and not isinstance(floor, str) and self.cap is not None and self.cap <= floor:
            raise OptionError(f"cap must lie above the floor {floor!r}, got {self.cap!r}; raise it or lower floor", field="cap")
        if isinstance(self.cap, str) and self.cap == self.floor:
            raise OptionError(f"cap and floor are both the covariate {self.cap!r}; they have to differ", field="floor")

    def _check_country(self) -> None:
        if self.holidays_subdivision is not None and self.holidays_country is None:
            raise OptionError(
                f"holidays_subdivision {self.holidays_subdivision!r} needs the country it lies in; set holidays_country",
                field="holidays_subdivision",
            )

    def _check_seasonalities(self) -> None:
        orders = {name: getattr(self, f"{name}_seasonality") for name in BUILT_IN}
        for name, order in orders.items():
            known = order == "auto" or isinstance(order, bool)
            if not known and (not isinstance(order, int) or order < 1):
                raise OptionError(
                    f"{name}_seasonality must be 'auto', true, false or a number of Fourier terms of at least 1, got {order!r}",
                    field=f"{name}_seasonality",
                )
        names = [name for name, *_ in self.seasonalities]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise OptionError(f"two seasonalities are called {name!r}; give each its own name", field="seasonalities")
            order = orders.get(name, "auto")
            if order != "auto" and order is not False:
                raise OptionError(
                    f"seasonality {name!r} replaces prophet's own, but {name}_seasonality is {order!r}; leave that on 'auto'",
                    field="seasonalities",
                )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        *most, last = map(repr, choices)
        raise OptionError(f"{name} must be {', '.join(most)} or {last}, got {value!r}", field=name)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be a whole number of at least {least}, got {value!r}", field=name)


def _check_positive(name: str, value: Any) -> None:
    if not _is_number(value) or not value > 0:
        raise OptionError(f"{name} must be a positive number, got {value!r}", field=name)


def _entries(name: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise OptionError(f"{name} must be a list, got {value!r}", field=name)
    return value


def _moments(changepoints: object) -> tuple[str, ...]:
    """The dates in order, each once."""
    moments = {}
    for entry in _entries("changepoints", changepoints):
        try:
            moment = datetime.fromisoformat(entry)
            if moment.tzinfo is not None:
                raise ValueError
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"a changepoint must be a date 'YYYY-MM-DD' or a moment on the clock of the series, got {entry!r}",
                field="changepoints",
            ) from error
        moments[moment] = entry
    return tuple(moments[moment] for moment in sorted(moments))


def _holiday(entry: Sequence[Any]) -> Holiday:
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


def _seasonality(entry: Sequence[Any]) -> Seasonality:
    """One seasonality as (name, days, terms, prior scale, mode); the last two may be left out."""
    try:
        name, period, order, prior, mode = (*entry, None, None)[:5] if 3 <= len(entry) <= 5 else ()
        whole = isinstance(order, int) and not isinstance(order, bool) and order >= 1
        scaled = prior is None or (_is_number(prior) and prior > 0)
        if not (isinstance(name, str) and name and _is_number(period) and period > 0 and whole and scaled):
            raise ValueError
        if mode is not None and mode not in MODES:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise OptionError(
            "a seasonality must be (name, period in days > 0, Fourier terms >= 1), then, if wanted, prior scale > 0 and "
            f"'additive' or 'multiplicative', got {entry!r}",
            field="seasonalities",
        ) from error
    return name, period, order, prior, mode

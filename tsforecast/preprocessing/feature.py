"""A panel -> further covariates: the contract of a feature, and the moments it is asked about."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from tsforecast.errors import CovariateError, FrequencyError, OptionError, did_you_mean
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import (
    Clock,
    Zone,
    clock_of,
    future_timestamps,
    places_of,
    wall_from_instants,
    zones_of_future,
    zones_of_rows,
)

Kind = Literal["known-future", "past"]  # as in models.base: what a column may be used for
MOST_COLUMNS = 100  # of one feature


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Rows without their values, of a history or of a future: all that a known-future feature may look at."""

    series_ids: tuple[str, ...]  # (S,)
    series: IntArray  # (R,) place in series_ids, ascending
    timestamps: TimeArray  # (R,) instants in UTC (naive input: as given) | int64 steps
    wall: TimeArray  # (R,) what a clock on the wall of the series shows then | int64 steps
    freq: str | int

    @classmethod
    def of_rows(cls, panel: Panel) -> Self:
        """The rows of `panel`, (N,)."""
        series = np.repeat(np.arange(len(panel)), panel.lengths)
        return cls(
            series_ids=panel.series_ids,
            series=series,
            timestamps=panel.timestamps,
            wall=_wall(panel.timestamps, zones_of_rows(panel)),
            freq=panel.freq,
        )

    @classmethod
    def of_future(cls, panel: Panel, steps: int) -> Self:
        """The `steps` steps after each series, series by series, (S * steps,)."""
        future = future_timestamps(panel, steps)  # (S, steps)
        return cls(
            series_ids=panel.series_ids,
            series=np.repeat(np.arange(len(panel)), steps),
            timestamps=future.ravel(),
            wall=_wall(future, zones_of_future(panel)).ravel(),
            freq=panel.freq,
        )

    @property
    def clock(self) -> Clock:
        return clock_of(self.freq)

    def at(self, rows: IntArray) -> Self:
        """Only the rows at these places."""
        return replace(self, series=self.series[rows], timestamps=self.timestamps[rows], wall=self.wall[rows])

    def places(self) -> FloatArray:
        """Steps of the clock from 1970 (integer clocks: from 0) to each row, (R,); the same moment has the same place."""
        clock = self.clock
        if clock.absolute:
            whole, rest = np.divmod(self.timestamps.astype(np.int64), clock.step)
            return whole + rest / clock.step
        ordinals: FloatArray = places_of(clock, self.wall.astype("datetime64[ns]"))[0] / clock.step
        return ordinals

    def groups(self, words: Sequence[str]) -> Iterator[tuple[str, IntArray]]:
        """(word, its rows) for each of the words that `words` (S,) gives to series."""
        numbers = {word: i for i, word in enumerate(dict.fromkeys(words))}
        of_rows = np.array([numbers[word] for word in words], dtype=np.int64)[self.series]
        order = np.argsort(of_rows, kind="stable")
        edges = np.searchsorted(of_rows[order], np.arange(len(numbers) + 1))
        yield from ((word, order[edges[i] : edges[i + 1]]) for word, i in numbers.items())


def _wall(timestamps: TimeArray, tz: Zone) -> TimeArray:
    return wall_from_instants(timestamps.astype("datetime64[ns]"), tz) if timestamps.dtype.kind == "M" else timestamps


class FittedFeature(ABC):
    """A feature that knows its names and numbers. Immutable, so request threads share it."""

    recipe: "Feature"
    names: tuple[str, ...]  # (C,) of the columns it makes

    def for_panel(self, panel: Panel) -> "FittedFeature":
        """The feature to use on `panel`: one with numbers per series takes those of new ones from the history given."""
        return self

    def to_json(self) -> dict[str, Any]:
        """{"name": …, "options": …, …}: what `feature_from_json` needs; floats survive exactly."""
        options = asdict(self.recipe)  # type: ignore[call-overload]  # every recipe is a dataclass
        return {"name": self.recipe.name, "options": options, **self.numbers()}

    def numbers(self) -> dict[str, Any]:
        """What the fit learned, as JSON values."""
        return {"names": list(self.names)}


class KnownFeature(FittedFeature):
    """Columns that follow from the clock, so that their future is known."""

    @abstractmethod
    def columns(self, moments: Moments) -> FloatArray:
        """(R, C), finite.

        Raises:
            CovariateError: it does not know these moments or series.
        """


class PastFeature(FittedFeature):
    """Columns that follow from the target as the model sees it, known up to the present."""

    @abstractmethod
    def columns(self, panel: Panel) -> FloatArray:
        """(N, P); a row looks at its own target and earlier ones of its series only. NaN = not known."""


class Feature(ABC):
    """A recipe for a feature: a frozen dataclass of options, no data."""

    name: ClassVar[str]  # as in FEATURES
    kind: ClassVar[Kind]

    @abstractmethod
    def fit(self, panel: Panel) -> FittedFeature:
        """Learn names and numbers from `panel`, which is left as it is.

        Raises:
            FrequencyError: the clock of the panel cannot have it.
            CovariateError: the panel lacks what it needs.
        """

    @classmethod
    @abstractmethod
    def fitted_from_json(cls, recipe: Self, values: Mapping[str, Any]) -> FittedFeature:
        """What `numbers` of the fitted feature wrote."""


# Columns beside the target


def with_known(panel: Panel, features: Sequence[KnownFeature]) -> Panel:
    """`panel` with the columns of `features` after its own covariates.

    Raises:
        CovariateError: a name is there already, or a feature does not know a row.
    """
    if not features:
        return panel
    names = _new_names(panel, features)
    moments = Moments.of_rows(panel)
    columns = [feature.columns(moments) for feature in features]
    own = [] if panel.covariates is None else [panel.covariates]
    return replace(panel, covariates=np.concatenate(own + columns, axis=1), covariate_names=panel.covariate_names + names)


def with_past(panel: Panel, features: Sequence[PastFeature]) -> Panel:
    """`panel` with the columns of `features` after its own past covariates; errors as `with_known`."""
    if not features:
        return panel
    names = _new_names(panel, features)
    columns = [feature.columns(panel) for feature in features]
    own = [] if panel.past_covariates is None else [panel.past_covariates]
    return replace(
        panel, past_covariates=np.concatenate(own + columns, axis=1), past_covariate_names=panel.past_covariate_names + names
    )


def future_of(panel: Panel, features: Sequence[KnownFeature], steps: int, own: FloatArray | None = None) -> FloatArray | None:
    """The future of all known covariates, (S, steps, C): `own` (S, steps, C') of the panel, then those of `features`.

    Raises:
        CovariateError: a feature does not know what is to come.
    """
    if not features:
        return own
    moments = Moments.of_future(panel, steps)
    made = [feature.columns(moments).reshape(len(panel), steps, -1) for feature in features]
    return np.concatenate(([] if own is None else [own]) + made, axis=2)


def _new_names(panel: Panel, features: Sequence[FittedFeature]) -> tuple[str, ...]:
    static = panel.static_real_names + panel.static_category_names
    taken = {"unique_id", "ds", "y", *panel.covariate_names, *panel.past_covariate_names, *static}
    for feature in features:
        for name in feature.names:
            if name in taken:
                message = f"feature {feature.recipe.name!r} would add column {name!r}, which is there already"
                raise CovariateError(f"{message}; leave one of them out, or give the feature another label", field="features")
            taken.add(name)
    return tuple(name for feature in features for name in feature.names)


# Options


def refuse_integer_clock(feature: str, freq: str | int) -> None:
    """Raises FrequencyError where there is no calendar."""
    if isinstance(freq, int):
        message = f"feature {feature!r} needs a calendar, these series count integer steps (freq {freq})"
        raise FrequencyError(f"{message}; give them timestamps, or leave the feature out", field="features")


def whole(feature: str, option: str, value: object, lowest: int, highest: int) -> int:
    """`value` if it is a whole number from `lowest` to `highest`; else OptionError."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        message = f"feature {feature!r}: {option} must be a whole number from {lowest} to {highest}, got {value!r}"
        raise OptionError(message, field=option)
    return value


def several(feature: str, option: str, values: object) -> tuple[Any, ...]:
    """`values` as a tuple of different things, at least one; else OptionError."""
    if not isinstance(values, list | tuple) or not values:
        raise OptionError(f"feature {feature!r}: {option} must be a list of at least one, got {values!r}", field=option)
    twice = [one for i, one in enumerate(values) if one in values[:i]]
    if twice:
        raise OptionError(f"feature {feature!r}: {option} has {twice[0]!r} twice; name it once", field=option)
    return tuple(values)


def chosen(feature: str, option: str, values: object, known: Sequence[str]) -> tuple[str, ...]:
    """`several` of the words `known`."""
    for value in several(feature, option, values):
        if value not in known:
            message = f"feature {feature!r} has no {option} {value!r}{nearest(value, known)}; there are {', '.join(known)}"
            raise OptionError(message, field=option)
    return several(feature, option, values)


def nearest(word: object, known: Sequence[str] | Mapping[str, Any]) -> str:
    """What may have been meant, as the middle of a message."""
    longer = [one for one in known if one.startswith(f"{word}_")]
    return did_you_mean(word, known) or (f"; did you mean {longer[0]!r}?" if longer else "")

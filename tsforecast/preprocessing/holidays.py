"""Moments -> public holidays of a country and its regions, with the days around them and bridge days.

The only file of the flow that imports the holidays package, and not before it is asked.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from tsforecast.errors import CovariateError, OptionError
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.days import Around, around, check_columns, days_of, ranked
from tsforecast.preprocessing.feature import Feature, Kind, KnownFeature, Moments, nearest, refuse_integer_clock, whole

OTHER = "other"  # holidays without a column of their own
Place = tuple[str, str | None]  # country, subdivision


@dataclass(frozen=True, kw_only=True, slots=True)
class Holidays(Feature):
    """Public holidays: 1 on a holiday of the series' wall clock, for steps longer than a day the number of holidays in them.

    Names follow the holidays package, in English where it has them. Before the years that the package knows there are no
    holidays; moments after them are refused.
    """

    name: ClassVar[str] = "holidays"
    kind: ClassVar[Kind] = "known-future"
    country: str | None = None  # as the holidays package codes it, e.g. "DE", "US" …
    subdivision: str | None = None  # state or province of it, e.g. "BY"; None = the national ones
    country_column: str | None = None  # … or a static category with "DE" or "DE-BY" for each series
    before: int = 0  # days before a holiday that get a column each
    after: int = 0
    bridge: bool = False  # True: a column of working days between a holiday and another free day
    names: bool = False  # True: a column for each holiday, the `most` frequent of the fit, and one for all others
    most: int = 20
    label: str = "holiday"  # names of the columns begin with it; give two features of one flow different ones

    def __post_init__(self) -> None:
        if (self.country is None) == (self.country_column is None):
            message = "feature 'holidays' needs country or country_column, one of them; say country = \"DE\" or the like"
            raise OptionError(message, field="country")
        if self.country_column is not None and self.subdivision is not None:
            message = "feature 'holidays': subdivision has no meaning beside country_column, whose words are such as 'DE-BY'"
            raise OptionError(message, field="subdivision")
        window = around(self.name, self.before, self.after)
        whole(self.name, "most", self.most, 1, 100)
        columns = len(window.names(["x"] * (self.most + 1 if self.names else 1))) + self.bridge
        check_columns(self.name, columns)
        if self.country is not None:
            check_place((self.country, self.subdivision))

    @property
    def around(self) -> Around:
        return Around(before=self.before, after=self.after)

    def fit(self, panel: Panel) -> "FittedHolidays":
        refuse_integer_clock(self.name, panel.freq)
        fitted = FittedHolidays(recipe=self, names=(), known=(), places=self.places_of(panel, {}))
        known = fitted.most_frequent(Moments.of_rows(panel)) if self.names else ()
        bases = [f"{self.label}:{name}" for name in (*known, OTHER)] if self.names else [self.label]
        names = self.around.names(bases) + ((f"{self.label}_bridge",) if self.bridge else ())
        return FittedHolidays(recipe=self, names=names, known=known, places=fitted.places)

    def places_of(self, panel: Panel, known: Mapping[str, str]) -> dict[str, str]:
        """Series -> word of its place, of those of `panel` that are not `known`; {} where all share one."""
        unseen = [] if self.country_column is None else [i for i, one in enumerate(panel.series_ids) if one not in known]
        if not unseen:
            return {}
        if self.country_column not in panel.static_category_names:
            has = ", ".join(panel.static_category_names) or "none"
            raise CovariateError(
                f"series {panel.series_ids[unseen[0]]!r}: its country is to be static category {self.country_column!r}, which "
                f"the panel does not have (it has {has}); add it, or give the feature one country",
                series_id=panel.series_ids[unseen[0]],
                field="static",
            )
        column = panel.static_category_names.index(self.country_column)
        places = {panel.series_ids[i]: panel.static_categories[i][column] for i in unseen}
        for word in dict.fromkeys(places.values()):
            try:
                check_place(_place_of(word))
            except OptionError as error:
                series_id = next(one for one in places if places[one] == word)
                message = f"series {series_id!r}: {self.country_column} {word!r}: {error}"
                raise CovariateError(message, series_id=series_id, field="static") from error
        return places

    @classmethod
    def fitted_from_json(cls, recipe: "Holidays", values: Mapping[str, Any]) -> "FittedHolidays":
        known, places = tuple(values["known"]), dict(values["places"])
        return FittedHolidays(recipe=recipe, names=tuple(values["names"]), known=known, places=places)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedHolidays(KnownFeature):
    recipe: Holidays
    names: tuple[str, ...]  # (C,)
    known: tuple[str, ...]  # holidays with columns of their own; () unless `recipe.names`
    places: Mapping[str, str]  # series -> "DE" or "DE-BY"; {} where all have recipe.country

    def for_panel(self, panel: Panel) -> "FittedHolidays":
        places = self.recipe.places_of(panel, self.places)
        return FittedHolidays(recipe=self.recipe, names=self.names, known=self.known, places={**self.places, **places})

    def columns(self, moments: Moments) -> FloatArray:
        found = np.zeros((len(moments.series), len(self.names)))
        for place, part, rows in self._by_place(moments):
            check_years(place, part)
            found[rows] = self._of_place(place, part)
        return found

    def _by_place(self, moments: Moments) -> Iterator[tuple[Place, Moments, IntArray | slice]]:
        """(place, its moments, their rows) of each place."""
        if self.recipe.country is not None:
            yield (self.recipe.country, self.recipe.subdivision), moments, slice(None)
            return
        for word, rows in moments.groups([self.places[one] for one in moments.series_ids]):
            yield _place_of(word), moments.at(rows), rows

    def _of_place(self, place: Place, moments: Moments) -> FloatArray:
        number = {name: i for i, name in enumerate(self.known)}

        def marks(first: int, last: int) -> BoolArray:
            on = np.zeros((last - first + 1, len(self.known) + 1), dtype=bool)
            for day, name in holidays_of(place, first, last):
                on[day - first, number.get(name, -1)] = True
            return on

        def bridges(first: int, last: int) -> BoolArray:
            return _bridges(place, first, last)[:, None]

        columns = [self.recipe.around.columns(moments, marks)]
        if self.recipe.bridge:
            columns.append(Around().columns(moments, bridges))
        return np.concatenate(columns, axis=1)

    def most_frequent(self, moments: Moments) -> tuple[str, ...]:
        """The holidays that come most often in the days of `moments`, each place counted once."""
        names: list[str] = []
        for place, part, _ in self._by_place(moments):
            check_years(place, part)
            first, last = days_of(part)
            names += [name for _, name in holidays_of(place, int(first.min()), int(last.max()))]
        return ranked(names, self.recipe.most)

    def numbers(self) -> dict[str, Any]:
        return {"names": list(self.names), "known": list(self.known), "places": dict(self.places)}


# The holidays package


def _place_of(word: str) -> Place:
    country, _, subdivision = word.partition("-")
    return country, subdivision or None


def check_place(place: Place) -> None:
    """Refuse a place that the holidays package does not know.

    Raises:
        OptionError: with the nearest that it knows.
    """
    import holidays
    from holidays.registry import COUNTRIES

    country, subdivision = place
    known = holidays.list_supported_countries()
    if country not in known:
        codes = {name.lower(): codes[1] for name, codes in COUNTRIES.items()}  # germany -> DE
        word = str(country).strip().lower().replace(" ", "_")
        near = codes.get(word) or (str(country).upper() if str(country).upper() in known else None)
        hint = f"; did you mean {near!r}?" if near else nearest(country, [*known, *codes])
        raise OptionError(
            f"no country {country!r} in the holidays package{hint}; use a code such as 'US' or 'DE'", field="country"
        )
    if subdivision is not None:
        there = holidays.country_holidays(country)
        names = (*there.subdivisions, *there.subdivisions_aliases)
        if subdivision not in names:
            message = f"{country!r} has no subdivision {subdivision!r}{nearest(subdivision, names)}"
            raise OptionError(f"{message}; there are {', '.join(there.subdivisions) or 'none'}", field="subdivision")


def check_years(place: Place, moments: Moments) -> None:
    """Raises CovariateError where moments lie after the years whose holidays are known."""
    _, last = days_of(moments)
    late = np.flatnonzero(last >= _end_of(place[0]))
    if len(late):
        series_id = moments.series_ids[moments.series[late[0]]]
        year = np.int64(last[late[0]]).astype("datetime64[D]").astype("datetime64[Y]")
        raise CovariateError(
            f"series {series_id!r} reaches into {year}, the holidays of {place[0]!r} are known before "
            f"{np.int64(_end_of(place[0])).astype('datetime64[D]')}; upgrade the holidays package, or leave the feature out",
            series_id=series_id,
            field="features",
        )


@lru_cache(maxsize=1024)
def _end_of(country: str) -> int:
    """The first day since 1970 that the package does not know."""
    import holidays

    return int(np.datetime64(f"{holidays.country_holidays(country).end_year + 1}-01-01", "D").astype(np.int64))


def holidays_of(place: Place, first: int, last: int) -> list[tuple[int, str]]:
    """(day since 1970, name) of each holiday from day `first` to day `last`, by day."""
    years = range(*(int(np.int64(day).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)) for day in (first, last)))
    found = [one for year in (*years, years.stop) for one in _holidays_of_year(*place, 1970 + year)]
    return [(day, name) for day, name in found if first <= day <= last]


@lru_cache(maxsize=8192)
def _holidays_of_year(country: str, subdivision: str | None, year: int) -> tuple[tuple[int, str], ...]:
    import holidays

    there = holidays.country_holidays(country)
    language = "en_US" if "en_US" in there.supported_languages else there.default_language  # else the machine's own
    known = holidays.country_holidays(country, subdiv=subdivision, years=year, language=language)
    found = []
    for date in sorted(known):
        day = int(np.datetime64(date, "D").astype(np.int64))
        found += [(day, name) for name in dict.fromkeys(_plain_name(name) for name in known.get_list(date))]
    return tuple(found)


def _plain_name(name: str) -> str:
    """Without what changes from year to year: "(observed)", "(estimated)", "(substituted from 01/02/2024)"."""
    return re.sub(r"\s*\([^()]*\)$", "", name) or name


def _bridges(place: Place, first: int, last: int) -> BoolArray:
    """Whether each day from `first` to `last` is a working day between two free ones, a holiday among them."""
    import holidays

    days = np.arange(first - 1, last + 2)
    holiday = np.isin(days, [day for day, _ in holidays_of(place, first - 1, last + 1)])
    weekend = sorted(holidays.country_holidays(place[0]).weekend)
    free = holiday | np.isin((days + 3) % 7, weekend)  # Monday = 0
    found: BoolArray = ~free[1:-1] & free[:-2] & free[2:] & (holiday[:-2] | holiday[2:])
    return found

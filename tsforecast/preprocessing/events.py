"""Moments -> a calendar of one's own, from a file: promotions, closed days, school holidays. The file goes with the model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tsforecast.errors import CovariateError, DataError, OptionError, SchemaError
from tsforecast.panel import FloatArray, IntArray, Panel
from tsforecast.preprocessing.calendar import BoolArray
from tsforecast.preprocessing.days import Around, around, check_columns, days_of, ranked
from tsforecast.preprocessing.feature import Feature, Kind, KnownFeature, Moments, refuse_integer_clock, whole
from tsforecast.preprocessing.words import as_word

if TYPE_CHECKING:
    import pandas as pd

OTHER = "other"  # events without a column of their own
EVERYONE = ""  # the series of an event of all series
MOST_EVENTS = 100_000  # rows of a file
LONGEST_EVENT = 3660  # days
OFFSET = re.compile(  # of a time of day, at the end of a text
    r"(?<=\d{2}:\d{2}:\d{2})(?:Z|[+-]\d{2}:?\d{2})$|(?<=\d{2}:\d{2})(?:Z|[+-]\d{2}:?\d{2})$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Events(Feature):
    """What a file says happens: 1 on a day of an event, for steps longer than a day the number of such days in them.

    The file is CSV or Parquet with ISO dates in the column `date`, or `start` and `end` (both days belong to the event), and
    maybe `name` and `unique_id`; without unique_id, or where it is empty, an event is one of all series. Before the first
    event nothing happened. What comes after the last one is not known, so moments after it are refused, unless `until` says
    that the file is complete up to a later day. The events are stored with the model, the file is not read again.
    """

    name: ClassVar[str] = "events"
    kind: ClassVar[Kind] = "known-future"
    path: str = ""
    until: str | None = None  # ISO date up to which the file is complete; None = the last day of its last event
    before: int = 0  # days before an event that get a column each
    after: int = 0
    names: bool = True  # True: a column for each name, the `most` frequent of the file, and one for others if there are any
    most: int = 20
    label: str = "event"  # names of the columns begin with it; give two features of one flow different ones

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path:
            raise OptionError("feature 'events' needs path, a CSV or Parquet file with dates", field="path")
        around(self.name, self.before, self.after)
        whole(self.name, "most", self.most, 1, 100)
        check_columns(self.name, (1 + self.before + self.after) * (self.most + 1 if self.names else 1))
        if self.until is not None:
            object.__setattr__(self, "until", str(self.until))  # TOML has dates of its own
            try:
                np.datetime64(str(self.until), "D")
            except ValueError as error:
                message = f"feature 'events': until must be a date such as 2026-12-31, got {self.until!r}"
                raise OptionError(message, field="until") from error

    def fit(self, panel: Panel) -> "FittedEvents":
        refuse_integer_clock(self.name, panel.freq)
        owners, names, first, last = read_events(Path(self.path))
        known = ranked(names, self.most) if self.names else ()
        bases = [f"{self.label}:{name}" for name in known] if self.names else [self.label]
        bases += [f"{self.label}:{OTHER}"] if len(set(names)) > len(known) and self.names else []
        number = {name: i for i, name in enumerate(known)}
        return FittedEvents(
            recipe=replace(self, path=Path(self.path).name),  # where it was is no business of those who get the model
            names=Around(before=self.before, after=self.after).names(bases),
            owners=tuple(owners),
            columns_of=np.array([number.get(name, len(known)) for name in names], dtype=np.int64),
            first=first,
            last=last,
            until=int(last.max()) if self.until is None else int(np.datetime64(self.until, "D").astype(np.int64)),
        )

    @classmethod
    def fitted_from_json(cls, recipe: "Events", values: Mapping[str, Any]) -> "FittedEvents":
        arrays = {name: np.array(values[name], dtype=np.int64) for name in ("columns_of", "first", "last")}
        names, owners = tuple(values["names"]), tuple(values["owners"])
        return FittedEvents(recipe=recipe, names=names, owners=owners, until=int(values["until"]), **arrays)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedEvents(KnownFeature):
    recipe: Events
    names: tuple[str, ...]  # (C,)
    owners: tuple[str, ...]  # (E,) id of the series, EVERYONE = all
    columns_of: IntArray  # (E,) place among the names, before those of windows
    first: IntArray  # (E,) days since 1970
    last: IntArray  # (E,)
    until: int  # last day that is known

    def columns(self, moments: Moments) -> FloatArray:
        self._refuse_unknown(moments)
        window = Around(before=self.recipe.before, after=self.recipe.after)
        width = len(self.names) // len(window.names(["x"]))
        of_owner: dict[str, list[int]] = {}
        for i, owner in enumerate(self.owners):
            of_owner.setdefault(owner, []).append(i)
        found = np.zeros((len(moments.series), len(self.names)))
        words = [one if one in of_owner else EVERYONE for one in moments.series_ids]
        for word, rows in moments.groups(words):
            events = of_owner.get(EVERYONE, []) + (of_owner[word] if word != EVERYONE else [])

            def marks(first: int, last: int, events: list[int] = events) -> BoolArray:
                on = np.zeros((last - first + 1, width), dtype=bool)
                for i in events:
                    on[max(self.first[i] - first, 0) : max(self.last[i] + 1 - first, 0), self.columns_of[i]] = True
                return on

            found[rows] = window.columns(moments.at(rows), marks)
        return found

    def _refuse_unknown(self, moments: Moments) -> None:
        late = np.flatnonzero(days_of(moments)[1] > self.until)
        if not len(late):
            return
        series = np.unique(moments.series[late])
        series_id = moments.series_ids[series[0]]
        asked = days_of(moments)[1][late].max()
        who = f"series {series_id!r}" + (f" (and {len(series) - 1} more)" if len(series) > 1 else "")
        columns = ", ".join(self.names[:3]) + (" …" if len(self.names) > 3 else "")
        raise CovariateError(
            f"the events of {Path(self.recipe.path).name!r} are known until {_date(self.until)}, {who} asks for "
            f"{_date(asked)}: columns {columns} are missing from {_date(self.until + 1)} on; "
            f"add the events up to then, or say until = {_date(asked)} if there are none",
            series_id=series_id,
            field="events",
        )

    def numbers(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).tolist() for name in ("columns_of", "first", "last")}
        return {"names": list(self.names), "owners": list(self.owners), "until": self.until, **arrays}


def _date(day: int) -> str:
    return str(np.int64(day).astype("datetime64[D]"))


# The file


def read_events(path: Path) -> tuple[list[str], list[str], IntArray, IntArray]:
    """(series or EVERYONE, name, first day, last day since 1970) of each event of a file, (E,) each.

    Raises:
        DataError: no such file, or it cannot be read.
        SchemaError: a column is missing, or a row is no event.
    """
    frame = _read(path)
    spans = [column for column in ("date", "start", "end") if column in frame.columns]
    if spans not in (["date"], ["start", "end"]):
        has = ", ".join(map(str, frame.columns))
        raise SchemaError(f"{path.name} needs the column date, or start and end; it has {has}", field="events")
    if not 0 < len(frame) <= MOST_EVENTS:
        raise SchemaError(f"{path.name} has {len(frame)} events, it must have 1 to {MOST_EVENTS}", field="events")
    first, last = (_days(frame, column, path) for column in (spans[0], spans[-1]))
    for wrong, what in ((last < first, "ends before it starts"), (last - first >= LONGEST_EVENT, "lasts ten years or more")):
        if wrong.any():
            row = int(np.argmax(wrong))
            message = f"{path.name}, row {row}: the event from {_date(first[row])} to {_date(last[row])} {what}; check its dates"
            raise SchemaError(message, field="events")
    names = _texts(frame, "name", default="event")
    return _texts(frame, "unique_id", default=EVERYONE), [name or "event" for name in names], first, last


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        if path.suffix in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)  # ids stay text: "007" and "NA" are series
    except (OSError, ValueError) as error:  # pandas and pyarrow raise these for all that can be wrong with a file
        why = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(
            f"the events {str(path)!r} cannot be read: {why}; check the path of the feature", field="events"
        ) from error


def _texts(frame: "pd.DataFrame", column: str, *, default: str) -> list[str]:
    if column not in frame.columns:
        return [default] * len(frame)
    import pandas as pd

    return ["" if pd.isna(value) else as_word(value).strip() for value in frame[column].tolist()]


def _days(frame: "pd.DataFrame", column: str, path: Path) -> IntArray:
    """Days since 1970, (E,)."""
    import pandas as pd

    values = frame[column]
    dated = pd.api.types.is_datetime64_any_dtype(values)
    texts = values if dated else values.astype(str).str.strip().str.replace(OFFSET, "", regex=True)  # a date is one of the wall
    times = pd.to_datetime(texts, errors="coerce", format="ISO8601")
    if times.dt.tz is not None:
        times = times.dt.tz_localize(None)
    wrong = times.isna().to_numpy() | (times != times.dt.normalize()).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        message = f"{path.name}, row {row}: {column} must be a date such as 2026-12-31, got {str(values.iloc[row])!r}"
        raise SchemaError(message, field="events")
    days: IntArray = times.to_numpy().astype("datetime64[D]").astype(np.int64)
    return days

"""Series as asked -> panels, one for each clock among them, so that one call of the model forecasts all of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from service.errors import MAX_ERRORS, REQUEST_FIELDS, FieldError, invalid
from service.forecast_request import SeriesRequest
from tsforecast.errors import ForecastError, GapError
from tsforecast.panel import Panel
from tsforecast.preprocessing.columns import ISO
from tsforecast.preprocessing.validate import panel_from_lists


class Clocked(Protocol):
    """What a trained model knows of clocks, whether it forecasts or detects."""

    @property
    def freq(self) -> str | int: ...
    @property
    def season(self) -> int: ...
    @property
    def tz(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The series of a request that share one clock."""

    places: tuple[int, ...]  # index of each series in the request
    panel: Panel


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """How a series says when its values were; those that say it alike are read at once."""

    freq: str | int | None  # None = as its timestamps say
    of_model: bool  # the freq is that of the model, because the series came without
    tz: str | None
    by_start: bool  # else by timestamps
    zoned: bool  # with UTC offsets


def panels_of(series: Sequence[SeriesRequest], facts: Clocked | None) -> list[Group]:
    """The series, grouped by clock, in order of first appearance.

    Args:
        series: as asked.
        facts: of the model that will forecast them: its freq is meant where timestamps come without one, its zone where
            they have UTC offsets, and its season where the freq is its own; None for a model that needs no training.

    Raises:
        Problem: 422 that names every series whose clock cannot be understood.
    """
    alike: dict[_Said, list[int]] = {}
    for place, one in enumerate(series):
        alike.setdefault(_said(one, facts), []).append(place)
    groups: list[Group] = []
    errors: dict[int, FieldError] = {}
    for said, places in alike.items():
        try:
            groups.append(_read(series, places, said, facts))
        except ForecastError:  # names the first culprit only, or they do not go together: read each alone
            for place in places if len(errors) <= MAX_ERRORS else ():
                try:
                    groups.append(_read(series, [place], said, facts))
                except ForecastError as error:
                    errors[place] = _field_error(place, series[place], said, error)
    if errors:
        raise invalid([errors[place] for place in sorted(errors)], kind="invalid-series")
    return _joined(groups)


def _said(one: SeriesRequest, facts: Clocked | None) -> _Said:
    first = one.start if one.timestamps is None else one.timestamps[0]
    match = ISO.fullmatch(first) if isinstance(first, str) else None
    zoned = match is not None and match.group(2) is not None
    return _Said(
        freq=facts.freq if facts is not None and one.freq is None else one.freq,
        of_model=facts is not None and one.freq is None,
        tz=facts.tz if facts is not None and zoned and one.tz is None else one.tz,
        by_start=one.timestamps is None,
        zoned=zoned,
    )


def _read(series: Sequence[SeriesRequest], places: Sequence[int], said: _Said, facts: Clocked | None) -> Group:
    """The panel of the series at `places`, which all say their clock alike."""
    moments: dict[str, Any]
    if said.by_start:
        moments = {"starts": [series[place].start for place in places]}
    else:
        moments = {"timestamps": [series[place].timestamps for place in places]}
    panel = panel_from_lists(
        ids=[series[place].series_id for place in places],
        targets=[series[place].target for place in places],
        freq=said.freq,
        tz=said.tz,
        **moments,
    )
    if facts is not None and facts.freq == panel.freq:
        panel = replace(panel, season=facts.season)
    return Group(places=tuple(places), panel=panel)


def _field_error(place: int, one: SeriesRequest, said: _Said, error: ForecastError) -> FieldError:
    field = REQUEST_FIELDS.get(error.field or "", error.field)
    message = str(error).replace("'starts'", "'start'")
    if error.field == "tz":  # here and below, the library advises those who call it from Python
        message = f"{one.tz!r} is no zone; give an IANA name such as 'Europe/Berlin'"
    if isinstance(error, GapError):
        message = message.partition("; pass missing_steps")[0] + "; send what was not observed with target null"
    if said.of_model:
        message += f"; freq {said.freq!r} is that of the model, give the freq of the series if it is another"
    return FieldError(field=f"series[{place}].{field}" if field else f"series[{place}]", series=one.given_id, message=message)


def _joined(groups: Sequence[Group]) -> list[Group]:
    """One group for each clock."""
    by_clock: dict[tuple[str | int, str | None], list[Group]] = {}
    for group in groups:
        by_clock.setdefault((group.panel.freq, group.panel.tz), []).append(group)
    return [alike[0] if len(alike) == 1 else _one_of(alike) for alike in by_clock.values()]


def _one_of(groups: Sequence[Group]) -> Group:
    panels = [group.panel for group in groups]
    panel = replace(
        panels[0],
        series_ids=tuple(series_id for panel in panels for series_id in panel.series_ids),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([panel.lengths for panel in panels]))]),
        timestamps=np.concatenate([panel.timestamps for panel in panels]),
        target=np.concatenate([panel.target for panel in panels]),
    )
    return Group(places=tuple(place for group in groups for place in group.places), panel=panel)

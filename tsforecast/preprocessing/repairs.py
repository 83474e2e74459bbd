"""Raw frame + repair steps -> Panel, and a log with a row for each value that was changed, added or removed.

Repairs see the whole history up to the run's moment, once, before anything else: they say what the data are. An origin of a
backtest lies before that moment, so a value repaired by its later neighbours is seen there as it is known today. Transforms
([[steps]] of a recipe) are another thing: each fit sees its own part only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from tsforecast.errors import OptionError, SchemaError, did_you_mean
from tsforecast.panel import IntArray, Panel
from tsforecast.preprocessing.calendar import instants_from_wall, normalise_freq
from tsforecast.preprocessing.columns import read_zoned_times, refusal
from tsforecast.preprocessing.late import LateTable
from tsforecast.preprocessing.regular import MissingSteps
from tsforecast.preprocessing.repair import Repaired, series_of_rows
from tsforecast.preprocessing.repair_rows import (
    NO_STEP,
    DropMissingKeys,
    Duplicates,
    Infinities,
    Localize,
    Numbers,
    OnClock,
    ToSteps,
)
from tsforecast.preprocessing.repair_step import Changes, FrameStep, Names, PanelStep, RepairStep, changes_of_rows
from tsforecast.preprocessing.repair_values import FillHoles, MinLength, NonNegative, Outliers, Trim, UnitJumps
from tsforecast.preprocessing.validate import Features, panel_from_frame
from tsforecast.preprocessing.zones import on_wall_clocks, zones_given

if TYPE_CHECKING:
    import pandas as pd

_FRAME_STEPS: tuple[type[FrameStep], ...] = (DropMissingKeys, Numbers, Infinities, Duplicates, Localize, OnClock, ToSteps)
_PANEL_STEPS: tuple[type[PanelStep], ...] = (UnitJumps, Outliers, NonNegative, FillHoles, Trim, MinLength)
REPAIRS: Mapping[str, type[RepairStep]] = LateTable(
    {kind.name: kind for kind in (*_FRAME_STEPS, *_PANEL_STEPS)},
    {"autoencoder": "tsforecast.models.impute_repair:AutoencoderFill"},
)
MISSING_STEPS = "missing_steps"  # in the log: rows that panel_from_frame inserted


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairedPanel:
    """A panel and all that was done to get it."""

    panel: Panel
    log: "pd.DataFrame"  # unique_id, ds (wall clock of the panel), old, new (units of the target), step; a row for each change

    @property
    def counts(self) -> dict[str, int]:
        """Rows of the log by step, in the order of the steps; steps that changed nothing are not there."""
        return counts_of(self.log)


def counts_of(log: "pd.DataFrame") -> dict[str, int]:
    """Rows of a log by step, in order of appearance."""
    return {str(step): int(count) for step, count in log["step"].value_counts(sort=False).items()}


def build_repair(name: str, **options: Any) -> RepairStep:
    """The repair step called `name`; options are the fields of its class.

    Raises:
        OptionError: no step or no option of that name, an option is missing, or a value out of range.
        FrequencyError: an unknown freq.
    """
    if name not in REPAIRS:
        raise OptionError(f"no repair {name!r}{did_you_mean(name, REPAIRS)}; there are {', '.join(REPAIRS)}", field="repairs")
    known: Any = fields(REPAIRS[name])  # type: ignore[arg-type]  # every step is a dataclass
    names = [field.name for field in known]
    for option in options:
        if option not in names:
            raise OptionError(
                f"repair {name!r} has no option {option!r}{did_you_mean(option, names)}; options: {', '.join(names) or 'none'}",
                field=option,
            )
    for field in known:
        if field.name not in options and field.default is MISSING:
            raise OptionError(f"repair {name!r} needs the option {field.name!r}", field=field.name)
    return REPAIRS[name](**options)


def check_order(steps: Sequence[RepairStep]) -> None:
    """Refuse a step on the frame behind one on the panel.

    Raises:
        OptionError: names both.
    """
    behind: RepairStep | None = None
    for step in steps:
        if isinstance(step, PanelStep):
            behind = step
        elif behind is not None:
            raise OptionError(
                f"repair {step.name!r} works on raw rows, but stands behind {behind.name!r}, which works on the panel made of "
                f"them; move it before {behind.name!r}"
            )


def repair(
    frame: "pd.DataFrame",
    steps: Sequence[RepairStep],
    *,
    freq: str | int | None = None,
    season: int | Literal["auto"] | None = None,
    missing_steps: MissingSteps = "error",
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    tz: str | None = None,
    **features: Unpack[Features],
) -> RepairedPanel:
    """Check a long frame and make a panel of it, with the repairs that `steps` ask for and no others.

    Args:
        frame: long, as in `panel_from_frame`; left as it is.
        steps: those on the frame first, then those on the panel; each in the order given.
        freq, season, missing_steps, id_col, time_col, target_col, tz, features: as in `panel_from_frame`. Steps "clock" and
            "resample" say the freq themselves, and after "clock" steps that are missing are inserted.

    Raises:
        OptionError: a step on the frame stands behind one on the panel, or freq contradicts a step.
        DataError: what no step repairs, or a step cannot; see `panel_from_frame` and the steps.
    """
    check_order(steps)
    if "tz_col" in features:
        message = "repair reads one zone for all series, tz=; repair the series of each zone by themselves, or bring instants"
        raise OptionError(message, field="tz_col")
    names = Names(
        id_col=id_col,
        time_col=time_col,
        target_col=target_col,
        covariates=(*features.get("covariates", ()), *features.get("past_covariates", ())),
    )
    freq, clocked = _freq_of(steps, freq)
    frame, changes = _repaired_rows(frame, steps, names)
    panel = panel_from_frame(
        frame, freq, season, id_col, time_col, target_col, missing_steps="insert" if clocked else missing_steps, tz=tz, **features
    )
    if len(panel.target) > len(frame):
        changes += _inserted(OnClock.name if clocked else MISSING_STEPS, frame, panel, names, tz=tz)
    for step in steps:
        if isinstance(step, PanelStep):
            panel, done = step.apply(panel)
            changes += done
    return RepairedPanel(panel=panel, log=_log_of(changes, panel.tz, integers=panel.is_integer_clock))


def repair_rows(
    frame: "pd.DataFrame",
    steps: Sequence[RepairStep],
    *,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    covariates: Sequence[str] = (),
    tz: str | None = None,
) -> Repaired:
    """The frame after the steps on frames alone, as for rows of a future whose covariates are known; the others are left out."""
    names = Names(id_col=id_col, time_col=time_col, target_col=target_col, covariates=tuple(covariates))
    frame, changes = _repaired_rows(frame, steps, names)
    zone = getattr(frame[time_col].dtype, "tz", None) or tz
    log = _log_of(changes, None if zone is None else str(zone), integers=frame[time_col].dtype.kind == "i")
    return Repaired(frame=frame, log=log)


def _repaired_rows(frame: "pd.DataFrame", steps: Sequence[RepairStep], names: Names) -> tuple["pd.DataFrame", list[Changes]]:
    changes: list[Changes] = []
    for step in steps if len(frame) else ():
        if isinstance(step, FrameStep):
            frame, done = step.apply(frame, names)
            changes += done
            if not len(frame):
                raise SchemaError(f"repair {step.name!r} leaves no row of the frame; look at the source", field=step.name)
    return frame, changes


def _freq_of(steps: Sequence[RepairStep], freq: str | int | None) -> tuple[str | int | None, bool]:
    """(the freq of the panel, whether missing steps are inserted).

    Raises:
        OptionError: two different ones are asked for.
    """
    asked = [(step.name, step.freq) for step in steps if isinstance(step, OnClock | ToSteps)]
    clocked = any(isinstance(step, OnClock) for step in steps)
    if not asked:
        return freq, clocked
    name, own = asked[-1]
    if freq is not None and normalise_freq(freq) != normalise_freq(own):
        raise OptionError(f"freq {freq!r} contradicts that of repair {name!r}, {own!r}; leave one out", field="freq")
    return own, clocked


def _inserted(step: str, frame: "pd.DataFrame", panel: Panel, names: Names, *, tz: str | None) -> list[Changes]:
    """The rows of `panel` that the frame has none for."""
    codes, ids = series_of_rows(frame, names.id_col)
    times = read_zoned_times(frame[names.time_col], codes, ids)
    if tz is not None:
        zones = zones_given(frame, codes, ids, tz=tz, tz_col=None)
        times = on_wall_clocks(times, zones, codes, freq=panel.freq, refuse=refusal(codes, ids, names.time_col))
    order = np.lexsort((times.moments, codes))  # the panel has its series in the same order
    had, had_codes = times.moments[order].astype(np.int64), codes[order]
    has, has_codes = panel.timestamps.astype(np.int64), np.repeat(np.arange(len(panel)), panel.lengths)
    _, place = np.unique(np.concatenate([had, has]), return_inverse=True)
    most = int(place.max()) + 1
    here = np.isin(has_codes * most + place[len(had) :], had_codes * most + place[: len(had)])
    rows: IntArray = np.flatnonzero(~here)
    nothing = np.full(len(rows), np.nan)
    return [changes_of_rows(step, panel, rows, nothing, nothing)]


def _log_of(changes: Sequence[Changes], tz: str | None, *, integers: bool) -> "pd.DataFrame":
    """One frame of all changes; moments logged before the zone was known are read on its wall clock."""
    import pandas as pd

    changes = [one for one in changes if len(one)]
    if integers:
        steps = np.concatenate([one.times.astype(np.int64) for one in changes] or [np.zeros(0, dtype=np.int64)])
        ds: Any = pd.array(steps, dtype="Int64")
        ds[steps == NO_STEP] = pd.NA
        ds = ds if (steps == NO_STEP).any() else steps
    else:
        moments = [
            one.times if one.aware or tz is None else instants_from_wall(one.times.astype("datetime64[ns]"), tz)
            for one in changes
        ]
        ds = pd.DatetimeIndex(np.concatenate([np.zeros(0, "datetime64[ns]"), *[one.astype("datetime64[ns]") for one in moments]]))
        ds = ds if tz is None else ds.tz_localize("UTC").tz_convert(tz)
    ids = np.concatenate([np.zeros(0, dtype=object), *[one.series for one in changes]])
    old, new = (np.concatenate([np.zeros(0), *[getattr(one, name) for one in changes]]) for name in ("old", "new"))
    names = np.repeat(np.array([one.step for one in changes], dtype=object), [len(one) for one in changes])
    log = pd.DataFrame({"unique_id": ids, "ds": ds, "old": old, "new": new, "step": names})
    if any(one.texts is not None for one in changes):
        log["text"] = np.concatenate([np.full(len(one), None) if one.texts is None else one.texts for one in changes])
    return log

"""Panel -> panels to train, to validate and to test on, cut by time."""

from dataclasses import dataclass

import numpy as np

from tsforecast.errors import HistoryTooShort, OptionError
from tsforecast.panel import Panel


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Three panels of the same series, each ending later than the one before."""

    train: Panel
    validation: Panel  # its last `validation` steps are the part itself, those before it the history to forecast it from
    test: Panel  # likewise, its last `test` steps


def split_panel(panel: Panel, *, validation: int, test: int, gap: int = 0, history: int | None = None) -> Splits:
    """Cut each series of `panel` by steps from its end: train, gap, validation, gap, test.

    Nothing of a later part, nor of the gap before it, is in an earlier panel. What lies before a part, gap included, is
    history that its panel carries: a forecast of the part may look at it.

    Args:
        panel: series of any length.
        validation: steps of each series.
        test: steps of each series, its last ones.
        gap: steps left out between two parts.
        history: steps before its part that the panels to validate and to test on carry; None = all.

    Raises:
        HistoryTooShort: a series has no step left to train on.
        OptionError: a number of steps is not a whole number, or too small.
    """
    for name, steps, least in (("validation", validation, 1), ("test", test, 1), ("gap", gap, 0), ("history", history, 1)):
        if name == "history" and steps is None:
            continue
        if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < least:
            raise OptionError(f"{name} must be a whole number of steps, {least} or more, got {steps!r}", field=name)
    held_out = validation + test + 2 * gap
    short = np.flatnonzero(panel.lengths <= held_out)
    for i in short[:1]:
        others = f", and {len(short) - 1} more series are too short" if len(short) > 1 else ""
        hint = f"validation, test and gaps take {held_out}{others}; make them shorter, or leave such series out by panel.select"
        raise HistoryTooShort(panel.series_ids[i], have=int(panel.lengths[i]), need=held_out + 1, hint=hint)
    until_validation = panel.without_last(test + gap)
    return Splits(
        train=panel.without_last(held_out),
        validation=until_validation if history is None else until_validation.tail(validation + history),
        test=panel if history is None else panel.tail(test + history),
    )

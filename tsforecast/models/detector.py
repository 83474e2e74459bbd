"""The contract of a detector: a Detector is a recipe, a FittedDetector is what fitting it returns.

What differs between detectors is the `Core`: standardised rows of one series -> evidence against each of its steps. All
the rest is shared: what is held out for calibration, the scale of each channel, the units in which evidence adds up,
p-values, events, storage. A stored detector is a folder like that of a forecaster: `manifest.json`, `weights.safetensors`.

A new one is a file with a recipe and its core, and a line in the registry. `tests/contract/test_detectors.py` then tries it;
what it cannot see goes into the table there. `Ensemble` may want to know its family, and `tsforecast models --write README.md
docs/models.md` writes it down.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from tsforecast.errors import HistoryTooShort, OptionError, SchemaError
from tsforecast.models.base import About, Callback
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, IntArray, Panel, TimeArray

if TYPE_CHECKING:
    from tsforecast.models.fitted_detector import FittedDetector

HELD_OUT = 0.25  # share of each series, its newest rows, that is kept from fitting for calibration
JUDGED_SEEN = 0.8  # share of a window that one hole must leave to judge it, of what is usually observed
LEAST_HELD_OUT = 16  # rows; a series with fewer takes its calibration from the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Neighbouring rows of one series, channels standardised: mean 0 and variance 1 over the rows of its fit."""

    values: FloatArray  # (T, C), NaN = not observed, or to be left out
    timestamps: TimeArray  # (T,)
    freq: str | int
    season: int  # steps
    tz: str | None = None
    series: int = 0  # index among the series of the fit; of no meaning elsewhere
    period: int | None = None  # main period of the whole panel, steps; 0 = there is none, None = not looked for yet

    def __len__(self) -> int:
        return len(self.values)

    def first(self, rows: int) -> "Rows":
        """The oldest `rows` of them."""
        return replace(self, values=self.values[:rows], timestamps=self.timestamps[:rows])

    def last(self, rows: int) -> "Rows":
        """The newest `rows` of them."""
        first = max(len(self) - rows, 0)
        return replace(self, values=self.values[first:], timestamps=self.timestamps[first:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a detector has against each step of one series: K kinds of evidence, T steps, C channels; NaN = no judgement.

    All of it is non-negative and higher for what is less ordinary, in a unit of the detector's own.
    """

    causal: FloatArray  # (K, T, C) from the step and those before it
    revised: FloatArray  # (K, T, C) also from those after it
    expected: FloatArray  # (T, C) what those before let expect, standardised; NaN = nothing
    revised_expected: FloatArray  # (T, C) also from those after


class Core(ABC):
    """What a detector has learnt. Immutable, so threads share it."""

    kinds: tuple[str, ...]  # (K,) names of its evidence
    weights: tuple[float, ...] | None = None  # (K,) of the kinds in the sum that is the score; None = 1 each
    reach: int  # steps before a step that its causal evidence may read
    delay: int  # steps after a step that its revised evidence may read
    width: int  # steps over which its evidence is smeared: alarms nearer than that are one
    least_seen: float = JUDGED_SEEN  # share of a window that one hole must leave for it to be judged; of several, half is enough

    def judge_from(self, share: float) -> None:
        """Judge windows of which each hole leaves that share; said once, before the core is shared."""
        self.least_seen = share

    @abstractmethod
    def evidence(self, rows: Rows) -> Evidence:
        """Evidence against each row; what lies before the first row counts as not observed."""

    def evidence_alone(self, rows: Rows) -> Evidence:
        """The same where nobody asks what was expected: that may be left NaN, if it costs time."""
        return self.evidence(rows)

    @abstractmethod
    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        """(causal evidence (K, newest, C), expected (newest, C)) of the `newest` last rows alone, at the cost of these.

        The same numbers as those of `evidence`, if at least `reach` rows are given before them.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, JSON values) that `from_state` needs."""

    @classmethod
    @abstractmethod
    def from_state(cls, recipe: "Detector", arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "Core":
        """The core that `state` described."""

    # What some detectors can do besides; `About.uses` names it.

    def reconstructions(self, rows: Rows) -> list[FloatArray]:
        """What each network that the core has makes of rows, (T, C) each, standardised: the mean of all windows over a step."""
        raise NotImplementedError

    def encode(self, rows: Rows, *, every: int) -> tuple[IntArray, FloatArray]:
        """(last row of each window (W,), its latent features (W, C, D)), a window each `every` steps."""
        raise NotImplementedError

    def generate(self, steps: int, *, count: int, seed: int, series: int | None, phase: int | None = None) -> FloatArray:
        """New standardised series like one of the fit, (count, steps, C); the first step is at `phase` of the season."""
        raise NotImplementedError


class Detector(ABC):
    """A recipe for a detector: a frozen dataclass of options, no data."""

    name: ClassVar[str]  # as in the registry
    about: ClassVar[About]

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """A version that fits in well under a second on a CPU, for tests and dry runs."""

    @classmethod
    @abstractmethod
    def core_class(cls) -> type[Core]:
        """The class of what `learn` returns."""

    @abstractmethod
    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple[Core, dict[str, Any]]:
        """(core, JSON values about the training), learnt from the rows kept for fitting.

        The rows may contain anomalies: nobody has looked at them. Those known to be anomalous are NaN.

        Raises:
            HistoryTooShort: no series is long enough for one window.
        """

    def fit(
        self,
        panel: Panel,
        *,
        seed: int = 0,
        train: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        labels: IntArray | None = None,
    ) -> "FittedDetector":
        """Learn what is ordinary from `panel`; the same panel, options and seed give the same FittedDetector.

        The target and the past covariates of the panel are its channels. The newest quarter of each series is not learnt
        from: it says how high scores of ordinary rows are.

        Args:
            panel: histories, ordinary for the most part; left as it is.
            seed: for all chance in the fit; no global random state is read or changed.
            train: how to train; detectors without a network ignore it.
            callbacks: called after each epoch, in order.
            labels: feedback, (N,): 1 = a true anomaly, neither learnt from nor calibrated on; -1 = ordinary, whatever it
                looks like; 0 = not known. None = nothing is known.

        Raises:
            HistoryTooShort, OptionError, SchemaError.
        """
        from tsforecast.models.detector_fitting import fit_detector

        return fit_detector(self, panel, seed=seed, train=train, callbacks=callbacks, labels=labels)


# Panels as channels


def channel_names(panel: Panel) -> tuple[str, ...]:
    """Names of the channels, (C,): the target first."""
    return (panel.target_name, *panel.past_covariate_names)


def channel_values(panel: Panel, series: int) -> FloatArray:
    """Channels of one series, (T, C)."""
    rows = slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))
    columns = [panel.target[rows, None]]
    if panel.past_covariates is not None:
        columns.append(panel.past_covariates[rows])
    return np.concatenate(columns, axis=1)


def rows_of(panel: Panel, series: int, values: FloatArray) -> Rows:
    """The rows of one series with standardised `values` (T, C)."""
    rows = slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))
    return Rows(
        values=values,
        timestamps=panel.timestamps[rows],
        freq=panel.freq,
        season=panel.season,
        tz=panel.zone_of(series),
        series=series,
    )


def check_labels(panel: Panel, labels: IntArray | None) -> IntArray:
    """Feedback as (N,) of 1, 0 and -1.

    Raises:
        OptionError: another shape, or other numbers.
    """
    if labels is None:
        return np.zeros(len(panel.target), dtype=np.int64)
    found = np.asarray(labels)
    if found.shape != panel.target.shape:
        raise OptionError(f"labels must have one value per row, shape {panel.target.shape}, got {found.shape}", field="labels")
    if not np.isin(found, (-1, 0, 1)).all():
        raise OptionError(
            f"labels are 1 (a true anomaly), -1 (ordinary) or 0 (not known), got {found[~np.isin(found, (-1, 0, 1))][0]}",
            field="labels",
        )
    return found.astype(np.int64)


def check_values(panel: Panel) -> None:
    """Refuse infinite values, which a panel made by hand may have.

    Raises:
        SchemaError: naming the series and the channel.
    """
    for series, series_id in enumerate(panel.series_ids):
        bad = np.isinf(channel_values(panel, series))
        if bad.any():
            row, channel = np.argwhere(bad)[0]
            raise SchemaError(
                f"series {series_id!r} has an infinite value in {channel_names(panel)[channel]!r}, row {row}; "
                "use NaN for what is not known",
                series_id=series_id,
                field=channel_names(panel)[channel],
            )


def refuse_short(series: Sequence[Rows], *, need: int, ids: Sequence[str] = ()) -> None:
    """Say that no series is long enough.

    Raises:
        HistoryTooShort: always.
    """
    counts = [int(np.isfinite(rows.values).all(axis=1).sum()) for rows in series]
    longest = int(np.argmax(counts)) if counts else 0
    name = ids[longest] if ids else f"number {longest}"
    hint = "it is the longest series; the newest quarter is kept for calibration and does not count"
    raise HistoryTooShort(name, have=counts[longest] if counts else 0, need=need, hint=hint)

"""What fitting a detector returns: the learnt core, and what it remembers of each series of the fit."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tsforecast.anomaly.report import BoolArray
from tsforecast.errors import ArtifactError, CovariateError, FrequencyError, OptionError
from tsforecast.models.base import MANIFEST, damage_told, read_stored, write_stored
from tsforecast.models.detector import (
    JUDGED_SEEN,
    Core,
    Detector,
    Rows,
    channel_names,
    channel_values,
    check_values,
    rows_of,
)
from tsforecast.models.evidence import in_units, over_channels, units_of
from tsforecast.models.explaining import NormalWindows
from tsforecast.panel import FloatArray, Panel, TimeArray
from tsforecast.preprocessing.calendar import future_timestamps_after

if TYPE_CHECKING:
    import pandas as pd

    from tsforecast.anomaly.report import AnomalyReport
    from tsforecast.models.stream import DetectorStream

FIRST_WIDTHS, LEAST_FIRST = 2, 32  # windows, rows, of a series that the fit has not seen, before it is judged
LONG_AGO = int(np.iinfo(np.int64).min) + 1  # number of a moment before all others
LEAST_OWN_UNITS, OWN_UNIT_WIDTHS = 200, 4  # steps, and windows, from which on judged rows have units of their own
LEAST_SCALE = 1e-2  # standard deviation of a channel that never changed, as a share of its height


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorFacts:
    """What a fit has seen: stored with the detector and said with each answer."""

    freq: str | int
    season: int  # steps
    channels: tuple[str, ...]  # (C,)
    trained_until: str  # last timestamp seen, ISO 8601, or the last integer step
    series: int
    observations: int  # steps with a value in some channel
    seed: int
    tz: str | None = None
    least_seen: float = JUDGED_SEEN  # share of a window that one hole must leave for it to be judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Location and scale of the channels of one series."""

    mean: FloatArray  # (C,)
    deviation: FloatArray  # (C,), positive

    @classmethod
    def of(cls, values: FloatArray) -> Self:
        """Of rows (T, C); a channel without values has mean 0 and deviation 1."""
        seen = np.isfinite(values)
        count = np.maximum(seen.sum(axis=0), 1)
        filled = np.where(seen, values, 0.0)
        unit = np.maximum(np.abs(filled).max(axis=0, initial=0.0), 1e-300)  # 1e200 squared is no number
        mean = (filled / unit).sum(axis=0) / count
        spread = np.sqrt((np.where(seen, values / unit - mean, 0.0) ** 2).sum(axis=0) / count)
        least = LEAST_SCALE * np.abs(mean)
        deviation = np.where(spread > 1e-9 * np.abs(mean), spread, least) * unit
        return cls(mean=mean * unit, deviation=np.where(deviation > 0, deviation, 1.0))

    def standardise(self, values: FloatArray) -> FloatArray:
        found: FloatArray = (values - self.mean) / self.deviation
        return found

    def back(self, values: FloatArray) -> FloatArray:
        found: FloatArray = values * self.deviation + self.mean
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What is remembered of one series."""

    scale: Scale
    tail: FloatArray  # (R, C) newest values, as they came in: what comes next looks back on them
    tail_times: TimeArray  # (R,)
    units: FloatArray  # (2, 2, K, C): causal and revised; median and median absolute deviation
    scores: FloatArray  # (2, n) causal and revised scores of held-out rows, in time order
    vouched: BoolArray  # (n,) scores of rows that feedback calls ordinary, whatever they look like
    residuals: FloatArray  # (201, C) quantiles BAND_LEVELS of held-out value - expected, standardised
    fitted_until: int = LONG_AGO  # number of the last moment that was learnt from; so of a series that the fit has not seen

    def new(self, timestamps: TimeArray) -> BoolArray:
        """Which rows the fit has not learnt from, (T,)."""
        numbers = timestamps.astype("M8[ns]").view(np.int64) if timestamps.dtype.kind == "M" else timestamps
        found: BoolArray = np.greater(numbers, self.fitted_until)
        return found

    @property
    def calibrated(self) -> bool:
        return len(self.scores[0]) > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesScores:
    """What a detector makes of the rows of one series, before any threshold; T rows, C channels."""

    causal: FloatArray  # (T,)
    revised: FloatArray  # (T,)
    causal_channels: FloatArray  # (T, C)
    revised_channels: FloatArray  # (T, C)
    expected: FloatArray  # (T, C) in units of the channel
    revised_expected: FloatArray  # (T, C)


class FittedDetector:
    """A fitted detector. Immutable, so many request threads may share it."""

    def __init__(
        self,
        *,
        recipe: Detector,
        facts: DetectorFacts,
        core: Core,
        memories: Mapping[str, Memory],
        pooled: Memory,
        normal: NormalWindows,
        fitted_ids: Sequence[str],
        training: Mapping[str, Any],
    ) -> None:
        self.recipe, self.facts, self.core, self.training = recipe, facts, core, training
        self.normal, self.fitted_ids = normal, tuple(fitted_ids)  # ordinary windows, and the series they are of
        self.memories = dict(memories)  # series id -> what is known of it
        self.pooled = pooled  # … of any other series; its scale and tail mean nothing
        core.judge_from(facts.least_seen)

    # Scores

    def memory_of(self, series_id: str, values: FloatArray) -> Memory:
        """What is remembered of a series; of one that the fit has not seen, the scale of the first of its `values` (T, C)."""
        known = self.memories.get(series_id)
        if known is not None:
            return known
        return replace(self.pooled, scale=Scale.of(values[: self.first_rows]))

    @property
    def first_rows(self) -> int:
        """Rows of a series that the fit has not seen which give its scale, and are not judged."""
        return max(FIRST_WIDTHS * self.core.width, LEAST_FIRST)

    def needed(self, series_id: str) -> int:
        """Rows before a step of the series without which it may have no score."""
        return self.core.reach if series_id in self.memories else max(self.core.reach, self.first_rows)

    def series_scores(self, panel: Panel, series: int, memory: Memory, values: FloatArray | None = None) -> SeriesScores:
        """Scores of one series of `panel`, or of other `values` (T, C) in its place.

        Where the rows follow those of the fit without a gap, their windows look back on these.
        """
        rows, before = self.looking_back(panel, series, memory, values)
        found = self._scored(rows, memory, before)
        if panel.series_ids[series] not in self.memories:
            for array in (found.causal, found.causal_channels, found.expected):
                array[: self.first_rows] = np.nan
        return found

    def looking_back(self, panel: Panel, series: int, memory: Memory, values: FloatArray | None = None) -> tuple[Rows, int]:
        """(standardised rows of one series behind those remembered, how many of them are remembered)."""
        rows = rows_of(panel, series, channel_values(panel, series) if values is None else values)
        before = self.before(panel, series, memory)
        joined = np.concatenate([memory.tail[len(memory.tail) - before :], rows.values])
        times = np.concatenate([memory.tail_times[len(memory.tail_times) - before :], rows.timestamps])
        return replace(rows, values=memory.scale.standardise(joined), timestamps=times), before

    def scores_of(self, rows: Rows, memory: Memory) -> SeriesScores:
        """Scores of standardised rows; nothing before them counts."""
        return self._scored(rows, memory, 0)

    def before(self, panel: Panel, series: int, memory: Memory) -> int:
        """Remembered rows that directly precede those of the series: all, or none."""
        if not len(memory.tail_times):
            return 0
        first = panel.timestamps[panel.offsets[series]]
        follows = future_timestamps_after(memory.tail_times[-1:], panel.freq, 1, tz=panel.zone_of(series))[0, 0]
        return len(memory.tail_times) * int(first == follows)

    def _scored(self, rows: Rows, memory: Memory, before: int) -> SeriesScores:
        evidence = self.core.evidence(rows)
        causal = in_units(evidence.causal[:, before:], memory.units[0], self.core.weights)
        revised = in_units(evidence.revised[:, before:], memory.units[1], self.core.weights)
        return SeriesScores(
            causal=over_channels(causal),
            revised=over_channels(revised),
            causal_channels=causal,
            revised_channels=revised,
            expected=memory.scale.back(evidence.expected[before:]),
            revised_expected=memory.scale.back(evidence.revised_expected[before:]),
        )

    def _units_looking_back(self, evidence: FloatArray, timestamps: TimeArray, memory: Memory) -> FloatArray:
        """Units (2, K, C) of the rows that are ranked, where they are enough; held-out ones drift away from them.

        Rows that were learnt from have none: a detector that remembers them has nothing against them.
        """
        evidence = evidence[:, memory.new(timestamps)]
        enough = np.isfinite(evidence).sum(axis=1) >= max(LEAST_OWN_UNITS, OWN_UNIT_WIDTHS * self.core.width)  # (K, C)
        return np.where(enough, units_of(evidence), memory.units[1]) if enough.any() else memory.units[1]

    def scores(self, panel: Panel, *, revised: bool = True) -> FloatArray:
        """Raw scores of all rows, (N,), NaN where a row cannot be judged: for metrics that need no threshold.

        Revised ones rank the rows of this one panel: kinds of evidence add up in units of its own rows, where they are enough.
        The scores of reports and streams add up in held-out units, which later rows do not change.

        Raises:
            FrequencyError, CovariateError, SchemaError.
        """
        self.check_request(panel)
        found = np.full(len(panel.target), np.nan)
        for series, series_id in enumerate(panel.series_ids):
            rows = slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))
            memory = self.memory_of(series_id, channel_values(panel, series))
            looking_back, before = self.looking_back(panel, series, memory)
            evidence = self.core.evidence_alone(looking_back)
            part = (evidence.revised if revised else evidence.causal)[:, before:]
            times = looking_back.timestamps[before:]
            units = self._units_looking_back(part, times, memory) if revised else memory.units[0]
            score = over_channels(in_units(part, units, self.core.weights))
            if not revised and series_id not in self.memories:
                score[: self.first_rows] = np.nan
            found[rows] = score
        return found

    def score(self, panel: Panel, **how: Any) -> "AnomalyReport":
        """Scores, p-values and events of the rows of `panel`, see `judging.judge` for the options."""
        from tsforecast.models.judging import judge

        return judge(self, panel, **how)

    def stream(self, series_id: str | None = None, **how: Any) -> "DetectorStream":
        """A judge of one series that takes its values as they come, see `stream.DetectorStream` for the options."""
        from tsforecast.models.stream import open_stream

        return open_stream(self, series_id, **how)

    def check_request(self, panel: Panel) -> None:
        """Whether this detector may judge `panel`.

        Raises:
            FrequencyError: it steps otherwise; CovariateError: it has other channels; SchemaError: an infinite value.
        """
        if panel.freq != self.facts.freq:
            raise FrequencyError(
                f"the detector was fitted on steps of {self.facts.freq!r}, these series step by {panel.freq!r}; "
                "resample them or fit a detector on that frequency",
                field="freq",
            )
        if channel_names(panel) != self.facts.channels:
            raise CovariateError(
                f"the detector was fitted on channels {list(self.facts.channels)}, these series have "
                f"{list(channel_names(panel))}; give the same in the same order, or fit anew",
                field="channels",
            )
        check_values(panel)

    # Other uses of the same model

    def require(self, use: str) -> None:
        """Raises OptionError where the detector cannot do that; the message names those that can."""
        if use in self.recipe.about.uses:
            return
        from tsforecast.models.registry import available_models, detector_class

        able = [name for name in available_models("anomaly") if use in detector_class(name).about.uses]
        raise OptionError(f"model {self.recipe.name!r} cannot {use}; models that can: {', '.join(able)}", field="model")

    def denoise(self, panel: Panel) -> Panel:
        """As `uses.denoise`: without noise."""
        from tsforecast.models.uses import denoise

        return denoise(self, panel)

    def impute(self, panel: Panel) -> Panel:
        """As `uses.impute`, which also says what was filled: without holes between observations."""
        from tsforecast.models.uses import impute

        return impute(self, panel).panel

    def latent(self, panel: Panel, every: int | None = None) -> "pd.DataFrame":
        """As `uses.latent`: few numbers for each window."""
        from tsforecast.models.uses import latent

        return latent(self, panel, every)

    def generate(self, steps: int, **how: Any) -> Panel:
        """New series, see `generation.generate` for the options."""
        from tsforecast.models.generation import generate

        return generate(self, steps, **how)

    # Storage

    @cached_property
    def fingerprint(self) -> str:
        """Changes with anything that changes its scores."""
        arrays, values = self.core.state()
        text = json.dumps([self.recipe.name, repr(self.recipe), repr(self.facts), values], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode())
        for name, array in sorted((arrays | _stacked([*self.memories.values(), self.pooled])).items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the detector into `folder` (made if missing) as JSON + safetensors; return the folder."""
        target = Path(folder)
        arrays, values = self.core.state()
        stored = {f"core.{name}": array for name, array in arrays.items()} | self.normal.arrays()
        manifest = {
            "kind": "detector",
            "model": self.recipe.name,
            "options": asdict(self.recipe),  # type: ignore[call-overload]  # every recipe is a dataclass
            "facts": asdict(self.facts),
            "series_ids": list(self.memories),
            "fitted_ids": list(self.fitted_ids),
            "values": values,
            "training": self.training,
        }
        write_stored(target, stored | _stacked([*self.memories.values(), self.pooled]), manifest)
        return target


def is_detector(folder: str | os.PathLike[str]) -> bool:
    """Whether what is stored there says that it is a detector."""
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and bool(manifest.get("kind") == "detector")


def load_detector(folder: str | os.PathLike[str]) -> FittedDetector:
    """Read what `FittedDetector.save` wrote, on any machine.

    Raises:
        ArtifactError: a file is missing, damaged, of a newer format, or of a model this version does not have.
    """
    from tsforecast.models.registry import detector_class

    source = Path(folder)
    manifest, arrays = read_stored(source, "detector", how="detector.save(folder)")
    if manifest.get("kind") != "detector":
        raise ArtifactError(f"{source} holds a {manifest.get('kind')}, not a detector; read it with tsforecast.load_model")
    with damage_told(source, "detector"):
        found = detector_class(manifest["model"])
        known = {field.name for field in fields(found)}  # type: ignore[arg-type]  # every recipe is a dataclass
        options = {name: _tuples(value) for name, value in manifest["options"].items() if name in known}
        recipe = found(**options)
        *memories, pooled = _unstacked(arrays, len(manifest["series_ids"]) + 1)
        core = found.core_class().from_state(
            recipe, {name[5:]: array for name, array in arrays.items() if name.startswith("core.")}, manifest["values"]
        )
        return FittedDetector(
            recipe=recipe,
            facts=DetectorFacts(**{name: _tuples(value) for name, value in manifest["facts"].items()}),
            core=core,
            memories=dict(zip(manifest["series_ids"], memories, strict=True)),
            pooled=pooled,
            normal=NormalWindows.from_arrays(arrays),
            fitted_ids=manifest["fitted_ids"],
            training=manifest["training"],
        )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _stacked(memories: Sequence[Memory]) -> dict[str, np.ndarray]:
    """Memories end to end, as few arrays."""
    return {
        "memory.mean": np.stack([one.scale.mean for one in memories]),
        "memory.deviation": np.stack([one.scale.deviation for one in memories]),
        "memory.units": np.stack([one.units for one in memories]),
        "memory.residuals": np.stack([one.residuals for one in memories]),
        "memory.tail": np.concatenate([one.tail for one in memories]),
        "memory.tail_times": np.concatenate([one.tail_times.astype(np.int64) for one in memories]),
        "memory.tail_rows": np.asarray([len(one.tail) for one in memories]),
        "memory.is_integer": np.asarray([memories[0].tail_times.dtype.kind != "M"], dtype=np.int64),
        "memory.scores": np.concatenate([one.scores for one in memories], axis=1),
        "memory.vouched": np.concatenate([one.vouched for one in memories]).astype(np.int8),
        "memory.fitted_until": np.asarray([one.fitted_until for one in memories]),
        "memory.score_rows": np.asarray([one.scores.shape[1] for one in memories]),
    }


def _unstacked(arrays: Mapping[str, np.ndarray], count: int) -> list[Memory]:
    rows = np.concatenate([[0], np.cumsum(arrays["memory.tail_rows"])])
    scores = np.concatenate([[0], np.cumsum(arrays["memory.score_rows"])])
    times = arrays["memory.tail_times"] if arrays["memory.is_integer"][0] else arrays["memory.tail_times"].view("M8[ns]")
    until = arrays.get("memory.fitted_until", np.full(count, LONG_AGO))  # detectors of before it was kept have none
    if len(arrays["memory.mean"]) != count or len(rows) != count + 1:
        raise ValueError(f"{len(arrays['memory.mean'])} memories for {count - 1} series")
    return [
        Memory(
            scale=Scale(mean=arrays["memory.mean"][i], deviation=arrays["memory.deviation"][i]),
            units=arrays["memory.units"][i],
            residuals=arrays["memory.residuals"][i],
            tail=arrays["memory.tail"][rows[i] : rows[i + 1]],
            tail_times=times[rows[i] : rows[i + 1]],
            scores=arrays["memory.scores"][:, scores[i] : scores[i + 1]],
            vouched=arrays["memory.vouched"][scores[i] : scores[i + 1]] != 0,
            fitted_until=int(until[i]),
        )
        for i in range(count)
    ]

"""The latent numbers of an autoencoder as a feature of a flow: few past covariates that say what the latest window looks like."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tsforecast.errors import OptionError
from tsforecast.models.detector import Core, Detector, Rows, rows_of
from tsforecast.models.fitted_detector import Scale
from tsforecast.models.registry import available_models, build_detector, detector_class
from tsforecast.panel import FloatArray, Panel
from tsforecast.preprocessing.feature import MOST_COLUMNS, Feature, Kind, PastFeature, whole

SHORTEST, LONGEST = 4, 4_096  # steps of a window


@dataclass(frozen=True, kw_only=True, slots=True)
class Latent(Feature):
    """The latest window squeezed into a few numbers by an autoencoder, learnt from the target of all series: "latent_0" …

    Row t holds the code of the window that ends at t, as past covariates; NaN before the first whole window and where less than
    half of a window is observed. Of the target after the transforms, in standard deviations of its series in the fit; those of a
    series unseen there are told from the history given.
    """

    name: ClassVar[str] = "latent"
    kind: ClassVar[Kind] = "past"
    model: str = "autoencoder"  # a detector that gives latent features
    size: int = 4  # numbers
    window: int | None = None  # steps; None = the main period of the data, 64 where they show none
    seed: int = 0  # of the training
    label: str = "latent"  # names of the columns begin with it; give two features of one flow different ones

    def __post_init__(self) -> None:
        able = [
            name for name in available_models("anomaly") if name != "ensemble" and "latent" in detector_class(name).about.uses
        ]
        if self.model not in able:
            raise OptionError(f"feature 'latent' has no model {self.model!r}; there are {', '.join(able)}", field="model")
        whole(self.name, "size", self.size, 1, MOST_COLUMNS)
        whole(self.name, "seed", self.seed, 0, 2**31 - 1)
        if self.window is not None:
            whole(self.name, "window", self.window, SHORTEST, LONGEST)

    def detector(self) -> Detector:
        """The recipe of the network."""
        return build_detector(self.model, latent=self.size, window=self.window, second_window=None)

    def fit(self, panel: Panel) -> "FittedLatent":
        scales = {series_id: Scale.of(values[:, None]) for series_id, values in panel}
        rows = [_rows(panel, i, scales[series_id]) for i, series_id in enumerate(panel.series_ids)]
        core, _ = self.detector().learn(rows, seed=self.seed, train=None, callbacks=())
        names = tuple(f"{self.label}_{d}" for d in range(self.size))
        return FittedLatent(recipe=self, names=names, core=core, scales=scales)

    @classmethod
    def fitted_from_json(cls, recipe: "Latent", values: Mapping[str, Any]) -> "FittedLatent":
        from safetensors.numpy import load

        arrays = load(b64decode(values["weights"], validate=True))
        detector = recipe.detector()
        scales = {
            series_id: Scale(mean=np.asarray([mean]), deviation=np.asarray([deviation]))
            for series_id, (mean, deviation) in values["scales"].items()
        }
        core = type(detector).core_class().from_state(detector, arrays, values["core"])
        return FittedLatent(recipe=recipe, names=tuple(values["names"]), core=core, scales=scales)


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedLatent(PastFeature):
    recipe: Latent
    names: tuple[str, ...]  # (P,)
    core: Core
    scales: Mapping[str, Scale]  # series id -> of its target

    def for_panel(self, panel: Panel) -> "FittedLatent":
        new = {series_id: Scale.of(values[:, None]) for series_id, values in panel if series_id not in self.scales}
        return replace(self, scales={**self.scales, **new}) if new else self

    def columns(self, panel: Panel) -> FloatArray:
        found = np.full((len(panel.target), len(self.names)), np.nan)
        known = self.for_panel(panel).scales
        for series, series_id in enumerate(panel.series_ids):
            ends, codes = self.core.encode(_rows(panel, series, known[series_id]), every=1)
            found[panel.offsets[series] + ends] = codes[:, 0]
        return found

    def numbers(self) -> dict[str, Any]:
        """Weights as safetensors in base64: exact, and a quarter of the size of decimal numbers."""
        from safetensors.numpy import save

        arrays, values = self.core.state()
        kept = {name: np.ascontiguousarray(one) for name, one in arrays.items() if not name.startswith("bank.")}  # to generate
        scales = {name: [float(one.mean[0]), float(one.deviation[0])] for name, one in self.scales.items()}
        return {
            "names": list(self.names),
            "weights": b64encode(save(kept)).decode("ascii"),
            "core": values,
            "scales": scales,
        }


def _rows(panel: Panel, series: int, scale: Scale) -> Rows:
    """The target of one series, standardised, (T, 1)."""
    rows = slice(int(panel.offsets[series]), int(panel.offsets[series + 1]))
    return rows_of(panel, series, scale.standardise(panel.target[rows, None]))

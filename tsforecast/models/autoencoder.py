"""Denoising autoencoder of windows: what it cannot reconstruct, or predict one step beyond, is out of the ordinary."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tsforecast.errors import OptionError
from tsforecast.models.base import About
from tsforecast.models.window_detector import WindowDetector
from tsforecast.nn.autoencoder import WindowAutoencoder


@dataclass(frozen=True, kw_only=True)
class Autoencoder(WindowDetector):
    """Windows with hidden steps -> eight numbers -> the whole windows and the step beyond each end; squared errors."""

    name: ClassVar[str] = "autoencoder"
    about: ClassVar[About] = About(
        family="autoencoder",
        scope="global",
        source="Vincent et al. 2008 (denoising); Wong et al. 2022, AER (ends)",
        minimal_history="43 steps of one series",
        uses=("denoise", "impute", "latent"),
    )

    coder: Literal["dense", "conv"] = "dense"  # "dense": perceptrons | "conv": convolutions of stride 2
    ends: bool = True  # also predict the step before and the step after each window: what is expected of the next value
    point_evidence: bool = False  # the error of these predictions is evidence too: sees single points, and all noise

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coder not in ("dense", "conv"):
            raise OptionError(f"coder must be 'dense' or 'conv', got {self.coder!r}", field="coder")

    @property
    def predicts(self) -> bool:
        return self.ends and self.point_evidence

    def make_network(self, window: int) -> WindowAutoencoder:
        return WindowAutoencoder(
            window,
            latent=self.latent,
            hidden=self.hidden,
            coder=self.coder,
            ends=self.ends,
            activate=self.activation,
        )

"""Autoencoder of windows whose encoder and decoder are LSTMs: slower than perceptrons, for comparison with the literature."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from tsforecast.models.base import About
from tsforecast.models.window_detector import WindowDetector
from tsforecast.nn.autoencoder import WindowAutoencoder
from tsforecast.nn.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class LSTMAutoencoder(WindowDetector):
    """Windows with hidden steps -> LSTM -> eight numbers -> LSTM read both ways -> the whole windows and a step beyond."""

    name: ClassVar[str] = "lstm_autoencoder"
    about: ClassVar[About] = About(
        family="autoencoder",
        scope="global",
        source="Malhotra et al. 2016; Wong et al. 2022, AER",
        minimal_history="43 steps of one series",
        uses=("denoise", "impute", "latent"),
    )

    second_window: int | None = None  # steps of a second window whose evidence is added; None = only one window
    hidden: tuple[int, ...] = (32,)  # numbers an LSTM keeps
    ends: bool = True  # also predict the step before and the step after each window: what is expected of the next value
    point_evidence: bool = False  # the error of these predictions is evidence too: sees single points, and all noise

    @classmethod
    def tiny(cls) -> Self:
        return cls(window=16, latent=4, hidden=(8,))

    def default_train(self) -> TrainConfig:
        return replace(super().default_train(), steps_per_epoch=30, batch_size=128, learning_rate=4e-3)

    @property
    def predicts(self) -> bool:
        return self.ends and self.point_evidence

    def make_network(self, window: int) -> WindowAutoencoder:
        return WindowAutoencoder(
            window, latent=self.latent, hidden=self.hidden, coder="lstm", ends=self.ends, activate=self.activation
        )

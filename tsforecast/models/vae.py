"""Variational autoencoder of windows: a distribution over windows, so it can also tell what is missing and make new series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tsforecast.errors import OptionError
from tsforecast.models.base import About, Callback
from tsforecast.models.detector import Detector, Rows
from tsforecast.models.detector_tape import Tape
from tsforecast.models.generation import Bank, walk
from tsforecast.models.window_detector import WindowBatch, WindowCore, WindowDetector
from tsforecast.nn.autoencoder import VariationalWindowAutoencoder, WindowAutoencoder
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray

DIAGNOSED = 2_000  # training windows whose KL is measured
ACTIVE = 0.01  # variance of the posterior mean of a latent number that says something (Burda et al. 2016)


@dataclass(frozen=True, kw_only=True)
class VAE(WindowDetector):
    """Windows -> a normal distribution of latent numbers -> a normal distribution of windows, each step with its deviation.

    The defaults are those that detect best: few latent numbers, parts of windows masked, so that what is rare is not learnt.
    What is to be generated has to be learnt whole: for that there is `for_generation()`.
    """

    name: ClassVar[str] = "vae"
    about: ClassVar[About] = About(
        family="autoencoder",
        scope="global",
        source="Kingma & Welling 2014; Xu et al. 2018, Donut",
        minimal_history="43 steps of one series",
        uses=("denoise", "impute", "latent", "generate"),
    )

    coder: Literal["dense", "conv"] = "dense"  # "dense": perceptrons | "conv": convolutions of stride 2
    beta: float = 0.1  # weight of the KL term; it rises to it over the first third of the training
    free_bits: float = 0.05  # nats of each latent number that cost nothing, so that none is given up
    score: Literal["error", "likelihood"] = "error"  # squared error of the mean | -log p(x | z), mean over `samples` draws
    samples: int = 8  # draws of z for "likelihood", the same for each window
    rounds: int = 10  # of imputation by the model itself, in windows with holes, before they are judged

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coder not in ("dense", "conv"):
            raise OptionError(f"coder must be 'dense' or 'conv', got {self.coder!r}", field="coder")
        if self.score not in ("error", "likelihood"):
            raise OptionError(f"score must be 'error' or 'likelihood', got {self.score!r}", field="score")
        for name in ("beta", "free_bits"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must not be negative, got {getattr(self, name)!r}", field=name)
        for name, least in (("samples", 1), ("rounds", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise OptionError(f"{name} must be a number from {least} on, got {getattr(self, name)!r}", field=name)

    @classmethod
    def for_generation(cls, **options: Any) -> "VAE":
        """A recipe that is made to generate: more latent numbers, a wider network, nothing masked; `options` override that.

        Train it for about 30 epochs, `train=TrainConfig(max_epochs=30)`. On ten series of nyc_taxi, vic_elec, m4_hourly and
        etth1 what it generates passes `compare_series` eight times; what the default recipe generates, three times, mostly
        because a classifier tells it from the real series (tests/benchmarks/generation.py, seed 0).
        """
        made_to_generate: dict[str, Any] = {"latent": 16, "hidden": (128,), "mask": 0.0}
        return cls(**(made_to_generate | options))

    def make_network(self, window: int) -> WindowAutoencoder:
        return VariationalWindowAutoencoder(
            window, latent=self.latent, hidden=self.hidden, coder=self.coder, activate=self.activation
        )

    def loss(self, network: Any, batch: WindowBatch, shown: Tensor, progress: float) -> Tensor:
        beta = self.beta * min(3 * progress, 1.0)
        cost, _ = network.negative_elbo(batch.values, batch.seen, shown, beta=beta, free_bits=self.free_bits)
        found: Tensor = cost / network.window
        return found

    def diagnose(self, network: Any, tape: Tape, seed: int) -> dict[str, Any]:
        """KL of the posterior from the prior, nats a window, in the mean; and how many latent numbers are in use."""
        chosen = np.random.default_rng(seed).integers(len(tape), size=min(len(tape), DIAGNOSED))
        network.eval()
        with torch.inference_mode():
            mean, deviation = network.posterior(*tape.gather(chosen, ends=False, device=torch.device("cpu")))
            kl = 0.5 * (mean**2 + deviation**2 - 1) - deviation.log()
        return {"kl": float(kl.sum(1).mean()), "active_latents": int((mean.var(0) > ACTIVE).sum())}

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["VAECore", dict[str, Any]]:
        learnt, training = super().learn(series, seed=seed, train=train, callbacks=callbacks)
        bank = Bank.of(learnt.networks, learnt.windows, series)
        return VAECore(recipe=self, windows=learnt.windows, networks=learnt.networks, bank=bank), training

    @classmethod
    def core_class(cls) -> "type[VAECore]":
        return VAECore


class VAECore(WindowCore):
    """Variational networks, one for each length of window."""

    recipe: VAE

    def __init__(self, *, bank: Bank | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self.bank = bank  # windows to generate from; None where nobody asks for that

    def generate(self, steps: int, *, count: int, seed: int, series: int | None, phase: int | None = None) -> FloatArray:
        if self.bank is None:
            raise TypeError("a core without windows of the fit generates nothing")
        network: Any = self.networks[int(self.bank.network[0])]
        draws = np.random.default_rng(seed)
        if series is None:
            series = int(draws.choice(self.bank.owner))
        return walk(self.bank, network, steps, count=count, draws=draws, series=series, phase=phase)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, values = super().state()
        return arrays | ({} if self.bank is None else self.bank.to_arrays()), values

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "VAECore":
        core = super().from_state(recipe, arrays, values)
        bank = Bank.from_arrays(arrays) if "bank.mean" in arrays else None
        return cls(recipe=core.recipe, windows=core.windows, networks=core.networks, bank=bank)

    def errors_of(
        self, network: Any, values: Tensor, seen: Tensor, *, complete: bool, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Holes are filled by the model itself, some rounds of decode(encode(x)), as in Donut; only what was observed counts."""
        if not complete and self.recipe.rounds:
            values, seen = self._imputed(network, values, seen)
        if self.recipe.score == "error":
            return super().errors_of(network, values, seen, complete=complete, keep=keep)
        mean, deviation = network.posterior(values, seen)
        draws = torch.Generator().manual_seed(0)
        total = torch.zeros(values.shape)
        for _ in range(self.recipe.samples):
            expected, sigma = network.decode(mean + deviation * torch.randn(1, network.latent, generator=draws))
            total += 0.5 * ((values - expected) / sigma) ** 2 + sigma.log()
        return network.decode(mean)[0].T, (total / self.recipe.samples).T

    def _imputed(self, network: Any, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.nonzero((seen < 1).any(1) & (seen > 0).any(1)).ravel()
        if not len(rows):
            return values, seen
        observed, mask = values[rows], seen[rows]
        filled, known = observed, mask
        for _ in range(self.recipe.rounds):
            filled = torch.where(mask > 0, observed, network(filled, known))
            known = torch.ones_like(mask)
        values, seen = values.clone(), seen.clone()
        values[rows], seen[rows] = filled, known
        return values, seen

"""(B, w) windows -> a few latent numbers -> (B, w) windows: autoencoders on the shared perceptrons and convolutions.

A window comes with a mask of what is observed in it, since a step that is not, or one that training has hidden, is to be
told from one that is at its mean. Decoders end linearly: windows are standardised, so they go below zero.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.nn.conv import Conv1d
from tsforecast.nn.mlp import MLP, activation
from tsforecast.nn.recurrent import RecurrentCore, RecurrentEncoder

Coder = Literal["dense", "conv", "lstm"]
CHANNELS, KERNELS = 32, (7, 5, 3)  # of the convolutional coder; each halves the time resolution
LEAST_SIGMA = 0.1  # of a variational decoder, in training standard deviations: without a floor single steps decide all


class DenseEncoder(nn.Module):
    """Values and mask side by side -> perceptron."""

    def __init__(self, window: int, outputs: int, *, hidden: tuple[int, ...], activate: str) -> None:
        super().__init__()
        self.layers = MLP(2 * window, outputs, hidden=hidden, activate=activate)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y: Tensor = self.layers(torch.cat([x, seen], dim=1))
        return y


class ConvEncoder(nn.Module):
    """Values and mask as two channels -> convolutions of stride 2 -> linear."""

    def __init__(self, window: int, outputs: int, *, activate: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, steps = 2, window
        for kernel in KERNELS:
            layers += [Conv1d(inputs, CHANNELS, kernel=kernel, stride=2), activation(activate)]
            inputs, steps = CHANNELS, -(-steps // 2)
        self.layers, self.last = nn.Sequential(*layers), nn.Linear(CHANNELS * steps, outputs)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y: Tensor = self.last(self.layers(torch.stack([x, seen], dim=-1)).flatten(1))
        return y


class ConvDecoder(nn.Module):
    """Linear -> convolutions, between which the time resolution doubles."""

    def __init__(self, latent: int, window: int, outputs: int, *, activate: str) -> None:
        super().__init__()
        self.window, self.steps = window, -(-window // 2 ** len(KERNELS))
        self.first = nn.Linear(latent, CHANNELS * self.steps)
        self.convs = nn.ModuleList(Conv1d(CHANNELS, CHANNELS, kernel=kernel) for kernel in reversed(KERNELS))
        self.activate, self.last = activation(activate), nn.Linear(CHANNELS, 1)
        self.rest = nn.Linear(latent, outputs - window) if outputs > window else None

    def forward(self, z: Tensor) -> Tensor:
        y = self.first(z).view(len(z), self.steps, CHANNELS)
        for conv in self.convs:
            y = conv(self.activate(y).repeat_interleave(2, dim=1))
        window: Tensor = self.last(self.activate(y))[:, : self.window, 0]
        return window if self.rest is None else torch.cat([window, self.rest(z)], dim=1)


class RecurrentEncoderOfWindow(nn.Module):
    """Values and mask step by step -> last state -> linear."""

    def __init__(self, outputs: int, *, hidden: int) -> None:
        super().__init__()
        self.core, self.last = RecurrentCore("lstm", 2, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        y: Tensor = self.last(self.core(torch.stack([x, seen], dim=-1)))
        return y


class RecurrentDecoder(nn.Module):
    """The latent numbers at each step, with the place in the window -> LSTM read both ways -> one value a step."""

    def __init__(self, latent: int, window: int, outputs: int, *, hidden: int) -> None:
        super().__init__()
        self.core = RecurrentEncoder("lstm", latent + 1, hidden, bidirectional=True)
        self.last = nn.Linear(2 * hidden, 1)
        self.rest = nn.Linear(latent, outputs - window) if outputs > window else None
        self.place: Tensor
        self.register_buffer("place", torch.linspace(-1, 1, window)[None, :, None])

    def forward(self, z: Tensor) -> Tensor:
        steps = self.place.shape[1]
        inputs = torch.cat([z[:, None].expand(-1, steps, -1), self.place.expand(len(z), -1, -1)], dim=-1)
        window: Tensor = self.last(self.core(inputs)[0])[..., 0]
        return window if self.rest is None else torch.cat([window, self.rest(z)], dim=1)


def _step_by_step(*networks: MLP) -> bool:
    """Whether everything between the linear layers works on each number alone, so that batches may stand in columns."""
    alone = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Linear)
    return all(isinstance(layer, alone) for network in networks for layer in network.layers)


def _columns(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What `layers` make of a batch whose members are columns, (D_in, B) -> (D_out, B); dropout is off."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            x = torch.addmm(layer.bias[:, None], layer.weight, x)
        elif not isinstance(layer, nn.Dropout):
            x = layer(x)
    return x


class WindowAutoencoder(nn.Module):
    """Windows through `latent` numbers, and with `ends` a guess of the step before and the step after the window.

    The two extra steps are those of AER (Wong et al. 2022): reconstruction sees points badly, prediction sees them well.
    """

    def __init__(
        self,
        window: int,
        *,
        latent: int = 8,
        hidden: tuple[int, ...] = (64,),
        coder: Coder = "dense",
        ends: bool = True,
        activate: str = "gelu",
        codes: int | None = None,
    ) -> None:
        super().__init__()
        if coder not in get_args(Coder):
            raise OptionError(f"no coder {coder!r}; there are {', '.join(get_args(Coder))}", field="coder")
        self.window, self.latent, self.ends = window, latent, ends
        codes, outputs = codes or latent, window + 2 * ends
        self.encoder: nn.Module
        self.decoder: nn.Module
        if coder == "dense":
            self.encoder = DenseEncoder(window, codes, hidden=hidden, activate=activate)
            self.decoder = MLP(latent, outputs, hidden=hidden[::-1], activate=activate)
        elif coder == "conv":
            self.encoder = ConvEncoder(window, codes, activate=activate)
            self.decoder = ConvDecoder(latent, window, outputs, activate=activate)
        else:
            self.encoder = RecurrentEncoderOfWindow(codes, hidden=hidden[0])
            self.decoder = RecurrentDecoder(latent, window, outputs, hidden=hidden[0] // 2)

    def encode(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, w) values with 0 where not observed, (B, w) mask of 0 and 1 -> latent (B, D)."""
        z: Tensor = self.encoder(x, seen)
        return z

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, w) -> (B, w), or with `ends` (B, w + 2): the window, the step before it, the step after it."""
        y: Tensor = self.decoder(self.encode(x, seen))
        return y

    def steps_first(self, x: Tensor, seen: Tensor, *, complete: bool) -> Tensor:
        """What `forward` gives, as (w, B) or with `ends` (w + 2, B): the layout in which sums over windows run along memory.

        Args:
            complete: every step is observed; a dense network then needs not read the mask, half of its first layer.
        """
        encoder, decoder = self.encoder, self.decoder
        if not (isinstance(encoder, DenseEncoder) and isinstance(decoder, MLP) and _step_by_step(encoder.layers, decoder)):
            slow: Tensor = self(x, seen).T.contiguous()
            return slow
        first = encoder.layers.layers[0]
        assert isinstance(first, nn.Linear)
        w = self.window
        if complete:
            h = torch.addmm((first.bias + first.weight[:, w:].sum(1))[:, None], first.weight[:, :w], x.T)
        else:
            h = torch.addmm(first.bias[:, None], first.weight[:, :w], x.T).addmm_(first.weight[:, w:], seen.T)
        codes = _columns(list(encoder.layers.layers)[1:], h)[: self.latent]
        return _columns(list(decoder.layers), codes)

    def loss(self, x: Tensor, seen: Tensor, shown: Tensor) -> Tensor:
        """Mean squared error of each window, (B,): the window weighs a half and each end a quarter, as in AER.

        Args:
            x: (B, w), or with `ends` (B, w + 2): the truth, 0 where not observed.
            seen: the same shape: 1 where observed, 0 where not.
            shown: (B, w) 1 where the network is to see the truth; the others are hidden from it.
        """
        w = self.window
        mask = seen[:, :w] * shown
        wrong = (self(x[:, :w] * mask, mask) - x) ** 2 * seen
        inner = wrong[:, :w].sum(1) / seen[:, :w].sum(1).clamp(min=1)
        whole: Tensor = 0.5 * inner + 0.25 * (wrong[:, w] + wrong[:, w + 1]) if self.ends else inner
        return whole


class VariationalWindowAutoencoder(WindowAutoencoder):
    """A VAE: a distribution over latent numbers, and a normal distribution around each step, with a deviation learnt for it.

    Source: Kingma & Welling 2014; missing and labelled steps as in Donut (Xu et al. 2018).
    """

    def __init__(
        self,
        window: int,
        *,
        latent: int = 8,
        hidden: tuple[int, ...] = (64,),
        coder: Coder = "dense",
        activate: str = "gelu",
    ) -> None:
        super().__init__(window, latent=latent, hidden=hidden, coder=coder, ends=False, activate=activate, codes=2 * latent)
        self.log_sigma = nn.Parameter(torch.full((window,), -0.5))

    def posterior(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | x), (B, D) each."""
        code: Tensor = self.encoder(x, seen)
        return code[:, : self.latent], F.softplus(code[:, self.latent :]) + 1e-4

    def encode(self, x: Tensor, seen: Tensor) -> Tensor:
        return self.posterior(x, seen)[0]

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(x | z), (B, w) each."""
        y: Tensor = self.decoder(z)
        return y, (F.softplus(self.log_sigma) + LEAST_SIGMA).expand_as(y)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, w) -> (B, w): the mean of p(x | z) at the mean of q(z | x)."""
        return self.decode(self.encode(x, seen))[0]

    def negative_elbo(self, x: Tensor, seen: Tensor, shown: Tensor, *, beta: float, free_bits: float) -> tuple[Tensor, Tensor]:
        """(M-ELBO with its sign turned, KL), (B,) each, in nats a window.

        Steps that are missing or known to be anomalous (`seen` 0) do not count in log p(x | z), and the prior counts by the
        share of those that do. Each latent number has `free_bits` nats that cost nothing, so that none is given up.
        """
        mask = seen * shown
        mean, deviation = self.posterior(x * mask, mask)
        z = mean + deviation * torch.randn_like(mean)
        expected, sigma = self.decode(z)
        log_p = -0.5 * ((x - expected) / sigma) ** 2 - sigma.log() - 0.9189385
        kl = 0.5 * (mean**2 + deviation**2 - 1) - deviation.log()  # (B, D)
        share = seen.mean(1)
        charged = kl.clamp(min=free_bits).sum(1) * share
        return -(log_p * seen).sum(1) + beta * charged, kl.sum(1)

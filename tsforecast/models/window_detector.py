"""What detectors with a network share: training on windows, and the error of every window on every step.

The same network judges, denoises, imputes and gives latent features.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.models.base import Callback
from tsforecast.models.detector import Core, Detector, Evidence, Rows, refuse_short
from tsforecast.models.detector_tape import Column, Overlap, Tape
from tsforecast.models.detector_windows import OPEN, check_window, choose_window
from tsforecast.models.evidence import LEAST_SEEN, centred_mean
from tsforecast.models.feeding import OF_THE_CLOCK, as_epoch
from tsforecast.nn.autoencoder import WindowAutoencoder
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.train import TRAINING, Job, train_network
from tsforecast.panel import FloatArray, IntArray

TRIM_AFTER = 1 / 3  # share of the epochs after which the worst windows of a batch are left out


class WindowBatch:
    """Windows of one optimiser step."""

    def __init__(self, values: Tensor, seen: Tensor, epoch: int) -> None:
        self.values, self.seen, self.epoch = values, seen, epoch

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, kw_only=True)
class WindowDetector(Detector):
    """A network that reconstructs windows; what it cannot reconstruct is out of the ordinary."""

    window: int | None = None  # steps of the main window; None = the main period of the data, 64 where they show none
    second_window: int | None = OPEN  # steps of a second window whose evidence is added; None = only one window
    latent: int = 8  # numbers that a window is squeezed through
    hidden: tuple[int, ...] = (64,)  # widths of the layers between window and latent numbers
    activation: str = "gelu"  # "relu" | "leaky_relu" | "elu" | "gelu" | "silu" | "tanh" | "sigmoid"
    mask: float = 0.2  # share of the steps that training hides from the network, which has to guess them
    trim: float = 0.05  # share of each batch, its worst windows, that late training leaves out: anomalies in the history

    def __post_init__(self) -> None:
        check_window(self.window, least=4)
        check_window(self.second_window, least=4)
        if not isinstance(self.latent, int) or self.latent < 1:
            raise OptionError(f"latent must be a positive number, got {self.latent!r}", field="latent")
        if not self.hidden or any(not isinstance(width, int) or width < 2 for width in self.hidden):
            raise OptionError(f"hidden must be widths of at least 2, got {self.hidden!r}", field="hidden")
        for name in ("mask", "trim"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} must lie in [0, 1), got {getattr(self, name)!r}", field=name)

    @classmethod
    def tiny(cls) -> Self:
        return cls(window=16, second_window=None, latent=4, hidden=(16,))

    def default_train(self) -> TrainConfig:
        """Training options that the caller leaves open: a number of steps, so that the cost does not grow with the history."""
        return TrainConfig(
            max_epochs=10,
            steps_per_epoch=50,
            batch_size=256,
            learning_rate=2e-3,
            schedule="one_cycle",
            patience=1_000,
            clip_norm=5.0,
            average="none",
            average_decay=0.0,
            threads=1,
        )

    @property
    def predicts(self) -> bool:
        """Whether the error of the steps beyond the ends of each window is evidence too."""
        return False

    @abstractmethod
    def make_network(self, window: int) -> WindowAutoencoder:
        """The network for windows of so many steps, with weights drawn from torch's generator."""

    def loss(self, network: Any, batch: WindowBatch, shown: Tensor, progress: float) -> Tensor:
        """Loss of each window, (B,); `progress` goes from 0 to 1 over the training."""
        found: Tensor = network.loss(batch.values, batch.seen, shown)
        return found

    def diagnose(self, network: Any, tape: Tape, seed: int) -> dict[str, Any]:
        """Numbers that tell whether the trained network is sound, stored with it."""
        return {}

    def window_lengths(self, series: Sequence[Rows]) -> tuple[int, ...]:
        """Steps of the windows to look through.

        Raises:
            HistoryTooShort: no series is long enough.
        """
        first = choose_window(series, self.window)
        found = [first]
        longest = max(len(rows) for rows in series)
        if self.second_window is not None and self.second_window != first and longest >= 4 * self.second_window:
            found.append(self.second_window)
        return tuple(found)

    def learn(
        self, series: Sequence[Rows], *, seed: int, train: TrainConfig | None, callbacks: Sequence[Callback]
    ) -> tuple["WindowCore", dict[str, Any]]:
        config = (train or TrainConfig()).filled(**_given(self.default_train()))
        networks, history = [], []
        windows = self.window_lengths(series)
        for number, window in enumerate(windows):
            with TRAINING, torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed + 7919 * number)
                network = self.make_network(window)
            tape = Tape.of(series, window, ends=network.ends)
            if not len(tape):
                refuse_short(series, need=window + 2)
            result = train_network(
                self._job(network, tape, config, seed + 7919 * number),
                config=_own_checkpoint(config, number),
                seed=seed,
                callbacks=[as_epoch(callback) for callback in callbacks],
            )
            network.eval()
            networks.append(network)
            kept = [{name: value for name, value in line.items() if name not in OF_THE_CLOCK} for line in result.history]
            said = {"window": window, "windows": len(tape), "history": kept}
            history.append(said | self.diagnose(network, tape, seed))
        core = self.core_class()(recipe=self, windows=windows, networks=networks)
        return core, {"views": history, "parameters": sum(p.numel() for n in networks for p in n.parameters())}

    def _job(self, network: WindowAutoencoder, tape: Tape, config: TrainConfig, seed: int) -> Job:
        epochs = config.max_epochs or 1

        def batches(epoch: int, device: torch.device) -> Iterator[WindowBatch]:
            tape.to(device)
            draws = np.random.default_rng([seed, epoch])
            for _ in range(config.steps_per_epoch or 1):
                chosen = draws.integers(len(tape), size=config.batch_size or 1)
                yield WindowBatch(*tape.gather(chosen, ends=network.ends, device=device), epoch)

        def loss(module: nn.Module, batch: WindowBatch) -> Tensor:
            shown = (torch.rand(len(batch), network.window, device=batch.values.device) >= self.mask).to(batch.values.dtype)
            progress = (batch.epoch - 1) / epochs
            each = self.loss(module, batch, shown, progress)
            if self.trim and progress >= TRIM_AFTER:
                each = each.sort().values[: max(int(len(each) * (1 - self.trim)), 1)]
            return each.mean()

        identity = f"{self!r} {tape.window} {len(tape)} {float(tape.values.double().sum())!r} {float(tape.values.abs().max())!r}"
        return Job(network=network, batches=batches, loss=loss, validate=None, identity=identity)

    @classmethod
    def core_class(cls) -> "type[WindowCore]":
        return WindowCore


def _given(config: TrainConfig) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: value for field in fields(config) if (value := getattr(config, field.name)) is not None}


def _own_checkpoint(config: TrainConfig, number: int) -> TrainConfig:
    """Each network of a detector leaves its checkpoint in a folder of its own."""
    return config if config.checkpoint_dir is None else replace(config, checkpoint_dir=f"{config.checkpoint_dir}/view{number}")


def _where(judged: Tensor | None, said: Tensor) -> Tensor:
    return said if judged is None else torch.where(judged, said, torch.nan)


@dataclass(kw_only=True, slots=True)
class Looks:
    """What one network has to say about one channel; T steps."""

    window_error: FloatArray  # (T,) mean over the window that ends at the step
    step_error: FloatArray  # (T,) mean over all windows that cover the step
    reconstruction: FloatArray  # (T,) mean over all windows that cover the step
    last: FloatArray  # (T,) what the window that ends at the step says about it
    forecast: FloatArray | None  # (T,) what the window before said; None = the network has no ends
    forecast_error: FloatArray | None  # (T,)
    both_error: FloatArray | None  # (T,) mean of that and of the error of the window after


class WindowCore(Core):
    """Networks that reconstruct windows, one for each length of window."""

    def __init__(self, *, recipe: WindowDetector, windows: Sequence[int], networks: Sequence[WindowAutoencoder]) -> None:
        self.recipe, self.windows, self.networks = recipe, tuple(windows), tuple(networks)
        self.kinds = tuple(kind for window in self.windows for kind in self.kinds_of(window))
        self.width = max(self.windows)
        self.reach, self.delay = 2 * self.width + 2, 2 * self.width

    def kinds_of(self, window: int) -> tuple[str, ...]:
        error = f"error over {window} steps"
        return (error, f"prediction over {window} steps") if self.recipe.predicts else (error,)

    # Judging

    def evidence(self, rows: Rows) -> Evidence:
        return self._evidence(rows, means=True)

    def evidence_alone(self, rows: Rows) -> Evidence:
        return self._evidence(rows, means=False)

    def _evidence(self, rows: Rows, *, means: bool) -> Evidence:
        steps, channels = rows.values.shape
        causal = np.full((len(self.kinds), steps, channels), np.nan)
        revised, expected = causal.copy(), np.full((2, steps, channels), np.nan)
        for c in range(channels):
            there = np.isfinite(rows.values[:, c])
            k = 0
            for v, (window, network) in enumerate(zip(self.windows, self.networks, strict=True)):
                looks = self.look(network, Column.of(rows.values[:, c], window), means=means and v == 0)
                causal[k, :, c], revised[k, :, c] = looks.window_error, centred_mean(looks.step_error, window)
                k += 1
                if looks.forecast_error is not None and self.recipe.predicts:
                    causal[k, :, c], revised[k, :, c] = looks.forecast_error, looks.both_error
                    k += 1
                if v == 0:
                    expected[0, :, c] = looks.last if looks.forecast is None else looks.forecast
                    expected[1, :, c] = looks.reconstruction
            causal[:, ~there, c], revised[:, ~there, c] = np.nan, np.nan
        return Evidence(causal=causal, revised=revised, expected=expected[0], revised_expected=expected[1])

    def causal(self, rows: Rows, newest: int) -> tuple[FloatArray, FloatArray]:
        short = rows.last(newest + self.reach)
        steps, channels = short.values.shape
        first = steps - min(newest, steps)
        causal = np.full((len(self.kinds), steps - first, channels), np.nan)
        expected = np.full((steps - first, channels), np.nan)
        for c in range(channels):
            there = np.isfinite(short.values[first:, c])
            k = 0
            for v, (window, network) in enumerate(zip(self.windows, self.networks, strict=True)):
                column = Column.of(short.values[:, c], window)
                looks = self.look(network, column, first=max(first - 1, 0), overlaps=False)
                causal[k, :, c] = looks.window_error[first:]
                k += 1
                if looks.forecast_error is not None and self.recipe.predicts:
                    causal[k, :, c] = looks.forecast_error[first:]
                    k += 1
                if v == 0:
                    expected[:, c] = (looks.last if looks.forecast is None else looks.forecast)[first:]
            causal[:, ~there, c] = np.nan
        return causal, expected

    def look(
        self, network: WindowAutoencoder, column: Column, *, first: int = 0, overlaps: bool = True, means: bool = True
    ) -> Looks:
        """Judge all windows that end at step `first` or later; `overlaps`: also steps by all windows that cover them."""
        w, steps = column.window, column.steps
        window_error = torch.full((steps,), torch.nan)
        last = torch.full((steps,), torch.nan)
        after, before = torch.full((steps + 1,), torch.nan), torch.full((steps + w,), torch.nan)
        errors = Overlap(column, self.least_seen) if overlaps else None
        said_of = Overlap(column, LEAST_SEEN) if overlaps and means else None
        enough = column.judgeable(self.least_seen)
        with torch.inference_mode():
            for start, count in column.chunks(first):
                values, seen = column.windows(start, count)
                complete = column.complete and start >= w
                said, wrong = self.errors_of(network, values, seen, complete=complete, keep=said_of is not None)
                rows = slice(start, start + count)
                covered = None if complete else seen.sum(1)
                judged = None if covered is None else enough[rows]
                told = None if covered is None else covered >= LEAST_SEEN * w
                mean = wrong.sum(0) / w if covered is None else (wrong * seen.T).sum(0) / covered.clamp(min=1)
                window_error[rows] = _where(judged, mean)
                newest = said[len(said) - 1 - 2 * network.ends :]  # last step of the window, and what lies beyond its ends
                last[rows] = _where(told, newest[0])
                if network.ends:
                    before[rows] = _where(told, newest[1])  # of step t - w
                    after[start + 1 : start + 1 + count] = _where(told, newest[2])
                if errors is not None:
                    errors.add(start, wrong, None if judged is None else seen.T * judged)
                if said_of is not None:
                    said_of.add(start, said[:w], None if told is None else told.expand(w, -1).to(said.dtype))
        asked = network.ends and (means or self.recipe.predicts)
        ahead = self._ends(column, after[:steps], before[w:], window_error) if asked else (None, None, None)
        nothing = np.full(steps, np.nan)
        return Looks(
            window_error=window_error.double().numpy(),
            step_error=nothing if errors is None else errors.mean(),
            reconstruction=nothing if said_of is None else said_of.mean(),
            last=last.double().numpy(),
            forecast=ahead[0],
            forecast_error=ahead[1],
            both_error=ahead[2],
        )

    def errors_of(
        self, network: WindowAutoencoder, values: Tensor, seen: Tensor, *, complete: bool, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(what the network makes of windows (n, w): (w or w + 2, n), squared error of each of their steps (w, n)).

        Without `keep` of the first only the last step of the window and the ends, (1 or 3, n): the errors take its place.
        """
        said, w = network.steps_first(values, seen, complete=complete), network.window
        if keep:
            return said, torch.sub(said[:w], values.T).square_()
        newest = said[w - 1 :].clone()
        return newest, said[:w].sub_(values.T).square_()

    def _ends(
        self, column: Column, after: Tensor, before: Tensor, window_error: Tensor
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(forecast (T,), its squared error, mean squared error of both directions) from the networks' ends.

        Errors count only where the window that they are of is judged, and so has a `window_error` (T,).
        """
        w, values, seen = column.window, *column.points(0, column.steps)
        truth = torch.where(seen > 0, values, torch.nan)
        judged = torch.nn.functional.pad(window_error.isfinite(), (1, w))  # of the window before each step, and so on
        forward = torch.where(judged[: len(truth)], (after - truth) ** 2, torch.nan)
        backward = torch.where(judged[w + 1 :], (before - truth) ** 2, torch.nan)
        both = torch.where(forward.isnan(), backward, torch.where(backward.isnan(), forward, (forward + backward) / 2))
        return after.double().numpy(), forward.double().numpy(), both.double().numpy()

    # Other uses

    def reconstructions(self, rows: Rows) -> list[FloatArray]:
        return [self._reconstruction(rows, v) for v in range(len(self.windows))]

    def _reconstruction(self, rows: Rows, v: int) -> FloatArray:
        found = np.full(rows.values.shape, np.nan)
        for c in range(rows.values.shape[1]):
            found[:, c] = self.look(self.networks[v], Column.of(rows.values[:, c], self.windows[v])).reconstruction
        return found

    def encode(self, rows: Rows, *, every: int) -> tuple[IntArray, FloatArray]:
        window, network = self.windows[0], self.networks[0]
        first = min(window - 1, max(len(rows) - 1, 0))
        ends = np.arange(first, len(rows), every)
        codes = np.full((len(ends), rows.values.shape[1], self.recipe.latent), np.nan)
        for c in range(rows.values.shape[1]):
            column = Column.of(rows.values[:, c], window)
            with torch.inference_mode():
                for start, count in column.chunks(first):
                    values, seen = column.windows(start, count)
                    inside = (ends >= start) & (ends < start + count)
                    picked = torch.from_numpy(ends[inside] - start)
                    chosen, mask = values[picked], seen[picked]
                    code = network.encode(chosen, mask).double().numpy()
                    code[(mask.mean(1) < LEAST_SEEN).numpy()] = np.nan
                    codes[inside, c] = code
        return ends, codes

    # Storage

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {
            f"{v}.{name}": tensor.detach().numpy()
            for v, network in enumerate(self.networks)
            for name, tensor in network.state_dict().items()
        }
        return arrays, {"windows": list(self.windows)}

    @classmethod
    def from_state(cls, recipe: Detector, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> "WindowCore":
        if not isinstance(recipe, WindowDetector):
            raise TypeError(f"{recipe.name} has no windows")
        windows = [int(window) for window in values["windows"]]
        networks = []
        for v, window in enumerate(windows):
            with torch.device("meta"):
                network = recipe.make_network(window)
            network.to_empty(device="cpu")
            own = {
                name.partition(".")[2]: torch.from_numpy(array.copy())
                for name, array in arrays.items()
                if name.partition(".")[0] == str(v)
            }
            network.load_state_dict(own)
            network.eval()
            networks.append(network)
        return cls(recipe=recipe, windows=windows, networks=networks)

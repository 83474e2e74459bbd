"""Training speed on a GPU: windows/s of our fit by precision and with torch.compile, as a ratio to a raw torch loop.

    python tests/benchmarks/gpu.py [--models lstm tcn transformer deepar] [--modes 32-true bf16-mixed compile] [--rounds 2]

The raw loop trains the same network in the same mode on one batch that is already there, as in `train_speed.py`; both run in
this process, in turns. Each fit has an epoch to warm up (and to compile in) that is not counted. Utilisation is the mean of
what nvidia-smi says while our fits run, with their validation and set-up. Without a GPU everything runs on the CPU, with sizes
so small that the numbers say only that it works, and without torch.compile unless asked.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from train_speed import make_panel

from tsforecast.models.registry import available_models, build_model
from tsforecast.models.window_data import Inputs, WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.optim import make_optimizer
from tsforecast.panel import Panel
from tsforecast.preprocessing.windows import plan_windows

MODELS = ("lstm", "tcn", "transformer", "deepar")
MODES: dict[str, dict[str, Any]] = {
    "32-true": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "compile": {"compile": True},
    "bf16-mixed+compile": {"precision": "bf16-mixed", "compile": True},
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of everything that is trained here."""

    series: int = 2000
    length: int = 900  # steps
    horizon: int = 48
    batch: int = 1024  # windows
    steps: int = 100  # of an epoch
    options: dict[str, Any] = field(default_factory=lambda: {"hidden": 256})


SMALL = Sizes(series=40, length=300, horizon=12, batch=32, steps=4, options={"hidden": 16, "context": 48})


def ours(name: str, panel: Panel, sizes: Sizes, config: TrainConfig) -> Callable[[], float]:
    """A fit of two epochs; returns windows/s of the second."""
    model = build_model(name, calibrate=False, **sizes.options)

    def run() -> float:
        seen: list[float] = []
        note = [lambda epoch: seen.append(epoch.values["windows_per_s"])]
        model.fit(panel, horizon=sizes.horizon, train=config, callbacks=note)
        return seen[-1]

    return run


def raw(
    name: str, panel: Panel, sizes: Sizes, config: TrainConfig, mode: dict[str, Any], device: torch.device
) -> Callable[[], float]:
    """The same network, optimiser, precision and loss on one batch, in the plainest loop; the first epoch is not counted."""

    model: Any = build_model(name, calibrate=False, **sizes.options)
    inputs = Inputs.of(panel, calendar=model.calendar)
    shape = model.shape(season=panel.season, horizon=sizes.horizon, inputs=inputs, channels=inputs.channels(panel))
    plan = plan_windows(panel, context=shape.context, horizon=sizes.horizon, min_context=min(shape.context, 2 * sizes.horizon))
    data = WindowData(panel, device, context=shape.context, horizon=sizes.horizon, inputs=inputs)
    batch = data.gather(plan.sample(sizes.batch, np.random.default_rng(0)))
    network = model.build_network(shape, seed=0).to(device).train()
    called = torch.compile(network) if mode.get("compile") else network
    optimizer = make_optimizer(network, config)
    half = mode.get("precision") == "bf16-mixed"

    def epoch() -> float:
        synchronise(device)
        began = time.perf_counter()
        for _ in range(sizes.steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = network.loss(called, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
        synchronise(device)
        return sizes.batch * sizes.steps / (time.perf_counter() - began)

    def run() -> float:
        torch.set_flush_denormal(True)
        epoch()
        return epoch()

    return run


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextlib.contextmanager
def watched(readings: list[float]) -> Iterator[None]:
    """Inside, nvidia-smi says every 100 ms how busy the first GPU is, in percent."""
    command = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100"]
    try:
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        watcher.terminate()
        told, _ = watcher.communicate()
        readings += [float(line) for line in told.split() if line.isdecimal()]


def measure(name: str, mode: str, panel: Panel, sizes: Sizes, *, device: torch.device, rounds: int) -> dict[str, Any]:
    """One line: both speeds, their ratio, how busy the GPU was, and how much of its memory was in use at most."""
    known = {one.name for one in fields(TrainConfig)}
    options = MODES[mode]
    if not options.keys() <= known:
        return {"model": name, "mode": mode, "skipped": f"TrainConfig has no {sorted(options.keys() - known)}"}
    base = TrainConfig(max_epochs=2, steps_per_epoch=sizes.steps, batch_size=sizes.batch, learning_rate=1e-3, progress=False)
    config = replace(base, accelerator=device.type, average_decay=0.0, patience=2, **options)
    readings: list[float] = []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    a = ours(name, panel, sizes, config)
    a()  # warm-up
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    b = raw(name, panel, sizes, config, options, device)
    pairs = []
    for _ in range(rounds):
        with watched(readings):
            mine = a()
        pairs.append((mine, b()))
    return {
        "model": name,
        "mode": mode,
        "ours": round(statistics.median(x for x, _ in pairs)),
        "raw": round(statistics.median(y for _, y in pairs)),
        "ratio": round(statistics.median(x / y for x, y in pairs), 3),
        "gpu_busy_percent": round(statistics.mean(readings)) if readings else None,
        "peak_memory_mib": round(memory) if memory is not None else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), help="default: the first three; two on a CPU")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, help="windows of a batch")
    parser.add_argument("--hidden", type=int, help="width of the networks")
    asked = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = Sizes() if device.type == "cuda" else SMALL
    if asked.batch:
        sizes = replace(sizes, batch=asked.batch)
    if asked.hidden:
        sizes = replace(sizes, options=sizes.options | {"hidden": asked.hidden})
    where = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: on the CPU with small sizes, which says little"
    print(f"{where}; torch {torch.__version__}; {sizes}; windows/s, median of {asked.rounds}", flush=True)
    panel = make_panel(sizes.series, sizes.length)
    for name in (name for name in asked.models if name in available_models()):
        for mode in asked.modes or list(MODES)[: 3 if device.type == "cuda" else 2]:
            try:
                line = measure(name, mode, panel, sizes, device=device, rounds=asked.rounds)
            except Exception as error:  # the others go on
                line = {"model": name, "mode": mode, "error": f"{type(error).__name__}: {error}"[:500]}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

"""Training speed: windows/s of our fit, as a ratio to a raw torch loop of the same network on one ready-made batch.

    python tests/benchmarks/train_speed.py [--device cpu|cuda] [--rounds 3] [--steps 12]

Both run in this process, in turns (A B A B …), so the ratio holds when the machine's speed drifts. The raw loop does
forward, loss, backward, clipping and the optimiser step on a batch that is already there: what cannot be saved.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from tsforecast.models.registry import build_model
from tsforecast.models.window_data import WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.optim import make_optimizer
from tsforecast.panel import Panel
from tsforecast.preprocessing.windows import plan_windows

CONTEXT, HORIZON, BATCH, HIDDEN, LAYERS = 168, 48, 256, 128, 2


def make_panel(series: int = 200, length: int = 900) -> Panel:
    rng = np.random.default_rng(0)
    steps = np.arange(length)
    daily = np.sin(2 * np.pi * steps / 24)
    target = np.concatenate([rng.uniform(1, 100) * (daily + 3) + rng.normal(0, 1, length) for _ in range(series)])
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(series)),
        offsets=np.arange(series + 1, dtype=np.int64) * length,
        timestamps=np.tile(steps, series),
        target=target,
        freq=1,
        season=24,
    )


def ours(name: str, patch: int | None, panel: Panel, config: TrainConfig) -> Callable[[], float]:
    """A whole fit without validation at its end; returns windows/s of its epoch."""
    model = build_model(name, context=CONTEXT, hidden=HIDDEN, layers=LAYERS, patch=patch, calibrate=False)

    def run() -> float:
        seen: list[float] = []
        model.fit(panel, horizon=HORIZON, train=config, callbacks=[lambda epoch: seen.append(epoch.values["windows_per_s"])])
        return seen[-1]

    return run


def raw(name: str, patch: int | None, panel: Panel, config: TrainConfig, device: torch.device) -> Callable[[], float]:
    """The same network, optimiser and loss on one batch, in the plainest loop."""
    model = build_model(name, context=CONTEXT, hidden=HIDDEN, layers=LAYERS, patch=patch)
    shape = model.shape(season=panel.season, horizon=HORIZON)  # type: ignore[attr-defined]  # a WindowForecaster
    plan = plan_windows(panel, context=CONTEXT, horizon=HORIZON, min_context=HORIZON)
    data = WindowData(panel, device, context=CONTEXT, horizon=HORIZON)
    batch = data.gather(plan.sample(BATCH, np.random.default_rng(0)))

    def run() -> float:
        torch.set_flush_denormal(True)
        network = model.build_network(shape, seed=0).to(device).train()  # type: ignore[attr-defined]
        optimizer = make_optimizer(network, config)
        _synchronise(device)
        began = time.perf_counter()
        for _ in range(config.steps_per_epoch or 1):
            optimizer.zero_grad(set_to_none=True)
            network.loss(network, batch).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
        _synchronise(device)
        return BATCH * (config.steps_per_epoch or 1) / (time.perf_counter() - began)

    return run


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps per round")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    panel = make_panel()
    base = TrainConfig(max_epochs=1, batch_size=BATCH, learning_rate=1e-3, accelerator=arguments.device, average_decay=0.0)
    where = f"{torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.device}"
    print(f"{where}; windows/s, median of {arguments.rounds}")
    for name in ("lstm", "gru"):
        for patch in (1, None):
            steps = arguments.steps if patch == 1 else 10 * arguments.steps
            config = replace(base, steps_per_epoch=steps)
            a, b = ours(name, patch, panel, config), raw(name, patch, panel, config, device)
            a(), b()  # warm-up
            pairs = [(a(), b()) for _ in range(arguments.rounds)]
            row = {
                "model": name,
                "patch": patch or "default",
                "ours": round(statistics.median(x for x, _ in pairs)),
                "raw": round(statistics.median(y for _, y in pairs)),
                "ratio": round(statistics.median(x / y for x, y in pairs), 3),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

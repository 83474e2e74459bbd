"""What starting from a fitted network saves: steps and validation loss on a small panel, from scratch and from a parent.

    TSF_DATA_DIR=… python tests/benchmarks/transfer.py [--model gru] [--pretrain-seconds 90] [--steps 500] [--seeds 0 1 2]

The parent is fitted on the train part of M3 Monthly (1,428 series). The child is fitted on the train part of 50 series of
Stallion (monthly volume of beverages, 54 months), 6 steps ahead: from scratch in `--steps` optimiser steps, and from the
parent in a fifth of them. Same recipe, same context, so the same held-out windows and the same scaled loss; both have 20
epochs, and are validated after each. Prints both curves, then the best loss of each and how many steps it took.
"""

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import tsforecast
from tsforecast.datasets import DATA_DIR, load_benchmark
from tsforecast.models.base import Predictor
from tsforecast.models.window_data import WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.preprocessing.windows import plan_windows

HORIZON, EPOCHS, LESS = 6, 20, 5  # steps; epochs of a child; times fewer steps from a parent
SERIES, MOST_ZEROS = 50, 0.1  # of the child; share of zeros in a series


def parent_panel() -> Panel:
    return tsforecast.panel_from_frame(load_benchmark("m3_monthly", "train"), freq=1, season=12)


def child_panel() -> Panel:
    """50 series drawn with seed 0 among those that sell in nine months of ten."""
    frame = load_benchmark("stallion", "train")[["unique_id", "ds", "y"]]
    panel = tsforecast.panel_from_frame(frame, freq="MS", season=12)
    selling = [k for k, (_, target) in enumerate(panel) if (target == 0).mean() <= MOST_ZEROS]
    return panel.select(np.sort(np.random.default_rng(0).choice(selling, SERIES, replace=False)))


def fit_child(
    name: str, panel: Panel, *, steps: int, seed: int, context: int, parent: Predictor | None, freeze: int | None
) -> Iterator[dict[str, Any]]:
    """One line an epoch."""
    lines: list[dict[str, Any]] = []
    each = steps // EPOCHS

    def note(epoch: Any) -> None:
        loss = round(epoch.values["val_loss"], 5)
        lines.append({"start": "parent" if parent else "scratch", "seed": seed, "steps": epoch.number * each, "val_loss": loss})

    train = TrainConfig(max_epochs=EPOCHS, steps_per_epoch=each, patience=EPOCHS, progress=False)
    more = {} if parent is None else {"start_from": parent, "freeze": freeze}
    model = tsforecast.build_model(name, context=context)
    model.fit(panel, horizon=HORIZON, seed=seed, train=train, callbacks=[note], **more)  # type: ignore[arg-type]
    yield from lines


def loss_of(predictor: Predictor, panel: Panel) -> float:
    """Loss of a network as it is on the held-out windows of `panel`."""
    network = predictor.network  # type: ignore[attr-defined]  # a WindowPredictor
    shape = network.shape
    plan = plan_windows(panel, context=shape.context, horizon=shape.horizon, min_context=min(shape.context, 2 * shape.horizon))
    data = WindowData(panel, torch.device("cpu"), context=shape.context, horizon=shape.horizon)
    with torch.inference_mode():
        return float(network.loss(network, data.gather(plan.validation)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gru")
    parser.add_argument("--pretrain-seconds", type=float, default=90.0)
    parser.add_argument("--steps", type=int, default=500, help="optimiser steps from scratch")
    parser.add_argument("--freeze", type=int, help="epochs in which only the head is tuned; default: the library's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args()
    if not os.environ.get(DATA_DIR):
        print(f"skipped: set {DATA_DIR} to the folder that holds m3_monthly and stallion")
        return
    if asked.steps < LESS * EPOCHS:
        parser.error(f"--steps must be at least {LESS * EPOCHS}")
    panel = child_panel()
    train = TrainConfig(max_seconds=asked.pretrain_seconds, progress=False)
    parent = tsforecast.build_model(asked.model).fit(parent_panel(), horizon=HORIZON, seed=0, train=train)
    context = parent.network.shape.context  # type: ignore[attr-defined]  # a WindowPredictor
    untouched = loss_of(parent, panel)
    print(json.dumps({"start": "parent", "steps": 0, "val_loss": round(untouched, 5), "context": context}), flush=True)
    found: dict[str, list[dict[str, Any]]] = {"scratch": [], "parent": []}
    for seed in asked.seeds:
        for start, steps in (("scratch", asked.steps), ("parent", asked.steps // LESS)):
            given = {"parent": parent, "freeze": asked.freeze} if start == "parent" else {"parent": None, "freeze": None}
            lines = list(fit_child(asked.model, panel, steps=steps, seed=seed, context=context, **given))
            for line in lines:
                print(json.dumps(line), flush=True)
            found[start].append(min(lines, key=lambda line: line["val_loss"]))
    for start, best in found.items():
        loss, steps = (float(np.mean([line[name] for line in best])) for name in ("val_loss", "steps"))
        print(f"{start:8} best validation loss {loss:.4f} after {steps:.0f} steps, mean of {len(best)} seeds")
    scratch, tuned = (float(np.mean([line["val_loss"] for line in found[start]])) for start in ("scratch", "parent"))
    verdict = "as good or better" if tuned <= scratch else "WORSE"
    print(f"a fifth of the steps from the parent: {verdict} ({100 * (tuned / scratch - 1):+.1f} %)")


if __name__ == "__main__":
    main()

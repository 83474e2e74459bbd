"""A detection of a planted anomaly, its moments, and what its runs leave: what the tests of detections share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.files import read_json
from pipelines.recipe import RecipeFile
from pipelines.workspace import Workspace

Write = Callable[..., RecipeFile]
Run = Callable[..., Workspace]
HOURS = pd.date_range("2025-01-01", periods=900, freq="h")
FIRST, SECOND, THIRD = "2025-01-26T00:00:00", "2025-02-01T00:00:00", "2025-02-07T00:00:00"  # rows 600, 744, 888
PLANTED = 680  # row of 9 units on top, in series "b"; between the first and the second moment

HEAD = """
name = "watch"
[source]
kind = "csv"
path = "data.csv"
past_covariates = ["mem"]
label = "wrong"
[tracking]
enabled = false
[detect]
events = "events.jsonl"
"""
ENERGY = '[[models]]\nname = "window_energy"\noptions = { window = 24 }\n'


def data(planted: tuple[int, ...] = (PLANTED,), *, steps: int = 6) -> pd.DataFrame:
    """Two series of two channels with a daily pattern; `steps` rows from each planted one on are 9 units too high in "b"."""
    rng = np.random.default_rng(1)
    frames = []
    for series_id in ("a", "b"):
        t = np.arange(len(HOURS))
        y = 3 * np.sin(2 * np.pi * t / 24) + rng.normal(0, 0.3, len(t))
        wrong = np.zeros(len(t), dtype=int)
        for first in planted if series_id == "b" else ():
            y[first : first + steps] += 9
            wrong[first : first + steps] = 1
        mem = 2 * np.cos(2 * np.pi * t / 24) + rng.normal(0, 0.2, len(t))
        frames.append(pd.DataFrame({"unique_id": series_id, "ds": HOURS, "y": y, "mem": mem, "wrong": wrong}))
    return pd.concat(frames)


def events_of(work: Workspace, label: str = "window_energy") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(work.path(f"events/{label}.json"))
    return found


def lines_of(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]


def planted(events: list[dict[str, Any]], row: int = PLANTED) -> list[dict[str, Any]]:
    at = int(HOURS[row].value)
    return [one for one in events if one["series_id"] == "b" and one["start_at"] <= at + 6 * 3600 * 10**9 and one["end_at"] >= at]

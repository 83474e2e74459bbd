"""A network on a stored panel: it learns and says what it does from memory, and memory holds no more than a batch."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

import tsforecast.models.window_data as window_data_module
from tsforecast.models.registry import build_model
from tsforecast.models.window_data import InPanel, Inputs, OnDevice, WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.preprocessing.blocks import let_go
from tsforecast.preprocessing.stored import open_panel, store_panel
from tsforecast.preprocessing.windows import plan_windows


def counted(*lengths: int) -> Panel:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(lengths))), offsets=offsets, freq=1, season=1,
        timestamps=np.concatenate([np.arange(n) for n in lengths]), target=np.arange(offsets[-1], dtype=float),
    )  # fmt: skip


def resident(file: str) -> int:
    """kB of a mapped file that lie in memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.endswith(file))
    return int(next(line for line in lines[place:] if line.startswith("Rss:")).split()[1])


def rich_panel() -> Panel:
    """Days of two zones with holes, negative values and everything that may stand beside a target."""
    frames = []
    for i, (n, zone) in enumerate([(150, "Europe/Berlin"), (90, "America/New_York")]):
        rng = np.random.default_rng(i)
        days = pd.date_range("2024-01-20", periods=n, freq="D", tz=zone).tz_convert("UTC")
        y = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n).cumsum() + 3)
        rows = {"unique_id": f"s{i}", "ds": days, "y": y, "promo": rng.random(n), "wind": rng.normal(size=n)}
        frames.append(pd.DataFrame(rows).assign(region="ab"[i]))
    frame = pd.concat(frames)
    offsets = np.array([0, 150, 240])
    return Panel(
        series_ids=("s0", "s1"), offsets=offsets, freq="D", season=7, tz="UTC", zones=("Europe/Berlin", "America/New_York"),
        timestamps=frame["ds"].dt.tz_localize(None).to_numpy("datetime64[ns]"), target=frame["y"].to_numpy(),
        covariates=frame[["promo"]].to_numpy(), covariate_names=("promo",), static_reals=np.array([[1.0], [5.0]]),
        past_covariates=frame[["wind"]].to_numpy(), past_covariate_names=("wind",), static_real_names=("size",),
        static_categories=(("a",), ("b",)), static_category_names=("region",),
    )  # fmt: skip


def test_a_network_learns_and_says_the_same_from_a_stored_panel(tmp_path):
    panel = rich_panel()
    store_panel(panel, tmp_path / "stored")
    model = build_model("gru", context=14, patch=7, hidden=4, layers=1, calendar=True)
    train = TrainConfig(max_epochs=2, steps_per_epoch=3, batch_size=16, sampling="recent", half_life=9)
    future = np.random.default_rng(0).random((2, 5, 1))
    forecasts = []
    for name, source in (("memory", panel), ("mapped", open_panel(tmp_path / "stored"))):
        predictor = model.fit(source, horizon=5, train=train)
        predictor.save(tmp_path / name)
        forecasts.append(predictor.predict(source, future=future).quantiles)
    for file in ("manifest.json", "weights.safetensors"):
        assert (tmp_path / "memory" / file).read_bytes() == (tmp_path / "mapped" / file).read_bytes()
    np.testing.assert_array_equal(*forecasts)


def test_batches_of_a_stored_panel_are_those_of_memory(tmp_path):
    panel = rich_panel()
    store_panel(panel, tmp_path / "stored")
    inputs = Inputs.of(panel, calendar=True)
    assert Inputs.of(open_panel(tmp_path / "stored"), calendar=True) == inputs
    plan = plan_windows(panel, context=20, horizon=6)
    windows = plan.sample(50, np.random.default_rng(0))
    batches = [
        WindowData(source, torch.device("cpu"), context=20, horizon=6, inputs=inputs).gather(windows)
        for source in (panel, open_panel(tmp_path / "stored"))
    ]
    for field in fields(batches[0]):
        mine, other = (getattr(batch, field.name) for batch in batches)
        assert torch.equal(mine, other), field.name
    assert batches[0].signed.any() and not batches[0].signed.all() and not batches[0].seen.all()


def test_no_more_of_a_stored_panel_lies_in_memory_than_a_batch(tmp_path, monkeypatch):
    store_panel(counted(60_000, 40_000), tmp_path / "stored")
    panel = open_panel(tmp_path / "stored")
    data = WindowData(panel, torch.device("cpu"), context=20, horizon=6)
    taken, there = [], []  # let go; in memory just before

    def watched(array):
        if array is not None:
            taken.append(array)
            there.append(resident("target.npy"))
            let_go(array)

    monkeypatch.setattr(window_data_module, "let_go", watched)
    windows = plan_windows(panel, context=20, horizon=6).sample(30, np.random.default_rng(0))
    data.gather(windows)
    assert {id(one) for one in taken} == {id(panel.target), id(panel.timestamps)}
    assert max(there) > 0 and resident("target.npy") == 0
    assert isinstance(data.rows, InPanel)
    in_memory = WindowData(counted(5, 9), torch.device("cpu"), context=4, horizon=1)
    assert isinstance(in_memory.rows, OnDevice)


def test_a_panel_too_large_for_a_gpu_is_not_moved_there(monkeypatch):
    panel = counted(60, 40)
    memory = {"total": 1801}  # a target takes 9 bytes a row
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory["total"]))
    gpu = torch.device("cuda")
    assert not window_data_module._too_large(panel, Inputs(), gpu)
    assert window_data_module._too_large(panel, Inputs(past=((0.0, 1.0),)), gpu)
    memory["total"] = 1799
    assert window_data_module._too_large(panel, Inputs(), gpu)
    assert not window_data_module._too_large(panel, Inputs(), torch.device("cpu"))
